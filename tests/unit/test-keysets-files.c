/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that key sets come from: root's own (jwks_file), those of the state
 * directory, and those that are not to be believed.
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

#include "tests/unit/keysets-fixture.h"

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

/* --- keys of a file ---------------------------------------------------------------------------- */

static void use_file(char path[200])
{
	snprintf(path, 200, "%s/keys.json", top_dir);
	write_file(path, keys("0"), strlen(keys("0")));
	set_provider(entra, "entra", "issuer=https://entra.example\tjwks_file=");
	entra->jwks_file = path;
	keysets_configure(k, &federation, now);
}

static void test_file(void **state)
{
	const char *etag;
	char path[200];
	time_t when;

	(void)state;
	use_file(path);
	assert_string_equal(judge_by(entra), "0");
	assert_ptr_equal(keysets_due(k, &when), google);
	begin(google);
	assert_null(keysets_due(k, &when));
	assert_int_equal(keysets_begin(k, entra, now, &etag), 0);
	assert_false(keysets_unknown_kid(k, entra, "k1", now + 600));
	assert_false(is_there("entra.keys"));
	assert_int_equal(describe(entra).hard_limit, 0);
	assert_int_equal(describe(entra).refresh, 0);
	/* It does not age. */
	now += 30 * 86400;
	assert_string_equal(judge_by(entra), "0");
	now -= 60 * 86400;
	assert_string_equal(judge_by(entra), "0");
	write_file(path, keys("01"), strlen(keys("01")));
	assert_string_equal(judge_by(entra), "0");
	assert_false(keysets_refresh(k, entra, now));
	assert_string_equal(judge_by(entra), "01");
	write_file(path, keys("2"), strlen(keys("2")));
	keysets_configure(k, &federation, now);
	assert_string_equal(judge_by(entra), "2");
	/* What is no key set does not replace one. */
	write_file(path, "{}", 2);
	assert_false(keysets_refresh(k, entra, now));
	assert_string_equal(judge_by(entra), "2");
	assert_non_null(strstr(describe(entra).error, path));
	assert_true(describe(entra).stale);
	restart();
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
}

static void test_file_revoked(void **state)
{
	char path[200];

	(void)state;
	use_file(path);
	assert_int_equal(keysets_revoke(k, entra, now), 0);
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	/* The same file is still there: nothing short of root's word makes it good again. */
	keysets_configure(k, &federation, now);
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	restart();
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	write_file(path, "{}", 2);
	assert_false(keysets_refresh(k, entra, now));
	assert_string_equal(judge_by(entra), "KEYS_REVOKED");
	write_file(path, keys("3"), strlen(keys("3")));
	assert_false(keysets_refresh(k, entra, now));
	assert_string_equal(judge_by(entra), "3");
	restart();
	assert_string_equal(judge_by(entra), "3");
	assert_int_equal(describe(entra).epoch, 1);
}

/* --- not a file of one's own -------------------------------------------------------------------------- */

static void spoil_link(const char *path)
{
	char to[220];

	snprintf(to, sizeof(to), "%s.real", path);
	assert_int_equal(rename(path, to), 0);
	assert_int_equal(symlink(to, path), 0);
}

static void spoil_mode(const char *path)
{
	assert_int_equal(chmod(path, 0620), 0);
}

static void spoil_owner(const char *path)
{
	need_root();
	assert_int_equal(chown(path, 65534, 65534), 0);
}

static void spoil_pipe(const char *path)
{
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
}

static void spoil_directory(const char *path)
{
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void spoil_size(const char *path)
{
	assert_int_equal(truncate(path, 8 << 20), 0);
}

static void spoil_access(const char *path)
{
	unlink(path);
	assert_int_equal(symlink("/proc/self/mem", path), 0);
}

static const struct {
	void (*spoil)(const char *path);
	const char *logged;
} spoils[] = {
	{ spoil_link, "is a symbolic link" },
	{ spoil_mode, "not writable by group or others" },
	{ spoil_owner, "must be owned by" },
	{ spoil_pipe, "is not a regular file" },
	{ spoil_directory, "is not a regular file" },
	{ spoil_size, "is larger than" },
	{ spoil_access, "is a symbolic link" },
};

static void test_foreign_files(void **state)
{
	char path[200];

	(void)state;
	path_in(path, "entra.keys");
	for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
		fetch(entra, "0");
		spoils[i].spoil(path);
		restart();
		assert_string_equal(judge_by(entra), "KEYS_MISSING");
		if (!was_logged(spoils[i].logged))
			fail_msg("nothing was said: %s", spoils[i].logged);
		/* The next set takes its place, where it can. */
		fetch(entra, "1");
		assert_string_equal(judge_by(entra), "1");
		assert_int_equal(was_logged("event=keyset-not-kept"), spoils[i].spoil == spoil_directory);
		restart();
		assert_string_equal(judge_by(entra), spoils[i].spoil == spoil_directory ? "KEYS_MISSING" : "1");
		rmdir(path);
	}
}

