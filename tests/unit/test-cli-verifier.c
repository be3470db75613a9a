/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob's verbs that ask the verifier, against one that gives prepared answers.
 * links: common/buffer common/wire
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <pwd.h>

#include "tests/unit/cli-call.h"
#include "tests/unit/fake-broker.h"

#define TOKEN "eyJ0.eyJ1.c2ln"

static int set_up(void **state)
{
	(void)state;
	if (fake_start(geteuid()) < 0)
		return -1;
	setenv("KEYFOB_VERIFY_SOCKET", fake.path, 1);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fake_stop();
	unsetenv("KEYFOB_VERIFY_SOCKET");
	return 0;
}

static int verify(const char *token, const char *last)
{
	return call_keyfob(
		geteuid(), token, strlen(token), (const char *const[]){ "verify", "--service=pg", "--login=app", "-", last, NULL });
}

static void put_accepted(void)
{
	struct buffer *b = fake_reply(WIRE_VERSION, 0);

	buffer_put_text(b, "app_rw");
	buffer_put_text(b, "entra");
	buffer_put_text(b, "7d2f\x1b[2J");
	buffer_put_u64(b, 4102444800);
}

static void test_verify_accepted(void **state)
{
	char service[16], login[16], token[64];
	struct reader r;
	json_t *top;

	(void)state;
	put_accepted();
	assert_int_equal(verify(TOKEN "\n", NULL), 0);
	assert_string_equal(call_err, "");
	call_expect(call_out, "accepted\n  identity provider entra\n  subject           7d2f\\x1b[2J\n  account           app_rw\n");
	call_expect(call_out, "expires           2100-01-01 00:00:00 UTC  in ");
	reader_init(&r, fake.request.data, fake.request.length);
	assert_int_equal(reader_u8(&r), WIRE_VERSION);
	assert_int_equal(reader_u8(&r), WIRE_VERIFY_TOKEN);
	reader_text(&r, service, sizeof(service));
	reader_text(&r, login, sizeof(login));
	reader_text(&r, token, sizeof(token));
	assert_true(reader_done(&r));
	assert_string_equal(service, "pg");
	assert_string_equal(login, "app");
	assert_string_equal(token, TOKEN);

	assert_int_equal(verify(TOKEN, "--json"), 0);
	top = json_loads(call_out, JSON_REJECT_DUPLICATES, NULL);
	assert_true(json_is_true(json_object_get(top, "accepted")));
	assert_string_equal(json_string_value(json_object_get(top, "subject")), "7d2f\x1b[2J");
	assert_int_equal(json_integer_value(json_object_get(top, "expires_at")), 4102444800);
	json_decref(top);
}

static void test_verify_refused(void **state)
{
	json_t *top;

	(void)state;
	fake_error(7, 0, "AUD: the token is for another audience (aud is \033[1mx)");
	assert_int_equal(verify(TOKEN, NULL), 7);
	assert_string_equal(call_out, "");
	assert_string_equal(call_err, "keyfob: AUD: the token is for another audience (aud is \\x1b[1mx)\n");
	assert_int_equal(verify(TOKEN, "--json"), 7);
	top = json_loads(call_out, JSON_REJECT_DUPLICATES, NULL);
	assert_true(json_is_false(json_object_get(top, "accepted")));
	assert_string_equal(json_string_value(json_object_get(top, "reason")), "AUD");
	assert_int_equal(strncmp(json_string_value(json_object_get(top, "text")), "the token is for", 16), 0);
	json_decref(top);
	fake_error(8, 5, "no keys to judge by right now");
	assert_int_equal(verify(TOKEN, NULL), 8);
	call_expect(call_err, "no keys to judge by right now (try again in 5 s)");
	fake_error(4, 0, "not allowed to ask for this service");
	assert_int_equal(verify(TOKEN, NULL), 4);
	call_expect(call_err, "not allowed to ask");
	fake_error(4, 0, "");
	assert_int_equal(verify(TOKEN, NULL), 4);
	call_expect(call_err, "does not let you ask");
}

/* The own name is the default, as it is for the clients of databases. */
static void test_verify_login(void **state)
{
	const struct passwd *user = getpwuid(geteuid());
	char service[16], login[256];
	struct reader r;

	(void)state;
	if (!user)
		skip();
	put_accepted();
	assert_int_equal(call_keyfob(geteuid(), TOKEN, strlen(TOKEN), (const char *const[]){ "verify", "--service", "pg", "-", NULL }), 0);
	reader_init(&r, fake.request.data + 2, fake.request.length - 2);
	reader_text(&r, service, sizeof(service));
	reader_text(&r, login, sizeof(login));
	assert_string_equal(login, user->pw_name);
}

