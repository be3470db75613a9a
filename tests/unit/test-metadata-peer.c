/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose socket is at the other end of a connection: real ones over loopback,
 * made by children of other users.
 *
 * links: metadata/peer
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "metadata/peer.h"

#define ALICE 64101
#define BOB 64102

#define GONE "it has closed the connection"
#define NOBODYS "no socket of this host is at its other end"

static int diag = -1, listener = -1;
static struct sockaddr_in address;

/* --- clients ------------------------------------------------------------------------ */

enum what { STAY, SHUT, MAPPED, BIND_DEVICE };

static struct sockaddr_in6 mapped(void)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = address.sin_port };

	to.sin6_addr.s6_addr[10] = to.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&to.sin6_addr.s6_addr[12], &address.sin_addr, 4);
	return to;
}

static int connect_as_is(enum what what)
{
	struct sockaddr_in6 six = mapped();
	int fd = socket(what == MAPPED ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

	if (what == BIND_DEVICE && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) < 0)
		return -1;
	error = what == MAPPED ? connect(fd, (struct sockaddr *)&six, sizeof(six))
			       : connect(fd, (struct sockaddr *)&address, sizeof(address));
	if (error < 0)
		return -1;
	if (what == SHUT)
		shutdown(fd, SHUT_WR);
	return fd;
}

/* A child that connects as uid, and stays until it is ended. Its pid; the accepted end in *connection. */
static pid_t client(uid_t uid, enum what what, int *connection)
{
	struct pollfd ready = { .fd = listener, .events = POLLIN };
	pid_t pid = fork();

	if (pid == 0) {
		/* After the change of user, which takes it back: a test that fails leaves nobody behind. */
		if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
			connect_as_is(what) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	assert_int_equal(poll(&ready, 1, 10000), 1);
	*connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(*connection >= 0);
	return pid;
}

static void end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Until the kernel here has seen the other side's FIN or RST. */
static void wait_for_end(int connection)
{
	struct pollfd ended = { .fd = connection, .events = POLLRDHUP };

	assert_int_equal(poll(&ended, 1, 10000), 1);
}

static void assert_why(const char *got, const char *wanted)
{
	assert_non_null(got);
	assert_string_equal(got, wanted);
}

/* --- tests ---------------------------------------------------------------------------- */

static int setup(void **state)
{
	socklen_t size = sizeof(address);

	(void)state;
	diag = peer_open();
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	return diag < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 16) < 0 ||
	       getsockname(listener, (struct sockaddr *)&address, &size) < 0;
}

static int teardown(void **state)
{
	(void)state;
	close(diag);
	close(listener);
	return 0;
}

#define NEEDS_ROOT \
	if (geteuid() != 0) \
	skip()

static void test_two_users(void **state)
{
	struct peer alice, bob;
	int a, b;
	pid_t one, two;

	(void)state;
	NEEDS_ROOT;
	one = client(ALICE, STAY, &a);
	two = client(BOB, STAY, &b);
	assert_null(peer_find(diag, a, &alice));
	assert_int_equal(alice.uid, ALICE);
	assert_true(alice.inode != 0 && alice.cookie != 0);
	assert_null(peer_find(diag, b, &bob));
	assert_int_equal(bob.uid, BOB);
	assert_null(peer_same(diag, a, &alice));
	assert_null(peer_same(diag, b, &bob));
	/* One is not the other. */
	assert_why(peer_same(diag, a, &bob), "another socket is at its other end now");
	end(one);
	wait_for_end(a);
	assert_why(peer_same(diag, a, &alice), GONE);
	assert_null(peer_same(diag, b, &bob));
	end(two);
	close(a);
	close(b);
}

static void test_each_of_the_three(void **state)
{
	struct peer peer, other;
	pid_t pid;
	int fd;

	(void)state;
	NEEDS_ROOT;
	pid = client(ALICE, STAY, &fd);
	assert_null(peer_find(diag, fd, &peer));
	other = peer;
	other.uid++;
	assert_non_null(peer_same(diag, fd, &other));
	other = peer;
	other.inode++;
	assert_non_null(peer_same(diag, fd, &other));
	other = peer;
	other.cookie += (uint64_t)1 << 32;
	assert_non_null(peer_same(diag, fd, &other));
	assert_null(peer_same(diag, fd, &peer));
	end(pid);
	close(fd);
}

static void test_root(void **state)
{
	struct peer peer = { .uid = 1 };
	pid_t pid;
	int fd;

	(void)state;
	NEEDS_ROOT;
	pid = client(0, STAY, &fd);
	assert_why(peer_find(diag, fd, &peer), "it is root's");
	assert_int_equal(peer.uid, (uid_t)-1);
	end(pid);
	close(fd);
}

static void test_nobody(void **state)
{
	struct peer peer;
	pid_t pid;
	int fd;

	(void)state;
	NEEDS_ROOT;
	pid = client(65534, STAY, &fd);
	assert_why(peer_find(diag, fd, &peer), "it is a user's who has no number here");
	end(pid);
	close(fd);
}

