/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An application of Entra ID (a service principal) that proves itself with a
 * secret, with a certificate, or with a token of another issuer.
 */
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "modules/assertion.h"
#include "modules/azure.h"
#include "modules/token-endpoint.h"
#include "modules/token-file.h"

#define FORM_MAX (4 * 65536)
#define TOKEN_MAX 65536
#define ASSERTION_SECONDS 600
#define JWT_BEARER "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

static const struct {
	const char *name;
	const char *authority;
} clouds[] = {
	{ "public", "https://login.microsoftonline.com" },
	{ "usgov", "https://login.microsoftonline.us" },
	{ "china", "https://login.partner.microsoftonline.cn" },
};

/* What Entra's numbers mean here. */
static const struct token_advice advice[] = {
	{ "7000215", KEYFOB_CLASS_PERMANENT, "the secret is wrong: secret_file= must hold the secret's value, not its id" },
	{ "7000222", KEYFOB_CLASS_PERMANENT, "the secret has expired; make a new one and put it into secret_file=" },
	{ "7000229", KEYFOB_CLASS_PERMANENT, "the application has no service principal in this tenant; make one" },
	{ "7000112", KEYFOB_CLASS_PERMANENT, "the application is disabled in this tenant" },
	{ "700016", KEYFOB_CLASS_PERMANENT, "the tenant does not know this client_id=; check both" },
	{ "700027", KEYFOB_CLASS_PERMANENT,
		"the certificate is not registered with the application; upload it, or correct certificate_file=" },
	{ "700021", KEYFOB_CLASS_PERMANENT, "the assertion names another application; check client_id=" },
	{ "700023", KEYFOB_CLASS_PERMANENT, "the assertion is for another audience; check cloud=, authority= and tenant=" },
	{ "700024", KEYFOB_CLASS_PERMANENT,
		"the assertion is too old or too new; check this machine's clock and that the token file is renewed" },
	{ "70021", KEYFOB_CLASS_PERMANENT, "no federated credential of the application fits the token's issuer, subject and audience" },
	{ "700211", KEYFOB_CLASS_PERMANENT, "no federated credential of the application has the token's issuer" },
	{ "700212", KEYFOB_CLASS_PERMANENT,
		"the token's audience must be api://AzureADTokenExchange, or as the federated credential says" },
	{ "700213", KEYFOB_CLASS_PERMANENT, "no federated credential of the application has the token's subject" },
	{ "50027", KEYFOB_CLASS_PERMANENT, "the assertion is no valid JWT" },
	{ "900023", KEYFOB_CLASS_PERMANENT, "there is no such tenant; correct tenant=" },
	{ "90002", KEYFOB_CLASS_PERMANENT, "there is no such tenant in this cloud; correct tenant=, cloud= or authority=" },
	{ "90014", KEYFOB_CLASS_PERMANENT, "the request lacks a field; check the options of this provider line" },
	{ "1002012", KEYFOB_CLASS_PERMANENT, "resource must be one Application ID URI or client id, or that and /.default" },
	{ "70011", KEYFOB_CLASS_PERMANENT, "resource must be one Application ID URI or client id, or that and /.default" },
	{ "500011", KEYFOB_CLASS_PERMANENT, "the tenant does not know the resource; correct resource, or register it" },
	{ "90061", KEYFOB_CLASS_TRANSIENT, "Entra cannot reach the token's issuer to read its keys" },
	{ "90033", KEYFOB_CLASS_TRANSIENT, NULL },
	{ NULL, 0, NULL },
};

struct app {
	bool adfs; /* AD FS speaks the older form: one resource in place of a scope */
	const char *tenant, *client_id;
	struct buffer authority; /* "https://HOST[:PORT]" */
	struct buffer path;
	struct buffer form;
};

/* --- where to --------------------------------------------------------------------- */

static bool check_tenant(const char *tenant, struct keyfob_reply *reply)
{
	static const char *const shared[] = { "common", "organizations", "consumers" };
	const char *letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-";

	if (tenant[strspn(tenant, letters)] || tenant[0] == '.') {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "tenant= takes a GUID or a domain: letters, digits, dots and hyphens");
		return false;
	}
	for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++) {
		if (strcasecmp(tenant, shared[i]) == 0) {
			keyfob_fail(reply, KEYFOB_CLASS_CONFIG,
				"tenant=%s is for people who log in; an application names its own directory", tenant);
			return false;
		}
	}
	return true;
}

