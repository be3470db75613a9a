/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log-sink SOCKET FILE: what syslog(3) sends to SOCKET is appended to FILE, a
 * line each: the level's name, a blank and the message.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static const char *const levels[] = { "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug" };

static void take(FILE *out, char *message)
{
	char *end = message, *text;
	unsigned long priority = *message == '<' ? strtoul(message + 1, &end, 10) : 6;

	text = *end == '>' ? end + 1 : message;
	text[strcspn(text, "\n")] = '\0';
	fprintf(out, "%s %s\n", levels[priority & 7], text);
	fflush(out);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	static char message[65536];
	FILE *out = argc == 3 ? fopen(argv[2], "ae") : NULL;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ssize_t got;

	if (!out || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	strcpy(address.sun_path, argv[1]);
	umask(0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("log-sink");
		return 1;
	}
	while ((got = recv(fd, message, sizeof(message) - 1, 0)) >= 0) {
		message[got] = '\0';
		take(out, message);
	}
	return 1;
}
