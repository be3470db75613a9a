/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program of the build tree and keeps what it says. */
#ifndef KEYFOB_TEST_CLI_CALL_H
#define KEYFOB_TEST_CLI_CALL_H

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char call_out[1 << 18], call_err[65536];

static inline void call_slurp(int fd, char *text, size_t size)
{
	ssize_t n = pread(fd, text, size - 1, 0);

	text[n < 0 ? 0 : n] = 0;
	close(fd);
}

/* keyfob with these arguments (NULL ends them) and this on stdin, as uid. Returns its exit code, 128 and more for a signal. */
static inline int call_keyfob(uid_t uid, const void *input, size_t length, const char *const *arguments)
{
	char program[PATH_MAX] = "", *argv[32] = { program };
	int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC), err = memfd_create("err", MFD_CLOEXEC);
	int n = 1, status;
	pid_t pid;

	assert_true(readlink("/proc/self/exe", program, sizeof(program) - 1) > 0);
	for (int i = 0; i < 3; i++)
		*strrchr(program, '/') = 0;
	strncat(program, "/bin/keyfob", sizeof(program) - strlen(program) - 1);
	while (*arguments && n < 31)
		argv[n++] = (char *)(uintptr_t)*arguments++;
	assert_true(in >= 0 && out >= 0 && err >= 0);
	assert_int_equal(write(in, input, length), length);
	lseek(in, 0, SEEK_SET);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(in, 0);
		dup2(out, 1);
		dup2(err, 2);
		if (uid != geteuid() && (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0))
			_exit(98);
		execv(program, argv);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(in);
	call_slurp(out, call_out, sizeof(call_out));
	call_slurp(err, call_err, sizeof(call_err));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* As this user, with nothing on stdin. */
#define call(...) call_keyfob(geteuid(), "", 0, (const char *const[]){ __VA_ARGS__, NULL })

static inline void call_expect(const char *where, const char *words)
{
	if (!strstr(where, words))
		print_error("no \"%s\" in: %s\n", words, where);
	assert_non_null(strstr(where, words));
}

#endif
