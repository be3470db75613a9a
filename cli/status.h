/* SPDX-License-Identifier: Apache-2.0 */
/* `keyfob status`: one answer of the broker, in the forms in which it is told. */
#ifndef KEYFOB_CLI_STATUS_H
#define KEYFOB_CLI_STATUS_H

#include "cli/cli.h"

/* screen.c: for people. */
struct cli_screen {
	struct buffer *out;
	int width; /* columns */
	bool utf8, colour;
	int64_t now;
	int column; /* where the next character goes */
	int lines; /* of a credential that were begun */
	bool brief; /* a shorter bar, and ids cut short */
};

/* Append cells of a bar: filled for what is left of total. Anything but nothing left shows one cell at least. */
void cli_bar(struct cli_screen *s, int64_t left, int64_t total, int cells);
/* The first line: where, for how long, how many. */
void cli_screen_head(struct cli_screen *s, const char *host, const struct cli_list *list);
void cli_screen_credential(struct cli_screen *s, const struct cli_credential *c);
/* Why the broker tells nothing. */
void cli_screen_trouble(struct cli_screen *s, const char *text);
const char *cli_state_name(uint8_t state);
/* The kind of its tokens, enum keyfob_kind. */
const char *cli_kind_name(uint8_t kind);

/* status.c: for a terminal, or what stands for one. */
void status_screen_init(struct cli_screen *s, struct buffer *out);
/* The head line, then all credentials. trouble: why the broker could not be asked again, or NULL. */
void status_put(struct cli_screen *s, const struct cli_list *list, const char *trouble);

/* status-watch.c: -w. */
/* Returns only on failure, with an exit code. */
int status_watch(const char *name);
/* The time, in seconds since the epoch, from which on the broker may know something new; asked: when it was asked last. */
int64_t status_watch_next(const struct cli_list *list, int64_t asked);

/* status-check.c: --check. Append the line of a monitoring plugin. Returns the exit code. name: which is asked for, or "". */
int status_check(struct buffer *b, const struct cli_list *list, const char *name, int64_t now);
/* The same where the broker gave no list. */
void status_check_failed(struct buffer *b, const char *why);

/* status-prometheus.c: --prometheus. list is NULL when the broker gave none. */
void status_prometheus(struct buffer *b, const struct cli_list *list);

#endif
