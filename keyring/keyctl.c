/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/keyctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* include/linux/proc_ns.h: the inode of the first user namespace never changes. */
#define INITIAL_USER_NAMESPACE 0xEFFFFFFDu

bool key_ids_are_true(void)
{
	struct stat st;

	if (stat("/proc/self/ns/user", &st) == 0)
		return st.st_ino == INITIAL_USER_NAMESPACE;
	/* A kernel without user namespaces has the other ones there. */
	return errno == ENOENT && stat("/proc/self/ns/mnt", &st) == 0;
}

/* type;uid;gid;perm;name, and only the first four ';' part: a name may hold more of them. */
int key_describe(key_serial_t key, struct key_description *d)
{
	char text[4096 + 64];
	char *part[5], *at = text;
	long length = keyctl_describe(key, text, sizeof(text) - 1);

	if (length < 0)
		return -errno;
	if ((size_t)length >= sizeof(text))
		return -EMSGSIZE;
	text[length] = 0;
	for (int i = 0; i < 5; i++) {
		part[i] = at;
		if (i == 4)
			break;
		at = strchr(at, ';');
		if (!at)
			return -EBADMSG;
		*at++ = 0;
	}
	snprintf(d->type, sizeof(d->type), "%.31s", part[0]);
	d->uid = (uid_t)strtoul(part[1], NULL, 10);
	d->perm = (uint32_t)strtoul(part[3], NULL, 16);
	snprintf(d->name, sizeof(d->name), "%.*s", (int)sizeof(d->name) - 1, part[4]);
	return 0;
}

/* keyctl_read_alloc(3) does not wipe what it outgrows, so this is ours. A payload can grow between two calls. */
int key_read(key_serial_t key, struct buffer *b)
{
	size_t room = 2048;

	for (;;) {
		uint8_t *to = buffer_reserve(b, room);
		long length;

		if (!to)
			return -EMSGSIZE;
		length = keyctl_read(key, (char *)to, room);
		if (length < 0)
			return -errno;
		if ((size_t)length <= room) {
			b->length += (size_t)length;
			return 0;
		}
		room = (size_t)length;
	}
}

key_serial_t key_search(key_serial_t ring, const char *type, const char *name)
{
	long key = keyctl_search(ring, type, name, 0);

	return key < 0 ? -errno : (key_serial_t)key;
}

bool key_record_format(const struct key_record *record, struct buffer *b)
{
	if (!*record->broker)
		return buffer_printf(b, "v2 %d %" PRIu64 " %" PRIu64 " %s %" PRIu64 " %u %s", record->serial, record->expires,
			record->refresh, record->fingerprint, record->fetched, record->kind, record->definition);
	return buffer_printf(b, "v1 serial=%d expires=%" PRIu64 " refresh=%" PRIu64 " fingerprint=%s previous=%d:%" PRIu64 " broker=%s",
		record->serial, record->expires, record->refresh, record->fingerprint, record->previous, record->previous_expires,
		record->broker);
}

bool key_record_parse(const char *text, size_t length, struct key_record *record)
{
	char copy[512];
	int used = 0;

	if (length >= sizeof(copy))
		return false;
	memcpy(copy, text, length);
	copy[length] = 0;
	memset(record, 0, sizeof(*record));
	if (strncmp(copy, "v2 ", 3) == 0)
		return sscanf(copy, "v2 %d %" SCNu64 " %" SCNu64 " %8[0-9a-f] %" SCNu64 " %u %16[0-9a-f]%n", &record->serial,
			       &record->expires, &record->refresh, record->fingerprint, &record->fetched, &record->kind, record->definition,
			       &used) == 7 &&
		       (size_t)used == length;
	return sscanf(copy,
		       "v1 serial=%d expires=%" SCNu64 " refresh=%" SCNu64 " fingerprint=%8[0-9a-f] previous=%d:%" SCNu64
		       " broker=%107[^\n]%n",
		       &record->serial, &record->expires, &record->refresh, record->fingerprint, &record->previous,
		       &record->previous_expires, record->broker, &used) == 7 &&
	       (size_t)used == length;
}
