/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a credential by which unmodified clients reach it: file and socket. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/policy.h"

#define PGPASS_LINES_MAX 16
#define PGPASS_FIELDS 4
#define PORT_FIELD 1
#define WRITE_BITS 0222u /* connect(2) asks for the right to write */

static bool is_port(const char *text, size_t length)
{
	unsigned long port = 0;

	if (length == 1 && *text == '*')
		return true;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (unsigned long)(text[i] - '0');
	}
	return length <= 5 && port >= 1 && port <= 65535;
}

/* Fields as libpq reads them: a backslash takes the meaning from ':' and '\'. NULL, or what is wrong. */
static const char *pgpass_fault(const char *text)
{
	size_t field = 0;
	const char *start = text;

	/* To libpq that would be a comment. */
	if (*text == '#')
		return "HOST cannot begin with #";
	for (;; text++) {
		if (*text == '\\' && text[1] != ':' && text[1] != '\\')
			return "a backslash stands before : or another backslash only";
		if (*text == '\\') {
			text++;
			continue;
		}
		if ((unsigned char)*text < ' ' && *text)
			return "control characters cannot be written there";
		if (*text && *text != ':')
			continue;
		if (text == start)
			return "no field may be empty; * stands for any";
		if (field == PORT_FIELD && !is_port(start, (size_t)(text - start)))
			return "PORT is a number up to 65535, or *";
		field++;
		start = text + 1;
		if (!*text)
			return field == PGPASS_FIELDS ? NULL : "it takes HOST:PORT:DATABASE:USER";
	}
}

static bool take_pgpass(struct policy_credential *c, const char *text, const struct policy_fault *at)
{
	const char *fault = pgpass_fault(text);
	struct policy_pgpass *grown;

	if (fault) {
		policy_error(at, "file = pgpass %s: %s", text, fault);
		return false;
	}
	grown = c->pgpass_count < PGPASS_LINES_MAX ? reallocarray(c->pgpass, c->pgpass_count + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		policy_error(at, "a credential has at most %d lines of a pgpass file", PGPASS_LINES_MAX);
		return false;
	}
	c->pgpass = grown;
	grown[c->pgpass_count] = (struct policy_pgpass){ .text = strdup(text), .line = at->line };
	if (!grown[c->pgpass_count].text)
		return false;
	c->pgpass_count++;
	return true;
}

bool policy_take_file(struct policy_credential *c, const char *value, const struct policy_fault *at)
{
	size_t length = strcspn(value, " \t");
	const char *rest = value + length + strspn(value + length, " \t");

	c->file_line = at->line;
	if (length == 6 && strncmp(value, "pgpass", length) == 0)
		return take_pgpass(c, rest, at);
	if (length != 3 || strncmp(value, "raw", length) != 0 || *rest) {
		policy_error(at, "file is raw, or pgpass HOST:PORT:DATABASE:USER");
		return false;
	}
	if (c->has_raw_file) {
		policy_error(at, "file = raw is given twice");
		return false;
	}
	if (strcmp(c->name, POLICY_PGPASS) == 0) {
		policy_error(at, "a credential of the name " POLICY_PGPASS " cannot have a raw file: that of file = pgpass has this name");
		return false;
	}
	c->has_raw_file = true;
	return true;
}

static bool is_mode(const char *text, uint32_t *mode)
{
	char *end;
	size_t digits = strspn(text, "01234567");

	*mode = (uint32_t)strtoul(text, &end, 8);
	return (digits == 3 || digits == 4) && text[digits] == 0 && *mode <= 0777;
}

bool policy_socket_number(const char *text, uint32_t *id)
{
	unsigned long long value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	/* The largest number means "leave it" to chown(2). */
	if (*end || errno || value >= UINT32_MAX)
		return false;
	*id = (uint32_t)value;
	return true;
}

bool policy_take_socket(struct policy_credential *c, const char *value, const struct policy_fault *at)
{
	size_t owner = strcspn(value, " \t"), user = strcspn(value, ": \t");
	const char *mode = value + owner + strspn(value + owner, " \t");

	if (c->socket.user) {
		policy_error(at, "socket is given twice");
		return false;
	}
	if (user == 0 || user + 1 >= owner || memchr(value + user + 1, ':', owner - user - 1) || !is_mode(mode, &c->socket.mode)) {
		policy_error(at, "socket takes USER:GROUP MODE, the mode in octal: orders:orders 0660");
		return false;
	}
	if (!(c->socket.mode & WRITE_BITS)) {
		policy_error(at, "socket: mode %s lets nobody connect; that is the right to write, 0660 or 0600", mode);
		return false;
	}
	c->socket.line = at->line;
	c->socket.user = strndup(value, user);
	c->socket.group = strndup(value + user + 1, owner - user - 1);
	return c->socket.user && c->socket.group;
}

void policy_free_files(struct policy_credential *c)
{
	for (size_t i = 0; i < c->pgpass_count; i++)
		free(c->pgpass[i].text);
	free(c->pgpass);
	free(c->socket.user);
	free(c->socket.group);
}

/* Is there surely somebody who has both? */
static bool share_reader(const struct policy_credential *a, const struct policy_credential *b)
{
	for (size_t i = 0; i < a->rule_count; i++)
		for (size_t j = 0; j < b->rule_count; j++)
			if (a->rules[i].is_group == b->rules[j].is_group && strcmp(a->rules[i].name, b->rules[j].name) == 0)
				return true;
	return !a->rule_count && !b->rule_count;
}

static void check_pgpass(const struct policy *policy, size_t at, size_t line, struct buffer *errors)
{
	const struct policy_credential *c = &policy->credentials[at];
	const struct policy_fault fault = { c->file, c->pgpass[line].line, errors };

	for (size_t i = 0; i <= at; i++) {
		const struct policy_credential *other = &policy->credentials[i];

		for (size_t j = 0; j < (i == at ? line : other->pgpass_count); j++) {
			if (strcmp(other->pgpass[j].text, c->pgpass[line].text) != 0 || (i != at && !share_reader(c, other)))
				continue;
			policy_error(&fault, "credential %s: the line %s of a pgpass file is that of credential %s too (%s:%u)", c->name,
				c->pgpass[line].text, other->name, other->file, other->pgpass[j].line);
			return;
		}
	}
}

void policy_check_files(const struct policy *policy, struct buffer *errors)
{
	for (size_t i = 0; i < policy->count; i++) {
		const struct policy_credential *c = &policy->credentials[i];
		const struct policy_fault at = { c->file, c->file_line, errors };

		if (policy_has_file(c) && c->refresh == POLICY_REFRESH_ON_DEMAND)
			policy_error(
				&at, "credential %s: file wants refresh = ahead, as who reads a file does not ask for a token", c->name);
		for (size_t j = 0; j < c->pgpass_count; j++)
			check_pgpass(policy, i, j, errors);
	}
}

bool policy_has_file(const struct policy_credential *c)
{
	return c->has_raw_file || c->pgpass_count;
}
