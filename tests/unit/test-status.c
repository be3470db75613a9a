/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `keyfob status` tells monitors, and when -w asks again.
 * links: cli/status cli/status-list cli/status-check cli/status-watch cli/status-prometheus cli/screen cli/output cli/progress cli/json
 * links: cli/args cli/verbs keyring/client keyring/keyfob keyring/lookup keyring/keyctl common/buffer common/wire common/log
 * libs: libkeyutils
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cli/status.h"

#define NOW 1800000000

static struct buffer out;
static char nothing[] = "", provider[] = "azure client_id=\"5f3a\"", judge[] = "entra";
static struct cli_credential items[16];
static struct cli_list list;

/* One credential of that state whose token lives an hour, if it has one. */
static struct cli_credential *one(uint8_t state)
{
	bool has_token = state == WIRE_STATE_VALID || state == WIRE_STATE_STALE;

	list = (struct cli_list){ .version = "1.2", .started = 1700000000, .item = items, .count = 1 };
	items[0] = (struct cli_credential){
		.name = "atlas",
		.description = nothing,
		.provider = provider,
		.resource = nothing,
		.state = state,
		.kind = 1,
		.expires = has_token ? NOW + 3600 : 0,
		.refresh = has_token ? NOW + 1800 : 0,
		.fetched = has_token ? NOW - 60 : 0,
		.fingerprint = nothing,
		.last_error = nothing,
		.issuer = nothing,
		.audience = nothing,
		.subject = nothing,
		.identity_provider = nothing,
		.mismatch = nothing,
	};
	return &items[0];
}

static void expect_line(int code, const char *line)
{
	buffer_clear(&out);
	assert_int_equal(status_check(&out, &list, "", NOW), code);
	assert_string_equal(buffer_cstring(&out), line);
}

static void test_check(void **state)
{
	struct cli_credential *c = one(WIRE_STATE_VALID);

	(void)state;
	expect_line(0, "KEYFOB OK - 1 credential, 1 with a token, the first ends in 1 h"
		       " | valid=1 degraded=0 failed=0 least_left=3600s\n");
	c->identity_provider = judge;
	expect_line(0, "KEYFOB OK - 1 credential, 1 with a token, the first ends in 1 h"
		       " | valid=1 degraded=0 failed=0 least_left=3600s\n");
	c->mismatch = (char[]){ "aud is a|b" };
	expect_line(8, "KEYFOB WARNING - atlas: entra would refuse it: aud is a/b | valid=1 degraded=1 failed=0 least_left=3600s\n");
	c = one(WIRE_STATE_STALE);
	c->last_error = (char[]){ "azure: no\n\033[m" };
	expect_line(8, "KEYFOB WARNING - atlas: its refresh fails, 1 h left: azure: no\\x0a\\x1b[m"
		       " | valid=1 degraded=1 failed=0 least_left=3600s\n");
	/* It ended since the broker was asked. */
	c->expires = NOW;
	expect_line(5, "KEYFOB CRITICAL - atlas: no valid token: azure: no\\x0a\\x1b[m | valid=0 degraded=0 failed=1\n");
	one(WIRE_STATE_FETCHING);
	expect_line(8, "KEYFOB WARNING - atlas: the first token is on its way | valid=0 degraded=1 failed=0\n");
	one(WIRE_STATE_FAILED);
	expect_line(5, "KEYFOB CRITICAL - atlas: no valid token | valid=0 degraded=0 failed=1\n");
	one(WIRE_STATE_NONE);
	expect_line(0, "KEYFOB OK - 1 credential, nobody asked for a token yet | valid=0 degraded=0 failed=0\n");
	list.count = 0;
	expect_line(3, "KEYFOB UNKNOWN - there is no credential that this user may have\n");
}

