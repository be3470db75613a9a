/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the module jwks finds a key set and what it makes of all that may come
 * in its place.
 *
 * links: modules/jwks modules/discovery modules/http modules/json modules/report common/buffer
 * libs: libcurl jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/module-call.h"

#define KEYS "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"a\"}]}"
#define TOO_LARGE (5u << 20)

static char text[2][1024];

/* Two may be laid out at a time. */
static const char *answer(int which, const char *status, const char *headers, const char *body)
{
	snprintf(text[which], sizeof(text[which]), "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers, strlen(body), body);
	return text[which];
}

/* --- the set itself ------------------------------------------------------------------- */

static void ask(struct call *c, struct server *s, const char *etag, const char *reply, size_t length)
{
	call_init(c, KEYFOB_KIND_DOCUMENT, "");
	if (etag)
		call_set(c, "etag", etag);
	server_start(s, reply, length);
	snprintf(c->endpoint, sizeof(c->endpoint), "http://127.0.0.1:%d/keys?v=1", s->port);
	call_set(c, "jwks_uri", c->endpoint);
	call_obtain(c);
	server_stop(s);
}

static void check(const char *etag, const char *status, const char *headers, const char *body, enum keyfob_class class, const char *words)
{
	const char *reply = answer(0, status, headers, body);
	struct server s;
	struct call c;

	ask(&c, &s, etag, reply, strlen(reply));
	if (c.reply.class != class || c.reply.token || !strstr(c.reply.text, words))
		fail_msg("%s %s: class %d, '%s'", status, body, (int)c.reply.class, c.reply.text);
	assert_int_equal(atomic_load(&s.contacts), 1);
	call_free(&c);
}

static void test_set(void **state)
{
	const char *reply = answer(0, "200 OK", "Content-Type: text/plain\r\nETag: \"v1\"\r\nCache-Control: max-age=600\r\n", KEYS "\n");
	time_t before = time(NULL);
	struct server s;
	struct call c;

	(void)state;
	ask(&c, &s, NULL, reply, strlen(reply));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_int_equal(c.reply.length, strlen(KEYS "\n"));
	assert_memory_equal(c.reply.token, KEYS "\n", c.reply.length);
	assert_string_equal(c.reply.code, "\"v1\"");
	assert_in_range(c.reply.refresh, before + 600, time(NULL) + 600);
	assert_int_equal(c.reply.expires, 0);
	assert_non_null(strstr(s.request, "GET /keys?v=1 HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\nAccept: application/json\r\n"));
	assert_null(strstr(s.request, "If-None-Match"));
	call_free(&c);
	reply = answer(0, "200 OK", "", "{\"keys\":[],\"x\":1}");
	ask(&c, &s, "\"v1\"", reply, strlen(reply));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_string_equal(c.reply.code, "");
	assert_int_equal(c.reply.refresh, 0);
	assert_non_null(strstr(s.request, "\r\nIf-None-Match: \"v1\"\r\n"));
	call_free(&c);
}

static void test_not_modified(void **state)
{
	static const char silent[] = "HTTP/1.1 304 Not Modified\r\n\r\n";
	static const char other[] = "HTTP/1.1 304 Not Modified\r\nETag: W/\"v2\"\r\nCache-Control: max-age=60\r\n\r\n";
	time_t before = time(NULL);
	struct server s;
	struct call c;

	(void)state;
	ask(&c, &s, "\"v1\"", silent, strlen(silent));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_null(c.reply.token);
	assert_string_equal(c.reply.code, "\"v1\"");
	ask(&c, &s, "\"v1\"", other, strlen(other));
	assert_null(c.reply.token);
	assert_string_equal(c.reply.code, "W/\"v2\"");
	assert_in_range(c.reply.refresh, before + 60, time(NULL) + 60);
	/* Nobody had asked whether it changed. */
	ask(&c, &s, NULL, silent, strlen(silent));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_UNAVAILABLE);
}

