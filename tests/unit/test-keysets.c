/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of key sets: when they are fetched, what may take their place, how
 * long they last, and how they end.
 *
 * links: verify/keysets verify/keyset verify/keysets-kept verify/federation verify/reason common/log common/wire common/buffer
 * links: verify/jwks verify/jwk verify/jwk-material verify/json
 * libs: libcrypto jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include "tests/unit/keysets-fixture.h"

/* --- fetching --------------------------------------------------------------------------- */

static void test_first_fetch(void **state)
{
	time_t when = 0;
	uint64_t epoch = keysets_epoch(k, now), attempt;

	(void)state;
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
	assert_ptr_equal(keysets_due(k, &when), entra);
	assert_true(when <= now);
	attempt = begin(entra);
	assert_true(keysets_is_fetching(k, entra));
	assert_ptr_equal(keysets_due(k, &when), google);
	assert_true(begin(google) != attempt);
	assert_null(keysets_due(k, &when));
	now += 2;
	assert_true(answer(attempt, keys("01")));
	assert_false(keysets_is_fetching(k, entra));
	assert_string_equal(judge_by(entra), "01");
	assert_string_equal(judge_by(google), "KEYS_MISSING");
	assert_true(keysets_epoch(k, now) != epoch);
	assert_ptr_equal(keysets_due(k, &when), entra);
	assert_true(when > now);
	/* It is over. */
	assert_false(answer(attempt, keys("2")));
	assert_false(answer(0, keys("2")));
	assert_false(answer(99, keys("2")));
	assert_string_equal(judge_by(entra), "01");
}

static void test_life(void **state)
{
	static const struct {
		time_t refresh, life; /* what the provider wants, seconds from now; what it gets */
	} cases[] = {
		{ 0, 3600 },
		{ 7200, 7200 },
		{ 301, 301 },
		{ 60, 300 },
		{ -5, 300 },
		{ -START + 1, 300 },
		{ 86400, 86400 },
		{ 86401, 86400 },
		{ INT64_MAX - START, 86400 },
		{ INT64_MIN, 300 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct keysets_answer a = { .ok = true, .body = keys("0"), .length = strlen(keys("0")), .etag = "" };
		time_t earliest = INT64_MAX, latest = 0;

		if (cases[i].refresh)
			a.refresh = cases[i].refresh == INT64_MIN ? INT64_MIN : now + cases[i].refresh;
		for (int j = 0; j < 20; j++) {
			time_t refresh;

			assert_true(keysets_done(k, begin(entra), &a, now));
			refresh = describe(entra).refresh - now;
			earliest = refresh < earliest ? refresh : earliest;
			latest = refresh > latest ? refresh : latest;
		}
		assert_between(earliest, cases[i].life * 7 / 10 - 1, cases[i].life * 8 / 10);
		assert_between(latest, cases[i].life * 7 / 10 - 1, cases[i].life * 8 / 10);
		assert_true(earliest < latest);
	}
}

static uint64_t begin_with(const struct federation_provider *p, const char *wanted)
{
	const char *etag;
	uint64_t attempt = keysets_begin(k, p, now, &etag);

	if (wanted)
		assert_string_equal(etag, wanted);
	else
		assert_null(etag);
	return attempt;
}

static void test_not_modified(void **state)
{
	struct keysets_answer first = { .ok = true, .body = keys("0"), .length = strlen(keys("0")), .etag = "\"v1\"" };
	struct keysets_answer same = { .ok = true, .not_modified = true, .etag = "" };
	static const char *const odd[] = { "", "a b", "\"\n\"", "\"\xc3\xa4\"", NULL };
	char long_etag[200];
	uint64_t epoch;

	(void)state;
	assert_false(keysets_done(k, begin_with(entra, NULL), &same, now));
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
	assert_non_null(strstr(describe(entra).error, "'not modified'"));
	assert_true(keysets_done(k, begin_with(entra, NULL), &first, now));
	epoch = keysets_epoch(k, now);
	now += 7000;
	assert_true(keysets_done(k, begin_with(entra, "\"v1\""), &same, now));
	assert_int_equal(describe(entra).fetched, now);
	assert_true(describe(entra).refresh > now);
	assert_true(keysets_epoch(k, now) == epoch);
	assert_string_equal(judge_by(entra), "0");
	/* The version is still known. */
	assert_true(keysets_done(k, begin_with(entra, "\"v1\""), &same, now));
	for (size_t i = 0; i < 5; i++) {
		first.etag = odd[i];
		assert_true(keysets_done(k, begin(entra), &first, now));
		assert_false(keysets_done(k, begin_with(entra, NULL), &same, now));
	}
	memset(long_etag, 'x', sizeof(long_etag));
	long_etag[sizeof(long_etag) - 1] = 0;
	first.etag = long_etag;
	assert_true(keysets_done(k, begin(entra), &first, now));
	begin_with(entra, NULL);
}

static void test_never_replaced(void **state)
{
	static const char *const bodies[] = { "", "{}", "null", "[]", "{\"keys\":[]}", "{\"keys\":{}}", "<html><body>Sign in</body></html>",
		"{\"keys\":[{\"kty\":\"oct\",\"kid\":\"k1\",\"k\":\"AAAA\"}]}",
		"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}]}", "{\"keys\":[]} \"" };
	static char large[JWKS_MAX + 2];
	const struct keysets_answer nothing = { .ok = true, .etag = "" };
	uint64_t epoch;

	(void)state;
	fetch(entra, "01");
	epoch = keysets_epoch(k, now);
	now += 3600;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		assert_false(answer(begin(entra), bodies[i]));
		assert_string_equal(judge_by(entra), "01");
		assert_non_null(strstr(describe(entra).error, "of no use"));
		assert_int_equal(describe(entra).failures, i + 1);
		assert_true(describe(entra).stale);
		assert_int_equal(describe(entra).fetched, START);
		assert_int_equal(describe(entra).attempted, now);
	}
	assert_false(keysets_done(k, begin(entra), &nothing, now));
	snprintf(large, sizeof(large), "%s", keys("2"));
	memset(large + strlen(large), ' ', sizeof(large) - 1 - strlen(large));
	assert_false(answer(begin(entra), large));
	assert_string_equal(judge_by(entra), "01");
	assert_true(keysets_epoch(k, now) == epoch);
	/* One byte less is not too large. */
	large[JWKS_MAX] = 0;
	assert_true(answer(begin(entra), large));
	assert_string_equal(judge_by(entra), "2");
	assert_int_equal(describe(entra).failures, 0);
	assert_string_equal(describe(entra).error, "");
	assert_false(describe(entra).stale);
}

