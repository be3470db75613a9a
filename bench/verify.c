/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of 1.5 KB such as Azure's: seen for the first time, by OpenSSL alone, by keyfob from the bytes to the verdict, and by
 * other libraries; and seen before. In one thread, each token after many others.
 *
 * links: bench/peer-libjwt bench/peer-cjose bench/peer-rhonabwy bench/peer-libjose
 * links: verify/memory verify/verdict verify/claims verify/reason verify/federation verify/federation-read verify/federation-values common/config common/log
 * links: verify/jws verify/jwks verify/jwk verify/jwk-material verify/jwt verify/json common/buffer common/wire
 * libs: ini_config libcrypto jansson
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/bench.h"
#include "bench/peer.h"
#include "verify/federation.h"
#include "verify/jwks.h"
#include "verify/memory.h"
#include "verify/verdict.h"

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "verify: %s\n", what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

#define assert_true(it) ((it) ? (void)0 : die(#it))
#define assert_non_null(it) assert_true((it) != NULL)
#define assert_int_equal(a, b) assert_true((long)(a) == (long)(b))
#include "tests/unit/config-files.h"
#include "tests/unit/jose.h"

#define TOKENS 256 /* as many as do not all stay in the first cache */
#define FORGETFUL 128 /* verdicts: each token's is forgotten before it comes again */
#define TOKEN_BYTES 1500
#define REMEMBERED 4096 /* keyfob-verifyd's memory */
#define ISSUER "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"
#define AUDIENCE "0d5c1c0e-4a1f-4b0e-9d8a-3f1f6a3f9b11"
#define GROUP "7c1f3a52-0000-4000-8000-00000000"
#define KID "nOo3ZDrODXEK1jKWhXslHR_KXEg"
#define LOGIN "orders_rw"
#define SERVICE "postgresql"

struct token {
	char *text;
	size_t length, signed_length;
	uint8_t signature[512]; /* as OpenSSL takes it */
	size_t signature_length;
};

static const struct algorithm {
	const char *alg, *key, *row;
	double least; /* keyfob's of OpenSSL's */
} algorithms[] = {
	{ "RS256", "RSA", "verify-rs256", 0.70 },
	{ "ES256", "P-256", "verify-es256", 0.80 },
	{ "EdDSA", "ED25519", "verify-eddsa", 0.85 },
};

/* What is verified now. */
static EVP_PKEY *key, *other_key; /* the one that signs, and one that stands beside it in the set */
static struct token tokens[TOKENS];
static struct jwks *keys;
static struct config config;
static struct federation federation;

/* --- tokens ------------------------------------------------------------------ */

static char *claims_of(unsigned i, int groups, time_t now)
{
	struct buffer b;
	char *text;

	buffer_init(&b, 65536);
	buffer_printf(&b,
		"{\"aud\":\"%s\",\"iss\":\"%s\",\"iat\":%lld,\"nbf\":%lld,\"exp\":%lld,\"aio\":\"ASQA2/8TAAAA%08x\",\"azp\":"
		"\"5f3ad1c2-77aa-4f0e-8f53-0b7f0f4a1c2d\",\"azpacr\":\"2\",\"groups\":[",
		AUDIENCE, ISSUER, (long long)now, (long long)now, (long long)now + 86400, i);
	for (int group = 0; group < groups; group++)
		buffer_printf(&b, "%s\"" GROUP "%04x\"", group ? "," : "", 0x4a00 + group);
	buffer_printf(&b,
		"],\"idtyp\":\"app\",\"oid\":\"7d2f7a0e-5a52-4c0e-9f4e-0d8f3f0c1a11\",\"rh\":\"0.AXwADUCRiGdsW0yxEjajBLZtrQ4cXA0\","
		"\"sub\":\"7d2f7a0e-5a52-4c0e-9f4e-0d8f3f0c1a11\",\"tid\":\"9188040d-6c67-4c5b-b112-36a304b66dad\",\"uti\":"
		"\"u7gP2mWkZUyS%08x\",\"ver\":\"2.0\"}",
		i);
	text = strdup(buffer_cstring(&b));
	buffer_free(&b);
	return text;
}

