/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/keyset.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/log.h"

#define RETRY_FIRST 60 /* doubles up to RETRY_MAX while the old set can be served */
#define RETRY_MAX 900

/* So that hosts and identity providers do not move in step. */
static time_t below(time_t most)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = 0;
	return most * (random % 1000) / 1000;
}

bool keyset_is_file(const struct keyset *s)
{
	return s->provider->jwks_file != NULL;
}

/* A file does not age: root put it there. */
bool keyset_is_usable(const struct keyset *s, time_t now)
{
	return s->set && (keyset_is_file(s) || (s->kept.fetched <= now + KEYSET_CLOCK_STEP && now < s->kept.fetched + KEYSETS_HARD_LIMIT));
}

/* --- kids that are not there ---------------------------------------------------------------- */

bool keyset_is_vain(const struct keyset *s, const char *kid, time_t now)
{
	for (size_t i = 0; i < KEYSET_VAIN_MAX; i++)
		if (s->vain[i].kid && now - s->vain[i].at < KEYSET_VAIN_SECONDS && strcmp(s->vain[i].kid, kid) == 0)
			return true;
	return false;
}

void keyset_forget_vain(struct keyset *s)
{
	for (size_t i = 0; i < KEYSET_VAIN_MAX; i++) {
		free(s->vain[i].kid);
		s->vain[i].kid = NULL;
	}
}

static void forget_kid(struct keyset *s)
{
	free(s->kid);
	s->kid = NULL;
}

static bool holds_kid(const struct keyset *s, const char *kid)
{
	for (size_t i = 0; i < jwks_count(s->set); i++)
		if (*kid && strcmp(jwks_kid(s->set, i), kid) == 0)
			return true;
	return false;
}

/* The set is the provider's newest: the kid that was looked for is in it, or was looked for in vain. */
static void settle_kid(struct keyset *s, time_t now)
{
	size_t place = 0;

	if (!s->kid || holds_kid(s, s->kid)) {
		forget_kid(s);
		return;
	}
	for (size_t i = 1; i < KEYSET_VAIN_MAX && s->vain[place].kid; i++)
		if (!s->vain[i].kid || s->vain[i].at < s->vain[place].at)
			place = i;
	free(s->vain[place].kid);
	s->vain[place].kid = s->kid;
	s->vain[place].at = now;
	s->kid = NULL;
}

/* --- on the disk ------------------------------------------------------------------------------ */

static int record_epoch(struct keysets *k, struct keyset *s)
{
	struct kept_epoch record = { s->kept.epoch, s->revoked, s->revoked_at };
	int rc = kept_save_epoch(k->directory, s->name, &record);

	if (rc < 0) {
		log_error("identity_provider=%s event=epoch-not-kept epoch=%" PRIu64 " error=\"%s\"", s->name, record.epoch, strerror(-rc));
		return rc;
	}
	s->unrecorded = false;
	s->recorded_revoked = s->revoked;
	return 0;
}

bool keyset_record(struct keysets *k, struct keyset *s)
{
	if (!s->unrecorded || record_epoch(k, s) == 0)
		return true;
	/* Then at least the set of the old epoch must not be there. */
	if (!keyset_is_file(s))
		kept_remove_set(k->directory, s->name);
	return false;
}

/* The epoch stands there before the first set of it, and that it was revoked until there is one. */
static void keep(struct keysets *k, struct keyset *s, bool changed)
{
	int rc = 0;

	if (!keyset_record(k, s))
		return;
	if (!keyset_is_file(s))
		rc = kept_save_set(k->directory, s->name, s->source, &s->kept);
	if (rc < 0) {
		log_error("identity_provider=%s event=keyset-not-kept error=\"%s\"; it is held in memory", s->name, strerror(-rc));
		/* A key that was taken out must not come back with the next start. */
		if (changed)
			kept_remove_set(k->directory, s->name);
	} else if (s->recorded_revoked) {
		record_epoch(k, s);
	}
}

/* --- what comes ------------------------------------------------------------------------------- */

/* For a value in quotes in the log: what comes from outside must not look like the next field. */
static void soften_quotes(char *text)
{
	for (; *text; text++)
		if (*text == '"')
			*text = '\'';
}

/* One line for each key that was skipped. */
static void log_notes(const struct keyset *s, struct buffer *notes)
{
	const char *text = notes->length ? buffer_cstring(notes) : NULL;
	char *copy = text ? strdup(text) : NULL, *rest = copy, *line;

	if (copy)
		soften_quotes(copy);
	while (rest && (line = strsep(&rest, "\n")))
		if (*line)
			log_warning("identity_provider=%s event=key-skipped reason=\"%s\"", s->name, line);
	free(copy);
}

/* And for each that is used, but should not be what it is. */
static void log_weak(const struct keyset *s, const struct jwks *set)
{
	char kid[WIRE_TEXT_MAX];

	for (size_t i = 0; i < jwks_count(set); i++) {
		if (!jwks_weak(set, i))
			continue;
		log_warning("identity_provider=%s event=key-weak kid=\"%s\" kind=\"%s\"; it is used, but its exponent should be 65537",
			s->name, log_quote(jwks_kid(set, i), kid, sizeof(kid)), jwks_kind(set, i));
	}
}

