/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judgement of tokens: their form and size, which identity provider judges
 * them, and which database user they belong to.
 *
 * links: verify/verdict verify/claims verify/reason verify/federation verify/federation-read verify/federation-values common/config common/log
 * links: verify/jws verify/jwks verify/jwk verify/jwk-material verify/jwt verify/json common/buffer common/wire
 * libs: ini_config libcrypto jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/verdict-call.h"

/* Another signature. */
static void tamper(char *token)
{
	char *digit = token + strlen(token) - 20;

	*digit = *digit == 'A' ? 'B' : 'A';
}

/* --- form ---------------------------------------------------------------------------------------- */

static void test_form(void **state)
{
	static const struct {
		const char *token;
		enum reason reason;
	} rows[] = {
		{ "", REASON_TOKEN_SIZE },
		{ "secret", REASON_TOKEN_FORM },
		{ "a.b", REASON_TOKEN_FORM },
		{ "e30.e30.c2ln.c2ln", REASON_TOKEN_FORM },
		{ ".e30.c2ln", REASON_TOKEN_FORM },
		{ "e30..c2ln", REASON_TOKEN_FORM },
		{ "e30=.e30.c2ln", REASON_TOKEN_ENCODING },
		{ "e30.e31.c2ln", REASON_TOKEN_ENCODING },
		{ "e30.e30.c2ln\n", REASON_TOKEN_ENCODING },
		{ "e30.e30.c2lnA", REASON_TOKEN_ENCODING },
		{ "W10.e30.c2ln", REASON_HEADER },
		{ "e30.W10.c2ln", REASON_CLAIMS },
		{ "e30.e30.c2ln", REASON_ISS },
	};
	struct verdict v;
	char *token;

	(void)state;
	load(PROVIDER);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		v = judge_bytes(NULL, NULL, rows[i].token, strlen(rows[i].token));
		expect(rows[i].token, &v, rows[i].reason, NULL);
		assert_null(v.provider);
		assert_int_equal(asked, 0);
	}
	/* Another signature, another text, and none at all. */
	token = make_token(HEADER, CLAIMS);
	v = judge_bytes(NULL, NULL, token, strlen(token));
	expect("whole", &v, REASON_OK, "");
	assert_string_equal(v.subject, "7d2f");
	assert_string_equal(v.kid, "ec");
	assert_int_equal(v.expires, 2000003600);
	assert_int_equal(v.not_before, 1999999000);
	tamper(token);
	v = judge_bytes(NULL, NULL, token, strlen(token));
	expect("tampered", &v, REASON_SIGNATURE, "");
	assert_string_equal(v.subject, "");
	v = judge_bytes(NULL, NULL, token, (size_t)(strrchr(token, '.') - token) + 1);
	expect("unsigned", &v, REASON_SIGNATURE, "");
	free(token);
	unload();
}

/* A token of that many bytes; forged: with a signature of that many that is none, unless 0. */
static char *make_token_of(size_t length, const char *header, size_t forged)
{
	char *pad = malloc(length), *claims = malloc(length + 1024), *token = NULL;
	size_t signature = forged ? forged * 4 / 3 : strstr(header, "RS256") ? 342 : 86;

	/* Blanks in the header reach the lengths that base64url of the claims alone does not. */
	for (size_t blanks = 0; blanks < 3; blanks++) {
		char spaced[200];

		snprintf(spaced, sizeof(spaced), "%s%.*s", header, (int)blanks, "  ");
		for (size_t n = 0; n < length; n++) {
			memset(pad, 'x', n);
			pad[n] = 0;
			snprintf(claims, length + 1024, "{" AUD TIMES SUB ",\"pad\":\"%s\"}", pad);
			if ((strlen(claims) + strlen(spaced)) * 4 / 3 + signature + 8 < length)
				continue;
			token = forged ? forge_token(spaced, claims, forged) : make_token(spaced, claims);
			if (strlen(token) >= length)
				break;
			free(token);
			token = NULL;
		}
		if (token && strlen(token) == length)
			break;
		free(token);
		token = NULL;
	}
	free(pad);
	free(claims);
	assert_non_null(token);
	return token;
}

