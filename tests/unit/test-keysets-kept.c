/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept of key sets over a restart: what comes back, and what must
 * never come back.
 *
 * links: verify/keysets verify/keyset verify/keysets-kept verify/federation verify/reason common/log common/wire common/buffer
 * links: verify/jwks verify/jwk verify/jwk-material verify/json
 * libs: libcrypto jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <sys/mount.h>

#include "tests/unit/keysets-fixture.h"
#include "verify/keysets-kept.h"

#define FILE_SIZE 4096

/* --- what comes back ------------------------------------------------------------------------ */

static void test_restart(void **state)
{
	struct keysets_answer a = { .ok = true, .body = keys("01"), .length = strlen(keys("01")), .etag = "\"v1\"" };
	struct keysets_answer same = { .ok = true, .not_modified = true, .etag = "" };
	struct keysets_state before;
	const char *etag;

	(void)state;
	a.refresh = now + 7200;
	assert_true(keysets_done(k, begin(entra), &a, now));
	before = describe(entra);
	now += 1000;
	restart();
	assert_string_equal(judge_by(entra), "01");
	assert_string_equal(judge_by(google), "KEYS_MISSING");
	assert_int_equal(describe(entra).fetched, before.fetched);
	assert_int_equal(describe(entra).refresh, before.refresh);
	assert_int_equal(describe(entra).epoch, 0);
	assert_false(is_there(".new-entra.keys"));
	/* A restart does not make kids be looked for again. */
	assert_true(keysets_unknown_kid(k, entra, "a", now));
	now -= 990;
	restart();
	assert_false(keysets_unknown_kid(k, entra, "a", now));
	now += 20000;
	assert_true(keysets_done(k, keysets_begin(k, entra, now, &etag), &same, now));
	assert_true(keysets_done(k, keysets_begin(k, entra, now, &etag), &same, now));
	assert_string_equal(etag, "\"v1\"");
	restart();
	assert_int_equal(describe(entra).fetched, now);
	/* Age counts while nothing runs. */
	now += KEYSETS_HARD_LIMIT;
	restart();
	assert_true(was_logged("event=keyset-stale"));
	assert_string_equal(judge_by(entra), "KEYS_STALE");
	assert_true(describe(entra).refresh <= now);
	now--;
	restart();
	assert_string_equal(judge_by(entra), "01");
}

static void test_restart_after_clock_step(void **state)
{
	(void)state;
	fetch(entra, "0");
	now -= 100;
	restart();
	assert_string_equal(judge_by(entra), "0");
	assert_true(describe(entra).refresh <= now);
	now -= 10 * 86400;
	restart();
	assert_string_equal(judge_by(entra), "KEYS_STALE");
	assert_true(describe(entra).refresh <= now);
	/* The host's clock was wrong at first, as it is when it boots. */
	now += 10 * 86400 + 1000;
	assert_string_equal(judge_by(entra), "0");
	restart();
	assert_string_equal(judge_by(entra), "0");
	/* By a clock that was far ahead. */
	now += 1000 * 86400;
	fetch(entra, "0");
	now -= 1000 * 86400;
	restart();
	assert_string_equal(judge_by(entra), "KEYS_STALE");
	fetch(entra, "0");
	assert_string_equal(judge_by(entra), "0");
	restart();
	assert_string_equal(judge_by(entra), "0");
}

static void test_another_source(void **state)
{
	char *before = entra->source, path[200], other[200];

	(void)state;
	fetch(entra, "0");
	fetch(google, "7");
	entra->source = (char *)(uintptr_t) "issuer=https://entra.example\tca_file=/tmp/x";
	restart();
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
	assert_true(was_logged("event=keyset-refused"));
	/* It does not come back either when the configuration does. */
	entra->source = before;
	restart();
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
	/* One's set by another's name. */
	path_in(path, "google.keys");
	path_in(other, "entra.keys");
	assert_int_equal(link(path, other), 0);
	restart();
	assert_string_equal(judge_by(google), "7");
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
	/* A name that is no longer configured. */
	federation.provider_count = 1;
	restart();
	assert_false(is_there("google.keys"));
	federation.provider_count = 2;
	restart();
	assert_string_equal(judge_by(google), "KEYS_MISSING");
}

/* --- revoked ------------------------------------------------------------------------------------ */

