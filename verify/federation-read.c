/* SPDX-License-Identifier: Apache-2.0 */
/* The four sections: their keys, what each may hold, and what must fit together. */
#include "verify/federation.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"
#include "verify/federation-values.h"

#define LIST_MAX 512
#define TOKEN_SIZE_MIN 256
#define SKEW_MAX 60
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- keys ------------------------------------------------------------------------------ */

enum kind {
	TEXT, /* char * */
	VALUES, /* federation_list, one entry per line */
	WORDS, /* federation_list, entries parted by blanks */
	USERS, /* the same, each with user: before it */
	TYPE,
	RULES,
	SECONDS,
	SKEW,
	SIZE,
};

struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	const char *(*check)(const char *value);
	bool required;
	bool refers; /* to an identity provider */
};

#define PROVIDER(member) offsetof(struct federation_provider, member)
#define ORGANIZATION(member) offsetof(struct federation_organization, member)
#define SERVICE(member) offsetof(struct federation_service, member)
#define USER(member) offsetof(struct federation_user, member)

static const struct key provider_keys[] = {
	{ "description", TEXT, PROVIDER(description), federation_check_text, false, false },
	{ "issuer", TEXT, PROVIDER(issuer), federation_check_issuer, true, false },
	{ "audience", TEXT, PROVIDER(audience), federation_check_text, true, false },
	{ "authorization_type", TYPE, 0, NULL, true, false },
	{ "user_claim", TEXT, PROVIDER(user_claim), federation_check_identity, false, false },
	{ "groups_claim", TEXT, PROVIDER(groups_claim), federation_check_identity, false, false },
	{ "rules", RULES, 0, NULL, false, false },
	{ "client_id", VALUES, PROVIDER(client_ids), federation_check_identity, false, false },
	{ "types", WORDS, PROVIDER(types), federation_check_type, false, false },
	{ "max_lifetime", SECONDS, PROVIDER(max_lifetime), NULL, false, false },
	{ "expiry_skew", SKEW, PROVIDER(expiry_skew), NULL, false, false },
	{ "max_token_size", SIZE, PROVIDER(max_token_size), NULL, false, false },
	{ "discovery_url", TEXT, PROVIDER(discovery_url), federation_check_discovery, false, false },
	{ "jwks_uri", TEXT, PROVIDER(jwks_uri), federation_check_url, false, false },
	{ "jwks_file", TEXT, PROVIDER(jwks_file), federation_check_file, false, false },
	{ "ca_file", TEXT, PROVIDER(ca_file), federation_check_file, false, false },
	{ "proxy", TEXT, PROVIDER(proxy), federation_check_proxy, false, false },
	{ "pin", TEXT, PROVIDER(pin), federation_check_pin, false, false },
};
static const struct key organization_keys[] = {
	{ "description", TEXT, ORGANIZATION(description), federation_check_text, false, false },
	{ "services", WORDS, ORGANIZATION(services), federation_check_name, false, false },
	{ "identity_providers", WORDS, ORGANIZATION(identity_providers), federation_check_name, false, true },
};
static const struct key service_keys[] = {
	{ "description", TEXT, SERVICE(description), federation_check_text, false, false },
	{ "allow", USERS, SERVICE(allow), federation_check_identity, false, false },
};
static const struct key user_keys[] = {
	{ "description", TEXT, USER(description), federation_check_text, false, false },
	{ "service", TEXT, USER(service), federation_check_name, true, false },
	{ "identity_provider", TEXT, USER(identity_provider), federation_check_name, true, true },
	{ "user_id", TEXT, USER(user_id), federation_check_identity, false, false },
	{ "group_id", TEXT, USER(group_id), federation_check_identity, false, false },
	{ "login", TEXT, USER(login), federation_check_identity, false, false },
	{ "account", TEXT, USER(account), federation_check_identity, false, false },
};

struct table {
	const char *type;
	const struct key *keys;
	size_t count;
};
enum { PROVIDERS, ORGANIZATIONS, SERVICES, USERS_ADDED, TABLES };
static const struct table tables[TABLES] = {
	[PROVIDERS] = { "identity-provider", provider_keys, COUNT(provider_keys) },
	[ORGANIZATIONS] = { "organization", organization_keys, COUNT(organization_keys) },
	[SERVICES] = { "service", service_keys, COUNT(service_keys) },
	[USERS_ADDED] = { "database-user", user_keys, COUNT(user_keys) },
};

