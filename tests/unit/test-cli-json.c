/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `--json` writes, read again by another library.
 * links: cli/json common/buffer
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "cli/cli.h"

static json_t *read_back(struct buffer *b)
{
	json_t *top;

	for (size_t i = 0; i < b->length; i++)
		assert_in_range(b->data[i], 0x20, 0x7e);
	top = json_loadb((const char *)b->data, b->length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	assert_non_null(top);
	return top;
}

static void test_texts(void **state)
{
	static const struct {
		const char *text, *read; /* NULL: the same */
	} cases[] = {
		{ "", NULL },
		{ "plain", NULL },
		{ "q\"b\\s/\b\f\n\r\t\x01\x7f", NULL },
		{ "{[,:]}", NULL },
		{ "\xc2\x80 \xc2\x9b \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf", NULL },
		{ "\xf0\x90\x80\x80 \xf0\x9f\x94\x91 \xf4\x8f\xbf\xbf", NULL },
		{ "\x80", "\\x80" },
		{ "a\xff"
		  "b",
			"a\\xffb" },
		{ "\xc1\x81", "\\xc1\\x81" }, /* not the shortest form */
		{ "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },
		{ "\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf" },
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" }, /* a surrogate */
		{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" }, /* beyond U+10FFFF */
		{ "\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80" },
		{ "\xe2\x82", "\\xe2\\x82" }, /* cut */
		{ "\xf0\x9f\x94", "\\xf0\\x9f\\x94" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buffer b;
		json_t *top;

		buffer_init(&b, 4096);
		assert_true(buffer_put_json(&b, cases[i].text));
		top = read_back(&b);
		assert_string_equal(json_string_value(top), cases[i].read ? cases[i].read : cases[i].text);
		json_decref(top);
		buffer_free(&b);
	}
}

static void test_shapes(void **state)
{
	struct buffer b;
	json_t *top;

	(void)state;
	buffer_init(&b, 4096);
	cli_json_open(&b, NULL, '{');
	cli_json_open(&b, "none", '[');
	cli_json_close(&b, ']');
	cli_json_open(&b, "two", '[');
	cli_json_text(&b, NULL, "[");
	cli_json_open(&b, NULL, '{');
	cli_json_close(&b, '}');
	cli_json_close(&b, ']');
	cli_json_text(&b, "null", NULL);
	cli_json_optional(&b, "empty", "");
	cli_json_optional(&b, "text", "{");
	cli_json_number(&b, "number", UINT64_C(9007199254740993));
	cli_json_time(&b, "never", 0);
	cli_json_flag(&b, "yes", true);
	cli_json_flag(&b, "no", false);
	cli_json_close(&b, '}');
	top = read_back(&b);
	assert_int_equal(json_object_size(top), 9);
	assert_int_equal(json_array_size(json_object_get(top, "none")), 0);
	assert_int_equal(json_array_size(json_object_get(top, "two")), 2);
	assert_true(json_is_null(json_object_get(top, "null")));
	assert_true(json_is_null(json_object_get(top, "empty")));
	assert_true(json_is_null(json_object_get(top, "never")));
	assert_int_equal(json_integer_value(json_object_get(top, "number")), INT64_C(9007199254740993));
	assert_true(json_is_true(json_object_get(top, "yes")));
	assert_true(json_is_false(json_object_get(top, "no")));
	json_decref(top);
	buffer_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_shapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
