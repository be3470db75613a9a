/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>
#include <wctype.h>

#define INDENT 13 /* columns before the text, two of them blank and ten for a label */
#define BAR_WIDE 20
#define BAR_NARROW 10
#define NARROW 72 /* columns */
#define GAP 2 /* between two pieces of a line */
#define UUID 36 /* characters */
#define UUID_SHOWN 4 /* of these, where it is cut short */

enum colour { PLAIN, GREEN, YELLOW, RED, BOLD };

static const char *const escapes[] = { "", "\033[32m", "\033[33m", "\033[31m", "\033[1m" };

static void colour_on(struct cli_screen *s, enum colour colour)
{
	if (s->colour && colour != PLAIN)
		buffer_printf(s->out, "%s", escapes[colour]);
}

static void colour_off(struct cli_screen *s, enum colour colour)
{
	if (s->colour && colour != PLAIN)
		buffer_printf(s->out, "\033[0m");
}

static void end_line(struct cli_screen *s)
{
	while (!s->out->failed && s->out->length && s->out->data[s->out->length - 1] == ' ')
		s->out->length--;
	buffer_put(s->out, "\n", 1);
	s->column = 0;
}

static void indent(struct cli_screen *s, const char *label, enum colour colour)
{
	if (s->column)
		end_line(s);
	buffer_printf(s->out, "  ");
	colour_on(s, colour);
	for (; (int)strlen(label) > s->width - 2; label += s->width - 2)
		buffer_printf(s->out, "%.*s\n  ", s->width - 2, label);
	buffer_printf(s->out, "%s", label);
	colour_off(s, colour);
	s->column = 2 + (int)strlen(label);
	/* A label that is too long has the line for itself. */
	if (s->column >= INDENT)
		end_line(s);
	buffer_printf(s->out, "%*s", INDENT - s->column, "");
	s->column = INDENT;
	s->lines++;
}

/* Room for n columns, on this line or on the next. */
static void make_room(struct cli_screen *s, int n, int gap)
{
	if (s->column > INDENT && s->column + gap + n > s->width)
		indent(s, "", PLAIN);
	if (s->column > INDENT) {
		buffer_printf(s->out, "%*s", gap, "");
		s->column += gap;
	}
}

/* The bytes of a character of the locale, or 0. One without a column may hide or turn around what others say. */
static size_t printable(const char *text, int *columns)
{
	mbstate_t state = { 0 };
	wchar_t wide;
	size_t n = mbrtowc(&wide, text, strnlen(text, MB_CUR_MAX), &state);

	if (n == 0 || n > MB_CUR_MAX || !iswprint((wint_t)wide))
		return 0;
	*columns = wcwidth(wide);
	return *columns > 0 ? n : 0;
}

/* How many bytes go into so much room, and their columns. */
static size_t fitting(const struct cli_screen *s, const char *text, int room, int *columns)
{
	size_t bytes = 0, n;
	int wide;

	for (*columns = 0; text[bytes]; bytes += n, *columns += wide) {
		n = s->utf8 ? printable(text + bytes, &wide) : 0;
		if (!n) {
			n = 1;
			wide = 1;
		}
		if (*columns + wide > room)
			break;
	}
	return bytes;
}

/* One unbroken run; only what is wider than the screen is cut into lines. */
static void put_run(struct cli_screen *s, const char *text, int gap, enum colour colour)
{
	int room = s->width - INDENT, columns;
	size_t n = fitting(s, text, room, &columns);

	make_room(s, columns, gap);
	colour_on(s, colour);
	while (text[n]) {
		buffer_put(s->out, text, n);
		text += n;
		n = fitting(s, text, room, &columns);
		indent(s, "", PLAIN);
	}
	buffer_put(s->out, text, n);
	s->column += columns;
	colour_off(s, colour);
}

