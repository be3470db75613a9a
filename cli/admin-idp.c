/* SPDX-License-Identifier: Apache-2.0 */
/* Identity providers: list, show, add. */
#include "cli/admin.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t count(const struct federation *f)
{
	return f->provider_count;
}

static const char *name_of(const struct federation *f, size_t i)
{
	return f->providers[i].name;
}

static const char *type_name(const struct federation_provider *p)
{
	return p->type == FEDERATION_GROUP ? "group" : "user";
}

static const char *rules_name(const struct federation_provider *p)
{
	return p->rules == FEDERATION_MONGODB ? "mongodb" : "keyfob";
}

static bool is_connected(const struct federation_organization *o, const char *provider)
{
	return federation_list_holds(&o->identity_providers, provider);
}

static void put_line(const struct federation *f, size_t i, struct buffer *b)
{
	const struct federation_provider *p = &f->providers[i];

	buffer_printf(b, "%-16s %-5s  ", p->name, type_name(p));
	cli_put_escaped(b, p->issuer);
	buffer_printf(b, "  ");
	cli_put_escaped(b, p->audience);
	buffer_put(b, "\n", 1);
}

static void put_json(const struct federation *f, size_t i, struct buffer *b)
{
	const struct federation_provider *p = &f->providers[i];

	cli_json_open(b, NULL, '{');
	cli_json_text(b, "name", p->name);
	cli_json_optional(b, "description", p->description);
	cli_json_text(b, "issuer", p->issuer);
	cli_json_text(b, "audience", p->audience);
	cli_json_text(b, "authorization_type", type_name(p));
	cli_json_text(b, "user_claim", p->user_claim);
	cli_json_text(b, "groups_claim", p->groups_claim);
	cli_json_text(b, "rules", rules_name(p));
	admin_json_list(b, "client_ids", &p->client_ids);
	admin_json_list(b, "types", &p->types);
	cli_json_time(b, "max_lifetime", p->max_lifetime);
	cli_json_number(b, "expiry_skew", p->expiry_skew);
	cli_json_number(b, "max_token_size", p->max_token_size);
	cli_json_optional(b, "discovery_url", p->discovery_url);
	cli_json_optional(b, "jwks_uri", p->jwks_uri);
	cli_json_optional(b, "jwks_file", p->jwks_file);
	cli_json_optional(b, "ca_file", p->ca_file);
	cli_json_optional(b, "proxy", p->proxy);
	cli_json_optional(b, "pin", p->pin);
	cli_json_open(b, "organizations", '[');
	for (size_t j = 0; j < f->organization_count; j++)
		if (is_connected(&f->organizations[j], p->name))
			cli_json_text(b, NULL, f->organizations[j].name);
	cli_json_close(b, ']');
	cli_json_open(b, "database_users", '[');
	for (size_t j = 0; j < f->user_count; j++)
		if (strcmp(f->users[j].identity_provider, p->name) == 0)
			cli_json_text(b, NULL, f->users[j].name);
	cli_json_close(b, ']');
	admin_json_place(b, p->file, p->line);
	cli_json_close(b, '}');
}

/* What the same is called where it is to be found, or to be typed in again. */
static const struct {
	const char *here, *atlas, *azure, *google;
} names[] = {
	{ "here", "Atlas", "Azure portal", "Google Cloud" },
	{ "issuer", "Issuer URI", "\"issuer\" in the OpenID Connect metadata document", "https://accounts.google.com" },
	{ "audience", "Audience", "Application (client) ID; v1: Application ID URI", "the audience asked for" },
	{ "authorization_type", "Authorization Type", "", "user" },
	{ "  user", "  User ID", "", "" },
	{ "  group", "  Group Membership", "", "(tokens name no groups)" },
	{ "user_claim", "User Claim", "sub, oid", "sub" },
	{ "groups_claim", "Groups Claim", "groups (Token configuration)", "" },
	{ "client_id", "Client ID", "Application (client) ID of the caller", "Unique ID of the caller" },
	{ "jwks_uri", "", "\"jwks_uri\" in the metadata document", "https://www.googleapis.com/oauth2/v3/certs" },
	{ "user_id", "User Identifier", "Object (principal) ID of the identity", "Unique ID of the service account" },
	{ "group_id", "Group Identifier", "Object ID of the group", "" },
};

static void put_names(struct buffer *b)
{
	buffer_printf(b, "\nwhat others call these\n");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		buffer_printf(b, "  %-19s %-19s %-51s %s", names[i].here, names[i].atlas, names[i].azure, names[i].google);
		while (b->length && b->data[b->length - 1] == ' ')
			b->length--;
		buffer_put(b, "\n", 1);
	}
}

