/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signature layer: what is good, and all that must not be taken for it.
 * links: verify/jws verify/jwks verify/jwk verify/jwk-material verify/jwt verify/json verify/reason common/buffer common/log
 * libs: jansson libcrypto
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/jose.h"
#include "verify/jws.h"

#define CLAIMS "{\"iss\":\"https://issuer.example\",\"sub\":\"s\"}"

static EVP_PKEY *rsa, *p256, *p384, *p521, *ed25519, *stranger;
static struct jwks *keys; /* of all but the stranger, by the kids r, e2, e3, e5 and ed */

static const struct jws_rules lax;

static int make_keys(void **state)
{
	char *jwks[5], *text, why[2048];

	(void)state;
	rsa = jose_key("RSA");
	stranger = jose_key("RSA");
	p256 = jose_key("P-256");
	p384 = jose_key("P-384");
	p521 = jose_key("P-521");
	ed25519 = jose_key("ED25519");
	jwks[0] = jose_jwk(rsa, ",\"kid\":\"r\"");
	jwks[1] = jose_jwk(p256, ",\"kid\":\"e2\"");
	jwks[2] = jose_jwk(p384, ",\"kid\":\"e3\"");
	jwks[3] = jose_jwk(p521, ",\"kid\":\"e5\"");
	jwks[4] = jose_jwk(ed25519, ",\"kid\":\"ed\"");
	assert_true(asprintf(&text, "{\"keys\":[%s,%s,%s,%s,%s]}", jwks[0], jwks[1], jwks[2], jwks[3], jwks[4]) > 0);
	keys = jwks_import(text, strlen(text), NULL, why, sizeof(why));
	assert_non_null(keys);
	free(text);
	for (size_t i = 0; i < 5; i++)
		free(jwks[i]);
	return 0;
}

static int free_keys(void **state)
{
	(void)state;
	jwks_free(keys);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(stranger);
	EVP_PKEY_free(p256);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(p521);
	EVP_PKEY_free(ed25519);
	return 0;
}

/* As keyfob-verifyd does it, and as the door does; the two must agree on a payload of claims. */
static enum reason judge_bytes(
	const struct jwks *set, const char *token, size_t length, const struct jws_rules *rules, enum jwt_error *error)
{
	enum reason reason, other;
	struct jwt jwt;

	*error = jwt_parse_signed(&jwt, token, length);
	if (*error)
		return REASON_TOKEN_FORM;
	assert_null(jwt.claims);
	reason = jws_verify(&jwt, token, rules, set);
	jwt_free(&jwt);
	if (jwt_parse(&jwt, token, length) == JWT_OK) {
		other = jws_verify(&jwt, token, rules, set);
		assert_int_equal(reason, other);
		jwt_free(&jwt);
	}
	return reason;
}

static enum reason judge(const char *token, const struct jws_rules *rules)
{
	enum jwt_error error;

	return judge_bytes(keys, token, strlen(token), rules, &error);
}

static EVP_PKEY *key_of(const char *alg)
{
	if (alg[0] == 'R' || alg[0] == 'P')
		return rsa;
	if (alg[0] != 'E' || alg[1] != 'S')
		return ed25519;
	return alg[2] == '2' ? p256 : alg[2] == '3' ? p384 : p521;
}

static const struct {
	const char *alg, *kid;
} algs[] = {
	{ "RS256", "r" },
	{ "RS384", "r" },
	{ "RS512", "r" },
	{ "PS256", "r" },
	{ "PS384", "r" },
	{ "PS512", "r" },
	{ "ES256", "e2" },
	{ "ES384", "e3" },
	{ "ES512", "e5" },
	{ "EdDSA", "ed" },
	{ "Ed25519", "ed" },
};

#define ALGS (sizeof(algs) / sizeof(algs[0]))

static void test_algorithms(void **state)
{
	/* The same digest and another padding, or another digest, under a header's other name. */
	char header[100];

	(void)state;
	for (size_t signs = 0; signs < ALGS; signs++) {
		for (size_t says = 0; says < ALGS; says++) {
			bool both_ed = signs >= 9 && says >= 9, same_key = strcmp(algs[signs].kid, algs[says].kid) == 0;
			enum reason expected = signs == says || both_ed ? REASON_OK : same_key ? REASON_SIGNATURE : REASON_KEY_UNUSABLE;
			enum reason reason;
			char *token;

			snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\"}", algs[says].alg, algs[signs].kid);
			token = jose_token(key_of(algs[signs].alg), algs[signs].alg, header, CLAIMS);
			reason = judge(token, &lax);
			if (reason != expected)
				fail_msg("signed %s, says %s: %s", algs[signs].alg, algs[says].alg, reason_code(reason));
			free(token);
		}
	}
}

