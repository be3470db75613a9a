/* SPDX-License-Identifier: Apache-2.0 */
/* Key sets in a state directory of a test's own, with a clock of its own. */
#ifndef KEYFOB_TEST_KEYSETS_FIXTURE_H
#define KEYFOB_TEST_KEYSETS_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "verify/keysets.h"

#define KEYS 8
#define START 1700000000

static char top_dir[64], state_dir[80], log_path[80];
static int real_stderr = -1;
static char jwk[KEYS][160]; /* Ed25519, with the kids k0, k1 ... */
static time_t now;
static struct keysets *k;
static struct federation_provider providers[3];
static struct federation federation = { .providers = providers };

#define entra (&providers[0])
#define google (&providers[1])

static inline void make_key(int i)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	unsigned char raw[32];
	char text[48];
	size_t size = sizeof(raw);

	assert_int_equal(EVP_PKEY_get_raw_public_key(key, raw, &size), 1);
	EVP_EncodeBlock((unsigned char *)text, raw, 32);
	for (char *at = text; *at; at++)
		*at = *at == '+' ? '-' : *at == '/' ? '_' : *at == '=' ? 0 : *at;
	snprintf(jwk[i], sizeof(jwk[i]), "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k%d\",\"x\":\"%s\"}", i, text);
	EVP_PKEY_free(key);
}

/* A document of the keys whose digits stand in which. */
static inline const char *keys(const char *which)
{
	static char text[KEYS * 170];
	int n = snprintf(text, sizeof(text), "{\"keys\":[");

	for (const char *at = which; *at; at++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%s", at == which ? "" : ",", jwk[*at - '0']);
	snprintf(text + n, sizeof(text) - (size_t)n, "]}");
	return text;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline void path_in(char out[200], const char *name)
{
	snprintf(out, 200, "%s/%s", state_dir, name);
}

static inline bool is_there(const char *name)
{
	char path[200];
	struct stat st;

	path_in(path, name);
	return lstat(path, &st) == 0;
}

static inline void write_file(const char *path, const void *content, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, length), length);
	close(fd);
}

static inline size_t read_file(const char *path, char *content, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = read(fd, content, size);

	assert_true(got >= 0);
	close(fd);
	return (size_t)got;
}

/* Was that logged since the last time it was asked? */
static inline bool was_logged(const char *text)
{
	static char content[1 << 16];
	size_t length = read_file(log_path, content, sizeof(content) - 1);

	content[length] = 0;
	assert_int_equal(truncate(log_path, 0), 0);
	return strstr(content, text) != NULL;
}

static inline void open_keysets(void)
{
	char why[256] = "";

	k = keysets_open(state_dir, why, sizeof(why));
	if (!k)
		fail_msg("%s", why);
	keysets_configure(k, &federation, now);
}

static inline void restart(void)
{
	keysets_close(k);
	open_keysets();
}

static inline void set_provider(struct federation_provider *p, const char *name, const char *source)
{
	memset(p, 0, sizeof(*p));
	p->name = (char *)(uintptr_t)name;
	p->source = (char *)(uintptr_t)source;
}

static inline int make_keys(void **state)
{
	(void)state;
	for (int i = 0; i < KEYS; i++)
		make_key(i);
	return 0;
}

/* Each test begins with two providers, and nothing known of them. */
static inline int begin_test(void **state)
{
	int fd;

	(void)state;
	strcpy(top_dir, "/tmp/keyfob-test-keysets-XXXXXX");
	if (!mkdtemp(top_dir))
		return -1;
	snprintf(state_dir, sizeof(state_dir), "%s/state", top_dir);
	snprintf(log_path, sizeof(log_path), "%s/log", top_dir);
	fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (mkdir(state_dir, 0700) < 0 || fd < 0)
		return -1;
	real_stderr = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
	now = START;
	set_provider(entra, "entra", "issuer=https://entra.example");
	set_provider(google, "google", "issuer=https://google.example");
	federation.provider_count = 2;
	open_keysets();
	return 0;
}

static inline int end_test(void **state)
{
	(void)state;
	keysets_close(k);
	k = NULL;
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	nftw(top_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}

/* --- short words for what is done often ------------------------------------------------ */

static inline uint64_t begin(const struct federation_provider *p)
{
	const char *etag;
	uint64_t attempt = keysets_begin(k, p, now, &etag);

	assert_true(attempt != 0);
	return attempt;
}

static inline bool answer(uint64_t attempt, const char *body)
{
	struct keysets_answer a = { .ok = true, .body = body, .length = strlen(body), .etag = "" };

	return keysets_done(k, attempt, &a, now);
}

static inline bool answer_error(uint64_t attempt, const char *error)
{
	struct keysets_answer a = { .error = error };

	return keysets_done(k, attempt, &a, now);
}

static inline void fetch(const struct federation_provider *p, const char *which)
{
	assert_true(answer(begin(p), keys(which)));
}

static inline void fetch_failing(const struct federation_provider *p)
{
	assert_false(answer_error(begin(p), "it is down"));
}

/* What is there to judge by: the digits of the kids, else the reason's code. */
static inline const char *judge_by(const struct federation_provider *p)
{
	static char text[64];
	enum reason why;
	const struct jwks *set = keysets_get(k, p, now, &why);
	size_t n = 0;

	if (!set)
		return reason_code(why);
	assert_int_equal(why, REASON_OK);
	for (size_t i = 0; i < jwks_count(set); i++)
		text[n++] = jwks_kid(set, i)[1];
	text[n] = 0;
	return text;
}

static inline struct keysets_state describe(const struct federation_provider *p)
{
	struct keysets_state state;

	keysets_describe(k, p, now, &state);
	return state;
}

#define assert_between(value, low, high) \
	do { \
		time_t value_ = (value); \
		if (value_ < (low) || value_ > (high)) \
			fail_msg("%s is %jd, wanted %jd to %jd", #value, (intmax_t)value_, (intmax_t)(low), (intmax_t)(high)); \
	} while (0)

#endif
