/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Good verdicts, remembered: a pool that presents one token a thousand times
 * costs one signature check. Bounded; bound to the token's digest, service,
 * login and an epoch that changes with every key set and every configuration.
 * exp and nbf are read again on every hit.
 */
#ifndef KEYFOB_MEMORY_H
#define KEYFOB_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "verify/verdict.h"

#define MEMORY_DIGEST 32 /* SHA-256 of the token */

struct memory;

struct memory_key {
	uint8_t digest[MEMORY_DIGEST];
	const char *service, *login;
	uint64_t epoch;
};

/* At most so many verdicts; the oldest makes room. NULL: out of memory. */
struct memory *memory_new(size_t most);
void memory_free(struct memory *m);
/* Forget all. Pointers into a federation that is going away are among them. */
void memory_clear(struct memory *m);
bool memory_get(struct memory *m, const struct memory_key *key, time_t now, struct verdict *verdict);
/* verdict->reason must be REASON_OK. A failure to remember is none. */
void memory_put(struct memory *m, const struct memory_key *key, const struct verdict *verdict);

#endif
