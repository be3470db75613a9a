/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links: common/config common/log common/buffer
 * libs: ini_config
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/config.h"
#include "tests/unit/config-files.h"

static struct config config;

/* Load, and compare the faults. */
static void load(const char *wanted)
{
	struct buffer errors;
	char *got;
	bool ok;

	buffer_init(&errors, 65536);
	ok = config_load(config_file, &config, &errors);
	got = without_dir(&errors);
	assert_string_equal(got, wanted);
	assert_int_equal(ok, !*wanted);
	free(got);
	buffer_free(&errors);
}

static void refuse(const char *wanted)
{
	load(wanted);
	config_free(&config);
	assert_int_equal(config.count, 0);
}

static const struct config_section *section(const char *type, const char *name)
{
	for (size_t i = 0; i < config.count; i++)
		if (strcmp(config.sections[i].type, type) == 0 && strcmp(config.sections[i].name, name) == 0)
			return &config.sections[i];
	fail_msg("no section [%s %s]", type, name);
	return NULL;
}

static void test_order_and_lines(void **state)
{
	static const struct {
		const char *key, *value;
		unsigned int line;
	} wanted[] = {
		{ "provider", "one", 3 },
		{ "allow", "user:a", 4 },
		{ "provider", "two   with  blanks", 7 },
		{ "allow", "group:\"b # c\" ; d", 8 },
		{ "provider", "-- a=b = c", 9 },
		{ "empty", "", 10 },
	};
	const struct config_section *s;

	(void)state;
	write_text("keyfob.conf",
		"# a comment\n[credential atlas]\nprovider = one\nallow=user:a\n; another\n\nprovider    = two   with  blanks  \n"
		"allow = group:\"b # c\" ; d\nprovider = -- a=b = c\nempty =\n[x]\nk = /* v */\n");
	load("");
	s = section("credential", "atlas");
	assert_int_equal(s->count, 6);
	assert_int_equal(s->line, 2);
	for (size_t i = 0; i < 6; i++) {
		assert_string_equal(s->entries[i].key, wanted[i].key);
		assert_string_equal(s->entries[i].value, wanted[i].value);
		assert_int_equal(s->entries[i].line, wanted[i].line);
	}
	assert_string_equal(section("x", "")->entries[0].value, "/* v */");
	config_free(&config);
}

static void test_long_line(void **state)
{
	char *text = malloc(200000);

	(void)state;
	strcpy(text, "[a b]\nk = ");
	memset(text + 10, 'v', 150000);
	strcpy(text + 150010, "\n");
	write_text("keyfob.conf", text);
	load("");
	assert_int_equal(strlen(section("a", "b")->entries[0].value), 150000);
	config_free(&config);
	free(text);
}

static void test_drop_ins(void **state)
{
	static const char *const names[] = { "first", "main", "B", "a", "b" };

	(void)state;
	write_text("keyfob.conf", "[s first]\nk = 0\n[s main]\nk = 0\n");
	write_text("conf.d/b.conf", "[s b]\nk = 0\n");
	write_text("conf.d/a.conf", "\n[s a]\nk = 0\n");
	write_text("conf.d/B.conf", "[s B]\nk = 0\n");
	write_text("conf.d/.hidden.conf", "[broken");
	write_text("conf.d/.conf", "[broken");
	write_text("conf.d/c.conf~", "[broken");
	write_text("conf.d/c.conf.dpkg-new", "[broken");
	write_text("conf.d/empty.conf", "");
	load("");
	assert_int_equal(config.count, 5);
	for (size_t i = 0; i < 5; i++)
		assert_string_equal(config.sections[i].name, names[i]);
	assert_int_equal(section("s", "a")->line, 2);
	assert_non_null(strstr(section("s", "a")->file, "/conf.d/a.conf"));
	config_free(&config);
}

static void test_section_twice(void **state)
{
	(void)state;
	write_text("keyfob.conf", "[credential a]\nk = 1\n[credential b]\nk = 1\n[credential a]\nk = 2\n");
	refuse("keyfob.conf:5: this section stands here for the second time\n");
	write_text("keyfob.conf", "[credential a]\nk = 1\n[credential   a]\nk = 2\n");
	refuse("keyfob.conf:3: [credential a] stands already in keyfob.conf:1; a section may be given once\n");
	write_text("keyfob.conf", "[credential a]\nk = 1\n");
	write_text("conf.d/team.conf", "# ours\n[credential b]\nk = 1\n[credential a]\nk = 2\n");
	refuse("conf.d/team.conf:4: [credential a] stands already in keyfob.conf:1; a section may be given once\n");
	write_text("conf.d/team.conf", "[credential b]\nk = 1\n");
	write_text("conf.d/zeta.conf", "[credential b]\nk = 1\n");
	refuse("conf.d/zeta.conf:1: [credential b] stands already in conf.d/team.conf:1; a section may be given once\n");
}

static void test_syntax(void **state)
{
	(void)state;
	write_text("keyfob.conf", "[a]\nk = 1\nno equal sign\n[b\n= v\n");
	refuse("keyfob.conf:3: Equal sign is missing.\nkeyfob.conf:4: No closing bracket.\nkeyfob.conf:5: Property name is missing.\n");
	write_text("keyfob.conf", "[]\nk = 1\n");
	refuse("keyfob.conf:1: Section name is missing.\n");
	write_text("keyfob.conf", "");
	load("");
	assert_int_equal(config.count, 0);
	config_free(&config);
}

