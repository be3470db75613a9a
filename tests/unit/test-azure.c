/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The azure module, and with it modules/http, against a server on loopback.
 *
 * links: modules/azure modules/azure-imds modules/azure-appservice modules/azure-arc modules/azure-app modules/assertion modules/token-endpoint modules/token-file modules/http modules/expiry modules/json modules/report common/buffer
 * libs: libcurl libcrypto jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/module-call.h"

#define RESOURCE "api://0d5c1c0e-1111-2222-3333-444455556666"
#define TOKEN "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
#define OK_BODY \
	"{\"access_token\":\"" TOKEN "\",\"expires_in\":\"84473\"," \
	"\"expires_on\":\"1639265125\",\"token_type\":\"Bearer\"}"

static const char *answer(const char *status, const char *headers, const char *body)
{
	static char text[4096];

	snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
		strlen(body), body);
	return text;
}

static void start(struct call *c)
{
	call_init(c, KEYFOB_KIND_ACCESS, RESOURCE);
}

static void test_request(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	start(&c);
	call_set(&c, "client_id", "5f3a");
	call_against(&c, &s, answer("200 OK", "", OK_BODY));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_string_equal(c.reply.token, TOKEN);
	assert_int_equal(c.reply.length, strlen(TOKEN));
	assert_int_equal(c.reply.expires, 1639265125);
	assert_int_equal(c.reply.refresh, 0);
	call_free(&c);
	assert_non_null(strstr(s.request, "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource="
					  "api%3A%2F%2F0d5c1c0e-1111-2222-3333-444455556666"
					  "&client_id=5f3a HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\nMetadata: true\r\n"));
	assert_non_null(strstr(s.request, "\r\nAccept: application/json\r\n"));
	assert_null(strcasestr(s.request, "X-Forwarded-For"));
	assert_non_null(strstr(call_told, "GET http://127.0.0.1"));
	assert_non_null(strstr(call_told, "< 200"));
	assert_null(strstr(call_told, "eyJ"));
}

