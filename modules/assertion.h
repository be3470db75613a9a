/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client assertions: a JWT signed with the key of a service account or an
 * application (RFC 7523 section 3, RFC 7515).
 */
#ifndef KEYFOB_ASSERTION_H
#define KEYFOB_ASSERTION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"

struct assertion_key; /* a private key, and the certificates that came with it */

/*
 * Read PEM (a private key, and certificates if there are any, leaf first) or
 * PKCS#12 (DER, with its password or ""). NULL on failure, with the reason in
 * why: it never holds a part of the key. assertion_key_free() wipes and frees.
 */
struct assertion_key *assertion_key_pem(const char *pem, size_t length, char *why, size_t size);
struct assertion_key *assertion_key_pkcs12(const char *der, size_t length, const char *password, char *why, size_t size);
void assertion_key_free(struct assertion_key *key);

/* "RSA" or "EC" (P-256); what may sign is bound to it: RS256, PS256 or ES256. */
const char *assertion_key_type(const struct assertion_key *key);
/* base64url(SHA-256(DER of the leaf)), the value of x5t#S256, appended. false without a certificate. */
bool assertion_thumbprint(const struct assertion_key *key, struct buffer *out);
/* The certificates, standard base64 of DER, leaf first: the value of x5c. A new reference, NULL without any. */
json_t *assertion_chain(const struct assertion_key *key);

/* A random jti, 128 bits as hex, appended. */
bool assertion_jti(struct buffer *out);
/*
 * Append the compact JWS of header and claims to out (not a NUL). "alg" and
 * "typ" are put into header here; both references stay the caller's. PS256
 * salts with 32 bytes; an ES256 signature is r and s, 64 bytes.
 */
bool assertion_sign(const struct assertion_key *key, const char *alg, json_t *header, json_t *claims, struct buffer *out);

#endif
