/* SPDX-License-Identifier: Apache-2.0 */
#include "common/service.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/sandbox.h"
#include "common/wire.h"

#define FIRST_INHERITED_FD 3
#define RUN_DIRECTORY "/run/keyfob"
#define GUARD_MS 20
#define PLANNED_FDS 65536

static int notify_fd = -1;
static struct event *watch;
static bool guarded;

void service_stdio(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
		continue;
	close(fd);
}

void service_files(void)
{
	struct rlimit files = { PLANNED_FDS, PLANNED_FDS };

	if (setrlimit(RLIMIT_NOFILE, &files) < 0 && getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

bool service_user(const char *name, struct passwd *user)
{
	const struct passwd *found = getpwnam(name);

	if (!found) {
		log_error("the system user %s is missing (systemd-sysusers, or make deps)", name);
		return false;
	}
	*user = *found;
	if (geteuid() == 0 || geteuid() == user->pw_uid)
		return true;
	log_error("must be started as root or as %s", name);
	return false;
}

bool service_become(const struct passwd *user)
{
	char why[256];
	int error = sandbox_become(user->pw_uid, user->pw_gid, why, sizeof(why));

	if (*why)
		log_line(error ? LOG_ERR : LOG_WARNING, "%s", why);
	return error == 0;
}

struct event_base *service_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	if (!config)
		return NULL;
	event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

void service_open(void)
{
	const char *path = secure_getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length;

	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(address.sun_path))
		return;
	length = strlen(path);
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (notify_fd >= 0 &&
		connect(notify_fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0) {
		close(notify_fd);
		notify_fd = -1;
	}
}

static void say(const char *text)
{
	if (notify_fd >= 0)
		send(notify_fd, text, strlen(text), MSG_NOSIGNAL);
}

void service_ready(void)
{
	say("READY=1");
}

void service_reloading(void)
{
	char text[64];
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRId64, (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	say(text);
}

void service_stopping(void)
{
	say("STOPPING=1");
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	say("WATCHDOG=1");
}

bool service_watch(struct event_base *base)
{
	const char *pid = secure_getenv("WATCHDOG_PID"), *text = secure_getenv("WATCHDOG_USEC");
	int64_t half = text ? strtoll(text, NULL, 10) / 2 : 0;
	struct timeval often = { half / 1000000, half % 1000000 };

	if (notify_fd < 0 || half <= 0 || (pid && strtol(pid, NULL, 10) != getpid()))
		return true;
	watch = event_new(base, -1, EV_PERSIST, on_watch, NULL);
	return watch && event_add(watch, &often) == 0;
}

void service_watch_stop(void)
{
	if (watch)
		event_free(watch);
	watch = NULL;
}

static int inherited_socket(const char *path)
{
	const char *pid = secure_getenv("LISTEN_PID"), *count = secure_getenv("LISTEN_FDS");
	struct sockaddr_un address;
	socklen_t length;

	if (!pid || !count || strtol(pid, NULL, 10) != getpid())
		return -1;
	for (int fd = FIRST_INHERITED_FD; fd < FIRST_INHERITED_FD + atoi(count); fd++) {
		length = sizeof(address);
		memset(&address, 0, sizeof(address));
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		if (getsockname(fd, (struct sockaddr *)&address, &length) == 0 && address.sun_family == AF_UNIX &&
			strncmp(address.sun_path, path, sizeof(address.sun_path)) == 0) {
			fcntl(fd, F_SETFL, O_NONBLOCK);
			return fd;
		}
	}
	return -1;
}

/* Clients believe whoever listens there to be the broker, so nobody else may be able to put a socket there. */
static bool check_socket_directory(const char *path)
{
	char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct stat st;
	const char *directory;

	snprintf(copy, sizeof(copy), "%s", path);
	directory = dirname(copy);
	if (strcmp(directory, RUN_DIRECTORY) == 0 && mkdir(RUN_DIRECTORY, 0755) < 0 && errno != EEXIST)
		log_error("%s: %s", RUN_DIRECTORY, strerror(errno));
	if (stat(directory, &st) < 0) {
		log_error("%s: %s", directory, strerror(errno));
		return false;
	}
	if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH)) {
		log_error("%s: must be owned by %s and not writable by group or others", directory, geteuid() == 0 ? "root" : "you");
		return false;
	}
	return true;
}

/* A socket that nobody listens on is what a killed broker left behind. */
static bool is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool stale = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return stale;
}

static int bind_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, bound;
	mode_t mask;

	if (strlen(path) >= sizeof(address.sun_path)) {
		log_error("%s: a socket's path has at most %zu bytes", path, sizeof(address.sun_path) - 1);
		return -1;
	}
	strcpy(address.sun_path, path);
	if (!check_socket_directory(path))
		return -1;
	if (is_stale(&address))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0111);
	bound = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (bound < 0 || listen(fd, SOMAXCONN) < 0) {
		log_error("%s: %s", path, errno == EADDRINUSE ? "another one serves there" : strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

int service_listen(const char *path)
{
	int fd = inherited_socket(path);

	return fd >= 0 ? fd : bind_at(path);
}

int service_reach(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int fd, error = 0;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		error = -errno;
	else if (peer.uid != 0 && peer.uid != geteuid())
		error = -EPERM;
	if (error == 0)
		return fd;
	close(fd);
	return error;
}

static void on_alarm(int number)
{
	(void)number;
}

void service_guard_listener(int listener)
{
	guarded = !wire_refuse_descriptors(listener);
	if (guarded)
		signal(SIGALRM, on_alarm);
}

void service_guard(bool on)
{
	struct itimerval timer = { { 0, on ? GUARD_MS * 1000 : 0 }, { 0, on ? GUARD_MS * 1000 : 0 } };

	if (guarded)
		setitimer(ITIMER_REAL, &timer, NULL);
}
