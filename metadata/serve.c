/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections are this file's and not evhttp's, which shows one when its
 * first request is whole: whose it is, and whether he has too many, has to be
 * known from the start.
 */
#include "metadata/serve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "keyring/keyfob.h"
#include "metadata/ask.h"
#include "metadata/peer.h"

#define HEAD_SECONDS 5 /* for a request to be there */
#define ANSWER_SECONDS 8 /* after it: drivers wait for 10 */
#define WRITE_SECONDS 5
#define LINGER_SECONDS 2
#define PER_UID_MAX 1024 /* connections */
#define CONNS_MAX 8192
#define LISTEN_AGAIN_MS 100 /* when descriptors ran out, or there are too many connections */
#define ACCEPT_BATCH 64 /* then others get their turn */
#define LOGGED_MAX 100 /* lines in a second, of a user */
#define UID_UNKNOWN ((uid_t)-1) /* all of whom nobody knows who they are count as one */

enum stage {
	READING,
	WAITING, /* for the broker */
	WRITING,
	LINGERING, /* until the client has closed: what it still sends must not cost it the answer */
};

/* A user who has connections. */
struct guest {
	struct guest *next, **previous;
	uid_t uid;
	size_t conns;
};

struct conn {
	struct server *server;
	struct guest *guest;
	struct conn *next, **previous;
	int fd;
	enum stage stage;
	struct event *event, *timer;
	struct peer peer;
	const char *stranger; /* why it is not known who that is; NULL: it is */
	char head[HTTP_HEAD_MAX + 1];
	size_t length;
	struct http_request request; /* points into head */
	struct question question;
	struct ask *ask;
	struct buffer out;
	size_t sent;
};

static void advance(struct conn *conn, enum stage stage, short events, int seconds);

/* --- whose they are ---------------------------------------------------------------------- */

static struct guest *guest_of(struct server *s, uid_t uid)
{
	struct guest *guest;

	for (guest = s->guests; guest; guest = guest->next)
		if (guest->uid == uid)
			return guest;
	guest = calloc(1, sizeof(*guest));
	if (!guest)
		return NULL;
	*guest = (struct guest){ .next = s->guests, .previous = &s->guests, .uid = uid };
	if (guest->next)
		guest->next->previous = &guest->next;
	s->guests = guest;
	return guest;
}

static void guest_leave(struct guest *guest)
{
	if (!guest || --guest->conns)
		return;
	*guest->previous = guest->next;
	if (guest->next)
		guest->next->previous = guest->previous;
	free(guest);
}

/* --- the end ---------------------------------------------------------------------------- */

static void conn_close(struct conn *conn)
{
	*conn->previous = conn->next;
	if (conn->next)
		conn->next->previous = conn->previous;
	conn->server->count--;
	guest_leave(conn->guest);
	if (conn->ask)
		ask_cancel(conn->ask);
	if (conn->event)
		event_free(conn->event);
	if (conn->timer)
		event_free(conn->timer);
	close(conn->fd);
	buffer_free(&conn->out);
	free(conn);
}

static uid_t conn_uid(const struct conn *conn)
{
	return conn->stranger ? UID_UNKNOWN : conn->peer.uid;
}

/* --- the log ------------------------------------------------------------------------------ */

static bool may_log(const struct conn *conn)
{
	unsigned int lines = log_tally(conn_uid(conn));

	if (lines == LOGGED_MAX + 1)
		log_warning("event=not-logged uid=%d; more than %d in a second", (int)conn_uid(conn), LOGGED_MAX);
	return lines <= LOGGED_MAX;
}

static void log_answer(const struct conn *conn, int status, const struct reply *reply)
{
	const char *kind = conn->question.kind == KEYFOB_KIND_ID ? "id" : "access";
	char resource[256], text[512];

	if (!may_log(conn))
		return;
	log_quote(conn->question.resource, resource, sizeof(resource));
	if (reply->error == 0)
		log_info("event=metadata uid=%u credential=%s kind=%s status=%d token=#%s", conn->peer.uid, reply->credential, kind, status,
			reply->fingerprint);
	else
		log_notice("event=metadata uid=%u credential= kind=%s status=%d resource=\"%s\" reason=\"%s\"", conn->peer.uid, kind,
			status, resource, log_quote(reply->text, text, sizeof(text)));
}

static void log_refusal(const struct conn *conn, const char *why)
{
	if (may_log(conn))
		log_notice("event=refused uid=%d reason=\"%s\"", (int)conn_uid(conn), why);
}

