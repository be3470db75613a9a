/* SPDX-License-Identifier: Apache-2.0 */
/* cjose, which Apache's mod_auth_openidc stands on: it verifies signatures, and leaves the claims to jansson and its user. */
#include "bench/peer.h"

#if __has_include(<cjose/cjose.h>)
#include <cjose/cjose.h>

static __typeof__(&cjose_jwk_import) cjose_jwk_import_;
static __typeof__(&cjose_jws_import) cjose_jws_import_;
static __typeof__(&cjose_jws_verify) cjose_jws_verify_;
static __typeof__(&cjose_jws_get_plaintext) cjose_jws_get_plaintext_;
static __typeof__(&cjose_jws_get_protected) cjose_jws_get_protected_;
static __typeof__(&cjose_header_get) cjose_header_get_;
static __typeof__(&cjose_jws_release) cjose_jws_release_;

static struct {
	const struct peer_case *c;
	cjose_jwk_t *key;
} peer;

static void *open_it(const struct peer_case *c, const char **why)
{
	void *library = dlopen("libcjose.so.0", RTLD_NOW | RTLD_LOCAL);
	cjose_err error;

	*why = PEER_NO_LIBRARY;
	if (!library || !PEER_FIND(library, cjose_jwk_import) || !PEER_FIND(library, cjose_jws_import) ||
		!PEER_FIND(library, cjose_jws_verify) || !PEER_FIND(library, cjose_jws_get_plaintext) ||
		!PEER_FIND(library, cjose_jws_get_protected) || !PEER_FIND(library, cjose_header_get) ||
		!PEER_FIND(library, cjose_jws_release))
		return NULL;
	*why = PEER_NO_ALG;
	if (strcmp(c->alg, "EdDSA") == 0)
		return NULL;
	*why = PEER_NO_KEY;
	peer.c = c;
	peer.key = cjose_jwk_import_(c->jwk, strlen(c->jwk), &error);
	return peer.key ? &peer : NULL;
}

static bool claims_good(const void *payload, size_t length)
{
	json_error_t error;
	json_t *claims = json_loadb(payload, length, JSON_REJECT_DUPLICATES, &error);
	bool good = peer_takes_claims(peer.c, claims);

	json_decref(claims);
	return good;
}

static bool verify(void *opened, const char *token, size_t length)
{
	cjose_err error;
	cjose_jws_t *jws = cjose_jws_import_(token, length, &error);
	const char *alg = jws ? cjose_header_get_(cjose_jws_get_protected_(jws), "alg", &error) : NULL;
	uint8_t *payload;
	size_t payload_length;
	bool good;

	(void)opened;
	good = alg && strcmp(alg, peer.c->alg) == 0 && cjose_jws_verify_(jws, peer.key, &error) &&
	       cjose_jws_get_plaintext_(jws, &payload, &payload_length, &error) && claims_good(payload, payload_length);
	cjose_jws_release_(jws);
	return good;
}

const struct peer peer_cjose = { "cjose", "libcjose-dev", open_it, verify };
#else
const struct peer peer_cjose = { .name = "cjose", .package = "libcjose-dev" };
#endif
