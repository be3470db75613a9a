/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keyfob-fetch makes of a request and of a module's reply, and its
 * command line.
 *
 * links: common/buffer common/wire
 */
#include "tests/unit/fetch-call.h"

#include <time.h>

#define JWT "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lzc3VlciIsImF1ZCI6ImFwaSIsInN1YiI6Im1lIiwiZXhwIjo0MTAyNDQ0ODAwfQ.c2ln"
#define JWT_EXPIRES 4102444800u
#define JWT_ENDLESS "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lzc3VlciIsImF1ZCI6ImFwaSIsInN1YiI6Im1lIn0.c2ln"

/* --- replies --- */

static void gives_a_token(void **state)
{
	uint64_t now = (uint64_t)time(NULL);

	(void)state;
	simple(.settings = { "expires_in", "3600" });
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
	assert_true(answer.ready);
	assert_string_equal(answer.token, "simple-token");
	assert_string_equal(answer.said.fingerprint, "c98b872a");
	assert_in_range(answer.said.expires, now + 3600, now + 3630);
	assert_int_equal(answer.said.refresh, 0);
	assert_string_equal(answer.said.issuer, "");
	assert_int_equal(answer.lines, 0);
}

static void reads_a_jwt(void **state)
{
	(void)state;
	simple(.settings = { "token", JWT });
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
	assert_int_equal(answer.said.expires, JWT_EXPIRES);
	assert_string_equal(answer.said.issuer, "https://issuer");
	assert_string_equal(answer.said.audience, "api");
	assert_string_equal(answer.said.subject, "me");
}

static void takes_the_earliest_expiry(void **state)
{
	(void)state;
	simple(.settings = { "token", JWT, "expires", "4102444799" });
	assert_int_equal(answer.said.expires, JWT_EXPIRES - 1);
	simple(.settings = { "token", JWT, "expires", "4102444801" });
	assert_int_equal(answer.said.expires, JWT_EXPIRES);
	simple(.settings = { "token", JWT }, .ttl = 60);
	assert_int_equal(answer.said.expires, JWT_EXPIRES);
}

static void needs_an_expiry(void **state)
{
	uint64_t now = (uint64_t)time(NULL);

	(void)state;
	simple(.settings = { "token", JWT_ENDLESS });
	failed(KEYFOB_CLASS_CONFIG, "set ttl= on the provider line");
	simple(.settings = { "token", JWT_ENDLESS }, .ttl = 600);
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
	assert_in_range(answer.said.expires, now + 600, now + 630);
	assert_string_equal(answer.said.subject, "me");
}

static void refuses_a_bad_expiry(void **state)
{
	(void)state;
	simple(.settings = { "expires", "1000000000" });
	failed(KEYFOB_CLASS_PERMANENT, "clock");
	simple(.settings = { "expires", "-5" });
	failed(KEYFOB_CLASS_PERMANENT, "clock");
	simple(.settings = { "expires", "253402300800" });
	failed(KEYFOB_CLASS_PERMANENT, "9999");
	simple(.settings = { "expires", "253402300799" });
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
}

static void heeds_a_sane_refresh(void **state)
{
	uint64_t now = (uint64_t)time(NULL);

	(void)state;
	simple(.settings = { "expires_in", "3600", "refresh_in", "1800", "refresh_before", "10" });
	assert_in_range(answer.said.refresh, now + 1800, now + 1830);
	simple(.settings = { "expires_in", "3600", "refresh_in", "3600" });
	assert_int_equal(answer.said.refresh, 0);
	simple(.settings = { "expires_in", "3600", "refresh_in", "-1" });
	assert_int_equal(answer.said.refresh, 0);
	simple(.settings = { "token", JWT, "refresh_before", "225" });
	assert_int_equal(answer.said.refresh, JWT_EXPIRES - 225);
	simple(.settings = { "expires_in", "3600", "refresh_before", "4000" });
	assert_int_equal(answer.said.refresh, 0);
}

