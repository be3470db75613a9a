/* SPDX-License-Identifier: Apache-2.0 */
/* links: common/wire common/buffer */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/wire.h"
#include "modules/module.h"

static int pair[2];

static int make_pair(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state)
{
	(void)state;
	if (pair[0] >= 0)
		close(pair[0]);
	close(pair[1]);
	return 0;
}

static int open_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* --- the result of a fetch ----------------------------------------------------------- */

static void fill_result(struct wire_result *result)
{
	*result = (struct wire_result){ .class = KEYFOB_CLASS_OK,
		.expires = 1ull << 40,
		.refresh = 1700000000,
		.retry_after = 17,
		.fingerprint = "0123abcd",
		.code = "invalid_request",
		.text = "what happened",
		.issuer = "https://i",
		.audience = "a",
		.subject = "s" };
	memset(result->code, 'c', sizeof(result->code) - 1);
}

static void put_result(struct buffer *b, const struct wire_result *result, size_t token_length)
{
	char *token = malloc(token_length + 1);

	memset(token, 't', token_length + 1);
	buffer_init(b, WIRE_MAX);
	assert_true(wire_put_result(b, result, token, token_length));
	assert_int_equal(b->data[0], WIRE_FETCH_RESULT);
	free(token);
}

/* The frame lies in memory of exactly its length, so that a sanitizer sees a read past its end. */
static bool get_result(const struct buffer *b, size_t frame, struct wire_result *result, size_t *length)
{
	uint8_t *exact = malloc(frame ? frame : 1);
	const char *token;
	struct reader r;
	bool ok;

	memcpy(exact, b->data + 1, frame);
	reader_init(&r, exact, frame);
	ok = wire_get_result(&r, result, &token, length);
	for (size_t i = 0; ok && i < *length; i++)
		assert_int_equal(token[i], 't');
	free(exact);
	return ok;
}

static void test_result(void **state)
{
	struct wire_result in, out;
	struct buffer b;
	size_t length;

	(void)state;
	fill_result(&in);
	put_result(&b, &in, 1000);
	assert_true(get_result(&b, b.length - 1, &out, &length));
	assert_int_equal(length, 1000);
	assert_int_equal(out.class, in.class);
	assert_true(out.expires == in.expires && out.refresh == in.refresh);
	assert_int_equal(out.retry_after, 17);
	assert_string_equal(out.fingerprint, in.fingerprint);
	assert_string_equal(out.code, in.code);
	assert_string_equal(out.text, in.text);
	assert_string_equal(out.issuer, in.issuer);
	assert_string_equal(out.audience, in.audience);
	assert_string_equal(out.subject, in.subject);
	/* Cut anywhere, it is no result. */
	for (size_t cut = 0; cut < b.length - 1; cut++)
		assert_false(get_result(&b, cut, &out, &length));
	buffer_put_u8(&b, 0);
	assert_false(get_result(&b, b.length - 1, &out, &length));
	buffer_free(&b);
}

static void test_result_token_length(void **state)
{
	struct wire_result in = { .class = KEYFOB_CLASS_OK }, out;
	struct buffer b;
	size_t length;

	(void)state;
	put_result(&b, &in, WIRE_TOKEN_MAX);
	assert_true(get_result(&b, b.length - 1, &out, &length));
	assert_int_equal(length, WIRE_TOKEN_MAX);
	buffer_free(&b);
	put_result(&b, &in, WIRE_TOKEN_MAX + 1);
	assert_false(get_result(&b, b.length - 1, &out, &length));
	buffer_free(&b);
	put_result(&b, &in, 0);
	assert_true(get_result(&b, b.length - 1, &out, &length));
	assert_int_equal(length, 0);
	buffer_free(&b);
}

/* Each text in its turn is one byte longer than it may be, or holds a NUL. */
static void test_result_bad_text(void **state)
{
	static const size_t limits[] = { 8, 64, WIRE_TEXT_MAX - 1, 256, 256, 256 };

	(void)state;
	for (size_t bad = 0; bad < 13; bad++) {
		struct wire_result out;
		struct buffer b;
		char text[WIRE_TEXT_MAX + 1];
		size_t length;

		memset(text, 'x', sizeof(text));
		buffer_init(&b, WIRE_MAX);
		buffer_put(&b, "\2\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\1", 22);
		for (size_t i = 0; i < 6; i++) {
			if (bad == i + 6)
				buffer_put_string(&b, "a\0b", 3);
			else
				buffer_put_string(&b, text, limits[i] + (bad == i));
		}
		buffer_put_text(&b, "t");
		assert_int_equal(get_result(&b, b.length - 1, &out, &length), bad == 12);
		buffer_free(&b);
	}
}

/* --- names --------------------------------------------------------------------------- */

