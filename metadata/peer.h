/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who stands behind a TCP connection of this host: the uid of the socket at
 * its other end, as sock_diag(7) tells it for one exact pair of addresses in
 * this process's network namespace. That is the uid which made the socket
 * (what nftables' skuid matches too), not the one that uses it now: whoever
 * hands a socket on, or keeps it over a change of user, speaks as its maker.
 *
 * It takes no capability. Call peer_open() before a seccomp filter is put up,
 * which then need let through getpeername, getsockname, getsockopt, sendto and
 * recvfrom. Nothing here waits: the kernel has the answer at once. Linux 5.14.
 */
#ifndef KEYFOB_METADATA_PEER_H
#define KEYFOB_METADATA_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct peer {
	uid_t uid; /* never 0: root is refused */
	uint32_t inode;
	uint64_t cookie; /* the kernel gives none twice while it runs */
};

/* The socket to ask by, for the process's life. A descriptor or a negative errno. */
int peer_open(void);

/*
 * Find who is at the other end of connection, an accepted IPv4 socket.
 * Returns NULL, or why he is not known, in words for a log; then
 * peer->uid is (uid_t)-1, and the connection deserves no token.
 */
const char *peer_find(int diag, int connection, struct peer *peer);

/* Ask again, before a reply: is it still he? NULL, or why not. */
const char *peer_same(int diag, int connection, const struct peer *peer);

#endif
