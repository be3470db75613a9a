/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "emulator.h"

static char *decode(const char *text, size_t length)
{
	char *copy, *plain;
	size_t size = 0;

	copy = strndup(text, length);
	if (!copy)
		return NULL;
	plain = evhttp_uridecode(copy, 1, &size);
	free(copy);
	if (plain && strlen(plain) != size) {
		free(plain);
		return NULL;
	}
	return plain;
}

static bool add(struct emu_query *q, const char *pair, size_t length)
{
	const char *equals = memchr(pair, '=', length);
	size_t name_length = equals ? (size_t)(equals - pair) : length;
	size_t skip = equals ? name_length + 1 : name_length;

	if (q->count == EMU_PARAMETERS || name_length == 0)
		return false;
	q->name[q->count] = decode(pair, name_length);
	q->value[q->count] = decode(pair + skip, length - skip);
	q->count++;
	return q->name[q->count - 1] && q->value[q->count - 1];
}

bool emu_query_parse(struct emu_query *q, const char *text, size_t length)
{
	const char *end = text + length;

	while (text < end) {
		const char *stop = memchr(text, '&', (size_t)(end - text));

		if (!stop)
			stop = end;
		if (stop > text && !add(q, text, (size_t)(stop - text)))
			return false;
		text = stop < end ? stop + 1 : end;
	}
	return true;
}

bool emu_form_encoded(const char *text, size_t length)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~*+&=";
	static const char hex[] = "0123456789ABCDEFabcdef";

	for (size_t i = 0; i < length; i++) {
		if (text[i] == '%' && i + 2 < length && strchr(hex, text[i + 1]) && strchr(hex, text[i + 2]))
			i += 2;
		else if (!text[i] || !strchr(plain, text[i]))
			return false;
	}
	return true;
}

void emu_query_free(struct emu_query *q)
{
	for (size_t i = 0; i < q->count; i++) {
		free(q->name[i]);
		free(q->value[i]);
	}
	q->count = 0;
}

const char *emu_query_get(const struct emu_query *q, const char *name)
{
	for (size_t i = 0; i < q->count; i++)
		if (strcmp(q->name[i], name) == 0)
			return q->value[i];
	return NULL;
}

const char *emu_query_repeated(const struct emu_query *q)
{
	for (size_t i = 0; i < q->count; i++)
		for (size_t j = i + 1; j < q->count; j++)
			if (strcasecmp(q->name[i], q->name[j]) == 0)
				return q->name[i];
	return NULL;
}
