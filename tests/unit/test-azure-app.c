/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The azure module's applications: what goes to Entra and to AD FS, and what
 * is read from their answers.
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

#define RESOURCE "https://vault.example.net"
#define TOKEN "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
#define SECRET "p+e r&c=e%n/t~\"x"
#define TRACE "0d5c1c0e-1111-2222-3333-444455556666"
#define CORRELATION "5f3a0000-1111-2222-3333-444455556666"

static const struct keyfob_secret secret = { "secret_file", SECRET "\n", sizeof(SECRET) };

static const char *answer(const char *status, const char *body)
{
	static char text[8192];

	snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body),
		body);
	return text;
}

static void start(struct call *c, const char *resource, const char *tenant)
{
	call_init(c, KEYFOB_KIND_ACCESS, resource);
	call_set(c, "source", "secret");
	call_set(c, "tenant", tenant);
	call_set(c, "client_id", "me");
	call_set(c, "secret_file", "/etc/keyfob/secret");
	c->request.secrets = &secret;
	c->request.secret_count = 1;
}

static void test_entra(void **state)
{
	time_t before = time(NULL);
	struct server s;
	struct call c;

	(void)state;
	start(&c, RESOURCE "/", "orders.example");
	call_against(&c, &s,
		answer("200 OK", "{\"token_type\":\"Bearer\",\"expires_in\":3599,\"ext_expires_in\":3599,\"refresh_in\":1800,"
				 "\"access_token\":\"" TOKEN "\"}"));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_string_equal(c.reply.token, TOKEN);
	assert_in_range(c.reply.expires, before + 3599, time(NULL) + 3599);
	assert_in_range(c.reply.refresh, before + 1800, time(NULL) + 1800);
	call_free(&c);
	assert_non_null(strstr(s.request, "POST /orders.example/oauth2/v2.0/token HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\n\r\ngrant_type=client_credentials&client_id=me"
					  "&scope=https%3A%2F%2Fvault.example.net%2F%2F.default"
					  "&client_secret=p%2Be%20r%26c%3De%25n%2Ft~%22x"));
	assert_null(strstr(call_told, "p+e"));
	assert_null(strstr(call_told, "p%2Be"));
}

/* AD FS has no scopes but one resource, and writes numbers as text. */
static void test_adfs(void **state)
{
	static const char *const resources[] = { RESOURCE, RESOURCE "/.default" };
	time_t before = time(NULL);
	struct server s;
	struct call c;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		start(&c, resources[i], "adfs");
		call_set(&c, "authority", "https://fs.example.net");
		call_against(
			&c, &s, answer("200 OK", "{\"token_type\":\"bearer\",\"expires_in\":\"3600\",\"access_token\":\"" TOKEN "\"}"));
		assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
		assert_in_range(c.reply.expires, before + 3600, time(NULL) + 3600);
		call_free(&c);
		assert_non_null(strstr(s.request, "POST /adfs/oauth2/token HTTP/1.1\r\n"));
		assert_non_null(strstr(s.request, "\r\n\r\ngrant_type=client_credentials&client_id=me"
						  "&resource=https%3A%2F%2Fvault.example.net&client_secret="));
		assert_null(strstr(s.request, "scope="));
	}
	start(&c, RESOURCE, "ADFS");
	call_against(&c, &s, answer("400 Bad", "{\"error\":\"invalid_client\",\"error_description\":\"MSIS9607: x\"}"));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_PERMANENT);
	assert_non_null(strstr(c.reply.text, "AD FS answered 400 invalid_client: MSIS9607: x; "));
}

/* It wants assertions in an older form; said before anybody is asked. */
static void test_adfs_certificate(void **state)
{
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_ACCESS, RESOURCE);
	call_set(&c, "source", "certificate");
	call_set(&c, "tenant", "adfs");
	call_set(&c, "client_id", "me");
	call_set(&c, "certificate_file", "/etc/keyfob/both.pem");
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	assert_non_null(strstr(c.reply.text, "AD FS takes no assertion of this form; use source=secret"));
	assert_string_equal(call_told, "");
}

