/* SPDX-License-Identifier: Apache-2.0 */
/* Any OAuth 2.0 provider: the client credentials grant (RFC 6749 section 4.4), with discovery where it is wanted. */
#include <stdlib.h>

#include "modules/assertion.h"
#include "modules/discovery.h"
#include "modules/http.h"
#include "modules/json.h"
#include "modules/module.h"
#include "modules/token-endpoint.h"

#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define ASSERTION_SECONDS 300
#define FORM_MAX 262144

/* --- where to ask ------------------------------------------------------------ */

static bool find_endpoint(const struct keyfob_request *request, struct discovery_target *target, struct keyfob_reply *reply)
{
	const char *endpoint = keyfob_setting(request, "token_endpoint", NULL);
	const char *issuer = keyfob_setting(request, "issuer", NULL);

	if (endpoint)
		return discovery_set_target(target, endpoint, "token_endpoint=", reply);
	if (issuer)
		return discovery_find(request, NULL, issuer, "token_endpoint", target, reply);
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "say where to ask: token_endpoint=, or issuer= for discovery");
	return false;
}

/* --- who asks ---------------------------------------------------------------- */

/* The secret without the line end that editors leave behind it. */
static bool take_secret(const struct keyfob_request *request, struct buffer *secret, struct keyfob_reply *reply)
{
	size_t length = 0;
	const char *value = keyfob_secret(request, "secret_file", &length);

	while (length && (value[length - 1] == '\n' || value[length - 1] == '\r'))
		length--;
	if (!value || !length)
		keyfob_fail(
			reply, KEYFOB_CLASS_CONFIG, "%s", value ? "secret_file= is empty" : "this way to authenticate needs secret_file=");
	else if (memchr(value, 0, length) || memchr(value, '\n', length))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "secret_file= must hold the secret alone, on one line");
	else if (buffer_put(secret, value, length) && buffer_cstring(secret))
		return true;
	return false;
}

static bool sign(const struct keyfob_request *request, const struct assertion_key *key, const char *audience, struct buffer *jws)
{
	const char *id = keyfob_setting(request, "client_id", ""), *key_id = keyfob_setting(request, "key_id", NULL);
	const char *alg = keyfob_setting(request, "alg", strcmp(assertion_key_type(key), "EC") == 0 ? "ES256" : "RS256");
	time_t now = time(NULL);
	json_t *header = json_object(), *claims = NULL;
	struct buffer jti;
	bool ok = false;

	buffer_init(&jti, 64);
	if (assertion_jti(&jti) && buffer_cstring(&jti))
		claims = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "iss", id, "sub", id, "aud", audience, "jti",
			(const char *)jti.data, "iat", (json_int_t)now, "nbf", (json_int_t)now, "exp", (json_int_t)now + ASSERTION_SECONDS);
	if (key_id)
		json_object_set_new(header, "kid", json_string(key_id));
	if (header && claims)
		ok = assertion_sign(key, alg, header, claims, jws) && buffer_cstring(jws);
	json_decref(header);
	json_decref(claims);
	buffer_free(&jti);
	return ok;
}

static bool add_assertion(const struct keyfob_request *request, const char *audience, struct buffer *form, struct keyfob_reply *reply)
{
	size_t length = 0;
	const char *pem = keyfob_secret(request, "key_file", &length);
	struct assertion_key *key = NULL;
	char why[200] = "";
	struct buffer jws;

	if (!pem) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "auth=private_key_jwt needs key_file=");
		return false;
	}
	buffer_init(&jws, 32768);
	key = assertion_key_pem(pem, length, why, sizeof(why));
	if (!key)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "key_file= is of no use: %s", why);
	else if (!sign(request, key, audience, &jws))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "the %s key in key_file= cannot sign with alg=%s", assertion_key_type(key),
			keyfob_setting(request, "alg", "its own"));
	else {
		token_form_add(form, "client_id", keyfob_setting(request, "client_id", ""));
		token_form_add(form, "client_assertion_type", ASSERTION_TYPE);
		token_form_add(form, "client_assertion", (const char *)jws.data);
	}
	assertion_key_free(key);
	buffer_free(&jws);
	return reply->class == KEYFOB_CLASS_OK;
}

/* Put who asks, and the proof of it, into the form or the header. */
static bool authenticate(const struct keyfob_request *request, const struct discovery_target *target, struct buffer *form,
	struct buffer *authorization, struct keyfob_reply *reply)
{
	const char *id = keyfob_setting(request, "client_id", "");
	const char *auth = keyfob_setting(request, "auth", keyfob_secret(request, "key_file", NULL) ? "private_key_jwt" : "secret_basic");
	const char *audience = keyfob_setting(request, "assertion_audience", "token_endpoint");
	struct buffer secret;
	bool ok;

