/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loaded ahead into all programs of a test's own host (ld.so.preload): those
 * of keyfob, but for its emulator, and the test's readers go by another clock
 * than the kernel does. The file CLOCK holds by how many seconds the wall
 * clock, and the time since boot, are ahead; it is looked at at each call, in
 * memory, so that it reaches who may open nothing any more.
 *
 * The kernel's own clock stays as it is, and with it the timeouts of keys. A
 * timer that is to be told when the clock is set is told by tests/helpers/step-clock.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define CLOCK "/srv/clock"
#define CLOCK_SIZE 64
#define EXPORT __attribute__((visibility("default")))

static const char *ahead; /* NULL: this program's clock is the kernel's */
static int timer = -1;
static long armed_at; /* by how much the clock was ahead when the timer was set */

static __attribute__((constructor)) void start(void)
{
	const char *name = program_invocation_short_name;
	int fd = -1;

	if ((strncmp(name, "keyfob", 6) == 0 && strcmp(name, "keyfob-emulator") != 0) || strcmp(name, "crowd") == 0)
		fd = open(CLOCK, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		void *map = mmap(NULL, CLOCK_SIZE, PROT_READ, MAP_SHARED, fd, 0);

		ahead = map == MAP_FAILED ? NULL : map;
		close(fd);
	}
}

static long wall_ahead(void)
{
	return ahead ? strtol(ahead, NULL, 10) : 0;
}

static long boot_ahead(void)
{
	char *end;

	if (!ahead)
		return 0;
	strtol(ahead, &end, 10);
	return strtol(end, NULL, 10);
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*next)(clockid_t, struct timespec *);
	int rc;

	if (!next)
		next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	rc = next(clock, now);
	if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += wall_ahead();
	else if (rc == 0 && clock == CLOCK_BOOTTIME)
		now->tv_sec += boot_ahead();
	return rc;
}

EXPORT time_t time(time_t *at)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		*at = now.tv_sec;
	return now.tv_sec;
}

EXPORT int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}

EXPORT int timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
	int (*next)(int, int, const struct itimerspec *, struct itimerspec *) =
		(int (*)(int, int, const struct itimerspec *, struct itimerspec *))dlsym(RTLD_NEXT, "timerfd_settime");
	struct itimerspec real = *when;
	bool was_set = ahead && fd == timer && armed_at != wall_ahead();
	int rc;

	if (ahead && flags & TFD_TIMER_ABSTIME) {
		timer = fd;
		armed_at = wall_ahead();
		real.it_value.tv_sec -= armed_at;
		if (real.it_value.tv_sec < 0)
			real.it_value = (struct timespec){ .tv_nsec = 1 };
	}
	rc = next(fd, flags, &real, old);
	/* As the kernel does, timerfd_create(2): armed all the same. */
	if (rc == 0 && was_set) {
		errno = ECANCELED;
		return -1;
	}
	return rc;
}

EXPORT ssize_t read(int fd, void *to, size_t size)
{
	static ssize_t (*next)(int, void *, size_t);
	ssize_t got;

	if (!next)
		next = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
	got = next(fd, to, size);
	if (fd == timer && fd >= 0 && got > 0 && armed_at != wall_ahead()) {
		errno = ECANCELED;
		return -1;
	}
	return got;
}
