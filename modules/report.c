/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/report.h"

#include <stdarg.h>
#include <stdbool.h>

void report_tell(const struct keyfob_request *request, const char *format, ...)
{
	char line[2048];
	va_list args;

	if (!request->tell)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	request->tell(line);
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

/* Names like ManagedIdentityNotFound or required-metadata-header: random text hardly ever comes so. */
static bool is_words(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		bool upper = text[i] >= 'A' && text[i] <= 'Z';

		if (upper && !(i + 2 < length && is_lower(text[i + 1]) && is_lower(text[i + 2])))
			return false;
		if (!upper && !is_lower(text[i]) && text[i] != '_' && text[i] != '-')
			return false;
	}
	return true;
}

static bool is_guid(const char *text, size_t length)
{
	if (length != 36)
		return false;
	for (size_t i = 0; i < length; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !memchr("0123456789abcdefABCDEF", text[i], 22))
			return false;
	}
	return true;
}

/* Bytes of the token-like run that starts text; 0 when it may be shown. */
static size_t secret_run(const char *text, size_t length, size_t *run, enum report_mask mask)
{
	size_t n = 0;

	while (n < length && (is_alnum(text[n]) || (text[n] && strchr("-_~+=", text[n]))))
		n++;
	*run = n;
	if (n < 20 && !(n >= 3 && memcmp(text, "eyJ", 3) == 0))
		return 0;
	if (is_words(text, n) || (mask == REPORT_MASK_KEEP_IDS && is_guid(text, n)))
		return 0;
	while (n < length && (is_alnum(text[n]) || (text[n] && strchr("-_~+=./", text[n]))))
		n++;
	return n;
}

void report_text(char *out, size_t size, const void *data, size_t length, enum report_mask mask)
{
	const char *text = data;
	size_t have = 0, i = 0;

	while (i < length && have + 5 < size) {
		size_t run, secret = secret_run(text + i, length - i, &run, mask);
		unsigned char c = (unsigned char)text[i];

		if (secret) {
			have += (size_t)snprintf(out + have, size - have, "***");
			i += secret;
		} else if (run) {
			run = run < size - have - 5 ? run : size - have - 5;
			memcpy(out + have, text + i, run);
			have += run;
			i += run;
		} else {
			if (c == '\r' || c == '\n' || c == '\t')
				out[have++] = ' ';
			else if (c >= 0x20 && c < 0x7f)
				out[have++] = (char)c;
			else
				have += (size_t)snprintf(out + have, size - have, "\\x%02x", c);
			i++;
		}
	}
	while (have && out[have - 1] == ' ')
		have--;
	out[have] = 0;
}
