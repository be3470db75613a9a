/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What should have been taken away and could not be, because a call failed:
 * later, all that the keyring holds is looked through, and what nobody should
 * have goes. The kernel says of a key that it is gone when it is, so that is
 * looked at again too.
 */
#include <errno.h>
#include <string.h>

#include "broker/broker.h"
#include "common/log.h"

#define FIRST_MS 1000 /* doubles up to LAST_MS */
#define LAST_MS 60000

static struct {
	int64_t due; /* ms since the epoch, 0: nothing is left over */
	unsigned int rounds;
	bool told;
	int error; /* of this round */
} sweep;

static bool is_gone(int error)
{
	return error > 0 || error == -EKEYREVOKED || error == -EKEYEXPIRED;
}

void sweep_after(struct broker *b, int error)
{
	if (error == 0)
		return;
	if (!is_gone(error) && !sweep.told) {
		log_warning("event=revoke-failed error=\"%s\"; tried again", strerror(-error));
		sweep.told = true;
	}
	if (!sweep.due) {
		sweep.due = now_ms() + FIRST_MS;
		schedule_arm(b);
	}
}

static void note(int error)
{
	if (error != 0)
		sweep.error = error;
}

/* A master that is not this broker's token: of a credential that is not there, or was dropped. */
static void look_at_credential(void *arg, const char *name)
{
	struct broker *b = arg;
	const struct credential *c = credential_find(b, name);

	if (!c || !c->has_token)
		note(store_revoke_master(&b->store, name));
	if (!c)
		note(store_put_asked(&b->store, name, NULL, 0, 0));
}

static void look_at_copy(void *arg, uid_t uid, const char *name)
{
	struct broker *b = arg;
	struct credential *c = credential_find(b, name);

	if (!c || !c->has_token || c->policy->store == POLICY_STORE_SOCKET || !reader_of(c, uid, false))
		note(store_revoke_copy(&b->store, uid, name));
}

int64_t sweep_due(void)
{
	/* The clock was set back. */
	if (sweep.due > now_ms() + LAST_MS)
		sweep.due = now_ms();
	return sweep.due ? sweep.due : INT64_MAX;
}

void sweep_tick(struct broker *b)
{
	int64_t wait = FIRST_MS;

	if (sweep_due() > now_ms())
		return;
	sweep.error = 0;
	publish_lock();
	note(store_each_copy(&b->store, look_at_copy, b));
	note(store_each_credential(&b->store, look_at_credential, b));
	publish_unlock();
	if (sweep.error == 0) {
		if (sweep.told)
			log_notice("event=revoked; what could not be taken away is gone");
		sweep.due = 0;
		sweep.rounds = 0;
		sweep.told = false;
		return;
	}
	sweep.rounds++;
	for (unsigned int i = 0; i < sweep.rounds && wait < LAST_MS; i++)
		wait *= 2;
	sweep.due = now_ms() + (wait < LAST_MS ? wait : LAST_MS);
}
