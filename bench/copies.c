/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What root sees of users' copies in the anchor of a broker (keyring/store.h):
 *
 *   copies wait SOCKET COUNT                            waits until there are so many in all
 *   copies renewed SOCKET UID CREDENTIAL COMMAND...     runs a command and tells in how many ns, from its start, that copy is another one
 *   copies forget FIRST COUNT                           revokes the persistent keyrings of these uids
 *
 * libs: libkeyutils
 */
#include <keyutils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"

#define SECONDS 120

static key_serial_t anchor_of(const char *socket_path)
{
	char name[160];

	snprintf(name, sizeof(name), "keyfob-broker:%s", socket_path);
	return (key_serial_t)keyctl_search(KEY_SPEC_USER_KEYRING, "keyring", name, 0);
}

/* Each user's holder has one ring, and that has a token and its record for each copy. */
static unsigned long count_copies(key_serial_t anchor)
{
	key_serial_t *keys = NULL;
	int length = keyctl_read_alloc(anchor, (void **)&keys);
	unsigned long count = 0;

	for (size_t i = 0; length > 0 && i < (size_t)length / sizeof(*keys); i++) {
		char text[256];
		long ring;

		if (keyctl_describe(keys[i], text, sizeof(text)) < 0 || !strstr(text, ";keyfob-uid:"))
			continue;
		ring = keyctl_search(keys[i], "keyring", "keyfob", 0);
		if (ring > 0)
			count += (unsigned long)keyctl_read((key_serial_t)ring, NULL, 0) / sizeof(key_serial_t) / 2;
	}
	free(keys);
	return count;
}

static bool wait_for_all(const char *socket_path, unsigned long wanted)
{
	double end = bench_now() + SECONDS * 1e9;
	unsigned long count;

	while ((count = count_copies(anchor_of(socket_path))) != wanted && bench_now() < end)
		usleep(50000);
	if (count != wanted)
		fprintf(stderr, "copies: %lu, where there should be %lu\n", count, wanted);
	return count == wanted;
}

/* -1: not there */
static key_serial_t copy_of(const char *socket_path, const char *uid, const char *credential)
{
	char holder[32], token[80];
	long key = anchor_of(socket_path);

	snprintf(holder, sizeof(holder), "keyfob-uid:%s", uid);
	snprintf(token, sizeof(token), "keyfob:%s", credential);
	if (key > 0)
		key = keyctl_search((key_serial_t)key, "keyring", holder, 0);
	if (key > 0)
		key = keyctl_search((key_serial_t)key, "keyring", "keyfob", 0);
	if (key > 0)
		key = keyctl_search((key_serial_t)key, "user", token, 0);
	return (key_serial_t)key;
}

/* Only now and then: each look takes time from what is waited for. */
static bool wait_for_other(char *argv[], key_serial_t before)
{
	double end = bench_now() + SECONDS * 1e9;
	key_serial_t now;

	while (((now = copy_of(argv[2], argv[3], argv[4])) < 0 || now == before) && bench_now() < end)
		usleep(200);
	if (now > 0 && now != before)
		return true;
	fprintf(stderr, "copies: uid %s has no new copy of %s after %d s\n", argv[3], argv[4], SECONDS);
	return false;
}

static int forget(const char *first, const char *count)
{
	uid_t from = (uid_t)strtoul(first, NULL, 10), to = from + (uid_t)strtoul(count, NULL, 10);

	for (uid_t uid = from; uid < to; uid++) {
		long key = keyctl_get_persistent(uid, KEY_SPEC_PROCESS_KEYRING);

		if (key < 0 || keyctl_revoke((key_serial_t)key) < 0) {
			perror("copies: persistent keyring");
			return 1;
		}
		keyctl_unlink((key_serial_t)key, KEY_SPEC_PROCESS_KEYRING);
	}
	return 0;
}

int main(int argc, char *argv[])
{
	if (argc == 4 && strcmp(argv[1], "wait") == 0)
		return wait_for_all(argv[2], strtoul(argv[3], NULL, 10)) ? 0 : 1;
	if (argc == 4 && strcmp(argv[1], "forget") == 0)
		return forget(argv[2], argv[3]);
	if (argc > 5 && strcmp(argv[1], "renewed") == 0) {
		key_serial_t before = copy_of(argv[2], argv[3], argv[4]);
		double begin = bench_now();

		if (!bench_command(argv + 5) || !wait_for_other(argv, before))
			return 1;
		printf("%.0f\n", bench_now() - begin);
		return 0;
	}
	fprintf(stderr, "usage: copies wait|renewed|forget ...\n");
	return 2;
}
