/* SPDX-License-Identifier: Apache-2.0 */
#include "common/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ini_configobj.h>
#include <ini_valueobj.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"

#define FILE_MAX (4u << 20)
#define SECONDS_MAX (10u * 366 * 86400)

/* Also where an ordinary user reads what is his own, as keyfobd --user does. */
static const char *owners(void)
{
	return geteuid() == 0 ? "root" : "root or by you";
}

static bool is_safe(const struct stat *st)
{
	return (st->st_uid == 0 || st->st_uid == geteuid()) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

/* What may be read is what only root may write; and who may write the directory may replace the file. */
static bool check_directory(const char *path, struct buffer *errors)
{
	char copy[PATH_MAX];
	const char *directory;
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", path);
	directory = dirname(copy);
	if (stat(directory, &st) < 0) {
		buffer_printf(errors, "%s: %s\n", directory, strerror(errno));
		return false;
	}
	if (is_safe(&st))
		return true;
	buffer_printf(
		errors, "%s: must be owned by %s and not writable by group or others (chown root; chmod go-w)\n", directory, owners());
	return false;
}

static bool read_file(const char *path, struct buffer *content, struct buffer *errors)
{
	struct stat st;
	ssize_t got = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) < 0) {
		buffer_printf(errors, "%s: %s%s\n", path, strerror(errno),
			errno == EACCES ? " (its readers are root and keyfob-verify: chmod 0644; or chgrp keyfob-verify, chmod 0640)" : "");
		goto out;
	}
	if (!S_ISREG(st.st_mode) || !is_safe(&st)) {
		buffer_printf(errors, "%s: must be a file owned by %s and not writable by group or others (chown root; chmod go-w)\n", path,
			owners());
		goto out;
	}
	for (;;) {
		uint8_t *to = buffer_reserve(content, 16384);

		got = to ? read(fd, to, 16384) : -1;
		if (got <= 0)
			break;
		content->length += (size_t)got;
	}
	if (got < 0)
		buffer_printf(errors, "%s: %s\n", path, content->failed ? "is larger than 4 MiB" : strerror(errno));
	else if (content->length && memchr(content->data, 0, content->length)) {
		buffer_printf(errors, "%s: holds a NUL byte\n", path);
		got = -1;
	}
out:
	if (fd >= 0)
		close(fd);
	return got == 0;
}

/* The library says "Error (5) on line 11: Equal sign is missing." */
static void report_syntax(struct ini_cfgobj *ini, const char *path, struct buffer *errors)
{
	char **lines = NULL;
	int code, line, at;

	ini_config_get_errors(ini, &lines);
	for (size_t i = 0; lines && lines[i]; i++) {
		if (sscanf(lines[i], "Error (%d) on line %d: %n", &code, &line, &at) == 2)
			buffer_printf(errors, "%s:%d: %s\n", path, line,
				code == ERR_DUPSECTION ? "this section stands here for the second time" : lines[i] + at);
		else
			buffer_printf(errors, "%s: %s\n", path, lines[i]);
	}
	if (!lines)
		buffer_printf(errors, "%s: is not a configuration file\n", path);
	else
		ini_config_free_errors(lines);
}

static bool add_entry(struct config_section *section, const char *key, const char *value, unsigned int line)
{
	struct config_entry *grown = reallocarray(section->entries, section->count + 1, sizeof(*grown));

	if (!grown)
		return false;
	section->entries = grown;
	grown += section->count;
	grown->key = strdup(key);
	grown->value = strdup(value);
	grown->line = line;
	if (grown->key && grown->value) {
		section->count++;
		return true;
	}
	free(grown->key);
	free(grown->value);
	return false;
}

/* The library gathers the values of one key; the order of the file is that of the lines. */
static int by_line(const void *a, const void *b)
{
	const struct config_entry *x = a, *y = b;

	return x->line < y->line ? -1 : x->line > y->line;
}

static bool take_entries(struct ini_cfgobj *ini, const char *title, struct config_section *section)
{
	int count = 0;
	char **keys = ini_get_attribute_list(ini, title, &count, NULL);
	bool ok = keys != NULL;

	for (int i = 0; i < count && ok; i++) {
		struct value_obj *value = NULL;
		int mode = INI_GET_FIRST_VALUE;
		bool seen = false;

		/* A key that repeats is listed as often as it stands there. */
		for (int j = 0; j < i; j++)
			seen = seen || strcasecmp(keys[i], keys[j]) == 0;
		while (!seen && ok && ini_get_config_valueobj(title, keys[i], ini, mode, &value) == 0 && value) {
			uint32_t line = 0;
			const char *text = ini_get_const_string_config_value(value, NULL);

			value_get_line(value, &line);
			ok = add_entry(section, keys[i], text ? text : "", line);
			mode = INI_GET_NEXT_VALUE;
		}
	}
	ini_free_attribute_list(keys);
	if (section->count) {
		qsort(section->entries, section->count, sizeof(*section->entries), by_line);
		section->line = section->entries[0].line;
	}
	return ok;
}

/* A team's file must not widen what another team's file says. */
static void check_first(const struct config *config, const struct config_section *new, struct buffer *errors)
{
	char name[256];

	for (size_t i = 0; i < config->count; i++) {
		const struct config_section *s = &config->sections[i];

		if (strcmp(s->type, new->type) == 0 && strcmp(s->name, new->name) == 0)
			buffer_printf(errors, "%s:%u: [%s %s] stands already in %s:%u; a section may be given once\n", new->file, new->line,
				new->type, log_escape(new->name, name, sizeof(name)), s->file, s->line);
	}
}

