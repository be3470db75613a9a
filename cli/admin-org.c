/* SPDX-License-Identifier: Apache-2.0 */
/* Organizations: list, show, add; connecting an identity provider to one. */
#include "cli/admin.h"

#include <stdlib.h>
#include <string.h>

static size_t count(const struct federation *f)
{
	return f->organization_count;
}

static const char *name_of(const struct federation *f, size_t i)
{
	return f->organizations[i].name;
}

static void put_words(struct buffer *b, const struct federation_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		buffer_printf(b, "%s%s", i ? " " : "", list->names[i]);
}

static void put_line(const struct federation *f, size_t i, struct buffer *b)
{
	const struct federation_organization *o = &f->organizations[i];

	buffer_printf(b, "%-16s services: ", o->name);
	put_words(b, &o->services);
	buffer_printf(b, "%s  identity providers: ", o->services.count ? "" : "none");
	put_words(b, &o->identity_providers);
	buffer_printf(b, "%s\n", o->identity_providers.count ? "" : "none");
}

static void put_page(const struct federation *f, size_t i, struct buffer *b)
{
	const struct federation_organization *o = &f->organizations[i];

	buffer_printf(b, "%s: organization, ", o->name);
	cli_put_escaped(b, o->file);
	buffer_printf(b, ":%u\n", o->line);
	admin_put_pair(b, "description", o->description);
	admin_put_list(b, "services", &o->services);
	admin_put_list(b, "identity_providers", &o->identity_providers);
}

static void put_json(const struct federation *f, size_t i, struct buffer *b)
{
	const struct federation_organization *o = &f->organizations[i];

	cli_json_open(b, NULL, '{');
	cli_json_text(b, "name", o->name);
	cli_json_optional(b, "description", o->description);
	admin_json_list(b, "services", &o->services);
	admin_json_list(b, "identity_providers", &o->identity_providers);
	admin_json_place(b, o->file, o->line);
	cli_json_close(b, '}');
}

static const struct admin_kind kind = {
	.type = "organization",
	.plural = "organizations",
	.none = "No organization: every identity provider is connected to every service. Add one: keyfob org add --help",
	.count = count,
	.name = name_of,
	.put_line = put_line,
	.put_page = put_page,
	.put_json = put_json,
};

int admin_org_list(const struct cli *cli)
{
	return admin_list(cli, &kind);
}

int admin_org_show(const struct cli *cli)
{
	return admin_show(cli, &kind);
}

int admin_org_add(const struct cli *cli)
{
	struct admin_stanza s = { .type = "organization", .name = cli->operand[0] };
	struct buffer services, providers;
	int code;

	buffer_init(&services, 2 * FEDERATION_TEXT_MAX);
	buffer_init(&providers, 2 * FEDERATION_TEXT_MAX);
	admin_words(cli, "services", &services);
	admin_words(cli, "idp", &providers);
	admin_stanza_add(&s, "description", cli_value(cli, "description"));
	admin_stanza_add(&s, "services", buffer_cstring(&services));
	if (providers.length)
		admin_stanza_add(&s, "identity_providers", buffer_cstring(&providers));
	if (services.failed || providers.failed)
		code = cli_usage(cli, "these are too many names for one organization");
	else if (!services.length)
		code = cli_usage(cli, "--services names what the organization has");
	else
		code = admin_add(cli, &s, NULL);
	buffer_free(&services);
	buffer_free(&providers);
	return code;
}

/* --- connect, disconnect ---------------------------------------------------------------- */

/* The names without one, or with one more behind them. */
static void put_changed(struct buffer *b, const struct federation_list *list, const char *name, bool connect)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->names[i], name) != 0)
			buffer_printf(b, "%s%s", b->length ? " " : "", list->names[i]);
	if (connect)
		buffer_printf(b, "%s%s", b->length ? " " : "", name);
}

static bool is_key(const struct config_section *section, const char *key, unsigned int line)
{
	for (size_t i = 0; i < section->count; i++)
		if (section->entries[i].line == line && strcmp(section->entries[i].key, key) == 0)
			return true;
	return false;
}

/*
 * The file with other identity providers: the lines that name them now give
 * way to one, or to none; all else, comments too, stays as it is.
 */
