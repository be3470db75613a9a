/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keyfob-verifyd can still do once it is confined. Each test confines a
 * child of its own.
 *
 * links: verify/confine common/sandbox
 * libs: libseccomp libkeyutils
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <keyutils.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <pwd.h>
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
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/sandbox.h"
#include "verify/confine.h"
#include "tests/unit/confined.h"

#define SOMEBODY 64902

static char root[] = "/tmp/keyfob-test-verify-XXXXXX";
static char config[100], state[100], others[100], elsewhere[100], door[100];
static bool has_landlock; /* asked ahead: once confined, one cannot */

static const char *in(const char *directory)
{
	static char path[4][160];
	static unsigned int turn;
	char *to = path[turn++ % 4];

	snprintf(to, sizeof(path[0]), "%s/file", directory);
	return to;
}

static bool confine(void)
{
	const char *const more[] = { others, NULL };
	const struct confine_files files = { config, state, more };

	return sandbox_become(SOMEBODY, SOMEBODY, why, sizeof(why)) == 0 && confine_verifier(&files, why, sizeof(why)) == 0;
}

/* --- who it is --- */

static bool has_no_capability(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3], none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return syscall(SYS_capget, &header, d) == 0 && memcmp(d, none, sizeof(d)) == 0;
}

static int becomes_somebody(void)
{
	uid_t uids[3];
	gid_t gids[3];

	/* Who starts it may have asked the kernel to keep capabilities. */
	need(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
	need(sandbox_become(SOMEBODY, SOMEBODY, why, sizeof(why)) == 0 && why[0] == 0);
	need(getresuid(&uids[0], &uids[1], &uids[2]) == 0 && uids[0] == SOMEBODY && uids[1] == SOMEBODY && uids[2] == SOMEBODY);
	need(getresgid(&gids[0], &gids[1], &gids[2]) == 0 && gids[0] == SOMEBODY && gids[1] == SOMEBODY && gids[2] == SOMEBODY);
	need(getgroups(0, NULL) == 0);
	need(has_no_capability());
	refused(setuid(0));
	refused(setgroups(0, NULL));
	/* As systemd's User= starts it. */
	need(sandbox_become(SOMEBODY, SOMEBODY, why, sizeof(why)) == 0);
	need(sandbox_become(SOMEBODY + 1, SOMEBODY, why, sizeof(why)) == -EPERM && *why);
	return 0;
}

static int never_stays_root(void)
{
	need(sandbox_become(0, 0, why, sizeof(why)) == -EPERM && strstr(why, "uid 0"));
	return 0;
}

static int is_sealed(void)
{
	struct rlimit core;

	need(confine());
	need(has_no_capability());
	need(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
	refused(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
	refused(syscall(SYS_setfsuid, 0));
	refused(setresuid(SOMEBODY, SOMEBODY, SOMEBODY));
	return 0;
}

/* --- what it cannot do --- */

static int no_processes(void)
{
	char *const none[] = { NULL };

	need(confine());
	refused(execve("/bin/true", none, none));
	refused(fork());
	refused(vfork());
	refused(syscall(SYS_clone, CLONE_VM | SIGCHLD, NULL, NULL, NULL, 0));
	refused(kill(getppid(), 0));
	refused(syscall(SYS_pidfd_open, getppid(), 0));
	refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	refused(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
	refused(unshare(CLONE_NEWUSER));
	refused(chroot("/"));
	return 0;
}

static int no_network_no_keys(void)
{
	need(confine());
	refused(socket(AF_INET, SOCK_STREAM, 0));
	refused(socket(AF_INET6, SOCK_DGRAM, 0));
	refused(socket(AF_NETLINK, SOCK_RAW, 0));
	refused(socket(AF_PACKET, SOCK_RAW, 0));
	refused(socket(AF_VSOCK, SOCK_STREAM, 0));
	refused(syscall(SYS_io_uring_setup, 1, NULL));
	refused(syscall(SYS_bpf, 0, NULL, 0));
	refused(syscall(SYS_request_key, "user", "keyfob-test", NULL, 0));
	refused(syscall(SYS_add_key, "user", "keyfob-test", "x", 1, KEY_SPEC_PROCESS_KEYRING));
	refused(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
	return 0;
}

static int files_as_named(void)
{
	need(confine());
	need(open(in(config), O_RDONLY) >= 0);
	need(open(in(others), O_RDONLY) >= 0);
	refused(open(in(config), O_WRONLY));
	refused(open(in(others), O_RDWR));
	refused(open("/etc/shadow", O_RDONLY));
	refused(chmod(in(state), 0777));
	refused(chown(in(state), SOMEBODY, SOMEBODY));
	refused(symlink("/", in(state)));
	refused(mkdir(in(state), 0700));
	if (!has_landlock)
		return 0;
	/* All of these are open to everybody. */
	refused(open(in(elsewhere), O_RDONLY));
	refused(open(in(elsewhere), O_WRONLY));
	refused(open(in(elsewhere), O_WRONLY | O_CREAT, 0600));
	refused(open("/", O_RDONLY | O_DIRECTORY));
	refused(open("/proc/self/environ", O_RDONLY));
	return 0;
}

/* --- what it can --- */

static int state_can_be_kept(void)
{
	char new[120], file[120];
	int fd, directory;

	need(confine());
	snprintf(new, sizeof(new), "%s/new", state);
	snprintf(file, sizeof(file), "%s/kept", state);
	need((fd = open(new, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) >= 0);
	need(write(fd, "x", 1) == 1 && fsync(fd) == 0 && close(fd) == 0);
	need(rename(new, file) == 0);
	need((directory = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0 && fsync(directory) == 0);
	need(unlinkat(directory, "kept", 0) == 0);
	return 0;
}

static int names_are_found(void)
{
	need(confine());
	need(getpwnam("root") && getpwnam("root")->pw_uid == 0);
	need(getpwnam("daemon"));
	need(!getpwnam("keyfob-nobody-has-this-name"));
	return 0;
}

static int sockets_work(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	struct epoll_event event = { .events = EPOLLIN };
	struct itimerval none = { 0 };
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), client, epoll;

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", door);
	need(bind(server, (struct sockaddr *)&name, sizeof(name)) == 0 && chmod(door, 0666) == 0 && listen(server, 4) == 0);
	need(confine());
	need((client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) >= 0);
	need(connect(client, (struct sockaddr *)&name, sizeof(name)) == 0);
	need(getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == 0);
	need((epoll = epoll_create1(EPOLL_CLOEXEC)) >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event) == 0);
	need(epoll_wait(epoll, &event, 1, 10000) == 1);
	need((server = accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
	need(getsockopt(server, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == SOMEBODY);
	need(send(client, "ab", 2, MSG_NOSIGNAL) == 2 && recv(server, &peer, sizeof(peer), 0) == 2);
	need(setitimer(ITIMER_REAL, &none, NULL) == 0);
	return 0;
}

/* --- the frame --- */

#define TEST(name) \
	static void test_##name(void **unused) \
	{ \
		(void)unused; \
		assert_int_equal(in_child(name), 0); \
	}

TEST(becomes_somebody)
TEST(never_stays_root)
TEST(is_sealed)
TEST(no_processes)
TEST(no_network_no_keys)
TEST(files_as_named)
TEST(state_can_be_kept)
TEST(names_are_found)
TEST(sockets_work)

static int make(char *path, const char *name, mode_t mode)
{
	int fd;

	snprintf(path, 100, "%s/%s", root, name);
	if (mkdir(path, 0700) < 0 || chmod(path, mode) < 0)
		return -1;
	fd = open(in(path), O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || fchmod(fd, 0666) < 0)
		return -1;
	return close(fd);
}

static int setup(void **unused)
{
	(void)unused;
	has_landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
	if (!mkdtemp(root) || chmod(root, 0755) < 0)
		return -1;
	snprintf(door, sizeof(door), "%s/door", root);
	if (make(config, "config", 0755) < 0 || make(state, "state", 0700) < 0 || make(others, "others", 0755) < 0 ||
		make(elsewhere, "elsewhere", 0777) < 0)
		return -1;
	return chown(state, SOMEBODY, SOMEBODY);
}

static int teardown(void **unused)
{
	const char *const made[] = { config, state, others, elsewhere };

	(void)unused;
	for (size_t i = 0; i < 4; i++) {
		unlink(in(made[i]));
		rmdir(made[i]);
	}
	unlink(door);
	return rmdir(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_becomes_somebody),
		cmocka_unit_test(test_never_stays_root),
		cmocka_unit_test(test_is_sealed),
		cmocka_unit_test(test_no_processes),
		cmocka_unit_test(test_no_network_no_keys),
		cmocka_unit_test(test_files_as_named),
		cmocka_unit_test(test_state_can_be_kept),
		cmocka_unit_test(test_names_are_found),
		cmocka_unit_test(test_sockets_work),
	};

	if (geteuid() != 0) {
		puts("1..0 # SKIP needs root");
		return 0;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
