/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth retrieve: who gets whose token handed on, and that a token that was
 * handed on lets nobody in.
 *
 * links: common/buffer common/wire
 * libs: pam
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <grp.h>
#include <pwd.h>
#include <sys/wait.h>

#include "tests/unit/pam-host.h"

#define TOKEN "aGVhZGVy.Y2xhaW1z.c2lnbmF0dXJl"
#define USER "daemon" /* one that every system has, and that is not root */

static struct host_server broker, verifier;
static char shown[100];

static int set_up(void **state)
{
	if (geteuid() != 0)
		return 0;
	if (host_set_up(state) < 0)
		return -1;
	snprintf(shown, sizeof(shown), "%s/shown", host_directory);
	return 0;
}

static int tear_down(void **state)
{
	return geteuid() == 0 ? host_tear_down(state) : 0;
}

static int begin(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	host_log[0] = 0;
	return host_listen(&broker, "broker", 0, 64) < 0 || host_listen(&verifier, "verify", 0, 64) < 0 ? -1 : 0;
}

static int end(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	host_stop(&broker);
	host_stop(&verifier);
	unlink(shown);
	return 0;
}

#define need_root() \
	do { \
		(void)state; \
		if (geteuid() != 0) { \
			print_message("# needs root\n"); \
			skip(); \
		} \
	} while (0)

static void serve(void)
{
	assert_int_equal(host_start(&broker), 0);
	assert_int_equal(host_start(&verifier), 0);
}

/* BROKER, VERIFIER and SHOW stand for the options with this test's paths. */
static void configure(const char *lines)
{
	static const char *const words[] = { "BROKER", "VERIFIER", "SHOW" };
	const char *const options[] = { "broker=", "socket=", "show=" }, *const paths[] = { broker.path, verifier.path, shown };
	char text[4000] = "";

	for (size_t used = 0; *lines; used = strlen(text)) {
		size_t i = 0;

		while (i < 3 && strncmp(lines, words[i], strlen(words[i])) != 0)
			i++;
		if (i < 3)
			lines += strlen(words[i]);
		snprintf(text + used, sizeof(text) - used, "%s%s", i < 3 ? options[i] : (char[]){ *lines++, 0 }, i < 3 ? paths[i] : "");
	}
	assert_int_equal(host_configure(text), 0);
}

static void may(uint8_t allowed, const char *why)
{
	struct buffer *b = host_answer(&broker, 0);

	buffer_put_u8(b, allowed);
	buffer_put_text(b, why);
}

static void give(const char *token, size_t length)
{
	struct buffer *b = host_answer(&broker, 0);

	buffer_put_string(b, token, length);
	buffer_put_u64(b, 1900000000);
	buffer_put_u64(b, 1890000000);
	buffer_put_text(b, "0123abcd");
}

static void check_shown(const char *wanted)
{
	char text[1000] = "";
	FILE *file = fopen(shown, "re");

	if (file) {
		text[fread(text, 1, sizeof(text) - 1, file)] = 0;
		fclose(file);
	}
	assert_string_equal(text, wanted);
}

static void check_logged(const char *text)
{
	if (!strstr(host_log, text))
		fail_msg("not logged: %s\nlogged: %s", text, host_log);
	assert_null(strstr(host_log, TOKEN));
}

#define STACK \
	"auth requisite PROBE ask\n" \
	"auth required MODULE retrieve credential=atlas BROKER\n" \
	"auth required PROBE SHOW\n"

/* --- the token is handed on -------------------------------------------------------------- */

static void test_handed_on(void **state)
{
	struct passwd *pw = getpwnam(USER);
	struct reader r;
	size_t length;

	need_root();
	assert_non_null(pw);
	may(1, "named by the allow line");
	give(TOKEN, strlen(TOKEN));
	serve();
	configure(STACK);
	assert_int_equal(host_authenticate(USER, "password"), PAM_SUCCESS);
	check_shown(TOKEN);
	assert_int_equal(broker.requests, 2);
	assert_int_equal(broker.opcodes[0], WIRE_MAY);
	assert_int_equal(broker.opcodes[1], WIRE_GET);
	reader_init(&r, broker.request.data + 2, broker.request.length - 2);
	assert_memory_equal(reader_string(&r, &length), "atlas", 5);
	assert_string_equal(host_log, "");
}

static void test_may_not(void **state)
{
	need_root();
	may(0, "no allow line\nnames this user");
	give(TOKEN, strlen(TOKEN));
	serve();
	configure(STACK);
	assert_int_equal(host_authenticate(USER, "password"), PAM_PERM_DENIED);
	assert_int_equal(broker.requests, 1);
	check_logged("no allow line\\x0anames this user");
}

static void test_users(void **state)
{
	need_root();
	may(1, "");
	give(TOKEN, strlen(TOKEN));
	serve();
	configure(STACK);
	assert_int_equal(host_authenticate("root", "password"), PAM_PERM_DENIED);
	check_logged("root's tokens are not handed on");
	assert_int_equal(host_authenticate("keyfob-nobody-has-this-name", "password"), PAM_USER_UNKNOWN);
	assert_int_equal(broker.requests, 0);
	check_shown("password");
}

static void check_broker_error(uint8_t code, int wanted)
{
	assert_int_equal(begin(NULL), 0);
	may(1, "");
	host_refuse(&broker, code, "no luck\nat all");
	serve();
	configure(STACK);
	assert_int_equal(host_authenticate(USER, "password"), wanted);
	check_logged("atlas: no luck\\x0aat all");
	check_shown("password");
	end(NULL);
	assert_int_equal(begin(NULL), 0);
	host_refuse(&broker, code, "no luck");
	serve();
	configure(STACK);
	assert_int_equal(host_authenticate(USER, "password"), PAM_AUTHINFO_UNAVAIL);
	check_shown("password");
	end(NULL);
}

