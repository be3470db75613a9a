/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drivers that keyfob doctor knows: their marks, their versions, and what is said of them.
 * links: cli/admin-doctor-drivers cli/admin-doctor-findings cli/admin-doctor-read cli/json common/buffer
 * libs: jansson
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/admin-doctor-drivers.h"
#include "tests/unit/config-files.h"

/* cli/output.c, which would bring the whole client with it. */
bool cli_put_escaped(struct buffer *b, const char *text)
{
	return buffer_put(b, text, strlen(text));
}

static void test_versions(void **state)
{
	static const struct {
		const char *version, *than;
		bool older;
	} cases[] = {
		{ "6.16.0", "6.17.0", true },
		{ "6.17.0", "6.17.0", false },
		{ "6.100.0", "6.17.0", false },
		{ "6.17", "6.17.0", false },
		{ "7", "6.17.0", false },
		{ "5", "6.17.0", true },
		{ "6.17.0-beta.1", "6.17.0", true },
		{ "6.17.1-beta.1", "6.17.0", false },
		{ "v2.1.9", "2.2.0", true },
		{ "v2.2.0", "2.2.0", false },
		{ "4.10.1", "4.11", true },
		{ "4.11", "4.11", false },
		{ "4.11.0b1", "4.11", true },
		{ "4.11.0.dev0", "4.11", true },
		{ "4.11.0.1", "4.11", false },
		{ "2.3.0+incompatible", "2.3.0", false },
		{ "", "1.0.0", false },
		{ "latest", "1.0.0", false },
		{ "99999999999999999999999.0.0", "6.17.0", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (driver_is_older(cases[i].version, cases[i].than) != cases[i].older)
			print_error("%s, %s\n", cases[i].version, cases[i].than);
		assert_int_equal(driver_is_older(cases[i].version, cases[i].than), cases[i].older);
	}
}

/* The driver that a file of this name and content is the mark of. */
static enum driver recognise(const char *grandparent, const char *parent, const char *name, const char *text, struct driver_found *found)
{
	int fd = open(config_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool known;

	found->version[0] = 0;
	if (text)
		write_text(name, text);
	known = driver_recognise(fd, grandparent, parent, name, found);
	close(fd);
	return known ? found->driver : DRIVER_NONE;
}

static void test_marks(void **state)
{
	static const struct {
		const char *grandparent, *parent, *name, *text;
		enum driver driver;
		const char *version;
	} cases[] = {
		{ "node_modules", "mongodb", "package.json", "{\"name\":\"mongodb\",\"version\":\"6.7.0\"}", DRIVER_NODE, "6.7.0" },
		{ "node_modules", "mongodb", "package.json", "{\"name\":\"other\",\"version\":\"6.7.0\"}", DRIVER_NONE, "" },
		{ "node_modules", "mongodb", "package.json", "{\"name\":\"mongodb\",\"version\":6}", DRIVER_NONE, "" },
		{ "node_modules", "mongodb", "package.json", "[\"mongodb\"]", DRIVER_NONE, "" },
		{ "node_modules", "mongodb", "package.json", "{", DRIVER_NONE, "" },
		{ "node_modules", "mongodb", "package.json", "", DRIVER_NONE, "" },
		{ "node_modules", "mongodb", "package.json", "{\"name\":\"mongodb\",\"version\":\"6.0.0\\u001b[2J\"}", DRIVER_NONE, "" },
		{ "node_modules", "mongodb", "package.json", "{\"name\":\"mongodb\",\"version\":\"\"}", DRIVER_NONE, "" },
		{ "node_modules", "mongodb", "package.json",
			"{\"name\":\"mongodb\",\"version\":\"1234567890123456789012345678901234567890\"}", DRIVER_NONE, "" },
		{ "x", "mongodb", "package.json", "{\"name\":\"mongodb\",\"version\":\"6.7.0\"}", DRIVER_NONE, "" },
		{ "", "", "pymongo-4.6.1.dist-info", NULL, DRIVER_PYMONGO, "4.6.1" },
		{ "", "", "pymongo-3.11.0.egg-info", NULL, DRIVER_PYMONGO, "3.11.0" },
		{ "", "", "pymongo-inmemory-0.2.dist-info", NULL, DRIVER_NONE, "" },
		{ "", "", "pymongo-.dist-info", NULL, DRIVER_NONE, "" },
		{ "", "", "mongodb-driver-core-5.1.0.jar", NULL, DRIVER_JAVA, "5.1.0" },
		{ "", "", "mongodb-driver-core-5.1.0-sources.jar", NULL, DRIVER_JAVA, "5.1.0-sources" },
		{ "", "", "mongodb-driver-sync-5.1.0.jar", NULL, DRIVER_NONE, "" },
		{ "", "", "go.mod", "module a\n\nrequire go.mongodb.org/mongo-driver v1.17.1\n", DRIVER_GO, "1.17.1" },
		{ "", "", "go.mod", "require (\n\tgo.mongodb.org/mongo-driver/v2 v2.2.0 // indirect\n)\n", DRIVER_GO, "2.2.0" },
		{ "", "", "go.mod", "require example.com/other v1.0.0\n", DRIVER_NONE, "" },
		{ "", "", "app.deps.json", "{\"libraries\":{\"A/1\":{},\"MongoDB.Driver/2.25.0\":{}}}", DRIVER_CSHARP, "2.25.0" },
		{ "", "", "app.deps.json", "{\"libraries\":{\"MongoDB.Driver.Core/2.25.0\":{}}}", DRIVER_NONE, "" },
		{ "", "", "app.deps.json", "{\"libraries\":[]}", DRIVER_NONE, "" },
		{ "", "", "libmongoc-1.0.so.0.0.0", NULL, DRIVER_LIBMONGOC, "1" },
		{ "", "", "libmongoc2.so.2.3.0", NULL, DRIVER_LIBMONGOC, "2.3.0" },
		{ "", "", "libmongoc2.so.2", NULL, DRIVER_NONE, "" },
	};
	struct driver_found found;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum driver driver = recognise(cases[i].grandparent, cases[i].parent, cases[i].name, cases[i].text, &found);

		if (driver != cases[i].driver)
			print_error("case %zu, %s\n", i, cases[i].name);
		assert_int_equal(driver, cases[i].driver);
		if (driver != DRIVER_NONE)
			assert_string_equal(found.version, cases[i].version);
	}
}

/* Root reads these trees, and others write them. */
static void test_hostile_files(void **state)
{
	const char *mark = "{\"name\":\"mongodb\",\"version\":\"6.7.0\"}";
	char path[200], *large = malloc(3u << 20);
	struct driver_found found;

	(void)state;
	assert_non_null(large);
	memset(large, ' ', 3u << 20);
	write_bytes("package.json", large, 3u << 20);
	assert_int_equal(recognise("node_modules", "mongodb", "package.json", NULL, &found), DRIVER_NONE);
	memset(large, '[', 1u << 19);
	write_bytes("package.json", large, 1u << 19);
	assert_int_equal(recognise("node_modules", "mongodb", "package.json", NULL, &found), DRIVER_NONE);
	free(large);
	write_text("elsewhere", mark);
	snprintf(path, sizeof(path), "%s/package.json", config_dir);
	unlink(path);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_int_equal(recognise("node_modules", "mongodb", "package.json", NULL, &found), DRIVER_NONE);
	unlink(path);
	assert_int_equal(mkfifo(path, 0666), 0);
	assert_int_equal(recognise("node_modules", "mongodb", "package.json", NULL, &found), DRIVER_NONE);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(recognise("node_modules", "mongodb", "package.json", NULL, &found), DRIVER_NONE);
	rmdir(path);
	assert_int_equal(recognise("node_modules", "mongodb", "package.json", NULL, &found), DRIVER_NONE);
}

static void test_words(void **state)
{
	static const struct {
		enum driver driver;
		const char *version;
		enum doctor_level level;
		const char *words;
	} cases[] = {
		{ DRIVER_NODE, "6.6.0", DOCTOR_WARNING, "has no MONGODB-OIDC" },
		{ DRIVER_NODE, "6.10.0", DOCTOR_WARNING, "no token file" },
		{ DRIVER_NODE, "6.14.0", DOCTOR_WARNING, "NODE-6801" },
		{ DRIVER_NODE, "6.16.0", DOCTOR_WARNING, "NODE-6962" },
		{ DRIVER_NODE, "6.17.0", DOCTOR_OK, "6.17.0 in /app" },
		{ DRIVER_PYMONGO, "4.10.1", DOCTOR_WARNING, "no token file" },
		{ DRIVER_GO, "1.16.0", DOCTOR_WARNING, "has no MONGODB-OIDC" },
		{ DRIVER_JAVA, "5.5.1", DOCTOR_WARNING, "inside a session" },
		{ DRIVER_CSHARP, "3.2.0", DOCTOR_OK, "3.2.0" },
		{ DRIVER_LIBMONGOC, "1", DOCTOR_WARNING, "has no MONGODB-OIDC" },
		{ DRIVER_LIBMONGOC, "2.3.0", DOCTOR_WARNING, "callback" },
	};
	struct doctor d = { .check = "drivers" };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct driver_found found = { .driver = cases[i].driver };

		strcpy(found.version, cases[i].version);
		driver_judge(&d, &found, "/app");
		assert_int_equal(d.count, i + 1);
		assert_int_equal(d.findings[i].level, cases[i].level);
		assert_non_null(strstr(d.findings[i].text, cases[i].words));
		assert_int_equal(d.findings[i].fix != NULL, cases[i].level != DOCTOR_OK);
	}
	assert_int_equal(doctor_count(&d, DOCTOR_WARNING), 9);
	assert_false(d.failed);
	doctor_free_findings(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_hostile_files),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, make_config_dir, remove_config_dir);
}
