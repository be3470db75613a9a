/* SPDX-License-Identifier: Apache-2.0 */
/* auth verify and account: the password is a token, and keyfob-verifyd judges it. */
#include <security/pam_ext.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "keyring/keyfob.h"
#include "pam/pam.h"

#define IDENTITY_DATA "keyfob-identity"
#define REPLY_MAX 4096 /* bytes of a verdict */

/* Whom auth let in: where the account is another than the login, the account phase finds PAM_USER changed. */
struct identity {
	char login[WIRE_LOGIN_MAX + 1];
	char account[WIRE_LOGIN_MAX + 1];
};

static void free_identity(pam_handle_t *pamh, void *data, int status)
{
	(void)pamh;
	(void)status;
	free(data);
}

static const struct identity *identity_of(pam_handle_t *pamh)
{
	const void *data = NULL;

	return pam_get_data(pamh, IDENTITY_DATA, &data) == PAM_SUCCESS ? data : NULL;
}

/* Neither is longer than a login may be. NULL login: forget. */
static int remember_identity(pam_handle_t *pamh, const char *login, const char *account)
{
	struct identity *identity = NULL;
	int error;

	if (login) {
		identity = calloc(1, sizeof(*identity));
		if (!identity)
			return PAM_BUF_ERR;
		strcpy(identity->login, login);
		strcpy(identity->account, account);
	}
	error = pam_set_data(pamh, IDENTITY_DATA, identity, free_identity);
	if (error != PAM_SUCCESS)
		free(identity);
	return error;
}

static bool is_login(const char *user)
{
	return user && *user && strlen(user) <= WIRE_LOGIN_MAX;
}

/* --- truncation -------------------------------------------------------------------- */

