/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One key of a key set: each kind that must be believed, and each that must not.
 * links: verify/jwks verify/jwk verify/jwk-material verify/json common/buffer common/log
 * libs: jansson libcrypto
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/jose.h"
#include "verify/jwks.h"

static EVP_PKEY *rsa, *p256, *p384, *p521, *ed25519;
static char why[2048];

static int make_keys(void **state)
{
	(void)state;
	rsa = jose_key("RSA");
	p256 = jose_key("P-256");
	p384 = jose_key("P-384");
	p521 = jose_key("P-521");
	ed25519 = jose_key("ED25519");
	return 0;
}

static int free_keys(void **state)
{
	(void)state;
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(p256);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(p521);
	EVP_PKEY_free(ed25519);
	return 0;
}

/* An RSA JWK of these numbers, after zeros octets of 0; e NULL: 65537. */
static char *rsa_jwk(const BIGNUM *n, const BIGNUM *e, size_t zeros)
{
	uint8_t bytes[4096] = { 0 };
	char *first = jose_base64(bytes, zeros + (size_t)BN_bn2bin(n, bytes + zeros)), *second, *jwk;

	second = e ? jose_base64(bytes, (size_t)BN_bn2bin(e, bytes)) : strdup("AQAB");
	assert_true(asprintf(&jwk, "{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"%s\",\"e\":\"%s\"}", first, second) > 0);
	free(first);
	free(second);
	return jwk;
}

/* Alone in a set; the JWK is freed. NULL: it is taken. */
static const char *refusal(char *jwk)
{
	char *text = jose_set(jwk, NULL);
	struct jwks *set;
	bool good;

	why[0] = 0;
	set = jwks_import(text, strlen(text), NULL, why, sizeof(why));
	good = set != NULL;
	free(text);
	jwks_free(set);
	return good ? NULL : why;
}

static void taken(char *jwk)
{
	if (refusal(jwk))
		fail_msg("%s", why);
}

static void skipped(char *jwk, const char *word)
{
	if (!refusal(jwk) || !strstr(why, word))
		fail_msg("%s, not %s", why[0] ? why : "taken", word);
}

/* Odd, of so many bits, without a factor that could be found by trying. */
static BIGNUM *odd_number(int bits)
{
	BIGNUM *n = BN_new();
	bool again;

	do {
		again = false;
		assert_int_equal(BN_rand(n, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD), 1);
		for (unsigned int d = 3; d < 170; d += 2)
			again = again || BN_mod_word(n, d) == 0;
	} while (again);
	return n;
}

static void test_rsa_sizes(void **state)
{
	static const struct {
		int bits;
		const char *refused;
	} cases[] = { { 512, "less than 2048" }, { 1024, "less than 2048" }, { 2047, "less than 2048" }, { 2048, NULL }, { 3072, NULL },
		{ 8192, NULL }, { 8193, "more than 8192" }, { 16384 - 8, "more than 8192" } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		BIGNUM *n = odd_number(cases[i].bits);

		if (cases[i].refused)
			skipped(rsa_jwk(n, NULL, 0), cases[i].refused);
		else
			taken(rsa_jwk(n, NULL, 0));
		BN_free(n);
	}
}

/* A small exponent is told, and no other. */
static void test_weak(const BIGNUM *n)
{
	static const struct {
		const char *e, *kind;
	} cases[] = { { "3", "RSA-2048 e=3" }, { "FFFF", "RSA-2048 e=65535" }, { "10001", "RSA-2048" },
		{ "FFFFFFFFFFFFFFFF", "RSA-2048" } };
	BIGNUM *e = NULL;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *jwk;
		struct jwks *set;

		assert_true(BN_hex2bn(&e, cases[i].e) > 0);
		jwk = rsa_jwk(n, e, 0);
		set = jwks_import_key(jwk, strlen(jwk), why, sizeof(why));
		assert_non_null(set);
		assert_string_equal(jwks_kind(set, 0), cases[i].kind);
		assert_int_equal(jwks_weak(set, 0), i < 2);
		jwks_free(set);
		free(jwk);
	}
	BN_free(e);
}