/* A section that is being read. */
struct reading {
	struct federation *f;
	const struct config_section *section;
	const struct table *table;
	struct buffer *errors;
	uint32_t seen; /* keys, by their place in the table */
};

#define section_fault(r, line, format, ...) \
	federation_fault((r)->errors, (r)->section->file, line, "%s %s: " format, (r)->section->type, (r)->section->name, __VA_ARGS__)

static const struct config_entry *find_entry(const struct config_section *section, const char *key)
{
	for (size_t i = 0; i < section->count; i++)
		if (strcmp(section->entries[i].key, key) == 0)
			return &section->entries[i];
	return NULL;
}

/* Where a key of the section stands; the section's title when it does not. */
static unsigned int line_of(const struct config_section *section, const char *key)
{
	const struct config_entry *entry = find_entry(section, key);

	return entry ? entry->line : section->line;
}

/* One more name; value is not terminated at length. */
static void take_name(struct reading *r, const struct key *key, const struct config_entry *entry, struct federation_list *list,
	const char *value, size_t length)
{
	const char *text, *must;
	char **grown, *name = strndup(value, length);

	if (!name) {
		section_fault(r, entry->line, "%s", "out of memory");
		return;
	}
	text = key->kind == USERS ? strncmp(name, "user:", 5) == 0 ? name + 5 : "" : name;
	must = key->check(text);
	if (key->kind == USERS && must)
		section_fault(r, entry->line, "%s takes user:NAME, not \"%s\"", key->name, name);
	else if (must)
		section_fault(r, entry->line, "%s must be %s, not \"%s\"", key->name, must, name);
	else if (federation_list_holds(list, text))
		section_fault(r, entry->line, "%s names %s twice", key->name, name);
	else if (key->refers && !federation_provider(r->f, text))
		section_fault(r, entry->line, "there is no identity provider %s", text);
	else if (list->count == LIST_MAX)
		section_fault(r, entry->line, "%s has more than %d entries", key->name, LIST_MAX);
	else if (!(grown = reallocarray(list->names, list->count + 1, sizeof(*grown))))
		section_fault(r, entry->line, "%s", "out of memory");
	else {
		list->names = grown;
		memmove(name, text, strlen(text) + 1);
		list->names[list->count++] = name;
		return;
	}
	free(name);
}

static void take_words(struct reading *r, const struct key *key, const struct config_entry *entry, struct federation_list *list)
{
	for (const char *at = entry->value + strspn(entry->value, " \t"); *at; at += strspn(at, " \t")) {
		size_t length = strcspn(at, " \t");

		take_name(r, key, entry, list, at, length);
		at += length;
	}
}

static void take_text(struct reading *r, const struct key *key, const struct config_entry *entry, char **out)
{
	const char *must = key->check(entry->value);

	if (must) {
		section_fault(r, entry->line, "%s must be %s", key->name, must);
		return;
	}
	if (key->refers && !federation_provider(r->f, entry->value))
		section_fault(r, entry->line, "there is no identity provider %s", entry->value);
	free(*out);
	*out = strdup(entry->value);
	if (!*out)
		section_fault(r, entry->line, "%s", "out of memory");
}

static void take_size(struct reading *r, const struct key *key, const struct config_entry *entry, size_t *out)
{
	size_t digits = strspn(entry->value, "0123456789");
	unsigned long value = digits && digits < 10 && !entry->value[digits] ? strtoul(entry->value, NULL, 10) : 0;

	if (value < TOKEN_SIZE_MIN || value > WIRE_VERIFY_TOKEN_MAX)
		section_fault(r, entry->line, "%s must be a number of bytes, %d to %d", key->name, TOKEN_SIZE_MIN, WIRE_VERIFY_TOKEN_MAX);
	else
		*out = value;
}

/* Which of two words it is. */
static bool take_choice(struct reading *r, const struct key *key, const struct config_entry *entry, const char *no, const char *yes)
{
	bool is_yes = strcmp(entry->value, yes) == 0;

	if (!is_yes && strcmp(entry->value, no) != 0)
		section_fault(r, entry->line, "%s must be %s or %s", key->name, no, yes);
	return is_yes;
}

