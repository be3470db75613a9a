/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/discovery.h"

#include <strings.h>

#include "modules/json.h"

#define DISCOVERY_PATH "/.well-known/openid-configuration"
/* Google's tokens may name it without the scheme; no other issuer has two spellings. */
#define GOOGLE "https://accounts.google.com"
#define GOOGLE_BARE "accounts.google.com"

bool discovery_set_target(struct discovery_target *target, const char *url, const char *whose, struct keyfob_reply *reply)
{
	const char *host = strstr(url, "://"), *path = host ? strpbrk(host + 3, "/?") : NULL;
	size_t origin = path ? (size_t)(path - url) : strlen(url);

	if (!http_is_private(url, NULL) || strchr(url, '#') || strlen(url) >= sizeof(target->url) || origin >= sizeof(target->origin)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s must be an https:// URL, or http:// on this host", whose);
		return false;
	}
	snprintf(target->url, sizeof(target->url), "%s", url);
	snprintf(target->origin, sizeof(target->origin), "%.*s", (int)origin, url);
	target->path = path ? target->url + origin : "/";
	return true;
}

void discovery_set_peer(struct http_exchange *x)
{
	bool local;

	http_is_private(buffer_cstring(&x->url) ? (const char *)x->url.data : "", &local);
	x->peer = local ? HTTP_METADATA : HTTP_PUBLIC;
}

void discovery_fail(const struct http_exchange *x, struct keyfob_reply *reply)
{
	bool throttled = x->status == 429, later = x->status >= 500 || x->status == 408;
	bool refused = x->status >= 400 && !later;

	reply->retry_after = x->retry_after;
	keyfob_fail(reply,
		throttled ? KEYFOB_CLASS_THROTTLED
		: later	  ? KEYFOB_CLASS_TRANSIENT
		: refused ? KEYFOB_CLASS_CONFIG
			  : KEYFOB_CLASS_UNAVAILABLE,
		"%s answered %ld%s%s", x->service, x->status,
		throttled || later ? ""
		: refused	   ? "; "
				   : "; this is no document, and a redirect is never followed; ",
		throttled || later ? "" : x->advice);
}

void discovery_fail_content(const struct http_exchange *x, const char *why, struct keyfob_reply *reply)
{
	if (strncasecmp(x->content_type, "text/html", 9) == 0)
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE,
			"%s answered 200, but with a web page, as a proxy or a captive portal does; %s", x->service, x->advice);
	else
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s answered 200, but with no usable JSON: %s", x->service, why);
}

struct keyfob_request discovery_rest(const struct keyfob_request *request, time_t start)
{
	struct keyfob_request rest = *request;
	time_t spent = time(NULL) - start;

	if (spent > 0)
		rest.timeout = spent < (time_t)rest.timeout ? rest.timeout - (unsigned int)spent : 1;
	return rest;
}

static bool same_issuer(const char *a, const char *b)
{
	a = strcmp(a, GOOGLE_BARE) == 0 ? GOOGLE : a;
	b = strcmp(b, GOOGLE_BARE) == 0 ? GOOGLE : b;
	return strcmp(a, b) == 0;
}

/* What stands in a document of another host must not have this host's own services asked. */
static bool leads_inside(const char *document, const char *url)
{
	bool from_here, to_here;

	http_is_private(document, &from_here);
	http_is_private(url, &to_here);
	return to_here && !from_here;
}

static void read_document(const struct http_exchange *x, const struct keyfob_request *request, const char *document, const char *issuer,
	const char *member, struct discovery_target *target, struct keyfob_reply *reply)
{
	const char *why = NULL, *named, *found;
	json_t *object = json_reply_load(x->body.data, x->body.length, &why);
	char shown[300], whose[100];

	named = object ? json_reply_text(object, "issuer") : NULL;
	found = object ? json_reply_text(object, member) : NULL;
	snprintf(whose, sizeof(whose), "the %s that discovery names", member);
	if (!object)
		discovery_fail_content(x, why, reply);
	else if (!named || !same_issuer(named, issuer)) {
		http_show(request, shown, sizeof(shown), named ? named : "nobody", strlen(named ? named : "nobody"));
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"discovery names the issuer %s, and issuer= says otherwise; they must agree to the letter", shown);
	} else if (!found)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "discovery names no %s; set %s=", member, member);
	else if (leads_inside(document, found))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "%s leads to this host itself; set %s= if that is meant", whose, member);
	else
		discovery_set_target(target, found, whose, reply);
	json_reply_free(object);
}

/* The issuer minus one trailing slash, and the well-known path. */
static bool set_document(struct discovery_target *document, const char *url, const char *issuer, struct keyfob_reply *reply)
{
	size_t length;
	char text[2048];

	if (url)
		return discovery_set_target(document, url, "discovery_url=", reply);
	issuer = strcmp(issuer, GOOGLE_BARE) == 0 ? GOOGLE : issuer;
	length = strlen(issuer);
	if (length && issuer[length - 1] == '/')
		length--;
	/* One that is cut would be another address. */
	if (snprintf(text, sizeof(text), "%.*s" DISCOVERY_PATH, (int)length, issuer) >= (int)sizeof(text))
		text[0] = 0;
	return discovery_set_target(document, text, "issuer=", reply);
}

bool discovery_find(const struct keyfob_request *request, const char *url, const char *issuer, const char *member,
	struct discovery_target *target, struct keyfob_reply *reply)
{
	struct discovery_target document;
	struct http_exchange x;
	char advice[100];

	if (!set_document(&document, url, issuer, reply))
		return false;
	if (!http_init(&x, request, reply, document.origin, document.path))
		goto out;
	snprintf(advice, sizeof(advice), "check issuer=, or set %s=", member);
	x.service = "discovery";
	x.advice = advice;
	discovery_set_peer(&x);
	if (!http_perform(&x, request, reply))
		goto out;
	if (x.status != 200)
		discovery_fail(&x, reply);
	else
		read_document(&x, request, document.url, issuer, member, target, reply);
out:
	http_free(&x);
	return reply->class == KEYFOB_CLASS_OK;
}
