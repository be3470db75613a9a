/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verifier's request socket, and the judgement of the tokens that come by
 * it. The first byte of an input says who asks and whether signatures are
 * found good, as no mutation of a signed token's is; the rest is the frame.
 * With a byte 0x1f it is a token's header and claims in plain JSON, and the
 * frame is made of them here.
 *
 * links: verify/requests verify/judge verify/verdict verify/claims verify/reason verify/jws verify/jwks verify/jwk verify/jwk-material verify/jwt verify/json verify/memory verify/federation verify/federation-read verify/federation-values common/config common/buffer common/wire common/log
 * libs: libcrypto jansson ini_config
 * wrap: jws_verify
 * parser: verify/requests verify/judge verify/verdict verify/claims verify/jws verify/jwt verify/memory
 */
#include <stdarg.h>
#include <time.h>

#include "common/log.h"
#include "tests/fuzz/fuzz.h"
#include "verify/jws.h"
#include "verify/verdict.h"
#include "verify/verifyd.h"

enum reason __wrap_jws_verify(const struct jwt *jwt, const char *token, const struct jws_rules *rules, const struct jwks *set);

static struct verifier verifier;
static struct conn conn;
static unsigned int answers;
static bool good_signatures;

/* --- what lies behind the requests ---------------------------------------------------------- */

enum reason __wrap_jws_verify(const struct jwt *jwt, const char *token, const struct jws_rules *rules, const struct jwks *set)
{
	const char *alg, *kid;
	enum reason reason = jws_check_header(jwt->header, rules, &alg, &kid);

	(void)set;
	fuzz_require(memchr(token, '.', jwt->signed_length));
	return reason ? reason : good_signatures ? REASON_OK : REASON_SIGNATURE;
}

const struct jwks *keysets_get(struct keysets *k, const struct federation_provider *p, time_t now, enum reason *why)
{
	(void)k, (void)now;
	*why = strcmp(p->name, "keyless") == 0 ? REASON_KEYS_MISSING : REASON_OK;
	return *why ? NULL : (const struct jwks *)&verifier;
}

time_t keysets_revoked_at(const struct keysets *k, const struct federation_provider *p)
{
	(void)k, (void)p;
	return 1000;
}

uint64_t keysets_epoch(struct keysets *k, time_t now)
{
	(void)k, (void)now;
	return 1;
}

bool keysets_unknown_kid(struct keysets *k, const struct federation_provider *p, const char *kid, time_t now)
{
	(void)k, (void)p, (void)kid, (void)now;
	return true;
}

bool keysets_is_fetching(const struct keysets *k, const struct federation_provider *p)
{
	(void)k;
	return strcmp(p->name, "keyless") == 0;
}

bool keysets_refresh(struct keysets *k, const struct federation_provider *p, time_t now)
{
	(void)k, (void)p, (void)now;
	return false;
}

int keysets_revoke(struct keysets *k, const struct federation_provider *p, time_t now)
{
	(void)k, (void)p, (void)now;
	fuzz_require(conn.peer.uid == 0);
	return 0;
}

void keysets_describe(const struct keysets *k, const struct federation_provider *p, time_t now, struct keysets_state *state)
{
	(void)k, (void)p, (void)now;
	memset(state, 0, sizeof(*state));
	state->error = "";
}

void ask_due(struct verifier *v)
{
	(void)v;
}

void ask_begin(struct verifier *v, const struct federation_provider *p)
{
	(void)v, (void)p;
}

void ask_cancel(struct verifier *v, const char *provider)
{
	(void)v, (void)provider;
}

bool verifier_reload(struct verifier *v, struct buffer *errors)
{
	(void)v, (void)errors;
	fuzz_require(conn.peer.uid == 0);
	return true;
}

bool conn_wait(struct conn *c, enum conn_stage stage, const char *provider, int ms)
{
	fuzz_require(!c->waited && stage && *provider && ms > 0);
	answers++;
	return true;
}

bool conn_may_log(const struct conn *c)
{
	(void)c;
	return true;
}

