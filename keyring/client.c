/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "keyring/keyctl.h"
#include "keyring/keyfob.h"

#define OVERFLOW_UID 65534 /* user_namespaces(7) */
#define CONNECT_MS 2000 /* a listening broker accepts at once */

static const char *chosen_socket;

void client_set_socket(const char *path)
{
	chosen_socket = path;
}

const char *client_socket(void)
{
	const char *path = chosen_socket ? chosen_socket : secure_getenv("KEYFOB_SOCKET");

	return path && *path ? path : WIRE_SOCKET_DEFAULT;
}

/*
 * Root's, or the caller's own. In a user namespace that does not know root he
 * shows as the overflow uid, as everybody outside it does: there, whoever put
 * the socket into the container vouches for it.
 */
static bool is_brokers(uid_t uid)
{
	return uid == 0 || uid == geteuid() || (uid == OVERFLOW_UID && !key_ids_are_true());
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int connect_server(const struct client_server *server, int timeout_ms, char *message, size_t size)
{
	const char *path = server->path;
	int ms = timeout_ms < CONNECT_MS ? timeout_ms : CONNECT_MS;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(message, size, "%s: a socket's path has at most %zu bytes", path, sizeof(address.sun_path) - 1);
		return KEYFOB_EINVAL;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		snprintf(message, size, "no socket: %s", strerror(errno));
		return KEYFOB_EBROKER;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
		connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		snprintf(message, size, "cannot reach %s at %s: %s", server->name, path, strerror(errno));
	} else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || !is_brokers(peer.uid)) {
		snprintf(message, size, "%s belongs to a stranger (uid %u), not to %s", path, peer.uid, server->name);
	} else {
		return fd;
	}
	close(fd);
	return KEYFOB_EBROKER;
}

/* The error half of a reply. The numbers on the wire are the exit codes, so they are checked before they are believed. */
static int read_error(uint8_t code, struct reader *r, char *message, size_t size)
{
	char text[WIRE_TEXT_MAX];
	uint32_t retry = reader_u32(r);

	reader_text(r, text, sizeof(text));
	if (!reader_done(r) || code > -KEYFOB_EAGAIN) {
		snprintf(message, size, "the answer is malformed: do client and server have one version?");
		return KEYFOB_EBROKER;
	}
	if (retry)
		snprintf(message, size, "%s (try again in %u s)", text, retry);
	else
		snprintf(message, size, "%s", text);
	return -code;
}

int client_read_reply(const struct buffer *reply, struct reader *r, char *message, size_t size)
{
	uint8_t version, code;

	reader_init(r, reply->data, reply->length);
	version = reader_u8(r);
	code = reader_u8(r);
	if (version == WIRE_VERSION && code == 0 && !r->failed)
		return 0;
	return read_error(version == WIRE_VERSION ? code : UINT8_MAX, r, message, size);
}

int client_call(enum wire_opcode opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply, struct reader *r, char *message,
	size_t size)
{
	const struct client_server broker = { "the broker", client_socket() };

	return client_ask(&broker, (uint8_t)opcode, fields, timeout_ms, reply, r, message, size);
}

/* By the clock: SO_RCVTIMEO would begin anew after every signal that its process gets. */
static int receive(int fd, int64_t deadline, struct buffer *reply)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	int ready;

	do {
		int64_t left = deadline - now_ms();

		ready = left > 0 ? poll(&wait, 1, (int)left) : 0;
	} while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return ready < 0 ? -errno : -EAGAIN;
	return wire_receive(fd, reply, NULL);
}

int client_ask(const struct client_server *server, uint8_t opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply,
	struct reader *r, char *message, size_t size)
{
	int64_t deadline = now_ms() + timeout_ms;
	struct buffer request;
	int fd, error;

	message[0] = 0;
	fd = connect_server(server, timeout_ms, message, size);
	if (fd < 0)
		return fd;
	buffer_init(&request, WIRE_MAX);
	buffer_put_u8(&request, WIRE_VERSION);
	buffer_put_u8(&request, opcode);
	if (fields && !fields->failed)
		buffer_put(&request, fields->data, fields->length);
	request.failed = request.failed || (fields && fields->failed);
	error = wire_send(fd, &request, -1);
	/* A broker that turns a caller away answers and closes before it reads: EPIPE or one ECONNRESET, and then the answer. */
	if (error == 0 || error == -EPIPE)
		error = receive(fd, deadline, reply);
	if (error == -ECONNRESET)
		error = receive(fd, deadline, reply);
	close(fd);
	buffer_free(&request);
	if (error == -EAGAIN) {
		snprintf(message, size, "%s did not answer within %d s", server->name, timeout_ms / 1000);
		return KEYFOB_EAGAIN;
	}
	if (error < 0) {
		snprintf(message, size, "%s at %s broke off: %s", server->name, server->path, strerror(-error));
		return error == -EMSGSIZE ? KEYFOB_EINVAL : KEYFOB_EBROKER;
	}
	return client_read_reply(reply, r, message, size);
}
