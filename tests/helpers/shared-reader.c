/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared-reader CREDENTIAL THREADS [UID...]: one handle, opened and used here,
 * then used by so many threads that were there before, by a child, and as each
 * of those users. Prints what every one of them got, and how many keys its user
 * is charged while the threads stand.
 *
 * links: keyring/keyctl keyring/lookup keyring/client keyring/keyfob common/buffer common/wire
 * libs: libkeyutils
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keyring/keyfob.h"

#define GETS 20

static struct keyfob *kf;
static const char *credential;
static pthread_barrier_t begin, end;
static int count;

static int get(int is_shown)
{
	struct keyfob_token *token = NULL;
	int error = keyfob_get(kf, credential, &token);

	if (is_shown)
		printf("%s\n", error == 0 ? keyfob_token_value(token) : keyfob_strerror(error));
	keyfob_token_free(&token);
	return error;
}

static void *get_often(void *arg)
{
	pthread_barrier_wait(&begin);
	for (int i = 0; i < GETS; i++)
		if (get(0) == 0)
			__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
	pthread_barrier_wait(&end);
	pthread_barrier_wait(&end);
	return arg;
}

/* proc_key_users(5) */
static long charged(void)
{
	FILE *users = fopen("/proc/key-users", "re");
	char line[256];
	unsigned int who;
	long keys, found = 0;

	while (users && fgets(line, sizeof(line), users))
		if (sscanf(line, "%u: %*d %*d/%*d %ld/", &who, &keys) == 2 && who == getuid())
			found = keys;
	if (users)
		fclose(users);
	return found;
}

static int in_threads(unsigned int wanted)
{
	pthread_t *threads = calloc(wanted, sizeof(*threads));

	if (!threads || pthread_barrier_init(&begin, NULL, wanted + 1) != 0 || pthread_barrier_init(&end, NULL, wanted + 1) != 0)
		return -1;
	for (unsigned int i = 0; i < wanted; i++)
		if (pthread_create(&threads[i], NULL, get_often, NULL) != 0)
			return -1;
	get(1);
	pthread_barrier_wait(&begin);
	pthread_barrier_wait(&end);
	printf("%d of %u, charged %ld\n", count, wanted * GETS, charged());
	pthread_barrier_wait(&end);
	for (unsigned int i = 0; i < wanted; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	return 0;
}

static int in_child(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		get(1);
		exit(0);
	}
	return pid < 0 || waitpid(pid, NULL, 0) != pid ? -1 : 0;
}

int main(int argc, char **argv)
{
	credential = argc > 2 ? argv[1] : "";
	if (argc < 3 || keyfob_open(&kf) != 0 || in_threads((unsigned int)atoi(argv[2])) < 0 || in_child() < 0)
		return 2;
	for (int i = 3; i < argc; i++) {
		uid_t uid = (uid_t)strtoul(argv[i], NULL, 10);

		if (setresuid(0, 0, 0) < 0 || setresuid(uid, uid, 0) < 0)
			return 2;
		get(1);
	}
	keyfob_close(&kf);
	return 0;
}