static void test_verify_input(void **state)
{
	unsigned int before = fake.requests;
	size_t size = 70000;
	char *large = malloc(size + 1);
	char name[300];

	(void)state;
	assert_non_null(large);
	memset(large, 'a', size);
	large[size] = 0;
	assert_int_equal(verify("", NULL), 2);
	assert_int_equal(verify(" \n", NULL), 2);
	call_expect(call_err, "no token on standard input");
	assert_int_equal(verify(large, NULL), 1);
	call_expect(call_err, "larger than a token may be");
	large[65536] = 0;
	assert_int_equal(verify(large, NULL), 7);
	call_expect(call_err, "TOKEN_SIZE");
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = 0;
	assert_int_equal(call("verify", "--service=x", "--login", name, "-"), 2);
	assert_int_equal(call("verify", "--service=", "-"), 2);
	assert_int_equal(fake.requests, before);
	free(large);
}

static void put_keyset(struct buffer *b, const char *name, uint8_t state, uint32_t failures, const char *error, uint32_t keys)
{
	buffer_put_text(b, name);
	buffer_put_u8(b, state);
	buffer_put_u64(b, 2);
	for (uint64_t i = 0; i < 4; i++)
		buffer_put_u64(b, state == WIRE_KEYSET_MISSING ? 0 : 4102444800 + i);
	buffer_put_u32(b, failures);
	buffer_put_text(b, error);
	buffer_put_u32(b, keys);
	for (uint32_t i = 0; i < keys; i++) {
		buffer_put_text(b, i ? "" : "k\x9b\"1");
		buffer_put_text(b, "RSA-2048");
	}
}

/* Stale, and past its hard limit. */
static void put_old_keyset(struct buffer *b)
{
	buffer_put_text(b, "entra");
	buffer_put_u8(b, WIRE_KEYSET_STALE);
	buffer_put_u64(b, 1);
	for (int i = 0; i < 4; i++)
		buffer_put_u64(b, 100);
	buffer_put_u32(b, 0);
	buffer_put_text(b, "");
	buffer_put_u32(b, 0);
}

static void test_jwks_list(void **state)
{
	struct buffer *b = fake_reply(WIRE_VERSION, 0);
	json_t *top, *list, *first;

	(void)state;
	buffer_put_u8(b, 0);
	put_keyset(b, "entra", WIRE_KEYSET_STALE, 3, "it said\n500", 2);
	put_keyset(b, "google", WIRE_KEYSET_MISSING, 0, "", 0);
	assert_int_equal(call("jwks", "list"), 0);
	call_expect(call_out, "entra  stale, revoked 2 times so far\n  fetched    2100-01-01 00:00:00 UTC");
	call_expect(call_out, "  failures   3 in a row, the last: it said\\x0a500\n");
	call_expect(call_out, "  keys       k\\x9b\"1  RSA-2048\n             (no kid)  RSA-2048\n");
	call_expect(call_out, "\ngoogle  missing");
	call_expect(call_out, "fetched    never");
	call_expect(call_out, "try        keyfob jwks refresh google\n");
	assert_int_equal(call("jwks", "list", "--json"), 0);
	top = json_loads(call_out, JSON_REJECT_DUPLICATES, NULL);
	list = json_object_get(top, "key_sets");
	assert_int_equal(json_array_size(list), 2);
	first = json_array_get(list, 0);
	assert_string_equal(json_string_value(json_object_get(first, "state")), "stale");
	assert_string_equal(json_string_value(json_object_get(first, "last_error")), "it said\n500");
	assert_int_equal(json_integer_value(json_object_get(first, "epoch")), 2);
	assert_int_equal(json_array_size(json_object_get(first, "keys")), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(first, "keys"), 0), "kid")), "k\\x9b\"1");
	assert_true(json_is_null(json_object_get(json_array_get(list, 1), "fetched_at")));
	json_decref(top);

	b = fake_reply(WIRE_VERSION, 0);
	buffer_put_u8(b, 0);
	put_old_keyset(b);
	assert_int_equal(call("jwks", "list"), 0);
	call_expect(call_out, "entra  expired, revoked once so far\n");
	call_expect(call_out, "  expired    1970-01-01 00:01:40 UTC");
	assert_int_equal(call("jwks", "list", "--json"), 0);
	call_expect(call_out, "\"state\":\"expired\"");

	b = fake_reply(WIRE_VERSION, 0);
	buffer_put_u8(b, 0);
	assert_int_equal(call("jwks", "list"), 0);
	call_expect(call_out, "No identity provider yet");
}