static void refuses_a_bad_token(void **state)
{
	(void)state;
	simple(.settings = { "expires_in", "3600", "token", "" });
	failed(KEYFOB_CLASS_PERMANENT, "empty");
	simple(.settings = { "expires_in", "3600", "token", "secret\nword" });
	failed(KEYFOB_CLASS_PERMANENT, "byte 0x0a at offset 6");
	assert_null(strstr(answer.said.text, "secret"));
	simple(.settings = { "expires_in", "3600", "token", "a b" });
	failed(KEYFOB_CLASS_PERMANENT, "byte 0x20 at offset 1");
	simple(.settings = { "expires_in", "3600", "token", "ab\xc3\xa9" });
	failed(KEYFOB_CLASS_PERMANENT, "byte 0xc3 at offset 2");
	simple(.settings = { "expires_in", "3600", "length", "32768" });
	failed(KEYFOB_CLASS_PERMANENT, "32768");
	simple(.settings = { "expires_in", "3600", "length", "32767" });
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
	assert_int_equal(answer.length, 32767);
}

static void passes_a_failure_on(void **state)
{
	(void)state;
	simple(.settings = { "class", "3", "retry_after", "17", "code", "slow\tdown", "text", "too\nmany \xff requests" });
	failed(KEYFOB_CLASS_THROTTLED, "too?many ? requests");
	assert_int_equal(answer.said.retry_after, 17);
	assert_string_equal(answer.said.code, "slow?down");
	assert_true(answer.ready);
	simple(.settings = { "class", "77" });
	failed(KEYFOB_CLASS_PERMANENT, "77");
	simple(.settings = { "class", "256" });
	failed(KEYFOB_CLASS_PERMANENT, "256");
}

static void hands_the_request_over(void **state)
{
	(void)state;
	simple(.settings = { "expires_in", "60", "show", "kind" });
	assert_string_equal(answer.said.text, "2");
	simple(.settings = { "expires_in", "60", "show", "kind" }, .kind = KEYFOB_KIND_ACCESS);
	assert_string_equal(answer.said.text, "1");
	simple(.settings = { "expires_in", "60", "show", "resource" }, .resource = "api://orders");
	assert_string_equal(answer.said.text, "api://orders");
	simple(.settings = { "expires_in", "60", "show", "credential" });
	assert_string_equal(answer.said.text, "orders");
	simple(.settings = { "expires_in", "60", "show", "arguments" }, .argument = "--db orders");
	assert_string_equal(answer.said.text, "--db orders");
}

static void tells_the_exchange(void **state)
{
	char longest[1500];

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	longest[1] = '\n';
	simple(.settings = { "expires_in", "60", "lines", "3" });
	assert_int_equal(answer.lines, 0);
	simple(.settings = { "expires_in", "60", "lines", "3", "line", longest }, .flags = WIRE_FETCH_EXCHANGE);
	assert_int_equal(answer.lines, 3);
	assert_int_equal(strlen(answer.line), 1000);
	assert_int_equal(answer.line[1], '?');
	simple(.settings = { "expires_in", "60", "lines", "1000" }, .flags = WIRE_FETCH_EXCHANGE);
	assert_in_range(answer.lines, 190, 200);
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
}

static void keeps_its_channel_to_itself(void **state)
{
	(void)state;
	simple(.settings = { "expires_in", "60", "print", "\x03 a frame by accident" });
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
}

/* --- documents --- */

#define document(...) simple(.module = "document", .kind = KEYFOB_KIND_DOCUMENT, .settings = { __VA_ARGS__ })

static void gives_a_document(void **state)
{
	static const size_t lengths[] = { 1, 32767, 32768, 32769, 100000, 262143, 262144 };
	uint64_t now = (uint64_t)time(NULL);
	char length[20];

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		snprintf(length, sizeof(length), "%zu", lengths[i]);
		document("length", length, "code", "\"v1\"", "refresh_in", "600");
		assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
		assert_int_equal(answer.length, 0);
		assert_int_equal(answer.document_length, lengths[i]);
		assert_int_equal(answer.parts, (lengths[i] + WIRE_CHUNK - 1) / WIRE_CHUNK);
		for (size_t j = 0; j < lengths[i]; j++)
			if (answer.document[j] != j % 251)
				fail_msg("byte %zu of %zu", j, lengths[i]);
		assert_string_equal(answer.said.code, "\"v1\"");
		assert_in_range(answer.said.refresh, now + 600, now + 660);
		assert_int_equal(answer.said.expires, 0);
		assert_int_equal(strlen(answer.said.fingerprint), 8);
	}
}

