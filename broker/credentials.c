/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of credentials: found by name, adopted from the keyring at start,
 * and brought into line with a new configuration while they live.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "common/log.h"

struct credential *credential_find(struct broker *b, const char *name)
{
	size_t low = 0, high = b->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strcmp(name, b->credentials[middle]->name);

		if (order == 0)
			return b->credentials[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static struct credential *new_credential(struct broker *b, const struct policy_credential *policy)
{
	struct credential *c = calloc(1, sizeof(*c));

	if (!c || !(c->name = strdup(policy->name))) {
		free(c);
		return NULL;
	}
	c->broker = b;
	c->policy = policy;
	c->socket = -1;
	c->files_until = INT64_MAX;
	buffer_init(&c->held, WIRE_TOKEN_MAX);
	return c;
}

static void free_credential(struct credential *c)
{
	if (c->fetch)
		fetch_cancel(c->fetch);
	socket_forget(c);
	store_record_free(&c->record);
	buffer_free(&c->held);
	failure_forget(&c->error);
	failure_forget(&c->pass);
	free(c->readers);
	free(c->name);
	free(c);
}

/* A token from before the restart, if it was fetched by what stands in the configuration today. */
static void adopt(struct credential *c)
{
	struct buffer token;
	int error;

	buffer_init(&token, WIRE_TOKEN_MAX + 2048);
	error = store_get_master(&c->broker->store, c->name, &token, &c->record);
	readers_adopt(c);
	c->has_token = error == 0;
	if (error == 0 && (strcmp(c->record.definition, c->policy->definition) != 0 || !credential_is_valid(c)))
		credential_drop(c, "its definition has changed");
	else if (error == 0)
		log_info("credential=%s event=adopted token=#%s expires=%" PRIu64, c->name, c->record.fingerprint, c->record.expires);
	buffer_free(&token);
}

static void remove_credential(struct credential *c)
{
	struct conn *conn = c->waiters, *next;

	socket_close(c);
	credential_drop(c, "it is not configured any more");
	sweep_after(c->broker, store_put_asked(&c->broker->store, c->name, NULL, 0, 0));
	for (; conn; conn = next) {
		next = conn->next_waiter;
		conn->credential = NULL;
		conn_reply_error(conn, KEYFOB_ENOCRED, 0, "the credential was removed");
	}
	free_credential(c);
}

static void revoke_stray_master(void *arg, const char *name)
{
	struct broker *b = arg;

	if (credential_find(b, name))
		return;
	log_notice("credential=%s event=dropped reason=\"it is not configured any more\"", name);
	sweep_after(b, store_revoke_master(&b->store, name));
	sweep_after(b, store_put_asked(&b->store, name, NULL, 0, 0));
}

static void adopt_copy(void *arg, uid_t uid, const char *name)
{
	struct broker *b = arg;
	struct credential *c = credential_find(b, name);

	if (!c)
		sweep_after(b, store_revoke_copy(&b->store, uid, name));
	else
		reader_of(c, uid, true);
}

/* Of each credential of the policy the one there is, or a new one. NULL: no memory. */
static struct credential **list_of(struct broker *b, const struct policy *policy)
{
	struct credential **list = calloc(policy->count + 1, sizeof(*list));
	size_t i = 0;

	for (; list && i < policy->count; i++) {
		list[i] = credential_find(b, policy->credentials[i].name);
		if (!list[i])
			list[i] = new_credential(b, &policy->credentials[i]);
		if (!list[i])
			break;
	}
	if (!list || i == policy->count)
		return list;
	while (i-- > 0)
		if (!credential_find(b, list[i]->name))
			free_credential(list[i]);
	free(list);
	return NULL;
}

bool credential_apply_policy(struct broker *b, struct policy *policy)
{
	struct credential **list = list_of(b, policy), **old_list = b->credentials;
	struct policy *old_policy = b->policy;
	size_t old_count = b->count;

	if (!list) {
		policy_free(policy);
		return false;
	}
	publish_flush();
	b->credentials = list;
	b->count = policy->count;
	b->policy = policy;
	for (size_t i = 0; i < old_count; i++) {
		struct credential *c = old_list[i];
		const struct policy_credential *now = policy_find(policy, c->name);

		c->waits_for = NULL;
		/* A fetch that runs reads the old policy. Who waits for it waits for the next. */
		if (c->fetch) {
			fetch_cancel(c->fetch);
			c->fetch = NULL;
		}
		if (!now) {
			remove_credential(c);
			continue;
		}
		if (strcmp(now->definition, c->policy->definition) != 0)
			credential_drop(c, "its definition has changed");
		else if (now->store == POLICY_STORE_SOCKET && c->policy->store != POLICY_STORE_SOCKET)
			credential_revoke_copies(c);
		c->policy = now;
	}
	if (!old_policy) {
		for (size_t i = 0; i < b->count; i++)
			adopt(b->credentials[i]);
		sweep_after(b, store_each_credential(&b->store, revoke_stray_master, b));
		sweep_after(b, store_each_copy(&b->store, adopt_copy, b));
	}
	serve_reloaded(b);
	free(old_list);
	policy_free(old_policy);
	readers_check(b);
	for (size_t i = 0; i < b->count; i++)
		if (credential_is_valid(b->credentials[i]))
			readers_publish(b->credentials[i]);
	files_reloaded(b);
	sockets_reloaded(b);
	return true;
}

void credential_free_all(struct broker *b)
{
	for (size_t i = 0; i < b->count; i++)
		free_credential(b->credentials[i]);
	free(b->credentials);
	b->credentials = NULL;
	b->count = 0;
}
