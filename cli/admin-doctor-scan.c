/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks for drivers where systems install them, and in the directories that
 * the command line names. These may be anybody's: no link is followed, nothing
 * but a plain file is opened, all is bounded, and it is done in a process of
 * its own, since a filesystem may be one that never answers.
 */
#include "cli/admin-doctor-drivers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 24 /* of an application; dependencies lie in each other */
#define ENTRIES_MAX 1000000
#define SECONDS_MAX 20
#define SLOWEST_MS (2 * SECONDS_MAX * 1000)
#define FOUND_MAX 64
#define ANSWER_MAX (1u << 20)

/* What the scan tells: u8 what, u8 driver, string version or why not, string place. */
enum { SCAN_FOUND, SCAN_UNREADABLE, SCAN_CUT };

struct scan {
	const struct cli *cli;
	int out;
	time_t end;
	dev_t device;
	int entries, found, depth;
	bool over; /* nothing more is looked at */
	bool cut; /* something was not */
	char path[PATH_MAX];
};

static void scan_directory(struct scan *s, int fd, const char *grandparent, const char *parent);

static bool is_over(struct scan *s)
{
	s->over = s->over || ++s->entries > ENTRIES_MAX || (s->entries % 256 == 0 && time(NULL) > s->end);
	s->cut = s->cut || s->over;
	return s->over;
}

static void tell(const struct scan *s, uint8_t what, enum driver driver, const char *text, const char *place)
{
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	buffer_put_u8(&b, what);
	buffer_put_u8(&b, (uint8_t)driver);
	buffer_put_text(&b, text);
	buffer_put_text(&b, place);
	if (!b.failed && write(s->out, b.data, b.length) != (ssize_t)b.length)
		_exit(1);
	buffer_free(&b);
}

static void take(struct scan *s, const struct driver_found *found)
{
	if (s->found++ < FOUND_MAX)
		tell(s, SCAN_FOUND, found->driver, found->version, s->path);
	else
		s->over = s->cut = true;
}

/* d_type spares a system call for each file; where it says nothing, stat does. */
static bool is_directory(int fd, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type == DT_DIR;
	return fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Not onto other filesystems: what is mounted there is no part of the application. */
static void go_down(struct scan *s, int fd, const char *parent, const char *name)
{
	size_t length = strlen(s->path);
	struct stat st;
	int sub;

	if (s->depth == DEPTH_MAX || length + strlen(name) + 2 > sizeof(s->path)) {
		s->cut = true;
		return;
	}
	sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (sub < 0)
		return;
	if (fstat(sub, &st) < 0 || st.st_dev != s->device) {
		close(sub);
		return;
	}
	snprintf(s->path + length, sizeof(s->path) - length, "/%s", name);
	scan_directory(s, sub, parent, name);
	s->path[length] = 0;
}

/* Closes fd. */
static void scan_directory(struct scan *s, int fd, const char *grandparent, const char *parent)
{
	DIR *dir = fdopendir(fd);
	struct driver_found found;
	struct dirent *e;

	if (!dir) {
		close(fd);
		return;
	}
	s->depth++;
	while (!is_over(s) && (e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (driver_recognise(fd, grandparent, parent, e->d_name, &found))
			take(s, &found);
		else if (is_directory(fd, e))
			go_down(s, fd, parent, e->d_name);
	}
	s->depth--;
	closedir(dir);
}

/* One that the command line names may be a link. */
static void scan_tree(struct scan *s, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		tell(s, SCAN_UNREADABLE, DRIVER_NONE, strerror(errno), path);
		if (fd >= 0)
			close(fd);
		return;
	}
	s->device = st.st_dev;
	snprintf(s->path, sizeof(s->path), "%s", path);
	scan_directory(s, fd, "", slash ? slash + 1 : path);
}

/* These directories alone, not what lies below them. */
static void scan_system(struct scan *s)
{
	static const char *const patterns[] = { "/usr/lib/node_modules/mongodb", "/usr/local/lib/node_modules/mongodb",
		"/usr/share/nodejs/mongodb", "/usr/lib/python3/dist-packages/pymongo-*", "/usr/lib/python3*/site-packages/pymongo-*",
		"/usr/local/lib/python3*/dist-packages/pymongo-*", "/usr/local/lib/python3*/site-packages/pymongo-*",
		"/usr/lib/libmongoc*.so.*.*", "/usr/lib/*/libmongoc*.so.*.*", "/usr/lib64/libmongoc*.so.*.*",
		"/usr/local/lib/libmongoc*.so.*.*", "/usr/share/java/mongodb-driver-core-*.jar" };
	struct driver_found found;
	glob_t paths;

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		if (glob(patterns[i], 0, NULL, &paths) != 0)
			continue;
		for (size_t j = 0; j < paths.gl_pathc; j++) {
			const char *name = strrchr(paths.gl_pathv[j], '/') + 1;
			int fd;

			snprintf(s->path, sizeof(s->path), "%s", paths.gl_pathv[j]);
			fd = strcmp(name, "mongodb") == 0 ? open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
			if (driver_recognise(fd, "node_modules", name, fd >= 0 ? "package.json" : name, &found))
				take(s, &found);
			if (fd >= 0)
				close(fd);
		}
		globfree(&paths);
	}
}

static int scan_all(void *arg, int out)
{
	struct scan s = { .cli = arg, .out = out, .end = time(NULL) + SECONDS_MAX };

	scan_system(&s);
	for (int i = 0; i < s.cli->count; i++)
		scan_tree(&s, s.cli->operand[i]);
	if (s.cut)
		tell(&s, SCAN_CUT, DRIVER_NONE, "", "");
	return 0;
}

/* Returns whether the scan looked at all of it. */
static bool read_scan(struct doctor *d, struct reader *r)
{
	struct driver_found found;
	char text[256], place[PATH_MAX];
	bool cut = false;

	while (r->left && !r->failed) {
		uint8_t what = reader_u8(r);

		found.driver = reader_u8(r);
		reader_text(r, text, sizeof(text));
		reader_text(r, place, sizeof(place));
		if (r->failed)
			break;
		if (what == SCAN_FOUND && found.driver < DRIVER_NONE) {
			snprintf(found.version, sizeof(found.version), "%.*s", DRIVER_VERSION_MAX - 1, text);
			driver_judge(d, &found, place);
		} else if (what == SCAN_UNREADABLE) {
			doctor_error(d, place, "%s: no driver was looked for there", text);
			doctor_fix(d, "name the directory of an application");
		}
		cut = cut || what == SCAN_CUT;
	}
	return !cut && !r->failed;
}

void doctor_drivers(struct doctor *d)
{
	size_t before = d->count;
	struct buffer answer;
	struct reader r;
	int code;

	buffer_init(&answer, ANSWER_MAX);
	code = doctor_apart(scan_all, (void *)(uintptr_t)d->cli, SLOWEST_MS, &answer);
	reader_init(&r, answer.data, answer.length);
	if (!read_scan(d, &r) || code) {
		doctor_warning(d, "drivers", "not all was looked at: too much, too deep, or slower than %d s", SECONDS_MAX);
		doctor_fix(d, "keyfob doctor DIR, with the directory of one application");
	} else if (d->count == before) {
		doctor_ok(d, "drivers",
			d->cli->count ? "no MongoDB driver is installed here, nor found below the directories named"
				      : "no MongoDB driver is installed here");
	}
	buffer_free(&answer);
}
