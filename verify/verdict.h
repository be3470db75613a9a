/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is this token good for this service and login, and who is it? One judgement,
 * without waiting for anything: what it needs is there or it says what is
 * missing.
 *
 * Order: form; issuer and audience, which choose the identity provider; times
 * and type; signature; identity; database user. So nobody makes keys be
 * fetched whose token would be refused anyway.
 */
#ifndef KEYFOB_VERDICT_H
#define KEYFOB_VERDICT_H

#include <time.h>

#include "verify/federation.h"
#include "verify/jwks.h"
#include "verify/reason.h"

#define VERDICT_SKEW 60 /* seconds that nbf and iat may be ahead; exp has none */

/* The keys of an identity provider as they are now. NULL with a reason when there are none that may be used. */
typedef const struct jwks *(*verdict_keys)(void *arg, const struct federation_provider *p, enum reason *why);

struct verdict_request {
	const char *service; /* NULL: only the token is judged, by its identity provider */
	const char *login;
	const char *token;
	size_t length;
	time_t now;
	verdict_keys keys;
	void *arg;
};

struct verdict {
	enum reason reason;
	const struct federation_provider *provider; /* once it is known, also of a refused token */
	const struct federation_user *user; /* the database user, of an accepted one */
	char kid[257]; /* of the header, "" without one */
	char subject[256]; /* the user claim, once the signature was found good */
	time_t expires, not_before, issued; /* 0: not told */
	char detail[512]; /* one line: what was found and what was wanted; escaped, no part of a signature. "" when the code says all */
};

void verdict_judge(const struct federation *f, const struct verdict_request *request, struct verdict *verdict);
/*
 * For the account phase: is there a database user with that login whose
 * identity provider is connected? If several are, one with this account
 * rather than another.
 */
enum reason verdict_account(
	const struct federation *f, const char *service, const char *login, const char *account, const struct federation_user **user);

#endif
