/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void admin_stanza_add(struct admin_stanza *s, const char *key, const char *value)
{
	if (!value || s->count == ADMIN_ENTRIES_MAX)
		return;
	s->entry[s->count].key = key;
	s->entry[s->count++].value = value;
}

void admin_stanza_put(const struct admin_stanza *s, struct buffer *text)
{
	int width = 0;

	for (size_t i = 0; i < s->count; i++)
		width = (int)strlen(s->entry[i].key) > width ? (int)strlen(s->entry[i].key) : width;
	buffer_printf(text, "[%s %s]\n", s->type, s->name);
	for (size_t i = 0; i < s->count; i++)
		buffer_printf(text, "%-*s = %s\n", width, s->entry[i].key, s->entry[i].value);
}

bool admin_stanza_is(const struct admin_stanza *s, const struct config *parsed)
{
	const struct config_section *section = parsed->sections;

	if (parsed->count != 1 || strcmp(section->type, s->type) != 0 || strcmp(section->name, s->name) != 0 || section->count != s->count)
		return false;
	for (size_t i = 0; i < s->count; i++)
		if (strcmp(section->entries[i].key, s->entry[i].key) != 0 || strcmp(section->entries[i].value, s->entry[i].value) != 0)
			return false;
	return true;
}

void admin_words(const struct cli *cli, const char *option, struct buffer *out)
{
	const char *value;
	int at = 0;

	while ((value = cli_next_value(cli, option, &at)))
		while (*(value += strspn(value, ", \t"))) {
			size_t length = strcspn(value, ", \t");

			buffer_printf(out, "%s%.*s", out->length ? " " : "", (int)length, value);
			value += length;
		}
}

static int check_values(const struct cli *cli, const struct admin_stanza *s)
{
	if (s->count == ADMIN_ENTRIES_MAX)
		return cli_usage(cli, "these are too many values for one section");
	for (size_t i = 0; i < s->count; i++) {
		const char *value = s->entry[i].value;
		size_t length = strlen(value);

		if (!length || length > FEDERATION_TEXT_MAX)
			return cli_usage(cli, "%s has 1 to %d bytes", s->entry[i].key, FEDERATION_TEXT_MAX);
		if (!federation_is_plain(value))
			return cli_usage(cli, "%s holds a line end or another control character", s->entry[i].key);
	}
	return 0;
}

/* What the section must not meet: one of its name, or a file in its place. */
static int check_place(const struct admin *a, const struct admin_change *c)
{
	const struct config_section *there = admin_section(&a->config, c->type, c->name);
	struct stat st;

	if (there)
		return cli_fail(KEYFOB_EFAIL, c->name, "there is such %s %s already, in %s:%u", strchr("aeiou", c->type[0]) ? "an" : "a",
			admin_type_words(c->type), there->file, there->line);
	if (a->fd >= 0 && fstatat(a->fd, c->file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return cli_fail(
			KEYFOB_EFAIL, c->name, "%s/%s is there already, and holds something else; move it away", a->directory, c->file);
	return 0;
}

static int check_added(const struct admin *a, struct admin_change *c, const struct admin_stanza *s, admin_refusal *refuse)
{
	int code = a ? check_place(a, c) : 0;

	if (!code)
		code = admin_check(a, c);
	if (!code && !admin_stanza_is(s, &c->parsed))
		code = cli_fail(KEYFOB_EFAIL, c->name,
			"a value would be read back as another (has it blanks at an end, or bytes that are not UTF-8?)");
	if (!code && a && refuse)
		code = refuse(a, c);
	return code;
}

/* For who keeps /etc in version control; needs no root, and less without a configuration that can be read. */
static int print_stanza(const struct cli *cli, struct admin_change *c, const struct admin_stanza *s, admin_refusal *refuse)
{
	struct admin a;
	int code = admin_open(&a, cli, ADMIN_LOOK);

	if (code == ADMIN_NO_CONFIG)
		code = check_added(NULL, c, s, NULL);
	else if (!code)
		code = check_added(&a, c, s, refuse);
	if (!code)
		code = cli_output(&c->text);
	admin_close(&a);
	return code;
}

static int write_stanza(const struct cli *cli, struct admin_change *c, const struct admin_stanza *s, admin_refusal *refuse)
{
	struct buffer b;
	struct admin a;
	int code = admin_open(&a, cli, ADMIN_CHANGE);

	buffer_init(&b, CLI_OUTPUT_MAX);
	if (!code)
		code = check_added(&a, c, s, refuse);
	if (!code)
		code = admin_confirm(&a, c, false, &b);
	if (!code)
		code = admin_apply(&a, c);
	if (code)
		goto out;
	buffer_printf(&b, "%s: written to %s/%s\n", c->name, a.directory, c->file);
	if (strcmp(c->type, "identity-provider") == 0 && c->then.organization_count)
		buffer_printf(&b, "Connect it to an organization's services: keyfob idp connect %s ORG\n", c->name);
	code = admin_done(&a, c, &b);
out:
	buffer_free(&b);
	admin_close(&a);
	return code;
}

int admin_add(const struct cli *cli, const struct admin_stanza *s, admin_refusal *refuse)
{
	struct admin_change c;
	int code;

	if (!wire_name_valid(s->name))
		return cli_usage(cli, "%s: not a name (letters, digits, '.', '_' and '-', %d at most, not beginning with '.' or '-')",
			s->name, WIRE_NAME_MAX);
	if (cli_value(cli, "print") && cli_value(cli, "json"))
		return cli_usage(cli, "--print prints the stanza, not JSON");
	code = check_values(cli, s);
	if (code)
		return code;
	admin_change_init(&c, s->type, s->name);
	admin_stanza_put(s, &c.text);
	code = cli_value(cli, "print") ? print_stanza(cli, &c, s, refuse) : write_stanza(cli, &c, s, refuse);
	admin_change_free(&c);
	return code;
}
