/* SPDX-License-Identifier: Apache-2.0 */
/* What a program does with libkeyfob. links: keyring/keyctl keyring/lookup keyring/client keyring/keyfob common/buffer common/wire */
/* libs: libkeyutils */
#include <stdio.h>

#include "keyring/keyfob.h"

int main(int argc, char **argv)
{
	struct keyfob *kf = NULL;
	struct keyfob_token *token = NULL;
	int error = keyfob_open(&kf);

	if (error == 0)
		error = keyfob_get(kf, argc > 1 ? argv[1] : "", &token);
	if (error == 0)
		fputs(keyfob_token_value(token), stdout);
	else
		fprintf(stderr, "reader: %s\n", keyfob_strerror(error));
	keyfob_token_free(&token);
	keyfob_close(&kf);
	return -error;
}
