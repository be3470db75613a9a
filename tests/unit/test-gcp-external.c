/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Google's workload identity federation: what its file may say, where tokens may go, what is sent.
 * links: modules/gcp modules/gcp-metadata modules/gcp-key modules/gcp-impersonate modules/gcp-external
 * links: modules/assertion modules/token-endpoint modules/http modules/expiry modules/json modules/report common/buffer
 * libs: libcurl libcrypto jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>

#include "tests/unit/module-call.h"

#define AUDIENCE "https://orders.example.com"
#define EMAIL "orders@p.iam.gserviceaccount.com"
#define JWT "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
#define SUBJECT "subject-token-of-another-cloud"
#define POOL "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"
#define WORKFORCE "//iam.googleapis.com/locations/global/workforcePools/p/providers/x"
#define IMPERSONATION \
	"\"service_account_impersonation_url\":\"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" EMAIL \
	":generateAccessToken\""
/* Good for each step of a chain: the server gives one reply to all. */
#define ALL \
	"{\"access_token\":\"ya29.first\",\"token_type\":\"Bearer\",\"expires_in\":3599,\"token\":\"" JWT "\"," \
	"\"accessToken\":\"ya29.second\",\"expireTime\":\"2099-01-01T00:00:00Z\",\"subject\":\"" SUBJECT "\"}"

static char file_text[8192];
static struct keyfob_secret secrets[2];

static const char *answer(const char *status, const char *body)
{
	static char text[8192];

	snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body),
		body);
	return text;
}

/* An external_account file, with members of one's own after the usual ones; null takes one away. */
static const char *file(const char *more)
{
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:{s:s}}", "type", "external_account", "audience", POOL, "subject_token_type",
		"urn:ietf:params:oauth:token-type:jwt", "token_url", "https://sts.googleapis.com/v1/token", "credential_source", "file",
		"/run/token");
	json_t *extra = json_loads(more, 0, NULL);
	char *text;

	if (!extra)
		abort();
	json_object_update(json, extra);
	text = json_dumps(json, 0);
	snprintf(file_text, sizeof(file_text), "%s", text);
	free(text);
	json_decref(extra);
	json_decref(json);
	return file_text;
}

static void set_secret(struct call *c, const char *name, const char *value)
{
	secrets[c->request.secret_count] = (struct keyfob_secret){ name, value, strlen(value) };
	call_set(c, name, "given");
	c->request.secrets = secrets;
	c->request.secret_count++;
}

static void init(struct call *c, enum keyfob_kind kind, const char *config)
{
	call_init(c, kind, AUDIENCE);
	call_set(c, "source", "external_account");
	set_secret(c, "config_file", config);
}

static void init_with_subject(struct call *c, enum keyfob_kind kind, const char *config)
{
	init(c, kind, config);
	set_secret(c, "subject_from", SUBJECT);
}

static void expect(struct call *c, enum keyfob_class class, const char *words)
{
	if (c->reply.class != class || !strstr(c->reply.text, words) || strstr(c->reply.text, "eyJ") || strstr(c->reply.text, SUBJECT) ||
		(class != KEYFOB_CLASS_OK && c->reply.token))
		fail_msg("class %d, wanted %d and '%s': '%s'", (int)c->reply.class, (int)class, words, c->reply.text);
	assert_null(strstr(call_told, "eyJ"));
	assert_null(strstr(call_told, SUBJECT));
	assert_null(strstr(call_told, "ya29"));
	call_free(c);
}

static void test_exchange(void **state)
{
	time_t before = time(NULL);
	struct server s;
	struct call c;

	(void)state;
	init_with_subject(&c, KEYFOB_KIND_ACCESS, file("{}"));
	call_set(&c, "scopes", "x,y");
	call_against(&c, &s, answer("200 OK", ALL));
	assert_string_equal(c.reply.token, "ya29.first");
	assert_in_range(c.reply.expires, before + 3599, time(NULL) + 3599);
	assert_int_equal(c.reply.refresh_before, 225);
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_int_equal(atomic_load(&s.contacts), 1);
	assert_non_null(strstr(s.request, "POST /v1/token HTTP/1.1\r\n"));
	assert_null(strstr(s.request, "Authorization"));
	assert_non_null(strstr(s.request,
		"\r\n\r\ngrant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange"
		"&audience=%2F%2Fiam.googleapis.com%2Fprojects%2F1%2Flocations%2Fglobal%2FworkloadIdentityPools%2Fp"
		"%2Fproviders%2Fx&scope=x%20y&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type"
		"%3Aaccess_token&subject_token=" SUBJECT "&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"));
	assert_null(strstr(s.request, "&options="));
}

