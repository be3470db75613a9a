/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keyfob-metadata can still do once it is confined. Each test confines a
 * child of its own.
 *
 * links: metadata/confine metadata/peer common/sandbox
 * libs: libseccomp
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/sandbox.h"
#include "metadata/confine.h"
#include "metadata/peer.h"
#include "tests/unit/confined.h"

#define SOMEBODY 64902

static long landlock; /* the version that this kernel has */

static bool confine(void)
{
	return sandbox_become(SOMEBODY, SOMEBODY, why, sizeof(why)) == 0 && confine_metadata(why, sizeof(why)) == 0;
}

/* --- what it cannot do --- */

static int no_processes_no_keys(void)
{
	char *const none[] = { NULL };

	need(confine());
	refused(execve("/bin/true", none, none));
	refused(fork());
	refused(vfork());
	refused(kill(getppid(), 0));
	refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	refused(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
	refused(unshare(CLONE_NEWUSER));
	refused(setresuid(0, 0, 0));
	refused(syscall(SYS_io_uring_setup, 1, NULL));
	refused(syscall(SYS_bpf, 0, NULL, 0));
	refused(syscall(SYS_request_key, "user", "keyfob-test", NULL, 0));
	refused(syscall(SYS_add_key, "user", "keyfob-test", "x", 1, KEY_SPEC_PROCESS_KEYRING));
	refused(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
	return 0;
}

static int no_files(void)
{
	need(confine());
	refused(open("/tmp/keyfob-test-metadata", O_WRONLY | O_CREAT, 0600));
	refused(open("/dev/null", O_RDWR));
	refused(unlink("/tmp/keyfob-test-metadata"));
	if (landlock <= 0)
		return 0;
	refused(open("/etc/passwd", O_RDONLY));
	refused(open("/proc/self/environ", O_RDONLY));
	refused(open("/", O_RDONLY | O_DIRECTORY));
	return 0;
}

static int no_network(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	need(fd >= 0 && confine());
	refused(socket(AF_INET, SOCK_STREAM, 0));
	refused(socket(AF_INET6, SOCK_DGRAM, 0));
	refused(socket(AF_NETLINK, SOCK_RAW, 0));
	refused(socket(AF_PACKET, SOCK_RAW, 0));
	/* Nor may a socket that is there become another listener. */
	refused(bind(fd, (struct sockaddr *)&any, sizeof(any)));
	refused(listen(fd, 1));
	return 0;
}

/* --- what it can --- */

static int is_asked_and_answers(void)
{
	struct sockaddr_in self = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	socklen_t length = sizeof(self);
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int diag = peer_open(), epoll, fd;
	struct peer peer;
	char text[8];

	need(diag >= 0);
	need(fchown(client, SOMEBODY + 1, SOMEBODY + 1) == 0);
	need(bind(listener, (struct sockaddr *)&self, sizeof(self)) == 0 && listen(listener, 4) == 0);
	need(getsockname(listener, (struct sockaddr *)&self, &length) == 0);
	need(connect(client, (struct sockaddr *)&self, sizeof(self)) == 0);
	need(confine());
	need((epoll = epoll_create1(EPOLL_CLOEXEC)) >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) == 0);
	need(epoll_wait(epoll, &event, 1, 10000) == 1);
	need((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
	need(!peer_find(diag, fd, &peer) && peer.uid == SOMEBODY + 1);
	need(!peer_same(diag, fd, &peer));
	need(send(fd, "ab", 2, MSG_NOSIGNAL) == 2 && shutdown(fd, SHUT_WR) == 0);
	need(recv(client, text, sizeof(text), 0) == 2);
	/* An accepted one does not become one to somewhere. */
	need(connect(fd, (struct sockaddr *)&none, sizeof(none)) == 0);
	if (landlock >= 4)
		refused(connect(fd, (struct sockaddr *)&self, sizeof(self)));
	need((fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) >= 0);
	return 0;
}

/* --- the frame --- */

#define TEST(name) \
	static void test_##name(void **unused) \
	{ \
		(void)unused; \
		assert_int_equal(in_child(name), 0); \
	}

TEST(no_processes_no_keys)
TEST(no_files)
TEST(no_network)
TEST(is_asked_and_answers)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_processes_no_keys),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_no_network),
		cmocka_unit_test(test_is_asked_and_answers),
	};

	if (geteuid() != 0) {
		puts("1..0 # SKIP needs root");
		return 0;
	}
	landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
