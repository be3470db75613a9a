/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `keyfob status` draws: bars, durations, lines that fit the screen.
 * links: cli/screen cli/output cli/progress cli/json cli/args cli/verbs keyring/client keyring/keyfob keyring/lookup keyring/keyctl
 * links: common/buffer common/wire common/log
 * libs: libkeyutils
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/status.h"

#define NOW 1800000000 /* 2027-01-15 08:00:00 UTC */

static struct buffer out;

static struct cli_screen screen(int width, bool utf8)
{
	struct cli_screen s = { .out = &out, .width = width, .utf8 = utf8, .now = NOW };

	buffer_clear(&out);
	return s;
}

static const char *drawn(void)
{
	assert_false(out.failed);
	return buffer_cstring(&out);
}

static int set_up(void **state)
{
	(void)state;
	setenv("TZ", "UTC", 1);
	tzset();
	buffer_init(&out, CLI_OUTPUT_MAX);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	buffer_free(&out);
	return 0;
}

static void test_durations(void **state)
{
	static const struct {
		int64_t seconds;
		const char *words;
	} cases[] = {
		{ -5, "0 s" },
		{ 0, "0 s" },
		{ 1, "1 s" },
		{ 59, "59 s" },
		{ 60, "1 m" },
		{ 61, "1 m 1 s" },
		{ 3599, "59 m 59 s" },
		{ 3600, "1 h" },
		{ 3659, "1 h" },
		{ 69120, "19 h 12 m" },
		{ 86399, "23 h 59 m" },
		{ 86400, "1 d" },
		{ 90000, "1 d 1 h" },
		{ 3542400, "41 d" },
	};
	char text[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(cli_duration(cases[i].seconds, text, sizeof(text)), cases[i].words);
}

static void test_bars(void **state)
{
	static const struct {
		int64_t left, total;
		const char *bar;
	} cases[] = {
		{ 100, 100, "##########" },
		{ 50, 100, "#####-----" },
		{ 99, 100, "#########-" },
		{ 1, 1000, "#---------" },
		{ 0, 100, "----------" },
		{ -5, 100, "----------" },
		{ 200, 100, "##########" },
		{ 5, 0, "##########" },
		{ 5, -1, "##########" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cli_screen s = screen(80, false);

		cli_bar(&s, cases[i].left, cases[i].total, 10);
		assert_string_equal(drawn(), cases[i].bar);
		assert_int_equal(s.column, 10);
	}
	struct cli_screen s = screen(80, true);

	cli_bar(&s, 1, 2, 4);
	assert_string_equal(drawn(), "\u2588\u2588\u2591\u2591");
	assert_int_equal(s.column, 4);
}

static char nothing[] = "", dbclients[] = "@dbclients", throttled[] = "throttled";
static struct cli_reader some_readers[] = {
	{ (char[]){ "orders" }, WIRE_READER_COPY, 1, nothing },
	{ dbclients, WIRE_READER_NONE, 2, nothing },
	{ (char[]){ "anna" }, WIRE_READER_COPY, 1, dbclients },
	{ (char[]){ "bert" }, WIRE_READER_SOCKET, 1, dbclients },
};

static struct cli_credential some_credential(void)
{
	static char description[] = "orders database on Atlas", provider[] = "azure client_id=5f3a2b1c-1111-2222-3333-444455556666";
	static char resource[] = "api://0d5c1c0e-aaaa-bbbb-cccc-ddddeeeeffff", fingerprint[] = "3fa9c1d2";
	static char issuer[] = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0";
	static char audience[] = "0d5c1c0e-aaaa-bbbb-cccc-ddddeeeeffff", subject[] = "7d2f0000-1111-2222-3333-444455556666";
	struct cli_credential c = {
		.name = "atlas",
		.description = description,
		.provider = provider,
		.resource = resource,
		.state = WIRE_STATE_VALID,
		.kind = 1,
		.expires = NOW + 69120,
		.refresh = NOW + 30000,
		.fetched = NOW - 17280,
		.fetches = 212,
		.failures = 1,
		.failed_at = NOW - 9 * 86400,
		.fingerprint = fingerprint,
		.last_error = nothing,
		.issuer = issuer,
		.audience = audience,
		.subject = subject,
		.identity_provider = nothing,
		.mismatch = nothing,
		.provider_line = 1,
		.provider_lines = 1,
		.failed_class = throttled,
		.readers = some_readers,
		.count = 4,
	};

	return c;
}

/* The columns of the widest line; every character of these is one column. */
static int widest(const char *text)
{
	int width = 0, column = 0;

	for (; *text; text++) {
		if (*text == '\n')
			column = 0;
		else if (((unsigned char)*text & 0xc0) != 0x80)
			column++;
		width = column > width ? column : width;
	}
	return width;
}

static void test_block(void **state)
{
	struct cli_screen s = screen(80, false);
	struct cli_credential c = some_credential();

	(void)state;
	cli_screen_credential(&s, &c);
	assert_string_equal(drawn(), "  atlas      orders database on Atlas\n"
				     "  token      ################----  19 h 12 m left  next refresh 16:20  #3fa9c1d2\n"
				     "  from       azure client_id=5f3a..  fetched 03:12\n"
				     "             212 ok, 1 failed (throttled, 9 d ago)\n"
				     "  asked/got  api://0d5c..  / aud 0d5c..\n"
				     "             iss https://login.microsoftonline.com/1111../v2.0  sub 7d2f..\n"
				     "  readers    orders (copy ok)  @dbclients (2 asked)\n");
	/* With room for all of a line it is told whole. */
	s = screen(160, false);
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "  from       azure client_id=5f3a2b1c-1111-2222-3333-444455556666  fetched 03:12"
					"  212 ok, 1 failed (throttled, 9 d ago)\n"));
	/* So the bar is long where its line has room for what follows. */
	assert_non_null(strstr(drawn(), "  token      ################----  19 h"));
	c.refresh = NOW + 86400 * 2;
	s = screen(80, false);
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "  token      ########--  19 h 12 m left  next refresh 17 Jan 08:00  #3fa9c1d2\n"));
	/* What only looks like an id stands whole, too. */
	c.resource = (char[]){ "api://0d5c1c0e-aaaa-bbbb-cccc-ddddeeeeffff0 0d5c1c0e-aaaa-bbbb-cccc-ddddeeeefffg 0d5c1c0e-aaaa" };
	s = screen(40, false);
	cli_screen_credential(&s, &c);
	assert_null(strstr(drawn(), "0d5c.. "));
}

