/* SPDX-License-Identifier: Apache-2.0 */
/* What `keyfob status` is told. The layout is in common/wire.h. */
#include <stdio.h>
#include <string.h>

#include "broker/broker.h"

#define READERS_TOLD 256
#define NAMED_TOLD 128 /* of these, so that groups and sockets are told too */
#define ENTRY_ROOM 16384

void status_begin(struct broker *b)
{
	b->began = boot_ms();
}

/* Those who are told, as long as there is room in a frame; of the rest the groups' numbers tell. */
struct readers {
	struct buffer list;
	uint32_t count;
};

static void put_reader(struct readers *to, const char *name, uint8_t state, uint32_t asked, const char *group)
{
	if (to->count == READERS_TOLD || to->list.length + strlen(name) + strlen(group) + 13 > ENTRY_ROOM)
		return;
	buffer_put_text(&to->list, name);
	buffer_put_u8(&to->list, state);
	buffer_put_u32(&to->list, asked);
	buffer_put_text(&to->list, group);
	to->count++;
}

static bool has_asked(const struct reader_state *reader)
{
	return reader->asked + ASKED_DAYS * 86400 > now_seconds();
}

static void put_user(struct readers *to, const struct credential *c, const struct reader_state *reader)
{
	const struct user *user = user_of(c->broker, reader->uid);
	char name[80], group[80] = "";

	snprintf(name, sizeof(name), "%u", reader->uid);
	if (user && *user->name)
		snprintf(name, sizeof(name), "%s", user->name);
	for (size_t i = 0; i < c->policy->rule_count; i++) {
		const struct policy_rule *rule = &c->policy->rules[i];

		if (!rule->is_group && rule->id == reader->uid)
			snprintf(name, sizeof(name), "%.60s", rule->name);
		if (rule->is_group && rule->id == reader->group)
			snprintf(group, sizeof(group), "@%.60s", rule->name);
	}
	put_reader(to, reader->uid == 0 ? "root" : name,
		(uint8_t)(policy_has_file(c->policy) && user && user->files_failures ? WIRE_READER_NO_FILE : reader->state),
		has_asked(reader), group);
}

static void put_group(struct readers *to, const struct credential *c, const struct policy_rule *rule)
{
	uint32_t asked = 0;
	char text[80];

	for (size_t i = 0; i < c->reader_count; i++)
		asked += c->readers[i].group == rule->id && has_asked(&c->readers[i]);
	snprintf(text, sizeof(text), "@%.60s", rule->name);
	put_reader(to, text, WIRE_READER_NONE, asked, "");
}

/* The ways by which nobody is known by name. */
static void put_doors(struct readers *to, const struct credential *c)
{
	const struct policy_credential *p = c->policy;
	char text[WIRE_TEXT_MAX];

	if (p->socket.user) {
		snprintf(text, sizeof(text), "%.900s/credential/%s.sock", c->broker->run_dir, c->name);
		put_reader(to, text, c->socket_asked ? WIRE_READER_SOCKET : WIRE_READER_NONE, c->socket_asked != 0, "");
	}
	if (p->has_raw_file) {
		snprintf(text, sizeof(text), "%.900s/token/*/%s", c->broker->run_dir, c->name);
		put_reader(to, text, WIRE_READER_NONE, 0, "");
	}
	if (p->pgpass_count) {
		snprintf(text, sizeof(text), "%.900s/token/*/" POLICY_PGPASS, c->broker->run_dir);
		put_reader(to, text, WIRE_READER_NONE, 0, "");
	}
	if (p->metadata)
		put_reader(to, "metadata", c->metadata_asked ? WIRE_READER_SOCKET : WIRE_READER_NONE, c->metadata_asked, "");
}

/* Those who are named, groups, and the ways; then those who came through a group. */
static void put_all(struct readers *to, const struct credential *c)
{
	for (size_t i = 0; i < c->reader_count && to->count < NAMED_TOLD; i++)
		if (c->readers[i].group == POLICY_BY_NAME)
			put_user(to, c, &c->readers[i]);
	for (size_t i = 0; i < c->policy->rule_count; i++)
		if (c->policy->rules[i].is_group)
			put_group(to, c, &c->policy->rules[i]);
	put_doors(to, c);
	for (size_t i = 0; i < c->reader_count && to->count < READERS_TOLD; i++)
		if (c->readers[i].group != POLICY_BY_NAME)
			put_user(to, c, &c->readers[i]);
}

static void put_readers(struct buffer *b, const struct credential *c, bool all)
{
	struct readers readers = { .count = 0 };

	buffer_init(&readers.list, ENTRY_ROOM);
	if (all)
		put_all(&readers, c);
	buffer_put_u32(b, readers.list.failed ? 0 : readers.count);
	if (!readers.list.failed)
		buffer_put(b, readers.list.data, readers.list.length);
	buffer_free(&readers.list);
}