static void take_value(struct reading *r, const struct key *key, const struct config_entry *entry, void *element)
{
	struct federation_provider *p = element;
	void *member = (char *)element + key->offset;
	unsigned int seconds;

	switch (key->kind) {
	case TEXT:
		take_text(r, key, entry, member);
		break;
	case VALUES:
		take_name(r, key, entry, member, entry->value, strlen(entry->value));
		break;
	case WORDS:
	case USERS:
		take_words(r, key, entry, member);
		break;
	case TYPE:
		p->type = take_choice(r, key, entry, "user", "group") ? FEDERATION_GROUP : FEDERATION_USER;
		break;
	case RULES:
		p->rules = take_choice(r, key, entry, "keyfob", "mongodb") ? FEDERATION_MONGODB : FEDERATION_KEYFOB;
		break;
	case SECONDS:
		if (config_seconds(entry->value, &seconds) && seconds > 0)
			*(unsigned int *)member = seconds;
		else
			section_fault(r, entry->line, "%s must be a duration: 30s, 5m, 1h", key->name);
		break;
	case SKEW:
		if (config_seconds(entry->value, &seconds) && seconds <= SKEW_MAX)
			*(unsigned int *)member = seconds;
		else
			section_fault(r, entry->line, "%s must be a duration of at most %d seconds: 0, 30s", key->name, SKEW_MAX);
		break;
	case SIZE:
		take_size(r, key, entry, member);
		break;
	}
}

static void tell_keys(struct reading *r, const struct config_entry *entry)
{
	struct buffer known;
	const char *text;

	buffer_init(&known, 1024);
	for (size_t i = 0; i < r->table->count; i++)
		buffer_printf(&known, "%s%s", i ? ", " : "", r->table->keys[i].name);
	text = buffer_cstring(&known);
	section_fault(r, entry->line, "there is no key %s (there is: %s)", entry->key, text ? text : "");
	buffer_free(&known);
}

static bool is_list(const struct key *key)
{
	return key->kind == VALUES || key->kind == WORDS || key->kind == USERS;
}

static void take_keys(struct reading *r, void *element)
{
	for (size_t i = 0; i < r->section->count; i++) {
		const struct config_entry *entry = &r->section->entries[i];
		size_t at = 0;

		while (at < r->table->count && strcmp(r->table->keys[at].name, entry->key) != 0)
			at++;
		if (at == r->table->count) {
			tell_keys(r, entry);
			continue;
		}
		if (r->seen & 1u << at && !is_list(&r->table->keys[at])) {
			section_fault(r, entry->line, "%s is given twice", entry->key);
			continue;
		}
		r->seen |= 1u << at;
		take_value(r, &r->table->keys[at], entry, element);
	}
	for (size_t i = 0; i < r->table->count; i++)
		if (r->table->keys[i].required && !(r->seen & 1u << i))
			section_fault(r, r->section->line, "the key %s is missing", r->table->keys[i].name);
	if (!wire_name_valid(r->section->name))
		section_fault(r, r->section->line, "the name must be %s", federation_check_name(""));
}

/* --- sections ------------------------------------------------------------------------- */

static void default_text(struct reading *r, char **text, const char *value)
{
	if (!*text && !(*text = strdup(value)))
		section_fault(r, r->section->line, "%s", "out of memory");
}

/* Values hold no tab. */
static void set_source(struct reading *r, struct federation_provider *p)
{
	if (asprintf(&p->source, "issuer=%s\tdiscovery_url=%s\tjwks_uri=%s\tjwks_file=%s\tca_file=%s\tproxy=%s\tpin=%s",
		    p->issuer ? p->issuer : "", p->discovery_url ? p->discovery_url : "", p->jwks_uri ? p->jwks_uri : "",
		    p->jwks_file ? p->jwks_file : "", p->ca_file ? p->ca_file : "", p->proxy ? p->proxy : "", p->pin ? p->pin : "") < 0) {
		p->source = NULL;
		section_fault(r, r->section->line, "%s", "out of memory");
	}
}

