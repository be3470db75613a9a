/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of the store share: how a key is made, found and taken away. */
#ifndef KEYFOB_STORE_INNER_H
#define KEYFOB_STORE_INNER_H

#include "keyring/store.h"

#define ANCHOR_PREFIX KEY_ANCHOR_PREFIX
#define UID_PREFIX "keyfob-uid:"

/* The stage is the thread's own keyring; empty it. */
int store_stage_clear(void);
/* A key in the stage, and nothing else in it. Returns its serial or a negative errno. */
key_serial_t store_stage(const char *type, const char *name, const struct buffer *payload, uint32_t perm, unsigned int timeout);
/* timeout 0 leaves the key without one: for rings that no user reaches. */
int store_stamp(key_serial_t key, uint32_t perm, unsigned int timeout);
/* A ring of ours directly in parent; made when it is not there, or has expired. */
key_serial_t store_sub_ring(key_serial_t parent, const char *name, uint32_t perm, unsigned int timeout);
/* Revoked, not only unlinked: a link somebody made elsewhere dies with it. 1: the kernel says that it is revoked or at its end. */
int store_revoke_named(key_serial_t ring, const char *type, const char *name);
/* The first thing that went wrong is returned, whatever else was found: not everything may have been. */
int store_each_child(key_serial_t ring, void (*call)(void *arg, key_serial_t key, const struct key_description *d), void *arg);
/* What follows the prefix in a key's name; NULL: it has another. */
const char *store_after_prefix(const struct key_description *d, const char *prefix);
/* Has root's quota no more room for us? */
bool store_is_full(struct store *s);
/* How long a key with this token may stand; 0: not at all. */
unsigned int store_clamp_timeout(const struct store_record *record);

/* Find the anchor, or make it. 0 or a negative errno. */
int store_open_anchor(struct store *s);

/* The token key of a credential in a ring, of the type that all have but those of an own store, and its record beside it. */
key_serial_t store_find_token(key_serial_t ring, const char *credential);
bool store_read_info(key_serial_t ring, const char *credential, struct key_record *info);
int store_revoke_pair(key_serial_t ring, const char *credential);
/*
 * The token in the stage, then its info into the ring, then the token into
 * the ring. type is the token's. Fills in the token's serial.
 */
int store_put_pair(key_serial_t ring, const char *type, const char *credential, const struct buffer *token, struct key_record *info,
	unsigned int timeout);

/* One line of /proc/key-users. false: it is not this owner's. */
bool store_read_quota(const char *line, uid_t owner, struct store_quota *quota);

/* store-own.c: what the calls of store.h do for a user's own broker, where one key is master and copy at once */
bool store_own_quota(const struct store *s, struct store_quota *quota);
int store_own_put(struct store *s, const char *credential, const struct buffer *token, const struct store_record *record);
int store_own_get(struct store *s, const char *credential, struct buffer *token, struct store_record *record);
int store_own_revoke(struct store *s, const char *credential);
bool store_own_has(struct store *s, const char *credential, const struct store_record *record);

#endif
