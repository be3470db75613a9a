/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/assertion.h"

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 65536
#define DER_MAX 65536
#define RSA_MIN_BITS 2048
#define P256_BYTES 32

struct assertion_key {
	EVP_PKEY *pkey;
	STACK_OF(X509) * certificates; /* leaf first */
};

void assertion_key_free(struct assertion_key *key)
{
	if (!key)
		return;
	/* OpenSSL overwrites what it frees of a private key. */
	EVP_PKEY_free(key->pkey);
	sk_X509_pop_free(key->certificates, X509_free);
	free(key);
}

const char *assertion_key_type(const struct assertion_key *key)
{
	return EVP_PKEY_is_a(key->pkey, "RSA") ? "RSA" : "EC";
}

static bool fail(char *why, size_t size, const char *text)
{
	snprintf(why, size, "%s", text);
	/* OpenSSL's own queue may hold words about the key. */
	ERR_clear_error();
	return false;
}

static bool check_pkey(const EVP_PKEY *pkey, char *why, size_t size)
{
	char group[32] = "";

	if (EVP_PKEY_is_a(pkey, "RSA")) {
		if (EVP_PKEY_get_bits(pkey) >= RSA_MIN_BITS)
			return true;
		return fail(why, size, "the RSA key has fewer than 2048 bits");
	}
	if (!EVP_PKEY_is_a(pkey, "EC"))
		return fail(why, size, "the key is neither RSA nor EC");
	if (EVP_PKEY_get_utf8_string_param(pkey, "group", group, sizeof(group), NULL) == 1 &&
		(strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0))
		return true;
	return fail(why, size, "the EC key is not on the curve P-256");
}

/* Files name their certificates in any order; the one of this key goes first. */
static bool put_leaf_first(struct assertion_key *key, char *why, size_t size)
{
	int count = sk_X509_num(key->certificates);

	for (int i = 0; i < count; i++) {
		X509 *certificate = sk_X509_value(key->certificates, i);

		if (X509_check_private_key(certificate, key->pkey) != 1)
			continue;
		sk_X509_delete(key->certificates, i);
		if (sk_X509_unshift(key->certificates, certificate) > 0)
			return true;
		X509_free(certificate);
		return fail(why, size, "out of memory");
	}
	return count <= 0 || fail(why, size, "none of the certificates belongs to the private key");
}

static struct assertion_key *finish(struct assertion_key *key, bool ok, char *why, size_t size)
{
	if (ok && check_pkey(key->pkey, why, size) && put_leaf_first(key, why, size)) {
		ERR_clear_error();
		return key;
	}
	assertion_key_free(key);
	return NULL;
}

/* Without it OpenSSL would ask for a pass phrase on the terminal. */
static int no_password(char *out, int size, int writing, void *arg)
{
	(void)out;
	(void)size;
	(void)writing;
	*(bool *)arg = true;
	return -1;
}

static bool read_pem(struct assertion_key *key, const char *pem, size_t length, char *why, size_t size)
{
	bool encrypted = false, ok = false;
	BIO *bio = BIO_new_mem_buf(pem, (int)length);
	X509 *certificate;

	if (!bio || !key->certificates)
		goto out;
	key->pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, &encrypted);
	if (BIO_reset(bio) < 0)
		goto out;
	ok = true;
	while (ok && (certificate = PEM_read_bio_X509(bio, NULL, no_password, &encrypted)))
		ok = sk_X509_push(key->certificates, certificate) > 0;
	/* The end of the file is the one error that is none. */
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		ok = false;
out:
	BIO_free(bio);
	if (encrypted)
		return fail(why, size, "the private key is encrypted with a pass phrase; store it without one");
	if (!key->pkey)
		return fail(why, size, "it holds no private key in PEM form");
	return ok || fail(why, size, "it holds a certificate that cannot be read");
}

/* One without anything in it, for an input of this length. */
static struct assertion_key *start_key(size_t length, char *why, size_t size)
{
	struct assertion_key *key = NULL;

	ERR_clear_error();
	if (length > INPUT_MAX)
		fail(why, size, "it is longer than 64 KiB");
	else if (!(key = calloc(1, sizeof(*key))))
		fail(why, size, "out of memory");
	return key;
}

struct assertion_key *assertion_key_pem(const char *pem, size_t length, char *why, size_t size)
{
	struct assertion_key *key = start_key(length, why, size);

	if (!key)
		return NULL;
	key->certificates = sk_X509_new_null();
	return finish(key, read_pem(key, pem, length, why, size), why, size);
}

static bool read_pkcs12(struct assertion_key *key, const char *der, size_t length, const char *password, char *why, size_t size)
{
	const unsigned char *at = (const unsigned char *)der;
	PKCS12 *box = d2i_PKCS12(NULL, &at, (long)length);
	X509 *leaf = NULL;
	bool ok = false;

	if (!box)
		return fail(why, size, "it is not PKCS#12");
	if (PKCS12_parse(box, password, &key->pkey, &leaf, &key->certificates) != 1) {
		/* A bag without a password may be sealed with an empty one or with none. */
		if (ERR_GET_REASON(ERR_peek_last_error()) == PKCS12_R_MAC_VERIFY_FAILURE)
			fail(why, size, "the PKCS#12 file does not open with this password");
		else
			fail(why, size, "the PKCS#12 file cannot be read; old ciphers such as RC2 are not supported");
	} else if (!key->pkey) {
		fail(why, size, "the PKCS#12 file holds no private key");
	} else {
		ok = true;
		if (!key->certificates)
			key->certificates = sk_X509_new_null();
		if (leaf && (!key->certificates || sk_X509_unshift(key->certificates, leaf) <= 0))
			ok = fail(why, size, "out of memory");
		else
			leaf = NULL;
	}
	X509_free(leaf);
	PKCS12_free(box);
	return ok;
}

