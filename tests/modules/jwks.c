/* SPDX-License-Identifier: Apache-2.0 */
#define FORGER_NAME "jwks"
#define FORGER_KIND KEYFOB_KIND_DOCUMENT

#include "tests/modules/forger.c"
