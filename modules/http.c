/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "modules/report.h"
#include "modules/wipe.h"

#define RETRY_AFTER_MAX 3600
#define MAX_AGE_MAX (366u * 86400)
#define CONNECT_METADATA_MS 1000L
#define CONNECT_PUBLIC_MS 5000L
#define SHOWN_MAX 300
#define SECRET_MIN 6 /* shorter ones occur in any text by chance */
#define UNRESERVED "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

void http_escape(struct buffer *to, const char *text, const char *keep)
{
	for (; *text; text++) {
		if (strchr(UNRESERVED, *text) || strchr(keep, *text))
			buffer_put(to, text, 1);
		else
			buffer_printf(to, "%%%02X", (unsigned int)(unsigned char)*text);
	}
}

void http_query(struct http_exchange *x, const char *name, const char *value)
{
	bool first = !x->url.length || !memchr(x->url.data, '?', x->url.length);

	buffer_printf(&x->url, "%c%s=", first ? '?' : '&', name);
	http_escape(&x->url, value, "");
}

bool http_is_private(const char *url, bool *local)
{
	char *scheme = NULL, *host = NULL;
	bool is_local = false, is_private = false;
	struct in_addr in4;
	CURLU *u = curl_url();

	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == 0 && curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == 0 &&
		curl_url_get(u, CURLUPART_HOST, &host, 0) == 0) {
		is_local = strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
			   (inet_pton(AF_INET, host, &in4) == 1 && ntohl(in4.s_addr) >> 24 == 127);
		is_private = strcmp(scheme, "https") == 0 || (is_local && strcmp(scheme, "http") == 0);
	}
	curl_free(scheme);
	curl_free(host);
	curl_url_cleanup(u);
	if (local)
		*local = is_local;
	return is_private;
}

static bool repeats(const struct keyfob_secret *secret, const void *text, size_t length)
{
	size_t size = secret->length;
	struct buffer plain, encoded;
	bool found;

	/* A secret's file ends with a newline more often than not. */
	while (size && (unsigned char)secret->value[size - 1] <= ' ')
		size--;
	if (size < SECRET_MIN)
		return false;
	buffer_init(&plain, HTTP_BODY_MAX);
	buffer_init(&encoded, 3 * HTTP_BODY_MAX);
	buffer_put(&plain, secret->value, size);
	if (buffer_cstring(&plain))
		http_escape(&encoded, (const char *)plain.data, "");
	found = memmem(text, length, secret->value, size) || (encoded.length && memmem(text, length, encoded.data, encoded.length));
	buffer_free(&plain);
	buffer_free(&encoded);
	return found;
}

void http_show(const struct keyfob_request *request, char *out, size_t size, const void *text, size_t length)
{
	for (size_t i = 0; length && i < request->secret_count; i++) {
		if (repeats(&request->secrets[i], text, length)) {
			snprintf(out, size, "(hidden: it repeats %s)", request->secrets[i].name);
			return;
		}
	}
	report_text(out, size, text, length, REPORT_MASK_KEEP_IDS);
}

/* Take scheme, host and port of the endpoint= option; anything more there is a mistake worth naming. */
static bool put_origin(struct buffer *url, const char *endpoint)
{
	char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL, *extra = NULL;
	CURLU *u = curl_url();
	bool ok = false;

	if (!u || curl_url_set(u, CURLUPART_URL, endpoint, 0) || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
		curl_url_get(u, CURLUPART_HOST, &host, 0) || curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) ||
		curl_url_get(u, CURLUPART_PATH, &path, 0))
		goto out;
	if (strcmp(path, "/") != 0 || !curl_url_get(u, CURLUPART_QUERY, &extra, 0) || !curl_url_get(u, CURLUPART_FRAGMENT, &extra, 0) ||
		!curl_url_get(u, CURLUPART_USER, &extra, 0))
		goto out;
	ok = (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) && buffer_printf(url, "%s://%s:%s", scheme, host, port);
out:
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(path);
	curl_free(extra);
	curl_url_cleanup(u);
	return ok;
}

