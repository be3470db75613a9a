/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libs: libkeyutils
 * Asks the verifier at KEYFOB_VERIFY_SOCKET. links: keyring/client keyring/keyctl common/buffer common/wire
 *
 *   token SERVICE LOGIN     the token is on stdin; prints account, identity provider, subject and expiry
 *   account SERVICE LOGIN [ACCOUNT]
 *   explain IDP             the token is on stdin
 *   keysets IDP             a line for each: name, state, epoch, failures, number of keys, their kids, the last error
 *   refresh IDP, revoke IDP, reload
 *   tokens SERVICE LOGIN    one token a line; prints how many were answered with which code, and the slowest answer in ms
 *   at-once N SERVICE LOGIN the token on stdin, N times at once; prints the same
 *   tcp                     a request with a descriptor of a lingering TCP connection beside it; prints the ms until the next is answered
 *
 * Ends with the code of the reply; what was refused is told on stderr.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/wire.h"
#include "keyring/client.h"

#define ANSWER_MS 60000
#define CODES 10

static struct client_server verifier = { "the verifier", NULL };
static char text[WIRE_TEXT_MAX];

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int ask(uint8_t opcode, const struct buffer *fields, struct buffer *reply, struct reader *r)
{
	int error;

	buffer_clear(reply);
	error = client_ask(&verifier, opcode, fields, ANSWER_MS, reply, r, text, sizeof(text));
	return -error;
}

static void read_stdin(struct buffer *token)
{
	ssize_t got;

	buffer_init(token, WIRE_MAX);
	while ((got = read(0, buffer_reserve(token, 4096), 4096)) > 0)
		token->length += (size_t)got;
}

static void show_texts(struct reader *r, int count)
{
	for (; count > 0; count--) {
		char field[WIRE_TEXT_MAX];

		reader_text(r, field, sizeof(field));
		printf("%s ", field);
	}
}

static void put_token(struct buffer *fields, char **argv, const void *token, size_t length)
{
	buffer_clear(fields);
	buffer_put_text(fields, argv[0]);
	buffer_put_text(fields, argv[1]);
	buffer_put_string(fields, token, length);
}

static int token(char **argv, struct buffer *fields, struct buffer *reply)
{
	struct buffer b;
	struct reader r;
	int code;

	read_stdin(&b);
	put_token(fields, argv, b.data, b.length);
	code = ask(WIRE_VERIFY_TOKEN, fields, reply, &r);
	if (code == 0) {
		show_texts(&r, 3);
		printf("%" PRIu64 "\n", reader_u64(&r));
	}
	return code ? code : !reader_done(&r);
}

static int explain(char **argv, struct buffer *fields, struct buffer *reply)
{
	struct buffer b;
	struct reader r;
	int code;

	read_stdin(&b);
	buffer_put_text(fields, argv[0]);
	buffer_put_string(fields, b.data, b.length);
	code = ask(WIRE_VERIFY_EXPLAIN, fields, reply, &r);
	if (code == 0) {
		show_texts(&r, 2);
		printf("%" PRIu64 "\n", reader_u64(&r));
	}
	return code ? code : !reader_done(&r);
}

static int account(char **argv, struct buffer *fields, struct buffer *reply)
{
	struct reader r;
	int code;

	buffer_put_text(fields, argv[0]);
	buffer_put_text(fields, argv[1]);
	buffer_put_text(fields, argv[2] ? argv[2] : "");
	code = ask(WIRE_VERIFY_ACCOUNT, fields, reply, &r);
	if (code == 0) {
		show_texts(&r, 1);
		puts("");
	}
	return code ? code : !reader_done(&r);
}

static void show_keyset(struct reader *r, char name[WIRE_NAME_MAX + 1])
{
	static const char *const states[] = { "good", "stale", "missing", "revoked" };
	char error[WIRE_TEXT_MAX];
	uint8_t state;

	reader_text(r, name, WIRE_NAME_MAX + 1);
	state = reader_u8(r);
	printf("%s %s epoch=%" PRIu64, name, state < 4 ? states[state] : "?", reader_u64(r));
	for (int i = 0; i < 4; i++)
		reader_u64(r);
	printf(" failures=%u", reader_u32(r));
	reader_text(r, error, sizeof(error));
	uint32_t count = reader_u32(r);
	printf(" keys=%u", count);
	for (uint32_t i = 0; i < count && !r->failed; i++) {
		char field[WIRE_TEXT_MAX];

		reader_text(r, field, sizeof(field));
		printf(" %s", field);
		reader_text(r, field, sizeof(field));
		printf("/%s", field);
	}
	printf("%s%s\n", *error ? " error: " : "", error);
}

static int keysets(char **argv, struct buffer *fields, struct buffer *reply)
{
	char after[WIRE_NAME_MAX + 1] = "";
	struct reader r;
	bool more = true;

	while (more) {
		int code;

		buffer_clear(fields);
		buffer_put_text(fields, argv[0]);
		buffer_put_text(fields, after);
		code = ask(WIRE_VERIFY_KEYSETS, fields, reply, &r);
		if (code)
			return code;
		more = reader_u8(&r) != 0;
		while (r.left && !r.failed)
			show_keyset(&r, after);
		if (!reader_done(&r))
			return 1;
	}
	return 0;
}

static int simple(uint8_t opcode, const char *name, struct buffer *fields, struct buffer *reply)
{
	struct reader r;
	int code;

	if (name)
		buffer_put_text(fields, name);
	code = ask(opcode, fields, reply, &r);
	if (code == 0 && opcode == WIRE_VERIFY_REFRESH)
		printf("%u\n", reader_u32(&r));
	if (code == 0 && opcode == WIRE_VERIFY_REVOKE)
		printf("%" PRIu64 "\n", reader_u64(&r));
	return code ? code : !reader_done(&r);
}

