/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How keyfobd and its launcher give up what they do not need.
 *
 * Both calls bind the calling thread and what it makes later, so they must
 * come before any thread is made (they fail with EBUSY otherwise). There is
 * no way back. A process that is not root only loses what it has; that, or a
 * kernel that knows less, is told in a note: the call returns 0 and why holds
 * one line. Without a note why is "". On failure (a negative errno) why says
 * what could not be done, and the process must not go on.
 */
#ifndef KEYFOB_CONFINE_H
#define KEYFOB_CONFINE_H

#include <stddef.h>

/*
 * For keyfobd, once its sockets are bound, its launcher is forked and its
 * configuration is read. What works afterwards: an event loop, threads,
 * AF_UNIX sockets that are there (no new one, no connect: to a daemon that
 * trusts uid 0 a connection is as good as root), keyctl and add_key with CAP_SETUID, and
 * opening files below config_dir and in its own /proc/self/fdinfo for reading. Anything else that must be read
 * later (/proc/key-users) has to be open already, and an abstract socket of
 * another process (a NOTIFY_SOCKET that begins with '@') connected already.
 */
int confine_broker(const char *config_dir, char *why, size_t why_size);

/* For the launcher: CAP_SETUID, CAP_SETGID and CAP_KILL remain; its children may exec. */
int confine_launcher(char *why, size_t why_size);

#endif
