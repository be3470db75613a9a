/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a token endpoint of any provider answers, and its discovery document.
 *
 * links: modules/oauth2 modules/discovery modules/token-endpoint modules/assertion modules/http modules/expiry modules/json modules/report broker/fetch-reply common/wire common/buffer
 * libs: libcurl libcrypto jansson libmd
 * parser: modules/oauth2 modules/discovery modules/token-endpoint modules/http modules/expiry
 */
#include "tests/fuzz/provider.h"

#define SECRET "s3cret-Value"
#define ISSUER "https://login.example.com/t"
#define ENDPOINT "https://login.example.com/t/token"

static const struct variant variants[] = {
	{ KEYFOB_KIND_ACCESS, "", { { "token_endpoint", ENDPOINT }, { "client_id", "c" }, { "secret_file", "/s" } }, "secret_file",
		SECRET },
	{ KEYFOB_KIND_ID, "api1",
		{ { "issuer", ISSUER }, { "client_id", "c" }, { "secret_file", "/s" }, { "auth", "secret_post" }, { "scope", "openid" } },
		"secret_file", SECRET },
	{ KEYFOB_KIND_ACCESS, "api1", { { "token_endpoint", ENDPOINT }, { "client_id", "c" }, { "key_file", "/k" } }, "key_file", NULL },
};

HARNESS(variants)

void fuzz_seeds(void)
{
	static const char *const answers[] = {
		JSON_HEAD "{\"access_token\":\"" TOKEN "\",\"id_token\":\"" TOKEN "\",\"expires_in\":3600,\"token_type\":\"Bearer\"}",
		JSON_HEAD "{\"access_token\":\"opaque\",\"expires_in\":\"3600\",\"refresh_in\":1800,\"scope\":\"a b\"}",
		"400\nContent-Type: application/json\n\n{\"error\":\"invalid_client\",\"error_description\":\"no " SECRET "\","
		"\"error_uri\":\"https://e\",\"trace_id\":\"t\",\"correlation_id\":\"c\"}",
		"401\nWWW-Authenticate: Bearer error=\"invalid_token\"\nContent-Type: text/plain\n\n" SECRET,
		"400\n\n{\"error\":\"x\",\"trace_id\":\"" SECRET "\",\"correlation_id\":\"" SECRET "\"}",
		JSON_HEAD "{\"access_token\":\"a\",\"token_type\":\"" SECRET "\"}",
		"302\nLocation: https://elsewhere.example.com/\n\n",
		"429\nRetry-After: 99999999999\n\n{}",
	};
	char text[4096];

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		seed_answers(0, answers[i]);
		snprintf(text, sizeof(text), "%s\x1e%s",
			JSON_HEAD "{\"issuer\":\"" ISSUER "\",\"token_endpoint\":\"" ENDPOINT
				  "\",\"jwks_uri\":\"https://login.example.com/k\"}",
			answers[i]);
		seed_answers(1, text);
	}
	seed_answers(1, JSON_HEAD "{\"issuer\":\"https://other.example.com\",\"token_endpoint\":\"http://plain.example.com\"}");
	seed_answers(2, "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n\x1e" JSON_HEAD "{}");
}