	if (strcmp(auth, "private_key_jwt") == 0) {
		if (strcmp(audience, "issuer") == 0)
			audience = keyfob_setting(request, "issuer", "");
		else
			audience = target->url;
		if (!audience[0])
			keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "assertion_audience=issuer needs issuer=");
		return audience[0] && add_assertion(request, audience, form, reply);
	}
	buffer_init(&secret, HTTP_BODY_MAX + 1);
	ok = take_secret(request, &secret, reply);
	if (ok && strcmp(auth, "secret_post") == 0) {
		token_form_add(form, "client_id", id);
		token_form_add(form, "client_secret", (const char *)secret.data);
	} else if (ok) {
		ok = token_basic_authorization(authorization, id, (const char *)secret.data, secret.length) &&
		     buffer_cstring(authorization);
	}
	buffer_free(&secret);
	return ok;
}

/* --- what for ---------------------------------------------------------------- */

/* Providers differ in which parameter says what the token is for. */
static void add_purpose(const struct keyfob_request *request, struct buffer *form)
{
	const char *parameter = keyfob_setting(request, "resource_parameter", "resource");
	const char *scope = keyfob_setting(request, "scope", NULL), *audience = keyfob_setting(request, "audience", NULL);

	if (audience)
		token_form_add(form, "audience", audience);
	if (scope)
		token_form_add(form, "scope", scope);
	if (request->resource[0] && strcmp(parameter, "none") != 0)
		token_form_add(form, parameter, request->resource);
}

static bool check_settings(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *parameter = keyfob_setting(request, "resource_parameter", "resource");

	if (keyfob_secret(request, "secret_file", NULL) && keyfob_secret(request, "key_file", NULL))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "secret_file= and key_file= exclude each other; keep one of them");
	else if (request->resource[0] && keyfob_setting(request, parameter, NULL))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s= and resource_parameter=%s would send %s twice; drop one of them", parameter,
			parameter, parameter);
	return reply->class == KEYFOB_CLASS_OK;
}

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct token_endpoint endpoint = { .service = "the token endpoint" };
	struct keyfob_request rest;
	struct buffer form, authorization;
	struct discovery_target target;
	time_t start = time(NULL);

	if (!check_settings(request, reply) || !find_endpoint(request, &target, reply))
		return;
	/* Discovery has had its share of the time. */
	rest = discovery_rest(request, start);
	buffer_init(&form, FORM_MAX);
	buffer_init(&authorization, FORM_MAX);
	token_form_add(&form, "grant_type", "client_credentials");
	add_purpose(request, &form);
	if (!authenticate(request, &target, &form, &authorization, reply))
		goto out;
	endpoint.origin = target.origin;
	endpoint.path = target.path;
	endpoint.authorization = authorization.length ? (const char *)authorization.data : NULL;
	token_endpoint_ask(&rest, reply, &endpoint, &form);
out:
	if (reply->class == KEYFOB_CLASS_OK && !reply->token)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "the client id or its secret is too long");
	buffer_free(&form);
	buffer_free(&authorization);
}

static const struct keyfob_option options[] = {
	{ "token_endpoint", KEYFOB_OPTION_URL, 0, "https://HOST/PATH", "where tokens are asked for; or issuer=" },
	{ "issuer", KEYFOB_OPTION_URL, 0, "https://HOST[/PATH]",
		"find the token endpoint by discovery (/.well-known/openid-configuration), which must name the same issuer" },
	{ "client_id", KEYFOB_OPTION_TEXT, KEYFOB_OPTION_REQUIRED, "the client's id", "who asks" },
	{ "auth", KEYFOB_OPTION_CHOICE, 0, "secret_basic|secret_post|private_key_jwt",
		"how the client proves itself; default: private_key_jwt with key_file=, else secret_basic" },
	{ "secret_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, "a file of root's, mode 0600", "the client secret, on one line" },
	{ "key_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, "a PEM file of root's, mode 0600",
		"the private key, RSA or P-256, for private_key_jwt" },
	{ "key_id", KEYFOB_OPTION_TEXT, 0, "a kid", "names the key to the provider; default: none" },
	{ "alg", KEYFOB_OPTION_CHOICE, 0, "RS256|PS256|ES256",
		"how the assertion is signed; default: RS256 with an RSA key, ES256 with a P-256 key" },
	{ "assertion_audience", KEYFOB_OPTION_CHOICE, 0, "token_endpoint|issuer", "whom the assertion is for; default: token_endpoint" },
	{ "scope", KEYFOB_OPTION_TEXT, 0, "\"SCOPE SCOPE\"", "what the client asks for; default: the provider's own" },
	{ "audience", KEYFOB_OPTION_TEXT, 0, "an audience", "sent as audience; default: none" },
	{ "resource_parameter", KEYFOB_OPTION_CHOICE, 0, "resource|audience|scope|none",
		"the parameter that carries resource; default: resource (RFC 8707)" },
	HTTP_OPTIONS,
};

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = "oauth2",
	.help = "tokens of any OAuth 2.0 provider, by client credentials",
	.sandbox = KEYFOB_SANDBOX_NETWORK,
	.kind = KEYFOB_KIND_ACCESS,
	.example = "[credential orders]\n"
		   "resource = https://orders.example.com\n"
		   "provider = oauth2 issuer=https://login.example.com/realms/prod client_id=orders "
		   "secret_file=/etc/keyfob/orders.secret\n"
		   "allow    = user:orders\n",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
