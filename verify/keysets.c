/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/keysets.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "verify/keyset.h"

static struct keyset *find(const struct keysets *k, const struct federation_provider *p)
{
	struct keyset *s = k->first;

	while (s && s->provider != p)
		s = s->next;
	return s;
}

/* --- the clock ---------------------------------------------------------------------------- */

/* What was planned by a clock that was wrong is planned again. */
static void observe_back(struct keysets *k, time_t now)
{
	log_notice("event=clock-set-back seconds=%jd; all key sets are fetched again", (intmax_t)(k->now - now));
	for (struct keyset *s = k->first; s; s = s->next) {
		keyset_forget_vain(s);
		s->due = now;
		if (s->attempted > now)
			s->attempted = now;
	}
}

/* Time went on, or back. After this, usable is true of what may be used now, and only of that. */
static void observe(struct keysets *k, time_t now)
{
	bool back = now + KEYSET_CLOCK_STEP < k->now;

	if (back)
		observe_back(k, now);
	if (back || now > k->now)
		k->now = now;
	for (struct keyset *s = k->first; s; s = s->next) {
		bool usable = keyset_is_usable(s, now);

		if (usable == s->usable)
			continue;
		s->usable = usable;
		k->epoch++;
		if (!usable)
			log_error("identity_provider=%s event=keyset-stale fetched=%jd; logins are refused until a fetch succeeds", s->name,
				(intmax_t)s->kept.fetched);
	}
}

/* --- configuration ------------------------------------------------------------------------ */

struct keysets *keysets_open(const char *directory, char *why, size_t why_size)
{
	struct keysets *k = calloc(1, sizeof(*k));

	if (!k) {
		snprintf(why, why_size, "out of memory");
		return NULL;
	}
	k->epoch = 1;
	k->directory = kept_open(directory, why, why_size);
	if (k->directory < 0) {
		free(k);
		return NULL;
	}
	return k;
}

static void free_all(struct keysets *k, struct keyset *s)
{
	struct keyset *next;

	for (; s; s = next) {
		next = s->next;
		keyset_free(k, s);
	}
}

void keysets_close(struct keysets *k)
{
	if (!k)
		return;
	free_all(k, k->first);
	close(k->directory);
	free(k);
}

/* Take the provider's set out of a list, if its keys still come from where they came from. */
static struct keyset *take_out(struct keyset **list, const struct federation_provider *p)
{
	struct keyset *s;

	for (; (s = *list); list = &s->next) {
		if (strcmp(s->name, p->name) == 0 && strcmp(s->source, p->source) == 0) {
			*list = s->next;
			s->next = NULL;
			return s;
		}
	}
	return NULL;
}

static void configure_file(struct keysets *k, struct keyset *s, time_t now)
{
	if (s->revoked)
		log_warning("identity_provider=%s event=keyset-revoked epoch=%" PRIu64 "; \"keyfob jwks refresh %s\" reads %s again",
			s->name, s->kept.epoch, s->name, s->provider->jwks_file);
	else
		keyset_read_file(k, s, now);
}

static bool is_fetched(const void *arg, const char *name)
{
	const struct federation_provider *p = federation_provider(arg, name);

	return p && !p->jwks_file;
}

void keysets_configure(struct keysets *k, const struct federation *f, time_t now)
{
	struct keyset *old = k->first, **end = &k->first;

	k->first = NULL;
	k->epoch++;
	for (size_t i = 0; i < f->provider_count; i++) {
		struct keyset *s = take_out(&old, &f->providers[i]);

		if (!s)
			s = keyset_new(k, &f->providers[i], now);
		if (!s)
			continue;
		s->provider = &f->providers[i];
		*end = s;
		end = &s->next;
	}
	free_all(k, old);
	observe(k, now);
	for (struct keyset *s = k->first; s; s = s->next)
		if (keyset_is_file(s))
			configure_file(k, s, now);
	kept_sweep(k->directory, is_fetched, f);
}

/* --- to judge by -------------------------------------------------------------------------- */

