/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK ".keyfob-lock"
#define LOCK_SECONDS 30 /* an edit waits for two daemons, 10 s each at most */

static const struct {
	const char *type, *words, *prefix;
} types[] = {
	{ "identity-provider", "identity provider", "idp" },
	{ "organization", "organization", "org" },
	{ "database-user", "database user", "dbuser" },
};

static size_t type_index(const char *type)
{
	size_t i = 0;

	while (i < sizeof(types) / sizeof(types[0]) - 1 && strcmp(types[i].type, type) != 0)
		i++;
	return i;
}

const char *admin_type_words(const char *type)
{
	return types[type_index(type)].words;
}

int admin_fail_lines(struct buffer *errors)
{
	char *text = (char *)(uintptr_t)buffer_cstring(errors), *line;

	if (!text)
		return cli_fail(KEYFOB_EFAIL, NULL, "out of memory");
	while ((line = strsep(&text, "\n")))
		if (*line)
			cli_fail(KEYFOB_EFAIL, NULL, "%s", line);
	return -KEYFOB_EFAIL;
}

const struct config_section *admin_section(const struct config *config, const char *type, const char *name)
{
	for (size_t i = 0; i < config->count; i++)
		if (strcmp(config->sections[i].type, type) == 0 && strcmp(config->sections[i].name, name) == 0)
			return &config->sections[i];
	return NULL;
}

int admin_unknown(const struct admin *a, const char *type, const char *name)
{
	const char **names = calloc(a->config.count + 1, sizeof(*names)), *near = NULL;
	size_t n = 0;

	for (size_t i = 0; names && i < a->config.count; i++)
		if (strcmp(a->config.sections[i].type, type) == 0)
			names[n++] = a->config.sections[i].name;
	if (names)
		near = cli_nearest(name, names);
	if (near)
		cli_fail(KEYFOB_ENOCRED, name, "there is no such %s (did you mean %s?)", admin_type_words(type), near);
	else
		cli_fail(KEYFOB_ENOCRED, name, "there is no such %s (keyfob %s list)", admin_type_words(type),
			types[type_index(type)].prefix);
	free(names);
	return -KEYFOB_ENOCRED;
}

/* --- the configuration that stands -------------------------------------------------- */

static bool find_paths(struct admin *a)
{
	const char *path = a->cli->config ? a->cli->config : secure_getenv("KEYFOB_CONFIG");
	char copy[PATH_MAX];
	int n;

	n = snprintf(a->path, sizeof(a->path), "%s", path && *path ? path : CONFIG_DEFAULT);
	if (n >= (int)sizeof(a->path))
		return false;
	strcpy(copy, a->path);
	return snprintf(a->directory, sizeof(a->directory), "%s/conf.d", dirname(copy)) < (int)sizeof(a->directory);
}

/*
 * One editor at a time, from the reading of what stands to the daemons'
 * answer. By a file that only root can open: whoever can open what is locked
 * can keep it locked.
 */
