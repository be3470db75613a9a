/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that listens on a socket of the test's own and gives the reply that the test has laid out. */
#ifndef KEYFOB_TEST_FAKE_BROKER_H
#define KEYFOB_TEST_FAKE_BROKER_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/buffer.h"
#include "common/wire.h"

static struct {
	char directory[64], path[100];
	int listener;
	pthread_t thread;
	pthread_mutex_t lock;
	unsigned int requests;
	struct buffer request, reply; /* the last one; what is answered, nothing when empty */
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER };

static inline void *fake_serve(void *arg)
{
	struct buffer request;
	int fd;

	buffer_init(&request, WIRE_MAX);
	while ((fd = accept(fake.listener, NULL, NULL)) >= 0) {
		if (wire_receive(fd, &request, NULL) == 0) {
			pthread_mutex_lock(&fake.lock);
			fake.requests++;
			buffer_clear(&fake.request);
			buffer_put(&fake.request, request.data, request.length);
			if (fake.reply.length && send(fd, fake.reply.data, fake.reply.length, MSG_NOSIGNAL) < 0)
				perror("fake broker");
			pthread_mutex_unlock(&fake.lock);
		}
		close(fd);
	}
	buffer_free(&request);
	return arg;
}

/* The kernel tells clients the uid of who called listen(2). */
static inline int fake_start(uid_t uid)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listening;

	strcpy(fake.directory, "/tmp/keyfob-test-broker-XXXXXX");
	if (!mkdtemp(fake.directory) || chmod(fake.directory, 0755) < 0)
		return -1;
	snprintf(fake.path, sizeof(fake.path), "%s/sock", fake.directory);
	strcpy(address.sun_path, fake.path);
	buffer_init(&fake.request, WIRE_MAX);
	buffer_init(&fake.reply, 2 * WIRE_MAX);
	fake.requests = 0;
	fake.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fake.listener < 0 || bind(fake.listener, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(fake.path, 0666) < 0 ||
		(geteuid() == 0 && seteuid(uid) < 0))
		return -1;
	listening = listen(fake.listener, 64);
	if (getuid() == 0 && seteuid(0) < 0)
		return -1;
	setenv("KEYFOB_SOCKET", fake.path, 1);
	return listening < 0 ? -1 : pthread_create(&fake.thread, NULL, fake_serve, NULL);
}

static inline void fake_stop(void)
{
	shutdown(fake.listener, SHUT_RDWR);
	pthread_join(fake.thread, NULL);
	close(fake.listener);
	unlink(fake.path);
	rmdir(fake.directory);
	buffer_free(&fake.request);
	buffer_free(&fake.reply);
	unsetenv("KEYFOB_SOCKET");
}

/* Start a reply; the caller adds the fields. */
static inline struct buffer *fake_reply(uint8_t version, uint8_t code)
{
	/* Who has the last one may be quicker than the thread that sent it. */
	pthread_mutex_lock(&fake.lock);
	buffer_clear(&fake.reply);
	pthread_mutex_unlock(&fake.lock);
	buffer_put_u8(&fake.reply, version);
	buffer_put_u8(&fake.reply, code);
	return &fake.reply;
}

static inline void fake_token(const char *token, size_t length, uint64_t expires)
{
	struct buffer *b = fake_reply(WIRE_VERSION, 0);

	buffer_put_string(b, token, length);
	buffer_put_u64(b, expires);
	buffer_put_u64(b, expires - 1);
	buffer_put_text(b, "0123abcd");
}

static inline void fake_error(uint8_t code, uint32_t retry, const char *text)
{
	struct buffer *b = fake_reply(WIRE_VERSION, code);

	buffer_put_u32(b, retry);
	buffer_put_text(b, text);
}

#endif
