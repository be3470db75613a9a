/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a harness without libFuzzer: its seeds, then mutations of them that
 * are the same in every run.
 *   HARNESS [RUNS [NUMBER]]   NUMBER chooses other mutations
 *   HARNESS --file FILE       one input again
 * The input that runs stands in HARNESS.input, which stays behind when it is the last.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define SEEDS_MAX 256
#define HANG_SECONDS 20

static struct {
	uint8_t *bytes;
	size_t length;
} seeds[SEEDS_MAX];
static size_t seed_count;

static uint64_t state = 1;
static uint8_t input[FUZZ_MAX];
static int kept = -1; /* HARNESS.input */

const char *__asan_default_options(void);

/* Leaks are libFuzzer's to find: LeakSanitizer wants to trace its process, which not every place allows. */
__attribute__((visibility("default"), used)) const char *__asan_default_options(void)
{
	return "detect_leaks=0:allocator_may_return_null=1";
}

void fuzz_seed(const void *data, size_t length)
{
	fuzz_require(seed_count < SEEDS_MAX && length <= FUZZ_MAX);
	seeds[seed_count].bytes = malloc(length ? length : 1);
	fuzz_require(seeds[seed_count].bytes);
	memcpy(seeds[seed_count].bytes, data, length);
	seeds[seed_count++].length = length;
}

/* xorshift64*: the same everywhere. */
static size_t below(size_t limit)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return limit ? (size_t)(state * 2685821657736338717u >> 33) % limit : 0;
}

static size_t insert(size_t length, const uint8_t *bytes, size_t count)
{
	size_t at = below(length + 1);
	uint8_t copy[64];

	count = count < sizeof(copy) ? count : sizeof(copy);
	if (length + count > FUZZ_MAX)
		return length;
	memcpy(copy, bytes, count);
	memmove(input + at + count, input + at, length - at);
	memcpy(input + at, copy, count);
	return length + count;
}

static size_t mutate(size_t length)
{
	static const char *const words[] = { "\0", "\n", "\r\n", "\t", " ", "\"", "\\", "\\u0000", "{", "}", "[", "]", ":", ",", ";", "%00",
		"=", "%s", "\xff\xff\xff\xff", "\xc3\x28", "\xed\xa0\x80", "null", "true", "-1", "0", "1e999", "99999999999999999999",
		"../", "." };
	size_t at = below(length), count = below(length - at < 32 ? length - at + 1 : 32), other;
	const char *word = words[below(sizeof(words) / sizeof(words[0]))];

	switch (length ? below(8) : 0) {
	case 0:
		return insert(length, (const uint8_t *)word, *word ? strlen(word) : 1);
	case 1:
		input[at] ^= (uint8_t)(1u << below(8));
		return length;
	case 2:
		input[at] = (uint8_t)below(256);
		return length;
	case 3:
		memmove(input + at, input + at + count, length - at - count);
		return length - count;
	case 4:
		return insert(length, input + at, count);
	case 5:
		return below(4) ? length : at;
	case 6:
		if (input[at] >= '0' && input[at] <= '9')
			input[at] = (uint8_t)('0' + below(10));
		return length;
	default: /* the end of another seed behind the beginning of this one */
		other = below(seed_count);
		count = below(seeds[other].length + 1);
		if (at + seeds[other].length - count > FUZZ_MAX)
			return length;
		memcpy(input + at, seeds[other].bytes + count, seeds[other].length - count);
		return at + seeds[other].length - count;
	}
}

static void run(size_t length)
{
	uint8_t *exact = malloc(length ? length : 1);

	fuzz_require(exact);
	memcpy(exact, input, length);
	if (kept >= 0)
		fuzz_require(pwrite(kept, input, length, 0) == (ssize_t)length && ftruncate(kept, (off_t)length) == 0);
	alarm(HANG_SECONDS);
	LLVMFuzzerTestOneInput(exact, length);
	alarm(0);
	free(exact);
}

static size_t take_seed(size_t which)
{
	memcpy(input, seeds[which].bytes, seeds[which].length);
	return seeds[which].length;
}

static int run_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, input, sizeof(input));

	if (length < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 2;
	}
	close(fd);
	run((size_t)length);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
	char name[4096];

	if (argc == 3 && strcmp(argv[1], "--file") == 0)
		return run_file(argv[2]);
	fuzz_seeds();
	fuzz_require(seed_count);
	snprintf(name, sizeof(name), "%s.input", argv[0]);
	kept = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (size_t i = 0; i < seed_count; i++)
		run(take_seed(i));
	state = argc > 2 ? strtoull(argv[2], NULL, 10) * 2 + 1 : 1;
	for (unsigned long i = 0; i < runs; i++) {
		size_t length = take_seed(below(seed_count));

		for (size_t times = 1 + below(6); times; times--)
			length = mutate(length);
		run(length);
	}
	printf("%zu seeds, %lu mutations\n", seed_count, runs);
	for (size_t i = 0; i < seed_count; i++)
		free(seeds[i].bytes);
	unlink(name);
	return 0;
}
