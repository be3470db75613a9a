/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an issuer's key set is found and fetched for the verifier.
 *
 * links: modules/jwks modules/discovery modules/http modules/json modules/report modules/expiry broker/fetch-reply common/wire common/buffer
 * libs: libcurl jansson libmd
 * parser: modules/jwks modules/discovery modules/http modules/json
 */
#include "tests/fuzz/provider.h"

#define ISSUER "https://login.example.com/t"

static const struct variant variants[] = {
	{ KEYFOB_KIND_DOCUMENT, "", { { "issuer", ISSUER } }, NULL, NULL },
	{ KEYFOB_KIND_DOCUMENT, "", { { "issuer", ISSUER }, { "jwks_uri", "https://login.example.com/k" }, { "etag", "\"e1\"" } }, NULL,
		NULL },
};

HARNESS(variants)

void fuzz_seeds(void)
{
	static const char keys[] = "200\nContent-Type: application/jwk-set+json\nETag: W/\"e2\"\nCache-Control: public, max-age=\"3600\", "
				   "must-revalidate\n\n{\"keys\":[{\"kty\":\"EC\",\"kid\":\"k\"}]}";
	char text[4096];

	snprintf(text, sizeof(text), JSON_HEAD "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://login.example.com/k\"}\x1e%s", keys);
	seed_answers(0, text);
	seed_answers(1, keys);
	seed_answers(1, "304\nETag: \"e1\"\nCache-Control: no-store, max-age=60\n\n");
	seed_answers(0, JSON_HEAD "{\"issuer\":\"https://login.example.com/other\",\"jwks_uri\":\"https://e/k\"}");
	seed_answers(0, JSON_HEAD "{\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"http://login.example.com:99999/k?a#b\"}");
	seed_answers(0, "404\n\n<html>");
	seed_answers(0, "60\n");
}
