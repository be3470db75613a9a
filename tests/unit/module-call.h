/* SPDX-License-Identifier: Apache-2.0 */
/* Call the one module that a test links, and keep what it tells. */
#ifndef MODULE_CALL_H
#define MODULE_CALL_H

#include <stdlib.h>

#include "modules/module.h"
#include "tests/unit/scripted-server.h"

#define CALL_SETTINGS 8

struct call {
	struct keyfob_setting settings[CALL_SETTINGS];
	size_t count;
	struct keyfob_request request;
	struct keyfob_reply reply;
	char endpoint[64];
};

static char call_told[16384];

static inline void call_tell(const char *line)
{
	size_t have = strlen(call_told);

	snprintf(call_told + have, sizeof(call_told) - have, "%s\n", line);
}

static inline void call_init(struct call *c, enum keyfob_kind kind, const char *resource)
{
	memset(c, 0, sizeof(*c));
	c->request = (struct keyfob_request){
		.credential = "test", .resource = resource, .kind = kind, .timeout = 5, .settings = c->settings, .tell = call_tell
	};
}

static inline void call_set(struct call *c, const char *name, const char *value)
{
	if (c->count == CALL_SETTINGS)
		abort();
	c->settings[c->count++] = (struct keyfob_setting){ name, value };
	c->request.count = c->count;
}

static inline void call_set_port(struct call *c, int port)
{
	snprintf(c->endpoint, sizeof(c->endpoint), "http://127.0.0.1:%d", port);
	call_set(c, "endpoint", c->endpoint);
}

static inline void call_obtain(struct call *c)
{
	call_told[0] = 0;
	memset(&c->reply, 0, sizeof(c->reply));
	keyfob_module.obtain(&c->request, &c->reply);
}

static inline void call_free(struct call *c)
{
	free(c->reply.token);
	c->reply.token = NULL;
}

/* Ask a server that gives this reply, and stop it: then server->request holds what it was asked. */
static inline void call_against(struct call *c, struct server *s, const char *reply)
{
	server_start(s, reply, reply ? strlen(reply) : 0);
	call_set_port(c, s->port);
	call_obtain(c);
	server_stop(s);
}

/* Every variable that may lead a program to a proxy, pointing at one that must see nobody. */
static inline void proxy_trap(struct server *trap)
{
	static const char *const names[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" };
	char url[64];

	server_start(trap, "HTTP/1.1 502 trapped\r\nContent-Length: 0\r\n\r\n", 45);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d", trap->port);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		setenv(names[i], url, 1);
}

#endif
