/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/reason.h"

#include <stddef.h>

static const struct {
	const char *code, *text;
} reasons[REASONS] = {
	[REASON_OK] = { "OK", "the token is good" },
	[REASON_TOKEN_SIZE] = { "TOKEN_SIZE", "the token is empty, or larger than max_token_size of its identity provider" },
	[REASON_TOKEN_TRUNCATED] = { "TOKEN_TRUNCATED",
		"the token was cut short on its way: the service, or its client, does not pass passwords of that length" },
	[REASON_TOKEN_FORM] = { "TOKEN_FORM", "not a signed JWT: not three parts with two dots between them" },
	[REASON_TOKEN_ENCODING] = { "TOKEN_ENCODING", "not a signed JWT: a part is not canonical base64url" },
	[REASON_HEADER] = { "HEADER", "the token's header is not a strict JSON object" },
	[REASON_CLAIMS] = { "CLAIMS", "the token's claims are not a strict JSON object" },
	[REASON_ALG_NOT_ALLOWED] = { "ALG_NOT_ALLOWED",
		"the token's alg is none, symmetric, unknown or not allowed by the identity provider's rules" },
	[REASON_CRIT] = { "CRIT", "the token demands an extension (crit, b64) that is not supported" },
	[REASON_TYP] = { "TYP", "the token's typ says that it is another kind of token; see types" },
	[REASON_KID] = { "KID", "the token's kid is missing, too long or not a text" },
	[REASON_KID_UNKNOWN] = { "KID_UNKNOWN", "no key of the identity provider has the token's kid" },
	[REASON_KID_UNKNOWN_COOLDOWN] = { "KID_UNKNOWN_COOLDOWN",
		"no key has the token's kid, and the key set was asked for less than a minute ago" },
	[REASON_KEY_UNUSABLE] = { "KEY_UNUSABLE", "the key that the token names does not fit its alg, or is not for signatures" },
	[REASON_KEYS_MISSING] = { "KEYS_MISSING", "no key set could be fetched from the identity provider yet (keyfob jwks list)" },
	[REASON_KEYS_STALE] = { "KEYS_STALE", "the key set could not be refreshed for longer than the hard limit (keyfob jwks list)" },
	[REASON_KEYS_REVOKED] = { "KEYS_REVOKED", "the key set was revoked, and none could be fetched since (keyfob jwks list)" },
	[REASON_SIGNATURE] = { "SIGNATURE", "the signature is wrong" },
	[REASON_REVOKED] = { "REVOKED",
		"the token was issued before the key set was revoked: get a new one (keyfob drop); a metadata service may hand out its"
		" old one until it expires" },
	[REASON_ISS] = { "ISS", "the token's issuer is not that of an identity provider" },
	[REASON_ISS_AZURE_V1] = { "ISS_AZURE_V1",
		"an Azure v1 token, and the identity provider expects v2: set accessTokenAcceptedVersion to 2 in the API's manifest" },
	[REASON_AUD] = { "AUD", "the token is for another audience" },
	[REASON_CLIENT] = { "CLIENT", "the token was issued to a client that client_id does not name" },
	[REASON_EXP] = { "EXP", "the token names no expiry, or one that is not a time" },
	[REASON_EXPIRED] = { "EXPIRED", "the token has expired" },
	[REASON_NOT_YET] = { "NOT_YET", "the token is not valid yet, or this host's clock is behind" },
	[REASON_LIFETIME] = { "LIFETIME", "the token lives longer than max_lifetime allows, or does not say since when" },
	[REASON_USER_CLAIM] = { "USER_CLAIM", "the token's user claim is missing or of no use as an identity" },
	[REASON_GROUPS_CLAIM] = { "GROUPS_CLAIM", "the token's groups claim is missing or not a list of texts" },
	[REASON_GROUP_OVERAGE] = { "GROUP_OVERAGE",
		"Azure left the groups out of the token because there are too many: assign groups to the application instead" },
	[REASON_NOT_CONNECTED] = { "NOT_CONNECTED", "the identity provider is not connected to the service (keyfob idp connect)" },
	[REASON_LOGIN_UNKNOWN] = { "LOGIN_UNKNOWN", "no database user has that login for the service (keyfob dbuser add)" },
	[REASON_USER_NOT_ADDED] = { "USER_NOT_ADDED", "the login belongs to another user than the token's (keyfob dbuser list)" },
	[REASON_GROUP_NOT_ADDED] = { "GROUP_NOT_ADDED", "the login belongs to groups that the token does not name (keyfob dbuser list)" },
	[REASON_ASKER] = { "ASKER", "the service's section does not let this user's processes ask" },
	[REASON_MEMORY] = { "MEMORY", "out of memory" },
};

const char *reason_code(enum reason reason)
{
	return (size_t)reason < REASONS ? reasons[reason].code : "UNKNOWN";
}

const char *reason_text(enum reason reason)
{
	return (size_t)reason < REASONS ? reasons[reason].text : "unknown reason";
}
