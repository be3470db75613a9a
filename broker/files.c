/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token files, for clients that know nothing but a file's name: each reader
 * of a credential with the key file has a directory, RUN/token/USER, that
 * holds what he may have just now. Whenever something changes that concerns
 * him the launcher is told what is to stand there, whole; so what is stale or
 * spoilt goes at the same time.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/launcher.h"
#include "common/log.h"

#define JOBS_MAX 32 /* at once: a user can make his own take long */
#define JOB_SECONDS 12 /* the launcher ends a helper after 10 s */
#define USERS_MS 12000
#define RETRY_FIRST 5 /* seconds, doubled to RETRY_LAST */
#define RETRY_LAST 300

/* The writing of one user's files. */
struct job {
	struct job *next;
	struct broker *broker;
	uid_t uid;
	bool keep; /* he is to have a directory */
	int fd;
	struct event *event;
	struct buffer set, answer;
	size_t sent;
	struct entry {
		char name[WIRE_NAME_MAX + 1];
		const char *credential; /* of a raw file: whose; else NULL */
	} * entries;
	uint32_t count;
};

static struct {
	struct job *jobs;
	unsigned int count;
	struct event *kick;
} files;

static void kick(void)
{
	if (files.kick)
		event_active(files.kick, EV_TIMEOUT, 0);
}

static void mark(struct broker *b, uid_t uid)
{
	struct user *user = user_of(b, uid);

	if (!user)
		return;
	user->files_stale = true;
	user->files_retry = 0;
	kick();
}

/* --- what a user is to have ---------------------------------------------------------- */

/* While a refresh fails the old token stands to its end; otherwise none that is near it. Until when, ms; 0: not even now. */
static int64_t good_until(const struct credential *c)
{
	uint64_t now = now_seconds(), near;

	if (!credential_is_valid(c))
		return 0;
	near = c->record.expires - credential_wanted_life(c);
	/* Before it is due the source would only give the same again. */
	if (near < c->record.refresh)
		near = c->record.refresh;
	if (now < near)
		return (int64_t)near * 1000;
	return c->fetch || c->waits_for || c->failed_in_row ? ((int64_t)now + store_timeout(&c->record, now)) * 1000 : 0;
}

static bool has_file(struct credential *c, uid_t uid)
{
	const struct reader_state *reader = policy_has_file(c->policy) ? reader_of(c, uid, false) : NULL;

	return reader && !policy_uid_is_recycled(uid) &&
	       (policy_names_user(c->policy, uid) || reader->asked + ASKED_DAYS * 86400 > now_seconds());
}

static void add_entry(struct job *job, const char *name, const char *credential, const struct buffer *content)
{
	struct entry *grown = reallocarray(job->entries, job->count + 1u, sizeof(*grown));

	if (!grown) {
		job->set.failed = true;
		return;
	}
	job->entries = grown;
	snprintf(grown[job->count].name, sizeof(grown[job->count].name), "%s", name);
	grown[job->count++].credential = credential;
	buffer_put_text(&job->set, name);
	buffer_put_string(&job->set, content->data, content->length);
}

/* In a pgpass file ':' ends a password, and a backslash takes that meaning away. */
static void add_pgpass(struct buffer *lines, const struct credential *c, const struct buffer *token)
{
	for (size_t i = 0; i < c->policy->pgpass_count; i++) {
		buffer_printf(lines, "%s:", c->policy->pgpass[i].text);
		for (size_t j = 0; j < token->length; j++) {
			if (token->data[j] == ':' || token->data[j] == '\\')
				buffer_put_u8(lines, '\\');
			buffer_put_u8(lines, token->data[j]);
		}
		buffer_put_u8(lines, '\n');
	}
}

/* Returns whether he is to have a directory, even if there is nothing in it just now. */
static bool collect(struct broker *b, struct job *job)
{
	struct buffer token, lines;
	bool keep = false;

	buffer_init(&token, WIRE_TOKEN_MAX + 2048);
	buffer_init(&lines, LAUNCHER_FILES_MAX);
	buffer_put_u32(&job->set, 0);
	for (size_t i = 0; i < b->count; i++) {
		struct credential *c = b->credentials[i];

		if (!has_file(c, job->uid))
			continue;
		keep = true;
		buffer_clear(&token);
		if (!good_until(c) || credential_token(c, &token) < 0)
			continue;
		if (c->policy->has_raw_file)
			add_entry(job, c->name, c->name, &token);
		add_pgpass(&lines, c, &token);
	}
	if (lines.length)
		add_entry(job, POLICY_PGPASS, NULL, &lines);
	job->set.failed = job->set.failed || lines.failed || job->set.length < 4;
	for (int i = 0; i < 4 && !job->set.failed; i++)
		job->set.data[i] = (uint8_t)(job->count >> (24 - 8 * i));
	buffer_free(&token);
	buffer_free(&lines);
	return keep;
}

