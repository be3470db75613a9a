/* SPDX-License-Identifier: Apache-2.0 */
/* `keyfob run`: a command that finds its tokens in files, by the variables that its libraries look at. */
#include "cli/run.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANNOT_EXECUTE 126 /* as env(1) */
#define NOT_FOUND 127

/* --- what was asked for ---------------------------------------------------------------- */

/* Its place among the credentials. -1: complained. */
static int credential_of(const struct cli *cli, struct run *run, const char *text, size_t length)
{
	char name[WIRE_NAME_MAX + 2];
	int i = 0;

	snprintf(name, sizeof(name), "%.*s", (int)(length < sizeof(name) ? length : sizeof(name) - 1), text);
	if (cli_check_name(cli, name))
		return -1;
	while (i < run->credential_count && strcmp(run->credentials[i].name, name) != 0)
		i++;
	if (i == run->credential_count) {
		run->credentials[i].name = strdup(name);
		if (!run->credentials[i].name) {
			cli_fail(KEYFOB_ENOMEM, NULL, "out of memory");
			return -1;
		}
		run->credential_count++;
	}
	return i;
}

static bool is_variable(const char *text)
{
	if (!isalpha((unsigned char)*text) && *text != '_')
		return false;
	while (isalnum((unsigned char)*text) || *text == '_')
		text++;
	return !*text;
}

/* One more file. Each variable leads to one. */
static bool add_file(const struct cli *cli, struct run *run, int credential, const char *variable, const char *second)
{
	struct run_file *file = &run->files[run->file_count];

	for (int i = 0; i < run->file_count; i++) {
		for (int k = 0; k < 2; k++) {
			const char *taken = run->files[i].variables[k];

			if (taken && (strcmp(taken, variable) == 0 || (second && strcmp(taken, second) == 0))) {
				cli_usage(cli, "%s cannot name two files", taken);
				return false;
			}
		}
	}
	file->variables[0] = variable;
	file->variables[1] = second;
	file->credential = credential;
	run->file_count++;
	return true;
}

/* NAME[:VARIABLE] */
static bool read_file(const struct cli *cli, struct run *run, const char *value)
{
	size_t length = strcspn(value, ":");
	const char *variable = value[length] ? value + length + 1 : "KEYFOB_TOKEN_FILE";
	int credential;

	if (!is_variable(variable)) {
		cli_usage(cli, "--file=%s: %s is no name of a variable", value, variable);
		return false;
	}
	credential = credential_of(cli, run, value, length);
	return credential >= 0 && add_file(cli, run, credential, variable, NULL);
}

/* PyMongo and libmongoc look at the second one first, the others at the first one. */
static bool read_mongodb(const struct cli *cli, struct run *run, const char *name)
{
	int credential = credential_of(cli, run, name, strlen(name));

	return credential >= 0 && add_file(cli, run, credential, "AZURE_FEDERATED_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE");
}

/* Are there just four parts, parted by colons without a backslash before them? */
static bool is_entry(const char *text)
{
	int colons = 0;
	bool is_empty = true;

	if (*text == '#')
		return false;
	for (; *text; text++) {
		if (*text == '\n' || *text == '\r' || (*text == ':' && is_empty))
			return false;
		is_empty = *text == ':';
		colons += *text == ':';
		if (*text == '\\' && !*++text)
			return false;
	}
	return colons == 3 && !is_empty;
}

/* NAME:HOST:PORT:DATABASE:USER */
static bool read_pgpass(const struct cli *cli, struct run *run, const char *value)
{
	size_t length = strcspn(value, ":");
	const char *text = value[length] ? value + length + 1 : "";
	int credential;

	if (!is_entry(text)) {
		cli_usage(cli, "--pgpass=%s: what is wanted is NAME:HOST:PORT:DATABASE:USER, with \\: for a colon in one of them", value);
		return false;
	}
	credential = credential_of(cli, run, value, length);
	if (credential < 0)
		return false;
	run->entries[run->entry_count].credential = credential;
	run->entries[run->entry_count++].text = text;
	return run->entry_count > 1 || add_file(cli, run, -1, "PGPASSFILE", NULL);
}

static bool read_options(const struct cli *cli, struct run *run)
{
	static const struct {
		const char *option;
		bool (*read)(const struct cli *cli, struct run *run, const char *value);
	} options[] = {
		{ "mongodb", read_mongodb },
		{ "file", read_file },
		{ "pgpass", read_pgpass },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		const char *value;
		int at = 0;

		while ((value = cli_next_value(cli, options[i].option, &at)))
			if (!options[i].read(cli, run, value))
				return false;
	}
	if (run->file_count)
		return true;
	cli_usage(cli, "say with --mongodb, --file or --pgpass which tokens the command shall find");
	return false;
}

/* --- its environment ------------------------------------------------------------------- */

