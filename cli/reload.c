/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "keyring/client.h"

static enum cli_told tell(const struct client_server *server, uint8_t opcode, char *message)
{
	struct buffer reply;
	struct reader r;
	int error;

	buffer_init(&reply, WIRE_MAX);
	error = client_ask(server, opcode, NULL, CLI_BRIEF_MS, &reply, &r, message, WIRE_TEXT_MAX);
	buffer_free(&reply);
	if (error == KEYFOB_EBROKER && strstr(message, "cannot reach"))
		return CLI_NOT_RUNNING;
	if (error == KEYFOB_EDENIED)
		snprintf(message, WIRE_TEXT_MAX, "only root may ask for that");
	else if (error && !message[0])
		snprintf(message, WIRE_TEXT_MAX, "%s", keyfob_strerror(error));
	return error ? CLI_REFUSED : CLI_TOLD;
}

enum cli_told cli_tell_broker(char *message)
{
	const struct client_server broker = { "the broker", client_socket() };

	return tell(&broker, WIRE_RELOAD, message);
}

enum cli_told cli_tell_verifier(char *message)
{
	const struct client_server verifier = { "the verifier", cli_verifier_socket() };

	return tell(&verifier, WIRE_VERIFY_RELOAD, message);
}