void conn_reply_start(struct buffer *b)
{
	buffer_init(b, WIRE_MAX);
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, 0);
}

void conn_reply(struct conn *c, struct buffer *b)
{
	(void)c;
	fuzz_require(!b->failed && b->length <= WIRE_MAX);
	/* Whoever is let in has a signature that was found good. */
	fuzz_require(conn.request.data[1] != WIRE_VERIFY_TOKEN || good_signatures);
	buffer_free(b);
	answers++;
}

void conn_reply_error(struct conn *c, int error, unsigned int retry, const char *format, ...)
{
	char text[WIRE_TEXT_MAX];
	va_list args;

	(void)c, (void)retry;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fuzz_require(error < 0 && error >= KEYFOB_EAGAIN && *text && fuzz_is_plain(text));
	/* Why a token is refused is told to root alone. */
	fuzz_require(error != KEYFOB_EREFUSED || conn.peer.uid == 0 || strcmp(text, "refused") == 0);
	answers++;
}

/* --- the configuration ------------------------------------------------------------------------ */

#define ENTRY(key_, value_) \
	{ \
		.key = (char *)(uintptr_t)(key_), .value = (char *)(uintptr_t)(value_), .line = 1 \
	}
#define SECTION(type_, name_, entries_) \
	{ \
		.type = (char *)(uintptr_t)(type_), .name = (char *)(uintptr_t)(name_), .file = (char *)(uintptr_t) "f", .line = 1, \
		.entries = (entries_), .count = sizeof(entries_) / sizeof((entries_)[0]) \
	}

static struct config_entry entra[] = { ENTRY("issuer", "https://a"), ENTRY("audience", "x"), ENTRY("authorization_type", "user"),
	ENTRY("client_id", "c"), ENTRY("max_lifetime", "1d") };
static struct config_entry groups[] = { ENTRY("issuer", "https://accounts.google.com"), ENTRY("audience", "y"),
	ENTRY("authorization_type", "group"), ENTRY("rules", "mongodb") };
static struct config_entry keyless[] = { ENTRY("issuer", "https://b"), ENTRY("audience", "x"), ENTRY("authorization_type", "user") };
static struct config_entry alice[] = { ENTRY("service", "pg"), ENTRY("identity_provider", "entra"), ENTRY("user_id", "s") };
static struct config_entry admins[] = { ENTRY("service", "pg"), ENTRY("identity_provider", "groups"), ENTRY("group_id", "g") };
static struct config_section sections[] = { SECTION("identity-provider", "entra", entra), SECTION("identity-provider", "groups", groups),
	SECTION("identity-provider", "keyless", keyless), SECTION("database-user", "alice", alice),
	SECTION("database-user", "admins", admins) };

static void start_verifier(void)
{
	static const struct config config = { sections, sizeof(sections) / sizeof(sections[0]) };
	static struct federation federation;
	struct buffer errors;

	if (verifier.federation)
		return;
	log_open("fuzz", false, LOG_EMERG);
	buffer_init(&errors, 4096);
	if (!federation_load(&config, &federation, &errors) || !federation_resolve(&federation, &errors))
		fprintf(stderr, "%s", buffer_cstring(&errors));
	fuzz_require(!errors.length);
	buffer_free(&errors);
	verifier.federation = &federation;
	verifier.memory = memory_new(16);
	fuzz_require(verifier.memory);
}

/* --- one request -------------------------------------------------------------------------------- */

static void put_base64url(struct buffer *b, const uint8_t *bytes, size_t length)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	for (size_t i = 0; i < length; i += 3) {
		size_t have = length - i < 3 ? length - i : 3;
		uint32_t bits = 0;

		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (k < have ? bytes[i + k] : 0);
		for (size_t k = 0; k <= have; k++)
			buffer_put_u8(b, (uint8_t)digits[bits >> (18 - 6 * k) & 63]);
	}
}

