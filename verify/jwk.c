/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/jwk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *digest; /* NULL: EdDSA brings its own */
	enum jwk_type type;
	bool pss;
} algs[JWK_ALGS] = {
	[JWK_RS256] = { "RS256", "SHA256", JWK_RSA, false },
	[JWK_RS384] = { "RS384", "SHA384", JWK_RSA, false },
	[JWK_RS512] = { "RS512", "SHA512", JWK_RSA, false },
	[JWK_PS256] = { "PS256", "SHA256", JWK_RSA, true },
	[JWK_PS384] = { "PS384", "SHA384", JWK_RSA, true },
	[JWK_PS512] = { "PS512", "SHA512", JWK_RSA, true },
	[JWK_ES256] = { "ES256", "SHA256", JWK_P256, false },
	[JWK_ES384] = { "ES384", "SHA384", JWK_P384, false },
	[JWK_ES512] = { "ES512", "SHA512", JWK_P521, false },
	[JWK_EDDSA] = { "EdDSA", NULL, JWK_ED25519, false },
	[JWK_EDDSA_ED25519] = { "Ed25519", NULL, JWK_ED25519, false },
};

enum jwk_alg jwk_alg(const char *name)
{
	for (int i = 0; i < JWK_ALGS; i++)
		if (strcmp(algs[i].name, name) == 0)
			return (enum jwk_alg)i;
	return JWK_ALGS;
}

bool jwk_kid_good(const json_t *kid)
{
	return json_is_string(kid) && json_string_length(kid) <= JWK_KID_MAX;
}

/* What the key's own words allow (RFC 7517 section 4.2 to 4.5). */
static const char *check_use(struct jwk *key, const json_t *object)
{
	static const char *const private[] = { "d", "p", "q", "dp", "dq", "qi", "oth", "k" };
	const json_t *use = json_object_get(object, "use"), *operations = json_object_get(object, "key_ops"), *operation;
	const json_t *alg = json_object_get(object, "alg"), *kid = json_object_get(object, "kid");
	bool verify = !operations;
	size_t i;

	if (kid && !jwk_kid_good(kid))
		return "its kid is not a text of at most 256 bytes";
	for (i = 0; i < sizeof(private) / sizeof(private[0]); i++)
		if (json_object_get(object, private[i]))
			return "it holds a private key: whoever can read the set can sign, so it is not believed";
	if (use && (!json_is_string(use) || strcmp(json_string_value(use), "sig") != 0))
		return "its use is not sig";
	if (operations && !json_is_array(operations))
		return "its key_ops is not a list";
	json_array_foreach(operations, i, operation) if (json_is_string(operation) && strcmp(json_string_value(operation), "verify") == 0)
		verify = true;
	if (!verify)
		return "its key_ops does not hold verify";
	key->alg = JWK_ALGS;
	if (alg && json_is_string(alg))
		key->alg = jwk_alg(json_string_value(alg));
	return alg && key->alg == JWK_ALGS ? "its alg is not one that is verified here" : NULL;
}

/* What it is, in few words. */
static void set_kind(struct jwk *key)
{
	static const char *const kinds[] = { "RSA", "P-256", "P-384", "P-521", "Ed25519" };
	BIGNUM *e = NULL;
	int n;

	if (key->type != JWK_RSA) {
		snprintf(key->kind, sizeof(key->kind), "%s", kinds[key->type]);
		return;
	}
	n = snprintf(key->kind, sizeof(key->kind), "%s-%d", kinds[key->type], EVP_PKEY_get_bits(key->key));
	key->weak = EVP_PKEY_get_bn_param(key->key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_get_word(e) < RSA_F4;
	if (key->weak)
		snprintf(key->kind + n, sizeof(key->kind) - (size_t)n, " e=%lu", BN_get_word(e));
	BN_free(e);
}

static EVP_MD_CTX *prepare(EVP_PKEY *key, enum jwk_alg alg)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *params;

	if (!ctx || EVP_DigestVerifyInit_ex(ctx, &params, algs[alg].digest, NULL, NULL, key, NULL) != 1)
		goto fail;
	/* The mask's digest is the message's unless told otherwise, and RFC 7518 section 3.5 wants it so. */
	if (algs[alg].pss && (EVP_PKEY_CTX_set_rsa_padding(params, RSA_PKCS1_PSS_PADDING) != 1 ||
				     EVP_PKEY_CTX_set_rsa_pss_saltlen(params, RSA_PSS_SALTLEN_DIGEST) != 1))
		goto fail;
	return ctx;
fail:
	EVP_MD_CTX_free(ctx);
	return NULL;
}

