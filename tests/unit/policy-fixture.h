/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration in a directory of a test's own, with modules and names that are made up here. Included after cmocka.h. */
#ifndef KEYFOB_TEST_POLICY_FIXTURE_H
#define KEYFOB_TEST_POLICY_FIXTURE_H

#include <errno.h>

#include "broker/launcher.h"
#include "broker/policy.h"
#include "common/wire.h"
#include "tests/unit/config-files.h"

/* --- a launcher's answers ---------------------------------------------------------- */

static const struct keyfob_option azure_options[] = {
	{ "source", KEYFOB_OPTION_CHOICE, 0, "imds|appservice", "" },
	{ "client_id", KEYFOB_OPTION_TEXT, 0, NULL, "" },
	{ "endpoint", KEYFOB_OPTION_URL, 0, NULL, "" },
	{ "ca_file", KEYFOB_OPTION_FILE, 0, NULL, "" },
	{ "wait", KEYFOB_OPTION_SECONDS, 0, NULL, "" },
	{ "loud", KEYFOB_OPTION_FLAG, 0, NULL, "" },
};
static const struct keyfob_option exec_options[] = {
	{ "format", KEYFOB_OPTION_CHOICE, 0, "raw|auto", "" },
	{ "PROGRAM", KEYFOB_OPTION_TEXT, KEYFOB_OPTION_REQUIRED | KEYFOB_OPTION_ARGUMENTS, NULL, "" },
};
static const struct keyfob_option needy_options[] = {
	{ "tenant", KEYFOB_OPTION_TEXT, KEYFOB_OPTION_REQUIRED, NULL, "" },
	{ "host", KEYFOB_OPTION_TEXT, KEYFOB_OPTION_REQUIRED, NULL, "" },
};
static const struct keyfob_option chained_options[] = {
	{ "assertion", KEYFOB_OPTION_CREDENTIAL, 0, NULL, "" },
	{ "key_file", KEYFOB_OPTION_FILE, KEYFOB_OPTION_SECRET, NULL, "" },
	{ "plain_file", KEYFOB_OPTION_FILE, 0, NULL, "" },
};
static const struct keyfob_module modules[] = {
	{ .name = "azure", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ACCESS, .options = azure_options, .count = 6 },
	{ .name = "exec", .sandbox = KEYFOB_SANDBOX_EXEC, .kind = KEYFOB_KIND_ID, .options = exec_options, .count = 2 },
	{ .name = "needy", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ACCESS, .options = needy_options, .count = 2 },
	{ .name = "chained", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ACCESS, .options = chained_options, .count = 3 },
	{ .name = "keys", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_DOCUMENT },
	{ .name = "kindest", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_DOCUMENT + 1 },
	{ .name = "kindless", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_DEFAULT },
	{ .name = "boxless", .sandbox = KEYFOB_SANDBOX_FILE + 1, .kind = KEYFOB_KIND_ID },
	{ .name = "liar", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ID },
	{ .name = "verbose", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ID },
	{ .name = "cut", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ID, .options = azure_options, .count = 6 },
	{ .name = "crowded", .sandbox = KEYFOB_SANDBOX_NETWORK, .kind = KEYFOB_KIND_ID },
};

static unsigned int described, looked_up;
static int look_up_error;
static uint32_t answers_cut;

static inline void put_module(struct buffer *frame, const struct keyfob_module *m)
{
	buffer_put_u8(frame, WIRE_VERSION);
	buffer_put_u8(frame, 0);
	buffer_put_text(frame, strcmp(m->name, "liar") == 0 ? "azure" : m->name);
	buffer_put_text(frame, "help");
	buffer_put_u8(frame, (uint8_t)m->sandbox);
	buffer_put_u8(frame, (uint8_t)m->kind);
	buffer_put_text(frame, "example");
	buffer_put_u32(frame, strcmp(m->name, "crowded") == 0 ? 0xffffffff : (uint32_t)m->count);
	for (size_t i = 0; i < m->count; i++) {
		buffer_put_text(frame, m->options[i].name);
		buffer_put_u8(frame, (uint8_t)m->options[i].type);
		buffer_put_u8(frame, (uint8_t)m->options[i].flags);
		buffer_put_text(frame, m->options[i].values);
		buffer_put_text(frame, "help");
	}
	if (strcmp(m->name, "verbose") == 0)
		buffer_put_u8(frame, 0);
	if (strcmp(m->name, "cut") == 0)
		frame->length -= 10;
}

