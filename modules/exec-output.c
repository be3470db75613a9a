/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/exec-output.h"

#include <ctype.h>
#include <stdbool.h>
#include <strings.h>

#include "modules/expiry.h"
#include "modules/json.h"
#include "modules/report.h"

#define K8S_GROUP "client.authentication.k8s.io/"
#define GOOGLE_TYPE "urn:ietf:params:oauth:token-type:"

struct input {
	const json_t *object;
	enum keyfob_kind kind;
	time_t now;
};

/* Take over the provider's own code and words for a failure. */
static void fail_as_said(struct keyfob_reply *reply, const char *code, const char *message)
{
	char text[500] = "";

	if (code)
		report_text(reply->code, sizeof(reply->code), code, strlen(code), REPORT_MASK_ALL);
	if (message)
		report_text(text, sizeof(text), message, strlen(message), REPORT_MASK_ALL);
	keyfob_fail(reply, KEYFOB_CLASS_PERMANENT, "the program reports %s%s%s", reply->code[0] ? reply->code : "a failure",
		text[0] ? ": " : "", text);
}

/* A docker helper prints its error, as a line of text, where the credential would stand. */
static void fail_as_printed(struct keyfob_reply *reply, const char *data, size_t length)
{
	char text[500];

	report_text(text, sizeof(text), data, length, REPORT_MASK_ALL);
	keyfob_fail(reply, KEYFOB_CLASS_PERMANENT, "the program reports a failure: %s", text);
}

static void accept_token(struct keyfob_reply *reply, const char *token, time_t expires, time_t now)
{
	if (expires && expires < now) {
		keyfob_fail(
			reply, KEYFOB_CLASS_TRANSIENT, "the token that the program gave expired %lld s ago", (long long)(now - expires));
		return;
	}
	if (json_reply_token(reply, token, strlen(token)))
		reply->expires = expires;
}

static void read_google(const struct input *in, struct keyfob_reply *reply)
{
	const json_t *version = json_object_get(in->object, "version");
	const json_t *success = json_object_get(in->object, "success");
	const char *type, *token, *code, *message;
	time_t expires = 0;

	if (!json_is_integer(version) || !json_is_boolean(success)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "google output needs a number version and a boolean success");
		return;
	}
	if (json_integer_value(version) != 1) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "google output of version %lld; only version 1 is known",
			(long long)json_integer_value(version));
		return;
	}
	if (json_is_false(success)) {
		code = json_reply_text(in->object, "code");
		message = json_reply_text(in->object, "message");
		if (code && message)
			fail_as_said(reply, code, message);
		else
			keyfob_fail(reply, KEYFOB_CLASS_PERMANENT, "the program reports a failure without code and message");
		return;
	}
	type = json_reply_text(in->object, "token_type");
	if (!type || strncmp(type, GOOGLE_TYPE, strlen(GOOGLE_TYPE)) != 0)
		type = GOOGLE_TYPE;
	type += strlen(GOOGLE_TYPE);
	if (strcmp(type, "jwt") == 0 || strcmp(type, "id_token") == 0) {
		token = json_reply_text(in->object, "id_token");
	} else if (strcmp(type, "saml2") == 0) {
		token = json_reply_text(in->object, "saml_response");
	} else {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "google output needs token_type " GOOGLE_TYPE "jwt, id_token or saml2");
		return;
	}
	if (!token) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "google output of token_type %s lacks %s", type,
			strcmp(type, "saml2") == 0 ? "saml_response" : "id_token");
		return;
	}
	expiry_parse_json(json_object_get(in->object, "expiration_time"), in->now, EXPIRY_ABSOLUTE, &expires);
	accept_token(reply, token, expires, in->now);
}

static void read_k8s(const struct input *in, struct keyfob_reply *reply)
{
	const char *version = json_reply_text(in->object, "apiVersion"), *kind = json_reply_text(in->object, "kind");
	const json_t *status = json_object_get(in->object, "status");
	const char *token = json_reply_text(status, "token");
	time_t expires = 0;

	if (!kind || strcmp(kind, "ExecCredential") != 0)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "k8s output needs kind ExecCredential");
	else if (!version || (strcmp(version, K8S_GROUP "v1") != 0 && strcmp(version, K8S_GROUP "v1beta1") != 0))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "k8s output needs apiVersion " K8S_GROUP "v1 or v1beta1");
	else if (!token && json_reply_text(status, "clientCertificateData"))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "the ExecCredential holds a client certificate and no token");
	else if (!token)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "the ExecCredential holds no status.token");
	else {
		expiry_parse_json(json_object_get(status, "expirationTimestamp"), in->now, EXPIRY_ABSOLUTE, &expires);
		accept_token(reply, token, expires, in->now);
	}
}

