/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload identity federation (an external_account file): a foreign token is
 * exchanged at Google's Security Token Service (RFC 8693), and what comes of
 * it is then mostly used to act as a service account.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modules/gcp.h"
#include "modules/http.h"
#include "modules/json.h"
#include "modules/token-endpoint.h"

#define GRANT "urn:ietf:params:oauth:grant-type:token-exchange"
#define ACCESS_TOKEN "urn:ietf:params:oauth:token-type:access_token"
#define TOKEN_MAX 65536
#define FORM_MAX 262144 /* a token, each byte of it percent-encoded */
#define HEADERS_MAX 16
#define USE_CALLBACK "write a callback-exec credential that runs the program, and name it with subject_from= here"

/* The file's content, copied. */
struct config {
	char *audience, *token_type, *token_url, *impersonation_url, *client_id, *client_secret, *user_project;
	char *file, *url, *field; /* of credential_source */
	char *headers[HEADERS_MAX + 1]; /* "Name: value", for url */
	const char *universe;
	unsigned int lifetime;
};

static const struct token_advice advice[] = {
	{ "internal_failure", KEYFOB_CLASS_TRANSIENT, NULL },
	{ "invalid_grant", KEYFOB_CLASS_PERMANENT,
		"the pool's provider does not accept the foreign token; check its issuer, allowed audiences, attribute "
		"condition and expiry" },
	{ "invalid_target", KEYFOB_CLASS_CONFIG, "the pool or its provider is not there or is disabled; check audience in config_file=" },
	{ "invalid_client", KEYFOB_CLASS_PERMANENT, "check client_id and client_secret in config_file=" },
	{ "invalid_request", KEYFOB_CLASS_PERMANENT, "check audience and subject_token_type in config_file=" },
	{ NULL, 0, NULL },
};

/* --- the file --------------------------------------------------------------- */

static void wipe_text(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static void free_config(struct config *c)
{
	char *const texts[] = { c->audience, c->token_type, c->token_url, c->impersonation_url, c->client_id, c->client_secret,
		c->user_project, c->file, c->url, c->field };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		wipe_text(texts[i]);
	for (size_t i = 0; c->headers[i]; i++)
		wipe_text(c->headers[i]);
}

static char *copy(const json_t *object, const char *name)
{
	const char *text = json_reply_text(object, name);

	return text ? strdup(text) : NULL;
}

static bool take_headers(const json_t *headers, struct config *c)
{
	const char *name;
	json_t *value;
	size_t count = 0;

	json_object_foreach((json_t *)(uintptr_t)headers, name, value)
	{
		const char *text = json_string_value(value);

		if (!text || count == HEADERS_MAX || !*name || strpbrk(name, ":\r\n") || strpbrk(text, "\r\n") ||
			asprintf(&c->headers[count], "%s: %s", name, text) < 0) {
			c->headers[count] = NULL;
			return false;
		}
		count++;
	}
	return true;
}

/* NULL, or why keyfob does not take this kind of source. */
static const char *refuse_source(const json_t *source)
{
	if (json_object_get(source, "executable"))
		return "runs a program, which the sandbox of this module forbids; " USE_CALLBACK;
	if (json_object_get(source, "environment_id"))
		return "signs requests to AWS, which this module cannot; " USE_CALLBACK;
	if (json_object_get(source, "certificate"))
		return "shows a client certificate, which this module cannot; " USE_CALLBACK;
	return "names neither a file nor a URL; correct it, or set subject_from=";
}

static bool take_source(const struct keyfob_request *request, const json_t *source, struct config *c, struct keyfob_reply *reply)
{
	const json_t *format = json_object_get(source, "format");
	const char *type = json_reply_text(format, "type");
	bool json = type && strcmp(type, "json") == 0;

	if (keyfob_setting(request, "subject_from", NULL))
		return true;
	c->file = copy(source, "file");
	c->url = c->file ? NULL : copy(source, "url");
	c->field = json ? copy(format, "subject_token_field_name") : NULL;
	if (!c->file && !c->url && !keyfob_setting(request, "subject_file", NULL)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "credential_source in config_file= %s", refuse_source(source));
		return false;
	}
	if ((json && !c->field) || (type && !json && strcmp(type, "text") != 0)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"credential_source.format in config_file= is text, or json with subject_token_field_name");
		return false;
	}
	if (!take_headers(json_object_get(source, "headers"), c)) {
		keyfob_fail(
			reply, KEYFOB_CLASS_CONFIG, "credential_source.headers in config_file= has at most %d plain headers", HEADERS_MAX);
		return false;
	}
	return true;
}

