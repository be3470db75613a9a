/* SPDX-License-Identifier: Apache-2.0 */
/* Key quotas, and rings that a user put where keyfobd puts its own. */
#include "cli/admin-doctor.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "keyring/keyctl.h"

#define TABLE_MAX (4u << 20) /* bytes of /proc/keys and /proc/key-users */
#define RING_MAX 64 /* keys of a user's ring that are looked at */
#define USERS_MAX 256
#define USER_SECONDS 2 /* each key that is described may mean a walk through all that he built */
#define USERS_MS 20000
#define NAME_ROOM 64

/* --- quotas ------------------------------------------------------------------------ */

struct quota {
	unsigned long keys, max_keys, bytes, max_bytes;
};

/* A line of /proc/key-users: "    0:    15 14/14 7/1000000 854/25000000". */
static bool find_quota(char *table, uid_t uid, struct quota *q)
{
	char *line;

	while ((line = strsep(&table, "\n"))) {
		unsigned int owner;

		if (sscanf(line, "%u: %*u %*u/%*u %lu/%lu %lu/%lu", &owner, &q->keys, &q->max_keys, &q->bytes, &q->max_bytes) == 5 &&
			owner == uid)
			return true;
	}
	return false;
}

static bool is_over(unsigned long used, unsigned long most, unsigned int percent)
{
	return most && used >= most / 100 * percent + most % 100 * percent / 100;
}

static void put_quota(struct doctor *d, uid_t uid, const struct quota *q)
{
	const char *root = uid == 0 ? "root_" : "", *subject = uid == 0 ? "quota of root" : "quota";
	unsigned int percent = uid == 0 ? 50 : 80;

	if (is_over(q->keys, q->max_keys, percent)) {
		doctor_warning(d, subject, "%lu of %lu keys: %s", q->keys, q->max_keys,
			uid == 0 ? "keyfobd puts no more copies into keyrings from half on, and serves by socket"
				 : "soon programs can make none");
		doctor_fix(d, "sysctl -w kernel.keys.%smaxkeys=%lu", root, 2 * q->max_keys);
	} else if (is_over(q->bytes, q->max_bytes, percent)) {
		doctor_warning(d, subject, "%lu of %lu bytes: %s", q->bytes, q->max_bytes,
			uid == 0 ? "keyfobd puts no more copies into keyrings from half on, and serves by socket"
				 : "soon programs can make none");
		doctor_fix(d, "sysctl -w kernel.keys.%smaxbytes=%lu", root, 2 * q->max_bytes);
	} else {
		doctor_ok(d, subject, "%lu of %lu keys, %lu of %lu bytes (kernel.keys.%smaxkeys, %smaxbytes)", q->keys, q->max_keys,
			q->bytes, q->max_bytes, root, root);
	}
}

static void check_quota(struct doctor *d, uid_t uid)
{
	struct quota q;
	struct buffer b;

	buffer_init(&b, TABLE_MAX + 8192);
	if (doctor_slurp(AT_FDCWD, "/proc/key-users", 0, TABLE_MAX, &b) && buffer_cstring(&b) && find_quota((char *)b.data, uid, &q))
		put_quota(d, uid, &q);
	buffer_free(&b);
}

/* --- a user, of himself -------------------------------------------------------------- */

static bool is_planted(key_serial_t key, uid_t *owner)
{
	struct key_description k;

	if (key_describe(key, &k) < 0 || strcmp(k.type, "keyring") != 0 || strcmp(k.name, KEY_RING) != 0 || k.uid == 0)
		return false;
	*owner = k.uid;
	return true;
}

/*
 * A description may hold a line end and so forge a line of /proc/keys: what looks like one is asked for. But a planted ring has a true
 * line, too, with its owner; and of root's there is one for each user.
 */
static void check_own(struct doctor *d)
{
	char *table, *line;
	int found = 0, asked = 0;
	struct buffer b;
	bool whole;

	buffer_init(&b, TABLE_MAX + 8192);
	table = doctor_slurp(AT_FDCWD, "/proc/keys", 0, TABLE_MAX, &b) && buffer_cstring(&b) ? (char *)b.data : NULL;
	whole = table;
	while (table && asked < RING_MAX && (line = strsep(&table, "\n"))) {
		unsigned int serial, uid;
		uid_t owner;

		if (sscanf(line, "%x %*s %*s %*s %*x %u", &serial, &uid) != 2 || uid == 0 || !strstr(line, " keyring   " KEY_RING ": "))
			continue;
		asked++;
		if (!is_planted((key_serial_t)serial, &owner))
			continue;
		found++;
		doctor_warning(d, "planted ring",
			"keyring %u is named " KEY_RING " and belongs to uid %u, not to root: programs go past it", serial, owner);
		doctor_fix(d, "keyctl revoke %u", serial);
	}
	if (asked == RING_MAX || (!whole && b.length)) {
		doctor_warning(d, "planted ring", "not all was looked at: somebody made /proc/keys very long");
		doctor_fix(d, "cut -c 1-80 /proc/keys shows whose keys those are");
	} else if (!found && b.length) {
		doctor_ok(d, "planted ring", "none of yours stands in the way");
	}
	buffer_free(&b);
}