static void test_truncated(void **state)
{
	static const size_t lengths[] = { 511, 512, 1023, 1024, 2047, 4095 };
	static const size_t more[] = { 1, 2, 50, 85, 86, 87, 300 };
	char *token, password[1024];
	struct verdict v;

	(void)state;
	load(PROVIDER);
	for (size_t i = 0; i < 6; i++) {
		/* Cut in the signature, at its dot, and in the claims. */
		for (size_t j = 0; j < sizeof(more) / sizeof(more[0]); j++) {
			token = make_token_of(lengths[i] + more[j], HEADER, 0);
			v = judge_bytes(NULL, NULL, token, strlen(token));
			expect("whole", &v, REASON_OK, "");
			v = judge_bytes(NULL, NULL, token, lengths[i]);
			expect("cut", &v, REASON_TOKEN_TRUNCATED, NULL);
			v = judge_bytes(NULL, NULL, token, lengths[i] - 4);
			if (v.reason == REASON_OK || v.reason == REASON_TOKEN_TRUNCATED)
				fail_msg("%zu: %s", lengths[i] - 4, reason_code(v.reason));
			free(token);
		}
		/* Whole at that very length; and then tampered with, but not cut. */
		token = make_token_of(lengths[i], HEADER, 0);
		v = judge_bytes(NULL, NULL, token, lengths[i]);
		expect("whole", &v, REASON_OK, "");
		tamper(token);
		v = judge_bytes(NULL, NULL, token, lengths[i]);
		expect("tampered", &v, REASON_SIGNATURE, NULL);
		free(token);
	}
	/* 300 bytes are what is left of a larger key's signature; 384 are whole. */
	token = make_token_of(1023, ALG("RS256", "rsa"), 300);
	v = judge_bytes(NULL, NULL, token, 1023);
	expect("cut", &v, REASON_TOKEN_TRUNCATED, "1023 bytes");
	free(token);
	token = make_token_of(1023, ALG("RS256", "rsa"), 384);
	v = judge_bytes(NULL, NULL, token, 1023);
	expect("forged", &v, REASON_SIGNATURE, NULL);
	free(token);
	token = make_token_of(2047 + 40, ALG("RS256", "rsa"), 0);
	v = judge_bytes(NULL, NULL, token, 2047);
	expect("cut", &v, REASON_TOKEN_TRUNCATED, "2047 bytes");
	assert_string_equal(v.subject, "");
	free(token);
	/* A password of that length is none. */
	memset(password, 'x', sizeof(password));
	v = judge_bytes(NULL, NULL, password, 1023);
	expect("password", &v, REASON_TOKEN_FORM, NULL);
	memset(password, 'e', sizeof(password));
	password[7] = '!';
	v = judge_bytes(NULL, NULL, password, 1023);
	expect("password", &v, REASON_TOKEN_FORM, NULL);
	unload();
}

static void test_size(void **state)
{
	struct verdict v;
	char *token;

	(void)state;
	load(PROVIDER "[identity-provider large]\nissuer = https://large.example\naudience = api1\nauthorization_type = user\n"
		      "max_token_size = 65536\n");
	token = make_token_of(16384, HEADER, 0);
	v = judge_bytes(NULL, NULL, token, strlen(token));
	expect("16384", &v, REASON_OK, "");
	free(token);
	token = make_token_of(16385, HEADER, 0);
	v = judge_bytes(NULL, NULL, token, strlen(token));
	expect("16385", &v, REASON_TOKEN_SIZE, "16385 bytes, identity provider entra takes 16384");
	free(token);
	unload();
	load(PROVIDER "max_token_size = 65536\n");
	token = make_token_of(65536, HEADER, 0);
	v = judge_bytes(NULL, NULL, token, strlen(token));
	expect("65536", &v, REASON_OK, "");
	free(token);
	token = make_token_of(65537, HEADER, 0);
	v = judge_bytes(NULL, NULL, token, strlen(token));
	expect("65537", &v, REASON_TOKEN_SIZE, "65537 bytes, at most 65536 are taken");
	free(token);
	unload();
	load("# no identity provider\n");
	v = judge(NULL, NULL, HEADER, CLAIMS);
	expect("nobody", &v, REASON_ISS, "iss is " ISS);
	unload();
}

