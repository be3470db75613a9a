/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The oauth2 module, and through it what modules/token-endpoint makes of a reply.
 *
 * links: modules/oauth2 modules/discovery modules/token-endpoint modules/assertion modules/http modules/expiry modules/json modules/report common/buffer
 * libs: libcurl libcrypto jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/pem.h>

#include "tests/unit/module-call.h"

#define SECRET "~+/ &=%s3cret-value-0123456789"
#define ENCODED "~%2B%2F%20%26%3D%25s3cret-value-0123456789"
#define GOOD "{\"access_token\":\"opaque-1\",\"token_type\":\"bearer\",\"expires_in\":3599}"

static char key_pem[4096], ec_pem[1024];

static const char *answer(const char *status, const char *headers, const char *body)
{
	static char text[4][8192];
	static int at;

	at = (at + 1) % 4;
	snprintf(text[at], sizeof(text[at]), "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers, strlen(body), body);
	return text[at];
}

/* The first call to obtain() ends before there is a secret when name is NULL. */
static void set_secret(struct call *c, struct keyfob_secret *secret, const char *name, const char *value)
{
	*secret = (struct keyfob_secret){ name, value, strlen(value) };
	c->request.secrets = secret;
	c->request.secret_count = 1;
}

static void ask(struct call *c, struct server *s, const char *reply)
{
	server_start(s, reply, strlen(reply));
	snprintf(c->endpoint, sizeof(c->endpoint), "http://127.0.0.1:%d/t/token?p=1", s->port);
	call_set(c, "token_endpoint", c->endpoint);
	call_obtain(c);
	server_stop(s);
}

static const char *body_of(const struct server *s)
{
	return strstr(s->request, "\r\n\r\n") + 4;
}

static void test_secret_post(void **state)
{
	struct keyfob_secret secret;
	time_t before = time(NULL);
	struct server s;
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_ACCESS, "https://orders/x y");
	call_set(&c, "client_id", "me & you");
	call_set(&c, "auth", "secret_post");
	call_set(&c, "scope", "a b");
	set_secret(&c, &secret, "secret_file", SECRET "\r\n");
	ask(&c, &s, answer("200 OK", "", GOOD));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_string_equal(c.reply.token, "opaque-1");
	assert_in_range(c.reply.expires, before + 3599, time(NULL) + 3599);
	call_free(&c);
	assert_non_null(strstr(s.request, "POST /t/token?p=1 HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\nAccept: application/json\r\n"));
	assert_null(strstr(s.request, "\r\nAuthorization:"));
	assert_string_equal(body_of(&s), "grant_type=client_credentials&scope=a%20b&resource=https%3A%2F%2Forders%2Fx%20y"
					 "&client_id=me%20%26%20you&client_secret=" ENCODED);
	assert_null(strstr(call_told, "s3cret"));
}

static void test_secret_basic(void **state)
{
	/* base64 of the two, each form-encoded */
	static const char basic[] = "bWUlMjAlMjYlMjB5b3U6fiUyQiUyRiUyMCUyNiUzRCUyNXMzY3JldC12YWx1ZS0wMTIzNDU2Nzg5";
	struct keyfob_secret secret;
	struct server s;
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_ACCESS, "");
	call_set(&c, "client_id", "me & you");
	call_set(&c, "audience", "orders");
	set_secret(&c, &secret, "secret_file", SECRET);
	ask(&c, &s, answer("200 OK", "", GOOD));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	call_free(&c);
	assert_non_null(strstr(s.request, basic));
	assert_non_null(strstr(s.request, "\r\nAuthorization: Basic "));
	assert_string_equal(body_of(&s), "grant_type=client_credentials&audience=orders");
	assert_non_null(strstr(call_told, "> Authorization\n"));
	assert_null(strstr(call_told, "Basic"));
}

