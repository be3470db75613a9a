/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a provider module that turned hostile can still do from within
 * keyfob-fetch, and what one that is sound must be able to do.
 *
 * links: common/buffer common/wire
 */
#include "tests/unit/fetch-call.h"

#include <netdb.h>
#include <sys/un.h>

struct act {
	const char *name, *refused; /* NULL: must come to pass */
	const char *path;
};

static char elsewhere[] = "/var/keyfob-test-fetch-XXXXXX"; /* open to all, and no place for temporary files */
static pid_t victim;
static char victim_pid[16];

static int start_victim(void **state)
{
	(void)state;
	victim = fork();
	if (victim == 0) {
		become_user();
		execl("/bin/sleep", "sleep", "300", (char *)NULL);
		_exit(127);
	}
	snprintf(victim_pid, sizeof(victim_pid), "%d", (int)victim);
	return victim < 0;
}

static int end_victim(void **state)
{
	(void)state;
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
	return 0;
}

/* The errors below are those of a kernel that has all that the sandbox asks for. */
static void needs_landlock(void)
{
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 6)
		skip();
}

static void attempt(const char *module, enum keyfob_sandbox sandbox, const struct act *act)
{
	const struct ask ask = {
		.module = module,
		.sandbox = sandbox,
		.settings = { "do", act->name, "path", act->path ? act->path : "", "pid", victim_pid },
	};
	struct addrinfo *found = NULL;

	/* A bare root may know no localhost; then there is nothing to resolve. */
	if (strcmp(act->name, "resolve") == 0 && getaddrinfo("localhost", NULL, NULL, &found) != 0)
		return;
	if (found)
		freeaddrinfo(found);
	fetch(&ask);
	if (!answer.result)
		fail_msg("%s in %s: no result, status %x", act->name, module, (unsigned int)answer.status);
	if (act->refused && (answer.said.class != KEYFOB_CLASS_PERMANENT || !strstr(act->refused, answer.said.text)))
		fail_msg("%s in %s: class %d %s, not %s", act->name, module, answer.said.class, answer.said.text, act->refused);
	if (!act->refused && answer.said.class != KEYFOB_CLASS_OK)
		fail_msg("%s in %s: class %d %s", act->name, module, answer.said.class, answer.said.text);
	/* Naming it the owner of a pipe is allowed where fcntl(2) is; the signal must still not arrive. */
	assert_int_equal(waitpid(victim, NULL, WNOHANG), 0);
}

static void contains_a_network_module(void **state)
{
	char open_file[300], new_file[300], door[300], hidden[300], of_victim[64];
	const struct act acts[] = {
		{ "thread", NULL, NULL },
		{ "resolve", NULL, NULL },
		{ "socket", NULL, NULL },
		{ "get", NULL, open_file + strlen("file:") },
		{ "get", "EACCES", open_file },
		{ "get", "EACCES", "file:/etc/shadow" },
		{ "get", "EACCES", "file:/etc/passwd" },
		{ "get", "EACCES", "file:/proc/self/environ" },
		{ "get", NULL, "file:/etc/nsswitch.conf" },
		{ "put", "EACCES EPERM", open_file },
		{ "put", "EACCES EPERM", new_file },
		{ "fill", "EACCES EPERM", new_file },
		{ "remove", "EPERM", open_file },
		{ "chmod", "EPERM", open_file },
		{ "ptrace", "EPERM", NULL },
		{ "peek", "EPERM", NULL },
		{ "mem", "EACCES", NULL },
		{ "kill", "EPERM", NULL },
		{ "limit", "EPERM", NULL },
		{ "pidfd", "EPERM", NULL },
		{ "priority", "EPERM", NULL },
		{ "affinity", "EPERM", NULL },
		{ "queue", "EPERM", NULL },
		{ "type", "EPERM", NULL },
		{ "mount", "EPERM", NULL },
		{ "put", "EACCES EPERM", "file:/proc/self/oom_score_adj" },
		{ "get", "EACCES", of_victim },
		{ "owner", "EPERM", NULL },
		{ "unix", "EPERM", door },
		{ "abstract", "EPERM", hidden },
		{ "serve", "EPERM EACCES", NULL },
		{ "family", "EPERM", NULL },
		{ "protocol", "EPERM", NULL },
		{ "fork", "EPERM", NULL },
		{ "exec", "EPERM", NULL },
		{ "key", "EPERM", NULL },
		{ "ring", "EPERM", NULL },
		{ "search", "EPERM", NULL },
		{ "namespace", "EPERM", NULL },
		{ "session", "EPERM", NULL },
		{ "uring", "EPERM", NULL },
		{ "dumpable", "EPERM", NULL },
		{ "root", "EPERM", NULL },
#ifndef __SANITIZE_ADDRESS__
		{ "memory", "ENOMEM", NULL },
#endif
	};

	(void)state;
	needs_landlock();
	snprintf(open_file, sizeof(open_file), "file:%s/open", scratch);
	snprintf(new_file, sizeof(new_file), "file:%s/new", scratch);
	snprintf(of_victim, sizeof(of_victim), "file:/proc/%s/environ", victim_pid);
	snprintf(door, sizeof(door), "file:%s/door", scratch);
	snprintf(hidden, sizeof(hidden), "file:%s", scratch);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		attempt("hostile", KEYFOB_SANDBOX_NETWORK, &acts[i]);
	assert_int_equal(access(new_file + strlen("file:"), F_OK), -1);
}

