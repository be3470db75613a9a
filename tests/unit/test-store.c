/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's own keys in the real keyring: anchor, masters, who asked.
 *
 * links: keyring/store keyring/store-copy keyring/store-own keyring/keyctl common/buffer common/wire
 * libs: libkeyutils
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/keyring-fixture.h"

/* --- numbers ------------------------------------------------------------------------ */

static void test_timeout(void **state)
{
	static const struct {
		uint64_t life, age;
		int64_t timeout;
	} cases[] = {
		{ 3600, 0, 3540 },
		{ 3600, 3000, 540 },
		{ 86400, 0, 86340 },
		{ 600, 0, 590 },
		{ 119, 0, 118 },
		{ 60, 0, 59 },
		{ 8, 0, 7 },
		{ 2, 0, 1 },
		{ 1, 0, 0 },
		{ 0, 0, -1 },
		{ 3600, 3600, -60 },
		{ 100, 200, -101 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct store_record record = { .fetched = 1000000, .expires = 1000000 + cases[i].life };

		assert_true(store_timeout(&record, record.fetched + cases[i].age) == cases[i].timeout);
	}
}

static void test_info_text(void **state)
{
	static const char *const wrong[] = { "", "v1", "v3 serial=1 expires=2 refresh=3 fingerprint=0123abcd previous=0:0 broker=/s",
		"v1 serial=1 expires=2 refresh=3 fingerprint=0123abcd previous=0:0 broker=",
		"v1 serial=1 expires=2 refresh=3 fingerprint=xyz previous=0:0 broker=/s",
		"v1 serial=1 expires=2 refresh=3 fingerprint=0123abcd",
		"v1 serial=1 expires=2 refresh=3 fingerprint=0123abcde previous=0:0 broker=/s" };
	struct key_record in = { .serial = 0x7fffffff,
		.expires = UINT64_MAX,
		.refresh = 1700000000,
		.fingerprint = "0123abcd",
		.previous = 17,
		.previous_expires = 1600000000,
		.broker = "/s" },
			  out;
	struct buffer b;

	(void)state;
	buffer_init(&b, 512);
	assert_true(key_record_format(&in, &b));
	assert_true(key_record_parse((const char *)b.data, b.length, &out));
	assert_true(out.serial == in.serial && out.expires == in.expires && out.refresh == in.refresh);
	assert_true(out.previous == 17 && out.previous_expires == 1600000000);
	assert_string_equal(out.fingerprint, "0123abcd");
	for (size_t cut = 0; cut < b.length - 10; cut++)
		assert_false(key_record_parse((const char *)b.data, cut, &out));
	buffer_free(&b);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (key_record_parse(wrong[i], strlen(wrong[i]), &out))
			fail_msg("taken: \"%s\"", wrong[i]);
}

/* The short form, of a user's own broker. */
static void test_own_info_text(void **state)
{
	static const char *const wrong[] = { "v2 ", "v2 1 2 3 0123abcd 4 1", "v2 1 2 3 0123abcd 4 1 ", "v2 1 2 3 xyz 4 1 0123",
		"v2 1 2 3 0123abcd 4 1 0123456789abcdef0", "v2 1 2 3 0123abcd 4 1 0123 broker=/s", "v2 1 2 3 0123abcd 4 1 0123\n" };
	struct key_record in = { .serial = 0x7fffffff, .expires = 1795594522, .refresh = 1795594521, .fingerprint = "0123abcd" }, out;
	struct buffer b;

	(void)state;
	in.fetched = 1795594520;
	in.kind = 2;
	snprintf(in.definition, sizeof(in.definition), "0123456789abcdef");
	buffer_init(&b, 512);
	assert_true(key_record_format(&in, &b));
	/* Nine tokens of 2 kB leave no more for each. */
	assert_true(b.length <= 75);
	assert_true(key_record_parse((const char *)b.data, b.length, &out));
	assert_memory_equal(&in, &out, sizeof(in));
	buffer_free(&b);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (key_record_parse(wrong[i], strlen(wrong[i]), &out))
			fail_msg("taken: \"%s\"", wrong[i]);
}

/* --- the anchor ------------------------------------------------------------------------ */

static void test_anchor(void **state)
{
	struct store again = { 0 }, other = { 0 };
	char name[200];
	key_serial_t false_anchor;

	need_keyring();
	snprintf(name, sizeof(name), "keyfob-broker:%s", socket_name);
	check_description(store.anchor, "keyring", name, KEY_ROOT_PERM);
	assert_int_equal(store_open(&again, socket_name), 0);
	assert_int_equal(again.anchor, store.anchor);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	assert_int_equal(store_open(&other, name), -ENAMETOOLONG);
	/* One of the name with other permissions is not ours. */
	snprintf(name, sizeof(name), "keyfob-broker:%s-false", socket_name);
	false_anchor = add_key("keyring", name, NULL, 0, KEY_SPEC_THREAD_KEYRING);
	assert_int_equal(keyctl_setperm(false_anchor, 0x3f3f3f00), 0);
	assert_int_equal(keyctl_link(false_anchor, KEY_SPEC_USER_KEYRING), 0);
	snprintf(name, sizeof(name), "%s-false", socket_name);
	assert_int_equal(store_open(&other, name), -EPERM);
	assert_int_equal(keyctl_unlink(false_anchor, KEY_SPEC_USER_KEYRING), 0);
}

/* --- masters ----------------------------------------------------------------------------- */

static int put_master(const char *credential, const char *text, unsigned int life)
{
	struct store_record record = make_record(life, "0a0b0c0d");
	struct buffer token;
	int error;

	record.definition = (char *)(uintptr_t) "definition";
	make_token(&token, text);
	error = store_put_master(&store, credential, &token, &record);
	buffer_free(&token);
	return error;
}

static void check_master(const char *credential, const char *text)
{
	struct store_record record;
	struct buffer token;

	buffer_init(&token, WIRE_TOKEN_MAX);
	assert_int_equal(store_get_master(&store, credential, &token, &record), 0);
	assert_int_equal(token.length, strlen(text));
	assert_memory_equal(token.data, text, token.length);
	assert_string_equal(record.definition, "definition");
	store_record_free(&record);
	buffer_free(&token);
}

static bool has_master(const char *credential)
{
	struct store_record record;
	struct buffer token;
	int error;

	buffer_init(&token, WIRE_TOKEN_MAX);
	error = store_get_master(&store, credential, &token, &record);
	store_record_free(&record);
	buffer_free(&token);
	assert_true(error == 0 || error == -ENOKEY);
	return error == 0;
}

/* As with su: another user's process in a session keyring of root's, which leads to his user keyring as after a login. */
static int possesses_nothing(void)
{
	const key_serial_t keys[] = { store.anchor, key_search(store.anchor, "keyring", "keyfob-master:a"),
		key_search(key_search(store.anchor, "keyring", "keyfob-master:a"), "user", "keyfob-token") };
	uid_t uid = next_user;
	char text[100];

	need(keys[2] > 0 && keyctl_join_session_keyring(NULL) > 0 && keyctl_link(KEY_SPEC_USER_KEYRING, KEY_SPEC_SESSION_KEYRING) == 0);
	need(setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
	need(keyctl_search(KEY_SPEC_SESSION_KEYRING, "keyring", store.name, 0) < 0);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		need(keyctl_read(keys[i], text, sizeof(text)) < 0 && errno == EACCES);
		need(keyctl_describe(keys[i], text, sizeof(text)) < 0 && errno == EACCES);
		need(keyctl_invalidate(keys[i]) < 0 && errno == EACCES);
	}
	return 0;
}

static void test_not_by_possession(void **state)
{
	struct store_record record = make_record(3600, "00000000");
	struct buffer token;
	int status;
	pid_t pid;

	need_keyring();
	make_token(&token, "token");
	assert_int_equal(store_put_master(&store, "a", &token, &record), 0);
	buffer_free(&token);
	pid = fork();
	if (pid == 0)
		_exit(possesses_nothing());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_master(void **state)
{
	key_serial_t ring, token, record;

	need_keyring();
	assert_false(has_master("a"));
	assert_int_equal(put_master("a", "first", 3600), 0);
	assert_int_equal(put_master("ab", "another", 3600), 0);
	check_master("a", "first");
	ring = key_search(store.anchor, "keyring", "keyfob-master:a");
	check_description(ring, "keyring", "keyfob-master:a", KEY_ROOT_PERM);
	token = key_search(ring, "user", "keyfob-token");
	record = key_search(ring, "user", "keyfob-record");
	check_description(token, "user", "keyfob-token", KEY_ROOT_PERM);
	check_description(record, "user", "keyfob-record", KEY_ROOT_PERM);
	assert_in_range(key_timeout(token), 3000, 3540);
	assert_in_range(key_timeout(record), 3000, 3540);
	assert_int_equal(put_master("a", "second", 3600), 0);
	check_master("a", "second");
	check_master("ab", "another");
	assert_int_equal(store_revoke_master(&store, "a"), 0);
	assert_false(has_master("a"));
	assert_int_equal(store_revoke_master(&store, "a"), 0);
	assert_true(has_master("ab"));
	assert_int_equal(put_master("a", "fourth", 3600), 0);
	check_master("a", "fourth");
}

static bool master_is_gone(void)
{
	return !has_master("a");
}

static void test_master_expires(void **state)
{
	key_serial_t ring;

	need_keyring();
	assert_int_equal(put_master("a", "dead", 0), -EKEYEXPIRED);
	assert_int_equal(put_master("a", "dead", 1), -EKEYEXPIRED);
	assert_false(has_master("a"));
	assert_int_equal(put_master("a", "short", 3600), 0);
	ring = key_search(store.anchor, "keyring", "keyfob-master:a");
	assert_int_equal(keyctl_set_timeout(key_search(ring, "user", "keyfob-token"), 1), 0);
	assert_true(until(master_is_gone));
	assert_int_equal(put_master("a", "next", 3600), 0);
	check_master("a", "next");
}

static void test_record(void **state)
{
	struct store_record in = make_record(3600, "0123abcd"), out;
	struct buffer token, got;

	need_keyring();
	make_token(&token, "t");
	buffer_init(&got, WIRE_TOKEN_MAX);
	in.kind = 2;
	memset(in.issuer, 'i', 256);
	memset(in.audience, 'a', 256);
	memset(in.subject, 's', 256);
	in.definition = malloc(40000);
	memset(in.definition, 'd', 40000);
	in.definition[16000] = 0;
	assert_int_equal(store_put_master(&store, "a", &token, &in), 0);
	assert_int_equal(store_get_master(&store, "a", &got, &out), 0);
	assert_true(out.fetched == in.fetched && out.expires == in.expires && out.refresh == in.refresh && out.kind == 2);
	assert_string_equal(out.fingerprint, in.fingerprint);
	assert_string_equal(out.issuer, in.issuer);
	assert_string_equal(out.audience, in.audience);
	assert_string_equal(out.subject, in.subject);
	assert_string_equal(out.definition, in.definition);
	store_record_free(&out);
	assert_null(out.definition);
	/* What does not fit into a key is refused, and the old generation stays. */
	in.definition[16000] = 'd';
	in.definition[39999] = 0;
	assert_int_equal(store_put_master(&store, "a", &token, &in), -EMSGSIZE);
	buffer_clear(&got);
	assert_int_equal(store_get_master(&store, "a", &got, &out), 0);
	store_record_free(&out);
	free(in.definition);
	buffer_free(&token);
	buffer_free(&got);
}

static void test_largest_token(void **state)
{
	struct store_record record = make_record(3600, "0123abcd"), out;
	uid_t uid = new_user();
	struct buffer token, got;

	need_keyring();
	buffer_init(&token, WIRE_TOKEN_MAX + 1);
	buffer_init(&got, WIRE_TOKEN_MAX);
	memset(buffer_reserve(&token, WIRE_TOKEN_MAX + 1), 't', WIRE_TOKEN_MAX + 1);
	token.length = WIRE_TOKEN_MAX;
	assert_int_equal(store_put_master(&store, "a", &token, &record), 0);
	assert_int_equal(store_get_master(&store, "a", &got, &out), 0);
	assert_int_equal(got.length, WIRE_TOKEN_MAX);
	assert_memory_equal(got.data, token.data, WIRE_TOKEN_MAX);
	store_record_free(&out);
	assert_int_equal(store_put_copy(&store, uid, "a", &token, &record), 0);
	buffer_clear(&got);
	assert_int_equal(key_read(find(ring_of(uid), KEY_TOKEN_PREFIX, "a"), &got), 0);
	assert_int_equal(got.length, WIRE_TOKEN_MAX);
	assert_memory_equal(got.data, token.data, WIRE_TOKEN_MAX);
	token.length = WIRE_TOKEN_MAX + 1;
	assert_int_equal(store_put_master(&store, "a", &token, &record), -EINVAL);
	assert_int_equal(store_put_copy(&store, uid, "a", &token, &record), -EINVAL);
	token.length = 0;
	assert_int_equal(store_put_copy(&store, uid, "a", &token, &record), -EINVAL);
	assert_true(has_master("a"));
	assert_true(store_has_copy(&store, uid, "a", &record));
	buffer_free(&token);
	buffer_free(&got);
}

/* --- who asked ------------------------------------------------------------------------------ */

static void test_asked(void **state)
{
	struct store_asker in[STORE_ASKERS_MAX + 1], out[STORE_ASKERS_MAX + 1];

	need_keyring();
	for (uint32_t i = 0; i <= STORE_ASKERS_MAX; i++)
		in[i] = (struct store_asker){ UINT32_MAX - i, (1ull << 33) + i };
	assert_int_equal(store_get_asked(&store, "a", out, 10), 0);
	assert_int_equal(store_put_asked(&store, "a", in, 3, 3600), 0);
	assert_in_range(key_timeout(key_search(store.anchor, "user", "keyfob-asked:a")), 40, 3600);
	assert_int_equal(store_get_asked(&store, "a", out, 2), 2);
	assert_int_equal(store_get_asked(&store, "a", out, 10), 3);
	for (size_t i = 0; i < 3; i++)
		assert_true(out[i].uid == in[i].uid && out[i].when == in[i].when);
	assert_int_equal(store_put_asked(&store, "a", in, STORE_ASKERS_MAX + 1, 3600), 0);
	assert_int_equal(store_get_asked(&store, "a", out, STORE_ASKERS_MAX + 1), STORE_ASKERS_MAX);
	assert_int_equal(store_put_asked(&store, "a", NULL, 0, 3600), 0);
	assert_int_equal(store_get_asked(&store, "a", out, 10), 0);
	assert_int_equal(store_put_asked(&store, "a", NULL, 0, 3600), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_info_text),
		cmocka_unit_test(test_own_info_text),
		with_store(test_anchor),
		with_store(test_not_by_possession),
		with_store(test_master),
		with_store(test_master_expires),
		with_store(test_record),
		with_store(test_largest_token),
		with_store(test_asked),
	};

	return cmocka_run_group_tests(tests, start_keyring, end_keyring);
}