struct assertion_key *assertion_key_pkcs12(const char *der, size_t length, const char *password, char *why, size_t size)
{
	struct assertion_key *key = start_key(length, why, size);

	if (!key)
		return NULL;
	return finish(key, read_pkcs12(key, der, length, password, why, size), why, size);
}

/* --- encodings -------------------------------------------------------------- */

static bool put_base64url(struct buffer *out, const void *data, size_t length)
{
	/* EVP_EncodeBlock() ends with a NUL. */
	size_t room = 4 * ((length + 2) / 3) + 1;
	char *text = (char *)buffer_reserve(out, room);
	size_t n;

	if (!text)
		return false;
	n = (size_t)EVP_EncodeBlock((unsigned char *)text, data, (int)length);
	while (n && text[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++)
		text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
	out->length += n;
	return true;
}

static bool put_json(struct buffer *out, json_t *object)
{
	size_t length = json_dumpb(object, NULL, 0, JSON_COMPACT);
	char *text = length && length <= INPUT_MAX ? malloc(length) : NULL;
	bool ok;

	if (!text)
		return false;
	ok = json_dumpb(object, text, length, JSON_COMPACT) == length && put_base64url(out, text, length);
	explicit_bzero(text, length);
	free(text);
	return ok;
}

bool assertion_thumbprint(const struct assertion_key *key, struct buffer *out)
{
	X509 *leaf = sk_X509_num(key->certificates) > 0 ? sk_X509_value(key->certificates, 0) : NULL;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length = 0;

	return leaf && X509_digest(leaf, EVP_sha256(), digest, &length) == 1 && put_base64url(out, digest, length);
}

static json_t *encode_certificate(X509 *certificate)
{
	unsigned char *der = NULL;
	int length = i2d_X509(certificate, &der);
	json_t *text = NULL;
	unsigned char *base64;

	if (length > 0 && length <= DER_MAX && (base64 = malloc(4 * (((size_t)length + 2) / 3) + 1))) {
		EVP_EncodeBlock(base64, der, length);
		text = json_string((const char *)base64);
		free(base64);
	}
	OPENSSL_free(der);
	return text;
}

json_t *assertion_chain(const struct assertion_key *key)
{
	int count = sk_X509_num(key->certificates);
	json_t *chain = count > 0 ? json_array() : NULL;

	for (int i = 0; chain && i < count; i++) {
		if (json_array_append_new(chain, encode_certificate(sk_X509_value(key->certificates, i))) == 0)
			continue;
		json_decref(chain);
		chain = NULL;
	}
	return chain;
}

bool assertion_jti(struct buffer *out)
{
	unsigned char random[16];

	if (RAND_bytes(random, sizeof(random)) != 1)
		return false;
	for (size_t i = 0; i < sizeof(random); i++)
		buffer_printf(out, "%02x", random[i]);
	return !out->failed;
}

/* --- signing ---------------------------------------------------------------- */

static bool set_padding(EVP_PKEY_CTX *ctx, const char *alg)
{
	if (strcmp(alg, "PS256") != 0)
		return true;
	return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

/* A JWS has r and s side by side where OpenSSL has DER (RFC 7518 section 3.4). */
static bool put_raw_signature(struct buffer *out, const unsigned char *der, size_t length)
{
	unsigned char raw[2 * P256_BYTES];
	ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)length);
	bool ok = signature && BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, P256_BYTES) == P256_BYTES &&
		  BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + P256_BYTES, P256_BYTES) == P256_BYTES;

	ECDSA_SIG_free(signature);
	return ok && put_base64url(out, raw, sizeof(raw));
}

static bool put_signature(const struct assertion_key *key, const char *alg, const void *data, size_t length, struct buffer *out)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx = NULL;
	unsigned char *signature = NULL;
	size_t size = 0;
	bool ok = false;

	if (!md || EVP_DigestSignInit(md, &ctx, EVP_sha256(), NULL, key->pkey) != 1 || !set_padding(ctx, alg) ||
		EVP_DigestSign(md, NULL, &size, data, length) != 1 || !(signature = malloc(size)) ||
		EVP_DigestSign(md, signature, &size, data, length) != 1)
		goto out;
	ok = strcmp(alg, "ES256") == 0 ? put_raw_signature(out, signature, size) : put_base64url(out, signature, size);
out:
	free(signature);
	EVP_MD_CTX_free(md);
	ERR_clear_error();
	return ok;
}

bool assertion_sign(const struct assertion_key *key, const char *alg, json_t *header, json_t *claims, struct buffer *out)
{
	bool rsa = strcmp(assertion_key_type(key), "RSA") == 0;
	struct buffer jws;
	bool ok = false;

	if (strcmp(alg, "ES256") == 0 ? rsa : !rsa || (strcmp(alg, "RS256") != 0 && strcmp(alg, "PS256") != 0))
		return false;
	buffer_init(&jws, 2 * INPUT_MAX);
	if (json_object_set_new(header, "alg", json_string(alg)) == 0 && json_object_set_new(header, "typ", json_string("JWT")) == 0 &&
		put_json(&jws, header) && buffer_put(&jws, ".", 1) && put_json(&jws, claims)) {
		struct buffer signature;

		buffer_init(&signature, INPUT_MAX);
		ok = put_signature(key, alg, jws.data, jws.length, &signature) && buffer_put(&jws, ".", 1) &&
		     buffer_put(&jws, signature.data, signature.length) && buffer_put(out, jws.data, jws.length);
		buffer_free(&signature);
	}
	buffer_free(&jws);
	return ok;
}
