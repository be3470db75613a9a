/* SPDX-License-Identifier: Apache-2.0 */
/* An identity provider's keys, made at run time, and tokens signed with them. */
#ifndef KEYFOB_TEST_SIGNED_TOKEN_H
#define KEYFOB_TEST_SIGNED_TOKEN_H

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buffer.h"
#include "verify/jwks.h"

static EVP_PKEY *rsa_key, *ec_key, *ed_key;

static inline void put_base64url(struct buffer *b, const void *bytes, size_t length)
{
	char *text = malloc(length / 3 * 4 + 8);
	int n;

	assert_non_null(text);
	n = EVP_EncodeBlock((unsigned char *)text, bytes, (int)length);
	while (n && text[n - 1] == '=')
		n--;
	for (int i = 0; i < n; i++)
		text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
	assert_true(buffer_put(b, text, (size_t)n));
	free(text);
}

static inline void put_number(struct buffer *b, const EVP_PKEY *key, const char *parameter, int length)
{
	unsigned char bytes[512];
	BIGNUM *number = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(key, parameter, &number), 1);
	length = length ? length : BN_num_bytes(number);
	assert_int_equal(BN_bn2binpad(number, bytes, length), length);
	put_base64url(b, bytes, (size_t)length);
	BN_free(number);
}

/* All three, with the kids rsa, ec and ed. */
static inline struct jwks *make_keys(void)
{
	unsigned char raw[32];
	size_t size = sizeof(raw);
	struct jwks *set;
	struct buffer b;
	char why[256];

	rsa_key = EVP_RSA_gen(2048);
	ec_key = EVP_EC_gen("P-256");
	ed_key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	assert_true(rsa_key && ec_key && ed_key);
	buffer_init(&b, 65536);
	buffer_printf(&b, "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"rsa\",\"e\":\"AQAB\",\"n\":\"");
	put_number(&b, rsa_key, OSSL_PKEY_PARAM_RSA_N, 0);
	buffer_printf(&b, "\"},{\"kty\":\"EC\",\"kid\":\"ec\",\"crv\":\"P-256\",\"x\":\"");
	put_number(&b, ec_key, OSSL_PKEY_PARAM_EC_PUB_X, 32);
	buffer_printf(&b, "\",\"y\":\"");
	put_number(&b, ec_key, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
	buffer_printf(&b, "\"},{\"kty\":\"OKP\",\"kid\":\"ed\",\"crv\":\"Ed25519\",\"x\":\"");
	assert_int_equal(EVP_PKEY_get_raw_public_key(ed_key, raw, &size), 1);
	put_base64url(&b, raw, size);
	buffer_printf(&b, "\"}]}");
	set = jwks_import(b.data, b.length, NULL, why, sizeof(why));
	if (!set)
		fail_msg("%s", why);
	buffer_free(&b);
	return set;
}

static inline void free_keys(void)
{
	EVP_PKEY_free(rsa_key);
	EVP_PKEY_free(ec_key);
	EVP_PKEY_free(ed_key);
}

/* An ECDSA signature as JWS has it: r and s, each as long as the field. */
static inline size_t flatten(unsigned char *signature, size_t length)
{
	const unsigned char *at = signature;
	ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)length);

	assert_non_null(pair);
	BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + 32, 32);
	ECDSA_SIG_free(pair);
	return 64;
}

/* The attack of CVE-2015-9235: the public key's text, which anybody has, as the secret of an HMAC. */
static inline size_t sign_confused(const struct buffer *text, unsigned char *signature)
{
	unsigned int size = 0;
	BIO *pem = BIO_new(BIO_s_mem());
	char *secret;
	long length;

	assert_int_equal(PEM_write_bio_PUBKEY(pem, rsa_key), 1);
	length = BIO_get_mem_data(pem, &secret);
	assert_non_null(HMAC(EVP_sha256(), secret, (int)length, text->data, text->length, signature, &size));
	BIO_free(pem);
	return size;
}

/* By the header's alg; one that is not known is signed as RS256. */
static inline size_t sign(const char *alg, const struct buffer *text, unsigned char *signature)
{
	bool is_ec = strncmp(alg, "ES", 2) == 0, is_ed = strncmp(alg, "Ed", 2) == 0;
	const EVP_MD *digest = is_ed ? NULL : strstr(alg, "384") ? EVP_sha384() : strstr(alg, "512") ? EVP_sha512() : EVP_sha256();
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key;
	size_t length = 512;

	if (strcmp(alg, "none") == 0 || strcmp(alg, "HS256") == 0) {
		EVP_MD_CTX_free(context);
		return *alg == 'n' ? 0 : sign_confused(text, signature);
	}
	assert_int_equal(EVP_DigestSignInit(context, &key, digest, NULL, is_ec ? ec_key : is_ed ? ed_key : rsa_key), 1);
	if (strncmp(alg, "PS", 2) == 0) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(key, RSA_PSS_SALTLEN_DIGEST), 1);
	}
	assert_int_equal(EVP_DigestSign(context, signature, &length, text->data, text->length), 1);
	EVP_MD_CTX_free(context);
	return is_ec ? flatten(signature, length) : length;
}

/* Header and claims in base64url, with the dot between them. */
static inline void put_signed(struct buffer *b, const char *header, const char *claims)
{
	buffer_init(b, 1 << 20);
	put_base64url(b, header, strlen(header));
	buffer_printf(b, ".");
	put_base64url(b, claims, strlen(claims));
}

static inline char *finish_token(struct buffer *b, const unsigned char *signature, size_t length)
{
	char *token;

	buffer_printf(b, ".");
	put_base64url(b, signature, length);
	token = strdup(buffer_cstring(b));
	buffer_free(b);
	assert_non_null(token);
	return token;
}

/* header is JSON with the member "alg" written without blanks; the caller frees the token. */
static inline char *make_token(const char *header, const char *claims)
{
	const char *at = strstr(header, "\"alg\":\"");
	unsigned char signature[512];
	char alg[16] = "RS256";
	struct buffer b;

	if (at)
		snprintf(alg, sizeof(alg), "%.*s", (int)strcspn(at + 7, "\""), at + 7);
	put_signed(&b, header, claims);
	return finish_token(&b, signature, sign(alg, &b, signature));
}

/* With a signature of length bytes that is none. */
static inline char *forge_token(const char *header, const char *claims, size_t length)
{
	unsigned char signature[512];
	struct buffer b;

	memset(signature, 0x55, sizeof(signature));
	put_signed(&b, header, claims);
	return finish_token(&b, signature, length);
}

#endif
