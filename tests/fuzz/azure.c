/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What IMDS, App Service, Azure Arc and Entra answer.
 *
 * links: modules/azure modules/azure-imds modules/azure-appservice modules/azure-arc modules/azure-app modules/assertion modules/token-endpoint modules/token-file modules/http modules/expiry modules/json modules/report broker/fetch-reply common/wire common/buffer
 * libs: libcurl libcrypto jansson libmd
 * parser: modules/azure modules/azure-imds modules/azure-appservice modules/azure-arc modules/azure-app modules/http modules/json modules/report
 */
#include "tests/fuzz/provider.h"

#define SECRET "s3cret-Value"
#define RESOURCE "api://00000000-0000-0000-0000-000000000001"

static const struct variant variants[] = {
	{ KEYFOB_KIND_ACCESS, RESOURCE, { { "source", "imds" } }, NULL, NULL },
	{ KEYFOB_KIND_ACCESS, RESOURCE, { { "source", "imds" }, { "client_id", "5f3ad1c2-77aa-4f0e-8f53-0b7f0f4a1c2d" } }, NULL, NULL },
	{ KEYFOB_KIND_ACCESS, RESOURCE,
		{ { "source", "appservice" }, { "identity_endpoint", "http://127.0.0.1:1/msi/token" }, { "header_file", "/h" } },
		"header_file", SECRET },
	{ KEYFOB_KIND_ACCESS, RESOURCE, { { "source", "arc" }, { "token_dir", "/dev" } }, NULL, NULL },
	{ KEYFOB_KIND_ACCESS, RESOURCE,
		{ { "source", "secret" }, { "tenant", "example.com" }, { "client_id", "c" }, { "secret_file", "/s" } }, "secret_file",
		SECRET },
	{ KEYFOB_KIND_ACCESS, RESOURCE,
		{ { "source", "workload" }, { "tenant", "example.com" }, { "client_id", "c" }, { "assertion_from", "g" } },
		"assertion_from", TOKEN },
	{ KEYFOB_KIND_ACCESS, RESOURCE,
		{ { "source", "certificate" }, { "tenant", "example.com" }, { "client_id", "c" }, { "certificate_file", "/c" } },
		"certificate_file", NULL },
};

HARNESS(variants)

void fuzz_seeds(void)
{
	static const char good[] = JSON_HEAD "{\"access_token\":\"" TOKEN "\",\"client_id\":\"5f3ad1c2-77aa-4f0e-8f53-0b7f0f4a1c2d\","
					     "\"expires_on\":\"4100000000\",\"expires_in\":\"86399\",\"refresh_in\":43200,"
					     "\"token_type\":\"Bearer\",\"resource\":\"r\"}";

	for (uint8_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
		seed_answers(i, good);
		seed_answers(i, JSON_HEAD "{\"access_token\":\"opaque\",\"expires_on\":\"11/24/2031 5:06:07 PM +00:00\"}");
		seed_answers(i, "400\nContent-Type: application/json\n\n{\"error\":\"invalid_request\",\"error_description\":"
				"\"AADSTS70011: Identity not found " SECRET "\",\"error_codes\":[70011],\"correlation_id\":\"c-1\"}");
		seed_answers(i, "429\nRetry-After: 7\nx-ms-request-id: 0\n\nslow down");
		seed_answers(i, "503\nRetry-After: Wed, 24 Nov 2032 10:00:00 GMT\nContent-Type: text/plain\n\n" SECRET);
		seed_answers(i, "28\n");
	}
	seed_answers(3, "401\nWWW-Authenticate: Basic realm=/dev/null.key\n\n\x1e" JSON_HEAD "{}");
	seed_answers(6, "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n\x1e" JSON_HEAD "{}");
}