/* Two providers that one token fits would let the order of files decide whose users it may be. */
static void check_twin(struct reading *r, const struct federation_provider *p)
{
	for (const struct federation_provider *other = r->f->providers; other < p; other++)
		if (p->issuer && p->audience && other->issuer && other->audience && strcmp(p->issuer, other->issuer) == 0 &&
			strcmp(p->audience, other->audience) == 0)
			section_fault(r, line_of(r->section, "issuer"), "identity-provider %s (%s:%u) has the same issuer and audience",
				other->name, other->file, other->line);
}

static void check_pair(struct reading *r, const char *a, const char *value_a, const char *b, const char *value_b)
{
	if (value_a && value_b)
		section_fault(r, line_of(r->section, b), "%s and %s exclude each other", a, b);
}

/* A pin that no TLS is there to look at would guard nothing. */
static void check_pinned(struct reading *r, const struct federation_provider *p)
{
	const char *key = p->jwks_uri ? "jwks_uri" : p->discovery_url ? "discovery_url" : "issuer";
	const char *url = p->jwks_uri ? p->jwks_uri : p->discovery_url ? p->discovery_url : p->issuer;

	if (p->pin && url && !p->jwks_file && strncmp(url, "https://", 8) != 0)
		section_fault(r, line_of(r->section, "pin"), "pin is for https, and %s is not", key);
}

static void take_provider(struct reading *r, struct federation_provider *p)
{
	p->max_token_size = FEDERATION_TOKEN_SIZE;
	take_keys(r, p);
	default_text(r, &p->user_claim, "sub");
	default_text(r, &p->groups_claim, "groups");
	set_source(r, p);
	check_twin(r, p);
	check_pair(r, "jwks_file", p->jwks_file, "jwks_uri", p->jwks_uri);
	check_pair(r, "jwks_file", p->jwks_file, "discovery_url", p->discovery_url);
	check_pair(r, "jwks_uri", p->jwks_uri, "discovery_url", p->discovery_url);
	check_pair(r, "jwks_file", p->jwks_file, "pin", p->pin);
	check_pinned(r, p);
	if (p->types.count && p->rules == FEDERATION_MONGODB)
		section_fault(
			r, line_of(r->section, "types"), "%s", "types and rules = mongodb, which takes no typ but JWT, exclude each other");
}

/* Who he is: by the one identifier that his identity provider's type asks for. */
static void check_identifier(struct reading *r, const struct federation_user *u)
{
	const struct config_entry *user_id = find_entry(r->section, "user_id"), *group_id = find_entry(r->section, "group_id");
	const struct federation_provider *p = u->identity_provider ? federation_provider(r->f, u->identity_provider) : NULL;
	const char *wanted = !p ? "user_id or group_id" : p->type == FEDERATION_GROUP ? "group_id" : "user_id";

	if (user_id && group_id)
		section_fault(r, group_id->line, "%s", "user_id and group_id exclude each other");
	else if (!user_id && !group_id)
		section_fault(r, r->section->line, "the key %s is missing", wanted);
	else if (p && (p->type == FEDERATION_GROUP) != (group_id != NULL))
		section_fault(r, user_id ? user_id->line : group_id->line, "identity provider %s has authorization_type %s: name a %s",
			p->name, p->type == FEDERATION_GROUP ? "group" : "user", wanted);
}

static void take_user(struct reading *r, struct federation_user *u)
{
	take_keys(r, u);
	default_text(r, &u->login, r->section->name);
	default_text(r, &u->account, u->login ? u->login : "");
	check_identifier(r, u);
}

/* The pieces that all four begin with. */
static bool begin(struct reading *r, char **name, const char **file, unsigned int *line)
{
	*file = r->section->file;
	*line = r->section->line;
	*name = strdup(r->section->name);
	if (!*name)
		section_fault(r, *line, "%s", "out of memory");
	return *name != NULL;
}

static void take_section(struct reading *r)
{
	struct federation *f = r->f;

	if (r->table == &tables[PROVIDERS]) {
		struct federation_provider *p = &f->providers[f->provider_count];

		if (begin(r, &p->name, &p->file, &p->line)) {
			take_provider(r, p);
			f->provider_count++;
		}
	} else if (r->table == &tables[ORGANIZATIONS]) {
		struct federation_organization *o = &f->organizations[f->organization_count];

		if (begin(r, &o->name, &o->file, &o->line)) {
			take_keys(r, o);
			f->organization_count++;
		}
	} else if (r->table == &tables[SERVICES]) {
		struct federation_service *s = &f->services[f->service_count];

		if (begin(r, &s->name, &s->file, &s->line)) {
			take_keys(r, s);
			f->service_count++;
		}
	} else {
		struct federation_user *u = &f->users[f->user_count];

		if (begin(r, &u->name, &u->file, &u->line)) {
			take_user(r, u);
			f->user_count++;
		}
	}
}