/* --- identity providers ----------------------------------------------------------------------------- */

static void test_keys(void **state)
{
	static const enum reason reasons[] = { REASON_KEYS_MISSING, REASON_KEYS_STALE, REASON_KEYS_REVOKED };
	struct verdict v;

	(void)state;
	load(PROVIDER);
	for (size_t i = 0; i < 3; i++) {
		no_keys = reasons[i];
		v = judge(NULL, NULL, HEADER, CLAIMS);
		no_keys = REASON_OK;
		expect("no keys", &v, reasons[i], NULL);
		assert_ptr_equal(v.provider, &f.providers[0]);
		assert_string_equal(v.kid, "ec");
		assert_int_equal(asked, 1);
	}
	unload();
}

#define SAME(name, audience) "[identity-provider " name "]\nissuer = " ISS "\naudience = " audience "\nauthorization_type = user\n"
#define ADDED(name, provider, id) \
	"[database-user " name "]\nservice = pg\nidentity_provider = " provider "\nuser_id = " id "\nlogin = orders\n"
#define ORGANIZATION(providers) "[organization acme]\nservices = pg\nidentity_providers = " providers "\n"

static void test_one_issuer_several_audiences(void **state)
{
	struct verdict v;

	(void)state;
	load(SAME("first", "api1") SAME("second", "api2") SAME("third", "api3"));
	v = judge(NULL, NULL, HEADER, FOR("\"api2\""));
	expect("second", &v, REASON_OK, "");
	assert_string_equal(v.provider->name, "second");
	v = judge(NULL, NULL, HEADER, FOR("[\"api3\",\"api2\"]"));
	assert_string_equal(v.provider->name, "second");
	v = judge(NULL, NULL, HEADER, FOR("\"api4\""));
	expect("none", &v, REASON_AUD, "aud is api4, identity provider first wants api1");
	unload();
	/* The order of files does not decide who may log in. */
	load(SAME("first", "api1") SAME("second", "api2") SAME("third", "api3") ORGANIZATION("second third") ADDED("u", "third", "7d2f"));
	v = judge("pg", "orders", HEADER, FOR("[\"api1\",\"api2\",\"api3\"]"));
	expect("third", &v, REASON_OK, "");
	assert_string_equal(v.provider->name, "third");
	v = judge("pg", "orders", HEADER, "{\"iss\":\"" ISS "\",\"aud\":[\"api2\",\"api3\"]," TIMES "\"sub\":\"9999\"}");
	expect("third", &v, REASON_USER_NOT_ADDED, NULL);
	assert_string_equal(v.provider->name, "third");
	v = judge("pg", "other", HEADER, FOR("[\"api1\",\"api2\"]"));
	expect("second", &v, REASON_LOGIN_UNKNOWN, "login other, service pg");
	assert_string_equal(v.provider->name, "second");
	v = judge("pg", "orders", HEADER, FOR("[\"api1\",\"api2\"]"));
	expect("second", &v, REASON_USER_NOT_ADDED, NULL);
	v = judge("pg", "orders", HEADER, FOR("\"api4\""));
	expect("none", &v, REASON_AUD, "aud is api4, identity provider third wants api3");
	unload();
	load(SAME("first", "api1") SAME("second", "api2") ADDED("u", "first", "8888") ADDED("v", "second", "7d2f"));
	v = judge("pg", "orders", HEADER, FOR("[\"api1\",\"api2\"]"));
	expect("second", &v, REASON_OK, "");
	assert_string_equal(v.user->name, "v");
	unload();
}

