/* SPDX-License-Identifier: Apache-2.0 */
/* Google Cloud: the table of sources and their options, and what they share. */
#include "modules/gcp.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <strings.h>

#include "modules/http.h"
#include "modules/json.h"

/* --- several requests ------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void gcp_chain_init(struct gcp_chain *chain, const struct keyfob_request *request)
{
	memset(chain, 0, sizeof(*chain));
	chain->deadline = now_ms() + request->timeout * INT64_C(1000);
}

bool gcp_chain_next(struct gcp_chain *chain, const struct keyfob_request *request, enum keyfob_kind kind, const char *endpoint, bool last,
	struct keyfob_reply *reply)
{
	int64_t left = chain->deadline - now_ms();
	size_t count = 0;

	if (left <= 0) {
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE, "the steps to a token took longer than %u s; timeout= may be raised",
			request->timeout);
		return false;
	}
	for (size_t i = 0; i < request->count && count + 1 < GCP_SETTINGS; i++) {
		const char *name = request->settings[i].name;

		if (strcmp(name, "endpoint") != 0 && (last || (strcmp(name, "scopes") != 0 && strcmp(name, "subject") != 0)))
			chain->settings[count++] = request->settings[i];
	}
	if (endpoint)
		chain->settings[count++] = (struct keyfob_setting){ "endpoint", endpoint };
	chain->request = *request;
	chain->request.settings = chain->settings;
	chain->request.count = count;
	chain->request.kind = kind;
	chain->request.timeout = (unsigned int)((left + 999) / 1000);
	return true;
}

void gcp_wipe(struct keyfob_reply *step)
{
	if (step->token)
		explicit_bzero(step->token, step->length);
	free(step->token);
	step->token = NULL;
}

/* --- URLs ------------------------------------------------------------------- */

static char *join(const char *a, const char *b, const char *c, const char *d, const char *e)
{
	char *text;

	return asprintf(&text, "%s%s%s%s%s", a, b, c, d, e) < 0 ? NULL : text;
}

/* Copies, since curl's memory functions may change between here and gcp_url_free(). */
bool gcp_url_parse(struct gcp_url *url, const char *text)
{
	char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL, *query = NULL, *extra = NULL;
	CURLU *u = curl_url();

	memset(url, 0, sizeof(*url));
	if (!u || curl_url_set(u, CURLUPART_URL, text, 0) || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
		curl_url_get(u, CURLUPART_HOST, &host, 0) || curl_url_get(u, CURLUPART_PATH, &path, 0) ||
		!curl_url_get(u, CURLUPART_USER, &extra, 0) || !curl_url_get(u, CURLUPART_FRAGMENT, &extra, 0))
		goto out;
	if (curl_url_get(u, CURLUPART_PORT, &port, 0))
		port = NULL;
	if (curl_url_get(u, CURLUPART_QUERY, &query, 0))
		query = NULL;
	url->scheme = strdup(scheme);
	url->host = strdup(host);
	url->origin = join(scheme, "://", host, port ? ":" : "", port ? port : "");
	url->path = join(path, query ? "?" : "", query ? query : "", "", "");
out:
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(path);
	curl_free(query);
	curl_free(extra);
	curl_url_cleanup(u);
	return url->scheme && url->host && url->origin && url->path;
}

void gcp_url_free(struct gcp_url *url)
{
	free(url->scheme);
	free(url->host);
	free(url->origin);
	free(url->path);
}

json_t *gcp_file(const struct keyfob_request *request, const char *option, const char *what, struct keyfob_reply *reply)
{
	size_t length = 0;
	const char *text = keyfob_secret(request, option, &length), *why = NULL;
	json_t *object = text ? json_reply_load(text, length, &why) : NULL;

	if (!text)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "source=%s needs %s=, %s", keyfob_setting(request, "source", ""), option, what);
	else if (!object)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s= is not usable: %s", option, why);
	return object;
}

const char *gcp_universe(const struct keyfob_request *request, const json_t *file, struct keyfob_reply *reply)
{
	const char *named = json_string_value(json_object_get(file, "universe_domain"));
	const char *allowed = keyfob_setting(request, "universe_domain", GCP_UNIVERSE);

	if (!named || !*named)
		named = GCP_UNIVERSE;
	if (strcasecmp(named, allowed) == 0)
		return allowed;
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
		"the file belongs to the universe %.200s; if it may send tokens there, set universe_domain= to that", named);
	return NULL;
}

bool gcp_url_allowed(const struct keyfob_request *request, const struct gcp_url *url, const char *universe)
{
	size_t host, tail = strlen(universe);

	if (keyfob_setting(request, "endpoint", NULL))
		return true;
	host = strlen(url->host);
	return strcmp(url->scheme, "https") == 0 && host > tail + 1 && url->host[host - tail - 1] == '.' &&
	       strcasecmp(url->host + host - tail, universe) == 0;
}

