/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/policy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/launcher.h"
#include "common/wire.h"

#define PROVIDERS_MAX 8
#define RULES_MAX 512
#define TEXT_MAX 1024

static bool is_yes(const char *value, const struct policy_fault *at, const char *key, bool *out)
{
	*out = strcmp(value, "yes") == 0;
	if (*out || strcmp(value, "no") == 0)
		return true;
	policy_error(at, "%s is yes or no", key);
	return false;
}

/* A key that takes one of two words. */
static bool choose(const char *value, const struct policy_fault *at, const char *key, const char *first, const char *second, int *out)
{
	*out = strcmp(value, second) == 0;
	if (*out || strcmp(value, first) == 0)
		return true;
	policy_error(at, "%s is %s or %s", key, first, second);
	return false;
}

static bool take_rule(struct policy_credential *c, const char *word, size_t length, const struct policy_fault *at)
{
	struct policy_rule *grown, rule = { 0 };

	if (length > 5 && strncmp(word, "user:", 5) == 0)
		rule.name = strndup(word + 5, length - 5);
	else if (length > 6 && strncmp(word, "group:", 6) == 0)
		rule.name = strndup(word + 6, length - 6);
	rule.is_group = word[0] == 'g';
	rule.line = at->line;
	if (!rule.name) {
		policy_error(at, "allow takes user:NAME and group:NAME, not \"%.*s\"", (int)length, word);
		return false;
	}
	grown = c->rule_count < RULES_MAX ? reallocarray(c->rules, c->rule_count + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		policy_error(at, "allow has more than %d words; use a group", RULES_MAX);
		free(rule.name);
		return false;
	}
	c->rules = grown;
	c->rules[c->rule_count++] = rule;
	return true;
}

static bool take_allow(struct policy_credential *c, const char *value, const struct policy_fault *at)
{
	bool ok = true;

	for (value += strspn(value, " \t"); *value; value += strspn(value, " \t")) {
		size_t length = strcspn(value, " \t");

		ok = take_rule(c, value, length, at) && ok;
		value += length;
	}
	return ok;
}

static bool take_provider(struct policy *policy, const struct policy_source *source, struct policy_credential *c, const char *value,
	const struct policy_fault *at)
{
	struct policy_provider *grown;

	if (c->provider_count == PROVIDERS_MAX) {
		policy_error(at, "a credential has at most %d provider lines", PROVIDERS_MAX);
		return false;
	}
	grown = reallocarray(c->providers, c->provider_count + 1, sizeof(*grown));
	if (!grown)
		return false;
	c->providers = grown;
	memset(&grown[c->provider_count], 0, sizeof(*grown));
	grown[c->provider_count].where = at->line;
	return policy_parse_provider(policy, source, value, &grown[c->provider_count++], at);
}

static bool take_text(char **out, const char *value, const char *key, const struct policy_fault *at)
{
	if (*out) {
		policy_error(at, "%s is given twice", key);
		return false;
	}
	if (strlen(value) > TEXT_MAX) {
		policy_error(at, "%s has at most %d bytes", key, TEXT_MAX);
		return false;
	}
	*out = strdup(value);
	return *out != NULL;
}

