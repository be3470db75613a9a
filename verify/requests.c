/* SPDX-License-Identifier: Apache-2.0 */
/* What the verifier may be asked, and by whom; and the requests of an administrator. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "verify/verifyd.h"

#define FETCH_MS 45000 /* longer than any fetch takes */

static void malformed(struct conn *conn)
{
	conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
}

/* The identity provider named by the request; otherwise the refusal is on its way and NULL comes back. */
static const struct federation_provider *named(struct conn *conn, struct reader *r)
{
	char name[WIRE_NAME_MAX + 1];
	const struct federation_provider *p;

	reader_text(r, name, sizeof(name));
	if (!reader_done(r)) {
		malformed(conn);
		return NULL;
	}
	p = federation_provider(conn->verifier->federation, name);
	if (!p)
		conn_reply_error(conn, KEYFOB_ENOCRED, 0, "no identity provider has that name (keyfob idp list)");
	return p;
}

/* --- KEYSETS ------------------------------------------------------------------------------ */

static enum wire_keyset state_of(const struct keysets_state *state)
{
	if (state->revoked)
		return WIRE_KEYSET_REVOKED;
	if (!state->set)
		return WIRE_KEYSET_MISSING;
	return state->usable && !state->stale ? WIRE_KEYSET_GOOD : WIRE_KEYSET_STALE;
}

static void put_keyset(struct verifier *v, const struct federation_provider *p, struct buffer *b)
{
	char error[WIRE_TEXT_MAX];
	struct keysets_state state;
	size_t count;

	keysets_describe(v->keysets, p, time(NULL), &state);
	count = state.set ? jwks_count(state.set) : 0;
	buffer_put_text(b, p->name);
	buffer_put_u8(b, (uint8_t)state_of(&state));
	buffer_put_u64(b, state.epoch);
	buffer_put_u64(b, (uint64_t)state.fetched);
	buffer_put_u64(b, (uint64_t)state.attempted);
	buffer_put_u64(b, (uint64_t)state.refresh);
	buffer_put_u64(b, (uint64_t)state.hard_limit);
	buffer_put_u32(b, state.failures);
	buffer_put_text(b, log_escape(state.error, error, sizeof(error)));
	buffer_put_u32(b, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		buffer_put_text(b, jwks_kid(state.set, i));
		buffer_put_text(b, jwks_kind(state.set, i));
	}
}

/* The next in the order of names. */
static const struct federation_provider *next_provider(const struct federation *f, const char *after)
{
	const struct federation_provider *next = NULL;

	for (size_t i = 0; i < f->provider_count; i++)
		if (strcmp(f->providers[i].name, after) > 0 && (!next || strcmp(f->providers[i].name, next->name) < 0))
			next = &f->providers[i];
	return next;
}

static void handle_keysets(struct conn *conn, struct reader *r)
{
	struct verifier *v = conn->verifier;
	char name[WIRE_NAME_MAX + 1], after[WIRE_NAME_MAX + 1];
	const struct federation_provider *p;
	struct buffer b, entry;
	bool more = false;

	reader_text(r, name, sizeof(name));
	reader_text(r, after, sizeof(after));
	if (!reader_done(r)) {
		malformed(conn);
		return;
	}
	p = *name ? federation_provider(v->federation, name) : next_provider(v->federation, after);
	if (*name && !p) {
		conn_reply_error(conn, KEYFOB_ENOCRED, 0, "no identity provider has that name (keyfob idp list)");
		return;
	}
	conn_reply_start(&b);
	buffer_put_u8(&b, 0);
	buffer_init(&entry, WIRE_MAX);
	for (; p && !more; p = *name ? NULL : next_provider(v->federation, p->name)) {
		buffer_clear(&entry);
		put_keyset(v, p, &entry);
		more = b.length + entry.length > WIRE_MAX;
		if (!more)
			buffer_put(&b, entry.data, entry.length);
	}
	b.data[2] = more;
	buffer_free(&entry);
	conn_reply(conn, &b);
}

/* --- REFRESH, REVOKE, RELOAD ---------------------------------------------------------------- */

static void reply_refreshed(struct conn *conn, const struct federation_provider *p, int error)
{
	char text[WIRE_TEXT_MAX];
	struct keysets_state state;
	struct buffer b;

	keysets_describe(conn->verifier->keysets, p, time(NULL), &state);
	if (error || !state.set || *state.error) {
		log_escape(*state.error ? state.error : "there is no key set", text, sizeof(text));
		conn_reply_error(conn, error ? error : KEYFOB_EPROVIDER, 0, "%s", text);
		return;
	}
	conn_reply_start(&b);
	buffer_put_u32(&b, (uint32_t)jwks_count(state.set));
	conn_reply(conn, &b);
}

