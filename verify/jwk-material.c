/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public key in a JWK. Checked here, once, for everything that would make
 * a signature by it worth nothing.
 */
#include "verify/jwk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <stdlib.h>
#include <string.h>

#include "common/buffer.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192 /* larger ones only cost time */
#define MEMBER_MAX 2048 /* bytes of n: some write leading zeros */
#define POINT_MAX (1 + 2 * 66) /* uncompressed, on P-521 */

static bool member(const json_t *object, const char *name, struct buffer *bytes, const char **why)
{
	const json_t *value = json_object_get(object, name);

	if (!json_is_string(value)) {
		*why = "a member of the key is missing or not a text";
		return false;
	}
	if (!buffer_put_base64url(bytes, json_string_value(value), json_string_length(value)) || bytes->length == 0) {
		*why = "a member of the key is not canonical base64url, or too long";
		return false;
	}
	return true;
}

static EVP_PKEY *build(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY_CTX *ctx = params ? EVP_PKEY_CTX_new_from_name(NULL, type, NULL) : NULL;
	EVP_PKEY *key = NULL;

	if (ctx && EVP_PKEY_fromdata_init(ctx) == 1)
		EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static bool is_prime(unsigned int number)
{
	for (unsigned int i = 2; i * i <= number; i++)
		if (number % i == 0)
			return false;
	return true;
}

/* Is remainder a power of 65537 modulo prime? */
static bool is_power(unsigned int remainder, unsigned int prime)
{
	unsigned int power = 1;

	do {
		if (power == remainder)
			return true;
		power = power * (65537 % prime) % prime;
	} while (power != 1);
	return false;
}

/*
 * The primes of an Infineon library (CVE-2017-15361, "ROCA") were all of the
 * form k * M + 65537^a mod M, M being the product of the first primes. So
 * their product is a power of 65537 modulo each of them, which a modulus of
 * honest origin is once in 2^27. Such a key can be factored.
 */
static const char *weak_modulus(const BIGNUM *n)
{
	bool marked = true;

	for (unsigned int prime = 3; prime <= 167; prime += 2) {
		unsigned int remainder;

		if (!is_prime(prime))
			continue;
		remainder = (unsigned int)BN_mod_word(n, prime);
		if (remainder == 0)
			return "the RSA modulus has a small factor";
		marked = marked && is_power(remainder, prime);
	}
	return marked ? "the RSA key has the ROCA weakness (CVE-2017-15361)" : NULL;
}

static const char *check_rsa(const BIGNUM *n, const BIGNUM *e)
{
	if (BN_num_bits(n) < RSA_BITS_MIN)
		return "an RSA key of less than 2048 bits";
	if (BN_num_bits(n) > RSA_BITS_MAX)
		return "an RSA key of more than 8192 bits";
	if (!BN_is_odd(n))
		return "the RSA modulus is even";
	if (!BN_is_odd(e) || BN_is_one(e) || BN_num_bits(e) > 64)
		return "the RSA exponent is 1, even or longer than 64 bits";
	return weak_modulus(n);
}

static EVP_PKEY *import_rsa(const json_t *object, const char **why)
{
	OSSL_PARAM_BLD *builder = NULL;
	OSSL_PARAM *params = NULL;
	BIGNUM *n = NULL, *e = NULL;
	struct buffer n_bytes, e_bytes;
	EVP_PKEY *key = NULL;

	buffer_init(&n_bytes, MEMBER_MAX);
	buffer_init(&e_bytes, MEMBER_MAX);
	if (!member(object, "n", &n_bytes, why) || !member(object, "e", &e_bytes, why))
		goto out;
	*why = "out of memory";
	n = BN_bin2bn(n_bytes.data, (int)n_bytes.length, NULL);
	e = BN_bin2bn(e_bytes.data, (int)e_bytes.length, NULL);
	if (!n || !e)
		goto out;
	*why = check_rsa(n, e);
	if (*why)
		goto out;
	*why = "OpenSSL does not take the RSA key";
	builder = OSSL_PARAM_BLD_new();
	if (builder && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
		OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		params = OSSL_PARAM_BLD_to_param(builder);
	key = build("RSA", params);
out:
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(builder);
	BN_free(n);
	BN_free(e);
	buffer_free(&n_bytes);
	buffer_free(&e_bytes);
	return key;
}

static const struct {
	const char *crv, *group;
	enum jwk_type type;
	size_t bytes; /* of a coordinate */
} curves[] = {
	{ "P-256", "prime256v1", JWK_P256, 32 },
	{ "P-384", "secp384r1", JWK_P384, 48 },
	{ "P-521", "secp521r1", JWK_P521, 66 },
};

/* These curves' groups are of prime order, so a point on the curve that is not infinity is all there is to ask. */
static bool good_point(EVP_PKEY *key)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool good = ctx && EVP_PKEY_public_check_quick(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	return good;
}

static EVP_PKEY *import_point(const json_t *object, size_t curve, const char **why)
{
	char group[16];
	struct buffer point;
	EVP_PKEY *key = NULL;
	size_t bytes = curves[curve].bytes;

	buffer_init(&point, POINT_MAX + 3); /* of which the decoder wants to have 2 to spare */
	buffer_put_u8(&point, POINT_CONVERSION_UNCOMPRESSED);
	if (!member(object, "x", &point, why))
		goto out;
	*why = "a coordinate is not as long as the curve wants it";
	if (point.length != 1 + bytes || !member(object, "y", &point, why))
		goto out;
	*why = "a coordinate is not as long as the curve wants it";
	if (point.length != 1 + 2 * bytes)
		goto out;
	*why = "the point is not on the curve";
	strcpy(group, curves[curve].group);
	key = build("EC", (OSSL_PARAM[]){
				  OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
				  OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point.data, point.length),
				  OSSL_PARAM_construct_end(),
			  });
	if (key && !good_point(key)) {
		EVP_PKEY_free(key);
		key = NULL;
	}
out:
	buffer_free(&point);
	return key;
}

static EVP_PKEY *import_ec(const json_t *object, enum jwk_type *type, const char **why)
{
	const char *crv = json_string_value(json_object_get(object, "crv"));

	for (size_t i = 0; crv && i < sizeof(curves) / sizeof(curves[0]); i++) {
		if (strcmp(curves[i].crv, crv) == 0) {
			*type = curves[i].type;
			return import_point(object, i, why);
		}
	}
	*why = "the curve is not one that is known here";
	return NULL;
}

/*
 * The y of the points of order 4, 1, 2 and 8, without the sign of x in the
 * highest bit. For a key among them anybody can make signatures.
 */
static const uint8_t low_order[][32] = {
	{ 0 },
	{ 1 },
	{ 0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
	{ 0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c,
		0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a },
	{ 0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3,
		0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05 },
};

/* y at or above 2^255 - 19: a second spelling of a small one. Little endian. */
static bool is_reduced(const uint8_t y[32])
{
	for (size_t i = 1; i < 31; i++)
		if (y[i] != 0xff)
			return true;
	return y[31] != 0x7f || y[0] < 0xed;
}

static EVP_PKEY *import_ed25519(const json_t *object, const char **why)
{
	const char *crv = json_string_value(json_object_get(object, "crv"));
	struct buffer x;
	EVP_PKEY *key = NULL;
	uint8_t y[32];

	buffer_init(&x, MEMBER_MAX);
	*why = "the curve is not one that is known here";
	if (!crv || strcmp(crv, "Ed25519") != 0 || !member(object, "x", &x, why))
		goto out;
	*why = "an Ed25519 key is 32 bytes";
	if (x.length != sizeof(y))
		goto out;
	memcpy(y, x.data, sizeof(y));
	y[31] &= 0x7f;
	*why = "the Ed25519 key is a point of low order, or not canonical";
	if (!is_reduced(y))
		goto out;
	for (size_t i = 0; i < sizeof(low_order) / sizeof(low_order[0]); i++)
		if (memcmp(low_order[i], y, sizeof(y)) == 0)
			goto out;
	*why = "OpenSSL does not take the Ed25519 key";
	key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x.data, x.length);
out:
	buffer_free(&x);
	return key;
}

EVP_PKEY *jwk_material(const json_t *object, enum jwk_type *type, const char **why)
{
	const char *kty = json_string_value(json_object_get(object, "kty"));

	if (!kty) {
		*why = "it has no kty";
		return NULL;
	}
	if (strcmp(kty, "RSA") == 0) {
		*type = JWK_RSA;
		return import_rsa(object, why);
	}
	if (strcmp(kty, "EC") == 0)
		return import_ec(object, type, why);
	if (strcmp(kty, "OKP") == 0) {
		*type = JWK_ED25519;
		return import_ed25519(object, why);
	}
	*why = strcmp(kty, "oct") == 0 ? "a symmetric key has no place in a key set that others can read"
				       : "its kty is not one that is known here";
	return NULL;
}