static void tells_that_a_document_is_current(void **state)
{
	(void)state;
	document("code", "\"v1\"");
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
	assert_int_equal(answer.parts, 0);
	assert_string_equal(answer.said.code, "\"v1\"");
	assert_int_equal(answer.said.refresh, 0);
	assert_string_equal(answer.said.fingerprint, "");
}

static void refuses_a_bad_document(void **state)
{
	(void)state;
	document("length", "262145");
	failed(KEYFOB_CLASS_PERMANENT, "262145 bytes");
	assert_int_equal(answer.parts, 0);
	document("length", "0");
	failed(KEYFOB_CLASS_PERMANENT, "empty document");
	document("length", "10", "class", "5");
	failed(KEYFOB_CLASS_TRANSIENT, "");
	assert_int_equal(answer.parts, 0);
	document("length", "10", "refresh_in", "999999999999");
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
	assert_int_equal(answer.said.refresh, 0);
}

/* What is asked for as a token must not be a document, nor the other way round. */
static void keeps_kinds_apart(void **state)
{
	(void)state;
	simple(.module = "document", .kind = KEYFOB_KIND_ACCESS, .settings = { "length", "10" });
	failed(KEYFOB_CLASS_CONFIG, "the module document gives documents, not tokens");
	simple(.kind = KEYFOB_KIND_DOCUMENT, .settings = { "expires_in", "60" });
	failed(KEYFOB_CLASS_CONFIG, "the module simple gives tokens, not documents");
	assert_int_equal(answer.parts, 0);
}

/* --- what it refuses to begin with --- */

static void refuses_a_malformed_request(void **state)
{
	struct buffer frame;
	struct ask ask = { .module = "simple", .settings = { "expires_in", "60" } };
	int fd;
	pid_t pid;

	(void)state;
	buffer_init(&frame, WIRE_MAX);
	put_ask(&frame, &ask);
	for (size_t cut = 1; cut <= frame.length; cut += 7) {
		struct buffer part = frame;

		part.length -= cut == frame.length ? cut - 1 : cut;
		pid = start(NULL, &fd);
		assert_int_equal(wire_send(fd, &part, -1), 0);
		finish(pid, fd);
		assert_true(WIFEXITED(answer.status) && WEXITSTATUS(answer.status) == 2);
		failed(KEYFOB_CLASS_CONFIG, "request");
		assert_false(answer.ready);
	}
	buffer_free(&frame);
	ask.sandbox = (enum keyfob_sandbox)3;
	fetch(&ask);
	failed(KEYFOB_CLASS_CONFIG, "request");
	ask.sandbox = KEYFOB_SANDBOX_NETWORK;
	ask.kind = KEYFOB_KIND_DOCUMENT + 1;
	fetch(&ask);
	failed(KEYFOB_CLASS_CONFIG, "request");
}

static void refuses_a_module_it_cannot_trust(void **state)
{
	char command[9000], directory[200], file[300];

	(void)state;
	needs_root();
	simple(.directory = "/usr", .settings = { "expires_in", "60" });
	failed(KEYFOB_CLASS_CONFIG, "there is no such module in ");
	snprintf(directory, sizeof(directory), "%s/modules", scratch);
	snprintf(file, sizeof(file), "%s/simple.so", directory);
	snprintf(
		command, sizeof(command), "mkdir %s && cd %s && cp %s/simple.so . && cp simple.so other.so", directory, directory, modules);
	assert_int_equal(system(command), 0);
	chmod(directory, 0755);
	simple(.directory = directory, .settings = { "expires_in", "60" });
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
	simple(.directory = directory, .module = "other", .settings = { "expires_in", "60" });
	failed(KEYFOB_CLASS_CONFIG, "is not the module other");
	chmod(file, 0664);
	simple(.directory = directory, .settings = { "expires_in", "60" });
	failed(KEYFOB_CLASS_CONFIG, "simple.so: writable");
	chmod(file, 0644);
	chmod(directory, 0777);
	simple(.directory = directory, .settings = { "expires_in", "60" });
	failed(KEYFOB_CLASS_CONFIG, "modules: writable");
	chmod(directory, 0755);
	assert_int_equal(chown(file, 1, 1), 0);
	simple(.directory = directory, .settings = { "expires_in", "60" });
	failed(KEYFOB_CLASS_CONFIG, "simple.so: not owned by root");
	assert_true(answer.ready);
}

