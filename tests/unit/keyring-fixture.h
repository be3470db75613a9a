/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests on the real kernel keyring: a session keyring and an anchor of the
 * test's own, users that have no account, and all of it taken away again.
 */
#ifndef KEYFOB_TEST_KEYRING_FIXTURE_H
#define KEYFOB_TEST_KEYRING_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keyring/keyctl.h"
#include "keyring/store.h"

#define USERS_MAX 32u

static struct store store;
static char socket_name[64];
static uid_t first_user, next_user;
static const char *no_keyring;

/* The test is skipped, by its name, where the kernel's keyring cannot be used. */
#define need_keyring() \
	do { \
		(void)state; \
		if (no_keyring) { \
			print_message("# %s\n", no_keyring); \
			skip(); \
		} \
	} while (0)

/* In a child: tell what is wrong, and end with 1. */
#define need(expression) \
	do { \
		errno = 0; \
		if (!(expression)) { \
			dprintf(2, "%s:%d: %s: errno %s\n", __FILE__, __LINE__, #expression, strerrorname_np(errno)); \
			return 1; \
		} \
	} while (0)

/* A uid that nobody has, and that no test beside this one uses. */
static inline uid_t new_user(void)
{
	assert_true(next_user < first_user + USERS_MAX);
	return next_user++;
}

static inline int start_keyring(void **state)
{
	(void)state;
	first_user = next_user = 2000000000u + (uid_t)getpid() * USERS_MAX;
	snprintf(socket_name, sizeof(socket_name), "/nonexistent/keyfob-test-%d", getpid());
	if (geteuid() != 0)
		no_keyring = "needs root";
	else if (keyctl_join_session_keyring(NULL) < 0 || keyctl_get_persistent(first_user, KEY_SPEC_THREAD_KEYRING) < 0)
		no_keyring = errno == ENOSYS  ? "no keyring in this kernel"
			     : errno == EPERM ? "the keyring is out of reach here"
					      : strerror(errno);
	next_user++;
	return 0;
}

static inline int open_store(void **state)
{
	(void)state;
	return no_keyring ? 0 : store_open(&store, socket_name);
}

static inline int purge_store(void **state)
{
	(void)state;
	return no_keyring ? 0 : store_purge(&store);
}

static inline int end_keyring(void **state)
{
	(void)state;
	for (uid_t uid = first_user; !no_keyring && uid < next_user; uid++) {
		long persistent = keyctl_get_persistent(uid, KEY_SPEC_THREAD_KEYRING);

		if (persistent > 0)
			keyctl_revoke((key_serial_t)persistent);
		keyctl_clear(KEY_SPEC_THREAD_KEYRING);
	}
	return 0;
}

#define with_store(test) cmocka_unit_test_setup_teardown(test, open_store, purge_store)

static inline void make_token(struct buffer *token, const char *text)
{
	buffer_init(token, WIRE_TOKEN_MAX);
	buffer_put(token, text, strlen(text));
}

static inline struct store_record make_record(unsigned int life, const char *fingerprint)
{
	struct store_record record = { .kind = 1, .definition = NULL };

	record.fetched = (uint64_t)time(NULL);
	record.expires = record.fetched + life;
	record.refresh = record.fetched + life / 2;
	snprintf(record.fingerprint, sizeof(record.fingerprint), "%s", fingerprint);
	return record;
}

/* One token for one user, for life seconds. */
static inline void give(uid_t uid, const char *credential, const char *text, unsigned int life)
{
	struct store_record record = make_record(life, "00000000");
	struct buffer token;

	make_token(&token, text);
	assert_int_equal(store_put_copy(&store, uid, credential, &token, &record), 0);
	buffer_free(&token);
}

static inline key_serial_t ring_of(uid_t uid)
{
	char name[32];
	key_serial_t holder;

	snprintf(name, sizeof(name), "keyfob-uid:%u", uid);
	holder = key_search(store.anchor, "keyring", name);
	return holder < 0 ? holder : key_search(holder, "keyring", KEY_RING);
}

/* Run test in a child that is uid and has a session keyring of its own, as after a login. */
static inline int as_user(uid_t uid, int (*test)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ||
			keyctl_join_session_keyring(NULL) < 0)
			_exit(100);
		_exit(test());
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

#define NO_TIMEOUT (-1)
#define NOT_LISTED (-2)

/* Seconds that a key stands, as /proc/keys has it, to its precision; 0: expired. */
static inline long key_timeout(key_serial_t key)
{
	static const struct {
		char unit;
		long factor;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 7 * 86400 } };
	FILE *keys = fopen("/proc/keys", "re");
	char line[8192], word[16];
	long timeout = NOT_LISTED;
	unsigned int serial;

	while (keys && fgets(line, sizeof(line), keys)) {
		if (sscanf(line, "%x %*s %*s %15s", &serial, word) != 2 || serial != (unsigned int)key)
			continue;
		timeout = strcmp(word, "perm") == 0 ? NO_TIMEOUT : 0;
		for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
			if (strchr(word, units[i].unit) && word[0] >= '0' && word[0] <= '9')
				timeout = strtol(word, NULL, 10) * units[i].factor;
	}
	if (keys)
		fclose(keys);
	return timeout;
}

