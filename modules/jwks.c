/* SPDX-License-Identifier: Apache-2.0 */
/* An identity provider's key set (RFC 7517), found by discovery unless its address is given. What is in it is the verifier's to judge. */
#include <stdlib.h>

#include "modules/discovery.h"
#include "modules/http.h"
#include "modules/json.h"
#include "modules/module.h"

#define DOCUMENT_MAX (256u << 10)

static bool find_keys(const struct keyfob_request *request, struct discovery_target *target, struct keyfob_reply *reply)
{
	const char *uri = keyfob_setting(request, "jwks_uri", NULL), *issuer = keyfob_setting(request, "issuer", NULL);

	if (uri)
		return discovery_set_target(target, uri, "jwks_uri=", reply);
	if (issuer)
		return discovery_find(request, keyfob_setting(request, "discovery_url", NULL), issuer, "jwks_uri", target, reply);
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "say whose keys: issuer=, or jwks_uri=");
	return false;
}

/* Not whether each key is sound, but whether this is a key set at all. */
static void take_document(const struct http_exchange *x, struct keyfob_reply *reply)
{
	const char *why = NULL;
	json_t *object = json_reply_load(x->body.data, x->body.length, &why);
	bool is_set = object && json_is_array(json_object_get(object, "keys"));

	if (!object)
		discovery_fail_content(x, why, reply);
	else if (!is_set)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s answered 200, but with no array \"keys\"; %s", x->service, x->advice);
	json_reply_free(object);
	if (is_set)
		json_reply_token(reply, (const char *)x->body.data, x->body.length);
}

static void take_answer(const struct http_exchange *x, const char *known, struct keyfob_reply *reply)
{
	if (x->status == 200)
		take_document(x, reply);
	else if (x->status != 304 || !known)
		discovery_fail(x, reply);
	if (reply->class != KEYFOB_CLASS_OK)
		return;
	snprintf(reply->code, sizeof(reply->code), "%s", x->status == 304 && !x->etag[0] ? known : x->etag);
	reply->refresh = x->max_age ? time(NULL) + (time_t)x->max_age : 0;
}

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *known = keyfob_setting(request, "etag", NULL), *headers[] = { "Accept: application/json", NULL, NULL };
	char condition[HTTP_ETAG_MAX + 32];
	struct discovery_target target;
	struct keyfob_request rest;
	struct http_exchange x;
	time_t start = time(NULL);

	if (known && !http_is_etag(known)) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "etag= takes an ETag of at most %d bytes", HTTP_ETAG_MAX);
		return;
	}
	if (!find_keys(request, &target, reply))
		return;
	/* Discovery has had its share of the time. */
	rest = discovery_rest(request, start);
	if (!http_init(&x, &rest, reply, target.origin, target.path))
		goto out;
	if (known) {
		snprintf(condition, sizeof(condition), "If-None-Match: %s", known);
		headers[1] = condition;
	}
	x.service = "the key set";
	x.advice = keyfob_setting(request, "jwks_uri", NULL) ? "check jwks_uri=" : "check issuer=, or set jwks_uri=";
	x.headers = headers;
	x.body_max = DOCUMENT_MAX;
	discovery_set_peer(&x);
	if (http_perform(&x, &rest, reply))
		take_answer(&x, known, reply);
out:
	http_free(&x);
}

static const struct keyfob_option options[] = {
	{ "issuer", KEYFOB_OPTION_TEXT, 0, "https://HOST[/PATH]", "whose keys; discovery must name the same issuer" },
	{ "discovery_url", KEYFOB_OPTION_URL, 0, "https://HOST/PATH",
		"the discovery document; default: /.well-known/openid-configuration below the issuer" },
	{ "jwks_uri", KEYFOB_OPTION_URL, 0, "https://HOST/PATH", "the key set itself; default: what discovery names" },
	{ "pin", KEYFOB_OPTION_TEXT, 0, "sha256//BASE64[;...]", "public keys, one of which the https servers must have; default: any" },
	{ "etag", KEYFOB_OPTION_TEXT, 0, "an ETag", "of the set that is known; one that did not change is not sent again" },
	HTTP_OPTIONS,
};

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = "jwks",
	.help = "key sets of identity providers, for the verifier",
	.sandbox = KEYFOB_SANDBOX_NETWORK,
	.kind = KEYFOB_KIND_DOCUMENT,
	.example = "[identity-provider corp]\n"
		   "issuer   = https://login.example.com/realms/prod\n"
		   "audience = orders\n"
		   "authorization_type = user\n",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
