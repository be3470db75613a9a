/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/json.h"

#include <stdlib.h>
#include <string.h>

#include "modules/wipe.h"

static json_malloc_t plain_malloc;
static json_free_t plain_free;

/* jansson's own texts quote what they stumbled over, which may be a token. */
static const char *reason(const json_error_t *error)
{
	switch (json_error_code(error)) {
	case json_error_duplicate_key:
		return "a JSON member stands there twice";
	case json_error_premature_end_of_input:
		return "the JSON ends too early";
	case json_error_end_of_input_expected:
		return "something follows the JSON";
	case json_error_invalid_utf8:
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return "the JSON holds bytes that are not text";
	case json_error_out_of_memory:
		return "out of memory";
	default:
		return "it is not JSON";
	}
}

static json_t *load(const void *data, size_t length, json_type type, const char **why)
{
	json_error_t error;
	json_t *object;

	/* jansson 2.14 passes over one behind a number. */
	if (length && memchr(data, 0, length)) {
		*why = "the JSON holds bytes that are not text";
		return NULL;
	}
	json_get_alloc_funcs(&plain_malloc, &plain_free);
	json_set_alloc_funcs(wipe_malloc, wipe_free);
	object = json_loadb(length ? data : "", length, JSON_REJECT_DUPLICATES, &error);
	if (!object)
		*why = length ? reason(&error) : "it is empty";
	explicit_bzero(&error, sizeof(error));
	if (object && json_typeof(object) == type)
		return object;
	if (object) {
		json_decref(object);
		*why = type == JSON_ARRAY ? "it is not a JSON array" : "it is not a JSON object";
	}
	json_set_alloc_funcs(plain_malloc, plain_free);
	return NULL;
}

json_t *json_reply_load(const void *data, size_t length, const char **why)
{
	return load(data, length, JSON_OBJECT, why);
}

json_t *json_reply_load_array(const void *data, size_t length, const char **why)
{
	return load(data, length, JSON_ARRAY, why);
}

void json_reply_free(json_t *object)
{
	if (!object)
		return;
	json_decref(object);
	json_set_alloc_funcs(plain_malloc, plain_free);
}

const char *json_reply_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text && text[0] ? text : NULL;
}

bool json_reply_token(struct keyfob_reply *reply, const char *token, size_t length)
{
	reply->token = malloc(length + 1);
	if (!reply->token) {
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "out of memory");
		return false;
	}
	memcpy(reply->token, token, length);
	reply->token[length] = 0;
	reply->length = length;
	reply->class = KEYFOB_CLASS_OK;
	return true;
}
