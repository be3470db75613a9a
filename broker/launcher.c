/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/launcher.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/confine.h"
#include "common/log.h"
#include "common/sandbox.h"
#include "common/wire.h"

#define LAST_ROUNDS 300 /* of 10 ms, to end what runs when keyfobd is gone */
#define HELPER_SECONDS 10 /* a look-up or a description that takes longer is ended */

/* A child that is known: a fetch, or a helper that answers one question (id 0). */
struct child {
	struct child *next;
	pid_t pid;
	uint32_t id;
	bool is_fetch;
};

struct launcher {
	const struct launcher_options *options;
	int broker;
	int signals;
	struct child *children;
};

/* The socket between the two does not block, but a moment's wait beats a lost request. */
static int send_patiently(int socket_fd, const struct buffer *request, int fd)
{
	struct pollfd writable = { .fd = socket_fd, .events = POLLOUT };
	int error = wire_send(socket_fd, request, fd);

	if (error == -EAGAIN && poll(&writable, 1, 1000) > 0)
		error = wire_send(socket_fd, request, fd);
	return error;
}

/* --- in the child -------------------------------------------------------------- */

static void reset_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
}

/* For good: with all three ids of another user the kernel takes the capabilities too. Without root we are who we are. */
static bool become(const struct launcher *l, const struct passwd *user)
{
	return l->options->own || geteuid() != 0 ||
	       (user && user->pw_uid != 0 && initgroups(user->pw_name, user->pw_gid) == 0 &&
		       setresgid(user->pw_gid, user->pw_gid, user->pw_gid) == 0 &&
		       setresuid(user->pw_uid, user->pw_uid, user->pw_uid) == 0);
}

/* Where memory runs out the kernel ends a fetch first, and not who keeps the tokens. For a user's own broker it may stay as it is. */
static void go_first(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "1000");
	close(fd);
}

static void __attribute__((noreturn)) exec_fetch(const struct launcher *l, const struct passwd *user, int fd, const char *describe)
{
	char *argv[6] = { (char *)(uintptr_t)l->options->fetch, (char *)(uintptr_t) "--module-dir",
		(char *)(uintptr_t)l->options->module_dir, (char *)(uintptr_t)(describe ? "--describe" : NULL), (char *)(uintptr_t)describe,
		NULL };
	char *environment[2] = { (char *)(uintptr_t) "PATH=/usr/local/bin:/usr/bin:/bin", NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	reset_signals();
	go_first();
	/* After the change of user, which takes it back. A launcher that is gone ends no fetch. */
	if (null < 0 || setsid() < 0 || !become(l, user) || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || dup2(describe ? null : fd, 0) < 0 ||
		dup2(fd, 1) < 0 || dup2(null, 2) < 0 || chdir("/") < 0)
		_exit(sandbox_may_pass(errno) ? LAUNCHER_EXIT_LACK : LAUNCHER_EXIT_USER);
	close_range(3, ~0u, 0);
	execve(l->options->fetch, argv, environment);
	_exit(sandbox_may_pass(errno) ? LAUNCHER_EXIT_LACK : LAUNCHER_EXIT_PROGRAM);
}

/* A directory that is away must not look like a user who is gone: then there is no answer at all. */
static void look_up_groups(const char *uid, struct buffer *answer)
{
	struct passwd *user;
	int count = LAUNCHER_GROUPS_MAX;
	gid_t *groups = calloc((size_t)count, sizeof(*groups));

	errno = 0;
	user = getpwuid((uid_t)strtoul(uid, NULL, 10));
	if (!groups || (!user && errno != 0 && errno != ENOENT && errno != ESRCH) ||
		(user && getgrouplist(user->pw_name, user->pw_gid, groups, &count) < 0)) {
		answer->failed = true;
		free(groups);
		return;
	}
	buffer_put_u8(answer, user != NULL);
	if (user) {
		buffer_put_text(answer, user->pw_name);
		buffer_put_u32(answer, (uint32_t)count);
		for (int i = 0; i < count; i++)
			buffer_put_u32(answer, groups[i]);
	}
	free(groups);
}

static void look_up(struct reader *r, struct buffer *answer)
{
	uint32_t count = reader_u32(r);
	char name[257];

	buffer_put_u32(answer, count);
	for (uint32_t i = 0; i < count && !r->failed; i++) {
		uint8_t kind = reader_u8(r);
		struct passwd *user;
		struct group *group;

		reader_text(r, name, sizeof(name));
		if (kind == LAUNCHER_NAME_GROUPS) {
			look_up_groups(name, answer);
		} else if (kind == LAUNCHER_NAME_GROUP) {
			group = getgrnam(name);
			buffer_put_u8(answer, group != NULL);
			buffer_put_u32(answer, group ? group->gr_gid : 0);
		} else {
			user = getpwnam(name);
			buffer_put_u8(answer, user != NULL);
			buffer_put_u32(answer, user ? user->pw_uid : 0);
		}
	}
}

/* In a child of its own: a directory service that hangs must not keep fetches waiting. */
static void __attribute__((noreturn)) answer_lookup(struct reader *r, int fd)
{
	struct buffer answer;

	reset_signals();
	alarm(HELPER_SECONDS);
	buffer_init(&answer, WIRE_MAX);
	look_up(r, &answer);
	_exit(wire_send(fd, &answer, -1) == 0 ? 0 : 1);
}

/* Only where an administrator puts what is meant for keyfob: not any file of root's, if keyfobd is not its own master. */
static bool is_secret_place(const char *path, const char *config_dir)
{
	static const char *const places[] = { "/run/credentials", "/run/secrets" };
	size_t length = strlen(config_dir);
	bool found = strncmp(path, config_dir, length) == 0 && path[length] == '/';

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		length = strlen(places[i]);
		found = found || (strncmp(path, places[i], length) == 0 && path[length] == '/');
	}
	return found;
}

