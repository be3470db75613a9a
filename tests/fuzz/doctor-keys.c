/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/keys, where any user's descriptions stand, and /proc/key-users, as
 * `keyfob doctor` and the library read them; and what a process that looked
 * through users' keyrings tells. An input is the three of them, each ended by
 * a byte 0x1e, and before them one for whether root asks.
 *
 * links: cli/admin-doctor-keyring cli/admin-doctor-services keyring/lookup common/buffer
 * wrap: geteuid fopen
 * parser: cli/admin-doctor-keyring cli/admin-doctor-services
 */
#include <errno.h>
#include <keyutils.h>
#include <stdarg.h>
#include <unistd.h>

#include "cli/admin-doctor.h"
#include "keyring/keyctl.h"
#include "keyring/lookup.h"
#include "tests/fuzz/fuzz.h"

#define ALICE 1000
#define LOOKS_MAX 64 /* at keys, for rings that somebody planted */

uid_t __wrap_geteuid(void);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__real_fopen(const char *path, const char *mode);

static char *keys, *quotas, *told;
static bool as_root, inside, in_services;
static unsigned int looks;

uid_t __wrap_geteuid(void)
{
	return as_root ? 0 : ALICE;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
	if (!inside)
		return __real_fopen(path, mode);
	fuzz_require(strcmp(path, "/proc/key-users") == 0);
	return *quotas ? fmemopen(quotas, strlen(quotas), mode) : NULL;
}

bool doctor_slurp(int fd, const char *path, int flags, size_t limit, struct buffer *b)
{
	const char *text = strcmp(path, "/proc/keys") == 0 ? keys : strcmp(path, "/proc/key-users") == 0 ? quotas : "";

	(void)fd, (void)flags;
	return strlen(text) <= limit && buffer_put(b, text, strlen(text));
}

int doctor_apart(int (*work)(void *arg, int out), void *arg, int timeout_ms, struct buffer *answer)
{
	(void)work, (void)arg, (void)timeout_ms;
	buffer_put(answer, told, strlen(told));
	return looks & 1;
}

/* Findings are escaped where they are shown. */
void doctor_add(struct doctor *d, enum doctor_level level, const char *subject, const char *format, ...)
{
	char text[4096];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fuzz_require(subject && level <= DOCTOR_ERROR);
	d->count++;
}

void doctor_fix(struct doctor *d, const char *format, ...)
{
	char text[4096];
	va_list args;

	fuzz_require(d->count);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
}

bool doctor_next_user(const struct config_section *s, size_t *at, char *name, size_t size)
{
	(void)s;
	snprintf(name, size, "alice");
	return (*at)++ == 0;
}

/* Some of these serials are a ring of Alice's, some are tokens, some are nobody's. */
int key_describe(key_serial_t key, struct key_description *d)
{
	fuzz_require(in_services || ++looks <= LOOKS_MAX);
	if (key % 4 == 3)
		return -ENOKEY;
	*d = (struct key_description){ .uid = key % 4 ? 0 : ALICE };
	strcpy(d->type, key % 4 < 2 ? "keyring" : "user");
	strcpy(d->name, key % 4 < 2 ? KEY_RING : KEY_TOKEN_PREFIX "atlas");
	return 0;
}

bool key_ids_are_true(void)
{
	return true;
}

/* --- libkeyutils ---------------------------------------------------------------------------- */

long keyctl_read(key_serial_t key, char *buffer, size_t size)
{
	(void)buffer, (void)size;
	return key % 9 ? key % 70000 : -1;
}

long keyctl_clear(key_serial_t ring)
{
	(void)ring;
	return 0;
}

long keyctl_get_persistent(uid_t uid, key_serial_t ring)
{
	fuzz_require(uid == __wrap_geteuid());
	return ring == KEY_SPEC_PROCESS_KEYRING ? 77 : (errno = EDQUOT, -1);
}

key_serial_t keyctl_get_keyring_ID(key_serial_t key, int create)
{
	(void)key, (void)create;
	errno = ENOKEY;
	return -1;
}

key_serial_t key_search(key_serial_t ring, const char *type, const char *name)
{
	(void)ring, (void)type, (void)name;
	return -ENOKEY;
}

