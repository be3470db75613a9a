/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is remembered of good verdicts, for whom and for how long.
 * links: verify/memory
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/memory.h"

#define NOW 2000000000

static const struct federation_provider provider;
static const struct federation_user user;

/* Digests that differ in one byte, the first or the last. */
static struct memory_key make_key(unsigned int first, unsigned int last, const char *service, const char *login, uint64_t epoch)
{
	struct memory_key key = { .service = service, .login = login, .epoch = epoch };

	key.digest[0] = (uint8_t)first;
	key.digest[1] = (uint8_t)(first >> 8);
	key.digest[MEMORY_DIGEST - 1] = (uint8_t)last;
	return key;
}

static struct verdict make_verdict(const char *subject, time_t expires)
{
	struct verdict v = { .reason = REASON_OK, .provider = &provider, .user = &user, .expires = expires };

	snprintf(v.subject, sizeof(v.subject), "%s", subject);
	snprintf(v.kid, sizeof(v.kid), "k1");
	return v;
}

static bool is_known(struct memory *m, struct memory_key key, time_t now)
{
	struct verdict v;

	memset(&v, 0xff, sizeof(v));
	if (!memory_get(m, &key, now, &v))
		return false;
	assert_int_equal(v.reason, REASON_OK);
	assert_ptr_equal(v.provider, &provider);
	assert_ptr_equal(v.user, &user);
	assert_string_equal(v.kid, "k1");
	assert_string_equal(v.detail, "");
	return true;
}

static void put(struct memory *m, struct memory_key key, time_t expires)
{
	struct verdict v = make_verdict("s", expires);

	memory_put(m, &key, &v);
}

static void test_key(void **state)
{
	struct memory *m = memory_new(16);
	struct memory_key key = make_key(1, 2, "pg", "orders", 3);
	struct verdict v = make_verdict("7d2f", NOW + 60);
	char service[] = "pg", login[] = "orders";

	(void)state;
	key.service = service;
	key.login = login;
	v.not_before = NOW;
	assert_false(is_known(m, key, NOW));
	memory_put(m, &key, &v);
	/* It has its own copies. */
	memset(service, 'x', 2);
	memset(login, 'x', 6);
	memset(&v, 0, sizeof(v));
	key = make_key(1, 2, "pg", "orders", 3);
	assert_true(memory_get(m, &key, NOW, &v));
	assert_string_equal(v.subject, "7d2f");
	assert_int_equal(v.expires, NOW + 60);
	assert_int_equal(v.not_before, NOW);
	assert_true(is_known(m, key, NOW));
	/* Nothing of the key may differ. */
	assert_false(is_known(m, make_key(0, 2, "pg", "orders", 3), NOW));
	assert_false(is_known(m, make_key(1, 3, "pg", "orders", 3), NOW));
	assert_false(is_known(m, make_key(1, 2, "p", "orders", 3), NOW));
	assert_false(is_known(m, make_key(1, 2, "pgo", "rders", 3), NOW));
	assert_false(is_known(m, make_key(1, 2, "pg", "order", 3), NOW));
	assert_false(is_known(m, make_key(1, 2, "pg", "", 3), NOW));
	assert_false(is_known(m, make_key(1, 2, "pg", "orders", 4), NOW));
	assert_false(is_known(m, make_key(1, 2, "pg", "orders", 2), NOW));
	memory_free(m);
	memory_free(NULL);
}

static void test_times(void **state)
{
	struct memory *m = memory_new(16);
	struct memory_key key = make_key(1, 1, "pg", "orders", 1);
	struct verdict v = make_verdict("s", NOW + 60);

	(void)state;
	put(m, key, NOW + 60);
	assert_true(is_known(m, key, NOW + 59));
	assert_false(is_known(m, key, NOW + 60));
	/* It is gone, also for a clock that steps back. */
	assert_false(is_known(m, key, NOW));
	v.not_before = NOW + VERDICT_SKEW;
	memory_put(m, &key, &v);
	assert_false(is_known(m, key, NOW - 1));
	assert_true(is_known(m, key, NOW));
	memory_free(m);
}