static void test_payloads(void **state)
{
	static const char *const payloads[] = { "", " ", "x", "[1]", "{\"a\":1,\"a\":2}", "\xff\xfe", "a.b.c" };
	enum jwt_error error;

	(void)state;
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
		char *token = jose_token(p256, "ES256", "{\"alg\":\"ES256\",\"kid\":\"e2\"}", payloads[i]);
		struct jwt jwt;

		assert_int_equal(judge_bytes(keys, token, strlen(token), &lax, &error), REASON_OK);
		assert_int_equal(jwt_parse(&jwt, token, strlen(token)), i == 0 ? JWT_EFORM : JWT_ECLAIMS);
		free(token);
	}
}

static void test_headers(void **state)
{
	static const struct {
		const char *header;
		enum reason reason, strict; /* strict: a kid needed, no EdDSA */
	} cases[] = {
		{ "{\"alg\":\"RS256\",\"kid\":\"r\"}", REASON_OK, REASON_OK },
		{ "{\"alg\":\"RS256\"}", REASON_OK, REASON_KID },
		{ "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", REASON_OK, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"Ed25519\",\"kid\":\"ed\"}", REASON_OK, REASON_ALG_NOT_ALLOWED },
		{ "{\"kid\":\"r\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":null}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":[\"RS256\"]}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"none\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"None\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"NONE\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"rs256\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"RS256 \"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"HS256\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"HS512\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"RSA1_5\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"RS1\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"ES256K\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"Ed448\"}", REASON_ALG_NOT_ALLOWED, REASON_ALG_NOT_ALLOWED },
		{ "{\"alg\":\"RS256\",\"kid\":\"r\",\"crit\":[\"exp\"]}", REASON_CRIT, REASON_CRIT },
		{ "{\"alg\":\"RS256\",\"kid\":\"r\",\"crit\":[\"alg\"]}", REASON_CRIT, REASON_CRIT },
		{ "{\"alg\":\"RS256\",\"kid\":\"r\",\"crit\":[]}", REASON_CRIT, REASON_CRIT },
		{ "{\"alg\":\"RS256\",\"kid\":\"r\",\"crit\":null}", REASON_CRIT, REASON_CRIT },
		{ "{\"alg\":\"RS256\",\"kid\":\"r\",\"crit\":\"exp\"}", REASON_CRIT, REASON_CRIT },
		{ "{\"alg\":\"RS256\",\"kid\":\"r\",\"b64\":false}", REASON_CRIT, REASON_CRIT },
		{ "{\"alg\":\"RS256\",\"kid\":\"r\",\"b64\":true}", REASON_CRIT, REASON_CRIT },
		{ "{\"alg\":\"RS256\",\"kid\":1}", REASON_KID, REASON_KID },
		{ "{\"alg\":\"RS256\",\"kid\":null}", REASON_KID, REASON_KID },
		{ "{\"alg\":\"RS256\",\"kid\":[\"r\"]}", REASON_KID, REASON_KID },
		{ "{\"alg\":\"RS256\",\"kid\":\"\"}", REASON_KID_UNKNOWN, REASON_KID_UNKNOWN },
		{ "{\"alg\":\"RS256\",\"kid\":\"R\"}", REASON_KID_UNKNOWN, REASON_KID_UNKNOWN },
		{ "{\"alg\":\"RS256\",\"kid\":\"r/../r\"}", REASON_KID_UNKNOWN, REASON_KID_UNKNOWN },
		{ "{\"alg\":\"RS256\",\"kid\":\"e2\"}", REASON_KEY_UNUSABLE, REASON_KEY_UNUSABLE },
		{ "{\"alg\":\"RS256\",\"kid\":\"r\",\"jku\":\"https://evil.example/"
		  "\",\"x5u\":\"x\",\"x5c\":[\"x\"],\"jwk\":{\"kty\":\"oct\"}}",
			REASON_OK, REASON_OK },
		{ "{\"alg\":\"RS256\",\"kid\":\"r\",\"typ\":\"anything\",\"cty\":\"JWT\",\"zip\":\"DEF\"}", REASON_OK, REASON_OK },
	};
	static const struct jws_rules strict = { .kid_needed = true, .no_eddsa = true };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool ed = strstr(cases[i].header, "Ed") && strstr(cases[i].header, "ed\"");
		char *token = jose_token(ed ? ed25519 : rsa, ed ? "EdDSA" : "RS256", cases[i].header, CLAIMS);

		if (judge(token, &lax) != cases[i].reason || judge(token, &strict) != cases[i].strict)
			fail_msg("%s: %s, strictly %s", cases[i].header, reason_code(judge(token, &lax)),
				reason_code(judge(token, &strict)));
		free(token);
	}
}

