/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher's work in the file system: a user's token files, credentials' sockets.
 *
 * links: broker/launcher broker/launcher-files broker/confine common/sandbox common/buffer common/wire common/log
 * libs: libseccomp
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/launcher.h"
#include "common/wire.h"

#define PATIENCE 60000 /* ms; far more than anything here takes */

static char run_dir[120];
static const struct passwd *user;
static char user_name[64];
static uid_t user_uid;
static int launcher = -1;
static pid_t launcher_pid;

#define need_root() \
	do { \
		(void)state; \
		if (geteuid() != 0 || !user) \
			skip(); \
	} while (0)

static int set_up(void **state)
{
	static struct launcher_options options = { .fetch = "/bin/false", .module_dir = "/", .config_dir = "/", .run_dir = run_dir };
	mode_t mask;

	(void)state;
	user = getpwnam(LAUNCHER_USER_FETCH);
	if (geteuid() != 0 || !user)
		return 0;
	snprintf(user_name, sizeof(user_name), "%s", user->pw_name);
	user_uid = user->pw_uid;
	strcpy(run_dir, "/var/lib/keyfob-test.files.XXXXXX");
	if (!mkdtemp(run_dir) || chmod(run_dir, 0755) < 0)
		return -1;
	/* Whatever mask the broker was started with. */
	mask = umask(0277);
	launcher = launcher_start(&options, &launcher_pid);
	umask(mask);
	return launcher < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int tear_down(void **state)
{
	(void)state;
	if (launcher < 0)
		return 0;
	close(launcher);
	waitpid(launcher_pid, NULL, 0);
	launcher = -1;
	return nftw(run_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *in(const char *name)
{
	static char paths[4][400];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", run_dir, name);
	return path;
}

static const char *in_users(const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "token/%s/%s", user_name, name);
	return in(path);
}

static char error_text[256];
static uint8_t was_read[8];

/* Everything up to the end of the answer. */
static void ask(const struct buffer *request, const struct buffer *stream, struct buffer *answer)
{
	struct pollfd readable = { .events = POLLIN };
	ssize_t got;

	assert_int_equal(launcher_send(launcher, request, &readable.fd), 0);
	for (size_t done = 0; stream && done < stream->length; done += (size_t)got) {
		got = send(readable.fd, stream->data + done, stream->length - done, MSG_NOSIGNAL);
		if (got < 0)
			break;
	}
	shutdown(readable.fd, SHUT_WR);
	buffer_init(answer, WIRE_MAX);
	do {
		uint8_t *to = buffer_reserve(answer, 1024);

		assert_non_null(to);
		assert_int_equal(poll(&readable, 1, PATIENCE), 1);
		got = read(readable.fd, to, 1024);
		answer->length += got > 0 ? (size_t)got : 0;
	} while (got > 0);
	close(readable.fd);
}

/* pairs of name and content, NULL last. Returns false when there was no answer. */
static bool arrange(uid_t uid, bool keep, uint32_t count, const char *const *pairs)
{
	struct buffer request, stream, answer;
	struct reader r;
	uint32_t told;

	buffer_init(&request, 64);
	buffer_put_u8(&request, LAUNCHER_FILES);
	buffer_put_u32(&request, uid);
	buffer_put_u8(&request, keep);
	buffer_init(&stream, 1u << 20);
	buffer_put_u32(&stream, count);
	for (; pairs && *pairs; pairs++)
		buffer_put_text(&stream, *pairs);
	ask(&request, &stream, &answer);
	buffer_free(&request);
	buffer_free(&stream);
	reader_init(&r, answer.data, answer.length);
	reader_text(&r, error_text, sizeof(error_text));
	told = reader_u32(&r);
	for (uint32_t i = 0; i < told && i < sizeof(was_read); i++)
		was_read[i] = reader_u8(&r);
	if (answer.length)
		assert_true(reader_done(&r) && told == count);
	buffer_free(&answer);
	return !r.failed;
}

static void write_files(const char *const *pairs)
{
	uint32_t count = 0;

	while (pairs[2 * count])
		count++;
	assert_true(arrange(user_uid, true, count, pairs));
}

static void check_file(const char *path, const char *wanted)
{
	char text[256] = "";
	struct stat st;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0400);
	assert_int_equal(st.st_uid, user_uid);
	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	assert_string_equal(text, wanted);
	close(fd);
}

static void check_directory(const char *path, uid_t uid, mode_t mode)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void put(const char *path, uid_t owner)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fchown(fd, owner, 0), 0);
	close(fd);
}

static const char *const two[] = { "atlas", "token one", "other", "token two", NULL };

/* --- token files ------------------------------------------------------------------------- */

