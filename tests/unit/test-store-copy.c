/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The users' rings and what hangs in them, in the real keyring.
 *
 * links: keyring/store keyring/store-copy keyring/store-own keyring/keyctl common/buffer common/wire
 * libs: libkeyutils
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/syscall.h>

#include "tests/unit/keyring-fixture.h"

/* --- between two links ------------------------------------------------------------ */

static void (*after_link)(key_serial_t ring);
static int links_left = -1; /* so many, then the process is as good as dead; -1: no end */

/* In place of the library's: what a reader could see is checked after each link, and a crash falls between two. */
long keyctl_link(key_serial_t key, key_serial_t ring)
{
	long result;

	if (links_left == 0) {
		errno = EDQUOT;
		return -1;
	}
	if (links_left > 0)
		links_left--;
	result = syscall(SYS_keyctl, KEYCTL_LINK, key, ring);
	if (result == 0 && after_link)
		after_link(ring);
	return result;
}

static int end_test(void **state)
{
	struct store other = { 0 };
	char name[100];

	after_link = NULL;
	links_left = -1;
	snprintf(name, sizeof(name), "%s-other", socket_name);
	if (!no_keyring && store_open(&other, name) == 0)
		store_purge(&other);
	return purge_store(state);
}

/* --- copies --------------------------------------------------------------------------------- */

static void test_copy(void **state)
{
	struct store_record record = make_record(3600, "0123abcd"), other = record;
	uid_t uid = new_user();
	struct buffer token;
	key_serial_t ring, key, info;

	need_keyring();
	make_token(&token, "the token");
	assert_false(store_has_copy(&store, uid, "a", &record));
	assert_int_equal(store_put_copy(&store, uid, "a", &token, &record), 0);
	ring = ring_of(uid);
	check_description(ring, "keyring", "keyfob", 0x0b3f0000);
	assert_in_range(key_timeout(ring), 2 * 86400, 3 * 86400);
	key = find(ring, KEY_TOKEN_PREFIX, "a");
	check_description(key, "user", "keyfob:a", 0x1b3f0000);
	assert_in_range(key_timeout(key), 3000, 3540);
	info = find(ring, KEY_INFO_PREFIX, "a");
	check_description(info, "user", "keyfob-info:a", 0x1b3f0000);
	assert_in_range(key_timeout(info), 3000, 3540);
	check_reachable(ring);
	assert_true(store_has_copy(&store, uid, "a", &record));
	assert_false(store_has_copy(&store, uid, "b", &record));
	assert_false(store_has_copy(&store, uid + 1, "a", &record));
	other.expires++;
	assert_false(store_has_copy(&store, uid, "a", &other));
	other = record;
	strcpy(other.fingerprint, "0123abce");
	assert_false(store_has_copy(&store, uid, "a", &other));
	/* What the user may do to his own copy is noticed, and put right. */
	assert_int_equal(keyctl_invalidate(key), 0);
	assert_false(store_has_copy(&store, uid, "a", &record));
	assert_int_equal(store_put_copy(&store, uid, "a", &token, &record), 0);
	assert_true(store_has_copy(&store, uid, "a", &record));
	assert_int_equal(keyctl_invalidate(find(ring, KEY_INFO_PREFIX, "a")), 0);
	assert_false(store_has_copy(&store, uid, "a", &record));
	assert_int_equal(store_put_copy(&store, uid, "a", &token, &record), 0);
	assert_true(store_has_copy(&store, uid, "a", &record));
	/* No key is shared, between users or with the master. */
	assert_int_equal(store_put_copy(&store, uid + 1, "a", &token, &record), 0);
	assert_int_not_equal(find(ring_of(uid + 1), KEY_TOKEN_PREFIX, "a"), find(ring, KEY_TOKEN_PREFIX, "a"));
	new_user();
	record.expires = record.fetched;
	assert_int_equal(store_put_copy(&store, uid, "a", &token, &record), -EKEYEXPIRED);
	buffer_free(&token);
}

static uid_t watched;
static unsigned int looks;

/* Token "life N" was given to live N seconds, from a moment that is not older than the test. */
static void look_as_reader(key_serial_t ring)
{
	struct key_record info;
	char text[300];
	key_serial_t key;
	uint64_t expires, now = (uint64_t)time(NULL);
	unsigned int life = 0;

	if (ring != ring_of(watched))
		return;
	looks++;
	check_reachable(ring);
	key = find(ring, KEY_TOKEN_PREFIX, "a");
	if (key < 0)
		return;
	read_text(find(ring, KEY_INFO_PREFIX, "a"), text, sizeof(text));
	assert_true(key_record_parse(text, strlen(text), &info));
	assert_true(key == info.serial || key == info.previous);
	expires = key == info.serial ? info.expires : info.previous_expires;
	read_text(key, text, sizeof(text));
	assert_int_equal(sscanf(text, "life %u", &life), 1);
	assert_true(expires <= now + life && expires + 5000 > now + life);
}

