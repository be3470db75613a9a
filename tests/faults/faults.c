/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into every program of `make faults-built` with --wrap: each call of calls.def comes here first, and fails when the
 * shared page says so. Nothing else of the programs is changed. A program that ends by exit() leaves word of what it
 * allocated and did not free.
 */
#include "tests/faults/faults.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define LIVE_MAX 65536

/* A module finds the page of the program that loads it: behind the sandbox it could not open the file. */
__attribute__((visibility("default"))) struct faults_page *keyfob_faults_page;
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
static unsigned int program;

static struct {
	void *at;
	uint32_t site;
} live[LIVE_MAX];
static atomic_flag live_lock = ATOMIC_FLAG_INIT;

/* Weak: no program has all of the libraries. */
#define CALL(type, name, parameters, arguments, fails, ...) \
	extern type __real_##name parameters __attribute__((weak)); \
	type __wrap_##name parameters;
#include "tests/faults/calls.def"
#undef CALL
int __real_close(int fd);
int __wrap_close(int fd);
void __real_free(void *old);
void __wrap_free(void *old);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- the page ------------------------------------------------------------------------ */

static struct faults_page *map(void)
{
	const char *named = getenv("KEYFOB_FAULTS_PAGE"), *self = (const char *)(uintptr_t)getauxval(AT_EXECFN), *slash;
	struct faults_page **outer = dlsym(RTLD_DEFAULT, "keyfob_faults_page");
	char path[4096];
	struct stat st;
	void *page = MAP_FAILED;
	int fd;

