/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup UID WAY CREDENTIALS [UID WAY CREDENTIALS]...: look-ups of one credential, c0001, by users who have so many, c0001 and
 * on: each user in a process and a session keyring of his own, in turns. Rows: scale-lookup, on a handle that has had them
 * all; scale-search, on a new handle, which searches the keyring; scale-turns, all of them in turn on one handle.
 *
 * links: keyring/keyfob keyring/lookup keyring/keyctl keyring/client common/buffer common/wire
 * libs: libkeyutils
 */
#include <keyutils.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"
#include "keyring/client.h"
#include "keyring/keyfob.h"
#include "keyring/lookup.h"

#define USERS_MAX 8

/* What a user is told to do: by which of the ways, and how often. */
enum kind { SAME_HANDLE, NEW_HANDLE, IN_TURN, KINDS };
struct order {
	enum kind kind;
	unsigned long times;
};

struct user {
	const char *way;
	unsigned int credentials;
	int orders, answers;
};
struct errand {
	struct user *user;
	enum kind kind;
};

/* --- the user's process -------------------------------------------------------- */

static bool get(struct keyfob *kf, unsigned int number)
{
	struct keyfob_token *token = NULL;
	char name[16];
	bool ok;

	snprintf(name, sizeof(name), "c%04u", number);
	ok = keyfob_get(kf, name, &token) == 0 && keyfob_token_length(token) > 0;
	keyfob_token_free(&token);
	return ok;
}

/* libkeyfob would ask the broker for what is not in the keyring, which is not what is measured. */
static bool is_in_keyring(unsigned int number)
{
	struct lookup lookup = { .broker = client_socket() };
	struct lookup_hit hit;
	struct buffer token;
	char name[16];
	int error;

	snprintf(name, sizeof(name), "c%04u", number);
	buffer_init(&token, WIRE_TOKEN_MAX + 2048);
	error = lookup_token(&lookup, name, &token, &hit);
	buffer_free(&token);
	if (error)
		fprintf(stderr, "lookup: uid %u: %s is not in the keyring: %s\n", getuid(), name, strerror(-error));
	return error == 0;
}

static bool obey(struct keyfob *kf, const struct order *order, unsigned int credentials)
{
	static unsigned int turn;
	bool ok = true;

	for (unsigned long i = 0; i < order->times && ok; i++) {
		struct keyfob *fresh = NULL;

		switch (order->kind) {
		case SAME_HANDLE:
			ok = get(kf, 1);
			break;
		case NEW_HANDLE:
			ok = keyfob_open(&fresh) == 0 && get(fresh, 1);
			keyfob_close(&fresh);
			break;
		default:
			ok = get(kf, turn + 1);
			turn = (turn + 1) % credentials;
		}
	}
	return ok;
}

static void __attribute__((noreturn)) serve(uid_t uid, unsigned int credentials, int orders, int answers)
{
	struct keyfob *kf = NULL;
	struct order order;
	bool ok;

	if (setresgid(65534, 65534, 65534) < 0 || setresuid(uid, uid, uid) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
		keyctl_join_session_keyring(NULL) < 0 || keyfob_open(&kf) < 0) {
		perror("lookup: user");
		_exit(1);
	}
	ok = true;
	for (unsigned int i = 1; i <= credentials && ok; i++)
		ok = is_in_keyring(i) && get(kf, i);
	while (read(orders, &order, sizeof(order)) == sizeof(order)) {
		ok = ok && obey(kf, &order, credentials);
		if (write(answers, &ok, sizeof(ok)) != sizeof(ok))
			break;
	}
	_exit(0);
}

/* --- who measures ---------------------------------------------------------------- */

static bool send_on(void *ctx, unsigned long times)
{
	const struct errand *errand = ctx;
	struct order order = { errand->kind, times };
	bool ok;

	return write(errand->user->orders, &order, sizeof(order)) == sizeof(order) &&
	       read(errand->user->answers, &ok, sizeof(ok)) == sizeof(ok) && ok;
}

static bool start(struct user *user, uid_t uid)
{
	int orders[2], answers[2];
	pid_t pid;

	if (pipe(orders) < 0 || pipe(answers) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		/* Its own end of what others read would keep it waiting for ever. */
		close(orders[1]);
		serve(uid, user->credentials, orders[0], answers[1]);
	}
	close(orders[0]);
	close(answers[1]);
	user->orders = orders[1];
	user->answers = answers[0];
	return pid > 0;
}

int main(int argc, char *argv[])
{
	static const char *const rows[] = { "scale-lookup", "scale-search", "scale-turns" };
	struct bench_options options = { .ms = 10 };
	struct user users[USERS_MAX];
	size_t count = 0;

	if (argc < 4 || (argc - 1) % 3 != 0 || argc - 1 > 3 * USERS_MAX) {
		fprintf(stderr, "usage: lookup UID WAY CREDENTIALS [UID WAY CREDENTIALS]...\n");
		return 2;
	}
	for (int i = 1; i < argc; i += 3) {
		users[count] = (struct user){ .way = argv[i + 1], .credentials = (unsigned int)strtoul(argv[i + 2], NULL, 10) };
		if (!start(&users[count++], (uid_t)strtoul(argv[i], NULL, 10))) {
			perror("lookup");
			return 1;
		}
	}
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		struct bench_way ways[USERS_MAX];
		struct errand errands[USERS_MAX];

		for (size_t i = 0; i < count; i++) {
			errands[i] = (struct errand){ &users[i], kind };
			ways[i] = (struct bench_way){ .name = users[i].way, .once = send_on, .ctx = &errands[i] };
		}
		bench_run(rows[kind], ways, count, &options);
	}
	for (size_t i = 0; i < count; i++)
		close(users[i].orders);
	while (wait(NULL) > 0)
		continue;
	return 0;
}