/* The worst come first, and a line stays one that can be read. */
static void test_many(void **state)
{
	const char *text;

	(void)state;
	one(WIRE_STATE_STALE);
	for (size_t i = 1; i < 16; i++) {
		items[i] = items[0];
		snprintf(items[i].name, sizeof(items[i].name), "c%zu", i);
	}
	items[15].state = WIRE_STATE_FAILED;
	list.count = 16;
	buffer_clear(&out);
	assert_int_equal(status_check(&out, &list, "", NOW), 5);
	text = buffer_cstring(&out);
	assert_int_equal(strncmp(text, "KEYFOB CRITICAL - c15: no valid token; atlas: its refresh fails, 1 h left; c1: ", 79), 0);
	assert_non_null(strstr(text, "; and 8 more | valid="));
	assert_null(strstr(text, "c8: "));
}

static void test_next(void **state)
{
	struct cli_credential *c = one(WIRE_STATE_VALID);

	(void)state;
	assert_int_equal(status_watch_next(&list, NOW), NOW + 10);
	c->refresh = NOW + 4;
	assert_int_equal(status_watch_next(&list, NOW), NOW + 5);
	c->refresh = NOW;
	assert_int_equal(status_watch_next(&list, NOW), NOW + 2);
	/* One that is long due does not come: no reason to ask more often. */
	c->refresh = NOW - 100;
	assert_int_equal(status_watch_next(&list, NOW), NOW + 10);
	c->expires = NOW + 3;
	assert_int_equal(status_watch_next(&list, NOW), NOW + 4);
	c->expires = NOW - 3;
	assert_int_equal(status_watch_next(&list, NOW), NOW + 10);
	one(WIRE_STATE_FETCHING);
	assert_int_equal(status_watch_next(&list, NOW), NOW + 2);
	list.count = 0;
	assert_int_equal(status_watch_next(&list, NOW), NOW + 10);
}

static void test_prometheus(void **state)
{
	struct cli_credential *c = one(WIRE_STATE_VALID);
	const char *text;

	(void)state;
	c->resource = (char[]){ "a\"b\\c\nd\xff" };
	c->identity_provider = judge;
	c->fetches = 7;
	buffer_clear(&out);
	status_prometheus(&out, &list);
	text = buffer_cstring(&out);
	assert_non_null(text);
	assert_non_null(strstr(text, "# HELP keyfob_up Whether the broker answers.\n# TYPE keyfob_up gauge\nkeyfob_up 1\n"));
	assert_non_null(strstr(text, "\nkeyfob_broker_info{version=\"1.2\"} 1\n"));
	assert_non_null(strstr(text, "\nkeyfob_broker_start_time_seconds 1700000000\n"));
	assert_non_null(
		strstr(text, "{credential=\"atlas\",module=\"azure\",resource=\"a\\\"b\\\\c\\\\x0ad\\\\xff\",token=\"access\"} 1\n"));
	assert_non_null(strstr(text, "\nkeyfob_credential_expiry_timestamp_seconds{credential=\"atlas\"} 1800003600\n"));
	assert_non_null(strstr(text, "\nkeyfob_credential_fetches_total{credential=\"atlas\"} 7\n"));
	assert_non_null(strstr(text, "\nkeyfob_credential_failures_total{credential=\"atlas\"} 0\n"));
	assert_null(strstr(text, "keyfob_credential_failed_timestamp_seconds{"));
	assert_non_null(strstr(text, "\nkeyfob_credential_would_pass{credential=\"atlas\",identity_provider=\"entra\"} 1\n"));
	assert_non_null(strstr(text, "\nkeyfob_credential_state{credential=\"atlas\",state=\"valid\"} 1\n"));
	assert_non_null(strstr(text, "\nkeyfob_credential_state{credential=\"atlas\",state=\"stale\"} 0\n"));
	buffer_clear(&out);
	status_prometheus(&out, NULL);
	assert_string_equal(buffer_cstring(&out), "# HELP keyfob_up Whether the broker answers.\n# TYPE keyfob_up gauge\nkeyfob_up 0\n");
}

static int set_up(void **state)
{
	(void)state;
	buffer_init(&out, CLI_OUTPUT_MAX);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	buffer_free(&out);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_next),
		cmocka_unit_test(test_prometheus),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
