/* SPDX-License-Identifier: Apache-2.0 */
/* Azure: the applications of a tenant, and whether an assertion is one of theirs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "azure.h"

enum { ASSERTION_SECONDS = 600, SKEW_SECONDS = 300, THUMBPRINT = 44 };

/* Whose token endpoints an assertion may be for: these, and this emulator's own. */
static const char *const authorities[] = {
	"https://login.microsoftonline.com",
	"https://login.microsoftonline.us",
	"https://login.partner.microsoftonline.cn",
};

static const struct {
	const char *name;
	size_t offset;
} fields[] = {
	{ "client_id", offsetof(struct emu_app, client_id) },
	{ "tenant", offsetof(struct emu_app, tenant) },
	{ "secret", offsetof(struct emu_app, secret) },
	{ "secret_expired", offsetof(struct emu_app, secret_expired) },
	{ "certificate", offsetof(struct emu_app, certificate) },
	{ "chain", offsetof(struct emu_app, chain) },
	{ "issuer", offsetof(struct emu_app, issuer) },
	{ "subject", offsetof(struct emu_app, subject) },
	{ "audience", offsetof(struct emu_app, audience) },
	{ "issuer_key", offsetof(struct emu_app, issuer_key) },
	{ "token_version", offsetof(struct emu_app, token_version) },
};

enum { FIELDS = sizeof(fields) / sizeof(fields[0]) };

/* --- the register ------------------------------------------------------------ */

static char **field_of(struct emu_app *app, size_t i)
{
	return (char **)(void *)((char *)app + fields[i].offset);
}

static void app_free(struct emu_app *app)
{
	for (size_t i = 0; i < FIELDS; i++)
		free(*field_of(app, i));
	free(app);
}

void emu_apps_free(struct emu_azure *azure)
{
	struct emu_app *app;

	while ((app = LIST_FIRST(&azure->apps))) {
		LIST_REMOVE(app, link);
		app_free(app);
	}
}

const struct emu_app *emu_app_find(const struct emu *emu, const char *client_id)
{
	const struct emu_app *app;

	LIST_FOREACH(app, &emu->azure->apps, link)
	if (strcasecmp(app->client_id, client_id) == 0)
		return app;
	return NULL;
}

static bool take_fields(struct emu_app *app, const struct emu_query *q, char *message, size_t size)
{
	for (size_t i = 0; i < q->count; i++) {
		size_t j = 0;

		while (j < FIELDS && strcmp(fields[j].name, q->name[i]) != 0)
			j++;
		if (j == FIELDS || *field_of(app, j)) {
			snprintf(message, size, "%.40s: unknown, or given twice\n", q->name[i]);
			return false;
		}
		*field_of(app, j) = strdup(q->value[i]);
	}
	snprintf(message, size, "client_id is needed; certificate and issuer_key take PEM\n");
	return app->client_id && *app->client_id && (!app->certificate || emu_jws_key_valid(app->certificate)) &&
	       (!app->issuer_key || emu_jws_key_valid(app->issuer_key));
}

void emu_entra_app(struct emu_exchange *x)
{
	struct emu_app *app = calloc(1, sizeof(*app)), *old;
	char message[120] = "out of memory\n";

	if (!app || !take_fields(app, &x->query, message, sizeof(message))) {
		emu_reply_text(x, HTTP_BADREQUEST, "text/plain", message);
		if (app)
			app_free(app);
		return;
	}
	LIST_FOREACH(old, &x->emu->azure->apps, link)
	if (strcasecmp(old->client_id, app->client_id) == 0) {
		LIST_REMOVE(old, link);
		app_free(old);
		break;
	}
	LIST_INSERT_HEAD(&x->emu->azure->apps, app, link);
	emu_reply_text(x, HTTP_OK, "text/plain", "done\n");
}

/* --- assertions --------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static X509 *read_certificate(const char *pem)
{
	BIO *bio = pem ? BIO_new_mem_buf(pem, -1) : NULL;
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return certificate;
}

/* x5c: standard base64 of the DER, leaf first. */
static bool chain_fits(const json_t *header, const unsigned char *der, int length)
{
	const char *first = json_string_value(json_array_get(json_object_get(header, "x5c"), 0));
	unsigned char *text = malloc((size_t)length / 3 * 4 + 5);
	bool ok = false;

	if (text && first) {
		EVP_EncodeBlock(text, der, length);
		ok = strcmp((char *)text, first) == 0;
	}
	free(text);
	return ok;
}

