/* SPDX-License-Identifier: Apache-2.0 */
/* Google: the metadata server of a virtual machine with two service accounts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "emulator.h"

#define PROJECT "keyfob-emulator"
#define SCOPE "https://www.googleapis.com/auth/cloud-platform"

enum { LIFETIME = 3600, MARGIN = 240 };

static const struct account {
	const char *email;
	const char *id;
	const char *alias;
} accounts[] = {
	{ "default@" PROJECT ".iam.gserviceaccount.com", "104600000000000000001", "default" },
	{ "orders@" PROJECT ".iam.gserviceaccount.com", "104600000000000000002", NULL },
};

enum { ACCOUNTS = sizeof(accounts) / sizeof(accounts[0]) };

static const struct {
	const char *path;
	const char *text;
} plain[] = {
	{ "instance", "id\nname\nservice-accounts/\nzone\n" },
	{ "instance/id", "4600000000000000001" },
	{ "instance/name", "emulator" },
	{ "instance/zone", "projects/460000000001/zones/europe-west6-a" },
	{ "project/project-id", PROJECT },
	{ "project/numeric-project-id", "460000000001" },
	{ "universe/universe-domain", "googleapis.com" },
};

static void plain_text(struct emu_exchange *x, const char *body)
{
	emu_reply_text(x, HTTP_OK, "application/text", body);
}

static void fail(struct emu_exchange *x, int status, const char *why)
{
	emu_reply_text(x, status, "text/html; charset=UTF-8", why);
}

static void not_found(struct emu_exchange *x)
{
	fail(x, HTTP_NOTFOUND, "The requested path does not exist on this server.\n");
}

static json_t *engine_claims(bool licenses)
{
	json_t *engine = json_pack("{s:s, s:s, s:i, s:s, s:I, s:s}", "instance_id", "4600000000000000001", "instance_name", "emulator",
		"instance_creation_timestamp", 1700000000, "project_id", PROJECT, "project_number", (json_int_t)460000000001, "zone",
		"europe-west6-a");

	if (licenses)
		json_object_set_new(engine, "license_id", json_pack("[s]", "4600000000000000009"));
	return json_pack("{s:o}", "compute_engine", engine);
}

static void identity(struct emu_exchange *x, const struct account *account)
{
	const char *audience = emu_query_get(&x->query, "audience"), *format = emu_query_get(&x->query, "format");
	const char *licenses = emu_query_get(&x->query, "licenses");
	bool full = format && strcmp(format, "full") == 0;
	bool with_licenses = full && licenses && strcasecmp(licenses, "true") == 0;
	struct emu_wish wish = { .lifetime = LIFETIME, .margin = MARGIN, .prefix = "" };
	const struct emu_token *token = NULL;
	char *key, *body = NULL;

	if (!audience || !*audience) {
		fail(x, HTTP_BADREQUEST, "non-empty audience parameter required\n");
		return;
	}
	if (asprintf(&key, "identity %s %d%d %s", account->email, full, with_licenses, audience) < 0)
		key = NULL;
	wish.key = key;
	wish.claims = json_pack("{s:s, s:s, s:s}", "aud", audience, "sub", account->id, "azp", account->id);
	if (full && wish.claims) {
		json_object_set_new(wish.claims, "email", json_string(account->email));
		json_object_set_new(wish.claims, "email_verified", json_true());
		json_object_set_new(wish.claims, "google", engine_claims(with_licenses));
	}
	if (key && wish.claims)
		token = emu_token_get(x, &wish);
	if (token && asprintf(&body, "%s%s", token->text, x->fault->newline ? "\n" : "") < 0)
		body = NULL;
	if (body)
		emu_reply_text(x, HTTP_OK, "text/html", body);
	else
		fail(x, HTTP_BADREQUEST, "audience is not valid UTF-8 text\n");
	json_decref(wish.claims);
	free(body);
	free(key);
}

static void access_token(struct emu_exchange *x, const struct account *account)
{
	const char *scopes = emu_query_get(&x->query, "scopes");
	struct emu_wish wish = { .lifetime = LIFETIME, .margin = MARGIN, .prefix = "ya29." };
	const struct emu_token *token = NULL;
	char *key;

	if (asprintf(&key, "access %s %s", account->email, scopes ? scopes : SCOPE) < 0)
		key = NULL;
	wish.key = key;
	if (key)
		token = emu_token_get(x, &wish);
	if (token)
		emu_reply_token(x, json_pack("{s:s, s:s}", "access_token", token->text, "token_type", "Bearer"),
			json_integer(emu_token_left(x, token)), NULL);
	else
		fail(x, HTTP_INTERNAL, "out of memory\n");
	free(key);
}

static json_t *describe(const struct account *account)
{
	json_t *aliases = json_array();

	if (account->alias)
		json_array_append_new(aliases, json_string(account->alias));
	return json_pack("{s:o, s:s, s:[s]}", "aliases", aliases, "email", account->email, "scopes", SCOPE);
}

static bool wants_all(const struct emu_exchange *x)
{
	const char *recursive = emu_query_get(&x->query, "recursive");

	return recursive && strcasecmp(recursive, "true") == 0;
}

static void list_accounts(struct emu_exchange *x)
{
	char list[300] = "";
	json_t *all;

	if (wants_all(x)) {
		all = json_object();
		for (size_t i = 0; i < ACCOUNTS; i++) {
			if (accounts[i].alias)
				json_object_set_new(all, accounts[i].alias, describe(&accounts[i]));
			json_object_set_new(all, accounts[i].email, describe(&accounts[i]));
		}
		emu_reply_json(x, HTTP_OK, all);
		return;
	}
	for (size_t i = 0; i < ACCOUNTS; i++) {
		size_t used = strlen(list);

		if (accounts[i].alias)
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s/\n", accounts[i].alias);
		snprintf(list + used, sizeof(list) - used, "%s/\n", accounts[i].email);
	}
	plain_text(x, list);
}

static const struct account *find_account(const char *name, size_t length)
{
	for (size_t i = 0; i < ACCOUNTS; i++) {
		const char *email = accounts[i].email, *alias = accounts[i].alias;

		if (strlen(email) == length && strncmp(email, name, length) == 0)
			return &accounts[i];
		if (alias && strlen(alias) == length && strncmp(alias, name, length) == 0)
			return &accounts[i];
	}
	return NULL;
}

/* path is what follows service-accounts/, without a slash at its end. */
static void service_account(struct emu_exchange *x, const char *path)
{
	size_t length = strcspn(path, "/");
	const struct account *account = find_account(path, length);
	const char *leaf = path[length] ? path + length + 1 : "";

	if (!account)
		fail(x, HTTP_NOTFOUND, "There is no such service account on this machine.\n");
	else if (!*leaf && wants_all(x))
		emu_reply_json(x, HTTP_OK, describe(account));
	else if (!*leaf)
		plain_text(x, "aliases\nemail\nidentity\nscopes\ntoken\n");
	else if (strcmp(leaf, "identity") == 0)
		identity(x, account);
	else if (strcmp(leaf, "token") == 0)
		access_token(x, account);
	else if (strcmp(leaf, "email") == 0)
		plain_text(x, account->email);
	else if (strcmp(leaf, "aliases") == 0)
		plain_text(x, account->alias ? account->alias : "");
	else if (strcmp(leaf, "scopes") == 0)
		plain_text(x, SCOPE "\n");
	else
		not_found(x);
}

