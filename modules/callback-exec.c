/* SPDX-License-Identifier: Apache-2.0 */
/* A token from a program of the host: run it, watch it, read what it prints, leave nothing of it behind. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buffer.h"
#include "modules/exec-input.h"
#include "modules/exec-output.h"
#include "modules/module.h"
#include "modules/report.h"

#define OUTPUT_MAX (1024 * 1024)
#define ERROR_MAX 4096 /* kept of standard error; the rest is read and dropped */
#define ERROR_SHOWN 201
#define KILL_AFTER_MS 2000
#define GRACE_MS 100 /* for output that a grandchild still holds open */
#define TICK_MS 20
#define LINKS_MAX 10
#define DRAIN_CHUNKS 64
#define EXEC_INFO \
	"{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\"," \
	"\"spec\":{\"interactive\":false}}"

struct run {
	pid_t pid;
	int in; /* what the program reads */
	int out, err; /* read ends; -1 at their end of file */
	int failed_exec; /* read end: the errno of an exec that failed */
	struct buffer output, errors;
	int pidfd; /* -1 where there is none; then only the tick tells of the end */
	bool timed_out;
	bool too_long;
	bool ended;
	int status; /* of waitpid(2) */
};

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

/* --- may this file be run? -------------------------------------------------- */

/* Put what the link at path points to at the front of rest, and go back to the directory to read it from. */
static bool follow_link(char *path, size_t parent, char *rest)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	int length;

	if (n < 0)
		return false;
	errno = ENAMETOOLONG;
	target[n] = 0;
	length = snprintf(joined, sizeof(joined), "%s%s", target, rest);
	if (length < 0 || (size_t)length >= sizeof(joined))
		return false;
	memcpy(rest, joined, (size_t)length + 1);
	path[target[0] == '/' ? 0 : parent] = 0;
	return true;
}

/* Or his own, where a user runs the broker for himself. */
static bool is_roots(bool own, const char *path, const struct stat *st, struct keyfob_reply *reply)
{
	if ((st->st_uid == 0 || (own && st->st_uid == geteuid())) && (S_ISLNK(st->st_mode) || !(st->st_mode & (S_IWGRP | S_IWOTH))))
		return true;
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%.200s must be owned by root%s and not writable by group or others", path,
		own ? " or by you" : "");
	return false;
}

/*
 * Every directory, link and file on the way must be root's alone: whoever
 * can change one of them chooses what runs.
 */
static bool check_program(bool own, const char *program, struct keyfob_reply *reply)
{
	char path[PATH_MAX] = "", rest[PATH_MAX];
	struct stat st = { 0 };
	int links = 0;

	if (program[0] != '/' || strlen(program) >= sizeof(rest)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "the program after -- must be named by its absolute path");
		return false;
	}
	if (lstat("/", &st) != 0 || !is_roots(own, "/", &st, reply))
		return false;
	snprintf(rest, sizeof(rest), "%s", program);
	while (rest[0]) {
		size_t parent = strlen(path), slashes = strspn(rest, "/"), name = strcspn(rest + slashes, "/");

		if (parent + name + 2 > sizeof(path))
			goto unusable;
		snprintf(path + parent, sizeof(path) - parent, "/%.*s", (int)name, rest + slashes);
		memmove(rest, rest + slashes + name, strlen(rest + slashes + name) + 1);
		if (lstat(path, &st) != 0)
			goto unusable;
		if (!is_roots(own, path, &st, reply))
			return false;
		errno = ELOOP;
		if (S_ISLNK(st.st_mode) && (++links > LINKS_MAX || !follow_link(path, parent, rest)))
			goto unusable;
	}
	if (S_ISREG(st.st_mode))
		return true;
	errno = EACCES;
unusable:
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "cannot run %.200s: %s", program, strerror(errno));
	return false;
}

/* --- starting --------------------------------------------------------------- */

static char *variable(const char *name, const char *value)
{
	char *text;

	return asprintf(&text, "%s=%s", name, value) < 0 ? NULL : text;
}