static void test_private_key_jwt(void **state)
{
	static const struct {
		const char *pem, *alg, *header;
	} rows[] = {
		{ key_pem, NULL, "eyJraWQiOiJrMSIsImFsZyI6IlJTMjU2IiwidHlwIjoiSldUIn0." },
		{ key_pem, "PS256", "eyJraWQiOiJrMSIsImFsZyI6IlBTMjU2IiwidHlwIjoiSldUIn0." },
		{ ec_pem, NULL, "eyJraWQiOiJrMSIsImFsZyI6IkVTMjU2IiwidHlwIjoiSldUIn0." },
	};
	struct keyfob_secret secret;
	struct server s;
	struct call c;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char assertion[100];

		call_init(&c, KEYFOB_KIND_ACCESS, "orders");
		call_set(&c, "client_id", "me");
		call_set(&c, "key_id", "k1");
		call_set(&c, "resource_parameter", "audience");
		if (rows[i].alg)
			call_set(&c, "alg", rows[i].alg);
		set_secret(&c, &secret, "key_file", rows[i].pem);
		ask(&c, &s, answer("200 OK", "", GOOD));
		assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
		call_free(&c);
		snprintf(assertion, sizeof(assertion), "client_assertion=%s", rows[i].header);
		assert_non_null(
			strstr(body_of(&s), "grant_type=client_credentials&audience=orders&client_id=me"
					    "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&"));
		assert_non_null(strstr(body_of(&s), assertion));
		assert_null(strstr(call_told, "eyJ"));
	}
}

static void check(enum keyfob_kind kind, const char *status, const char *headers, const char *body, enum keyfob_class class,
	unsigned int retry, const char *words)
{
	struct keyfob_secret secret;
	struct server s;
	struct call c;

	call_init(&c, kind, "x");
	call_set(&c, "client_id", "me");
	set_secret(&c, &secret, "secret_file", SECRET);
	ask(&c, &s, answer(status, headers, body));
	if (c.reply.class != class || c.reply.retry_after != retry || c.reply.token || !strstr(c.reply.text, words) ||
		strstr(c.reply.text, "eyJ") || strstr(c.reply.text, "s3cret") || strstr(call_told, "s3cret"))
		fail_msg("%s %s: class %d, retry %u, '%s'", status, body, (int)c.reply.class, c.reply.retry_after, c.reply.text);
	assert_int_equal(atomic_load(&s.contacts), 1);
}

static void check_error(const char *status, const char *code, enum keyfob_class class, unsigned int retry)
{
	char body[200];

	snprintf(body, sizeof(body), "{\"error\":\"%s\",\"error_description\":\"the reason\"}", code);
	check(KEYFOB_KIND_ACCESS, status, "", body, class, retry, ": the reason");
}

static void test_errors(void **state)
{
	(void)state;
	check_error("401 No", "invalid_client", KEYFOB_CLASS_PERMANENT, 0);
	check_error("400 Bad", "unauthorized_client", KEYFOB_CLASS_PERMANENT, 0);
	check_error("400 Bad", "invalid_scope", KEYFOB_CLASS_PERMANENT, 0);
	check_error("400 Bad", "invalid_target", KEYFOB_CLASS_PERMANENT, 0);
	check_error("400 Bad", "unsupported_grant_type", KEYFOB_CLASS_CONFIG, 0);
	check_error("400 Bad", "anything_else", KEYFOB_CLASS_PERMANENT, 0);
	check_error("400 Bad", "temporarily_unavailable", KEYFOB_CLASS_TRANSIENT, 0);
	check_error("400 Bad", "slow_down", KEYFOB_CLASS_THROTTLED, 60);
	check_error("500 Oops", "server_error", KEYFOB_CLASS_TRANSIENT, 0);
	/* A proxy's 502 is no verdict about the client, whatever it says. */
	check_error("502 Bad Gateway", "invalid_client", KEYFOB_CLASS_TRANSIENT, 0);
	check_error("408 Timeout", "invalid_client", KEYFOB_CLASS_TRANSIENT, 0);
	check_error("429 Slow", "invalid_client", KEYFOB_CLASS_THROTTLED, 60);
	check_error("429 Slow", "server_error", KEYFOB_CLASS_THROTTLED, 60);
	check_error("429 Slow", "x", KEYFOB_CLASS_THROTTLED, 60);
	check_error("408 Timeout", "x", KEYFOB_CLASS_TRANSIENT, 0);
	check_error("404 Not Found", "x", KEYFOB_CLASS_CONFIG, 0);
	check_error("200 OK", "invalid_client", KEYFOB_CLASS_PERMANENT, 0);
	check(KEYFOB_KIND_ACCESS, "429 Slow", "Retry-After: 9\r\n", "", KEYFOB_CLASS_THROTTLED, 9, "429");
	check(KEYFOB_KIND_ACCESS, "302 Found", "Location: http://127.0.0.1:1/\r\n", "", KEYFOB_CLASS_UNAVAILABLE, 0, "never followed");
	check(KEYFOB_KIND_ACCESS, "407 Proxy", "", "", KEYFOB_CLASS_CONFIG, 0, "proxy=");
	check(KEYFOB_KIND_ACCESS, "401 No", "",
		"{\"error\":\"invalid_client\",\"error_description\":\"x\",\"trace_id\":\"t-1\",\"correlation_id\":\"c-2\"}",
		KEYFOB_CLASS_PERMANENT, 0, "(trace_id t-1, correlation_id c-2)");
}

