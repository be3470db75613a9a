/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Accept half of the configuration: what it means, and every fault that
 * it may have, in the words that an administrator reads.
 *
 * links: verify/federation verify/federation-read verify/federation-values common/config common/buffer common/wire common/log
 * libs: ini_config
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/config-files.h"
#include "verify/federation.h"

static struct config config;
static struct federation f;

static bool read_all(const char *text, struct buffer *errors)
{
	write_text("keyfob.conf", text);
	buffer_init(errors, 65536);
	assert_true(config_load(config_file, &config, errors));
	return federation_load(&config, &f, errors);
}

static void unload(void)
{
	federation_free(&f);
	config_free(&config);
}

static void load(const char *text)
{
	struct buffer errors;

	if (!read_all(text, &errors))
		fail_msg("refused:\n%s\n%s", text, buffer_cstring(&errors));
	assert_int_equal(errors.length, 0);
	buffer_free(&errors);
}

static void refuse(const char *text, const char *wanted)
{
	struct buffer errors;
	bool loaded = read_all(text, &errors);
	char *got = without_dir(&errors);

	if (loaded || strcmp(got, wanted) != 0)
		fail_msg("%s\ngives:\n%swanted:\n%s", text, got, wanted);
	free(got);
	buffer_free(&errors);
	unload();
}

#define ENTRA "[identity-provider entra]\nissuer = https://login.microsoftonline.com/tid/v2.0\naudience = aud1\nauthorization_type = user\n"
#define DEX "[identity-provider dex]\nissuer = https://dex.example/\naudience = aud2\nauthorization_type = group\n"

#define PIN "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

/* --- what is good --------------------------------------------------------------------- */

static void test_whole(void **state)
{
	const struct federation_provider *p;
	const struct federation_user *u;

	(void)state;
	/* The order of sections does not matter, and other sections are somebody else's. */
	load("[database-user orders_rw]\nservice = postgresql\nidentity_provider = entra\nuser_id = 7d2f\n"
	     "[credential atlas]\nprovider = azure\n"
	     "[organization acme]\ndescription = our own\nservices = postgresql  mariadb\nservices = sshd\nidentity_providers = entra\n"
	     "[database-user readers]\ndescription = all readers\nservice = mariadb\nidentity_provider = dex\ngroup_id = 21 readers\n"
	     "login = r o\naccount = readonly\n"
	     "[identity-provider entra]\ndescription = production\nissuer = https://login.microsoftonline.com/tid/v2.0\n"
	     "audience = 0d5c\nauthorization_type = user\nuser_claim = oid\ngroups_claim = roles\nrules = mongodb\nclient_id = c 1\n"
	     "client_id = c2\nmax_lifetime = 1h\nmax_token_size = 65536\ndiscovery_url = http://127.0.0.1:8080/d?appid=1\nca_file = /ca\n"
	     "proxy = http://proxy:3128\nexpiry_skew = 1m\n" DEX "pin = " PIN ";" PIN "\ntypes = JWT at+jwt\ntypes = x/y\n"
	     "[service postgresql]\ndescription = the database\nallow = user:root user:daemon\n");
	assert_int_equal(f.provider_count, 2);
	p = federation_provider(&f, "entra");
	assert_ptr_equal(p, &f.providers[0]);
	assert_string_equal(p->description, "production");
	assert_string_equal(p->audience, "0d5c");
	assert_int_equal(p->type, FEDERATION_USER);
	assert_string_equal(p->user_claim, "oid");
	assert_string_equal(p->groups_claim, "roles");
	assert_int_equal(p->rules, FEDERATION_MONGODB);
	assert_int_equal(p->client_ids.count, 2);
	assert_string_equal(p->client_ids.names[0], "c 1");
	assert_int_equal(p->max_lifetime, 3600);
	assert_int_equal(p->expiry_skew, 60);
	assert_null(p->pin);
	assert_int_equal(p->max_token_size, 65536);
	assert_int_equal(p->line, 19);
	assert_string_equal(p->file, config_file);
	p = federation_provider(&f, "dex");
	assert_null(p->description);
	assert_int_equal(p->type, FEDERATION_GROUP);
	assert_string_equal(p->user_claim, "sub");
	assert_string_equal(p->groups_claim, "groups");
	assert_int_equal(p->rules, FEDERATION_KEYFOB);
	assert_int_equal(p->max_lifetime, 0);
	assert_int_equal(p->expiry_skew, 0);
	assert_string_equal(p->pin, PIN ";" PIN);
	assert_int_equal(p->max_token_size, FEDERATION_TOKEN_SIZE);
	assert_int_equal(p->types.count, 3);
	assert_string_equal(p->types.names[2], "x/y");
	u = federation_user(&f, "orders_rw");
	assert_string_equal(u->login, "orders_rw");
	assert_string_equal(u->account, "orders_rw");
	assert_string_equal(u->user_id, "7d2f");
	assert_null(u->group_id);
	u = federation_user(&f, "readers");
	assert_string_equal(u->login, "r o");
	assert_string_equal(u->account, "readonly");
	assert_string_equal(u->group_id, "21 readers");
	assert_string_equal(federation_organization(&f, "acme")->services.names[2], "sshd");
	assert_string_equal(federation_service(&f, "postgresql")->allow.names[1], "daemon");
	assert_null(federation_provider(&f, "acme"));
	assert_null(federation_organization(&f, "entra"));
	assert_null(federation_service(&f, "mariadb"));
	assert_null(federation_user(&f, ""));
	unload();
	load("# nothing\n");
	assert_int_equal(f.provider_count + f.user_count, 0);
	unload();
	assert_true(federation_is_section("identity-provider"));
	assert_true(federation_is_section("organization"));
	assert_true(federation_is_section("service"));
	assert_true(federation_is_section("database-user"));
	assert_false(federation_is_section("credential"));
	assert_false(federation_is_section(""));
}

