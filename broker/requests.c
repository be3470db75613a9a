/* SPDX-License-Identifier: Apache-2.0 */
/* What may be asked of the broker stands in a table: the request, who may, and what answers it (doc/PROTOCOL). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/launcher.h"
#include "common/log.h"

#define LOOKUP_MS 3000
#define FILES_MS 2000 /* that an answer waits for token files to be removed */
#define TRY_MS 130000 /* longer than any attempt may take */
#define DENIALS_LOGGED 10 /* a minute and a user */
#define LINES_MAX 32768 /* of the exchange shown by `try` */

bool request_may_have(const struct conn *conn, const struct credential *c)
{
	return policy_allows(c->policy, conn->peer.uid, conn->groups, conn->group_count);
}

bool request_is_masters(const struct conn *conn)
{
	return conn->peer.uid == 0 || (conn->broker->own && conn->peer.uid == geteuid());
}

/* Whoever is refused in a loop does not fill the log. */
bool request_may_log_denial(const struct conn *conn)
{
	struct user *user = user_of(conn->broker, conn->peer.uid);
	uint64_t minute = now_seconds() / 60;

	if (!user)
		return true;
	if (user->denial_minute != minute) {
		user->denial_minute = minute;
		user->denials = 0;
	}
	return ++user->denials <= DENIALS_LOGGED;
}

/* The credential named by the request, if the caller may have it; otherwise the refusal is on its way and NULL comes back. */
static struct credential *named(struct conn *conn, struct reader *r, bool last)
{
	char name[WIRE_NAME_MAX + 1];
	struct credential *c;

	reader_text(r, name, sizeof(name));
	if (r->failed || (last && !reader_done(r)) || !wire_name_valid(name)) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
		return NULL;
	}
	c = credential_find(conn->broker, name);
	if (!c) {
		conn_reply_error(conn, KEYFOB_ENOCRED, 0, "no credential has that name (keyfob status lists those there are)");
		return NULL;
	}
	if (!request_may_have(conn, c)) {
		if (request_may_log_denial(conn))
			log_notice("credential=%s uid=%u pid=%d event=denied", name, conn->peer.uid, conn->peer.pid);
		conn_reply_error(conn, KEYFOB_EDENIED, 0, "uid %u is not allowed to have it", conn->peer.uid);
		return NULL;
	}
	return c;
}

static void handle_get(struct conn *conn, struct reader *r)
{
	struct credential *c = named(conn, r, true);

	if (!c)
		return;
	credential_note_asked(c, conn->peer.uid, policy_group_of(c->policy, conn->peer.uid, conn->groups, conn->group_count));
	credential_get(c, conn);
}

static void handle_refresh(struct conn *conn, struct reader *r)
{
	struct credential *c = named(conn, r, true);

	if (c)
		credential_refresh(c, conn);
}

void request_reply_empty(struct conn *conn)
{
	struct buffer b;

	conn_reply_start(&b);
	conn_reply_end(conn, &b);
}

/* What is to go from token files is gone before this is answered, unless a user holds that up. */
static void reply_when_written(struct conn *conn)
{
	if (files_are_busy(conn->broker))
		conn_wait(conn, CONN_FILES, FILES_MS);
	else
		request_reply_empty(conn);
}

static void handle_drop(struct conn *conn, struct reader *r)
{
	struct credential *c = named(conn, r, true);

	if (!c)
		return;
	credential_drop(c, conn->peer.uid == 0 ? "root asked" : "its user asked");
	c->forced = true;
	schedule_arm(conn->broker);
	reply_when_written(conn);
}

static void handle_reject(struct conn *conn, struct reader *r)
{
	struct credential *c = named(conn, r, false);
	struct buffer current;
	const uint8_t *token;
	size_t length;

	if (!c)
		return;
	token = reader_string(r, &length);
	if (!reader_done(r)) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
		return;
	}
	buffer_init(&current, WIRE_TOKEN_MAX + 2048);
	if (credential_is_valid(c) && credential_token(c, &current) == 0 && current.length == length &&
		memcmp(current.data, token, length) == 0) {
		uint64_t wait = credential_may_reject(c);

		if (wait) {
			buffer_free(&current);
			conn_reply_error(conn, KEYFOB_EAGAIN, (unsigned int)wait, "a token was rejected a moment ago");
			return;
		}
		credential_drop(c, "a server refused it");
		c->forced = true;
		schedule_arm(conn->broker);
	}
	buffer_free(&current);
	reply_when_written(conn);
}