static inline int describe(void *arg, const char *module, struct buffer *frame)
{
	(void)arg;
	described++;
	if (strcmp(module, "hanging") == 0)
		return -ETIMEDOUT;
	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		if (strcmp(modules[i].name, module) == 0) {
			put_module(frame, &modules[i]);
			return 0;
		}
	}
	if (strcmp(module, "silent") == 0)
		return 0;
	buffer_put_u8(frame, WIRE_VERSION);
	buffer_put_u8(frame, 1);
	buffer_put_text(frame, "no such file in the module directory");
	return 0;
}

static const struct {
	const char *name;
	bool is_group;
	uint32_t id;
} known[] = {
	{ "root", false, 0 },
	{ "toor", false, 0 },
	{ "keyfob-fetch", false, 990 },
	{ "orders", false, 1001 },
	{ "corp", false, 1002 },
	{ "dbclients", true, 2001 },
	{ "corp", true, 1002 },
};

static inline int look_up(void *arg, uint32_t count, const struct buffer *names, struct buffer *answer)
{
	struct reader r;

	(void)arg;
	looked_up++;
	if (look_up_error)
		return look_up_error;
	reader_init(&r, names->data, names->length);
	buffer_put_u32(answer, count - answers_cut);
	for (uint32_t i = 0; i < count; i++) {
		bool is_group = reader_u8(&r) == LAUNCHER_NAME_GROUP, found = false;
		char name[300];
		uint32_t id = 0;

		reader_text(&r, name, sizeof(name));
		for (size_t j = 0; j < sizeof(known) / sizeof(known[0]); j++) {
			if (known[j].is_group != is_group || strcmp(known[j].name, name) != 0)
				continue;
			found = true;
			id = known[j].id;
		}
		buffer_put_u8(answer, found);
		buffer_put_u32(answer, id);
	}
	assert_true(reader_done(&r));
	return 0;
}

static const struct policy_source source = { NULL, describe, look_up, NULL, NULL };

static inline int make_policy_dir(void **state)
{
	described = looked_up = 0;
	look_up_error = 0;
	answers_cut = 0;
	return make_config_dir(state);
}

static inline struct policy *load_from(const struct policy_source *from, const char *text)
{
	struct policy *policy;
	struct buffer errors;

	write_text("keyfob.conf", text);
	buffer_init(&errors, 1u << 20);
	policy = policy_load(config_file, from, &errors);
	if (!policy)
		fail_msg("refused:\n%s\n%s", text, buffer_cstring(&errors));
	assert_int_equal(errors.length, 0);
	buffer_free(&errors);
	return policy;
}

static inline struct policy *load(const char *text)
{
	return load_from(&source, text);
}

static inline void refuse_from(const struct policy_source *from, const char *text, const char *wanted)
{
	struct policy *policy;
	struct buffer errors;
	char *got;

	write_text("keyfob.conf", text);
	buffer_init(&errors, 1u << 20);
	policy = policy_load(config_file, from, &errors);
	got = without_dir(&errors);
	if (policy || strcmp(got, wanted) != 0)
		fail_msg("%s\ngives:\n%swanted:\n%s", text, got, wanted);
	free(got);
	buffer_free(&errors);
}

static inline void refuse(const char *text, const char *wanted)
{
	refuse_from(&source, text, wanted);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, make_policy_dir, remove_config_dir)

#endif