static void test_client(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	init_with_subject(&c, KEYFOB_KIND_ACCESS,
		file("{\"audience\":\"" WORKFORCE "\",\"client_id\":\"me\",\"client_secret\":\"s3\","
		     "\"workforce_pool_user_project\":\"p1\"}"));
	call_against(&c, &s, answer("200 OK", ALL));
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_non_null(strstr(s.request, "\r\nAuthorization: Basic bWU6czM=\r\n"));
	assert_null(strstr(s.request, "&options="));
	init_with_subject(&c, KEYFOB_KIND_ACCESS, file("{\"audience\":\"" WORKFORCE "\",\"workforce_pool_user_project\":\"p1\"}"));
	call_against(&c, &s, answer("200 OK", ALL));
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_non_null(strstr(s.request, "&options=%7B%22userProject%22%3A%22p1%22%7D"));
	assert_non_null(strstr(s.request, "&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform&"));
}

static void test_as_account(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	init_with_subject(&c, KEYFOB_KIND_ID, file("{" IMPERSONATION "}"));
	call_against(&c, &s, answer("200 OK", ALL));
	assert_string_equal(c.reply.token, JWT);
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_int_equal(atomic_load(&s.contacts), 2);
	assert_non_null(strstr(s.request, "serviceAccounts/" EMAIL ":generateIdToken HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\nAuthorization: Bearer ya29.first\r\n"));
	init_with_subject(
		&c, KEYFOB_KIND_ACCESS, file("{" IMPERSONATION ",\"service_account_impersonation\":{\"token_lifetime_seconds\":2800}}"));
	call_set(&c, "scopes", "x");
	call_against(&c, &s, answer("200 OK", ALL));
	assert_string_equal(c.reply.token, "ya29.second");
	assert_int_equal(c.reply.expires, 4070908800);
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_non_null(strstr(s.request, "{\"delegates\":[],\"scope\":[\"x\"],\"lifetime\":\"2800s\"}"));
	init_with_subject(&c, KEYFOB_KIND_ID, file("{}"));
	call_set(&c, "target", "other@p.example");
	call_against(&c, &s, answer("200 OK", ALL));
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_non_null(strstr(s.request, "serviceAccounts/other@p.example:generateIdToken HTTP/1.1\r\n"));
}

static void test_subject_from_url(void **state)
{
	struct server s, source;
	char more[400];
	struct call c;

	(void)state;
	server_start(&source, answer("200 OK", ALL), strlen(answer("200 OK", ALL)));
	snprintf(more, sizeof(more),
		"{\"credential_source\":{\"url\":\"http://127.0.0.1:%d/t?a=b\",\"headers\":{\"Metadata\":\"true\"},"
		"\"format\":{\"type\":\"json\",\"subject_token_field_name\":\"subject\"}}}",
		source.port);
	init(&c, KEYFOB_KIND_ACCESS, file(more));
	call_against(&c, &s, answer("200 OK", ALL));
	server_stop(&source);
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_non_null(strstr(source.request, "GET /t?a=b HTTP/1.1\r\n"));
	assert_non_null(strstr(source.request, "\r\nMetadata: true\r\n"));
	assert_non_null(strstr(s.request, "&subject_token=" SUBJECT "&"));
}

static void check_url_answer(const char *status, const char *body, const char *format, enum keyfob_class class, const char *words)
{
	struct server source;
	char more[400];
	struct call c;

	server_start(&source, answer(status, body), strlen(answer(status, body)));
	snprintf(more, sizeof(more), "{\"credential_source\":{\"url\":\"http://127.0.0.1:%d/\",\"format\":%s}}", source.port, format);
	init(&c, KEYFOB_KIND_ACCESS, file(more));
	call_obtain(&c);
	server_stop(&source);
	expect(&c, class, words);
}

