/* SPDX-License-Identifier: Apache-2.0 */
/* A PAM service's file as libpam reads it (pam.conf(5)), with what it includes. */
#ifndef KEYFOB_ADMIN_DOCTOR_PAM_H
#define KEYFOB_ADMIN_DOCTOR_PAM_H

#include <stdbool.h>
#include <stddef.h>

#define PAM_LINES_MAX 256 /* of one service, with what it includes */
#define PAM_FILES_MAX 64 /* that is read for it, each time it is included */
#define PAM_WORD_MAX 128

/* What becomes of the stack when the module says yes, and when it says no. */
enum pam_flow {
	PAM_NEEDED, /* required, requisite: no is no */
	PAM_ENOUGH, /* sufficient: yes is yes, no is nothing */
	PAM_IGNORED, /* optional: no is nothing, and yes ends nothing */
	PAM_INVERTED, /* a no that counts as yes */
};

struct pam_line {
	char type[12]; /* auth, account, session, password */
	char control[PAM_WORD_MAX];
	char module[PAM_WORD_MAX]; /* as it is written */
	char arguments[512];
	char file[PAM_WORD_MAX]; /* below the directory */
	unsigned int number;
	enum pam_flow flow;
};

struct pam_stack {
	struct pam_line line[PAM_LINES_MAX];
	size_t count;
	char fault[256]; /* what could not be read; "" */
};

/* Read directory/service. false: there is no such file. */
bool pam_stack_read(const char *directory, const char *service, struct pam_stack *stack);
/* The file name of its module is this one. */
bool pam_line_is(const struct pam_line *line, const char *module);
/* One of its arguments. */
bool pam_line_has(const struct pam_line *line, const char *argument);

#endif
