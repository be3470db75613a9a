/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands ROW ROUNDS WAY COMMAND [ARGUMENT...] [-- WAY COMMAND...]...: whole processes, from fork to wait, in turns. Each
 * must end with 0; what they print goes to /dev/null. 0 ROUNDS: as is usual.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

#define WAYS_MAX 16

int main(int argc, char *argv[])
{
	struct bench_way ways[WAYS_MAX];
	struct bench_options options = { .ms = 1 }; /* once a round: a process at a time, turn by turn */
	size_t count = 0;
	bool is_name = true;

	if (argc < 5) {
		fprintf(stderr, "usage: commands ROW ROUNDS WAY COMMAND [ARGUMENT...] [-- WAY COMMAND...]...\n");
		return 2;
	}
	options.rounds = (unsigned)strtoul(argv[2], NULL, 10);
	for (int i = 3; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			argv[i] = NULL;
			is_name = true;
		} else if (is_name && i + 1 < argc && count < WAYS_MAX) {
			ways[count++] = (struct bench_way){ .name = argv[i], .once = bench_by_command, .ctx = &argv[i + 1] };
			is_name = false;
		} else if (is_name) {
			fprintf(stderr, "commands: %s: no command, or too many ways\n", argv[i]);
			return 2;
		}
	}
	bench_run(argv[1], ways, count, &options);
	return 0;
}
