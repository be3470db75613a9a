/* SPDX-License-Identifier: Apache-2.0 */
/* The daemons, their sockets, and what the broker knows of each credential. */
#include "cli/admin-doctor.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "keyring/client.h"
#include "modules/module.h"

#define TRY_MS 35000 /* an attempt has 30 s, unless its provider line says otherwise */
#define TRIES_SECONDS 90 /* for all of them */

/* --- sockets --------------------------------------------------------------------- */

static void check_directory(struct doctor *d, const char *path)
{
	char copy[PATH_MAX];
	const char *directory;
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", path);
	directory = dirname(copy);
	if (stat(directory, &st) < 0 || !(st.st_mode & (S_IWGRP | S_IWOTH)))
		return;
	doctor_error(d, directory, "others than its owner may write there, and so put a socket of theirs in this one's place");
	doctor_fix(d, "chmod go-w %s", directory);
}

/*
 * Who may not connect cannot ask; the server's own say is the policy. Of a user's own broker nobody else is to ask. false: it is not
 * there.
 */
static bool check_socket(struct doctor *d, const char *path, const char *server)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		doctor_error(d, path, "%s: %s does not listen there", strerror(errno), server);
		doctor_fix(d, "systemctl start %s", server);
		return false;
	}
	check_directory(d, path);
	if (S_ISSOCK(st.st_mode) && ((st.st_mode & 0666) == 0666 || client_is_own(path)))
		return true;
	doctor_error(d, path, S_ISSOCK(st.st_mode) ? "not all users may connect to it" : "it is no socket");
	doctor_fix(d, "systemctl restart %s", server);
	return S_ISSOCK(st.st_mode);
}

/* Those of a credential's own, as keyfob.conf(5) says: the broker makes them beside its socket. */
static void check_own_sockets(struct doctor *d)
{
	char copy[PATH_MAX], path[PATH_MAX + WIRE_NAME_MAX + 32];
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", client_socket());
	dirname(copy);
	for (size_t i = 0; d->configured && i < d->admin.config.count; i++) {
		const struct config_section *s = &d->admin.config.sections[i];

		if (strcmp(s->type, "credential") != 0 || !config_value(s, "socket"))
			continue;
		snprintf(path, sizeof(path), "%s/credential/%s.sock", copy, s->name);
		if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
			continue;
		doctor_error(d, path, "the socket of credential %s is not there", s->name);
		doctor_fix(d, "keyfob reload, then the broker's log");
	}
}

/* --- the verifier ------------------------------------------------------------------- */

static void put_keyset(struct doctor *d, const char *name, uint8_t state, const char *error)
{
	switch (state) {
	case WIRE_KEYSET_GOOD:
		doctor_ok(d, name, "its key set is there");
		return;
	case WIRE_KEYSET_STALE:
		doctor_warning(d, name, "its key set is old, and cannot be fetched: %s", error);
		break;
	case WIRE_KEYSET_REVOKED:
		doctor_error(d, name, "its key set was revoked, and no new one came: its logins are refused: %s", error);
		break;
	default:
		doctor_error(d, name, "it has no key set: its logins are refused: %s", error[0] ? error : "none was asked for yet");
	}
	doctor_fix(d, "keyfob jwks refresh %s", name);
}

/* One page of KEYSETS (common/wire.h). Returns whether more follow; after is the last one's name. */
static bool read_keysets(struct doctor *d, struct reader *r, char *after, size_t size)
{
	uint8_t more = reader_u8(r);

	while (r->left && !r->failed) {
		char error[WIRE_TEXT_MAX], name[WIRE_NAME_MAX + 1];
		uint32_t keys;
		size_t length;
		uint8_t state;

		reader_text(r, name, sizeof(name));
		state = reader_u8(r);
		for (int i = 0; i < 5; i++)
			reader_u64(r);
		reader_u32(r);
		reader_text(r, error, sizeof(error));
		keys = reader_u32(r);
		for (uint32_t i = 0; i < keys && !r->failed; i++) {
			reader_string(r, &length);
			reader_string(r, &length);
		}
		if (r->failed)
			return false;
		put_keyset(d, name, state, error);
		more = more && strcmp(name, after) != 0;
		snprintf(after, size, "%s", name);
	}
	return more && !r->failed;
}

/* Identity providers that no service is given by any database user are nobody's concern. */
static void check_verifier(struct doctor *d)
{
	const struct client_server verifier = { "the verifier", cli_verifier_socket() };
	char message[WIRE_TEXT_MAX], after[WIRE_NAME_MAX + 1] = "";
	struct buffer fields, reply;
	struct reader r;
	bool more = true;

	if (!d->configured || !d->admin.now.user_count || !check_socket(d, verifier.path, "keyfob-verifyd"))
		return;
	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	while (more) {
		message[0] = 0;
		buffer_clear(&fields);
		buffer_put_text(&fields, "");
		buffer_put_text(&fields, after);
		if (client_ask(&verifier, WIRE_VERIFY_KEYSETS, &fields, CLI_BRIEF_MS, &reply, &r, message, sizeof(message)) != 0) {
			doctor_error(d, "keyfob-verifyd", "%s", message[0] ? message : "does not answer");
			doctor_fix(d, "systemctl restart keyfob-verifyd");
			break;
		}
		more = read_keysets(d, &r, after, sizeof(after));
	}
	buffer_free(&fields);
	buffer_free(&reply);
}

