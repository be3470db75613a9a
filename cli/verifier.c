/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that ask keyfob-verifyd. */
#include "cli/cli.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIME_MAX 253402300799 /* the end of the year 9999 */
#define VERDICT_MS 10000 /* it may wait for a key set */

static int malformed(const char *subject)
{
	return cli_fail(KEYFOB_EFAIL, subject, "the verifier's reply makes no sense (are keyfob and keyfob-verifyd of one version?)");
}

static int print(struct buffer *b)
{
	int code = cli_output(b);

	buffer_free(b);
	return code;
}

static int check_provider(const struct cli *cli, const char *name)
{
	return wire_name_valid(name) ? 0 : cli_usage(cli, "%s: not an identity provider's name", name);
}

/* --- keyfob verify ------------------------------------------------------------------- */

static int tell_accepted(const struct cli *cli, struct reader *r)
{
	char account[WIRE_TEXT_MAX], provider[WIRE_NAME_MAX + 1], subject[WIRE_TEXT_MAX];
	struct buffer b;
	uint64_t expires;

	reader_text(r, account, sizeof(account));
	reader_text(r, provider, sizeof(provider));
	reader_text(r, subject, sizeof(subject));
	expires = reader_u64(r);
	if (!reader_done(r) || expires > TIME_MAX)
		return malformed("standard input");
	buffer_init(&b, CLI_OUTPUT_MAX);
	if (cli_value(cli, "json")) {
		cli_json_open(&b, NULL, '{');
		cli_json_flag(&b, "accepted", true);
		cli_json_text(&b, "identity_provider", provider);
		cli_json_text(&b, "subject", subject);
		cli_json_text(&b, "account", account);
		cli_json_time(&b, "expires_at", expires);
		cli_json_close(&b, '}');
		buffer_put(&b, "\n", 1);
		return print(&b);
	}
	buffer_printf(&b, "accepted\n  %-18s", "identity provider");
	cli_put_escaped(&b, provider);
	buffer_printf(&b, "\n  %-18s", "subject");
	cli_put_escaped(&b, subject);
	buffer_printf(&b, "\n  %-18s", "account");
	cli_put_escaped(&b, account);
	buffer_printf(&b, "\n  %-18s", "expires");
	cli_put_time(&b, (int64_t)expires, time(NULL));
	buffer_put(&b, "\n", 1);
	return print(&b);
}

