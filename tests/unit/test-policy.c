/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a configuration means, and every fault that it may have, in the words
 * that an administrator reads. Modules and names are made up here.
 *
 * links: broker/policy broker/policy-provider broker/policy-files verify/federation verify/federation-read verify/federation-values common/config common/buffer common/log common/wire
 * libs: ini_config
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "broker/launcher.h"
#include "broker/policy.h"
#include "common/wire.h"
#include "tests/unit/config-files.h"

/* --- a launcher's answers ---------------------------------------------------------- */

static const struct keyfob_option azure_options[] = {
	{ "source", KEYFOB_OPTION_CHOICE, 0, "imds|appservice", "" },
	{ "client_id", KEYFOB_OPTION_TEXT, 0, NULL, "" },
	{ "endpoint", KEYFOB_OPTION_URL, 0, NULL, "" },
	{ "ca_file", KEYFOB_OPTION_FILE, 0, NULL, "" },
	{ "wait", KEYFOB_OPTION_SECONDS, 0, NULL, "" },
	{ "loud", KEYFOB_OPTION_FLAG, 0, NULL, "" },
};
static const struct keyfob_option exec_options[] = {
	{ "format", KEYFOB_OPTION_CHOICE, 0, "raw|auto", "" },
	{ "PROGRAM", KEYFOB_OPTION_TEXT, KEYFOB_OPTION_REQUIRED | KEYFOB_OPTION_ARGUMENTS, NULL, "" },
};
static const struct keyfob_option needy_options[] = {
	{ "tenant", KEYFOB_OPTION_TEXT, KEYFOB_OPTION_REQUIRED, NULL, "" },
	{ "host", KEYFOB_OPTION_TEXT, KEYFOB_OPTION_REQUIRED, NULL, "" },
};
static const struct keyfob_option chained_options[] = {
	{ "assertion", KEYFOB_OPTION_CREDENTIAL, 0, NULL, "" },
	{ "key_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, NULL, "" },
	{ "plain_file", KEYFOB_OPTION_FILE, 0, NULL, "" },
};
static const struct keyfob_module modules[] = {
	{ .name = "azure", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ACCESS, .options = azure_options, .count = 6 },
	{ .name = "exec", .sandbox = KEYFOB_SANDBOX_EXEC, .kind = KEYFOB_KIND_ID, .options = exec_options, .count = 2 },
	{ .name = "needy", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ACCESS, .options = needy_options, .count = 2 },
	{ .name = "chained", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ACCESS, .options = chained_options, .count = 3 },
	{ .name = "keys", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_DOCUMENT },
	{ .name = "kindest", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_DOCUMENT + 1 },
	{ .name = "kindless", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_DEFAULT },
	{ .name = "boxless", .sandbox = KEYFOB_SANDBOX_FILE + 1, .kind = KEYFOB_KIND_ID },
	{ .name = "liar", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ID },
	{ .name = "verbose", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ID },
	{ .name = "cut", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ID, .options = azure_options, .count = 6 },
	{ .name = "crowded", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ID },
};

static unsigned int described, looked_up;
static int look_up_error;
static uint32_t answers_cut;

static void put_module(struct buffer *frame, const struct keyfob_module *m)
{
	buffer_put_u8(frame, WIRE_VERSION);
	buffer_put_u8(frame, 0);
	buffer_put_text(frame, strcmp(m->name, "liar") == 0 ? "azure" : m->name);
	buffer_put_text(frame, "help");
	buffer_put_u8(frame, (uint8_t)m->sandbox);
	buffer_put_u8(frame, (uint8_t)m->kind);
	buffer_put_text(frame, "example");
	buffer_put_u32(frame, strcmp(m->name, "crowded") == 0 ? 0xffffffff : (uint32_t)m->count);
	for (size_t i = 0; i < m->count; i++) {
		buffer_put_text(frame, m->options[i].name);
		buffer_put_u8(frame, (uint8_t)m->options[i].type);
		buffer_put_u8(frame, (uint8_t)m->options[i].flags);
		buffer_put_text(frame, m->options[i].values);
		buffer_put_text(frame, "help");
	}
	if (strcmp(m->name, "verbose") == 0)
		buffer_put_u8(frame, 0);
	if (strcmp(m->name, "cut") == 0)
		frame->length -= 10;
}

static int describe(void *arg, const char *module, struct buffer *frame)
{
	(void)arg;
	described++;
	if (strcmp(module, "hanging") == 0)
		return -ETIMEDOUT;
	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		if (strcmp(modules[i].name, module) == 0) {
			put_module(frame, &modules[i]);
			return 0;
		}
	}
	if (strcmp(module, "silent") == 0)
		return 0;
	buffer_put_u8(frame, WIRE_VERSION);
	buffer_put_u8(frame, 1);
	buffer_put_text(frame, "no such file in the module directory");
	return 0;
}

