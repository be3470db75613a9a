/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for libraries that handle tokens and know nothing of wiping:
 * whatever they free or move is overwritten first. The size stands in a
 * header before each block.
 */
#ifndef KEYFOB_WIPE_H
#define KEYFOB_WIPE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WIPE_HEADER sizeof(max_align_t)

static inline void *wipe_malloc(size_t size)
{
	char *block = size > SIZE_MAX - WIPE_HEADER ? NULL : malloc(size + WIPE_HEADER);

	if (!block)
		return NULL;
	memcpy(block, &size, sizeof(size));
	return block + WIPE_HEADER;
}

static inline void wipe_free(void *data)
{
	char *block = data;
	size_t size;

	if (!block)
		return;
	block -= WIPE_HEADER;
	memcpy(&size, block, sizeof(size));
	explicit_bzero(block, size + WIPE_HEADER);
	free(block);
}

static inline void *wipe_realloc(void *data, size_t size)
{
	char *fresh = wipe_malloc(size);
	size_t old;

	if (!fresh || !data)
		return fresh;
	memcpy(&old, (char *)data - WIPE_HEADER, sizeof(old));
	memcpy(fresh, data, old < size ? old : size);
	wipe_free(data);
	return fresh;
}

static inline void *wipe_calloc(size_t count, size_t size)
{
	size_t total;
	void *data;

	if (__builtin_mul_overflow(count, size, &total) || !(data = wipe_malloc(total)))
		return NULL;
	return memset(data, 0, total);
}

static inline char *wipe_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = wipe_malloc(size);

	return copy ? memcpy(copy, text, size) : NULL;
}

#endif
