/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/exec-input.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/buffer.h"

#define INPUT_MAX 8192

/* Helpers of git know no url=; only git itself does. */
static void put_git(struct buffer *text, const char *resource)
{
	const char *scheme = strstr(resource, "://"), *host = scheme ? scheme + 3 : resource;
	const char *path = host + strcspn(host, "/");

	if (scheme)
		buffer_printf(text, "protocol=%.*s\n", (int)(scheme - resource), resource);
	else
		buffer_printf(text, "protocol=https\n");
	buffer_printf(text, "host=%.*s\n", (int)(path - host), host);
	if (path[0] && path[1])
		buffer_printf(text, "path=%s\n", path + 1);
	buffer_printf(text, "\n");
}

int exec_input_open(const char *format, const char *resource)
{
	struct buffer text;
	int fd = -1;

	buffer_init(&text, INPUT_MAX);
	if (resource[0] && strcmp(format, "docker") == 0)
		buffer_printf(&text, "%s\n", resource);
	else if (resource[0] && strcmp(format, "git") == 0)
		put_git(&text, resource);
	if (!text.length && !text.failed) {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	} else if (!text.failed && (fd = memfd_create("input", MFD_CLOEXEC)) >= 0 &&
		   (write(fd, text.data, text.length) != (ssize_t)text.length || lseek(fd, 0, SEEK_SET) != 0)) {
		close(fd);
		fd = -1;
	}
	buffer_free(&text);
	return fd;
}