static void look_up(struct emu_exchange *x, const char *path)
{
	static const char under[] = "instance/service-accounts";
	size_t length = sizeof(under) - 1;

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (strcmp(path, plain[i].path) == 0) {
			plain_text(x, plain[i].text);
			return;
		}
	if (strcmp(path, under) == 0)
		list_accounts(x);
	else if (strncmp(path, under, length) == 0 && path[length] == '/')
		service_account(x, path + length + 1);
	else
		not_found(x);
}

void emu_metadata(struct emu_exchange *x)
{
	static const char root[] = "/computeMetadata/v1/";
	const char *flavor = emu_header_in(x, "Metadata-Flavor");
	size_t length = strlen(x->path);

	if (!emu_is_get(x))
		emu_reply_method(x, "GET");
	else if (emu_header_in(x, "X-Forwarded-For"))
		fail(x, 403, "X-Forwarded-For is not accepted\n");
	else if (strcmp(x->path, "/") == 0) /* needs no header: clients detect the server by it */
		plain_text(x, "computeMetadata/\n");
	else if (!flavor || strcmp(flavor, "Google") != 0)
		fail(x, 403, "Missing Metadata-Flavor:Google header\n");
	else if (strncmp(x->path, root, sizeof(root) - 1) != 0)
		not_found(x);
	else {
		if (x->path[length - 1] == '/')
			x->path[length - 1] = '\0';
		look_up(x, x->path + sizeof(root) - 1);
	}
}
