/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob, the program, and keyfob-admin, which has those of its verbs that
 * read configuration or parse JSON: a table of verbs, and what they share.
 *
 * Output is built in a buffer and written with write(2), so that a full disk
 * or a closed pipe is seen, and no copy of a token stays in stdio's memory.
 */
#ifndef KEYFOB_CLI_H
#define KEYFOB_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buffer.h"
#include "common/wire.h"
#include "keyring/keyfob.h"

#define CLI_OPTIONS 24 /* a verb has at most so many */
#define CLI_OPERANDS 16
#define CLI_REPEATED 64 /* values of options that may repeat, all together */
#define CLI_OUTPUT_MAX (16u << 20)
#define CLI_BRIEF_MS 10000 /* the broker answers out of its memory */
#define CLI_FETCH_MS 120000 /* it may wait for a provider */
#define CLI_COMMAND (-1) /* in place of the most operands: a command follows, which has options of its own */
#define CLI_NOT_RUN 125 /* exit code of a verb that did not get to run its command, as that of env(1) */

struct cli_option {
	const char *name; /* without the dashes; NULL ends the table */
	const char *argument; /* its value's name in a help text; NULL: takes none */
	const char *help;
	bool repeats;
};

/* What was asked on the command line. Everything points into argv. */
struct cli {
	char **argv;
	const struct cli_verb *verb;
	const char *config; /* --config, or NULL */
	const char *value[CLI_OPTIONS]; /* in the order of the verb's table; NULL: not given, "" for a flag */
	struct {
		int option;
		const char *value;
	} repeated[CLI_REPEATED];
	int repeated_count;
	const char *operand[CLI_OPERANDS];
	int count; /* of operands */
	char **command; /* of a verb with CLI_COMMAND, to its NULL */
};

struct cli_verb {
	const char *name; /* "get", or "module list"; NULL ends the table */
	const char *operands; /* as in a usage line */
	const char *help; /* one line */
	const char *more; /* further lines, or NULL */
	const struct cli_option *options; /* NULL: none */
	int least, most; /* number of operands */
};

/* verbs.c: all of them, of both programs, in the order of the help text. */
extern const struct cli_verb cli_verbs[];

/* Which function a program has for a verb. */
struct cli_run {
	const char *name; /* NULL ends the table */
	int (*run)(const struct cli *cli); /* returns the exit code */
};
/* What both programs do: read the command line, and run the verb; otherwise has those that the table lacks. */
int cli_main(int argc, char **argv, const struct cli_run *runs, int (*otherwise)(const struct cli *cli));

/* args.c: the command line. */
/*
 * Read argv by a table. Returns true when cli->verb is to be run; else all is
 * said already and *code is the exit code.
 */
bool cli_parse(struct cli *cli, const struct cli_verb *table, int argc, char **argv, int *code);
/* The value of an option of the verb, "" for a flag; NULL when it was not given. */
const char *cli_value(const struct cli *cli, const char *option);
/* The next value of an option that repeats; *at begins at 0. NULL: there are no more. */
const char *cli_next_value(const struct cli *cli, const char *option, int *at);
/* Complain about the use of the running verb, with its usage line. Returns 2. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The word of a list (NULL-terminated) nearest to a mistyped one, or NULL. */
const char *cli_nearest(const char *word, const char *const *list);

