/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who runs beside the broker and who in a container, told of real processes
 * in real PID namespaces.
 *
 * links: broker/caller broker/confine common/sandbox
 * libs: libseccomp
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/caller.h"
#include "broker/confine.h"
#include "common/sandbox.h"

#define OTHER_USER 64902
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#define NO_NAMESPACES 99 /* exit code: this machine gives none */

static int listener = -1;
/* Held by a broker alone, and never written to: its end is read at the other end. Landlock stops the signal of a parent's death. */
static int life[2];

/* --- a caller: connects, and stays until the broker that asks about him has ended --- */

enum caller { BESIDE, CONTAINER, CONTAINER_IN_CONTAINER, USER_NAMESPACE, OTHER_UID };

static int connect_listener(void)
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
		connect(fd, (struct sockaddr *)&address, length) < 0)
		return -1;
	return fd;
}

static void wait_for_the_end(void)
{
	char byte;

	_exit(read(life[0], &byte, 1) == 0 ? 0 : 1);
}

/* In a new PID namespace; only children are in it, so go on in one. */
static void enter_pid_namespace(void)
{
	pid_t pid;

	if (unshare(CLONE_NEWPID) < 0)
		_exit(NO_NAMESPACES);
	pid = fork();
	if (pid == 0)
		return;
	waitpid(pid, NULL, 0);
	_exit(0);
}

/* *told: a byte comes once he is connected, or the end where he cannot be made. */
static bool start_caller(enum caller kind, int *told)
{
	int done[2];
	pid_t pid;

	if (pipe(done) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		close(done[0]);
		close(life[1]);
		if (kind == CONTAINER || kind == CONTAINER_IN_CONTAINER)
			enter_pid_namespace();
		if (kind == CONTAINER_IN_CONTAINER)
			enter_pid_namespace();
		if (kind == USER_NAMESPACE && unshare(CLONE_NEWUSER) < 0)
			_exit(NO_NAMESPACES);
		if (kind == OTHER_UID && setresuid(OTHER_USER, OTHER_USER, OTHER_USER) < 0)
			_exit(NO_NAMESPACES);
		if (connect_listener() < 0 || write(done[1], "", 1) != 1)
			_exit(1);
		wait_for_the_end();
	}
	close(done[1]);
	*told = done[0];
	return pid > 0;
}

/* What caller_where() says of the next one who waits. */
static int where_next(void)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int fd = accept(listener, NULL, NULL), got = -EIO;

	if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0)
		got = caller_where(fd, peer.pid);
	close(fd);
	return got;
}

/* What it says of such a caller; NO_NAMESPACES where he cannot be made. */
static int where(enum caller kind)
{
	int told, got;
	char byte;

	if (!start_caller(kind, &told))
		return -EIO;
	got = read(told, &byte, 1) == 1 ? where_next() : NO_NAMESPACES;
	close(told);
	return got;
}

/* --- a broker, in a child of its own --- */

static int in_child(int (*broker)(void))
{
	int status, code = -1;
	pid_t pid;

	if (pipe(life) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		_exit(broker());
	close(life[0]);
	close(life[1]);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status))
		code = WEXITSTATUS(status);
	/* Its callers, which come to this process. */
	while (wait(NULL) > 0)
		continue;
	return code;
}

static int expect(enum caller kind, int wanted)
{
	int got = where(kind);

	if (got != wanted && got != NO_NAMESPACES)
		dprintf(2, "caller %d: got %d, wanted %d\n", kind, got, wanted);
	return got == wanted ? 0 : got == NO_NAMESPACES ? NO_NAMESPACES : 1;
}

static int tell_all(void)
{
	const struct {
		enum caller kind;
		int wanted;
	} callers[] = { { BESIDE, 0 }, { OTHER_UID, 0 }, { CONTAINER, -EXDEV }, { CONTAINER_IN_CONTAINER, -EXDEV }, { USER_NAMESPACE, 0 },
		{ BESIDE, 0 } };
	int result = caller_start() || caller_probe();

	for (size_t i = 0; result == 0 && i < sizeof(callers) / sizeof(callers[0]); i++)
		result = expect(callers[i].kind, callers[i].wanted);
	return result;
}

/* As on a kernel before 6.5: a socket gives no pidfd. */
static bool forget_pidfds(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	bool done = filter &&
		    seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOPROTOOPT), SCMP_SYS(getsockopt), 1,
			    SANDBOX_IS(2, SANDBOX_WHOLE, SO_PEERPIDFD)) == 0 &&
		    seccomp_load(filter) == 0;

	seccomp_release(filter);
	return done;
}

static int tell_all_by_number(void)
{
	return forget_pidfds() ? tell_all() : 1;
}