static size_t table_of(const char *type)
{
	size_t i = 0;

	while (i < TABLES && strcmp(tables[i].type, type) != 0)
		i++;
	return i;
}

bool federation_is_section(const char *type)
{
	return table_of(type) < TABLES;
}

static int compare_texts(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* As federation_logins() needs it, then in the order of the files. */
static int by_login(const void *a, const void *b)
{
	const struct federation_user *x = *(const struct federation_user *const *)a, *y = *(const struct federation_user *const *)b;
	int order = strcmp(x->service, y->service);

	order = order ? order : strcmp(x->login, y->login);
	return order ? order : x < y ? -1 : x > y;
}

static int compare_right(const struct federation_user *x, const struct federation_user *y)
{
	int order = strcmp(x->service, y->service);

	order = order ? order : strcmp(x->login, y->login);
	order = order ? order : strcmp(x->identity_provider, y->identity_provider);
	order = order ? order : compare_texts(x->user_id, y->user_id);
	return order ? order : compare_texts(x->group_id, y->group_id);
}

static int by_right(const void *a, const void *b)
{
	const struct federation_user *x = *(const struct federation_user *const *)a, *y = *(const struct federation_user *const *)b;
	int order = compare_right(x, y);

	return order ? order : x < y ? -1 : x > y;
}

/* Two that say the same: who deletes one of them would think that the right is gone. */
static void order_users(struct federation *f, struct buffer *errors)
{
	const struct federation_user **sorted = calloc(f->user_count + 1, sizeof(*sorted));

	if (!sorted) {
		buffer_printf(errors, "out of memory\n");
		return;
	}
	f->logins = sorted;
	for (size_t i = 0; i < f->user_count; i++)
		sorted[i] = &f->users[i];
	qsort(sorted, f->user_count, sizeof(*sorted), by_right);
	for (size_t i = 1; i < f->user_count; i++)
		if (compare_right(sorted[i - 1], sorted[i]) == 0)
			federation_fault(errors, sorted[i]->file, sorted[i]->line,
				"database-user %s: database-user %s (%s:%u) has the same service, login, identity provider and identifier",
				sorted[i]->name, sorted[i - 1]->name, sorted[i - 1]->file, sorted[i - 1]->line);
	qsort(sorted, f->user_count, sizeof(*sorted), by_login);
}

static bool make_room(const struct config *config, struct federation *f)
{
	size_t count[TABLES + 1] = { 0 };

	for (size_t i = 0; i < config->count; i++)
		count[table_of(config->sections[i].type)]++;
	f->providers = calloc(count[PROVIDERS] + 1, sizeof(*f->providers));
	f->organizations = calloc(count[ORGANIZATIONS] + 1, sizeof(*f->organizations));
	f->services = calloc(count[SERVICES] + 1, sizeof(*f->services));
	f->users = calloc(count[USERS_ADDED] + 1, sizeof(*f->users));
	return f->providers && f->organizations && f->services && f->users;
}

bool federation_load(const struct config *config, struct federation *f, struct buffer *errors)
{
	size_t before = errors->length;

	memset(f, 0, sizeof(*f));
	if (!make_room(config, f)) {
		buffer_printf(errors, "out of memory\n");
		return false;
	}
	/* Identity providers first: the others refer to them, from whatever file. */
	for (int others = 0; others < 2; others++)
		for (size_t i = 0; i < config->count; i++) {
			size_t table = table_of(config->sections[i].type);
			struct reading r = { .f = f, .section = &config->sections[i], .errors = errors };

			if (table == TABLES || others != (table != PROVIDERS))
				continue;
			r.table = &tables[table];
			take_section(&r);
		}
	if (errors->length == before && !errors->failed)
		order_users(f, errors);
	return errors->length == before && !errors->failed;
}
