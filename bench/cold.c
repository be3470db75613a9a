/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cold KEYFOB-FETCH ENDPOINT URL: a token from the provider, one process from its start to its end: keyfob-fetch as its launcher
 * starts it, in its sandbox, `keyfob get --direct`, which starts it too, and curl of the same URL (bench/cold.sh).
 *
 * links: common/buffer common/wire
 */
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"
#include "common/buffer.h"
#include "common/wire.h"
#include "modules/module.h"

struct fetch {
	char *program;
	struct buffer request;
};

/* As the broker asks: IMDS, for a managed identity. */
static void put_request(struct buffer *b, const char *endpoint)
{
	buffer_init(b, WIRE_MAX);
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, 0);
	buffer_put_u8(b, KEYFOB_SANDBOX_NETWORK);
	buffer_put_text(b, "azure");
	buffer_put_text(b, "atlas");
	buffer_put_text(b, "api://bench");
	buffer_put_u8(b, KEYFOB_KIND_ACCESS);
	buffer_put_u32(b, 0);
	buffer_put_u32(b, 20);
	buffer_put_u32(b, 1);
	buffer_put_text(b, "endpoint");
	buffer_put_text(b, endpoint);
	buffer_put_u8(b, 0);
	buffer_put_u32(b, 0);
}

/* Does the answer on that socket hold a token? */
static bool has_token(int fd)
{
	struct wire_result result = { .class = KEYFOB_CLASS_CONFIG };
	struct buffer frame;
	const char *token;
	struct reader r;
	size_t length = 0;
	bool ok = false;

	buffer_init(&frame, WIRE_MAX);
	while (!ok && wire_receive(fd, &frame, NULL) == 0) {
		reader_init(&r, frame.data, frame.length);
		ok = reader_u8(&r) == WIRE_FETCH_RESULT && wire_get_result(&r, &result, &token, &length);
	}
	buffer_free(&frame);
	if (result.class != KEYFOB_CLASS_OK)
		fprintf(stderr, "cold: %s\n", result.text);
	return ok && result.class == KEYFOB_CLASS_OK && length > 0;
}

static bool fetch_once(const struct fetch *fetch)
{
	char *const argv[] = { fetch->program, NULL }, *const environment[] = { NULL };
	posix_spawn_file_actions_t actions;
	int fds[2], status = -1;
	bool ok = false;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return false;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	if (posix_spawn(&pid, fetch->program, &actions, NULL, argv, environment) == 0) {
		close(fds[1]);
		ok = wire_send(fds[0], &fetch->request, -1) == 0 && has_token(fds[0]);
		ok = waitpid(pid, &status, 0) == pid && ok && status == 0;
	} else {
		close(fds[1]);
	}
	posix_spawn_file_actions_destroy(&actions);
	close(fds[0]);
	return ok;
}

static bool by_fetch(void *ctx, unsigned long times)
{
	while (times--)
		if (!fetch_once(ctx))
			return false;
	return true;
}

int main(int argc, char *argv[])
{
	char curl[] = "curl", silent[] = "-sSf", header[] = "-H", metadata[] = "Metadata:true", keyfob[] = "keyfob", get[] = "get",
	     direct[] = "--direct", atlas[] = "atlas";

	if (argc != 4) {
		fprintf(stderr, "usage: cold KEYFOB-FETCH ENDPOINT URL\n");
		return 2;
	}
	char *by_curl[] = { curl, silent, header, metadata, argv[3], NULL }, *by_keyfob[] = { keyfob, get, direct, atlas, NULL };
	struct fetch fetch = { .program = argv[1] };
	const struct bench_way ways[] = { { "keyfob-fetch", by_fetch, &fetch }, { "curl", bench_by_command, by_curl },
		{ "keyfob get --direct", bench_by_command, by_keyfob } };

	put_request(&fetch.request, argv[2]);
	bench_run("cold", ways, 3, &(struct bench_options){ .ms = 1 });
	bench_at_most("cold", "keyfob-fetch", "curl", 1.5);
	buffer_free(&fetch.request);
	return 0;
}
