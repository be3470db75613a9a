/* SPDX-License-Identifier: Apache-2.0 */
#include "common/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* --- Landlock. The kernel's header may be older than the kernel: names and layout after landlock(7) --- */

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_TRUNCATE (1ULL << 14)
#define FS_IOCTL_DEV (1ULL << 15)
/* The rights that make sense for what is not a directory. */
#define FS_FILE (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV)
#define NET_BIND_TCP (1ULL << 0)
#define NET_CONNECT_TCP (1ULL << 1)
#define NET_ABI 4 /* the first that knows these */
#define SCOPE_ABSTRACT_UNIX (1ULL << 0)
#define SCOPE_SIGNAL (1ULL << 1)

struct ruleset {
	uint64_t fs;
	uint64_t net; /* since ABI 4 */
	uint64_t scope; /* since ABI 6 */
};

/* All that this kernel's Landlock can refuse, and the size of the structure that it knows. */
static size_t everything(long abi, struct ruleset *rules)
{
	uint64_t fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (abi >= 2)
		fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		fs |= FS_TRUNCATE;
	if (abi >= 5)
		fs |= FS_IOCTL_DEV;
	rules->fs = fs;
	rules->net = abi >= NET_ABI ? NET_BIND_TCP : 0;
	rules->scope = abi >= 6 ? SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL : 0;
	return abi >= 6 ? 24 : abi >= NET_ABI ? 16 : 8;
}

static int add_path(int ruleset, const struct sandbox_path *path, uint64_t handled)
{
	struct landlock_path_beneath_attr beneath = { .allowed_access = FS_READ };
	struct stat st;
	int rc = 0;

	if (path->access == SANDBOX_READ_EXEC)
		beneath.allowed_access |= LANDLOCK_ACCESS_FS_EXECUTE;
	if (path->access == SANDBOX_READ_WRITE)
		beneath.allowed_access = handled & ~(LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK);
	beneath.parent_fd = open(path->path, O_PATH | O_CLOEXEC);
	if (beneath.parent_fd < 0)
		return 0;
	if (fstat(beneath.parent_fd, &st) < 0)
		rc = -errno;
	else if (!S_ISDIR(st.st_mode))
		beneath.allowed_access &= FS_FILE;
	if (!rc && syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		rc = -errno;
	close(beneath.parent_fd);
	return rc;
}

/* From now on by that ruleset, which is closed; or not, where an error came before. */
static int restrict_self(int ruleset, int rc, char *why, size_t why_size)
{
	if (!rc && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		rc = -errno;
	if (ruleset >= 0)
		close(ruleset);
	if (rc)
		snprintf(why, why_size, "Landlock: %s", strerror(-rc));
	return rc;
}

/* Of this kernel's Landlock, 0: it has none; a negative errno: it could not be asked just now, which is not the same. */
static long landlock_version(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return version >= 0 ? version : sandbox_may_pass(errno) ? -errno : 0;
}

int sandbox_landlock(const struct sandbox_path *paths, size_t count, char *why, size_t why_size)
{
	struct ruleset rules;
	long abi = landlock_version();
	int fd, rc = 0;

	if (abi < 0)
		return restrict_self(-1, (int)abi, why, why_size);
	if (abi == 0) {
		snprintf(why, why_size, "this kernel has no Landlock: file access is limited by permissions alone");
		return 0;
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, everything(abi, &rules), 0);
	if (fd < 0)
		rc = -errno;
	for (size_t i = 0; !rc && i < count; i++)
		rc = add_path(fd, &paths[i], rules.fs);
	return restrict_self(fd, rc, why, why_size);
}

int sandbox_no_connections(char *why, size_t why_size)
{
	const struct ruleset rules = { .net = NET_CONNECT_TCP };
	long abi = landlock_version();
	int fd;

	if (abi < 0)
		return restrict_self(-1, (int)abi, why, why_size);
	if (abi < NET_ABI) {
		snprintf(why, why_size, "this kernel's Landlock does not know TCP: a connection that is there could become another one");
		return 0;
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, offsetof(struct ruleset, scope), 0);
	return restrict_self(fd, fd < 0 ? -errno : 0, why, why_size);
}

/* --- seccomp --- */

static const int common_calls[] = {
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(pread64),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(close),
	SCMP_SYS(lseek),
	SCMP_SYS(dup),
	SCMP_SYS(dup2),
	SCMP_SYS(dup3),
	SCMP_SYS(pipe),
	SCMP_SYS(pipe2),
	SCMP_SYS(eventfd2),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_gettime),
	SCMP_SYS(signalfd4),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(select),
	SCMP_SYS(pselect6),
	SCMP_SYS(epoll_create),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(stat),
	SCMP_SYS(lstat),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(statfs),
	SCMP_SYS(fstatfs),
	SCMP_SYS(access),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64),
	SCMP_SYS(getcwd),
	SCMP_SYS(fadvise64),
	SCMP_SYS(mmap),
	SCMP_SYS(mprotect),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(mlock),
	SCMP_SYS(mlock2),
	SCMP_SYS(munlock),
	SCMP_SYS(membarrier),
	SCMP_SYS(futex),
	SCMP_SYS(rseq),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(get_robust_list),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_getparam),
	SCMP_SYS(sched_getscheduler),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getppid),
	SCMP_SYS(getsid),
	SCMP_SYS(getpgid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getresuid),
	SCMP_SYS(getresgid),
	SCMP_SYS(getgroups),
	SCMP_SYS(capget),
	SCMP_SYS(uname),
	SCMP_SYS(sysinfo),
	SCMP_SYS(times),
	SCMP_SYS(getrusage),
	SCMP_SYS(getrlimit),
	SCMP_SYS(getcpu),
	SCMP_SYS(time),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(getrandom),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigpending),
	SCMP_SYS(rt_sigsuspend),
	SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SANDBOX_END,
};
#define ANY_WRITE (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))