/* How many keys are charged to a uid (proc_key_users(5)); 0 when the kernel knows none of his. */
static inline long charged_keys(uid_t uid)
{
	FILE *users = fopen("/proc/key-users", "re");
	char line[256];
	unsigned int who;
	long charged, found = 0;

	while (users && fgets(line, sizeof(line), users))
		if (sscanf(line, "%u: %*d %*d/%*d %ld/", &who, &charged) == 2 && who == uid)
			found = charged;
	if (users)
		fclose(users);
	return found;
}

static inline key_serial_t find(key_serial_t ring, const char *prefix, const char *credential)
{
	char name[KEY_NAME_SIZE];

	snprintf(name, sizeof(name), "%s%s", prefix, credential);
	return key_search(ring, "user", name);
}

static inline void read_text(key_serial_t key, char *text, size_t size)
{
	struct buffer b;

	buffer_init(&b, 40000);
	assert_int_equal(key_read(key, &b), 0);
	snprintf(text, size, "%s", buffer_cstring(&b));
	buffer_free(&b);
}

static inline void check_description(key_serial_t key, const char *type, const char *name, uint32_t perm)
{
	struct key_description d;

	assert_int_equal(key_describe(key, &d), 0);
	assert_string_equal(d.type, type);
	assert_string_equal(d.name, name);
	assert_int_equal(d.perm, perm);
	assert_int_equal(d.uid, 0);
}

static inline bool is_dead(key_serial_t key)
{
	struct key_description d;
	int error = key_describe(key, &d);

	return error == -EKEYREVOKED || error == -ENOKEY;
}

/* Nothing below a user's ring, nor the ring, is without a timeout. */
static inline void check_reachable(key_serial_t key)
{
	struct key_description d;
	struct buffer list;

	assert_int_equal(key_describe(key, &d), 0);
	if (key_timeout(key) <= 0)
		fail_msg("%s %s can be reached and has no timeout", d.type, d.name);
	if (strcmp(d.type, "keyring") != 0)
		return;
	buffer_init(&list, 65536);
	assert_int_equal(key_read(key, &list), 0);
	for (size_t at = 0; at < list.length; at += sizeof(key_serial_t)) {
		key_serial_t child;

		memcpy(&child, list.data + at, sizeof(child));
		check_reachable(child);
	}
	buffer_free(&list);
}

/* Wait for what the kernel does in its own time, a minute at most. */
static inline bool until(bool (*is_so)(void))
{
	for (int i = 0; i < 1200; i++) {
		if (is_so())
			return true;
		usleep(50000);
	}
	return false;
}

#endif
