/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfobd's inside: what its files know of each other. One thread runs an
 * event loop and owns everything here; a second one, in publish.c, writes
 * into users' keyrings, because a user can make that slow.
 */
#ifndef KEYFOB_BROKER_H
#define KEYFOB_BROKER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "broker/policy.h"
#include "common/wire.h"
#include "keyring/keyfob.h"
#include "keyring/store.h"

#define ASKED_DAYS 3 /* a credential is kept fresh for those who asked within this time */

struct broker;
struct credential;
struct conn;
struct fetch;
struct keyset;
struct question;
struct lookup;

/* What the broker knows of one user, whatever the credential. */
struct user {
	uid_t uid;
	char name[65]; /* from a look-up, cut, "" until then */
	uint64_t linked_at; /* when his ring was last linked into his persistent keyring, 0: not yet */
	uint64_t slow_until; /* served by socket until then: publishing to him was slow */
	uint64_t repair_minute; /* rate of putting back what he destroyed */
	unsigned int repairs;
	uint64_t denial_minute; /* rate of log lines about him */
	unsigned int denials;
	unsigned int listed; /* in which round of looking up groups */
	bool has_files; /* there may be a directory of token files */
	bool files_stale, files_running;
	unsigned int files_failures; /* in a row */
	uint64_t files_retry; /* epoch seconds, 0: at once */
};

/* Somebody who may have a credential: named by it, or seen asking. */
struct reader_state {
	uid_t uid;
	uint32_t group; /* by which alone he is allowed, and so looked up again from time to time: policy_group_of() */
	uint64_t asked; /* epoch seconds, 0: never */
	enum wire_reader state;
};

struct credential {
	struct broker *broker;
	const struct policy_credential *policy; /* of the broker's policy */
	char *name;

	bool has_token;
	struct store_record record;
	struct buffer held; /* the token itself, only while the keyring has no room for it */

	struct fetch *fetch; /* at most one */
	size_t provider; /* which line it is on */
	struct credential *waits_for; /* whose token that line needs first */
	bool forced; /* fetch even though the token is good */
	int64_t next_try; /* ms since the epoch, while backing off; else 0 */
	unsigned int failed_in_row;

	size_t gave; /* which line its token came from, from 1; 0: it is from an earlier broker, and nobody knows */
	uint64_t fetches, failures, failed_at;
	uint8_t failed_class; /* enum keyfob_class of the last failure */
	uint64_t last_refresh_asked, last_reject;
	struct wire_result *error; /* what the last pass through the provider lines had to say; NULL: nothing */
	struct wire_result *pass; /* the same of the pass that runs */

	struct reader_state *readers; /* by uid */
	size_t reader_count;
	uint64_t asked_saved;
	struct conn *waiters;

	int64_t files_until; /* ms since the epoch: then its token files are looked at again */
	int socket; /* of its own, -1: none */
	struct event *socket_event;
	uid_t socket_uid;
	gid_t socket_gid;
	mode_t socket_mode;
	uint64_t socket_asked; /* epoch seconds, 0: never */
	bool metadata_asked; /* a metadata client had it */
	uint64_t last_repeat; /* when a client's asking again last had it refreshed */
};

struct broker {
	bool own; /* keyfobd --user: of the one user who runs it, for him alone */
	char own_name[65]; /* of that user */
	struct event_base *base;
	const char *config_path, *socket_path;
	char run_dir[4096]; /* the socket's directory */
	char config_dir[4096], fetch_path[4096], module_dir[4096];
	int launcher;
	uid_t fetch_uid, verify_uid, metadata_uid; /* the latter two (uid_t)-1 where there is no such user */
	struct policy *policy;
	struct store store;
	struct credential **credentials; /* by name */
	size_t count;
	struct user *users; /* by uid */
	size_t user_count;
	struct conn *conns;
	struct keyset *keysets; /* those that are being fetched */
	int64_t began; /* ms, by CLOCK_BOOTTIME: whatever becomes of the clock meanwhile */
	int exit_code;
};

/* keyfobd.c */
uint64_t now_seconds(void);
int64_t now_ms(void);
int64_t boot_ms(void); /* goes on in a suspend, and is never set */

/* credentials.c: all of them */
struct credential *credential_find(struct broker *b, const char *name);
/* Bring the credentials into line with a new policy, which the broker takes over; false: no memory for it, it is freed, and all stays
 * as it was. At start: adopt what the keyring holds. */
bool credential_apply_policy(struct broker *b, struct policy *policy);
void credential_free_all(struct broker *b);

