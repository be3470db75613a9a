/* SPDX-License-Identifier: Apache-2.0 */
/* `keyfob run`: the files from which its child reads tokens, kept current while the child lives. */
#ifndef KEYFOB_CLI_RUN_H
#define KEYFOB_CLI_RUN_H

#include <time.h>

#include "cli/cli.h"
#include "keyring/lookup.h"

#define RUN_MAX CLI_REPEATED

struct run_credential {
	const char *name;
	struct buffer token; /* empty: there is none */
	key_serial_t serial; /* the key that holds it; 0: it came by socket */
	time_t expires;
	time_t next; /* when to ask again, for one that came by socket */
	bool is_failing;
};

/* One file. */
struct run_file {
	const char *variables[2]; /* each is set to its path */
	int credential; /* whose token it holds; -1: it is the pgpass file */
	int slot; /* the descriptor by which it is reached; -1: it is the broker's file */
	char *path;
};

struct run_entry {
	int credential;
	const char *text; /* HOST:PORT:DATABASE:USER as in a pgpass file */
};

struct run {
	struct keyfob *keyfob;
	struct lookup lookup;
	struct run_credential credentials[RUN_MAX];
	struct run_file files[RUN_MAX];
	struct run_entry entries[RUN_MAX];
	int credential_count, file_count, entry_count;
};

/* Get all the tokens. Returns false with the complaint made. */
bool run_obtain(struct run *run);
/* Make the files, or find the broker's. Returns false with the complaint made. */
bool run_make_files(struct run *run);
/* A thread: keeps the files current until the process ends. */
void *run_keep(void *run);

#endif
