/* SPDX-License-Identifier: Apache-2.0 */
/* The PAM stacks in which pam_keyfob stands, or should. */
#include "cli/admin-doctor-pam.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/admin-doctor.h"

#define PAM_DIR "/etc/pam.d"
#define MODULE "pam_keyfob.so"
#define SERVICES_MAX 512

static void place(const struct pam_line *line, char *out, size_t size)
{
	snprintf(out, size, "%s%s:%u", line->file[0] == '/' ? "" : PAM_DIR "/", line->file, line->number);
}

static bool is_type(const struct pam_line *line, const char *type)
{
	return strcasecmp(line->type, type) == 0;
}

static bool is_keyfob(const struct pam_line *line, const char *type)
{
	return is_type(line, type) && pam_line_is(line, MODULE);
}

/* The first line of pam_keyfob's of this type, with this mode (NULL: any). */
static const struct pam_line *find(const struct pam_stack *s, const char *type, const char *mode)
{
	for (size_t i = 0; i < s->count; i++)
		if (is_keyfob(&s->line[i], type) && (!mode || pam_line_has(&s->line[i], mode)))
			return &s->line[i];
	return NULL;
}

/* A module named by a path is there. One without is looked for where libpam was told to. */
static void check_module(struct doctor *d, const char *service, const struct pam_line *line)
{
	char where[2 * PAM_WORD_MAX];

	if (line->module[0] != '/' || access(line->module, F_OK) == 0)
		return;
	place(line, where, sizeof(where));
	doctor_error(d, service, "%s: %s: %s: every login fails", where, line->module, strerror(errno));
	doctor_fix(d, "name the path where pam_keyfob.so lies (pam_keyfob(8))");
}

/* --- auth ... verify ---------------------------------------------------------------- */

/* The next auth line of this module after it. */
static const struct pam_line *next_auth(const struct pam_stack *s, const struct pam_line *line, const char *module)
{
	for (const struct pam_line *at = line + 1; at < s->line + s->count; at++)
		if (is_type(at, "auth") && pam_line_is(at, module))
			return at;
	return NULL;
}

/* The pam_permit.so that lets in whom it refused: no other line after it can still say no. */
static const struct pam_line *find_permit(const struct pam_stack *s, const struct pam_line *verify)
{
	for (const struct pam_line *at = verify + 1; at < s->line + s->count; at++)
		if (is_type(at, "auth") && at->flow == PAM_NEEDED && !pam_line_is(at, "pam_permit.so"))
			return NULL;
	return next_auth(s, verify, "pam_permit.so");
}

static void check_flow(struct doctor *d, const char *service, const struct pam_stack *s, const struct pam_line *verify)
{
	const struct pam_line *permit = find_permit(s, verify);
	char where[2 * PAM_WORD_MAX];

	place(verify, where, sizeof(where));
	if (verify->flow == PAM_IGNORED || verify->flow == PAM_INVERTED) {
		doctor_error(d, service, "%s: %s: a token that is refused does not end the login", where, verify->control);
		doctor_fix(d, "auth required %s %s", verify->module, verify->arguments);
	} else if (verify->flow == PAM_ENOUGH && permit) {
		doctor_error(d, service, "%s: %s, and pam_permit.so after it: a token that is refused logs in", where, verify->control);
		doctor_fix(d, "pam_deny.so in place of pam_permit.so in line %u of %s", permit->number, permit->file);
	} else if (verify->flow == PAM_ENOUGH && next_auth(s, verify, "pam_unix.so")) {
		doctor_warning(d, service, "%s: %s: who has no good token may still log in with a password", where, verify->control);
		doctor_fix(d, "auth required %s %s, where tokens alone are wanted", verify->module, verify->arguments);
	} else {
		doctor_ok(d, service, "%s: verify, %s", where, verify->control);
	}
}