static void test_wrong_answers(void **state)
{
	(void)state;
	check(NULL, "200 OK", "", "", KEYFOB_CLASS_TRANSIENT, "it is empty");
	check(NULL, "200 OK", "", "{\"keys\":[", KEYFOB_CLASS_TRANSIENT, "ends too early");
	check(NULL, "200 OK", "", "[]", KEYFOB_CLASS_TRANSIENT, "not a JSON object");
	check(NULL, "200 OK", "", "{\"keys\":[],\"keys\":[]}", KEYFOB_CLASS_TRANSIENT, "twice");
	check(NULL, "200 OK", "", KEYS "x", KEYFOB_CLASS_TRANSIENT, "follows the JSON");
	check(NULL, "200 OK", "", "{}", KEYFOB_CLASS_TRANSIENT, "no array \"keys\"");
	check(NULL, "200 OK", "", "{\"keys\":{}}", KEYFOB_CLASS_TRANSIENT, "no array \"keys\"; check jwks_uri=");
	check(NULL, "200 OK", "Content-Type: text/html\r\n", "<html>Sign in", KEYFOB_CLASS_UNAVAILABLE, "captive portal");
	check(NULL, "204 None", "", "", KEYFOB_CLASS_UNAVAILABLE, "the key set answered 204");
	check(NULL, "302 Found", "Location: http://127.0.0.1:1/\r\n", "", KEYFOB_CLASS_UNAVAILABLE, "never followed");
	check(NULL, "404 Not Found", "", "", KEYFOB_CLASS_CONFIG, "answered 404; check jwks_uri=");
	check(NULL, "403 No", "", "", KEYFOB_CLASS_CONFIG, "403");
	check(NULL, "500 Oops", "", "", KEYFOB_CLASS_TRANSIENT, "answered 500");
	check(NULL, "408 Slow", "", "", KEYFOB_CLASS_TRANSIENT, "408");
	check(NULL, "429 Slow", "Retry-After: 7\r\n", "", KEYFOB_CLASS_THROTTLED, "429");
	check("\"v1\"", "404 Not Found", "", "", KEYFOB_CLASS_CONFIG, "404");
}

/* Where no TLS is, nobody could look whose key it is: nobody is asked. */
static void test_pin_without_tls(void **state)
{
	const char *reply = answer(0, "200 OK", "", KEYS);
	struct server s;
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_DOCUMENT, "");
	call_set(&c, "pin", "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
	server_start(&s, reply, strlen(reply));
	snprintf(c.endpoint, sizeof(c.endpoint), "http://127.0.0.1:%d/keys", s.port);
	call_set(&c, "jwks_uri", c.endpoint);
	call_obtain(&c);
	server_stop(&s);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	assert_non_null(strstr(c.reply.text, "pin= is for https"));
	assert_int_equal(atomic_load(&s.contacts), 0);
	call_free(&c);
}

static void test_sizes(void **state)
{
	char *reply = malloc(TOO_LARGE + 200);
	struct server s;
	struct call c;
	int head;

	(void)state;
	assert_non_null(reply);
	for (size_t length = 256 << 10; length <= TOO_LARGE; length = length == 256 << 10 ? length + 1 : length * 2) {
		bool fits = length == 256 << 10;

		head = snprintf(reply, 200, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n{\"keys\":[],\"x\":\"", length);
		head -= 16;
		memset(reply + head + 16, 'x', length - 18);
		memcpy(reply + (size_t)head + length - 2, "\"}", 2);
		ask(&c, &s, NULL, reply, (size_t)head + length);
		if (c.reply.class != (fits ? KEYFOB_CLASS_OK : KEYFOB_CLASS_TRANSIENT))
			fail_msg("%zu bytes: class %d, '%s'", length, (int)c.reply.class, c.reply.text);
		assert_int_equal(c.reply.length, fits ? length : 0);
		if (!fits)
			assert_non_null(strstr(c.reply.text, "longer than 256 KiB"));
		call_free(&c);
	}
	free(reply);
}

static void test_silence(void **state)
{
	static const char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"keys\":[]}";
	struct server s;
	struct call c;
	int port, fd;

	(void)state;
	ask(&c, &s, NULL, cut, strlen(cut));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_TRANSIENT);
	assert_non_null(strstr(c.reply.text, "broke off"));
	call_init(&c, KEYFOB_KIND_DOCUMENT, "");
	c.request.timeout = 1;
	server_start(&s, NULL, 0);
	snprintf(c.endpoint, sizeof(c.endpoint), "http://127.0.0.1:%d/keys", s.port);
	call_set(&c, "jwks_uri", c.endpoint);
	call_obtain(&c);
	server_stop(&s);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_UNAVAILABLE);
	assert_non_null(strstr(c.reply.text, "within 1 s"));
	fd = server_bind(&port);
	snprintf(c.endpoint, sizeof(c.endpoint), "http://127.0.0.1:%d/keys", port);
	call_obtain(&c);
	close(fd);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_UNAVAILABLE);
	assert_non_null(strstr(c.reply.text, "refused"));
}

/* --- discovery ------------------------------------------------------------------------ */

/* One server says where the set is, another has it. NULL stands for what is right. */
struct discovery {
	const char *issuer_end; /* of the configured one */
	const char *issuer; /* what the document says */
	const char *keys; /* the URL it names */
	const char *path; /* that discovery is asked for */
	bool elsewhere; /* discovery_url */
};