bool jwk_import(struct jwk *key, const json_t *object, const char **why)
{
	const json_t *kid = json_object_get(object, "kid");

	*why = check_use(key, object);
	if (*why)
		return false;
	key->key = jwk_material(object, &key->type, why);
	if (!key->key)
		goto fail;
	*why = "its alg does not fit its kty or curve";
	if (key->alg != JWK_ALGS && algs[key->alg].type != key->type)
		goto fail;
	set_kind(key);
	*why = "out of memory";
	if (kid && !(key->kid = strdup(json_string_value(kid))))
		goto fail;
	for (int i = 0; i < JWK_ALGS; i++) {
		if (algs[i].type != key->type || (key->alg != JWK_ALGS && key->alg != (enum jwk_alg)i))
			continue;
		key->ready[i] = prepare(key->key, (enum jwk_alg)i);
		if (!key->ready[i])
			goto fail;
	}
	return true;
fail:
	ERR_clear_error();
	return false;
}

void jwk_free(struct jwk *key)
{
	for (size_t i = 0; i < JWK_ALGS; i++)
		EVP_MD_CTX_free(key->ready[i]);
	EVP_PKEY_free(key->key);
	free(key->kid);
	memset(key, 0, sizeof(*key));
}

bool jwk_same_material(const struct jwk *a, const struct jwk *b)
{
	return a->type == b->type && EVP_PKEY_eq(a->key, b->key) == 1;
}

/*
 * An ECDSA signature as RFC 7518 section 3.4 writes it, r and s at full
 * length, into the DER that OpenSSL takes. *der is to be freed.
 */
static int der_of(const uint8_t *signature, size_t half, uint8_t **der)
{
	ECDSA_SIG *pair = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(signature, (int)half, NULL), *s = BN_bin2bn(signature + half, (int)half, NULL);
	int length = -1;

	*der = NULL;
	if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
		length = i2d_ECDSA_SIG(pair, der);
	} else {
		BN_free(r);
		BN_free(s);
	}
	ECDSA_SIG_free(pair);
	return length;
}

static size_t signature_size(const struct jwk *key)
{
	static const size_t sizes[] = { [JWK_P256] = 64, [JWK_P384] = 96, [JWK_P521] = 132, [JWK_ED25519] = 64 };

	return key->type == JWK_RSA ? (size_t)EVP_PKEY_get_size(key->key) : sizes[key->type];
}

enum reason jwk_verify(
	const struct jwk *key, enum jwk_alg alg, const void *text, size_t length, const uint8_t *signature, size_t signature_length)
{
	bool ecdsa = key->type == JWK_P256 || key->type == JWK_P384 || key->type == JWK_P521;
	enum reason reason = REASON_MEMORY;
	EVP_MD_CTX *ctx = NULL;
	uint8_t *der = NULL;
	int der_length;

	if (alg >= JWK_ALGS || !key->ready[alg])
		return REASON_KEY_UNUSABLE;
	if (signature_length != signature_size(key))
		return REASON_SIGNATURE;
	if (ecdsa) {
		der_length = der_of(signature, signature_length / 2, &der);
		if (der_length < 0)
			goto out;
		signature = der;
		signature_length = (size_t)der_length;
	}
	ctx = EVP_MD_CTX_new();
	if (!ctx || EVP_MD_CTX_copy_ex(ctx, key->ready[alg]) != 1)
		goto out;
	reason = EVP_DigestVerify(ctx, signature, signature_length, text, length) == 1 ? REASON_OK : REASON_SIGNATURE;
out:
	EVP_MD_CTX_free(ctx);
	OPENSSL_free(der);
	if (reason)
		ERR_clear_error();
	return reason;
}
