/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sudo-like UID CREDENTIAL COMMAND...: run it as root in a session keyring of
 * that user's, as sudo and su do. The user has filled it with his persistent
 * keyring, and with a ring and keys that look like root's. libs: libkeyutils
 */
#include <keyutils.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	uid_t user = argc > 3 ? (uid_t)strtoul(argv[1], NULL, 10) : 0;
	key_serial_t ring;
	char name[128];

	if (user == 0 || setresuid(user, user, 0) < 0 || keyctl_join_session_keyring(NULL) < 0 ||
		keyctl_get_persistent(user, KEY_SPEC_SESSION_KEYRING) < 0)
		return 2;
	ring = add_key("keyring", "_persistent.0", NULL, 0, KEY_SPEC_SESSION_KEYRING);
	ring = add_key("keyring", "keyfob", NULL, 0, ring);
	snprintf(name, sizeof(name), "keyfob:%s", argv[2]);
	if (ring < 0 || add_key("user", name, "forged", 6, ring) < 0 || add_key("user", name, "forged", 6, KEY_SPEC_SESSION_KEYRING) < 0)
		return 2;
	if (setresuid(0, 0, 0) < 0)
		return 2;
	execvp(argv[3], argv + 3);
	return 127;
}
