/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into everything by `make asan`. Not in the environment, which a fetch
 * does not inherit. Leaks are valgrind's to find: LeakSanitizer wants to trace
 * its process, which the sandbox forbids. A crash that a test asks for must
 * stay one.
 */
const char *__asan_default_options(void);

__attribute__((visibility("default"), used)) const char *__asan_default_options(void)
{
	return "detect_leaks=0:handle_segv=0:handle_abort=0:handle_sigbus=0";
}
