/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/confine.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "common/sandbox.h"

static const int calls[] = { SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(connect), SCMP_SYS(sendto), SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown), SANDBOX_END };

static int filter(char *why, size_t why_size)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc = context ? sandbox_allow_common(context) : -ENOMEM;

	if (!rc)
		rc = sandbox_allow(context, calls);
	if (!rc)
		rc = sandbox_allow_if(context, SCMP_SYS(socket), 0, SANDBOX_WHOLE, AF_UNIX);
	if (!rc)
		rc = seccomp_load(context);
	seccomp_release(context);
	if (rc)
		snprintf(why, why_size, "seccomp: %s", strerror(-rc));
	return rc;
}

int confine_metadata(char *why, size_t why_size)
{
	int rc = sandbox_seal();

	why[0] = 0;
	/* The time zone's file is out of reach afterwards, and syslog(3) wants it. */
	tzset();
	if (rc < 0) {
		snprintf(why, why_size, "cannot give up rights: %s", strerror(-rc));
		return rc;
	}
	rc = sandbox_no_connections(why, why_size);
	if (!rc)
		rc = sandbox_landlock(NULL, 0, why, why_size);
	return rc ? rc : filter(why, why_size);
}
