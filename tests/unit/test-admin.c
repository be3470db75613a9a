/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs that change the configuration: what they write, what they refuse,
 * and what they leave as it was. The programs of the build tree, on a
 * directory of the test's own.
 * links: common/buffer common/wire
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <sys/file.h>
#include <time.h>

#include "tests/unit/cli-call.h"
#include "tests/unit/config-files.h"
#include "tests/unit/fake-broker.h"

#define NOBODY 65534
#define PIN "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define ISSUER "--issuer=https://i.example"
#define TENANT "11111111-2222-3333-4444-555555555555"
#define CLIENT "66666666-7777-8888-9999-AAAAaaaa0000"

static int set_up(void **state)
{
	if (geteuid() != 0 || make_config_dir(state) < 0)
		return geteuid() != 0 ? 0 : -1;
	chmod(config_dir, 0755);
	write_text("keyfob.conf", "");
	setenv("KEYFOB_CONFIG", config_file, 1);
	setenv("KEYFOB_SOCKET", "/nonexistent/keyfob.sock", 1);
	setenv("KEYFOB_VERIFY_SOCKET", "/nonexistent/verify.sock", 1);
	return 0;
}

static int tear_down(void **state)
{
	return geteuid() == 0 ? remove_config_dir(state) : 0;
}

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static void expect_file(const char *name, const char *wanted)
{
	char path[256], text[8192];
	struct stat st;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/conf.d/%s", config_dir, name);
	f = fopen(path, "re");
	if (!wanted) {
		assert_null(f);
		return;
	}
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	assert_int_equal(fstat(fileno(f), &st), 0);
	fclose(f);
	assert_string_equal(text, wanted);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(st.st_uid, 0);
}

/* How many entries conf.d has, but . and .. and the lock */
static int count_files(void)
{
	char path[256];
	struct dirent *e;
	int count = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/conf.d", config_dir);
	d = opendir(path);
	while (d && (e = readdir(d)))
		count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, ".keyfob-lock") != 0;
	if (d)
		closedir(d);
	return count;
}

/* It ends with this code, says these words on stderr, and no file came or went. */
#define REFUSED(code, words, ...) \
	do { \
		int files_before = count_files(), got = call(__VA_ARGS__); \
		if (got != (code)) \
			print_error("%d: %s\n", got, call_err); \
		assert_int_equal(got, code); \
		call_expect(call_err, words); \
		assert_int_equal(count_files(), files_before); \
	} while (0)

