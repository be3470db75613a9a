/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher: a child of keyfobd's that keeps the rights keyfobd gives up.
 * It takes fixed frames from keyfobd alone and does one of five things: start
 * a fetch as some user, describe a module, look names up, hand a file of
 * root's to a fetch, end a fetch.
 *
 * Frames to it: u8 request, fields, and for the first four one end of a
 * socket pair, on which the answer comes. Frames from it: u8 event, u32 fetch
 * id, u32 pid or wait status.
 */
#ifndef KEYFOB_LAUNCHER_H
#define KEYFOB_LAUNCHER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buffer.h"

#define LAUNCHER_USER_FETCH "keyfob-fetch"
#define LAUNCHER_GROUPS_MAX 65536

enum launcher_request {
	LAUNCHER_FETCH = 1, /* u32 id, u32 uid; the socket becomes the fetch's descriptors 0 and 1 */
	LAUNCHER_DESCRIBE, /* string module; the answer is keyfob-fetch's describe frame */
	LAUNCHER_LOOKUP, /* u32 count, (u8 kind, string name) -> u32 count, (u8 found, ...) */
	LAUNCHER_SECRET, /* string name, string path; the file's descriptor goes to the fetch behind the socket */
	LAUNCHER_KILL, /* u32 id */
};

enum launcher_name {
	LAUNCHER_NAME_USER, /* -> u8 found, u32 uid */
	LAUNCHER_NAME_GROUP, /* -> u8 found, u32 gid */
	LAUNCHER_NAME_GROUPS, /* name is a uid in digits -> u8 found, string user name, u32 count, u32 gid ... */
};

enum launcher_event {
	LAUNCHER_STARTED = 1, /* u32 id, u32 pid: also the id of the session that everything it runs stays in */
	LAUNCHER_ENDED, /* u32 id, u32 wait status */
};

struct launcher_options {
	const char *fetch; /* keyfob-fetch, absolute */
	const char *module_dir; /* absolute */
	const char *config_dir; /* absolute; secrets may lie below it */
};

/* Fork it. Returns a socket to it, or a negative errno. Its pid is put in *pid. */
int launcher_start(const struct launcher_options *options, pid_t *pid);

/* keyfobd's side. All return 0 or a negative errno. */
int launcher_fetch(int launcher, uint32_t id, uid_t uid, int fetch_socket);
int launcher_kill(int launcher, uint32_t id);
int launcher_secret(int launcher, const char *name, const char *path, int fetch_socket);
/* Send a request, with one frame as the answer; waits at most timeout_ms. For start, reload and root's questions. */
int launcher_ask(int launcher, const struct buffer *request, int timeout_ms, struct buffer *answer);
/* Send it, and give the socket on which the answer will come. */
int launcher_send(int launcher, const struct buffer *request, int *answer_socket);

#endif
