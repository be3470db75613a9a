/* SPDX-License-Identifier: Apache-2.0 */
/* A token that something else keeps in a file. */
#ifndef KEYFOB_TOKEN_FILE_H
#define KEYFOB_TOKEN_FILE_H

#include <stdbool.h>
#include <time.h>

#include "common/buffer.h"
#include "modules/module.h"

#define TOKEN_FILE_MAX 65536

/*
 * Append the content of a regular file of at most TOKEN_FILE_MAX bytes,
 * without the white space around it, and tell when it was last changed.
 * Symbolic links are followed: that is how Kubernetes swaps such files.
 * False, with the failure in reply, otherwise; an empty file is one that is
 * being written, so it is TRANSIENT.
 */
bool token_file_read(const char *path, struct buffer *content, time_t *changed, struct keyfob_reply *reply);
/* The same rules for content that is there already: false when nothing is left. */
bool token_file_trim(struct buffer *content, const char *path, struct keyfob_reply *reply);

#endif
