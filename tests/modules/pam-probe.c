/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PAM module for auth lines that does as its options say, in their order:
 * ask (for the password), show=FILE (writes PAM_AUTHTOK there), result=N.
 */
#include <fcntl.h>
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRY __attribute__((visibility("default")))

ENTRY int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	const char *token = NULL;
	int fd, result = PAM_SUCCESS;

	(void)flags;
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "ask") == 0) {
			if (pam_get_authtok(pamh, PAM_AUTHTOK, &token, NULL) != PAM_SUCCESS)
				return PAM_AUTHTOK_ERR;
		} else if (strncmp(argv[i], "show=", 5) == 0) {
			if (pam_get_item(pamh, PAM_AUTHTOK, (const void **)&token) != PAM_SUCCESS)
				return PAM_SYSTEM_ERR;
			fd = open(argv[i] + 5, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
			if (fd < 0 || (token && write(fd, token, strlen(token)) < 0) || close(fd) < 0)
				return PAM_SYSTEM_ERR;
		} else if (strncmp(argv[i], "result=", 7) == 0) {
			result = atoi(argv[i] + 7);
		}
	}
	return result;
}

ENTRY int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh;
	(void)flags;
	(void)argc;
	(void)argv;
	return PAM_SUCCESS;
}
