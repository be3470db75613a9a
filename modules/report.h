/* SPDX-License-Identifier: Apache-2.0 */
/* What a module may say of an exchange: one line, printable, and nothing that looks like a secret. */
#ifndef KEYFOB_REPORT_H
#define KEYFOB_REPORT_H

#include <stddef.h>

#include "modules/module.h"

enum report_mask {
	REPORT_MASK_ALL,
	REPORT_MASK_KEEP_IDS, /* for vendors whose texts name things by GUID */
};

/*
 * Make text from outside fit to be shown: one line of printable ASCII, with
 * whatever looks like a token or secret (20 characters or more that make no
 * words) replaced by "***". Always terminated.
 */
void report_text(char *out, size_t size, const void *text, size_t length, enum report_mask mask);
/* Tell one line to whoever watches. */
void report_tell(const struct keyfob_request *request, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