/* Is it one of the audiences that a record holds, ", " between them? */
static bool has_audience(const char *audiences, const char *wanted)
{
	size_t length = strlen(wanted);
	const char *at = audiences;

	if (strcmp(audiences, wanted) == 0)
		return true;
	while (at) {
		if (strncmp(at, wanted, length) == 0 && (at[length] == 0 || strncmp(at + length, ", ", 2) == 0))
			return true;
		at = strstr(at, ", ");
		at = at ? at + 2 : NULL;
	}
	return false;
}

/* A record has room for so much of a claim; of one that fills it nobody knows how it goes on. */
static bool is_cut(const char *claim)
{
	return strlen(claim) + 1 == sizeof(((struct store_record *)NULL)->issuer);
}

/* Why the identity provider that is to judge the token would refuse it; "" when it would not, or nobody knows. */
static void find_mismatch(const struct credential *c, char *out, size_t size)
{
	const struct store_record *record = &c->record;
	const char *name = c->policy->identity_provider;
	const struct federation_provider *p = name ? federation_provider(&c->broker->policy->federation, name) : NULL;

	out[0] = 0;
	if (!p || !c->has_token)
		return;
	if (!*record->issuer || !*record->audience)
		snprintf(out, size, "it is no JWT that names iss and aud");
	else if (!is_cut(record->issuer) && !federation_is_issuer(p, record->issuer))
		snprintf(out, size, "iss is %s, %s wants %s", record->issuer, name, p->issuer);
	else if (!is_cut(record->audience) && !has_audience(record->audience, p->audience))
		snprintf(out, size, "aud is %s, %s wants %s", record->audience, name, p->audience);
}

static void put_credential(struct buffer *b, const struct credential *c, bool root)
{
	const struct policy_credential *p = c->policy;
	size_t line = c->has_token && c->gave <= p->provider_count ? c->gave : 0;
	char mismatch[WIRE_TEXT_MAX];

	/* Of one nobody need be in doubt. */
	if (p->provider_count == 1)
		line = 1;
	find_mismatch(c, mismatch, sizeof(mismatch));
	buffer_put_text(b, c->name);
	buffer_put_text(b, p->description);
	buffer_put_text(b, p->providers[line ? line - 1 : 0].line);
	buffer_put_text(b, p->resource);
	buffer_put_u8(b, (uint8_t)credential_state(c));
	buffer_put_u8(b, p->kind == KEYFOB_KIND_DEFAULT ? p->providers[0].kind : p->kind);
	buffer_put_u64(b, c->has_token ? c->record.expires : 0);
	buffer_put_u64(b, c->has_token ? c->record.refresh : c->next_try > 0 ? (uint64_t)c->next_try / 1000 : 0);
	buffer_put_u64(b, c->has_token ? c->record.fetched : 0);
	buffer_put_u64(b, c->fetches);
	buffer_put_u64(b, c->failures);
	buffer_put_u64(b, c->failed_at);
	buffer_put_text(b, c->has_token ? c->record.fingerprint : "");
	buffer_put_text(b, credential_error(c)->text);
	buffer_put_text(b, c->record.issuer);
	buffer_put_text(b, c->record.audience);
	buffer_put_text(b, c->record.subject);
	buffer_put_text(b, p->identity_provider);
	buffer_put_text(b, mismatch);
	buffer_put_u32(b, (uint32_t)line);
	buffer_put_u32(b, (uint32_t)p->provider_count);
	buffer_put_text(b, c->failures ? failure_class_name(c->failed_class) : "");
	put_readers(b, c, root);
}

void status_reply(struct broker *b, struct conn *conn, const char *name, const char *after, struct buffer *reply)
{
	size_t more_at = reply->length;

	buffer_put_u8(reply, 0);
	buffer_put_text(reply, KEYFOB_VERSION);
	buffer_put_u64(reply, (uint64_t)(now_ms() - (boot_ms() - b->began)) / 1000);
	for (size_t i = 0; i < b->count; i++) {
		const struct credential *c = b->credentials[i];
		struct buffer entry;
		bool full;

		if ((*name && strcmp(name, c->name) != 0) || (*after && strcmp(c->name, after) <= 0) ||
			!policy_allows(c->policy, conn->peer.uid, conn->groups, conn->group_count))
			continue;
		buffer_init(&entry, 2 * ENTRY_ROOM);
		put_credential(&entry, c, request_is_masters(conn));
		full = reply->length + entry.length > WIRE_MAX;
		if (full)
			reply->data[more_at] = 1;
		else
			buffer_put(reply, entry.data, entry.length);
		buffer_free(&entry);
		if (full)
			return;
	}
}
