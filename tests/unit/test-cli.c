/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob, the built program, against a broker made of one thread that gives
 * prepared answers. Each run has a session keyring and a socket of its own.
 * links: common/buffer common/wire
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/wire.h"
#include "modules/module.h"

#define EXPIRES 4102444800 /* 2100-01-01 00:00:00 UTC */
#define STARTED 1700000000
#define TOKEN "abc.d\"e\\f"

static char dir[] = "/tmp/test-cli-XXXXXX", path[PATH_MAX], program[PATH_MAX];
static int listener = -1;
static pthread_t broker;
static char output[65536], errors[65536];

static void put_reader(struct buffer *b, const char *name, uint8_t state, uint32_t asked, const char *group)
{
	buffer_put_text(b, name);
	buffer_put_u8(b, state);
	buffer_put_u32(b, asked);
	buffer_put_text(b, group);
}

static void put_credential(struct buffer *b, const char *name, uint8_t state)
{
	const char *const texts[] = { name, "orders database", "azure client_id=1", "api://x" };
	const uint64_t numbers[] = { state == WIRE_STATE_NONE ? 0 : EXPIRES, 0, 1, 7, 2, 0 };
	const char *const more[] = { "3fa9c1d2", state == WIRE_STATE_NONE ? "" : "it said \"no\"\n", "https://i.example", "aud", "sub",
		state == WIRE_STATE_NONE ? "" : "entra", state == WIRE_STATE_STALE ? "aud is aud, entra wants orders" : "" };

	for (size_t i = 0; i < 4; i++)
		buffer_put_text(b, texts[i]);
	buffer_put_u8(b, state);
	buffer_put_u8(b, KEYFOB_KIND_ACCESS);
	for (size_t i = 0; i < 6; i++)
		buffer_put_u64(b, numbers[i]);
	for (size_t i = 0; i < 7; i++)
		buffer_put_text(b, more[i]);
	buffer_put_u32(b, 1);
	buffer_put_u32(b, 2);
	buffer_put_text(b, "throttled");
	buffer_put_u32(b, 3);
	put_reader(b, "orders", WIRE_READER_COPY, 1, "");
	put_reader(b, "@dbclients", WIRE_READER_NONE, 1, "");
	put_reader(b, "anna", WIRE_READER_SOCKET, 1, "@dbclients");
}

static void refuse(struct buffer *b, uint8_t code, uint32_t retry, const char *text)
{
	buffer_clear(b);
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, code);
	buffer_put_u32(b, retry);
	buffer_put_text(b, text);
}

static void answer_get(struct buffer *b, const char *name, bool token)
{
	/* {"alg":"none"} and {"iss":"https://sts.windows.net/t/","aud":["a","b"],"sub":"\u001bs","exp":1000} */
	static const char jwt[] = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL3N0cy53aW5kb3dzLm5ldC90LyIsImF1ZCI6WyJh"
				  "IiwiYiJdLCJzdWIiOiJcdTAwMWJzIiwiZXhwIjoxMDAwfQ.";

	buffer_put_text(b, !token ? "" : strcmp(name, "jwt") == 0 ? jwt : TOKEN);
	buffer_put_u64(b, EXPIRES);
	buffer_put_u64(b, 0);
	buffer_put_text(b, "3fa9c1d2");
}

/* Of a status reply. */
static void put_head(struct buffer *b, uint8_t more)
{
	buffer_put_u8(b, more);
	buffer_put_text(b, KEYFOB_VERSION);
	buffer_put_u64(b, STARTED);
}

static void answer_status(struct buffer *b, struct reader *r, const char *name)
{
	char after[WIRE_NAME_MAX + 1];

	reader_text(r, after, sizeof(after));
	if (strcmp(name, "endless") == 0) {
		put_head(b, 1);
	} else if (name[0]) {
		put_head(b, 0);
		put_credential(b, name, WIRE_STATE_FAILED);
	} else if (!after[0]) {
		put_head(b, 1);
		put_credential(b, "a", WIRE_STATE_NONE);
		put_credential(b, "b", WIRE_STATE_STALE);
	} else {
		put_head(b, 0);
		if (strcmp(after, "b") == 0)
			put_credential(b, "c", WIRE_STATE_VALID);
	}
}

