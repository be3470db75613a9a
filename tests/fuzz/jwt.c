/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens as strangers present them, and the strict reader of JSON below that.
 *
 * links: verify/jwt verify/json modules/expiry common/buffer
 * libs: jansson
 * parser: verify/jwt verify/json modules/expiry
 */
#include "modules/expiry.h"
#include "tests/fuzz/fuzz.h"
#include "verify/jwt.h"

static void look_at(const struct jwt *jwt)
{
	int64_t seconds = 0;

	jwt_text(jwt->header, "kid");
	if (jwt->claims && jwt_time(jwt->claims, "exp", &seconds))
		fuzz_require(seconds >= 0 && seconds <= 253402300799);
}

static void parse_token(const char *token, size_t length)
{
	struct expiry_claims claims = { .has_expires = false };
	struct jwt jwt, signed_only;
	bool good = jwt_parse(&jwt, token, length) == JWT_OK;

	/* The tolerant reader takes whatever the strict one does. */
	expiry_jwt_claims(token, length, &claims);
	fuzz_require(fuzz_is_plain(claims.issuer) && fuzz_is_plain(claims.audience) && fuzz_is_plain(claims.subject));
	if (!good)
		return;
	look_at(&jwt);
	fuzz_require(jwt_parse_signed(&signed_only, token, length) == JWT_OK);
	fuzz_require(signed_only.signed_length == jwt.signed_length && jwt.signed_length < length);
	jwt_free(&jwt);
	jwt_free(&signed_only);
}

static void parse_json(const char *text, size_t length)
{
	enum json_fault fault = JSON_GOOD;
	json_t *value = json_strict(text, length, &fault), *other;
	json_error_t error;

	fuzz_require(*json_fault_text(fault) && (fault == JSON_GOOD) == (value != NULL));
	if (!value)
		return;
	/* No two readers see different things. */
	other = json_loadb(text, length, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
	fuzz_require(other && json_equal(value, other));
	json_decref(other);
	json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	if (size > FUZZ_MAX)
		return 0;
	parse_token(text, size);
	parse_json(text, size);
	return 0;
}

static void put_base64url(struct buffer *b, const char *text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t length = strlen(text);

	for (size_t i = 0; i < length; i += 3) {
		uint32_t bits = 0;
		size_t have = length - i < 3 ? length - i : 3;

		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (k < have ? (uint8_t)text[i + k] : 0);
		for (size_t k = 0; k <= have; k++)
			buffer_put_u8(b, (uint8_t)digits[bits >> (18 - 6 * k) & 63]);
	}
}

static void seed_token(const char *header, const char *claims)
{
	struct buffer b;

	buffer_init(&b, FUZZ_MAX);
	put_base64url(&b, header);
	buffer_put_u8(&b, '.');
	put_base64url(&b, claims);
	buffer_put_u8(&b, '.');
	put_base64url(&b, "no signature at all");
	fuzz_seed(b.data, b.length);
	buffer_free(&b);
}

void fuzz_seeds(void)
{
	seed_token("{\"alg\":\"RS256\",\"kid\":\"k1\",\"typ\":\"JWT\"}",
		"{\"iss\":\"https://a.example\",\"aud\":[\"x\",\"y\"],\"sub\":\"s\",\"exp\":1900000000,\"iat\":1800000000.5}");
	seed_token("{\"alg\":\"ES256\"}", "{\"iss\":\"i\",\"aud\":\"a\",\"sub\":\"\\u00e9\\ud83d\\ude00\",\"exp\":1e9}");
	seed_token("{}", "{}");
	fuzz_text("{\"a\":[1,-2.5e3,true,false,null,\"x\\n\\u0041\",{}],\"b\":{\"c\":\"\xc3\xa9\"}}");
	fuzz_text("[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]");
	fuzz_text("\"\\ud800\"");
	fuzz_text("{\"a\":1,\"a\":2}");
}
