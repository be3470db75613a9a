/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a credential: nobody asks, a fetch, a token that is kept fresh
 * ahead of its end, a fetch that fails and is tried again. Any number of
 * callers wait for the one fetch there is.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "broker/broker.h"
#include "common/log.h"

#define BACKOFF_FIRST_MS 1340 /* doubles up to BACKOFF_CAP_MS: what Azure's own clients do */
#define BACKOFF_CAP_MS 30000
#define BACKOFF_CAP_VALID_MS 300000 /* while the old token has an hour or more to live */
#define REFUSED_FIRST_MS 60000 /* after a refusal that will not change by itself */
#define REFUSED_CAP_MS 900000
#define RETRY_AFTER_CAP 3600
#define PUBLISH_WAIT_MS 250 /* a caller gets his token by socket when his keyring takes longer */
#define REFRESH_EVERY 30 /* seconds between refreshes asked for by others than root */
#define REJECT_EVERY 10

static void start_pass(struct credential *c);
static void try_provider(struct credential *c);

/* A fraction of at most value/10, so that hosts and credentials do not move in step. */
static int64_t jitter(int64_t value)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = 0;
	return value / 10 * (random % 1000) / 1000;
}

bool credential_is_valid(const struct credential *c)
{
	return c->has_token && store_timeout(&c->record, now_seconds()) >= 1;
}

/* Half of its whole life is always enough. */
uint64_t credential_wanted_life(const struct credential *c)
{
	uint64_t half = (c->record.expires - c->record.fetched) / 2;

	return c->policy->min_ttl < half ? c->policy->min_ttl : half;
}

/* Good enough for somebody who asks now. Before a refresh is due it is: the source would give the same again. */
static bool is_fresh(const struct credential *c)
{
	uint64_t now = now_seconds();

	return credential_is_valid(c) && (now < c->record.refresh || c->record.expires - now >= credential_wanted_life(c));
}

enum wire_state credential_state(const struct credential *c)
{
	if (credential_is_valid(c))
		return c->failed_in_row ? WIRE_STATE_STALE : WIRE_STATE_VALID;
	if (c->failed_in_row)
		return WIRE_STATE_FAILED;
	return c->fetch ? WIRE_STATE_FETCHING : WIRE_STATE_NONE;
}

int credential_token(struct credential *c, struct buffer *token)
{
	struct store_record record;
	int error;

	if (c->held.length)
		return buffer_put(token, c->held.data, c->held.length) ? 0 : -ENOMEM;
	error = store_get_master(&c->broker->store, c->name, token, &record);
	if (error == 0)
		store_record_free(&record);
	return error;
}

/* --- when ------------------------------------------------------------------------- */

/* Is there anybody for whom a token is kept ready? */
static bool is_wanted(const struct credential *c)
{
	uint64_t now = now_seconds();

	if (c->waiters || c->forced)
		return true;
	if (c->policy->refresh == POLICY_REFRESH_ON_DEMAND)
		return false;
	if (c->socket >= 0 && c->socket_asked + ASKED_DAYS * 86400 > now)
		return true;
	for (size_t i = 0; i < c->reader_count; i++)
		if (policy_names_user(c->policy, c->readers[i].uid) || c->readers[i].asked + ASKED_DAYS * 86400 > now)
			return true;
	return false;
}

int64_t credential_due(const struct credential *c)
{
	if (c->fetch || c->waits_for || !is_wanted(c))
		return INT64_MAX;
	if (c->next_try)
		return c->next_try;
	if (c->forced || !credential_is_valid(c))
		return now_ms();
	return (int64_t)c->record.refresh * 1000;
}

void credential_tick(struct credential *c)
{
	if (!c->fetch && !c->waits_for)
		start_pass(c);
}

/* The provider's word, else half of a long or very short life, else five minutes (or min_ttl) before the end. */
static uint64_t plan_refresh(const struct credential *c, uint64_t asked, uint64_t now)
{
	uint64_t expires = c->record.expires, life = expires - now, refresh = expires - 300;

	if (life > 7200 || life < 600)
		refresh = now + life / 2;
	if (refresh > expires - credential_wanted_life(c))
		refresh = expires - credential_wanted_life(c);
	if (asked > now && asked < expires)
		refresh = asked;
	refresh -= (uint64_t)jitter((int64_t)(refresh - now));
	return refresh > now ? refresh : now + 1;
}

