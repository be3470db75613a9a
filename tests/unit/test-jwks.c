/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key sets: which key a token gets, what becomes of keys that cannot be used, and of documents that are none.
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

static EVP_PKEY *rsa, *rsa2, *p256, *p384, *p521, *ed25519;
static char why[2048];

static int make_keys(void **state)
{
	(void)state;
	rsa = jose_key("RSA");
	rsa2 = jose_key("RSA");
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
	EVP_PKEY_free(rsa2);
	EVP_PKEY_free(p256);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(p521);
	EVP_PKEY_free(ed25519);
	return 0;
}

static struct jwks *import(const char *text, struct buffer *notes)
{
	why[0] = 0;
	return jwks_import(text, strlen(text), notes, why, sizeof(why));
}

static void test_kinds(void **state)
{
	char *text = jose_set(jose_jwk(rsa, ",\"kid\":\"r\",\"use\":\"sig\",\"x5t\":\"ignored\",\"x5c\":[\"ignored\"]"),
		jose_jwk(p256, ",\"kid\":\"e2\",\"alg\":\"ES256\""), jose_jwk(p384, ",\"kid\":\"e3\",\"key_ops\":[\"verify\"]"),
		jose_jwk(p521, ",\"kid\":\"e5\",\"key_ops\":[\"sign\",\"verify\"]"), jose_jwk(ed25519, ""), NULL);
	static const char *const kinds[] = { "RSA-2048", "P-256", "P-384", "P-521", "Ed25519" };
	static const char *const kids[] = { "r", "e2", "e3", "e5", "" };
	struct jwks *set;

	(void)state;
	set = import(text, NULL);
	assert_non_null(set);
	assert_int_equal(jwks_count(set), 5);
	for (size_t i = 0; i < 5; i++) {
		assert_string_equal(jwks_kind(set, i), kinds[i]);
		assert_string_equal(jwks_kid(set, i), kids[i]);
	}
	assert_ptr_equal(jwks_keep(set), set);
	jwks_free(set);
	assert_int_equal(jwks_count(set), 5);
	jwks_free(set);
	jwks_free(NULL);
	assert_null(jwks_keep(NULL));
	free(text);
}

static void test_find(void **state)
{
	/* "ok", or why not: each alg with each key by its kid, and without a kid. */
	static const struct {
		const char *kid, *alg;
		enum reason reason;
	} cases[] = {
		{ "any-rsa", "RS256", REASON_OK },
		{ "any-rsa", "RS384", REASON_OK },
		{ "any-rsa", "RS512", REASON_OK },
		{ "any-rsa", "PS256", REASON_OK },
		{ "any-rsa", "PS384", REASON_OK },
		{ "any-rsa", "PS512", REASON_OK },
		{ "any-rsa", "ES256", REASON_KEY_UNUSABLE },
		{ "any-rsa", "EdDSA", REASON_KEY_UNUSABLE },
		{ "any-rsa", "HS256", REASON_KEY_UNUSABLE },
		{ "any-rsa", "rs256", REASON_KEY_UNUSABLE },
		{ "only-ps", "PS256", REASON_OK },
		{ "only-ps", "PS384", REASON_KEY_UNUSABLE },
		{ "only-ps", "RS256", REASON_KEY_UNUSABLE },
		{ "p256", "ES256", REASON_OK },
		{ "p256", "ES384", REASON_KEY_UNUSABLE },
		{ "p256", "RS256", REASON_KEY_UNUSABLE },
		{ "p384", "ES384", REASON_OK },
		{ "p384", "ES256", REASON_KEY_UNUSABLE },
		{ "p521", "ES512", REASON_OK },
		{ "p521", "ES256", REASON_KEY_UNUSABLE },
		{ "ed", "EdDSA", REASON_OK },
		{ "ed", "Ed25519", REASON_KEY_UNUSABLE },
		{ "ed", "ed25519", REASON_KEY_UNUSABLE },
		{ "skipped", "RS256", REASON_KEY_UNUSABLE },
		{ "", "RS256", REASON_KID_UNKNOWN },
		{ "any-rs", "RS256", REASON_KID_UNKNOWN },
		{ "any-rsaa", "RS256", REASON_KID_UNKNOWN },
		{ "ANY-RSA", "RS256", REASON_KID_UNKNOWN },
		{ NULL, "ES256", REASON_OK },
		{ NULL, "PS512", REASON_OK },
		{ NULL, "PS256", REASON_KID },
		{ NULL, "Ed25519", REASON_KEY_UNUSABLE },
		{ NULL, "none", REASON_KEY_UNUSABLE },
	};
	char *text = jose_set(jose_jwk(rsa, ",\"kid\":\"any-rsa\""), jose_jwk(rsa2, ",\"kid\":\"only-ps\",\"alg\":\"PS256\""),
		jose_jwk(p256, ",\"kid\":\"p256\""), jose_jwk(p384, ",\"kid\":\"p384\""), jose_jwk(p521, ",\"kid\":\"p521\""),
		jose_jwk(ed25519, ",\"kid\":\"ed\",\"alg\":\"EdDSA\""), jose_jwk(rsa, ",\"kid\":\"skipped\",\"use\":\"enc\""), NULL);
	struct jwks *set = import(text, NULL);
	const struct jwk *key;

	(void)state;
	assert_non_null(set);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum reason reason = jwks_find(set, cases[i].kid, cases[i].alg, &key);

		if (reason != cases[i].reason)
			fail_msg("%s by %s: reason %d, not %d", cases[i].alg, cases[i].kid ? cases[i].kid : "no kid", reason,
				cases[i].reason);
	}
	jwks_free(set);
	free(text);
}