/* Only good verdicts, and the last word counts. */
static void test_put(void **state)
{
	struct memory *m = memory_new(16);
	struct memory_key key = make_key(1, 1, "pg", "orders", 1);
	struct verdict v = make_verdict("s", NOW + 60);

	(void)state;
	v.reason = REASON_SIGNATURE;
	memory_put(m, &key, &v);
	assert_false(is_known(m, key, NOW));
	put(m, key, NOW + 1);
	put(m, key, NOW + 100);
	assert_true(is_known(m, key, NOW + 50));
	memory_clear(m);
	assert_false(is_known(m, key, NOW));
	memory_clear(m);
	put(m, key, NOW + 60);
	assert_true(is_known(m, key, NOW));
	memory_free(m);
	m = memory_new(0);
	put(m, key, NOW + 60);
	assert_false(is_known(m, key, NOW));
	memory_free(m);
}

/* The oldest makes room; digests that meet in a bucket are told apart. */
static void test_bounded(void **state)
{
	struct memory *m = memory_new(3);

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		put(m, make_key(0, i, "pg", "orders", 1), NOW + 60);
	for (unsigned int i = 0; i < 3; i++)
		assert_true(is_known(m, make_key(0, i, "pg", "orders", 1), NOW));
	/* Told again, the first is no longer the oldest. */
	put(m, make_key(0, 0, "pg", "orders", 1), NOW + 60);
	put(m, make_key(0, 3, "pg", "orders", 1), NOW + 60);
	assert_true(is_known(m, make_key(0, 0, "pg", "orders", 1), NOW));
	assert_false(is_known(m, make_key(0, 1, "pg", "orders", 1), NOW));
	assert_true(is_known(m, make_key(0, 2, "pg", "orders", 1), NOW));
	assert_true(is_known(m, make_key(0, 3, "pg", "orders", 1), NOW));
	memory_free(m);
	m = memory_new(1);
	put(m, make_key(0, 0, "pg", "orders", 1), NOW + 60);
	put(m, make_key(0, 1, "pg", "orders", 1), NOW + 60);
	assert_false(is_known(m, make_key(0, 0, "pg", "orders", 1), NOW));
	assert_true(is_known(m, make_key(0, 1, "pg", "orders", 1), NOW));
	memory_free(m);
}

/* Against a plain list that follows the same rules. */
static void test_like_a_list(void **state)
{
	enum { MOST = 8, STEPS = 20000 };
	struct memory *m = memory_new(MOST);
	struct {
		unsigned int key;
		time_t expires;
	} list[MOST];
	size_t count = 0;

	(void)state;
	srand(1);
	for (int step = 0; step < STEPS; step++) {
		unsigned int key = (unsigned int)rand() % 24, action = (unsigned int)rand() % 100;
		time_t now = NOW + step;
		size_t at = 0;

		while (at < count && list[at].key != key)
			at++;
		if (action == 0) {
			memory_clear(m);
			count = 0;
		} else if (action < 50) {
			bool known = at < count && list[at].expires > now;

			assert_int_equal(is_known(m, make_key(key % 3, key, "s", "l", 0), now), known);
			if (at < count && !known)
				memmove(&list[at], &list[at + 1], (--count - at) * sizeof(list[0]));
		} else {
			if (at == count && count == MOST)
				at = 0;
			if (at < count)
				memmove(&list[at], &list[at + 1], (--count - at) * sizeof(list[0]));
			list[count].key = key;
			list[count++].expires = now + 1 + (time_t)(action % 40);
			put(m, make_key(key % 3, key, "s", "l", 0), now + 1 + (time_t)(action % 40));
		}
	}
	memory_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_like_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
