/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin-doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KILLED_MS 1000 /* in which who was killed is gone */
#define LOOK_MS 10

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Until the other end is closed. false: the time is up, or the answer is too long. */
static bool read_answer(int fd, int timeout_ms, struct buffer *answer)
{
	int64_t end = now_ms() + timeout_ms;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = end - now_ms();
		uint8_t *to;
		ssize_t n;

		if (left <= 0 || (poll(&p, 1, (int)left) < 0 && errno != EINTR))
			return false;
		if (!p.revents)
			continue;
		to = buffer_reserve(answer, 4096);
		n = to ? read(fd, to, 4096) : -1;
		if (n == 0)
			return true;
		if (n < 0 && (!to || errno != EINTR))
			return false;
		answer->length += n > 0 ? (size_t)n : 0;
	}
}

/* Who waits for a filesystem that does not answer cannot be killed either, and is left behind. */
static bool reap(pid_t pid, bool ends, int *status)
{
	for (int left = KILLED_MS;;) {
		pid_t got = waitpid(pid, status, ends ? 0 : WNOHANG);

		if (got == pid)
			return true;
		if ((got < 0 && errno != EINTR) || left <= 0)
			return false;
		if (got == 0) {
			poll(NULL, 0, LOOK_MS);
			left -= LOOK_MS;
		}
	}
}

int doctor_apart(int (*work)(void *arg, int out), void *arg, int timeout_ms, struct buffer *answer)
{
	int fds[2], status;
	bool whole;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		close(fds[0]);
		_exit(work(arg, fds[1]));
	}
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return -1;
	}
	setpgid(pid, pid);
	whole = read_answer(fds[0], timeout_ms, answer);
	close(fds[0]);
	/* It is not reaped yet, so its group is no other's. */
	if (!whole)
		kill(-pid, SIGKILL);
	if (!reap(pid, whole, &status) || !whole)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct tool {
	const char *name;
	const char *const *arguments;
	bool with_errors;
};

static int run_tool(void *arg, int out)
{
	const struct tool *t = arg;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), status;

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
		dup2(t->with_errors ? out : null, STDERR_FILENO) < 0)
		return 1;
	status = cli_tool(t->name, t->arguments, NULL);
	return status < 0 ? 1 : status;
}

int doctor_tool(const char *name, const char *const *arguments, bool with_errors, int timeout_ms, struct buffer *answer)
{
	struct tool tool = { name, arguments, with_errors };

	return doctor_apart(run_tool, &tool, timeout_ms, answer);
}