static void test_names(void **state)
{
	static const char *const good[] = { "a", "atlas", "A-b_c.9", "0", "_x", "x-", "x.",
		"0123456789012345678901234567890123456789012345678901234567890123" };
	static const char *const wrong[] = { "", ".", "..", ".a", "-a", "a/b", "a b", "a:b", "a;b", "a\n", "\xc3\xa9", "a%", "a\\",
		"01234567890123456789012345678901234567890123456789012345678901234" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (!wire_name_valid(good[i]))
			fail_msg("refused: \"%s\"", good[i]);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (wire_name_valid(wrong[i]))
			fail_msg("taken: \"%s\"", wrong[i]);
}

/* --- frames over a socket -------------------------------------------------------------- */

static void test_frame(void **state)
{
	struct buffer out, in;

	(void)state;
	buffer_init(&out, WIRE_MAX);
	buffer_init(&in, WIRE_MAX);
	memset(buffer_reserve(&out, WIRE_MAX), 'f', WIRE_MAX);
	out.length = WIRE_MAX;
	assert_int_equal(wire_send(pair[0], &out, -1), 0);
	buffer_put(&in, "left over", 9);
	assert_int_equal(wire_receive(pair[1], &in, NULL), 0);
	assert_int_equal(in.length, WIRE_MAX);
	assert_memory_equal(in.data, out.data, WIRE_MAX);
	close(pair[0]);
	pair[0] = -1;
	assert_int_equal(wire_receive(pair[1], &in, NULL), -ECONNRESET);
	assert_int_equal(wire_send(pair[1], &out, -1), -EPIPE);
	buffer_put_u8(&out, 0);
	assert_true(out.failed);
	assert_int_equal(wire_send(pair[1], &out, -1), -EMSGSIZE);
	buffer_free(&out);
	buffer_free(&in);
}

static void test_frame_too_long(void **state)
{
	struct buffer out, in;
	int fd = 99;

	(void)state;
	buffer_init(&out, 100);
	buffer_init(&in, 99);
	memset(buffer_reserve(&out, 100), 'f', 100);
	out.length = 100;
	int before = open_descriptors();
	assert_int_equal(wire_send(pair[0], &out, STDERR_FILENO), 0);
	assert_int_equal(wire_receive(pair[1], &in, &fd), -EMSGSIZE);
	assert_int_equal(fd, -1);
	assert_int_equal(in.length, 0);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(wire_receive(pair[1], &in, &fd), -EAGAIN);
	assert_int_equal(fd, -1);
	buffer_free(&out);
	buffer_free(&in);
}

static void test_descriptor(void **state)
{
	struct buffer out, in;
	struct stat sent, got;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), fd = -1;

	(void)state;
	buffer_init(&out, 10);
	buffer_init(&in, 10);
	buffer_put_u8(&out, 1);
	int before = open_descriptors();
	assert_int_equal(wire_send(pair[0], &out, null), 0);
	assert_int_equal(wire_receive(pair[1], &in, &fd), 0);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fstat(null, &sent), 0);
	assert_int_equal(fstat(fd, &got), 0);
	assert_true(sent.st_rdev == got.st_rdev && sent.st_ino == got.st_ino);
	close(fd);
	/* Not wanted: closed. */
	assert_int_equal(wire_send(pair[0], &out, null), 0);
	assert_int_equal(wire_receive(pair[1], &in, NULL), 0);
	assert_int_equal(open_descriptors(), before);
	close(null);
	buffer_free(&out);
	buffer_free(&in);
}

static void send_many(int count)
{
	char space[CMSG_SPACE(32 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { (char[]){ 'x' }, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int))
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fds[32];

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
	for (int i = 0; i < count; i++)
		fds[i] = STDERR_FILENO;
	memcpy(CMSG_DATA(c), fds, (size_t)count * sizeof(int));
	assert_int_equal(sendmsg(pair[0], &msg, 0), 1);
}

/* A peer that sends more descriptors than one does not fill the table of the other side. */
static void test_many_descriptors(void **state)
{
	struct buffer in;
	int fd = -1;

	(void)state;
	buffer_init(&in, 10);
	int before = open_descriptors();
	send_many(3);
	assert_int_equal(wire_receive(pair[1], &in, &fd), 0);
	assert_int_equal(open_descriptors(), before + 1);
	close(fd);
	send_many(32);
	assert_int_equal(wire_receive(pair[1], &in, &fd), -EMSGSIZE);
	assert_int_equal(fd, -1);
	assert_int_equal(open_descriptors(), before);
	send_many(32);
	assert_int_equal(wire_receive(pair[1], &in, NULL), -EMSGSIZE);
	assert_int_equal(open_descriptors(), before);
	buffer_free(&in);
}

static void send_now(int number)
{
	(void)number;
	if (send(pair[0], "x", 1, 0) != 1)
		abort();
}

/* The signal that interrupts the wait also sends what is waited for. */
static void test_interrupted(void **state)
{
	struct sigaction action = { .sa_handler = send_now }, old;
	struct itimerval soon = { .it_value.tv_usec = 50000 };
	struct buffer in;

	(void)state;
	buffer_init(&in, 10);
	assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
	assert_int_equal(wire_receive(pair[1], &in, NULL), 0);
	assert_int_equal(in.length, 1);
	assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
	buffer_free(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_result_token_length),
		cmocka_unit_test(test_result_bad_text),
		cmocka_unit_test(test_names),
		cmocka_unit_test_setup_teardown(test_frame, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_frame_too_long, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_descriptor, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_many_descriptors, make_pair, close_pair),
		cmocka_unit_test_setup_teardown(test_interrupted, make_pair, close_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
