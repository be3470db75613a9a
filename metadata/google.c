/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of Google's metadata server as its libraries and database drivers
 * ask for: one service account, "default", whose tokens are keyfob's.
 */
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "metadata/service.h"

#define ROOT "/computeMetadata/v1"
#define TEXT "application/text"
#define JSON "application/json"
#define HTML "text/html; charset=UTF-8"
#define ACCOUNT ROOT "/instance/service-accounts/default"
#define SCOPE "https://www.googleapis.com/auth/cloud-platform"
#define DESCRIPTION "{\"aliases\":[\"default\"],\"email\":\"default\",\"scopes\":[\"" SCOPE "\"]}"

/*
 * What is no token. The account's real address is not known here, and libraries put whatever stands there into the
 * path of their next request.
 */
static const struct {
	const char *path, *text, *recursive;
} plain[] = {
	{ "/", "computeMetadata/\n", NULL },
	{ "/computeMetadata", "v1/\n", NULL },
	{ ROOT, "instance/\n", NULL },
	{ ROOT "/instance", "service-accounts/\n", NULL },
	{ ROOT "/instance/service-accounts", "default/\n", "{\"default\":" DESCRIPTION "}" },
	{ ACCOUNT, "aliases\nemail\nidentity\nscopes\ntoken\n", DESCRIPTION },
	{ ACCOUNT "/email", "default", NULL },
	{ ACCOUNT "/aliases", "default\n", NULL },
	{ ACCOUNT "/scopes", SCOPE "\n", NULL },
};

static bool is_mine(const struct http_request *r)
{
	static const char root[] = "/computeMetadata";
	size_t length = sizeof(root) - 1;

	return strcmp(r->path, "/") == 0 || (strncmp(r->path, root, length) == 0 && (!r->path[length] || r->path[length] == '/'));
}

/* The same path, but for one slash at its end. */
static bool is_path(const struct http_request *r, const char *path)
{
	size_t length = strlen(path);

	return strncmp(r->path, path, length) == 0 && (strcmp(r->path + length, "") == 0 || strcmp(r->path + length, "/") == 0);
}

static void show(const struct http_request *r, struct http_answer *answer)
{
	const char *recursive = http_parameter(r, "recursive");
	bool all = recursive && strcasecmp(recursive, "true") == 0;

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (!is_path(r, plain[i].path))
			continue;
		all = all && plain[i].recursive;
		answer->status = 200;
		answer->type = all ? JSON : TEXT;
		buffer_printf(&answer->body, "%s", all ? plain[i].recursive : plain[i].text);
		return;
	}
	service_refuse_plain(
		answer, 404, "keyfob serves instance/service-accounts/default alone; what else the metadata server has is not here");
}

/* A list with commas; in keyfob.conf(5) a credential's resource has blanks there, as OAuth writes scopes. */
static void take_scopes(const char *scopes, struct question *q)
{
	size_t length = strlen(scopes);

	for (size_t i = 0; i <= length; i++)
		q->scopes[i] = scopes[i] == ',' ? ' ' : scopes[i];
	q->kind = KEYFOB_KIND_ACCESS;
	q->resource = q->scopes;
}

static bool take(const struct http_request *r, struct question *q, struct http_answer *answer)
{
	const char *audience = http_parameter(r, "audience"), *scopes = http_parameter(r, "scopes");

	q->client_id = "";
	if (!service_admits(&google_service, r, answer))
		return false;
	/* Clients find out by / whether there is a metadata server, some without the field. */
	if (strcmp(r->path, "/") != 0 && (!r->metadata_flavor || strcasecmp(r->metadata_flavor, "Google") != 0)) {
		service_refuse_plain(answer, 403, "Missing Metadata-Flavor:Google header");
		return false;
	}
	if (http_repeated(r)) {
		service_refuse_plain(answer, 400, "a query parameter was given more than once");
	} else if ((audience && strlen(audience) > SERVICE_RESOURCE_MAX) || (scopes && strlen(scopes) > SERVICE_RESOURCE_MAX)) {
		service_refuse_plain(answer, 400, "audience or scopes is too long");
	} else if (is_path(r, ACCOUNT "/token")) {
		take_scopes(scopes ? scopes : "", q);
		return true;
	} else if (!is_path(r, ACCOUNT "/identity")) {
		show(r, answer);
	} else if (!audience || !*audience) {
		service_refuse_plain(answer, 400, "non-empty audience parameter required");
	} else {
		q->kind = KEYFOB_KIND_ID;
		q->resource = audience;
		return true;
	}
	return false;
}

/* An ID token is the whole body: drivers send on what stands there, and a line's end too. */
static void give(const struct question *q, const struct reply *reply, uint64_t now, struct http_answer *answer)
{
	uint64_t left = reply->expires > now ? reply->expires - now : 0;
	struct buffer *b = &answer->body;

	answer->status = 200;
	if (q->kind == KEYFOB_KIND_ID) {
		answer->type = HTML;
		buffer_put(b, reply->token, strlen(reply->token));
		return;
	}
	answer->type = JSON;
	buffer_printf(b, "{\"access_token\":");
	buffer_put_json(b, reply->token);
	buffer_printf(b, ",\"expires_in\":%" PRIu64 ",\"token_type\":\"Bearer\"}", left);
}

const struct service google_service = { .google = true, .is_mine = is_mine, .take = take, .give = give, .refuse = service_refuse_plain };