static void test_google(void **state)
{
	static const char claims[] = "{\"iss\":\"accounts.google.com\",\"aud\":\"api1\"," TIMES SUB "}";
	struct verdict v;

	(void)state;
	load("[identity-provider google]\nissuer = https://accounts.google.com\naudience = api1\nauthorization_type = user\n");
	v = judge(NULL, NULL, HEADER, claims);
	expect("alias", &v, REASON_OK, "");
	unload();
	load("[identity-provider other]\nissuer = https://accounts.example.com\naudience = api1\nauthorization_type = user\n");
	v = judge(NULL, NULL, HEADER, "{\"iss\":\"accounts.example.com\",\"aud\":\"api1\"," TIMES SUB "}");
	expect("no alias", &v, REASON_ISS, NULL);
	unload();
}

/* --- database users ------------------------------------------------------------------------------------ */

static void test_users(void **state)
{
	struct verdict v;

	(void)state;
	load(PROVIDER ADDED("one", "entra", "8888") ADDED("two", "entra", "7d2f") "account = rw\n");
	v = judge("pg", "orders", HEADER, CLAIMS);
	expect("two", &v, REASON_OK, "");
	assert_string_equal(v.user->name, "two");
	assert_string_equal(v.user->account, "rw");
	v = judge("pg", "orders", HEADER, BY("\"7d2F\""));
	expect("case", &v, REASON_USER_NOT_ADDED, "sub is 7d2F, of identity provider entra; database user two has 7d2f, of entra");
	v = judge("pg", "Orders", HEADER, CLAIMS);
	expect("login", &v, REASON_LOGIN_UNKNOWN, "login Orders, service pg");
	v = judge("pg", "", HEADER, CLAIMS);
	expect("no login", &v, REASON_LOGIN_UNKNOWN, NULL);
	v = judge("my", "orders", HEADER, CLAIMS);
	expect("service", &v, REASON_LOGIN_UNKNOWN, "login orders, service my");
	/* A user's identifier says nothing of the same identifier elsewhere. */
	unload();
	load(PROVIDER "[identity-provider dex]\nissuer = https://dex.example\naudience = api1\nauthorization_type = user\n" ADDED(
		"u", "dex", "7d2f"));
	v = judge("pg", "orders", HEADER, CLAIMS);
	expect("other provider", &v, REASON_USER_NOT_ADDED, "sub is 7d2f, of identity provider entra; database user u has 7d2f, of dex");
	unload();
}

static void test_members(void **state)
{
	struct verdict v;

	(void)state;
	load(GROUPS "[database-user writers]\nservice = pg\nidentity_provider = entra\ngroup_id = g2\nlogin = orders\naccount = rw\n"
		    "[database-user readers]\nservice = pg\nidentity_provider = entra\ngroup_id = g3\nlogin = orders\naccount = ro\n");
	v = judge("pg", "orders", HEADER, IN("\"groups\":[\"g1\",\"g3\"]"));
	expect("readers", &v, REASON_OK, "");
	assert_string_equal(v.user->account, "ro");
	assert_string_equal(v.subject, "7d2f");
	v = judge("pg", "orders", HEADER, IN("\"groups\":\"g2\""));
	expect("writers", &v, REASON_OK, "");
	assert_string_equal(v.user->account, "rw");
	v = judge("pg", "orders", HEADER, IN("\"groups\":[\"g1\",\"G2\",\"g\",\"g22\"]"));
	expect("neither", &v, REASON_GROUP_NOT_ADDED, NULL);
	v = judge("pg", "orders", HEADER, IN("\"groups\":[]"));
	expect("none", &v, REASON_GROUP_NOT_ADDED, NULL);
	/* Not one's own identifier: that is no group. */
	v = judge("pg", "orders", HEADER, "{" AUD TIMES "\"sub\":\"g2\",\"groups\":[]}");
	expect("sub", &v, REASON_GROUP_NOT_ADDED, NULL);
	v = judge("pg", "orders", HEADER, IN("\"hasgroups\":true"));
	expect("overage", &v, REASON_GROUP_OVERAGE, "");
	unload();
}