/* az wrote expiresOn in local time and without saying so; a date that does say is taken at its word. */
static bool parse_local(const char *text, time_t *expires)
{
	bool zoned;
	struct tm tm;
	time_t t;

	if (!text || !expiry_parse_date(text, &t, &zoned))
		return false;
	if (!zoned) {
		gmtime_r(&t, &tm);
		tm.tm_isdst = -1;
		t = mktime(&tm);
	}
	*expires = t;
	return t > 0;
}

static time_t oauth_expiry(const struct input *in, const char *token)
{
	struct expiry_claims claims;
	time_t expires = 0;

	if (expiry_parse_json(json_object_get(in->object, "expires_on"), in->now, EXPIRY_ABSOLUTE, &expires) ||
		expiry_parse_json(json_object_get(in->object, "expires_in"), in->now, EXPIRY_RELATIVE, &expires))
		return expires;
	if (expiry_jwt_claims(token, strlen(token), &claims) && claims.has_expires)
		return 0;
	return parse_local(json_reply_text(in->object, "expiresOn"), &expires) ? expires : 0;
}

static void read_oauth(const struct input *in, struct keyfob_reply *reply)
{
	const char *access = json_reply_text(in->object, "access_token");
	const char *id = json_reply_text(in->object, "id_token");
	const char *error = json_reply_text(in->object, "error"), *token;

	if (!access)
		access = json_reply_text(in->object, "accessToken");
	token = in->kind == KEYFOB_KIND_ID ? id : access;
	if (token)
		accept_token(reply, token, oauth_expiry(in, token), in->now);
	else if (error)
		fail_as_said(reply, error, json_reply_text(in->object, "error_description"));
	else if (access)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "the program gave an access_token and no id_token; say token = access");
	else if (id)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "the program gave an id_token and no access_token; say token = id");
	else
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "oauth output holds no access_token");
}

static void read_docker(const struct input *in, struct keyfob_reply *reply)
{
	const char *token = json_reply_text(in->object, "Secret");

	if (token)
		accept_token(reply, token, 0, in->now);
	else
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "docker output holds no Secret");
}

/* Every identity that the agent may have for this audience stands there; which one is meant is not ours to guess. */
static void read_spire(const char *text, size_t length, struct keyfob_reply *reply)
{
	const char *why = NULL, *token = NULL;
	json_t *array = json_reply_load_array(text, length, &why), *entry, *svid;
	struct expiry_claims claims;
	size_t i, j, count = 0;

	json_array_foreach(array, i, entry)
	{
		json_array_foreach(json_object_get(entry, "svids"), j, svid)
		{
			token = json_reply_text(svid, "svid");
			count++;
		}
	}
	if (!array)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "the program's output is of no use as spire: %s", why);
	else if (count > 1)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"spire output holds %zu SVIDs; name the one with -spiffeID among the program's arguments", count);
	else if (!token || !expiry_jwt_claims(token, strlen(token), &claims) || !claims.has_expires)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "spire output holds no JWT-SVID with an expiry");
	else
		json_reply_token(reply, token, strlen(token));
	json_reply_free(array);
}

struct text {
	const char *at;
	size_t length;
};

/* The value of the last line "name=..." of git-credential(1); its length is 0 when there is none. */
static struct text git_value(const char *text, size_t length, const char *name)
{
	const char *end = text + length;
	size_t prefix = strlen(name);
	struct text found = { "", 0 };

	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text)), *stop = newline ? newline : end;

		if ((size_t)(stop - text) > prefix && memcmp(text, name, prefix) == 0 && text[prefix] == '=') {
			found.at = text + prefix + 1;
			found.length = (size_t)(stop - found.at);
			if (found.length && found.at[found.length - 1] == '\r')
				found.length--;
		}
		text = stop + 1;
	}
	return found;
}

