/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When what is due. One timer on the wall clock, because tokens end by the
 * wall clock: it fires after a suspend, and the kernel tells when somebody
 * sets the clock. Between two events nothing wakes up.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "broker/broker.h"
#include "common/log.h"

#define GROUPS_EVERY_MS (300 * 1000) /* look group members up again */
#define RELINK_EVERY_MS (86400 * 1000) /* persistent keyrings end after three days unused (keyrings(7)) */

static struct {
	int fd;
	struct event *event;
	int64_t groups_at, relink_at;
} schedule = { .fd = -1 };

static int64_t next_due(const struct broker *b)
{
	int64_t due = schedule.relink_at, files_at = files_due(b);

	if (schedule.groups_at < due && readers_need_check(b))
		due = schedule.groups_at;
	if (files_at < due)
		due = files_at;
	for (size_t i = 0; i < b->count; i++) {
		int64_t at = credential_due(b->credentials[i]);

		if (at < due)
			due = at;
	}
	return due;
}

void schedule_arm(struct broker *b)
{
	int64_t due = next_due(b);
	/* A time in the past fires at once; 0 would disarm. */
	struct itimerspec when = { .it_value = { .tv_sec = due / 1000, .tv_nsec = due % 1000 * 1000000 + 1 } };

	if (timerfd_settime(schedule.fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, NULL) < 0)
		log_error("timerfd_settime: errno %d", errno);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct broker *b = arg;
	uint64_t count;
	int64_t now = now_ms();

	(void)what;
	if (read((int)fd, &count, sizeof(count)) < 0 && errno == ECANCELED) {
		log_notice("the clock was set");
		schedule.groups_at = now;
		schedule.relink_at = now;
	}
	for (size_t i = 0; i < b->count; i++)
		if (credential_due(b->credentials[i]) <= now)
			credential_tick(b->credentials[i]);
	files_tick(b);
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