static void test_wrong_answers(void **state)
{
	(void)state;
	check(KEYFOB_KIND_ACCESS, "200 OK", "Content-Type: text/html; charset=utf-8\r\n", "<html>Sign in", KEYFOB_CLASS_UNAVAILABLE, 0,
		"captive portal");
	check(KEYFOB_KIND_ACCESS, "200 OK", "", "", KEYFOB_CLASS_TRANSIENT, 0, "empty");
	check(KEYFOB_KIND_ACCESS, "200 OK", "", "{\"access_token\":\"eyJ", KEYFOB_CLASS_TRANSIENT, 0, "no usable JSON");
	check(KEYFOB_KIND_ACCESS, "200 OK", "", "{}", KEYFOB_CLASS_TRANSIENT, 0, "no access_token");
	check(KEYFOB_KIND_ACCESS, "200 OK", "", "{\"access_token\":7}", KEYFOB_CLASS_TRANSIENT, 0, "no access_token");
	check(KEYFOB_KIND_ID, "200 OK", "", GOOD, KEYFOB_CLASS_TRANSIENT, 0, "no id_token");
	check(KEYFOB_KIND_ACCESS, "200 OK", "", "{\"access_token\":\"a\",\"token_type\":\"DPoP\"}", KEYFOB_CLASS_CONFIG, 0, "of type DPoP");
	/* What repeats the secret, plain or encoded, is not shown at all. */
	check(KEYFOB_KIND_ACCESS, "400 Bad", "", "you sent " SECRET, KEYFOB_CLASS_PERMANENT, 0, "repeats secret_file");
	check(KEYFOB_KIND_ACCESS, "400 Bad", "", "{\"error\":\"x\",\"error_description\":\"a=" ENCODED "\"}", KEYFOB_CLASS_PERMANENT, 0,
		"repeats secret_file");
}

/* One that is short enough to pass for a word is hidden wherever an answer repeats it. */
static void test_short_secret(void **state)
{
	static const struct {
		const char *status, *headers, *body;
	} answers[] = {
		{ "503 Busy", "Content-Type: text/s3cret-Value\r\n", "" },
		{ "503 Busy", "X-s3cret-Value: 1\r\n", "" },
		{ "400 Bad", "", "{\"error\":\"x\",\"trace_id\":\"s3cret-Value\"}" },
		{ "400 Bad", "", "{\"error\":\"x\",\"correlation_id\":\"s3cret-Value\"}" },
		{ "200 OK", "", "{\"access_token\":\"a\",\"token_type\":\"s3cret-Value\"}" },
	};
	struct keyfob_secret secret;
	struct server s;
	struct call c;

	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		call_init(&c, KEYFOB_KIND_ACCESS, "x");
		call_set(&c, "client_id", "me");
		set_secret(&c, &secret, "secret_file", "s3cret-Value\n");
		ask(&c, &s, answer(answers[i].status, answers[i].headers, answers[i].body));
		if (c.reply.class == KEYFOB_CLASS_OK || strstr(c.reply.text, "s3cret") || strstr(call_told, "s3cret") ||
			!(strstr(c.reply.text, "repeats secret_file") || strstr(call_told, "repeats secret_file")))
			fail_msg("%zu: '%s', told: %s", i, c.reply.text, call_told);
	}
	call_init(&c, KEYFOB_KIND_ACCESS, "x");
	call_set(&c, "client_id", "me");
	set_secret(&c, &secret, "secret_file", "s3cret-Value");
	server_start(
		&s, answer("200 OK", "", "{\"issuer\":\"s3cret-Value\"}"), strlen(answer("200 OK", "", "{\"issuer\":\"s3cret-Value\"}")));
	snprintf(c.endpoint, sizeof(c.endpoint), "http://127.0.0.1:%d", s.port);
	call_set(&c, "issuer", c.endpoint);
	call_obtain(&c);
	server_stop(&s);
	assert_null(strstr(c.reply.text, "s3cret"));
	assert_non_null(strstr(c.reply.text, "repeats secret_file"));
}

