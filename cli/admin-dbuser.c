/* SPDX-License-Identifier: Apache-2.0 */
/* Database users: list, show, add. */
#include "cli/admin.h"

#include <string.h>

static size_t count(const struct federation *f)
{
	return f->user_count;
}

static const char *name_of(const struct federation *f, size_t i)
{
	return f->users[i].name;
}

static void put_line(const struct federation *f, size_t i, struct buffer *b)
{
	const struct federation_user *u = &f->users[i];

	buffer_printf(b, "%-16s %s: login ", u->name, u->service);
	cli_put_escaped(b, u->login);
	buffer_printf(b, ", %s ", u->user_id ? "user" : "group");
	cli_put_escaped(b, u->user_id ? u->user_id : u->group_id);
	buffer_printf(b, " of %s%s\n", u->identity_provider, federation_takes(f, u) ? "" : " (not connected)");
}

static void put_page(const struct federation *f, size_t i, struct buffer *b)
{
	const struct federation_user *u = &f->users[i];

	buffer_printf(b, "%s: database user, ", u->name);
	cli_put_escaped(b, u->file);
	buffer_printf(b, ":%u\n", u->line);
	admin_put_pair(b, "description", u->description);
	admin_put_pair(b, "service", u->service);
	admin_put_pair(b, "identity_provider", u->identity_provider);
	admin_put_pair(b, "user_id", u->user_id);
	admin_put_pair(b, "group_id", u->group_id);
	admin_put_pair(b, "login", u->login);
	admin_put_pair(b, "account", u->account);
	if (!federation_takes(f, u))
		buffer_printf(b, "  cannot log in: %s is not connected to %s (keyfob idp connect %s ORG)\n", u->identity_provider,
			u->service, u->identity_provider);
}

static void put_json(const struct federation *f, size_t i, struct buffer *b)
{
	const struct federation_user *u = &f->users[i];

	cli_json_open(b, NULL, '{');
	cli_json_text(b, "name", u->name);
	cli_json_optional(b, "description", u->description);
	cli_json_text(b, "service", u->service);
	cli_json_text(b, "identity_provider", u->identity_provider);
	cli_json_optional(b, "user_id", u->user_id);
	cli_json_optional(b, "group_id", u->group_id);
	cli_json_text(b, "login", u->login);
	cli_json_text(b, "account", u->account);
	cli_json_flag(b, "connected", federation_takes(f, u));
	admin_json_place(b, u->file, u->line);
	cli_json_close(b, '}');
}

static const struct admin_kind kind = {
	.type = "database-user",
	.plural = "database_users",
	.none = "No database user yet. Add one: keyfob dbuser add --help",
	.count = count,
	.name = name_of,
	.put_line = put_line,
	.put_page = put_page,
	.put_json = put_json,
};

int admin_dbuser_list(const struct cli *cli)
{
	return admin_list(cli, &kind);
}

int admin_dbuser_show(const struct cli *cli)
{
	return admin_show(cli, &kind);
}

/* Who is added where nobody vouches for him could not log in, and nobody would see why. */
static int refuse_unconnected(const struct admin *a, const struct admin_change *c)
{
	const struct federation_user *u = federation_user(&c->then, c->name);
	const char *organization = NULL;

	(void)a;
	if (federation_takes(&c->then, u))
		return 0;
	for (size_t i = 0; i < c->then.organization_count && !organization; i++)
		if (federation_list_holds(&c->then.organizations[i].services, u->service))
			organization = c->then.organizations[i].name;
	if (organization)
		return cli_fail(KEYFOB_EFAIL, c->name, "%s is not connected to %s: keyfob idp connect %s %s", u->identity_provider,
			u->service, u->identity_provider, organization);
	return cli_fail(KEYFOB_EFAIL, c->name, "%s is not connected to %s: no organization has that service (keyfob org list)",
		u->identity_provider, u->service);
}

int admin_dbuser_add(const struct cli *cli)
{
	static const struct {
		const char *option, *key;
	} keys[] = { { "description", "description" }, { "service", "service" }, { "idp", "identity_provider" }, { "user-id", "user_id" },
		{ "group-id", "group_id" }, { "login", "login" }, { "account", "account" } };
	struct admin_stanza s = { .type = "database-user", .name = cli->operand[0] };

	if (!cli_value(cli, "service") || !cli_value(cli, "idp"))
		return cli_usage(cli, "--service and --idp are needed");
	if (!cli_value(cli, "user-id") == !cli_value(cli, "group-id"))
		return cli_usage(cli, "one of --user-id and --group-id is needed");
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		admin_stanza_add(&s, keys[i].key, cli_value(cli, keys[i].option));
	return admin_add(cli, &s, refuse_unconnected);
}
