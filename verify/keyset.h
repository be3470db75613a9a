/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key set of one identity provider: what it takes for one, what it keeps
 * of it, when the next is due. Within keysets; others use verify/keysets.h.
 */
#ifndef KEYFOB_KEYSET_H
#define KEYFOB_KEYSET_H

#include "common/wire.h"
#include "verify/keysets-kept.h"
#include "verify/keysets.h"

#define KEYSET_CLOCK_STEP KEYSETS_LIFE_MIN /* a clock may run back that far unnoticed */
#define KEYSET_VAIN_SECONDS 300 /* a kid that was looked for in vain is not looked for again so soon */
#define KEYSET_VAIN_MAX 8 /* at one attempt per KEYSETS_COOLDOWN no more than five are that young */

struct keyset {
	struct keyset *next;
	char *name, *source;
	const struct federation_provider *provider;
	struct jwks *set;
	struct kept_set kept; /* what stands beside the set on the disk; the epoch counts without a set */
	bool usable; /* there is a set, and its hard limit was not reached when the clock was last looked at */
	bool revoked; /* and not fetched since */
	time_t revoked_at; /* the last time, 0: never */
	bool unrecorded; /* the disk has not got the epoch yet */
	bool recorded_revoked; /* the disk says so */
	time_t due, attempted;
	unsigned int failures;
	char error[WIRE_TEXT_MAX];
	uint64_t attempt; /* under way, 0: none */
	bool conditional; /* it was sent with the etag */
	char *kid; /* for which it is made, NULL: for none */
	struct {
		char *kid;
		time_t at;
	} vain[KEYSET_VAIN_MAX]; /* the oldest makes room */
};

struct keysets {
	int directory;
	struct keyset *first;
	uint64_t epoch, attempts;
	time_t now; /* the latest that was seen */
};

/* With what was kept of it. NULL: out of memory, and logged. */
struct keyset *keyset_new(struct keysets *k, const struct federation_provider *p, time_t now);
void keyset_free(struct keysets *k, struct keyset *s);

/* Its keys are root's file, and never fetched. */
bool keyset_is_file(const struct keyset *s);
bool keyset_is_usable(const struct keyset *s, time_t now);

/* Each takes what came of an attempt and says what is next. True: the set is fresh now. */
bool keyset_take(struct keysets *k, struct keyset *s, const struct keysets_answer *answer, time_t now);
void keyset_fail(struct keyset *s, const char *error, time_t now);
void keyset_read_file(struct keysets *k, struct keyset *s, time_t now);

int keyset_revoke(struct keysets *k, struct keyset *s, time_t now);
/* Try again what the disk would not have at a revoke. True: it has it. */
bool keyset_record(struct keysets *k, struct keyset *s);

bool keyset_is_vain(const struct keyset *s, const char *kid, time_t now);
void keyset_forget_vain(struct keyset *s);

#endif
