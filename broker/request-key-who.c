/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/request-key-who.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

pid_t who_thread(FILE *keys, key_serial_t auth, key_serial_t key)
{
	char *line = NULL;
	size_t room = 0;
	pid_t thread = -ESRCH;

	while (getline(&line, &room, keys) >= 0) {
		unsigned int serial, target;
		int pid, used = 0;

		/* Serial, flags, usage, what is left of its life, mask, uid, gid, the type's first nine letters, description. */
		if (sscanf(line, "%8x %*7s %*d %*s %*8x %*d %*d .request_ key:%8x pid:%d ci:%n", &serial, &target, &pid, &used) != 3 ||
			!used || serial != (unsigned int)auth || target != (unsigned int)key || pid <= 0)
			continue;
		thread = thread == -ESRCH ? pid : -EBADMSG;
	}
	free(line);
	return thread;
}

static int read_groups(const char *at, struct who *who)
{
	/* No group is shorter than a digit and a blank. */
	who->groups = calloc(strlen(at) / 2 + 1, sizeof(*who->groups));
	if (!who->groups)
		return -ENOMEM;
	for (;;) {
		char *end;
		unsigned long gid = strtoul(at, &end, 10);

		if (end == at)
			return 0;
		who->groups[who->group_count++] = (gid_t)gid;
		at = end;
	}
}

int who_read(FILE *status, struct who *who)
{
	char *line = NULL;
	size_t room = 0;
	int error = 0, below = 0;
	bool uid = false, gid = false, pid = false;

	memset(who, 0, sizeof(*who));
	/* The name of the program stands there too, with its newlines escaped. */
	while (!error && getline(&line, &room, status) >= 0) {
		if (strncmp(line, "Uid:", 4) == 0)
			uid = sscanf(line, "Uid: %*u %*u %*u %u", &who->uid) == 1;
		else if (strncmp(line, "Gid:", 4) == 0)
			gid = sscanf(line, "Gid: %*u %*u %*u %u", &who->gid) == 1;
		else if (strncmp(line, "NSpid:", 6) == 0)
			pid = sscanf(line, "NSpid: %*d %d", &below) != 0;
		else if (strncmp(line, "Groups:", 7) == 0 && !who->groups)
			error = read_groups(line + 7, who);
	}
	free(line);
	who->is_contained = below != 0;
	if (!error && !(uid && gid && pid && who->groups))
		error = -EBADMSG;
	if (error) {
		free(who->groups);
		who->groups = NULL;
	}
	return error;
}
