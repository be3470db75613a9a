/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `keyfobd --direct NAME`: one fetch for whoever runs it, with the same
 * policy, the same sandbox and nothing stored, where nobody runs a daemon.
 * What goes to stdout is a reply frame, as for a get (common/wire.h); it is
 * `keyfob get --direct` that reads it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"

struct direct {
	struct broker *broker;
	const struct policy_credential *credential;
	size_t provider;
	struct wire_result failure;
	struct buffer reply;
};

static void put_error(struct direct *d, int error, const char *text)
{
	buffer_clear(&d->reply);
	wire_put_error(&d->reply, error, d->failure.retry_after, text);
}

static void on_result(void *arg, const struct wire_result *result, const char *token, size_t length);

static void try_provider(struct direct *d)
{
	const struct policy_provider *p = &d->credential->providers[d->provider];

	struct wire_result result = { .class = KEYFOB_CLASS_CONFIG };

	if (p->fault)
		snprintf(result.text, sizeof(result.text), "%s", p->fault);
	/* Without root there is no becoming somebody else. */
	else if (geteuid() != 0 && p->run_as_name && p->run_as != geteuid())
		snprintf(result.text, sizeof(result.text), "runs as %s, which only root may do", p->run_as_name);
	if (result.text[0]) {
		on_result(d, &result, NULL, 0);
	} else if (!fetch_start(d->broker, d->credential, p, on_result, NULL, d)) {
		put_error(d, KEYFOB_EFAIL, "out of memory");
		event_base_loopbreak(d->broker->base);
	}
}

static void on_result(void *arg, const struct wire_result *result, const char *token, size_t length)
{
	struct direct *d = arg;

	if (result->class == KEYFOB_CLASS_OK) {
		buffer_put_u8(&d->reply, WIRE_VERSION);
		buffer_put_u8(&d->reply, 0);
		buffer_put_string(&d->reply, token, length);
		buffer_put_u64(&d->reply, result->expires);
		buffer_put_u64(&d->reply, result->refresh);
		buffer_put_text(&d->reply, result->fingerprint);
	} else {
		failure_add(&d->failure, d->credential, d->provider, result);
		if (++d->provider < d->credential->provider_count) {
			try_provider(d);
			return;
		}
		put_error(d, failure_is_refusal(d->failure.class) ? KEYFOB_EPROVIDER : KEYFOB_EAGAIN, d->failure.text);
	}
	event_base_loopbreak(d->broker->base);
}

static bool may_have(const struct policy_credential *credential)
{
	int count = getgroups(0, NULL);
	gid_t *groups = calloc((size_t)(count > 0 ? count : 0) + 1, sizeof(*groups));
	bool may;

	if (!groups)
		return false;
	count = getgroups(count, groups);
	if (count < 0)
		count = 0;
	groups[count++] = getegid();
	may = policy_allows(credential, geteuid(), groups, (size_t)count);
	free(groups);
	return may;
}

static bool write_all(const struct buffer *b)
{
	size_t done = 0;

	while (done < b->length) {
		ssize_t n = write(STDOUT_FILENO, b->data + done, b->length - done);

		if (n < 0 && errno != EINTR)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

int direct(struct broker *b, const struct policy *policy, const char *name)
{
	struct direct d = { .broker = b, .credential = policy_find(policy, name) };
	bool ok;

	buffer_init(&d.reply, WIRE_MAX);
	if (!d.credential) {
		put_error(&d, KEYFOB_ENOCRED, "no credential has that name");
	} else if (!may_have(d.credential)) {
		put_error(&d, KEYFOB_EDENIED, "not allowed to have it");
	} else {
		try_provider(&d);
		/* A loop that is told to end before it runs would not. */
		if (!d.reply.length)
			event_base_dispatch(b->base);
	}
	ok = !d.reply.failed && d.reply.length && write_all(&d.reply);
	buffer_free(&d.reply);
	return ok ? 0 : 1;
}