static void test_add(void **state)
{
	char path[256];
	struct stat st;

	(void)state;
	need_root();
	umask(077);
	assert_int_equal(call("idp", "add", "entra", "--preset=azure", TENANT, CLIENT), 0);
	expect_file("idp-entra.conf", "[identity-provider entra]\n"
				      "issuer             = https://login.microsoftonline.com/" TENANT "/v2.0\n"
				      "audience           = 66666666-7777-8888-9999-aaaaaaaa0000\n"
				      "authorization_type = user\n");
	umask(022);
	snprintf(path, sizeof(path), "%s/conf.d", config_dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	call_expect(call_out, "entra: written to ");
	call_expect(call_err, "keyfobd is not running: takes effect there at its next start\n");
	call_expect(call_err, "keyfob-verifyd is not running");
	assert_int_equal(call("idp", "add", "--preset", "google", "my audience", "--description=caf\xc3\xa9 \"x\" # ; = y"), 0);
	expect_file("idp-google.conf", "[identity-provider google]\n"
				       "description        = caf\xc3\xa9 \"x\" # ; = y\n"
				       "issuer             = https://accounts.google.com\n"
				       "audience           = my audience\n"
				       "authorization_type = user\n");
	assert_int_equal(call("idp", "add", "full", ISSUER, "--audience=a", "--type=group", "--user-claim=oid", "--groups-claim=roles",
				 "--client-id=c1", "--client-id", "c2", "--rules=keyfob", "--token-type=JWT,at+jwt", "--token-type=x",
				 "--max-lifetime=1h", "--max-token-size=8192", "--discovery-url=https://d.example/x",
				 "--ca-file=/etc/ca.pem", "--proxy=http://proxy.example:3128", "--pin", PIN, "--expiry-skew=30s"),
		0);
	expect_file("idp-full.conf", "[identity-provider full]\n"
				     "issuer             = https://i.example\n"
				     "audience           = a\n"
				     "authorization_type = group\n"
				     "user_claim         = oid\n"
				     "groups_claim       = roles\n"
				     "rules              = keyfob\n"
				     "max_lifetime       = 1h\n"
				     "max_token_size     = 8192\n"
				     "discovery_url      = https://d.example/x\n"
				     "ca_file            = /etc/ca.pem\n"
				     "proxy              = http://proxy.example:3128\n"
				     "pin                = " PIN "\n"
				     "expiry_skew        = 30s\n"
				     "client_id          = c1\n"
				     "client_id          = c2\n"
				     "types              = JWT at+jwt x\n");
	assert_int_equal(call("org", "add", "acme", "--services=pg, maria", "--services", "ssh", "--idp=full,google"), 0);
	expect_file("org-acme.conf", "[organization acme]\nservices           = pg maria ssh\nidentity_providers = full google\n");
	assert_int_equal(call("dbuser", "add", "app", "--service=pg", "--idp=full", "--group-id=g 1", "--login=app", "--account=a"), 0);
	expect_file("dbuser-app.conf", "[database-user app]\nservice           = pg\nidentity_provider = full\n"
				       "group_id          = g 1\nlogin             = app\naccount           = a\n");
	assert_int_equal(count_files(), 5);
}

static void test_refused_values(void **state)
{
	char long_text[1100], long_name[66];

	(void)state;
	need_root();
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = 0;
	assert_int_equal(call("org", "add", "first", "--services=pg"), 0);
	REFUSED(2, "control character", "idp", "add", "x", ISSUER, "--audience=a\n[database-user evil]");
	REFUSED(2, "control character", "idp", "add", "x", ISSUER, "--audience=a\rb");
	REFUSED(2, "control character", "idp", "add", "x", ISSUER, "--audience=a\x7f");
	REFUSED(2, "control character", "idp", "add", "x", ISSUER, "--audience=a\xc2\x9b");
	REFUSED(1, "read back as another", "idp", "add", "x", ISSUER, "--audience= a");
	REFUSED(1, "read back as another", "idp", "add", "x", ISSUER, "--audience=a ");
	REFUSED(1, "UTF-8", "idp", "add", "x", ISSUER, "--audience=a\xff");
	REFUSED(2, "audience has 1 to 1024 bytes", "idp", "add", "x", ISSUER, "--audience=");
	REFUSED(2, "audience has 1 to 1024 bytes", "idp", "add", "x", ISSUER, "--audience", long_text);
	REFUSED(2, "not a name", "idp", "add", "../x", ISSUER, "--audience=a");
	REFUSED(2, "not a name", "idp", "add", ".x", ISSUER, "--audience=a");
	REFUSED(2, "not a name", "idp", "add", "a]", ISSUER, "--audience=a");
	REFUSED(2, "not a name", "idp", "add", "a b", ISSUER, "--audience=a");
	REFUSED(2, "not a name", "idp", "add", "", ISSUER, "--audience=a");
	REFUSED(2, "not a name", "idp", "add", long_name, ISSUER, "--audience=a");
	REFUSED(2, "--issuer and --audience are needed", "idp", "add", "x", ISSUER);
	REFUSED(2, "one argument too many", "idp", "add", "x", "y", ISSUER, "--audience=a");
	REFUSED(2, "not a tenant's id", "idp", "add", "--preset=azure", "common", CLIENT);
	REFUSED(2, "not a tenant's id", "idp", "add", "--preset=azure", "x.onmicrosoft.com", CLIENT);
	REFUSED(2, "not an application's id", "idp", "add", "--preset=azure", TENANT, "api://" CLIENT);
	REFUSED(2, "TENANT-ID CLIENT-ID", "idp", "add", "--preset=azure", TENANT);
	REFUSED(2, "name no groups", "idp", "add", "--preset=google", "a", "--type=group");
	REFUSED(2, "takes AUDIENCE", "idp", "add", "--preset=google", "a", "b", "c");
	REFUSED(2, "takes AUDIENCE", "idp", "add", "--preset=google");
	REFUSED(2, "TENANT-ID CLIENT-ID", "idp", "add", "--preset=azure");
	REFUSED(2, "missing: NAME", "idp", "add", ISSUER, "--audience=a");
	REFUSED(2, "prints the stanza, not JSON", "idp", "add", "x", ISSUER, "--audience=a", "--print", "--json");
	REFUSED(2, "did you mean azure?", "idp", "add", "--preset=azur", "a");
	REFUSED(2, "there is azure, google", "idp", "add", "--preset=x", "a");
	REFUSED(2, "give it or them", "idp", "add", "--preset=google", "a", ISSUER);
	REFUSED(1, "authorization_type must be user or group", "idp", "add", "x", ISSUER, "--audience=a", "--type=role");
	REFUSED(1, "idp-x.conf:2:", "idp", "add", "x", "--issuer=http://i.example", "--audience=a");
	REFUSED(2, "--services names", "org", "add", "x");
	REFUSED(2, "--services names", "org", "add", "x", "--services=, ,");
	REFUSED(2, "too many names", "org", "add", "x", "--services", long_text, "--services", long_text);
	REFUSED(2, "--service and --idp", "dbuser", "add", "x", "--service=pg", "--user-id=u");
	REFUSED(2, "one of --user-id and --group-id", "dbuser", "add", "x", "--service=pg", "--idp=i");
	REFUSED(2, "one of --user-id and --group-id", "dbuser", "add", "x", "--service=pg", "--idp=i", "--user-id=u", "--group-id=g");
}

static void test_refused_rules(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(call("idp", "add", "one", ISSUER, "--audience=a"), 0);
	REFUSED(1, "there is such an identity provider already, in ", "idp", "add", "one", ISSUER, "--audience=b");
	REFUSED(1, "same issuer and audience", "idp", "add", "two", ISSUER, "--audience=a");
	REFUSED(1, "tenant", "idp", "add", "two", "--issuer=https://login.microsoftonline.com/{tenantid}/v2.0", "--audience=a");
	REFUSED(1, "tenant", "idp", "add", "two", "--issuer=https://login.microsoftonline.com/organizations/v2.0", "--audience=a");
	REFUSED(1, "there is no identity provider none", "org", "add", "acme", "--services=pg", "--idp=none");
	REFUSED(1, "there is no identity provider none", "dbuser", "add", "u", "--service=pg", "--idp=none", "--user-id=u");
	assert_int_equal(call("dbuser", "add", "u", "--service=pg", "--idp=one", "--user-id=u"), 0);
	REFUSED(1, "u2: database-user u", "dbuser", "add", "u2", "--service=pg", "--idp=one", "--user-id=u", "--login=u");
	REFUSED(1, "authorization_type user", "dbuser", "add", "u3", "--service=pg", "--idp=one", "--group-id=u");
	/* The first organization takes away what all had. */
	REFUSED(1, "nothing was changed; --yes", "org", "add", "acme", "--services=pg");
	call_expect(call_out, "These would lose access:\n  pg: login u, user u of one (database user u)\n");
	assert_int_equal(call("org", "add", "acme", "--services=pg", "--yes"), 0);
	REFUSED(1, "one is not connected to pg: keyfob idp connect one acme", "dbuser", "add", "u4", "--service=pg", "--idp=one",
		"--user-id=u4");
	REFUSED(1, "no organization has that service", "dbuser", "add", "u4", "--service=ssh", "--idp=one", "--user-id=u4");
	REFUSED(3, "did you mean one?", "idp", "delete", "ome", "--yes");
	REFUSED(3, "keyfob org list", "org", "delete", "entirely-else", "--yes");
	REFUSED(3, "there is no such database user", "dbuser", "show", "zzzz");
	REFUSED(3, "it is not connected to acme", "idp", "disconnect", "one", "acme", "--yes");
	assert_int_equal(call("idp", "connect", "one", "acme"), 0);
	expect_file("org-acme.conf", "[organization acme]\nidentity_providers = one\nservices = pg\n");
	assert_int_equal(call("idp", "connect", "one", "acme"), 0);
	call_expect(call_out, "was connected already to acme");
	REFUSED(1, "keyfob idp disconnect one acme", "idp", "delete", "one", "--yes");
	call_expect(call_err, "keyfob dbuser delete u\n");
	REFUSED(1, "nothing was changed; --yes", "idp", "disconnect", "one", "acme");
	call_expect(call_out, "WHERE usename IN ('u');\n");
	call_expect(call_out, "KILL USER `u`;\n");
	assert_int_equal(call("idp", "disconnect", "one", "acme", "--yes"), 0);
	call_expect(call_out, "These lost access:\n  pg: login u");
	expect_file("org-acme.conf", "[organization acme]\nservices = pg\n");
	REFUSED(1, "keyfob dbuser delete u", "idp", "delete", "one", "--yes");
	REFUSED(1, "--yes", "dbuser", "delete", "u");
	assert_int_equal(call("dbuser", "delete", "u", "--yes"), 0);
	REFUSED(1, "--yes", "idp", "delete", "one");
	assert_int_equal(call("idp", "delete", "one", "--yes"), 0);
	assert_int_equal(call("org", "delete", "acme", "--yes"), 0);
	assert_int_equal(count_files(), 0);
}

/* What the verb just said, as JSON: is it done, how many lose and gain access by it, and of the only one the login. */
static void expect_change(bool done, size_t lose, size_t gain, const char *login)
{
	json_t *top = json_loads(call_out, JSON_REJECT_DUPLICATES, NULL), *one;
	const char *list = lose ? "lose_access" : "gain_access";

	if (!top)
		fail_msg("%s", call_out);
	assert_int_equal(json_is_true(json_object_get(top, "done")), done);
	assert_int_equal(json_array_size(json_object_get(top, "lose_access")), lose);
	assert_int_equal(json_array_size(json_object_get(top, "gain_access")), gain);
	one = json_array_get(json_object_get(top, list), 0);
	if (login)
		assert_string_equal(json_string_value(json_object_get(one, "login")), login);
	json_decref(top);
}

static void test_changes_as_json(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(call("idp", "add", "one", ISSUER, "--audience=a", "--json"), 0);
	assert_string_equal(
		call_out, "{\"done\":true,\"type\":\"identity-provider\",\"name\":\"one\",\"lose_access\":[],\"gain_access\":[]}\n");
	assert_int_equal(call("dbuser", "add", "u", "--service=pg", "--idp=one", "--user-id=u", "--login=l\"'", "--json"), 0);
	expect_change(true, 0, 1, "l\"'");
	assert_int_equal(call("org", "add", "acme", "--services=pg", "--json"), 1);
	expect_change(false, 1, 0, "l\"'");
	call_expect(call_err, "nothing was changed; --yes");
	assert_int_equal(call("org", "add", "acme", "--services=pg", "--json", "--yes"), 0);
	expect_change(true, 1, 0, "l\"'");
	assert_int_equal(call("idp", "connect", "one", "acme", "--json"), 0);
	expect_change(true, 0, 1, "l\"'");
	assert_int_equal(call("idp", "connect", "one", "acme", "--json"), 0);
	expect_change(true, 0, 0, NULL);
	assert_int_equal(call("idp", "disconnect", "one", "acme", "--json"), 1);
	expect_change(false, 1, 0, "l\"'");
	assert_int_equal(call("idp", "disconnect", "one", "acme", "--json", "--yes"), 0);
	expect_change(true, 1, 0, "l\"'");
	assert_int_equal(call("org", "delete", "acme", "--json", "--yes"), 0);
	expect_change(true, 0, 1, "l\"'");
	assert_int_equal(call("dbuser", "delete", "u", "--json", "--yes"), 0);
	expect_change(true, 1, 0, "l\"'");
	assert_int_equal(call("idp", "delete", "one", "--json"), 1);
	expect_change(false, 0, 0, NULL);
	assert_int_equal(call("idp", "delete", "one", "--json", "--yes"), 0);
	expect_change(true, 0, 0, NULL);
}

/* The file may come later; but who mistyped its name should know. */
static void test_keys_in_a_file(void **state)
{
	char option[300], path[256];

	(void)state;
	need_root();
	snprintf(path, sizeof(path), "%s/keys.json", config_dir);
	snprintf(option, sizeof(option), "--jwks-file=%s", path);
	assert_int_equal(call("idp", "add", "one", ISSUER, "--audience=1", option), 0);
	call_expect(call_err, "keys.json: No such file or directory; tokens are refused until");
	write_text("keys.json", "{}");
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(call("idp", "add", "two", ISSUER, "--audience=2", option), 0);
	assert_null(strstr(call_err, "keys.json"));
	assert_int_equal(chmod(path, 0646), 0);
	assert_int_equal(call("idp", "add", "three", ISSUER, "--audience=3", option), 0);
	call_expect(call_err, "keys.json: not of root, or writable for others;");
	assert_int_equal(call("idp", "add", "four", ISSUER, "--audience=4", "--jwks-file=/etc"), 0);
	call_expect(call_err, "/etc: not a file;");
	assert_int_equal(call("idp", "add", "five", ISSUER, "--audience=5", "--jwks-file=/nonexistent", "--print"), 0);
	assert_null(strstr(call_err, "nonexistent"));
}

/* A credential that names it would keep the broker from starting. */
static void test_credential(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(call("idp", "add", "one", ISSUER, "--audience=a"), 0);
	write_text("conf.d/atlas.conf", "[credential atlas]\nprovider = file path=/x\nidentity_provider = one\n");
	REFUSED(1, "atlas.conf:3: credential atlas names the identity provider one", "idp", "delete", "one", "--yes");
}

static void test_by_hand(void **state)
{
	char path[256], link[256];

	(void)state;
	need_root();
	write_text("keyfob.conf",
		"# ours\n[identity-provider hand]\nissuer = https://h.example\naudience = a\nauthorization_type = user\n\n"
		"[organization old]\nservices = pg\n");
	REFUSED(1, "keyfob.conf:7, which was written by hand: set there: identity_providers = hand, then: keyfob reload", "idp", "connect",
		"hand", "old");
	REFUSED(1, "keyfob.conf:2, which was written by hand: take the section away there", "idp", "delete", "hand", "--yes");
	assert_int_equal(call("org", "add", "own", "--services=pg", "--idp=hand"), 0);
	/* Comments, order and an end without a line end stay. */
	write_text("conf.d/org-own.conf", "# made by us\n[organization own]\n\tidentity_providers=hand\n# two\nservices = pg\n# end");
	assert_int_equal(call("idp", "disconnect", "hand", "own", "--yes"), 0);
	expect_file("org-own.conf", "# made by us\n[organization own]\n# two\nservices = pg\n# end\n");
	assert_int_equal(call("idp", "connect", "hand", "own"), 0);
	expect_file("org-own.conf", "# made by us\n[organization own]\nidentity_providers = hand\n# two\nservices = pg\n# end\n");
	write_text(
		"conf.d/org-own.conf", "[organization own]\nidentity_providers = hand\nservices = pg\n[service pg]\nallow = user:root\n");
	REFUSED(1, "beside other sections: take the line identity_providers away there", "idp", "disconnect", "hand", "own", "--yes");
	REFUSED(1, "beside other sections", "org", "delete", "own", "--yes");
	snprintf(path, sizeof(path), "%s/conf.d/org-own.conf", config_dir);
	snprintf(link, sizeof(link), "%s/elsewhere", config_dir);
	write_text("elsewhere", "[organization own]\nidentity_providers = hand\nservices = pg\n");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(link, path), 0);
	REFUSED(1, "which is a link", "org", "delete", "own", "--yes");
	write_text("conf.d/org-new.conf", "# nothing\n");
	REFUSED(1, "is there already, and holds something else", "org", "add", "new", "--services=pg");
	/* What stands already must be right before anything is added to it. */
	write_text("keyfob.conf", "[organization old]\nservice = pg\n");
	REFUSED(1, "mend what stands there first", "org", "add", "more", "--services=pg");
	call_expect(call_err, "keyfob.conf:2: ");
}

