/* SPDX-License-Identifier: Apache-2.0 */
#include "common/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool wire_put_error(struct buffer *b, int error, uint32_t retry, const char *text)
{
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, (uint8_t)-error);
	buffer_put_u32(b, retry);
	return buffer_put_text(b, text);
}

bool wire_put_result(struct buffer *b, const struct wire_result *result, const char *token, size_t length)
{
	buffer_put_u8(b, WIRE_FETCH_RESULT);
	buffer_put_u8(b, result->class);
	buffer_put_u64(b, result->expires);
	buffer_put_u64(b, result->refresh);
	buffer_put_u32(b, result->retry_after);
	buffer_put_text(b, result->fingerprint);
	buffer_put_text(b, result->code);
	buffer_put_text(b, result->text);
	buffer_put_text(b, result->issuer);
	buffer_put_text(b, result->audience);
	buffer_put_text(b, result->subject);
	return buffer_put_string(b, token, length);
}

bool wire_get_result(struct reader *r, struct wire_result *result, const char **token, size_t *length)
{
	memset(result, 0, sizeof(*result));
	result->class = reader_u8(r);
	result->expires = reader_u64(r);
	result->refresh = reader_u64(r);
	result->retry_after = reader_u32(r);
	reader_text(r, result->fingerprint, sizeof(result->fingerprint));
	reader_text(r, result->code, sizeof(result->code));
	reader_text(r, result->text, sizeof(result->text));
	reader_text(r, result->issuer, sizeof(result->issuer));
	reader_text(r, result->audience, sizeof(result->audience));
	reader_text(r, result->subject, sizeof(result->subject));
	*token = (const char *)reader_string(r, length);
	return reader_done(r) && *length <= WIRE_TOKEN_MAX;
}

bool wire_name_valid(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return length > 0 && length <= WIRE_NAME_MAX && name[length] == 0 && name[0] != '.' && name[0] != '-';
}

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

bool wire_refuse_descriptors(int fd)
{
	int no = 0;

	return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no)) == 0;
}

int wire_send(int fd, const struct buffer *b, int pass_fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { b->data, b->length };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (b->failed)
		return -EMSGSIZE;
	if (pass_fd >= 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.space;
		msg.msg_controllen = sizeof(control.space);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
	}
	do
		sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* Keep the first descriptor where one is wanted, close every other. */
static void take_descriptors(struct msghdr *msg, int *wanted)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (wanted && *wanted < 0)
				*wanted = fd;
			else
				close(fd);
		}
	}
}

int wire_receive(int fd, struct buffer *b, int *received_fd)
{
	union {
		char space[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space) };
	ssize_t got;

	buffer_clear(b);
	if (received_fd)
		*received_fd = -1;
	iov.iov_base = buffer_reserve(b, b->limit);
	iov.iov_len = b->limit;
	if (!iov.iov_base)
		return -ENOMEM;
	do
		got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	take_descriptors(&msg, received_fd);
	if (got == 0)
		return -ECONNRESET;
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		if (received_fd && *received_fd >= 0) {
			close(*received_fd);
			*received_fd = -1;
		}
		return -EMSGSIZE;
	}
	b->length = (size_t)got;
	return 0;
}
