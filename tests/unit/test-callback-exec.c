/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links: modules/callback-exec modules/exec-input modules/exec-output modules/expiry modules/json modules/report common/buffer
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/module-call.h"

#define JWT "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
#define AUDIENCE "api://a"

/* Time runs this much faster for the module, so that waiting out a deadline takes a moment. */
static int speed = 1;

int clock_gettime(clockid_t clock, struct timespec *t)
{
	long ns;

	if (syscall(SYS_clock_gettime, clock, t) != 0)
		return -1;
	ns = t->tv_nsec * speed;
	t->tv_sec = t->tv_sec * speed + ns / 1000000000L;
	t->tv_nsec = ns % 1000000000L;
	return 0;
}

static struct call run_program(const char *format, enum keyfob_kind kind, const char *const *arguments)
{
	union {
		const char *const *from;
		char *const *to;
	} words = { .from = arguments };
	struct call c;

	call_init(&c, kind, AUDIENCE);
	c.request.timeout = 20;
	c.request.settings = c.settings;
	call_set(&c, "format", format);
	c.request.arguments = words.to;
	call_obtain(&c);
	return c;
}

static struct call run_shell(const char *format, const char *script)
{
	return run_program(format, KEYFOB_KIND_ACCESS, (const char *const[]){ "/bin/sh", "-c", script, NULL });
}

