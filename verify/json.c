/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values are jansson's, the reading is not: jansson's own costs as much as
 * an RSA verification, recurses 2,048 levels deep, and overlooks a NUL that
 * follows a number. Numbers that are not small integers are left to it.
 */
#include "verify/json.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct input {
	const uint8_t *at, *end;
	char *scratch; /* the keys of the objects that are open, then the string being read; as large as the text */
	size_t used;
	unsigned int depth, containers;
	enum json_fault fault;
};

static json_t *read_value(struct input *in);

static json_t *fail(struct input *in, enum json_fault fault)
{
	if (!in->fault)
		in->fault = fault;
	return NULL;
}

static json_t *made(struct input *in, json_t *value)
{
	return value ? value : fail(in, JSON_FAULT_MEMORY);
}

static void skip_space(struct input *in)
{
	while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r'))
		in->at++;
}

/* Take this character if it is next. */
static bool take(struct input *in, uint8_t c)
{
	if (in->at == in->end || *in->at != c)
		return false;
	in->at++;
	return true;
}

static bool take_word(struct input *in, const char *word)
{
	size_t length = strlen(word);

	if ((size_t)(in->end - in->at) < length || memcmp(in->at, word, length) != 0)
		return false;
	in->at += length;
	return true;
}

/* Four hexadecimal digits; -1: they are not there. */
static int32_t read_hex(struct input *in)
{
	int32_t value = 0;

	if (in->end - in->at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		uint8_t c = *in->at++;

		if (c >= '0' && c <= '9')
			c = (uint8_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			c = (uint8_t)((c | 0x20) - 'a' + 10);
		else
			return -1;
		value = value << 4 | c;
	}
	return value;
}

static size_t put_utf8(char *out, int32_t code)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 0x3f));
		out[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 0x3f));
	out[2] = (char)(0x80 | (code >> 6 & 0x3f));
	out[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

/* After a backslash and u. 0: no character that may stand in a text. */
static size_t read_code(struct input *in, char *out)
{
	int32_t code = read_hex(in), low;

	if (code < 0) {
		fail(in, JSON_FAULT_SYNTAX);
		return 0;
	}
	if (code >= 0xd800 && code <= 0xdbff) {
		low = take_word(in, "\\u") ? read_hex(in) : -1;
		if (low < 0xdc00 || low > 0xdfff)
			code = 0;
		else
			code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
	}
	if (code == 0 || (code >= 0xdc00 && code <= 0xdfff)) {
		fail(in, JSON_FAULT_TEXT);
		return 0;
	}
	return put_utf8(out, code);
}

/* After a backslash. How many bytes it stands for; 0: none. */
static size_t read_escape(struct input *in, char *out)
{
	static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	const char *name;

	if (take(in, 'u'))
		return read_code(in, out);
	name = in->at < in->end && *in->at ? strchr(names, *in->at) : NULL;
	if (!name) {
		fail(in, JSON_FAULT_SYNTAX);
		return 0;
	}
	in->at++;
	*out = meant[name - names];
	return 1;
}

/*
 * After the opening quote: decode into the scratch, where NUL ends it. *ascii:
 * there is nothing in it that could be wrong UTF-8.
 */
static bool read_text(struct input *in, size_t *length, bool *ascii)
{
	char *out = in->scratch + in->used;
	uint8_t bits = 0;
	size_t n = 0;

	while (in->at < in->end) {
		uint8_t c = *in->at++;

		if (c == '"') {
			out[n] = 0;
			*length = n;
			*ascii = bits < 0x80;
			return true;
		}
		if (c == '\\') {
			size_t put = read_escape(in, out + n);

			if (put == 0)
				return false;
			bits |= (uint8_t)out[n];
			n += put;
		} else if (c < 0x20) {
			fail(in, c ? JSON_FAULT_SYNTAX : JSON_FAULT_TEXT);
			return false;
		} else {
			bits |= c;
			out[n++] = (char)c;
		}
	}
	fail(in, JSON_FAULT_SYNTAX);
	return false;
}

static json_t *read_string(struct input *in)
{
	const char *text = in->scratch + in->used;
	size_t length;
	json_t *value;
	bool ascii;

	if (!read_text(in, &length, &ascii))
		return NULL;
	if (ascii)
		return made(in, json_stringn_nocheck(text, length));
	value = json_stringn(text, length);
	return value ? value : fail(in, JSON_FAULT_TEXT);
}

static size_t take_digits(struct input *in)
{
	const uint8_t *start = in->at;

	while (in->at < in->end && *in->at >= '0' && *in->at <= '9')
		in->at++;
	return (size_t)(in->at - start);
}

/* RFC 8259 section 6. */
static json_t *read_number(struct input *in)
{
	const uint8_t *start = in->at, *digit;
	bool minus = take(in, '-'), whole = true;
	json_int_t number = 0;
	json_error_t error;
	json_t *value;
	size_t digits;

	digit = in->at;
	digits = take_digits(in);
	if (digits == 0 || (digits > 1 && *digit == '0'))
		return fail(in, JSON_FAULT_SYNTAX);
	if (take(in, '.')) {
		whole = false;
		if (take_digits(in) == 0)
			return fail(in, JSON_FAULT_SYNTAX);
	}
	if (take(in, 'e') || take(in, 'E')) {
		whole = false;
		if (!take(in, '-'))
			take(in, '+');
		if (take_digits(in) == 0)
			return fail(in, JSON_FAULT_SYNTAX);
	}
	if (whole && digits <= 18) {
		while (digit < in->at)
			number = number * 10 + (*digit++ - '0');
		return made(in, json_integer(minus ? -number : number));
	}
	value = json_loadb((const char *)start, (size_t)(in->at - start), JSON_DECODE_ANY, &error);
	return value ? value : fail(in, JSON_FAULT_NUMBER);
}

static bool set_member(struct input *in, json_t *object, const char *key, bool ascii, json_t *value)
{
	size_t before = json_object_size(object);

	if ((ascii ? json_object_set_new_nocheck(object, key, value) : json_object_set_new(object, key, value)) != 0)
		fail(in, ascii ? JSON_FAULT_MEMORY : JSON_FAULT_TEXT);
	else if (json_object_size(object) == before)
		fail(in, JSON_FAULT_TWICE);
	else if (before == JSON_MEMBERS_MAX)
		fail(in, JSON_FAULT_MEMBERS);
	return !in->fault;
}

static bool read_member(struct input *in, json_t *object)
{
	const char *key = in->scratch + in->used;
	size_t length, before = in->used;
	json_t *value;
	bool ascii;

	skip_space(in);
	if (!take(in, '"')) {
		fail(in, JSON_FAULT_SYNTAX);
		return false;
	}
	if (!read_text(in, &length, &ascii))
		return false;
	skip_space(in);
	if (!take(in, ':')) {
		fail(in, JSON_FAULT_SYNTAX);
		return false;
	}
	in->used += length + 1;
	value = read_value(in);
	in->used = before;
	return value && set_member(in, object, key, ascii, value);
}

static bool read_element(struct input *in, json_t *array)
{
	json_t *value = read_value(in);

	if (value && json_array_append_new(array, value) != 0)
		fail(in, JSON_FAULT_MEMORY);
	return !in->fault;
}

/* After the opening bracket. */
static json_t *read_container(struct input *in, bool object)
{
	uint8_t close = object ? '}' : ']';
	json_t *value;

	if (in->depth == JSON_DEPTH_MAX)
		return fail(in, JSON_FAULT_DEPTH);
	if (++in->containers > JSON_CONTAINERS_MAX)
		return fail(in, JSON_FAULT_MEMBERS);
	value = made(in, object ? json_object() : json_array());
	if (!value)
		return NULL;
	in->depth++;
	skip_space(in);
	if (!take(in, close)) {
		do {
			if (!(object ? read_member(in, value) : read_element(in, value)))
				goto fail;
			skip_space(in);
		} while (take(in, ','));
		if (!take(in, close)) {
			fail(in, JSON_FAULT_SYNTAX);
			goto fail;
		}
	}
	in->depth--;
	return value;
fail:
	json_decref(value);
	return NULL;
}

static json_t *read_value(struct input *in)
{
	skip_space(in);
	if (in->at == in->end)
		return fail(in, JSON_FAULT_SYNTAX);
	switch (*in->at) {
	case '{':
	case '[':
		return read_container(in, *in->at++ == '{');
	case '"':
		in->at++;
		return read_string(in);
	case 't':
		return take_word(in, "true") ? json_true() : fail(in, JSON_FAULT_SYNTAX);
	case 'f':
		return take_word(in, "false") ? json_false() : fail(in, JSON_FAULT_SYNTAX);
	case 'n':
		return take_word(in, "null") ? json_null() : fail(in, JSON_FAULT_SYNTAX);
	default:
		return read_number(in);
	}
}

json_t *json_strict(const void *text, size_t length, enum json_fault *fault)
{
	struct input in = { .at = text, .fault = JSON_GOOD };
	json_t *value = NULL;

	if (length == 0) {
		*fault = JSON_FAULT_EMPTY;
		return NULL;
	}
	in.end = in.at + length;
	in.scratch = malloc(length);
	if (in.scratch)
		value = read_value(&in);
	else
		fail(&in, JSON_FAULT_MEMORY);
	skip_space(&in);
	if (value && in.at < in.end) {
		fail(&in, JSON_FAULT_TRAILING);
		json_decref(value);
		value = NULL;
	}
	if (in.scratch)
		explicit_bzero(in.scratch, length);
	free(in.scratch);
	*fault = in.fault;
	return value;
}

const char *json_fault_text(enum json_fault fault)
{
	static const char *const words[] = {
		[JSON_GOOD] = "it is JSON",
		[JSON_FAULT_EMPTY] = "it is empty",
		[JSON_FAULT_SYNTAX] = "it is not JSON",
		[JSON_FAULT_TEXT] = "the JSON holds bytes that are not text",
		[JSON_FAULT_TWICE] = "a JSON member stands there twice",
		[JSON_FAULT_TRAILING] = "something follows the JSON",
		[JSON_FAULT_NUMBER] = "the JSON holds a number out of all bounds",
		[JSON_FAULT_DEPTH] = "the JSON is nested too deep",
		[JSON_FAULT_MEMBERS] = "the JSON has too many members",
		[JSON_FAULT_MEMORY] = "out of memory",
	};

	return (size_t)fault < sizeof(words) / sizeof(words[0]) ? words[fault] : "unknown fault";
}
