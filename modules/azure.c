/* SPDX-License-Identifier: Apache-2.0 */
/* Azure: access tokens of a managed identity or of an application (Entra ID). */
#include "modules/azure.h"

#include <strings.h>

#include "modules/expiry.h"
#include "modules/json.h"
#include "modules/report.h"

#define RESOURCE_UNKNOWN "the tenant does not know the resource; correct resource, or register it"

static const struct {
	const char *option;
	const char *words;
} ids[AZURE_IDS] = {
	[AZURE_CLIENT_ID] = { "client_id", "client id" },
	[AZURE_OBJECT_ID] = { "object_id", "object id" },
	[AZURE_RESOURCE_ID] = { "resource_id", "resource id" },
};

/* The texts of a refusal are for people and change; a hint may fail to match, the class does not depend on it. */
static const struct {
	const char *part;
	const char *advice;
} hints[] = {
	{ "identity not found", "assign that identity to this machine, or correct client_id=, object_id= or resource_id=" },
	{ "multiple user assigned", "several identities are assigned; name one with client_id=" },
	{ "500011", RESOURCE_UNKNOWN },
	{ "invalid_resource", RESOURCE_UNKNOWN },
	{ "metadata header", "this does not look like IMDS; is this machine on Azure, or endpoint= right?" },
};

/* --- what is asked ------------------------------------------------------------ */

bool azure_identity(const struct keyfob_request *request, struct keyfob_reply *reply, const struct azure_service *service,
	struct azure_identity *identity)
{
	identity->value = NULL;
	for (unsigned int i = 0; i < AZURE_IDS; i++) {
		const char *value = keyfob_setting(request, ids[i].option, NULL);

		if (!value)
			continue;
		if (identity->value) {
			keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s= and %s= exclude each other; keep one of them",
				ids[identity->id].option, ids[i].option);
			return false;
		}
		if (!service->parameter[i]) {
			keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s takes no %s=; use client_id=", service->name, ids[i].option);
			return false;
		}
		*identity = (struct azure_identity){ .id = (enum azure_id)i, .value = value };
	}
	return true;
}

/* These services want the bare resource, not the scope made of it. */
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

void azure_put_target(struct http_exchange *x, const struct keyfob_request *request, const struct azure_service *service,
	const struct azure_identity *identity)
{
	put_resource(x, request->resource);
	if (identity->value)
		http_query(x, service->parameter[identity->id], identity->value);
}

bool azure_put_line(struct buffer *out, const void *data, size_t length)
{
	const char *text = data;

	while (length && (text[length - 1] == '\n' || text[length - 1] == '\r'))
		length--;
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return length && buffer_put(out, text, length) && buffer_cstring(out);
}

bool azure_secret(const struct keyfob_request *request, struct keyfob_reply *reply, const char *name, struct buffer *out)
{
	size_t length = 0;
	const char *value = keyfob_secret(request, name, &length);

	if (value && azure_put_line(out, value, length))
		return true;
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s= wants a file that holds one line of text, and no more", name);
	return false;
}

/* --- what is answered ------------------------------------------------------------ */

static void read_error(
	const struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply, char *text, size_t size)
{
	const char *why = NULL, *code, *description, *correlation;
	json_t *object = json_reply_load(x->body.data, x->body.length, &why);
	char shown[48];

	text[0] = 0;
	if (!object) {
		http_show(request, text, size < 200 ? size : 200, x->body.data, x->body.length);
		return;
	}
	code = json_reply_text(object, "error");
	description = json_reply_text(object, "error_description");
	if (!description)
		description = json_reply_text(object, "message");
	correlation = json_reply_text(object, "correlation_id");
	if (!correlation)
		correlation = json_reply_text(object, "correlationId");
	if (code)
		http_show(request, reply->code, sizeof(reply->code), code, strlen(code));
	if (description)
		http_show(request, text, size - 70, description, strlen(description));
	if (correlation) {
		http_show(request, shown, sizeof(shown), correlation, strlen(correlation));
		snprintf(text + strlen(text), size - strlen(text), "%s(correlation id %s)", text[0] ? " " : "", shown);
	}
	json_reply_free(object);
}

static const char *find_hint(const char *code, const char *text)
{
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		if (strcasestr(text, hints[i].part) || strcasestr(code, hints[i].part))
			return hints[i].advice;
	return "correct resource and the identity of this provider line";
}

