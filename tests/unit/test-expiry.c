/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links: modules/expiry common/buffer
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/expiry.h"

#define NOW 1700000000

static void test_dates(void **state)
{
	static const struct {
		const char *text;
		time_t when;
	} cases[] = {
		{ "05/22/2021 17:14:33 +00:00", 1621703673 },
		{ "06/19/2019 23:42:01 +00:00", 1560987721 },
		{ "1/16/2020 5:24:12 AM +00:00", 1579152252 },
		{ "1/16/2020 5:24:12 PM +00:00", 1579195452 },
		{ "1/16/2020 12:00:00 AM", 1579132800 },
		{ "1/16/2020 12:00:00 PM", 1579176000 },
		{ "12/1/2020 5:24:12", 1606800252 },
		{ "2021-12-11T23:18:45Z", 1639264725 },
		{ "2021-12-11T23:18:45z", 1639264725 },
		{ "2021-12-11t23:18:45Z", 1639264725 },
		{ "2021-12-11T23:18:45.123456789Z", 1639264725 },
		{ "2021-12-11T23:18:45.5+01:00", 1639261125 },
		{ "2021-12-11T23:18:45-0230", 1639273725 },
		{ "2021-12-11 23:18:45", 1639264725 },
		{ "2021-12-11 23:18:45.000000", 1639264725 },
		{ "2024-02-29 00:00:00", 1709164800 },
		{ "2016-12-31T23:59:60Z", 1483228799 },
		{ "Sat, 11 Dec 2021 23:18:45 GMT", 1639264725 },
		{ "Sat, 11 Dec 2021 23:18:45 +0000", 1639264725 },
		{ "9999-12-31T23:59:59Z", 253402300799 },
		{ "1970-01-01T00:00:00Z", 0 },
	};

	(void)state;
	setenv("TZ", "America/New_York", 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		time_t when = -1;

		if (!expiry_parse_text(cases[i].text, NOW, EXPIRY_ABSOLUTE, &when) || when != cases[i].when)
			fail_msg("%s: %lld", cases[i].text, (long long)when);
		when = -1;
		if (!expiry_parse_text(cases[i].text, NOW, EXPIRY_RELATIVE, &when) || when != cases[i].when)
			fail_msg("relative %s: %lld", cases[i].text, (long long)when);
	}
}

static void test_zone_is_told(void **state)
{
	bool zoned;
	time_t when;

	(void)state;
	assert_true(expiry_parse_date("2021-12-11 23:18:45.000000", &when, &zoned));
	assert_false(zoned);
	assert_true(expiry_parse_date("2021-12-11 23:18:45Z", &when, &zoned));
	assert_true(zoned);
	assert_true(expiry_parse_date("1/16/2020 5:24:12 AM +00:00", &when, &zoned));
	assert_true(zoned);
	assert_true(expiry_parse_date("1/16/2020 5:24:12 AM", &when, &zoned));
	assert_false(zoned);
}

static void test_bad_text(void **state)
{
	static const char *const bad[] = {
		"",
		" ",
		"-1",
		"+5",
		"1e9",
		"0x10",
		"NaN",
		"inf",
		"never",
		"12.",
		"1.2.3",
		" 12",
		"12 ",
		"253402300800",
		"99999999999999999999",
		"2021-13-01T00:00:00Z",
		"2021-02-29T00:00:00Z",
		"2021-04-31 00:00:00",
		"2021-12-11T24:00:00Z",
		"2021-12-11T23:60:00Z",
		"2021-12-11T23:18:61Z",
		"2021-12-11T23:18:45.Z",
		"2021-12-11T23:18:45Zx",
		"2021-12-11T23:18Z",
		"2021-12-11",
		"21-12-11T23:18:45Z",
		"2021-12-11T23:18:45+1",
		"2021-12-11T23:18:45+24:00",
		"0/16/2020 5:24:12 AM",
		"13/16/2020 5:24:12 AM",
		"1/0/2020 5:24:12 AM",
		"1/16/2020 13:24:12 PM",
		"1/16/2020 0:24:12 AM",
		"1/16/2020 5:24:12 XM",
		"1/16/20 5:24:12 AM",
		"1/16/2020",
		"Sat, 11 Foo 2021 23:18:45 GMT",
		"Sat, 11 ecJ 2021 23:18:45 GMT",
		"Xyz, 11 Dec 2021 23:18:45 GMT",
		"Sat, 11 Dec",
		"Sat",
		"1969-12-31T23:59:59Z",
		"9999-12-31T23:59:59-01:00",
		"2021-12-11T23:18:45.000000000000000000000000000000000000000000000000000000Z",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		time_t when = 42;

		if (expiry_parse_text(bad[i], NOW, EXPIRY_ABSOLUTE, &when) || when != 42)
			fail_msg("taken for %lld: '%s'", (long long)when, bad[i]);
	}
}

static void check_json(const char *text, enum expiry_form form, bool good, time_t expected)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
	time_t when = 42;
	bool ok = expiry_parse_json(value, NOW, form, &when);

	json_decref(value);
	if (ok != good || when != (good ? expected : 42))
		fail_msg("%s: %s %lld", text, ok ? "taken for" : "refused", (long long)when);
}