static key_serial_t standing;

static bool standing_is_dead(void)
{
	return is_dead(standing);
}

/* A reader finds a whole token and its own expiry between any two steps, and after a crash between any two. */
static void test_copy_is_replaced_in_one_step(void **state)
{
	struct store_record record = make_record(40000, "00000000");
	struct buffer token;

	need_keyring();
	watched = new_user();
	looks = 0;
	after_link = look_as_reader;
	give(watched, "a", "life 10000", 10000);
	standing = find(ring_of(watched), KEY_TOKEN_PREFIX, "a");
	give(watched, "a", "life 20000", 20000);
	assert_int_equal(looks, 4);
	assert_int_not_equal(find(ring_of(watched), KEY_TOKEN_PREFIX, "a"), standing);
	assert_true(until(standing_is_dead));
	give(watched, "b", "life 30000", 30000);
	make_token(&token, "life 40000");
	for (int crash = 0; crash < 2; crash++) {
		links_left = crash;
		assert_int_equal(store_put_copy(&store, watched, "a", &token, &record), -EDQUOT);
		links_left = -1;
		look_as_reader(ring_of(watched));
		assert_false(store_has_copy(&store, watched, "a", &record));
	}
	/* Again, before the one that crashed is put right. */
	links_left = 1;
	assert_int_equal(store_put_copy(&store, watched, "a", &token, &record), -EDQUOT);
	links_left = -1;
	look_as_reader(ring_of(watched));
	give(watched, "a", "life 50000", 50000);
	assert_true(looks >= 11);
	after_link = NULL;
	buffer_free(&token);
}

static key_serial_t watched_ring;

static bool ring_is_expired(void)
{
	struct key_description d;

	return key_describe(watched_ring, &d) == -EKEYEXPIRED;
}

static void test_expired_ring(void **state)
{
	struct store_record record = make_record(3600, "00000000");
	uid_t uid = new_user();
	struct buffer token;

	need_keyring();
	make_token(&token, "again");
	give(uid, "a", "once", 3600);
	watched_ring = ring_of(uid);
	assert_int_equal(keyctl_set_timeout(watched_ring, 100), 0);
	give(uid, "a", "twice", 3600);
	assert_int_equal(ring_of(uid), watched_ring);
	assert_in_range(key_timeout(watched_ring), 2 * 86400, 3 * 86400);
	assert_int_equal(store_link_ring(&store, uid), 0);
	assert_int_equal(keyctl_set_timeout(watched_ring, 1), 0);
	assert_true(until(ring_is_expired));
	assert_false(store_has_copy(&store, uid, "a", &record));
	assert_int_equal(store_revoke_copy(&store, uid, "a"), 0);
	assert_int_equal(store_put_copy(&store, uid, "a", &token, &record), 0);
	assert_int_not_equal(ring_of(uid), watched_ring);
	assert_true(store_has_copy(&store, uid, "a", &record));
	assert_int_equal(store_link_ring(&store, uid), 0);
	check_reachable(ring_of(uid));
	buffer_free(&token);
}

static void test_revoke_copy(void **state)
{
	uid_t uid = new_user();
	key_serial_t key, info;

	need_keyring();
	assert_int_equal(store_revoke_copy(&store, uid, "a"), 0);
	assert_true(ring_of(uid) < 0);
	give(uid, "a", "token", 3600);
	give(uid, "b", "token", 3600);
	key = find(ring_of(uid), KEY_TOKEN_PREFIX, "a");
	info = find(ring_of(uid), KEY_INFO_PREFIX, "a");
	assert_int_equal(keyctl_link(key, KEY_SPEC_SESSION_KEYRING), 0);
	assert_int_equal(store_revoke_copy(&store, uid, "a"), 0);
	/* The link elsewhere leads nowhere. */
	assert_int_equal(keyctl_read(key, NULL, 0), -1);
	assert_int_equal(errno, EKEYREVOKED);
	assert_true(is_dead(info));
	assert_true(find(ring_of(uid), KEY_TOKEN_PREFIX, "a") < 0);
	assert_true(find(ring_of(uid), KEY_TOKEN_PREFIX, "b") > 0);
	assert_int_equal(store_revoke_copy(&store, uid, "a"), 0);
	assert_int_equal(keyctl_unlink(key, KEY_SPEC_SESSION_KEYRING), 0);
}

/* --- into the user's keyring ------------------------------------------------------------------ */

