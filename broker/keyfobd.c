/* SPDX-License-Identifier: Apache-2.0 */
/* keyfobd: start, give up rights, serve, stop. */
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/caller.h"
#include "broker/confine.h"
#include "broker/launcher.h"
#include "common/log.h"
#include "common/service.h"

#define DESCRIBE_MS 12000 /* the launcher ends a helper after 10 s */
#define VERIFIER_USER "keyfob-verify"
#define METADATA_USER "keyfob-metadata"

enum mode { SERVE, CHECK, PURGE, DIRECT };

uint64_t now_seconds(void)
{
	return (uint64_t)time(NULL);
}

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t boot_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- configuration ------------------------------------------------------------------ */

static int ask_description(void *arg, const char *module, struct buffer *frame)
{
	struct broker *b = arg;
	struct buffer request;
	int error;

	buffer_init(&request, 256);
	buffer_put_u8(&request, LAUNCHER_DESCRIBE);
	buffer_put_text(&request, module);
	error = launcher_ask(b->launcher, &request, DESCRIBE_MS, frame);
	buffer_free(&request);
	return error;
}

static int ask_names(void *arg, uint32_t count, const struct buffer *names, struct buffer *answer)
{
	struct broker *b = arg;
	struct buffer request;
	int error;

	buffer_init(&request, WIRE_MAX);
	buffer_put_u8(&request, LAUNCHER_LOOKUP);
	buffer_put_u32(&request, count);
	buffer_put(&request, names->data, names->length);
	error = request.failed ? -EMSGSIZE : launcher_ask(b->launcher, &request, DESCRIBE_MS, answer);
	buffer_free(&request);
	return error;
}

/* Not where privileges were gained: then the environment is somebody else's. */
static const char *caller_variable(void *arg, const char *name)
{
	char prefixed[4096];

	(void)arg;
	snprintf(prefixed, sizeof(prefixed), WIRE_CALLER_PREFIX "%s", name);
	return secure_getenv(prefixed);
}

static struct policy *load_policy(struct broker *b, enum mode mode, struct buffer *errors)
{
	struct policy_source source = { b, ask_description, ask_names, mode == DIRECT ? caller_variable : NULL,
		b->own ? b->own_name : NULL };

	return policy_load(b->config_path, &source, errors);
}

/* The whole new configuration, or the whole old one. */
bool broker_reload(struct broker *b, struct buffer *errors)
{
	struct policy *policy = load_policy(b, SERVE, errors);

	if (!policy) {
		log_faults(errors);
		log_error("event=reload-failed; the old configuration stays");
		return false;
	}
	if (!credential_apply_policy(b, policy)) {
		buffer_printf(errors, "out of memory\n");
		log_error("event=reload-failed error=\"out of memory\"; the old configuration stays");
		return false;
	}
	/* Both stood there at once, and what read the files has left holes: they go back. */
	malloc_trim(0);
	schedule_arm(b);
	log_notice("event=reloaded credentials=%zu", b->count);
	return true;
}

/* --- where things are ------------------------------------------------------------------ */

/* Beside this program, as in the build tree, or in PREFIX/libexec/keyfob. */
static bool find_programs(struct broker *b)
{
	char self[2048], *directory;
	const char *modules = secure_getenv("KEYFOB_MODULE_DIR");
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (length < 0)
		return false;
	self[length] = 0;
	directory = dirname(self);
	snprintf(b->fetch_path, sizeof(b->fetch_path), "%s/keyfob-fetch", directory);
	if (access(b->fetch_path, F_OK) < 0)
		snprintf(b->fetch_path, sizeof(b->fetch_path), "%s/../libexec/keyfob/keyfob-fetch", directory);
	if (modules)
		snprintf(b->module_dir, sizeof(b->module_dir), "%s", modules);
	else
		snprintf(b->module_dir, sizeof(b->module_dir), "%s/../lib/keyfob/modules", directory);
	return true;
}

