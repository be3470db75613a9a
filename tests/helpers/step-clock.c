/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step-clock FILE WALL BOOT PID: what tests/modules/other-clock.c reads from FILE is now that the wall clock is WALL seconds
 * ahead and the time since boot BOOT. The timers of that process end, as those do that the kernel cancels when its clock is
 * set. Ends with 77 where its descriptors may not be had.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const struct itimerspec now = { .it_value = { .tv_nsec = 1 } };
	char text[64] = "", path[64], link[64];
	int file = argc == 5 ? open(argv[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1, process;

	if (file < 0)
		return 2;
	snprintf(text, sizeof(text), "%s %s\n", argv[2], argv[3]);
	if (pwrite(file, text, sizeof(text), 0) != sizeof(text))
		return 1;
	process = pidfd_open((pid_t)atoi(argv[4]), 0);
	for (int fd = 0; process >= 0 && fd < 64; fd++) {
		ssize_t length;
		int timer;

		snprintf(path, sizeof(path), "/proc/%s/fd/%d", argv[4], fd);
		length = readlink(path, link, sizeof(link) - 1);
		link[length > 0 ? length : 0] = 0;
		if (!strstr(link, "[timerfd]"))
			continue;
		timer = pidfd_getfd(process, fd, 0);
		if (timer < 0)
			return errno == EPERM ? 77 : 1;
		timerfd_settime(timer, 0, &now, NULL);
		close(timer);
	}
	return process < 0;
}
