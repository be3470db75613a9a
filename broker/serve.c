/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request socket: who asks is who the kernel says, what he may ask stands
 * in a table, and one connection carries one request (doc/PROTOCOL).
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/launcher.h"
#include "common/log.h"

#define SPEAK_SECONDS 5 /* a client that has said nothing by then is sent away */
#define GET_SECONDS 30
#define PER_UID_MAX 1024 /* connections; further ones are told to come again */
#define GROUPS_MAX 65536
#define LOOKUP_MS 3000
#define TRY_MS 130000 /* longer than any attempt may take */
#define GUARD_MS 20
#define LISTEN_AGAIN_MS 100 /* when descriptors ran out */
#define DENIALS_LOGGED 10 /* a minute and a user */
#define LINES_MAX 32768 /* of the exchange shown by `try` */
#define ACCEPT_BATCH 64 /* then others get their turn */

static struct event *listener_event, *listen_again;
static int listener_fd = -1;

/*
 * Where the kernel cannot refuse descriptors (before Linux 6.16), one that a
 * client sends may be a socket that lingers when it is closed, as long as he
 * likes. A signal ends that wait, so one comes while a client's frames are
 * taken or dropped.
 */
static bool linger_guard;

static void on_alarm(int number)
{
	(void)number;
}

static void guard(bool on)
{
	struct itimerval timer = { { 0, on ? GUARD_MS * 1000 : 0 }, { 0, on ? GUARD_MS * 1000 : 0 } };

	if (linger_guard)
		setitimer(ITIMER_REAL, &timer, NULL);
}

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

static void conn_close(struct conn *conn)
{
	leave_waiters(conn);
	if (conn->fetch)
		fetch_cancel(conn->fetch);
	*conn->previous = conn->next;
	if (conn->next)
		conn->next->previous = conn->previous;
	if (conn->event)
		event_free(conn->event);
	if (conn->timer)
		event_free(conn->timer);
	guard(true);
	close(conn->fd);
	guard(false);
	free(conn->groups);
	buffer_free(&conn->lines);
	free(conn);
}

static void reply_start(struct buffer *b)
{
	buffer_init(b, WIRE_MAX);
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, 0);
}

/* A client that does not read its answer loses it: nothing here waits. */
static void reply_end(struct conn *conn, struct buffer *b)
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
	buffer_put_u8(&b, WIRE_VERSION);
	buffer_put_u8(&b, (uint8_t)-error);
	buffer_put_u32(&b, retry);
	buffer_put_text(&b, text);
	reply_end(conn, &b);
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
	reply_start(&b);
	buffer_put_string(&b, token.data, token.length);
	buffer_put_u64(&b, c->record.expires);
	buffer_put_u64(&b, c->record.refresh);
	buffer_put_text(&b, c->record.fingerprint);
	buffer_free(&token);
	reply_end(conn, &b);
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
		conn_reply_error(conn, KEYFOB_EAGAIN, 0, "no token within %d s%s%s", GET_SECONDS, *conn->credential->error.text ? ": " : "",
			conn->credential->error.text);
	else
		conn_close(conn);
}

void conn_wait(struct conn *conn, enum conn_stage stage, int ms)
{
	struct timeval limit = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	conn->stage = stage;
	if (ms < 0)
		limit = (struct timeval){ 0, 0 };
	event_add(conn->timer, &limit);
}

/* --- requests ------------------------------------------------------------------------------ */

static bool may_have(const struct conn *conn, const struct credential *c)
{
	return policy_allows(c->policy, conn->peer.uid, conn->groups, conn->group_count);
}

/* Whoever is refused in a loop does not fill the log. */
static bool may_log_denial(const struct conn *conn)
{
	struct user *user = user_of(conn->broker, conn->peer.uid);
	uint64_t minute = now_seconds() / 60;

	if (!user)
		return true;
	if (user->denial_minute != minute) {
		user->denial_minute = minute;
		user->denials = 0;
	}
	return ++user->denials <= DENIALS_LOGGED;
}

/* The credential named by the request, if the caller may have it; otherwise the refusal is on its way and NULL comes back. */
static struct credential *named(struct conn *conn, struct reader *r, bool last)
{
	char name[WIRE_NAME_MAX + 1];
	struct credential *c;

