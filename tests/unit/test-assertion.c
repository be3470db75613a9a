/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links: modules/assertion common/buffer
 * libs: libcrypto jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "modules/assertion.h"

static char why[200];

static char *take(BIO *bio)
{
	char *data, *text;
	long length = BIO_get_mem_data(bio, &data);

	text = calloc(1, (size_t)length + 1);
	memcpy(text, data, (size_t)length);
	BIO_free(bio);
	return text;
}

static char *pem_of(EVP_PKEY *pkey, const char *password)
{
	BIO *bio = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, password ? EVP_aes_128_cbc() : NULL, (const unsigned char *)password,
				 password ? (int)strlen(password) : 0, NULL, NULL),
		1);
	return take(bio);
}

static X509 *make_certificate(EVP_PKEY *pkey, const char *name)
{
	X509 *c = X509_new();

	X509_gmtime_adj(X509_getm_notBefore(c), 0);
	X509_gmtime_adj(X509_getm_notAfter(c), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(c, X509_get_subject_name(c));
	X509_set_pubkey(c, pkey);
	assert_true(X509_sign(c, pkey, EVP_sha256()) > 0);
	return c;
}

static char *certificate_pem(X509 *certificate)
{
	BIO *bio = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
	return take(bio);
}

static char *joined(const char *a, const char *b, const char *c)
{
	char *text;

	assert_true(asprintf(&text, "%s%s%s", a, b, c) >= 0);
	return text;
}

/* Judge the signature with OpenSSL alone, and give the header and claims back. */
static bool verifies(EVP_PKEY *pkey, const char *alg, const char *jws, json_t **header, json_t **claims)
{
	const char *first = strchr(jws, '.'), *last = strrchr(jws, '.');
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char *der = NULL;
	EVP_PKEY_CTX *ctx = NULL;
	struct buffer part;
	int length;
	bool ok;

	buffer_init(&part, 65536);
	assert_true(buffer_put_base64url(&part, jws, (size_t)(first - jws)));
	*header = json_loadb((char *)part.data, part.length, 0, NULL);
	buffer_clear(&part);
	assert_true(buffer_put_base64url(&part, first + 1, (size_t)(last - first - 1)));
	*claims = json_loadb((char *)part.data, part.length, 0, NULL);
	buffer_clear(&part);
	assert_true(buffer_put_base64url(&part, last + 1, strlen(last + 1)));
	length = (int)part.length;
	if (strcmp(alg, "ES256") == 0) {
		ECDSA_SIG *signature = ECDSA_SIG_new();

		assert_int_equal(part.length, 64);
		ECDSA_SIG_set0(signature, BN_bin2bn(part.data, 32, NULL), BN_bin2bn(part.data + 32, 32, NULL));
		length = i2d_ECDSA_SIG(signature, &der);
		ECDSA_SIG_free(signature);
	}
	assert_int_equal(EVP_DigestVerifyInit(md, &ctx, EVP_sha256(), NULL, pkey), 1);
	if (strcmp(alg, "PS256") == 0) {
		EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 32);
	}
	ok = EVP_DigestVerify(md, der ? der : part.data, (size_t)length, (const unsigned char *)jws, (size_t)(last - jws)) == 1;
	OPENSSL_free(der);
	EVP_MD_CTX_free(md);
	buffer_free(&part);
	return ok;
}

