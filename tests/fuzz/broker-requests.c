/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's request socket, which anybody may write to, up to where tokens
 * and keys begin. The first byte of an input says who asks, the rest is the
 * frame.
 *
 * links: broker/requests broker/metadata broker/keysets broker/policy broker/policy-provider broker/policy-files broker/policy-names verify/federation verify/federation-read verify/federation-values common/config common/buffer common/log common/wire
 * libs: ini_config libevent_core
 * parser: broker/requests broker/metadata broker/keysets
 */
#include <errno.h>
#include <stdarg.h>

#include "broker/broker.h"
#include "broker/launcher.h"
#include "common/log.h"
#include "tests/fuzz/fuzz.h"

#define VERIFIER 990
#define METADATA 991
#define ALICE 1001
#define BOB 1002
#define FETCHER 992

static unsigned int answers; /* to the one request */
static struct conn conn;
static struct broker broker;
static fetch_done fetched;
static void *fetched_arg;

/* --- what lies behind the requests ---------------------------------------------------------- */

static void answered(void)
{
	fuzz_require(++answers == 1);
}

void conn_reply_start(struct buffer *b)
{
	buffer_init(b, WIRE_MAX);
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, 0);
}

void conn_reply_end(struct conn *c, struct buffer *b)
{
	(void)c;
	fuzz_require(!b->failed && b->length <= WIRE_MAX);
	buffer_free(b);
	answered();
}

void conn_reply_error(struct conn *c, int error, unsigned int retry, const char *format, ...)
{
	char text[WIRE_TEXT_MAX];
	struct buffer b;
	va_list args;

	(void)c;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fuzz_require(error < 0 && error >= KEYFOB_EAGAIN && *text);
	buffer_init(&b, WIRE_MAX);
	fuzz_require(wire_put_error(&b, error, retry, text));
	buffer_free(&b);
	answered();
}

void conn_wait(struct conn *c, enum conn_stage stage, int ms)
{
	(void)c, (void)stage;
	fuzz_require(ms > 0);
}

void conn_close(struct conn *c)
{
	(void)c;
	answered();
}

uint64_t now_seconds(void)
{
	return 1800000000;
}

int64_t now_ms(void)
{
	return 1800000000000;
}

struct user *user_of(struct broker *b, uid_t uid)
{
	static struct user user;

	(void)b;
	user.uid = uid;
	return &user;
}

struct credential *credential_find(struct broker *b, const char *name)
{
	for (size_t i = 0; i < b->count; i++)
		if (strcmp(b->credentials[i]->name, name) == 0)
			return b->credentials[i];
	return NULL;
}

/* The door to a token: whoever is let through must be allowed. */
static void hand_over(struct credential *c)
{
	fuzz_require(conn.peer.uid == 0 || conn.peer.uid == ALICE || (conn.peer.uid == BOB && strcmp(c->name, "shop") == 0));
}

void credential_get(struct credential *c, struct conn *asker)
{
	(void)asker;
	hand_over(c);
	answered();
}

void credential_refresh(struct credential *c, struct conn *asker)
{
	credential_get(c, asker);
}

void credential_note_asked(struct credential *c, uid_t uid, uint32_t group)
{
	(void)uid, (void)group;
	hand_over(c);
}

bool credential_is_valid(const struct credential *c)
{
	return c->has_token;
}

int credential_token(struct credential *c, struct buffer *token)
{
	hand_over(c);
	buffer_put(token, "token", 5);
	return 0;
}

uint64_t credential_may_reject(struct credential *c)
{
	(void)c;
	return conn.peer.uid == BOB;
}

void credential_drop(struct credential *c, const char *why)
{
	(void)why;
	hand_over(c);
}

void schedule_arm(struct broker *b)
{
	(void)b;
}

bool files_are_busy(const struct broker *b)
{
	(void)b;
	return false;
}

bool serve_is_crowded(const struct broker *b, uid_t uid)
{
	(void)b;
	return uid == BOB;
}

void status_reply(struct broker *b, struct conn *asker, const char *name, const char *after, struct buffer *reply)
{
	(void)b, (void)asker;
	fuzz_require(strlen(name) <= WIRE_NAME_MAX && strlen(after) <= WIRE_NAME_MAX);
	buffer_put_u8(reply, 0);
}

bool broker_reload(struct broker *b, struct buffer *errors)
{
	(void)b;
	fuzz_require(conn.peer.uid == 0);
	buffer_printf(errors, "keyfob.conf:1: a fault\n");
	return false;
}

struct fetch *fetch_start(
	struct broker *b, const struct policy_credential *c, const struct policy_provider *p, fetch_done done, fetch_tell tell, void *arg)
{
	(void)b, (void)c, (void)tell;
	for (size_t i = 0; i < p->count; i++)
		fuzz_require(!strpbrk(p->settings[i].value, "\r\n"));
	fetched = done;
	fetched_arg = arg;
	return (struct fetch *)&broker;
}

void fetch_cancel(struct fetch *f)
{
	(void)f;
	fetched = NULL;
}

const char *failure_class_name(uint8_t class)
{
	(void)class;
	return "class";
}

bool failure_is_refusal(uint8_t class)
{
	return class == KEYFOB_CLASS_PERMANENT;
}

