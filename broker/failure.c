/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong, in words for people: of the provider lines, one after the other, and of the keyring. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"

static const struct {
	const char *name;
	int hope;
} classes[] = {
	[KEYFOB_CLASS_OK] = { "ok", -1 },
	[KEYFOB_CLASS_CONFIG] = { "config", 0 },
	[KEYFOB_CLASS_PERMANENT] = { "permanent", 0 },
	[KEYFOB_CLASS_UNAVAILABLE] = { "unavailable", 1 },
	[KEYFOB_CLASS_TRANSIENT] = { "transient", 2 },
	[KEYFOB_CLASS_THROTTLED] = { "throttled", 2 },
};

const char *failure_class_name(uint8_t class)
{
	return classes[class].name;
}

bool failure_is_refusal(uint8_t class)
{
	return class == KEYFOB_CLASS_CONFIG || class == KEYFOB_CLASS_PERMANENT;
}

void failure_add(struct wire_result *sum, const struct policy_credential *c, size_t line, const struct wire_result *result)
{
	size_t used = strlen(sum->text), share = sizeof(sum->text) / c->provider_count;
	const char *module = c->providers[line].module;
	int length;

	if (share > sizeof(sum->text) - used)
		share = sizeof(sum->text) - used;
	if (c->provider_count > 1)
		length = snprintf(sum->text + used, share, "%s%zu. %s: %s", used ? "; " : "", line + 1, module, result->text);
	else
		length = snprintf(sum->text, share, "%s: %s", module, result->text);
	if (length >= (int)share && share > 4)
		memcpy(sum->text + used + share - 4, "...", 4);
	if (classes[result->class].hope > classes[sum->class].hope)
		sum->class = result->class;
	memcpy(sum->code, result->code, sizeof(sum->code));
	if (result->retry_after > sum->retry_after)
		sum->retry_after = result->retry_after;
}

const struct wire_result *credential_error(const struct credential *c)
{
	static const struct wire_result nothing;

	return c->error ? c->error : &nothing;
}

struct wire_result *failure_of(struct wire_result **at)
{
	if (!*at)
		*at = calloc(1, sizeof(**at));
	return *at;
}

void failure_forget(struct wire_result **at)
{
	free(*at);
	*at = NULL;
}

const char *failure_to_store(const struct broker *b, int error)
{
	static char text[256];
	struct store_quota quota;

	if (error != -EDQUOT || !store_quota(&b->store, &quota))
		return error == -EBUSY ? "another broker keeps this user's ring" : strerror(-error);
	if (b->own)
		snprintf(text, sizeof(text),
			"the keys of uid %u take %lu of %lu (kernel.keys.maxkeys) and %lu of %lu bytes (kernel.keys.maxbytes): have root "
			"raise these",
			geteuid(), quota.keys, quota.max_keys, quota.bytes, quota.max_bytes);
	else
		snprintf(text, sizeof(text),
			"root's keys take %lu of %lu (kernel.keys.root_maxkeys) and %lu of %lu bytes (kernel.keys.root_maxbytes), "
			"and half is keyfob's limit: raise these",
			quota.keys, quota.max_keys, quota.bytes, quota.max_bytes);
	return text;
}