static void test_revoked(void **state)
{
	char path[200], old[FILE_SIZE];
	size_t length;

	(void)state;
	fetch(entra, "0");
	path_in(path, "entra.keys");
	length = read_file(path, old, sizeof(old));
	assert_int_equal(keysets_revoke(k, entra, now), 0);
	assert_false(is_there("entra.keys"));
	restart();
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	assert_true(describe(entra).revoked);
	assert_int_equal(describe(entra).epoch, 1);
	assert_true(describe(entra).refresh <= now);
	/* Somebody puts the old file back. */
	write_file(path, old, length);
	restart();
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	assert_true(was_logged("is of epoch 0, and now it is 1"));
	fetch_failing(entra);
	restart();
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	fetch(entra, "0");
	restart();
	assert_string_equal(judge_by(entra), "0");
	assert_false(describe(entra).revoked);
	assert_int_equal(describe(entra).epoch, 1);
	write_file(path, old, length);
	restart();
	/* One was fetched since. */
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
	fetch(entra, "0");
	/* The record is lost: nobody knows what the set is worth. */
	path_in(path, "entra.epoch");
	assert_int_equal(unlink(path), 0);
	restart();
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
	fetch(entra, "0");
	assert_int_equal(keysets_revoke(k, entra, now), 0);
	restart();
	assert_int_equal(keysets_revoke(k, entra, now), 0);
	assert_int_equal(describe(entra).epoch, 2);
	/* The name goes and comes back: it is still revoked. */
	federation.providers = google;
	federation.provider_count = 1;
	restart();
	federation.providers = providers;
	federation.provider_count = 2;
	restart();
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	assert_int_equal(describe(entra).epoch, 2);
}

/* Killed after the new epoch was written, and before the set was removed. */
static void test_killed_while_revoking(void **state)
{
	struct kept_epoch record = { 1, true, now };
	char why[200];
	int dir;

	(void)state;
	fetch(entra, "0");
	dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(kept_save_epoch(dir, "entra", &record), 0);
	restart();
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	assert_int_equal(keysets_revoked_at(k, entra), now);
	/* Killed after the new set was written, and before it was noted that there is one. */
	fetch(entra, "1");
	assert_int_equal(kept_load_epoch(dir, "entra", &record, why, sizeof(why)), 0);
	assert_int_equal(record.epoch, 1);
	assert_false(record.revoked);
	record.revoked = true;
	assert_int_equal(kept_save_epoch(dir, "entra", &record), 0);
	restart();
	assert_string_equal(judge_by(entra), "1");
	assert_false(describe(entra).revoked);
	assert_int_equal(keysets_revoked_at(k, entra), record.revoked_at);
	close(dir);
}

/* --- damage --------------------------------------------------------------------------------------- */

static void judge_damaged(const char *what, size_t at, const char *wanted)
{
	restart();
	if (strcmp(judge_by(entra), wanted) != 0)
		fail_msg("%s at %zu: %s", what, at, judge_by(entra));
	if (strcmp(judge_by(google), "7") != 0)
		fail_msg("%s at %zu: the other provider's: %s", what, at, judge_by(google));
}

static void test_damaged_set(void **state)
{
	char path[200], good[FILE_SIZE], bad[FILE_SIZE];
	size_t length;

	(void)state;
	fetch(entra, "01");
	fetch(google, "7");
	path_in(path, "entra.keys");
	length = read_file(path, good, sizeof(good));
	assert_true(length < sizeof(good));
	for (size_t cut = 0; cut < length; cut++) {
		write_file(path, good, cut);
		judge_damaged("cut", cut, "KEYS_MISSING");
	}
	assert_true(was_logged("event=keyset-refused"));
	for (size_t at = 0; at < length; at++) {
		memcpy(bad, good, length);
		bad[at] = (char)(bad[at] ^ (1 << at % 8));
		write_file(path, bad, length);
		judge_damaged("flipped", at, "KEYS_MISSING");
	}
	memcpy(bad, good, length);
	bad[length] = 0;
	write_file(path, bad, length + 1);
	judge_damaged("longer", length, "KEYS_MISSING");
	write_file(path, good, length);
	judge_damaged("whole", length, "01");
}

