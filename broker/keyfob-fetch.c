/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob-fetch: one attempt of one provider module, in a process of its own.
 *
 * keyfobd's launcher starts it with a socket for standard input; the request
 * comes in on it, READY, LINE and RESULT go out (common/wire.h). All that a
 * provider sends is read here, behind the sandbox, and nowhere else.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/fetch-reply.h"
#include "broker/fetch-sandbox.h"
#include "common/buffer.h"
#include "common/sandbox.h"
#include "common/wire.h"
#include "modules/module.h"

#define SETTINGS_MAX 64
#define ARGUMENTS_MAX 256
#define TIMEOUT_MAX 3600
#define LINES_MAX 200
#define LINE_MAX_BYTES 1000

struct fetch {
	unsigned int flags, ttl;
	enum keyfob_sandbox sandbox;
	char module[WIRE_NAME_MAX + 1], credential[WIRE_NAME_MAX + 1];
	struct keyfob_request request;
	struct keyfob_setting settings[SETTINGS_MAX];
	bool is_secret[SETTINGS_MAX];
	struct keyfob_secret secrets[SETTINGS_MAX];
	char *arguments[ARGUMENTS_MAX + 1];
};

static int channel = -1;

/* --- modules --- */

static const char *default_directory(char *out, size_t size)
{
	/* Built, and installed in libexec/keyfob. */
	static const char *const beside[] = { "../lib/keyfob/modules", "../../lib/keyfob/modules" };
	const char *set = secure_getenv("KEYFOB_MODULE_DIR");
	char self[PATH_MAX / 2], *where;
	ssize_t length = set ? 0 : readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (set)
		return set;
	self[length > 0 ? length : 0] = 0;
	where = dirname(self);
	for (size_t i = 0; i < 2; i++) {
		snprintf(out, size, "%s/%s", where, beside[i]);
		if (access(out, F_OK) == 0)
			break;
	}
	return out;
}

/* Only root, or whoever installed this program, may say what code a fetch runs. */
static bool trusted(const char *path, struct wire_result *result)
{
	struct stat st, self;
	const char *fault = NULL;

	if (stat(path, &st) < 0 || stat("/proc/self/exe", &self) < 0)
		fault = strerror(errno);
	else if (st.st_uid != 0 && st.st_uid != self.st_uid)
		fault = "not owned by root";
	else if (st.st_mode & (S_IWGRP | S_IWOTH))
		fault = "writable by group or others";
	if (fault)
		fetch_fail(result, KEYFOB_CLASS_CONFIG, "%s: %s", path, fault);
	return !fault;
}

/*
 * How: RTLD_NOW where a module is described, which tells what it lacks before anything is fetched with it. A fetch binds the
 * libraries behind libcurl as it calls them (RTLD_LAZY): all at once would be a third of its time.
 */
static const struct keyfob_module *load(const char *directory, const char *name, int how, struct wire_result *result)
{
	const struct keyfob_module *module = NULL;
	char path[PATH_MAX];
	void *library;

	if (!wire_name_valid(name)) {
		fetch_fail(result, KEYFOB_CLASS_CONFIG, "not a module's name: %s", name);
		return NULL;
	}
	snprintf(path, sizeof(path), "%s/%s.so", directory, name);
	if (access(path, F_OK) < 0 && errno == ENOENT && access(directory, F_OK) == 0) {
		fetch_fail(result, KEYFOB_CLASS_CONFIG, "there is no such module in %s (keyfob module list)", directory);
		return NULL;
	}
	if (!trusted(directory, result) || !trusted(path, result))
		return NULL;
	library = dlopen(path, how | RTLD_LOCAL);
	if (library)
		module = dlsym(library, "keyfob_module");
	if (!module)
		fetch_fail(result, KEYFOB_CLASS_CONFIG, "%s: %s", path, dlerror());
	else if (module->abi != KEYFOB_MODULE_ABI)
		fetch_fail(result, KEYFOB_CLASS_CONFIG, "%s: made for module interface %u, not %d", path, module->abi, KEYFOB_MODULE_ABI);
	else if (!module->name || strcmp(module->name, name) != 0 || !module->obtain)
		fetch_fail(result, KEYFOB_CLASS_CONFIG, "%s: is not the module %s", path, name);
	else
		return module;
	return NULL;
}