/* The source hands out what it has cached: to ask again soon would only be answered the same. */
static uint64_t plan_after_same(uint64_t expires, uint64_t now)
{
	uint64_t left = expires - now, wait = left / 2;

	if (left <= 600 && wait > 30)
		wait = 30;
	return now + (wait ? wait : 1);
}

static void back_off(struct credential *c)
{
	bool refused = failure_is_refusal(credential_error(c)->class);
	int64_t wait = refused ? REFUSED_FIRST_MS : BACKOFF_FIRST_MS, cap = refused ? REFUSED_CAP_MS : BACKOFF_CAP_MS;
	int64_t asked =
		(int64_t)(credential_error(c)->retry_after < RETRY_AFTER_CAP ? credential_error(c)->retry_after : RETRY_AFTER_CAP) * 1000;

	if (!refused && credential_is_valid(c) && c->record.expires - now_seconds() > 3600)
		cap = BACKOFF_CAP_VALID_MS;
	for (unsigned int i = 1; i < c->failed_in_row && wait < cap; i++)
		wait *= 2;
	if (wait > cap)
		wait = cap;
	if (wait < asked)
		wait = asked;
	c->next_try = now_ms() + wait + jitter(wait);
}

/* --- who waits ---------------------------------------------------------------------- */

static void add_waiter(struct credential *c, struct conn *conn, enum conn_stage stage, int ms)
{
	conn->credential = c;
	conn->next_waiter = c->waiters;
	c->waiters = conn;
	conn_wait(conn, stage, ms);
}

/* Into the caller's keyring first, so that his next request needs no socket; then the answer. */
static void deliver(struct credential *c, struct conn *conn)
{
	struct reader_state *reader = conn->door ? NULL : reader_of(c, conn->peer.uid, false);

	/* A metadata client does not look there: that it asks tells nothing of the copy. */
	if (conn->question && reader && reader->state == WIRE_READER_COPY)
		reader = NULL;
	if (reader && reader_publish(c, reader, true))
		add_waiter(c, conn, CONN_PUBLISH, PUBLISH_WAIT_MS);
	else
		conn_reply_token(conn, c);
}

/* A metadata client did not name the credential that is meant. */
static const char *whose(const struct credential *c, const struct conn *conn)
{
	static char text[WIRE_NAME_MAX + 3];

	if (!conn->question)
		return "";
	snprintf(text, sizeof(text), "%s: ", c->name);
	return text;
}

static void reply_failure(struct credential *c, struct conn *conn)
{
	bool refused = failure_is_refusal(credential_error(c)->class);
	int64_t wait = (c->next_try - now_ms() + 999) / 1000;

	conn_reply_error(conn, refused ? KEYFOB_EPROVIDER : KEYFOB_EAGAIN, wait > 0 && !refused ? (unsigned int)wait : 0, "%s%s",
		whose(c, conn), credential_error(c)->text);
}

void credential_wait_is_over(struct credential *c, struct conn *conn)
{
	if (credential_is_valid(c) && !conn->without_token)
		conn_reply_token(conn, c);
	else
		conn_reply_error(conn, KEYFOB_EAGAIN, 0, "%sno token in time%s%s", whose(c, conn), *credential_error(c)->text ? ": " : "",
			credential_error(c)->text);
}

/* Is there a point in letting him wait for the next attempt? */
static bool may_wait(const struct credential *c, const struct conn *conn)
{
	return (credential_error(c)->class == KEYFOB_CLASS_THROTTLED || credential_error(c)->class == KEYFOB_CLASS_TRANSIENT) &&
	       c->next_try < conn->deadline;
}

/* The pass is over. The list is taken away first: an answer may bring the next request. */
static void serve_waiters(struct credential *c, bool fetched)
{
	struct conn *conn = c->waiters, *next;

	c->waiters = NULL;
	for (; conn; conn = next) {
		next = conn->next_waiter;
		conn->credential = NULL;
		if (conn->stage == CONN_PUBLISH)
			add_waiter(c, conn, CONN_PUBLISH, PUBLISH_WAIT_MS);
		else if (fetched || (credential_is_valid(c) && !conn->without_token))
			deliver(c, conn);
		else if (may_wait(c, conn) && !conn->without_token)
			add_waiter(c, conn, CONN_FETCH, (int)(conn->deadline - now_ms()));
		else
			reply_failure(c, conn);
	}
}

