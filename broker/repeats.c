/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drivers do not say that a server refused a token: they come and ask again.
 * A process that had said nothing for a while, gets a token, and asks for the
 * same credential again seconds later was perhaps refused with it, so another
 * one is fetched for it. What looks alike and is not: a pool that starts (all
 * within the first second), and an application that asks all the time, which
 * counts once. Where it is guessed wrong that costs one fetch, at most one a
 * minute and credential.
 */
#include <string.h>

#include "broker/broker.h"
#include "common/log.h"

#define CLIENTS 256 /* remembered; the one that was silent longest is forgotten */
#define QUIET_MS 60000 /* after such a silence a client counts as a new one */
#define BURST_MS 1000
#define SOON_MS 15000
#define EVERY 60 /* seconds */

struct client {
	pid_t pid;
	uid_t uid;
	char credential[WIRE_NAME_MAX + 1];
	char token[9]; /* the fingerprint of what it was handed */
	int64_t first, last; /* ms since the epoch: when it was handed that, and the last word of it */
	bool counted; /* it has had its hint */
};

static struct client clients[CLIENTS];

static struct client *find(const struct conn *conn, const char *credential)
{
	for (size_t i = 0; i < CLIENTS; i++) {
		struct client *client = &clients[i];

		if (client->last && client->pid == conn->peer.pid && client->uid == conn->peer.uid &&
			strcmp(client->credential, credential) == 0)
			return client;
	}
	return NULL;
}

static bool is_quiet(const struct client *client, int64_t now)
{
	return now - client->last > QUIET_MS || now < client->last;
}

void repeat_handed(const struct conn *conn, const struct credential *c)
{
	struct client *client;
	int64_t now = now_ms();

	if (conn->peer.pid <= 0)
		return;
	client = find(conn, c->name);
	if (!client) {
		client = &clients[0];
		for (size_t i = 1; i < CLIENTS; i++)
			if (clients[i].last < client->last)
				client = &clients[i];
		*client = (struct client){ .pid = conn->peer.pid, .uid = conn->peer.uid };
		strcpy(client->credential, c->name);
	}
	if (is_quiet(client, now))
		client->counted = false;
	if (is_quiet(client, now) || strcmp(client->token, c->record.fingerprint) != 0) {
		client->first = now;
		memcpy(client->token, c->record.fingerprint, sizeof(client->token));
	}
	client->last = now;
}

bool repeat_hints_refusal(const struct conn *conn, struct credential *c)
{
	struct client *client = find(conn, c->name);
	int64_t now = now_ms();

	/* Processes outside this pid namespace have no number here, and all of them would look like one. */
	if (conn->peer.pid <= 0 || !client || is_quiet(client, now))
		return false;
	client->last = now;
	if (client->counted || now - client->first < BURST_MS || now - client->first > SOON_MS ||
		strcmp(client->token, c->record.fingerprint) != 0)
		return false;
	client->counted = true;
	if (c->last_repeat + EVERY > now_seconds())
		return false;
	c->last_repeat = now_seconds();
	log_notice("credential=%s uid=%u pid=%d event=asked-again token=#%s; another one is fetched, in case a server refused it", c->name,
		conn->peer.uid, conn->peer.pid, c->record.fingerprint);
	return true;
}