static void discover(const struct discovery *d, enum keyfob_class class, const char *words)
{
	struct server discovery, keys;
	char issuer[200], body[600], url[100], there[100];
	struct call c;

	server_start(&keys, answer(0, "200 OK", "ETag: \"v1\"\r\n", KEYS), 0);
	keys.length = strlen(keys.reply);
	server_start(&discovery, NULL, 0);
	snprintf(issuer, sizeof(issuer), "http://127.0.0.1:%d/t%s", discovery.port, d->issuer_end ? d->issuer_end : "");
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/k", keys.port);
	snprintf(there, sizeof(there), "http://127.0.0.1:%d%s", discovery.port, d->path);
	snprintf(body, sizeof(body), "{\"issuer\":\"%s\",\"jwks_uri\":\"%s\"}", d->issuer ? d->issuer : issuer, d->keys ? d->keys : url);
	discovery.reply = answer(1, "200 OK", "", body);
	discovery.length = strlen(discovery.reply);
	call_init(&c, KEYFOB_KIND_DOCUMENT, "");
	call_set(&c, "issuer", issuer);
	if (d->elsewhere)
		call_set(&c, "discovery_url", there);
	call_obtain(&c);
	server_stop(&discovery);
	server_stop(&keys);
	if (c.reply.class != class || !strstr(c.reply.text, words))
		fail_msg("%s: class %d, '%s'", body, (int)c.reply.class, c.reply.text);
	assert_int_equal(atomic_load(&keys.contacts), class == KEYFOB_CLASS_OK);
	assert_int_equal(strncmp(discovery.request + 4, d->path, strlen(d->path)), 0);
	assert_int_equal(discovery.request[4 + strlen(d->path)], ' ');
	if (class == KEYFOB_CLASS_OK) {
		assert_int_equal(c.reply.length, strlen(KEYS));
		assert_string_equal(c.reply.code, "\"v1\"");
		assert_non_null(strstr(keys.request, "GET /k HTTP"));
	}
	call_free(&c);
}

#define PATH "/.well-known/openid-configuration"

static void test_discovery(void **state)
{
	(void)state;
	discover(&(struct discovery){ .path = "/t" PATH }, KEYFOB_CLASS_OK, "");
	/* One slash is taken off, and no more. */
	discover(&(struct discovery){ .issuer_end = "/", .path = "/t" PATH }, KEYFOB_CLASS_OK, "");
	discover(&(struct discovery){ .issuer_end = "//", .path = "/t/" PATH }, KEYFOB_CLASS_OK, "");
	discover(&(struct discovery){ .path = "/elsewhere?x=1", .elsewhere = true }, KEYFOB_CLASS_OK, "");
	discover(&(struct discovery){ .issuer = "http://127.0.0.1/t", .path = "/t" PATH }, KEYFOB_CLASS_CONFIG,
		"discovery names the issuer http://127.0.0.1/t");
	discover(&(struct discovery){ .issuer = "https://other", .path = "/elsewhere", .elsewhere = true }, KEYFOB_CLASS_CONFIG,
		"discovery names the issuer https://other");
	discover(&(struct discovery){ .issuer = "", .path = "/t" PATH }, KEYFOB_CLASS_CONFIG, "the issuer nobody");
	discover(&(struct discovery){ .keys = "", .path = "/t" PATH }, KEYFOB_CLASS_CONFIG, "names no jwks_uri; set jwks_uri=");
	discover(&(struct discovery){ .keys = "http://192.0.2.1/k", .path = "/t" PATH }, KEYFOB_CLASS_CONFIG,
		"the jwks_uri that discovery names must be an https:// URL");
	discover(&(struct discovery){ .keys = "file:///etc/passwd", .path = "/t" PATH }, KEYFOB_CLASS_CONFIG, "https://");
	discover(&(struct discovery){ .keys = "http://127.0.0.1@192.0.2.1/k", .path = "/t" PATH }, KEYFOB_CLASS_CONFIG, "https://");
}

/* Google's documents and tokens name it with the scheme and without. */
static void test_google(void **state)
{
	static const char *const issuers[] = { "https://accounts.google.com", "accounts.google.com" };
	const char *reply;
	struct server s;
	struct call c;
	char body[200];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		snprintf(body, sizeof(body), "{\"issuer\":\"%s\",\"keys\":[],\"jwks_uri\":\"https://www.googleapis.com/oauth2/v3/certs\"}",
			issuers[i / 2]);
		reply = answer(0, "200 OK", "", body);
		call_init(&c, KEYFOB_KIND_DOCUMENT, "");
		call_set(&c, "issuer", issuers[i % 2]);
		/* endpoint= leads both requests to the one server, whose answer serves as both. */
		call_against(&c, &s, reply);
		assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
		assert_int_equal(atomic_load(&s.contacts), 2);
		assert_non_null(strstr(s.request, "GET /oauth2/v3/certs HTTP"));
		assert_non_null(strstr(call_told, PATH));
		call_free(&c);
	}
	reply = answer(0, "200 OK", "", "{\"issuer\":\"accounts.google.com\",\"jwks_uri\":\"https://x/\"}");
	call_init(&c, KEYFOB_KIND_DOCUMENT, "");
	call_set(&c, "issuer", "https://accounts.google.com/");
	call_against(&c, &s, reply);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
}

