/* SPDX-License-Identifier: Apache-2.0 */
/* The entry points and the options. */
#include <security/pam_ext.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include "keyring/keyfob.h"
#include "pam/pam.h"

#define ENTRY __attribute__((visibility("default")))
#define AGAIN_MS 200 /* what a server that is being restarted is given */

/* --- options --------------------------------------------------------------------- */

static int wrong(pam_handle_t *pamh, const char *option, const char *why)
{
	char text[CALL_TEXT];

	pam_syslog(pamh, LOG_ERR, "option \"%s\": %s", call_escape(option, text), why);
	return PAM_SERVICE_ERR;
}

static const char *value_of(const char *option, const char *name)
{
	size_t length = strlen(name);

	return strncmp(option, name, length) == 0 && option[length] == '=' ? option + length + 1 : NULL;
}

static int take_path(struct pam_call *call, const char *option, const char *value, struct client_server *server)
{
	if (*value != '/')
		return wrong(call->pamh, option, "the path of a socket begins with /");
	server->path = value;
	return PAM_SUCCESS;
}

static int take_credential(struct pam_call *call, const char *option, const char *value)
{
	if (!wire_name_valid(value))
		return wrong(call->pamh, option, "no credential can have that name");
	if (call->credential_count == OPTIONS_CREDENTIALS_MAX)
		return wrong(call->pamh, option, "too many credentials");
	call->credentials[call->credential_count++] = value;
	return PAM_SUCCESS;
}

static int take_option(struct pam_call *call, const char *option)
{
	const char *value;

	if ((value = value_of(option, "socket")))
		return take_path(call, option, value, &call->verifier);
	if ((value = value_of(option, "broker")))
		return take_path(call, option, value, &call->broker);
	if ((value = value_of(option, "credential")))
		return take_credential(call, option, value);
	if (strcmp(option, "debug") == 0) {
		call->debug = true;
		return PAM_SUCCESS;
	}
	value = value_of(option, "service");
	if (!value)
		return wrong(call->pamh, option,
			"unknown; there are verify or retrieve as the first word, service=, socket=, broker=, credential= and debug");
	if (!*value || strlen(value) > WIRE_LOGIN_MAX)
		return wrong(call->pamh, option, "a service's name has 1 to 255 bytes");
	call->service = value;
	return PAM_SUCCESS;
}

/* It goes into the log as it is; what a verifier knows has no other bytes. */
static bool is_service(const char *name)
{
	size_t length = 0;

	while (name[length] >= 0x20 && name[length] < 0x7f)
		length++;
	return !name[length] && length && length <= WIRE_LOGIN_MAX;
}

int call_open(struct pam_call *call, pam_handle_t *pamh, int argc, const char **argv)
{
	const void *service = NULL;

	*call = (struct pam_call){ .pamh = pamh };
	call->verifier = (struct client_server){ "the verifier", WIRE_VERIFY_SOCKET_DEFAULT };
	call->broker = (struct client_server){ "the broker", WIRE_SOCKET_DEFAULT };
	if (argc > 0 && strcmp(argv[0], "verify") == 0)
		call->mode = PAM_MODE_VERIFY;
	else if (argc > 0 && strcmp(argv[0], "retrieve") == 0)
		call->mode = PAM_MODE_RETRIEVE;
	for (int at = call->mode != PAM_MODE_NONE; at < argc; at++) {
		int error = take_option(call, argv[at]);

		if (error != PAM_SUCCESS)
			return error;
	}
	if (!call->service && pam_get_item(pamh, PAM_SERVICE, &service) == PAM_SUCCESS)
		call->service = service;
	if (!call->service || !is_service(call->service)) {
		pam_syslog(pamh, LOG_ERR, "the service has no name that could be asked for: say service=");
		return PAM_SERVICE_ERR;
	}
	call_begin(call);
	return PAM_SUCCESS;
}

/* --- asking ------------------------------------------------------------------------ */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void call_begin(struct pam_call *call)
{
	call->deadline = now_ms() + CALL_MS;
}

static int left_ms(const struct pam_call *call)
{
	int64_t left = call->deadline - now_ms();

	return left < 1 ? 1 : (int)left;
}

int call_ask(const struct pam_call *call, const struct client_server *server, uint8_t opcode, const struct buffer *fields,
	struct buffer *reply, struct reader *r, char *message)
{
	const struct timespec pause = { 0, AGAIN_MS * 1000000L };
	int error = client_ask(server, opcode, fields, left_ms(call), reply, r, message, WIRE_TEXT_MAX);

	if (error != KEYFOB_EBROKER || left_ms(call) <= 2 * AGAIN_MS)
		return error;
	nanosleep(&pause, NULL);
	return client_ask(server, opcode, fields, left_ms(call), reply, r, message, WIRE_TEXT_MAX);
}

const char *call_escape(const char *text, char *out)
{
	size_t used = 0;

	for (; *text && used + 5 < CALL_TEXT; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c < 0x7f)
			out[used++] = (char)c;
		else
			used += (size_t)snprintf(out + used, CALL_TEXT - used, "\\x%02x", c);
	}
	out[used] = 0;
	return out;
}

/* --- entry points --------------------------------------------------------------------- */

ENTRY int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct pam_call call;
	int error = call_open(&call, pamh, argc, argv);

	(void)flags;
	if (error != PAM_SUCCESS)
		return error;
	if (call.mode == PAM_MODE_VERIFY)
		return verify_authenticate(&call);
	if (call.mode == PAM_MODE_RETRIEVE)
		return retrieve_authenticate(&call);
	pam_syslog(pamh, LOG_ERR, "the first word of an auth line's options must be verify or retrieve");
	return PAM_SERVICE_ERR;
}

/* There is nothing to establish: what a session needs is done when it opens, for logins without an auth phase too. */
ENTRY int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct pam_call call;

	(void)flags;
	return call_open(&call, pamh, argc, argv);
}

ENTRY int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct pam_call call;
	int error = call_open(&call, pamh, argc, argv);

	(void)flags;
	if (error != PAM_SUCCESS)
		return error;
	if (call.mode == PAM_MODE_RETRIEVE) {
		pam_syslog(pamh, LOG_ERR, "retrieve is for auth lines: an account line says verify or nothing");
		return PAM_SERVICE_ERR;
	}
	return verify_account(&call);
}

ENTRY int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct pam_call call;
	int error = call_open(&call, pamh, argc, argv);

	(void)flags;
	return error == PAM_SUCCESS ? session_open(&call) : error;
}

/* Tokens stay: jobs that outlive the login go on with them, and they end by themselves. */
ENTRY int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct pam_call call;

	(void)flags;
	return call_open(&call, pamh, argc, argv);
}
