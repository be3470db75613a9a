/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"

struct emu_exchange *emu_exchange_new(struct emu *emu, struct evhttp_request *req)
{
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
	struct emu_exchange *x = calloc(1, sizeof(*x));
	size_t size = 0;

	if (!x)
		return NULL;
	x->emu = emu;
	x->req = req;
	x->path = evhttp_uridecode(path ? path : "", 0, &size);
	x->body = evbuffer_new();
	TAILQ_INSERT_TAIL(&emu->exchanges, x, link);
	if (!x->path || strlen(x->path) != size || !x->body) {
		emu_exchange_free(x);
		return NULL;
	}
	return x;
}

void emu_exchange_free(struct emu_exchange *x)
{
	TAILQ_REMOVE(&x->emu->exchanges, x, link);
	emu_fault_release(x->fault);
	emu_query_free(&x->query);
	if (x->timer)
		event_free(x->timer);
	if (x->body)
		evbuffer_free(x->body);
	free(x->path);
	free(x);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct emu_exchange *x = arg;

	(void)fd;
	(void)what;
	x->then(x);
}

void emu_exchange_later(struct emu_exchange *x, long ms, void (*then)(struct emu_exchange *x))
{
	struct timeval wait = { ms / 1000, (ms % 1000) * 1000 };

	x->then = then;
	if (!x->timer)
		x->timer = evtimer_new(x->emu->base, on_timer, x);
	if (!x->timer || evtimer_add(x->timer, &wait) < 0)
		then(x);
}

const char *emu_header_in(const struct emu_exchange *x, const char *name)
{
	return evhttp_find_header(evhttp_request_get_input_headers(x->req), name);
}

void emu_header_out(struct emu_exchange *x, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(x->req), name, value);
}

bool emu_is_get(const struct emu_exchange *x)
{
	return evhttp_request_get_command(x->req) == EVHTTP_REQ_GET;
}

static void finish(struct emu_exchange *x)
{
	emu_count_end(x);
	emu_exchange_free(x);
}

static void drip(struct emu_exchange *x)
{
	struct evbuffer *drop;

	/* A client that has left takes its connection along; the end call then frees the request. */
	if (!evhttp_request_get_connection(x->req) || evbuffer_get_length(x->body) == 0) {
		evhttp_send_reply_end(x->req);
		finish(x);
		return;
	}
	drop = evbuffer_new();
	if (drop) {
		evbuffer_remove_buffer(x->body, drop, 1);
		evhttp_send_reply_chunk(x->req, drop);
		evbuffer_free(drop);
	}
	emu_exchange_later(x, x->fault->drip_ms, drip);
}

static void headers(struct emu_exchange *x, const char *type, size_t length)
{
	const char *flavor = "Google";
	char text[24];

	emu_header_out(x, "Content-Type", type);
	snprintf(text, sizeof(text), "%zu", length);
	emu_header_out(x, "Content-Length", text);
	if (x->fault->retry_after)
		emu_header_out(x, "Retry-After", x->fault->retry_after);
	if (x->source != EMU_METADATA)
		return;
	if (x->fault->flavor)
		flavor = strcmp(x->fault->flavor, "0") == 0 ? NULL : x->fault->flavor;
	else if (x->fault->html || x->fault->redirect)
		flavor = NULL; /* a captive portal answers, not the metadata server */
	if (flavor)
		emu_header_out(x, "Metadata-Flavor", flavor);
	emu_header_out(x, "Server", "Metadata Server for VM");
}

/* evhttp knows the others by itself. */
static const char *phrase(int status)
{
	return status == 429 ? "Too Many Requests" : NULL;
}

void emu_reply(struct emu_exchange *x, int status, const char *type, const char *body, size_t length)
{
	const struct emu_fault *f = x->fault;
	size_t announced = length;

	emu_count_reply(x, status);
	if (f->truncate) {
		announced = length > 0 ? length : 1;
		length /= 2;
		emu_header_out(x, "Connection", "close");
	}
	if (status == HTTP_NOTMODIFIED || status == HTTP_NOCONTENT || evhttp_request_get_command(x->req) == EVHTTP_REQ_HEAD)
		length = 0;
	headers(x, type, announced);
	evbuffer_add(x->body, body, length);
	if (f->drip_ms) {
		evhttp_send_reply_start(x->req, status, phrase(status));
		emu_exchange_later(x, f->drip_ms, drip);
		return;
	}
	evhttp_send_reply(x->req, status, phrase(status), x->body);
	finish(x);
}

void emu_reply_text(struct emu_exchange *x, int status, const char *type, const char *text)
{
	emu_reply(x, status, type, text, strlen(text));
}

void emu_reply_json(struct emu_exchange *x, int status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	if (text)
		emu_reply_text(x, status, "application/json; charset=utf-8", text);
	else
		emu_reply_text(x, HTTP_INTERNAL, "text/plain", "out of memory\n");
	free(text);
	json_decref(json);
}

void emu_reply_method(struct emu_exchange *x, const char *allowed)
{
	emu_header_out(x, "Allow", allowed);
	emu_reply_text(x, HTTP_BADMETHOD, "text/plain", "method not allowed\n");
}
