/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens for the key of a service account: a JWT of its own, exchanged at Google's token endpoint (RFC 7523). */
#include <stdlib.h>
#include <strings.h>

#include "modules/assertion.h"
#include "modules/gcp.h"
#include "modules/json.h"
#include "modules/token-endpoint.h"

#define TOKEN_URI "https://oauth2.googleapis.com/token"
#define IAM_SCOPE "https://www.googleapis.com/auth/iam"
#define GRANT "urn:ietf:params:oauth:grant-type:jwt-bearer"
#define ASSERTION_LIFE 3600 /* Google takes no longer one */
#define ASSERTION_MAX 32768
#define FORM_MAX 65536

struct key_file {
	struct assertion_key *key;
	char *email, *key_id, *token_uri;
	const char *universe;
};

static const struct token_advice advice[] = {
	{ "internal_failure", KEYFOB_CLASS_TRANSIENT, NULL },
	{ "reasonable timeframe", KEYFOB_CLASS_PERMANENT, "this machine's clock is wrong; set it (timedatectl)" },
	{ "account not found", KEYFOB_CLASS_PERMANENT, "the service account was deleted or disabled; check client_email in key_file=" },
	{ "Invalid JWT Signature", KEYFOB_CLASS_PERMANENT,
		"the key was deleted or disabled, or private_key in key_file= is of another account" },
	{ "unauthorized_client", KEYFOB_CLASS_PERMANENT,
		"the account may not ask for these scopes, or not in the name of subject=; "
		"allow its client id domain-wide delegation" },
	{ "invalid_scope", KEYFOB_CLASS_CONFIG, "correct scopes=" },
	{ NULL, 0, NULL },
};

static void free_key_file(struct key_file *file)
{
	assertion_key_free(file->key);
	free(file->email);
	free(file->key_id);
	free(file->token_uri);
}

static bool check_type(const json_t *object, struct keyfob_reply *reply)
{
	const char *type = json_reply_text(object, "type");
	const char *hint = "";

	if (type && strcmp(type, "service_account") == 0)
		return true;
	if (type && strcmp(type, "external_account") == 0)
		hint = "; use source=external_account with config_file=";
	else if (type && strcmp(type, "impersonated_service_account") == 0)
		hint = "; use source=impersonate with target=, the account in its service_account_impersonation_url";
	else if (type && strcmp(type, "authorized_user") == 0)
		hint = "; that is a person's login, which no host can keep: make a service account for it";
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "key_file= is of type %.64s, not service_account%s", type ? type : "(none)", hint);
	return false;
}

static bool take_members(const json_t *object, struct key_file *file, struct keyfob_reply *reply)
{
	const char *email = json_reply_text(object, "client_email"), *pem = json_reply_text(object, "private_key");
	const char *uri = json_reply_text(object, "token_uri"), *id = json_reply_text(object, "private_key_id");
	char why[200] = "";

	if (!email || !pem) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "key_file= lacks %s", email ? "private_key" : "client_email");
		return false;
	}
	file->key = assertion_key_pem(pem, strlen(pem), why, sizeof(why));
	if (!file->key) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "private_key in key_file=: %s", why);
		return false;
	}
	file->email = strdup(email);
	file->token_uri = strdup(uri ? uri : TOKEN_URI);
	file->key_id = strdup(id ? id : "");
	return file->email && file->token_uri && file->key_id;
}

static bool read_key_file(const struct keyfob_request *request, struct keyfob_reply *reply, struct key_file *file)
{
	json_t *object = gcp_file(request, "key_file", "a service account's JSON file", reply);
	bool ok;

	if (!object)
		return false;
	ok = check_type(object, reply) && (file->universe = gcp_universe(request, object, reply)) && take_members(object, file, reply);
	json_reply_free(object);
	return ok;
}

/* "a,b" or "a b": parted by blanks. */
static json_t *scope_text(const char *scopes)
{
	char *text = strdup(scopes);
	json_t *json = NULL;

	for (char *at = text; at && (at = strchr(at, ','));)
		*at = ' ';
	if (text)
		json = json_string(text);
	free(text);
	return json;
}