static void show_counts(const unsigned int counts[CODES], int64_t slowest)
{
	for (int i = 0; i < CODES; i++)
		if (counts[i])
			printf("%d:%u ", i, counts[i]);
	printf("slowest=%" PRId64 "\n", slowest);
}

static int tokens(char **argv, struct buffer *fields, struct buffer *reply)
{
	unsigned int counts[CODES] = { 0 };
	int64_t slowest = 0;
	char *line = NULL;
	size_t size = 0;
	ssize_t length;

	while ((length = getline(&line, &size, stdin)) > 0) {
		int64_t begin = now_ms();
		struct reader r;
		int code;

		put_token(fields, argv, line, (size_t)(length - (line[length - 1] == '\n')));
		code = ask(WIRE_VERIFY_TOKEN, fields, reply, &r);
		counts[code >= 0 && code < CODES ? code : CODES - 1]++;
		slowest = now_ms() - begin > slowest ? now_ms() - begin : slowest;
	}
	free(line);
	show_counts(counts, slowest);
	return 0;
}

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", verifier.path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("ask-verifier");
		exit(1);
	}
	return fd;
}

static int at_once(char **argv)
{
	unsigned int counts[CODES] = { 0 };
	size_t count = (size_t)atoi(argv[0]);
	struct pollfd *fds = calloc(count, sizeof(*fds));
	struct buffer fields, frame, b;
	int64_t begin, slowest = 0;

	read_stdin(&b);
	buffer_init(&fields, WIRE_MAX);
	put_token(&fields, argv + 1, b.data, b.length);
	buffer_init(&frame, WIRE_MAX);
	buffer_put_u8(&frame, WIRE_VERSION);
	buffer_put_u8(&frame, WIRE_VERIFY_TOKEN);
	buffer_put(&frame, fields.data, fields.length);
	for (size_t i = 0; i < count; i++)
		fds[i] = (struct pollfd){ .fd = dial(), .events = POLLIN };
	begin = now_ms();
	for (size_t i = 0; i < count; i++)
		wire_send(fds[i].fd, &frame, -1);
	for (size_t left = count; left && poll(fds, count, ANSWER_MS) > 0;) {
		for (size_t i = 0; i < count; i++) {
			uint8_t reply[WIRE_TEXT_MAX];
			ssize_t got;

			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			got = recv(fds[i].fd, reply, sizeof(reply), 0);
			counts[got >= 2 && reply[1] < CODES ? reply[1] : CODES - 1]++;
			slowest = now_ms() - begin;
			close(fds[i].fd);
			fds[i].fd = -1;
			left--;
		}
	}
	show_counts(counts, slowest);
	free(fds);
	return 0;
}

/* A TCP connection whose other end reads nothing, and which waits a minute for that when it is closed. */
static int lingering_tcp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { 1, 60 };
	socklen_t length = sizeof(address);
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static char data[1 << 20];

	if (bind(server, (struct sockaddr *)&address, length) < 0 || listen(server, 1) < 0 ||
		getsockname(server, (struct sockaddr *)&address, &length) < 0 || connect(fd, (struct sockaddr *)&address, length) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0) {
		perror("ask-verifier");
		exit(1);
	}
	while (send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		continue;
	return fd;
}

static int tcp(char **argv, struct buffer *fields, struct buffer *reply)
{
	struct buffer frame;
	struct reader r;
	int64_t begin;
	int fd = dial(), passed = lingering_tcp(), code;

	(void)argv;
	buffer_init(&frame, 64);
	buffer_put_u8(&frame, WIRE_VERSION);
	buffer_put_u8(&frame, WIRE_VERIFY_ACCOUNT);
	wire_send(fd, &frame, passed);
	close(passed);
	begin = now_ms();
	buffer_put_text(fields, "service");
	buffer_put_text(fields, "login");
	buffer_put_text(fields, "");
	code = ask(WIRE_VERIFY_ACCOUNT, fields, reply, &r);
	printf("%d after %" PRId64 " ms\n", code, now_ms() - begin);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int arguments;
		int (*run)(char **argv, struct buffer *fields, struct buffer *reply);
	} verbs[] = { { "token", 2, token }, { "account", 2, account }, { "account", 3, account }, { "explain", 1, explain },
		{ "keysets", 1, keysets }, { "tokens", 2, tokens }, { "tcp", 0, tcp } };
	struct rlimit files = { 8192, 8192 };
	struct buffer fields, reply;
	int code = 2;

	verifier.path = getenv("KEYFOB_VERIFY_SOCKET");
	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	setrlimit(RLIMIT_NOFILE, &files);
	for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(argv[1], verbs[i].name) == 0 && argc == 2 + verbs[i].arguments)
			code = verbs[i].run(argv + 2, &fields, &reply);
	if (argc == 3 && strcmp(argv[1], "refresh") == 0)
		code = simple(WIRE_VERIFY_REFRESH, argv[2], &fields, &reply);
	else if (argc == 3 && strcmp(argv[1], "revoke") == 0)
		code = simple(WIRE_VERIFY_REVOKE, argv[2], &fields, &reply);
	else if (argc == 2 && strcmp(argv[1], "reload") == 0)
		code = simple(WIRE_VERIFY_RELOAD, NULL, &fields, &reply);
	else if (argc == 5 && strcmp(argv[1], "at-once") == 0)
		code = at_once(argv + 2);
	if (code && *text)
		fprintf(stderr, "%s\n", text);
	return code;
}
