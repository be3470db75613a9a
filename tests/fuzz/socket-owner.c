/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's answers to the question whose socket is at the other end of a
 * connection (sock_diag(7)), and the addresses of both ends. An input is four
 * bytes of switches, and then datagrams: one byte that says from whom it is,
 * one for whether it bears the number of the question, two for its length.
 *
 * links: metadata/peer
 * wrap: getsockopt getpeername getsockname sendto recvfrom
 * parser: metadata/peer
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "metadata/peer.h"
#include "tests/fuzz/fuzz.h"

#define DIAG 100
#define CONNECTION 101
#define HEAD 4 /* bytes before a datagram */
enum { OTHER_NAMESPACE = 1, NOT_IPV4 = 2, REDIRECTED = 4, CLOSED = 8 };

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *size);
int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size);
ssize_t __wrap_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t address_size);
ssize_t __wrap_recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *address, socklen_t *address_size);

static const uint8_t *rest;
static size_t left;
static uint8_t switches;
static uint32_t number; /* of the last question */
static struct inet_diag_sockid asked;
static bool told; /* the datagram that was given last may be believed: the kernel's, with that number */
static struct inet_diag_msg last;

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	static const struct sockaddr_in original = { .sin_family = AF_INET, .sin_port = 80 << 8, .sin_addr = { 0xfea9fea9 } };
	uint64_t cookie = fd == CONNECTION && switches & OTHER_NAMESPACE ? 2 : 1;

	if (level == SOL_SOCKET) {
		memcpy(value, &cookie, sizeof(cookie));
		return 0;
	}
	fuzz_require(level == SOL_IP && name == SO_ORIGINAL_DST && fd == CONNECTION && *size == sizeof(original));
	if (!(switches & REDIRECTED))
		return errno = ENOENT, -1;
	memcpy(value, &original, sizeof(original));
	return 0;
}

static int give_address(struct sockaddr *address, socklen_t *size, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = switches & NOT_IPV4 ? AF_INET6 : AF_INET,
		.sin_port = htons(port),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };

	memcpy(address, &in, sizeof(in));
	*size = sizeof(in);
	return 0;
}

int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *size)
{
	fuzz_require(fd == CONNECTION);
	return switches & CLOSED ? (errno = ENOTCONN, -1) : give_address(address, size, 40000);
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
	fuzz_require(fd == CONNECTION);
	return give_address(address, size, 254);
}

ssize_t __wrap_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t address_size)
{
	struct nlmsghdr head;
	struct inet_diag_req_v2 question;

	(void)flags, (void)address;
	fuzz_require(fd == DIAG && size == sizeof(head) + sizeof(question) && address_size == sizeof(struct sockaddr_nl));
	memcpy(&head, data, sizeof(head));
	memcpy(&question, (const char *)data + sizeof(head), sizeof(question));
	number = head.nlmsg_seq;
	asked = question.id;
	return (ssize_t)size;
}

ssize_t __wrap_recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *address, socklen_t *address_size)
{
	struct sockaddr_nl from = { .nl_family = AF_NETLINK };
	struct nlmsghdr *head = data;
	size_t length;

	fuzz_require(fd == DIAG && flags & MSG_DONTWAIT && *address_size == sizeof(from));
	if (left < HEAD)
		return errno = EAGAIN, -1;
	from.nl_pid = rest[0] & 1;
	length = (size_t)rest[2] << 8 | rest[3];
	length = length < left - HEAD ? length : left - HEAD;
	memcpy(data, rest + HEAD, length < size ? length : size);
	if (length >= sizeof(*head) && rest[1] & 1)
		head->nlmsg_seq = number;
	told = !from.nl_pid && length >= NLMSG_LENGTH(sizeof(last)) && head->nlmsg_seq == number && head->nlmsg_type == SOCK_DIAG_BY_FAMILY;
	if (told)
		memcpy(&last, NLMSG_DATA(head), sizeof(last));
	rest += HEAD + length;
	left -= HEAD + length;
	memcpy(address, &from, sizeof(from));
	return (ssize_t)(length < size ? length : size);
}