static void read_git(const char *text, size_t length, time_t now, struct keyfob_reply *reply)
{
	struct text password = git_value(text, length, "password"), quit = git_value(text, length, "quit");
	struct text expiry = git_value(text, length, "password_expiry_utc");
	time_t expires = 0;
	char number[24];

	if (expiry.length && expiry.length < sizeof(number)) {
		snprintf(number, sizeof(number), "%.*s", (int)expiry.length, expiry.at);
		expiry_parse_text(number, now, EXPIRY_ABSOLUTE, &expires);
	}
	if (memchr(text, 0, length))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "git output holds a NUL");
	else if (quit.length && (*quit.at == '1' || *quit.at == 't'))
		keyfob_fail(reply, KEYFOB_CLASS_PERMANENT, "the program says quit: it has no credential to give");
	else if (!password.length)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "git output holds no password");
	else if (expires && expires < now)
		keyfob_fail(
			reply, KEYFOB_CLASS_TRANSIENT, "the token that the program gave expired %lld s ago", (long long)(now - expires));
	else if (json_reply_token(reply, password.at, password.length))
		reply->expires = expires;
}

static void read_raw(const char *text, size_t length, bool jwt_only, struct keyfob_reply *reply)
{
	struct expiry_claims claims;

	if (jwt_only && !expiry_jwt_claims(text, length, &claims)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"the program printed neither JSON nor a JWT; if it is the token itself, say format=raw");
		return;
	}
	for (size_t i = 0; i < length; i++) {
		if (text[i] > 0x20 && text[i] < 0x7f)
			continue;
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "raw output is not one word of printable characters");
		return;
	}
	json_reply_token(reply, text, length);
}

static const struct {
	const char *format;
	void (*read)(const struct input *in, struct keyfob_reply *reply);
} readers[] = {
	{ "google", read_google },
	{ "k8s", read_k8s },
	{ "oauth", read_oauth },
	{ "docker", read_docker },
};

static const char *guess_format(const json_t *object)
{
	const char *kind = json_reply_text(object, "kind");

	if (kind && strcmp(kind, "ExecCredential") == 0)
		return "k8s";
	if (json_object_get(object, "version") && json_object_get(object, "success"))
		return "google";
	if (json_object_get(object, "ServerURL") && json_object_get(object, "Secret"))
		return "docker";
	return "oauth";
}

static void read_json(const char *text, size_t length, const char *format, enum keyfob_kind kind, time_t now, struct keyfob_reply *reply)
{
	const char *why = NULL;
	json_t *object = json_reply_load(text, length, &why);
	struct input in = { .object = object, .kind = kind, .now = now };

	if (!object) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "the program's output is of no use as %s: %s",
			strcmp(format, "auto") == 0 ? "JSON" : format, why);
		return;
	}
	if (strcmp(format, "auto") == 0)
		format = guess_format(object);
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
		if (strcmp(readers[i].format, format) == 0)
			readers[i].read(&in, reply);
	json_reply_free(object);
}

/* What the first bytes tell: raw stands for all that is none of the others, json for those that are objects. */
static const char *guess_family(const char *data, size_t length)
{
	if (*data == '{')
		return "json";
	if (*data == '[')
		return "spire";
	return git_value(data, length, "password").length ? "git" : "raw";
}

void exec_output_read(const char *data, size_t length, const char *format, enum keyfob_kind kind, time_t now, struct keyfob_reply *reply)
{
	bool automatic = strcmp(format, "auto") == 0;
	const char *family = format;

	while (length && isspace((unsigned char)data[length - 1]))
		length--;
	while (length && isspace((unsigned char)*data)) {
		data++;
		length--;
	}
	if (length && automatic)
		family = guess_family(data, length);
	if (!length)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "the program ended well, but printed nothing");
	else if (strcmp(family, "raw") == 0)
		read_raw(data, length, automatic, reply);
	else if (strcmp(family, "spire") == 0)
		read_spire(data, length, reply);
	else if (strcmp(family, "git") == 0)
		read_git(data, length, now, reply);
	else if (strcmp(family, "docker") == 0 && *data != '{')
		fail_as_printed(reply, data, length);
	else
		read_json(data, length, format, kind, now, reply);
}
