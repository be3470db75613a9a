/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keyfob-verifyd keeps of key sets over a restart, and a key set in a
 * file of root's. The first byte of an input says which of them it is, and
 * whether the seal at the end of the file is put right first.
 *
 * links: verify/keysets-kept common/buffer common/log common/wire
 * libs: libcrypto
 * wrap: openat
 * parser: verify/keysets-kept
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "verify/jwks.h"
#include "verify/keysets-kept.h"

#define SOURCE "https://login.example/keys"
enum { SET, EPOCH, KEY_FILE, KINDS, SEALED = 0x80 };

int __wrap_openat(int directory, const char *name, int flags, ...);
int __real_openat(int directory, const char *name, int flags, ...);

static const uint8_t *kept;
static size_t kept_length;
static uint8_t seal[SHA256_DIGEST_LENGTH];
static size_t seal_length;

/* The file that is looked for; where there is none, as when seeds are made, the real one. */
int __wrap_openat(int directory, const char *name, int flags, ...)
{
	int fd;

	if (!kept)
		return __real_openat(directory, name, flags, 0600);
	fd = memfd_create("kept", MFD_CLOEXEC);
	fuzz_require(fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, kept, kept_length) == (ssize_t)kept_length &&
		     write(fd, seal, seal_length) == (ssize_t)seal_length && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

static void load_set(void)
{
	char why[512] = "";
	struct kept_set set;
	int rc = kept_load_set(-1, "entra", SOURCE, &set, why, sizeof(why));

	fuzz_require(rc == 0 || *why);
	if (rc)
		return;
	fuzz_require(set.fetched > 0 && set.refresh >= set.fetched && set.refresh <= 253402300799);
	fuzz_require(memchr(set.etag, 0, sizeof(set.etag)) && set.document.length <= JWKS_MAX);
	buffer_free(&set.document);
}

static void load_epoch(void)
{
	struct kept_epoch epoch = { 0 };
	char why[512] = "";
	int rc = kept_load_epoch(-1, "entra", &epoch, why, sizeof(why));

	fuzz_require(rc == 0 ? epoch.revoked_at >= 0 && epoch.revoked_at <= 253402300799 : *why);
}

static void read_file(void)
{
	struct buffer document;
	char why[512] = "";

	buffer_init(&document, JWKS_MAX + 1);
	if (kept_read_file("/etc/jwks.json", &document, why, sizeof(why)) == 0)
		fuzz_require(document.length == kept_length && memcmp(document.data, kept, kept_length) == 0);
	else
		fuzz_require(*why);
	buffer_free(&document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t how;

	if (size < 2 || size > FUZZ_MAX)
		return 0;
	how = *data;
	kept = data + 1;
	kept_length = size - 1;
	SHA256(kept, kept_length, seal);
	seal_length = how & SEALED && how % SEALED % KINDS != KEY_FILE ? sizeof(seal) : 0;
	if (how % SEALED % KINDS == SET)
		load_set();
	else if (how % SEALED % KINDS == EPOCH)
		load_epoch();
	else
		read_file();
	kept = NULL;
	return 0;
}

/* The file that was just written, with the seal that it has and without. */
static void seed_file(int directory, const char *name, uint8_t which)
{
	uint8_t bytes[4096];
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, bytes + 1, sizeof(bytes) - 1);

	fuzz_require(length > (ssize_t)sizeof(seal));
	close(fd);
	unlinkat(directory, name, 0);
	bytes[0] = which;
	fuzz_seed(bytes, 1 + (size_t)length);
	bytes[0] = which | SEALED;
	fuzz_seed(bytes, 1 + (size_t)length - sizeof(seal));
}

void fuzz_seeds(void)
{
	struct kept_set set = { .epoch = 3, .fetched = 1790000000, .refresh = 1790003600, .etag = "\"1a2b\"" };
	struct kept_epoch epoch = { 3, true, 1790000000 };
	char path[] = "/tmp/keyfob-fuzz.XXXXXX";
	int directory = mkdtemp(path) ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	fuzz_require(directory >= 0);
	buffer_init(&set.document, JWKS_MAX);
	buffer_put(&set.document, "{\"keys\":[]}", 11);
	fuzz_require(kept_save_set(directory, "entra", SOURCE, &set) == 0);
	seed_file(directory, "entra.keys", SET);
	fuzz_require(kept_save_set(directory, "entra", "https://login.example/others", &set) == 0);
	seed_file(directory, "entra.keys", SET);
	fuzz_require(kept_save_epoch(directory, "entra", &epoch) == 0);
	seed_file(directory, "entra.epoch", EPOCH);
	fuzz_text("\002{\"keys\":[{\"kty\":\"RSA\"}]}");
	buffer_free(&set.document);
	close(directory);
	rmdir(path);
}
