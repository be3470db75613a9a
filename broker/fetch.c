/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attempt at a provider line: a process made by the launcher, one frame
 * to it, a few back. Whatever that process does, here it ends in one result.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/launcher.h"
#include "common/log.h"

/*
 * Per module and the user it runs as, so that one user's programs do not keep
 * another's waiting. The Azure metadata service answers 5 requests at a time
 * and 20 in a second, then 429.
 */
#define IN_FLIGHT_MAX 4
#define DOCUMENTS_MAX 32 /* of all identity providers */
#define STARTS_PER_SECOND 15
#define STARTING_MAX 16 /* that the launcher was asked for and did not start yet: it has room for few requests, and nobody waits here */
#define FRAMES_AT_ONCE 32
#define LINES_MAX 256 /* keyfob-fetch itself sends 200 */
#define GRACE_SECONDS 6 /* for the sandbox to come up and a program to be ended, beside the attempt's own timeout */
#define EXPIRES_MAX 253402300799u /* the year 9999 */

struct fetch {
	struct fetch *next;
	struct broker *broker;
	const struct policy_credential *credential;
	const struct policy_provider *provider;
	fetch_done done;
	fetch_tell tell;
	void *arg;
	struct gate *gate;
	uint32_t id;
	pid_t pid;
	int fd; /* -1 while it waits for its turn */
	bool ready; /* its sandbox is up */
	unsigned int lines; /* of the exchange */
	struct buffer document; /* the parts that came, where the module gives documents */
	struct event *readable, *deadline;
};

/* Those of one module that run as one user: how many there are, and when the last ones began, the oldest at `next`. */
struct gate {
	struct gate *following;
	char *module;
	uid_t run_as;
	unsigned int running;
	int64_t starts[STARTS_PER_SECOND];
	unsigned int next;
};

static struct fetch *fetches;
static struct gate *gates;
static uint32_t last_id;

static void begin_next(void);

static struct fetch *find(uint32_t id)
{
	struct fetch *f = fetches;

	while (f && f->id != id)
		f = f->next;
	return f;
}

static void release(struct fetch *f)
{
	struct fetch **at = &fetches;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	if (f->readable)
		event_free(f->readable);
	if (f->deadline)
		event_free(f->deadline);
	if (f->fd >= 0) {
		close(f->fd);
		f->gate->running--;
	}
	buffer_free(&f->document);
	free(f);
}

static void finish(struct fetch *f, const struct wire_result *result, const char *token, size_t length)
{
	struct buffer document = f->document;
	fetch_done done = f->done;
	void *arg = f->arg;

	/* It has nothing more to say. One that is not its own master any more might stay, unseen and uncounted. */
	if (f->fd >= 0)
		launcher_kill(f->broker->launcher, f->id);
	/* What is handed over may lie in it. */
	buffer_init(&f->document, 0);
	release(f);
	done(arg, result, token, length);
	buffer_free(&document);
	begin_next();
}

static void __attribute__((format(printf, 3, 4))) fail(struct fetch *f, enum keyfob_class class, const char *format, ...)
{
	struct wire_result result = { .class = (uint8_t) class };
	va_list args;

	va_start(args, format);
	vsnprintf(result.text, sizeof(result.text), format, args);
	va_end(args);
	finish(f, &result, NULL, 0);
}

static bool gives_document(const struct fetch *f)
{
	return f->provider->kind == KEYFOB_KIND_DOCUMENT;
}

static bool is_token(const struct wire_result *result, const char *token, size_t length)
{
	return length && !memchr(token, 0, length) && strspn(result->fingerprint, "0123456789abcdef") == 8;
}

/* What comes from the fetch comes from a process that read a stranger's bytes: all of it is checked again. */
static void take_result(struct fetch *f, struct reader *r)
{
	struct wire_result result;
	const char *token;
	size_t length;
	uint64_t now = now_seconds();
	char text[WIRE_TEXT_MAX], code[sizeof(result.code)];
	bool ok;

	ok = wire_get_result(r, &result, &token, &length) && result.class <= KEYFOB_CLASS_TRANSIENT;
	if (ok && result.class == KEYFOB_CLASS_OK)
		ok = f->ready && (gives_document(f) ? length == 0 : is_token(&result, token, length));
	if (!ok) {
		fail(f, KEYFOB_CLASS_TRANSIENT, "keyfob-fetch sent a malformed result");
		return;
	}
	if (result.class == KEYFOB_CLASS_OK && gives_document(f)) {
		if (result.refresh <= now || result.refresh > EXPIRES_MAX)
			result.refresh = 0;
		token = (const char *)f->document.data;
		length = f->document.length;
	} else if (result.class == KEYFOB_CLASS_OK && (result.expires <= now || result.expires > EXPIRES_MAX)) {
		fail(f, KEYFOB_CLASS_TRANSIENT, "the token's expiry makes no sense (%" PRIu64 "): is this host's clock right?",
			result.expires);
		return;
	}
	memcpy(text, result.text, sizeof(text));
	log_escape(text, result.text, sizeof(result.text));
	memcpy(code, result.code, sizeof(code));
	log_escape(code, result.code, sizeof(result.code));
	finish(f, &result, token, length);
}

