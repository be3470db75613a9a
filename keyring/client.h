/* SPDX-License-Identifier: Apache-2.0 */
/* One request to the broker, or to another of keyfob's servers, and its reply. A connection per request: it would outlive a change of uid. */
#ifndef KEYFOB_CLIENT_H
#define KEYFOB_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"
#include "common/wire.h"

/*
 * The broker's socket: client_set_socket(), else KEYFOB_SOCKET, else the
 * compiled-in path; where there is none, and the caller is not root, that of his
 * own broker (keyfobd --user), if there is one. Valid until the thread calls it again.
 */
const char *client_socket(void);
/*
 * Does a broker that serves there belong to the caller? A broker serves only in
 * a directory of its own user's. Never true for root, or where a program runs as
 * another user than its caller.
 */
bool client_is_own(const char *path);
/* For --socket. Keeps the pointer. */
void client_set_socket(const char *path);

/*
 * Send opcode and fields (NULL for none) and wait at most timeout_ms in all for the
 * reply, which is put into reply (limit WIRE_MAX; the caller frees it). The
 * server must be root's, or the caller's own.
 * Returns 0 with r at the reply's fields, inside reply; or a negative enum
 * keyfob_error, with a line for people in message ("" when there is none).
 */
int client_call(enum wire_opcode opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply, struct reader *r, char *message,
	size_t size);

/* The same for another server than the broker: name is what messages call it ("the verifier"). */
struct client_server {
	const char *name, *path;
};
int client_ask(const struct client_server *server, uint8_t opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply,
	struct reader *r, char *message, size_t size);

/*
 * Read a token from the credential's own socket, credential/NAME.sock or
 * container/NAME/NAME.sock beside where the broker's would be: what a container
 * has in its stead. It is put into token, which the caller frees.
 * Returns 0, or a negative enum keyfob_error: KEYFOB_EBROKER, with message as it
 * was, where there is no such socket.
 */
int client_read_own(const char *credential, int timeout_ms, struct buffer *token, char *message, size_t size);

/* Read the head of a reply frame. Returns as client_call() does. */
int client_read_reply(const struct buffer *reply, struct reader *r, char *message, size_t size);

#endif