static void test_files(void **state)
{
	struct stat before, after;

	need_root();
	write_files(two);
	assert_string_equal(error_text, "");
	check_directory(in("token"), 0, 0755);
	check_directory(in_users(""), user_uid, 0700);
	check_file(in_users("atlas"), "token one");
	check_file(in_users("other"), "token two");
	/* What is there already stays the same file; what is not named goes. */
	assert_int_equal(stat(in_users("atlas"), &before), 0);
	put(in_users("stale"), user_uid);
	put(in_users(".atlas.new"), user_uid);
	write_files((const char *const[]){ "atlas", "token one", NULL });
	assert_int_equal(stat(in_users("atlas"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(access(in_users("other"), F_OK), -1);
	assert_int_equal(access(in_users("stale"), F_OK), -1);
	assert_int_equal(access(in_users(".atlas.new"), F_OK), -1);
	/* Of the same length, and not the same. */
	write_files((const char *const[]){ "atlas", "token 2ne", NULL });
	check_file(in_users("atlas"), "token 2ne");
	/* None, but he stays a reader; and then none any more. */
	assert_true(arrange(user_uid, true, 0, NULL));
	check_directory(in_users(""), user_uid, 0700);
	assert_int_equal(access(in_users("atlas"), F_OK), -1);
	write_files(two);
	assert_true(arrange(user_uid, false, 0, NULL));
	assert_string_equal(error_text, "");
	assert_int_equal(access(in_users(""), F_OK), -1);
	assert_true(arrange(user_uid, false, 0, NULL));
	assert_string_equal(error_text, "");
}

static void test_was_read(void **state)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_OMIT } };

	need_root();
	write_files(two);
	write_files(two);
	assert_int_equal(was_read[0], 0);
	poll(NULL, 0, 20);
	assert_int_equal(utimensat(AT_FDCWD, in_users("other"), times, 0), 0);
	write_files(two);
	assert_int_equal(was_read[0], 0);
	assert_int_equal(was_read[1], 1);
	/* Still unread since then is not known, so it is told until it is written again. */
	write_files((const char *const[]){ "atlas", "token one", "other", "another", NULL });
	assert_int_equal(was_read[1], 1);
	write_files((const char *const[]){ "atlas", "token one", "other", "another", NULL });
	assert_int_equal(was_read[1], 0);
}

static void test_malformed(void **state)
{
	need_root();
	assert_false(arrange(user_uid, true, 1, (const char *const[]){ "../atlas", "x", NULL }));
	assert_false(arrange(user_uid, true, 1, (const char *const[]){ ".atlas", "x", NULL }));
	assert_false(arrange(user_uid, true, 1, (const char *const[]){ "", "x", NULL }));
	assert_false(arrange(user_uid, true, 2, two + 2));
	assert_false(arrange(user_uid, true, 1, two));
	assert_false(arrange(user_uid, true, UINT32_MAX, NULL));
	assert_int_equal(access(in("token"), F_OK), -1);
	/* Nobody has that number. */
	assert_true(arrange(2147480000, true, 0, NULL));
	assert_string_equal(error_text, "there is no user of this number, or his name is not fit for a directory");
	/* The launcher has outlived all that. */
	write_files(two);
	assert_string_equal(error_text, "");
}

static void test_squatted(void **state)
{
	struct stat st;

	need_root();
	/* Made, and not handed over before a crash. */
	assert_int_equal(mkdir(in("token"), 0755), 0);
	assert_int_equal(mkdir(in_users(""), 0700), 0);
	write_files(two);
	check_directory(in_users(""), user_uid, 0700);
	check_file(in_users("atlas"), "token one");
	/* The name was another user's. */
	assert_int_equal(arrange(user_uid, false, 0, NULL), true);
	assert_int_equal(mkdir(in_users(""), 0700), 0);
	put(in_users("old"), user_uid + 1);
	assert_int_equal(chown(in_users(""), user_uid + 1, 0), 0);
	write_files(two);
	assert_string_equal(error_text, "");
	check_directory(in_users(""), user_uid, 0700);
	assert_int_equal(access(in_users("old"), F_OK), -1);
	/* Who left what cannot be taken away keeps the name. */
	assert_int_equal(arrange(user_uid, false, 0, NULL), true);
	assert_int_equal(mkdir(in_users(""), 0700), 0);
	assert_int_equal(mkdir(in_users("old"), 0700), 0);
	assert_int_equal(chown(in_users("old"), user_uid + 1, 0) | chown(in_users(""), user_uid + 1, 0), 0);
	write_files(two);
	assert_string_equal(error_text, "Directory not empty");
	assert_int_equal(access(in_users("atlas"), F_OK), -1);
	assert_int_equal(rmdir(in_users("old")), 0);
	write_files(two);
	assert_string_equal(error_text, "");
	/* A link in the place of his directory, or of root's. */
	assert_int_equal(arrange(user_uid, false, 0, NULL), true);
	assert_int_equal(mkdir(in("elsewhere"), 0755), 0);
	assert_int_equal(symlink(in("elsewhere"), in("token/keyfob-fetch")), 0);
	write_files(two);
	assert_string_equal(error_text, "Not a directory");
	assert_int_equal(unlink(in("token/keyfob-fetch")) | rmdir(in("token")), 0);
	assert_int_equal(symlink(in("elsewhere"), in("token")), 0);
	write_files(two);
	assert_string_equal(error_text, "Not a directory");
	assert_int_equal(unlink(in("token")), 0);
	assert_int_equal(rmdir(in("elsewhere")), 0);
	/* One that is not root's, or not his alone to write. */
	assert_int_equal(mkdir(in("token"), 0755) | chown(in("token"), user_uid, 0), 0);
	write_files(two);
	assert_string_equal(error_text, "Operation not permitted");
	assert_int_equal(chown(in("token"), 0, 0) | chmod(in("token"), 0775), 0);
	write_files(two);
	assert_string_equal(error_text, "Operation not permitted");
	assert_int_equal(lstat(in_users(""), &st), -1);
}

