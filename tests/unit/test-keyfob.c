/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libkeyfob as a program sees it: from the real keyring, and over the socket
 * of a made-up broker.
 *
 * links: keyring/keyfob keyring/client keyring/lookup keyring/store keyring/store-copy keyring/store-own keyring/keyctl common/buffer common/wire
 * libs: libkeyutils libseccomp
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "keyring/keyfob.h"
#include "tests/unit/fake-broker.h"
#include "tests/unit/keyring-fixture.h"

/* No broker has it, so the keyring never does. */
#define NAME "keyfob-test-socket-only"
#define LATER 4102444800ull

/* --- arguments ------------------------------------------------------------------------ */

static void test_bad_arguments(void **state)
{
	static const char *const names[] = { "", ".", "a/b", "-a", "a b", "a\n" };
	struct keyfob_token *token = NULL, *untouched = (struct keyfob_token *)(uintptr_t)16;
	struct keyfob *kf = NULL;
	char text[8];

	(void)state;
	assert_int_equal(keyfob_open(NULL), KEYFOB_EINVAL);
	assert_int_equal(keyfob_open(&kf), 0);
	assert_int_equal(keyfob_get(NULL, "a", &token), KEYFOB_EINVAL);
	assert_int_equal(keyfob_get(kf, NULL, &token), KEYFOB_EINVAL);
	assert_int_equal(keyfob_get(kf, "a", NULL), KEYFOB_EINVAL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(keyfob_get(kf, names[i], &untouched), KEYFOB_EINVAL);
		assert_int_equal(keyfob_reject(kf, names[i], "t"), KEYFOB_EINVAL);
	}
	assert_ptr_equal(untouched, (void *)(uintptr_t)16);
	assert_int_equal(keyfob_reject(NULL, "a", "t"), KEYFOB_EINVAL);
	assert_int_equal(keyfob_reject(kf, NULL, "t"), KEYFOB_EINVAL);
	assert_int_equal(keyfob_reject(kf, "a", NULL), KEYFOB_EINVAL);
	assert_int_equal(keyfob_message(NULL, text, sizeof(text)), 0);
	assert_int_equal(keyfob_message(kf, text, sizeof(text)), 0);
	assert_string_equal(text, "");
	keyfob_token_free(&token);
	keyfob_token_free(NULL);
	keyfob_close(&kf);
	assert_null(kf);
	keyfob_close(&kf);
	keyfob_close(NULL);
}

static void test_strerror(void **state)
{
	(void)state;
	for (int i = 0; i > -10; i--) {
		assert_string_not_equal(keyfob_strerror(i), "unknown error");
		for (int j = 0; j > i; j--)
			assert_string_not_equal(keyfob_strerror(i), keyfob_strerror(j));
	}
	assert_string_equal(keyfob_strerror(1), "unknown error");
	assert_string_equal(keyfob_strerror(-10), "unknown error");
}

/* --- over the socket --------------------------------------------------------------------- */

static int start_fake(void **state)
{
	(void)state;
	return fake_start(geteuid());
}

static int stop_fake(void **state)
{
	(void)state;
	fake_stop();
	return 0;
}

static void check_message(struct keyfob *kf, const char *wanted)
{
	char text[WIRE_TEXT_MAX];

	keyfob_message(kf, text, sizeof(text));
	assert_string_equal(text, wanted);
}

static void test_socket_get(void **state)
{
	struct keyfob_token *token = NULL;
	struct keyfob *kf;
	char *large = malloc(WIRE_TOKEN_MAX);
	struct reader r;
	char name[100];

	(void)state;
	assert_int_equal(keyfob_open(&kf), 0);
	fake_token("from the broker", 15, LATER);
	assert_int_equal(keyfob_get(kf, NAME, &token), 0);
	assert_string_equal(keyfob_token_value(token), "from the broker");
	assert_int_equal(keyfob_token_length(token), 15);
	assert_true(keyfob_token_expires(token) == (time_t)LATER);
	keyfob_token_free(&token);
	assert_null(token);
	reader_init(&r, fake.request.data, fake.request.length);
	assert_int_equal(reader_u8(&r), WIRE_VERSION);
	assert_int_equal(reader_u8(&r), WIRE_GET);
	reader_text(&r, name, sizeof(name));
	assert_string_equal(name, NAME);
	assert_true(reader_done(&r));
	/* Nothing vouches for such a token later, so it is asked for each time. */
	memset(large, 't', WIRE_TOKEN_MAX);
	fake_token(large, WIRE_TOKEN_MAX, LATER);
	assert_int_equal(keyfob_get(kf, NAME, &token), 0);
	assert_int_equal(fake.requests, 2);
	keyfob_close(&kf);
	assert_int_equal(keyfob_token_length(token), WIRE_TOKEN_MAX);
	assert_int_equal(strlen(keyfob_token_value(token)), WIRE_TOKEN_MAX);
	keyfob_token_free(&token);
	free(large);
}

