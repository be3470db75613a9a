/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an identity provider's section demands of a token's header and claims
 * (RFC 7519, RFC 8725), apart from its signature. The checks return REASON_OK
 * or why not, and put into the verdict what they found.
 */
#ifndef KEYFOB_CLAIMS_H
#define KEYFOB_CLAIMS_H

#include <jansson.h>
#include <stdbool.h>
#include <time.h>

#include "verify/federation.h"
#include "verify/verdict.h"

/* Set the verdict's detail, escaped and cut to size. */
void claims_tell(struct verdict *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* aud is a text, or a list of texts with at least one. */
bool claims_has_audience(const json_t *claims);
bool claims_names_audience(const json_t *claims, const char *audience);
/* The aud of a token as a text for people; false when it is none. */
void claims_show_audience(const json_t *claims, char *out, size_t size);
/* Is iss what Azure's tokens of version 1 say, and p the same tenant's issuer of version 2? */
bool claims_is_azure_v1(const struct federation_provider *p, const char *iss);

/* exp with expiry_skew; nbf and iat with VERDICT_SKEW; max_lifetime. */
enum reason claims_check_times(const json_t *claims, const struct federation_provider *p, time_t now, struct verdict *v);
/* typ: which kind of token it is. */
enum reason claims_check_type(const json_t *header, const struct federation_provider *p, struct verdict *v);
/* azp, client_id and appid (Azure, version 1): whom the token was issued to. */
enum reason claims_check_client(const json_t *claims, const struct federation_provider *p, struct verdict *v);

/* Once the signature is good: who it is. */
enum reason claims_check_subject(const json_t *claims, const struct federation_provider *p, struct verdict *v);
enum reason claims_check_groups(const json_t *claims, const struct federation_provider *p, struct verdict *v);
bool claims_in_group(const json_t *claims, const struct federation_provider *p, const char *group_id);

#endif
