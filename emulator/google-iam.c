/* SPDX-License-Identifier: Apache-2.0 */
/* Google: IAM Credentials, which makes tokens of other accounts, and the Security Token Service (RFC 8693). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "emulator.h"

#define PROJECT "keyfob-emulator"
#define ACCOUNTS "/v1/projects/-/serviceAccounts/"
#define DELEGATE "projects/-/serviceAccounts/"
#define POOLS "//iam.googleapis.com/"
#define WORKFORCE "//iam.googleapis.com/locations/global/workforcePools/"
#define GRANT "urn:ietf:params:oauth:grant-type:token-exchange"
#define TYPE "urn:ietf:params:oauth:token-type:"
#define CLIENT "keyfob-workforce:keyfob-workforce-secret"

enum { LIFETIME = 3600, MARGIN = 240, USUAL_LIFE = 3600, LONGEST_LIFE = 43200 };

/* --- IAM Credentials -------------------------------------------------------- */

static void refuse(struct emu_exchange *x, int code, const char *status, const char *message)
{
	emu_reply_json(x, code, json_pack("{s:{s:i, s:s, s:s}}", "error", "code", code, "message", message, "status", status));
}

/* An access token that was handed out here, or a JWT that an account signed for itself with a scope. */
static bool may_ask(struct emu_exchange *x)
{
	const char *header = emu_header_in(x, "Authorization");
	const struct emu_token *token;
	json_t *claims;
	bool good;

	if (!header || strncmp(header, "Bearer ", 7) != 0)
		return false;
	token = emu_token_find(x->emu, header + 7);
	if (token)
		return strstr(token->key, " access ") != NULL;
	if (!emu_google_signer(x->emu, header + 7))
		return false;
	claims = emu_jws_read(header + 7, NULL);
	good = json_string_value(json_object_get(claims, "scope")) != NULL && !json_object_get(claims, "aud") &&
	       json_integer_value(json_object_get(claims, "exp")) > (json_int_t)time(NULL);
	json_decref(claims);
	return good;
}

static const char *delegates_fault(const json_t *delegates)
{
	const json_t *one;
	size_t i;

	if (delegates && !json_is_array(delegates))
		return "Invalid value at 'delegates'";
	json_array_foreach(delegates, i, one)
	{
		const char *name = json_string_value(one);

		if (!name || strncmp(name, DELEGATE, sizeof(DELEGATE) - 1) != 0 || !strchr(name, '@'))
			return "Invalid resource name in 'delegates'";
	}
	return NULL;
}

/* NULL, or what is wrong with the body: what it holds, and that it holds no more. */
static const char *id_fault(const json_t *body)
{
	const char *name, *audience = json_string_value(json_object_get(body, "audience"));
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)body, name, value)
	{
		bool flag = strcmp(name, "includeEmail") == 0 || strcmp(name, "useEmailAzp") == 0 ||
			    strcmp(name, "organizationNumberIncluded") == 0;

		if (flag ? !json_is_boolean(value) : strcmp(name, "audience") != 0 && strcmp(name, "delegates") != 0)
			return "Invalid JSON payload received. Unknown name or wrong type.";
	}
	if (!audience || !*audience)
		return "Audience is required";
	return delegates_fault(json_object_get(body, "delegates"));
}

static const char *access_fault(const json_t *body, long *life)
{
	const char *name, *lifetime = json_string_value(json_object_get(body, "lifetime"));
	const json_t *scopes = json_object_get(body, "scope"), *scope;
	char *end = NULL;
	json_t *value;
	size_t i;

	json_object_foreach((json_t *)(uintptr_t)body, name,
		value) if (strcmp(name, "scope") != 0 && strcmp(name, "lifetime") != 0 &&
			   strcmp(name, "delegates") != 0) return "Invalid JSON payload received. Unknown name.";
	if (json_array_size(scopes) == 0)
		return "Scope required.";
	json_array_foreach(scopes, i, scope) if (!json_is_string(scope) || strpbrk(json_string_value(scope), " ,")) return "Invalid scope";
	if (json_object_get(body, "lifetime") && !lifetime)
		return "Invalid value at 'lifetime'";
	*life = lifetime ? strtol(lifetime, &end, 10) : USUAL_LIFE;
	if (lifetime && (end == lifetime || strcmp(end, "s") != 0))
		return "Invalid value at 'lifetime'";
	if (*life <= 0 || *life > LONGEST_LIFE)
		return "The lifetime must be between 1 and 43200 seconds";
	return delegates_fault(json_object_get(body, "delegates"));
}

