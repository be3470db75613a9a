/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/fetch-reply.h"

#include <sha2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/expiry.h"

#define LAST_SECOND 253402300799 /* of the year 9999 */

void fetch_printable(char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			*text = '?';
}

void fetch_fail(struct wire_result *result, enum keyfob_class class, const char *format, ...)
{
	va_list args;

	result->class = (uint8_t) class;
	va_start(args, format);
	vsnprintf(result->text, sizeof(result->text), format, args);
	va_end(args);
	fetch_printable(result->text);
}

static bool token_valid(const struct keyfob_reply *reply, struct wire_result *result)
{
	if (!reply->token || !reply->length) {
		fetch_fail(result, KEYFOB_CLASS_PERMANENT, "the module gave an empty token");
		return false;
	}
	if (reply->length > WIRE_TOKEN_MAX) {
		fetch_fail(result, KEYFOB_CLASS_PERMANENT, "the token has %zu bytes, more than the %d a key can hold", reply->length,
			WIRE_TOKEN_MAX);
		return false;
	}
	for (size_t i = 0; i < reply->length; i++) {
		unsigned char c = (unsigned char)reply->token[i];

		if (c < 0x21 || c > 0x7e) {
			fetch_fail(result, KEYFOB_CLASS_PERMANENT, "the token holds byte 0x%02x at offset %zu", c, i);
			return false;
		}
	}
	return true;
}

/* The earliest of what was declared and what a JWT says of itself, else ttl=. Never "for ever". */
static bool find_expiry(const struct keyfob_reply *reply, unsigned int ttl, time_t now, struct wire_result *result)
{
	struct expiry_claims claims = { .has_expires = false };
	time_t expires = reply->expires;

	if (expiry_jwt_claims(reply->token, reply->length, &claims)) {
		snprintf(result->issuer, sizeof(result->issuer), "%s", claims.issuer);
		snprintf(result->audience, sizeof(result->audience), "%s", claims.audience);
		snprintf(result->subject, sizeof(result->subject), "%s", claims.subject);
	}
	/* Issued later than now: this host's clock is behind, and the end comes sooner than it looks. */
	if (claims.has_expires && claims.issued > now && claims.issued < claims.expires)
		claims.expires -= claims.issued - now;
	if (claims.has_expires && (!expires || claims.expires < expires))
		expires = claims.expires;
	else if (!expires && ttl)
		expires = now + ttl;
	else if (!expires) {
		fetch_fail(result, KEYFOB_CLASS_CONFIG, "the token names no expiry: set ttl= on the provider line");
		return false;
	}
	if (expires > LAST_SECOND) {
		fetch_fail(result, KEYFOB_CLASS_PERMANENT, "the token's expiry lies beyond the year 9999");
		return false;
	}
	if (expires <= now) {
		fetch_fail(result, KEYFOB_CLASS_PERMANENT,
			"the token expired at %lld and it is %lld now: an old one, or this host's clock is wrong", (long long)expires,
			(long long)now);
		return false;
	}
	result->expires = (uint64_t)expires;
	return true;
}

static time_t find_refresh(const struct keyfob_reply *reply, time_t now, time_t expires)
{
	time_t refresh = reply->refresh;

	if (refresh <= now || refresh >= expires)
		refresh = expires - (time_t)reply->refresh_before;
	return refresh > now && refresh < expires ? refresh : 0;
}

static void fingerprint(const char *token, size_t length, char out[static 9])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	SHA2_CTX context;

	SHA256Init(&context);
	SHA256Update(&context, (const uint8_t *)token, length);
	SHA256Final(digest, &context);
	snprintf(out, 9, "%02x%02x%02x%02x", digest[0], digest[1], digest[2], digest[3]);
	explicit_bzero(&context, sizeof(context));
	explicit_bzero(digest, sizeof(digest));
}

/* Anybody may read it, and whoever asked for it judges what it says: here only its size counts. */
static void judge_document(struct keyfob_reply *reply, time_t now, struct wire_result *result)
{
	if (!reply->token)
		reply->length = 0;
	if (reply->token && !reply->length) {
		fetch_fail(result, KEYFOB_CLASS_PERMANENT, "the module gave an empty document");
		return;
	}
	if (reply->length > WIRE_KEYSET_MAX) {
		fetch_fail(result, KEYFOB_CLASS_PERMANENT, "the document has %zu bytes, more than the %u that are taken", reply->length,
			WIRE_KEYSET_MAX);
		return;
	}
	result->refresh = reply->refresh > now && reply->refresh <= LAST_SECOND ? (uint64_t)reply->refresh : 0;
	if (reply->length)
		fingerprint(reply->token, reply->length, result->fingerprint);
}

void fetch_judge(enum keyfob_kind kind, unsigned int ttl, struct keyfob_reply *reply, struct wire_result *result)
{
	time_t now = time(NULL);

	reply->text[sizeof(reply->text) - 1] = 0;
	reply->code[sizeof(reply->code) - 1] = 0;
	fetch_printable(reply->text);
	fetch_printable(reply->code);
	memcpy(result->text, reply->text, sizeof(result->text));
	memcpy(result->code, reply->code, sizeof(result->code));
	result->class = (uint8_t)reply->class;
	result->retry_after = reply->retry_after;
	if ((unsigned int)reply->class > KEYFOB_CLASS_TRANSIENT)
		fetch_fail(result, KEYFOB_CLASS_PERMANENT, "the module ended with the unknown class %d", (int)reply->class);
	if (result->class != KEYFOB_CLASS_OK)
		return;
	if (kind == KEYFOB_KIND_DOCUMENT) {
		judge_document(reply, now, result);
		return;
	}
	if (!token_valid(reply, result) || !find_expiry(reply, ttl, now, result))
		return;
	result->refresh = (uint64_t)find_refresh(reply, now, (time_t)result->expires);
	fingerprint(reply->token, reply->length, result->fingerprint);
}

void fetch_wipe(struct keyfob_reply *reply)
{
	if (reply->token) {
		explicit_bzero(reply->token, reply->length);
		free(reply->token);
	}
	explicit_bzero(reply, sizeof(*reply));
}

/* In parts, and the result without it after them. */
static int send_document(int channel, const struct keyfob_reply *reply)
{
	struct buffer frame;
	int rc = 0;

	buffer_init(&frame, WIRE_MAX);
	for (size_t sent = 0; sent < reply->length && rc == 0;) {
		size_t part = reply->length - sent < WIRE_CHUNK ? reply->length - sent : WIRE_CHUNK;

		buffer_clear(&frame);
		buffer_put_u8(&frame, WIRE_FETCH_DATA);
		buffer_put_string(&frame, reply->token + sent, part);
		rc = wire_send(channel, &frame, -1);
		sent += part;
	}
	buffer_free(&frame);
	return rc;
}

int fetch_send(int channel, enum keyfob_kind kind, const struct wire_result *result, const struct keyfob_reply *reply)
{
	bool ok = result->class == KEYFOB_CLASS_OK, whole = ok && kind != KEYFOB_KIND_DOCUMENT;
	struct buffer frame;
	int rc = 0;

	if (ok && !whole)
		rc = send_document(channel, reply);
	buffer_init(&frame, WIRE_MAX);
	wire_put_result(&frame, result, whole ? reply->token : NULL, whole ? reply->length : 0);
	if (rc == 0)
		rc = wire_send(channel, &frame, -1);
	buffer_free(&frame);
	return rc;
}