static void test_documents(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "", "empty" },
		{ "<html><body>502 Bad Gateway</body></html>", "not JSON" },
		{ "[]", "not a JSON object" },
		{ "\"keys\"", "not a JSON object" },
		{ "{}", "no list of keys" },
		{ "{\"keys\":{}}", "no list of keys" },
		{ "{\"keys\":null}", "no list of keys" },
		{ "{\"keys\":[]}", "no key" },
		{ "{\"keys\":[],\"keys\":[]}", "twice" },
		{ "{\"keys\":[{\"kty\":\"RSA\",\"kty\":\"RSA\"}]}", "twice" },
		{ "{\"keys\":[]} ,", "follows" },
		{ "{\"keys\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}", "deep" },
	};
	char *large = malloc(JWKS_MAX + 2), *text;
	struct jwks *set;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_null(import(cases[i].text, NULL));
		if (!strstr(why, cases[i].why))
			fail_msg("%s: %s", cases[i].text, why);
	}
	/* White space to the last byte that is allowed, and one more. */
	assert_non_null(large);
	text = jose_set(jose_jwk(p256, ""), NULL);
	memset(large, ' ', JWKS_MAX + 1);
	memcpy(large, text, strlen(text));
	set = jwks_import(large, JWKS_MAX, NULL, why, sizeof(why));
	assert_non_null(set);
	jwks_free(set);
	assert_null(jwks_import(large, JWKS_MAX + 1, NULL, why, sizeof(why)));
	assert_non_null(strstr(why, "262145 bytes"));
	free(text);
	free(large);
}

/* So many copies of one key, by different kids. */
static char *many(int count)
{
	char *text = malloc((size_t)count * 300 + 100), *at = stpcpy(text, "{\"keys\":["), more[64];

	for (int i = 0; i < count; i++) {
		char *jwk;

		snprintf(more, sizeof(more), ",\"kid\":\"k%d\"", i);
		jwk = jose_jwk(p256, more);
		at += sprintf(at, "%s%s", i ? "," : "", jwk);
		free(jwk);
	}
	strcpy(at, "]}");
	return text;
}

static void test_count(void **state)
{
	char *most = many(JWKS_KEYS_MAX), *more = many(300);
	struct jwks *set = import(most, NULL);

	(void)state;
	assert_non_null(set);
	assert_int_equal(jwks_count(set), JWKS_KEYS_MAX);
	jwks_free(set);
	assert_null(import(more, NULL));
	assert_non_null(strstr(why, "300 keys"));
	free(most);
	free(more);
}

static void test_notes(void **state)
{
	char *text = jose_set(strdup("{\"kty\":\"oct\",\"kid\":\"shared\",\"k\":\"AAAA\"}"), jose_jwk(rsa, ",\"kid\":\"good\""),
		jose_jwk(p256, ",\"kid\":\"a\\nb\\u001b[31m\",\"use\":\"enc\""), strdup("{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}"),
		NULL);
	struct buffer notes;
	struct jwks *set;

	(void)state;
	buffer_init(&notes, 65536);
	set = import(text, &notes);
	assert_non_null(set);
	assert_int_equal(jwks_count(set), 1);
	assert_string_equal(jwks_kid(set, 0), "good");
	assert_string_equal(buffer_cstring(&notes),
		"key 1 (kid shared): it holds a private key: whoever can read the set can sign, so it is not believed\n"
		"key 3 (kid a\\x0ab\\x1b[31m): its use is not sig\n"
		"key 4: an RSA key of less than 2048 bits\n");
	buffer_free(&notes);
	jwks_free(set);
	/* Notes that do not fit are the caller's loss, not the set's. */
	buffer_init(&notes, 10);
	set = import(text, &notes);
	assert_non_null(set);
	buffer_free(&notes);
	jwks_free(set);
	free(text);
}

