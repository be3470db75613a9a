/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links: modules/file modules/token-file modules/expiry modules/json modules/report common/buffer
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/module-call.h"

#define JWT "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDB9.c2lnbmF0dXJl" /* until 2100 */
#define OLD_JWT "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE3MDAwMDM2MDB9.c2lnbmF0dXJl"

static char directory[] = "/tmp/keyfob-test-file.XXXXXX";
static char path[64];

static void put(const char *text, size_t length, time_t age)
{
	struct timespec times[2] = { { .tv_sec = time(NULL) - age }, { .tv_sec = time(NULL) - age } };
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, length), length);
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
}

static void read_it(struct call *c, const char *field, const char *lifetime)
{
	call_init(c, KEYFOB_KIND_ACCESS, "");
	call_set(c, "path", path);
	if (field)
		call_set(c, "json_field", field);
	if (lifetime)
		call_set(c, "lifetime", lifetime);
	call_obtain(c);
}

static void check(const char *text, const char *field, const char *token)
{
	struct call c;

	put(text, strlen(text), 0);
	read_it(&c, field, NULL);
	if (c.reply.class != KEYFOB_CLASS_OK || !c.reply.token || strcmp(c.reply.token, token) != 0 || c.reply.expires)
		fail_msg("%s: class %d, '%s'", text, (int)c.reply.class, c.reply.text);
	call_free(&c);
}

static void check_bad(const char *text, const char *field, enum keyfob_class class, const char *words)
{
	struct call c;

	put(text, strlen(text), 0);
	read_it(&c, field, NULL);
	if (c.reply.class != class || !strstr(c.reply.text, words) || strstr(c.reply.text, "s3cret"))
		fail_msg("%s: class %d, '%s'", text, (int)c.reply.class, c.reply.text);
	call_free(&c);
}

static void test_content(void **state)
{
	(void)state;
	check(JWT, NULL, JWT);
	check("\n " JWT " \r\n\t", NULL, JWT);
	check("{\"a\":\"" JWT "\"}\n", "a", JWT);
	check("{\"auth\":{\"client_token\":\"tok\"}}", "auth.client_token", "tok");
	check_bad("", NULL, KEYFOB_CLASS_TRANSIENT, "empty");
	check_bad("\n\n", NULL, KEYFOB_CLASS_TRANSIENT, "empty");
	check_bad("{\"a\":\"s3cret", "a", KEYFOB_CLASS_TRANSIENT, "no usable JSON");
	check_bad("{\"b\":\"s3cret\"}", "a", KEYFOB_CLASS_CONFIG, "json_field=");
	check_bad("{\"a\":7}", "a", KEYFOB_CLASS_CONFIG, "json_field=");
	check_bad("{\"a\":\"s3cret\"}", "a.b", KEYFOB_CLASS_CONFIG, "json_field=");
	check_bad(OLD_JWT, NULL, KEYFOB_CLASS_TRANSIENT, "expired");
}

static void test_size(void **state)
{
	char *large = malloc(65537);
	struct call c;

	(void)state;
	memset(large, 'x', 65537);
	put(large, 65536, 0);
	read_it(&c, NULL, NULL);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_int_equal(c.reply.length, 65536);
	call_free(&c);
	put(large, 65537, 0);
	read_it(&c, NULL, NULL);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	assert_non_null(strstr(c.reply.text, "64 KiB"));
	free(large);
}

static void check_lifetime(const char *text, const char *lifetime, time_t age, time_t left)
{
	time_t before = time(NULL);
	struct call c;

	put(text, strlen(text), age);
	read_it(&c, NULL, lifetime);
	if (left < 0) {
		assert_int_equal(c.reply.class, KEYFOB_CLASS_TRANSIENT);
		assert_non_null(strstr(c.reply.text, "expired"));
	} else if (left == 0) {
		assert_int_equal(c.reply.expires, 0);
	} else {
		assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
		assert_in_range(c.reply.expires, before + left, time(NULL) + left);
	}
	call_free(&c);
}

static void test_lifetime(void **state)
{
	(void)state;
	check_lifetime("opaque", "1h", 600, 3000);
	check_lifetime("opaque", "90", 0, 90);
	check_lifetime("opaque", "2m", 30, 90);
	check_lifetime("opaque", "1d", 0, 86400);
	check_lifetime("opaque", "60s", 61, -1);
	check_lifetime(JWT, "1h", 7200, 0);
}

static void test_what_is_no_file(void **state)
{
	struct call c;

	(void)state;
	unlink(path);
	read_it(&c, NULL, NULL);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_UNAVAILABLE);
	assert_int_equal(mkfifo(path, 0600), 0);
	read_it(&c, NULL, NULL);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	assert_non_null(strstr(c.reply.text, "not a regular file"));
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	read_it(&c, NULL, NULL);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	rmdir(path);
}

static void test_symbolic_link(void **state)
{
	char other[80];
	struct call c;

	(void)state;
	put(JWT, strlen(JWT), 0);
	snprintf(other, sizeof(other), "%s.real", path);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(other, path), 0);
	read_it(&c, NULL, NULL);
	unlink(path);
	unlink(other);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	call_free(&c);
}

static void test_secret_file(void **state)
{
	struct keyfob_secret secret = { "secret_file", " tok\n", 5 };
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_ACCESS, "");
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	call_set(&c, "secret_file", "/etc/x");
	c.request.secrets = &secret;
	c.request.secret_count = 1;
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_string_equal(c.reply.token, "tok");
	call_free(&c);
	call_set(&c, "path", path);
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_lifetime),
		cmocka_unit_test(test_what_is_no_file),
		cmocka_unit_test(test_symbolic_link),
		cmocka_unit_test(test_secret_file),
	};
	int failed;

	if (!mkdtemp(directory))
		return 1;
	snprintf(path, sizeof(path), "%s/token", directory);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(directory);
	return failed;
}
