/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel shows of a pidfd (/proc/self/fdinfo), by which a caller is
 * taken for one beside the broker or in a container.
 *
 * links: broker/caller
 * wrap: openat
 * parser: broker/caller
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/caller.h"
#include "tests/fuzz/fuzz.h"

int __wrap_openat(int directory, const char *name, int flags, ...);

static const uint8_t *shown;
static size_t shown_length;

/* The file that broker/caller.c opens there. */
int __wrap_openat(int directory, const char *name, int flags, ...)
{
	int fd = memfd_create("fdinfo", MFD_CLOEXEC);

	(void)directory, (void)name, (void)flags;
	if (fd >= 0)
		fuzz_require(write(fd, shown, shown_length) == (ssize_t)shown_length && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char own[] = "pos:\t0\nPid:\t1\nNSpid:\t1\n";
	int pair[2], where;

	if (size > FUZZ_MAX)
		return 0;
	/* The broker lies one deep. */
	shown = (const uint8_t *)own;
	shown_length = sizeof(own) - 1;
	if (caller_start() < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	shown = data;
	shown_length = size;
	where = caller_where(pair[0], getpid());
	fuzz_require(where <= 0);
	/* Whoever is believed to be here has a line that says so, with one number and no more. */
	if (where == 0)
		fuzz_require(memmem(data, size, "\nNSpid:\t", 8));
	close(pair[0]);
	close(pair[1]);
	return 0;
}

void fuzz_seeds(void)
{
	fuzz_text("pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t9\nPid:\t42\nNSpid:\t42\n");
	fuzz_text("pos:\t0\nPid:\t42\nNSpid:\t42\t7\t1\n");
	fuzz_text("pos:\t0\nPid:\t-1\nNSpid:\t-1\n");
	fuzz_text("pos:\t0\nPid:\t0\nNSpid:\t0\n");
	fuzz_text("pos:\t0\nPid:\t1\nNSpid:");
}