static void test_foreign_key_file(void **state)
{
	char path[200];

	(void)state;
	snprintf(path, sizeof(path), "%s/keys.json", top_dir);
	set_provider(entra, "entra", "jwks_file=");
	entra->jwks_file = path;
	keysets_configure(k, &federation, now);
	assert_string_equal(judge_by(entra), "KEYS_MISSING");
	assert_non_null(strstr(describe(entra).error, "No such file"));
	for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
		unlink(path);
		rmdir(path);
		write_file(path, keys("01"), strlen(keys("01")));
		assert_false(keysets_refresh(k, entra, now));
		assert_string_equal(judge_by(entra), "01");
		spoils[i].spoil(path);
		assert_false(keysets_refresh(k, entra, now));
		if (!strstr(describe(entra).error, spoils[i].logged))
			fail_msg("\"%s\" is not in \"%s\"", spoils[i].logged, describe(entra).error);
		assert_string_equal(judge_by(entra), "01");
		restart();
		assert_string_equal(judge_by(entra), "KEYS_MISSING");
	}
}

static void test_key_file_of_anybody(void **state)
{
	char path[200];
	struct stat st;

	(void)state;
	use_file(path);
	assert_int_equal(stat(top_dir, &st), 0);
	assert_int_equal(chmod(top_dir, 0777), 0);
	write_file(path, keys("1"), strlen(keys("1")));
	assert_false(keysets_refresh(k, entra, now));
	assert_non_null(strstr(describe(entra).error, "lies in a directory"));
	assert_string_equal(judge_by(entra), "0");
	assert_int_equal(chmod(top_dir, st.st_mode & 07777), 0);
	assert_false(keysets_refresh(k, entra, now));
	assert_string_equal(judge_by(entra), "1");
}

/* --- the directory ------------------------------------------------------------------------------------ */

static void refuse_directory(const char *path, const char *wanted)
{
	char why[256] = "";

	assert_null(keysets_open(path, why, sizeof(why)));
	if (!strstr(why, wanted) || !strstr(why, path))
		fail_msg("\"%s\" is not in \"%s\"", wanted, why);
}

static void test_directory(void **state)
{
	char path[200];

	(void)state;
	refuse_directory(state_dir, "another verifier uses it");
	snprintf(path, sizeof(path), "%s/other", top_dir);
	refuse_directory(path, "No such file");
	assert_int_equal(symlink(state_dir, path), 0);
	refuse_directory(path, "Not a directory");
	unlink(path);
	write_file(path, "", 0);
	refuse_directory(path, "Not a directory");
	unlink(path);
	assert_int_equal(mkdir(path, 0750), 0);
	refuse_directory(path, "mode 0700");
	assert_int_equal(chmod(path, 0701), 0);
	refuse_directory(path, "mode 0700");
	assert_int_equal(chmod(path, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, 65534), 0);
		refuse_directory(path, "must be owned by uid 0");
	}
}

static void test_leftovers(void **state)
{
	static const char *const gone[] = { ".new-entra.keys", ".new-x.epoch", "old.keys" };
	static const char *const kept[] = { "README", ".keys", "..keys", "-a.keys", "old.epoch", "old.keys~" };
	char path[200];

	(void)state;
	fetch(entra, "0");
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		path_in(path, gone[i]);
		write_file(path, "x", 1);
	}
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		path_in(path, kept[i]);
		write_file(path, "x", 1);
	}
	restart();
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
		assert_false(is_there(gone[i]));
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		assert_true(is_there(kept[i]));
	assert_string_equal(judge_by(entra), "0");
}

int main(void)
{
#define keysets_test(name) cmocka_unit_test_setup_teardown(name, begin_test, end_test)
	const struct CMUnitTest tests[] = {
		keysets_test(test_file),
		keysets_test(test_file_revoked),
		keysets_test(test_foreign_files),
		keysets_test(test_foreign_key_file),
		keysets_test(test_key_file_of_anybody),
		keysets_test(test_directory),
		keysets_test(test_leftovers),
	};

	return cmocka_run_group_tests(tests, make_keys, NULL);
}