static key_serial_t linked_ring(uid_t uid)
{
	long persistent = keyctl_get_persistent(uid, KEY_SPEC_THREAD_KEYRING);
	key_serial_t ring = key_search((key_serial_t)persistent, "keyring", KEY_RING);

	keyctl_clear(KEY_SPEC_THREAD_KEYRING);
	return ring;
}

static key_serial_t plant_ring(uid_t uid, uint32_t perm)
{
	long persistent = keyctl_get_persistent(uid, KEY_SPEC_THREAD_KEYRING);
	key_serial_t ring = add_key("keyring", KEY_RING, NULL, 0, (key_serial_t)persistent);

	assert_true(ring > 0);
	assert_int_equal(keyctl_setperm(ring, perm), 0);
	keyctl_clear(KEY_SPEC_THREAD_KEYRING);
	return ring;
}

static void check_persistent(key_serial_t ring)
{
	if (ring != ring_of(watched) && ring_of(watched) > 0)
		check_reachable(ring_of(watched));
}

static void test_link(void **state)
{
	struct buffer list;

	need_keyring();
	watched = new_user();
	after_link = check_persistent;
	assert_int_equal(store_link_ring(&store, watched), 0);
	assert_int_equal(linked_ring(watched), ring_of(watched));
	assert_int_equal(store_link_ring(&store, watched), 0);
	assert_int_equal(linked_ring(watched), ring_of(watched));
	after_link = NULL;
	/* The thread keeps nothing of the user's. */
	buffer_init(&list, 4096);
	assert_int_equal(key_read(KEY_SPEC_THREAD_KEYRING, &list), 0);
	assert_int_equal(list.length, 0);
	buffer_free(&list);
	/* What else bears the name gives way: a ring of another shape, and one whose broker is no more. */
	plant_ring(watched, 0x3f3f0000);
	assert_int_equal(store_link_ring(&store, watched), 0);
	assert_int_equal(linked_ring(watched), ring_of(watched));
	plant_ring(watched, KEY_RING_PERM);
	assert_int_equal(store_link_ring(&store, watched), 0);
	assert_int_equal(linked_ring(watched), ring_of(watched));
}

static void test_foreign_ring(void **state)
{
	struct store other = { 0 };
	char name[100];
	uid_t uid = new_user();
	key_serial_t foreign;

	need_keyring();
	snprintf(name, sizeof(name), "%s-other", socket_name);
	assert_int_equal(store_open(&other, name), 0);
	assert_int_equal(store_link_ring(&other, uid), 0);
	foreign = linked_ring(uid);
	give(uid, "a", "mine", 3600);
	assert_int_equal(store_link_ring(&store, uid), -EBUSY);
	assert_int_equal(linked_ring(uid), foreign);
	assert_int_equal(store_link_ring(&other, uid), 0);
	assert_int_equal(store_purge(&other), 0);
	assert_int_equal(store_link_ring(&store, uid), 0);
	assert_int_equal(linked_ring(uid), ring_of(uid));
}

/* What the user himself may and may not do with what he is given. */
static int user_tries(void)
{
	long persistent = keyctl_get_persistent((uid_t)-1, KEY_SPEC_SESSION_KEYRING);
	key_serial_t ring = key_search((key_serial_t)persistent, "keyring", KEY_RING);
	key_serial_t key = key_search(ring, "user", "keyfob:a");
	char bytes[16];

	need(persistent > 0 && ring > 0 && key > 0);
	need(keyctl_read(key, bytes, sizeof(bytes)) == 5 && memcmp(bytes, "token", 5) == 0);
	need(keyctl_update(key, "false", 5) < 0 && errno == EACCES);
	need(keyctl_revoke(key) < 0 && errno == EACCES);
	need(keyctl_set_timeout(key, 0) < 0 && errno == EACCES);
	need(keyctl_setperm(key, 0x3f3f0000) < 0 && errno == EACCES);
	need(keyctl_chown(key, getuid(), (gid_t)-1) < 0 && errno == EACCES);
	need(add_key("user", "keyfob:a", "false", 5, ring) < 0 && errno == EACCES);
	need(add_key("user", "keyfob:b", "false", 5, ring) < 0 && errno == EACCES);
	need(keyctl_clear(ring) < 0 && errno == EACCES);
	need(keyctl_unlink(key, ring) < 0 && errno == EACCES);
	need(keyctl_setperm(ring, 0x3f3f0000) < 0 && errno == EACCES);
	need(keyctl_set_timeout(ring, 0) < 0 && errno == EACCES);
	need(keyctl_revoke(ring) < 0 && errno == EACCES);
	need(syscall(SYS_keyctl, KEYCTL_LINK, ring, KEY_SPEC_SESSION_KEYRING) < 0 && errno == EACCES);
	need(syscall(SYS_keyctl, KEYCTL_LINK, key, KEY_SPEC_SESSION_KEYRING) == 0);
	need(keyctl_invalidate(key) == 0);
	need(keyctl_unlink(ring, (key_serial_t)persistent) == 0);
	return 0;
}