	reader_text(r, name, sizeof(name));
	if (r->failed || (last && !reader_done(r)) || !wire_name_valid(name)) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
		return NULL;
	}
	c = credential_find(conn->broker, name);
	if (!c) {
		conn_reply_error(conn, KEYFOB_ENOCRED, 0, "no credential has that name (keyfob status lists those there are)");
		return NULL;
	}
	if (!may_have(conn, c)) {
		if (may_log_denial(conn))
			log_notice("credential=%s uid=%u pid=%d event=denied", name, conn->peer.uid, conn->peer.pid);
		conn_reply_error(conn, KEYFOB_EDENIED, 0, "uid %u is not allowed to have it", conn->peer.uid);
		return NULL;
	}
	return c;
}

static void handle_get(struct conn *conn, struct reader *r)
{
	struct credential *c = named(conn, r, true);

	if (!c)
		return;
	credential_note_asked(c, conn->peer.uid, !policy_allows(c->policy, conn->peer.uid, NULL, 0));
	credential_get(c, conn);
}

static void handle_refresh(struct conn *conn, struct reader *r)
{
	struct credential *c = named(conn, r, true);

	if (c)
		credential_refresh(c, conn);
}

static void reply_empty(struct conn *conn)
{
	struct buffer b;

	reply_start(&b);
	reply_end(conn, &b);
}

static void handle_drop(struct conn *conn, struct reader *r)
{
	struct credential *c = named(conn, r, true);

	if (!c)
		return;
	credential_drop(c, "root asked");
	c->forced = true;
	schedule_arm(conn->broker);
	reply_empty(conn);
}

static void handle_reject(struct conn *conn, struct reader *r)
{
	struct credential *c = named(conn, r, false);
	struct buffer current;
	const uint8_t *token;
	size_t length;

	if (!c)
		return;
	token = reader_string(r, &length);
	if (!reader_done(r)) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
		return;
	}
	buffer_init(&current, WIRE_TOKEN_MAX + 2048);
	if (credential_is_valid(c) && credential_token(c, &current) == 0 && current.length == length &&
		memcmp(current.data, token, length) == 0) {
		uint64_t wait = credential_may_reject(c);

		if (wait) {
			buffer_free(&current);
			conn_reply_error(conn, KEYFOB_EAGAIN, (unsigned int)wait, "a token was rejected a moment ago");
			return;
		}
		credential_drop(c, "a server refused it");
		c->forced = true;
		schedule_arm(conn->broker);
	}
	buffer_free(&current);
	reply_empty(conn);
}

static void handle_status(struct conn *conn, struct reader *r)
{
	char name[WIRE_NAME_MAX + 1], after[WIRE_NAME_MAX + 1];
	struct buffer b;

	reader_text(r, name, sizeof(name));
	reader_text(r, after, sizeof(after));
	if (!reader_done(r)) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
		return;
	}
	if (*name) {
		struct credential *c = credential_find(conn->broker, name);

		if (!c || !may_have(conn, c)) {
			conn_reply_error(conn, c ? KEYFOB_EDENIED : KEYFOB_ENOCRED, 0,
				c ? "not allowed to have it" : "no credential has that name (keyfob status lists those there are)");
			return;
		}
	}
	reply_start(&b);
	status_reply(conn->broker, conn, name, after, &b);
	reply_end(conn, &b);
}

static void handle_reload(struct conn *conn, struct reader *r)
{
	struct buffer errors;
	char text[WIRE_TEXT_MAX / 2];
	const char *first;

	if (!reader_done(r)) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
		return;
	}
	buffer_init(&errors, 65536);
	if (broker_reload(conn->broker, &errors)) {
		reply_empty(conn);
	} else {
		first = buffer_cstring(&errors);
		snprintf(text, sizeof(text), "%.*s", first ? (int)strcspn(first, "\n") : 0, first ? first : "");
		conn_reply_error(conn, KEYFOB_EFAIL, 0, "%s; the old configuration stays (keyfob doctor --config tells all)", text);
	}
	buffer_free(&errors);
}

