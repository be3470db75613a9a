/* SPDX-License-Identifier: Apache-2.0 */
/* Signing keys, made at start and never written anywhere, and what they sign. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "emulator.h"

enum { GENERATIONS = 2, RSA_BITS = 2048, P256_BYTES = 32, KID_LENGTH = 22 };
enum { RSA_KEY, P256_KEY, KEY_TYPES };

struct key {
	EVP_PKEY *pkey;
	char *kid;
};

struct emu_keys {
	struct key generation[GENERATIONS][KEY_TYPES]; /* the first one signs */
};

char *emu_base64url(const void *data, size_t length)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *in = data;
	char *text = malloc(length / 3 * 4 + 5), *out = text;
	uint32_t bits = 0;
	unsigned int held = 0;

	if (!text)
		return NULL;
	for (size_t i = 0; i < length; i++) {
		bits = (bits << 8) | in[i];
		for (held += 8; held >= 6; held -= 6)
			*out++ = digits[(bits >> (held - 6)) & 63];
	}
	if (held > 0)
		*out++ = digits[(bits << (6 - held)) & 63];
	*out = '\0';
	return text;
}

void emu_sha256(const char *text, uint8_t out[EMU_SHA256])
{
	SHA256((const unsigned char *)text, strlen(text), out);
}

char *emu_random_text(size_t length)
{
	size_t bytes = length / 4 * 3 + 3;
	unsigned char *random = malloc(bytes);
	char *text = NULL;

	if (random && RAND_bytes(random, (int)bytes) == 1)
		text = emu_base64url(random, bytes);
	if (text)
		text[length] = '\0';
	free(random);
	return text;
}

void emu_uuid_of(const char *text, char out[37])
{
	uint8_t h[EMU_SHA256];

	emu_sha256(text, h);
	h[6] = (h[6] & 0x0f) | 0x80; /* RFC 9562: version 8, made of a hash of one's own choice */
	h[8] = (h[8] & 0x3f) | 0x80;
	snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", h[0], h[1], h[2], h[3], h[4], h[5], h[6],
		h[7], h[8], h[9], h[10], h[11], h[12], h[13], h[14], h[15]);
}

static void key_free(struct key *key)
{
	EVP_PKEY_free(key->pkey);
	free(key->kid);
	*key = (struct key){ 0 };
}

static bool key_make(struct key *key, int type)
{
	uint8_t hash[EMU_SHA256];
	unsigned char *der = NULL;
	int length;

	key->pkey = type == RSA_KEY ? EVP_RSA_gen(RSA_BITS) : EVP_EC_gen("P-256");
	length = key->pkey ? i2d_PUBKEY(key->pkey, &der) : -1;
	if (length > 0) {
		SHA256(der, (size_t)length, hash);
		key->kid = emu_base64url(hash, sizeof(hash));
	}
	OPENSSL_free(der);
	if (!key->kid) {
		key_free(key);
		return false;
	}
	key->kid[KID_LENGTH] = '\0';
	return true;
}

bool emu_keys_rotate(struct emu_keys *keys)
{
	struct key fresh[KEY_TYPES] = { 0 };

	for (int type = 0; type < KEY_TYPES; type++)
		if (!key_make(&fresh[type], type)) {
			key_free(&fresh[RSA_KEY]);
			return false;
		}
	for (int type = 0; type < KEY_TYPES; type++)
		key_free(&keys->generation[GENERATIONS - 1][type]);
	memmove(keys->generation[1], keys->generation[0], sizeof(keys->generation) - sizeof(keys->generation[0]));
	memcpy(keys->generation[0], fresh, sizeof(fresh));
	return true;
}

struct emu_keys *emu_keys_new(void)
{
	struct emu_keys *keys = calloc(1, sizeof(*keys));

	if (keys && !emu_keys_rotate(keys))
		emu_keys_free(&keys);
	return keys;
}

void emu_keys_free(struct emu_keys **keys)
{
	if (!*keys)
		return;
	for (int i = 0; i < GENERATIONS; i++)
		for (int type = 0; type < KEY_TYPES; type++)
			key_free(&(*keys)->generation[i][type]);
	free(*keys);
	*keys = NULL;
}