static bool same_bytes(const struct buffer *a, const struct buffer *b)
{
	return a->length == b->length && (!a->length || memcmp(a->data, b->data, a->length) == 0);
}

/*
 * Make a document the set, if it is one that may take the place of a good one.
 * *changed: its keys are others than before.
 */
static bool adopt(struct keysets *k, struct keyset *s, const void *json, size_t length, bool *changed, char *why, size_t why_size)
{
	struct buffer notes, document;
	struct jwks *set;

	buffer_init(&notes, 1 << 18);
	buffer_init(&document, JWKS_MAX);
	set = jwks_import(json, length, &notes, why, why_size);
	if (set && !buffer_put(&document, json, length)) {
		snprintf(why, why_size, "out of memory");
		jwks_free(set);
		set = NULL;
	}
	if (set) {
		*changed = !s->set || !jwks_same(s->set, set);
		/* A key that was added and is of no use changes the document alone. */
		if (!same_bytes(&s->kept.document, &document)) {
			log_notes(s, &notes);
			log_weak(s, set);
		}
		if (*changed) {
			keyset_forget_vain(s);
			k->epoch++;
		}
		jwks_free(s->set);
		s->set = set;
		buffer_free(&s->kept.document);
		s->kept.document = document;
		s->revoked = false;
	}
	buffer_free(&notes);
	return set != NULL;
}

static void succeed(struct keysets *k, struct keyset *s, bool changed, time_t now)
{
	s->failures = 0;
	s->error[0] = 0;
	s->kept.fetched = now;
	if (!s->usable)
		k->epoch++;
	s->usable = true;
	settle_kid(s, now);
	keep(k, s, changed);
}

void keyset_fail(struct keyset *s, const char *error, time_t now)
{
	time_t wait = RETRY_FIRST;

	if (s->failures < UINT32_MAX)
		s->failures++;
	/* While logins are refused for want of keys, once a minute is not too often. */
	for (unsigned int i = 1; s->usable && i < s->failures && wait < RETRY_MAX; i++)
		wait *= 2;
	if (wait > RETRY_MAX)
		wait = RETRY_MAX;
	s->due = now + wait + below(wait / 10);
	snprintf(s->error, sizeof(s->error), "%s", error);
	soften_quotes(s->error);
	log_warning("identity_provider=%s event=keyset-failed failures=%u reason=\"%s\"%s", s->name, s->failures, s->error,
		s->usable ? "; the set from before is used" : "");
}

/* Ahead of the end of its life: at 80 % of it, less up to 10 %. */
static time_t plan(time_t refresh, time_t now)
{
	time_t life = KEYSETS_LIFE;

	if (refresh && refresh < now + KEYSETS_LIFE_MIN)
		life = KEYSETS_LIFE_MIN;
	else if (refresh > now + KEYSETS_LIFE_MAX)
		life = KEYSETS_LIFE_MAX;
	else if (refresh)
		life = refresh - now;
	return now + life * 8 / 10 - below(life / 10);
}

/* A header's value comes from outside; without one that is longer or odd the next fetch is unconditional. */
static void set_etag(struct keyset *s, const char *etag)
{
	size_t length = etag ? strlen(etag) : 0;

	s->kept.etag[0] = 0;
	for (size_t i = 0; i < length; i++)
		if (etag[i] < 0x21 || etag[i] > 0x7e)
			return;
	if (length && length <= KEPT_ETAG_MAX)
		memcpy(s->kept.etag, etag, length + 1);
}

bool keyset_take(struct keysets *k, struct keyset *s, const struct keysets_answer *answer, time_t now)
{
	char why[512], error[600];
	bool changed = false;

	if (answer->not_modified && !s->conditional) {
		keyset_fail(s, "\"not modified\" was answered to a request that named no version", now);
		return false;
	}
	if (!answer->not_modified) {
		if (!adopt(k, s, answer->body, answer->length, &changed, why, sizeof(why))) {
			snprintf(error, sizeof(error), "the key set is of no use: %s", why);
			keyset_fail(s, error, now);
			return false;
		}
		set_etag(s, answer->etag);
	}
	s->kept.refresh = s->due = plan(answer->refresh, now);
	succeed(k, s, changed, now);
	log_info("identity_provider=%s event=keyset-fetched keys=%zu changed=%s refresh=%jd", s->name, jwks_count(s->set),
		changed ? "yes" : "no", (intmax_t)s->due);
	return true;
}

