/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel tells of keys that anybody may have made and named, what
 * keyfob-info: keys hold, and /proc/key-users.
 *
 * links: keyring/keyctl keyring/store keyring/store-copy keyring/store-own keyring/client common/wire common/buffer
 * libs: libkeyutils
 * parser: keyring/keyctl
 */
#include <sys/mman.h>
#include <unistd.h>

#include "keyring/keyctl.h"
#include "keyring/store.h"
#include "tests/fuzz/fuzz.h"

static const uint8_t *described;
static size_t described_length;

/* In place of libkeyutils': the length with the NUL, of which at most size bytes are copied (keyctl_describe(3)). */
long keyctl_describe(key_serial_t key, char *text, size_t size)
{
	(void)key;
	if (described_length + 1 <= size) {
		memcpy(text, described, described_length);
		text[described_length] = 0;
	}
	return (long)described_length + 1;
}

static void describe(void)
{
	struct key_description d;

	if (key_describe(1, &d) == 0)
		fuzz_require(memchr(d.type, 0, sizeof(d.type)) && memchr(d.name, 0, sizeof(d.name)));
}

static void read_record(const char *text, size_t length)
{
	struct key_record record, again;
	struct buffer b;

	if (!key_record_parse(text, length, &record))
		return;
	fuzz_require(memchr(record.broker, 0, sizeof(record.broker)) && memchr(record.definition, 0, sizeof(record.definition)));
	buffer_init(&b, 4096);
	fuzz_require(key_record_format(&record, &b));
	fuzz_require(key_record_parse((const char *)b.data, b.length, &again));
	fuzz_require(again.serial == record.serial && again.expires == record.expires && strcmp(again.broker, record.broker) == 0);
	buffer_free(&b);
}

static void read_quota(const uint8_t *data, size_t size)
{
	struct store s = { .quota_fd = memfd_create("key-users", MFD_CLOEXEC) };
	struct store_quota quota;

	fuzz_require(s.quota_fd >= 0 && write(s.quota_fd, data, size) == (ssize_t)size);
	store_quota(&s, &quota);
	close(s.quota_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > FUZZ_MAX)
		return 0;
	described = data;
	described_length = size;
	describe();
	read_record((const char *)data, size);
	read_quota(data, size);
	return 0;
}

/* As long as what is taken, or a byte more. */
static void seed_long(const char *head, size_t length)
{
	char text[8192];

	memset(text, 'x', sizeof(text));
	memcpy(text, head, strlen(head));
	fuzz_seed(text, length);
}

void fuzz_seeds(void)
{
	for (size_t more = 0; more < 3; more++) {
		seed_long("v1 serial=1 expires=1 refresh=1 fingerprint=0 previous=0:0 broker=/", 510 + more);
		seed_long("user;0;0;1b3f0000;keyfob:", 4096 + 62 + more);
		seed_long("user;0;0;1b3f0000;keyfob:", 262 + more);
	}
	fuzz_text("user;0;0;1b3f0000;keyfob:atlas");
	fuzz_text("keyring;1088;65534;3f1f0000;a;name;with;semicolons");
	fuzz_text("user;4294967296;-1;zz;");
	fuzz_text("v1 serial=348037236 expires=1795594522 refresh=1795548242 fingerprint=039121b2 previous=0:0 "
		  "broker=/run/keyfob/keyfob.sock");
	fuzz_text("v2 348037236 1795594522 1795548242 039121b2 1795540000 1 0123456789abcdef");
	fuzz_text("    0:    30 29/29 25/1000000 1234/25000000\n 1000:     4 4/4 4/200 80/20000\n");
}
