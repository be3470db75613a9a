/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <string.h>

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

/* In ASCII, so that a terminal can be shown it. A byte that is no UTF-8 becomes the text "\xNN". */
bool cli_put_json(struct buffer *b, const char *text)
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

/* A comma, unless this is the first of its object or list; then the member's name. */
static void begin(struct buffer *b, const char *name)
{
	char last = b->length ? (char)b->data[b->length - 1] : '{';

	if (last != '{' && last != '[')
		buffer_put(b, ",", 1);
	if (name) {
		cli_put_json(b, name);
		buffer_put(b, ":", 1);
	}
}

void cli_json_open(struct buffer *b, const char *name, char bracket)
{
	begin(b, name);
	buffer_put_u8(b, (uint8_t)bracket);
}

void cli_json_close(struct buffer *b, char bracket)
{
	buffer_put_u8(b, (uint8_t)bracket);
}

void cli_json_text(struct buffer *b, const char *name, const char *text)
{
	begin(b, name);
	if (text)
		cli_put_json(b, text);
	else
		buffer_printf(b, "null");
}

void cli_json_raw(struct buffer *b, const char *name, const char *json)
{
	begin(b, name);
	buffer_put(b, json, strlen(json));
}

void cli_json_optional(struct buffer *b, const char *name, const char *text)
{
	cli_json_text(b, name, text && *text ? text : NULL);
}

void cli_json_number(struct buffer *b, const char *name, uint64_t number)
{
	begin(b, name);
	buffer_printf(b, "%llu", (unsigned long long)number);
}

void cli_json_time(struct buffer *b, const char *name, uint64_t when)
{
	if (when)
		cli_json_number(b, name, when);
	else
		cli_json_text(b, name, NULL);
}

void cli_json_flag(struct buffer *b, const char *name, bool flag)
{
	begin(b, name);
	buffer_printf(b, flag ? "true" : "false");
}