static void free_environment(char **environment)
{
	for (size_t i = 0; environment && environment[i]; i++)
		free(environment[i]);
	free(environment);
}

/* A fresh environment: nothing of the caller's, and what the two families of token programs look for. */
static char **make_environment(const struct keyfob_request *request)
{
	const struct passwd *pw = getpwuid(geteuid());
	const struct {
		const char *name;
		const char *value;
	} wanted[] = {
		{ "PATH", "/usr/local/bin:/usr/bin:/bin" },
		{ "HOME", pw && pw->pw_dir[0] ? pw->pw_dir : "/" },
		{ "LANG", "C.UTF-8" },
		{ "GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE", request->resource },
		{ "GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE", request->kind == KEYFOB_KIND_ID ? "urn:ietf:params:oauth:token-type:id_token"
											: "urn:ietf:params:oauth:token-type:jwt" },
		{ "GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE", "0" },
		/* These two are of Google's library for Python: nobody is known by name, and nothing is to be revoked. */
		{ "GOOGLE_EXTERNAL_ACCOUNT_ID", "" },
		{ "GOOGLE_EXTERNAL_ACCOUNT_REVOKE", "0" },
		{ "KUBERNETES_EXEC_INFO", EXEC_INFO },
	};
	size_t count = sizeof(wanted) / sizeof(wanted[0]);
	char **environment = calloc(count + 1, sizeof(*environment));

	for (size_t i = 0; environment && i < count; i++) {
		environment[i] = variable(wanted[i].name, wanted[i].value);
		if (!environment[i]) {
			free_environment(environment);
			return NULL;
		}
	}
	return environment;
}

