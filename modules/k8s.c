/* SPDX-License-Identifier: Apache-2.0 */
/* Kubernetes: the service account token that the kubelet projects into a pod and renews there. */
#include "modules/expiry.h"
#include "modules/json.h"
#include "modules/module.h"
#include "modules/report.h"
#include "modules/token-file.h"

#define DEFAULT_PATH "/var/run/secrets/kubernetes.io/serviceaccount/token"
#define DAY 86400
#define KUBELET_SYNC 60 /* seconds; it looks at its files about so often */

/* The kubelet writes a new one when 80 % of the life or a day is over; one that is late comes at its next look. */
static time_t renewal(const struct expiry_claims *claims, time_t changed, time_t now)
{
	time_t issued = claims->issued ? claims->issued : changed, refresh;

	if (claims->expires <= issued)
		return 0;
	refresh = issued + (claims->expires - issued) / 5 * 4;
	if (refresh > issued + DAY)
		refresh = issued + DAY;
	return refresh > now ? refresh : now + KUBELET_SYNC;
}

/* The audience is the volume's to choose, so resource only says what is wanted. What was cut cannot be judged. */
static bool is_for(const struct expiry_claims *claims, const char *resource)
{
	size_t length = strlen(resource);

	if (!length || strlen(claims->audience) + 1 == sizeof(claims->audience))
		return true;
	for (const char *at = claims->audience;; at += 2) {
		const char *end = strstr(at, ", ");

		if ((end ? (size_t)(end - at) : strlen(at)) == length && memcmp(at, resource, length) == 0)
			return true;
		if (!end)
			return false;
		at = end;
	}
}

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *path = keyfob_setting(request, "path", DEFAULT_PATH);
	struct expiry_claims claims;
	time_t changed = 0, now = time(NULL);
	struct buffer content;

	buffer_init(&content, 2 * TOKEN_FILE_MAX);
	report_tell(request, "read %s", path);
	if (!token_file_read(path, &content, &changed, reply))
		goto out;
	if (!expiry_jwt_claims((const char *)content.data, content.length, &claims))
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%.500s holds no JWT, or not the whole of it", path);
	else if (!claims.has_expires)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"%.500s holds a legacy token without an expiry; project one with serviceAccountToken", path);
	else if (claims.expires <= now)
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT,
			"the token in %.500s expired %lld s ago; is the kubelet running, and the pod not being deleted?", path,
			(long long)(now - claims.expires));
	else if (!is_for(&claims, request->resource))
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
			"the token in %.300s is for %.256s, not for the resource %.256s; set audience in the pod's serviceAccountToken",
			path, claims.audience[0] ? claims.audience : "nobody", request->resource);
	else if (json_reply_token(reply, (const char *)content.data, content.length))
		reply->refresh = renewal(&claims, changed, now);
out:
	buffer_free(&content);
}

static const struct keyfob_option options[] = {
	{ "path", KEYFOB_OPTION_FILE, 0, "a file", "the projected token, read as user keyfob-fetch or run_as=; default: " DEFAULT_PATH },
};

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = "k8s",
	.help = "the service account token of a Kubernetes pod",
	.sandbox = KEYFOB_SANDBOX_FILE,
	.kind = KEYFOB_KIND_ACCESS,
	.example = "# in the pod: a volume with serviceAccountToken {audience: orders-db, path: token}\n"
		   "[credential orders]\n"
		   "resource = orders-db\n"
		   "provider = k8s path=/var/run/secrets/orders/token\n"
		   "allow    = user:orders\n",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