/* The library tells where a key stands, but not where a section begins. */
static unsigned int find_title(const struct buffer *content, const char *title, unsigned int otherwise)
{
	const char *at = (const char *)content->data, *end = at + content->length;
	size_t length = strlen(title);

	for (unsigned int line = 1; at < end; line++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at)), *begin = at;

		stop = stop ? stop : end;
		while (begin < stop && (*begin == ' ' || *begin == '\t'))
			begin++;
		if ((size_t)(stop - begin) >= length + 2 && *begin == '[' && memcmp(begin + 1, title, length) == 0 &&
			begin[length + 1] == ']')
			return line;
		at = stop + 1;
	}
	return otherwise;
}

static void free_section(struct config_section *s)
{
	for (size_t j = 0; j < s->count; j++) {
		free(s->entries[j].key);
		free(s->entries[j].value);
	}
	free(s->entries);
	free(s->type);
	free(s->name);
	free(s->file);
}

static bool take_section(struct ini_cfgobj *ini, const char *path, const struct buffer *content, const char *title, struct config *config,
	struct buffer *errors)
{
	struct config_section *grown = reallocarray(config->sections, config->count + 1, sizeof(*grown)), section = { 0 };
	size_t type = strcspn(title, " \t");
	const char *name = title + type + strspn(title + type, " \t");
	bool ok;

	if (!grown)
		return false;
	config->sections = grown;
	section.type = strndup(title, type);
	section.name = strdup(name);
	section.file = strdup(path);
	ok = section.type && section.name && section.file && take_entries(ini, title, &section);
	if (ok) {
		section.line = find_title(content, title, section.line ? section.line : 1);
		check_first(config, &section, errors);
		grown[config->count++] = section;
	} else {
		free_section(&section);
	}
	return ok;
}

static void load_file(const char *path, struct config *config, struct buffer *errors)
{
	struct ini_cfgfile *file = NULL;
	struct ini_cfgobj *ini = NULL;
	struct buffer content;
	char **titles = NULL;
	int count = 0, error;

	buffer_init(&content, FILE_MAX);
	if (!read_file(path, &content, errors) || content.length == 0)
		goto out;
	error = ini_config_create(&ini);
	if (error == 0)
		error = ini_config_file_from_mem(content.data, (uint32_t)content.length, &file);
	if (error) {
		buffer_printf(errors, "%s: %s\n", path, error == EILSEQ ? "is not UTF-8 text" : strerror(error));
		goto out;
	}
	if (ini_config_parse(file, INI_STOP_ON_NONE, INI_MS_ERROR | INI_MV1S_ALLOW | INI_MV2S_ERROR,
		    INI_PARSE_NOWRAP | INI_PARSE_NO_C_COMMENTS, ini)) {
		report_syntax(ini, path, errors);
		goto out;
	}
	titles = ini_get_section_list(ini, &count, NULL);
	for (int i = 0; titles && i < count; i++)
		if (!take_section(ini, path, &content, titles[i], config, errors))
			buffer_printf(errors, "%s: out of memory\n", path);
out:
	ini_free_section_list(titles);
	if (file)
		ini_config_file_destroy(file);
	if (ini)
		ini_config_destroy(ini);
	buffer_free(&content);
}

static int is_drop_in(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".conf") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_drop_ins(const char *path, struct config *config, struct buffer *errors)
{
	char copy[PATH_MAX], file[PATH_MAX + NAME_MAX + 16], directory[PATH_MAX + 8];
	struct dirent **entries = NULL;
	bool safe = false;
	int count;

	snprintf(copy, sizeof(copy), "%s", path);
	snprintf(directory, sizeof(directory), "%s/conf.d", dirname(copy));
	count = scandir(directory, &entries, is_drop_in, by_name);
	if (count < 0 && errno != ENOENT)
		buffer_printf(errors, "%s: %s\n", directory, strerror(errno));
	for (int i = 0; i < count; i++) {
		snprintf(file, sizeof(file), "%s/%s", directory, entries[i]->d_name);
		safe = i == 0 ? check_directory(file, errors) : safe;
		if (safe)
			load_file(file, config, errors);
		free(entries[i]);
	}
	free(entries);
}

bool config_load(const char *path, struct config *config, struct buffer *errors)
{
	memset(config, 0, sizeof(*config));
	if (check_directory(path, errors)) {
		load_file(path, config, errors);
		load_drop_ins(path, config, errors);
	}
	return errors->length == 0 && !errors->failed;
}

void config_free(struct config *config)
{
	for (size_t i = 0; i < config->count; i++)
		free_section(&config->sections[i]);
	free(config->sections);
	memset(config, 0, sizeof(*config));
}

const char *config_value(const struct config_section *section, const char *key)
{
	for (size_t i = 0; i < section->count; i++)
		if (strcmp(section->entries[i].key, key) == 0)
			return section->entries[i].value;
	return NULL;
}

bool config_says_yes(const struct config_section *section, const char *key)
{
	const char *value = config_value(section, key);

	return value && strcmp(value, "yes") == 0;
}

bool config_seconds(const char *text, unsigned int *seconds)
{
	static const struct {
		char unit;
		unsigned int factor;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	unsigned long long value, factor = 1;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	for (size_t i = 0; *end && i < sizeof(units) / sizeof(units[0]); i++) {
		if (*end == units[i].unit && !end[1]) {
			factor = units[i].factor;
			end++;
		}
	}
	if (errno || *end || value > SECONDS_MAX || value * factor > SECONDS_MAX)
		return false;
	*seconds = (unsigned int)(value * factor);
	return true;
}
