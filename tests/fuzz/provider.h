/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A provider module against a libcurl that is made up here: what the input
 * says is what the provider says. An input is one byte that chooses how the
 * module is configured, then answers, parted by the byte 0x1e: a line with
 * the status (below 100: the CURLcode of a failure), header lines, an empty
 * line, the body. When answers run out, nobody listens any more.
 */
#ifndef KEYFOB_FUZZ_PROVIDER_H
#define KEYFOB_FUZZ_PROVIDER_H

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>

#include "broker/fetch-reply.h"
#include "modules/module.h"
#include "tests/fuzz/fuzz.h"

#define ANSWER_END 0x1e
#define ANSWERS_MAX 8 /* a module that asks more often does not end */

static struct {
	const uint8_t *rest;
	size_t left;
	unsigned int asked;
	long status;
	curl_write_callback body, header;
	void *body_arg, *header_arg;
} web;

#undef curl_easy_setopt
#undef curl_easy_getinfo

CURL *curl_easy_init(void)
{
	return &web;
}

void curl_easy_cleanup(CURL *curl)
{
	(void)curl;
}

CURLcode curl_easy_setopt(CURL *curl, CURLoption option, ...)
{
	va_list args;

	(void)curl;
	va_start(args, option);
	if (option == CURLOPT_WRITEFUNCTION)
		web.body = va_arg(args, curl_write_callback);
	else if (option == CURLOPT_HEADERFUNCTION)
		web.header = va_arg(args, curl_write_callback);
	else if (option == CURLOPT_WRITEDATA)
		web.body_arg = va_arg(args, void *);
	else if (option == CURLOPT_HEADERDATA)
		web.header_arg = va_arg(args, void *);
	va_end(args);
	return CURLE_OK;
}

CURLcode curl_easy_getinfo(CURL *curl, CURLINFO info, ...)
{
	va_list args;

	(void)curl;
	va_start(args, info);
	if (info == CURLINFO_RESPONSE_CODE)
		*va_arg(args, long *) = web.status;
	else if (info == CURLINFO_OS_ERRNO)
		*va_arg(args, long *) = ECONNREFUSED;
	else if (info == CURLINFO_CONNECT_TIME_T)
		*va_arg(args, curl_off_t *) = web.asked & 1;
	va_end(args);
	return CURLE_OK;
}

/* A header line with its line's end, as libcurl hands it over; false at the empty line. */
static inline bool give_header(struct fuzz_part *answer, size_t *at)
{
	char *line = answer->bytes + *at, *end = memchr(line, '\n', answer->length - *at), *exact;
	size_t length = end ? (size_t)(end - line) + 1 : answer->length - *at;

	*at += length;
	if (length == 0 || *line == '\n')
		return false;
	exact = malloc(length);
	fuzz_require(exact);
	memcpy(exact, line, length);
	web.header(exact, 1, length, web.header_arg);
	free(exact);
	return true;
}

CURLcode curl_easy_perform(CURL *curl)
{
	struct fuzz_part answer;
	CURLcode code = CURLE_OK;
	size_t at = 0, half;

	(void)curl;
	fuzz_require(++web.asked <= ANSWERS_MAX);
	if (!web.left)
		return CURLE_COULDNT_CONNECT;
	answer = fuzz_take(&web.rest, &web.left, ANSWER_END);
	web.status = 0;
	while (at < answer.length && answer.bytes[at] >= '0' && answer.bytes[at] <= '9' && web.status < 100)
		web.status = web.status * 10 + answer.bytes[at++] - '0';
	while (at < answer.length && answer.bytes[at++] != '\n')
		continue;
	if (web.status < 100) {
		free(answer.bytes);
		return web.status ? (CURLcode)web.status : CURLE_GOT_NOTHING;
	}
	while (give_header(&answer, &at))
		continue;
	/* In two parts, as it may come. */
	half = (answer.length - at) / 2;
	if (half && web.body(answer.bytes + at, 1, half, web.body_arg) != half)
		code = CURLE_WRITE_ERROR;
	at += half;
	if (code == CURLE_OK && at < answer.length &&
		web.body(answer.bytes + at, 1, answer.length - at, web.body_arg) != answer.length - at)
		code = CURLE_WRITE_ERROR;
	free(answer.bytes);
	return code;
}

/* --- the module -------------------------------------------------------------------------- */

#define SETTINGS_MAX 8

struct variant {
	enum keyfob_kind kind;
	const char *resource;
	struct keyfob_setting settings[SETTINGS_MAX]; /* ends with a name of NULL */
	const char *secret; /* the setting that names one; its content is secret_content, or without that the first part of the input */
	const char *secret_content;
};

static const char *secret_now; /* NULL: none that must stay one */

/* Whatever the provider sends back, no text says it to anybody. */
static inline void check_text(const char *text)
{
	if (secret_now && strstr(text, secret_now)) {
		fprintf(stderr, "told: %s\n", text);
		abort();
	}
}

/* What a fetch then makes of it (fetch_judge) must hold whatever the provider says. */
static inline void judge(enum keyfob_kind kind, struct keyfob_reply *reply)
{
	struct wire_result result = { .text = "" };

	fuzz_require(memchr(reply->text, 0, sizeof(reply->text)) && memchr(reply->code, 0, sizeof(reply->code)));
	check_text(reply->text);
	check_text(reply->code);
	fuzz_require(reply->class == KEYFOB_CLASS_OK || *reply->text);
	fuzz_require(reply->class != KEYFOB_CLASS_OK || kind == KEYFOB_KIND_DOCUMENT || reply->token);
	fetch_judge(kind, 0, reply, &result);
	fuzz_require(fuzz_is_plain(result.text) && fuzz_is_plain(result.code) && fuzz_is_plain(result.issuer));
	fuzz_require(result.class != KEYFOB_CLASS_OK || kind == KEYFOB_KIND_DOCUMENT || result.expires);
	fetch_wipe(reply);
}

static inline void obtain(const struct variant *v, const uint8_t *data, size_t size)
{
	struct keyfob_request request = {
		.credential = "test", .resource = v->resource, .kind = v->kind, .timeout = 5, .settings = v->settings, .tell = check_text
	};
	struct keyfob_secret secret = { .name = v->secret, .value = v->secret_content };
	struct keyfob_reply reply = { .class = KEYFOB_CLASS_OK };
	char *content = NULL;

	while (request.count < SETTINGS_MAX && v->settings[request.count].name)
		request.count++;
	if (v->secret && !v->secret_content)
		secret.value = content = fuzz_take_text(&data, &size, ANSWER_END);
	if (v->secret) {
		secret.length = strlen(secret.value);
		request.secrets = &secret;
		request.secret_count = 1;
	}
	memset(&web, 0, sizeof(web));
	web.rest = data;
	web.left = size;
	secret_now = v->secret_content;
	keyfob_module.obtain(&request, &reply);
	judge(v->kind, &reply);
	free(content);
}

static inline void seed_answers(uint8_t variant, const char *answers)
{
	char bytes[FUZZ_MAX];
	int length = snprintf(bytes, sizeof(bytes), "%c%s", variant, answers);

	fuzz_seed(bytes, (size_t)length);
}

#define HARNESS(variants) \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) \
	{ \
		if (size && size <= FUZZ_MAX) \
			obtain(&variants[data[0] % (sizeof(variants) / sizeof(variants[0]))], data + 1, size - 1); \
		return 0; \
	}

#define TOKEN "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIiwiZXhwIjo0MTAwMDAwMDAwfQ.c2ln" /* unsigned but for the word sig */
#define JSON_HEAD "200\nContent-Type: application/json\n\n"

#endif
