/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole interface between keyfob-fetch and a provider module.
 *
 * A module is a shared object NAME.so in the module directory that exports
 * one symbol, `const struct keyfob_module keyfob_module`. keyfob-fetch, an
 * unprivileged process made for one fetch, loads it and calls obtain() once.
 * The module makes one attempt and says how it went; retries, back-off,
 * caching and deadlines belong to the broker. This header is all that a
 * module needs; doc/MODULES.md shows one from end to end.
 */
#ifndef KEYFOB_MODULE_H
#define KEYFOB_MODULE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEYFOB_MODULE_ABI 1

/* How an option's value is checked, before any fetch, when the configuration is read. */
enum keyfob_option_type {
	KEYFOB_OPTION_TEXT, /* any non-empty text */
	KEYFOB_OPTION_CHOICE, /* one of the words in `values`, parted by '|' */
	KEYFOB_OPTION_URL, /* http:// or https:// with a host */
	KEYFOB_OPTION_SECONDS, /* a whole number of seconds, 's' may follow; m, h, d for minutes, hours, days; see keyfob_seconds() */
	KEYFOB_OPTION_FILE, /* an absolute path */
	KEYFOB_OPTION_FLAG, /* yes or no */
	KEYFOB_OPTION_CREDENTIAL, /* another credential's name; its token is handed over as a secret */
};

#define KEYFOB_OPTION_REQUIRED 0x01
#define KEYFOB_OPTION_SECRET 0x04 /* FILE: a file of root's; its content is handed over, see keyfob_secret() */
#define KEYFOB_OPTION_ARGUMENTS 0x02 /* stands for the words after "--"; no name=value form */

struct keyfob_option {
	const char *name;
	enum keyfob_option_type type;
	unsigned int flags;
	const char *values; /* CHOICE: "imds|appservice"; else NULL, or how to write a value */
	const char *help; /* one line; say the default */
};

/* What a fetch may do. The sandbox is up before the module is loaded. */
enum keyfob_sandbox {
	KEYFOB_SANDBOX_NETWORK, /* TCP connections, resolver, certificates; no write, no exec */
	KEYFOB_SANDBOX_EXEC, /* run a program as the credential's run_as user */
	KEYFOB_SANDBOX_FILE, /* read files; no network, no exec */
};

enum keyfob_kind {
	KEYFOB_KIND_DEFAULT, /* the module's own */
	KEYFOB_KIND_ACCESS,
	KEYFOB_KIND_ID,
	/*
	 * No token but a public document of at most 256 KiB. The reply's token
	 * is the document (NULL with class OK: the one asked about by an ETag
	 * is still current), code its ETag, refresh as for a token. No
	 * credential can be configured with a module of this kind.
	 */
	KEYFOB_KIND_DOCUMENT,
};

/* How an attempt ended. It decides what the broker does next. */
enum keyfob_class {
	KEYFOB_CLASS_OK,
	KEYFOB_CLASS_CONFIG, /* the configuration is wrong: not tried again soon */
	KEYFOB_CLASS_PERMANENT, /* the provider refuses, and would again */
	KEYFOB_CLASS_THROTTLED, /* too many requests; see retry_after */
	KEYFOB_CLASS_UNAVAILABLE, /* nobody answers there */
	KEYFOB_CLASS_TRANSIENT, /* an error that a later attempt may not meet */
};

struct keyfob_setting {
	const char *name;
	const char *value;
};

/* What a secret option stands for: a file's content, or a token. */
struct keyfob_secret {
	const char *name; /* of the option */
	const char *value; /* NUL-terminated; may hold any byte */
	size_t length;
};

/* Read-only; everything lives until obtain() returns, and secrets are wiped then. */
struct keyfob_request {
	const char *credential; /* its name, for messages */
	const char *resource; /* what the token is for; "" when none is configured */
	enum keyfob_kind kind; /* never DEFAULT: the module's own kind is filled in */
	unsigned int timeout; /* seconds this attempt may take, in all */
	size_t count;
	const struct keyfob_setting *settings; /* the options of the provider line, checked */
	size_t secret_count;
	const struct keyfob_secret *secrets;
	char *const *arguments; /* the words after "--", NULL-terminated; NULL when none */
	/*
	 * Tell one line of the exchange to whoever runs `keyfob try`. Never
	 * pass a token or a secret. NULL when nobody looks.
	 */
	void (*tell)(const char *line);
	bool own; /* the attempt runs as the user whose own broker it is: what he owns is trusted as root's is */
};

/* Filled by obtain(). All zero when it is called. */
struct keyfob_reply {
	enum keyfob_class class;
	char *token; /* from malloc(); keyfob-fetch wipes and frees it */
	size_t length; /* bytes of it, without a NUL */
	time_t expires; /* as declared by the provider, 0: not declared (a JWT's exp is read for you) */
	time_t refresh; /* when the provider wants it renewed, 0: no word */
	unsigned int refresh_before; /* renew so many seconds before the expiry, 0: no word */
	unsigned int retry_after; /* seconds, 0: no word */
	char code[65]; /* the provider's own error code */
	char text[1024]; /* one line: what happened and what to do. No part of a token */
};

struct keyfob_module {
	unsigned int abi; /* KEYFOB_MODULE_ABI */
	const char *name;
	const char *help; /* one line */
	enum keyfob_sandbox sandbox;
	enum keyfob_kind kind; /* what it gives unless told otherwise */
	const char *example; /* a whole configuration section, ready to paste */
	const struct keyfob_option *options;
	size_t count;
	/* One attempt. The result is in reply->class; never exits, never retries. */
	void (*obtain)(const struct keyfob_request *request, struct keyfob_reply *reply);
};

/* Define the one exported symbol: KEYFOB_MODULE = { .abi = KEYFOB_MODULE_ABI, .name = ... }; */
extern const struct keyfob_module keyfob_module;
#define KEYFOB_MODULE const struct keyfob_module keyfob_module __attribute__((visibility("default")))

/* The value of an option of the provider line, or otherwise. */
static inline const char *keyfob_setting(const struct keyfob_request *request, const char *name, const char *otherwise)
{
	for (size_t i = 0; i < request->count; i++)
		if (strcmp(request->settings[i].name, name) == 0)
			return request->settings[i].value;
	return otherwise;
}

/* The value of a SECONDS option, which was checked when the configuration was read, or otherwise. */
static inline unsigned int keyfob_seconds(const struct keyfob_request *request, const char *name, unsigned int otherwise)
{
	const char *text = keyfob_setting(request, name, NULL);
	char *unit = NULL;
	unsigned long seconds;

	if (!text)
		return otherwise;
	seconds = strtoul(text, &unit, 10);
	seconds *= *unit == 'd' ? 86400 : *unit == 'h' ? 3600 : *unit == 'm' ? 60 : 1;
	return (unsigned int)seconds;
}

/* What a secret option stands for; NULL when it is not given. length may be NULL. */
static inline const char *keyfob_secret(const struct keyfob_request *request, const char *name, size_t *length)
{
	for (size_t i = 0; i < request->secret_count; i++) {
		if (strcmp(request->secrets[i].name, name) == 0) {
			if (length)
				*length = request->secrets[i].length;
			return request->secrets[i].value;
		}
	}
	return NULL;
}

/* Fail with a class and a line of text. */
static inline void __attribute__((format(printf, 3, 4)))
keyfob_fail(struct keyfob_reply *reply, enum keyfob_class class, const char *format, ...)
{
	va_list args;

	reply->class = class;
	va_start(args, format);
	vsnprintf(reply->text, sizeof(reply->text), format, args);
	va_end(args);
}

#endif
