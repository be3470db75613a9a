/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob-fetch's side: the request as keyfobd sends it, and the secrets after
 * it. An input is the request, and after two bytes for its length what comes
 * next: frames likewise, with the secret itself behind the byte that says that
 * there is one.
 *
 * links: broker/fetch-reply modules/expiry common/wire common/buffer
 * libs: jansson libmd
 * parser: broker/keyfob-fetch
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"

/* The program itself, with its inner parts: its main() ends the process. */
int fetch_main(int argc, char **argv);
#define main fetch_main
#include "broker/keyfob-fetch.c"
#undef main

int fetch_sandbox_enter(enum keyfob_sandbox sandbox, const char *module_dir, const char *const *readable, char *why, size_t why_size)
{
	(void)module_dir;
	for (; *readable; readable++)
		fuzz_require(**readable == '/');
	fuzz_require(sandbox <= KEYFOB_SANDBOX_FILE);
	snprintf(why, why_size, "%s", "");
	return 0;
}

bool sandbox_may_pass(int error)
{
	return error == EAGAIN;
}

static struct buffer take_frame(const uint8_t **data, size_t *size)
{
	size_t length = *size < 2 ? 0 : (size_t)(*data)[0] << 8 | (*data)[1], head = *size < 2 ? *size : 2;
	struct buffer frame;

	*data += head;
	*size -= head;
	length = length < *size ? length : *size;
	buffer_init(&frame, FUZZ_MAX);
	buffer_put(&frame, *data, length);
	*data += length;
	*size -= length;
	return frame;
}

static void send_secrets(int fd, const uint8_t *data, size_t size)
{
	while (size) {
		struct buffer frame = take_frame(&data, &size), content = take_frame(&data, &size);
		int secret = content.length && content.data[0] ? memfd_create("secret", MFD_CLOEXEC) : -1;

		if (secret >= 0)
			fuzz_require(write(secret, content.data, content.length) >= 0 && lseek(secret, 1, SEEK_SET) == 1);
		wire_send(fd, &frame, secret);
		if (secret >= 0)
			close(secret);
		buffer_free(&frame);
		buffer_free(&content);
	}
	/* Who waits for more sees the end. */
	shutdown(fd, SHUT_WR);
}

static void check(const struct fetch *fetch)
{
	const struct keyfob_request *request = &fetch->request;

	fuzz_require(request->count <= SETTINGS_MAX && request->timeout >= 1 && request->timeout <= TIMEOUT_MAX);
	fuzz_require(request->resource && request->secret_count <= request->count && request->kind <= KEYFOB_KIND_DOCUMENT);
	for (size_t i = 0; i < request->count; i++)
		fuzz_require(request->settings[i].name && request->settings[i].value);
	for (size_t i = 0; request->arguments && request->arguments[i]; i++)
		fuzz_require(i < ARGUMENTS_MAX);
	for (size_t i = 0; i < request->secret_count; i++)
		fuzz_require(request->secrets[i].length <= WIRE_SECRET_MAX && !request->secrets[i].value[request->secrets[i].length]);
}

/* What the program leaves to its end. */
static void release(struct fetch *fetch)
{
	for (size_t i = 0; i < SETTINGS_MAX; i++) {
		free((char *)(uintptr_t)fetch->settings[i].name);
		free((char *)(uintptr_t)fetch->settings[i].value);
		free((char *)(uintptr_t)fetch->secrets[i].value);
	}
	for (size_t i = 0; i < ARGUMENTS_MAX; i++)
		free(fetch->arguments[i]);
	free((char *)(uintptr_t)fetch->request.resource);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fetch fetch;
	struct wire_result result = { .class = KEYFOB_CLASS_CONFIG };
	struct buffer frame;
	int pair[2];

	if (size > FUZZ_MAX)
		return 0;
	memset(&fetch, 0, sizeof(fetch));
	frame = take_frame(&data, &size);
	if (read_request(&frame, &fetch)) {
		fuzz_require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
		channel = pair[0];
		/* What there is no room for is lost. */
		fuzz_require(fcntl(pair[1], F_SETFL, O_NONBLOCK) == 0);
		send_secrets(pair[1], data, size);
		if (enter(&fetch, "/nowhere", &result) && !receive_secrets(&fetch, &result))
			fuzz_require(result.text[0]);
		check(&fetch);
		wipe_secrets(&fetch);
		close(pair[0]);
		close(pair[1]);
	}
	buffer_free(&frame);
	release(&fetch);
	return 0;
}

/* --- seeds ------------------------------------------------------------------------------------- */

static void put_frame(struct buffer *b, const struct buffer *frame)
{
	buffer_put_u8(b, (uint8_t)(frame->length >> 8));
	buffer_put_u8(b, (uint8_t)frame->length);
	buffer_put(b, frame->data, frame->length);
}

static void put_request(struct buffer *b, uint8_t sandbox, uint32_t settings, uint32_t arguments)
{
	struct buffer frame;

	buffer_init(&frame, WIRE_MAX);
	buffer_put_u8(&frame, WIRE_VERSION);
	buffer_put_u8(&frame, WIRE_FETCH_EXCHANGE);
	buffer_put_u8(&frame, sandbox);
	buffer_put_text(&frame, "oauth2");
	buffer_put_text(&frame, "atlas");
	buffer_put_text(&frame, "api://x");
	buffer_put_u8(&frame, KEYFOB_KIND_ACCESS);
	buffer_put_u32(&frame, 0);
	buffer_put_u32(&frame, 10);
	buffer_put_u32(&frame, settings);
	for (uint32_t i = 0; i < settings; i++) {
		buffer_put_text(&frame, i ? "endpoint" : "secret_file");
		buffer_put_text(&frame, i ? "http://127.0.0.1" : "/etc/keyfob/secret");
		buffer_put_u8(&frame, i == 0);
	}
	buffer_put_u32(&frame, arguments);
	for (uint32_t i = 0; i < arguments; i++)
		buffer_put_text(&frame, "--word");
	buffer_clear(b);
	put_frame(b, &frame);
	buffer_free(&frame);
}

static void put_secret(struct buffer *b, const char *error, const char *content)
{
	struct buffer frame;

	buffer_init(&frame, WIRE_MAX);
	buffer_put_text(&frame, "secret_file");
	buffer_put_text(&frame, error);
	put_frame(b, &frame);
	buffer_clear(&frame);
	buffer_put_u8(&frame, *content != 0);
	buffer_put(&frame, content, strlen(content));
	put_frame(b, &frame);
	buffer_free(&frame);
}

void fuzz_seeds(void)
{
	struct buffer b;

	buffer_init(&b, FUZZ_MAX);
	put_request(&b, KEYFOB_SANDBOX_NETWORK, 2, 0);
	put_secret(&b, "", "s3cret\n");
	fuzz_seed(b.data, b.length);
	put_request(&b, KEYFOB_SANDBOX_NETWORK, 1, 0);
	put_secret(&b, "is not owned by root", "");
	fuzz_seed(b.data, b.length);
	put_request(&b, KEYFOB_SANDBOX_FILE, 0, 3);
	fuzz_seed(b.data, b.length);
	/* As many as are taken, and one more. */
	for (uint32_t more = 0; more < 2; more++) {
		put_request(&b, KEYFOB_SANDBOX_NETWORK, SETTINGS_MAX + more, 0);
		fuzz_seed(b.data, b.length);
		put_request(&b, KEYFOB_SANDBOX_NETWORK, 0, ARGUMENTS_MAX + more);
		fuzz_seed(b.data, b.length);
	}
	buffer_free(&b);
}