static void check_expiry(const char *member, enum keyfob_kind kind, time_t life)
{
	struct keyfob_secret secret;
	time_t before = time(NULL);
	struct server s;
	char body[300];
	struct call c;

	snprintf(body, sizeof(body), "{\"access_token\":\"a\",\"id_token\":\"b\"%s}", member);
	call_init(&c, kind, "x");
	call_set(&c, "client_id", "me");
	set_secret(&c, &secret, "secret_file", SECRET);
	ask(&c, &s, answer("200 OK", "", body));
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	if (life)
		assert_in_range(c.reply.expires, before + life, time(NULL) + life);
	else
		assert_int_equal(c.reply.expires, 0);
	call_free(&c);
}

static void test_expiry(void **state)
{
	(void)state;
	check_expiry(",\"expires_in\":600", KEYFOB_KIND_ACCESS, 600);
	check_expiry(",\"expires_in\":\"600\"", KEYFOB_KIND_ACCESS, 600);
	check_expiry("", KEYFOB_KIND_ACCESS, 0);
	check_expiry(",\"expires_in\":null", KEYFOB_KIND_ACCESS, 0);
	check_expiry(",\"expires_in\":-1", KEYFOB_KIND_ACCESS, 0);
	check_expiry(",\"expires_in\":\"soon\"", KEYFOB_KIND_ACCESS, 0);
	check_expiry(",\"expires_in\":600", KEYFOB_KIND_ID, 0);
}

/* Discovery is one server, the token endpoint that it names another. */
static void check_discovery(
	const char *after_issuer, const char *endpoint, const char *issuer_end, enum keyfob_class class, const char *words)
{
	struct server discovery, token;
	struct keyfob_secret secret;
	char body[600], issuer[100];
	struct call c;

	server_start(&token, answer("200 OK", "", GOOD), strlen(answer("200 OK", "", GOOD)));
	server_start(&discovery, NULL, 0);
	snprintf(issuer, sizeof(issuer), "http://127.0.0.1:%d/realms/x%s", discovery.port, issuer_end);
	snprintf(body, sizeof(body), "{\"issuer\":\"%s%s\",\"token_endpoint\":\"%s:%d/tok\"}", issuer, after_issuer, endpoint, token.port);
	discovery.reply = answer("200 OK", "", body);
	discovery.length = strlen(discovery.reply);
	call_init(&c, KEYFOB_KIND_ACCESS, "x");
	call_set(&c, "client_id", "me");
	call_set(&c, "issuer", issuer);
	set_secret(&c, &secret, "secret_file", SECRET);
	call_obtain(&c);
	server_stop(&discovery);
	server_stop(&token);
	if (c.reply.class != class || !strstr(c.reply.text, words))
		fail_msg("%s: class %d, '%s'", body, (int)c.reply.class, c.reply.text);
	assert_int_equal(atomic_load(&token.contacts), class == KEYFOB_CLASS_OK);
	assert_non_null(strstr(discovery.request, "GET /realms/x/.well-known/openid-configuration HTTP"));
	if (class == KEYFOB_CLASS_OK)
		assert_non_null(strstr(token.request, "POST /tok HTTP"));
	call_free(&c);
}

