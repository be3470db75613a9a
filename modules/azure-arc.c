/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Azure Arc: a machine outside Azure, whose agent proves that the asker may
 * read a key file before it hands out a token.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modules/azure.h"

#define ARC_ORIGIN "http://127.0.0.1:40342"
#define ARC_PATH "/metadata/identity/oauth2/token?api-version=2020-06-01"
#define ARC_KEYS "/var/opt/azcmagent/tokens"
#define KEY_MAX 4096
#define GROUP "run_as= must name a user in the group himds, which the agent's setup makes"
#define NOT_ARC "is the Azure Connected Machine agent running (azcmagent show), or endpoint= right?"

static const struct http_status statuses[] = {
	{ 100, 399, KEYFOB_CLASS_UNAVAILABLE, 0, NOT_ARC },
	{ 401, 401, KEYFOB_CLASS_TRANSIENT, 1, "the key was refused; it may have been replaced meanwhile" },
	{ 403, 403, KEYFOB_CLASS_UNAVAILABLE, 0, NOT_ARC },
	{ 404, 404, KEYFOB_CLASS_TRANSIENT, 1, NOT_ARC },
	{ 408, 408, KEYFOB_CLASS_TRANSIENT, 1, NULL },
	{ 429, 429, KEYFOB_CLASS_THROTTLED, 1, "too many requests from this machine" },
	{ 500, 599, KEYFOB_CLASS_TRANSIENT, 1, "azcmagent check tells whether the agent reaches Azure" },
	{ 400, 499, KEYFOB_CLASS_PERMANENT, 0, NULL },
};

static const struct azure_service arc = {
	.name = "Azure Arc",
	.parameter = { "client_id", "object_id", "msi_res_id" },
	.echo = true,
	.statuses = statuses,
	.count = sizeof(statuses) / sizeof(statuses[0]),
};

/* One leg. True when an answer of any status is in x, which is to be freed in either case. */
static bool ask(struct http_exchange *x, const char *authorization, const struct azure_identity *identity,
	const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *headers[] = { "Metadata: true", "Accept: application/json", authorization, NULL };
	bool ok;

	if (!http_init(x, request, reply, ARC_ORIGIN, ARC_PATH))
		return false;
	x->service = arc.name;
	x->peer = HTTP_METADATA;
	x->headers = headers;
	x->advice = NOT_ARC;
	azure_put_target(x, request, &arc, identity);
	ok = http_perform(x, request, reply);
	x->headers = NULL;
	return ok;
}

/* Whoever listens there must not make us send any other file: only DIRECTORY/NAME.key is taken. */
static const char *key_name(const char *challenge, const char *directory, const char **why)
{
	size_t length = strlen(directory), left;
	const char *path;

	*why = "without its challenge \"Basic realm=FILE\"";
	if (strncmp(challenge, "Basic realm=", 12) != 0 || strchr(challenge, '=') != strrchr(challenge, '='))
		return NULL;
	path = challenge + 12;
	*why = "and names a key outside of the agent's directory";
	if (strncmp(path, directory, length) != 0 || path[length] != '/' || strchr(path + length + 1, '/'))
		return NULL;
	path += length + 1;
	left = strlen(path);
	*why = "and names a file that is no .key";
	return left > 4 && strcmp(path + left - 4, ".key") == 0 ? path : NULL;
}

/* NULL or why it cannot be used. */
static const char *read_key(int fd, struct buffer *key)
{
	uint8_t *to = buffer_reserve(key, KEY_MAX + 1);
	struct stat st;
	ssize_t n = 0;

	if (!to || fstat(fd, &st) < 0)
		return "cannot be read";
	if (!S_ISREG(st.st_mode))
		return "is not a file";
	if (st.st_size > KEY_MAX)
		return "has more than 4096 bytes";
	while (key->length <= KEY_MAX && (n = read(fd, to + key->length, KEY_MAX + 1 - key->length)) > 0)
		key->length += (size_t)n;
	if (n < 0)
		return "cannot be read";
	return key->length > KEY_MAX ? "has more than 4096 bytes" : NULL;
}

/* A link is not followed: it could lead anywhere. */
static bool take_key(int directory, const char *name, struct buffer *key, struct keyfob_reply *reply)
{
	int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const char *why = NULL;

	if (fd >= 0) {
		why = read_key(fd, key);
		close(fd);
	} else if (errno == ELOOP) {
		why = "is a symbolic link";
	} else if (errno == EACCES) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "Azure Arc: its key may not be read; " GROUP);
	} else {
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "Azure Arc: its key cannot be opened: %s", strerror(errno));
	}
	if (why)
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE, "Azure Arc: the key that it names %s; it was not used", why);
	return fd >= 0 && !why;
}

/* Fetch the key that the challenge names. */
static bool meet(const char *challenge, const struct keyfob_request *request, struct keyfob_reply *reply, struct buffer *key)
{
	char *path = strdup(keyfob_setting(request, "token_dir", ARC_KEYS));
	const char *name = NULL, *why = "out of memory";
	int directory = -1;
	bool ok = false;

	for (size_t n = path ? strlen(path) : 0; n > 1 && path[n - 1] == '/'; n--)
		path[n - 1] = 0;
	if (path)
		name = key_name(challenge, path, &why);
	if (!name) {
		keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE, "Azure Arc answered 401 %s; " NOT_ARC, why);
		goto out;
	}
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory >= 0)
		ok = take_key(directory, name, key, reply);
	else
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "Azure Arc: %.200s: %s; " GROUP, path, strerror(errno));
out:
	if (directory >= 0)
		close(directory);
	free(path);
	return ok;
}

/* The second leg: the same request, and the key as it stands in the file. */
static void prove(
	const char *challenge, const struct azure_identity *identity, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct buffer key, header;
	struct http_exchange x;

	buffer_init(&key, KEY_MAX + 1);
	buffer_init(&header, KEY_MAX + 64);
	buffer_printf(&header, "Authorization: Basic ");
	if (meet(challenge, request, reply, &key)) {
		if (!azure_put_line(&header, key.data, key.length)) {
			keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "Azure Arc: its key is empty or more than a line");
		} else {
			if (ask(&x, buffer_cstring(&header), identity, request, reply))
				azure_read(&x, request, &arc, identity, reply);
			http_free(&x);
		}
	}
	buffer_free(&key);
	buffer_free(&header);
}

void azure_arc_obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct azure_identity identity;
	struct http_exchange x;

	if (!azure_identity(request, reply, &arc, &identity))
		return;
	if (ask(&x, NULL, &identity, request, reply)) {
		if (x.status == 401)
			prove(x.challenge, &identity, request, reply);
		else if (x.status == 200)
			keyfob_fail(reply, KEYFOB_CLASS_UNAVAILABLE, "Azure Arc answered 200 where it asks for a key first; " NOT_ARC);
		else
			azure_read(&x, request, &arc, &identity, reply);
	}
	http_free(&x);
}