/* NULL, or why not. The descriptor is the fetch's only way to it: the file itself is closed to that user. */
static const char *open_secret(const char *named, const char *config_dir, int *fd)
{
	char path[PATH_MAX];
	struct stat st;

	/* Kubernetes mounts secrets as links to where they really are. */
	if (!realpath(named, path))
		return strerror(errno);
	if (!is_secret_place(path, config_dir))
		return "is not below the configuration's directory, /run/credentials or /run/secrets";
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0 || fstat(*fd, &st) < 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "is not a file";
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return "is not owned by root";
	if (st.st_mode & (S_IWGRP | S_IRWXO))
		return "may be written by its group or read by others (chmod 0600)";
	return st.st_size > WIRE_SECRET_MAX ? "has more than 64 KiB" : NULL;
}

static void __attribute__((noreturn)) answer_secret(struct reader *r, int fd, const char *config_dir)
{
	char name[64], path[PATH_MAX];
	struct buffer answer;
	const char *error;
	int secret = -1;

	reset_signals();
	alarm(HELPER_SECONDS);
	reader_text(r, name, sizeof(name));
	reader_text(r, path, sizeof(path));
	if (!reader_done(r))
		_exit(1);
	errno = 0;
	error = open_secret(path, config_dir, &secret);
	buffer_init(&answer, WIRE_MAX);
	/* Of no name: the line of the configuration is not at fault. */
	buffer_put_text(&answer, error && sandbox_may_pass(errno) ? "" : name);
	buffer_put_text(&answer, error);
	_exit(send_patiently(fd, &answer, error ? -1 : secret) == 0 ? 0 : 1);
}

/* --- in the launcher ------------------------------------------------------------ */

static void report(struct launcher *l, enum launcher_event event, uint32_t id, int value)
{
	struct buffer b;

	buffer_init(&b, 16);
	buffer_put_u8(&b, (uint8_t)event);
	buffer_put_u32(&b, id);
	buffer_put_u32(&b, (uint32_t)value);
	send_patiently(l->broker, &b, -1);
	buffer_free(&b);
}