static void put_description(struct buffer *b, const struct keyfob_module *module)
{
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, 0);
	buffer_put_text(b, module->name);
	buffer_put_text(b, module->help);
	buffer_put_u8(b, (uint8_t)module->sandbox);
	buffer_put_u8(b, (uint8_t)module->kind);
	buffer_put_text(b, module->example);
	buffer_put_u32(b, (uint32_t)module->count);
	for (size_t i = 0; i < module->count; i++) {
		const struct keyfob_option *option = &module->options[i];

		buffer_put_text(b, option->name);
		buffer_put_u8(b, (uint8_t)option->type);
		buffer_put_u8(b, (uint8_t)option->flags);
		buffer_put_text(b, option->values);
		buffer_put_text(b, option->help);
	}
}

static int describe(const char *directory, const char *name)
{
	struct wire_result result = { .text = "" };
	const struct keyfob_module *module = load(directory, name, RTLD_NOW, &result);
	struct buffer frame;
	int status = 1;

	buffer_init(&frame, WIRE_MAX);
	if (module) {
		put_description(&frame, module);
		if (frame.failed)
			fetch_fail(&result, KEYFOB_CLASS_CONFIG, "the description of %s does not fit %d bytes", name, WIRE_MAX);
		else
			status = 0;
	}
	if (status) {
		buffer_clear(&frame);
		buffer_put_u8(&frame, WIRE_VERSION);
		buffer_put_u8(&frame, 1);
		buffer_put_text(&frame, result.text);
	}
	if (fwrite(frame.data, 1, frame.length, stdout) != frame.length || fflush(stdout) != 0)
		status = 1;
	buffer_free(&frame);
	return status;
}

static int is_module(const struct dirent *entry)
{
	const char *end = strrchr(entry->d_name, '.');

	return end && strcmp(end, ".so") == 0;
}