/* --- answering -------------------------------------------------------------------------------- */

static void write_out(struct conn *conn)
{
	while (conn->sent < conn->out.length) {
		ssize_t n = send(conn->fd, conn->out.data + conn->sent, conn->out.length - conn->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			conn_close(conn);
			return;
		}
		conn->sent += (size_t)n;
	}
	buffer_free(&conn->out);
	shutdown(conn->fd, SHUT_WR);
	advance(conn, LINGERING, EV_READ, LINGER_SECONDS);
}

/* Send the answer and free it. */
static void conn_answer(struct conn *conn, struct http_answer *answer)
{
	bool whole = http_put_answer(&conn->out, &conn->request, answer);

	buffer_free(&answer->body);
	if (!whole) {
		log_error("event=answer-failed uid=%d; out of memory", (int)conn_uid(conn));
		conn_close(conn);
		return;
	}
	advance(conn, WRITING, EV_WRITE, WRITE_SECONDS);
}

static void answer_start(struct http_answer *answer, const struct service *service)
{
	memset(answer, 0, sizeof(*answer));
	answer->google = service && service->google;
	buffer_init(&answer->body, HTTP_BODY_MAX);
}

static void conn_refuse(struct conn *conn, const struct service *service, int status, const char *text)
{
	struct http_answer answer;

	answer_start(&answer, service);
	if (service)
		service->refuse(&answer, status, text);
	else
		service_refuse_plain(&answer, status, text);
	conn_answer(conn, &answer);
}

/* --- questions to the broker ------------------------------------------------------------------ */

static void on_reply(void *context, const struct reply *reply)
{
	struct conn *conn = context;
	const struct service *service = conn->question.service;
	const char *why = peer_same(conn->server->diag, conn->fd, &conn->peer);
	struct http_answer answer;

	conn->ask = NULL;
	/* The port may be another's by now. He gets nothing, and nobody else is there to be told. */
	if (why) {
		log_refusal(conn, why);
		conn_close(conn);
		return;
	}
	answer_start(&answer, service);
	service_answer(&conn->question, reply, (uint64_t)time(NULL), &answer);
	log_answer(conn, answer.status, reply);
	conn_answer(conn, &answer);
}

static void ask_too_long(struct conn *conn)
{
	const struct reply reply = {
		.error = KEYFOB_EAGAIN, .retry = 1, .text = "no answer from the broker in time; it may still be fetching"
	};

	ask_cancel(conn->ask);
	on_reply(conn, &reply);
}

/* --- requests ------------------------------------------------------------------------------------ */

static void handle(struct conn *conn)
{
	const char *why = http_parse(conn->head, conn->length, &conn->request);
	const struct service *service = why ? NULL : service_of(&conn->request);
	struct http_answer answer;

	if (conn->stranger) {
		log_refusal(conn, conn->stranger);
		conn_refuse(
			conn, service, 403, "keyfob serves local users other than root, each for himself; who asks here could not be told");
		return;
	}
	if (!service) {
		conn_refuse(conn, NULL, why ? 400 : 404, why ? why : "neither Azure's nor Google's metadata service has this path");
		return;
	}
	answer_start(&answer, service);
	if (!service->take(&conn->request, &conn->question, &answer)) {
		conn_answer(conn, &answer);
		return;
	}
	buffer_free(&answer.body);
	conn->question.service = service;
	conn->ask = ask_begin(conn->server->base, conn->server->broker, conn->peer.uid, &conn->question, on_reply, conn);
	if (conn->ask)
		advance(conn, WAITING, EV_CLOSED, ANSWER_SECONDS);
	else
		conn_refuse(conn, service, 503, "keyfob: out of memory");
}

static void read_head(struct conn *conn)
{
	ssize_t n = recv(conn->fd, conn->head + conn->length, HTTP_HEAD_MAX - conn->length, 0);
	/* An end takes three bytes at most: who sends one at a time has each looked at once. */
	size_t from = conn->length > 2 ? conn->length - 2 : 0, whole;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_close(conn);
		return;
	}
	conn->length += (size_t)n;
	whole = http_head_length(conn->head + from, conn->length - from);
	if (whole) {
		conn->length = from + whole;
		conn->head[conn->length] = 0;
		handle(conn);
	} else if (conn->length == HTTP_HEAD_MAX) {
		conn_refuse(conn, NULL, 431, "the request is too long");
	}
}