const struct jwks *keysets_get(struct keysets *k, const struct federation_provider *p, time_t now, enum reason *why)
{
	const struct keyset *s;

	observe(k, now);
	s = find(k, p);
	if (s && s->usable) {
		*why = REASON_OK;
		return s->set;
	}
	if (s && s->set)
		*why = REASON_KEYS_STALE;
	else
		*why = s && s->revoked ? REASON_KEYS_REVOKED : REASON_KEYS_MISSING;
	return NULL;
}

time_t keysets_revoked_at(const struct keysets *k, const struct federation_provider *p)
{
	const struct keyset *s = find(k, p);

	return s ? s->revoked_at : 0;
}

uint64_t keysets_epoch(struct keysets *k, time_t now)
{
	observe(k, now);
	return k->epoch;
}

bool keysets_unknown_kid(struct keysets *k, const struct federation_provider *p, const char *kid, time_t now)
{
	struct keyset *s;

	observe(k, now);
	s = find(k, p);
	if (!s || keyset_is_file(s) || s->attempt || keyset_is_vain(s, kid, now))
		return false;
	if (s->attempted && now - s->attempted < KEYSETS_COOLDOWN)
		return false;
	s->attempted = now;
	free(s->kid);
	s->kid = strdup(kid);
	return true;
}

/* --- fetches ------------------------------------------------------------------------------ */

const struct federation_provider *keysets_due(const struct keysets *k, time_t *when)
{
	const struct keyset *first = NULL;

	for (const struct keyset *s = k->first; s; s = s->next)
		if (!s->attempt && !keyset_is_file(s) && (!first || s->due < first->due))
			first = s;
	if (!first)
		return NULL;
	*when = first->due;
	return first->provider;
}

uint64_t keysets_begin(struct keysets *k, const struct federation_provider *p, time_t now, const char **etag)
{
	struct keyset *s;

	*etag = NULL;
	observe(k, now);
	s = find(k, p);
	if (!s || keyset_is_file(s))
		return 0;
	s->attempt = ++k->attempts;
	s->attempted = now;
	s->conditional = s->set && *s->kept.etag;
	if (s->conditional)
		*etag = s->kept.etag;
	return s->attempt;
}

bool keysets_is_fetching(const struct keysets *k, const struct federation_provider *p)
{
	const struct keyset *s = find(k, p);

	return s && s->attempt;
}

bool keysets_done(struct keysets *k, uint64_t attempt, const struct keysets_answer *answer, time_t now)
{
	struct keyset *s = k->first;

	while (s && s->attempt != attempt)
		s = s->next;
	if (!s || !attempt)
		return false;
	s->attempt = 0;
	observe(k, now);
	if (answer->ok && keyset_take(k, s, answer, now))
		return true;
	if (!answer->ok)
		keyset_fail(s, answer->error && *answer->error ? answer->error : "the fetch failed", now);
	keyset_record(k, s);
	return false;
}

/* --- for root ----------------------------------------------------------------------------- */

bool keysets_refresh(struct keysets *k, const struct federation_provider *p, time_t now)
{
	struct keyset *s;

	observe(k, now);
	s = find(k, p);
	if (!s)
		return false;
	s->due = now;
	if (!keyset_is_file(s))
		return true;
	keyset_read_file(k, s, now);
	return false;
}

int keysets_revoke(struct keysets *k, const struct federation_provider *p, time_t now)
{
	struct keyset *s;

	observe(k, now);
	s = find(k, p);
	return s ? keyset_revoke(k, s, now) : -ENOENT;
}

void keysets_describe(const struct keysets *k, const struct federation_provider *p, time_t now, struct keysets_state *state)
{
	const struct keyset *s = find(k, p);

	memset(state, 0, sizeof(*state));
	state->error = "";
	if (!s)
		return;
	state->set = s->set;
	state->epoch = s->kept.epoch;
	state->fetched = s->kept.fetched;
	state->attempted = s->attempted;
	state->failures = s->failures;
	state->error = s->error;
	state->revoked = s->revoked;
	state->usable = keyset_is_usable(s, now);
	state->stale = state->usable && s->failures;
	if (keyset_is_file(s))
		return;
	state->refresh = s->due;
	state->hard_limit = s->set ? s->kept.fetched + KEYSETS_HARD_LIMIT : 0;
}
