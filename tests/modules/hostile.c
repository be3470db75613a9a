/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module that does what a captured one would, one act per fetch (`do=`). An
 * act that comes to pass ends with the class OK; one that is refused with
 * PERMANENT and the name of the error. hostile-exec.c and hostile-file.c make
 * the same of it for the other sandboxes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "modules/module.h"

#ifndef HOSTILE_NAME
#define HOSTILE_NAME "hostile"
#define HOSTILE_SANDBOX KEYFOB_SANDBOX_NETWORK
#endif

static const char *path; /* path=: a file or a socket */
static pid_t victim; /* pid=: another process */
static void (*say)(const char *line);

static int get(void)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -1 : close(fd);
}

static int put(void)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? -1 : close(fd);
}

static int fill(void)
{
	static char block[1 << 20];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	signal(SIGXFSZ, SIG_IGN);
	for (int i = 0; fd >= 0 && i < 100; i++)
		if (write(fd, block, sizeof(block)) < 0)
			return -1;
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void)
{
	return unlink(path);
}

static int change_mode(void)
{
	return chmod(path, 0777);
}

static int trace(void)
{
	return (int)ptrace(PTRACE_ATTACH, victim, NULL, NULL);
}

static int peek(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { &byte, 1 };

	return (int)process_vm_readv(victim, &here, 1, &there, 1, 0);
}

static int memory_file(void)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/mem", (int)victim);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -1 : close(fd);
}

static int end_other(void)
{
	return kill(victim, SIGKILL);
}

static int end_by_limit(void)
{
	struct rlimit none = { 0, 0 };

	return prlimit(victim, RLIMIT_CPU, &none, NULL);
}

static int end_by_owner(void)
{
	int fds[2];

	if (pipe(fds) < 0 || fcntl(fds[0], F_SETOWN, victim) < 0 || fcntl(fds[0], F_SETSIG, SIGKILL) < 0)
		return -1;
	return fcntl(fds[0], F_SETFL, O_ASYNC) < 0 || write(fds[1], "x", 1) != 1 ? -1 : 0;
}

static int unix_socket(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	return connect(fd, (struct sockaddr *)&name, sizeof(name));
}

static int abstract_socket(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	size_t size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	memcpy(name.sun_path + 1, path, strlen(path));
	return connect(fd, (struct sockaddr *)&name, (socklen_t)size);
}

static int serve(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 ? -1 : listen(fd, 1);
}

static int rare_family(void)
{
	return socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int rare_protocol(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP);
}

static int any_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int fork_one(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : (int)waitpid(pid, NULL, 0);
}

static int run(void)
{
	char *const argv[] = { (char *)(uintptr_t) "/bin/true", NULL };
	char *const none[] = { NULL };

	return execve("/bin/true", argv, none);
}

/* What a helper needs: a shell, a pipe, a file of its own. */
static int run_shell(void)
{
	static const char script[] = "t=$(mktemp) && echo x | cat >$t && test \"$(cat $t)\" = x && rm -f $t";
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", script, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	errno = ECHILD;
	return status == 0 ? 0 : -1;
}

static int kill_group(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		setpgid(0, 0);
		for (;;)
			pause();
	}
	setpgid(pid, pid);
	if (pid < 0 || kill(-pid, SIGKILL) < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return 0;
}

/* 10 GB, piece by piece. */
static int memory(void)
{
	for (int i = 0; i < 160; i++)
		if (mmap(NULL, 64u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			return -1;
	return 0;
}

/* Until somebody makes the file. A fetch that waits too long is ended from outside. */
static void wait_for_path(void)
{
	say("full");
	while (access(path, F_OK) < 0)
		usleep(10000);
}

/* As many processes as there may be, kept until the file is there. */
static int bomb(void)
{
	static pid_t made[20000];
	size_t count = 0;
	int error;

	while (count < sizeof(made) / sizeof(made[0]) && (made[count] = fork()) >= 0) {
		if (made[count] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		count++;
	}
	error = count < sizeof(made) / sizeof(made[0]) ? errno : 0;
	wait_for_path();
	for (size_t i = 0; i < count; i++)
		kill(made[i], SIGKILL);
	while (wait(NULL) > 0)
		continue;
	errno = error;
	return error ? -1 : 0;
}

static void *stay(void *argument)
{
	for (;;)
		pause();
	return argument;
}

static int threads(void)
{
	pthread_attr_t small;
	pthread_t one;
	int error = 0;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 16384);
	for (int i = 0; i < 20000 && !error; i++)
		error = pthread_create(&one, &small, stay, NULL);
	wait_for_path();
	errno = error;
	return error ? -1 : 0;
}

/* A process that is always another one: its parent is gone before anybody looks. For a minute, unless somebody is faster. */
static int comet(void)
{
	time_t end = time(NULL) + 60;

	if (fork() != 0)
		return 0;
	while (time(NULL) < end) {
		setpgid(0, 0);
		if (fork() > 0)
			_exit(0);
	}
	_exit(0);
}

/* Whatever is sent, by whatever number the socket has. */
static int flood(void)
{
	static const unsigned char line[] = { 2, 0, 0, 0, 1, 'x' };

	for (int fd = 3; fd < 16; fd++)
		while (send(fd, line, sizeof(line), MSG_NOSIGNAL) >= 0)
			continue;
	return -1;
}

static int add_a_key(void)
{
	return (int)syscall(SYS_add_key, "user", "keyfob-hostile", "x", 1, KEY_SPEC_PROCESS_KEYRING);
}

static int persistent_ring(void)
{
	return (int)syscall(SYS_keyctl, KEYCTL_GET_PERSISTENT, -1, KEY_SPEC_PROCESS_KEYRING);
}

static int search_key(void)
{
	return (int)syscall(SYS_request_key, "user", "keyfob-hostile", NULL, 0);
}

static int new_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

static int new_session(void)
{
	return setsid();
}

static int uring(void)
{
	return (int)syscall(SYS_io_uring_setup, 1, NULL);
}

static int queue(void)
{
	return msgget(IPC_PRIVATE, IPC_CREAT | 0600);
}

static int slow_other(void)
{
	return setpriority(PRIO_PROCESS, (id_t)victim, 19);
}

static int pin_other(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	return sched_setaffinity(victim, sizeof(one), &one);
}

static int signal_by_descriptor(void)
{
	int fd = (int)syscall(SYS_pidfd_open, victim, 0);

	return fd < 0 ? -1 : (int)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
}

/* What its terminal's shell would read next; once more with bits that the kernel does not look at. */
static int type_in(void)
{
	if (ioctl(STDIN_FILENO, TIOCSTI, "x") == 0)
		return 0;
	return (int)syscall(SYS_ioctl, STDIN_FILENO, TIOCSTI | 1ull << 32, "x");
}

static int mount_something(void)
{
	return (int)syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL);
}

static int be_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int be_root(void)
{
	return setresuid(0, 0, 0);
}

static int hang(void)
{
	/* Not pause(), which the filter refuses: that would be a loop, ended by the limit of CPU time as soon as by the broker. */
	while (poll(NULL, 0, -1) <= 0)
		continue;
	return 0;
}

static int deaf(void)
{
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_IGN);
	return hang();
}

