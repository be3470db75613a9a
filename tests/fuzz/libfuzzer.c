/* SPDX-License-Identifier: Apache-2.0 */
/* Between a harness and libFuzzer: with KEYFOB_FUZZ_SEEDS=DIRECTORY the program writes its seeds there and ends. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

static const char *directory;
static unsigned int count;

void fuzz_seed(const void *data, size_t length)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/seed-%u", directory, count++);
	file = fopen(path, "we");
	fuzz_require(file && fwrite(data, 1, length, file) == length && fclose(file) == 0);
}

/* Found by libFuzzer by its name. */
__attribute__((visibility("default"))) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	directory = getenv("KEYFOB_FUZZ_SEEDS");
	if (!directory)
		return 0;
	fuzz_seeds();
	exit(0);
}