static void test_rsa_numbers(void **state)
{
	static const struct {
		const char *e; /* hexadecimal */
		const char *refused;
	} cases[] = { { "1", "exponent" }, { "2", "exponent" }, { "3", NULL }, { "10000", "exponent" }, { "10001", NULL },
		{ "FFFFFFFFFFFFFFFF", NULL }, { "10000000000000001", "exponent" } };
	BIGNUM *n = odd_number(2048), *e = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(BN_hex2bn(&e, cases[i].e) > 0);
		if (cases[i].refused)
			skipped(rsa_jwk(n, e, 0), cases[i].refused);
		else
			taken(rsa_jwk(n, e, 0));
	}
	taken(rsa_jwk(n, NULL, 1));
	taken(rsa_jwk(n, NULL, 4));
	test_weak(n);
	skipped(rsa_jwk(n, NULL, 2000), "too long");
	BN_clear_bit(n, 0);
	skipped(rsa_jwk(n, NULL, 0), "even");
	do
		BN_add_word(n, BN_is_odd(n) ? 2 : 1);
	while (BN_mod_word(n, 101) != 0);
	skipped(rsa_jwk(n, NULL, 0), "factor");
	BN_free(n);
	BN_free(e);
}

/* A prime of the form that made Infineon's keys weak. */
static BIGNUM *marked_prime(const BIGNUM *product, BN_CTX *ctx)
{
	BIGNUM *power = BN_new(), *exponent = BN_new(), *base = BN_new(), *prime = BN_new(), *rest = BN_new();

	assert_int_equal(BN_set_word(base, 65537), 1);
	do {
		assert_int_equal(BN_rand(exponent, 128, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY), 1);
		assert_int_equal(BN_mod_exp(power, base, exponent, product, ctx), 1);
		assert_int_equal(BN_rand(prime, 1024, BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ANY), 1);
		assert_int_equal(BN_mod(rest, prime, product, ctx), 1);
		assert_int_equal(BN_sub(prime, prime, rest), 1);
		assert_int_equal(BN_add(prime, prime, power), 1);
	} while (BN_check_prime(prime, ctx, NULL) != 1);
	BN_free(power);
	BN_free(exponent);
	BN_free(base);
	BN_free(rest);
	return prime;
}

static void test_roca(void **state)
{
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *product = BN_new(), *p, *q, *n = BN_new();

	(void)state;
	assert_int_equal(BN_set_word(product, 2), 1);
	for (unsigned int prime = 3; prime <= 167; prime += 2) {
		bool is_prime = true;

		for (unsigned int d = 3; d * d <= prime; d += 2)
			is_prime = is_prime && prime % d != 0;
		if (is_prime)
			assert_int_equal(BN_mul_word(product, prime), 1);
	}
	p = marked_prime(product, ctx);
	q = marked_prime(product, ctx);
	assert_int_equal(BN_mul(n, p, q, ctx), 1);
	skipped(rsa_jwk(n, NULL, 0), "ROCA");
	/* One of the two primes alone does not mark it. */
	BN_free(q);
	q = BN_new();
	assert_int_equal(BN_generate_prime_ex(q, 1024, 0, NULL, NULL, NULL), 1);
	assert_int_equal(BN_mul(n, p, q, ctx), 1);
	taken(rsa_jwk(n, NULL, 0));
	BN_free(p);
	BN_free(q);
	BN_free(n);
	BN_free(product);
	BN_CTX_free(ctx);
}

