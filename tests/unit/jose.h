/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, JWKs and tokens made at run time for tests of the Accept half. Needs libcrypto. */
#ifndef KEYFOB_TESTS_JOSE_H
#define KEYFOB_TESTS_JOSE_H

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* base64url without padding; the caller frees. */
static inline char *jose_base64(const void *bytes, size_t length)
{
	char *text = malloc(length / 3 * 4 + 5);
	size_t n;

	assert_non_null(text);
	n = (size_t)EVP_EncodeBlock((unsigned char *)text, bytes, (int)length);
	while (n && text[n - 1] == '=')
		n--;
	text[n] = 0;
	for (size_t i = 0; i < n; i++)
		text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
	return text;
}

/* "RSA" (2048 bits), "P-256", "P-384", "P-521" or "ED25519". */
static inline EVP_PKEY *jose_key(const char *type)
{
	EVP_PKEY *key = strcmp(type, "RSA") == 0 ? EVP_RSA_gen(2048)
			: type[0] == 'P'	 ? EVP_EC_gen(type)
						 : EVP_PKEY_Q_keygen(NULL, NULL, type);

	assert_non_null(key);
	return key;
}

static inline char *jose_number(const EVP_PKEY *key, const char *name)
{
	BIGNUM *number = NULL;
	uint8_t bytes[1024];
	char *text;

	assert_int_equal(EVP_PKEY_get_bn_param(key, name, &number), 1);
	text = jose_base64(bytes, (size_t)BN_bn2bin(number, bytes));
	BN_free(number);
	return text;
}

static inline size_t jose_half(const EVP_PKEY *key)
{
	return (size_t)(EVP_PKEY_get_bits(key) + 7) / 8;
}

static inline char *jose_coordinate(const EVP_PKEY *key, const char *name)
{
	BIGNUM *number = NULL;
	uint8_t bytes[66];
	char *text;

	assert_int_equal(EVP_PKEY_get_bn_param(key, name, &number), 1);
	assert_true(BN_bn2binpad(number, bytes, (int)jose_half(key)) > 0);
	text = jose_base64(bytes, jose_half(key));
	BN_free(number);
	return text;
}

/* Its public JWK; more holds members (with a comma before each), e.g. ,"kid":"k1". The caller frees. */
static inline char *jose_jwk(const EVP_PKEY *key, const char *more)
{
	char *jwk = NULL, *first = NULL, *second = NULL;
	int n = -1;

	if (EVP_PKEY_is_a(key, "RSA")) {
		first = jose_number(key, OSSL_PKEY_PARAM_RSA_N);
		second = jose_number(key, OSSL_PKEY_PARAM_RSA_E);
		n = asprintf(&jwk, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", first, second, more);
	} else if (EVP_PKEY_is_a(key, "EC")) {
		first = jose_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X);
		second = jose_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y);
		n = asprintf(
			&jwk, "{\"kty\":\"EC\",\"crv\":\"P-%d\",\"x\":\"%s\",\"y\":\"%s\"%s}", EVP_PKEY_get_bits(key), first, second, more);
	} else {
		uint8_t bytes[32];
		size_t length = sizeof(bytes);

		assert_int_equal(EVP_PKEY_get_raw_public_key(key, bytes, &length), 1);
		first = jose_base64(bytes, length);
		n = asprintf(&jwk, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"%s}", first, more);
	}
	assert_true(n > 0);
	free(first);
	free(second);
	return jwk;
}

/* A set of the JWKs, which are freed; NULL ends them. */
static inline char *jose_set(char *first, ...)
{
	char *text = strdup("{\"keys\":["), *longer;
	va_list args;

	va_start(args, first);
	for (char *jwk = first; jwk; jwk = va_arg(args, char *)) {
		assert_true(asprintf(&longer, "%s%s%s", text, jwk == first ? "" : ",", jwk) > 0);
		free(text);
		free(jwk);
		text = longer;
	}
	va_end(args);
	assert_true(asprintf(&longer, "%s]}", text) > 0);
	free(text);
	return longer;
}

/* Sign as a JOSE alg wants it; salt only matters to PS*. Returns the signature's length. */
static inline size_t jose_sign_bytes(EVP_PKEY *key, const char *alg, int salt, const void *text, size_t length, uint8_t signature[1024])
{
	const EVP_MD *digest = strstr(alg, "256")   ? EVP_sha256()
			       : strstr(alg, "384") ? EVP_sha384()
			       : strstr(alg, "512") ? EVP_sha512()
						    : NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n = 1024, half = jose_half(key);
	EVP_PKEY_CTX *params;

	if (!EVP_PKEY_is_a(key, "RSA") && !EVP_PKEY_is_a(key, "EC"))
		digest = NULL;
	assert_int_equal(EVP_DigestSignInit(ctx, &params, digest, NULL, key), 1);
	if (alg[0] == 'P') {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(params, RSA_PKCS1_PSS_PADDING), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(params, salt), 1);
	}
	assert_int_equal(EVP_DigestSign(ctx, signature, &n, text, length), 1);
	EVP_MD_CTX_free(ctx);
	if (EVP_PKEY_is_a(key, "EC")) {
		const uint8_t *der = signature;
		ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)n);

		assert_non_null(pair);
		assert_true(BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, (int)half) > 0);
		assert_true(BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + half, (int)half) > 0);
		ECDSA_SIG_free(pair);
		n = 2 * half;
	}
	return n;
}

/* The header and the payload are taken as they are. The caller frees. */
static inline char *jose_join(const char *header, const char *payload, const uint8_t *signature, size_t length)
{
	char *first = jose_base64(header, strlen(header)), *second = jose_base64(payload, strlen(payload));
	char *third = jose_base64(signature, length), *token;

	assert_true(asprintf(&token, "%s.%s.%s", first, second, third) > 0);
	free(first);
	free(second);
	free(third);
	return token;
}

/* A token whose signature is made by alg, whatever its header says. The caller frees. */
static inline char *jose_token(EVP_PKEY *key, const char *alg, const char *header, const char *payload)
{
	char *unsigned_token = jose_join(header, payload, NULL, 0);
	uint8_t signature[1024];
	char *token;
	size_t n;

	n = jose_sign_bytes(key, alg, RSA_PSS_SALTLEN_DIGEST, unsigned_token, strlen(unsigned_token) - 1, signature);
	token = jose_join(header, payload, signature, n);
	free(unsigned_token);
	return token;
}

#endif
