/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "modules/module.h"

/* Send a request whose only field is a name ("" for none) and keep the reply. */
static int request(enum wire_opcode opcode, const char *name, int timeout_ms, struct buffer *reply, struct reader *r)
{
	struct buffer fields;
	int code;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(reply, WIRE_MAX);
	if (name)
		buffer_put_text(&fields, name);
	code = cli_call(opcode, name, &fields, timeout_ms, reply, r);
	buffer_free(&fields);
	return code;
}

static int say(const char *name, const char *text)
{
	struct buffer b;
	int code;

	buffer_init(&b, WIRE_MAX);
	if (name)
		buffer_printf(&b, "%s: ", name);
	buffer_printf(&b, "%s\n", text);
	code = cli_output(&b);
	buffer_free(&b);
	return code;
}

int cli_drop(const struct cli *cli)
{
	const char *name = cli->operand[0];
	struct buffer reply;
	struct reader r;
	int code = cli_check_name(cli, name);

	if (code)
		return code;
	code = request(WIRE_DROP, name, CLI_BRIEF_MS, &reply, &r);
	if (!code)
		code = say(name, "dropped everywhere; another is asked for. A metadata service may hand out\n"
				 "the same once more, out of its cache: Azure's up to 24 h, Google's up to 1 h");
	buffer_free(&reply);
	return code;
}

int cli_refresh(const struct cli *cli)
{
	const char *name = cli->operand[0];
	char fingerprint[16], life[64], text[128];
	struct buffer reply;
	struct reader r;
	uint64_t expires;
	size_t length;
	int code = cli_check_name(cli, name);

	if (code)
		return code;
	code = request(WIRE_REFRESH, name, CLI_FETCH_MS, &reply, &r);
	if (code)
		goto out;
	reader_string(&r, &length);
	expires = reader_u64(&r);
	reader_u64(&r);
	reader_text(&r, fingerprint, sizeof(fingerprint));
	if (r.failed || expires > INT64_MAX) {
		code = cli_malformed(name);
		goto out;
	}
	if (strspn(fingerprint, "0123456789abcdef") != strlen(fingerprint))
		fingerprint[0] = 0;
	cli_duration((int64_t)expires - time(NULL), life, sizeof(life));
	snprintf(text, sizeof(text), "fetched afresh, #%s, lives %s", fingerprint, life);
	code = say(name, text);
out:
	buffer_free(&reply);
	return code;
}

static const struct {
	const char *words;
	int code;
} results[] = {
	[KEYFOB_CLASS_OK] = { "a token was obtained", 0 },
	[KEYFOB_CLASS_CONFIG] = { "failed: the configuration is wrong", -KEYFOB_EPROVIDER },
	[KEYFOB_CLASS_PERMANENT] = { "failed: the provider refuses", -KEYFOB_EPROVIDER },
	[KEYFOB_CLASS_THROTTLED] = { "failed: the provider is asked too often", -KEYFOB_EAGAIN },
	[KEYFOB_CLASS_UNAVAILABLE] = { "failed: nobody answers there", -KEYFOB_EAGAIN },
	[KEYFOB_CLASS_TRANSIENT] = { "failed, but a later attempt may succeed", -KEYFOB_EAGAIN },
};

int cli_try(const struct cli *cli)
{
	const char *name = cli->operand[0];
	struct buffer reply, out;
	char *lines = NULL, *save = NULL;
	struct reader r;
	uint8_t class;
	int code = cli_check_name(cli, name);

	if (code)
		return code;
	buffer_init(&out, CLI_OUTPUT_MAX);
	code = request(WIRE_TRY, name, CLI_FETCH_MS, &reply, &r);
	if (code)
		goto out;
	class = reader_u8(&r);
	lines = reader_dup(&r, WIRE_MAX);
	if (!lines || class >= sizeof(results) / sizeof(results[0])) {
		code = cli_malformed(name);
		goto out;
	}
	for (char *line = strtok_r(lines, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		buffer_put(&out, "  ", 2);
		cli_put_escaped(&out, line);
		buffer_put(&out, "\n", 1);
	}
	if (class == KEYFOB_CLASS_OK)
		buffer_printf(&out, "%s: %s; nothing was stored\n", name, results[class].words);
	code = cli_output(&out);
	if (!code && class != KEYFOB_CLASS_OK)
		code = cli_fail(-results[class].code, name, "%s", results[class].words);
out:
	free(lines);
	buffer_free(&out);
	buffer_free(&reply);
	return code;
}

/* The broker must be there; a host that accepts no logins has no verifier. */
int cli_reload(const struct cli *cli)
{
	char message[WIRE_TEXT_MAX] = "";
	struct buffer reply;
	struct reader r;
	int code = request(WIRE_RELOAD, NULL, CLI_BRIEF_MS, &reply, &r);
	enum cli_told verifier = code == -KEYFOB_EDENIED ? CLI_NOT_RUNNING : cli_tell_verifier(message);

	(void)cli;
	buffer_free(&reply);
	if (verifier == CLI_REFUSED)
		cli_fail(KEYFOB_EFAIL, "keyfob-verifyd", "%s", message);
	if (code || verifier == CLI_REFUSED)
		return code ? code : -KEYFOB_EFAIL;
	return say(NULL, verifier == CLI_TOLD ? "the configuration is read afresh, by the broker and the verifier"
					      : "the configuration is read afresh");
}