static const struct {
	const char *name;
	bool is_group;
	uint32_t id;
} known[] = {
	{ "root", false, 0 },
	{ "toor", false, 0 },
	{ "keyfob-fetch", false, 990 },
	{ "orders", false, 1001 },
	{ "corp", false, 1002 },
	{ "dbclients", true, 2001 },
	{ "corp", true, 1002 },
};

static int look_up(void *arg, uint32_t count, const struct buffer *names, struct buffer *answer)
{
	struct reader r;

	(void)arg;
	looked_up++;
	if (look_up_error)
		return look_up_error;
	reader_init(&r, names->data, names->length);
	buffer_put_u32(answer, count - answers_cut);
	for (uint32_t i = 0; i < count; i++) {
		bool is_group = reader_u8(&r) == LAUNCHER_NAME_GROUP, found = false;
		char name[300];
		uint32_t id = 0;

		reader_text(&r, name, sizeof(name));
		for (size_t j = 0; j < sizeof(known) / sizeof(known[0]); j++) {
			if (known[j].is_group != is_group || strcmp(known[j].name, name) != 0)
				continue;
			found = true;
			id = known[j].id;
		}
		buffer_put_u8(answer, found);
		buffer_put_u32(answer, id);
	}
	assert_true(reader_done(&r));
	return 0;
}

static const struct policy_source source = { NULL, describe, look_up, NULL, NULL };

static int make_policy_dir(void **state)
{
	described = looked_up = 0;
	look_up_error = 0;
	answers_cut = 0;
	return make_config_dir(state);
}

static struct policy *load_from(const struct policy_source *from, const char *text)
{
	struct policy *policy;
	struct buffer errors;

	write_text("keyfob.conf", text);
	buffer_init(&errors, 65536);
	policy = policy_load(config_file, from, &errors);
	if (!policy)
		fail_msg("refused:\n%s\n%s", text, buffer_cstring(&errors));
	assert_int_equal(errors.length, 0);
	buffer_free(&errors);
	return policy;
}

static struct policy *load(const char *text)
{
	return load_from(&source, text);
}

static void refuse_from(const struct policy_source *from, const char *text, const char *wanted)
{
	struct policy *policy;
	struct buffer errors;
	char *got;

	write_text("keyfob.conf", text);
	buffer_init(&errors, 65536);
	policy = policy_load(config_file, from, &errors);
	got = without_dir(&errors);
	if (policy || strcmp(got, wanted) != 0)
		fail_msg("%s\ngives:\n%swanted:\n%s", text, got, wanted);
	free(got);
	buffer_free(&errors);
}

static void refuse(const char *text, const char *wanted)
{
	refuse_from(&source, text, wanted);
}

/* --- what is good --------------------------------------------------------------------- */

