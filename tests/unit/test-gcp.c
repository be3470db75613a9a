/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links: modules/gcp modules/gcp-metadata modules/gcp-key modules/gcp-impersonate modules/gcp-external
 * links: modules/assertion modules/token-endpoint modules/http modules/expiry modules/json modules/report common/buffer
 * libs: libcurl libcrypto jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/module-call.h"

#define AUDIENCE "https://orders.example.com/x?y"
#define JWT "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
#define FLAVOR "Metadata-Flavor: Google\r\n"

static const char *answer(const char *status, const char *headers, const char *body)
{
	static char text[4096];

	snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Type: text/html\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
		strlen(body), body);
	return text;
}

static void test_id_token(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_ID, AUDIENCE);
	call_against(&c, &s, answer("200 OK", "metadata-flavor: google\r\n", " " JWT "\r\n"));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_string_equal(c.reply.token, JWT);
	assert_int_equal(c.reply.length, strlen(JWT));
	assert_int_equal(c.reply.expires, 0);
	assert_int_equal(c.reply.refresh_before, 225);
	call_free(&c);
	assert_non_null(strstr(s.request, "GET /computeMetadata/v1/instance/service-accounts/default/identity"
					  "?audience=https%3A%2F%2Forders.example.com%2Fx%3Fy"
					  "&format=full HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\nMetadata-Flavor: Google\r\n"));
	assert_null(strstr(call_told, "eyJ"));
}

static void test_id_token_options(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_ID, "a");
	call_set(&c, "service_account", "x@p.iam.example");
	call_set(&c, "format", "standard");
	call_set(&c, "licenses", "yes");
	call_against(&c, &s, answer("200 OK", FLAVOR, JWT));
	call_free(&c);
	assert_non_null(strstr(s.request, "/x@p.iam.example/identity?audience=a&format=standard&licenses=TRUE HTTP"));
}

static void test_access_token(void **state)
{
	time_t before = time(NULL);
	struct server s;
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_ACCESS, "");
	call_set(&c, "scopes", "https://a.example/x,https://a.example/y");
	call_against(&c, &s, answer("200 OK", FLAVOR, "{\"access_token\":\"ya29.x\",\"expires_in\":3599,\"token_type\":\"Bearer\"}"));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_string_equal(c.reply.token, "ya29.x");
	assert_in_range(c.reply.expires, before + 3599, time(NULL) + 3599);
	assert_int_equal(c.reply.refresh_before, 225);
	call_free(&c);
	assert_non_null(strstr(s.request, "/default/token?scopes="
					  "https%3A%2F%2Fa.example%2Fx%2Chttps%3A%2F%2Fa.example%2Fy HTTP"));
}

static void check(enum keyfob_kind kind, const char *status, const char *headers, const char *body, enum keyfob_class class,
	unsigned int retry, const char *words)
{
	struct server s;
	struct call c;

	call_init(&c, kind, AUDIENCE);
	call_against(&c, &s, answer(status, headers, body));
	if (c.reply.class != class || c.reply.retry_after != retry || c.reply.token || !strstr(c.reply.text, words) ||
		strstr(c.reply.text, "eyJ"))
		fail_msg("%s: class %d, retry %u, '%s'", status, (int)c.reply.class, c.reply.retry_after, c.reply.text);
	assert_int_equal(atomic_load(&s.contacts), 1);
}

static void check_status(const char *status, enum keyfob_class class, unsigned int retry)
{
	check(KEYFOB_KIND_ID, status, FLAVOR, "non-empty audience parameter required\n", class, retry,
		": non-empty audience parameter required");
	/* Without the proof of who speaks, no status means anything. */
	check(KEYFOB_KIND_ID, status, "", "x", KEYFOB_CLASS_UNAVAILABLE, 0, "Metadata-Flavor");
}

