/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill-at [-f] PID N COMMAND...    trace a process with all of its threads while COMMAND runs, count its system call
 *                                  boundaries, and SIGKILL it at the N-th; with -f its new children too, until they execute
 *                                  another program, and whoever is at that boundary is killed
 * kill-at start N COMMAND...       the same of COMMAND itself, from its execve on
 *
 * A boundary is the moment before a call or the one after it. N 0 kills
 * nobody. Prints "killed PID NAME N entry|exit CALL" and ends with 0, or
 * "boundaries COUNT" and ends with 3 when there were fewer; the traced process
 * then goes on, but for one that was started. 77: tracing is not allowed.
 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUIET_MS 150 /* without a boundary: what COMMAND set off is over */
#define SETTLE_MS 30 /* after which those just seized wait in a call again */

enum { KILLED = 0, FEWER = 3, FORBIDDEN = 77 };

static struct {
	pid_t target; /* the process that was named, or started */
	long options;
	long at, count;
	bool counting;
	int64_t last; /* when something happened, ms */
} trace;

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void __attribute__((noreturn)) forbidden(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(FORBIDDEN);
}

/* The process of a thread, and its name. */
static pid_t process_of(pid_t thread, char *name, size_t size)
{
	char path[64], line[256];
	pid_t process = thread;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", thread);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status)) {
		if (strncmp(line, "Name:\t", 6) == 0)
			snprintf(name, size, "%.*s", (int)strcspn(line + 6, "\n"), line + 6);
		else if (sscanf(line, "Tgid: %d", &process) == 1)
			break;
	}
	if (status)
		fclose(status);
	return process;
}

static void seize_threads(void)
{
	char path[64];
	struct dirent *entry;
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%d/task", trace.target);
	threads = opendir(path);
	if (!threads)
		forbidden(path);
	while ((entry = readdir(threads))) {
		pid_t thread = (pid_t)atoi(entry->d_name);

		if (thread > 0 &&
			(ptrace(PTRACE_SEIZE, thread, NULL, trace.options) < 0 || ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) < 0))
			forbidden("ptrace");
	}
	closedir(threads);
}

/* Returns at the boundary that is wanted, with its thread still stopped there. */
static bool is_boundary(pid_t thread)
{
	struct __ptrace_syscall_info info = { 0 };
	char name[32] = "?";
	pid_t process;

	if (!trace.counting || ++trace.count != trace.at)
		return false;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof(info), &info) < 0)
		return false;
	process = process_of(thread, name, sizeof(name));
	kill(process, SIGKILL);
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		printf("killed %d %s %ld entry %llu\n", process, name, trace.count, (unsigned long long)info.entry.nr);
	else
		printf("killed %d %s %ld exit %lld\n", process, name, trace.count, (long long)info.exit.rval);
	fflush(stdout);
	return true;
}

/* Something happened to a traced thread. Returns whether its process was killed. */
static bool take(pid_t thread, int status)
{
	int signal = WIFSTOPPED(status) ? WSTOPSIG(status) : 0, event = status >> 16;

	trace.last = now_ms();
	if (!WIFSTOPPED(status))
		return false;
	if (signal == (SIGTRAP | 0x80)) {
		if (is_boundary(thread))
			return true;
		signal = 0;
	} else if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {
		ptrace(PTRACE_LISTEN, thread, NULL, NULL);
		return false;
	} else if (event == PTRACE_EVENT_EXEC && thread != trace.target) {
		ptrace(PTRACE_DETACH, thread, NULL, NULL);
		return false;
	} else if (event) {
		signal = 0;
	}
	ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(long)signal);
	return false;
}

/* Until nothing happened for ms, and whoever holds the other end of the pipe is gone. -1: there is none. */
static bool follow(int ms, int pipe)
{
	struct pollfd other = { .fd = pipe, .events = POLLIN };
	struct timespec moment = { .tv_nsec = 5000000 };
	sigset_t children;
	int status;
	pid_t pid;

	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	for (trace.last = now_ms();;) {
		while ((pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0)
			if (take(pid, status))
				return true;
		if (pid < 0 || (now_ms() - trace.last > ms && (pipe < 0 || poll(&other, 1, 0) > 0)))
			return false;
		sigtimedwait(&children, NULL, &moment);
	}
}

/* The tracer's end frees those who are still traced. */
static void __attribute__((noreturn)) finish(bool killed, bool started)
{
	if (!killed)
		printf("boundaries %ld\n", trace.count);
	fflush(stdout);
	if (!killed && started)
		kill(trace.target, SIGKILL);
	_exit(killed ? KILLED : FEWER);
}

static void __attribute__((noreturn)) trace_running(int ready, int done)
{
	seize_threads();
	follow(SETTLE_MS, -1);
	trace.counting = true;
	close(ready);
	finish(follow(QUIET_MS, done), false);
}

static void __attribute__((noreturn)) trace_started(char **argv)
{
	int status, go[2];
	char c;

	if (pipe2(go, O_CLOEXEC) < 0)
		exit(1);
	trace.target = fork();
	if (trace.target == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		close(go[1]);
		if (read(go[0], &c, 1) < 0)
			_exit(126);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(go[0]);
	seize_threads();
	if (waitpid(trace.target, &status, __WALL) < 0 || !WIFSTOPPED(status))
		exit(1);
	ptrace(PTRACE_SYSCALL, trace.target, NULL, NULL);
	trace.counting = true;
	close(go[1]);
	finish(follow(QUIET_MS, -1), true);
}

/* A process of its own traces, so that COMMAND can be waited for by its parent. */
static int run(char **argv)
{
	int ready[2], done[2], status;
	pid_t tracer, command;
	char c;

	if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(done, O_CLOEXEC) < 0)
		return 1;
	tracer = fork();
	if (tracer == 0) {
		close(ready[0]);
		close(done[1]);
		trace_running(ready[1], done[0]);
	}
	close(ready[1]);
	close(done[0]);
	if (read(ready[0], &c, 1) < 0)
		return 1;
	command = fork();
	if (command == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(2, 1);
		execvp(argv[0], argv);
		_exit(127);
	}
	waitpid(command, &status, 0);
	close(done[1]);
	waitpid(tracer, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
	bool children = argc > 1 && strcmp(argv[1], "-f") == 0;
	sigset_t blocked;

	argv += children ? 2 : 1;
	argc -= children ? 2 : 1;
	if (argc < 3)
		return 2;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	trace.options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
			(children ? PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC : 0);
	trace.at = atol(argv[1]);
	if (strcmp(argv[0], "start") == 0)
		trace_started(argv + 2);
	trace.target = (pid_t)atoi(argv[0]);
	return run(argv + 2);
}
