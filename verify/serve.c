/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verifier's socket: one request to a connection, whose sender is who the
 * kernel says (doc/PROTOCOL). All that waits here is bounded.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/service.h"
#include "verify/verifyd.h"

#define SPEAK_SECONDS 5 /* a client that has said nothing by then is sent away */
#define PER_UID_MAX 1024 /* connections */
#define WAITING_PER_UID_MAX 256 /* so that those who need not wait find a place */
#define WAITING_MAX 1024 /* each holds a token of 64 KiB at most */
#define LISTEN_AGAIN_MS 100 /* when descriptors ran out */
#define ACCEPT_BATCH 64 /* then others get their turn */
#define LOGGED_MAX 100 /* lines in a second, of a user, beside those of good tokens */

static struct event *listener_event, *listen_again;
static int listener_fd = -1;

/* --- a connection's end ---------------------------------------------------------------- */

static void conn_close(struct conn *conn)
{
	*conn->previous = conn->next;
	if (conn->next)
		conn->next->previous = conn->previous;
	if (conn->event)
		event_free(conn->event);
	if (conn->timer)
		event_free(conn->timer);
	service_guard(true);
	close(conn->fd);
	service_guard(false);
	buffer_free(&conn->request);
	free(conn);
}

void conn_reply_start(struct buffer *b)
{
	buffer_init(b, WIRE_MAX);
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, 0);
}

/* A client that does not read its answer loses it: nothing here waits. */
void conn_reply(struct conn *conn, struct buffer *b)
{
	wire_send(conn->fd, b, -1);
	buffer_free(b);
	conn_close(conn);
}

void conn_reply_error(struct conn *conn, int error, unsigned int retry, const char *format, ...)
{
	char text[WIRE_TEXT_MAX];
	struct buffer b;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	buffer_init(&b, WIRE_MAX);
	wire_put_error(&b, error, retry, text);
	conn_reply(conn, &b);
}

/* --- the log's room --------------------------------------------------------------------------- */

/* Root is not counted: services ask as root, too, and he could write there anyway. */
bool conn_may_log(const struct conn *conn)
{
	unsigned int lines = conn->peer.uid ? log_tally(conn->peer.uid) : 0;

	if (lines == LOGGED_MAX + 1)
		log_warning("event=not-logged uid=%u pid=%d; more than %d in a second", conn->peer.uid, conn->peer.pid, LOGGED_MAX);
	return lines <= LOGGED_MAX;
}

/* --- waiting ------------------------------------------------------------------------------ */

static void look_again(struct conn *conn)
{
	conn->waited = true;
	conn->stage = CONN_SPOKEN;
	event_del(conn->timer);
	request_handle(conn);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	if (conn->stage == CONN_PARKED)
		look_again(conn);
	else if (conn->stage == CONN_FETCH)
		conn_reply_error(conn, KEYFOB_EAGAIN, 0, "the fetch has not ended yet (keyfob jwks list tells what becomes of it)");
	else
		conn_close(conn);
}

static bool may_wait(const struct conn *conn)
{
	unsigned int all = 0, his = 0;

	for (const struct conn *other = conn->verifier->conns; other; other = other->next) {
		bool waits = other->stage == CONN_PARKED || other->stage == CONN_FETCH;

		all += waits;
		his += waits && other->peer.uid == conn->peer.uid;
	}
	return all < WAITING_MAX && his < WAITING_PER_UID_MAX;
}

bool conn_wait(struct conn *conn, enum conn_stage stage, const char *provider, int ms)
{
	struct timeval limit = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	struct buffer kept;

	if (!may_wait(conn))
		return false;
	/* What a frame was received into has room for the largest. */
	buffer_init(&kept, conn->request.length);
	if (!buffer_put(&kept, conn->request.data, conn->request.length)) {
		buffer_free(&kept);
		return false;
	}
	buffer_free(&conn->request);
	conn->request = kept;
	conn->stage = stage;
	snprintf(conn->waits_for, sizeof(conn->waits_for), "%s", provider);
	event_add(conn->event, NULL);
	event_add(conn->timer, &limit);
	return true;
}