static void put_connections(const struct federation *f, const char *provider, struct buffer *b)
{
	bool any = false;

	if (!f->organization_count) {
		admin_put_pair(b, "connected", "to every service: there is no organization");
		return;
	}
	for (size_t i = 0; i < f->organization_count; i++) {
		const struct federation_organization *o = &f->organizations[i];

		if (!is_connected(o, provider))
			continue;
		buffer_printf(b, "  %-19s %s:", any ? "" : "connected", o->name);
		for (size_t j = 0; j < o->services.count; j++)
			buffer_printf(b, " %s", o->services.names[j]);
		buffer_put(b, "\n", 1);
		any = true;
	}
	if (!any)
		buffer_printf(b, "  %-19s to nothing: keyfob idp connect %s ORG\n", "connected", provider);
}

static void put_page(const struct federation *f, size_t i, struct buffer *b)
{
	const struct federation_provider *p = &f->providers[i];
	char number[32], words[64];

	buffer_printf(b, "%s: identity provider, ", p->name);
	cli_put_escaped(b, p->file);
	buffer_printf(b, ":%u\n", p->line);
	admin_put_pair(b, "description", p->description);
	admin_put_pair(b, "issuer", p->issuer);
	admin_put_pair(b, "audience", p->audience);
	admin_put_pair(b, "authorization_type", type_name(p));
	admin_put_pair(b, "user_claim", p->user_claim);
	if (p->type == FEDERATION_GROUP)
		admin_put_pair(b, "groups_claim", p->groups_claim);
	admin_put_list(b, "client_id", &p->client_ids);
	admin_put_list(b, "types", &p->types);
	admin_put_pair(b, "rules", rules_name(p));
	if (p->max_lifetime)
		admin_put_pair(b, "max_lifetime", cli_duration(p->max_lifetime, words, sizeof(words)));
	if (p->expiry_skew)
		admin_put_pair(b, "expiry_skew", cli_duration(p->expiry_skew, words, sizeof(words)));
	snprintf(number, sizeof(number), "%zu bytes", p->max_token_size);
	admin_put_pair(b, "max_token_size", number);
	admin_put_pair(b, "discovery_url", p->discovery_url);
	admin_put_pair(b, "jwks_uri", p->jwks_uri);
	admin_put_pair(b, "jwks_file", p->jwks_file);
	admin_put_pair(b, "ca_file", p->ca_file);
	admin_put_pair(b, "proxy", p->proxy);
	admin_put_pair(b, "pin", p->pin);
	put_connections(f, p->name, b);
	for (size_t j = 0, n = 0; j < f->user_count; j++)
		if (strcmp(f->users[j].identity_provider, p->name) == 0)
			admin_put_pair(b, n++ ? "" : "database users", f->users[j].name);
	put_names(b);
}

static const struct admin_kind kind = {
	.type = "identity-provider",
	.plural = "identity_providers",
	.none = "No identity provider yet. Add one: keyfob idp add --help",
	.count = count,
	.name = name_of,
	.put_line = put_line,
	.put_page = put_page,
	.put_json = put_json,
};

int admin_idp_list(const struct cli *cli)
{
	return admin_list(cli, &kind);
}

int admin_idp_show(const struct cli *cli)
{
	return admin_show(cli, &kind);
}

/* --- add ------------------------------------------------------------------------------ */

/* 8-4-4-4-12 hex digits, as Azure writes its ids. */
static bool is_guid(const char *text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (strlen(text) != strlen(form))
		return false;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	return true;
}

/* What a preset fills in. */
struct preset {
	const char *name, *issuer, *audience;
	char space[128], client[40];
};

/* As Azure writes them in tokens, whatever the portal's page or a script had. */
static void to_lower(char *text)
{
	for (; *text; text++)
		*text = (char)tolower((unsigned char)*text);
}

static int preset_azure(const struct cli *cli, struct preset *p)
{
	const char *tenant, *client;

	if (cli->count < 2)
		return cli_usage(cli, "--preset=azure takes TENANT-ID CLIENT-ID, after a name if it shall not be azure");
	p->name = cli->count == 3 ? cli->operand[0] : "azure";
	tenant = cli->operand[cli->count - 2];
	client = cli->operand[cli->count - 1];
	if (!is_guid(tenant))
		return cli_usage(cli,
			"%s: not a tenant's id, the GUID that the portal calls Directory (tenant) ID; a domain, common or organizations"
			" is not what stands in a token's issuer",
			tenant);
	if (!is_guid(client))
		return cli_usage(cli,
			"%s: not an application's id, the GUID that the portal calls Application (client) ID; v2 tokens carry that in"
			" aud, also where the Application ID URI was asked for",
			client);
	snprintf(p->space, sizeof(p->space), "https://login.microsoftonline.com/%s/v2.0", tenant);
	snprintf(p->client, sizeof(p->client), "%s", client);
	to_lower(p->space);
	to_lower(p->client);
	p->issuer = p->space;
	p->audience = p->client;
	return 0;
}

