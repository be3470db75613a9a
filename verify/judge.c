/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The questions about a token or a login. Each verdict is a line in the log;
 * why a token is refused is told to root alone.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "verify/verdict.h"
#include "verify/verifyd.h"

#define PARK_MS 1500 /* of the 2 s that a PAM module gives the verifier */
#define QUOTED_MAX 400 /* bytes of a text in the log: all of a line's fields fit */

struct question {
	char service[WIRE_LOGIN_MAX + 1], login[WIRE_LOGIN_MAX + 1];
	const char *token; /* in the request */
	size_t length;
	struct memory_key key;
	char fingerprint[9];
};

/* --- the log ------------------------------------------------------------------------------ */

static void log_verdict(const struct conn *conn, const char *what, const struct question *q, const struct verdict *v)
{
	char service[QUOTED_MAX], login[QUOTED_MAX], subject[QUOTED_MAX], account[QUOTED_MAX], detail[QUOTED_MAX];

	/* Whoever was let in by a token is told in any case. */
	if ((v->reason != REASON_OK || !q->length) && !conn_may_log(conn))
		return;
	log_notice("%s result=%s service=\"%s\" login=\"%s\" uid=%u pid=%d identity_provider=%s subject=\"%s\" account=\"%s\" "
		   "fingerprint=%s reason=%s%s%s%s",
		what, v->reason == REASON_OK ? "accepted" : "refused", log_quote(q->service, service, sizeof(service)),
		log_quote(q->login, login, sizeof(login)), conn->peer.uid, conn->peer.pid, v->provider ? v->provider->name : "",
		log_quote(v->subject, subject, sizeof(subject)), v->user ? log_quote(v->user->account, account, sizeof(account)) : "",
		q->fingerprint, reason_code(v->reason), *v->detail ? " detail=\"" : "", log_quote(v->detail, detail, sizeof(detail)),
		*v->detail ? "\"" : "");
}

/* --- answers ------------------------------------------------------------------------------ */

static bool has_no_keys(enum reason reason)
{
	return reason == REASON_KEYS_MISSING || reason == REASON_KEYS_STALE || reason == REASON_KEYS_REVOKED;
}

static void refuse(struct conn *conn, const struct verdict *v)
{
	int error = KEYFOB_EREFUSED;

	if (v->reason == REASON_ASKER)
		error = KEYFOB_EDENIED;
	else if (has_no_keys(v->reason) || v->reason == REASON_MEMORY)
		error = KEYFOB_EAGAIN;
	if (conn->peer.uid == 0)
		conn_reply_error(conn, error, 0, "%s: %s%s%s%s", reason_code(v->reason), reason_text(v->reason), *v->detail ? " (" : "",
			v->detail, *v->detail ? ")" : "");
	else
		conn_reply_error(conn, error, 0, "%s",
			error == KEYFOB_EDENIED	 ? "not allowed to ask for this service"
			: has_no_keys(v->reason) ? "no keys to judge by right now"
			: error == KEYFOB_EAGAIN ? "out of memory"
						 : "refused");
}

static void malformed(struct conn *conn)
{
	conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
}

/* --- judging ------------------------------------------------------------------------------ */

static const struct jwks *keys_now(void *arg, const struct federation_provider *p, enum reason *why)
{
	struct verifier *v = arg;

	return keysets_get(v->keysets, p, time(NULL), why);
}

static bool digest_token(struct question *q)
{
	unsigned int size = sizeof(q->key.digest);

	if (EVP_Digest(q->token, q->length, q->key.digest, &size, EVP_sha256(), NULL) != 1)
		return false;
	snprintf(q->fingerprint, sizeof(q->fingerprint), "%02x%02x%02x%02x", q->key.digest[0], q->key.digest[1], q->key.digest[2],
		q->key.digest[3]);
	return true;
}

/*
 * A token from before a revoke stays refused, also where its key is published
 * again; no fetch would change that. One that does not say when it was issued
 * may be from before.
 */
static void check_revoked(struct verifier *v, struct verdict *verdict)
{
	time_t revoked_at;

	if (verdict->reason != REASON_OK && verdict->reason != REASON_KID_UNKNOWN && !has_no_keys(verdict->reason))
		return;
	revoked_at = keysets_revoked_at(v->keysets, verdict->provider);
	if (revoked_at && verdict->issued <= revoked_at) {
		verdict->reason = REASON_REVOKED;
		verdict->user = NULL;
	}
}

/*
 * Is a key set on its way, or made to be, that may change this verdict? Then
 * the request waits for it. Once: who keeps a provider from answering must
 * not keep anybody waiting for longer.
 */
static bool wait_for_keys(struct conn *conn, struct verdict *verdict)
{
	struct verifier *v = conn->verifier;
	const struct federation_provider *p = verdict->provider;

	if (!p || conn->waited || (verdict->reason != REASON_KID_UNKNOWN && !has_no_keys(verdict->reason)))
		return false;
	if (verdict->reason == REASON_KID_UNKNOWN && !p->jwks_file && !keysets_is_fetching(v->keysets, p)) {
		if (!keysets_unknown_kid(v->keysets, p, verdict->kid, time(NULL))) {
			verdict->reason = REASON_KID_UNKNOWN_COOLDOWN;
			return false;
		}
		ask_begin(v, p);
	}
	return keysets_is_fetching(v->keysets, p) && conn_wait(conn, CONN_PARKED, p->name, PARK_MS);
}