/* Returns false when the fetch is gone. */
static bool take_part(struct fetch *f, struct reader *r)
{
	size_t length;
	const uint8_t *part = reader_string(r, &length);

	if (gives_document(f) && f->ready && reader_done(r) && length) {
		if (buffer_put(&f->document, part, length))
			return true;
		fail(f, KEYFOB_CLASS_TRANSIENT, "keyfob-fetch sent more than the %u bytes that are taken", WIRE_KEYSET_MAX);
	} else {
		fail(f, KEYFOB_CLASS_TRANSIENT, "keyfob-fetch sent a part of a document that nobody asked for");
	}
	return false;
}

/* What a secret option stands for, by a pipe: it has room for the largest. NULL: there is none. Returns 0 or a negative errno. */
static int send_content(struct fetch *f, const char *name, const void *content, size_t length, const char *otherwise)
{
	struct buffer frame;
	int fds[2], error;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	if (content && write(fds[1], content, length) != (ssize_t)length)
		content = NULL;
	close(fds[1]);
	buffer_init(&frame, WIRE_MAX);
	buffer_put_text(&frame, name);
	buffer_put_text(&frame, content ? "" : otherwise);
	error = wire_send(f->fd, &frame, content ? fds[0] : -1);
	close(fds[0]);
	buffer_free(&frame);
	return error;
}

/* Another credential's token. */
static int send_token(struct fetch *f, const struct policy_setting *setting)
{
	struct credential *source = credential_find(f->broker, setting->value);
	struct buffer token;
	int error;

	buffer_init(&token, WIRE_TOKEN_MAX + 2048);
	error = source ? credential_token(source, &token) : -ENOKEY;
	error = send_content(f, setting->name, error < 0 ? NULL : token.data, token.length, "has no token at hand");
	buffer_free(&token);
	return error;
}

/* Its sandbox is up: now, and not before, it gets what it must not leak. */
static bool send_secrets(struct fetch *f)
{
	for (size_t i = 0; i < f->provider->count; i++) {
		const struct policy_setting *setting = &f->provider->settings[i];
		int error = 0;

		if (setting->content)
			error = send_content(f, setting->name, setting->content, strlen(setting->content), "cannot be handed over");
		else if (setting->type == KEYFOB_OPTION_CREDENTIAL)
			error = send_token(f, setting);
		else if (setting->is_secret)
			error = launcher_secret(f->broker->launcher, setting->name, setting->value, f->fd);
		if (error < 0) {
			fail(f, KEYFOB_CLASS_TRANSIENT, "%s cannot be handed over: %s", setting->name, strerror(-error));
			return false;
		}
	}
	return true;
}

/* Returns false when the fetch is gone. */
static bool take_frame(struct fetch *f, const struct buffer *frame)
{
	struct reader r;
	char line[WIRE_TEXT_MAX], escaped[WIRE_TEXT_MAX];

	reader_init(&r, frame->data, frame->length);
	switch (reader_u8(&r)) {
	case WIRE_FETCH_READY:
		if (f->ready)
			break;
		f->ready = true;
		return send_secrets(f);
	case WIRE_FETCH_LINE:
		reader_text(&r, line, sizeof(line));
		if (++f->lines > LINES_MAX)
			break;
		if (!r.failed && f->tell)
			f->tell(f->arg, log_escape(line, escaped, sizeof(escaped)));
		return true;
	case WIRE_FETCH_DATA:
		return take_part(f, &r);
	case WIRE_FETCH_RESULT:
		take_result(f, &r);
		return false;
	default:
		break;
	}
	fail(f, KEYFOB_CLASS_TRANSIENT, "keyfob-fetch sent a frame that is not known");
	return false;
}

