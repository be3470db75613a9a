/* SPDX-License-Identifier: Apache-2.0 */
/* What the sources of the azure module share. */
#ifndef KEYFOB_AZURE_H
#define KEYFOB_AZURE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"
#include "modules/http.h"
#include "modules/module.h"

/* How a user-assigned identity may be named: client_id=, object_id=, resource_id=. */
enum azure_id { AZURE_CLIENT_ID, AZURE_OBJECT_ID, AZURE_RESOURCE_ID, AZURE_IDS };

struct azure_identity {
	enum azure_id id;
	const char *value; /* NULL: the system-assigned identity */
};

/* A service that knows the identities of the machine it runs on. */
struct azure_service {
	const char *name; /* for messages: "IMDS" */
	const char *parameter[AZURE_IDS]; /* what it calls each id; NULL: it does not take that one */
	bool echo; /* it may be too old to heed an id: then the answer must repeat it */
	const struct http_status *statuses;
	size_t count;
};

/* The one identity of the provider line. False, and a failure in reply, when there are two or the service takes no such id. */
bool azure_identity(const struct keyfob_request *request, struct keyfob_reply *reply, const struct azure_service *service,
	struct azure_identity *identity);
/* Add resource, and the identity if there is one, to the URL. */
void azure_put_target(struct http_exchange *x, const struct keyfob_request *request, const struct azure_service *service,
	const struct azure_identity *identity);
/* Read an answer, of whatever status, into the reply. */
void azure_read(const struct http_exchange *x, const struct keyfob_request *request, const struct azure_service *service,
	const struct azure_identity *identity, struct keyfob_reply *reply);
/* Append a line without the line end after it. False when it is empty, has control characters or does not fit. */
bool azure_put_line(struct buffer *out, const void *data, size_t length);
/*
 * Append a secret option's content, without the line end after it. False,
 * and a failure in reply, when it is missing, empty, or has more than a line.
 */
bool azure_secret(const struct keyfob_request *request, struct keyfob_reply *reply, const char *name, struct buffer *out);

/* The sources. */
void azure_imds_obtain(const struct keyfob_request *request, struct keyfob_reply *reply);
void azure_appservice_obtain(const struct keyfob_request *request, struct keyfob_reply *reply);
void azure_arc_obtain(const struct keyfob_request *request, struct keyfob_reply *reply);
void azure_workload_obtain(const struct keyfob_request *request, struct keyfob_reply *reply);
void azure_secret_obtain(const struct keyfob_request *request, struct keyfob_reply *reply);
void azure_certificate_obtain(const struct keyfob_request *request, struct keyfob_reply *reply);

#endif
