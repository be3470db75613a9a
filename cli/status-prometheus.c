/* SPDX-License-Identifier: Apache-2.0 */
/* `keyfob status --prometheus`: the text exposition format, of a file for node_exporter's textfile collector. */
#include "cli/status.h"

#include <string.h>

static void put_head(struct buffer *b, const char *name, const char *type, const char *help)
{
	buffer_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: the format escapes three characters, and its readers want UTF-8. */
static void put_label(struct buffer *b, const char *name, const char *value)
{
	struct buffer safe;
	const char *text;

	buffer_init(&safe, CLI_OUTPUT_MAX);
	cli_put_escaped(&safe, value);
	text = buffer_cstring(&safe);
	buffer_printf(b, "%s=\"", name);
	for (; text && *text; text++)
		buffer_printf(b, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	buffer_printf(b, "\"");
	b->failed = b->failed || !text;
	buffer_free(&safe);
}

static void put_number(struct buffer *b, const char *metric, const struct cli_credential *c, uint64_t value)
{
	buffer_printf(b, "%s{credential=\"%s\"} %llu\n", metric, c->name, (unsigned long long)value);
}

static void put_info(struct buffer *b, const struct cli_list *list)
{
	static const char name[] = "keyfob_credential_info";
	char module[WIRE_NAME_MAX + 1];

	put_head(b, name, "gauge", "What a credential is; always 1.");
	for (size_t i = 0; i < list->count; i++) {
		const struct cli_credential *c = &list->item[i];
		size_t length = strcspn(c->provider, " \t");

		/* The rest of a provider line is for people. */
		length = length < sizeof(module) - 1 ? length : sizeof(module) - 1;
		memcpy(module, c->provider, length);
		module[length] = 0;
		buffer_printf(b, "%s{credential=\"%s\",", name, c->name);
		put_label(b, "module", module);
		buffer_put(b, ",", 1);
		put_label(b, "resource", c->resource);
		buffer_printf(b, ",token=\"%s\"} 1\n", cli_kind_name(c->kind));
	}
}

static void put_states(struct buffer *b, const struct cli_list *list)
{
	static const char name[] = "keyfob_credential_state";

	put_head(b, name, "gauge", "Which state a credential is in: 1, and 0 for the others.");
	for (size_t i = 0; i < list->count; i++)
		for (uint8_t state = 0; state <= WIRE_STATE_FAILED; state++)
			buffer_printf(b, "%s{credential=\"%s\",state=\"%s\"} %d\n", name, list->item[i].name, cli_state_name(state),
				list->item[i].state == state);
}

static void put_judge(struct buffer *b, const struct cli_list *list)
{
	static const char name[] = "keyfob_credential_would_pass";

	put_head(b, name, "gauge", "Whether the identity provider of a credential would take its token, by issuer and audience.");
	for (size_t i = 0; i < list->count; i++) {
		const struct cli_credential *c = &list->item[i];

		if (!c->identity_provider[0] || !c->expires)
			continue;
		buffer_printf(b, "%s{credential=\"%s\",", name, c->name);
		put_label(b, "identity_provider", c->identity_provider);
		buffer_printf(b, "} %d\n", !c->mismatch[0]);
	}
}

static const struct {
	const char *name, *type, *help;
	size_t field;
	bool always; /* 0 is a value, too */
} numbers[] = {
	{ "keyfob_credential_expiry_timestamp_seconds", "gauge", "When the token ends.", offsetof(struct cli_credential, expires), false },
	{ "keyfob_credential_refresh_timestamp_seconds", "gauge", "When the next token will be fetched.",
		offsetof(struct cli_credential, refresh), false },
	{ "keyfob_credential_fetched_timestamp_seconds", "gauge", "When the token was fetched.", offsetof(struct cli_credential, fetched),
		false },
	{ "keyfob_credential_failed_timestamp_seconds", "gauge", "When a fetch failed last.", offsetof(struct cli_credential, failed_at),
		false },
	{ "keyfob_credential_fetches_total", "counter", "Fetches that gave a token.", offsetof(struct cli_credential, fetches), true },
	{ "keyfob_credential_failures_total", "counter", "Fetches that failed.", offsetof(struct cli_credential, failures), true },
};

static void put_numbers(struct buffer *b, const struct cli_list *list, size_t n)
{
	put_head(b, numbers[n].name, numbers[n].type, numbers[n].help);
	for (size_t i = 0; i < list->count; i++) {
		uint64_t value = *(const uint64_t *)(const void *)((const char *)&list->item[i] + numbers[n].field);

		if (value || numbers[n].always)
			put_number(b, numbers[n].name, &list->item[i], value);
	}
}

void status_prometheus(struct buffer *b, const struct cli_list *list)
{
	put_head(b, "keyfob_up", "gauge", "Whether the broker answers.");
	buffer_printf(b, "keyfob_up %d\n", list != NULL);
	if (!list)
		return;
	put_head(b, "keyfob_broker_info", "gauge", "The broker's version; always 1.");
	buffer_printf(b, "keyfob_broker_info{");
	put_label(b, "version", list->version);
	buffer_printf(b, "} 1\n");
	put_head(b, "keyfob_broker_start_time_seconds", "gauge", "When the broker began to serve.");
	buffer_printf(b, "keyfob_broker_start_time_seconds %llu\n", (unsigned long long)list->started);
	if (!list->count)
		return;
	put_info(b, list);
	put_states(b, list);
	put_judge(b, list);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		put_numbers(b, list, i);
}
