/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 8

/* The first of these, relative to the directory of this program, that is there (in the build tree, installed). */
static const char *find_beside(const char *const *relative, const char *name, int mode, char *out, size_t size)
{
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (length < 0)
		return NULL;
	self[length] = 0;
	slash = strrchr(self, '/');
	if (!slash)
		return NULL;
	*slash = 0;
	for (; *relative; relative++) {
		int n = snprintf(out, size, "%s/%s%s", self, *relative, name);

		if (n > 0 && (size_t)n < size && access(out, mode) == 0)
			return out;
	}
	return NULL;
}

/* The module directory of this installation, or NULL. */
static const char *module_dir(char *out, size_t size)
{
	static const char *const places[] = { "../lib/keyfob/modules", "../../lib/keyfob/modules", NULL };
	const char *named = secure_getenv("KEYFOB_MODULE_DIR");

	return named && *named ? named : find_beside(places, "", R_OK | X_OK, out, size);
}

void cli_fetch_arguments(const char *what, const char *name, char *space, size_t size, const char *arguments[5])
{
	const char *dir = module_dir(space, size);
	int n = 0;

	arguments[n++] = what;
	if (name)
		arguments[n++] = name;
	if (dir) {
		arguments[n++] = "--module-dir";
		arguments[n++] = dir;
	}
	arguments[n] = NULL;
}

static void free_words(char *words[], size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(words[i]);
}

/* There may be secrets among them. */
static void free_environment(char **variables)
{
	for (char **at = variables; at && *at; at++) {
		explicit_bzero(*at, strlen(*at));
		free(*at);
	}
	free(variables);
}

static bool add_variable(char *variables[], size_t *count, const char *prefix, const char *text)
{
	if (asprintf(&variables[*count], "%s%s", prefix, text) < 0) {
		variables[*count] = NULL;
		return false;
	}
	++*count;
	return true;
}

/* What a configuration may ask for by env:NAME. A larger one it cannot, and the kernel may not take it with the prefix. */
static bool add_caller(char *variables[], size_t *count)
{
	for (char **at = environ; !getauxval(AT_SECURE) && at && *at; at++)
		if (strlen(*at) <= WIRE_SECRET_MAX + 256u && !add_variable(variables, count, WIRE_CALLER_PREFIX, *at))
			return false;
	return true;
}

/*
 * Nothing of the caller's environment but what the program documents, and even
 * that not in a set-user-id process. The rest, where it is wanted, goes along
 * under names that steer nothing. NULL: out of memory.
 */
static char **environment(bool with_caller)
{
	static const char *const kept[] = { "KEYFOB_CONFIG", "KEYFOB_MODULE_DIR" };
	size_t room = 4, n = 0;
	char **variables, prefix[32];
	bool ok;

	for (char **at = environ; at && *at; at++)
		room++;
	variables = calloc(room, sizeof(*variables));
	ok = variables && add_variable(variables, &n, "", "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
	for (size_t i = 0; ok && i < sizeof(kept) / sizeof(kept[0]); i++) {
		const char *value = secure_getenv(kept[i]);

		snprintf(prefix, sizeof(prefix), "%s=", kept[i]);
		ok = !value || add_variable(variables, &n, prefix, value);
	}
	if (ok && with_caller)
		ok = add_caller(variables, &n);
	if (ok)
		return variables;
	free_environment(variables);
	return NULL;
}

static int read_all(int fd, struct buffer *output)
{
	for (;;) {
		uint8_t *to = buffer_reserve(output, 4096);
		ssize_t n = to ? read(fd, to, 4096) : 0;

		if (!to)
			return -ENOMEM;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		if (n > 0)
			output->length += (size_t)n;
	}
}

/* stdout goes to fd unless that is -1; SIGPIPE, which this program ignores, is as usual again. */
static int spawn(const char *path, char *argv[], char *variables[], int fd, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t signals;
	int error;

	sigemptyset(&signals);
	sigaddset(&signals, SIGPIPE);
	error = posix_spawn_file_actions_init(&actions);
	if (error)
		return error;
	error = posix_spawnattr_init(&attributes);
	if (error)
		goto out_actions;
	if (fd >= 0)
		error = posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
	if (!error)
		error = posix_spawnattr_setsigdefault(&attributes, &signals);
	if (!error)
		error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
	if (!error)
		error = posix_spawn(pid, path, &actions, &attributes, argv, variables);
	posix_spawnattr_destroy(&attributes);
out_actions:
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

/* Its exit status, as a shell counts it. */
static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(const char *name, const char *path, char *argv[], char *variables[], struct buffer *output)
{
	int fds[2] = { -1, -1 }, error = 0, status;
	pid_t pid;

	if (output && pipe2(fds, O_CLOEXEC) < 0)
		error = errno;
	if (!error)
		error = spawn(path, argv, variables, fds[1], &pid);
	if (fds[1] >= 0)
		close(fds[1]);
	if (error) {
		cli_fail(KEYFOB_EFAIL, name, "%s: %s", path, strerror(error));
		status = -1;
		goto out;
	}
	error = output ? read_all(fds[0], output) : 0;
	if (error)
		kill(pid, SIGTERM);
	status = wait_for(pid);
	if (error) {
		cli_fail(KEYFOB_EFAIL, name, "its output: %s", strerror(-error));
		status = -1;
	}
out:
	if (fds[0] >= 0)
		close(fds[0]);
	return status;
}

static bool find_program(const char *name, char *out, size_t size)
{
	static const char *const places[] = { "", "../libexec/keyfob/", "../sbin/", "../../sbin/", NULL };

	if (find_beside(places, name, X_OK, out, size))
		return true;
	cli_fail(KEYFOB_EFAIL, NULL, "cannot find %s beside this program, nor in ../libexec/keyfob or ../sbin", name);
	return false;
}

int cli_become(const char *name, char *const argv[])
{
	char path[PATH_MAX];

	if (!find_program(name, path, sizeof(path)))
		return -KEYFOB_EFAIL;
	execv(path, argv);
	return cli_fail(KEYFOB_EFAIL, name, "%s: %s", path, strerror(errno));
}

static int start(const char *name, const char *const *arguments, bool with_caller, struct buffer *output)
{
	char **variables, *argv[ARGUMENTS_MAX + 1] = { NULL }, path[PATH_MAX];
	int status = -1;
	size_t n = 0;

	if (!find_program(name, path, sizeof(path)))
		return -1;
	argv[n++] = strdup(name);
	for (; *arguments && n < ARGUMENTS_MAX && argv[n - 1]; arguments++)
		argv[n++] = strdup(*arguments);
	variables = environment(with_caller);
	if (argv[n - 1] && variables)
		status = run(name, path, argv, variables, output);
	else
		cli_fail(KEYFOB_ENOMEM, NULL, "out of memory");
	free_words(argv, ARGUMENTS_MAX);
	free_environment(variables);
	return status;
}

int cli_tool(const char *name, const char *const *arguments, struct buffer *output)
{
	return start(name, arguments, false, output);
}

int cli_tool_for_caller(const char *name, const char *const *arguments, struct buffer *output)
{
	return start(name, arguments, true, output);
}
