/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/expiry.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/buffer.h"

#define LAST_TIME 253402300799LL /* 9999-12-31T23:59:59Z */
#define TEXT_MAX 64
#define CLAIMS_MAX 32768

static bool from_seconds(double seconds, time_t now, enum expiry_form form, time_t *expires)
{
	double last = form == EXPIRY_RELATIVE ? (double)INT32_MAX : (double)LAST_TIME;

	if (!(seconds >= 0 && seconds < last + 1))
		return false;
	*expires = (time_t)seconds + (form == EXPIRY_RELATIVE ? now : 0);
	return true;
}

/* A cursor over text; each step fails for good once one did. */
struct scan {
	const char *at;
	bool failed;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int scan_digits(struct scan *s, int least, int most)
{
	int value = 0, count = 0;

	while (!s->failed && count < most && is_digit(*s->at)) {
		value = value * 10 + (*s->at++ - '0');
		count++;
	}
	if (count < least)
		s->failed = true;
	return value;
}

static bool scan_try(struct scan *s, char c)
{
	if (s->failed || *s->at != c)
		return false;
	s->at++;
	return true;
}

static void scan_char(struct scan *s, char c)
{
	if (!scan_try(s, c))
		s->failed = true;
}

static bool scan_word(struct scan *s, const char *word)
{
	size_t length = strlen(word);

	if (s->failed || strncasecmp(s->at, word, length) != 0)
		return false;
	s->at += length;
	return true;
}

/* hh:mm:ss[.fraction] */
static void scan_time(struct scan *s, struct tm *tm, int least)
{
	tm->tm_hour = scan_digits(s, least, 2);
	scan_char(s, ':');
	tm->tm_min = scan_digits(s, 2, 2);
	scan_char(s, ':');
	tm->tm_sec = scan_digits(s, 2, 2);
	if (scan_try(s, '.'))
		scan_digits(s, 1, 9);
}

/* Z, GMT, UTC, +hh:mm, +hhmm or nothing: seconds east of UTC. */
static long scan_zone(struct scan *s, bool *zoned)
{
	int sign, hours, minutes;

	while (scan_try(s, ' '))
		;
	*zoned = true;
	if (scan_word(s, "Z") || scan_word(s, "GMT") || scan_word(s, "UTC"))
		return 0;
	sign = scan_try(s, '+') ? 1 : scan_try(s, '-') ? -1 : 0;
	*zoned = sign != 0;
	if (!sign)
		return 0;
	hours = scan_digits(s, 2, 2);
	scan_try(s, ':');
	minutes = scan_digits(s, 2, 2);
	if (hours > 23 || minutes > 59)
		s->failed = true;
	return sign * (hours * 3600L + minutes * 60L);
}

/* 2030-01-02T03:04:05.678+01:00, also with a blank for the T or with no zone */
static long scan_iso(struct scan *s, struct tm *tm, bool *zoned)
{
	tm->tm_year = scan_digits(s, 4, 4) - 1900;
	scan_char(s, '-');
	tm->tm_mon = scan_digits(s, 2, 2) - 1;
	scan_char(s, '-');
	tm->tm_mday = scan_digits(s, 2, 2);
	if (!scan_try(s, 'T') && !scan_try(s, 't'))
		scan_char(s, ' ');
	scan_time(s, tm, 2);
	return scan_zone(s, zoned);
}

/* 1/16/2020 5:24:12 AM +00:00 and 06/19/2019 23:42:01 +00:00 */
static long scan_slashed(struct scan *s, struct tm *tm, bool *zoned)
{
	bool am, pm;

	tm->tm_mon = scan_digits(s, 1, 2) - 1;
	scan_char(s, '/');
	tm->tm_mday = scan_digits(s, 1, 2);
	scan_char(s, '/');
	tm->tm_year = scan_digits(s, 4, 4) - 1900;
	scan_char(s, ' ');
	scan_time(s, tm, 1);
	scan_try(s, ' ');
	am = scan_word(s, "AM");
	pm = !am && scan_word(s, "PM");
	if (am || pm) {
		if (tm->tm_hour < 1 || tm->tm_hour > 12)
			s->failed = true;
		tm->tm_hour = tm->tm_hour % 12 + (pm ? 12 : 0);
	}
	return scan_zone(s, zoned);
}

/* Thu, 02 Jan 2030 03:04:05 GMT */
static long scan_rfc1123(struct scan *s, struct tm *tm, bool *zoned)
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	char day[4] = "", month[4] = "";
	const char *found;

	for (int i = 0; i < 7 && !day[0]; i++)
		if (strncmp(s->at, days + 3 * i, 3) == 0)
			memcpy(day, s->at, 3);
	if (!day[0]) {
		s->failed = true;
		return 0;
	}
	s->at += 3;
	scan_char(s, ',');
	scan_char(s, ' ');
	tm->tm_mday = scan_digits(s, 1, 2);
	scan_char(s, ' ');
	for (int i = 0; i < 3 && !s->failed && *s->at; i++)
		month[i] = *s->at++;
	found = strlen(month) == 3 ? strstr(months, month) : NULL;
	if (!found || (found - months) % 3)
		s->failed = true;
	else
		tm->tm_mon = (int)(found - months) / 3;
	scan_char(s, ' ');
	tm->tm_year = scan_digits(s, 4, 4) - 1900;
	scan_char(s, ' ');
	scan_time(s, tm, 2);
	return scan_zone(s, zoned);
}

