/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A harness gives the bytes of one input to a parser that ships, and seeds to
 * begin with. libfuzzer.c has libFuzzer drive it (make fuzz), driver.c does
 * it without clang (make check).
 *
 * Like a unit test a harness says what it links in "links: a b" and "libs: x";
 * in "wrap: f" the functions that it stands in for as __wrap_f; and in
 * "parser: a b" the files whose coverage counts.
 */
#ifndef KEYFOB_FUZZ_H
#define KEYFOB_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_MAX 65536 /* bytes of an input */

/* The harness. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void fuzz_seeds(void);

/* The driver: take a seed. For fuzz_seeds(). */
void fuzz_seed(const void *data, size_t length);
#define fuzz_text(text) fuzz_seed(text, sizeof(text) - 1)

/* What must hold whatever the input. */
#define fuzz_require(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* The input up to the next byte of this value, which is dropped; of an exact size, so that whoever reads past it is found out. */
struct fuzz_part {
	char *bytes; /* the caller frees it */
	size_t length;
};

static inline struct fuzz_part fuzz_take(const uint8_t **data, size_t *size, uint8_t end)
{
	const uint8_t *at = *size ? memchr(*data, end, *size) : NULL;
	size_t length = at ? (size_t)(at - *data) : *size;
	struct fuzz_part part = { malloc(length ? length : 1), length };

	fuzz_require(part.bytes);
	if (length)
		memcpy(part.bytes, *data, length);
	*data += length + (at != NULL);
	*size -= length + (at != NULL);
	return part;
}

/* The same as a text: NULs become blanks, and one NUL follows. */
static inline char *fuzz_take_text(const uint8_t **data, size_t *size, uint8_t end)
{
	struct fuzz_part part = fuzz_take(data, size, end);
	char *text = malloc(part.length + 1);

	fuzz_require(text);
	for (size_t i = 0; i < part.length; i++)
		text[i] = part.bytes[i] ? part.bytes[i] : ' ';
	text[part.length] = 0;
	free(part.bytes);
	return text;
}

/* One line of printable ASCII. */
static inline int fuzz_is_plain(const char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			return 0;
	return 1;
}

#endif