/* A token that somebody on the way cut to what his buffer holds is refused like any false one; so it is told by its length. */
static const char *who_cuts_at(size_t length)
{
	static const struct {
		size_t length;
		const char *who;
	} limits[] = {
		{ 511, "pam_exec and old PAM applications cut there" },
		{ 512, "pam_unix and old PAM applications cut there" },
		{ 1023, "ssh and sudo cut there" },
		{ 1024, "sshd and pgpool cut there" },
		{ 2047, "PgBouncer up to 1.25 cuts there" },
		{ 4095, "terminals and PAM's own prompt cut there" },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		if (limits[i].length == length)
			return limits[i].who;
	return NULL;
}

/* Two dots, and after them what a signature's base64url can look like. */
static bool is_whole(const char *token)
{
	const char *dot = strchr(token, '.');
	struct buffer signature;
	bool whole;

	dot = dot ? strchr(dot + 1, '.') : NULL;
	if (!dot || !dot[1])
		return false;
	buffer_init(&signature, WIRE_VERIFY_TOKEN_MAX);
	whole = buffer_put_base64url(&signature, dot + 1, strlen(dot + 1));
	buffer_free(&signature);
	return whole;
}

/* --- auth -------------------------------------------------------------------------- */

/*
 * The token that a module before this one took, or that the user is asked
 * for. Not by pam_get_authtok(3): it calls it an error, in the log, when the
 * user gives none. psql does so each time, to find out whether to ask him.
 */
static int take_token(struct pam_call *call, const char **token)
{
	const struct pam_message question = { PAM_PROMPT_ECHO_OFF, "Password: " };
	const struct pam_message *questions = &question;
	const struct pam_conv *conversation = NULL;
	struct pam_response *answer = NULL;
	int error = pam_get_item(call->pamh, PAM_AUTHTOK, (const void **)token);

	if (error != PAM_SUCCESS || *token)
		return error;
	error = pam_get_item(call->pamh, PAM_CONV, (const void **)&conversation);
	if (error != PAM_SUCCESS || !conversation || !conversation->conv)
		return PAM_AUTHTOK_ERR;
	error = conversation->conv(1, &questions, &answer, conversation->appdata_ptr);
	if (error != PAM_SUCCESS)
		return error == PAM_CONV_AGAIN ? PAM_INCOMPLETE : PAM_AUTHTOK_ERR;
	if (answer && answer->resp) {
		if (*answer->resp)
			error = pam_set_item(call->pamh, PAM_AUTHTOK, answer->resp);
		explicit_bzero(answer->resp, strlen(answer->resp));
		free(answer->resp);
	}
	free(answer);
	if (error != PAM_SUCCESS)
		return error;
	return pam_get_item(call->pamh, PAM_AUTHTOK, (const void **)token);
}

/* What a request that failed means to the application; a token is refused, an account is not. */
static int failure(struct pam_call *call, int error, const char *login, const char *message, const char *hint)
{
	char user[CALL_TEXT], text[CALL_TEXT];

	call_escape(login, user);
	call_escape(message, text);
	switch (error) {
	case KEYFOB_EREFUSED:
	case KEYFOB_ENOCRED:
		pam_syslog(call->pamh, LOG_NOTICE, "service \"%s\", login \"%.32s\": %s%s%s", call->service, user, text,
			hint ? "; its length is one at which tokens are cut: " : "", hint ? hint : "");
		return PAM_AUTH_ERR;
	case KEYFOB_EDENIED:
		pam_syslog(call->pamh, LOG_ERR, "the verifier: %s: see allow= of [service %s]", text, call->service);
		return PAM_CRED_INSUFFICIENT;
	default:
		pam_syslog(call->pamh, LOG_ERR, "service \"%s\", login \"%.32s\": no verdict: %s", call->service, user, text);
		return PAM_AUTHINFO_UNAVAIL;
	}
}

static int accept_verdict(struct pam_call *call, const char *user, struct reader *r)
{
	char login[WIRE_LOGIN_MAX + 1], account[WIRE_LOGIN_MAX + 1], text[CALL_TEXT];
	size_t length;
	int error;

	reader_text(r, account, sizeof(account));
	reader_string(r, &length); /* identity provider */
	reader_string(r, &length); /* subject */
	reader_u64(r);
	if (!reader_done(r) || !*account) {
		pam_syslog(call->pamh, LOG_ERR, "the verifier's answer is malformed: do it and this module have one version?");
		return PAM_AUTHINFO_UNAVAIL;
	}
	/* user is PAM's own text: it goes when PAM_USER is set. */
	strcpy(login, user);
	error = remember_identity(call->pamh, login, account);
	if (error == PAM_SUCCESS && strcmp(login, account) != 0)
		error = pam_set_item(call->pamh, PAM_USER, account);
	if (error == PAM_SUCCESS)
		call_debug(call, "login \"%.32s\" accepted", call_escape(login, text));
	return error;
}

static int ask_verdict(struct pam_call *call, const char *user, const char *token, size_t token_length)
{
	char message[WIRE_TEXT_MAX];
	struct buffer fields, reply;
	struct reader r;
	int error;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, REPLY_MAX);
	buffer_put_text(&fields, call->service);
	buffer_put_text(&fields, user);
	buffer_put_string(&fields, token, token_length);
	call_begin(call);
	error = call_ask(call, &call->verifier, WIRE_VERIFY_TOKEN, &fields, &reply, &r, message);
	buffer_free(&fields);
	if (error == 0)
		error = accept_verdict(call, user, &r);
	else
		error = failure(call, error, user, message, who_cuts_at(token_length));
	buffer_free(&reply);
	return error;
}

