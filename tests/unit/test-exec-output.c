/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links: modules/exec-output modules/expiry modules/json modules/report common/buffer
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "modules/exec-output.h"

#define NOW 1700000000
#define JWT "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
#define JWT_EXP "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE3MDAwMDM2MDB9.c2lnbmF0dXJl"
#define TYPE "\"token_type\":\"urn:ietf:params:oauth:token-type:"
#define GOOGLE "{\"version\":1,\"success\":true," TYPE
#define K8S "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":"

static void check_kind(const char *format, enum keyfob_kind kind, const char *output, const char *token, time_t expires)
{
	struct keyfob_reply reply = { 0 };

	exec_output_read(output, strlen(output), format, kind, NOW, &reply);
	if (reply.class != KEYFOB_CLASS_OK || !reply.token || strcmp(reply.token, token) != 0 || reply.length != strlen(token) ||
		reply.expires != expires)
		fail_msg("%s: %s: class %d, '%s', token %s, expires %lld", format, output, (int)reply.class, reply.text,
			reply.token ? reply.token : "none", (long long)reply.expires);
	free(reply.token);
}

static void check(const char *format, const char *output, const char *token, time_t expires)
{
	check_kind(format, KEYFOB_KIND_ACCESS, output, token, expires);
	check_kind("auto", KEYFOB_KIND_ACCESS, output, token, expires);
}

static void check_bad_kind(const char *format, enum keyfob_kind kind, const char *output, enum keyfob_class class, const char *words)
{
	struct keyfob_reply reply = { 0 };

	exec_output_read(output, strlen(output), format, kind, NOW, &reply);
	if (reply.class != class || reply.token || !strstr(reply.text, words) || strstr(reply.text, "eyJ"))
		fail_msg("%s: %s: class %d, '%s'", format, output, (int)reply.class, reply.text);
}

static void check_bad(const char *format, const char *output, enum keyfob_class class, const char *words)
{
	check_bad_kind(format, KEYFOB_KIND_ACCESS, output, class, words);
}

static void test_raw(void **state)
{
	(void)state;
	check("raw", JWT, JWT, 0);
	check("raw", "\n " JWT "\r\n", JWT, 0);
	check_kind("raw", KEYFOB_KIND_ID, "opaque-token\n", "opaque-token", 0);
	check_kind("raw", KEYFOB_KIND_ACCESS, "{\"a\":1}", "{\"a\":1}", 0);
	check_bad("auto", "opaque-token", KEYFOB_CLASS_CONFIG, "format=raw");
	check_bad("raw", "two words", KEYFOB_CLASS_CONFIG, "one word");
	check_bad("raw", "a\nb", KEYFOB_CLASS_CONFIG, "one word");
	check_bad("raw", "a\xff", KEYFOB_CLASS_CONFIG, "one word");
	check_bad("raw", "", KEYFOB_CLASS_TRANSIENT, "printed nothing");
	check_bad("auto", " \n", KEYFOB_CLASS_TRANSIENT, "printed nothing");
}

static void test_google(void **state)
{
	(void)state;
	check("google", GOOGLE "id_token\",\"id_token\":\"" JWT "\",\"expiration_time\":1700003600}", JWT, 1700003600);
	check("google", GOOGLE "jwt\",\"id_token\":\"" JWT "\",\"expiration_time\":1700000000}", JWT, NOW);
	check("google", GOOGLE "jwt\",\"id_token\":\"" JWT "\"}\n", JWT, 0);
	check("google", GOOGLE "saml2\",\"saml_response\":\"PHNhbWw+\"}", "PHNhbWw+", 0);
	check_bad("google", GOOGLE "jwt\",\"id_token\":\"" JWT "\",\"expiration_time\":1699999999}", KEYFOB_CLASS_TRANSIENT,
		"expired 1 s ago");
	check_bad("google", GOOGLE "jwt\",\"saml_response\":\"x\"}", KEYFOB_CLASS_CONFIG, "lacks id_token");
	check_bad("google", GOOGLE "saml2\",\"id_token\":\"x\"}", KEYFOB_CLASS_CONFIG, "lacks saml_response");
	check_bad("google", GOOGLE "other\",\"id_token\":\"x\"}", KEYFOB_CLASS_CONFIG, "token_type");
	check_bad("google", "{\"version\":1,\"success\":true,\"id_token\":\"x\"}", KEYFOB_CLASS_CONFIG, "token_type");
	check_bad(
		"google", "{\"version\":1,\"success\":true,\"token_type\":\"jwt\",\"id_token\":\"x\"}", KEYFOB_CLASS_CONFIG, "token_type");
	check_bad("auto", "{\"version\":2,\"success\":true," TYPE "jwt\",\"id_token\":\"x\"}", KEYFOB_CLASS_CONFIG, "version 2");
	check_bad("google", "{\"version\":\"1\",\"success\":true}", KEYFOB_CLASS_CONFIG, "version");
	check_bad("google", "{\"version\":1,\"success\":\"yes\"}", KEYFOB_CLASS_CONFIG, "success");
	check_bad("google", "{\"success\":true}", KEYFOB_CLASS_CONFIG, "version");
}