static void test_statuses(void **state)
{
	(void)state;
	check_status("400 Bad", KEYFOB_CLASS_PERMANENT, 0);
	check_status("403 Forbidden", KEYFOB_CLASS_PERMANENT, 0);
	check_status("404 Not Found", KEYFOB_CLASS_CONFIG, 0);
	check_status("408 Timeout", KEYFOB_CLASS_TRANSIENT, 0);
	check_status("418 Teapot", KEYFOB_CLASS_PERMANENT, 0);
	check_status("429 Slow", KEYFOB_CLASS_THROTTLED, 1);
	check_status("500 Oops", KEYFOB_CLASS_TRANSIENT, 1);
	check_status("501 Never", KEYFOB_CLASS_UNAVAILABLE, 0);
	check_status("502 Bad Gateway", KEYFOB_CLASS_UNAVAILABLE, 0);
	check_status("503 Busy", KEYFOB_CLASS_TRANSIENT, 1);
	check_status("504 Timeout", KEYFOB_CLASS_TRANSIENT, 1);
	check_status("302 Found", KEYFOB_CLASS_UNAVAILABLE, 0);
	check(KEYFOB_KIND_ID, "429 Slow", FLAVOR "Retry-After: 9\r\n", "", KEYFOB_CLASS_THROTTLED, 9, "429");
}

static void test_wrong_answers(void **state)
{
	(void)state;
	check(KEYFOB_KIND_ID, "200 OK", "", JWT, KEYFOB_CLASS_UNAVAILABLE, 0, "captive portal");
	check(KEYFOB_KIND_ID, "200 OK", "Metadata-Flavor: Googly\r\n", JWT, KEYFOB_CLASS_UNAVAILABLE, 0, "captive portal");
	check(KEYFOB_KIND_ID, "200 OK", FLAVOR, "", KEYFOB_CLASS_TRANSIENT, 0, "no JWT");
	check(KEYFOB_KIND_ID, "200 OK", FLAVOR, "\n\n", KEYFOB_CLASS_TRANSIENT, 0, "no JWT");
	check(KEYFOB_KIND_ID, "200 OK", FLAVOR, "<html>", KEYFOB_CLASS_TRANSIENT, 0, "no JWT");
	check(KEYFOB_KIND_ACCESS, "200 OK", FLAVOR, JWT, KEYFOB_CLASS_TRANSIENT, 0, "not JSON");
	check(KEYFOB_KIND_ACCESS, "200 OK", FLAVOR, "{}", KEYFOB_CLASS_TRANSIENT, 0, "no access_token");
}

static void test_refused_is_transient(void **state)
{
	struct call c;
	int port, fd = server_bind(&port);

	(void)state;
	call_init(&c, KEYFOB_KIND_ID, AUDIENCE);
	call_set_port(&c, port);
	call_obtain(&c);
	close(fd);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_TRANSIENT);
	assert_non_null(strstr(c.reply.text, "refused"));
}

static void test_configuration(void **state)
{
	static const char *const accounts[] = { "a/b", "a?b", "a#b", "a%2fb", "..", "." };
	struct call c;

	(void)state;
	for (size_t i = 0; i < sizeof(accounts) / sizeof(accounts[0]); i++) {
		call_init(&c, KEYFOB_KIND_ID, AUDIENCE);
		call_set(&c, "service_account", accounts[i]);
		call_obtain(&c);
		assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	}
	call_init(&c, KEYFOB_KIND_ID, "");
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	assert_non_null(strstr(c.reply.text, "audience"));
}

static void test_never_through_a_proxy(void **state)
{
	struct server s, trap;
	struct call c;

	(void)state;
	proxy_trap(&trap);
	call_init(&c, KEYFOB_KIND_ID, AUDIENCE);
	call_against(&c, &s, answer("200 OK", FLAVOR, JWT));
	server_stop(&trap);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_int_equal(atomic_load(&trap.contacts), 0);
	call_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_id_token),
		cmocka_unit_test(test_id_token_options),
		cmocka_unit_test(test_access_token),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_wrong_answers),
		cmocka_unit_test(test_refused_is_transient),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_never_through_a_proxy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
