/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What modules/http does for public endpoints, and how report_text masks.
 *
 * links: modules/http modules/report common/buffer
 * libs: libcurl
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "modules/http.h"
#include "modules/report.h"
#include "tests/unit/scripted-server.h"

#define OK_REPLY "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static char told[4096];

static void tell(const char *line)
{
	strncat(told, line, sizeof(told) - strlen(told) - 2);
	strcat(told, "\n");
}

static void clear_proxies(void)
{
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	unsetenv("ALL_PROXY");
	unsetenv("no_proxy");
	unsetenv("NO_PROXY");
}

static bool ask(struct http_exchange *x, struct keyfob_request *request, struct keyfob_reply *reply, const char *origin)
{
	memset(reply, 0, sizeof(*reply));
	told[0] = 0;
	if (!http_init(x, request, reply, origin, "/path"))
		return false;
	x->service = "test";
	x->peer = HTTP_PUBLIC;
	return true;
}

static void test_post(void **state)
{
	static const char *const headers[] = { "Authorization: Bearer abc", NULL };
	struct keyfob_request request = { .timeout = 5, .tell = tell };
	struct keyfob_reply reply;
	struct http_exchange x;
	struct buffer form;
	struct server s;
	char origin[64];

	(void)state;
	clear_proxies();
	server_start(&s, OK_REPLY, strlen(OK_REPLY));
	snprintf(origin, sizeof(origin), "http://127.0.0.1:%d", s.port);
	buffer_init(&form, 4096);
	buffer_printf(&form, "client_secret=");
	http_escape(&form, "~+/ &=%\xc3\xa9", "");
	assert_true(ask(&x, &request, &reply, origin));
	x.form = &form;
	x.headers = headers;
	assert_true(http_perform(&x, &request, &reply));
	assert_int_equal(x.status, 200);
	assert_int_equal(x.body.length, 2);
	http_free(&x);
	buffer_free(&form);
	server_stop(&s);
	assert_non_null(strstr(s.request, "POST /path HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\nAuthorization: Bearer abc\r\n"));
	assert_non_null(strstr(s.request, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
	assert_non_null(strstr(s.request, "\r\n\r\nclient_secret=~%2B%2F%20%26%3D%25%C3%A9"));
	assert_non_null(strstr(told, "POST http://127.0.0.1"));
	assert_non_null(strstr(told, "> Authorization\n"));
	assert_null(strstr(told, "Bearer"));
	assert_null(strstr(told, "client_secret"));
}

static void test_proxy_is_for_public_endpoints(void **state)
{
	struct keyfob_setting setting = { .name = "proxy" };
	struct keyfob_request request = { .timeout = 5, .settings = &setting };
	struct keyfob_reply reply;
	struct http_exchange x;
	struct server s;
	char proxy[64];

	(void)state;
	clear_proxies();
	server_start(&s, OK_REPLY, strlen(OK_REPLY));
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", s.port);
	setting.value = proxy;
	for (int from_environment = 0; from_environment < 2; from_environment++) {
		request.count = from_environment ? 0 : 1;
		if (from_environment)
			setenv("http_proxy", proxy, 1);
		assert_true(ask(&x, &request, &reply, "http://public.invalid"));
		assert_true(http_perform(&x, &request, &reply));
		http_free(&x);
	}
	clear_proxies();
	server_stop(&s);
	assert_int_equal(atomic_load(&s.contacts), 2);
	assert_non_null(strstr(s.request, "GET http://public.invalid/path HTTP/1.1\r\n"));
}

static void check_failure(const char *origin, struct keyfob_setting *setting, enum keyfob_class class, const char *words)
{
	struct keyfob_request request = { .timeout = 2, .settings = setting, .count = setting ? 1 : 0 };
	struct keyfob_reply reply;
	struct http_exchange x;

	assert_true(ask(&x, &request, &reply, origin));
	assert_false(http_perform(&x, &request, &reply));
	http_free(&x);
	if (reply.class != class || !strstr(reply.text, words))
		fail_msg("class %d, '%s', wanted '%s'", (int)reply.class, reply.text, words);
}

static void test_failures(void **state)
{
	struct keyfob_setting ca_file = { "ca_file", "/nonexistent/ca.pem" };
	struct server s;
	char origin[64];

	(void)state;
	clear_proxies();
	server_start(&s, OK_REPLY, strlen(OK_REPLY));
	snprintf(origin, sizeof(origin), "https://127.0.0.1:%d", s.port);
	check_failure(origin, &ca_file, KEYFOB_CLASS_CONFIG, "ca_file=");
	server_stop(&s);
}

static void test_url_too_long(void **state)
{
	struct keyfob_request request = { .timeout = 2 };
	struct keyfob_reply reply;
	struct http_exchange x;
	char *value = calloc(1, HTTP_URL_MAX + 1);

	(void)state;
	assert_non_null(value);
	memset(value, 'a', HTTP_URL_MAX);
	assert_true(ask(&x, &request, &reply, "http://127.0.0.1:1"));
	http_query(&x, "q", value);
	assert_false(http_perform(&x, &request, &reply));
	assert_int_equal(reply.class, KEYFOB_CLASS_CONFIG);
	http_free(&x);
	free(value);
}

static void test_endpoint(void **state)
{
	static const struct {
		const char *endpoint, *url;
	} cases[] = {
		{ "http://127.0.0.1:8080", "http://127.0.0.1:8080/path" },
		{ "http://host/", "http://host:80/path" },
		{ "https://[::1]:99", "https://[::1]:99/path" },
		{ "https://host", "https://host:443/path" },
	};
	struct keyfob_setting setting = { .name = "endpoint" };
	struct keyfob_request request = { .settings = &setting, .count = 1 };
	struct keyfob_reply reply;
	struct http_exchange x;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setting.value = cases[i].endpoint;
		assert_true(ask(&x, &request, &reply, "http://origin"));
		assert_string_equal(buffer_cstring(&x.url), cases[i].url);
		http_free(&x);
	}
}

/* What a server says about keeping its answer. */
static void check_keeping(const char *headers, const char *etag, unsigned int max_age)
{
	struct keyfob_request request = { .timeout = 5 };
	struct keyfob_reply reply;
	struct http_exchange x;
	struct server s;
	char origin[64], text[1024];

	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n%sContent-Length: 2\r\n\r\nhi", headers);
	server_start(&s, text, strlen(text));
	snprintf(origin, sizeof(origin), "http://127.0.0.1:%d", s.port);
	assert_true(ask(&x, &request, &reply, origin));
	assert_true(http_perform(&x, &request, &reply));
	server_stop(&s);
	if (strcmp(x.etag, etag) != 0 || x.max_age != max_age)
		fail_msg("%s: etag %s, max-age %u", headers, x.etag, x.max_age);
	http_free(&x);
}

#define TEN "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN

static void test_keeping(void **state)
{
	(void)state;
	clear_proxies();
	check_keeping("", "", 0);
	check_keeping("ETag: \"abc\"\r\n", "\"abc\"", 0);
	check_keeping("etag:\tW/\"abc\" \r\n", "W/\"abc\"", 0);
	check_keeping("ETag: \"" SIXTY "12\"\r\n", "\"" SIXTY "12\"", 0);
	check_keeping("ETag: \"" SIXTY "123\"\r\n", "", 0);
	check_keeping("ETag: abc\r\nETags: \"x\"\r\n", "", 0);
	check_keeping("ETag: \"a b\"\r\n", "", 0);
	check_keeping("ETag: \"\xe9\"\r\n", "", 0);
	check_keeping("ETag: \"\r\n", "", 0);
	check_keeping("Cache-Control: max-age=600\r\n", "", 600);
	check_keeping("cache-control: public, Max-Age=\"86400\", must-revalidate\r\n", "", 86400);
	check_keeping("Cache-Control: public,max-age=19567, no-transform\r\n", "", 19567);
	check_keeping("Cache-Control: max-age=600, no-cache\r\n", "", 0);
	check_keeping("Cache-Control: no-store, max-age=600\r\n", "", 0);
	check_keeping("Cache-Control: max-age=-5\r\n", "", 0);
	check_keeping("Cache-Control: max-age=soon\r\n", "", 0);
	check_keeping("Cache-Control: s-maxage=600\r\n", "", 0);
	check_keeping("Cache-Control: max-age=99999999999999999999999\r\n", "", 366 * 86400);
}

static void test_body_limit(void **state)
{
	static const size_t limit = 200000;
	struct keyfob_request request = { .timeout = 5 };
	struct keyfob_reply reply;
	struct http_exchange x;
	struct server s;
	char origin[64], *text = calloc(1, limit + 100);
	int head;

	(void)state;
	clear_proxies();
	assert_non_null(text);
	for (size_t over = 0; over < 2; over++) {
		head = snprintf(text, 100, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", limit + over);
		memset(text + head, 'x', limit + over);
		server_start(&s, text, (size_t)head + limit + over);
		snprintf(origin, sizeof(origin), "http://127.0.0.1:%d", s.port);
		assert_true(ask(&x, &request, &reply, origin));
		x.body_max = limit;
		assert_int_equal(http_perform(&x, &request, &reply), !over);
		if (over)
			assert_non_null(strstr(reply.text, "is longer than 195 KiB"));
		else
			assert_int_equal(x.body.length, limit);
		http_free(&x);
		server_stop(&s);
	}
	free(text);
}

static void check_text(const char *from, enum report_mask mask, const char *to)
{
	char out[200];

	report_text(out, sizeof(out), from, strlen(from), mask);
	assert_string_equal(out, to);
}

static void test_mask(void **state)
{
	char out[16];

	(void)state;
	check_text("", REPORT_MASK_ALL, "");
	check_text("plain words, 42 of them\n", REPORT_MASK_ALL, "plain words, 42 of them");
	check_text("a\tb\r\nc\x01\xff", REPORT_MASK_ALL, "a b  c\\x01\\xff");
	check_text("x eyJhbGciOiJub25lIn0.e30.c2ln y", REPORT_MASK_ALL, "x *** y");
	check_text("eyJ0", REPORT_MASK_ALL, "***");
	check_text("key=0123456789abcdefghij", REPORT_MASK_ALL, "***");
	check_text("secret 0123456789abcdefghij.more/than+that=, end", REPORT_MASK_ALL, "secret ***, end");
	check_text("0123456789abcdefghi", REPORT_MASK_ALL, "0123456789abcdefghi");
	check_text("abcdefghijKLMNOPQRST", REPORT_MASK_ALL, "***");
	check_text("ManagedIdentityNotFound required-metadata-header", REPORT_MASK_ALL, "ManagedIdentityNotFound required-metadata-header");
	check_text("5f3a0000-1111-2222-3333-444455556666", REPORT_MASK_ALL, "***");
	check_text("5f3a0000-1111-2222-3333-444455556666", REPORT_MASK_KEEP_IDS, "5f3a0000-1111-2222-3333-444455556666");
	check_text("5f3a0000-1111-2222-3333-44445555666x", REPORT_MASK_KEEP_IDS, "***");
	report_text(out, sizeof(out), "abcdefghijklmnopqrstuvwxyz", 26, REPORT_MASK_ALL);
	assert_true(strlen(out) < sizeof(out) && strncmp(out, "abcdefghij", 10) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_post),
		cmocka_unit_test(test_proxy_is_for_public_endpoints),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_url_too_long),
		cmocka_unit_test(test_endpoint),
		cmocka_unit_test(test_keeping),
		cmocka_unit_test(test_body_limit),
		cmocka_unit_test(test_mask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
