/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The strict reader: what it takes, what it must not, and that it never
 * differs from jansson's own where both take a text.
 * links: verify/json
 * libs: jansson
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
#include <time.h>

#include "verify/json.h"

/* From a block of just that size, so that a read past the end is seen by the sanitizers. */
static json_t *load(const void *text, size_t length, enum json_fault *fault)
{
	void *copy = malloc(length ? length : 1);
	json_t *value;

	assert_non_null(copy);
	memcpy(copy, text, length);
	value = json_strict(copy, length, fault);
	free(copy);
	assert_true((value != NULL) == (*fault == JSON_GOOD));
	return value;
}

static enum json_fault fault_of(const void *text, size_t length)
{
	enum json_fault fault = JSON_FAULT_MEMORY;

	json_decref(load(text, length, &fault));
	return fault;
}

static void test_good(void **state)
{
	/* What is read, and how jansson writes it down again. */
	static const struct {
		const char *text, *written;
	} cases[] = {
		{ "{}", "{}" },
		{ " \t\r\n[ ] ", "[]" },
		{ "null", "null" },
		{ "true", "true" },
		{ "false ", "false" },
		{ "\"\"", "\"\"" },
		{ "0", "0" },
		{ "-0", "0" },
		{ "-12", "-12" },
		{ "999999999999999999", "999999999999999999" },
		{ "9223372036854775807", "9223372036854775807" },
		{ "-9223372036854775808", "-9223372036854775808" },
		{ "1.5", "1.5" },
		{ "-1.5E+2", "-150.0" },
		{ "25e-2", "0.25" },
		{ "{\"a\" : [1, {\"b\":null} ,true] , \"c\":\"d\"}", "{\"a\":[1,{\"b\":null},true],\"c\":\"d\"}" },
		{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"",
			"\"\\\"\\\\/\\b\\f\\n\\r\\tA\\u00E9\\u20AC\\uD83D\\uDE00\"" },
		{ "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"", "\"\\u00E9\\u20AC\\uD83D\\uDE00\x7f\"" },
		{ "{\"\xc3\xa9\":1,\"\\u00e8\":2}", "{\"\\u00E9\":1,\"\\u00E8\":2}" },
		{ "{\"a\":{\"a\":{\"a\":1}}}", "{\"a\":{\"a\":{\"a\":1}}}" },
		{ "{\"\":0}", "{\"\":0}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum json_fault fault;
		json_t *value = load(cases[i].text, strlen(cases[i].text), &fault);
		char *written = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

		if (!written || strcmp(written, cases[i].written) != 0)
			fail_msg("%s: %s, not %s", cases[i].text, written ? written : json_fault_text(fault), cases[i].written);
		free(written);
		json_decref(value);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		enum json_fault fault;
	} cases[] = {
		{ "", JSON_FAULT_EMPTY },
		{ " ", JSON_FAULT_SYNTAX },
		{ "{", JSON_FAULT_SYNTAX },
		{ "}", JSON_FAULT_SYNTAX },
		{ "[", JSON_FAULT_SYNTAX },
		{ "[}", JSON_FAULT_SYNTAX },
		{ "{]", JSON_FAULT_SYNTAX },
		{ "[1", JSON_FAULT_SYNTAX },
		{ "[1,", JSON_FAULT_SYNTAX },
		{ "[1,]", JSON_FAULT_SYNTAX },
		{ "[,1]", JSON_FAULT_SYNTAX },
		{ "[1 2]", JSON_FAULT_SYNTAX },
		{ "{\"a\"}", JSON_FAULT_SYNTAX },
		{ "{\"a\":}", JSON_FAULT_SYNTAX },
		{ "{\"a\":1,}", JSON_FAULT_SYNTAX },
		{ "{\"a\" 1}", JSON_FAULT_SYNTAX },
		{ "{,}", JSON_FAULT_SYNTAX },
		{ "{a:1}", JSON_FAULT_SYNTAX },
		{ "{1:1}", JSON_FAULT_SYNTAX },
		{ "{'a':1}", JSON_FAULT_SYNTAX },
		{ "{\"a", JSON_FAULT_SYNTAX },
		{ "{\"a\"", JSON_FAULT_SYNTAX },
		{ "{\"a\":", JSON_FAULT_SYNTAX },
		{ "tru", JSON_FAULT_SYNTAX },
		{ "True", JSON_FAULT_SYNTAX },
		{ "nul", JSON_FAULT_SYNTAX },
		{ "NaN", JSON_FAULT_SYNTAX },
		{ "Infinity", JSON_FAULT_SYNTAX },
		{ "-", JSON_FAULT_SYNTAX },
		{ "+1", JSON_FAULT_SYNTAX },
		{ "01", JSON_FAULT_SYNTAX },
		{ "-01", JSON_FAULT_SYNTAX },
		{ "1.", JSON_FAULT_SYNTAX },
		{ ".5", JSON_FAULT_SYNTAX },
		{ "1e", JSON_FAULT_SYNTAX },
		{ "1e+", JSON_FAULT_SYNTAX },
		{ "1e-+1", JSON_FAULT_SYNTAX },
		{ "1E1.5", JSON_FAULT_TRAILING },
		{ "0x10", JSON_FAULT_TRAILING },
		{ "1-1", JSON_FAULT_TRAILING },
		{ "truefalse", JSON_FAULT_TRAILING },
		{ "{}{}", JSON_FAULT_TRAILING },
		{ "{} x", JSON_FAULT_TRAILING },
		{ "{}}", JSON_FAULT_TRAILING },
		{ "{},", JSON_FAULT_TRAILING },
		{ "9223372036854775808", JSON_FAULT_NUMBER },
		{ "-9223372036854775809", JSON_FAULT_NUMBER },
		{ "1e400", JSON_FAULT_NUMBER },
		{ "\"a", JSON_FAULT_SYNTAX },
		{ "\"a\\", JSON_FAULT_SYNTAX },
		{ "\"a\\\"", JSON_FAULT_SYNTAX },
		{ "\"\\x41\"", JSON_FAULT_SYNTAX },
		{ "\"\\'\"", JSON_FAULT_SYNTAX },
		{ "\"\\U0041\"", JSON_FAULT_SYNTAX },
		{ "\"\\u004\"", JSON_FAULT_SYNTAX },
		{ "\"\\u00g0\"", JSON_FAULT_SYNTAX },
		{ "\"\\u", JSON_FAULT_SYNTAX },
		{ "\"\n\"", JSON_FAULT_SYNTAX },
		{ "\"\x1f\"", JSON_FAULT_SYNTAX },
		{ "\"\\u0000\"", JSON_FAULT_TEXT },
		{ "{\"a\\u0000b\":1}", JSON_FAULT_TEXT },
		{ "\"\\ud800\"", JSON_FAULT_TEXT },
		{ "\"\\ud800x\"", JSON_FAULT_TEXT },
		{ "\"\\ud800\\n\"", JSON_FAULT_TEXT },
		{ "\"\\ud800\\ud800\"", JSON_FAULT_TEXT },
		{ "\"\\ud83d\\u0041\"", JSON_FAULT_TEXT },
		{ "\"\\udc00\"", JSON_FAULT_TEXT },
		{ "\"\xff\"", JSON_FAULT_TEXT },
		{ "\"\xc3\"", JSON_FAULT_TEXT },
		{ "\"\xc0\x80\"", JSON_FAULT_TEXT },
		{ "\"\xc1\xbf\"", JSON_FAULT_TEXT },
		{ "\"\xe0\x80\x80\"", JSON_FAULT_TEXT },
		{ "\"\xed\xa0\x80\"", JSON_FAULT_TEXT },
		{ "\"\xf4\x90\x80\x80\"", JSON_FAULT_TEXT },
		{ "{\"\xff\":1}", JSON_FAULT_TEXT },
		{ "\xef\xbb\xbf{}", JSON_FAULT_SYNTAX },
		{ "/**/{}", JSON_FAULT_SYNTAX },
		{ "{}//", JSON_FAULT_TRAILING },
		{ "[\x0b]", JSON_FAULT_SYNTAX },
		{ "[\xc2\xa0]", JSON_FAULT_SYNTAX },
		{ "{\"a\":1,\"a\":1}", JSON_FAULT_TWICE },
		{ "{\"a\":1,\"\\u0061\":2}", JSON_FAULT_TWICE },
		{ "{\"\xc3\xa9\":1,\"\\u00e9\":2}", JSON_FAULT_TWICE },
		{ "[{\"x\":[{\"a\":1,\"b\":2,\"a\":3}]}]", JSON_FAULT_TWICE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum json_fault fault = fault_of(cases[i].text, strlen(cases[i].text));

		if (fault != cases[i].fault)
			fail_msg("'%s': %s", cases[i].text, json_fault_text(fault));
	}
}

static void test_nul(void **state)
{
	static const struct {
		const char *text;
		size_t length;
	} cases[] = { { "{}\0", 3 }, { "\0{}", 3 }, { "123\0", 4 }, { "[1\0,2]", 6 }, { "[1\0]", 4 }, { "{\"a\0\":1}", 8 }, { "\"\0\"", 3 },
		{ "\"\\\0\"", 4 }, { "tru\0", 4 }, { "\0", 1 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (fault_of(cases[i].text, cases[i].length) == JSON_GOOD)
			fail_msg("taken: case %zu", i);
}

/* count times what, with between between them, in frames; a # at its second place is a number. */
static char *repeat(const char *open, const char *what, const char *between, size_t count, const char *close)
{
	char *text = malloc(strlen(open) + count * (strlen(what) + strlen(between) + 8) + strlen(close) + 1), *at = text;

	assert_non_null(text);
	at = stpcpy(at, open);
	for (size_t i = 0; i < count; i++) {
		if (strlen(what) > 1 && what[1] == '#')
			at += sprintf(at, "%c%zu%s", what[0], i, what + 2);
		else
			at = stpcpy(at, what);
		if (i + 1 < count)
			at = stpcpy(at, between);
	}
	strcpy(at, close);
	return text;
}

static void check(char *text, enum json_fault expected)
{
	assert_int_equal(fault_of(text, strlen(text)), expected);
	free(text);
}

static void test_bounds(void **state)
{
	char nested[2 * JSON_DEPTH_MAX + 3] = "";

	(void)state;
	memset(nested, '[', JSON_DEPTH_MAX);
	memset(nested + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	assert_int_equal(fault_of(nested, 2 * JSON_DEPTH_MAX), JSON_GOOD);
	memset(nested, '[', JSON_DEPTH_MAX + 1);
	memset(nested + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
	assert_int_equal(fault_of(nested, 2 * JSON_DEPTH_MAX + 2), JSON_FAULT_DEPTH);
	check(repeat("", "[", "", 100000, ""), JSON_FAULT_DEPTH);
	check(repeat("", "{\"a\":", "", 100000, ""), JSON_FAULT_DEPTH);
	check(repeat("", "{\"a\":", "", JSON_DEPTH_MAX, "1}}}}}}}}}}}}}}}}"), JSON_GOOD);
	check(repeat("\"", "[{", "", 1000, "\""), JSON_GOOD);
	check(repeat("{", "\"#\":0", ",", JSON_MEMBERS_MAX, "}"), JSON_GOOD);
	check(repeat("{", "\"#\":0", ",", JSON_MEMBERS_MAX + 1, "}"), JSON_FAULT_MEMBERS);
	check(repeat("[[{\"a\":{", "\"#\":0", ",", JSON_MEMBERS_MAX + 1, "}}]]"), JSON_FAULT_MEMBERS);
	check(repeat("[", "0", ",", 10000, "]"), JSON_GOOD);
	check(repeat("[", "{}", ",", JSON_CONTAINERS_MAX - 1, "]"), JSON_GOOD);
	check(repeat("[", "{}", ",", JSON_CONTAINERS_MAX, "]"), JSON_FAULT_MEMBERS);
}

static const char *const corpus[] = {
	"{\"alg\":\"RS256\",\"kid\":\"k1\",\"typ\":\"JWT\"}",
	"{\"iss\":\"https://i.example/\",\"aud\":[\"a\",\"b\"],\"exp\":1700000000.5,\"n\":{\"x\":{\"y\":[null,true,false]}}}",
	"[-0,1e5,-1.25E-7,9223372036854775807,12345678901234567890,0.1]",
	"{\"a\":\"\\u00e9\\ud83d\\ude00\\n\\\"\xc3\xa9\xe2\x82\xac\",\"\xf0\x9f\x98\x80\":\"\\\\\",\"b\":{\"b\":[]},\"\\u0062b\":{}}",
	" [ \"\" , { \"k\" : [ 1 , 2 ] } , [ [ [ ] ] ] ] ",
};

/* jansson with the same wishes; a NUL is ours to refuse. */
static void compare(const char *text, size_t length)
{
	enum json_fault fault;
	json_t *ours = load(text, length, &fault);
	json_t *theirs = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);

	if (memchr(text, 0, length)) {
		json_decref(theirs);
		theirs = NULL;
	}
	if ((ours != NULL) != (theirs != NULL) || (ours && !json_equal(ours, theirs)))
		fail_msg("%.*s: %s, and jansson %s", (int)length, text, json_fault_text(fault),
			theirs ? "takes it, or another value" : "does not take it");
	json_decref(ours);
	json_decref(theirs);
}

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void test_as_jansson(void **state)
{
	static const char pieces[] = "{}[]:,\"\\/u0019aeE+-. \n\t\x01\x7f\x80\xc3\xa9\xed\xa0\xff";
	time_t end = time(NULL) + 2;
	uint32_t seed = 20250101;

	(void)state;
	for (size_t i = 0; i < sizeof(corpus) / sizeof(corpus[0]); i++)
		for (size_t length = 1; length <= strlen(corpus[i]); length++)
			compare(corpus[i], length);
	for (int trial = 0; trial < 200000 && time(NULL) < end; trial++) {
		const char *from = corpus[next(&seed) % (sizeof(corpus) / sizeof(corpus[0]))];
		size_t length = strlen(from);
		char text[256];

		memcpy(text, from, length);
		for (uint32_t change = next(&seed) % 3 + 1; change > 0 && length > 1; change--) {
			size_t at = next(&seed) % length;

			if (next(&seed) % 3 == 0) {
				memmove(text + at, text + at + 1, length - at - 1);
				length--;
			} else if (next(&seed) % 2 == 0 && length < sizeof(text)) {
				memmove(text + at + 1, text + at, length - at);
				text[at] = pieces[next(&seed) % sizeof(pieces)];
				length++;
			} else {
				text[at] = pieces[next(&seed) % sizeof(pieces)];
			}
		}
		compare(text, length);
	}
}

static void test_words(void **state)
{
	(void)state;
	for (int f = JSON_GOOD; f <= JSON_FAULT_MEMORY; f++)
		assert_true(strlen(json_fault_text((enum json_fault)f)) > 0);
	assert_string_equal(json_fault_text((enum json_fault)99), "unknown fault");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_as_jansson),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
