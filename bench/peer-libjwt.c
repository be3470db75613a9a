/* SPDX-License-Identifier: Apache-2.0 */
/* libjwt: it decodes the key's PEM text for each token, and there is no other way to give it one. */
#include "bench/peer.h"

#if __has_include(<jwt.h>)
#include <jwt.h>

static __typeof__(&jwt_decode) jwt_decode_;
static __typeof__(&jwt_get_alg) jwt_get_alg_;
static __typeof__(&jwt_get_grant) jwt_get_grant_;
static __typeof__(&jwt_get_grant_int) jwt_get_grant_int_;
static __typeof__(&jwt_free) jwt_free_;

static struct {
	const struct peer_case *c;
	jwt_alg_t alg;
	int pem_length;
} peer;

static void *open_it(const struct peer_case *c, const char **why)
{
	void *library = dlopen("libjwt.so.0", RTLD_NOW | RTLD_LOCAL);

	*why = PEER_NO_LIBRARY;
	if (!library || !PEER_FIND(library, jwt_decode) || !PEER_FIND(library, jwt_get_alg) || !PEER_FIND(library, jwt_get_grant) ||
		!PEER_FIND(library, jwt_get_grant_int) || !PEER_FIND(library, jwt_free))
		return NULL;
	*why = PEER_NO_ALG;
	if (strcmp(c->alg, "EdDSA") == 0)
		return NULL;
	peer.c = c;
	peer.alg = strcmp(c->alg, "RS256") == 0 ? JWT_ALG_RS256 : JWT_ALG_ES256;
	peer.pem_length = (int)strlen(c->pem);
	return &peer;
}

static bool is_text(jwt_t *jwt, const char *grant, const char *wanted)
{
	const char *text = jwt_get_grant_(jwt, grant);

	return text && strcmp(text, wanted) == 0;
}

static bool verify(void *opened, const char *token, size_t length)
{
	jwt_t *jwt = NULL;
	bool good = jwt_decode_(&jwt, token, (const unsigned char *)peer.c->pem, peer.pem_length) == 0;

	(void)opened;
	(void)length;
	good = good && jwt_get_alg_(jwt) == peer.alg && is_text(jwt, "iss", peer.c->issuer) && is_text(jwt, "aud", peer.c->audience) &&
	       jwt_get_grant_int_(jwt, "exp") > time(NULL);
	jwt_free_(jwt);
	return good;
}

const struct peer peer_libjwt = { "libjwt", "libjwt-dev", open_it, verify };
#else
const struct peer peer_libjwt = { .name = "libjwt", .package = "libjwt-dev" };
#endif