static const struct emu_token *make(struct emu_exchange *x, const char *email, const json_t *body, long life)
{
	const char *audience = json_string_value(json_object_get(body, "audience"));
	struct emu_wish wish = { .lifetime = life, .margin = MARGIN, .prefix = audience ? "" : "ya29.i." };
	char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS), *key = NULL;
	const struct emu_token *token = NULL;

	if (text && asprintf(&key, "%s %s iam %s", audience ? "identity" : "access", email, text) < 0)
		key = NULL;
	wish.key = key;
	if (audience)
		wish.claims = json_pack("{s:s, s:s, s:s}", "aud", audience, "azp", email, "sub", email);
	if (wish.claims && json_is_true(json_object_get(body, "includeEmail"))) {
		json_object_set_new(wish.claims, "email", json_string(email));
		json_object_set_new(wish.claims, "email_verified", json_true());
	}
	if (key)
		token = emu_token_get(x, &wish);
	json_decref(wish.claims);
	free(text);
	free(key);
	return token;
}

/* expireTime in RFC 3339, with a fraction on demand, or in whatever words the fault says. */
static void reply_access(struct emu_exchange *x, const struct emu_token *token)
{
	const char *given = x->fault->expires;
	char when[40], *whole = NULL;
	struct tm tm;

	gmtime_r(&token->expires, &tm);
	strftime(when, sizeof(when), given && strcmp(given, "fraction") == 0 ? "%FT%T.045123456Z" : "%FT%TZ", &tm);
	if (!given || strcmp(given, "fraction") == 0)
		emu_reply_json(x, HTTP_OK, json_pack("{s:s, s:s}", "accessToken", token->text, "expireTime", when));
	else if (strcmp(given, "absent") == 0)
		emu_reply_json(x, HTTP_OK, json_pack("{s:s}", "accessToken", token->text));
	else if (asprintf(&whole, "{\"accessToken\":\"%s\",\"expireTime\":%s}", token->text, given) >= 0)
		emu_reply_text(x, HTTP_OK, "application/json; charset=UTF-8", whole);
	else
		refuse(x, HTTP_INTERNAL, "INTERNAL", "out of memory");
	free(whole);
}

static void generate(struct emu_exchange *x, const char *email, bool id, const json_t *body)
{
	const struct emu_token *token;
	long life = LIFETIME;
	const char *fault = id ? id_fault(body) : access_fault(body, &life);

	if (fault) {
		refuse(x, HTTP_BADREQUEST, "INVALID_ARGUMENT", fault);
		return;
	}
	token = make(x, email, body, life);
	if (!token)
		refuse(x, HTTP_INTERNAL, "INTERNAL", "out of memory");
	else if (id)
		emu_reply_json(x, HTTP_OK, json_pack("{s:s}", "token", token->text));
	else
		reply_access(x, token);
}

static json_t *read_body(struct emu_exchange *x)
{
	struct evbuffer *input = evhttp_request_get_input_buffer(x->req);
	const char *type = emu_header_in(x, "Content-Type");
	size_t length = evbuffer_get_length(input);
	json_t *body = NULL;

	if (type && strncasecmp(type, "application/json", 16) == 0 && length)
		body = json_loadb((const char *)evbuffer_pullup(input, -1), length, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(body))
		return body;
	json_decref(body);
	return NULL;
}

