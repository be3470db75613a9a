/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <string.h>

/* A comma, unless this is the first of its object or list; then the member's name. */
static void begin(struct buffer *b, const char *name)
{
	char last = b->length ? (char)b->data[b->length - 1] : '{';

	if (last != '{' && last != '[')
		buffer_put(b, ",", 1);
	if (name) {
		buffer_put_json(b, name);
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
		buffer_put_json(b, text);
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
