/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the configuration says: which credentials there are, where their
 * tokens come from, who may have them and what will judge them. Read whole, checked whole, and
 * never changed afterwards: a reload makes a new one.
 */
#ifndef KEYFOB_POLICY_H
#define KEYFOB_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buffer.h"
#include "common/config.h"
#include "modules/module.h"
#include "verify/federation.h"

#define POLICY_MIN_TTL 300
#define POLICY_TIMEOUT 30 /* seconds for one attempt, unless the provider line says otherwise */
/* systemd(1) hands these out to services that come and go, and gives them to the next (DynamicUser=). */
#define POLICY_RECYCLED_UID_FIRST 61184
#define POLICY_RECYCLED_UID_LAST 65519

/* A module's table, as keyfob-fetch --describe told it. */
struct policy_option {
	char *name;
	uint8_t type, flags;
	char *values;
};
struct policy_module {
	struct policy_module *next;
	char *name;
	uint8_t sandbox, kind;
	size_t count;
	struct policy_option *options;
};

struct policy_setting {
	char *name, *value;
	uint8_t type; /* enum keyfob_option_type */
	bool is_secret; /* the module gets what it stands for, not only its name */
	const char *content; /* of a secret that stands in a variable, env:NAME; NULL: it is a file or a credential */
};

struct policy_provider {
	unsigned int where; /* the line of the file */
	char *line; /* as configured */
	char *module;
	uint8_t sandbox, kind;
	uid_t run_as;
	char *run_as_name; /* NULL: keyfob-fetch */
	unsigned int ttl, timeout;
	size_t count, arguments;
	struct policy_setting *settings;
	char **argument;
	char *fault; /* why this line cannot be tried now, a variable that is missing; or NULL */
};

struct policy_rule {
	bool is_group;
	unsigned int line; /* where it is configured */
	char *name;
	uint32_t id;
};

/* A line of a pgpass file, but for the token: HOST:PORT:DATABASE:USER as it is written there. */
struct policy_pgpass {
	char *text;
	unsigned int line; /* where it is configured */
};

/* The socket of a credential's own; whoever may connect has the credential. */
struct policy_socket {
	char *user, *group; /* NULL: there is none */
	uint32_t uid, gid, mode;
	unsigned int line; /* where it is configured */
};

#define POLICY_PGPASS "pgpass" /* the file's name in a user's directory; others are credentials' names */

enum policy_refresh { POLICY_REFRESH_AHEAD, POLICY_REFRESH_ON_DEMAND };
enum policy_store { POLICY_STORE_KEYRING, POLICY_STORE_SOCKET };

struct policy_credential {
	char *name, *description, *resource;
	char *identity_provider; /* what will judge its tokens, or NULL */
	unsigned int identity_provider_line;
	const char *file; /* where it is configured; owned by the policy */
	unsigned int line;
	uint8_t kind; /* enum keyfob_kind */
	enum policy_refresh refresh;
	enum policy_store store;
	bool trust_run_as;
	bool metadata; /* handed out by keyfob-metadata as well */
	unsigned int metadata_line;
	unsigned int min_ttl;
	bool has_raw_file;
	unsigned int file_line;
	size_t pgpass_count;
	struct policy_pgpass *pgpass;
	struct policy_socket socket;
	size_t provider_count, rule_count;
	struct policy_provider *providers;
	struct policy_rule *rules;
	char *definition; /* all that decides what token is fetched, as one text */
};

struct policy {
	struct config config; /* file names live here */
	struct policy_module *modules;
	size_t count;
	struct policy_credential *credentials; /* by name */
	struct federation federation; /* of the Accept half only where key sets come from, and what a token must say, concerns the broker */
};

/* Where the policy's questions go: to the launcher, or to a test. Return 0 or a negative errno. */
struct policy_source {
	void *arg;
	int (*describe)(void *arg, const char *module, struct buffer *frame);
	/* names and answer as LAUNCHER_LOOKUP has them */
	int (*look_up)(void *arg, uint32_t count, const struct buffer *names, struct buffer *answer);
	/*
	 * A variable of whoever runs `keyfob get --direct`, or NULL; it must stay
	 * as long as the policy. NULL for a broker: nobody's environment counts
	 * there, and env:NAME is a fault.
	 */
	const char *(*variable)(void *arg, const char *name);
	const char *own; /* for a user's own broker, which serves, and runs, nobody but him: his name; else NULL */
};

/*
 * Read, check and resolve. Appends a line per fault to errors and returns
 * NULL if there was any. The caller frees the policy.
 */
struct policy *policy_load(const char *path, const struct policy_source *source, struct buffer *errors);
void policy_free(struct policy *policy);

const struct policy_credential *policy_find(const struct policy *policy, const char *name);
/* May a caller with this uid and these groups have it? Root may have any. */
bool policy_allows(const struct policy_credential *credential, uid_t uid, const gid_t *groups, size_t count);
/* By what is such a caller allowed? The id of the first of these groups that the credential names, or one of the two below. */
#define POLICY_BY_NAME UINT32_MAX /* himself, or as root */
#define POLICY_SOME_GROUP (UINT32_MAX - 1) /* by a group, and it is not known which */
uint32_t policy_group_of(const struct policy_credential *credential, uid_t uid, const gid_t *groups, size_t count);
/* Is he named himself, so that he gets his copy ahead? */
bool policy_names_user(const struct policy_credential *credential, uid_t uid);
bool policy_uid_is_recycled(uid_t uid);
/* The kind of its tokens, KEYFOB_KIND_DEFAULT where that depends on which provider line gives one. */
uint8_t policy_kind(const struct policy_credential *credential);
/* Do its readers find it in files? */
bool policy_has_file(const struct policy_credential *credential);

/* In policy-provider.c: parse and check one provider line. */
struct policy_fault {
	const char *file;
	unsigned int line;
	struct buffer *errors;
};
void policy_error(const struct policy_fault *at, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool policy_parse_provider(struct policy *policy, const struct policy_source *source, const char *text, struct policy_provider *provider,
	const struct policy_fault *at);
void policy_free_provider(struct policy_provider *provider);
void policy_free_modules(struct policy_module *modules);

/* In policy-names.c: users and groups, whose ids are asked for all at once; a directory service may be slow. */
struct policy_name {
	const char *name; /* the policy's */
	uint8_t kind; /* LAUNCHER_NAME_USER or LAUNCHER_NAME_GROUP */
	bool found;
	uint32_t id;
};
struct policy_names {
	struct policy_name *list;
	size_t count;
	bool failed; /* memory ran out */
};
void policy_names_add(struct policy_names *names, uint8_t kind, const char *name);
/* 0 or a negative errno. */
int policy_names_ask(struct policy_names *names, const struct policy_source *source);
/* Of one that was added, after they were asked for. id is 0 where there is nobody of that name. */
bool policy_names_find(const struct policy_names *names, uint8_t kind, const char *name, uint32_t *id);
void policy_names_free(struct policy_names *names);

/* In policy-files.c: the keys file and socket. */
bool policy_take_file(struct policy_credential *c, const char *value, const struct policy_fault *at);
bool policy_take_socket(struct policy_credential *c, const char *value, const struct policy_fault *at);
/* An id in the place of a name that there is not, as chown(1) takes it: the users of containers have no names on the host. */
bool policy_socket_number(const char *text, uint32_t *id);
void policy_check_files(const struct policy *policy, struct buffer *errors);
void policy_free_files(struct policy_credential *c);

#endif
