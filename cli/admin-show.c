/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin.h"

#include <string.h>

void admin_put_pair(struct buffer *b, const char *label, const char *value)
{
	if (!value || !*value)
		return;
	buffer_printf(b, "  %-19s ", label);
	cli_put_escaped(b, value);
	buffer_put(b, "\n", 1);
}

void admin_put_list(struct buffer *b, const char *label, const struct federation_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		admin_put_pair(b, i ? "" : label, list->names[i]);
}

void admin_json_list(struct buffer *b, const char *name, const struct federation_list *list)
{
	cli_json_open(b, name, '[');
	for (size_t i = 0; i < list->count; i++)
		cli_json_text(b, NULL, list->names[i]);
	cli_json_close(b, ']');
}

void admin_json_place(struct buffer *b, const char *file, unsigned int line)
{
	cli_json_text(b, "file", file);
	cli_json_number(b, "line", line);
}

int admin_list(const struct cli *cli, const struct admin_kind *kind)
{
	bool json = cli_value(cli, "json");
	struct buffer b;
	struct admin a;
	int code = admin_open(&a, cli, ADMIN_LOOK);

	buffer_init(&b, CLI_OUTPUT_MAX);
	if (code)
		goto out;
	if (json) {
		cli_json_open(&b, NULL, '{');
		cli_json_open(&b, kind->plural, '[');
	}
	for (size_t i = 0; i < kind->count(&a.now); i++)
		(json ? kind->put_json : kind->put_line)(&a.now, i, &b);
	if (json) {
		cli_json_close(&b, ']');
		cli_json_close(&b, '}');
		buffer_put(&b, "\n", 1);
	} else if (!b.length) {
		buffer_printf(&b, "%s\n", kind->none);
	}
	code = cli_output(&b);
out:
	buffer_free(&b);
	admin_close(&a);
	return code;
}

int admin_show(const struct cli *cli, const struct admin_kind *kind)
{
	const char *name = cli->operand[0];
	struct buffer b;
	struct admin a;
	size_t i = 0;
	int code = admin_open(&a, cli, ADMIN_LOOK);

	buffer_init(&b, CLI_OUTPUT_MAX);
	if (code)
		goto out;
	while (i < kind->count(&a.now) && strcmp(kind->name(&a.now, i), name) != 0)
		i++;
	if (i == kind->count(&a.now)) {
		code = admin_unknown(&a, kind->type, name);
		goto out;
	}
	if (cli_value(cli, "json")) {
		kind->put_json(&a.now, i, &b);
		buffer_put(&b, "\n", 1);
	} else {
		kind->put_page(&a.now, i, &b);
	}
	code = cli_output(&b);
out:
	buffer_free(&b);
	admin_close(&a);
	return code;
}
