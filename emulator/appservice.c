/* SPDX-License-Identifier: Apache-2.0 */
/* Azure: the local endpoint of App Service, Functions and Container Apps, in both of its forms. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "azure.h"

static const struct version {
	const char *name;
	const char *header;
	const char *ids[EMU_AZURE_IDS];
} versions[] = {
	{ "2019-08-01", "X-IDENTITY-HEADER", { "client_id", "principal_id", "mi_res_id" } },
	{ "2017-09-01", "secret", { "clientid", NULL, NULL } },
};

static void fail(struct emu_exchange *x, int status, const char *message)
{
	char correlation[37];

	emu_uuid_of(message, correlation);
	emu_reply_json(x, status, json_pack("{s:i, s:s, s:s}", "statusCode", status, "message", message, "correlationId", correlation));
}

/* The platforms spell it in four ways; all mean the same. */
static json_t *spell(const struct emu_fault *f, time_t expires)
{
	const char *how = f->spelling;
	char text[64];
	struct tm tm;
	int hour;

	if (f->expires)
		return json_loads(f->expires, JSON_DECODE_ANY, NULL);
	gmtime_r(&expires, &tm);
	hour = tm.tm_hour % 12 ? tm.tm_hour % 12 : 12;
	if (how && strcmp(how, "number") == 0)
		return json_integer((json_int_t)expires);
	if (how && strcmp(how, "linux") == 0)
		strftime(text, sizeof(text), "%m/%d/%Y %H:%M:%S +00:00", &tm);
	else if (how && strcmp(how, "windows") == 0)
		snprintf(text, sizeof(text), "%d/%d/%d %d:%02d:%02d %s +00:00", tm.tm_mon + 1, tm.tm_mday, tm.tm_year + 1900, hour,
			tm.tm_min, tm.tm_sec, tm.tm_hour < 12 ? "AM" : "PM");
	else
		return emu_number_text(expires);
	return json_string(text);
}

static bool known_parameters(const struct emu_exchange *x, const struct version *v)
{
	for (size_t i = 0; i < x->query.count; i++) {
		const char *name = x->query.name[i];
		bool known = strcmp(name, "api-version") == 0 || strcmp(name, "resource") == 0;

		for (size_t j = 0; j < EMU_AZURE_IDS; j++)
			known = known || (v->ids[j] && strcmp(name, v->ids[j]) == 0);
		/* The other name by which the SDKs call it. */
		if (!known && !(v->ids[1] && strcmp(name, "object_id") == 0))
			return false;
	}
	return true;
}

static void hand_out(struct emu_exchange *x, const struct version *v)
{
	const char *resource = emu_query_get(&x->query, "resource"), *why;
	const char *ids[EMU_AZURE_IDS] = { v->ids[0], v->ids[1], v->ids[2] };
	struct emu_azure_identity id = { 0 };
	const struct emu_token *token;
	json_t *reply;

	if (emu_query_get(&x->query, "object_id"))
		ids[1] = "object_id";
	why = emu_azure_identity(x, ids, &id);
	if (why || strncmp(resource, "unknown", 7) == 0) {
		fail(x, 500,
			why ? "No Managed Identity found for specified ClientId/ResourceId/PrincipalId."
			    : "An unexpected error occurred while fetching the AAD token.");
		return;
	}
	token = emu_azure_token(x, resource, &id);
	reply = token ? emu_azure_reply(token, resource, &id) : NULL;
	if (reply) {
		json_object_set_new(reply, "expires_on", spell(x->fault, token->expires));
		emu_reply_json(x, HTTP_OK, reply);
	} else {
		fail(x, 500, "out of memory");
	}
}

void emu_appservice(struct emu_exchange *x)
{
	const char *version = emu_query_get(&x->query, "api-version"), *secret;
	const struct version *v = NULL;

	for (size_t i = 0; version && i < sizeof(versions) / sizeof(versions[0]); i++)
		if (strcmp(versions[i].name, version) == 0)
			v = &versions[i];
	if (!emu_is_get(x)) {
		emu_reply_method(x, "GET");
		return;
	}
	if (!v) {
		fail(x, HTTP_BADREQUEST, "The api-version is not supported.");
		return;
	}
	secret = emu_header_in(x, v->header);
	if (!secret || strcmp(secret, x->emu->azure->header_secret) != 0)
		fail(x, 401, "The header that proves this app is missing or wrong.");
	else if (emu_header_in(x, "X-Forwarded-For"))
		fail(x, HTTP_BADREQUEST, "X-Forwarded-For is not accepted.");
	else if (emu_query_repeated(&x->query) || !known_parameters(x, v))
		fail(x, HTTP_BADREQUEST, "A parameter is unknown, or there twice.");
	else if (!emu_query_get(&x->query, "resource") || !*emu_query_get(&x->query, "resource"))
		fail(x, HTTP_BADREQUEST, "The parameter resource is missing.");
	else
		hand_out(x, v);
}

void emu_appservice_secret(struct emu_exchange *x)
{
	const char *value = emu_query_get(&x->query, "value");
	char *copy = value && *value ? strdup(value) : NULL;

	if (!copy) {
		emu_reply_text(x, HTTP_BADREQUEST, "text/plain", "value: say which\n");
		return;
	}
	free(x->emu->azure->header_secret);
	x->emu->azure->header_secret = copy;
	emu_reply_text(x, HTTP_OK, "text/plain", "done\n");
}