static void test_kid_length(void **state)
{
	char header[600], *token;

	(void)state;
	snprintf(header, sizeof(header), "{\"alg\":\"RS256\",\"kid\":\"%0256d\"}", 0);
	token = jose_token(rsa, "RS256", header, CLAIMS);
	assert_int_equal(judge(token, &lax), REASON_KID_UNKNOWN);
	free(token);
	snprintf(header, sizeof(header), "{\"alg\":\"RS256\",\"kid\":\"%0257d\"}", 0);
	token = jose_token(rsa, "RS256", header, CLAIMS);
	assert_int_equal(judge(token, &lax), REASON_KID);
	free(token);
}

/* A key of the attacker's, offered by the token itself. */
static void test_embedded_key(void **state)
{
	char *jwk = jose_jwk(stranger, ""), *header, *token;

	(void)state;
	assert_true(asprintf(&header, "{\"alg\":\"RS256\",\"kid\":\"r\",\"jwk\":%s}", jwk) > 0);
	token = jose_token(stranger, "RS256", header, CLAIMS);
	assert_int_equal(judge(token, &lax), REASON_SIGNATURE);
	free(token);
	free(header);
	assert_true(asprintf(&header, "{\"alg\":\"RS256\",\"jwk\":%s}", jwk) > 0);
	token = jose_token(stranger, "RS256", header, CLAIMS);
	assert_int_equal(judge(token, &lax), REASON_SIGNATURE);
	free(token);
	free(header);
	free(jwk);
}

/* The public key, which everybody has, as the secret of an HMAC. */
static void test_confusion(void **state)
{
	char *unsigned_token = jose_join("{\"alg\":\"HS256\",\"kid\":\"r\"}", CLAIMS, NULL, 0), *token, *pem;
	BIO *bio = BIO_new(BIO_s_mem());
	unsigned int length = 0;
	uint8_t mac[64];
	long n;

	(void)state;
	assert_int_equal(PEM_write_bio_PUBKEY(bio, rsa), 1);
	n = BIO_get_mem_data(bio, &pem);
	HMAC(EVP_sha256(), pem, (int)n, (uint8_t *)unsigned_token, strlen(unsigned_token) - 1, mac, &length);
	token = jose_join("{\"alg\":\"HS256\",\"kid\":\"r\"}", CLAIMS, mac, length);
	assert_int_equal(judge(token, &lax), REASON_ALG_NOT_ALLOWED);
	free(token);
	token = jose_join("{\"alg\":\"RS256\",\"kid\":\"r\"}", CLAIMS, mac, length);
	assert_int_equal(judge(token, &lax), REASON_SIGNATURE);
	free(token);
	free(unsigned_token);
	BIO_free(bio);
}

static enum reason judge_signature(const char *header, const uint8_t *signature, size_t length)
{
	char *token = jose_join(header, CLAIMS, signature, length);
	enum reason reason = judge(token, &lax);

	free(token);
	return reason;
}

static void test_signature_sizes(void **state)
{
	char header[100];

	(void)state;
	for (size_t i = 0; i < ALGS; i++) {
		uint8_t signature[1026] = { 0 };
		char *text;
		size_t n;

		snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\"}", algs[i].alg, algs[i].kid);
		text = jose_join(header, CLAIMS, NULL, 0);
		n = jose_sign_bytes(key_of(algs[i].alg), algs[i].alg, RSA_PSS_SALTLEN_DIGEST, text, strlen(text) - 1, signature + 1);
		signature[n + 1] = 0;
		assert_int_equal(judge_signature(header, signature + 1, n), REASON_OK);
		assert_int_equal(judge_signature(header, signature + 1, n - 1), REASON_SIGNATURE);
		assert_int_equal(judge_signature(header, signature + 1, n + 1), REASON_SIGNATURE);
		assert_int_equal(judge_signature(header, signature, n + 1), REASON_SIGNATURE);
		assert_int_equal(judge_signature(header, signature, 0), REASON_SIGNATURE);
		assert_int_equal(judge_signature(header, signature + 1, n / 2), REASON_SIGNATURE);
		free(text);
	}
}

