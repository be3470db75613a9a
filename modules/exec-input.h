/* SPDX-License-Identifier: Apache-2.0 */
/* What a token program finds on its standard input. */
#ifndef KEYFOB_EXEC_INPUT_H
#define KEYFOB_EXEC_INPUT_H

/*
 * A descriptor, close-on-exec, to read it from; -1 and errno on failure.
 * format=docker gives the resource as the server's URL on one line, format=git
 * the description of git-credential(1) made of it; all others get nothing.
 */
int exec_input_open(const char *format, const char *resource);

#endif
