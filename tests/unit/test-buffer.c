/* SPDX-License-Identifier: Apache-2.0 */
/* links: common/buffer */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/buffer.h"

/* --- what was wiped ------------------------------------------------------------- */

#define WIPES_MAX 32

static struct {
	const void *data;
	size_t length;
} wipes[WIPES_MAX];
static size_t wipe_count;

void __explicit_bzero_chk(void *data, size_t length, size_t known);

/* Both names that a call of explicit_bzero(3) may have, with and without _FORTIFY_SOURCE. */
void explicit_bzero(void *data, size_t length)
{
	volatile uint8_t *byte = data;

	wipes[wipe_count % WIPES_MAX].data = data;
	wipes[wipe_count++ % WIPES_MAX].length = length;
	while (length--)
		*byte++ = 0;
}

void __explicit_bzero_chk(void *data, size_t length, size_t known)
{
	assert_true(length <= known);
	explicit_bzero(data, length);
}

static bool was_wiped(const void *data, size_t length)
{
	for (size_t i = 0; i < wipe_count && i < WIPES_MAX; i++)
		if (wipes[i].data == data && wipes[i].length >= length)
			return true;
	return false;
}

/* --- the buffer ------------------------------------------------------------------- */

static void test_put(void **state)
{
	static const uint8_t wanted[] = { 7, 0, 0, 1, 2, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88, 0, 0, 0, 2, 'h', 'i', 0, 0, 0, 0,
		'x', '4', '2' };
	struct buffer b;

	(void)state;
	buffer_init(&b, 1000);
	assert_null(b.data);
	assert_true(buffer_put_u8(&b, 7));
	assert_true(buffer_put_u32(&b, 0x102));
	assert_true(buffer_put_u64(&b, 0xffeeddccbbaa9988));
	assert_true(buffer_put_text(&b, "hi"));
	assert_true(buffer_put_text(&b, NULL));
	assert_true(buffer_put(&b, NULL, 0));
	assert_true(buffer_printf(&b, "x%d", 42));
	assert_int_equal(b.length, sizeof(wanted));
	assert_memory_equal(b.data, wanted, sizeof(wanted));
	buffer_free(&b);
	assert_null(b.data);
	assert_int_equal(b.limit, 1000);
	buffer_free(NULL);
}

static void test_limit(void **state)
{
	struct buffer b;

	(void)state;
	buffer_init(&b, 5);
	assert_true(buffer_put(&b, "12345", 5));
	assert_false(buffer_put_u8(&b, 6));
	assert_int_equal(b.length, 5);
	/* Once failed, nothing goes in any more, even what would fit. */
	assert_false(buffer_put(&b, "", 0));
	assert_null(buffer_cstring(&b));
	buffer_clear(&b);
	assert_true(buffer_put(&b, "1234", 4));
	assert_string_equal(buffer_cstring(&b), "1234");
	/* A text needs room for its NUL while it is written. */
	buffer_clear(&b);
	assert_true(buffer_printf(&b, "%s", "1234"));
	buffer_clear(&b);
	assert_false(buffer_printf(&b, "%s", "12345"));
	assert_int_equal(b.length, 0);
	buffer_clear(&b);
	assert_false(buffer_put_u64(&b, 1));
	buffer_clear(&b);
	assert_false(buffer_put_string(&b, "12", 2));
	buffer_clear(&b);
	assert_null(buffer_reserve(&b, SIZE_MAX));
	assert_true(b.failed);
	buffer_free(&b);
	assert_false(buffer_put_string(&b, "", (size_t)UINT32_MAX + 1));
	buffer_free(&b);
}

static void test_grows_and_keeps(void **state)
{
	struct buffer b;

	(void)state;
	buffer_init(&b, 100000);
	for (uint32_t i = 0; i < 25000; i++)
		assert_true(buffer_put_u32(&b, i));
	assert_false(buffer_put_u8(&b, 0));
	for (uint32_t i = 0; i < 25000; i++) {
		const uint8_t *at = b.data + 4 * i;

		assert_int_equal((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3], i);
	}
	buffer_free(&b);
}

static void test_wipes(void **state)
{
	struct buffer b;
	const uint8_t *before;

	(void)state;
	wipe_count = 0;
	buffer_init(&b, 4096);
	buffer_put(&b, "secret", 6);
	before = b.data;
	assert_non_null(buffer_reserve(&b, 2000));
	assert_ptr_not_equal(b.data, before);
	assert_true(was_wiped(before, 6));
	before = b.data;
	buffer_clear(&b);
	assert_ptr_equal(b.data, before);
	for (size_t i = 0; i < b.capacity; i++)
		assert_int_equal(b.data[i], 0);
	/* What was reserved and written is wiped, though no length was ever added for it. */
	memcpy(buffer_reserve(&b, 2000), "secret", 6);
	wipe_count = 0;
	buffer_free(&b);
	assert_true(was_wiped(before, 2000));
}

