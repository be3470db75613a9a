/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemonise OUTPUT [keep]: prints OUTPUT and ends, but leaves a child that
 * does all it can not to be found: a group and, where it may, a session of
 * its own, deaf to signals. With "keep" it holds the standard output open.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void __attribute__((noreturn)) hide(int keep)
{
	int null = open("/dev/null", O_RDWR);

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_IGN);
	if (!keep) {
		dup2(null, 1);
		dup2(null, 2);
	}
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	int keep = argc > 2 && strcmp(argv[2], "keep") == 0;
	pid_t pid;

	if (argc < 2)
		return 2;
	pid = fork();
	if (pid == 0) {
		if (setsid() < 0)
			setpgid(0, 0);
		pid = fork();
		if (pid == 0)
			hide(keep);
		_exit(pid < 0);
	}
	if (pid < 0)
		return 1;
	fputs(argv[1], stdout);
	return 0;
}
