/* SPDX-License-Identifier: Apache-2.0 */
/* Any OAuth 2.0 provider: the client credentials grant for clients that were made known (RFC 6749, RFC 7523). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "emulator.h"

#define JWT_BEARER "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

enum { LIFETIME = 3600, MAX_ASSERTION_SECONDS = 600, CLOCK_SKEW = 5, MAX_JTIS = 4096, UNAUTHORIZED = 401 };

static const char *const names[] = { "grant_type", "client_id", "client_secret", "client_assertion_type", "client_assertion", "scope",
	"audience", "resource" };

struct jti {
	LIST_ENTRY(jti) link;
	char *text;
};

struct emu_client {
	LIST_ENTRY(emu_client) link;
	char *id;
	char *secret; /* NULL: none */
	char *key; /* the public one, PEM; NULL: none */
	char *key_id; /* what an assertion must name; NULL: anything */
	LIST_HEAD(, jti) jtis;
	size_t jti_count;
};

static void fail(struct emu_exchange *x, int status, const char *code, const char *text)
{
	if (status == UNAUTHORIZED)
		emu_header_out(x, "WWW-Authenticate", "Basic realm=\"emulator\"");
	emu_reply_json(x, status, json_pack("{s:s, s:s}", "error", code, "error_description", text));
}

/* --- clients ------------------------------------------------------------------ */

static void client_free(struct emu_client *client)
{
	struct jti *jti;

	while ((jti = LIST_FIRST(&client->jtis))) {
		LIST_REMOVE(jti, link);
		free(jti->text);
		free(jti);
	}
	free(client->id);
	free(client->secret);
	free(client->key);
	free(client->key_id);
	free(client);
}

void emu_oauth2_free(struct emu *emu)
{
	struct emu_client *client;

	while ((client = LIST_FIRST(&emu->clients))) {
		LIST_REMOVE(client, link);
		client_free(client);
	}
}

static struct emu_client *find_client(const struct emu *emu, const char *id)
{
	struct emu_client *client;

