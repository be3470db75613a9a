/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/verdict.h"

#include <stdio.h>
#include <string.h>

#include "verify/claims.h"
#include "verify/jws.h"
#include "verify/jwt.h"

#define SHOWN 128 /* bytes of a text in a detail */

/* --- form --------------------------------------------------------------------------------- */

/* Where services and clients are known to cut a password. */
static bool is_cut_length(size_t length)
{
	static const size_t lengths[] = { 511, 512, 1023, 1024, 2047, 4095 };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		if (lengths[i] == length)
			return true;
	return false;
}

/* Does it begin as the base64url of "{" does, and hold nothing that a token does not? Then it is no password. */
static bool is_token_text(const char *token, size_t length)
{
	if (*token != 'e')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", token[i], 65))
			return false;
	return true;
}

/* Is a signature by this algorithm that long? Nearly all RSA moduli have 2048 bits or more, in multiples of 1024. */
static bool is_whole(const char *alg, size_t length)
{
	static const struct {
		const char *alg;
		size_t length;
	} fixed[] = { { "ES256", 64 }, { "ES384", 96 }, { "ES512", 132 }, { "EdDSA", 64 }, { "Ed25519", 64 } };

	for (size_t i = 0; alg && i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (strcmp(alg, fixed[i].alg) == 0)
			return length >= fixed[i].length;
	if (alg && (strncmp(alg, "RS", 2) == 0 || strncmp(alg, "PS", 2) == 0))
		return length >= 256 && length % 128 == 0;
	return true;
}

static bool is_cut(const struct verdict_request *request)
{
	return is_cut_length(request->length) && is_token_text(request->token, request->length);
}

static enum reason parse(const struct federation *f, const struct verdict_request *request, struct jwt *jwt, struct verdict *v)
{
	size_t most = f->provider_count ? 0 : JWT_TOKEN_MAX;
	enum jwt_error error;

	for (size_t i = 0; i < f->provider_count; i++)
		most = f->providers[i].max_token_size > most ? f->providers[i].max_token_size : most;
	if (request->length > most) {
		claims_tell(v, "%zu bytes, at most %zu are taken", request->length, most);
		return REASON_TOKEN_SIZE;
	}
	error = jwt_parse(jwt, request->token, request->length);
	if ((error == JWT_EFORM || error == JWT_EENCODING) && is_cut(request)) {
		claims_tell(v, "%zu bytes", request->length);
		return REASON_TOKEN_TRUNCATED;
	}
	return jws_form_reason(error);
}

/* --- the identity provider ---------------------------------------------------------------------- */

static bool is_user(const struct federation_user *u, const struct federation_provider *p, const json_t *claims)
{
	const char *subject = jwt_text(claims, p->user_claim);

	if (strcmp(u->identity_provider, p->name) != 0)
		return false;
	if (p->type == FEDERATION_GROUP)
		return u->group_id && claims_in_group(claims, p, u->group_id);
	return u->user_id && subject && strcmp(u->user_id, subject) == 0;
}

/*
 * How near a provider, whom the token names, is to letting it in: 1 to 4. Up
 * to the user only where that decides: a token names as many groups as its
 * maker likes, and nobody knows yet who that is.
 */
static int nearness(const struct federation *f, const struct federation_provider *p, const struct verdict_request *request,
	const json_t *claims, bool to_the_user)
{
	const struct federation_user *const *users;
	size_t count;
	int near = 2;

	if (!request->service || !federation_connected(f, p->name, request->service))
		return 1;
	users = federation_logins(f, request->service, request->login, &count);
	for (size_t i = 0; i < count; i++) {
		if (to_the_user && is_user(users[i], p, claims))
			return 4;
		if (strcmp(users[i]->identity_provider, p->name) == 0)
			near = 3;
	}
	return near;
}

static enum reason refuse_issuer(const struct federation *f, const char *iss, struct verdict *v)
{
	for (size_t i = 0; i < f->provider_count; i++) {
		if (claims_is_azure_v1(&f->providers[i], iss)) {
			v->provider = &f->providers[i];
			claims_tell(
				v, "iss is %.*s, identity provider %s has %.*s", SHOWN, iss, v->provider->name, SHOWN, v->provider->issuer);
			return REASON_ISS_AZURE_V1;
		}
	}
	if (f->provider_count == 1)
		claims_tell(
			v, "iss is %.*s, identity provider %s has %.*s", SHOWN, iss, f->providers[0].name, SHOWN, f->providers[0].issuer);
	else
		claims_tell(v, "iss is %.*s", SHOWN, iss);
	return REASON_ISS;
}

static enum reason refuse_audience(const struct federation_provider *p, const json_t *claims, struct verdict *v)
{
	char audience[2 * SHOWN];

	v->provider = p;
	if (claims_has_audience(claims)) {
		claims_show_audience(claims, audience, sizeof(audience));
		claims_tell(v, "aud is %s, identity provider %s wants %.*s", audience, p->name, SHOWN, p->audience);
	} else {
		claims_tell(v, json_object_get(claims, "aud") ? "aud is not a text or a list of texts" : "there is no aud");
	}
	return REASON_AUD;
}

/* The nearest of those that the token names, by iss alone or by aud as well. */
static const struct federation_provider *nearest(const struct federation *f, const struct verdict_request *request, const json_t *claims,
	bool by_audience, bool to_the_user, size_t *count)
{
	const struct federation_provider *found = NULL;
	const char *iss = jwt_text(claims, "iss");
	int best = 0;

	*count = 0;
	for (size_t i = 0; i < f->provider_count; i++) {
		const struct federation_provider *p = &f->providers[i];
		int near;

		if (!federation_is_issuer(p, iss) || (by_audience && !claims_names_audience(claims, p->audience)))
			continue;
		++*count;
		near = nearness(f, p, request, claims, to_the_user);
		if (near > best) {
			best = near;
			found = p;
		}
	}
	return found;
}

/*
 * By iss and aud. A token for several audiences may name several providers
 * of one issuer; the one that can let it in is asked.
 */
static enum reason choose_provider(
	const struct federation *f, const struct verdict_request *request, const json_t *claims, struct verdict *v)
{
	const struct federation_provider *p;
	const char *iss = jwt_text(claims, "iss");
	size_t count;

	if (!iss) {
		claims_tell(v, json_object_get(claims, "iss") ? "iss is not a text" : "there is no iss");
		return REASON_ISS;
	}
	if (claims_has_audience(claims)) {
		v->provider = nearest(f, request, claims, true, false, &count);
		if (count > 1)
			v->provider = nearest(f, request, claims, true, true, &count);
		if (v->provider)
			return REASON_OK;
	}
	p = nearest(f, request, claims, false, false, &count);
	return p ? refuse_audience(p, claims, v) : refuse_issuer(f, iss, v);
}

/* --- the signature -------------------------------------------------------------------------------- */

/* What a MongoDB server verifies; it wants a kid, too. */
static bool mongodb_takes(const char *alg)
{
	static const char *const taken[] = { "RS256", "RS384", "RS512", "PS256", "ES256", "ES384" };

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (strcmp(alg, taken[i]) == 0)
			return true;
	return false;
}

static enum reason check_header(const json_t *header, const struct jws_rules *rules, const struct federation_provider *p, struct verdict *v)
{
	const char *alg = NULL, *kid = NULL;
	enum reason reason = jws_check_header(header, rules, &alg, &kid);

	if (!reason && p->rules == FEDERATION_MONGODB && !mongodb_takes(alg))
		reason = REASON_ALG_NOT_ALLOWED;
	if (reason == REASON_ALG_NOT_ALLOWED)
		claims_tell(v, "alg is %.*s", SHOWN, alg ? alg : "missing or not a text");
	if (kid)
		snprintf(v->kid, sizeof(v->kid), "%s", kid);
	return reason;
}

static enum reason check_signature(
	const struct verdict_request *request, const struct jwt *jwt, const struct jws_rules *rules, struct verdict *v)
{
	enum reason reason = REASON_KEYS_MISSING;
	const struct jwks *set = request->keys(request->arg, v->provider, &reason);

	if (!set)
		return reason == REASON_OK ? REASON_KEYS_MISSING : reason;
	reason = jws_verify(jwt, request->token, rules, set);
	/* Cut where the rest is still base64url. */
	if (reason == REASON_SIGNATURE && is_cut(request) && !is_whole(jwt_text(jwt->header, "alg"), jwt->signature.length)) {
		claims_tell(v, "%zu bytes", request->length);
		return REASON_TOKEN_TRUNCATED;
	}
	if (reason == REASON_KID_UNKNOWN || reason == REASON_KEY_UNUSABLE)
		claims_tell(v, *v->kid ? "kid is %s" : "there is no kid", v->kid);
	return reason;
}

/* --- the database user ------------------------------------------------------------------------------ */

static enum reason check_user(const struct federation *f, const struct verdict_request *request, const json_t *claims, struct verdict *v)
{
	const struct federation_user *near = NULL;
	const struct federation_user *const *users;
	size_t count;

	if (!federation_connected(f, v->provider->name, request->service)) {
		claims_tell(v, "identity provider %s, service %.*s", v->provider->name, SHOWN, request->service);
		return REASON_NOT_CONNECTED;
	}
	users = federation_logins(f, request->service, request->login, &count);
	for (size_t i = 0; i < count; i++) {
		if (is_user(users[i], v->provider, claims)) {
			v->user = users[i];
			return REASON_OK;
		}
		if (!near || strcmp(users[i]->identity_provider, v->provider->name) == 0)
			near = users[i];
	}
	if (!near) {
		claims_tell(v, "login %.*s, service %.*s", SHOWN, request->login, SHOWN, request->service);
		return REASON_LOGIN_UNKNOWN;
	}
	claims_tell(v, "%.*s is %.*s, of identity provider %s; database user %s has %.*s, of %s", SHOWN / 2, v->provider->user_claim, SHOWN,
		v->subject, v->provider->name, near->name, SHOWN, near->user_id ? near->user_id : near->group_id, near->identity_provider);
	return v->provider->type == FEDERATION_GROUP ? REASON_GROUP_NOT_ADDED : REASON_USER_NOT_ADDED;
}

/* --- whole -------------------------------------------------------------------------------------------- */

static enum reason judge(const struct federation *f, const struct verdict_request *request, const struct jwt *jwt, struct verdict *v)
{
	const struct federation_provider *p;
	struct jws_rules rules = { 0 };
	enum reason reason;

	reason = choose_provider(f, request, jwt->claims, v);
	if (reason)
		return reason;
	p = v->provider;
	rules.kid_needed = rules.no_eddsa = p->rules == FEDERATION_MONGODB;
	if (request->length > p->max_token_size) {
		claims_tell(v, "%zu bytes, identity provider %s takes %zu", request->length, p->name, p->max_token_size);
		return REASON_TOKEN_SIZE;
	}
	reason = claims_check_times(jwt->claims, p, request->now, v);
	if (!reason)
		reason = claims_check_type(jwt->header, p, v);
	if (!reason)
		reason = claims_check_client(jwt->claims, p, v);
	if (!reason)
		reason = check_header(jwt->header, &rules, p, v);
	if (!reason)
		reason = check_signature(request, jwt, &rules, v);
	if (!reason)
		reason = claims_check_subject(jwt->claims, p, v);
	if (!reason && p->type == FEDERATION_GROUP)
		reason = claims_check_groups(jwt->claims, p, v);
	if (!reason && request->service)
		reason = check_user(f, request, jwt->claims, v);
	return reason;
}

void verdict_judge(const struct federation *f, const struct verdict_request *request, struct verdict *verdict)
{
	struct jwt jwt = { 0 };

	memset(verdict, 0, sizeof(*verdict));
	verdict->reason = parse(f, request, &jwt, verdict);
	if (verdict->reason == REASON_OK)
		verdict->reason = judge(f, request, &jwt, verdict);
	jwt_free(&jwt);
}

enum reason verdict_account(
	const struct federation *f, const char *service, const char *login, const char *account, const struct federation_user **user)
{
	const struct federation_user *const *users;
	size_t count;

	*user = NULL;
	users = federation_logins(f, service, login, &count);
	for (size_t i = 0; i < count; i++) {
		if (!federation_connected(f, users[i]->identity_provider, service))
			continue;
		if (!*user || strcmp(users[i]->account, account) == 0)
			*user = users[i];
	}
	if (*user)
		return REASON_OK;
	return count ? REASON_NOT_CONNECTED : REASON_LOGIN_UNKNOWN;
}
