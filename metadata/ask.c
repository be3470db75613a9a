/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/service.h"
#include "common/wire.h"
#include "keyring/keyfob.h"

#define REACH_TRIES 30 /* a broker that is being restarted is there again by then */
#define REACH_AGAIN_MS 100
#define MALFORMED "the broker's answer is malformed: have both one version?"

struct ask {
	struct event_base *base;
	const char *broker;
	struct buffer request;
	ask_done *done;
	void *context;
	struct event *event; /* the answer, or time to try again */
	unsigned int tries;
	int fd;
};

static void hang_up(struct ask *a)
{
	if (a->event)
		event_free(a->event);
	a->event = NULL;
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

void ask_cancel(struct ask *a)
{
	hang_up(a);
	buffer_free(&a->request);
	free(a);
}

static void finish(struct ask *a, const struct reply *reply)
{
	ask_done *done = a->done;
	void *context = a->context;

	ask_cancel(a);
	done(context, reply);
}

static void fail(struct ask *a, int error, const char *text)
{
	finish(a, &(struct reply){ .error = error, .text = text });
}

static void fail_errno(struct ask *a, const char *what, int number)
{
	char text[WIRE_TEXT_MAX];

	snprintf(text, sizeof(text), "%s at %s: %s", what, a->broker, strerror(number));
	fail(a, KEYFOB_EBROKER, text);
}

/* --- the answer ------------------------------------------------------------------------------ */

static void take_error(struct ask *a, uint8_t code, struct reader *r)
{
	char text[WIRE_TEXT_MAX];
	struct reply reply = { .error = -code, .text = text };

	reply.retry = reader_u32(r);
	reader_text(r, text, sizeof(text));
	if (reader_done(r) && code <= -KEYFOB_EAGAIN)
		finish(a, &reply);
	else
		fail(a, KEYFOB_EBROKER, MALFORMED);
}

static void take_token(struct ask *a, struct reader *r)
{
	char fingerprint[16], name[WIRE_NAME_MAX + 1];
	struct reply reply = { .credential = name, .fingerprint = fingerprint };
	char *token = reader_dup(r, WIRE_TOKEN_MAX);

	reply.token = token;
	reply.expires = reader_u64(r);
	reader_u64(r); /* when it is refreshed: no metadata client is told */
	reader_text(r, fingerprint, sizeof(fingerprint));
	reader_text(r, name, sizeof(name));
	if (reader_done(r) && token && *token)
		finish(a, &reply);
	else
		fail(a, KEYFOB_EBROKER, MALFORMED);
	if (token)
		explicit_bzero(token, strlen(token));
	free(token);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ask *a = arg;
	struct buffer frame;
	struct reader r;
	uint8_t version, code;
	int error;

	(void)what;
	buffer_init(&frame, WIRE_MAX);
	error = wire_receive((int)fd, &frame, NULL);
	reader_init(&r, frame.data, error == 0 ? frame.length : 0);
	if (error == 0) {
		version = reader_u8(&r);
		code = reader_u8(&r);
		if (version != WIRE_VERSION)
			fail(a, KEYFOB_EBROKER, MALFORMED);
		else if (code != 0)
			take_error(a, code, &r);
		else
			take_token(a, &r);
	} else if (error != -EAGAIN) {
		fail_errno(a, "the broker broke off", -error);
	}
	buffer_free(&frame);
}

/* --- the question ------------------------------------------------------------------------------ */

static void on_time(evutil_socket_t fd, short what, void *arg);

static bool wait_for(struct ask *a, int fd, int ms)
{
	struct timeval limit = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	a->event = event_new(a->base, fd, fd >= 0 ? EV_READ | EV_PERSIST : 0, fd >= 0 ? on_readable : on_time, a);
	return a->event && event_add(a->event, fd >= 0 ? NULL : &limit) == 0;
}

static void reach(struct ask *a)
{
	int error;

	a->fd = service_reach(a->broker);
	error = a->fd < 0 ? a->fd : wire_send(a->fd, &a->request, -1);
	if (error == -EPERM) {
		fail_errno(a, "not the broker's, but a stranger's socket", -error);
		return;
	}
	/* A broker that turns a caller away has answered before it reads. */
	if (error == 0 || error == -EPIPE) {
		if (!wait_for(a, a->fd, 0))
			fail(a, KEYFOB_EBROKER, "out of memory");
		return;
	}
	hang_up(a);
	/* Nothing was asked yet, so there is no harm in trying again. */
	if (++a->tries == REACH_TRIES || error == -ENAMETOOLONG || !wait_for(a, -1, REACH_AGAIN_MS))
		fail_errno(a, "cannot reach the broker", -error);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	struct ask *a = arg;

	(void)fd;
	(void)what;
	hang_up(a);
	reach(a);
}

struct ask *ask_begin(struct event_base *base, const char *broker, uid_t uid, const struct question *q, ask_done *done, void *context)
{
	struct ask *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->base = base;
	a->broker = broker;
	a->done = done;
	a->context = context;
	a->fd = -1;
	buffer_init(&a->request, WIRE_MAX);
	buffer_put_u8(&a->request, WIRE_VERSION);
	buffer_put_u8(&a->request, WIRE_METADATA);
	buffer_put_u32(&a->request, uid);
	buffer_put_u8(&a->request, (uint8_t)q->kind);
	buffer_put_text(&a->request, q->resource);
	buffer_put_text(&a->request, q->client_id);
	/* From the loop, so that done is never called before this returns. */
	if (!a->request.failed && wait_for(a, -1, 0))
		return a;
	ask_cancel(a);
	return NULL;
}
