/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/caller.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* since Linux 6.5 */
#endif

/* Kept open: what Landlock lets through is this directory, as long as the kernel does not forget it. */
static int fdinfo = -1;
static int own_depth;

/* How many PID namespaces, from that of /proc down, know the process that the text is about. */
static int depth(const char *text)
{
	const char *at = strstr(text, "\nNSpid:");
	int count = 0;

	if (!at)
		return 0;
	for (at += strlen("\nNSpid:"); *at == '\t'; count++) {
		char *end;
		long pid = strtol(at + 1, &end, 10);

		if (pid < 0)
			return -ESRCH;
		if (pid == 0)
			return -EXDEV;
		at = end;
	}
	return count;
}

static int read_depth(int pidfd)
{
	char name[16], text[1024];
	ssize_t length;
	int fd, error;

	snprintf(name, sizeof(name), "%d", pidfd);
	fd = openat(fdinfo, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = read(fd, text, sizeof(text) - 1);
	error = errno;
	close(fd);
	if (length < 0)
		return -error;
	text[length] = 0;
	return depth(text);
}

/*
 * Before Linux 6.5 by number: who ends at once, and leaves his end to a child,
 * could in theory be taken for another process that got the same number
 * before he was asked about.
 */
static int open_peer(int fd, pid_t pid)
{
	socklen_t length = sizeof(int);
	int pidfd;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0)
		return pidfd;
	pidfd = errno == ENOPROTOOPT ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	if (pidfd >= 0)
		return pidfd;
	/* Kernels differ in how they say that a process is gone. */
	return errno == EINVAL || errno == ENODATA ? -ESRCH : -errno;
}

static int peer_depth(int fd, pid_t pid)
{
	int pidfd = open_peer(fd, pid), found;

	if (pidfd < 0)
		return pidfd;
	found = read_depth(pidfd);
	close(pidfd);
	return found;
}

static int depth_of_own(void)
{
	int pair[2], found;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	found = peer_depth(pair[0], getpid());
	close(pair[0]);
	close(pair[1]);
	return found;
}

int caller_start(void)
{
	if (fdinfo >= 0)
		close(fdinfo);
	fdinfo = open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fdinfo < 0)
		return -errno;
	own_depth = depth_of_own();
	return own_depth < 0 ? own_depth : 0;
}

int caller_probe(void)
{
	int found = depth_of_own();

	if (found < 0)
		return found;
	return found == own_depth ? 0 : -EXDEV;
}

int caller_where(int fd, pid_t pid)
{
	int found;

	/* The kernel shows 0 for a process that this PID namespace does not see. */
	if (pid <= 0)
		return -EXDEV;
	found = peer_depth(fd, pid);
	if (found < 0)
		return found;
	return found == own_depth ? 0 : -EXDEV;
}