/* "IMDS answered 400 invalid_request: identity not found (client id 5f3a...); what to do" */
static void read_failure(const struct http_exchange *x, const struct keyfob_request *request, const struct azure_service *service,
	const struct azure_identity *identity, struct keyfob_reply *reply)
{
	const struct http_status *status = http_judge(x, service->statuses, service->count, reply);
	char text[500], who[200] = "";
	const char *advice;

	read_error(x, request, reply, text, sizeof(text));
	advice = status->class == KEYFOB_CLASS_PERMANENT ? find_hint(reply->code, text) : status->advice;
	if (status->class == KEYFOB_CLASS_PERMANENT && identity->value)
		snprintf(who, sizeof(who), " (%s %.160s)", ids[identity->id].words, identity->value);
	keyfob_fail(reply, status->class, "%s answered %ld%s%s%s%s%s%s%s", service->name, x->status, reply->code[0] ? " " : "", reply->code,
		text[0] ? ": " : "", text, who, advice ? "; " : "", advice ? advice : "");
}

static void read_times(const json_t *object, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	time_t now = time(NULL), expires;
	bool told = expiry_parse_json(json_object_get(object, "expires_on"), now, EXPIRY_ABSOLUTE, &reply->expires);

	/* Where this host's clock is behind, only this tells. */
	if (expiry_parse_json(json_object_get(object, "expires_in"), now, EXPIRY_RELATIVE, &expires) &&
		(!told || expires < reply->expires)) {
		reply->expires = expires;
		told = true;
	}
	if (!told)
		report_tell(request, "! no readable expires_on or expires_in");
	expiry_parse_json(json_object_get(object, "refresh_in"), now, EXPIRY_RELATIVE, &reply->refresh);
}

static bool repeats(const json_t *object, const struct azure_service *service, const struct azure_identity *identity)
{
	const char *value = json_reply_text(object, service->parameter[identity->id]);

	return value && strcasecmp(value, identity->value) == 0;
}

void azure_read(const struct http_exchange *x, const struct keyfob_request *request, const struct azure_service *service,
	const struct azure_identity *identity, struct keyfob_reply *reply)
{
	const char *why = NULL, *token;
	json_t *object;

	if (x->status != 200) {
		read_failure(x, request, service, identity, reply);
		return;
	}
	object = json_reply_load(x->body.data, x->body.length, &why);
	token = object ? json_reply_text(object, "access_token") : NULL;
	if (!object)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s answered 200, but with no usable JSON: %s", service->name, why);
	else if (!token)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s answered 200, but with no access_token", service->name);
	else if (service->echo && identity->value && !repeats(object, service, identity))
		keyfob_fail(reply, KEYFOB_CLASS_PERMANENT,
			"%s answered 200, but not for the %s that was asked for: it may be too old to know of others than the "
			"machine's own identity; update it, or remove %s=",
			service->name, ids[identity->id].words, ids[identity->id].option);
	else if (json_reply_token(reply, token, strlen(token)))
		read_times(object, request, reply);
	json_reply_free(object);
}

/* --- the table ------------------------------------------------------------------ */

#define EVERYWHERE " source endpoint ca_file proxy "

static const struct {
	const char *name;
	void (*obtain)(const struct keyfob_request *request, struct keyfob_reply *reply);
	const char *wants; /* options that it cannot do without */
	const char *takes; /* all its options, but for those that stand everywhere */
} sources[] = {
	{ "imds", azure_imds_obtain, "", " client_id object_id resource_id " },
	{ "appservice", azure_appservice_obtain, "header_file",
		" client_id object_id resource_id identity_endpoint header_file api_version " },
	{ "arc", azure_arc_obtain, "", " client_id object_id resource_id token_dir " },
	{ "workload", azure_workload_obtain, "tenant client_id", " tenant client_id authority cloud token_file assertion_from " },
	{ "secret", azure_secret_obtain, "tenant client_id secret_file", " tenant client_id authority cloud secret_file " },
	{ "certificate", azure_certificate_obtain, "tenant client_id certificate_file",
		" tenant client_id authority cloud certificate_file password_file send_chain " },
};