static void check_before_verify(struct doctor *d, const char *service, const struct pam_stack *s, const struct pam_line *verify)
{
	char where[2 * PAM_WORD_MAX];

	for (const struct pam_line *at = s->line; at < verify; at++) {
		if (!is_type(at, "auth"))
			continue;
		place(at, where, sizeof(where));
		if (pam_line_is(at, "pam_exec.so") && pam_line_has(at, "expose_authtok")) {
			doctor_warning(d, service, "%s: pam_exec hands the token, cut to 511 bytes, to a program", where);
			doctor_fix(d, "put that line after pam_keyfob's, or take expose_authtok away");
		} else if (at->flow == PAM_NEEDED && pam_line_is(at, "pam_unix.so")) {
			doctor_error(d, service, "%s: pam_unix refuses what is a token before pam_keyfob sees it", where);
			doctor_fix(d, "put pam_keyfob's auth line first, or make this one sufficient");
		}
	}
}

static void check_verify(struct doctor *d, const char *service, const struct pam_stack *s, const struct pam_line *verify)
{
	const struct pam_line *account = find(s, "account", NULL);
	char where[2 * PAM_WORD_MAX];

	check_before_verify(d, service, s, verify);
	check_flow(d, service, s, verify);
	if (!account) {
		doctor_error(d, service,
			"no account line of pam_keyfob: who logs in some other way than by a token is not asked whether he still may");
		doctor_fix(d, "account required %s %s", verify->module, verify->arguments);
	} else if (account->flow == PAM_IGNORED || account->flow == PAM_INVERTED) {
		place(account, where, sizeof(where));
		doctor_error(d, service, "%s: %s: who may log in no longer still does", where, account->control);
		doctor_fix(d, "account required %s %s", account->module, account->arguments);
	}
}

/* --- auth ... retrieve, session ------------------------------------------------------- */

/* pam_keyfob(8): it authenticates nobody, and goes on where an earlier module said no. */
static void check_retrieve(struct doctor *d, const char *service, const struct pam_stack *s, const struct pam_line *retrieve)
{
	const struct pam_line *before = NULL;
	char where[2 * PAM_WORD_MAX];

	for (const struct pam_line *at = s->line; at < retrieve; at++)
		if (is_type(at, "auth") && !pam_line_is(at, MODULE) && at->flow == PAM_NEEDED)
			before = at;
	place(retrieve, where, sizeof(where));
	if (!before) {
		doctor_error(d, service,
			"%s: retrieve before any module that authenticates: it hands a token to who has not said who he is", where);
		doctor_fix(d, "auth requisite pam_unix.so, before that line");
	} else if (strcasecmp(before->control, "requisite") != 0 && !strstr(before->control, "=die")) {
		place(before, where, sizeof(where));
		doctor_warning(d, service, "%s: %s: after a no of this module retrieve goes on all the same", where, before->control);
		doctor_fix(d, "auth requisite %s %s", before->module, before->arguments);
	} else if (retrieve->flow != PAM_NEEDED) {
		doctor_error(d, service, "%s: %s: where it fails, the modules after it get the user's password", where, retrieve->control);
		doctor_fix(d, "auth required %s %s", retrieve->module, retrieve->arguments);
	} else {
		doctor_ok(d, service, "%s: retrieve, after %s", where, before->module);
	}
}

static void check_session(struct doctor *d, const char *service, const struct pam_stack *s, const struct pam_line *session)
{
	const struct pam_line *keyinit = NULL;
	char where[2 * PAM_WORD_MAX];

	for (size_t i = 0; i < s->count && !keyinit; i++)
		if (is_type(&s->line[i], "session") && pam_line_is(&s->line[i], "pam_keyinit.so"))
			keyinit = &s->line[i];
	place(session, where, sizeof(where));
	if (!keyinit || keyinit > session) {
		doctor_error(
			d, service, "%s: no pam_keyinit.so before it: the session has no keyring of its own to link tokens into", where);
		doctor_fix(d, "session optional pam_keyinit.so force revoke, before that line");
	} else if (!pam_line_has(keyinit, "force")) {
		place(keyinit, where, sizeof(where));
		doctor_warning(d, service, "%s: without force a keyring that the caller had is kept, and nothing is linked", where);
		doctor_fix(d, "session optional pam_keyinit.so force revoke");
	} else {
		doctor_ok(d, service, "%s: session, after pam_keyinit", where);
	}
}

