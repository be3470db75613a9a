/* SPDX-License-Identifier: Apache-2.0 */
/* The services that take tokens as logins: whose tokens they share, and how long a password each of them reads. */
#include "cli/admin-doctor.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keyring/keyctl.h"

#define TABLE_MAX (4u << 20) /* bytes of /proc/keys */
#define PACKAGES_MAX (64u << 20) /* bytes of dpkg's list */
#define TYPICAL 1100 /* bytes: an RS256 token of Azure or Google is seldom shorter */

bool doctor_is_first(const struct federation *f, size_t user)
{
	for (size_t i = 0; i < user; i++)
		if (federation_takes(f, &f->users[i]) && strcmp(f->users[i].service, f->users[user].service) == 0)
			return false;
	return federation_takes(f, &f->users[user]);
}

/* --- one audience, two services ------------------------------------------------------ */

static bool same_tokens(const struct federation_provider *a, const struct federation_provider *b)
{
	return a && b && strcmp(a->issuer, b->issuer) == 0 && strcmp(a->audience, b->audience) == 0;
}

static bool names(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += length)
		if ((at == list || at[-1] == ' ') && (at[length] == 0 || at[length] == ','))
			return true;
	return false;
}

static void check_audience(struct doctor *d, const struct federation_provider *p)
{
	const struct federation *f = &d->admin.now;
	size_t services = 0;
	struct buffer list;

	for (const struct federation_provider *before = f->providers; before < p; before++)
		if (same_tokens(before, p))
			return;
	buffer_init(&list, 8192);
	for (size_t i = 0; i < f->user_count; i++) {
		const struct federation_user *u = &f->users[i];

		if (!federation_takes(f, u) || !same_tokens(federation_provider(f, u->identity_provider), p) || !buffer_cstring(&list) ||
			names((const char *)list.data, u->service))
			continue;
		buffer_printf(&list, "%s%s", services++ ? ", " : "", u->service);
	}
	if (services > 1 && buffer_cstring(&list)) {
		doctor_warning(d, p->name,
			"%s take tokens of one audience: who runs one of them can log in to the others with its clients' tokens",
			list.data);
		doctor_fix(d, "an audience for each service: keyfob idp add NAME --issuer=%s --audience=...", p->issuer);
	}
	buffer_free(&list);
}

/* --- how long a password is read ------------------------------------------------------- */

/* After the sources of these programs; a longer one is cut or refused. */
static const struct limit {
	const char *service;
	const char *package, *before; /* only where this package is older; NULL: in any case */
	size_t bytes;
	const char *why;
} limits[] = {
	{ "sshd", NULL, NULL, 1023, "OpenSSH, keyboard-interactive" },
	{ "sudo", NULL, NULL, 1023, "sudo" },
	{ "su", NULL, NULL, 4095, "su, at a terminal" },
	{ "login", NULL, NULL, 4095, "login, at a terminal" },
	{ "pgbouncer", "pgbouncer", "1.17", 995, "PgBouncer before 1.17" },
	{ "pgbouncer", "pgbouncer", "1.26", 2047, "PgBouncer" },
	{ "pgpool", NULL, NULL, 1023, "pgpool-II" },
	{ "postgresql", "postgresql-13", "14", 995, "PostgreSQL 13" },
	{ "postgresql", NULL, NULL, 65530, "PostgreSQL" },
	{ "mariadb", NULL, NULL, 10238, "MariaDB, auth_pam" },
	{ "mysql", NULL, NULL, 10238, "MariaDB, auth_pam" },
	{ "dovecot", NULL, NULL, 6000, "Dovecot" },
	{ "saslauthd", NULL, NULL, 255, "saslauthd" },
};

/* The version of an installed package by dpkg's list, without an epoch, into out. */
static bool find_package(const char *list, const char *name, char *out, size_t size)
{
	char head[80];
	const char *at, *end, *version;

	snprintf(head, sizeof(head), "\nPackage: %s\n", name);
	at = strstr(list, head);
	if (!at)
		return false;
	end = strstr(at + 1, "\n\n");
	version = strstr(at, "\nVersion: ");
	if (!version || (end && version > end))
		return false;
	version += strlen("\nVersion: ");
	at = strpbrk(version, ":\n");
	if (at && *at == ':')
		version = at + 1;
	snprintf(out, size, "%.*s", (int)strcspn(version, "\n"), version);
	return true;
}

static bool is_older(const char *version, const char *than)
{
	while (*version && *than) {
		char *v, *t;
		unsigned long one = strtoul(version, &v, 10), other = strtoul(than, &t, 10);

		if (one != other)
			return one < other;
		if (*v != '.' || *t != '.')
			break;
		version = v + 1;
		than = t + 1;
	}
	return false;
}

