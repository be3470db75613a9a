/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of a user's own broker, in his own user keyring and within his own
 * quota, and his programs' way to them.
 *
 * links: keyring/store keyring/store-copy keyring/store-own keyring/lookup keyring/keyctl common/buffer common/wire
 * libs: libkeyutils
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "keyring/lookup.h"
#include "tests/unit/keyring-fixture.h"

#define DEFINITION "0123456789abcdef"

static struct store own = { .own = true };

/* Whether this kernel has big_key; where it has not, what is done without is all there is to test. */
static bool has_big_key(void)
{
	key_serial_t key = add_key(KEY_TYPE_BIG, "keyfob-test", "-", 1, KEY_SPEC_THREAD_KEYRING);

	if (key > 0)
		keyctl_unlink(key, KEY_SPEC_THREAD_KEYRING);
	return key > 0;
}

/* Each test runs with both types of token: its initial state is the one. */
#define need_type() \
	do { \
		need_keyring(); \
		own.no_big_key = strcmp(*state, KEY_TYPE_TOKEN) == 0; \
		if (!own.no_big_key && !has_big_key()) { \
			print_message("# the kernel has no big_key\n"); \
			skip(); \
		} \
	} while (0)

static key_serial_t find_of(const char *type, const char *credential)
{
	char name[KEY_NAME_SIZE];

	snprintf(name, sizeof(name), KEY_TOKEN_PREFIX "%s", credential);
	return key_search(own.anchor, type, name);
}

static key_serial_t find_token(const char *credential)
{
	return find_of(own.no_big_key ? KEY_TYPE_TOKEN : KEY_TYPE_BIG, credential);
}

static int open_own(void)
{
	store_watch_quota(&own);
	return store_open(&own, socket_name);
}

static int put(const char *credential, const char *text, unsigned int life)
{
	struct store_record record = make_record(life, "0a0b0c0d");
	struct buffer token;
	int error;

	record.definition = (char *)(uintptr_t)DEFINITION;
	make_token(&token, text);
	error = store_put_master(&own, credential, &token, &record);
	buffer_free(&token);
	return error;
}

/* 0 when the store gives that token. */
static int get(const char *credential, const char *text)
{
	struct store_record record;
	struct buffer token;
	int error;

	buffer_init(&token, WIRE_TOKEN_MAX);
	error = store_get_master(&own, credential, &token, &record);
	if (error == 0) {
		if (strcmp(buffer_cstring(&token), text) != 0 || strcmp(record.definition, DEFINITION) != 0 ||
			strcmp(record.fingerprint, "0a0b0c0d") != 0 || record.kind != 1 || record.fetched > record.refresh ||
			record.refresh >= record.expires || !store_has_copy(&own, getuid(), credential, &record))
			error = -EBADMSG;
		store_record_free(&record);
	}
	buffer_free(&token);
	return error;
}

static int reads(bool mine, const char *broker, const char *text)
{
	struct lookup l = { .broker = broker, .own = mine };
	struct lookup_hit hit;
	struct buffer token;
	int error;

	buffer_init(&token, WIRE_TOKEN_MAX);
	error = lookup_token(&l, "a", &token, &hit);
	if (error == 0 && (strcmp(buffer_cstring(&token), text) != 0 || hit.expires < time(NULL)))
		error = -EBADMSG;
	buffer_free(&token);
	return error;
}

/* --- one key ------------------------------------------------------------------------------ */

static void count(void *arg, const char *credential)
{
	*(int *)arg += strcmp(credential, "a") == 0 || strcmp(credential, "b") == 0 ? 1 : 100;
}