static void judge_now(struct verifier *v, struct question *q, struct verdict *verdict)
{
	struct verdict_request request = { .service = q->service, .login = q->login, .token = q->token, .length = q->length };

	request.now = time(NULL);
	q->key.service = q->service;
	q->key.login = q->login;
	q->key.epoch = keysets_epoch(v->keysets, request.now);
	if (memory_get(v->memory, &q->key, request.now, verdict))
		return;
	request.keys = keys_now;
	request.arg = v;
	memset(verdict, 0, sizeof(*verdict));
	verdict_judge(v->federation, &request, verdict);
	check_revoked(v, verdict);
	if (verdict->reason == REASON_OK)
		memory_put(v->memory, &q->key, verdict);
}

void judge_token(struct conn *conn, struct reader *r)
{
	struct verifier *v = conn->verifier;
	struct question q = { 0 };
	struct verdict verdict = { 0 };
	struct buffer b;

	reader_text(r, q.service, sizeof(q.service));
	reader_text(r, q.login, sizeof(q.login));
	q.token = (const char *)reader_string(r, &q.length);
	if (!reader_done(r) || !*q.service || !*q.login) {
		malformed(conn);
		return;
	}
	if (!digest_token(&q))
		verdict.reason = REASON_MEMORY;
	else if (!federation_may_ask(v->federation, q.service, conn->peer.uid))
		verdict.reason = REASON_ASKER;
	else
		judge_now(v, &q, &verdict);
	if (wait_for_keys(conn, &verdict))
		return;
	log_verdict(conn, "event=verdict", &q, &verdict);
	if (verdict.reason != REASON_OK) {
		refuse(conn, &verdict);
		return;
	}
	conn_reply_start(&b);
	buffer_put_text(&b, verdict.user->account);
	buffer_put_text(&b, verdict.provider->name);
	buffer_put_text(&b, verdict.subject);
	buffer_put_u64(&b, (uint64_t)verdict.expires);
	conn_reply(conn, &b);
}

/* The token alone, for root, who wants to know what its identity provider would say. Not remembered. */
void judge_explain(struct conn *conn, struct reader *r)
{
	struct verifier *v = conn->verifier;
	struct verdict_request request = { .keys = keys_now, .arg = v, .now = time(NULL) };
	struct verdict verdict = { 0 };
	struct federation chosen = { .provider_count = 1 };
	const struct federation *judge = v->federation;
	char name[WIRE_NAME_MAX + 1];
	struct buffer b;

	reader_text(r, name, sizeof(name));
	request.token = (const char *)reader_string(r, &request.length);
	if (!reader_done(r)) {
		malformed(conn);
		return;
	}
	if (*name) {
		const struct federation_provider *p = federation_provider(v->federation, name);

		if (!p) {
			conn_reply_error(conn, KEYFOB_ENOCRED, 0, "no identity provider has that name (keyfob idp list)");
			return;
		}
		chosen.providers = &v->federation->providers[p - v->federation->providers];
		judge = &chosen;
	}
	verdict_judge(judge, &request, &verdict);
	check_revoked(v, &verdict);
	if (wait_for_keys(conn, &verdict))
		return;
	if (verdict.reason != REASON_OK) {
		refuse(conn, &verdict);
		return;
	}
	conn_reply_start(&b);
	buffer_put_text(&b, verdict.provider->name);
	buffer_put_text(&b, verdict.subject);
	buffer_put_u64(&b, (uint64_t)verdict.expires);
	conn_reply(conn, &b);
}

void judge_account(struct conn *conn, struct reader *r)
{
	struct verifier *v = conn->verifier;
	struct question q = { 0 };
	char account[WIRE_LOGIN_MAX + 1];
	struct verdict verdict = { 0 };
	struct buffer b;

	reader_text(r, q.service, sizeof(q.service));
	reader_text(r, q.login, sizeof(q.login));
	reader_text(r, account, sizeof(account));
	if (!reader_done(r) || !*q.service || !*q.login) {
		malformed(conn);
		return;
	}
	verdict.reason = REASON_ASKER;
	if (federation_may_ask(v->federation, q.service, conn->peer.uid))
		verdict.reason = verdict_account(v->federation, q.service, q.login, account, &verdict.user);
	log_verdict(conn, "event=account", &q, &verdict);
	if (verdict.reason == REASON_LOGIN_UNKNOWN) {
		conn_reply_error(conn, KEYFOB_ENOCRED, 0, "no database user has that login for this service");
	} else if (verdict.reason != REASON_OK) {
		refuse(conn, &verdict);
	} else {
		conn_reply_start(&b);
		buffer_put_text(&b, verdict.user->account);
		conn_reply(conn, &b);
	}
}