static void contains_a_file_module(void **state)
{
	char open_file[300];
	const struct act acts[] = {
		{ "thread", NULL, NULL },
		{ "get", NULL, open_file + strlen("file:") },
		{ "get", "EACCES", open_file },
		{ "socket", "EPERM", NULL },
		{ "unix", "EPERM", "file:/dev/log" },
		{ "fork", "EPERM", NULL },
		{ "exec", "EPERM", NULL },
		{ "key", "EPERM", NULL },
		{ "put", "EACCES EPERM", open_file },
		{ "kill", "EPERM", NULL },
	};

	(void)state;
	needs_landlock();
	snprintf(open_file, sizeof(open_file), "file:%s/open", scratch);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		attempt("hostile-file", KEYFOB_SANDBOX_FILE, &acts[i]);
}

static void contains_an_exec_module(void **state)
{
	char outside[100], door[300], hidden[300], own[300], of_victim[64];
	const struct act acts[] = {
		{ "shell", NULL, NULL },
		{ "group", NULL, NULL },
		{ "thread", NULL, NULL },
		{ "resolve", NULL, NULL },
		{ "fork", NULL, NULL },
		{ "unix", NULL, door },
		{ "get", NULL, "file:/etc/passwd" },
		{ "get", "EACCES", "file:/etc/shadow" },
		{ "put", "EACCES", outside },
		{ "put", "EACCES", "file:/etc/keyfob-test" },
		{ "ptrace", "ENOSYS", NULL },
		{ "peek", "ENOSYS", NULL },
		{ "mem", "EACCES", NULL },
		{ "kill", "EPERM", NULL },
		{ "owner", NULL, NULL },
		{ "pidfd", "EPERM", NULL },
		{ "limit", "ENOSYS", NULL },
		{ "priority", "ENOSYS", NULL },
		{ "affinity", "ENOSYS", NULL },
		{ "queue", "ENOSYS", NULL },
		{ "type", "ENOSYS", NULL },
		{ "mount", "ENOSYS", NULL },
		{ "fill", "EFBIG", own },
		{ "get", "EACCES", of_victim },
		{ "put", "EACCES", "file:/proc/self/oom_score_adj" },
		{ "abstract", "EPERM", hidden },
		{ "family", "ENOSYS", NULL },
		{ "key", "ENOSYS", NULL },
		{ "ring", "ENOSYS", NULL },
		{ "search", "ENOSYS", NULL },
		{ "namespace", "ENOSYS", NULL },
		{ "session", "ENOSYS", NULL },
		{ "uring", "ENOSYS", NULL },
		{ "root", "EPERM", NULL },
		{ "serve", "EACCES", NULL },
#ifndef __SANITIZE_ADDRESS__
		{ "memory", "ENOMEM", NULL },
#endif
	};

	(void)state;
	needs_landlock();
	needs_root();
	snprintf(outside, sizeof(outside), "file:%s/new", elsewhere);
	snprintf(own, sizeof(own), "file:%s/own", scratch);
	snprintf(of_victim, sizeof(of_victim), "file:/proc/%s/environ", victim_pid);
	snprintf(door, sizeof(door), "file:%s/door", scratch);
	snprintf(hidden, sizeof(hidden), "file:%s", scratch);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		attempt("hostile-exec", KEYFOB_SANDBOX_EXEC, &acts[i]);
}

/* What stands behind a name in /proc/PID/status or limits, without the blanks. */
static void process_line(pid_t pid, const char *file, const char *name, char *out, size_t size)
{
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	f = fopen(path, "re");
	assert_non_null(f);
	out[0] = 0;
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			snprintf(out, size, "%s", line + strlen(name) + strspn(line + strlen(name), " \t"));
	out[strcspn(out, " \n")] = 0;
	fclose(f);
}

