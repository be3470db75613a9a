/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin.h"

#include <string.h>

/* May this database user log in? */
static bool has_access(const struct federation *f, const char *name)
{
	const struct federation_user *u = federation_user(f, name);

	return u && federation_takes(f, u);
}

static bool loses(const struct federation_user *u, const struct federation *before, const struct federation *after)
{
	return has_access(before, u->name) && !has_access(after, u->name);
}

size_t admin_put_loss(const struct federation *before, const struct federation *after, struct buffer *b)
{
	size_t count = 0;

	for (size_t i = 0; i < before->user_count; i++) {
		const struct federation_user *u = &before->users[i];

		if (!loses(u, before, after))
			continue;
		count++;
		buffer_printf(b, "  %s: login ", u->service);
		cli_put_escaped(b, u->login);
		buffer_printf(b, ", %s ", u->user_id ? "user" : "group");
		cli_put_escaped(b, u->user_id ? u->user_id : u->group_id);
		buffer_printf(b, " of %s (database user %s)\n", u->identity_provider, u->name);
	}
	return count;
}

/* A text between quotes of an SQL dialect, in which that quote doubles. */
static void put_quoted(struct buffer *b, const char *text, char quote)
{
	buffer_put_u8(b, (uint8_t)quote);
	for (; *text; text++) {
		char one[2] = { *text, 0 };

		if (*text == quote)
			buffer_put_u8(b, (uint8_t)quote);
		cli_put_escaped(b, one);
	}
	buffer_put_u8(b, (uint8_t)quote);
}

/* Is it the first of those who lose a login of this name? */
static bool is_first(const struct federation *before, const struct federation *after, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (loses(&before->users[i], before, after) && strcmp(before->users[i].login, before->users[at].login) == 0)
			return false;
	return loses(&before->users[at], before, after);
}

void admin_put_sessions(const struct federation *before, const struct federation *after, struct buffer *b)
{
	const char *comma = "";

	buffer_printf(b, "Database sessions that are open stay open. To end them, as the database's administrator:\n"
			 "  -- ends all sessions of these logins, also those of another database user who keeps the login\n"
			 "  PostgreSQL  SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN (");
	for (size_t i = 0; i < before->user_count; i++)
		if (is_first(before, after, i)) {
			buffer_printf(b, "%s", comma);
			put_quoted(b, before->users[i].login, '\'');
			comma = ", ";
		}
	buffer_printf(b, ");\n  MariaDB    ");
	for (size_t i = 0; i < before->user_count; i++)
		if (is_first(before, after, i)) {
			buffer_printf(b, " KILL USER ");
			put_quoted(b, before->users[i].login, '`');
			buffer_put(b, ";", 1);
		}
	buffer_put(b, "\n", 1);
}

/* --- what is done, as JSON ---------------------------------------------------------------- */

/* Who may log in by one and not by the other. */
static void put_difference(struct buffer *b, const char *name, const struct federation *one, const struct federation *other)
{
	cli_json_open(b, name, '[');
	for (size_t i = 0; i < one->user_count; i++) {
		const struct federation_user *u = &one->users[i];

		if (!loses(u, one, other))
			continue;
		cli_json_open(b, NULL, '{');
		cli_json_text(b, "database_user", u->name);
		cli_json_text(b, "service", u->service);
		cli_json_text(b, "login", u->login);
		cli_json_text(b, "identity_provider", u->identity_provider);
		cli_json_optional(b, "user_id", u->user_id);
		cli_json_optional(b, "group_id", u->group_id);
		cli_json_close(b, '}');
	}
	cli_json_close(b, ']');
}

static void put_change(const struct admin *a, const struct admin_change *c, bool done, struct buffer *b)
{
	/* A change that was none was not checked either. */
	const struct federation *then = c->then_config.sections ? &c->then : &a->now;

	cli_json_open(b, NULL, '{');
	cli_json_flag(b, "done", done);
	cli_json_text(b, "type", c->type);
	cli_json_text(b, "name", c->name);
	put_difference(b, "lose_access", &a->now, then);
	put_difference(b, "gain_access", then, &a->now);
	cli_json_close(b, '}');
	buffer_put(b, "\n", 1);
}

/* The text, or in its place JSON. */
static int tell(const struct admin *a, const struct admin_change *c, bool done, struct buffer *b)
{
	if (cli_value(a->cli, "json")) {
		buffer_clear(b);
		put_change(a, c, done, b);
	}
	return cli_output(b);
}

int admin_done(const struct admin *a, const struct admin_change *c, struct buffer *b)
{
	return tell(a, c, true, b);
}

int admin_confirm(const struct admin *a, const struct admin_change *c, bool always, struct buffer *b)
{
	bool yes = cli_value(a->cli, "yes");
	struct buffer lost, gained;
	size_t losses, gains;
	int code = 0;

	buffer_init(&lost, CLI_OUTPUT_MAX);
	buffer_init(&gained, CLI_OUTPUT_MAX);
	losses = admin_put_loss(&a->now, &c->then, &lost);
	gains = admin_put_loss(&c->then, &a->now, &gained);
	if (losses) {
		buffer_printf(b, yes ? "These lost access:\n" : "These would lose access:\n");
		buffer_put(b, lost.data, lost.length);
	} else if (always) {
		buffer_printf(b, yes ? "Nobody lost access.\n" : "Nobody would lose access.\n");
	}
	if (gains && always) {
		buffer_printf(b,
			"These %s access, since without any organization every identity provider is connected to\n"
			"every service:\n",
			yes ? "gained" : "would gain");
		buffer_put(b, gained.data, gained.length);
	}
	if (losses)
		admin_put_sessions(&a->now, &c->then, b);
	if ((losses || always) && !yes) {
		code = tell(a, c, false, b);
		cli_fail(KEYFOB_EFAIL, c->name, "nothing was changed; --yes does it");
		code = code ? code : -KEYFOB_EFAIL;
	}
	buffer_free(&lost);
	buffer_free(&gained);
	return code;
}
