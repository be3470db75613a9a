/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of metadata clients, from any process that reaches the port, and
 * what is answered.
 *
 * links: metadata/http metadata/service metadata/azure metadata/google common/buffer
 * libs: jansson
 * parser: metadata/http metadata/service metadata/azure metadata/google
 */
#include <jansson.h>
#include <strings.h>

#include "keyring/keyfob.h"
#include "metadata/service.h"
#include "tests/fuzz/fuzz.h"

/* Texts go into others' lines. */
static bool is_one_line(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

/* The answer goes out whole, and what stood in the request adds no line to its head. */
static void send_answer(const struct http_request *r, const struct http_answer *answer)
{
	struct buffer out;
	size_t head, lines = 0;

	buffer_init(&out, 2 * HTTP_BODY_MAX);
	fuzz_require(http_put_answer(&out, r, answer));
	head = http_head_length((const char *)out.data, out.length);
	fuzz_require(head);
	for (size_t i = 0; i < head; i++)
		lines += out.data[i] == '\n';
	fuzz_require(lines >= 7 && lines <= 10);
	fuzz_require(out.length - head == (strcmp(r->method, "HEAD") == 0 ? 0 : answer->body.length));
	if (strncasecmp(answer->type, "application/json", 16) == 0) {
		json_t *body = json_loadb((const char *)answer->body.data, answer->body.length, JSON_REJECT_DUPLICATES, NULL);

		fuzz_require(body);
		json_decref(body);
	}
	buffer_free(&out);
}

static void answer(const struct http_request *r)
{
	static const struct reply replies[] = {
		{ .token = "a.b.c\"\\", .expires = 4100000000, .credential = "atlas", .fingerprint = "0123abcd" },
		{ .error = KEYFOB_ENOCRED, .text = "none\r\nX: y" },
		{ .error = KEYFOB_EAGAIN, .text = "later", .retry = 5 },
	};
	const struct service *service = service_of(r);
	struct question q = { .service = service };
	struct http_answer first = { .type = "" };
	bool asks;

	if (!service)
		return;
	first.google = service->google;
	buffer_init(&first.body, HTTP_BODY_MAX);
	asks = service->take(r, &q, &first);
	if (!asks)
		send_answer(r, &first);
	buffer_free(&first.body);
	for (size_t i = 0; asks && i < sizeof(replies) / sizeof(replies[0]); i++) {
		struct http_answer given = { .google = service->google, .type = "" };

		fuzz_require(q.resource && q.client_id && (q.kind == KEYFOB_KIND_ACCESS || q.kind == KEYFOB_KIND_ID));
		buffer_init(&given.body, HTTP_BODY_MAX);
		service_answer(&q, &replies[i], 1800000000, &given);
		send_answer(r, &given);
		buffer_free(&given.body);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t whole = size <= HTTP_HEAD_MAX ? http_head_length((const char *)data, size) : 0;
	struct http_request r;
	char *head;

	if (!whole)
		return 0;
	/* As the server has it: the head of its buffer, with a NUL behind. */
	head = malloc(whole + 1);
	fuzz_require(head);
	memcpy(head, data, whole);
	head[whole] = 0;
	if (!http_parse(head, whole, &r)) {
		fuzz_require(r.minor <= 1 && r.count <= HTTP_PARAMETERS && is_one_line(r.path));
		for (size_t i = 0; i < r.count; i++)
			fuzz_require(is_one_line(r.parameter[i].name) && is_one_line(r.parameter[i].value));
		http_repeated(&r);
		http_host_is_ours(&r);
		answer(&r);
	}
	free(head);
	return 0;
}

void fuzz_seeds(void)
{
	fuzz_text("GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fx&client_id=c HTTP/1.1\r\n"
		  "Host: 169.254.169.254\r\nMetadata: true\r\nAccept: */*\r\n\r\n");
	fuzz_text("GET /metadata/identity/oauth2/token HTTP/1.0\nmetadata: true\n\n");
	fuzz_text(
		"GET http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/identity?audience=https%3A%2F%2Fd"
		"&format=full HTTP/1.1\r\nMetadata-Flavor: Google\r\n\r\n");
	fuzz_text("GET /computeMetadata/v1/instance/service-accounts/default/token?scopes=a,b HTTP/1.1\r\nHost: metadata\r\n"
		  "Metadata-Flavor: Google\r\nX-Forwarded-For: 1\r\n\r\n");
	fuzz_text("GET /computeMetadata/v1/instance/service-accounts/default/?recursive=true HTTP/1.1\r\nMetadata-Flavor: Google\r\n\r\n");
	fuzz_text("GET /%0d%0aX?a=%09&%01=b HTTP/1.1\r\n\r\n");
	fuzz_text("GET /computeMetadata/v1/%7f HTTP/1.1\r\nMetadata-Flavor: Google\r\n\r\n");
	fuzz_text("HEAD / HTTP/1.1\r\nHost: localhost.:80\r\n\r\n");
	fuzz_text("PUT /latest/api/token HTTP/1.1\r\nHost: evil.example\r\n\r\n");
}