/* OpenSSL's spelling of the signature: of ECDSA's DER. */
static void keep_signature(struct token *t, const uint8_t *signature, size_t length)
{
	uint8_t *der = t->signature;
	ECDSA_SIG *pair;

	memcpy(t->signature, signature, length);
	t->signature_length = length;
	if (!EVP_PKEY_is_a(key, "EC"))
		return;
	pair = ECDSA_SIG_new();
	assert_true(pair && ECDSA_SIG_set0(pair, BN_bin2bn(signature, 32, NULL), BN_bin2bn(signature + 32, 32, NULL)) == 1);
	t->signature_length = (size_t)i2d_ECDSA_SIG(pair, &der);
	ECDSA_SIG_free(pair);
}

/* With as many groups as make it at least TOKEN_BYTES long. */
static void make_token(struct token *t, const char *alg, unsigned i, time_t now)
{
	char header[100];
	int groups = 1;

	snprintf(header, sizeof(header), "{\"typ\":\"JWT\",\"alg\":\"%s\",\"kid\":\"" KID "\"}", alg);
	do {
		char *claims = claims_of(i, groups++, now), *unsigned_token = jose_join(header, claims, NULL, 0);
		uint8_t signature[1024];
		size_t length;

		free(t->text);
		t->signed_length = strlen(unsigned_token) - 1;
		length = jose_sign_bytes(key, alg, 0, unsigned_token, t->signed_length, signature);
		t->text = jose_join(header, claims, signature, length);
		t->length = strlen(t->text);
		keep_signature(t, signature, length);
		free(claims);
		free(unsigned_token);
	} while (t->length < TOKEN_BYTES);
}

/* --- ways -------------------------------------------------------------------- */

/* Key and signature are ready: no verifier on OpenSSL does with less. */
static bool raw(void *ctx, unsigned long times)
{
	const EVP_MD *digest = EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
	bool good = true;

	(void)ctx;
	for (unsigned long i = 0; i < times && good; i++) {
		const struct token *t = &tokens[i % TOKENS];
		EVP_MD_CTX *md = EVP_MD_CTX_new();

		good = md && EVP_DigestVerifyInit(md, NULL, digest, NULL, key) == 1 &&
		       EVP_DigestVerify(md, t->signature, t->signature_length, (const uint8_t *)t->text, t->signed_length) == 1;
		EVP_MD_CTX_free(md);
	}
	return good;
}

static const struct jwks *keys_now(void *arg, const struct federation_provider *p, enum reason *why)
{
	(void)arg;
	(void)p;
	*why = REASON_OK;
	return keys;
}

struct verifier {
	struct memory *memory;
	bool known; /* is what is asked about remembered? Anything else is measured by mistake */
};

/* What keyfob-verifyd does with a request's token (verify/judge.c). */
static bool judge(const struct token *t, const struct verifier *v)
{
	struct verdict_request request = { SERVICE, LOGIN, t->text, t->length, time(NULL), keys_now, NULL };
	struct memory_key known = { .service = SERVICE, .login = LOGIN };
	struct verdict verdict;

	if (EVP_Digest(t->text, t->length, known.digest, NULL, EVP_sha256(), NULL) != 1)
		return false;
	if (memory_get(v->memory, &known, request.now, &verdict))
		return v->known && verdict.reason == REASON_OK;
	verdict_judge(&federation, &request, &verdict);
	memory_put(v->memory, &known, &verdict);
	return !v->known && verdict.reason == REASON_OK;
}

/* Goes on where it stopped, so that each token comes after all others. */
static bool by_keyfob(void *ctx, unsigned long times)
{
	static unsigned long next;
	bool good = true;

	for (unsigned long i = 0; i < times && good; i++)
		good = judge(&tokens[next++ % TOKENS], ctx);
	return good;
}

struct opened {
	const struct peer *peer;
	void *it;
};

static bool by_peer(void *ctx, unsigned long times)
{
	const struct opened *opened = ctx;
	bool good = true;

	for (unsigned long i = 0; i < times && good; i++)
		good = opened->peer->verify(opened->it, tokens[i % TOKENS].text, tokens[i % TOKENS].length);
	return good;
}

/* --- rows -------------------------------------------------------------------- */

/* Who takes everything is fast. */
static void check_refuses(const struct opened *opened, const struct verifier *v)
{
	struct token t = { .text = strdup(tokens[0].text), .length = tokens[0].length };
	char *digit = t.text + t.length - 20;

	*digit = *digit == 'A' ? 'B' : 'A';
	if (opened ? opened->peer->verify(opened->it, t.text, t.length) : judge(&t, v))
		die("a false signature was taken");
	free(t.text);
}

static char *pem_of(EVP_PKEY *public)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *text;
	long length;

	assert_true(bio && PEM_write_bio_PUBKEY(bio, public) == 1);
	length = BIO_get_mem_data(bio, &data);
	text = strndup(data, (size_t)length);
	BIO_free(bio);
	return text;
}