/* credential.c: the life of one credential */
bool credential_is_valid(const struct credential *c);
/* The life that a token handed out should still have, in seconds. */
uint64_t credential_wanted_life(const struct credential *c);
enum wire_state credential_state(const struct credential *c);
/* Somebody allowed asked; by which group alone he is: policy_group_of(). */
void credential_note_asked(struct credential *c, uid_t uid, uint32_t group);
void credential_get(struct credential *c, struct conn *conn);
void credential_refresh(struct credential *c, struct conn *conn);
/* A caller has waited for a fetch as long as he may. The old token, while it lives, is better than none. */
void credential_wait_is_over(struct credential *c, struct conn *conn);
/* Seconds until a server's refusal may drop its token again; 0: it may now, and that is noted. */
uint64_t credential_may_reject(struct credential *c);
/* Forget the token and every copy of it; they are revoked before this returns. */
void credential_drop(struct credential *c, const char *why);
/* Every copy, but not the token. */
void credential_revoke_copies(struct credential *c);
/* Append the token's bytes. 0 or a negative errno. */
int credential_token(struct credential *c, struct buffer *token);
/* A provider line answered. token only with KEYFOB_CLASS_OK. */
void credential_fetched(struct credential *c, const struct wire_result *result, const char *token, size_t length);
void credential_published(struct broker *b, const char *name, uid_t uid, int error, bool slow);
/* When something must be done for it next, ms since the epoch; INT64_MAX: nothing. */
int64_t credential_due(const struct credential *c);
void credential_tick(struct credential *c);

/* readers.c: who has what */
struct user *user_of(struct broker *b, uid_t uid);
struct reader_state *reader_of(struct credential *c, uid_t uid, bool make);
void readers_adopt(struct credential *c);
void readers_save(struct credential *c);
/* Take away what the policy no longer allows; ask again about those allowed through groups. */
void readers_check(struct broker *b);
/* Is there anybody to look up again from time to time? */
bool readers_need_check(const struct broker *b);
void readers_stop(struct broker *b);
void readers_publish(struct credential *c);
/* Queue a copy for one reader if he is to have one. Returns whether a job was queued. */
bool reader_publish(struct credential *c, struct reader_state *reader, bool repair);
void readers_relink(struct broker *b);

/* fetch.c: one attempt in a process of its own */
/*
 * done is called once, from the event loop, unless the fetch is cancelled.
 * Where the module gives documents, token is the document, and of length 0
 * when the one that was known is still current. c and p must live until then.
 * tell gets lines of the exchange; NULL: not wanted.
 */
typedef void (*fetch_done)(void *arg, const struct wire_result *result, const char *token, size_t length);
typedef void (*fetch_tell)(void *arg, const char *line);
struct fetch *fetch_start(
	struct broker *b, const struct policy_credential *c, const struct policy_provider *p, fetch_done done, fetch_tell tell, void *arg);
void fetch_cancel(struct fetch *f);
void fetch_stop(void);
void fetch_launcher_event(uint8_t event, uint32_t id, uint32_t value);
/* Does this process belong to a fetch that runs? */
bool fetch_owns(pid_t pid);

/* sweep.c: what was to be taken off the keyring. error: as store_revoke_*() gave it; if it is not 0, all is looked through later. */
void sweep_after(struct broker *b, int error);
int64_t sweep_due(void); /* ms since the epoch */
void sweep_tick(struct broker *b);

/* failure.c: what went wrong, in words for people */
/*
 * Add the failure of a provider line, the line-th from 0, to what a pass has
 * to say: each in turn, numbered where there are several, none longer than its
 * share; with the class of the one that leaves most to hope for.
 */
void failure_add(struct wire_result *sum, const struct policy_credential *c, size_t line, const struct wire_result *result);
/* The configuration is wrong or the provider refuses: it will not change by itself. */
bool failure_is_refusal(uint8_t class);
const char *failure_class_name(uint8_t class);
/* What the last pass had to say; class OK: nothing. */
const struct wire_result *credential_error(const struct credential *c);
/* Most credentials have no failure to tell, so there is room for one only when it is told. NULL: there is no memory for it. */
struct wire_result *failure_of(struct wire_result **at);
void failure_forget(struct wire_result **at);
/* Why the keyring did not take it, and for a quota, what to raise. The text stands until the next call. */
const char *failure_to_store(const struct broker *b, int error);

/* publish.c: the thread that writes into users' keyrings */
int publish_start(struct broker *b);
void publish_put(const char *credential, uid_t uid, bool link);
/* Forget what is queued: it may no longer be allowed. */
void publish_flush(void);
/* Held around every change to the keyring that concerns copies or masters. */
void publish_lock(void);
void publish_unlock(void);
void publish_stop(void);

/* schedule.c: one timer on the wall clock */
int schedule_start(struct broker *b);
/* Something is due at another time than before. */
void schedule_arm(struct broker *b);
void schedule_stop(void);