/* Read what is there, but not without end: others want their turn. Returns false when the fetch is gone. */
static bool drain(struct fetch *f)
{
	struct buffer frame;
	bool alive = true;
	int error;

	buffer_init(&frame, WIRE_MAX);
	for (unsigned int i = 0; alive && i < FRAMES_AT_ONCE; i++) {
		error = wire_receive(f->fd, &frame, NULL);
		if (error == -EAGAIN)
			break;
		if (error == -ECONNRESET) {
			/* How it ended is the launcher's to tell. */
			event_del(f->readable);
			break;
		}
		if (error < 0) {
			fail(f, KEYFOB_CLASS_TRANSIENT, "keyfob-fetch cannot be read: %s", strerror(-error));
			alive = false;
		} else {
			alive = take_frame(f, &frame);
		}
	}
	buffer_free(&frame);
	return alive;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drain(arg);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct fetch *f = arg;

	(void)fd;
	(void)what;
	fail(f, KEYFOB_CLASS_UNAVAILABLE, "no answer within %u s", f->provider->timeout);
}

void fetch_launcher_event(uint8_t event, uint32_t id, uint32_t value)
{
	struct fetch *f = find(id);
	int status = (int)value;

	if (!f || f->fd < 0)
		return;
	if (event == LAUNCHER_STARTED) {
		f->pid = (pid_t)value;
		begin_next();
		return;
	}
	/* Its last frame may still be unread. */
	if (!drain(f))
		return;
	if (WIFSIGNALED(status))
		fail(f, KEYFOB_CLASS_TRANSIENT, "keyfob-fetch was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == LAUNCHER_EXIT_LACK)
		fail(f, KEYFOB_CLASS_TRANSIENT,
			"keyfob-fetch cannot be started: this host lacks memory, processes or descriptors just now");
	else if (WEXITSTATUS(status) == LAUNCHER_EXIT_USER)
		fail(f, KEYFOB_CLASS_CONFIG, "keyfob-fetch cannot become user %s",
			f->provider->run_as_name ? f->provider->run_as_name : LAUNCHER_USER_FETCH);
	else if (WEXITSTATUS(status) == LAUNCHER_EXIT_PROGRAM)
		fail(f, KEYFOB_CLASS_CONFIG, "%s cannot be executed", f->broker->fetch_path);
	else
		fail(f, KEYFOB_CLASS_TRANSIENT, "keyfob-fetch ended with status %d and no result", WEXITSTATUS(status));
}

bool fetch_owns(pid_t pid)
{
	pid_t session = pid > 0 ? getsid(pid) : 0;

	/* Gone already: he may have been one, and handed his connection on. */
	if (session < 0)
		return true;
	for (struct fetch *f = fetches; f; f = f->next)
		if (f->pid && (f->pid == session || f->pid == pid))
			return true;
	return false;
}

static void put_request(struct buffer *b, const struct fetch *f)
{
	const struct policy_provider *p = f->provider;

	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, (uint8_t)((f->tell ? WIRE_FETCH_EXCHANGE : 0) | (f->broker->own ? WIRE_FETCH_OWN : 0)));
	buffer_put_u8(b, p->sandbox);
	buffer_put_text(b, p->module);
	buffer_put_text(b, f->credential->name);
	buffer_put_text(b, f->credential->resource);
	buffer_put_u8(b, f->credential->kind == KEYFOB_KIND_DEFAULT ? p->kind : f->credential->kind);
	buffer_put_u32(b, p->ttl);
	buffer_put_u32(b, p->timeout);
	buffer_put_u32(b, (uint32_t)p->count);
	for (size_t i = 0; i < p->count; i++) {
		buffer_put_text(b, p->settings[i].name);
		buffer_put_text(b, p->settings[i].value);
		buffer_put_u8(b, p->settings[i].is_secret);
	}
	buffer_put_u32(b, (uint32_t)p->arguments);
	for (size_t i = 0; i < p->arguments; i++)
		buffer_put_text(b, p->argument[i]);
}

static int begin(struct fetch *f)
{
	struct timeval limit = { .tv_sec = f->provider->timeout + GRACE_SECONDS };
	struct buffer request;
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	wire_refuse_descriptors(pair[0]);
	f->fd = pair[0];
	f->gate->running++;
	buffer_init(&request, WIRE_MAX);
	put_request(&request, f);
	error = wire_send(f->fd, &request, -1);
	buffer_free(&request);
	if (error == 0)
		error = launcher_fetch(f->broker->launcher, f->id, f->provider->run_as, pair[1]);
	close(pair[1]);
	if (error < 0)
		return error;
	f->readable = event_new(f->broker->base, f->fd, EV_READ | EV_PERSIST, on_readable, f);
	f->deadline = event_new(f->broker->base, -1, 0, on_deadline, f);
	if (!f->readable || !f->deadline || event_add(f->readable, NULL) < 0 || event_add(f->deadline, &limit) < 0)
		return -ENOMEM;
	return 0;
}

