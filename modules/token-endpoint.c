/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/token-endpoint.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include "modules/expiry.h"
#include "modules/http.h"
#include "modules/json.h"
#include "modules/report.h"

#define SECRET_MAX 65536
#define THROTTLE_SECONDS 60

/* What RFC 6749, 6750 and 8707 and the vendors who go by them mean by their codes. */
static const struct token_advice usual[] = {
	{ "invalid_client", KEYFOB_CLASS_PERMANENT, "the client id or its secret or key is not accepted; check them" },
	{ "unauthorized_client", KEYFOB_CLASS_PERMANENT, "the client may not use this grant; allow it there" },
	{ "invalid_grant", KEYFOB_CLASS_PERMANENT, "the assertion is not accepted; check the key and this machine's clock" },
	{ "invalid_scope", KEYFOB_CLASS_PERMANENT, "the client may not ask for this scope; check scope= and resource" },
	{ "invalid_target", KEYFOB_CLASS_PERMANENT, "the provider does not know the resource; check resource" },
	{ "unsupported_grant_type", KEYFOB_CLASS_CONFIG, "this endpoint does not serve the grant; check the endpoint" },
	{ "access_denied", KEYFOB_CLASS_PERMANENT, NULL },
	{ "slow_down", KEYFOB_CLASS_THROTTLED, "too many requests" },
	{ "server_error", KEYFOB_CLASS_TRANSIENT, NULL },
	{ "internal_failure", KEYFOB_CLASS_TRANSIENT, NULL },
	{ "temporarily_unavailable", KEYFOB_CLASS_TRANSIENT, NULL },
	{ NULL, 0, NULL },
};

static const struct http_status statuses[] = {
	{ 100, 299, KEYFOB_CLASS_UNAVAILABLE, 0, "this is no token endpoint's answer; check the endpoint" },
	{ 300, 399, KEYFOB_CLASS_UNAVAILABLE, 0, "a redirect is never followed; check the endpoint and proxy=" },
	{ 404, 405, KEYFOB_CLASS_CONFIG, 0, "there is no token endpoint at this address; check the endpoint" },
	{ 407, 407, KEYFOB_CLASS_CONFIG, 0, "the proxy wants a login; check proxy=" },
	{ 408, 408, KEYFOB_CLASS_TRANSIENT, 0, NULL },
	{ 429, 429, KEYFOB_CLASS_THROTTLED, THROTTLE_SECONDS, "too many requests" },
	{ 500, 599, KEYFOB_CLASS_TRANSIENT, 0, NULL },
	{ 400, 499, KEYFOB_CLASS_PERMANENT, 0, NULL },
};

/* --- what is sent ----------------------------------------------------------- */

bool token_form_add(struct buffer *form, const char *name, const char *value)
{
	if (form->length)
		buffer_put(form, "&", 1);
	http_escape(form, name, "");
	buffer_put(form, "=", 1);
	http_escape(form, value, "");
	return !form->failed;
}

bool token_basic_authorization(struct buffer *out, const char *id, const char *secret, size_t secret_length)
{
	struct buffer plain, text;
	unsigned char *to = NULL;

	buffer_init(&text, SECRET_MAX);
	buffer_init(&plain, 3 * 2 * SECRET_MAX);
	http_escape(&plain, id, "");
	buffer_put(&plain, ":", 1);
	if (!memchr(secret, 0, secret_length) && buffer_put(&text, secret, secret_length) && buffer_cstring(&text))
		http_escape(&plain, (const char *)text.data, "");
	else
		plain.failed = true;
	if (!plain.failed && buffer_put(out, "Basic ", 6))
		to = buffer_reserve(out, 4 * ((plain.length + 2) / 3) + 1);
	if (to)
		out->length += (size_t)EVP_EncodeBlock(to, plain.data, (int)plain.length);
	buffer_free(&text);
	buffer_free(&plain);
	return to;
}

/* --- what comes back -------------------------------------------------------- */

