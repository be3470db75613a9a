/* SPDX-License-Identifier: Apache-2.0 */
/* Azure managed identity: access tokens from a virtual machine's metadata service (IMDS). */
#include <strings.h>

#include "modules/expiry.h"
#include "modules/http.h"
#include "modules/json.h"
#include "modules/module.h"
#include "modules/report.h"

#define IMDS_ORIGIN "http://169.254.169.254"
#define IMDS_PATH "/metadata/identity/oauth2/token?api-version=2018-02-01"
#define NOT_AZURE "this does not look like IMDS; is this machine on Azure, or endpoint= right?"

struct identity {
	const char *option;
	const char *parameter;
	const char *words;
};

static const struct identity identities[] = {
	{ "client_id", "client_id", "client id" },
	{ "object_id", "object_id", "object id" },
	{ "resource_id", "msi_res_id", "resource id" },
};

/* How IMDS means its statuses; retry in seconds where it says nothing itself. */
static const struct {
	long first, last;
	enum keyfob_class class;
	unsigned int retry;
	const char *advice;
} statuses[] = {
	{ 100, 299, KEYFOB_CLASS_UNAVAILABLE, 0, NOT_AZURE },
	{ 300, 399, KEYFOB_CLASS_UNAVAILABLE, 0, "a redirect is never followed; " NOT_AZURE },
	{ 401, 401, KEYFOB_CLASS_UNAVAILABLE, 0, NOT_AZURE },
	{ 403, 403, KEYFOB_CLASS_UNAVAILABLE, 0, NOT_AZURE },
	{ 404, 404, KEYFOB_CLASS_TRANSIENT, 0, "the identity endpoint is being updated" },
	{ 408, 408, KEYFOB_CLASS_TRANSIENT, 0, NULL },
	{ 410, 410, KEYFOB_CLASS_TRANSIENT, 10, "IMDS is being updated and is back within 70 s" },
	{ 429, 429, KEYFOB_CLASS_THROTTLED, 1, "too many requests from this machine" },
	{ 502, 502, KEYFOB_CLASS_TRANSIENT, 1, "this is usually a proxy's answer; IMDS must be reached directly" },
	{ 504, 504, KEYFOB_CLASS_TRANSIENT, 1, "this is usually a proxy's answer; IMDS must be reached directly" },
	{ 500, 599, KEYFOB_CLASS_TRANSIENT, 1, NULL },
	{ 400, 499, KEYFOB_CLASS_PERMANENT, 0, NULL },
};

/* The texts of a 400 are for people and change; a hint may fail to match, the class does not depend on it. */
static const struct {
	const char *part;
	const char *advice;
} hints[] = {
	{ "identity not found",
	  "assign that identity to this machine, or correct client_id=, object_id= or resource_id=" },
	{ "multiple user assigned", "several identities are assigned; name one with client_id=" },
	{ "500011", "the tenant does not know the resource; correct resource, or register it" },
	{ "invalid_resource", "the tenant does not know the resource; correct resource, or register it" },
	{ "metadata header", NOT_AZURE },
};

/* The one identity option of the provider line; NULL when none or, then with a failure in reply, too many. */
static const struct identity *pick_identity(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const struct identity *picked = NULL;

	for (size_t i = 0; i < sizeof(identities) / sizeof(identities[0]); i++) {
		if (!keyfob_setting(request, identities[i].option, NULL))
			continue;
		if (picked) {
			keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s= and %s= exclude each other; keep one of them",
				    picked->option, identities[i].option);
			return NULL;
		}
		picked = &identities[i];
	}
	return picked;
}

/* IMDS wants the bare resource, not the scope made of it. */
static void put_resource(struct http_exchange *x, const char *resource)
{
	size_t length = strlen(resource), suffix = strlen("/.default");
	struct buffer bare;

	if (length > suffix && strcmp(resource + length - suffix, "/.default") == 0)
		length -= suffix;
	buffer_init(&bare, HTTP_URL_MAX);
	if (buffer_put(&bare, resource, length) && buffer_cstring(&bare))
		http_query(x, "resource", (const char *)bare.data);
	else
		x->url.failed = true;
	buffer_free(&bare);
}

static void read_error(const struct http_exchange *x, struct keyfob_reply *reply, char *text, size_t size)
{
	const char *why = NULL, *code, *description;
	json_t *object = json_reply_load(x->body.data, x->body.length, &why);

	text[0] = 0;
	if (object) {
		code = json_reply_text(object, "error");
		description = json_reply_text(object, "error_description");
		if (code)
			report_text(reply->code, sizeof(reply->code), code, strlen(code), REPORT_MASK_KEEP_IDS);
		if (description)
			report_text(text, size, description, strlen(description), REPORT_MASK_KEEP_IDS);
	} else if (x->body.length) {
		report_text(text, size < 200 ? size : 200, x->body.data, x->body.length, REPORT_MASK_KEEP_IDS);
	}
	json_reply_free(object);
}

