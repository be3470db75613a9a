/* SPDX-License-Identifier: Apache-2.0 */
/* Azure: the token endpoint of the Instance Metadata Service, as strict as the real one. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "azure.h"

enum { LIFETIME = 86400, MARGIN = 300 };

const char *const emu_imds_ids[EMU_AZURE_IDS] = { "client_id", "object_id", "msi_res_id" };

static void bad_request(struct emu_exchange *x, const char *why)
{
	emu_reply_json(x, HTTP_BADREQUEST, json_pack("{s:s, s:s}", "error", "invalid_request", "error_description", why));
}

static bool is_version(const char *text)
{
	for (size_t i = 0; i < 10; i++)
		if (i == 4 || i == 7 ? text[i] != '-' : !isdigit((unsigned char)text[i]))
			return false;
	return text[10] == '\0' || strcmp(text + 10, "-preview") == 0;
}

/* Answers, and returns false, when the request's form is not what the service takes. */
bool emu_imds_well_formed(struct emu_exchange *x)
{
	const char *header = emu_header_in(x, "Metadata"), *version = emu_query_get(&x->query, "api-version");
	const char *resource = emu_query_get(&x->query, "resource");

	if (!emu_is_get(x)) {
		emu_reply_method(x, "GET");
	} else if (emu_header_in(x, "X-Forwarded-For")) {
		bad_request(x, "X-Forwarded-For is not accepted");
	} else if (!header || strcmp(header, "true") != 0) {
		bad_request(x, "Required metadata header not specified");
	} else if (emu_query_repeated(&x->query)) {
		bad_request(x, "A query parameter was given more than once");
	} else if (!version || !is_version(version)) {
		emu_reply_json(x, HTTP_BADREQUEST,
			json_pack("{s:s, s:[s, s, s]}", "error",
				version ? "Bad request. api-version is not one that is known."
					: "Bad request. api-version was not specified in the request.",
				"newest-versions", "2021-02-01", "2020-09-01", "2018-02-01"));
	} else if (!resource || !*resource) {
		bad_request(x, "Required query variable 'resource' is missing");
	} else {
		return true;
	}
	return false;
}

const char *emu_azure_identity(const struct emu_exchange *x, const char *const names[EMU_AZURE_IDS], struct emu_azure_identity *id)
{
	char seed[600];

	for (size_t i = 0; i < EMU_AZURE_IDS; i++) {
		const char *value = names[i] ? emu_query_get(&x->query, names[i]) : NULL;

		if (!value)
			continue;
		if (id->kind)
			return "Only one of client_id, object_id and msi_res_id may be given";
		id->kind = emu_imds_ids[i];
		id->value = value;
	}
	if (id->kind && (!*id->value || strlen(id->value) > 500 || strncasecmp(id->value, "unknown", 7) == 0))
		return "Identity not found";
	snprintf(seed, sizeof(seed), "object %s %s", id->kind ? id->kind : "system", id->kind ? id->value : "");
	emu_uuid_of(seed, id->object);
	snprintf(seed, sizeof(seed), "client %s %s", id->kind ? id->kind : "system", id->kind ? id->value : "");
	emu_uuid_of(seed, id->client);
	if (id->kind && strcmp(id->kind, "client_id") == 0 && strlen(id->value) < sizeof(id->client))
		strcpy(id->client, id->value);
	if (id->kind && strcmp(id->kind, "object_id") == 0 && strlen(id->value) < sizeof(id->object))
		strcpy(id->object, id->value);
	return NULL;
}

static json_t *claims_for(const char *resource, const struct emu_azure_identity *id)
{
	static const char scope[] = "/.default";
	size_t length = strlen(resource), tail = sizeof(scope) - 1;
	char tenant[37];

	if (length > tail && strcmp(resource + length - tail, scope) == 0)
		length -= tail;
	emu_uuid_of("tenant", tenant);
	return json_pack("{s:s%, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "aud", resource, length, "sub", id->object, "oid", id->object, "tid",
		tenant, "azp", id->client, "azpacr", "2", "idtyp", "app", "ver", "2.0");
}

json_t *emu_number_text(time_t number)
{
	return json_sprintf("%lld", (long long)number);
}

const struct emu_token *emu_azure_token(struct emu_exchange *x, const char *resource, const struct emu_azure_identity *id)
{
	struct emu_wish wish = { .lifetime = LIFETIME, .margin = MARGIN, .prefix = "" };
	const struct emu_token *token = NULL;
	char *key;

	if (asprintf(&key, "imds %s=%s %s", id->kind ? id->kind : "system", id->kind ? id->value : "", resource) < 0)
		key = NULL;
	wish.key = key;
	wish.claims = claims_for(resource, id);
	if (key && wish.claims)
		token = emu_token_get(x, &wish);
	json_decref(wish.claims);
	free(key);
	return token;
}

json_t *emu_azure_reply(const struct emu_token *token, const char *resource, const struct emu_azure_identity *id)
{
	return json_pack(
		"{s:s, s:s, s:s, s:s}", "access_token", token->text, "client_id", id->client, "resource", resource, "token_type", "Bearer");
}

void emu_imds_hand_out(struct emu_exchange *x, const char *resource, const struct emu_azure_identity *id, bool echo)
{
	const struct emu_token *token = emu_azure_token(x, resource, id);
	json_t *reply = token ? emu_azure_reply(token, resource, id) : NULL;

	if (!reply) {
		bad_request(x, "A query parameter is not valid UTF-8 text");
		return;
	}
	json_object_set_new(reply, "ext_expires_in", emu_number_text(token->expires - token->issued));
	json_object_set_new(reply, "not_before", emu_number_text(token->issued));
	if (echo && id->kind)
		json_object_set_new(reply, id->kind, json_string(id->value));
	emu_reply_token(x, reply, emu_number_text(emu_token_left(x, token)), emu_number_text(token->expires));
}

void emu_imds(struct emu_exchange *x)
{
	struct emu_azure_identity id = { 0 };
	const char *path = x->path + strlen("/metadata"), *why;

	if (strcasecmp(path, "/identity/oauth2/token") != 0 && strcasecmp(path, "/identity/oauth2/token/") != 0) {
		emu_reply_json(x, HTTP_NOTFOUND, json_pack("{s:s}", "error", "Not found. Only identity/oauth2/token is here."));
		return;
	}
	if (!emu_imds_well_formed(x))
		return;
	why = emu_azure_identity(x, emu_imds_ids, &id);
	if (why)
		bad_request(x, why);
	else
		emu_imds_hand_out(x, emu_query_get(&x->query, "resource"), &id, false);
}
