/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/store-inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MASTER_PREFIX "keyfob-master:"
#define ASKED_PREFIX "keyfob-asked:"
#define MASTER_TOKEN "keyfob-token"
#define MASTER_RECORD "keyfob-record"
#define RECORD_VERSION 1

/* --- staging ---------------------------------------------------------------- */

/*
 * A key of the same name left in the stage would be updated in place by
 * add_key(2), wherever else it is linked, and lose its timeout: so the stage
 * is emptied first. ENOKEY: there is none yet.
 */
int store_stage_clear(void)
{
	if (keyctl_clear(KEY_SPEC_THREAD_KEYRING) < 0 && errno != ENOKEY)
		return -errno;
	return 0;
}

int store_stamp(key_serial_t key, uint32_t perm, unsigned int timeout)
{
	if (keyctl_setperm(key, perm) < 0)
		return -errno;
	if (timeout && keyctl_set_timeout(key, timeout) < 0)
		return -errno;
	return 0;
}

key_serial_t store_stage(const char *type, const char *name, const struct buffer *payload, uint32_t perm, unsigned int timeout)
{
	key_serial_t key;
	int error = store_stage_clear();

	if (error < 0)
		return error;
	key = add_key(type, name, payload ? payload->data : NULL, payload ? payload->length : 0, KEY_SPEC_THREAD_KEYRING);
	if (key < 0)
		return -errno;
	error = store_stamp(key, perm, timeout);
	if (error < 0) {
		store_stage_clear();
		return error;
	}
	return key;
}

/* Stage, stamp, link: the new key takes the place of one of the same name in one step. */
static key_serial_t publish(key_serial_t ring, const char *name, const struct buffer *payload, uint32_t perm, unsigned int timeout)
{
	key_serial_t key = store_stage("user", name, payload, perm, timeout);
	int error;

	if (key < 0)
		return key;
	error = keyctl_link(key, ring) < 0 ? -errno : 0;
	store_stage_clear();
	return error < 0 ? error : key;
}

key_serial_t store_sub_ring(key_serial_t parent, const char *name, uint32_t perm, unsigned int timeout)
{
	key_serial_t ring = key_search(parent, "keyring", name);
	int error;

	if (ring > 0)
		return ring;
	ring = store_stage("keyring", name, NULL, perm, timeout);
	if (ring < 0)
		return ring;
	error = keyctl_link(ring, parent) < 0 ? -errno : 0;
	store_stage_clear();
	return error < 0 ? error : ring;
}

int store_revoke_named(key_serial_t ring, const char *type, const char *name)
{
	key_serial_t key = key_search(ring, type, name);

	if (key == -ENOKEY)
		return 0;
	if (key > 0 && keyctl_revoke(key) < 0)
		key = -errno;
	if (key < 0)
		return key == -EKEYREVOKED || key == -EKEYEXPIRED ? 1 : key;
	keyctl_unlink(key, ring);
	return 0;
}

/* --- root's quota --------------------------------------------------------------- */

void store_watch_quota(struct store *s)
{
	s->quota_fd = open("/proc/key-users", O_RDONLY | O_CLOEXEC);
	s->quota_read = -1;
	s->quota_full = false;
}

/* A line of /proc/key-users: "  1088:     3 3/3 3/200 96/20000". */
bool store_read_quota(const char *line, uid_t owner, struct store_quota *quota)
{
	unsigned int uid;

	return sscanf(line, " %u: %*u %*u/%*u %lu/%lu %lu/%lu", &uid, &quota->keys, &quota->max_keys, &quota->bytes, &quota->max_bytes) ==
		       5 &&
	       uid == owner;
}

/* Root's line stands first: they are in the order of the uids. */
bool store_quota(const struct store *s, struct store_quota *quota)
{
	char text[256];
	ssize_t length;

	if (s->own)
		return store_own_quota(s, quota);
	length = s->quota_fd < 0 ? -1 : pread(s->quota_fd, text, sizeof(text) - 1, 0);
	if (length <= 0)
		return false;
	text[length] = 0;
	return store_read_quota(text, 0, quota);
}

