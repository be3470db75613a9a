/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring/keyfob.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keyring/client.h"
#include "keyring/lookup.h"

#define GET_TIMEOUT_MS 35000 /* the broker answers within 30 s */
#define CALL_TIMEOUT_MS 5000

struct keyfob_token {
	time_t expires;
	size_t length;
	char value[];
};

#define BUCKETS 256 /* a thousand credentials are found as fast as one */

/* The token last read from the keyring for one credential. */
struct remembered {
	struct remembered *next;
	char *credential;
	key_serial_t serial;
	struct keyfob_token *token;
};

struct keyfob {
	pthread_mutex_t lock;
	bool *mark; /* see new_fork_mark() */
	pid_t pid; /* whose lookup and tokens these are */
	uid_t euid;
	bool is_stale; /* another process filled this in */
	struct lookup lookup;
	struct remembered *tokens[BUCKETS]; /* see bucket_of() */
	char message[WIRE_TEXT_MAX];
};

static struct keyfob_token *new_token(const void *value, size_t length, time_t expires)
{
	struct keyfob_token *token = malloc(sizeof(*token) + length + 1);

	if (token) {
		token->expires = expires;
		token->length = length;
		memcpy(token->value, value, length);
		token->value[length] = 0;
	}
	return token;
}

void keyfob_token_free(struct keyfob_token **token)
{
	if (!token || !*token)
		return;
	explicit_bzero((*token)->value, (*token)->length);
	free(*token);
	*token = NULL;
}

const char *keyfob_token_value(const struct keyfob_token *token)
{
	return token->value;
}

size_t keyfob_token_length(const struct keyfob_token *token)
{
	return token->length;
}

time_t keyfob_token_expires(const struct keyfob_token *token)
{
	return token->expires;
}

/*
 * A mark that is zero in a child made by fork (madvise(2)): to ask for the pid each time would be a tenth of what a token at
 * hand costs. NULL where the kernel has no such memory.
 */
static bool *new_fork_mark(void)
{
	const size_t size = (size_t)sysconf(_SC_PAGESIZE);
	bool *mark = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mark == MAP_FAILED)
		return NULL;
	if (madvise(mark, size, MADV_WIPEONFORK) < 0) {
		munmap(mark, size);
		return NULL;
	}
	*mark = true;
	return mark;
}

int keyfob_open(struct keyfob **kf)
{
	struct keyfob *new;

	if (!kf)
		return KEYFOB_EINVAL;
	new = calloc(1, sizeof(*new));
	if (!new)
		return KEYFOB_ENOMEM;
	pthread_mutex_init(&new->lock, NULL);
	new->pid = getpid();
	new->mark = new_fork_mark();
	new->euid = geteuid();
	*kf = new;
	return 0;
}

static void forget_all(struct keyfob *kf)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (kf->tokens[i]) {
			struct remembered *gone = kf->tokens[i];

			kf->tokens[i] = gone->next;
			keyfob_token_free(&gone->token);
			free(gone->credential);
			free(gone);
		}
	}
	memset(&kf->lookup, 0, sizeof(kf->lookup));
}

void keyfob_close(struct keyfob **kf)
{
	if (!kf || !*kf)
		return;
	forget_all(*kf);
	if ((*kf)->mark)
		munmap((*kf)->mark, (size_t)sysconf(_SC_PAGESIZE));
	pthread_mutex_destroy(&(*kf)->lock);
	free(*kf);
	*kf = NULL;
}

/* Is this another process than the one that knew what the handle knows? */
static bool is_elsewhere(const struct keyfob *kf)
{
	return kf->mark ? !*kf->mark : kf->pid != getpid();
}

/*
 * Lock, and forget what another process or user knew: a child has no process
 * keyring of its parent's, and another user is not meant to read what this one
 * could. In a child the lock itself may be one that a thread of the parent
 * held, and will never release.
 */
static void enter(struct keyfob *kf)
{
	uid_t euid = geteuid();

	if (is_elsewhere(kf)) {
		pthread_mutex_init(&kf->lock, NULL);
		kf->pid = getpid();
		if (kf->mark)
			*kf->mark = true;
		kf->is_stale = true;
	}
	pthread_mutex_lock(&kf->lock);
	if (kf->is_stale || kf->euid != euid)
		forget_all(kf);
	kf->is_stale = false;
	kf->euid = euid;
}

static struct remembered **bucket_of(struct keyfob *kf, const char *credential)
{
	uint32_t hash = 5381;

	for (; *credential; credential++)
		hash = hash * 33 + (unsigned char)*credential;
	return &kf->tokens[hash % BUCKETS];
}

static struct remembered *recall(struct keyfob *kf, const char *credential)
{
	for (struct remembered *r = *bucket_of(kf, credential); r; r = r->next)
		if (strcmp(r->credential, credential) == 0)
			return r;
	return NULL;
}

/* Failing to remember costs time later, nothing else. */
static void remember(struct keyfob *kf, const char *credential, key_serial_t serial, const struct keyfob_token *token)
{
	struct remembered *r = recall(kf, credential);

	if (!r) {
		r = calloc(1, sizeof(*r));
		if (!r || !(r->credential = strdup(credential))) {
			free(r);
			return;
		}
		r->next = *bucket_of(kf, credential);
		*bucket_of(kf, credential) = r;
	}
	keyfob_token_free(&r->token);
	r->token = new_token(token->value, token->length, token->expires);
	r->serial = serial;
}

