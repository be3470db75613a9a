/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration may say, and what is doubtful all the same. */
#include "cli/admin-doctor.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>

#define NAMES_MS 10000
#define ANSWER_MAX (1u << 20)
#define RECYCLED_FIRST 61184 /* systemd(1): DynamicUser= */
#define RECYCLED_LAST 65519

bool doctor_next_user(const struct config_section *s, size_t *at, char *name, size_t size)
{
	size_t seen = 0;

	for (size_t i = 0; strcmp(s->type, "credential") == 0 && i < s->count; i++) {
		const char *word = s->entries[i].value;

		if (strcmp(s->entries[i].key, "allow") != 0)
			continue;
		for (word += strspn(word, " \t"); *word; word += strspn(word, " \t")) {
			size_t length = strcspn(word, " \t");

			if (strncmp(word, "user:", 5) == 0 && length - 5 < size && seen++ == *at) {
				snprintf(name, size, "%.*s", (int)length - 5, word + 5);
				++*at;
				return true;
			}
			word += length;
		}
	}
	return false;
}

static bool is_credential(const struct config_section *s)
{
	return strcmp(s->type, "credential") == 0;
}

/* --- two for one ------------------------------------------------------------------ */

static bool is_source(const char *key)
{
	return strcmp(key, "provider") == 0 || strcmp(key, "resource") == 0 || strcmp(key, "token") == 0;
}

/* The next entry from *at that says where tokens come from. */
static const struct config_entry *next_source(const struct config_section *s, size_t *at)
{
	while (*at < s->count) {
		const struct config_entry *e = &s->entries[(*at)++];

		if (is_source(e->key))
			return e;
	}
	return NULL;
}

static bool same_source(const struct config_section *a, const struct config_section *b)
{
	size_t i = 0, j = 0;

	for (;;) {
		const struct config_entry *one = next_source(a, &i), *other = next_source(b, &j);

		if (!one || !other)
			return one == other;
		if (strcmp(one->key, other->key) != 0 || strcmp(one->value, other->value) != 0)
			return false;
	}
}

static void check_twins(struct doctor *d, size_t at)
{
	const struct config_section *s = &d->admin.config.sections[at];

	for (size_t i = 0; i < at; i++) {
		const struct config_section *other = &d->admin.config.sections[i];

		if (!is_credential(other) || !same_source(s, other))
			continue;
		doctor_warning(d, s->name, "the same provider and resource as %s: the same token is fetched twice", other->name);
		doctor_fix(d, "one section with both allow lines (%s:%u, %s:%u)", other->file, other->line, s->file, s->line);
		return;
	}
}

/* --- who it is for ---------------------------------------------------------------------- */

static void check_trust(struct doctor *d, const struct config_section *s)
{
	for (size_t i = 0; config_says_yes(s, "trust_run_as") && i < s->count; i++) {
		const char *user = strcmp(s->entries[i].key, "provider") == 0 ? strstr(s->entries[i].value, " run_as=") : NULL;

		if (!user)
			continue;
		user += strlen(" run_as=");
		doctor_warning(d, s->name, "%.*s runs the provider, and so decides what token all the others get",
			(int)strcspn(user, " \t"), user);
		doctor_fix(d, "a run_as user of its own that nobody else uses, where the program allows it (%s:%u)", s->file,
			s->entries[i].line);
	}
}

static void check_nobody(struct doctor *d, const struct config_section *s)
{
	static const char *const keys[] = { "file", "metadata" };

	for (size_t i = 0; !config_value(s, "allow") && i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *value = config_value(s, keys[i]);

		if (!value || strcmp(value, "no") == 0)
			continue;
		doctor_warning(d, s->name, "%s = %s, but no user is allowed it: the line does nothing", keys[i], value);
		doctor_fix(d, "allow = user:NAME in [credential %s] (%s:%u)", s->name, s->file, s->line);
	}
}

