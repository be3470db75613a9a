/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the edition of this kernel's Landlock, 0 where there is none. */
#include <linux/landlock.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	long edition = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return printf("%ld\n", edition > 0 ? edition : 0) < 0;
}
