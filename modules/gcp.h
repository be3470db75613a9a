/* SPDX-License-Identifier: Apache-2.0 */
/* What the sources of Google tokens share. Each makes the requests of one attempt and fills the reply. */
#ifndef KEYFOB_GCP_H
#define KEYFOB_GCP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "modules/module.h"

#define GCP_SCOPE "https://www.googleapis.com/auth/cloud-platform"
#define GCP_UNIVERSE "googleapis.com"
#define GCP_METADATA_ORIGIN "http://169.254.169.254"
#define GCP_SETTINGS 64
/* Google hands out the same token until about four minutes before it ends. */
#define GCP_REFRESH_BEFORE 225

/* Several requests, one attempt: they share its options and its time. */
struct gcp_chain {
	struct keyfob_request request; /* as the next request is to see it */
	struct keyfob_setting settings[GCP_SETTINGS];
	int64_t deadline; /* CLOCK_MONOTONIC, ms */
};

void gcp_chain_init(struct gcp_chain *chain, const struct keyfob_request *request);
/*
 * Make ready for the next request: its kind of token, the endpoint= it shall
 * see (NULL: none), what is left of the time. The options that shape the
 * token in the end, scopes and subject, are kept from all but the last one.
 * False, with a failure in the reply, when no time is left.
 */
bool gcp_chain_next(struct gcp_chain *chain, const struct keyfob_request *request, enum keyfob_kind kind, const char *endpoint, bool last,
	struct keyfob_reply *reply);
/* Wipe the token of a step that is not the last one. */
void gcp_wipe(struct keyfob_reply *step);

/* "https://host:port" and "/path?query" of a URL; both NULL when it is of no use. */
struct gcp_url {
	char *scheme, *host, *origin, *path;
};
bool gcp_url_parse(struct gcp_url *url, const char *text);
void gcp_url_free(struct gcp_url *url);

/* The JSON file that a secret option stands for, to be freed with json_reply_free(). NULL, with a failure in the reply: it is none. */
json_t *gcp_file(const struct keyfob_request *request, const char *option, const char *what, struct keyfob_reply *reply);
/*
 * The universe (domain) that a JSON file of Google's may send secrets to. The
 * file alone does not decide that: another one than Google's own must also
 * stand in universe_domain=. NULL, with a failure in the reply, if it does not.
 */
const char *gcp_universe(const struct keyfob_request *request, const json_t *file, struct keyfob_reply *reply);
/* A URL of such a file: https, and a host in that universe, unless endpoint= names another one anyway. */
bool gcp_url_allowed(const struct keyfob_request *request, const struct gcp_url *url, const char *universe);
/* "a,b c" or "a b" as a JSON array, each with a prefix. A new reference. */
json_t *gcp_words(const char *text, const char *prefix);

/* An account to act as, by way of IAM Credentials. */
struct gcp_target {
	const char *email;
	const char *delegates; /* "a,b", or NULL */
	const char *universe;
	unsigned int lifetime; /* of an access token, seconds */
};
/* Ask for a token of request->kind in the target's name, with a source token. */
void gcp_generate(const struct keyfob_request *request, struct keyfob_reply *reply, const struct gcp_target *target, const char *token);
/* The option lifetime=, or otherwise. 0, with a failure in the reply, when it is out of bounds. */
unsigned int gcp_lifetime(const struct keyfob_request *request, unsigned int otherwise, struct keyfob_reply *reply);
bool gcp_email_valid(const char *email);

/* The sources. */
void gcp_metadata(const struct keyfob_request *request, struct keyfob_reply *reply);
void gcp_key(const struct keyfob_request *request, struct keyfob_reply *reply);
void gcp_impersonate(const struct keyfob_request *request, struct keyfob_reply *reply);
void gcp_external(const struct keyfob_request *request, struct keyfob_reply *reply);

#endif
