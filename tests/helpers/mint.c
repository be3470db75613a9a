/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes keys, key sets and tokens, good ones and bad ones; shares no code
 * with what judges them. libs: libcrypto jansson
 *
 *   mint keys DIR                  the keys rsa, rsa2, p256, p384, p521 and ed25519 as DIR/NAME.pem (private) and DIR/NAME.pub,
 *                                  and DIR/jwks.json with all of them, the name as kid
 *   mint key TYPE FILE             one private key: rsa1024, rsa2048, rsa3072, p256, p384, p521, ed25519, secp256k1
 *   mint jwks KID=FILE...          a key set of PEM files (private or public) on stdout
 *   mint token OPTION...           a compact JWS on stdout, without a newline
 *     --key FILE                   private key, PEM
 *     --alg ALG                    of the header, and how it is signed; none: no signature; HS256: the secret is the
 *                                  PEM text of the public key
 *     --kid KID                    of the header
 *     --claims JSON                an object (a member null is left out)
 *     --life SECONDS               adds iat (now) and exp (now + SECONDS, which may be negative) where the claims lack them
 *     --header JSON                members that replace or extend those of the header (null takes one away)
 *     --raw-header TEXT            the header, as it is
 *     --raw-claims TEXT            the payload, as it is
 *     --length N                   the token has exactly N bytes: a claim "pad" fills it up
 *     --spoil HOW                  after signing: signature (a bit of it), claims (another character in them), header (the
 *                                  same), alphabet (a character that is not base64url), loose (unused bits of the last
 *                                  character), padding ("=" at the end), part (a fourth one), newline, short (the last
 *                                  10 characters are missing), stripped (no signature)
 *     --count N                    N tokens, one a line, the i-th with the kid KID-i
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#define KEY_BYTES_MAX 2048

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("mint: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static void *need(void *p)
{
	if (!p)
		die("out of memory, or OpenSSL refuses");
	return p;
}

static void must(int result)
{
	if (result != 1)
		die("OpenSSL refuses");
}

/* base64url without padding (RFC 7515 section 2). */
static char *encode(const void *data, size_t length)
{
	const uint8_t *in = data;
	char *text = need(malloc(length / 3 * 4 + 5)), *out = text;
	uint32_t bits = 0;
	unsigned int held = 0;

	for (size_t i = 0; i < length; i++) {
		bits = (bits << 8) | in[i];
		for (held += 8; held >= 6; held -= 6)
			*out++ = digits[(bits >> (held - 6)) & 63];
	}
	if (held > 0)
		*out++ = digits[(bits << (6 - held)) & 63];
	*out = '\0';
	return text;
}

/* --- keys ------------------------------------------------------------------ */

static EVP_PKEY *make_key(const char *type)
{
	if (strncmp(type, "rsa", 3) == 0)
		return need(EVP_RSA_gen(type[3] == '\0' || strcmp(type, "rsa2") == 0 ? 2048 : (unsigned int)atoi(type + 3)));
	if (strcmp(type, "ed25519") == 0)
		return need(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
	if (strcmp(type, "secp256k1") == 0)
		return need(EVP_EC_gen("secp256k1"));
	if (strcmp(type, "p256") == 0 || strcmp(type, "p384") == 0 || strcmp(type, "p521") == 0) {
		char curve[] = "P-256";

		strcpy(curve + 2, type + 1);
		return need(EVP_EC_gen(curve));
	}
	die("no such type of key: %s", type);
}

static EVP_PKEY *read_key(const char *path)
{
	FILE *f = path ? fopen(path, "re") : NULL;
	EVP_PKEY *key;

	if (!f)
		die("cannot read the key %s", path ? path : "(--key is missing)");
	key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	rewind(f);
	if (!key)
		key = PEM_read_PUBKEY(f, NULL, NULL, NULL);
	fclose(f);
	if (!key)
		die("%s holds no key", path);
	return key;
}

/* Private keys are for their owner alone. */
static void write_key(EVP_PKEY *key, const char *path, bool private)
{
	mode_t mask = umask(private ? 0077 : 0022);
	FILE *f = fopen(path, "we");

	umask(mask);
	if (!f)
		die("cannot write %s", path);
	must(private ? PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) : PEM_write_PUBKEY(f, key));
	if (fclose(f) != 0)
		die("cannot write %s", path);
}

/* A number of a key, big endian, at least width bytes. */
static json_t *number_of(const EVP_PKEY *key, const char *parameter, int width)
{
	unsigned char bytes[KEY_BYTES_MAX];
	BIGNUM *number = NULL;
	json_t *json;
	char *text;

	must(EVP_PKEY_get_bn_param(key, parameter, &number));
	if (width < BN_num_bytes(number))
		width = BN_num_bytes(number);
	must(BN_bn2binpad(number, bytes, width) == width);
	text = encode(bytes, (size_t)width);
	json = need(json_string(text));
	free(text);
	BN_free(number);
	return json;
}

static json_t *jwk_of(const EVP_PKEY *key, const char *kid)
{
	json_t *jwk = need(json_pack("{s:s, s:s}", "kid", kid, "use", "sig"));

	if (EVP_PKEY_is_a(key, "RSA")) {
		json_object_set_new(jwk, "kty", json_string("RSA"));
		json_object_set_new(jwk, "n", number_of(key, OSSL_PKEY_PARAM_RSA_N, 0));
		json_object_set_new(jwk, "e", number_of(key, OSSL_PKEY_PARAM_RSA_E, 0));
	} else if (EVP_PKEY_is_a(key, "ED25519")) {
		unsigned char point[32];
		size_t length = sizeof(point);
		char *text;

		must(EVP_PKEY_get_raw_public_key(key, point, &length));
		text = encode(point, length);
		json_object_set_new(jwk, "kty", json_string("OKP"));
		json_object_set_new(jwk, "crv", json_string("Ed25519"));
		json_object_set_new(jwk, "x", json_string(text));
		free(text);
	} else {
		int bits = EVP_PKEY_get_bits(key), width = (bits + 7) / 8;
		char group[64] = "";

		must(EVP_PKEY_get_group_name(key, group, sizeof(group), NULL));
		json_object_set_new(jwk, "kty", json_string("EC"));
		json_object_set_new(jwk, "crv", strcmp(group, "secp256k1") == 0 ? json_string(group) : json_sprintf("P-%d", bits));
		json_object_set_new(jwk, "x", number_of(key, OSSL_PKEY_PARAM_EC_PUB_X, width));
		json_object_set_new(jwk, "y", number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y, width));
	}
	return jwk;
}

