/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a compact JWS (RFC 7515 section 7.1) whose payload is a claims
 * object (RFC 7519). Parsing only: nothing here says that a token is good.
 *
 * Strict, so that two readers never see two different tokens in the same
 * bytes: exactly two dots, canonical base64url, no white space, objects at
 * the top of JSON that verify/json.h takes, bounded size.
 */
#ifndef KEYFOB_JWT_H
#define KEYFOB_JWT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "verify/json.h"

#define JWT_TOKEN_MAX 65536 /* the token, whole */
#define JWT_HEADER_MAX 4096 /* the header, decoded */

enum jwt_error {
	JWT_OK,
	JWT_ESIZE, /* empty, or larger than allowed */
	JWT_EFORM, /* not three parts with two dots between them */
	JWT_EENCODING, /* a part is not canonical base64url */
	JWT_EHEADER, /* the header is not a JSON object as above */
	JWT_ECLAIMS, /* the payload is not a JSON object as above */
	JWT_ENOMEM,
};

struct jwt {
	json_t *header;
	json_t *claims; /* NULL after jwt_parse_signed() */
	size_t signed_length; /* bytes of the token that the signature covers */
	struct buffer signature;
};

/*
 * Parse a token of length bytes. The signature may be empty (an unsecured
 * token can be looked at); who verifies must refuse that.
 * On success *jwt is the caller's, to be freed; on failure there is nothing to free.
 */
enum jwt_error jwt_parse(struct jwt *jwt, const char *token, size_t length);
/* The same of any compact JWS: its payload may be whatever bytes, or none, and is not looked at. */
enum jwt_error jwt_parse_signed(struct jwt *jwt, const char *token, size_t length);
/* Wipe and free the parts. Safe on a zeroed struct. */
void jwt_free(struct jwt *jwt);
/* A few words for an error; never NULL. */
const char *jwt_strerror(enum jwt_error error);

/* A member that is a string, else NULL. It lives as long as the object. */
const char *jwt_text(const json_t *object, const char *member);
/*
 * A member that is a NumericDate (RFC 7519 section 2; a fraction is cut off)
 * between 0 and the year 9999. false when it is missing or anything else.
 */
bool jwt_time(const json_t *object, const char *member, int64_t *seconds);

#endif
