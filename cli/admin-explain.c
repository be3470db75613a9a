/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "verify/jwt.h"

#define V1_ISSUER "https://sts.windows.net/"

static int read_named(const char *name, struct buffer *token)
{
	struct keyfob_token *got = NULL;
	char message[WIRE_TEXT_MAX] = "";
	struct keyfob *kf = NULL;
	int code = 0, error;

	buffer_init(token, WIRE_VERIFY_TOKEN_MAX);
	error = keyfob_open(&kf);
	cli_progress_begin(name, "waiting for a token");
	if (!error)
		error = keyfob_get(kf, name, &got);
	cli_progress_end();
	if (error) {
		if (kf)
			keyfob_message(kf, message, sizeof(message));
		code = cli_fail_request(error, name, message);
	} else if (!buffer_put(token, keyfob_token_value(got), keyfob_token_length(got))) {
		code = cli_fail(KEYFOB_ENOMEM, name, "out of memory");
	}
	keyfob_token_free(&got);
	keyfob_close(&kf);
	return code;
}

/* A JSON object, indented, each of its lines by two blanks. */
static void put_object(struct buffer *b, const char *title, const json_t *object)
{
	char *text = json_dumps(object, JSON_INDENT(2) | JSON_ENSURE_ASCII), *rest = text, *line;

	if (!text)
		b->failed = true;
	buffer_printf(b, "%s\n", title);
	while (text && (line = strsep(&rest, "\n"))) {
		buffer_printf(b, "  ");
		cli_put_escaped(b, line);
		buffer_put(b, "\n", 1);
	}
	free(text);
}

static void put_times(struct buffer *b, const json_t *claims, int64_t now)
{
	static const struct {
		const char *claim, *words;
	} times[] = { { "iat", "issued" }, { "nbf", "not before" }, { "auth_time", "signed in" }, { "exp", "expires" } };
	int64_t at;

	buffer_printf(b, "times\n");
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		if (!json_object_get(claims, times[i].claim))
			continue;
		buffer_printf(b, "  %-10s  ", times[i].words);
		if (jwt_time(claims, times[i].claim, &at))
			cli_put_time(b, at, now);
		else
			buffer_printf(b, "not a time");
		buffer_put(b, "\n", 1);
	}
}

/* One line of a value to paste: a string, or each string of an array. */
static void put_value(struct buffer *b, const char *label, const json_t *value)
{
	size_t count = json_is_array(value) ? json_array_size(value) : 1;

	for (size_t i = 0; i < count; i++) {
		const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;

		buffer_printf(b, "  %-16s  ", i ? "" : label);
		if (json_is_string(item))
			cli_put_escaped(b, json_string_value(item));
		else
			buffer_printf(b, item ? "not a string: an identity provider will not take it" : "missing");
		buffer_put(b, "\n", 1);
	}
}

static void put_values(struct buffer *b, const json_t *claims)
{
	buffer_printf(b, "to paste into Atlas (Workload Identity Provider) or a mongod (oidcIdentityProviders)\n");
	put_value(b, "Issuer URI", json_object_get(claims, "iss"));
	put_value(b, "Audience", json_object_get(claims, "aud"));
	put_value(b, "User identifier", json_object_get(claims, "sub"));
	if (json_object_get(claims, "groups"))
		put_value(b, "Group identifier", json_object_get(claims, "groups"));
}

static void warn(struct buffer *b, bool *any, const char *text)
{
	if (!*any)
		buffer_printf(b, "warnings\n");
	*any = true;
	buffer_printf(b, "  %s\n", text);
}

static void put_warnings(struct buffer *b, const struct jwt *jwt, int64_t now)
{
	const char *issuer = jwt_text(jwt->claims, "iss"), *alg = jwt_text(jwt->header, "alg");
	const json_t *elsewhere = json_object_get(jwt->claims, "_claim_names");
	bool any = false;
	int64_t at;

	if (issuer && strncmp(issuer, V1_ISSUER, strlen(V1_ISSUER)) == 0)
		warn(b, &any,
			"the issuer is Azure's v1: set accessTokenAcceptedVersion (in newer manifests\n"
			"  requestedAccessTokenVersion) to 2 in the manifest of the resource's application");
	if (!jwt_time(jwt->claims, "exp", &at))
		warn(b, &any, "no exp claim: it would never expire, and nobody takes it");
	else if (at <= now)
		warn(b, &any, "it has expired");
	if (jwt_time(jwt->claims, "nbf", &at) && at > now + 60)
		warn(b, &any, "it is not valid yet: is this host's clock right?");
	if (!jwt_text(jwt->header, "kid"))
		warn(b, &any, "no kid in the header: MongoDB refuses it");
	if (!alg || strcasecmp(alg, "none") == 0 || jwt->signature.length == 0)
		warn(b, &any, "it is not signed (alg none): everybody refuses it");
	else if (strncmp(alg, "HS", 2) == 0)
		warn(b, &any, "it is signed with a shared secret: a service with public keys refuses it");
	if (json_object_get(jwt->header, "crit"))
		warn(b, &any, "the header has crit: most services refuse it");
	if (json_object_get(elsewhere, "groups") || json_is_true(json_object_get(jwt->claims, "hasgroups")))
		warn(b, &any, "the user is in more groups than a token holds (group overage): none of them will match");
}

