/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of pam_keyfob.so. It lives in strangers' processes, threaded
 * ones too: no globals, no environment, no handlers, nothing left behind but
 * what pam_set_data(3) owns, and two seconds at most.
 */
#ifndef KEYFOB_PAM_H
#define KEYFOB_PAM_H

#include <security/pam_modules.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/wire.h"
#include "keyring/client.h"

#define OPTIONS_CREDENTIALS_MAX 16
#define CALL_MS 2000 /* all that one call of this module asks of others */
#define CALL_TEXT 200 /* bytes of a stranger's text in the log */

enum pam_mode { PAM_MODE_NONE, PAM_MODE_VERIFY, PAM_MODE_RETRIEVE };

struct pam_call {
	pam_handle_t *pamh;
	int64_t deadline; /* see call_begin() */
	/* the options */
	enum pam_mode mode;
	bool debug;
	const char *service; /* as the verifier knows it */
	struct client_server verifier, broker;
	size_t credential_count;
	const char *credentials[OPTIONS_CREDENTIALS_MAX];
};

/* Read the options. PAM_SUCCESS, or PAM_SERVICE_ERR with a line in the log that names what is wrong. */
int call_open(struct pam_call *call, pam_handle_t *pamh, int argc, const char **argv);
/* The two seconds begin: not before the user has typed what he was asked for. */
void call_begin(struct pam_call *call);
/*
 * client_ask() within what is left of the two seconds. A server that breaks
 * off or cannot be reached is asked once more: it may have been restarted.
 */
int call_ask(const struct pam_call *call, const struct client_server *server, uint8_t opcode, const struct buffer *fields,
	struct buffer *reply, struct reader *r, char *message);
/* Copy to out, which has CALL_TEXT bytes, with control and non-ASCII bytes as \xNN, and cut. Returns out. */
const char *call_escape(const char *text, char *out);

/* pam_syslog(3) for debug=; others call that themselves. */
#define call_debug(call, ...) \
	do { \
		if ((call)->debug) \
			pam_syslog((call)->pamh, LOG_DEBUG, __VA_ARGS__); \
	} while (0)

/* Each returns what the module's entry point returns. */
int verify_authenticate(struct pam_call *call);
int verify_account(struct pam_call *call);
int retrieve_authenticate(struct pam_call *call);
int session_open(struct pam_call *call);

/* Has retrieve put this token into PAM_AUTHTOK, in this transaction? It proves nothing about the user, then. */
bool retrieve_is_ours(pam_handle_t *pamh, const char *token);
/* WIRE_MAY, as root: may that user have the credential? 1, 0, or a negative enum keyfob_error; why says more. */
int retrieve_may(const struct pam_call *call, const char *credential, uid_t uid, char *why);

#endif