static void answer(struct buffer *b, struct reader *r)
{
	char name[WIRE_NAME_MAX + 1] = "";
	uint8_t opcode;

	reader_u8(r);
	opcode = reader_u8(r);
	if (opcode != WIRE_RELOAD)
		reader_text(r, name, sizeof(name));
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, 0);
	if (opcode == WIRE_GET || opcode == WIRE_REFRESH)
		answer_get(b, name, opcode == WIRE_GET);
	else if (opcode == WIRE_STATUS)
		answer_status(b, r, name);
	else if (opcode == WIRE_MAY) {
		bool root = reader_u32(r) == 0;

		buffer_put_u8(b, root);
		buffer_put_text(b, root ? "root may have any" : "no allow line names him");
	} else if (opcode == WIRE_TRY) {
		buffer_put_u8(b, strcmp(name, "bad") == 0 ? KEYFOB_CLASS_CONFIG : KEYFOB_CLASS_OK);
		buffer_put_text(b, "> GET /x\n< 200\033[2J\n");
	}
	if (strcmp(name, "missing") == 0)
		refuse(b, 3, 0, "");
	else if (strcmp(name, "denied") == 0)
		refuse(b, 4, 0, "");
	else if (strcmp(name, "refused") == 0)
		refuse(b, 5, 0, "azure: IMDS answered 400\n\033[1m");
	else if (strcmp(name, "later") == 0)
		refuse(b, 8, 20, "too many requests");
	else if (strcmp(name, "garbage") == 0)
		b->length = 3;
}

static void *serve(void *unused)
{
	(void)unused;
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		struct buffer request, reply;
		struct reader r;

		if (fd < 0)
			return NULL;
		buffer_init(&request, WIRE_MAX);
		buffer_init(&reply, WIRE_MAX);
		if (wire_receive(fd, &request, NULL) == 0) {
			reader_init(&r, request.data, request.length);
			answer(&reply, &r);
			wire_send(fd, &reply, -1);
		}
		buffer_free(&request);
		buffer_free(&reply);
		close(fd);
	}
}

