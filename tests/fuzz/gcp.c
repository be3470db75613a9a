/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Google's metadata server, token endpoints and IAM answer, and the
 * files that an administrator was given.
 *
 * links: modules/gcp modules/gcp-metadata modules/gcp-key modules/gcp-impersonate modules/gcp-external modules/assertion modules/token-endpoint modules/http modules/expiry modules/json modules/report broker/fetch-reply common/wire common/buffer
 * libs: libcurl libcrypto jansson libmd
 * parser: modules/gcp modules/gcp-metadata modules/gcp-key modules/gcp-impersonate modules/gcp-external modules/token-endpoint
 */
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "tests/fuzz/provider.h"

static const struct variant variants[] = {
	{ KEYFOB_KIND_ID, "https://db.example.com", { { "source", "metadata" } }, NULL, NULL },
	{ KEYFOB_KIND_ACCESS, "", { { "source", "metadata" }, { "scopes", "a,b" } }, NULL, NULL },
	{ KEYFOB_KIND_ACCESS, "", { { "source", "key" }, { "key_file", "/k" } }, "key_file", NULL },
	{ KEYFOB_KIND_ID, "https://db.example.com", { { "source", "key" }, { "key_file", "/k" } }, "key_file", NULL },
	{ KEYFOB_KIND_ACCESS, "", { { "source", "impersonate" }, { "target", "a@b.iam.gserviceaccount.com" } }, NULL, NULL },
	{ KEYFOB_KIND_ID, "https://db.example.com",
		{ { "source", "impersonate" }, { "target", "a@b.iam.gserviceaccount.com" }, { "source_from", "c" } }, "source_from",
		"ya29.source-token" },
	{ KEYFOB_KIND_ACCESS, "", { { "source", "external_account" }, { "config_file", "/f" } }, "config_file", NULL },
};

HARNESS(variants)

static void seed_key_file(uint8_t variant)
{
	EVP_PKEY *key = EVP_RSA_gen(2048);
	BIO *bio = BIO_new(BIO_s_mem());
	char text[16384], *pem;
	size_t used = 0;
	long length;

	fuzz_require(key && bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
	length = BIO_get_mem_data(bio, &pem);
	used = (size_t)snprintf(text, sizeof(text),
		"{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key_id\":\"1\","
		"\"token_uri\":\"https://oauth2.googleapis.com/token\",\"private_key\":\"");
	for (long i = 0; i < length; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, pem[i] == '\n' ? "\\n" : "%c", pem[i]);
	snprintf(text + used, sizeof(text) - used,
		"\"}\x1e" JSON_HEAD "{\"access_token\":\"" TOKEN "\",\"id_token\":\"" TOKEN
		"\",\"expires_in\":3599,\"token_type\":\"Bearer\"}");
	seed_answers(variant, text);
	BIO_free(bio);
	EVP_PKEY_free(key);
}

void fuzz_seeds(void)
{
	static const char refused[] = "403\nContent-Type: application/json\n\n{\"error\":{\"code\":403,\"message\":\"Permission "
				      "'iam.serviceAccounts.getAccessToken' denied\",\"status\":\"PERMISSION_DENIED\"}}";

	seed_answers(0, "200\nMetadata-Flavor: Google\nContent-Type: text/html\n\n" TOKEN);
	seed_answers(1, "200\nMetadata-Flavor: Google\nContent-Type: application/json\n\n{\"access_token\":\"ya29.a\",\"expires_in\":3599,"
			"\"token_type\":\"Bearer\"}");
	seed_answers(0, "404\nMetadata-Flavor: Google\n\nno such account");
	seed_answers(0, "200\n\n" TOKEN);
	seed_key_file(2);
	seed_key_file(3);
	seed_answers(2, "{\"type\":\"authorized_user\"}\x1e");
	seed_answers(4, "200\nMetadata-Flavor: Google\n\n{\"access_token\":\"ya29.a\",\"expires_in\":3599}\x1e" JSON_HEAD
			"{\"accessToken\":\"ya29.b\",\"expireTime\":\"2099-11-24T10:00:00Z\"}");
	seed_answers(5, JSON_HEAD "{\"token\":\"" TOKEN "\"}");
	seed_answers(5, "400\n\n{\"error\":{\"message\":\"ya29.source-token\",\"status\":\"INVALID_ARGUMENT\"}}");
	seed_answers(4, refused);
	seed_answers(5, refused);
	seed_answers(6, "{\"type\":\"external_account\",\"audience\":\"//iam.googleapis.com/x\",\"subject_token_type\":"
			"\"urn:ietf:params:oauth:token-type:jwt\",\"token_url\":\"https://sts.googleapis.com/v1/token\","
			"\"service_account_impersonation_url\":\"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
			"a@b:generateAccessToken\",\"service_account_impersonation\":{\"token_lifetime_seconds\":600},"
			"\"credential_source\":{\"url\":\"http://127.0.0.1:1/t\",\"headers\":{\"Metadata\":\"true\"},\"format\":"
			"{\"type\":\"json\",\"subject_token_field_name\":\"access_token\"}}}\x1e" JSON_HEAD "{\"access_token\":\"" TOKEN
			"\"}\x1e" JSON_HEAD "{\"access_token\":\"ya29.c\",\"issued_token_type\":\"t\",\"expires_in\":3599}\x1e" JSON_HEAD
			"{\"accessToken\":\"ya29.d\",\"expireTime\":\"2099-11-24T10:00:00Z\"}");
}