static char *ec_jwk(const char *crv, const uint8_t *x, size_t x_length, const uint8_t *y, size_t y_length)
{
	char *first = jose_base64(x, x_length), *second = jose_base64(y, y_length), *jwk;

	assert_true(asprintf(&jwk, "{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"}", crv, first, second) > 0);
	free(first);
	free(second);
	return jwk;
}

static void coordinate(const EVP_PKEY *key, const char *name, uint8_t *out, size_t length)
{
	BIGNUM *number = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(key, name, &number), 1);
	assert_int_equal(BN_bn2binpad(number, out, (int)length), length);
	BN_free(number);
}

static void test_ec(void **state)
{
	/* p of P-256: a coordinate of x + p would be a second spelling. */
	static const uint8_t prime[32] = { 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	const EVP_PKEY *keys[] = { p256, p384, p521 };
	static const char *const names[] = { "P-256", "P-384", "P-521" };
	uint8_t x[67] = { 0 }, y[67] = { 0 };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		size_t length = jose_half(keys[i]);

		coordinate(keys[i], OSSL_PKEY_PARAM_EC_PUB_X, x + 1, length);
		coordinate(keys[i], OSSL_PKEY_PARAM_EC_PUB_Y, y + 1, length);
		taken(ec_jwk(names[i], x + 1, length, y + 1, length));
		skipped(ec_jwk(names[i], x, length + 1, y + 1, length), "as long as");
		skipped(ec_jwk(names[i], x + 1, length, y, length + 1), "as long as");
		skipped(ec_jwk(names[i], x + 1, length - 1, y + 1, length), "as long as");
		skipped(ec_jwk(names[i], x + 1, length, y + 1, length - 1), "as long as");
		skipped(ec_jwk(names[i], x + 1, length - 1, y, length + 1), "as long as");
		skipped(ec_jwk(names[(i + 1) % 3], x + 1, length, y + 1, length), "as long as");
		skipped(ec_jwk("secp256k1", x + 1, length, y + 1, length), "curve");
		skipped(ec_jwk("p-256", x + 1, length, y + 1, length), "curve");
		y[length] ^= 1;
		skipped(ec_jwk(names[i], x + 1, length, y + 1, length), "not on the curve");
		memset(x + 1, 0, length);
		memset(y + 1, 0, length);
		skipped(ec_jwk(names[i], x + 1, length, y + 1, length), "not on the curve");
	}
	skipped(ec_jwk("P-256", prime, 32, y + 1, 32), "not on the curve");
}

static char *ed_jwk(const char *crv, const uint8_t *x, size_t length)
{
	char *text = jose_base64(x, length), *jwk;

	assert_true(asprintf(&jwk, "{\"kty\":\"OKP\",\"crv\":\"%s\",\"x\":\"%s\"}", crv, text) > 0);
	free(text);
	return jwk;
}

static void test_ed25519(void **state)
{
	/* Of low order, by RFC 8032's numbers, and other spellings of 0, 1 and so on; with and without the sign of x. */
	static const char *const refused[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	uint8_t x[33] = { 0 };
	size_t length = 32;

	(void)state;
	assert_int_equal(EVP_PKEY_get_raw_public_key(ed25519, x, &length), 1);
	taken(ed_jwk("Ed25519", x, 32));
	skipped(ed_jwk("Ed25519", x, 31), "32 bytes");
	skipped(ed_jwk("Ed25519", x, 33), "32 bytes");
	skipped(ed_jwk("Ed448", x, 32), "curve");
	skipped(ed_jwk("X25519", x, 32), "curve");
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		long n = 0;
		uint8_t *bytes = OPENSSL_hexstr2buf(refused[i], &n);

		assert_int_equal(n, 32);
		skipped(ed_jwk("Ed25519", bytes, 32), "low order");
		bytes[31] |= 0x80;
		skipped(ed_jwk("Ed25519", bytes, 32), "low order");
		OPENSSL_free(bytes);
	}
}