static void check_sign(EVP_PKEY *pkey, const char *type, const char *alg)
{
	char *pem = pem_of(pkey, NULL);
	struct assertion_key *key = assertion_key_pem(pem, strlen(pem), why, sizeof(why));
	json_t *header = json_pack("{s:s}", "kid", "k1"), *claims = json_pack("{s:s, s:i}", "iss", "me", "exp", 5);
	json_t *got_header, *got_claims;
	struct buffer jws;

	assert_non_null(key);
	assert_string_equal(assertion_key_type(key), type);
	/* An ES256 number with leading zeros comes about once in 128 signatures. */
	for (int i = 0; i < (strcmp(alg, "ES256") == 0 ? 300 : 2); i++) {
		buffer_init(&jws, 65536);
		assert_true(assertion_sign(key, alg, header, claims, &jws));
		assert_true(verifies(pkey, alg, buffer_cstring(&jws), &got_header, &got_claims));
		assert_string_equal(json_string_value(json_object_get(got_header, "alg")), alg);
		assert_string_equal(json_string_value(json_object_get(got_header, "typ")), "JWT");
		assert_string_equal(json_string_value(json_object_get(got_header, "kid")), "k1");
		assert_true(json_equal(got_claims, claims));
		json_decref(got_header);
		json_decref(got_claims);
		buffer_free(&jws);
	}
	json_decref(header);
	json_decref(claims);
	assertion_key_free(key);
	free(pem);
}

static void test_algorithms(void **state)
{
	EVP_PKEY *rsa = EVP_RSA_gen(2048), *ec = EVP_EC_gen("P-256");

	(void)state;
	check_sign(rsa, "RSA", "RS256");
	check_sign(rsa, "RSA", "PS256");
	check_sign(ec, "EC", "ES256");
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ec);
}

/* An algorithm is bound to its type of key; nothing is put out otherwise. */
static void test_wrong_algorithm(void **state)
{
	static const char *const wrong[2][4] = { { "ES256", "HS256", "none", "RS512" }, { "RS256", "PS256", "", "ES384" } };
	EVP_PKEY *pkeys[2] = { EVP_RSA_gen(2048), EVP_EC_gen("P-256") };

	(void)state;
	for (int i = 0; i < 2; i++) {
		char *pem = pem_of(pkeys[i], NULL);
		struct assertion_key *key = assertion_key_pem(pem, strlen(pem), why, sizeof(why));
		json_t *header = json_object(), *claims = json_object();
		struct buffer jws;

		buffer_init(&jws, 65536);
		for (int j = 0; j < 4; j++)
			assert_false(assertion_sign(key, wrong[i][j], header, claims, &jws));
		assert_int_equal(jws.length, 0);
		json_decref(header);
		json_decref(claims);
		assertion_key_free(key);
		EVP_PKEY_free(pkeys[i]);
		free(pem);
	}
}

static void check_refused(const char *pem, const char *words)
{
	struct assertion_key *key = assertion_key_pem(pem, strlen(pem), why, sizeof(why));

	if (key || !strstr(why, words))
		fail_msg("wanted '%s', got '%s'", words, key ? "a key" : why);
}

static void test_unusable_keys(void **state)
{
	EVP_PKEY *rsa = EVP_RSA_gen(2048), *short_rsa = EVP_RSA_gen(1024), *p384 = EVP_EC_gen("P-384");
	EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	char *good = pem_of(rsa, NULL), *locked = pem_of(rsa, "secret"), *large = calloc(1, 70000), *text;

	(void)state;
	check_refused(locked, "pass phrase");
	check_refused("", "no private key");
	check_refused("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key");
	text = pem_of(short_rsa, NULL);
	check_refused(text, "2048");
	free(text);
	text = pem_of(p384, NULL);
	check_refused(text, "P-256");
	free(text);
	text = pem_of(ed, NULL);
	check_refused(text, "neither RSA nor EC");
	free(text);
	text = joined(good, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "");
	check_refused(text, "certificate that cannot be read");
	free(text);
	memset(large, '\n', 69999);
	check_refused(large, "64 KiB");
	free(large);
	free(good);
	free(locked);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(short_rsa);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(ed);
}

static void check_chain(const struct assertion_key *key, X509 *leaf, size_t count)
{
	json_t *chain = assertion_chain(key);
	unsigned char digest[32], *der = NULL;
	int length = i2d_X509(leaf, &der);
	char *base64 = calloc(1, (size_t)length * 2);
	struct buffer thumbprint, raw;

	assert_int_equal(json_array_size(chain), count);
	EVP_EncodeBlock((unsigned char *)base64, der, length);
	assert_string_equal(json_string_value(json_array_get(chain, 0)), base64);
	buffer_init(&thumbprint, 100);
	buffer_init(&raw, 100);
	assert_true(assertion_thumbprint(key, &thumbprint));
	assert_int_equal(thumbprint.length, 43);
	assert_true(buffer_put_base64url(&raw, (char *)thumbprint.data, thumbprint.length));
	assert_int_equal(X509_digest(leaf, EVP_sha256(), digest, NULL), 1);
	assert_memory_equal(raw.data, digest, 32);
	buffer_free(&thumbprint);
	buffer_free(&raw);
	json_decref(chain);
	OPENSSL_free(der);
	free(base64);
}