/* A token without a kid, and keys without one: which it was cannot be told, and is not asked every minute. */
static void test_no_kid(void **state)
{
	char body[1024], *nameless = strdup(jwk[0]), *at = strstr(nameless, "\"kid\":\"k0\",");

	(void)state;
	memmove(at, at + 11, strlen(at + 11) + 1);
	snprintf(body, sizeof(body), "{\"keys\":[%s,%s]}", nameless, jwk[1]);
	free(nameless);
	assert_true(answer(begin(entra), body));
	assert_int_equal(jwks_count(describe(entra).set), 2);
	now += 60;
	assert_true(keysets_unknown_kid(k, entra, "", now));
	assert_true(answer(begin(entra), body));
	now += 60;
	assert_false(keysets_unknown_kid(k, entra, "", now));
}

/* An RSA JWK with the exponent 3 and a kid that wants to be a field of the log. */
static void weak_key(char *out, size_t size)
{
	EVP_PKEY *key = EVP_RSA_gen(2048);
	unsigned char bytes[256];
	BIGNUM *n = NULL;
	char text[400];

	assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
	assert_int_equal(BN_bn2binpad(n, bytes, sizeof(bytes)), sizeof(bytes));
	EVP_EncodeBlock((unsigned char *)text, bytes, sizeof(bytes));
	for (char *at = text; *at; at++)
		*at = *at == '+' ? '-' : *at == '/' ? '_' : *at == '=' ? 0 : *at;
	snprintf(out, size, "{\"kty\":\"RSA\",\"e\":\"Aw\",\"kid\":\"w\\\" event=forged\",\"n\":\"%s\"}", text);
	BN_free(n);
	EVP_PKEY_free(key);
}

