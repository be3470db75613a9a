/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key sets come from the broker, which has them fetched: the verifier reads
 * strangers' tokens and has no network. One request at a time for each
 * identity provider.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/service.h"
#include "verify/verifyd.h"

#define ANSWER_MS 35000 /* the broker gives a fetch 30 s */
#define REACH_MS 3000 /* a broker that is being restarted, or told to read the configuration, is ready by then */
#define REACH_AGAIN_MS 100
#define ASK_AGAIN_MS 1000
#define AT_ONCE 32 /* of those that are merely due */
#define LOOK_AGAIN_SECONDS 3600 /* the clock may be set while a timer runs */
#define ETAG_MAX 64

struct ask {
	struct verifier *verifier;
	struct ask *next, **previous;
	char name[WIRE_NAME_MAX + 1];
	char *source; /* of the identity provider, as it was */
	uint64_t attempt;
	struct buffer request;
	int fd;
	struct event *event, *timer;
	int64_t begun;
	/* what came */
	bool has_head, not_modified;
	char etag[ETAG_MAX + 1];
	uint64_t refresh;
	size_t length;
	struct buffer body;
};

static struct event *due_timer;

static int64_t monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void set_timer(struct event *timer, int64_t ms)
{
	struct timeval limit = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	event_add(timer, &limit);
}

/* --- the end of one ------------------------------------------------------------------------- */

