/* SPDX-License-Identifier: Apache-2.0 */
/* keyfob-metadata: start, become nobody of importance, serve, stop. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/service.h"
#include "common/wire.h"
#include "metadata/confine.h"
#include "metadata/peer.h"
#include "metadata/serve.h"

#define METADATA_USER "keyfob-metadata"
#define BACKLOG 4096
#define UNPRIVILEGED_PORTS "/proc/sys/net/ipv4/ip_unprivileged_port_start"

#define TEXT_OF(number) #number
#define TEXT(macro) TEXT_OF(macro)

struct options {
	struct sockaddr_in listen;
	const char *broker, *port_file;
	bool to_syslog;
	int level;
};

/* --- rights ---------------------------------------------------------------------------- */

static bool confine(void)
{
	char why[256];
	int error = confine_metadata(why, sizeof(why));

	if (*why)
		log_line(error ? LOG_ERR : LOG_WARNING, "%s", why);
	return error == 0;
}

/* --- the listener -------------------------------------------------------------------------- */

/* While this does not run, any user could be the metadata service of all others. */
static void warn_of_port(uint16_t port)
{
	FILE *file = fopen(UNPRIVILEGED_PORTS, "re");
	unsigned int first = 1024;

	if (file && fscanf(file, "%u", &first) != 1)
		first = 1024;
	if (file)
		fclose(file);
	if (port >= first)
		log_warning("any user may listen on port %u while this does not run; below %u only root may", port, first);
}

static bool write_port_file(const char *path, uint16_t port)
{
	FILE *file = fopen(path, "wxe");
	bool good = file && fprintf(file, "%u\n", port) > 0;

	if (file)
		good = fclose(file) == 0 && good;
	if (!good)
		log_error("%s: %s", path, strerror(errno));
	return good;
}

static const char *address_text(const struct sockaddr_in *at, char *text, size_t size)
{
	char address[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &at->sin_addr, address, sizeof(address));
	snprintf(text, size, "%s:%u", address, ntohs(at->sin_port));
	return text;
}

