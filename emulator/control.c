/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "emulator.h"

static void done(struct emu_exchange *x)
{
	emu_reply_text(x, HTTP_OK, "text/plain", "done\n");
}

static void set_fault(struct emu_exchange *x)
{
	char message[400], line[401];

	if (emu_fault_set(x->emu, &x->query, message, sizeof(message))) {
		done(x);
		return;
	}
	snprintf(line, sizeof(line), "%s\n", message);
	emu_reply_text(x, HTTP_BADREQUEST, "text/plain", line);
}

static void clear_faults(struct emu_exchange *x)
{
	emu_faults_clear(x->emu);
	done(x);
}

static void rotate(struct emu_exchange *x)
{
	emu_tokens_clear(x->emu);
	done(x);
}

static void rotate_keys(struct emu_exchange *x)
{
	if (emu_keys_rotate(x->emu->keys))
		done(x);
	else
		emu_reply_text(x, HTTP_INTERNAL, "text/plain", "no new keys could be made\n");
}

static void reset(struct emu_exchange *x)
{
	emu_faults_clear(x->emu);
	emu_count_reset(x->emu);
	done(x);
}

static void counters(struct emu_exchange *x)
{
	emu_reply_json(x, HTTP_OK, emu_count_json(x->emu));
}

static const struct {
	const char *path;
	enum evhttp_cmd_type method;
	void (*handle)(struct emu_exchange *x);
} table[] = {
	{ "/emulator/faults", EVHTTP_REQ_POST, set_fault },
	{ "/emulator/faults", EVHTTP_REQ_DELETE, clear_faults },
	{ "/emulator/rotate", EVHTTP_REQ_POST, rotate },
	{ "/emulator/rotate-keys", EVHTTP_REQ_POST, rotate_keys },
	{ "/emulator/reset", EVHTTP_REQ_POST, reset },
	{ "/emulator/counters", EVHTTP_REQ_GET, counters },
	{ "/emulator/entra-apps", EVHTTP_REQ_POST, emu_entra_app },
	{ "/emulator/appservice-secret", EVHTTP_REQ_POST, emu_appservice_secret },
	{ "/emulator/clients", EVHTTP_REQ_POST, emu_oauth2_client },
	{ "/emulator/google-accounts", EVHTTP_REQ_POST, emu_google_account },
};

void emu_control(struct emu_exchange *x)
{
	enum evhttp_cmd_type method = evhttp_request_get_command(x->req);
	char allowed[20] = "";

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t used = strlen(allowed);
		enum evhttp_cmd_type takes = table[i].method;

		if (strcmp(table[i].path, x->path) != 0)
			continue;
		if (takes == method) {
			table[i].handle(x);
			return;
		}
		snprintf(allowed + used, sizeof(allowed) - used, "%s%s", used ? ", " : "",
			takes == EVHTTP_REQ_POST     ? "POST"
			: takes == EVHTTP_REQ_DELETE ? "DELETE"
						     : "GET");
	}
	if (*allowed)
		emu_reply_method(x, allowed);
	else
		emu_reply_text(x, HTTP_NOTFOUND, "text/plain", "/emulator/ has faults, counters, reset, rotate and rotate-keys\n");
}
