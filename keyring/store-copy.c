/* SPDX-License-Identifier: Apache-2.0 */
/* Users' copies, and the rings that they lie in. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "keyring/store-inner.h"

/* As long as the kernel keeps an unused persistent keyring; stamped again at each publish and each daily relink. */
#define RING_TIMEOUT (3 * 86400)

static key_serial_t user_ring(struct store *s, uid_t uid, bool make)
{
	char name[32];
	key_serial_t holder;

	snprintf(name, sizeof(name), UID_PREFIX "%u", uid);
	holder = make ? store_sub_ring(s->anchor, name, KEY_ROOT_PERM, 0) : key_search(s->anchor, "keyring", name);
	if (holder < 0)
		return holder;
	return make ? store_sub_ring(holder, KEY_RING, KEY_RING_PERM, RING_TIMEOUT) : key_search(holder, "keyring", KEY_RING);
}

bool store_read_info(key_serial_t ring, const char *credential, struct key_record *info)
{
	char name[KEY_NAME_SIZE];
	struct buffer text;
	key_serial_t key;
	bool ok;

	snprintf(name, sizeof(name), KEY_INFO_PREFIX "%s", credential);
	key = key_search(ring, "user", name);
	if (key < 0)
		return false;
	buffer_init(&text, 4096);
	ok = key_read(key, &text) == 0 && key_record_parse((const char *)text.data, text.length, info);
	buffer_free(&text);
	return ok;
}

key_serial_t store_find_token(key_serial_t ring, const char *credential)
{
	char name[KEY_NAME_SIZE];

	snprintf(name, sizeof(name), KEY_TOKEN_PREFIX "%s", credential);
	return key_search(ring, KEY_TYPE_TOKEN, name);
}

int store_put_pair(key_serial_t ring, const char *type, const char *credential, const struct buffer *token, struct key_record *info,
	unsigned int timeout)
{
	char name[KEY_NAME_SIZE];
	struct buffer text;
	key_serial_t key, info_key;
	int error;

	snprintf(name, sizeof(name), KEY_TOKEN_PREFIX "%s", credential);
	key = store_stage(type, name, token, KEY_TOKEN_PERM, timeout);
	if (key < 0)
		return key;
	buffer_init(&text, 512);
	info->serial = key;
	snprintf(name, sizeof(name), KEY_INFO_PREFIX "%s", credential);
	error = key_record_format(info, &text) ? 0 : -ENOMEM;
	if (error == 0) {
		/* Of another name, so it does not disturb the token beside it in the stage. */
		info_key = add_key("user", name, text.data, text.length, KEY_SPEC_THREAD_KEYRING);
		error = info_key < 0 ? -errno : store_stamp(info_key, KEY_TOKEN_PERM, timeout);
		if (error == 0 && (keyctl_link(info_key, ring) < 0 || keyctl_link(key, ring) < 0))
			error = -errno;
	}
	store_stage_clear();
	buffer_free(&text);
	return error;
}

int store_revoke_pair(key_serial_t ring, const char *credential)
{
	char name[KEY_NAME_SIZE];
	int error, other;

	snprintf(name, sizeof(name), KEY_TOKEN_PREFIX "%s", credential);
	error = store_revoke_named(ring, KEY_TYPE_TOKEN, name);
	snprintf(name, sizeof(name), KEY_INFO_PREFIX "%s", credential);
	other = store_revoke_named(ring, "user", name);
	return error ? error : other;
}

/*
 * The info names the token that stands and the one that is coming: at no
 * moment, and after no crash, does a reader find a token without its expiry.
 */
