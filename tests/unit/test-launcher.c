/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher, with a shell script in keyfob-fetch's place.
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
#include <poll.h>
#include <pwd.h>
#include <signal.h>
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

static char directory[64], script[100];
static uid_t fetch_user;
static int launcher;
static pid_t launcher_pid;

#define need_root() \
	do { \
		(void)state; \
		if (geteuid() != 0 || !fetch_user) \
			skip(); \
	} while (0)

static int set_up(void **state)
{
	const struct passwd *user = getpwnam(LAUNCHER_USER_FETCH);

	(void)state;
	fetch_user = user ? user->pw_uid : 0;
	launcher = -1;
	/* Not below /tmp, which may be mounted noexec. */
	strcpy(directory, "/var/lib/keyfob-test.launcher.XXXXXX");
	if (geteuid() != 0 || !fetch_user)
		return 0;
	if (!mkdtemp(directory) || chmod(directory, 0755) < 0)
		return -1;
	snprintf(script, sizeof(script), "%s/fetch", directory);
	return 0;
}

static int tear_down(void **state)
{
	static const char *const files[] = { "fetch", "secret", "link" };

	(void)state;
	if (launcher >= 0) {
		close(launcher);
		waitpid(launcher_pid, NULL, 0);
	}
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[110];

		snprintf(path, sizeof(path), "%s/%s", directory, files[i]);
		unlink(path);
	}
	rmdir(directory);
	return 0;
}

static void start_for(bool own, const char *text)
{
	static struct launcher_options options;
	int fd = open(script, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	options = (struct launcher_options){ .fetch = script, .module_dir = "/modules", .config_dir = directory, .own = own };
	launcher = launcher_start(&options, &launcher_pid);
	assert_true(launcher >= 0);
}

static void start(const char *text)
{
	start_for(false, text);
}

/* Start a fetch; returns our end of its socket. */
static int fetch(uint32_t id, uid_t uid)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(launcher_fetch(launcher, id, uid, pair[1]), 0);
	close(pair[1]);
	return pair[0];
}

static uint32_t wait_for_event(uint8_t wanted, uint32_t id)
{
	struct pollfd readable = { .fd = launcher, .events = POLLIN };
	struct buffer frame;
	struct reader r;
	uint32_t value;

	buffer_init(&frame, 64);
	assert_int_equal(poll(&readable, 1, PATIENCE), 1);
	assert_int_equal(wire_receive(launcher, &frame, NULL), 0);
	reader_init(&r, frame.data, frame.length);
	assert_int_equal(reader_u8(&r), wanted);
	assert_int_equal(reader_u32(&r), id);
	value = reader_u32(&r);
	assert_true(reader_done(&r));
	buffer_free(&frame);
	return value;
}

/* All that is written before the last process that holds the other end is gone. */
static void read_to_end(int fd, char *text, size_t size)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	size_t length = 0;
	ssize_t got;

	do {
		assert_int_equal(poll(&readable, 1, PATIENCE), 1);
		got = read(fd, text + length, size - 1 - length);
		length += got > 0 ? (size_t)got : 0;
	} while (got > 0);
	text[length] = 0;
	close(fd);
}

/* Until the script says that it has come so far. */
static void read_line(int fd, char *text, size_t size)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	size_t length = 0;

	do {
		assert_true(length < size - 1);
		assert_int_equal(poll(&readable, 1, PATIENCE), 1);
		assert_int_equal(read(fd, text + length, 1), 1);
	} while (text[length++] != '\n');
	text[length - 1] = 0;
}

/* --- questions ------------------------------------------------------------------------- */

static int ask_description(const char *module, char *text, size_t size)
{
	struct buffer request, answer;
	int error;

	buffer_init(&request, 256);
	buffer_init(&answer, WIRE_MAX);
	buffer_put_u8(&request, LAUNCHER_DESCRIBE);
	buffer_put_text(&request, module);
	error = launcher_ask(launcher, &request, PATIENCE, &answer);
	snprintf(text, size, "%s", buffer_cstring(&answer));
	buffer_free(&request);
	buffer_free(&answer);
	return error;
}

