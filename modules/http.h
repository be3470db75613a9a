/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP request for a provider module: libcurl with the house's rules built in. */
#ifndef KEYFOB_HTTP_H
#define KEYFOB_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"
#include "modules/module.h"

#define HTTP_BODY_MAX 65536
#define HTTP_URL_MAX 8192
#define HTTP_ETAG_MAX 64

/* The options of every module that speaks HTTP, for its table. */
#define HTTP_OPTIONS \
	{ "endpoint", KEYFOB_OPTION_URL, 0, "http[s]://HOST[:PORT]", "replaces scheme, host and port of the source; the path stays" }, \
		{ "ca_file", KEYFOB_OPTION_FILE, 0, "a PEM file", "certificates to trust for https; default: the system's" }, \
	{ \
		"proxy", KEYFOB_OPTION_URL, 0, "http[s]://HOST[:PORT]", \
			"for public endpoints; default: none. Metadata services are always asked directly" \
	}

enum http_peer {
	HTTP_METADATA, /* on this host or link: never through a proxy, 1 s to connect */
	HTTP_PUBLIC, /* on the Internet: through proxy= where it is given, 5 s to connect */
};

struct http_exchange {
	/* what to ask; everything lives until http_free() */
	const char *service; /* whom, for messages: "IMDS" */
	enum http_peer peer;
	enum keyfob_class refused; /* what a refused connection means; OK: UNAVAILABLE */
	const char *advice; /* what to do when nobody answers, or NULL */
	struct buffer url; /* may be told: holds no secret */
	const char *const *headers; /* "Name: value", NULL-terminated, or NULL */
	const struct buffer *form; /* NULL: GET. Else POST of this, application/x-www-form-urlencoded */
	size_t body_max; /* bytes of an answer; 0: HTTP_BODY_MAX, enough for a token */
	/* what came */
	long status;
	struct buffer body; /* wiped */
	char content_type[64];
	char flavor[32]; /* Metadata-Flavor */
	char challenge[512]; /* WWW-Authenticate, the first, as it came */
	unsigned int retry_after; /* seconds, at most 3600; 0: none */
	char etag[HTTP_ETAG_MAX + 1]; /* with its quotes; "" when there is none, or it is longer or no ETag */
	unsigned int max_age; /* seconds that the answer may be kept (RFC 9111 section 5.2.2.1), 0: no word, or not at all */
};

/*
 * Start an exchange with origin ("https://host:port", unless endpoint= says
 * otherwise) and path. False, with a reason in reply, when endpoint= is of no
 * use. http_free() ends it in either case.
 */
bool http_init(
	struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply, const char *origin, const char *path);
void http_free(struct http_exchange *x);
/* May this be sent back as the tag of an answer that is known (RFC 9110 section 8.8.3)? */
bool http_is_etag(const char *text);
/* Append "&name=value" or "?name=value" to the URL, the value percent-encoded. */
void http_query(struct http_exchange *x, const char *name, const char *value);
/* Append text, percent-encoded except for what RFC 3986 leaves unreserved and the characters in keep. */
void http_escape(struct buffer *to, const char *text, const char *keep);
/* Is it https, or does it not leave this host? Only there may a secret go. local, where not NULL: the latter. */
bool http_is_private(const char *url, bool *local);
/*
 * Make what a peer said fit to be shown, as report_text() does, and hide all
 * of it when it repeats a secret of the request, as it is or percent-encoded.
 */
void http_show(const struct keyfob_request *request, char *out, size_t size, const void *text, size_t length);
/*
 * Ask once, without following redirects. True when a whole answer came,
 * whatever its status. False: the failure is in reply, in words.
 */
bool http_perform(struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply);

/* What a range of statuses means to those who ask one service. */
struct http_status {
	long first, last;
	enum keyfob_class class;
	unsigned int retry; /* seconds, where the answer says nothing itself */
	const char *advice; /* what to do, or NULL */
};
/* The first row that fits the answer, the last for all others; also says in reply when to come back. */
const struct http_status *http_judge(
	const struct http_exchange *x, const struct http_status *rows, size_t count, struct keyfob_reply *reply);

#endif
