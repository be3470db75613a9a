/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static const struct cli_option get_options[] = {
	{ "json", NULL, "token, expires_at and credential as JSON" },
	{ "header", NULL, "as a line \"Authorization: Bearer TOKEN\"" },
	{ "format", "FORM", "exec-credential (Kubernetes), google (executable-sourced) or git" },
	{ "direct", NULL, "one sandboxed fetch, without a broker and a keyring; nothing is stored" },
	{ 0 },
};

static const struct cli_option json_options[] = {
	{ "json", NULL, "as JSON, times in seconds since the epoch" },
	{ 0 },
};

static const struct cli_option module_options[] = {
	{ "json", NULL, "as JSON" },
	{ 0 },
};

static const struct cli_option explain_options[] = {
	{ "as", "USER", "may this user have it, and why: exit code 0 or 4 (root, or oneself)" },
	{ 0 },
};

static const struct cli_option doctor_options[] = {
	{ "config", NULL, "only read the configuration; no broker is needed" },
	{ 0 },
};

static const struct cli_verb verbs[] = {
	{ "get", "NAME", "print a credential's token", "No line end follows the token unless stdout is a terminal.\n", get_options, 1, 1,
		cli_get },
	{ "status", "[NAME]", "who has what, how long it lives, what to do", NULL, json_options, 0, 1, cli_status },
	{ "refresh", "NAME", "fetch the token ahead of its time", NULL, NULL, 1, 1, cli_refresh },
	{ "drop", "NAME", "forget every copy and fetch afresh (root)", "For a token that was revoked, or that a server refuses.\n", NULL, 1,
		1, cli_drop },
	{ "try", "NAME", "one fetch, nothing stored, the exchange shown (root)", "Tokens and secrets are left out of what is shown.\n",
		NULL, 1, 1, cli_try },
	{ "explain", "NAME|-", "a token's header and claims, and what to paste where",
		"- reads a token from standard input. No signature is checked.\n", explain_options, 1, 1, cli_explain },
	{ "module list", "", "the provider modules", NULL, module_options, 0, 0, cli_module_list },
	{ "module show", "MODULE", "a module's options, and an example", NULL, module_options, 1, 1, cli_module_show },
	{ "reload", "", "have the broker read its configuration afresh (root)", NULL, NULL, 0, 0, cli_reload },
	{ "doctor", "", "check the configuration, and that the broker answers",
		"Reads the file named by --config before the verb, else by KEYFOB_CONFIG, else\n"
		"/etc/keyfob/keyfob.conf.\n",
		doctor_options, 0, 0, cli_doctor },
	{ 0 },
};

/* Else a socket or a pipe may take the place of stdout, and be sent what is meant for it. */
static void open_standard(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
			abort();
}

int main(int argc, char **argv)
{
	struct cli cli;
	int code;

	open_standard();
	signal(SIGPIPE, SIG_IGN);
	if (!cli_parse(&cli, verbs, argc, argv, &code))
		return code;
	return cli.verb->run(&cli);
}