bool expiry_parse_date(const char *text, time_t *when, bool *zoned)
{
	struct scan s = { .at = text };
	struct tm tm = { 0 }, back;
	bool has_zone = false;
	long offset;
	time_t t;

	if (!is_digit(text[0]))
		offset = scan_rfc1123(&s, &tm, &has_zone);
	else if (memchr(text, '/', strnlen(text, 3)))
		offset = scan_slashed(&s, &tm, &has_zone);
	else
		offset = scan_iso(&s, &tm, &has_zone);
	if (s.failed || *s.at || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return false;
	if (tm.tm_sec == 60)
		tm.tm_sec = 59;
	back = tm;
	t = timegm(&back);
	/* timegm turns 31 April into 1 May; no provider means that. */
	if (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon)
		return false;
	t -= offset;
	if (t < 0 || t > LAST_TIME)
		return false;
	*when = t;
	if (zoned)
		*zoned = has_zone;
	return true;
}

bool expiry_parse_text(const char *text, time_t now, enum expiry_form form, time_t *expires)
{
	size_t digits = strspn(text, "0123456789"), length = strnlen(text, TEXT_MAX);
	size_t fraction = 0;

	if (length == 0 || length == TEXT_MAX)
		return false;
	if (digits && text[digits] == '.')
		fraction = strspn(text + digits + 1, "0123456789");
	if (!digits || text[digits + (fraction ? fraction + 1 : 0)])
		return expiry_parse_date(text, expires, NULL);
	if (digits > 15)
		return false;
	return from_seconds((double)strtoll(text, NULL, 10), now, form, expires);
}

bool expiry_parse_json(const json_t *value, time_t now, enum expiry_form form, time_t *expires)
{
	if (json_is_number(value))
		return from_seconds(json_number_value(value), now, form, expires);
	if (json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value))
		return expiry_parse_text(json_string_value(value), now, form, expires);
	return false;
}

static void append_printable(char *out, size_t size, const json_t *value)
{
	const char *text = json_string_value(value);
	size_t have = strlen(out);

	for (; text && *text && have + 1 < size; text++)
		out[have++] = *text >= 0x20 && *text < 0x7f ? *text : '?';
	out[have] = 0;
}

static void read_audience(char *out, size_t size, const json_t *value)
{
	json_t *separator = json_string(", "), *item;
	size_t i;

	append_printable(out, size, value);
	json_array_foreach(value, i, item)
	{
		if (i > 0)
			append_printable(out, size, separator);
		append_printable(out, size, item);
	}
	json_decref(separator);
}

static json_t *decode_object(const char *text, size_t length)
{
	json_t *object = NULL;
	struct buffer b;

	buffer_init(&b, CLAIMS_MAX);
	if (buffer_put_base64url(&b, text, length))
		object = json_loadb((const char *)b.data, b.length, JSON_REJECT_DUPLICATES, NULL);
	buffer_free(&b);
	if (object && !json_is_object(object)) {
		json_decref(object);
		object = NULL;
	}
	return object;
}

bool expiry_jwt_claims(const char *token, size_t length, struct expiry_claims *claims)
{
	const char *end = token + length, *payload, *signature;
	json_t *header = NULL, *object = NULL;
	bool ok = false;

	memset(claims, 0, sizeof(*claims));
	payload = memchr(token, '.', length);
	signature = payload ? memchr(payload + 1, '.', (size_t)(end - payload - 1)) : NULL;
	if (!signature || memchr(signature + 1, '.', (size_t)(end - signature - 1)))
		return false;
	payload++;
	header = decode_object(token, (size_t)(payload - 1 - token));
	/* The signature is what makes a token worth stealing, and it is never decoded here. */
	object = header ? decode_object(payload, (size_t)(signature - payload)) : NULL;
	if (!object || !json_is_string(json_object_get(header, "alg")))
		goto out;
	if (json_is_number(json_object_get(object, "exp")))
		claims->has_expires = expiry_parse_json(json_object_get(object, "exp"), 0, EXPIRY_ABSOLUTE, &claims->expires);
	if (json_is_number(json_object_get(object, "iat")))
		expiry_parse_json(json_object_get(object, "iat"), 0, EXPIRY_ABSOLUTE, &claims->issued);
	append_printable(claims->issuer, sizeof(claims->issuer), json_object_get(object, "iss"));
	append_printable(claims->subject, sizeof(claims->subject), json_object_get(object, "sub"));
	read_audience(claims->audience, sizeof(claims->audience), json_object_get(object, "aud"));
	ok = true;
out:
	json_decref(header);
	json_decref(object);
	return ok;
}
