/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"

void emu_openid(struct emu_exchange *x)
{
	char jwks[100], token[120];

	if (!emu_is_get(x)) {
		emu_reply_method(x, "GET");
		return;
	}
	snprintf(jwks, sizeof(jwks), "%s/jwks", x->emu->url);
	snprintf(token, sizeof(token), "%s%s", x->emu->url, EMU_OAUTH2_PATH);
	emu_reply_json(x, HTTP_OK,
		json_pack("{s:s, s:s, s:s, s:[s], s:[s], s:[s, s]}", "issuer", x->emu->issuer, "jwks_uri", jwks, "token_endpoint", token,
			"response_types_supported", "id_token", "subject_types_supported", "public",
			"id_token_signing_alg_values_supported", "RS256", "ES256"));
}

void emu_jwks(struct emu_exchange *x)
{
	const char *known = emu_header_in(x, "If-None-Match");
	json_t *jwks;
	char *text, etag[20];
	uint8_t hash[EMU_SHA256];

	if (!emu_is_get(x)) {
		emu_reply_method(x, "GET");
		return;
	}
	jwks = emu_keys_jwks(x->emu->keys);
	text = jwks ? json_dumps(jwks, JSON_COMPACT) : NULL;
	emu_sha256(text ? text : "", hash);
	snprintf(etag, sizeof(etag), "\"%02x%02x%02x%02x%02x%02x\"", hash[0], hash[1], hash[2], hash[3], hash[4], hash[5]);
	emu_header_out(x, "ETag", etag);
	if (known && strcmp(known, etag) == 0)
		emu_reply_text(x, HTTP_NOTMODIFIED, "application/json", "");
	else
		emu_reply_text(x, text ? HTTP_OK : HTTP_INTERNAL, "application/json", text ? text : "");
	free(text);
	json_decref(jwks);
}