static bool put_authority(struct buffer *out, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *cloud = keyfob_setting(request, "cloud", NULL), *authority = keyfob_setting(request, "authority", NULL);
	size_t length = authority ? strlen(authority) : 0;

	if (cloud && authority) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "cloud= and authority= exclude each other; keep one of them");
		return false;
	}
	for (size_t i = 0; !authority && i < sizeof(clouds) / sizeof(clouds[0]); i++)
		if (strcmp(clouds[i].name, cloud ? cloud : "public") == 0)
			return buffer_printf(out, "%s", clouds[i].authority);
	/* AZURE_AUTHORITY_HOST ends with a slash. */
	if (length && authority[length - 1] == '/')
		length--;
	if (length > 8 && strncasecmp(authority, "https://", 8) == 0 && 8 + strcspn(authority + 8, "/?#@") >= length)
		return buffer_put(out, authority, length);
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "authority= takes https:// and a host, and no more");
	return false;
}

static void put_target(struct app *app, const char *resource)
{
	static const char suffix[] = "/.default";
	size_t length = strlen(resource), tail = sizeof(suffix) - 1;
	bool scope = length > tail && strcmp(resource + length - tail, suffix) == 0;
	struct buffer text;

	buffer_init(&text, HTTP_URL_MAX);
	/* A resource that ends with a slash gets a second one: the audience is what stands before the last. */
	if (app->adfs)
		buffer_put(&text, resource, scope ? length - tail : length);
	else
		buffer_printf(&text, "%s%s", resource, scope ? "" : suffix);
	if (buffer_cstring(&text))
		token_form_add(&app->form, app->adfs ? "resource" : "scope", (const char *)text.data);
	else
		app->form.failed = true;
	buffer_free(&text);
}

static bool app_init(struct app *app, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	buffer_init(&app->authority, 512);
	buffer_init(&app->path, 512);
	buffer_init(&app->form, FORM_MAX);
	app->tenant = keyfob_setting(request, "tenant", "");
	app->client_id = keyfob_setting(request, "client_id", "");
	app->adfs = strcasecmp(app->tenant, "adfs") == 0;
	if (!check_tenant(app->tenant, reply) || !put_authority(&app->authority, request, reply))
		return false;
	buffer_printf(&app->path, app->adfs ? "/%s/oauth2/token" : "/%s/oauth2/v2.0/token", app->tenant);
	token_form_add(&app->form, "grant_type", "client_credentials");
	token_form_add(&app->form, "client_id", app->client_id);
	put_target(app, request->resource);
	if (buffer_cstring(&app->authority) && buffer_cstring(&app->path))
		return true;
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "tenant= or authority= is too long");
	return false;
}

static void app_free(struct app *app)
{
	buffer_free(&app->authority);
	buffer_free(&app->path);
	buffer_free(&app->form);
}

static void ask(struct app *app, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct token_endpoint endpoint = {
		.service = app->adfs ? "AD FS" : "Entra",
		.origin = (const char *)app->authority.data,
		.path = (const char *)app->path.data,
		.advice = advice,
	};

	token_endpoint_ask(request, reply, &endpoint, &app->form);
}

static void ask_with(struct app *app, struct buffer *assertion, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *text = buffer_cstring(assertion);

	token_form_add(&app->form, "client_assertion_type", JWT_BEARER);
	if (text)
		token_form_add(&app->form, "client_assertion", text);
	else
		app->form.failed = true;
	ask(app, request, reply);
}

/* --- secret ------------------------------------------------------------------------ */

void azure_secret_obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct buffer secret;
	struct app app;

	buffer_init(&secret, 4096);
	if (app_init(&app, request, reply) && azure_secret(request, reply, "secret_file", &secret)) {
		token_form_add(&app.form, "client_secret", buffer_cstring(&secret));
		ask(&app, request, reply);
	}
	app_free(&app);
	buffer_free(&secret);
}

/* --- workload: a token of another issuer ---------------------------------------------- */