/* /proc stays that of the namespace above: every process shows more numbers there. */
static int tell_all_below(void)
{
	int result[2], got = 1;
	pid_t pid;

	if (unshare(CLONE_NEWPID) < 0)
		return NO_NAMESPACES;
	if (pipe(result) < 0)
		return 1;
	pid = fork();
	if (pid == 0) {
		got = tell_all();
		/* It waits for nobody: with the first process of the namespace the others end. */
		_exit(write(result[1], &got, sizeof(got)) == sizeof(got) ? 0 : 1);
	}
	close(result[1]);
	if (read(result[0], &got, sizeof(got)) != sizeof(got))
		got = 1;
	waitpid(pid, NULL, 0);
	return got;
}

/* Who lies above, or beside, the namespace of the broker shows as pid 0, whatever his depth. */
static int tell_strangers(void)
{
	int told[2], status, got[2];
	char byte;
	pid_t pid;

	if (!start_caller(BESIDE, &told[0]) || read(told[0], &byte, 1) != 1)
		return 1;
	if (!start_caller(CONTAINER, &told[1]) || read(told[1], &byte, 1) != 1 || unshare(CLONE_NEWPID) < 0)
		return NO_NAMESPACES;
	pid = fork();
	if (pid == 0) {
		status = caller_start();
		for (int i = 0; i < 2; i++)
			got[i] = where_next();
		_exit(status == 0 && got[0] == -EXDEV && got[1] == -EXDEV ? 0 : 1);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* One that is gone says nothing of who holds his end now. */
static int tell_gone(void)
{
	pid_t pid;

	if (caller_start() < 0)
		return 1;
	pid = fork();
	if (pid == 0) {
		close(life[1]);
		if (connect_listener() >= 0 && fork() == 0)
			wait_for_the_end();
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	return where_next() == -ESRCH ? 0 : 1;
}

/* Restricted as keyfobd is, so that its callers are there before. */
static int tell_confined(void)
{
	static char why[256];
	struct ucred peer[2];
	int told[2], fd[2];
	char byte;

	for (int i = 0; i < 2; i++) {
		socklen_t length = sizeof(peer[i]);

		if (!start_caller(i == 0 ? BESIDE : CONTAINER, &told[i]))
			return 1;
		if (read(told[i], &byte, 1) != 1)
			return NO_NAMESPACES;
		fd[i] = accept(listener, NULL, NULL);
		if (getsockopt(fd[i], SOL_SOCKET, SO_PEERCRED, &peer[i], &length) < 0)
			return 1;
	}
	if (caller_start() < 0 || confine_broker("/etc", why, sizeof(why)) < 0 || caller_probe() < 0)
		return 1;
	return caller_where(fd[0], peer[0].pid) == 0 && caller_where(fd[1], peer[1].pid) == -EXDEV ? 0 : 1;
}

static int tell_confined_by_number(void)
{
	return forget_pidfds() ? tell_confined() : 1;
}

/* Before anything is opened nobody is believed. */
static int tell_unprepared(void)
{
	return expect(BESIDE, -EBADF) == 0 && expect(CONTAINER, -EBADF) != 1 ? 0 : 1;
}

/* --- */

static void run(int (*broker)(void))
{
	int code = in_child(broker);

	if (code == NO_NAMESPACES)
		skip();
	assert_int_equal(code, 0);
}

static void a_container_is_told_from_the_host(void **state)
{
	(void)state;
	run(tell_all);
}

static void an_older_kernel_tells_it_too(void **state)
{
	(void)state;
	run(tell_all_by_number);
}

static void a_broker_in_a_container_has_callers_of_its_own(void **state)
{
	(void)state;
	run(tell_all_below);
}

static void who_is_out_of_its_sight_is_a_stranger(void **state)
{
	(void)state;
	run(tell_strangers);
}

static void who_is_gone_is_not_believed(void **state)
{
	(void)state;
	run(tell_gone);
}

static void it_works_under_the_brokers_restrictions(void **state)
{
	(void)state;
	run(tell_confined);
	run(tell_confined_by_number);
}

static void nothing_is_believed_unprepared(void **state)
{
	(void)state;
	run(tell_unprepared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_container_is_told_from_the_host),
		cmocka_unit_test(an_older_kernel_tells_it_too),
		cmocka_unit_test(a_broker_in_a_container_has_callers_of_its_own),
		cmocka_unit_test(who_is_out_of_its_sight_is_a_stranger),
		cmocka_unit_test(who_is_gone_is_not_believed),
		cmocka_unit_test(it_works_under_the_brokers_restrictions),
		cmocka_unit_test(nothing_is_believed_unprepared),
	};
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	/* An abstract name that the kernel chooses: nothing is left in a directory. */
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address.sun_family)) < 0 || listen(listener, 8) < 0)
		return 1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests_name("caller", tests, NULL, NULL);
}