static void test_print(void **state)
{
	static const char *const words[] = { "idp", "add", "x", ISSUER, "--audience=a", "--print", NULL };
	static const char *const user[] = { "dbuser", "add", "u", "--service=pg", "--idp=x", "--user-id=u", "--print", NULL };
	static const char stanza[] = "[identity-provider x]\nissuer             = https://i.example\naudience           = a\n"
				     "authorization_type = user\n";

	(void)state;
	need_root();
	assert_int_equal(call_keyfob(NOBODY, "", 0, words), 0);
	assert_string_equal(call_out, stanza);
	assert_string_equal(call_err, "");
	assert_int_equal(call_keyfob(NOBODY, "", 0, user), 1);
	call_expect(call_err, "there is no identity provider x");
	assert_string_equal(call_out, "");
	chmod(config_file, 0600);
	assert_int_equal(call_keyfob(NOBODY, "", 0, words), 0);
	assert_string_equal(call_out, stanza);
	call_expect(call_err, "Permission denied: this is not checked against the rest\n");
	assert_int_equal(call_keyfob(NOBODY, "", 0, user), 0);
	assert_int_equal(call("--config", "/nonexistent/keyfob.conf", "idp", "add", "x", ISSUER, "--audience=a", "--print"), 0);
	assert_string_equal(call_out, stanza);
	assert_int_equal(call("--config", "/nonexistent/keyfob.conf", "idp", "add", "x", "--issuer=x", "--audience=a", "--print"), 1);
	assert_int_equal(count_files(), 0);
}