static int crash(void)
{
	raise(SIGSEGV);
	return 0;
}

static void *nothing(void *argument)
{
	return argument;
}

static int thread(void)
{
	pthread_t one;

	errno = pthread_create(&one, NULL, nothing, NULL);
	return errno ? -1 : pthread_join(one, NULL);
}

static int resolve(void)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	int rc = getaddrinfo("localhost", "80", &hints, &found);

	errno = ENOENT;
	if (rc)
		return -1;
	freeaddrinfo(found);
	return 0;
}

static const struct {
	const char *name;
	int (*act)(void);
} acts[] = {
	{ "get", get },
	{ "put", put },
	{ "fill", fill },
	{ "remove", remove_file },
	{ "chmod", change_mode },
	{ "ptrace", trace },
	{ "peek", peek },
	{ "mem", memory_file },
	{ "kill", end_other },
	{ "limit", end_by_limit },
	{ "owner", end_by_owner },
	{ "unix", unix_socket },
	{ "abstract", abstract_socket },
	{ "serve", serve },
	{ "family", rare_family },
	{ "protocol", rare_protocol },
	{ "socket", any_socket },
	{ "fork", fork_one },
	{ "exec", run },
	{ "shell", run_shell },
	{ "group", kill_group },
	{ "memory", memory },
	{ "bomb", bomb },
	{ "threads", threads },
	{ "comet", comet },
	{ "flood", flood },
	{ "key", add_a_key },
	{ "ring", persistent_ring },
	{ "search", search_key },
	{ "namespace", new_namespace },
	{ "session", new_session },
	{ "uring", uring },
	{ "queue", queue },
	{ "priority", slow_other },
	{ "affinity", pin_other },
	{ "pidfd", signal_by_descriptor },
	{ "type", type_in },
	{ "mount", mount_something },
	{ "dumpable", be_dumpable },
	{ "root", be_root },
	{ "hang", hang },
	{ "deaf", deaf },
	{ "crash", crash },
	{ "thread", thread },
	{ "resolve", resolve },
};

/* Or from a file, since that of a process that is made later cannot stand in the configuration. */
static pid_t read_pid(const char *text)
{
	FILE *f = text[0] == '/' ? fopen(text, "re") : NULL;
	int pid = f ? 0 : atoi(text);

	if (f && fscanf(f, "%d", &pid) != 1)
		pid = 0;
	if (f)
		fclose(f);
	return pid;
}

static void say_nothing(const char *line)
{
	(void)line;
}

static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
	const char *wanted = keyfob_setting(request, "do", "");

	path = keyfob_setting(request, "path", "");
	/* A setting that begins with '/' would be readable: this one names a file and is not. */
	if (strncmp(path, "file:", 5) == 0)
		path += 5;
	say = request->tell ? request->tell : say_nothing;
	victim = read_pid(keyfob_setting(request, "pid", "0"));
	keyfob_fail(reply, KEYFOB_CLASS_CONFIG, "no such act: %s", wanted);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		if (strcmp(acts[i].name, wanted) != 0)
			continue;
		errno = 0;
		if (acts[i].act() < 0) {
			keyfob_fail(reply, KEYFOB_CLASS_PERMANENT, "%s", strerrorname_np(errno));
			return;
		}
		reply->class = KEYFOB_CLASS_OK;
		reply->text[0] = 0;
		reply->token = strdup("done");
		reply->length = 4;
		reply->expires = time(NULL) + 3600;
	}
}

static const struct keyfob_option options[] = {
	{ "do", KEYFOB_OPTION_TEXT, KEYFOB_OPTION_REQUIRED, NULL, "the act" },
	{ "path", KEYFOB_OPTION_TEXT, 0, NULL, "a file, a socket or a port" },
	{ "pid", KEYFOB_OPTION_TEXT, 0, NULL, "a process, or a file that has its number" },
};

KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI,
	.name = HOSTILE_NAME,
	.help = "does harm where it can",
	.sandbox = HOSTILE_SANDBOX,
	.kind = KEYFOB_KIND_ACCESS,
	.example = "",
	.options = options,
	.count = sizeof(options) / sizeof(options[0]),
	.obtain = obtain,
};
