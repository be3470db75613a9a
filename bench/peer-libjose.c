/* SPDX-License-Identifier: Apache-2.0 */
/* latchset's libjose, which clevis and tang stand on. It takes the JSON serialization, into which a token is put first. */
#include "bench/peer.h"

#if __has_include(<jose/jws.h>)
#include <jose/b64.h>
#include <jose/jws.h>

static __typeof__(&jose_jws_ver) jose_jws_ver_;
static __typeof__(&jose_jws_hdr) jose_jws_hdr_;
static __typeof__(&jose_b64_dec_load) jose_b64_dec_load_;

static struct {
	const struct peer_case *c;
	json_t *key;
} peer;

static void *open_it(const struct peer_case *c, const char **why)
{
	void *library = dlopen("libjose.so.0", RTLD_NOW | RTLD_LOCAL);
	json_error_t error;

	*why = PEER_NO_LIBRARY;
	if (!library || !PEER_FIND(library, jose_jws_ver) || !PEER_FIND(library, jose_jws_hdr) || !PEER_FIND(library, jose_b64_dec_load))
		return NULL;
	*why = PEER_NO_ALG;
	if (strcmp(c->alg, "EdDSA") == 0)
		return NULL;
	*why = PEER_NO_KEY;
	peer.c = c;
	peer.key = json_loads(c->jwk, 0, &error);
	return peer.key ? &peer : NULL;
}

static json_t *flattened(const char *token, size_t length)
{
	const char *first = memchr(token, '.', length), *second = first ? strchr(first + 1, '.') : NULL;

	if (!second)
		return NULL;
	return json_pack("{s:s%, s:s%, s:s%}", "protected", token, (size_t)(first - token), "payload", first + 1,
		(size_t)(second - first - 1), "signature", second + 1, (size_t)(token + length - second - 1));
}

static bool verify(void *opened, const char *token, size_t length)
{
	json_t *jws = flattened(token, length), *header = jws ? jose_jws_hdr_(jws) : NULL, *claims = NULL;
	bool good = peer_is_text(header, "alg", peer.c->alg) && jose_jws_ver_(NULL, jws, NULL, peer.key, false);

	(void)opened;
	if (good)
		claims = jose_b64_dec_load_(json_object_get(jws, "payload"));
	good = good && peer_takes_claims(peer.c, claims);
	json_decref(claims);
	json_decref(header);
	json_decref(jws);
	return good;
}

const struct peer peer_libjose = { "jose (latchset)", "libjose-dev", open_it, verify };
#else
const struct peer peer_libjose = { .name = "jose (latchset)", .package = "libjose-dev" };
#endif