void credential_published(struct broker *b, const char *name, uid_t uid, int error, bool slow)
{
	struct credential *c = credential_find(b, name);
	struct reader_state *reader = c ? reader_of(c, uid, false) : NULL;
	struct user *user = user_of(b, uid);
	struct conn *conn, *next;

	if (error < 0 && error != -ENOKEY && error != -EKEYEXPIRED)
		log_warning(
			"credential=%s uid=%u event=publish-failed error=\"%s\"; served by socket", name, uid, failure_to_store(b, error));
	if (slow && user) {
		log_warning("uid=%u event=publish-slow; served by socket for an hour", uid);
		user->slow_until = now_seconds() + 3600;
	}
	if (error == -EBUSY && user)
		user->slow_until = now_seconds() + 300;
	if (error == 0 && user)
		user->linked_at = now_seconds();
	/* While the job ran he lost the right to it, or it was dropped from the configuration: nobody else knows of this copy. */
	if (error == 0 && !reader) {
		publish_lock();
		sweep_after(b, store_revoke_copy(&b->store, uid, name));
		publish_unlock();
	}
	if (!c)
		return;
	if (reader)
		reader->state = error == 0 ? WIRE_READER_COPY : reader->asked ? WIRE_READER_SOCKET : WIRE_READER_NONE;
	conn = c->waiters;
	c->waiters = NULL;
	for (; conn; conn = next) {
		next = conn->next_waiter;
		if (conn->stage == CONN_PUBLISH && conn->peer.uid == uid) {
			conn->credential = NULL;
			conn_reply_token(conn, c);
		} else {
			conn->next_waiter = c->waiters;
			c->waiters = conn;
		}
	}
}

void credential_note_asked(struct credential *c, uid_t uid, uint32_t group)
{
	struct reader_state *reader = reader_of(c, uid, true);
	bool is_new, was_away;

	if (!reader)
		return;
	is_new = reader->asked == 0;
	was_away = reader->asked + ASKED_DAYS * 86400 <= now_seconds();
	reader->asked = now_seconds();
	reader->group = group;
	if (was_away)
		files_reader_changed(c, uid);
	if (is_new || c->asked_saved + 3600 < reader->asked)
		readers_save(c);
}

/* Of his own broker's keys a user may remove any. */
static void notice_removal(struct credential *c)
{
	if (c->broker->own && c->has_token && !c->held.length && !store_has_copy(&c->broker->store, geteuid(), c->name, &c->record))
		c->has_token = false;
}

void credential_get(struct credential *c, struct conn *conn)
{
	bool backing_off = c->next_try > now_ms(), again;

	notice_removal(c);
	again = is_fresh(c) && repeat_hints_refusal(conn, c);
	if (again && !backing_off && !c->fetch)
		c->forced = true;
	else if (is_fresh(c) || (backing_off && credential_is_valid(c))) {
		deliver(c, conn);
		return;
	}
	if (backing_off && !c->fetch && !may_wait(c, conn)) {
		reply_failure(c, conn);
		return;
	}
	add_waiter(c, conn, CONN_FETCH, (int)(conn->deadline - now_ms()));
	schedule_arm(c->broker);
}

void credential_refresh(struct credential *c, struct conn *conn)
{
	uint64_t now = now_seconds();

	if (!request_is_masters(conn) && c->last_refresh_asked + REFRESH_EVERY > now) {
		conn_reply_error(conn, KEYFOB_EAGAIN, (unsigned int)(c->last_refresh_asked + REFRESH_EVERY - now),
			"a refresh was asked for a moment ago");
		return;
	}
	/* While the source asks for patience, only root may insist. */
	if (!request_is_masters(conn) && c->next_try > now_ms() && !c->fetch) {
		reply_failure(c, conn);
		return;
	}
	c->last_refresh_asked = now;
	c->forced = !c->fetch;
	c->next_try = 0;
	conn->without_token = true;
	add_waiter(c, conn, CONN_FETCH, (int)(conn->deadline - now_ms()));
	schedule_arm(c->broker);
}