/* HEADER 0x1f CLAIMS becomes a token for alice; what holds no 0x1f is a frame as it is. */
static void make_request(struct buffer *b, const uint8_t *data, size_t size)
{
	const uint8_t *part = memchr(data, 0x1f, size);
	struct buffer token;

	buffer_init(b, WIRE_MAX);
	if (!part) {
		buffer_put(b, data, size);
		return;
	}
	buffer_init(&token, WIRE_MAX);
	put_base64url(&token, data, (size_t)(part - data));
	buffer_put_u8(&token, '.');
	put_base64url(&token, part + 1, size - (size_t)(part + 1 - data));
	buffer_printf(&token, ".AAAA");
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, WIRE_VERIFY_TOKEN);
	buffer_put_text(b, "pg");
	buffer_put_text(b, data[size - 1] & 1 ? "admins" : "alice");
	buffer_put_string(b, token.data, token.length);
	buffer_free(&token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > WIRE_MAX / 2)
		return 0;
	start_verifier();
	memory_clear(verifier.memory);
	conn = (struct conn){ .verifier = &verifier, .fd = -1, .peer = { .pid = 4711, .uid = data[0] & 1 ? 1001 : 0 } };
	good_signatures = data[0] & 2;
	make_request(&conn.request, data + 1, size - 1);
	for (int i = 0; i < 2; i++) {
		answers = 0;
		request_handle(&conn);
		fuzz_require(answers == 1);
		conn.waited = true;
	}
	buffer_free(&conn.request);
	return 0;
}

static void seed_frame(uint8_t who, uint8_t opcode, const char *first, const char *second, const char *third)
{
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	buffer_put_u8(&b, who);
	buffer_put_u8(&b, WIRE_VERSION);
	buffer_put_u8(&b, opcode);
	if (first)
		buffer_put_text(&b, first);
	if (second)
		buffer_put_text(&b, second);
	if (third)
		buffer_put_text(&b, third);
	fuzz_seed(b.data, b.length);
	buffer_free(&b);
}

void fuzz_seeds(void)
{
	seed_frame(1, WIRE_VERIFY_TOKEN, "pg", "alice", "e30.e30.AAAA");
	seed_frame(1, WIRE_VERIFY_ACCOUNT, "pg", "alice", "");
	seed_frame(0, WIRE_VERIFY_EXPLAIN, "entra", "e30.e30.AAAA", NULL);
	seed_frame(0, WIRE_VERIFY_KEYSETS, "", "", NULL);
	seed_frame(0, WIRE_VERIFY_REFRESH, "entra", NULL, NULL);
	seed_frame(0, WIRE_VERIFY_REVOKE, "entra", NULL, NULL);
	seed_frame(0, WIRE_VERIFY_RELOAD, NULL, NULL, NULL);
	fuzz_text("\x03{\"alg\":\"RS256\",\"kid\":\"k\",\"typ\":\"at+jwt\"}\x1f{\"iss\":\"https://"
		  "a\",\"aud\":\"x\",\"sub\":\"s\",\"exp\":4100000000,"
		  "\"iat\":4099999000,\"nbf\":1,\"azp\":\"c\",\"client_id\":\"c\"}  ");
	fuzz_text("\x02{\"alg\":\"RS256\"}\x1f{\"iss\":\"https://"
		  "a\",\"aud\":[\"x\",\"z\"],\"sub\":\"s\",\"exp\":4100000000.5,\"iat\":1700000000,"
		  "\"azp\":\"c\",\"scope\":\"a\"}");
	fuzz_text("\x03{\"alg\":\"EdDSA\"}\x1f{\"iss\":\"accounts.google.com\",\"aud\":\"y\",\"sub\":\"s\",\"exp\":4100000000,\"groups\":["
		  "\"g\",\"h\"]}");
	fuzz_text("\x03{\"alg\":\"none\"}\x1f{\"iss\":\"https://"
		  "b\",\"aud\":\"x\",\"exp\":4100000000,\"_claim_names\":{\"groups\":\"src1\"}}");
	fuzz_text("\x03{\"alg\":\"ES256\"}\x1f{\"iss\":\"https://b\",\"aud\":\"x\",\"exp\":4100000000,\"sub\":\"s\"}");
}
