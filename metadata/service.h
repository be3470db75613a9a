/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two metadata services whose clients are served: what each takes, and
 * how it says what came of it. Nothing here waits or knows a connection.
 */
#ifndef KEYFOB_METADATA_SERVICE_H
#define KEYFOB_METADATA_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "metadata/http.h"
#include "modules/module.h"

#define SERVICE_RESOURCE_MAX 1024
#define SERVICE_CLIENT_ID_MAX 256

/* What the broker is to be asked for. The texts lie in the request. */
struct question {
	const struct service *service;
	enum keyfob_kind kind;
	const char *resource; /* "": any */
	char scopes[SERVICE_RESOURCE_MAX + 1]; /* where resource had to be put together */
	const char *client_id; /* "": not said */
};

/* What the broker said, or was said for it. */
struct reply {
	int error; /* 0 or enum keyfob_error */
	unsigned int retry; /* seconds, 0: not known */
	const char *text; /* of an error, for people */
	const char *token;
	uint64_t expires;
	const char *credential, *fingerprint;
};

struct service {
	bool google;
	/* Is this request meant for it? */
	bool (*is_mine)(const struct http_request *r);
	/* true: the question is filled in. false: there is an answer already. */
	bool (*take)(const struct http_request *r, struct question *q, struct http_answer *answer);
	/* The token that the broker gave at now. */
	void (*give)(const struct question *q, const struct reply *reply, uint64_t now, struct http_answer *answer);
	/* An error of this service, with a text for people. */
	void (*refuse)(struct http_answer *answer, int status, const char *text);
};

extern const struct service azure_service, google_service;

/* The service a request is meant for, or NULL. */
const struct service *service_of(const struct http_request *r);
/* The answer to a question, from what the broker said at now. */
void service_answer(const struct question *q, const struct reply *reply, uint64_t now, struct http_answer *answer);
/* Anything that belongs to neither, or is no request. */
void service_refuse_plain(struct http_answer *answer, int status, const char *text);

/* --- for the services --- */

/*
 * What all requests for a token must meet before the service looks: the
 * method, the rules against being led here from afar. false: refused.
 */
bool service_admits(const struct service *service, const struct http_request *r, struct http_answer *answer);

#endif