static void test_denied(void **state)
{
	static const char *const add[] = { "org", "add", "x", "--services=pg", NULL }, *const list[] = { "idp", "list", NULL };

	(void)state;
	need_root();
	assert_int_equal(call_keyfob(NOBODY, "", 0, add), 4);
	call_expect(call_err, "only root may change the configuration");
	assert_int_equal(call_keyfob(NOBODY, "", 0, list), 0);
	chmod(config_file, 0600);
	assert_int_equal(call_keyfob(NOBODY, "", 0, list), 4);
	call_expect(call_err, "only root may read it");
	assert_int_equal(call("--config", "/nonexistent/keyfob.conf", "idp", "list"), 1);
	assert_int_equal(count_files(), 0);
}

/* A directory that others may write is not made better by a file of root's. */
static void test_unsafe_directory(void **state)
{
	char path[256];

	(void)state;
	need_root();
	snprintf(path, sizeof(path), "%s/conf.d", config_dir);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(chmod(path, 0777), 0);
	REFUSED(1, "not writable by group or others", "org", "add", "x", "--services=pg");
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(chmod(config_dir, 0777), 0);
	REFUSED(1, "not writable by group or others", "org", "add", "x", "--services=pg");
	assert_int_equal(chmod(config_dir, 0755), 0);
	assert_int_equal(unlink(config_file), 0);
	REFUSED(1, "an empty file will do", "org", "add", "x", "--services=pg");
	assert_int_equal(access(path, F_OK), -1);
}

