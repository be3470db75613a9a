/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEYFOB_METADATA_CONFINE_H
#define KEYFOB_METADATA_CONFINE_H

#include <stddef.h>

/*
 * What works afterwards: an event loop, connections to the listener that is
 * there, the socket of peer_open() that is there, and AF_UNIX sockets. No
 * file, program, process, other socket or key. There is no way back. Returns
 * 0, and in why "" or a note that this kernel gives less protection than asked
 * for; or a negative errno with the reason.
 */
int confine_metadata(char *why, size_t why_size);

#endif
