/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libkeyfob where there is no broker's socket but a credential's own one, as
 * in a container.
 *
 * links: keyring/keyfob keyring/client keyring/lookup keyring/keyctl common/buffer common/wire
 * libs: libkeyutils
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/wire.h"
#include "keyring/keyfob.h"

#define NAME "keyfob-test-own-socket"
#define OTHER_USER 64903

static char top[64], directory[96], path[104], broker[96];

/* --- the other end: gives what the test has laid out to one who connects, in two parts --- */

struct giver {
	int listener;
	const char *bytes;
	size_t length;
	pthread_t thread;
};

static void *give(void *arg)
{
	struct giver *g = arg;
	int fd = accept(g->listener, NULL, NULL);
	size_t half = g->length / 2;

	if (fd >= 0 && (send(fd, g->bytes, half, MSG_NOSIGNAL) < 0 || send(fd, g->bytes + half, g->length - half, MSG_NOSIGNAL) < 0))
		perror("giver");
	close(fd);
	return NULL;
}

static int listen_at(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	unlink(path);
	assert_return_code(bind(fd, (struct sockaddr *)&address, sizeof(address)), errno);
	assert_return_code(listen(fd, 8), errno);
	return fd;
}

static void start(struct giver *g, const char *bytes, size_t length)
{
	g->bytes = bytes;
	g->length = length;
	g->listener = listen_at();
	assert_int_equal(pthread_create(&g->thread, NULL, give, g), 0);
}

static void end(struct giver *g)
{
	assert_int_equal(pthread_join(g->thread, NULL), 0);
	close(g->listener);
}

static int set_up(void **state)
{
	(void)state;
	strcpy(top, "/tmp/keyfob-test-own-XXXXXX");
	if (!mkdtemp(top) || chmod(top, 0755) < 0)
		return -1;
	snprintf(directory, sizeof(directory), "%s/credential", top);
	snprintf(path, sizeof(path), "%.70s/" NAME ".sock", directory);
	snprintf(broker, sizeof(broker), "%s/keyfob.sock", top);
	return mkdir(directory, 0755) < 0 || setenv("KEYFOB_SOCKET", broker, 1) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	rmdir(directory);
	return rmdir(top);
}

/* keyfob_get() of NAME; the token must be wanted, or the message contain it. */
static void check(int wanted, const char *text)
{
	struct keyfob_token *token = NULL;
	struct keyfob *kf;
	char message[WIRE_TEXT_MAX] = "";

	assert_int_equal(keyfob_open(&kf), 0);
	assert_int_equal(keyfob_get(kf, NAME, &token), wanted);
	if (wanted == 0) {
		assert_string_equal(keyfob_token_value(token), text);
		assert_true(keyfob_token_expires(token) == 0);
	} else {
		assert_null(token);
		keyfob_message(kf, message, sizeof(message));
		if (!strstr(message, text))
			fail_msg("the message is: %s", message);
	}
	keyfob_token_free(&token);
	keyfob_close(&kf);
}

/* --- */

static void a_token_is_read_to_its_end(void **state)
{
	char *large = malloc(WIRE_TOKEN_MAX + 2);
	struct giver g;

	(void)state;
	start(&g, "token", 5);
	check(0, "token");
	end(&g);
	memset(large, 't', WIRE_TOKEN_MAX + 1);
	large[WIRE_TOKEN_MAX] = 0;
	start(&g, large, WIRE_TOKEN_MAX);
	check(0, large);
	end(&g);
	large[WIRE_TOKEN_MAX] = 't';
	start(&g, large, WIRE_TOKEN_MAX + 1);
	check(KEYFOB_EBROKER, "/credential/" NAME ".sock: ");
	end(&g);
	free(large);
}

static void what_is_no_token_is_refused(void **state)
{
	struct giver g;

	(void)state;
	start(&g, "", 0);
	check(KEYFOB_EAGAIN, "/credential/" NAME ".sock was closed without a token; the broker's log says why");
	end(&g);
	start(&g, "a\0b", 3);
	check(KEYFOB_EBROKER, "/credential/" NAME ".sock: ");
	end(&g);
}

static void without_any_socket_the_broker_is_named(void **state)
{
	(void)state;
	check(KEYFOB_EBROKER, "cannot reach the broker at /tmp/keyfob-test-own-");
}

static void one_that_nobody_listens_on_is_named(void **state)
{
	(void)state;
	close(listen_at());
	check(KEYFOB_EBROKER, "cannot reach its own socket at /tmp/keyfob-test-own-");
}

/* A host whose broker is down: the credential's own socket, left behind too, may be for others. */
static void where_the_brokers_socket_is_it_counts(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	(void)state;
	strcpy(address.sun_path, broker);
	assert_return_code(bind(fd, (struct sockaddr *)&address, sizeof(address)), errno);
	close(fd);
	close(listen_at());
	assert_return_code(chmod(path, 0), errno);
	if (geteuid() == 0)
		assert_return_code(seteuid(OTHER_USER), errno);
	check(KEYFOB_EBROKER, "cannot reach the broker at /tmp/keyfob-test-own-");
	if (getuid() == 0)
		assert_return_code(seteuid(0), errno);
	unlink(broker);
}

/* The socket's owner, group and mode decide, and a stranger's is not believed. */
static void others(void **state)
{
	struct giver g;

	(void)state;
	if (geteuid() != 0)
		skip();
	start(&g, "token", 5);
	assert_return_code(chmod(path, 0600), errno);
	assert_return_code(seteuid(OTHER_USER), errno);
	check(KEYFOB_EDENIED, "Permission denied");
	assert_return_code(seteuid(0), errno);
	check(0, "token");
	end(&g);

	assert_return_code(chown(directory, OTHER_USER, OTHER_USER), errno);
	assert_return_code(seteuid(OTHER_USER), errno);
	g.listener = listen_at();
	assert_return_code(seteuid(0), errno);
	check(KEYFOB_EBROKER, "belongs to a stranger (uid 64903), not to its own socket");
	close(g.listener);
}

#define with_directory(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_directory(a_token_is_read_to_its_end),
		with_directory(what_is_no_token_is_refused),
		with_directory(without_any_socket_the_broker_is_named),
		with_directory(one_that_nobody_listens_on_is_named),
		with_directory(where_the_brokers_socket_is_it_counts),
		with_directory(others),
	};

	return cmocka_run_group_tests_name("own socket", tests, NULL, NULL);
}
