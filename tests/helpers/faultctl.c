/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What calls fail in the programs of `make faults-built` (tests/faults/faults.h).
 *
 *   faultctl PAGE new PROGRAM...           a page by which nothing fails
 *   faultctl PAGE clear                    nothing fails any more, and calls are counted from 0
 *   faultctl PAGE sites                    a line for each: site, program, call, place, calls, failed, live
 *   faultctl PAGE errors CALL              the numbers of the errors that it may have
 *   faultctl PAGE arm SITE FROM COUNT [E]  of the calls there COUNT fail, beginning with the FROM-th, with E, or by chance
 *   faultctl PAGE chance N SEED PROGRAM [CALL...]    N of 10,000 calls fail, of PROGRAM or - for all, those named or all
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/faults/faults.h"

static struct faults_page *page;

static int open_page(const char *path, bool make)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | (make ? O_CREAT | O_TRUNC : 0), 0666);

	if (fd < 0 || (make && (fchmod(fd, 0666) < 0 || ftruncate(fd, sizeof(*page)) < 0)))
		return -1;
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return page == MAP_FAILED ? -1 : 0;
}

static int call_named(const char *name)
{
	for (int i = 0; i < FAULTS_CALLS; i++)
		if (strcmp(faults_calls[i].name, name) == 0)
			return i;
	fprintf(stderr, "faultctl: %s is no call of calls.def\n", name);
	exit(2);
}

/* By number or by name. */
static int error_named(const char *text)
{
	for (int i = 1; i < 256; i++)
		if (strerrorname_np(i) && strcmp(strerrorname_np(i), text) == 0)
			return i;
	return atoi(text);
}

static void clear(void)
{
	page->chance = 0;
	for (size_t i = 0; i < FAULTS_SITES; i++) {
		struct faults_site *s = &page->sites[i];

		s->count = 0;
		s->calls = s->failed = 0;
		s->live = 0;
	}
}

static void list(void)
{
	for (size_t i = 0; i < FAULTS_SITES; i++) {
		struct faults_site *s = &page->sites[i];

		if (s->key)
			printf("%zu %s %s 0x%" PRIx64 " %u %u %d\n", i, page->program[FAULTS_PROGRAM(s->key)],
				faults_calls[FAULTS_CALL(s->key)].name, (uint64_t)FAULTS_PLACE(s->key), s->calls, s->failed, s->live);
	}
}

static void arm(size_t site, uint32_t from, uint32_t count, int error)
{
	struct faults_site *s = &page->sites[site % FAULTS_SITES];

	s->calls = s->failed = 0;
	s->from = from;
	s->error = error;
	s->count = count;
}

static void by_chance(uint32_t chance, uint64_t seed, const char *only, char **calls)
{
	page->calls = page->more_calls = *calls ? 0 : UINT64_MAX;
	for (; *calls; calls++) {
		int call = call_named(*calls);

		if (call < 64)
			page->calls |= UINT64_C(1) << call;
		else
			page->more_calls |= UINT64_C(1) << (call - 64);
	}
	snprintf(page->only, sizeof(page->only), "%s", strcmp(only, "-") == 0 ? "" : only);
	page->seed = seed;
	page->chance = chance;
}

static unsigned long number(const char *text)
{
	return strtoul(text, NULL, 0);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[2] : "";
	bool make = strcmp(verb, "new") == 0;

	if (argc < 3 || open_page(argv[1], make) < 0) {
		perror("faultctl");
		return 2;
	}
	if (make) {
		for (int i = 3; i < argc && i < 3 + FAULTS_PROGRAMS; i++)
			snprintf(page->program[i - 3], sizeof(page->program[0]), "%s", argv[i]);
	} else if (strcmp(verb, "clear") == 0) {
		clear();
	} else if (strcmp(verb, "sites") == 0) {
		list();
	} else if (strcmp(verb, "errors") == 0 && argc == 4) {
		for (int i = 0, call = call_named(argv[3]); i < FAULTS_ERRORS && faults_calls[call].errors[i]; i++)
			printf("%d\n", faults_calls[call].errors[i]);
	} else if (strcmp(verb, "arm") == 0 && argc >= 6) {
		arm(number(argv[3]), (uint32_t)number(argv[4]), (uint32_t)number(argv[5]), argc > 6 ? error_named(argv[6]) : 0);
	} else if (strcmp(verb, "chance") == 0 && argc >= 6) {
		by_chance((uint32_t)number(argv[3]), number(argv[4]), argv[5], argv + 6);
	} else {
		return 2;
	}
	return 0;
}