static void edit_lines(const struct config_section *section, const struct buffer *old, const struct buffer *names, struct buffer *text)
{
	static const char key[] = "identity_providers";
	const char *at = (const char *)old->data, *end = at + old->length;
	bool put = names->length == 0, has_key = false;

	for (size_t i = 0; i < section->count; i++)
		has_key = has_key || strcmp(section->entries[i].key, key) == 0;
	for (unsigned int line = 1; at < end; line++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t length = (size_t)((stop ? stop + 1 : end) - at);
		bool mine = is_key(section, key, line);

		if (!mine) {
			buffer_put(text, at, length);
			if (!stop)
				buffer_put(text, "\n", 1);
		}
		if (!put && (mine || (!has_key && line == section->line))) {
			buffer_printf(text, "%s = ", key);
			buffer_put(text, names->data, names->length);
			buffer_put(text, "\n", 1);
			put = true;
		}
		at += length;
	}
}

/* Does the organization hold the names that were to be written? */
static bool is_changed(const struct admin_change *c, const char *provider, bool connect)
{
	const struct federation_organization *o = federation_organization(&c->then, c->name);

	return o && federation_list_holds(&o->identity_providers, provider) == connect;
}

static int change(struct admin *a, const struct federation_organization *o, const char *provider, bool connect, struct admin_change *c)
{
	const struct config_section *section = admin_section(&a->config, kind.type, o->name);
	struct buffer names, old, what;
	int code;

	buffer_init(&names, CLI_OUTPUT_MAX);
	buffer_init(&what, CLI_OUTPUT_MAX);
	buffer_init(&old, ADMIN_FILE_MAX);
	put_changed(&names, &o->identity_providers, provider, connect);
	if (names.length)
		buffer_printf(&what, "set there: identity_providers = %s", buffer_cstring(&names));
	else
		buffer_printf(&what, "take the line identity_providers away there");
	code = admin_check_own(a, section, c->file, buffer_cstring(&what));
	if (code)
		goto out;
	if (!admin_read_file(a, c->file, &old)) {
		code = cli_fail(KEYFOB_EFAIL, o->name, "%s/%s cannot be read", a->directory, c->file);
		goto out;
	}
	edit_lines(section, &old, &names, &c->text);
	code = admin_check(a, c);
	if (!code && !is_changed(c, provider, connect))
		code = cli_fail(
			KEYFOB_EFAIL, o->name, "%s/%s cannot be edited line by line: %s", a->directory, c->file, buffer_cstring(&what));
out:
	buffer_free(&names);
	buffer_free(&what);
	buffer_free(&old);
	return code;
}

/* Both must be there. Returns 0, or an exit code; *already: nothing is to be done. */
static int find_both(const struct admin *a, const char *provider, const char *organization, bool connect, bool *already)
{
	const struct federation_organization *o = federation_organization(&a->now, organization);

	if (!federation_provider(&a->now, provider))
		return admin_unknown(a, "identity-provider", provider);
	if (!o && !a->now.organization_count)
		return cli_fail(KEYFOB_ENOCRED, organization,
			"there is no organization yet, so every identity provider is connected to every service"
			" (keyfob org add %s --services=... makes one)",
			organization);
	if (!o)
		return admin_unknown(a, kind.type, organization);
	*already = federation_list_holds(&o->identity_providers, provider) == connect;
	if (*already && !connect)
		return cli_fail(KEYFOB_ENOCRED, provider, "it is not connected to %s", organization);
	return 0;
}

static int connect_or_not(const struct cli *cli, bool connect)
{
	const char *provider = cli->operand[0], *organization = cli->operand[1];
	struct admin_change c;
	bool already = false;
	struct buffer b;
	struct admin a;
	int code = admin_open(&a, cli, ADMIN_CHANGE);

	admin_change_init(&c, kind.type, organization);
	buffer_init(&b, CLI_OUTPUT_MAX);
	if (!code)
		code = find_both(&a, provider, organization, connect, &already);
	if (code)
		goto out;
	if (!already)
		code = change(&a, federation_organization(&a.now, organization), provider, connect, &c);
	if (!code && !connect)
		code = admin_confirm(&a, &c, true, &b);
	if (!code && !already)
		code = admin_apply(&a, &c);
	if (code)
		goto out;
	buffer_printf(&b, "%s: %s %s\n", provider,
		already	  ? "was connected already to"
		: connect ? "connected to"
			  : "disconnected from",
		organization);
	code = admin_done(&a, &c, &b);
out:
	buffer_free(&b);
	admin_change_free(&c);
	admin_close(&a);
	return code;
}

int admin_idp_connect(const struct cli *cli)
{
	return connect_or_not(cli, true);
}

int admin_idp_disconnect(const struct cli *cli)
{
	return connect_or_not(cli, false);
}
