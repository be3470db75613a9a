/* SPDX-License-Identifier: Apache-2.0 */
/* Google: service accounts with keys, and the token endpoint that takes what they sign (RFC 7523). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "emulator.h"

#define GRANT "urn:ietf:params:oauth:grant-type:jwt-bearer"
#define ENDPOINT "https://oauth2.googleapis.com/token"

enum { LIFETIME = 3600, MARGIN = 240, ASSERTION_LIFE = 3600, SKEW = 300 };

/* --- accounts --------------------------------------------------------------- */

static void forget(struct emu_google_account *account)
{
	LIST_REMOVE(account, link);
	free(account->email);
	free(account->key);
	free(account->key_id);
	free(account);
}

void emu_google_free(struct emu *emu)
{
	struct emu_google_account *account;

	while ((account = LIST_FIRST(&emu->google_accounts)))
		forget(account);
}

static struct emu_google_account *find(const struct emu *emu, const char *email)
{
	struct emu_google_account *account;

	LIST_FOREACH(account, &emu->google_accounts, link)
	if (strcmp(account->email, email) == 0)
		return account;
	return NULL;
}

void emu_google_account(struct emu_exchange *x)
{
	const char *email = emu_query_get(&x->query, "email"), *key = emu_query_get(&x->query, "key");
	const char *key_id = emu_query_get(&x->query, "key_id");
	struct emu_google_account *account;

	if (!email || !*email || !key || !emu_jws_key_valid(key)) {
		emu_reply_text(x, HTTP_BADREQUEST, "text/plain", "needed: email, key (a public key, PEM); key_id may be given\n");
		return;
	}
	account = find(x->emu, email);
	if (account)
		forget(account);
	account = calloc(1, sizeof(*account));
	if (account) {
		account->email = strdup(email);
		account->key = strdup(key);
		account->key_id = strdup(key_id ? key_id : "");
		LIST_INSERT_HEAD(&x->emu->google_accounts, account, link);
	}
	emu_reply_text(x, account ? HTTP_OK : HTTP_INTERNAL, "text/plain", "done\n");
}

const struct emu_google_account *emu_google_signer(const struct emu *emu, const char *jwt)
{
	json_t *claims = emu_jws_read(jwt, NULL);
	const char *issuer = json_string_value(json_object_get(claims, "iss"));
	const struct emu_google_account *account = issuer ? find(emu, issuer) : NULL;

	if (account && !emu_jws_verify(jwt, account->key))
		account = NULL;
	json_decref(claims);
	return account;
}

/* --- forms ------------------------------------------------------------------ */

static void refuse(struct emu_exchange *x, int status, const char *error, const char *why)
{
	emu_reply_json(x, status, json_pack("{s:s, s:s}", "error", error, "error_description", why));
}

/* What a form may hold once all else is percent-encoded. */
static bool encoded(struct emu_exchange *x)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~*+%&=";
	struct evbuffer *input = evhttp_request_get_input_buffer(x->req);
	size_t length = evbuffer_get_length(input);
	const char *text = length ? (const char *)evbuffer_pullup(input, -1) : "";

	for (size_t i = 0; i < length; i++)
		if (!text[i] || !strchr(plain, text[i]))
			return false;
	return length > 0;
}

static bool known(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

bool emu_google_form(struct emu_exchange *x, const char *const *names, size_t count)
{
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(x->req));
	const char *type = emu_header_in(x, "Content-Type");
	char why[200];

	if (evhttp_request_get_command(x->req) != EVHTTP_REQ_POST) {
		emu_reply_method(x, "POST");
	} else if (!type || strncasecmp(type, "application/x-www-form-urlencoded", 33) != 0 || query) {
		refuse(x, HTTP_BADREQUEST, "invalid_request", "Parameters belong in a form, and nothing in the URL");
	} else if (!encoded(x)) {
		refuse(x, HTTP_BADREQUEST, "invalid_request", "The form is empty or not percent-encoded");
	} else if (emu_query_repeated(&x->query)) {
		refuse(x, HTTP_BADREQUEST, "invalid_request", "A parameter was given more than once");
	} else {
		for (size_t i = 0; i < x->query.count; i++) {
			if (known(x->query.name[i], names, count))
				continue;
			snprintf(why, sizeof(why), "Unknown parameter: %.100s", x->query.name[i]);
			refuse(x, HTTP_BADREQUEST, "invalid_request", why);
			return false;
		}
		return true;
	}
	return false;
}

/* --- POST /token ------------------------------------------------------------ */

static json_int_t number(const json_t *claims, const char *name)
{
	return json_integer_value(json_object_get(claims, name));
}

static const char *text(const json_t *claims, const char *name)
{
	const char *value = json_string_value(json_object_get(claims, name));

	return value && *value ? value : NULL;
}

