/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/fetch-sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANDBOX_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANDBOX_ASAN 1
#endif
#ifndef SANDBOX_ASAN
#define SANDBOX_ASAN 0
#endif

#define PATHS_MAX 256
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* --- seccomp --- */

static const int socket_calls[] = {
	SCMP_SYS(connect),
	SCMP_SYS(bind),
	SCMP_SYS(sendto),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(recvmmsg),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown),
	SANDBOX_END,
};

/* A fetch has secrets to take and its result to send, and nothing else to do with a socket. */
static const int channel_calls[] = { SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SANDBOX_END };

/*
 * What a helper may do: start programs, work on files, talk to others. Not on
 * it is what reaches other processes of its user, keys, or rare corners of the
 * kernel; System V's and POSIX' queues and memory, since fetches share a uid;
 * and setsid, which keeps it where the broker knows it for a fetch.
 */
static const int exec_calls[] = {
	/* processes */
	SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(wait4), SCMP_SYS(waitid), SCMP_SYS(kill),
	SCMP_SYS(tkill), SCMP_SYS(tgkill), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_send_signal), SCMP_SYS(rt_sigqueueinfo),
	SCMP_SYS(rt_tgsigqueueinfo), SCMP_SYS(pause), SCMP_SYS(setpgid), SCMP_SYS(getpgrp), SCMP_SYS(prctl), SCMP_SYS(arch_prctl),
	SCMP_SYS(setrlimit), SCMP_SYS(getpriority), SCMP_SYS(ioprio_get), SCMP_SYS(sched_getattr), SCMP_SYS(sched_get_priority_max),
	SCMP_SYS(sched_get_priority_min), SCMP_SYS(sched_rr_get_interval), SCMP_SYS(seccomp), SCMP_SYS(landlock_create_ruleset),
	SCMP_SYS(landlock_add_rule), SCMP_SYS(landlock_restrict_self),
	/* who it is: the kernel lets it become nobody else */
	SCMP_SYS(capset), SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid),
	SCMP_SYS(setresgid), SCMP_SYS(setgroups), SCMP_SYS(setfsuid), SCMP_SYS(setfsgid),
	/* time */
	SCMP_SYS(alarm), SCMP_SYS(getitimer), SCMP_SYS(setitimer), SCMP_SYS(timer_create), SCMP_SYS(timer_settime), SCMP_SYS(timer_gettime),
	SCMP_SYS(timer_getoverrun), SCMP_SYS(timer_delete),
	/* memory */
	SCMP_SYS(mincore), SCMP_SYS(msync), SCMP_SYS(mlockall), SCMP_SYS(munlockall), SCMP_SYS(memfd_create), SCMP_SYS(get_mempolicy),
	SCMP_SYS(pkey_alloc), SCMP_SYS(pkey_free), SCMP_SYS(pkey_mprotect), SCMP_SYS(futex_waitv),
	/* files */
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(creat), SCMP_SYS(close_range), SCMP_SYS(fcntl), SCMP_SYS(flock), SCMP_SYS(getdents),
	SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(preadv2), SCMP_SYS(pwritev), SCMP_SYS(pwritev2), SCMP_SYS(sendfile),
	SCMP_SYS(splice), SCMP_SYS(tee), SCMP_SYS(copy_file_range), SCMP_SYS(readahead), SCMP_SYS(truncate), SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate), SCMP_SYS(sync), SCMP_SYS(syncfs), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(sync_file_range),
	SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(symlink), SCMP_SYS(symlinkat),
	SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(mknod), SCMP_SYS(mknodat),
	SCMP_SYS(umask), SCMP_SYS(chdir), SCMP_SYS(fchdir), SCMP_SYS(chmod), SCMP_SYS(fchmod), SCMP_SYS(fchmodat), SCMP_SYS(chown),
	SCMP_SYS(fchown), SCMP_SYS(lchown), SCMP_SYS(fchownat), SCMP_SYS(utime), SCMP_SYS(utimes), SCMP_SYS(futimesat), SCMP_SYS(utimensat),
	SCMP_SYS(getxattr), SCMP_SYS(lgetxattr), SCMP_SYS(fgetxattr), SCMP_SYS(listxattr), SCMP_SYS(llistxattr), SCMP_SYS(flistxattr),
	SCMP_SYS(setxattr), SCMP_SYS(lsetxattr), SCMP_SYS(fsetxattr), SCMP_SYS(removexattr), SCMP_SYS(lremovexattr), SCMP_SYS(fremovexattr),
	SCMP_SYS(inotify_init), SCMP_SYS(inotify_init1), SCMP_SYS(inotify_add_watch), SCMP_SYS(inotify_rm_watch), SCMP_SYS(eventfd),
	SCMP_SYS(signalfd),
	/* sockets, beside socket_calls */
	SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4), SANDBOX_END
};