static void check(const char *format, const char *script, const char *token)
{
	struct call c = run_shell(format, script);

	if (c.reply.class != KEYFOB_CLASS_OK || strcmp(c.reply.token, token) != 0)
		fail_msg("%s: class %d, '%s', token %s", script, (int)c.reply.class, c.reply.text, c.reply.token ? c.reply.token : "none");
	call_free(&c);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void check_bad(const char *script, enum keyfob_class class, const char *words)
{
	struct call c = run_shell("auto", script);

	if (c.reply.class != class || c.reply.token || !strstr(c.reply.text, words) || strstr(c.reply.text, "eyJ"))
		fail_msg("%s: class %d, '%s'", script, (int)c.reply.class, c.reply.text);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void test_token(void **state)
{
	(void)state;
	check("auto", "echo " JWT, JWT);
	check("raw", "echo opaque; echo noise >&2", "opaque");
	check("oauth", "printf '{\"access_token\":\"t\",\"expires_in\":60}'", "t");
	assert_non_null(strstr(call_told, "run /bin/sh\n"));
	assert_null(strstr(call_told, "access_token"));
}

static void test_surroundings(void **state)
{
	struct call c;

	(void)state;
	setenv("KEYFOB_TEST_LEAK", "1", 1);
	check("raw", "cat; echo end-of-input", "end-of-input");
	check("raw", "set -- $(cat /proc/$$/stat); [ $5 = $$ ] && pwd", "/");
	assert_int_equal(dup2(0, 50), 50);
	check("raw", "[ -e /proc/self/fd/50 ] && echo open || echo closed", "closed");
	close(50);
	c = run_shell("raw", "env | sort | tr '\\n' ';'");
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_null(strstr(c.reply.token, "KEYFOB_TEST_LEAK"));
	assert_non_null(strstr(c.reply.token, "GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE=" AUDIENCE ";"));
	assert_non_null(strstr(c.reply.token, "GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE=0;"));
	assert_non_null(strstr(c.reply.token, "GOOGLE_EXTERNAL_ACCOUNT_ID=;"));
	assert_non_null(strstr(c.reply.token, "GOOGLE_EXTERNAL_ACCOUNT_REVOKE=0;"));
	assert_non_null(strstr(c.reply.token, "GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE="
					      "urn:ietf:params:oauth:token-type:jwt;"));
	assert_non_null(strstr(c.reply.token, "KUBERNETES_EXEC_INFO={"
					      "\"apiVersion\":\"client.authentication.k8s.io/v1\","
					      "\"kind\":\"ExecCredential\",\"spec\":{\"interactive\":false}};"));
	assert_non_null(strstr(c.reply.token, "HOME=/"));
	assert_non_null(strstr(c.reply.token, "LANG=C.UTF-8;"));
	assert_non_null(strstr(c.reply.token, "PATH=/usr/local/bin:/usr/bin:/bin;"));
	call_free(&c);
	c = run_program("raw", KEYFOB_KIND_ID, (const char *const[]){ "/bin/sh", "-c", "echo $GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE", NULL });
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_string_equal(c.reply.token, "urn:ietf:params:oauth:token-type:id_token");
	call_free(&c);
	unsetenv("KEYFOB_TEST_LEAK");
}

static void test_exits(void **state)
{
	(void)state;
	check_bad("echo 'no luck " JWT "' >&2; exit 3", KEYFOB_CLASS_TRANSIENT, "exited with 3: no luck ***");
	check_bad("echo " JWT "; exit 1", KEYFOB_CLASS_TRANSIENT, "exited with 1");
	check_bad("exit 126", KEYFOB_CLASS_CONFIG, "exited with 126");
	check_bad("/nonexistent/program", KEYFOB_CLASS_CONFIG, "exited with 127");
	check_bad("kill -KILL $$", KEYFOB_CLASS_TRANSIENT, "signal 9");
	check_bad("printf '{\"version\":1,\"success\":false,\"code\":\"401\",\"message\":\"no\"}'; exit 1", KEYFOB_CLASS_PERMANENT,
		"reports 401: no");
	check_bad("printf '{\"version\":1,\"success\":false,\"code\":\"401\",\"message\":\"no\"}'", KEYFOB_CLASS_PERMANENT,
		"reports 401: no");
	check_bad("true", KEYFOB_CLASS_TRANSIENT, "printed nothing");
	check_bad("i=0; while [ $i -lt 100 ]; do echo 'a line of words'; i=$((i+1)); done >&2; exit 2", KEYFOB_CLASS_TRANSIENT,
		"exited with 2: a line");
	assert_non_null(strstr(call_told, "stderr: a line of words\n"));
}

static void test_too_much(void **state)
{
	(void)state;
	check_bad("head -c 2097152 /dev/zero", KEYFOB_CLASS_CONFIG, "more than 1024 KiB");
	check_bad("yes", KEYFOB_CLASS_CONFIG, "more than 1024 KiB");
	check("raw", "head -c 2097152 /dev/zero >&2; echo fine", "fine");
}

static void test_timeout(void **state)
{
	static const char *const scripts[] = {
		"sleep 1000",
		"exec >&- 2>&-; sleep 1000",
		"trap '' TERM; while :; do sleep 1; done",
		"yes >&2",
		"kill -STOP $$",
	};

	(void)state;
	speed = 60;
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++)
		check_bad(scripts[i], KEYFOB_CLASS_TRANSIENT, "did not end within 20 s");
	speed = 1;
}

/* The token is the process id of what stays behind. */
static void check_left_behind(const char *script)
{
	struct timespec before, after;
	struct call c;

	clock_gettime(CLOCK_MONOTONIC, &before);
	c = run_shell("raw", script);
	clock_gettime(CLOCK_MONOTONIC, &after);
	if (c.reply.class != KEYFOB_CLASS_OK)
		fail_msg("%s: class %d, '%s'", script, (int)c.reply.class, c.reply.text);
	assert_true(atoi(c.reply.token) > 1);
	assert_int_equal(kill(atoi(c.reply.token), 0), -1);
	assert_int_equal(errno, ESRCH);
	assert_true(after.tv_sec - before.tv_sec < 10);
	call_free(&c);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_descendants_end(void **state)
{
	(void)state;
	check_left_behind("sleep 1000 & echo $!");
	check_left_behind("setsid sleep 1000 & echo $!");
	check_left_behind("setsid sh -c 'trap \"\" TERM; sleep 1000 & sleep 1000' & echo $!");
	check_left_behind("sh -c 'setsid sh -c \"sleep 1000 & echo \\$!; sleep 1000\" & sleep 0.1'");
}

static void check_refused(const char *program, const char *words)
{
	struct call c = run_program("raw", KEYFOB_KIND_ACCESS, (const char *const[]){ program, NULL });

	if (c.reply.class != KEYFOB_CLASS_CONFIG || !strstr(c.reply.text, words))
		fail_msg("%s: class %d, '%s'", program, (int)c.reply.class, c.reply.text);
}

static void test_no_program(void **state)
{
	struct call c;

	(void)state;
	check_refused("/nonexistent/program", "cannot run /nonexistent/program: No such file");
	check_refused("sh", "absolute path");
	check_refused("/usr", "Permission denied");
	check_refused("/", "Permission denied");
	check_refused("/etc/passwd", "cannot run /etc/passwd");
	check_refused("/bin/sh/x", "Not a directory");
	check_refused("/tmp/program", "/tmp must be owned by root");
	check_refused("/usr/../tmp/program", "/usr/../tmp must be owned by root");
	call_init(&c, KEYFOB_KIND_ACCESS, AUDIENCE);
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
}

static char directory[64];

static const char *in_directory(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static int make_directory(void **state)
{
	(void)state;
	directory[0] = 0;
	if (geteuid() != 0)
		return 0;
	strcpy(directory, "/run/keyfob-test-XXXXXX");
	return mkdtemp(directory) ? chmod(directory, 0755) : -1;
}

static int remove_directory(void **state)
{
	static const char *const names[] = { "program", "link", "out", "loop" };

	(void)state;
	for (size_t i = 0; directory[0] && i < sizeof(names) / sizeof(names[0]); i++)
		unlink(in_directory(names[i]));
	return directory[0] ? rmdir(directory) : 0;
}

static void test_only_roots_programs(void **state)
{
	struct call c;
	int fd;

	(void)state;
	if (!directory[0])
		skip();
	fd = open(in_directory("program"), O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_int_equal(write(fd, "#!/bin/sh\necho token\n", 21), 21);
	close(fd);
	assert_int_equal(chmod(in_directory("program"), 0755), 0);
	assert_int_equal(symlink("program", in_directory("link")), 0);
	assert_int_equal(symlink("../../tmp/program", in_directory("out")), 0);
	assert_int_equal(symlink("loop", in_directory("loop")), 0);
	c = run_program("raw", KEYFOB_KIND_ACCESS, (const char *const[]){ in_directory("link"), NULL });
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_string_equal(c.reply.token, "token");
	call_free(&c);
	check_refused(in_directory("loop"), "symbolic links");
	check_refused(in_directory("out"), "/tmp must be owned by root");
	assert_int_equal(chmod(in_directory("program"), 0775), 0);
	check_refused(in_directory("link"), "/program must be owned by root");
	assert_int_equal(chmod(in_directory("program"), 0755), 0);
	assert_int_equal(chown(in_directory("program"), 65534, 0), 0);
	check_refused(in_directory("program"), "/program must be owned by root");
	assert_int_equal(chown(in_directory("program"), 0, 0), 0);
	assert_int_equal(chmod(directory, 0757), 0);
	check_refused(in_directory("program"), directory);
	assert_int_equal(lchown(in_directory("link"), 65534, 0), 0);
	assert_int_equal(chmod(directory, 0755), 0);
	check_refused(in_directory("link"), "/link must be owned by root");
}

/* For a user's own broker his programs are as good as root's, and nobody else's are. */
static void test_own_programs(void **state)
{
	struct call c;
	int status, fd;
	pid_t pid;

	(void)state;
	if (!directory[0])
		skip();
	fd = open(in_directory("program"), O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_int_equal(write(fd, "#!/bin/sh\necho token\n", 21), 21);
	close(fd);
	assert_int_equal(chmod(in_directory("program"), 0755), 0);
	assert_int_equal(chown(in_directory("program"), 65533, 0), 0);
	/* His; not for a broker of root's; not when others may write it; not another's. */
	for (int i = 0; i < 4; i++) {
		static const enum keyfob_class wanted[] = { KEYFOB_CLASS_OK, KEYFOB_CLASS_CONFIG, KEYFOB_CLASS_CONFIG,
			KEYFOB_CLASS_CONFIG };

		assert_int_equal(chmod(in_directory("program"), i == 2 ? 0775 : 0755), 0);
		pid = fork();
		if (pid == 0) {
			uid_t uid = i == 3 ? 65532 : 65533;

			if (setresuid(uid, uid, uid) < 0)
				_exit(100);
			call_init(&c, KEYFOB_KIND_ACCESS, AUDIENCE);
			c.request.timeout = 20;
			call_set(&c, "format", "raw");
			c.request.arguments = (char *const[]){ (char *)(uintptr_t)in_directory("program"), NULL };
			c.request.own = i != 1;
			call_obtain(&c);
			_exit(c.reply.class == wanted[i] ? 0 : 1 + (int)c.reply.class);
		}
		assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_surroundings),
		cmocka_unit_test(test_exits),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_descendants_end),
		cmocka_unit_test(test_no_program),
		cmocka_unit_test_setup_teardown(test_only_roots_programs, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(test_own_programs, make_directory, remove_directory),
	};

	/* A test that hangs fails. */
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
