/* SPDX-License-Identifier: Apache-2.0 */
/* A module that does as its settings say, for tests of keyfob-fetch and the broker. */
#include <stdlib.h>

#include "modules/module.h"

static const struct keyfob_option options[] = {
	{ "token", KEYFOB_OPTION_TEXT, 0, NULL, "the token to give" },
	{ "length", KEYFOB_OPTION_TEXT, 0, NULL, "or how long a token" },
	{ "expires", KEYFOB_OPTION_TEXT, 0, NULL, "epoch seconds" },
	{ "expires_in", KEYFOB_OPTION_TEXT, 0, NULL, "seconds from now" },
	{ "refresh_in", KEYFOB_OPTION_TEXT, 0, NULL, "seconds from now" },
	{ "refresh_before", KEYFOB_OPTION_TEXT, 0, NULL, "seconds before the expiry" },
	{ "class", KEYFOB_OPTION_TEXT, 0, NULL, "how it ends, a number" },
	{ "code", KEYFOB_OPTION_TEXT, 0, NULL, "the provider's code" },
	{ "text", KEYFOB_OPTION_TEXT, 0, NULL, "what happened" },
	{ "retry_after", KEYFOB_OPTION_TEXT, 0, NULL, "seconds" },
	{ "lines", KEYFOB_OPTION_TEXT, 0, NULL, "so many lines of exchange" },
	{ "line", KEYFOB_OPTION_TEXT, 0, NULL, "what each of them says" },
	{ "print", KEYFOB_OPTION_TEXT, 0, NULL, "a text for standard output" },
	{ "show", KEYFOB_OPTION_CHOICE, 0, "kind|resource|credential|arguments", "the text it gives" },
};

static long long number(const struct keyfob_request *request, const char *name)
{
	return atoll(keyfob_setting(request, name, "0"));
}

static void show(const struct keyfob_request *request, const char *what, struct keyfob_reply *reply)
{
	if (strcmp(what, "kind") == 0)
		keyfob_fail(reply, reply->class, "%d", (int)request->kind);
	else if (strcmp(what, "resource") == 0)
		keyfob_fail(reply, reply->class, "%s", request->resource);
	else if (strcmp(what, "credential") == 0)
		keyfob_fail(reply, reply->class, "%s", request->credential);
	else if (strcmp(what, "arguments") == 0 && request->arguments)
		keyfob_fail(reply, reply->class, "%s", request->arguments[0]);
}

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *token = keyfob_setting(request, "token", "simple-token");
	size_t length = (size_t)number(request, "length");
	time_t now = time(NULL);

	for (long long i = number(request, "lines"); i > 0 && request->tell; i--)
		request->tell(keyfob_setting(request, "line", "a line"));
	printf("%s", keyfob_setting(request, "print", ""));
	fflush(stdout);
	reply->class = (enum keyfob_class)number(request, "class");
	reply->retry_after = (unsigned int)number(request, "retry_after");
	snprintf(reply->code, sizeof(reply->code), "%s", keyfob_setting(request, "code", ""));
	snprintf(reply->text, sizeof(reply->text), "%s", keyfob_setting(request, "text", ""));
	show(request, keyfob_setting(request, "show", ""), reply);
	reply->expires = number(request, "expires");
	if (number(request, "expires_in"))
		reply->expires = now + number(request, "expires_in");
	reply->refresh = number(request, "refresh_in") ? now + number(request, "refresh_in") : 0;
	reply->refresh_before = (unsigned int)number(request, "refresh_before");
	reply->length = length ? length : strlen(token);
	reply->token = malloc(reply->length + 1);
	if (!reply->token)
		abort();
	memset(reply->token, 'a', reply->length);
	if (!length)
		memcpy(reply->token, token, reply->length);
}

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = "simple",
	.help = "does as it is told",
	.sandbox = KEYFOB_SANDBOX_NETWORK,
	.kind = KEYFOB_KIND_ID,
	.example = "[credential simple]\nprovider = simple expires_in=3600\nallow = user:root\n",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
