/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A credential's provider lines: their words, the modules' options, secrets,
 * lines one after the other, variables. And every fault that they may have.
 *
 * links: broker/policy broker/policy-provider broker/policy-files broker/policy-names verify/federation verify/federation-read verify/federation-values common/config common/buffer common/log common/wire
 * libs: ini_config
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/policy-fixture.h"

static void refuse_line(const char *line, const char *fault)
{
	char text[8192], wanted[2048];

	snprintf(text, sizeof(text), "[credential a]\nprovider = %s\n", line);
	snprintf(wanted, sizeof(wanted), "keyfob.conf:2: %s\n", fault);
	refuse(text, wanted);
}

static void test_words(void **state)
{
	static const struct {
		const char *line, *fault;
	} cases[] = {
		{ "", "provider wants a module's name first (keyfob module list)" },
		{ "-- /bin/x", "provider wants a module's name first (keyfob module list)" },
		{ "../azure", "provider wants a module's name first (keyfob module list)" },
		{ "azure \"client_id=x", "a quote is not closed" },
		{ "azure client_id=\"a\\b\"", "within quotes a backslash stands before \" or \\ only" },
		{ "azure client_id=\"a\\", "within quotes a backslash stands before \" or \\ only" },
		{ "azure imds", "\"imds\" is not option=value (a program and its arguments come after the word --)" },
		{ "azure \"\"", "\"\" is not option=value (a program and its arguments come after the word --)" },
		{ "exec run_as=corp /bin/token", "\"/bin/token\" is not option=value (a program and its arguments come after the word --)\n"
						 "keyfob.conf:2: exec wants the words -- PROGRAM" },
		{ "exec run_as=corp --", "exec wants the words -- PROGRAM" },
		{ "exec run_as=corp PROGRAM=/bin/x -- /bin/x", "exec has no option PROGRAM (it has: format, run_as, ttl, timeout)" },
		{ "azure -- /bin/x", "azure takes no words after --" },
		{ "azure\x1b[2J", "provider wants a module's name first (keyfob module list)" },
		{ "needy host=h", "needy wants the option tenant=" },
		{ "needy", "needy wants the option tenant=\nkeyfob.conf:2: needy wants the option host=" },
		{ "exec -- /bin/x", "exec runs a program and must say as whom: run_as=USER" },
	};
	char text[6000] = "azure client_id=";

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refuse_line(cases[i].line, cases[i].fault);
	memset(text + strlen(text), 'x', 4096);
	refuse_line(text, "a provider line has at most 4096 bytes");
	strcpy(text, "exec run_as=corp --");
	for (size_t i = 0; i < 126; i++)
		strcat(text, " x");
	refuse_line(text, "too many words");
}

static void test_options(void **state)
{
	static const struct {
		const char *option, *fault;
	} cases[] = {
		{ "colour=red",
			"azure has no option colour (it has: source, client_id, endpoint, ca_file, wait, loud, run_as, ttl, timeout)" },
		{ "source=", "option source must be imds|appservice" },
		{ "source=imd", "option source must be imds|appservice" },
		{ "source=imds|appservice", "option source must be imds|appservice" },
		{ "client_id=", "option client_id must be not empty" },
		{ "source=imds source=imds", "option source is given twice" },
		{ "endpoint=127.0.0.1", "option endpoint must be a URL: http://HOST or https://HOST" },
		{ "endpoint=ftp://x", "option endpoint must be a URL: http://HOST or https://HOST" },
		{ "endpoint=https://", "option endpoint must be a URL: http://HOST or https://HOST" },
		{ "endpoint=http:///x", "option endpoint must be a URL: http://HOST or https://HOST" },
		{ "\"endpoint=http://a b\"", "option endpoint must be a URL: http://HOST or https://HOST" },
		{ "ca_file=ca.pem", "option ca_file must be an absolute path" },
		{ "ca_file=", "option ca_file must be an absolute path" },
		{ "wait=0", "option wait must be a duration: 30s, 5m, 1h" },
		{ "wait=fast", "option wait must be a duration: 30s, 5m, 1h" },
		{ "loud=1", "option loud must be yes or no" },
		{ "ttl=0", "ttl must be a duration: 30s, 5m, 1h" },
		{ "ttl=", "ttl must be a duration: 30s, 5m, 1h" },
		{ "timeout=x", "timeout must be a duration: 30s, 5m, 1h" },
		{ "timeout=121", "timeout is at most 120s" },
		{ "run_as=", "run_as names a user" },
		{ "run_as=corp run_as=orders", "option run_as is given twice" },
		{ "ttl=1h ttl=2h", "option ttl is given twice" },
		{ "timeout=1s timeout=1s", "option timeout is given twice" },
	};
	char line[200];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(line, sizeof(line), "azure %s", cases[i].option);
		refuse_line(line, cases[i].fault);
	}
	/* All faults of a line at once. */
	refuse_line("azure loud=1 wait=0", "option loud must be yes or no\nkeyfob.conf:2: option wait must be a duration: 30s, 5m, 1h");
}