static void leave_descriptors_behind(void)
{
	if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
		return;
	for (int fd = 3; fd < FD_SETSIZE; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* In the child; only async-signal-safe calls. */
static void __attribute__((noreturn)) become_program(char *const *arguments, char **environment, int in, const int ends[3])
{
	sigset_t none;
	int error;

	setpgid(0, 0);
	/* Where the fetch is killed, nobody reads what the program prints. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	leave_descriptors_behind();
	if (chdir("/") == 0 && dup2(in, 0) == 0 && dup2(ends[0], 1) == 1 && dup2(ends[1], 2) == 2)
		execve(arguments[0], arguments, environment);
	error = errno;
	if (write(ends[2], &error, sizeof(error)) != sizeof(error))
		_exit(126);
	_exit(127);
}

static void close_all(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static bool start(struct run *run, char *const *arguments, char **environment)
{
	int reads[3] = { -1, -1, -1 }, writes[3] = { -1, -1, -1 };

	for (size_t i = 0; i < 3; i++) {
		int ends[2];

		if (pipe2(ends, O_CLOEXEC) != 0)
			goto fail;
		reads[i] = ends[0];
		writes[i] = ends[1];
		/* Above the standard three, so that dup2 in the child cannot hit another end. */
		if (ends[0] <= 2 || ends[1] <= 2 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0)
			goto fail;
	}
	run->pid = fork();
	if (run->pid < 0)
		goto fail;
	if (run->pid == 0)
		become_program(arguments, environment, run->in, writes);
	/* Both sides do it, so that neither has to wait for the other. */
	setpgid(run->pid, run->pid);
	close_all(writes, 3);
	run->pidfd = (int)syscall(SYS_pidfd_open, run->pid, 0);
	run->out = reads[0];
	run->err = reads[1];
	run->failed_exec = reads[2];
	return true;
fail:
	close_all(reads, 3);
	close_all(writes, 3);
	return false;
}

/* --- watching --------------------------------------------------------------- */

/* Read what is there. At the end of file the descriptor is closed and becomes -1. */
static void drain(int *fd, struct buffer *to, bool *overflow)
{
	uint8_t chunk[4096];
	ssize_t n = 1;

	/* Not for ever: the deadline is somebody else's to watch. */
	for (int i = 0; i < DRAIN_CHUNKS && *fd >= 0; i++) {
		size_t room = to->limit - to->length, take;

		n = read(*fd, chunk, sizeof(chunk));
		if (n <= 0)
			break;
		take = (size_t)n < room ? (size_t)n : room;
		buffer_put(to, chunk, take);
		if (take < (size_t)n && overflow)
			*overflow = true;
	}
	if (n == 0)
		close_all(fd, 1);
	explicit_bzero(chunk, sizeof(chunk));
}

static void take_output(struct run *run, long wait_ms)
{
	struct pollfd fds[] = {
		{ .fd = run->out, .events = POLLIN },
		{ .fd = run->err, .events = POLLIN },
		{ .fd = run->ended ? -1 : run->pidfd, .events = POLLIN },
	};

	poll(fds, sizeof(fds) / sizeof(fds[0]), (int)wait_ms);
	drain(&run->out, &run->output, &run->too_long);
	drain(&run->err, &run->errors, NULL);
}

static bool has_ended(struct run *run)
{
	if (!run->ended && waitpid(run->pid, &run->status, WNOHANG) == run->pid)
		run->ended = true;
	return run->ended;
}

/* Until the program ended, the time is up or it printed too much. */
static void watch(struct run *run, long deadline)
{
	while (!has_ended(run) && !run->too_long) {
		long left = deadline - now_ms();

		if (left <= 0) {
			run->timed_out = true;
			return;
		}
		take_output(run, left < TICK_MS ? left : TICK_MS);
	}
}

static void stop(struct run *run)
{
	long deadline = now_ms() + KILL_AFTER_MS;

	kill(-run->pid, SIGTERM);
	while (!has_ended(run) && now_ms() < deadline)
		poll(NULL, 0, TICK_MS);
}

/* Send SIGKILL to every child this process has, adopted ones too; false when there is none. */
static bool kill_children(void)
{
	FILE *list = fopen("/proc/thread-self/children", "re");
	bool any = false;
	int pid;

	while (list && fscanf(list, "%d", &pid) == 1) {
		kill(pid, SIGKILL);
		any = true;
	}
	if (list)
		fclose(list);
	return any;
}

/*
 * Descendants that left the process group are reparented to this process,
 * the subreaper, as their parents die: so ending children until none is
 * left ends them all. A program that forks faster than this gets no more
 * than the time of one refusal to end; keyfob-fetch's own end comes next.
 */
static void end_descendants(struct run *run)
{
	long deadline = now_ms() + KILL_AFTER_MS;

	if (!run->ended)
		kill(-run->pid, SIGKILL);
	do {
		bool any = kill_children();
		pid_t pid;

		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0 || (pid < 0 && errno == EINTR))
			;
		if (pid < 0 && !any)
			return;
		poll(NULL, 0, 1);
	} while (now_ms() < deadline);
}

/* --- judging ---------------------------------------------------------------- */

static void tell_errors(const struct run *run, const struct keyfob_request *request)
{
	const char *at = run->errors.length ? (const char *)run->errors.data : "", *end = at + run->errors.length;
	char shown[500];

	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t length = newline ? (size_t)(newline - at) : (size_t)(end - at);

		report_text(shown, sizeof(shown), at, length, REPORT_MASK_ALL);
		report_tell(request, "stderr: %s", shown);
		at += length + 1;
	}
}

static void read_output(const struct run *run, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	exec_output_read(run->output.length ? (const char *)run->output.data : "", run->output.length,
		keyfob_setting(request, "format", "auto"), request->kind, time(NULL), reply);
}

/* Many a program says why it failed on its standard output, and then fails. */
static bool said_why(const struct run *run, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct keyfob_reply said = { 0 };

	read_output(run, request, &said);
	if (said.class == KEYFOB_CLASS_PERMANENT)
		*reply = said;
	if (said.token)
		explicit_bzero(said.token, said.length);
	free(said.token);
	return said.class == KEYFOB_CLASS_PERMANENT;
}