static void test_json(void **state)
{
	(void)state;
	check_json("3599", EXPIRY_RELATIVE, true, NOW + 3599);
	check_json("\"84473\"", EXPIRY_RELATIVE, true, NOW + 84473);
	check_json("0", EXPIRY_RELATIVE, true, NOW);
	check_json("3599.9", EXPIRY_RELATIVE, true, NOW + 3599);
	check_json("\"3599.9\"", EXPIRY_RELATIVE, true, NOW + 3599);
	check_json("2147483647", EXPIRY_RELATIVE, true, NOW + 2147483647LL);
	check_json("2147483648", EXPIRY_RELATIVE, false, 0);
	check_json("\"2147483648\"", EXPIRY_RELATIVE, false, 0);
	check_json("1639265125", EXPIRY_ABSOLUTE, true, 1639265125);
	check_json("\"1639265125\"", EXPIRY_ABSOLUTE, true, 1639265125);
	check_json("1.639265125e9", EXPIRY_ABSOLUTE, true, 1639265125);
	check_json("253402300799", EXPIRY_ABSOLUTE, true, 253402300799);
	check_json("253402300800", EXPIRY_ABSOLUTE, false, 0);
	check_json("1e300", EXPIRY_ABSOLUTE, false, 0);
	check_json("-1", EXPIRY_ABSOLUTE, false, 0);
	check_json("-0.5", EXPIRY_RELATIVE, false, 0);
	check_json("null", EXPIRY_ABSOLUTE, false, 0);
	check_json("true", EXPIRY_ABSOLUTE, false, 0);
	check_json("\"\"", EXPIRY_ABSOLUTE, false, 0);
	check_json("[1639265125]", EXPIRY_ABSOLUTE, false, 0);
	check_json("{}", EXPIRY_ABSOLUTE, false, 0);
	time_t when = 42;
	assert_false(expiry_parse_json(NULL, NOW, EXPIRY_RELATIVE, &when));
}

static void encode(char *out, const char *text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	unsigned int have = 0;

	for (; *text; text++) {
		bits = bits << 8 | (uint8_t)*text;
		for (have += 8; have >= 6; have -= 6)
			*out++ = digits[bits >> (have - 6) & 63];
	}
	if (have)
		*out++ = digits[bits << (6 - have) & 63];
	*out = 0;
}

static bool read_claims(const char *header, const char *payload, struct expiry_claims *claims)
{
	char token[4096], *at = token;

	encode(at, header);
	at += strlen(at);
	*at++ = '.';
	encode(at, payload);
	strcat(at, ".c2lnbmF0dXJl");
	return expiry_jwt_claims(token, strlen(token), claims);
}

#define HEADER "{\"alg\":\"RS256\",\"typ\":\"JWT\"}"

static void test_claims(void **state)
{
	struct expiry_claims c;

	(void)state;
	assert_true(read_claims(HEADER,
		"{\"iss\":\"https://i.example/v2.0\",\"aud\":\"api://a\","
		"\"sub\":\"s\",\"exp\":1639265125}",
		&c));
	assert_true(c.has_expires);
	assert_int_equal(c.expires, 1639265125);
	assert_string_equal(c.issuer, "https://i.example/v2.0");
	assert_string_equal(c.audience, "api://a");
	assert_string_equal(c.subject, "s");
	assert_true(read_claims(HEADER, "{\"aud\":[\"a\",\"b\"],\"exp\":1639265125.75}", &c));
	assert_int_equal(c.expires, 1639265125);
	assert_string_equal(c.audience, "a, b");
	assert_string_equal(c.issuer, "");
	assert_true(read_claims(HEADER, "{\"iss\":5,\"aud\":{},\"sub\":\"a\\nb\\u00e9\"}", &c));
	assert_false(c.has_expires);
	assert_string_equal(c.subject, "a?b??");
	assert_true(read_claims(HEADER, "{\"exp\":\"1639265125\"}", &c));
	assert_false(c.has_expires);
	assert_true(read_claims(HEADER, "{\"exp\":1e300}", &c));
	assert_false(c.has_expires);
}

static void test_claims_are_cut(void **state)
{
	char payload[1024], text[601];
	struct expiry_claims c;

	(void)state;
	memset(text, 'x', 600);
	text[600] = 0;
	snprintf(payload, sizeof(payload), "{\"sub\":\"%s\",\"aud\":[\"%.250s\",\"%.20s\"]}", text, text, text);
	assert_true(read_claims(HEADER, payload, &c));
	assert_int_equal(strlen(c.subject), 256);
	assert_int_equal(strlen(c.audience), 256);
}

static void test_not_a_jws(void **state)
{
	static const char *const opaque[] = {
		"",
		".",
		"..",
		"...",
		"opaque",
		"a.b",
		"a.b.c",
		"e30.e30.",
		"ya29.a0AfH6SMBx",
		"eyJhbGciOiJub25lIn0.e30",
		"eyJhbGciOiJub25lIn0.W10.x",
		"eyJhbGciOiJub25lIn0.e30.x.y.z",
		"eyJhbGciOiJub25lIn0.e3=.x",
		"eyJhbGciOiJub25lIn0..x",
		"eyJhbGciOiJub25lIn0.e30.x.y",
	};
	struct expiry_claims c;

	(void)state;
	for (size_t i = 0; i < sizeof(opaque) / sizeof(opaque[0]); i++)
		if (expiry_jwt_claims(opaque[i], strlen(opaque[i]), &c))
			fail_msg("taken for a JWS: '%s'", opaque[i]);
	assert_false(read_claims(HEADER, "[1]", &c));
	assert_false(read_claims("{\"typ\":\"JWT\"}", "{}", &c));
	assert_false(read_claims(HEADER, "{\"exp\":1,\"exp\":2}", &c));
	assert_true(read_claims(HEADER, "{}", &c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_zone_is_told),
		cmocka_unit_test(test_bad_text),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_claims_are_cut),
		cmocka_unit_test(test_not_a_jws),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