static void test_duplicates(void **state)
{
	struct buffer notes;
	const struct jwk *key;
	struct jwks *set;
	char *text;

	(void)state;
	buffer_init(&notes, 65536);
	/* Three of one name, of which two are the same: none is used; the key that stands there twice is, once. */
	text = jose_set(jose_jwk(rsa, ",\"kid\":\"a\""), jose_jwk(p256, ",\"kid\":\"b\""), jose_jwk(p256, ",\"kid\":\"b\""),
		jose_jwk(rsa2, ",\"kid\":\"a\""), jose_jwk(rsa, ",\"kid\":\"a\""), NULL);
	set = import(text, &notes);
	free(text);
	assert_non_null(set);
	assert_int_equal(jwks_count(set), 1);
	assert_string_equal(jwks_kid(set, 0), "b");
	assert_int_equal(jwks_find(set, "a", "RS256", &key), REASON_KEY_UNUSABLE);
	assert_int_equal(jwks_find(set, "b", "ES256", &key), REASON_OK);
	assert_non_null(strstr(buffer_cstring(&notes), "key 1 (kid a): another key of the set has the same kid\nkey 4 (kid a): another"));
	jwks_free(set);
	buffer_free(&notes);
	/* Of different types is different too. */
	text = jose_set(jose_jwk(p384, ",\"kid\":\"a\""), jose_jwk(p256, ",\"kid\":\"a\""), NULL);
	assert_null(import(text, NULL));
	assert_non_null(strstr(why, "same kid"));
	free(text);
	/* One key, by one name, for two algorithms. */
	text = jose_set(jose_jwk(rsa, ",\"kid\":\"a\",\"alg\":\"RS256\""), jose_jwk(rsa, ",\"kid\":\"a\",\"alg\":\"PS256\""), NULL);
	set = import(text, NULL);
	free(text);
	assert_non_null(set);
	assert_int_equal(jwks_find(set, "a", "RS256", &key), REASON_OK);
	assert_int_equal(jwks_find(set, "a", "PS256", &key), REASON_OK);
	assert_int_equal(jwks_find(set, "a", "RS512", &key), REASON_KEY_UNUSABLE);
	jwks_free(set);
	/* Keys without a name do not clash, and a key that only encrypts is no rival. */
	text = jose_set(jose_jwk(rsa, ""), jose_jwk(rsa2, ""), jose_jwk(rsa, ""), jose_jwk(p256, ",\"kid\":\"c\""),
		jose_jwk(p384, ",\"kid\":\"c\",\"use\":\"enc\""), NULL);
	set = import(text, NULL);
	free(text);
	assert_non_null(set);
	assert_int_equal(jwks_count(set), 3);
	assert_int_equal(jwks_find(set, NULL, "RS256", &key), REASON_KID);
	assert_int_equal(jwks_find(set, "c", "ES256", &key), REASON_OK);
	assert_int_equal(jwks_find(set, "c", "ES384", &key), REASON_KEY_UNUSABLE);
	jwks_free(set);
	/* Without a kid, one key by two names is one key. */
	text = jose_set(jose_jwk(rsa, ",\"kid\":\"a\""), jose_jwk(rsa, ",\"kid\":\"b\""), NULL);
	set = import(text, NULL);
	free(text);
	assert_int_equal(jwks_find(set, NULL, "RS256", &key), REASON_OK);
	jwks_free(set);
}

static bool same(char *a, char *b)
{
	struct jwks *first = import(a, NULL), *second = import(b, NULL);
	bool equal;

	assert_non_null(first);
	assert_non_null(second);
	equal = jwks_same(first, second);
	assert_int_equal(jwks_same(second, first), equal);
	jwks_free(first);
	jwks_free(second);
	free(a);
	free(b);
	return equal;
}

#define A jose_jwk(rsa, ",\"kid\":\"a\"")
#define B jose_jwk(p256, ",\"kid\":\"b\"")

static void test_same(void **state)
{
	(void)state;
	assert_true(same(jose_set(A, B, NULL), jose_set(B, A, NULL)));
	assert_true(same(jose_set(A, NULL), jose_set(A, A, NULL)));
	assert_false(same(jose_set(A, B, NULL), jose_set(A, NULL)));
	assert_false(same(jose_set(A, NULL), jose_set(B, NULL)));
	assert_false(same(jose_set(A, NULL), jose_set(jose_jwk(rsa, ",\"kid\":\"A\""), NULL)));
	assert_false(same(jose_set(A, NULL), jose_set(jose_jwk(rsa, ""), NULL)));
	assert_false(same(jose_set(A, NULL), jose_set(jose_jwk(rsa2, ",\"kid\":\"a\""), NULL)));
	assert_false(same(jose_set(A, NULL), jose_set(jose_jwk(rsa, ",\"kid\":\"a\",\"alg\":\"RS256\""), NULL)));
}

static void test_one_key(void **state)
{
	char *jwk = jose_jwk(p256, ",\"kid\":\"one\"");
	struct jwks *set = jwks_import_key(jwk, strlen(jwk), why, sizeof(why));

	(void)state;
	assert_non_null(set);
	assert_int_equal(jwks_count(set), 1);
	assert_string_equal(jwks_kid(set, 0), "one");
	jwks_free(set);
	assert_null(jwks_import_key(jwk, strlen(jwk) - 1, why, sizeof(why)));
	assert_null(jwks_import_key("{\"keys\":[]}", 11, why, sizeof(why)));
	assert_non_null(strstr(why, "kty"));
	assert_null(jwks_import_key("[]", 2, why, sizeof(why)));
	free(jwk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_one_key),
	};

	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
