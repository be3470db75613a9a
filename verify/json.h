/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One strict reader of JSON (RFC 8259) for all that decides who may log in,
 * so that no two readers see different things in the same bytes: UTF-8, no
 * member twice at any level, no NUL even escaped, no lone surrogates, nothing
 * after the value. What is nested too deep or has too many members is refused
 * before anything is allocated for it.
 */
#ifndef KEYFOB_VERIFY_JSON_H
#define KEYFOB_VERIFY_JSON_H

#include <jansson.h>
#include <stddef.h>

#define JSON_DEPTH_MAX 16 /* objects and arrays within each other */
#define JSON_MEMBERS_MAX 256 /* of one object */
#define JSON_CONTAINERS_MAX 4096 /* objects and arrays in all */

enum json_fault {
	JSON_GOOD,
	JSON_FAULT_EMPTY,
	JSON_FAULT_SYNTAX,
	JSON_FAULT_TEXT, /* bytes that are no text: not UTF-8, NUL, half a surrogate pair */
	JSON_FAULT_TWICE, /* a member stands there twice */
	JSON_FAULT_TRAILING,
	JSON_FAULT_NUMBER, /* larger than a number can be here */
	JSON_FAULT_DEPTH,
	JSON_FAULT_MEMBERS,
	JSON_FAULT_MEMORY,
};

/* Any value may stand at the top. NULL with a fault; else a reference of the caller's. */
json_t *json_strict(const void *text, size_t length, enum json_fault *fault);
/* A few words that hold nothing of the text; never NULL. */
const char *json_fault_text(enum json_fault fault);

#endif
