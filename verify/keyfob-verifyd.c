/* SPDX-License-Identifier: Apache-2.0 */
/* keyfob-verifyd: start, become nobody of importance, serve, stop. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/service.h"
#include "verify/confine.h"
#include "verify/verifyd.h"

#define VERIFY_USER "keyfob-verify"
#define STATE_DEFAULT "/var/lib/keyfob-verify"
#define REMEMBERED 4096 /* verdicts */
#define FILE_DIRS_MAX 32

/* --- configuration ------------------------------------------------------------------ */

struct reading {
	struct config *config;
	struct federation *federation;
};

static void reading_free(struct reading *reading)
{
	if (reading->federation)
		federation_free(reading->federation);
	free(reading->federation);
	if (reading->config)
		config_free(reading->config);
	free(reading->config);
}

static bool read_config(const char *path, struct reading *reading, struct buffer *errors)
{
	bool good;

	reading->config = calloc(1, sizeof(*reading->config));
	reading->federation = calloc(1, sizeof(*reading->federation));
	if (!reading->config || !reading->federation) {
		buffer_printf(errors, "out of memory\n");
		return false;
	}
	good = config_load(path, reading->config, errors);
	good = federation_load(reading->config, reading->federation, errors) && good;
	return federation_resolve(reading->federation, errors) && good;
}

bool verifier_reload(struct verifier *v, struct buffer *errors)
{
	struct reading old = { v->config, v->federation }, new = { 0 };

	if (!read_config(v->config_path, &new, errors)) {
		reading_free(&new);
		log_faults(errors);
		log_error("event=reload-failed; the old configuration stays");
		return false;
	}
	v->config = new.config;
	v->federation = new.federation;
	keysets_configure(v->keysets, v->federation, time(NULL));
	memory_clear(v->memory);
	ask_reloaded(v);
	serve_reloaded(v);
	reading_free(&old);
	ask_due(v);
	log_notice("event=reloaded identity_providers=%zu database_users=%zu", v->federation->provider_count, v->federation->user_count);
	return true;
}

/* --- rights ---------------------------------------------------------------------------- */

/* While there is the right to. One that is there already has been somebody's decision. */
static bool make_state(const char *directory, const struct passwd *user)
{
	bool made;

	if (directory[0] != '/') {
		log_error("%s: the state directory's path must begin with /", directory);
		return false;
	}
	made = mkdir(directory, 0700) == 0;
	/* Not through a link that somebody put there meanwhile. */
	if (made ? geteuid() != 0 || lchown(directory, user->pw_uid, user->pw_gid) == 0 : errno == EEXIST)
		return true;
	log_error("%s: %s", directory, strerror(errno));
	return false;
}

/* Key set files may lie anywhere. Their directories, since a file that is replaced is another file. */
static void list_file_dirs(const struct federation *f, char *dirs[FILE_DIRS_MAX + 1])
{
	size_t count = 0;

	for (size_t i = 0; i < f->provider_count && count < FILE_DIRS_MAX; i++) {
		const char *file = f->providers[i].jwks_file, *slash = file ? strrchr(file, '/') : NULL;

		if (slash && slash > file && (dirs[count] = strndup(file, (size_t)(slash - file))))
			count++;
	}
	dirs[count] = NULL;
}

static bool confine(struct verifier *v)
{
	char *dirs[FILE_DIRS_MAX + 1], why[256];
	struct confine_files files = { v->config_dir, v->state_dir, (const char *const *)dirs };
	int error;

	/* Both want what is out of reach afterwards: a random seed against chosen member names, and the library's configuration. */
	json_object_seed(0);
	OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
	list_file_dirs(v->federation, dirs);
	error = confine_verifier(&files, why, sizeof(why));
	for (size_t i = 0; dirs[i]; i++)
		free(dirs[i]);
	if (error < 0)
		log_error("cannot give up rights: %s", why);
	else if (*why)
		log_warning("%s", why);
	return error == 0;
}

/* --- events --------------------------------------------------------------------------------- */

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct verifier *v = arg;
	struct buffer errors;

	(void)what;
	if (number != SIGHUP) {
		event_base_loopbreak(v->base);
		return;
	}
	service_reloading();
	buffer_init(&errors, 65536);
	verifier_reload(v, &errors);
	buffer_free(&errors);
	service_ready();
}

static bool add_events(struct verifier *v, struct event *events[3])
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

	for (size_t i = 0; i < 3; i++) {
		events[i] = evsignal_new(v->base, signals[i], on_signal, v);
		if (!events[i] || event_add(events[i], NULL) < 0)
			return false;
	}
	return service_watch(v->base);
}

/* --- running ----------------------------------------------------------------------------------- */

static bool name_config(struct verifier *v)
{
	char *absolute = realpath(v->config_path, NULL), *copy;

	if (!absolute) {
		log_error("%s: %s", v->config_path, strerror(errno));
		return false;
	}
	copy = strdup(absolute);
	free((char *)(uintptr_t)v->config_path);
	v->config_path = absolute;
	if (copy)
		snprintf(v->config_dir, sizeof(v->config_dir), "%s", dirname(copy));
	free(copy);
	return v->config_dir[0] == '/';
}

static bool first_reading(struct verifier *v)
{
	struct reading reading = { 0 };
	struct buffer errors;
	bool good;

	buffer_init(&errors, 1u << 20);
	good = read_config(v->config_path, &reading, &errors);
	log_faults(&errors);
	buffer_free(&errors);
	v->config = reading.config;
	v->federation = reading.federation;
	return good;
}

