/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `keyfob doctor` reads of drivers in places where others may write:
 * package.json and the like, and versions. An input is a file's name, its
 * parent's and that one's, each ended by a newline, and the content.
 *
 * links: cli/admin-doctor-drivers cli/json common/buffer
 * libs: jansson
 * parser: cli/admin-doctor-drivers
 */
#include <stdarg.h>

#include "cli/admin-doctor-drivers.h"
#include "tests/fuzz/fuzz.h"

static const uint8_t *content;
static size_t content_length;

/* Stands in for reading from the disk. */
bool doctor_slurp(int fd, const char *path, int flags, size_t limit, struct buffer *b)
{
	(void)fd, (void)path, (void)flags;
	return content_length <= limit && buffer_put(b, content, content_length);
}

/* Findings are escaped where they are shown. */
void doctor_add(struct doctor *d, enum doctor_level level, const char *subject, const char *format, ...)
{
	char text[4096];
	va_list args;

	(void)d;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fuzz_require(subject && level <= DOCTOR_ERROR);
}

void doctor_fix(struct doctor *d, const char *format, ...)
{
	(void)d, (void)format;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct driver_found found = { .version = "" };
	struct doctor d = { .check = "drivers" };
	char *name = fuzz_take_text(&data, &size, '\n'), *parent = fuzz_take_text(&data, &size, '\n');
	char *grandparent = fuzz_take_text(&data, &size, '\n');

	content = data;
	content_length = size;
	/* No directory holds a longer name. */
	if (strlen(name) <= 255 && strlen(parent) <= 255 && strlen(grandparent) <= 255 &&
		driver_recognise(-1, grandparent, parent, name, &found)) {
		fuzz_require(memchr(found.version, 0, sizeof(found.version)) && found.driver < DRIVER_NONE);
		driver_judge(&d, &found, "/opt/app");
	}
	free(name);
	free(parent);
	free(grandparent);
	return 0;
}

void fuzz_seeds(void)
{
	fuzz_text("package.json\nmongodb\nnode_modules\n{\"name\":\"mongodb\",\"version\":\"6.17.0\",\"dependencies\":{}}");
	fuzz_text("METADATA\npymongo-4.11.dist-info\nsite-packages\nMetadata-Version: 2.1\nName: pymongo\nVersion: 4.11\n");
	fuzz_text("go.mod\napp\nsrc\nmodule x\n\nrequire (\n\tgo.mongodb.org/mongo-driver/v2 v2.2.0-beta1 // indirect\n)\n");
	fuzz_text("mongodb-driver-core-5.4.0.jar\nlib\napp\n");
	fuzz_text("MongoDB.Driver.dll\nlib\nMongoDB.Driver.3.2.0\n");
	fuzz_text("libmongoc-1.0.so.0.0.0\nlib\nusr\n");
	fuzz_text("libmongoc2.so.2.3.0\nlib\nusr\n");
	fuzz_text("app.deps.json\nbin\napp\n{\"libraries\":{\"MongoDB.Driver/3.2.0\":{}}}");
}
