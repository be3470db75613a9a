/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/keys, where any user's descriptions stand, and /proc/PID/status, as
 * keyfob-request-key reads them.
 *
 * links: broker/request-key-who
 * libs: libkeyutils
 * parser: broker/request-key-who
 */
#include "broker/request-key-who.h"
#include "tests/fuzz/fuzz.h"

#define AUTH 0x1fc8a25b
#define KEY 0x2b1a3d44

static FILE *open_bytes(const uint8_t *data, size_t size)
{
	return fmemopen((void *)(uintptr_t)data, size, "r");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct who who;
	FILE *file;

	if (!size || size > FUZZ_MAX)
		return 0;
	file = open_bytes(data, size);
	fuzz_require(file);
	who_thread(file, AUTH, KEY);
	fclose(file);
	file = open_bytes(data, size);
	fuzz_require(file);
	if (who_read(file, &who) == 0)
		free(who.groups);
	fclose(file);
	return 0;
}

void fuzz_seeds(void)
{
	fuzz_text("1fc8a25b I--Q---     1 perm 0b0b0000     0     0 .request_ key:2b1a3d44 pid:4711 ci:0\n"
		  "2b1a3d44 --N-Q--     2 expd 3f1f0000  1000  1000 user      keyfob:atlas\n");
	fuzz_text("1fc8a25b I--Q---     1 3d 0b0b0000     0     0 user      x\n1fc8a25b I--Q--- 1 perm 0b0b0000 0 0 .request_ key:2b1a3d44 "
		  "pid:1 ci:0");
	fuzz_text("Name:\tcat\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nFDSize:\t64\nGroups:\t4 24 1000 \n"
		  "NStgid:\t42\nNSpid:\t42\n");
	fuzz_text("Name:\tcat\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t\nGroups:\t1 2\nNSpid:\t42\t7\n");
}