#define FROM_FAR(uri) "{\"issuer\":\"https://login.example.com/t\",\"jwks_uri\":\"" uri "\"}"

static void test_discovery_faults(void **state)
{
	static const struct {
		const char *status, *headers, *body;
		enum keyfob_class class;
		const char *words;
	} rows[] = {
		{ "404 No", "", "", KEYFOB_CLASS_CONFIG, "discovery answered 404; check issuer=, or set jwks_uri=" },
		{ "500 Oops", "", "", KEYFOB_CLASS_TRANSIENT, "discovery answered 500" },
		{ "301 Moved", "Location: https://x/\r\n", "", KEYFOB_CLASS_UNAVAILABLE, "never followed" },
		{ "429 Slow", "", "", KEYFOB_CLASS_THROTTLED, "429" },
		{ "200 OK", "Content-Type: text/html\r\n", "<html>", KEYFOB_CLASS_UNAVAILABLE, "web page" },
		{ "200 OK", "", "{\"issuer\":", KEYFOB_CLASS_TRANSIENT, "no usable JSON" },
		/* endpoint= stands for a server elsewhere, which must not choose among the services of this host. */
		{ "200 OK", "", FROM_FAR("http://127.0.0.1:1/k"), KEYFOB_CLASS_CONFIG, "leads to this host itself; set jwks_uri=" },
		{ "200 OK", "", FROM_FAR("http://localhost:1/k"), KEYFOB_CLASS_CONFIG, "leads to this host itself" },
		{ "200 OK", "", FROM_FAR("https://127.1.2.3/k"), KEYFOB_CLASS_CONFIG, "leads to this host itself" },
		{ "200 OK", "", FROM_FAR("https://[::1]/k"), KEYFOB_CLASS_CONFIG, "leads to this host itself" },
	};
	struct server s;
	struct call c;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		call_init(&c, KEYFOB_KIND_DOCUMENT, "");
		call_set(&c, "issuer", "https://login.example.com/t");
		call_against(&c, &s, answer(0, rows[i].status, rows[i].headers, rows[i].body));
		if (c.reply.class != rows[i].class || !strstr(c.reply.text, rows[i].words))
			fail_msg("%s: class %d, '%s'", rows[i].status, (int)c.reply.class, c.reply.text);
		assert_int_equal(atomic_load(&s.contacts), 1);
	}
}

/* --- settings ------------------------------------------------------------------------- */

static void check_config(const char *name, const char *value, const char *words)
{
	struct call c;

	call_init(&c, KEYFOB_KIND_DOCUMENT, "");
	if (name)
		call_set(&c, name, value);
	if (!name || strcmp(name, "etag") == 0)
		call_set(&c, "discovery_url", "http://127.0.0.1:1/x");
	call_obtain(&c);
	if (c.reply.class != KEYFOB_CLASS_CONFIG || !strstr(c.reply.text, words))
		fail_msg("%s=%s: class %d, '%s'", name, value, (int)c.reply.class, c.reply.text);
}

static void test_configuration(void **state)
{
	char long_issuer[3000] = "https://";

	(void)state;
	memset(long_issuer + 8, 'x', sizeof(long_issuer) - 9);
	check_config(NULL, NULL, "issuer=, or jwks_uri=");
	check_config("issuer", "http://login.example.com", "issuer= must be an https:// URL");
	check_config("issuer", "login.example.com", "https://");
	check_config("issuer", long_issuer, "https://");
	check_config("jwks_uri", "http://login.example.com/keys", "jwks_uri= must be an https:// URL");
	check_config("jwks_uri", "https://login.example.com/keys#x", "https://");
	check_config("etag", "\"a\r\nX: y\"", "etag=");
	check_config("etag", "abc", "etag=");
	check_config("etag", "\"0123456789012345678901234567890123456789012345678901234567890123\"", "etag=");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_not_modified),
		cmocka_unit_test(test_wrong_answers),
		cmocka_unit_test(test_pin_without_tls),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_discovery),
		cmocka_unit_test(test_google),
		cmocka_unit_test(test_discovery_faults),
		cmocka_unit_test(test_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