json_t *gcp_words(const char *text, const char *prefix)
{
	json_t *words = json_array();

	for (text += strspn(text, ", "); *text; text += strspn(text, ", ")) {
		int length = (int)strcspn(text, ", ");

		json_array_append_new(words, json_sprintf("%s%.*s", prefix, length, text));
		text += length;
	}
	return words;
}

/* --- the table -------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*obtain)(const struct keyfob_request *request, struct keyfob_reply *reply);
} sources[] = {
	{ "metadata", gcp_metadata },
	{ "key", gcp_key },
	{ "impersonate", gcp_impersonate },
	{ "external_account", gcp_external },
};

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *source = keyfob_setting(request, "source", "metadata");

	if (request->kind == KEYFOB_KIND_ID && !request->resource[0]) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "no resource; set resource = to the audience the ID token is for");
		return;
	}
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		if (strcmp(sources[i].name, source) == 0) {
			sources[i].obtain(request, reply);
			if (reply->class == KEYFOB_CLASS_OK)
				reply->refresh_before = GCP_REFRESH_BEFORE;
			return;
		}
	}
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "source=%.64s is not known", source);
}

static const struct keyfob_option options[] = {
	{ "source", KEYFOB_OPTION_CHOICE, 0, "metadata|key|impersonate|external_account",
		"the metadata server; a service account's key; acting as another account; a foreign token "
		"(workload identity federation). Default: metadata" },
	{ "service_account", KEYFOB_OPTION_TEXT, 0, "an email address or alias", "metadata: whose token; default: default" },
	{ "format", KEYFOB_OPTION_CHOICE, 0, "standard|full",
		"metadata: claims of an ID token, full adds email and instance; default: full" },
	{ "licenses", KEYFOB_OPTION_FLAG, 0, "yes or no", "metadata: ID tokens with format=full name the image's licenses; default: no" },
	{ "scopes", KEYFOB_OPTION_TEXT, 0, "SCOPE,SCOPE...",
		"of an access token; default: the machine's (metadata, where the platform heeds them), else cloud-platform" },
	{ "key_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, "a service account's JSON file",
		"key: whose key signs (needed). impersonate: whose token to start from; default: the metadata server's" },
	{ "subject", KEYFOB_OPTION_TEXT, 0, "an email address",
		"key: a user of the domain, for domain-wide delegation; default: the account itself" },
	{ "target", KEYFOB_OPTION_TEXT, 0, "an email address",
		"impersonate: the service account to act as (needed). external_account: default: what the file says" },
	{ "delegates", KEYFOB_OPTION_TEXT, 0, "EMAIL,EMAIL...",
		"impersonate, external_account: the accounts between, in order; default: none" },
	{ "lifetime", KEYFOB_OPTION_SECONDS, 0, "10m to 12h",
		"impersonate, external_account: of an access token; more than 1h needs an organization policy; default: 1h" },
	{ "source_from", KEYFOB_OPTION_CREDENTIAL, 0, "a credential's name", "impersonate: start from that credential's access token" },
	{ "metadata_endpoint", KEYFOB_OPTION_URL, 0, "http[s]://HOST[:PORT]",
		"impersonate: the metadata server to start from; default: " GCP_METADATA_ORIGIN },
	{ "config_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, "an external_account JSON file",
		"external_account: as gcloud iam workload-identity-pools create-cred-config writes it (needed)" },
	{ "subject_file", KEYFOB_OPTION_FILE, 0, "a file",
		"external_account: where the foreign token stands; needed where config_file names a file" },
	{ "subject_from", KEYFOB_OPTION_CREDENTIAL, 0, "a credential's name",
		"external_account: that credential's token is the foreign one, whatever config_file says" },
	{ "universe_domain", KEYFOB_OPTION_TEXT, 0, "a domain", "where key_file and config_file may send tokens; default: googleapis.com" },
	HTTP_OPTIONS,
};

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = "gcp",
	.help = "ID and access tokens of a Google Cloud service account",
	.sandbox = KEYFOB_SANDBOX_NETWORK,
	.kind = KEYFOB_KIND_ID,
	.example = "[credential atlas]\n"
		   "resource = https://orders.example.com\n"
		   "provider = gcp\n"
		   "allow    = user:orders\n"
		   "\n"
		   "# off Google Cloud, with a key:\n"
		   "# provider = gcp source=key key_file=/etc/keyfob/orders-key.json\n"
		   "# as another account:\n"
		   "# provider = gcp source=impersonate target=orders@my-project.iam.gserviceaccount.com\n"
		   "# with the token of another cloud, here the credential azure-for-google:\n"
		   "# provider = gcp source=external_account config_file=/etc/keyfob/pool.json "
		   "subject_from=azure-for-google\n",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
