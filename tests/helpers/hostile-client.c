/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libs: libkeyutils
 * A client that means ill. links: keyring/client keyring/keyctl common/buffer common/wire
 *
 *   frames              send what no client should, one frame a connection; print what came back for each
 *   noise COUNT         frames of noise, the same each time
 *   silent COUNT        connect and say nothing; print how many were closed, and after how many seconds
 *   hold COUNT NAME     that many requests for one credential at once; print how many were sent away, wait for end of stdin
 *   descriptors COUNT   a request with that many descriptors beside it
 *   leave COUNT NAME    ask and hang up before the answer
 *   deaf COUNT NAME     ask, do not read, and hang up when stdin ends
 *   flood COUNT NAME    that many processes that ask whether they may have it, over and over, until stdin ends
 *   ask COUNT NAME      none of this: ask that so often, one after the other; print the median and the slowest in us
 *
 * The socket is KEYFOB_SOCKET.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/wire.h"
#include "keyring/client.h"

#define ANSWER_MS 10000
#define HOLD_MS 2000
#define DESCRIPTORS_MAX 253 /* SCM_MAX_FD */

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), big = 1 << 20;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", client_socket());
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("hostile-client");
		exit(1);
	}
	return fd;
}

/* What came back: the reply's code, or -1 for a closed connection, -2 for none in time. */
static int answer(int fd)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	uint8_t reply[WIRE_MAX];
	ssize_t got;

	if (poll(&readable, 1, ANSWER_MS) <= 0)
		return -2;
	got = recv(fd, reply, sizeof(reply), 0);
	/* Turned away unread: the error comes first, then the answer. */
	if (got < 0)
		got = recv(fd, reply, sizeof(reply), 0);
	return got < 2 ? -1 : reply[1];
}

static void show(const char *what, int code)
{
	if (code >= 0)
		printf("%s: %d\n", what, code);
	else
		printf("%s: %s\n", what, code == -1 ? "closed" : "no answer");
}

static void try_frame(const char *what, const struct buffer *b)
{
	int fd = dial();

	show(what, send(fd, b->data, b->length, MSG_NOSIGNAL) < 0 ? -1 : answer(fd));
	close(fd);
}

static void start(struct buffer *b, uint8_t opcode)
{
	buffer_clear(b);
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, opcode);
}

static void try_named(const char *what, const void *name, size_t length, struct buffer *b)
{
	start(b, WIRE_GET);
	buffer_put_string(b, name, length);
	try_frame(what, b);
}

/* A string that claims to be longer than the frame that holds it. */
static void try_claimed(const char *what, uint32_t claimed, struct buffer *b)
{
	start(b, WIRE_GET);
	buffer_put_u32(b, claimed);
	buffer_put(b, "name", 4);
	try_frame(what, b);
}

static void try_size(const char *what, size_t size, struct buffer *b)
{
	start(b, WIRE_GET);
	while (b->length < size)
		buffer_put_u8(b, 'x');
	try_frame(what, b);
}

static void malformed_frames(struct buffer *b)
{
	char name[66];

	memset(name, 'a', sizeof(name));
	buffer_clear(b);
	try_frame("empty frame", b);
	buffer_put_u8(b, WIRE_VERSION);
	try_frame("version alone", b);
	start(b, WIRE_GET);
	b->data[0] = WIRE_VERSION + 1;
	try_frame("another version", b);
	start(b, 0);
	try_frame("opcode 0", b);
	start(b, 99);
	try_frame("opcode 99", b);
	start(b, 255);
	try_frame("opcode 255", b);
	start(b, WIRE_GET);
	try_frame("no name", b);
	try_claimed("truncated name", 5, b);
	try_claimed("name of 4 GiB", UINT32_MAX, b);
	try_claimed("bytes after the name", 3, b);
	try_named("empty name", "", 0, b);
	try_named("name with a NUL", "at\0las", 6, b);
	try_named("name with a slash", "../atlas", 8, b);
	try_named("name with a line end", "atlas\n", 6, b);
	try_named("name of 65 letters", name, 65, b);
	try_size("64 KiB", WIRE_MAX, b);
	try_size("64 KiB and one byte", WIRE_MAX + 1, b);
	try_size("200 KB", 200000, b);
	start(b, WIRE_STATUS);
	buffer_put_text(b, "");
	try_frame("status without its second field", b);
}

static void forbidden_requests(struct buffer *b)
{
	start(b, WIRE_REJECT);
	buffer_put_text(b, "theirs");
	buffer_put_text(b, "token");
	try_frame("reject of another's token", b);
	start(b, WIRE_DROP);
	buffer_put_text(b, "theirs");
	try_frame("drop", b);
	start(b, WIRE_RELOAD);
	try_frame("reload", b);
	start(b, WIRE_TRY);
	buffer_put_text(b, "theirs");
	try_frame("try", b);
	start(b, WIRE_MAY);
	buffer_put_text(b, "theirs");
	buffer_put_u32(b, 0);
	try_frame("a question about root", b);
}

static int frames(void)
{
	struct buffer b;

	buffer_init(&b, 1 << 20);
	malformed_frames(&b);
	forbidden_requests(&b);
	buffer_free(&b);
	return 0;
}

static int noise(int count)
{
	static uint8_t frame[4096];
	int refused = 0;

	srandom(20240229);
	for (int i = 0; i < count; i++) {
		size_t length = 1 + (size_t)random() % (i % 2 ? 64 : sizeof(frame));
		int fd = dial();

		for (size_t j = 0; j < length; j++)
			frame[j] = (uint8_t)random();
		/* Most of it past the first check. */
		frame[0] = i % 8 ? WIRE_VERSION : frame[0];
		if (length > 1 && i % 4)
			frame[1] = (uint8_t)(1 + i % 8);
		if (length > 5 && i % 3)
			memset(frame + 2, 0, 3);
		if (send(fd, frame, length, MSG_NOSIGNAL) > 0 && answer(fd) > 0)
			refused++;
		close(fd);
	}
	printf("%d of %d refused\n", refused, count);
	return 0;
}