bool http_init(
	struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply, const char *origin, const char *path)
{
	const char *endpoint = keyfob_setting(request, "endpoint", NULL);

	memset(x, 0, sizeof(*x));
	buffer_init(&x->url, HTTP_URL_MAX);
	buffer_init(&x->body, HTTP_BODY_MAX);
	/* curl hands token bytes through its own buffers. */
	curl_global_init_mem(CURL_GLOBAL_DEFAULT, wipe_malloc, wipe_free, wipe_realloc, wipe_strdup, wipe_calloc);
	if (endpoint && !put_origin(&x->url, endpoint)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "endpoint= takes http:// or https://, a host and a port, and no more");
		return false;
	}
	if (!endpoint)
		buffer_printf(&x->url, "%s", origin);
	buffer_printf(&x->url, "%s", path);
	return true;
}

void http_free(struct http_exchange *x)
{
	buffer_free(&x->url);
	buffer_free(&x->body);
	curl_global_cleanup();
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct http_exchange *x = arg;

	return buffer_put(&x->body, data, size * count) ? size * count : 0;
}

static void copy_value(char *out, size_t size, const char *value, size_t length)
{
	report_text(out, size, value, length, REPORT_MASK_ALL);
}

static unsigned int parse_retry_after(const char *value)
{
	time_t when, now = time(NULL);
	long seconds;
	char *end;

	seconds = strtol(value, &end, 10);
	if (*end) {
		when = curl_getdate(value, NULL);
		seconds = when > now ? (long)(when - now) : 0;
	}
	return seconds < 0 ? 0 : seconds > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (unsigned int)seconds;
}

bool http_is_etag(const char *text)
{
	size_t length = 0, start = strncmp(text, "W/", 2) == 0 ? 2 : 0;

	while (text[length] > 0x20 && text[length] < 0x7f)
		length++;
	return !text[length] && length <= HTTP_ETAG_MAX && length >= start + 2 && text[start] == '"' && text[length - 1] == '"';
}

static void take_etag(struct http_exchange *x, const char *value, size_t length)
{
	char etag[HTTP_ETAG_MAX + 1];

	while (length && (value[length - 1] == ' ' || value[length - 1] == '\t' || value[length - 1] == '\r' || value[length - 1] == '\n'))
		length--;
	if (length > HTTP_ETAG_MAX || memchr(value, 0, length))
		return;
	memcpy(etag, value, length);
	etag[length] = 0;
	if (http_is_etag(etag))
		memcpy(x->etag, etag, sizeof(etag));
}

/* Of several words about it the most careful counts. */
static void take_cache_control(struct http_exchange *x, const char *value, size_t length)
{
	char text[256], *rest = text, *word, *end;
	unsigned long age = 0;
	bool may_keep = true;

	snprintf(text, sizeof(text), "%.*s", (int)(length < sizeof(text) ? length : sizeof(text) - 1), value);
	while ((word = strsep(&rest, ","))) {
		word += strspn(word, " \t");
		if (strncasecmp(word, "no-store", 8) == 0 || strncasecmp(word, "no-cache", 8) == 0)
			may_keep = false;
		if (strncasecmp(word, "max-age=", 8) != 0)
			continue;
		word += word[8] == '"' ? 9 : 8;
		age = word[0] >= '0' && word[0] <= '9' ? strtoul(word, &end, 10) : 0;
	}
	x->max_age = !may_keep ? 0 : age < MAX_AGE_MAX ? (unsigned int)age : MAX_AGE_MAX;
}

struct tally {
	struct http_exchange *x;
	char names[512]; /* of the reply's headers, to be told */
};

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
	size_t length = size * count;
	struct tally *tally = arg;
	struct http_exchange *x = tally->x;
	const char *colon = memchr(line, ':', length), *value;
	size_t name = colon ? (size_t)(colon - line) : 0, have = strlen(tally->names);
	char text[64];

	if (!colon)
		return length;
	value = colon + 1;
	while (value < line + length && (*value == ' ' || *value == '\t'))
		value++;
	copy_value(text, sizeof(text), value, (size_t)(line + length - value));
	if (name == 15 && strncasecmp(line, "metadata-flavor", name) == 0)
		snprintf(x->flavor, sizeof(x->flavor), "%.31s", text);
	else if (name == 11 && strncasecmp(line, "retry-after", name) == 0)
		x->retry_after = parse_retry_after(text);
	else if (name == 12 && strncasecmp(line, "content-type", name) == 0)
		snprintf(x->content_type, sizeof(x->content_type), "%s", text);
	else if (name == 4 && strncasecmp(line, "etag", name) == 0)
		take_etag(x, value, (size_t)(line + length - value));
	else if (name == 13 && strncasecmp(line, "cache-control", name) == 0)
		take_cache_control(x, value, (size_t)(line + length - value));
	else if (name == 16 && strncasecmp(line, "www-authenticate", name) == 0 && !x->challenge[0])
		snprintf(x->challenge, sizeof(x->challenge), "%.*s", (int)(line + length - value), value);
	x->challenge[strcspn(x->challenge, "\r\n")] = 0;
	if (have + 4 < sizeof(tally->names)) {
		snprintf(tally->names + have, sizeof(tally->names) - have, have ? ", " : "");
		have = strlen(tally->names);
		copy_value(tally->names + have, sizeof(tally->names) - have, line, name);
	}
	return length;
}

