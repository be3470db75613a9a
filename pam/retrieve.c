/* SPDX-License-Identifier: Apache-2.0 */
/* auth retrieve: the user's own token becomes PAM_AUTHTOK, for the modules after this one. */
#include <pwd.h>
#include <security/pam_ext.h>
#include <security/pam_modutil.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "keyring/keyfob.h"
#include "pam/pam.h"

#define TOKEN_DATA "keyfob-retrieved"

static void wipe_token(pam_handle_t *pamh, void *data, int status)
{
	(void)pamh;
	(void)status;
	if (data)
		explicit_bzero(data, strlen(data));
	free(data);
}

bool retrieve_is_ours(pam_handle_t *pamh, const char *token)
{
	const void *data = NULL;

	return pam_get_data(pamh, TOKEN_DATA, &data) == PAM_SUCCESS && data && strcmp(data, token) == 0;
}

int retrieve_may(const struct pam_call *call, const char *credential, uid_t uid, char *why)
{
	struct buffer fields, reply;
	struct reader r;
	int result;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_put_text(&fields, credential);
	buffer_put_u32(&fields, uid);
	result = call_ask(call, &call->broker, WIRE_MAY, &fields, &reply, &r, why);
	if (result == 0) {
		result = reader_u8(&r) == 1;
		reader_text(&r, why, WIRE_TEXT_MAX);
		if (!reader_done(&r)) {
			strcpy(why, "the answer is malformed");
			result = KEYFOB_EBROKER;
		}
	}
	buffer_free(&fields);
	buffer_free(&reply);
	return result;
}

/* Whose token, and may this process ask for it? Root asks for others, anybody else for himself. */
static int check_user(struct pam_call *call, uid_t *uid)
{
	const char *user = NULL;
	const struct passwd *pw;
	int error = pam_get_user(call->pamh, &user, NULL);

	if (error != PAM_SUCCESS)
		return error == PAM_CONV_AGAIN ? PAM_INCOMPLETE : error;
	pw = user ? pam_modutil_getpwnam(call->pamh, user) : NULL;
	if (!pw) {
		pam_syslog(call->pamh, LOG_NOTICE, "retrieve: no such user");
		return PAM_USER_UNKNOWN;
	}
	if (pw->pw_uid == 0) {
		pam_syslog(call->pamh, LOG_NOTICE, "retrieve: root's tokens are not handed on");
		return PAM_PERM_DENIED;
	}
	if (geteuid() != 0 && (geteuid() != pw->pw_uid || getuid() != pw->pw_uid)) {
		pam_syslog(call->pamh, LOG_NOTICE, "retrieve: this process is uid %u and can have tokens of its own only", geteuid());
		return PAM_PERM_DENIED;
	}
	*uid = pw->pw_uid;
	return PAM_SUCCESS;
}

/*
 * libpam tells nobody what the modules before him said. One that checked a
 * password left it behind, at least; and with `requisite` it ends the stack
 * when it said no (pam_keyfob(8)).
 */
static bool is_somebody_there(struct pam_call *call)
{
	const void *earlier = NULL;

	if (pam_get_item(call->pamh, PAM_AUTHTOK, &earlier) == PAM_SUCCESS && earlier && *(const char *)earlier)
		return true;
	pam_syslog(call->pamh, LOG_ERR, "retrieve: no module before this one took a password: put it after a requisite module that does");
	return false;
}

/* The mark comes first: a token without it would pass for the user's. */
static int hand_on(struct pam_call *call, const char *token, size_t length)
{
	char *copy;
	int error;

	if (!token || length == 0 || length > WIRE_TOKEN_MAX || memchr(token, 0, length)) {
		pam_syslog(call->pamh, LOG_ERR, "retrieve: the broker's answer is malformed");
		return PAM_AUTHINFO_UNAVAIL;
	}
	copy = strndup(token, length);
	if (!copy)
		return PAM_BUF_ERR;
	error = pam_set_data(call->pamh, TOKEN_DATA, copy, wipe_token);
	if (error != PAM_SUCCESS) {
		wipe_token(call->pamh, copy, 0);
		return error;
	}
	error = pam_set_item(call->pamh, PAM_AUTHTOK, copy);
	/* It authenticates nobody, so it does not count as a yes among those that do. */
	return error == PAM_SUCCESS ? PAM_IGNORE : error;
}

static int get_token(struct pam_call *call, const char *credential)
{
	char message[WIRE_TEXT_MAX], text[CALL_TEXT];
	struct buffer fields, reply;
	const char *token;
	struct reader r;
	size_t length;
	int error;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_put_text(&fields, credential);
	error = call_ask(call, &call->broker, WIRE_GET, &fields, &reply, &r, message);
	buffer_free(&fields);
	if (error < 0) {
		pam_syslog(call->pamh, LOG_ERR, "retrieve: %s: %s", credential, call_escape(message, text));
		error = error == KEYFOB_EDENIED ? PAM_PERM_DENIED : PAM_AUTHINFO_UNAVAIL;
	} else {
		size_t fingerprint;

		token = (const char *)reader_string(&r, &length);
		reader_u64(&r);
		reader_u64(&r);
		reader_string(&r, &fingerprint);
		error = hand_on(call, reader_done(&r) ? token : NULL, length);
	}
	buffer_free(&reply);
	return error;
}

int retrieve_authenticate(struct pam_call *call)
{
	char why[WIRE_TEXT_MAX], text[CALL_TEXT];
	uid_t uid = 0;
	int error;

	if (call->credential_count != 1) {
		pam_syslog(call->pamh, LOG_ERR, "retrieve wants exactly one credential=");
		return PAM_SERVICE_ERR;
	}
	error = check_user(call, &uid);
	if (error != PAM_SUCCESS)
		return error;
	if (!is_somebody_there(call))
		return PAM_AUTHINFO_UNAVAIL;
	call_begin(call);
	if (geteuid() == 0) {
		error = retrieve_may(call, call->credentials[0], uid, why);
		if (error != 1) {
			pam_syslog(call->pamh, error == 0 ? LOG_NOTICE : LOG_ERR, "retrieve: %s for uid %u: %s", call->credentials[0], uid,
				call_escape(why, text));
			return error == 0 ? PAM_PERM_DENIED : PAM_AUTHINFO_UNAVAIL;
		}
	}
	return get_token(call, call->credentials[0]);
}
