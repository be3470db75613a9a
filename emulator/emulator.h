/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob-emulator: a cloud on loopback, with faults on demand.
 *
 * It shares no code with the rest of the project, so that it can judge it:
 * what it hands out is made by other hands than those that will read it.
 * One thread, one event loop; every reply may come late or in pieces.
 */
#ifndef KEYFOB_EMULATOR_H
#define KEYFOB_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <jansson.h>

enum emu_source {
	EMU_IMDS,
	EMU_METADATA,
	EMU_OPENID,
	EMU_JWKS,
	EMU_GOOGLE_TOKEN,
	EMU_GOOGLE_IAM,
	EMU_GOOGLE_STS,
	EMU_ENTRA,
	EMU_APPSERVICE,
	EMU_ARC,
	EMU_OAUTH2,
	EMU_SOURCES,
	EMU_CONTROL = EMU_SOURCES,
};

/* Texts are NULL and numbers 0 where a fault does not ask for anything. */
struct emu_fault {
	long refs;
	long left; /* requests it still holds for; 0 means until it is cleared */
	long status;
	long delay_ms;
	long drip_ms;
	long size;
	long token_bytes;
	long lifetime;
	long clock; /* seconds that this cloud's clock is ahead */
	long truncate;
	long html;
	long opaque;
	long newline;
	long enforce;
	char *retry_after;
	char *body;
	char *redirect;
	char *flavor;
	char *expires;
	char *issuer;
	char *alg;
	long aadsts; /* Entra: this error */
	long codes_text; /* Entra: error_codes as a text */
	long deaf; /* Arc: an agent that heeds no identity */
	char *spelling; /* App Service: how expires_on is spelled */
	char *challenge; /* Arc: what is wrong with it */
};

struct emu_counters {
	json_int_t requests;
	json_int_t ok;
	json_int_t errors;
	json_int_t tokens;
	json_int_t max_concurrent;
	json_int_t violations;
	json_int_t running; /* not reset: these requests will still end */
};

enum { EMU_RATE_LIMIT = 20, EMU_CONCURRENCY_LIMIT = 5, EMU_PARAMETERS = 32 };

struct emu_query {
	size_t count;
	char *name[EMU_PARAMETERS];
	char *value[EMU_PARAMETERS];
};

struct emu_keys;
struct emu_token;
TAILQ_HEAD(emu_tokens, emu_token);
struct emu_google_account;
LIST_HEAD(emu_google_accounts, emu_google_account);
struct emu_azure;
struct emu_client;
LIST_HEAD(emu_clients, emu_client);
struct emu_exchange;
TAILQ_HEAD(emu_exchanges, emu_exchange);

struct emu {
	struct event_base *base;
	struct evhttp *http;
	char url[80]; /* http://ADDR:PORT */
	char *issuer; /* what tokens and discovery say */
	long lifetime; /* 0: each source's own */
	struct emu_keys *keys;
	struct emu_tokens tokens;
	size_t token_count;
	struct emu_google_accounts google_accounts;
	struct emu_azure *azure;
	struct emu_clients clients;
	struct emu_exchanges exchanges;
	struct emu_fault *faults[EMU_SOURCES];
	struct emu_counters counters[EMU_SOURCES];
	int64_t recent[EMU_RATE_LIMIT]; /* when the last IMDS requests came, in ms, a ring */
	size_t recent_at;
};

/* One request, from its arrival until the last byte of its reply is handed over. */
struct emu_exchange {
	TAILQ_ENTRY(emu_exchange) link;
	struct emu *emu;
	struct evhttp_request *req;
	enum emu_source source;
	void (*handle)(struct emu_exchange *x);
	void (*then)(struct emu_exchange *x); /* what the timer calls */
	struct emu_fault *fault; /* never NULL */
	char *path; /* decoded */
	struct emu_query query;
	struct event *timer;
	struct evbuffer *body;
	bool refused; /* over the limits while the fault "enforce" was on */
};

/* server.c */
bool emu_server_start(struct emu *emu, const char *address, uint16_t port);
void emu_server_stop(struct emu *emu);

/* exchange.c */
/* NULL when the path makes no text, or memory ran out. */
struct emu_exchange *emu_exchange_new(struct emu *emu, struct evhttp_request *req);
/* Frees the exchange; the request has been answered or lost its connection. */
void emu_exchange_free(struct emu_exchange *x);
/* Call then(x) in so many milliseconds. */
void emu_exchange_later(struct emu_exchange *x, long ms, void (*then)(struct emu_exchange *x));
const char *emu_header_in(const struct emu_exchange *x, const char *name);
void emu_header_out(struct emu_exchange *x, const char *name, const char *value);
bool emu_is_get(const struct emu_exchange *x);
/*
 * Answer, in the way that the fault of this exchange asks for. Each ends the
 * exchange: x is gone, now or when the last byte has dripped out.
 */
void emu_reply(struct emu_exchange *x, int status, const char *type, const char *body, size_t length);
void emu_reply_text(struct emu_exchange *x, int status, const char *type, const char *text);
void emu_reply_json(struct emu_exchange *x, int status, json_t *json); /* takes the reference */
void emu_reply_method(struct emu_exchange *x, const char *allowed);

/* query.c */
/* Add what a query string or a form holds. False if it is malformed or too much. */
bool emu_query_parse(struct emu_query *q, const char *text, size_t length);
void emu_query_free(struct emu_query *q);
const char *emu_query_get(const struct emu_query *q, const char *name);
/* The first name that stands there twice, or NULL. */
const char *emu_query_repeated(const struct emu_query *q);
/* Is each byte of this form either unreserved, a separator, "+", or percent-encoded? */
bool emu_form_encoded(const char *text, size_t length);