/* serve.c: the request socket */
enum conn_stage { CONN_NEW, CONN_IDLE, CONN_FETCH, CONN_PUBLISH, CONN_KEYSET, CONN_FILES, CONN_LOOKUP };
struct conn {
	struct conn *next, **previous;
	struct conn *next_waiter;
	struct broker *broker;
	struct event *event, *timer;
	int fd;
	struct ucred peer; /* who it is answered for: of a metadata client's question he who asked there, with pid 0 */
	size_t group_count;
	gid_t *groups;
	enum conn_stage stage;
	int64_t deadline; /* ms since the epoch: by then a request that waits is answered */
	bool without_token; /* a refresh: the answer tells, but does not hand over */
	struct credential *door; /* whose own socket it came by; NULL: the request socket */
	struct credential *credential; /* among whose waiters it is, or whose fetch it tries */
	struct fetch *fetch; /* of `keyfob try` */
	const struct policy_credential *tried; /* valid while the fetch is: a reload ends it */
	size_t provider; /* which of its lines */
	struct buffer lines;
	struct keyset *keyset; /* for which it waits */
	struct question *question; /* of a metadata client */
	struct lookup *lookup; /* for which it waits */
	struct conn *next_asker; /* for that key set or look-up */
};
int serve_start(struct broker *b, int listener);
/* Are there more connections for this user than he may have? */
bool serve_is_crowded(const struct broker *b, uid_t uid);
/* The policy is a new one: end each try, which reads the old one, and the wait of whoever is not allowed any more. */
void serve_reloaded(struct broker *b);
/* Take the connections that wait on a listener; door as in struct conn. */
void serve_accept(struct broker *b, int listener, struct credential *door);
/* That socket is no more: end those who came by it. */
void serve_end_door(struct credential *door);
/* Token files may be as they should be: answer who waits for that. */
void serve_files_done(struct broker *b);
void serve_stop(struct broker *b);
void conn_close(struct conn *conn);
/* The head of a reply; its fields follow. */
void conn_reply_start(struct buffer *b);
/* Answer and close. conn is gone afterwards. */
void conn_reply_end(struct conn *conn, struct buffer *b);
void conn_reply_token(struct conn *conn, struct credential *c);
void conn_reply_error(struct conn *conn, int error, unsigned int retry, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* How long it may still wait, ms from now. */
void conn_wait(struct conn *conn, enum conn_stage stage, int ms);

/* requests.c: what may be asked */
/* Answer the request of a frame, now or later. */
void request_dispatch(struct conn *conn, const struct buffer *frame);
void request_reply_empty(struct conn *conn);
bool request_may_have(const struct conn *conn, const struct credential *c);
/* Root, or whose own broker it is: they may all. */
bool request_is_masters(const struct conn *conn);
/* Whoever is refused in a loop does not fill the log. */
bool request_may_log_denial(const struct conn *conn);

/* repeats.c: clients that ask again */
void repeat_handed(const struct conn *conn, const struct credential *c);
/* A process that is handed a token and soon asks again was perhaps refused with it. True: fetch another one first. */
bool repeat_hints_refusal(const struct conn *conn, struct credential *c);

/* files.c: token files, for readers who know nothing but a file's name */
int files_start(struct broker *b);
void files_stop(void);
/* Its token is another one, or gone. */
void files_changed(struct credential *c);
/* Somebody became a reader of it, or is none any more. */
void files_reader_changed(const struct credential *c, uid_t uid);
void files_reloaded(struct broker *b);
/* Is there anything still to be written or removed, but for what failed? */
bool files_are_busy(const struct broker *b);
int64_t files_due(const struct broker *b);
void files_tick(struct broker *b);

/* sockets.c: credentials' own sockets */
void sockets_reloaded(struct broker *b);
/* Nobody connects to it any more, and its name is gone. */
void socket_close(struct credential *c);
/* The name stays. */
void socket_forget(struct credential *c);
/* Descriptors ran out: take no connections for a while, or do again. */
int64_t sockets_due(void); /* ms since the epoch: when one that could not be made is tried again */
void sockets_tick(struct broker *b);
void sockets_pause(struct broker *b, bool on);

/* keysets.c: the key sets of identity providers, fetched for the verifier and handed over as they are */
void keyset_ask(struct conn *conn, struct reader *r);
/* A connection that waited for one ends. */
void keyset_leave(struct conn *conn);
/* The policy is a new one: end the fetches for what is not configured as it was. */
void keyset_reloaded(struct broker *b);

/* metadata.c: what keyfob-metadata asks for a user who came to it */
void metadata_ask(struct conn *conn, struct reader *r);
/* Is this credential still an answer to the question? */
bool metadata_fits(const struct conn *conn, const struct credential *c);
/* A connection with such a question ends. */
void metadata_leave(struct conn *conn);
/* The policy is a new one: look everybody up again. */
void metadata_reloaded(void);
void metadata_stop(void);

/* status.c: fill in a status reply */
/* It serves from now on. */
void status_begin(struct broker *b);
void status_reply(struct broker *b, struct conn *conn, const char *name, const char *after, struct buffer *reply);

/* keyfobd.c */
bool broker_reload(struct broker *b, struct buffer *errors);

/* direct.c: one fetch, answered on stdout. Returns an exit code. */
int direct(struct broker *b, const struct policy *policy, const char *name);

#endif