static bool take_key(struct policy *policy, const struct policy_source *source, struct policy_credential *c,
	const struct config_entry *entry, const struct policy_fault *at)
{
	const char *key = entry->key, *value = entry->value;
	int choice = 0;
	bool ok;

	if (strcmp(key, "description") == 0)
		return take_text(&c->description, value, key, at);
	if (strcmp(key, "resource") == 0)
		return take_text(&c->resource, value, key, at);
	if (strcmp(key, "identity_provider") == 0) {
		c->identity_provider_line = entry->line;
		return take_text(&c->identity_provider, value, key, at);
	}
	if (strcmp(key, "provider") == 0)
		return take_provider(policy, source, c, value, at);
	if (strcmp(key, "allow") == 0)
		return take_allow(c, value, at);
	if (strcmp(key, "trust_run_as") == 0)
		return is_yes(value, at, key, &c->trust_run_as);
	if (strcmp(key, "metadata") == 0) {
		c->metadata_line = entry->line;
		return is_yes(value, at, key, &c->metadata);
	}
	if (strcmp(key, "token") == 0) {
		ok = choose(value, at, key, "access", "id", &choice);
		c->kind = choice ? KEYFOB_KIND_ID : KEYFOB_KIND_ACCESS;
		return ok;
	}
	if (strcmp(key, "refresh") == 0) {
		ok = choose(value, at, key, "ahead", "on-demand", &choice);
		c->refresh = choice ? POLICY_REFRESH_ON_DEMAND : POLICY_REFRESH_AHEAD;
		return ok;
	}
	if (strcmp(key, "store") == 0) {
		ok = choose(value, at, key, "keyring", "socket", &choice);
		c->store = choice ? POLICY_STORE_SOCKET : POLICY_STORE_KEYRING;
		return ok;
	}
	if (strcmp(key, "file") == 0)
		return policy_take_file(c, value, at);
	if (strcmp(key, "socket") == 0)
		return policy_take_socket(c, value, at);
	if (strcmp(key, "min_ttl") == 0) {
		if (config_seconds(value, &c->min_ttl))
			return true;
		policy_error(at, "min_ttl is a duration: 30s, 5m, 1h");
		return false;
	}
	policy_error(at,
		"a credential has no key %s (it has: description, resource, provider, allow, identity_provider, token, refresh, min_ttl, "
		"store, file, socket, metadata, trust_run_as)",
		key);
	return false;
}

/* A user's own keyring has little room: there a digest stands for the text (FNV-1a; nobody but him could make two that agree). */
static void digest(char *text, const char *whole)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (; *whole; whole++)
		hash = (hash ^ (unsigned char)*whole) * 0x100000001b3u;
	sprintf(text, "%016" PRIx64, hash);
}

/* Everything that decides which token comes, and nothing that does not: a change here makes what is stored worthless. */
static bool define(struct policy_credential *c, bool own)
{
	struct buffer b;
	const char *text;
	char short_text[17];

	buffer_init(&b, WIRE_TOKEN_MAX / 2);
	buffer_printf(&b, "resource=%s\nkind=%u\n", c->resource ? c->resource : "", c->kind);
	for (size_t i = 0; i < c->provider_count; i++)
		buffer_printf(&b, "provider=%s\nuid=%u\n", c->providers[i].line ? c->providers[i].line : "", c->providers[i].run_as);
	text = buffer_cstring(&b);
	if (text && own) {
		digest(short_text, text);
		text = short_text;
	}
	c->definition = text ? strdup(text) : NULL;
	buffer_free(&b);
	return c->definition != NULL;
}

/* A metadata client does not name a credential: what it asks for must tell which one it is. */
static bool check_metadata(const struct policy_credential *c, struct policy_fault *at)
{
	at->line = c->metadata_line;
	if (!c->resource || !*c->resource) {
		policy_error(at, "credential %s: metadata = yes needs a resource, by which metadata clients ask", c->name);
		return false;
	}
	if (policy_kind(c) == KEYFOB_KIND_DEFAULT) {
		policy_error(at, "credential %s: metadata = yes with providers of both kinds of token needs token = access or token = id",
			c->name);
		return false;
	}
	return true;
}

static bool take_credential(
	struct policy *policy, const struct policy_source *source, const struct config_section *section, struct buffer *errors)
{
	struct policy_credential *grown = reallocarray(policy->credentials, policy->count + 1, sizeof(*grown)), *c;
	struct policy_fault at = { section->file, section->line, errors };
	bool ok = true;

	if (!grown)
		return false;
	policy->credentials = grown;
	c = memset(&grown[policy->count], 0, sizeof(*c));
	c->name = strdup(section->name);
	if (!c->name)
		return false;
	policy->count++;
	c->file = section->file;
	c->line = section->line;
	c->min_ttl = POLICY_MIN_TTL;
	if (!wire_name_valid(c->name)) {
		policy_error(&at, "[credential %s]: a name has 1 to %d letters, digits, '.', '_' and '-'", section->name, WIRE_NAME_MAX);
		ok = false;
	}
	for (size_t i = 0; i < section->count; i++) {
		at.line = section->entries[i].line;
		ok = take_key(policy, source, c, &section->entries[i], &at) && ok;
	}
	at.line = section->line;
	if (!c->provider_count) {
		policy_error(&at, "credential %s has no provider line", section->name);
		ok = false;
	}
	/* Of what is faulty anyway nobody knows the kind. */
	return ok && (!c->metadata || check_metadata(c, &at));
}

