/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Not *.conf, so nobody reads it. One name, so that what a killed edit leaves behind is gone with the next. */
#define SCRATCH ".keyfob-edit"

int admin_check_own(const struct admin *a, const struct config_section *section, const char *file, const char *what_to_do)
{
	char path[2 * PATH_MAX];
	size_t sections = 0;
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", a->directory, file);
	for (size_t i = 0; i < a->config.count; i++)
		sections += strcmp(a->config.sections[i].file, path) == 0;
	if (strcmp(section->file, path) == 0 && sections == 1 && fstatat(a->fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		return 0;
	return cli_fail(KEYFOB_EFAIL, section->name, "it stands in %s:%u, %s: %s, then: keyfob reload", section->file, section->line,
		strcmp(section->file, path) != 0 ? "which was written by hand"
		: sections != 1			 ? "beside other sections"
						 : "which is a link",
		what_to_do);
}

bool admin_read_file(const struct admin *a, const char *file, struct buffer *text)
{
	ssize_t n = -1;
	int fd = openat(a->fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return false;
	for (;;) {
		uint8_t *to = buffer_reserve(text, 4096);

		n = to ? read(fd, to, 4096) : -1;
		if (!to)
			errno = EFBIG;
		if (n <= 0)
			break;
		text->length += (size_t)n;
	}
	close(fd);
	return n == 0;
}

static int write_scratch(int fd, const struct buffer *text)
{
	size_t done = 0;

	while (done < text->length) {
		ssize_t n = write(fd, text->data + done, text->length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return fchmod(fd, 0644) < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Old or new, whenever this ends; nothing in text: the file goes. Returns 0 or a negative errno. */
static int put_file(const struct admin *a, const char *file, const struct buffer *text)
{
	int fd, error = 0;

	if (!text->length)
		return unlinkat(a->fd, file, 0) < 0 || fsync(a->fd) < 0 ? -errno : 0;
	if (unlinkat(a->fd, SCRATCH, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(a->fd, SCRATCH, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	error = write_scratch(fd, text);
	if (close(fd) < 0 && !error)
		error = -errno;
	if (!error && renameat(a->fd, SCRATCH, a->fd, file) < 0)
		error = -errno;
	if (error)
		unlinkat(a->fd, SCRATCH, 0);
	else if (fsync(a->fd) < 0)
		error = -errno;
	return error;
}

/* Have both daemons read it. Returns 0 or 1; with a subject, what each says goes to stderr. */
static int tell_daemons(const char *subject)
{
	static const struct {
		const char *name;
		enum cli_told (*tell)(char *message);
	} daemons[] = { { "keyfobd", cli_tell_broker }, { "keyfob-verifyd", cli_tell_verifier } };
	char message[WIRE_TEXT_MAX];
	int code = 0;

	for (size_t i = 0; i < sizeof(daemons) / sizeof(daemons[0]) && !code; i++) {
		enum cli_told told = daemons[i].tell(message);

		if (told == CLI_REFUSED && subject)
			cli_fail(KEYFOB_EFAIL, subject, "%s does not take the new configuration: %s", daemons[i].name, message);
		if (told == CLI_NOT_RUNNING && subject)
			cli_fail(KEYFOB_EFAIL, subject, "%s is not running: takes effect there at its next start", daemons[i].name);
		code = told == CLI_REFUSED;
	}
	return code;
}

int admin_apply(const struct admin *a, const struct admin_change *c)
{
	int code = 0, error = 0, back;
	sigset_t signals, before;
	struct buffer old;

	/* From here to the daemons' answer is one step for who presses ^C, too. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, &before);
	buffer_init(&old, ADMIN_FILE_MAX);
	if (!admin_read_file(a, c->file, &old) && errno != ENOENT)
		error = -errno;
	if (!error)
		error = put_file(a, c->file, &c->text);
	if (error) {
		code = cli_fail(KEYFOB_EFAIL, c->name, "%s/%s: %s", a->directory, c->file, strerror(-error));
		goto out;
	}
	if (!tell_daemons(c->name))
		goto out;
	back = put_file(a, c->file, &old);
	tell_daemons(NULL);
	code = back ? cli_fail(KEYFOB_EFAIL, c->name, "%s/%s could not be put back as it was: %s", a->directory, c->file, strerror(-back))
		    : cli_fail(KEYFOB_EFAIL, c->name, "nothing was changed: %s/%s is as it was", a->directory, c->file);
out:
	buffer_free(&old);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return code;
}