struct answer {
	char description[500];
	char ids[160]; /* trace and correlation id */
	char numbers[128]; /* the vendor's numbers */
	bool read; /* it was a JSON object */
};

/* A code is matched whole: 700021 does not stand in 7000215. */
static bool mentions(const char *text, const char *part)
{
	size_t length = strlen(part);

	for (const char *at = text; (at = strcasestr(at, part)); at++) {
		bool before = at > text && isdigit((unsigned char)part[0]) && isdigit((unsigned char)at[-1]);
		bool after = isdigit((unsigned char)part[length - 1]) && isdigit((unsigned char)at[length]);

		if (!before && !after)
			return true;
	}
	return false;
}

static const struct token_advice *find_advice(const struct token_advice *rows, const struct answer *answer, const char *code)
{
	for (; rows && rows->part; rows++)
		if (mentions(code, rows->part) || mentions(answer->description, rows->part) || mentions(answer->numbers, rows->part))
			return rows;
	return NULL;
}

static void add_id(const struct keyfob_request *request, struct answer *answer, const json_t *object, const char *name)
{
	const char *value = json_reply_text(object, name);
	size_t have = strlen(answer->ids);
	char shown[64];

	if (!value)
		return;
	http_show(request, shown, sizeof(shown), value, strlen(value));
	/* Many descriptions end with them. */
	if (!strcasestr(answer->description, shown))
		snprintf(answer->ids + have, sizeof(answer->ids) - have, "%s%s %s", have ? ", " : "", name, shown);
}

/* A JSON array of numbers; relays of managed identities send it as a string. */
static void read_numbers(struct answer *answer, const json_t *object)
{
	const json_t *codes = json_object_get(object, "error_codes"), *code;
	const char *text = json_string_value(codes);
	size_t i;

	if (text)
		report_text(answer->numbers, sizeof(answer->numbers), text, strlen(text), REPORT_MASK_ALL);
	json_array_foreach(codes, i, code)
	{
		size_t have = strlen(answer->numbers);

		if (json_is_integer(code))
			snprintf(answer->numbers + have, sizeof(answer->numbers) - have, "%lld ", (long long)json_integer_value(code));
	}
}

static void read_error(
	const struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply, struct answer *answer)
{
	const char *why = NULL, *code, *description;
	json_t *object = json_reply_load(x->body.data, x->body.length, &why);

	if (!object) {
		http_show(request, answer->description, 200, x->body.data, x->body.length);
		return;
	}
	answer->read = true;
	code = json_reply_text(object, "error");
	description = json_reply_text(object, "error_description");
	if (code)
		http_show(request, reply->code, sizeof(reply->code), code, strlen(code));
	if (description)
		http_show(request, answer->description, sizeof(answer->description), description, strlen(description));
	add_id(request, answer, object, "trace_id");
	add_id(request, answer, object, "correlation_id");
	read_numbers(answer, object);
	json_reply_free(object);
}

/* "Entra answered 401 invalid_client: AADSTS7000215: ... (trace_id ...); what to do" */
static void endpoint_fail(const struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply,
	const struct token_endpoint *endpoint)
{
	const struct http_status *status = http_judge(x, statuses, sizeof(statuses) / sizeof(statuses[0]), reply);
	enum keyfob_class class = status->class;
	const char *advice = status->advice;
	const struct token_advice *row;
	struct answer answer = { 0 };
	bool refusal;

	read_error(x, request, reply, &answer);
	row = find_advice(endpoint->advice, &answer, reply->code);
	if (!row && answer.read)
		row = find_advice(usual, &answer, reply->code);
	/* Whoever is overloaded or stands between has not judged the client, whatever he says. */
	refusal = row && (row->class == KEYFOB_CLASS_PERMANENT || row->class == KEYFOB_CLASS_CONFIG);
	if (class == KEYFOB_CLASS_THROTTLED || (class == KEYFOB_CLASS_TRANSIENT && refusal))
		row = NULL;
	if (row) {
		class = row->class;
		advice = row->advice;
	}
	if (class == KEYFOB_CLASS_THROTTLED && !reply->retry_after)
		reply->retry_after = THROTTLE_SECONDS;
	keyfob_fail(reply, class, "%s answered %ld%s%s%s%s%s%s%s%s%s", endpoint->service, x->status, reply->code[0] ? " " : "", reply->code,
		answer.description[0] ? ": " : "", answer.description, answer.ids[0] ? " (" : "", answer.ids, answer.ids[0] ? ")" : "",
		advice ? "; " : "", advice ? advice : "");
}

