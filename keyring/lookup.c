/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/lookup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BROKER_UID 0u
/* A key may be replaced between search and read; that the same reader loses this race so often is not believable. */
#define TRIES 8

static bool is_unsupported(int error)
{
	return error == -EPERM || error == -ENOSYS || error == -ENODEV || error == -EDQUOT || error == -EOPNOTSUPP;
}

/*
 * The session keyring if it is the caller's own: one kept over sudo or su is
 * somebody else's. Told by its name: to ask for the user's default session
 * keyring would make one, and be charged for it.
 */
static key_serial_t own_session(void)
{
	char fallback[32];
	struct key_description d;
	long session = keyctl_get_keyring_ID(KEY_SPEC_SESSION_KEYRING, 0);

	if (session < 0 || getuid() != geteuid() || key_describe((key_serial_t)session, &d) < 0 || d.uid != geteuid())
		return 0;
	/* Writing to @s where it is only the default would make a new ring. */
	snprintf(fallback, sizeof(fallback), "_uid_ses.%u", geteuid());
	return strcmp(d.name, fallback) == 0 ? KEY_SPEC_USER_SESSION_KEYRING : KEY_SPEC_SESSION_KEYRING;
}

/*
 * A process keyring is charged to the user for each thread that makes one, and
 * no quota stops the kernel: a pool of threads, or a crowd of processes, would
 * leave him no key for his next login. Half of what he may have is left alone.
 */
static bool has_room(void)
{
	FILE *users = fopen("/proc/key-users", "re");
	char line[128];
	unsigned int uid;
	long keys, limit;
	bool ok = true;

	while (users && fgets(line, sizeof(line), users))
		if (sscanf(line, "%u: %*d %*d/%*d %ld/%ld", &uid, &keys, &limit) == 3 && uid == getuid())
			ok = keys < limit / 2;
	if (users)
		fclose(users);
	return ok;
}

static long link_to_process(void)
{
	if (keyctl_get_keyring_ID(KEY_SPEC_PROCESS_KEYRING, 0) < 0 && errno == ENOKEY && !has_room()) {
		errno = ENOKEY;
		return -1;
	}
	return keyctl_get_persistent(geteuid(), KEY_SPEC_PROCESS_KEYRING);
}

/*
 * The caller's persistent keyring, possessed one way or another. By effective
 * uid, as the broker's socket sees him. Root's session keyring is not touched:
 * what he starts as other users, by su or as a daemon, often keeps it, and would
 * read his tokens there; and where there is none, to ask for it gives the
 * process, and those others, the one that leads to all of root's keys.
 */
static key_serial_t persistent_ring(void)
{
	char name[32];
	struct key_description d;
	key_serial_t key, session;
	long got = -1;

	if (getuid() == 0 || geteuid() == 0) {
		got = link_to_process();
		return got < 0 ? -errno : (key_serial_t)got;
	}
	snprintf(name, sizeof(name), "_persistent.%u", geteuid());
	key = key_search(KEY_SPEC_SESSION_KEYRING, "keyring", name);
	if (key > 0 && key_describe(key, &d) == 0 && d.uid == geteuid())
		return key;
	session = own_session();
	if (session)
		got = keyctl_get_persistent(geteuid(), session);
	if (got < 0)
		got = link_to_process();
	return got < 0 ? -errno : (key_serial_t)got;
}

static bool is_genuine(const struct lookup *l, key_serial_t key, const char *type, const char *name, uint32_t perm)
{
	struct key_description d;

	return key_describe(key, &d) == 0 && d.uid == (l->own ? geteuid() : BROKER_UID) && d.perm == perm && strcmp(d.type, type) == 0 &&
	       strcmp(d.name, name) == 0;
}

/* In the user keyring of who asks and runs it. That other programs of his could forge it is between him and them. */
static int find_own_ring(struct lookup *l)
{
	char name[sizeof(KEY_ANCHOR_PREFIX) + KEY_BROKER_SIZE];
	key_serial_t ring;

	snprintf(name, sizeof(name), KEY_ANCHOR_PREFIX "%s", l->broker);
	ring = key_search(KEY_SPEC_USER_KEYRING, "keyring", name);
	if (ring < 0)
		return is_unsupported(ring) ? -EOPNOTSUPP : -ENOKEY;
	if (!is_genuine(l, ring, "keyring", name, KEY_ROOT_PERM))
		return -ENOKEY;
	l->ring = ring;
	return 0;
}

