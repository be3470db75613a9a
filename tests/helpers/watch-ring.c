/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch-ring FILE: until that file is there, look over and over at what is
 * linked into the caller's ring "keyfob", and count keys that stand there
 * without a timeout. libs: libkeyutils
 *
 * What is listed is linked already, so its row in /proc/keys, read later, must
 * show a timeout; a key that is gone by then has none.
 */
#include <keyutils.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_US 2000
#define KEYS_MAX 256

/* Is this the row of a key that is listed and never ends? */
static bool lacks_timeout(const char *row, const key_serial_t *listed, size_t count)
{
	unsigned int serial;
	char flags[16], timeout[16];
	int usage;

	if (sscanf(row, "%x %15s %d %15s", &serial, flags, &usage, timeout) != 4)
		return false;
	for (size_t i = 0; i < count; i++)
		if ((unsigned int)listed[i] == serial)
			return strcmp(timeout, "perm") == 0;
	return false;
}

static long look(const key_serial_t *listed, size_t count)
{
	FILE *keys = fopen("/proc/keys", "re");
	char row[4096];
	long bad = 0;

	while (keys && fgets(row, sizeof(row), keys)) {
		if (lacks_timeout(row, listed, count)) {
			bad++;
			fprintf(stderr, "watch-ring: %s", row);
		}
	}
	if (keys)
		fclose(keys);
	return bad;
}

int main(int argc, char **argv)
{
	key_serial_t listed[KEYS_MAX];
	long samples = 0, seen = 0, bad = 0;
	long persistent = keyctl_get_persistent((uid_t)-1, KEY_SPEC_SESSION_KEYRING);

	if (argc != 2 || persistent < 0)
		return 2;
	while (access(argv[1], F_OK) < 0) {
		long ring = keyctl_search((key_serial_t)persistent, "keyring", "keyfob", 0);
		long length = ring < 0 ? 0 : keyctl_read((key_serial_t)ring, (char *)listed, sizeof(listed));

		if (length > 0 && (size_t)length <= sizeof(listed)) {
			seen += length / (long)sizeof(*listed);
			bad += look(listed, (size_t)length / sizeof(*listed));
		}
		samples++;
		usleep(PAUSE_US);
	}
	printf("samples %ld keys %ld without timeout %ld\n", samples, seen, bad);
	return 0;
}