#define SOCK_TYPE 0xfu /* without SOCK_CLOEXEC and SOCK_NONBLOCK */

/* The socket that getaddrinfo(3) asks for the host's addresses. */
static int allow_routing(void *filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, SANDBOX_IS(0, SANDBOX_WHOLE, AF_NETLINK),
		SANDBOX_IS(2, SANDBOX_WHOLE, NETLINK_ROUTE));
}

/* TCP, UDP, and the names of hosts. */
static int allow_network(void *filter)
{
	static const uint64_t domains[] = { AF_INET, AF_INET6 };
	static const struct {
		uint64_t type, protocol;
	} kinds[] = {
		{ SOCK_STREAM, 0 },
		{ SOCK_STREAM, IPPROTO_TCP },
		{ SOCK_DGRAM, 0 },
		{ SOCK_DGRAM, IPPROTO_UDP },
	};
	int rc = sandbox_allow(filter, socket_calls);

	for (size_t i = 0; !rc && i < 8; i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3, SANDBOX_IS(0, SANDBOX_WHOLE, domains[i / 4]),
			SANDBOX_IS(1, SOCK_TYPE, kinds[i % 4].type), SANDBOX_IS(2, SANDBOX_WHOLE, kinds[i % 4].protocol));
	return rc ? rc : allow_routing(filter);
}

static int allow_programs(void *filter)
{
	static const uint64_t domains[] = { AF_UNIX, AF_INET, AF_INET6 };
	/* Zero stands for the process itself: a limit or a priority would cripple another fetch of this user. */
	static const struct {
		int call;
		unsigned int argument;
		uint64_t mask, value;
	} rules[] = {
		{ SCMP_SYS(clone), 0, SANDBOX_NEW_NAMESPACES, 0 },
		{ SCMP_SYS(setpriority), 1, SANDBOX_WHOLE, 0 },
		{ SCMP_SYS(sched_setaffinity), 0, SANDBOX_WHOLE, 0 },
		{ SCMP_SYS(sched_setscheduler), 0, SANDBOX_WHOLE, 0 },
		/* Asking for the present one. */
		{ SCMP_SYS(personality), 0, SANDBOX_WHOLE, SANDBOX_WHOLE },
	};
	int rc = sandbox_allow(filter, exec_calls);

	if (!rc)
		rc = sandbox_allow(filter, socket_calls);
	for (size_t i = 0; !rc && i < LENGTH(rules); i++)
		rc = sandbox_allow_if(filter, rules[i].call, rules[i].argument, rules[i].mask, rules[i].value);
	for (size_t i = 0; !rc && i < LENGTH(domains); i++)
		rc = sandbox_allow_if(filter, SCMP_SYS(socket), 0, SANDBOX_WHOLE, domains[i]);
	if (!rc)
		rc = allow_routing(filter);
	/* Whatever differs in a bit from typing into a terminal what its shell then does. Plain inequality would see 64 bits. */
	for (uint64_t bit = 1; !rc && bit & SANDBOX_WHOLE; bit <<= 1)
		rc = sandbox_allow_if(filter, SCMP_SYS(ioctl), 1, bit, ~(uint64_t)TIOCSTI & bit);
	return rc;
}

static int filter_calls(enum keyfob_sandbox kind, char *why, size_t why_size)
{
	/*
	 * To a program a call that is not on its list is one that this kernel
	 * does not know: it takes an older one. A call by another way than the
	 * native one (x32, 32 bit) ends the process, in all kinds.
	 */
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(kind == KEYFOB_SANDBOX_EXEC ? ENOSYS : EPERM));
	int rc = filter ? sandbox_allow_common(filter) : -ENOMEM;

	if (!rc && kind == KEYFOB_SANDBOX_EXEC)
		rc = allow_programs(filter);
	if (!rc && kind == KEYFOB_SANDBOX_NETWORK)
		rc = allow_network(filter);
	if (!rc && kind == KEYFOB_SANDBOX_FILE)
		rc = sandbox_allow(filter, channel_calls);
	if (!rc)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	if (rc)
		snprintf(why, why_size, "seccomp: %s", strerror(-rc));
	return rc;
}

/* --- the kinds --- */

