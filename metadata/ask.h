/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the broker, on behalf of a user, without waiting for the answers. */
#ifndef KEYFOB_METADATA_ASK_H
#define KEYFOB_METADATA_ASK_H

#include <event2/event.h>
#include <sys/types.h>

#include "metadata/service.h"

struct ask;
/* reply lives as long as the call; the ask is gone when it returns. */
typedef void ask_done(void *context, const struct reply *reply);

/*
 * Ask the broker at that socket. done is called once, later, unless the ask is
 * cancelled before. NULL when memory ran out. The question may go at once; the
 * path must stay.
 */
struct ask *ask_begin(struct event_base *base, const char *broker, uid_t uid, const struct question *q, ask_done *done, void *context);
/* Nobody waits for it any more: the broker is told by the end of the connection. */
void ask_cancel(struct ask *a);

#endif
