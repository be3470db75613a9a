/* SPDX-License-Identifier: Apache-2.0 */
/* Who may have a credential, who has a copy of it, and taking it back from whom it is no longer meant for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/launcher.h"
#include "common/log.h"

#define REPAIRS_PER_MINUTE 6
#define CHECK_BATCH 16 /* users per question: an answer of many groups must fit a frame */

/* --- users and readers: sorted by uid --------------------------------------------- */

struct user *user_of(struct broker *b, uid_t uid)
{
	size_t low = 0, high = b->user_count;
	struct user *grown;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (b->users[middle].uid == uid)
			return &b->users[middle];
		if (b->users[middle].uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	grown = reallocarray(b->users, b->user_count + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	b->users = grown;
	memmove(grown + low + 1, grown + low, (b->user_count++ - low) * sizeof(*grown));
	grown[low] = (struct user){ .uid = uid };
	return &grown[low];
}

struct reader_state *reader_of(struct credential *c, uid_t uid, bool make)
{
	size_t low = 0, high = c->reader_count;
	struct reader_state *grown;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (c->readers[middle].uid == uid)
			return &c->readers[middle];
		if (c->readers[middle].uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	if (!make)
		return NULL;
	grown = reallocarray(c->readers, c->reader_count + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	c->readers = grown;
	memmove(grown + low + 1, grown + low, (c->reader_count++ - low) * sizeof(*grown));
	grown[low] = (struct reader_state){ .uid = uid, .group = POLICY_BY_NAME };
	return &grown[low];
}

static void remove_reader(struct credential *c, struct reader_state *reader)
{
	size_t at = (size_t)(reader - c->readers);

	memmove(reader, reader + 1, (--c->reader_count - at) * sizeof(*reader));
}

/* --- what is remembered over a restart ----------------------------------------------- */

void readers_adopt(struct credential *c)
{
	struct store_asker *askers = calloc(STORE_ASKERS_MAX, sizeof(*askers));
	int count = askers ? store_get_asked(&c->broker->store, c->name, askers, STORE_ASKERS_MAX) : 0;

	for (int i = 0; i < count; i++) {
		struct reader_state *reader = reader_of(c, askers[i].uid, true);

		if (reader)
			reader->asked = askers[i].when;
	}
	free(askers);
}

void readers_save(struct credential *c)
{
	struct store_asker *askers = calloc(c->reader_count + 1, sizeof(*askers));
	size_t count = 0;
	int error;

	for (size_t i = 0; askers && i < c->reader_count; i++)
		if (c->readers[i].asked)
			askers[count++] = (struct store_asker){ c->readers[i].uid, c->readers[i].asked };
	error = askers ? store_put_asked(&c->broker->store, c->name, askers, count, ASKED_DAYS * 86400) : -ENOMEM;
	if (error < 0)
		log_warning(
			"credential=%s event=store-failed error=\"%s\"; who asked is forgotten at a restart", c->name, strerror(-error));
	c->asked_saved = now_seconds();
	free(askers);
}

/* --- copies --------------------------------------------------------------------------- */

static bool may_repair(struct user *user)
{
	uint64_t minute = now_seconds() / 60;

	if (user->repair_minute != minute) {
		user->repair_minute = minute;
		user->repairs = 0;
	}
	return ++user->repairs <= REPAIRS_PER_MINUTE;
}

bool reader_publish(struct credential *c, struct reader_state *reader, bool repair)
{
	struct user *user = user_of(c->broker, reader->uid);
	uint64_t now = now_seconds();

	if (!user || c->policy->store == POLICY_STORE_SOCKET || policy_uid_is_recycled(reader->uid) || c->held.length ||
		user->slow_until > now || !credential_is_valid(c)) {
		reader->state = reader->asked ? WIRE_READER_SOCKET : WIRE_READER_NONE;
		return false;
	}
	/* He asks by socket although he has a copy: he lost it, or cannot see it. */
	repair = repair && reader->state == WIRE_READER_COPY;
	if (repair && !may_repair(user))
		return false;
	publish_put(c->name, reader->uid, repair || reader->state == WIRE_READER_NONE || user->linked_at + 86400 < now);
	return true;
}

void readers_publish(struct credential *c)
{
	uint64_t now = now_seconds();

	for (size_t i = 0; i < c->reader_count; i++)
		if (policy_names_user(c->policy, c->readers[i].uid) || c->readers[i].asked + ASKED_DAYS * 86400 > now)
			reader_publish(c, &c->readers[i], false);
}

void readers_relink(struct broker *b)
{
	for (size_t i = 0; i < b->user_count; i++)
		b->users[i].linked_at = 0;
	for (size_t i = 0; i < b->count; i++)
		if (credential_is_valid(b->credentials[i]))
			readers_publish(b->credentials[i]);
}

static void revoke_reader(struct credential *c, struct reader_state *reader, const char *why)
{
	uid_t uid = reader->uid;

	log_notice("credential=%s uid=%u event=revoked reason=\"%s\"", c->name, reader->uid, why);
	publish_lock();
	sweep_after(c->broker, store_revoke_copy(&c->broker->store, uid, c->name));
	publish_unlock();
	remove_reader(c, reader);
	files_reader_changed(c, uid);
}

/* --- looking group members up again ------------------------------------------------------ */

/* One question at a time to the launcher, each about a few users. */
static struct {
	struct broker *broker;
	uid_t *uids;
	size_t count, at;
	size_t batch, at_batch; /* how many are asked about at once, and from where */
	unsigned int round;
	int fd;
	struct event *event;
	struct buffer answer;
} check = { .fd = -1 };

static void ask_next(void);

static void end_check(void)
{
	if (check.event)
		event_free(check.event);
	if (check.fd >= 0)
		close(check.fd);
	free(check.uids);
	buffer_free(&check.answer);
	check.event = NULL;
	check.uids = NULL;
	check.fd = -1;
}

static void judge(uid_t uid, bool found, const gid_t *groups, size_t count)
{
	struct broker *b = check.broker;

	for (size_t i = 0; i < b->count; i++) {
		struct credential *c = b->credentials[i];
		struct reader_state *reader = reader_of(c, uid, false);

		if (!reader)
			continue;
		reader->group = policy_group_of(c->policy, uid, groups, count);
		if (reader->group == POLICY_SOME_GROUP)
			revoke_reader(c, reader, found ? "not in an allowed group any more" : "there is no such user any more");
	}
}

static bool take_answer(void)
{
	struct reader r;
	uint32_t asked;

	reader_init(&r, check.answer.data, check.answer.length);
	asked = reader_u32(&r);
	for (uint32_t i = 0; i < asked && check.at < check.count; i++) {
		uid_t uid = check.uids[check.at++];
		struct user *user = user_of(check.broker, uid);
		bool found = reader_u8(&r) == 1;
		const uint8_t *name;
		size_t length;
		uint32_t count = 0;
		gid_t *groups;

		if (found) {
			name = reader_string(&r, &length);
			count = reader_u32(&r);
			if (user && name)
				snprintf(user->name, sizeof(user->name), "%.*s", (int)length, (const char *)name);
		}
		if (r.failed || count > r.left / 4)
			return false;
		groups = calloc((size_t)count + 1, sizeof(*groups));
		for (uint32_t j = 0; j < count; j++) {
			uint32_t group = reader_u32(&r);

			if (groups)
				groups[j] = group;
		}
		if (!groups)
			return false;
		judge(uid, found, groups, count);
		free(groups);
	}
	return !r.failed;
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	uint8_t *to = buffer_reserve(&check.answer, 4096);
	ssize_t got = what & EV_TIMEOUT ? -1 : to ? read((int)fd, to, 4096) : -1;

	(void)arg;
	if (got > 0) {
		check.answer.length += (size_t)got;
		return;
	}
	event_free(check.event);
	close(check.fd);
	check.event = NULL;
	check.fd = -1;
	if (got < 0 || !take_answer()) {
		/* One user's answer may be too long, or his directory away: the others are asked one by one. */
		if (check.batch == 1) {
			log_warning("uid=%u event=lookup-failed; his groups stay as they were", check.uids[check.at_batch]);
			check.at = check.at_batch + 1;
		} else {
			check.at = check.at_batch;
		}
		check.batch = 1;
	}
	ask_next();
}

static void ask_next(void)
{
	struct timeval limit = { .tv_sec = 15 };
	struct buffer request;
	size_t count = check.count - check.at < check.batch ? check.count - check.at : check.batch;
	char uid[16];
	int error;

	if (count == 0) {
		end_check();
		return;
	}
	check.at_batch = check.at;
	buffer_free(&check.answer);
	buffer_init(&check.answer, WIRE_MAX);
	buffer_init(&request, WIRE_MAX);
	buffer_put_u8(&request, LAUNCHER_LOOKUP);
	buffer_put_u32(&request, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		snprintf(uid, sizeof(uid), "%u", check.uids[check.at + i]);
		buffer_put_u8(&request, LAUNCHER_NAME_GROUPS);
		buffer_put_text(&request, uid);
	}
	error = launcher_send(check.broker->launcher, &request, &check.fd);
	buffer_free(&request);
	if (error == 0)
		check.event = event_new(check.broker->base, check.fd, EV_READ | EV_PERSIST, on_answer, NULL);
	if (error < 0 || !check.event || event_add(check.event, &limit) < 0) {
		log_warning("event=lookup-failed; group members stay as they were");
		end_check();
	}
}

static void list(struct broker *b, uid_t uid)
{
	struct user *user = user_of(b, uid);

	if (!user || !check.uids || user->listed == check.round)
		return;
	user->listed = check.round;
	check.uids[check.count++] = uid;
}

/* Named users are made readers, strangers go at once, and those who came through a group are asked about. */
static void sort_out(struct credential *c)
{
	bool has_groups = false;

	for (size_t i = 0; i < c->policy->rule_count; i++) {
		has_groups = has_groups || c->policy->rules[i].is_group;
		if (!c->policy->rules[i].is_group)
			reader_of(c, c->policy->rules[i].id, true);
	}
	for (size_t i = 0; i < c->reader_count;) {
		struct reader_state *reader = &c->readers[i];

		if (policy_allows(c->policy, reader->uid, NULL, 0))
			reader->group = POLICY_BY_NAME;
		else if (reader->group == POLICY_BY_NAME)
			reader->group = POLICY_SOME_GROUP;
		if (reader->group != POLICY_BY_NAME && !has_groups) {
			revoke_reader(c, reader, "not allowed any more");
			continue;
		}
		if (reader->group != POLICY_BY_NAME)
			list(c->broker, reader->uid);
		i++;
	}
}

void readers_check(struct broker *b)
{
	size_t most = 0;

	/* One that still runs starts over: it may not know of everybody. */
	if (check.uids)
		end_check();
	for (size_t i = 0; i < b->count; i++)
		most += b->credentials[i]->reader_count;
	check.broker = b;
	check.count = check.at = 0;
	check.batch = CHECK_BATCH;
	check.round++;
	check.uids = calloc(most + 1, sizeof(*check.uids));
	for (size_t i = 0; i < b->count; i++)
		sort_out(b->credentials[i]);
	ask_next();
}

bool readers_need_check(const struct broker *b)
{
	for (size_t i = 0; i < b->count; i++)
		for (size_t j = 0; j < b->credentials[i]->reader_count; j++)
			if (b->credentials[i]->readers[j].group != POLICY_BY_NAME)
				return true;
	return false;
}

void readers_stop(struct broker *b)
{
	end_check();
	free(b->users);
	b->users = NULL;
	b->user_count = 0;
}
