/* SPDX-License-Identifier: Apache-2.0 */
/* What keyring/ calls of libkeyutils, and no more: a stranger's process is not made to load it (keyctl(2)). */
#include <keyutils.h>
#include <sys/syscall.h>
#include <unistd.h>

key_serial_t keyctl_get_keyring_ID(key_serial_t id, int create)
{
	return (key_serial_t)syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, id, create);
}

long keyctl_describe(key_serial_t key, char *buffer, size_t size)
{
	return syscall(SYS_keyctl, KEYCTL_DESCRIBE, key, buffer, size);
}

long keyctl_search(key_serial_t ring, const char *type, const char *name, key_serial_t destination)
{
	return syscall(SYS_keyctl, KEYCTL_SEARCH, ring, type, name, destination);
}

long keyctl_read(key_serial_t key, char *buffer, size_t size)
{
	return syscall(SYS_keyctl, KEYCTL_READ, key, buffer, size);
}

long keyctl_get_persistent(uid_t uid, key_serial_t ring)
{
	return syscall(SYS_keyctl, KEYCTL_GET_PERSISTENT, uid, ring);
}