static void hang_up(struct ask *a)
{
	if (a->event)
		event_free(a->event);
	a->event = NULL;
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

static void ask_free(struct ask *a)
{
	*a->previous = a->next;
	if (a->next)
		a->next->previous = a->previous;
	hang_up(a);
	if (a->timer)
		event_free(a->timer);
	buffer_free(&a->request);
	buffer_free(&a->body);
	free(a->source);
	free(a);
}

static void finish(struct ask *a, const struct keysets_answer *answer, int error)
{
	struct verifier *v = a->verifier;
	struct fetched fetched = { .error = error };
	char name[WIRE_NAME_MAX + 1];

	fetched.fresh = keysets_done(v->keysets, a->attempt, answer, time(NULL));
	snprintf(name, sizeof(name), "%s", a->name);
	ask_free(a);
	serve_fetched(v, name, &fetched);
	ask_due(v);
}

/* text becomes what `keyfob jwks list` shows. */
static void fail(struct ask *a, int error, const char *text)
{
	struct keysets_answer answer = { .etag = "", .error = text };

	finish(a, &answer, error);
}

static void succeed(struct ask *a)
{
	struct keysets_answer answer = { .ok = true, .not_modified = a->not_modified, .etag = a->etag };

	answer.body = a->body.data;
	answer.length = a->body.length;
	answer.refresh = (time_t)a->refresh;
	/* A document that came and is no key set is its identity provider's fault. */
	finish(a, &answer, KEYFOB_EPROVIDER);
}

static void fail_errno(struct ask *a, const char *what, int number)
{
	char text[WIRE_TEXT_MAX];

	snprintf(text, sizeof(text), "%s at %s: %s", what, a->verifier->broker_path, strerror(number));
	fail(a, KEYFOB_EAGAIN, text);
}

/* --- the answer ------------------------------------------------------------------------------ */

/* What passes by itself: the broker has not read the configuration yet that this process has, or is busy. */
static bool is_passing(uint8_t code, uint32_t retry)
{
	return code == -KEYFOB_ENOCRED || (code == -KEYFOB_EAGAIN && retry == 1);
}

static void take_error(struct ask *a, uint8_t code, struct reader *r)
{
	char text[WIRE_TEXT_MAX], escaped[WIRE_TEXT_MAX];
	uint32_t retry = reader_u32(r);

	reader_text(r, text, sizeof(text));
	if (!reader_done(r))
		snprintf(text, sizeof(text), "the broker's answer is malformed: have both one version?");
	if (is_passing(code, retry) && monotonic_ms() - a->begun < REACH_MS) {
		hang_up(a);
		set_timer(a->timer, ASK_AGAIN_MS);
	} else {
		fail(a, code == -KEYFOB_EPROVIDER ? KEYFOB_EPROVIDER : KEYFOB_EAGAIN, log_escape(text, escaped, sizeof(escaped)));
	}
}

static void take_head(struct ask *a, const struct buffer *frame)
{
	struct reader r;
	uint8_t version, code;

	reader_init(&r, frame->data, frame->length);
	version = reader_u8(&r);
	code = reader_u8(&r);
	if (version == WIRE_VERSION && code != 0) {
		take_error(a, code, &r);
		return;
	}
	reader_text(&r, a->etag, sizeof(a->etag));
	a->refresh = reader_u64(&r);
	a->not_modified = reader_u8(&r) != 0;
	a->length = reader_u32(&r);
	if (!reader_done(&r) || version != WIRE_VERSION || a->length > WIRE_KEYSET_MAX || (a->not_modified && a->length)) {
		fail(a, KEYFOB_EAGAIN, "the broker's answer is malformed: have both one version?");
		return;
	}
	a->has_head = true;
	buffer_init(&a->body, a->length);
	if (a->length == 0)
		succeed(a);
}

static void take_body(struct ask *a, const struct buffer *frame)
{
	if (!buffer_put(&a->body, frame->data, frame->length))
		fail(a, KEYFOB_EAGAIN, "the broker sent more than it said, or memory ran out");
	else if (a->body.length == a->length)
		succeed(a);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ask *a = arg;
	struct buffer frame;
	int error;

	(void)what;
	buffer_init(&frame, WIRE_MAX);
	error = wire_receive((int)fd, &frame, NULL);
	if (error == 0 && !a->has_head)
		take_head(a, &frame);
	else if (error == 0)
		take_body(a, &frame);
	else if (error != -EAGAIN)
		fail_errno(a, "the broker broke off", -error);
	buffer_free(&frame);
}

/* --- the question ------------------------------------------------------------------------------ */

/* Root's socket, or one's own: whose word decides which keys are believed. */
static int reach(struct ask *a)
{
	a->fd = service_reach(a->verifier->broker_path);
	return a->fd < 0 ? a->fd : wire_send(a->fd, &a->request, -1);
}

static void try_to_reach(struct ask *a)
{
	int error = reach(a);

	if (error == 0) {
		a->event = event_new(a->verifier->base, a->fd, EV_READ | EV_PERSIST, on_readable, a);
		if (a->event && event_add(a->event, NULL) == 0)
			set_timer(a->timer, ANSWER_MS);
		else
			fail(a, KEYFOB_EAGAIN, "out of memory");
		return;
	}
	hang_up(a);
	/* Nothing was asked of the provider yet, so there is no harm in trying again. */
	if (error != -EPERM && error != -ENAMETOOLONG && monotonic_ms() - a->begun < REACH_MS)
		set_timer(a->timer, REACH_AGAIN_MS);
	else if (error == -EPERM)
		fail_errno(a, "not the broker's, but a stranger's socket", -error);
	else
		fail_errno(a, "cannot reach the broker", -error);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct ask *a = arg;

	(void)fd;
	(void)what;
	if (a->event)
		fail(a, KEYFOB_EAGAIN, "the broker did not answer in time");
	else
		try_to_reach(a);
}

static struct ask *ask_new(struct verifier *v, const struct federation_provider *p, uint64_t attempt, const char *etag)
{
	struct ask *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->verifier = v;
	a->fd = -1;
	a->attempt = attempt;
	a->begun = monotonic_ms();
	snprintf(a->name, sizeof(a->name), "%s", p->name);
	buffer_init(&a->request, WIRE_MAX);
	buffer_put_u8(&a->request, WIRE_VERSION);
	buffer_put_u8(&a->request, WIRE_KEYSET);
	buffer_put_text(&a->request, p->name);
	buffer_put_text(&a->request, p->source);
	buffer_put_text(&a->request, etag);
	a->next = v->asks;
	a->previous = &v->asks;
	if (a->next)
		a->next->previous = &a->next;
	v->asks = a;
	a->source = strdup(p->source);
	a->timer = event_new(v->base, -1, 0, on_timer, a);
	if (a->source && a->timer)
		return a;
	ask_free(a);
	return NULL;
}

void ask_begin(struct verifier *v, const struct federation_provider *p)
{
	const struct keysets_answer none = { .etag = "", .error = "out of memory" };
	const char *etag = "";
	uint64_t attempt = keysets_begin(v->keysets, p, time(NULL), &etag);
	struct ask *a = attempt ? ask_new(v, p, attempt, etag) : NULL;

	if (a)
		set_timer(a->timer, 0);
	else
		keysets_done(v->keysets, attempt, &none, time(NULL));
}

/* --- when --------------------------------------------------------------------------------------- */

static size_t count_asks(const struct verifier *v)
{
	size_t count = 0;

	for (const struct ask *a = v->asks; a; a = a->next)
		count++;
	return count;
}

void ask_due(struct verifier *v)
{
	const struct federation_provider *p;
	time_t when = 0, now = time(NULL);

	while ((p = keysets_due(v->keysets, &when)) && when <= now && count_asks(v) < AT_ONCE)
		ask_begin(v, p);
	if (!p || count_asks(v) >= AT_ONCE)
		event_del(due_timer);
	else
		set_timer(due_timer, 1000 * (int64_t)(when - now < LOOK_AGAIN_SECONDS ? when - now : LOOK_AGAIN_SECONDS));
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask_due(arg);
}

int ask_start(struct verifier *v)
{
	due_timer = event_new(v->base, -1, 0, on_due, v);
	if (!due_timer)
		return -ENOMEM;
	ask_due(v);
	return 0;
}

void ask_stop(struct verifier *v)
{
	while (v->asks)
		ask_free(v->asks);
	if (due_timer)
		event_free(due_timer);
	due_timer = NULL;
}

/* --- in vain --------------------------------------------------------------------------------------- */

/* The broker ends a fetch that nobody waits for. */
static void give_up(struct ask *a)
{
	const struct keysets_answer none = { .etag = "", .error = "given up" };

	keysets_done(a->verifier->keysets, a->attempt, &none, time(NULL));
	ask_free(a);
}

void ask_cancel(struct verifier *v, const char *provider)
{
	struct ask *a, *next;

	for (a = v->asks; a; a = next) {
		next = a->next;
		if (strcmp(a->name, provider) == 0)
			give_up(a);
	}
}

void ask_reloaded(struct verifier *v)
{
	struct ask *a, *next;

	for (a = v->asks; a; a = next) {
		const struct federation_provider *p = federation_provider(v->federation, a->name);

		next = a->next;
		if (!p || strcmp(p->source, a->source) != 0)
			give_up(a);
	}
}