/* As it is written in the token, but for blanks and characters that are not ASCII. */
static void put_object_json(struct buffer *b, const char *name, const json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);

	cli_json_raw(b, name, text ? text : "null");
	b->failed = b->failed || !text;
	free(text);
}

static void put_json(struct buffer *b, const struct jwt *jwt, const struct admin_judgement *j)
{
	cli_json_open(b, NULL, '{');
	put_object_json(b, "header", jwt->header);
	put_object_json(b, "claims", jwt->claims);
	admin_json_judgement(b, j);
	cli_json_close(b, '}');
	buffer_put(b, "\n", 1);
}

/* credential is NULL for a token from stdin. */
static int explain(const struct cli *cli, const char *credential, const struct buffer *token)
{
	const char *name = credential ? credential : "standard input";
	struct admin_judgement j;
	enum jwt_error error;
	int code, judgement;
	struct jwt jwt;
	struct buffer b;

	error = jwt_parse(&jwt, (const char *)token->data, token->length);
	if (error == JWT_EFORM)
		return cli_fail(KEYFOB_EFAIL, name, "the token is opaque, %s; only its issuer can read it", jwt_strerror(error));
	if (error)
		return cli_fail(KEYFOB_EFAIL, name, "%s", jwt_strerror(error));
	buffer_init(&b, CLI_OUTPUT_MAX);
	judgement = admin_judge(cli, credential, &jwt, token, &j);
	if (judgement && judgement != -KEYFOB_EREFUSED) {
		code = judgement;
		goto out;
	}
	if (cli_value(cli, "json")) {
		put_json(&b, &jwt, &j);
	} else {
		put_object(&b, "header", jwt.header);
		put_object(&b, "claims", jwt.claims);
		put_times(&b, jwt.claims, time(NULL));
		put_values(&b, jwt.claims);
		put_warnings(&b, &jwt, time(NULL));
		admin_put_judgement(&b, &j);
	}
	code = cli_output(&b);
	code = code ? code : judgement;
out:
	buffer_free(&b);
	jwt_free(&jwt);
	return code;
}

/* May this user have it? The broker's policy answers; the name is looked up here, as the broker never does. */
static int explain_as(const struct cli *cli, const char *name, const char *login)
{
	struct passwd *user = getpwnam(login);
	char why[WIRE_TEXT_MAX];
	struct buffer fields, reply, b;
	struct reader r;
	bool allowed;
	int code;

	if (!user)
		return cli_usage(cli, "%s: no such user", login);
	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_init(&b, WIRE_MAX);
	buffer_put_text(&fields, name);
	buffer_put_u32(&fields, user->pw_uid);
	code = cli_call(WIRE_MAY, name, &fields, CLI_BRIEF_MS, &reply, &r);
	if (code)
		goto out;
	allowed = reader_u8(&r);
	reader_text(&r, why, sizeof(why));
	if (!reader_done(&r)) {
		code = cli_malformed(name);
		goto out;
	}
	if (cli_value(cli, "json")) {
		cli_json_open(&b, NULL, '{');
		cli_json_text(&b, "credential", name);
		cli_json_text(&b, "user", login);
		cli_json_number(&b, "uid", user->pw_uid);
		cli_json_flag(&b, "allowed", allowed);
		cli_json_text(&b, "why", why);
		cli_json_close(&b, '}');
	} else {
		buffer_printf(&b, "%s: ", name);
		cli_put_escaped(&b, login);
		buffer_printf(&b, allowed ? " (uid %u) is allowed: " : " (uid %u) is denied: ", user->pw_uid);
		cli_put_escaped(&b, why);
	}
	buffer_put(&b, "\n", 1);
	code = cli_output(&b);
	if (!code && !allowed)
		code = -KEYFOB_EDENIED;
out:
	buffer_free(&fields);
	buffer_free(&reply);
	buffer_free(&b);
	return code;
}

int admin_explain(const struct cli *cli)
{
	const char *name = cli->operand[0], *login = cli_value(cli, "as");
	bool piped = strcmp(name, "-") == 0;
	struct buffer token;
	int code;

	if (piped && login)
		return cli_usage(cli, "--as goes with a credential's name");
	code = piped ? 0 : cli_check_name(cli, name);
	if (code)
		return code;
	if (login)
		return explain_as(cli, name, login);
	if (piped)
		code = cli_read_token(&token);
	else
		code = read_named(name, &token);
	if (!code)
		code = explain(cli, piped ? NULL : name, &token);
	buffer_free(&token);
	return code;
}
