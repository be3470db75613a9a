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
	char token[9]; /* the fingerprint of what it was handed first */
	int64_t first, last; /* ms since the epoch */
	bool counted; /* it has had its hint */
};

static struct client clients[CLIENTS];

static struct client *find(const struct conn *conn, const char *credential)
{
	struct client *oldest = &clients[0];

	for (size_t i = 0; i < CLIENTS; i++) {
		struct client *client = &clients[i];

		if (client->last && client->pid == conn->peer.pid && client->uid == conn->peer.uid &&
			strcmp(client->credential, credential) == 0)
			return client;
		if (client->last < oldest->last)
			oldest = client;
	}
	memset(oldest, 0, sizeof(*oldest));
	oldest->pid = conn->peer.pid;
	oldest->uid = conn->peer.uid;
	strcpy(oldest->credential, credential);
	return oldest;
}

bool repeat_hints_refusal(const struct conn *conn, struct credential *c)
{
	struct client *client;
	int64_t now = now_ms();

	/* A process outside this pid namespace has no number here, and all of them would look like one. */
	if (conn->peer.pid <= 0)
		return false;
	client = find(conn, c->name);
	if (now - client->last > QUIET_MS || now < client->last) {
		client->first = now;
		client->counted = false;
		memcpy(client->token, c->record.fingerprint, sizeof(client->token));
	}
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