static void test_pss_salt(void **state)
{
	static const char header[] = "{\"alg\":\"PS256\",\"kid\":\"r\"}";
	static const struct {
		int salt;
		enum reason reason;
	} cases[] = { { 32, REASON_OK }, { 0, REASON_SIGNATURE }, { 20, REASON_SIGNATURE }, { 31, REASON_SIGNATURE },
		{ 33, REASON_SIGNATURE }, { 64, REASON_SIGNATURE }, { RSA_PSS_SALTLEN_MAX, REASON_SIGNATURE } };
	char *text = jose_join(header, CLAIMS, NULL, 0);
	uint8_t signature[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t n = jose_sign_bytes(rsa, "PS256", cases[i].salt, text, strlen(text) - 1, signature);

		assert_int_equal(judge_signature(header, signature, n), cases[i].reason);
	}
	free(text);
}

/* The mask made with another digest than the message's. */
static void test_pss_mask(void **state)
{
	static const char header[] = "{\"alg\":\"PS256\",\"kid\":\"r\"}";
	char *text = jose_join(header, CLAIMS, NULL, 0);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t signature[1024];
	size_t n = sizeof(signature);
	EVP_PKEY_CTX *params;

	(void)state;
	assert_int_equal(EVP_DigestSignInit(ctx, &params, EVP_sha256(), NULL, rsa), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(params, RSA_PKCS1_PSS_PADDING), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(params, 32), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md(params, EVP_sha1()), 1);
	assert_int_equal(EVP_DigestSign(ctx, signature, &n, (uint8_t *)text, strlen(text) - 1), 1);
	assert_int_equal(judge_signature(header, signature, n), REASON_SIGNATURE);
	EVP_MD_CTX_free(ctx);
	free(text);
}

static void test_ecdsa_range(void **state)
{
	static const struct {
		const char *alg, *kid;
		int nid;
	} curves[] = { { "ES256", "e2", NID_X9_62_prime256v1 }, { "ES384", "e3", NID_secp384r1 }, { "ES512", "e5", NID_secp521r1 } };
	char header[100];

	(void)state;
	for (size_t c = 0; c < 3; c++) {
		EC_GROUP *group = EC_GROUP_new_by_curve_name(curves[c].nid);
		const BIGNUM *order = EC_GROUP_get0_order(group);
		uint8_t good[1024], values[5][66] = { 0 }, signature[132];
		size_t half = jose_half(key_of(curves[c].alg));
		BIGNUM *n = BN_dup(order);
		char *text;

		snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\"}", curves[c].alg, curves[c].kid);
		text = jose_join(header, CLAIMS, NULL, 0);
		assert_int_equal(jose_sign_bytes(key_of(curves[c].alg), curves[c].alg, 0, text, strlen(text) - 1, good), 2 * half);
		assert_int_equal(judge_signature(header, good, 2 * half), REASON_OK);
		/* 0, 1, n - 1, n and all ones, for r and s; and each beside the half that is right. */
		values[1][half - 1] = 1;
		BN_bn2binpad(order, values[3], (int)half);
		BN_sub_word(n, 1);
		BN_bn2binpad(n, values[2], (int)half);
		memset(values[4], 0xff, half);
		for (size_t i = 0; i < 25; i++) {
			memcpy(signature, values[i / 5], half);
			memcpy(signature + half, values[i % 5], half);
			assert_int_equal(judge_signature(header, signature, 2 * half), REASON_SIGNATURE);
		}
		for (size_t i = 0; i < 5; i++) {
			memcpy(signature, good, 2 * half);
			memcpy(signature, values[i], half);
			assert_int_equal(judge_signature(header, signature, 2 * half), REASON_SIGNATURE);
			memcpy(signature, good, 2 * half);
			memcpy(signature + half, values[i], half);
			assert_int_equal(judge_signature(header, signature, 2 * half), REASON_SIGNATURE);
		}
		/* s + n is s again, where it has room: a second spelling. */
		BN_bin2bn(good + half, (int)half, n);
		BN_add(n, n, order);
		if (BN_num_bytes(n) <= (int)half) {
			memcpy(signature, good, 2 * half);
			BN_bn2binpad(n, signature + half, (int)half);
			assert_int_equal(judge_signature(header, signature, 2 * half), REASON_SIGNATURE);
		}
		BN_free(n);
		EC_GROUP_free(group);
		free(text);
	}
}

