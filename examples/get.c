/* SPDX-License-Identifier: Apache-2.0 */
/* cc get.c $(pkg-config --cflags --libs keyfob): the token of a credential, ready for a driver. */
#include <keyfob.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct keyfob *kf = NULL;
	struct keyfob_token *token = NULL;
	int error = keyfob_open(&kf);

	if (error == 0)
		error = keyfob_get(kf, argc > 1 ? argv[1] : "atlas", &token);
	if (error == 0)
		fputs(keyfob_token_value(token), stdout);
	else
		fprintf(stderr, "get: %s\n", keyfob_strerror(error));
	keyfob_token_free(&token);
	keyfob_close(&kf);
	return -error;
}