/* Every file with a fault is named, not only the first. */
static void test_faults_of_all_files(void **state)
{
	(void)state;
	write_text("keyfob.conf", "junk\n");
	write_text("conf.d/a.conf", "[a]\njunk\n");
	refuse("keyfob.conf:1: Equal sign is missing.\nconf.d/a.conf:2: Equal sign is missing.\n");
}

static void test_not_text(void **state)
{
	size_t large = 5u << 20;
	char *text;

	(void)state;
	write_bytes("keyfob.conf", "[a]\nk = 1\0\n", 11);
	refuse("keyfob.conf: holds a NUL byte\n");
	write_text("keyfob.conf", "[a]\nk = \xff\xfe\n");
	refuse("keyfob.conf: is not UTF-8 text\n");
	write_text("keyfob.conf", "[a]\nk = \xc3\xa9\n");
	load("");
	config_free(&config);
	text = malloc(large);
	memset(text, '#', large);
	for (size_t i = 999; i < large; i += 1000)
		text[i] = '\n';
	write_bytes("keyfob.conf", text, large);
	refuse("keyfob.conf: is larger than 4 MiB\n");
	write_bytes("keyfob.conf", text, 3u << 20);
	load("");
	config_free(&config);
	free(text);
}

#define UNSAFE ": must be a file owned by root and not writable by group or others (chown root; chmod go-w)\n"
#define UNSAFE_DIR ": must be owned by root and not writable by group or others (chown root; chmod go-w)\n"

static void test_who_may_write(void **state)
{
	char drop_ins[128];

	(void)state;
	if (geteuid() != 0) {
		print_message("# who may write is another matter for others than root\n");
		skip();
	}
	write_text("keyfob.conf", "[a]\nk = 1\n");
	assert_int_equal(chmod(config_file, 0664), 0);
	refuse("keyfob.conf" UNSAFE);
	assert_int_equal(chmod(config_file, 0646), 0);
	refuse("keyfob.conf" UNSAFE);
	assert_int_equal(chmod(config_file, 0644), 0);
	assert_int_equal(chown(config_file, 12345, 0), 0);
	refuse("keyfob.conf" UNSAFE);
	assert_int_equal(chown(config_file, 0, 0), 0);
	load("");
	config_free(&config);
	assert_int_equal(chmod(config_dir, 0775), 0);
	refuse(UNSAFE_DIR);
	assert_int_equal(chmod(config_dir, 01777), 0);
	refuse(UNSAFE_DIR);
	assert_int_equal(chmod(config_dir, 0755), 0);
	write_text("conf.d/a.conf", "[b]\nk = 1\n");
	write_text("conf.d/b.conf", "[c]\nk = 1\n");
	snprintf(drop_ins, sizeof(drop_ins), "%s/conf.d/b.conf", config_dir);
	assert_int_equal(chmod(drop_ins, 0666), 0);
	refuse("conf.d/b.conf" UNSAFE);
	snprintf(drop_ins, sizeof(drop_ins), "%s/conf.d", config_dir);
	assert_int_equal(chmod(drop_ins, 0777), 0);
	load("conf.d" UNSAFE_DIR);
	/* Nothing of what lies in such a directory is read: not its first file, and none after it. */
	assert_int_equal(config.count, 1);
	config_free(&config);
}

static void test_missing(void **state)
{
	(void)state;
	refuse("keyfob.conf: No such file or directory\n");
	assert_int_equal(mkdir(config_file, 0755), 0);
	refuse("keyfob.conf" UNSAFE);
	assert_int_equal(rmdir(config_file), 0);
	assert_int_equal(mkfifo(config_file, 0600), 0);
	refuse("keyfob.conf" UNSAFE);
	assert_int_equal(unlink(config_file), 0);
	write_text("keyfob.conf", "[a]\nk = 1\n");
	write_text("conf.d", "a file");
	refuse("conf.d: Not a directory\n");
	remove_config_dir(state);
	refuse(": No such file or directory\n");
}

static void test_seconds(void **state)
{
	static const struct {
		const char *text;
		unsigned int seconds;
	} good[] = { { "0", 0 }, { "90", 90 }, { "90s", 90 }, { "15m", 900 }, { "1h", 3600 }, { "2d", 172800 }, { "3660d", 316224000 } };
	static const char *const wrong[] = { "", "s", "-1", "+1", " 1", "1 ", "1 s", "1x", "1ss", "1ms", "1.5h", "0x10", "1h30m", "3661d",
		"316224001", "99999999999999999999", "18446744073709551615d", "213503982334601d" };
	unsigned int seconds;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (!config_seconds(good[i].text, &seconds) || seconds != good[i].seconds)
			fail_msg("\"%s\"", good[i].text);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (config_seconds(wrong[i], &seconds))
			fail_msg("taken: \"%s\" as %u", wrong[i], seconds);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, make_config_dir, remove_config_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_directory(test_order_and_lines),
		in_directory(test_long_line),
		in_directory(test_drop_ins),
		in_directory(test_section_twice),
		in_directory(test_syntax),
		in_directory(test_faults_of_all_files),
		in_directory(test_not_text),
		in_directory(test_who_may_write),
		in_directory(test_missing),
		cmocka_unit_test(test_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
