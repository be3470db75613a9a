/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/notify.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FIRST_INHERITED_FD 3

static int notify_fd = -1;

void notify_open(void)
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

void notify_ready(void)
{
	say("READY=1");
}

void notify_reloading(void)
{
	char text[64];
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRId64, (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	say(text);
}

void notify_stopping(void)
{
	say("STOPPING=1");
}

int notify_inherited_socket(const char *path)
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