void doctor_broker(struct doctor *d)
{
	char message[WIRE_TEXT_MAX] = "";
	int error;

	if (check_socket(d, client_socket(), "keyfobd")) {
		error = cli_list_load(&d->list, "", message);
		if (error) {
			doctor_error(d, "keyfobd", "%s", message[0] ? message : keyfob_strerror(error));
			doctor_fix(d, "systemctl restart keyfobd");
		} else {
			doctor_ok(d, "keyfobd", "it answers");
			if (geteuid() == 0)
				check_own_sockets(d);
		}
	}
	if (geteuid() == 0)
		check_verifier(d);
}

/* --- credentials ----------------------------------------------------------------------- */

/* The last line of an exchange that says something. Cuts lines to it. */
static const char *last_line(char *lines)
{
	char *end = lines + strlen(lines);

	while (end > lines && end[-1] == '\n')
		*--end = 0;
	end = strrchr(lines, '\n');
	return end ? end + 1 : lines;
}

/* What the broker knows of the last fetch is told already, and need not be told twice. */
static void try_credential(struct doctor *d, const struct cli_credential *c)
{
	char message[WIRE_TEXT_MAX] = "", *lines = NULL;
	struct buffer fields, reply;
	struct reader r;
	uint8_t class = KEYFOB_CLASS_TRANSIENT;
	int error;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_put_text(&fields, c->name);
	error = client_call(WIRE_TRY, &fields, TRY_MS, &reply, &r, message, sizeof(message));
	if (!error) {
		class = reader_u8(&r);
		lines = reader_dup(&r, WIRE_MAX);
	}
	if (error || !lines) {
		doctor_error(d, c->name, "the provider could not be tried: %s", message[0] ? message : "the reply makes no sense");
		doctor_fix(d, "keyfob try %s", c->name);
	} else if (class == KEYFOB_CLASS_OK) {
		doctor_ok(d, c->name, "the provider gives a token");
	} else if (strcmp(last_line(lines), c->last_error) != 0) {
		doctor_error(d, c->name, "%s", last_line(lines));
		doctor_fix(d, "keyfob try %s shows the exchange", c->name);
	}
	free(lines);
	buffer_free(&fields);
	buffer_free(&reply);
}

/* Is the provider to be asked by who may, as what is known says nothing of how it is now? */
static bool put_state(struct doctor *d, const struct cli_credential *c)
{
	int64_t left = (int64_t)c->expires - time(NULL);
	char life[64];

	cli_duration(left, life, sizeof(life));
	switch (c->state) {
	case WIRE_STATE_VALID:
		doctor_ok(d, c->name, "a token that lives %s more", life);
		return false;
	case WIRE_STATE_STALE:
		doctor_warning(d, c->name, "its token lives %s more, and no other is to be had: %s", life, c->last_error);
		break;
	case WIRE_STATE_FAILED:
		doctor_error(d, c->name, "no token: %s", c->last_error);
		break;
	case WIRE_STATE_FETCHING:
		doctor_ok(d, c->name, "its first token is on its way");
		return false;
	default:
		if (!cli_is_master())
			doctor_ok(d, c->name, "nobody asked for it yet");
		return true;
	}
	doctor_fix(d, cli_is_master() ? "keyfob try %s shows the exchange" : "ask root: keyfob try %s", c->name);
	return true;
}

static void check_credential(struct doctor *d, const struct cli_credential *c)
{
	if (c->mismatch[0]) {
		doctor_error(d, c->name, "%s would refuse its token: %s", c->identity_provider, c->mismatch);
		doctor_fix(d, "keyfob explain %s", c->name);
	}
	for (size_t i = 0; i < c->count; i++)
		if (c->readers[i].state == WIRE_READER_NO_FILE) {
			doctor_error(d, c->name, "the token file of %s cannot be written", c->readers[i].name);
			doctor_fix(d, "journalctl -u keyfobd says why");
		}
}

void doctor_credentials(struct doctor *d)
{
	time_t end = time(NULL) + TRIES_SECONDS;
	bool all = cli_value(d->cli, "try");

	for (size_t i = 0; i < d->list.count; i++) {
		const struct cli_credential *c = &d->list.item[i];
		bool doubtful = put_state(d, c);

		check_credential(d, c);
		if (!cli_is_master() || !(doubtful || all))
			continue;
		if (time(NULL) < end)
			try_credential(d, c);
		else
			doctor_warning(d, c->name, "its provider was not asked: the others took so long");
	}
}
