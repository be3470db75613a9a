/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request socket: connections, each with the one who the kernel says he
 * is, and the answers to them. What may be asked is in requests.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/caller.h"
#include "common/log.h"
#include "common/service.h"

#define SPEAK_SECONDS 5 /* a client that has said nothing by then is sent away */
#define GET_SECONDS 30
#define PER_UID_MAX 1024 /* connections; further ones are told to come again */
#define GROUPS_MAX 65536
#define LISTEN_AGAIN_MS 100 /* when descriptors ran out */
#define ACCEPT_BATCH 64 /* then others get their turn */

static struct event *listener_event, *listen_again;
static int listener_fd = -1;

/* --- a connection's end ---------------------------------------------------------------- */

static void leave_waiters(struct conn *conn)
{
	if (!conn->credential)
		return;
	for (struct conn **at = &conn->credential->waiters; *at; at = &(*at)->next_waiter) {
		if (*at == conn) {
			*at = conn->next_waiter;
			break;
		}
	}
	conn->credential = NULL;
}

void conn_close(struct conn *conn)
{
	leave_waiters(conn);
	if (conn->keyset)
		keyset_leave(conn);
	if (conn->question)
		metadata_leave(conn);
	if (conn->fetch)
		fetch_cancel(conn->fetch);
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
	free(conn->groups);
	buffer_free(&conn->lines);
	free(conn);
}

void conn_reply_start(struct buffer *b)
{
	buffer_init(b, WIRE_MAX);
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, 0);
}

/* A client that does not read its answer loses it: nothing here waits. */
void conn_reply_end(struct conn *conn, struct buffer *b)
{
	wire_send(conn->fd, b, -1);
	buffer_free(b);
	conn_close(conn);
}

/* On a credential's own socket there are no frames: the token, or nothing. */
static void end_door(struct conn *conn, const struct buffer *token, const char *error)
{
	char text[WIRE_TEXT_MAX + 256];
	ssize_t sent = token ? send(conn->fd, token->data, token->length, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

	if (token && sent != (ssize_t)token->length)
		error = sent < 0 ? strerror(errno) : "the socket buffers of this host are too small for a token";
	if (error && request_may_log_denial(conn))
		log_warning("credential=%s uid=%u pid=%d event=no-token-by-socket error=\"%s\"", conn->door->name, conn->peer.uid,
			conn->peer.pid, log_quote(error, text, sizeof(text)));
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
	if (conn->door) {
		end_door(conn, NULL, text);
		return;
	}
	buffer_init(&b, WIRE_MAX);
	wire_put_error(&b, error, retry, text);
	conn_reply_end(conn, &b);
}

void conn_reply_token(struct conn *conn, struct credential *c)
{
	struct buffer b, token;
	int error = 0;

	buffer_init(&token, WIRE_TOKEN_MAX + 2048);
	if (!conn->without_token)
		error = credential_token(c, &token);
	if (error < 0) {
		buffer_free(&token);
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "the token was dropped a moment ago");
		return;
	}
	if (!conn->without_token)
		repeat_handed(conn, c);
	if (conn->door) {
		end_door(conn, &token, NULL);
		buffer_free(&token);
		return;
	}
	conn_reply_start(&b);
	buffer_put_string(&b, token.data, token.length);
	buffer_put_u64(&b, c->record.expires);
	buffer_put_u64(&b, c->record.refresh);
	buffer_put_text(&b, c->record.fingerprint);
	if (conn->question)
		buffer_put_text(&b, c->name);
	buffer_free(&token);
	conn_reply_end(conn, &b);
}

/* --- waiting ------------------------------------------------------------------------------ */

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	if (conn->stage == CONN_PUBLISH)
		conn_reply_token(conn, conn->credential);
	else if (conn->stage == CONN_FETCH && conn->credential)
		credential_wait_is_over(conn->credential, conn);
	else if (conn->stage == CONN_FILES)
		request_reply_empty(conn);
	else if (conn->stage == CONN_LOOKUP)
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "uid %u could not be looked up in time", conn->peer.uid);
	else if (conn->stage == CONN_KEYSET)
		conn_reply_error(conn, KEYFOB_EAGAIN, 0, "no key set in time");
	else
		conn_close(conn);
}

