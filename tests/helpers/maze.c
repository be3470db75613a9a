/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maze LAYERS WIDTH SHOW: rings within the caller's persistent keyring, each
 * linked to all of the next layer, so that one search that finds nothing
 * takes WIDTH to the power of LAYERS steps; and SHOW keys to be looked at.
 * libs: libkeyutils
 */
#include <keyutils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LAYERS_MAX 6 /* the kernel goes no deeper */
#define WIDTH_MAX 64

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	int layers = argc > 1 ? atoi(argv[1]) : 0, width = argc > 2 ? atoi(argv[2]) : 0, show = argc > 3 ? atoi(argv[3]) : 0;
	key_serial_t ring[LAYERS_MAX][WIDTH_MAX], root = (key_serial_t)keyctl_get_persistent((uid_t)-1, KEY_SPEC_PROCESS_KEYRING);
	int links = 0, keys = 0;
	double begin;
	char name[16];

	if (root < 0 || layers < 1 || layers > LAYERS_MAX || width < 1 || width > WIDTH_MAX)
		return 2;
	for (int i = layers - 1; i >= 0; i--) {
		for (int j = 0; j < width; j++) {
			snprintf(name, sizeof(name), "%d.%d", i, j);
			ring[i][j] = add_key("keyring", name, NULL, 0, i == 0 ? root : KEY_SPEC_PROCESS_KEYRING);
			keys += ring[i][j] > 0;
			for (int k = 0; i < layers - 1 && k < width; k++)
				links += keyctl_link(ring[i + 1][k], ring[i][j]) == 0;
		}
	}
	keyctl_get_persistent((uid_t)-1, KEY_SPEC_SESSION_KEYRING);
	for (int i = 0; i < show; i++) {
		snprintf(name, sizeof(name), "show %d", i);
		keys += add_key("user", name, "x", 1, root) > 0;
	}
	begin = seconds();
	keyctl_search(root, "user", "nothing of that name", 0);
	printf("%d keys, %d links, %.2f s for one search\n", keys, links, seconds() - begin);
	return 0;
}