/* --- having it written ------------------------------------------------------------------ */

static void free_job(struct job *job)
{
	for (struct job **at = &files.jobs; *at; at = &(*at)->next) {
		if (*at == job) {
			*at = job->next;
			files.count--;
			break;
		}
	}
	if (job->event)
		event_free(job->event);
	if (job->fd >= 0)
		close(job->fd);
	buffer_free(&job->set);
	buffer_free(&job->answer);
	free(job->entries);
	free(job);
}

/* He reads his files, which is as good as asking. */
static void note_read(struct broker *b, uid_t uid, const char *credential)
{
	struct credential *c = credential_find(b, credential);
	struct reader_state *reader = c ? reader_of(c, uid, false) : NULL;

	if (reader && reader->asked)
		credential_note_asked(c, uid, reader->group);
}

/* error NULL: all is as it shall be. */
static void finish(struct job *job, const char *error)
{
	struct broker *b = job->broker;
	struct user *user = user_of(b, job->uid);
	unsigned int wait = RETRY_FIRST;

	if (user) {
		user->files_running = false;
		if (!error) {
			if (user->files_failures)
				log_notice("uid=%u event=files-written; his token files are as they should be again", job->uid);
			user->files_failures = 0;
			user->has_files = job->keep;
		} else {
			for (unsigned int i = 0; i < user->files_failures && wait < RETRY_LAST; i++)
				wait *= 2;
			wait = wait > RETRY_LAST ? RETRY_LAST : wait;
			user->files_failures++;
			user->files_stale = true;
			user->files_retry = now_seconds() + wait;
			log_warning("uid=%u event=files-failed error=\"%s\"; tried again in %u s", job->uid, error, wait);
		}
	}
	free_job(job);
	serve_files_done(b);
	kick();
	schedule_arm(b);
}

static void read_answer(struct job *job)
{
	char error[256];
	struct reader r;
	uint32_t count;

	reader_init(&r, job->answer.data, job->answer.length);
	reader_text(&r, error, sizeof(error));
	count = reader_u32(&r);
	if (r.failed || count != job->count || r.left != count) {
		finish(job, "whoever writes them ended early; the user may have stopped it");
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		if (reader_u8(&r) && job->entries[i].credential)
			note_read(job->broker, job->uid, job->entries[i].name);
	finish(job, *error ? error : NULL);
}

static void wait_for(struct job *job, short what);

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct job *job = arg;
	uint8_t *to;
	ssize_t n;

	(void)fd;
	if (what & EV_TIMEOUT) {
		finish(job, "it takes too long");
		return;
	}
	if (job->sent < job->set.length) {
		n = send(job->fd, job->set.data + job->sent, job->set.length - job->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			finish(job, strerror(errno));
			return;
		}
		job->sent += n > 0 ? (size_t)n : 0;
		if (job->sent == job->set.length) {
			buffer_free(&job->set);
			job->sent = 0;
			shutdown(job->fd, SHUT_WR);
			wait_for(job, EV_READ);
		}
		return;
	}
	to = buffer_reserve(&job->answer, 1024);
	n = to ? recv(job->fd, to, 1024, MSG_DONTWAIT) : 0;
	if (n > 0)
		job->answer.length += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		read_answer(job);
}

static void wait_for(struct job *job, short what)
{
	static const struct timeval limit = { .tv_sec = JOB_SECONDS };

	if (job->event)
		event_free(job->event);
	job->event = event_new(job->broker->base, job->fd, (short)(what | EV_PERSIST), on_event, job);
	if (!job->event || event_add(job->event, &limit) < 0)
		finish(job, "out of memory");
}

