/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/http.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define BLANKS " \t"
/* RFC 9110 section 5.6.2 */
#define TOKEN "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

size_t http_head_length(const char *data, size_t length)
{
	for (size_t i = 0; i + 1 < length; i++) {
		if (data[i] != '\n')
			continue;
		if (data[i + 1] == '\n')
			return i + 2;
		if (data[i + 1] == '\r' && i + 2 < length && data[i + 2] == '\n')
			return i + 3;
	}
	return 0;
}

/* --- taking apart ----------------------------------------------------------------------- */

/* The line at *at, ended with a NUL; *at moves on to the next. */
static char *next_line(char **at)
{
	char *line = *at, *end = strchr(line, '\n');

	*at = end + 1;
	if (end > line && end[-1] == '\r')
		end--;
	*end = 0;
	return line;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. No byte that a text cannot hold, or a log should not, comes out of it. */
static bool decode(char *text, bool plus)
{
	char *to = text;

	for (; *text; text++) {
		int c = (unsigned char)*text;

		if (c == '%') {
			int high = digit(text[1]), low = high < 0 ? -1 : digit(text[2]);

			if (low < 0)
				return false;
			c = high << 4 | low;
			text += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (c < 0x20 || c == 0x7f)
			return false;
		*to++ = (char)c;
	}
	*to = 0;
	return true;
}

static const char *parse_query(char *query, struct http_request *r)
{
	char *pair;

	while ((pair = strsep(&query, "&"))) {
		char *name = strsep(&pair, "=");

		if (!*name && !pair)
			continue;
		if (r->count == HTTP_PARAMETERS)
			return "the query has too many parameters";
		if (!decode(name, true) || (pair && !decode(pair, true)))
			return "the query is not encoded as it should be";
		r->parameter[r->count].name = name;
		r->parameter[r->count++].value = pair ? pair : "";
	}
	return NULL;
}

/* What follows the method: a path, or through a proxy a whole URL (RFC 9112 section 3.2). */
static const char *parse_target(char *target, struct http_request *r)
{
	char *query;

	if (strncasecmp(target, "http://", 7) == 0) {
		size_t length;

		/* The host moves to the front, so that a NUL finds room behind it. */
		target += 7;
		length = strcspn(target, "/?");
		memmove(target - 1, target, length);
		target[length - 1] = 0;
		r->host = target - 1;
		target += length;
	} else if (*target != '/') {
		return "the request's target is neither a path nor a URL with http://";
	}
	if (strchr(target, '#'))
		return "the request's target holds a fragment";
	query = target;
	strsep(&query, "?");
	r->path = *target ? target : "/";
	if (!decode(target, false))
		return "the path is not encoded as it should be";
	return query ? parse_query(query, r) : NULL;
}

static const char *parse_first(char *line, struct http_request *r)
{
	char *target = line;
	char *version;

	r->method = strsep(&target, " ");
	version = target ? strchr(target, ' ') : NULL;
	if (!version || !*r->method || r->method[strspn(r->method, TOKEN)])
		return "the first line is not that of a request";
	*version++ = 0;
	if (strncmp(version, "HTTP/1.", 7) != 0 || (version[7] != '0' && version[7] != '1') || version[8])
		return "the version is neither HTTP/1.0 nor HTTP/1.1";
	r->minor = version[7] == '1';
	return parse_target(target, r);
}

static const char *parse_field(char *line, struct http_request *r)
{
	char *value = line, *name = strsep(&value, ":");
	const char **place = NULL;

	if (!value || !*name || name[strspn(name, TOKEN)])
		return "a header field is malformed";
	value += strspn(value, BLANKS);
	for (size_t length = strlen(value); length && strchr(BLANKS, value[length - 1]); length--)
		value[length - 1] = 0;
	if (strcasecmp(name, "Metadata") == 0)
		place = &r->metadata;
	else if (strcasecmp(name, "Metadata-Flavor") == 0)
		place = &r->metadata_flavor;
	else if (strcasecmp(name, "Host") == 0)
		place = &r->host;
	else if (strcasecmp(name, "X-Forwarded-For") == 0)
		r->forwarded = true;
	if (place && *place)
		return "a header field is there twice";
	if (place)
		*place = value;
	return NULL;
}

const char *http_parse(char *head, size_t length, struct http_request *r)
{
	const char *why, *target_host;
	char *at = head, *line;

	memset(r, 0, sizeof(*r));
	r->method = "";
	r->path = "";
	if (memchr(head, 0, length) || length < 2)
		return "the request holds a NUL";
	why = parse_first(next_line(&at), r);
	/* It counts, but the field may be there too (RFC 9112 section 3.2.2). */
	target_host = r->host;
	r->host = NULL;
	while (!why && *(line = next_line(&at)))
		why = parse_field(line, r);
	if (target_host)
		r->host = target_host;
	return why;
}

/* --- what it holds ------------------------------------------------------------------------- */

const char *http_parameter(const struct http_request *r, const char *name)
{
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->parameter[i].name, name) == 0)
			return r->parameter[i].value;
	return NULL;
}

const char *http_repeated(const struct http_request *r)
{
	for (size_t i = 0; i < r->count; i++)
		for (size_t j = i + 1; j < r->count; j++)
			if (strcasecmp(r->parameter[i].name, r->parameter[j].name) == 0)
				return r->parameter[i].name;
	return NULL;
}

bool http_host_is_ours(const struct http_request *r)
{
	static const char *const names[] = { "metadata", "metadata.google.internal", "localhost" };
	char host[64];
	struct in_addr address;
	size_t length;

	if (!r->host)
		return true;
	length = strcspn(r->host, ":");
	if (length == 0 || length >= sizeof(host))
		return false;
	memcpy(host, r->host, length);
	if (host[length - 1] == '.')
		length--;
	host[length] = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(host, names[i]) == 0)
			return true;
	return inet_pton(AF_INET, host, &address) == 1;
}

/* --- the answer ------------------------------------------------------------------------------- */

static const char *phrase(int status)
{
	static const struct {
		int status;
		const char *text;
	} phrases[] = {
		{ 200, "OK" },
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 431, "Request Header Fields Too Large" },
		{ 503, "Service Unavailable" },
	};

	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (phrases[i].status == status)
			return phrases[i].text;
	return "Error";
}

bool http_put_answer(struct buffer *out, const struct http_request *r, const struct http_answer *answer)
{
	buffer_printf(out, "HTTP/1.%u %d %s\r\n", r->minor, answer->status, phrase(answer->status));
	buffer_printf(out, "Content-Type: %s\r\nContent-Length: %zu\r\n", answer->type, answer->body.length);
	buffer_printf(out, "Cache-Control: no-store\r\nConnection: close\r\n");
	if (answer->retry_after)
		buffer_printf(out, "Retry-After: %u\r\n", answer->retry_after);
	if (answer->status == 405)
		buffer_printf(out, "Allow: GET\r\n");
	if (answer->google)
		buffer_printf(out, "Metadata-Flavor: Google\r\n");
	buffer_printf(out, "Server: %s\r\n\r\n", answer->google ? "Metadata Server for VM" : "keyfob-metadata");
	if (strcmp(r->method, "HEAD") != 0)
		buffer_put(out, answer->body.data, answer->body.length);
	if (answer->body.failed)
		out->failed = true;
	return !out->failed;
}
