/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames as they come from a socket: a fetch's result, a server's reply, and
 * what clients read in it.
 *
 * links: common/wire common/buffer keyring/client keyring/keyctl cli/status-list
 * libs: libkeyutils
 * wrap: client_call
 * parser: common/wire common/buffer cli/status-list
 */
#include "cli/cli.h"
#include "common/wire.h"
#include "keyring/client.h"
#include "modules/module.h"
#include "tests/fuzz/fuzz.h"

static const uint8_t *frame;
static size_t frame_length;

int __wrap_client_call(enum wire_opcode opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply, struct reader *r,
	char *message, size_t size);

/* The frame, once: who asks for the next page is turned away. */
int __wrap_client_call(enum wire_opcode opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply, struct reader *r,
	char *message, size_t size)
{
	(void)opcode, (void)fields, (void)timeout_ms;
	if (!frame)
		return KEYFOB_EAGAIN;
	buffer_clear(reply);
	buffer_put(reply, frame, frame_length);
	frame = NULL;
	return client_read_reply(reply, r, message, size);
}

static void read_result(void)
{
	struct wire_result result, again;
	struct buffer b;
	const char *token, *token_again;
	size_t length, length_again;
	struct reader r;

	reader_init(&r, frame, frame_length);
	if (!wire_get_result(&r, &result, &token, &length))
		return;
	buffer_init(&b, WIRE_MAX + 1);
	fuzz_require(wire_put_result(&b, &result, token, length));
	reader_init(&r, b.data + 1, b.length - 1);
	fuzz_require(wire_get_result(&r, &again, &token_again, &length_again));
	fuzz_require(length == length_again && memcmp(token, token_again, length) == 0);
	fuzz_require(again.expires == result.expires && strcmp(again.text, result.text) == 0);
	buffer_free(&b);
}

/* Uses the frame up. */
static void read_list(void)
{
	struct cli_list list = { .count = 0 };
	char message[WIRE_TEXT_MAX] = "";

	if (cli_list_load(&list, "", message) == 0)
		for (size_t i = 0; i < list.count; i++)
			fuzz_require(wire_name_valid(list.item[i].name));
	cli_list_free(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy;
	struct reader r;

	if (size > WIRE_MAX)
		return 0;
	frame = data;
	frame_length = size;
	read_result();
	read_list();
	reader_init(&r, data, size);
	copy = reader_dup(&r, 100);
	fuzz_require(!copy || strlen(copy) <= 100);
	free(copy);
	return 0;
}

static void put_credential(struct buffer *b, const char *name)
{
	buffer_put_text(b, name);
	for (int i = 0; i < 3; i++)
		buffer_put_text(b, "azure source=imds");
	buffer_put_u8(b, WIRE_STATE_VALID);
	buffer_put_u8(b, KEYFOB_KIND_ACCESS);
	for (int i = 0; i < 6; i++)
		buffer_put_u64(b, 1900000000);
	for (int i = 0; i < 7; i++)
		buffer_put_text(b, "text");
	buffer_put_u32(b, 1);
	buffer_put_u32(b, 2);
	buffer_put_text(b, "throttled");
	buffer_put_u32(b, 2);
	for (int i = 0; i < 2; i++) {
		buffer_put_text(b, "@dbclients");
		buffer_put_u8(b, WIRE_READER_COPY);
		buffer_put_u32(b, 2);
		buffer_put_text(b, "dbclients");
	}
}

void fuzz_seeds(void)
{
	const struct wire_result result = {
		.expires = 1900000000, .refresh = 1800000000, .fingerprint = "0123abcd", .issuer = "https://a"
	};
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	wire_put_result(&b, &result, "token", 5);
	fuzz_seed(b.data + 1, b.length - 1);
	buffer_clear(&b);
	wire_put_error(&b, KEYFOB_EDENIED, 5, "not allowed to have it");
	fuzz_seed(b.data, b.length);
	buffer_clear(&b);
	buffer_put_u8(&b, WIRE_VERSION);
	buffer_put_u8(&b, 0);
	buffer_put_u8(&b, 0);
	buffer_put_text(&b, "0.1.0");
	buffer_put_u64(&b, 1700000000);
	put_credential(&b, "atlas");
	put_credential(&b, "shop");
	fuzz_seed(b.data, b.length);
	buffer_free(&b);
}
