/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owned, bounded bytes, and a cursor that reads them.
 *
 * Both remember the first failure: a caller puts or gets a whole frame and
 * asks once, at the end, whether all of it went well. What a buffer held is
 * wiped when it is freed or moves, since most of what passes here is secret.
 */
#ifndef KEYFOB_BUFFER_H
#define KEYFOB_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer {
	uint8_t *data;
	size_t length;
	size_t capacity;
	size_t limit; /* never grows past this */
	bool failed; /* a put did not fit, or memory ran out */
};

/* Start an empty buffer that holds at most limit bytes. Allocates nothing. */
void buffer_init(struct buffer *b, size_t limit);
/* Wipe, free, and leave an empty buffer with the same limit. NULL is fine. */
void buffer_free(struct buffer *b);
/* Wipe the content and the failure, keep the memory. */
void buffer_clear(struct buffer *b);

/* Append. Each returns false, now and ever after, once something did not fit. */
bool buffer_put(struct buffer *b, const void *data, size_t length);
bool buffer_put_u8(struct buffer *b, uint8_t value);
bool buffer_put_u32(struct buffer *b, uint32_t value); /* big endian */
bool buffer_put_u64(struct buffer *b, uint64_t value);
/* A u32 length, then the bytes (RFC 4251 section 5, "string"). */
bool buffer_put_string(struct buffer *b, const void *data, size_t length);
bool buffer_put_text(struct buffer *b, const char *text); /* NULL counts as "" */
bool buffer_printf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/*
 * Decode base64url (RFC 4648 section 5, no padding) and append. Strict: a
 * foreign character, a length of 1 modulo 4 or unused bits that are not zero
 * fail, and then nothing is appended.
 */
bool buffer_put_base64url(struct buffer *b, const char *text, size_t length);
/* Text as a JSON string, quotes included, in ASCII, so that a terminal can be shown it. A byte that is no UTF-8 becomes the text "\xNN". */
bool buffer_put_json(struct buffer *b, const char *text);
/*
 * Make room for length more bytes and return where they go, NULL on failure.
 * The caller fills them and adds what it wrote to b->length.
 */
uint8_t *buffer_reserve(struct buffer *b, size_t length);
/* A NUL after the content, which length does not count; NULL once failed. */
const char *buffer_cstring(struct buffer *b);

struct reader {
	const uint8_t *at;
	size_t left;
	bool failed;
};

void reader_init(struct reader *r, const void *data, size_t length);
/* Each returns 0 (or an empty view) once the input ended too early. */
uint8_t reader_u8(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
/* A view into the input, valid as long as the input is. Not NUL-terminated. */
const uint8_t *reader_string(struct reader *r, size_t *length);
/*
 * Copy a string of at most size - 1 bytes and terminate it. A longer one, or
 * one that holds a NUL, fails the reader.
 */
void reader_text(struct reader *r, char *out, size_t size);
/* The same into fresh memory, for the caller to free; NULL fails the reader. */
char *reader_dup(struct reader *r, size_t limit);
/* All was well and nothing is left over. */
bool reader_done(const struct reader *r);

#endif