static bool name_config(struct broker *b)
{
	char *absolute = realpath(b->config_path, NULL), *copy;

	if (!absolute)
		return false;
	copy = strdup(absolute);
	free((char *)(uintptr_t)b->config_path);
	b->config_path = absolute;
	if (copy)
		snprintf(b->config_dir, sizeof(b->config_dir), "%s", dirname(copy));
	free(copy);
	return b->config_dir[0] == '/';
}

static const char *below(const char *directory, const char *rest, char *path)
{
	snprintf(path, PATH_MAX, "%s%s", directory, rest);
	return path;
}

/*
 * Where a user's own broker finds its configuration and serves. Where it
 * serves nobody else may enter. Returns false with a line in the log.
 */
static bool name_own_places(enum mode mode, const char **config, const char **socket_path)
{
	static char config_path[PATH_MAX], path[PATH_MAX];
	const char *home = secure_getenv("HOME"), *configs = secure_getenv("XDG_CONFIG_HOME"), *run = secure_getenv("XDG_RUNTIME_DIR");

	if (!*config && configs && *configs == '/')
		*config = below(configs, "/keyfob/keyfob.conf", config_path);
	else if (!*config && home && *home == '/')
		*config = below(home, "/.config/keyfob/keyfob.conf", config_path);
	if (!*socket_path && run && *run == '/') {
		if (mode == SERVE && mkdir(below(run, "/keyfob", path), 0700) < 0 && errno != EEXIST)
			log_error("%s: %s", path, strerror(errno));
		*socket_path = below(run, WIRE_SOCKET_OWN, path);
	}
	if (*config && (*socket_path || mode == CHECK || mode == DIRECT))
		return true;
	log_error("%s is not set: say %s", *config ? "XDG_RUNTIME_DIR" : "HOME", *config ? "--socket PATH" : "--config FILE");
	return false;
}

/* Where the request socket lies, token files and credentials' sockets do too: each broker of a host has its own. */
static void name_run_dir(struct broker *b)
{
	char path[sizeof(b->run_dir)];

	snprintf(path, sizeof(path), "%s", b->socket_path);
	snprintf(b->run_dir, sizeof(b->run_dir), "%s", dirname(path));
}

/* --- events --------------------------------------------------------------------------------- */

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct broker *b = arg;
	struct buffer errors;

	(void)what;
	if (number != SIGHUP) {
		event_base_loopbreak(b->base);
		return;
	}
	service_reloading();
	buffer_init(&errors, 65536);
	broker_reload(b, &errors);
	buffer_free(&errors);
	service_ready();
}

static void on_launcher(evutil_socket_t fd, short what, void *arg)
{
	struct broker *b = arg;
	struct buffer frame;
	struct reader r;
	int error;

	(void)what;
	buffer_init(&frame, 64);
	while ((error = wire_receive((int)fd, &frame, NULL)) == 0) {
		uint8_t event;
		uint32_t id, value;

		reader_init(&r, frame.data, frame.length);
		event = reader_u8(&r);
		id = reader_u32(&r);
		value = reader_u32(&r);
		if (reader_done(&r))
			fetch_launcher_event(event, id, value);
	}
	buffer_free(&frame);
	/* keyfobd cannot make another: it gave up the right to. Whoever supervises it starts both again, and no token is lost. */
	if (error != -EAGAIN && error != -ENOMEM) {
		log_error("event=launcher-gone; ending, to be started again");
		b->exit_code = 1;
		event_base_loopbreak(b->base);
	}
}

static bool add_events(struct broker *b, struct event **events)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

	for (size_t i = 0; i < 3; i++) {
		events[i] = evsignal_new(b->base, signals[i], on_signal, b);
		if (!events[i] || event_add(events[i], NULL) < 0)
			return false;
	}
	events[3] = event_new(b->base, b->launcher, EV_READ | EV_PERSIST, on_launcher, b);
	return events[3] && event_add(events[3], NULL) == 0 && service_watch(b->base);
}

