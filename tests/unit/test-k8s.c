/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links: modules/k8s modules/token-file modules/expiry modules/json modules/report common/buffer
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>

#include "tests/unit/module-call.h"

static char directory[] = "/tmp/keyfob-test-k8s.XXXXXX";
static char path[64];

static char *encode(const char *text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char *out = calloc(1, strlen(text) * 2 + 4), *at = out;
	unsigned int bits = 0, held = 0;

	for (; *text; text++) {
		bits = (bits << 8) | (unsigned char)*text;
		for (held += 8; held >= 6; held -= 6)
			*at++ = digits[(bits >> (held - 6)) & 63];
	}
	if (held)
		*at++ = digits[(bits << (6 - held)) & 63];
	return out;
}

static void put(const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void read_claims_for(struct call *c, const char *claims, const char *resource)
{
	char *encoded = encode(claims), text[1024];

	snprintf(text, sizeof(text), "eyJhbGciOiJSUzI1NiJ9.%s.c2lnbmF0dXJl\n", encoded);
	put(text);
	free(encoded);
	call_init(c, KEYFOB_KIND_ACCESS, resource);
	call_set(c, "path", path);
	call_obtain(c);
}

static void read_claims(struct call *c, const char *claims)
{
	read_claims_for(c, claims, "");
}

/* issued and expires count from now, and so does refresh; the clock may tick on meanwhile. */
static void check_refresh(long issued, long expires, long refresh)
{
	long now = time(NULL);
	char claims[100];
	struct call c;

	snprintf(claims, sizeof(claims), "{\"iat\":%ld,\"exp\":%ld}", now + issued, now + expires);
	read_claims(&c, claims);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_in_range(c.reply.refresh, now + refresh, now + refresh + 5);
	assert_null(strchr(c.reply.token, '\n'));
	call_free(&c);
}

static void test_refresh(void **state)
{
	(void)state;
	check_refresh(0, 3600, 2880);
	check_refresh(-1000, 2600, 1880);
	/* A day at most. */
	check_refresh(0, 31536000, 86400);
	/* The kubelet is late: it looks once a minute. */
	check_refresh(-3000, 600, 60);
	check_refresh(-90000, 31000000, 60);
}

static void test_no_issue_time(void **state)
{
	long now = time(NULL);
	char claims[100];
	struct call c;

	(void)state;
	snprintf(claims, sizeof(claims), "{\"exp\":%ld}", now + 1000);
	read_claims(&c, claims);
	assert_in_range(c.reply.refresh, now + 795, now + 810);
	call_free(&c);
}

static void check_bad(const struct call *c, enum keyfob_class class, const char *words)
{
	if (c->reply.class != class || !strstr(c->reply.text, words) || strstr(c->reply.text, "eyJ"))
		fail_msg("class %d, '%s'", (int)c->reply.class, c->reply.text);
}

static void test_failures(void **state)
{
	struct call c;

	(void)state;
	read_claims(&c, "{\"sub\":\"x\"}");
	check_bad(&c, KEYFOB_CLASS_CONFIG, "legacy token");
	read_claims(&c, "{\"exp\":1700000000}");
	check_bad(&c, KEYFOB_CLASS_TRANSIENT, "kubelet");
	put("eyJhbGciOiJSUzI1NiJ9.eyJz");
	call_obtain(&c);
	check_bad(&c, KEYFOB_CLASS_TRANSIENT, "no JWT");
	put("");
	call_obtain(&c);
	check_bad(&c, KEYFOB_CLASS_TRANSIENT, "empty");
	unlink(path);
	call_obtain(&c);
	check_bad(&c, KEYFOB_CLASS_UNAVAILABLE, "not there");
}

static void check_audience(const char *audience, const char *resource, bool good)
{
	char claims[200];
	struct call c;

	snprintf(claims, sizeof(claims), "{\"exp\":%ld,\"aud\":%s}", (long)time(NULL) + 1000, audience);
	read_claims_for(&c, claims, resource);
	if (good) {
		assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	} else {
		check_bad(&c, KEYFOB_CLASS_CONFIG, "not for the resource");
		assert_non_null(strstr(c.reply.text, resource));
	}
	call_free(&c);
}

static void test_audience(void **state)
{
	(void)state;
	check_audience("\"orders-db\"", "orders-db", true);
	check_audience("[\"a\",\"orders-db\"]", "orders-db", true);
	check_audience("[\"orders-db\",\"a\"]", "orders-db", true);
	check_audience("\"anything\"", "", true);
	check_audience("\"orders-db2\"", "orders-db", false);
	check_audience("\"orders\"", "orders-db", false);
	check_audience("[\"a\",\"b\"]", "orders-db", false);
	check_audience("[]", "orders-db", false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refresh),
		cmocka_unit_test(test_no_issue_time),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_audience),
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
