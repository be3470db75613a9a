/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files as sections of keys, each with its file and line:
 * keyfob.conf, then conf.d/NAME.conf beside it in order. What the sections mean
 * is for the room that reads them to say.
 */
#ifndef KEYFOB_CONFIG_H
#define KEYFOB_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"

#define CONFIG_DEFAULT "/etc/keyfob/keyfob.conf"

struct config_entry {
	char *key;
	char *value;
	unsigned int line;
};

struct config_section {
	char *type; /* "credential" of [credential atlas] */
	char *name; /* "atlas"; "" when there is none */
	char *file;
	unsigned int line; /* of its title */
	struct config_entry *entries; /* in the order of the file; a key may repeat */
	size_t count;
};

struct config {
	struct config_section *sections;
	size_t count;
};

/*
 * Read path and its drop-ins. Files and their directory must be root's (or
 * the caller's own) and not writable for group or others.
 * Appends one line "FILE:LINE: what is wrong" per fault to errors, and
 * returns true only if there was none. The caller frees the config in any case.
 */
bool config_load(const char *path, struct config *config, struct buffer *errors);
void config_free(struct config *config);

/* The first value of a key in a section, or NULL. */
const char *config_value(const struct config_section *section, const char *key);
/* Is a key there, and yes? */
bool config_says_yes(const struct config_section *section, const char *key);

/* A duration: 90, 90s, 15m, 1h, 2d. false for anything else, or beyond ten years. */
bool config_seconds(const char *text, unsigned int *seconds);

#endif