/* What its user does to the directory. */
static void test_spoilt(void **state)
{
	struct stat st;

	need_root();
	write_files(two);
	put(in("precious"), 0);
	assert_int_equal(unlink(in_users("atlas")) | symlink(in("precious"), in_users("atlas")), 0);
	assert_int_equal(symlink(in("precious"), in_users(".other.new")), 0);
	assert_int_equal(chmod(in_users("other"), 0644) | chmod(in_users(""), 01777), 0);
	write_files(two);
	assert_string_equal(error_text, "");
	check_directory(in_users(""), user_uid, 0700);
	check_file(in_users("atlas"), "token one");
	check_file(in_users("other"), "token two");
	assert_int_equal(stat(in("precious"), &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(chmod(in_users(""), 0), 0);
	write_files(two);
	assert_string_equal(error_text, "");
	check_directory(in_users(""), user_uid, 0700);
	/* A directory in a file's place: the other file is written all the same. */
	assert_int_equal(unlink(in_users("atlas")) | mkdir(in_users("atlas"), 0700) | unlink(in_users("other")), 0);
	write_files(two);
	assert_string_equal(error_text, "atlas: Is a directory");
	check_file(in_users("other"), "token two");
	assert_int_equal(rmdir(in_users("atlas")), 0);
}

static void test_users(void **state)
{
	struct buffer request, answer;
	struct reader r;
	int listener;
	char why[64];

	need_root();
	write_files(two);
	assert_int_equal(mkdir(in("token/nobody-of-that-name"), 0700), 0);
	assert_int_equal(chown(in("token/nobody-of-that-name"), user_uid + 1, 0), 0);
	assert_int_equal(launcher_socket(launcher, "atlas", 0, 0, 0600, &listener, why, sizeof(why)), 0);
	close(listener);
	buffer_init(&request, 8);
	buffer_put_u8(&request, LAUNCHER_FILE_USERS);
	ask(&request, NULL, &answer);
	reader_init(&r, answer.data, answer.length);
	assert_int_equal(reader_u32(&r), user_uid);
	assert_int_equal(reader_u32(&r), UINT32_MAX);
	assert_true(reader_done(&r));
	assert_int_equal(access(in("token/nobody-of-that-name"), F_OK), -1);
	assert_int_equal(access(in("credential/atlas.sock"), F_OK), -1);
	buffer_free(&request);
	buffer_free(&answer);
	launcher_purge_files(run_dir);
	assert_int_equal(access(in_users(""), F_OK), -1);
}

/* --- sockets ------------------------------------------------------------------------------- */

static void test_socket(void **state)
{
	char why[256], name[WIRE_NAME_MAX + 1];
	struct stat st;
	int listener, other;

	need_root();
	assert_int_equal(launcher_socket(launcher, "atlas", user_uid, 12345, 0660, &listener, why, sizeof(why)), 0);
	assert_int_equal(lstat(in("credential/atlas.sock"), &st), 0);
	assert_true(S_ISSOCK(st.st_mode) && st.st_uid == user_uid && st.st_gid == 12345 && (st.st_mode & 07777) == 0660);
	check_directory(in("credential"), 0, 0755);
	assert_true(fcntl(listener, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(listener, F_GETFD) & FD_CLOEXEC);
	/* A new one takes its place; and it goes. */
	assert_int_equal(launcher_socket(launcher, "atlas", 0, 0, 0600, &other, why, sizeof(why)), 0);
	assert_int_equal(lstat(in("credential/atlas.sock"), &st), 0);
	assert_true(st.st_uid == 0 && st.st_gid == 0 && (st.st_mode & 07777) == 0600);
	close(listener);
	close(other);
	assert_int_equal(launcher_socket(launcher, "atlas", 0, 0, 0, &listener, why, sizeof(why)), 0);
	assert_int_equal(listener, -1);
	assert_int_equal(access(in("credential/atlas.sock"), F_OK), -1);
	/* No name that leads elsewhere. */
	assert_true(launcher_socket(launcher, "../atlas", 0, 0, 0600, &listener, why, sizeof(why)) < 0);
	assert_int_equal(listener, -1);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	assert_int_equal(launcher_socket(launcher, name, 0, 0, 0600, &listener, why, sizeof(why)), -EIO);
	assert_string_equal(why, "the path of a socket has at most 107 bytes");
	assert_int_equal(chown(in("credential"), user_uid, 0), 0);
	assert_int_equal(launcher_socket(launcher, "atlas", 0, 0, 0600, &listener, why, sizeof(why)), -EIO);
	assert_string_equal(why, "Operation not permitted");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_was_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_malformed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_squatted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_spoilt, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_users, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_socket, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
