/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's side of the kernel keyring.
 *
 *   root's user keyring
 *     keyring keyfob-broker:SOCKET             the anchor, root only
 *       keyring keyfob-master:CREDENTIAL       one generation of a token, replaced whole
 *         user keyfob-token                    its bytes
 *         user keyfob-record                   struct store_record
 *       user keyfob-asked:CREDENTIAL           who asked, and when
 *       keyring keyfob-uid:U                   holds the one ring of user U:
 *         keyring keyfob                       linked into his persistent keyring
 *           user keyfob:CREDENTIAL, user keyfob-info:CREDENTIAL
 *
 * Every key is staged in the calling thread's own keyring, which dies with
 * it, gets its permissions and its timeout there and is then linked: no
 * reader ever sees one that is half made, and no crash leaves one behind.
 * All calls return 0 (or what they say) or a negative errno.
 */
#ifndef KEYFOB_STORE_H
#define KEYFOB_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "keyring/keyctl.h"

#define STORE_ASKERS_MAX 2000 /* who asked for one credential; each is 12 bytes of a key's 32,767 */

struct store {
	bool own; /* of an ordinary user, for himself: one key is master and copy at once, see store-own.c */
	bool no_big_key; /* an own store has seen that the kernel has no KEY_TYPE_BIG */
	key_serial_t anchor;
	char name[160];
	int quota_fd; /* /proc/key-users; -1: not known, so not watched */
	int64_t quota_read; /* when, in seconds of CLOCK_MONOTONIC */
	bool quota_full;
};

/* What the broker's user's keys take of what the kernel grants them: root's (kernel.keys.root_maxkeys, root_maxbytes), or his own. */
struct store_quota {
	unsigned long keys, max_keys, bytes, max_bytes;
};

/* What the broker must know of a token besides its bytes. */
struct store_record {
	uint64_t fetched, expires, refresh; /* epoch seconds */
	uint8_t kind; /* enum keyfob_kind */
	char fingerprint[9];
	char issuer[257], audience[257], subject[257];
	char *definition; /* what it was fetched by; owned, see store_record_free() */
};

struct store_asker {
	uint32_t uid;
	uint64_t when;
};

/* Open what tells the quota, before the right to open it is given up. */
void store_watch_quota(struct store *s);
bool store_quota(const struct store *s, struct store_quota *quota);
/* Find the anchor of this socket's broker, or make it. */
int store_open(struct store *s, const char *socket_path);
/* Revoke every key of this broker and remove the anchor. */
int store_purge(struct store *s);

void store_record_free(struct store_record *record);
/* Seconds a key with this token may stand: life less the safety margin; below 1 it must not be stored. */
int64_t store_timeout(const struct store_record *record, uint64_t now);

/*
 * Replace the master copy of a credential in one step. This and
 * store_put_copy() give -EDQUOT from half of root's quota on: all of root's
 * keys share it, and others must not fail for ours. An own store gives it when
 * the user's quota is used up but for a small reserve.
 */
int store_put_master(struct store *s, const char *credential, const struct buffer *token, const struct store_record *record);
/* Append its bytes to token and fill record (free it). -ENOKEY: there is none that is good. */
int store_get_master(struct store *s, const char *credential, struct buffer *token, struct store_record *record);
int store_revoke_master(struct store *s, const char *credential);

int store_put_asked(struct store *s, const char *credential, const struct store_asker *askers, size_t count, unsigned int timeout);
/* Returns how many of at most max were filled in. */
int store_get_asked(struct store *s, const char *credential, struct store_asker *askers, size_t max);

/* Put the master's token into the ring of uid, made when it is not there. Does not touch the user's own keyrings. */
int store_put_copy(struct store *s, uid_t uid, const char *credential, const struct buffer *token, const struct store_record *record);
/* Does that user's ring hold this generation? */
bool store_has_copy(struct store *s, uid_t uid, const char *credential, const struct store_record *record);
int store_revoke_copy(struct store *s, uid_t uid, const char *credential);
/*
 * Link the ring of uid into his persistent keyring, in place of whatever
 * bears its name there. While this runs, the calling thread possesses what
 * the user built there, and every call by serial walks it: not for the event
 * loop. -EBUSY: a ring of another broker's stands there and is left alone.
 */
int store_link_ring(struct store *s, uid_t uid);

/* Call with the name of each credential that has a master copy or askers, and with each copy. */
int store_each_credential(struct store *s, void (*call)(void *arg, const char *credential), void *arg);
int store_each_copy(struct store *s, void (*call)(void *arg, uid_t uid, const char *credential), void *arg);

#endif