static void test_connected(void **state)
{
	(void)state;
	load(ENTRA DEX);
	assert_true(federation_connected(&f, "entra", "anything"));
	assert_false(federation_connected(&f, "nobody", "anything"));
	unload();
	load(ENTRA DEX "[organization one]\nservices = pg\nidentity_providers = entra\n"
		       "[organization two]\nservices = pg my\nidentity_providers = dex\n[organization empty]\n");
	assert_true(federation_connected(&f, "entra", "pg"));
	assert_true(federation_connected(&f, "dex", "pg"));
	assert_true(federation_connected(&f, "dex", "my"));
	/* Both are known, but no organization holds both. */
	assert_false(federation_connected(&f, "entra", "my"));
	assert_false(federation_connected(&f, "entra", "other"));
	unload();
	load(ENTRA "[organization empty]\n");
	assert_false(federation_connected(&f, "entra", "pg"));
	unload();
}

static void test_may_ask(void **state)
{
	struct buffer errors;
	char *got;

	(void)state;
	load("[service pg]\nallow = user:daemon\n[service open]\n");
	/* Names that are not looked up yet are nobody's. */
	assert_false(federation_may_ask(&f, "pg", 1));
	buffer_init(&errors, 4096);
	assert_true(federation_resolve(&f, &errors));
	assert_true(federation_resolve(&f, &errors));
	assert_true(federation_may_ask(&f, "pg", 1));
	assert_true(federation_may_ask(&f, "pg", 0));
	assert_false(federation_may_ask(&f, "pg", 2));
	assert_true(federation_may_ask(&f, "open", 2));
	assert_true(federation_may_ask(&f, "unheard of", 2));
	unload();
	load("[service pg]\nallow = user:daemon user:keyfob-no-such-user\n");
	assert_false(federation_resolve(&f, &errors));
	got = without_dir(&errors);
	assert_string_equal(got, "keyfob.conf:1: service pg: allow: there is no user keyfob-no-such-user\n");
	free(got);
	buffer_free(&errors);
	unload();
}

