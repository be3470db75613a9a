/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keyfob-metadata asks for a user who came to it over TCP. It names the
 * user and what he wants a token for; which credential that is, and whether
 * it may be his, is decided here. From then on the connection is his: his
 * requests are counted, and his denials logged, as if he had come himself.
 *
 * He is not here to show his groups, and a look-up of names can take long. So
 * it is done apart, once for all who wait for it, and remembered for a moment.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/launcher.h"
#include "common/log.h"

#define WAIT_MS 7000 /* for a token, in all: metadata clients have less patience than 10 s */
#define LOOKUP_MS 5000 /* of these, for the user's groups */
#define HELPER_SECONDS 15 /* the launcher ends a look-up after 10 s */
#define FRESH_MS 30000 /* that groups are remembered */
#define LOOKUPS_MAX 256 /* remembered */
#define RUNNING_MAX 16 /* each is a process */
#define SCOPE "/.default" /* what Azure's scopes have behind the resource */

struct question {
	uint8_t kind; /* enum keyfob_kind */
	char resource[1025]; /* "": any */
	char client_id[257]; /* "": not said */
};

/* The groups of a user: being looked up, or known until some time. */
struct lookup {
	struct lookup *next;
	struct broker *broker;
	uid_t uid;
	int fd; /* -1: they are known */
	struct event *event;
	struct buffer answer;
	int64_t until; /* ms since the epoch */
	gid_t *groups;
	size_t count;
	struct conn *askers;
};

static struct lookup *lookups;

static void decide(struct conn *conn);

/* --- which credential --------------------------------------------------------------- */

static size_t stem_length(const char *resource)
{
	size_t length = strlen(resource), scope = strlen(SCOPE);

	return length > scope && strcmp(resource + length - scope, SCOPE) == 0 ? length - scope : length;
}

static bool is_resource(const struct question *q, const char *resource)
{
	size_t length;

	if (!*q->resource)
		return true;
	if (q->kind != KEYFOB_KIND_ACCESS)
		return strcmp(q->resource, resource) == 0;
	length = stem_length(resource);
	return length == stem_length(q->resource) && memcmp(resource, q->resource, length) == 0;
}

/* How a credential stands to the client id that was asked for. The more the better. */
enum identity { IDENTITY_OTHER, IDENTITY_OPEN, IDENTITY_SAME };

static enum identity identity_of(const struct policy_credential *p, const char *client_id)
{
	enum identity identity = IDENTITY_OPEN;

	for (size_t i = 0; *client_id && i < p->provider_count; i++) {
		for (size_t j = 0; j < p->providers[i].count; j++) {
			if (strcmp(p->providers[i].settings[j].name, "client_id") != 0)
				continue;
			if (strcmp(p->providers[i].settings[j].value, client_id) == 0)
				return IDENTITY_SAME;
			identity = IDENTITY_OTHER;
		}
	}
	return identity;
}

static bool is_asked_for(const struct question *q, const struct policy_credential *p)
{
	return p->metadata && policy_kind(p) == q->kind && is_resource(q, p->resource);
}

bool metadata_fits(const struct conn *conn, const struct credential *c)
{
	return is_asked_for(conn->question, c->policy) && identity_of(c->policy, conn->question->client_id) != IDENTITY_OTHER;
}

static bool runs_as(const struct policy_credential *p, uid_t uid)
{
	for (size_t i = 0; i < p->provider_count; i++)
		if (p->providers[i].run_as == uid)
			return true;
	return false;
}

struct choice {
	/*
	 * Some credential is fetched as this user. Over TCP a fetch of his looks like
	 * himself, and a provider may have taken it over: so he has only what they fetch.
	 */
	bool is_runner;
	enum identity best;
	struct credential *chosen; /* one that he may have */
	const struct credential *denied; /* one that he may not */
	const struct credential *other; /* that he might have, by another client id */
	unsigned int count; /* of those he may have */
	char names[512];
};

static void consider(struct choice *choice, const struct conn *conn, struct credential *c)
{
	enum identity identity = identity_of(c->policy, conn->question->client_id);
	bool may = request_may_have(conn, c) && (!choice->is_runner || runs_as(c->policy, conn->peer.uid));
	size_t used;

	if (identity == IDENTITY_OTHER && may)
		choice->other = c;
	/* Who names an identity gets none but that as long as there is one, his or not. */
	if (identity > choice->best) {
		*choice = (struct choice){ .is_runner = choice->is_runner, .best = identity, .other = choice->other };
	}
	if (identity == IDENTITY_OTHER || identity < choice->best)
		return;
	if (!may) {
		choice->denied = c;
		return;
	}
	choice->chosen = c;
	used = strlen(choice->names);
	snprintf(choice->names + used, sizeof(choice->names) - used, "%s%s", choice->count++ ? ", " : "", c->name);
}

