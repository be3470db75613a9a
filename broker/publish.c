/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that puts copies into users' keyrings. It has a keyring of its
 * own, which for a moment holds a user's persistent keyring: whatever maze
 * that user built there is walked by the kernel at each of this thread's
 * calls, and at none of the event loop's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/broker.h"
#include "common/log.h"

#define SLOW_MS 250

struct job {
	struct job *next;
	uid_t uid;
	bool link;
	bool slow;
	int error;
	char credential[WIRE_NAME_MAX + 1];
};

struct queue {
	struct job *first, **last;
};

static struct {
	pthread_t thread;
	pthread_mutex_t lock; /* of the queues */
	pthread_mutex_t keyring; /* of masters and copies, see publish_lock() */
	pthread_cond_t wake;
	struct queue todo, done;
	bool stop, running;
	int finished; /* eventfd: something is done */
	struct broker *broker;
	struct event *event;
} publisher = { .lock = PTHREAD_MUTEX_INITIALIZER, .keyring = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .finished = -1 };

static void append(struct queue *q, struct job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
}

static struct job *take(struct queue *q)
{
	struct job *job = q->first;

	if (job) {
		q->first = job->next;
		if (!q->first)
			q->last = &q->first;
	}
	return job;
}

void publish_lock(void)
{
	pthread_mutex_lock(&publisher.keyring);
}

void publish_unlock(void)
{
	pthread_mutex_unlock(&publisher.keyring);
}

static int put_copy(struct store *store, const struct job *job)
{
	struct store_record record;
	struct buffer token;
	int error;

	buffer_init(&token, WIRE_TOKEN_MAX + 2048);
	publish_lock();
	error = store_get_master(store, job->credential, &token, &record);
	if (error == 0) {
		if (!store_has_copy(store, job->uid, job->credential, &record))
			error = store_put_copy(store, job->uid, job->credential, &token, &record);
		store_record_free(&record);
	}
	publish_unlock();
	buffer_free(&token);
	return error;
}

/* Without the lock: this is the part that a user can make slow. What a maze costs is this thread's own time, not a busy host's. */
static int link_ring(struct store *store, struct job *job)
{
	struct timespec before, after;
	int error;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
	error = store_link_ring(store, job->uid);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
	job->slow = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 > SLOW_MS;
	return error;
}

static void *work(void *arg)
{
	struct store *store = arg;
	uint64_t one = 1;

	pthread_mutex_lock(&publisher.lock);
	while (!publisher.stop) {
		struct job *job = take(&publisher.todo);

		if (!job) {
			pthread_cond_wait(&publisher.wake, &publisher.lock);
			continue;
		}
		pthread_mutex_unlock(&publisher.lock);
		job->error = put_copy(store, job);
		if (job->error == 0 && job->link)
			job->error = link_ring(store, job);
		pthread_mutex_lock(&publisher.lock);
		append(&publisher.done, job);
		/* Where that fails, the next one's end brings both. */
		if (write(publisher.finished, &one, sizeof(one)) < 0 && errno != EAGAIN)
			log_warning("event=publish-untold error=\"%s\"", strerror(errno));
	}
	pthread_mutex_unlock(&publisher.lock);
	return NULL;
}

static void on_finished(evutil_socket_t fd, short what, void *arg)
{
	struct broker *b = arg;
	uint64_t count;

	(void)what;
	if (read((int)fd, &count, sizeof(count)) < 0)
		return;
	for (;;) {
		struct job *job;

		pthread_mutex_lock(&publisher.lock);
		job = take(&publisher.done);
		pthread_mutex_unlock(&publisher.lock);
		if (!job)
			return;
		credential_published(b, job->credential, job->uid, job->error, job->slow);
		free(job);
	}
}

int publish_start(struct broker *b)
{
	int error;

	publisher.todo.last = &publisher.todo.first;
	publisher.done.last = &publisher.done.first;
	publisher.broker = b;
	publisher.finished = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (publisher.finished < 0)
		return -errno;
	publisher.event = event_new(b->base, publisher.finished, EV_READ | EV_PERSIST, on_finished, b);
	if (!publisher.event || event_add(publisher.event, NULL) < 0)
		return -ENOMEM;
	error = pthread_create(&publisher.thread, NULL, work, &b->store);
	publisher.running = error == 0;
	return -error;
}

void publish_put(const char *credential, uid_t uid, bool link)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		credential_published(publisher.broker, credential, uid, -ENOMEM, false);
		return;
	}
	job->uid = uid;
	job->link = link;
	snprintf(job->credential, sizeof(job->credential), "%s", credential);
	pthread_mutex_lock(&publisher.lock);
	append(&publisher.todo, job);
	pthread_cond_signal(&publisher.wake);
	pthread_mutex_unlock(&publisher.lock);
}

void publish_flush(void)
{
	struct job *job;

	pthread_mutex_lock(&publisher.lock);
	while ((job = take(&publisher.todo)))
		free(job);
	pthread_mutex_unlock(&publisher.lock);
}

void publish_stop(void)
{
	struct job *job;

	if (!publisher.running)
		return;
	pthread_mutex_lock(&publisher.lock);
	publisher.stop = true;
	pthread_cond_signal(&publisher.wake);
	pthread_mutex_unlock(&publisher.lock);
	pthread_join(publisher.thread, NULL);
	publish_flush();
	while ((job = take(&publisher.done)))
		free(job);
	event_free(publisher.event);
	close(publisher.finished);
	publisher.running = false;
}
