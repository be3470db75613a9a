/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob-verifyd's inside: what its files know of each other. One thread runs
 * an event loop and owns everything here. Nothing waits: what needs a key set
 * that is on its way is put aside, and looked at again when it has come.
 */
#ifndef KEYFOB_VERIFYD_H
#define KEYFOB_VERIFYD_H

#include <event2/event.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "common/buffer.h"
#include "common/config.h"
#include "common/wire.h"
#include "keyring/keyfob.h"
#include "verify/federation.h"
#include "verify/keysets.h"
#include "verify/memory.h"

struct ask;

struct verifier {
	struct event_base *base;
	const char *config_path, *socket_path, *broker_path, *state_dir;
	char config_dir[PATH_MAX];
	struct config *config;
	struct federation *federation; /* of config */
	struct keysets *keysets;
	struct memory *memory;
	struct conn *conns;
	struct ask *asks;
	int exit_code;
};

/* --- keyfob-verifyd.c --- */

/* Read the configuration afresh: the whole new one, or the whole old one with the faults in errors. */
bool verifier_reload(struct verifier *v, struct buffer *errors);

/* --- serve.c: connections --- */

enum conn_stage {
	CONN_NEW, /* has not spoken yet */
	CONN_SPOKEN,
	CONN_PARKED, /* its request is looked at again when a key set comes */
	CONN_FETCH, /* asked for a fetch, and waits for what comes of it */
};

struct conn {
	struct verifier *verifier;
	struct conn *next, **previous;
	int fd;
	struct ucred peer;
	enum conn_stage stage;
	struct event *event, *timer;
	struct buffer request; /* the frame */
	char waits_for[WIRE_NAME_MAX + 1]; /* identity provider, with PARKED and FETCH */
	bool waited; /* once is enough */
};

/* What came of a fetch. */
struct fetched {
	bool fresh; /* the set is */
	int error; /* else: enum keyfob_error */
};

int serve_start(struct verifier *v, int listener);
void serve_stop(struct verifier *v);
/* A fetch for this identity provider ended. */
void serve_fetched(struct verifier *v, const char *provider, const struct fetched *fetched);
/* The configuration is another one. */
void serve_reloaded(struct verifier *v);

/* Put the request aside until the provider's fetch has ended, or ms passed. false: too many wait. */
bool conn_wait(struct conn *conn, enum conn_stage stage, const char *provider, int ms);
/* A reply's head; then fields; then conn_reply(), which frees both. */
void conn_reply_start(struct buffer *b);
void conn_reply(struct conn *conn, struct buffer *b);
/* Is an answer that takes no good token to be logged? Who asks in a loop does not fill the log; that it was left out is in it. */
bool conn_may_log(const struct conn *conn);
void conn_reply_error(struct conn *conn, int error, unsigned int retry, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* --- requests.c: what may be asked --- */

/* Answer conn->request, or have it wait. */
void request_handle(struct conn *conn);
/* The answer to who waits with CONN_FETCH. */
void request_fetched(struct conn *conn, const struct fetched *fetched);

/* --- judge.c: TOKEN, EXPLAIN and ACCOUNT --- */

void judge_token(struct conn *conn, struct reader *r);
void judge_explain(struct conn *conn, struct reader *r);
void judge_account(struct conn *conn, struct reader *r);

/* --- ask.c: key sets, from the broker --- */

int ask_start(struct verifier *v);
void ask_stop(struct verifier *v);
/* Begin what is due, and come back when the next is. After every change to the key sets. */
void ask_due(struct verifier *v);
/* Begin a fetch now. keysets_is_fetching() tells whether it could be. */
void ask_begin(struct verifier *v, const struct federation_provider *p);
/* Nobody is interested any more in what the fetch for this identity provider brings. */
void ask_cancel(struct verifier *v, const char *provider);
/* The same for those that v->federation no longer holds as they were. */
void ask_reloaded(struct verifier *v);

#endif