static int preset_google(const struct cli *cli, struct preset *p)
{
	const char *type = cli_value(cli, "type");

	if (type && strcmp(type, "group") == 0)
		return cli_usage(cli, "Google's tokens name no groups: --type=user");
	if (cli->count < 1 || cli->count > 2)
		return cli_usage(cli, "--preset=google takes AUDIENCE, after a name if it shall not be google");
	p->name = cli->count == 2 ? cli->operand[0] : "google";
	p->issuer = "https://accounts.google.com";
	p->audience = cli->operand[cli->count - 1];
	return 0;
}

static int fill_in(const struct cli *cli, struct preset *p)
{
	static const char *const presets[] = { "azure", "google", NULL };
	const char *preset = cli_value(cli, "preset"), *near;
	int code;

	p->name = cli->operand[0];
	p->issuer = cli_value(cli, "issuer");
	p->audience = cli_value(cli, "audience");
	if (!preset && !cli->count)
		return cli_usage(cli, "missing: %s", cli->verb->operands);
	if (!preset && cli->count > 1)
		return cli_usage(cli, "one argument too many: %s", cli->operand[1]);
	if (!preset)
		return p->issuer && p->audience ? 0 : cli_usage(cli, "--issuer and --audience are needed, or --preset");
	if (p->issuer || p->audience)
		return cli_usage(cli, "--preset fills in --issuer and --audience; give it or them");
	if (strcmp(preset, "azure") == 0)
		code = preset_azure(cli, p);
	else if (strcmp(preset, "google") == 0)
		code = preset_google(cli, p);
	else if ((near = cli_nearest(preset, presets)))
		code = cli_usage(cli, "unknown preset %s (did you mean %s?)", preset, near);
	else
		code = cli_usage(cli, "unknown preset %s: there is azure, google", preset);
	return code;
}

/* The file may come later, but until it does nobody can log in. */
static void warn_of_file(const char *name, const char *path)
{
	const struct passwd *verifier = getpwnam("keyfob-verify");
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	const char *why = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		why = "not a file";
	else if (st.st_uid != 0 || st.st_mode & 022)
		why = "not of root, or writable for others";
	else if (verifier && !(st.st_mode & 04) && !(st.st_mode & 040 && st.st_gid == verifier->pw_gid))
		why = "not readable by keyfob-verify";
	if (why)
		cli_fail(KEYFOB_EFAIL, name, "%s: %s; tokens are refused until that is mended (then: keyfob jwks refresh %s)", path, why,
			name);
	if (fd >= 0)
		close(fd);
}

int admin_idp_add(const struct cli *cli)
{
	static const struct {
		const char *option, *key;
	} rest[] = { { "user-claim", "user_claim" }, { "groups-claim", "groups_claim" }, { "rules", "rules" },
		{ "max-lifetime", "max_lifetime" }, { "max-token-size", "max_token_size" }, { "discovery-url", "discovery_url" },
		{ "jwks-uri", "jwks_uri" }, { "jwks-file", "jwks_file" }, { "ca-file", "ca_file" }, { "proxy", "proxy" }, { "pin", "pin" },
		{ "expiry-skew", "expiry_skew" } };
	const char *type = cli_value(cli, "type"), *value;
	struct admin_stanza s = { .type = "identity-provider" };
	struct preset p = { 0 };
	struct buffer types;
	int code = fill_in(cli, &p), at = 0;

	if (code)
		return code;
	buffer_init(&types, FEDERATION_TEXT_MAX);
	admin_words(cli, "token-type", &types);
	s.name = p.name;
	admin_stanza_add(&s, "description", cli_value(cli, "description"));
	admin_stanza_add(&s, "issuer", p.issuer);
	admin_stanza_add(&s, "audience", p.audience);
	admin_stanza_add(&s, "authorization_type", type ? type : "user");
	for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
		admin_stanza_add(&s, rest[i].key, cli_value(cli, rest[i].option));
	while ((value = cli_next_value(cli, "client-id", &at)))
		admin_stanza_add(&s, "client_id", value);
	if (types.length || types.failed)
		admin_stanza_add(&s, "types", types.failed ? "" : buffer_cstring(&types));
	code = admin_add(cli, &s, NULL);
	if (!code && cli_value(cli, "jwks-file") && !cli_value(cli, "print"))
		warn_of_file(p.name, cli_value(cli, "jwks-file"));
	buffer_free(&types);
	return code;
}
