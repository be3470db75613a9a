/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "emulator.h"

#define NAME "keyfob-emulator"

enum { EXIT_USAGE = 2, DEFAULT_PORT = 8791, MAX_LIFETIME = 315360000 };

struct options {
	char address[64];
	uint16_t port;
	long lifetime;
	const char *issuer;
	const char *port_file;
	const char *arc_dir;
};

static const char help[] = "Usage: " NAME " [--listen ADDR:PORT] [--port-file FILE] [--lifetime SECONDS] [--issuer URL]\n"
			   "A cloud on this machine, for trying things out and for tests.\n"
			   "\n"
			   "  --listen ADDR:PORT   where to listen, loopback only (127.0.0.1:8791); port 0 takes a free one\n"
			   "  --port-file FILE     write the port there when ready\n"
			   "  --lifetime SECONDS   life of each token (Azure 86400, Google 3600)\n"
			   "  --issuer URL         what tokens and discovery name as their issuer (http://ADDR:PORT)\n"
			   "  --arc-dir DIR        be a machine of Azure Arc, not a virtual machine; its keys lie there\n"
			   "  --help, --version    print this or the version, and end\n"
			   "\n"
			   "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=R    Azure; header Metadata: true\n"
			   "GET /msi/token?api-version=2019-08-01&resource=R    App Service; header X-IDENTITY-HEADER: keyfob-emulator\n"
			   "POST /TENANT/oauth2/v2.0/token    Entra; POST /emulator/entra-apps makes an application known\n"
			   "GET /computeMetadata/v1/instance/service-accounts/default/identity?audience=A    Google; header\n"
			   "    Metadata-Flavor: Google; also /token, /email, /aliases, /scopes, ?recursive=true\n"
			   "GET /.well-known/openid-configuration, GET /jwks    to verify what was handed out\n"
			   "POST /token, POST /v1/token, POST /v1/projects/-/serviceAccounts/EMAIL:generateIdToken    Google's public\n"
			   "    endpoints; POST /emulator/google-accounts makes a key known\n"
			   "POST /oauth2/token    any OAuth 2.0 provider; POST /emulator/clients makes a client known\n"
			   "\n"
			   "GET    /emulator/counters      what was asked so far, per source\n"
			   "POST   /emulator/rotate        every source hands out new tokens from now on\n"
			   "POST   /emulator/rotate-keys   new signing keys; the ones before stay in /jwks\n"
			   "POST   /emulator/reset         counters to zero, no faults\n"
			   "DELETE /emulator/faults        no faults\n"
			   "POST   /emulator/faults        set the fault of one source, in the query or as a form:\n"
			   "  path=imds|appservice|arc|entra|metadata|google_token|google_iam|google_sts|oauth2|openid|jwks\n"
			   "                     whose (always needed)\n"
			   "  count=N            for the next N requests; until cleared without it\n"
			   "  status=N retry_after=TEXT body=TEXT html=1 redirect=URL size=BYTES    another reply\n"
			   "  delay_ms=N drip_ms=N truncate=1 flavor=0|NAME    the same reply, badly delivered\n"
			   "  expires=JSON|absent opaque=1 token_bytes=N lifetime=S clock=S issuer=URL alg=RS256|ES256 newline=1\n"
			   "                     another token\n"
			   "  enforce=1          429 above 20 requests a second or 5 at once (imds)\n"
			   "  spelling=number|linux|windows    of expires_on (appservice)\n"
			   "  challenge=none|scheme|equals|elsewhere|below|parent|suffix|missing|big|largest|link|fifo|\n"
			   "            empty|replaced|open deaf=1\n"
			   "                     another challenge, an old agent (arc)\n"
			   "  aadsts=N codes_text=1    that error (entra)\n"
			   "\n"
			   "keyfob-emulator(1) has an example of each.\n";

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void complain(const char *format, ...)
{
	va_list ap;

	fputs(NAME ": ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static bool is_loopback(const char *address)
{
	struct in_addr in4;
	struct in6_addr in6;

	if (inet_pton(AF_INET, address, &in4) == 1)
		return (ntohl(in4.s_addr) >> 24) == 127;
	return inet_pton(AF_INET6, address, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6);
}

static bool parse_number(const char *text, long min, long max, long *number)
{
	char *end;

	errno = 0;
	*number = strtol(text, &end, 10);
	return end != text && !*end && !errno && *number >= min && *number <= max;
}

static bool parse_listen(const char *text, struct options *o)
{
	const char *colon = strrchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;
	long port;

	if (length > 2 && text[0] == '[' && colon[-1] == ']') {
		text++;
		length -= 2;
	}
	if (length == 0 || length >= sizeof(o->address) || !parse_number(colon + 1, 0, 65535, &port)) {
		complain("--listen: \"%s\" is not ADDR:PORT; write 127.0.0.1:%d or 127.0.0.1:0", text, DEFAULT_PORT);
		return false;
	}
	memcpy(o->address, text, length);
	o->address[length] = '\0';
	if (strcmp(o->address, "localhost") == 0)
		strcpy(o->address, "127.0.0.1");
	if (!is_loopback(o->address)) {
		complain("--listen: %s is not a loopback address; use 127.0.0.1:PORT or [::1]:PORT", o->address);
		return false;
	}
	o->port = (uint16_t)port;
	return true;
}

static bool parse_option(int option, const char *value, struct options *o)
{
	switch (option) {
	case 'l':
		return parse_listen(value, o);
	case 'p':
		o->port_file = value;
		return true;
	case 'a':
		o->arc_dir = value;
		return true;
	case 't':
		if (parse_number(value, 1, MAX_LIFETIME, &o->lifetime))
			return true;
		complain("--lifetime: \"%s\" is not a number of seconds from 1 to %d", value, MAX_LIFETIME);
		return false;
	default:
		o->issuer = value;
		if (strncmp(value, "http://", 7) == 0 || strncmp(value, "https://", 8) == 0)
			return true;
		complain("--issuer: \"%s\" is not a URL; it begins with http:// or https://", value);
		return false;
	}
}

/* Returns -1 to go on, else the exit code. */
static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "port-file", required_argument, NULL, 'p' },
		{ "lifetime", required_argument, NULL, 't' },
		{ "issuer", required_argument, NULL, 'i' },
		{ "arc-dir", required_argument, NULL, 'a' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int option;

	opterr = 0;
	while ((option = getopt_long_only(argc, argv, ":", table, NULL)) != -1) {
		switch (option) {
		case 'h':
			fputs(help, stdout);
			return EXIT_SUCCESS;
		case 'V':
			puts(NAME " " KEYFOB_VERSION);
			return EXIT_SUCCESS;
		case ':':
			complain("%s needs a value; see --help", argv[optind - 1]);
			return EXIT_USAGE;
		case '?':
			complain("unknown option %s; see --help", argv[optind - 1]);
			return EXIT_USAGE;
		default:
			if (!parse_option(option, optarg, o))
				return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		complain("unexpected \"%s\"; it takes options only, see --help", argv[optind]);
		return EXIT_USAGE;
	}
	return -1;
}

static bool write_port_file(const char *path, const char *url)
{
	const char *port = strrchr(url, ':') + 1;
	char *fresh = NULL;
	bool ok = false;
	FILE *file;

	if (asprintf(&fresh, "%s.%ld", path, (long)getpid()) < 0)
		return false;
	file = fopen(fresh, "wxe");
	if (file) {
		ok = fprintf(file, "%s\n", port) > 0;
		ok = fclose(file) == 0 && ok;
		ok = ok && rename(fresh, path) == 0;
		if (!ok) {
			int error = errno;

			unlink(fresh);
			errno = error;
		}
	}
	free(fresh);
	return ok;
}

static void on_signal(evutil_socket_t signal_number, short what, void *base)
{
	(void)signal_number;
	(void)what;
	event_base_loopbreak(base);
}

/* A herd of clients holds more connections than the usual soft limit. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static bool start(struct emu *emu, const struct options *o)
{
	emu->base = event_base_new();
	emu->keys = emu_keys_new();
	emu->azure = emu_azure_new(o->arc_dir);
	if (!emu->base || !emu->keys || !emu->azure) {
		complain("cannot make %s", emu->base ? "signing keys" : "an event loop");
		return false;
	}
	if (!emu_server_start(emu, o->address, o->port)) {
		complain("cannot listen on %s port %u: %s; choose another with --listen", o->address, o->port, strerror(errno));
		return false;
	}
	emu->issuer = strdup(o->issuer ? o->issuer : emu->url);
	return emu->issuer != NULL;
}

static bool announce(const struct emu *emu, const char *port_file)
{
	if (port_file && !write_port_file(port_file, emu->url)) {
		complain("cannot write %s: %s", port_file, strerror(errno));
		return false;
	}
	printf(NAME ": listening on %s\n", emu->url);
	return fflush(stdout) == 0;
}

static void stop(struct emu *emu)
{
	emu_server_stop(emu);
	emu_faults_clear(emu);
	emu_tokens_clear(emu);
	emu_google_free(emu);
	emu_oauth2_free(emu);
	emu_azure_free(&emu->azure);
	emu_keys_free(&emu->keys);
	free(emu->issuer);
	if (emu->base)
		event_base_free(emu->base);
	libevent_global_shutdown();
}

static int serve(struct emu *emu, const char *port_file)
{
	struct event *term = evsignal_new(emu->base, SIGTERM, on_signal, emu->base);
	struct event *interrupt = evsignal_new(emu->base, SIGINT, on_signal, emu->base);
	int result = EXIT_FAILURE;

	if (term && interrupt && event_add(term, NULL) == 0 && event_add(interrupt, NULL) == 0 && announce(emu, port_file) &&
		event_base_dispatch(emu->base) == 0)
		result = EXIT_SUCCESS;
	if (term)
		event_free(term);
	if (interrupt)
		event_free(interrupt);
	return result;
}

int main(int argc, char **argv)
{
	struct options options = { .address = "127.0.0.1", .port = DEFAULT_PORT };
	struct emu emu = { 0 };
	int result = parse_options(argc, argv, &options);

	if (result >= 0)
		return result;
	TAILQ_INIT(&emu.tokens);
	TAILQ_INIT(&emu.exchanges);
	emu.lifetime = options.lifetime;
	signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	result = start(&emu, &options) ? serve(&emu, options.port_file) : EXIT_FAILURE;
	stop(&emu);
	return result;
}