static void test_google_failure(void **state)
{
	const char *said = "{\"version\":1,\"success\":false,\"code\":\"401\",\"message\":\"Caller not authorized " JWT "\"}";
	struct keyfob_reply reply = { 0 };

	(void)state;
	exec_output_read(said, strlen(said), "auto", KEYFOB_KIND_ACCESS, NOW, &reply);
	assert_int_equal(reply.class, KEYFOB_CLASS_PERMANENT);
	assert_string_equal(reply.code, "401");
	assert_string_equal(reply.text, "the program reports 401: Caller not authorized ***");
	check_bad("google", "{\"version\":1,\"success\":false}", KEYFOB_CLASS_PERMANENT, "without code and message");
	check_bad("google", "{\"version\":1,\"success\":false,\"code\":\"x\"}", KEYFOB_CLASS_PERMANENT, "without code and message");
}

static void test_k8s(void **state)
{
	(void)state;
	check("k8s", K8S "{\"token\":\"t\",\"expirationTimestamp\":\"2023-11-14T23:13:20Z\"}}", "t", 1700003600);
	check("k8s", K8S "{\"token\":\"t\"}}", "t", 0);
	check("k8s",
		"{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1beta1\","
		"\"status\":{\"token\":\"" JWT "\"}}",
		JWT, 0);
	check("k8s", K8S "{\"token\":\"t\",\"expirationTimestamp\":null}}", "t", 0);
	check_bad("k8s", K8S "{\"token\":\"t\",\"expirationTimestamp\":\"2023-11-14T22:13:19Z\"}}", KEYFOB_CLASS_TRANSIENT, "expired");
	check_bad("k8s", K8S "{\"clientCertificateData\":\"x\",\"clientKeyData\":\"y\"}}", KEYFOB_CLASS_CONFIG, "client certificate");
	check_bad("k8s", K8S "{}}", KEYFOB_CLASS_CONFIG, "status.token");
	check_bad("k8s", K8S "null}", KEYFOB_CLASS_CONFIG, "status.token");
	check_bad("k8s",
		"{\"apiVersion\":\"client.authentication.k8s.io/v1alpha1\",\"kind\":\"ExecCredential\","
		"\"status\":{\"token\":\"t\"}}",
		KEYFOB_CLASS_CONFIG, "apiVersion");
	check_bad("auto", "{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"t\"}}", KEYFOB_CLASS_CONFIG, "apiVersion");
	check_bad("k8s", "{\"status\":{\"token\":\"t\"}}", KEYFOB_CLASS_CONFIG, "kind");
}

static void test_oauth(void **state)
{
	const char *both = "{\"access_token\":\"a\",\"id_token\":\"i\",\"expires_in\":60}";

	(void)state;
	check("oauth", both, "a", NOW + 60);
	check_kind("oauth", KEYFOB_KIND_ID, both, "i", NOW + 60);
	check("oauth", "{\"access_token\":\"a\",\"expires_in\":\"60\"}", "a", NOW + 60);
	check("oauth", "{\"access_token\":\"a\"}", "a", 0);
	check("oauth", "{\"access_token\":\"a\",\"expires_in\":\"later\"}", "a", 0);
	check_bad("oauth", "{\"access_token\":\"" JWT "\"}x", KEYFOB_CLASS_CONFIG, "something follows");
	check_bad("oauth", "{\"access_token\":\"" JWT "\",\"access_token\":\"b\"}", KEYFOB_CLASS_CONFIG, "twice");
	check_bad("auto", "{\"access_token\":\"" JWT, KEYFOB_CLASS_CONFIG, "JSON");
	check_bad("auto", "{}", KEYFOB_CLASS_CONFIG, "no access_token");
	check_bad("oauth", JWT, KEYFOB_CLASS_CONFIG, "not JSON");
	check_bad("oauth", "{\"id_token\":\"" JWT "\"}", KEYFOB_CLASS_CONFIG, "token = id");
	check_bad_kind("auto", KEYFOB_KIND_ID, "{\"access_token\":\"" JWT "\"}", KEYFOB_CLASS_CONFIG, "token = access");
	check_bad("auto", "{\"error\":\"invalid_client\",\"error_description\":\"no\\nway\"}", KEYFOB_CLASS_PERMANENT,
		"the program reports invalid_client: no way");
}

