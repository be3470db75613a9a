/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin-doctor-pam.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/admin-doctor.h"

#define FILE_MAX 65536

struct reading {
	int directory;
	struct pam_stack *stack;
	int files;
};

static bool read_file(struct reading *r, const char *name, const char *only);

/* The next word, one in [] whole, copied. Returns where it goes on. */
static const char *next_word(const char *at, char *out, size_t size)
{
	size_t length;

	at += strspn(at, " \t");
	if (*at == '[') {
		length = strcspn(++at, "]");
		snprintf(out, size, "[%.*s]", (int)length, at);
		return at[length] ? at + length + 1 : at + length;
	}
	length = strcspn(at, " \t");
	snprintf(out, size, "%.*s", (int)length, at);
	return at + length;
}

/* What [value=action ...] does with this value; "" where it is not named. */
static void find_action(const char *control, const char *value, char *out, size_t size)
{
	size_t length = strlen(value);

	out[0] = 0;
	for (const char *at = control + 1; *at; at += strcspn(at, " \t]"), at += strspn(at, " \t]"))
		if (strncmp(at, value, length) == 0 && at[length] == '=') {
			snprintf(out, size, "%.*s", (int)strcspn(at + length + 1, " \t]"), at + length + 1);
			return;
		}
}

static bool is_jump(const char *action)
{
	return action[0] >= '1' && action[0] <= '9';
}

/* A value that is not named, nor default, is bad (pam.conf(5)). */
static enum pam_flow flow_of(const char *control)
{
	char yes[16], no[16];

	if (control[0] != '[')
		return strcasecmp(control, "sufficient") == 0 ? PAM_ENOUGH
		       : strcasecmp(control, "optional") == 0 ? PAM_IGNORED
							      : PAM_NEEDED;
	find_action(control, "success", yes, sizeof(yes));
	find_action(control, "default", no, sizeof(no));
	if (!yes[0])
		strcpy(yes, no);
	if (strcmp(no, "ok") == 0 || strcmp(no, "done") == 0)
		return PAM_INVERTED;
	if (strcmp(no, "ignore") != 0 && !is_jump(no))
		return PAM_NEEDED;
	return strcmp(yes, "done") == 0 || is_jump(yes) ? PAM_ENOUGH : PAM_IGNORED;
}

static void add_line(struct reading *r, const char *file, unsigned int number, const char *text, const char *only)
{
	struct pam_line line = { .number = number };
	const char *at = next_word(text, line.type, sizeof(line.type));
	bool quiet = line.type[0] == '-';

	if (quiet)
		memmove(line.type, line.type + 1, sizeof(line.type) - 1);
	at = next_word(at, line.control, sizeof(line.control));
	at = next_word(at, line.module, sizeof(line.module));
	snprintf(line.arguments, sizeof(line.arguments), "%s", at + strspn(at, " \t"));
	snprintf(line.file, sizeof(line.file), "%s", file);
	if (!line.module[0] || (only && strcasecmp(only, line.type) != 0))
		return;
	if (strcmp(line.control, "include") == 0 || strcmp(line.control, "substack") == 0) {
		read_file(r, line.module, line.type);
		return;
	}
	line.flow = flow_of(line.control);
	if (r->stack->count < PAM_LINES_MAX)
		r->stack->line[r->stack->count++] = line;
	else
		snprintf(r->stack->fault, sizeof(r->stack->fault), "%.100s: the stack has more than %d lines", file, PAM_LINES_MAX);
}

/* Without what a comment says; a \ at the end joins the next line. Returns where it goes on. */
static char *take_line(char *text, char *out, size_t size, unsigned int *number)
{
	size_t used = 0;
	bool joined;

	out[0] = 0;
	do {
		size_t end = strcspn(text, "\n"), length = end, comment;

		++*number;
		joined = end && text[end - 1] == '\\';
		length -= joined;
		comment = strcspn(text, "#");
		if (comment < length) {
			length = comment;
			joined = false;
		}
		used += (size_t)snprintf(out + used, size - used, "%.*s ", (int)length, text);
		used = used < size ? used : size - 1;
		text += end + (text[end] == '\n');
	} while (joined && *text);
	return text;
}

static void read_lines(struct reading *r, const char *name, char *text, const char *only)
{
	char line[1024], word[PAM_WORD_MAX];
	unsigned int number = 0;

	while (*text) {
		unsigned int first = number + 1;
		const char *at;

		text = take_line(text, line, sizeof(line), &number);
		for (size_t i = strlen(line); i && strchr(" \t\r", line[i - 1]); i--)
			line[i - 1] = 0;
		at = next_word(line, word, sizeof(word));
		if (strcmp(word, "@include") == 0) {
			next_word(at, word, sizeof(word));
			read_file(r, word, only);
		} else if (word[0]) {
			add_line(r, name, first, line, only);
		}
	}
}

/* An absolute path is one; all else is below the directory. */
static bool read_file(struct reading *r, const char *name, const char *only)
{
	struct buffer b;
	bool ok = false;

	buffer_init(&b, FILE_MAX + 8192);
	if (++r->files > PAM_FILES_MAX)
		errno = ELOOP;
	else
		ok = doctor_slurp(r->directory, name, 0, FILE_MAX, &b) && buffer_cstring(&b);
	if (!ok)
		snprintf(r->stack->fault, sizeof(r->stack->fault), "%.100s: %s", name, strerror(errno));
	if (ok)
		read_lines(r, name, (char *)b.data, only);
	buffer_free(&b);
	return ok;
}

bool pam_stack_read(const char *directory, const char *service, struct pam_stack *stack)
{
	struct reading r = { .stack = stack };
	bool ok;

	memset(stack, 0, sizeof(*stack));
	r.directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r.directory < 0)
		return false;
	ok = read_file(&r, service, NULL);
	close(r.directory);
	return ok;
}

bool pam_line_is(const struct pam_line *line, const char *module)
{
	const char *slash = strrchr(line->module, '/');

	return strcmp(slash ? slash + 1 : line->module, module) == 0;
}

bool pam_line_has(const struct pam_line *line, const char *argument)
{
	size_t length = strlen(argument);

	for (const char *at = line->arguments; *at; at += strcspn(at, " \t"), at += strspn(at, " \t"))
		if (strncmp(at, argument, length) == 0 && (at[length] == 0 || strchr(" \t", at[length])))
			return true;
	return false;
}