static void start(struct broker *b, struct user *user)
{
	struct job *job = calloc(1, sizeof(*job));
	struct buffer request;
	int error;

	if (!job) {
		user->files_retry = now_seconds() + RETRY_FIRST;
		return;
	}
	user->files_stale = false;
	job->broker = b;
	job->uid = user->uid;
	job->fd = -1;
	buffer_init(&job->set, LAUNCHER_FILES_MAX);
	buffer_init(&job->answer, WIRE_MAX);
	job->keep = collect(b, job);
	if (!job->keep && !user->has_files) {
		free_job(job);
		return;
	}
	user->has_files = true;
	user->files_running = true;
	job->next = files.jobs;
	files.jobs = job;
	files.count++;
	buffer_init(&request, 16);
	buffer_put_u8(&request, LAUNCHER_FILES);
	buffer_put_u32(&request, job->uid);
	buffer_put_u8(&request, job->keep);
	error = job->set.failed ? -E2BIG : launcher_send(b->launcher, &request, &job->fd);
	buffer_free(&request);
	if (error < 0)
		finish(job, job->set.failed ? "more bytes than token files may have" : strerror(-error));
	else
		wait_for(job, EV_WRITE);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct broker *b = arg;
	uint64_t now = now_seconds();

	(void)fd;
	(void)what;
	for (size_t i = 0; i < b->user_count && files.count < JOBS_MAX; i++)
		if (b->users[i].files_stale && !b->users[i].files_running && b->users[i].files_retry <= now)
			start(b, &b->users[i]);
	serve_files_done(b);
	schedule_arm(b);
}

/* --- when ------------------------------------------------------------------------------------ */

void files_changed(struct credential *c)
{
	int64_t until;

	if (!policy_has_file(c->policy))
		return;
	until = good_until(c);
	c->files_until = until ? until : INT64_MAX;
	for (size_t i = 0; i < c->reader_count; i++)
		mark(c->broker, c->readers[i].uid);
}

void files_reader_changed(const struct credential *c, uid_t uid)
{
	if (policy_has_file(c->policy))
		mark(c->broker, uid);
}

void files_reloaded(struct broker *b)
{
	for (size_t i = 0; i < b->count; i++)
		files_changed(b->credentials[i]);
	for (size_t i = 0; i < b->user_count; i++)
		if (b->users[i].has_files)
			mark(b, b->users[i].uid);
}

bool files_are_busy(const struct broker *b)
{
	for (size_t i = 0; i < b->user_count; i++)
		if (b->users[i].files_running || (b->users[i].files_stale && !b->users[i].files_failures))
			return true;
	return false;
}

int64_t files_due(const struct broker *b)
{
	int64_t due = INT64_MAX;

	for (size_t i = 0; i < b->count; i++)
		if (policy_has_file(b->credentials[i]->policy) && b->credentials[i]->files_until < due)
			due = b->credentials[i]->files_until;
	for (size_t i = 0; i < b->user_count; i++)
		if (b->users[i].files_stale && !b->users[i].files_running && (int64_t)b->users[i].files_retry * 1000 < due &&
			b->users[i].files_retry)
			due = (int64_t)b->users[i].files_retry * 1000;
	return due;
}

void files_tick(struct broker *b)
{
	int64_t now = now_ms();

	for (size_t i = 0; i < b->count; i++)
		if (policy_has_file(b->credentials[i]->policy) && b->credentials[i]->files_until <= now)
			files_changed(b->credentials[i]);
	for (size_t i = 0; i < b->user_count; i++)
		if (b->users[i].files_stale && b->users[i].files_retry && (int64_t)b->users[i].files_retry * 1000 <= now)
			kick();
}

/* Whose directories were there before this broker: what they hold may be stale. */
static int ask_users(struct broker *b)
{
	struct buffer request, answer;
	struct reader r;
	int error;

	buffer_init(&request, 16);
	buffer_init(&answer, WIRE_MAX);
	buffer_put_u8(&request, LAUNCHER_FILE_USERS);
	error = launcher_ask(b->launcher, &request, USERS_MS, &answer);
	reader_init(&r, answer.data, answer.length);
	while (error == 0 && r.left > 4) {
		struct user *user = user_of(b, reader_u32(&r));

		if (user) {
			user->has_files = true;
			mark(b, user->uid);
		}
	}
	buffer_free(&request);
	buffer_free(&answer);
	return error;
}

int files_start(struct broker *b)
{
	int error;

	files.kick = event_new(b->base, -1, 0, on_kick, b);
	if (!files.kick)
		return -ENOMEM;
	error = ask_users(b);
	if (error < 0)
		log_warning("event=files-failed error=\"%s\"; token files of an earlier broker may stay", strerror(-error));
	return 0;
}

void files_stop(void)
{
	while (files.jobs)
		free_job(files.jobs);
	if (files.kick)
		event_free(files.kick);
	files.kick = NULL;
}