static void test_weak_key(void **state)
{
	static const char line[] = "event=key-weak kid=\"w\\\" event=forged\" kind=\"RSA-2048 e=3\"";
	char body[1024], key[600];

	(void)state;
	weak_key(key, sizeof(key));
	assert_true(answer(begin(entra), keys("3")));
	assert_false(was_logged("event=key-weak"));
	snprintf(body, sizeof(body), "{\"keys\":[%s,%s]}", key, jwk[3]);
	assert_true(answer(begin(entra), body));
	assert_true(was_logged(line));
	assert_string_equal(judge_by(entra), "\"3");
	/* Once for each document. */
	assert_true(answer(begin(entra), body));
	assert_false(was_logged("event=key-weak"));
	snprintf(body, sizeof(body), "{\"keys\":[%s]}", key);
	assert_true(answer(begin(entra), body));
	assert_true(was_logged(line));
}

static void test_bad_key_among_good(void **state)
{
	char body[1024];

	(void)state;
	snprintf(body, sizeof(body), "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"shared\",\"k\":\"AAAA\"},%s]}", jwk[3]);
	assert_true(answer(begin(entra), body));
	assert_string_equal(judge_by(entra), "3");
	assert_true(was_logged("event=key-skipped"));
	/* Said once of the same document; and also where only what is of no use has changed. */
	assert_true(answer(begin(entra), body));
	assert_false(was_logged("event=key-skipped"));
	body[strlen(body) - 2] = 0;
	strcat(body, ",{\"kty\":\"oct\",\"kid\":\"other\"}]}");
	assert_true(answer(begin(entra), body));
	assert_true(was_logged("kid other"));
	assert_string_equal(judge_by(entra), "3");
}

static void test_back_off(void **state)
{
	static const time_t waits[] = { 60, 120, 240, 480, 900, 900, 900 };

	(void)state;
	/* Nobody can log in: once a minute. */
	for (int i = 0; i < 10; i++) {
		fetch_failing(google);
		assert_between(describe(google).refresh - now, 60, 66);
		now = describe(google).refresh;
	}
	for (int round = 0; round < 2; round++) {
		fetch(entra, "0");
		for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
			fetch_failing(entra);
			assert_between(describe(entra).refresh - now, waits[i], waits[i] + waits[i] / 10);
			assert_int_equal(describe(entra).failures, i + 1);
			assert_string_equal(describe(entra).error, "it is down");
			now = describe(entra).refresh;
		}
	}
	/* Past the hard limit it is urgent again. */
	now = START + 2 * KEYSETS_HARD_LIMIT;
	fetch_failing(entra);
	assert_between(describe(entra).refresh - now, 60, 66);
	assert_false(answer_error(begin(entra), "it said \"no\"\nand hung up"));
	assert_string_equal(describe(entra).error, "it said 'no'\nand hung up");
	assert_false(answer_error(begin(entra), NULL));
	assert_string_equal(describe(entra).error, "the fetch failed");
}

static void test_rotation(void **state)
{
	uint64_t epoch;

	(void)state;
	fetch(entra, "01");
	fetch(google, "7");
	epoch = keysets_epoch(k, now);
	fetch(entra, "10"); /* the order says nothing */
	assert_true(keysets_epoch(k, now) == epoch);
	fetch(entra, "12");
	assert_string_equal(judge_by(entra), "12");
	assert_true(keysets_epoch(k, now) != epoch);
	epoch = keysets_epoch(k, now);
	fetch(entra, "2");
	assert_string_equal(judge_by(entra), "2");
	assert_true(keysets_epoch(k, now) != epoch);
	assert_string_equal(judge_by(google), "7");
}

/* --- how long ---------------------------------------------------------------------------- */

static void test_hard_limit(void **state)
{
	struct keysets_answer first = { .ok = true, .body = keys("01"), .length = strlen(keys("01")), .etag = "\"v1\"" };
	struct keysets_answer same = { .ok = true, .not_modified = true, .etag = "" };
	uint64_t epoch;

	(void)state;
	assert_true(keysets_done(k, begin(entra), &first, now));
	epoch = keysets_epoch(k, now);
	/* Down for an hour. */
	for (now = START + 2500; now < START + 2500 + 3600; now = describe(entra).refresh) {
		fetch_failing(entra);
		assert_string_equal(judge_by(entra), "01");
	}
	assert_int_equal(describe(entra).hard_limit, START + KEYSETS_HARD_LIMIT);
	now = START + KEYSETS_HARD_LIMIT - 1;
	assert_string_equal(judge_by(entra), "01");
	assert_true(keysets_epoch(k, now) == epoch);
	was_logged("");
	now++;
	assert_false(describe(entra).usable);
	/* Who only remembers verdicts sees it as well. */
	assert_true(keysets_epoch(k, now) != epoch);
	assert_true(was_logged("event=keyset-stale"));
	assert_string_equal(judge_by(entra), "KEYS_STALE");
	assert_false(describe(entra).stale);
	fetch_failing(entra);
	assert_string_equal(judge_by(entra), "KEYS_STALE");
	epoch = keysets_epoch(k, now);
	assert_true(keysets_done(k, begin_with(entra, "\"v1\""), &same, now));
	assert_string_equal(judge_by(entra), "01");
	assert_true(keysets_epoch(k, now) != epoch);
}