/* Libraries, certificates, and what the resolver reads; not all of /etc. */
static const char *const base_paths[] = {
	"/usr",
	"/lib",
	"/lib32",
	"/lib64",
	"/etc/ld.so.cache",
	"/etc/ld.so.preload",
	"/etc/localtime",
	"/etc/ssl",
	"/etc/pki",
	"/etc/ca-certificates",
	"/etc/crypto-policies",
	"/etc/gnutls",
	"/etc/resolv.conf",
	"/etc/hosts",
	"/etc/host.conf",
	"/etc/nsswitch.conf",
	"/etc/gai.conf",
	"/etc/services",
	"/etc/protocols",
	"/dev/null",
	"/dev/zero",
	"/dev/random",
	"/dev/urandom",
	"/proc/sys/crypto/fips_enabled",
	"/sys/devices/system/cpu/online",
	/* Where the agent of Azure Arc keeps the keys that its group may read. */
	"/var/opt/azcmagent/tokens",
	/* Where the kubelet puts a pod's own token: a link there is swapped while we look. */
	"/var/run/secrets/kubernetes.io/serviceaccount",
#if SANDBOX_ASAN
	"/proc",
#endif
};
static const char *const exec_writable[] = { "/tmp", "/var/tmp", "/dev/shm", "/dev/null", "/dev/zero", "/dev/full" };

static size_t add_paths(struct sandbox_path *list, size_t count, const char *const *paths, size_t n, enum sandbox_access access)
{
	for (size_t i = 0; i < n && count < PATHS_MAX; i++)
		list[count++] = (struct sandbox_path){ paths[i], access };
	return count;
}

static int limit_files(enum keyfob_sandbox kind, const char *module_dir, const char *const *readable, char *why, size_t why_size)
{
	struct sandbox_path list[PATHS_MAX];
	size_t count = 0, extra = 0;

	while (readable && readable[extra])
		extra++;
	if (extra > PATHS_MAX / 2) {
		snprintf(why, why_size, "more than %d files are named", PATHS_MAX / 2);
		return -E2BIG;
	}
	if (kind == KEYFOB_SANDBOX_EXEC) {
		/* Whatever program the administrator names must run; what it may read is what its user may read. */
		static const char *const root[] = { "/" };
		const struct passwd *user = getpwuid(geteuid());

		count = add_paths(list, count, root, 1, SANDBOX_READ_EXEC);
		count = add_paths(list, count, exec_writable, LENGTH(exec_writable), SANDBOX_READ_WRITE);
		if (user && user->pw_dir[0] == '/' && user->pw_dir[1])
			list[count++] = (struct sandbox_path){ user->pw_dir, SANDBOX_READ_WRITE };
	} else {
		count = add_paths(list, count, base_paths, LENGTH(base_paths), SANDBOX_READ);
		count = add_paths(list, count, &module_dir, 1, SANDBOX_READ);
		count = add_paths(list, count, readable, extra, SANDBOX_READ);
	}
	return sandbox_landlock(list, count, why, why_size);
}

static void limit(__rlimit_resource_t resource, rlim_t value)
{
	struct rlimit now;

	if (getrlimit(resource, &now) < 0)
		return;
	if (now.rlim_max < value)
		value = now.rlim_max;
	now.rlim_cur = now.rlim_max = value;
	setrlimit(resource, &now);
}

/* The limit is on all tasks of the uid. Nobody tells their number, but the host's is no lower: `more` fit in. */
static void limit_processes(unsigned long more)
{
	FILE *f = fopen("/proc/loadavg", "re");
	unsigned long tasks;

	if (!f)
		return;
	if (fscanf(f, "%*s %*s %*s %*u/%lu", &tasks) == 1)
		limit(RLIMIT_NPROC, tasks + more);
	fclose(f);
}

static void limit_resources(enum keyfob_sandbox kind)
{
	bool exec = kind == KEYFOB_SANDBOX_EXEC;

	limit_processes(exec ? 512 : 64);
	limit(RLIMIT_FSIZE, exec ? 64u << 20 : 0);
	limit(RLIMIT_NOFILE, exec ? 256 : 64);
	/* The address sanitizer reserves terabytes, and what runs WebAssembly (Node.js' fetch does) tens of gigabytes. */
	if (!SANDBOX_ASAN) {
		limit(RLIMIT_AS, exec ? 64ull << 30 : 1ull << 30);
		limit(RLIMIT_DATA, exec ? 4ull << 30 : 1ull << 30);
	}
	/* A write past the limit shall fail, not kill. Programs start with the default. */
	if (!exec)
		signal(SIGXFSZ, SIG_IGN);
}
/* Where no broker runs, a fetch may be started by root itself. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0, 0, 0 } };

	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

int fetch_sandbox_enter(enum keyfob_sandbox kind, const char *module_dir, const char *const *readable, char *why, size_t why_size)
{
	int rc = sandbox_seal();

	why[0] = 0;
	if (!rc)
		rc = drop_capabilities();
	if (rc) {
		snprintf(why, why_size, "cannot give up rights: %s", strerror(-rc));
		return rc;
	}
	limit_resources(kind);
	rc = limit_files(kind, module_dir, readable, why, why_size);
	return rc ? rc : filter_calls(kind, why, why_size);
}
