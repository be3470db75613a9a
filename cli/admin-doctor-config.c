/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as the daemons read it, the modules and secrets that it names, and the system users. */
#include "cli/admin-doctor.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keyring/client.h"
#include "modules/module.h"

#define CHECK_MS 30000 /* it looks up every name */
#define DESCRIBE_MS 10000
#define NAMES_MS 5000
#define ANSWER_MAX (1u << 20)
#define OPTIONS_MAX 256 /* of a module */

/* --- keyfobd --check ------------------------------------------------------------- */

static void put_check(struct doctor *d, int code, char *lines)
{
	size_t before = doctor_count(d, DOCTOR_ERROR);
	char *line;

	while ((line = strsep(&lines, "\n"))) {
		if (strncmp(line, "keyfobd: ", 9) == 0)
			line += 9;
		if (!*line)
			continue;
		if (code == 0)
			doctor_ok(d, "keyfobd --check", "%s", line);
		else
			doctor_error(d, "keyfobd --check", "%s", line);
	}
	if (code == 0)
		return;
	if (doctor_count(d, DOCTOR_ERROR) == before)
		doctor_error(d, "keyfobd --check",
			code < 0 ? "did not end in %d s: do names of users come from a server that is away?" : "ended with %d",
			code < 0 ? CHECK_MS / 1000 : code);
	doctor_fix(d, "keyfob doctor --config, until it finds no fault; then keyfob reload");
}

static void check_file(struct doctor *d)
{
	const char *arguments[] = { "--check", "--config", d->admin.path, client_is_own(client_socket()) ? "--user" : NULL, NULL };
	struct buffer answer;
	int code;

	buffer_init(&answer, ANSWER_MAX);
	code = doctor_tool("keyfobd", arguments, true, CHECK_MS, &answer);
	if (buffer_cstring(&answer))
		put_check(d, code, (char *)answer.data);
	buffer_free(&answer);
}

/* --- system users ------------------------------------------------------------------- */

/* Which of these are missing. In a process of its own: a name service may hang. */
static int find_missing(void *arg, int out)
{
	for (const char *const *name = arg; *name; name++)
		if (!getpwnam(*name))
			dprintf(out, "%s\n", *name);
	return 0;
}

static void check_system_users(struct doctor *d)
{
	const char *names[] = { "keyfob-fetch", d->admin.now.provider_count ? "keyfob-verify" : NULL, NULL };
	struct buffer answer;
	char *lines, *line;

	buffer_init(&answer, ANSWER_MAX);
	doctor_apart(find_missing, names, NAMES_MS, &answer);
	lines = (char *)(uintptr_t)buffer_cstring(&answer);
	while (lines && (line = strsep(&lines, "\n")))
		if (*line) {
			doctor_error(d, line, "there is no such user: its daemon cannot run");
			doctor_fix(d, "systemd-sysusers, or useradd --system --no-create-home --shell /usr/sbin/nologin %s", line);
		}
	buffer_free(&answer);
}

/* The verifier reads the same files, but not as root. */
static void check_readable(struct doctor *d)
{
	const char *last = "";

	for (size_t i = 0; d->admin.now.provider_count && i < d->admin.config.count; i++) {
		const char *file = d->admin.config.sections[i].file;
		struct stat st;

		if (strcmp(file, last) == 0 || stat(file, &st) < 0 || st.st_mode & S_IROTH || (st.st_mode & S_IRGRP && st.st_gid != 0))
			continue;
		last = file;
		doctor_error(d, file, "keyfob-verifyd, which reads it as user keyfob-verify, may not");
		doctor_fix(d, "chgrp keyfob-verify %s; chmod g+r %s", file, file);
	}
}

/* --- modules ------------------------------------------------------------------------- */

struct module {
	char name[WIRE_NAME_MAX + 1];
	size_t count; /* of options that name a file only root may read */
	char secret[OPTIONS_MAX][WIRE_NAME_MAX + 1];
};

/* The frame of --describe (common/wire.h), of which only names and flags are kept. */
static bool read_module(struct reader *r, struct module *m)
{
	uint32_t count;
	size_t length;

	reader_text(r, m->name, sizeof(m->name));
	reader_string(r, &length);
	reader_u8(r);
	reader_u8(r);
	reader_string(r, &length);
	count = reader_u32(r);
	for (uint32_t i = 0; i < count && i < OPTIONS_MAX && !r->failed; i++) {
		reader_text(r, m->secret[m->count], sizeof(m->secret[0]));
		reader_u8(r);
		m->count += !!(reader_u8(r) & KEYFOB_OPTION_SECRET);
		reader_string(r, &length);
		reader_string(r, &length);
	}
	return reader_done(r);
}

static int ask_fetch(const char *what, const char *name, struct buffer *answer)
{
	const char *arguments[5];
	char space[PATH_MAX];

	cli_fetch_arguments(what, name, space, sizeof(space), arguments);
	return doctor_tool("keyfob-fetch", arguments, false, DESCRIBE_MS, answer);
}

