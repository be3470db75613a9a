/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: who is there, one request, one answer. All that waits here is
 * bounded, in all and for each user.
 */
#ifndef KEYFOB_METADATA_SERVE_H
#define KEYFOB_METADATA_SERVE_H

#include <event2/event.h>
#include <stddef.h>

struct server {
	struct event_base *base;
	const char *broker; /* its socket */
	int listener; /* TCP, on a loopback address; non-blocking */
	int diag; /* peer_open() */
	/* serve.c's */
	struct conn *conns;
	size_t count;
	struct guest *guests;
	struct event *listener_event, *listen_again;
};

/* Returns 0 or a negative errno. */
int serve_start(struct server *s);
void serve_stop(struct server *s);

#endif
