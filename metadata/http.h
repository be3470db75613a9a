/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of HTTP as metadata clients speak (RFC 9112): one GET without a
 * body, version 1.0 or 1.1, and one answer, after which the connection ends.
 */
#ifndef KEYFOB_METADATA_HTTP_H
#define KEYFOB_METADATA_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"

#define HTTP_HEAD_MAX 8192 /* a request's first line and header fields */
#define HTTP_PARAMETERS 16
#define HTTP_BODY_MAX (256u << 10) /* a token and what it was asked for, each byte escaped */

struct http_request {
	const char *method;
	unsigned int minor; /* of HTTP/1.x */
	const char *path; /* decoded */
	const char *host; /* of the target, else of the field Host; NULL: not said */
	const char *metadata, *metadata_flavor; /* these fields; NULL: not there */
	bool forwarded; /* X-Forwarded-For is there */
	size_t count;
	struct {
		const char *name, *value; /* decoded */
	} parameter[HTTP_PARAMETERS];
};

struct http_answer {
	int status;
	bool google; /* in the manner of that service */
	const char *type; /* Content-Type */
	unsigned int retry_after; /* seconds, 0: not said */
	struct buffer body; /* the caller's to free */
};

/* Is a request's head whole? Returns its length with the empty line at its end, or 0. */
size_t http_head_length(const char *data, size_t length);
/*
 * Take a whole head apart, in place: what r points to lies in head, which is
 * changed. Returns NULL, or why it is refused.
 */
const char *http_parse(char *head, size_t length, struct http_request *r);
/* A parameter's value, or NULL. */
const char *http_parameter(const struct http_request *r, const char *name);
/* The first parameter that is there twice, or NULL. */
const char *http_repeated(const struct http_request *r);
/*
 * May that host be one of ours? An address or one of the names by which
 * clients know a metadata service: a page in a browser that has its own name
 * lead here (DNS rebinding) asks for another.
 */
bool http_host_is_ours(const struct http_request *r);

/* Append the answer as it goes out. */
bool http_put_answer(struct buffer *out, const struct http_request *r, const struct http_answer *answer);

#endif
