/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes to keyfobd from a keyfob-fetch that may have been taken over, and
 * from the launcher about it. The first byte of an input says what is fetched;
 * then come frames, each with a byte for who sends it and two for its length.
 *
 * links: broker/fetch common/wire common/buffer common/log
 * libs: libevent_core
 * parser: broker/fetch
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/launcher.h"
#include "common/log.h"
#include "tests/fuzz/fuzz.h"

#define NOW 1800000000u
enum { DOCUMENT = 1, SECRETS = 2, EXCHANGE = 4 }; /* what is fetched */
enum { FROM_FETCH, FROM_LAUNCHER, HANG_UP, SENDERS };

static struct broker broker = { .launcher = -1 };
static int theirs = -1; /* the fetch's end of its socket */
static bool is_ready; /* it said so */
static unsigned int results, secrets;
static int64_t clock_ms = NOW * 1000LL;

/* --- what lies around --------------------------------------------------------------------- */

uint64_t now_seconds(void)
{
	return NOW;
}

int64_t now_ms(void)
{
	return clock_ms;
}

/* The same clock. */
int64_t boot_ms(void)
{
	return clock_ms;
}

int launcher_fetch(int launcher, uint32_t id, uid_t uid, int fetch_socket)
{
	(void)launcher, (void)id;
	fuzz_require(uid == 990);
	theirs = dup(fetch_socket);
	fuzz_require(theirs >= 0);
	return 0;
}

int launcher_kill(int launcher, uint32_t id)
{
	(void)launcher, (void)id;
	return 0;
}

/* Before its sandbox is up it gets none. */
int launcher_secret(int launcher, const char *name, const char *path, int fetch_socket)
{
	(void)launcher, (void)fetch_socket;
	fuzz_require(is_ready && strcmp(name, "secret_file") == 0 && strcmp(path, "/etc/keyfob/secret") == 0);
	secrets++;
	return 0;
}

struct credential *credential_find(struct broker *b, const char *name)
{
	static struct credential source;

	(void)b;
	fuzz_require(is_ready && strcmp(name, "source") == 0);
	return &source;
}

int credential_token(struct credential *c, struct buffer *token)
{
	(void)c;
	secrets++;
	buffer_put(token, "token", 5);
	return 0;
}

/* --- what it comes to ----------------------------------------------------------------------- */

static bool is_document;

static void take_result(void *arg, const struct wire_result *result, const char *token, size_t length)
{
	(void)arg;
	fuzz_require(++results == 1 && result->class <= KEYFOB_CLASS_TRANSIENT);
	fuzz_require(fuzz_is_plain(result->text) && fuzz_is_plain(result->code));
	if (result->class != KEYFOB_CLASS_OK)
		return;
	fuzz_require(is_ready && length <= (is_document ? WIRE_KEYSET_MAX : WIRE_TOKEN_MAX));
	if (is_document)
		return;
	fuzz_require(length && !memchr(token, 0, length) && result->expires > NOW && strlen(result->fingerprint) == 8);
}

static void take_line(void *arg, const char *line)
{
	(void)arg;
	fuzz_require(fuzz_is_plain(line));
}

static struct fetch *start(uint8_t what)
{
	static struct policy_setting settings[] = {
		{ .name = (char *)(uintptr_t) "secret_file", .value = (char *)(uintptr_t) "/etc/keyfob/secret", .is_secret = true },
		{ .name = (char *)(uintptr_t) "assertion",
			.value = (char *)(uintptr_t) "source",
			.is_secret = true,
			.type = KEYFOB_OPTION_CREDENTIAL },
	};
	static struct policy_provider provider = {
		.line = (char *)(uintptr_t) "oauth2", .module = (char *)(uintptr_t) "oauth2", .run_as = 990, .timeout = 5, .settings = settings
	};
	static struct policy_credential credential = {
		.name = (char *)(uintptr_t) "atlas", .resource = (char *)(uintptr_t) "api://x", .provider_count = 1, .providers = &provider
	};

	if (!broker.base) {
		log_open("fuzz", false, LOG_EMERG);
		broker.base = event_base_new();
		fuzz_require(broker.base);
	}
	clock_ms += 1000; /* one a second is not too many */
	results = secrets = 0;
	is_ready = false;
	is_document = what & DOCUMENT;
	provider.kind = is_document ? KEYFOB_KIND_DOCUMENT : KEYFOB_KIND_ACCESS;
	provider.count = what & SECRETS ? 2 : 0;
	return fetch_start(&broker, &credential, &provider, take_result, what & EXCHANGE ? take_line : NULL, NULL);
}

static void turn_loop(void)
{
	for (int i = 0; i < 3; i++)
		event_base_loop(broker.base, EVLOOP_NONBLOCK);
}

