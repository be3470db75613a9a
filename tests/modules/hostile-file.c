/* SPDX-License-Identifier: Apache-2.0 */
#define HOSTILE_NAME "hostile-file"
#define HOSTILE_SANDBOX KEYFOB_SANDBOX_FILE
#include "tests/modules/hostile.c"
