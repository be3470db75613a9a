/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/module.h"

#define LIST_MAX 65536
#define COUNT_MAX 256 /* options of a module */

struct option {
	char *name, *values, *help;
	uint8_t type, flags;
};

struct module {
	char *name, *help, *example;
	uint8_t sandbox, kind;
	struct option *options;
	size_t count;
};

static void free_module(struct module *m)
{
	for (size_t i = 0; i < m->count; i++) {
		free(m->options[i].name);
		free(m->options[i].values);
		free(m->options[i].help);
	}
	free(m->options);
	free(m->name);
	free(m->help);
	free(m->example);
	memset(m, 0, sizeof(*m));
}

static bool read_module(struct reader *r, struct module *m)
{
	uint32_t count;

	m->name = reader_dup(r, WIRE_NAME_MAX);
	m->help = reader_dup(r, WIRE_TEXT_MAX);
	m->sandbox = reader_u8(r);
	m->kind = reader_u8(r);
	m->example = reader_dup(r, WIRE_MAX);
	count = reader_u32(r);
	if (r->failed || count > COUNT_MAX)
		return false;
	m->options = calloc(count + 1u, sizeof(*m->options));
	if (!m->options)
		return false;
	for (; m->count < count && !r->failed; m->count++) {
		struct option *o = &m->options[m->count];

		o->name = reader_dup(r, WIRE_NAME_MAX);
		o->type = reader_u8(r);
		o->flags = reader_u8(r);
		o->values = reader_dup(r, WIRE_TEXT_MAX);
		o->help = reader_dup(r, WIRE_TEXT_MAX);
		if (!(o->flags & KEYFOB_OPTION_ARGUMENTS) && o->name && !wire_name_valid(o->name))
			r->failed = true;
	}
	return reader_done(r);
}

static int ask_fetch(const char *what, const char *name, struct buffer *output)
{
	const char *arguments[5];
	char space[PATH_MAX];

	cli_fetch_arguments(what, name, space, sizeof(space), arguments);
	return cli_tool("keyfob-fetch", arguments, output);
}

/* Returns 0 with m filled (free it), or an exit code with a line on stderr. */
static int describe(const char *name, struct module *m)
{
	char text[WIRE_TEXT_MAX];
	struct buffer frame;
	struct reader r;
	uint8_t version, failure;
	int code = 0, status;

	memset(m, 0, sizeof(*m));
	buffer_init(&frame, WIRE_MAX + 4096);
	status = ask_fetch("--describe", name, &frame);
	if (status < 0) {
		code = 1;
		goto out;
	}
	reader_init(&r, frame.data, frame.length);
	version = reader_u8(&r);
	failure = reader_u8(&r);
	if (version == WIRE_VERSION && failure) {
		reader_text(&r, text, sizeof(text));
		code = cli_fail(KEYFOB_EFAIL, name, "%s", reader_done(&r) ? text : "the module cannot be read");
	} else if (version != WIRE_VERSION || !read_module(&r, m)) {
		free_module(m);
		code = cli_fail(KEYFOB_EFAIL, name, "keyfob-fetch ended with status %d and said nothing that makes sense", status);
	}
out:
	buffer_free(&frame);
	return code;
}

static const char *type_name(uint8_t type)
{
	static const char *const names[] = {
		[KEYFOB_OPTION_TEXT] = "text",
		[KEYFOB_OPTION_CHOICE] = "choice",
		[KEYFOB_OPTION_URL] = "url",
		[KEYFOB_OPTION_SECONDS] = "seconds",
		[KEYFOB_OPTION_FILE] = "file",
		[KEYFOB_OPTION_FLAG] = "yes|no",
		[KEYFOB_OPTION_CREDENTIAL] = "credential",
	};

	return type < sizeof(names) / sizeof(names[0]) ? names[type] : "?";
}

