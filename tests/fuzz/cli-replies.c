/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What servers and keyfob-fetch answer to keyfob, and what it prints then. The
 * first byte of an input says which verb, the next byte 1 whether with --json;
 * the rest is the reply, or keyfob-fetch's output. There is one: whoever asks
 * again is turned away.
 *
 * links: cli/module cli/verifier cli/status cli/screen cli/status-list cli/status-check cli/status-prometheus cli/status-watch cli/change cli/reload cli/tool cli/json cli/output cli/args cli/verbs cli/progress keyring/client keyring/keyctl keyring/keyfob keyring/lookup common/wire common/buffer common/log
 * libs: libkeyutils jansson
 * wrap: client_call client_ask cli_tool cli_output cli_read_token isatty fprintf
 * parser: cli/module cli/verifier cli/status cli/screen cli/status-list
 */
#include <jansson.h>

#include "cli/cli.h"
#include "keyring/client.h"
#include "modules/module.h"
#include "tests/fuzz/fuzz.h"

int __wrap_client_call(enum wire_opcode opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply, struct reader *r,
	char *message, size_t size);
int __wrap_client_ask(const struct client_server *server, uint8_t opcode, const struct buffer *fields, int timeout_ms,
	struct buffer *reply, struct reader *r, char *message, size_t size);
