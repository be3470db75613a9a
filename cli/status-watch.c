/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `keyfob status -w`: the screen drawn anew every second, in place. What is
 * left of a token's life is counted down here; the broker is asked when it may
 * know something new, and every ten seconds otherwise.
 */
#include "cli/status.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REST 10 /* seconds between two questions when nothing is due */
#define DUE 2 /* while a fetch should be running */
#define DUE_FOR 30 /* so long; then it is one that does not come */

#define HIDE_CURSOR "\033[?25l"
#define SHOW_CURSOR "\033[?25h"
#define CLEAR "\033[H\033[2J"
#define HOME "\033[H"
#define END_OF_LINE "\033[K"
#define END_OF_SCREEN "\033[J"

struct watch {
	const char *name;
	struct cli_list list;
	int64_t asked, next;
	char trouble[WIRE_TEXT_MAX + 64]; /* why the broker gave no answer; "": it did */
};

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int64_t status_watch_next(const struct cli_list *list, int64_t asked)
{
	int64_t next = asked + REST;

	for (size_t i = 0; i < list->count; i++) {
		const struct cli_credential *c = &list->item[i];
		int64_t refresh = (int64_t)c->refresh, expires = (int64_t)c->expires;

		if (c->state == WIRE_STATE_FETCHING || (refresh && refresh <= asked && asked < refresh + DUE_FOR))
			next = earlier(next, asked + DUE);
		if (refresh > asked)
			next = earlier(next, refresh + 1);
		if (expires > asked)
			next = earlier(next, expires + 1);
	}
	return next;
}

/* Returns 0, or a negative keyfob_error when that is the end. */
static int ask(struct watch *w, int64_t now, char *message)
{
	struct cli_list fresh = { 0 };
	int error = cli_list_load(&fresh, w->name, message);
	char when[16] = "";
	struct tm tm;
	time_t at = (time_t)w->asked;

	if (error) {
		cli_list_free(&fresh);
		w->next = now + DUE;
		if (!w->asked || error == KEYFOB_ENOCRED || error == KEYFOB_EDENIED)
			return error;
		if (localtime_r(&at, &tm))
			strftime(when, sizeof(when), "%H:%M:%S", &tm);
		if (!w->trouble[0])
			snprintf(w->trouble, sizeof(w->trouble), "since %s: %s", when, message[0] ? message : keyfob_strerror(error));
		return 0;
	}
	cli_list_free(&w->list);
	w->list = fresh;
	w->asked = now;
	w->next = status_watch_next(&w->list, now);
	w->trouble[0] = 0;
	return 0;
}

/* What does not fit the terminal would scroll it. */
static void put_lines(struct buffer *out, const char *text, int rows)
{
	int lines = 0, shown;

	for (const char *at = text; *at; at++)
		lines += *at == '\n';
	shown = rows > 1 && lines >= rows ? rows - 2 : lines;
	for (int i = 0; i < shown; i++) {
		size_t length = strcspn(text, "\n");

		buffer_put(out, text, length);
		buffer_printf(out, END_OF_LINE "\n");
		text += length + 1;
	}
	if (shown < lines)
		buffer_printf(out, "%d more lines" END_OF_LINE "\n", lines - shown);
	buffer_printf(out, END_OF_SCREEN);
}

static int draw(const struct watch *w, const char *first)
{
	struct winsize size = { 0 };
	struct buffer text, out;
	struct cli_screen s;
	int code;

	buffer_init(&text, CLI_OUTPUT_MAX);
	buffer_init(&out, 2 * CLI_OUTPUT_MAX);
	status_screen_init(&s, &text);
	status_put(&s, &w->list, w->trouble[0] ? w->trouble : NULL);
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	buffer_printf(&out, "%s", first);
	if (buffer_cstring(&text))
		put_lines(&out, (const char *)text.data, size.ws_row);
	out.failed = out.failed || text.failed;
	code = cli_output(&out);
	buffer_free(&text);
	buffer_free(&out);
	return code;
}

static void show_cursor(void)
{
	ssize_t n = write(STDOUT_FILENO, SHOW_CURSOR, sizeof(SHOW_CURSOR) - 1);

	(void)n;
}

/* End or stop as who sent the signal expects, but with a cursor. */
static void obey(int signal_number)
{
	int error = errno;

	show_cursor();
	if (signal_number != SIGTSTP)
		signal(signal_number, SIG_DFL);
	raise(signal_number == SIGTSTP ? SIGSTOP : signal_number);
	errno = error;
}

/* Those after which all is to be drawn anew are waited for. */
static void take_signals(sigset_t *signals)
{
	static const int wanted[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
	struct sigaction action = { .sa_handler = obey, .sa_flags = SA_RESTART };

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaction(wanted[i], &action, NULL);
	sigemptyset(signals);
	sigaddset(signals, SIGWINCH);
	sigaddset(signals, SIGCONT);
	sigprocmask(SIG_BLOCK, signals, NULL);
}

int status_watch(const char *name)
{
	const struct timespec tick = { .tv_sec = 1 };
	char message[WIRE_TEXT_MAX] = "";
	struct watch w = { .name = name };
	const char *first = HIDE_CURSOR CLEAR;
	sigset_t signals;
	int error = 0, code = 0;

	/* The terminal's own size, which may change. */
	unsetenv("COLUMNS");
	take_signals(&signals);
	while (!code) {
		int64_t now = time(NULL);

		/* The clock may have been set back. */
		if (now >= w.next || now < w.asked)
			error = ask(&w, now, message);
		if (error)
			break;
		code = draw(&w, first);
		first = code || sigtimedwait(&signals, NULL, &tick) < 0 ? HOME : HIDE_CURSOR CLEAR;
	}
	if (w.asked)
		show_cursor();
	cli_list_free(&w.list);
	return error ? cli_fail_request(error, name[0] ? name : NULL, message) : code;
}
