/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/token-file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void fail_open(const char *path, int error, struct keyfob_reply *reply)
{
	/* A link that was swapped after the sandbox was set up leads out of it. */
	if (error == EACCES && access(path, R_OK) == 0)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%.500s was replaced just now", path);
	else if (error == EACCES)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"%.500s may not be read by the user of this fetch; change its mode, or say run_as=", path);
	else if (error == ENOENT)
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE, "%.500s is not there; check path=, and who writes it", path);
	else
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%.500s cannot be opened: %s", path, strerror(error));
}

static bool read_all(int fd, struct buffer *content)
{
	uint8_t *room = buffer_reserve(content, TOKEN_FILE_MAX + 1);
	size_t have = 0;
	ssize_t n = 0;

	while (room && have <= TOKEN_FILE_MAX && ((n = read(fd, room + have, TOKEN_FILE_MAX + 1 - have)) > 0 || (n < 0 && errno == EINTR)))
		have += n > 0 ? (size_t)n : 0;
	if (!room || n < 0)
		return false;
	content->length += have;
	return true;
}

bool token_file_trim(struct buffer *content, const char *path, struct keyfob_reply *reply)
{
	size_t start = 0, end = content->length;

	while (end && isspace(content->data[end - 1]))
		end--;
	while (start < end && isspace(content->data[start]))
		start++;
	if (end == start) {
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%.500s is empty; it may be just being written", path);
		return false;
	}
	memmove(content->data, content->data + start, end - start);
	content->length = end - start;
	return true;
}

bool token_file_read(const char *path, struct buffer *content, time_t *changed, struct keyfob_reply *reply)
{
	/* A FIFO or a device must not make this wait. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	bool ok = false;

	if (fd < 0) {
		fail_open(path, errno, reply);
		return false;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%.500s is not a regular file", path);
	else if (!read_all(fd, content))
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%.500s cannot be read: %s", path, strerror(errno));
	else if (content->length > TOKEN_FILE_MAX)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%.500s has more than %d KiB; this is no token", path, TOKEN_FILE_MAX / 1024);
	else
		ok = token_file_trim(content, path, reply);
	close(fd);
	*changed = ok ? st.st_mtime : 0;
	return ok;
}
