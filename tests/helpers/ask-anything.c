/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends the broker a request by its number, without a field. Prints what it answers and exits as keyfob would.
 * links: keyring/client keyring/keyctl common/buffer common/wire
 * libs: libkeyutils
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/wire.h"
#include "keyring/client.h"

int main(int argc, char **argv)
{
	char message[WIRE_TEXT_MAX] = "";
	struct buffer fields, reply;
	struct reader r;
	int error;

	if (argc < 2)
		return 2;
	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	error = client_call((enum wire_opcode)atoi(argv[1]), &fields, 10000, &reply, &r, message, sizeof(message));
	puts(message);
	buffer_free(&fields);
	buffer_free(&reply);
	return -error;
}
