/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define OVERFLOW_UID 65534 /* stands for whoever has no number in this user namespace */

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

int peer_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	return fd < 0 ? -errno : fd;
}

/* An answer from another network namespace would be about other sockets with the same addresses. */
static bool share_namespace(int diag, int connection)
{
	uint64_t ours = 0, theirs = 0;
	socklen_t size = sizeof(ours);

	if (getsockopt(diag, SOL_SOCKET, SO_NETNS_COOKIE, &ours, &size) < 0 || size != sizeof(ours))
		return false;
	return getsockopt(connection, SOL_SOCKET, SO_NETNS_COOKIE, &theirs, &size) == 0 && size == sizeof(theirs) && ours == theirs;
}

/* The two ends as the other side's socket has them. NULL, or why not. */
static const char *find_ends(int connection, struct sockaddr_in *source, struct sockaddr_in *destination)
{
	struct sockaddr_in original;
	socklen_t source_size = sizeof(*source), size = sizeof(*destination), original_size = sizeof(original);

	if (getpeername(connection, source, &source_size) < 0)
		return "it has closed the connection";
	if (getsockname(connection, destination, &size) < 0 || source->sin_family != AF_INET || destination->sin_family != AF_INET)
		return "it is not connected by IPv4";
	/* Where a packet filter brought it here, its socket has the address that it meant. */
	if (getsockopt(connection, SOL_IP, SO_ORIGINAL_DST, &original, &original_size) == 0 && original_size == sizeof(original) &&
		original.sin_family == AF_INET)
		*destination = original;
	return NULL;
}

static int send_question(int diag, const struct sockaddr_in *source, const struct sockaddr_in *destination, uint32_t number)
{
	static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 body;
	} question = {
		/* No dump: the one socket with these addresses. */
		.head = { .nlmsg_len = sizeof(question),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST,
			.nlmsg_seq = number },
		.body = { .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1u << TCP_ESTABLISHED },
	};

	question.body.id.idiag_sport = source->sin_port;
	question.body.id.idiag_dport = destination->sin_port;
	question.body.id.idiag_src[0] = source->sin_addr.s_addr;
	question.body.id.idiag_dst[0] = destination->sin_addr.s_addr;
	question.body.id.idiag_cookie[0] = question.body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	if (sendto(diag, &question, sizeof(question), MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	return 0;
}

/* The kernel has answered before the question's sendto returns; older answers than that are passed over. */
static int receive_answer(int diag, uint32_t number, struct inet_diag_msg *message)
{
	union {
		struct nlmsghdr head;
		char bytes[4096];
	} answer;
	struct sockaddr_nl from;

	for (;;) {
		socklen_t size = sizeof(from);
		ssize_t length = recvfrom(diag, &answer, sizeof(answer), MSG_DONTWAIT, (struct sockaddr *)&from, &size);

		if (length < 0)
			return errno == EAGAIN ? -EBADMSG : -errno;
		if (from.nl_pid != 0 || !NLMSG_OK(&answer.head, (size_t)length) || answer.head.nlmsg_seq != number)
			continue;
		if (answer.head.nlmsg_type == NLMSG_ERROR && answer.head.nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr))) {
			int error = ((const struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;

			return error < 0 ? error : -EBADMSG;
		}
		if (answer.head.nlmsg_type != SOCK_DIAG_BY_FAMILY || answer.head.nlmsg_len < NLMSG_LENGTH(sizeof(*message)))
			return -EBADMSG;
		memcpy(message, NLMSG_DATA(&answer.head), sizeof(*message));
		return 0;
	}
}

/* An IPv6 socket that speaks to an IPv4 address shows it as ::ffff:a.b.c.d. */
static bool is_address(uint8_t family, const uint32_t *address, const struct in_addr *wanted)
{
	if (family == AF_INET)
		return address[0] == wanted->s_addr;
	return family == AF_INET6 && !address[0] && !address[1] && address[2] == htonl(0xffff) && address[3] == wanted->s_addr;
}

/* The kernel also knows the answers "a listener there would take it" and "it was one". */
static bool is_exact(const struct inet_diag_msg *m, const struct sockaddr_in *source, const struct sockaddr_in *destination)
{
	return m->id.idiag_sport == source->sin_port && m->id.idiag_dport == destination->sin_port &&
	       is_address(m->idiag_family, m->id.idiag_src, &source->sin_addr) &&
	       is_address(m->idiag_family, m->id.idiag_dst, &destination->sin_addr);
}

const char *peer_find(int diag, int connection, struct peer *peer)
{
	static uint32_t number;
	struct sockaddr_in source, destination;
	struct inet_diag_msg m;
	const char *why;
	int error;

	*peer = (struct peer){ .uid = (uid_t)-1 };
	if (!share_namespace(diag, connection))
		return "it comes from another network namespace";
	why = find_ends(connection, &source, &destination);
	if (why)
		return why;
	error = send_question(diag, &source, &destination, ++number);
	if (error == 0)
		error = receive_answer(diag, number, &m);
	if (error == -ENOENT)
		return "no socket of this host is at its other end";
	if (error < 0)
		return "the kernel does not tell whose it is";
	if (!is_exact(&m, &source, &destination))
		return "no socket of this host is at its other end";
	if (m.idiag_state != TCP_ESTABLISHED || m.idiag_inode == 0)
		return "it has closed the connection";
	if (m.idiag_uid == 0)
		return "it is root's";
	if (m.idiag_uid == OVERFLOW_UID || m.idiag_uid == (uid_t)-1)
		return "it is a user's who has no number here";
	*peer = (struct peer){
		.uid = m.idiag_uid,
		.inode = m.idiag_inode,
		.cookie = (uint64_t)m.id.idiag_cookie[1] << 32 | m.id.idiag_cookie[0],
	};
	return NULL;
}

const char *peer_same(int diag, int connection, const struct peer *peer)
{
	struct peer now;
	const char *why = peer_find(diag, connection, &now);

	if (!why && (now.uid != peer->uid || now.inode != peer->inode || now.cookie != peer->cookie))
		why = "another socket is at its other end now";
	return why;
}
