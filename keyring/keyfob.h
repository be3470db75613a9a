/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libkeyfob: the token of a credential, from the kernel keyring or, where
 * that is out of reach, from the broker's socket.
 *
 * Link with `pkg-config --cflags --libs keyfob`. Nothing here reads the
 * network, parses a token or keeps a connection open. See keyfob(3).
 */
#ifndef KEYFOB_H
#define KEYFOB_H

#include <stddef.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* What a call that failed returns. The numbers, negated, are the exit codes of keyfob(1). */
enum keyfob_error {
	KEYFOB_EFAIL = -1, /* something else; errno(3) of the failing call may say what */
	KEYFOB_EINVAL = -2, /* an argument is not what it must be */
	KEYFOB_ENOCRED = -3, /* no credential has that name */
	KEYFOB_EDENIED = -4, /* the caller may not have that credential */
	KEYFOB_EPROVIDER = -5, /* the provider refused, and would again */
	KEYFOB_EBROKER = -6, /* no token in the keyring, and the broker is out of reach */
	KEYFOB_EREFUSED = -7, /* a token was refused (verification) */
	KEYFOB_EAGAIN = -8, /* no token right now; try again later */
	KEYFOB_ENOMEM = -9,
};

struct keyfob; /* a handle; any number of threads may share one */
struct keyfob_token; /* a token, owned by who got it */

/*
 * Make a handle. Opens nothing and asks nobody. The socket is the one named in the
 * environment variable KEYFOB_SOCKET (ignored in a set-user-id process), else
 * /run/keyfob/keyfob.sock, else that of the caller's own broker (keyfobd --user).
 * Returns 0 or KEYFOB_ENOMEM. The caller closes *kf.
 */
int keyfob_open(struct keyfob **kf);

/*
 * Get the token of a credential. While the one given before is current this
 * costs a few cheap system calls (is the key still there?); it may wait up to 30 s for a first fetch.
 * Returns 0, or a negative enum keyfob_error and leaves *token alone. The
 * caller frees *token.
 */
int keyfob_get(struct keyfob *kf, const char *credential, struct keyfob_token **token);

/* The bytes, NUL-terminated, valid until the token is freed. A token holds no NUL. */
const char *keyfob_token_value(const struct keyfob_token *token);
/* Their number, without the NUL; at most 32,767. */
size_t keyfob_token_length(const struct keyfob_token *token);
/* When it ends, in seconds since the epoch; 0: not known, since it came by the credential's own socket. */
time_t keyfob_token_expires(const struct keyfob_token *token);
/* Wipe and free it, and set *token to NULL. NULL and a pointer to NULL are fine. */
void keyfob_token_free(struct keyfob_token **token);

/*
 * Say that a server refused this token. If it is still the current one it is
 * dropped everywhere and fetched afresh (at a limited rate); if a newer one
 * stands already, nothing happens. Call keyfob_get() afterwards.
 * Returns 0 or a negative enum keyfob_error.
 */
int keyfob_reject(struct keyfob *kf, const char *credential, const char *token);

/*
 * What the last call on this handle that failed had to say, in the broker's
 * or the provider's words: one line, cut to size, "" when there is none.
 * Returns the length of the whole text, like snprintf(3).
 */
size_t keyfob_message(struct keyfob *kf, char *text, size_t size);

/* Wipe and free the handle, and set *kf to NULL. Tokens got from it stay valid. */
void keyfob_close(struct keyfob **kf);

/* A few words for an error; never NULL, never to be freed. */
const char *keyfob_strerror(int error);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