static void handle_status(struct conn *conn, struct reader *r)
{
	char name[WIRE_NAME_MAX + 1], after[WIRE_NAME_MAX + 1];
	struct buffer b;

	reader_text(r, name, sizeof(name));
	reader_text(r, after, sizeof(after));
	if (!reader_done(r)) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
		return;
	}
	if (*name) {
		struct credential *c = credential_find(conn->broker, name);

		if (!c || !request_may_have(conn, c)) {
			conn_reply_error(conn, c ? KEYFOB_EDENIED : KEYFOB_ENOCRED, 0,
				c ? "not allowed to have it" : "no credential has that name (keyfob status lists those there are)");
			return;
		}
	}
	conn_reply_start(&b);
	status_reply(conn->broker, conn, name, after, &b);
	conn_reply_end(conn, &b);
}

static void handle_reload(struct conn *conn, struct reader *r)
{
	struct buffer errors;
	char text[WIRE_TEXT_MAX / 2];
	const char *first;

	if (!reader_done(r)) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
		return;
	}
	buffer_init(&errors, 65536);
	if (broker_reload(conn->broker, &errors)) {
		reply_when_written(conn);
	} else {
		first = buffer_cstring(&errors);
		snprintf(text, sizeof(text), "%.*s", first ? (int)strcspn(first, "\n") : 0, first ? first : "");
		conn_reply_error(conn, KEYFOB_EFAIL, 0, "%s; the old configuration stays (keyfob doctor --config tells all)", text);
	}
	buffer_free(&errors);
}

/* The groups of a user who is not here to show his own. For root, who waits for the answer. */
static bool look_up_groups(struct broker *b, uint32_t uid, gid_t *groups, size_t max, size_t *count)
{
	struct buffer request, answer;
	struct reader r;
	char text[16];
	size_t length;
	bool found = false;

	buffer_init(&request, 64);
	buffer_init(&answer, WIRE_MAX);
	snprintf(text, sizeof(text), "%u", uid);
	buffer_put_u8(&request, LAUNCHER_LOOKUP);
	buffer_put_u32(&request, 1);
	buffer_put_u8(&request, LAUNCHER_NAME_GROUPS);
	buffer_put_text(&request, text);
	if (launcher_ask(b->launcher, &request, LOOKUP_MS, &answer) == 0) {
		reader_init(&r, answer.data, answer.length);
		found = reader_u32(&r) == 1 && reader_u8(&r) == 1;
		reader_string(&r, &length);
		for (uint32_t left = found ? reader_u32(&r) : 0; left && *count < max && !r.failed; left--)
			groups[(*count)++] = reader_u32(&r);
	}
	buffer_free(&request);
	buffer_free(&answer);
	return found;
}

/* Root may ask about anybody; others about themselves, with the groups they come with. */
static void handle_may(struct conn *conn, struct reader *r)
{
	char name[WIRE_NAME_MAX + 1];
	gid_t looked_up[1024];
	const gid_t *groups = conn->groups;
	size_t count = conn->group_count;
	struct credential *c;
	struct buffer b;
	const char *why;
	uint32_t uid;
	bool allowed, found = true;

	reader_text(r, name, sizeof(name));
	uid = reader_u32(r);
	c = reader_done(r) ? credential_find(conn->broker, name) : NULL;
	if (!c || (conn->peer.uid != 0 && conn->peer.uid != uid)) {
		conn_reply_error(conn,
			!reader_done(r) ? KEYFOB_EINVAL
			: c		? KEYFOB_EDENIED
					: KEYFOB_ENOCRED,
			0, c ? "only root may ask about other users" : "no credential has that name (keyfob status lists those there are)");
		return;
	}
	if (conn->peer.uid != uid) {
		count = 0;
		groups = looked_up;
		found = look_up_groups(conn->broker, uid, looked_up, sizeof(looked_up) / sizeof(looked_up[0]), &count);
	}
	allowed = policy_allows(c->policy, uid, groups, count);
	if (uid == 0)
		why = "root may have any credential";
	else if (allowed)
		why = policy_names_user(c->policy, uid) ? "named by the allow line" : "in an allowed group";
	else
		why = found ? "no allow line names this user or a group of his" : "there is no such user";
	conn_reply_start(&b);
	buffer_put_u8(&b, allowed);
	buffer_put_text(&b, why);
	conn_reply_end(conn, &b);
}