/* output.c */
/* Write b to stdout. Returns 0, or 1 with a line on stderr. */
int cli_output(const struct buffer *b);
/* Are colours for standard output: a terminal that is not told otherwise? */
bool cli_wants_colour(void);
/* One line "keyfob: subject: text" on stderr, escaped. Returns the exit code of a negative keyfob_error. */
int cli_fail(int error, const char *subject, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for a request that failed, with a hint of what to do. message may be "". */
int cli_fail_request(int error, const char *name, const char *message);
/* May the caller all that root may? For advice: the broker decides. Root, and who runs the broker himself. */
bool cli_is_master(void);
/* Append outside text with everything but printable ASCII escaped. */
bool cli_put_escaped(struct buffer *b, const char *text);
/* Ask the broker; on failure the line is on stderr. Returns 0 or an exit code. */
int cli_call(
	enum wire_opcode opcode, const char *name, const struct buffer *fields, int timeout_ms, struct buffer *reply, struct reader *r);
/*
 * The same of the verifier. When message (WIRE_TEXT_MAX) is not NULL, why it
 * refuses a token (exit code 7) is told there and not on stderr.
 */
int cli_call_verifier(enum wire_verify opcode, const char *subject, const struct buffer *fields, int timeout_ms, struct buffer *reply,
	struct reader *r, char *message);
/* Its socket: KEYFOB_VERIFY_SOCKET, else the compiled-in path. */
const char *cli_verifier_socket(void);
#define CLI_MALFORMED "the broker's reply makes no sense (are keyfob and keyfobd of one version?)"
/* Say that. Returns 1. */
int cli_malformed(const char *name);
/* Check a credential's name. Returns 0, or 2 with a line on stderr. */
int cli_check_name(const struct cli *cli, const char *name);
/* Seconds as words, "19 h 12 m". Returns out. */
char *cli_duration(int64_t seconds, char *out, size_t size);
/* "2026-11-24 10:00:00 UTC  in 2 h", or "... ago"; "never" for 0. */
void cli_put_time(struct buffer *b, int64_t when, int64_t now);
/* A whole token from stdin; white space at its end belongs to the pipe. Returns 0 or an exit code with a line on stderr. */
int cli_read_token(struct buffer *token);

/* progress.c */
/*
 * From here to the end something may take long: after a second a note on
 * stderr says what, and for how long already, where that is a terminal; it is
 * gone at the end. subject may be NULL. One inside another says nothing.
 */
void cli_progress_begin(const char *subject, const char *what);
void cli_progress_end(void);

/* json.c: JSON, appended in the order of the calls; commas are set as needed. */
/* bracket is one of { } [ ]. name is NULL for an element of a list, and at the top. */
void cli_json_open(struct buffer *b, const char *name, char bracket);
void cli_json_close(struct buffer *b, char bracket);
void cli_json_text(struct buffer *b, const char *name, const char *text); /* NULL: null */
void cli_json_optional(struct buffer *b, const char *name, const char *text); /* also "": null */
void cli_json_raw(struct buffer *b, const char *name, const char *json); /* is JSON already */
void cli_json_number(struct buffer *b, const char *name, uint64_t number);
void cli_json_time(struct buffer *b, const char *name, uint64_t when); /* 0: null */
void cli_json_flag(struct buffer *b, const char *name, bool flag);

/* reload.c: both daemons read one configuration. */
enum cli_told { CLI_TOLD, CLI_NOT_RUNNING, CLI_REFUSED };
/* Have a daemon read it afresh. message (WIRE_TEXT_MAX) says why not, when refused. */
enum cli_told cli_tell_broker(char *message);
enum cli_told cli_tell_verifier(char *message);

/* tool.c: keyfob's other programs. */
/*
 * Run one, found beside this program, with its stdout in *output (NULL: ours).
 * arguments (at most six) end with NULL, without the program's name. Returns
 * its exit status, 128 and more for a signal, or -1 with a line on stderr.
 */
int cli_tool(const char *name, const char *const *arguments, struct buffer *output);
/* The same, and the caller's variables go along under other names (WIRE_CALLER_PREFIX). */
int cli_tool_for_caller(const char *name, const char *const *arguments, struct buffer *output);
/* Become another of keyfob's programs, with the caller's arguments and environment. Returns only on failure: 1, with a line on stderr. */
int cli_become(const char *name, char *const argv[]);
/* keyfob-fetch's arguments: what, name unless it is NULL, and where this installation keeps its modules, by space. */
void cli_fetch_arguments(const char *what, const char *name, char *space, size_t size, const char *arguments[5]);

/* status-list.c: the broker's answer to `status`. */
struct cli_reader {
	char *name;
	uint8_t state; /* enum wire_reader */
	uint32_t asked; /* how many of a group did; of others 0 or 1 */
	char *group; /* through which alone he is one, "@NAME", or "" */
};

struct cli_credential {
	char name[WIRE_NAME_MAX + 1];
	char *description, *provider, *resource;
	uint8_t state, kind; /* enum wire_state, enum keyfob_kind */
	uint64_t expires, refresh, fetched, fetches, failures, failed_at;
	char *fingerprint, *last_error, *issuer, *audience, *subject;
	char *identity_provider, *mismatch; /* what judges its tokens, and why it would refuse this one; "" */
	uint32_t provider_line, provider_lines; /* which of how many gave the token; 0: nobody knows */
	char *failed_class; /* of the last failure, "" */
	struct cli_reader *readers;
	size_t count;
};

struct cli_list {
	char version[32]; /* the broker's */
	uint64_t started; /* when it began to serve */
	struct cli_credential *item;
	size_t count, room;
};
/*
 * All that the broker tells of one credential or ("") of all. Returns 0 or a
 * negative keyfob_error with a line for people in message (WIRE_TEXT_MAX), or
 * "". cli_list_free() in any case.
 */
int cli_list_load(struct cli_list *list, const char *name, char *message);
void cli_list_free(struct cli_list *list);

/* The verbs. */
int cli_get(const struct cli *cli);
int cli_run_command(const struct cli *cli);
int cli_uri(const struct cli *cli);
int cli_status(const struct cli *cli);
int cli_drop(const struct cli *cli);
int cli_refresh(const struct cli *cli);
int cli_reload(const struct cli *cli);
int cli_try(const struct cli *cli);
int cli_module_list(const struct cli *cli);
int cli_module_show(const struct cli *cli);
int cli_verify(const struct cli *cli);
int cli_jwks_list(const struct cli *cli);
int cli_jwks_refresh(const struct cli *cli);
int cli_jwks_revoke(const struct cli *cli);

#endif
