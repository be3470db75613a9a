/* SPDX-License-Identifier: Apache-2.0 */
/* What `keyfob status` is told. The layout is in common/wire.h. */
#include <stdio.h>
#include <string.h>

#include "broker/broker.h"

#define READERS_TOLD 256 /* a frame has room for so much; the rest is a number */
#define ENTRY_ROOM 16384

static int64_t boot_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void status_begin(struct broker *b)
{
	b->began = boot_ms();
}

static void put_reader(struct buffer *list, uint32_t *count, const char *name, uint8_t state)
{
	if (*count == READERS_TOLD)
		return;
	buffer_put_text(list, name);
	buffer_put_u8(list, state);
	++*count;
}

static void put_user(struct buffer *list, uint32_t *count, const struct credential *c, const struct reader_state *reader)
{
	const struct user *user = user_of(c->broker, reader->uid);
	char name[80];

	snprintf(name, sizeof(name), "%u", reader->uid);
	if (user && *user->name)
		snprintf(name, sizeof(name), "%s", user->name);
	for (size_t i = 0; i < c->policy->rule_count; i++)
		if (!c->policy->rules[i].is_group && c->policy->rules[i].id == reader->uid)
			snprintf(name, sizeof(name), "%.60s", c->policy->rules[i].name);
	put_reader(list, count, reader->uid == 0 ? "root" : name,
		(uint8_t)(policy_has_file(c->policy) && user && user->files_failures ? WIRE_READER_NO_FILE : reader->state));
}

/* Users, groups, and the ways by which nobody is known by name. */
static void put_all(struct buffer *list, uint32_t *count, const struct credential *c)
{
	const struct policy_credential *p = c->policy;
	char text[WIRE_TEXT_MAX];

	for (size_t i = 0; i < c->reader_count && *count < READERS_TOLD; i++)
		put_user(list, count, c, &c->readers[i]);
	for (size_t i = 0; i < p->rule_count; i++) {
		if (!p->rules[i].is_group)
			continue;
		snprintf(text, sizeof(text), "@%.60s", p->rules[i].name);
		put_reader(list, count, text, WIRE_READER_NONE);
	}
	if (p->socket.user) {
		snprintf(text, sizeof(text), "%.900s/credential/%s.sock", c->broker->run_dir, c->name);
		put_reader(list, count, text, c->socket_asked ? WIRE_READER_SOCKET : WIRE_READER_NONE);
	}
	if (p->has_raw_file) {
		snprintf(text, sizeof(text), "%.900s/token/*/%s", c->broker->run_dir, c->name);
		put_reader(list, count, text, WIRE_READER_NONE);
	}
	if (p->pgpass_count) {
		snprintf(text, sizeof(text), "%.900s/token/*/" POLICY_PGPASS, c->broker->run_dir);
		put_reader(list, count, text, WIRE_READER_NONE);
	}
	if (p->metadata)
		put_reader(list, count, "metadata", c->metadata_asked ? WIRE_READER_SOCKET : WIRE_READER_NONE);
}

static void put_readers(struct buffer *b, const struct credential *c, bool all)
{
	uint32_t count = 0;
	struct buffer list;

	buffer_init(&list, ENTRY_ROOM);
	if (all)
		put_all(&list, &count, c);
	buffer_put_u32(b, list.failed ? 0 : count);
	if (!list.failed)
		buffer_put(b, list.data, list.length);
	buffer_free(&list);
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
	char mismatch[WIRE_TEXT_MAX];

	find_mismatch(c, mismatch, sizeof(mismatch));
	buffer_put_text(b, c->name);
	buffer_put_text(b, p->description);
	buffer_put_text(b, p->providers[0].line);
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
	buffer_put_text(b, c->error.text);
	buffer_put_text(b, c->record.issuer);
	buffer_put_text(b, c->record.audience);
	buffer_put_text(b, c->record.subject);
	buffer_put_text(b, p->identity_provider);
	buffer_put_text(b, mismatch);
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
