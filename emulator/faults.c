/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"

const char *const emu_source_names[EMU_SOURCES] = { "imds", "metadata", "openid", "jwks", "google_token", "google_iam", "google_sts",
	"entra", "appservice", "arc", "oauth2" };

static const struct parameter {
	const char *name;
	size_t offset;
	bool text;
	long min;
	long max;
} parameters[] = {
#define NUMBER(member, low, high) \
	{ \
#member, offsetof(struct emu_fault, member), false, low, high \
	}
#define TEXT(member) \
	{ \
#member, offsetof(struct emu_fault, member), true, 0, 0 \
	}
	{ "count", offsetof(struct emu_fault, left), false, 1, 1000000 },
	NUMBER(status, 200, 599),
	TEXT(retry_after),
	NUMBER(delay_ms, 0, 600000),
	TEXT(body),
	NUMBER(truncate, 0, 1),
	NUMBER(html, 0, 1),
	TEXT(redirect),
	TEXT(flavor),
	NUMBER(drip_ms, 0, 60000),
	NUMBER(size, 1, 64 << 20),
	TEXT(expires),
	NUMBER(token_bytes, 1, 1 << 20),
	NUMBER(opaque, 0, 1),
	NUMBER(newline, 0, 1),
	NUMBER(lifetime, -315360000, 315360000),
	NUMBER(clock, -86400, 86400),
	TEXT(issuer),
	TEXT(alg),
	NUMBER(enforce, 0, 1),
	NUMBER(aadsts, 1, 99999999),
	NUMBER(codes_text, 0, 1),
	NUMBER(deaf, 0, 1),
	TEXT(spelling),
	TEXT(challenge),
#undef NUMBER
#undef TEXT
};

enum { PARAMETERS = sizeof(parameters) / sizeof(parameters[0]) };

static struct emu_fault none = { .refs = 1 };

static char **text_of(struct emu_fault *fault, const struct parameter *p)
{
	return (char **)(void *)((char *)fault + p->offset);
}

void emu_fault_release(struct emu_fault *fault)
{
	if (!fault || fault == &none || --fault->refs > 0)
		return;
	for (size_t i = 0; i < PARAMETERS; i++)
		if (parameters[i].text)
			free(*text_of(fault, &parameters[i]));
	free(fault);
}

static void clear(struct emu *emu, enum emu_source source)
{
	emu_fault_release(emu->faults[source]);
	emu->faults[source] = NULL;
}

void emu_faults_clear(struct emu *emu)
{
	for (int i = 0; i < EMU_SOURCES; i++)
		clear(emu, (enum emu_source)i);
}

struct emu_fault *emu_fault_take(struct emu *emu, enum emu_source source)
{
	struct emu_fault *fault = source < EMU_SOURCES ? emu->faults[source] : NULL;

	if (!fault)
		return &none;
	fault->refs++;
	if (fault->left > 0 && --fault->left == 0)
		clear(emu, source);
	return fault;
}

static void unknown(const char *name, char *message, size_t size)
{
	size_t used = (size_t)snprintf(message, size, "unknown parameter \"%.40s\"; known are path", name);

	for (size_t i = 0; i < PARAMETERS && used < size; i++)
		used += (size_t)snprintf(message + used, size - used, " %s", parameters[i].name);
}

static bool set_number(struct emu_fault *fault, const struct parameter *p, const char *value, char *message, size_t size)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(value, &end, 10);
	if (end == value || *end || errno || number < p->min || number > p->max) {
		snprintf(message, size, "%s: \"%.40s\" is not a number from %ld to %ld", p->name, value, p->min, p->max);
		return false;
	}
	*(long *)(void *)((char *)fault + p->offset) = number;
	return true;
}