void keyset_read_file(struct keysets *k, struct keyset *s, time_t now)
{
	const char *path = s->provider->jwks_file;
	struct buffer document;
	char why[512], error[WIRE_TEXT_MAX];
	bool changed = false;

	buffer_init(&document, JWKS_MAX + 1);
	s->attempted = now;
	if (kept_read_file(path, &document, why, sizeof(why)) == 0 &&
		adopt(k, s, document.data, document.length, &changed, why, sizeof(why))) {
		succeed(k, s, changed, now);
		log_info("identity_provider=%s event=keyset-read keys=%zu changed=%s file=%s", s->name, jwks_count(s->set),
			changed ? "yes" : "no", path);
	} else {
		snprintf(error, sizeof(error), "%s: %s", path, why);
		keyset_fail(s, error, now);
	}
	buffer_free(&document);
}

/* --- its end ---------------------------------------------------------------------------------- */

static void forget(struct keysets *k, struct keyset *s)
{
	jwks_free(s->set);
	s->set = NULL;
	s->usable = false;
	s->kept.etag[0] = 0;
	s->kept.fetched = 0;
	buffer_free(&s->kept.document);
	keyset_forget_vain(s);
	forget_kid(s);
	s->attempt = 0;
	k->epoch++;
}

int keyset_revoke(struct keysets *k, struct keyset *s, time_t now)
{
	int rc, removed = 0;

	forget(k, s);
	s->kept.epoch++;
	s->revoked = s->unrecorded = true;
	s->revoked_at = now;
	s->failures = 0;
	s->error[0] = 0;
	s->due = now;
	rc = record_epoch(k, s);
	if (!keyset_is_file(s))
		removed = kept_remove_set(k->directory, s->name);
	if (removed < 0)
		log_error("identity_provider=%s event=keyset-not-removed error=\"%s\"%s", s->name, strerror(-removed),
			rc < 0 ? "; a restart would bring it back" : "");
	log_notice("identity_provider=%s event=keyset-revoked epoch=%" PRIu64, s->name, s->kept.epoch);
	return rc;
}

/* --- its beginning ------------------------------------------------------------------------------ */

static void refused(const struct keyset *s, const char *why)
{
	log_warning("identity_provider=%s event=keyset-refused reason=\"what was kept %s\"; it is fetched again", s->name, why);
}

static void adopt_kept(struct keysets *k, struct keyset *s, struct kept_set *kept, time_t now)
{
	char why[512];
	bool changed;

	if (kept->epoch != s->kept.epoch) {
		snprintf(why, sizeof(why), "is of epoch %" PRIu64 ", and now it is %" PRIu64, kept->epoch, s->kept.epoch);
		refused(s, why);
		return;
	}
	if (!adopt(k, s, kept->document.data, kept->document.length, &changed, why, sizeof(why))) {
		refused(s, why);
		return;
	}
	s->kept.fetched = kept->fetched;
	s->kept.refresh = kept->refresh;
	set_etag(s, kept->etag);
	s->usable = true; /* until the clock is looked at, which says so when it is not */
	/* What seems to come from the future was written by another clock than today's, and says nothing about when. */
	if (kept->fetched <= now) {
		s->attempted = kept->fetched;
		if (kept->refresh <= kept->fetched + KEYSETS_LIFE_MAX)
			s->due = kept->refresh;
	}
	log_info("identity_provider=%s event=keyset-loaded keys=%zu fetched=%jd refresh=%jd", s->name, jwks_count(s->set),
		(intmax_t)kept->fetched, (intmax_t)s->due);
}

static void load(struct keysets *k, struct keyset *s, time_t now)
{
	struct kept_epoch record = { 0 };
	struct kept_set kept = { 0 };
	char why[512];
	int rc = kept_load_epoch(k->directory, s->name, &record, why, sizeof(why));
	bool damaged = rc < 0 && rc != -ENOENT;

	if (damaged)
		log_error("identity_provider=%s event=epoch-refused reason=\"what was kept %s\"; that counts as a revoke", s->name, why);
	s->kept.epoch = record.epoch;
	s->revoked = s->recorded_revoked = record.revoked;
	s->revoked_at = record.revoked_at;
	rc = keyset_is_file(s) ? -ENOENT : kept_load_set(k->directory, s->name, s->source, &kept, why, sizeof(why));
	if (rc < 0 && rc != -ENOENT)
		refused(s, why);
	if (rc == -ESTALE)
		kept_remove_set(k->directory, s->name);
	if (damaged) {
		s->kept.epoch = kept.epoch;
		keyset_revoke(k, s, now);
	} else if (rc == 0) {
		adopt_kept(k, s, &kept, now);
	}
	if (rc == 0)
		buffer_free(&kept.document);
}

struct keyset *keyset_new(struct keysets *k, const struct federation_provider *p, time_t now)
{
	struct keyset *s = calloc(1, sizeof(*s));

	if (!s || !(s->name = strdup(p->name)) || !(s->source = strdup(p->source))) {
		log_error("identity_provider=%s event=keyset-failed reason=\"out of memory\"", p->name);
		keyset_free(k, s);
		return NULL;
	}
	s->provider = p;
	s->due = now;
	load(k, s, now);
	return s;
}

void keyset_free(struct keysets *k, struct keyset *s)
{
	if (!s)
		return;
	forget(k, s);
	free(s->name);
	free(s->source);
	free(s);
}
