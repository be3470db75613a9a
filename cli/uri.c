/* SPDX-License-Identifier: Apache-2.0 */
/* `keyfob uri`: what to write into a program's configuration, so that its driver logs in with a credential's token. */
#include "cli/cli.h"

#include <ctype.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POSTGRESQL_PORT "5432"
#define MARIADB_PORT "3306"

struct place {
	const char *name; /* of the credential */
	const char *hosts; /* as given */
	char host[256]; /* without the port, and without brackets; "" when there are several */
	const char *port; /* NULL: not given */
	const char *user, *database;
	bool is_local; /* on this machine: nobody listens on the way */
	char *provider, *resource; /* as the broker has them */
};

struct uris {
	struct buffer mongodb, metadata, postgresql, pgpass, mariadb;
};

/* --- the arguments ------------------------------------------------------------------- */

/* Nothing that a URI, a pgpass file or a shell would read as more than a name. */
static bool is_plain(const char *text, const char *besides)
{
	if (!*text)
		return false;
	while (isalnum((unsigned char)*text) || (*text && strchr(besides, *text)))
		text++;
	return !*text;
}

static bool is_port(const char *text)
{
	return strlen(text) <= 5 && strspn(text, "0123456789") == strlen(text) && atoi(text) >= 1 && atoi(text) <= 65535;
}

/* HOST, HOST:PORT, [ADDRESS], [ADDRESS]:PORT */
static bool read_host(struct place *p)
{
	bool is_address = p->hosts[0] == '[';
	const char *start = p->hosts + is_address, *end = start + strcspn(start, is_address ? "]" : ":");
	size_t length = (size_t)(end - start);

	if (length >= sizeof(p->host) || (is_address && *end++ != ']'))
		return false;
	memcpy(p->host, start, length);
	p->host[length] = 0;
	if (!is_plain(p->host, is_address ? ":." : ".-_"))
		return false;
	p->port = *end == ':' ? end + 1 : NULL;
	p->is_local = strcmp(p->host, "localhost") == 0 || strcmp(p->host, "::1") == 0 || strncmp(p->host, "127.", 4) == 0;
	return p->port ? is_port(p->port) : !*end;
}

/* Returns 0 or an exit code. */
static int read_place(const struct cli *cli, struct place *p)
{
	const struct passwd *self = getpwuid(geteuid());

	p->name = cli->operand[0];
	p->hosts = cli->operand[1];
	p->user = cli_value(cli, "user");
	p->database = cli_value(cli, "database");
	if (!p->user)
		p->user = self ? self->pw_name : "";
	if (!p->database)
		p->database = p->user;
	if (cli_check_name(cli, p->name))
		return -KEYFOB_EINVAL;
	if (strchr(p->hosts, ',') ? !is_plain(p->hosts, ".-_:,[]") : !read_host(p))
		return cli_usage(cli, "%s: not a host: HOST, HOST:PORT, [ADDRESS]:PORT, or several parted by commas", p->hosts);
	if (!is_plain(p->user, "._-") || !is_plain(p->database, "._-"))
		return cli_usage(cli, "a user and a database of letters, digits, '.', '_' and '-' are wanted (--user, --database)");
	return 0;
}

/* Whether there is such a credential, and where its tokens come from. Returns 0 or an exit code. */
static int read_credential(struct place *p)
{
	char message[WIRE_TEXT_MAX] = "";
	struct cli_list list = { 0 };
	int error, code;

	cli_progress_begin(p->name, "waiting for the broker");
	error = cli_list_load(&list, p->name, message);
	cli_progress_end();
	code = error ? cli_fail_request(error, p->name, message) : list.count ? 0 : cli_malformed(p->name);
	if (!code) {
		p->provider = list.item[0].provider;
		p->resource = list.item[0].resource;
		list.item[0].provider = list.item[0].resource = NULL;
	}
	cli_list_free(&list);
	return code;
}

/* --- the strings ------------------------------------------------------------------------ */

static void put_encoded(struct buffer *b, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (isalnum((unsigned char)text[i]) || strchr("-._~", text[i]))
			buffer_put(b, text + i, 1);
		else
			buffer_printf(b, "%%%02X", (unsigned int)(unsigned char)text[i]);
	}
}

/* A scope's end is not part of the resource. */
static size_t resource_length(const char *resource)
{
	static const char scope[] = "/.default";
	size_t length = strlen(resource), end = sizeof(scope) - 1;

	return length > end && strcmp(resource + length - end, scope) == 0 ? length - end : length;
}

/* Atlas' names are looked up by SRV records, and are reached by TLS; for others that must be said. */
static void put_mongodb(struct buffer *b, const struct place *p, const char *user, size_t length, const char *environment)
{
	static const char *const srv[] = { ".mongodb.net", ".mongodb-qa.net", ".mongodb-dev.net", ".mongodbgov.net" };
	bool is_srv = false;

	for (size_t i = 0; i < sizeof(srv) / sizeof(srv[0]); i++) {
		size_t at = strlen(p->host) - strlen(srv[i]);

		is_srv |= !p->port && strlen(p->host) > strlen(srv[i]) && strcmp(p->host + at, srv[i]) == 0;
	}
	buffer_printf(b, is_srv ? "mongodb+srv://" : "mongodb://");
	put_encoded(b, user, length);
	buffer_printf(
		b, "%s%s/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:%s", length ? "@" : "", p->hosts, environment);
	if (strcmp(environment, "k8s") != 0) {
		buffer_printf(b, ",TOKEN_RESOURCE:");
		put_encoded(b, p->resource, resource_length(p->resource));
	}
	buffer_printf(b, is_srv || p->is_local ? "" : "&tls=true");
}

