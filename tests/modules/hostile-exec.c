/* SPDX-License-Identifier: Apache-2.0 */
#define HOSTILE_NAME "hostile-exec"
#define HOSTILE_SANDBOX KEYFOB_SANDBOX_EXEC
#include "tests/modules/hostile.c"