/* What the kernel says of a fetch at work, and that it does not outlive its time. */
static void is_sealed_and_ends_by_itself(void **state)
{
	static const struct {
		const char *file, *name, *value;
	} lines[] = {
		{ "status", "NoNewPrivs:", "1" },
		{ "status", "Seccomp:", "2" },
		{ "status", "CapPrm:", "0000000000000000" },
		{ "limits", "Max core file size", "0" },
		{ "limits", "Max file size", "0" },
		{ "limits", "Max open files", "64" },
		{ "limits", "Max cpu time", "6" },
	};
	const struct ask ask = { .module = "hostile", .timeout = 1, .settings = { "do", "hang" } };
	char text[64], path[64];
	struct buffer frame;
	struct stat st;
	int fd;
	pid_t pid = start(NULL, &fd);

	(void)state;
	send_ask(fd, &ask);
	buffer_init(&frame, WIRE_MAX);
	assert_int_equal(wire_receive(fd, &frame, NULL), 0);
	assert_int_equal(frame.data[0], WIRE_FETCH_READY);
	buffer_free(&frame);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		process_line(pid, lines[i].file, lines[i].name, text, sizeof(text));
		assert_string_equal(text, lines[i].value);
	}
	process_line(pid, "limits", "Max processes", text, sizeof(text));
	assert_string_not_equal(text, "unlimited");
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	finish(pid, fd);
	assert_false(answer.result);
	assert_true(WIFSIGNALED(answer.status));
	assert_int_equal(WTERMSIG(answer.status), SIGALRM);
}

/* With as many processes or threads as it may have, others of the same user still start, and have threads of their own. */
static void fill_up(const char *module, enum keyfob_sandbox sandbox, const char *act)
{
	char go_on[300];
	const struct ask full = {
		.module = module, .sandbox = sandbox, .flags = WIRE_FETCH_EXCHANGE, .timeout = 100, .settings = { "do", act, "path", go_on }
	};
	const struct ask other = { .module = "hostile", .settings = { "do", "thread" } };
	const struct ask helper = { .module = "hostile-exec", .sandbox = KEYFOB_SANDBOX_EXEC, .settings = { "do", "shell" } };
	struct buffer frame;
	int fd, made;
	pid_t pid;

#ifdef __SANITIZE_ADDRESS__
	/* Its shadow memory makes so many processes too slow, and threads with small stacks end badly. */
	skip();
#endif
	pid = start(NULL, &fd);
	snprintf(go_on, sizeof(go_on), "%s/%s-go-on", scratch, act);
	send_ask(fd, &full);
	buffer_init(&frame, WIRE_MAX);
	do
		assert_int_equal(wire_receive(fd, &frame, NULL), 0);
	while (frame.data[0] != WIRE_FETCH_LINE);
	buffer_free(&frame);
	fetch(&other);
	assert_true(answer.result);
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
	fetch(&helper);
	assert_true(answer.result);
	assert_int_equal(answer.said.class, KEYFOB_CLASS_OK);
	made = open(go_on, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	assert_true(made >= 0);
	close(made);
	finish(pid, fd);
	assert_true(answer.result);
	assert_string_equal(answer.said.text, "EAGAIN");
}

static void a_fork_bomb_meets_its_limit(void **state)
{
	(void)state;
	fill_up("hostile-exec", KEYFOB_SANDBOX_EXEC, "bomb");
}

static void so_does_one_of_threads(void **state)
{
	(void)state;
	fill_up("hostile", KEYFOB_SANDBOX_NETWORK, "threads");
}

static void a_crash_ends_it_alone(void **state)
{
	const struct ask ask = { .module = "hostile", .settings = { "do", "crash" } };

	(void)state;
	fetch(&ask);
	assert_true(answer.ready);
	assert_false(answer.result);
	assert_false(WIFEXITED(answer.status) && WEXITSTATUS(answer.status) == 0);
	assert_false(WIFSIGNALED(answer.status) && WCOREDUMP(answer.status));
}

static int listener = -1, abstract_listener = -1;

static int listen_at(const char *name, bool abstract)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t size;

	snprintf(address.sun_path + abstract, sizeof(address.sun_path) - 1, "%s", name);
	size = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(name);
	if (bind(fd, (struct sockaddr *)&address, (socklen_t)size) < 0 || listen(fd, 5) < 0)
		return -1;
	return fd;
}

static int prepare(void **state)
{
	char path[200];

	if (fetch_prepare(state) || (geteuid() == 0 && (!mkdtemp(elsewhere) || chmod(elsewhere, 0777) < 0)))
		return -1;
	snprintf(path, sizeof(path), "%s/open", scratch);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
	chmod(path, 0666);
	snprintf(path, sizeof(path), "%s/door", scratch);
	listener = listen_at(path, false);
	abstract_listener = listen_at(scratch, true);
	return listener < 0 || abstract_listener < 0 || chmod(path, 0666) < 0;
}

static int clean(void **state)
{
	char path[100];

	close(listener);
	close(abstract_listener);
	snprintf(path, sizeof(path), "%s/new", elsewhere);
	unlink(path);
	rmdir(elsewhere);
	return fetch_clean(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(contains_a_network_module, start_victim, end_victim),
		cmocka_unit_test_setup_teardown(contains_a_file_module, start_victim, end_victim),
		cmocka_unit_test_setup_teardown(contains_an_exec_module, start_victim, end_victim),
		cmocka_unit_test(is_sealed_and_ends_by_itself),
		cmocka_unit_test(a_fork_bomb_meets_its_limit),
		cmocka_unit_test(so_does_one_of_threads),
		cmocka_unit_test(a_crash_ends_it_alone),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