int launcher_ask(int launcher, const struct buffer *request, int timeout_ms, struct buffer *answer)
{
	(void)launcher, (void)request, (void)timeout_ms;
	buffer_put_u32(answer, 1);
	buffer_put_u8(answer, 1);
	buffer_put_text(answer, "bob");
	buffer_put_u32(answer, 1);
	buffer_put_u32(answer, 2001);
	return 0;
}

int launcher_send(int launcher, const struct buffer *request, int *answer_socket)
{
	(void)launcher, (void)request, (void)answer_socket;
	return -EAGAIN;
}

/* --- one request ------------------------------------------------------------------------------ */

static struct policy_rule alice = { .name = (char *)(uintptr_t) "alice", .id = ALICE },
			  bob = { .name = (char *)(uintptr_t) "bob", .id = BOB };
static struct policy_provider provider = { .line = (char *)(uintptr_t) "azure", .module = (char *)(uintptr_t) "azure" };

static struct policy_credential atlas_policy = {
	.name = (char *)(uintptr_t) "atlas",
	.resource = (char *)(uintptr_t) "api://x",
	.kind = KEYFOB_KIND_ACCESS,
	.metadata = true,
	.rule_count = 1,
	.rules = &alice,
	.provider_count = 1,
	.providers = &provider,
};
static struct policy_rule both[2];
static struct policy_credential shop_policy = {
	.name = (char *)(uintptr_t) "shop",
	.resource = (char *)(uintptr_t) "https://shop.example",
	.kind = KEYFOB_KIND_ID,
	.metadata = true,
	.rule_count = 2,
	.rules = both,
	.provider_count = 1,
	.providers = &provider,
};
static struct credential atlas = { .policy = &atlas_policy, .name = (char *)(uintptr_t) "atlas", .has_token = true };
static struct credential shop = { .policy = &shop_policy, .name = (char *)(uintptr_t) "shop", .has_token = true };
static struct credential *credentials[] = { &atlas, &shop };

static void start_broker(void)
{
	static struct federation_provider entra = {
		.name = (char *)(uintptr_t) "entra",
		.issuer = (char *)(uintptr_t) "https://login.example.com",
		.source = (char *)(uintptr_t) "s",
	};
	static struct policy policy = { .federation = { .provider_count = 1, .providers = &entra } };

	if (broker.count)
		return;
	log_open("fuzz", false, LOG_EMERG);
	both[0] = alice;
	both[1] = bob;
	broker = (struct broker){ .launcher = -1,
		.fetch_uid = FETCHER,
		.verify_uid = VERIFIER,
		.metadata_uid = METADATA,
		.policy = &policy,
		.credentials = credentials,
		.count = 2 };
	atlas.broker = shop.broker = &broker;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uid_t uids[] = { 0, ALICE, BOB, VERIFIER, METADATA, 65534 };
	struct wire_result result = { .class = KEYFOB_CLASS_OK };
	struct buffer frame;

	if (!size || size > WIRE_MAX)
		return 0;
	start_broker();
	conn = (struct conn){ .broker = &broker, .fd = -1, .peer = { .pid = 4711, .uid = uids[data[0] % 6], .gid = 100 } };
	answers = 0;
	fetched = NULL;
	buffer_init(&frame, WIRE_MAX);
	buffer_put(&frame, data + 1, size - 1);
	request_dispatch(&conn, &frame);
	buffer_free(&frame);
	/* Who waits is answered when the fetch ends, or leaves before. */
	if (fetched && conn.keyset && data[0] & 0x80)
		keyset_leave(&conn);
	else if (fetched)
		fetched(fetched_arg, &result, "{}", 2);
	if (conn.question)
		metadata_leave(&conn);
	fuzz_require(answers == 1 || data[0] & 0x80);
	free(conn.groups);
	buffer_free(&conn.lines);
	return 0;
}

static void seed(uint8_t who, uint8_t opcode, const struct buffer *fields)
{
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	buffer_put_u8(&b, who);
	buffer_put_u8(&b, WIRE_VERSION);
	buffer_put_u8(&b, opcode);
	buffer_put(&b, fields->data, fields->length);
	fuzz_seed(b.data, b.length);
	buffer_free(&b);
}

void fuzz_seeds(void)
{
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	seed(0, WIRE_RELOAD, &b);
	buffer_put_text(&b, "atlas");
	seed(1, WIRE_GET, &b);
	seed(2, WIRE_GET, &b);
	seed(0, WIRE_DROP, &b);
	seed(1, WIRE_REFRESH, &b);
	seed(0, WIRE_TRY, &b);
	buffer_put_text(&b, "token");
	seed(1, WIRE_REJECT, &b);
	seed(1, WIRE_STATUS, &b);
	buffer_clear(&b);
	buffer_put_text(&b, "shop");
	buffer_put_u32(&b, BOB);
	seed(2, WIRE_MAY, &b);
	seed(0, WIRE_MAY, &b);
	buffer_clear(&b);
	buffer_put_text(&b, "entra");
	buffer_put_text(&b, "s");
	buffer_put_text(&b, "\"etag\"");
	seed(3, WIRE_KEYSET, &b);
	seed(0x80 + 3, WIRE_KEYSET, &b);
	buffer_clear(&b);
	buffer_put_u32(&b, ALICE);
	buffer_put_u8(&b, KEYFOB_KIND_ACCESS);
	buffer_put_text(&b, "api://x");
	buffer_put_text(&b, "");
	seed(4, WIRE_METADATA, &b);
	buffer_free(&b);
}
