/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logins-SERVER ROW PORT WAY USER FILE [WAY USER FILE]...: logins at a server on 127.0.0.1 in turns, each from connecting to
 * the end of the connection; the password is FILE's text, none where FILE is -.
 */
#ifndef BENCH_LOGINS_H
#define BENCH_LOGINS_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

#define LOGINS_WAYS_MAX 8
#define LOGINS_PASSWORD_MAX 65536

struct login {
	const char *user;
	unsigned port;
	char password[LOGINS_PASSWORD_MAX];
};

static inline bool read_password(struct login *login, const char *path)
{
	FILE *file = strcmp(path, "-") == 0 ? NULL : fopen(path, "re");
	size_t n;

	if (!file)
		return strcmp(path, "-") == 0;
	n = fread(login->password, 1, sizeof(login->password) - 1, file);
	login->password[n] = 0;
	login->password[strcspn(login->password, "\n")] = 0;
	fclose(file);
	return n > 0;
}

/* log_in takes a struct login. */
static inline int logins_main(int argc, char *argv[], bool (*log_in)(void *ctx, unsigned long times))
{
	static struct login logins[LOGINS_WAYS_MAX];
	struct bench_way ways[LOGINS_WAYS_MAX];
	size_t count = 0;
	unsigned port;

	if (argc < 6 || argc % 3 || argc / 3 - 1 > LOGINS_WAYS_MAX || sscanf(argv[2], "%u", &port) != 1) {
		fprintf(stderr, "usage: %s ROW PORT WAY USER FILE [WAY USER FILE]...\n", argv[0]);
		return 2;
	}
	for (int i = 3; i < argc; i += 3) {
		struct login *login = &logins[count];

		login->user = argv[i + 1];
		login->port = port;
		if (!read_password(login, argv[i + 2])) {
			perror(argv[i + 2]);
			return 1;
		}
		ways[count++] = (struct bench_way){ argv[i], log_in, login };
	}
	bench_run(argv[1], ways, count, &(struct bench_options){ .ms = 100 });
	return 0;
}

#endif