int key_read(key_serial_t key, struct buffer *b)
{
	(void)key, (void)b;
	return -ENOKEY;
}

bool key_record_parse(const char *text, size_t length, struct key_record *record)
{
	(void)text, (void)length, (void)record;
	return false;
}

/* --- the configuration ---------------------------------------------------------------------- */

const char *config_value(const struct config_section *section, const char *key)
{
	return strcmp(section->type, "credential") == 0 && strcmp(key, "identity_provider") == 0 ? "entra" : NULL;
}

static struct federation_provider entra = { .name = (char *)(uintptr_t) "entra",
	.issuer = (char *)(uintptr_t) "https://login.example",
	.audience = (char *)(uintptr_t) "a",
	.max_token_size = 4096 };
static struct federation_user pgbouncer = { .service = (char *)(uintptr_t) "pgbouncer", .identity_provider = (char *)(uintptr_t) "entra" };

const struct federation_provider *federation_provider(const struct federation *f, const char *name)
{
	(void)f, (void)name;
	return &entra;
}

bool federation_connected(const struct federation *f, const char *provider, const char *service)
{
	(void)f, (void)provider, (void)service;
	return true;
}

bool federation_takes(const struct federation *f, const struct federation_user *user)
{
	(void)f, (void)user;
	return true;
}

/* --- one host --------------------------------------------------------------------------------- */

static void ask_doctor(void)
{
	static struct config_section section = {
		.type = (char *)(uintptr_t) "credential", .name = (char *)(uintptr_t) "atlas", .file = (char *)(uintptr_t) "keyfob.conf"
	};
	static struct doctor d;

	memset(&d, 0, sizeof(d));
	d.check = "keys";
	d.configured = d.is_host = true;
	d.admin.config.sections = &section;
	d.admin.config.count = 1;
	d.admin.now = (struct federation){ .provider_count = 1, .providers = &entra, .user_count = 1, .users = &pgbouncer };
	looks = 0;
	in_services = false;
	doctor_keyring(&d);
	in_services = true;
	doctor_services(&d);
	fuzz_require(!d.failed);
}

static void ask_library(void)
{
	struct lookup l = { 0 };
	struct lookup_hit hit;
	struct buffer token;

	buffer_init(&token, 64);
	inside = in_services = true;
	fuzz_require(lookup_token(&l, "atlas", &token, &hit) < 0);
	inside = false;
	buffer_free(&token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > FUZZ_MAX)
		return 0;
	as_root = *data++ & 1;
	size--;
	keys = fuzz_take_text(&data, &size, 0x1e);
	quotas = fuzz_take_text(&data, &size, 0x1e);
	told = fuzz_take_text(&data, &size, 0x1e);
	ask_doctor();
	ask_library();
	free(keys);
	free(quotas);
	free(told);
	return 0;
}

#define ROW_RING "00000004 I--Q---     1 perm 3f010000  1000  1000 keyring   keyfob: empty\n"
#define ROW_TOKEN "00000006 I--Q---     1   6h 1b3f0000     0     0 user      keyfob:atlas: 1500\n"
#define ROW_LONG "0000f006 I--Q---     1   6h 1b3f0000     0     0 user      keyfob:atlas: 61446\n"
#define QUOTAS "    0:    15 14/14 7/1000000 854/25000000\n 1000:     4 4/4 4/200 80/20000\n"

void fuzz_seeds(void)
{
	char many[128 * sizeof(ROW_RING)] = "0";

	fuzz_text("0" ROW_RING ROW_TOKEN "\036" QUOTAS "\036");
	fuzz_text("1" ROW_TOKEN ROW_LONG "\036    0:    15 14/14 700000/1000000 854/25000000\n\036" "4 1000 alice\n0 0 bob with a blank\n");
	fuzz_text("0\036 1000:     4 4/4 199/200 19999/20000\n\036");
	fuzz_text("1\036    0:    15 14/14 7/0 999999999999999999999999/1\n\0369999999999999 -1 \n");
	for (int i = 0; i < 100; i++)
		strcat(many, ROW_RING);
	fuzz_seed(many, strlen(many));
}
