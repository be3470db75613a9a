/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher: a child of keyfobd's that keeps the rights keyfobd gives up.
 * It takes fixed frames from keyfobd alone and does one of these things: start
 * a fetch as some user, describe a module, look names up, hand a file of
 * root's to a fetch, write a user's token files as that user, make a
 * credential's socket, end a fetch.
 *
 * Frames to it: u8 request, fields, and for all but the last one end of a
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
#define LAUNCHER_FILES_MAX (4u << 20) /* bytes of one user's files */

enum launcher_request {
	LAUNCHER_FETCH = 1, /* u32 id, u32 uid; the socket becomes the fetch's descriptors 0 and 1 */
	LAUNCHER_DESCRIBE, /* string module; the answer is keyfob-fetch's describe frame */
	LAUNCHER_LOOKUP, /* u32 count, (u8 kind, string name) -> u32 count, (u8 found, ...) */
	LAUNCHER_SECRET, /* string name, string path; the file's descriptor goes to the fetch behind the socket */
	/*
	 * u32 uid, u8 keep. His directory shall hold just the files that then come on the socket, to its end: u32 count, (string
	 * name, string content); with keep 0 there shall be none. -> string error, u32 count, per file u8 was it read since it was
	 * written. The answer's end comes when all is done.
	 */
	LAUNCHER_FILES,
	LAUNCHER_FILE_USERS, /* credentials' sockets are removed -> u32 uid ... who has a directory, UINT32_MAX last */
	LAUNCHER_SOCKET, /* string credential, u32 uid, u32 gid, u32 mode (0: remove it) -> string error, and the listening socket */
	LAUNCHER_KILL, /* u32 id */
};

enum launcher_name {
	LAUNCHER_NAME_USER, /* -> u8 found, u32 uid */
	LAUNCHER_NAME_GROUP, /* -> u8 found, u32 gid */
	LAUNCHER_NAME_GROUPS, /* name is a uid in digits -> u8 found, string user name, u32 count, u32 gid ... */
};

/* With what the launcher's child ends when it does not become keyfob-fetch. */
#define LAUNCHER_EXIT_LACK 125 /* memory, processes or descriptors, just now */
#define LAUNCHER_EXIT_USER 126 /* it cannot become that user */
#define LAUNCHER_EXIT_PROGRAM 127 /* keyfob-fetch cannot be executed */

enum launcher_event {
	LAUNCHER_STARTED = 1, /* u32 id, u32 pid: also the id of the session that everything it runs stays in */
	LAUNCHER_ENDED, /* u32 id, u32 wait status */
};

struct launcher_options {
	const char *fetch; /* keyfob-fetch, absolute */
	const char *module_dir; /* absolute */
	const char *config_dir; /* absolute; secrets may lie below it */
	bool own; /* fetches run as the caller: a user's own broker, who may be called root in a user namespace */
	const char *run_dir; /* token files and credentials' sockets lie below it; NULL: they are not to be */
};

/* Fork it. Returns a socket to it, or a negative errno. Its pid is put in *pid. */
int launcher_start(const struct launcher_options *options, pid_t *pid);

/* keyfobd's side. All return 0 or a negative errno. */
int launcher_fetch(int launcher, uint32_t id, uid_t uid, int fetch_socket);
int launcher_kill(int launcher, uint32_t id);
int launcher_secret(int launcher, const char *name, const char *path, int fetch_socket);
/* Make a credential's socket, or remove it (mode 0). On failure why says more. */
int launcher_socket(int launcher, const char *name, uid_t uid, gid_t gid, mode_t mode, int *listener, char *why, size_t size);
/* Send a request, with one frame as the answer; waits at most timeout_ms. For start, reload and root's questions. */
int launcher_ask(int launcher, const struct buffer *request, int timeout_ms, struct buffer *answer);
/* Send it, and give the socket on which the answer will come. */
int launcher_send(int launcher, const struct buffer *request, int *answer_socket);

/* launcher-files.c: in a process that the launcher forked for it */
void launcher_serve_files(uint8_t request, struct reader *r, int fd, const char *run_dir);
/* Remove all of them, by root with all rights and no launcher. */
void launcher_purge_files(const char *run_dir);

#endif