static void judge_exit(const struct run *run, struct keyfob_reply *reply)
{
	bool by_signal = WIFSIGNALED(run->status);
	int code = by_signal ? WTERMSIG(run->status) : WEXITSTATUS(run->status);
	char shown[ERROR_SHOWN] = "";

	if (run->errors.length)
		report_text(shown, sizeof(shown), run->errors.data, run->errors.length, REPORT_MASK_ALL);
	if (by_signal)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "the program was ended by signal %d (%s)%s%s", code, strsignal(code),
			shown[0] ? ": " : "", shown);
	else
		keyfob_fail(reply, code == 126 || code == 127 ? KEYFOB_CLASS_CONFIG : KEYFOB_CLASS_TRANSIENT,
			"the program exited with %d%s%s", code, shown[0] ? ": " : "", shown);
}

static void judge(struct run *run, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	int error = 0;

	if (read(run->failed_exec, &error, sizeof(error)) == sizeof(error))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "cannot run %.200s: %s", request->arguments[0], strerror(error));
	else if (run->timed_out)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "the program did not end within %u s; timeout= may be raised", request->timeout);
	else if (run->too_long)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "the program printed more than %d KiB", OUTPUT_MAX / 1024);
	else if (WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0)
		read_output(run, request, reply);
	else if (!said_why(run, request, reply))
		judge_exit(run, reply);
}

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct run run = { .in = -1, .out = -1, .err = -1, .failed_exec = -1, .pidfd = -1 };
	char **environment = NULL;
	long grace;

	if (!request->arguments || !request->arguments[0]) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "no program; write -- /absolute/path and its arguments at the end of the line");
		return;
	}
	if (!check_program(request->own, request->arguments[0], reply))
		return;
	buffer_init(&run.output, OUTPUT_MAX);
	buffer_init(&run.errors, ERROR_MAX);
	environment = make_environment(request);
	report_tell(request, "run %s", request->arguments[0]);
	run.in = exec_input_open(keyfob_setting(request, "format", "auto"), request->resource);
	if (!environment || run.in < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 || !start(&run, request->arguments, environment)) {
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "cannot start a program: %s", strerror(errno));
		goto out;
	}
	watch(&run, now_ms() + request->timeout * 1000L);
	if (!run.ended)
		stop(&run);
	grace = now_ms() + GRACE_MS;
	while (run.ended && !run.too_long && (run.out >= 0 || run.err >= 0) && now_ms() < grace)
		take_output(&run, TICK_MS);
	end_descendants(&run);
	tell_errors(&run, request);
	judge(&run, request, reply);
out:
	close_all((int[]){ run.in, run.out, run.err, run.failed_exec, run.pidfd }, 5);
	free_environment(environment);
	buffer_free(&run.output);
	buffer_free(&run.errors);
}

static const struct keyfob_option options[] = {
	{ "format", KEYFOB_OPTION_CHOICE, 0, "auto|raw|google|k8s|oauth|spire|docker|git",
		"what the program prints; default: auto, which takes raw output only when it is a JWT. "
		"docker and git also give the resource, a URL, to its standard input" },
	{ "arguments", KEYFOB_OPTION_TEXT, KEYFOB_OPTION_REQUIRED | KEYFOB_OPTION_ARGUMENTS, "-- /PROGRAM ARGUMENT...",
		"the program by absolute path, root's alone all the way, and its arguments; no shell" },
};

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = "callback-exec",
	.help = "the token that a program of yours prints",
	.sandbox = KEYFOB_SANDBOX_EXEC,
	.kind = KEYFOB_KIND_ACCESS,
	.example = "[credential atlas]\n"
		   "resource = api://00000000-0000-0000-0000-000000000000\n"
		   "provider = callback-exec run_as=orders timeout=10s -- /usr/libexec/corp-token --db orders\n"
		   "allow    = user:orders\n",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