/* expiresOn of az is local time and the last resort. */
static void test_az(void **state)
{
	(void)state;
	setenv("TZ", "EST5", 1);
	tzset();
	check("oauth", "{\"accessToken\":\"a\",\"expiresOn\":\"2023-11-14 18:13:20.000000\",\"tokenType\":\"Bearer\"}", "a", 1700003600);
	check("oauth", "{\"accessToken\":\"a\",\"expiresOn\":\"2023-11-14 20:00:00.000000\",\"expires_on\":1700003600}", "a", 1700003600);
	check("oauth", "{\"accessToken\":\"" JWT_EXP "\",\"expiresOn\":\"2023-11-14 20:00:00.000000\"}", JWT_EXP, 0);
	check("oauth", "{\"accessToken\":\"a\",\"expiresOn\":\"2023-11-14T23:13:20Z\"}", "a", 1700003600);
	check("oauth", "{\"accessToken\":\"a\",\"expiresOn\":\"whenever\"}", "a", 0);
}

#define SPIRE "[{\"svids\":[{\"spiffe_id\":\"spiffe://x/y\",\"svid\":\"" JWT_EXP "\",\"hint\":\"\"}%s]},{\"bundles\":{\"x\":\"e30=\"}}]"

static void test_spire(void **state)
{
	char two[600];

	(void)state;
	snprintf(two, sizeof(two), SPIRE, "");
	check("spire", two, JWT_EXP, 0);
	snprintf(two, sizeof(two), SPIRE, ",{\"spiffe_id\":\"spiffe://x/z\",\"svid\":\"" JWT_EXP "\"}");
	check_bad("auto", two, KEYFOB_CLASS_CONFIG, "-spiffeID");
	check_bad("spire", "[{\"svids\":[{\"svid\":\"" JWT "\"}]}]", KEYFOB_CLASS_CONFIG, "with an expiry");
	check_bad("spire", "[{\"svids\":[{\"svid\":\"opaque\"}]}]", KEYFOB_CLASS_CONFIG, "with an expiry");
	check_bad("spire", "[]", KEYFOB_CLASS_CONFIG, "no JWT-SVID");
	check_bad("spire", "[7,{\"svids\":{}}]", KEYFOB_CLASS_CONFIG, "no JWT-SVID");
	check_bad("spire", "{}", KEYFOB_CLASS_CONFIG, "not a JSON array");
	check_bad("auto", "[{\"svids\":[{\"svid\":\"" JWT_EXP, KEYFOB_CLASS_CONFIG, "ends too early");
}

static void test_docker(void **state)
{
	(void)state;
	check("docker", "{\"ServerURL\":\"https://r\",\"Username\":\"<token>\",\"Secret\":\"tok\"}\n", "tok", 0);
	check("docker", "{\"ServerURL\":\"r\",\"Username\":\"me\",\"Secret\":\"" JWT_EXP "\"}", JWT_EXP, 0);
	check_bad("docker", "credentials not found in native keychain\n", KEYFOB_CLASS_PERMANENT,
		"reports a failure: credentials not found in native keychain");
	check_bad("docker", "bad " JWT, KEYFOB_CLASS_PERMANENT, "bad ***");
	check_bad("docker", "{\"ServerURL\":\"r\"}", KEYFOB_CLASS_CONFIG, "no Secret");
	check_bad("docker", "{\"Secret\":\"\"}", KEYFOB_CLASS_CONFIG, "no Secret");
	check_bad("docker", "{\"Secret\":\"x", KEYFOB_CLASS_CONFIG, "of no use as docker");
}

static void test_git(void **state)
{
	(void)state;
	check("git", "protocol=https\nhost=h\nusername=me\npassword=tok=1\n", "tok=1", 0);
	check("git", "capability[]=authtype\r\npassword=tok\r\npassword_expiry_utc=1700003600\r\n", "tok", 1700003600);
	check("git", "password=a\npassword=b\nwhat=ever", "b", 0);
	check("git", "password=tok\npassword_expiry_utc=soon", "tok", 0);
	check_bad("git", "password=tok\npassword_expiry_utc=1699999999", KEYFOB_CLASS_TRANSIENT, "expired 1 s ago");
	check_bad("git", "quit=1\npassword=tok", KEYFOB_CLASS_PERMANENT, "quit");
	check_bad("git", "username=me\n", KEYFOB_CLASS_CONFIG, "no password");
	check_bad("git", "password=\n", KEYFOB_CLASS_CONFIG, "no password");
	check_bad("git", "xpassword=tok\n", KEYFOB_CLASS_CONFIG, "no password");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raw),
		cmocka_unit_test(test_google),
		cmocka_unit_test(test_google_failure),
		cmocka_unit_test(test_k8s),
		cmocka_unit_test(test_oauth),
		cmocka_unit_test(test_az),
		cmocka_unit_test(test_spire),
		cmocka_unit_test(test_docker),
		cmocka_unit_test(test_git),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