static void test_whole(void **state)
{
	const struct policy_credential *c;
	struct policy *policy;

	(void)state;
	policy = load(
		"[credential zeta]\nprovider = azure\n"
		"[credential atlas]\ndescription = orders on Atlas\nresource = api://0d5c\nprovider = azure client_id=5f3a "
		"source=appservice timeout=10s\n"
		"provider = exec run_as=corp ttl=1h -- /usr/bin/token --db \"two words\" \"a \\\"quoted\\\" \\\\ one\" \"\" x\\y -- -z\n"
		"allow = user:orders   group:dbclients\nallow = user:root\ntoken = id\nrefresh = on-demand\nstore = socket\nmin_ttl = 2m\n"
		"trust_run_as = yes\nmetadata = yes\n");
	assert_int_equal(policy->count, 2);
	assert_int_equal(looked_up, 1);
	assert_int_equal(described, 2);
	c = policy_find(policy, "atlas");
	assert_string_equal(c->description, "orders on Atlas");
	assert_string_equal(c->resource, "api://0d5c");
	assert_int_equal(c->line, 3);
	assert_int_equal(c->kind, KEYFOB_KIND_ID);
	assert_int_equal(c->refresh, POLICY_REFRESH_ON_DEMAND);
	assert_int_equal(c->store, POLICY_STORE_SOCKET);
	assert_int_equal(c->min_ttl, 120);
	assert_true(c->trust_run_as);
	assert_true(c->metadata);
	assert_int_equal(policy_kind(c), KEYFOB_KIND_ID);
	assert_int_equal(c->rule_count, 3);
	assert_true(!c->rules[0].is_group && c->rules[0].id == 1001);
	assert_true(c->rules[1].is_group && c->rules[1].id == 2001);
	assert_int_equal(c->provider_count, 2);
	assert_string_equal(c->providers[0].module, "azure");
	assert_int_equal(c->providers[0].sandbox, KEYFOB_SANDBOX_NETWORK);
	assert_int_equal(c->providers[0].run_as, 990);
	assert_null(c->providers[0].run_as_name);
	assert_int_equal(c->providers[0].timeout, 10);
	assert_int_equal(c->providers[0].count, 2);
	assert_string_equal(c->providers[0].settings[1].name, "source");
	assert_string_equal(c->providers[0].settings[1].value, "appservice");
	assert_int_equal(c->providers[1].run_as, 1002);
	assert_int_equal(c->providers[1].ttl, 3600);
	assert_int_equal(c->providers[1].timeout, POLICY_TIMEOUT);
	static const char *const arguments[] = { "/usr/bin/token", "--db", "two words", "a \"quoted\" \\ one", "", "x\\y", "--", "-z" };
	assert_int_equal(c->providers[1].arguments, 8);
	for (size_t i = 0; i < 8; i++)
		assert_string_equal(c->providers[1].argument[i], arguments[i]);
	assert_null(c->providers[1].argument[8]);
	policy_free(policy);
}

static void test_defaults(void **state)
{
	const struct policy_credential *c;
	struct policy *policy;

	(void)state;
	policy = load(
		"[credential a]\nprovider = azure source=imds endpoint=http://127.0.0.1:80 ca_file=/x wait=5m loud=no client_id=\"a b\"\n");
	c = policy_find(policy, "a");
	assert_null(c->description);
	assert_null(c->resource);
	assert_int_equal(c->kind, KEYFOB_KIND_DEFAULT);
	assert_int_equal(c->refresh, POLICY_REFRESH_AHEAD);
	assert_int_equal(c->store, POLICY_STORE_KEYRING);
	assert_int_equal(c->min_ttl, POLICY_MIN_TTL);
	assert_false(c->trust_run_as);
	assert_false(c->metadata);
	assert_int_equal(policy_kind(c), KEYFOB_KIND_ACCESS);
	assert_int_equal(c->rule_count, 0);
	assert_int_equal(c->providers[0].timeout, POLICY_TIMEOUT);
	assert_string_equal(c->providers[0].settings[5].value, "a b");
	assert_null(policy_find(policy, "b"));
	assert_null(policy_find(policy, ""));
	policy_free(policy);
	policy = load("[credential a]\nprovider = azure\nprovider = exec run_as=corp -- /bin/x\n");
	assert_int_equal(policy_kind(&policy->credentials[0]), KEYFOB_KIND_DEFAULT);
	policy_free(policy);
	policy = load("# nothing yet\n");
	assert_int_equal(policy->count, 0);
	assert_null(policy_find(policy, "a"));
	policy_free(policy);
	policy_free(NULL);
}

static void test_who_may(void **state)
{
	static const gid_t none[] = { 5, 1001 }, member[] = { 5, 2001 };
	const struct policy_credential *c, *closed;
	struct policy *policy;

	(void)state;
	policy = load("[credential open]\nprovider = azure\nallow = user:orders group:dbclients\n[credential closed]\nprovider = azure\n");
	c = policy_find(policy, "open");
	closed = policy_find(policy, "closed");
	assert_true(policy_allows(c, 0, NULL, 0));
	assert_true(policy_allows(c, 1001, NULL, 0));
	assert_true(policy_allows(c, 1002, member, 2));
	/* A group's number is not a user's, and the other way round. */
	assert_false(policy_allows(c, 1002, none, 2));
	assert_false(policy_allows(c, 2001, none, 2));
	assert_false(policy_allows(c, 1002, member, 1));
	assert_true(policy_names_user(c, 1001));
	assert_false(policy_names_user(c, 2001));
	assert_false(policy_names_user(c, 0));
	assert_true(policy_allows(closed, 0, NULL, 0));
	assert_false(policy_allows(closed, 1001, member, 2));
	policy_free(policy);
	assert_false(policy_uid_is_recycled(61183));
	assert_true(policy_uid_is_recycled(61184));
	assert_true(policy_uid_is_recycled(65519));
	assert_false(policy_uid_is_recycled(65520));
}

