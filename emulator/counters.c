/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "emulator.h"

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The real service allows so many requests in any one second, whoever sends them. */
static bool too_many(struct emu *emu)
{
	int64_t now = now_ms(), oldest = emu->recent[emu->recent_at];

	emu->recent[emu->recent_at] = now;
	emu->recent_at = (emu->recent_at + 1) % EMU_RATE_LIMIT;
	return oldest != 0 && now - oldest < 1000;
}

void emu_count_begin(struct emu_exchange *x)
{
	struct emu_counters *c;

	if (x->source >= EMU_SOURCES)
		return;
	c = &x->emu->counters[x->source];
	c->requests++;
	c->running++;
	if (c->running > c->max_concurrent)
		c->max_concurrent = c->running;
	if (x->source == EMU_IMDS && (too_many(x->emu) | (c->running > EMU_CONCURRENCY_LIMIT))) {
		c->violations++;
		x->refused = x->fault->enforce != 0;
	}
}

void emu_count_reply(struct emu_exchange *x, int status)
{
	if (x->source >= EMU_SOURCES)
		return;
	if (status < 300 || status == HTTP_NOTMODIFIED)
		x->emu->counters[x->source].ok++;
	else
		x->emu->counters[x->source].errors++;
}

void emu_count_end(struct emu_exchange *x)
{
	if (x->source < EMU_SOURCES)
		x->emu->counters[x->source].running--;
}

void emu_count_reset(struct emu *emu)
{
	for (size_t i = 0; i < EMU_SOURCES; i++) {
		json_int_t running = emu->counters[i].running;

		emu->counters[i] = (struct emu_counters){ .running = running, .max_concurrent = running };
	}
	memset(emu->recent, 0, sizeof(emu->recent));
}

json_t *emu_count_json(const struct emu *emu)
{
	json_t *all = json_object();

	for (size_t i = 0; i < EMU_SOURCES; i++) {
		const struct emu_counters *c = &emu->counters[i];

		json_object_set_new(all, emu_source_names[i],
			json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "requests", c->requests, "ok", c->ok, "errors", c->errors, "tokens",
				c->tokens, "max_concurrent", c->max_concurrent, "violations", c->violations));
	}
	return all;
}