/* faults.c */
extern const char *const emu_source_names[EMU_SOURCES];
/* The fault this request meets, with a reference; uses up one of its count. */
struct emu_fault *emu_fault_take(struct emu *emu, enum emu_source source);
void emu_fault_release(struct emu_fault *fault);
void emu_faults_clear(struct emu *emu);
/* Set one from its parameters. On failure, message says what was wrong. */
bool emu_fault_set(struct emu *emu, const struct emu_query *q, char *message, size_t size);
/* Answer in place of the source where the fault says so. False: the source shall answer. */
bool emu_fault_answer(struct emu_exchange *x);

/* counters.c */
void emu_count_begin(struct emu_exchange *x);
void emu_count_reply(struct emu_exchange *x, int status);
void emu_count_end(struct emu_exchange *x);
void emu_count_reset(struct emu *emu);
json_t *emu_count_json(const struct emu *emu);

/* keys.c */
enum { EMU_SHA256 = 32 };
struct emu_keys *emu_keys_new(void);
void emu_keys_free(struct emu_keys **keys);
/* New keys to sign with; the ones before stay in the JWKS, older ones leave it. */
bool emu_keys_rotate(struct emu_keys *keys);
json_t *emu_keys_jwks(const struct emu_keys *keys);
/* A signed JWT, to be freed. alg is RS256 or ES256, NULL means RS256. */
char *emu_keys_sign(const struct emu_keys *keys, const char *alg, const json_t *claims);
/* Hash, random text and a stable UUID, for whoever makes up ids. */
void emu_sha256(const char *text, uint8_t out[EMU_SHA256]);
char *emu_base64url(const void *data, size_t length);
char *emu_random_text(size_t length);
void emu_uuid_of(const char *text, char out[37]);

/* jws.c */
/* The claims of a compact JWS, and where asked for its header: new references. Does not look at the signature. */
json_t *emu_jws_read(const char *jws, json_t **header);
/* Is it signed, by RS256, PS256 or ES256, with the key of this public key or certificate (PEM)? */
bool emu_jws_verify(const char *jws, const char *pem);
bool emu_jws_key_valid(const char *pem);

/* tokens.c */
struct emu_token {
	TAILQ_ENTRY(emu_token) link;
	char *key;
	char *text;
	time_t issued;
	time_t expires;
};
struct emu_wish {
	const char *key; /* same key, same token */
	json_t *claims; /* without times, issuer and jti; NULL asks for an opaque token */
	const char *prefix; /* of an opaque token */
	long lifetime; /* the source's own */
	long margin; /* a token with less left than this is replaced */
};
/* The token for this wish; good until the next call. NULL when memory ran out. */
const struct emu_token *emu_token_get(struct emu_exchange *x, const struct emu_wish *wish);
/* A token that was handed out and still lives, by its text; NULL if there is none. */
const struct emu_token *emu_token_find(const struct emu *emu, const char *text);
/* Forget all: what is asked for next is new. */
void emu_tokens_clear(struct emu *emu);
/* Seconds it still lives, by this cloud's clock. */
json_int_t emu_token_left(const struct emu_exchange *x, const struct emu_token *token);
/*
 * A token reply with its expiry: adds expires_in, and expires_on where that is
 * wanted as well, in the form that the fault asks for. Takes the reference.
 */
void emu_reply_token(struct emu_exchange *x, json_t *json, json_t *expires_in, json_t *expires_on);

/* google.c */
struct emu_google_account {
	LIST_ENTRY(emu_google_account) link;
	char *email;
	char *key; /* the public one, PEM */
	char *key_id;
};
void emu_google_free(struct emu *emu);
/* The account that signed this JWT; NULL if none did. */
const struct emu_google_account *emu_google_signer(const struct emu *emu, const char *jwt);
/* Control: make known an account with a key. */
void emu_google_account(struct emu_exchange *x);
/* POST of a form, nothing in the URL, nothing twice. Answers, and returns false, if it is not. */
bool emu_google_form(struct emu_exchange *x, const char *const *names, size_t count);
void emu_google_token(struct emu_exchange *x);
void emu_google_iam(struct emu_exchange *x);
void emu_google_sts(struct emu_exchange *x);

/* azure.c: what the three of Azure's sources below remember. */
/* arc_dir: where the keys go that Arc's agent makes; NULL: this machine is a virtual machine in Azure. */
struct emu_azure *emu_azure_new(const char *arc_dir);
void emu_azure_free(struct emu_azure **azure);
bool emu_azure_is_arc(const struct emu *emu);
/* entra.c, appservice.c, arc.c */
bool emu_entra_path(const char *path);
void emu_entra(struct emu_exchange *x);
void emu_appservice(struct emu_exchange *x);
void emu_arc(struct emu_exchange *x);
/* Control: make known an application; change the header secret. */
void emu_entra_app(struct emu_exchange *x);
void emu_appservice_secret(struct emu_exchange *x);

/* oauth2.c */
#define EMU_OAUTH2_PATH "/oauth2/token"
void emu_oauth2(struct emu_exchange *x);
void emu_oauth2_free(struct emu *emu);
/* Control: make known a client with a secret or a public key. */
void emu_oauth2_client(struct emu_exchange *x);

/* imds.c, metadata.c, openid.c, control.c */
void emu_imds(struct emu_exchange *x);
void emu_metadata(struct emu_exchange *x);
void emu_openid(struct emu_exchange *x);
void emu_jwks(struct emu_exchange *x);
void emu_control(struct emu_exchange *x);

#endif
