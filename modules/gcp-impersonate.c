/* SPDX-License-Identifier: Apache-2.0 */
/* Acting as another service account: IAM Credentials makes its tokens for whoever may ask for them. */
#include <ctype.h>
#include <stdlib.h>

#include "modules/expiry.h"
#include "modules/gcp.h"
#include "modules/http.h"
#include "modules/json.h"
#include "modules/report.h"

#define LIFETIME_MIN 600
#define LIFETIME_MAX 43200
#define LIFETIME_USUAL 3600
#define HEADER_MAX 65536
#define BODY_MAX 65536

static const struct http_status statuses[] = {
	{ 400, 400, KEYFOB_CLASS_PERMANENT, 0, "check target=, delegates=, scopes=, lifetime= and resource" },
	{ 401, 401, KEYFOB_CLASS_PERMANENT, 0, "the source token is not accepted; it must be an access token of Google's" },
	{ 403, 403, KEYFOB_CLASS_PERMANENT, 0,
		"grant the source account Service Account Token Creator on the target, and enable the IAM Credentials API" },
	{ 404, 404, KEYFOB_CLASS_CONFIG, 0, "there is no such service account; correct target=" },
	{ 408, 408, KEYFOB_CLASS_TRANSIENT, 0, NULL },
	{ 429, 429, KEYFOB_CLASS_THROTTLED, 1, "too many requests" },
	{ 500, 500, KEYFOB_CLASS_TRANSIENT, 1, NULL },
	{ 502, 504, KEYFOB_CLASS_TRANSIENT, 1, NULL },
	{ 400, 499, KEYFOB_CLASS_PERMANENT, 0, NULL },
	{ 100, 599, KEYFOB_CLASS_UNAVAILABLE, 0, NULL },
};

/* --- IAM Credentials -------------------------------------------------------- */

/* {"error": {"code": 403, "message": "...", "status": "PERMISSION_DENIED"}} */
static void read_error(
	const struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply, char *text, size_t size)
{
	const char *why = NULL, *message, *status;
	json_t *object = json_reply_load(x->body.data, x->body.length, &why), *error;

	error = json_object_get(object, "error");
	message = json_reply_text(error, "message");
	status = json_reply_text(error, "status");
	if (status)
		http_show(request, reply->code, sizeof(reply->code), status, strlen(status));
	if (message)
		http_show(request, text, size, message, strlen(message));
	else if (!object && x->body.length)
		http_show(request, text, 200, x->body.data, x->body.length);
	json_reply_free(object);
}

static void iam_fail(const struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const struct http_status *row = http_judge(x, statuses, sizeof(statuses) / sizeof(statuses[0]), reply);
	char text[400] = "";

	read_error(x, request, reply, text, sizeof(text));
	keyfob_fail(reply, row->class, "IAM Credentials answered %ld%s%s%s%s%s%s", x->status, reply->code[0] ? " " : "", reply->code,
		text[0] ? ": " : "", text, row->advice ? "; " : "", row->advice ? row->advice : "");
}

static void iam_read(const struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *field = request->kind == KEYFOB_KIND_ID ? "token" : "accessToken", *why = NULL, *token;
	json_t *object = json_reply_load(x->body.data, x->body.length, &why);

	token = json_reply_text(object, field);
	if (!object)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "IAM Credentials answered 200, but with no usable JSON: %s", why);
	else if (!token)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "IAM Credentials answered 200, but with no %s", field);
	else if (json_reply_token(reply, token, strlen(token)) && request->kind != KEYFOB_KIND_ID &&
		 !expiry_parse_json(json_object_get(object, "expireTime"), time(NULL), EXPIRY_ABSOLUTE, &reply->expires))
		report_tell(request, "! no readable expireTime");
	json_reply_free(object);
}

/* The members are those that Google's own libraries send. */
static bool put_body(const struct keyfob_request *request, const struct gcp_target *target, struct buffer *body)
{
	json_t *delegates = gcp_words(target->delegates ? target->delegates : "", "projects/-/serviceAccounts/");
	json_t *object;
	char *text;

	if (request->kind == KEYFOB_KIND_ID)
		object = json_pack(
			"{s:o, s:s, s:b, s:b}", "delegates", delegates, "audience", request->resource, "includeEmail", 1, "useEmailAzp", 1);
	else
		object = json_pack("{s:o, s:o, s:o}", "delegates", delegates, "scope",
			gcp_words(keyfob_setting(request, "scopes", GCP_SCOPE), ""), "lifetime",
			json_sprintf("%us", target->lifetime ? target->lifetime : LIFETIME_USUAL));
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	if (text)
		buffer_put(body, text, strlen(text));
	free(text);
	return text && !body->failed;
}

