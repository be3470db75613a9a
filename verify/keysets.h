/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of key sets: kept over a restart, refreshed ahead of time, served
 * stale while an identity provider is down, up to a hard limit, and revoked.
 * Fetches nothing itself: it says when a fetch is due and takes what came.
 * Time is an argument everywhere, so that tests own the clock.
 *
 * The times are the wall clock's, because a set's age must count over a
 * restart. A clock that is set back makes every set due at once; a set that
 * then seems to come from the future is as good as one past the hard limit.
 */
#ifndef KEYFOB_KEYSETS_H
#define KEYFOB_KEYSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "common/buffer.h"
#include "verify/federation.h"
#include "verify/jwks.h"
#include "verify/reason.h"

#define KEYSETS_LIFE 3600 /* seconds, of a set whose provider does not say (max-age) */
#define KEYSETS_LIFE_MIN 300 /* what it says is clamped to these */
#define KEYSETS_LIFE_MAX 86400
#define KEYSETS_HARD_LIMIT 86400 /* since the last good fetch; then logins fail closed */
#define KEYSETS_COOLDOWN 60 /* between fetches for an unknown kid, counted per attempt */

struct keysets;

/*
 * directory is the state directory: absolute, 0700, the caller's own, and
 * nobody else's at the same time. NULL with a line in why.
 */
struct keysets *keysets_open(const char *directory, char *why, size_t why_size);
void keysets_close(struct keysets *k);
/*
 * Bring the sets into line with a configuration: load what was kept for the
 * providers of f (through the same import as anything fetched), forget the
 * sets of those that are gone or whose source changed. f must outlive the
 * next call, or keysets_close(). jwks_file is read here. Faults are logged.
 */
void keysets_configure(struct keysets *k, const struct federation *f, time_t now);

/* The set to judge by. NULL: KEYS_MISSING, KEYS_STALE or KEYS_REVOKED in *why. */
const struct jwks *keysets_get(struct keysets *k, const struct federation_provider *p, time_t now, enum reason *why);
/*
 * When it was last revoked, 0: never. What was issued until then is refused,
 * even where a key that is published again would verify it.
 */
time_t keysets_revoked_at(const struct keysets *k, const struct federation_provider *p);
/* Changes whenever any set, or the lack of one, does; a set that reaches its hard limit is among that. */
uint64_t keysets_epoch(struct keysets *k, time_t now);

/*
 * A token whose iss and aud are right names a kid that is not in the set.
 * True: a fetch may be made for it now (and that is noted). False: a fetch was
 * made less than KEYSETS_COOLDOWN ago or is under way, this kid was looked for
 * in vain, or the keys are a file's (jwks_file).
 */
bool keysets_unknown_kid(struct keysets *k, const struct federation_provider *p, const char *kid, time_t now);

/* The provider whose fetch is due first, and when; NULL: none is. One with a fetch under way is not due. */
const struct federation_provider *keysets_due(const struct keysets *k, time_t *when);
/* A fetch begins. etag (NULL: unconditional) lives until the next call. Returns a number that names the attempt. */
uint64_t keysets_begin(struct keysets *k, const struct federation_provider *p, time_t now, const char **etag);
bool keysets_is_fetching(const struct keysets *k, const struct federation_provider *p);

struct keysets_answer {
	bool ok;
	bool not_modified;
	const void *body; /* with ok, unless not modified */
	size_t length;
	const char *etag; /* "" without one */
	time_t refresh; /* when the provider wants it fetched again, 0: no word */
	const char *error; /* without ok: in words */
};
/* What came of attempt. One begun before a revoke, or whose provider is gone, is discarded. Returns whether the set is fresh now. */
bool keysets_done(struct keysets *k, uint64_t attempt, const struct keysets_answer *answer, time_t now);

/*
 * Root asks for a fetch now. True: it is due at once, whatever the clock says,
 * or under way. False: nothing is left to wait for; a jwks_file was read again
 * (keysets_describe() tells how that went).
 */
bool keysets_refresh(struct keysets *k, const struct federation_provider *p, time_t now);
/*
 * Write and sync a new epoch, forget the set here and on disk; a fetch is due
 * at once and until one succeeds keysets_get() fails with KEYS_REVOKED. A
 * jwks_file is believed again after keysets_refresh(), not before.
 * Returns 0 or a negative errno when the disk would not have it: the set is
 * gone from memory all the same, and writing is tried again with each fetch.
 */
int keysets_revoke(struct keysets *k, const struct federation_provider *p, time_t now);

/* For `keyfob jwks list`. Texts live until the next call. */
struct keysets_state {
	const struct jwks *set; /* NULL: none */
	uint64_t epoch; /* times it was revoked */
	time_t fetched, attempted, refresh, hard_limit; /* 0: never, or does not apply */
	unsigned int failures; /* in a row */
	const char *error; /* of the last attempt, "" */
	bool revoked; /* and not fetched since */
	bool usable; /* keysets_get() gives it */
	bool stale; /* usable, but its refresh fails */
};
void keysets_describe(const struct keysets *k, const struct federation_provider *p, time_t now, struct keysets_state *state);

#endif