static void test_words_of_a_key(void **state)
{
	static const struct {
		const char *more, *refused;
	} cases[] = {
		{ ",\"use\":\"sig\"", NULL },
		{ ",\"use\":\"enc\"", "use" },
		{ ",\"use\":\"SIG\"", "use" },
		{ ",\"use\":[\"sig\"]", "use" },
		{ ",\"use\":null", "use" },
		{ ",\"key_ops\":[\"verify\"]", NULL },
		{ ",\"key_ops\":[\"sign\"]", "key_ops" },
		{ ",\"key_ops\":[]", "key_ops" },
		{ ",\"key_ops\":\"verify\"", "key_ops" },
		{ ",\"key_ops\":[1,{}]", "key_ops" },
		{ ",\"use\":\"sig\",\"key_ops\":[\"encrypt\"]", "key_ops" },
		{ ",\"use\":\"enc\",\"key_ops\":[\"verify\"]", "use" },
		{ ",\"alg\":\"RS256\"", NULL },
		{ ",\"alg\":\"PS512\"", NULL },
		{ ",\"alg\":\"rs256\"", "alg" },
		{ ",\"alg\":\"ES256\"", "does not fit" },
		{ ",\"alg\":\"EdDSA\"", "does not fit" },
		{ ",\"alg\":\"HS256\"", "alg" },
		{ ",\"alg\":\"none\"", "alg" },
		{ ",\"alg\":\"RSA1_5\"", "alg" },
		{ ",\"alg\":\"RSA-OAEP\"", "alg" },
		{ ",\"alg\":null", "alg" },
		{ ",\"d\":\"AQ\"", "private" },
		{ ",\"p\":\"AQ\"", "private" },
		{ ",\"oth\":[]", "private" },
		{ ",\"k\":\"AQ\"", "private" },
		{ ",\"kid\":1", "kid" },
		{ ",\"kid\":null", "kid" },
		{ ",\"kid\":\"\"", NULL },
		{ ",\"something\":{\"else\":[1]}", NULL },
	};
	char kid[400];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].refused)
			skipped(jose_jwk(rsa, cases[i].more), cases[i].refused);
		else
			taken(jose_jwk(rsa, cases[i].more));
	}
	snprintf(kid, sizeof(kid), ",\"kid\":\"%0256d\"", 0);
	taken(jose_jwk(rsa, kid));
	snprintf(kid, sizeof(kid), ",\"kid\":\"%0257d\"", 0);
	skipped(jose_jwk(rsa, kid), "256 bytes");
}

static void test_members(void **state)
{
	static const struct {
		const char *jwk, *refused;
	} cases[] = {
		{ "{}", "kty" },
		{ "{\"kty\":1}", "kty" },
		{ "{\"kty\":\"rsa\"}", "kty" },
		{ "{\"kty\":\"ML-DSA\"}", "kty" },
		{ "{\"kty\":\"oct\"}", "symmetric" },
		{ "{\"kty\":\"oct\",\"k\":\"AAAA\"}", "private" },
		{ "{\"kty\":\"RSA\"}", "missing" },
		{ "{\"kty\":\"RSA\",\"n\":3,\"e\":\"AQAB\"}", "missing" },
		{ "{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"}", "base64url" },
		{ "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB=\"}", "base64url" },
		{ "{\"kty\":\"RSA\",\"n\":\"AQ AB\",\"e\":\"AQAB\"}", "base64url" },
		{ "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"\"}", "base64url" },
		{ "{\"kty\":\"EC\"}", "curve" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\"}", "missing" },
		{ "{\"kty\":\"OKP\",\"x\":\"AA\"}", "curve" },
		{ "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":[]}", "missing" },
		{ "7", "object" },
		{ "[]", "object" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		skipped(strdup(cases[i].jwk), cases[i].refused);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rsa_sizes),
		cmocka_unit_test(test_rsa_numbers),
		cmocka_unit_test(test_roca),
		cmocka_unit_test(test_ec),
		cmocka_unit_test(test_ed25519),
		cmocka_unit_test(test_words_of_a_key),
		cmocka_unit_test(test_members),
	};

	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