/* --- services ------------------------------------------------------------------------- */

static void check_stack(struct doctor *d, const char *service, const struct pam_stack *s)
{
	const struct pam_line *verify = find(s, "auth", "verify"), *retrieve = find(s, "auth", "retrieve"),
			      *session = find(s, "session", NULL);
	struct stat st;
	char path[PATH_MAX];

	if (s->fault[0])
		doctor_warning(d, service, "%s", s->fault);
	for (size_t i = 0; i < s->count; i++)
		if (pam_line_is(&s->line[i], MODULE))
			check_module(d, service, &s->line[i]);
	if (verify)
		check_verify(d, service, s, verify);
	if (retrieve)
		check_retrieve(d, service, s, retrieve);
	if (session)
		check_session(d, service, s, session);
	snprintf(path, sizeof(path), PAM_DIR "/%s", service);
	if (stat(path, &st) == 0 && (st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IWOTH))) {
		doctor_error(d, service, "%s: others than root may write it, and so let in whom they like", path);
		doctor_fix(d, "chown root %s; chmod go-w %s", path, path);
	}
}

static bool names_keyfob(const struct pam_stack *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (pam_line_is(&s->line[i], MODULE))
			return true;
	return false;
}

/* Whom the configuration lets log in there, though the service never asks. */
static void check_silent(struct doctor *d, const char *service, bool there)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PAM_DIR "/%s", service);
	doctor_error(d, service,
		there ? "%s: pam_keyfob.so does not verify there, so no token is taken" : "%s: there is none, so no token is taken", path);
	doctor_fix(d, "two lines: auth required pam_keyfob.so verify; account required pam_keyfob.so verify");
}

/* Is a service with database users asked about under another name, service=NAME on another service's line? */
static bool is_alias(const char *service, struct pam_stack *s)
{
	DIR *dir = opendir(PAM_DIR);
	char option[WIRE_LOGIN_MAX + 16];
	bool found = false;
	struct dirent *e;

	snprintf(option, sizeof(option), "service=%.*s", WIRE_LOGIN_MAX, service);
	while (dir && !found && (e = readdir(dir)))
		if (e->d_name[0] != '.' && pam_stack_read(PAM_DIR, e->d_name, s))
			found = find(s, "auth", option) != NULL;
	if (dir)
		closedir(dir);
	return found;
}

static void check_configured(struct doctor *d, struct pam_stack *s)
{
	const struct federation *f = &d->admin.now;

	for (size_t i = 0; i < f->user_count; i++) {
		const char *service = f->users[i].service;
		bool there;

		if (!doctor_is_first(f, i))
			continue;
		there = pam_stack_read(PAM_DIR, service, s);
		if ((!there || !find(s, "auth", "verify")) && !is_alias(service, s))
			check_silent(d, service, there);
	}
}

void doctor_pam(struct doctor *d)
{
	struct pam_stack *s = malloc(sizeof(*s));
	struct dirent **entries = NULL;
	int count = s ? scandir(PAM_DIR, &entries, NULL, alphasort) : -1;

	for (int i = 0; i < count; i++) {
		if (i < SERVICES_MAX && entries[i]->d_name[0] != '.' && pam_stack_read(PAM_DIR, entries[i]->d_name, s) && names_keyfob(s))
			check_stack(d, entries[i]->d_name, s);
		free(entries[i]);
	}
	if (s && d->configured)
		check_configured(d, s);
	d->failed |= !s;
	free(entries);
	free(s);
}