static void test_subject_url_errors(void **state)
{
	static const char json[] = "{\"type\":\"json\",\"subject_token_field_name\":\"token\"}", text[] = "{\"type\":\"text\"}";

	(void)state;
	check_url_answer("404 No", "x", text, KEYFOB_CLASS_PERMANENT, "answered 404: x");
	check_url_answer("429 Slow", "x", text, KEYFOB_CLASS_THROTTLED, "answered 429");
	check_url_answer("503 Busy", "x", text, KEYFOB_CLASS_TRANSIENT, "answered 503");
	check_url_answer("302 Found", "x", text, KEYFOB_CLASS_TRANSIENT, "answered 302");
	check_url_answer("200 OK", " \n", text, KEYFOB_CLASS_TRANSIENT, "it is empty");
	check_url_answer("200 OK", "{}", json, KEYFOB_CLASS_TRANSIENT, "subject_token_field_name");
	check_url_answer("200 OK", "{\"token\":7}", json, KEYFOB_CLASS_TRANSIENT, "subject_token_field_name");
	check_url_answer("200 OK", JWT, json, KEYFOB_CLASS_TRANSIENT, "not JSON");
}

static void check_file(const char *content, const char *format, enum keyfob_class class, const char *words)
{
	char path[] = "/tmp/keyfob-test-subject.XXXXXX", more[300];
	struct server s;
	struct call c;
	int fd = mkstemp(path);

	assert_true(fd >= 0 && write(fd, content, strlen(content)) == (ssize_t)strlen(content));
	close(fd);
	snprintf(more, sizeof(more), "{\"credential_source\":{\"file\":\"/elsewhere\"%s}}", format);
	init(&c, KEYFOB_KIND_ACCESS, file(more));
	call_set(&c, "subject_file", path);
	call_against(&c, &s, answer("200 OK", ALL));
	unlink(path);
	expect(&c, class, words);
	if (class == KEYFOB_CLASS_OK)
		assert_non_null(strstr(s.request, "&subject_token=" SUBJECT "&"));
}

static void test_subject_from_file(void **state)
{
	static const char json[] = ",\"format\":{\"type\":\"json\",\"subject_token_field_name\":\"t\"}";
	struct call c;

	(void)state;
	check_file("\n " SUBJECT "\r\n", "", KEYFOB_CLASS_OK, "");
	check_file("{\"t\":\"" SUBJECT "\"}", json, KEYFOB_CLASS_OK, "");
	check_file("", "", KEYFOB_CLASS_TRANSIENT, "it is empty");
	check_file("{\"t\":\"" SUBJECT, json, KEYFOB_CLASS_TRANSIENT, "ends too early");
	init(&c, KEYFOB_KIND_ACCESS, file("{}"));
	call_obtain(&c);
	expect(&c, KEYFOB_CLASS_CONFIG, "subject_file=/run/token");
	init(&c, KEYFOB_KIND_ACCESS, file("{}"));
	call_set(&c, "subject_file", "/nonexistent/token");
	call_obtain(&c);
	expect(&c, KEYFOB_CLASS_CONFIG, "No such file");
	init(&c, KEYFOB_KIND_ACCESS, file("{}"));
	call_set(&c, "subject_file", "/dev");
	call_obtain(&c);
	expect(&c, KEYFOB_CLASS_CONFIG, "no file of a token's size");
}

static void check_config(const char *config, const char *words)
{
	struct call c;

	init(&c, KEYFOB_KIND_ACCESS, config);
	call_obtain(&c);
	expect(&c, KEYFOB_CLASS_CONFIG, words);
}

static void test_configuration(void **state)
{
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_ACCESS, "");
	call_set(&c, "source", "external_account");
	call_obtain(&c);
	expect(&c, KEYFOB_CLASS_CONFIG, "needs config_file=");
	check_config("[]", "not a JSON object");
	check_config("{\"type\":\"a\",\"type\":\"b\"}", "twice");
	check_config(file("{\"type\":\"service_account\"}"), "use source=key");
	check_config(file("{\"audience\":null}"), "lacks audience");
	check_config(file("{\"subject_token_type\":null}"), "lacks subject_token_type");
	check_config(file("{\"token_url\":null}"), "lacks token_url");
	check_config(file("{\"workforce_pool_user_project\":\"p\"}"), "for workforce pools");
	check_config(file("{\"universe_domain\":\"evil.example\"}"), "set universe_domain=");
	check_config(file("{\"credential_source\":{\"executable\":{\"command\":\"/bin/x\"}}}"), "callback-exec");
	check_config(file("{\"credential_source\":{\"environment_id\":\"aws1\"}}"), "AWS");
	check_config(file("{\"credential_source\":{\"certificate\":{}}}"), "client certificate");
	check_config(file("{\"credential_source\":{}}"), "neither a file nor a URL");
	check_config(file("{\"credential_source\":null}"), "neither a file nor a URL");
	check_config(file("{\"credential_source\":{\"file\":\"/x\",\"format\":{\"type\":\"json\"}}}"), "subject_token_field_name");
	check_config(file("{\"credential_source\":{\"file\":\"/x\",\"format\":{\"type\":\"xml\"}}}"), "is text, or json");
	check_config(
		file("{\"credential_source\":{\"url\":\"http://127.0.0.1:1/\",\"headers\":{\"A\":\"b\\r\\nC: d\"}}}"), "plain headers");
	check_config(file("{\"credential_source\":{\"url\":\"gopher:x\"}}"), "not a URL");
	init_with_subject(&c, KEYFOB_KIND_ID, file("{}"));
	call_obtain(&c);
	expect(&c, KEYFOB_CLASS_CONFIG, "set target=");
	init_with_subject(
		&c, KEYFOB_KIND_ACCESS, file("{" IMPERSONATION ",\"service_account_impersonation\":{\"token_lifetime_seconds\":60}}"));
	call_obtain(&c);
	expect(&c, KEYFOB_CLASS_CONFIG, "token_lifetime_seconds");
}