static void refuses_a_module_by_another_name(void **state)
{
	(void)state;
	simple(.module = "../modules/simple", .settings = { "expires_in", "60" });
	failed(KEYFOB_CLASS_CONFIG, "not a module's name");
	simple(.sandbox = KEYFOB_SANDBOX_EXEC, .settings = { "expires_in", "60" });
	failed(KEYFOB_CLASS_CONFIG, "another sandbox");
}

/* --- the command line --- */

static size_t output_of(const char *arguments, char *out, size_t size, int *status)
{
	char command[9000];
	size_t length;
	FILE *f;

	snprintf(command, sizeof(command), "%s --module-dir %s %s 2>/dev/null", program, modules, arguments);
	f = popen(command, "re");
	assert_non_null(f);
	length = fread(out, 1, size, f);
	*status = pclose(f);
	return length;
}

static void describes_a_module(void **state)
{
	char out[8192], text[256];
	struct reader r;
	int status;

	(void)state;
	reader_init(&r, out, output_of("--describe simple", out, sizeof(out), &status));
	assert_int_equal(status, 0);
	assert_int_equal(reader_u8(&r), WIRE_VERSION);
	assert_int_equal(reader_u8(&r), 0);
	reader_text(&r, text, sizeof(text));
	assert_string_equal(text, "simple");
	reader_text(&r, text, sizeof(text));
	assert_string_equal(text, "does as it is told");
	assert_int_equal(reader_u8(&r), KEYFOB_SANDBOX_NETWORK);
	assert_int_equal(reader_u8(&r), KEYFOB_KIND_ID);
	reader_text(&r, text, sizeof(text));
	for (uint32_t count = reader_u32(&r); count > 0; count--) {
		reader_text(&r, text, sizeof(text));
		reader_u8(&r);
		reader_u8(&r);
		reader_text(&r, out, 256);
		reader_text(&r, out, 256);
	}
	assert_string_equal(text, "show");
	assert_true(reader_done(&r));
}

static void says_why_it_cannot_describe(void **state)
{
	char out[2048], text[1024];
	struct reader r;
	int status;

	(void)state;
	reader_init(&r, out, output_of("--describe nothing", out, sizeof(out), &status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_int_equal(reader_u8(&r), WIRE_VERSION);
	assert_int_equal(reader_u8(&r), 1);
	reader_text(&r, text, sizeof(text));
	assert_true(reader_done(&r));
	assert_non_null(strstr(text, "there is no such module in "));
}

static void lists_modules(void **state)
{
	char out[2048];
	int status;

	(void)state;
	out[output_of("--list", out, sizeof(out) - 1, &status)] = 0;
	assert_int_equal(status, 0);
	assert_non_null(strstr(out, "hostile-exec\nhostile-file\nhostile\n"));
	assert_non_null(strstr(out, "\nsimple\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_a_token),
		cmocka_unit_test(reads_a_jwt),
		cmocka_unit_test(takes_the_earliest_expiry),
		cmocka_unit_test(needs_an_expiry),
		cmocka_unit_test(refuses_a_bad_expiry),
		cmocka_unit_test(heeds_a_sane_refresh),
		cmocka_unit_test(refuses_a_bad_token),
		cmocka_unit_test(passes_a_failure_on),
		cmocka_unit_test(hands_the_request_over),
		cmocka_unit_test(tells_the_exchange),
		cmocka_unit_test(keeps_its_channel_to_itself),
		cmocka_unit_test(gives_a_document),
		cmocka_unit_test(tells_that_a_document_is_current),
		cmocka_unit_test(refuses_a_bad_document),
		cmocka_unit_test(keeps_kinds_apart),
		cmocka_unit_test(refuses_a_malformed_request),
		cmocka_unit_test(refuses_a_module_it_cannot_trust),
		cmocka_unit_test(refuses_a_module_by_another_name),
		cmocka_unit_test(describes_a_module),
		cmocka_unit_test(says_why_it_cannot_describe),
		cmocka_unit_test(lists_modules),
	};

	return cmocka_run_group_tests(tests, fetch_prepare, fetch_clean);
}
