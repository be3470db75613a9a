/* SPDX-License-Identifier: Apache-2.0 */
/* Loaded ahead into a program (LD_PRELOAD), it moves its clock: time() is LATER seconds ahead. */
#include <stdlib.h>
#include <time.h>

__attribute__((visibility("default"))) time_t time(time_t *out)
{
	const char *later = getenv("LATER");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (later)
		now.tv_sec += atol(later);
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}