void conn_wait(struct conn *conn, enum conn_stage stage, int ms)
{
	struct timeval limit = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	conn->stage = stage;
	if (ms < 0)
		limit = (struct timeval){ 0, 0 };
	/* Without a timer he might wait for ever: then not at all. */
	if (event_add(conn->timer, &limit) < 0)
		event_active(conn->timer, EV_TIMEOUT, 0);
}

/* --- connections ------------------------------------------------------------------------------ */

static void on_frame(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;
	struct buffer frame;
	int error;

	(void)what;
	buffer_init(&frame, WIRE_MAX);
	service_guard(true);
	error = wire_receive((int)fd, &frame, NULL);
	service_guard(false);
	if (error == -EMSGSIZE) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "a request has at most %d bytes", WIRE_MAX);
	} else if (error == 0 && conn->stage == CONN_NEW) {
		conn->stage = CONN_IDLE;
		conn->deadline = now_ms() + GET_SECONDS * 1000;
		request_dispatch(conn, &frame);
	} else if (error != -EAGAIN) {
		/* Gone, or speaking again before the answer: either way nobody is there to answer. */
		conn_close(conn);
	}
	buffer_free(&frame);
}

static bool take_groups(struct conn *conn)
{
	socklen_t size = 64 * sizeof(gid_t);

	for (;;) {
		free(conn->groups);
		/* One more for the primary group, which SO_PEERGROUPS leaves out. */
		conn->groups = malloc(size + sizeof(gid_t));
		if (!conn->groups)
			return false;
		if (getsockopt(conn->fd, SOL_SOCKET, SO_PEERGROUPS, conn->groups, &size) == 0)
			break;
		if (errno != ERANGE || size > GROUPS_MAX * sizeof(gid_t))
			return false;
	}
	conn->group_count = size / sizeof(gid_t);
	conn->groups[conn->group_count++] = conn->peer.gid;
	return true;
}

bool serve_is_crowded(const struct broker *b, uid_t uid)
{
	unsigned int count = 0;

	for (const struct conn *conn = b->conns; conn; conn = conn->next)
		count += conn->peer.uid == uid;
	return count > PER_UID_MAX;
}

/* Nothing is read: a client may well be deaf, or have closed its half (systemd does). */
static void take_door(struct conn *conn)
{
	conn->timer = event_new(conn->broker->base, -1, 0, on_timeout, conn);
	if (!conn->timer) {
		conn_close(conn);
		return;
	}
	conn->deadline = now_ms() + GET_SECONDS * 1000;
	conn->door->socket_asked = now_seconds();
	credential_get(conn->door, conn);
}

/*
 * The request socket knows people by uid, and in a container those are not the
 * host's people. Returns whether he is one of them; the refusal is then on its
 * way.
 */
static bool is_from_container(struct conn *conn)
{
	int where = caller_where(conn->fd, conn->peer.pid);

	if (where == -EXDEV) {
		if (request_may_log_denial(conn))
			log_notice("uid=%u pid=%d event=denied reason=\"a container may not ask by the request socket\"", conn->peer.uid,
				conn->peer.pid);
		conn_reply_error(conn, KEYFOB_EDENIED, 0,
			"callers from a container read the credential's own socket: socket = USER:GROUP MODE (keyfob.conf(5))");
	} else if (where < 0) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "where process %d runs cannot be told: %s", conn->peer.pid, strerror(-where));
	}
	return where < 0;
}

