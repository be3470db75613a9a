/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store of a user's own broker (keyfobd --user). All keys are his and so is
 * the quota, 20,000 bytes unless root raised it, so a token is one key: the
 * broker's and the readers' at once.
 *
 *   his user keyring
 *     keyring keyfob-broker:SOCKET       the anchor, which readers look for by the name of their socket
 *       big_key keyfob:CREDENTIAL        the token's bytes and nothing else; of type user where the kernel has no big_key
 *       user keyfob-info:CREDENTIAL      struct key_record, short form
 *
 * He may do to them what he likes; every call copes with what he removed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "keyring/store-inner.h"

/* Left to his other programs: with a quota used up to the end he could not even log in. */
#define RESERVE_BYTES 200
#define RESERVE_KEYS 10
#define BIG_KEY_BYTES 16 /* security/keys/big_key.c: what is charged for its payload */
#define BESIDE_TOKEN 120 /* two descriptions but for the credential's name, the record, the links */
/* Unlinked keys are collected, and give back their quota, a moment later. */
#define COLLECT_ROUNDS 50
#define COLLECT_MS 10

/* There is a line for each user that has keys. */
bool store_own_quota(const struct store *s, struct store_quota *quota)
{
	int fd = s->quota_fd < 0 ? -1 : dup(s->quota_fd);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char line[256];
	bool found = false;

	if (f) {
		rewind(f);
		while (!found && fgets(line, sizeof(line), f))
			found = store_read_quota(line, geteuid(), quota);
		fclose(f);
	} else if (fd >= 0) {
		close(fd);
	}
	return found;
}

static bool has_room(const struct store *s, size_t bytes)
{
	struct store_quota quota;

	return !store_own_quota(s, &quota) ||
	       (quota.keys + 2 + RESERVE_KEYS <= quota.max_keys && quota.bytes + bytes + RESERVE_BYTES <= quota.max_bytes);
}

/* What has ended is charged until the kernel forgets it, minutes later; unlinked, at once. Returns whether there was any. */
static bool sweep(key_serial_t ring)
{
	struct key_description d;
	struct buffer list;
	bool found = false;

	buffer_init(&list, 1u << 20);
	if (key_read(ring, &list) == 0) {
		for (size_t at = 0; at + sizeof(key_serial_t) <= list.length; at += sizeof(key_serial_t)) {
			key_serial_t key;
			int error;

			memcpy(&key, list.data + at, sizeof(key));
			error = key_describe(key, &d);
			if ((error == -EKEYEXPIRED || error == -EKEYREVOKED) && keyctl_unlink(key, ring) == 0)
				found = true;
		}
	}
	buffer_free(&list);
	return found;
}

static int revoke_type(struct store *s, const char *type, const char *credential)
{
	char name[KEY_NAME_SIZE];

	snprintf(name, sizeof(name), KEY_TOKEN_PREFIX "%s", credential);
	return store_revoke_named(s->anchor, type, name);
}

int store_own_revoke(struct store *s, const char *credential)
{
	int error = revoke_type(s, KEY_TYPE_BIG, credential);
	int other = store_revoke_pair(s->anchor, credential);

	return error ? error : other;
}

/* What stands may be of either type: a broker that knew no big_key may have made it. */
static key_serial_t find_token(struct store *s, const char *credential)
{
	char name[KEY_NAME_SIZE];
	key_serial_t key;

	snprintf(name, sizeof(name), KEY_TOKEN_PREFIX "%s", credential);
	key = key_search(s->anchor, KEY_TYPE_BIG, name);
	return key > 0 ? key : store_find_token(s->anchor, credential);
}

static int put_as(struct store *s, const char *type, const char *credential, const struct buffer *token, const struct store_record *record,
	unsigned int timeout)
{
	bool big = strcmp(type, KEY_TYPE_BIG) == 0;
	struct key_record info = {
		.expires = record->expires, .refresh = record->refresh, .fetched = record->fetched, .kind = record->kind
	};
	int error;

	if (!has_room(s, (big ? BIG_KEY_BYTES : token->length) + 2 * strlen(credential) + BESIDE_TOKEN))
		return -EDQUOT;
	memcpy(info.fingerprint, record->fingerprint, sizeof(info.fingerprint));
	snprintf(info.definition, sizeof(info.definition), "%s", record->definition ? record->definition : "0");
	error = store_put_pair(s->anchor, type, credential, token, &info, timeout);
	/* A link replaces only what is of the same type. Until this is done no reader takes either for the other: see the record. */
	if (error == 0)
		error = revoke_type(s, big ? KEY_TYPE_TOKEN : KEY_TYPE_BIG, credential);
	return error < 0 ? error : 0;
}

/* ENODEV: the kernel was built without (CONFIG_BIG_KEYS). */
static int put(struct store *s, const char *credential, const struct buffer *token, const struct store_record *record, unsigned int timeout)
{
	int error = s->no_big_key ? -ENODEV : put_as(s, KEY_TYPE_BIG, credential, token, record, timeout);

	if (error != -ENODEV)
		return error;
	s->no_big_key = true;
	return put_as(s, KEY_TYPE_TOKEN, credential, token, record, timeout);
}

int store_own_put(struct store *s, const char *credential, const struct buffer *token, const struct store_record *record)
{
	static const struct timespec moment = { .tv_nsec = COLLECT_MS * 1000000 };
	unsigned int timeout = store_clamp_timeout(record);
	bool old, swept;
	int error;

	if (!timeout)
		return -EKEYEXPIRED;
	/* It may be gone with all of his keyring (keyctl clear @u). */
	error = store_open_anchor(s);
	if (error == 0)
		error = put(s, credential, token, record, timeout);
	if (error != -EDQUOT)
		return error;
	/* No room for the new one beside the old one: then in its place. */
	old = find_token(s, credential) > 0 && store_own_revoke(s, credential) >= 0;
	swept = sweep(s->anchor);
	for (int i = 0; error == -EDQUOT && (old || swept) && i < COLLECT_ROUNDS; i++) {
		nanosleep(&moment, NULL);
		error = put(s, credential, token, record, timeout);
	}
	return error;
}

int store_own_get(struct store *s, const char *credential, struct buffer *token, struct store_record *record)
{
	struct key_record info;
	key_serial_t key = find_token(s, credential);

	/* A crash between the two leaves a token with the record of another: not to be believed. */
	if (key < 0 || !store_read_info(s->anchor, credential, &info) || info.serial != key || key_read(key, token) < 0)
		return -ENOKEY;
	record->definition = strdup(info.definition);
	if (!record->definition)
		return -ENOMEM;
	record->fetched = info.fetched;
	record->expires = info.expires;
	record->refresh = info.refresh;
	record->kind = (uint8_t)info.kind;
	memcpy(record->fingerprint, info.fingerprint, sizeof(record->fingerprint));
	return 0;
}

bool store_own_has(struct store *s, const char *credential, const struct store_record *record)
{
	struct key_record info;
	key_serial_t key = find_token(s, credential);

	/* An anchor that he unlinked may live on for a while, but no reader finds it. */
	return key > 0 && key_search(KEY_SPEC_USER_KEYRING, "keyring", s->name) == s->anchor &&
	       store_read_info(s->anchor, credential, &info) && info.serial == key && info.expires == record->expires &&
	       strcmp(info.fingerprint, record->fingerprint) == 0;
}
