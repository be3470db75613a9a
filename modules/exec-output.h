/* SPDX-License-Identifier: Apache-2.0 */
/* What a token program prints: the conventions that callback-exec understands. */
#ifndef KEYFOB_EXEC_OUTPUT_H
#define KEYFOB_EXEC_OUTPUT_H

#include <stddef.h>
#include <time.h>

#include "modules/module.h"

/*
 * Read the standard output of a program that ended well into reply: token,
 * expiry and class. format is one of
 *   raw     the token and nothing else
 *   google  executable-sourced credentials, version 1
 *   k8s     ExecCredential of client.authentication.k8s.io, v1 or v1beta1
 *   oauth   an OAuth 2.0 token reply, or what `az account get-access-token` prints
 *   spire   what `spire-agent api fetch jwt -output json` prints; one SVID
 *   docker  what a docker credential helper's get prints: the Secret
 *   git     key=value lines of git-credential(1): the password
 *   auto    whichever of these it is; raw only when it is a JWT
 * kind decides between the access and the ID token of an oauth reply.
 */
void exec_output_read(const char *data, size_t length, const char *format, enum keyfob_kind kind, time_t now, struct keyfob_reply *reply);

#endif
