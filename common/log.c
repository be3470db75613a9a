/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TALLIES 256 /* users counted in a second; any more share the last one's room */

static const char *log_ident = "keyfob";
static bool log_syslog;
static bool log_prefix;
static int log_least = LOG_INFO;

static const struct {
	const char *name;
	int level;
} levels[] = {
	{ "err", LOG_ERR },
	{ "warning", LOG_WARNING },
	{ "notice", LOG_NOTICE },
	{ "info", LOG_INFO },
	{ "debug", LOG_DEBUG },
};

int log_level(const char *name)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(levels[i].name, name) == 0)
			return levels[i].level;
	return -1;
}

/* The variable is inherited by whom the descriptor is not. */
static bool is_journal(void)
{
	const char *stream = secure_getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;

	return stream && sscanf(stream, "%" SCNuMAX ":%" SCNuMAX, &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == device && st.st_ino == inode;
}

void log_open(const char *ident, bool to_syslog, int level)
{
	log_ident = ident;
	log_syslog = to_syslog;
	log_prefix = is_journal();
	log_least = level;
	/* LOG_NDELAY: a sandboxed process may not be able to connect later. */
	if (to_syslog)
		openlog(ident, LOG_PID | LOG_NDELAY, LOG_AUTHPRIV);
}

char *log_quote(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (; *text && n + 3 <= size; text++) {
		if (*text == '"' || *text == '\\')
			out[n++] = '\\';
		out[n++] = *text;
	}
	if (size)
		out[n] = 0;
	return out;
}

char *log_escape(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (; *text && n + 5 <= size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c < 0x7f)
			out[n++] = (char)c;
		else
			n += (size_t)snprintf(out + n, 5, "\\x%02x", c);
	}
	if (size)
		out[n] = 0;
	return out;
}

void log_line(int level, const char *format, ...)
{
	char text[2048], line[4096];
	va_list args;

	if (level > log_least)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_escape(text, line, sizeof(line));
	if (log_syslog)
		syslog(level, "%s", line);
	else if (log_prefix)
		dprintf(STDERR_FILENO, "<%d>%s: %s\n", level, log_ident, line);
	else
		dprintf(STDERR_FILENO, "%s: %s\n", log_ident, line);
}

unsigned int log_tally(uid_t uid)
{
	static struct {
		uid_t uid;
		unsigned int lines;
	} tally[TALLIES];
	static time_t second;
	static size_t users;
	time_t now = time(NULL);
	size_t i = 0;

	if (now != second)
		users = 0;
	second = now;
	while (i < users && i < TALLIES - 1 && tally[i].uid != uid)
		i++;
	if (i == users) {
		tally[i].uid = uid;
		tally[i].lines = 0;
		users++;
	}
	return ++tally[i].lines;
}

void log_faults(struct buffer *errors)
{
	const char *at = buffer_cstring(errors);

	while (at && *at) {
		size_t length = strcspn(at, "\n");

		log_error("%.*s", (int)length, at);
		at += length + (at[length] == '\n');
	}
}