static bool find_user(struct broker *b, const char *user, uid_t *uid)
{
	struct buffer name, answer;
	struct reader r;
	bool found = false;

	*uid = (uid_t)-1;
	buffer_init(&name, 64);
	buffer_init(&answer, WIRE_MAX);
	buffer_put_u8(&name, LAUNCHER_NAME_USER);
	buffer_put_text(&name, user);
	if (ask_names(b, 1, &name, &answer) == 0) {
		uint32_t id;

		reader_init(&r, answer.data, answer.length);
		found = reader_u32(&r) == 1 && reader_u8(&r) == 1;
		id = reader_u32(&r);
		found = found && reader_done(&r);
		if (found)
			*uid = id;
	}
	buffer_free(&name);
	buffer_free(&answer);
	return found;
}

/* The system users have no part in a user's own broker. His name is for status; where nobody knows it his number does. */
static void find_own_user(struct broker *b)
{
	struct buffer uid, answer;
	struct reader r;

	b->fetch_uid = b->verify_uid = b->metadata_uid = (uid_t)-1;
	snprintf(b->own_name, sizeof(b->own_name), "%u", geteuid());
	buffer_init(&uid, 64);
	buffer_init(&answer, WIRE_MAX);
	buffer_put_u8(&uid, LAUNCHER_NAME_GROUPS);
	buffer_put_text(&uid, b->own_name);
	if (ask_names(b, 1, &uid, &answer) == 0) {
		const uint8_t *name = NULL;
		size_t length = 0;

		reader_init(&r, answer.data, answer.length);
		if (reader_u32(&r) == 1 && reader_u8(&r) == 1)
			name = reader_string(&r, &length);
		if (name && !r.failed)
			snprintf(b->own_name, sizeof(b->own_name), "%.*s", (int)length, (const char *)name);
	}
	buffer_free(&uid);
	buffer_free(&answer);
}

/* Every fetch that says nothing else runs as keyfob-fetch; where he is missing nothing can work. */
static bool find_users(struct broker *b)
{
	bool is_root = geteuid() == 0, found = find_user(b, LAUNCHER_USER_FETCH, &b->fetch_uid);

	if (!found && is_root)
		log_error("the system user %s is missing (systemd-sysusers, or make deps)", LAUNCHER_USER_FETCH);
	if (!find_user(b, VERIFIER_USER, &b->verify_uid) && is_root)
		log_warning(
			"the system user %s is missing (systemd-sysusers, or make deps): only root may ask for key sets", VERIFIER_USER);
	if (!find_user(b, METADATA_USER, &b->metadata_uid) && is_root)
		log_warning("the system user %s is missing (systemd-sysusers, or make deps): nobody is served by metadata = yes",
			METADATA_USER);
	return found || !is_root;
}

/* --- running ----------------------------------------------------------------------------------- */

static int give_up_rights(struct broker *b)
{
	char why[256] = "";
	int error = caller_start(), rights = confine_broker(b->config_dir, why, sizeof(why));

	if (rights < 0) {
		log_error("cannot give up rights: %s", why);
		return rights;
	}
	if (*why && b->own)
		log_info("%s", why);
	else if (*why)
		log_warning("%s", why);
	if (error == 0)
		error = caller_probe();
	if (error < 0)
		log_error("cannot tell who calls from a container: %s; /proc and Linux 5.3 or newer are needed", strerror(-error));
	return error;
}