/* Names the header this application's certificate, in a way that Entra documents? */
static bool names_certificate(const json_t *header, const struct emu_app *app)
{
	const char *sha256 = text_of(header, "x5t#S256"), *sha1 = text_of(header, "x5t"), *alg = text_of(header, "alg");
	X509 *certificate = read_certificate(app->certificate);
	unsigned char *der = NULL, digest[SHA256_DIGEST_LENGTH];
	int length = certificate ? i2d_X509(certificate, &der) : -1;
	char *thumbprint = NULL;
	bool ok = false;

	if (length > 0 && *sha256) {
		SHA256(der, (size_t)length, digest);
		thumbprint = emu_base64url(digest, SHA256_DIGEST_LENGTH);
		ok = thumbprint && strcmp(thumbprint, sha256) == 0 && strcmp(alg, "PS256") == 0;
	} else if (length > 0 && *sha1) {
		SHA1(der, (size_t)length, digest);
		thumbprint = emu_base64url(digest, SHA_DIGEST_LENGTH);
		ok = thumbprint && strcmp(thumbprint, sha1) == 0 && strcmp(alg, "RS256") == 0;
	}
	if (ok && (app->chain || json_object_get(header, "x5c")))
		ok = chain_fits(header, der, length);
	free(thumbprint);
	OPENSSL_free(der);
	X509_free(certificate);
	return ok && strcmp(text_of(header, "typ"), "JWT") == 0;
}

static bool is_own_endpoint(const struct emu_exchange *x, const char *audience)
{
	size_t length;

	for (size_t i = 0; i <= sizeof(authorities) / sizeof(authorities[0]); i++) {
		const char *authority = i ? authorities[i - 1] : x->emu->url;

		length = strlen(authority);
		if (strncmp(audience, authority, length) == 0 && strcmp(audience + length, x->path) == 0)
			return true;
	}
	return false;
}

/* Within its times, and not meant to live longer than Entra permits; max 0: no limit. */
static bool is_in_time(const json_t *claims, json_int_t max)
{
	json_int_t now = (json_int_t)time(NULL), exp = json_integer_value(json_object_get(claims, "exp"));
	json_int_t nbf = json_integer_value(json_object_get(claims, "nbf"));

	return json_is_integer(json_object_get(claims, "exp")) && exp > now - SKEW_SECONDS && nbf <= now + SKEW_SECONDS &&
	       (!max || (nbf && exp - nbf <= max));
}

/* The real one does not count, but a client that signs once and repeats it is to be found out. */
static bool is_new(struct emu_azure *azure, const char *jti)
{
	char **slot;

	if (strlen(jti) < 16)
		return false;
	for (size_t i = 0; i < EMU_REMEMBERED; i++)
		if (azure->seen[i] && strcmp(azure->seen[i], jti) == 0)
			return false;
	slot = &azure->seen[azure->seen_at++ % EMU_REMEMBERED];
	free(*slot);
	*slot = strdup(jti);
	return true;
}

static long check_own(struct emu_exchange *x, const struct emu_app *app, const char *jws, const json_t *header, const json_t *claims)
{
	if (strcmp(text_of(claims, "iss"), app->client_id) != 0 || strcmp(text_of(claims, "sub"), app->client_id) != 0)
		return 700021;
	if (!app->certificate || !names_certificate(header, app) || !emu_jws_verify(jws, app->certificate))
		return 700027;
	if (!is_own_endpoint(x, text_of(claims, "aud")))
		return 700023;
	if (!is_in_time(claims, ASSERTION_SECONDS))
		return 700024;
	return is_new(x->emu->azure, text_of(claims, "jti")) ? 0 : 50027;
}

static long check_federated(struct emu_exchange *x, const struct emu_app *app, const char *jws, const json_t *claims)
{
	const char *audience = app->audience ? app->audience : "api://AzureADTokenExchange";

	if (!app->issuer || strcmp(text_of(claims, "iss"), app->issuer) != 0)
		return 700211;
	if (app->subject && strcmp(text_of(claims, "sub"), app->subject) != 0)
		return 700213;
	if (strcmp(text_of(claims, "aud"), audience) != 0)
		return 700212;
	if (!is_in_time(claims, 0))
		return 700024;
	if (app->issuer_key ? !emu_jws_verify(jws, app->issuer_key) : !emu_token_find(x->emu, jws))
		return 50013;
	return 0;
}

long emu_app_check_assertion(struct emu_exchange *x, const struct emu_app *app, const char *assertion)
{
	json_t *header = NULL, *claims = emu_jws_read(assertion, &header);
	long error = 50027;

	if (claims && header && (json_object_get(header, "x5t#S256") || json_object_get(header, "x5t")))
		error = check_own(x, app, assertion, header, claims);
	else if (claims && header)
		error = check_federated(x, app, assertion, claims);
	json_decref(header);
	json_decref(claims);
	return error;
}
