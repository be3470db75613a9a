/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/sandbox.h"

#define BIT(cap) (1ull << (cap))

static const int broker_calls[] = { SCMP_SYS(add_key), SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(sendto), SCMP_SYS(setitimer),
	SCMP_SYS(recvfrom), SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt), SCMP_SYS(shutdown), SCMP_SYS(wait4), SCMP_SYS(waitid), SCMP_SYS(pidfd_open), SANDBOX_END };

/* Not: making a key for another process, the parent's session, asymmetric operations. */
static const unsigned int broker_keyctl[] = { KEYCTL_GET_KEYRING_ID, KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_UPDATE, KEYCTL_REVOKE,
	KEYCTL_CHOWN, KEYCTL_SETPERM, KEYCTL_DESCRIBE, KEYCTL_CLEAR, KEYCTL_LINK, KEYCTL_UNLINK, KEYCTL_SEARCH, KEYCTL_READ,
	KEYCTL_SET_TIMEOUT, KEYCTL_GET_SECURITY, KEYCTL_INVALIDATE, KEYCTL_GET_PERSISTENT, KEYCTL_RESTRICT_KEYRING, KEYCTL_MOVE,
	KEYCTL_CAPABILITIES };

/* --- capabilities, by the calls themselves: they are few --- */

static int read_capabilities(uint64_t *permitted)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
	return 0;
}

static int write_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{ (uint32_t)keep, (uint32_t)keep, 0 },
		{ (uint32_t)(keep >> 32), (uint32_t)(keep >> 32), 0 },
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/*
 * What a later exec as root may get back: nothing but keep. Without CAP_SETPCAP
 * this cannot be changed, and no_new_privs alone has to hold it.
 */
static int limit_exec(uint64_t keep)
{
	const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(keep & BIT(cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static int limit_capabilities(uint64_t keep, char *why, size_t why_size)
{
	uint64_t have;
	int rc = read_capabilities(&have);

	if (!rc && have & BIT(CAP_SETPCAP))
		rc = limit_exec(keep);
	if (!rc && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		rc = -errno;
	if (!rc)
		rc = write_capabilities(keep & have);
	if (rc)
		snprintf(why, why_size, "cannot give up capabilities: %s", strerror(-rc));
	else if ((keep & have) != keep)
		snprintf(why, why_size, "%s",
			geteuid() ? "not root: one user's own keys only" : "root without all of the capabilities it needs");
	return rc;
}

/* --- the system calls of the broker --- */

static int filter_broker(char *why, size_t why_size)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc = filter ? sandbox_allow_common(filter) : -ENOMEM;

	if (!rc)
		rc = sandbox_allow(filter, broker_calls);
	for (size_t i = 0; !rc && i < sizeof(broker_keyctl) / sizeof(broker_keyctl[0]); i++)
		rc = sandbox_allow_if(filter, SCMP_SYS(keyctl), 0, UINT32_MAX, broker_keyctl[i]);
	if (!rc)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	if (rc)
		snprintf(why, why_size, "seccomp: %s", strerror(-rc));
	return rc;
}

/* Capabilities and Landlock bind one thread; others would keep all they have. */
static bool threaded(void)
{
	struct stat st;

	return stat("/proc/self/task", &st) == 0 && st.st_nlink > 3;
}

static int seal(uint64_t keep, char *why, size_t why_size)
{
	int rc;

	why[0] = 0;
	if (threaded()) {
		snprintf(why, why_size, "threads run already");
		return -EBUSY;
	}
	rc = limit_capabilities(keep, why, why_size);
	if (!rc && (rc = sandbox_seal()) < 0)
		snprintf(why, why_size, "cannot give up rights: %s", strerror(-rc));
	return rc;
}

int confine_broker(const char *config_dir, char *why, size_t why_size)
{
	const struct sandbox_path paths[] = { { config_dir, SANDBOX_READ }, { "/proc/self/fdinfo", SANDBOX_READ } };
	char weak[128] = "";
	size_t used;
	int rc;

	/* The time zone's file is out of reach afterwards, and syslog(3) wants it. */
	tzset();
	rc = seal(BIT(CAP_SETUID), why, why_size);
	if (!rc)
		rc = sandbox_landlock(paths, 2, weak, sizeof(weak));
	used = strlen(why);
	if (weak[0])
		snprintf(why + used, why_size - used, "%s%s", used ? "; " : "", weak);
	return rc ? rc : filter_broker(why, why_size);
}

int confine_launcher(char *why, size_t why_size)
{
	/* CAP_CHOWN: a directory in which only its user can enter, and a socket for its group, are made by root and handed over. */
	return seal(BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_KILL) | BIT(CAP_CHOWN), why, why_size);
}
