/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of ours is a sealed memfd that the child opens as /proc/PID/fd/N of
 * this process. dup3(2) onto N replaces it: who opens it finds the old file or
 * the new one, whole, and nothing is left behind when this process is gone.
 */
#include "cli/run.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keyring/client.h"

#define TOKEN_SPACE (WIRE_TOKEN_MAX + 2048)
#define LOOK_SECONDS 1 /* how soon a key that was replaced is noticed */
#define ASK_SECONDS 60 /* at most, between questions to the broker */
#define RETRY_SECONDS 5

/* --- tokens ------------------------------------------------------------------------ */

/*
 * Take the token, and find the key that holds it: whether that still stands is
 * cheap to ask. The broker would take frequent questions for a hint that its token was refused.
 */
static void take(struct run *run, struct run_credential *c, const struct keyfob_token *token)
{
	time_t now = time(NULL), left = keyfob_token_expires(token) - now;
	struct lookup_hit hit;
	struct buffer found;

	buffer_clear(&c->token);
	buffer_put(&c->token, keyfob_token_value(token), keyfob_token_length(token));
	c->expires = keyfob_token_expires(token);
	c->serial = 0;
	c->next = now + (left / 2 < ASK_SECONDS ? left / 2 : ASK_SECONDS);
	buffer_init(&found, TOKEN_SPACE);
	run->lookup.broker = client_socket();
	run->lookup.own = client_is_own(run->lookup.broker);
	if (lookup_token(&run->lookup, c->name, &found, &hit) == 0) {
		if (found.length == c->token.length && memcmp(found.data, c->token.data, found.length) == 0)
			c->serial = hit.serial;
		else
			c->next = now + LOOK_SECONDS;
	}
	buffer_free(&found);
}

/* Returns 0 or a negative keyfob_error, of which the first in a row is told. */
static int obtain(struct run *run, struct run_credential *c, bool with_note)
{
	struct keyfob_token *token = NULL;
	char message[WIRE_TEXT_MAX] = "";
	int error;

	/* Later the terminal is the command's. */
	if (with_note)
		cli_progress_begin(c->name, "waiting for a token");
	error = keyfob_get(run->keyfob, c->name, &token);
	if (with_note)
		cli_progress_end();
	if (!error)
		take(run, c, token);
	keyfob_token_free(&token);
	if (!error && c->token.failed)
		error = KEYFOB_ENOMEM;
	if (error && !c->is_failing) {
		keyfob_message(run->keyfob, message, sizeof(message));
		cli_fail_request(error, c->name, message);
	}
	c->is_failing = error < 0;
	return error;
}

bool run_obtain(struct run *run)
{
	int error = keyfob_open(&run->keyfob);

	if (error) {
		cli_fail(error, NULL, "%s", keyfob_strerror(error));
		return false;
	}
	for (int i = 0; i < run->credential_count; i++) {
		buffer_init(&run->credentials[i].token, TOKEN_SPACE);
		if (obtain(run, &run->credentials[i], true) < 0)
			return false;
	}
	return true;
}

static bool is_due(const struct run_credential *c)
{
	return c->serial ? !lookup_stands(c->serial, c->token.length) : time(NULL) >= c->next;
}

/*
 * Ask again. A key that is gone without another in its place was dropped or
 * ran out; a token that came by socket serves while it lives, unless it is denied now.
 */
static void renew(struct run *run, struct run_credential *c)
{
	int error = obtain(run, c, false);

	if (!error)
		return;
	if (c->serial || error == KEYFOB_EDENIED || error == KEYFOB_ENOCRED || c->expires <= time(NULL))
		buffer_clear(&c->token);
	c->serial = 0;
	c->next = time(NULL) + RETRY_SECONDS;
}

/* --- what stands in a file ----------------------------------------------------------- */

/* libpq wants a backslash before these. No token that keyfobd takes holds a line end. */
static void put_password(struct buffer *b, const struct buffer *token)
{
	for (size_t i = 0; i < token->length; i++) {
		if (token->data[i] == ':' || token->data[i] == '\\')
			buffer_put(b, "\\", 1);
		buffer_put(b, token->data + i, 1);
	}
}

static void put_content(const struct run *run, const struct run_file *file, struct buffer *b)
{
	if (file->credential >= 0) {
		const struct buffer *token = &run->credentials[file->credential].token;

		buffer_put(b, token->data, token->length);
		return;
	}
	for (int i = 0; i < run->entry_count; i++) {
		const struct run_entry *e = &run->entries[i];
		const struct buffer *token = &run->credentials[e->credential].token;

		if (!token->length)
			continue;
		buffer_printf(b, "%s:", e->text);
		put_password(b, token);
		buffer_put(b, "\n", 1);
	}
}