/* Where nobody can tell whether it was revoked, it was. */
static void test_damaged_epoch(void **state)
{
	char path[200], set_path[200], good[FILE_SIZE], bad[FILE_SIZE], set[FILE_SIZE];
	size_t length, set_length;

	(void)state;
	fetch(google, "7");
	fetch(entra, "01");
	assert_int_equal(keysets_revoke(k, entra, now), 0);
	fetch(entra, "01");
	path_in(path, "entra.epoch");
	path_in(set_path, "entra.keys");
	length = read_file(path, good, sizeof(good));
	set_length = read_file(set_path, set, sizeof(set));
	for (size_t at = 0; at < 2 * length; at++) {
		memcpy(bad, good, length);
		bad[at / 2] = (char)(bad[at / 2] ^ (1 << at % 8));
		write_file(path, bad, at % 2 ? at / 2 : length);
		write_file(set_path, set, set_length);
		judge_damaged("epoch", at, "KEYS_REVOKED");
		assert_true(was_logged("that counts as a revoke"));
		assert_int_equal(describe(entra).epoch, 2);
		assert_false(is_there("entra.keys"));
		judge_damaged("once more", at, "KEYS_REVOKED");
		assert_int_equal(describe(entra).epoch, 2);
	}
	fetch(entra, "01");
	judge_damaged("fetched", 0, "01");
}

/* Replace the seal by a right one. */
static size_t seal(char *content, size_t length)
{
	assert_int_equal(EVP_Digest(content, length, (unsigned char *)content + length, NULL, EVP_sha256(), NULL), 1);
	return length + 32;
}

static void test_damaged_under_the_seal(void **state)
{
	char path[200], good[FILE_SIZE], bad[FILE_SIZE + 64], *source;
	size_t length;

	(void)state;
	fetch(entra, "0");
	fetch(google, "7");
	path_in(path, "entra.keys");
	length = read_file(path, good, sizeof(good)) - 32;
	for (size_t cut = 0; cut < length; cut++) {
		memcpy(bad, good, cut);
		write_file(path, bad, seal(bad, cut));
		judge_damaged("cut", cut, "KEYS_MISSING");
	}
	memcpy(bad, good, length);
	bad[length] = 0;
	write_file(path, bad, seal(bad, length + 1));
	judge_damaged("longer", length, "KEYS_MISSING");
	memcpy(bad, good, length);
	write_file(path, bad, seal(bad, length));
	judge_damaged("whole", length, "0");
	source = memmem(good, length, entra->source, strlen(entra->source));
	assert_non_null(source);
	for (size_t at = 0; at < length; at++) {
		memcpy(bad, good, length);
		bad[at] = (char)(bad[at] ^ (1 << at % 8));
		write_file(path, bad, seal(bad, length));
		restart();
		if (at < (size_t)(source - good) + strlen(entra->source) && at >= (size_t)(source - good))
			assert_string_equal(judge_by(entra), "KEYS_MISSING");
	}
}

/* Whole, but not what this program would have written. */
static void test_well_sealed_nonsense(void **state)
{
	struct kept_set set = { .fetched = START, .refresh = START + 100 };
	static const struct {
		time_t fetched, refresh;
		const char *wanted;
	} times[] = {
		{ START, START + 100, "0" },
		{ 0, START, "KEYS_MISSING" },
		{ -1, START, "KEYS_MISSING" },
		{ START, START - 1, "KEYS_MISSING" },
		{ INT64_MAX, INT64_MAX, "KEYS_MISSING" },
		{ 253402300799, 253402300799, "KEYS_STALE" },
		{ 253402300799, INT64_MAX, "KEYS_MISSING" },
		{ START, 253402300799, "0" },
	};
	static const char *const documents[] = { "", "{}", "{\"keys\":[]}", "{", "\xff" };
	int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	fetch(google, "7");
	buffer_init(&set.document, JWKS_MAX);
	for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
		buffer_clear(&set.document);
		buffer_put(&set.document, documents[i], strlen(documents[i]));
		assert_int_equal(kept_save_set(dir, "entra", entra->source, &set), 0);
		judge_damaged("document", i, "KEYS_MISSING");
		assert_true(was_logged("event=keyset-refused"));
	}
	buffer_clear(&set.document);
	buffer_put(&set.document, keys("0"), strlen(keys("0")));
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		set.fetched = times[i].fetched;
		set.refresh = times[i].refresh;
		assert_int_equal(kept_save_set(dir, "entra", entra->source, &set), 0);
		judge_damaged("times", i, times[i].wanted);
		assert_true(describe(entra).refresh <= now + KEYSETS_LIFE_MAX);
	}
	assert_int_equal(kept_save_set(dir, "../entra", entra->source, &set), -EINVAL);
	buffer_free(&set.document);
	close(dir);
}

/* --- a disk that is full, or may not be written -------------------------------------------------------- */

/* A small file system in a mount namespace of this test's own. */
static void use_small_disk(void)
{
	keysets_close(k);
	k = NULL;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("kept", state_dir, "tmpfs", 0, "size=64k,mode=0700") < 0) {
		open_keysets();
		skip();
	}
	open_keysets();
}