static void start(struct launcher *l, struct reader *r, int fd)
{
	uint8_t request = reader_u8(r);
	uint32_t id = request == LAUNCHER_FETCH ? reader_u32(r) : 0;
	uid_t uid = request == LAUNCHER_FETCH ? reader_u32(r) : 0;
	char module[WIRE_NAME_MAX + 1] = "";
	struct child *child;
	pid_t pid = -1;

	if (request == LAUNCHER_DESCRIBE)
		reader_text(r, module, sizeof(module));
	if (r->failed || (request == LAUNCHER_DESCRIBE && !wire_name_valid(module)))
		return;
	/* Before there is a child: one that is not known would be taken for an orphan. */
	child = malloc(sizeof(*child));
	if (child)
		pid = fork();
	errno = 0;
	if (pid == 0) {
		if (request == LAUNCHER_LOOKUP)
			answer_lookup(r, fd);
		if (request == LAUNCHER_SECRET)
			answer_secret(r, fd, l->options->config_dir);
		if (request == LAUNCHER_FETCH)
			exec_fetch(l, getpwuid(uid), fd, NULL);
		alarm(HELPER_SECONDS);
		if (request >= LAUNCHER_FILES) {
			reset_signals();
			if (l->options->run_dir)
				launcher_serve_files(request, r, fd, l->options->run_dir);
			_exit(0);
		}
		exec_fetch(l, getpwnam(LAUNCHER_USER_FETCH), fd, module);
	}
	if (pid > 0) {
		*child = (struct child){ .next = l->children, .pid = pid, .id = id, .is_fetch = request == LAUNCHER_FETCH };
		l->children = child;
	} else {
		free(child);
	}
	if (request == LAUNCHER_FETCH)
		report(l, pid > 0 ? LAUNCHER_STARTED : LAUNCHER_ENDED, id, pid > 0 ? pid : LAUNCHER_EXIT_LACK << 8);
}

/* The leader and his group at once; whoever left the group is found as an orphan when the leader is gone. */
static void end_fetch(struct launcher *l, uint32_t id)
{
	for (struct child *c = l->children; c; c = c->next) {
		if (!c->is_fetch || c->id != id)
			continue;
		kill(-c->pid, SIGKILL);
		kill(c->pid, SIGKILL);
	}
}

static bool is_known(const struct launcher *l, pid_t pid)
{
	for (const struct child *c = l->children; c; c = c->next)
		if (c->pid == pid)
			return true;
	return false;
}

static void reap(struct launcher *l)
{
	siginfo_t info = { .si_pid = 0 };
	int status;
	pid_t pid;

	/* Its group is ended while its pid is still its own. */
	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && (pid = info.si_pid) > 0) {
		if (is_known(l, pid))
			kill(-pid, SIGKILL);
		if (waitpid(pid, &status, 0) != pid)
			return;
		info.si_pid = 0;
		for (struct child **at = &l->children; *at; at = &(*at)->next) {
			struct child *gone = *at;

			if (gone->pid != pid)
				continue;
			*at = gone->next;
			if (gone->is_fetch)
				report(l, LAUNCHER_ENDED, gone->id, status);
			free(gone);
			break;
		}
	}
}

/*
 * What a fetch forked and left behind falls to the launcher, its subreaper. No
 * such orphan has work to do. They cannot escape being seen: only the
 * launcher reaps them, so their pids stay theirs.
 */
static void end_orphans(struct launcher *l)
{
	char path[64], list[65536];
	ssize_t length;
	char *at = list, *end;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	length = read(fd, list, sizeof(list) - 1);
	close(fd);
	list[length > 0 ? length : 0] = 0;
	for (;; at = end) {
		long pid = strtol(at, &end, 10);

		if (end == at)
			return;
		if (pid > 0 && !is_known(l, (pid_t)pid))
			kill((pid_t)pid, SIGKILL);
	}
}

/* keyfobd is gone, and nobody waits for what runs. What a fetch started comes up as an orphan once the fetch is dead. */
static void __attribute__((noreturn)) end_all(struct launcher *l)
{
	siginfo_t any;

	for (struct child *c = l->children; c; c = c->next) {
		if (c->is_fetch)
			kill(-c->pid, SIGKILL);
		kill(c->pid, SIGKILL);
	}
	for (int i = 0; i < LAST_ROUNDS && waitid(P_ALL, 0, &any, WEXITED | WNOHANG | WNOWAIT) == 0; i++) {
		reap(l);
		end_orphans(l);
		poll(NULL, 0, 10);
	}
	_exit(0);
}

static void serve(struct launcher *l, struct buffer *frame)
{
	struct reader r;
	int fd = -1;
	int error = wire_receive(l->broker, frame, &fd);

	if (error == -EAGAIN || error == -EMSGSIZE || error == -ENOMEM)
		return;
	if (error < 0)
		end_all(l);
	reader_init(&r, frame->data, frame->length);
	if (frame->length && frame->data[0] == LAUNCHER_KILL) {
		reader_u8(&r);
		end_fetch(l, reader_u32(&r));
	} else if (frame->length && fd >= 0 && frame->data[0] >= LAUNCHER_FETCH && frame->data[0] < LAUNCHER_KILL) {
		start(l, &r, fd);
	}
	if (fd >= 0)
		close(fd);
}

