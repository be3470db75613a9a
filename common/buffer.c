/* SPDX-License-Identifier: Apache-2.0 */
#include "common/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buffer_init(struct buffer *b, size_t limit)
{
	memset(b, 0, sizeof(*b));
	b->limit = limit;
}

void buffer_free(struct buffer *b)
{
	if (!b)
		return;
	if (b->data) {
		explicit_bzero(b->data, b->capacity);
		free(b->data);
	}
	buffer_init(b, b->limit);
}

void buffer_clear(struct buffer *b)
{
	if (b->data)
		explicit_bzero(b->data, b->capacity);
	b->length = 0;
	b->failed = false;
}

/* Not realloc: it may leave a copy of a secret behind in freed memory. */
static bool grow(struct buffer *b, size_t capacity)
{
	uint8_t *data = malloc(capacity);

	if (!data)
		return false;
	if (b->data) {
		memcpy(data, b->data, b->length);
		explicit_bzero(b->data, b->capacity);
		free(b->data);
	}
	b->data = data;
	b->capacity = capacity;
	return true;
}

uint8_t *buffer_reserve(struct buffer *b, size_t length)
{
	size_t need, capacity;

	if (b->failed || length > b->limit - b->length)
		goto fail;
	need = b->length + length;
	if (need > b->capacity || !b->data) {
		capacity = b->capacity ? b->capacity : 64;
		while (capacity < need)
			capacity *= 2;
		if (!grow(b, capacity))
			goto fail;
	}
	return b->data + b->length;
fail:
	b->failed = true;
	return NULL;
}

bool buffer_put(struct buffer *b, const void *data, size_t length)
{
	uint8_t *to = buffer_reserve(b, length);

	if (!to)
		return false;
	if (length)
		memcpy(to, data, length);
	b->length += length;
	return true;
}

bool buffer_put_u8(struct buffer *b, uint8_t value)
{
	return buffer_put(b, &value, 1);
}

bool buffer_put_u32(struct buffer *b, uint32_t value)
{
	uint8_t bytes[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value };

	return buffer_put(b, bytes, sizeof(bytes));
}

bool buffer_put_u64(struct buffer *b, uint64_t value)
{
	return buffer_put_u32(b, (uint32_t)(value >> 32)) && buffer_put_u32(b, (uint32_t)value);
}

bool buffer_put_string(struct buffer *b, const void *data, size_t length)
{
	if (length > UINT32_MAX) {
		b->failed = true;
		return false;
	}
	return buffer_put_u32(b, (uint32_t)length) && buffer_put(b, data, length);
}

bool buffer_put_text(struct buffer *b, const char *text)
{
	return buffer_put_string(b, text ? text : "", text ? strlen(text) : 0);
}

bool buffer_printf(struct buffer *b, const char *format, ...)
{
	va_list args;
	uint8_t *to;
	int length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0 || !(to = buffer_reserve(b, (size_t)length + 1))) {
		b->failed = true;
		return false;
	}
	va_start(args, format);
	vsnprintf((char *)to, (size_t)length + 1, format, args);
	va_end(args);
	b->length += (size_t)length;
	return true;
}

/* The value of a base64url digit, above 63 for what is none. */
static uint32_t digit(char c)
{
	static const uint8_t values[128] = { 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
		64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 62, 64, 64, 52, 53, 54, 55, 56, 57, 58,
		59, 60, 61, 64, 64, 64, 64, 64, 64, 64, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
		23, 24, 25, 64, 64, 64, 64, 63, 64, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
		48, 49, 50, 51, 64, 64, 64, 64, 64 };

	return values[c & 0x7f] | ((uint32_t)c & 0x80);
}