static bool set_one(struct emu_fault *fault, const char *name, const char *value, char *message, size_t size)
{
	size_t i;

	for (i = 0; i < PARAMETERS && strcmp(parameters[i].name, name) != 0; i++)
		;
	if (i == PARAMETERS) {
		unknown(name, message, size);
		return false;
	}
	if (!parameters[i].text)
		return set_number(fault, &parameters[i], value, message, size);
	if (strcmp(name, "body") != 0 && strcmp(name, "expires") != 0 && strpbrk(value, "\r\n")) {
		snprintf(message, size, "%s: may not hold a line break", name);
		return false;
	}
	if (strcmp(name, "alg") == 0 && strcmp(value, "RS256") != 0 && strcmp(value, "ES256") != 0) {
		snprintf(message, size, "alg: \"%.40s\" is neither RS256 nor ES256", value);
		return false;
	}
	*text_of(fault, &parameters[i]) = strdup(value);
	return true;
}

static enum emu_source source_named(const char *name)
{
	int i;

	for (i = 0; i < EMU_SOURCES && strcmp(emu_source_names[i], name) != 0; i++)
		;
	return (enum emu_source)i;
}

bool emu_fault_set(struct emu *emu, const struct emu_query *q, char *message, size_t size)
{
	const char *path = emu_query_get(q, "path"), *repeated = emu_query_repeated(q);
	enum emu_source source = path ? source_named(path) : EMU_SOURCES;
	struct emu_fault *fault = calloc(1, sizeof(*fault));
	bool ok = fault != NULL;

	if (!fault) {
		snprintf(message, size, "out of memory");
		return false;
	}
	fault->refs = 1;
	if (repeated) {
		snprintf(message, size, "%.40s: given twice", repeated);
		ok = false;
	}
	for (size_t i = 0; i < q->count && ok; i++)
		if (strcmp(q->name[i], "path") != 0)
			ok = set_one(fault, q->name[i], q->value[i], message, size);
	if (ok && source == EMU_SOURCES) {
		snprintf(message, size, "path: say which source, such as imds or metadata; /emulator/counters lists them");
		ok = false;
	}
	if (!ok) {
		emu_fault_release(fault);
		return false;
	}
	clear(emu, source);
	emu->faults[source] = fault;
	return true;
}

static void answer_size(struct emu_exchange *x, int status, const char *type)
{
	size_t size = (size_t)x->fault->size;
	char *filler = malloc(size);

	if (!filler) {
		emu_reply_text(x, HTTP_INTERNAL, "text/plain", "out of memory\n");
		return;
	}
	memset(filler, 'x', size);
	emu_reply(x, status, type, filler, size);
	free(filler);
}

static void answer_status(struct emu_exchange *x, int status)
{
	char text[80];

	if (x->source == EMU_METADATA) {
		snprintf(text, sizeof(text), "The server met a fault: status %d\n", status);
		emu_reply_text(x, status, "text/html", text);
		return;
	}
	snprintf(text, sizeof(text), "A fault was set for this source: status %d", status);
	emu_reply_json(
		x, status, json_pack("{s:s, s:s}", "error", status < 500 ? "invalid_request" : "server_error", "error_description", text));
}

bool emu_fault_answer(struct emu_exchange *x)
{
	const struct emu_fault *f = x->fault;
	int status = f->status ? (int)f->status : HTTP_OK;
	const char *type = f->html || x->source == EMU_METADATA ? "text/html" : "application/json";

	if (x->refused) {
		emu_reply_json(x, 429,
			json_pack("{s:s, s:s}", "error", "too_many_requests", "error_description",
				"More than 5 requests at once or 20 in a second"));
	} else if (f->redirect) {
		emu_header_out(x, "Location", f->redirect);
		emu_reply_text(x, status >= 300 && status < 400 ? status : HTTP_MOVETEMP, "text/html", "Moved\n");
	} else if (f->body) {
		emu_reply_text(x, status, type, f->body);
	} else if (f->size) {
		answer_size(x, status, type);
	} else if (f->html) {
		emu_reply_text(x, status, type, "<!DOCTYPE html>\n<title>Sign in</title>\n<p>Welcome to our network.\n");
	} else if (f->status && status != HTTP_OK) {
		answer_status(x, status);
	} else {
		return false;
	}
	return true;
}
