/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON Web Key Set (RFC 7517), imported once and read-only afterwards: each
 * key is checked at import and holds an OpenSSL context ready to be copied.
 */
#ifndef KEYFOB_JWKS_H
#define KEYFOB_JWKS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"
#include "verify/reason.h"

#define JWKS_MAX (256u << 10) /* bytes of a document */
#define JWKS_KEYS_MAX 100

struct jwk;
struct jwks;

/*
 * Import a document. What cannot be used is skipped, a line for each in notes
 * (NULL: not wanted) that names the key by its kid, escaped. NULL with a line
 * in why when there is no usable key or the document is none: such a set must
 * not take the place of a good one. A document of more than JWKS_KEYS_MAX keys
 * is refused whole.
 */
struct jwks *jwks_import(const void *json, size_t length, struct buffer *notes, char *why, size_t why_size);
/* The same of one bare JWK. */
struct jwks *jwks_import_key(const void *json, size_t length, char *why, size_t why_size);
/* One more owner; the last jwks_free() frees. NULL is fine. */
struct jwks *jwks_keep(struct jwks *set);
void jwks_free(struct jwks *set);

size_t jwks_count(const struct jwks *set);
/* The i-th key's kid ("" without one) and what it is ("RSA-2048", "P-256", "Ed25519", "RSA-2048 e=3"), for `keyfob jwks list`. */
const char *jwks_kid(const struct jwks *set, size_t i);
const char *jwks_kind(const struct jwks *set, size_t i);
/* Is it an RSA key with an exponent below 65537? It verifies, and somebody should be told. */
bool jwks_weak(const struct jwks *set, size_t i);
/* Do two sets hold the same keys? */
bool jwks_same(const struct jwks *a, const struct jwks *b);

/*
 * The key for a token: exactly this kid; without a kid (NULL) the one key that
 * fits alg, if it is the only one. REASON_OK; KID_UNKNOWN; KEY_UNUSABLE when
 * the key with that kid does not fit alg or was skipped, or without a kid none
 * fits; KID when without one several fit.
 */
enum reason jwks_find(const struct jwks *set, const char *kid, const char *alg, const struct jwk **key);

#endif