int verify_authenticate(struct pam_call *call)
{
	const char *user = NULL, *token = NULL, *cut;
	char text[CALL_TEXT];
	size_t length;
	int error = pam_get_user(call->pamh, &user, NULL);

	remember_identity(call->pamh, NULL, NULL);
	if (error != PAM_SUCCESS)
		return error == PAM_CONV_AGAIN ? PAM_INCOMPLETE : error;
	error = take_token(call, &token);
	if (error != PAM_SUCCESS || !token || !*token) {
		call_debug(call, "no token was given");
		return error == PAM_INCOMPLETE ? error : PAM_AUTHTOK_ERR;
	}
	if (!is_login(user)) {
		pam_syslog(call->pamh, LOG_NOTICE, "a login has 1 to %d bytes", WIRE_LOGIN_MAX);
		return PAM_USER_UNKNOWN;
	}
	if (retrieve_is_ours(call->pamh, token)) {
		pam_syslog(call->pamh, LOG_ERR, "the token comes from retrieve, not from the user: verify must stand before it");
		return PAM_AUTH_ERR;
	}
	length = strlen(token);
	cut = who_cuts_at(length);
	if (cut && !is_whole(token)) {
		pam_syslog(call->pamh, LOG_NOTICE, "login \"%.32s\": TOKEN_TRUNCATED: the token ends in the middle, at %zu bytes: %s",
			call_escape(user, text), length, cut);
		return PAM_AUTH_ERR;
	}
	if (length + strlen(call->service) + strlen(user) > WIRE_MAX - 16) {
		pam_syslog(call->pamh, LOG_NOTICE, "login \"%.32s\": TOKEN_SIZE: a token of %zu bytes is too long to be asked about",
			call_escape(user, text), length);
		return PAM_AUTH_ERR;
	}
	return ask_verdict(call, user, token, length);
}

/* --- account ----------------------------------------------------------------------- */

static int judge_account(struct pam_call *call, const char *user, const struct identity *identity, struct reader *r)
{
	char account[WIRE_LOGIN_MAX + 1], text[CALL_TEXT];

	reader_text(r, account, sizeof(account));
	if (!reader_done(r) || !*account) {
		pam_syslog(call->pamh, LOG_ERR, "the verifier's answer is malformed: do it and this module have one version?");
		return PAM_AUTHINFO_UNAVAIL;
	}
	if (identity && strcmp(account, identity->account) != 0) {
		pam_syslog(call->pamh, LOG_NOTICE, "\"%.32s\" is not that login's account any more", call_escape(user, text));
		return PAM_PERM_DENIED;
	}
	return PAM_SUCCESS;
}

int verify_account(struct pam_call *call)
{
	const struct identity *identity = identity_of(call->pamh);
	const char *user = NULL, *login;
	char message[WIRE_TEXT_MAX], text[CALL_TEXT];
	struct buffer fields, reply;
	struct reader r;
	int error = pam_get_item(call->pamh, PAM_USER, (const void **)&user);

	if (error != PAM_SUCCESS || !is_login(user)) {
		pam_syslog(call->pamh, LOG_NOTICE, "a login has 1 to %d bytes", WIRE_LOGIN_MAX);
		return PAM_USER_UNKNOWN;
	}
	/* Without an auth phase, or when it ran in another process, the login is what PAM_USER says. */
	if (identity && strcmp(identity->account, user) != 0)
		identity = NULL;
	login = identity ? identity->login : user;
	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, REPLY_MAX);
	buffer_put_text(&fields, call->service);
	buffer_put_text(&fields, login);
	buffer_put_text(&fields, identity ? identity->account : "");
	error = call_ask(call, &call->verifier, WIRE_VERIFY_ACCOUNT, &fields, &reply, &r, message);
	buffer_free(&fields);
	if (error == KEYFOB_ENOCRED) {
		pam_syslog(call->pamh, LOG_NOTICE, "service \"%s\" has no database user with the login \"%.32s\"", call->service,
			call_escape(login, text));
		error = PAM_USER_UNKNOWN;
	} else if (error < 0) {
		error = failure(call, error, login, message, NULL);
		if (error == PAM_AUTH_ERR)
			error = PAM_PERM_DENIED;
	} else {
		error = judge_account(call, user, identity, &r);
	}
	buffer_free(&reply);
	return error;
}