static void test_certificates(void **state)
{
	EVP_PKEY *rsa = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048);
	X509 *leaf = make_certificate(rsa, "leaf"), *ca = make_certificate(other, "ca");
	char *pem = pem_of(rsa, NULL), *leaf_pem = certificate_pem(leaf), *ca_pem = certificate_pem(ca);
	/* Key first, last, in between; leaf after its authority. */
	char *orders[] = { joined(pem, leaf_pem, ca_pem), joined(leaf_pem, ca_pem, pem), joined(ca_pem, pem, leaf_pem) };
	struct assertion_key *key;
	struct buffer none;
	char *text;

	(void)state;
	for (int i = 0; i < 3; i++) {
		key = assertion_key_pem(orders[i], strlen(orders[i]), why, sizeof(why));
		assert_non_null(key);
		check_chain(key, leaf, 2);
		assertion_key_free(key);
		free(orders[i]);
	}
	key = assertion_key_pem(pem, strlen(pem), why, sizeof(why));
	buffer_init(&none, 100);
	assert_false(assertion_thumbprint(key, &none));
	assert_null(assertion_chain(key));
	assertion_key_free(key);
	text = joined(pem, ca_pem, "");
	check_refused(text, "none of the certificates belongs");
	free(text);
	free(pem);
	free(leaf_pem);
	free(ca_pem);
	X509_free(leaf);
	X509_free(ca);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(other);
}

static void test_pkcs12(void **state)
{
	EVP_PKEY *rsa = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048);
	X509 *leaf = make_certificate(rsa, "leaf"), *ca = make_certificate(other, "ca");
	STACK_OF(X509) *more = sk_X509_new_null();
	static const char *const passwords[] = { "p\xc3\xa4ss word", "" };
	struct assertion_key *key;

	(void)state;
	sk_X509_push(more, ca);
	for (int i = 0; i < 2; i++) {
		PKCS12 *box = PKCS12_create(passwords[i], "n", rsa, leaf, more, 0, 0, 0, 0, 0);
		unsigned char *der = NULL;
		int length = i2d_PKCS12(box, &der);

		key = assertion_key_pkcs12((char *)der, (size_t)length, passwords[i], why, sizeof(why));
		assert_non_null(key);
		check_chain(key, leaf, 2);
		assertion_key_free(key);
		assert_null(assertion_key_pkcs12((char *)der, (size_t)length, "wrong", why, sizeof(why)));
		assert_non_null(strstr(why, "password"));
		assert_null(assertion_key_pkcs12((char *)der, (size_t)length / 2, passwords[i], why, sizeof(why)));
		assert_non_null(strstr(why, "not PKCS#12"));
		OPENSSL_free(der);
		PKCS12_free(box);
	}
	sk_X509_free(more);
	X509_free(leaf);
	X509_free(ca);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(other);
}

static void test_jti(void **state)
{
	struct buffer a, b;

	(void)state;
	buffer_init(&a, 100);
	buffer_init(&b, 100);
	assert_true(assertion_jti(&a) && assertion_jti(&b));
	assert_int_equal(a.length, 32);
	assert_int_equal(strspn(buffer_cstring(&a), "0123456789abcdef"), 32);
	assert_memory_not_equal(a.data, b.data, 32);
	buffer_free(&a);
	buffer_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_algorithms),
		cmocka_unit_test(test_wrong_algorithm),
		cmocka_unit_test(test_unusable_keys),
		cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_pkcs12),
		cmocka_unit_test(test_jti),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