static int start_serving(struct broker *b, struct policy *policy, int listener)
{
	int error;

	store_watch_quota(&b->store);
	error = give_up_rights(b);
	if (error < 0)
		return error;
	error = store_open(&b->store, b->socket_path);
	if (error < 0) {
		log_error("the kernel keyring cannot be used: %s", strerror(-error));
		return error;
	}
	error = publish_start(b);
	if (error == 0)
		error = schedule_start(b);
	if (error == 0)
		error = files_start(b);
	if (error < 0) {
		log_error("cannot start: %s", strerror(-error));
		return error;
	}
	if (!credential_apply_policy(b, policy)) {
		log_error("cannot start: out of memory");
		return -ENOMEM;
	}
	schedule_arm(b);
	error = serve_start(b, listener);
	if (error < 0)
		log_error("cannot start: %s", strerror(-error));
	return error;
}

static int serve(struct broker *b, struct policy *policy)
{
	struct event *events[4] = { NULL };
	int listener;

	service_files();
	signal(SIGPIPE, SIG_IGN);
	b->exit_code = 0;
	b->base = service_base();
	listener = service_listen(b->socket_path);
	service_open();
	if (!b->base || listener < 0 || !add_events(b, events) || start_serving(b, policy, listener) < 0) {
		b->exit_code = 1;
	} else {
		log_notice("event=serving version=%s credentials=%zu socket=%s", KEYFOB_VERSION, b->count, b->socket_path);
		status_begin(b);
		service_ready();
		event_base_dispatch(b->base);
		service_stopping();
		log_notice("event=stopped");
	}
	/* The socket's name stays: to remove it would take a right that the broker gave up. The next start finds it stale. */
	publish_stop();
	files_stop();
	serve_stop(b);
	readers_stop(b);
	credential_free_all(b);
	fetch_stop();
	policy_free(b->policy);
	schedule_stop();
	service_watch_stop();
	for (size_t i = 0; i < 4; i++)
		if (events[i])
			event_free(events[i]);
	if (b->base)
		event_base_free(b->base);
	libevent_global_shutdown();
	return b->exit_code;
}

/* Only the launcher is listened to, and rights that this process may have are left alone: it is its caller's. */
static int serve_once(struct broker *b, struct policy *policy, const char *name)
{
	struct event *event = NULL;
	int code = 1;

	b->base = service_base();
	if (b->base)
		event = event_new(b->base, b->launcher, EV_READ | EV_PERSIST, on_launcher, b);
	if (event && event_add(event, NULL) == 0)
		code = direct(b, policy, name);
	fetch_stop();
	if (event)
		event_free(event);
	if (b->base)
		event_base_free(b->base);
	libevent_global_shutdown();
	policy_free(policy);
	return code;
}

static int purge(struct broker *b)
{
	struct store store = { .own = b->own, .quota_fd = -1 };
	int error = store_open(&store, b->socket_path);

	if (error == 0)
		error = store_purge(&store);
	launcher_purge_files(b->run_dir);
	if (error < 0)
		log_error("cannot purge: %s", strerror(-error));
	return error < 0 ? 1 : 0;
}

static int run(struct broker *b, enum mode mode, const char *name)
{
	struct launcher_options options = {
		.fetch = b->fetch_path, .module_dir = b->module_dir, .config_dir = b->config_dir, .own = b->own
	};
	struct policy *policy = NULL;
	struct buffer errors;
	pid_t launcher;
	int code = 1;

	buffer_init(&errors, 1u << 20);
	if (!find_programs(b) || !name_config(b)) {
		log_error("%s: %s", b->config_path, strerror(errno));
		goto out;
	}
	if (mode == SERVE)
		options.run_dir = b->run_dir;
	/* Under sudo the session keyring is the caller's: what he built there would be walked at every call. And no fetch has a use for it. */
	if (geteuid() == 0 && !b->own && keyctl_join_session_keyring(NULL) < 0 && errno != ENOSYS)
		log_warning("no session keyring of its own: %s", strerror(errno));
	b->launcher = launcher_start(&options, &launcher);
	if (b->launcher < 0) {
		log_error("the launcher cannot be started: %s", strerror(-b->launcher));
		goto out;
	}
	if (b->own)
		find_own_user(b);
	policy = b->own || find_users(b) ? load_policy(b, mode, &errors) : NULL;
	if (!policy) {
		log_faults(&errors);
	} else if (mode == CHECK) {
		log_notice("%s: %zu credential%s, no fault found", b->config_path, policy->count, policy->count == 1 ? "" : "s");
		policy_free(policy);
		code = 0;
	} else {
		code = mode == DIRECT ? serve_once(b, policy, name) : serve(b, policy);
	}
	close(b->launcher);
out:
	free((char *)(uintptr_t)b->config_path);
	buffer_free(&errors);
	return code;
}

