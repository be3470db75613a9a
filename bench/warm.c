/* SPDX-License-Identifier: Apache-2.0 */
/*
 * warm CREDENTIAL TOKEN-FILE [OIDC-AGENT-ACCOUNT]: a token that is at hand, again and again, in one process (bench/warm.sh).
 * What bounds it is the one call that reads the key: a token that is handed out without asking the kernel would outlive
 * its revocation.
 *
 * links: keyring/keyfob keyring/lookup keyring/keyctl keyring/client common/buffer common/wire
 * libs: libkeyutils
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <keyutils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/bench.h"
#include "keyring/client.h"
#include "keyring/keyfob.h"

static char wanted[WIRE_TOKEN_MAX + 1], got[WIRE_TOKEN_MAX + 1];
static size_t wanted_length;

/* All of them end with the token in memory of the caller's, and with the same one. */
static bool is_wanted(const void *token, size_t length)
{
	return length == wanted_length && memcmp(token, wanted, length) == 0;
}

struct handle {
	struct keyfob *kf;
	const char *credential;
};

static bool by_keyfob(void *ctx, unsigned long times)
{
	struct handle *h = ctx;
	struct keyfob_token *token = NULL;
	bool ok = true;

	for (; times && ok; times--) {
		keyfob_token_free(&token);
		ok = keyfob_get(h->kf, h->credential, &token) == 0;
	}
	ok = ok && is_wanted(keyfob_token_value(token), keyfob_token_length(token));
	keyfob_token_free(&token);
	return ok;
}

static bool by_keyctl(void *ctx, unsigned long times)
{
	key_serial_t key = *(key_serial_t *)ctx;
	long length = 0;

	while (times--)
		length = syscall(SYS_keyctl, KEYCTL_READ, key, got, sizeof(got));
	return length >= 0 && is_wanted(got, (size_t)length);
}

static bool by_file(void *ctx, unsigned long times)
{
	ssize_t length = -1;

	while (times--) {
		int fd = open(ctx, O_RDONLY | O_CLOEXEC);

		length = fd < 0 ? -1 : read(fd, got, sizeof(got));
		if (fd < 0 || close(fd) < 0)
			return false;
	}
	return length >= 0 && is_wanted(got, (size_t)length);
}

/* keyfob itself where there is no keyring: connect, ask, read. */
static bool by_broker(void *ctx, unsigned long times)
{
	char message[WIRE_TEXT_MAX];
	struct buffer request, reply;
	struct reader r;
	size_t length;
	bool ok = true;

	buffer_init(&request, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_put_text(&request, ctx);
	while (times-- && ok) {
		buffer_clear(&reply);
		ok = client_call(WIRE_GET, &request, 5000, &reply, &r, message, sizeof(message)) == 0;
		if (ok) {
			const uint8_t *token = reader_string(&r, &length);

			ok = is_wanted(token, length);
		}
	}
	buffer_free(&request);
	buffer_free(&reply);
	return ok;
}

/* The least that an agent behind a socket can cost: a connection that stays open, and an answer made beforehand. */
static bool by_socket(void *ctx, unsigned long times)
{
	const int fd = *(int *)ctx;
	ssize_t length = -1;

	while (times--) {
		if (write(fd, "?", 1) != 1)
			return false;
		length = read(fd, got, sizeof(got));
	}
	return length >= 0 && is_wanted(got, (size_t)length);
}

static int start_agent(void)
{
	int pair[2];
	char question;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 || (pid = fork()) < 0) {
		perror("warm");
		exit(1);
	}
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		while (read(pair[1], &question, 1) == 1)
			if (write(pair[1], wanted, wanted_length) < 0)
				break;
		_exit(0);
	}
	close(pair[1]);
	return pair[0];
}

/* Where it is installed: the calls are those of oidc-agent/api.h. */
struct agent {
	char *(*get)(const char *account, time_t min_valid, const char *scope, const char *application);
	void (*free)(void *token);
	const char *account;
};

static bool by_oidc_agent(void *ctx, unsigned long times)
{
	struct agent *agent = ctx;
	bool ok = true;

	while (times-- && ok) {
		char *token = agent->get(agent->account, 60, NULL, "bench");

		ok = token && is_wanted(token, strlen(token));
		agent->free(token);
	}
	return ok;
}

static bool find_oidc_agent(struct agent *agent)
{
	void *library = dlopen("liboidc-agent.so.4", RTLD_NOW);
	void *get = library ? dlsym(library, "getAccessToken") : NULL, *release = library ? dlsym(library, "_secFree") : NULL;

	memcpy(&agent->get, &get, sizeof(get));
	memcpy(&agent->free, &release, sizeof(release));
	return get && release && agent->account;
}

int main(int argc, char *argv[])
{
	struct handle h = { .credential = argc > 1 ? argv[1] : "" };
	struct agent agent = { .account = argc > 3 && *argv[3] ? argv[3] : NULL };
	struct keyfob_token *token = NULL;
	char description[WIRE_NAME_MAX + 16];
	key_serial_t key;
	int fd;

	if (argc < 3 || keyfob_open(&h.kf) < 0 || keyfob_get(h.kf, h.credential, &token) < 0) {
		fprintf(stderr, "warm: no token %s\n", h.credential);
		return 1;
	}
	wanted_length = keyfob_token_length(token);
	memcpy(wanted, keyfob_token_value(token), wanted_length);
	keyfob_token_free(&token);
	snprintf(description, sizeof(description), "keyfob:%s", h.credential);
	key = request_key("user", description, NULL, 0);
	fd = start_agent();

	struct bench_way in_process[] = { { "keyfob", by_keyfob, &h }, { "keyctl_read", by_keyctl, &key },
		{ "token file", by_file, argv[2] } };
	struct bench_way agents[] = { { "socket", by_socket, &fd }, { "keyfob by socket", by_broker, argv[1] },
		{ "oidc-agent", by_oidc_agent, &agent } };
	bool has_agent = find_oidc_agent(&agent);

	bench_run("warm", in_process, 3, &(struct bench_options){ .pinned = true, .rounds = 501, .ms = 1 });
	bench_run("warm", agents, has_agent ? 3 : 2, NULL);
	if (!has_agent)
		bench_skip("warm", "oidc-agent", "the packages oidc-agent-cli and liboidc-agent4 are not here");
	bench_at_most("warm", "keyfob", "keyctl_read", 1.0);
	bench_at_most("warm", "keyfob", "token file", 0.6);
	keyfob_close(&h.kf);
	return 0;
}
