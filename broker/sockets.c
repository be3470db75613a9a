/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials' own sockets: streams, on which whoever may connect reads the
 * token to its end. Owner, group and mode of the socket are the policy there,
 * so it needs no client that knows of keyfob. The launcher makes them.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/launcher.h"
#include "common/log.h"

#define AGAIN_MS 10000

static int64_t again; /* ms since the epoch: one could not be made; 0: all are there */

static void on_connection(evutil_socket_t listener, short what, void *arg)
{
	struct credential *c = arg;

	(void)what;
	serve_accept(c->broker, (int)listener, c);
}

static bool is_as_configured(const struct credential *c)
{
	const struct policy_socket *p = &c->policy->socket;

	return c->socket_uid == p->uid && c->socket_gid == p->gid && c->socket_mode == p->mode;
}

void socket_forget(struct credential *c)
{
	if (c->socket_event)
		event_free(c->socket_event);
	if (c->socket >= 0)
		close(c->socket);
	c->socket_event = NULL;
	c->socket = -1;
}

static void try_again(struct credential *c, const char *why)
{
	log_error("credential=%s event=socket-failed error=\"%s\"; tried again in %d s", c->name, why, AGAIN_MS / 1000);
	again = now_ms() + AGAIN_MS;
	schedule_arm(c->broker);
}

static void open_socket(struct credential *c)
{
	const struct policy_socket *p = &c->policy->socket;
	char why[256];

	if (launcher_socket(c->broker->launcher, c->name, p->uid, p->gid, p->mode, &c->socket, why, sizeof(why)) < 0) {
		try_again(c, why);
		return;
	}
	wire_refuse_descriptors(c->socket);
	c->socket_event = event_new(c->broker->base, c->socket, EV_READ | EV_PERSIST, on_connection, c);
	c->socket_uid = p->uid;
	c->socket_gid = p->gid;
	c->socket_mode = p->mode;
	if (!c->socket_event || event_add(c->socket_event, NULL) < 0) {
		socket_forget(c);
		try_again(c, "out of memory");
	}
}

void socket_close(struct credential *c)
{
	char why[256];
	int none;

	if (c->socket < 0)
		return;
	serve_end_door(c);
	socket_forget(c);
	if (launcher_socket(c->broker->launcher, c->name, 0, 0, 0, &none, why, sizeof(why)) < 0)
		log_warning("credential=%s event=socket-failed error=\"%s\"; nobody listens there any more", c->name, why);
}

void sockets_reloaded(struct broker *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct credential *c = b->credentials[i];
		bool wanted = c->policy->socket.user;

		if (c->socket >= 0 && (!wanted || !is_as_configured(c)))
			socket_close(c);
		if (wanted && c->socket < 0)
			open_socket(c);
	}
}

int64_t sockets_due(void)
{
	/* The clock was set back. */
	if (again > now_ms() + AGAIN_MS)
		again = now_ms();
	return again ? again : INT64_MAX;
}

void sockets_tick(struct broker *b)
{
	if (sockets_due() > now_ms())
		return;
	again = 0;
	sockets_reloaded(b);
}

void sockets_pause(struct broker *b, bool on)
{
	for (size_t i = 0; i < b->count; i++) {
		struct event *event = b->credentials[i]->socket_event;

		if (event && on) {
			event_del(event);
		} else if (event && event_add(event, NULL) < 0) {
			socket_forget(b->credentials[i]);
			try_again(b->credentials[i], "out of memory");
		}
	}
}
