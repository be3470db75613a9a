/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a token's header and claims must say: each rule with its reason, beside
 * a token that differs in that one thing and is accepted.
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

/* --- tables ------------------------------------------------------------------------------------ */

struct row {
	const char *config; /* keys of the identity provider */
	const char *json;
	enum reason reason;
	const char *detail; /* NULL: does not matter */
};

/* Refused before anybody looks for keys. */
static bool is_early(enum reason reason)
{
	return (reason != REASON_OK && reason < REASON_KID_UNKNOWN) || (reason >= REASON_ISS && reason < REASON_USER_CLAIM);
}

static void check_rows(const struct row *rows, size_t count, const char *provider, bool headers)
{
	for (size_t i = 0; i < count; i++) {
		char text[1024];
		struct verdict v;

		snprintf(text, sizeof(text), "%s%s", provider, rows[i].config);
		load(text);
		v = judge(NULL, NULL, headers ? rows[i].json : HEADER, headers ? CLAIMS : rows[i].json);
		expect(rows[i].json, &v, rows[i].reason, rows[i].detail);
		assert_int_equal(asked, !is_early(rows[i].reason));
		if (rows[i].reason == REASON_OK)
			assert_ptr_equal(v.provider, &f.providers[0]);
		unload();
	}
}
#define check_table(rows, provider, headers) check_rows(rows, sizeof(rows) / sizeof((rows)[0]), provider, headers)

#define WITH(more) "{\"alg\":\"ES256\",\"kid\":\"ec\"," more "}"
#define MONGODB "rules = mongodb\n"

static void test_headers(void **state)
{
	static const struct row rows[] = {
		{ "", HEADER, REASON_OK, "" },
		{ "", ALG("RS256", "rsa"), REASON_OK, "" },
		{ "", ALG("RS512", "rsa"), REASON_OK, "" },
		{ "", ALG("PS256", "rsa"), REASON_OK, "" },
		{ "", ALG("PS384", "rsa"), REASON_OK, "" },
		{ "", ALG("EdDSA", "ed"), REASON_OK, "" },
		{ "", ALG("none", "rsa"), REASON_ALG_NOT_ALLOWED, "alg is none" },
		{ "", ALG("HS256", "rsa"), REASON_ALG_NOT_ALLOWED, "alg is HS256" },
		{ "", ALG("rs256", "rsa"), REASON_ALG_NOT_ALLOWED, "alg is rs256" },
		{ "", ALG("RSA1_5", "rsa"), REASON_ALG_NOT_ALLOWED, NULL },
		{ "", "{\"kid\":\"rsa\"}", REASON_ALG_NOT_ALLOWED, "alg is missing or not a text" },
		{ "", "{\"alg\":5,\"kid\":\"rsa\"}", REASON_ALG_NOT_ALLOWED, NULL },
		{ "", "{\"alg\":\"ES256\",\"alg\":\"ES256\",\"kid\":\"ec\"}", REASON_HEADER, NULL },
		{ "", "[]", REASON_HEADER, NULL },
		{ "", WITH("\"crit\":[\"exp\"]"), REASON_CRIT, NULL },
		{ "", WITH("\"crit\":[]"), REASON_CRIT, NULL },
		{ "", WITH("\"b64\":false"), REASON_CRIT, NULL },
		/* Nothing is ever taken from where the token points. */
		{ "", WITH("\"jku\":\"https://evil.example\",\"x5u\":\"https://evil.example\",\"jwk\":{}"), REASON_OK, "" },
		{ "", "{\"alg\":\"ES256\",\"kid\":7}", REASON_KID, NULL },
		{ "", ALG("ES256", "no such"), REASON_KID_UNKNOWN, "kid is no such" },
		{ "", ALG("RS256", "ec"), REASON_KEY_UNUSABLE, "kid is ec" },
		/* Without a kid the one key that fits. */
		{ "", "{\"alg\":\"ES256\"}", REASON_OK, "" },
		{ "", "{\"alg\":\"ES384\"}", REASON_KEY_UNUSABLE, "there is no kid" },
		/* Kinds of token. */
		{ "", WITH("\"typ\":\"JWT\""), REASON_OK, "" },
		{ "", WITH("\"typ\":\"jwt\""), REASON_OK, "" },
		{ "", WITH("\"typ\":\"at+jwt\""), REASON_OK, "" },
		{ "", WITH("\"typ\":\"Application/AT+JWT\""), REASON_OK, "" },
		{ "", WITH("\"typ\":\"logout+jwt\""), REASON_TYP, "typ is logout+jwt" },
		{ "", WITH("\"typ\":\"dpop+jwt\""), REASON_TYP, NULL },
		{ "", WITH("\"typ\":\"secevent+jwt\""), REASON_TYP, NULL },
		{ "", WITH("\"typ\":\"\""), REASON_TYP, NULL },
		{ "", WITH("\"typ\":null"), REASON_TYP, "typ is not a text" },
		{ "", WITH("\"typ\":[\"JWT\"]"), REASON_TYP, NULL },
		{ "types = at+jwt\n", WITH("\"typ\":\"application/at+JWT\""), REASON_OK, "" },
		{ "types = application/at+jwt x\n", WITH("\"typ\":\"at+jwt\""), REASON_OK, "" },
		{ "types = at+jwt x\n", WITH("\"typ\":\"X\""), REASON_OK, "" },
		{ "types = at+jwt\n", WITH("\"typ\":\"JWT\""), REASON_TYP, "typ is JWT" },
		{ "types = at+jwt\n", HEADER, REASON_TYP, "there is no typ, and types wants one" },
		/* What a MongoDB server takes. */
		{ MONGODB, HEADER, REASON_OK, "" },
		{ MONGODB, WITH("\"typ\":\"JWT\""), REASON_OK, "" },
		{ MONGODB, WITH("\"typ\":\"jwt\""), REASON_TYP, NULL },
		{ MONGODB, WITH("\"typ\":\"at+jwt\""), REASON_TYP, NULL },
		{ MONGODB, "{\"alg\":\"ES256\"}", REASON_KID, NULL },
		{ MONGODB, ALG("EdDSA", "ed"), REASON_ALG_NOT_ALLOWED, NULL },
		{ MONGODB, ALG("RS384", "rsa"), REASON_OK, "" },
		{ MONGODB, ALG("PS256", "rsa"), REASON_OK, "" },
		{ MONGODB, ALG("PS384", "rsa"), REASON_ALG_NOT_ALLOWED, "alg is PS384" },
		{ MONGODB, ALG("PS512", "rsa"), REASON_ALG_NOT_ALLOWED, NULL },
	};

	(void)state;
	check_table(rows, PROVIDER, true);
}

