/* SPDX-License-Identifier: Apache-2.0 */
/* Azure Arc: the agent of a machine elsewhere, which first asks for the content of a file that only some may read. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "azure.h"

enum { KEY_LENGTH = 64, KEY_LIMIT = 4096 };

void emu_arc_key_free(struct emu_arc_key *key)
{
	if (key->path)
		unlink(key->path);
	free(key->path);
	free(key->text);
	*key = (struct emu_arc_key){ 0 };
}

/* The directory's group may read it, where the directory hands its group on. */
static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	bool ok = fd >= 0 && fchmod(fd, 0640) == 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* A new key in a file of its own, of which the oldest one goes. NULL when it cannot be written. */
static const struct emu_arc_key *new_key(struct emu_exchange *x, const char *suffix, size_t length)
{
	struct emu_azure *azure = x->emu->azure;
	struct emu_arc_key *key = &azure->arc_keys[azure->arc_at++ % EMU_ARC_KEYS];
	char *seed = emu_random_text(22), name[37];

	emu_arc_key_free(key);
	key->text = emu_random_text(length);
	if (seed)
		emu_uuid_of(seed, name);
	if (!seed || !key->text || asprintf(&key->path, "%s/%s%s", azure->arc_dir, name, suffix) < 0)
		key->path = NULL;
	free(seed);
	if (key->path && write_file(key->path, key->text))
		return key;
	emu_arc_key_free(key);
	return NULL;
}

/* What a challenge may name in place of the key, by the fault "challenge". */
static const struct {
	const char *name;
	const char *before;
	const char *suffix; /* of the key's file; NULL: there is none, and what follows is named in the directory */
	size_t length;
	const char *after;
} cases[] = {
	{ "scheme", "Digest realm=", ".key", KEY_LENGTH, "" },
	{ "equals", "Basic realm=", NULL, 0, "/a=b.key" },
	{ "elsewhere", "Basic realm=/var/tmp", NULL, 0, "/agent.key" },
	{ "below", "Basic realm=", NULL, 0, "/below/agent.key" },
	{ "parent", "Basic realm=", NULL, 0, "/../agent.key" },
	{ "suffix", "Basic realm=", ".txt", KEY_LENGTH, "" },
	{ "missing", "Basic realm=", NULL, 0, "/missing.key" },
	{ "big", "Basic realm=", ".key", KEY_LIMIT + 1, "" },
	{ "largest", "Basic realm=", ".key", KEY_LIMIT, "" },
	{ "link", "Basic realm=", ".key", KEY_LENGTH, "" },
	{ "fifo", "Basic realm=", ".key", KEY_LENGTH, "" },
	{ "empty", "Basic realm=", ".key", KEY_LENGTH, "" },
	{ "replaced", "Basic realm=", ".key", KEY_LENGTH, "" },
	{ NULL, "Basic realm=", ".key", KEY_LENGTH, "" },
};

static void unauthorized(struct emu_exchange *x)
{
	emu_reply_json(
		x, 401, json_pack("{s:s, s:s}", "error", "unauthorized_client", "error_description", "Missing Basic Authorization header"));
}

/* The file becomes a link or a pipe, or gets a content that was never good. */
static void spoil(struct emu_exchange *x, const struct emu_arc_key *key)
{
	const char *how = x->fault->challenge;

	if (how && strcmp(how, "link") == 0 && unlink(key->path) == 0 && symlink("/etc/hostname", key->path) < 0)
		unlink(key->path);
	if (how && strcmp(how, "fifo") == 0 && unlink(key->path) == 0)
		mkfifo(key->path, 0644);
	if (how && strcmp(how, "empty") == 0 && unlink(key->path) == 0)
		write_file(key->path, "");
	if (how && strcmp(how, "replaced") == 0 && unlink(key->path) == 0)
		write_file(key->path, "replaced-meanwhile");
}

static void challenge(struct emu_exchange *x)
{
	const char *how = x->fault->challenge;
	const struct emu_arc_key *key = NULL;
	char *header = NULL;
	size_t i = 0;

	if (how && strcmp(how, "none") == 0) {
		unauthorized(x);
		return;
	}
	while (cases[i].name && (!how || strcmp(cases[i].name, how) != 0))
		i++;
	if (cases[i].suffix)
		key = new_key(x, cases[i].suffix, cases[i].length);
	if (cases[i].suffix && !key) {
		emu_reply_text(x, HTTP_INTERNAL, "text/plain", "the key cannot be written; look at --arc-dir\n");
		return;
	}
	if (key)
		spoil(x, key);
	if (asprintf(&header, "%s%s%s", cases[i].before, key ? key->path : x->emu->azure->arc_dir, cases[i].after) < 0)
		header = NULL;
	if (header)
		emu_header_out(x, "WWW-Authenticate", header);
	free(header);
	unauthorized(x);
}

/* A key is good once. */
static bool use_up(struct emu_azure *azure, const char *authorization)
{
	for (size_t i = 0; i < EMU_ARC_KEYS; i++) {
		struct emu_arc_key *key = &azure->arc_keys[i];

		if (key->text && strncmp(authorization, "Basic ", 6) == 0 && strcmp(authorization + 6, key->text) == 0) {
			emu_arc_key_free(key);
			return true;
		}
	}
	return false;
}

void emu_arc(struct emu_exchange *x)
{
	static const char *const no_ids[EMU_AZURE_IDS] = { NULL };
	const char *authorization = emu_header_in(x, "Authorization"), *why;
	struct emu_azure_identity id = { 0 };

	if (strcasecmp(x->path, "/metadata/identity/oauth2/token") != 0) {
		emu_reply_json(x, HTTP_NOTFOUND, json_pack("{s:s}", "error", "Not found."));
		return;
	}
	if (!emu_imds_well_formed(x))
		return;
	if (!authorization && !(x->fault->challenge && strcmp(x->fault->challenge, "open") == 0)) {
		challenge(x);
		return;
	}
	if (authorization && !use_up(x->emu->azure, authorization)) {
		unauthorized(x);
		return;
	}
	if (strcmp(emu_query_get(&x->query, "api-version"), "2019-11-01") < 0)
		why = "The api-version is not one of this agent's";
	else
		why = emu_azure_identity(x, x->fault->deaf ? no_ids : emu_imds_ids, &id);
	if (why)
		emu_reply_json(x, HTTP_BADREQUEST, json_pack("{s:s, s:s}", "error", "invalid_request", "error_description", why));
	else
		emu_imds_hand_out(x, emu_query_get(&x->query, "resource"), &id, true);
}