/* Whoever is believed is the one of whom the kernel told, with just these ends, alive, not root and not a user without a number. */
static void check(const char *why, const struct peer *peer)
{
	fuzz_require(why ? *why && peer->uid == (uid_t)-1 : peer->uid != (uid_t)-1);
	if (why)
		return;
	fuzz_require(told && last.idiag_uid == peer->uid && peer->uid != 0 && peer->uid != 65534);
	fuzz_require(last.id.idiag_sport == asked.idiag_sport && last.id.idiag_dport == asked.idiag_dport);
	fuzz_require(!(switches & (OTHER_NAMESPACE | NOT_IPV4 | CLOSED)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer peer, before;
	const char *why;

	if (size < 4 || size > FUZZ_MAX)
		return 0;
	switches = data[0];
	rest = data + 4;
	left = size - 4;
	why = peer_find(DIAG, CONNECTION, &peer);
	check(why, &peer);
	before = peer;
	why = peer_same(DIAG, CONNECTION, &before);
	fuzz_require(why || (told && last.idiag_uid == before.uid && last.idiag_inode == before.inode));
	return 0;
}

/* --- seeds --------------------------------------------------------------------------------- */

struct answer {
	uint8_t from, numbered, length[2];
	struct {
		struct nlmsghdr head;
		struct inet_diag_msg body;
	} message;
};

static struct answer answer(uint32_t uid, uint8_t state)
{
	struct answer a = { .numbered = 1, .length = { 0, sizeof(a.message) } };

	a.message.head = (struct nlmsghdr){ .nlmsg_len = sizeof(a.message), .nlmsg_type = SOCK_DIAG_BY_FAMILY };
	a.message.body.idiag_family = AF_INET;
	a.message.body.idiag_state = state;
	a.message.body.idiag_uid = uid;
	a.message.body.idiag_inode = 4711;
	a.message.body.id = (struct inet_diag_sockid){ .idiag_sport = htons(40000), .idiag_dport = htons(254) };
	a.message.body.id.idiag_src[0] = a.message.body.id.idiag_dst[0] = htonl(INADDR_LOOPBACK);
	return a;
}

static void seed(uint8_t how, const struct answer *first, const struct answer *second)
{
	uint8_t bytes[4 + 2 * sizeof(*first)] = { how };

	memcpy(bytes + 4, first, sizeof(*first));
	memcpy(bytes + 4 + sizeof(*first), second, sizeof(*second));
	fuzz_seed(bytes, sizeof(bytes));
}

void fuzz_seeds(void)
{
	struct answer good = answer(1000, TCP_ESTABLISHED), root = answer(0, TCP_ESTABLISHED), other = good, error = good, closed = good;

	seed(0, &good, &good);
	seed(REDIRECTED, &good, &good);
	seed(0, &good, &root);
	other.message.body.idiag_inode++;
	seed(0, &good, &other);
	other.from = 1;
	seed(0, &other, &good);
	closed.message.body.idiag_state = TCP_TIME_WAIT;
	seed(0, &closed, &good);
	good.message.body.idiag_family = AF_INET6;
	for (int i = 0; i < 2; i++) {
		uint32_t *address = i ? good.message.body.id.idiag_src : good.message.body.id.idiag_dst;

		address[3] = address[0];
		address[0] = 0;
		address[2] = htonl(0xffff);
	}
	seed(0, &good, &good);
	error.message.head.nlmsg_type = NLMSG_ERROR;
	for (int i = 0; i < 2; i++) {
		int code = i ? -ENOENT : 0;

		memcpy(&error.message.body, &code, sizeof(code));
		seed(0, &error, &good);
	}
	for (uint8_t how = 1; how <= CLOSED; how = (uint8_t)(how * 2))
		seed(how, &root, &root);
}