static int keeps_one_key(void)
{
	struct store_record record = make_record(3600, "0a0b0c0d");
	struct key_description d;
	struct buffer token;
	key_serial_t key, old;
	int credentials = 0;
	long before;

	need(open_own() == 0);
	need(key_describe(own.anchor, &d) == 0 && d.uid == getuid() && d.perm == KEY_ROOT_PERM);
	need(get("a", "one") == -ENOKEY);
	need(put("a", "one", 3600) == 0 && put("b", "other", 3600) == 0);
	before = charged_keys(getuid());
	need(get("a", "one") == 0 && get("b", "other") == 0);
	old = find_token("a");
	need(key_describe(old, &d) == 0 && d.uid == getuid() && d.perm == KEY_TOKEN_PERM);
	need(key_timeout(old) > 3000 && key_timeout(old) <= 3600);
	/* The readers' copy, their ring and who asked take nothing more. */
	make_token(&token, "one");
	need(store_put_copy(&own, getuid(), "a", &token, &record) == 0 && store_link_ring(&own, getuid()) == 0);
	need(store_put_asked(&own, "a", &(struct store_asker){ getuid(), 1 }, 1, 60) == 0);
	buffer_free(&token);
	need(charged_keys(getuid()) == before);
	store_each_credential(&own, count, &credentials);
	need(credentials == 2);
	/* A new one takes its place; taking back a copy leaves it, as it is the master. */
	need(put("a", "two", 3600) == 0 && get("a", "two") == 0);
	key = find_token("a");
	need(key != old && store_revoke_copy(&own, getuid(), "a") == 0 && get("a", "two") == 0);
	need(store_revoke_master(&own, "a") == 0 && get("a", "two") == -ENOKEY && is_dead(key));
	need(get("b", "other") == 0 && put("a", "gone", 1) == -EKEYEXPIRED);
	/* Another start finds what stands. */
	need(open_own() == 0 && get("b", "other") == 0);
	need(store_purge(&own) == 0 && find_token("b") < 0);
	need(key_search(KEY_SPEC_USER_KEYRING, "keyring", own.name) < 0);
	return 0;
}

static void test_one_key(void **state)
{
	need_type();
	assert_int_equal(as_user(new_user(), keeps_one_key), 0);
}

/* All of it is his: what he removes is missed, and put again. */
static int copes_with_removal(void)
{
	struct store_record record = make_record(3600, "0a0b0c0d");

	need(open_own() == 0 && put("a", "one", 3600) == 0);
	need(keyctl_invalidate(find_token("a")) == 0);
	need(get("a", "one") == -ENOKEY && !store_has_copy(&own, getuid(), "a", &record));
	need(put("a", "two", 3600) == 0 && get("a", "two") == 0);
	/* The record of another token: neither is believed. */
	need(keyctl_link(find(own.anchor, KEY_INFO_PREFIX, "a"), KEY_SPEC_SESSION_KEYRING) == 0);
	need(put("a", "three", 3600) == 0);
	need(keyctl_link(find(KEY_SPEC_SESSION_KEYRING, KEY_INFO_PREFIX, "a"), own.anchor) == 0);
	need(get("a", "three") == -ENOKEY && !store_has_copy(&own, getuid(), "a", &record));
	need(put("a", "four", 3600) == 0 && get("a", "four") == 0);
	/* Unlinked, and held alive by himself: no reader finds it. */
	need(keyctl_link(own.anchor, KEY_SPEC_SESSION_KEYRING) == 0 && keyctl_clear(KEY_SPEC_USER_KEYRING) == 0);
	need(!store_has_copy(&own, getuid(), "a", &record));
	need(put("a", "five", 3600) == 0 && get("a", "five") == 0);
	need(key_search(KEY_SPEC_USER_KEYRING, "keyring", own.name) == own.anchor);
	need(store_purge(&own) == 0);
	return 0;
}

static void test_removal(void **state)
{
	need_type();
	assert_int_equal(as_user(new_user(), copes_with_removal), 0);
}

/* --- the type of the key ----------------------------------------------------------------------- */

/* What the kernel has is found out by the first token. */
static int chooses_type(void)
{
	bool big = has_big_key();

	own.no_big_key = false;
	need(open_own() == 0 && put("a", "one", 3600) == 0 && get("a", "one") == 0 && reads(true, socket_name, "one") == 0);
	need(own.no_big_key == !big);
	need((find_of(KEY_TYPE_BIG, "a") > 0) == big && (find_of(KEY_TYPE_TOKEN, "a") > 0) == !big);
	need(put("a", "two", 3600) == 0 && get("a", "two") == 0 && reads(true, socket_name, "two") == 0);
	return store_purge(&own);
}

static void test_choice(void **state)
{
	need_keyring();
	assert_int_equal(as_user(new_user(), chooses_type), 0);
}

/* A token of one type, as a broker without big_key left it, then one of the other; and back. */
static int replaces_other_type(void)
{
	static const char *const types[] = { KEY_TYPE_BIG, KEY_TYPE_TOKEN };
	key_serial_t old;

	need(open_own() == 0);
	for (int user = 0; user < 2; user++) {
		own.no_big_key = !user;
		need(put("a", "old", 3600) == 0 && get("a", "old") == 0 && reads(true, socket_name, "old") == 0);
		old = find_of(types[!user], "a");
		own.no_big_key = user;
		/* It is adopted as it is, */
		need(old > 0 && get("a", "old") == 0);
		/* and revoked when another takes its place, */
		need(put("a", "new", 3600) == 0 && get("a", "new") == 0 && reads(true, socket_name, "new") == 0);
		need(is_dead(old) && find_of(types[!user], "a") < 0 && find_of(types[user], "a") > 0);
		/* or when it is dropped. */
		own.no_big_key = !user;
		old = find_of(types[user], "a");
		need(store_revoke_master(&own, "a") == 0 && is_dead(old) && get("a", "new") == -ENOKEY);
	}
	return store_purge(&own);
}

