/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `keyfob init`: a first credential, by asking the host instead of the person.
 * It is printed, or put in place where there is none of its name.
 */
#include "cli/admin-init.h"

#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/admin.h"

#define EMULATOR_PORT 8791 /* where keyfob-emulator listens unless told otherwise */

/* A user who exists: the one named, or whoever became root by sudo(8), or the caller. NULL: none, root needs no mention. */
static char *choose_user(const struct cli *cli)
{
	const char *named = cli_value(cli, "user"), *name = named ? named : secure_getenv("SUDO_USER");
	const struct passwd *user = name && *name ? getpwnam(name) : geteuid() ? getpwuid(geteuid()) : NULL;

	return user && user->pw_uid != 0 ? strdup(user->pw_name) : NULL;
}

static bool read_port(const char *text, unsigned int *port)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	*port = (unsigned int)value;
	return *text >= '0' && *text <= '9' && !*end && value > 0 && value < 65536;
}

static int unknown_place(const struct cli *cli, const char *name)
{
	const char *names[16] = { NULL }, *near;
	char list[256] = "";
	size_t n = 0;

	for (const struct init_place *p = init_places; p->name && n < 15; p++) {
		names[n++] = p->name;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", n > 1 ? ", " : "", p->name);
	}
	near = cli_nearest(name, names);
	return near ? cli_usage(cli, "unknown place %s (did you mean %s?)", name, near)
		    : cli_usage(cli, "unknown place %s: there is %s", name, list);
}

/* What is wrong with the command line alone. Returns 0 or 2. */
static int check_use(const struct cli *cli, const char *name, unsigned int *port)
{
	const char *user = cli_value(cli, "user"), *resource = cli_value(cli, "resource"), *place = cli_value(cli, "for");

	*port = EMULATOR_PORT;
	if (cli_check_name(cli, name))
		return -KEYFOB_EINVAL;
	if (place && cli_value(cli, "emulator"))
		return cli_usage(cli, "only one of --for and --emulator");
	if (place && !init_place(place))
		return unknown_place(cli, place);
	if (cli_value(cli, "port") && !cli_value(cli, "emulator"))
		return cli_usage(cli, "--port is the emulator's: --emulator");
	if (cli_value(cli, "port") && !read_port(cli_value(cli, "port"), port))
		return cli_usage(cli, "%s: not a port", cli_value(cli, "port"));
	if (user && !getpwnam(user))
		return cli_usage(cli, "there is no user %s", user);
	if (resource &&
		(!*resource || strlen(resource) > FEDERATION_TEXT_MAX || !federation_is_plain(resource) || strpbrk(resource, " \t")))
		return cli_usage(cli, "a resource is one word of 1 to %d bytes", FEDERATION_TEXT_MAX);
	return 0;
}

static void find_place(const struct cli *cli, struct init_found *found)
{
	const char *named = cli_value(cli, "for");

	init_look("", found);
	if (named) {
		found->place = init_place(named);
		snprintf(found->why, sizeof(found->why), "as --for says");
	} else if (cli_value(cli, "probe")) {
		cli_progress_begin(NULL, "asking for a metadata service");
		init_probe(found);
		cli_progress_end();
	}
	init_take_options(found);
}

/* --- in place -------------------------------------------------------------------------------- */

/* Those below conf.d count only with a keyfob.conf beside them, and come to life with it. */
static bool has_others(const struct admin *a)
{
	char pattern[PATH_MAX + 16];
	glob_t found;
	bool any;

	snprintf(pattern, sizeof(pattern), "%s/conf.d/*.conf", a->directory);
	any = glob(pattern, 0, NULL, &found) != GLOB_NOMATCH;
	globfree(&found);
	return any;
}