static void take_connection(struct broker *b, int fd, struct credential *door)
{
	struct timeval limit = { .tv_sec = SPEAK_SECONDS };
	struct conn *conn = calloc(1, sizeof(*conn));
	socklen_t length = sizeof(conn->peer);

	if (!conn) {
		close(fd);
		return;
	}
	conn->broker = b;
	conn->door = door;
	conn->fd = fd;
	conn->next = b->conns;
	conn->previous = &b->conns;
	if (conn->next)
		conn->next->previous = &conn->next;
	b->conns = conn;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &conn->peer, &length) < 0 || !take_groups(conn)) {
		conn_close(conn);
		return;
	}
	/* A provider's answer may have taken over the process that read it: no such process asks for tokens. */
	if (conn->peer.uid == b->fetch_uid || fetch_owns(conn->peer.pid)) {
		if (request_may_log_denial(conn))
			log_warning("uid=%u pid=%d event=denied reason=\"a fetch may not ask\"", conn->peer.uid, conn->peer.pid);
		conn_reply_error(conn, KEYFOB_EDENIED, 0, "a fetch may not ask the broker");
		return;
	}
	if (serve_is_crowded(b, conn->peer.uid)) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "uid %u has %d requests waiting", conn->peer.uid, PER_UID_MAX);
		return;
	}
	if (door) {
		take_door(conn);
		return;
	}
	if (is_from_container(conn))
		return;
	conn->timer = event_new(b->base, -1, 0, on_timeout, conn);
	conn->event = event_new(b->base, fd, EV_READ | EV_PERSIST, on_frame, conn);
	if (!conn->timer || !conn->event || event_add(conn->event, NULL) < 0 || event_add(conn->timer, &limit) < 0)
		conn_close(conn);
}

void serve_accept(struct broker *b, int listener, struct credential *door)
{
	static const struct timeval pause = { 0, LISTEN_AGAIN_MS * 1000 };

	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			take_connection(b, fd, door);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
			/* The backlog stays readable: without a pause this would spin. */
			log_warning("event=accept-failed error=\"%s\"", strerror(errno));
			event_del(listener_event);
			sockets_pause(b, true);
			if (event_add(listen_again, &pause) < 0)
				event_active(listen_again, EV_TIMEOUT, 0);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

static void on_connection(evutil_socket_t listener, short what, void *arg)
{
	(void)what;
	serve_accept(arg, (int)listener, NULL);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	if (event_add(listener_event, NULL) < 0)
		event_active(listen_again, EV_TIMEOUT, 0);
	sockets_pause(arg, false);
}

void serve_end_door(struct credential *door)
{
	struct conn *conn, *next;

	for (conn = door->broker->conns; conn; conn = next) {
		next = conn->next;
		if (conn->door == door)
			conn_reply_error(conn, KEYFOB_EDENIED, 0, "this socket is not configured any more");
	}
}

void serve_files_done(struct broker *b)
{
	struct conn *conn, *next;
	bool busy = files_are_busy(b);

	for (conn = b->conns; conn && !busy; conn = next) {
		next = conn->next;
		if (conn->stage == CONN_FILES)
			request_reply_empty(conn);
	}
}

void serve_reloaded(struct broker *b)
{
	struct conn *conn, *next;

	keyset_reloaded(b);
	metadata_reloaded();
	for (conn = b->conns; conn; conn = next) {
		next = conn->next;
		if (conn->fetch)
			conn_reply_error(conn, KEYFOB_EAGAIN, 1, "the configuration was read afresh meanwhile");
		else if (conn->credential && !conn->door && !request_may_have(conn, conn->credential))
			conn_reply_error(conn, KEYFOB_EDENIED, 0, "uid %u is not allowed to have it any more", conn->peer.uid);
		else if (conn->credential && conn->question && !metadata_fits(conn, conn->credential))
			conn_reply_error(conn, KEYFOB_EAGAIN, 1, "the configuration was read afresh meanwhile");
	}
}

int serve_start(struct broker *b, int listener)
{
	listener_fd = listener;
	service_guard_listener(listener);
	listener_event = event_new(b->base, listener, EV_READ | EV_PERSIST, on_connection, b);
	listen_again = event_new(b->base, -1, 0, on_pause_over, b);
	if (!listener_event || !listen_again || event_add(listener_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

void serve_stop(struct broker *b)
{
	while (b->conns)
		conn_close(b->conns);
	metadata_stop();
	if (listener_event)
		event_free(listener_event);
	if (listen_again)
		event_free(listen_again);
	if (listener_fd >= 0)
		close(listener_fd);
}
