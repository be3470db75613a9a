/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When what is due. One timer on the wall clock, because tokens end by the
 * wall clock: it fires after a suspend, and the kernel tells when somebody
 * sets the clock. Between two events nothing wakes up.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "broker/broker.h"
#include "common/log.h"

#define GROUPS_EVERY_MS (300 * 1000) /* look group members up again */
#define RELINK_EVERY_MS (86400 * 1000) /* persistent keyrings end after three days unused (keyrings(7)) */
#define STEP_MS 60000 /* a clock that was off by so much may be why something failed */

static struct {
	int fd;
	struct event *event;
	int64_t groups_at, relink_at;
	int64_t ahead; /* of the time since boot, ms: changes when the clock is set, and not in a suspend */
	bool was_set; /* the clock, and nothing was done about it yet */
} schedule = { .fd = -1 };

static int64_t next_due(const struct broker *b)
{
	int64_t due = schedule.relink_at, files_at = files_due(b), sweep_at = sweep_due(), sockets_at = sockets_due();

	if (schedule.groups_at < due && readers_need_check(b))
		due = schedule.groups_at;
	if (files_at < due)
		due = files_at;
	if (sweep_at < due)
		due = sweep_at;
	if (sockets_at < due)
		due = sockets_at;
	for (size_t i = 0; i < b->count; i++) {
		int64_t at = credential_due(b->credentials[i]);

		if (at < due)
			due = at;
	}
	return due;
}

void schedule_arm(struct broker *b)
{
	static const struct timeval second = { 1, 0 };
	int64_t due = next_due(b);
	/* A time in the past fires at once; 0 would disarm. */
	struct itimerspec when = { .it_value = { .tv_sec = due / 1000, .tv_nsec = due % 1000 * 1000000 + 1 } };

	if (timerfd_settime(schedule.fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, NULL) == 0)
		return;
	/* It is armed all the same, and whoever reads it will not be told any more. */
	if (errno == ECANCELED) {
		schedule.was_set = true;
		event_active(schedule.event, EV_READ, 0);
		return;
	}
	log_error("timerfd_settime: %s", strerror(errno));
	/* A clock that does not ring must not end all refreshes. */
	if (schedule.event && event_add(schedule.event, &second) < 0)
		event_active(schedule.event, EV_TIMEOUT, 0);
}

static uint64_t moved(uint64_t when, int64_t step)
{
	return when ? (uint64_t)((int64_t)when + step / 1000) : 0;
}

/*
 * What is a length, not a moment, is as long as it was: who was told to wait
 * a minute does not wait an hour because the clock was set back by one. A
 * token ends when it says, but its refresh comes no later for that.
 */
static void move(struct broker *b, int64_t step)
{
	for (size_t i = 0; i < b->count; i++) {
		struct credential *c = b->credentials[i];

		if (c->next_try)
			c->next_try = credential_error(c)->retry_after || llabs(step) < STEP_MS ? c->next_try + step : now_ms();
		if (step < 0)
			c->record.refresh = moved(c->record.refresh, step);
		c->last_refresh_asked = moved(c->last_refresh_asked, step);
		c->last_reject = moved(c->last_reject, step);
		c->last_repeat = moved(c->last_repeat, step);
	}
	for (size_t i = 0; i < b->user_count; i++)
		b->users[i].slow_until = moved(b->users[i].slow_until, step);
	for (struct conn *conn = b->conns; conn; conn = conn->next)
		conn->deadline += step;
}

/* The kernel tells it after a suspend too. */
static void clock_was_set(struct broker *b)
{
	int64_t ahead = now_ms() - boot_ms(), step = ahead - schedule.ahead;

	schedule.ahead = ahead;
	schedule.was_set = false;
	if (llabs(step) >= 1000)
		log_notice("the clock was set by %+" PRId64 " s", step / 1000);
	move(b, step);
	files_reloaded(b);
	schedule.groups_at = schedule.relink_at = now_ms();
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct broker *b = arg;
	uint64_t count;
	int64_t now = now_ms();

	if (what & EV_TIMEOUT)
		event_remove_timer(schedule.event);
	if (read((int)fd, &count, sizeof(count)) < 0 && errno == ECANCELED)
		schedule.was_set = true;
	if (schedule.was_set)
		clock_was_set(b);
	for (size_t i = 0; i < b->count; i++)
		if (credential_due(b->credentials[i]) <= now)
			credential_tick(b->credentials[i]);
	files_tick(b);
	sweep_tick(b);
	sockets_tick(b);
	if (schedule.groups_at <= now) {
		schedule.groups_at = now + GROUPS_EVERY_MS;
		readers_check(b);
	}
	if (schedule.relink_at <= now) {
		schedule.relink_at = now + RELINK_EVERY_MS;
		readers_relink(b);
	}
	schedule_arm(b);
}

int schedule_start(struct broker *b)
{
	schedule.fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (schedule.fd < 0)
		return -errno;
	schedule.ahead = now_ms() - boot_ms();
	schedule.groups_at = now_ms() + GROUPS_EVERY_MS;
	schedule.relink_at = now_ms() + RELINK_EVERY_MS;
	schedule.event = event_new(b->base, schedule.fd, EV_READ | EV_PERSIST, on_timer, b);
	if (!schedule.event || event_add(schedule.event, NULL) < 0)
		return -ENOMEM;
	schedule_arm(b);
	return 0;
}

void schedule_stop(void)
{
	if (schedule.event)
		event_free(schedule.event);
	if (schedule.fd >= 0)
		close(schedule.fd);
}