static bool sign(const struct key_file *file, json_t *claims, struct buffer *jwt, struct keyfob_reply *reply)
{
	const char *alg = strcmp(assertion_key_type(file->key), "EC") == 0 ? "ES256" : "RS256";
	json_t *header = json_object();
	json_int_t now = (json_int_t)time(NULL);
	bool ok;

	if (file->key_id[0])
		json_object_set_new(header, "kid", json_string(file->key_id));
	json_object_set_new(claims, "iss", json_string(file->email));
	json_object_set_new(claims, "iat", json_integer(now));
	json_object_set_new(claims, "exp", json_integer(now + ASSERTION_LIFE));
	ok = header && claims && assertion_sign(file->key, alg, header, claims, jwt) && buffer_cstring(jwt);
	json_decref(header);
	if (!ok)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "no assertion could be signed with the key in key_file=");
	return ok;
}

/* What the token endpoint turns into an ID token or an access token. */
static json_t *exchange_claims(const struct keyfob_request *request, const struct key_file *file)
{
	const char *subject = keyfob_setting(request, "subject", NULL);
	json_t *claims = json_pack("{s:s}", "aud", file->token_uri);

	if (request->kind == KEYFOB_KIND_ID)
		json_object_set_new(claims, "target_audience", json_string(request->resource));
	else
		json_object_set_new(claims, "scope", scope_text(keyfob_setting(request, "scopes", GCP_SCOPE)));
	if (subject)
		json_object_set_new(claims, "sub", json_string(subject));
	return claims;
}

static void exchange(const struct keyfob_request *request, struct keyfob_reply *reply, const struct key_file *file)
{
	struct token_endpoint endpoint = { .service = "Google", .advice = advice };
	json_t *claims = exchange_claims(request, file);
	struct buffer jwt, form;
	struct gcp_url url;

	buffer_init(&jwt, ASSERTION_MAX);
	buffer_init(&form, FORM_MAX);
	if (!gcp_url_parse(&url, file->token_uri) || !gcp_url_allowed(request, &url, file->universe)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"token_uri in key_file= is not https below %s; correct it, or set endpoint=", file->universe);
	} else if (sign(file, claims, &jwt, reply)) {
		token_form_add(&form, "grant_type", GRANT);
		token_form_add(&form, "assertion", (const char *)jwt.data);
		endpoint.origin = url.origin;
		endpoint.path = url.path;
		token_endpoint_ask(request, reply, &endpoint, &form);
	}
	json_decref(claims);
	gcp_url_free(&url);
	buffer_free(&jwt);
	buffer_free(&form);
}

/* Other universes have no token endpoint: a JWT with a scope is an access token there, good for IAM Credentials too. */
static void self_sign(const struct keyfob_request *request, struct keyfob_reply *reply, const struct key_file *file)
{
	bool id = request->kind == KEYFOB_KIND_ID;
	struct gcp_target target = { .email = file->email, .universe = file->universe };
	json_t *claims = json_pack(
		"{s:s, s:o}", "sub", file->email, "scope", scope_text(id ? IAM_SCOPE : keyfob_setting(request, "scopes", GCP_SCOPE)));
	struct buffer jwt;

	buffer_init(&jwt, ASSERTION_MAX);
	if (sign(file, claims, &jwt, reply)) {
		if (id)
			gcp_generate(request, reply, &target, (const char *)jwt.data);
		else
			json_reply_token(reply, (const char *)jwt.data, jwt.length);
	}
	json_decref(claims);
	buffer_free(&jwt);
}

void gcp_key(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct key_file file = { 0 };

	if (read_key_file(request, reply, &file)) {
		if (strcasecmp(file.universe, GCP_UNIVERSE) == 0)
			exchange(request, reply, &file);
		else
			self_sign(request, reply, &file);
	} else if (!reply->text[0]) {
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "out of memory");
	}
	free_key_file(&file);
}
