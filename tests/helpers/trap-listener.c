/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trap-listener PORT-FILE CAUGHT-FILE: listens where nobody should come, and
 * writes a line with the first bytes of each connection.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void __attribute__((noreturn)) die(const char *what)
{
	perror(what);
	exit(1);
}

static void write_port(const char *path, unsigned int port)
{
	char partial[4096];
	FILE *f;

	snprintf(partial, sizeof(partial), "%s.new", path);
	f = fopen(partial, "w");
	if (!f || fprintf(f, "%u\n", port) < 0 || fclose(f) != 0 || rename(partial, path) < 0)
		die(path);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	FILE *caught = argc == 3 ? fopen(argv[2], "a") : NULL;

	if (!caught)
		die("usage: trap-listener PORT-FILE CAUGHT-FILE");
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 64) < 0 ||
		getsockname(listener, (struct sockaddr *)&address, &length) < 0)
		die("listen");
	setlinebuf(caught);
	write_port(argv[1], ntohs(address.sin_port));
	for (;;) {
		char first[200] = "";
		int fd = accept(listener, NULL, NULL);
		struct pollfd readable = { .fd = fd, .events = POLLIN };
		ssize_t got = 0;

		if (fd < 0)
			die("accept");
		if (poll(&readable, 1, 1000) > 0)
			got = read(fd, first, sizeof(first) - 1);
		first[got > 0 ? got : 0] = 0;
		first[strcspn(first, "\r\n")] = 0;
		fprintf(caught, "connection: %s\n", first);
		close(fd);
	}
}
