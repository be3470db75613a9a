/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Google's sources with a key, and acting as another account.
 * links: modules/gcp modules/gcp-metadata modules/gcp-key modules/gcp-impersonate modules/gcp-external
 * links: modules/assertion modules/token-endpoint modules/http modules/expiry modules/json modules/report common/buffer
 * libs: libcurl libcrypto jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "common/buffer.h"
#include "tests/unit/module-call.h"

#define AUDIENCE "https://orders.example.com"
#define EMAIL "orders@p.iam.gserviceaccount.com"
#define JWT "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
#define SUBJECT "subject-token-of-another-cloud"
/* Good for each step of a chain: the server gives one reply to all. */
#define ALL \
	"{\"access_token\":\"ya29.first\",\"token_type\":\"Bearer\",\"expires_in\":\"3599\",\"id_token\":\"" JWT "\"," \
	"\"token\":\"" JWT "\",\"accessToken\":\"ya29.second\",\"expireTime\":\"2099-01-01T00:00:00.123456789Z\"}"

static char rsa_pem[4096], ec_pem[1024];
static char file_text[8192];
static struct keyfob_secret secrets[2];

static const char *answer(const char *status, const char *body)
{
	static char text[8192];

	snprintf(text, sizeof(text),
		"HTTP/1.1 %s\r\nContent-Type: application/json\r\nMetadata-Flavor: Google\r\nContent-Length: %zu\r\n\r\n%s", status,
		strlen(body), body);
	return text;
}

static int make_keys(void **state)
{
	EVP_PKEY *keys[2] = { EVP_RSA_gen(2048), EVP_EC_gen("P-256") };
	char *texts[2] = { rsa_pem, ec_pem };
	const size_t sizes[2] = { sizeof(rsa_pem), sizeof(ec_pem) };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		BIO *bio = BIO_new(BIO_s_mem());
		int n;

		if (!keys[i] || !bio || PEM_write_bio_PKCS8PrivateKey(bio, keys[i], NULL, NULL, 0, NULL, NULL) != 1)
			return -1;
		n = BIO_read(bio, texts[i], (int)sizes[i] - 1);
		texts[i][n > 0 ? n : 0] = 0;
		BIO_free(bio);
		EVP_PKEY_free(keys[i]);
	}
	return 0;
}

static void set_secret(struct call *c, const char *name, const char *value)
{
	secrets[c->request.secret_count] = (struct keyfob_secret){ name, value, strlen(value) };
	call_set(c, name, value[0] == '{' ? "/etc/keyfob/file.json" : "other");
	c->request.secrets = secrets;
	c->request.secret_count++;
}

/* A service account's file, with members of one's own after the usual ones. */
static const char *key_json(const char *pem, const char *more)
{
	json_t *json = json_pack(
		"{s:s, s:s, s:s, s:s}", "type", "service_account", "client_email", EMAIL, "private_key", pem, "private_key_id", "key-1");
	json_t *extra = json_loads(more, 0, NULL);
	char *text;

	json_object_update(json, extra);
	text = json_dumps(json, 0);
	snprintf(file_text, sizeof(file_text), "%s", text);
	free(text);
	json_decref(extra);
	json_decref(json);
	return file_text;
}

static void init_key(struct call *c, enum keyfob_kind kind, const char *file)
{
	call_init(c, kind, AUDIENCE);
	call_set(c, "source", "key");
	set_secret(c, "key_file", file);
}

static void expect(const struct call *c, enum keyfob_class class, const char *words)
{
	if (c->reply.class != class || !strstr(c->reply.text, words) || strstr(c->reply.text, "eyJ") || strstr(c->reply.text, SUBJECT) ||
		(class != KEYFOB_CLASS_OK && c->reply.token))
		fail_msg("class %d, wanted %d and '%s': '%s'", (int)c->reply.class, (int)class, words, c->reply.text);
	assert_null(strstr(call_told, "eyJ"));
	assert_null(strstr(call_told, SUBJECT));
	assert_null(strstr(call_told, "BEGIN PRIVATE"));
	assert_null(strstr(call_told, "ya29"));
}

/* --- key -------------------------------------------------------------------- */

