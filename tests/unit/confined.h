/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process can still do once it is confined: each test is a function
 * that confines itself in a child and returns 0, or 1 after the line that
 * tells what did not hold.
 */
#ifndef KEYFOB_TEST_CONFINED_H
#define KEYFOB_TEST_CONFINED_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char why[256]; /* what confining said */

#define need(expression) \
	do { \
		errno = 0; \
		if (!(expression)) { \
			dprintf(2, "%s:%d: %s: errno %s, why \"%s\"\n", __FILE__, __LINE__, #expression, strerrorname_np(errno), why); \
			return 1; \
		} \
	} while (0)

/* The call fails, and because it is not allowed. */
#define refused(call) need((long)(call) < 0 && (errno == EPERM || errno == EACCES))

/* Returns the child's wait status, or -1. */
static inline int in_child(int (*test)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(test());
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

#endif
