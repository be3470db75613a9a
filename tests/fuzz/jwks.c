/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key sets as a provider publishes them.
 *
 * links: verify/jwks verify/jwk verify/jwk-material verify/json common/buffer common/log
 * libs: jansson libcrypto
 * parser: verify/jwks verify/jwk verify/jwk-material verify/json
 */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "tests/fuzz/fuzz.h"
#include "verify/jwks.h"

static void look_at(const struct jwks *set)
{
	fuzz_require(jwks_count(set) && jwks_count(set) <= JWKS_KEYS_MAX);
	for (size_t i = 0; i < jwks_count(set); i++)
		fuzz_require(strlen(jwks_kid(set, i)) <= 256 && *jwks_kind(set, i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[512] = "";
	struct buffer notes;
	struct jwks *set;

	buffer_init(&notes, 65536);
	set = jwks_import(data, size, &notes, why, sizeof(why));
	fuzz_require(set || (*why && fuzz_is_plain(why)));
	for (size_t i = 0; i < notes.length; i++)
		fuzz_require(notes.data[i] == '\n' || (notes.data[i] >= 0x20 && notes.data[i] <= 0x7e));
	if (set)
		look_at(set);
	jwks_free(set);
	set = jwks_import_key(data, size, why, sizeof(why));
	fuzz_require(set || fuzz_is_plain(why));
	jwks_free(set);
	buffer_free(&notes);
	return 0;
}

/* --- keys that are made for the occasion ------------------------------------------------- */

static void put_base64url(struct buffer *b, const uint8_t *bytes, size_t length)
{
	char text[1024];
	int n = EVP_EncodeBlock((unsigned char *)text, bytes, (int)length);

	while (n && text[n - 1] == '=')
		n--;
	for (int i = 0; i < n; i++)
		buffer_put_u8(b, (uint8_t)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]));
}

static void put_number(struct buffer *b, const char *name, const EVP_PKEY *key, const char *parameter, int length)
{
	unsigned char bytes[512];
	BIGNUM *number = NULL;

	fuzz_require(EVP_PKEY_get_bn_param(key, parameter, &number) == 1);
	length = length ? length : BN_num_bytes(number);
	fuzz_require(BN_bn2binpad(number, bytes, length) == length);
	buffer_printf(b, ",\"%s\":\"", name);
	put_base64url(b, bytes, (size_t)length);
	buffer_printf(b, "\"");
	BN_free(number);
}

static void put_rsa(struct buffer *b)
{
	EVP_PKEY *key = EVP_RSA_gen(2048);

	buffer_printf(b, "{\"kty\":\"RSA\",\"kid\":\"rsa\",\"use\":\"sig\",\"alg\":\"RS256\",\"e\":\"AQAB\"");
	put_number(b, "n", key, OSSL_PKEY_PARAM_RSA_N, 0);
	buffer_printf(b, "}");
	EVP_PKEY_free(key);
}

static void put_ec(struct buffer *b, const char *curve, int length)
{
	EVP_PKEY *key = EVP_EC_gen(curve);

	buffer_printf(b, "{\"kty\":\"EC\",\"kid\":\"%s\",\"crv\":\"%s\",\"key_ops\":[\"verify\"]", curve, curve);
	put_number(b, "x", key, OSSL_PKEY_PARAM_EC_PUB_X, length);
	put_number(b, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y, length);
	buffer_printf(b, "}");
	EVP_PKEY_free(key);
}

static void put_ed(struct buffer *b)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	unsigned char raw[32];
	size_t size = sizeof(raw);

	fuzz_require(EVP_PKEY_get_raw_public_key(key, raw, &size) == 1);
	buffer_printf(b, "{\"kty\":\"OKP\",\"kid\":\"ed\",\"crv\":\"Ed25519\",\"x\":\"");
	put_base64url(b, raw, size);
	buffer_printf(b, "\"}");
	EVP_PKEY_free(key);
}

void fuzz_seeds(void)
{
	struct buffer b;

	buffer_init(&b, FUZZ_MAX);
	buffer_printf(&b, "{\"keys\":[");
	put_rsa(&b);
	buffer_printf(&b, ",");
	put_ec(&b, "P-256", 32);
	buffer_printf(&b, ",{\"kty\":\"oct\",\"k\":\"AAAA\"},");
	put_ed(&b);
	buffer_printf(&b, "]}");
	fuzz_seed(b.data, b.length);
	buffer_clear(&b);
	put_ec(&b, "P-384", 48);
	fuzz_seed(b.data, b.length);
	buffer_clear(&b);
	put_ec(&b, "P-521", 66);
	fuzz_seed(b.data, b.length);
	buffer_clear(&b);
	put_ed(&b);
	fuzz_seed(b.data, b.length);
	buffer_free(&b);
	fuzz_text("{\"keys\":[]}");
	fuzz_text("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"Aw\",\"kid\":\"\\u0007\"},{\"kty\":\"RSA\",\"use\":\"enc\"}]}");
}