/* Since Linux 6.3, where a host may demand it. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static int new_memfd(void)
{
	int fd = memfd_create("keyfob", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	return fd >= 0 ? fd : memfd_create("keyfob", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

/* A descriptor of a file that holds that, for its owner to read and nobody to change. Returns -1 with errno set. */
static int new_file(const struct buffer *content)
{
	int fd = new_memfd();

	if (fd < 0)
		return -1;
	for (size_t done = 0; done < content->length;) {
		ssize_t n = write(fd, content->data + done, content->length - done);

		if (n < 0 && errno != EINTR)
			goto fail;
		if (n > 0)
			done += (size_t)n;
	}
	if (fchmod(fd, 0400) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
		return fd;
fail:
	close(fd);
	return -1;
}

/*
 * Put the present content in place; where there is none, something that cannot
 * be opened: an expired token, or an empty one, would be sent to a server.
 */
static bool replace(const struct run *run, struct run_file *file)
{
	struct buffer content;
	bool is_done;
	int fd = -1;

	buffer_init(&content, CLI_OUTPUT_MAX);
	put_content(run, file, &content);
	if (content.failed)
		errno = ENOMEM;
	else
		fd = content.length ? new_file(&content) : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	buffer_free(&content);
	if (fd < 0)
		return false;
	if (file->slot < 0) {
		file->slot = fd;
		return true;
	}
	is_done = dup3(fd, file->slot, O_CLOEXEC) >= 0;
	close(fd);
	return is_done;
}

/* --- the broker's files ---------------------------------------------------------------- */

/* Is it the caller's own, and does it hold that token? */
static bool holds(const char *path, const struct buffer *token)
{
	char bytes[WIRE_TOKEN_MAX + 1];
	struct stat st;
	ssize_t n = -1;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 0077))
		n = read(fd, bytes, sizeof(bytes));
	close(fd);
	if (n < 0)
		return false;
	fd = (size_t)n == token->length && memcmp(bytes, token->data, token->length) == 0;
	explicit_bzero(bytes, sizeof(bytes));
	return fd;
}

/* The file that a credential with "file = raw" has beside the broker's socket, or NULL. */
static char *broker_file(const struct run_credential *c)
{
	const struct passwd *user = getpwuid(geteuid());
	const char *socket_path = client_socket(), *slash = strrchr(socket_path, '/');
	char *path;

	if (!user || !slash || asprintf(&path, "%.*s/token/%s/%s", (int)(slash - socket_path), socket_path, user->pw_name, c->name) < 0)
		return NULL;
	if (holds(path, &c->token))
		return path;
	free(path);
	return NULL;
}

/* --- all of them ------------------------------------------------------------------------ */

/* What the child will open must be what we made: /proc may be missing, or another namespace's. */
static bool is_reachable(const struct run_file *file)
{
	struct stat here, there;

	return fstat(file->slot, &here) == 0 && stat(file->path, &there) == 0 && here.st_ino == there.st_ino && here.st_dev == there.st_dev;
}

bool run_make_files(struct run *run)
{
	for (int i = 0; i < run->file_count; i++) {
		struct run_file *file = &run->files[i];

		file->slot = -1;
		file->path = file->credential >= 0 ? broker_file(&run->credentials[file->credential]) : NULL;
		if (file->path)
			continue;
		if (!replace(run, file) || asprintf(&file->path, "/proc/%d/fd/%d", getpid(), file->slot) < 0) {
			cli_fail(KEYFOB_EFAIL, NULL, "cannot make a file in memory: %s", strerror(errno));
			return false;
		}
		if (!is_reachable(file)) {
			cli_fail(KEYFOB_EFAIL, NULL, "%s cannot be reached: /proc of this PID namespace is needed", file->path);
			return false;
		}
	}
	return true;
}

static bool concerns(const struct run *run, const struct run_file *file, int credential)
{
	if (file->slot < 0)
		return false;
	for (int i = 0; file->credential < 0 && i < run->entry_count; i++)
		if (run->entries[i].credential == credential)
			return true;
	return file->credential == credential;
}

/* Those that hold that credential's token. One that fails, for want of memory or descriptors, is tried again soon. */
static void replace_all(struct run *run, int credential)
{
	struct run_credential *c = &run->credentials[credential];

	for (int i = 0; i < run->file_count; i++) {
		if (concerns(run, &run->files[i], credential) && !replace(run, &run->files[i])) {
			c->serial = 0;
			c->next = time(NULL) + RETRY_SECONDS;
		}
	}
}

void *run_keep(void *argument)
{
	struct run *run = argument;

	for (;;) {
		time_t pause = ASK_SECONDS;

		for (int i = 0; i < run->credential_count; i++) {
			struct run_credential *c = &run->credentials[i];
			time_t left;

			if (is_due(c)) {
				renew(run, c);
				replace_all(run, i);
			}
			left = c->serial ? LOOK_SECONDS : c->next - time(NULL);
			if (left < pause)
				pause = left < LOOK_SECONDS ? LOOK_SECONDS : left;
		}
		sleep((unsigned int)pause);
	}
	return NULL;
}