/* Once a second is enough: in one second nobody fills half of what root may have. */
bool store_is_full(struct store *s)
{
	struct store_quota quota;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (s->quota_read != now.tv_sec) {
		s->quota_read = now.tv_sec;
		s->quota_full = store_quota(s, &quota) && (quota.keys > quota.max_keys / 2 || quota.bytes > quota.max_bytes / 2);
	}
	return s->quota_full;
}

/* --- the anchor -------------------------------------------------------------- */

static key_serial_t find_anchor(struct store *s)
{
	struct key_description d;
	key_serial_t key = key_search(KEY_SPEC_USER_KEYRING, "keyring", s->name);

	if (key < 0)
		return key;
	if (key_describe(key, &d) < 0 || d.uid != (s->own ? geteuid() : 0) || d.perm != KEY_ROOT_PERM || strcmp(d.name, s->name) != 0)
		return -EPERM;
	return key;
}

int store_open(struct store *s, const char *socket_path)
{
	int length = snprintf(s->name, sizeof(s->name), ANCHOR_PREFIX "%s", socket_path);

	if (length < 0 || (size_t)length >= sizeof(s->name))
		return -ENAMETOOLONG;
	return store_open_anchor(s);
}

int store_open_anchor(struct store *s)
{
	key_serial_t key = find_anchor(s);

	if (key == -ENOKEY)
		key = store_sub_ring(KEY_SPEC_USER_KEYRING, s->name, KEY_ROOT_PERM, 0);
	if (key < 0)
		return key;
	s->anchor = key;
	return 0;
}

/* --- walking ----------------------------------------------------------------- */

int store_each_child(key_serial_t ring, void (*call)(void *arg, key_serial_t key, const struct key_description *d), void *arg)
{
	struct buffer list;
	struct key_description d;
	int error;

	buffer_init(&list, 16u << 20);
	error = key_read(ring, &list);
	for (size_t at = 0; at + sizeof(key_serial_t) <= list.length; at += sizeof(key_serial_t)) {
		key_serial_t key;
		int fault;

		memcpy(&key, list.data + at, sizeof(key));
		fault = key_describe(key, &d);
		if (fault == 0)
			call(arg, key, &d);
		else if (fault != -ENOKEY)
			error = fault;
	}
	buffer_free(&list);
	return error == -ENOKEY ? 0 : error;
}

const char *store_after_prefix(const struct key_description *d, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(d->name, prefix, length) == 0 ? d->name + length : NULL;
}

struct walk {
	void (*credential)(void *arg, const char *credential);
	void (*copy)(void *arg, uid_t uid, const char *credential);
	void *arg;
	uid_t uid;
	int error;
};

static void walk_credential(void *arg, key_serial_t key, const struct key_description *d)
{
	struct walk *walk = arg;
	const char *name = store_after_prefix(d, MASTER_PREFIX);

	(void)key;
	if (!name)
		name = store_after_prefix(d, ASKED_PREFIX);
	if (!name)
		name = store_after_prefix(d, KEY_TOKEN_PREFIX);
	if (name)
		walk->credential(walk->arg, name);
}

int store_each_credential(struct store *s, void (*call)(void *arg, const char *credential), void *arg)
{
	struct walk walk = { .credential = call, .arg = arg };

	return store_each_child(s->anchor, walk_credential, &walk);
}

static void walk_copy(void *arg, key_serial_t key, const struct key_description *d)
{
	struct walk *walk = arg;
	const char *name = store_after_prefix(d, KEY_TOKEN_PREFIX);

	(void)key;
	if (name)
		walk->copy(walk->arg, walk->uid, name);
}

static void walk_uid(void *arg, key_serial_t key, const struct key_description *d)
{
	struct walk *walk = arg;
	const char *uid = store_after_prefix(d, UID_PREFIX);
	key_serial_t ring;
	int error;

	if (!uid)
		return;
	walk->uid = (uid_t)strtoul(uid, NULL, 10);
	ring = key_search(key, "keyring", KEY_RING);
	error = ring > 0 ? store_each_child(ring, walk_copy, walk) : ring == -ENOKEY ? 0 : ring;
	if (error < 0)
		walk->error = error;
}

