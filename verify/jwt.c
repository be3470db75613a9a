/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/jwt.h"

#include <string.h>

#define YEAR_9999 253402300799 /* the last second of it */

/* Before the parser recurses: it allows 2,048 levels, and each costs stack. */
static bool too_deep(const uint8_t *json, size_t length)
{
	bool quoted = false;
	int depth = 0;

	for (size_t i = 0; i < length; i++) {
		uint8_t c = json[i];

		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '{' || c == '['))
			depth++;
		else if (!quoted && (c == '}' || c == ']'))
			depth--;
		if (depth > JWT_DEPTH_MAX)
			return true;
	}
	return false;
}

static json_t *parse_object(const char *part, size_t length, size_t limit, enum jwt_error bad, enum jwt_error *error)
{
	json_error_t detail;
	struct buffer text;
	json_t *object = NULL;

	buffer_init(&text, limit + 2);
	if (length / 4 * 3 > limit) {
		*error = JWT_ESIZE;
		goto out;
	}
	if (!buffer_put_base64url(&text, part, length)) {
		*error = JWT_EENCODING;
		goto out;
	}
	*error = bad;
	if (text.length == 0 || text.length > limit || too_deep(text.data, text.length))
		goto out;
	object = json_loadb((const char *)text.data, text.length, JSON_REJECT_DUPLICATES, &detail);
	if (!object) {
		if (json_error_code(&detail) == json_error_out_of_memory)
			*error = JWT_ENOMEM;
		goto out;
	}
	if (!json_is_object(object) || json_object_size(object) > JWT_MEMBERS_MAX) {
		json_decref(object);
		object = NULL;
		goto out;
	}
	*error = JWT_OK;
out:
	buffer_free(&text);
	return object;
}

enum jwt_error jwt_parse(struct jwt *jwt, const char *token, size_t length)
{
	const char *first, *second, *end = token + length;
	enum jwt_error error = JWT_EFORM;

	memset(jwt, 0, sizeof(*jwt));
	if (length == 0 || length > JWT_TOKEN_MAX)
		return JWT_ESIZE;
	first = memchr(token, '.', length);
	if (!first || first == token)
		return JWT_EFORM;
	second = memchr(first + 1, '.', (size_t)(end - first - 1));
	if (!second || second == first + 1 || memchr(second + 1, '.', (size_t)(end - second - 1)))
		return JWT_EFORM;
	jwt->signed_length = (size_t)(second - token);
	buffer_init(&jwt->signature, JWT_TOKEN_MAX);
	jwt->header = parse_object(token, (size_t)(first - token), JWT_HEADER_MAX, JWT_EHEADER, &error);
	if (!jwt->header)
		goto fail;
	jwt->claims = parse_object(first + 1, (size_t)(second - first - 1), JWT_TOKEN_MAX, JWT_ECLAIMS, &error);
	if (!jwt->claims)
		goto fail;
	if (!buffer_put_base64url(&jwt->signature, second + 1, (size_t)(end - second - 1))) {
		error = JWT_EENCODING;
		goto fail;
	}
	return JWT_OK;
fail:
	jwt_free(jwt);
	return error;
}

void jwt_free(struct jwt *jwt)
{
	json_decref(jwt->header);
	json_decref(jwt->claims);
	buffer_free(&jwt->signature);
	memset(jwt, 0, sizeof(*jwt));
}

const char *jwt_strerror(enum jwt_error error)
{
	static const char *const words[] = {
		[JWT_OK] = "well formed",
		[JWT_ESIZE] = "empty, or too large for a token",
		[JWT_EFORM] = "not a JWT: not three parts with dots between them",
		[JWT_EENCODING] = "not a JWT: a part is not proper base64url",
		[JWT_EHEADER] = "the header is not a proper JSON object",
		[JWT_ECLAIMS] = "the claims are not a proper JSON object",
		[JWT_ENOMEM] = "out of memory",
	};

	return (size_t)error < sizeof(words) / sizeof(words[0]) ? words[error] : "unknown error";
}

const char *jwt_text(const json_t *object, const char *member)
{
	return json_string_value(json_object_get(object, member));
}

bool jwt_time(const json_t *object, const char *member, int64_t *seconds)
{
	const json_t *value = json_object_get(object, member);

	if (json_is_integer(value)) {
		json_int_t whole = json_integer_value(value);

		if (whole < 0 || whole > YEAR_9999)
			return false;
		*seconds = whole;
		return true;
	}
	if (json_is_real(value)) {
		double real = json_real_value(value);

		if (!(real >= 0 && real <= (double)YEAR_9999))
			return false;
		*seconds = (int64_t)real;
		return true;
	}
	return false;
}
