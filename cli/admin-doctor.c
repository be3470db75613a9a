/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin-doctor.h"

#include <stdlib.h>
#include <unistd.h>

/* In this order, since what is told further down stands on what is told above. */
static const struct {
	const char *name;
	void (*run)(struct doctor *d);
} families[] = {
	{ "kernel", doctor_kernel },
	{ "configuration", doctor_configuration },
	{ "daemons", doctor_broker },
	{ "clock", doctor_clock },
	{ "keyrings", doctor_keyring },
	{ "credentials", doctor_credentials },
	{ "policy", doctor_policy },
	{ "services", doctor_services },
	{ "PAM", doctor_pam },
	{ "drivers", doctor_drivers },
	{ 0 },
};

/* The broker reads its own configuration: whoever lints it otherwise lints something else. */
static int check_config(const struct cli *cli)
{
	const char *arguments[] = { "--check", cli->config ? "--config" : NULL, cli->config, NULL };
	int status = cli_tool("keyfobd", arguments, NULL);

	return status < 0 ? 1 : status;
}

int admin_doctor(const struct cli *cli)
{
	struct doctor d = { .cli = cli };
	struct buffer b;
	int code;

	if (cli_value(cli, "config"))
		return check_config(cli);
	d.configured = admin_open(&d.admin, cli, ADMIN_PEEK) == 0;
	d.is_host = geteuid() == 0 && access(d.admin.path, F_OK) == 0;
	cli_progress_begin(NULL, "looking at this host");
	for (size_t i = 0; families[i].name; i++) {
		d.check = families[i].name;
		families[i].run(&d);
	}
	cli_progress_end();
	buffer_init(&b, CLI_OUTPUT_MAX);
	if (cli_value(cli, "json"))
		doctor_put_json(&d, &b);
	else
		doctor_put(&d, cli_wants_colour(), &b);
	code = d.failed ? cli_fail(KEYFOB_ENOMEM, NULL, "out of memory") : cli_output(&b);
	if (!code && doctor_count(&d, DOCTOR_ERROR))
		code = 1;
	buffer_free(&b);
	doctor_free_findings(&d);
	cli_list_free(&d.list);
	admin_close(&d.admin);
	return code;
}