static void test_issuer(void **state)
{
	(void)state;
	load(ENTRA "[identity-provider google]\nissuer = https://accounts.google.com\naudience = a\nauthorization_type = user\n");
	assert_true(federation_is_issuer(&f.providers[0], "https://login.microsoftonline.com/tid/v2.0"));
	assert_false(federation_is_issuer(&f.providers[0], "https://login.microsoftonline.com/tid/v2.0/"));
	assert_false(federation_is_issuer(&f.providers[0], "https://LOGIN.microsoftonline.com/tid/v2.0"));
	assert_false(federation_is_issuer(&f.providers[0], "login.microsoftonline.com/tid/v2.0"));
	assert_false(federation_is_issuer(&f.providers[0], "accounts.google.com"));
	assert_true(federation_is_issuer(&f.providers[1], "https://accounts.google.com"));
	assert_true(federation_is_issuer(&f.providers[1], "accounts.google.com"));
	assert_false(federation_is_issuer(&f.providers[1], "http://accounts.google.com"));
	assert_false(federation_is_issuer(&f.providers[1], "accounts.google.com/"));
	unload();
}

/* Which keys are believed hangs on these; a word for people or an audience does not change them. */
static void test_source(void **state)
{
	static const char *const same[] = { "description = d\n", "max_lifetime = 1h\n", "client_id = c\n", "types = JWT\n",
		"expiry_skew = 30s\n" };
	static const char *const other[] = { "discovery_url = https://a\n", "jwks_uri = https://a\n", "jwks_file = /a\n", "ca_file = /a\n",
		"proxy = https://a\n", "pin = " PIN "\n" };
	char text[512], *first;

	(void)state;
	load(ENTRA);
	first = strdup(f.providers[0].source);
	unload();
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		snprintf(text, sizeof(text), ENTRA "%s", same[i]);
		load(text);
		assert_string_equal(f.providers[0].source, first);
		unload();
	}
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		snprintf(text, sizeof(text), ENTRA "%s", other[i]);
		load(text);
		assert_string_not_equal(f.providers[0].source, first);
		unload();
	}
	free(first);
}

static void test_identity(void **state)
{
	char text[300];

	(void)state;
	assert_true(federation_is_identity("a"));
	assert_true(federation_is_identity("system:serviceaccount:ns:name"));
	assert_true(federation_is_identity("J\xc3\xbcrgen \xc2\xa0\xe2\x82\xac"));
	assert_false(federation_is_identity(""));
	assert_false(federation_is_identity("a\nb"));
	assert_false(federation_is_identity("a\x7f"));
	assert_false(federation_is_identity("a\xc2\x85"));
	assert_false(federation_is_identity("\xc2\x9f"));
	memset(text, 'x', sizeof(text));
	text[255] = 0;
	assert_true(federation_is_identity(text));
	text[255] = 'x';
	text[256] = 0;
	assert_false(federation_is_identity(text));
}

/* --- what is not ------------------------------------------------------------------------ */

static void test_missing(void **state)
{
	(void)state;
	refuse("[identity-provider entra]\ndescription = x\n",
		"keyfob.conf:1: identity-provider entra: the key issuer is missing\n"
		"keyfob.conf:1: identity-provider entra: the key audience is missing\n"
		"keyfob.conf:1: identity-provider entra: the key authorization_type is missing\n");
	refuse("[database-user u]\nlogin = x\n", "keyfob.conf:1: database-user u: the key service is missing\n"
						 "keyfob.conf:1: database-user u: the key identity_provider is missing\n"
						 "keyfob.conf:1: database-user u: the key user_id or group_id is missing\n");
	refuse(ENTRA "[database-user u]\nservice = s\nidentity_provider = entra\n",
		"keyfob.conf:5: database-user u: the key user_id is missing\n");
	refuse(DEX "[database-user u]\nservice = s\nidentity_provider = dex\n",
		"keyfob.conf:5: database-user u: the key group_id is missing\n");
}