/* The value of client_id in a provider line. */
static const char *client_id(const char *provider, size_t *length)
{
	const char *at = strstr(provider, " client_id=");

	at = at ? at + strlen(" client_id=") : "";
	*length = strcspn(at, " \"");
	return at;
}

/* A driver that asks a metadata service by itself; its properties are parted by commas, and none can be escaped. */
static void put_metadata(struct buffer *b, const struct place *p)
{
	bool is_azure = strncmp(p->provider, "azure", 5) == 0 && strchr(" ", p->provider[5]);
	bool is_gcp = strncmp(p->provider, "gcp", 3) == 0 && strchr(" ", p->provider[3]);
	const char *source = strstr(p->provider, " source="), *user;
	size_t length = 0;

	if (!p->resource[0] || strchr(p->resource, ',') || (!is_azure && !is_gcp))
		return;
	if (source && strncmp(source, is_azure ? " source=imds" : " source=metadata", is_azure ? 12 : 16) != 0)
		return;
	user = client_id(p->provider, &length);
	put_mongodb(b, p, user, is_azure ? length : 0, is_azure ? "azure" : "gcp");
}

static void put_uris(struct uris *u, const struct place *p)
{
	const char *port = p->port ? p->port : POSTGRESQL_PORT;
	bool is_address = strchr(p->host, ':');

	put_mongodb(&u->mongodb, p, "", 0, "k8s");
	put_metadata(&u->metadata, p);
	buffer_printf(&u->postgresql, "postgresql://%s@%s/%s%s", p->user, p->hosts, p->database, p->is_local ? "" : "?sslmode=verify-full");
	if (!p->host[0])
		buffer_printf(&u->pgpass, "%s:*:*:%s:%s", p->name, p->database, p->user);
	else
		buffer_printf(&u->pgpass, "%s:%s:%s:%s:%s", p->name, is_address ? "*" : p->host, port, p->database, p->user);
	if (p->host[0])
		buffer_printf(&u->mariadb,
			"mariadb --defaults-extra-file=<(printf '[client]\\npassword=\"%%s\"\\n' \"$(keyfob get %s)\")"
			" --protocol=tcp -h %s -P %s -u %s%s %s",
			p->name, p->host, p->port ? p->port : MARIADB_PORT, p->user, p->is_local ? "" : " --ssl-verify-server-cert",
			p->database);
}

/* --- output -------------------------------------------------------------------------------- */

static void put_json(struct buffer *b, struct uris *u)
{
	cli_json_open(b, NULL, '{');
	cli_json_text(b, "mongodb", buffer_cstring(&u->mongodb));
	cli_json_optional(b, "mongodb_metadata", buffer_cstring(&u->metadata));
	cli_json_text(b, "postgresql", buffer_cstring(&u->postgresql));
	cli_json_text(b, "pgpass", buffer_cstring(&u->pgpass));
	cli_json_optional(b, "mariadb", buffer_cstring(&u->mariadb));
	cli_json_close(b, '}');
	buffer_put(b, "\n", 1);
}

static void put_text(struct buffer *b, const struct place *p, struct uris *u)
{
	buffer_printf(b, "MongoDB\n  %s\n  keyfob run --mongodb=%s -- PROGRAM\n", buffer_cstring(&u->mongodb), p->name);
	if (u->metadata.length)
		buffer_printf(b, "MongoDB, with a driver that asks the metadata service itself\n  %s\n", buffer_cstring(&u->metadata));
	buffer_printf(
		b, "PostgreSQL\n  %s\n  keyfob run --pgpass=%s -- PROGRAM\n", buffer_cstring(&u->postgresql), buffer_cstring(&u->pgpass));
	if (u->mariadb.length)
		buffer_printf(b, "MariaDB, MySQL (in bash)\n  %s\n", buffer_cstring(&u->mariadb));
}

int cli_uri(const struct cli *cli)
{
	struct place place = { 0 };
	struct uris uris;
	struct buffer b;
	struct buffer *const all[] = { &uris.mongodb, &uris.metadata, &uris.postgresql, &uris.pgpass, &uris.mariadb, &b };
	int code = read_place(cli, &place);

	if (code)
		return code;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		buffer_init(all[i], CLI_OUTPUT_MAX);
	code = read_credential(&place);
	if (code == 0) {
		put_uris(&uris, &place);
		if (cli_value(cli, "json"))
			put_json(&b, &uris);
		else
			put_text(&b, &place, &uris);
		code = cli_output(&b);
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		buffer_free(all[i]);
	free(place.provider);
	free(place.resource);
	return code;
}
