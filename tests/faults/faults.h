/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs with failing calls (faults.c) and the test that has them fail (tests/helpers/faultctl.c) share: a file,
 * mapped by all. A site is a place in a program that makes a call of calls.def.
 */
#ifndef KEYFOB_TEST_FAULTS_H
#define KEYFOB_TEST_FAULTS_H

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define FAULTS_FILE "faults" /* beside the programs; for a library in a stranger's process KEYFOB_FAULTS_PAGE names it */
#define FAULTS_PROGRAMS 16
#define FAULTS_SITES 4096
#define FAULTS_ERRORS 6

struct faults_site {
	_Atomic uint64_t key; /* program, call and place, 0: none */
	_Atomic uint32_t calls, failed;
	_Atomic int32_t live; /* allocations made here that stood when a program ended well */
	_Atomic uint32_t from, count; /* fail count calls, beginning with this one (1: the first), 0: none */
	_Atomic int32_t error; /* which, 0: by chance */
};

struct faults_page {
	_Atomic uint32_t chance; /* of 10,000 calls so many fail */
	_Atomic uint64_t seed;
	_Atomic uint64_t calls; /* which of them take part in chance, a bit each; two words */
	_Atomic uint64_t more_calls;
	char only[24]; /* of this program, "": of all */
	char program[FAULTS_PROGRAMS][24]; /* those that take part */
	struct faults_site sites[FAULTS_SITES];
};

#define FAULTS_KEY(program, call, place) ((uint64_t)((program) + 1) << 56 | (uint64_t)(call) << 48 | ((uint64_t)(place)&0xffffffffffff))
#define FAULTS_PROGRAM(key) ((unsigned int)((key) >> 56) - 1)
#define FAULTS_CALL(key) ((unsigned int)((key) >> 48) & 0xff)
#define FAULTS_PLACE(key) ((key)&0xffffffffffff)

#define CALL(type, name, parameters, arguments, fails, ...) FAULTS_##name,
enum faults_call {
#include "tests/faults/calls.def"
	FAULTS_close,
	FAULTS_realloc,
	FAULTS_reallocarray,
	FAULTS_asprintf,
	FAULTS_CALLS
};
#undef CALL

#define CALL(type, name, parameters, arguments, fails, ...) { #name, { __VA_ARGS__ } },
static const struct {
	const char *name;
	int errors[FAULTS_ERRORS];
} faults_calls[FAULTS_CALLS] = {
#include "tests/faults/calls.def"
	{ "close", { EIO, EINTR } },
	{ "realloc", { ENOMEM } },
	{ "reallocarray", { ENOMEM } },
	{ "asprintf", { ENOMEM } },
};
#undef CALL

#endif
