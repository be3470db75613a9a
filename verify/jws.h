/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signature layer (RFC 7515): is this token signed by a key of this set,
 * by an algorithm that both the caller and the key allow? What the payload
 * says is not looked at here.
 */
#ifndef KEYFOB_JWS_H
#define KEYFOB_JWS_H

#include <stdbool.h>

#include "verify/jwks.h"
#include "verify/jwt.h"
#include "verify/reason.h"

struct jws_rules {
	bool kid_needed;
	bool no_eddsa;
};

/* What a text that cannot be parsed is refused for. */
enum reason jws_form_reason(enum jwt_error error);
/*
 * Check alg, crit, b64 and kid of a header, before any key is looked for.
 * *alg and *kid (NULL: none) live as long as the header.
 */
enum reason jws_check_header(const json_t *header, const struct jws_rules *rules, const char **alg, const char **kid);
/* Verify the signature of a parsed token; token is the text that was parsed. */
enum reason jws_verify(const struct jwt *jwt, const char *token, const struct jws_rules *rules, const struct jwks *set);

#endif