int store_each_copy(struct store *s, void (*call)(void *arg, uid_t uid, const char *credential), void *arg)
{
	struct walk walk = { .copy = call, .arg = arg };
	int error = store_each_child(s->anchor, walk_uid, &walk);

	return error < 0 ? error : walk.error;
}

static void revoke_child(void *arg, key_serial_t key, const struct key_description *d)
{
	if (strcmp(d->type, "keyring") == 0)
		store_each_child(key, revoke_child, arg);
	keyctl_revoke(key);
}

int store_purge(struct store *s)
{
	key_serial_t anchor = find_anchor(s);

	if (anchor == -ENOKEY)
		return 0;
	if (anchor < 0)
		return anchor;
	store_each_child(anchor, revoke_child, NULL);
	keyctl_revoke(anchor);
	return keyctl_unlink(anchor, KEY_SPEC_USER_KEYRING) < 0 ? -errno : 0;
}

/* --- master copies ------------------------------------------------------------ */

void store_record_free(struct store_record *record)
{
	free(record->definition);
	record->definition = NULL;
}

int64_t store_timeout(const struct store_record *record, uint64_t now)
{
	int64_t life = (int64_t)(record->expires - record->fetched);
	int64_t margin = life / 60;

	margin = margin < 1 ? 1 : margin > 60 ? 60 : margin;
	return (int64_t)record->expires - margin - (int64_t)now;
}

unsigned int store_clamp_timeout(const struct store_record *record)
{
	int64_t left = store_timeout(record, (uint64_t)time(NULL));

	return left < 1 ? 0 : left > INT32_MAX ? INT32_MAX : (unsigned int)left;
}

static bool put_record(struct buffer *b, const struct store_record *record)
{
	buffer_put_u8(b, RECORD_VERSION);
	buffer_put_u64(b, record->fetched);
	buffer_put_u64(b, record->expires);
	buffer_put_u64(b, record->refresh);
	buffer_put_u8(b, record->kind);
	buffer_put_text(b, record->fingerprint);
	buffer_put_text(b, record->issuer);
	buffer_put_text(b, record->audience);
	buffer_put_text(b, record->subject);
	return buffer_put_text(b, record->definition);
}

static bool get_record(const struct buffer *b, struct store_record *record)
{
	struct reader r;

	reader_init(&r, b->data, b->length);
	if (reader_u8(&r) != RECORD_VERSION)
		return false;
	record->fetched = reader_u64(&r);
	record->expires = reader_u64(&r);
	record->refresh = reader_u64(&r);
	record->kind = reader_u8(&r);
	reader_text(&r, record->fingerprint, sizeof(record->fingerprint));
	reader_text(&r, record->issuer, sizeof(record->issuer));
	reader_text(&r, record->audience, sizeof(record->audience));
	reader_text(&r, record->subject, sizeof(record->subject));
	record->definition = reader_dup(&r, WIRE_TOKEN_MAX);
	if (reader_done(&r))
		return true;
	store_record_free(record);
	return false;
}

/* Add a stamped key to a ring that nobody else knows yet. */
static int fill(key_serial_t ring, const char *name, const struct buffer *payload, unsigned int timeout)
{
	key_serial_t key = add_key("user", name, payload->data, payload->length, ring);

	return key < 0 ? -errno : store_stamp(key, KEY_ROOT_PERM, timeout);
}