static void handle_refresh(struct conn *conn, struct reader *r)
{
	struct verifier *v = conn->verifier;
	const struct federation_provider *p = named(conn, r);
	bool waits = false;

	if (!p)
		return;
	log_notice("event=refresh-asked identity_provider=%s uid=%u pid=%d", p->name, conn->peer.uid, conn->peer.pid);
	/* Those of one source were revoked together. */
	for (size_t i = 0; i < v->federation->provider_count; i++)
		if (strcmp(v->federation->providers[i].source, p->source) == 0)
			waits = keysets_refresh(v->keysets, &v->federation->providers[i], time(NULL)) || waits;
	if (!waits) {
		reply_refreshed(conn, p, 0);
		return;
	}
	if (!conn_wait(conn, CONN_FETCH, p->name, FETCH_MS)) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "too many requests wait");
		return;
	}
	ask_due(v);
}

void request_fetched(struct conn *conn, const struct fetched *fetched)
{
	const struct federation_provider *p = federation_provider(conn->verifier->federation, conn->waits_for);

	if (!p)
		conn_reply_error(conn, KEYFOB_ENOCRED, 0, "no identity provider has that name (keyfob idp list)");
	else
		reply_refreshed(conn, p, fetched->fresh ? 0 : fetched->error);
}

/* Others may believe the same keys for another audience: whoever lost the key lost it for them as well. */
static int revoke_source(struct verifier *v, const struct federation_provider *p, const struct conn *conn)
{
	int first = 0;

	for (size_t i = 0; i < v->federation->provider_count; i++) {
		const struct federation_provider *other = &v->federation->providers[i];
		int error;

		if (strcmp(other->source, p->source) != 0)
			continue;
		log_notice("event=revoke-asked identity_provider=%s uid=%u pid=%d", other->name, conn->peer.uid, conn->peer.pid);
		error = keysets_revoke(v->keysets, other, time(NULL));
		first = first ? first : error;
		ask_cancel(v, other->name);
	}
	memory_clear(v->memory);
	return first;
}

static void handle_revoke(struct conn *conn, struct reader *r)
{
	struct verifier *v = conn->verifier;
	const struct federation_provider *p = named(conn, r);
	struct keysets_state state;
	struct buffer b;
	int error;

	if (!p)
		return;
	error = revoke_source(v, p, conn);
	keysets_describe(v->keysets, p, time(NULL), &state);
	if (error) {
		conn_reply_error(conn, KEYFOB_EFAIL, 0,
			"%s is revoked, but only until the verifier's next start: its state directory cannot be written (%s); mend that "
			"and revoke again",
			p->name, strerror(-error));
	} else {
		conn_reply_start(&b);
		buffer_put_u64(&b, state.epoch);
		conn_reply(conn, &b);
	}
	ask_due(v);
}

static void handle_reload(struct conn *conn, struct reader *r)
{
	char text[WIRE_TEXT_MAX / 2];
	struct buffer errors, b;
	const char *first;

	if (!reader_done(r)) {
		malformed(conn);
		return;
	}
	buffer_init(&errors, 65536);
	/* This connection waits for no fetch, so nothing that a reload does ends it. */
	if (verifier_reload(conn->verifier, &errors)) {
		conn_reply_start(&b);
		conn_reply(conn, &b);
	} else {
		first = buffer_cstring(&errors);
		snprintf(text, sizeof(text), "%.*s", first ? (int)strcspn(first, "\n") : 0, first ? first : "");
		conn_reply_error(conn, KEYFOB_EFAIL, 0, "%s; the old configuration stays (keyfob-verifyd --check tells all)", text);
	}
	buffer_free(&errors);
}

/* --- the table ------------------------------------------------------------------------------ */

enum who { ANYBODY, ROOT };

static const struct {
	enum who who;
	void (*handle)(struct conn *conn, struct reader *r);
} requests[] = {
	[WIRE_VERIFY_TOKEN] = { ANYBODY, judge_token },
	[WIRE_VERIFY_ACCOUNT] = { ANYBODY, judge_account },
	[WIRE_VERIFY_EXPLAIN] = { ROOT, judge_explain },
	[WIRE_VERIFY_KEYSETS] = { ROOT, handle_keysets },
	[WIRE_VERIFY_REFRESH] = { ROOT, handle_refresh },
	[WIRE_VERIFY_REVOKE] = { ROOT, handle_revoke },
	[WIRE_VERIFY_RELOAD] = { ROOT, handle_reload },
};

void request_handle(struct conn *conn)
{
	struct reader r;
	uint8_t version, opcode;

	reader_init(&r, conn->request.data, conn->request.length);
	version = reader_u8(&r);
	opcode = reader_u8(&r);
	if (r.failed || version != WIRE_VERSION) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "this verifier speaks version %d of the protocol", WIRE_VERSION);
	} else if (opcode >= sizeof(requests) / sizeof(requests[0]) || !requests[opcode].handle) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "no request has number %u", opcode);
	} else if (conn->peer.uid != 0 && requests[opcode].who == ROOT) {
		if (conn_may_log(conn))
			log_notice("uid=%u pid=%d event=denied request=%u", conn->peer.uid, conn->peer.pid, opcode);
		conn_reply_error(conn, KEYFOB_EDENIED, 0, "only root may ask for that");
	} else {
		requests[opcode].handle(conn, &r);
	}
}
