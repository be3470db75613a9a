/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp-exec ERROR CALL... -- COMMAND...: run it where each of these system
 * calls fails with that error (EPERM, ENOSYS, ...), as in a container whose
 * profile leaves them out. libs: libseccomp
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int number_of(const char *error)
{
	for (int number = 1; number < 200; number++)
		if (strerrorname_np(number) && strcmp(strerrorname_np(number), error) == 0)
			return number;
	return 0;
}

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int error = argc > 1 ? number_of(argv[1]) : 0, at;

	if (!filter || !error)
		return 2;
	for (at = 2; at < argc && strcmp(argv[at], "--") != 0; at++) {
		int call = seccomp_syscall_resolve_name(argv[at]);

		if (call == __NR_SCMP_ERROR || seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned int)error), call, 0) < 0) {
			fprintf(stderr, "seccomp-exec: no filter for %s\n", argv[at]);
			return 2;
		}
	}
	if (at + 1 >= argc || seccomp_load(filter) < 0)
		return 2;
	execvp(argv[at + 1], argv + at + 1);
	return 127;
}