static bool has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += length)
		if ((at == list || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
			return true;
	return false;
}

/* An option of another source would be passed over in silence, and somebody thinks that it holds. */
static bool check_options(size_t source, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *at = sources[source].wants;

	for (size_t i = 0; i < request->count; i++) {
		const char *name = request->settings[i].name;

		if (has_word(EVERYWHERE, name) || has_word(sources[source].takes, name))
			continue;
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "source=%s has no use for %s=; it takes%s", sources[source].name, name,
			sources[source].takes);
		return false;
	}
	while (*at) {
		size_t length = strcspn(at, " ");
		char name[32];

		snprintf(name, sizeof(name), "%.*s", (int)length, at);
		if (!keyfob_setting(request, name, NULL)) {
			keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "source=%s wants the option %s=", sources[source].name, name);
			return false;
		}
		at += length + (at[length] == ' ');
	}
	return true;
}

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *source = keyfob_setting(request, "source", "imds");

	if (request->kind == KEYFOB_KIND_ID) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "azure gives access tokens only; remove token = id");
		return;
	}
	if (!request->resource[0]) {
		keyfob_fail(
			reply, KEYFOB_CLASS_CONFIG, "no resource; set resource = to the Application ID URI or client id the token is for");
		return;
	}
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		if (strcmp(sources[i].name, source) == 0) {
			if (check_options(i, request, reply))
				sources[i].obtain(request, reply);
			return;
		}
	}
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "source=%.64s is not known", source);
}

static const struct keyfob_option options[] = {
	{ "source", KEYFOB_OPTION_CHOICE, 0, "imds|appservice|arc|workload|secret|certificate",
		"a managed identity (imds, appservice, arc) or an application (the others); default: imds, a virtual machine's own "
		"service" },
	{ "client_id", KEYFOB_OPTION_TEXT, 0, "a GUID",
		"the application; of a managed identity a user-assigned one, default: the system-assigned one" },
	{ "object_id", KEYFOB_OPTION_TEXT, 0, "a GUID", "imds, appservice, arc: the same by object (principal) id, in place of client_id" },
	{ "resource_id", KEYFOB_OPTION_TEXT, 0, "/subscriptions/...",
		"imds, appservice, arc: the same by ARM resource id, in place of client_id" },
	{ "identity_endpoint", KEYFOB_OPTION_URL, 0, "http://HOST:PORT/PATH",
		"appservice: IDENTITY_ENDPOINT (or MSI_ENDPOINT); with get --direct env:IDENTITY_ENDPOINT; default path: /msi/token" },
	{ "header_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, "an absolute path",
		"appservice: holds IDENTITY_HEADER (or MSI_SECRET), read for each token; with get --direct env:IDENTITY_HEADER" },
	{ "api_version", KEYFOB_OPTION_CHOICE, 0, "2019-08-01|2017-09-01",
		"appservice: 2017-09-01 where only MSI_ENDPOINT is set; default: 2019-08-01" },
	{ "token_dir", KEYFOB_OPTION_FILE, 0, "a directory",
		"arc, for tests: where the agent keeps its keys; default: /var/opt/azcmagent/tokens" },
	{ "tenant", KEYFOB_OPTION_TEXT, 0, "a GUID or domain",
		"workload, secret, certificate: the directory of the application; adfs for AD FS" },
	{ "cloud", KEYFOB_OPTION_CHOICE, 0, "public|usgov|china", "workload, secret, certificate: whose login service; default: public" },
	{ "authority", KEYFOB_OPTION_URL, 0, "https://HOST", "the same by address, in place of cloud" },
	{ "token_file", KEYFOB_OPTION_FILE, 0, "an absolute path",
		"workload: holds the federated token (AZURE_FEDERATED_TOKEN_FILE); read again for each token" },
	{ "assertion_from", KEYFOB_OPTION_CREDENTIAL, 0, "a credential",
		"workload: the credential whose token is the federated token, in place of token_file" },
	{ "secret_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, "an absolute path", "secret: holds the client secret" },
	{ "certificate_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, "PEM or PKCS#12",
		"certificate: holds the certificate and its private key" },
	{ "password_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, "an absolute path",
		"certificate: holds the password of a PKCS#12 file; default: none" },
	{ "send_chain", KEYFOB_OPTION_FLAG, 0, "yes or no",
		"certificate: send the chain, for applications that trust by subject name and issuer; default: no" },
	HTTP_OPTIONS,
};

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = "azure",
	.help = "access tokens of an Azure managed identity or application",
	.sandbox = KEYFOB_SANDBOX_NETWORK,
	.kind = KEYFOB_KIND_ACCESS,
	.example = "[credential atlas]\n"
		   "resource = api://00000000-0000-0000-0000-000000000000\n"
		   "provider = azure client_id=00000000-0000-0000-0000-000000000000\n"
		   "# provider = azure source=arc run_as=orders\n"
		   "# provider = azure source=certificate tenant=example.com client_id=... certificate_file=/etc/keyfob/orders.pem\n"
		   "# provider = azure source=workload tenant=example.com client_id=... assertion_from=google\n"
		   "# on App Service, with keyfob get --direct:\n"
		   "# provider = azure source=appservice identity_endpoint=env:IDENTITY_ENDPOINT header_file=env:IDENTITY_HEADER\n"
		   "allow    = user:orders\n",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