static int end_small_disk(void **state)
{
	keysets_close(k);
	k = NULL;
	umount(state_dir);
	return end_test(state);
}

static void fill_disk(bool full)
{
	static char block[4096];
	char path[200];
	int fd;

	path_in(path, "ballast");
	if (!full) {
		assert_int_equal(unlink(path), 0);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, block, sizeof(block)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

static void test_full_disk(void **state)
{
	(void)state;
	use_small_disk();
	fetch(entra, "01");
	fetch(google, "7");
	fill_disk(true);
	/* Nothing new: what stands there is still right. */
	now += 100;
	fetch(google, "7");
	assert_true(was_logged("event=keyset-not-kept"));
	assert_true(is_there("google.keys"));
	/* A key was taken out: it must not come back. */
	fetch(entra, "1");
	assert_true(was_logged("event=keyset-not-kept"));
	assert_string_equal(judge_by(entra), "1");
	assert_false(is_there(".new-entra.keys"));
	assert_false(is_there("entra.keys"));
	fill_disk(false);
	fill_disk(true);
	restart();
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
	assert_string_equal(judge_by(google), "7");
	/* There is no room for the new epoch. */
	assert_int_equal(keysets_revoke(k, google, now), -ENOSPC);
	assert_true(was_logged("event=epoch-not-kept"));
	assert_string_equal(judge_by(google), "KEYS_REVOKED");
	assert_false(is_there("google.keys"));
	fill_disk(false);
	fill_disk(true);
	fetch_failing(google);
	assert_true(was_logged("event=epoch-not-kept"));
	fill_disk(false);
	fetch_failing(google);
	assert_false(was_logged("event=epoch-not-kept"));
	restart();
	assert_string_equal(judge_by(google), "KEYS_REVOKED");
	assert_int_equal(describe(google).epoch, 1);
	/* The same, and the next thing that happens is a good fetch. */
	fetch(google, "7");
	fill_disk(true);
	assert_int_equal(keysets_revoke(k, google, now), -ENOSPC);
	fill_disk(false);
	fill_disk(true);
	fetch(google, "7");
	assert_string_equal(judge_by(google), "7");
	fill_disk(false);
	restart();
	assert_string_equal(judge_by(google), "KEYS_MISSING");
	fetch(google, "7");
	restart();
	assert_string_equal(judge_by(google), "7");
	fill_disk(true);
	assert_int_equal(keysets_revoke(k, google, now), -ENOSPC);
	fill_disk(false);
	fetch(google, "7");
	restart();
	assert_string_equal(judge_by(google), "7");
}

static void test_read_only_disk(void **state)
{
	(void)state;
	use_small_disk();
	fetch(entra, "0");
	assert_int_equal(mount("kept", state_dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_int_equal(keysets_revoke(k, entra, now), -EROFS);
	assert_true(was_logged("a restart would bring it back"));
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	fetch_failing(entra);
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	assert_int_equal(keysets_revoke(k, entra, now), -EROFS);
	/* It can be written again, but is full: what was revoked must not lie there at the next start. */
	assert_true(is_there("entra.keys"));
	assert_int_equal(mount("kept", state_dir, "tmpfs", MS_REMOUNT, NULL), 0);
	fill_disk(true);
	fetch_failing(entra);
	assert_false(is_there("entra.keys"));
	fill_disk(false);
	/* It can be written again before the next start: then the revoke holds. */
	fetch_failing(entra);
	restart();
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	assert_int_equal(describe(entra).epoch, 2);
	/* Sets live in memory meanwhile. */
	assert_int_equal(mount("kept", state_dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
	fetch(entra, "12");
	assert_string_equal(judge_by(entra), "12");
	assert_true(was_logged("event=keyset-not-kept"));
}

int main(void)
{
#define keysets_test(name) cmocka_unit_test_setup_teardown(name, begin_test, end_test)
	const struct CMUnitTest tests[] = {
		keysets_test(test_restart),
		keysets_test(test_restart_after_clock_step),
		keysets_test(test_another_source),
		keysets_test(test_revoked),
		keysets_test(test_killed_while_revoking),
		keysets_test(test_damaged_set),
		keysets_test(test_damaged_epoch),
		keysets_test(test_damaged_under_the_seal),
		keysets_test(test_well_sealed_nonsense),
		cmocka_unit_test_setup_teardown(test_full_disk, begin_test, end_small_disk),
		cmocka_unit_test_setup_teardown(test_read_only_disk, begin_test, end_small_disk),
	};

	return cmocka_run_group_tests(tests, make_keys, NULL);
}