static void test_other_type(void **state)
{
	need_type();
	assert_int_equal(as_user(new_user(), replaces_other_type), 0);
}

/* --- the quota ---------------------------------------------------------------------------------- */

static bool has_ended(void)
{
	return find_token("t1") == -EKEYEXPIRED && find(own.anchor, KEY_INFO_PREFIX, "t1") == -EKEYEXPIRED;
}

static int fills_quota(void)
{
	struct store_quota quota;
	static char large[2049];
	char name[8];
	int fit = 0;

	memset(large, 'x', sizeof(large) - 1);
	need(open_own() == 0 && store_quota(&own, &quota));
	need(quota.keys == (unsigned long)charged_keys(getuid()) && quota.max_keys >= 20 && quota.max_bytes >= 10000);
	for (snprintf(name, sizeof(name), "t%d", fit); put(name, large, 3600) == 0; snprintf(name, sizeof(name), "t%d", fit))
		need(++fit < 10000);
	need(put(name, large, 3600) == -EDQUOT);
	need(quota.max_bytes != 20000 || (own.no_big_key ? fit == 9 : fit >= 60));
	/* It leaves what a login takes. */
	for (char small[2] = "a"; put(small, "x", 3600) == 0; small[0]++)
		need(small[0] < 'z');
	need(store_quota(&own, &quota) && quota.max_bytes - quota.bytes >= 200);
	/* A renewal has no room beside the old one, and takes its place. */
	need(put("t0", large, 3600) == 0 && get("t0", large) == 0 && get("t1", large) == 0);
	/* What has ended makes room: the kernel itself would charge for it for minutes. */
	need(keyctl_set_timeout(find(own.anchor, KEY_INFO_PREFIX, "t1"), 1) == 0);
	need(keyctl_set_timeout(find_token("t1"), 1) == 0 && until(has_ended));
	need(put(name, large, 3600) == 0);
	need(store_purge(&own) == 0);
	return 0;
}

static void test_quota(void **state)
{
	need_type();
	assert_int_equal(as_user(new_user(), fills_quota), 0);
}

/* --- reading -------------------------------------------------------------------------------------- */

static int reads_own(void)
{
	need(reads(true, socket_name, "one") == -ENOKEY);
	need(open_own() == 0 && put("a", "one", 3600) == 0);
	need(reads(true, socket_name, "one") == 0);
	/* Only of that socket's broker, and only if it is his own. */
	need(reads(true, "/another.sock", "one") == -ENOKEY);
	need(reads(false, socket_name, "one") == -ENOKEY);
	/* The broker of a host does not take what a user made for its own. */
	need(keyctl_setperm(own.anchor, KEY_RING_PERM) == 0 && reads(true, socket_name, "one") == -ENOKEY);
	need(keyctl_setperm(own.anchor, KEY_ROOT_PERM) == 0 && reads(true, socket_name, "one") == 0);
	need(store_purge(&own) == 0);
	need(reads(true, socket_name, "one") == -ENOKEY);
	return 0;
}

static void test_reading(void **state)
{
	need_type();
	assert_int_equal(as_user(new_user(), reads_own), 0);
}

/* A root's token is none of his own broker's, nor his any of root's. */
static int reads_only_his(void)
{
	need(reads(true, socket_name, "root's") == -ENOKEY);
	return 0;
}

static void test_both(void **state)
{
	uid_t uid;

	need_keyring();
	uid = new_user();
	assert_int_equal(store_open(&store, socket_name), 0);
	give(uid, "a", "root's", 3600);
	assert_int_equal(store_link_ring(&store, uid), 0);
	assert_int_equal(as_user(uid, reads_only_his), 0);
	assert_int_equal(store_purge(&store), 0);
}

#define of_type(test, type) \
	{ \
#test " " #type, test, NULL, NULL, (void *)(uintptr_t) #type \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		of_type(test_one_key, user),
		of_type(test_removal, user),
		of_type(test_quota, user),
		of_type(test_reading, user),
		of_type(test_one_key, big_key),
		of_type(test_removal, big_key),
		of_type(test_quota, big_key),
		of_type(test_reading, big_key),
		of_type(test_other_type, big_key),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_both),
	};

	return cmocka_run_group_tests(tests, start_keyring, end_keyring);
}