/* Either daemon may refuse; then all is as it was. */
static void test_taken_back(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(call("idp", "add", "one", ISSUER, "--audience=a"), 0);
	assert_int_equal(call("org", "add", "acme", "--services=pg", "--idp=one"), 0);
	assert_int_equal(fake_start(0), 0);
	fake_error(1, 0, "the configuration is wrong");
	for (int verifier = 0; verifier < 2; verifier++) {
		const char *daemon = verifier ? "keyfob-verifyd does not take" : "keyfobd does not take";

		setenv("KEYFOB_SOCKET", verifier ? "/nonexistent/keyfob.sock" : fake.path, 1);
		setenv("KEYFOB_VERIFY_SOCKET", verifier ? fake.path : "/nonexistent/verify.sock", 1);
		fake.requests = 0;
		REFUSED(1, daemon, "idp", "add", "two", ISSUER, "--audience=b");
		call_expect(call_err, "nothing was changed");
		assert_int_equal(fake.requests, 2);
		assert_string_equal(call_out, "");
		REFUSED(1, daemon, "idp", "disconnect", "one", "acme", "--yes");
		expect_file("org-acme.conf", "[organization acme]\nservices           = pg\nidentity_providers = one\n");
		REFUSED(1, daemon, "org", "delete", "acme", "--yes");
		expect_file("org-acme.conf", "[organization acme]\nservices           = pg\nidentity_providers = one\n");
	}
	fake_reply(1, 0);
	assert_int_equal(call("idp", "add", "two", ISSUER, "--audience=b"), 0);
	call_expect(call_err, "keyfobd is not running");
	assert_null(strstr(call_err, "verifyd"));
	fake_stop();
}