static void __attribute__((noreturn)) run(struct launcher *l)
{
	struct pollfd polls[2] = { { .fd = l->broker, .events = POLLIN }, { .fd = l->signals, .events = POLLIN } };
	struct signalfd_siginfo info;
	struct buffer frame;

	buffer_init(&frame, WIRE_MAX);
	for (;;) {
		if (poll(polls, 2, -1) < 0 && errno != EINTR)
			_exit(1);
		if (polls[1].revents) {
			while (read(l->signals, &info, sizeof(info)) > 0)
				continue;
			reap(l);
			end_orphans(l);
		}
		if (polls[0].revents)
			serve(l, &frame);
	}
}

static void __attribute__((noreturn)) launcher_main(const struct launcher_options *options, int broker)
{
	struct launcher l = { .options = options, .broker = broker };
	char why[256];
	sigset_t mask;

	/* A terminal's ^C reaches both of us: the launcher ends when keyfobd does, and not before. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	l.signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l.signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || prctl(PR_SET_NAME, "keyfobd-launch") < 0)
		_exit(1);
	if (confine_launcher(why, sizeof(why)) < 0) {
		log_error("launcher: %s", why);
		_exit(1);
	}
	run(&l);
}

int launcher_start(const struct launcher_options *options, pid_t *pid)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	*pid = fork();
	if (*pid < 0)
		return -errno;
	if (*pid == 0) {
		close(pair[0]);
		launcher_main(options, pair[1]);
	}
	close(pair[1]);
	return pair[0];
}

/* --- in keyfobd ------------------------------------------------------------------ */

int launcher_fetch(int launcher, uint32_t id, uid_t uid, int fetch_socket)
{
	struct buffer b;
	int error;

	buffer_init(&b, 32);
	buffer_put_u8(&b, LAUNCHER_FETCH);
	buffer_put_u32(&b, id);
	buffer_put_u32(&b, uid);
	error = send_patiently(launcher, &b, fetch_socket);
	buffer_free(&b);
	return error;
}

int launcher_kill(int launcher, uint32_t id)
{
	struct buffer b;
	int error;

	buffer_init(&b, 32);
	buffer_put_u8(&b, LAUNCHER_KILL);
	buffer_put_u32(&b, id);
	error = send_patiently(launcher, &b, -1);
	buffer_free(&b);
	return error;
}

int launcher_secret(int launcher, const char *name, const char *path, int fetch_socket)
{
	struct buffer b;
	int error;

	buffer_init(&b, WIRE_MAX);
	buffer_put_u8(&b, LAUNCHER_SECRET);
	buffer_put_text(&b, name);
	buffer_put_text(&b, path);
	error = send_patiently(launcher, &b, fetch_socket);
	buffer_free(&b);
	return error;
}

int launcher_send(int launcher, const struct buffer *request, int *answer_socket)
{
	/* A stream: keyfob-fetch --describe writes to a pipe as well, where there are no frames. */
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	error = send_patiently(launcher, request, pair[1]);
	close(pair[1]);
	if (error < 0)
		close(pair[0]);
	else
		*answer_socket = pair[0];
	return error;
}

int launcher_ask(int launcher, const struct buffer *request, int timeout_ms, struct buffer *answer)
{
	struct pollfd readable = { .events = POLLIN };
	int error = launcher_send(launcher, request, &readable.fd);

	if (error < 0)
		return error;
	buffer_clear(answer);
	for (;;) {
		int ready = poll(&readable, 1, timeout_ms);
		uint8_t *to = buffer_reserve(answer, 4096);
		ssize_t got;

		if (ready <= 0 || !to) {
			error = ready == 0 ? -ETIMEDOUT : !to ? -EMSGSIZE : -errno;
			break;
		}
		got = read(readable.fd, to, 4096);
		if (got <= 0) {
			error = got < 0 ? -errno : answer->length ? 0 : -ECONNRESET;
			break;
		}
		answer->length += (size_t)got;
	}
	close(readable.fd);
	return error;
}
