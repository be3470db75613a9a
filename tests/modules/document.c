/* SPDX-License-Identifier: Apache-2.0 */
/* A module that gives documents, as its settings say: what keyfob-fetch makes of them is tested with it. */
#include <stdlib.h>

#include "modules/module.h"

static const struct keyfob_option options[] = {
	{ "length", KEYFOB_OPTION_TEXT, 0, NULL, "bytes of it; default: there is none" },
	{ "class", KEYFOB_OPTION_TEXT, 0, NULL, "how it ends, a number" },
	{ "code", KEYFOB_OPTION_TEXT, 0, NULL, "its ETag" },
	{ "refresh_in", KEYFOB_OPTION_TEXT, 0, NULL, "seconds from now" },
};

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *length = keyfob_setting(request, "length", NULL);

	reply->class = (enum keyfob_class)atoi(keyfob_setting(request, "class", "0"));
	snprintf(reply->code, sizeof(reply->code), "%s", keyfob_setting(request, "code", ""));
	reply->refresh = time(NULL) + atoll(keyfob_setting(request, "refresh_in", "0"));
	if (!length)
		return;
	reply->length = (size_t)atoll(length);
	reply->token = malloc(reply->length + 1);
	if (!reply->token)
		abort();
	/* Any byte may stand in a document. */
	for (size_t i = 0; i < reply->length; i++)
		reply->token[i] = (char)(i % 251);
}

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = "document",
	.help = "gives documents",
	.sandbox = KEYFOB_SANDBOX_NETWORK,
	.kind = KEYFOB_KIND_DOCUMENT,
	.example = "",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
