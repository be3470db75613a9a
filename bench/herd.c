/* SPDX-License-Identifier: Apache-2.0 */
/*
 * herd UID COUNT CREDENTIAL...: for each credential in turn, so many processes of that user ask for it at one moment. Prints a
 * line for each credential, of four times in ns: from the last one's beginning to the last one's token; from the first
 * one's token, when it had come, to the last one's; the median of how long each took; and the longest.
 *
 * links: keyring/keyfob keyring/lookup keyring/keyctl keyring/client common/buffer common/wire
 * libs: libkeyutils
 */
#include <keyutils.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"
#include "keyring/keyfob.h"

struct asker {
	double began, got; /* 0: none */
};

static struct {
	atomic_uint ready;
	struct asker askers[];
} * herd;

/* gate: at its end all begin. */
static void __attribute__((noreturn)) ask(struct asker *self, const char *credential, const int *gate)
{
	struct keyfob *kf = NULL;
	struct keyfob_token *token = NULL;
	char c, why[256];

	close(gate[1]);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || keyfob_open(&kf) < 0)
		_exit(1);
	herd->ready++;
	if (read(gate[0], &c, 1) != 0)
		_exit(1);
	self->began = bench_now();
	if (keyfob_get(kf, credential, &token) < 0) {
		keyfob_message(kf, why, sizeof(why));
		fprintf(stderr, "herd: %s: %s\n", credential, why);
		_exit(1);
	}
	self->got = bench_now();
	_exit(0);
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void tell(unsigned int count)
{
	double last_began = 0, last_got = 0, first_got = herd->askers[0].got, *took = calloc(count, sizeof(*took));

	if (!took)
		exit(1);
	for (unsigned int i = 0; i < count; i++) {
		const struct asker *a = &herd->askers[i];

		last_began = a->began > last_began ? a->began : last_began;
		last_got = a->got > last_got ? a->got : last_got;
		first_got = a->got < first_got ? a->got : first_got;
		took[i] = a->got - a->began;
	}
	qsort(took, count, sizeof(*took), by_size);
	printf("%.0f %.0f %.0f %.0f\n", last_got - last_began, last_got - first_got, took[count / 2], took[count - 1]);
	free(took);
}

static bool stampede(unsigned int count, const char *credential)
{
	int gate[2], status, failed = 0;

	memset(herd, 0, sizeof(*herd) + count * sizeof(*herd->askers));
	if (pipe(gate) < 0)
		return false;
	for (unsigned int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid == 0)
			ask(&herd->askers[i], credential, gate);
		if (pid < 0)
			return false;
	}
	while (herd->ready < count && waitpid(-1, NULL, WNOHANG) == 0)
		usleep(1000);
	close(gate[0]);
	close(gate[1]);
	while (wait(&status) > 0)
		failed += status != 0;
	if (failed || herd->ready < count)
		fprintf(stderr, "herd: %d of %u got no token\n", failed, count);
	else
		tell(count);
	return !failed && herd->ready == count;
}

int main(int argc, char *argv[])
{
	unsigned int count = argc > 3 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;
	uid_t uid = argc > 3 ? (uid_t)strtoul(argv[1], NULL, 10) : 0;

	if (!count || !uid) {
		fprintf(stderr, "usage: herd UID COUNT CREDENTIAL...\n");
		return 2;
	}
	herd = mmap(NULL, sizeof(*herd) + count * sizeof(*herd->askers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (herd == MAP_FAILED || setresgid(65534, 65534, 65534) < 0 || setresuid(uid, uid, uid) < 0 ||
		keyctl_join_session_keyring(NULL) < 0) {
		perror("herd");
		return 1;
	}
	for (int i = 3; i < argc; i++)
		if (!stampede(count, argv[i]))
			return 1;
	return 0;
}