/* The groups of a user who is not here to show his own. For root, who waits for the answer. */
static bool look_up_groups(struct broker *b, uint32_t uid, gid_t *groups, size_t max, size_t *count)
{
	struct buffer request, answer;
	struct reader r;
	char text[16];
	size_t length;
	bool found = false;

	buffer_init(&request, 64);
	buffer_init(&answer, WIRE_MAX);
	snprintf(text, sizeof(text), "%u", uid);
	buffer_put_u8(&request, LAUNCHER_LOOKUP);
	buffer_put_u32(&request, 1);
	buffer_put_u8(&request, LAUNCHER_NAME_GROUPS);
	buffer_put_text(&request, text);
	if (launcher_ask(b->launcher, &request, LOOKUP_MS, &answer) == 0) {
		reader_init(&r, answer.data, answer.length);
		found = reader_u32(&r) == 1 && reader_u8(&r) == 1;
		reader_string(&r, &length);
		for (uint32_t left = found ? reader_u32(&r) : 0; left && *count < max && !r.failed; left--)
			groups[(*count)++] = reader_u32(&r);
	}
	buffer_free(&request);
	buffer_free(&answer);
	return found;
}

/* Root may ask about anybody; others about themselves, with the groups they come with. */
static void handle_may(struct conn *conn, struct reader *r)
{
	char name[WIRE_NAME_MAX + 1];
	gid_t looked_up[1024];
	const gid_t *groups = conn->groups;
	size_t count = conn->group_count;
	struct credential *c;
	struct buffer b;
	const char *why;
	uint32_t uid;
	bool allowed, found = true;

	reader_text(r, name, sizeof(name));
	uid = reader_u32(r);
	c = reader_done(r) ? credential_find(conn->broker, name) : NULL;
	if (!c || (conn->peer.uid != 0 && conn->peer.uid != uid)) {
		conn_reply_error(conn,
			!reader_done(r) ? KEYFOB_EINVAL
			: c		? KEYFOB_EDENIED
					: KEYFOB_ENOCRED,
			0, c ? "only root may ask about other users" : "no credential has that name (keyfob status lists those there are)");
		return;
	}
	if (conn->peer.uid != uid) {
		count = 0;
		groups = looked_up;
		found = look_up_groups(conn->broker, uid, looked_up, sizeof(looked_up) / sizeof(looked_up[0]), &count);
	}
	allowed = policy_allows(c->policy, uid, groups, count);
	if (uid == 0)
		why = "root may have any credential";
	else if (allowed)
		why = policy_names_user(c->policy, uid) ? "named by the allow line" : "in an allowed group";
	else
		why = found ? "no allow line names this user or a group of his" : "there is no such user";
	reply_start(&b);
	buffer_put_u8(&b, allowed);
	buffer_put_text(&b, why);
	reply_end(conn, &b);
}

static void on_told(void *arg, const char *line)
{
	struct conn *conn = arg;

	if (conn->lines.length + strlen(line) + WIRE_TEXT_MAX < LINES_MAX)
		buffer_printf(&conn->lines, "%s\n", line);
}

static void on_tried(void *arg, const struct wire_result *result, const char *token, size_t length);

static void try_line(struct conn *conn)
{
	conn->fetch = fetch_start(conn->broker, conn->tried, &conn->tried->providers[conn->provider], on_tried, on_told, conn);
	if (conn->fetch)
		conn_wait(conn, CONN_IDLE, TRY_MS);
	else
		conn_reply_error(conn, KEYFOB_EFAIL, 0, "out of memory");
}

static void on_tried(void *arg, const struct wire_result *result, const char *token, size_t length)
{
	struct conn *conn = arg;
	struct buffer b;

	(void)token;
	conn->fetch = NULL;
	if (result->class == KEYFOB_CLASS_OK) {
		buffer_printf(&conn->lines, "token #%s, %zu bytes, expires %" PRIu64 "\n", result->fingerprint, length, result->expires);
	} else {
		buffer_printf(&conn->lines, "%s: %s\n", conn->tried->providers[conn->provider].module, result->text);
		if (++conn->provider < conn->tried->provider_count) {
			try_line(conn);
			return;
		}
	}
	reply_start(&b);
	buffer_put_u8(&b, result->class);
	buffer_put_string(&b, conn->lines.data, conn->lines.length);
	reply_end(conn, &b);
}

/* The provider lines in turn, as for a get; shown, and thrown away. */
static void handle_try(struct conn *conn, struct reader *r)
{
	struct credential *c = named(conn, r, true);

	if (!c)
		return;
	buffer_init(&conn->lines, LINES_MAX);
	conn->tried = c->policy;
	try_line(conn);
}

enum who { ANYBODY, ROOT };

