/* SPDX-License-Identifier: Apache-2.0 */
/* `keyfob status --check`: a line as monitoring plugins print it, and an exit code. */
#include "cli/status.h"

#define TROUBLES_TOLD 8 /* by name; of the others how many there are */

enum level { FINE, DEGRADED, WITHOUT_TOKEN, LEVELS };

static const struct {
	const char *word;
	int code;
} levels[LEVELS] = {
	[FINE] = { "OK", 0 },
	[DEGRADED] = { "WARNING", -KEYFOB_EAGAIN },
	[WITHOUT_TOKEN] = { "CRITICAL", -KEYFOB_EPROVIDER },
};

/* One that nobody asked for yet, such as with refresh = on-demand, needs no token. */
static enum level judge(const struct cli_credential *c, int64_t now)
{
	switch (c->state) {
	case WIRE_STATE_NONE:
		return FINE;
	case WIRE_STATE_FETCHING:
		return DEGRADED;
	case WIRE_STATE_FAILED:
		return WITHOUT_TOKEN;
	default:
		if ((int64_t)c->expires <= now)
			return WITHOUT_TOKEN;
		return c->state != WIRE_STATE_VALID || c->mismatch[0] ? DEGRADED : FINE;
	}
}

static void put_trouble(struct buffer *b, const struct cli_credential *c, enum level level, int64_t now)
{
	char left[64];

	buffer_printf(b, "%s: ", c->name);
	cli_duration((int64_t)c->expires - now, left, sizeof(left));
	if (c->state == WIRE_STATE_FETCHING)
		buffer_printf(b, "the first token is on its way");
	else if (level == WITHOUT_TOKEN)
		buffer_printf(b, "no valid token");
	else if (c->state == WIRE_STATE_VALID)
		buffer_printf(b, "%s would refuse it", c->identity_provider);
	else
		buffer_printf(b, "its refresh fails, %s left", left);
	if (c->state == WIRE_STATE_VALID ? c->mismatch[0] : c->last_error[0]) {
		buffer_printf(b, ": ");
		cli_put_escaped(b, c->state == WIRE_STATE_VALID ? c->mismatch : c->last_error);
	}
}

/* Monitors take what follows a bar for figures. */
static void keep_bars_out(struct buffer *b)
{
	for (size_t i = 0; i < b->length; i++)
		if (b->data[i] == '|')
			b->data[i] = '/';
}

static void put_fine(struct buffer *b, const struct cli_list *list, const char *name, int64_t least, unsigned int valid)
{
	char left[64];

	if (*name)
		buffer_printf(b, "%s: ", name);
	else
		buffer_printf(b, "%zu credential%s, ", list->count, list->count == 1 ? "" : "s");
	if (!valid)
		buffer_printf(b, "nobody asked for a token yet");
	else if (*name)
		buffer_printf(b, "%s left", cli_duration(least, left, sizeof(left)));
	else
		buffer_printf(b, "%u with a token, the first ends in %s", valid, cli_duration(least, left, sizeof(left)));
}

int status_check(struct buffer *b, const struct cli_list *list, const char *name, int64_t now)
{
	unsigned int count[LEVELS] = { 0 }, valid = 0, told = 0;
	enum level worst = FINE;
	int64_t least = INT64_MAX;
	struct buffer troubles;

	if (!list->count) {
		status_check_failed(b, "there is no credential that this user may have");
		return -KEYFOB_ENOCRED;
	}
	buffer_init(&troubles, CLI_OUTPUT_MAX);
	for (enum level level = WITHOUT_TOKEN; level > FINE; level--)
		for (size_t i = 0; i < list->count; i++) {
			if (judge(&list->item[i], now) != level)
				continue;
			worst = level > worst ? level : worst;
			if (told++ >= TROUBLES_TOLD)
				continue;
			buffer_printf(&troubles, "%s", troubles.length ? "; " : "");
			put_trouble(&troubles, &list->item[i], level, now);
		}
	for (size_t i = 0; i < list->count; i++) {
		int64_t left = (int64_t)list->item[i].expires - now;

		count[judge(&list->item[i], now)]++;
		valid += left > 0;
		least = left > 0 && left < least ? left : least;
	}
	if (told > TROUBLES_TOLD)
		buffer_printf(&troubles, "; and %u more", told - TROUBLES_TOLD);
	if (worst == FINE)
		put_fine(&troubles, list, name, least, valid);
	keep_bars_out(&troubles);
	buffer_printf(b, "KEYFOB %s - %s", levels[worst].word, buffer_cstring(&troubles) ? (const char *)troubles.data : "");
	b->failed = b->failed || troubles.failed;
	buffer_printf(b, " | valid=%u degraded=%u failed=%u", valid, count[DEGRADED], count[WITHOUT_TOKEN]);
	if (valid)
		buffer_printf(b, " least_left=%llds", (long long)least);
	buffer_put(b, "\n", 1);
	buffer_free(&troubles);
	return levels[worst].code;
}

void status_check_failed(struct buffer *b, const char *why)
{
	buffer_printf(b, "KEYFOB UNKNOWN - ");
	cli_put_escaped(b, why);
	keep_bars_out(b);
	buffer_put(b, "\n", 1);
}