/*
 * Not the first ring of that name that the session leads to: that may be one
 * the user planted, or under sudo another user's. In a keyring no two rings
 * share a name, so the one directly in the persistent ring is found first.
 */
static int find_ring(struct lookup *l)
{
	key_serial_t persistent, ring;

	if (!key_ids_are_true())
		return -EOPNOTSUPP;
	if (l->own)
		return find_own_ring(l);
	persistent = persistent_ring();
	if (persistent < 0)
		return is_unsupported(persistent) ? -EOPNOTSUPP : -ENOKEY;
	ring = key_search(persistent, "keyring", KEY_RING);
	if (ring < 0 || !is_genuine(l, ring, "keyring", KEY_RING, KEY_RING_PERM))
		return -ENOKEY;
	l->ring = ring;
	return 0;
}

/* A root with two brokers, one for a trial, finds in his ring what the other one published. */
static bool is_meant(const struct lookup *l, const struct key_record *record)
{
	return l->own || !l->broker || strcmp(l->broker, record->broker) == 0;
}

static bool read_record(const struct lookup *l, const char *credential, struct key_record *record)
{
	char name[KEY_NAME_SIZE];
	struct buffer text;
	key_serial_t info;
	bool ok;

	snprintf(name, sizeof(name), KEY_INFO_PREFIX "%s", credential);
	buffer_init(&text, 4096);
	info = key_search(l->ring, "user", name);
	ok = info > 0 && is_genuine(l, info, "user", name, KEY_TOKEN_PERM) && key_read(info, &text) == 0 &&
	     key_record_parse((const char *)text.data, text.length, record);
	buffer_free(&text);
	return ok;
}

/* The key of that name, and its type. Only a user's own broker has tokens of another than the one. */
static key_serial_t find_token(const struct lookup *l, const char *name, const char **type)
{
	key_serial_t key = -ENOKEY;

	if (l->own)
		key = key_search(l->ring, *type = KEY_TYPE_BIG, name);
	return key > 0 ? key : key_search(l->ring, *type = KEY_TYPE_TOKEN, name);
}

/* Returns -EAGAIN when the key was replaced under our eyes. */
static int read_token(const struct lookup *l, const char *credential, struct buffer *token, struct lookup_hit *hit)
{
	char name[KEY_NAME_SIZE];
	const char *type;
	struct key_record record;
	key_serial_t key;

	snprintf(name, sizeof(name), KEY_TOKEN_PREFIX "%s", credential);
	key = find_token(l, name, &type);
	if (key < 0)
		return key == -EACCES ? -EAGAIN : -ENOKEY;
	if (!is_genuine(l, key, type, name, KEY_TOKEN_PERM) || key_read(key, token) < 0 || !read_record(l, credential, &record))
		return -EAGAIN;
	if (!is_meant(l, &record))
		return -ENOKEY;
	hit->serial = key;
	if (record.serial == key)
		hit->expires = (time_t)record.expires;
	else if (record.previous == key)
		hit->expires = (time_t)record.previous_expires;
	else
		return -EAGAIN;
	return hit->expires > time(NULL) ? 0 : -ENOKEY;
}

int lookup_token(struct lookup *l, const char *credential, struct buffer *token, struct lookup_hit *hit)
{
	int error = -ENOKEY;

	if (l->unsupported)
		return -EOPNOTSUPP;
	for (int i = 0; i < TRIES; i++) {
		if (l->ring == 0) {
			error = find_ring(l);
			if (error == -EOPNOTSUPP)
				l->unsupported = true;
			if (error < 0)
				return error;
		}
		buffer_clear(token);
		error = read_token(l, credential, token, hit);
		if (error == 0)
			return 0;
		/* The ring itself may have been replaced, or is gone: look for it again. */
		l->ring = 0;
		if (error != -EAGAIN && i > 0)
			break;
	}
	buffer_clear(token);
	return -ENOKEY;
}

bool lookup_stands(key_serial_t serial, size_t length)
{
	long got = keyctl_read(serial, NULL, 0);

	return got >= 0 && (size_t)got == length;
}