/* What he asked for, for a text. */
static const char *asked_words(const struct question *q)
{
	static char words[WIRE_TEXT_MAX / 2];

	snprintf(words, sizeof(words), "%s token%s%.400s", q->kind == KEYFOB_KIND_ID ? "an ID" : "an access", *q->resource ? " for " : "",
		q->resource);
	return words;
}

/* A stranger does not learn whether there is one: only the code, and the log, tell. */
static void refuse(struct conn *conn, const struct choice *choice)
{
	const struct question *q = conn->question;

	if (choice->denied && request_may_log_denial(conn))
		log_notice("credential=%s uid=%u event=denied via=metadata", choice->denied->name, conn->peer.uid);
	if (choice->other)
		conn_reply_error(conn, KEYFOB_ENOCRED, 0, "credential %s has another client_id than %s", choice->other->name, q->client_id);
	else
		conn_reply_error(conn, choice->denied ? KEYFOB_EDENIED : KEYFOB_ENOCRED, 0,
			"uid %u has no credential with metadata = yes that gives %s", conn->peer.uid, asked_words(q));
}

static void decide(struct conn *conn)
{
	struct choice choice = { .best = IDENTITY_OTHER };
	const struct broker *b = conn->broker;

	for (size_t i = 0; i < b->count && !choice.is_runner; i++)
		choice.is_runner = runs_as(b->credentials[i]->policy, conn->peer.uid);
	for (size_t i = 0; i < b->count; i++)
		if (is_asked_for(conn->question, b->credentials[i]->policy))
			consider(&choice, conn, b->credentials[i]);
	if (choice.count > 1) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0,
			"several credentials of uid %u give %s: %s; mark one of them metadata = yes, or name a client id", conn->peer.uid,
			asked_words(conn->question), choice.names);
		return;
	}
	if (!choice.chosen) {
		refuse(conn, &choice);
		return;
	}
	choice.chosen->metadata_asked = true;
	credential_note_asked(
		choice.chosen, conn->peer.uid, policy_group_of(choice.chosen->policy, conn->peer.uid, conn->groups, conn->group_count));
	credential_get(choice.chosen, conn);
}

/* Does it depend on his groups? */
static bool needs_groups(const struct conn *conn)
{
	const struct broker *b = conn->broker;

	for (size_t i = 0; i < b->count; i++) {
		const struct policy_credential *p = b->credentials[i]->policy;

		if (!is_asked_for(conn->question, p) || policy_names_user(p, conn->peer.uid))
			continue;
		for (size_t j = 0; j < p->rule_count; j++)
			if (p->rules[j].is_group)
				return true;
	}
	return false;
}

/* --- his groups ----------------------------------------------------------------------- */

static void free_lookup(struct lookup *l)
{
	struct lookup **at = &lookups;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	if (l->event)
		event_free(l->event);
	if (l->fd >= 0)
		close(l->fd);
	buffer_free(&l->answer);
	free(l->groups);
	free(l);
}

static bool take_groups(struct lookup *l)
{
	struct reader r;
	uint32_t count = 0;
	size_t length;

	reader_init(&r, l->answer.data, l->answer.length);
	if (reader_u32(&r) != 1)
		return false;
	if (reader_u8(&r) == 1) {
		reader_string(&r, &length);
		count = reader_u32(&r);
	}
	if (r.failed || count > r.left / 4)
		return false;
	l->groups = calloc((size_t)count + 1, sizeof(*l->groups));
	while (l->groups && l->count < count)
		l->groups[l->count++] = reader_u32(&r);
	return l->groups && reader_done(&r);
}

static void decide_with(struct conn *conn, const struct lookup *l)
{
	conn->groups = calloc(l->count + 1, sizeof(*l->groups));
	if (!conn->groups) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "out of memory");
		return;
	}
	memcpy(conn->groups, l->groups, l->count * sizeof(*l->groups));
	conn->group_count = l->count;
	decide(conn);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct lookup *l = arg;
	uint8_t *to = buffer_reserve(&l->answer, 4096);
	ssize_t got = what & EV_TIMEOUT || !to ? -1 : read((int)fd, to, 4096);
	struct conn *conn = l->askers, *next;
	bool found;

	if (got > 0) {
		l->answer.length += (size_t)got;
		return;
	}
	event_free(l->event);
	close(l->fd);
	l->event = NULL;
	l->fd = -1;
	l->askers = NULL;
	l->until = now_ms() + FRESH_MS;
	found = got == 0 && take_groups(l);
	if (!found && (!conn || request_may_log_denial(conn)))
		log_warning("uid=%u event=lookup-failed; nothing is his by a group just now", l->uid);
	for (; conn; conn = next) {
		next = conn->next_asker;
		conn->lookup = NULL;
		if (found)
			decide_with(conn, l);
		else
			conn_reply_error(conn, KEYFOB_EAGAIN, 1, "uid %u cannot be looked up just now", l->uid);
	}
	buffer_free(&l->answer);
	if (!found)
		free_lookup(l);
}