static void test_describe(void **state)
{
	char text[200];

	need_root();
	start("#!/bin/sh\n[ \"$4\" = silent ] && exit 1\necho \"$(id -u)|$*|$(cat)|$(env | grep -v -e ^PWD -e ^_ -e ^SHLVL -e "
	      "^OLDPWD)\"\n");
	assert_int_equal(ask_description("azure", text, sizeof(text)), 0);
	char wanted[200];
	snprintf(wanted, sizeof(wanted), "%u|--module-dir /modules --describe azure||PATH=/usr/local/bin:/usr/bin:/bin\n", fetch_user);
	assert_string_equal(text, wanted);
	assert_int_equal(ask_description("silent", text, sizeof(text)), -ECONNRESET);
	assert_int_equal(ask_description("../azure", text, sizeof(text)), -ECONNRESET);
	assert_int_equal(ask_description("", text, sizeof(text)), -ECONNRESET);
	assert_int_equal(ask_description("azure", text, sizeof(text)), 0);
}

static void test_look_up(void **state)
{
	static const struct {
		uint8_t kind;
		const char *name;
	} names[] = {
		{ LAUNCHER_NAME_USER, "root" },
		{ LAUNCHER_NAME_USER, "keyfob-test-nobody-has-this" },
		{ LAUNCHER_NAME_GROUP, "root" },
		{ LAUNCHER_NAME_GROUP, "keyfob-test-nobody-has-this" },
		{ LAUNCHER_NAME_GROUPS, "0" },
		{ LAUNCHER_NAME_GROUPS, "2147480000" },
		{ LAUNCHER_NAME_USER, LAUNCHER_USER_FETCH },
	};
	struct buffer request, answer;
	struct reader r;
	char name[64];
	uint32_t count;

	need_root();
	start("#!/bin/sh\n");
	buffer_init(&request, 4096);
	buffer_init(&answer, WIRE_MAX);
	buffer_put_u8(&request, LAUNCHER_LOOKUP);
	buffer_put_u32(&request, 7);
	for (size_t i = 0; i < 7; i++) {
		buffer_put_u8(&request, names[i].kind);
		buffer_put_text(&request, names[i].name);
	}
	assert_int_equal(launcher_ask(launcher, &request, PATIENCE, &answer), 0);
	reader_init(&r, answer.data, answer.length);
	assert_int_equal(reader_u32(&r), 7);
	assert_int_equal(reader_u8(&r), 1);
	assert_int_equal(reader_u32(&r), 0);
	assert_int_equal(reader_u8(&r), 0);
	reader_u32(&r);
	assert_int_equal(reader_u8(&r), 1);
	assert_int_equal(reader_u32(&r), 0);
	assert_int_equal(reader_u8(&r), 0);
	reader_u32(&r);
	assert_int_equal(reader_u8(&r), 1);
	reader_text(&r, name, sizeof(name));
	assert_string_equal(name, "root");
	count = reader_u32(&r);
	assert_true(count >= 1);
	while (count--)
		reader_u32(&r);
	assert_int_equal(reader_u8(&r), 0);
	assert_int_equal(reader_u8(&r), 1);
	assert_int_equal(reader_u32(&r), fetch_user);
	assert_true(reader_done(&r));
	buffer_free(&request);
	buffer_free(&answer);
}

static void put_frame(const void *bytes, size_t length, int fd)
{
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	buffer_put(&b, bytes, length);
	assert_int_equal(wire_send(launcher, &b, fd), 0);
	buffer_free(&b);
}

