/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob doctor: a family of checks per file, each of which adds findings.
 *
 * A check changes nothing, prints no secret and ends by itself: what may hang
 * (name services, other programs, rings that a user built) runs apart, with a
 * limit. Whatever it reads may be hostile, and root reads it.
 */
#ifndef KEYFOB_ADMIN_DOCTOR_H
#define KEYFOB_ADMIN_DOCTOR_H

#include "cli/admin.h"

enum doctor_level { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_ERROR };
#define DOCTOR_LEVELS 3

struct doctor_finding {
	const char *check;
	enum doctor_level level;
	char *subject, *text;
	char *fix; /* a command or a line of a file; NULL: there is nothing to mend */
};

struct doctor {
	const struct cli *cli;
	const char *check; /* the family that is running */
	struct doctor_finding *findings;
	size_t count, room;
	bool failed; /* out of memory: something is not told */

	struct admin admin; /* the configuration */
	bool configured; /* false: there is none, it is not for this user, or it has faults */
	bool is_host; /* root, where a configuration stands: keyfobd is to run here */
	struct cli_list list; /* what the broker told; empty while it was not asked, or does not answer */
};

/* admin-doctor-findings.c */
void doctor_add(struct doctor *d, enum doctor_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
#define doctor_ok(d, ...) doctor_add(d, DOCTOR_OK, __VA_ARGS__)
#define doctor_warning(d, ...) doctor_add(d, DOCTOR_WARNING, __VA_ARGS__)
#define doctor_error(d, ...) doctor_add(d, DOCTOR_ERROR, __VA_ARGS__)
/* What mends the finding added last. */
void doctor_fix(struct doctor *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t doctor_count(const struct doctor *d, enum doctor_level level);
void doctor_free_findings(struct doctor *d);
/* All of them, for people or as a JSON array. */
void doctor_put(const struct doctor *d, bool colour, struct buffer *b);
void doctor_put_json(const struct doctor *d, struct buffer *b);

/* admin-doctor-apart.c */
/*
 * Do work in a process of its own, which writes its answer to out, and kill it
 * with all it started when it takes longer. Appends the answer, whole or as
 * far as it came. Returns its exit code, 128 and more for a signal, or -1 when
 * it was too slow or could not be started.
 */
int doctor_apart(int (*work)(void *arg, int out), void *arg, int timeout_ms, struct buffer *answer);
/* The same for another program of keyfob's: what it prints, with_errors also on stderr. arguments as cli_tool() has them. */
int doctor_tool(const char *name, const char *const *arguments, bool with_errors, int timeout_ms, struct buffer *answer);

/* admin-doctor-read.c */
/*
 * The content of a regular file, at most limit bytes, appended. fd is its
 * directory's, or AT_FDCWD; flags are more of open(2)'s: O_NOFOLLOW where
 * others than root may write. false: errno says why not (EFBIG: it is larger).
 */
bool doctor_slurp(int fd, const char *path, int flags, size_t limit, struct buffer *b);
/* A number that stands alone in a file, or -1. */
int64_t doctor_number(const char *path);

/* The families. */
void doctor_kernel(struct doctor *d);
void doctor_clock(struct doctor *d);
void doctor_keyring(struct doctor *d); /* quotas, and rings that a user planted */
void doctor_configuration(struct doctor *d);
void doctor_broker(struct doctor *d); /* needs to come before those that read d->list */
void doctor_credentials(struct doctor *d);
void doctor_policy(struct doctor *d); /* what is allowed, and doubtful all the same */
void doctor_services(struct doctor *d);
void doctor_pam(struct doctor *d);
void doctor_drivers(struct doctor *d);

/* admin-doctor-services.c: is this the first database user of a service who may log in there? */
bool doctor_is_first(const struct federation *f, size_t user);

/* admin-doctor-policy.c */
/* The next NAME of "user:NAME" among the words of its allow lines, into name; *at begins at 0. false: there are no more. */
bool doctor_next_user(const struct config_section *s, size_t *at, char *name, size_t size);

#endif