int store_put_copy(struct store *s, uid_t uid, const char *credential, const struct buffer *token, const struct store_record *record)
{
	unsigned int timeout = store_clamp_timeout(record);
	struct key_record old = { 0 }, info = { .expires = record->expires, .refresh = record->refresh };
	key_serial_t ring, standing;

	if (s->own)
		return 0;
	if (!timeout)
		return -EKEYEXPIRED;
	if (store_is_full(s))
		return -EDQUOT;
	ring = user_ring(s, uid, true);
	if (ring < 0)
		return ring;
	keyctl_set_timeout(ring, RING_TIMEOUT);
	standing = store_find_token(ring, credential);
	if (standing > 0 && store_read_info(ring, credential, &old) && (old.serial == standing || old.previous == standing)) {
		info.previous = standing;
		info.previous_expires = old.serial == standing ? old.expires : old.previous_expires;
	}
	snprintf(info.broker, sizeof(info.broker), "%s", s->name + strlen(ANCHOR_PREFIX));
	memcpy(info.fingerprint, record->fingerprint, sizeof(info.fingerprint));
	return store_put_pair(ring, KEY_TYPE_TOKEN, credential, token, &info, timeout);
}

bool store_has_copy(struct store *s, uid_t uid, const char *credential, const struct store_record *record)
{
	struct key_record info;
	key_serial_t ring, key;

	if (s->own)
		return store_own_has(s, credential, record);
	ring = user_ring(s, uid, false);
	if (ring < 0)
		return false;
	key = store_find_token(ring, credential);
	return key > 0 && store_read_info(ring, credential, &info) && info.serial == key && info.expires == record->expires &&
	       strcmp(info.fingerprint, record->fingerprint) == 0;
}

int store_revoke_copy(struct store *s, uid_t uid, const char *credential)
{
	key_serial_t ring;

	/* It is the master itself, and stands as long as that. */
	if (s->own)
		return 0;
	ring = user_ring(s, uid, false);
	if (ring < 0)
		return ring == -ENOKEY || ring == -EKEYEXPIRED ? 0 : ring;
	return store_revoke_pair(ring, credential);
}

/* --- into the user's persistent keyring ---------------------------------------- */

struct holder_search {
	struct store *store;
	key_serial_t ring;
	bool found;
};

static void is_linked_here(void *arg, key_serial_t key, const struct key_description *d)
{
	struct holder_search *search = arg;

	if (strcmp(d->type, "keyring") == 0 && strcmp(d->name, KEY_RING) == 0 && key == search->ring)
		search->found = true;
}

static void look_in_uid_ring(void *arg, key_serial_t key, const struct key_description *d)
{
	if (store_after_prefix(d, UID_PREFIX))
		store_each_child(key, is_linked_here, arg);
}

static void look_in_anchor(void *arg, key_serial_t key, const struct key_description *d)
{
	struct holder_search *search = arg;

	if (store_after_prefix(d, ANCHOR_PREFIX) && d->uid == 0 && key != search->store->anchor)
		store_each_child(key, look_in_uid_ring, search);
}

/* Is this ring held by the anchor of another broker? */
static bool is_foreign(struct store *s, key_serial_t ring)
{
	struct holder_search search = { .store = s, .ring = ring };

	store_each_child(KEY_SPEC_USER_KEYRING, look_in_anchor, &search);
	return search.found;
}

/* The child of a user's keyring that bears our name, if root made it and it is not mine. */
static void look_for_rival(void *arg, key_serial_t key, const struct key_description *d)
{
	key_serial_t *rival = arg;

	if (strcmp(d->type, "keyring") == 0 && strcmp(d->name, KEY_RING) == 0 && d->uid == 0 && d->perm == KEY_RING_PERM)
		*rival = key;
}

int store_link_ring(struct store *s, uid_t uid)
{
	key_serial_t ring, rival = 0;
	long persistent;
	int error;

	if (s->own)
		return 0;
	ring = user_ring(s, uid, true);
	if (ring < 0)
		return ring;
	error = store_stage_clear();
	if (error < 0)
		return error;
	persistent = keyctl_get_persistent(uid, KEY_SPEC_THREAD_KEYRING);
	if (persistent < 0)
		return -errno;
	store_each_child((key_serial_t)persistent, look_for_rival, &rival);
	if (rival == ring)
		error = 0;
	else if (rival && is_foreign(s, rival))
		error = -EBUSY;
	else
		error = keyctl_link(ring, (key_serial_t)persistent) < 0 ? -errno : 0;
	store_stage_clear();
	if (error == 0 && keyctl_set_timeout(ring, RING_TIMEOUT) < 0)
		error = -errno;
	return error;
}