static void test_modules(void **state)
{
	static const char *const unreadable[] = { "kindless", "kindest", "boxless", "liar", "verbose", "cut", "crowded" };
	char fault[200];

	(void)state;
	for (size_t i = 0; i < sizeof(unreadable) / sizeof(unreadable[0]); i++) {
		snprintf(fault, sizeof(fault), "module %s describes itself in a way that cannot be read", unreadable[i]);
		refuse_line(unreadable[i], fault);
	}
	refuse_line("keys", "the module keys gives no tokens: it is keyfob's own, for identity providers");
	refuse_line("absent", "module absent: no such file in the module directory");
	refuse_line("silent", "module silent: cannot be described");
	refuse_line("hanging", "module hanging cannot be described: Connection timed out");
}

static void test_secrets(void **state)
{
	struct policy *policy =
		load("[credential a]\nprovider = chained key_file=/k plain_file=/p assertion=b\n[credential b]\nprovider = azure\n");
	const struct policy_provider *p = &policy_find(policy, "a")->providers[0];

	(void)state;
	assert_int_equal(p->settings[0].type, KEYFOB_OPTION_FILE);
	assert_true(p->settings[0].is_secret);
	assert_false(p->settings[1].is_secret);
	assert_int_equal(p->settings[2].type, KEYFOB_OPTION_CREDENTIAL);
	assert_true(p->settings[2].is_secret);
	policy_free(policy);
	refuse_line("chained key_file=/k run_as=corp", "run_as and the secret option key_file exclude each other");
	refuse_line("chained run_as=corp assertion=b", "run_as and the secret option assertion exclude each other");
	policy_free(load("[credential a]\nprovider = chained plain_file=/p run_as=corp\n"));
}

#define ON "provider = chained assertion="

static void test_chains(void **state)
{
	struct buffer b;

	(void)state;
	refuse_line("chained assertion=a/b", "option assertion must be a credential's name");
	refuse("[credential a]\n" ON "c\n[credential b]\nprovider = azure\n",
		"keyfob.conf:2: credential a: assertion=c: there is no such credential\n");
	refuse("[credential a]\n" ON "a\n", "keyfob.conf:1: credential a stands on credentials that stand on it\n");
	refuse("[credential b]\n" ON "a\n[credential a]\nprovider = azure\n" ON "b\n",
		"keyfob.conf:3: credential a stands on credentials that stand on it\n"
		"keyfob.conf:1: credential b stands on credentials that stand on it\n");
	buffer_init(&b, 4096);
	for (int i = 0; i < 8; i++)
		buffer_printf(&b, "[credential c%d]\n" ON "c%d\n", i, i + 1);
	buffer_printf(&b, "[credential c8]\nprovider = azure\n");
	policy_free(load(buffer_cstring(&b)));
	buffer_free(&b);
}

/* What the verifier goes by is read here as well: whole, or not at all. */
/* --- variables of the caller of get --direct --------------------------------------------------- */

