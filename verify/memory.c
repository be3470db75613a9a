/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The texts of a verdict are short, its arrays are not; so they are kept as they are needed. */
struct remembered {
	struct remembered *in_bucket; /* the next */
	struct remembered *older, *newer;
	uint8_t digest[MEMORY_DIGEST];
	uint64_t epoch;
	const struct federation_provider *provider;
	const struct federation_user *user;
	time_t expires, not_before;
	const char *service, *login, *subject, *kid; /* in texts */
	char texts[];
};

struct memory {
	size_t most, count;
	size_t mask; /* buckets - 1 */
	struct remembered **buckets;
	struct remembered *oldest, *newest;
};

struct memory *memory_new(size_t most)
{
	struct memory *m = calloc(1, sizeof(*m));
	size_t buckets = 1;

	if (!m)
		return NULL;
	while (buckets < most)
		buckets *= 2;
	m->most = most;
	m->mask = buckets - 1;
	m->buckets = calloc(buckets, sizeof(*m->buckets));
	if (m->buckets)
		return m;
	free(m);
	return NULL;
}

void memory_free(struct memory *m)
{
	if (!m)
		return;
	memory_clear(m);
	free(m->buckets);
	free(m);
}

void memory_clear(struct memory *m)
{
	while (m->oldest) {
		struct remembered *r = m->oldest;

		m->oldest = r->newer;
		free(r);
	}
	m->newest = NULL;
	m->count = 0;
	memset(m->buckets, 0, (m->mask + 1) * sizeof(*m->buckets));
}

/* Where the pointer to the one with this key stands, or would stand. A digest is as good as a hash of it. */
static struct remembered **find(const struct memory *m, const struct memory_key *key)
{
	struct remembered **at;
	uint64_t hash;

	memcpy(&hash, key->digest, sizeof(hash));
	for (at = &m->buckets[hash & m->mask]; *at; at = &(*at)->in_bucket)
		if ((*at)->epoch == key->epoch && memcmp((*at)->digest, key->digest, MEMORY_DIGEST) == 0 &&
			strcmp((*at)->service, key->service) == 0 && strcmp((*at)->login, key->login) == 0)
			break;
	return at;
}

static void forget(struct memory *m, struct remembered **at)
{
	struct remembered *r = *at;

	*at = r->in_bucket;
	*(r->older ? &r->older->newer : &m->oldest) = r->newer;
	*(r->newer ? &r->newer->older : &m->newest) = r->older;
	m->count--;
	free(r);
}

static void forget_oldest(struct memory *m)
{
	const struct remembered *r = m->oldest;
	struct memory_key key = { .service = r->service, .login = r->login, .epoch = r->epoch };

	memcpy(key.digest, r->digest, sizeof(key.digest));
	forget(m, find(m, &key));
}

bool memory_get(struct memory *m, const struct memory_key *key, time_t now, struct verdict *verdict)
{
	struct remembered **at = find(m, key);

	if (!*at)
		return false;
	if (now >= (*at)->expires) {
		forget(m, at);
		return false;
	}
	if ((*at)->not_before > now + VERDICT_SKEW)
		return false;
	memset(verdict, 0, sizeof(*verdict));
	verdict->reason = REASON_OK;
	verdict->provider = (*at)->provider;
	verdict->user = (*at)->user;
	verdict->expires = (*at)->expires;
	verdict->not_before = (*at)->not_before;
	snprintf(verdict->subject, sizeof(verdict->subject), "%s", (*at)->subject);
	snprintf(verdict->kid, sizeof(verdict->kid), "%s", (*at)->kid);
	return true;
}

static const char *keep_text(char **to, const char *text)
{
	const char *kept = *to;

	*to = stpcpy(*to, text) + 1;
	return kept;
}

void memory_put(struct memory *m, const struct memory_key *key, const struct verdict *verdict)
{
	size_t texts = strlen(key->service) + strlen(key->login) + strlen(verdict->subject) + strlen(verdict->kid) + 4;
	struct remembered **at, *r;
	char *to;

	if (verdict->reason != REASON_OK || !m->most)
		return;
	r = calloc(1, sizeof(*r) + texts);
	if (!r)
		return;
	to = r->texts;
	r->service = keep_text(&to, key->service);
	r->login = keep_text(&to, key->login);
	r->subject = keep_text(&to, verdict->subject);
	r->kid = keep_text(&to, verdict->kid);
	memcpy(r->digest, key->digest, sizeof(r->digest));
	r->epoch = key->epoch;
	r->provider = verdict->provider;
	r->user = verdict->user;
	r->expires = verdict->expires;
	r->not_before = verdict->not_before;
	at = find(m, key);
	if (*at)
		forget(m, at);
	else if (m->count == m->most)
		forget_oldest(m);
	at = find(m, key);
	*at = r;
	r->older = m->newest;
	*(m->newest ? &m->newest->newer : &m->oldest) = r;
	m->newest = r;
	m->count++;
}
