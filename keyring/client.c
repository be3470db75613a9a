/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/client.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

bool client_is_own(const char *path)
{
	char copy[KEY_BROKER_SIZE];
	struct stat st;

	if (geteuid() == 0 || getuid() != geteuid() || strlen(path) >= sizeof(copy))
		return false;
	strcpy(copy, path);
	return stat(dirname(copy), &st) == 0 && st.st_uid == geteuid();
}

const char *client_socket(void)
{
	/* By this model without the dynamic linker's help: pam_keyfob.so needs nothing but libc and libpam. */
	static __thread char own[KEY_BROKER_SIZE] __attribute__((tls_model("initial-exec")));
	const char *path = chosen_socket ? chosen_socket : secure_getenv("KEYFOB_SOCKET"), *run;
	int length;

	if (path && *path)
		return path;
	run = geteuid() == 0 || access(WIRE_SOCKET_DEFAULT, F_OK) == 0 ? NULL : secure_getenv("XDG_RUNTIME_DIR");
	if (!run || *run != '/')
		return WIRE_SOCKET_DEFAULT;
	length = snprintf(own, sizeof(own), "%s" WIRE_SOCKET_OWN, run);
	return length < (int)sizeof(own) && access(own, F_OK) == 0 && client_is_own(own) ? own : WIRE_SOCKET_DEFAULT;
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

static int connect_server(const struct client_server *server, int type, int timeout_ms, char *message, size_t size)
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
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		snprintf(message, size, "no socket: %s", strerror(errno));
		return KEYFOB_EBROKER;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
		connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		snprintf(message, size, "cannot reach %s at %s: %s", server->name, path, strerror(errno));
	} else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || !is_brokers(peer.uid)) {
		errno = EPERM;
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

/* By the clock: SO_RCVTIMEO would begin anew after every signal that its process gets. 0 or a negative errno. */
static int wait_readable(int fd, int64_t deadline)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	int ready;

	do {
		int64_t left = deadline - now_ms();

		ready = left > 0 ? poll(&wait, 1, (int)left) : 0;
	} while (ready < 0 && errno == EINTR);
	return ready > 0 ? 0 : ready < 0 ? -errno : -EAGAIN;
}

static int receive(int fd, int64_t deadline, struct buffer *reply)
{
	int error = wait_readable(fd, deadline);

	return error < 0 ? error : wire_receive(fd, reply, NULL);
}

int client_ask(const struct client_server *server, uint8_t opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply,
	struct reader *r, char *message, size_t size)
{
	int64_t deadline = now_ms() + timeout_ms;
	struct buffer request;
	int fd, error;

	message[0] = 0;
	fd = connect_server(server, SOCK_SEQPACKET, timeout_ms, message, size);
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
		snprintf(message, size, "%s did not answer within %g s", server->name, timeout_ms / 1000.0);
		return KEYFOB_EAGAIN;
	}
	if (error < 0) {
		snprintf(message, size, "%s at %s broke off: %s", server->name, server->path, strerror(-error));
		return error == -EMSGSIZE ? KEYFOB_EINVAL : KEYFOB_EBROKER;
	}
	return client_read_reply(reply, r, message, size);
}

/* --- a credential's own socket --- */

static int read_to_end(int fd, int64_t deadline, struct buffer *token)
{
	uint8_t part[4096];
	ssize_t got = 0;
	int error;

	while ((error = wait_readable(fd, deadline)) == 0 && (got = read(fd, part, sizeof(part))) > 0)
		buffer_put(token, part, (size_t)got);
	explicit_bzero(part, sizeof(part));
	if (error == 0 && got < 0)
		error = -errno;
	if (error < 0)
		return error;
	if (token->length == 0 && !token->failed)
		return -ENODATA;
	return token->failed || token->length > WIRE_TOKEN_MAX || memchr(token->data, 0, token->length) ? -EBADMSG : 0;
}

/*
 * As the host has it, or where a container has the one directory. Where the
 * broker's socket is, silence on it is the answer: who may have a credential
 * there need not be whom its own socket is for.
 */
static bool find_own(const char *credential, char *path, size_t size)
{
	const char *broker = client_socket(), *slash = strrchr(broker, '/');
	int before = slash ? (int)(slash - broker) : 1;

	if (faccessat(AT_FDCWD, broker, F_OK, AT_EACCESS) == 0)
		return false;
	broker = slash ? broker : ".";
	if (snprintf(path, size, "%.*s/credential/%s.sock", before, broker, credential) < (int)size &&
		faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) == 0)
		return true;
	return snprintf(path, size, "%.*s/container/%s/%s.sock", before, broker, credential, credential) < (int)size &&
	       faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) == 0;
}

int client_read_own(const char *credential, int timeout_ms, struct buffer *token, char *message, size_t size)
{
	int64_t deadline = now_ms() + timeout_ms;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
	const struct client_server own = { "its own socket", path };
	int fd, error;

	if (!find_own(credential, path, sizeof(path)))
		return KEYFOB_EBROKER;
	fd = connect_server(&own, SOCK_STREAM, timeout_ms, message, size);
	if (fd < 0)
		return errno == EACCES ? KEYFOB_EDENIED : fd;
	error = read_to_end(fd, deadline, token);
	close(fd);
	if (error == -EAGAIN)
		snprintf(message, size, "%s gave no token within %d s", path, timeout_ms / 1000);
	else if (error == -ENODATA)
		snprintf(message, size, "%s was closed without a token; the broker's log says why", path);
	else if (error < 0)
		snprintf(message, size, "%s: %s", path, strerror(-error));
	return error == -EAGAIN || error == -ENODATA ? KEYFOB_EAGAIN : error < 0 ? KEYFOB_EBROKER : 0;
}
