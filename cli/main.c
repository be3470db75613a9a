/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static const struct cli_run runs[] = {
	{ "get", cli_get },
	{ "run", cli_run_command },
	{ "uri", cli_uri },
	{ "status", cli_status },
	{ "refresh", cli_refresh },
	{ "drop", cli_drop },
	{ "try", cli_try },
	{ "module list", cli_module_list },
	{ "module show", cli_module_show },
	{ "verify", cli_verify },
	{ "jwks list", cli_jwks_list },
	{ "jwks refresh", cli_jwks_refresh },
	{ "jwks revoke", cli_jwks_revoke },
	{ "reload", cli_reload },
	{ 0 },
};

/* Those need libraries whose start-up `keyfob get` shall not pay for. */
static int run_admin(const struct cli *cli)
{
	return cli_become("keyfob-admin", cli->argv);
}

int main(int argc, char **argv)
{
	return cli_main(argc, argv, runs, run_admin);
}
