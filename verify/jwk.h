/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One public key of a key set and the algorithms it may verify (RFC 7517,
 * RFC 7518, RFC 8037). Within the signature layer; others use verify/jwks.h.
 */
#ifndef KEYFOB_JWK_H
#define KEYFOB_JWK_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "verify/reason.h"

#define JWK_KID_MAX 256 /* bytes */

enum jwk_type { JWK_RSA, JWK_P256, JWK_P384, JWK_P521, JWK_ED25519 };

/* Which may be verified, and by which type of key. */
enum jwk_alg {
	JWK_RS256,
	JWK_RS384,
	JWK_RS512,
	JWK_PS256,
	JWK_PS384,
	JWK_PS512,
	JWK_ES256,
	JWK_ES384,
	JWK_ES512,
	JWK_EDDSA, /* RFC 8037's name; of its curves only Ed25519 */
	JWK_EDDSA_ED25519, /* "Ed25519", RFC 9864's name of the same */
	JWK_ALGS, /* none of them */
};

struct jwk {
	char *kid; /* NULL: it has none */
	char kind[24]; /* "RSA-2048", "P-256", "Ed25519"; with a small exponent "RSA-2048 e=3" */
	bool weak; /* such a one: sound where nobody errs, and a forger's help where somebody does */
	enum jwk_type type;
	enum jwk_alg alg; /* the only one, JWK_ALGS: any that fits the type */
	EVP_PKEY *key;
	/*
	 * A context for each algorithm, initialised once: setting one up costs a
	 * quarter of an RSA verification, copying it next to nothing.
	 */
	EVP_MD_CTX *ready[JWK_ALGS];
};

/* By its exact, case-sensitive name; JWK_ALGS: not one that is verified here. */
enum jwk_alg jwk_alg(const char *name);

/*
 * Check a JWK and prepare it. *key must be zeroed; false with why in words,
 * that hold nothing of the object, when it cannot be used. The caller calls
 * jwk_free() in any case.
 */
bool jwk_import(struct jwk *key, const json_t *object, const char **why);
void jwk_free(struct jwk *key);
/* Is the kid a text that can name a key? */
bool jwk_kid_good(const json_t *kid);
/* The same public key? What it may be used for is not compared. */
bool jwk_same_material(const struct jwk *a, const struct jwk *b);

/* REASON_OK, SIGNATURE, KEY_UNUSABLE or MEMORY. */
enum reason jwk_verify(
	const struct jwk *key, enum jwk_alg alg, const void *text, size_t length, const uint8_t *signature, size_t signature_length);

/* verify/jwk-material.c: the key itself, of each kty, checked; NULL with why. Sets *type. */
EVP_PKEY *jwk_material(const json_t *object, enum jwk_type *type, const char **why);

#endif