/* A configuration that stands keeps its sections, and hosts that take logins take none from an emulator beside. */
static int check_place(const struct admin *a, const struct admin_change *c, bool emulator)
{
	struct stat st;

	if (a->is_new && has_others(a))
		return cli_fail(KEYFOB_EFAIL, c->name,
			"%s/conf.d holds files, but there is no %s beside it: make that first, an empty one will do", a->directory,
			c->file);
	if (emulator && (a->now.provider_count || a->now.organization_count))
		return cli_fail(KEYFOB_EFAIL, c->name,
			"this host takes logins already (keyfob idp list), and anybody on it can have an emulator's tokens; nothing was "
			"changed");
	for (size_t i = 0; i < c->parsed.count; i++) {
		const struct config_section *s = &c->parsed.sections[i], *there = admin_section(&a->config, s->type, s->name);

		if (there)
			return cli_fail(KEYFOB_EFAIL, c->name,
				"[%s %s] is there already, in %s:%u; nothing was changed (another name: keyfob init NAME)", s->type,
				s->name, there->file, there->line);
	}
	if (fstatat(a->fd, c->file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return cli_fail(KEYFOB_EFAIL, c->name, "%s/%s is there already; move it away", a->directory, c->file);
	return 0;
}

static void put_next_steps(const struct admin *a, const struct admin_change *c, const char *user, unsigned int port, struct buffer *b)
{
	bool units = access("/run/systemd/system", F_OK) == 0;

	buffer_printf(b, "%s: written to %s/%s\n\n", c->name, a->directory, c->file);
	if (strstr((const char *)c->text.data, INIT_FILL_IN))
		buffer_printf(
			b, "Fill in what it marks with %s, and have it read:\n  keyfob doctor --config && keyfob reload\n", INIT_FILL_IN);
	if (port == EMULATOR_PORT && units)
		buffer_printf(b, "Start the cloud:\n  systemctl enable --now keyfob-emulator\n");
	else if (port)
		buffer_printf(b, "Start the cloud:\n  keyfob-emulator --listen 127.0.0.1:%u &\n", port);
	buffer_printf(b, "Start keyfob where it does not run yet:\n  %s%s\n", units ? "systemctl enable --now keyfobd" : "keyfobd &",
		!port	? ""
		: units ? " keyfob-verifyd"
			: " keyfob-verifyd &");
	buffer_printf(b, "Look:\n  keyfob doctor\n  keyfob status %s\n", c->name);
	if (user)
		buffer_printf(b, "  sudo -u %s keyfob get %s\n", user, c->name);
	if (port)
		buffer_printf(b,
			"  keyfob get %s | keyfob verify --service postgresql --login %s -\n"
			"For a PostgreSQL that takes it as a password: pam_keyfob(8)\n",
			c->name, user ? user : c->name);
}

static int write_text(const struct cli *cli, const struct init_wish *wish, struct buffer *text, unsigned int port)
{
	char path[PATH_MAX];
	struct admin_change c;
	struct buffer b;
	struct admin a;
	int code = admin_open(&a, cli, ADMIN_CREATE);

	admin_change_init(&c, "credential", wish->name);
	buffer_init(&b, CLI_OUTPUT_MAX);
	strcpy(path, a.path);
	if (a.is_new)
		snprintf(c.file, sizeof(c.file), "%.*s", (int)sizeof(c.file) - 1, basename(path));
	else
		snprintf(c.file, sizeof(c.file), "%s.conf", wish->name);
	buffer_put(&c.text, text->data, text->length);
	if (!code)
		code = admin_check(&a, &c);
	if (!code)
		code = check_place(&a, &c, port);
	if (!code)
		code = admin_apply(&a, &c);
	if (!code && buffer_cstring(&c.text)) {
		put_next_steps(&a, &c, wish->user, port, &b);
		code = cli_output(&b);
	}
	buffer_free(&b);
	admin_change_free(&c);
	admin_close(&a);
	return code;
}

int admin_init(const struct cli *cli)
{
	const char *name = cli->count ? cli->operand[0] : "db";
	bool emulator = cli_value(cli, "emulator");
	char *user = NULL, resource[WIRE_NAME_MAX + 8];
	struct init_found found;
	struct init_wish wish = { &found, name, NULL, cli_value(cli, "resource") };
	struct buffer text;
	unsigned int port;
	int code = check_use(cli, name, &port);

	if (code)
		return code;
	buffer_init(&text, ADMIN_FILE_MAX);
	if (!emulator)
		find_place(cli, &found);
	wish.user = user = choose_user(cli);
	snprintf(resource, sizeof(resource), "api://%s", name);
	if (emulator && !wish.resource)
		wish.resource = resource;
	if (emulator)
		init_put_emulator(&wish, port, &text);
	else if (found.place)
		init_put(&wish, &text);
	else
		init_put_choices(name, &text);
	if (!cli_value(cli, "write"))
		code = cli_output(&text);
	else if (emulator || found.place)
		code = write_text(cli, &wish, &text, emulator ? port : 0);
	else
		code = cli_fail(KEYFOB_EFAIL, name,
			"nothing that gives this host tokens is recognised, so nothing is written"
			" (keyfob init shows the ways there are; --for names a cloud, --emulator is for a laptop)");
	free(user);
	buffer_free(&text);
	return code;
}
