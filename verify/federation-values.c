/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/federation-values.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/wire.h"
#include "verify/federation.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *federation_check_text(const char *value)
{
	bool ok = *value && strlen(value) <= FEDERATION_TEXT_MAX && federation_is_plain(value);

	return ok ? NULL : "a text of 1 to 1024 bytes without control characters";
}

const char *federation_check_identity(const char *value)
{
	return federation_is_identity(value) ? NULL : "a text of 1 to 255 bytes without control characters";
}

const char *federation_check_name(const char *value)
{
	return wire_name_valid(value) ? NULL : "a name: 1 to 64 letters, digits, '.', '_' and '-', not beginning with '.' or '-'";
}

const char *federation_check_file(const char *value)
{
	return value[0] == '/' && !federation_check_text(value) ? NULL : "an absolute path";
}

/* A type as RFC 7515 section 4.1.9 has it, with or without application/ in front. */
const char *federation_check_type(const char *value)
{
	size_t length = strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&^_.+-/");

	return length > 0 && length <= 64 && !value[length] ? NULL : "a list of types such as JWT or at+jwt, parted by blanks";
}

/* The parts of a URL that decide where it leads. false: it is none that can be used. */
struct url {
	bool secure;
	const char *host, *path; /* path: all that follows the port */
	size_t host_length;
};

static bool parse_url(const char *text, struct url *url)
{
	size_t length;

	url->secure = strncmp(text, "https://", 8) == 0;
	if (!url->secure && strncmp(text, "http://", 7) != 0)
		return false;
	url->host = text + (url->secure ? 8 : 7);
	if (*url->host == '[') {
		url->host_length = 1 + strspn(url->host + 1, "0123456789abcdefABCDEF:.");
		if (url->host_length < 3 || url->host[url->host_length++] != ']')
			return false;
	} else {
		url->host_length = strspn(url->host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
	}
	url->path = url->host + url->host_length;
	if (*url->path == ':') {
		length = strspn(url->path + 1, "0123456789");
		if (length < 1 || length > 5 || atoi(url->path + 1) < 1 || atoi(url->path + 1) > 65535)
			return false;
		url->path += 1 + length;
	}
	for (const char *at = url->path; *at; at++)
		if (*at <= ' ' || *at > '~' || strchr("\"<>\\^`{|}#", *at))
			return false;
	return url->host_length > 0 && (!*url->path || *url->path == '/' || *url->path == '?');
}

static bool is_host(const struct url *url, const char *name)
{
	return strlen(name) == url->host_length && strncasecmp(url->host, name, url->host_length) == 0;
}

/* Keys that came by plain http could be anybody's, so that is for this host alone. */
const char *federation_check_url(const char *value)
{
	static const char must[] = "https://HOST[:PORT][/PATH] without user or fragment (http:// only to 127.0.0.1, [::1] or localhost)";
	struct url url;

	if (federation_check_text(value) || !parse_url(value, &url))
		return must;
	return url.secure || is_host(&url, "127.0.0.1") || is_host(&url, "[::1]") || is_host(&url, "localhost") ? NULL : must;
}

/* Azure's documents for many tenants name a template of an issuer, which any tenant on earth would fit. */
static const char *check_template(const char *value)
{
	static const char must[] =
		"the tenant's own: put the directory (tenant) ID in place of common, organizations, consumers or {tenantid}";
	static const char *const hosts[] = { "login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn",
		"login.chinacloudapi.cn", "sts.windows.net", "login.windows.net" };
	static const char *const many[] = { "common", "organizations", "consumers" };
	struct url url;

	if (strchr(value, '{'))
		return must;
	for (size_t i = 0; parse_url(value, &url) && i < COUNT(hosts); i++)
		for (size_t j = 0; is_host(&url, hosts[i]) && j < COUNT(many); j++) {
			size_t length = strcspn(url.path + (*url.path == '/'), "/?");

			if (length == strlen(many[j]) && strncasecmp(url.path + 1, many[j], length) == 0)
				return must;
		}
	return NULL;
}

const char *federation_check_discovery(const char *value)
{
	const char *must = check_template(value);

	return must ? must : federation_check_url(value);
}

const char *federation_check_issuer(const char *value)
{
	const char *must = federation_check_discovery(value);

	return must || !strchr(value, '?') ? must : "a URL without a query";
}

const char *federation_check_proxy(const char *value)
{
	struct url url;
	bool ok = !federation_check_text(value) && parse_url(value, &url) && (!*url.path || strcmp(url.path, "/") == 0);

	return ok ? NULL : "http://HOST:PORT or https://HOST:PORT, without user or path";
}

/* One SHA-256 in base64: 43 digits, of the last of which only four bits count, and the padding. */
static bool is_pin(const char *text, size_t length)
{
	static const char prefix[] = "sha256//", digits[] = "AEIMQUYcgkosw048BCDFGHJKLNOPRSTVWXZabdefhijlmnpqrtuvxyz1235679+/";
	size_t start = strlen(prefix);

	return length == start + 44 && strncmp(text, prefix, start) == 0 && strspn(text + start, digits) >= 43 &&
	       memchr(digits, text[start + 42], 16) && text[start + 43] == '=';
}

const char *federation_check_pin(const char *value)
{
	static const char must[] = "sha256//BASE64 of a public key's SHA-256, several of them parted by ';'";

	if (federation_check_text(value))
		return must;
	for (;; value++) {
		size_t length = strcspn(value, ";");

		if (!is_pin(value, length))
			return must;
		value += length;
		if (!*value)
			return NULL;
	}
}
