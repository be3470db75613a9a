/* SPDX-License-Identifier: Apache-2.0 */
/* What a fetch may still do once its sandbox is up. */
#ifndef KEYFOB_FETCH_SANDBOX_H
#define KEYFOB_FETCH_SANDBOX_H

#include <stddef.h>

#include "common/sandbox.h"
#include "modules/module.h"

/*
 * Take from this process, for good, all that a fetch of this kind does not
 * need. module_dir and the NULL-terminated list of paths (NULL: none) stay
 * readable as far as file permissions allow; paths that do not exist are
 * passed over. To be called before any thread is made.
 * Returns 0 or a negative errno; the process must then not go on.
 */
int fetch_sandbox_enter(enum keyfob_sandbox kind, const char *module_dir, const char *const *readable, char *why, size_t why_size);

#endif