/* Without a capability it is told as well: as keyfob-metadata asks. */
static void test_without_rights(void **state)
{
	int status, fd;
	struct peer peer;
	pid_t pid, asker;

	(void)state;
	NEEDS_ROOT;
	pid = client(ALICE, STAY, &fd);
	asker = fork();
	if (asker == 0) {
		int own;

		if (setresgid(BOB, BOB, BOB) < 0 || setresuid(BOB, BOB, BOB) < 0)
			_exit(2);
		own = peer_open();
		_exit(own >= 0 && !peer_find(own, fd, &peer) && peer.uid == ALICE && !peer_same(own, fd, &peer) ? 0 : 1);
	}
	assert_int_equal(waitpid(asker, &status, 0), asker);
	assert_int_equal(status, 0);
	end(pid);
	close(fd);
}

static void test_closed(void **state)
{
	struct peer peer;
	pid_t pid;
	int fd;

	(void)state;
	NEEDS_ROOT;
	pid = client(ALICE, STAY, &fd);
	end(pid);
	wait_for_end(fd);
	/* His half waits for ours (FIN_WAIT2), and belongs to nobody. */
	assert_why(peer_find(diag, fd, &peer), GONE);
	assert_int_equal(peer.uid, (uid_t)-1);
	close(fd);
}

/* Closed on both sides: what is left is a TIME_WAIT of the kernel's, and of the one who asks only a descriptor. */
static void test_time_wait(void **state)
{
	struct peer peer;
	struct pollfd over = { .events = POLLHUP };
	pid_t pid;
	int fd;

	(void)state;
	NEEDS_ROOT;
	pid = client(ALICE, STAY, &fd);
	end(pid);
	wait_for_end(fd);
	shutdown(fd, SHUT_WR);
	over.fd = fd;
	assert_int_equal(poll(&over, 1, 10000), 1);
	assert_why(peer_find(diag, fd, &peer), GONE);
	close(fd);
}

