/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin-doctor-drivers.h"

#include <ctype.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (1u << 20)

/*
 * By the vendors' release notes, and for Node.js by trial: what an older
 * version than this one cannot do, the worst first.
 */
static const struct fault {
	enum driver driver;
	const char *before, *text;
} faults[] = {
	{ DRIVER_NODE, "6.7.0", "has no MONGODB-OIDC" },
	{ DRIVER_NODE, "6.11.0", "reads no token file (ENVIRONMENT:k8s)" },
	{ DRIVER_NODE, "6.14.1",
		"does not log in again on all connections of a pool (NODE-6801), nor ever after a refused token (NODE-6962)" },
	{ DRIVER_NODE, "6.17.0", "never recovers from a token that was refused: every new connection fails (NODE-6962)" },
	{ DRIVER_PYMONGO, "4.7", "has no MONGODB-OIDC" },
	{ DRIVER_PYMONGO, "4.11", "reads no token file (ENVIRONMENT:k8s)" },
	{ DRIVER_GO, "1.17.0", "has no MONGODB-OIDC" },
	{ DRIVER_GO, "2.2.0", "reads no token file (ENVIRONMENT:k8s)" },
	{ DRIVER_JAVA, "5.1.0", "has no MONGODB-OIDC" },
	{ DRIVER_JAVA, "5.4.0", "reads no token file (ENVIRONMENT:k8s)" },
	{ DRIVER_JAVA, "5.6.0", "does not log in again inside a session" },
	{ DRIVER_CSHARP, "2.25.0", "has no MONGODB-OIDC" },
	{ DRIVER_CSHARP, "3.2.0", "reads no token file (ENVIRONMENT:k8s)" },
	{ DRIVER_LIBMONGOC, "2.2.0", "has no MONGODB-OIDC" },
	{ DRIVER_LIBMONGOC, "2.3.0", "reads no token file (ENVIRONMENT:k8s)" },
	{ DRIVER_LIBMONGOC, "2.3.1", "does not hand the user name to the callback" },
};

static const struct {
	const char *name, *good, *get;
} drivers[] = {
	[DRIVER_NODE] = { "mongodb (Node.js)", "6.17.0", "npm install mongodb@^6.17.0" },
	[DRIVER_PYMONGO] = { "PyMongo", "4.11", "pip install 'pymongo>=4.11'" },
	[DRIVER_GO] = { "Go driver", "2.2.0", "go get go.mongodb.org/mongo-driver/v2@latest" },
	[DRIVER_JAVA] = { "Java driver", "5.6.0", "org.mongodb:mongodb-driver-sync:5.6.0 or newer" },
	[DRIVER_CSHARP] = { "C# driver", "3.2.0", "dotnet add package MongoDB.Driver" },
	[DRIVER_LIBMONGOC] = { "libmongoc", "2.3.1", "libmongoc 2.3.1 or newer" },
};

/* The number at *at, which moves on, over a point too. What is none counts as 0. */
static unsigned long take_number(const char **at)
{
	unsigned long number = 0;
	char *end;

	if (isdigit((unsigned char)**at)) {
		number = strtoul(*at, &end, 10);
		*at = end;
		*at += **at == '.' && isdigit((unsigned char)(*at)[1]);
	}
	return number;
}

bool driver_is_older(const char *version, const char *than)
{
	version += *version == 'v';
	if (!isdigit((unsigned char)*version))
		return false;
	for (int part = 0; part < 3; part++) {
		unsigned long one = take_number(&version), other = take_number(&than);

		if (one != other)
			return one < other;
	}
	/* 6.17.0-beta; PyMongo writes 4.11.0b1 and 4.11.0.dev0. */
	return *version && strchr("-.abrd", *version);
}

/* --- what tells a driver ---------------------------------------------------------- */

static bool take_version(struct driver_found *found, enum driver driver, const char *version, size_t length)
{
	if (!length || length >= sizeof(found->version))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)version[i]) && !strchr(".-+", version[i]))
			return false;
	found->driver = driver;
	snprintf(found->version, sizeof(found->version), "%.*s", (int)length, version);
	return true;
}