static bool is_uuid(const char *text)
{
	for (size_t i = 0; i < UUID; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	return !isalnum((unsigned char)text[UUID]);
}

/*
 * Outside text, escaped; wide: but for the characters of the locale. NULL when
 * memory is out, which the screen's buffer then tells.
 */
static char *escaped(struct cli_screen *s, const char *text, bool wide)
{
	struct buffer b;
	char *copy = NULL;
	int columns;

	buffer_init(&b, CLI_OUTPUT_MAX);
	while (*text) {
		size_t n = wide && s->utf8 ? printable(text, &columns) : 0;

		if (s->brief && is_uuid(text)) {
			buffer_printf(&b, "%.*s%s", UUID_SHOWN, text, s->utf8 ? "\u2026" : "..");
			n = UUID;
		} else if (n)
			buffer_put(&b, text, n);
		else
			cli_put_escaped(&b, (const char[]){ *text, 0 });
		text += n ? n : 1;
	}
	if (buffer_cstring(&b))
		copy = strdup((const char *)b.data);
	if (!copy)
		s->out->failed = true;
	buffer_free(&b);
	return copy;
}

/* Clean text, freed here, that breaks between words. */
static void put_copy(struct cli_screen *s, char *copy, enum colour colour)
{
	char *rest = copy, *word;
	int gap = s->column > INDENT ? GAP : 0;

	while (copy && (word = strsep(&rest, " "))) {
		if (!*word)
			continue;
		put_run(s, word, gap, colour);
		gap = 1;
	}
	free(copy);
}

static void put_words(struct cli_screen *s, const char *text, enum colour colour)
{
	put_copy(s, escaped(s, text, false), colour);
}

/* Text that stays together, "label value"; the value of outside. */
static void put_piece(struct cli_screen *s, const char *label, const char *value, enum colour colour)
{
	char *safe = escaped(s, value, false);
	struct buffer b;

	buffer_init(&b, CLI_OUTPUT_MAX);
	buffer_printf(&b, "%s%s%s", label, label[0] && value[0] ? " " : "", safe ? safe : "");
	if (buffer_cstring(&b))
		put_run(s, (const char *)b.data, GAP, colour);
	buffer_free(&b);
	free(safe);
}

void cli_bar(struct cli_screen *s, int64_t left, int64_t total, int cells)
{
	int full = 0;

	if (left > 0)
		full = total > left ? (int)(left * cells / total) : cells;
	if (left > 0 && full == 0)
		full = 1;
	for (int i = 0; i < cells; i++)
		buffer_printf(s->out, "%s", s->utf8 ? (i < full ? "\u2588" : "\u2591") : (i < full ? "#" : "-"));
	s->column += cells;
}

/* Today's times as a clock shows them, others with the day. */
static char *clock_text(const struct cli_screen *s, uint64_t when, char *out, size_t size)
{
	time_t at = (time_t)when, now = (time_t)s->now;
	struct tm then, today;

	out[0] = 0;
	if (!localtime_r(&at, &then) || !localtime_r(&now, &today))
		return out;
	if (then.tm_year == today.tm_year && then.tm_yday == today.tm_yday)
		strftime(out, size, "%H:%M", &then);
	else if (then.tm_year == today.tm_year)
		strftime(out, size, "%d %b %H:%M", &then);
	else
		strftime(out, size, "%d %b %Y %H:%M", &then);
	return out;
}

const char *cli_state_name(uint8_t state)
{
	static const char *const names[] = {
		[WIRE_STATE_NONE] = "none",
		[WIRE_STATE_FETCHING] = "fetching",
		[WIRE_STATE_VALID] = "valid",
		[WIRE_STATE_STALE] = "stale",
		[WIRE_STATE_FAILED] = "failed",
	};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

const char *cli_kind_name(uint8_t kind)
{
	static const char *const names[] = { "default", "access", "id" };

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}

static enum colour state_colour(uint8_t state)
{
	static const enum colour colours[] = {
		[WIRE_STATE_VALID] = GREEN,
		[WIRE_STATE_STALE] = YELLOW,
		[WIRE_STATE_FAILED] = RED,
	};

	return state < sizeof(colours) / sizeof(colours[0]) ? colours[state] : PLAIN;
}

static void put_token(struct cli_screen *s, const struct cli_credential *c)
{
	int64_t left = (int64_t)c->expires - s->now;
	char words[64], text[96];

	indent(s, "token", PLAIN);
	if (!c->expires) {
		put_words(s,
			c->state == WIRE_STATE_FETCHING ? "the first one is on its way"
			: c->state == WIRE_STATE_FAILED ? "none: the fetch failed"
							: "none: nobody asked yet",
			state_colour(c->state));
		snprintf(text, sizeof(text), "next try in %s", cli_duration((int64_t)c->refresh - s->now, words, sizeof(words)));
		if ((int64_t)c->refresh > s->now)
			put_run(s, text, GAP, PLAIN);
		return;
	}
	colour_on(s, state_colour(c->state));
	cli_bar(s, left, (int64_t)(c->expires - c->fetched), s->brief || s->width < NARROW ? BAR_NARROW : BAR_WIDE);
	colour_off(s, state_colour(c->state));
	snprintf(text, sizeof(text), left > 0 ? "%s left" : "expired", cli_duration(left, words, sizeof(words)));
	put_run(s, text, 2, PLAIN);
	if (c->state == WIRE_STATE_STALE)
		put_run(s, "its refresh fails", GAP, YELLOW);
	else if (c->refresh && (int64_t)c->refresh <= s->now)
		put_run(s, "refresh is due", GAP, PLAIN);
	else if (c->refresh)
		put_piece(s, "next refresh", clock_text(s, c->refresh, words, sizeof(words)), PLAIN);
	snprintf(text, sizeof(text), "#%.8s", c->fingerprint);
	if (c->fingerprint[0])
		put_piece(s, "", text, PLAIN);
}

static void put_source(struct cli_screen *s, const struct cli_credential *c)
{
	char words[64], text[160];
	int n;

	indent(s, "from", PLAIN);
	put_words(s, c->provider, PLAIN);
	if (c->provider_line && c->provider_lines > 1)
		snprintf(text, sizeof(text), "(line %u of %u)", c->provider_line, c->provider_lines);
	else
		snprintf(text, sizeof(text), "(or another of %u lines)", c->provider_lines);
	if (c->provider_lines > 1)
		put_piece(s, "", text, PLAIN);
	if (c->fetched)
		put_piece(s, "fetched", clock_text(s, c->fetched, words, sizeof(words)), PLAIN);
	if (!c->fetches && !c->failures)
		return;
	n = snprintf(text, sizeof(text), "%llu ok, %llu failed", (unsigned long long)c->fetches, (unsigned long long)c->failures);
	if (c->failures && c->failed_at)
		snprintf(text + n, sizeof(text) - (size_t)n, " (%.20s%s%s ago)", c->failed_class, c->failed_class[0] ? ", " : "",
			cli_duration(s->now - (int64_t)c->failed_at, words, sizeof(words)));
	put_piece(s, "", text, PLAIN);
}

static void put_asked(struct cli_screen *s, const struct cli_credential *c)
{
	if (!c->resource[0] && !c->audience[0] && !c->issuer[0] && !c->subject[0])
		return;
	indent(s, "asked/got", PLAIN);
	if (c->resource[0])
		put_piece(s, "", c->resource, PLAIN);
	if (c->audience[0])
		put_piece(s, c->resource[0] ? "/ aud" : "aud", c->audience, PLAIN);
	if (c->issuer[0])
		put_piece(s, "iss", c->issuer, PLAIN);
	if (c->subject[0])
		put_piece(s, "sub", c->subject, PLAIN);
}

/* Only what the token says of itself is compared here; its signature and its claims are the verifier's. */
static void put_judge(struct cli_screen *s, const struct cli_credential *c)
{
	bool passes = !c->mismatch[0];
	struct buffer b;

	if (!c->identity_provider[0] || !c->expires)
		return;
	indent(s, "would pass", PLAIN);
	buffer_init(&b, WIRE_MAX);
	buffer_printf(&b, "%s: %s%s", c->identity_provider, passes ? "yes, by iss and aud" : "NO, ", c->mismatch);
	if (buffer_cstring(&b))
		put_words(s, (const char *)b.data, passes ? GREEN : RED);
	buffer_free(&b);
}

static void put_readers(struct cli_screen *s, const struct cli_credential *c)
{
	static const char *const words[] = { "", " (copy ok)", " (by socket)", " (token file FAILED)" };
	char asked[32] = "";

	indent(s, "readers", PLAIN);
	if (!c->count)
		put_run(s, cli_is_master() ? "root alone" : "only root sees them", 0, PLAIN);
	for (size_t i = 0; i < c->count; i++) {
		const struct cli_reader *reader = &c->readers[i];
		struct buffer b;

		/* Who came through a group is told by its number, unless something is wrong. */
		if (reader->group[0] && reader->state != WIRE_READER_NO_FILE)
			continue;
		if (reader->name[0] == '@')
			snprintf(asked, sizeof(asked), " (%u asked)", reader->asked);
		buffer_init(&b, WIRE_MAX);
		buffer_printf(&b, "%s%s%s", reader->name, reader->state < 4 ? words[reader->state] : "",
			reader->name[0] == '@' && reader->asked ? asked : "");
		if (buffer_cstring(&b))
			put_piece(s, "", (const char *)b.data, PLAIN);
		buffer_free(&b);
	}
}

/* What would make its identity provider take the token, where one setting does. */
static bool advise_setting(struct buffer *b, const struct cli_credential *c)
{
	static const struct {
		const char *begins, *key, *atlas;
		size_t value;
	} settings[] = {
		{ "aud is ", "audience", "Audience", offsetof(struct cli_credential, audience) },
		{ "iss is ", "issuer", "Issuer URI", offsetof(struct cli_credential, issuer) },
	};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		const char *value = *(char *const *)((const char *)c + settings[i].value);

		if (strncmp(c->mismatch, settings[i].begins, strlen(settings[i].begins)) != 0 || strstr(value, ", "))
			continue;
		buffer_printf(b, "set %s = %s in [identity-provider %s] (Atlas: %s), or: keyfob explain %s", settings[i].key, value,
			c->identity_provider, settings[i].atlas, c->name);
		return true;
	}
	return false;
}

static bool lacks_file(const struct cli_credential *c)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->readers[i].state == WIRE_READER_NO_FILE)
			return true;
	return false;
}

