/* SPDX-License-Identifier: Apache-2.0 */
/* The configurations that `keyfob init` proposes. */
#include "cli/admin-init.h"

#include "cli/cli.h"

#define EMULATED_ID "2f6a1c84-0b3d-4e57-9a61-c0ffee000001" /* the emulator gives any managed identity a token */

static void put_allow(const struct init_wish *wish, struct buffer *text)
{
	if (wish->user)
		buffer_printf(text, "allow       = user:%s\n", wish->user);
	else
		buffer_printf(text, "# Without such a line only root may have the token; group:NAME is possible, too.\n"
				    "# allow     = user:NAME\n");
}

void init_put(const struct init_wish *wish, struct buffer *text)
{
	const struct init_found *found = wish->found;
	const struct init_place *place = found->place;

	buffer_printf(text,
		"# keyfob.conf(5). For %s (%s).\n"
		"# Check it with keyfob doctor --config, have it read with keyfob reload, and see what came of it with\n"
		"# keyfob status %s. What goes wrong: keyfob try %s\n\n",
		place->words, found->why, wish->name, wish->name);
	buffer_printf(text, "[credential %s]\n", wish->name);
	if (!wish->resource)
		buffer_printf(text, "# " INIT_FILL_IN ": %s.\n", place->resource_help);
	buffer_printf(text, "resource    = %s\n", wish->resource ? wish->resource : place->resource);
	if (found->is_guessed)
		buffer_printf(text, "# " INIT_FILL_IN ": what nothing here tells, of the next line.\n");
	buffer_printf(text, "provider    = %s%s\n%s", place->provider, found->options, place->more);
	put_allow(wish, text);
}

void init_put_choices(const char *name, struct buffer *text)
{
	buffer_printf(text,
		"# keyfob.conf(5). This host is neither a virtual machine of Azure or Google, nor a pod, so it has no identity of its\n"
		"# own by which it could get tokens. Below are the other ways; take the # away from one credential.\n"
		"# keyfob module list names all providers, keyfob module show NAME what each can be told.\n\n"
		"# [credential %s]\n"
		"# resource    = api://APPLICATION-ID\n"
		"# allow       = user:NAME\n#\n"
		"# a server that is connected to Azure Arc:\n"
		"# provider    = azure source=arc run_as=NAME\n"
		"# an application in Entra, with a certificate or a secret:\n"
		"# provider    = azure source=certificate tenant=example.com client_id=GUID certificate_file=/etc/keyfob/app.pem\n"
		"# provider    = azure source=secret tenant=example.com client_id=GUID secret_file=/etc/keyfob/app.secret\n"
		"# a service account of Google Cloud, by its key or without one:\n"
		"# provider    = gcp source=key key_file=/etc/keyfob/key.json\n"
		"# provider    = gcp source=external_account config_file=/etc/keyfob/pool.json\n"
		"# any other provider of OAuth 2.0 tokens:\n"
		"# provider    = oauth2 issuer=https://idp.example.com client_id=%s secret_file=/etc/keyfob/client.secret\n"
		"# a program of yours that prints a token, or a file that somebody else keeps current:\n"
		"# provider    = callback-exec run_as=NAME -- /usr/local/libexec/print-token\n"
		"# provider    = file path=/run/somewhere/token\n",
		name, name);
}

void init_put_emulator(const struct init_wish *wish, unsigned int port, struct buffer *text)
{
	const char *login = wish->user ? wish->user : wish->name;

	buffer_printf(text,
		"# keyfob.conf(5). For a laptop: tokens come from keyfob-emulator(1), a cloud on this host, and are taken as logins\n"
		"# by the PAM service postgresql. Anybody on this host can have any token from the emulator, so nothing that\n"
		"# matters may trust it.\n"
		"#   keyfob-emulator --listen 127.0.0.1:%u\n"
		"#   keyfob get %s | keyfob verify --service postgresql --login %s -\n\n",
		port, wish->name, login);
	buffer_printf(text,
		"[credential %s]\n"
		"description = from keyfob-emulator\n"
		"resource    = %s\n"
		"provider    = azure endpoint=http://127.0.0.1:%u object_id=" EMULATED_ID "\n"
		"identity_provider = emulator\n",
		wish->name, wish->resource, port);
	put_allow(wish, text);
	buffer_printf(text,
		"\n# Who issues tokens, and for whom they must be.\n"
		"[identity-provider emulator]\n"
		"issuer             = http://127.0.0.1:%u\n"
		"audience           = %s\n"
		"authorization_type = user\n\n"
		"# Which services take them.\n"
		"[organization laptop]\n"
		"services           = postgresql\n"
		"identity_providers = emulator\n\n"
		"# Which login the identity above has there.\n"
		"[database-user %s]\n"
		"service            = postgresql\n"
		"identity_provider  = emulator\n"
		"user_id            = " EMULATED_ID "\n"
		"login              = %s\n",
		port, wish->resource, wish->name, login);
}