/* What is no request is passed over, and what came with it is closed. */
static void test_malformed(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} frames[] = { { "\1", 1 }, { "\1\0\0\0\1\0\0", 7 }, { "\2", 1 }, { "\2\0\0\0\5ab", 7 }, { "\xff", 1 }, { "\0", 1 },
		{ "\2\0\0\0\3a\0b", 8 } };
	char text[200], nothing[8];

	need_root();
	start("#!/bin/sh\necho here\n");
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		put_frame(frames[i].bytes, frames[i].length, pair[1]);
		put_frame(frames[i].bytes, frames[i].length, -1);
		close(pair[1]);
		read_to_end(pair[0], nothing, sizeof(nothing));
		assert_string_equal(nothing, "");
	}
	assert_int_equal(launcher_kill(launcher, 99), 0);
	assert_int_equal(ask_description("azure", text, sizeof(text)), 0);
	assert_string_equal(text, "here\n");
}

static void check_secret(const char *path, const char *wanted)
{
	char text[100] = "";
	struct buffer frame;
	struct reader r;
	int pair[2], secret;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(launcher_secret(launcher, "key_file", path, pair[1]), 0);
	close(pair[1]);
	buffer_init(&frame, WIRE_MAX);
	assert_int_equal(wire_receive(pair[0], &frame, &secret), 0);
	reader_init(&r, frame.data, frame.length);
	reader_text(&r, text, sizeof(text));
	assert_string_equal(text, "key_file");
	reader_text(&r, text, sizeof(text));
	assert_string_equal(text, wanted);
	assert_true(reader_done(&r));
	assert_int_equal(secret >= 0, !*wanted);
	if (secret >= 0) {
		assert_int_equal(read(secret, text, sizeof(text)), 6);
		assert_memory_equal(text, "secret", 6);
		close(secret);
	}
	close(pair[0]);
	buffer_free(&frame);
}

/* Root's files of the configuration, handed over open; nothing else that a confused keyfobd might ask for. */
static void test_secret(void **state)
{
	char path[100], other[110];
	int fd;

	need_root();
	start("#!/bin/sh\n");
	snprintf(path, sizeof(path), "%s/secret", directory);
	snprintf(other, sizeof(other), "%s/link", directory);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "secret", 6), 6);
	check_secret(path, "");
	assert_int_equal(fchmod(fd, 0604), 0);
	check_secret(path, "may be written by its group or read by others (chmod 0600)");
	assert_int_equal(fchmod(fd, 0620), 0);
	check_secret(path, "may be written by its group or read by others (chmod 0600)");
	assert_int_equal(fchmod(fd, 0640), 0);
	check_secret(path, "");
	assert_int_equal(fchown(fd, fetch_user, 0), 0);
	check_secret(path, "is not owned by root");
	assert_int_equal(fchown(fd, 0, 0), 0);
	assert_int_equal(ftruncate(fd, WIRE_SECRET_MAX + 1), 0);
	check_secret(path, "has more than 64 KiB");
	close(fd);
	assert_int_equal(unlink(path), 0);
	check_secret(path, "No such file or directory");
	check_secret(directory, "is not below the configuration's directory, /run/credentials or /run/secrets");
	check_secret("/etc/shadow", "is not below the configuration's directory, /run/credentials or /run/secrets");
	assert_int_equal(symlink("/etc/shadow", other), 0);
	check_secret(other, "is not below the configuration's directory, /run/credentials or /run/secrets");
	assert_int_equal(unlink(other), 0);
}

/* --- fetches ---------------------------------------------------------------------------- */

static void test_fetch(void **state)
{
	char text[300], wanted[300];
	int fd;

	need_root();
	start("#!/bin/sh\nread word\n"
	      "echo \"$word|$(id -u)|$(id -G)|$*|$(pwd)|$(sed -n 's/^CapPrm:\\t//p' /proc/self/status)\"\nexit 3\n");
	fd = fetch(7, fetch_user);
	assert_int_equal(write(fd, "hello\n", 6), 6);
	wait_for_event(LAUNCHER_STARTED, 7);
	assert_int_equal(wait_for_event(LAUNCHER_ENDED, 7), 3 << 8);
	read_to_end(fd, text, sizeof(text));
	snprintf(
		wanted, sizeof(wanted), "hello|%u|%u|--module-dir /modules|/|0000000000000000\n", fetch_user, getpwuid(fetch_user)->pw_gid);
	assert_string_equal(text, wanted);
}

