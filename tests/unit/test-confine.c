/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keyfobd and its launcher can still do once they are confined. Each
 * test confines a child of its own.
 *
 * links: broker/confine common/sandbox
 * libs: libseccomp libkeyutils
 */
#include <errno.h>
#include <fcntl.h>
#include <keyutils.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/confine.h"
#include "tests/unit/confined.h"

#define OTHER_USER 64901

static char config[] = "/tmp/keyfob-test-confine-XXXXXX";
static char inside[100], outside[100];
static bool is_root;

enum { EFFECTIVE, PERMITTED, INHERITABLE };

static uint64_t capabilities(int which)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, d) < 0)
		return ~0ull;
	if (which == EFFECTIVE)
		return (uint64_t)d[1].effective << 32 | d[0].effective;
	if (which == PERMITTED)
		return (uint64_t)d[1].permitted << 32 | d[0].permitted;
	return (uint64_t)d[1].inheritable << 32 | d[0].inheritable;
}

/* --- the broker --- */

static int no_processes(void)
{
	char *const none[] = { NULL };
	int other;

	need(confine_broker(config, why, sizeof(why)) == 0);
	refused(execve("/bin/true", none, none));
	refused(fork());
	refused(vfork());
	refused(syscall(SYS_clone, CLONE_VM | SIGCHLD, NULL, NULL, NULL, 0));
	refused(kill(getppid(), 0));
	refused(syscall(SYS_tgkill, getppid(), getppid(), 0));
	other = (int)syscall(SYS_pidfd_open, getppid(), 0);
	need(other >= 0);
	refused(syscall(SYS_pidfd_send_signal, other, 0, NULL, 0));
	refused(syscall(SYS_pidfd_getfd, other, 0, 0));
	refused(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
	refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	refused(prlimit(getppid(), RLIMIT_CORE, NULL, NULL));
	return 0;
}

static int no_other_identity(void)
{
	need(confine_broker(config, why, sizeof(why)) == 0);
	refused(setuid(1));
	refused(setgid(1));
	refused(setresuid(1, 1, 1));
	refused(syscall(SYS_setgroups, 0, NULL));
	refused(syscall(SYS_setfsuid, 1));
	refused(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
	refused(unshare(CLONE_NEWUSER));
	refused(chroot("/"));
	return 0;
}

static int no_files(void)
{
	char door[150];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	need(fd >= 0);
	snprintf(door, sizeof(door), "%s/door", config);
	need(confine_broker(config, why, sizeof(why)) == 0);
	refused(open(inside, O_WRONLY));
	refused(open(inside, O_RDWR));
	refused(open(inside, O_RDONLY | O_TRUNC));
	refused(syscall(SYS_openat, AT_FDCWD, inside, O_WRONLY | O_APPEND, 0));
	refused(open(door, O_WRONLY | O_CREAT, 0600));
	refused(open(config, O_RDWR | O_TMPFILE, 0600));
#ifdef SYS_creat
	refused(syscall(SYS_creat, door, 0600));
#endif
	need(syscall(SYS_openat2, AT_FDCWD, inside, NULL, 0) < 0 && errno == ENOSYS);
	refused(unlink(inside));
	refused(rename(inside, door));
	refused(link(inside, door));
	refused(symlink(inside, door));
	refused(chmod(inside, 0777));
	refused(chown(inside, 1, 1));
	refused(mkdir(door, 0700));
	refused(truncate(inside, 0));
	refused(mount("none", "/mnt", "tmpfs", 0, NULL));
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "/tmp/keyfob-test-confine-never" };
	refused(bind(fd, (struct sockaddr *)&name, sizeof(name)));
	/* To a daemon that trusts uid 0 a connection would be as good as root. */
	refused(connect(fd, (struct sockaddr *)&name, sizeof(name)));
	refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	return 0;
}

static int no_reading_elsewhere(void)
{
	need(confine_broker(config, why, sizeof(why)) == 0);
	refused(open(outside, O_RDONLY));
	refused(open("/etc/shadow", O_RDONLY));
	refused(open("/proc/self/environ", O_RDONLY));
	refused(open("/", O_RDONLY | O_DIRECTORY));
	return 0;
}

static int no_network(void)
{
	need(confine_broker(config, why, sizeof(why)) == 0);
	refused(socket(AF_INET, SOCK_STREAM, 0));
	refused(socket(AF_INET6, SOCK_DGRAM, 0));
	refused(socket(AF_NETLINK, SOCK_RAW, 0));
	refused(socket(AF_PACKET, SOCK_RAW, 0));
	refused(syscall(SYS_io_uring_setup, 1, NULL));
	refused(syscall(SYS_bpf, 0, NULL, 0));
	refused(syscall(SYS_request_key, "user", "keyfob-test", NULL, 0));
	refused(syscall(SYS_keyctl, KEYCTL_SESSION_TO_PARENT));
	return 0;
}

static void *count_up(void *argument)
{
	++*(int *)argument;
	return keyctl_get_keyring_ID(KEY_SPEC_THREAD_KEYRING, 1) > 0 ? argument : NULL;
}

static int loop_and_threads_work(void)
{
	struct itimerspec soon = { .it_value.tv_nsec = 1 };
	struct epoll_event event = { .events = EPOLLIN };
	uint64_t ticks;
	int epoll, timer, note, signals, counted = 0;
	sigset_t set;
	pthread_t one;
	void *back;

	need(confine_broker(config, why, sizeof(why)) == 0);
	need((epoll = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	need((timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) >= 0);
	need((note = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0);
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	need(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	need((signals = signalfd(-1, &set, SFD_CLOEXEC)) >= 0);
	need(raise(SIGHUP) == 0);
	need(read(signals, &(struct signalfd_siginfo){ 0 }, sizeof(struct signalfd_siginfo)) > 0);
	need(epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) == 0);
	need(timerfd_settime(timer, 0, &soon, NULL) == 0);
	need(epoll_wait(epoll, &event, 1, 10000) == 1);
	need(read(timer, &ticks, sizeof(ticks)) == sizeof(ticks));
	need(eventfd_write(note, 1) == 0);
	need(pthread_create(&one, NULL, count_up, &counted) == 0);
	need(pthread_join(one, &back) == 0 && back == &counted && counted == 1);
	void *memory = malloc(64u << 20);
	need(memory);
	memset(memory, 1, 64u << 20);
	free(memory);
	/* 0 is the answer where the session was begun outside this pid namespace. */
	need(getsid(getppid()) >= 0);
	syslog(LOG_DEBUG, "a line to see that it may be written");
	return 0;
}

static int config_can_be_read(void)
{
	char byte;
	int fd, directory;

	need(confine_broker(config, why, sizeof(why)) == 0);
	need((fd = open(inside, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) >= 0);
	need(read(fd, &byte, 1) == 1 && byte == 'x');
	need((directory = open(config, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
	need(faccessat(directory, "inside", F_OK, 0) == 0);
	need(fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
	FILE *file = fopen(inside, "re");
	need(file);
	need(fgetc(file) == 'x');
	fclose(file);
	return 0;
}

static int sockets_work(void)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);
	gid_t groups[256];
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(sa_family_t);
	int pair[2], server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), client;

	/* An address the kernel picks: nothing is left in the file system. */
	need(bind(server, (struct sockaddr *)&name, size) == 0 && listen(server, 1) == 0);
	size = sizeof(name);
	need(getsockname(server, (struct sockaddr *)&name, &size) == 0);
	client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	need(connect(client, (struct sockaddr *)&name, size) == 0);
	need(confine_broker(config, why, sizeof(why)) == 0);
	need((server = accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
	need(getsockopt(server, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid == getpid());
	length = sizeof(groups);
	need(getsockopt(server, SOL_SOCKET, SO_PEERGROUPS, groups, &length) == 0);
	need(send(client, "ab", 2, MSG_NOSIGNAL) == 2);
	need(recv(server, groups, sizeof(groups), 0) == 2);
	need(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	struct iovec part = { &peer, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	need(sendmsg(pair[0], &message, MSG_NOSIGNAL) == 1);
	need(recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC) == 1);
	need(shutdown(pair[0], SHUT_RDWR) == 0);
	return 0;
}

static int keys_work(void)
{
	key_serial_t ring, key;
	char *text, byte;

	need(keyctl_join_session_keyring(NULL) > 0);
	need(confine_broker(config, why, sizeof(why)) == 0);
	need((ring = add_key("keyring", "keyfob-test", NULL, 0, KEY_SPEC_SESSION_KEYRING)) > 0);
	need((key = add_key("user", "keyfob-test", "x", 1, KEY_SPEC_PROCESS_KEYRING)) > 0);
	need(keyctl_setperm(key, 0x1b3f0000) == 0);
	need(keyctl_set_timeout(key, 100) == 0);
	need(keyctl_link(key, ring) == 0);
	need(keyctl_search(ring, "user", "keyfob-test", 0) == key);
	need(keyctl_describe_alloc(key, &text) > 0);
	free(text);
	need(keyctl_read(key, &byte, 1) == 1);
	need(keyctl_unlink(key, ring) == 0);
	need(keyctl_revoke(key) == 0);
	need(keyctl_clear(ring) == 0);
	return 0;
}

static int others_keyrings_are_in_reach(void)
{
	key_serial_t ring, key;

	need(keyctl_join_session_keyring(NULL) > 0);
	need(confine_broker(config, why, sizeof(why)) == 0);
	need((ring = (key_serial_t)keyctl_get_persistent(OTHER_USER, KEY_SPEC_SESSION_KEYRING)) > 0);
	need((key = add_key("user", "keyfob-test", "x", 1, ring)) > 0);
	need(keyctl_revoke(key) == 0 && keyctl_unlink(key, ring) == 0);
	return 0;
}

static int broker_has_little_left(void)
{
	const uint64_t setuid_only = is_root ? 1ull << CAP_SETUID : 0;
	int self = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	char text[4096] = "", bounding[64];
	struct rlimit core;
	struct stat st;

	need(confine_broker(config, why, sizeof(why)) == 0);
	need((strstr(why, "not root") == NULL) == is_root);
	need(capabilities(EFFECTIVE) == setuid_only);
	need(capabilities(PERMITTED) == setuid_only);
	need(capabilities(INHERITABLE) == 0);
	need(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
	/* prctl(2) is closed by now: the kernel's own words, in a file opened before. */
	need(read(self, text, sizeof(text) - 1) > 0);
	need(strstr(text, "\nNoNewPrivs:\t1\n") && strstr(text, "\nSeccomp:\t2\n"));
	snprintf(bounding, sizeof(bounding), "\nCapBnd:\t%016llx\n", (unsigned long long)setuid_only);
	need(!is_root || strstr(text, bounding));
	/* Undumpable: what /proc has of it is root's, whoever it is. */
	need(fstat(self, &st) == 0 && st.st_uid == 0);
	return 0;
}

/* --- the launcher --- */

static int launcher_has_four(void)
{
	const uint64_t four = 1ull << CAP_SETUID | 1ull << CAP_SETGID | 1ull << CAP_KILL | 1ull << CAP_CHOWN;

	need(confine_launcher(why, sizeof(why)) == 0);
	need(why[0] == 0);
	need(capabilities(EFFECTIVE) == four && capabilities(PERMITTED) == four && capabilities(INHERITABLE) == 0);
	need(prctl(PR_CAPBSET_READ, CAP_KILL) == 1);
	need(prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 0);
	need(prctl(PR_CAPBSET_READ, CAP_DAC_OVERRIDE) == 0);
	need(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	need(prctl(PR_GET_DUMPABLE) == 0);
	/* To be root, or to become it by exec, gives none back. */
	const int bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
	need((prctl(PR_GET_SECUREBITS) & bits) == bits);
	refused(mount("none", "/mnt", "tmpfs", 0, NULL));
	/* What is handed over is another one's from then on. */
	need(chown(inside, 1, 1) == 0);
	refused(chmod(inside, 0777));
	refused(open(inside, O_WRONLY));
	need(chown(inside, 0, 0) == 0);
	return 0;
}

static int become_other(void)
{
	need(syscall(SYS_setgroups, 0, NULL) == 0);
	need(setresgid(OTHER_USER, OTHER_USER, OTHER_USER) == 0);
	need(setresuid(OTHER_USER, OTHER_USER, OTHER_USER) == 0);
	need(capabilities(EFFECTIVE) == 0 && capabilities(PERMITTED) == 0);
	refused(setuid(0));
	execl("/bin/sh", "sh", "-c", "! cat /etc/shadow 2>/dev/null", (char *)NULL);
	return 1;
}

static int launcher_can_start_and_end(void)
{
	int status, changed[2];
	pid_t pid;
	char byte;

	need(confine_launcher(why, sizeof(why)) == 0);
	need(in_child(become_other) == 0);
	need(pipe(changed) == 0);
	need((pid = fork()) >= 0);
	if (pid == 0) {
		if (setresuid(OTHER_USER, OTHER_USER, OTHER_USER) == 0 && write(changed[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	need(read(changed[0], &byte, 1) == 1);
	need(kill(pid, SIGKILL) == 0);
	need(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	return 0;
}

static int as_anyone(int (*test)(void))
{
	need(setresgid(OTHER_USER, OTHER_USER, OTHER_USER) == 0);
	need(setresuid(OTHER_USER, OTHER_USER, OTHER_USER) == 0);
	is_root = false;
	return test();
}

static int unprivileged_broker(void)
{
	return as_anyone(broker_has_little_left);
}

static int unprivileged_launcher_body(void)
{
	need(confine_launcher(why, sizeof(why)) == 0);
	need(strstr(why, "not root"));
	need(capabilities(EFFECTIVE) == 0 && capabilities(PERMITTED) == 0);
	return in_child(no_network) ? 1 : 0;
}

static int unprivileged_launcher(void)
{
	return as_anyone(unprivileged_launcher_body);
}

static void *wait_for(void *argument)
{
	char byte;

	return read(*(int *)argument, &byte, 1) < 0 ? argument : NULL;
}

static int comes_before_threads(void)
{
	int fds[2];
	pthread_t one;

	need(pipe(fds) == 0);
	need(pthread_create(&one, NULL, wait_for, &fds[0]) == 0);
	need(confine_broker(config, why, sizeof(why)) == -EBUSY);
	need(strstr(why, "thread"));
	need(write(fds[1], "x", 1) == 1 && pthread_join(one, NULL) == 0);
	return 0;
}

/* --- the frame --- */

#define anywhere(name) \
	static void test_##name(void **state) \
	{ \
		(void)state; \
		assert_int_equal(in_child(name), 0); \
	}
#define as_root(name) \
	static void test_##name(void **state) \
	{ \
		(void)state; \
		if (!is_root) \
			skip(); \
		assert_int_equal(in_child(name), 0); \
	}

static void test_no_reading_elsewhere(void **state)
{
	(void)state;
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1)
		skip();
	assert_int_equal(in_child(no_reading_elsewhere), 0);
}

anywhere(no_processes) anywhere(no_other_identity) anywhere(no_files) anywhere(no_network) anywhere(loop_and_threads_work)
	anywhere(config_can_be_read) anywhere(sockets_work) anywhere(keys_work) anywhere(broker_has_little_left)
		anywhere(comes_before_threads) as_root(others_keyrings_are_in_reach) as_root(launcher_has_four)
			as_root(launcher_can_start_and_end) as_root(unprivileged_broker) as_root(unprivileged_launcher)

				static int put_x(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644), rc;

	rc = fd < 0 || write(fd, "x", 1) != 1;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int prepare(void **state)
{
	(void)state;
	is_root = geteuid() == 0;
	if (!mkdtemp(config) || chmod(config, 0755) < 0)
		return -1;
	snprintf(inside, sizeof(inside), "%s/inside", config);
	snprintf(outside, sizeof(outside), "%s-outside", config);
	return put_x(inside) || put_x(outside);
}

static int clean(void **state)
{
	(void)state;
	unlink(inside);
	unlink(outside);
	return rmdir(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_processes),
		cmocka_unit_test(test_no_other_identity),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_no_reading_elsewhere),
		cmocka_unit_test(test_no_network),
		cmocka_unit_test(test_loop_and_threads_work),
		cmocka_unit_test(test_config_can_be_read),
		cmocka_unit_test(test_sockets_work),
		cmocka_unit_test(test_keys_work),
		cmocka_unit_test(test_others_keyrings_are_in_reach),
		cmocka_unit_test(test_broker_has_little_left),
		cmocka_unit_test(test_launcher_has_four),
		cmocka_unit_test(test_launcher_can_start_and_end),
		cmocka_unit_test(test_unprivileged_broker),
		cmocka_unit_test(test_unprivileged_launcher),
		cmocka_unit_test(test_comes_before_threads),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