static void linger(struct conn *conn)
{
	char waste[4096];
	ssize_t n = recv(conn->fd, waste, sizeof(waste), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		conn_close(conn);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	switch (conn->stage) {
	case READING:
		read_head(conn);
		break;
	case WAITING:
		/* Gone. An answer nobody waits for is not fetched. */
		conn_close(conn);
		break;
	case WRITING:
		write_out(conn);
		break;
	case LINGERING:
		linger(conn);
		break;
	}
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	if (conn->stage == READING && conn->length)
		conn_refuse(conn, NULL, 408, "the request did not come in time");
	else if (conn->stage == WAITING)
		ask_too_long(conn);
	else
		conn_close(conn);
}

/* The connection's next stage: which events it waits for, and how long. */
static void advance(struct conn *conn, enum stage stage, short events, int seconds)
{
	struct timeval limit = { .tv_sec = seconds };

	conn->stage = stage;
	event_del(conn->event);
	if (event_assign(conn->event, conn->server->base, conn->fd, (short)(events | EV_PERSIST), on_event, conn) < 0 ||
		event_add(conn->event, NULL) < 0 || event_add(conn->timer, &limit) < 0)
		conn_close(conn);
}

/* --- connections ---------------------------------------------------------------------------------- */

/*
 * For who comes when all places are taken, which takes more users than one, or one with the uids of many: the place of who
 * has been longest without a question, or has had his answer. The newest is first.
 */
static bool make_room(struct server *s)
{
	struct conn *oldest = NULL;

	for (struct conn *conn = s->conns; conn; conn = conn->next)
		if (conn->stage == READING || conn->stage == LINGERING)
			oldest = conn;
	if (oldest)
		conn_close(oldest);
	return oldest;
}

static void take_connection(struct server *s, int fd)
{
	struct timeval limit = { .tv_sec = HEAD_SECONDS };
	struct conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		close(fd);
		return;
	}
	conn->server = s;
	conn->fd = fd;
	conn->request.method = "";
	buffer_init(&conn->out, HTTP_BODY_MAX + HTTP_HEAD_MAX);
	conn->next = s->conns;
	conn->previous = &s->conns;
	if (conn->next)
		conn->next->previous = &conn->next;
	s->conns = conn;
	s->count++;
	conn->stranger = peer_find(s->diag, fd, &conn->peer);
	conn->guest = guest_of(s, conn_uid(conn));
	if (conn->guest)
		conn->guest->conns++;
	conn->timer = event_new(s->base, -1, 0, on_timeout, conn);
	conn->event = event_new(s->base, fd, EV_READ | EV_PERSIST, on_event, conn);
	if (!conn->guest || !conn->timer || !conn->event || event_add(conn->event, NULL) < 0 || event_add(conn->timer, &limit) < 0)
		conn_close(conn);
	else if (conn->guest->conns > PER_UID_MAX) {
		/* Without an answer: it, too, would have to wait for him. */
		log_refusal(conn, "too many connections");
		conn_close(conn);
	}
}

static void pause_listening(struct server *s, const char *why)
{
	static const struct timeval pause = { 0, LISTEN_AGAIN_MS * 1000 };

	/* The backlog stays readable: without a pause this would spin. */
	log_warning("event=accept-failed error=\"%s\"", why);
	event_del(s->listener_event);
	event_add(s->listen_again, &pause);
}

static void on_connection(evutil_socket_t listener, short what, void *arg)
{
	struct server *s = arg;

	(void)what;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd;

		if (s->count >= CONNS_MAX && !make_room(s)) {
			pause_listening(s, "too many connections");
			return;
		}
		fd = accept4((int)listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			take_connection(s, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			pause_listening(s, strerror(errno));
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	struct server *s = arg;

	(void)fd;
	(void)what;
	event_add(s->listener_event, NULL);
}

int serve_start(struct server *s)
{
	s->listener_event = event_new(s->base, s->listener, EV_READ | EV_PERSIST, on_connection, s);
	s->listen_again = event_new(s->base, -1, 0, on_pause_over, s);
	if (!s->listener_event || !s->listen_again || event_add(s->listener_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

void serve_stop(struct server *s)
{
	while (s->conns)
		conn_close(s->conns);
	if (s->listener_event)
		event_free(s->listener_event);
	if (s->listen_again)
		event_free(s->listen_again);
}
