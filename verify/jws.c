/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/jws.h"

#include <string.h>

#include "verify/jwk.h"

enum reason jws_form_reason(enum jwt_error error)
{
	static const enum reason reasons[] = {
		[JWT_OK] = REASON_OK,
		[JWT_ESIZE] = REASON_TOKEN_SIZE,
		[JWT_EFORM] = REASON_TOKEN_FORM,
		[JWT_EENCODING] = REASON_TOKEN_ENCODING,
		[JWT_EHEADER] = REASON_HEADER,
		[JWT_ECLAIMS] = REASON_CLAIMS,
		[JWT_ENOMEM] = REASON_MEMORY,
	};

	return (size_t)error < sizeof(reasons) / sizeof(reasons[0]) ? reasons[error] : REASON_TOKEN_FORM;
}

enum reason jws_check_header(const json_t *header, const struct jws_rules *rules, const char **alg, const char **kid)
{
	const json_t *name = json_object_get(header, "kid");
	enum jwk_alg which;

	*alg = json_string_value(json_object_get(header, "alg"));
	*kid = NULL;
	which = *alg ? jwk_alg(*alg) : JWK_ALGS;
	if (which == JWK_ALGS)
		return REASON_ALG_NOT_ALLOWED;
	if (rules->no_eddsa && (which == JWK_EDDSA || which == JWK_EDDSA_ED25519))
		return REASON_ALG_NOT_ALLOWED;
	/* No extension is understood here, so whatever form crit has it cannot be met (RFC 7515 section 4.1.11). */
	if (json_object_get(header, "crit") || json_object_get(header, "b64"))
		return REASON_CRIT;
	if (name ? !jwk_kid_good(name) : rules->kid_needed)
		return REASON_KID;
	*kid = json_string_value(name);
	return REASON_OK;
}

enum reason jws_verify(const struct jwt *jwt, const char *token, const struct jws_rules *rules, const struct jwks *set)
{
	const struct jwk *key;
	const char *alg, *kid;
	enum reason reason;

	reason = jws_check_header(jwt->header, rules, &alg, &kid);
	if (!reason)
		reason = jwks_find(set, kid, alg, &key);
	if (reason)
		return reason;
	return jwk_verify(key, jwk_alg(alg), token, jwt->signed_length, jwt->signature.data, jwt->signature.length);
}