/* With these set a library would do something else with the file than what it is for. */
static const struct {
	const char *option, *variable, *why;
} conflicts[] = {
	{ "mongodb", "AZURE_CLIENT_ID", "Azure's libraries would then present this token as theirs" },
	{ "mongodb", "AZURE_TENANT_ID", "Azure's libraries would then present this token as theirs" },
	{ "mongodb", "AWS_ROLE_ARN", "AWS's libraries would then present this token as theirs" },
	{ "pgpass", "PGPASSWORD", "libpq would then not look into the file" },
};

static bool check_environment(const struct cli *cli)
{
	for (size_t i = 0; i < sizeof(conflicts) / sizeof(conflicts[0]); i++) {
		const char *value = getenv(conflicts[i].variable);

		if (!value || !*value || !cli_value(cli, conflicts[i].option))
			continue;
		cli_fail(KEYFOB_EINVAL, "run", "%s is set: %s (without it: env -u %s keyfob run ...)", conflicts[i].variable,
			conflicts[i].why, conflicts[i].variable);
		return false;
	}
	return true;
}

static bool set_environment(const struct run *run)
{
	for (int i = 0; i < run->file_count; i++)
		for (int k = 0; k < 2; k++)
			if (run->files[i].variables[k] && setenv(run->files[i].variables[k], run->files[i].path, 1) < 0)
				return false;
	return true;
}

/* --- the command ------------------------------------------------------------------------- */

static const int passed_on[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP };

/* Become the command. Returns the exit code of a failure. */
static int execute(char *const command[])
{
	int error;

	signal(SIGPIPE, SIG_DFL);
	execvp(command[0], command);
	error = errno;
	cli_fail(KEYFOB_EFAIL, command[0], "%s", strerror(error));
	return error == ENOENT ? NOT_FOUND : CANNOT_EXECUTE;
}

/*
 * An orphan would lose its files: it gets SIGTERM when this process is killed.
 * on_child is what SIGCHLD did before we needed it.
 */
static pid_t start(char *const command[], const sigset_t *mask, void (*on_child)(int))
{
	pid_t parent = getpid(), child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(CANNOT_EXECUTE);
	signal(SIGCHLD, on_child);
	sigprocmask(SIG_SETMASK, mask, NULL);
	_exit(execute(command));
}

/* Stop as the terminal meant it, which knows of process groups that nobody would continue. */
static void stop(void)
{
	sigset_t only;

	sigemptyset(&only);
	sigaddset(&only, SIGTSTP);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &only, NULL);
	sigprocmask(SIG_BLOCK, &only, NULL);
}

/* Has it ended? Others that are not ours may come to us where we are the first process of a container. */
static bool reap(pid_t child, int *status)
{
	pid_t ended;
	int how;

	while ((ended = waitpid(-1, &how, WNOHANG)) > 0) {
		if (ended == child) {
			*status = how;
			return true;
		}
	}
	return false;
}

/* Pass signals on until it has ended. What the terminal sends reaches the child without us. */
static int attend(pid_t child, const sigset_t *signals)
{
	siginfo_t info;
	int status = 0;

	for (;;) {
		int number = sigwaitinfo(signals, &info);

		if (number == SIGCHLD && reap(child, &status))
			return status;
		if (number <= 0 || number == SIGCHLD)
			continue;
		if (info.si_code <= 0 && info.si_pid != child)
			kill(child, number);
		if (number == SIGTSTP)
			stop();
	}
}

/* As it ended: by the same signal, where that ends us too. */
static int end_like(int status)
{
	sigset_t none;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&none);
	raise(WTERMSIG(status));
	sigprocmask(SIG_SETMASK, &none, NULL);
	return 128 + WTERMSIG(status);
}

/* Beside the child this process stays, for the files are its descriptors. */
static int supervise(struct run *run, char *const command[])
{
	static const struct rlimit no_core = { 0, 0 };
	void (*on_child)(int) = signal(SIGCHLD, SIG_DFL);
	sigset_t signals, mask;
	pthread_t thread;
	pid_t child;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
		sigaddset(&signals, passed_on[i]);
	sigprocmask(SIG_BLOCK, &signals, &mask);
	child = start(command, &mask, on_child);
	if (child < 0) {
		cli_fail(KEYFOB_EFAIL, NULL, "cannot start a process: %s", strerror(errno));
		return CLI_NOT_RUN;
	}
	setrlimit(RLIMIT_CORE, &no_core);
	errno = pthread_create(&thread, NULL, run_keep, run);
	if (errno) {
		cli_fail(KEYFOB_EFAIL, NULL, "cannot keep the tokens current: %s", strerror(errno));
		kill(child, SIGTERM);
	}
	return end_like(attend(child, &signals));
}

int cli_run_command(const struct cli *cli)
{
	static struct run run;
	bool is_ours = false;

	if (!read_options(cli, &run) || !check_environment(cli) || !run_obtain(&run) || !run_make_files(&run))
		return CLI_NOT_RUN;
	if (!set_environment(&run)) {
		cli_fail(KEYFOB_ENOMEM, NULL, "out of memory");
		return CLI_NOT_RUN;
	}
	for (int i = 0; i < run.file_count; i++)
		is_ours |= run.files[i].slot >= 0;
	return is_ours ? supervise(&run, cli->command) : execute(cli->command);
}
