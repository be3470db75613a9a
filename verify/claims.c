/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/claims.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "verify/jwt.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

void claims_tell(struct verdict *v, const char *format, ...)
{
	char text[sizeof(v->detail)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_escape(text, v->detail, sizeof(v->detail));
}

/* --- texts and lists of them: one text counts as a list of one --------------------------- */

static size_t list_size(const json_t *value)
{
	return json_is_array(value) ? json_array_size(value) : 1;
}

/* The i-th text, NULL if that is something else. */
static const char *list_text(const json_t *value, size_t i)
{
	return json_string_value(json_is_array(value) ? json_array_get(value, i) : value);
}

static bool is_list(const json_t *value)
{
	for (size_t i = 0; i < list_size(value); i++)
		if (!list_text(value, i))
			return false;
	return true;
}

static bool list_holds(const json_t *value, const char *text)
{
	for (size_t i = 0; i < list_size(value); i++) {
		const char *one = list_text(value, i);

		if (one && strcmp(one, text) == 0)
			return true;
	}
	return false;
}

/* --- iss and aud --------------------------------------------------------------------------- */

bool claims_has_audience(const json_t *claims)
{
	const json_t *aud = json_object_get(claims, "aud");

	return is_list(aud) && list_size(aud) > 0;
}

bool claims_names_audience(const json_t *claims, const char *audience)
{
	return list_holds(json_object_get(claims, "aud"), audience);
}

void claims_show_audience(const json_t *claims, char *out, size_t size)
{
	const json_t *aud = json_object_get(claims, "aud");
	size_t n = 0;

	*out = 0;
	for (size_t i = 0; i < list_size(aud) && n < size; i++)
		n += (size_t)snprintf(out + n, size - n, "%s%.100s", i ? " " : "", list_text(aud, i));
}

bool claims_is_azure_v1(const struct federation_provider *p, const char *iss)
{
	static const char *const first[] = { "https://sts.windows.net/", "https://sts.chinacloudapi.cn/" };
	static const char *const second[] = { "https://login.microsoftonline.com/", "https://login.microsoftonline.us/",
		"https://login.partner.microsoftonline.cn/" };
	const char *tenant = NULL;
	size_t length = 0;

	for (size_t i = 0; i < COUNT(first); i++)
		if (strncmp(iss, first[i], strlen(first[i])) == 0)
			tenant = iss + strlen(first[i]);
	if (tenant)
		length = strcspn(tenant, "/");
	if (length == 0 || strcmp(tenant + length, "/") != 0)
		return false;
	for (size_t i = 0; i < COUNT(second); i++) {
		const char *rest = p->issuer + strlen(second[i]);

		if (strncmp(p->issuer, second[i], strlen(second[i])) == 0 && strncasecmp(rest, tenant, length) == 0 &&
			strcmp(rest + length, "/v2.0") == 0)
			return true;
	}
	return false;
}

/* --- times --------------------------------------------------------------------------------- */

/* A moment that may be left out (0 then), and must not be ahead of the clock. */
static enum reason check_past(const json_t *claims, const char *member, time_t now, int64_t *at, struct verdict *v)
{
	*at = 0;
	if (!json_object_get(claims, member))
		return REASON_OK;
	if (!jwt_time(claims, member, at)) {
		claims_tell(v, "%s is not a time", member);
		return REASON_NOT_YET;
	}
	if (*at <= now + VERDICT_SKEW)
		return REASON_OK;
	claims_tell(v, "%s is %lld s ahead", member, (long long)(*at - now));
	return REASON_NOT_YET;
}

/* A fraction of exp is cut off: this clock has none, and exp has no skew but what root gives it. */
enum reason claims_check_times(const json_t *claims, const struct federation_provider *p, time_t now, struct verdict *v)
{
	int64_t exp, nbf, iat;
	enum reason reason;

	if (!jwt_time(claims, "exp", &exp)) {
		claims_tell(v, json_object_get(claims, "exp") ? "exp is not a time" : "there is no exp");
		return REASON_EXP;
	}
	v->expires = exp;
	if (now >= exp + p->expiry_skew) {
		claims_tell(v, p->expiry_skew ? "exp was %lld s ago, expiry_skew is %u s" : "exp was %lld s ago", (long long)(now - exp),
			p->expiry_skew);
		return REASON_EXPIRED;
	}
	reason = check_past(claims, "nbf", now, &nbf, v);
	v->not_before = nbf;
	if (!reason)
		reason = check_past(claims, "iat", now, &iat, v);
	/* A token is not good before it is issued. */
	if (!reason)
		v->issued = iat ? iat : nbf;
	if (reason || !p->max_lifetime)
		return reason;
	if (!json_object_get(claims, "iat")) {
		claims_tell(v, "there is no iat, and max_lifetime needs it");
		return REASON_LIFETIME;
	}
	if (exp - iat <= p->max_lifetime)
		return REASON_OK;
	claims_tell(v, "exp - iat is %lld s, max_lifetime is %u s", (long long)(exp - iat), p->max_lifetime);
	return REASON_LIFETIME;
}

/* --- type and client ------------------------------------------------------------------------ */

/* Types are compared without regard to case, and application/ may be left out (RFC 7515 section 4.1.9). */
static bool is_type(const char *a, const char *b)
{
	static const char prefix[] = "application/";

	if (strncasecmp(a, prefix, strlen(prefix)) == 0)
		a += strlen(prefix);
	if (strncasecmp(b, prefix, strlen(prefix)) == 0)
		b += strlen(prefix);
	return strcasecmp(a, b) == 0;
}

enum reason claims_check_type(const json_t *header, const struct federation_provider *p, struct verdict *v)
{
	const json_t *value = json_object_get(header, "typ");
	const char *typ = json_string_value(value);
	bool ok;

	if (!value) {
		ok = p->types.count == 0;
	} else if (!typ) {
		claims_tell(v, "typ is not a text");
		return REASON_TYP;
	} else if (p->rules == FEDERATION_MONGODB) {
		ok = strcmp(typ, "JWT") == 0;
	} else {
		ok = p->types.count == 0 && (is_type(typ, "JWT") || is_type(typ, "at+jwt"));
		for (size_t i = 0; i < p->types.count; i++)
			ok = ok || is_type(typ, p->types.names[i]);
	}
	if (ok)
		return REASON_OK;
	if (typ)
		claims_tell(v, "typ is %.100s", typ);
	else
		claims_tell(v, "there is no typ, and types wants one");
	return REASON_TYP;
}

enum reason claims_check_client(const json_t *claims, const struct federation_provider *p, struct verdict *v)
{
	static const char *const members[] = { "azp", "client_id", "appid" };
	bool found = false;

	if (!p->client_ids.count)
		return REASON_OK;
	for (size_t i = 0; i < COUNT(members); i++) {
		const json_t *value = json_object_get(claims, members[i]);
		const char *client = json_string_value(value);

		if (!value)
			continue;
		if (!client || !federation_list_holds(&p->client_ids, client)) {
			claims_tell(v, "%s is %.200s", members[i], client ? client : "not a text");
			return REASON_CLIENT;
		}
		found = true;
	}
	if (found)
		return REASON_OK;
	claims_tell(v, "there is no azp, client_id or appid");
	return REASON_CLIENT;
}

/* --- who ------------------------------------------------------------------------------------ */

enum reason claims_check_subject(const json_t *claims, const struct federation_provider *p, struct verdict *v)
{
	const json_t *value = json_object_get(claims, p->user_claim);
	const char *subject = json_string_value(value);

	/* A MongoDB server wants it whatever claim names the user. */
	if (p->rules == FEDERATION_MONGODB && !jwt_text(claims, "sub")) {
		claims_tell(v, "claim sub is missing or not a text");
		return REASON_USER_CLAIM;
	}
	if (subject && federation_is_identity(subject)) {
		snprintf(v->subject, sizeof(v->subject), "%s", subject);
		return REASON_OK;
	}
	if (!value)
		claims_tell(v, "there is no claim %.200s", p->user_claim);
	else
		claims_tell(v, "claim %.200s is %s", p->user_claim,
			subject ? "empty, longer than 255 bytes or holds control characters" : "not a text");
	return REASON_USER_CLAIM;
}

/* Azure puts a pointer in the place of more groups than fit. It is never followed. */
static bool groups_left_out(const json_t *claims, const char *claim)
{
	return json_object_get(json_object_get(claims, "_claim_names"), claim) ||
	       (strcmp(claim, "groups") == 0 && json_is_true(json_object_get(claims, "hasgroups")));
}

enum reason claims_check_groups(const json_t *claims, const struct federation_provider *p, struct verdict *v)
{
	const json_t *value = json_object_get(claims, p->groups_claim);

	if (value && is_list(value))
		return REASON_OK;
	if (!value && groups_left_out(claims, p->groups_claim))
		return REASON_GROUP_OVERAGE;
	claims_tell(v, value ? "claim %.200s is not a list of texts" : "there is no claim %.200s", p->groups_claim);
	return REASON_GROUPS_CLAIM;
}

bool claims_in_group(const json_t *claims, const struct federation_provider *p, const char *group_id)
{
	return list_holds(json_object_get(claims, p->groups_claim), group_id);
}
