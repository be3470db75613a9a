/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob-admin: the verbs that read the configuration, or change it.
 *
 * A change is one file of its own below conf.d, with one section. It is
 * checked with all the rest before it is written, written in one step, and
 * taken back when a daemon that runs refuses it.
 */
#ifndef KEYFOB_ADMIN_H
#define KEYFOB_ADMIN_H

#include <limits.h>

#include "cli/cli.h"
#include "common/config.h"
#include "verify/federation.h"
#include "verify/jwt.h"

#define ADMIN_FILE_MAX (1u << 20) /* bytes of a file that is edited */
#define ADMIN_ENTRIES_MAX 96 /* keys of a section that is written */

/* The configuration as it stands. */
struct admin {
	const struct cli *cli;
	char path[PATH_MAX], directory[PATH_MAX]; /* keyfob.conf, and conf.d beside it, as the reader spells them */
	int fd, lock; /* of conf.d, and what keeps other editors out; -1: only reading */
	bool is_new; /* there is none yet: fd and directory are those where keyfob.conf shall be */
	struct config config;
	struct federation now;
};

/* admin-config.c */
enum admin_purpose {
	ADMIN_LOOK,
	ADMIN_CHANGE,
	ADMIN_CREATE, /* change it, or make the first one */
	ADMIN_PEEK, /* if there is one, and this user may read it */
};
#define ADMIN_NO_CONFIG (-1)
#define ADMIN_FAULTY (-2)
/*
 * Read the configuration that the command line names. Returns 0, or an exit
 * code with a line on stderr. When only peeking, or looking with --print, it
 * is ADMIN_NO_CONFIG that there is none to be read, and what is wrong with it
 * is no more than ADMIN_FAULTY to who peeks. admin_close() in any case.
 */
int admin_open(struct admin *a, const struct cli *cli, enum admin_purpose purpose);
void admin_close(struct admin *a);
/* Lines of errors as lines on stderr. Returns 1. */
int admin_fail_lines(struct buffer *errors);
/* The section, or NULL. */
const struct config_section *admin_section(const struct config *config, const char *type, const char *name);
/* No such thing: with the nearest name of those that there are. Returns 3. */
int admin_unknown(const struct admin *a, const char *type, const char *name);
const char *admin_type_words(const char *type); /* "identity provider" of "identity-provider" */

/* A change of one section's file. */
struct admin_change {
	const char *type, *name;
	char file[WIRE_NAME_MAX + 32]; /* below conf.d */
	struct buffer text; /* what it holds then; empty: it goes */
	struct config parsed; /* the same, read back */
	struct config then_config; /* shares all other sections with the configuration that stands */
	struct federation then;
};

void admin_change_init(struct admin_change *c, const char *type, const char *name);
void admin_change_free(struct admin_change *c);
/*
 * Read the new text back and check it with all the rest: c->then is what would
 * stand. Without any rest (a is
 * NULL) only what needs none is checked. Returns 0 or an exit code.
 */
int admin_check(const struct admin *a, struct admin_change *c);

/* admin-stanza.c: a section to be written. Values point to where they came from. */
struct admin_stanza {
	const char *type, *name;
	struct {
		const char *key, *value;
	} entry[ADMIN_ENTRIES_MAX];
	size_t count;
};

/* NULL as value: nothing is added. */
void admin_stanza_add(struct admin_stanza *s, const char *key, const char *value);
void admin_stanza_put(const struct admin_stanza *s, struct buffer *text);
/* Is this section what was to be written? A value may hold what the reader takes for something else. */
bool admin_stanza_is(const struct admin_stanza *s, const struct config *parsed);
/* The words of an option that repeats, parted by one blank. */
void admin_words(const struct cli *cli, const char *option, struct buffer *out);
/* What a verb refuses beyond the rules of the configuration. Returns 0 or an exit code. */
typedef int admin_refusal(const struct admin *a, const struct admin_change *c);
/* Print it, or write it as the file of a new section. refuse may be NULL. Returns the exit code. */
int admin_add(const struct cli *cli, const struct admin_stanza *s, admin_refusal *refuse);