static void test_provider_lines(void **state)
{
	struct cli_credential c = some_credential();
	struct cli_screen s = screen(120, false);

	(void)state;
	c.provider = (char[]){ "gcp" };
	c.provider_lines = 3;
	c.provider_line = 2;
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "  from       gcp  (line 2 of 3)  fetched"));
	c.provider_line = 0;
	s = screen(120, false);
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "  from       gcp  (or another of 3 lines)  fetched"));
}

static void test_widths(void **state)
{
	char error[] = "azure: IMDS answered 429 too_many_requests: the identity is asked for more often than it may be, "
		       "averyveryverylongwordwithoutanyblankinitthatgoesonandonandonpasttheedgeofthescreen";
	struct cli_credential c = some_credential();

	(void)state;
	memset(c.name, 'n', WIRE_NAME_MAX);
	c.last_error = error;
	c.state = WIRE_STATE_STALE;
	for (int width = 40; width <= 160; width++) {
		struct cli_screen s = screen(width, width % 2);

		cli_screen_credential(&s, &c);
		assert_true(widest(drawn()) <= width);
		assert_null(strstr(drawn(), " \n"));
	}
}

static void test_advice(void **state)
{
	char error[] = "no such identity", v1[] = "https://sts.windows.net/1111/";
	struct cli_credential c = some_credential();
	struct cli_screen s = screen(80, false);

	(void)state;
	c.state = WIRE_STATE_FAILED;
	c.expires = 0;
	c.last_error = error;
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "token      none: the fetch failed  next try in 8 h 20 m\n"));
	assert_non_null(strstr(drawn(), "  last error 9 d ago: no such identity\n"));
	assert_non_null(strstr(drawn(), geteuid() ? "  try        ask root: keyfob try atlas\n" : "  try        keyfob try atlas\n"));
	c = some_credential();
	c.issuer = v1;
	s = screen(80, false);
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "keyfob explain atlas"));
	c = some_credential();
	c.count = 0;
	c.expires = NOW - 1;
	s = screen(80, false);
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "--------------------  expired"));
	assert_non_null(strstr(drawn(), "readers    root alone\n"));
}

static void test_judge(void **state)
{
	char judge[] = "entra", mismatch[] = "aud is 0d5c, entra wants api://0d5c";
	struct cli_credential c = some_credential();
	struct cli_screen s = screen(80, false);

	(void)state;
	c.identity_provider = judge;
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "\n  would pass entra: yes, by iss and aud\n  readers "));
	assert_null(strstr(drawn(), "  try "));
	c.mismatch = mismatch;
	s = screen(80, false);
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "\n  would pass entra: NO, aud is 0d5c, entra wants api://0d5c\n"));
	s = screen(160, false);
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "\n  try        set audience = 0d5c1c0e-aaaa-bbbb-cccc-ddddeeeeffff in [identity-provider entra]"
					" (Atlas: Audience), or: keyfob explain atlas\n"));
	/* Of several audiences none is the one to set. */
	c.audience = (char[]){ "0d5c, other" };
	s = screen(80, false);
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "\n  try        keyfob explain atlas\n"));
	c.audience = nothing;
	c.mismatch = (char[]){ "it is no JWT that names iss and aud" };
	s = screen(80, false);
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "\n  try        keyfob explain atlas\n"));
	/* Without a token there is nothing to judge. */
	c.expires = 0;
	s = screen(80, false);
	cli_screen_credential(&s, &c);
	assert_null(strstr(drawn(), "would pass"));
}

