/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keyfob doctor does in processes of their own: what they answer, and that none of them outlasts its time.
 * links: cli/admin-doctor-apart common/buffer
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/admin-doctor.h"

#define LONG_MS 60000

/* cli/tool.c's, in whose place it shows what the child was given. */
int cli_tool(const char *name, const char *const *arguments, struct buffer *output)
{
	char one;

	assert_null(output);
	dprintf(STDOUT_FILENO, "%s %s %zd", name, arguments[0], read(STDIN_FILENO, &one, 1));
	dprintf(STDERR_FILENO, " errors");
	return strcmp(arguments[0], "--fail") == 0 ? -1 : 3;
}

static int answer_it(void *arg, int out)
{
	dprintf(out, "%s", (const char *)arg);
	return 5;
}

static int be_killed(void *arg, int out)
{
	(void)arg, (void)out;
	raise(SIGKILL);
	return 0;
}

/* With a child of its own that keeps the pipe open. */
static int hang(void *arg, int out)
{
	pid_t pid = fork();

	(void)arg;
	if (pid > 0)
		dprintf(out, "%d", pid);
	while (pause() < 0)
		continue;
	return 0;
}

/* As one who waits for a dead filesystem: a tracer that says nothing keeps it from ending. */
static int be_held(void *arg, int out)
{
	pid_t self = getpid(), tracer = fork();

	(void)arg;
	if (tracer == 0) {
		setsid();
		if (ptrace(PTRACE_SEIZE, self, NULL, PTRACE_O_TRACEEXIT) < 0)
			_exit(1);
		dprintf(out, "%d", getpid());
		close(out);
	}
	while (pause() < 0)
		continue;
	return 0;
}

static int flood(void *arg, int out)
{
	static const char block[65536];

	(void)arg;
	while (write(out, block, sizeof(block)) > 0)
		continue;
	return 0;
}

static int apart(int (*work)(void *arg, int out), void *arg, int timeout_ms, struct buffer *answer)
{
	buffer_free(answer);
	buffer_init(answer, 16384);
	return doctor_apart(work, arg, timeout_ms, answer);
}

static void test_answers(void **state)
{
	struct buffer b = { 0 };

	(void)state;
	assert_int_equal(apart(answer_it, (void *)(uintptr_t) "all is well", LONG_MS, &b), 5);
	assert_string_equal(buffer_cstring(&b), "all is well");
	assert_int_equal(apart(be_killed, NULL, LONG_MS, &b), 128 + SIGKILL);
	assert_int_equal(b.length, 0);
	assert_int_equal(apart(flood, NULL, LONG_MS, &b), -1);
	buffer_free(&b);
}

/* Gone, or waiting for whoever adopted it. */
static bool is_gone(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return true;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 'Z';
	fclose(f);
	return state == 'Z' || state == 'X';
}

static void test_slow(void **state)
{
	struct buffer b = { 0 };
	bool gone = false;
	pid_t pid;

	(void)state;
	assert_int_equal(apart(hang, NULL, 500, &b), -1);
	assert_int_equal(sscanf(buffer_cstring(&b), "%d", &pid), 1);
	for (int i = 0; i < 1000 && !gone; i++) {
		gone = is_gone(pid);
		usleep(10000);
	}
	assert_true(gone);
	buffer_free(&b);
}

static void test_held(void **state)
{
	struct buffer b = { 0 };
	pid_t tracer = 0;
	int code;

	(void)state;
	alarm(60);
	code = apart(be_held, NULL, 500, &b);
	alarm(0);
	if (sscanf(buffer_cstring(&b), "%d", &tracer) == 1)
		kill(tracer, SIGKILL);
	buffer_free(&b);
	assert_int_equal(code, -1);
	/* Let go, it ends. */
	assert_true(waitpid(-1, NULL, 0) > 0);
	if (!tracer)
		skip();
}

static void test_tools(void **state)
{
	const char *good[] = { "--list", NULL }, *bad[] = { "--fail", NULL };
	struct buffer b;

	(void)state;
	buffer_init(&b, 16384);
	assert_int_equal(doctor_tool("keyfob-fetch", good, true, LONG_MS, &b), 3);
	assert_string_equal(buffer_cstring(&b), "keyfob-fetch --list 0 errors");
	buffer_clear(&b);
	assert_int_equal(doctor_tool("keyfob-fetch", bad, false, LONG_MS, &b), 1);
	assert_string_equal(buffer_cstring(&b), "keyfob-fetch --fail 0");
	buffer_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_tools),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
