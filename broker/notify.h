/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What systemd is told and gives, by its plain protocols (sd_notify(3),
 * sd_listen_fds(3)) and without its library. Without systemd all of it does
 * nothing.
 */
#ifndef KEYFOB_NOTIFY_H
#define KEYFOB_NOTIFY_H

/* Connect to the notification socket, before the right to do so is given up. */
void notify_open(void);
void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);
/* A listening SOCK_SEQPACKET socket handed over at start, bound to path; -1: none. */
int notify_inherited_socket(const char *path);

#endif