static bool check_type(const json_t *object, struct keyfob_reply *reply)
{
	const char *type = json_reply_text(object, "type");

	if (type && strcmp(type, "external_account") == 0)
		return true;
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "config_file= is of type %.64s, not external_account%s", type ? type : "(none)",
		type && strcmp(type, "service_account") == 0 ? "; use source=key with key_file=" : "");
	return false;
}

static bool take_members(const json_t *object, struct config *c, struct keyfob_reply *reply)
{
	const json_t *impersonation = json_object_get(object, "service_account_impersonation");
	json_int_t lifetime = json_integer_value(json_object_get(impersonation, "token_lifetime_seconds"));
	const char *lacks;

	c->audience = copy(object, "audience");
	c->token_type = copy(object, "subject_token_type");
	c->token_url = copy(object, "token_url");
	c->impersonation_url = copy(object, "service_account_impersonation_url");
	c->client_id = copy(object, "client_id");
	c->client_secret = copy(object, "client_secret");
	c->user_project = copy(object, "workforce_pool_user_project");
	/* One that makes no sense is refused where lifetime= would be. */
	c->lifetime = lifetime < 0 || lifetime > 1000000 ? 1000000 : (unsigned int)lifetime;
	lacks = !c->audience ? "audience" : !c->token_type ? "subject_token_type" : !c->token_url ? "token_url" : NULL;
	if (lacks)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "config_file= lacks %s", lacks);
	else if (c->user_project && !strstr(c->audience, "/workforcePools/"))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"workforce_pool_user_project in config_file= is for workforce pools, audience names none");
	else
		return true;
	return false;
}

static bool read_config(const struct keyfob_request *request, struct config *c, struct keyfob_reply *reply)
{
	json_t *object = gcp_file(request, "config_file", "an external_account JSON file", reply);
	bool ok;

	if (!object)
		return false;
	ok = check_type(object, reply) && (c->universe = gcp_universe(request, object, reply)) && take_members(object, c, reply) &&
	     take_source(request, json_object_get(object, "credential_source"), c, reply);
	json_reply_free(object);
	return ok;
}

/* --- the subject token ------------------------------------------------------ */

/* Text, or a member of a JSON object; blanks around it do not count. */
static bool take_subject(
	const struct config *c, const char *where, const struct buffer *from, struct buffer *subject, struct keyfob_reply *reply)
{
	const char *at = from->length ? (const char *)from->data : "", *why = "it is empty";
	size_t length = from->length;
	json_t *object = NULL;

	if (c->field) {
		object = json_reply_load(at, length, &why);
		at = json_reply_text(object, c->field);
		length = at ? strlen(at) : 0;
		if (object && !at)
			why = "it lacks the member that subject_token_field_name names";
	}
	for (; length && strchr(" \t\r\n", at[length - 1]); length--)
		;
	for (; length && strchr(" \t\r\n", *at); length--)
		at++;
	if (length && !memchr(at, 0, length))
		buffer_put(subject, at, length);
	json_reply_free(object);
	if (subject->length && buffer_cstring(subject))
		return true;
	/* Whoever writes it may be about to. */
	keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "no foreign token in %s: %s", where, why);
	return false;
}

static bool read_file(const char *path, struct buffer *to, struct keyfob_reply *reply)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	uint8_t *room = fd >= 0 ? buffer_reserve(to, TOKEN_MAX) : NULL;
	struct stat st;
	ssize_t got = -1;

	if (fd < 0 || fstat(fd, &st) < 0) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "subject_file=%.300s: %s", path, strerror(errno));
	} else if (!S_ISREG(st.st_mode) || st.st_size >= TOKEN_MAX || !room) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "subject_file=%.300s is no file of a token's size", path);
	} else {
		got = read(fd, room, TOKEN_MAX);
		if (got < 0)
			keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "subject_file=%.300s: %s", path, strerror(errno));
		to->length += got > 0 ? (size_t)got : 0;
	}
	if (fd >= 0)
		close(fd);
	return got >= 0;
}