/* What decides which token comes is part of the definition; who may have it, and when it is renewed, is not. */
static void test_definition(void **state)
{
	static const char *const same[] = {
		"[credential a]\nallow = user:orders\nresource = r\nprovider = azure\n",
		"[credential a]\nresource = r\nprovider = azure\nmin_ttl = 9s\nmetadata = yes\n",
		"[credential a]\nresource = r\nprovider = azure\ndescription = d\nrefresh = on-demand\n",
	};
	static const char *const other[] = {
		"[credential a]\nresource = s\nprovider = azure\n",
		"[credential a]\nresource = r\nprovider = azure source=imds\n",
		"[credential a]\nresource = r\nprovider = azure\ntoken = id\n",
		"[credential a]\nresource = r\nprovider = azure\nprovider = azure\n",
		"[credential a]\nresource = r\nprovider = azure run_as=corp\n",
	};
	struct policy *first = load("[credential a]\nresource = r\nprovider = azure\n"), *policy;

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		policy = load(same[i]);
		assert_string_equal(policy->credentials[0].definition, first->credentials[0].definition);
		policy_free(policy);
	}
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		policy = load(other[i]);
		assert_string_not_equal(policy->credentials[0].definition, first->credentials[0].definition);
		policy_free(policy);
	}
	policy_free(first);
}

/* --- what is not ------------------------------------------------------------------------ */

#define KEYS \
	"(it has: description, resource, provider, allow, identity_provider, token, refresh, min_ttl, store, file, socket, metadata, " \
	"trust_run_as)"
#define SECTIONS "(there is: [credential NAME], [identity-provider NAME], [organization NAME], [service NAME], [database-user NAME])"

