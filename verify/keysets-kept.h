/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept of key sets over a restart. In the state directory, for each
 * identity provider: NAME.keys, the set, bound to where it came from and to
 * the epoch it was fetched in; NAME.epoch, the epoch, once it was revoked.
 * A set of another epoch than the one that stands there is never used.
 *
 * Both are frames of common/buffer.h with a SHA-256 at the end. That is
 * against corruption: who may write in the directory may write what he likes.
 * Within keysets; others use verify/keysets.h.
 */
#ifndef KEYFOB_KEYSETS_KEPT_H
#define KEYFOB_KEYSETS_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "common/buffer.h"

#define KEPT_ETAG_MAX 128

struct kept_set {
	uint64_t epoch; /* of the identity provider, when it was fetched */
	time_t fetched, refresh; /* when, and when the next fetch is due */
	char etag[KEPT_ETAG_MAX + 1];
	struct buffer document; /* as it came; at most JWKS_MAX bytes */
};

struct kept_epoch {
	uint64_t epoch;
	bool revoked; /* and not fetched since */
	time_t revoked_at;
};

/* Open and lock the state directory, sweep up what a crash left. A descriptor, or -1 with a line in why. */
int kept_open(const char *directory, char *why, size_t why_size);

/*
 * Each returns 0 or a negative errno. Loading: -ENOENT when there is nothing;
 * else why says what is wrong with what there is. What was saved is on the
 * disk when the call returns; what was there before stays until then.
 */
int kept_save_set(int directory, const char *name, const char *source, const struct kept_set *set);
int kept_load_set(int directory, const char *name, const char *source, struct kept_set *set, char *why, size_t why_size);
int kept_remove_set(int directory, const char *name);
int kept_save_epoch(int directory, const char *name, const struct kept_epoch *epoch);
int kept_load_epoch(int directory, const char *name, struct kept_epoch *epoch, char *why, size_t why_size);

/* Remove the sets of all names that are not wanted. */
void kept_sweep(int directory, bool (*wanted)(const void *arg, const char *name), const void *arg);

/* A key set in a file of root's (jwks_file), into document. 0 or a negative errno with a line in why. */
int kept_read_file(const char *path, struct buffer *document, char *why, size_t why_size);

#endif