/* Can it be loaded? Says why not. */
static bool describe(struct doctor *d, const char *name, struct module *m)
{
	char text[WIRE_TEXT_MAX] = "";
	struct buffer frame;
	struct reader r;
	bool ok = false;
	int code;

	memset(m, 0, sizeof(*m));
	buffer_init(&frame, WIRE_MAX + 4096);
	code = ask_fetch("--describe", name, &frame);
	reader_init(&r, frame.data, frame.length);
	if (reader_u8(&r) == WIRE_VERSION && !r.failed) {
		if (reader_u8(&r) == 0)
			ok = read_module(&r, m);
		else
			reader_text(&r, text, sizeof(text));
	}
	if (!ok && text[0] && !r.failed)
		doctor_error(d, name, "%s", text);
	else if (!ok)
		doctor_error(d, name,
			code < 0 ? "the module does not load in %d s" : "the module cannot be read (keyfob-fetch ended with %d)",
			code < 0 ? DESCRIBE_MS / 1000 : code);
	if (!ok)
		doctor_fix(d, "install the module's libraries, or the module afresh: keyfob module show %s", name);
	buffer_free(&frame);
	return ok;
}

/* --- what provider lines name ----------------------------------------------------------- */

static void check_secret(struct doctor *d, const char *credential, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		doctor_error(d, credential, "%s: %s", path, strerror(errno));
		doctor_fix(d, "put the secret there: install -m 0600 -o root FILE %s", path);
	} else if (!S_ISREG(st.st_mode)) {
		doctor_error(d, credential, "%s: is no file", path);
	} else if (st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IRWXO)) {
		doctor_error(d, credential, "%s: a secret must be root's, and others may not have it: it will not be used", path);
		doctor_fix(d, "chown root %s; chmod 0600 %s", path, path);
	} else {
		doctor_ok(d, credential, "%s: for root alone", path);
	}
}

/* A provider line's words are parted by blanks; one with a quote in it holds a blank or worse, and is passed over. */
static void check_secrets(struct doctor *d, const char *credential, const char *line, const struct module *m)
{
	char *copy = strdup(line), *save = NULL, *word;

	if (!copy) {
		d->failed = true;
		return;
	}
	word = strtok_r(copy, " \t", &save); /* the module */
	while (word && (word = strtok_r(NULL, " \t", &save)) && strcmp(word, "--") != 0) {
		char *value = strchr(word, '=');

		if (!value || value[1] != '/' || strchr(value, '"'))
			continue;
		*value++ = 0;
		for (size_t i = 0; i < m->count; i++)
			if (strcmp(m->secret[i], word) == 0)
				check_secret(d, credential, value);
	}
	free(copy);
}

static void check_lines_of(struct doctor *d, const struct module *m)
{
	size_t length = strlen(m->name);

	for (size_t i = 0; d->configured && geteuid() == 0 && i < d->admin.config.count; i++) {
		const struct config_section *s = &d->admin.config.sections[i];

		for (size_t j = 0; strcmp(s->type, "credential") == 0 && j < s->count; j++)
			if (strcmp(s->entries[j].key, "provider") == 0 && strncmp(s->entries[j].value, m->name, length) == 0 &&
				strchr(" \t", s->entries[j].value[length]))
				check_secrets(d, s->name, s->entries[j].value, m);
	}
}

static void check_modules(struct doctor *d)
{
	struct module *m = malloc(sizeof(*m));
	char *lines, *name;
	struct buffer names;
	size_t good = 0;

	buffer_init(&names, ANSWER_MAX);
	if (!m || ask_fetch("--list", NULL, &names) || !names.length) {
		doctor_error(d, "modules", "keyfob-fetch finds none");
		doctor_fix(d, "install keyfob afresh, or set KEYFOB_MODULE_DIR");
	}
	lines = (char *)(uintptr_t)buffer_cstring(&names);
	while (m && lines && (name = strsep(&lines, "\n"))) {
		if (!wire_name_valid(name) || !describe(d, name, m))
			continue;
		good++;
		check_lines_of(d, m);
	}
	if (good)
		doctor_ok(d, "modules", "%zu can be loaded", good);
	buffer_free(&names);
	free(m);
}

void doctor_configuration(struct doctor *d)
{
	bool there = access(d->admin.path, F_OK) == 0, is_other = client_is_own(client_socket()) && !d->cli->config;

	/* Which file a user's own broker was told to read is for him to say. */
	if (!is_other && there && access(d->admin.path, R_OK) == 0) {
		check_file(d);
	} else if (!there && geteuid() == 0) {
		doctor_warning(d, d->admin.path, "there is none: no credential is served here");
		doctor_fix(d, "install -D -m 0644 /dev/null %s; keyfob.conf(5) says what stands there", d->admin.path);
	}
	if (d->is_host) {
		check_system_users(d);
		check_readable(d);
	}
	check_modules(d);
}
