/* SPDX-License-Identifier: Apache-2.0 */
/* A reader's way to his own token in the kernel keyring. Costs the user no key unless nothing else is left. */
#ifndef KEYFOB_LOOKUP_H
#define KEYFOB_LOOKUP_H

#include <time.h>

#include "keyring/keyctl.h"

struct lookup {
	const char *broker; /* socket of the broker that is meant; another's tokens are passed by */
	bool own; /* that one is the caller's own, and so are its keys */
	key_serial_t ring; /* the caller's own, owned by the broker; 0: not looked for */
	bool unsupported; /* no keyring here: do not ask again */
};

struct lookup_hit {
	key_serial_t serial;
	time_t expires;
};

/*
 * Find the token of a credential and append its bytes to token.
 * Returns 0, -ENOKEY (not there, or not to be believed) or -EOPNOTSUPP (the
 * keyring cannot be used here). l keeps the ring for the next time.
 */
int lookup_token(struct lookup *l, const char *credential, struct buffer *token, struct lookup_hit *hit);
/* Does the key still stand, with that length? One system call. */
bool lookup_stands(key_serial_t serial, size_t length);

#endif
