/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/confine.h"

#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/sandbox.h"

static const int calls[] = { SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(connect), SCMP_SYS(sendto), SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown), SANDBOX_END };

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
	return rc ? rc : sandbox_filter_daemon(calls, why, why_size);
}
