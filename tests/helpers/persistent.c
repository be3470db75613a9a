/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's keyrings of many users. libs: libkeyutils
 *
 *   persistent count FIRST COUNT    how many of these uids have a ring keyfob in theirs, and how many keys these hold in all
 *   persistent revoke FIRST COUNT   revoke each
 */
#include <keyutils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys of the ring of root's by that name; -1 when there is none. */
static long count(key_serial_t persistent)
{
	key_serial_t keys[64];
	long length = keyctl_read(persistent, (char *)keys, sizeof(keys));

	for (long i = 0; i < length / (long)sizeof(keys[0]) && i < 64; i++) {
		char text[256];

		if (keyctl_describe(keys[i], text, sizeof(text)) > 0 && strncmp(text, "keyring;0;0;", 12) == 0 &&
			strcmp(strrchr(text, ';'), ";keyfob") == 0)
			return keyctl_read(keys[i], NULL, 0) / (long)sizeof(key_serial_t);
	}
	return -1;
}

int main(int argc, char **argv)
{
	unsigned long first = argc == 4 ? strtoul(argv[2], NULL, 10) : 0, users = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	long rings = 0, keys = 0;

	if (!users)
		return 2;
	for (unsigned long i = 0; i < users; i++) {
		key_serial_t persistent = (key_serial_t)keyctl_get_persistent((uid_t)(first + i), KEY_SPEC_PROCESS_KEYRING);
		long found = persistent < 0 ? -1 : count(persistent);

		if (strcmp(argv[1], "revoke") == 0 && persistent >= 0)
			keyctl_revoke(persistent);
		rings += found >= 0;
		keys += found >= 0 ? found : 0;
		keyctl_clear(KEY_SPEC_PROCESS_KEYRING);
	}
	printf("%ld rings %ld keys\n", rings, keys);
	return 0;
}
