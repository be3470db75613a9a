/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser of compact tokens: what it takes, and everything it must not.
 * links: verify/jwt verify/json common/buffer
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/jwt.h"

#define HEADER "{\"alg\":\"RS256\",\"kid\":\"k1\"}"
#define CLAIMS "{\"iss\":\"https://issuer.example\",\"aud\":\"a\",\"sub\":\"s\",\"exp\":2000000000}"

static size_t encode(const char *bytes, size_t length, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t n = 0;

	for (size_t i = 0; i < length; i += 3) {
		uint32_t bits = (uint32_t)(uint8_t)bytes[i] << 16;

		bits |= i + 1 < length ? (uint32_t)(uint8_t)bytes[i + 1] << 8 : 0;
		bits |= i + 2 < length ? (uint8_t)bytes[i + 2] : 0;
		for (size_t k = 0; k < 4 && (k < 2 || i + k - 1 < length); k++)
			out[n++] = digits[bits >> (18 - 6 * k) & 63];
	}
	return n;
}

static enum jwt_error parse_parts(const char *header, size_t header_length, const char *claims, size_t claims_length)
{
	char *token = malloc(2 * (header_length + claims_length) + 64);
	enum jwt_error error;
	struct jwt jwt;
	size_t n;

	assert_non_null(token);
	n = encode(header, header_length, token);
	token[n++] = '.';
	n += encode(claims, claims_length, token + n);
	memcpy(token + n, ".c2ln", 5);
	error = jwt_parse(&jwt, token, n + 5);
	if (!error)
		jwt_free(&jwt);
	free(token);
	return error;
}

static enum jwt_error parse_json(const char *header, const char *claims)
{
	return parse_parts(header, strlen(header), claims, strlen(claims));
}

static enum jwt_error parse_text(const char *token)
{
	enum jwt_error error;
	struct jwt jwt;

	error = jwt_parse(&jwt, token, strlen(token));
	if (!error)
		jwt_free(&jwt);
	return error;
}

static void test_good(void **state)
{
	/* The example of RFC 7519 section 3.1. */
	static const char token[] = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
				    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
				    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
	struct jwt jwt;
	int64_t at;

	(void)state;
	assert_int_equal(jwt_parse(&jwt, token, strlen(token)), JWT_OK);
	assert_string_equal(jwt_text(jwt.header, "alg"), "HS256");
	assert_string_equal(jwt_text(jwt.claims, "iss"), "joe");
	assert_true(jwt_time(jwt.claims, "exp", &at));
	assert_int_equal(at, 1300819380);
	assert_int_equal(jwt.signature.length, 32);
	assert_int_equal(jwt.signature.data[0], 0x74);
	assert_int_equal(jwt.signed_length, strrchr(token, '.') - token);
	jwt_free(&jwt);
	jwt_free(&jwt);
}

