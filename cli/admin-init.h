/* SPDX-License-Identifier: Apache-2.0 */
/* `keyfob init`: where this host may have tokens from, and a configuration for that. */
#ifndef KEYFOB_CLI_ADMIN_INIT_H
#define KEYFOB_CLI_ADMIN_INIT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"

/* A place where tokens come from. Texts that end up in a configuration stand here as they are. */
struct init_place {
	const char *name; /* as --for calls it; NULL ends the table */
	const char *words; /* for people */
	const char *provider; /* what its line begins with */
	const char *resource; /* a placeholder, */
	const char *resource_help; /* and what belongs there */
	const char *more; /* comment lines after the provider's, or "" */
};
extern const struct init_place init_places[];

struct init_found {
	const struct init_place *place; /* NULL: none that is known */
	char why[512]; /* by what it was recognised */
	bool is_guessed; /* some of the options are placeholders */
	char options[2048]; /* of the provider line, as far as the host tells them; "" or with a blank in front */
};

/* admin-init-place.c */
const struct init_place *init_place(const char *name);
/* Look at this host, without asking anybody: its environment, and the files below root ("" but in a test). */
void init_look(const char *root, struct init_found *found);
/* What the place wants to know, whoever said that this is it. */
void init_take_options(struct init_found *found);
/* Ask the metadata service of clouds, within a second or so. */
void init_probe(struct init_found *found);

/* admin-init-text.c */
struct init_wish {
	const struct init_found *found; /* with its place */
	const char *name, *user, *resource; /* user and resource: NULL when not known */
};
/* Append a credential for that. What is left to do by hand stands in comments with that word. */
#define INIT_FILL_IN "FILL IN"
void init_put(const struct init_wish *wish, struct buffer *text);
/* For a host that is nothing known: all of it comments. */
void init_put_choices(const char *name, struct buffer *text);
/* Both halves for a laptop: tokens from keyfob-emulator at that port, and logins with them. */
void init_put_emulator(const struct init_wish *wish, unsigned int port, struct buffer *text);

#endif