void gcp_generate(const struct keyfob_request *request, struct keyfob_reply *reply, const struct gcp_target *target, const char *token)
{
	const char *headers[] = { "Content-Type: application/json", "Accept: application/json", NULL, NULL };
	const char *verb = request->kind == KEYFOB_KIND_ID ? "generateIdToken" : "generateAccessToken";
	struct buffer authorization, body;
	struct http_exchange x;
	char origin[300];

	snprintf(origin, sizeof(origin), "https://iamcredentials.%.250s", target->universe);
	buffer_init(&authorization, HEADER_MAX);
	buffer_init(&body, BODY_MAX);
	buffer_printf(&authorization, "Authorization: Bearer %s", token);
	headers[2] = buffer_cstring(&authorization);
	if (!http_init(&x, request, reply, origin, "/v1/projects/-/serviceAccounts/"))
		goto out;
	if (!headers[2] || !put_body(request, target, &body)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"the request to IAM Credentials cannot be made: it is too long, "
			"or resource is not UTF-8");
		goto out;
	}
	http_escape(&x.url, target->email, "@");
	buffer_printf(&x.url, ":%s", verb);
	x.service = "IAM Credentials";
	x.peer = HTTP_PUBLIC;
	x.headers = headers;
	x.form = &body;
	if (!http_perform(&x, request, reply))
		goto out;
	if (x.status == 200)
		iam_read(&x, request, reply);
	else
		iam_fail(&x, request, reply);
out:
	http_free(&x);
	buffer_free(&authorization);
	buffer_free(&body);
}

/* --- options ---------------------------------------------------------------- */

unsigned int gcp_lifetime(const struct keyfob_request *request, unsigned int otherwise, struct keyfob_reply *reply)
{
	unsigned int seconds = keyfob_seconds(request, "lifetime", otherwise ? otherwise : LIFETIME_USUAL);

	if (seconds >= LIFETIME_MIN && seconds <= LIFETIME_MAX)
		return seconds;
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s of an access token is from 10m to 12h",
		keyfob_setting(request, "lifetime", NULL) ? "lifetime=" : "token_lifetime_seconds in config_file=, the life");
	return 0;
}

bool gcp_email_valid(const char *email)
{
	const char *at = strchr(email, '@');

	for (const char *c = email; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("@.-_", *c))
			return false;
	return at && at > email && at[1] && !strchr(at + 1, '@');
}

static bool check_target(const struct keyfob_request *request, struct keyfob_reply *reply, struct gcp_target *target)
{
	target->email = keyfob_setting(request, "target", NULL);
	target->delegates = keyfob_setting(request, "delegates", NULL);
	if (!target->email || !gcp_email_valid(target->email)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "source=impersonate needs target=, the email address of a service account");
		return false;
	}
	if (keyfob_setting(request, "source_from", NULL) && keyfob_setting(request, "key_file", NULL)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "source_from= and key_file= exclude each other");
		return false;
	}
	target->universe = keyfob_setting(request, "universe_domain", GCP_UNIVERSE);
	target->lifetime = gcp_lifetime(request, 0, reply);
	return target->lifetime > 0;
}

/* An access token to start from, into step. */
static bool take_source_token(struct gcp_chain *chain, const struct keyfob_request *request, struct keyfob_reply *step)
{
	bool by_key = keyfob_setting(request, "key_file", NULL);
	const char *endpoint = keyfob_setting(request, by_key ? "endpoint" : "metadata_endpoint", NULL), *token;
	size_t length;

	token = keyfob_secret(request, "source_from", &length);
	if (token)
		return json_reply_token(step, token, length);
	if (!gcp_chain_next(chain, request, KEYFOB_KIND_ACCESS, endpoint, false, step))
		return false;
	if (by_key)
		gcp_key(&chain->request, step);
	else
		gcp_metadata(&chain->request, step);
	return step->class == KEYFOB_CLASS_OK;
}

void gcp_impersonate(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *endpoint = keyfob_setting(request, "endpoint", NULL);
	struct keyfob_reply step = { 0 };
	struct gcp_target target = { 0 };
	struct gcp_chain chain;

	if (!check_target(request, reply, &target))
		return;
	gcp_chain_init(&chain, request);
	if (!take_source_token(&chain, request, &step)) {
		*reply = step;
		return;
	}
	if (gcp_chain_next(&chain, request, request->kind, endpoint, true, reply))
		gcp_generate(&chain.request, reply, &target, step.token);
	gcp_wipe(&step);
}