static key_serial_t stolen;

static int stranger_tries(void)
{
	char bytes[16];

	need(keyctl_read(stolen, bytes, sizeof(bytes)) < 0 && errno == EACCES);
	need(keyctl_invalidate(stolen) < 0 && errno == EACCES);
	need(syscall(SYS_keyctl, KEYCTL_LINK, stolen, KEY_SPEC_SESSION_KEYRING) < 0 && errno == EACCES);
	return 0;
}

static void test_what_a_user_may(void **state)
{
	struct store_record record = make_record(3600, "00000000");
	uid_t uid = new_user();

	need_keyring();
	give(uid, "a", "token", 3600);
	assert_int_equal(store_link_ring(&store, uid), 0);
	stolen = find(ring_of(uid), KEY_TOKEN_PREFIX, "a");
	assert_int_equal(as_user(new_user(), stranger_tries), 0);
	assert_int_equal(charged_keys(uid), 0);
	assert_int_equal(as_user(uid, user_tries), 0);
	assert_false(store_has_copy(&store, uid, "a", &record));
	give(uid, "a", "token", 3600);
	assert_int_equal(store_link_ring(&store, uid), 0);
	assert_int_equal(as_user(uid, user_tries), 0);
}

/* --- all of it ---------------------------------------------------------------------------------- */

static char seen[1000];

static void see_credential(void *arg, const char *credential)
{
	(void)arg;
	strcat(strcat(seen, credential), " ");
}

static void see_copy(void *arg, uid_t uid, const char *credential)
{
	size_t length = strlen(seen);

	snprintf(seen + length, sizeof(seen) - length, "%u:%s ", uid - *(uid_t *)arg, credential);
}

static bool is_seen(const char *word)
{
	char padded[64];

	snprintf(padded, sizeof(padded), "%s ", word);
	return strstr(seen, padded) != NULL;
}

static void test_walk_and_purge(void **state)
{
	struct store_record record = make_record(3600, "0a0b0c0d"), none;
	struct store_asker asker = { 1, 2 };
	struct buffer token;
	uid_t uid = new_user(), second = new_user();
	key_serial_t keys[7];

	need_keyring();
	make_token(&token, "token");
	assert_int_equal(store_put_master(&store, "m", &token, &record), 0);
	assert_int_equal(store_put_asked(&store, "q", &asker, 1, 3600), 0);
	give(uid, "c1", "token", 3600);
	give(uid, "c2", "token", 3600);
	give(second, "c1", "token", 3600);
	assert_int_equal(store_link_ring(&store, uid), 0);
	seen[0] = 0;
	store_each_credential(&store, see_credential, NULL);
	assert_true(is_seen("m") && is_seen("q") && strlen(seen) == 4);
	seen[0] = 0;
	store_each_copy(&store, see_copy, &uid);
	assert_true(is_seen("0:c1") && is_seen("0:c2") && is_seen("1:c1") && strlen(seen) == 15);
	keys[0] = store.anchor;
	keys[1] = ring_of(uid);
	keys[2] = find(keys[1], KEY_TOKEN_PREFIX, "c1");
	keys[3] = find(keys[1], KEY_INFO_PREFIX, "c2");
	keys[4] = find(ring_of(second), KEY_TOKEN_PREFIX, "c1");
	keys[5] = key_search(key_search(store.anchor, "keyring", "keyfob-master:m"), "user", "keyfob-token");
	keys[6] = key_search(store.anchor, "user", "keyfob-asked:q");
	for (size_t i = 0; i < 7; i++)
		assert_true(keys[i] > 0);
	assert_int_equal(store_purge(&store), 0);
	for (size_t i = 0; i < 7; i++)
		assert_true(is_dead(keys[i]));
	assert_true(linked_ring(uid) < 0);
	assert_int_equal(store_purge(&store), 0);
	assert_int_equal(store_open(&store, socket_name), 0);
	assert_int_equal(store_get_master(&store, "m", &token, &none), -ENOKEY);
	buffer_free(&token);
}

#define in_store(test) cmocka_unit_test_setup_teardown(test, open_store, end_test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_store(test_copy),
		in_store(test_copy_is_replaced_in_one_step),
		in_store(test_expired_ring),
		in_store(test_revoke_copy),
		in_store(test_link),
		in_store(test_foreign_ring),
		in_store(test_what_a_user_may),
		in_store(test_walk_and_purge),
	};

	return cmocka_run_group_tests(tests, start_keyring, end_keyring);
}