bool buffer_put_base64url(struct buffer *b, const char *text, size_t length)
{
	const char *end = text + length / 4 * 4;
	uint8_t *to = length % 4 == 1 ? NULL : buffer_reserve(b, length / 4 * 3 + 2), *at = to;
	uint32_t wrong = 0, bits;

	if (!to)
		goto fail;
	for (; text < end; text += 4) {
		uint32_t first = digit(text[0]), second = digit(text[1]), third = digit(text[2]), fourth = digit(text[3]);

		wrong |= first | second | third | fourth;
		bits = first << 18 | second << 12 | third << 6 | fourth;
		*at++ = (uint8_t)(bits >> 16);
		*at++ = (uint8_t)(bits >> 8);
		*at++ = (uint8_t)bits;
	}
	/* Two digits are a byte and four bits, three are two bytes and two bits; the bits are 0 in the one right spelling. */
	if (length % 4) {
		uint32_t first = digit(text[0]), second = digit(text[1]), third = length % 4 == 3 ? digit(text[2]) : 0;

		wrong |= first | second | third;
		bits = first << 12 | second << 6 | third;
		*at++ = (uint8_t)(bits >> 10);
		if (length % 4 == 3)
			*at++ = (uint8_t)(bits >> 2);
		if (bits & (length % 4 == 3 ? 0x3 : 0x3ff))
			goto fail;
	}
	if (wrong > 63)
		goto fail;
	b->length += (size_t)(at - to);
	return true;
fail:
	b->failed = true;
	return false;
}

/*
 * The character at *at, which moves on, or -1 for a byte that begins none
 * (RFC 3629: shortest form, no surrogates, at most U+10FFFF).
 */
static int32_t next_character(const char **at)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)*at;
	size_t length = p[0] < 0x80 ? 1 : p[0] >= 0xf0 && p[0] < 0xf8 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;
	uint32_t c = p[0];

	++*at;
	if (length == 1)
		return (int32_t)c;
	if (length == 0 || p[0] >= 0xf8)
		return -1;
	c &= 0x7fu >> length;
	for (size_t i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return -1;
	*at += length - 1;
	return (int32_t)c;
}

bool buffer_put_json(struct buffer *b, const char *text)
{
	buffer_put(b, "\"", 1);
	while (*text) {
		unsigned char byte = (unsigned char)*text;
		int32_t c = next_character(&text);

		if (c < 0)
			buffer_printf(b, "\\\\x%02x", byte);
		else if (c == '"' || c == '\\')
			buffer_printf(b, "\\%c", c);
		else if (c >= 0x20 && c < 0x7f)
			buffer_put_u8(b, (uint8_t)c);
		else if (c < 0x10000)
			buffer_printf(b, "\\u%04x", (unsigned int)c);
		else
			buffer_printf(
				b, "\\u%04x\\u%04x", 0xd800u + (unsigned int)((c - 0x10000) >> 10), 0xdc00u + (unsigned int)(c & 0x3ff));
	}
	return buffer_put(b, "\"", 1);
}

const char *buffer_cstring(struct buffer *b)
{
	uint8_t *end = buffer_reserve(b, 1);

	if (!end)
		return NULL;
	*end = 0;
	return (const char *)b->data;
}

void reader_init(struct reader *r, const void *data, size_t length)
{
	r->at = data;
	r->left = length;
	r->failed = false;
}

static const uint8_t *take(struct reader *r, size_t length)
{
	const uint8_t *at = r->at;

	if (r->failed || length > r->left) {
		r->failed = true;
		return NULL;
	}
	r->at += length;
	r->left -= length;
	return at;
}

uint8_t reader_u8(struct reader *r)
{
	const uint8_t *p = take(r, 1);

	return p ? p[0] : 0;
}

uint32_t reader_u32(struct reader *r)
{
	const uint8_t *p = take(r, 4);

	return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

uint64_t reader_u64(struct reader *r)
{
	uint64_t high = reader_u32(r);

	return high << 32 | reader_u32(r);
}

const uint8_t *reader_string(struct reader *r, size_t *length)
{
	*length = reader_u32(r);
	const uint8_t *p = take(r, *length);

	if (!p)
		*length = 0;
	return p;
}

void reader_text(struct reader *r, char *out, size_t size)
{
	size_t length;
	const uint8_t *p = reader_string(r, &length);

	out[0] = 0;
	if (!p)
		return;
	if (length >= size || memchr(p, 0, length)) {
		r->failed = true;
		return;
	}
	memcpy(out, p, length);
	out[length] = 0;
}

char *reader_dup(struct reader *r, size_t limit)
{
	size_t length;
	const uint8_t *p = reader_string(r, &length);
	char *copy = NULL;

	if (p && length <= limit && !memchr(p, 0, length))
		copy = malloc(length + 1);
	if (!copy) {
		r->failed = true;
		return NULL;
	}
	memcpy(copy, p, length);
	copy[length] = 0;
	return copy;
}

bool reader_done(const struct reader *r)
{
	return !r->failed && r->left == 0;
}
