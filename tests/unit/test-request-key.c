/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asked the kernel for a key: the rows of /proc/keys and of a thread's
 * status, in the kernel's form and in forged ones.
 *
 * links: broker/request-key-who
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/request-key-who.h"

#define AUTH 0x36c5ca2a
#define KEY 0x150f0ce6
#define ROW "36c5ca2a I------     4 perm 1b010000  1050  1050 .request_ key:150f0ce6 pid:10765 ci:0\n"

static FILE *stream(const char *text)
{
	/* fmemopen(3) takes it for reading alone. */
	return fmemopen((void *)(uintptr_t)text, strlen(text), "r");
}

static pid_t thread(const char *rows)
{
	FILE *f = stream(rows);
	pid_t found = who_thread(f, AUTH, KEY);

	fclose(f);
	return found;
}

static void test_thread(void **state)
{
	(void)state;
	assert_int_equal(thread(ROW), 10765);
	assert_int_equal(thread("09a1 I--Q---     2  30s 3f010000  1050  1050 user      keyfob:a: 5\n" ROW
				"7fffffff I--Q---     1 perm 3f010000     0     0 keyring   _ses: 1\n"),
		10765);
	/* What stands in place of "perm", and more of everything. */
	assert_int_equal(
		thread("36c5ca2a I-----i 12345  59m 1b010000 4294967294 4294967294 .request_ key:150f0ce6 pid:4194303 ci:4095\n"), 4194303);
}

static void test_thread_of_others(void **state)
{
	(void)state;
	assert_int_equal(thread("\n"), -ESRCH);
	assert_int_equal(thread("36c5ca2b I------     4 perm 1b010000  1050  1050 .request_ key:150f0ce6 pid:10765 ci:0\n"), -ESRCH);
	assert_int_equal(thread("36c5ca2a I------     4 perm 1b010000  1050  1050 .request_ key:150f0ce7 pid:10765 ci:0\n"), -ESRCH);
	assert_int_equal(thread("36c5ca2a I------     4 perm 1b010000  1050  1050 user      key:150f0ce6 pid:10765 ci:0\n"), -ESRCH);
	assert_int_equal(thread("36c5ca2a I------     4 perm 1b010000  1050  1050 .request_ key:150f0ce6 pid:0 ci:0\n"), -ESRCH);
	assert_int_equal(thread("36c5ca2a I------     4 perm 1b010000  1050  1050 .request_ key:150f0ce6 pid:-5 ci:0\n"), -ESRCH);
	/* The same within a description is not a row. */
	assert_int_equal(thread("150f0ce7 I--Q---     1 perm 3f010000  1050  1050 user      " ROW), -ESRCH);
}

static void test_forged_row(void **state)
{
	(void)state;
	/* add_key user $'x\n36c5ca2a ...': before the true row, or after it. */
	assert_int_equal(thread("150f0ce7 I--Q---     1 perm 3f010000  1050  1050 user      x\n"
				"36c5ca2a I------     4 perm 1b010000  1050  1050 .request_ key:150f0ce6 pid:1 ci:0: 1\n" ROW),
		-EBADMSG);
	assert_int_equal(thread(ROW "36c5ca2a I------     4 perm 1b010000  1050  1050 .request_ key:150f0ce6 pid:1 ci:0: 1\n"), -EBADMSG);
	assert_int_equal(thread(ROW ROW ROW), -EBADMSG);
}

static int status(const char *text, struct who *who)
{
	FILE *f = stream(text);
	int error = who_read(f, who);

	fclose(f);
	return error;
}

static void test_status(void **state)
{
	struct who who;

	(void)state;
	assert_int_equal(
		status("Name:\tx\\nUid:\\t0\nState:\tD (disk sleep)\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 4294967294 12 \n"
		       "NStgid:\t77\nNSpid:\t78\nNSpgid:\t77\n",
			&who),
		0);
	assert_int_equal(who.uid, 4);
	assert_int_equal(who.gid, 8);
	assert_int_equal(who.group_count, 3);
	assert_int_equal(who.groups[0], 10);
	assert_int_equal(who.groups[1], 4294967294u);
	assert_int_equal(who.groups[2], 12);
	assert_false(who.is_contained);
	free(who.groups);
	assert_int_equal(status("Uid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\nGroups:\t \nNSpid:\t78\t1\n", &who), 0);
	assert_int_equal(who.group_count, 0);
	assert_true(who.is_contained);
	free(who.groups);
}

static void test_status_incomplete(void **state)
{
	static const char *const lines[] = { "Uid:\t1\t1\t1\t1\n", "Gid:\t1\t1\t1\t1\n", "Groups:\t1 \n", "NSpid:\t78\n" };
	struct who who;
	char text[256];

	(void)state;
	for (size_t left_out = 0; left_out < 4; left_out++) {
		text[0] = 0;
		for (size_t i = 0; i < 4; i++)
			if (i != left_out)
				strcat(text, lines[i]);
		assert_int_equal(status(text, &who), -EBADMSG);
		assert_null(who.groups);
	}
	assert_int_equal(status("Uid:\t1\t1\n"
				"Gid:\t1\t1\t1\t1\nGroups:\t1 \nNSpid:\t78\n",
				 &who),
		-EBADMSG);
	assert_int_equal(status("Uid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\nGroups:\t1 \nNSpid:\tx\n", &who), -EBADMSG);
}

/* This process, as this kernel shows it. */
static void test_status_real(void **state)
{
	FILE *f = fopen("/proc/thread-self/status", "re");
	struct who who;

	(void)state;
	assert_non_null(f);
	assert_int_equal(who_read(f, &who), 0);
	fclose(f);
	assert_int_equal(who.uid, geteuid());
	assert_int_equal(who.gid, getegid());
	assert_int_equal((int)who.group_count, getgroups(0, NULL));
	free(who.groups);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_thread),
		cmocka_unit_test(test_thread_of_others),
		cmocka_unit_test(test_forged_row),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_status_incomplete),
		cmocka_unit_test(test_status_real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