static void test_socket_errors(void **state)
{
	struct keyfob_token *token, *before = (struct keyfob_token *)(uintptr_t)16;
	struct keyfob *kf;
	char text[10];

	(void)state;
	token = before;
	assert_int_equal(keyfob_open(&kf), 0);
	for (int error = KEYFOB_EFAIL; error >= KEYFOB_EAGAIN; error--) {
		fake_error((uint8_t)-error, 0, "in the broker's words");
		assert_int_equal(keyfob_get(kf, NAME, &token), error);
		check_message(kf, "in the broker's words");
	}
	fake_error(8, 17, "later");
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EAGAIN);
	check_message(kf, "later (try again in 17 s)");
	/* Cut, and told how long it is, as snprintf(3) does. */
	assert_int_equal(keyfob_message(kf, text, sizeof(text)), 25);
	assert_string_equal(text, "later (tr");
	assert_int_equal(keyfob_message(kf, NULL, 0), 25);
	/* What the caller had is his still. */
	assert_ptr_equal(token, before);
	keyfob_close(&kf);
}

/* Whatever the other side sends, the caller gets no token of it. */
static void test_socket_malformed(void **state)
{
	struct keyfob_token *token = NULL;
	struct keyfob *kf;
	char *large = calloc(1, WIRE_MAX + 100);

	(void)state;
	assert_int_equal(keyfob_open(&kf), 0);
	fake_token("", 0, LATER);
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	check_message(kf, "the broker's answer is malformed");
	fake_token("a\0b", 3, LATER);
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	memset(large, 't', WIRE_MAX + 100);
	fake_token(large, WIRE_TOKEN_MAX + 1, LATER);
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	fake_token(large, WIRE_MAX + 100, LATER);
	assert_true(keyfob_get(kf, NAME, &token) < 0);
	fake_token("token", 5, LATER);
	fake.reply.data[0] = WIRE_VERSION + 1;
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	check_message(kf, "the answer is malformed: do client and server have one version?");
	for (size_t cut = 1; cut < 2 + 4 + 5 + 8; cut++) {
		fake_token("token", 5, LATER);
		fake.reply.length = cut;
		assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	}
	for (unsigned int code = 9; code < 256; code += 41) {
		fake_error((uint8_t)code, 0, "text");
		assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	}
	fake_error(4, 0, "text");
	buffer_put_u8(&fake.reply, 0);
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	large[WIRE_TEXT_MAX] = 0;
	fake_error(4, 0, large);
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	/* Hung up without a word. */
	buffer_clear(&fake.reply);
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	assert_null(token);
	keyfob_close(&kf);
	free(large);
}

static void test_reject(void **state)
{
	struct keyfob *kf;
	struct reader r;
	char text[100], *large = malloc(WIRE_MAX + 1);

	(void)state;
	assert_int_equal(keyfob_open(&kf), 0);
	fake_reply(WIRE_VERSION, 0);
	assert_int_equal(keyfob_reject(kf, NAME, "the token"), 0);
	reader_init(&r, fake.request.data, fake.request.length);
	assert_int_equal(reader_u8(&r), WIRE_VERSION);
	assert_int_equal(reader_u8(&r), WIRE_REJECT);
	reader_text(&r, text, sizeof(text));
	assert_string_equal(text, NAME);
	reader_text(&r, text, sizeof(text));
	assert_string_equal(text, "the token");
	assert_true(reader_done(&r));
	fake_error(4, 0, "not yours");
	assert_int_equal(keyfob_reject(kf, NAME, "the token"), KEYFOB_EDENIED);
	check_message(kf, "not yours");
	/* What fits into no frame is not sent in part. */
	memset(large, 't', WIRE_MAX);
	large[WIRE_MAX] = 0;
	fake_reply(WIRE_VERSION, 0);
	fake.requests = 0;
	assert_int_equal(keyfob_reject(kf, NAME, large), KEYFOB_EINVAL);
	assert_int_equal(fake.requests, 0);
	keyfob_close(&kf);
	free(large);
}

