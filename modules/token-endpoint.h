/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OAuth 2.0 token endpoint: the form that is posted, the reply that is
 * read, the error that is classified (RFC 6749 sections 4.4, 5.1, 5.2).
 */
#ifndef KEYFOB_TOKEN_ENDPOINT_H
#define KEYFOB_TOKEN_ENDPOINT_H

#include <stdbool.h>

#include "common/buffer.h"
#include "modules/module.h"

/* Vendor error codes in words: the first row whose text occurs in the error's code or description. */
struct token_advice {
	const char *part;
	enum keyfob_class class;
	const char *advice;
};

struct token_endpoint {
	const char *service; /* whom, for messages: "Entra" */
	const char *origin, *path; /* https://HOST[:PORT] and /PATH; endpoint= replaces the origin */
	const char *authorization; /* the value of an Authorization header, or NULL. Wiped by the caller */
	const char *field; /* the reply's member that holds the token; NULL: access_token, or id_token by request->kind */
	const struct token_advice *advice; /* ends with part NULL; may be NULL */
};

/* Append "name=value" to a form, percent-encoded (application/x-www-form-urlencoded), with "&" where needed. */
bool token_form_add(struct buffer *form, const char *name, const char *value);
/* "Basic " and base64 of id ":" secret, each form-urlencoded first (RFC 6749 section 2.3.1), appended. */
bool token_basic_authorization(struct buffer *out, const char *id, const char *secret, size_t secret_length);

/*
 * Post the form and fill the reply: token, expiry (expires_in as number or
 * string, else the JWT's own), refresh (refresh_in), or class, code and text
 * with trace and correlation id.
 */
void token_endpoint_ask(
	const struct keyfob_request *request, struct keyfob_reply *reply, const struct token_endpoint *endpoint, const struct buffer *form);

#endif