/* Root's message is "CODE: text"; others read "refused". */
static int tell_refused(const struct cli *cli, const char *message)
{
	size_t length = strspn(message, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
	bool has_code = length && message[length] == ':';
	char code[64] = "";
	struct buffer b;
	int failed = 0;

	buffer_init(&b, CLI_OUTPUT_MAX);
	if (cli_value(cli, "json")) {
		if (has_code && length < sizeof(code))
			memcpy(code, message, length);
		cli_json_open(&b, NULL, '{');
		cli_json_flag(&b, "accepted", false);
		cli_json_optional(&b, "reason", code);
		cli_json_optional(&b, "text", has_code ? message + length + 1 + strspn(message + length + 1, " ") : message);
		cli_json_close(&b, '}');
		buffer_put(&b, "\n", 1);
		failed = print(&b);
	}
	if (has_code || geteuid() == 0)
		return failed ? failed : cli_fail(KEYFOB_EREFUSED, NULL, "%s", message[0] ? message : "the token is refused");
	return failed ? failed : cli_fail(KEYFOB_EREFUSED, NULL, "the token is refused (root is told why, and so is the log)");
}

int cli_verify(const struct cli *cli)
{
	const char *service = cli_value(cli, "service"), *login = cli_value(cli, "login");
	struct buffer token, fields, reply;
	char message[WIRE_TEXT_MAX] = "";
	const struct passwd *user;
	struct reader r;
	int code;

	if (strcmp(cli->operand[0], "-") != 0)
		return cli_usage(cli, "the token comes on standard input, never on a command line; the argument is -");
	if (!service || !*service)
		return cli_usage(cli, "--service says which service the token shall be good for");
	if (!login) {
		user = getpwuid(geteuid());
		login = user ? user->pw_name : "";
	}
	if (!*login || strlen(login) > WIRE_LOGIN_MAX || strlen(service) > WIRE_LOGIN_MAX)
		return cli_usage(cli, "a service and a login have 1 to %d bytes", WIRE_LOGIN_MAX);
	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	code = cli_read_token(&token);
	if (code)
		goto out;
	if (!token.length) {
		code = cli_usage(cli, "there is no token on standard input");
		goto out;
	}
	buffer_put_text(&fields, service);
	buffer_put_text(&fields, login);
	buffer_put_string(&fields, token.data, token.length);
	if (fields.failed) {
		code = cli_fail(KEYFOB_EREFUSED, NULL, "TOKEN_SIZE: the token is larger than the verifier takes");
		goto out;
	}
	code = cli_call_verifier(WIRE_VERIFY_TOKEN, NULL, &fields, VERDICT_MS, &reply, &r, message);
	if (code == 0)
		code = tell_accepted(cli, &r);
	else if (code == -KEYFOB_EREFUSED)
		code = tell_refused(cli, message);
out:
	buffer_free(&token);
	buffer_free(&fields);
	buffer_free(&reply);
	return code;
}

/* --- keyfob jwks ----------------------------------------------------------------------- */

struct key_set {
	char name[WIRE_NAME_MAX + 1];
	uint8_t state; /* enum wire_keyset */
	uint64_t epoch, fetched, attempted, refresh, hard_limit;
	uint32_t failures, count;
	char error[WIRE_TEXT_MAX];
	struct reader keys; /* kid and kind of each; checked already */
};

static bool read_key_set(struct reader *r, struct key_set *set)
{
	char text[WIRE_TEXT_MAX];

	reader_text(r, set->name, sizeof(set->name));
	set->state = reader_u8(r);
	set->epoch = reader_u64(r);
	set->fetched = reader_u64(r);
	set->attempted = reader_u64(r);
	set->refresh = reader_u64(r);
	set->hard_limit = reader_u64(r);
	set->failures = reader_u32(r);
	reader_text(r, set->error, sizeof(set->error));
	set->count = reader_u32(r);
	set->keys = *r;
	for (uint32_t i = 0; i < 2 * (uint64_t)set->count && !r->failed; i++)
		reader_text(r, text, sizeof(text));
	return !r->failed && wire_name_valid(set->name) && set->fetched <= TIME_MAX && set->attempted <= TIME_MAX &&
	       set->refresh <= TIME_MAX && set->hard_limit <= TIME_MAX;
}

/* One that is stale is used up to its hard limit. */
static const char *state_name(const struct key_set *set, int64_t now)
{
	static const char *const names[] = {
		[WIRE_KEYSET_GOOD] = "good",
		[WIRE_KEYSET_STALE] = "stale",
		[WIRE_KEYSET_MISSING] = "missing",
		[WIRE_KEYSET_REVOKED] = "revoked",
	};

	if (set->state == WIRE_KEYSET_STALE && set->hard_limit && (int64_t)set->hard_limit <= now)
		return "expired";
	return set->state < sizeof(names) / sizeof(names[0]) ? names[set->state] : "unknown";
}

static void put_json(struct buffer *b, const struct key_set *set, int64_t now)
{
	struct reader keys = set->keys;
	char text[WIRE_TEXT_MAX];

	cli_json_open(b, NULL, '{');
	cli_json_text(b, "identity_provider", set->name);
	cli_json_text(b, "state", state_name(set, now));
	cli_json_number(b, "epoch", set->epoch);
	cli_json_time(b, "fetched_at", set->fetched);
	cli_json_time(b, "attempted_at", set->attempted);
	cli_json_time(b, "refresh_at", set->refresh);
	cli_json_time(b, "hard_limit_at", set->hard_limit);
	cli_json_number(b, "failures", set->failures);
	cli_json_optional(b, "last_error", set->error);
	cli_json_open(b, "keys", '[');
	for (uint32_t i = 0; i < set->count; i++) {
		cli_json_open(b, NULL, '{');
		reader_text(&keys, text, sizeof(text));
		cli_json_text(b, "kid", text);
		reader_text(&keys, text, sizeof(text));
		cli_json_text(b, "kind", text);
		cli_json_close(b, '}');
	}
	cli_json_close(b, ']');
	cli_json_close(b, '}');
}

static void put_moment(struct buffer *b, const char *label, uint64_t when, int64_t now)
{
	buffer_printf(b, "  %-11s", label);
	cli_put_time(b, (int64_t)when, now);
	buffer_put(b, "\n", 1);
}

static void put_text(struct buffer *b, const struct key_set *set, int64_t now)
{
	struct reader keys = set->keys;
	char text[WIRE_TEXT_MAX];

	buffer_printf(b, "%s%s  %s", b->length ? "\n" : "", set->name, state_name(set, now));
	if (set->epoch == 1)
		buffer_printf(b, ", revoked once so far");
	else if (set->epoch)
		buffer_printf(b, ", revoked %llu times so far", (unsigned long long)set->epoch);
	buffer_put(b, "\n", 1);
	put_moment(b, "fetched", set->fetched, now);
	if (set->refresh)
		put_moment(b, "refresh", set->refresh, now);
	if (set->hard_limit)
		put_moment(b, (int64_t)set->hard_limit > now ? "good until" : "expired", set->hard_limit, now);
	if (set->failures) {
		buffer_printf(b, "  %-11s%u in a row, the last: ", "failures", set->failures);
		cli_put_escaped(b, set->error);
		buffer_put(b, "\n", 1);
	}
	for (uint32_t i = 0; i < set->count; i++) {
		buffer_printf(b, "  %-11s", i ? "" : "keys");
		reader_text(&keys, text, sizeof(text));
		cli_put_escaped(b, text[0] ? text : "(no kid)");
		buffer_printf(b, "  ");
		reader_text(&keys, text, sizeof(text));
		cli_put_escaped(b, text);
		buffer_put(b, "\n", 1);
	}
	if (set->state == WIRE_KEYSET_MISSING || set->state == WIRE_KEYSET_REVOKED)
		buffer_printf(b, "  %-11skeyfob jwks refresh %s\n", "try", set->name);
}

/* One page of a list. Returns 0 or an exit code; *more and after are set for the next one. */
static int list_page(const struct cli *cli, const char *name, char *after, uint8_t *more, struct buffer *b)
{
	struct buffer fields, reply;
	struct key_set set;
	struct reader r;
	int code, count = 0;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_put_text(&fields, name);
	buffer_put_text(&fields, after);
	code = cli_call_verifier(WIRE_VERIFY_KEYSETS, name[0] ? name : NULL, &fields, CLI_BRIEF_MS, &reply, &r, NULL);
	if (code)
		goto out;
	*more = reader_u8(&r);
	for (; r.left && !r.failed; count++) {
		if (!read_key_set(&r, &set)) {
			r.failed = true;
			break;
		}
		strcpy(after, set.name);
		if (cli_value(cli, "json"))
			put_json(b, &set, time(NULL));
		else
			put_text(b, &set, time(NULL));
	}
	/* A page that brings nothing would be asked for again without end. */
	if (!reader_done(&r) || (*more && !count))
		code = malformed(name[0] ? name : NULL);
out:
	buffer_free(&fields);
	buffer_free(&reply);
	return code;
}

int cli_jwks_list(const struct cli *cli)
{
	const char *name = cli->count ? cli->operand[0] : "";
	char after[WIRE_NAME_MAX + 1] = "";
	bool json = cli_value(cli, "json");
	uint8_t more = 1;
	struct buffer b;
	int code = cli->count ? check_provider(cli, name) : 0;

	if (code)
		return code;
	buffer_init(&b, CLI_OUTPUT_MAX);
	if (json) {
		cli_json_open(&b, NULL, '{');
		cli_json_open(&b, "key_sets", '[');
	}
	while (!code && more && !b.failed)
		code = list_page(cli, name, after, &more, &b);
	if (json) {
		cli_json_close(&b, ']');
		cli_json_close(&b, '}');
		buffer_put(&b, "\n", 1);
	} else if (!b.length) {
		buffer_printf(&b, "No identity provider yet. Add one: keyfob idp add --help\n");
	}
	if (!code)
		code = cli_output(&b);
	buffer_free(&b);
	return code;
}

/* A request that names an identity provider, and its reply. */
static int ask_about(const struct cli *cli, enum wire_verify opcode, int timeout_ms, struct buffer *reply, struct reader *r)
{
	const char *name = cli->operand[0];
	struct buffer fields;
	int code = check_provider(cli, name);

	if (code)
		return code;
	buffer_init(&fields, WIRE_MAX);
	buffer_put_text(&fields, name);
	code = cli_call_verifier(opcode, name, &fields, timeout_ms, reply, r, NULL);
	buffer_free(&fields);
	return code;
}

static void put_done(struct buffer *b, const char *provider, const char *name, uint64_t number)
{
	cli_json_open(b, NULL, '{');
	cli_json_flag(b, "done", true);
	cli_json_text(b, "identity_provider", provider);
	cli_json_number(b, name, number);
	cli_json_close(b, '}');
	buffer_put(b, "\n", 1);
}

int cli_jwks_refresh(const struct cli *cli)
{
	const char *name = cli->operand[0];
	struct buffer reply, b;
	struct reader r;
	uint32_t keys;
	int code;

	buffer_init(&reply, WIRE_MAX);
	code = ask_about(cli, WIRE_VERIFY_REFRESH, CLI_FETCH_MS, &reply, &r);
	if (code)
		goto out;
	keys = reader_u32(&r);
	if (!reader_done(&r)) {
		code = malformed(name);
		goto out;
	}
	buffer_init(&b, CLI_OUTPUT_MAX);
	if (cli_value(cli, "json"))
		put_done(&b, name, "keys", keys);
	else
		buffer_printf(&b, "%s: fetched afresh, %u %s\n", name, keys, keys == 1 ? "key" : "keys");
	code = print(&b);
out:
	buffer_free(&reply);
	return code;
}

/* What is issued after this returns is of a later second than the revoke, and will be taken. */
static void end_of_second(void)
{
	struct timespec now, rest = { 0 };

	clock_gettime(CLOCK_REALTIME, &now);
	rest.tv_nsec = 999999999 - now.tv_nsec;
	nanosleep(&rest, NULL);
}

static void put_revoked(struct buffer *b, const char *name, uint64_t epoch)
{
	buffer_printf(b,
		"%s: revoked (%llu so far). Its key set and every verdict by it are forgotten. Tokens issued\n"
		"until now are refused for good; new ones are taken once the set was fetched afresh, by keys that it\n"
		"still has. A jwks_file is read again by \"keyfob jwks refresh %s\" only.\n"
		"Have %s change its signing key, too: who stole that can make new tokens.\n"
		"\"keyfob drop\" on the clients' hosts asks for new tokens. A metadata service may hand out its old one\n"
		"(Azure's up to 24 h, Google's up to 1 h); until it gives another, its clients are refused.\n"
		"Sessions that are open stay open. Not for rotation: new keys are found without this.\n",
		name, (unsigned long long)epoch, name, name);
}

int cli_jwks_revoke(const struct cli *cli)
{
	const char *name = cli->operand[0];
	struct buffer reply, b;
	struct reader r;
	uint64_t epoch;
	int code;

	buffer_init(&reply, WIRE_MAX);
	code = ask_about(cli, WIRE_VERIFY_REVOKE, CLI_BRIEF_MS, &reply, &r);
	if (code)
		goto out;
	epoch = reader_u64(&r);
	if (!reader_done(&r)) {
		code = malformed(name);
		goto out;
	}
	buffer_init(&b, CLI_OUTPUT_MAX);
	if (cli_value(cli, "json"))
		put_done(&b, name, "epoch", epoch);
	else
		put_revoked(&b, name, epoch);
	end_of_second();
	code = print(&b);
out:
	buffer_free(&reply);
	return code;
}