void serve_fetched(struct verifier *v, const char *provider, const struct fetched *fetched)
{
	struct conn *conn, *next;

	for (conn = v->conns; conn; conn = next) {
		next = conn->next;
		if (strcmp(conn->waits_for, provider) != 0)
			continue;
		if (conn->stage == CONN_PARKED)
			look_again(conn);
		else if (conn->stage == CONN_FETCH)
			request_fetched(conn, fetched);
	}
}

void serve_reloaded(struct verifier *v)
{
	struct conn *conn, *next;

	for (conn = v->conns; conn; conn = next) {
		next = conn->next;
		if (conn->stage == CONN_FETCH && !federation_provider(v->federation, conn->waits_for))
			conn_reply_error(conn, KEYFOB_ENOCRED, 0, "that identity provider was removed from the configuration meanwhile");
	}
}

/* --- connections ------------------------------------------------------------------------------ */

/* Takes the request and has it answered; false when none has come yet. */
static bool hear(struct conn *conn)
{
	int error;

	buffer_init(&conn->request, WIRE_MAX);
	service_guard(true);
	error = wire_receive(conn->fd, &conn->request, NULL);
	service_guard(false);
	if (error == -EAGAIN) {
		buffer_free(&conn->request);
		return false;
	}
	if (error == 0) {
		conn->stage = CONN_SPOKEN;
		event_del(conn->timer);
		request_handle(conn);
	} else if (error == -EMSGSIZE) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "a request has at most %d bytes", WIRE_MAX);
	} else {
		conn_close(conn);
	}
	return true;
}

static void on_frame(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	/* Gone, or speaking again before the answer: either way nobody is there to answer. */
	if (conn->stage == CONN_NEW)
		hear(conn);
	else
		conn_close(conn);
}

static bool is_crowded(const struct verifier *v, uid_t uid)
{
	unsigned int count = 0;

	for (const struct conn *conn = v->conns; conn; conn = conn->next)
		count += conn->peer.uid == uid;
	return count > PER_UID_MAX;
}

static void take_connection(struct verifier *v, int fd)
{
	struct timeval limit = { .tv_sec = SPEAK_SECONDS };
	struct conn *conn = calloc(1, sizeof(*conn));
	socklen_t length = sizeof(conn->peer);

	if (!conn) {
		close(fd);
		return;
	}
	conn->verifier = v;
	conn->fd = fd;
	conn->next = v->conns;
	conn->previous = &v->conns;
	if (conn->next)
		conn->next->previous = &conn->next;
	v->conns = conn;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &conn->peer, &length) < 0) {
		conn_close(conn);
		return;
	}
	if (is_crowded(v, conn->peer.uid)) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "uid %u has %d requests waiting", conn->peer.uid, PER_UID_MAX);
		return;
	}
	conn->timer = event_new(v->base, -1, 0, on_timeout, conn);
	conn->event = event_new(v->base, fd, EV_READ | EV_PERSIST, on_frame, conn);
	/* Most have spoken by now, and need not be waited for. */
	if (!conn->timer || !conn->event)
		conn_close(conn);
	else if (!hear(conn) && (event_add(conn->event, NULL) < 0 || event_add(conn->timer, &limit) < 0))
		conn_close(conn);
}

static void on_connection(evutil_socket_t listener, short what, void *arg)
{
	static const struct timeval pause = { 0, LISTEN_AGAIN_MS * 1000 };

	(void)what;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4((int)listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			take_connection(arg, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
			/* The backlog stays readable: without a pause this would spin. */
			log_warning("event=accept-failed error=\"%s\"", strerror(errno));
			event_del(listener_event);
			event_add(listen_again, &pause);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	event_add(listener_event, NULL);
}

int serve_start(struct verifier *v, int listener)
{
	listener_fd = listener;
	service_guard_listener(listener);
	listener_event = event_new(v->base, listener, EV_READ | EV_PERSIST, on_connection, v);
	listen_again = event_new(v->base, -1, 0, on_pause_over, NULL);
	if (!listener_event || !listen_again || event_add(listener_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

void serve_stop(struct verifier *v)
{
	while (v->conns)
		conn_close(v->conns);
	if (listener_event)
		event_free(listener_event);
	if (listen_again)
		event_free(listen_again);
	if (listener_fd >= 0)
		close(listener_fd);
}