/* S + L is S again (RFC 8032 section 5.1.7 wants it refused). */
static void test_ed25519_range(void **state)
{
	static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10 };
	static const char header[] = "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}";
	char *text = jose_join(header, CLAIMS, NULL, 0);
	unsigned int carry = 0;
	uint8_t signature[1024];

	(void)state;
	assert_int_equal(jose_sign_bytes(ed25519, "EdDSA", 0, text, strlen(text) - 1, signature), 64);
	assert_int_equal(judge_signature(header, signature, 64), REASON_OK);
	for (size_t i = 0; i < 32; i++) {
		carry += (unsigned int)signature[32 + i] + order[i];
		signature[32 + i] = (uint8_t)carry;
		carry >>= 8;
	}
	assert_int_equal(judge_signature(header, signature, 64), REASON_SIGNATURE);
	free(text);
}

/* A signature of one key moved, or of other bytes. */
static void test_moved(void **state)
{
	static const char header[] = "{\"alg\":\"RS256\",\"kid\":\"r\"}";
	char *token = jose_token(rsa, "RS256", header, CLAIMS), *other = jose_token(rsa, "RS256", header, "{\"sub\":\"t\"}"), *mixed;

	(void)state;
	assert_true(asprintf(&mixed, "%.*s%s", (int)(strrchr(token, '.') - token), token, strrchr(other, '.')) > 0);
	assert_int_equal(judge(mixed, &lax), REASON_SIGNATURE);
	free(mixed);
	free(other);
	free(token);
	token = jose_token(stranger, "RS256", header, CLAIMS);
	assert_int_equal(judge(token, &lax), REASON_SIGNATURE);
	free(token);
}

/* Published examples: RFC 7515 appendix A.3, RFC 8037 appendix A.4. */
static void test_published(void **state)
{
	static const struct {
		const char *jwk, *token;
	} cases[] = {
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
		  "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
			"eyJhbGciOiJFUzI1NiJ9."
			"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
			"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q" },
		{ "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
			"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char why[2048];
		struct jwks *set = jwks_import_key(cases[i].jwk, strlen(cases[i].jwk), why, sizeof(why));
		enum jwt_error error;

		assert_non_null(set);
		assert_int_equal(judge_bytes(set, cases[i].token, strlen(cases[i].token), &lax, &error), REASON_OK);
		jwks_free(set);
	}
}

/* Every bit of a token, header and dots and all: none may be turned. */
static void test_bits(void **state)
{
	static const struct {
		const char *alg, *header;
	} cases[] = { { "ES256", "{\"alg\":\"ES256\",\"kid\":\"e2\"}" }, { "EdDSA", "{\"alg\":\"EdDSA\"}" },
		{ "RS256", "{\"alg\":\"RS256\"}" } };
	enum jwt_error error;

	(void)state;
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		char *token = jose_token(key_of(cases[c].alg), cases[c].alg, cases[c].header, "{}");
		size_t length = strlen(token);

		assert_int_equal(judge(token, &lax), REASON_OK);
		for (size_t i = 0; i < 8 * length; i++) {
			token[i / 8] = (char)(token[i / 8] ^ 1 << i % 8);
			if (judge_bytes(keys, token, length, &lax, &error) == REASON_OK)
				fail_msg("%s: bit %zu makes no difference", cases[c].alg, i);
			token[i / 8] = (char)(token[i / 8] ^ 1 << i % 8);
		}
		assert_int_equal(judge(token, &lax), REASON_OK);
		free(token);
	}
}