static void test_base64url(void **state)
{
	static const struct {
		const char *text, *wanted;
		size_t length;
	} good[] = {
		{ "", "", 0 },
		{ "Zg", "f", 1 },
		{ "Zm8", "fo", 2 },
		{ "Zm9v", "foo", 3 },
		{ "Zm9vYg", "foob", 4 },
		{ "Zm9vYmE", "fooba", 5 },
		{ "Zm9vYmFy", "foobar", 6 },
		{ "-_-_", "\xfb\xff\xbf", 3 },
		{ "AAAA", "\0\0\0", 3 },
	};
	static const char *const wrong[] = { "Z", "Zm9vY", "Zh", "Zm9=", "Zg==", "Zm+v", "Zm/v", "Zm9v\n", "Zm 9", "Zm9", "Z\xc3\xa9=" };
	struct buffer b;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		buffer_init(&b, 64);
		assert_true(buffer_put_u8(&b, '>'));
		assert_true(buffer_put_base64url(&b, good[i].text, strlen(good[i].text)));
		assert_int_equal(b.length, good[i].length + 1);
		assert_memory_equal(b.data + 1, good[i].wanted, good[i].length);
		buffer_free(&b);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		buffer_init(&b, 64);
		assert_true(buffer_put_u8(&b, '>'));
		if (buffer_put_base64url(&b, wrong[i], strlen(wrong[i])) || !b.failed || b.length != 1)
			fail_msg("decoded: \"%s\"", wrong[i]);
		buffer_free(&b);
	}
	buffer_init(&b, 64);
	assert_false(buffer_put_base64url(&b, "Zm\0v", 4));
	buffer_free(&b);
	buffer_init(&b, 4);
	assert_false(buffer_put_base64url(&b, "Zm9vYmFy", 8));
	buffer_free(&b);
}

/* Every byte at every place of a text of two to seven digits: taken if it is a digit, and at the end one without loose bits. */
static void test_base64url_every_byte(void **state)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	static const size_t loose[] = { 1, 1, 16, 4 }; /* what the last digit's value must divide by, by length modulo 4 */
	struct buffer b;

	(void)state;
	for (size_t length = 2; length <= 7; length++) {
		for (size_t place = 0; length % 4 != 1 && place < length; place++) {
			for (int byte = 0; byte < 256; byte++) {
				const char *digit = byte ? strchr(digits, byte) : NULL;
				bool last = place == length - 1,
				     good = digit && (!last || (size_t)(digit - digits) % loose[length % 4] == 0);
				char text[8] = "AAAAAAA";
				uint64_t value = 0;

				text[place] = (char)byte;
				buffer_init(&b, 64);
				if (buffer_put_base64url(&b, text, length) != good)
					fail_msg("byte %02x at %zu of %zu", byte, place, length);
				for (size_t i = 0; i < b.length; i++)
					value = value << 8 | b.data[i];
				assert_int_equal(b.length, good ? length * 6 / 8 : 0);
				if (good)
					assert_true(value == (uint64_t)(digit - digits) << 6 * (length - 1 - place) >> length * 6 % 8);
				buffer_free(&b);
			}
		}
	}
}

/* --- the reader --------------------------------------------------------------------- */

static void test_read(void **state)
{
	struct buffer b;
	struct reader r;
	const uint8_t *view;
	char text[8], *copy;
	size_t length;

	(void)state;
	buffer_init(&b, 1000);
	buffer_put_u8(&b, 1);
	buffer_put_u32(&b, 0xfffffffe);
	buffer_put_u64(&b, UINT64_MAX - 2);
	buffer_put_string(&b, "a\0b", 3);
	buffer_put_text(&b, "seven c");
	buffer_put_text(&b, "copy");
	reader_init(&r, b.data, b.length);
	assert_int_equal(reader_u8(&r), 1);
	assert_int_equal(reader_u32(&r), 0xfffffffe);
	assert_true(reader_u64(&r) == UINT64_MAX - 2);
	view = reader_string(&r, &length);
	assert_int_equal(length, 3);
	assert_memory_equal(view, "a\0b", 3);
	reader_text(&r, text, sizeof(text));
	assert_string_equal(text, "seven c");
	assert_false(reader_done(&r));
	copy = reader_dup(&r, 4);
	assert_string_equal(copy, "copy");
	assert_true(reader_done(&r));
	free(copy);
	buffer_free(&b);
}

/* Nothing is read past the end, wherever that falls, and a failure lasts. */
static void test_read_too_little(void **state)
{
	struct reader r;
	size_t length;
	char text[8];

	(void)state;
	for (size_t left = 0; left < 4; left++) {
		uint8_t *bytes = malloc(left + 1);

		memset(bytes, 1, left + 1);
		reader_init(&r, bytes, left);
		assert_int_equal(reader_u32(&r), 0);
		assert_true(r.failed);
		assert_int_equal(reader_u8(&r), 0);
		assert_true(reader_u64(&r) == 0);
		assert_null(reader_string(&r, &length));
		assert_int_equal(length, 0);
		assert_null(reader_dup(&r, 10));
		reader_text(&r, text, sizeof(text));
		assert_string_equal(text, "");
		assert_false(reader_done(&r));
		free(bytes);
	}
	reader_init(&r, "\xff\xff\xff\xffxyz", 7);
	assert_null(reader_string(&r, &length));
	assert_int_equal(length, 0);
	assert_true(r.failed);
	reader_init(&r, NULL, 0);
	assert_true(reader_done(&r));
	assert_int_equal(reader_u8(&r), 0);
	assert_false(reader_done(&r));
}

static void test_read_bad_text(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} wrong[] = { { "\0\0\0\4abcd", 8 }, { "\0\0\0\2a\0", 6 }, { "\0\0\0\2a", 5 }, { "\0\0\0", 3 } };
	struct reader r;
	char text[4];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memset(text, 'x', sizeof(text));
		reader_init(&r, wrong[i].bytes, wrong[i].length);
		reader_text(&r, text, sizeof(text));
		assert_true(r.failed);
		assert_string_equal(text, "");
		reader_init(&r, wrong[i].bytes, wrong[i].length);
		assert_null(reader_dup(&r, 3));
		assert_true(r.failed);
	}
	reader_init(&r, "\0\0\0\3abc", 7);
	reader_text(&r, text, sizeof(text));
	assert_string_equal(text, "abc");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_grows_and_keeps),
		cmocka_unit_test(test_wipes),
		cmocka_unit_test(test_base64url),
		cmocka_unit_test(test_base64url_every_byte),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_too_little),
		cmocka_unit_test(test_read_bad_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
