/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keyfob-metadata makes of a request, and how it answers: HTTP, Azure's
 * service and Google's, without a connection.
 *
 * links: metadata/http metadata/service metadata/azure metadata/google common/buffer
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyring/keyfob.h"
#include "metadata/service.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define HOST "Host: 169.254.169.254\r\n"
#define AZURE "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://orders"
#define GOOGLE "/computeMetadata/v1/instance/service-accounts/default"
#define FLAVOR "Metadata-Flavor: Google\r\n"

static char head[HTTP_HEAD_MAX + 1];
static struct http_request request;

static const char *parse(const char *text)
{
	size_t length = strlen(text);

	assert_true(length <= HTTP_HEAD_MAX);
	assert_int_equal(http_head_length(text, length), length);
	memcpy(head, text, length + 1);
	return http_parse(head, length, &request);
}

/* --- HTTP ----------------------------------------------------------------------------- */

static void test_head(void **state)
{
	static const struct {
		const char *text;
		size_t length;
	} cases[] = {
		{ "", 0 },
		{ "GET / HTTP/1.1\r\n", 0 },
		{ "GET / HTTP/1.1\r\n\r", 0 },
		{ "GET / HTTP/1.1\r\n\r\n", 18 },
		{ "GET / HTTP/1.1\n\n", 16 },
		{ "GET / HTTP/1.1\n\r\nbody\r\n\r\n", 17 },
		{ "GET / HTTP/1.1\r\nA: b\r\n\r\nmore", 24 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(cases); i++)
		assert_int_equal(http_head_length(cases[i].text, strlen(cases[i].text)), cases[i].length);
}

static void test_parse(void **state)
{
	(void)state;
	assert_null(parse("GET /a%20b+c?x=1+2%2B3&empty=&bare&u=api://o:1/b HTTP/1.1\r\nhOsT:  metadata \t\r\nMetadata: true\r\n"
			  "metadata-flavor:Google\r\nAccept: */*\r\n\r\n"));
	assert_string_equal(request.method, "GET");
	assert_int_equal(request.minor, 1);
	assert_string_equal(request.path, "/a b+c");
	assert_string_equal(request.host, "metadata");
	assert_string_equal(request.metadata, "true");
	assert_string_equal(request.metadata_flavor, "Google");
	assert_false(request.forwarded);
	assert_int_equal(request.count, 4);
	assert_string_equal(http_parameter(&request, "x"), "1 2+3");
	assert_string_equal(http_parameter(&request, "empty"), "");
	assert_string_equal(http_parameter(&request, "bare"), "");
	assert_string_equal(http_parameter(&request, "u"), "api://o:1/b");
	assert_null(http_parameter(&request, "X"));
	assert_null(http_repeated(&request));
	assert_null(parse("GET http://metadata:80/p?q=1 HTTP/1.0\nHost: elsewhere\nX-Forwarded-For:\n\n"));
	assert_int_equal(request.minor, 0);
	assert_string_equal(request.host, "metadata:80");
	assert_string_equal(request.path, "/p");
	assert_true(request.forwarded);
	assert_null(parse("GET HTTP://10.0.0.1?q=1 HTTP/1.1\r\n\r\n"));
	assert_string_equal(request.host, "10.0.0.1");
	assert_string_equal(request.path, "/");
	assert_string_equal(http_parameter(&request, "q"), "1");
	assert_null(parse("GET /?a=1&b=2&A=3 HTTP/1.1\r\n\r\n"));
	assert_string_equal(http_repeated(&request), "a");
	assert_null(parse("GET /?&& HTTP/1.1\r\n\r\n"));
	assert_int_equal(request.count, 0);
	assert_null(request.host);
}

static void test_no_request(void **state)
{
	static const char *const cases[] = {
		"\r\n\r\n",
		"GET\r\n\r\n",
		"GET /\r\n\r\n",
		" / HTTP/1.1\r\n\r\n",
		"GE(T / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.2\r\n\r\n",
		"GET / HTTP/2\r\n\r\n",
		"GET / HTTP/1.10\r\n\r\n",
		"GET /  HTTP/1.1\r\n\r\n",
		"GET / x HTTP/1.1\r\n\r\n",
		"GET metadata/ HTTP/1.1\r\n\r\n",
		"GET https://metadata/ HTTP/1.1\r\n\r\n",
		"GET * HTTP/1.1\r\n\r\n",
		"GET /a#b HTTP/1.1\r\n\r\n",
		"GET /%zz HTTP/1.1\r\n\r\n",
		"GET /%4 HTTP/1.1\r\n\r\n",
		"GET /%00 HTTP/1.1\r\n\r\n",
		"GET /%0d%0aX HTTP/1.1\r\n\r\n",
		"GET /?a=%7f HTTP/1.1\r\n\r\n",
		"GET /?a=% HTTP/1.1\r\n\r\n",
		"GET /?%=a HTTP/1.1\r\n\r\n",
		"GET /?a=\t HTTP/1.1\r\n\r\n",
		"GET /?1&2&3&4&5&6&7&8&9&10&11&12&13&14&15&16&17 HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nno colon\r\n\r\n",
		"GET / HTTP/1.1\r\n: empty\r\n\r\n",
		"GET / HTTP/1.1\r\nMetadata : true\r\n\r\n",
		"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
		"GET / HTTP/1.1\r\nMetadata: true\r\nmetadata: true\r\n\r\n",
		"GET / HTTP/1.1\r\nMetadata-Flavor: Google\r\nMetadata-Flavor: Google\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: metadata\r\nhost: metadata\r\n\r\n",
	};
	static const char nul[] = "GET / HTTP/1.1\r\nA: \0\r\n\r\n";

	(void)state;
	for (size_t i = 0; i < LENGTH(cases); i++)
		if (!parse(cases[i]))
			fail_msg("taken: %s", cases[i]);
	memcpy(head, nul, sizeof(nul));
	assert_non_null(http_parse(head, sizeof(nul) - 1, &request));
}

static void test_host(void **state)
{
	static const struct {
		const char *host;
		bool ours;
	} cases[] = {
		{ "169.254.169.254", true },
		{ "169.254.169.254:80", true },
		{ "127.0.0.1:254", true },
		{ "metadata", true },
		{ "Metadata.Google.Internal.:80", true },
		{ "localhost:8080", true },
		{ "evil.example", false },
		{ "metadata.evil.example", false },
		{ "evil-metadata", false },
		{ "169.254.169.254.evil.example", false },
		{ "me@metadata", false },
		{ "", false },
		{ ":80", false },
		{ "[::1]:80", false },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(cases); i++) {
		memset(&request, 0, sizeof(request));
		request.host = cases[i].host;
		if (http_host_is_ours(&request) != cases[i].ours)
			fail_msg("%s", cases[i].host);
	}
	request.host = NULL;
	assert_true(http_host_is_ours(&request));
}

/* Whatever comes, it is taken apart or refused, and what is pointed to is text within the head. */
static void test_mutations(void **state)
{
	static const char whole[] =
		"GET http://metadata/metadata/identity/oauth2/token?api-version=1&resource=api%3A%2F%2Forders&client_id=a+b HTTP/1.1\r\n"
		"Host: metadata\r\nMetadata: true\r\nMetadata-Flavor: Google\r\nX-Forwarded-For: 1\r\n\r\n";
	static const char alphabet[] = " \t\r\n:/?&=%#+.0aG\0\x7f\xff";
	unsigned int taken = 0;

	(void)state;
	srand(1);
	for (int i = 0; i < 100000; i++) {
		char text[sizeof(whole)], *exact;
		size_t length;

		memcpy(text, whole, sizeof(whole));
		for (int n = rand() % 4; n >= 0; n--)
			text[(size_t)rand() % (sizeof(whole) - 1)] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
		length = http_head_length(text, sizeof(whole) - 1);
		if (!length)
			continue;
		/* Of its very size, so that a sanitizer sees a step beyond it. */
		exact = malloc(length + 1);
		assert_non_null(exact);
		memcpy(exact, text, length);
		exact[length] = 0;
		if (!http_parse(exact, length, &request)) {
			taken++;
			assert_true(request.path >= exact || strcmp(request.path, "/") == 0);
			for (size_t j = 0; j < request.count; j++)
				assert_true(request.parameter[j].name >= exact && request.parameter[j].name < exact + length);
			http_host_is_ours(&request);
			http_repeated(&request);
		}
		free(exact);
	}
	assert_true(taken > 1000 && taken < 99000);
}

/* --- the services ------------------------------------------------------------------------ */

static struct question question;
static struct http_answer answer;
static char body[4096];

/* Returns true when the broker is to be asked; else the answer is there. */
static bool take(const char *text)
{
	const struct service *service;
	bool asks;

	assert_null(parse(text));
	service = service_of(&request);
	assert_non_null(service);
	memset(&question, 0, sizeof(question));
	memset(&answer, 0, sizeof(answer));
	buffer_init(&answer.body, HTTP_BODY_MAX);
	asks = service->take(&request, &question, &answer);
	snprintf(body, sizeof(body), "%.*s", (int)answer.body.length, answer.body.data ? (const char *)answer.body.data : "");
	buffer_free(&answer.body);
	question.service = service;
	return asks;
}

static void give(const struct reply *reply)
{
	memset(&answer, 0, sizeof(answer));
	buffer_init(&answer.body, HTTP_BODY_MAX);
	service_answer(&question, reply, 1000, &answer);
	snprintf(body, sizeof(body), "%.*s", (int)answer.body.length, (const char *)answer.body.data);
	buffer_free(&answer.body);
}

static void test_whose(void **state)
{
	static const struct {
		const char *path;
		const struct service *service;
	} cases[] = {
		{ "/metadata/instance", &azure_service },
		{ "/METADATA/x", &azure_service },
		{ "/metadata", NULL },
		{ "/metadatax/", NULL },
		{ "/", &google_service },
		{ "/computeMetadata", &google_service },
		{ "/computeMetadata/v1/", &google_service },
		{ "/computemetadata/v1/", NULL },
		{ "/computeMetadatax", NULL },
		{ "/latest/meta-data/", NULL },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(cases); i++) {
		request.path = cases[i].path;
		assert_ptr_equal(service_of(&request), cases[i].service);
	}
}

static void test_azure_question(void **state)
{
	static const char *const paths[] = { "/metadata/identity/oauth2/token", "/metadata/identity/oauth2/token/",
		"/Metadata/Identity/OAuth2/Token" };
	char text[512];

	(void)state;
	for (size_t i = 0; i < LENGTH(paths); i++) {
		snprintf(text, sizeof(text),
			"GET %s?client_id=5f3a&resource=api%%3A%%2F%%2Fa+b&api-version=2018-02-01 HTTP/1.1\r\n" HOST
			"Metadata: true\r\n\r\n",
			paths[i]);
		assert_true(take(text));
		assert_int_equal(question.kind, KEYFOB_KIND_ACCESS);
		assert_string_equal(question.resource, "api://a b");
		assert_string_equal(question.client_id, "5f3a");
	}
	assert_true(take(AZURE " HTTP/1.0\r\nMetadata: true\r\n\r\n"));
	assert_string_equal(question.client_id, "");
}

static void test_azure_refusals(void **state)
{
	static const struct {
		const char *text;
		int status;
		const char *says;
	} cases[] = {
		{ AZURE " HTTP/1.1\r\n" HOST "\r\n", 400,
			"{\"error\":\"invalid_request\",\"error_description\":\"Required metadata header not specified\"}" },
		{ AZURE " HTTP/1.1\r\n" HOST "Metadata: True\r\n\r\n", 400, "Required metadata header" },
		{ AZURE " HTTP/1.1\r\n" HOST "Metadata:\r\n\r\n", 400, "Required metadata header" },
		{ AZURE " HTTP/1.1\r\n" HOST "Metadata: true\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", 400, "X-Forwarded-For" },
		{ AZURE " HTTP/1.1\r\n" HOST "Metadata: true\r\nx-forwarded-for:\r\n\r\n", 400, "X-Forwarded-For" },
		{ AZURE " HTTP/1.1\r\nHost: evil.example\r\nMetadata: true\r\n\r\n", 403, "another host" },
		{ AZURE "&resource=x HTTP/1.1\r\n" HOST "Metadata: true\r\n\r\n", 400, "more than once" },
		{ AZURE "&api-version=x HTTP/1.1\r\n" HOST "Metadata: true\r\n\r\n", 400, "more than once" },
		{ AZURE "&object_id=1 HTTP/1.1\r\n" HOST "Metadata: true\r\n\r\n", 400, "client_id" },
		{ AZURE "&msi_res_id=1 HTTP/1.1\r\n" HOST "Metadata: true\r\n\r\n", 400, "client_id" },
		{ AZURE "&mi_res_id=1 HTTP/1.1\r\n" HOST "Metadata: true\r\n\r\n", 400, "client_id" },
		{ "GET /metadata/identity/oauth2/token?resource=x HTTP/1.1\r\nMetadata: true\r\n\r\n", 400,
			"\"newest-versions\":[\"2021-02-01\"" },
		{ "GET /metadata/identity/oauth2/token?api-version=2018-02-01 HTTP/1.1\r\nMetadata: true\r\n\r\n", 400,
			"'resource' is missing" },
		{ "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource= HTTP/1.1\r\nMetadata: true\r\n\r\n", 400,
			"'resource' is missing" },
		{ "POST /metadata/identity/oauth2/token?api-version=2018-02-01&resource=x HTTP/1.1\r\nMetadata: true\r\n\r\n", 405,
			"only GET" },
		{ "HEAD /metadata/identity/oauth2/token?api-version=2018-02-01&resource=x HTTP/1.1\r\nMetadata: true\r\n\r\n", 405,
			"only GET" },
		{ "get /metadata/identity/oauth2/token?api-version=2018-02-01&resource=x HTTP/1.1\r\nMetadata: true\r\n\r\n", 405,
			"only GET" },
		{ "GET /metadata/instance?api-version=2021-02-01 HTTP/1.1\r\nMetadata: true\r\n\r\n", 404, "not_found" },
		{ "GET /metadata/identity/oauth2/token//?api-version=1&resource=x HTTP/1.1\r\nMetadata: true\r\n\r\n", 404, "not_found" },
		{ "GET /metadata/identity/oauth2/tokens?api-version=1&resource=x HTTP/1.1\r\nMetadata: true\r\n\r\n", 404, "not_found" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(cases); i++) {
		json_t *json;

		if (take(cases[i].text) || answer.status != cases[i].status || !strstr(body, cases[i].says))
			fail_msg("%s gave %d %s", cases[i].text, answer.status, body);
		json = json_loads(body, 0, NULL);
		assert_non_null(json);
		json_decref(json);
	}
}

static void test_azure_token(void **state)
{
	static const char *const members[][2] = { { "access_token", "a\"b" }, { "client_id", "" }, { "expires_in", "234" },
		{ "expires_on", "1234" }, { "ext_expires_in", "234" }, { "not_before", "1000" }, { "resource", "api://orders" },
		{ "token_type", "Bearer" } };
	const struct reply reply = { .token = "a\"b", .expires = 1234, .credential = "atlas", .fingerprint = "01234567" };
	json_t *json;

	(void)state;
	assert_true(take(AZURE " HTTP/1.1\r\nMetadata: true\r\n\r\n"));
	give(&reply);
	assert_int_equal(answer.status, 200);
	json = json_loads(body, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(json);
	assert_int_equal(json_object_size(json), LENGTH(members));
	for (size_t i = 0; i < LENGTH(members); i++)
		assert_string_equal(json_string_value(json_object_get(json, members[i][0])), members[i][1]);
	json_decref(json);
	/* One that ended while it came. */
	give(&(struct reply){ .token = "t", .expires = 999 });
	assert_non_null(strstr(body, "\"expires_in\":\"0\""));
}

static void test_errors(void **state)
{
	static const struct {
		int error, azure, google;
		const char *word;
	} cases[] = {
		{ KEYFOB_ENOCRED, 400, 404, "invalid_request" },
		{ KEYFOB_EDENIED, 400, 404, "invalid_request" },
		{ KEYFOB_EINVAL, 400, 404, "invalid_request" },
		{ KEYFOB_EPROVIDER, 400, 400, "invalid_request" },
		{ KEYFOB_EAGAIN, 503, 503, "temporarily_unavailable" },
		{ KEYFOB_EBROKER, 503, 503, "temporarily_unavailable" },
		{ KEYFOB_EFAIL, 503, 503, "temporarily_unavailable" },
	};
	char none[4096] = "";

	(void)state;
	for (size_t i = 0; i < LENGTH(cases); i++) {
		const struct reply reply = { .error = cases[i].error, .retry = 7, .text = "the \"broker's\" words\n" };
		bool hidden = cases[i].error == KEYFOB_ENOCRED || cases[i].error == KEYFOB_EDENIED;
		json_t *json;

		assert_true(take("GET " GOOGLE "/identity?audience=api://orders HTTP/1.1\r\n" FLAVOR "\r\n"));
		give(&reply);
		assert_int_equal(answer.status, cases[i].google);
		assert_true(take(AZURE "&client_id=5f3a HTTP/1.1\r\nMetadata: true\r\n\r\n"));
		give(&reply);
		assert_int_equal(answer.status, cases[i].azure);
		assert_int_equal(answer.retry_after, cases[i].azure == 503 ? 7 : 0);
		json = json_loads(body, 0, NULL);
		assert_non_null(json);
		assert_string_equal(json_string_value(json_object_get(json, "error")), cases[i].word);
		assert_non_null(json_object_get(json, "error_description"));
		json_decref(json);
		assert_true((strstr(body, "words") == NULL) == hidden);
		if (!hidden)
			continue;
		/* Absent and denied are one. */
		assert_non_null(strstr(body, "no access token for this user here with the resource api://orders and client_id=5f3a"));
		assert_true(!*none || strcmp(none, body) == 0);
		strcpy(none, body);
	}
}

static void test_google(void **state)
{
	static const struct {
		const char *text;
		int status;
		const char *says;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n\r\n", 200, "computeMetadata/\n" },
		{ "GET / HTTP/1.1\r\n" FLAVOR "\r\n", 200, "computeMetadata/\n" },
		{ "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "another host" },
		{ "GET /computeMetadata/v1/instance HTTP/1.1\r\n" FLAVOR "\r\n", 200, "service-accounts/\n" },
		{ "GET /computeMetadata/v1/instance/ HTTP/1.1\r\nmetadata-flavor: google\r\n\r\n", 200, "service-accounts/\n" },
		{ "GET /computeMetadata/v1/instance HTTP/1.1\r\n\r\n", 403, "Metadata-Flavor" },
		{ "GET /computeMetadata/v1/instance HTTP/1.1\r\nMetadata-Flavor: Goggle\r\n\r\n", 403, "Metadata-Flavor" },
		{ "GET " GOOGLE "/identity?audience=x HTTP/1.1\r\n\r\n", 403, "Metadata-Flavor" },
		{ "GET " GOOGLE "/identity?audience=x HTTP/1.1\r\n" FLAVOR "X-Forwarded-For: 1\r\n\r\n", 403, "X-Forwarded-For" },
		{ "GET " GOOGLE "/identity?audience=x&audience=y HTTP/1.1\r\n" FLAVOR "\r\n", 400, "more than once" },
		{ "GET " GOOGLE "/identity?audience= HTTP/1.1\r\n" FLAVOR "\r\n", 400, "non-empty audience" },
		{ "GET " GOOGLE "/identity HTTP/1.1\r\n" FLAVOR "\r\n", 400, "non-empty audience" },
		{ "POST " GOOGLE "/token HTTP/1.1\r\n" FLAVOR "\r\n", 405, "only GET" },
		{ "GET " GOOGLE "/email HTTP/1.1\r\n" FLAVOR "\r\n", 200, "default" },
		{ "GET " GOOGLE "/aliases HTTP/1.1\r\n" FLAVOR "\r\n", 200, "default" },
		{ "GET " GOOGLE "/scopes HTTP/1.1\r\n" FLAVOR "\r\n", 200, "cloud-platform" },
		{ "GET " GOOGLE "/?recursive=true HTTP/1.1\r\n" FLAVOR "\r\n", 200, "{\"aliases\":[\"default\"],\"email\":\"default\"" },
		{ "GET " GOOGLE "/ HTTP/1.1\r\n" FLAVOR "\r\n", 200, "token\n" },
		{ "GET /computeMetadata/v1/instance/service-accounts/other/token HTTP/1.1\r\n" FLAVOR "\r\n", 404, "default alone" },
		{ "GET /computeMetadata/v1/universe/universe-domain HTTP/1.1\r\n" FLAVOR "\r\n", 404, "default alone" },
		{ "GET /computeMetadata/v1/project/project-id HTTP/1.1\r\n" FLAVOR "\r\n", 404, "default alone" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(cases); i++)
		if (take(cases[i].text) || answer.status != cases[i].status || !strstr(body, cases[i].says))
			fail_msg("%s gave %d %s", cases[i].text, answer.status, body);
}

static void test_google_tokens(void **state)
{
	const struct reply reply = { .token = "a.b.c", .expires = 1100 };

	(void)state;
	assert_true(take("GET " GOOGLE "/identity?format=full&licenses=TRUE&audience=https://a%20b HTTP/1.1\r\n" FLAVOR "\r\n"));
	assert_int_equal(question.kind, KEYFOB_KIND_ID);
	assert_string_equal(question.resource, "https://a b");
	give(&reply);
	assert_int_equal(answer.status, 200);
	assert_string_equal(body, "a.b.c");
	assert_true(take("GET " GOOGLE "/token?scopes=a,b%2Cc HTTP/1.1\r\n" FLAVOR "\r\n"));
	assert_int_equal(question.kind, KEYFOB_KIND_ACCESS);
	assert_string_equal(question.resource, "a b c");
	give(&reply);
	assert_string_equal(body, "{\"access_token\":\"a.b.c\",\"expires_in\":100,\"token_type\":\"Bearer\"}");
	assert_true(take("GET " GOOGLE "/token HTTP/1.1\r\n" FLAVOR "\r\n"));
	assert_string_equal(question.resource, "");
}

static void test_too_long(void **state)
{
	char text[SERVICE_RESOURCE_MAX + 512], filler[SERVICE_RESOURCE_MAX + 2];

	(void)state;
	for (int more = 0; more <= 1; more++) {
		memset(filler, 'x', sizeof(filler));
		filler[SERVICE_RESOURCE_MAX + more] = 0;
		snprintf(text, sizeof(text),
			"GET /metadata/identity/oauth2/token?api-version=1&resource=%s HTTP/1.1\r\nMetadata: true\r\n\r\n", filler);
		assert_int_equal(take(text), !more);
		snprintf(text, sizeof(text), "GET " GOOGLE "/token?scopes=%s HTTP/1.1\r\n" FLAVOR "\r\n", filler);
		assert_int_equal(take(text), !more);
		snprintf(text, sizeof(text), "GET " GOOGLE "/identity?audience=%s HTTP/1.1\r\n" FLAVOR "\r\n", filler);
		assert_int_equal(take(text), !more);
		filler[SERVICE_CLIENT_ID_MAX + more] = 0;
		snprintf(text, sizeof(text), AZURE "&client_id=%s HTTP/1.1\r\nMetadata: true\r\n\r\n", filler);
		assert_int_equal(take(text), !more);
		assert_true(!more || answer.status == 400);
	}
}

static void put(const char *first, int status, unsigned int retry, bool google, struct buffer *out)
{
	struct http_answer a = { .status = status, .type = "text/plain", .retry_after = retry, .google = google };

	assert_null(parse(first));
	buffer_init(&a.body, 64);
	buffer_init(out, 4096);
	buffer_printf(&a.body, "hello");
	assert_true(http_put_answer(out, &request, &a));
	assert_non_null(buffer_cstring(out));
	buffer_free(&a.body);
}

static void test_answer(void **state)
{
	struct buffer out;

	(void)state;
	put("GET / HTTP/1.0\r\n\r\n", 200, 0, false, &out);
	assert_string_equal((char *)out.data,
		"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nCache-Control: no-store\r\n"
		"Connection: close\r\nServer: keyfob-metadata\r\n\r\nhello");
	buffer_free(&out);
	put("GET / HTTP/1.1\r\n\r\n", 503, 3, true, &out);
	assert_string_equal((char *)out.data,
		"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
		"Cache-Control: no-store\r\nConnection: close\r\nRetry-After: 3\r\nMetadata-Flavor: Google\r\n"
		"Server: Metadata Server for VM\r\n\r\nhello");
	buffer_free(&out);
	put("HEAD / HTTP/1.1\r\n\r\n", 405, 0, false, &out);
	assert_non_null(strstr((char *)out.data, "Allow: GET\r\n"));
	assert_null(strstr((char *)out.data, "hello"));
	buffer_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_no_request),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_whose),
		cmocka_unit_test(test_azure_question),
		cmocka_unit_test(test_azure_refusals),
		cmocka_unit_test(test_azure_token),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_google),
		cmocka_unit_test(test_google_tokens),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
