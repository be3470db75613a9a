/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When does a token expire: the one reader of every spelling that token
 * sources use, and of a JWT's own claims. What cannot be read is no expiry
 * at all, never "for ever".
 */
#ifndef KEYFOB_EXPIRY_H
#define KEYFOB_EXPIRY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum expiry_form {
	EXPIRY_RELATIVE, /* a bare number counts from now: expires_in */
	EXPIRY_ABSOLUTE, /* a bare number is epoch seconds: expires_on */
};

/*
 * Read an expiry from a JSON member: a number, a numeric string or a date.
 * A date is absolute in either form and is UTC unless it names an offset.
 * Relative numbers go from 0 to 2^31-1, absolute times from 0 to the end of
 * the year 9999. Anything else, NULL and null too, gives false and leaves
 * *expires alone. A fraction of a second is cut off.
 */
bool expiry_parse_json(const json_t *value, time_t now, enum expiry_form form, time_t *expires);
/* The same from text. */
bool expiry_parse_text(const char *text, time_t now, enum expiry_form form, time_t *expires);
/*
 * Read one date: RFC 3339, "YYYY-MM-DD hh:mm:ss", RFC 1123 or
 * "M/D/YYYY h:mm:ss [AM|PM] [+hh:mm]". zoned, where not NULL, tells whether
 * the text named its offset from UTC.
 */
bool expiry_parse_date(const char *text, time_t *when, bool *zoned);

struct expiry_claims {
	bool has_expires;
	time_t expires; /* exp, rounded down */
	time_t issued; /* iat, 0 when absent */
	/* iss, aud, sub, cut to 256 bytes; what is not printable ASCII shows as '?'. "" when absent. */
	char issuer[257];
	char audience[257]; /* several are parted by ", " */
	char subject[257];
};

/*
 * Read the claims of a compact JWS (RFC 7519), without judging them or the
 * signature. False for anything else: then the token is opaque.
 */
bool expiry_jwt_claims(const char *token, size_t length, struct expiry_claims *claims);

#endif