int __wrap_cli_tool(const char *name, const char *const *arguments, struct buffer *output);
int __wrap_cli_output(const struct buffer *b);
int __wrap_fprintf(FILE *file, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_cli_read_token(struct buffer *token);
int __wrap_isatty(int fd);

static const uint8_t *answer; /* NULL once it is given */
static size_t answer_length;
static bool json, printed;

static int take_answer(struct buffer *reply, struct reader *r, char *message, size_t size)
{
	if (!answer)
		return KEYFOB_EAGAIN;
	buffer_clear(reply);
	buffer_put(reply, answer, answer_length);
	answer = NULL;
	return client_read_reply(reply, r, message, size);
}

int __wrap_client_call(enum wire_opcode opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply, struct reader *r,
	char *message, size_t size)
{
	(void)opcode, (void)fields, (void)timeout_ms;
	return take_answer(reply, r, message, size);
}

int __wrap_client_ask(const struct client_server *server, uint8_t opcode, const struct buffer *fields, int timeout_ms,
	struct buffer *reply, struct reader *r, char *message, size_t size)
{
	(void)server, (void)opcode, (void)fields, (void)timeout_ms;
	return take_answer(reply, r, message, size);
}

/* A list of modules is made of the same bytes as the description of each. */
int __wrap_cli_tool(const char *name, const char *const *arguments, struct buffer *output)
{
	bool list = strcmp(arguments[0], "--list") == 0;

	fuzz_require(strcmp(name, "keyfob-fetch") == 0);
	buffer_put(output, list ? (const void *)"azure\n" : answer, list ? 6 : answer_length);
	return 0;
}

int __wrap_cli_output(const struct buffer *b)
{
	json_t *value;

	fuzz_require(!b->failed);
	printed = printed || b->length;
	if (!json) {
		for (size_t i = 0; i < b->length; i++)
			fuzz_require(b->data[i] == '\n' || b->data[i] == '\t' || (b->data[i] >= 0x20 && b->data[i] != 0x7f));
		return 0;
	}
	value = json_loadb((const char *)b->data, b->length, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
	fuzz_require(value || !b->length);
	json_decref(value);
	return 0;
}

/* Whatever stands in them, complaints are one line each. */
int __wrap_fprintf(FILE *file, const char *format, ...)
{
	char text[16384];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (strncmp(text, "keyfob: ", 8) != 0)
		return fputs(text, file);
	fuzz_require(text[strlen(text) - 1] == '\n');
	text[strlen(text) - 1] = 0;
	fuzz_require(fuzz_is_plain(text));
	return 0;
}

int __wrap_cli_read_token(struct buffer *token)
{
	buffer_init(token, 64);
	buffer_put(token, "a.b.c", 5);
	return 0;
}

int __wrap_isatty(int fd)
{
	(void)fd;
	return 0;
}

static const struct {
	int (*run)(const struct cli *cli);
	const char *words[6];
} verbs[] = {
	{ cli_module_show, { "module", "show", "azure" } },
	{ cli_module_list, { "module", "list" } },
	{ cli_jwks_list, { "jwks", "list" } },
	{ cli_jwks_refresh, { "jwks", "refresh", "entra" } },
	{ cli_verify, { "verify", "--service=pg", "--login=alice", "-" } },
	{ cli_status, { "status" } },
	{ cli_status, { "status", "atlas" } },
	{ cli_status, { "status", "--check" } },
	{ cli_refresh, { "refresh", "atlas" } },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static bool takes_json(size_t which)
{
	return verbs[which].run != cli_refresh && (verbs[which].run != cli_status || !verbs[which].words[1] || verbs[which].words[1][0] != '-');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[10] = { (char *)(uintptr_t) "keyfob" };
	int argc = 1, code;
	struct cli cli;
	size_t which;

	if (size < 2 || size > WIRE_MAX)
		return 0;
	which = data[0] % VERBS;
	json = data[1] == 1 && takes_json(which);
	printed = false;
	answer = data + 2;
	answer_length = size - 2;
	for (; verbs[which].words[argc - 1]; argc++)
		argv[argc] = (char *)(uintptr_t)verbs[which].words[argc - 1];
	if (json)
		argv[argc++] = (char *)(uintptr_t) "--json";
	fuzz_require(cli_parse(&cli, cli_verbs, argc, argv, &code));
	code = verbs[which].run(&cli);
	fuzz_require(code >= 0 && code <= 8);
	return 0;
}

/* --- seeds ------------------------------------------------------------------------------------- */

static void start(struct buffer *b, uint8_t which, uint8_t with_json)
{
	buffer_clear(b);
	buffer_put_u8(b, which);
	buffer_put_u8(b, with_json);
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, 0);
}

static void put_module(struct buffer *b)
{
	buffer_put_text(b, "azure");
	buffer_put_text(b, "tokens of an Azure identity");
	buffer_put_u8(b, KEYFOB_SANDBOX_NETWORK);
	buffer_put_u8(b, KEYFOB_KIND_ACCESS);
	buffer_put_text(b, "azure client_id=...");
	buffer_put_u32(b, 2);
	for (uint8_t i = 0; i < 2; i++) {
		buffer_put_text(b, i ? "source" : "client_id");
		buffer_put_u8(b, i ? KEYFOB_OPTION_CHOICE : KEYFOB_OPTION_TEXT);
		buffer_put_u8(b, i ? KEYFOB_OPTION_REQUIRED : KEYFOB_OPTION_SECRET);
		buffer_put_text(b, i ? "imds|app" : "");
		buffer_put_text(b, "which one");
	}
}

static void put_key_set(struct buffer *b, uint8_t state)
{
	buffer_put_text(b, state ? "google" : "entra");
	buffer_put_u8(b, state);
	for (int i = 0; i < 5; i++)
		buffer_put_u64(b, 1790000000);
	buffer_put_u32(b, 2);
	buffer_put_text(b, state ? "it is gone" : "");
	buffer_put_u32(b, 1);
	buffer_put_text(b, "kid-1");
	buffer_put_text(b, "RSA 2048");
}

static void put_status(struct buffer *b)
{
	buffer_put_u8(b, 0);
	buffer_put_text(b, "0.1.0");
	buffer_put_u64(b, 1700000000);
	buffer_put_text(b, "atlas");
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
	buffer_put_u32(b, 1);
	buffer_put_text(b, "@dbclients");
	buffer_put_u8(b, WIRE_READER_COPY);
	buffer_put_u32(b, 2);
	buffer_put_text(b, "dbclients");
}

void fuzz_seeds(void)
{
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	for (uint8_t with_json = 0; with_json < 2; with_json++) {
		for (uint8_t which = 0; which < VERBS; which++) {
			start(&b, which, with_json);
			if (which < 2) {
				put_module(&b);
			} else if (which == 2) {
				buffer_put_u8(&b, 0);
				put_key_set(&b, WIRE_KEYSET_GOOD);
				put_key_set(&b, WIRE_KEYSET_REVOKED);
			} else if (which == 3) {
				buffer_put_u32(&b, 3);
			} else if (which == 4) {
				buffer_put_text(&b, "alice");
				buffer_put_text(&b, "entra");
				buffer_put_text(&b, "5f3a");
				buffer_put_u64(&b, 1900000000);
			} else if (which < 8) {
				put_status(&b);
			} else {
				buffer_put_text(&b, "");
				buffer_put_u64(&b, 1900000000);
				buffer_put_u64(&b, 1800000000);
				buffer_put_text(&b, "0123abcd");
			}
			fuzz_seed(b.data, b.length);
		}
	}
	start(&b, 0, 0);
	b.data[3] = 1;
	buffer_put_text(&b, "not a module's name");
	fuzz_seed(b.data, b.length);
	start(&b, 5, 0);
	b.length -= 2;
	wire_put_error(&b, KEYFOB_EDENIED, 5, "not allowed to have it");
	fuzz_seed(b.data, b.length);
	buffer_free(&b);
}