/* "pymongo-4.6.1.dist-info" by head "pymongo-" and tail ".dist-info". */
static bool between(struct driver_found *found, enum driver driver, const char *name, const char *head, const char *tail)
{
	size_t all = strlen(name), front = strlen(head), back = strlen(tail);

	if (all <= front + back || strncmp(name, head, front) != 0 || strcmp(name + all - back, tail) != 0)
		return false;
	return isdigit((unsigned char)name[front]) && take_version(found, driver, name + front, all - front - back);
}

static bool read_text(int fd, const char *name, struct buffer *b)
{
	buffer_init(b, FILE_MAX + 8192);
	return doctor_slurp(fd, name, O_NOFOLLOW, FILE_MAX, b) && buffer_cstring(b);
}

static bool read_package_json(int fd, const char *name, struct driver_found *found)
{
	const char *package, *version;
	json_t *top = NULL;
	struct buffer b;
	bool ok = false;

	if (read_text(fd, name, &b))
		top = json_loadb((const char *)b.data, b.length, 0, NULL);
	package = json_string_value(json_object_get(top, "name"));
	version = json_string_value(json_object_get(top, "version"));
	if (package && version && strcmp(package, "mongodb") == 0)
		ok = take_version(found, DRIVER_NODE, version, strlen(version));
	json_decref(top);
	buffer_free(&b);
	return ok;
}

/* A requirement "go.mongodb.org/mongo-driver/v2 v2.2.0", alone or in a block. */
static bool read_go_mod(int fd, const char *name, struct driver_found *found)
{
	static const char *const paths[] = { "go.mongodb.org/mongo-driver/v2 v", "go.mongodb.org/mongo-driver v" };
	struct buffer b;
	bool ok = false;

	if (read_text(fd, name, &b))
		for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]) && !ok; i++) {
			const char *at = strstr((const char *)b.data, paths[i]);

			at = at ? at + strlen(paths[i]) : NULL;
			ok = at && take_version(found, DRIVER_GO, at, strcspn(at, " \t\r\n"));
		}
	buffer_free(&b);
	return ok;
}

/* Of a program made by dotnet publish: "MongoDB.Driver/3.1.0" is a member of "libraries". */
static bool read_deps_json(int fd, const char *name, struct driver_found *found)
{
	const char *head = "MongoDB.Driver/", *key;
	json_t *top = NULL, *value;
	struct buffer b;
	bool ok = false;

	if (read_text(fd, name, &b))
		top = json_loadb((const char *)b.data, b.length, 0, NULL);
	json_object_foreach(json_object_get(top, "libraries"), key, value) if (!ok && strncmp(key, head, strlen(head)) == 0) ok =
		take_version(found, DRIVER_CSHARP, key + strlen(head), strlen(key + strlen(head)));
	json_decref(top);
	buffer_free(&b);
	return ok;
}

bool driver_recognise(int fd, const char *grandparent, const char *parent, const char *name, struct driver_found *found)
{
	if (strcmp(name, "package.json") == 0)
		return strcmp(parent, "mongodb") == 0 && strcmp(grandparent, "node_modules") == 0 && read_package_json(fd, name, found);
	if (strcmp(name, "go.mod") == 0)
		return read_go_mod(fd, name, found);
	if (fnmatch("*.deps.json", name, 0) == 0)
		return read_deps_json(fd, name, found);
	if (strncmp(name, "libmongoc-1.0.so.", 17) == 0)
		return take_version(found, DRIVER_LIBMONGOC, "1", 1);
	if (strncmp(name, "libmongoc2.so.", 14) == 0 && strchr(name + 14, '.'))
		return take_version(found, DRIVER_LIBMONGOC, name + 14, strlen(name + 14));
	return between(found, DRIVER_PYMONGO, name, "pymongo-", ".dist-info") ||
	       between(found, DRIVER_PYMONGO, name, "pymongo-", ".egg-info") ||
	       between(found, DRIVER_JAVA, name, "mongodb-driver-core-", ".jar");
}

void driver_judge(struct doctor *d, const struct driver_found *found, const char *place)
{
	const char *name = drivers[found->driver].name;

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		if (faults[i].driver != found->driver || !driver_is_older(found->version, faults[i].before))
			continue;
		doctor_warning(d, name, "%s in %s %s", found->version, place, faults[i].text);
		doctor_fix(d, "%s", drivers[found->driver].get);
		return;
	}
	doctor_ok(d, name, "%s in %s", found->version, place);
}
