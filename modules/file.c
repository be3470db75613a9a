/* SPDX-License-Identifier: Apache-2.0 */
/* A token that another program keeps in a file: Vault's agent, a sidecar, a cron job. */
#include "modules/expiry.h"
#include "modules/json.h"
#include "modules/module.h"
#include "modules/report.h"
#include "modules/token-file.h"

/* The member that a path such as auth.client_token leads to. */
static const char *find_member(const json_t *object, const char *path)
{
	const char *dot;

	while ((dot = strchr(path, '.'))) {
		object = json_object_getn(object, path, (size_t)(dot - path));
		path = dot + 1;
	}
	return json_reply_text(object, path);
}

static void take_json(const struct buffer *content, const char *path, const char *field, struct keyfob_reply *reply)
{
	const char *why = NULL, *token;
	json_t *object = json_reply_load(content->data, content->length, &why);

	token = object ? find_member(object, field) : NULL;
	/* What is half written is neither JSON nor whole; it may be next time. */
	if (!object)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%.500s holds no usable JSON: %s", path, why);
	else if (!token)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%.500s has no text in the member %.100s; check json_field=", path, field);
	else
		json_reply_token(reply, token, strlen(token));
	json_reply_free(object);
}

/* A JWT says when it ends; of another token the file's age is all there is. */
static void judge_age(const struct keyfob_request *request, const char *path, time_t changed, struct keyfob_reply *reply)
{
	unsigned int lifetime = keyfob_seconds(request, "lifetime", 0);
	time_t now = time(NULL), expires = 0;
	struct expiry_claims claims;

	if (expiry_jwt_claims(reply->token, reply->length, &claims) && claims.has_expires)
		expires = claims.expires;
	else if (lifetime)
		expires = reply->expires = changed + lifetime;
	if (expires && expires <= now)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "the token in %.500s expired %lld s ago; is what writes it still running?", path,
			(long long)(now - expires));
}

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *path = keyfob_setting(request, "path", NULL), *secret_path = keyfob_setting(request, "secret_file", NULL);
	const char *field = keyfob_setting(request, "json_field", NULL), *secret;
	time_t changed = time(NULL);
	struct buffer content;
	size_t length = 0;
	bool ok;

	if (!path == !secret_path) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "say which file: either path= or secret_file=");
		return;
	}
	buffer_init(&content, 2 * TOKEN_FILE_MAX);
	if (path) {
		report_tell(request, "read %s", path);
		ok = token_file_read(path, &content, &changed, reply);
	} else {
		path = secret_path;
		secret = keyfob_secret(request, "secret_file", &length);
		ok = buffer_put(&content, secret ? secret : "", length) && token_file_trim(&content, path, reply);
	}
	if (ok && field)
		take_json(&content, path, field, reply);
	else if (ok)
		json_reply_token(reply, (const char *)content.data, content.length);
	if (reply->token)
		judge_age(request, path, changed, reply);
	buffer_free(&content);
}

static const struct keyfob_option options[] = {
	{ "path", KEYFOB_OPTION_FILE, 0, "a file", "the file, read as user keyfob-fetch or run_as=; links are followed" },
	{ "secret_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, "a file of root's, mode 0600",
		"the file, in place of path=, when only root may read it" },
	{ "json_field", KEYFOB_OPTION_TEXT, 0, "NAME or NAME.NAME",
		"the JSON member that holds the token; default: the file is the token" },
	{ "lifetime", KEYFOB_OPTION_SECONDS, 0, "1h",
		"how long a token lives from the file's last change, unless it is a JWT that says so; with secret_file=: from now" },
};

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = "file",
	.help = "the token that another program keeps in a file",
	.sandbox = KEYFOB_SANDBOX_FILE,
	.kind = KEYFOB_KIND_ACCESS,
	.example = "[credential vault]\n"
		   "provider = file path=/run/vault-agent/token.json json_field=auth.client_token lifetime=30m\n"
		   "allow    = user:orders\n",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
