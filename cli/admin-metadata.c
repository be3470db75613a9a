/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `keyfob metadata-rules`: the packet filter's half of keyfob-metadata. Whoever
 * is named by a credential with metadata = yes meets it where a cloud's
 * metadata service would be. What is allowed is the broker's to say, not these rules'.
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/admin.h"

#define ADDRESS "169.254.169.254"
#define FETCH_USER "keyfob-fetch"

struct redirected {
	uid_t uid;
	const char *name; /* as configured, points into the configuration */
	size_t length;
};

struct rules {
	struct redirected *users; /* each once, in the order of the configuration */
	size_t count;
	struct buffer notes; /* comment lines: who is left out, and what to mind */
	bool failed;
};

static void note(struct rules *r, const char *before, const char *word, size_t length, const char *after, const char *credential)
{
	char text[512];

	snprintf(text, sizeof(text), "%.*s", (int)length, word);
	buffer_printf(&r->notes, "# %s", before);
	cli_put_escaped(&r->notes, text);
	buffer_printf(&r->notes, "%s (credential ", after);
	cli_put_escaped(&r->notes, credential);
	buffer_printf(&r->notes, ")\n");
}

static struct redirected *find(const struct rules *r, uid_t uid)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->users[i].uid == uid)
			return &r->users[i];
	return NULL;
}

static void add_user(struct rules *r, const struct config_section *s, unsigned int line, const char *name, size_t length)
{
	char *copy = strndup(name, length);
	const struct passwd *user;
	struct redirected *grown;

	errno = 0;
	user = copy ? getpwnam(copy) : NULL;
	if (!user) {
		cli_fail(KEYFOB_EFAIL, NULL, "%s:%u: credential %s: user %.*s: %s", s->file, line, s->name, (int)length, name,
			errno == 0 || errno == ENOENT || errno == ESRCH ? "there is no such user" : strerror(errno));
		r->failed = true;
	} else if (user->pw_uid == 0 || strcmp(copy, FETCH_USER) == 0) {
		note(r, "left out: user ", name, length, ", who is never served there", s->name);
	} else if (!find(r, user->pw_uid)) {
		grown = reallocarray(r->users, r->count + 1, sizeof(*grown));
		if (grown) {
			r->users = grown;
			grown[r->count++] = (struct redirected){ user->pw_uid, name, length };
		} else {
			r->failed = true;
		}
	}
	free(copy);
}

/* The words of allow. A packet has a uid, and no list of groups. */
static void add_allowed(struct rules *r, const struct config_section *s)
{
	for (size_t i = 0; i < s->count; i++) {
		const char *word = s->entries[i].value;

		if (strcmp(s->entries[i].key, "allow") != 0)
			continue;
		for (word += strspn(word, " \t"); *word; word += strspn(word, " \t")) {
			size_t length = strcspn(word, " \t");

			if (strncmp(word, "user:", 5) == 0)
				add_user(r, s, s->entries[i].line, word + 5, length - 5);
			else
				note(r, "left out: ", word, length, ", whose members a rule cannot tell; allow them by user:", s->name);
			word += length;
		}
	}
}

/* A fetch of a redirected user's is redirected as well: from the metadata service it would come back here. */
static void note_runners(struct rules *r, const struct config_section *s)
{
	for (size_t i = 0; i < s->count; i++) {
		const char *runs = strcmp(s->entries[i].key, "provider") == 0 ? strstr(s->entries[i].value, "run_as=") : NULL;
		size_t length = runs ? strcspn(runs += strlen("run_as="), " \t\"") : 0;

		for (size_t j = 0; runs && j < r->count; j++)
			if (r->users[j].length == length && strncmp(r->users[j].name, runs, length) == 0)
				note(r, "mind: fetches run as ", runs, length, ", so they meet keyfob-metadata too", s->name);
	}
}

static void put_rules(struct buffer *b, const struct rules *r, unsigned int port)
{
	buffer_printf(b, "# Whoever is named here meets keyfob-metadata at " ADDRESS ", everybody else what is there.\n"
			 "# Put in force, all in one step: keyfob metadata-rules | nft -f -\n"
			 "# Taken away: nft delete table ip keyfob\n"
			 "# The host needs a route there; any default route will do. Off Google's machines /etc/hosts needs, for\n"
			 "# Google's clients: " ADDRESS " metadata metadata.google.internal\n");
	buffer_put(b, r->notes.data, r->notes.length);
	buffer_printf(b, "table ip keyfob\n"
			 "delete table ip keyfob\n"
			 "table ip keyfob {\n"
			 "\tchain metadata {\n"
			 "\t\ttype nat hook output priority -100; policy accept;\n");
	for (size_t i = 0; i < r->count; i++) {
		char name[512];

		snprintf(name, sizeof(name), "%.*s", (int)r->users[i].length, r->users[i].name);
		buffer_printf(b, "\t\tmeta skuid %u ip daddr " ADDRESS " tcp dport 80 redirect to :%u # ", r->users[i].uid, port);
		cli_put_escaped(b, name);
		buffer_put(b, "\n", 1);
	}
	buffer_printf(b, "\t}\n}\n");
	b->failed = b->failed || r->notes.failed;
}

int admin_metadata_rules(const struct cli *cli)
{
	const char *value = cli_value(cli, "port");
	unsigned long port = WIRE_METADATA_PORT;
	struct rules rules = { 0 };
	struct buffer b;
	struct admin a;
	char *end;
	int code;

	if (value) {
		errno = 0;
		port = strtoul(value, &end, 10);
		if (*value < '0' || *value > '9' || *end || errno || port < 1 || port > 65535)
			return cli_usage(cli, "--port is a number from 1 to 65535");
	}
	buffer_init(&b, CLI_OUTPUT_MAX);
	buffer_init(&rules.notes, CLI_OUTPUT_MAX);
	code = admin_open(&a, cli, ADMIN_LOOK);
	for (size_t i = 0; !code && i < a.config.count; i++) {
		const struct config_section *s = &a.config.sections[i];

		if (strcmp(s->type, "credential") == 0 && config_says_yes(s, "metadata"))
			add_allowed(&rules, s);
	}
	for (size_t i = 0; !code && i < a.config.count; i++)
		if (strcmp(a.config.sections[i].type, "credential") == 0)
			note_runners(&rules, &a.config.sections[i]);
	if (!code && rules.failed)
		code = -KEYFOB_EFAIL;
	if (!code) {
		put_rules(&b, &rules, (unsigned int)port);
		code = cli_output(&b);
	}
	admin_close(&a);
	free(rules.users);
	buffer_free(&rules.notes);
	buffer_free(&b);
	return code;
}
