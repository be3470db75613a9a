/* SPDX-License-Identifier: Apache-2.0 */
/* Say that a server refused the token on stdin. links: keyring/keyctl keyring/lookup keyring/client keyring/keyfob common/buffer common/wire */
/* libs: libkeyutils */
#include <stdio.h>

#include "keyring/keyfob.h"

int main(int argc, char **argv)
{
	struct keyfob *kf = NULL;
	char message[512], token[32768] = "";
	int error = argc == 2 && fread(token, 1, sizeof(token) - 1, stdin) ? keyfob_open(&kf) : KEYFOB_EINVAL;

	if (error == 0)
		error = keyfob_reject(kf, argv[1], token);
	if (error < 0) {
		keyfob_message(kf, message, sizeof(message));
		fprintf(stderr, "reject: %s: %s\n", keyfob_strerror(error), message);
	}
	keyfob_close(&kf);
	return -error;
}
