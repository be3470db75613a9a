/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP server on loopback, in a thread, that answers every request with one prepared reply. */
#ifndef SCRIPTED_SERVER_H
#define SCRIPTED_SERVER_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct server {
	int listener;
	int stop[2];
	int port;
	pthread_t thread;
	const char *reply; /* NULL: never answers */
	size_t length;
	atomic_int contacts;
	char request[16384]; /* the last one; read it after server_stop() */
};

/* A port of loopback with a socket on it that does not listen: connecting is refused. */
static inline int server_bind(int *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || getsockname(fd, (struct sockaddr *)&address, &size) != 0)
		abort();
	*port = ntohs(address.sin_port);
	return fd;
}

static inline bool server_has_all(const char *request)
{
	const char *end = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "\r\nContent-Length:");

	return end && (!length || strlen(end + 4) >= (size_t)atoi(length + 17));
}

static inline void server_serve(struct server *s, int fd)
{
	size_t have = 0;
	ssize_t n;

	memset(s->request, 0, sizeof(s->request));
	while (!server_has_all(s->request) && have + 1 < sizeof(s->request)) {
		n = recv(fd, s->request + have, sizeof(s->request) - have - 1, 0);
		if (n <= 0)
			return;
		have += (size_t)n;
	}
	if (!s->reply) {
		struct pollfd gone[2] = { { .fd = s->stop[0], .events = POLLIN }, { .fd = fd, .events = POLLIN } };

		poll(gone, 2, -1);
		return;
	}
	for (size_t sent = 0; sent < s->length; sent += (size_t)n) {
		n = send(fd, s->reply + sent, s->length - sent, MSG_NOSIGNAL);
		if (n <= 0)
			return;
	}
}

static inline void *server_run(void *arg)
{
	struct server *s = arg;
	struct pollfd fds[2] = { { .fd = s->listener, .events = POLLIN }, { .fd = s->stop[0], .events = POLLIN } };
	int fd;

	while (poll(fds, 2, -1) >= 0 && !fds[1].revents) {
		fd = accept(s->listener, NULL, NULL);
		if (fd < 0)
			continue;
		atomic_fetch_add(&s->contacts, 1);
		server_serve(s, fd);
		close(fd);
	}
	return NULL;
}

static inline void server_start(struct server *s, const char *reply, size_t length)
{
	memset(s, 0, sizeof(*s));
	s->reply = reply;
	s->length = length;
	s->listener = server_bind(&s->port);
	if (listen(s->listener, 16) != 0 || pipe(s->stop) != 0 || pthread_create(&s->thread, NULL, server_run, s) != 0)
		abort();
}

static inline void server_stop(struct server *s)
{
	if (write(s->stop[1], "", 1) != 1)
		abort();
	pthread_join(s->thread, NULL);
	close(s->listener);
	close(s->stop[0]);
	close(s->stop[1]);
}

#endif
