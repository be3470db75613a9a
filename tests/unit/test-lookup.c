/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader's way to his token in the real keyring, whatever else he or
 * another has put there.
 *
 * links: keyring/lookup keyring/store keyring/store-copy keyring/store-own keyring/keyctl common/buffer common/wire
 * libs: libkeyutils
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>

#include "keyring/lookup.h"
#include "tests/unit/keyring-fixture.h"

#define ROUNDS 300

static uid_t reader;

static int set_up(void **state)
{
	if (no_keyring)
		return 0;
	reader = new_user();
	return open_store(state);
}

/* The reader's token, in his ring, in his persistent keyring. */
static void publish(const char *text)
{
	give(reader, "a", text, 3600);
	assert_int_equal(store_link_ring(&store, reader), 0);
}

static int look(struct lookup *l, char *text, size_t size)
{
	struct lookup_hit hit = { 0 };
	struct buffer token;
	int error;

	buffer_init(&token, WIRE_TOKEN_MAX);
	error = lookup_token(l, "a", &token, &hit);
	snprintf(text, size, "%s", error == 0 ? buffer_cstring(&token) : "");
	if (error == 0 && (hit.serial <= 0 || hit.expires <= time(NULL) + 3000 || hit.expires > time(NULL) + 3600))
		error = -EBADMSG;
	if (error < 0 && token.length)
		error = -EBADMSG;
	buffer_free(&token);
	return error;
}

static int finds_nothing(void)
{
	struct lookup l = { 0 };
	char text[100];

	need(look(&l, text, sizeof(text)) == -ENOKEY);
	return 0;
}

static int finds_token(void)
{
	struct lookup l = { 0 };
	char text[100];

	need(look(&l, text, sizeof(text)) == 0 && strcmp(text, "token") == 0);
	need(l.ring > 0 && !l.unsupported);
	need(look(&l, text, sizeof(text)) == 0 && strcmp(text, "token") == 0);
	return 0;
}

/* --- what is found ------------------------------------------------------------------- */

static int finds_for_nothing(void)
{
	long before = charged_keys(getuid());

	need(before > 0);
	for (int i = 0; i < 3; i++)
		need(finds_token() == 0);
	need(charged_keys(getuid()) <= before); /* the kernel may forget others meanwhile */
	return 0;
}

static int finds_after_login(void)
{
	need(keyctl_get_persistent((uid_t)-1, KEY_SPEC_SESSION_KEYRING) > 0);
	return finds_for_nothing();
}

static int finds_nothing_for_nothing(void)
{
	long before = charged_keys(getuid());

	need(finds_nothing() == 0);
	need(charged_keys(getuid()) <= before); /* the kernel may forget others meanwhile */
	return 0;
}

/* A session keyring of one's own is enough: no further key is charged to the user, found or not. */
static void test_costs_no_key(void **state)
{
	need_keyring();
	assert_int_equal(as_user(reader, finds_nothing_for_nothing), 0);
	publish("token");
	assert_int_equal(as_user(reader, finds_for_nothing), 0);
	assert_int_equal(as_user(reader, finds_after_login), 0);
	assert_int_equal(as_user(new_user(), finds_nothing), 0);
}

static int keeps_up(void)
{
	struct lookup l = { 0 };
	char text[100];
	uid_t uid = getuid();

	need(look(&l, text, sizeof(text)) == 0 && strcmp(text, "token") == 0);
	need(seteuid(0) == 0);
	give(uid, "a", "second", 3600);
	need(seteuid(uid) == 0);
	need(look(&l, text, sizeof(text)) == 0 && strcmp(text, "second") == 0);
	need(seteuid(0) == 0);
	need(store_revoke_copy(&store, uid, "a") == 0);
	need(seteuid(uid) == 0);
	need(look(&l, text, sizeof(text)) == -ENOKEY);
	/* The ring itself dies and comes again. */
	need(seteuid(0) == 0);
	need(keyctl_revoke(ring_of(uid)) == 0);
	give(uid, "a", "third", 3600);
	need(store_link_ring(&store, uid) == 0);
	need(seteuid(uid) == 0);
	need(look(&l, text, sizeof(text)) == 0 && strcmp(text, "third") == 0);
	return 0;
}