int store_put_master(struct store *s, const char *credential, const struct buffer *token, const struct store_record *record)
{
	char name[KEY_NAME_SIZE + 8];
	unsigned int timeout = store_clamp_timeout(record);
	struct buffer text;
	key_serial_t ring;
	int error;

	if (s->own)
		return store_own_put(s, credential, token, record);
	if (!timeout)
		return -EKEYEXPIRED;
	if (store_is_full(s))
		return -EDQUOT;
	snprintf(name, sizeof(name), MASTER_PREFIX "%s", credential);
	buffer_init(&text, WIRE_TOKEN_MAX);
	ring = store_stage("keyring", name, NULL, KEY_ROOT_PERM, 0);
	error = ring < 0 ? ring : put_record(&text, record) ? 0 : -EMSGSIZE;
	if (error == 0)
		error = fill(ring, MASTER_TOKEN, token, timeout);
	if (error == 0)
		error = fill(ring, MASTER_RECORD, &text, timeout);
	if (error == 0 && keyctl_link(ring, s->anchor) < 0)
		error = -errno;
	store_stage_clear();
	buffer_free(&text);
	return error;
}

int store_get_master(struct store *s, const char *credential, struct buffer *token, struct store_record *record)
{
	char name[KEY_NAME_SIZE + 8];
	struct buffer text;
	key_serial_t ring, key;
	int error = -ENOKEY;

	memset(record, 0, sizeof(*record));
	if (s->own)
		return store_own_get(s, credential, token, record);
	snprintf(name, sizeof(name), MASTER_PREFIX "%s", credential);
	ring = key_search(s->anchor, "keyring", name);
	if (ring < 0)
		return -ENOKEY;
	buffer_init(&text, WIRE_TOKEN_MAX);
	key = key_search(ring, "user", MASTER_RECORD);
	if (key < 0 || key_read(key, &text) < 0 || !get_record(&text, record))
		goto out;
	key = key_search(ring, "user", MASTER_TOKEN);
	if (key > 0)
		error = key_read(key, token);
	if (error < 0) {
		store_record_free(record);
		error = -ENOKEY;
	}
out:
	buffer_free(&text);
	return error;
}

int store_revoke_master(struct store *s, const char *credential)
{
	char name[KEY_NAME_SIZE + 8];
	key_serial_t ring;
	int error, other;

	if (s->own)
		return store_own_revoke(s, credential);
	snprintf(name, sizeof(name), MASTER_PREFIX "%s", credential);
	ring = key_search(s->anchor, "keyring", name);
	if (ring < 0)
		return ring == -ENOKEY ? 0 : ring;
	error = store_revoke_named(ring, "user", MASTER_TOKEN);
	other = store_revoke_named(ring, "user", MASTER_RECORD);
	if (error >= 0 && other >= 0 && keyctl_unlink(ring, s->anchor) < 0)
		error = -errno;
	return error ? error : other;
}

/* --- who asked ---------------------------------------------------------------- */

int store_put_asked(struct store *s, const char *credential, const struct store_asker *askers, size_t count, unsigned int timeout)
{
	char name[KEY_NAME_SIZE + 8];
	struct buffer b;
	key_serial_t key;

	if (s->own)
		return 0;
	snprintf(name, sizeof(name), ASKED_PREFIX "%s", credential);
	if (count == 0)
		return store_revoke_named(s->anchor, "user", name) < 0 ? -EAGAIN : 0;
	buffer_init(&b, WIRE_TOKEN_MAX);
	for (size_t i = 0; i < count && i < STORE_ASKERS_MAX; i++) {
		buffer_put_u32(&b, askers[i].uid);
		buffer_put_u64(&b, askers[i].when);
	}
	key = publish(s->anchor, name, &b, KEY_ROOT_PERM, timeout);
	buffer_free(&b);
	return key < 0 ? key : 0;
}

int store_get_asked(struct store *s, const char *credential, struct store_asker *askers, size_t max)
{
	char name[KEY_NAME_SIZE + 8];
	struct buffer b;
	struct reader r;
	key_serial_t key;
	size_t count = 0;

	snprintf(name, sizeof(name), ASKED_PREFIX "%s", credential);
	key = key_search(s->anchor, "user", name);
	if (key < 0)
		return 0;
	buffer_init(&b, WIRE_TOKEN_MAX);
	if (key_read(key, &b) == 0) {
		reader_init(&r, b.data, b.length);
		while (count < max && r.left >= 12) {
			askers[count].uid = reader_u32(&r);
			askers[count++].when = reader_u64(&r);
		}
	}
	buffer_free(&b);
	return (int)count;
}
