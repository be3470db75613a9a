/* SPDX-License-Identifier: Apache-2.0 */
/* Would its identity provider take a token? For root the verifier says so; for others the rules do, without the keys. */
#include "cli/admin.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "keyring/client.h"
#include "verify/claims.h"
#include "verify/verdict.h"

#define VERDICT_MS 10000 /* the verifier may wait for a key set */

static const struct jwks *no_keys(void *arg, const struct federation_provider *p, enum reason *why)
{
	(void)arg;
	(void)p;
	*why = REASON_KEYS_MISSING;
	return NULL;
}

/* All rules but the signature: a token that has kept those before it is asked for keys. */
static enum reason judge_here(const struct federation *f, const struct jwt *jwt, const struct buffer *token, struct admin_judgement *j)
{
	const struct verdict_request request = {
		.token = (const char *)token->data, .length = token->length, .now = time(NULL), .keys = no_keys
	};
	struct verdict v = { 0 };

	verdict_judge(f, &request, &v);
	if (v.reason == REASON_KEYS_MISSING)
		v.reason = claims_check_subject(jwt->claims, v.provider, &v);
	if (v.reason == REASON_OK && v.provider->type == FEDERATION_GROUP)
		v.reason = claims_check_groups(jwt->claims, v.provider, &v);
	j->passes = v.reason == REASON_OK;
	if (v.provider)
		snprintf(j->provider, sizeof(j->provider), "%s", v.provider->name);
	if (j->passes)
		snprintf(j->text, sizeof(j->text), "the signature was not checked (as root, with keyfob-verifyd running, it is)");
	else
		snprintf(j->text, sizeof(j->text), "%s: %s%s%s%s", reason_code(v.reason), reason_text(v.reason), *v.detail ? " (" : "",
			v.detail, *v.detail ? ")" : "");
	return v.reason;
}

