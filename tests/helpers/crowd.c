/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many readers through libkeyfob. links: keyring/keyctl keyring/lookup keyring/client keyring/keyfob common/buffer common/wire
 * libs: libkeyutils
 *
 *   crowd once COUNT NAME          COUNT processes ask at the same moment
 *   crowd loop COUNT NAME SECONDS  COUNT processes ask over and over, each now and then with a new handle
 *   crowd until COUNT NAME FILE    the same, until that file is there
 *
 * With CROWD_UID in the environment the first of them is that user, the next
 * has the uid after it and so on, all in CROWD_GID, each with a session keyring
 * of his own. A # in NAME stands for his number, from 0.
 *
 * Prints "asked A got G missed M gaps P tokens T", and how long the slowest
 * answer took. A reader missed a token when
 * it got none although the one it had last was still good; else it is a gap.
 * The first few failures are told on stderr.
 */
#include <grp.h>
#include <keyutils.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keyring/keyfob.h"

#define TOKENS_MAX 4096
#define PAUSE_US 10000
#define NEW_HANDLE_EVERY 16
#define MARGIN 1 /* seconds before its end at which a short-lived token leaves the keyring */

static struct {
	atomic_int ready;
	atomic_int stop;
	atomic_long asked, got, missed, gaps, slowest_ms;
	atomic_int tokens;
	atomic_uint_least64_t token[TOKENS_MAX]; /* hashes of those seen */
} * shared;

/* FNV-1a: to tell tokens apart, never 0. */
static uint64_t hash(const char *text)
{
	uint64_t h = 14695981039346656037u;

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 1099511628211u;
	return h ? h : 1;
}

static void note(const char *token)
{
	uint64_t h = hash(token);

	for (int i = 0; i < TOKENS_MAX; i++) {
		uint64_t none = 0;

		if (shared->token[i] == h)
			return;
		if (shared->token[i] == 0 && atomic_compare_exchange_strong(&shared->token[i], &none, h)) {
			shared->tokens++;
			return;
		}
		if (none == h)
			return;
	}
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void note_time(long ms)
{
	long slowest = shared->slowest_ms;

	while (ms > slowest && !atomic_compare_exchange_weak(&shared->slowest_ms, &slowest, ms))
		continue;
}

/* Returns when the token given ends; last where there was none. */
static time_t ask(struct keyfob *kf, const char *name, time_t last)
{
	struct keyfob_token *token = NULL;
	char why[256];
	long begin = now_ms();
	int error = keyfob_get(kf, name, &token);

	note_time(now_ms() - begin);
	shared->asked++;
	if (error == 0) {
		last = keyfob_token_expires(token);
		shared->got++;
		note(keyfob_token_value(token));
		keyfob_token_free(&token);
		return last;
	}
	keyfob_message(kf, why, sizeof(why));
	if (time(NULL) < last - MARGIN) {
		if (shared->missed++ < 5)
			fprintf(stderr, "crowd: missed: %s: %s\n", keyfob_strerror(error), why);
	} else if (shared->gaps++ < 5) {
		fprintf(stderr, "crowd: %s: %s\n", keyfob_strerror(error), why);
	}
	return last;
}

static uid_t number_of(const char *variable)
{
	const char *text = getenv(variable);

	return text ? (uid_t)strtoul(text, NULL, 10) : 0;
}

static bool become(int number)
{
	uid_t first = number_of("CROWD_UID"), uid = first + (uid_t)number;
	gid_t gid = number_of("CROWD_GID");

	return !first || (setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0 &&
				 keyctl_join_session_keyring(NULL) >= 0);
}

static void put_number(const char *pattern, int number, char *name, size_t size)
{
	const char *mark = strchr(pattern, '#');

	if (mark)
		snprintf(name, size, "%.*s%d%s", (int)(mark - pattern), pattern, number, mark + 1);
	else
		snprintf(name, size, "%s", pattern);
}

/* gate: at its end all begin. They sleep until then, or a thousand of them would keep the rest from being forked. */
static void __attribute__((noreturn)) reader(const char *pattern, int number, bool over_and_over, const int *gate)
{
	struct keyfob *kf = NULL;
	time_t last = 0;
	int turn = 0;
	char c, name[128];

	close(gate[1]);
	put_number(pattern, number, name, sizeof(name));
	if (!become(number) || keyfob_open(&kf) < 0)
		_exit(1);
	shared->ready++;
	if (read(gate[0], &c, 1) != 0)
		_exit(1);
	do {
		last = ask(kf, name, last);
		if (over_and_over)
			usleep(PAUSE_US);
		if (++turn % NEW_HANDLE_EVERY == 0) {
			keyfob_close(&kf);
			if (keyfob_open(&kf) < 0)
				_exit(1);
		}
	} while (over_and_over && !shared->stop);
	keyfob_close(&kf);
	_exit(0);
}

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[2]) : 0, failed = 0, status, gate[2];
	bool until = argc == 5 && strcmp(argv[1], "until") == 0, loop = argc == 5 && strcmp(argv[1], "loop") == 0;

	if (argc < 4)
		return 2;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || pipe(gate) < 0)
		return 1;
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid == 0)
			reader(argv[3], i, until || loop, gate);
		if (pid < 0) {
			perror("crowd: fork");
			count = i;
		}
	}
	while (shared->ready < count)
		usleep(1000);
	close(gate[1]);
	if (loop)
		sleep((unsigned int)atoi(argv[4]));
	while (until && access(argv[4], F_OK) < 0)
		usleep(PAUSE_US);
	shared->stop = 1;
	while (wait(&status) > 0)
		failed += status != 0;
	printf("asked %ld got %ld missed %ld gaps %ld tokens %d\nslowest %ld ms\n", (long)shared->asked, (long)shared->got,
		(long)shared->missed, (long)shared->gaps, (int)shared->tokens, (long)shared->slowest_ms);
	return failed ? 1 : 0;
}