static const char *or_advice(const struct http_exchange *x, const char *otherwise)
{
	return x->advice ? x->advice : otherwise;
}

static void fail_connect(const struct http_exchange *x, CURL *curl, const char *where, struct keyfob_reply *reply)
{
	long error = 0;

	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &error);
	if (error == ECONNREFUSED)
		keyfob_fail(reply, x->refused ? x->refused : KEYFOB_CLASS_UNAVAILABLE, "%s: nothing listens at %s (connection refused); %s",
			x->service, where, or_advice(x, "check endpoint= and the service"));
	else
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE, "%s: cannot reach %s: %s; %s", x->service, where,
			error ? strerror((int)error) : "no connection", or_advice(x, "check the network and endpoint="));
}

static void fail_timeout(const struct http_exchange *x, CURL *curl, const char *where, unsigned int timeout, struct keyfob_reply *reply)
{
	curl_off_t connected = 0;

	curl_easy_getinfo(curl, CURLINFO_CONNECT_TIME_T, &connected);
	if (connected > 0)
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE, "%s: no whole answer from %s within %u s; timeout= may be raised", x->service,
			where, timeout);
	else
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE, "%s: %s does not answer (connection timed out); %s", x->service, where,
			or_advice(x, "check the network and endpoint="));
}

/* Put into words why no whole answer came. */
static void http_fail(const struct http_exchange *x, CURL *curl, CURLcode code, const char *words, const char *where, unsigned int timeout,
	struct keyfob_reply *reply)
{
	switch (code) {
	case CURLE_COULDNT_CONNECT:
		fail_connect(x, curl, where, reply);
		break;
	case CURLE_OPERATION_TIMEDOUT:
		fail_timeout(x, curl, where, timeout, reply);
		break;
	case CURLE_COULDNT_RESOLVE_HOST:
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE, "%s: the name in %s does not resolve; %s", x->service, where,
			or_advice(x, "check DNS and endpoint="));
		break;
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_PROXY:
		keyfob_fail(
			reply, KEYFOB_CLASS_CONFIG, "%s: the proxy is of no use (%s); check proxy=", x->service, curl_easy_strerror(code));
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_ISSUER_ERROR:
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s: TLS with %s failed (%s); check the name, or set ca_file= to its authority",
			x->service, where, *words ? words : curl_easy_strerror(code));
		break;
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s: the public key of %s is not one that pin= names; is it the right server?",
			x->service, where);
		break;
	case CURLE_UNSUPPORTED_PROTOCOL:
		/* Only http and https come this far: so it is the answer. */
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE, "%s: what listens at %s does not speak HTTP; %s", x->service, where,
			or_advice(x, "check endpoint="));
		break;
	case CURLE_URL_MALFORMAT:
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s: the URL is not usable; check endpoint=", x->service);
		break;
	case CURLE_WRITE_ERROR:
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s: the answer of %s is longer than %zu KiB%s", x->service, where,
			x->body.limit / 1024, x->body_max ? "" : "; this is no token");
		break;
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s: the answer of %s broke off", x->service, where);
		break;
	default:
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s: asking %s failed: %s", x->service, where, curl_easy_strerror(code));
	}
}

static void set_options(CURL *curl, struct http_exchange *x, const struct keyfob_request *request)
{
	const char *proxy = keyfob_setting(request, "proxy", NULL), *ca_file = keyfob_setting(request, "ca_file", NULL);

	curl_easy_setopt(curl, CURLOPT_URL, buffer_cstring(&x->url));
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	/* What a proxy says of its tunnel is not the peer's answer. */
	curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "keyfob/" KEYFOB_VERSION);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (request->timeout ? request->timeout : 30) * 1000L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, x->peer == HTTP_METADATA ? CONNECT_METADATA_MS : CONNECT_PUBLIC_MS);
	if (x->peer == HTTP_METADATA) {
		/* The first alone still lets the environment speak in some versions of curl. */
		curl_easy_setopt(curl, CURLOPT_PROXY, "");
		curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	} else if (proxy) {
		curl_easy_setopt(curl, CURLOPT_PROXY, proxy);
		curl_easy_setopt(curl, CURLOPT_NOPROXY, "");
	}
	if (ca_file)
		curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file);
	if (x->form) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->form->length);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, x->form->length ? (const char *)x->form->data : "");
	}
}