static void test_clock_set_back(void **state)
{
	(void)state;
	fetch(entra, "0");
	now -= 200;
	assert_string_equal(judge_by(entra), "0");
	assert_true(describe(entra).refresh > now);
	assert_false(was_logged("event=clock-set-back"));
	now -= 7000;
	/* Whose age is not known, may be too old. */
	assert_string_equal(judge_by(entra), "KEYS_STALE");
	assert_true(was_logged("event=clock-set-back"));
	assert_true(describe(entra).refresh <= now);
	assert_true(describe(entra).attempted <= now);
	fetch_failing(entra);
	assert_string_equal(judge_by(entra), "KEYS_STALE");
	fetch(entra, "0");
	assert_string_equal(judge_by(entra), "0");
	/* Far ahead, and home again. */
	now += 10 * 86400;
	assert_string_equal(judge_by(entra), "KEYS_STALE");
	now -= 10 * 86400;
	assert_string_equal(judge_by(entra), "0");
	assert_true(describe(entra).refresh <= now);
	/* Set back within a set's age: it is not refused, but fetched at once. */
	fetch(entra, "0");
	now += 5000;
	assert_string_equal(judge_by(entra), "0");
	now -= 4000;
	assert_string_equal(judge_by(entra), "0");
	assert_true(describe(entra).refresh <= now);
}

/* --- unknown kids -------------------------------------------------------------------------- */

static void test_cooldown(void **state)
{
	(void)state;
	fetch(entra, "0");
	fetch(google, "0");
	assert_false(keysets_unknown_kid(k, entra, "a", now));
	now += KEYSETS_COOLDOWN - 1;
	assert_false(keysets_unknown_kid(k, entra, "a", now));
	now++;
	assert_true(keysets_unknown_kid(k, entra, "a", now));
	/* Only once, whether or not it has begun yet, and each provider by itself. */
	assert_false(keysets_unknown_kid(k, entra, "b", now));
	assert_true(keysets_unknown_kid(k, google, "b", now));
	fetch_failing(entra);
	now += KEYSETS_COOLDOWN - 1;
	assert_false(keysets_unknown_kid(k, entra, "a", now));
	now++;
	/* It was not looked for in vain, since the fetch failed. */
	assert_true(keysets_unknown_kid(k, entra, "a", now));
	begin(entra);
	now += 2 * KEYSETS_COOLDOWN;
	assert_false(keysets_unknown_kid(k, entra, "a", now));
	assert_string_equal(judge_by(entra), "0");
}

static void look_in_vain(const char *kid, const char *which)
{
	if (!keysets_unknown_kid(k, entra, kid, now))
		fail_msg("%s may not be looked for", kid);
	fetch(entra, which);
}

static void test_looked_for_in_vain(void **state)
{
	(void)state;
	fetch(entra, "0");
	now += 60;
	look_in_vain("gone", "0");
	now += 60;
	assert_false(keysets_unknown_kid(k, entra, "gone", now));
	look_in_vain("", "0");
	now += 60;
	assert_false(keysets_unknown_kid(k, entra, "", now));
	/* A refresh that changes nothing brings nothing. */
	fetch(entra, "0");
	now += 60;
	assert_false(keysets_unknown_kid(k, entra, "gone", now));
	now += 119;
	assert_false(keysets_unknown_kid(k, entra, "gone", now));
	now++;
	look_in_vain("gone", "0");
	/* One that changes the set may bring it. */
	fetch(entra, "01");
	now += 60;
	look_in_vain("gone", "01");
	/* What was found was not looked for in vain, also when it goes again. */
	now += 60;
	look_in_vain("k2", "012");
	now += 60;
	fetch(entra, "01");
	now += 60;
	assert_true(keysets_unknown_kid(k, entra, "k2", now));
}

