/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <event2/listener.h>

#include "emulator.h"

enum { MAX_BODY = 64 << 10, MAX_HEADERS = 32 << 10, BACKLOG = 4096, IDLE_SECONDS = 60 };

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length >= tail && strcmp(text + length - tail, end) == 0;
}

static void not_found(struct emu_exchange *x)
{
	emu_reply_text(x, HTTP_NOTFOUND, "text/plain", "nothing here; keyfob-emulator --help lists what there is\n");
}

static void route(struct emu_exchange *x)
{
	const char *path = x->path;

	x->source = EMU_CONTROL;
	if (strncmp(path, "/emulator/", 10) == 0) {
		x->handle = emu_control;
	} else if (strncasecmp(path, "/metadata/", 10) == 0) {
		x->source = emu_azure_is_arc(x->emu) ? EMU_ARC : EMU_IMDS;
		x->handle = x->source == EMU_ARC ? emu_arc : emu_imds;
	} else if (strcasecmp(path, "/msi/token") == 0) {
		x->source = EMU_APPSERVICE;
		x->handle = emu_appservice;
	} else if (emu_entra_path(path)) {
		x->source = EMU_ENTRA;
		x->handle = emu_entra;
	} else if (strcmp(path, EMU_OAUTH2_PATH) == 0) {
		x->source = EMU_OAUTH2;
		x->handle = emu_oauth2;
	} else if (strcmp(path, "/jwks") == 0) {
		x->source = EMU_JWKS;
		x->handle = emu_jwks;
	} else if (ends_with(path, "/.well-known/openid-configuration")) {
		x->source = EMU_OPENID;
		x->handle = emu_openid;
	} else if (strcmp(path, "/token") == 0) {
		x->source = EMU_GOOGLE_TOKEN;
		x->handle = emu_google_token;
	} else if (strcmp(path, "/v1/token") == 0) {
		x->source = EMU_GOOGLE_STS;
		x->handle = emu_google_sts;
	} else if (strncmp(path, "/v1/projects/", 13) == 0) {
		x->source = EMU_GOOGLE_IAM;
		x->handle = emu_google_iam;
	} else if (strcmp(path, "/") == 0 || strncmp(path, "/computeMetadata/", 17) == 0) {
		x->source = EMU_METADATA;
		x->handle = emu_metadata;
	} else {
		x->handle = not_found;
	}
}

static void dispatch(struct emu_exchange *x)
{
	if (!emu_fault_answer(x))
		x->handle(x);
}

static bool read_parameters(struct emu_exchange *x)
{
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(x->req));
	struct evbuffer *input = evhttp_request_get_input_buffer(x->req);
	const char *type = emu_header_in(x, "Content-Type");
	size_t length = evbuffer_get_length(input);

	if (query && !emu_query_parse(&x->query, query, strlen(query)))
		return false;
	if (length == 0 || !type || strncasecmp(type, "application/x-www-form-urlencoded", 33) != 0)
		return true;
	return emu_query_parse(&x->query, (const char *)evbuffer_pullup(input, -1), length);
}

static void on_request(struct evhttp_request *req, void *arg)
{
	struct emu_exchange *x = emu_exchange_new(arg, req);

	if (!x) {
		evhttp_send_error(req, HTTP_BADREQUEST, NULL);
		return;
	}
	route(x);
	x->fault = emu_fault_take(x->emu, x->source);
	emu_count_begin(x);
	if (!read_parameters(x))
		emu_reply_text(x, HTTP_BADREQUEST, "text/plain", "malformed query\n");
	else if (x->fault->delay_ms)
		emu_exchange_later(x, x->fault->delay_ms, dispatch);
	else
		dispatch(x);
}

static bool name_self(struct emu *emu, evutil_socket_t fd)
{
	struct sockaddr_storage self;
	socklen_t size = sizeof(self);
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
	char text[INET6_ADDRSTRLEN] = "";

	if (getsockname(fd, (struct sockaddr *)&self, &size) < 0)
		return false;
	if (self.ss_family == AF_INET6) {
		memcpy(&in6, &self, sizeof(in6));
		inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
		snprintf(emu->url, sizeof(emu->url), "http://[%s]:%u", text, ntohs(in6.sin6_port));
		return true;
	}
	memcpy(&in4, &self, sizeof(in4));
	inet_ntop(AF_INET, &in4.sin_addr, text, sizeof(text));
	snprintf(emu->url, sizeof(emu->url), "http://%s:%u", text, ntohs(in4.sin_port));
	return true;
}

static struct evconnlistener *listen_on(struct emu *emu, const char *address, uint16_t port)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	unsigned int flags = LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE;

	if (inet_pton(AF_INET, address, &in4.sin_addr) == 1)
		return evconnlistener_new_bind(emu->base, NULL, NULL, flags, BACKLOG, (struct sockaddr *)&in4, sizeof(in4));
	if (inet_pton(AF_INET6, address, &in6.sin6_addr) == 1)
		return evconnlistener_new_bind(emu->base, NULL, NULL, flags, BACKLOG, (struct sockaddr *)&in6, sizeof(in6));
	return NULL;
}

bool emu_server_start(struct emu *emu, const char *address, uint16_t port)
{
	struct evconnlistener *listener = listen_on(emu, address, port);

	if (!listener)
		return false;
	emu->http = evhttp_new(emu->base);
	if (!emu->http || !name_self(emu, evconnlistener_get_fd(listener)) || !evhttp_bind_listener(emu->http, listener)) {
		evconnlistener_free(listener);
		return false;
	}
	/* Every method reaches a handler, which says 405 in its own way. */
	evhttp_set_allowed_methods(emu->http, 0x1ff);
	evhttp_set_max_body_size(emu->http, MAX_BODY);
	evhttp_set_max_headers_size(emu->http, MAX_HEADERS);
	evhttp_set_timeout(emu->http, IDLE_SECONDS);
	evhttp_set_gencb(emu->http, on_request, emu);
	return true;
}

void emu_server_stop(struct emu *emu)
{
	struct emu_exchange *x;

	while ((x = TAILQ_FIRST(&emu->exchanges))) {
		/* Requests that still have a connection are freed with it. */
		if (!evhttp_request_get_connection(x->req))
			evhttp_request_free(x->req);
		emu_exchange_free(x);
	}
	if (emu->http)
		evhttp_free(emu->http);
	emu->http = NULL;
}
