/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/jwks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "verify/json.h"
#include "verify/jwk.h"

struct jwks {
	unsigned int owners;
	size_t count, refused_count;
	struct jwk *keys;
	char **refused; /* kids of keys that are there but may not verify */
};

/* An import under way. */
struct import {
	struct jwks *set;
	size_t total; /* keys in the document */
	size_t place[JWKS_KEYS_MAX]; /* where in the document a key of the set stands */
	struct buffer *notes;
	char first[1280]; /* of the notes, to say why nothing is left */
};

/* i counts from 0; kid may be NULL. */
static void note(struct import *in, size_t i, const char *kid, const char *why)
{
	char name[4 * JWK_KID_MAX + 1], line[sizeof(in->first)];

	if (kid)
		snprintf(line, sizeof(line), "key %zu (kid %s): %s", i + 1, log_escape(kid, name, sizeof(name)), why);
	else
		snprintf(line, sizeof(line), "key %zu: %s", i + 1, why);
	if (!in->first[0])
		memcpy(in->first, line, sizeof(line));
	if (in->notes)
		buffer_printf(in->notes, "%s\n", line);
}

static bool refuse(struct jwks *set, const char *kid)
{
	set->refused[set->refused_count] = strdup(kid);
	return set->refused[set->refused_count++] != NULL;
}

static bool same_kid(const struct jwk *a, const struct jwk *b)
{
	return a->kid && b->kid ? strcmp(a->kid, b->kid) == 0 : !a->kid && !b->kid;
}

/* Of the keys read so far: does it stand there already, or does its kid name another key? */
static bool is_repeated(const struct jwks *set, const struct jwk *key, bool clash[])
{
	bool repeated = false;

	for (size_t i = 0; i < set->count; i++) {
		if (!same_kid(&set->keys[i], key))
			continue;
		if (!jwk_same_material(&set->keys[i], key)) {
			if (key->kid)
				clash[i] = clash[set->count] = true;
		} else if (set->keys[i].alg == key->alg) {
			repeated = true;
		}
	}
	return repeated;
}

/* False: out of memory. */
static bool read_keys(struct import *in, const json_t *keys, bool clash[])
{
	struct jwks *set = in->set;

	for (size_t i = 0; i < in->total; i++) {
		const json_t *object = json_array_get(keys, i), *name = json_object_get(object, "kid");
		const char *kid = jwk_kid_good(name) ? json_string_value(name) : NULL;
		struct jwk *key = &set->keys[set->count];
		const char *why = "it is not a JSON object";

		if (!json_is_object(object) || !jwk_import(key, object, &why)) {
			jwk_free(key);
			note(in, i, kid, why);
			if (kid && !refuse(set, kid))
				return false;
			continue;
		}
		in->place[set->count] = i;
		clash[set->count] = false;
		if (is_repeated(set, key, clash) && !clash[set->count])
			jwk_free(key);
		else
			set->count++;
	}
	return true;
}

/* Two keys by one name: which of them was meant cannot be told, so neither is used. */
static bool drop_clashes(struct import *in, const bool clash[])
{
	struct jwks *set = in->set;
	size_t kept = 0;
	bool good = true;

	for (size_t i = 0; i < set->count; i++) {
		struct jwk *key = &set->keys[i];

		if (clash[i]) {
			note(in, in->place[i], key->kid, "another key of the set has the same kid");
			good = refuse(set, key->kid) && good;
			jwk_free(key);
		} else {
			if (kept != i) {
				set->keys[kept] = *key;
				memset(key, 0, sizeof(*key));
			}
			kept++;
		}
	}
	set->count = kept;
	return good;
}

static struct jwks *import_list(const json_t *keys, struct buffer *notes, char *why, size_t why_size)
{
	struct import in = { .notes = notes, .total = json_array_size(keys) };
	bool clash[JWKS_KEYS_MAX] = { false };

	if (in.total == 0 || in.total > JWKS_KEYS_MAX) {
		snprintf(why, why_size, in.total ? "it holds %zu keys, and %d are the most" : "it holds no key", in.total, JWKS_KEYS_MAX);
		return NULL;
	}
	in.set = calloc(1, sizeof(*in.set));
	if (!in.set)
		goto memory;
	in.set->owners = 1;
	in.set->keys = calloc(in.total, sizeof(*in.set->keys));
	in.set->refused = calloc(in.total, sizeof(*in.set->refused));
	if (!in.set->keys || !in.set->refused || !read_keys(&in, keys, clash) || !drop_clashes(&in, clash))
		goto memory;
	if (in.set->count == 0) {
		snprintf(why, why_size, "none of its keys can be used: %s", in.first);
		jwks_free(in.set);
		return NULL;
	}
	return in.set;
memory:
	snprintf(why, why_size, "out of memory");
	jwks_free(in.set);
	return NULL;
}

