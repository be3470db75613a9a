/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob.conf as all that read it do, and what a module's table is told as
 * (keyfob-fetch --describe). An input is the file, and after a byte 0x1e that
 * frame; without it the table of a module that takes a few options.
 *
 * links: broker/policy broker/policy-provider broker/policy-files broker/policy-names verify/federation verify/federation-read verify/federation-values common/config common/buffer common/log common/wire
 * libs: ini_config
 * runs: 1000
 * parser: common/config broker/policy broker/policy-provider broker/policy-files verify/federation verify/federation-read verify/federation-values
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/launcher.h"
#include "broker/policy.h"
#include "common/wire.h"
#include "tests/fuzz/fuzz.h"

static char directory[64], path[100];
static const uint8_t *frame;
static size_t frame_length;

/* --- what policy_load() asks ------------------------------------------------------------- */

static void put_option(struct buffer *b, const char *name, enum keyfob_option_type type, unsigned int flags, const char *values)
{
	buffer_put_text(b, name);
	buffer_put_u8(b, (uint8_t)type);
	buffer_put_u8(b, (uint8_t)flags);
	buffer_put_text(b, values);
	buffer_put_text(b, "help");
}

static void put_table(struct buffer *b, const char *module)
{
	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, 0);
	buffer_put_text(b, module);
	buffer_put_text(b, "help");
	buffer_put_u8(b, strcmp(module, "callback-exec") == 0 ? KEYFOB_SANDBOX_EXEC : KEYFOB_SANDBOX_NETWORK);
	buffer_put_u8(b, KEYFOB_KIND_ACCESS);
	buffer_put_text(b, "example");
	buffer_put_u32(b, 7);
	put_option(b, "source", KEYFOB_OPTION_CHOICE, 0, "imds|arc");
	put_option(b, "client_id", KEYFOB_OPTION_TEXT, 0, NULL);
	put_option(b, "endpoint", KEYFOB_OPTION_URL, 0, NULL);
	put_option(b, "wait", KEYFOB_OPTION_SECONDS, 0, NULL);
	put_option(b, "secret_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, NULL);
	put_option(b, "from", KEYFOB_OPTION_CREDENTIAL, 0, NULL);
	put_option(b, "PROGRAM", KEYFOB_OPTION_TEXT, KEYFOB_OPTION_ARGUMENTS, NULL);
}

static int describe(void *arg, const char *module, struct buffer *b)
{
	(void)arg;
	if (frame_length)
		buffer_put(b, frame, frame_length);
	else
		put_table(b, module);
	return 0;
}

/* Everybody whose name begins with an o is there. */
static int look_up(void *arg, uint32_t count, const struct buffer *names, struct buffer *answer)
{
	struct reader r;

	(void)arg;
	reader_init(&r, names->data, names->length);
	buffer_put_u32(answer, count);
	for (uint32_t i = 0; i < count; i++) {
		char name[257];

		reader_u8(&r);
		reader_text(&r, name, sizeof(name));
		buffer_put_u8(answer, name[0] == 'o');
		buffer_put_u32(answer, 1001);
	}
	fuzz_require(reader_done(&r));
	return 0;
}

/* --- the file ------------------------------------------------------------------------------ */

static void clean_up(void)
{
	unlink(path);
	rmdir(directory);
}

static void write_file(const uint8_t *data, size_t size)
{
	int fd;

	if (!directory[0]) {
		strcpy(directory, access("/dev/shm", W_OK) == 0 ? "/dev/shm/keyfob-fuzz-XXXXXX" : "/tmp/keyfob-fuzz-XXXXXX");
		umask(022);
		fuzz_require(mkdtemp(directory));
		snprintf(path, sizeof(path), "%s/keyfob.conf", directory);
		atexit(clean_up);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct policy_source source = { .describe = describe, .look_up = look_up };
	const uint8_t *end = size ? memchr(data, 0x1e, size) : NULL;
	struct policy *policy;
	struct buffer errors;
	unsigned int seconds;
	char *text;

	if (size > FUZZ_MAX)
		return 0;
	frame = end ? end + 1 : NULL;
	frame_length = end ? (size_t)(data + size - frame) : 0;
	write_file(data, end ? (size_t)(end - data) : size);
	buffer_init(&errors, 1 << 20);
	policy = policy_load(path, &source, &errors);
	/* The whole file, or none of it and a reason; on lines of their own, without what a terminal would obey. */
	fuzz_require((policy == NULL) == (errors.length > 0));
	for (size_t i = 0; i < errors.length; i++)
		fuzz_require(errors.data[i] == '\n' || errors.data[i] == '\t' || (errors.data[i] >= 0x20 && errors.data[i] != 0x7f));
	for (size_t i = 0; policy && i < policy->count; i++)
		fuzz_require(wire_name_valid(policy->credentials[i].name) && policy->credentials[i].provider_count);
	policy_free(policy);
	buffer_free(&errors);
	text = fuzz_take_text(&data, &size, '\n');
	config_seconds(text, &seconds);
	free(text);
	return 0;
}

void fuzz_seeds(void)
{
	struct buffer b;

	fuzz_text("[credential atlas]\ndescription = orders database\nresource = api://x\nprovider = azure client_id=5f3a "
		  "endpoint=http://h:1\n"
		  "provider = azure source=arc wait=5m ttl=1h timeout=3\nallow = user:orders group:ops\nmin_ttl = 5m\nrefresh = on-demand\n"
		  "store = socket\nmetadata = yes\ntoken = access\n");
	fuzz_text("[credential shop]\nprovider = callback-exec run_as=orders -- /usr/bin/tool \"a b\" 'c'\nallow=user:orders\nfile = raw\n"
		  "file = pgpass h:5432:d:u\nsocket = orders:ops 0660\nidentity_provider = entra\n\n"
		  "[credential chain]\nprovider = azure from=shop secret_file=/etc/keyfob/s\n");
	fuzz_text(
		"[identity-provider entra]\nissuer = https://login.example.com/t\naudience = api1\nauthorization_type = group\n"
		"groups_claim = roles\nclient_id = a\nclient_id = b\njwks_uri = https://login.example.com/k\nproxy = http://p:3128\n"
		"pin = sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nmax_lifetime = 1h\nmax_token_size = 8192\nrules = mongodb\n\n"
		"[organization o]\nservice = pg\nidentity_provider = entra\n\n[service pg]\nallow = user:postgres\n\n"
		"[database-user dba]\nservice = pg\nidentity_provider = entra\ngroup_id = g\naccount = dba\nlogin = dba\n");
	fuzz_text("# comment\n[credential a]\nprovider = azure\n[credential a]\nprovider = azure\nunknown = 1\n[nonsense]\nx\n key = "
		  "indented\n");
	fuzz_text("90s\n");
	buffer_init(&b, 4096);
	buffer_printf(&b, "[credential a]\nprovider = azure source=imds\n\x1e");
	put_table(&b, "azure");
	fuzz_seed(b.data, b.length);
	buffer_free(&b);
}