/* "CODE: text" is a verdict; that it did not answer in time is none. */
static bool has_code(const char *message)
{
	size_t length = strspn(message, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");

	return length && message[length] == ':';
}

/* The verifier has the keys. false: it cannot be asked, so what was found here stands. */
static bool ask_verifier(const char *provider, const struct buffer *token, struct admin_judgement *j)
{
	const struct client_server verifier = { "the verifier", cli_verifier_socket() };
	char message[WIRE_TEXT_MAX] = "", name[WIRE_NAME_MAX + 1], subject[WIRE_TEXT_MAX];
	struct buffer fields, reply;
	bool answered = false;
	struct reader r;
	int error;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_put_text(&fields, provider);
	buffer_put_string(&fields, token->data, token->length);
	error = fields.failed ? KEYFOB_EINVAL
			      : client_ask(&verifier, WIRE_VERIFY_EXPLAIN, &fields, VERDICT_MS, &reply, &r, message, sizeof(message));
	if (error == 0) {
		reader_text(&r, name, sizeof(name));
		reader_text(&r, subject, sizeof(subject));
		reader_u64(&r);
		answered = reader_done(&r);
	}
	if (answered) {
		snprintf(j->provider, sizeof(j->provider), "%s", name);
		snprintf(j->text, sizeof(j->text), "%.900s", subject);
	} else if ((error == KEYFOB_EREFUSED || error == KEYFOB_EAGAIN) && has_code(message)) {
		snprintf(j->text, sizeof(j->text), "%s", message);
		answered = true;
	}
	if (answered) {
		j->passes = error == 0;
		j->signature = true;
	}
	buffer_free(&fields);
	buffer_free(&reply);
	return answered;
}

void admin_put_judgement(struct buffer *b, const struct admin_judgement *j)
{
	if (j->state == ADMIN_UNASKED)
		return;
	buffer_printf(b, "identity provider\n  ");
	if (j->state == ADMIN_UNREADABLE) {
		buffer_printf(b, "none was asked: the configuration has faults (keyfob doctor --config)");
	} else if (j->state == ADMIN_FOREIGN) {
		buffer_printf(b, "none of this host's has that issuer (keyfob idp list)");
	} else {
		buffer_printf(b, "would pass %s: ", j->provider[0] ? j->provider : "any");
		buffer_printf(b, !j->passes ? "NO, " : j->signature ? "yes, the signature is good; it is " : "by its claims yes; ");
		cli_put_escaped(b, j->text);
	}
	buffer_put(b, "\n", 1);
}

void admin_json_judgement(struct buffer *b, const struct admin_judgement *j)
{
	size_t code = strcspn(j->text, ":");
	char reason[64] = "";

	if (j->state != ADMIN_JUDGED) {
		cli_json_text(b, "judgement", NULL);
		return;
	}
	if (!j->passes && code < sizeof(reason) && j->text[code])
		snprintf(reason, sizeof(reason), "%.*s", (int)code, j->text);
	cli_json_open(b, "judgement", '{');
	cli_json_optional(b, "identity_provider", j->provider);
	cli_json_flag(b, "passes", j->passes);
	cli_json_flag(b, "signature_checked", j->signature);
	cli_json_optional(b, "reason", reason);
	cli_json_text(b, "text", j->text);
	cli_json_close(b, '}');
}

/* The identity provider that a credential's section names, or NULL. */
static const char *provider_of(const struct config *config, const char *credential)
{
	const struct config_section *s = credential ? admin_section(config, "credential", credential) : NULL;

	return s ? config_value(s, "identity_provider") : NULL;
}

static int set_rules(const struct cli *cli, struct federation *f, const char *rules)
{
	enum federation_rules chosen = FEDERATION_KEYFOB;

	if (strcmp(rules, "mongodb") == 0)
		chosen = FEDERATION_MONGODB;
	else if (strcmp(rules, "keyfob") != 0)
		return cli_usage(cli, "--rules is keyfob or mongodb");
	for (size_t i = 0; i < f->provider_count; i++)
		f->providers[i].rules = chosen;
	return 0;
}

static int judge(struct admin *a, const char *credential, const struct jwt *jwt, const struct buffer *token, struct admin_judgement *j)
{
	const char *name = cli_value(a->cli, "idp"), *rules = cli_value(a->cli, "rules");
	struct federation one = { .provider_count = 1 }, *f = &a->now;
	enum reason reason;
	int code = rules ? set_rules(a->cli, f, rules) : 0;

	if (code)
		return code;
	if (!name)
		name = provider_of(&a->config, credential);
	if (name) {
		for (size_t i = 0; i < f->provider_count; i++)
			if (strcmp(f->providers[i].name, name) == 0)
				one.providers = &f->providers[i];
		if (!one.providers)
			return admin_unknown(a, "identity-provider", name);
		f = &one;
		snprintf(j->provider, sizeof(j->provider), "%s", name);
	}
	j->state = ADMIN_JUDGED;
	reason = judge_here(f, jwt, token, j);
	/* A token for somebody else is no fault of it. */
	if (!name && reason == REASON_ISS)
		j->state = f->provider_count ? ADMIN_FOREIGN : ADMIN_UNASKED;
	else if (geteuid() == 0 && !rules)
		ask_verifier(name ? name : "", token, j);
	return j->state == ADMIN_JUDGED && !j->passes ? -KEYFOB_EREFUSED : 0;
}

int admin_judge(const struct cli *cli, const char *credential, const struct jwt *jwt, const struct buffer *token, struct admin_judgement *j)
{
	struct admin a;
	bool asked = cli_value(cli, "idp") || cli_value(cli, "rules");
	int code = admin_open(&a, cli, asked ? ADMIN_LOOK : ADMIN_PEEK);

	memset(j, 0, sizeof(*j));
	if (!code)
		code = judge(&a, credential, jwt, token, j);
	else if (code == ADMIN_FAULTY)
		j->state = ADMIN_UNREADABLE;
	admin_close(&a);
	return code < 0 ? 0 : code;
}