int sandbox_allow(void *filter, const int *calls)
{
	int rc = 0;

	for (; !rc && *calls != SANDBOX_END; calls++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, *calls, 0);
	return rc;
}

int sandbox_allow_if(void *filter, int call, unsigned int argument, uint64_t mask, uint64_t value)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, SANDBOX_IS(argument, mask, value));
}

/* Calls where the argument decides. Only a process's own number, and no owner for signals: fetches share a uid. */
static int allow_common_if(void *filter)
{
	const struct {
		int call;
		unsigned int argument;
		uint64_t mask, value;
	} rules[] = {
		{ SCMP_SYS(open), 1, ANY_WRITE, O_RDONLY },
		{ SCMP_SYS(openat), 2, ANY_WRITE, O_RDONLY },
		{ SCMP_SYS(clone), 0, CLONE_THREAD | SANDBOX_NEW_NAMESPACES, CLONE_THREAD },
		{ SCMP_SYS(kill), 0, SANDBOX_WHOLE, (uint64_t)getpid() },
		{ SCMP_SYS(tgkill), 0, SANDBOX_WHOLE, (uint64_t)getpid() },
		{ SCMP_SYS(prlimit64), 0, SANDBOX_WHOLE, 0 },
		{ SCMP_SYS(prctl), 0, SANDBOX_WHOLE, PR_SET_NAME },
		{ SCMP_SYS(prctl), 0, SANDBOX_WHOLE, PR_SET_VMA },
		{ SCMP_SYS(fcntl), 1, SANDBOX_WHOLE, F_DUPFD },
		{ SCMP_SYS(fcntl), 1, SANDBOX_WHOLE, F_DUPFD_CLOEXEC },
		{ SCMP_SYS(fcntl), 1, SANDBOX_WHOLE, F_GETFD },
		{ SCMP_SYS(fcntl), 1, SANDBOX_WHOLE, F_SETFD },
		{ SCMP_SYS(fcntl), 1, SANDBOX_WHOLE, F_GETFL },
		{ SCMP_SYS(fcntl), 1, SANDBOX_WHOLE, F_SETFL },
		{ SCMP_SYS(ioctl), 1, SANDBOX_WHOLE, FIONREAD },
		{ SCMP_SYS(ioctl), 1, SANDBOX_WHOLE, FIONBIO },
		{ SCMP_SYS(ioctl), 1, SANDBOX_WHOLE, TCGETS },
		{ SCMP_SYS(socketpair), 0, SANDBOX_WHOLE, AF_UNIX },
	};
	int rc = 0;

	for (size_t i = 0; !rc && i < LENGTH(rules); i++)
		rc = sandbox_allow_if(filter, rules[i].call, rules[i].argument, rules[i].mask, rules[i].value);
	return rc;
}

/* The C library then takes an older one. */
static int hide(void *filter, int call)
{
	int rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), call, 0);

	/* A rule that says what the filter says anyway is refused. */
	return rc == -EACCES ? 0 : rc;
}

int sandbox_allow_common(void *filter)
{
	int rc = sandbox_allow(filter, common_calls);

	if (!rc)
		rc = allow_common_if(filter);
	/* Their flags lie in memory, where a filter cannot look. */
	if (!rc)
		rc = hide(filter, SCMP_SYS(clone3));
	if (!rc)
		rc = hide(filter, SCMP_SYS(openat2));
	return rc;
}

int sandbox_filter_daemon(const int *calls, char *why, size_t why_size)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc = filter ? sandbox_allow_common(filter) : -ENOMEM;

	if (!rc)
		rc = sandbox_allow(filter, calls);
	if (!rc)
		rc = sandbox_allow_if(filter, SCMP_SYS(socket), 0, SANDBOX_WHOLE, AF_UNIX);
	if (!rc)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	if (rc)
		snprintf(why, why_size, "seccomp: %s", strerror(-rc));
	return rc;
}

/* --- the process itself --- */

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

bool sandbox_may_pass(int error)
{
	return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE || error == EDQUOT || error == EINTR ||
	       error == EIO || error == ETXTBSY;
}

int sandbox_become(uid_t uid, gid_t gid, char *why, size_t why_size)
{
	int rc, joined = 0;

	/* Under sudo the session keyring is the caller's: it, and all his tokens on it, would last as long as this process. */
	if (geteuid() == 0 && syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		joined = -errno;
	rc = sandbox_become_member(uid, gid, NULL, 0, why, why_size);
	if (!rc && joined < 0)
		snprintf(why, why_size, "no session keyring of its own: %s", strerror(-joined));
	return rc;
}

int sandbox_become_member(uid_t uid, gid_t gid, const gid_t *groups, size_t count, char *why, size_t why_size)
{
	int rc = 0;

	why[0] = 0;
	if (geteuid() == 0 && (setgroups(count, groups) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0))
		rc = -errno;
	if (!rc)
		rc = drop_capabilities();
	/* Not to be root is what all the rest stands on. */
	if (!rc && (uid == 0 || geteuid() != uid || setresuid(0, 0, 0) == 0))
		rc = -EPERM;
	if (rc)
		snprintf(why, why_size, "cannot become uid %u: %s", uid, strerror(-rc));
	return rc;
}

int sandbox_seal(void)
{
	struct rlimit none = { 0, 0 };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;
	return 0;
}