/* Who comes second waits, and then sees what the first one did. */
static void test_lock(void **state)
{
	const struct timespec pause = { .tv_nsec = 600 * 1000000 };
	struct stat st;
	char path[256];
	int fd, status;
	pid_t pid;

	(void)state;
	need_root();
	assert_int_equal(call("org", "add", "acme", "--services=pg"), 0);
	snprintf(path, sizeof(path), "%s/conf.d/.keyfob-lock", config_dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(fd);
		_exit(call("org", "add", "two", "--services=ssh"));
	}
	nanosleep(&pause, NULL);
	expect_file("org-two.conf", NULL);
	write_text("conf.d/org-two.conf", "[organization two]\n");
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 1);
	expect_file("org-two.conf", "[organization two]\n");
}

/* What a killed edit left behind is nobody's configuration, and goes with the next. */
static void test_leftover(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(call("org", "add", "acme", "--services=pg"), 0);
	write_text("conf.d/.keyfob-edit", "[organization ");
	assert_int_equal(call("org", "list"), 0);
	assert_int_equal(call("org", "add", "two", "--services=pg"), 0);
	assert_int_equal(count_files(), 2);
}

static void test_show(void **state)
{
	json_t *top, *one;

	(void)state;
	need_root();
	assert_int_equal(call("idp", "list"), 0);
	call_expect(call_out, "No identity provider yet");
	assert_int_equal(call("org", "list"), 0);
	assert_int_equal(call("dbuser", "list", "--json"), 0);
	assert_string_equal(call_out, "{\"database_users\":[]}\n");
	write_text("keyfob.conf", "[identity-provider i]\nissuer = https://i.example\naudience = \xc3\xa9\naccount = x\n");
	assert_int_equal(call("idp", "list", "--json"), 1);
	assert_string_equal(call_out, "");
	write_text("keyfob.conf",
		"[identity-provider i]\nissuer = https://i.example\naudience = \xc3\xa9\"\nauthorization_type = group\nclient_id = c\n"
		"[organization o]\nservices = pg\nidentity_providers = i\n"
		"[database-user u]\nservice = pg\nidentity_provider = i\ngroup_id = g\nlogin = o'clock`\\\n"
		"[database-user lost]\nservice = ssh\nidentity_provider = i\ngroup_id = g\n");
	assert_int_equal(call("idp", "list", "--json"), 0);
	top = json_loads(call_out, JSON_REJECT_DUPLICATES, NULL);
	one = json_array_get(json_object_get(top, "identity_providers"), 0);
	assert_string_equal(json_string_value(json_object_get(one, "audience")), "\xc3\xa9\"");
	assert_string_equal(json_string_value(json_object_get(one, "authorization_type")), "group");
	assert_int_equal(json_array_size(json_object_get(one, "client_ids")), 1);
	assert_string_equal(json_string_value(json_array_get(json_object_get(one, "organizations"), 0)), "o");
	assert_int_equal(json_integer_value(json_object_get(one, "line")), 1);
	json_decref(top);
	assert_int_equal(call("dbuser", "show", "lost", "--json"), 0);
	top = json_loads(call_out, JSON_REJECT_DUPLICATES, NULL);
	assert_true(json_is_false(json_object_get(top, "connected")));
	assert_string_equal(json_string_value(json_object_get(top, "login")), "lost");
	assert_true(json_is_null(json_object_get(top, "user_id")));
	json_decref(top);
	assert_int_equal(call("dbuser", "show", "lost"), 0);
	call_expect(call_out, "cannot log in: i is not connected to ssh");
	assert_int_equal(call("dbuser", "list"), 0);
	call_expect(call_out, "(not connected)\n");
	assert_int_equal(call("org", "show", "o"), 0);
	call_expect(call_out, "  identity_providers  i\n");
	assert_int_equal(call("idp", "show", "i"), 0);
	call_expect(call_out, "  audience            \\xc3\\xa9\"\n");
	call_expect(call_out, "  connected           o: pg\n");
	call_expect(call_out, "Application ID URI");
	/* A login is quoted in the queries as their dialects want it. */
	assert_int_equal(call("dbuser", "delete", "u"), 1);
	call_expect(call_err, "written by hand");
	assert_int_equal(call("org", "add", "p", "--services=x"), 0);
	write_text("conf.d/dbuser-v.conf", "[database-user v]\nservice = pg\nidentity_provider = i\ngroup_id = h\nlogin = o'clock`\\\n");
	assert_int_equal(call("dbuser", "delete", "v"), 1);
	call_expect(call_out, "WHERE usename IN ('o''clock`\\');\n");
	call_expect(call_out, "KILL USER `o'clock``\\`;\n");
}

