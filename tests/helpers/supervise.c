/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What systemd does for a service, and no more.
 *
 *   supervise OUT NOTIFY-SOCKET [LISTEN-SOCKET] -- COMMAND...
 *
 * Runs the command with NOTIFY_SOCKET and, given a path, with a listening
 * SOCK_SEQPACKET socket passed as LISTEN_FDS says. Writes each notification
 * as a line to OUT, and "exit N" at the end. SIGHUP and SIGTERM are passed on.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_INHERITED_FD 3

static volatile pid_t child;

static void pass_on(int number)
{
	if (child > 0)
		kill(child, number);
}

static int bind_at(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(path, 0666) < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static void __attribute__((noreturn)) run(char **command, const char *notify, int listener)
{
	char pid[16];

	setenv("NOTIFY_SOCKET", notify, 1);
	if (listener >= 0) {
		snprintf(pid, sizeof(pid), "%d", getpid());
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", "1", 1);
		if (listener == FIRST_INHERITED_FD || dup2(listener, FIRST_INHERITED_FD) < 0)
			_exit(126);
	}
	execvp(command[0], command);
	_exit(127);
}

static void put_line(FILE *out, char *text)
{
	for (char *at = text; (at = strchr(at, '\n'));)
		*at = ' ';
	fprintf(out, "%s\n", text);
	fflush(out);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = pass_on };
	struct timeval often = { .tv_usec = 50000 };
	int at = 3, listener = -1, notify, status;
	char text[1024];
	FILE *out;

	if (argc < 5 || !(out = fopen(argv[1], "we")))
		return 2;
	notify = bind_at(argv[2], SOCK_DGRAM);
	setsockopt(notify, SOL_SOCKET, SO_RCVTIMEO, &often, sizeof(often));
	if (strcmp(argv[at], "--") != 0) {
		listener = bind_at(argv[at++], SOCK_SEQPACKET);
		listen(listener, SOMAXCONN);
	}
	sigaction(SIGHUP, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	child = fork();
	if (child == 0)
		run(argv + at + 1, argv[2], listener);
	for (bool ended = false;;) {
		ssize_t got = recv(notify, text, sizeof(text) - 1, ended ? MSG_DONTWAIT : 0);

		if (got > 0) {
			text[got] = 0;
			put_line(out, text);
		} else if (ended) {
			break;
		} else {
			/* What it said last may have come after this recv gave up. */
			ended = waitpid(child, &status, WNOHANG) == child;
		}
	}
	snprintf(text, sizeof(text), "exit %d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	put_line(out, text);
	return 0;
}