/* --- names ---------------------------------------------------------------------- */

static void check_run_as(const struct policy_credential *c, const struct policy_provider *p, bool found, const struct policy_fault *at)
{
	if (!found)
		policy_error(at, "credential %s: run_as=%s: there is no such user", c->name, p->run_as_name);
	else if (p->run_as == 0)
		policy_error(at, "credential %s: run_as=%s: a provider never runs as root", c->name, p->run_as_name);
	/* Code run as U is U's: whoever is that user could put his own answer in its place. */
	for (size_t i = 0; found && !c->trust_run_as && i < c->rule_count; i++)
		if (c->rules[i].is_group || strcmp(c->rules[i].name, p->run_as_name) != 0)
			policy_error(at,
				"credential %s runs its provider as %s and allows %s:%s, who would have to trust %s; say trust_run_as = "
				"yes if so",
				c->name, p->run_as_name, c->rules[i].is_group ? "group" : "user", c->rules[i].name, p->run_as_name);
}

/* A user's own broker can neither become another one nor keep a token from its user. */
static void keep_own(struct policy_credential *c, const char *name, struct buffer *errors)
{
	struct policy_fault at = { c->file, c->line, errors };
	uid_t self = geteuid();

	for (size_t i = 0; i < c->rule_count; i++) {
		at.line = c->rules[i].line;
		if (c->rules[i].is_group || c->rules[i].id != self)
			policy_error(&at, "credential %s allows %s:%s: with --user it can allow nobody but the user himself (uid %u)",
				c->name, c->rules[i].is_group ? "group" : "user", c->rules[i].name, self);
	}
	for (size_t i = 0; i < c->provider_count; i++) {
		at.line = c->providers[i].where;
		if (c->providers[i].run_as_name && c->providers[i].run_as != self)
			policy_error(&at,
				"credential %s: run_as=%s: with --user providers run as the user himself (uid %u); leave run_as out",
				c->name, c->providers[i].run_as_name, self);
		c->providers[i].run_as = self;
	}
	/* Nobody named: then he. */
	if (!c->rule_count && (c->rules = calloc(1, sizeof(*c->rules))) && (c->rules->name = strdup(name))) {
		c->rules->id = self;
		c->rule_count = 1;
	}
	at.line = c->socket.line;
	if (c->socket.user && c->socket.uid != self)
		policy_error(
			&at, "credential %s: socket: with --user its owner can be nobody but the user himself (uid %u)", c->name, self);
}

static uint8_t kind_of(const struct policy_rule *rule)
{
	return rule->is_group ? LAUNCHER_NAME_GROUP : LAUNCHER_NAME_USER;
}

static const char *runs_as(const struct policy_provider *p)
{
	return p->run_as_name ? p->run_as_name : LAUNCHER_USER_FETCH;
}

static void name_all(const struct policy *policy, struct policy_names *names)
{
	for (size_t i = 0; i < policy->count; i++) {
		const struct policy_credential *c = &policy->credentials[i];

		for (size_t j = 0; j < c->rule_count; j++)
			policy_names_add(names, kind_of(&c->rules[j]), c->rules[j].name);
		for (size_t j = 0; j < c->provider_count; j++)
			policy_names_add(names, LAUNCHER_NAME_USER, runs_as(&c->providers[j]));
		if (c->socket.user) {
			policy_names_add(names, LAUNCHER_NAME_USER, c->socket.user);
			policy_names_add(names, LAUNCHER_NAME_GROUP, c->socket.group);
		}
	}
}

