/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request-key DESCRIPTION [CALLOUT [RING]]: ask the kernel for a user key as a
 * program does, and print its number, what describes it and what it holds, or
 * the name of the error.
 *
 * libs: libkeyutils
 */
#include <errno.h>
#include <keyutils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int error(void)
{
	puts(strerrorname_np(errno));
	return 1;
}

int main(int argc, char **argv)
{
	char text[5000], payload[32768];
	key_serial_t key;
	long length;

	if (argc < 2)
		return 2;
	key = request_key("user", argv[1], argc > 2 ? argv[2] : "", argc > 3 ? atoi(argv[3]) : 0);
	if (key < 0 || keyctl_describe(key, text, sizeof(text)) < 0)
		return error();
	length = keyctl_read(key, payload, sizeof(payload));
	if (length < 0)
		return error();
	printf("%d %s %.*s\n", key, text, (int)length, payload);
	return 0;
}