/* --- explain against an identity provider -------------------------------------------------- */

static void put_part(struct buffer *b, const char *json)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	int count = 0;

	for (; *json; json++) {
		bits = bits << 8 | (unsigned char)*json;
		for (count += 8; count >= 6; count -= 6)
			buffer_put_u8(b, (uint8_t)digits[bits >> (count - 6) & 63]);
	}
	if (count)
		buffer_put_u8(b, (uint8_t)digits[bits << (6 - count) & 63]);
}

/* explain - of a token with this header and these claims (%lld: an hour from now). */
static int explain(const char *header, const char *claims, const char *first, const char *second)
{
	char text[1024];
	struct buffer b;
	int code;

	snprintf(text, sizeof(text), "{\"exp\":%lld,%s}", (long long)time(NULL) + 3600, claims);
	buffer_init(&b, 4096);
	put_part(&b, header);
	buffer_put(&b, ".", 1);
	put_part(&b, text);
	buffer_put(&b, ".c2ln", 5);
	code = call_keyfob(geteuid(), b.data, b.length, (const char *const[]){ "explain", "-", first, second, NULL });
	buffer_free(&b);
	return code;
}

static void test_explain(void **state)
{
	static const char header[] = "{\"alg\":\"RS256\",\"kid\":\"k\",\"typ\":\"JWT\"}";
	static const char good[] = "\"iss\":\"https://i.example\",\"aud\":\"a\",\"sub\":\"s\"";
	json_t *top, *judgement;

	(void)state;
	need_root();
	assert_int_equal(explain(header, good, NULL, NULL), 0);
	assert_null(strstr(call_out, "identity provider\n"));
	assert_int_equal(call("idp", "add", "one", ISSUER, "--audience=a"), 0);
	assert_int_equal(call("idp", "add", "groups", "--issuer=https://g.example", "--audience=a", "--type=group"), 0);
	assert_int_equal(explain(header, good, NULL, NULL), 0);
	call_expect(call_out, "identity provider\n  would pass one: by its claims yes; the signature was not checked");
	assert_int_equal(explain(header, good, "--idp=one", NULL), 0);
	assert_int_equal(explain(header, good, "--idp=groups", NULL), 7);
	call_expect(call_out, "would pass groups: NO, ISS: ");
	assert_int_equal(explain(header, good, "--idp=non", NULL), 3);
	assert_int_equal(explain(header, "\"iss\":\"https://i.example\",\"aud\":\"b\",\"sub\":\"s\"", NULL, NULL), 7);
	call_expect(call_out, "would pass one: NO, AUD: ");
	assert_int_equal(explain(header, "\"iss\":\"https://other.example\",\"aud\":\"b\",\"sub\":\"s\"", NULL, NULL), 0);
	call_expect(call_out, "none of this host's has that issuer");
	assert_int_equal(explain(header, "\"iss\":\"https://i.example\",\"aud\":\"a\",\"sub\":\"\"", NULL, NULL), 7);
	call_expect(call_out, "USER_CLAIM");
	assert_int_equal(explain(header, "\"iss\":\"https://g.example\",\"aud\":\"a\",\"sub\":\"s\",\"hasgroups\":true", NULL, NULL), 7);
	call_expect(call_out, "GROUP_OVERAGE");
	assert_int_equal(explain("{\"alg\":\"HS256\",\"kid\":\"k\"}", good, NULL, NULL), 7);
	call_expect(call_out, "ALG_NOT_ALLOWED");
	assert_int_equal(explain("{\"alg\":\"HS256\",\"kid\":\"k\"}", good, "--json", NULL), 7);
	top = json_loads(call_out, JSON_REJECT_DUPLICATES, NULL);
	assert_string_equal(json_string_value(json_object_get(json_object_get(top, "header"), "alg")), "HS256");
	assert_string_equal(json_string_value(json_object_get(json_object_get(top, "claims"), "sub")), "s");
	judgement = json_object_get(top, "judgement");
	assert_true(json_is_false(json_object_get(judgement, "passes")));
	assert_string_equal(json_string_value(json_object_get(judgement, "reason")), "ALG_NOT_ALLOWED");
	assert_string_equal(json_string_value(json_object_get(judgement, "identity_provider")), "one");
	json_decref(top);
	assert_int_equal(explain(header, "\"iss\":\"https://other.example\",\"aud\":\"b\",\"sub\":\"s\"", "--json", NULL), 0);
	top = json_loads(call_out, JSON_REJECT_DUPLICATES, NULL);
	assert_true(json_is_null(json_object_get(top, "judgement")));
	json_decref(top);
	/* MongoDB wants what others do without. */
	assert_int_equal(explain("{\"alg\":\"EdDSA\",\"kid\":\"k\"}", good, NULL, NULL), 0);
	assert_int_equal(explain("{\"alg\":\"EdDSA\",\"kid\":\"k\"}", good, "--rules=mongodb", NULL), 7);
	assert_int_equal(explain("{\"alg\":\"RS256\"}", good, "--rules", "mongodb"), 7);
	assert_int_equal(explain("{\"alg\":\"RS256\",\"kid\":\"k\",\"typ\":\"at+jwt\"}", good, "--rules=mongodb", NULL), 7);
	assert_int_equal(explain(header, good, "--rules=mongodb", NULL), 0);
	assert_int_equal(explain(header, good, "--rules=atlas", NULL), 2);
	/* The verifier has the keys, and the last word. */
	assert_int_equal(fake_start(0), 0);
	setenv("KEYFOB_VERIFY_SOCKET", fake.path, 1);
	fake_error(7, 0, "SIGNATURE: the signature is wrong");
	assert_int_equal(explain(header, good, NULL, NULL), 7);
	call_expect(call_out, "would pass one: NO, SIGNATURE: the signature is wrong\n");
	fake_reply(1, 0);
	buffer_put_text(&fake.reply, "one");
	buffer_put_text(&fake.reply, "s\033");
	buffer_put_u64(&fake.reply, 4102444800);
	assert_int_equal(explain(header, good, NULL, NULL), 0);
	call_expect(call_out, "would pass one: yes, the signature is good; it is s\\x1b\n");
	fake_error(8, 0, "KEYS_MISSING: no key set could be fetched");
	assert_int_equal(explain(header, good, NULL, NULL), 7);
	call_expect(call_out, "NO, KEYS_MISSING: ");
	/* What is no verdict does not count as one. */
	fake_error(8, 1, "too many requests");
	assert_int_equal(explain(header, good, NULL, NULL), 0);
	call_expect(call_out, "the signature was not checked");
	fake_reply(1, 0);
	assert_int_equal(explain(header, good, NULL, NULL), 0);
	call_expect(call_out, "the signature was not checked");
	fake_stop();
	/* What cannot be read keeps nobody from looking at a token. */
	write_text("keyfob.conf", "[nonsense\n");
	assert_int_equal(explain(header, good, NULL, NULL), 0);
	call_expect(call_out, "the configuration has faults");
	assert_int_equal(explain(header, good, "--idp=one", NULL), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_add, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused_values, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused_rules, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_changes_as_json, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_keys_in_a_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_credential, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_by_hand, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_print, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_denied, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unsafe_directory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_taken_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_leftover, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_show, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_explain, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
