/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module that was taken over and writes the frames of keyfob-fetch itself,
 * for tests of what the broker believes. Which ones is said by the last word
 * of resource, or of issuer=. jwks.c makes of it what gives documents.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "modules/module.h"

#ifndef FORGER_NAME
#define FORGER_NAME "forger"
#define FORGER_KIND KEYFOB_KIND_ACCESS
#endif

/* As in common/wire.h, which a module does not know. */
enum { READY = 1, LINE, RESULT, DATA };
#define PART 32768
#define HONEST "honest"

/* To the broker: the one socket there is. */
static void send_frame(const void *frame, size_t length)
{
	for (int fd = 3; fd < 16; fd++)
		if (send(fd, frame, length, MSG_NOSIGNAL) >= 0)
			return;
}

static void send_data(size_t length)
{
	static unsigned char frame[5 + PART] = { DATA };

	for (int i = 0; i < 4; i++)
		frame[1 + i] = (unsigned char)(length >> (24 - 8 * i));
	memset(frame + 5, 'x', length);
	send_frame(frame, 5 + length);
}

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *text = request->resource[0] ? request->resource : keyfob_setting(request, "issuer", ""), *act = strrchr(text, '/');

	act = act ? act + 1 : text;
	if (strcmp(act, "data") == 0) {
		send_data(100);
	} else if (strcmp(act, "flood") == 0) {
		for (int i = 0; i < 9; i++)
			send_data(PART);
	} else if (strcmp(act, "full") == 0 || strcmp(act, "fuller") == 0) {
		for (int i = 0; i < 7; i++)
			send_data(PART);
		/* With the word below it is as much as is taken, or one byte more. */
		send_data(PART - strlen(HONEST));
		if (strcmp(act, "fuller") == 0)
			send_data(1);
	} else if (strcmp(act, "empty") == 0) {
		send_data(0);
	} else if (strcmp(act, "cut") == 0) {
		send_frame((const unsigned char[]){ DATA, 0, 0, 1 }, 4);
	} else if (strcmp(act, "long") == 0) {
		send_frame((const unsigned char[]){ DATA, 0, 0, 0, 9, 'x' }, 6);
	} else if (strcmp(act, "unknown") == 0) {
		send_frame((const unsigned char[]){ DATA + 1, 0, 0, 0, 0 }, 5);
	} else if (strcmp(act, "die") == 0) {
		send_data(100);
		_exit(0);
	} else if (strcmp(act, "token") == 0) {
		/* class OK, expiry and refresh 0, no retry, empty texts, and a token of one byte */
		unsigned char frame[1 + 1 + 8 + 8 + 4 + 6 * 4 + 4 + 1] = { RESULT };

		frame[sizeof(frame) - 2] = 1;
		frame[sizeof(frame) - 1] = 'x';
		send_frame(frame, sizeof(frame));
	}
	/* What an honest one would say after it; but a tag that would be two headers. */
	snprintf(reply->code, sizeof(reply->code), "%s", strcmp(act, "tag") == 0 ? "\"a\" X: y" : "\"v1\"");
	reply->class = KEYFOB_CLASS_OK;
	reply->token = strdup(HONEST);
	reply->length = strlen(HONEST);
	reply->expires = time(NULL) + 3600;
}

static const struct keyfob_option options[] = {
	{ "issuer", KEYFOB_OPTION_TEXT, 0, NULL, "ends with what it does" },
};

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = FORGER_NAME,
	.help = "forges frames",
	.sandbox = KEYFOB_SANDBOX_NETWORK,
	.kind = FORGER_KIND,
	.example = "",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