static void test_unknown(void **state)
{
	(void)state;
	refuse(ENTRA "audiense = x\n",
		"keyfob.conf:5: identity-provider entra: there is no key audiense (there is: description, issuer, "
		"audience, authorization_type, "
		"user_claim, groups_claim, rules, client_id, types, max_lifetime, expiry_skew, max_token_size, discovery_url, "
		"jwks_uri, jwks_file, ca_file, "
		"proxy, pin)\n");
	refuse("[organization a]\nprojects = x\n",
		"keyfob.conf:2: organization a: there is no key projects (there is: description, services, identity_providers)\n");
	refuse("[service a]\nallowed = x\n", "keyfob.conf:2: service a: there is no key allowed (there is: description, allow)\n");
	refuse(ENTRA "[database-user a]\nservice = s\nidentity_provider = entra\nuser_id = 1\nrole = x\n",
		"keyfob.conf:9: database-user a: there is no key role (there is: description, service, identity_provider, user_id, "
		"group_id, "
		"login, account)\n");
	refuse("[organization a]\nidentity_providers = entra\n", "keyfob.conf:2: organization a: there is no identity provider entra\n");
	refuse("[database-user a]\nservice = s\nidentity_provider = entra\nuser_id = 1\n",
		"keyfob.conf:3: database-user a: there is no identity provider entra\n");
}

#define NAME "a name: 1 to 64 letters, digits, '.', '_' and '-', not beginning with '.' or '-'"
#define URL "https://HOST[:PORT][/PATH] without user or fragment (http:// only to 127.0.0.1, [::1] or localhost)"
#define TENANT "the tenant's own: put the directory (tenant) ID in place of common, organizations, consumers or {tenantid}"
#define PINS "sha256//BASE64 of a public key's SHA-256, several of them parted by ';'"
#define IDENTITY "a text of 1 to 255 bytes without control characters"

static void test_names(void **state)
{
	(void)state;
	refuse("[organization .a]\n", "keyfob.conf:1: organization .a: the name must be " NAME "\n");
	refuse("[service a b]\n", "keyfob.conf:1: service a b: the name must be " NAME "\n");
	refuse("[organization]\n", "keyfob.conf:1: organization : the name must be " NAME "\n");
	refuse("[organization a]\nservices = pg pg\n", "keyfob.conf:2: organization a: services names pg twice\n");
	refuse("[organization a]\nservices = pg\nservices = ../pg\n",
		"keyfob.conf:3: organization a: services must be " NAME ", not \"../pg\"\n");
	refuse(ENTRA "[organization a]\nidentity_providers = entra entra\n",
		"keyfob.conf:6: organization a: identity_providers names entra twice\n");
	refuse("[service a]\nallow = user:x daemon\n", "keyfob.conf:2: service a: allow takes user:NAME, not \"daemon\"\n");
	refuse("[service a]\nallow = group:x\n", "keyfob.conf:2: service a: allow takes user:NAME, not \"group:x\"\n");
	refuse("[service a]\nallow = user:\n", "keyfob.conf:2: service a: allow takes user:NAME, not \"user:\"\n");
	/* What it shows is escaped. */
	refuse("[service a]\nallow = x\x1b[31m\n", "keyfob.conf:2: service a: allow takes user:NAME, not \"x\\x1b[31m\"\n");
}

