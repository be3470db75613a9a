/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin-doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

bool doctor_slurp(int fd, const char *path, int flags, size_t limit, struct buffer *b)
{
	int file = openat(fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);
	size_t start = b->length;
	struct stat st;
	bool ok = false;

	if (file < 0)
		return false;
	if (fstat(file, &st) < 0)
		goto out;
	if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		goto out;
	}
	for (;;) {
		uint8_t *to = buffer_reserve(b, 4096);
		ssize_t n = to ? read(file, to, 4096) : -1;

		if (n < 0 && to && errno == EINTR)
			continue;
		ok = n == 0;
		if (n <= 0)
			break;
		b->length += (size_t)n;
		if (b->length - start > limit) {
			errno = EFBIG;
			break;
		}
	}
out:
	close(file);
	return ok;
}

int64_t doctor_number(const char *path)
{
	struct buffer b;
	long long number = -1;

	buffer_init(&b, 8192);
	if (!doctor_slurp(AT_FDCWD, path, 0, 64, &b) || !buffer_cstring(&b) || sscanf((const char *)b.data, "%lld", &number) != 1)
		number = -1;
	buffer_free(&b);
	return number;
}
