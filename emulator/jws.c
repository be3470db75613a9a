/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures of clients: is this JWT made with the key that belongs to this public one. */
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "emulator.h"

enum { MAX_JWS = 32 << 10, EC_NUMBER = 32 };

static int digit_of(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Strict: no padding, no foreign characters, no loose bits (RFC 7515 section 2). NULL otherwise. */
static unsigned char *decode(const char *text, size_t length, size_t *size)
{
	unsigned char *data = malloc(length + 1);
	unsigned int bits = 0, held = 0;

	*size = 0;
	for (size_t i = 0; data && i < length; i++) {
		int digit = digit_of(text[i]);

		if (digit < 0)
			goto bad;
		bits = (bits << 6) | (unsigned int)digit;
		held += 6;
		if (held >= 8) {
			held -= 8;
			data[(*size)++] = (unsigned char)(bits >> held);
			bits &= (1U << held) - 1;
		}
	}
	if (data && (length % 4 == 1 || bits))
		goto bad;
	return data;
bad:
	free(data);
	return NULL;
}

static json_t *decode_json(const char *text, size_t length)
{
	size_t size;
	unsigned char *data = decode(text, length, &size);
	json_t *json = data ? json_loadb((char *)data, size, JSON_REJECT_DUPLICATES, NULL) : NULL;

	free(data);
	if (json_is_object(json))
		return json;
	json_decref(json);
	return NULL;
}

static EVP_PKEY *read_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
	X509 *certificate;

	if (!key && bio && BIO_reset(bio) == 1 && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		key = X509_get_pubkey(certificate);
		X509_free(certificate);
	}
	BIO_free(bio);
	return key;
}

bool emu_jws_key_valid(const char *pem)
{
	EVP_PKEY *key = read_key(pem);

	EVP_PKEY_free(key);
	return key != NULL;
}

/* OpenSSL wants DER where a JWS has the two numbers side by side. NULL if they are none. */
static unsigned char *ecdsa_der(const unsigned char *flat, size_t size, size_t *length)
{
	ECDSA_SIG *pair = size == 2 * EC_NUMBER ? ECDSA_SIG_new() : NULL;
	unsigned char *der = NULL;
	int made = -1;

	if (pair && ECDSA_SIG_set0(pair, BN_bin2bn(flat, EC_NUMBER, NULL), BN_bin2bn(flat + EC_NUMBER, EC_NUMBER, NULL)))
		made = i2d_ECDSA_SIG(pair, &der);
	ECDSA_SIG_free(pair);
	*length = made > 0 ? (size_t)made : 0;
	return der;
}

static bool signature_good(
	EVP_PKEY *key, const char *alg, const char *input, size_t input_length, const unsigned char *signature, size_t length)
{
	bool pss = strcmp(alg, "PS256") == 0, ec = strcmp(alg, "ES256") == 0, good = false;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *padding = NULL;
	unsigned char *der = ec ? ecdsa_der(signature, length, &length) : NULL;

	if (!pss && !ec && strcmp(alg, "RS256") != 0)
		goto out;
	if (!EVP_PKEY_is_a(key, ec ? "EC" : "RSA") || (ec && !der) || !context)
		goto out;
	if (EVP_DigestVerifyInit(context, &padding, EVP_sha256(), NULL, key) != 1)
		goto out;
	/* The salt is as long as the digest (RFC 7518 section 3.5). */
	if (pss && (EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PSS_PADDING) != 1 ||
			   EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, RSA_PSS_SALTLEN_DIGEST) != 1))
		goto out;
	good = EVP_DigestVerify(context, ec ? der : signature, length, (const unsigned char *)input, input_length) == 1;
out:
	OPENSSL_free(der);
	EVP_MD_CTX_free(context);
	return good;
}

json_t *emu_jws_read(const char *jws, json_t **header)
{
	const char *first = strchr(jws, '.'), *second = first ? strchr(first + 1, '.') : NULL;
	json_t *claims = NULL;

	if (header)
		*header = NULL;
	if (!second || strchr(second + 1, '.') || strlen(jws) > MAX_JWS)
		return NULL;
	claims = decode_json(first + 1, (size_t)(second - first - 1));
	if (claims && header && !(*header = decode_json(jws, (size_t)(first - jws)))) {
		json_decref(claims);
		return NULL;
	}
	return claims;
}

bool emu_jws_verify(const char *jws, const char *pem)
{
	const char *last = strrchr(jws, '.'), *alg;
	json_t *header, *claims = emu_jws_read(jws, &header);
	EVP_PKEY *key = claims ? read_key(pem) : NULL;
	unsigned char *signature = NULL;
	size_t length = 0;
	bool good = false;

	alg = json_string_value(json_object_get(header, "alg"));
	if (key && alg && (signature = decode(last + 1, strlen(last + 1), &length)))
		good = signature_good(key, alg, jws, (size_t)(last - jws), signature, length);
	free(signature);
	EVP_PKEY_free(key);
	json_decref(claims);
	json_decref(header);
	return good;
}