static void test_no_broker(void **state)
{
	struct keyfob_token *token = NULL;
	struct keyfob *kf;
	char path[300];

	(void)state;
	assert_int_equal(keyfob_open(&kf), 0);
	setenv("KEYFOB_SOCKET", "/nonexistent/keyfob-test.sock", 1);
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	check_message(kf, "cannot reach the broker at /nonexistent/keyfob-test.sock: No such file or directory");
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	setenv("KEYFOB_SOCKET", path, 1);
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EINVAL);
	assert_null(token);
	unsetenv("KEYFOB_SOCKET");
	keyfob_close(&kf);
}

/* Who may listen where a client looks is not by that the broker. */
static void test_stranger(void **state)
{
	struct keyfob_token *token = NULL;
	struct keyfob *kf;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(fake_start(first_user), 0);
	fake_token("false", 5, LATER);
	assert_int_equal(keyfob_open(&kf), 0);
	assert_int_equal(keyfob_get(kf, NAME, &token), KEYFOB_EBROKER);
	assert_int_equal(keyfob_reject(kf, NAME, "secret"), KEYFOB_EBROKER);
	assert_null(token);
	keyfob_close(&kf);
	fake_stop();
	assert_int_equal(fake.requests, 0);
}

/* --- from the keyring ------------------------------------------------------------------------ */

static uid_t user, other_user;
static int stop_reading;

static int set_up(void **state)
{
	if (no_keyring)
		return 0;
	user = new_user();
	/* Nobody listens there, but its broker is the one that is meant. */
	setenv("KEYFOB_SOCKET", socket_name, 1);
	return open_store(state);
}

static void publish(uid_t uid, const char *text)
{
	give(uid, "a", text, 3600);
	assert_int_equal(store_link_ring(&store, uid), 0);
}

static bool gets(struct keyfob *kf, const char *wanted)
{
	struct keyfob_token *token = NULL;
	bool ok = keyfob_get(kf, "a", &token) == 0 && strcmp(keyfob_token_value(token), wanted) == 0 &&
		  keyfob_token_length(token) == strlen(wanted) && keyfob_token_expires(token) > time(NULL) + 3000;

	keyfob_token_free(&token);
	return ok;
}

