/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob doctor, the built program, with a broker that tells what a real one
 * seldom does.
 * links: common/buffer common/wire
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <time.h>

#include "modules/module.h"
#include "tests/unit/cli-call.h"
#include "tests/unit/fake-broker.h"

#define NOBODY 65534
#define EXPIRES 4102444800 /* 2100-01-01 00:00:00 UTC */

static int set_up(void **state)
{
	(void)state;
	setenv("KEYFOB_CONFIG", "/nonexistent/keyfob.conf", 1);
	setenv("KEYFOB_VERIFY_SOCKET", "/nonexistent/verify.sock", 1);
	return fake_start(geteuid());
}

static int tear_down(void **state)
{
	(void)state;
	fake_stop();
	return 0;
}

struct told {
	uint8_t state, reader;
	uint64_t fetched;
	const char *error, *mismatch;
};

/* A credential in a status reply, as common/wire.h lays it out. */
static void put_credential(struct buffer *b, const char *name, const struct told *t)
{
	const char *const texts[] = { name, "orders database", "azure", "api://x" };
	const uint64_t numbers[] = { EXPIRES, 0, t->fetched, 7, 2, 0 };
	const char *const more[] = { "3fa9c1d2", t->error ? t->error : "", "https://i.example", "aud", "sub", t->mismatch ? "entra" : "",
		t->mismatch ? t->mismatch : "" };

	for (size_t i = 0; i < 4; i++)
		buffer_put_text(b, texts[i]);
	buffer_put_u8(b, t->state);
	buffer_put_u8(b, KEYFOB_KIND_ACCESS);
	for (size_t i = 0; i < 6; i++)
		buffer_put_u64(b, numbers[i]);
	for (size_t i = 0; i < 7; i++)
		buffer_put_text(b, more[i]);
	buffer_put_u32(b, 1);
	buffer_put_u32(b, 1);
	buffer_put_text(b, "");
	buffer_put_u32(b, 1);
	buffer_put_text(b, "orders");
	buffer_put_u8(b, t->reader);
	buffer_put_u32(b, 1);
	buffer_put_text(b, "");
}

/* Of a status reply. */
static void put_head(struct buffer *b, uint8_t more)
{
	buffer_put_u8(b, more);
	buffer_put_text(b, KEYFOB_VERSION);
	buffer_put_u64(b, 0);
}

static void tell(const struct told *t)
{
	struct buffer *b = fake_reply(WIRE_VERSION, 0);

	put_head(b, 0);
	put_credential(b, "atlas", t);
}

/* An ordinary user, who has no provider asked. */
static int doctor(const char *option)
{
	return call_keyfob(geteuid() == 0 ? NOBODY : geteuid(), "", 0, (const char *const[]){ "doctor", option, NULL });
}

/* Is there a finding of this check, level and subject with these words? Its exit code, else. */
static int finding(const char *check, const char *level, const char *subject, const char *words)
{
	int code = doctor("--json");
	json_t *top = json_loads(call_out, 0, NULL), *f;
	bool found = false;
	size_t i;

	assert_true(json_is_array(top));
	json_array_foreach(top, i, f)
	{
		assert_int_equal(json_object_size(f), 5);
		found = found || (strcmp(json_string_value(json_object_get(f, "check")), check) == 0 &&
					 strcmp(json_string_value(json_object_get(f, "level")), level) == 0 &&
					 strcmp(json_string_value(json_object_get(f, "subject")), subject) == 0 &&
					 strstr(json_string_value(json_object_get(f, "text")), words) &&
					 (strcmp(level, "ok") == 0 || json_is_string(json_object_get(f, "fix"))));
	}
	json_decref(top);
	if (!found)
		print_error("%s: %s %s: %s, not in %s\n", check, level, subject, words, call_out);
	assert_true(found);
	return code;
}

static void test_states(void **state)
{
	(void)state;
	tell(&(struct told){ .state = WIRE_STATE_VALID });
	assert_int_equal(finding("credentials", "ok", "atlas", "a token that lives"), 0);
	tell(&(struct told){ .state = WIRE_STATE_STALE, .error = "IMDS answered 429" });
	assert_int_equal(finding("credentials", "warning", "atlas", "no other is to be had: IMDS answered 429"), 0);
	tell(&(struct told){ .state = WIRE_STATE_FAILED, .error = "IMDS answered 400" });
	assert_int_equal(finding("credentials", "error", "atlas", "no token: IMDS answered 400"), 1);
	tell(&(struct told){ .state = WIRE_STATE_NONE });
	assert_int_equal(finding("credentials", "ok", "atlas", "nobody asked for it yet"), 0);
	tell(&(struct told){ .state = WIRE_STATE_FETCHING });
	assert_int_equal(finding("credentials", "ok", "atlas", "on its way"), 0);
	tell(&(struct told){ .state = WIRE_STATE_VALID, .reader = WIRE_READER_NO_FILE });
	assert_int_equal(finding("credentials", "error", "atlas", "the token file of orders"), 1);
	tell(&(struct told){ .state = WIRE_STATE_VALID, .mismatch = "aud is a, entra wants b" });
	assert_int_equal(finding("credentials", "error", "atlas", "entra would refuse its token: aud is a, entra wants b"), 1);
}

static void test_clock(void **state)
{
	(void)state;
	tell(&(struct told){ .state = WIRE_STATE_VALID, .fetched = (uint64_t)time(NULL) + 3600 });
	assert_int_equal(finding("clock", "error", "atlas", "the clock was set back"), 1);
	tell(&(struct told){ .state = WIRE_STATE_VALID, .fetched = (uint64_t)time(NULL) });
	assert_int_equal(doctor("--json"), 0);
	assert_null(strstr(call_out, "set back"));
}

static void test_broken_brokers(void **state)
{
	struct buffer *b = fake_reply(WIRE_VERSION, 0);

	(void)state;
	put_head(b, 0);
	buffer_put_text(b, "half a credential");
	assert_int_equal(finding("daemons", "error", "keyfobd", "makes no sense"), 1);
	b = fake_reply(WIRE_VERSION, 0);
	put_head(b, 1);
	assert_int_equal(finding("daemons", "error", "keyfobd", "makes no sense"), 1);
	fake_error(8, 0, "come again");
	assert_int_equal(finding("daemons", "error", "keyfobd", "come again"), 1);
	buffer_clear(&fake.reply);
	assert_int_equal(finding("daemons", "error", "keyfobd", ""), 1);
}

/* What a provider says must not look like a line of ours, nor do anything to a terminal. */
static void test_hostile_words(void **state)
{
	(void)state;
	tell(&(struct told){ .state = WIRE_STATE_FAILED, .error = "bad\n  ok       atlas: fine\033[2J\xff" });
	assert_int_equal(finding("credentials", "error", "atlas", "no token: bad\n  ok"), 1);
	assert_int_equal(doctor(NULL), 1);
	call_expect(call_out, "  error    atlas: no token: bad\\x0a  ok       atlas: fine\\x1b[2J\\xff -> ");
	assert_null(strchr(call_out, 033));
	call_expect(call_out, "1 error\n");
	assert_string_equal(call_err, "");
}

static void test_use(void **state)
{
	(void)state;
	assert_int_equal(doctor("--frobnicate"), 2);
	call_expect(call_err, "unknown option --frobnicate");
	assert_int_equal(doctor("--help"), 0);
	call_expect(call_out, "[DIR ...]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_broken_brokers),
		cmocka_unit_test(test_hostile_words),
		cmocka_unit_test(test_use),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
