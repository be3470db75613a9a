/* SPDX-License-Identifier: Apache-2.0 */
/* rhonabwy, on GnuTLS. What a token says of where its keys are is not followed. */
#include "bench/peer.h"

#if __has_include(<rhonabwy.h>)
#include <rhonabwy.h>

static __typeof__(&r_global_init) r_global_init_;
static __typeof__(&r_jwk_init) r_jwk_init_;
static __typeof__(&r_jwk_import_from_json_str) r_jwk_import_from_json_str_;
static __typeof__(&r_jwt_init) r_jwt_init_;
static __typeof__(&r_jwt_advanced_parsen) r_jwt_advanced_parsen_;
static __typeof__(&r_jwt_get_sign_alg) r_jwt_get_sign_alg_;
static __typeof__(&r_jwt_verify_signature) r_jwt_verify_signature_;
static __typeof__(&r_jwt_validate_claims) r_jwt_validate_claims_;
static __typeof__(&r_jwt_free) r_jwt_free_;

static struct {
	const struct peer_case *c;
	jwa_alg alg;
	jwk_t *key;
} peer;

static void *open_it(const struct peer_case *c, const char **why)
{
	void *library = dlopen("librhonabwy.so.1.1", RTLD_NOW | RTLD_LOCAL);

	*why = PEER_NO_LIBRARY;
	if (!library || !PEER_FIND(library, r_global_init) || !PEER_FIND(library, r_jwk_init) ||
		!PEER_FIND(library, r_jwk_import_from_json_str) || !PEER_FIND(library, r_jwt_init) ||
		!PEER_FIND(library, r_jwt_advanced_parsen) || !PEER_FIND(library, r_jwt_get_sign_alg) ||
		!PEER_FIND(library, r_jwt_verify_signature) || !PEER_FIND(library, r_jwt_validate_claims) ||
		!PEER_FIND(library, r_jwt_free) || r_global_init_() != RHN_OK)
		return NULL;
	peer.c = c;
	peer.alg = strcmp(c->alg, "RS256") == 0 ? R_JWA_ALG_RS256 : strcmp(c->alg, "ES256") == 0 ? R_JWA_ALG_ES256 : R_JWA_ALG_EDDSA;
	*why = PEER_NO_KEY;
	return r_jwk_init_(&peer.key) == RHN_OK && r_jwk_import_from_json_str_(peer.key, c->jwk) == RHN_OK ? &peer : NULL;
}

static bool verify(void *opened, const char *token, size_t length)
{
	jwt_t *jwt = NULL;
	bool good;

	(void)opened;
	good = r_jwt_init_(&jwt) == RHN_OK && r_jwt_advanced_parsen_(jwt, token, length, R_PARSE_NONE, R_FLAG_IGNORE_REMOTE) == RHN_OK &&
	       r_jwt_get_sign_alg_(jwt) == peer.alg && r_jwt_verify_signature_(jwt, peer.key, R_FLAG_IGNORE_REMOTE) == RHN_OK &&
	       r_jwt_validate_claims_(jwt, R_JWT_CLAIM_ISS, peer.c->issuer, R_JWT_CLAIM_AUD, peer.c->audience, R_JWT_CLAIM_EXP,
		       R_JWT_CLAIM_NOW, R_JWT_CLAIM_NOP) == RHN_OK;
	r_jwt_free_(jwt);
	return good;
}

const struct peer peer_rhonabwy = { "rhonabwy", "librhonabwy-dev", open_it, verify };
#else
const struct peer peer_rhonabwy = { .name = "rhonabwy", .package = "librhonabwy-dev" };
#endif