static void fail_url(const struct http_exchange *x, const char *origin, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	static const struct http_status statuses[] = {
		{ 408, 408, KEYFOB_CLASS_TRANSIENT, 0, NULL },
		{ 429, 429, KEYFOB_CLASS_THROTTLED, 0, NULL },
		{ 400, 499, KEYFOB_CLASS_PERMANENT, 0, NULL },
		{ 100, 599, KEYFOB_CLASS_TRANSIENT, 0, NULL },
	};
	const struct http_status *row = http_judge(x, statuses, sizeof(statuses) / sizeof(statuses[0]), reply);
	char shown[200] = "";

	if (x->body.length)
		http_show(request, shown, sizeof(shown), x->body.data, x->body.length);
	keyfob_fail(reply, row->class, "the source of the foreign token (%.200s) answered %ld%s%s", origin, x->status, shown[0] ? ": " : "",
		shown);
}

static bool ask_url(struct gcp_chain *chain, const struct keyfob_request *request, const struct config *c, struct buffer *to,
	struct keyfob_reply *reply)
{
	const char *headers[HEADERS_MAX + 1];
	struct http_exchange x;
	struct gcp_url url;
	bool ok = false;

	memcpy(headers, c->headers, sizeof(headers));
	if (!gcp_url_parse(&url, c->url)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "credential_source.url in config_file= is not a URL");
		goto out_url;
	}
	if (!gcp_chain_next(chain, request, request->kind, NULL, false, reply))
		goto out_url;
	if (!http_init(&x, &chain->request, reply, url.origin, url.path))
		goto out;
	x.service = "source of the foreign token";
	/* Plain http is spoken with this host or its hypervisor alone. */
	x.peer = strcmp(url.scheme, "http") == 0 ? HTTP_METADATA : HTTP_PUBLIC;
	x.headers = headers[0] ? headers : NULL;
	if (!http_perform(&x, &chain->request, reply))
		goto out;
	ok = x.status == 200 && buffer_put(to, x.body.data, x.body.length);
	if (!ok)
		fail_url(&x, url.origin, request, reply);
out:
	http_free(&x);
out_url:
	gcp_url_free(&url);
	return ok;
}

static bool get_subject(struct gcp_chain *chain, const struct keyfob_request *request, const struct config *c, struct buffer *subject,
	struct keyfob_reply *reply)
{
	const char *file = keyfob_setting(request, "subject_file", NULL), *token;
	struct buffer text;
	size_t length;
	bool ok = false;

	token = keyfob_secret(request, "subject_from", &length);
	if (token)
		return buffer_put(subject, token, length) && buffer_cstring(subject);
	if (!file && c->file) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"config_file= names the file %.300s; the sandbox lets it be read if the provider line "
			"says so too: subject_file=%.300s",
			c->file, c->file);
		return false;
	}
	buffer_init(&text, TOKEN_MAX);
	if (file)
		ok = read_file(file, &text, reply) && take_subject(c, "subject_file=", &text, subject, reply);
	else
		ok = ask_url(chain, request, c, &text, reply) &&
		     take_subject(c, "the answer of credential_source.url", &text, subject, reply);
	buffer_free(&text);
	return ok;
}

/* --- the exchange ----------------------------------------------------------- */

static void put_form(const struct keyfob_request *request, const struct config *c, const char *subject, bool last, struct buffer *form)
{
	const char *scopes = last ? keyfob_setting(request, "scopes", GCP_SCOPE) : GCP_SCOPE;
	json_t *list = gcp_words(scopes, ""), *word;
	struct buffer scope;
	char *options;
	size_t i;

	buffer_init(&scope, FORM_MAX);
	json_array_foreach(list, i, word) buffer_printf(&scope, "%s%s", i ? " " : "", json_string_value(word));
	json_decref(list);
	token_form_add(form, "grant_type", GRANT);
	token_form_add(form, "audience", c->audience);
	token_form_add(form, "scope", scope.length && buffer_cstring(&scope) ? (const char *)scope.data : "");
	token_form_add(form, "requested_token_type", ACCESS_TOKEN);
	token_form_add(form, "subject_token", subject);
	token_form_add(form, "subject_token_type", c->token_type);
	buffer_free(&scope);
	/* A client that names itself is billed itself. */
	if (!c->user_project || c->client_id)
		return;
	list = json_pack("{s:s}", "userProject", c->user_project);
	options = json_dumps(list, JSON_COMPACT);
	token_form_add(form, "options", options ? options : "");
	free(options);
	json_decref(list);
}