static void test_form(void **state)
{
	static const char *const wrong[] = {
		"a",
		".",
		"..",
		"...",
		"e30",
		"e30.e30",
		"e30..",
		".e30.c2ln",
		"e30..c2ln",
		"e30.e30.c2ln.",
		"e30.e30.c2ln.c2ln.c2ln",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(parse_text(wrong[i]), JWT_EFORM);
	assert_int_equal(parse_text(""), JWT_ESIZE);
	assert_int_equal(parse_text("e30.e30.c2ln"), JWT_OK);
	/* Unsecured: there to be explained, and for a verifier to refuse. */
	assert_int_equal(parse_text("e30.e30."), JWT_OK);
}

static void test_encoding(void **state)
{
	static const char *const wrong[] = {
		"e30=.e30.c2ln",
		"e30.e30=.c2ln",
		"e30.e30.c2ln====",
		"e30.e31.c2ln",
		"e31.e30.c2ln",
		"e30.e30.c2l",
		"e30.e30.c2lnA",
		"e30 .e30.c2ln",
		"\ne30.e30.c2ln",
		"e30.e30.c2ln\n",
		"e30.e30.c2+n",
		"e30.e30.c2/n",
		"e30.e30.\xc3\xa4",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(parse_text(wrong[i]), JWT_EENCODING);
}

static void test_json(void **state)
{
	static const char *const wrong[] = {
		" ",
		"[]",
		"null",
		"1",
		"\"text\"",
		"{",
		"{}{}",
		"{} x",
		"{\"a\":1,}",
		"{a:1}",
		"{'a':1}",
		"{\"a\":1,\"a\":1}",
		"{\"a\":{\"b\":1,\"b\":2}}",
		"{\"\\u0061\":1,\"a\":2}",
		"{\"a\":\"x\\u0000y\"}",
		"{\"a\\u0000\":1}",
		"{\"a\":\"\xff\"}",
		"{\"a\":\"\\ud800\"}",
		"{\"a\":01}",
		"{\"a\":1e400}",
		"{\"a\":99999999999999999999}",
		"{\"a\":NaN}",
		"{\"a\":\"\n\"}",
		"/**/{}",
		"\xef\xbb\xbf{}",
	};

	(void)state;
	assert_int_equal(parse_json(HEADER, CLAIMS), JWT_OK);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(parse_json(wrong[i], CLAIMS), JWT_EHEADER);
		assert_int_equal(parse_json(HEADER, wrong[i]), JWT_ECLAIMS);
	}
	assert_int_equal(parse_parts("{}\0", 3, CLAIMS, strlen(CLAIMS)), JWT_EHEADER);
	assert_int_equal(parse_parts(HEADER, strlen(HEADER), "{\"a\0\":1}", 8), JWT_ECLAIMS);
}

static void test_depth(void **state)
{
	char json[256] = "{\"a\":";
	size_t n = strlen(json);

	(void)state;
	memset(json + n, '[', JSON_DEPTH_MAX - 1);
	memset(json + n + JSON_DEPTH_MAX - 1, ']', JSON_DEPTH_MAX - 1);
	strcpy(json + n + 2 * (JSON_DEPTH_MAX - 1), "}");
	assert_int_equal(parse_json(HEADER, json), JWT_OK);
	memset(json + n, '[', JSON_DEPTH_MAX);
	memset(json + n + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	strcpy(json + n + 2 * JSON_DEPTH_MAX, "}");
	assert_int_equal(parse_json(HEADER, json), JWT_ECLAIMS);
	/* Brackets within a string are not depth. */
	assert_int_equal(parse_json(HEADER, "{\"a\":\"[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[[[[\"}"), JWT_OK);
}

/* Neither crash nor grow the stack. */
static void test_brackets(void **state)
{
	char *many = malloc(100000);

	(void)state;
	assert_non_null(many);
	memset(many, '[', 100000);
	assert_int_equal(parse_parts(many, 100000, CLAIMS, strlen(CLAIMS)), JWT_ESIZE);
	assert_int_equal(parse_parts(many, JWT_HEADER_MAX, CLAIMS, strlen(CLAIMS)), JWT_EHEADER);
	assert_int_equal(parse_parts(HEADER, strlen(HEADER), many, 100000), JWT_ESIZE);
	assert_int_equal(parse_parts(HEADER, strlen(HEADER), many, 49000), JWT_ECLAIMS);
	free(many);
}

static void test_signed(void **state)
{
	static const struct {
		const char *token;
		enum jwt_error error;
	} cases[] = {
		{ "e30.e30.c2ln", JWT_OK },
		{ "e30..c2ln", JWT_OK },
		{ "e30.IA.c2ln", JWT_OK },
		{ "e30.__8.c2ln", JWT_OK },
		{ "e30.e30.", JWT_OK },
		{ "e30.e3.c2ln", JWT_EENCODING },
		{ "e30.e30=.c2ln", JWT_EENCODING },
		{ "e30.A.c2ln", JWT_EENCODING },
		{ ".e30.c2ln", JWT_EFORM },
		{ "e30.e30", JWT_EFORM },
		{ "e30.e30.c2ln.", JWT_EFORM },
		{ "W10.e30.c2ln", JWT_EHEADER },
		{ "", JWT_ESIZE },
	};
	struct jwt jwt;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum jwt_error error = jwt_parse_signed(&jwt, cases[i].token, strlen(cases[i].token));

		if (error != cases[i].error)
			fail_msg("%s: %s", cases[i].token, jwt_strerror(error));
		if (!error) {
			assert_true(json_is_object(jwt.header));
			assert_null(jwt.claims);
			assert_int_equal(jwt.signed_length, strrchr(cases[i].token, '.') - cases[i].token);
			jwt_free(&jwt);
		}
	}
}

static char *object_with(int members)
{
	struct buffer b;
	char *text;

	buffer_init(&b, 1 << 20);
	buffer_printf(&b, "{");
	for (int i = 0; i < members; i++)
		buffer_printf(&b, "%s\"m%d\":0", i ? "," : "", i);
	buffer_printf(&b, "}");
	text = strdup(buffer_cstring(&b));
	buffer_free(&b);
	assert_non_null(text);
	return text;
}

static void test_members(void **state)
{
	char *most = object_with(JSON_MEMBERS_MAX), *more = object_with(JSON_MEMBERS_MAX + 1);

	(void)state;
	assert_int_equal(parse_json(HEADER, most), JWT_OK);
	assert_int_equal(parse_json(HEADER, more), JWT_ECLAIMS);
	free(most);
	free(more);
}

static char *object_of(size_t size)
{
	char *text = malloc(size + 1);

	assert_non_null(text);
	memset(text, 'x', size);
	memcpy(text, "{\"a\":\"", 6);
	memcpy(text + size - 2, "\"}", 3);
	return text;
}

static void test_size(void **state)
{
	char *fits = object_of(JWT_HEADER_MAX), *larger = object_of(JWT_HEADER_MAX + 1), *huge = object_of(JWT_TOKEN_MAX);
	char *long_token = malloc(JWT_TOKEN_MAX + 2);
	struct jwt jwt;

	(void)state;
	assert_int_equal(parse_json(fits, CLAIMS), JWT_OK);
	assert_int_equal(parse_json(larger, CLAIMS), JWT_EHEADER);
	assert_int_equal(parse_json(huge, CLAIMS), JWT_ESIZE);
	assert_int_equal(parse_json(HEADER, huge), JWT_ESIZE);
	assert_non_null(long_token);
	memset(long_token, 'A', JWT_TOKEN_MAX + 1);
	memcpy(long_token, "e30.e30.", 8);
	assert_int_equal(jwt_parse(&jwt, long_token, JWT_TOKEN_MAX), JWT_OK);
	jwt_free(&jwt);
	assert_int_equal(jwt_parse(&jwt, long_token, JWT_TOKEN_MAX + 1), JWT_ESIZE);
	free(fits);
	free(larger);
	free(huge);
	free(long_token);
}

static void test_members_read(void **state)
{
	json_t *o = json_loads("{\"i\":5,\"r\":5.9,\"n\":-1,\"s\":\"5\",\"far\":253402300800,\"farther\":1e300,\"b\":true}", 0, NULL);
	static const char *const wrong[] = { "n", "s", "far", "farther", "b", "missing" };
	int64_t at = 7;

	(void)state;
	assert_true(jwt_time(o, "i", &at) && at == 5);
	assert_true(jwt_time(o, "r", &at) && at == 5);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(jwt_time(o, wrong[i], &at));
	assert_int_equal(at, 5);
	assert_string_equal(jwt_text(o, "s"), "5");
	assert_null(jwt_text(o, "i"));
	assert_null(jwt_text(o, "missing"));
	json_decref(o);
}

static void test_words(void **state)
{
	(void)state;
	for (int e = JWT_OK; e <= JWT_ENOMEM; e++)
		assert_true(strlen(jwt_strerror((enum jwt_error)e)) > 0);
	assert_string_equal(jwt_strerror((enum jwt_error)99), "unknown error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_encoding),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_brackets),
		cmocka_unit_test(test_signed),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_members_read),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