static void on_told(void *arg, const char *line)
{
	struct conn *conn = arg;

	if (conn->lines.length + strlen(line) + WIRE_TEXT_MAX < LINES_MAX)
		buffer_printf(&conn->lines, "%s\n", line);
}

static void on_tried(void *arg, const struct wire_result *result, const char *token, size_t length);

static void try_line(struct conn *conn)
{
	conn->fetch = fetch_start(conn->broker, conn->tried, &conn->tried->providers[conn->provider], on_tried, on_told, conn);
	if (conn->fetch)
		conn_wait(conn, CONN_IDLE, TRY_MS);
	else
		conn_reply_error(conn, KEYFOB_EFAIL, 0, "out of memory");
}

static void on_tried(void *arg, const struct wire_result *result, const char *token, size_t length)
{
	struct conn *conn = arg;
	struct buffer b;

	(void)token;
	conn->fetch = NULL;
	if (result->class == KEYFOB_CLASS_OK) {
		buffer_printf(&conn->lines, "token #%s, %zu bytes, expires %" PRIu64 "\n", result->fingerprint, length, result->expires);
	} else {
		buffer_printf(&conn->lines, "%s: %s\n", conn->tried->providers[conn->provider].module, result->text);
		if (++conn->provider < conn->tried->provider_count) {
			try_line(conn);
			return;
		}
	}
	conn_reply_start(&b);
	buffer_put_u8(&b, result->class);
	buffer_put_string(&b, conn->lines.data, conn->lines.length);
	conn_reply_end(conn, &b);
}

/* The provider lines in turn, as for a get; shown, and thrown away. */
static void handle_try(struct conn *conn, struct reader *r)
{
	struct credential *c = named(conn, r, true);

	if (!c)
		return;
	buffer_init(&conn->lines, LINES_MAX);
	conn->tried = c->policy;
	try_line(conn);
}

enum who { ANYBODY, VERIFIER, METADATA, ROOT }; /* root may ask all */

static const struct {
	enum who who;
	void (*handle)(struct conn *conn, struct reader *r);
} requests[] = {
	[WIRE_GET] = { ANYBODY, handle_get },
	[WIRE_STATUS] = { ANYBODY, handle_status },
	[WIRE_DROP] = { ROOT, handle_drop },
	[WIRE_REFRESH] = { ANYBODY, handle_refresh },
	[WIRE_REJECT] = { ANYBODY, handle_reject },
	[WIRE_RELOAD] = { ROOT, handle_reload },
	[WIRE_MAY] = { ANYBODY, handle_may },
	[WIRE_TRY] = { ROOT, handle_try },
	[WIRE_KEYSET] = { VERIFIER, keyset_ask },
	[WIRE_METADATA] = { METADATA, metadata_ask },
};

static bool may_ask(const struct conn *conn, enum who who)
{
	return who == ANYBODY || request_is_masters(conn) || (who == VERIFIER && conn->peer.uid == conn->broker->verify_uid) ||
	       (who == METADATA && conn->peer.uid == conn->broker->metadata_uid);
}

static const char *const who_words[] = { [VERIFIER] = "root and keyfob-verifyd", [METADATA] = "root and keyfob-metadata", [ROOT] = "root" };

void request_dispatch(struct conn *conn, const struct buffer *frame)
{
	struct reader r;
	uint8_t version, opcode;

	reader_init(&r, frame->data, frame->length);
	version = reader_u8(&r);
	opcode = reader_u8(&r);
	if (r.failed || version != WIRE_VERSION)
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "this broker speaks version %d of the protocol", WIRE_VERSION);
	else if (opcode >= sizeof(requests) / sizeof(requests[0]) || !requests[opcode].handle)
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "no request has number %u", opcode);
	else if (!may_ask(conn, requests[opcode].who)) {
		if (request_may_log_denial(conn))
			log_notice("uid=%u pid=%d event=denied request=%u", conn->peer.uid, conn->peer.pid, opcode);
		conn_reply_error(conn, KEYFOB_EDENIED, 0, "only %s may ask for that", who_words[requests[opcode].who]);
	} else
		requests[opcode].handle(conn, &r);
}
