/* SPDX-License-Identifier: Apache-2.0 */
/* Tests start keyfob-fetch as its launcher does, ask it, and keep its answer. */
#ifndef TEST_FETCH_CALL_H
#define TEST_FETCH_CALL_H

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buffer.h"
#include "common/wire.h"
#include "modules/module.h"

struct ask {
	const char *module; /* NULL: simple */
	enum keyfob_sandbox sandbox;
	uint8_t flags, kind;
	uint32_t ttl, timeout;
	const char *resource, *argument;
	const char *settings[12]; /* name, value, ..., NULL */
	const char *directory; /* NULL: the tests' own modules */
};

struct answer {
	bool ready, result;
	unsigned int lines;
	char line[1100];
	struct wire_result said;
	char token[WIRE_TOKEN_MAX + 1];
	size_t length;
	uint8_t document[WIRE_KEYSET_MAX];
	size_t document_length, parts;
	int status;
};

static char program[4096], modules[4096], scratch[] = "/tmp/keyfob-test-fetch-XXXXXX";
static uid_t user;
static struct answer answer;

/* --- starting one --- */

static void put_ask(struct buffer *b, const struct ask *ask)
{
	uint32_t count = 0;

	while (ask->settings[2 * count])
		count++;
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, ask->flags);
	buffer_put_u8(b, (uint8_t)ask->sandbox);
	buffer_put_text(b, ask->module ? ask->module : "simple");
	buffer_put_text(b, "orders");
	buffer_put_text(b, ask->resource);
	buffer_put_u8(b, ask->kind);
	buffer_put_u32(b, ask->ttl);
	buffer_put_u32(b, ask->timeout ? ask->timeout : 20);
	buffer_put_u32(b, count);
	for (uint32_t i = 0; i < count; i++) {
		buffer_put_text(b, ask->settings[2 * i]);
		buffer_put_text(b, ask->settings[2 * i + 1]);
		buffer_put_u8(b, 0);
	}
	buffer_put_u32(b, ask->argument ? 1 : 0);
	if (ask->argument)
		buffer_put_text(b, ask->argument);
}

static void become_user(void)
{
	if (geteuid() == 0 && (syscall(SYS_setgroups, 0, NULL) < 0 || setresgid(user, user, user) < 0 || setresuid(user, user, user) < 0))
		_exit(126);
}

/* Owners of files, and a user apart from the one who runs the test, need root. */
static void needs_root(void)
{
	if (geteuid() != 0)
		skip();
}

static pid_t start(const char *directory, int *fd)
{
	char option[] = "--module-dir", *where = strdup(directory ? directory : modules);
	char *const argv[] = { program, option, where, NULL };
	char *const environment[] = { NULL };
	int fds[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		setsid();
		dup2(fds[1], 0);
		dup2(fds[1], 1);
		dup2(null, 2);
		close(null);
		become_user();
		execve(program, argv, environment);
		_exit(127);
	}
	close(fds[1]);
	free(where);
	*fd = fds[0];
	return pid;
}

static void take_frame(const struct buffer *frame)
{
	const char *token;
	struct reader r;
	uint8_t tag;

	reader_init(&r, frame->data, frame->length);
	tag = reader_u8(&r);
	assert_false(answer.result);
	if (tag == WIRE_FETCH_READY) {
		assert_false(answer.ready);
		answer.ready = true;
	} else if (tag == WIRE_FETCH_LINE) {
		reader_text(&r, answer.line, sizeof(answer.line));
		answer.lines++;
	} else if (tag == WIRE_FETCH_DATA) {
		size_t length;
		const uint8_t *part = reader_string(&r, &length);

		assert_true(length > 0 && length <= WIRE_CHUNK && answer.document_length + length <= sizeof(answer.document));
		memcpy(answer.document + answer.document_length, part, length);
		answer.document_length += length;
		answer.parts++;
	} else {
		assert_int_equal(tag, WIRE_FETCH_RESULT);
		assert_true(wire_get_result(&r, &answer.said, &token, &answer.length));
		memcpy(answer.token, token, answer.length);
		answer.token[answer.length] = 0;
		answer.result = true;
	}
	assert_true(reader_done(&r));
}

static void finish(pid_t pid, int fd)
{
	struct buffer frame;

	memset(&answer, 0, sizeof(answer));
	buffer_init(&frame, WIRE_MAX);
	while (wire_receive(fd, &frame, NULL) == 0)
		take_frame(&frame);
	buffer_free(&frame);
	close(fd);
	assert_int_equal(waitpid(pid, &answer.status, 0), pid);
}

static void send_ask(int fd, const struct ask *ask)
{
	struct buffer frame;

	buffer_init(&frame, WIRE_MAX);
	put_ask(&frame, ask);
	assert_int_equal(wire_send(fd, &frame, -1), 0);
	buffer_free(&frame);
}

static void fetch(const struct ask *ask)
{
	int fd;
	pid_t pid = start(ask->directory, &fd);

	send_ask(fd, ask);
	finish(pid, fd);
}

/* One fetch with the module "simple", which reported its end. */
#define simple(...) \
	do { \
		const struct ask ask_ = { __VA_ARGS__ }; \
		fetch(&ask_); \
		assert_true(answer.result); \
		assert_int_equal(answer.status, 0); \
	} while (0)

#define failed(class_, text_) \
	do { \
		assert_int_equal(answer.said.class, class_); \
		assert_int_equal(answer.length, 0); \
		assert_non_null(strstr(answer.said.text, text_)); \
	} while (0)

/* --- for setup and teardown --- */

static int fetch_prepare(void **state)
{
	char self[2048];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	(void)state;
	self[length > 0 ? length : 0] = 0;
	*strrchr(self, '/') = 0;
	snprintf(program, sizeof(program), "%s/../../bin/keyfob-fetch", self);
	snprintf(modules, sizeof(modules), "%s/../modules", self);
	for (user = 64900; getpwuid(user); user--)
		continue;
	return !mkdtemp(scratch) || chmod(scratch, 0777) < 0;
}

static int fetch_clean(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", scratch);
	return system(command);
}

#endif
