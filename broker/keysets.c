/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key sets of identity providers: the verifier has no network, so it asks
 * here. What is fetched, and from where, is by the broker's own reading of the
 * configuration; the asker names an identity provider and no address. The
 * document is handed over unread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "broker/broker.h"
#include "common/log.h"

#define ATTEMPT_SECONDS 20 /* discovery and the key set together */
#define WAIT_MS 30000
#define RUNNING_MAX 4 /* fetches for one identity provider, when those who ask want no other's */
#define SETTINGS 7
#define ETAG_SIZE sizeof(((struct wire_result *)NULL)->code)

/* One fetch, and who waits for it. It has copies of all that it needs: a reload may come. */
struct keyset {
	struct keyset *next;
	struct broker *broker;
	char *name, *source;
	char etag[ETAG_SIZE];
	bool was_left; /* an asker went away: he may have revoked what this brings, and must not get it when he asks anew */
	struct fetch *fetch;
	struct policy_credential credential;
	struct policy_provider provider;
	struct policy_setting settings[SETTINGS];
	struct conn *askers;
};

static void free_keyset(struct keyset *k)
{
	for (size_t i = 0; i < k->provider.count; i++)
		free(k->settings[i].value);
	free(k->name);
	free(k->source);
	free(k);
}

static void unlink_keyset(struct keyset *k)
{
	struct keyset **at = &k->broker->keysets;

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
}

/* RFC 9110 section 8.8.3. It comes from a fetch or from the verifier, and goes into a header. */
static bool is_etag(const char *etag)
{
	size_t length = strlen(etag);

	for (const char *at = etag; *at; at++)
		if (*at <= 0x20 || *at >= 0x7f)
			return false;
	if (strncmp(etag, "W/", 2) == 0) {
		etag += 2;
		length -= 2;
	}
	return length >= 2 && etag[0] == '"' && etag[length - 1] == '"';
}

/* --- answers ------------------------------------------------------------------------- */

/* All of it fits the socket's buffer, so that a client who does not read keeps nobody waiting. */
static int send_document(const struct conn *conn, const char *document, size_t length)
{
	int room = 2 * WIRE_KEYSET_MAX, error = 0;
	struct buffer frame;

	setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	buffer_init(&frame, WIRE_CHUNK);
	for (size_t sent = 0; sent < length && error == 0; sent += frame.length) {
		buffer_clear(&frame);
		buffer_put(&frame, document + sent, length - sent < WIRE_CHUNK ? length - sent : WIRE_CHUNK);
		error = wire_send(conn->fd, &frame, -1);
	}
	buffer_free(&frame);
	return error;
}

static void reply_document(const struct keyset *k, struct conn *conn, const struct wire_result *result, const char *document, size_t length)
{
	struct buffer head;
	int error;

	conn_reply_start(&head);
	buffer_put_text(&head, is_etag(result->code) ? result->code : "");
	buffer_put_u64(&head, result->refresh);
	buffer_put_u8(&head, length == 0);
	buffer_put_u32(&head, (uint32_t)length);
	error = wire_send(conn->fd, &head, -1);
	buffer_free(&head);
	if (error == 0)
		error = send_document(conn, document, length);
	if (error == -EAGAIN)
		log_warning("identity_provider=%s event=keyset-failed text=\"%zu bytes do not fit a socket: raise net.core.wmem_max\"",
			k->name, length);
	conn_close(conn);
}

/* Everybody who waits gets the result, and the fetch is over. */
static void answer_all(struct keyset *k, const struct wire_result *result, const char *document, size_t length)
{
	bool refused = failure_is_refusal(result->class);
	struct conn *conn = k->askers, *next;

	for (; conn; conn = next) {
		next = conn->next_asker;
		conn->keyset = NULL;
		if (result->class == KEYFOB_CLASS_OK)
			reply_document(k, conn, result, document, length);
		else
			conn_reply_error(
				conn, refused ? KEYFOB_EPROVIDER : KEYFOB_EAGAIN, refused ? 0 : result->retry_after, "%s", result->text);
	}
	unlink_keyset(k);
	free_keyset(k);
}

static void on_fetched(void *arg, const struct wire_result *result, const char *document, size_t length)
{
	static const struct wire_result nothing = { .class = KEYFOB_CLASS_TRANSIENT, .text = "keyfob-fetch sent no key set" };
	struct keyset *k = arg;
	char text[WIRE_TEXT_MAX + 256];

	k->fetch = NULL;
	if (result->class == KEYFOB_CLASS_OK && length == 0 && !*k->etag)
		result = &nothing;
	if (result->class != KEYFOB_CLASS_OK)
		log_warning("identity_provider=%s event=keyset-failed class=%s text=\"%s\"", k->name, failure_class_name(result->class),
			log_quote(result->text, text, sizeof(text)));
	else if (length == 0)
		log_info("identity_provider=%s event=keyset-fetched same=yes", k->name);
	else
		log_info("identity_provider=%s event=keyset-fetched bytes=%zu", k->name, length);
	answer_all(k, result, document, length);
}

/* --- fetching ------------------------------------------------------------------------ */

