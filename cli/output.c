/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "keyring/client.h"

int cli_output(const struct buffer *b)
{
	size_t done = 0;

	if (b->failed)
		return cli_fail(KEYFOB_ENOMEM, NULL, "the output is too large, or out of memory");
	while (done < b->length) {
		ssize_t n = write(STDOUT_FILENO, b->data + done, b->length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cli_fail(KEYFOB_EFAIL, NULL, "standard output: %s", strerror(errno));
		done += (size_t)n;
	}
	return 0;
}

int cli_fail(int error, const char *subject, const char *format, ...)
{
	char text[2048], line[4096], name[4 * WIRE_NAME_MAX + 8];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_escape(text, line, sizeof(line));
	if (subject)
		fprintf(stderr, "keyfob: %s: %s\n", log_escape(subject, name, sizeof(name)), line);
	else
		fprintf(stderr, "keyfob: %s\n", line);
	return error == KEYFOB_ENOMEM ? -KEYFOB_EFAIL : -error;
}

bool cli_is_master(void)
{
	return geteuid() == 0 || client_is_own(client_socket());
}

/* What to do about a failure, or NULL. */
static const char *hint(int error, const char *name, const char *message, char *out, size_t size)
{
	struct passwd *user;

	switch (error) {
	case KEYFOB_EBROKER:
		return strstr(message, "cannot reach") ? "is keyfobd running?" : NULL;
	case KEYFOB_EDENIED:
		if (!name || strstr(message, "root") || strstr(message, "allow ="))
			return NULL;
		user = getpwuid(geteuid());
		if (!user)
			return NULL;
		snprintf(out, size, "root may add \"allow = user:%s\" to [credential %s]", user->pw_name, name);
		return out;
	case KEYFOB_EPROVIDER:
		snprintf(out, size, cli_is_master() ? "keyfob try %s shows the exchange" : "ask root: keyfob try %s", name ? name : "NAME");
		return strstr(message, "keyfob try") ? NULL : out;
	default:
		return NULL;
	}
}

int cli_fail_request(int error, const char *name, const char *message)
{
	const char *text = message[0] ? message : keyfob_strerror(error);
	char space[256];
	const char *what = hint(error, name, text, space, sizeof(space));

	if (what)
		return cli_fail(error, name, "%s (%s)", text, what);
	return cli_fail(error, name, "%s", text);
}

bool cli_put_escaped(struct buffer *b, const char *text)
{
	size_t size = 4 * strlen(text) + 5;
	char *to = (char *)buffer_reserve(b, size);

	if (!to)
		return false;
	log_escape(text, to, size);
	b->length += strlen(to);
	return true;
}

int cli_call(enum wire_opcode opcode, const char *name, const struct buffer *fields, int timeout_ms, struct buffer *reply, struct reader *r)
{
	bool open = opcode == WIRE_GET || opcode == WIRE_STATUS || opcode == WIRE_REFRESH;
	char message[WIRE_TEXT_MAX] = "";
	int error;

	cli_progress_begin(name, "waiting for the broker");
	error = client_call(opcode, fields, timeout_ms, reply, r, message, sizeof(message));
	cli_progress_end();
	/* To be allowed the credential would not help. */
	if (error == KEYFOB_EDENIED && !open && !message[0])
		return cli_fail(error, name, "only root may ask for that");
	return error ? cli_fail_request(error, name, message) : 0;
}

const char *cli_verifier_socket(void)
{
	const char *path = secure_getenv("KEYFOB_VERIFY_SOCKET");

	return path && *path ? path : WIRE_VERIFY_SOCKET_DEFAULT;
}

int cli_call_verifier(enum wire_verify opcode, const char *subject, const struct buffer *fields, int timeout_ms, struct buffer *reply,
	struct reader *r, char *message)
{
	const struct client_server verifier = { "the verifier", cli_verifier_socket() };
	char text[WIRE_TEXT_MAX] = "";
	int error;

	cli_progress_begin(subject, "waiting for the verifier");
	error = client_ask(&verifier, (uint8_t)opcode, fields, timeout_ms, reply, r, text, sizeof(text));
	cli_progress_end();
	if (error == KEYFOB_EREFUSED && message) {
		snprintf(message, WIRE_TEXT_MAX, "%s", text);
		return -error;
	}
	if (error == KEYFOB_EDENIED && !text[0])
		return cli_fail(error, subject, "the verifier does not let you ask that (root may)");
	if (error)
		return cli_fail(error, subject, "%s%s", text[0] ? text : keyfob_strerror(error),
			strstr(text, "cannot reach") ? " (is keyfob-verifyd running?)" : "");
	return 0;
}

int cli_malformed(const char *name)
{
	return cli_fail(KEYFOB_EFAIL, name, CLI_MALFORMED);
}

int cli_check_name(const struct cli *cli, const char *name)
{
	if (wire_name_valid(name))
		return 0;
	return cli_usage(cli, "%s: not a credential's name (letters, digits, '.', '_' and '-'; %d at most)", name, WIRE_NAME_MAX);
}

char *cli_duration(int64_t seconds, char *out, size_t size)
{
	static const struct {
		int64_t length;
		const char *unit;
	} units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "m" }, { 1, "s" } };
	size_t i = 0;

	if (seconds < 0)
		seconds = 0;
	while (i < 3 && seconds < units[i].length)
		i++;
	int64_t more = i < 3 ? seconds % units[i].length / units[i + 1].length : 0;

	if (more)
		snprintf(out, size, "%lld %s %lld %s", (long long)(seconds / units[i].length), units[i].unit, (long long)more,
			units[i + 1].unit);
	else
		snprintf(out, size, "%lld %s", (long long)(seconds / units[i].length), units[i].unit);
	return out;
}

void cli_put_time(struct buffer *b, int64_t when, int64_t now)
{
	char clock[64], words[64];
	time_t at = (time_t)when;
	struct tm tm;

	if (when == 0 || !gmtime_r(&at, &tm)) {
		buffer_printf(b, "never");
		return;
	}
	strftime(clock, sizeof(clock), "%Y-%m-%d %H:%M:%S UTC", &tm);
	cli_duration(when > now ? when - now : now - when, words, sizeof(words));
	buffer_printf(b, when > now ? "%s  in %s" : "%s  %s ago", clock, words);
}

int cli_read_token(struct buffer *token)
{
	/* More than a token may have, so that reading sees its end. */
	buffer_init(token, WIRE_VERIFY_TOKEN_MAX + 8192);
	for (;;) {
		uint8_t *to = buffer_reserve(token, 4096);
		ssize_t n = to ? read(STDIN_FILENO, to, 4096) : 0;

		if (!to)
			return cli_fail(KEYFOB_EFAIL, "standard input", "larger than a token may be (%d bytes)", WIRE_VERIFY_TOKEN_MAX);
		if (n < 0 && errno != EINTR)
			return cli_fail(KEYFOB_EFAIL, "standard input", "%s", strerror(errno));
		if (n == 0)
			break;
		if (n > 0)
			token->length += (size_t)n;
	}
	while (token->length && strchr(" \t\r\n", token->data[token->length - 1]) && token->data[token->length - 1])
		token->length--;
	return 0;
}

/* https://no-color.org: set, and not empty. */
bool cli_wants_colour(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (!no || !*no) && (!term || strcmp(term, "dumb") != 0);
}