static int find_recycled(void *arg, int out)
{
	const struct doctor *d = arg;

	for (size_t i = 0; i < d->admin.config.count; i++) {
		const struct config_section *s = &d->admin.config.sections[i];
		char name[64];
		size_t at = 0;

		while (doctor_next_user(s, &at, name, sizeof(name))) {
			const struct passwd *user = getpwnam(name);

			if (user && user->pw_uid >= RECYCLED_FIRST && user->pw_uid <= RECYCLED_LAST)
				dprintf(out, "%s %s %u\n", s->name, name, user->pw_uid);
		}
	}
	return 0;
}

/* In a process of its own: a name service may hang. */
static void check_recycled(struct doctor *d)
{
	struct buffer answer;
	char *lines, *line;

	buffer_init(&answer, ANSWER_MAX);
	doctor_apart(find_recycled, d, NAMES_MS, &answer);
	lines = (char *)(uintptr_t)buffer_cstring(&answer);
	while (lines && (line = strsep(&lines, "\n"))) {
		char credential[WIRE_NAME_MAX + 1], user[64];
		unsigned int uid;

		if (sscanf(line, "%64s %63s %u", credential, user, &uid) != 3)
			continue;
		doctor_warning(d, credential,
			"user %s has uid %u, which systemd hands to the next service when this one ends: no keyring copy, the socket only",
			user, uid);
		doctor_fix(d,
			"a fixed user (sysusers.d(5)) in place of DynamicUser=, or a socket of the credential's own with LoadCredential=");
	}
	buffer_free(&answer);
}

/* --- what will judge it --------------------------------------------------------------------- */

/* "api://X/.default", "api://X" and "X" are one resource of Azure's. */
static void plain_resource(const char *text, char *out, size_t size)
{
	size_t length;

	if (strncmp(text, "api://", 6) == 0)
		text += 6;
	length = strlen(text);
	if (length > 9 && strcmp(text + length - 9, "/.default") == 0)
		length -= 9;
	snprintf(out, size, "%.*s", (int)length, text);
}

/* Once there is a token, status knows better. */
static bool has_token(const struct doctor *d, const char *name)
{
	for (size_t i = 0; i < d->list.count; i++)
		if (strcmp(d->list.item[i].name, name) == 0)
			return d->list.item[i].expires != 0;
	return false;
}

static void check_audience(struct doctor *d, const struct config_section *s)
{
	const char *resource = config_value(s, "resource"), *name = config_value(s, "identity_provider"),
		   *module = config_value(s, "provider");
	const struct federation_provider *p = name ? federation_provider(&d->admin.now, name) : NULL;
	char asked[FEDERATION_TEXT_MAX], wanted[FEDERATION_TEXT_MAX];

	if (!p || !resource || !module || has_token(d, s->name) || (strncmp(module, "azure", 5) != 0 && strncmp(module, "gcp", 3) != 0))
		return;
	plain_resource(resource, asked, sizeof(asked));
	plain_resource(p->audience, wanted, sizeof(wanted));
	if (strcmp(asked, wanted) == 0)
		return;
	doctor_warning(d, s->name, "asks for a token for %s, and %s takes those for %s", resource, name, p->audience);
	doctor_fix(d, "resource = %s in [credential %s] (%s:%u), or the audience of [identity-provider %s] (%s:%u)", p->audience, s->name,
		s->file, s->line, name, p->file, p->line);
}

void doctor_policy(struct doctor *d)
{
	size_t before = d->count;

	if (!d->configured)
		return;
	for (size_t i = 0; i < d->admin.config.count; i++) {
		const struct config_section *s = &d->admin.config.sections[i];

		if (!is_credential(s))
			continue;
		check_twins(d, i);
		check_trust(d, s);
		check_nobody(d, s);
		check_audience(d, s);
	}
	check_recycled(d);
	if (d->count == before)
		doctor_ok(d, "policy", "nothing doubtful in the credentials' sections");
}
