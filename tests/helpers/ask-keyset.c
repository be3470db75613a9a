/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ask the broker for an identity provider's key set as the verifier does: the
 * head on stderr, the document on stdout, the reply's error as exit code. The
 * environment's SOURCE is what the asker's configuration says of it.
 *
 * links: keyring/client keyring/keyctl common/buffer common/wire
 * libs: libkeyutils
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/wire.h"
#include "keyring/client.h"

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? fd : -1;
}

/* All of the document is there once the head is: the broker waits for nobody. */
static int take_document(int fd, size_t length)
{
	struct buffer frame;
	size_t have = 0;

	buffer_init(&frame, WIRE_MAX);
	while (have < length && wire_receive(fd, &frame, NULL) == 0) {
		have += frame.length;
		if (frame.length > WIRE_CHUNK || fwrite(frame.data, 1, frame.length, stdout) != frame.length)
			have = length + 1;
	}
	/* And nothing follows. */
	if (have == length && wire_receive(fd, &frame, NULL) == 0)
		have++;
	buffer_free(&frame);
	if (have != length)
		fprintf(stderr, "%zu bytes came of %zu\n", have, length);
	return have == length ? 0 : 1;
}

static void put_request(struct buffer *b, const char *name, const char *etag)
{
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, WIRE_KEYSET);
	buffer_put_text(b, name);
	buffer_put_text(b, getenv("SOURCE"));
	buffer_put_text(b, etag);
}

static int ask_and_leave(const char *name, const char *etag, int count)
{
	struct pollfd fds[64];
	struct buffer request;
	int answered = 0;

	buffer_init(&request, WIRE_MAX);
	put_request(&request, name, etag);
	for (int i = 0; i < count && i < 64; i++) {
		fds[i] = (struct pollfd){ .fd = connect_to(client_socket()), .events = POLLIN };
		if (fds[i].fd < 0 || wire_send(fds[i].fd, &request, -1) < 0)
			return 6;
	}
	buffer_free(&request);
	poll(NULL, 0, 500);
	if (poll(fds, (nfds_t)count, 0) > 0)
		for (int i = 0; i < count; i++)
			answered += fds[i].revents != 0;
	printf("%d\n", answered);
	return 0;
}

int main(int argc, char **argv)
{
	char etag[WIRE_TEXT_MAX], message[WIRE_TEXT_MAX];
	struct buffer request, reply;
	struct reader r;
	uint64_t refresh;
	uint32_t length;
	uint8_t same;
	int error, fd;

	/* ask-keyset NAME [ETAG [COUNT]]: with COUNT put the question so often, half a second later go away, and say how many had an answer. */
	if (argc > 3)
		return ask_and_leave(argv[1], argv[2], atoi(argv[3]));
	if (argc < 2 || (fd = connect_to(client_socket())) < 0)
		return 6;
	buffer_init(&request, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	put_request(&request, argv[1], argc > 2 ? argv[2] : "");
	if (wire_send(fd, &request, -1) < 0)
		return 6;
	if (wire_receive(fd, &reply, NULL) < 0)
		return 6;
	error = client_read_reply(&reply, &r, message, sizeof(message));
	if (error < 0) {
		fprintf(stderr, "%s\n", message);
		return -error;
	}
	reader_text(&r, etag, sizeof(etag));
	refresh = reader_u64(&r);
	same = reader_u8(&r);
	length = reader_u32(&r);
	if (!reader_done(&r))
		return 1;
	fprintf(stderr, "etag=%s refresh=%llu same=%u length=%u\n", etag, (unsigned long long)refresh, same, length);
	/* A reader that takes its time loses nothing. */
	poll(NULL, 0, 50);
	error = take_document(fd, length);
	buffer_free(&request);
	buffer_free(&reply);
	close(fd);
	return error;
}
