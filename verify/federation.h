/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Accept half of the configuration: identity providers, the organizations
 * that connect them to services, and database users. Read whole, checked
 * whole (federation-read.c) and never changed afterwards. No network, no JSON,
 * no cryptography: keyfobd, keyfob-verifyd and the verbs that edit it all read
 * it here.
 */
#ifndef KEYFOB_FEDERATION_H
#define KEYFOB_FEDERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/buffer.h"
#include "common/config.h"

#define FEDERATION_TOKEN_SIZE 16384 /* bytes of a token, unless max_token_size says otherwise */
#define FEDERATION_TEXT_MAX 1024 /* bytes of any value */
#define FEDERATION_IDENTITY_MAX 255 /* bytes of what names somebody: a login, a user or group identifier */

enum federation_type { FEDERATION_USER, FEDERATION_GROUP };
enum federation_rules { FEDERATION_KEYFOB, FEDERATION_MONGODB };

struct federation_list {
	size_t count;
	char **names;
};

/* [identity-provider NAME]. Texts that are not given are NULL, but for those with a default. */
struct federation_provider {
	char *name, *description;
	char *issuer, *audience;
	enum federation_type type; /* authorization_type: user or group */
	char *user_claim, *groups_claim; /* "sub", "groups" */
	enum federation_rules rules; /* keyfob or mongodb */
	struct federation_list client_ids; /* client_id, repeatable: azp or client_id of a token must be one */
	struct federation_list types; /* of tokens; empty: what RFC 9068 section 4 and RFC 7519 section 5.1 allow */
	unsigned int max_lifetime; /* seconds of exp - iat, 0: any */
	unsigned int expiry_skew; /* seconds that exp may be past */
	size_t max_token_size;
	/* where its keys come from */
	char *discovery_url, *jwks_uri, *jwks_file, *ca_file, *proxy;
	char *pin; /* sha256//BASE64[;...]: of the public keys that their servers may have */
	char *source; /* all that decides which keys are believed, as one text: a kept key set is bound to it */
	const char *file; /* where it is configured; owned by the config */
	unsigned int line;
};

/* [organization NAME]: each of its identity providers is connected to each of its services. */
struct federation_organization {
	char *name, *description;
	struct federation_list services, identity_providers;
	const char *file;
	unsigned int line;
};

/* [service NAME]: a relying party about which there is something to say. */
struct federation_service {
	char *name, *description;
	struct federation_list allow; /* names of the users whose processes may ask; empty: anybody's */
	size_t uid_count;
	uid_t *uids; /* of these, once federation_resolve() was called */
	const char *file;
	unsigned int line;
};

/* [database-user NAME] */
struct federation_user {
	char *name, *description;
	char *service, *identity_provider;
	char *user_id, *group_id; /* one of the two */
	char *login; /* as the client gives it; the section's name unless told otherwise */
	char *account; /* what the service is told he is (PAM_USER); login unless told otherwise */
	const char *file;
	unsigned int line;
};

struct federation {
	size_t provider_count, organization_count, service_count, user_count;
	struct federation_provider *providers; /* in the order of the files */
	struct federation_organization *organizations;
	struct federation_service *services;
	struct federation_user *users;
	const struct federation_user **logins; /* the users by service and login, for federation_logins() */
};

/* Is this section's type one of the four? Other types are somebody else's. */
bool federation_is_section(const char *type);
/*
 * Take the sections of these types. Appends a line "FILE:LINE: what is wrong
 * and what is allowed" per fault to errors and returns true only if there was
 * none. config must outlive the federation. The caller frees it in any case.
 */
bool federation_load(const struct config *config, struct federation *f, struct buffer *errors);
void federation_free(struct federation *f);
/* Look up the uids of the services' allow lines (getpwnam(3)); faults as above. */
bool federation_resolve(struct federation *f, struct buffer *errors);

/* By name; NULL when there is none. */
const struct federation_provider *federation_provider(const struct federation *f, const char *name);
const struct federation_organization *federation_organization(const struct federation *f, const char *name);
const struct federation_service *federation_service(const struct federation *f, const char *name);
const struct federation_user *federation_user(const struct federation *f, const char *name);
/* The database users who share this login of this service, in the order of the files. Their number in *count. */
const struct federation_user *const *federation_logins(const struct federation *f, const char *service, const char *login, size_t *count);
/* Does an organization hold both? Without any organization all are connected. */
bool federation_connected(const struct federation *f, const char *provider, const char *service);
/* May this database user log in: is its identity provider connected to its service? */
bool federation_takes(const struct federation *f, const struct federation_user *user);
/* May a process of this uid ask for the service? Root may. Needs federation_resolve(). */
bool federation_may_ask(const struct federation *f, const char *service, uid_t uid);
/* No control characters, neither ASCII's nor U+0080 to U+009F. */
bool federation_is_plain(const char *text);
/* May this text name somebody: not empty, not too long, no control characters? */
bool federation_is_identity(const char *text);
/* Is this the identity provider's issuer, or the one other spelling that is known (Google's)? */
bool federation_is_issuer(const struct federation_provider *p, const char *issuer);

bool federation_list_holds(const struct federation_list *list, const char *name);
/* A line "FILE:LINE: ..." in errors, escaped. */
void federation_fault(struct buffer *errors, const char *file, unsigned int line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