#define EXP(exp) "{" AUD SUB ",\"exp\":" exp "}"
#define TIME(more) "{" AUD SUB ",\"exp\":2000003600," more "}"
#define ONE_HOUR "max_lifetime = 1h\n"
#define SKEW "expiry_skew = 30s\n"

static void test_times(void **state)
{
	static const struct row rows[] = {
		{ "", EXP("2000000001"), REASON_OK, "" },
		{ "", EXP("2000000000"), REASON_EXPIRED, "exp was 0 s ago" },
		{ "", EXP("1999999940"), REASON_EXPIRED, "exp was 60 s ago" },
		{ SKEW, EXP("1999999971"), REASON_OK, "" },
		{ SKEW, EXP("1999999970"), REASON_EXPIRED, "exp was 30 s ago, expiry_skew is 30 s" },
		{ SKEW, EXP("0"), REASON_EXPIRED, NULL },
		{ SKEW, EXP("253402300799"), REASON_OK, "" },
		{ SKEW, EXP("-1"), REASON_EXP, NULL },
		{ "expiry_skew = 0\n", EXP("2000000000"), REASON_EXPIRED, "exp was 0 s ago" },
		{ "", EXP("2000000001.0"), REASON_OK, "" },
		{ "", EXP("2000000001.999"), REASON_OK, "" },
		{ "", EXP("2000000000.999"), REASON_EXPIRED, NULL },
		{ "", EXP("2.0000036e9"), REASON_OK, "" },
		{ "", EXP("253402300799"), REASON_OK, "" },
		{ "", EXP("253402300800"), REASON_EXP, "exp is not a time" },
		{ "", EXP("253402300799.5"), REASON_EXP, NULL },
		{ "", EXP("18446744073709551615"), REASON_CLAIMS, NULL },
		{ "", EXP("1e400"), REASON_CLAIMS, NULL },
		{ "", EXP("1e300"), REASON_EXP, NULL },
		{ "", EXP("-1"), REASON_EXP, NULL },
		{ "", EXP("-0.5"), REASON_EXP, NULL },
		{ "", EXP("\"2000003600\""), REASON_EXP, NULL },
		{ "", EXP("null"), REASON_EXP, NULL },
		{ "", EXP("true"), REASON_EXP, NULL },
		{ "", EXP("[2000003600]"), REASON_EXP, NULL },
		{ "", "{" AUD SUB "}", REASON_EXP, "there is no exp" },
		{ "", TIME("\"nbf\":2000000060"), REASON_OK, "" },
		{ "", TIME("\"nbf\":2000000061"), REASON_NOT_YET, "nbf is 61 s ahead" },
		{ "", TIME("\"nbf\":0"), REASON_OK, "" },
		{ "", TIME("\"nbf\":\"1\""), REASON_NOT_YET, "nbf is not a time" },
		{ "", TIME("\"nbf\":null"), REASON_NOT_YET, NULL },
		{ "", TIME("\"nbf\":-1"), REASON_NOT_YET, NULL },
		{ "", TIME("\"iat\":2000000060"), REASON_OK, "" },
		{ "", TIME("\"iat\":2000000061"), REASON_NOT_YET, "iat is 61 s ahead" },
		{ "", TIME("\"iat\":\"now\""), REASON_NOT_YET, "iat is not a time" },
		{ ONE_HOUR, TIME("\"iat\":2000000000"), REASON_OK, "" },
		{ ONE_HOUR, TIME("\"iat\":1999999999"), REASON_LIFETIME, "exp - iat is 3601 s, max_lifetime is 3600 s" },
		{ ONE_HOUR, TIME("\"nbf\":2000000000"), REASON_LIFETIME, "there is no iat, and max_lifetime needs it" },
		{ "", TIME("\"iat\":1"), REASON_OK, "" },
	};

	(void)state;
	check_table(rows, PROVIDER, false);
}