static bool is_bearer(const struct keyfob_request *request, const json_t *object, struct keyfob_reply *reply, const char *service)
{
	const char *type = json_reply_text(object, "token_type");
	char shown[64];

	/* RFC 8693 says N_A of a token that is no access token. */
	if (!type || strcasecmp(type, "bearer") == 0 || strcasecmp(type, "N_A") == 0)
		return true;
	http_show(request, shown, sizeof(shown), type, strlen(type));
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
		"%s gave a token of type %s, which only its first owner can use; have it give Bearer tokens", service, shown);
	return false;
}

static void endpoint_read(const struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply,
	const struct token_endpoint *endpoint)
{
	const char *field = endpoint->field, *why = NULL, *token;
	json_t *object = json_reply_load(x->body.data, x->body.length, &why);
	time_t now = time(NULL);
	bool refused = false;

	if (!field)
		field = request->kind == KEYFOB_KIND_ID ? "id_token" : "access_token";
	token = object ? json_reply_text(object, field) : NULL;
	if (!object && strncasecmp(x->content_type, "text/html", 9) == 0)
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE,
			"%s answered 200, but with a web page, as a proxy or a captive portal does; "
			"check the endpoint and the network",
			endpoint->service);
	else if (!object)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s answered 200, but with no usable JSON: %s", endpoint->service, why);
	else if (!token && json_reply_text(object, "error"))
		refused = true;
	else if (!token)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s answered 200, but with no %s", endpoint->service, field);
	else if (is_bearer(request, object, reply, endpoint->service) && json_reply_token(reply, token, strlen(token))) {
		/* expires_in speaks of the access token; an ID token says its own. */
		if (strcmp(field, "id_token") != 0 &&
			!expiry_parse_json(json_object_get(object, "expires_in"), now, EXPIRY_RELATIVE, &reply->expires))
			report_tell(request, "! no readable expires_in");
		expiry_parse_json(json_object_get(object, "refresh_in"), now, EXPIRY_RELATIVE, &reply->refresh);
	}
	json_reply_free(object);
	if (refused)
		endpoint_fail(x, request, reply, endpoint);
}

void token_endpoint_ask(
	const struct keyfob_request *request, struct keyfob_reply *reply, const struct token_endpoint *endpoint, const struct buffer *form)
{
	const char *headers[] = { "Accept: application/json", NULL, NULL };
	struct buffer authorization;
	struct http_exchange x;
	bool local = false;

	buffer_init(&authorization, 4 * 3 * SECRET_MAX);
	if (endpoint->authorization) {
		buffer_printf(&authorization, "Authorization: %s", endpoint->authorization);
		headers[1] = buffer_cstring(&authorization);
	}
	if (!http_init(&x, request, reply, endpoint->origin, endpoint->path))
		goto out;
	x.service = endpoint->service;
	x.headers = headers;
	x.form = form;
	if (form->failed || authorization.failed) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s: the request is too long", endpoint->service);
		goto out;
	}
	if (!http_is_private(buffer_cstring(&x.url) ? (const char *)x.url.data : "", &local)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"%s: a secret is sent to https:// only, or to http:// on this host; correct the endpoint", endpoint->service);
		goto out;
	}
	x.peer = local ? HTTP_METADATA : HTTP_PUBLIC;
	if (!http_perform(&x, request, reply))
		goto out;
	if (x.status == 200)
		endpoint_read(&x, request, reply, endpoint);
	else
		endpoint_fail(&x, request, reply, endpoint);
out:
	http_free(&x);
	buffer_free(&authorization);
}
