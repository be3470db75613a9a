/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event, to syslog or to stderr, with a level.
 *
 * Bytes that come from outside are escaped on the way (a newline in a
 * provider's answer must not forge a second line). No token is ever an
 * argument: a token is named by its fingerprint.
 */
#ifndef KEYFOB_LOG_H
#define KEYFOB_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <syslog.h>

#include "common/buffer.h"

/*
 * ident stands in front of each line. To stderr, each line begins with
 * "<level>" where stderr is the journal (JOURNAL_STREAM names it, sd-daemon(3)).
 * level is the least urgent that is written (LOG_ERR ... LOG_DEBUG).
 */
void log_open(const char *ident, bool to_syslog, int level);
void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Each line of what config_load() and its like had to say, as an error. */
void log_faults(struct buffer *errors);
/*
 * Count a line that this user brings about, and return how many he did in this
 * second: who asks in a loop must not fill the log.
 */
unsigned int log_tally(uid_t uid);
/* A level's name (err, warning, notice, info, debug), or -1. */
int log_level(const char *name);

#define log_error(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/*
 * Copy text to out as a value between quotes: '"' and '\\' get a '\\' before
 * them, so that what comes from outside does not look like the next field. Cut
 * to size. Returns out.
 */
char *log_quote(const char *text, char *out, size_t size);
/* Copy text to out with control and non-ASCII bytes as \xNN; cut to size. Returns out. */
char *log_escape(const char *text, char *out, size_t size);

#endif