/* The service passes over a parameter that it does not know, and gives a token of another identity. */
static void test_selectors(void **state)
{
	static const struct {
		const char *option, *value, *sent;
	} cases[] = {
		{ "object_id", "0a1b", "&object_id=0a1b HTTP" },
		{ "resource_id", "/subscriptions/s/x y", "&msi_res_id=%2Fsubscriptions%2Fs%2Fx%20y HTTP" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server s;
		struct call c;
		char line[200];

		call_init(&c, KEYFOB_KIND_ACCESS, "r");
		call_set(&c, cases[i].option, cases[i].value);
		call_against(&c, &s, answer("200 OK", "", OK_BODY));
		call_free(&c);
		snprintf(line, sizeof(line), "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=r%s", cases[i].sent);
		assert_non_null(strstr(s.request, line));
	}
}

static void test_resource_forms(void **state)
{
	static const struct {
		const char *resource, *sent;
	} cases[] = {
		{ "https://x.example/.default", "&resource=https%3A%2F%2Fx.example HTTP" },
		{ "https://x.example//.default", "&resource=https%3A%2F%2Fx.example%2F HTTP" },
		{ "https://x.example/", "&resource=https%3A%2F%2Fx.example%2F HTTP" },
		{ "a b&c=d%#", "&resource=a%20b%26c%3Dd%25%23 HTTP" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server s;
		struct call c;

		call_init(&c, KEYFOB_KIND_ACCESS, cases[i].resource);
		call_against(&c, &s, answer("200 OK", "", OK_BODY));
		call_free(&c);
		assert_non_null(strstr(s.request, cases[i].sent));
	}
}

static void test_expiry_members(void **state)
{
	static const struct {
		const char *members;
		time_t expires; /* below a day: from now */
	} cases[] = {
		{ "\"expires_on\":1639265125", 1639265125 },
		{ "\"expires_on\":\"05/22/2021 17:14:33 +00:00\",\"expires_in\":1", 1621703673 },
		{ "\"expires_on\":\"soon\",\"expires_in\":\"3599\"", 3599 },
		{ "\"expires_on\":4070908800,\"expires_in\":\"3599\"", 3599 },
		{ "\"expires_in\":3599", 3599 },
		{ "\"expires_in\":null,\"expires_on\":\"\"", 0 },
		{ "\"expires_in\":-1", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		time_t before = time(NULL), expected = cases[i].expires;
		struct server s;
		struct call c;
		char body[256];

		start(&c);
		snprintf(body, sizeof(body), "{\"access_token\":\"t\",\"refresh_in\":\"100\",%s}", cases[i].members);
		call_against(&c, &s, answer("200 OK", "", body));
		assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
		if (expected > 0 && expected < 86400)
			assert_in_range(c.reply.expires, before + expected, time(NULL) + expected);
		else
			assert_int_equal(c.reply.expires, expected);
		assert_in_range(c.reply.refresh, before + 100, time(NULL) + 100);
		call_free(&c);
	}
}

static void check_status(const char *status, const char *headers, enum keyfob_class class, unsigned int retry, const char *words)
{
	struct server s;
	struct call c;

	start(&c);
	call_against(&c, &s, answer(status, headers, "{\"error\":\"some_code\",\"error_description\":\"what went wrong\"}"));
	if (c.reply.class != class || c.reply.retry_after != retry || c.reply.token || !strstr(c.reply.text, words) ||
		!strstr(c.reply.text, "IMDS answered ") || !strstr(c.reply.text, " some_code: what went wrong") ||
		strcmp(c.reply.code, "some_code") != 0)
		fail_msg("%s: class %d, retry %u, '%s'", status, (int)c.reply.class, c.reply.retry_after, c.reply.text);
	assert_int_equal(atomic_load(&s.contacts), 1);
}

static void test_statuses(void **state)
{
	(void)state;
	check_status("400 Bad Request", "", KEYFOB_CLASS_PERMANENT, 0, "correct resource");
	check_status("401 Unauthorized", "", KEYFOB_CLASS_UNAVAILABLE, 0, "does not look like IMDS");
	check_status("403 Forbidden", "", KEYFOB_CLASS_UNAVAILABLE, 0, "does not look like IMDS");
	check_status("404 Not Found", "", KEYFOB_CLASS_TRANSIENT, 0, "being updated");
	check_status("405 Not Allowed", "", KEYFOB_CLASS_PERMANENT, 0, "");
	check_status("408 Timeout", "", KEYFOB_CLASS_TRANSIENT, 0, "");
	check_status("410 Gone", "", KEYFOB_CLASS_TRANSIENT, 10, "70 s");
	check_status("410 Gone", "Retry-After: 20\r\n", KEYFOB_CLASS_TRANSIENT, 20, "70 s");
	check_status("429 Slow", "", KEYFOB_CLASS_THROTTLED, 1, "too many");
	check_status("429 Slow", "Retry-After: 17\r\n", KEYFOB_CLASS_THROTTLED, 17, "too many");
	check_status("429 Slow", "retry-after: 999999\r\n", KEYFOB_CLASS_THROTTLED, 3600, "too many");
	check_status("429 Slow", "Retry-After: -4\r\n", KEYFOB_CLASS_THROTTLED, 1, "too many");
	check_status("429 Slow", "Retry-After: soon\r\n", KEYFOB_CLASS_THROTTLED, 1, "too many");
	check_status("429 Slow", "Retry-After: Sat, 11 Dec 2021 23:18:45 GMT\r\n", KEYFOB_CLASS_THROTTLED, 1, "too many");
	check_status("429 Slow", "Retry-After: Fri, 11 Dec 2099 23:18:45 GMT\r\n", KEYFOB_CLASS_THROTTLED, 3600, "too many");
	check_status("500 Oops", "", KEYFOB_CLASS_TRANSIENT, 1, "");
	check_status("502 Bad Gateway", "", KEYFOB_CLASS_TRANSIENT, 1, "proxy");
	check_status("503 Busy", "Retry-After: 5\r\n", KEYFOB_CLASS_TRANSIENT, 5, "");
	check_status("504 Timeout", "", KEYFOB_CLASS_TRANSIENT, 1, "proxy");
	check_status("302 Found", "Location: http://127.0.0.1:1/\r\n", KEYFOB_CLASS_UNAVAILABLE, 0, "redirect");
	check_status("202 Accepted", "", KEYFOB_CLASS_UNAVAILABLE, 0, "does not look like IMDS");
}

static void test_identity_not_found(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	start(&c);
	call_set(&c, "client_id", "5f3a0000-1111-2222-3333-444455556666");
	call_against(&c, &s, answer("400 Bad", "", "{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}"));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_PERMANENT);
	assert_string_equal(c.reply.text, "IMDS answered 400 invalid_request: Identity not found (client id "
					  "5f3a0000-1111-2222-3333-444455556666); assign that identity to this machine, or correct "
					  "client_id=, object_id= or resource_id=");
}

static void test_hints(void **state)
{
	static const struct {
		const char *code, *description, *words;
	} cases[] = {
		{ "invalid_request", "Multiple user assigned identities exist, please specify the clientId", "; name one with client_id=" },
		{ "invalid_resource", "x", "; the tenant does not know the resource" },
		{ "invalid_request", "AADSTS500011: x", "; the tenant does not know the resource" },
		{ "invalid_request", "Required metadata header not specified", "; this does not look like IMDS" },
		{ "bad_request_102", "The api-version is missing", "; correct resource and the identity" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char body[300];
		struct server s;
		struct call c;

		start(&c);
		snprintf(body, sizeof(body), "{\"error\":\"%s\",\"error_description\":\"%s\"}", cases[i].code, cases[i].description);
		call_against(&c, &s, answer("400 Bad", "", body));
		if (c.reply.class != KEYFOB_CLASS_PERMANENT || !strstr(c.reply.text, cases[i].words))
			fail_msg("%s: class %d, '%s'", body, (int)c.reply.class, c.reply.text);
	}
}

/* What a vendor's text holds is shown on one line and without what looks like a token. */
static void test_vendor_text_is_masked(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	start(&c);
	call_against(&c, &s,
		answer("400 Bad", "",
			"{\"error\":\"e\",\"error_description\":\"AADSTS500011: a\\r\\nb\\u001b[31m " TOKEN
			" abcDEF0123456789abcdefgh 5f3a0000-1111-2222-3333-444455556666 "
			"ManagedIdentityNotFound\"}"));
	assert_non_null(strstr(c.reply.text, "AADSTS500011: a  b\\x1b[31m *** *** 5f3a0000-1111-2222-3333-444455556666 "
					     "ManagedIdentityNotFound; the tenant does not know the resource"));
	assert_null(strstr(call_told, "eyJ"));
	assert_null(strstr(call_told, "abcDEF"));
}

static void check_transport(const char *reply, size_t length, enum keyfob_class class, const char *words)
{
	struct server s;
	struct call c;

	start(&c);
	c.request.timeout = 1;
	server_start(&s, reply, length);
	call_set_port(&c, s.port);
	call_obtain(&c);
	server_stop(&s);
	if (c.reply.class != class || c.reply.token || !strstr(c.reply.text, words) || strstr(c.reply.text, "eyJ"))
		fail_msg("class %d, '%s', wanted '%s'", (int)c.reply.class, c.reply.text, words);
}

static void test_transport(void **state)
{
	size_t big = 2 * 1024 * 1024;
	char *huge = calloc(1, big + 64);
	const char *cut = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"access_token\":\"" TOKEN;

	(void)state;
	assert_non_null(huge);
	snprintf(huge, 64, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", big);
	memset(huge + strlen(huge), 'x', big);
	check_transport(huge, strlen(huge), KEYFOB_CLASS_TRANSIENT, "longer than 64 KiB");
	free(huge);
	check_transport(cut, strlen(cut), KEYFOB_CLASS_TRANSIENT, "broke off");
	check_transport("", 0, KEYFOB_CLASS_TRANSIENT, "broke off");
	check_transport("SSH-2.0-x\r\n", 11, KEYFOB_CLASS_UNAVAILABLE, "does not speak HTTP");
	check_transport(NULL, 0, KEYFOB_CLASS_UNAVAILABLE, "within 1 s");
}

static void test_bad_bodies(void **state)
{
	static const struct {
		const char *body, *words;
	} cases[] = {
		{ "", "empty" },
		{ "<html>sign in</html>", "not JSON" },
		{ "{\"access_token\":\"" TOKEN, "" },
		{ "{\"access_token\":\"" TOKEN "\"", "ends too early" },
		{ "{\"access_token\":\"" TOKEN "\"}x", "something follows" },
		{ "{\"access_token\":\"" TOKEN "\",\"access_token\":\"b\"}", "twice" },
		{ "[\"" TOKEN "\"]", "not a JSON object" },
		{ "{\"access_token\":\"\"}", "no access_token" },
		{ "{\"access_token\":5}", "no access_token" },
		{ "{\"token\":\"" TOKEN "\"}", "no access_token" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct server s;
		struct call c;

		start(&c);
		call_against(&c, &s, answer("200 OK", "", cases[i].body));
		if (c.reply.class != KEYFOB_CLASS_TRANSIENT || c.reply.token || !strstr(c.reply.text, cases[i].words) ||
			strstr(c.reply.text, "eyJ") || strstr(call_told, "eyJ"))
			fail_msg("%s: class %d, '%s'", cases[i].body, (int)c.reply.class, c.reply.text);
	}
}

static void test_refused(void **state)
{
	struct call c;
	int port, fd = server_bind(&port);

	(void)state;
	start(&c);
	call_set_port(&c, port);
	call_obtain(&c);
	close(fd);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_UNAVAILABLE);
	assert_non_null(strstr(c.reply.text, "refused"));
	assert_non_null(strstr(c.reply.text, "Azure"));
}

static void test_configuration(void **state)
{
	static const struct {
		const char *name, *value, *name2, *value2, *words;
	} cases[] = {
		{ "client_id", "a", "object_id", "b", "client_id= and object_id=" },
		{ "object_id", "a", "resource_id", "b", "object_id= and resource_id=" },
		{ "source", "moon", "client_id", "a", "source=moon" },
		{ "endpoint", "http://127.0.0.1:1/path", "client_id", "a", "endpoint=" },
		{ "endpoint", "http://u:p@127.0.0.1:1", "client_id", "a", "endpoint=" },
		{ "endpoint", "http://127.0.0.1:1?x", "client_id", "a", "endpoint=" },
		{ "endpoint", "ftp://127.0.0.1:1", "client_id", "a", "endpoint=" },
	};
	struct call c;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start(&c);
		call_set(&c, cases[i].name, cases[i].value);
		call_set(&c, cases[i].name2, cases[i].value2);
		call_obtain(&c);
		if (c.reply.class != KEYFOB_CLASS_CONFIG || !strstr(c.reply.text, cases[i].words))
			fail_msg("%s: class %d, '%s'", cases[i].words, (int)c.reply.class, c.reply.text);
	}
	call_init(&c, KEYFOB_KIND_ACCESS, "");
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	call_init(&c, KEYFOB_KIND_ID, RESOURCE);
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
}

/* Neither the environment nor proxy= leads a metadata request to a proxy. */
static void test_never_through_a_proxy(void **state)
{
	struct server s, trap;
	char proxy[64];
	struct call c;

	(void)state;
	proxy_trap(&trap);
	start(&c);
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", trap.port);
	call_set(&c, "proxy", proxy);
	call_against(&c, &s, answer("200 OK", "", OK_BODY));
	server_stop(&trap);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_int_equal(atomic_load(&s.contacts), 1);
	assert_int_equal(atomic_load(&trap.contacts), 0);
	call_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_selectors),
		cmocka_unit_test(test_resource_forms),
		cmocka_unit_test(test_expiry_members),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_identity_not_found),
		cmocka_unit_test(test_hints),
		cmocka_unit_test(test_vendor_text_is_masked),
		cmocka_unit_test(test_transport),
		cmocka_unit_test(test_bad_bodies),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_never_through_a_proxy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