uint64_t credential_may_reject(struct credential *c)
{
	uint64_t now = now_seconds();

	/* A source that asks for patience gets it, and others keep the token they have. */
	if (c->next_try > now_ms())
		return (uint64_t)(c->next_try - now_ms()) / 1000 + 1;
	if (c->last_reject + REJECT_EVERY > now)
		return c->last_reject + REJECT_EVERY - now;
	c->last_reject = now;
	return 0;
}

/* --- fetching ------------------------------------------------------------------------ */

static void on_fetched(void *arg, const struct wire_result *result, const char *token, size_t length)
{
	struct credential *c = arg;

	c->fetch = NULL;
	credential_fetched(c, result, token, length);
	schedule_arm(c->broker);
}

/* The credential whose token this provider line hands over, if it must be fetched first. */
static struct credential *missing_source(const struct credential *c)
{
	const struct policy_provider *p = &c->policy->providers[c->provider];

	for (size_t i = 0; i < p->count; i++) {
		struct credential *source =
			p->settings[i].type == KEYFOB_OPTION_CREDENTIAL ? credential_find(c->broker, p->settings[i].value) : NULL;

		if (source && !is_fresh(source))
			return source;
	}
	return NULL;
}

static void report_source(struct credential *c, const struct credential *source)
{
	struct wire_result failure = { .class = credential_error(source)->class, .retry_after = credential_error(source)->retry_after };

	/* It came, but too near its end to be kept. */
	if (failure.class == KEYFOB_CLASS_OK)
		failure.class = KEYFOB_CLASS_TRANSIENT;

	snprintf(failure.text, sizeof(failure.text), "credential %s: %.900s", source->name, credential_error(source)->text);
	credential_fetched(c, &failure, NULL, 0);
}

/* The source's pass is over: those that wait for it go on, or fail with its reason. */
static void resume_dependents(struct credential *source)
{
	struct broker *b = source->broker;

	for (size_t i = 0; i < b->count; i++) {
		struct credential *c = b->credentials[i];

		if (c->waits_for != source)
			continue;
		c->waits_for = NULL;
		if (credential_is_valid(source))
			try_provider(c);
		else
			report_source(c, source);
	}
}

static void try_provider(struct credential *c)
{
	struct credential *source = missing_source(c);

	if (source && source->next_try > now_ms() && !source->fetch && !credential_is_valid(source)) {
		report_source(c, source);
		return;
	}
	if (source && source->next_try <= now_ms()) {
		c->waits_for = source;
		/* One that is valid, but near its end, is renewed first too. */
		source->forced = true;
		schedule_arm(c->broker);
		return;
	}
	c->fetch = fetch_start(c->broker, c->policy, &c->policy->providers[c->provider], on_fetched, NULL, c);
	if (!c->fetch) {
		struct wire_result failure = { .class = KEYFOB_CLASS_TRANSIENT, .text = "out of memory" };

		c->provider = c->policy->provider_count;
		credential_fetched(c, &failure, NULL, 0);
	}
}

static void start_pass(struct credential *c)
{
	c->provider = 0;
	c->next_try = 0;
	failure_forget(&c->pass);
	try_provider(c);
}

static void end_pass(struct credential *c)
{
	failure_forget(&c->error);
	c->error = c->pass;
	c->pass = NULL;
}

static void note_failure(struct credential *c, const struct wire_result *result)
{
	size_t line = c->provider < c->policy->provider_count ? c->provider : 0;
	char text[WIRE_TEXT_MAX + 256];

	if (failure_of(&c->pass))
		failure_add(c->pass, c->policy, line, result);
	c->failures++;
	c->failed_at = now_seconds();
	c->failed_class = result->class;
	log_warning("credential=%s event=fetch-failed provider=%s class=%s text=\"%s\"", c->name, c->policy->providers[line].module,
		failure_class_name(result->class), log_quote(result->text, text, sizeof(text)));
}

/* The keyring is the one store of tokens; only where it has no room does the broker hold one itself. */
static void store_token(struct credential *c, const char *token, size_t length)
{
	struct buffer bytes;
	int error;

	buffer_init(&bytes, WIRE_TOKEN_MAX);
	buffer_put(&bytes, token, length);
	publish_lock();
	error = bytes.failed ? -ENOMEM : store_put_master(&c->broker->store, c->name, &bytes, &c->record);
	publish_unlock();
	buffer_free(&c->held);
	if (error < 0) {
		log_warning("credential=%s event=store-failed error=\"%s\"; held in memory, served by socket", c->name,
			failure_to_store(c->broker, error));
		buffer_put(&c->held, token, length);
		if (c->broker->own && failure_of(&c->error))
			snprintf(c->error->text, sizeof(c->error->text), "not on the keyring: %s", failure_to_store(c->broker, error));
	}
	buffer_free(&bytes);
	c->has_token = error == 0 || c->held.length;
}