static void check_error(const char *status, const char *body, enum keyfob_class class, const char *words)
{
	struct server s;
	struct call c;

	start(&c, RESOURCE, "orders.example");
	call_against(&c, &s, answer(status, body));
	if (c.reply.class != class || c.reply.token || !strstr(c.reply.text, words) || strstr(c.reply.text, "p+e") ||
		strstr(c.reply.text, "p%2Be"))
		fail_msg("%s: class %d, '%s', wanted '%s'", body, (int)c.reply.class, c.reply.text, words);
	assert_int_equal(atomic_load(&s.contacts), 1);
}

/* Whoever writes to Microsoft's support needs the two ids, however long the text before them is. */
static void test_ids(void **state)
{
	char body[2048], filler[900];

	(void)state;
	check_error("401 No",
		"{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000222: expired.\",\"error_codes\":[7000222],"
		"\"trace_id\":\"" TRACE "\",\"correlation_id\":\"" CORRELATION "\"}",
		KEYFOB_CLASS_PERMANENT, "(trace_id " TRACE ", correlation_id " CORRELATION "); the secret has expired");
	memset(filler, 'x', sizeof(filler) - 1);
	for (size_t i = 0; i < sizeof(filler); i += 10)
		filler[i] = ' ';
	filler[sizeof(filler) - 1] = 0;
	snprintf(body, sizeof(body),
		"{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000222: %s Trace ID: " TRACE " Correlation ID: " CORRELATION
		"\",\"trace_id\":\"" TRACE "\",\"correlation_id\":\"" CORRELATION "\"}",
		filler);
	check_error("401 No", body, KEYFOB_CLASS_PERMANENT, "(trace_id " TRACE ", correlation_id " CORRELATION "); the secret has expired");
	/* Once is enough. */
	check_error("401 No",
		"{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000222: x. Trace ID: " TRACE " Correlation ID: " CORRELATION
		"\",\"trace_id\":\"" TRACE "\",\"correlation_id\":\"" CORRELATION "\"}",
		KEYFOB_CLASS_PERMANENT, "Correlation ID: " CORRELATION "; the secret has expired");
}

/* 7000215 stands in neither of these, nor 700021 or 70021 in any other. */
static void test_numbers_are_matched_whole(void **state)
{
	static const char *const numbers[] = { "17000215", "70002150", "7700021", "170021" };

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		char body[200], wanted[100];
		struct server s;
		struct call c;

		start(&c, RESOURCE, "orders.example");
		snprintf(body, sizeof(body), "{\"error\":\"x\",\"error_description\":\"AADSTS%s: y\",\"error_codes\":[%s]}", numbers[i],
			numbers[i]);
		snprintf(wanted, sizeof(wanted), "Entra answered 400 x: AADSTS%s: y", numbers[i]);
		call_against(&c, &s, answer("400 Bad", body));
		assert_int_equal(c.reply.class, KEYFOB_CLASS_PERMANENT);
		assert_string_equal(c.reply.text, wanted);
	}
}

static void test_errors(void **state)
{
	(void)state;
	/* Relays of managed identities write the numbers as text. */
	check_error("400 Bad", "{\"error\":\"x\",\"error_description\":\"y\",\"error_codes\":\"[500011]\"}", KEYFOB_CLASS_PERMANENT,
		"the tenant does not know the resource");
	check_error("503 Busy", "{\"error\":\"temporarily_unavailable\",\"error_codes\":[90033]}", KEYFOB_CLASS_TRANSIENT, "503");
	check_error("429 Slow", "{\"error\":\"x\",\"error_codes\":[7000215]}", KEYFOB_CLASS_THROTTLED, "too many requests");
	check_error("502 Bad", "<html>", KEYFOB_CLASS_TRANSIENT, "502");
	check_error("400 Bad",
		"{\"error\":\"x\",\"error_description\":\"you sent "
		"p+e r&c=e%n/t~\\\"x"
		"\"}",
		KEYFOB_CLASS_PERMANENT, "hidden: it repeats secret_file");
	check_error("200 OK", "{\"error\":\"invalid_scope\"}", KEYFOB_CLASS_PERMANENT, "answered 200 invalid_scope");
	check_error("200 OK", "{\"access_token\":\"t\",\"token_type\":\"pop\"}", KEYFOB_CLASS_CONFIG, "of type pop");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entra),
		cmocka_unit_test(test_adfs),
		cmocka_unit_test(test_adfs_certificate),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_numbers_are_matched_whole),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
