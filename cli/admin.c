/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin.h"

static const struct cli_run runs[] = {
	{ "doctor", admin_doctor },
	{ "explain", admin_explain },
	{ "idp list", admin_idp_list },
	{ "idp show", admin_idp_show },
	{ "idp add", admin_idp_add },
	{ "idp connect", admin_idp_connect },
	{ "idp disconnect", admin_idp_disconnect },
	{ "idp delete", admin_delete },
	{ "org list", admin_org_list },
	{ "org show", admin_org_show },
	{ "org add", admin_org_add },
	{ "org delete", admin_delete },
	{ "dbuser list", admin_dbuser_list },
	{ "dbuser show", admin_dbuser_show },
	{ "dbuser add", admin_dbuser_add },
	{ "dbuser delete", admin_delete },
	{ "init", admin_init },
	{ "metadata-rules", admin_metadata_rules },
	{ 0 },
};

static int refuse(const struct cli *cli)
{
	return cli_usage(cli, "is a verb of keyfob, which has those of this program too");
}

int main(int argc, char **argv)
{
	return cli_main(argc, argv, runs, refuse);
}