static void keys_into(const char *dir)
{
	static const char *const names[] = { "rsa", "rsa2", "p256", "p384", "p521", "ed25519" };
	json_t *list = need(json_array()), *set;
	char path[4096];

	mkdir(dir, 0755);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		EVP_PKEY *key = make_key(names[i]);

		snprintf(path, sizeof(path), "%s/%s.pem", dir, names[i]);
		write_key(key, path, true);
		snprintf(path, sizeof(path), "%s/%s.pub", dir, names[i]);
		write_key(key, path, false);
		json_array_append_new(list, jwk_of(key, names[i]));
		EVP_PKEY_free(key);
	}
	set = need(json_pack("{s:o}", "keys", list));
	snprintf(path, sizeof(path), "%s/jwks.json", dir);
	if (json_dump_file(set, path, JSON_INDENT(1)) != 0)
		die("cannot write %s", path);
	json_decref(set);
}

static void print_jwks(char **words)
{
	json_t *list = need(json_array()), *set;

	for (; *words; words++) {
		char *is = strchr(*words, '=');
		EVP_PKEY *key;

		if (!is)
			die("KID=FILE is wanted, not %s", *words);
		*is = '\0';
		key = read_key(is + 1);
		json_array_append_new(list, jwk_of(key, *words));
		EVP_PKEY_free(key);
	}
	set = need(json_pack("{s:o}", "keys", list));
	json_dumpf(set, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(set);
}

/* --- signatures -------------------------------------------------------------- */

/* OpenSSL makes DER, a JWS has the two numbers side by side (RFC 7518 section 3.4). */
static size_t flat(EVP_PKEY *key, unsigned char *signature, size_t length)
{
	const unsigned char *at = signature;
	ECDSA_SIG *pair = need(d2i_ECDSA_SIG(NULL, &at, (long)length));
	int width = (EVP_PKEY_get_bits(key) + 7) / 8;

	must(BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, width) == width);
	must(BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + width, width) == width);
	ECDSA_SIG_free(pair);
	return 2 * (size_t)width;
}

static size_t sign_hmac(EVP_PKEY *key, const EVP_MD *md, const char *input, unsigned char *signature)
{
	BIO *bio = need(BIO_new(BIO_s_mem()));
	unsigned int length = 0;
	char *pem;
	long size;

	must(PEM_write_bio_PUBKEY(bio, key));
	size = BIO_get_mem_data(bio, &pem);
	need(HMAC(md, pem, (int)size, (const unsigned char *)input, strlen(input), signature, &length));
	BIO_free(bio);
	return length;
}

