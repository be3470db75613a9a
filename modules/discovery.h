/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An issuer's metadata document (OpenID Connect Discovery 1.0 section 4, RFC
 * 8414 section 3): where it says that something of the issuer's is to be found.
 */
#ifndef KEYFOB_DISCOVERY_H
#define KEYFOB_DISCOVERY_H

#include <stdbool.h>

#include "modules/http.h"
#include "modules/module.h"

/* A URL cut where http_init() wants it cut. */
struct discovery_target {
	char url[2048];
	char origin[512];
	const char *path; /* within url */
};

/*
 * Take a URL that is https, or http to this host. False, with a reason in
 * reply that names it as whose ("jwks_uri"), when it is neither.
 */
bool discovery_set_target(struct discovery_target *target, const char *url, const char *whose, struct keyfob_reply *reply);
/*
 * Ask the document of issuer (at url; NULL: where the issuer's name says),
 * which must name this same issuer, for the URL in its member. What is wrong
 * ends in reply; the option named as the member is what to set instead.
 */
bool discovery_find(const struct keyfob_request *request, const char *url, const char *issuer, const char *member,
	struct discovery_target *target, struct keyfob_reply *reply);
/* Whom to ask, and whether through a proxy: what is on this host is asked directly. */
void discovery_set_peer(struct http_exchange *x);
/* Classify an answer that is not the document asked for: by its status, or a 200 whose body is no JSON (why says what is wrong). */
void discovery_fail(const struct http_exchange *x, struct keyfob_reply *reply);
void discovery_fail_content(const struct http_exchange *x, const char *why, struct keyfob_reply *reply);
/* What stays of a request's time after some of it is spent. */
struct keyfob_request discovery_rest(const struct keyfob_request *request, time_t start);

#endif