static struct event *turn;

static struct gate *gate_of(const struct policy_provider *p)
{
	struct gate *g = gates;

	while (g && (strcmp(g->module, p->module) != 0 || g->run_as != p->run_as))
		g = g->following;
	if (g)
		return g;
	g = calloc(1, sizeof(*g));
	if (g && !(g->module = strdup(p->module))) {
		free(g);
		g = NULL;
	}
	if (g) {
		g->run_as = p->run_as;
		g->following = gates;
		gates = g;
	}
	return g;
}

/* Documents come from many servers, so one that hangs takes only its own room. */
static bool has_room(const struct fetch *wanted)
{
	unsigned int same = 0;

	if (!gives_document(wanted))
		return wanted->gate->running < IN_FLIGHT_MAX;
	for (const struct fetch *f = fetches; f; f = f->next)
		same += f->fd >= 0 && f->gate == wanted->gate && strcmp(f->credential->name, wanted->credential->name) == 0;
	return same < IN_FLIGHT_MAX && wanted->gate->running < DOCUMENTS_MAX;
}

/* How long this one must still wait, in ms. */
static int64_t must_wait(const struct fetch *f, int64_t now)
{
	int64_t left = f->gate->starts[f->gate->next] + 1000 - now;

	/* More than a second: the clock was set back. */
	return left > 1000 ? 0 : left;
}

static void note_start(struct gate *g, int64_t now)
{
	g->starts[g->next] = now;
	g->next = (g->next + 1) % STARTS_PER_SECOND;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	begin_next();
}

static void take_turn_in(struct event_base *base, int64_t ms)
{
	struct timeval delay = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (!turn)
		turn = event_new(base, -1, 0, on_turn, NULL);
	/* At once is too early, but never would be too late. */
	if (turn && event_add(turn, &delay) < 0)
		event_active(turn, EV_TIMEOUT, 0);
}

/* The list has the newest first: of those that may begin, the oldest does. A fetch's end, or the timer, brings the next. */
static void begin_next(void)
{
	struct fetch *oldest = NULL;
	int64_t now = now_ms(), shortest = INT64_MAX;
	unsigned int starting = 0;
	int error;

	for (struct fetch *f = fetches; f; f = f->next) {
		int64_t wait = f->fd < 0 && has_room(f) ? must_wait(f, now) : INT64_MAX;

		starting += f->fd >= 0 && !f->pid;
		if (wait <= 0)
			oldest = f;
		else if (wait < shortest)
			shortest = wait;
	}
	/* The next LAUNCHER_STARTED brings another. */
	if (starting >= STARTING_MAX)
		return;
	if (!oldest) {
		if (shortest != INT64_MAX)
			take_turn_in(fetches->broker->base, shortest);
		return;
	}
	note_start(oldest->gate, now);
	error = begin(oldest);
	if (error < 0)
		fail(oldest, KEYFOB_CLASS_TRANSIENT, "keyfob-fetch cannot be started: %s", strerror(-error));
	else
		begin_next();
}

void fetch_stop(void)
{
	while (fetches)
		fetch_cancel(fetches);
	while (gates) {
		struct gate *gone = gates;

		gates = gone->following;
		free(gone->module);
		free(gone);
	}
	if (turn)
		event_free(turn);
	turn = NULL;
}

struct fetch *fetch_start(
	struct broker *b, const struct policy_credential *c, const struct policy_provider *p, fetch_done done, fetch_tell tell, void *arg)
{
	struct gate *gate = gate_of(p);
	struct fetch *f = gate ? calloc(1, sizeof(*f)) : NULL;

	if (f && !turn)
		turn = event_new(b->base, -1, 0, on_turn, NULL);
	if (!f || !turn) {
		free(f);
		return NULL;
	}
	buffer_init(&f->document, WIRE_KEYSET_MAX);
	f->gate = gate;
	f->broker = b;
	f->credential = c;
	f->provider = p;
	f->done = done;
	f->tell = tell;
	f->arg = arg;
	f->fd = -1;
	f->id = ++last_id;
	f->next = fetches;
	fetches = f;
	/* Not from here: the caller does not expect done() before this returns. */
	take_turn_in(b->base, 0);
	return f;
}

void fetch_cancel(struct fetch *f)
{
	struct event_base *base = f->broker->base;

	if (f->fd >= 0)
		launcher_kill(f->broker->launcher, f->id);
	release(f);
	/* Its place is free. */
	take_turn_in(base, 0);
}
