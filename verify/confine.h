/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How keyfob-verifyd gives up what it does not need, once it is the user that
 * it runs as (sandbox_become). The call binds the calling thread and what it
 * makes later, and there is no way back. On failure (a negative errno) why
 * says what could not be done, and the process must not go on. On success it
 * is "", or a note that this kernel gives less protection than asked for.
 */
#ifndef KEYFOB_VERIFY_CONFINE_H
#define KEYFOB_VERIFY_CONFINE_H

#include <stddef.h>

struct confine_files {
	const char *config_dir, *state_dir; /* the one to read, the other to write */
	const char *const *others; /* to read, too: where key set files lie; ends with NULL */
};
/*
 * What works afterwards: an event loop, AF_UNIX sockets, reading the files
 * named, /etc and what a look-up of a user's name needs, and writing below
 * state_dir. Not: programs, processes, other sockets, keys.
 */
int confine_verifier(const struct confine_files *files, char *why, size_t why_size);

#endif