#define ISSUED(iss) "{\"iss\":" iss ",\"aud\":\"api1\"," TIMES SUB "}"

static void test_issuer_and_audience(void **state)
{
	static const struct row rows[] = {
		{ "", ISSUED("\"" ISS "\""), REASON_OK, "" },
		{ "", ISSUED("\"" ISS "/\""), REASON_ISS, "iss is " ISS "/, identity provider entra has " ISS },
		{ "", ISSUED("\"https://LOGIN.microsoftonline.com/7a1b/v2.0\""), REASON_ISS, NULL },
		{ "", ISSUED("\"\""), REASON_ISS, NULL },
		{ "", ISSUED("[\"" ISS "\"]"), REASON_ISS, "iss is not a text" },
		{ "", ISSUED("null"), REASON_ISS, NULL },
		{ "", ISSUED("\"" ISS "\\u0000\""), REASON_CLAIMS, NULL },
		{ "", ISSUED("\"evil\\n\\u001b[2J\""), REASON_ISS, "iss is evil\\x0a\\x1b[2J, identity provider entra has " ISS },
		{ "", "{\"aud\":\"api1\"," TIMES SUB "}", REASON_ISS, "there is no iss" },
		{ "", "{" AUD AUD TIMES SUB "}", REASON_CLAIMS, NULL },
		{ "", "[1]", REASON_CLAIMS, NULL },
		/* Azure's first version, of this tenant and of another. */
		{ "", ISSUED("\"https://sts.windows.net/7a1b/\""), REASON_ISS_AZURE_V1,
			"iss is https://sts.windows.net/7a1b/, identity provider entra has " ISS },
		{ "", ISSUED("\"https://sts.windows.net/7a1c/\""), REASON_ISS, NULL },
		{ "", ISSUED("\"https://sts.windows.net/7a1/\""), REASON_ISS, NULL },
		{ "", ISSUED("\"https://sts.windows.net/7a1b\""), REASON_ISS, NULL },
		{ "", ISSUED("\"https://sts.windows.net//\""), REASON_ISS, NULL },
		{ "", FOR("\"api1\""), REASON_OK, "" },
		{ "", FOR("[\"api1\"]"), REASON_OK, "" },
		{ "", FOR("[\"other\",\"api1\"]"), REASON_OK, "" },
		{ "", FOR("\"api://api1\""), REASON_AUD, "aud is api://api1, identity provider entra wants api1" },
		{ "", FOR("\"API1\""), REASON_AUD, NULL },
		{ "", FOR("[\"a\",\"b\"]"), REASON_AUD, "aud is a b, identity provider entra wants api1" },
		{ "", FOR("[\"api1\",7]"), REASON_AUD, "aud is not a text or a list of texts" },
		{ "", FOR("[[\"api1\"]]"), REASON_AUD, NULL },
		{ "", FOR("{\"api1\":\"api1\"}"), REASON_AUD, NULL },
		{ "", FOR("[]"), REASON_AUD, "aud is not a text or a list of texts" },
		{ "", FOR("null"), REASON_AUD, NULL },
		{ "", "{\"iss\":\"" ISS "\"," TIMES SUB "}", REASON_AUD, "there is no aud" },
	};

	(void)state;
	check_table(rows, PROVIDER, false);
}

#define CLIENT(more) "{" AUD TIMES SUB "," more "}"
#define CLIENTS "client_id = c1\nclient_id = c2\n"