static void test_never_as_root(void **state)
{
	char text[100];
	int fd;

	need_root();
	start("#!/bin/sh\necho \"I am $(id -u)\"\n");
	fd = fetch(1, 0);
	wait_for_event(LAUNCHER_STARTED, 1);
	assert_int_equal(wait_for_event(LAUNCHER_ENDED, 1), 126 << 8);
	read_to_end(fd, text, sizeof(text));
	assert_string_equal(text, "");
	/* Nor as somebody without an account, whose groups nobody knows. */
	fd = fetch(2, 2147480000);
	wait_for_event(LAUNCHER_STARTED, 2);
	assert_int_equal(wait_for_event(LAUNCHER_ENDED, 2), 126 << 8);
	read_to_end(fd, text, sizeof(text));
	assert_string_equal(text, "");
}

#define LEAVES_MANY "sleep 1000 &\nsetsid sleep 1001 &\n(setsid sh -c 'sleep 1002; :' &)\n"

/* A fetch that is ended takes with it all that it started, also what has left its session. */
static void test_kill(void **state)
{
	char text[100];
	int fd, other;

	need_root();
	start("#!/bin/sh\n" LEAVES_MANY "echo ready\nread word\necho \"$word\"\n");
	fd = fetch(1, fetch_user);
	wait_for_event(LAUNCHER_STARTED, 1);
	read_line(fd, text, sizeof(text));
	other = fetch(2, fetch_user);
	wait_for_event(LAUNCHER_STARTED, 2);
	read_line(other, text, sizeof(text));
	assert_int_equal(launcher_kill(launcher, 1), 0);
	assert_int_equal(wait_for_event(LAUNCHER_ENDED, 1), SIGKILL);
	read_to_end(fd, text, sizeof(text));
	assert_string_equal(text, "");
	/* Another fetch goes on, and when it ends by itself its own are ended too. */
	assert_int_equal(write(other, "word\n", 5), 5);
	assert_int_equal(wait_for_event(LAUNCHER_ENDED, 2), 0);
	read_to_end(other, text, sizeof(text));
	assert_string_equal(text, "word\n");
}

static void test_end(void **state)
{
	char text[100];
	int fd, status;

	need_root();
	start("#!/bin/sh\nsleep 1000 &\necho ready\nwait\n");
	fd = fetch(1, fetch_user);
	wait_for_event(LAUNCHER_STARTED, 1);
	read_line(fd, text, sizeof(text));
	/* A terminal's signals are not for it. */
	assert_int_equal(kill(launcher_pid, SIGINT), 0);
	assert_int_equal(kill(launcher_pid, SIGTERM), 0);
	assert_int_equal(launcher_kill(launcher, 99), 0);
	assert_int_equal(waitpid(launcher_pid, &status, WNOHANG), 0);
	close(launcher);
	launcher = -1;
	assert_int_equal(waitpid(launcher_pid, &status, 0), launcher_pid);
	assert_int_equal(status, 0);
	read_to_end(fd, text, sizeof(text));
	assert_string_equal(text, "");
}

/* For a user's own broker, who may be called root where he is: whoever is asked for, he stays who he is. */
static void test_own(void **state)
{
	char text[200];

	need_root();
	start_for(true, "#!/bin/sh\necho \"$(id -u)\" >&1\n");
	read_to_end(fetch(1, fetch_user), text, sizeof(text));
	assert_string_equal(text, "0\n");
	assert_int_equal(ask_description("azure", text, sizeof(text)), 0);
	assert_string_equal(text, "0\n");
}

#define here(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		here(test_describe),
		here(test_look_up),
		here(test_malformed),
		here(test_secret),
		here(test_fetch),
		here(test_never_as_root),
		here(test_own),
		here(test_kill),
		here(test_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
