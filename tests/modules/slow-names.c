/* SPDX-License-Identifier: Apache-2.0 */
/* Loaded ahead into a program (LD_PRELOAD), it is a directory service that does not answer about the users whose uids stand in the file SLOW_NAMES. */
#include <dlfcn.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int is_slow(uid_t uid)
{
	FILE *file = fopen(getenv("SLOW_NAMES"), "re");
	unsigned int slow = 0;
	int found = 0;

	while (file && !found && fscanf(file, "%u", &slow) == 1)
		found = slow == uid;
	if (file)
		fclose(file);
	return found;
}

__attribute__((visibility("default"))) struct passwd *getpwuid(uid_t uid)
{
	struct passwd *(*next)(uid_t) = (struct passwd * (*)(uid_t)) dlsym(RTLD_NEXT, "getpwuid");

	while (is_slow(uid))
		usleep(20000);
	return next(uid);
}
