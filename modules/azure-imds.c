/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual machine's own metadata service (IMDS). */
#include "modules/azure.h"

#define IMDS_ORIGIN "http://169.254.169.254"
#define IMDS_PATH "/metadata/identity/oauth2/token?api-version=2018-02-01"
#define NOT_AZURE "this does not look like IMDS; is this machine on Azure, or endpoint= right?"
#define A_PROXY "this is usually a proxy's answer; IMDS must be reached directly"

static const struct http_status statuses[] = {
	{ 100, 299, KEYFOB_CLASS_UNAVAILABLE, 0, NOT_AZURE },
	{ 300, 399, KEYFOB_CLASS_UNAVAILABLE, 0, "a redirect is never followed; " NOT_AZURE },
	{ 401, 401, KEYFOB_CLASS_UNAVAILABLE, 0, NOT_AZURE },
	{ 403, 403, KEYFOB_CLASS_UNAVAILABLE, 0, NOT_AZURE },
	{ 404, 404, KEYFOB_CLASS_TRANSIENT, 0, "the identity endpoint is being updated" },
	{ 408, 408, KEYFOB_CLASS_TRANSIENT, 0, NULL },
	{ 410, 410, KEYFOB_CLASS_TRANSIENT, 10, "IMDS is being updated and is back within 70 s" },
	{ 429, 429, KEYFOB_CLASS_THROTTLED, 1, "too many requests from this machine" },
	{ 502, 502, KEYFOB_CLASS_TRANSIENT, 1, A_PROXY },
	{ 504, 504, KEYFOB_CLASS_TRANSIENT, 1, A_PROXY },
	{ 500, 599, KEYFOB_CLASS_TRANSIENT, 1, NULL },
	{ 400, 499, KEYFOB_CLASS_PERMANENT, 0, NULL },
};

static const struct azure_service imds = {
	.name = "IMDS",
	.parameter = { "client_id", "object_id", "msi_res_id" },
	.statuses = statuses,
	.count = sizeof(statuses) / sizeof(statuses[0]),
};

void azure_imds_obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	static const char *const headers[] = { "Metadata: true", "Accept: application/json", NULL };
	struct azure_identity identity;
	struct http_exchange x;

	if (!azure_identity(request, reply, &imds, &identity))
		return;
	if (http_init(&x, request, reply, IMDS_ORIGIN, IMDS_PATH)) {
		x.service = imds.name;
		x.peer = HTTP_METADATA;
		x.headers = headers;
		x.advice = "is this machine on Azure, or endpoint= right?";
		azure_put_target(&x, request, &imds, &identity);
		if (http_perform(&x, request, reply))
			azure_read(&x, request, &imds, &identity, reply);
	}
	http_free(&x);
}
