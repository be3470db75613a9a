/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin-doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[DOCTOR_LEVELS] = { "ok", "warning", "error" };

static struct doctor_finding *next_finding(struct doctor *d)
{
	if (d->count == d->room) {
		size_t room = d->room ? 2 * d->room : 64;
		struct doctor_finding *findings = reallocarray(d->findings, room, sizeof(*findings));

		if (!findings)
			return NULL;
		d->findings = findings;
		d->room = room;
	}
	return &d->findings[d->count];
}

void doctor_add(struct doctor *d, enum doctor_level level, const char *subject, const char *format, ...)
{
	struct doctor_finding *f = next_finding(d);
	va_list args;

	if (!f) {
		d->failed = true;
		return;
	}
	*f = (struct doctor_finding){ .check = d->check, .level = level, .subject = strdup(subject) };
	va_start(args, format);
	if (vasprintf(&f->text, format, args) < 0)
		f->text = NULL;
	va_end(args);
	d->count++;
	d->failed |= !f->subject || !f->text;
}

void doctor_fix(struct doctor *d, const char *format, ...)
{
	struct doctor_finding *f = d->count ? &d->findings[d->count - 1] : NULL;
	va_list args;

	if (!f || f->fix)
		return;
	va_start(args, format);
	if (vasprintf(&f->fix, format, args) < 0) {
		f->fix = NULL;
		d->failed = true;
	}
	va_end(args);
}

size_t doctor_count(const struct doctor *d, enum doctor_level level)
{
	size_t n = 0;

	for (size_t i = 0; i < d->count; i++)
		n += d->findings[i].level == level;
	return n;
}

void doctor_free_findings(struct doctor *d)
{
	for (size_t i = 0; i < d->count; i++) {
		free(d->findings[i].subject);
		free(d->findings[i].text);
		free(d->findings[i].fix);
	}
	free(d->findings);
	d->findings = NULL;
	d->count = d->room = 0;
}

/* --- for people ------------------------------------------------------------- */

static void put_finding(const struct doctor_finding *f, bool colour, struct buffer *b)
{
	static const char *const escapes[DOCTOR_LEVELS] = { "\033[32m", "\033[33m", "\033[31m" };

	buffer_printf(b, "  %s%-7s%s  ", colour ? escapes[f->level] : "", names[f->level], colour ? "\033[0m" : "");
	cli_put_escaped(b, f->subject ? f->subject : "?");
	buffer_printf(b, ": ");
	cli_put_escaped(b, f->text ? f->text : "?");
	if (f->fix) {
		buffer_printf(b, " -> ");
		cli_put_escaped(b, f->fix);
	}
	buffer_put(b, "\n", 1);
}

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

void doctor_put(const struct doctor *d, bool colour, struct buffer *b)
{
	size_t warnings = doctor_count(d, DOCTOR_WARNING), errors = doctor_count(d, DOCTOR_ERROR);

	for (size_t i = 0; i < d->count; i++) {
		if (i == 0 || strcmp(d->findings[i].check, d->findings[i - 1].check) != 0)
			buffer_printf(b, "%s%s%s\n", colour ? "\033[1m" : "", d->findings[i].check, colour ? "\033[0m" : "");
		put_finding(&d->findings[i], colour, b);
	}
	buffer_printf(
		b, "%zu ok, %zu warning%s, %zu error%s\n", doctor_count(d, DOCTOR_OK), warnings, plural(warnings), errors, plural(errors));
}

/* --- for programs ------------------------------------------------------------ */

void doctor_put_json(const struct doctor *d, struct buffer *b)
{
	cli_json_open(b, NULL, '[');
	for (size_t i = 0; i < d->count; i++) {
		const struct doctor_finding *f = &d->findings[i];

		cli_json_open(b, NULL, '{');
		cli_json_text(b, "check", f->check);
		cli_json_text(b, "level", names[f->level]);
		cli_json_text(b, "subject", f->subject);
		cli_json_text(b, "text", f->text);
		cli_json_text(b, "fix", f->fix);
		cli_json_close(b, '}');
	}
	cli_json_close(b, ']');
	buffer_put(b, "\n", 1);
}