void emu_google_iam(struct emu_exchange *x)
{
	static const char domain[] = "@" PROJECT ".iam.gserviceaccount.com";
	bool under = strncmp(x->path, ACCOUNTS, sizeof(ACCOUNTS) - 1) == 0;
	char *email = x->path + sizeof(ACCOUNTS) - 1, *verb = under ? strrchr(email, ':') : NULL, *at;
	json_t *body;
	bool id;

	if (!verb || (strcmp(verb, ":generateIdToken") != 0 && strcmp(verb, ":generateAccessToken") != 0)) {
		refuse(x, HTTP_NOTFOUND, "NOT_FOUND", "Requested entity was not found.");
		return;
	}
	id = strcmp(verb, ":generateIdToken") == 0;
	*verb = '\0';
	at = strchr(email, '@');
	body = read_body(x);
	if (evhttp_request_get_command(x->req) != EVHTTP_REQ_POST)
		emu_reply_method(x, "POST");
	else if (!may_ask(x))
		refuse(x, 401, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token.");
	else if (!body || evhttp_uri_get_query(evhttp_request_get_evhttp_uri(x->req)))
		refuse(x, HTTP_BADREQUEST, "INVALID_ARGUMENT", "Invalid JSON payload received.");
	else if (!at || strcmp(at, domain) != 0 || strncmp(email, "unknown", 7) == 0)
		refuse(x, HTTP_NOTFOUND, "NOT_FOUND", "Not found; Gaia id not found for that email.");
	else if (strncmp(email, "denied", 6) == 0)
		refuse(x, 403, "PERMISSION_DENIED",
			"Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).");
	else
		generate(x, email, id, body);
	json_decref(body);
}

/* --- Security Token Service ------------------------------------------------- */

static void sts_refuse(struct emu_exchange *x, int status, const char *error, const char *why)
{
	emu_reply_json(x, status, json_pack("{s:s, s:s}", "error", error, "error_description", why));
}

static bool client_good(const struct emu_exchange *x)
{
	const char *header = emu_header_in(x, "Authorization");
	unsigned char text[sizeof(CLIENT) * 4 / 3 + 8];

	EVP_EncodeBlock(text, (const unsigned char *)CLIENT, sizeof(CLIENT) - 1);
	return header && strncmp(header, "Basic ", 6) == 0 && strcmp(header + 6, (char *)text) == 0;
}

/* A user project is for workforce pools, and needed there unless a client names itself. */
static bool options_good(const struct emu_exchange *x, bool workforce)
{
	const char *options = emu_query_get(&x->query, "options");
	json_t *json = options ? json_loads(options, JSON_REJECT_DUPLICATES, NULL) : NULL;
	bool named = json_object_size(json) == 1 && json_is_string(json_object_get(json, "userProject"));

	json_decref(json);
	if (emu_header_in(x, "Authorization") || !workforce)
		return !options;
	return named;
}

static bool subject_type_good(const char *type)
{
	static const char *const known[] = { TYPE "jwt", TYPE "id_token", TYPE "access_token" };

	for (size_t i = 0; type && i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(type, known[i]) == 0)
			return true;
	return false;
}

static void exchange(struct emu_exchange *x, const char *audience, const char *scope, const char *subject)
{
	struct emu_wish wish = { .lifetime = LIFETIME, .margin = MARGIN, .prefix = "ya29.d." };
	const struct emu_token *token = NULL;
	char *key;

	if (asprintf(&key, "access sts %s %s %s", audience, scope, subject) < 0)
		key = NULL;
	wish.key = key;
	if (key)
		token = emu_token_get(x, &wish);
	if (token)
		emu_reply_token(x,
			json_pack("{s:s, s:s, s:s}", "access_token", token->text, "issued_token_type", TYPE "access_token", "token_type",
				"Bearer"),
			json_integer(emu_token_left(x, token)), NULL);
	else
		sts_refuse(x, HTTP_INTERNAL, "internal_failure", "out of memory");
	free(key);
}

void emu_google_sts(struct emu_exchange *x)
{
	static const char *const names[] = { "grant_type", "audience", "scope", "requested_token_type", "subject_token",
		"subject_token_type", "options" };
	const char *value[6];
	bool workforce;

	if (!emu_google_form(x, names, 7))
		return;
	for (size_t i = 0; i < 6; i++)
		value[i] = emu_query_get(&x->query, names[i]);
	workforce = value[1] && strncmp(value[1], WORKFORCE, sizeof(WORKFORCE) - 1) == 0;
	if (!value[0] || strcmp(value[0], GRANT) != 0)
		sts_refuse(x, HTTP_BADREQUEST, "unsupported_grant_type", "Invalid grant_type");
	else if (emu_header_in(x, "Authorization") && !client_good(x))
		sts_refuse(x, 401, "invalid_client", "The client is not known, or its secret is another");
	else if (!value[1] || strncmp(value[1], POOLS, sizeof(POOLS) - 1) != 0 || !strstr(value[1], "/providers/"))
		sts_refuse(x, HTTP_BADREQUEST, "invalid_request", "Invalid value for \"audience\".");
	else if (strstr(value[1], "/unknown"))
		sts_refuse(x, HTTP_BADREQUEST, "invalid_target", "The target service indicated by the \"audience\" parameters is invalid.");
	else if (!value[2] || !*value[2] || strchr(value[2], ','))
		sts_refuse(x, HTTP_BADREQUEST, "invalid_request", "Invalid value for \"scope\".");
	else if (!value[3] || strcmp(value[3], TYPE "access_token") != 0 || !subject_type_good(value[5]))
		sts_refuse(x, HTTP_BADREQUEST, "invalid_request", "Invalid value for \"subject_token_type\".");
	else if (!options_good(x, workforce))
		sts_refuse(x, HTTP_BADREQUEST, "invalid_request", "Invalid value for \"options\".");
	else if (!value[4] || !emu_token_find(x->emu, value[4]))
		sts_refuse(
			x, HTTP_BADREQUEST, "invalid_grant", "The subject token is not one of an identity provider that the pool knows.");
	else
		exchange(x, value[1], value[2], value[4]);
}