static bool times_good(const json_t *claims)
{
	json_int_t now = (json_int_t)time(NULL), issued = number(claims, "iat"), ends = number(claims, "exp");

	return issued > now - ASSERTION_LIFE - SKEW && issued < now + SKEW && ends > now && ends > issued &&
	       ends - issued <= ASSERTION_LIFE;
}

static bool audience_good(const struct emu_exchange *x, const json_t *claims)
{
	const char *audience = text(claims, "aud");
	char own[100];

	snprintf(own, sizeof(own), "%s/token", x->emu->url);
	return audience && (strcmp(audience, ENDPOINT) == 0 || strcmp(audience, own) == 0);
}

/* Answers, and returns false, when the assertion is not what the service takes. */
static bool assertion_good(struct emu_exchange *x, const char *jwt, const json_t *header, const json_t *claims)
{
	const char *issuer = text(claims, "iss"), *kid = text(header, "kid"), *type = text(header, "typ");
	const struct emu_google_account *account = issuer ? find(x->emu, issuer) : NULL;
	const char *subject = text(claims, "sub"), *at = subject ? strchr(subject, '@') : NULL;

	if (!claims || !header || (type && strcmp(type, "JWT") != 0)) {
		refuse(x, HTTP_BADREQUEST, "invalid_grant", "Bad Request: the assertion is not a JWT");
	} else if (!account) {
		refuse(x, HTTP_BADREQUEST, "invalid_grant", "Invalid grant: account not found");
	} else if (!emu_jws_verify(jwt, account->key) || (kid && strcmp(kid, account->key_id) != 0)) {
		refuse(x, HTTP_BADREQUEST, "invalid_grant", "Invalid JWT Signature.");
	} else if (!times_good(claims)) {
		refuse(x, HTTP_BADREQUEST, "invalid_grant",
			"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
			"Check your iat and exp values in the JWT claim.");
	} else if (!audience_good(x, claims)) {
		refuse(x, HTTP_BADREQUEST, "invalid_grant", "Invalid JWT: Failed audience check.");
	} else if (!text(claims, "scope") == !text(claims, "target_audience")) {
		refuse(x, HTTP_BADREQUEST, "invalid_scope", "Invalid OAuth scope or ID token audience provided.");
	} else if (at && strcmp(at, "@example.com") != 0) {
		refuse(x, 401, "unauthorized_client",
			"Client is unauthorized to retrieve access tokens using this method, or client not authorized "
			"for any of the scopes requested.");
	} else {
		return true;
	}
	return false;
}

static void hand_out(struct emu_exchange *x, const json_t *claims)
{
	const char *email = text(claims, "iss"), *audience = text(claims, "target_audience");
	const char *subject = text(claims, "sub"), *scope = text(claims, "scope");
	struct emu_wish wish = { .lifetime = LIFETIME, .margin = MARGIN, .prefix = audience ? "" : "ya29.c." };
	const struct emu_token *token = NULL;
	char *key;

	if (asprintf(&key, "%s %s %s %s", audience ? "identity" : "access", email, subject ? subject : email, audience ? audience : scope) <
		0)
		key = NULL;
	wish.key = key;
	if (audience)
		wish.claims = json_pack(
			"{s:s, s:s, s:s, s:s, s:b}", "aud", audience, "azp", email, "sub", email, "email", email, "email_verified", 1);
	if (key && (wish.claims || !audience))
		token = emu_token_get(x, &wish);
	if (!token)
		refuse(x, HTTP_INTERNAL, "internal_failure", "Backend Error");
	else if (audience)
		emu_reply_json(x, HTTP_OK, json_pack("{s:s}", "id_token", token->text));
	else
		emu_reply_token(x, json_pack("{s:s, s:s}", "access_token", token->text, "token_type", "Bearer"),
			json_integer(emu_token_left(x, token)), NULL);
	json_decref(wish.claims);
	free(key);
}

void emu_google_token(struct emu_exchange *x)
{
	static const char *const names[] = { "grant_type", "assertion" };
	const char *grant, *jwt;
	json_t *header = NULL, *claims;

	if (!emu_google_form(x, names, 2))
		return;
	grant = emu_query_get(&x->query, "grant_type");
	jwt = emu_query_get(&x->query, "assertion");
	if (!grant || strcmp(grant, GRANT) != 0) {
		refuse(x, HTTP_BADREQUEST, "unsupported_grant_type", "Invalid grant_type");
		return;
	}
	claims = emu_jws_read(jwt ? jwt : "", &header);
	if (assertion_good(x, jwt, header, claims))
		hand_out(x, claims);
	json_decref(claims);
	json_decref(header);
}