static int lock(struct admin *a)
{
	const struct timespec pause = { .tv_nsec = 100 * 1000000 };

	a->lock = openat(a->fd, LOCK, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (a->lock < 0)
		return cli_fail(KEYFOB_EFAIL, NULL, "%s/" LOCK ": %s", a->directory, strerror(errno));
	for (int tries = 0; tries < LOCK_SECONDS * 10; tries++) {
		if (flock(a->lock, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return cli_fail(KEYFOB_EFAIL, NULL, "%s/" LOCK ": %s", a->directory, strerror(errno));
		nanosleep(&pause, NULL);
	}
	return cli_fail(KEYFOB_EAGAIN, NULL, "%s: somebody else has been changing it for %d s", a->directory, LOCK_SECONDS);
}

static int check_directory(int fd, const char *path)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return cli_fail(KEYFOB_EFAIL, NULL, "%s: %s", path, strerror(errno));
	if (st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IWOTH))
		return cli_fail(
			KEYFOB_EFAIL, NULL, "%s: must be owned by root and not writable by group or others (chown root; chmod go-w)", path);
	return 0;
}

/* Where nothing stands yet. A directory of somebody else's is not root's for being made by root. */
static int make_directory(const char *path)
{
	if (mkdir(path, 0755) < 0)
		return errno == EEXIST ? 0 : cli_fail(KEYFOB_EFAIL, NULL, "%s: %s", path, strerror(errno));
	return chmod(path, 0755) < 0 ? cli_fail(KEYFOB_EFAIL, NULL, "%s: %s", path, strerror(errno)) : 0;
}

/* conf.d is made where it is missing, but only beside a configuration that is root's own. */
static int open_directory(struct admin *a, bool create)
{
	char copy[PATH_MAX];
	const char *parent;
	int fd, code;

	if (geteuid() != 0)
		return cli_fail(KEYFOB_EDENIED, a->cli->verb->name,
			"only root may change the configuration (sudo keyfob ...; the add verbs show with --print what they would write)");
	a->is_new = create && access(a->path, F_OK) < 0 && errno == ENOENT;
	if (!a->is_new && access(a->path, F_OK) < 0)
		return cli_fail(
			KEYFOB_EFAIL, NULL, "%s: %s%s", a->path, strerror(errno), errno == ENOENT ? " (an empty file will do)" : "");
	strcpy(copy, a->path);
	parent = dirname(copy);
	code = a->is_new ? make_directory(parent) : 0;
	if (code)
		return code;
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	code = check_directory(fd, parent);
	/* keyfob-verifyd reads it as a user of its own, whatever root's umask is. */
	if (!code && (mkdirat(fd, "conf.d", 0755) < 0 || fchmodat(fd, "conf.d", 0755, 0) < 0 || fsync(fd) < 0) && errno != EEXIST)
		code = cli_fail(KEYFOB_EFAIL, NULL, "%s: %s", a->directory, strerror(errno));
	if (!code) {
		a->fd = openat(fd, "conf.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		code = check_directory(a->fd, a->directory);
	}
	if (!code)
		code = lock(a);
	if (!code && a->is_new) {
		close(a->fd);
		a->fd = fd;
		strcpy(a->directory, parent);
		return 0;
	}
	if (fd >= 0)
		close(fd);
	return code;
}

int admin_open(struct admin *a, const struct cli *cli, enum admin_purpose purpose)
{
	struct buffer errors;
	int code = 0;

	memset(a, 0, sizeof(*a));
	a->cli = cli;
	a->fd = a->lock = -1;
	if (!find_paths(a))
		return cli_fail(KEYFOB_EFAIL, NULL, "the configuration's path is too long");
	if (purpose == ADMIN_CHANGE || purpose == ADMIN_CREATE)
		code = open_directory(a, purpose == ADMIN_CREATE);
	if (code || a->is_new)
		return code;
	if (access(a->path, R_OK) < 0 && purpose == ADMIN_PEEK)
		return ADMIN_NO_CONFIG;
	if (access(a->path, R_OK) < 0 && purpose == ADMIN_LOOK && cli_value(cli, "print")) {
		cli_fail(KEYFOB_EFAIL, NULL, "%s: %s: this is not checked against the rest", a->path, strerror(errno));
		return ADMIN_NO_CONFIG;
	}
	if (access(a->path, R_OK) < 0 && errno == EACCES)
		return cli_fail(KEYFOB_EDENIED, NULL, "%s: only root may read it (sudo keyfob ...)", a->path);
	buffer_init(&errors, CLI_OUTPUT_MAX);
	if (!config_load(a->path, &a->config, &errors) || !federation_load(&a->config, &a->now, &errors)) {
		code = purpose == ADMIN_PEEK ? ADMIN_FAULTY : admin_fail_lines(&errors);
		if (purpose == ADMIN_CHANGE || purpose == ADMIN_CREATE)
			cli_fail(KEYFOB_EFAIL, NULL, "nothing was changed: mend what stands there first (keyfob doctor --config)");
	}
	buffer_free(&errors);
	return code;
}

void admin_close(struct admin *a)
{
	federation_free(&a->now);
	config_free(&a->config);
	if (a->lock >= 0)
		close(a->lock);
	if (a->fd >= 0)
		close(a->fd);
	a->fd = a->lock = -1;
}

/* --- a configuration that would stand ------------------------------------------------ */

void admin_change_init(struct admin_change *c, const char *type, const char *name)
{
	memset(c, 0, sizeof(*c));
	c->type = type;
	c->name = name;
	snprintf(c->file, sizeof(c->file), "%s-%s.conf", types[type_index(type)].prefix, name);
	buffer_init(&c->text, ADMIN_FILE_MAX);
}

void admin_change_free(struct admin_change *c)
{
	federation_free(&c->then);
	free(c->then_config.sections);
	config_free(&c->parsed);
	buffer_free(&c->text);
}

/* Lines "/proc/self/fd/5:2: ..." as lines of the file that the text is meant for. */
static void put_renamed(struct buffer *errors, struct buffer *found, const char *from, const char *to)
{
	const char *line = buffer_cstring(found);
	size_t length = strlen(from);

	if (!line)
		errors->failed = true;
	while (line && *line) {
		size_t end = strcspn(line, "\n");
		bool named = strncmp(line, from, length) == 0;

		buffer_printf(errors, "%s%.*s\n", named ? to : "", (int)(end - (named ? length : 0)), line + (named ? length : 0));
		line += end + (line[end] == '\n');
	}
}

/* The text by the very reader that will read the file: what it makes of it is what counts. */
static bool parse(struct admin_change *c, const char *file, struct buffer *errors)
{
	char path[64];
	struct buffer found;
	bool ok = false;
	int fd = memfd_create("keyfob", MFD_CLOEXEC);

	buffer_init(&found, CLI_OUTPUT_MAX);
	if (fd < 0 || fchmod(fd, 0644) < 0 || write(fd, c->text.data, c->text.length) != (ssize_t)c->text.length) {
		buffer_printf(errors, "%s: %s\n", file, strerror(errno));
		goto out;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ok = config_load(path, &c->parsed, &found);
	put_renamed(errors, &found, path, file);
	for (size_t i = 0; ok && i < c->parsed.count; i++) {
		free(c->parsed.sections[i].file);
		c->parsed.sections[i].file = strdup(file);
		ok = c->parsed.sections[i].file != NULL;
	}
	if (!ok && !errors->length)
		buffer_printf(errors, "%s: out of memory\n", file);
out:
	buffer_free(&found);
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool merge(const struct admin *a, struct admin_change *c, const char *file)
{
	size_t standing = a ? a->config.count : 0, n = 0;
	struct config_section *all = calloc(standing + c->parsed.count + 1, sizeof(*all));

	if (!all)
		return false;
	for (size_t i = 0; i < standing; i++)
		if (strcmp(a->config.sections[i].file, file) != 0)
			all[n++] = a->config.sections[i];
	for (size_t i = 0; i < c->parsed.count; i++)
		all[n++] = c->parsed.sections[i];
	c->then_config.sections = all;
	c->then_config.count = n;
	return true;
}

/* A credential that names an identity provider which is gone would keep the broker from starting. */
static void check_credentials(const struct admin_change *c, struct buffer *errors)
{
	for (size_t i = 0; i < c->then_config.count; i++) {
		const struct config_section *s = &c->then_config.sections[i];

		for (size_t j = 0; strcmp(s->type, "credential") == 0 && j < s->count; j++)
			if (strcmp(s->entries[j].key, "identity_provider") == 0 && !federation_provider(&c->then, s->entries[j].value))
				federation_fault(errors, s->file, s->entries[j].line,
					"credential %s names the identity provider %s; take the line away first", s->name,
					s->entries[j].value);
	}
}

int admin_check(const struct admin *a, struct admin_change *c)
{
	char file[2 * PATH_MAX];
	struct buffer errors;
	int code = 0;

	snprintf(file, sizeof(file), "%s/%s", a ? a->directory : "conf.d", c->file);
	buffer_init(&errors, CLI_OUTPUT_MAX);
	if (c->text.failed || (c->text.length && !parse(c, file, &errors)) || !merge(a, c, file)) {
		if (!errors.length)
			buffer_printf(&errors, "out of memory\n");
	} else if (a || strcmp(c->type, types[0].type) == 0) {
		if (federation_load(&c->then_config, &c->then, &errors) && a)
			check_credentials(c, &errors);
	}
	if (errors.length || errors.failed)
		code = admin_fail_lines(&errors);
	buffer_free(&errors);
	return code;
}
