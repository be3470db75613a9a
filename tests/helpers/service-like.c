/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service-like private|shared|inherit USER COMMAND...: run it as that user in
 * the session keyring that a service manager gives to a service by its
 * KeyringMode= (systemd.exec(5)). libs: libkeyutils
 *
 * The new keyring is owned by who is real when it is made; the mark in it is
 * root's; only "shared" links the user keyring.
 */
#include <grp.h>
#include <keyutils.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

static int make_session(const struct passwd *pw, int is_shared)
{
	key_serial_t mark;

	if (setregid(pw->pw_gid, (gid_t)-1) < 0 || setreuid(pw->pw_uid, (uid_t)-1) < 0 || keyctl_join_session_keyring(NULL) < 0)
		return -1;
	if (is_shared && keyctl_link(KEY_SPEC_USER_KEYRING, KEY_SPEC_SESSION_KEYRING) < 0)
		return -1;
	if (setreuid(0, (uid_t)-1) < 0 || setregid(0, (gid_t)-1) < 0)
		return -1;
	mark = add_key("user", "invocation_id", "0123456789abcdef", 16, KEY_SPEC_SESSION_KEYRING);
	return mark < 0 ? -1 : (int)keyctl_setperm(mark, 0x0b0b0000);
}

int main(int argc, char **argv)
{
	const struct passwd *pw = argc > 3 ? getpwnam(argv[2]) : NULL;

	if (!pw || (strcmp(argv[1], "inherit") != 0 && make_session(pw, strcmp(argv[1], "shared") == 0) < 0))
		return 2;
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
		setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
		return 2;
	execvp(argv[3], argv + 3);
	return 127;
}