/* What a verifier of another version, or none at all, may answer. */
static void test_jwks_malformed(void **state)
{
	struct buffer whole;
	struct buffer *b;

	(void)state;
	buffer_init(&whole, WIRE_MAX);
	put_keyset(&whole, "entra", WIRE_KEYSET_GOOD, 0, "", 1);
	for (size_t length = 1; length < whole.length; length++) {
		b = fake_reply(WIRE_VERSION, 0);
		buffer_put_u8(b, 0);
		buffer_put(b, whole.data, length);
		assert_int_equal(call("jwks", "list"), 1);
		assert_string_equal(call_out, "");
	}
	buffer_free(&whole);
	b = fake_reply(WIRE_VERSION, 0);
	buffer_put_u8(b, 0);
	put_keyset(b, "../x", WIRE_KEYSET_GOOD, 0, "", 0);
	assert_int_equal(call("jwks", "list"), 1);
	call_expect(call_err, "makes no sense");
	b = fake_reply(WIRE_VERSION, 0);
	buffer_put_u8(b, 1);
	assert_int_equal(call("jwks", "list"), 1);
	call_expect(call_err, "makes no sense");
	fake_reply(WIRE_VERSION, 0);
	assert_int_equal(call("jwks", "refresh", "entra"), 1);
	assert_int_equal(call("jwks", "revoke", "entra"), 1);
	assert_int_equal(verify(TOKEN, NULL), 1);
	fake_reply(WIRE_VERSION + 1, 0);
	assert_int_equal(verify(TOKEN, NULL), 6);
}

static void test_jwks_changes(void **state)
{
	struct buffer *b = fake_reply(WIRE_VERSION, 0);

	(void)state;
	buffer_put_u32(b, 1);
	assert_int_equal(call("jwks", "refresh", "entra"), 0);
	assert_string_equal(call_out, "entra: fetched afresh, 1 key\n");
	assert_int_equal(call("jwks", "refresh", "entra", "--json"), 0);
	assert_string_equal(call_out, "{\"done\":true,\"identity_provider\":\"entra\",\"keys\":1}\n");
	b = fake_reply(WIRE_VERSION, 0);
	buffer_put_u64(b, 3);
	assert_int_equal(call("jwks", "revoke", "entra"), 0);
	call_expect(call_out, "entra: revoked (3 so far)");
	call_expect(call_out, "A jwks_file is read again by \"keyfob jwks refresh entra\"");
	call_expect(call_out, "Have entra change its signing key");
	call_expect(call_out, "Not for rotation");
	assert_int_equal(call("jwks", "revoke", "entra", "--json"), 0);
	assert_string_equal(call_out, "{\"done\":true,\"identity_provider\":\"entra\",\"epoch\":3}\n");
	fake_error(3, 0, "no identity provider has that name (keyfob idp list)");
	assert_int_equal(call("jwks", "revoke", "entre"), 3);
	assert_string_equal(call_err, "keyfob: entre: no identity provider has that name (keyfob idp list)\n");
	fake_error(5, 0, "jwks: 404");
	assert_int_equal(call("jwks", "refresh", "entra"), 5);
}

static void test_out_of_reach(void **state)
{
	(void)state;
	setenv("KEYFOB_VERIFY_SOCKET", "/nonexistent/verify.sock", 1);
	assert_int_equal(verify(TOKEN, NULL), 6);
	call_expect(call_err,
		"cannot reach the verifier at /nonexistent/verify.sock: No such file or directory (is keyfob-verifyd running?)\n");
	assert_int_equal(call("jwks", "list"), 6);
	setenv("KEYFOB_VERIFY_SOCKET", fake.path, 1);
}

/* Both daemons read one configuration; a host that accepts no logins has no verifier. */
static void test_reload(void **state)
{
	unsigned int before = fake.requests;

	(void)state;
	fake_reply(WIRE_VERSION, 0);
	assert_int_equal(call("reload"), 0);
	assert_string_equal(call_out, "the configuration is read afresh, by the broker and the verifier\n");
	assert_int_equal(fake.requests, before + 2);
	assert_int_equal(fake.request.data[1], WIRE_VERIFY_RELOAD);
	fake_error(1, 0, "x.conf:1: no");
	assert_int_equal(call("reload"), 1);
	call_expect(call_err, "keyfob: keyfob-verifyd: x.conf:1: no\n");
	setenv("KEYFOB_VERIFY_SOCKET", "/nonexistent/verify.sock", 1);
	fake_reply(WIRE_VERSION, 0);
	assert_int_equal(call("reload"), 0);
	assert_string_equal(call_out, "the configuration is read afresh\n");
	setenv("KEYFOB_VERIFY_SOCKET", fake.path, 1);
	setenv("KEYFOB_SOCKET", "/nonexistent/keyfob.sock", 1);
	assert_int_equal(call("reload"), 6);
	setenv("KEYFOB_SOCKET", fake.path, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verify_accepted),
		cmocka_unit_test(test_verify_refused),
		cmocka_unit_test(test_verify_login),
		cmocka_unit_test(test_verify_input),
		cmocka_unit_test(test_jwks_list),
		cmocka_unit_test(test_jwks_malformed),
		cmocka_unit_test(test_jwks_changes),
		cmocka_unit_test(test_out_of_reach),
		cmocka_unit_test(test_reload),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
