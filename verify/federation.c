/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/federation.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

void federation_fault(struct buffer *errors, const char *file, unsigned int line, const char *format, ...)
{
	char text[1024], shown[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	buffer_printf(errors, "%s:%u: %s\n", file, line, log_escape(text, shown, sizeof(shown)));
}

static void free_list(struct federation_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
}

static void free_provider(struct federation_provider *p)
{
	free(p->name);
	free(p->description);
	free(p->issuer);
	free(p->audience);
	free(p->user_claim);
	free(p->groups_claim);
	free_list(&p->client_ids);
	free_list(&p->types);
	free(p->discovery_url);
	free(p->jwks_uri);
	free(p->jwks_file);
	free(p->ca_file);
	free(p->pin);
	free(p->proxy);
	free(p->source);
}

static void free_user(struct federation_user *u)
{
	free(u->name);
	free(u->description);
	free(u->service);
	free(u->identity_provider);
	free(u->user_id);
	free(u->group_id);
	free(u->login);
	free(u->account);
}

void federation_free(struct federation *f)
{
	for (size_t i = 0; i < f->provider_count; i++)
		free_provider(&f->providers[i]);
	for (size_t i = 0; i < f->organization_count; i++) {
		free(f->organizations[i].name);
		free(f->organizations[i].description);
		free_list(&f->organizations[i].services);
		free_list(&f->organizations[i].identity_providers);
	}
	for (size_t i = 0; i < f->service_count; i++) {
		free(f->services[i].name);
		free(f->services[i].description);
		free_list(&f->services[i].allow);
		free(f->services[i].uids);
	}
	for (size_t i = 0; i < f->user_count; i++)
		free_user(&f->users[i]);
	free(f->providers);
	free(f->organizations);
	free(f->services);
	free(f->users);
	free(f->logins);
	memset(f, 0, sizeof(*f));
}

static void resolve_service(struct federation_service *s, struct buffer *errors)
{
	free(s->uids);
	s->uid_count = 0;
	s->uids = calloc(s->allow.count + 1, sizeof(*s->uids));
	if (!s->uids) {
		federation_fault(errors, s->file, s->line, "service %s: out of memory", s->name);
		return;
	}
	for (size_t i = 0; i < s->allow.count; i++) {
		const struct passwd *pw;

		errno = 0;
		pw = getpwnam(s->allow.names[i]);
		if (pw)
			s->uids[s->uid_count++] = pw->pw_uid;
		else if (errno == 0 || errno == ENOENT || errno == ESRCH || errno == EBADF || errno == EPERM) /* getpwnam(3) */
			federation_fault(errors, s->file, s->line, "service %s: allow: there is no user %s", s->name, s->allow.names[i]);
		else
			federation_fault(errors, s->file, s->line, "service %s: allow: user %s cannot be looked up: %s", s->name,
				s->allow.names[i], strerror(errno));
	}
}

bool federation_resolve(struct federation *f, struct buffer *errors)
{
	size_t before = errors->length;

	for (size_t i = 0; i < f->service_count; i++)
		resolve_service(&f->services[i], errors);
	return errors->length == before && !errors->failed;
}

/* --- questions -------------------------------------------------------------------------- */

const struct federation_provider *federation_provider(const struct federation *f, const char *name)
{
	for (size_t i = 0; i < f->provider_count; i++)
		if (strcmp(f->providers[i].name, name) == 0)
			return &f->providers[i];
	return NULL;
}

const struct federation_organization *federation_organization(const struct federation *f, const char *name)
{
	for (size_t i = 0; i < f->organization_count; i++)
		if (strcmp(f->organizations[i].name, name) == 0)
			return &f->organizations[i];
	return NULL;
}

const struct federation_service *federation_service(const struct federation *f, const char *name)
{
	for (size_t i = 0; i < f->service_count; i++)
		if (strcmp(f->services[i].name, name) == 0)
			return &f->services[i];
	return NULL;
}

const struct federation_user *federation_user(const struct federation *f, const char *name)
{
	for (size_t i = 0; i < f->user_count; i++)
		if (strcmp(f->users[i].name, name) == 0)
			return &f->users[i];
	return NULL;
}

static int compare_login(const struct federation_user *u, const char *service, const char *login)
{
	int order = strcmp(u->service, service);

	return order ? order : strcmp(u->login, login);
}

const struct federation_user *const *federation_logins(const struct federation *f, const char *service, const char *login, size_t *count)
{
	size_t first = 0, end = f->logins ? f->user_count : 0, after;

	for (size_t i = end; first < i;) {
		size_t middle = first + (i - first) / 2;

		if (compare_login(f->logins[middle], service, login) < 0)
			first = middle + 1;
		else
			i = middle;
	}
	for (after = first; after < end && compare_login(f->logins[after], service, login) == 0; after++)
		;
	*count = after - first;
	return *count ? &f->logins[first] : NULL;
}

bool federation_list_holds(const struct federation_list *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->names[i], name) == 0)
			return true;
	return false;
}

bool federation_connected(const struct federation *f, const char *provider, const char *service)
{
	for (size_t i = 0; i < f->organization_count; i++)
		if (federation_list_holds(&f->organizations[i].identity_providers, provider) &&
			federation_list_holds(&f->organizations[i].services, service))
			return true;
	return f->organization_count == 0 && federation_provider(f, provider);
}

bool federation_takes(const struct federation *f, const struct federation_user *user)
{
	return federation_connected(f, user->identity_provider, user->service);
}

bool federation_may_ask(const struct federation *f, const char *service, uid_t uid)
{
	const struct federation_service *s = federation_service(f, service);

	if (uid == 0 || !s || s->allow.count == 0)
		return true;
	for (size_t i = 0; i < s->uid_count; i++)
		if (s->uids[i] == uid)
			return true;
	return false;
}

bool federation_is_issuer(const struct federation_provider *p, const char *issuer)
{
	static const char google[] = "https://accounts.google.com";

	return strcmp(p->issuer, issuer) == 0 || (strcmp(p->issuer, google) == 0 && strcmp(issuer, google + strlen("https://")) == 0);
}

bool federation_is_plain(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	for (; *at; at++)
		if (*at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0))
			return false;
	return true;
}

bool federation_is_identity(const char *text)
{
	return *text && strlen(text) <= FEDERATION_IDENTITY_MAX && federation_is_plain(text);
}