/* Each datagram must be there when it is looked for, and none is lost for want of room. */
static void send_frame(const uint8_t *data, size_t length)
{
	if (theirs < 0)
		return;
	is_ready = is_ready || (length && data[0] == WIRE_FETCH_READY);
	if (send(theirs, data, length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EAGAIN)
		turn_loop();
}

static void from_launcher(const uint8_t *data, size_t length)
{
	struct reader r;
	uint8_t event;
	uint32_t value;

	reader_init(&r, data, length);
	event = reader_u8(&r);
	value = reader_u32(&r);
	for (uint32_t id = 0; reader_done(&r) && id < 2; id++)
		fetch_launcher_event(event, id ? (uint32_t)(clock_ms / 1000 - NOW) : 0, value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fetch *f;

	if (!size || size > FUZZ_MAX)
		return 0;
	f = start(*data++);
	size--;
	fuzz_require(f);
	turn_loop();
	while (size >= 3 && !results) {
		uint8_t sender = data[0] % SENDERS;
		size_t length = (size_t)data[1] << 8 | data[2];

		data += 3;
		size -= 3;
		length = length < size ? length : size;
		if (sender == FROM_FETCH)
			send_frame(data, length);
		else if (sender == FROM_LAUNCHER)
			from_launcher(data, length);
		else if (theirs >= 0)
			shutdown(theirs, SHUT_WR);
		turn_loop();
		data += length;
		size -= length;
	}
	if (!results)
		fetch_cancel(f);
	turn_loop();
	fuzz_require(!fetch_owns(getpid()));
	if (theirs >= 0)
		close(theirs);
	theirs = -1;
	return 0;
}

/* --- seeds ------------------------------------------------------------------------------------- */

static void put_frame(struct buffer *b, uint8_t sender, const struct buffer *frame)
{
	buffer_put_u8(b, sender);
	buffer_put_u8(b, (uint8_t)(frame->length >> 8));
	buffer_put_u8(b, (uint8_t)frame->length);
	buffer_put(b, frame->data, frame->length);
}

static void put_ready(struct buffer *b, uint8_t what)
{
	static const uint8_t ready = WIRE_FETCH_READY;
	struct buffer frame;

	buffer_clear(b);
	buffer_put_u8(b, what);
	buffer_init(&frame, WIRE_MAX);
	buffer_put(&frame, &ready, 1);
	put_frame(b, FROM_FETCH, &frame);
	buffer_free(&frame);
}

static void put_text_frame(struct buffer *b, uint8_t tag, const char *text)
{
	struct buffer frame;

	buffer_init(&frame, WIRE_MAX);
	buffer_put_u8(&frame, tag);
	buffer_put_text(&frame, text);
	put_frame(b, FROM_FETCH, &frame);
	buffer_free(&frame);
}

static void put_result(struct buffer *b, enum keyfob_class class, const char *token)
{
	struct wire_result result = { .class = (uint8_t) class,
		.expires = NOW + 3600,
		.fingerprint = "0123abcd",
		.issuer = "https://sts.example",
		.text = "IMDS answered 429" };
	struct buffer frame;

	buffer_init(&frame, WIRE_MAX);
	wire_put_result(&frame, &result, token, strlen(token));
	put_frame(b, FROM_FETCH, &frame);
	buffer_free(&frame);
}

static void put_event(struct buffer *b, uint8_t event, uint32_t value)
{
	struct buffer frame;

	buffer_init(&frame, 16);
	buffer_put_u8(&frame, event);
	buffer_put_u32(&frame, value);
	put_frame(b, FROM_LAUNCHER, &frame);
	buffer_free(&frame);
}

void fuzz_seeds(void)
{
	struct buffer b;

	buffer_init(&b, FUZZ_MAX);
	put_ready(&b, SECRETS | EXCHANGE);
	put_event(&b, LAUNCHER_STARTED, 4711);
	put_text_frame(&b, WIRE_FETCH_LINE, "> GET /metadata/identity HTTP/1.1");
	put_result(&b, KEYFOB_CLASS_OK, "header.claims.signature");
	fuzz_seed(b.data, b.length);
	put_ready(&b, 0);
	put_result(&b, KEYFOB_CLASS_THROTTLED, "");
	fuzz_seed(b.data, b.length);
	put_ready(&b, DOCUMENT);
	put_text_frame(&b, WIRE_FETCH_DATA, "{\"keys\":");
	put_text_frame(&b, WIRE_FETCH_DATA, "[]}");
	put_result(&b, KEYFOB_CLASS_OK, "");
	fuzz_seed(b.data, b.length);
	/* How it ended: by a signal, with no program, as nobody, for no reason. */
	static const uint32_t ends[] = { 11, 127 << 8, 126 << 8, 0, 1 << 8 };
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		put_ready(&b, 0);
		put_event(&b, LAUNCHER_ENDED, ends[i]);
		fuzz_seed(b.data, b.length);
	}
	put_ready(&b, 0);
	buffer_put_u8(&b, HANG_UP);
	buffer_put(&b, "\0\0", 2);
	fuzz_seed(b.data, b.length);
	buffer_free(&b);
}