static bool start_lookup(struct lookup *l)
{
	struct timeval limit = { .tv_sec = HELPER_SECONDS };
	struct buffer request;
	char uid[16];
	int error;

	snprintf(uid, sizeof(uid), "%u", l->uid);
	buffer_init(&request, 64);
	buffer_put_u8(&request, LAUNCHER_LOOKUP);
	buffer_put_u32(&request, 1);
	buffer_put_u8(&request, LAUNCHER_NAME_GROUPS);
	buffer_put_text(&request, uid);
	error = launcher_send(l->broker->launcher, &request, &l->fd);
	buffer_free(&request);
	if (error < 0)
		return false;
	l->event = event_new(l->broker->base, l->fd, EV_READ | EV_PERSIST, on_answer, l);
	return l->event && event_add(l->event, &limit) == 0;
}

/* The one of this user that runs, or is still fresh; what is not goes. */
static struct lookup *find_lookup(uid_t uid, unsigned int *running)
{
	struct lookup *found = NULL, *next;
	unsigned int count = 0;
	int64_t now = now_ms();

	*running = 0;
	for (struct lookup *l = lookups; l; l = next) {
		next = l->next;
		if (l->fd >= 0)
			(*running)++;
		else if (l->until <= now || l->until > now + FRESH_MS || ++count > LOOKUPS_MAX) {
			free_lookup(l);
			continue;
		}
		if (l->uid == uid)
			found = l;
	}
	return found;
}

static struct lookup *new_lookup(struct broker *b, uid_t uid)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	*l = (struct lookup){ .next = lookups, .broker = b, .uid = uid, .fd = -1 };
	buffer_init(&l->answer, WIRE_MAX);
	lookups = l;
	if (start_lookup(l))
		return l;
	free_lookup(l);
	return NULL;
}

static void decide_by_groups(struct conn *conn)
{
	unsigned int running;
	struct lookup *l = find_lookup(conn->peer.uid, &running);

	if (l && l->fd < 0) {
		decide_with(conn, l);
		return;
	}
	if (!l && running < RUNNING_MAX)
		l = new_lookup(conn->broker, conn->peer.uid);
	if (!l) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "uid %u cannot be looked up just now", conn->peer.uid);
		return;
	}
	conn->lookup = l;
	conn->next_asker = l->askers;
	l->askers = conn;
	conn_wait(conn, CONN_LOOKUP, LOOKUP_MS);
}

/* --- the question ----------------------------------------------------------------------- */

/* It comes from a stranger, and goes into texts of one line. */
static bool is_line(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

void metadata_ask(struct conn *conn, struct reader *r)
{
	struct broker *b = conn->broker;
	struct question *q = calloc(1, sizeof(*q));
	uid_t uid = reader_u32(r);

	if (!q) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "out of memory");
		return;
	}
	conn->question = q;
	q->kind = reader_u8(r);
	reader_text(r, q->resource, sizeof(q->resource));
	reader_text(r, q->client_id, sizeof(q->client_id));
	if (!reader_done(r) || !is_line(q->resource) || !is_line(q->client_id) ||
		(q->kind != KEYFOB_KIND_ACCESS && q->kind != KEYFOB_KIND_ID)) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
		return;
	}
	conn->deadline = now_ms() + WAIT_MS;
	/* From here on it is his, and nothing that the asker is or has counts for it. */
	conn->peer = (struct ucred){ .pid = 0, .uid = uid, .gid = (gid_t)-1 };
	free(conn->groups);
	conn->groups = NULL;
	conn->group_count = 0;
	if (uid == 0 || uid == (uid_t)-1 || uid == b->fetch_uid) {
		if (request_may_log_denial(conn))
			log_warning("uid=%u event=denied via=metadata reason=\"%s\"", uid,
				uid == b->fetch_uid ? "a fetch may not ask" : "root is not served there");
		conn_reply_error(conn, KEYFOB_EDENIED, 0, "uid %u is not served as a metadata client", uid);
		return;
	}
	if (serve_is_crowded(b, uid)) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "uid %u has too many requests waiting", uid);
		return;
	}
	if (needs_groups(conn))
		decide_by_groups(conn);
	else
		decide(conn);
}

void metadata_leave(struct conn *conn)
{
	if (conn->lookup) {
		struct conn **at = &conn->lookup->askers;

		while (*at != conn)
			at = &(*at)->next_asker;
		*at = conn->next_asker;
	}
	free(conn->question);
}

void metadata_reloaded(void)
{
	struct lookup *next;

	for (struct lookup *l = lookups; l; l = next) {
		next = l->next;
		if (l->fd < 0)
			free_lookup(l);
	}
}

void metadata_stop(void)
{
	while (lookups)
		free_lookup(lookups);
}