	if (outer && *outer)
		return *outer;
	slash = self ? strrchr(self, '/') : NULL;
	if (named)
		snprintf(path, sizeof(path), "%s", named);
	else
		snprintf(path, sizeof(path), "%.*s" FAULTS_FILE, slash ? (int)(slash + 1 - self) : 0, self);
	fd = __real_open(path, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	if (__real_fstat(fd, &st) == 0 && (size_t)st.st_size >= sizeof(*keyfob_faults_page))
		page = mmap(NULL, sizeof(*keyfob_faults_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	__real_close(fd);
	return page == MAP_FAILED ? NULL : page;
}

static __attribute__((constructor)) void begin(void)
{
	struct faults_page *page = map();
	const char *name, *slash;
	Dl_info self;

	if (!page || !dladdr(__ehdr_start, &self) || !self.dli_fname)
		return;
	slash = strrchr(self.dli_fname, '/');
	name = slash ? slash + 1 : self.dli_fname;
	while (program < FAULTS_PROGRAMS && strcmp(page->program[program], name) != 0)
		program++;
	if (program < FAULTS_PROGRAMS)
		keyfob_faults_page = page;
}

static struct faults_site *site_of(struct faults_page *page, unsigned int call, const char *place)
{
	uint64_t key = FAULTS_KEY(program, call, (uintptr_t)place - (uintptr_t)__ehdr_start);
	uint32_t at = (uint32_t)(key * 11400714819323198485ull >> 52);

	for (unsigned int i = 0; i < FAULTS_SITES; i++, at = (at + 1) % FAULTS_SITES) {
		uint64_t none = 0;

		if (page->sites[at].key == key || atomic_compare_exchange_strong(&page->sites[at].key, &none, key) || none == key)
			return &page->sites[at];
	}
	return NULL;
}

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static bool may_fail(struct faults_page *page, unsigned int call)
{
	uint64_t set = call < 64 ? page->calls : page->more_calls;

	return (set >> call % 64 & 1) && (!page->only[0] || strcmp(page->only, page->program[program]) == 0);
}

/* The error with which this call fails, or 0. By chance: the same for the same seed, whatever other processes do. */
static int decide(unsigned int call, const void *place, struct faults_site **site)
{
	struct faults_page *page = keyfob_faults_page;
	struct faults_site *s = page ? site_of(page, call, place) : NULL;
	uint64_t random;
	uint32_t n;
	int error = 0, errors = 0;

	*site = s;
	if (!s)
		return 0;
	n = ++s->calls;
	random = mix(page->seed ^ mix(s->key ^ (uint64_t)n << 32));
	while (errors < FAULTS_ERRORS && faults_calls[call].errors[errors])
		errors++;
	if (s->count && n >= s->from && n - s->from < s->count)
		error = s->error ? s->error : faults_calls[call].errors[random % (unsigned int)errors];
	else if (page->chance && may_fail(page, call) && random % 10000 < page->chance)
		error = faults_calls[call].errors[(random >> 32) % (unsigned int)errors];
	if (error)
		s->failed++;
	return error;
}

/* --- what is allocated ------------------------------------------------------------------ */

static void lock(void)
{
	while (atomic_flag_test_and_set(&live_lock))
		continue;
}

static unsigned int slot_of(const void *at)
{
	return (unsigned int)((uintptr_t)at * 11400714819323198485ull >> 48) % LIVE_MAX;
}

static void remember(void *at, const struct faults_site *site)
{
	unsigned int slot = slot_of(at);

	if (!at || !site)
		return;
	lock();
	for (unsigned int i = 0; i < LIVE_MAX / 2 && live[slot].at && live[slot].at != at; i++)
		slot = (slot + 1) % LIVE_MAX;
	live[slot].at = at;
	live[slot].site = (uint32_t)(site - keyfob_faults_page->sites);
	atomic_flag_clear(&live_lock);
}

/* What follows in the same cluster is put where a search from its own slot finds it. */
static void forget(const void *at)
{
	unsigned int slot = slot_of(at);

	if (!at || !keyfob_faults_page)
		return;
	lock();
	while (live[slot].at && live[slot].at != at)
		slot = (slot + 1) % LIVE_MAX;
	for (unsigned int next = slot; live[slot].at;) {
		unsigned int home;

		next = (next + 1) % LIVE_MAX;
		home = slot_of(live[next].at);
		if (!live[next].at) {
			live[slot].at = NULL;
		} else if ((next - home) % LIVE_MAX >= (next - slot) % LIVE_MAX) {
			live[slot] = live[next];
			slot = next;
		}
	}
	atomic_flag_clear(&live_lock);
}

static __attribute__((destructor)) void end(void)
{
	for (unsigned int i = 0; keyfob_faults_page && i < LIVE_MAX; i++)
		if (live[i].at)
			keyfob_faults_page->sites[live[i].site].live++;
}

/* --- the calls --------------------------------------------------------------------------- */

static void keep_void(unsigned int call, void *result, const struct faults_site *site)
{
	if (call <= FAULTS_strndup)
		remember(result, site);
}

static void keep_other(unsigned int call, long result, const struct faults_site *site)
{
	(void)call;
	(void)result;
	(void)site;
}

#define KEEP(call, result, site) _Generic((result), void * : keep_void, char * : keep_void, default : keep_other)(call, result, site)

#define CALL(type, name, parameters, arguments, fails, ...) \
	type __wrap_##name parameters \
	{ \
		struct faults_site *site; \
		int error = decide(FAULTS_##name, __builtin_return_address(0), &site); \
		type result; \
\
		if (error) { \
			errno = error; \
			return (type)(fails); \
		} \
		result = __real_##name arguments; \
		KEEP(FAULTS_##name, result, site); \
		return result; \
	}
#include "tests/faults/calls.def"
#undef CALL

int __wrap_close(int fd)
{
	struct faults_site *site;
	int error = decide(FAULTS_close, __builtin_return_address(0), &site), result = __real_close(fd);

	if (!error)
		return result;
	errno = error;
	return -1;
}

void __wrap_free(void *old)
{
	forget(old);
	__real_free(old);
}

static void *again(void *old, void *result, const struct faults_site *site)
{
	if (result) {
		forget(old);
		remember(result, site);
	}
	return result;
}

void *__wrap_realloc(void *old, size_t size)
{
	struct faults_site *site;

	errno = decide(FAULTS_realloc, __builtin_return_address(0), &site);
	return errno ? NULL : again(old, __real_realloc(old, size), site);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
	struct faults_site *site;

	errno = decide(FAULTS_reallocarray, __builtin_return_address(0), &site);
	return errno ? NULL : again(old, __real_reallocarray(old, count, size), site);
}

int __wrap_asprintf(char **out, const char *format, ...)
{
	struct faults_site *site;
	va_list args;
	int result;

	*out = NULL;
	errno = decide(FAULTS_asprintf, __builtin_return_address(0), &site);
	if (errno)
		return -1;
	va_start(args, format);
	result = vasprintf(out, format, args);
	va_end(args);
	remember(result < 0 ? NULL : *out, site);
	return result;
}