/* A key of an identity provider that has all it needs, and what is said of it; "" if it is good. */
static const struct {
	const char *key, *must;
} provider_values[] = {
	{ "authorization_type = group", "is given twice" },
	{ "issuer = https://b.example", "is given twice" },
	{ "user_claim =", "must be " IDENTITY },
	{ "groups_claim = a\tb", "must be " IDENTITY },
	{ "groups_claim = https://claims.example/groups", "" },
	{ "rules = atlas", "must be keyfob or mongodb" },
	{ "rules = keyfob", "" },
	{ "client_id =", "must be " IDENTITY ", not \"\"" },
	{ "types = JWT a;b", "must be a list of types such as JWT or at+jwt, parted by blanks, not \"a;b\"" },
	{ "max_lifetime = 0", "must be a duration: 30s, 5m, 1h" },
	{ "max_lifetime = 1 hour", "must be a duration: 30s, 5m, 1h" },
	{ "expiry_skew = 0", "" },
	{ "expiry_skew = 60", "" },
	{ "expiry_skew = 61s", "must be a duration of at most 60 seconds: 0, 30s" },
	{ "expiry_skew = 2m", "must be a duration of at most 60 seconds: 0, 30s" },
	{ "expiry_skew = -1", "must be a duration of at most 60 seconds: 0, 30s" },
	{ "expiry_skew =", "must be a duration of at most 60 seconds: 0, 30s" },
	{ "max_token_size = 255", "must be a number of bytes, 256 to 65536" },
	{ "max_token_size = 256", "" },
	{ "max_token_size = 65537", "must be a number of bytes, 256 to 65536" },
	{ "max_token_size = 99999999999999999999", "must be a number of bytes, 256 to 65536" },
	{ "max_token_size = 16k", "must be a number of bytes, 256 to 65536" },
	{ "jwks_file = keys.json", "must be an absolute path" },
	{ "jwks_file = /keys.json", "" },
	{ "ca_file = ca.pem", "must be an absolute path" },
	{ "proxy = proxy:3128", "must be http://HOST:PORT or https://HOST:PORT, without user or path" },
	{ "proxy = http://me:secret@proxy:3128", "must be http://HOST:PORT or https://HOST:PORT, without user or path" },
	{ "proxy = http://proxy/x", "must be http://HOST:PORT or https://HOST:PORT, without user or path" },
	{ "proxy = http://proxy:3128/", "" },
	{ "pin = " PIN, "" },
	{ "pin = " PIN ";" PIN, "" },
	{ "pin =", "must be " PINS },
	{ "pin = 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "must be " PINS },
	{ "pin = sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", "must be " PINS },
	{ "pin = sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=", "must be " PINS },
	{ "pin = sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF==", "must be " PINS },
	{ "pin = sha256//47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=", "must be " PINS },
	{ "pin = sha256//4DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "must be " PINS },
	{ "pin = " PIN ";", "must be " PINS },
	{ "pin = " PIN ";;" PIN, "must be " PINS },
	{ "pin = " PIN "; " PIN, "must be " PINS },
	{ "pin = /etc/keyfob/key.pem", "must be " PINS },
	{ "jwks_uri = https://www.googleapis.com/oauth2/v3/certs", "" },
	{ "jwks_uri = https://keys.example:8443/k?p=b2c_1", "" },
	{ "jwks_uri = https://login.microsoftonline.com/common/discovery/v2.0/keys", "" },
	{ "jwks_uri = http://127.0.0.1/", "" },
	{ "jwks_uri = http://[::1]:8080/keys", "" },
	{ "jwks_uri = http://localhost", "" },
	{ "jwks_uri = http://keys.example/", "must be " URL },
	{ "jwks_uri = http://127.0.0.1.example/", "must be " URL },
	{ "jwks_uri = http://localhost@keys.example/", "must be " URL },
	{ "jwks_uri = http://127.0.0.1:80@keys.example/", "must be " URL },
	{ "jwks_uri = http://127.0.0.1\\@keys.example/", "must be " URL },
	{ "jwks_uri = http://[::1].keys.example/", "must be " URL },
	{ "jwks_uri = https://user@keys.example/", "must be " URL },
	{ "jwks_uri = https://keys.example/#k", "must be " URL },
	{ "jwks_uri = https://keys.example/a b", "must be " URL },
	{ "jwks_uri = https://keys.example/\xc3\xa4", "must be " URL },
	{ "jwks_uri = https://keys.example:/", "must be " URL },
	{ "jwks_uri = https://keys.example:0/", "must be " URL },
	{ "jwks_uri = https://keys.example:65535/", "" },
	{ "jwks_uri = https://keys.example:65536/", "must be " URL },
	{ "jwks_uri = https://keys.example:4294967376/", "must be " URL },
	{ "jwks_uri = https://:443/", "must be " URL },
	{ "jwks_uri = https:///keys", "must be " URL },
	{ "jwks_uri = https://[]/", "must be " URL },
	{ "jwks_uri = https://[::1/", "must be " URL },
	{ "jwks_uri = ftp://keys.example/", "must be " URL },
	{ "jwks_uri = HTTPS://keys.example/", "must be " URL },
	{ "jwks_uri = keys.example", "must be " URL },
	{ "jwks_uri =", "must be " URL },
	{ "discovery_url = https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration", "must be " TENANT },
	{ "discovery_url = https://login.microsoftonline.com/tid/.well-known/openid-configuration?appid=5", "" },
};

static void test_provider_values(void **state)
{
	char text[512], wanted[512];

	(void)state;
	for (size_t i = 0; i < sizeof(provider_values) / sizeof(provider_values[0]); i++) {
		snprintf(text, sizeof(text), ENTRA "%s\n", provider_values[i].key);
		snprintf(wanted, sizeof(wanted), "keyfob.conf:5: identity-provider entra: %.*s %s\n",
			(int)strcspn(provider_values[i].key, " "), provider_values[i].key, provider_values[i].must);
		if (*provider_values[i].must) {
			refuse(text, wanted);
		} else {
			load(text);
			unload();
		}
	}
}

static void test_issuers(void **state)
{
	static const struct {
		const char *issuer, *must;
	} issuers[] = {
		{ "https://token.actions.githubusercontent.com", "" },
		{ "https://sts.windows.net/tid/", "" },
		{ "https://common.example/common/", "" },
		{ "https://login.microsoftonline.com/commons/v2.0", "" },
		{ "http://127.0.0.1:8080/tid/v2.0", "" },
		{ "http://issuer.example", URL },
		{ "accounts.google.com", URL },
		{ "https://issuer.example/?a=b", "a URL without a query" },
		{ "https://issuer.example/#a", URL },
		{ "https://login.microsoftonline.com/common/v2.0", TENANT },
		{ "https://login.microsoftonline.com/Organizations/v2.0", TENANT },
		{ "https://login.microsoftonline.com:443/consumers", TENANT },
		{ "https://LOGIN.microsoftonline.us/common/v2.0", TENANT },
		{ "https://sts.windows.net/common/", TENANT },
		{ "https://login.microsoftonline.com/{tenantid}/v2.0", TENANT },
		{ "https://login.microsoftonline.com/{tenant}/v2.0", TENANT },
		{ "", URL },
	};
	char text[512], wanted[512];

	(void)state;
	for (size_t i = 0; i < sizeof(issuers) / sizeof(issuers[0]); i++) {
		snprintf(text, sizeof(text), "[identity-provider x]\naudience = a\nissuer = %s\nauthorization_type = user\n",
			issuers[i].issuer);
		snprintf(wanted, sizeof(wanted), "keyfob.conf:3: identity-provider x: issuer must be %s\n", issuers[i].must);
		if (*issuers[i].must) {
			refuse(text, wanted);
		} else {
			load(text);
			unload();
		}
	}
	refuse("[identity-provider x]\naudience =\nissuer = https://a\nauthorization_type = role\n",
		"keyfob.conf:2: identity-provider x: audience must be a text of 1 to 1024 bytes without control characters\n"
		"keyfob.conf:4: identity-provider x: authorization_type must be user or group\n");
}

static void test_together(void **state)
{
	(void)state;
	refuse(ENTRA "jwks_file = /a\njwks_uri = https://a\n",
		"keyfob.conf:6: identity-provider entra: jwks_file and jwks_uri exclude each other\n");
	refuse(ENTRA "discovery_url = https://a\njwks_file = /a\n",
		"keyfob.conf:5: identity-provider entra: jwks_file and discovery_url exclude each other\n");
	refuse(ENTRA "jwks_uri = https://a\ndiscovery_url = https://a\n",
		"keyfob.conf:6: identity-provider entra: jwks_uri and discovery_url exclude each other\n");
	refuse(ENTRA "pin = " PIN "\njwks_file = /a\n", "keyfob.conf:5: identity-provider entra: jwks_file and pin exclude each other\n");
	refuse(ENTRA "pin = " PIN "\njwks_uri = http://localhost/\n",
		"keyfob.conf:5: identity-provider entra: pin is for https, and jwks_uri is not\n");
	refuse(ENTRA "discovery_url = http://localhost/\npin = " PIN "\n",
		"keyfob.conf:6: identity-provider entra: pin is for https, and discovery_url is not\n");
	refuse("[identity-provider here]\nissuer = http://127.0.0.1\naudience = a\nauthorization_type = user\npin = " PIN "\n",
		"keyfob.conf:5: identity-provider here: pin is for https, and issuer is not\n");
	refuse(ENTRA "rules = mongodb\ntypes = JWT\n",
		"keyfob.conf:6: identity-provider entra: types and rules = mongodb, which takes no typ but JWT, exclude each other\n");
	refuse(ENTRA DEX "[identity-provider again]\naudience = aud1\nissuer = https://login.microsoftonline.com/tid/v2.0\n"
			 "authorization_type = group\n",
		"keyfob.conf:11: identity-provider again: identity-provider entra (keyfob.conf:1) has the same issuer and audience\n");
	/* One issuer for two audiences is two identity providers. */
	load(ENTRA DEX "[identity-provider again]\naudience = aud2\nissuer = https://login.microsoftonline.com/tid/v2.0\n"
		       "authorization_type = group\n");
	unload();
}

#define USER(name, more) "[database-user " name "]\nservice = pg\n" more

static void test_users(void **state)
{
	(void)state;
	refuse(ENTRA USER("u", "identity_provider = entra\ngroup_id = 1\n"),
		"keyfob.conf:8: database-user u: identity provider entra has authorization_type user: name a user_id\n");
	refuse(DEX USER("u", "identity_provider = dex\nuser_id = 1\n"),
		"keyfob.conf:8: database-user u: identity provider dex has authorization_type group: name a group_id\n");
	refuse(ENTRA USER("u", "identity_provider = entra\ngroup_id = 1\nuser_id = 1\n"),
		"keyfob.conf:8: database-user u: user_id and group_id exclude each other\n");
	refuse(ENTRA USER("u", "identity_provider = entra\nuser_id =\nlogin =\naccount =\n"),
		"keyfob.conf:8: database-user u: user_id must be " IDENTITY "\n"
		"keyfob.conf:9: database-user u: login must be " IDENTITY "\n"
		"keyfob.conf:10: database-user u: account must be " IDENTITY "\n");
	refuse(ENTRA USER("one", "identity_provider = entra\nuser_id = 1\nlogin = x\n")
			USER("x", "identity_provider = entra\nuser_id = 1\n"),
		"keyfob.conf:10: database-user x: database-user one (keyfob.conf:5) has the same service, login, identity provider and "
		"identifier\n");
	/* Several may share a login; each is another person, or another group. */
	load(ENTRA DEX USER("one", "identity_provider = entra\nuser_id = 1\nlogin = x\n") USER("two",
		"identity_provider = entra\nuser_id = 2\nlogin = x\n") USER("three", "identity_provider = dex\ngroup_id = 1\nlogin = x\n"));
	assert_int_equal(f.user_count, 3);
	unload();
}

static void test_many(void **state)
{
	struct buffer text;

	(void)state;
	buffer_init(&text, 1 << 20);
	buffer_printf(&text, ENTRA "[organization a]\n");
	for (int i = 0; i < 512; i++)
		buffer_printf(&text, "services = s%d\n", i);
	load(buffer_cstring(&text));
	assert_true(federation_connected(&f, "entra", "s511") == false);
	assert_int_equal(f.organizations[0].services.count, 512);
	unload();
	buffer_printf(&text, "services = one more\n");
	refuse(buffer_cstring(&text), "keyfob.conf:518: organization a: services has more than 512 entries\n"
				      "keyfob.conf:518: organization a: services has more than 512 entries\n");
	buffer_clear(&text);
	buffer_printf(&text, ENTRA);
	for (int i = 0; i < 2000; i++)
		buffer_printf(&text, USER("u%d", "identity_provider = entra\nuser_id = %d\nlogin = all\n"), i, i);
	load(buffer_cstring(&text));
	assert_int_equal(f.user_count, 2000);
	unload();
	buffer_free(&text);
}

/* No fault is lost when there are more than fit. */
static void test_full(void **state)
{
	struct buffer errors;

	(void)state;
	write_text("keyfob.conf", "[service a]\nallow = x\n");
	buffer_init(&errors, 10);
	assert_true(config_load(config_file, &config, &errors));
	assert_false(federation_load(&config, &f, &errors));
	buffer_free(&errors);
	unload();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_connected),
		cmocka_unit_test(test_may_ask),
		cmocka_unit_test(test_issuer),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_provider_values),
		cmocka_unit_test(test_issuers),
		cmocka_unit_test(test_together),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, make_config_dir, remove_config_dir);
}
