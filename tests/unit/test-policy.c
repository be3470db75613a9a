/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a configuration means, and every fault that it may have, in the words
 * that an administrator reads; but for its provider lines.
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
		{ "pgpass a:1:b:c\001", "file = pgpass a:1:b:c\\x01: control characters cannot be written there" },
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

#define PROVIDER "[identity-provider entra]\nissuer = https://login.example.com/t\naudience = api://orders\nauthorization_type = user\n"

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
	char filler[3501];
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
	buffer_free(&b);
}

static void test_many_names(void **state)
{
	struct buffer b, faults;
	char name[151];

	(void)state;
	memset(name, 'n', 150);
	name[150] = 0;
	buffer_init(&b, 1u << 20);
	buffer_init(&faults, 1u << 20);
	/* More than one question to the launcher holds: each is asked about, in two. */
	buffer_printf(&b, "[credential a]\nprovider = azure\n");
	for (unsigned int i = 0; i < 500; i++) {
		buffer_printf(&b, "allow = user:%u%s\n", i, name);
		buffer_printf(&faults, "keyfob.conf:%u: credential a: there is no user %u%s\n", i + 3, i, name);
	}
	looked_up = 0;
	refuse(buffer_cstring(&b), buffer_cstring(&faults));
	assert_int_equal(looked_up, 2);
	/* One name takes one place, however many credentials it has. */
	buffer_clear(&b);
	for (unsigned int i = 0; i < 1800; i++)
		buffer_printf(&b, "[credential c%u]\nprovider = azure\nallow = user:orders group:dbclients\n", i);
	looked_up = 0;
	policy_free(load(buffer_cstring(&b)));
	assert_int_equal(looked_up, 1);
	/* A name that no question holds. */
	buffer_clear(&b);
	buffer_printf(&b, "[credential a]\nprovider = azure\nallow =");
	for (unsigned int i = 0; i < 440; i++)
		buffer_printf(&b, "%s", i ? name : " user:");
	buffer_printf(&b, "\n");
	refuse(buffer_cstring(&b), "users and groups cannot be looked up: Message too long\n");
	buffer_free(&b);
	buffer_free(&faults);
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
		in_directory(test_names),
		in_directory(test_identity_providers),
		in_directory(test_too_many),
		in_directory(test_many_names),
		in_directory(test_own),
		in_directory(test_own_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