/* A number of the public key, base64url; padded to the given width, 0 for its own. */
static char *number_of(const EVP_PKEY *pkey, const char *parameter, int width)
{
	unsigned char bytes[RSA_BITS / 8];
	BIGNUM *number = NULL;
	char *text = NULL;

	if (EVP_PKEY_get_bn_param(pkey, parameter, &number) == 1 && BN_num_bytes(number) <= (int)sizeof(bytes)) {
		if (width == 0)
			width = BN_num_bytes(number);
		if (BN_bn2binpad(number, bytes, width) == width)
			text = emu_base64url(bytes, (size_t)width);
	}
	BN_free(number);
	return text;
}

static json_t *jwk_of(const struct key *key, int type)
{
	bool rsa = type == RSA_KEY;
	char *first = number_of(key->pkey, rsa ? OSSL_PKEY_PARAM_RSA_N : OSSL_PKEY_PARAM_EC_PUB_X, rsa ? 0 : P256_BYTES);
	char *second = number_of(key->pkey, rsa ? OSSL_PKEY_PARAM_RSA_E : OSSL_PKEY_PARAM_EC_PUB_Y, rsa ? 0 : P256_BYTES);
	json_t *jwk = NULL;

	if (first && second)
		jwk = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "kty", rsa ? "RSA" : "EC", "kid", key->kid, "use", "sig", "alg",
			rsa ? "RS256" : "ES256", rsa ? "n" : "x", first, rsa ? "e" : "y", second);
	if (jwk && !rsa)
		json_object_set_new(jwk, "crv", json_string("P-256"));
	free(first);
	free(second);
	return jwk;
}

json_t *emu_keys_jwks(const struct emu_keys *keys)
{
	json_t *list = json_array();

	for (int i = 0; i < GENERATIONS; i++)
		for (int type = 0; type < KEY_TYPES; type++)
			if (keys->generation[i][type].pkey)
				json_array_append_new(list, jwk_of(&keys->generation[i][type], type));
	return json_pack("{s:o}", "keys", list);
}

/* JWS wants the two numbers of an ECDSA signature side by side (RFC 7518 section 3.4), OpenSSL makes DER. */
static char *signature_text(int type, const unsigned char *signature, size_t length)
{
	unsigned char flat[2 * P256_BYTES];
	ECDSA_SIG *pair;
	char *text = NULL;

	if (type == RSA_KEY)
		return emu_base64url(signature, length);
	pair = d2i_ECDSA_SIG(NULL, &signature, (long)length);
	if (pair && BN_bn2binpad(ECDSA_SIG_get0_r(pair), flat, P256_BYTES) == P256_BYTES &&
		BN_bn2binpad(ECDSA_SIG_get0_s(pair), flat + P256_BYTES, P256_BYTES) == P256_BYTES)
		text = emu_base64url(flat, sizeof(flat));
	ECDSA_SIG_free(pair);
	return text;
}

static char *sign(const struct key *key, int type, const char *input)
{
	unsigned char signature[RSA_BITS / 8];
	size_t length = sizeof(signature);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	char *text = NULL;

	if (context && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
		EVP_DigestSign(context, signature, &length, (const unsigned char *)input, strlen(input)) == 1)
		text = signature_text(type, signature, length);
	EVP_MD_CTX_free(context);
	return text;
}

static char *encode(const json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL, *encoded = NULL;

	if (text)
		encoded = emu_base64url(text, strlen(text));
	free(text);
	return encoded;
}

char *emu_keys_sign(const struct emu_keys *keys, const char *alg, const json_t *claims)
{
	int type = alg && strcmp(alg, "ES256") == 0 ? P256_KEY : RSA_KEY;
	const struct key *key = &keys->generation[0][type];
	json_t *header = json_pack("{s:s, s:s, s:s}", "typ", "JWT", "alg", alg ? alg : "RS256", "kid", key->kid);
	char *head = encode(header), *body = encode(claims), *input = NULL, *signature = NULL, *jwt = NULL;

	if (head && body && asprintf(&input, "%s.%s", head, body) < 0)
		input = NULL;
	if (input)
		signature = sign(key, type, input);
	if (signature && asprintf(&jwt, "%s.%s", input, signature) < 0)
		jwt = NULL;
	json_decref(header);
	free(head);
	free(body);
	free(input);
	free(signature);
	return jwt;
}