/* A part of the assertion in a request, as JSON. */
static json_t *part_of(const char *request, int part)
{
	const char *at = strstr(request, "&assertion=");
	struct buffer json;
	json_t *object;

	assert_non_null(at);
	at += strlen("&assertion=");
	for (; part > 0; part--)
		at = strchr(at, '.') + 1;
	buffer_init(&json, 8192);
	assert_true(buffer_put_base64url(&json, at, strcspn(at, ".")));
	object = json_loadb((const char *)json.data, json.length, 0, NULL);
	buffer_free(&json);
	assert_non_null(object);
	return object;
}

static const char *text(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value ? value : "";
}

static void check_assertion(const char *request, const char *alg, const char *member, const char *value)
{
	json_t *header = part_of(request, 0), *claims = part_of(request, 1);
	json_int_t issued = json_integer_value(json_object_get(claims, "iat"));

	assert_string_equal(text(header, "alg"), alg);
	assert_string_equal(text(header, "typ"), "JWT");
	assert_string_equal(text(header, "kid"), "key-1");
	assert_string_equal(text(claims, "iss"), EMAIL);
	assert_string_equal(text(claims, "aud"), "https://oauth2.googleapis.com/token");
	assert_string_equal(text(claims, member), value);
	assert_int_equal(json_object_size(claims), 5);
	assert_in_range(issued, time(NULL) - 10, time(NULL));
	assert_int_equal(json_integer_value(json_object_get(claims, "exp")), issued + 3600);
	json_decref(header);
	json_decref(claims);
}