/* Reset: nothing is left at all. */
static void test_reset(void **state)
{
	static const struct linger at_once = { .l_onoff = 1 };
	struct peer peer;
	int mine = connect_as_is(STAY), fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	(void)state;
	assert_true(mine >= 0 && fd >= 0);
	assert_int_equal(setsockopt(mine, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	close(mine);
	wait_for_end(fd);
	assert_why(peer_find(diag, fd, &peer), GONE);
	close(fd);
}

static void test_half_closed(void **state)
{
	struct peer peer;
	pid_t pid;
	int fd;

	(void)state;
	NEEDS_ROOT;
	pid = client(ALICE, SHUT, &fd);
	wait_for_end(fd);
	assert_why(peer_find(diag, fd, &peer), GONE);
	end(pid);
	close(fd);
}

/* A socket stays its maker's, whoever holds it: here over an exec-less change of user, and in a child. */
static void test_handed_on(void **state)
{
	struct pollfd ready = { .fd = listener, .events = POLLIN };
	int go[2], fd;
	struct peer peer;
	char byte;
	pid_t pid;

	(void)state;
	NEEDS_ROOT;
	assert_int_equal(pipe(go), 0);
	pid = fork();
	if (pid == 0) {
		int mine;

		if (setresgid(ALICE, ALICE, ALICE) < 0 || setresuid(ALICE, ALICE, 0) < 0)
			_exit(1);
		mine = connect_as_is(STAY);
		if (mine < 0 || setresuid(0, 0, 0) < 0 || setresuid(BOB, BOB, BOB) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
			write(go[1], "b", 1) != 1)
			_exit(1);
		if (write(mine, "b", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(poll(&ready, 1, 10000), 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(read(go[0], &byte, 1), 1);
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_null(peer_find(diag, fd, &peer));
	assert_int_equal(peer.uid, ALICE);
	end(pid);
	close(fd);
	close(go[0]);
	close(go[1]);
}

static void test_mapped(void **state)
{
	struct peer peer;
	pid_t pid;
	int fd, six = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	NEEDS_ROOT;
	if (six < 0)
		skip();
	close(six);
	pid = client(ALICE, MAPPED, &fd);
	assert_null(peer_find(diag, fd, &peer));
	assert_int_equal(peer.uid, ALICE);
	assert_null(peer_same(diag, fd, &peer));
	end(pid);
	close(fd);
}

/* The kernel does not name a socket that is bound to a device for addresses alone: then it is unclear. */
static void test_bound_to_device(void **state)
{
	struct peer peer;
	pid_t pid;
	int fd;

	(void)state;
	NEEDS_ROOT;
	pid = client(ALICE, BIND_DEVICE, &fd);
	assert_why(peer_find(diag, fd, &peer), NOBODYS);
	end(pid);
	close(fd);
}

/* For a port from which nobody speaks any more the kernel names the one who listens there. */
static void test_listener_in_its_place(void **state)
{
	static const struct linger at_once = { .l_onoff = 1 };
	struct sockaddr_in source;
	socklen_t size = sizeof(source);
	struct peer peer;
	int mine, fd, other, one = 1;

	(void)state;
	NEEDS_ROOT;
	/* A pair that is connected, and whose client is in its end changed for a listener: by reset, which the server does not notice in time. */
	mine = connect_as_is(STAY);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(mine >= 0 && fd >= 0);
	assert_int_equal(getsockname(mine, (struct sockaddr *)&source, &size), 0);
	assert_int_equal(setsockopt(mine, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	/* So that the reset does not come: the client's address is repaired away. */
	assert_int_equal(setsockopt(mine, SOL_TCP, TCP_REPAIR, &one, sizeof(one)), 0);
	close(mine);
	assert_why(peer_find(diag, fd, &peer), NOBODYS);
	other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(other, (struct sockaddr *)&source, sizeof(source)), 0);
	assert_int_equal(listen(other, 1), 0);
	assert_why(peer_find(diag, fd, &peer), NOBODYS);
	close(other);
	close(fd);
}

static void test_strange_sockets(void **state)
{
	int pair[2], fd, six;
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t size = sizeof(any);
	struct peer peer;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_why(peer_find(diag, pair[0], &peer), "it is not connected by IPv4");
	assert_non_null(peer_find(diag, listener, &peer));
	assert_non_null(peer_find(diag, -1, &peer));
	assert_non_null(peer_find(-1, pair[0], &peer));
	close(pair[0]);
	close(pair[1]);
	six = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (six < 0 || bind(six, (struct sockaddr *)&any, sizeof(any)) < 0)
		return;
	assert_int_equal(listen(six, 1), 0);
	assert_int_equal(getsockname(six, (struct sockaddr *)&any, &size), 0);
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	pair[0] = accept4(six, NULL, NULL, SOCK_CLOEXEC);
	assert_why(peer_find(diag, pair[0], &peer), "it is not connected by IPv4");
	close(pair[0]);
	close(fd);
	close(six);
}

/* The same addresses elsewhere are somebody else's. */
static void test_other_namespace(void **state)
{
	int status, fd;
	pid_t pid, asker;

	(void)state;
	NEEDS_ROOT;
	pid = client(ALICE, STAY, &fd);
	asker = fork();
	if (asker == 0) {
		struct peer peer;
		const char *why;
		int own;

		if (unshare(CLONE_NEWNET) < 0)
			_exit(77);
		own = peer_open();
		why = own >= 0 ? peer_find(own, fd, &peer) : NULL;
		_exit(why && strcmp(why, "it comes from another network namespace") == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(asker, &status, 0), asker);
	end(pid);
	close(fd);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

/* An answer that was left over from a question before is not taken for the next one's. */
static void test_left_over(void **state)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 body;
	} question = {
		.head = { .nlmsg_len = sizeof(question),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST,
			.nlmsg_seq = 1u << 31 },
		.body = { .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u },
	};
	struct sockaddr_in source;
	socklen_t size = sizeof(source);
	struct peer peer;
	pid_t one, two;
	int a, b;

	(void)state;
	NEEDS_ROOT;
	one = client(ALICE, STAY, &a);
	two = client(BOB, STAY, &b);
	assert_int_equal(getpeername(a, (struct sockaddr *)&source, &size), 0);
	question.body.id.idiag_sport = source.sin_port;
	question.body.id.idiag_src[0] = source.sin_addr.s_addr;
	question.body.id.idiag_dport = address.sin_port;
	question.body.id.idiag_dst[0] = address.sin_addr.s_addr;
	question.body.id.idiag_cookie[0] = question.body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	assert_int_equal(send(diag, &question, sizeof(question), 0), sizeof(question));
	assert_null(peer_find(diag, b, &peer));
	assert_int_equal(peer.uid, BOB);
	end(one);
	end(two);
	close(a);
	close(b);
}

static void test_many(void **state)
{
	struct peer alice, bob, now;
	pid_t one, two;
	int a, b;

	(void)state;
	NEEDS_ROOT;
	one = client(ALICE, STAY, &a);
	two = client(BOB, STAY, &b);
	assert_null(peer_find(diag, a, &alice));
	assert_null(peer_find(diag, b, &bob));
	for (int i = 0; i < 2000; i++) {
		assert_null(peer_find(diag, i % 2 ? a : b, &now));
		assert_int_equal(now.uid, i % 2 ? ALICE : BOB);
		assert_true(now.cookie == (i % 2 ? alice.cookie : bob.cookie));
	}
	end(one);
	end(two);
	close(a);
	close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_users),
		cmocka_unit_test(test_each_of_the_three),
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_without_rights),
		cmocka_unit_test(test_closed),
		cmocka_unit_test(test_time_wait),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_handed_on),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_bound_to_device),
		cmocka_unit_test(test_listener_in_its_place),
		cmocka_unit_test(test_strange_sockets),
		cmocka_unit_test(test_other_namespace),
		cmocka_unit_test(test_left_over),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