static void test_broker_errors(void **state)
{
	need_root();
	end(NULL);
	check_broker_error(1, PAM_AUTHINFO_UNAVAIL);
	check_broker_error(3, PAM_AUTHINFO_UNAVAIL);
	check_broker_error(4, PAM_PERM_DENIED);
	check_broker_error(5, PAM_AUTHINFO_UNAVAIL);
	check_broker_error(8, PAM_AUTHINFO_UNAVAIL);
	configure(STACK);
	assert_int_equal(host_authenticate(USER, "password"), PAM_AUTHINFO_UNAVAIL);
	check_logged("cannot reach the broker");
}

static void check_malformed(const char *token, size_t length, const char *after)
{
	assert_int_equal(begin(NULL), 0);
	may(1, "");
	give(token, length);
	buffer_put(&broker.steps[1].reply, after, strlen(after));
	serve();
	configure(STACK);
	assert_int_equal(host_authenticate(USER, "password"), PAM_AUTHINFO_UNAVAIL);
	check_logged("malformed");
	check_shown("password");
	end(NULL);
}

static void test_malformed(void **state)
{
	char large[WIRE_TOKEN_MAX + 1];

	need_root();
	end(NULL);
	check_malformed("", 0, "");
	check_malformed("a\0b", 3, "");
	check_malformed("a", 1, "more");
	memset(large, 'a', sizeof(large));
	check_malformed(large, sizeof(large), "");
	assert_int_equal(begin(NULL), 0);
	buffer_put_u8(host_answer(&broker, 0), 1);
	serve();
	configure(STACK);
	assert_int_equal(host_authenticate(USER, "password"), PAM_AUTHINFO_UNAVAIL);
	check_logged("malformed");
}

/* --- it proves nothing -------------------------------------------------------------------- */

/* Nobody took a password: then nobody is known to be there. */
static void test_nobody_before(void **state)
{
	need_root();
	may(1, "");
	give(TOKEN, strlen(TOKEN));
	host_accept(&verifier, USER);
	serve();
	configure("auth required MODULE retrieve credential=atlas BROKER\n"
		  "auth required PROBE SHOW\n");
	assert_int_equal(host_authenticate(USER, "password"), PAM_AUTHINFO_UNAVAIL);
	check_logged("put it after a requisite module");
	configure("auth optional PROBE result=0\n"
		  "auth optional MODULE retrieve credential=atlas BROKER\n"
		  "auth required MODULE verify VERIFIER\n");
	assert_int_equal(host_authenticate(USER, NULL), PAM_AUTHTOK_ERR);
	assert_int_equal(broker.requests, 0);
	assert_int_equal(verifier.requests, 0);
}

/* retrieve, then verify: the host's own token is good, and says nothing about who sits there. */
static void test_not_verified(void **state)
{
	need_root();
	may(1, "");
	give(TOKEN, strlen(TOKEN));
	host_accept(&verifier, USER);
	serve();
	configure("auth optional PROBE ask result=7\n"
		  "auth optional MODULE retrieve credential=atlas BROKER\n"
		  "auth required MODULE verify VERIFIER\n");
	assert_int_equal(host_authenticate(USER, "anything"), PAM_AUTH_ERR);
	assert_int_equal(broker.requests, 2);
	assert_int_equal(verifier.requests, 0);
	check_logged("verify must stand before it");
}

/* The module before said no, and was only optional: that the token was there to hand on is no yes. */
static void test_no_yes(void **state)
{
	need_root();
	may(1, "");
	give(TOKEN, strlen(TOKEN));
	serve();
	configure("auth optional PROBE ask result=7\n"
		  "auth sufficient MODULE retrieve credential=atlas BROKER\n");
	assert_int_not_equal(host_authenticate(USER, "anything"), PAM_SUCCESS);
	assert_int_equal(broker.requests, 2);
}

static void test_verify_first(void **state)
{
	need_root();
	may(1, "");
	give(TOKEN, strlen(TOKEN));
	host_accept(&verifier, USER);
	serve();
	configure("auth requisite MODULE verify VERIFIER\n"
		  "auth required MODULE retrieve credential=atlas BROKER\n"
		  "auth required PROBE SHOW\n");
	assert_int_equal(host_authenticate(USER, "a.b.c"), PAM_SUCCESS);
	check_shown(TOKEN);
}

/* --- hosts that are not root ------------------------------------------------------------------ */

static int as_user(const char *login, uid_t uid)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int result = 100;

		if (setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0)
			result = host_authenticate(login, "password");
		_exit(result);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_own_token_only(void **state)
{
	struct passwd *pw = getpwnam(USER);

	need_root();
	give(TOKEN, strlen(TOKEN));
	serve();
	configure("auth requisite PROBE ask\n"
		  "auth required MODULE retrieve credential=atlas BROKER\n");
	assert_int_equal(as_user("bin", pw->pw_uid), PAM_PERM_DENIED);
	assert_int_equal(as_user("root", pw->pw_uid), PAM_PERM_DENIED);
	assert_int_equal(broker.requests, 0);
	assert_int_equal(as_user(USER, pw->pw_uid), PAM_SUCCESS);
	assert_int_equal(broker.requests, 1);
	assert_int_equal(broker.opcodes[0], WIRE_GET);
}

#define with_servers(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_servers(test_handed_on),
		with_servers(test_may_not),
		with_servers(test_users),
		with_servers(test_broker_errors),
		with_servers(test_malformed),
		with_servers(test_nobody_before),
		with_servers(test_not_verified),
		with_servers(test_no_yes),
		with_servers(test_verify_first),
		with_servers(test_own_token_only),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