/* Read anew for each exchange: whoever keeps it renews it long before it ends. */
static bool take_federated(const struct keyfob_request *request, struct keyfob_reply *reply, struct buffer *out)
{
	const char *path = keyfob_setting(request, "token_file", NULL);
	const char *from = keyfob_setting(request, "assertion_from", NULL), *text;
	struct buffer token;
	size_t length = 0;
	time_t changed;
	bool ok = false;

	if (!from == !path) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "source=workload wants one of token_file= and assertion_from=");
		return false;
	}
	buffer_init(&token, TOKEN_FILE_MAX + 1);
	text = from ? keyfob_secret(request, "assertion_from", &length) : NULL;
	if (path)
		ok = token_file_read(path, &token, &changed, reply);
	else if (text && buffer_put(&token, text, length))
		ok = token_file_trim(&token, from, reply);
	if (ok && !azure_put_line(out, token.data, token.length))
		ok = false;
	if (!ok && !reply->text[0])
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "%s= holds no token", from ? "assertion_from" : "token_file");
	buffer_free(&token);
	return ok;
}

void azure_workload_obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct buffer assertion;
	struct app app;

	buffer_init(&assertion, TOKEN_MAX);
	if (app_init(&app, request, reply) && take_federated(request, reply, &assertion))
		ask_with(&app, &assertion, request, reply);
	app_free(&app);
	buffer_free(&assertion);
}

/* --- certificate ------------------------------------------------------------------------ */

static struct assertion_key *read_certificate(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	size_t length = 0;
	const char *data = keyfob_secret(request, "certificate_file", &length);
	struct assertion_key *key = NULL;
	struct buffer password;
	char why[200] = "it is missing";

	buffer_init(&password, 4096);
	if (data && memmem(data, length, "-----BEGIN ", 11))
		key = assertion_key_pem(data, length, why, sizeof(why));
	else if (keyfob_setting(request, "password_file", NULL) && !azure_secret(request, reply, "password_file", &password))
		goto out;
	else if (data)
		key = assertion_key_pkcs12(data, length, password.length ? buffer_cstring(&password) : "", why, sizeof(why));
	if (!key) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "certificate_file= is of no use: %s", why);
	} else if (strcmp(assertion_key_type(key), "RSA") != 0) {
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "Entra takes RSA keys only; certificate_file= holds another kind");
		assertion_key_free(key);
		key = NULL;
	}
out:
	buffer_free(&password);
	return key;
}

static json_t *make_header(const struct assertion_key *key, bool chain)
{
	struct buffer thumbprint;
	json_t *header = NULL;

	buffer_init(&thumbprint, 128);
	if (assertion_thumbprint(key, &thumbprint) && buffer_cstring(&thumbprint))
		header = json_pack("{s:s, s:o*}", "x5t#S256", (const char *)thumbprint.data, "x5c", chain ? assertion_chain(key) : NULL);
	buffer_free(&thumbprint);
	return header;
}

/* A new one for each request: its jti counts once. */
static json_t *make_claims(const struct app *app)
{
	json_int_t now = (json_int_t)time(NULL);
	struct buffer jti, audience;
	json_t *claims = NULL;

	buffer_init(&jti, 128);
	buffer_init(&audience, 1024);
	buffer_printf(&audience, "%s%s", (const char *)app->authority.data, (const char *)app->path.data);
	if (assertion_jti(&jti) && buffer_cstring(&jti) && buffer_cstring(&audience))
		claims = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "aud", (const char *)audience.data, "iss", app->client_id, "sub",
			app->client_id, "jti", (const char *)jti.data, "iat", now, "nbf", now, "exp", now + ASSERTION_SECONDS);
	buffer_free(&jti);
	buffer_free(&audience);
	return claims;
}

static void ask_signed(struct app *app, const struct assertion_key *key, const struct keyfob_request *request, struct keyfob_reply *reply)
{
	json_t *header = make_header(key, strcmp(keyfob_setting(request, "send_chain", "no"), "yes") == 0);
	json_t *claims = make_claims(app);
	struct buffer assertion;

	buffer_init(&assertion, TOKEN_MAX);
	if (!header)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "certificate_file= holds a key, but not its certificate");
	else if (!claims || !assertion_sign(key, "PS256", header, claims, &assertion))
		keyfob_fail(reply, KEYFOB_CLASS_TRANSIENT, "the client assertion cannot be signed");
	else
		ask_with(app, &assertion, request, reply);
	buffer_free(&assertion);
	json_decref(header);
	json_decref(claims);
}

void azure_certificate_obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	struct assertion_key *key = NULL;
	struct app app;

	if (app_init(&app, request, reply) && app.adfs)
		keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "AD FS takes no assertion of this form; use source=secret with tenant=adfs");
	else if (reply->class == KEYFOB_CLASS_OK && (key = read_certificate(request, reply)))
		ask_signed(&app, key, request, reply);
	assertion_key_free(key);
	app_free(&app);
}