static const char *find_hint(const char *code, const char *text)
{
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		if (strcasestr(text, hints[i].part) || strcasestr(code, hints[i].part))
			return hints[i].advice;
	return NULL;
}

/* "IMDS answered 400 invalid_request: identity not found (client id 5f3a...); what to do" */
static void imds_fail(const struct http_exchange *x, const struct keyfob_request *request,
		      const struct identity *identity, struct keyfob_reply *reply)
{
	char text[500], who[200] = "";
	const char *advice;
	size_t i = 0;

	while (i + 1 < sizeof(statuses) / sizeof(statuses[0]) &&
	       !(x->status >= statuses[i].first && x->status <= statuses[i].last))
		i++;
	read_error(x, reply, text, sizeof(text));
	advice = statuses[i].advice;
	if (statuses[i].class == KEYFOB_CLASS_PERMANENT) {
		advice = find_hint(reply->code, text);
		if (!advice)
			advice = "correct resource and the identity of this provider line";
		if (identity)
			snprintf(who, sizeof(who), " (%s %.160s)", identity->words,
				 keyfob_setting(request, identity->option, ""));
	}
	reply->retry_after = x->retry_after ? x->retry_after : statuses[i].retry;
	keyfob_fail(reply, statuses[i].class, "IMDS answered %ld%s%s%s%s%s%s%s", x->status, reply->code[0] ? " " : "",
		    reply->code, text[0] ? ": " : "", text, who, advice ? "; " : "", advice ? advice : "");
}

static void read_times(const json_t *object, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	time_t now = time(NULL);

	if (!expiry_parse_json(json_object_get(object, "expires_on"), now, EXPIRY_ABSOLUTE, &reply->expires) &&
	    !expiry_parse_json(json_object_get(object, "expires_in"), now, EXPIRY_RELATIVE, &reply->expires))
		report_tell(request, "! no readable expires_on or expires_in");
	expiry_parse_json(json_object_get(object, "refresh_in"), now, EXPIRY_RELATIVE, &reply->refresh);
}

static void imds_read(const struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *why = NULL, *token;
	json_t *object = json_reply_load(x->body.data, x->body.length, &why);

	token = object ? json_reply_text(object, "access_token") : NULL;
	if (!object)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "IMDS answered 200, but with no usable JSON: %s", why);
	else if (!token)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "IMDS answered 200, but with no access_token");
	else if (json_reply_token(reply, token, strlen(token)))
		read_times(object, request, reply);
	json_reply_free(object);
}

static void imds_obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	static const char *const headers[] = { "Metadata: true", "Accept: application/json", NULL };
	const struct identity *identity = pick_identity(request, reply);
	struct http_exchange x;

	if (reply->class != KEYFOB_CLASS_OK)
		return;
	if (!http_init(&x, request, reply, IMDS_ORIGIN, IMDS_PATH))
		goto out;
	x.service = "IMDS";
	x.peer = HTTP_METADATA;
	x.headers = headers;
	x.advice = "is this machine on Azure, or endpoint= right?";
	put_resource(&x, request->resource);
	if (identity)
		http_query(&x, identity->parameter, keyfob_setting(request, identity->option, ""));
	if (!http_perform(&x, request, reply))
		goto out;
	if (x.status == 200)
		imds_read(&x, request, reply);
	else
		imds_fail(&x, request, identity, reply);
out:
	http_free(&x);
}

static const struct {
	const char *name;
	void (*obtain)(const struct keyfob_request *request, struct keyfob_reply *reply);
} sources[] = {
	{ "imds", imds_obtain },
};

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *source = keyfob_setting(request, "source", "imds");

	if (request->kind == KEYFOB_KIND_ID) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "azure gives access tokens only; remove token = id");
		return;
	}
	if (!request->resource[0]) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			    "no resource; set resource = to the Application ID URI or client id the token is for");
		return;
	}
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		if (strcmp(sources[i].name, source) == 0) {
			sources[i].obtain(request, reply);
			return;
		}
	}
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "source=%.64s is not known", source);
}

static const struct keyfob_option options[] = {
	{ "source", KEYFOB_OPTION_CHOICE, 0, "imds",
	  "where the token comes from; default: imds, a virtual machine's own service" },
	{ "client_id", KEYFOB_OPTION_TEXT, 0, "a GUID",
	  "client id of a user-assigned identity; default: the machine's system-assigned one" },
	{ "object_id", KEYFOB_OPTION_TEXT, 0, "a GUID", "the same by object (principal) id, in place of client_id" },
	{ "resource_id", KEYFOB_OPTION_TEXT, 0, "/subscriptions/...",
	  "the same by ARM resource id, in place of client_id" },
	HTTP_OPTIONS,
};

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = "azure",
	.help = "access tokens of an Azure managed identity",
	.sandbox = KEYFOB_SANDBOX_NETWORK,
	.kind = KEYFOB_KIND_ACCESS,
	.example = "[credential atlas]\n"
		   "resource = api://00000000-0000-0000-0000-000000000000\n"
		   "provider = azure client_id=00000000-0000-0000-0000-000000000000\n"
		   "allow    = user:orders\n",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
