/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "keyring/client.h"

/* How a token is written. Each writes "no expiry known" by leaving it out. */
struct form {
	const char *name;
	void (*put)(struct buffer *b, const char *name, const char *token, time_t expires);
};

/* A line end is part of a password to most readers; only a person wants one. */
static void put_end(struct buffer *b)
{
	if (isatty(STDOUT_FILENO))
		buffer_put(b, "\n", 1);
}

static void put_raw(struct buffer *b, const char *name, const char *token, time_t expires)
{
	(void)name;
	(void)expires;
	buffer_put(b, token, strlen(token));
	put_end(b);
}

static void put_header(struct buffer *b, const char *name, const char *token, time_t expires)
{
	(void)name;
	(void)expires;
	buffer_put(b, "Authorization: Bearer ", 22);
	buffer_put(b, token, strlen(token));
	put_end(b);
}

static void put_json(struct buffer *b, const char *name, const char *token, time_t expires)
{
	buffer_printf(b, "{\"token\":");
	buffer_put_json(b, token);
	if (expires)
		buffer_printf(b, ",\"expires_at\":%lld", (long long)expires);
	else
		buffer_printf(b, ",\"expires_at\":null");
	buffer_printf(b, ",\"credential\":\"%s\"}\n", name);
}

/* Kubernetes client-go credential plugins, client.authentication.k8s.io/v1. */
static void put_exec_credential(struct buffer *b, const char *name, const char *token, time_t expires)
{
	char text[32];
	struct tm tm;

	(void)name;
	buffer_printf(b, "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\","
			 "\"status\":{\"token\":");
	buffer_put_json(b, token);
	if (expires && gmtime_r(&expires, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		buffer_printf(b, ",\"expirationTimestamp\":\"%s\"", text);
	buffer_printf(b, "}}\n");
}

/* Google's executable-sourced credentials (AIP-4117). */
static void put_google(struct buffer *b, const char *name, const char *token, time_t expires)
{
	(void)name;
	buffer_printf(b, "{\"version\":1,\"success\":true,"
			 "\"token_type\":\"urn:ietf:params:oauth:token-type:jwt\",\"id_token\":");
	buffer_put_json(b, token);
	if (expires)
		buffer_printf(b, ",\"expiration_time\":%lld", (long long)expires);
	buffer_printf(b, "}\n");
}

/* git-credential(1): the user name is the configuration's business. */
static void put_git(struct buffer *b, const char *name, const char *token, time_t expires)
{
	(void)name;
	buffer_put(b, "password=", 9);
	buffer_put(b, token, strlen(token));
	buffer_put(b, "\n", 1);
	if (expires)
		buffer_printf(b, "password_expiry_utc=%lld\n", (long long)expires);
}

static const struct form forms[] = {
	{ "exec-credential", put_exec_credential },
	{ "google", put_google },
	{ "git", put_git },
};

/* The form that was asked for, or NULL with the complaint made. */
static const struct form *choose(const struct cli *cli)
{
	static const struct form raw = { "raw", put_raw }, header = { "header", put_header }, json = { "json", put_json };
	const char *format = cli_value(cli, "format");
	const struct form *form = &raw;
	int asked = 0;

	if (cli_value(cli, "json")) {
		form = &json;
		asked++;
	}
	if (cli_value(cli, "header")) {
		form = &header;
		asked++;
	}
	for (size_t i = 0; format && i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (strcmp(forms[i].name, format) == 0) {
			form = &forms[i];
			format = NULL;
			asked++;
		}
	}
	if (format) {
		static const char *const names[] = { "exec-credential", "google", "git", NULL };
		const char *near = cli_nearest(format, names);

		if (near)
			cli_usage(cli, "unknown format %s (did you mean %s?)", format, near);
		else
			cli_usage(cli, "unknown format %s: there is exec-credential, google, git", format);
		return NULL;
	}
	if (asked > 1) {
		cli_usage(cli, "only one of --json, --header and --format");
		return NULL;
	}
	return form;
}

static int get_with_note(struct keyfob *kf, const char *name, struct keyfob_token **token)
{
	int error;

	cli_progress_begin(name, "waiting for a token");
	error = keyfob_get(kf, name, token);
	cli_progress_end();
	return error;
}

static int get_from_broker(const struct form *form, const char *name, struct buffer *b)
{
	struct keyfob_token *token = NULL;
	char message[WIRE_TEXT_MAX] = "";
	struct keyfob *kf = NULL;
	int error = keyfob_open(&kf);

	if (!error)
		error = get_with_note(kf, name, &token);
	if (!error)
		form->put(b, name, keyfob_token_value(token), keyfob_token_expires(token));
	else if (kf)
		keyfob_message(kf, message, sizeof(message));
	keyfob_token_free(&token);
	keyfob_close(&kf);
	return error ? cli_fail_request(error, name, message) : 0;
}

/* keyfobd has the policy and starts the sandboxed fetch, also where it does not serve. */
static int get_directly(const struct cli *cli, const struct form *form, const char *name, struct buffer *b)
{
	const char *arguments[] = { "--log", "err", "--direct", name, cli->config ? "--config" : NULL, cli->config, NULL };
	char message[WIRE_TEXT_MAX], token[WIRE_TOKEN_MAX + 1];
	struct buffer reply;
	struct reader r;
	uint64_t expires;
	int error = KEYFOB_EFAIL, status;

	buffer_init(&reply, WIRE_MAX);
	cli_progress_begin(name, "fetching a token");
	status = cli_tool_for_caller("keyfobd", arguments, &reply);
	cli_progress_end();
	if (status == 0) {
		error = client_read_reply(&reply, &r, message, sizeof(message));
		if (error)
			cli_fail_request(error, name, message);
	}
	if (!error) {
		reader_text(&r, token, sizeof(token));
		expires = reader_u64(&r);
		if (r.failed)
			error = -cli_malformed(name);
		else
			form->put(b, name, token, (time_t)expires);
	}
	explicit_bzero(token, sizeof(token));
	buffer_free(&reply);
	return -error;
}

int cli_get(const struct cli *cli)
{
	const char *name = cli->operand[0];
	const struct form *form = choose(cli);
	struct buffer b;
	int code;

	if (!form)
		return -KEYFOB_EINVAL;
	code = cli_check_name(cli, name);
	if (code)
		return code;
	buffer_init(&b, 8 * WIRE_MAX);
	code = cli_value(cli, "direct") ? get_directly(cli, form, name, &b) : get_from_broker(form, name, &b);
	if (code == 0)
		code = cli_output(&b);
	buffer_free(&b);
	return code;
}
