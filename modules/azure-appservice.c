/* SPDX-License-Identifier: Apache-2.0 */
/*
 * App Service, Functions and Container Apps: a local endpoint that each app
 * is told of by IDENTITY_ENDPOINT (or MSI_ENDPOINT, the older form), with a
 * secret that the platform changes at will.
 */
#include <string.h>

#include "modules/azure.h"

#define DEFAULT_PATH "/msi/token"
#define LEGACY "2017-09-01"
#define CURRENT "2019-08-01"
#define NOT_THERE "does this run on App Service, and is identity_endpoint= the present IDENTITY_ENDPOINT?"
#define WRONG_SECRET "header_file= must hold the present IDENTITY_HEADER (api_version=" LEGACY ": MSI_SECRET); the platform changes it"

static const struct http_status statuses[] = {
	{ 100, 299, KEYFOB_CLASS_UNAVAILABLE, 0, NOT_THERE },
	{ 300, 399, KEYFOB_CLASS_UNAVAILABLE, 0, "a redirect is never followed; " NOT_THERE },
	{ 401, 401, KEYFOB_CLASS_CONFIG, 0, WRONG_SECRET },
	{ 403, 403, KEYFOB_CLASS_CONFIG, 0, WRONG_SECRET },
	{ 404, 404, KEYFOB_CLASS_TRANSIENT, 1, NOT_THERE },
	{ 408, 408, KEYFOB_CLASS_TRANSIENT, 1, NULL },
	{ 429, 429, KEYFOB_CLASS_THROTTLED, 1, "too many requests from this app" },
	{ 500, 500, KEYFOB_CLASS_TRANSIENT, 1, "App Service says 500 for a wrong resource or identity too; check them" },
	{ 501, 599, KEYFOB_CLASS_TRANSIENT, 1, NULL },
	{ 400, 499, KEYFOB_CLASS_PERMANENT, 0, NULL },
};

static const struct azure_service current = {
	.name = "App Service",
	.parameter = { "client_id", "principal_id", "mi_res_id" },
	.statuses = statuses,
	.count = sizeof(statuses) / sizeof(statuses[0]),
};

static const struct azure_service legacy = {
	.name = "App Service (" LEGACY ")",
	.parameter = { "clientid", NULL, NULL },
	.statuses = statuses,
	.count = sizeof(statuses) / sizeof(statuses[0]),
};

/* Start the exchange: identity_endpoint= is a whole URL, endpoint= replaces its origin as everywhere. */
static bool start(struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *url = keyfob_setting(request, "identity_endpoint", NULL), *host, *path;
	char origin[512];

	host = url ? strstr(url, "://") : NULL;
	path = host ? host + 3 + strcspn(host + 3, "/?#") : DEFAULT_PATH;
	snprintf(origin, sizeof(origin), "%.*s", host ? (int)(path - url) : 0, url ? url : "");
	if (!http_init(x, request, reply, origin, *path ? path : DEFAULT_PATH))
		return false;
	if (!url && !keyfob_setting(request, "endpoint", NULL))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "source=appservice wants identity_endpoint=, the value of IDENTITY_ENDPOINT");
	else if (strpbrk(path, "?#") || (host && (size_t)(path - url) >= sizeof(origin)))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "identity_endpoint= takes a URL without a query");
	return reply->class == KEYFOB_CLASS_OK;
}

static bool put_secret_header(struct buffer *header, bool old, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	buffer_printf(header, old ? "secret: " : "X-IDENTITY-HEADER: ");
	return azure_secret(request, reply, "header_file", header);
}

void azure_appservice_obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *version = keyfob_setting(request, "api_version", CURRENT);
	bool old = strcmp(version, LEGACY) == 0;
	const struct azure_service *service = old ? &legacy : &current;
	struct azure_identity identity;
	struct http_exchange x;
	struct buffer header;

	if (!azure_identity(request, reply, service, &identity))
		return;
	buffer_init(&header, 4096);
	if (start(&x, request, reply) && put_secret_header(&header, old, request, reply)) {
		/* Azure Automation speaks the same, and wants the second one. */
		const char *headers[] = { buffer_cstring(&header), "Metadata: true", "Accept: application/json", NULL };

		x.service = service->name;
		x.peer = HTTP_METADATA;
		x.headers = headers;
		x.advice = NOT_THERE;
		http_query(&x, "api-version", version);
		azure_put_target(&x, request, service, &identity);
		if (http_perform(&x, request, reply))
			azure_read(&x, request, service, &identity, reply);
	}
	http_free(&x);
	buffer_free(&header);
}