static const struct limit *find_limit(const char *packages, const char *service)
{
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		const struct limit *l = &limits[i];
		char version[80];

		if (strcmp(l->service, service) != 0)
			continue;
		if (!l->package || (find_package(packages, l->package, version, sizeof(version)) && is_older(version, l->before)))
			return l;
	}
	return NULL;
}

/*
 * The length of a credential's token, by the list of keys, which shows them. A description may forge a line of that list, with the
 * serial of some other key: so it is the key that is asked, for all it tells. 0: there is none.
 */
static size_t token_length(const char *keys, const char *credential)
{
	char name[WIRE_NAME_MAX + 32];
	size_t longest = 0;

	snprintf(name, sizeof(name), " user      " KEY_TOKEN_PREFIX "%.*s: ", WIRE_NAME_MAX, credential);
	for (const char *at = strstr(keys, name); at; at = strstr(at + 1, name)) {
		struct key_description k;
		const char *line = at;
		key_serial_t key;
		long length;

		while (line > keys && line[-1] != '\n')
			line--;
		key = (key_serial_t)strtoul(line, NULL, 16);
		if (key_describe(key, &k) < 0 || k.uid != 0 || strcmp(k.type, "user") != 0 ||
			strncmp(k.name, KEY_TOKEN_PREFIX, strlen(KEY_TOKEN_PREFIX)) != 0 ||
			strcmp(k.name + strlen(KEY_TOKEN_PREFIX), credential) != 0)
			continue;
		length = keyctl_read(key, NULL, 0);
		if (length > 0 && (size_t)length > longest)
			longest = (size_t)length;
	}
	return longest;
}

/* The longest token that is known to be for this service (NULL: for any), and its credential. */
static size_t longest_token(const struct doctor *d, const char *keys, const char *provider, const char *service, const char **credential)
{
	size_t longest = 0;

	for (size_t i = 0; i < d->admin.config.count; i++) {
		const struct config_section *s = &d->admin.config.sections[i];
		const char *judge = config_value(s, "identity_provider");
		size_t length;

		if (strcmp(s->type, "credential") != 0 || !judge || (provider && strcmp(judge, provider) != 0) ||
			(service && !federation_connected(&d->admin.now, judge, service)))
			continue;
		length = token_length(keys, s->name);
		if (length > longest) {
			longest = length;
			*credential = s->name;
		}
	}
	return longest;
}

static void check_service(struct doctor *d, const char *keys, const char *packages, const char *service)
{
	const struct limit *l = find_limit(packages, service);
	const char *credential = NULL;
	size_t length = longest_token(d, keys, NULL, service, &credential);

	if (!l)
		return;
	if (length > l->bytes) {
		doctor_error(
			d, service, "the token of %s has %zu bytes, and %s reads %zu of a password", credential, length, l->why, l->bytes);
		doctor_fix(d, "tokens with fewer claims, or signed with ES256 in place of RS256, or another way in");
	} else if (l->bytes < TYPICAL) {
		doctor_warning(d, service, "%s reads %zu bytes of a password: an RS256 token seldom fits", l->why, l->bytes);
		doctor_fix(d, "tokens signed with ES256 and with few claims, or another way in");
	} else {
		doctor_ok(d, service, "%s reads %zu bytes of a password", l->why, l->bytes);
	}
}

static void check_provider(struct doctor *d, const char *keys, const struct federation_provider *p)
{
	const char *credential = NULL;
	size_t length = longest_token(d, keys, p->name, NULL, &credential);

	if (length <= p->max_token_size)
		return;
	doctor_error(d, p->name, "the token of %s has %zu bytes, and more than %zu are refused", credential, length, p->max_token_size);
	doctor_fix(d, "max_token_size = %zu in [identity-provider %s] (%s:%u)", length + length / 4, p->name, p->file, p->line);
}

void doctor_services(struct doctor *d)
{
	const struct federation *f = &d->admin.now;
	struct buffer keys, packages;

	buffer_init(&keys, TABLE_MAX + 8192);
	buffer_init(&packages, PACKAGES_MAX + 8192);
	doctor_slurp(AT_FDCWD, "/proc/keys", 0, TABLE_MAX, &keys);
	buffer_put(&packages, "\n", 1);
	doctor_slurp(AT_FDCWD, "/var/lib/dpkg/status", 0, PACKAGES_MAX, &packages);
	if (!d->configured || !buffer_cstring(&keys) || !buffer_cstring(&packages))
		goto out;
	for (size_t i = 0; i < f->provider_count; i++) {
		check_audience(d, &f->providers[i]);
		check_provider(d, (const char *)keys.data, &f->providers[i]);
	}
	for (size_t i = 0; i < f->user_count; i++)
		if (doctor_is_first(f, i))
			check_service(d, (const char *)keys.data, (const char *)packages.data, f->users[i].service);
out:
	buffer_free(&keys);
	buffer_free(&packages);
}
