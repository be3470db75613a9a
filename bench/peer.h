/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other libraries that verify tokens, used as their manuals tell a careful user: the key is prepared once, and of a token
 * iss, aud and exp are looked at as well as the signature. Each is opened at run time, so that one that is not installed is
 * skipped, and so that its names (a jwt_free() of its own) are apart from the product's.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <dlfcn.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

/* What is verified by whom. All texts live as long as the peer is used. */
struct peer_case {
	const char *alg; /* "RS256", "ES256", "EdDSA" */
	const char *pem, *jwk; /* the public key, in both spellings */
	const char *issuer, *audience;
};

struct peer {
	const char *name, *package;
	/* What verify is to have; NULL with why. One at a time. */
	void *(*open)(const struct peer_case *c, const char **why);
	/* Is it good? The token has a NUL behind it. */
	bool (*verify)(void *opened, const char *token, size_t length);
};

extern const struct peer peer_libjwt, peer_cjose, peer_rhonabwy, peer_libjose;

/* What a peer's open() says, NULL returned with it. */
#define PEER_NO_ALG "it does not know this algorithm"
#define PEER_NO_KEY "it does not take the key"
#define PEER_NO_LIBRARY "the library cannot be opened"

/* Finds the function of that name into a pointer of the same name with an underscore behind it. */
#define PEER_FIND(library, name) ((name##_ = (__typeof__(name##_))dlsym(library, #name)) != NULL)

/* For libraries that leave the claims to their users. */
static inline bool peer_is_text(const json_t *object, const char *name, const char *wanted)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text && strcmp(text, wanted) == 0;
}
static inline bool peer_takes_claims(const struct peer_case *c, const json_t *claims)
{
	return peer_is_text(claims, "iss", c->issuer) && peer_is_text(claims, "aud", c->audience) &&
	       json_integer_value(json_object_get(claims, "exp")) > time(NULL);
}

#endif
