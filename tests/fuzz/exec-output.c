/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a token program prints. The first byte of an input chooses format= and
 * the kind of token.
 *
 * links: modules/exec-output modules/expiry modules/json modules/report broker/fetch-reply common/wire common/buffer
 * libs: jansson libmd
 * parser: modules/exec-output modules/expiry modules/json modules/report
 */
#include "broker/fetch-reply.h"
#include "modules/exec-output.h"
#include "tests/fuzz/fuzz.h"

static const char *const formats[] = { "raw", "google", "k8s", "oauth", "spire", "docker", "git", "auto" };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_result result = { .text = "" };
	struct keyfob_reply reply = { .class = KEYFOB_CLASS_OK };
	enum keyfob_kind kind;

	if (!size || size > FUZZ_MAX)
		return 0;
	kind = data[0] & 8 ? KEYFOB_KIND_ID : KEYFOB_KIND_ACCESS;
	exec_output_read((const char *)data + 1, size - 1, formats[data[0] & 7], kind, time(NULL), &reply);
	fuzz_require(memchr(reply.text, 0, sizeof(reply.text)) && memchr(reply.code, 0, sizeof(reply.code)));
	fuzz_require(reply.class == KEYFOB_CLASS_OK ? reply.token != NULL : *reply.text != 0);
	fetch_judge(kind, 3600, &reply, &result);
	fuzz_require(fuzz_is_plain(result.text) && fuzz_is_plain(result.code));
	fetch_wipe(&reply);
	return 0;
}

#define TOKEN "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIiwiZXhwIjo0MTAwMDAwMDAwfQ.c2ln" /* unsigned but for the word sig */

void fuzz_seeds(void)
{
	static const char *const outputs[] = {
		TOKEN "\n",
		"{\"version\":1,\"success\":true,\"token_type\":\"urn:ietf:params:oauth:token-type:id_token\",\"id_token\":\"" TOKEN
		"\",\"expiration_time\":4100000000}",
		"{\"version\":1,\"success\":false,\"code\":\"401\",\"message\":\"Caller not authorized.\"}",
		"{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"spec\":{\"interactive\":false},"
		"\"status\":{\"token\":\"" TOKEN "\",\"expirationTimestamp\":\"2031-11-24T10:00:00Z\"}}",
		"{\"access_token\":\"opaque\",\"id_token\":\"" TOKEN "\",\"expires_in\":3599,\"token_type\":\"Bearer\"}",
		"{\"accessToken\":\"" TOKEN "\",\"expiresOn\":\"2031-11-24 10:00:00.000000\",\"expires_on\":4100000000,\"tokenType\":"
		"\"Bearer\"}",
		"[{\"svids\":[{\"spiffe_id\":\"spiffe://a/b\",\"svid\":\"" TOKEN "\"}]},{\"bundles\":{}}]",
		"{\"ServerURL\":\"https://r\",\"Username\":\"<token>\",\"Secret\":\"" TOKEN "\"}",
		"protocol=https\nhost=h\nusername=u\npassword=" TOKEN "\npassword_expiry_utc=4100000000\n\n",
	};

	for (uint8_t i = 0; i < 16; i++) {
		for (size_t k = 0; k < sizeof(outputs) / sizeof(outputs[0]); k++) {
			char text[1024];
			int length = snprintf(text, sizeof(text), "%c%s", i ? i : 16, outputs[k]);

			fuzz_seed(text, (size_t)length);
		}
	}
}
