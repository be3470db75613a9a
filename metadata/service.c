/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/service.h"

#include <string.h>

#include "keyring/keyfob.h"

#define SERVICE_TEXT_MAX (16u << 10) /* an error's text, with what was asked for */

const struct service *service_of(const struct http_request *r)
{
	static const struct service *const services[] = { &azure_service, &google_service };

	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (services[i]->is_mine(r))
			return services[i];
	return NULL;
}

void service_refuse_plain(struct http_answer *answer, int status, const char *text)
{
	answer->status = status;
	answer->type = "text/plain; charset=utf-8";
	buffer_printf(&answer->body, "%s\n", text);
}

bool service_admits(const struct service *service, const struct http_request *r, struct http_answer *answer)
{
	if (strcmp(r->method, "GET") != 0)
		service->refuse(answer, 405, "only GET is answered here");
	else if (r->forwarded)
		service->refuse(answer, service->google ? 403 : 400, "X-Forwarded-For is not accepted");
	else if (!http_host_is_ours(r))
		service->refuse(answer, 403, "a request for another host; use 169.254.169.254, metadata.google.internal or an address");
	else
		return true;
	return false;
}

/* One text for "there is none" and "not for you". */
static void say_none(const struct question *q, struct buffer *text)
{
	buffer_printf(text, "keyfob has no %s for this user here", q->kind == KEYFOB_KIND_ID ? "ID token" : "access token");
	if (*q->resource)
		buffer_printf(text, " with the resource %s", q->resource);
	if (*q->client_id)
		buffer_printf(text, " and client_id=%s", q->client_id);
	buffer_printf(
		text, ". `keyfob status` lists the credentials that you may have; one with that resource needs the line metadata = yes");
}

/* The status and the text for an error of the broker's. Who may not have a token does not learn that there is one. */
static int put_error(const struct question *q, const struct reply *reply, struct buffer *text)
{
	if (reply->error == KEYFOB_ENOCRED || reply->error == KEYFOB_EDENIED) {
		say_none(q, text);
		return 404;
	}
	buffer_printf(text, "keyfob: %s", reply->text);
	if (reply->error != KEYFOB_EBROKER)
		buffer_printf(text, " (`keyfob status` tells more)");
	return reply->error == KEYFOB_EINVAL ? 404 : reply->error == KEYFOB_EPROVIDER ? 400 : 503;
}

void service_answer(const struct question *q, const struct reply *reply, uint64_t now, struct http_answer *answer)
{
	const struct service *service = q->service;
	struct buffer text;
	int status;

	if (reply->error == 0) {
		service->give(q, reply, now, answer);
		return;
	}
	buffer_init(&text, SERVICE_TEXT_MAX);
	status = put_error(q, reply, &text);
	/* Azure knows no 404 here but that of an endpoint being brought up to date, after which clients ask again. */
	service->refuse(answer, status == 404 && !service->google ? 400 : status,
		buffer_cstring(&text) ? (const char *)text.data : "out of memory");
	answer->retry_after = status == 503 ? reply->retry : 0;
	buffer_free(&text);
}