static int set_up(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

	(void)state;
	if (n < 0)
		return -1;
	program[n] = 0;
	for (int i = 0; i < 3; i++)
		*strrchr(program, '/') = 0;
	strncat(program, "/bin/keyfob", sizeof(program) - strlen(program) - 1);
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/socket", dir);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 16) < 0)
		return -1;
	return pthread_create(&broker, NULL, serve, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	shutdown(listener, SHUT_RDWR);
	pthread_join(broker, NULL);
	close(listener);
	unlink(path);
	return rmdir(dir);
}

static void slurp(int fd, char *text, size_t size)
{
	ssize_t n = pread(fd, text, size - 1, 0);

	text[n < 0 ? 0 : n] = 0;
	close(fd);
}

/* Run keyfob with these words, its stdout as given (-1: kept in output). Returns its exit code. */
static int run_to(int out, const char *input, const char *words)
{
	char line[PATH_MAX], *argv[16] = { program }, *save = NULL;
	int in = memfd_create("in", MFD_CLOEXEC), kept = memfd_create("out", MFD_CLOEXEC), err = memfd_create("err", MFD_CLOEXEC);
	int n = 1, status;
	pid_t pid;

	assert_true(in >= 0 && kept >= 0 && err >= 0);
	assert_int_equal(write(in, input, strlen(input)), strlen(input));
	lseek(in, 0, SEEK_SET);
	snprintf(line, sizeof(line), "%s", words);
	for (char *word = strtok_r(line, " ", &save); word && n < 15; word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
		setenv("KEYFOB_SOCKET", path, 1);
		setenv("KEYFOB_VERIFY_SOCKET", "/nonexistent/verify.sock", 1);
		setenv("KEYFOB_CONFIG", "/nonexistent/keyfob.conf", 1);
		setenv("COLUMNS", "100", 1);
		dup2(in, 0);
		dup2(out >= 0 ? out : kept, 1);
		dup2(err, 2);
		execv(program, argv);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(in);
	slurp(kept, output, sizeof(output));
	slurp(err, errors, sizeof(errors));
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int run(const char *words)
{
	return run_to(-1, "", words);
}

/* It failed with this code, one line on stderr that has these words, and nothing on stdout. */
static void assert_fails(const char *words, int code, const char *text)
{
	int got = run(words);

	if (got != code || !strstr(errors, text))
		print_error("keyfob %s: %d, %s", words, got, errors);
	assert_int_equal(got, code);
	assert_string_equal(output, "");
	assert_non_null(strstr(errors, text));
	assert_int_equal(strncmp(errors, "keyfob: ", 8), 0);
	assert_null(strchr(errors, '\033'));
	assert_non_null(strchr(errors, '\n'));
	if (code != 2)
		assert_string_equal(strchr(errors, '\n'), "\n");
}

static void test_get(void **state)
{
	(void)state;
	assert_int_equal(run("get ctest"), 0);
	assert_string_equal(output, TOKEN);
	assert_string_equal(errors, "");
	assert_int_equal(run("get --header ctest"), 0);
	assert_string_equal(output, "Authorization: Bearer " TOKEN);
	assert_int_equal(run("get ctest --format=git"), 0);
	assert_string_equal(output, "password=" TOKEN "\npassword_expiry_utc=4102444800\n");
	assert_int_equal(run("get ctest --json"), 0);
	assert_string_equal(output, "{\"token\":\"abc.d\\\"e\\\\f\",\"expires_at\":4102444800,\"credential\":\"ctest\"}\n");
	assert_int_equal(run("get ctest --format exec-credential"), 0);
	assert_string_equal(output, "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":"
				    "{\"token\":\"abc.d\\\"e\\\\f\",\"expirationTimestamp\":\"2100-01-01T00:00:00Z\"}}\n");
	assert_int_equal(run("get ctest --format=google"), 0);
	assert_string_equal(output, "{\"version\":1,\"success\":true,\"token_type\":\"urn:ietf:params:oauth:token-type:jwt\","
				    "\"id_token\":\"abc.d\\\"e\\\\f\",\"expiration_time\":4102444800}\n");
}

static void test_failures(void **state)
{
	(void)state;
	assert_fails("get missing", 3, "keyfob: missing: ");
	assert_fails("get denied", 4, "to [credential denied])");
	assert_fails("get refused", 5, "keyfob: refused: azure: IMDS answered 400\\x0a\\x1b[1m (keyfob try refused");
	assert_fails("get later", 8, "keyfob: later: too many requests (try again in 20 s)");
	assert_fails("get garbage", 6, "malformed");
	assert_fails("refresh garbage", 1, "makes no sense");
	assert_fails("--socket /nonexistent/keyfob get ctest", 6, "is keyfobd running?");
	assert_fails("status missing", 3, "missing");
	assert_fails("drop denied", 4, "keyfob: denied: only root may");
	assert_fails("status endless", 1, "makes no sense");
}

static void test_usage(void **state)
{
	static const struct {
		const char *words, *text;
	} cases[] = {
		{ "", "say what to do" },
		{ "gte ctest", "did you mean get?" },
		{ "zzz", "unknown verb zzz" },
		{ "get", "missing: NAME\nusage: keyfob get NAME [--json] [--header] [--format=FORM] [--direct]\n" },
		{ "get a b", "one argument too many: b" },
		{ "get a --jsn", "did you mean --json?" },
		{ "get a --json=1", "takes no value" },
		{ "get a --format", "--format needs a value" },
		{ "get a --format=goggle", "did you mean google?" },
		{ "get a --format=x", "unknown format x" },
		{ "get a --json --header", "only one of" },
		{ "get a -j", "unknown option -j" },
		{ "get ../a", "not a credential's name" },
		{ "get -- -a", "not a credential's name" },
		{ "module", "there is module list, module show" },
		{ "module lst", "did you mean module list?" },
		{ "--sockt x get a", "did you mean --socket?" },
		{ "explain - --as root", "--as goes with" },
		{ "explain a --as nobody-of-that-name", "no such user" },
		{ "help gte", "did you mean get?" },
		{ "explain a --rules", "--rules needs a value" },
		{ "idp", "there is idp list, idp show, idp add" },
		{ "idp ad x", "did you mean idp add?" },
		{ "idp add", "missing: NAME\nusage: keyfob idp add NAME [--OPTION=VALUE ...]\n" },
		{ "idp add x --isuer=y", "did you mean --issuer?" },
		{ "verify token --service s", "never on a command line" },
		{ "verify -", "--service says" },
		{ "jwks list ../x", "not an identity provider's name" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_fails(cases[i].words, 2, cases[i].text);
}

static void test_help(void **state)
{
	char first[sizeof(output)];

	(void)state;
	assert_int_equal(run("--help"), 0);
	assert_non_null(strstr(output, "get NAME "));
	assert_int_equal(run("help status"), 0);
	snprintf(first, sizeof(first), "%s", output);
	assert_int_equal(strncmp(first, "usage: keyfob status [NAME] [--watch] [--check] [--prometheus] [--json]\n", 72), 0);
	assert_int_equal(run("status --help"), 0);
	assert_string_equal(output, first);
	assert_int_equal(run("module --help"), 0);
	assert_non_null(strstr(output, "usage: keyfob module show MODULE"));
	assert_int_equal(run("--version"), 0);
	assert_string_equal(output, "keyfob " KEYFOB_VERSION "\n");
}

static void test_status(void **state)
{
	json_t *top, *list, *c;

	(void)state;
	assert_int_equal(run("status --json"), 0);
	top = json_loads(output, JSON_REJECT_DUPLICATES, NULL);
	list = json_object_get(top, "credentials");
	assert_int_equal(json_array_size(list), 3);
	assert_string_equal(json_string_value(json_object_get(top, "version")), KEYFOB_VERSION);
	assert_int_equal(json_integer_value(json_object_get(top, "started_at")), STARTED);
	c = json_array_get(list, 0);
	assert_string_equal(json_string_value(json_object_get(c, "name")), "a");
	assert_string_equal(json_string_value(json_object_get(c, "state")), "none");
	assert_true(json_is_null(json_object_get(c, "expires_at")));
	assert_true(json_is_null(json_object_get(c, "last_error")));
	assert_true(json_is_null(json_object_get(c, "identity_provider")));
	c = json_array_get(list, 1);
	assert_string_equal(json_string_value(json_object_get(c, "identity_provider")), "entra");
	assert_string_equal(json_string_value(json_object_get(c, "mismatch")), "aud is aud, entra wants orders");
	assert_string_equal(json_string_value(json_object_get(c, "state")), "stale");
	assert_int_equal(json_integer_value(json_object_get(c, "expires_at")), EXPIRES);
	assert_int_equal(json_integer_value(json_object_get(c, "fetches")), 7);
	assert_int_equal(json_integer_value(json_object_get(c, "failures")), 2);
	assert_string_equal(json_string_value(json_object_get(c, "last_error")), "it said \"no\"\n");
	assert_int_equal(json_array_size(json_object_get(c, "users")), 3);
	assert_string_equal(json_string_value(json_array_get(json_object_get(c, "users"), 1)), "@dbclients");
	assert_string_equal(json_string_value(json_object_get(c, "failed_class")), "throttled");
	c = json_array_get(json_object_get(c, "readers"), 2);
	assert_int_equal(json_integer_value(json_object_get(c, "asked")), 1);
	assert_string_equal(json_string_value(json_object_get(c, "group")), "@dbclients");
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 2), "name")), "c");
	assert_true(json_is_null(json_object_get(json_array_get(list, 2), "mismatch")));
	json_decref(top);
	assert_int_equal(run("status ctest"), 0);
	assert_non_null(strstr(output, "  1 failed\n  ctest      orders database\n"));
	assert_non_null(strstr(output, "try        keyfob try ctest\n"));
}

static void test_changes(void **state)
{
	(void)state;
	assert_int_equal(run("drop ctest"), 0);
	assert_int_equal(strncmp(output, "ctest: dropped", 14), 0);
	assert_int_equal(run("refresh ctest"), 0);
	assert_int_equal(strncmp(output, "ctest: fetched afresh, #3fa9c1d2, lives ", 40), 0);
	assert_int_equal(run("reload"), 0);
	assert_int_equal(run("try ctest"), 0);
	assert_string_equal(output, "  > GET /x\n  < 200\\x1b[2J\nctest: a token was obtained; nothing was stored\n");
	assert_int_equal(run("try bad"), 5);
	assert_string_equal(output, "  > GET /x\n  < 200\\x1b[2J\n");
	assert_string_equal(errors, "keyfob: bad: failed: the configuration is wrong\n");
}

static void test_explain(void **state)
{
	(void)state;
	assert_int_equal(run("explain jwt"), 0);
	assert_non_null(strstr(output, "\"sub\": \"\\u001Bs\""));
	assert_non_null(strstr(output, "expires     1970-01-01 00:16:40 UTC"));
	assert_non_null(strstr(output, "Issuer URI        https://sts.windows.net/t/\n"));
	assert_non_null(strstr(output, "Audience          a\n                    b\n"));
	assert_non_null(strstr(output, "User identifier   \\x1bs\n"));
	assert_non_null(strstr(output, "requestedAccessTokenVersion"));
	assert_non_null(strstr(output, "it has expired"));
	assert_non_null(strstr(output, "no kid"));
	assert_non_null(strstr(output, "alg none"));
	assert_null(strchr(output, '\033'));
	assert_int_equal(run_to(-1, "e30.e30.c2ln\n", "explain -"), 0);
	assert_non_null(strstr(output, "no exp claim"));
	assert_int_equal(run_to(-1, "ya29.opaque", "explain -"), 1);
	assert_non_null(strstr(errors, "opaque"));
	assert_int_equal(run("explain ctest --as root"), 0);
	assert_string_equal(output, "ctest: root (uid 0) is allowed: root may have any\n");
	assert_int_equal(run("explain ctest --as=nobody"), 4);
	assert_non_null(strstr(output, "is denied: no allow line"));
}

/* The modules tell their options through keyfob-fetch, where that is built. */
static void test_module(void **state)
{
	char fetch[PATH_MAX + 8];
	json_t *top, *list, *one;
	size_t i;

	(void)state;
	assert_fails("module show ../azure", 2, "not a module's name");
	snprintf(fetch, sizeof(fetch), "%s-fetch", program);
	if (access(fetch, X_OK) < 0)
		skip();
	assert_fails("module show nope", 1, "keyfob: nope: ");
	assert_int_equal(run("module list --json"), 0);
	top = json_loads(output, JSON_REJECT_DUPLICATES, NULL);
	list = json_object_get(top, "modules");
	assert_true(json_array_size(list) > 0);
	json_array_foreach(list, i, one)
	{
		const char *name = json_string_value(json_object_get(one, "name"));
		char words[128];

		assert_non_null(name);
		snprintf(words, sizeof(words), "module show %.64s", name);
		assert_int_equal(run(words), 0);
		assert_int_equal(strncmp(output, name, strlen(name)), 0);
		assert_non_null(strstr(output, "example:\n"));
	}
	json_decref(top);
}

static void test_stdin_bound(void **state)
{
	size_t size = 80000;
	char *text = malloc(size + 1);

	(void)state;
	assert_non_null(text);
	memset(text, 'a', size);
	text[size] = 0;
	assert_int_equal(run_to(-1, text, "explain -"), 1);
	assert_non_null(strstr(errors, "larger"));
	free(text);
}

static void test_full_disk(void **state)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), pipes[2];

	(void)state;
	assert_true(full >= 0);
	assert_int_equal(run_to(full, "", "get ctest"), 1);
	assert_string_equal(errors, "keyfob: standard output: No space left on device\n");
	assert_int_equal(run_to(full, "", "--help"), 1);
	close(full);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	close(pipes[0]);
	assert_int_equal(run_to(pipes[1], "", "get ctest"), 1);
	assert_string_equal(errors, "keyfob: standard output: Broken pipe\n");
	close(pipes[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_explain),
		cmocka_unit_test(test_module),
		cmocka_unit_test(test_stdin_bound),
		cmocka_unit_test(test_full_disk),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
