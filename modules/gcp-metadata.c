/* SPDX-License-Identifier: Apache-2.0 */
/* ID and access tokens from the metadata server (GCE, GKE, Cloud Run and the others that speak it). */
#include <ctype.h>
#include <strings.h>

#include "modules/expiry.h"
#include "modules/gcp.h"
#include "modules/http.h"
#include "modules/json.h"
#include "modules/report.h"

#define ACCOUNTS_PATH "/computeMetadata/v1/instance/service-accounts/"
#define NOT_GOOGLE "is this machine on Google Cloud, or endpoint= right?"

static const struct http_status statuses[] = {
	{ 400, 400, KEYFOB_CLASS_PERMANENT, 0, "correct resource (the audience) and the options of this provider line" },
	{ 403, 403, KEYFOB_CLASS_PERMANENT, 0, "this machine or pod may not have a token of that account" },
	{ 404, 404, KEYFOB_CLASS_CONFIG, 0, "attach a service account to this machine, or correct service_account=" },
	{ 408, 408, KEYFOB_CLASS_TRANSIENT, 0, NULL },
	{ 429, 429, KEYFOB_CLASS_THROTTLED, 1, "too many requests from this machine" },
	{ 500, 500, KEYFOB_CLASS_TRANSIENT, 1, NULL },
	{ 503, 504, KEYFOB_CLASS_TRANSIENT, 1, NULL },
	{ 400, 499, KEYFOB_CLASS_PERMANENT, 0, NULL },
	{ 100, 599, KEYFOB_CLASS_UNAVAILABLE, 0, NULL },
};

static void metadata_fail(const struct http_exchange *x, struct keyfob_reply *reply)
{
	const struct http_status *row = http_judge(x, statuses, sizeof(statuses) / sizeof(statuses[0]), reply);
	char text[300];

	report_text(text, sizeof(text), x->body.length ? (const char *)x->body.data : "", x->body.length, REPORT_MASK_KEEP_IDS);
	keyfob_fail(reply, row->class, "the metadata server answered %ld%s%s%s%s", x->status, text[0] ? ": " : "", text,
		row->advice ? "; " : "", row->advice ? row->advice : "");
}

/* The token is the body itself, as text; its expiry stands in the JWT. */
static void read_id_token(const struct http_exchange *x, struct keyfob_reply *reply)
{
	const char *token = x->body.length ? (const char *)x->body.data : "";
	size_t length = x->body.length;
	struct expiry_claims claims;

	while (length && isspace((unsigned char)token[length - 1]))
		length--;
	while (length && isspace((unsigned char)*token)) {
		token++;
		length--;
	}
	if (!expiry_jwt_claims(token, length, &claims)) {
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "the metadata server answered 200, but with no JWT");
		return;
	}
	json_reply_token(reply, token, length);
}

static void read_access_token(const struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *why = NULL, *token;
	json_t *object = json_reply_load(x->body.data, x->body.length, &why);

	token = object ? json_reply_text(object, "access_token") : NULL;
	if (!object)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "the metadata server answered 200, but with no usable JSON: %s", why);
	else if (!token)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "the metadata server answered 200, but with no access_token");
	else if (json_reply_token(reply, token, strlen(token)) &&
		 !expiry_parse_json(json_object_get(object, "expires_in"), time(NULL), EXPIRY_RELATIVE, &reply->expires))
		report_tell(request, "! no readable expires_in");
	json_reply_free(object);
}

static bool put_path(struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *account = keyfob_setting(request, "service_account", "default"), *scopes, *format;

	if (strpbrk(account, "/?#%") || strcmp(account, "..") == 0 || strcmp(account, ".") == 0) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "service_account= takes an email address, an alias or 'default'");
		return false;
	}
	scopes = keyfob_setting(request, "scopes", NULL);
	format = keyfob_setting(request, "format", "full");
	http_escape(&x->url, account, "@");
	if (request->kind == KEYFOB_KIND_ID) {
		buffer_printf(&x->url, "/identity");
		http_query(x, "audience", request->resource);
		http_query(x, "format", format);
		if (strcmp(keyfob_setting(request, "licenses", "no"), "yes") == 0)
			http_query(x, "licenses", "TRUE");
	} else {
		buffer_printf(&x->url, "/token");
		if (scopes)
			http_query(x, "scopes", scopes);
	}
	return true;
}

void gcp_metadata(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	static const char *const headers[] = { "Metadata-Flavor: Google", NULL };
	struct http_exchange x;

	if (!http_init(&x, request, reply, GCP_METADATA_ORIGIN, ACCOUNTS_PATH) || !put_path(&x, request, reply))
		goto out;
	x.service = "metadata server";
	x.peer = HTTP_METADATA;
	x.headers = headers;
	x.advice = NOT_GOOGLE;
	/* GKE's server refuses connections in the first seconds of a pod. */
	x.refused = KEYFOB_CLASS_TRANSIENT;
	if (!http_perform(&x, request, reply))
		goto out;
	if (strcasecmp(x.flavor, "Google") != 0) {
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE,
			"the answer (%ld) lacks Metadata-Flavor: Google, so something else answered, such as "
			"a proxy or a captive portal; " NOT_GOOGLE,
			x.status);
	} else if (x.status != 200) {
		metadata_fail(&x, reply);
	} else if (request->kind == KEYFOB_KIND_ID) {
		read_id_token(&x, reply);
	} else {
		read_access_token(&x, request, reply);
	}
out:
	http_free(&x);
}