static void put_advice(struct cli_screen *s, const struct cli_credential *c)
{
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	if (c->state == WIRE_STATE_FAILED || c->state == WIRE_STATE_STALE)
		buffer_printf(&b, cli_is_master() ? "keyfob try %s" : "ask root: keyfob try %s", c->name);
	else if (strncmp(c->issuer, "https://sts.windows.net", 23) == 0)
		buffer_printf(&b, "a v1 token, which Atlas refuses: keyfob explain %s", c->name);
	else if (c->expires && c->mismatch[0] && !advise_setting(&b, c))
		buffer_printf(&b, "keyfob explain %s", c->name);
	else if (lacks_file(c))
		buffer_printf(&b, "event=files-failed in keyfobd's log tells why");
	else if (c->state == WIRE_STATE_NONE)
		buffer_printf(&b, "keyfob get %s", c->name);
	if (b.length && buffer_cstring(&b)) {
		indent(s, "try", BOLD);
		put_words(s, (const char *)b.data, PLAIN);
	}
	buffer_free(&b);
}

static void put_error(struct cli_screen *s, const struct cli_credential *c)
{
	struct buffer b;
	char words[64];

	if (!c->last_error[0])
		return;
	indent(s, "last error", PLAIN);
	buffer_init(&b, CLI_OUTPUT_MAX);
	if (c->failed_at)
		buffer_printf(&b, "%s ago: ", cli_duration(s->now - (int64_t)c->failed_at, words, sizeof(words)));
	buffer_printf(&b, "%s", c->last_error);
	if (buffer_cstring(&b))
		put_words(s, (const char *)b.data, c->state == WIRE_STATE_VALID ? PLAIN : RED);
	buffer_free(&b);
}