/* admin-file.c */
/* May the section's file be edited or removed: is it one that holds only this, as `add` writes it? Returns 0, or 1 with what to do. */
int admin_check_own(const struct admin *a, const struct config_section *section, const char *file, const char *what_to_do);
/* Append what the file holds now. false: it is not there, or errno says what is wrong. */
bool admin_read_file(const struct admin *a, const char *file, struct buffer *text);
/* Put the change in place and have the daemons read it; all or nothing. Returns 0 or an exit code. */
int admin_apply(const struct admin *a, const struct admin_change *c);

/* admin-access.c: who may log in where. */
/* Append a line for each database user who may log in by before and no longer by after. Returns how many. */
size_t admin_put_loss(const struct federation *before, const struct federation *after, struct buffer *b);
/*
 * Append who loses access, and how to end his sessions. Without --yes all that
 * is printed, and 1 returned, if somebody loses any, or always.
 */
int admin_confirm(const struct admin *a, const struct admin_change *c, bool always, struct buffer *b);
/* The change is made: print b, or with --json what it was and who loses and gains access by it. Returns the exit code. */
int admin_done(const struct admin *a, const struct admin_change *c, struct buffer *b);
/* How to end the sessions of those who lost access. */
void admin_put_sessions(const struct federation *before, const struct federation *after, struct buffer *b);

/* admin-show.c: what the lists and pages of all kinds have alike. */
/* A line "  label    value" with the value escaped; nothing when it is NULL or "". */
void admin_put_pair(struct buffer *b, const char *label, const char *value);
void admin_put_list(struct buffer *b, const char *label, const struct federation_list *list);
void admin_json_list(struct buffer *b, const char *name, const struct federation_list *list);
void admin_json_place(struct buffer *b, const char *file, unsigned int line);
/* One of a kind: by its place in the federation, as text and as JSON. */
struct admin_kind {
	const char *type, *plural; /* "identity_providers", in JSON */
	const char *none; /* a line for an empty list */
	size_t (*count)(const struct federation *f);
	const char *(*name)(const struct federation *f, size_t i);
	void (*put_line)(const struct federation *f, size_t i, struct buffer *b);
	void (*put_page)(const struct federation *f, size_t i, struct buffer *b);
	void (*put_json)(const struct federation *f, size_t i, struct buffer *b);
};
int admin_list(const struct cli *cli, const struct admin_kind *kind);
int admin_show(const struct cli *cli, const struct admin_kind *kind);

/* admin-judge.c */
struct admin_judgement {
	enum {
		ADMIN_UNASKED, /* there is no identity provider, or no configuration that may be read */
		ADMIN_UNREADABLE, /* it has faults */
		ADMIN_FOREIGN, /* the token is for somebody else than this host's */
		ADMIN_JUDGED,
	} state;
	char provider[WIRE_NAME_MAX + 1]; /* "" when none was found */
	bool passes, signature; /* signature: it was looked at */
	char text[WIRE_TEXT_MAX]; /* "CODE: why not"; who it is, where the signature was looked at; or that it was not */
};
/*
 * Would its identity provider take this token? credential is NULL for a token
 * of unknown origin. Returns 0, 7 when it would be refused, or another exit
 * code with a line on stderr.
 */
int admin_judge(
	const struct cli *cli, const char *credential, const struct jwt *jwt, const struct buffer *token, struct admin_judgement *j);
void admin_put_judgement(struct buffer *b, const struct admin_judgement *j);
void admin_json_judgement(struct buffer *b, const struct admin_judgement *j);

/* The verbs. */
int admin_idp_list(const struct cli *cli);
int admin_idp_show(const struct cli *cli);
int admin_idp_add(const struct cli *cli);
int admin_idp_connect(const struct cli *cli);
int admin_idp_disconnect(const struct cli *cli);
int admin_org_list(const struct cli *cli);
int admin_org_show(const struct cli *cli);
int admin_org_add(const struct cli *cli);
int admin_dbuser_list(const struct cli *cli);
int admin_dbuser_show(const struct cli *cli);
int admin_dbuser_add(const struct cli *cli);
int admin_delete(const struct cli *cli); /* of all three kinds */
int admin_explain(const struct cli *cli);
int admin_doctor(const struct cli *cli);
int admin_init(const struct cli *cli);
int admin_metadata_rules(const struct cli *cli);

#endif
