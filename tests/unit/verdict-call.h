/* SPDX-License-Identifier: Apache-2.0 */
/* A judgement by a configuration of the test's own, with keys of its own and a clock that stands. */
#ifndef KEYFOB_TEST_VERDICT_CALL_H
#define KEYFOB_TEST_VERDICT_CALL_H

#include "tests/unit/config-files.h"
#include "tests/unit/signed-token.h"
#include "verify/verdict.h"

#define NOW 2000000000
#define ISS "https://login.microsoftonline.com/7a1b/v2.0"
#define PROVIDER "[identity-provider entra]\nissuer = " ISS "\naudience = api1\nauthorization_type = user\n"
#define GROUPS "[identity-provider entra]\nissuer = " ISS "\naudience = api1\nauthorization_type = group\n"
#define HEADER "{\"alg\":\"ES256\",\"kid\":\"ec\"}"
/* Claims that are good, but for those given. */
#define AUD "\"iss\":\"" ISS "\",\"aud\":\"api1\","
#define TIMES "\"exp\":2000003600,\"nbf\":1999999000,\"iat\":1999999000,"
#define SUB "\"sub\":\"7d2f\""
#define CLAIMS "{" AUD TIMES SUB "}"
#define ALG(alg, kid) "{\"alg\":\"" alg "\",\"kid\":\"" kid "\"}"
#define FOR(aud) "{\"iss\":\"" ISS "\",\"aud\":" aud "," TIMES SUB "}"
#define BY(sub) "{" AUD TIMES "\"sub\":" sub "}"
#define IN(groups) "{" AUD TIMES SUB "," groups "}"

static struct config config;
static struct federation f;
static struct jwks *keys;
static unsigned int asked; /* for keys */
static enum reason no_keys; /* unless OK: there are none, for that reason */

static inline void load(const char *text)
{
	struct buffer errors;

	write_text("keyfob.conf", text);
	buffer_init(&errors, 65536);
	if (!config_load(config_file, &config, &errors) || !federation_load(&config, &f, &errors))
		fail_msg("%s\n%s", text, buffer_cstring(&errors));
	buffer_free(&errors);
}

static inline void unload(void)
{
	federation_free(&f);
	config_free(&config);
}

static inline const struct jwks *find_keys(void *arg, const struct federation_provider *p, enum reason *why)
{
	assert_ptr_equal(arg, &asked);
	assert_non_null(federation_provider(&f, p->name));
	asked++;
	*why = no_keys;
	return no_keys ? NULL : keys;
}

static inline struct verdict judge_bytes(const char *service, const char *login, const char *token, size_t length)
{
	struct verdict_request request = { service, login, token, length, NOW, find_keys, &asked };
	/* As the network gives it: no NUL behind it, and whoever reads past it is found out. */
	char *bytes = malloc(length ? length : 1);
	struct verdict verdict;

	assert_non_null(bytes);
	memcpy(bytes, token, length);
	request.token = bytes;
	asked = 0;
	memset(&verdict, 0xff, sizeof(verdict));
	verdict_judge(&f, &request, &verdict);
	free(bytes);
	for (const char *at = verdict.detail; *at; at++)
		assert_in_range(*at, 0x20, 0x7e);
	assert_true(strlen(verdict.detail) < sizeof(verdict.detail));
	return verdict;
}

static inline struct verdict judge(const char *service, const char *login, const char *header, const char *claims)
{
	char *token = make_token(header, claims);
	struct verdict verdict = judge_bytes(service, login, token, strlen(token));

	free(token);
	return verdict;
}

static inline void expect(const char *what, const struct verdict *v, enum reason reason, const char *detail)
{
	if (v->reason != reason || (detail && strcmp(v->detail, detail) != 0))
		fail_msg(
			"%s: %s (%s), wanted: %s (%s)", what, reason_code(v->reason), v->detail, reason_code(reason), detail ? detail : "");
	assert_int_equal(v->reason == REASON_OK, reason == REASON_OK);
	if (reason != REASON_OK)
		assert_null(v->user);
}

static inline int start(void **state)
{
	keys = make_keys();
	return make_config_dir(state);
}

static inline int end(void **state)
{
	jwks_free(keys);
	free_keys();
	return remove_config_dir(state);
}

#endif