static void test_head(void **state)
{
	struct cli_credential items[] = { some_credential(), some_credential(), some_credential() };
	struct cli_list list = { .version = KEYFOB_VERSION, .started = NOW - 3542400, .item = items, .count = 3 };
	struct cli_screen s = screen(80, false);
	char host[] = "a-host-with-a-name-as-long-as-a-name-may-be-which-is-64-letters\033[m";

	(void)state;
	items[1].state = WIRE_STATE_NONE;
	cli_screen_head(&s, "vm-db-07", &list);
	assert_string_equal(drawn(), "vm-db-07  keyfobd up 41 d  1 not asked for  2 valid\n");
	s = screen(40, false);
	cli_screen_head(&s, "vm-db-07", &list);
	assert_string_equal(drawn(), "vm-db-07  keyfobd up 41 d\n1 not asked for  2 valid\n");
	for (int width = 40; width <= 100; width++) {
		s = screen(width, false);
		cli_screen_head(&s, host, &list);
		assert_true(widest(drawn()) <= width);
		assert_null(strchr(drawn(), '\033'));
	}
	strcpy(list.version, "9.8");
	s = screen(120, false);
	cli_screen_head(&s, "vm", &list);
	assert_non_null(strstr(drawn(), "  its version is 9.8, keyfob's " KEYFOB_VERSION ": restart it  "));
	s = screen(80, false);
	cli_screen_trouble(&s, "since 10:00:00: cannot reach it");
	assert_string_equal(drawn(), "  broker     since 10:00:00: cannot reach it\n");
}

static void test_lost_file(void **state)
{
	struct cli_reader reader = { (char[]){ "orders" }, WIRE_READER_NO_FILE, 1, dbclients };
	struct cli_credential c = some_credential();
	struct cli_screen s = screen(80, false);

	(void)state;
	c.readers = &reader;
	c.count = 1;
	cli_screen_credential(&s, &c);
	assert_non_null(
		strstr(drawn(), "readers    orders (token file FAILED)\n  try        event=files-failed in keyfobd's log tells why\n"));
}

/* A provider's words reach a terminal: nothing of them may be a command to it. */
static void test_escapes(void **state)
{
	char evil[] = "a\033[2Jb\nc\x9b"
		      "d";
	struct cli_credential c = some_credential();
	struct cli_screen s = screen(80, false);

	(void)state;
	c.description = c.provider = c.resource = c.last_error = c.issuer = c.audience = c.subject = c.mismatch = evil;
	c.identity_provider = (char[]){ "entra" };
	cli_screen_credential(&s, &c);
	assert_null(strchr(drawn(), '\033'));
	assert_null(strchr(drawn(), '\x9b'));
	assert_non_null(strstr(drawn(), "a\\x1b[2Jb\\x0ac\\x9bd"));
	s.colour = true;
	cli_screen_credential(&s, &c);
	assert_non_null(strchr(drawn(), '\033'));
}

/* The one who wrote the configuration may use his language, as far as it only prints. */
static void test_language(void **state)
{
	char text[] = "B\u00fccher \u66f8\u7c4d \xff \u202e \xc2\x9b \xe2\x82";
	char broad[] = "\u66f8\u66f8\u66f8\u66f8\u66f8\u66f8\u66f8\u66f8\u66f8\u66f8\u66f8\u66f8\u66f8\u66f8\u66f8";
	struct cli_credential c = some_credential();
	struct cli_screen s = screen(80, true);

	(void)state;
	assert_non_null(setlocale(LC_ALL, "C.UTF-8"));
	c.description = c.provider = text;
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "  atlas      B\u00fccher \u66f8\u7c4d \\xff \\xe2\\x80\\xae \\xc2\\x9b \\xe2\\x82\n"));
	assert_non_null(strstr(drawn(), "  from       B\\xc3\\xbccher"));
	s = screen(80, false);
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "  atlas      B\\xc3\\xbccher"));
	/* 15 characters of two columns, where there is room for 13. */
	s = screen(40, true);
	c.description = broad;
	cli_screen_credential(&s, &c);
	assert_non_null(strstr(drawn(), "\u66f8\n             \u66f8\u66f8\n"));
	setlocale(LC_ALL, "C");
}

static void test_json(void **state)
{
	(void)state;
	buffer_clear(&out);
	buffer_put_json(&out, "a\"b\\c\n\x7f");
	assert_string_equal(drawn(), "\"a\\\"b\\\\c\\u000a\\u007f\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_bars),
		cmocka_unit_test(test_block),
		cmocka_unit_test(test_provider_lines),
		cmocka_unit_test(test_widths),
		cmocka_unit_test(test_advice),
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_lost_file),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_language),
		cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