/* Whoever demands a certain public key is not to be asked without a look at it. */
static bool set_pin(
	CURL *curl, const struct http_exchange *x, const struct keyfob_request *request, const char *url, struct keyfob_reply *reply)
{
	const char *pin = keyfob_setting(request, "pin", NULL);

	if (!pin)
		return true;
	if (strncasecmp(url, "https://", 8) != 0)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s: pin= is for https, and this is not", x->service);
	else if (curl_easy_setopt(curl, CURLOPT_PINNEDPUBLICKEY, pin))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s: this libcurl cannot check pin=", x->service);
	else
		return true;
	return false;
}

static struct curl_slist *build_headers(const struct http_exchange *x, const struct keyfob_request *request)
{
	/* Some servers never answer curl's Expect for a long form. */
	struct curl_slist *list = x->form ? curl_slist_append(NULL, "Expect:") : NULL, *more;

	for (size_t i = 0; x->headers && x->headers[i]; i++) {
		report_tell(request, "> %.*s", (int)strcspn(x->headers[i], ":"), x->headers[i]);
		more = curl_slist_append(list, x->headers[i]);
		if (!more) {
			curl_slist_free_all(list);
			return NULL;
		}
		list = more;
	}
	return list;
}

static void tell_answer(const struct http_exchange *x, const struct keyfob_request *request, const char *names)
{
	char shown[SHOWN_MAX], shown_names[sizeof(((struct tally *)NULL)->names)];

	if (!request->tell)
		return;
	/* Header lines too may send a secret back. */
	http_show(request, shown, sizeof(shown), x->content_type, strlen(x->content_type));
	http_show(request, shown_names, sizeof(shown_names), names, strlen(names));
	report_tell(request, "< %ld, %zu bytes, %s", x->status, x->body.length, shown[0] ? shown : "no content type");
	report_tell(request, "< %s", shown_names);
	if (x->status == 200 || !x->body.length)
		return;
	http_show(request, shown, sizeof(shown), x->body.data, x->body.length);
	report_tell(request, "< %s", shown);
}

/* Scheme, host and port of a URL. */
static void name_origin(char *out, size_t size, const char *url)
{
	const char *host = strstr(url, "://");

	snprintf(out, size, "%.*s", (int)(host ? host + 3 - url + (long)strcspn(host + 3, "/?") : 0), url);
}

bool http_perform(struct http_exchange *x, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct curl_slist *headers = NULL;
	struct tally tally = { .x = x };
	const char *url = buffer_cstring(&x->url);
	char where[256], words[CURL_ERROR_SIZE] = "";
	bool ok = false;
	CURL *curl = NULL;
	CURLcode code;

	if (!url) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s: the URL is too long", x->service);
		return false;
	}
	x->body.limit = x->body_max ? x->body_max : HTTP_BODY_MAX;
	name_origin(where, sizeof(where), url);
	report_tell(request, "%s %s", x->form ? "POST" : "GET", url);
	curl = curl_easy_init();
	headers = build_headers(x, request);
	if (!curl || (x->headers && !headers)) {
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s: out of memory", x->service);
		goto out;
	}
	set_options(curl, x, request);
	if (!set_pin(curl, x, request, url, reply))
		goto out;
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, &tally);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, words);
	code = curl_easy_perform(curl);
	if (code) {
		http_fail(x, curl, code, words, where, request->timeout, reply);
		report_tell(request, "! %s", reply->text);
		goto out;
	}
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &x->status);
	tell_answer(x, request, tally.names);
	ok = true;
out:
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return ok;
}

const struct http_status *http_judge(
	const struct http_exchange *x, const struct http_status *rows, size_t count, struct keyfob_reply *reply)
{
	const struct http_status *row = rows;

	while (row + 1 < rows + count && !(x->status >= row->first && x->status <= row->last))
		row++;
	reply->retry_after = x->retry_after ? x->retry_after : row->retry;
	return row;
}