/* A file from outside must not have tokens sent elsewhere: nobody is asked at all. */
static void test_hosts(void **state)
{
	static const char *const bad[] = { "http://sts.googleapis.com/v1/token", "https://sts.googleapis.com.evil.example/v1/token",
		"https://evilgoogleapis.com/v1/token", "https://evil.example/sts.googleapis.com",
		"https://sts.googleapis.com@evil.example/v1/token", "https://127.0.0.1/v1/token" };
	char more[300];
	struct call c;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(more, sizeof(more), "{\"token_url\":\"%s\"}", bad[i]);
		init_with_subject(&c, KEYFOB_KIND_ACCESS, file(more));
		call_obtain(&c);
		expect(&c, KEYFOB_CLASS_CONFIG, "is not sent there");
		assert_string_equal(call_told, "");
		snprintf(more, sizeof(more), "{\"service_account_impersonation_url\":\"%s/serviceAccounts/" EMAIL ":generateAccessToken\"}",
			bad[i]);
		init_with_subject(&c, KEYFOB_KIND_ID, file(more));
		call_obtain(&c);
		expect(&c, KEYFOB_CLASS_CONFIG, "service_account_impersonation_url");
		assert_string_equal(call_told, "");
	}
}

static void check_error(const char *status, const char *body, enum keyfob_class class, const char *words)
{
	struct server s;
	struct call c;

	init_with_subject(&c, KEYFOB_KIND_ID, file("{" IMPERSONATION "}"));
	call_against(&c, &s, answer(status, body));
	expect(&c, class, words);
	assert_int_equal(atomic_load(&s.contacts), 1);
}

static void test_errors(void **state)
{
	(void)state;
	check_error("400 Bad", "{\"error\":\"invalid_grant\",\"error_description\":\"The audience does not match\"}",
		KEYFOB_CLASS_PERMANENT, "allowed audiences");
	check_error("400 Bad", "{\"error\":\"invalid_target\"}", KEYFOB_CLASS_CONFIG, "check audience");
	check_error("401 No", "{\"error\":\"invalid_client\"}", KEYFOB_CLASS_PERMANENT, "client_secret");
	check_error("400 Bad", "{\"error\":\"invalid_request\"}", KEYFOB_CLASS_PERMANENT, "subject_token_type");
	check_error("400 Bad", "{\"error\":\"invalid_grant\",\"error_description\":\"of " SUBJECT "\"}", KEYFOB_CLASS_PERMANENT, "hidden");
	check_error("500 Oops", "{\"error\":\"internal_failure\"}", KEYFOB_CLASS_TRANSIENT, "internal_failure");
	check_error("503 Busy", "{}", KEYFOB_CLASS_TRANSIENT, "503");
	check_error("503 Busy", "{\"error\":\"invalid_request\"}", KEYFOB_CLASS_TRANSIENT, "503 invalid_request");
	check_error("429 Slow", "{\"error\":\"invalid_request\"}", KEYFOB_CLASS_THROTTLED, "too many requests");
	check_error("200 OK", "{}", KEYFOB_CLASS_TRANSIENT, "no access_token");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exchange),
		cmocka_unit_test(test_client),
		cmocka_unit_test(test_as_account),
		cmocka_unit_test(test_subject_from_url),
		cmocka_unit_test(test_subject_url_errors),
		cmocka_unit_test(test_subject_from_file),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