static size_t open_peers(const char *row, const struct peer_case *c, struct opened opened[], struct bench_way ways[])
{
	static const struct peer *const peers[] = { &peer_libjwt, &peer_cjose, &peer_rhonabwy, &peer_libjose };
	size_t count = 0;

	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		struct opened *one = &opened[count];
		char no_package[100];
		const char *why = no_package;

		snprintf(no_package, sizeof(no_package), "no package %s when this was built", peers[i]->package);
		one->peer = peers[i];
		one->it = peers[i]->open ? peers[i]->open(c, &why) : NULL;
		if (!one->it) {
			bench_skip(row, peers[i]->name, why);
			continue;
		}
		check_refuses(one, NULL);
		ways[count++] = (struct bench_way){ peers[i]->name, by_peer, one };
	}
	return count;
}

static void verify_again(void)
{
	struct verifier v = { memory_new(REMEMBERED), false };
	const struct bench_way ways[] = { { "raw RS256", raw, NULL }, { "keyfob", by_keyfob, &v } };

	assert_true(v.memory && by_keyfob(&v, TOKENS));
	v.known = true;
	bench_run("verify-again", ways, 2, &(struct bench_options){ .pinned = true, .rate = "/s" });
	bench_at_least("verify-again", "keyfob", "raw RS256", 8);
	memory_free(v.memory);
}

static void verify_first(const struct algorithm *a)
{
	struct verifier v = { memory_new(FORGETFUL), false };
	struct peer_case c = { .alg = a->alg, .issuer = ISSUER, .audience = AUDIENCE };
	struct bench_way ways[6] = { { "raw", raw, NULL }, { "keyfob", by_keyfob, &v } };
	struct opened opened[4];
	char why[256], *pem, *jwk, *set;
	size_t count;

	assert_non_null(v.memory);
	key = jose_key(a->key);
	for (unsigned i = 0; i < TOKENS; i++)
		make_token(&tokens[i], a->alg, i, time(NULL));
	c.pem = pem = pem_of(key);
	c.jwk = jwk = jose_jwk(key, ",\"kid\":\"" KID "\",\"use\":\"sig\"");
	set = jose_set(strdup(jwk), jose_jwk(other_key, ",\"kid\":\"another\""), NULL);
	keys = jwks_import(set, strlen(set), NULL, why, sizeof(why));
	if (!keys)
		die(why);
	check_refuses(NULL, &v);
	count = 2 + open_peers(a->row, &c, opened, ways + 2);
	bench_run(a->row, ways, count, &(struct bench_options){ .pinned = true, .rate = "/s" });
	bench_at_least(a->row, "keyfob", "raw", a->least);
	if (strcmp(a->alg, "RS256") == 0)
		verify_again();
	memory_free(v.memory);
	jwks_free(keys);
	EVP_PKEY_free(key);
	free(set);
	free(jwk);
	free(pem);
}

/* A small company's: who logs in is one of many. */
static void configure(void)
{
	struct buffer text, errors;

	buffer_init(&text, 1 << 20);
	buffer_init(&errors, 65536);
	buffer_printf(&text, "[identity-provider azure]\nissuer = " ISSUER "\naudience = " AUDIENCE "\nauthorization_type = user\n"
			     "[identity-provider google]\nissuer = https://accounts.google.com\naudience = "
			     "https://db.example\nauthorization_type = user\n"
			     "[organization acme]\nservices = " SERVICE "\nidentity_providers = azure\nidentity_providers = google\n"
			     "[database-user " LOGIN "]\nservice = " SERVICE
			     "\nidentity_provider = azure\nuser_id = 7d2f7a0e-5a52-4c0e-9f4e-0d8f3f0c1a11\n");
	for (int i = 0; i < 50; i++)
		buffer_printf(&text, "[database-user u%d]\nservice = " SERVICE "\nidentity_provider = google\nuser_id = %d\n", i, i);
	assert_int_equal(make_config_dir(NULL), 0);
	write_text("keyfob.conf", buffer_cstring(&text));
	if (!config_load(config_file, &config, &errors) || !federation_load(&config, &federation, &errors))
		die(buffer_cstring(&errors));
	remove_config_dir(NULL);
	buffer_free(&text);
	buffer_free(&errors);
}

int main(void)
{
	configure();
	other_key = jose_key("RSA");
	for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++)
		verify_first(&algorithms[i]);
	return 0;
}