static size_t sign(EVP_PKEY *key, const char *alg, const char *input, unsigned char *signature)
{
	size_t length = KEY_BYTES_MAX;
	const char *bits = strlen(alg) > 3 ? alg + strlen(alg) - 3 : "";
	const EVP_MD *md = strcmp(bits, "512") == 0 ? EVP_sha512() : strcmp(bits, "384") == 0 ? EVP_sha384() : EVP_sha256();
	EVP_PKEY_CTX *padding = NULL;
	EVP_MD_CTX *context;

	if (strcasecmp(alg, "none") == 0)
		return 0;
	if (strncmp(alg, "HS", 2) == 0)
		return sign_hmac(key, md, input, signature);
	context = need(EVP_MD_CTX_new());
	must(EVP_DigestSignInit(context, &padding, EVP_PKEY_is_a(key, "ED25519") ? NULL : md, NULL, key));
	if (strncmp(alg, "PS", 2) == 0) {
		must(EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PSS_PADDING));
		must(EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, RSA_PSS_SALTLEN_DIGEST));
	}
	must(EVP_DigestSign(context, signature, &length, (const unsigned char *)input, strlen(input)));
	EVP_MD_CTX_free(context);
	return EVP_PKEY_is_a(key, "EC") ? flat(key, signature, length) : length;
}

/* --- tokens ------------------------------------------------------------------- */

struct token {
	EVP_PKEY *key;
	const char *alg, *kid, *claims, *header, *raw_header, *raw_claims, *spoil;
	long life, length, count;
	bool has_life;
};

static json_t *read_object(const char *text)
{
	json_error_t error;
	json_t *json = json_loads(text, 0, &error);

	if (!json_is_object(json))
		die("%s: %s", text, json ? "not an object" : error.text);
	return json;
}

/* fill: bytes of a member that is ignored. */
static char *header_text(const struct token *t, const char *kid, size_t fill)
{
	json_t *header, *more, *value;
	const char *name;
	char *text;

	if (t->raw_header)
		return need(strdup(t->raw_header));
	header = need(json_pack("{s:s, s:s}", "typ", "JWT", "alg", t->alg));
	if (kid)
		json_object_set_new(header, "kid", json_string(kid));
	more = read_object(t->header ? t->header : "{}");
	json_object_foreach(more, name, value) if (json_is_null(value)) json_object_del(header, name);
	else json_object_set(header, name, value);
	if (fill > 0)
		json_object_set_new(header, "pad", json_sprintf("%.*s", (int)fill, "xxxxxxxx"));
	text = need(json_dumps(header, JSON_COMPACT));
	json_decref(more);
	json_decref(header);
	return text;
}

static char *claims_text(const struct token *t, size_t fill)
{
	json_t *claims, *value;
	time_t now = time(NULL);
	const char *name;
	void *next;
	char *text;

	if (t->raw_claims)
		return need(strdup(t->raw_claims));
	claims = read_object(t->claims ? t->claims : "{}");
	if (t->has_life && !json_object_get(claims, "iat"))
		json_object_set_new(claims, "iat", json_integer(now));
	if (t->has_life && !json_object_get(claims, "exp"))
		json_object_set_new(claims, "exp", json_integer(now + t->life));
	if (fill > 0) {
		char *pad = need(malloc(fill));

		memset(pad, 'x', fill);
		json_object_set_new(claims, "pad", json_stringn(pad, fill));
		free(pad);
	}
	json_object_foreach_safe(claims, next, name, value) if (json_is_null(value)) json_object_del(claims, name);
	text = need(json_dumps(claims, JSON_COMPACT));
	json_decref(claims);
	return text;
}

static char *signed_token(const struct token *t, const char *header, const char *claims)
{
	unsigned char signature[KEY_BYTES_MAX];
	char *head = encode(header, strlen(header)), *body = encode(claims, strlen(claims)), *input, *tail, *token;
	size_t length;

	if (asprintf(&input, "%s.%s", head, body) < 0)
		die("out of memory");
	length = sign(t->key, t->alg, input, signature);
	tail = encode(signature, length);
	if (asprintf(&token, "%s.%s", input, tail) < 0)
		die("out of memory");
	free(head);
	free(body);
	free(input);
	free(tail);
	return token;
}

/*
 * Four bytes of base64url carry three, so not every length can be had by the
 * claims alone; a few bytes in the header make up for it.
 */
static char *token_of_length(const struct token *t, const char *kid)
{
	for (size_t extra = 0; extra <= 3; extra++) {
		size_t fill = 1, length = 0;

		while (length < (size_t)t->length) {
			char *header = header_text(t, kid, extra), *claims = claims_text(t, fill);
			char *token = signed_token(t, header, claims);

			length = strlen(token);
			free(header);
			free(claims);
			if (length == (size_t)t->length)
				return token;
			free(token);
			if (length > (size_t)t->length && fill == 1)
				die("a token of %ld bytes cannot be made of that: it has %zu without any padding", t->length, length);
			fill += length + 8 < (size_t)t->length ? ((size_t)t->length - length) * 3 / 4 - 3 : 1;
		}
	}
	die("no token of %ld bytes can be made", t->length);
}

