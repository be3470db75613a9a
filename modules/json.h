/* SPDX-License-Identifier: Apache-2.0 */
/* JSON replies that hold a token: read strictly, wiped when done with. */
#ifndef KEYFOB_MODULES_JSON_H
#define KEYFOB_MODULES_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "modules/module.h"

/*
 * Read one JSON object; a member named twice, bytes after the object and
 * NULs are refused. On failure NULL, and *why says what is wrong in words
 * that hold nothing of the text itself. One at a time: until json_reply_free
 * all of jansson allocates from memory that is wiped.
 */
json_t *json_reply_load(const void *data, size_t length, const char **why);
/* The same for an array. */
json_t *json_reply_load_array(const void *data, size_t length, const char **why);
/* Wipe and free it. NULL is fine. */
void json_reply_free(json_t *object);
/* A non-empty string member, or NULL. */
const char *json_reply_text(const json_t *object, const char *name);
/* Give the token to the reply, copied. False, and a failure in the reply, when memory runs out. */
bool json_reply_token(struct keyfob_reply *reply, const char *token, size_t length);

#endif