/* As as_user(), and can become root again. */
static int as_user_and_root(uid_t uid, int (*test)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (setresuid(uid, uid, 0) < 0 || keyctl_join_session_keyring(NULL) < 0)
			_exit(100);
		_exit(test());
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

static void test_follows_changes(void **state)
{
	need_keyring();
	publish("token");
	assert_int_equal(as_user_and_root(reader, keeps_up), 0);
}

static int stop_reading;

/* Each token names the expiry that it was given with, and the one told for it must be that. */
static int reads_until_stopped(void)
{
	struct lookup l = { 0 };
	struct lookup_hit hit;
	struct buffer token;
	long long expires;
	char byte;

	buffer_init(&token, WIRE_TOKEN_MAX);
	while (read(stop_reading, &byte, 1) < 0 && errno == EAGAIN) {
		need(lookup_token(&l, "a", &token, &hit) == 0);
		need(sscanf(buffer_cstring(&token), "expires %lld", &expires) == 1);
		need(expires == (long long)hit.expires);
	}
	buffer_free(&token);
	return 0;
}

static void replace(unsigned int round)
{
	struct store_record record = make_record(3600 + 10 * round, "00000000");
	struct buffer token;

	buffer_init(&token, 100);
	buffer_printf(&token, "expires %lld", (long long)record.expires);
	assert_int_equal(store_put_copy(&store, reader, "a", &token, &record), 0);
	buffer_free(&token);
}

static void test_replaced_while_reading(void **state)
{
	int status, stop[2];
	pid_t pid;

	need_keyring();
	replace(0);
	assert_int_equal(store_link_ring(&store, reader), 0);
	assert_int_equal(pipe2(stop, O_CLOEXEC | O_NONBLOCK), 0);
	stop_reading = stop[0];
	pid = fork();
	if (pid == 0) {
		close(stop[1]);
		_exit(as_user(reader, reads_until_stopped) == 0 ? 0 : 1);
	}
	for (unsigned int i = 1; i < ROUNDS; i++) {
		replace(i);
		usleep(1000); /* no broker is faster, and a reader gives up who never sees a moment's rest */
	}
	close(stop[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(stop[0]);
}

static void test_stands(void **state)
{
	key_serial_t key;

	need_keyring();
	publish("token");
	key = find(ring_of(reader), KEY_TOKEN_PREFIX, "a");
	assert_true(lookup_stands(key, 5));
	assert_false(lookup_stands(key, 4));
	assert_int_equal(store_revoke_copy(&store, reader, "a"), 0);
	assert_false(lookup_stands(key, 5));
	assert_false(lookup_stands(0, 0));
}

/* --- what others put there ---------------------------------------------------------------- */

/* As good a forgery as a user can make. */
static key_serial_t plant(const char *name, key_serial_t in)
{
	key_serial_t ring = add_key("keyring", name, NULL, 0, in), key;
	struct key_record record = { .expires = (uint64_t)time(NULL) + 3300 };
	struct buffer info;

	if (ring < 0)
		return ring;
	key = add_key("user", "keyfob:a", "false", 5, ring);
	record.serial = key;
	strcpy(record.fingerprint, "00000000");
	snprintf(record.broker, sizeof(record.broker), "%s", socket_name);
	buffer_init(&info, 512);
	key_record_format(&record, &info);
	keyctl_setperm(key, KEY_TOKEN_PERM);
	key = add_key("user", "keyfob-info:a", info.data, info.length, ring);
	keyctl_setperm(key, KEY_TOKEN_PERM);
	buffer_free(&info);
	return ring;
}

static int plants_in_session(void)
{
	need(add_key("user", "keyfob:a", "false", 5, KEY_SPEC_SESSION_KEYRING) > 0);
	need(plant(KEY_RING, KEY_SPEC_SESSION_KEYRING) > 0);
	need(finds_token() == 0);
	need(finds_after_login() == 0);
	return 0;
}

static int plants_deeper(void)
{
	long persistent = keyctl_get_persistent((uid_t)-1, KEY_SPEC_SESSION_KEYRING);
	key_serial_t other;

	need(persistent > 0);
	need((other = plant("other", (key_serial_t)persistent)) > 0);
	need(plant(KEY_RING, other) > 0);
	need(finds_token() == 0);
	return 0;
}

static int plants_persistent(void)
{
	char name[32];
	key_serial_t persistent;

	snprintf(name, sizeof(name), "_persistent.%u", getuid());
	need((persistent = plant(name, KEY_SPEC_SESSION_KEYRING)) > 0);
	need(plant(KEY_RING, persistent) > 0);
	return finds_nothing();
}

static int displaces_ring(void)
{
	long persistent = keyctl_get_persistent((uid_t)-1, KEY_SPEC_SESSION_KEYRING);
	key_serial_t ring;

	need(persistent > 0);
	need((ring = plant(KEY_RING, (key_serial_t)persistent)) > 0);
	need(finds_nothing() == 0);
	need(keyctl_setperm(ring, KEY_RING_PERM) == 0);
	return finds_nothing();
}

static void test_planted(void **state)
{
	need_keyring();
	publish("token");
	assert_int_equal(as_user(reader, plants_in_session), 0);
	assert_int_equal(as_user(reader, plants_persistent), 0);
	assert_int_equal(as_user(reader, plants_deeper), 0);
	assert_int_equal(as_user(reader, displaces_ring), 0);
}

static void put_by_hand(const char *name, const char *payload, uint32_t perm)
{
	key_serial_t key = add_key("user", name, payload, strlen(payload), KEY_SPEC_THREAD_KEYRING);

	assert_int_equal(keyctl_setperm(key, perm), 0);
	assert_int_equal(keyctl_set_timeout(key, 3600), 0);
	assert_int_equal(keyctl_link(key, ring_of(reader)), 0);
	assert_int_equal(keyctl_clear(KEY_SPEC_THREAD_KEYRING), 0);
}

/* A token of which nobody says when it ends, or whose masks are not the broker's, is none. */
static void test_not_whole(void **state)
{
	char info[200];
	key_serial_t key;

	need_keyring();
	publish("token");
	key = find(ring_of(reader), KEY_TOKEN_PREFIX, "a");
	snprintf(info, sizeof(info), "v1 serial=%d expires=%lld refresh=0 fingerprint=00000000 previous=0:0 broker=/s", key,
		(long long)time(NULL) + 3300);
	put_by_hand("keyfob-info:a", info, KEY_TOKEN_PERM);
	assert_int_equal(as_user(reader, finds_token), 0);
	put_by_hand("keyfob-info:a", info, KEY_ROOT_PERM);
	assert_int_equal(as_user(reader, finds_nothing), 0);
	snprintf(info, sizeof(info), "v1 serial=%d expires=%lld refresh=0 fingerprint=00000000 previous=0:0 broker=/s", key,
		(long long)time(NULL) - 1);
	put_by_hand("keyfob-info:a", info, KEY_TOKEN_PERM);
	assert_int_equal(as_user(reader, finds_nothing), 0);
	put_by_hand("keyfob-info:a", "v1 serial=1 expires=99999999999 refresh=0 fingerprint=00000000 previous=2:99999999999 broker=/s",
		KEY_TOKEN_PERM);
	assert_int_equal(as_user(reader, finds_nothing), 0);
	put_by_hand("keyfob-info:a", "nonsense", KEY_TOKEN_PERM);
	assert_int_equal(as_user(reader, finds_nothing), 0);
	publish("token");
	assert_int_equal(keyctl_revoke(find(ring_of(reader), KEY_INFO_PREFIX, "a")), 0);
	assert_int_equal(as_user(reader, finds_nothing), 0);
	publish("token");
	assert_int_equal(as_user(reader, finds_token), 0);
	put_by_hand("keyfob:a", "false", KEY_ROOT_PERM);
	assert_int_equal(as_user(reader, finds_nothing), 0);
}

/* --- whose session it is -------------------------------------------------------------------- */

static size_t session_links(void)
{
	long length = keyctl_read(KEY_SPEC_SESSION_KEYRING, NULL, 0);

	return length < 0 ? SIZE_MAX : (size_t)length / sizeof(key_serial_t);
}

/* As after setpriv or in a service: root's session keyring is still there, and stays as it is. */
static int finds_without_own_session(void)
{
	long before = charged_keys(reader);

	need(setresgid(reader, reader, reader) == 0 && setresuid(reader, reader, reader) == 0);
	need(finds_token() == 0);
	need(charged_keys(reader) == before + 1);
	return 0;
}

/* A crowd of readers does not take the keys that the user's next login wants. */
static int leaves_half_of_keys(void)
{
	FILE *sysctl = fopen("/proc/sys/kernel/keys/maxkeys", "re");
	long limit = 0, before;
	char name[32];

	need(sysctl && fscanf(sysctl, "%ld", &limit) == 1 && fclose(sysctl) == 0);
	need(setresgid(reader, reader, reader) == 0 && setresuid(reader, reader, reader) == 0);
	/* More than half: the kernel may yet forget what was charged before. */
	for (long i = 0; charged_keys(reader) < limit * 3 / 4; i++) {
		snprintf(name, sizeof(name), "%ld", i);
		need(i < limit && add_key("user", name, "x", 1, KEY_SPEC_USER_KEYRING) > 0);
	}
	before = charged_keys(reader);
	need(finds_nothing() == 0);
	need(charged_keys(reader) <= before);
	/* What his session leads to costs nothing. */
	need(keyctl_join_session_keyring(NULL) > 0);
	need(finds_token() == 0);
	return 0;
}

/* What root starts as another user often keeps his session keyring. */
static int root_links_nothing(void)
{
	struct lookup l = { 0 };
	struct lookup_hit hit;
	struct buffer token;

	need(keyctl_join_session_keyring(NULL) > 0);
	buffer_init(&token, WIRE_TOKEN_MAX);
	need(lookup_token(&l, "keyfob-test-no-such", &token, &hit) == -ENOKEY);
	buffer_free(&token);
	need(session_links() == 0);
	return 0;
}

/* As with sudo: root in a session keyring that is a user's, who would see and own what root links there. */
static int root_in_users_session(void)
{
	char before[4096], after[4096];
	struct lookup l = { 0 };
	struct buffer token;
	struct lookup_hit hit;
	long length;
	int error;

	need(setresuid(reader, reader, 0) == 0);
	need(keyctl_join_session_keyring(NULL) > 0);
	need(keyctl_get_persistent((uid_t)-1, KEY_SPEC_SESSION_KEYRING) > 0);
	need((length = keyctl_read(KEY_SPEC_SESSION_KEYRING, before, sizeof(before))) > 0);
	need(setresuid(0, 0, 0) == 0);
	buffer_init(&token, WIRE_TOKEN_MAX);
	error = lookup_token(&l, "keyfob-test-no-such", &token, &hit);
	buffer_free(&token);
	need(error == -ENOKEY);
	need(setresuid(reader, reader, reader) == 0);
	need(keyctl_read(KEY_SPEC_SESSION_KEYRING, after, sizeof(after)) == length);
	need(memcmp(before, after, (size_t)length) == 0);
	return 0;
}

/* Root does not take the token of the user whose session this is for his own. */
static int root_finds_no_users_token(void)
{
	struct lookup l = { 0 };
	struct buffer token;
	struct lookup_hit hit;

	need(setresuid(reader, reader, 0) == 0);
	need(keyctl_join_session_keyring(NULL) > 0);
	need(finds_token() == 0);
	need(setresuid(0, 0, 0) == 0);
	buffer_init(&token, WIRE_TOKEN_MAX);
	need(lookup_token(&l, "keyfob-test-private", &token, &hit) == -ENOKEY);
	need(token.length == 0);
	buffer_free(&token);
	return 0;
}

static uid_t second_user;

/* Set-user-id: the session is the caller's, the token is the program owner's. */
static int finds_as_effective_user(void)
{
	size_t links;

	need(setresuid(second_user, second_user, 0) == 0);
	need(keyctl_join_session_keyring(NULL) > 0);
	links = session_links();
	need(finds_nothing() == 0);
	need(setresuid(second_user, 0, 0) == 0 && setresuid(second_user, reader, 0) == 0);
	need(finds_token() == 0);
	need(setresuid(second_user, 0, 0) == 0 && setresuid(second_user, second_user, second_user) == 0);
	need(session_links() <= links + 1);
	return 0;
}

static int in_child(int (*test)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(test());
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

static void test_another_ones_session(void **state)
{
	size_t links;

	need_keyring();
	publish("token");
	give(reader, "keyfob-test-private", "token", 3600);
	links = session_links();
	assert_int_equal(in_child(finds_without_own_session), 0);
	assert_int_equal(session_links(), links);
	assert_int_equal(in_child(root_in_users_session), 0);
	assert_int_equal(in_child(root_finds_no_users_token), 0);
	assert_int_equal(in_child(root_links_nothing), 0);
	second_user = new_user();
	assert_int_equal(in_child(finds_as_effective_user), 0);
	assert_int_equal(in_child(leaves_half_of_keys), 0);
}

/* --- where there is none ----------------------------------------------------------------------- */

static int in_user_namespace(void)
{
	struct lookup l = { 0 };
	char text[100];

	if (unshare(CLONE_NEWUSER) < 0)
		return 77;
	need(look(&l, text, sizeof(text)) == -EOPNOTSUPP);
	need(l.unsupported);
	need(look(&l, text, sizeof(text)) == -EOPNOTSUPP);
	return 0;
}

static void test_user_namespace(void **state)
{
	int status;

	need_keyring();
	publish("token");
	status = as_user(reader, in_user_namespace);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

#define in_store(test) cmocka_unit_test_setup_teardown(test, set_up, purge_store)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_store(test_costs_no_key),
		in_store(test_follows_changes),
		in_store(test_replaced_while_reading),
		in_store(test_stands),
		in_store(test_planted),
		in_store(test_not_whole),
		in_store(test_another_ones_session),
		in_store(test_user_namespace),
	};

	return cmocka_run_group_tests(tests, start_keyring, end_keyring);
}
