/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/jwt.h"

#include <string.h>

#define YEAR_9999 253402300799 /* the last second of it */

static enum jwt_error decode(const char *part, size_t length, size_t limit, struct buffer *bytes)
{
	if (length / 4 * 3 > limit)
		return JWT_ESIZE;
	return buffer_put_base64url(bytes, part, length) ? JWT_OK : JWT_EENCODING;
}

static enum jwt_error parse_object(const char *part, size_t length, size_t limit, enum jwt_error bad, json_t **object)
{
	enum json_fault fault;
	enum jwt_error error;
	struct buffer text;

	buffer_init(&text, limit + 2);
	error = decode(part, length, limit, &text);
	if (error)
		goto out;
	error = bad;
	if (text.length > limit)
		goto out;
	*object = json_strict(text.data, text.length, &fault);
	if (json_is_object(*object)) {
		error = JWT_OK;
	} else {
		json_decref(*object);
		*object = NULL;
		if (fault == JSON_FAULT_MEMORY)
			error = JWT_ENOMEM;
	}
out:
	buffer_free(&text);
	return error;
}

static enum jwt_error check_payload(const char *part, size_t length)
{
	enum jwt_error error;
	struct buffer bytes;

	buffer_init(&bytes, JWT_TOKEN_MAX);
	error = decode(part, length, JWT_TOKEN_MAX, &bytes);
	buffer_free(&bytes);
	return error;
}

static enum jwt_error parse(struct jwt *jwt, const char *token, size_t length, bool claims)
{
	const char *first, *second, *end = token + length;
	enum jwt_error error;

	memset(jwt, 0, sizeof(*jwt));
	if (length == 0 || length > JWT_TOKEN_MAX)
		return JWT_ESIZE;
	first = memchr(token, '.', length);
	if (!first || first == token)
		return JWT_EFORM;
	second = memchr(first + 1, '.', (size_t)(end - first - 1));
	if (!second || (claims && second == first + 1) || memchr(second + 1, '.', (size_t)(end - second - 1)))
		return JWT_EFORM;
	jwt->signed_length = (size_t)(second - token);
	buffer_init(&jwt->signature, JWT_TOKEN_MAX);
	error = parse_object(token, (size_t)(first - token), JWT_HEADER_MAX, JWT_EHEADER, &jwt->header);
	if (!error && claims)
		error = parse_object(first + 1, (size_t)(second - first - 1), JWT_TOKEN_MAX, JWT_ECLAIMS, &jwt->claims);
	else if (!error)
		error = check_payload(first + 1, (size_t)(second - first - 1));
	if (!error && !buffer_put_base64url(&jwt->signature, second + 1, (size_t)(end - second - 1)))
		error = JWT_EENCODING;
	if (error)
		jwt_free(jwt);
	return error;
}

enum jwt_error jwt_parse(struct jwt *jwt, const char *token, size_t length)
{
	return parse(jwt, token, length, true);
}

enum jwt_error jwt_parse_signed(struct jwt *jwt, const char *token, size_t length)
{
	return parse(jwt, token, length, false);
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