/* --- root, of the users that the configuration names ------------------------------------ */

struct users {
	size_t count;
	char name[USERS_MAX][NAME_ROOM];
};

static void add_user(struct users *u, const char *name)
{
	if (strlen(name) >= NAME_ROOM || u->count == USERS_MAX)
		return;
	for (size_t i = 0; i < u->count; i++)
		if (strcmp(u->name[i], name) == 0)
			return;
	strcpy(u->name[u->count++], name);
}

static void find_users(const struct doctor *d, struct users *u)
{
	char name[NAME_ROOM];

	for (size_t i = 0; i < d->admin.config.count; i++) {
		size_t at = 0;

		while (doctor_next_user(&d->admin.config.sections[i], &at, name, sizeof(name)))
			add_user(u, name);
	}
	for (size_t i = 0; i < d->list.count; i++)
		for (size_t j = 0; j < d->list.item[i].count; j++)
			if (d->list.item[i].readers[j].state == WIRE_READER_COPY)
				add_user(u, d->list.item[i].readers[j].name);
}

/*
 * One level of his persistent keyring, and never a search: he may have built a maze below it. Writes serial, owner and his name
 * for each planted ring; serial 0 when there is more in it than is looked at, or it takes too long.
 */
static void look_through(const char *name, uid_t uid, int out)
{
	time_t end = time(NULL) + USER_SECONDS;
	long ring = keyctl_get_persistent(uid, KEY_SPEC_THREAD_KEYRING);
	key_serial_t keys[RING_MAX];
	long length = ring < 0 ? -1 : keyctl_read((key_serial_t)ring, (char *)keys, sizeof(keys));
	size_t count = length < 0 ? 0 : (size_t)length / sizeof(keys[0]), i;

	for (i = 0; i < count && i < RING_MAX && time(NULL) <= end; i++) {
		uid_t owner;

		if (is_planted(keys[i], &owner))
			dprintf(out, "%d %u %s\n", keys[i], owner, name);
	}
	if (i < count)
		dprintf(out, "0 0 %s\n", name);
	keyctl_clear(KEY_SPEC_THREAD_KEYRING);
}

/* In a process of its own: name services and rings take their time. */
static int look_through_all(void *arg, int out)
{
	const struct users *u = arg;

	for (size_t i = 0; i < u->count; i++) {
		const struct passwd *user = getpwnam(u->name[i]);

		if (user && user->pw_uid != 0)
			look_through(u->name[i], user->pw_uid, out);
	}
	return 0;
}

/* A line of look_through()'s. The name comes last: some name services have such with blanks. */
static void put_user(struct doctor *d, const char *line)
{
	char name[NAME_ROOM];
	unsigned int owner;
	int serial;

	if (sscanf(line, "%d %u %63[^\n]", &serial, &owner, name) != 3)
		return;
	if (serial) {
		doctor_warning(d, "planted ring",
			"%s has a ring " KEY_RING " of uid %u's in his persistent keyring where root's should be: he goes past it, "
			"to the socket",
			name, owner);
		doctor_fix(d, "su -s /bin/sh %s -c 'keyctl unlink %d $(keyctl get_persistent @s)'", name, serial);
	} else {
		doctor_warning(d, "planted ring", "%s has so much in his persistent keyring that not all of it was looked at", name);
		doctor_fix(d, "su -s /bin/sh %s -c 'keyctl list $(keyctl get_persistent @s)' shows it", name);
	}
}

static void check_users(struct doctor *d)
{
	struct users *users = calloc(1, sizeof(*users));
	size_t before = d->count;
	char *lines, *line;
	struct buffer answer;
	int code;

	buffer_init(&answer, 1u << 20);
	if (!users) {
		d->failed = true;
		goto out;
	}
	find_users(d, users);
	code = doctor_apart(look_through_all, users, USERS_MS, &answer);
	lines = (char *)(uintptr_t)buffer_cstring(&answer);
	while (lines && (line = strsep(&lines, "\n")))
		put_user(d, line);
	if (code)
		doctor_warning(d, "planted ring", "not all users' keyrings could be looked through in %d s", USERS_MS / 1000);
	else if (d->count == before && users->count)
		doctor_ok(d, "planted ring", "none in the persistent keyrings of %zu user%s", users->count, users->count == 1 ? "" : "s");
out:
	free(users);
	buffer_free(&answer);
}

void doctor_keyring(struct doctor *d)
{
	check_quota(d, geteuid());
	check_own(d);
	if (geteuid() == 0 && key_ids_are_true())
		check_users(d);
}