static void test_discovery(void **state)
{
	(void)state;
	check_discovery("", "http://127.0.0.1", "", KEYFOB_CLASS_OK, "");
	check_discovery("", "http://127.0.0.1", "/", KEYFOB_CLASS_OK, "");
	check_discovery("/", "http://127.0.0.1", "", KEYFOB_CLASS_CONFIG, "to the letter");
	check_discovery("", "http://192.0.2.1", "", KEYFOB_CLASS_CONFIG, "https://");
	check_discovery("", "no-url", "", KEYFOB_CLASS_CONFIG, "https://");
	check_discovery("\"}x", "http://127.0.0.1", "", KEYFOB_CLASS_TRANSIENT, "no usable JSON");
}

static void check_config(const char *name, const char *value, const char *secret_name, const char *secret_value, const char *words)
{
	struct keyfob_secret secret;
	struct call c;

	call_init(&c, KEYFOB_KIND_ACCESS, "x");
	call_set(&c, "client_id", "me");
	if (name)
		call_set(&c, name, value);
	if (!name || (strcmp(name, "token_endpoint") != 0 && strcmp(name, "issuer") != 0))
		call_set(&c, "token_endpoint", "http://127.0.0.1:1/token");
	if (secret_name)
		set_secret(&c, &secret, secret_name, secret_value);
	call_obtain(&c);
	if (c.reply.class != KEYFOB_CLASS_CONFIG || !strstr(c.reply.text, words))
		fail_msg("%s=%s: class %d, '%s'", name, value, (int)c.reply.class, c.reply.text);
}

static void test_configuration(void **state)
{
	struct call c;

	(void)state;
	check_config(NULL, NULL, NULL, NULL, "secret_file=");
	check_config("auth", "private_key_jwt", NULL, NULL, "key_file=");
	check_config(NULL, NULL, "secret_file", "\n", "empty");
	check_config(NULL, NULL, "secret_file", "two\nlines", "one line");
	check_config(NULL, NULL, "key_file", "not a key", "no private key");
	check_config("alg", "ES256", "key_file", key_pem, "cannot sign with alg=ES256");
	check_config("alg", "PS256", "key_file", ec_pem, "cannot sign with alg=PS256");
	check_config("token_endpoint", "http://login.example/token", "secret_file", "x", "https://");
	check_config("token_endpoint", "https://login.example/token#x", "secret_file", "x", "https://");
	check_config("issuer", "http://login.example/", "secret_file", "x", "https://");
	check_config("endpoint", "http://login.example", "secret_file", "x", "https://");
	check_config("assertion_audience", "issuer", "key_file", key_pem, "issuer=");
	call_init(&c, KEYFOB_KIND_ACCESS, "x");
	call_set(&c, "client_id", "me");
	call_set(&c, "resource_parameter", "scope");
	call_set(&c, "scope", "y");
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	assert_non_null(strstr(c.reply.text, "twice"));
	call_init(&c, KEYFOB_KIND_ACCESS, "x");
	call_set(&c, "client_id", "me");
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_CONFIG);
	assert_non_null(strstr(c.reply.text, "where to ask"));
}

/* An endpoint on this host is asked directly, whatever proxies are named. */
static void test_no_proxy_for_loopback(void **state)
{
	struct keyfob_secret secret;
	struct server s, trap;
	char proxy[64];
	struct call c;

	(void)state;
	proxy_trap(&trap);
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", trap.port);
	call_init(&c, KEYFOB_KIND_ACCESS, "x");
	call_set(&c, "client_id", "me");
	call_set(&c, "proxy", proxy);
	set_secret(&c, &secret, "secret_file", SECRET);
	ask(&c, &s, answer("200 OK", "", GOOD));
	server_stop(&trap);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_int_equal(atomic_load(&trap.contacts), 0);
	call_free(&c);
}

static void make_pem(EVP_PKEY *pkey, char *out, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int n;

	PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL);
	n = BIO_read(bio, out, (int)size - 1);
	out[n > 0 ? n : 0] = 0;
	BIO_free(bio);
	EVP_PKEY_free(pkey);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_secret_post),
		cmocka_unit_test(test_secret_basic),
		cmocka_unit_test(test_private_key_jwt),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_wrong_answers),
		cmocka_unit_test(test_short_secret),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_discovery),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_no_proxy_for_loopback),
	};

	make_pem(EVP_RSA_gen(2048), key_pem, sizeof(key_pem));
	make_pem(EVP_EC_gen("P-256"), ec_pem, sizeof(ec_pem));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