/* Where it listens in truth is in o->listen then. */
static int listen_on(struct options *o)
{
	struct sockaddr *self = (struct sockaddr *)&o->listen;
	socklen_t length = sizeof(o->listen);
	char text[64];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	/* A connection of before that lingers is no reason not to start. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 || bind(fd, self, length) < 0 ||
		listen(fd, BACKLOG) < 0 || getsockname(fd, self, &length) < 0) {
		log_error("cannot listen on %s: %s", address_text(&o->listen, text, sizeof(text)),
			errno == EADDRINUSE ? "another one does (--listen chooses another port)" : strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	warn_of_port(ntohs(o->listen.sin_port));
	if (!o->port_file || write_port_file(o->port_file, ntohs(o->listen.sin_port)))
		return fd;
	close(fd);
	return -1;
}

/* --- running ----------------------------------------------------------------------------------- */

static void on_signal(evutil_socket_t number, short what, void *base)
{
	(void)number;
	(void)what;
	event_base_loopbreak(base);
}

static int serve(struct server *s, const struct options *o)
{
	static const int signals[] = { SIGTERM, SIGINT };
	struct event *events[2] = { NULL };
	bool good = true;
	char text[64];

	signal(SIGPIPE, SIG_IGN);
	/* What another daemon would read afresh is read by the broker here. */
	signal(SIGHUP, SIG_IGN);
	s->base = service_base();
	for (size_t i = 0; s->base && i < 2; i++) {
		events[i] = evsignal_new(s->base, signals[i], on_signal, s->base);
		good = good && events[i] && event_add(events[i], NULL) == 0;
	}
	good = good && s->base && service_watch(s->base) && serve_start(s) == 0;
	if (good) {
		log_notice("event=serving version=%s listen=%s broker=%s", KEYFOB_VERSION, address_text(&o->listen, text, sizeof(text)),
			o->broker);
		service_ready();
		event_base_dispatch(s->base);
		service_stopping();
		log_notice("event=stopped");
	} else {
		log_error("cannot start: out of memory");
	}
	serve_stop(s);
	service_watch_stop();
	for (size_t i = 0; i < 2; i++)
		if (events[i])
			event_free(events[i]);
	if (s->base)
		event_base_free(s->base);
	libevent_global_shutdown();
	return good ? 0 : 1;
}

static int run(struct options *o)
{
	struct server server = { .broker = o->broker, .listener = -1, .diag = -1 };
	struct passwd user;
	int code = 1;

	if (!service_user(METADATA_USER, &user))
		return 1;
	service_files();
	server.diag = peer_open();
	if (server.diag < 0) {
		log_error("cannot ask the kernel for the owners of connections (sock_diag(7)): %s", strerror(-server.diag));
		return 1;
	}
	server.listener = listen_on(o);
	service_open();
	if (server.listener >= 0 && service_become(&user) && confine())
		code = serve(&server, o);
	if (server.listener >= 0)
		close(server.listener);
	close(server.diag);
	return code;
}

/* --- options ------------------------------------------------------------------------------------- */

static bool parse_listen(const char *text, struct sockaddr_in *to)
{
	char address[INET_ADDRSTRLEN], *end;
	const char *colon = strrchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;
	unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;

	if (length == 0 || length >= sizeof(address) || colon[1] < '0' || colon[1] > '9' || *end || port > UINT16_MAX) {
		fprintf(stderr, "keyfob-metadata: --listen: \"%s\" is not ADDRESS:PORT; write 127.0.0.1:" TEXT(WIRE_METADATA_PORT) "\n",
			text);
		return false;
	}
	memcpy(address, text, length);
	address[length] = 0;
	to->sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, address, &to->sin_addr) == 1 && ntohl(to->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
		return true;
	fprintf(stderr, "keyfob-metadata: --listen: %s is not an IPv4 loopback address; users of other hosts cannot be told apart\n",
		address);
	return false;
}

static void __attribute__((noreturn)) usage(int code)
{
	dprintf(code ? 2 : 1,
		"usage: keyfob-metadata [--listen ADDRESS:PORT] [--socket PATH] [--port-file FILE] [--log LEVEL] [--syslog]\n"
		"A metadata service like Azure's and Google's for local users, with keyfob's tokens. See keyfob-metadata(8).\n"
		"  --listen ADDRESS:PORT   where, on a loopback address (127.0.0.1:" TEXT(
			WIRE_METADATA_PORT) "); port 0 takes a free one\n"
					    "  --socket PATH           keyfobd's request socket (" WIRE_SOCKET_DEFAULT ")\n"
					    "  --port-file FILE        write the port there; the file must not exist\n"
					    "  --log LEVEL             err, warning, notice, info (default) or debug\n"
					    "  --syslog                log to syslog, not to stderr\n"
					    "  --version, --help\n");
	exit(code);
}

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'a' },
		{ "socket", required_argument, NULL, 's' },
		{ "port-file", required_argument, NULL, 'p' },
		{ "log", required_argument, NULL, 'l' },
		{ "syslog", no_argument, NULL, 'y' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			o->broker = optarg;
			break;
		case 'p':
			o->port_file = optarg;
			break;
		case 'y':
			o->to_syslog = true;
			break;
		case 'v':
			puts("keyfob-metadata " KEYFOB_VERSION);
			exit(0);
		case 'h':
			usage(0);
		case 'a':
			if (!parse_listen(optarg, &o->listen))
				exit(2);
			break;
		case 'l':
			o->level = log_level(optarg);
			if (o->level >= 0)
				break;
			/* fall through */
		default:
			usage(2);
		}
	}
	if (optind < argc)
		usage(2);
}

int main(int argc, char **argv)
{
	struct options options = { .level = LOG_INFO };
	const char *socket_path = secure_getenv("KEYFOB_SOCKET");

	service_stdio();
	options.broker = socket_path && *socket_path ? socket_path : WIRE_SOCKET_DEFAULT;
	options.listen.sin_family = AF_INET;
	options.listen.sin_port = htons(WIRE_METADATA_PORT);
	options.listen.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	parse_options(argc, argv, &options);
	log_open("keyfob-metadata", options.to_syslog, options.level);
	return run(&options);
}
