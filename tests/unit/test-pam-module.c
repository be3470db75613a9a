/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pam_keyfob.so from outside: what it brings into a stranger's process and
 * leaves there, and its options.
 *
 * links: common/buffer common/wire
 * libs: pam
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/unit/pam-host.h"

#define TOKEN "aGVhZGVy.Y2xhaW1z.c2lnbmF0dXJl"

typedef ElfW(Shdr) section_header;

/* --- what it is made of ----------------------------------------------------------------- */

static const void *map_module(size_t *size)
{
	int fd = open(host_module, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	*size = (size_t)st.st_size;
	map = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	close(fd);
	return map;
}

static const section_header *section(const uint8_t *file, unsigned int type)
{
	const ElfW(Ehdr) *head = (const void *)file;
	const section_header *sections = (const void *)(file + head->e_shoff);

	for (unsigned int i = 0; i < head->e_shnum; i++)
		if (sections[i].sh_type == type)
			return &sections[i];
	fail();
	return NULL;
}

/* The texts that a table of this file refers to. */
static const char *texts_of(const uint8_t *file, const section_header *table)
{
	const ElfW(Ehdr) *head = (const void *)file;
	const section_header *sections = (const void *)(file + head->e_shoff);

	return (const char *)file + sections[table->sh_link].sh_offset;
}

static void test_exports(void **state)
{
	size_t size, exported = 0;
	const uint8_t *file = map_module(&size);
	const section_header *table = section(file, SHT_DYNSYM);
	const ElfW(Sym) *symbols = (const void *)(file + table->sh_offset);
	const char *names = texts_of(file, table);

	(void)state;
	for (size_t i = 1; i < table->sh_size / sizeof(*symbols); i++) {
		if (symbols[i].st_shndx == SHN_UNDEF)
			continue;
		exported++;
		if (strncmp(names + symbols[i].st_name, "pam_sm_", 7) != 0)
			fail_msg("%s is exported", names + symbols[i].st_name);
	}
	assert_int_equal(exported, 5);
	munmap((void *)(uintptr_t)file, size);
}

static void test_needs(void **state)
{
	size_t size, needed = 0;
	const uint8_t *file = map_module(&size);
	const section_header *table = section(file, SHT_DYNAMIC);
	const ElfW(Dyn) *entry = (const void *)(file + table->sh_offset);
	const char *names = texts_of(file, table);

	(void)state;
	for (; entry->d_tag != DT_NULL; entry++) {
		const char *name = names + entry->d_un.d_val;

		if (entry->d_tag != DT_NEEDED)
			continue;
		needed++;
		/* A build with sanitizers brings theirs. */
		if (strcmp(name, "libc.so.6") != 0 && strcmp(name, "libpam.so.0") != 0 && !strstr(name, "libasan") &&
			!strstr(name, "libubsan"))
			fail_msg("%s is needed", name);
	}
	assert_true(needed >= 2);
	munmap((void *)(uintptr_t)file, size);
}

static void test_loads(void **state)
{
	static const char *const wanted[] = { "pam_sm_authenticate", "pam_sm_setcred", "pam_sm_acct_mgmt", "pam_sm_open_session",
		"pam_sm_close_session" };
	void *module = dlopen(host_module, RTLD_NOW);

	(void)state;
	assert_non_null(module);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		assert_non_null(dlsym(module, wanted[i]));
	assert_null(dlsym(module, "call_open"));
	dlclose(module);
}

/* --- options ---------------------------------------------------------------------------- */

static void configure(const char *type, const char *options)
{
	char line[2000];

	snprintf(line, sizeof(line), "%s required MODULE %s\n", type, options);
	assert_int_equal(host_configure(line), 0);
	host_log[0] = 0;
}

static void check_logged(const char *text)
{
	if (!strstr(host_log, text))
		fail_msg("not logged: %s\nlogged: %s", text, host_log);
}

static void check_wrong(const char *type, const char *options, const char *told)
{
	struct host_user user = { .password = TOKEN };
	pam_handle_t *pamh;
	int result = -1;

	configure(type, options);
	pamh = host_open("daemon", &user);
	assert_non_null(pamh);
	if (strcmp(type, "auth") == 0) {
		result = pam_authenticate(pamh, 0);
		assert_int_equal(user.asked, 0);
	} else if (strcmp(type, "account") == 0) {
		result = pam_acct_mgmt(pamh, 0);
	} else {
		result = pam_open_session(pamh, 0);
		assert_int_equal(pam_close_session(pamh, 0), result);
	}
	pam_end(pamh, result);
	assert_int_equal(result, PAM_SERVICE_ERR);
	check_logged(told);
}

static void test_wrong_options(void **state)
{
	static const char *const types[] = { "auth", "account", "session" };
	char many[1000] = "verify";

	(void)state;
	for (int i = 0; i < 17; i++)
		strcat(many, " credential=a");
	for (size_t i = 0; i < 3; i++) {
		check_wrong(types[i], "verify nullok", "option \"nullok\": unknown");
		check_wrong(types[i], "debug verify", "option \"verify\": unknown");
		check_wrong(types[i], "verify sockets=/x", "option \"sockets=/x\"");
		check_wrong(types[i], "verify service=", "option \"service=\"");
		check_wrong(types[i], "verify [service=p\x0e]", "the service has no name that could be asked for");
		check_wrong(types[i], "verify socket=x", "option \"socket=x\"");
		check_wrong(types[i], "verify broker=", "option \"broker=\"");
		check_wrong(types[i], "verify credential=../x", "option \"credential=../x\"");
		check_wrong(types[i], "verify [un\x1b]", "option \"un\\x1b\"");
		check_wrong(types[i], many, "too many credentials");
	}
	check_wrong("auth", "service=x", "must be verify or retrieve");
	check_wrong("account", "retrieve credential=a", "an account line says verify or nothing");
	check_wrong("auth", "retrieve", "exactly one credential=");
	check_wrong("auth", "retrieve credential=a credential=b", "exactly one credential=");
}

static void test_setcred(void **state)
{
	static const int flags[] = { PAM_ESTABLISH_CRED, PAM_REINITIALIZE_CRED, PAM_REFRESH_CRED, PAM_DELETE_CRED, PAM_ESTABLISH_CRED };
	struct host_user user = { .password = TOKEN };
	pam_handle_t *pamh;

	(void)state;
	configure("auth", "verify");
	pamh = host_open("daemon", &user);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		assert_int_equal(pam_setcred(pamh, flags[i]), PAM_SUCCESS);
	pam_end(pamh, PAM_SUCCESS);
	configure("auth", "verify nonsense");
	pamh = host_open("daemon", &user);
	assert_int_equal(pam_setcred(pamh, PAM_ESTABLISH_CRED), PAM_SERVICE_ERR);
	pam_end(pamh, PAM_SERVICE_ERR);
	assert_int_equal(user.asked, 0);
}

/* --- what it leaves behind ----------------------------------------------------------------- */

#define SECRET 3000 /* bytes */
#define MASK 0x5a

/* Two texts that stand nowhere in this program. Masked they can be looked for without being there themselves. */
static void make_secret(char *text, unsigned int which, unsigned char mask)
{
	uint32_t state = which * 2654435761u + 1;

	for (size_t i = 0; i < SECRET; i++) {
		state = state * 1664525u + 1013904223u;
		text[i] = (char)(("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[state >> 27]) ^ mask);
	}
	text[SECRET] = mask ? 'x' : 0;
}

/* Memory that is not the reader's to read, in a sanitizer's eyes. */
static __attribute__((noinline, no_sanitize("address"))) bool holds(const char *at, size_t length, const char *masked)
{
	/* Any 16 bytes of it are too many. */
	for (size_t part = 0; part + 16 <= SECRET; part += 64)
		for (size_t i = 0; i + 16 <= length; i++) {
			size_t k = 0;

			while (k < 16 && (at[i + k] ^ MASK) == masked[part + k])
				k++;
			if (k == 16)
				return true;
		}
	return false;
}

/* Everything that this process could have written to. */
static bool remembers(const char *masked)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	uintptr_t from, to;
	char line[4500], rights[5];
	bool found = false;

	while (maps && !found && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, rights) == 3 && strncmp(rights, "rw", 2) == 0 &&
			to - from < 16u << 20 && !strstr(line, "[v"))
			found = holds((const char *)from, to - from, masked);
	if (maps)
		fclose(maps);
	return found;
}

/* In a process of its own: the servers' is full of tokens. 0: all is well. */
static int log_in_and_look(void)
{
	struct host_user user = { 0 };
	static char masked[2][SECRET + 1], password[SECRET + 1];
	pam_handle_t *pamh;

	make_secret(masked[0], 1, MASK);
	make_secret(masked[1], 2, MASK);
	make_secret(password, 1, 0);
	user.password = password;
	if (!remembers(masked[0]))
		return 2;
	pamh = host_open("daemon", &user);
	if (!pamh || pam_authenticate(pamh, 0) != PAM_SUCCESS)
		return 3;
	explicit_bzero(password, sizeof(password));
	pam_end(pamh, PAM_SUCCESS);
	return remembers(masked[0]) ? 4 : remembers(masked[1]) ? 5 : 0;
}

static void test_wiped(void **state)
{
	static struct host_server verifier, broker;
	char lines[1000], token[SECRET + 1], go;
	int start[2], status;
	struct buffer *b;
	pid_t pid;

	(void)state;
	/* valgrind sees all of this memory being read as the fault that it would be elsewhere. */
	if (geteuid() != 0 || strstr(getenv("LD_PRELOAD") ?: "", "vgpreload")) {
		print_message("# needs root, and no valgrind\n");
		skip();
	}
	assert_int_equal(host_listen(&verifier, "verify", 0, 8), 0);
	assert_int_equal(host_listen(&broker, "broker", 0, 8), 0);
	snprintf(lines, sizeof(lines), "auth requisite MODULE verify socket=%s\nauth required MODULE retrieve credential=a broker=%s\n",
		verifier.path, broker.path);
	assert_int_equal(host_configure(lines), 0);
	assert_int_equal(pipe(start), 0);
	pid = fork();
	if (pid == 0) {
		close(start[1]);
		_exit(read(start[0], &go, 1) == 1 ? log_in_and_look() : 1);
	}
	host_accept(&verifier, "daemon");
	b = host_answer(&broker, 0);
	buffer_put_u8(b, 1);
	buffer_put_text(b, "");
	make_secret(token, 2, 0);
	b = host_answer(&broker, 0);
	buffer_put_string(b, token, SECRET);
	buffer_put_u64(b, 1900000000);
	buffer_put_u64(b, 1900000000);
	buffer_put_text(b, "0123abcd");
	assert_int_equal(host_start(&verifier), 0);
	assert_int_equal(host_start(&broker), 0);
	assert_int_equal(write(start[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(start[0]);
	close(start[1]);
	host_stop(&verifier);
	host_stop(&broker);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exports),
		cmocka_unit_test(test_needs),
		cmocka_unit_test(test_loads),
		cmocka_unit_test(test_wrong_options),
		cmocka_unit_test(test_setcred),
		cmocka_unit_test(test_wiped),
	};

	return cmocka_run_group_tests(tests, host_set_up, host_tear_down);
}