static void other_digit(char *at, unsigned int mask)
{
	const char *found = strchr(digits, *at);

	*at = digits[(unsigned int)(found - digits) ^ mask];
}

/* token has room for two more characters. */
static void spoil(char *token, const char *how)
{
	char *first = strchr(token, '.'), *last = strrchr(token, '.'), *end = token + strlen(token);

	if (strcmp(how, "signature") == 0)
		other_digit(last + (end - last) / 2, 4);
	else if (strcmp(how, "claims") == 0)
		other_digit(first + (last - first) / 2, 4);
	else if (strcmp(how, "header") == 0)
		other_digit(token + (first - token) / 2, 4);
	else if (strcmp(how, "alphabet") == 0)
		last[1] = '*';
	else if (strcmp(how, "loose") == 0)
		other_digit(end - 1, 1);
	else if (strcmp(how, "padding") == 0)
		strcpy(end, "=");
	else if (strcmp(how, "part") == 0)
		strcpy(end, ".A");
	else if (strcmp(how, "newline") == 0)
		strcpy(end, "\n");
	else if (strcmp(how, "short") == 0 && end - last > 10)
		end[-10] = '\0';
	else if (strcmp(how, "stripped") == 0)
		last[1] = '\0';
	else
		die("no such way to spoil it: %s", how);
}

static void print_token(const struct token *t, const char *kid)
{
	char *header, *claims, *token;

	if (t->length > 0) {
		token = token_of_length(t, kid);
	} else {
		header = header_text(t, kid, 0);
		claims = claims_text(t, 0);
		token = signed_token(t, header, claims);
		free(header);
		free(claims);
	}
	token = need(realloc(token, strlen(token) + 3));
	if (t->spoil)
		spoil(token, t->spoil);
	fputs(token, stdout);
	free(token);
}

static int usage(void)
{
	fputs("usage: mint keys DIR | key TYPE FILE | jwks KID=FILE... | token OPTION... (see the head of mint.c)\n", stderr);
	return 2;
}

static int token_main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "key", required_argument, NULL, 'k' },
		{ "alg", required_argument, NULL, 'a' },
		{ "kid", required_argument, NULL, 'i' },
		{ "claims", required_argument, NULL, 'c' },
		{ "life", required_argument, NULL, 'l' },
		{ "header", required_argument, NULL, 'h' },
		{ "raw-header", required_argument, NULL, 'H' },
		{ "raw-claims", required_argument, NULL, 'C' },
		{ "length", required_argument, NULL, 'n' },
		{ "spoil", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'N' },
		{ 0 },
	};
	struct token t = { .alg = "RS256" };
	const char *key = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'k':
			key = optarg;
			break;
		case 'a':
			t.alg = optarg;
			break;
		case 'i':
			t.kid = optarg;
			break;
		case 'c':
			t.claims = optarg;
			break;
		case 'l':
			t.life = atol(optarg), t.has_life = true;
			break;
		case 'h':
			t.header = optarg;
			break;
		case 'H':
			t.raw_header = optarg;
			break;
		case 'C':
			t.raw_claims = optarg;
			break;
		case 'n':
			t.length = atol(optarg);
			break;
		case 's':
			t.spoil = optarg;
			break;
		case 'N':
			t.count = atol(optarg);
			break;
		default:
			return usage();
		}
	if (optind < argc || (t.length > 0 && t.raw_claims))
		return usage();
	t.key = read_key(key);
	for (long i = 1; i <= t.count; i++) {
		char kid[256];

		snprintf(kid, sizeof(kid), "%s-%ld", t.kid ? t.kid : "", i);
		print_token(&t, kid);
		putchar('\n');
	}
	if (t.count == 0)
		print_token(&t, t.kid);
	EVP_PKEY_free(t.key);
	return 0;
}

int main(int argc, char **argv)
{
	EVP_PKEY *key;

	if (argc == 3 && strcmp(argv[1], "keys") == 0) {
		keys_into(argv[2]);
	} else if (argc == 4 && strcmp(argv[1], "key") == 0) {
		key = make_key(argv[2]);
		write_key(key, argv[3], true);
		EVP_PKEY_free(key);
	} else if (argc >= 3 && strcmp(argv[1], "jwks") == 0) {
		print_jwks(argv + 2);
	} else if (argc >= 3 && strcmp(argv[1], "token") == 0) {
		return token_main(argc - 1, argv + 1);
	} else {
		return usage();
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
