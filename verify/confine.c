/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/confine.h"

#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/sandbox.h"

#define PATHS_MAX 64

/*
 * Names of users are looked up at each reload. Whole directories, since a file
 * that is replaced is another file to Landlock; the C library loads its
 * modules from the others, or asks a daemon whose socket or map lies there.
 */
static const char *const names_need[] = { "/etc", "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/run/systemd/userdb", "/run/nscd",
	"/var/lib/sss", "/var/lib/extrausers", NULL };

/* Opening for write is for Landlock and the file's permissions to judge: a filter does not see where a path leads. */
static const int verifier_calls[] = { SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(connect), SCMP_SYS(sendto), SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown), SCMP_SYS(setitimer), SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(rename), SCMP_SYS(renameat),
	SCMP_SYS(renameat2), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(ftruncate),
	SCMP_SYS(flock), SANDBOX_END };

static void add_path(struct sandbox_path *paths, size_t *count, const char *path, enum sandbox_access access)
{
	if (*count < PATHS_MAX)
		paths[(*count)++] = (struct sandbox_path){ path, access };
}

int confine_verifier(const struct confine_files *files, char *why, size_t why_size)
{
	struct sandbox_path paths[PATHS_MAX];
	size_t count = 0;
	int rc;

	why[0] = 0;
	/* The time zone's file is out of reach afterwards, and syslog(3) wants it. */
	tzset();
	add_path(paths, &count, files->config_dir, SANDBOX_READ);
	add_path(paths, &count, files->state_dir, SANDBOX_READ_WRITE);
	for (const char *const *at = names_need; *at; at++)
		add_path(paths, &count, *at, SANDBOX_READ);
	for (const char *const *at = files->others; at && *at; at++)
		add_path(paths, &count, *at, SANDBOX_READ);
	rc = sandbox_seal();
	if (rc < 0) {
		snprintf(why, why_size, "cannot give up rights: %s", strerror(-rc));
		return rc;
	}
	rc = sandbox_landlock(paths, count, why, why_size);
	return rc ? rc : sandbox_filter_daemon(verifier_calls, why, why_size);
}
