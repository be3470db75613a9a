/* SPDX-License-Identifier: Apache-2.0 */
/* What the sources of Azure share: the identities of a machine, the applications of a tenant. */
#ifndef KEYFOB_EMULATOR_AZURE_H
#define KEYFOB_EMULATOR_AZURE_H

#include "emulator.h"

enum { EMU_AZURE_IDS = 3, EMU_ARC_KEYS = 16, EMU_REMEMBERED = 4096 };

/* An application, as it was registered. Texts are NULL where nothing was said. */
struct emu_app {
	LIST_ENTRY(emu_app) link;
	char *client_id;
	char *tenant;
	char *secret;
	char *certificate; /* PEM */
	char *issuer, *subject, *audience; /* of a federated credential */
	char *issuer_key; /* PEM; NULL: the tokens of this emulator itself */
	char *secret_expired;
	char *chain; /* trusted by its chain: x5c is needed */
	char *token_version; /* "1" or "2": tokens as of that version */
};
LIST_HEAD(emu_apps, emu_app);

struct emu_arc_key {
	char *path;
	char *text;
};

struct emu_azure {
	struct emu_apps apps;
	char *seen[EMU_REMEMBERED]; /* the jti of each assertion, a ring */
	size_t seen_at;
	char *header_secret;
	char *arc_dir;
	struct emu_arc_key arc_keys[EMU_ARC_KEYS]; /* a ring */
	size_t arc_at;
};

struct emu_azure_identity {
	const char *kind; /* the parameter's name; NULL: the system-assigned one */
	const char *value;
	char object[64];
	char client[64];
};

/* imds.c */
/* Which identity do the parameters name? NULL, or what is wrong with them. */
const char *emu_azure_identity(const struct emu_exchange *x, const char *const names[EMU_AZURE_IDS], struct emu_azure_identity *id);
/* A token for it; NULL when the text is none. */
const struct emu_token *emu_azure_token(struct emu_exchange *x, const char *resource, const struct emu_azure_identity *id);
json_t *emu_azure_reply(const struct emu_token *token, const char *resource, const struct emu_azure_identity *id);
json_t *emu_number_text(time_t number);
/* The rules for the form of a request to IMDS, which Arc has too. Answers, and returns false, where it breaks one. */
bool emu_imds_well_formed(struct emu_exchange *x);
/* Answer with a token, or with why not. */
void emu_imds_hand_out(struct emu_exchange *x, const char *resource, const struct emu_azure_identity *id, bool echo);
extern const char *const emu_imds_ids[EMU_AZURE_IDS];

/* entra-apps.c */
void emu_apps_free(struct emu_azure *azure);
const struct emu_app *emu_app_find(const struct emu *emu, const char *client_id);
/* Is this the assertion of the application's certificate, or a token that it trusts? 0, or the number of Entra's error. */
long emu_app_check_assertion(struct emu_exchange *x, const struct emu_app *app, const char *assertion);
/* arc.c */
void emu_arc_key_free(struct emu_arc_key *key);

#endif