/* A genuine signature over what other readers take, each in its own way. */
static void test_lax_forms(void **state)
{
	static const struct {
		const char *header, *payload;
		enum jwt_error error;
	} cases[] = {
		{ "{\"alg\":\"RS256\",\"alg\":\"RS256\"}", CLAIMS, JWT_EHEADER },
		{ "{\"alg\":\"none\",\"alg\":\"RS256\"}", CLAIMS, JWT_EHEADER },
		{ "{\"alg\":\"RS256\",\"\\u0061lg\":\"none\"}", CLAIMS, JWT_EHEADER },
		{ "{\"alg\":\"RS256\",\"x\":\"\xff\"}", CLAIMS, JWT_EHEADER },
		{ "{\"alg\":\"RS256\\u0000\"}", CLAIMS, JWT_EHEADER },
		{ "[\"RS256\"]", CLAIMS, JWT_EHEADER },
		{ "{\"alg\":\"RS256\"}}", CLAIMS, JWT_EHEADER },
		{ "{\"alg\":\"RS256\"}", "{\"sub\":\"a\",\"sub\":\"b\"}", JWT_ECLAIMS },
		{ "{\"alg\":\"RS256\"}", "{\"sub\":\"admin\\u0000x\"}", JWT_ECLAIMS },
		{ "{\"alg\":\"RS256\"}", "{\"sub\":\"\xc0\x80\"}", JWT_ECLAIMS },
		{ "{\"alg\":\"RS256\"}", "{\"exp\":1e400}", JWT_ECLAIMS },
		{ "{\"alg\":\"RS256\"}", "{\"exp\":18446744073709551615}", JWT_ECLAIMS },
		{ "{\"alg\":\"RS256\"}", "[]", JWT_ECLAIMS },
		{ "{\"alg\":\"RS256\"}", "{} {}", JWT_ECLAIMS },
	};
	struct jwt jwt;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *token = jose_token(rsa, "RS256", cases[i].header, cases[i].payload);

		if (jwt_parse(&jwt, token, strlen(token)) != cases[i].error)
			fail_msg("%s %s", cases[i].header, cases[i].payload);
		free(token);
	}
}

/* Cut anywhere, or with anything around it, it is another token. */
static void test_around(void **state)
{
	static const char *const around[] = { "%s.", "%s.x", ".%s", "%s\n", "\n%s", " %s", "%s ", "%s=", "%s==", "%sA", "A%s", "%s\r\n",
		"%s%%00" };
	char *token = jose_token(p256, "ES256", "{\"alg\":\"ES256\",\"kid\":\"e2\"}", CLAIMS), text[600];
	enum jwt_error error;

	(void)state;
	for (size_t length = 0; length < strlen(token); length++)
		assert_int_not_equal(judge_bytes(keys, token, length, &lax, &error), REASON_OK);
	/* With the NUL that ends it counted in. */
	assert_int_not_equal(judge_bytes(keys, token, strlen(token) + 1, &lax, &error), REASON_OK);
	for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++) {
		const char *place = strstr(around[i], "%s");

		snprintf(text, sizeof(text), "%.*s%s%s", (int)(place - around[i]), around[i], token, place + 2);
		assert_int_not_equal(judge(text, &lax), REASON_OK);
	}
	free(token);
}

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void test_mutations(void **state)
{
	static const char pieces[] = "ABCXYZabcxyz0189-_.=+/ \n";
	char *token = jose_token(ed25519, "EdDSA", "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", CLAIMS);
	size_t whole = strlen(token);
	time_t end = time(NULL) + 2;
	uint32_t seed = 20250102;
	enum jwt_error error;
	char text[600];

	(void)state;
	for (int trial = 0; trial < 10000 && time(NULL) < end; trial++) {
		size_t length = whole;

		memcpy(text, token, length);
		for (uint32_t change = next(&seed) % 4 + 1; change > 0; change--) {
			size_t at = next(&seed) % length;

			if (next(&seed) % 4 == 0) {
				memmove(text + at, text + at + 1, length - at - 1);
				length--;
			} else if (next(&seed) % 4 == 0) {
				memmove(text + at + 1, text + at, length - at);
				text[at] = pieces[next(&seed) % sizeof(pieces)];
				length++;
			} else {
				text[at] = pieces[next(&seed) % sizeof(pieces)];
			}
		}
		if (length == whole && memcmp(text, token, whole) == 0)
			continue;
		if (judge_bytes(keys, text, length, &lax, &error) == REASON_OK)
			fail_msg("taken: %.*s", (int)length, text);
	}
	free(token);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_algorithms),
		cmocka_unit_test(test_payloads),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_kid_length),
		cmocka_unit_test(test_embedded_key),
		cmocka_unit_test(test_confusion),
		cmocka_unit_test(test_signature_sizes),
		cmocka_unit_test(test_pss_salt),
		cmocka_unit_test(test_pss_mask),
		cmocka_unit_test(test_ecdsa_range),
		cmocka_unit_test(test_ed25519_range),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_published),
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_lax_forms),
		cmocka_unit_test(test_around),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
