/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls-front PORT-FILE CERTIFICATE KEY TARGET [1.1|1.2]: accepts TLS on a
 * loopback port, whose number it writes, and passes what it hears to TARGET, a
 * port of plain TCP on this host, and back. With a version it speaks no other.
 * libs: libssl libcrypto
 */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
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

static SSL_CTX *load(const char *certificate, const char *key)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	if (!context || SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
		SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(context) != 1) {
		fprintf(stderr, "%s, %s: cannot be used\n", certificate, key);
		exit(1);
	}
	return context;
}

/* However old it is: it is for who comes to refuse it. */
static void speak_only(SSL_CTX *context, const char *version)
{
	int number = strcmp(version, "1.1") == 0 ? TLS1_1_VERSION : TLS1_2_VERSION;

	SSL_CTX_set_security_level(context, 0);
	if (SSL_CTX_set_min_proto_version(context, number) != 1 || SSL_CTX_set_max_proto_version(context, number) != 1 ||
		SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0") != 1) {
		fprintf(stderr, "TLS %s: cannot be spoken\n", version);
		exit(1);
	}
}

static int open_listener(const char *port_file)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 64) < 0 ||
		getsockname(listener, (struct sockaddr *)&address, &length) < 0)
		die("listen");
	write_port(port_file, ntohs(address.sin_port));
	return listener;
}

static int connect_target(const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("connect");
	return fd;
}

static int write_all(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t n = write(fd, data, length);

		if (n <= 0)
			return -1;
		data += n;
		length -= (size_t)n;
	}
	return 0;
}

/* Until either side has said its last. */
static void pass(SSL *tls, int client, int target)
{
	struct pollfd sides[2] = { { .fd = client, .events = POLLIN }, { .fd = target, .events = POLLIN } };
	char data[16384];
	int n;

	for (;;) {
		if (!SSL_pending(tls) && poll(sides, 2, -1) < 0)
			return;
		if (SSL_pending(tls) || sides[0].revents) {
			n = SSL_read(tls, data, sizeof(data));
			if (n <= 0 ? SSL_get_error(tls, n) != SSL_ERROR_WANT_READ : write_all(target, data, (size_t)n) < 0)
				return;
		}
		if (sides[1].revents) {
			n = (int)read(target, data, sizeof(data));
			if (n <= 0 || SSL_write(tls, data, n) <= 0)
				return;
		}
	}
}

static void serve(SSL_CTX *context, int client, const char *target)
{
	SSL *tls = SSL_new(context);
	char rest[4096];

	if (!tls || SSL_set_fd(tls, client) != 1)
		die("TLS");
	if (SSL_accept(tls) == 1) {
		pass(tls, client, connect_target(target));
		SSL_shutdown(tls);
	}
	/* Closing with something unread would reset the connection, and lose what the other side has not read. */
	shutdown(client, SHUT_WR);
	while (read(client, rest, sizeof(rest)) > 0)
		continue;
}

int main(int argc, char **argv)
{
	SSL_CTX *context;
	int listener;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: tls-front PORT-FILE CERTIFICATE KEY TARGET [1.1|1.2]\n");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	context = load(argv[2], argv[3]);
	if (argc == 6)
		speak_only(context, argv[5]);
	listener = open_listener(argv[1]);
	for (;;) {
		int client = accept(listener, NULL, NULL);
		pid_t parent = getpid();

		if (client < 0)
			die("accept");
		if (fork() == 0) {
			if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
				return 1;
			serve(context, client, argv[4]);
			return 0;
		}
		close(client);
	}
}