/* An access token of the pool's, into step. */
static bool exchange(
	const struct keyfob_request *request, const struct config *c, const char *subject, bool last, struct keyfob_reply *step)
{
	struct token_endpoint endpoint = { .service = "Google STS", .field = "access_token", .advice = advice };
	struct buffer form, authorization;
	const char *secret = c->client_secret ? c->client_secret : "";
	struct gcp_url url;

	buffer_init(&form, FORM_MAX);
	buffer_init(&authorization, TOKEN_MAX);
	if (!gcp_url_parse(&url, c->token_url) || !gcp_url_allowed(request, &url, c->universe)) {
		keyfob_fail(step, KEYFOB_CLASS_CONFIG,
			"token_url in config_file= is not https below %s: the foreign token is not sent there", c->universe);
	} else {
		put_form(request, c, subject, last, &form);
		if (c->client_id && token_basic_authorization(&authorization, c->client_id, secret, strlen(secret)))
			endpoint.authorization = buffer_cstring(&authorization);
		endpoint.origin = url.origin;
		endpoint.path = url.path;
		token_endpoint_ask(request, step, &endpoint, &form);
	}
	gcp_url_free(&url);
	buffer_free(&form);
	buffer_free(&authorization);
	return step->token;
}

/* "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/EMAIL:generateAccessToken" */
static char *email_of(const struct keyfob_request *request, const struct config *c, struct keyfob_reply *reply)
{
	const char *target = keyfob_setting(request, "target", NULL), *url = c->impersonation_url, *at, *end;
	struct gcp_url parts = { 0 };
	char *email = NULL;

	if (target) {
		email = strdup(target);
	} else if (gcp_url_parse(&parts, url) && gcp_url_allowed(request, &parts, c->universe)) {
		at = strstr(parts.path, "/serviceAccounts/");
		at = at ? at + strlen("/serviceAccounts/") : "";
		end = strstr(at, ":generateAccessToken");
		if (end && end[strlen(":generateAccessToken")] == 0)
			email = strndup(at, (size_t)(end - at));
	}
	gcp_url_free(&parts);
	if (email && gcp_email_valid(email))
		return email;
	free(email);
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
		target ? "target= is not the email address of a service account"
		       : "service_account_impersonation_url in config_file= is not one of IAM Credentials below %s",
		c->universe);
	return NULL;
}

static void obtain_as_account(struct gcp_chain *chain, const struct keyfob_request *request, const struct config *c, const char *subject,
	struct keyfob_reply *reply)
{
	const char *endpoint = keyfob_setting(request, "endpoint", NULL);
	struct gcp_target target = { .universe = c->universe };
	struct keyfob_reply step = { 0 };
	char *email = email_of(request, c, reply);

	target.email = email;
	target.delegates = keyfob_setting(request, "delegates", NULL);
	target.lifetime = email ? gcp_lifetime(request, c->lifetime, reply) : 0;
	if (!target.lifetime || !gcp_chain_next(chain, request, KEYFOB_KIND_ACCESS, endpoint, false, reply))
		goto out;
	if (!exchange(&chain->request, c, subject, false, &step))
		*reply = step;
	else if (gcp_chain_next(chain, request, request->kind, endpoint, true, reply))
		gcp_generate(&chain->request, reply, &target, step.token);
	gcp_wipe(&step);
out:
	free(email);
}

void gcp_external(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *endpoint = keyfob_setting(request, "endpoint", NULL);
	struct config c = { 0 };
	struct gcp_chain chain;
	struct buffer subject;
	bool as_account;

	buffer_init(&subject, TOKEN_MAX);
	gcp_chain_init(&chain, request);
	if (!read_config(request, &c, reply))
		goto out;
	as_account = c.impersonation_url || keyfob_setting(request, "target", NULL);
	if (!as_account && request->kind == KEYFOB_KIND_ID) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"a pool gives access tokens only; for an ID token set target= to a service account, "
			"or token = access");
		goto out;
	}
	if (!get_subject(&chain, request, &c, &subject, reply))
		goto out;
	if (as_account)
		obtain_as_account(&chain, request, &c, (const char *)subject.data, reply);
	else if (gcp_chain_next(&chain, request, KEYFOB_KIND_ACCESS, endpoint, true, reply))
		exchange(&chain.request, &c, (const char *)subject.data, true, reply);
out:
	free_config(&c);
	buffer_free(&subject);
}
