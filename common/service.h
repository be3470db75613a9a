/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a daemon has in common with the next: a socket to listen on, and what
 * systemd is told and gives, by its plain protocols (sd_notify(3),
 * sd_listen_fds(3)) and without its library. Without systemd the latter does
 * nothing.
 */
#ifndef KEYFOB_SERVICE_H
#define KEYFOB_SERVICE_H

#include <stdbool.h>

struct event_base;
struct passwd;

/*
 * First of all: a descriptor that is closed at start would be some socket's
 * later, and get what is meant for a log.
 */
void service_stdio(void);
/* Room for as many descriptors as a crowd of clients takes, or as many as there may be. */
void service_files(void);

/* The system user as whom a daemon runs, whoever starts it: root, or that user. Returns false with a line in the log. */
bool service_user(const char *name, struct passwd *user);
/* Become that user, as sandbox_become() has it. Returns false with a line in the log. */
bool service_become(const struct passwd *user);

/* A loop; the environment of whoever starts the daemon does not choose how it waits. NULL when memory ran out. */
struct event_base *service_base(void);

/* Connect to the notification socket, before the right to do so is given up. */
void service_open(void);
void service_ready(void);
void service_reloading(void);
void service_stopping(void);
/*
 * Where the supervisor wants signs of life (WATCHDOG_USEC), give them while
 * this loop turns, twice as often as he asks. Nothing wakes up otherwise.
 * Returns false when there is no memory for it.
 */
bool service_watch(struct event_base *base);
void service_watch_stop(void);

/*
 * A listening AF_UNIX SOCK_SEQPACKET socket at path, mode 0666, non-blocking:
 * the one handed over at start (socket activation), else a new one, for which
 * the directory must be the caller's own and not writable by others.
 * Returns -1 with a line in the log.
 */
int service_listen(const char *path);

/*
 * Connect to another daemon's socket without waiting: a descriptor that is
 * non-blocking, or a negative errno, -EPERM when it is a stranger's: neither
 * root's nor this process's own.
 */
int service_reach(const char *path);

/*
 * Where the kernel cannot refuse descriptors (before Linux 6.16), one that a
 * client sends may be a socket that lingers when it is closed, as long as he
 * likes. A signal (SIGALRM) ends that wait, so have it come while a client's
 * frames are taken or dropped: service_guard(true), recvmsg(2) or close(2),
 * service_guard(false).
 */
void service_guard_listener(int listener);
void service_guard(bool on);

#endif
