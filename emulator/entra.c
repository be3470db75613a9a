/* SPDX-License-Identifier: Apache-2.0 */
/* Azure: the token endpoint of Entra ID, for applications (client_credentials). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "azure.h"

#define JWT_BEARER "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

enum { LIFETIME = 3599 };

static const struct problem {
	long number;
	int status;
	const char *code;
	const char *text;
} problems[] = {
	{ 7000215, 401, "invalid_client",
		"Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
		"not the client secret ID." },
	{ 7000222, 401, "invalid_client", "The provided client secret keys are expired." },
	{ 700016, 400, "unauthorized_client", "The application was not found in the directory." },
	{ 700021, 401, "invalid_client", "Client assertion application identifier doesn't match 'client_id' parameter." },
	{ 700023, 401, "invalid_client", "Client assertion audience claim does not match Realm issuer." },
	{ 700024, 401, "invalid_client", "Client assertion is not within its valid time range." },
	{ 700027, 401, "invalid_client",
		"The certificate with the identifier used to sign the client assertion is not "
		"registered on application." },
	{ 700211, 400, "invalid_request", "No matching federated identity record found for presented assertion issuer." },
	{ 700212, 400, "invalid_request", "No matching federated identity record found for presented assertion audience." },
	{ 700213, 400, "invalid_request", "No matching federated identity record found for presented assertion subject." },
	{ 50013, 401, "invalid_client", "Assertion failed signature validation." },
	{ 50027, 400, "invalid_request", "JWT token is invalid or malformed." },
	{ 900023, 400, "invalid_request",
		"Specified tenant identifier is neither a valid DNS name, nor a valid external "
		"domain." },
	{ 90002, 400, "invalid_request", "Tenant not found." },
	{ 90014, 400, "invalid_request", "The required field is missing from the credential." },
	{ 90061, 400, "invalid_request", "Request to External OIDC endpoint failed." },
	{ 90033, 503, "temporarily_unavailable", "A transient error has occurred. Please try again." },
	{ 70003, 400, "unsupported_grant_type", "The app requested an unsupported grant type." },
	{ 70011, 400, "invalid_scope", "The provided value for the input parameter 'scope' is not valid." },
	{ 500011, 400, "invalid_resource", "The resource principal was not found in the tenant." },
	{ 9002313, 400, "invalid_request", "Invalid request. Request is malformed or invalid." },
};

static const char *const names[] = { "grant_type", "client_id", "scope", "client_secret", "client_assertion_type", "client_assertion" };

/* What the SDKs send beside the form: who they are, and how they fare. */
static bool known_name(const char *name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return strncmp(name, "x-client-", 9) == 0 || strncmp(name, "x-ms-", 5) == 0 || strcmp(name, "client_info") == 0 ||
	       strcmp(name, "client-request-id") == 0;
}

static void fail(struct emu_exchange *x, long number)
{
	const struct problem *p = problems;
	char stamp[40], trace[37], correlation[37], *seed = emu_random_text(22);
	time_t now = time(NULL);
	json_t *codes = json_pack("[I]", (json_int_t)number);
	struct tm tm;

	while (p->number != number && p + 1 < problems + sizeof(problems) / sizeof(problems[0]))
		p++;
	emu_uuid_of(seed ? seed : "trace", trace);
	emu_uuid_of(trace, correlation);
	free(seed);
	strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%SZ", gmtime_r(&now, &tm));
	if (x->fault->codes_text) {
		json_decref(codes);
		codes = json_sprintf("[%ld]", number);
	}
	emu_reply_json(x, p->status,
		json_pack("{s:s, s:o, s:o, s:s, s:s, s:s}", "error", p->code, "error_description",
			json_sprintf(
				"AADSTS%ld: %s Trace ID: %s Correlation ID: %s Timestamp: %s", number, p->text, trace, correlation, stamp),
			"error_codes", codes, "timestamp", stamp, "trace_id", trace, "correlation_id", correlation));
}

/* /{tenant}/oauth2/v2.0/token */
bool emu_entra_path(const char *path)
{
	const char *end = path[0] == '/' ? strchr(path + 1, '/') : NULL;

	return end && end > path + 1 && strcmp(end, "/oauth2/v2.0/token") == 0;
}

/* Microsoft's own library names its request in the URL as well; nothing else may stand there. */
static bool is_strict(const struct emu_exchange *x)
{
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(x->req));
	struct evbuffer *input = evhttp_request_get_input_buffer(x->req);
	const char *type = emu_header_in(x, "Content-Type");
	size_t length = evbuffer_get_length(input);
	const char *text = length ? (const char *)evbuffer_pullup(input, -1) : "";
	struct emu_query form = { 0 };
	bool ok = emu_form_encoded(text, length) && emu_query_parse(&form, text, length) && !emu_query_repeated(&form);

	emu_query_free(&form);
	return ok && type && strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0 &&
	       (!query || (strncmp(query, "client-request-id=", 18) == 0 && !strchr(query, '&')));
}

