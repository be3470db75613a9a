/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

/* The broker reads its own configuration: whoever lints it otherwise lints something else. */
static int check_config(const struct cli *cli)
{
	const char *arguments[] = { "--check", cli->config ? "--config" : NULL, cli->config, NULL };
	int status = cli_tool("keyfobd", arguments, NULL);

	return status < 0 ? 1 : status;
}

static int check_broker(void)
{
	struct buffer fields, reply;
	struct reader r;
	int code;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_put_text(&fields, "");
	buffer_put_text(&fields, "");
	code = cli_call(WIRE_STATUS, NULL, &fields, CLI_BRIEF_MS, &reply, &r);
	if (!code) {
		buffer_clear(&fields);
		buffer_printf(&fields, "the broker answers\n");
		code = cli_output(&fields);
	}
	buffer_free(&fields);
	buffer_free(&reply);
	return code;
}

int cli_doctor(const struct cli *cli)
{
	int config = check_config(cli), broker;

	if (cli_value(cli, "config"))
		return config;
	broker = check_broker();
	return config ? 1 : broker;
}