/* Test in a child that is root still, and so may be anybody. */
static int in_child(int (*test)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(keyctl_join_session_keyring(NULL) < 0 ? 100 : test());
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

static bool become(uid_t uid)
{
	return setresuid(0, 0, 0) == 0 && setresuid(uid, uid, 0) == 0;
}

static int sees_revoke_at_once(void)
{
	struct keyfob_token *token = NULL;
	struct keyfob *kf;

	need(become(user) && keyctl_join_session_keyring(NULL) > 0);
	need(keyfob_open(&kf) == 0);
	for (int i = 0; i < 3; i++)
		need(gets(kf, "first"));
	need(become(0));
	give(user, "a", "second", 3600);
	need(become(user));
	need(gets(kf, "second"));
	need(become(0));
	need(store_revoke_copy(&store, user, "a") == 0);
	need(become(user));
	/* No broker to ask: the old one is not brought out again. */
	need(keyfob_get(kf, "a", &token) == KEYFOB_EBROKER && !token);
	need(become(0));
	give(user, "a", "third", 3600);
	need(become(user));
	need(gets(kf, "third"));
	keyfob_close(&kf);
	return 0;
}

static void test_revoke(void **state)
{
	need_keyring();
	publish(user, "first");
	assert_int_equal(in_child(sees_revoke_at_once), 0);
}

static int child_gets(struct keyfob *kf, const char *wanted)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(20);
		_exit(gets(kf, wanted) && gets(kf, wanted) ? 0 : 1);
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

static struct keyfob *forks_inside; /* a handle, while its lock is held */
static int inside_got;
static bool no_fork_mark;

/* In place of the libraries' calls. */
long keyctl_read(key_serial_t key, char *to, size_t size)
{
	struct keyfob *kf = forks_inside;

	forks_inside = NULL;
	if (kf)
		inside_got = child_gets(kf, "mine");
	return syscall(SYS_keyctl, KEYCTL_READ, key, to, size);
}

int madvise(void *address, size_t length, int advice)
{
	if (no_fork_mark)
		errno = EINVAL;
	return no_fork_mark ? -1 : (int)syscall(SYS_madvise, address, length, advice);
}

/* The token hangs on the parent's process keyring, which a child does not have: it must look for itself. */
static int survives_fork(void)
{
	struct keyfob *kf;

	need(become(user));
	need(keyfob_open(&kf) == 0);
	need(gets(kf, "mine"));
	need(child_gets(kf, "mine") == 0);
	need(gets(kf, "mine"));
	forks_inside = kf;
	inside_got = -1;
	need(gets(kf, "mine"));
	need(inside_got == 0);
	keyfob_close(&kf);
	return 0;
}

static void test_fork(void **state)
{
	need_keyring();
	publish(user, "mine");
	assert_int_equal(in_child(survives_fork), 0);
	no_fork_mark = true;
	assert_int_equal(in_child(survives_fork), 0);
	no_fork_mark = false;
}

static int follows_uid(void)
{
	struct keyfob_token *token = NULL;
	struct keyfob *kf;

	need(keyfob_open(&kf) == 0);
	need(become(user) && gets(kf, "mine"));
	need(become(other_user) && gets(kf, "another's"));
	need(become(user) && gets(kf, "mine"));
	need(become(other_user + 1));
	need(keyfob_get(kf, "a", &token) == KEYFOB_EBROKER && !token);
	need(become(user) && setresuid(user, user, user) == 0 && gets(kf, "mine"));
	keyfob_close(&kf);
	return 0;
}

static void test_setuid(void **state)
{
	need_keyring();
	other_user = new_user();
	new_user();
	publish(user, "mine");
	publish(other_user, "another's");
	assert_int_equal(in_child(follows_uid), 0);
}

static void *get_until_stopped(void *arg)
{
	struct keyfob *kf = arg;
	char byte;

	while (read(stop_reading, &byte, 1) < 0 && errno == EAGAIN) {
		struct keyfob_token *token = NULL;
		char wanted[32];

		if (keyfob_get(kf, "a", &token) < 0)
			return NULL;
		snprintf(wanted, sizeof(wanted), "expires %lld", (long long)keyfob_token_expires(token));
		if (strcmp(keyfob_token_value(token), wanted) != 0)
			return NULL;
		keyfob_token_free(&token);
	}
	return kf;
}

static int threads_get(void)
{
	pthread_t threads[8];
	struct keyfob *kf;
	void *back;
	int failed = 0;

	need(keyfob_open(&kf) == 0);
	for (size_t i = 0; i < 8; i++)
		need(pthread_create(&threads[i], NULL, get_until_stopped, kf) == 0);
	for (size_t i = 0; i < 8; i++) {
		need(pthread_join(threads[i], &back) == 0);
		failed += back != kf;
	}
	need(failed == 0);
	keyfob_close(&kf);
	return 0;
}

static void test_threads(void **state)
{
	int status, stop[2];
	pid_t pid;

	need_keyring();
	assert_int_equal(pipe2(stop, O_CLOEXEC | O_NONBLOCK), 0);
	stop_reading = stop[0];
	for (unsigned int i = 0; i < 100; i++) {
		struct store_record record = make_record(3600 + 10 * i, "00000000");
		struct buffer token;

		buffer_init(&token, 100);
		buffer_printf(&token, "expires %lld", (long long)record.expires);
		assert_int_equal(store_put_copy(&store, user, "a", &token, &record), 0);
		buffer_free(&token);
		if (i == 0) {
			assert_int_equal(store_link_ring(&store, user), 0);
			pid = fork();
			if (pid == 0) {
				close(stop[1]);
				_exit(as_user(user, threads_get) == 0 ? 0 : 1);
			}
		}
		usleep(2000);
	}
	close(stop[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(stop[0]);
}

/* --- both -------------------------------------------------------------------------------------- */

static int falls_back(void)
{
	struct keyfob_token *token = NULL;
	struct keyfob *kf;

	need(keyfob_open(&kf) == 0);
	need(gets(kf, "from the keyring"));
	need(keyfob_get(kf, "b", &token) == 0);
	need(strcmp(keyfob_token_value(token), "from the broker") == 0);
	keyfob_token_free(&token);
	need(gets(kf, "from the keyring"));
	keyfob_close(&kf);
	return 0;
}

static void test_keyring_first(void **state)
{
	need_keyring();
	assert_int_equal(fake_start(0), 0);
	/* As the broker of that socket would have published it. */
	assert_int_equal(store_purge(&store), 0);
	assert_int_equal(store_open(&store, fake.path), 0);
	publish(user, "from the keyring");
	fake_token("from the broker", 15, LATER);
	assert_int_equal(as_user(user, falls_back), 0);
	fake_stop();
	assert_int_equal(fake.requests, 1);
}

/* What another broker published under the same name is not taken for this one's. */
static int passes_by(void)
{
	struct keyfob_token *token = NULL;
	struct keyfob *kf;

	need(keyfob_open(&kf) == 0);
	need(keyfob_get(kf, "a", &token) == 0);
	need(strcmp(keyfob_token_value(token), "from the broker") == 0);
	keyfob_token_free(&token);
	keyfob_close(&kf);
	return 0;
}

static void test_other_broker(void **state)
{
	need_keyring();
	assert_int_equal(fake_start(0), 0);
	publish(user, "from the keyring");
	fake_token("from the broker", 15, LATER);
	assert_int_equal(as_user(user, passes_by), 0);
	fake_stop();
}

/* --- where there is no keyring ------------------------------------------------------------------ */

static int refusal;

static bool filter_keyctl(uint32_t action)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	bool ok = filter && seccomp_rule_add(filter, action, SCMP_SYS(keyctl), 0) == 0 && seccomp_load(filter) == 0;

	seccomp_release(filter);
	return ok;
}

/* The kernel is asked by one get, and not again: who does is killed. */
static int asks_keyring_once(void)
{
	struct keyfob_token *token = NULL;
	struct keyfob *kf;

	need(keyfob_open(&kf) == 0);
	need(filter_keyctl(SCMP_ACT_ERRNO((uint16_t)refusal)));
	for (int i = 0; i < 3; i++) {
		need(keyfob_get(kf, "a", &token) == 0 && strcmp(keyfob_token_value(token), "from the broker") == 0);
		keyfob_token_free(&token);
		need(i > 0 || filter_keyctl(SCMP_ACT_KILL_PROCESS));
	}
	keyfob_close(&kf);
	return 0;
}

static void test_no_keyring(void **state)
{
	static const int refusals[] = { EPERM, ENOSYS, ENODEV, EDQUOT, EOPNOTSUPP };

	need_keyring();
	assert_int_equal(fake_start(0), 0);
	assert_int_equal(store_purge(&store), 0);
	assert_int_equal(store_open(&store, fake.path), 0);
	publish(user, "from the keyring");
	fake_token("from the broker", 15, LATER);
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		refusal = refusals[i];
		assert_int_equal(as_user(user, asks_keyring_once), 0);
	}
	fake_stop();
	assert_int_equal(fake.requests, 3 * sizeof(refusals) / sizeof(refusals[0]));
}

#define with_fake(test) cmocka_unit_test_setup_teardown(test, start_fake, stop_fake)
#define in_store(test) cmocka_unit_test_setup_teardown(test, set_up, purge_store)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_strerror),
		with_fake(test_socket_get),
		with_fake(test_socket_errors),
		with_fake(test_socket_malformed),
		with_fake(test_reject),
		cmocka_unit_test(test_no_broker),
		cmocka_unit_test(test_stranger),
		in_store(test_revoke),
		in_store(test_fork),
		in_store(test_setuid),
		in_store(test_threads),
		in_store(test_keyring_first),
		in_store(test_other_broker),
		in_store(test_no_keyring),
	};

	return cmocka_run_group_tests(tests, start_keyring, end_keyring);
}
