/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 1 /* seconds in which nobody wonders */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	const char *subject, *what;
	int depth; /* of begins without an end; the first one counts */
	bool runs;
} progress = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Over the line that stands there, without a terminal's commands. Returns the columns it takes. */
static int put_note(long seconds, int before)
{
	struct winsize size = { 0 };
	char line[256];
	int room = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79, n;

	room = room < (int)sizeof(line) ? room : (int)sizeof(line) - 1;
	snprintf(
		line, (size_t)room + 1, "keyfob: %s%s%s, %ld s", progress.subject, progress.subject[0] ? ": " : "", progress.what, seconds);
	n = (int)strlen(line);
	dprintf(STDERR_FILENO, "\r%s%*s", line, before > n ? before - n : 0, "");
	return n;
}

static void *tell(void *unused)
{
	struct timespec wake;
	long seconds = 0;
	int columns = 0;

	(void)unused;
	clock_gettime(CLOCK_MONOTONIC, &wake);
	pthread_mutex_lock(&progress.lock);
	while (progress.depth) {
		wake.tv_sec += seconds ? 1 : PATIENCE;
		while (progress.depth && pthread_cond_timedwait(&progress.changed, &progress.lock, &wake) == 0)
			;
		seconds += seconds ? 1 : PATIENCE;
		if (progress.depth)
			columns = put_note(seconds, columns);
	}
	pthread_mutex_unlock(&progress.lock);
	if (columns)
		dprintf(STDERR_FILENO, "\r%*s\r", columns, "");
	return NULL;
}

void cli_progress_begin(const char *subject, const char *what)
{
	pthread_condattr_t clock;
	sigset_t all, before;

	bool first;

	pthread_mutex_lock(&progress.lock);
	first = progress.depth++ == 0;
	pthread_mutex_unlock(&progress.lock);
	if (!first || !isatty(STDERR_FILENO))
		return;
	progress.subject = subject ? subject : "";
	progress.what = what;
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&progress.changed, &clock);
	pthread_condattr_destroy(&clock);
	/* Signals are the caller's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	progress.runs = pthread_create(&progress.thread, NULL, tell, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void cli_progress_end(void)
{
	bool last;

	pthread_mutex_lock(&progress.lock);
	last = --progress.depth == 0;
	pthread_mutex_unlock(&progress.lock);
	if (!last || !progress.runs)
		return;
	pthread_cond_signal(&progress.changed);
	pthread_join(progress.thread, NULL);
	pthread_cond_destroy(&progress.changed);
	progress.runs = false;
}
