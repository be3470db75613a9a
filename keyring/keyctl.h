/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keyfob's keys look like in the kernel, and the few calls on them that
 * libkeyutils does not make safely (keyrings(7), keyctl(2)).
 */
#ifndef KEYFOB_KEYCTL_H
#define KEYFOB_KEYCTL_H

#include <keyutils.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buffer.h"
#include "common/wire.h"

#define KEY_RING "keyfob" /* in a user's persistent keyring */
#define KEY_TOKEN_PREFIX "keyfob:" /* + credential: the token's bytes and nothing else */
#define KEY_INFO_PREFIX "keyfob-info:" /* + credential: struct key_record as text */
/*
 * Of what type a token is: always "user", but of a user's own broker (keyfobd --user) "big_key" where the kernel has it: that one
 * charges 16 bytes to his quota, however long the token is.
 */
#define KEY_TYPE_TOKEN "user"
#define KEY_TYPE_BIG "big_key"
#define KEY_NAME_SIZE (sizeof(KEY_INFO_PREFIX) + WIRE_NAME_MAX)

#define KEY_BROKER_SIZE 108 /* sun_path, see unix(7) */

/* The possessor may look, read and search (and link a token), the owner, root, may all; nobody else anything. */
#define KEY_TOKEN_PERM 0x1b3f0000u
#define KEY_RING_PERM 0x0b3f0000u
#define KEY_ANCHOR_PREFIX "keyfob-broker:" /* + socket: a broker's own ring, in the user keyring of who runs it */
/*
 * The broker's own: its owner may all, from any session; a possessor nothing. Root's session keyring often leads to his user
 * keyring, and is kept by what he starts as other users.
 */
#define KEY_ROOT_PERM 0x003f0000u

struct key_description {
	char type[32];
	uid_t uid;
	uint32_t perm;
	char name[KEY_NAME_SIZE + 192]; /* cut: no name of ours is longer */
};

/*
 * What stands in keyfob-info:NAME, one line of text. It names two tokens: the
 * one it was written for and the one before, so that whichever of the two a
 * reader finds beside it, he knows when that one ends.
 */
struct key_record {
	key_serial_t serial;
	uint64_t expires; /* epoch seconds */
	uint64_t refresh; /* when the broker means to renew it */
	char fingerprint[9];
	key_serial_t previous; /* 0: none */
	uint64_t previous_expires;
	char broker[KEY_BROKER_SIZE]; /* the socket of the broker that wrote it: there may be another, with a credential of that name */
	/*
	 * A user's own broker (keyfobd --user) leaves broker and previous empty: its ring bears the socket's name, and holds no other
	 * record. In their place, as this is all it has of the token:
	 */
	uint64_t fetched;
	unsigned int kind; /* enum keyfob_kind */
	char definition[17];
};

/* In another user namespace the kernel shows ids that are not those of the broker's world. */
bool key_ids_are_true(void);
/* All return 0 (or a serial) or a negative errno. */
int key_describe(key_serial_t key, struct key_description *d);
/* The payload, appended to b, whose limit holds. */
int key_read(key_serial_t key, struct buffer *b);
key_serial_t key_search(key_serial_t ring, const char *type, const char *name);
bool key_record_format(const struct key_record *record, struct buffer *b);
bool key_record_parse(const char *text, size_t length, struct key_record *record);

#endif