/* Who is called root in a user namespace is an ordinary user. */
static bool check_caller(const struct broker *b, enum mode mode)
{
	if (b->own && geteuid() == 0 && key_ids_are_true())
		log_error("--user is for ordinary users: root starts the broker of the whole host, without it");
	else if (!b->own && (mode == SERVE || mode == PURGE) && geteuid() != 0)
		log_error("must be started as root; it gives up what it does not need (keyfobd --user serves you alone, without root)");
	else
		return true;
	return false;
}

static void __attribute__((noreturn)) usage(int code)
{
	dprintf(code ? 2 : 1,
		"usage: keyfobd [--user] [--config FILE] [--socket PATH] [--log LEVEL] [--syslog] [--check | --purge | --direct NAME]\n"
		"The credential broker. See keyfobd(8).\n"
		"  --user          run as an ordinary user, for oneself: ~/.config/keyfob/keyfob.conf, "
		"$XDG_RUNTIME_DIR/keyfob/keyfob.sock\n"
		"  --config FILE   configuration; conf.d/*.conf beside it is read too (" CONFIG_DEFAULT ")\n"
		"  --socket PATH   request socket (" WIRE_SOCKET_DEFAULT ")\n"
		"  --log LEVEL     err, warning, notice, info (default) or debug\n"
		"  --syslog        log to syslog, not to stderr\n"
		"  --check         check the configuration and end: 0 good, 1 not\n"
		"  --purge         revoke every key and remove every token file that the broker of this socket keeps\n"
		"  --direct NAME   one fetch, answered as a reply frame on stdout (for keyfob get --direct)\n"
		"  --version, --help\n");
	exit(code);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "user", no_argument, NULL, 'u' },
		{ "config", required_argument, NULL, 'c' },
		{ "socket", required_argument, NULL, 's' },
		{ "log", required_argument, NULL, 'l' },
		{ "syslog", no_argument, NULL, 'y' },
		{ "check", no_argument, NULL, 'k' },
		{ "purge", no_argument, NULL, 'p' },
		{ "direct", required_argument, NULL, 'd' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	static struct broker broker;
	const char *config = secure_getenv("KEYFOB_CONFIG"), *socket_path = secure_getenv("KEYFOB_SOCKET"), *name = NULL;
	enum mode mode = SERVE;
	bool to_syslog = false;
	int level = LOG_INFO, option;

	service_stdio();
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'u':
			broker.own = broker.store.own = true;
			break;
		case 'c':
			config = optarg;
			break;
		case 's':
			socket_path = optarg;
			break;
		case 'y':
			to_syslog = true;
			break;
		case 'k':
			mode = CHECK;
			break;
		case 'p':
			mode = PURGE;
			break;
		case 'd':
			mode = DIRECT;
			name = optarg;
			break;
		case 'v':
			puts("keyfobd " KEYFOB_VERSION);
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
	log_open("keyfobd", to_syslog, level);
	if (!check_caller(&broker, mode) || (broker.own && !name_own_places(mode, &config, &socket_path)))
		return 1;
	broker.config_path = strdup(config ? config : CONFIG_DEFAULT);
	broker.socket_path = socket_path ? socket_path : WIRE_SOCKET_DEFAULT;
	name_run_dir(&broker);
	return mode == PURGE ? purge(&broker) : run(&broker, mode, name);
}
