/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a token is refused. The codes stand in the log and in what root is
 * told; a service learns only that it was refused.
 */
#ifndef KEYFOB_REASON_H
#define KEYFOB_REASON_H

enum reason {
	REASON_OK,
	/* the token's form (RFC 7515, RFC 7519) */
	REASON_TOKEN_SIZE, /* empty, or larger than the identity provider's max_token_size */
	REASON_TOKEN_TRUNCATED, /* cut at a length that services are known to cut at */
	REASON_TOKEN_FORM, /* not three parts with two dots between them */
	REASON_TOKEN_ENCODING, /* a part is not canonical base64url */
	REASON_HEADER, /* the header is not a strict JSON object */
	REASON_CLAIMS, /* the payload is not one */
	/* the header */
	REASON_ALG_NOT_ALLOWED, /* none, HS*, unknown, or not allowed by the rules */
	REASON_CRIT, /* asks for an extension */
	REASON_TYP, /* another kind of token */
	REASON_KID, /* not a string, too long, or missing where needed */
	/* the keys */
	REASON_KID_UNKNOWN,
	REASON_KID_UNKNOWN_COOLDOWN, /* unknown, and a fetch was made less than a minute ago */
	REASON_KEY_UNUSABLE, /* the key does not fit the algorithm, or may not verify */
	REASON_KEYS_MISSING, /* no key set could be had yet */
	REASON_KEYS_STALE, /* the key set is older than the hard limit allows */
	REASON_KEYS_REVOKED, /* revoked, and no fresh set could be fetched since */
	REASON_SIGNATURE,
	REASON_REVOKED, /* issued before the key set was revoked */
	/* the claims */
	REASON_ISS, /* missing, or no identity provider has it */
	REASON_ISS_AZURE_V1, /* an Azure v1 token where v2 is configured */
	REASON_AUD,
	REASON_CLIENT, /* azp or client_id is not an allowed one */
	REASON_EXP, /* missing or not a time */
	REASON_EXPIRED,
	REASON_NOT_YET, /* nbf or iat is ahead, or not a time */
	REASON_LIFETIME, /* exp - iat exceeds max_lifetime */
	REASON_USER_CLAIM, /* missing, or not usable as an identity */
	REASON_GROUPS_CLAIM,
	REASON_GROUP_OVERAGE, /* Azure left the groups out, there are too many */
	/* who may log in */
	REASON_NOT_CONNECTED, /* the identity provider is not connected to the service */
	REASON_LOGIN_UNKNOWN, /* no database user has that login for the service */
	REASON_USER_NOT_ADDED, /* there is one, but for other users */
	REASON_GROUP_NOT_ADDED,
	REASON_ASKER, /* the service's section names other users who may ask */
	REASON_MEMORY,
	REASONS,
};

/* "ALG_NOT_ALLOWED": the enumerator without its prefix. Never NULL. */
const char *reason_code(enum reason reason);
/* One line for an administrator: what is wrong and what to do. Never NULL. */
const char *reason_text(enum reason reason);

#endif