static void take_token(struct credential *c, const struct wire_result *result, const char *token, size_t length)
{
	uint64_t now = now_seconds();
	bool same = c->has_token && c->record.expires == result->expires && strcmp(c->record.fingerprint, result->fingerprint) == 0;

	if (!same)
		c->record.fetched = now;
	c->record.expires = result->expires;
	c->record.refresh = same ? plan_after_same(result->expires, now) : plan_refresh(c, result->refresh, now);
	c->record.kind = c->policy->kind == KEYFOB_KIND_DEFAULT ? c->policy->providers[c->provider].kind : c->policy->kind;
	memcpy(c->record.fingerprint, result->fingerprint, sizeof(c->record.fingerprint));
	memcpy(c->record.issuer, result->issuer, sizeof(c->record.issuer));
	memcpy(c->record.audience, result->audience, sizeof(c->record.audience));
	memcpy(c->record.subject, result->subject, sizeof(c->record.subject));
	free(c->record.definition);
	c->record.definition = strdup(c->policy->definition);
	c->gave = c->provider + 1;
	store_token(c, token, length);
	log_info("credential=%s event=fetched provider=%s token=#%s expires=%" PRIu64 " refresh=%" PRIu64 "%s", c->name,
		c->policy->providers[c->provider].module, c->record.fingerprint, c->record.expires, c->record.refresh,
		same ? " same=yes" : "");
}

void credential_fetched(struct credential *c, const struct wire_result *result, const char *token, size_t length)
{
	if (result->class == KEYFOB_CLASS_OK) {
		c->fetches++;
		c->failed_in_row = 0;
		c->next_try = 0;
		c->forced = false;
		end_pass(c);
		take_token(c, result, token, length);
		files_changed(c);
		/* Too short a life to be stored, but good for who waits; to ask again at once would be a storm. */
		if (!credential_is_valid(c))
			c->next_try = (int64_t)c->record.expires * 1000;
		readers_publish(c);
		serve_waiters(c, true);
		resume_dependents(c);
		return;
	}
	note_failure(c, result);
	if (++c->provider < c->policy->provider_count) {
		try_provider(c);
		return;
	}
	c->failed_in_row++;
	c->forced = false;
	end_pass(c);
	back_off(c);
	serve_waiters(c, false);
	resume_dependents(c);
}

/* --- taking away -------------------------------------------------------------------- */

static void revoke_if_its(void *arg, uid_t uid, const char *name)
{
	struct credential *c = arg;

	if (strcmp(name, c->name) == 0)
		sweep_after(c->broker, store_revoke_copy(&c->broker->store, uid, name));
}

/* What the keyring holds, not what we remember: a copy may be nobody's any more. */
static void revoke_copies(struct credential *c)
{
	sweep_after(c->broker, store_each_copy(&c->broker->store, revoke_if_its, c));
	for (size_t i = 0; i < c->reader_count; i++)
		c->readers[i].state = WIRE_READER_NONE;
}

void credential_revoke_copies(struct credential *c)
{
	publish_lock();
	revoke_copies(c);
	publish_unlock();
}

void credential_drop(struct credential *c, const char *why)
{
	/* The master last: whoever is killed before that has dropped nothing, and no copy stands without one. */
	publish_lock();
	revoke_copies(c);
	sweep_after(c->broker, store_revoke_master(&c->broker->store, c->name));
	publish_unlock();
	if (c->has_token)
		log_notice("credential=%s event=dropped token=#%s reason=\"%s\"", c->name, c->record.fingerprint, why);
	c->has_token = false;
	buffer_free(&c->held);
	store_record_free(&c->record);
	memset(&c->record, 0, sizeof(c->record));
	/* What a fetch that runs brings may be what was just thrown away. */
	if (c->fetch) {
		fetch_cancel(c->fetch);
		c->fetch = NULL;
	}
	c->next_try = 0;
	c->failed_in_row = 0;
	files_changed(c);
}