static void take_ids(struct policy_credential *c, const struct policy_names *names, struct buffer *errors)
{
	struct policy_fault at = { c->file, c->line, errors };

	for (size_t j = 0; j < c->rule_count; j++) {
		at.line = c->rules[j].line;
		if (!policy_names_find(names, kind_of(&c->rules[j]), c->rules[j].name, &c->rules[j].id))
			policy_error(&at, "credential %s: there is no %s %s", c->name, c->rules[j].is_group ? "group" : "user",
				c->rules[j].name);
	}
	for (size_t j = 0; j < c->provider_count; j++) {
		struct policy_provider *p = &c->providers[j];
		bool found = policy_names_find(names, LAUNCHER_NAME_USER, runs_as(p), &p->run_as);

		at.line = p->where;
		if (p->run_as_name)
			check_run_as(c, p, found, &at);
	}
	if (!c->socket.user)
		return;
	at.line = c->socket.line;
	if (!policy_names_find(names, LAUNCHER_NAME_USER, c->socket.user, &c->socket.uid) &&
		!policy_socket_number(c->socket.user, &c->socket.uid))
		policy_error(&at, "credential %s: socket: there is no user %s", c->name, c->socket.user);
	if (!policy_names_find(names, LAUNCHER_NAME_GROUP, c->socket.group, &c->socket.gid) &&
		!policy_socket_number(c->socket.group, &c->socket.gid))
		policy_error(&at, "credential %s: socket: there is no group %s", c->name, c->socket.group);
}

static void resolve(struct policy *policy, const struct policy_source *source, struct buffer *errors)
{
	struct policy_names names = { 0 };
	int error;

	name_all(policy, &names);
	error = policy_names_ask(&names, source);
	if (error < 0)
		buffer_printf(errors, "users and groups cannot be looked up: %s\n", strerror(-error));
	for (size_t i = 0; error == 0 && i < policy->count; i++) {
		size_t faults = errors->length;

		take_ids(&policy->credentials[i], &names, errors);
		if (source->own && errors->length == faults)
			keep_own(&policy->credentials[i], source->own, errors);
	}
	policy_names_free(&names);
}

/* --- credentials that stand on others ------------------------------------------------ */

#define CHAIN_MAX 8

/* Does the chain from here end? It does not when it is longer than any sensible one. */
static bool chain_ends(const struct policy *policy, const struct policy_credential *c, unsigned int depth)
{
	if (depth > CHAIN_MAX)
		return false;
	for (size_t i = 0; i < c->provider_count; i++) {
		for (size_t j = 0; j < c->providers[i].count; j++) {
			const struct policy_setting *s = &c->providers[i].settings[j];
			const struct policy_credential *next = s->type == KEYFOB_OPTION_CREDENTIAL ? policy_find(policy, s->value) : NULL;

			if (next && !chain_ends(policy, next, depth + 1))
				return false;
		}
	}
	return true;
}

static void check_chains(const struct policy *policy, struct buffer *errors)
{
	for (size_t i = 0; i < policy->count; i++) {
		const struct policy_credential *c = &policy->credentials[i];
		struct policy_fault at = { c->file, c->line, errors };

		for (size_t j = 0; j < c->provider_count; j++) {
			at.line = c->providers[j].where;
			for (size_t k = 0; k < c->providers[j].count; k++)
				if (c->providers[j].settings[k].type == KEYFOB_OPTION_CREDENTIAL &&
					!policy_find(policy, c->providers[j].settings[k].value))
					policy_error(&at, "credential %s: %s=%s: there is no such credential", c->name,
						c->providers[j].settings[k].name, c->providers[j].settings[k].value);
		}
		at.line = c->line;
		if (!chain_ends(policy, c, 0))
			policy_error(&at, "credential %s stands on credentials that stand on it", c->name);
	}
}

/* --- the Accept half ------------------------------------------------------------------ */

static void load_federation(struct policy *policy, struct buffer *errors)
{
	if (!federation_load(&policy->config, &policy->federation, errors))
		return;
	for (size_t i = 0; i < policy->count; i++) {
		const struct policy_credential *c = &policy->credentials[i];
		struct policy_fault at = { c->file, c->identity_provider_line, errors };

		if (c->identity_provider && !federation_provider(&policy->federation, c->identity_provider))
			policy_error(&at, "credential %s: there is no identity provider %s", c->name, c->identity_provider);
	}
}