static const struct {
	enum who who;
	void (*handle)(struct conn *conn, struct reader *r);
} requests[] = {
	[WIRE_GET] = { ANYBODY, handle_get },
	[WIRE_STATUS] = { ANYBODY, handle_status },
	[WIRE_DROP] = { ROOT, handle_drop },
	[WIRE_REFRESH] = { ANYBODY, handle_refresh },
	[WIRE_REJECT] = { ANYBODY, handle_reject },
	[WIRE_RELOAD] = { ROOT, handle_reload },
	[WIRE_MAY] = { ANYBODY, handle_may },
	[WIRE_TRY] = { ROOT, handle_try },
};

static void dispatch(struct conn *conn, const struct buffer *frame)
{
	struct reader r;
	uint8_t version, opcode;

	reader_init(&r, frame->data, frame->length);
	version = reader_u8(&r);
	opcode = reader_u8(&r);
	if (r.failed || version != WIRE_VERSION)
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "this broker speaks version %d of the protocol", WIRE_VERSION);
	else if (opcode >= sizeof(requests) / sizeof(requests[0]) || !requests[opcode].handle)
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "no request has number %u", opcode);
	else if (conn->peer.uid != 0 && requests[opcode].who == ROOT) {
		if (may_log_denial(conn))
			log_notice("uid=%u pid=%d event=denied request=%u", conn->peer.uid, conn->peer.pid, opcode);
		conn_reply_error(conn, KEYFOB_EDENIED, 0, "only root may ask for that");
	} else
		requests[opcode].handle(conn, &r);
}

/* --- connections ------------------------------------------------------------------------------ */

static void on_frame(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;
	struct buffer frame;
	int error;

	(void)what;
	buffer_init(&frame, WIRE_MAX);
	guard(true);
	error = wire_receive((int)fd, &frame, NULL);
	guard(false);
	if (error == -EMSGSIZE) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "a request has at most %d bytes", WIRE_MAX);
	} else if (error == 0 && conn->stage == CONN_NEW) {
		conn->stage = CONN_IDLE;
		conn->deadline = now_ms() + GET_SECONDS * 1000;
		dispatch(conn, &frame);
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

static bool is_crowded(struct broker *b, uid_t uid)
{
	unsigned int count = 0;

	for (struct conn *conn = b->conns; conn; conn = conn->next)
		count += conn->peer.uid == uid;
	return count > PER_UID_MAX;
}

static void take_connection(struct broker *b, int fd)
{
	struct timeval limit = { .tv_sec = SPEAK_SECONDS };
	struct conn *conn = calloc(1, sizeof(*conn));
	socklen_t length = sizeof(conn->peer);

	if (!conn) {
		close(fd);
		return;
	}
	conn->broker = b;
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
		if (may_log_denial(conn))
			log_warning("uid=%u pid=%d event=denied reason=\"a fetch may not ask\"", conn->peer.uid, conn->peer.pid);
		conn_reply_error(conn, KEYFOB_EDENIED, 0, "a fetch may not ask the broker");
		return;
	}
	if (is_crowded(b, conn->peer.uid)) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "uid %u has %d requests waiting", conn->peer.uid, PER_UID_MAX);
		return;
	}
	conn->timer = event_new(b->base, -1, 0, on_timeout, conn);
	conn->event = event_new(b->base, fd, EV_READ | EV_PERSIST, on_frame, conn);
	if (!conn->timer || !conn->event || event_add(conn->event, NULL) < 0 || event_add(conn->timer, &limit) < 0)
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

void serve_reloaded(struct broker *b)
{
	struct conn *conn, *next;

	for (conn = b->conns; conn; conn = next) {
		next = conn->next;
		if (conn->fetch)
			conn_reply_error(conn, KEYFOB_EAGAIN, 1, "the configuration was read afresh meanwhile");
		else if (conn->credential && !may_have(conn, conn->credential))
			conn_reply_error(conn, KEYFOB_EDENIED, 0, "uid %u is not allowed to have it any more", conn->peer.uid);
	}
}

int serve_start(struct broker *b, int listener)
{
	listener_fd = listener;
	linger_guard = !wire_refuse_descriptors(listener);
	if (linger_guard)
		signal(SIGALRM, on_alarm);
	listener_event = event_new(b->base, listener, EV_READ | EV_PERSIST, on_connection, b);
	listen_again = event_new(b->base, -1, 0, on_pause_over, NULL);
	if (!listener_event || !listen_again || event_add(listener_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

void serve_stop(struct broker *b)
{
	while (b->conns)
		conn_close(b->conns);
	if (listener_event)
		event_free(listener_event);
	if (listen_again)
		event_free(listen_again);
	if (listener_fd >= 0)
		close(listener_fd);
}