static const char *variable(void *arg, const char *name)
{
	static char large[70000];

	(void)arg;
	memset(large, 'x', sizeof(large) - 1);
	return strcmp(name, "ID") == 0	       ? "5f3a"
	       : strcmp(name, "ENDPOINT") == 0 ? "http://127.0.0.1:80"
	       : strcmp(name, "KEY") == 0      ? "a\nsecret"
	       : strcmp(name, "EMPTY") == 0    ? ""
	       : strcmp(name, "LARGE") == 0    ? large
					       : NULL;
}

static void test_variables(void **state)
{
	static const struct policy_source direct = { NULL, describe, look_up, variable, NULL };
	const struct policy_provider *p;
	struct policy *policy;

	(void)state;
	refuse("[credential a]\nprovider = azure client_id=env:ID\nprovider = chained key_file=env:KEY\n",
		"keyfob.conf:2: client_id=env:ID: variables are for keyfob get --direct; a broker has not those of its callers\n"
		"keyfob.conf:3: key_file=env:KEY: variables are for keyfob get --direct; a broker has not those of its callers\n");
	policy = load_from(&direct, "[credential a]\nprovider = azure client_id=env:ID endpoint=env:ENDPOINT\n"
				    "provider = chained key_file=env:KEY\n"
				    "[credential b]\nprovider = azure client_id=env:1D\nprovider = azure client_id=env:\n"
				    "provider = azure client_id=xenv:ID\nprovider = azure client_id=env:I-D\n");
	p = policy_find(policy, "a")->providers;
	assert_string_equal(p[0].settings[0].value, "5f3a");
	assert_string_equal(p[0].settings[1].value, "http://127.0.0.1:80");
	assert_null(p[0].settings[0].content);
	assert_null(p[0].fault);
	assert_true(p[1].settings[0].is_secret);
	assert_string_equal(p[1].settings[0].value, "env:KEY");
	assert_string_equal(p[1].settings[0].content, "a\nsecret");
	assert_null(p[1].fault);
	/* What has not the form of a variable is a value like any other. */
	p = policy_find(policy, "b")->providers;
	assert_string_equal(p[0].settings[0].value, "env:1D");
	assert_string_equal(p[1].settings[0].value, "env:");
	assert_string_equal(p[2].settings[0].value, "xenv:ID");
	assert_string_equal(p[3].settings[0].value, "env:I-D");
	policy_free(policy);
}

/* A variable that is of no use is a fault of that line, not of the configuration, and what it holds is not told. */
static void test_useless_variables(void **state)
{
	static const struct policy_source direct = { NULL, describe, look_up, variable, NULL };
	static const struct {
		const char *line, *fault;
	} cases[] = {
		{ "azure client_id=env:NONE", "client_id=env:NONE: the environment variable NONE is not set" },
		{ "azure client_id=env:EMPTY", "client_id=env:EMPTY: the environment variable EMPTY is not set" },
		{ "azure client_id=env:LARGE", "client_id=env:LARGE: the environment variable LARGE is too long" },
		{ "azure client_id=env:KEY", "client_id=env:KEY: the environment variable KEY holds more than one line of text" },
		{ "azure endpoint=env:ID", "endpoint=env:ID: the environment variable ID holds what this option does not take" },
		{ "azure source=env:ID client_id=env:NONE",
			"source=env:ID: the environment variable ID holds what this option does not take" },
		{ "chained key_file=env:NONE", "key_file=env:NONE: the environment variable NONE is not set" },
		{ "chained key_file=env:LARGE", "key_file=env:LARGE: the environment variable LARGE is too long" },
		{ "chained plain_file=env:ID", "plain_file=env:ID: the environment variable ID holds what this option does not take" },
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct policy *policy;

		snprintf(text, sizeof(text), "[credential a]\nprovider = %s\n", cases[i].line);
		policy = load_from(&direct, text);
		assert_string_equal(policy->credentials[0].providers[0].fault, cases[i].fault);
		policy_free(policy);
	}
	refuse_line("chained assertion=env:ID", "option assertion must be a credential's name");
	refuse_line("azure timeout=env:ID", "timeout must be a duration: 30s, 5m, 1h");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_directory(test_words),
		in_directory(test_options),
		in_directory(test_modules),
		in_directory(test_secrets),
		in_directory(test_chains),
		in_directory(test_variables),
		in_directory(test_useless_variables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
