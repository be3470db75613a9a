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

/* What a helper must not do, even as its own user: reach other processes, keys, or rare corners of the kernel. */
static const int exec_denied[] = {
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(keyctl),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(process_madvise),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(kcmp),
	SCMP_SYS(setsid),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(move_mount),
	SCMP_SYS(open_tree),
	SCMP_SYS(fsopen),
	SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount),
	SCMP_SYS(fspick),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(fanotify_init),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(reboot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(acct),
	SCMP_SYS(quotactl),
	SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime),
	SCMP_SYS(clock_adjtime),
	SCMP_SYS(adjtimex),
	SCMP_SYS(syslog),
	SCMP_SYS(iopl),
	SCMP_SYS(ioperm),
	SCMP_SYS(lookup_dcookie),
	SCMP_SYS(vhangup),
	SANDBOX_END,
};

#define SOCK_TYPE 0xfu /* without SOCK_CLOEXEC and SOCK_NONBLOCK */

/* TCP, UDP, and the routing socket that getaddrinfo(3) asks for the host's addresses. */
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
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, SANDBOX_IS(0, SANDBOX_WHOLE, AF_NETLINK),
			SANDBOX_IS(2, SANDBOX_WHOLE, NETLINK_ROUTE));
	return rc;
}

static int deny_for_exec(void *filter)
{
	/* Asking for the present one (all bits set) is harmless, and common. */
	const struct scmp_arg_cmp other_personality = { 0, SCMP_CMP_NE, SANDBOX_WHOLE, 0 };
	const struct scmp_arg_cmp rare_family = { 0, SCMP_CMP_GT, AF_NETLINK, 0 };
	const uint32_t no = SCMP_ACT_ERRNO(EPERM);
	int rc = 0;

	for (const int *call = exec_denied; !rc && *call != SANDBOX_END; call++)
		rc = seccomp_rule_add(filter, no, *call, 0);
	for (uint64_t bit = 1; !rc && bit <= SANDBOX_NEW_NAMESPACES; bit <<= 1)
		if (bit & SANDBOX_NEW_NAMESPACES)
			rc = seccomp_rule_add(filter, no, SCMP_SYS(clone), 1, SANDBOX_IS(0, bit, bit));
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (!rc)
		rc = seccomp_rule_add(filter, no, SCMP_SYS(personality), 1, other_personality);
	/* Unix, IPv4, IPv6 and netlink; not the families that only load rare kernel modules or reach past the host. */
	for (uint32_t domain = AF_INET + 1; !rc && domain < AF_NETLINK; domain++)
		if (domain != AF_INET6)
			rc = seccomp_rule_add(filter, no, SCMP_SYS(socket), 1, SANDBOX_IS(0, SANDBOX_WHOLE, domain));
	if (!rc)
		rc = seccomp_rule_add(filter, no, SCMP_SYS(socket), 1, rare_family);
	return rc;
}

static int filter_calls(enum keyfob_sandbox kind, char *why, size_t why_size)
{
	/* A call by another way than the native one (x32, 32 bit) ends the process, in all kinds. */
	scmp_filter_ctx filter = seccomp_init(kind == KEYFOB_SANDBOX_EXEC ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM));
	int rc = filter ? 0 : -ENOMEM;

	if (!rc && kind == KEYFOB_SANDBOX_EXEC)
		rc = deny_for_exec(filter);
	else if (!rc)
		rc = sandbox_allow_common(filter);
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
	/* The address sanitizer reserves terabytes. */
	if (!SANDBOX_ASAN)
		limit(RLIMIT_AS, exec ? 4ull << 30 : 1ull << 30);
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