static json_t *load(const void *json, size_t length, char *why, size_t why_size)
{
	enum json_fault fault;
	json_t *object;

	if (length > JWKS_MAX) {
		snprintf(why, why_size, "it has %zu bytes, and %u are the most", length, JWKS_MAX);
		return NULL;
	}
	object = json_strict(json, length, &fault);
	if (!object) {
		snprintf(why, why_size, "%s", json_fault_text(fault));
		return NULL;
	}
	if (json_is_object(object))
		return object;
	json_decref(object);
	snprintf(why, why_size, "it is not a JSON object");
	return NULL;
}

struct jwks *jwks_import(const void *json, size_t length, struct buffer *notes, char *why, size_t why_size)
{
	json_t *object = load(json, length, why, why_size), *keys;
	struct jwks *set = NULL;

	if (!object)
		return NULL;
	keys = json_object_get(object, "keys");
	if (json_is_array(keys))
		set = import_list(keys, notes, why, why_size);
	else
		snprintf(why, why_size, "it is not a key set: it has no list of keys");
	json_decref(object);
	return set;
}

struct jwks *jwks_import_key(const void *json, size_t length, char *why, size_t why_size)
{
	json_t *object = load(json, length, why, why_size), *keys = json_array();
	struct jwks *set = NULL;

	if (object && json_array_append_new(keys, object) == 0)
		set = import_list(keys, NULL, why, why_size);
	else if (object)
		snprintf(why, why_size, "out of memory");
	json_decref(keys);
	return set;
}

struct jwks *jwks_keep(struct jwks *set)
{
	if (set)
		set->owners++;
	return set;
}

void jwks_free(struct jwks *set)
{
	if (!set || --set->owners > 0)
		return;
	for (size_t i = 0; i < set->count; i++)
		jwk_free(&set->keys[i]);
	for (size_t i = 0; i < set->refused_count; i++)
		free(set->refused[i]);
	free(set->keys);
	free(set->refused);
	free(set);
}

size_t jwks_count(const struct jwks *set)
{
	return set->count;
}

const char *jwks_kid(const struct jwks *set, size_t i)
{
	return set->keys[i].kid ? set->keys[i].kid : "";
}

const char *jwks_kind(const struct jwks *set, size_t i)
{
	return set->keys[i].kind;
}

bool jwks_weak(const struct jwks *set, size_t i)
{
	return set->keys[i].weak;
}

static bool holds(const struct jwks *set, const struct jwk *key)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct jwk *k = &set->keys[i];

		if (same_kid(k, key) && k->alg == key->alg && jwk_same_material(k, key))
			return true;
	}
	return false;
}

/* No key stands in a set twice, so one direction is enough. */
bool jwks_same(const struct jwks *a, const struct jwks *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!holds(b, &a->keys[i]))
			return false;
	return true;
}

static enum reason find_fitting(const struct jwks *set, enum jwk_alg alg, const struct jwk **key)
{
	const struct jwk *found = NULL;

	for (size_t i = 0; i < set->count; i++) {
		const struct jwk *k = &set->keys[i];

		if (alg == JWK_ALGS || !k->ready[alg])
			continue;
		if (found && !jwk_same_material(found, k))
			return REASON_KID;
		found = k;
	}
	if (!found)
		return REASON_KEY_UNUSABLE;
	*key = found;
	return REASON_OK;
}

enum reason jwks_find(const struct jwks *set, const char *kid, const char *alg, const struct jwk **key)
{
	enum reason reason = REASON_KID_UNKNOWN;
	enum jwk_alg wanted = jwk_alg(alg);

	if (!kid)
		return find_fitting(set, wanted, key);
	for (size_t i = 0; i < set->count; i++) {
		const struct jwk *k = &set->keys[i];

		if (!k->kid || strcmp(k->kid, kid) != 0)
			continue;
		if (wanted != JWK_ALGS && k->ready[wanted]) {
			*key = k;
			return REASON_OK;
		}
		reason = REASON_KEY_UNUSABLE;
	}
	for (size_t i = 0; i < set->refused_count; i++)
		if (strcmp(set->refused[i], kid) == 0)
			return REASON_KEY_UNUSABLE;
	return reason;
}
