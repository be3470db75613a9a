/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration directory of a test's own, and the faults found in it without its name in front. */
#ifndef KEYFOB_TEST_CONFIG_FILES_H
#define KEYFOB_TEST_CONFIG_FILES_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buffer.h"

static char config_dir[64], config_file[100];

static inline int make_config_dir(void **state)
{
	(void)state;
	strcpy(config_dir, "/tmp/keyfob-test-config-XXXXXX");
	umask(022);
	if (!mkdtemp(config_dir))
		return -1;
	snprintf(config_file, sizeof(config_file), "%s/keyfob.conf", config_dir);
	return 0;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline int remove_config_dir(void **state)
{
	(void)state;
	nftw(config_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}

/* name is below the directory; conf.d is made when it is needed. */
static inline void write_bytes(const char *name, const void *bytes, size_t length)
{
	char path[256];
	int fd;

	if (strncmp(name, "conf.d/", 7) == 0) {
		snprintf(path, sizeof(path), "%s/conf.d", config_dir);
		mkdir(path, 0755);
	}
	snprintf(path, sizeof(path), "%s/%s", config_dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, length), length);
	close(fd);
}

static inline void write_text(const char *name, const char *text)
{
	write_bytes(name, text, strlen(text));
}

/* All lines of errors without the directory's name; the caller frees it. */
static inline char *without_dir(struct buffer *errors)
{
	const char *text = buffer_cstring(errors);
	char *out = calloc(1, strlen(text ? text : "failed") + 1), *to = out;

	for (text = text ? text : "failed"; *text;) {
		if (strncmp(text, config_dir, strlen(config_dir)) == 0) {
			text += strlen(config_dir);
			text += *text == '/';
		} else {
			*to++ = *text++;
		}
	}
	return out;
}

#endif