static int silent(int count)
{
	int *fds = calloc((size_t)count, sizeof(*fds)), closed = 0;
	time_t begin = time(NULL);

	for (int i = 0; i < count; i++)
		fds[i] = dial();
	for (int i = 0; i < count; i++)
		closed += answer(fds[i]) == -1;
	printf("%d closed after %d s\n", closed, (int)(time(NULL) - begin));
	free(fds);
	return 0;
}

static void ask(int fd, const char *name)
{
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	start(&b, WIRE_GET);
	buffer_put_text(&b, name);
	wire_send(fd, &b, -1);
	buffer_free(&b);
}

static void wait_for_stdin(void)
{
	char c;

	fflush(stdout);
	while (read(0, &c, 1) > 0)
		continue;
}

static int hold(int count, const char *name)
{
	int *fds = calloc((size_t)count, sizeof(*fds)), away = 0;
	struct pollfd readable = { .events = POLLIN };

	for (int i = 0; i < count; i++)
		ask(fds[i] = dial(), name);
	/* The last one first: when it has been turned away, or not in a while, so have the others. */
	for (int i = count - 1; i >= 0; i--) {
		readable.fd = fds[i];
		if (poll(&readable, 1, i < count - 1 ? 0 : HOLD_MS) > 0 && answer(fds[i]) == 8)
			away++;
	}
	printf("%d held, %d sent away\n", count - away, away);
	wait_for_stdin();
	free(fds);
	return 0;
}

static int descriptors(int count)
{
	union {
		char space[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct buffer b;
	struct msghdr msg = { .msg_control = control.space, .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int)) };
	struct iovec iov;
	int fd = dial(), passed[DESCRIPTORS_MAX];

	if (count < 1 || count > DESCRIPTORS_MAX)
		return 2;
	for (int i = 0; i < count; i++)
		passed[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	buffer_init(&b, WIRE_MAX);
	start(&b, WIRE_STATUS);
	buffer_put_text(&b, "");
	buffer_put_text(&b, "");
	iov = (struct iovec){ b.data, b.length };
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	memset(&control, 0, sizeof(control));
	CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), passed, (size_t)count * sizeof(int));
	/* From Linux 6.16 on the kernel refuses them for the broker. */
	if (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 && errno == EPERM)
		puts("descriptors: refused");
	else
		show("descriptors", answer(fd));
	buffer_free(&b);
	return 0;
}

static int leave(int count, const char *name)
{
	for (int i = 0; i < count; i++) {
		int fd = dial();

		ask(fd, name);
		close(fd);
	}
	return 0;
}

static int deaf(int count, const char *name)
{
	for (int i = 0; i < count; i++)
		ask(dial(), name);
	puts("asked");
	wait_for_stdin();
	return 0;
}

/* Whether this user may have a credential: costs the broker little, and no token is handed out. */
static int64_t ask_whether(const char *name, struct buffer *b)
{
	struct timespec begin, end;
	int fd;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	fd = dial();
	start(b, WIRE_MAY);
	buffer_put_text(b, name);
	buffer_put_u32(b, geteuid());
	wire_send(fd, b, -1);
	if (answer(fd) < 0)
		return -1;
	close(fd);
	clock_gettime(CLOCK_MONOTONIC, &end);
	return (end.tv_sec - begin.tv_sec) * 1000000 + (end.tv_nsec - begin.tv_nsec) / 1000;
}

static int flood(int count, const char *name)
{
	struct buffer b;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	buffer_init(&b, WIRE_MAX);
	for (int i = 0; i < count; i++) {
		if (fork() != 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			ask_whether(name, &b);
	}
	puts("flooding");
	wait_for_stdin();
	return 0;
}

static int compare(const void *a, const void *b)
{
	int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;

	return (one > other) - (one < other);
}

static int ask_often(int count, const char *name)
{
	int64_t *took = calloc((size_t)count + 1, sizeof(*took));
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	for (int i = 0; i < count; i++) {
		took[i] = ask_whether(name, &b);
		if (took[i] < 0)
			return 1;
		usleep(1000);
	}
	qsort(took, (size_t)count, sizeof(*took), compare);
	printf("median %lld slowest %lld\n", (long long)took[count / 2], (long long)took[count - 1]);
	buffer_free(&b);
	free(took);
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit files = { 8192, 8192 };
	int count = argc > 2 ? atoi(argv[2]) : 0;
	const char *what = argc > 1 ? argv[1] : "", *name = argc > 3 ? argv[3] : "";

	if (setrlimit(RLIMIT_NOFILE, &files) < 0 && getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (strcmp(what, "frames") == 0)
		return frames();
	if (strcmp(what, "noise") == 0)
		return noise(count);
	if (strcmp(what, "silent") == 0)
		return silent(count);
	if (strcmp(what, "hold") == 0)
		return hold(count, name);
	if (strcmp(what, "descriptors") == 0)
		return descriptors(count);
	if (strcmp(what, "leave") == 0)
		return leave(count, name);
	if (strcmp(what, "deaf") == 0)
		return deaf(count, name);
	if (strcmp(what, "flood") == 0)
		return flood(count, name);
	if (strcmp(what, "ask") == 0)
		return ask_often(count, name);
	return 2;
}