static void test_connected(void **state)
{
	const struct federation_user *user;
	struct verdict v;

	(void)state;
	load(PROVIDER ORGANIZATION("entra") ADDED("u", "entra", "7d2f"));
	v = judge("pg", "orders", HEADER, CLAIMS);
	expect("connected", &v, REASON_OK, "");
	assert_int_equal(verdict_account(&f, "pg", "orders", "", &user), REASON_OK);
	assert_string_equal(user->name, "u");
	assert_int_equal(verdict_account(&f, "pg", "other", "", &user), REASON_LOGIN_UNKNOWN);
	assert_null(user);
	assert_int_equal(verdict_account(&f, "my", "orders", "", &user), REASON_LOGIN_UNKNOWN);
	unload();
	load(PROVIDER "[organization acme]\nservices = pg\n" ADDED("u", "entra", "7d2f"));
	v = judge("pg", "orders", HEADER, CLAIMS);
	expect("not connected", &v, REASON_NOT_CONNECTED, "identity provider entra, service pg");
	assert_int_equal(verdict_account(&f, "pg", "orders", "", &user), REASON_NOT_CONNECTED);
	assert_null(user);
	unload();
	/* One of two that share the login is. */
	load(PROVIDER "[identity-provider dex]\nissuer = https://dex.example\naudience = api1\nauthorization_type = user\n" ORGANIZATION(
		"dex") ADDED("u", "entra", "7d2f") ADDED("v", "dex", "7d2f"));
	assert_int_equal(verdict_account(&f, "pg", "orders", "", &user), REASON_OK);
	assert_string_equal(user->name, "v");
	unload();
	/* Each of those who share a login stays with his account. */
	load(PROVIDER ORGANIZATION("entra")
			ADDED("u", "entra", "7d2f") "account = reader\n" ADDED("v", "entra", "7d30") "account = writer\n");
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(verdict_account(&f, "pg", "orders", i ? "writer" : "reader", &user), REASON_OK);
		assert_string_equal(user->name, i ? "v" : "u");
	}
	assert_int_equal(verdict_account(&f, "pg", "orders", "gone", &user), REASON_OK);
	assert_string_not_equal(user->account, "gone");
	unload();
}

/* No text, however long or foreign, makes a detail that does not fit or is not plain; judge_bytes() looks. */
static void test_details(void **state)
{
	static const char *const texts[] = { "\\n\\r\\u001b[2J", "\xf0\x9f\x94\x91", "%s%n", "\\\"\\\\" };
	char long_text[2000], claims[2400], header[2400];

	(void)state;
	load(PROVIDER "client_id = c\n");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		*long_text = 0;
		for (size_t n = 0; n < 60; n++)
			strcat(long_text, texts[i]);
		snprintf(claims, sizeof(claims), "{\"iss\":\"%s\",\"aud\":\"api1\"}", long_text);
		assert_int_equal(judge(NULL, NULL, HEADER, claims).reason, REASON_ISS);
		snprintf(claims, sizeof(claims), "{\"iss\":\"" ISS "\",\"aud\":[\"%s\",\"%s\"]}", long_text, texts[i]);
		assert_int_equal(judge(NULL, NULL, HEADER, claims).reason, REASON_AUD);
		snprintf(claims, sizeof(claims), "{" AUD TIMES "\"azp\":\"%s\"}", long_text);
		assert_int_equal(judge(NULL, NULL, HEADER, claims).reason, REASON_CLIENT);
		snprintf(header, sizeof(header), "{\"typ\":\"%s\"}", long_text);
		assert_int_equal(judge(NULL, NULL, header, CLAIMS).reason, REASON_TYP);
	}
	unload();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_one_issuer_several_audiences),
		cmocka_unit_test(test_google),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_connected),
		cmocka_unit_test(test_details),
	};

	return cmocka_run_group_tests(tests, start, end);
}