static void test_sections_and_keys(void **state)
{
	static const struct {
		const char *text, *fault;
	} cases[] = {
		{ "[credentials a]\nk = v\n", "keyfob.conf:1: there is no section [credentials] " SECTIONS "\n" },
		{ "provider = azure\n[credential a]\nprovider = azure\n",
			"keyfob.conf:1: a key stands before the first section, or in [default]; write [credential NAME] above it\n" },
		{ "[default]\nk = v\n",
			"keyfob.conf:1: a key stands before the first section, or in [default]; write [credential NAME] above it\n" },
		{ "[default x]\nk = v\n", "keyfob.conf:1: there is no section [default] " SECTIONS "\n" },
		{ "[credential a]\nprovider = azure\ncolour = red\nprovided = azure\n",
			"keyfob.conf:3: a credential has no key colour " KEYS "\nkeyfob.conf:4: a credential has no key provided " KEYS
			"\n" },
		{ "[credential]\nprovider = azure\n",
			"keyfob.conf:1: [credential ]: a name has 1 to 64 letters, digits, '.', '_' and '-'\n" },
		{ "[credential a b]\nprovider = azure\n",
			"keyfob.conf:1: [credential a b]: a name has 1 to 64 letters, digits, '.', '_' and '-'\n" },
		{ "[credential ../a]\nprovider = azure\n",
			"keyfob.conf:1: [credential ../a]: a name has 1 to 64 letters, digits, '.', '_' and '-'\n" },
		{ "[credential a]\ndescription = d\n", "keyfob.conf:1: credential a has no provider line\n" },
		{ "[credential a]\nprovider = azure\nresource = r\nresource = r\n", "keyfob.conf:4: resource is given twice\n" },
		{ "[credential a]\nprovider = azure\ndescription = r\ndescription =\n", "keyfob.conf:4: description is given twice\n" },
		{ "[credential a]\nprovider = azure\ntoken = refresh\n", "keyfob.conf:3: token is access or id\n" },
		{ "[credential a]\nprovider = azure\nrefresh =\n", "keyfob.conf:3: refresh is ahead or on-demand\n" },
		{ "[credential a]\nprovider = azure\nstore = Socket\n", "keyfob.conf:3: store is keyring or socket\n" },
		{ "[credential a]\nprovider = azure\ntrust_run_as = true\n", "keyfob.conf:3: trust_run_as is yes or no\n" },
		{ "[credential a]\nprovider = azure\nresource = r\nmetadata = true\n", "keyfob.conf:4: metadata is yes or no\n" },
		{ "[credential a]\nmetadata = yes\nprovider = azure\n",
			"keyfob.conf:2: credential a: metadata = yes needs a resource, by which metadata clients ask\n" },
		{ "[credential a]\nmetadata = yes\nresource =\nprovider = azure\n",
			"keyfob.conf:2: credential a: metadata = yes needs a resource, by which metadata clients ask\n" },
		{ "[credential a]\nresource = r\nprovider = azure\nprovider = exec run_as=corp -- /bin/x\nmetadata = yes\n",
			"keyfob.conf:5: credential a: metadata = yes with providers of both kinds of token needs token = access or token = "
			"id\n" },
		{ "[credential a]\nprovider = azure\nmin_ttl = soon\n", "keyfob.conf:3: min_ttl is a duration: 30s, 5m, 1h\n" },
		{ "[credential a]\nprovider = azure\nallow = orders user: group: user:orders,corp\n",
			"keyfob.conf:3: allow takes user:NAME and group:NAME, not \"orders\"\n"
			"keyfob.conf:3: allow takes user:NAME and group:NAME, not \"user:\"\n"
			"keyfob.conf:3: allow takes user:NAME and group:NAME, not \"group:\"\n" },
		{ "[credential a]\nprovider = azure\n[credential a]\nprovider = azure\n",
			"keyfob.conf:3: this section stands here for the second time\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refuse(cases[i].text, cases[i].fault);
	assert_int_equal(looked_up, 0);
}

/* --- files and sockets ------------------------------------------------------------------- */

static void refuse_key(const char *key, const char *fault)
{
	char text[2048], wanted[2048];

	snprintf(text, sizeof(text), "[credential a]\nprovider = azure\n%s\n", key);
	snprintf(wanted, sizeof(wanted), "keyfob.conf:3: %s\n", fault);
	refuse(text, wanted);
}

#define FILE_FORMS "file is raw, or pgpass HOST:PORT:DATABASE:USER"
#define SOCKET_FORM "socket takes USER:GROUP MODE, the mode in octal: orders:orders 0660"

static void test_file_and_socket(void **state)
{
	const struct policy_credential *c;
	struct policy *policy;

	(void)state;
	policy = load("[credential a]\nprovider = azure\nallow = user:orders\nfile = raw\nsocket = orders:dbclients 0660\n"
		      "file = pgpass db.example:5432:orders:rw\nfile = pgpass   \\:\\:1:*:my db:a\\\\b\n"
		      "[credential b]\nprovider = azure\nsocket = root:corp 606\n"
		      /* The same line, for somebody else. */
		      "[credential c]\nprovider = azure\nallow = user:corp\nfile = pgpass db.example:5432:orders:rw\n");
	c = policy_find(policy, "a");
	assert_true(policy_has_file(c) && c->has_raw_file);
	assert_int_equal(c->pgpass_count, 2);
	assert_string_equal(c->pgpass[0].text, "db.example:5432:orders:rw");
	assert_int_equal(c->pgpass[0].line, 6);
	assert_string_equal(c->pgpass[1].text, "\\:\\:1:*:my db:a\\\\b");
	assert_int_equal(c->socket.uid, 1001);
	assert_int_equal(c->socket.gid, 2001);
	assert_int_equal(c->socket.mode, 0660);
	c = policy_find(policy, "b");
	assert_false(policy_has_file(c));
	assert_int_equal(c->socket.uid, 0);
	assert_int_equal(c->socket.gid, 1002);
	assert_int_equal(c->socket.mode, 0606);
	c = policy_find(policy, "c");
	assert_true(policy_has_file(c) && !c->has_raw_file);
	assert_null(c->socket.user);
	policy_free(policy);
}

static void test_file_faults(void **state)
{
	static const struct {
		const char *value, *fault;
	} cases[] = {
		{ "", FILE_FORMS },
		{ "raws", FILE_FORMS },
		{ "raw x", FILE_FORMS },
		{ "pgpassword *:*:*:*", FILE_FORMS },
		{ "pgpass", "file = pgpass : no field may be empty; * stands for any" },
		{ "pgpass a:1:b", "file = pgpass a:1:b: it takes HOST:PORT:DATABASE:USER" },
		{ "pgpass a:1:b:c:d", "file = pgpass a:1:b:c:d: it takes HOST:PORT:DATABASE:USER" },
		{ "pgpass a:1::c", "file = pgpass a:1::c: no field may be empty; * stands for any" },
		{ "pgpass a:1:b:", "file = pgpass a:1:b:: no field may be empty; * stands for any" },
		{ "pgpass a:pg:b:c", "file = pgpass a:pg:b:c: PORT is a number up to 65535, or *" },
		{ "pgpass a:65536:b:c", "file = pgpass a:65536:b:c: PORT is a number up to 65535, or *" },
		{ "pgpass a:0:b:c", "file = pgpass a:0:b:c: PORT is a number up to 65535, or *" },
		{ "pgpass a:**:b:c", "file = pgpass a:**:b:c: PORT is a number up to 65535, or *" },
		{ "pgpass #a:1:b:c", "file = pgpass #a:1:b:c: HOST cannot begin with #" },
		{ "pgpass a:1:b:c\\d", "file = pgpass a:1:b:c\\d: a backslash stands before : or another backslash only" },
		{ "pgpass a:1:b:c\\", "file = pgpass a:1:b:c\\: a backslash stands before : or another backslash only" },
		{ "pgpass a:1:b:c\001", "file = pgpass a:1:b:c\001: control characters cannot be written there" },
	};
	char key[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(key, sizeof(key), "file = %s", cases[i].value);
		refuse_key(key, cases[i].fault);
	}
	refuse("[credential a]\nprovider = azure\nfile = raw\nfile = raw\n", "keyfob.conf:4: file = raw is given twice\n");
	refuse("[credential pgpass]\nprovider = azure\nfile = raw\n",
		"keyfob.conf:3: a credential of the name pgpass cannot have a raw file: that of file = pgpass has this name\n");
	refuse("[credential a]\nprovider = azure\nfile = raw\nrefresh = on-demand\n",
		"keyfob.conf:3: credential a: file wants refresh = ahead, as who reads a file does not ask for a token\n");
	/* In whatever order they stand: the name decides. */
	refuse("[credential b]\nprovider = azure\nallow = group:dbclients user:orders\nfile = pgpass *:*:*:rw\n"
	       "[credential a]\nprovider = azure\nallow = user:orders\nfile = pgpass *:*:*:rw\n",
		"keyfob.conf:4: credential b: the line *:*:*:rw of a pgpass file is that of credential a too (keyfob.conf:8)\n");
	refuse("[credential a]\nprovider = azure\nfile = pgpass *:*:*:rw\nfile = pgpass *:*:*:rw\n",
		"keyfob.conf:4: credential a: the line *:*:*:rw of a pgpass file is that of credential a too (keyfob.conf:3)\n");
}

static void test_socket_faults(void **state)
{
	static const char *const values[] = { "", "orders", "orders 0660", "orders:orders", ":orders 0660", "orders: 0660",
		"orders:orders 660x", "orders:orders 66", "orders:orders 0888", "orders:orders 01777", "orders:orders 00660",
		"orders:orders -660", "a:b:c 0660", "orders:orders 0660 x", "orders :orders 0660" };
	char key[256];

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		snprintf(key, sizeof(key), "socket = %s", values[i]);
		refuse_key(key, SOCKET_FORM);
	}
	refuse_key("socket = orders:dbclients 0440", "socket: mode 0440 lets nobody connect; that is the right to write, 0660 or 0600");
	refuse_key("socket = ghost:dbclients 0660", "credential a: socket: there is no user ghost");
	refuse_key("socket = orders:ghosts 0660", "credential a: socket: there is no group ghosts");
	refuse("[credential a]\nprovider = azure\nsocket = orders:corp 0660\nsocket = orders:corp 0660\n",
		"keyfob.conf:4: socket is given twice\n");
}

static void test_second_team(void **state)
{
	(void)state;
	write_text("conf.d/team.conf", "[credential a]\nallow = user:corp\n");
	refuse("[credential a]\nprovider = azure\nallow = user:orders\n",
		"conf.d/team.conf:1: [credential a] stands already in keyfob.conf:1; a section may be given once\n"
		"conf.d/team.conf:1: credential a has no provider line\n");
}

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
		{ "azure\x1b[2J", "\\x1b is no character of a module's name" },
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

static void test_names(void **state)
{
	static const struct {
		const char *text, *fault;
	} cases[] = {
		{ "[credential a]\nprovider = azure\nallow = user:nobody-here group:orders\n",
			"keyfob.conf:3: credential a: there is no user nobody-here\nkeyfob.conf:3: credential a: there is no group "
			"orders\n" },
		{ "[credential a]\nprovider = exec run_as=ghost -- /x\n",
			"keyfob.conf:2: credential a: run_as=ghost: there is no such user\n" },
		{ "[credential a]\nprovider = exec run_as=root -- /x\n",
			"keyfob.conf:2: credential a: run_as=root: a provider never runs as root\n" },
		{ "[credential a]\nprovider = exec run_as=toor -- /x\ntrust_run_as = yes\n",
			"keyfob.conf:2: credential a: run_as=toor: a provider never runs as root\n" },
		{ "[credential a]\nprovider = exec run_as=corp -- /x\nallow = user:corp user:orders group:corp\n",
			"keyfob.conf:2: credential a runs its provider as corp and allows user:orders, who would have to trust corp; "
			"say trust_run_as = yes if so\n"
			"keyfob.conf:2: credential a runs its provider as corp and allows group:corp, who would have to trust corp; "
			"say trust_run_as = yes if so\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refuse(cases[i].text, cases[i].fault);
	policy_free(load("[credential a]\nprovider = exec run_as=corp -- /x\nallow = user:corp\n"));
	policy_free(load("[credential a]\nprovider = exec run_as=corp -- /x\n"));
	policy_free(load("[credential a]\nprovider = exec run_as=corp -- /x\nallow = user:orders\ntrust_run_as = yes\n"));
	look_up_error = -ETIMEDOUT;
	refuse("[credential a]\nprovider = azure\n", "users and groups cannot be looked up: Connection timed out\n");
	look_up_error = 0;
	answers_cut = 1;
	refuse("[credential a]\nprovider = azure\n", "users and groups cannot be looked up: Bad message\n");
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

#define PROVIDER "[identity-provider entra]\nissuer = https://login.example.com/t\naudience = api://orders\nauthorization_type = user\n"

/* What the verifier goes by is read here as well: whole, or not at all. */
static void test_identity_providers(void **state)
{
	struct policy *policy = load("[credential a]\nprovider = azure\nidentity_provider = entra\n" PROVIDER
				     "[organization acme]\nservices = pg\nidentity_providers = entra\n"
				     "[service pg]\nallow = user:nobody-here\n"
				     "[database-user rw]\nservice = pg\nidentity_provider = entra\nuser_id = 7d2f\n");
	const struct policy_credential *c = policy_find(policy, "a");

	(void)state;
	assert_string_equal(c->identity_provider, "entra");
	assert_string_equal(federation_provider(&policy->federation, "entra")->issuer, "https://login.example.com/t");
	assert_null(strstr(c->definition, "entra"));
	policy_free(policy);
	refuse("[credential a]\nprovider = azure\nidentity_provider = entry\n" PROVIDER,
		"keyfob.conf:3: credential a: there is no identity provider entry\n");
	refuse("[credential a]\nprovider = azure\nidentity_provider = entra\nidentity_provider = entra\n" PROVIDER,
		"keyfob.conf:4: identity_provider is given twice\n");
}

/* words times "user:orders", in lines of 100. */
static void put_allow(struct buffer *b, size_t words)
{
	for (size_t i = 0; i < words; i++)
		buffer_printf(b, "%s user:orders%s", i % 100 == 0 ? "allow =" : "", i % 100 == 99 || i + 1 == words ? "\n" : "");
}

static void test_too_many(void **state)
{
	char filler[3501], name[200];
	struct buffer b;

	(void)state;
	memset(filler, 'x', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = 0;
	buffer_init(&b, 1u << 20);
	buffer_put(&b, "[credential a]\n", 15);
	for (size_t i = 0; i < 9; i++)
		buffer_printf(&b, "provider = azure\n");
	refuse(buffer_cstring(&b), "keyfob.conf:10: a credential has at most 8 provider lines\n");
	buffer_clear(&b);
	buffer_printf(&b, "[credential a]\nprovider = azure\n");
	put_allow(&b, 512);
	policy_free(load(buffer_cstring(&b)));
	buffer_clear(&b);
	buffer_printf(&b, "[credential a]\nprovider = azure\n");
	put_allow(&b, 513);
	refuse(buffer_cstring(&b), "keyfob.conf:8: allow has more than 512 words; use a group\n");
	buffer_clear(&b);
	buffer_printf(&b, "[credential a]\n");
	for (size_t i = 0; i < 5; i++)
		buffer_printf(&b, "provider = azure client_id=%s\n", filler);
	refuse(buffer_cstring(&b), "keyfob.conf:1: credential a: its provider lines are too long\n");
	/* More names than one question to the launcher holds. */
	memset(name, 'n', 150);
	name[150] = 0;
	buffer_clear(&b);
	buffer_printf(&b, "[credential a]\nprovider = azure\n");
	for (size_t i = 0; i < 500; i++)
		buffer_printf(&b, "allow = user:%s\n", name);
	refuse(buffer_cstring(&b), "users and groups cannot be looked up: Message too long\n");
	buffer_free(&b);
}

/* --- keyfobd --user ------------------------------------------------------------------- */

static const struct policy_source own_source = { NULL, describe, look_up, NULL, "me" };

static void test_own(void **state)
{
	const struct policy_credential *c;
	struct policy *policy, *changed;

	(void)state;
	policy = load_from(&own_source, "[credential a]\nprovider = exec -- /bin/x\nprovider = azure\n");
	c = policy_find(policy, "a");
	assert_int_equal(c->rule_count, 1);
	assert_string_equal(c->rules[0].name, "me");
	assert_true(policy_allows(c, geteuid(), NULL, 0) && policy_names_user(c, geteuid()));
	assert_false(policy_allows(c, 1001, NULL, 0));
	assert_true(c->providers[0].run_as == geteuid() && c->providers[1].run_as == geteuid());
	assert_null(c->providers[0].run_as_name);
	/* Room for no more than 16 digits, which tell one definition from another. */
	assert_int_equal(strlen(c->definition), 16);
	changed = load_from(&own_source, "[credential a]\nprovider = exec -- /bin/y\nprovider = azure\n"
					 "[credential b]\nprovider = exec -- /bin/x\nprovider = azure\n");
	assert_string_not_equal(policy_find(changed, "a")->definition, c->definition);
	assert_string_equal(policy_find(changed, "b")->definition, c->definition);
	policy_free(changed);
	policy_free(policy);
	/* A broker of root's is told as whom. */
	refuse("[credential a]\nprovider = exec -- /bin/x\n", "keyfob.conf:2: exec runs a program and must say as whom: run_as=USER\n");
}

static void test_own_alone(void **state)
{
	char wanted[2048];

	(void)state;
	snprintf(wanted, sizeof(wanted),
		"keyfob.conf:3: credential a allows user:orders: with --user it can allow nobody but the user himself (uid %1$u)\n"
		"keyfob.conf:4: credential a allows group:dbclients: with --user it can allow nobody but the user himself (uid %1$u)\n"
		"keyfob.conf:7: credential b: run_as=orders: with --user providers run as the user himself (uid %1$u); leave run_as out\n"
		"keyfob.conf:11: credential c: socket: with --user its owner can be nobody but the user himself (uid %1$u)\n",
		geteuid());
	refuse_from(&own_source,
		"[credential a]\nprovider = azure\nallow = user:orders\nallow = group:dbclients\n"
		"[credential b]\nprovider = azure\nprovider = exec run_as=orders -- /bin/x\ntrust_run_as = yes\n"
		"[credential c]\nprovider = azure\nsocket = orders:dbclients 0660\n",
		wanted);
	/* Nobody of that name: that is said once. */
	refuse_from(&own_source, "[credential a]\nprovider = azure\nallow = user:nobody-has-this\n",
		"keyfob.conf:3: credential a: there is no user nobody-has-this\n");
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, make_policy_dir, remove_config_dir)

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
		in_directory(test_whole),
		in_directory(test_defaults),
		in_directory(test_who_may),
		in_directory(test_definition),
		in_directory(test_sections_and_keys),
		in_directory(test_file_and_socket),
		in_directory(test_file_faults),
		in_directory(test_socket_faults),
		in_directory(test_second_team),
		in_directory(test_words),
		in_directory(test_options),
		in_directory(test_variables),
		in_directory(test_useless_variables),
		in_directory(test_modules),
		in_directory(test_names),
		in_directory(test_secrets),
		in_directory(test_chains),
		in_directory(test_identity_providers),
		in_directory(test_too_many),
		in_directory(test_own),
		in_directory(test_own_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