/* More than there is room for: the oldest are looked for again. */
static void test_many_in_vain(void **state)
{
	char kid[16];

	(void)state;
	fetch(entra, "0");
	for (int i = 0; i < 40; i++) {
		now += 60;
		snprintf(kid, sizeof(kid), "gone%d", i);
		look_in_vain(kid, "0");
		now += 60;
		assert_false(keysets_unknown_kid(k, entra, kid, now));
		now -= 60;
	}
	now += 60;
	for (int i = 36; i < 40; i++) {
		snprintf(kid, sizeof(kid), "gone%d", i);
		assert_false(keysets_unknown_kid(k, entra, kid, now));
	}
	assert_true(keysets_unknown_kid(k, entra, "gone1", now));
}

/* 10,000 tokens with kids of no key within ten minutes, while the provider answers, fails, or takes its time. */
static void flood(bool fails, time_t takes)
{
	uint64_t attempt = 0;
	time_t begun = 0, until = now + 600;
	int fetches = 0, asked = 0;
	const struct federation_provider *p;
	time_t when;
	char kid[32];

	begin(google);
	for (; now < until; now++) {
		if (attempt && now >= begun + takes) {
			if (fails)
				answer_error(attempt, "it is down");
			else
				assert_true(answer(attempt, keys("01")));
			attempt = 0;
		}
		for (int i = 0; i < 17; i++, asked++) {
			bool look;

			snprintf(kid, sizeof(kid), "%08x%08x", (unsigned int)random(), (unsigned int)random());
			look = keysets_unknown_kid(k, entra, kid, now);
			p = keysets_due(k, &when);
			if (look || (p && when <= now)) {
				assert_int_equal(attempt, 0);
				assert_true(!begun || now - begun >= KEYSETS_COOLDOWN);
				attempt = begin(entra);
				begun = now;
				fetches++;
			}
			/* Nobody whose key is known is kept waiting. */
			assert_string_equal(judge_by(entra), "01");
		}
	}
	assert_true(asked >= 10000);
	assert_between(fetches, 8, 10);
	if (attempt)
		answer(attempt, keys("01"));
}

static void test_flood(void **state)
{
	(void)state;
	fetch(entra, "01");
	now += 60;
	flood(false, 1);
	now += 60;
	flood(true, 1);
	now += 60;
	flood(false, 20);
	now += 60;
	flood(true, 30);
}

/* --- revoke -------------------------------------------------------------------------------- */

static void test_revoke(void **state)
{
	uint64_t epoch, before;
	time_t when = 0;

	(void)state;
	fetch(entra, "01");
	fetch(google, "2");
	epoch = keysets_epoch(k, now);
	now += 100;
	assert_int_equal(keysets_revoked_at(k, entra), 0);
	assert_int_equal(keysets_revoke(k, entra, now), 0);
	assert_int_equal(keysets_revoked_at(k, entra), now);
	assert_int_equal(keysets_revoked_at(k, google), 0);
	assert_true(was_logged("identity_provider=entra event=keyset-revoked epoch=1"));
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	assert_string_equal(judge_by(google), "2");
	assert_true(keysets_epoch(k, now) != epoch);
	assert_true(describe(entra).revoked);
	assert_int_equal(describe(entra).epoch, 1);
	assert_null(describe(entra).set);
	assert_int_equal(describe(entra).fetched, 0);
	assert_ptr_equal(keysets_due(k, &when), entra);
	assert_true(when <= now);
	/* Until one succeeds. */
	for (int i = 0; i < 3; i++) {
		fetch_failing(entra);
		assert_string_equal(judge_by(entra), "KEYS_REVOKED");
		assert_false(answer(begin(entra), "{\"keys\":[]}"));
		assert_string_equal(judge_by(entra), "KEYS_REVOKED");
		now = describe(entra).refresh;
	}
	/* An old kid with new material, and an old key that is still given. */
	fetch(entra, "13");
	assert_string_equal(judge_by(entra), "13");
	assert_false(describe(entra).revoked);
	assert_int_equal(describe(entra).epoch, 1);
	/* One begun before brings what may no longer be believed. */
	before = begin(entra);
	assert_int_equal(keysets_revoke(k, entra, now), 0);
	assert_false(keysets_is_fetching(k, entra));
	assert_false(answer(before, keys("13")));
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	before = begin(entra);
	assert_int_equal(keysets_revoke(k, entra, now), 0);
	begin(entra);
	assert_false(answer(before, keys("13")));
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	assert_int_equal(describe(entra).epoch, 3);
}

