/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asked the kernel for a key. The kernel tells the program that it starts
 * for that (request_key(2)) the user, but neither his groups nor where he
 * runs; but it does know the thread, shows its number in /proc/keys beside
 * the authorisation key, and holds it in the call until the program ends. So
 * /proc/THREAD is that of the one who asks, and does not change meanwhile.
 */
#ifndef KEYFOB_REQUEST_KEY_WHO_H
#define KEYFOB_REQUEST_KEY_WHO_H

#include <keyutils.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct who {
	uid_t uid; /* those that keys are made with */
	gid_t gid;
	gid_t *groups; /* the supplementary ones; the caller frees them */
	size_t group_count;
	bool is_contained; /* in a PID namespace below that of /proc */
};

/*
 * The thread, from /proc/keys: the row of the authorisation key auth for key.
 * A description may hold a newline and so look like a row of its own; where
 * there are two such rows, neither is believed.
 * Returns its number, or -ESRCH without a row, -EBADMSG with two.
 */
pid_t who_thread(FILE *keys, key_serial_t auth, key_serial_t key);

/* From /proc/THREAD/status. Returns 0, -ENOMEM, or -EBADMSG when something is missing there. */
int who_read(FILE *status, struct who *who);

#endif
