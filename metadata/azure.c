/* SPDX-License-Identifier: Apache-2.0 */
/* The token endpoint of Azure's Instance Metadata Service. All values it gives are texts: some drivers read no numbers. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "metadata/service.h"

#define ROOT "/metadata/"
#define TOKEN_PATH ROOT "identity/oauth2/token"
#define JSON "application/json; charset=utf-8"

static bool is_mine(const struct http_request *r)
{
	return strncasecmp(r->path, ROOT, strlen(ROOT)) == 0;
}

static void put_member(struct buffer *b, const char *name, const char *value)
{
	buffer_printf(b, "%c\"%s\":", b->length ? ',' : '{', name);
	buffer_put_json(b, value);
}

static void refuse(struct http_answer *answer, int status, const char *text)
{
	/* A client that asks again after what passes, and no other. */
	const char *error = status == 404 || status == 405 ? "not_found" : status == 503 ? "temporarily_unavailable" : "invalid_request";

	answer->status = status;
	answer->type = JSON;
	put_member(&answer->body, "error", error);
	put_member(&answer->body, "error_description", text);
	buffer_printf(&answer->body, "}");
}

static void refuse_version(struct http_answer *answer)
{
	answer->status = 400;
	answer->type = JSON;
	buffer_printf(&answer->body, "{\"error\":\"Bad request. api-version was not specified in the request.\","
				     "\"newest-versions\":[\"2021-02-01\",\"2020-09-01\",\"2018-02-01\"]}");
}

static bool take(const struct http_request *r, struct question *q, struct http_answer *answer)
{
	const char *resource = http_parameter(r, "resource"), *version = http_parameter(r, "api-version");
	const char *client_id = http_parameter(r, "client_id");
	size_t length = strlen(TOKEN_PATH);

	if (strncasecmp(r->path, TOKEN_PATH, length) != 0 || strcmp(r->path + length + (r->path[length] == '/'), "") != 0)
		refuse(answer, 404, "keyfob serves " TOKEN_PATH " alone; what else the metadata service has is not here");
	else if (!service_admits(&azure_service, r, answer))
		;
	else if (!r->metadata || strcmp(r->metadata, "true") != 0)
		refuse(answer, 400, "Required metadata header not specified");
	else if (http_repeated(r))
		refuse(answer, 400, "A query parameter was given more than once");
	else if (!version || !*version)
		refuse_version(answer);
	else if (!resource || !*resource)
		refuse(answer, 400, "Required query variable 'resource' is missing");
	else if (http_parameter(r, "object_id") || http_parameter(r, "msi_res_id") || http_parameter(r, "mi_res_id"))
		refuse(answer, 400,
			"keyfob knows a managed identity by its client_id: say that in place of its object or resource id, or none");
	else if (strlen(resource) > SERVICE_RESOURCE_MAX || (client_id && strlen(client_id) > SERVICE_CLIENT_ID_MAX))
		refuse(answer, 400, "resource or client_id is too long");
	else {
		q->kind = KEYFOB_KIND_ACCESS;
		q->resource = resource;
		q->client_id = client_id ? client_id : "";
		return true;
	}
	return false;
}

static void put_number(struct buffer *b, const char *name, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	put_member(b, name, text);
}

static void give(const struct question *q, const struct reply *reply, uint64_t now, struct http_answer *answer)
{
	uint64_t left = reply->expires > now ? reply->expires - now : 0;
	struct buffer *b = &answer->body;

	answer->status = 200;
	answer->type = JSON;
	put_member(b, "access_token", reply->token);
	put_member(b, "client_id", q->client_id);
	put_number(b, "expires_in", left);
	put_number(b, "expires_on", reply->expires);
	put_number(b, "ext_expires_in", left);
	put_number(b, "not_before", now);
	put_member(b, "resource", q->resource);
	put_member(b, "token_type", "Bearer");
	buffer_printf(b, "}");
}

const struct service azure_service = { .is_mine = is_mine, .take = take, .give = give, .refuse = refuse };