static bool set(struct keyset *k, const char *name, const char *value)
{
	struct policy_setting *setting = &k->settings[k->provider.count];

	if (!value || !*value)
		return true;
	setting->name = (char *)(uintptr_t)name;
	setting->value = strdup(value);
	return setting->value && ++k->provider.count;
}

static struct keyset *new_keyset(struct broker *b, const struct federation_provider *p, const char *etag)
{
	struct keyset *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->broker = b;
	k->name = strdup(p->name);
	k->source = strdup(p->source);
	memcpy(k->etag, etag, strlen(etag) + 1);
	k->credential.name = k->name;
	k->provider.module = (char *)(uintptr_t) "jwks";
	k->provider.sandbox = KEYFOB_SANDBOX_NETWORK;
	k->provider.kind = KEYFOB_KIND_DOCUMENT;
	k->provider.run_as = b->fetch_uid;
	k->provider.timeout = ATTEMPT_SECONDS;
	k->provider.settings = k->settings;
	if (k->name && k->source && set(k, "issuer", p->issuer) && set(k, "discovery_url", p->discovery_url) &&
		set(k, "jwks_uri", p->jwks_uri) && set(k, "ca_file", p->ca_file) && set(k, "proxy", p->proxy) && set(k, "pin", p->pin) &&
		set(k, "etag", k->etag))
		k->fetch = fetch_start(b, &k->credential, &k->provider, on_fetched, NULL, k);
	if (!k->fetch) {
		free_keyset(k);
		return NULL;
	}
	k->next = b->keysets;
	b->keysets = k;
	return k;
}

/* Whoever asks a second time before the first is answered does not want what was begun before. */
static bool has_asked(const struct keyset *k, const struct conn *conn)
{
	for (const struct conn *other = k->askers; other; other = other->next_asker)
		if (other->peer.pid == conn->peer.pid)
			return true;
	return false;
}

/* A fetch that runs and whose result answers this request as well. */
static struct keyset *find_running(const struct conn *conn, const char *name, const char *etag)
{
	for (struct keyset *k = conn->broker->keysets; k; k = k->next)
		if (strcmp(k->name, name) == 0 && (!*k->etag || strcmp(k->etag, etag) == 0) && !k->was_left && !has_asked(k, conn))
			return k;
	return NULL;
}

static unsigned int count_running(const struct broker *b, const char *name)
{
	unsigned int count = 0;

	for (const struct keyset *k = b->keysets; k; k = k->next)
		count += strcmp(k->name, name) == 0;
	return count;
}

void keyset_ask(struct conn *conn, struct reader *r)
{
	char name[WIRE_NAME_MAX + 1], etag[ETAG_SIZE];
	const struct federation_provider *p;
	const uint8_t *source;
	struct keyset *k;
	size_t length;

	reader_text(r, name, sizeof(name));
	source = reader_string(r, &length);
	reader_text(r, etag, sizeof(etag));
	if (!reader_done(r) || (*etag && !is_etag(etag))) {
		conn_reply_error(conn, KEYFOB_EINVAL, 0, "malformed request");
		return;
	}
	p = federation_provider(&conn->broker->policy->federation, name);
	if (!p || p->jwks_file) {
		conn_reply_error(conn, p ? KEYFOB_EPROVIDER : KEYFOB_ENOCRED, 0, "%s",
			p ? "its keys come from jwks_file, not from the network" : "no identity provider has that name");
		return;
	}
	/* An asker that has read the configuration at another time would take the keys of one place for another's. */
	if (length && (length != strlen(p->source) || memcmp(source, p->source, length) != 0)) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "keyfobd knows it by another configuration (keyfob reload)");
		return;
	}
	k = find_running(conn, name, etag);
	if (!k && count_running(conn->broker, name) >= RUNNING_MAX) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "it is being fetched %d times over", RUNNING_MAX);
		return;
	}
	if (!k)
		k = new_keyset(conn->broker, p, etag);
	if (!k) {
		conn_reply_error(conn, KEYFOB_EAGAIN, 1, "out of memory");
		return;
	}
	conn->keyset = k;
	conn->next_asker = k->askers;
	k->askers = conn;
	conn_wait(conn, CONN_KEYSET, WAIT_MS);
}

void keyset_leave(struct conn *conn)
{
	struct keyset *k = conn->keyset;
	struct conn **at = &k->askers;

	while (*at != conn)
		at = &(*at)->next_asker;
	*at = conn->next_asker;
	conn->keyset = NULL;
	k->was_left = true;
	if (k->askers)
		return;
	fetch_cancel(k->fetch);
	unlink_keyset(k);
	free_keyset(k);
}

static bool is_as_it_was(const struct keyset *k)
{
	const struct federation_provider *p = federation_provider(&k->broker->policy->federation, k->name);

	return p && strcmp(p->source, k->source) == 0;
}

void keyset_reloaded(struct broker *b)
{
	static const struct wire_result changed = {
		.class = KEYFOB_CLASS_TRANSIENT, .retry_after = 1, .text = "the configuration was read afresh meanwhile"
	};
	struct keyset *k, *next;

	for (k = b->keysets; k; k = next) {
		next = k->next;
		if (is_as_it_was(k))
			continue;
		fetch_cancel(k->fetch);
		answer_all(k, &changed, NULL, 0);
	}
}