/* Each thing that a client may get wrong about the form, in the order in which Entra finds it. 0: all is well. */
static long check_form(struct emu_exchange *x, const char *tenant)
{
	const char *grant = emu_query_get(&x->query, "grant_type");

	if (!is_strict(x))
		return 9002313;
	for (size_t i = 0; i < x->query.count; i++)
		if (!known_name(x->query.name[i]))
			return 9002313;
	if (tenant[strspn(tenant, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-")])
		return 900023;
	if (strncasecmp(tenant, "unknown", 7) == 0)
		return 90002;
	if (!grant || !emu_query_get(&x->query, "client_id") || !emu_query_get(&x->query, "scope"))
		return 90014;
	return strcmp(grant, "client_credentials") == 0 ? 0 : 70003;
}

/* One resource and /.default; its audience is what stands before the last slash. */
static long check_scope(const char *scope, size_t *length)
{
	const char *slash = strrchr(scope, '/');

	if (!slash || slash == scope || strcmp(slash, "/.default") != 0 || strpbrk(scope, " \t"))
		return 70011;
	*length = (size_t)(slash - scope);
	return strncmp(scope, "unknown", 7) == 0 || strncmp(scope, "api://unknown", 13) == 0 ? 500011 : 0;
}

static long check_client(struct emu_exchange *x, const struct emu_app *app)
{
	const char *secret = emu_query_get(&x->query, "client_secret");
	const char *assertion = emu_query_get(&x->query, "client_assertion");
	const char *type = emu_query_get(&x->query, "client_assertion_type");

	if (secret && (assertion || type))
		return 9002313;
	if (secret && (!app->secret || strcmp(app->secret, secret) != 0))
		return 7000215;
	if (secret)
		return app->secret_expired ? 7000222 : 0;
	if (!assertion || !type)
		return 90014;
	return strcmp(type, JWT_BEARER) == 0 ? emu_app_check_assertion(x, app, assertion) : 50027;
}

static bool is_uuid(const char *text, size_t length)
{
	return length == 36 && strspn(text, "0123456789abcdefABCDEF-") >= 36;
}

/* Version 1 names the resource as it was asked for, version 2 always the resource's own client id. */
static json_t *make_claims(const struct emu_app *app, const char *tenant, const char *scope, size_t length)
{
	bool v1 = app->token_version && strcmp(app->token_version, "1") == 0;
	const char *bare = strncmp(scope, "api://", 6) == 0 ? scope + 6 : scope;
	char audience[37], object[37], tid[37], seed[600];
	json_t *claims;

	snprintf(seed, sizeof(seed), "client %.*s", (int)length, scope);
	emu_uuid_of(seed, audience);
	if (is_uuid(bare, length - (size_t)(bare - scope)))
		snprintf(audience, sizeof(audience), "%.36s", bare);
	snprintf(seed, sizeof(seed), "object client_id %s", app->client_id);
	emu_uuid_of(seed, object);
	emu_uuid_of(tenant, tid);
	claims = json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:s}", "aud", v1 ? json_stringn(scope, length) : json_string(audience), "sub",
		object, "oid", object, "tid", is_uuid(tenant, strlen(tenant)) ? tenant : tid, v1 ? "appid" : "azp", app->client_id,
		v1 ? "appidacr" : "azpacr", "2", "ver", v1 ? "1.0" : "2.0");
	if (claims && app->token_version)
		json_object_set_new(claims, "iss",
			json_sprintf(v1 ? "https://sts.windows.net/%s/" : "https://login.microsoftonline.com/%s/v2.0",
				json_string_value(json_object_get(claims, "tid"))));
	return claims;
}

static void hand_out(struct emu_exchange *x, const struct emu_app *app, const char *tenant, const char *scope, size_t length)
{
	/* Entra makes a new token for each request. */
	char *key = emu_random_text(22);
	struct emu_wish wish = { .key = key, .lifetime = LIFETIME, .margin = 0, .prefix = "" };
	const struct emu_token *token = NULL;
	json_int_t left;

	wish.claims = make_claims(app, tenant, scope, length);
	if (key && wish.claims)
		token = emu_token_get(x, &wish);
	json_decref(wish.claims);
	free(key);
	if (!token) {
		emu_reply_text(x, HTTP_INTERNAL, "text/plain", "out of memory\n");
		return;
	}
	left = (json_int_t)(token->expires - token->issued);
	emu_reply_token(x, json_pack("{s:s, s:I, s:s}", "token_type", "Bearer", "ext_expires_in", left, "access_token", token->text),
		json_integer(left), NULL);
}

void emu_entra(struct emu_exchange *x)
{
	const char *scope, *client_id;
	const struct emu_app *app = NULL;
	size_t length = 0;
	char tenant[128];
	long error;

	if (evhttp_request_get_command(x->req) != EVHTTP_REQ_POST) {
		emu_reply_method(x, "POST");
		return;
	}
	snprintf(tenant, sizeof(tenant), "%.*s", (int)strcspn(x->path + 1, "/"), x->path + 1);
	error = x->fault->aadsts ? x->fault->aadsts : check_form(x, tenant);
	if (!error) {
		scope = emu_query_get(&x->query, "scope");
		client_id = emu_query_get(&x->query, "client_id");
		app = emu_app_find(x->emu, client_id);
		error = !app || (app->tenant && strcasecmp(app->tenant, tenant) != 0) ? 700016 : check_client(x, app);
		if (!error)
			error = check_scope(scope, &length);
	}
	if (error)
		fail(x, error);
	else
		hand_out(x, app, tenant, scope, length);
}
