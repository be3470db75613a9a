/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
		snprintf(out, size, geteuid() == 0 ? "keyfob try %s shows the exchange" : "ask root: keyfob try %s", name ? name : "NAME");
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

bool cli_put_json(struct buffer *b, const char *text)
{
	buffer_put(b, "\"", 1);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			buffer_put(b, "\\", 1);
		if (c < 0x20 || c == 0x7f)
			buffer_printf(b, "\\u%04x", c);
		else
			buffer_put_u8(b, c);
	}
	return buffer_put(b, "\"", 1);
}

int cli_call(enum wire_opcode opcode, const char *name, const struct buffer *fields, int timeout_ms, struct buffer *reply, struct reader *r)
{
	char message[WIRE_TEXT_MAX] = "";
	int error = client_call(opcode, fields, timeout_ms, reply, r, message, sizeof(message));
	bool open = opcode == WIRE_GET || opcode == WIRE_STATUS || opcode == WIRE_REFRESH;

	/* To be allowed the credential would not help. */
	if (error == KEYFOB_EDENIED && !open && !message[0])
		return cli_fail(error, name, "only root may ask for that");
	return error ? cli_fail_request(error, name, message) : 0;
}

int cli_malformed(const char *name)
{
	return cli_fail(KEYFOB_EFAIL, name, "the broker's reply makes no sense (are keyfob and keyfobd of one version?)");
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