/* In one line, if need be in short; whole where there is room for it. */
static void put_short(struct cli_screen *s, const struct cli_credential *c, void (*put)(struct cli_screen *, const struct cli_credential *))
{
	size_t before;
	int lines;

	if (s->column)
		end_line(s);
	before = s->out->length;
	lines = s->lines;
	put(s, c);
	if (s->lines <= lines + 1 || s->out->failed)
		return;
	s->out->length = before;
	s->column = 0;
	s->brief = true;
	put(s, c);
	s->brief = false;
}

void cli_screen_credential(struct cli_screen *s, const struct cli_credential *c)
{
	indent(s, c->name, BOLD);
	put_copy(s, escaped(s, c->description, true), PLAIN);
	put_short(s, c, put_token);
	put_short(s, c, put_source);
	put_short(s, c, put_asked);
	put_judge(s, c);
	put_readers(s, c);
	put_error(s, c);
	put_advice(s, c);
	end_line(s);
}

/* A piece of the head line, which begins at the edge. */
static void put_head_piece(struct cli_screen *s, const char *text, enum colour colour)
{
	char *safe = escaped(s, text, false);
	int n = safe ? (int)strlen(safe) : 0;

	if (s->column && s->column + GAP + n > s->width)
		end_line(s);
	n = n < s->width ? n : s->width;
	buffer_printf(s->out, "%*s", s->column ? GAP : 0, "");
	colour_on(s, colour);
	buffer_printf(s->out, "%.*s", n, safe ? safe : "");
	colour_off(s, colour);
	s->column += n + (s->column ? GAP : 0);
	free(safe);
}

void cli_screen_head(struct cli_screen *s, const char *host, const struct cli_list *list)
{
	unsigned int states[WIRE_STATE_FAILED + 1] = { 0 };
	char words[64], text[160];

	put_head_piece(s, host, BOLD);
	snprintf(text, sizeof(text), "keyfobd up %s", cli_duration(s->now - (int64_t)list->started, words, sizeof(words)));
	put_head_piece(s, text, PLAIN);
	if (strcmp(list->version, KEYFOB_VERSION) != 0) {
		snprintf(text, sizeof(text), "its version is %s, keyfob's " KEYFOB_VERSION ": restart it", list->version);
		put_head_piece(s, text, YELLOW);
	}
	for (size_t i = 0; i < list->count; i++)
		if (list->item[i].state <= WIRE_STATE_FAILED)
			states[list->item[i].state]++;
	for (uint8_t i = 0; i <= WIRE_STATE_FAILED; i++) {
		snprintf(text, sizeof(text), "%u %s", states[i], i == WIRE_STATE_NONE ? "not asked for" : cli_state_name(i));
		if (states[i])
			put_head_piece(s, text, state_colour(i));
	}
	end_line(s);
}

void cli_screen_trouble(struct cli_screen *s, const char *text)
{
	indent(s, "broker", BOLD);
	put_words(s, text, RED);
	end_line(s);
}