static const char *kind_name(uint8_t kind)
{
	static const char *const names[] = {
		[KEYFOB_KIND_DEFAULT] = "default",
		[KEYFOB_KIND_ACCESS] = "access",
		[KEYFOB_KIND_ID] = "id",
		[KEYFOB_KIND_DOCUMENT] = "document",
	};

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

/* How it is written and what kind of value it takes, then its help. */
static void put_option(struct buffer *b, const struct option *o)
{
	char form[WIRE_NAME_MAX + 8];

	if (o->flags & KEYFOB_OPTION_ARGUMENTS) {
		buffer_printf(b, "  %s", strncmp(o->values, "-- ", 3) == 0 ? "" : "-- ");
		cli_put_escaped(b, o->values[0] ? o->values : "ARGUMENT...");
	} else {
		snprintf(form, sizeof(form), "%s=", o->name);
		buffer_printf(b, "  %-18s  %s", form, type_name(o->type));
		if (o->values[0])
			buffer_printf(b, ": ");
		cli_put_escaped(b, o->values);
	}
	if (o->flags & KEYFOB_OPTION_REQUIRED)
		buffer_printf(b, " (required)");
	buffer_printf(b, "\n      ");
	cli_put_escaped(b, o->help);
	buffer_put(b, "\n", 1);
}

static void put_module(struct buffer *b, const struct module *m)
{
	char *example = m->example, *line;

	cli_put_escaped(b, m->name);
	buffer_printf(b, ": ");
	cli_put_escaped(b, m->help);
	buffer_put(b, "\n", 1);
	if (m->kind == KEYFOB_KIND_DOCUMENT)
		buffer_printf(b, "gives no tokens: no provider line names it\n");
	else if (m->kind != KEYFOB_KIND_DEFAULT)
		buffer_printf(b, "gives an %s token unless told otherwise\n", kind_name(m->kind));
	if (m->sandbox == KEYFOB_SANDBOX_EXEC)
		buffer_printf(b, "runs a program, so its provider line needs run_as=USER\n");
	if (m->count)
		buffer_printf(b, "\noptions%s:\n", m->kind == KEYFOB_KIND_DOCUMENT ? "" : " of its provider line");
	for (size_t i = 0; i < m->count; i++)
		put_option(b, &m->options[i]);
	if (!example[0])
		return;
	buffer_printf(b, "\nexample:\n");
	while ((line = strsep(&example, "\n"))) {
		if (!line[0] && !example)
			break;
		buffer_printf(b, "%s", line[0] ? "  " : "");
		for (char *tab = line; *tab; tab++)
			if (*tab == '\t')
				*tab = ' ';
		cli_put_escaped(b, line);
		buffer_put(b, "\n", 1);
	}
}

static void put_module_json(struct buffer *b, const struct module *m, bool whole)
{
	static const char *const sandboxes[] = { "network", "exec", "file" };

	cli_json_open(b, NULL, '{');
	cli_json_text(b, "name", m->name);
	cli_json_text(b, "help", m->help);
	if (whole) {
		cli_json_text(b, "sandbox", m->sandbox < 3 ? sandboxes[m->sandbox] : "?");
		cli_json_text(b, "token", kind_name(m->kind));
		cli_json_text(b, "example", m->example);
		cli_json_open(b, "options", '[');
	}
	for (size_t i = 0; whole && i < m->count; i++) {
		const struct option *o = &m->options[i];

		cli_json_open(b, NULL, '{');
		cli_json_text(b, "name", o->name);
		cli_json_text(b, "type", o->type == KEYFOB_OPTION_FLAG ? "flag" : type_name(o->type));
		cli_json_flag(b, "required", o->flags & KEYFOB_OPTION_REQUIRED);
		cli_json_flag(b, "arguments", o->flags & KEYFOB_OPTION_ARGUMENTS);
		cli_json_text(b, "values", o->values);
		cli_json_text(b, "help", o->help);
		cli_json_close(b, '}');
	}
	if (whole)
		cli_json_close(b, ']');
	cli_json_close(b, '}');
}

int cli_module_show(const struct cli *cli)
{
	const char *name = cli->operand[0];
	struct module m;
	struct buffer b;
	int code;

	if (!wire_name_valid(name))
		return cli_usage(cli, "%s: not a module's name", name);
	code = describe(name, &m);
	if (code)
		return code;
	buffer_init(&b, CLI_OUTPUT_MAX);
	if (cli_value(cli, "json")) {
		put_module_json(&b, &m, true);
		buffer_put(&b, "\n", 1);
	} else {
		put_module(&b, &m);
	}
	code = cli_output(&b);
	buffer_free(&b);
	free_module(&m);
	return code;
}

/* A module that cannot be read is told on stderr and does not hide the others. */
int cli_module_list(const struct cli *cli)
{
	bool json = cli_value(cli, "json");
	char *save = NULL, *text = NULL;
	int code = 1, bad = 0, status;
	struct buffer names, b;

	buffer_init(&names, LIST_MAX);
	buffer_init(&b, CLI_OUTPUT_MAX);
	status = ask_fetch("--list", NULL, &names);
	if (status > 0)
		cli_fail(KEYFOB_EFAIL, NULL, "keyfob-fetch --list ended with status %d", status);
	if (status || !buffer_cstring(&names))
		goto out;
	if (json) {
		cli_json_open(&b, NULL, '{');
		cli_json_open(&b, "modules", '[');
	}
	text = strdup((const char *)names.data);
	for (char *name = text ? strtok_r(text, "\n", &save) : NULL; name; name = strtok_r(NULL, "\n", &save)) {
		struct module m;

		if (!wire_name_valid(name) || describe(name, &m)) {
			bad = 1;
			continue;
		}
		/* What cannot stand on a provider line helps nobody who looks for what can. */
		if (m.kind == KEYFOB_KIND_DOCUMENT) {
			free_module(&m);
			continue;
		}
		if (json) {
			put_module_json(&b, &m, false);
		} else {
			buffer_printf(&b, "%-15s ", name);
			cli_put_escaped(&b, m.help);
			buffer_put(&b, "\n", 1);
		}
		free_module(&m);
	}
	if (json) {
		cli_json_close(&b, ']');
		cli_json_close(&b, '}');
		buffer_put(&b, "\n", 1);
	}
	code = cli_output(&b);
	code = code ? code : bad;
out:
	free(text);
	buffer_free(&names);
	buffer_free(&b);
	return code;
}