static bool start_serving(struct verifier *v, int listener)
{
	char why[256] = "";

	v->keysets = keysets_open(v->state_dir, why, sizeof(why));
	v->memory = memory_new(REMEMBERED);
	if (!v->keysets || !v->memory) {
		log_error("%s", *why ? why : "out of memory");
		return false;
	}
	keysets_configure(v->keysets, v->federation, time(NULL));
	if (ask_start(v) == 0 && serve_start(v, listener) == 0)
		return true;
	log_error("cannot start: out of memory");
	return false;
}

/* Clients believe root's socket, or their own. */
static void check_listener(int listener)
{
	struct ucred owner;
	socklen_t length = sizeof(owner);

	if (getsockopt(listener, SOL_SOCKET, SO_PEERCRED, &owner, &length) == 0 && owner.uid != 0)
		log_warning("the socket is not root's, and nobody else will believe it: start as root, or hand over a socket (LISTEN_FDS)");
}

static void serve(struct verifier *v, int listener)
{
	struct event *events[3] = { NULL };

	signal(SIGPIPE, SIG_IGN);
	v->base = service_base();
	v->exit_code = 1;
	if (v->base && add_events(v, events) && start_serving(v, listener)) {
		v->exit_code = 0;
		log_notice("event=serving version=%s identity_providers=%zu database_users=%zu socket=%s", KEYFOB_VERSION,
			v->federation->provider_count, v->federation->user_count, v->socket_path);
		service_ready();
		event_base_dispatch(v->base);
		service_stopping();
		log_notice("event=stopped");
	}
	/* The socket's name stays: its directory is root's. The next start finds it stale. */
	serve_stop(v);
	ask_stop(v);
	memory_free(v->memory);
	keysets_close(v->keysets);
	service_watch_stop();
	for (size_t i = 0; i < 3; i++)
		if (events[i])
			event_free(events[i]);
	if (v->base)
		event_base_free(v->base);
	libevent_global_shutdown();
}

static int run(struct verifier *v, bool check_only)
{
	struct passwd user;
	int listener = -1;

	v->exit_code = 1;
	if (check_only) {
		/* As the user who will have to read it, where that can be. */
		if (name_config(v) && (geteuid() != 0 || (service_user(VERIFY_USER, &user) && service_become(&user))) && first_reading(v)) {
			log_notice("%s: %zu identity provider%s, %zu database user%s, no fault found", v->config_path,
				v->federation->provider_count, v->federation->provider_count == 1 ? "" : "s", v->federation->user_count,
				v->federation->user_count == 1 ? "" : "s");
			v->exit_code = 0;
		}
	} else if (service_user(VERIFY_USER, &user) && name_config(v) && make_state(v->state_dir, &user)) {
		service_files();
		listener = service_listen(v->socket_path);
		service_open();
		if (listener >= 0 && service_become(&user) && first_reading(v) && confine(v)) {
			check_listener(listener);
			serve(v, listener);
		}
	}
	reading_free(&(struct reading){ v->config, v->federation });
	free((char *)(uintptr_t)v->config_path);
	return v->exit_code;
}

static void __attribute__((noreturn)) usage(int code)
{
	dprintf(code ? 2 : 1,
		"usage: keyfob-verifyd [--config FILE] [--socket PATH] [--broker PATH] [--state DIR] [--log LEVEL] [--syslog] [--check]\n"
		"Judges tokens that are presented to services of this host. See keyfob-verifyd(8).\n"
		"  --config FILE   configuration; conf.d/*.conf beside it is read too (" CONFIG_DEFAULT ")\n"
		"  --socket PATH   where it is asked (" WIRE_VERIFY_SOCKET_DEFAULT ")\n"
		"  --broker PATH   keyfobd's request socket, for key sets (" WIRE_SOCKET_DEFAULT ")\n"
		"  --state DIR     where key sets are kept (" STATE_DEFAULT ")\n"
		"  --log LEVEL     err, warning, notice, info (default) or debug\n"
		"  --syslog        log to syslog, not to stderr\n"
		"  --check         check the configuration and end: 0 good, 1 not\n"
		"  --version, --help\n");
	exit(code);
}

static const char *given(const char *option, const char *variable, const char *otherwise)
{
	const char *value = option ? option : secure_getenv(variable);

	return value && *value ? value : otherwise;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "socket", required_argument, NULL, 's' },
		{ "broker", required_argument, NULL, 'b' },
		{ "state", required_argument, NULL, 'd' },
		{ "log", required_argument, NULL, 'l' },
		{ "syslog", no_argument, NULL, 'y' },
		{ "check", no_argument, NULL, 'k' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	static struct verifier verifier;
	const char *config = NULL, *socket_path = NULL, *broker = NULL;
	bool to_syslog = false, check_only = false;
	int level = LOG_INFO, option;

	service_stdio();
	verifier.state_dir = STATE_DEFAULT;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			config = optarg;
			break;
		case 's':
			socket_path = optarg;
			break;
		case 'b':
			broker = optarg;
			break;
		case 'd':
			verifier.state_dir = optarg;
			break;
		case 'y':
			to_syslog = true;
			break;
		case 'k':
			check_only = true;
			break;
		case 'v':
			puts("keyfob-verifyd " KEYFOB_VERSION);
			return 0;
		case 'h':
			usage(0);
		case 'l':
			level = log_level(optarg);
			if (level >= 0)
				break;
			/* fall through */
		default:
			usage(2);
		}
	}
	if (optind < argc)
		usage(2);
	log_open("keyfob-verifyd", to_syslog, level);
	verifier.config_path = strdup(given(config, "KEYFOB_CONFIG", CONFIG_DEFAULT));
	verifier.socket_path = given(socket_path, "KEYFOB_VERIFY_SOCKET", WIRE_VERIFY_SOCKET_DEFAULT);
	verifier.broker_path = given(broker, "KEYFOB_SOCKET", WIRE_SOCKET_DEFAULT);
	return run(&verifier, check_only);
}