static struct keyfob_token *get_remembered(struct keyfob *kf, const char *credential)
{
	struct remembered *r = recall(kf, credential);

	if (!r || !r->token || r->token->expires <= time(NULL) || !lookup_stands(r->serial, r->token->length))
		return NULL;
	return new_token(r->token->value, r->token->length, r->token->expires);
}

static int get_from_keyring(struct keyfob *kf, const char *credential, struct keyfob_token **token)
{
	struct lookup_hit hit;
	struct buffer bytes;
	int error;

	buffer_init(&bytes, WIRE_TOKEN_MAX + 2048);
	kf->lookup.broker = client_socket();
	kf->lookup.own = client_is_own(kf->lookup.broker);
	error = lookup_token(&kf->lookup, credential, &bytes, &hit);
	if (error == 0) {
		*token = new_token(bytes.data, bytes.length, hit.expires);
		if (*token)
			remember(kf, credential, hit.serial, *token);
		error = *token ? 0 : KEYFOB_ENOMEM;
	}
	buffer_free(&bytes);
	return error;
}

static int get_from_broker(struct keyfob *kf, const char *credential, struct keyfob_token **token)
{
	char message[WIRE_TEXT_MAX];
	struct buffer request, reply;
	struct reader r;
	size_t length;
	int error;

	buffer_init(&request, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_put_text(&request, credential);
	error = client_call(WIRE_GET, &request, GET_TIMEOUT_MS, &reply, &r, message, sizeof(message));
	if (error == 0) {
		const uint8_t *value = reader_string(&r, &length);
		uint64_t expires = reader_u64(&r);

		if (r.failed || length == 0 || length > WIRE_TOKEN_MAX || memchr(value, 0, length)) {
			error = KEYFOB_EBROKER;
			snprintf(message, sizeof(message), "the broker's answer is malformed");
		} else {
			*token = new_token(value, length, (time_t)expires);
			error = *token ? 0 : KEYFOB_ENOMEM;
		}
	}
	/* In a container there is, at best, the credential's own socket, which does not tell the expiry. */
	if (error == KEYFOB_EBROKER) {
		buffer_clear(&reply);
		error = client_read_own(credential, GET_TIMEOUT_MS, &reply, message, sizeof(message));
		if (error == 0)
			*token = new_token(reply.data, reply.length, 0);
		if (error == 0 && !*token)
			error = KEYFOB_ENOMEM;
	}
	if (error < 0) {
		enter(kf);
		memcpy(kf->message, message, sizeof(kf->message));
		pthread_mutex_unlock(&kf->lock);
	}
	buffer_free(&request);
	buffer_free(&reply);
	return error;
}

int keyfob_get(struct keyfob *kf, const char *credential, struct keyfob_token **token)
{
	struct keyfob_token *found;
	int error = 0;

	if (!kf || !credential || !token)
		return KEYFOB_EINVAL;
	enter(kf);
	/* What is remembered has a valid name: to look at it again would cost as much as a call of the kernel's. */
	found = get_remembered(kf, credential);
	if (!found)
		error = wire_name_valid(credential) ? get_from_keyring(kf, credential, &found) : KEYFOB_EINVAL;
	pthread_mutex_unlock(&kf->lock);
	/* Without the lock: a first fetch may take half a minute, and other credentials need not wait for it. */
	if (error < 0 && error != KEYFOB_ENOMEM && error != KEYFOB_EINVAL)
		error = get_from_broker(kf, credential, &found);
	if (error == 0)
		*token = found;
	return error;
}

int keyfob_reject(struct keyfob *kf, const char *credential, const char *token)
{
	struct buffer request, reply;
	struct reader r;
	char message[WIRE_TEXT_MAX];
	int error;

	if (!kf || !credential || !token || !wire_name_valid(credential))
		return KEYFOB_EINVAL;
	buffer_init(&request, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_put_text(&request, credential);
	buffer_put_text(&request, token);
	error = client_call(WIRE_REJECT, &request, CALL_TIMEOUT_MS, &reply, &r, message, sizeof(message));
	enter(kf);
	if (error < 0)
		memcpy(kf->message, message, sizeof(kf->message));
	pthread_mutex_unlock(&kf->lock);
	buffer_free(&request);
	buffer_free(&reply);
	return error;
}

size_t keyfob_message(struct keyfob *kf, char *text, size_t size)
{
	int length;

	if (!kf)
		return 0;
	enter(kf);
	length = snprintf(text, size, "%s", kf->message);
	pthread_mutex_unlock(&kf->lock);
	return length < 0 ? 0 : (size_t)length;
}

const char *keyfob_strerror(int error)
{
	switch (error) {
	case 0:
		return "no error";
	case KEYFOB_EFAIL:
		return "failed";
	case KEYFOB_EINVAL:
		return "invalid argument";
	case KEYFOB_ENOCRED:
		return "no such credential";
	case KEYFOB_EDENIED:
		return "not allowed to have this credential";
	case KEYFOB_EPROVIDER:
		return "the provider refused";
	case KEYFOB_EBROKER:
		return "the broker is out of reach";
	case KEYFOB_EREFUSED:
		return "the token was refused";
	case KEYFOB_EAGAIN:
		return "temporarily unavailable, try again";
	case KEYFOB_ENOMEM:
		return "out of memory";
	default:
		return "unknown error";
	}
}