static void test_clients(void **state)
{
	static const struct row rows[] = {
		{ CLIENTS, CLIENT("\"azp\":\"c1\""), REASON_OK, "" },
		{ CLIENTS, CLIENT("\"client_id\":\"c2\""), REASON_OK, "" },
		{ CLIENTS, CLIENT("\"appid\":\"c2\""), REASON_OK, "" },
		{ CLIENTS, CLIENT("\"azp\":\"c3\""), REASON_CLIENT, "azp is c3" },
		{ CLIENTS, CLIENT("\"azp\":\"c1\",\"client_id\":\"c3\""), REASON_CLIENT, "client_id is c3" },
		{ CLIENTS, CLIENT("\"azp\":[\"c1\"]"), REASON_CLIENT, "azp is not a text" },
		{ CLIENTS, CLAIMS, REASON_CLIENT, "there is no azp, client_id or appid" },
		{ "", CLIENT("\"azp\":\"c3\""), REASON_OK, "" },
	};

	(void)state;
	check_table(rows, PROVIDER, false);
}

#define TEN "xxxxxxxxxx"
#define FIFTY TEN TEN TEN TEN TEN

static void test_subjects(void **state)
{
	static const struct row rows[] = {
		{ "", BY("\"7d2f\""), REASON_OK, "" },
		{ "", BY("\"J\xc3\xbcrgen\""), REASON_OK, "" },
		{ "", BY("\"" FIFTY FIFTY FIFTY FIFTY FIFTY "12345\""), REASON_OK, "" },
		{ "", BY("\"" FIFTY FIFTY FIFTY FIFTY FIFTY "123456\""), REASON_USER_CLAIM,
			"claim sub is empty, longer than 255 bytes or holds control characters" },
		{ "", BY("\"\""), REASON_USER_CLAIM, NULL },
		{ "", BY("\"admin\\u0000x\""), REASON_CLAIMS, NULL },
		{ "", BY("\"a\\nb\""), REASON_USER_CLAIM, NULL },
		{ "", BY("\"a\\u007f\""), REASON_USER_CLAIM, NULL },
		{ "", BY("\"a\\u0085\""), REASON_USER_CLAIM, NULL },
		{ "", BY("7"), REASON_USER_CLAIM, "claim sub is not a text" },
		{ "", BY("[\"7d2f\"]"), REASON_USER_CLAIM, NULL },
		{ "", "{" AUD TIMES "\"oid\":\"7d2f\"}", REASON_USER_CLAIM, "there is no claim sub" },
		{ "user_claim = oid\n", "{" AUD TIMES "\"oid\":\"7d2f\"}", REASON_OK, "" },
		{ MONGODB "user_claim = oid\n", "{" AUD TIMES "\"oid\":\"7d2f\"}", REASON_USER_CLAIM,
			"claim sub is missing or not a text" },
		{ MONGODB "user_claim = oid\n", "{" AUD TIMES "\"oid\":\"7d2f\",\"sub\":\"s\"}", REASON_OK, "" },
	};

	(void)state;
	check_table(rows, PROVIDER, false);
}

static void test_groups(void **state)
{
	static const struct row rows[] = {
		{ "", IN("\"groups\":[\"g1\",\"g2\"]"), REASON_OK, "" },
		{ "", IN("\"groups\":\"g1\""), REASON_OK, "" },
		{ "", IN("\"groups\":[]"), REASON_OK, "" },
		{ "", IN("\"groups\":[\"g1\",2]"), REASON_GROUPS_CLAIM, "claim groups is not a list of texts" },
		{ "", IN("\"groups\":{\"g1\":\"g1\"}"), REASON_GROUPS_CLAIM, NULL },
		{ "", IN("\"groups\":null"), REASON_GROUPS_CLAIM, NULL },
		{ "", IN("\"groups\":7,\"hasgroups\":true"), REASON_GROUPS_CLAIM, NULL },
		{ "", CLAIMS, REASON_GROUPS_CLAIM, "there is no claim groups" },
		{ "", IN("\"roles\":[\"g1\"]"), REASON_GROUPS_CLAIM, NULL },
		{ "groups_claim = roles\n", IN("\"roles\":[\"g1\"]"), REASON_OK, "" },
		{ "", IN("\"hasgroups\":true"), REASON_GROUP_OVERAGE, "" },
		{ "", IN("\"hasgroups\":false"), REASON_GROUPS_CLAIM, NULL },
		{ "", IN("\"_claim_names\":{\"groups\":\"src1\"},\"_claim_sources\":{\"src1\":{\"endpoint\":\"https://graph.example\"}}"),
			REASON_GROUP_OVERAGE, "" },
		{ "", IN("\"_claim_names\":{\"roles\":\"src1\"}"), REASON_GROUPS_CLAIM, NULL },
		{ "groups_claim = roles\n", IN("\"hasgroups\":true"), REASON_GROUPS_CLAIM, NULL },
		{ "", "{" AUD TIMES "\"groups\":[\"g1\"]}", REASON_USER_CLAIM, NULL },
	};

	(void)state;
	check_table(rows, GROUPS, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_issuer_and_audience),
		cmocka_unit_test(test_clients),
		cmocka_unit_test(test_subjects),
		cmocka_unit_test(test_groups),
	};

	return cmocka_run_group_tests(tests, start, end);
}
