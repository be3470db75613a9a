/* SPDX-License-Identifier: Apache-2.0 */
/* What has been handed out: a cloud gives the same token again until it grows old. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"

enum { MAX_TOKENS = 4096, OPAQUE_BYTES = 120 };

static void drop(struct emu *emu, struct emu_token *token)
{
	TAILQ_REMOVE(&emu->tokens, token, link);
	emu->token_count--;
	free(token->key);
	free(token->text);
	free(token);
}

void emu_tokens_clear(struct emu *emu)
{
	struct emu_token *token;

	while ((token = TAILQ_FIRST(&emu->tokens)))
		drop(emu, token);
}

static bool wants_opaque(const struct emu_fault *f)
{
	return f->opaque || (f->expires && strcmp(f->expires, "absent") == 0);
}

/* A token made under a fault is another token, and the one before it comes back afterwards. */
static char *full_key(const struct emu_exchange *x, const struct emu_wish *wish)
{
	const struct emu_fault *f = x->fault;
	char *key;

	if (asprintf(&key, "%d %ld %ld %ld %s %s %s", wants_opaque(f), f->token_bytes, f->lifetime, f->clock, f->alg ? f->alg : "",
		    f->issuer ? f->issuer : "", wish->key) < 0)
		return NULL;
	return key;
}

static bool still_good(const struct emu_exchange *x, const struct emu_token *token, const struct emu_wish *wish)
{
	double life = (double)(token->expires - token->issued), margin = (double)wish->margin, left;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	left = (double)(token->expires - x->fault->clock - now.tv_sec) - (double)now.tv_nsec / 1e9;
	return left > (margin < life / 2 ? margin : life / 2) && left <= life;
}

static struct emu_token *find(struct emu *emu, const char *key)
{
	struct emu_token *token;

	TAILQ_FOREACH(token, &emu->tokens, link)
	if (strcmp(token->key, key) == 0)
		return token;
	return NULL;
}

const struct emu_token *emu_token_find(const struct emu *emu, const char *text)
{
	const struct emu_token *token;
	time_t now = time(NULL);

	TAILQ_FOREACH(token, &emu->tokens, link)
	if (token->expires > now && strcmp(token->text, text) == 0)
		return token;
	return NULL;
}

static char *make_opaque(const struct emu_exchange *x, const char *prefix)
{
	size_t length = x->fault->token_bytes ? (size_t)x->fault->token_bytes : OPAQUE_BYTES;
	char *random = emu_random_text(length > strlen(prefix) ? length - strlen(prefix) : 1), *text = NULL;

	if (random && asprintf(&text, "%s%s", prefix, random) < 0)
		text = NULL;
	free(random);
	return text;
}

static char *pad(const struct emu_exchange *x, json_t *claims, char *text)
{
	size_t wanted = (size_t)x->fault->token_bytes, more = wanted > strlen(text) ? (wanted - strlen(text)) / 4 * 3 : 0;
	const size_t around = strlen(",\"padding\":\"\"");
	char *filler;

	if (more <= around)
		return text;
	free(text);
	filler = emu_random_text(more - around);
	if (!filler)
		return NULL;
	json_object_set_new(claims, "padding", json_string(filler));
	free(filler);
	return emu_keys_sign(x->emu->keys, x->fault->alg, claims);
}

static char *make_jwt(const struct emu_exchange *x, const struct emu_wish *wish, const struct emu_token *token)
{
	const char *issuer = x->fault->issuer ? x->fault->issuer : x->emu->issuer;
	json_t *claims = json_copy(wish->claims);
	char *jti = emu_random_text(22), *text = NULL;

	if (claims && jti) {
		if (x->fault->issuer || !json_object_get(claims, "iss"))
			json_object_set_new(claims, "iss", json_string(issuer));
		json_object_set_new(claims, "iat", json_integer((json_int_t)token->issued));
		json_object_set_new(claims, "nbf", json_integer((json_int_t)token->issued));
		json_object_set_new(claims, "exp", json_integer((json_int_t)token->expires));
		json_object_set_new(claims, "jti", json_string(jti));
		text = emu_keys_sign(x->emu->keys, x->fault->alg, claims);
	}
	if (text)
		text = pad(x, claims, text);
	json_decref(claims);
	free(jti);
	return text;
}

static struct emu_token *make(struct emu_exchange *x, const struct emu_wish *wish, char *key)
{
	long life = x->fault->lifetime ? x->fault->lifetime : x->emu->lifetime ? x->emu->lifetime : wish->lifetime;
	struct emu_token *token = calloc(1, sizeof(*token));

	if (!token)
		return NULL;
	token->issued = time(NULL) + x->fault->clock;
	token->expires = token->issued + life;
	if (!wish->claims || wants_opaque(x->fault))
		token->text = make_opaque(x, wish->prefix);
	else
		token->text = make_jwt(x, wish, token);
	if (!token->text) {
		free(token);
		return NULL;
	}
	token->key = key;
	TAILQ_INSERT_TAIL(&x->emu->tokens, token, link);
	if (++x->emu->token_count > MAX_TOKENS)
		drop(x->emu, TAILQ_FIRST(&x->emu->tokens));
	x->emu->counters[x->source].tokens++;
	return token;
}

const struct emu_token *emu_token_get(struct emu_exchange *x, const struct emu_wish *wish)
{
	char *key = full_key(x, wish);
	struct emu_token *token = key ? find(x->emu, key) : NULL;

	if (token && still_good(x, token, wish)) {
		free(key);
		return token;
	}
	if (token)
		drop(x->emu, token);
	token = key ? make(x, wish, key) : NULL;
	if (!token)
		free(key);
	return token;
}

json_int_t emu_token_left(const struct emu_exchange *x, const struct emu_token *token)
{
	return (json_int_t)(token->expires - x->fault->clock - time(NULL));
}

void emu_reply_token(struct emu_exchange *x, json_t *json, json_t *expires_in, json_t *expires_on)
{
	const char *given = x->fault->expires;
	bool plain = !given && json && expires_in, also = expires_on != NULL;
	char *text = NULL, *whole = NULL;

	if (plain)
		json_object_set(json, "expires_in", expires_in);
	if (plain && also)
		json_object_set(json, "expires_on", expires_on);
	json_decref(expires_in);
	json_decref(expires_on);
	if (!json || !given || strcmp(given, "absent") == 0) {
		emu_reply_json(x, HTTP_OK, json);
		return;
	}
	/* The text is whatever the fault says, valid JSON or not, so it is put in by hand. */
	text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	if (text && asprintf(&whole, "{\"expires_in\":%s,%s%s%s%s", given, also ? "\"expires_on\":" : "", also ? given : "",
			    also ? "," : "", text + 1) < 0)
		whole = NULL;
	emu_reply_text(x, whole ? HTTP_OK : HTTP_INTERNAL, "application/json; charset=utf-8", whole ? whole : "{}");
	free(text);
	free(whole);
}
