/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does a caller run beside the broker, or in a container?
 *
 * Told by the PID namespace: a container has its own, and a hardened service
 * of the host, which has a mount namespace of its own, has not. To compare
 * /proc/PID/ns would take CAP_SYS_PTRACE. What is compared instead is how deep
 * the two processes lie, in the line NSpid (proc(5)) that the kernel shows of
 * a pidfd (pidfd_open(2)): one that the broker's namespace can see and that
 * lies no deeper than the broker is in that namespace.
 *
 * A user namespace is no criterion: the kernel tells the caller's uid as the
 * host knows it, so whoever made himself one is still himself.
 */
#ifndef KEYFOB_CALLER_H
#define KEYFOB_CALLER_H

#include <sys/types.h>

/* Open and read what is out of reach once rights are given up. 0 or a negative errno. */
int caller_start(void);
/* Does caller_where() work here? To be asked under the final restrictions. 0 or a negative errno. */
int caller_probe(void);
/*
 * Where is he who connected to this AF_UNIX socket? pid is what SO_PEERCRED
 * says of him. 0: in the broker's own PID namespace. -EXDEV: not there.
 * -ESRCH: he is gone, and who holds his end now is not known. Another negative
 * errno: it cannot be told, and he must not be believed to be here.
 */
int caller_where(int fd, pid_t pid);

#endif
