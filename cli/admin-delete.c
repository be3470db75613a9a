/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin.h"

#include <string.h>

static const char *type_of(const struct cli *cli)
{
	switch (cli->verb->name[0]) {
	case 'i':
		return "identity-provider";
	case 'o':
		return "organization";
	default:
		return "database-user";
	}
}

/* An identity provider goes last: after its connections, and after those it vouches for. */
static int refuse_in_use(const struct federation *f, const char *provider)
{
	struct buffer b;
	int code = 0;

	buffer_init(&b, CLI_OUTPUT_MAX);
	for (size_t i = 0; i < f->organization_count; i++)
		if (federation_list_holds(&f->organizations[i].identity_providers, provider)) {
			buffer_printf(&b, "%s: connected to the organization %s: keyfob idp disconnect %s %s\n", provider,
				f->organizations[i].name, provider, f->organizations[i].name);
		}
	for (size_t i = 0; i < f->user_count; i++) {
		const struct federation_user *u = &f->users[i];

		if (strcmp(u->identity_provider, provider) != 0)
			continue;
		buffer_printf(&b, "%s: vouches for the database user %s (%s of %s): keyfob dbuser delete %s\n", provider, u->name, u->login,
			u->service, u->name);
	}
	if (b.length) {
		code = admin_fail_lines(&b);
		cli_fail(KEYFOB_EFAIL, provider, "nothing was changed: these come first");
	}
	buffer_free(&b);
	return code;
}

int admin_delete(const struct cli *cli)
{
	const char *type = type_of(cli), *name = cli->operand[0];
	const struct config_section *section;
	struct admin_change c;
	struct buffer b;
	struct admin a;
	int code = admin_open(&a, cli, ADMIN_CHANGE);

	admin_change_init(&c, type, name);
	buffer_init(&b, CLI_OUTPUT_MAX);
	if (code)
		goto out;
	section = admin_section(&a.config, type, name);
	code = section ? 0 : admin_unknown(&a, type, name);
	if (!code && strcmp(type, "identity-provider") == 0)
		code = refuse_in_use(&a.now, name);
	if (!code)
		code = admin_check_own(&a, section, c.file, "take the section away there");
	if (!code)
		code = admin_check(&a, &c);
	if (!code)
		code = admin_confirm(&a, &c, true, &b);
	if (!code)
		code = admin_apply(&a, &c);
	if (code)
		goto out;
	buffer_printf(&b, "%s: deleted\n", name);
	code = admin_done(&a, &c, &b);
out:
	buffer_free(&b);
	admin_change_free(&c);
	admin_close(&a);
	return code;
}