	LIST_FOREACH(client, &emu->clients, link)
	if (strcmp(client->id, id) == 0)
		return client;
	return NULL;
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

void emu_oauth2_client(struct emu_exchange *x)
{
	const char *id = emu_query_get(&x->query, "client_id"), *secret = emu_query_get(&x->query, "secret");
	const char *key = emu_query_get(&x->query, "key");
	struct emu_client *client = id ? find_client(x->emu, id) : NULL;

	if (!id || !*id || (!secret && !key) || (key && !emu_jws_key_valid(key))) {
		emu_reply_text(x, HTTP_BADREQUEST, "text/plain", "client_id, and secret or key (a public key in PEM), maybe key_id\n");
		return;
	}
	if (client) {
		LIST_REMOVE(client, link);
		client_free(client);
	}
	client = calloc(1, sizeof(*client));
	if (!client || !(client->id = strdup(id))) {
		free(client);
		emu_reply_text(x, HTTP_INTERNAL, "text/plain", "out of memory\n");
		return;
	}
	client->secret = copy(secret);
	client->key = copy(key);
	client->key_id = copy(emu_query_get(&x->query, "key_id"));
	LIST_INIT(&client->jtis);
	LIST_INSERT_HEAD(&x->emu->clients, client, link);
	emu_reply_text(x, HTTP_OK, "text/plain", "done\n");
}

/* --- the request -------------------------------------------------------------- */

static bool known_name(const char *name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* NULL, or what is wrong with the form. */
static const char *check_form(struct emu_exchange *x)
{
	struct evbuffer *input = evhttp_request_get_input_buffer(x->req);
	const char *type = emu_header_in(x, "Content-Type"), *repeated = emu_query_repeated(&x->query);
	size_t length = evbuffer_get_length(input);

	if (!type || strcasecmp(type, "application/x-www-form-urlencoded") != 0)
		return "The body must be application/x-www-form-urlencoded";
	if (evhttp_uri_get_query(evhttp_request_get_evhttp_uri(x->req)))
		return "Parameters belong into the body";
	if (!length || !emu_form_encoded((const char *)evbuffer_pullup(input, -1), length))
		return "The form is empty or not percent-encoded";
	if (repeated)
		return "A parameter was given more than once";
	for (size_t i = 0; i < x->query.count; i++)
		if (!known_name(x->query.name[i]))
			return "A parameter is not known here";
	return emu_query_get(&x->query, "grant_type") ? NULL : "grant_type is missing";
}

/* Base64 of the id and the secret, each form-encoded (RFC 6749 section 2.3.1). NULL if it is not exactly that. */
static char *read_basic(const char *header)
{
	unsigned char *plain = malloc(strlen(header) + 1);
	unsigned int bits = 0, held = 0;
	size_t length = 0, padding = strlen(header);

	while (padding && header[padding - 1] == '=')
		padding--;
	for (size_t i = 0; plain && i < padding; i++) {
		static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
		const char *at = strchr(digits, header[i]);

		if (!at) {
			free(plain);
			return NULL;
		}
		bits = (bits << 6) | (unsigned int)(at - digits);
		held += 6;
		if (held >= 8)
			plain[length++] = (unsigned char)(bits >> (held -= 8));
	}
	if (!plain || strlen(header) % 4 || !length || memchr(plain, 0, length)) {
		free(plain);
		return NULL;
	}
	plain[length] = 0;
	return (char *)plain;
}

static const char *check_basic(const struct emu *emu, const char *header, const struct emu_client **found)
{
	char *pair = strncmp(header, "Basic ", 6) == 0 ? read_basic(header + 6) : NULL, *colon, *id, *secret;
	const struct emu_client *client;
	const char *wrong = NULL;

	colon = pair ? strchr(pair, ':') : NULL;
	if (!colon || strchr(colon + 1, ':') || !emu_form_encoded(pair, (size_t)(colon - pair)) ||
		!emu_form_encoded(colon + 1, strlen(colon + 1)) || strpbrk(pair, "&=")) {
		free(pair);
		return "Authorization is not Basic of a form-encoded id and secret";
	}
	*colon = 0;
	id = evhttp_uridecode(pair, 1, NULL);
	secret = evhttp_uridecode(colon + 1, 1, NULL);
	client = id ? find_client(emu, id) : NULL;
	if (!client || !secret || !client->secret || strcmp(client->secret, secret) != 0)
		wrong = "The client is not known, or its secret is another";
	*found = client;
	free(pair);
	free(id);
	free(secret);
	return wrong;
}

/* A jti counts once. */
static bool remember(struct emu_client *client, const char *text)
{
	struct jti *jti;

	LIST_FOREACH(jti, &client->jtis, link)
	if (strcmp(jti->text, text) == 0)
		return false;
	if (client->jti_count == MAX_JTIS || !(jti = calloc(1, sizeof(*jti))))
		return false;
	jti->text = strdup(text);
	LIST_INSERT_HEAD(&client->jtis, jti, link);
	client->jti_count++;
	return jti->text != NULL;
}

static bool is_text(const json_t *object, const char *name, const char *wanted)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text && strcmp(text, wanted) == 0;
}

static const char *check_claims(const struct emu_exchange *x, struct emu_client *client, const json_t *header, const json_t *claims)
{
	const char *audience = json_string_value(json_object_get(claims, "aud"));
	const char *jti = json_string_value(json_object_get(claims, "jti"));
	json_int_t exp = json_integer_value(json_object_get(claims, "exp")), now = time(NULL);
	char own[120];

	snprintf(own, sizeof(own), "%s%s", x->emu->url, EMU_OAUTH2_PATH);
	if (!is_text(header, "typ", "JWT"))
		return "The assertion is not of typ JWT";
	if (client->key_id && !is_text(header, "kid", client->key_id))
		return "The assertion names another key";
	if (!is_text(claims, "iss", client->id) || !is_text(claims, "sub", client->id))
		return "The assertion's iss and sub are not the client";
	if (!audience || (strcmp(audience, own) != 0 && strcmp(audience, x->emu->issuer) != 0))
		return "The assertion is for another audience";
	if (exp <= now || exp > now + MAX_ASSERTION_SECONDS + CLOCK_SKEW ||
		json_integer_value(json_object_get(claims, "nbf")) > now + CLOCK_SKEW)
		return "The assertion is not within its time, at most 10 minutes";
	if (!jti || strlen(jti) < 16 || !remember(client, jti))
		return "The assertion's jti is missing, short or used before";
	return NULL;
}

static const char *check_assertion(const struct emu_exchange *x, const char *id, const struct emu_client **found)
{
	const char *assertion = emu_query_get(&x->query, "client_assertion"), *wrong;
	const char *type = emu_query_get(&x->query, "client_assertion_type");
	struct emu_client *client = id ? find_client(x->emu, id) : NULL;
	json_t *header, *claims;

	if (!type || strcmp(type, JWT_BEARER) != 0)
		return "client_assertion_type is not " JWT_BEARER;
	if (!client || !client->key || !emu_jws_verify(assertion, client->key))
		return "The client is not known, or the assertion is signed with another key";
	claims = emu_jws_read(assertion, &header);
	wrong = check_claims(x, client, header, claims);
	json_decref(claims);
	json_decref(header);
	*found = client;
	return wrong;
}

/* NULL, or why the client is not believed. One way to authenticate, no more (RFC 6749 section 2.3). */
static const char *check_client(const struct emu_exchange *x, const struct emu_client **found)
{
	const char *basic = emu_header_in(x, "Authorization"), *id = emu_query_get(&x->query, "client_id");
	const char *secret = emu_query_get(&x->query, "client_secret");
	const char *assertion = emu_query_get(&x->query, "client_assertion");
	const struct emu_client *client;

	if ((basic != NULL) + (secret != NULL) + (assertion != NULL) != 1)
		return "The client must authenticate in one way, and in one only";
	if (basic)
		return check_basic(x->emu, basic, found);
	if (assertion)
		return check_assertion(x, id, found);
	client = id ? find_client(x->emu, id) : NULL;
	*found = client;
	return client && client->secret && strcmp(client->secret, secret) == 0 ? NULL : "The client is not known, or its secret is another";
}

/* --- the answer --------------------------------------------------------------- */

static void hand_out(struct emu_exchange *x, const struct emu_client *client)
{
	const char *resource = emu_query_get(&x->query, "resource"), *audience = emu_query_get(&x->query, "audience");
	const char *scope = emu_query_get(&x->query, "scope");
	const char *aud = resource ? resource : audience ? audience : client->id;
	struct emu_wish wish = { .lifetime = LIFETIME, .margin = LIFETIME, .prefix = "" };
	const struct emu_token *token = NULL;
	char *key = NULL;

	if (asprintf(&key, "oauth2 %s %s %s", client->id, aud, scope ? scope : "") < 0)
		key = NULL;
	wish.key = key;
	wish.claims =
		json_pack("{s:s, s:s, s:s, s:s}", "aud", aud, "sub", client->id, "client_id", client->id, "scope", scope ? scope : "");
	if (key && wish.claims)
		token = emu_token_get(x, &wish);
	if (token)
		emu_reply_token(x, json_pack("{s:s, s:s}", "access_token", token->text, "token_type", "Bearer"),
			json_integer(emu_token_left(x, token)), NULL);
	else
		fail(x, HTTP_BADREQUEST, "invalid_request", "A parameter is not valid UTF-8 text");
	json_decref(wish.claims);
	free(key);
}

static bool is_unknown(const char *text)
{
	return text && (strncmp(text, "unknown", 7) == 0 || strstr(text, "://unknown"));
}

void emu_oauth2(struct emu_exchange *x)
{
	const struct emu_client *client = NULL;
	const char *wrong;

	if (evhttp_request_get_command(x->req) != EVHTTP_REQ_POST)
		emu_reply_method(x, "POST");
	else if ((wrong = check_form(x)))
		fail(x, HTTP_BADREQUEST, "invalid_request", wrong);
	else if (strcmp(emu_query_get(&x->query, "grant_type"), "client_credentials") != 0)
		fail(x, HTTP_BADREQUEST, "unsupported_grant_type", "Only client_credentials is here");
	else if ((wrong = check_client(x, &client)))
		fail(x, UNAUTHORIZED, "invalid_client", wrong);
	else if (is_unknown(emu_query_get(&x->query, "scope")))
		fail(x, HTTP_BADREQUEST, "invalid_scope", "The scope is not known");
	else if (is_unknown(emu_query_get(&x->query, "resource")) || is_unknown(emu_query_get(&x->query, "audience")))
		fail(x, HTTP_BADREQUEST, "invalid_target", "The resource is not known");
	else
		hand_out(x, client);
}