static void test_key_id_token(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	init_key(&c, KEYFOB_KIND_ID, key_json(rsa_pem, "{}"));
	call_against(&c, &s, answer("200 OK", ALL));
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_string_equal(c.reply.token, JWT);
	assert_int_equal(c.reply.expires, 0);
	assert_int_equal(c.reply.refresh_before, 225);
	call_free(&c);
	assert_non_null(strstr(s.request, "POST /token HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
	assert_non_null(strstr(s.request, "\r\n\r\ngrant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=eyJ"));
	check_assertion(s.request, "RS256", "target_audience", AUDIENCE);
}

static void test_key_access_token(void **state)
{
	time_t before = time(NULL);
	struct server s;
	struct call c;

	(void)state;
	init_key(&c, KEYFOB_KIND_ACCESS, key_json(ec_pem, "{}"));
	call_set(&c, "scopes", "https://a.example/x,https://a.example/y");
	call_against(&c, &s, answer("200 OK", ALL));
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_string_equal(c.reply.token, "ya29.first");
	assert_in_range(c.reply.expires, before + 3599, time(NULL) + 3599);
	call_free(&c);
	check_assertion(s.request, "ES256", "scope", "https://a.example/x https://a.example/y");
	init_key(&c, KEYFOB_KIND_ACCESS, key_json(ec_pem, "{}"));
	call_against(&c, &s, answer("200 OK", ALL));
	call_free(&c);
	check_assertion(s.request, "ES256", "scope", "https://www.googleapis.com/auth/cloud-platform");
}

static void check_key_file(const char *file, const char *words)
{
	struct server s;
	struct call c;

	init_key(&c, KEYFOB_KIND_ID, file);
	call_against(&c, &s, answer("200 OK", ALL));
	expect(&c, KEYFOB_CLASS_CONFIG, words);
	assert_int_equal(atomic_load(&s.contacts), 0);
}

static void test_key_files(void **state)
{
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_ID, AUDIENCE);
	call_set(&c, "source", "key");
	call_obtain(&c);
	expect(&c, KEYFOB_CLASS_CONFIG, "needs key_file=");
	check_key_file("{", "ends too early");
	check_key_file("{}", "of type (none)");
	check_key_file(key_json(rsa_pem, "{\"type\":\"external_account\"}"), "use source=external_account");
	check_key_file(key_json(rsa_pem, "{\"type\":\"impersonated_service_account\"}"), "use source=impersonate");
	check_key_file(key_json(rsa_pem, "{\"type\":\"authorized_user\"}"), "a person's login");
	check_key_file(key_json(rsa_pem, "{\"type\":\"authorized_user\"}"), "authorized_user, not service_account");
	check_key_file(key_json(rsa_pem, "{\"client_email\":\"\"}"), "lacks client_email");
	check_key_file(key_json(rsa_pem, "{\"private_key\":7}"), "lacks private_key");
	check_key_file(key_json("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "{}"), "private_key in key_file=");
	check_key_file(key_json(rsa_pem, "{\"universe_domain\":\"evil.example\"}"), "universe_domain=");
}

static void test_key_hosts(void **state)
{
	static const char *const bad[] = { "http://oauth2.googleapis.com/token", "https://googleapis.com.evil.example/token",
		"https://evilgoogleapis.com/token", "https://googleapis.com/token", "https://oauth2.googleapis.com@evil.example/token",
		"file:///etc/passwd", "token" };
	struct call c;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char more[200];

		snprintf(more, sizeof(more), "{\"token_uri\":\"%s\"}", bad[i]);
		init_key(&c, KEYFOB_KIND_ID, key_json(rsa_pem, more));
		call_obtain(&c);
		expect(&c, KEYFOB_CLASS_CONFIG, "token_uri in key_file=");
	}
}

/* In another universe the key's own JWT with a scope is the access token, and IAM makes the ID token. */
static void test_key_other_universe(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	init_key(&c, KEYFOB_KIND_ACCESS, key_json(rsa_pem, "{\"universe_domain\":\"apis.example\"}"));
	call_set(&c, "universe_domain", "apis.example");
	call_obtain(&c);
	assert_int_equal(c.reply.class, KEYFOB_CLASS_OK);
	assert_memory_equal(c.reply.token, "eyJ", 3);
	call_free(&c);
	init_key(&c, KEYFOB_KIND_ID, key_json(rsa_pem, "{\"universe_domain\":\"apis.example\"}"));
	call_set(&c, "universe_domain", "apis.example");
	call_against(&c, &s, answer("200 OK", ALL));
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_string_equal(c.reply.token, JWT);
	call_free(&c);
	assert_non_null(strstr(s.request, "POST /v1/projects/-/serviceAccounts/" EMAIL ":generateIdToken HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\nAuthorization: Bearer eyJ"));
}

static void check_key_error(const char *status, const char *body, enum keyfob_class class, const char *words)
{
	struct server s;
	struct call c;

	init_key(&c, KEYFOB_KIND_ID, key_json(rsa_pem, "{}"));
	call_against(&c, &s, answer(status, body));
	expect(&c, class, words);
	assert_int_equal(atomic_load(&s.contacts), 1);
}

static void test_key_errors(void **state)
{
	(void)state;
	check_key_error("400 Bad",
		"{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT: Token must be a short-lived "
		"token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.\"}",
		KEYFOB_CLASS_PERMANENT, "clock is wrong");
	check_key_error("400 Bad", "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT Signature.\"}", KEYFOB_CLASS_PERMANENT,
		"key was deleted");
	check_key_error("400 Bad", "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid grant: account not found\"}",
		KEYFOB_CLASS_PERMANENT, "account was deleted");
	check_key_error("401 No", "{\"error\":\"unauthorized_client\",\"error_description\":\"Client is unauthorized\"}",
		KEYFOB_CLASS_PERMANENT, "domain-wide delegation");
	check_key_error("400 Bad", "{\"error\":\"invalid_scope\"}", KEYFOB_CLASS_CONFIG, "scopes=");
	check_key_error("400 Bad", "{\"error\":\"internal_failure\"}", KEYFOB_CLASS_TRANSIENT, "internal_failure");
	check_key_error("500 Oops", "{\"error\":\"internal_failure\",\"error_description\":\"Backend Error\"}", KEYFOB_CLASS_TRANSIENT,
		"internal_failure");
	check_key_error("503 Busy", "{\"error\":\"temporarily_unavailable\"}", KEYFOB_CLASS_TRANSIENT, "temporarily_unavailable");
	check_key_error("400 Bad", "{\"error\":\"server_error\"}", KEYFOB_CLASS_TRANSIENT, "server_error");
	check_key_error("200 OK", "{\"access_token\":\"x\"}", KEYFOB_CLASS_TRANSIENT, "no id_token");
}

/* --- impersonate ------------------------------------------------------------ */

static void init_impersonate(struct call *c, enum keyfob_kind kind)
{
	call_init(c, kind, AUDIENCE);
	call_set(c, "source", "impersonate");
	call_set(c, "target", EMAIL);
	set_secret(c, "source_from", SUBJECT);
}

static void test_impersonate_id_token(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	init_impersonate(&c, KEYFOB_KIND_ID);
	call_set(&c, "delegates", "a@p.example, b@p.example");
	call_against(&c, &s, answer("200 OK", ALL));
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_string_equal(c.reply.token, JWT);
	assert_int_equal(c.reply.expires, 0);
	assert_int_equal(c.reply.refresh_before, 225);
	call_free(&c);
	assert_int_equal(atomic_load(&s.contacts), 1);
	assert_non_null(strstr(s.request, "POST /v1/projects/-/serviceAccounts/" EMAIL ":generateIdToken HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\nAuthorization: Bearer " SUBJECT "\r\n"));
	assert_non_null(strstr(s.request, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(s.request, "\r\n\r\n{\"delegates\":[\"projects/-/serviceAccounts/a@p.example\","
					  "\"projects/-/serviceAccounts/b@p.example\"],\"audience\":\"" AUDIENCE "\",\"includeEmail\":true,"
					  "\"useEmailAzp\":true}"));
}

static void test_impersonate_access_token(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	init_impersonate(&c, KEYFOB_KIND_ACCESS);
	call_set(&c, "scopes", "x,y");
	call_set(&c, "lifetime", "20m");
	call_against(&c, &s, answer("200 OK", ALL));
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_string_equal(c.reply.token, "ya29.second");
	assert_int_equal(c.reply.expires, 4070908800);
	call_free(&c);
	assert_non_null(strstr(s.request, EMAIL ":generateAccessToken HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\r\n\r\n{\"delegates\":[],\"scope\":[\"x\",\"y\"],\"lifetime\":\"1200s\"}"));
	init_impersonate(&c, KEYFOB_KIND_ACCESS);
	call_against(&c, &s, answer("200 OK", "{\"accessToken\":\"ya29.x\",\"expireTime\":\"2099-01-01T00:00:00Z\"}"));
	assert_int_equal(c.reply.expires, 4070908800);
	call_free(&c);
	assert_non_null(strstr(s.request, "\"scope\":[\"https://www.googleapis.com/auth/cloud-platform\"],\"lifetime\":\"3600s\"}"));
}

static void test_impersonate_from_key(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	call_init(&c, KEYFOB_KIND_ID, AUDIENCE);
	call_set(&c, "source", "impersonate");
	call_set(&c, "target", EMAIL);
	set_secret(&c, "key_file", key_json(rsa_pem, "{}"));
	call_against(&c, &s, answer("200 OK", ALL));
	expect(&c, KEYFOB_CLASS_OK, "");
	call_free(&c);
	assert_int_equal(atomic_load(&s.contacts), 2);
	assert_non_null(strstr(s.request, "\r\nAuthorization: Bearer ya29.first\r\n"));
	assert_non_null(strstr(call_told, "/token\n"));
}

static void test_impersonate_from_metadata(void **state)
{
	struct server metadata, s;
	struct call c;
	char url[64];

	(void)state;
	server_start(&metadata, answer("200 OK", ALL), strlen(answer("200 OK", ALL)));
	snprintf(url, sizeof(url), "http://127.0.0.1:%d", metadata.port);
	call_init(&c, KEYFOB_KIND_ACCESS, AUDIENCE);
	call_set(&c, "source", "impersonate");
	call_set(&c, "target", EMAIL);
	call_set(&c, "metadata_endpoint", url);
	call_set(&c, "scopes", "only-for-the-last-one");
	call_against(&c, &s, answer("200 OK", ALL));
	server_stop(&metadata);
	expect(&c, KEYFOB_CLASS_OK, "");
	assert_string_equal(c.reply.token, "ya29.second");
	call_free(&c);
	assert_non_null(strstr(metadata.request, "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request, "\"scope\":[\"only-for-the-last-one\"]"));
	assert_non_null(strstr(s.request, "\r\nAuthorization: Bearer ya29.first\r\n"));
}

static void check_iam_error(const char *status, enum keyfob_class class, unsigned int retry, const char *words)
{
	struct server s;
	struct call c;

	init_impersonate(&c, KEYFOB_KIND_ID);
	call_against(&c, &s, answer(status, "{\"error\":{\"code\":1,\"message\":\"It is so.\",\"status\":\"SOME_STATUS\"}}"));
	expect(&c, class, words);
	assert_non_null(strstr(c.reply.text, "SOME_STATUS: It is so."));
	assert_string_equal(c.reply.code, "SOME_STATUS");
	assert_int_equal(c.reply.retry_after, retry);
}

static void test_impersonate_errors(void **state)
{
	struct server s;
	struct call c;

	(void)state;
	check_iam_error("400 Bad", KEYFOB_CLASS_PERMANENT, 0, "check target=");
	check_iam_error("401 No", KEYFOB_CLASS_PERMANENT, 0, "source token");
	check_iam_error("403 No", KEYFOB_CLASS_PERMANENT, 0, "Token Creator");
	check_iam_error("404 No", KEYFOB_CLASS_CONFIG, 0, "correct target=");
	check_iam_error("409 No", KEYFOB_CLASS_PERMANENT, 0, "409");
	check_iam_error("429 Slow", KEYFOB_CLASS_THROTTLED, 1, "too many");
	check_iam_error("500 Oops", KEYFOB_CLASS_TRANSIENT, 1, "500");
	check_iam_error("501 Oops", KEYFOB_CLASS_UNAVAILABLE, 0, "501");
	check_iam_error("502 Oops", KEYFOB_CLASS_TRANSIENT, 1, "502");
	check_iam_error("503 Oops", KEYFOB_CLASS_TRANSIENT, 1, "503");
	check_iam_error("504 Oops", KEYFOB_CLASS_TRANSIENT, 1, "504");
	init_impersonate(&c, KEYFOB_KIND_ID);
	call_against(&c, &s, answer("403 No", "<html>" SUBJECT "</html>"));
	expect(&c, KEYFOB_CLASS_PERMANENT, "hidden");
	init_impersonate(&c, KEYFOB_KIND_ID);
	call_against(&c, &s, answer("200 OK", "{\"accessToken\":\"ya29.x\"}"));
	expect(&c, KEYFOB_CLASS_TRANSIENT, "no token");
	init_impersonate(&c, KEYFOB_KIND_ID);
	call_against(&c, &s, answer("200 OK", JWT));
	expect(&c, KEYFOB_CLASS_TRANSIENT, "not JSON");
}

static void test_impersonate_configuration(void **state)
{
	static const char *const lifetimes[] = { "599", "9m", "13h", "43201s" };
	static const char *const targets[] = { "orders", "@x", "x@", "a@b@c", "a/b@c", "a:b@c", "a b@c" };
	struct call c;

	(void)state;
	for (size_t i = 0; i < sizeof(lifetimes) / sizeof(lifetimes[0]); i++) {
		init_impersonate(&c, KEYFOB_KIND_ACCESS);
		call_set(&c, "lifetime", lifetimes[i]);
		call_obtain(&c);
		expect(&c, KEYFOB_CLASS_CONFIG, "lifetime=");
	}
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		call_init(&c, KEYFOB_KIND_ID, AUDIENCE);
		call_set(&c, "source", "impersonate");
		call_set(&c, "target", targets[i]);
		call_obtain(&c);
		expect(&c, KEYFOB_CLASS_CONFIG, "target=");
	}
	init_impersonate(&c, KEYFOB_KIND_ID);
	set_secret(&c, "key_file", key_json(rsa_pem, "{}"));
	call_obtain(&c);
	expect(&c, KEYFOB_CLASS_CONFIG, "exclude each other");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_id_token),
		cmocka_unit_test(test_key_access_token),
		cmocka_unit_test(test_key_files),
		cmocka_unit_test(test_key_hosts),
		cmocka_unit_test(test_key_other_universe),
		cmocka_unit_test(test_key_errors),
		cmocka_unit_test(test_impersonate_id_token),
		cmocka_unit_test(test_impersonate_access_token),
		cmocka_unit_test(test_impersonate_from_key),
		cmocka_unit_test(test_impersonate_from_metadata),
		cmocka_unit_test(test_impersonate_errors),
		cmocka_unit_test(test_impersonate_configuration),
	};

	return cmocka_run_group_tests(tests, make_keys, NULL);
}
