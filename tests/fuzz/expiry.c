/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every spelling of a token's expiry, as JSON and as text.
 *
 * links: modules/expiry common/buffer
 * libs: jansson
 * parser: modules/expiry
 */
#include "modules/expiry.h"
#include "tests/fuzz/fuzz.h"

#define NOW 1800000000
#define LAST_SECOND 253402300799 /* of the year 9999 */
#define UNTOUCHED (-7)

static void check(bool good, time_t expires, enum expiry_form form)
{
	time_t most = form == EXPIRY_RELATIVE ? LAST_SECOND + NOW : LAST_SECOND;

	fuzz_require(good ? expires >= 0 && expires <= most : expires == UNTOUCHED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum expiry_form forms[] = { EXPIRY_RELATIVE, EXPIRY_ABSOLUTE };
	json_t *value = size <= 4096 ? json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL) : NULL;
	char *text = fuzz_take_text(&data, &size, 0);

	for (size_t i = 0; i < 2; i++) {
		time_t expires = UNTOUCHED;
		bool good = expiry_parse_text(text, NOW, forms[i], &expires);

		check(good, expires, forms[i]);
		expires = UNTOUCHED;
		good = expiry_parse_json(value, NOW, forms[i], &expires);
		check(good, expires, forms[i]);
	}
	free(text);
	json_decref(value);
	return 0;
}

void fuzz_seeds(void)
{
	static const char *const seeds[] = { "3599", "\"3599\"", "3599.5", "1.9e9", "-1", "null", "true", "2031-11-24T10:00:00Z",
		"\"2031-11-24T10:00:00.123456+05:30\"", "2031-11-24 10:00:00", "2031-11-24 10:00:00.000000",
		"Wed, 24 Nov 2032 10:00:00 GMT", "11/24/2031 5:06:07 PM +00:00", "11/24/2031 17:06:07 +00:00", "\"0\"", "253402300799",
		"9999-12-31T23:59:59Z", "2147483647", "2031-02-29T00:00:60Z" };

	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		fuzz_seed(seeds[i], strlen(seeds[i]));
}
