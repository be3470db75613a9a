/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json-check FILE: does the reader of tokens and key sets take this JSON?
 * Exit 0: yes; 7: no, and why stands on standard error; 2: used wrongly.
 * links: verify/json common/buffer
 * libs: jansson
 */
#include <stdbool.h>
#include <stdio.h>

#include "common/buffer.h"
#include "verify/json.h"

#define FILE_MAX (16u << 20)

static bool read_all(FILE *file, struct buffer *b)
{
	for (;;) {
		uint8_t *to = buffer_reserve(b, 65536);
		size_t n = to ? fread(to, 1, 65536, file) : 0;

		b->length += n;
		if (n == 0)
			return to && !ferror(file);
	}
}

int main(int argc, char **argv)
{
	FILE *file = argc == 2 ? fopen(argv[1], "re") : NULL;
	enum json_fault fault;
	struct buffer text;
	json_t *value;
	int code = 2;

	buffer_init(&text, FILE_MAX);
	if (!file || !read_all(file, &text)) {
		fprintf(stderr, "usage: json-check FILE (that can be read, of at most %u bytes)\n", FILE_MAX);
		goto out;
	}
	value = json_strict(text.data, text.length, &fault);
	code = value ? 0 : 7;
	if (!value)
		fprintf(stderr, "%s\n", json_fault_text(fault));
	json_decref(value);
out:
	if (file)
		fclose(file);
	buffer_free(&text);
	return code;
}
