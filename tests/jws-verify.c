/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jws-verify FILE: is the compact JWS on standard input, exactly its bytes,
 * signed by a key in FILE (one JWK, or a JWKS)? Exit 0: yes; 7: no, and the
 * reason stands on standard error; 2: used wrongly. The payload may be anything.
 * The door by which public conformance sets reach the signature layer that
 * keyfob-verifyd has.
 * links: verify/jws verify/jwks verify/jwk verify/jwk-material verify/jwt verify/json verify/reason common/buffer common/log
 * libs: jansson libcrypto
 */
#include <stdio.h>
#include <string.h>

#include "verify/jws.h"

static bool read_all(FILE *file, struct buffer *b)
{
	for (;;) {
		uint8_t *to = buffer_reserve(b, 4096);
		size_t n = to ? fread(to, 1, 4096, file) : 0;

		b->length += n;
		if (n == 0)
			return to && !ferror(file);
	}
}

static int refused(enum reason reason, const char *detail)
{
	fprintf(stderr, "%s: %s\n", reason_code(reason), detail[0] ? detail : reason_text(reason));
	return reason ? 7 : 0;
}

static struct jwks *import(const struct buffer *file, char *why, size_t why_size)
{
	enum json_fault fault;
	json_t *object = json_strict(file->data, file->length, &fault);
	bool is_set = json_object_get(object, "keys") != NULL;

	json_decref(object);
	if (is_set)
		return jwks_import(file->data, file->length, NULL, why, why_size);
	return jwks_import_key(file->data, file->length, why, why_size);
}

static enum reason verify(const struct jwks *set, const struct buffer *token)
{
	static const struct jws_rules rules;
	enum reason reason;
	enum jwt_error error;
	struct jwt jwt;

	error = jwt_parse_signed(&jwt, (const char *)token->data, token->length);
	if (error)
		return jws_form_reason(error);
	reason = jws_verify(&jwt, (const char *)token->data, &rules, set);
	jwt_free(&jwt);
	return reason;
}

int main(int argc, char **argv)
{
	FILE *file = argc == 2 ? fopen(argv[1], "re") : NULL;
	struct buffer keys, token;
	struct jwks *set = NULL;
	char why[2048] = "";
	int code = 2;

	/* One block more than is allowed, so that what is too large is seen and told as such. */
	buffer_init(&keys, JWKS_MAX + 8192);
	buffer_init(&token, JWT_TOKEN_MAX + 8192);
	if (!file) {
		fprintf(stderr, "usage: jws-verify FILE (a JWK or JWKS that can be read; a compact JWS on standard input)\n");
		goto out;
	}
	if (!read_all(file, &keys)) {
		code = refused(REASON_KEY_UNUSABLE, "the file is too large, or cannot be read");
		goto out;
	}
	if (!read_all(stdin, &token)) {
		code = refused(REASON_TOKEN_SIZE, "");
		goto out;
	}
	set = import(&keys, why, sizeof(why));
	code = set ? refused(verify(set, &token), "") : refused(REASON_KEY_UNUSABLE, why);
out:
	if (file)
		fclose(file);
	jwks_free(set);
	buffer_free(&keys);
	buffer_free(&token);
	return code;
}