static int list(const char *directory)
{
	struct dirent **entries;
	int count = scandir(directory, &entries, is_module, alphasort);

	if (count < 0) {
		fprintf(stderr, "keyfob-fetch: %s: %s\n", directory, strerror(errno));
		return 1;
	}
	for (int i = 0; i < count; i++) {
		*strrchr(entries[i]->d_name, '.') = 0;
		if (wire_name_valid(entries[i]->d_name))
			puts(entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return 0;
}

/* --- the request --- */

static bool read_lists(struct reader *r, struct fetch *fetch)
{
	uint32_t count = reader_u32(r);

	if (count > SETTINGS_MAX)
		return false;
	for (uint32_t i = 0; i < count && !r->failed; i++) {
		fetch->settings[i].name = reader_dup(r, WIRE_MAX);
		fetch->settings[i].value = reader_dup(r, WIRE_MAX);
		fetch->is_secret[i] = reader_u8(r) != 0;
	}
	fetch->request.settings = fetch->settings;
	fetch->request.count = count;
	count = reader_u32(r);
	if (count > ARGUMENTS_MAX)
		return false;
	for (uint32_t i = 0; i < count && !r->failed; i++)
		fetch->arguments[i] = reader_dup(r, WIRE_MAX);
	fetch->request.arguments = count ? fetch->arguments : NULL;
	return reader_done(r);
}

static bool read_request(const struct buffer *frame, struct fetch *fetch)
{
	struct keyfob_request *request = &fetch->request;
	struct reader r;
	uint8_t sandbox, kind;

	reader_init(&r, frame->data, frame->length);
	if (reader_u8(&r) != WIRE_VERSION)
		return false;
	fetch->flags = reader_u8(&r);
	sandbox = reader_u8(&r);
	reader_text(&r, fetch->module, sizeof(fetch->module));
	reader_text(&r, fetch->credential, sizeof(fetch->credential));
	request->credential = fetch->credential;
	request->resource = reader_dup(&r, WIRE_MAX);
	kind = reader_u8(&r);
	fetch->ttl = reader_u32(&r);
	request->timeout = reader_u32(&r);
	if (sandbox > KEYFOB_SANDBOX_FILE || kind > KEYFOB_KIND_DOCUMENT || request->timeout < 1 || request->timeout > TIMEOUT_MAX)
		return false;
	fetch->sandbox = (enum keyfob_sandbox)sandbox;
	request->kind = (enum keyfob_kind)kind;
	return read_lists(&r, fetch);
}

/* Keep the socket where no library writes to by chance, and no program that a module starts inherits it. */
static bool take_channel(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return false;
	channel = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	return channel >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0;
}

/* The launcher ends what takes too long; this holds where there is none, or where it died. */
static void watchdog(unsigned int timeout)
{
	struct rlimit cpu = { timeout + 5, timeout + 5 };
	sigset_t alarms;

	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	signal(SIGALRM, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &alarms, NULL);
	setrlimit(RLIMIT_CPU, &cpu);
	alarm(timeout + 3);
}

static void tell(const char *line)
{
	static unsigned int told;
	char text[LINE_MAX_BYTES + 1];
	struct buffer frame;

	if (__atomic_fetch_add(&told, 1, __ATOMIC_RELAXED) >= LINES_MAX)
		return;
	snprintf(text, sizeof(text), "%s", line);
	fetch_printable(text);
	buffer_init(&frame, WIRE_MAX);
	buffer_put_u8(&frame, WIRE_FETCH_LINE);
	buffer_put_text(&frame, text);
	wire_send(channel, &frame, -1);
	buffer_free(&frame);
}

static int send_ready(void)
{
	struct buffer frame;
	int rc;

	buffer_init(&frame, 1);
	buffer_put_u8(&frame, WIRE_FETCH_READY);
	rc = wire_send(channel, &frame, -1);
	buffer_free(&frame);
	return rc;
}

/* Settings that name a file stay readable in the sandbox: the module is not known yet, only its settings. */
static bool enter(const struct fetch *fetch, const char *directory, struct wire_result *result)
{
	const char *readable[SETTINGS_MAX + 1];
	char why[256];
	size_t count = 0;
	int rc;

	for (size_t i = 0; i < fetch->request.count; i++)
		if (fetch->settings[i].value[0] == '/' && !fetch->is_secret[i])
			readable[count++] = fetch->settings[i].value;
	readable[count] = NULL;
	rc = fetch_sandbox_enter(fetch->sandbox, directory, readable, why, sizeof(why));
	if (rc) {
		fetch_fail(result, sandbox_may_pass(-rc) ? KEYFOB_CLASS_TRANSIENT : KEYFOB_CLASS_CONFIG, "no sandbox: %s", why);
		return false;
	}
	if (send_ready() < 0)
		return false;
	if (why[0] && fetch->request.tell)
		tell(why);
	return true;
}

/* --- secrets --- */

static char *read_secret(int fd, size_t *length)
{
	char *content = calloc(1, WIRE_SECRET_MAX + 1);
	ssize_t got = 0;

	*length = 0;
	while (content && *length < WIRE_SECRET_MAX && (got = read(fd, content + *length, WIRE_SECRET_MAX - *length)) > 0)
		*length += (size_t)got;
	if (content && got < 0) {
		explicit_bzero(content, *length);
		free(content);
		content = NULL;
	}
	return content;
}

/* One frame for each secret setting, in any order. */
static bool receive_secret(struct fetch *fetch, struct wire_result *result)
{
	struct keyfob_secret *secret = &fetch->secrets[fetch->request.secret_count];
	char name[64] = "", error[WIRE_TEXT_MAX] = "";
	struct buffer frame;
	struct reader r;
	int fd = -1;

	buffer_init(&frame, WIRE_MAX);
	if (wire_receive(channel, &frame, &fd) == 0) {
		reader_init(&r, frame.data, frame.length);
		reader_text(&r, name, sizeof(name));
		reader_text(&r, error, sizeof(error));
	}
	buffer_free(&frame);
	for (size_t i = 0; i < fetch->request.count && fd >= 0; i++) {
		if (fetch->is_secret[i] && strcmp(fetch->settings[i].name, name) == 0) {
			secret->name = fetch->settings[i].name;
			secret->value = read_secret(fd, &secret->length);
		}
	}
	for (size_t i = 0; i < fetch->request.count; i++)
		if (!secret->value && strcmp(fetch->settings[i].name, name) == 0)
			fetch_fail(result, *error ? KEYFOB_CLASS_CONFIG : KEYFOB_CLASS_TRANSIENT, "%s=%s: %s", name,
				fetch->settings[i].value, *error ? error : "cannot be read");
	if (fd >= 0)
		close(fd);
	if (!secret->value && !result->text[0])
		fetch_fail(result, KEYFOB_CLASS_TRANSIENT, "a secret was not handed over%s%s", *error ? ": " : "", error);
	fetch->request.secret_count += secret->value != NULL;
	return secret->value != NULL;
}

static bool receive_secrets(struct fetch *fetch, struct wire_result *result)
{
	fetch->request.secrets = fetch->secrets;
	for (size_t i = 0; i < fetch->request.count; i++)
		if (fetch->is_secret[i] && !receive_secret(fetch, result))
			return false;
	return true;
}

static void wipe_secrets(struct fetch *fetch)
{
	for (size_t i = 0; i < fetch->request.secret_count; i++)
		explicit_bzero((char *)(uintptr_t)fetch->secrets[i].value, fetch->secrets[i].length);
}

/* --- the attempt --- */

static void obtain(struct fetch *fetch, const char *directory, struct keyfob_reply *reply, struct wire_result *result)
{
	const struct keyfob_module *module;

	if (!enter(fetch, directory, result) || !receive_secrets(fetch, result))
		return;
	module = load(directory, fetch->module, RTLD_LAZY, result);
	if (!module)
		return;
	if (module->sandbox != fetch->sandbox) {
		fetch_fail(result, KEYFOB_CLASS_CONFIG, "the module %s needs another sandbox than asked for: reload", fetch->module);
		return;
	}
	if (fetch->request.kind == KEYFOB_KIND_DEFAULT)
		fetch->request.kind = module->kind;
	if ((fetch->request.kind == KEYFOB_KIND_DOCUMENT) != (module->kind == KEYFOB_KIND_DOCUMENT)) {
		fetch_fail(result, KEYFOB_CLASS_CONFIG, "the module %s gives %s", fetch->module,
			module->kind == KEYFOB_KIND_DOCUMENT ? "documents, not tokens" : "tokens, not documents");
		return;
	}
	module->obtain(&fetch->request, reply);
	wipe_secrets(fetch);
	fetch_judge(fetch->request.kind, fetch->ttl, reply, result);
}

static int fetch_once(const char *directory)
{
	static struct fetch fetch;
	static struct keyfob_reply reply;
	struct wire_result result = { .class = KEYFOB_CLASS_CONFIG };
	struct buffer frame;
	int status = 2;

	buffer_init(&frame, WIRE_MAX);
	if (!take_channel() || wire_receive(channel, &frame, NULL) < 0) {
		fprintf(stderr, "keyfob-fetch: no request on standard input; keyfobd starts this program\n");
		return 2;
	}
	errno = 0;
	if (!read_request(&frame, &fetch)) {
		if (errno == ENOMEM)
			fetch_fail(&result, KEYFOB_CLASS_TRANSIENT, "keyfob-fetch cannot read the request: out of memory");
		else
			fetch_fail(&result, KEYFOB_CLASS_CONFIG, "keyfob-fetch cannot read the request: of another version?");
	} else {
		watchdog(fetch.request.timeout);
		fetch.request.own = fetch.flags & WIRE_FETCH_OWN;
		if (fetch.flags & WIRE_FETCH_EXCHANGE)
			fetch.request.tell = tell;
		obtain(&fetch, directory, &reply, &result);
		status = 0;
	}
	buffer_free(&frame);
	if (fetch_send(channel, fetch.request.kind, &result, &reply) < 0 && !status)
		status = 1;
	fetch_wipe(&reply);
	return status;
}

/* --- the command line --- */

static int usage(int status)
{
	fputs("usage: keyfob-fetch [--module-dir DIR]                     (one request on standard input)\n"
	      "       keyfob-fetch --describe MODULE | --list [--module-dir DIR]\n"
	      "       keyfob-fetch --help | --version\n",
		status ? stderr : stdout);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "module-dir", required_argument, NULL, 'm' },
		{ "describe", required_argument, NULL, 'd' },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	char found[PATH_MAX], directory[PATH_MAX];
	const char *given = NULL, *module = NULL;
	bool listing = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'm')
			given = optarg;
		else if (c == 'd')
			module = optarg;
		else if (c == 'l')
			listing = true;
		else if (c == 'V')
			return printf("keyfob-fetch %s\n", KEYFOB_VERSION) < 0;
		else
			return usage(c == 'h' ? 0 : 2);
	}
	if (optind < argc || (module && listing))
		return usage(2);
	if (!given)
		given = default_directory(found, sizeof(found));
	/* What is not there is told by its first use, each in the form its reader expects. */
	if (!realpath(given, directory))
		snprintf(directory, sizeof(directory), "%s", given);
	if (listing)
		return list(directory);
	if (module)
		return describe(directory, module);
	close_range(3, ~0u, 0);
	/* No exit handler of any library may run now that the result is out. */
	_exit(fetch_once(directory));
}