/* --- whole ------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
	const struct policy_credential *x = a, *y = b;

	return strcmp(x->name, y->name);
}

struct policy *policy_load(const char *path, const struct policy_source *source, struct buffer *errors)
{
	struct policy *policy = calloc(1, sizeof(*policy));
	bool ok = true;

	if (!policy) {
		buffer_printf(errors, "%s: out of memory\n", path);
		return NULL;
	}
	config_load(path, &policy->config, errors);
	for (size_t i = 0; i < policy->config.count; i++) {
		const struct config_section *section = &policy->config.sections[i];
		struct policy_fault at = { section->file, section->line, errors };

		if (strcmp(section->type, "credential") == 0)
			ok = take_credential(policy, source, section, errors) && ok;
		else if (strcmp(section->type, "default") == 0 && !*section->name)
			policy_error(&at, "a key stands before the first section, or in [default]; write [credential NAME] above it");
		else if (!federation_is_section(section->type))
			policy_error(&at,
				"there is no section [%s] (there is: [credential NAME], [identity-provider NAME], [organization NAME], "
				"[service NAME], [database-user NAME])",
				section->type);
	}
	load_federation(policy, errors);
	/* What was not taken and not told lacked memory: a line less may allow more, or less, than the administrator wrote. */
	if (!ok && errors->length == 0)
		buffer_printf(errors, "%s: out of memory\n", path);
	if (errors->length == 0 && !errors->failed && policy->count)
		resolve(policy, source, errors);
	for (size_t i = 0; i < policy->count; i++)
		if (!define(&policy->credentials[i], source->own != NULL))
			policy_error(&(struct policy_fault){ policy->credentials[i].file, policy->credentials[i].line, errors },
				"credential %s: its provider lines are too long", policy->credentials[i].name);
	if (policy->count)
		qsort(policy->credentials, policy->count, sizeof(*policy->credentials), by_name);
	if (errors->length == 0 && !errors->failed)
		check_chains(policy, errors);
	policy_check_files(policy, errors);
	if (errors->length || errors->failed) {
		policy_free(policy);
		return NULL;
	}
	return policy;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->count; i++) {
		struct policy_credential *c = &policy->credentials[i];

		for (size_t j = 0; j < c->provider_count; j++)
			policy_free_provider(&c->providers[j]);
		for (size_t j = 0; j < c->rule_count; j++)
			free(c->rules[j].name);
		free(c->providers);
		free(c->rules);
		free(c->name);
		free(c->description);
		free(c->resource);
		free(c->identity_provider);
		free(c->definition);
		policy_free_files(c);
	}
	free(policy->credentials);
	policy_free_modules(policy->modules);
	federation_free(&policy->federation);
	config_free(&policy->config);
	free(policy);
}

const struct policy_credential *policy_find(const struct policy *policy, const char *name)
{
	struct policy_credential key = { .name = (char *)(uintptr_t)name };

	return policy->count ? bsearch(&key, policy->credentials, policy->count, sizeof(key), by_name) : NULL;
}

bool policy_names_user(const struct policy_credential *credential, uid_t uid)
{
	for (size_t i = 0; i < credential->rule_count; i++)
		if (!credential->rules[i].is_group && credential->rules[i].id == uid)
			return true;
	return false;
}

uint32_t policy_group_of(const struct policy_credential *credential, uid_t uid, const gid_t *groups, size_t count)
{
	if (uid == 0 || policy_names_user(credential, uid))
		return POLICY_BY_NAME;
	for (size_t i = 0; i < credential->rule_count; i++)
		for (size_t j = 0; credential->rules[i].is_group && j < count; j++)
			if (credential->rules[i].id == groups[j])
				return groups[j];
	return POLICY_SOME_GROUP;
}

bool policy_allows(const struct policy_credential *credential, uid_t uid, const gid_t *groups, size_t count)
{
	return policy_group_of(credential, uid, groups, count) != POLICY_SOME_GROUP;
}

bool policy_uid_is_recycled(uid_t uid)
{
	return uid >= POLICY_RECYCLED_UID_FIRST && uid <= POLICY_RECYCLED_UID_LAST;
}

uint8_t policy_kind(const struct policy_credential *credential)
{
	uint8_t kind = credential->kind;

	for (size_t i = 0; credential->kind == KEYFOB_KIND_DEFAULT && i < credential->provider_count; i++) {
		if (i && credential->providers[i].kind != kind)
			return KEYFOB_KIND_DEFAULT;
		kind = credential->providers[i].kind;
	}
	return kind;
}
