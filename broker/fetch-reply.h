/* SPDX-License-Identifier: Apache-2.0 */
/* What keyfob-fetch makes of a module's reply: checked, put into words and sent. */
#ifndef KEYFOB_FETCH_REPLY_H
#define KEYFOB_FETCH_REPLY_H

#include "common/wire.h"
#include "modules/module.h"

/* Make it one line of printable ASCII, whatever came from outside. */
void fetch_printable(char *text);
void fetch_fail(struct wire_result *result, enum keyfob_class class, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Fill in the result: the module's failure, or what is wrong with its token or document, or all that is to be known of it. */
void fetch_judge(enum keyfob_kind kind, unsigned int ttl, struct keyfob_reply *reply, struct wire_result *result);
/* Send the result, the token in it or the document before it. Returns 0 or a negative errno. */
int fetch_send(int channel, enum keyfob_kind kind, const struct wire_result *result, const struct keyfob_reply *reply);
void fetch_wipe(struct keyfob_reply *reply);

#endif