static void test_revoke_is_unconditional(void **state)
{
	struct keysets_answer first = { .ok = true, .body = keys("0"), .length = strlen(keys("0")), .etag = "\"v1\"" };
	struct keysets_answer same = { .ok = true, .not_modified = true, .etag = "" };
	uint64_t before;

	(void)state;
	assert_true(keysets_done(k, begin(entra), &first, now));
	before = begin_with(entra, "\"v1\"");
	assert_int_equal(keysets_revoke(k, entra, now), 0);
	assert_false(keysets_done(k, before, &same, now));
	assert_false(keysets_done(k, begin_with(entra, NULL), &same, now));
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	assert_true(keysets_done(k, begin_with(entra, NULL), &first, now));
	assert_string_equal(judge_by(entra), "0");
}

static void test_refresh(void **state)
{
	time_t when = 0;

	(void)state;
	fetch(google, "0");
	fetch(entra, "0");
	assert_true(keysets_refresh(k, entra, now));
	assert_ptr_equal(keysets_due(k, &when), entra);
	assert_true(when <= now);
	begin(entra);
	assert_true(keysets_refresh(k, entra, now));
	assert_ptr_equal(keysets_due(k, &when), google);
}

/* --- another configuration ------------------------------------------------------------------ */

static void test_reload(void **state)
{
	struct federation_provider other[2];
	struct federation new = { .providers = other, .provider_count = 2 };
	uint64_t epoch, first, second;
	enum reason why;
	const char *etag;

	(void)state;
	fetch(entra, "01");
	fetch(google, "2");
	first = begin(entra);
	second = begin(google);
	epoch = keysets_epoch(k, now);
	set_provider(&other[0], "google", "issuer=https://other.example");
	set_provider(&other[1], "entra", entra->source);
	keysets_configure(k, &new, now);
	assert_true(keysets_epoch(k, now) != epoch);
	/* The old ones are nobody's. */
	assert_null(keysets_get(k, entra, now, &why));
	assert_int_equal(why, REASON_KEYS_MISSING);
	assert_false(keysets_unknown_kid(k, entra, "x", now + 600));
	assert_int_equal(keysets_begin(k, entra, now, &etag), 0);
	assert_int_equal(keysets_revoke(k, entra, now), -ENOENT);
	assert_false(keysets_refresh(k, entra, now));
	assert_null(describe(entra).set);
	/* The same source: all goes on. Another one: nothing is left. */
	assert_string_equal(judge_by(&other[1]), "01");
	assert_true(keysets_is_fetching(k, &other[1]));
	assert_true(answer(first, keys("13")));
	assert_string_equal(judge_by(&other[1]), "13");
	assert_string_equal(judge_by(&other[0]), "KEYS_MISSING");
	assert_false(keysets_is_fetching(k, &other[0]));
	assert_false(answer(second, keys("2")));
	assert_string_equal(judge_by(&other[0]), "KEYS_MISSING");
	assert_false(is_there("google.keys"));
	/* Gone. */
	new.provider_count = 0;
	assert_true(is_there("entra.keys"));
	keysets_configure(k, &new, now);
	assert_false(is_there("entra.keys"));
	assert_string_equal(judge_by(&other[1]), "KEYS_MISSING");
	keysets_configure(k, &federation, now);
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
}

int main(void)
{
#define keysets_test(name) cmocka_unit_test_setup_teardown(name, begin_test, end_test)
	const struct CMUnitTest tests[] = {
		keysets_test(test_first_fetch),
		keysets_test(test_life),
		keysets_test(test_not_modified),
		keysets_test(test_never_replaced),
		keysets_test(test_weak_key),
		keysets_test(test_bad_key_among_good),
		keysets_test(test_no_kid),
		keysets_test(test_back_off),
		keysets_test(test_rotation),
		keysets_test(test_hard_limit),
		keysets_test(test_clock_set_back),
		keysets_test(test_cooldown),
		keysets_test(test_looked_for_in_vain),
		keysets_test(test_many_in_vain),
		keysets_test(test_flood),
		keysets_test(test_revoke),
		keysets_test(test_revoke_is_unconditional),
		keysets_test(test_refresh),
		keysets_test(test_reload),
	};

	return cmocka_run_group_tests(tests, make_keys, NULL);
}
