/* SPDX-License-Identifier: Apache-2.0 */
/* One `provider =` line: its words, and what its module's own table says of them. */
#include "broker/policy.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/wire.h"

#define WORDS_MAX 128
#define LINE_MAX_BYTES 4096
#define DESCRIPTION_MAX WIRE_MAX

void policy_error(const struct policy_fault *at, const char *format, ...)
{
	char text[1024], shown[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	buffer_printf(at->errors, "%s:%u: %s\n", at->file, at->line, log_escape(text, shown, sizeof(shown)));
}

/* --- words --------------------------------------------------------------------- */

/* One word into out; double quotes keep blanks, \" and \\ stand for themselves within them. Returns what follows, NULL on a fault. */
static const char *next_word(const char *at, char *out, const char **fault)
{
	bool quoted = false;

	for (; *at && (quoted || (*at != ' ' && *at != '\t')); at++) {
		if (*at == '"') {
			quoted = !quoted;
		} else if (quoted && *at == '\\') {
			if (at[1] != '"' && at[1] != '\\') {
				*fault = "within quotes a backslash stands before \" or \\ only";
				return NULL;
			}
			*out++ = *++at;
		} else {
			*out++ = *at;
		}
	}
	*out = 0;
	if (quoted)
		*fault = "a quote is not closed";
	return quoted ? NULL : at + strspn(at, " \t");
}

static bool split(const char *text, char **words, size_t *count, const struct policy_fault *at)
{
	char word[LINE_MAX_BYTES + 1];
	const char *fault = "too many words";

	*count = 0;
	if (strlen(text) > LINE_MAX_BYTES) {
		policy_error(at, "a provider line has at most %d bytes", LINE_MAX_BYTES);
		return false;
	}
	text += strspn(text, " \t");
	while (*text) {
		text = *count < WORDS_MAX ? next_word(text, word, &fault) : NULL;
		if (!text) {
			policy_error(at, "%s", fault);
			return false;
		}
		words[*count] = strdup(word);
		if (!words[(*count)++])
			return false;
	}
	return true;
}

/* --- the module's table ----------------------------------------------------------- */

static bool read_table(struct policy_module *m, struct reader *r)
{
	size_t length;

	free(reader_dup(r, 1024)); /* the help */
	m->sandbox = reader_u8(r);
	m->kind = reader_u8(r);
	reader_string(r, &length); /* the example */
	m->count = reader_u32(r);
	if (r->failed || m->count > 256) {
		m->count = 0;
		return false;
	}
	m->options = calloc(m->count + 1, sizeof(*m->options));
	for (size_t i = 0; m->options && i < m->count; i++) {
		m->options[i].name = reader_dup(r, 64);
		m->options[i].type = reader_u8(r);
		m->options[i].flags = reader_u8(r);
		m->options[i].values = reader_dup(r, 1024);
		reader_string(r, &length);
	}
	return m->options && reader_done(r) && m->sandbox <= KEYFOB_SANDBOX_FILE && m->kind != KEYFOB_KIND_DEFAULT &&
	       m->kind <= KEYFOB_KIND_DOCUMENT;
}

void policy_free_modules(struct policy_module *modules)
{
	while (modules) {
		struct policy_module *next = modules->next;

		for (size_t i = 0; i < modules->count; i++) {
			free(modules->options[i].name);
			free(modules->options[i].values);
		}
		free(modules->options);
		free(modules->name);
		free(modules);
		modules = next;
	}
}

static struct policy_module *describe(
	struct policy *policy, const struct policy_source *source, const char *name, const struct policy_fault *at)
{
	struct policy_module *m;
	struct buffer frame;
	struct reader r;
	char text[WIRE_TEXT_MAX];
	int error;

	for (m = policy->modules; m; m = m->next)
		if (strcmp(m->name, name) == 0)
			return m;
	buffer_init(&frame, DESCRIPTION_MAX);
	error = source->describe(source->arg, name, &frame);
	reader_init(&r, frame.data, frame.length);
	m = calloc(1, sizeof(*m));
	if (error < 0) {
		policy_error(at, "module %s cannot be described: %s", name, strerror(-error));
	} else if (m && reader_u8(&r) == WIRE_VERSION && reader_u8(&r) == 0) {
		m->name = reader_dup(&r, WIRE_NAME_MAX);
		if (m->name && strcmp(m->name, name) == 0 && read_table(m, &r)) {
			m->next = policy->modules;
			policy->modules = m;
			buffer_free(&frame);
			return m;
		}
		policy_error(at, "module %s describes itself in a way that cannot be read", name);
	} else {
		reader_text(&r, text, sizeof(text));
		policy_error(at, "module %s: %s", name, r.failed ? "cannot be described" : text);
	}
	policy_free_modules(m);
	buffer_free(&frame);
	return NULL;
}

static bool is_choice(const char *values, const char *value)
{
	size_t length = strlen(value);

	while (length && values) {
		size_t word = strcspn(values, "|");

		if (word == length && strncmp(values, value, word) == 0)
			return true;
		values = values[word] ? values + word + 1 : NULL;
	}
	return false;
}

static bool is_url(const char *value)
{
	const char *host = strncmp(value, "http://", 7) == 0 ? value + 7 : strncmp(value, "https://", 8) == 0 ? value + 8 : "";

	return *host && !strchr("/:?#", *host) && !strpbrk(value, " \t\"\\");
}

/* NULL if the value is good, else what it must be. */
static const char *check_value(const struct policy_option *option, const char *value)
{
	unsigned int seconds;

	switch (option->type) {
	case KEYFOB_OPTION_CHOICE:
		return is_choice(option->values, value) ? NULL : option->values;
	case KEYFOB_OPTION_URL:
		return is_url(value) ? NULL : "a URL: http://HOST or https://HOST";
	case KEYFOB_OPTION_SECONDS:
		return config_seconds(value, &seconds) && seconds > 0 ? NULL : "a duration: 30s, 5m, 1h";
	case KEYFOB_OPTION_FILE:
		return value[0] == '/' ? NULL : "an absolute path";
	case KEYFOB_OPTION_CREDENTIAL:
		return wire_name_valid(value) ? NULL : "a credential's name";
	case KEYFOB_OPTION_FLAG:
		return strcmp(value, "yes") == 0 || strcmp(value, "no") == 0 ? NULL : "yes or no";
	default:
		return *value ? NULL : "not empty";
	}
}

static void tell_known_options(const struct policy_module *m, const char *name, const struct policy_fault *at)
{
	struct buffer known;
	const char *text;

	buffer_init(&known, 4096);
	for (size_t i = 0; i < m->count; i++)
		if (!(m->options[i].flags & KEYFOB_OPTION_ARGUMENTS))
			buffer_printf(&known, "%s, ", m->options[i].name);
	text = buffer_cstring(&known);
	policy_error(at, "%s has no option %s (it has: %srun_as, ttl, timeout)", m->name, name, text ? text : "");
	buffer_free(&known);
}

/* --- variables of the caller of get --direct -------------------------------------------- */

/* The NAME of env:NAME, or NULL. */
static const char *variable_name(const char *value)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
	const char *name = strncmp(value, "env:", 4) == 0 ? value + 4 : "";

	return *name && (*name < '0' || *name > '9') && !name[strspn(name, letters)] ? name : NULL;
}

static const char *check_variable(const struct policy_option *option, bool is_secret, const char *text)
{
	if (!text || !*text)
		return "is not set";
	if (strlen(text) > (is_secret ? WIRE_SECRET_MAX : LINE_MAX_BYTES))
		return "is too long";
	for (const char *at = text; !is_secret && *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return "holds more than one line of text";
	return is_secret || !check_value(option, text) ? NULL : "holds what this option does not take";
}

/*
 * What the variable holds takes the place of env:NAME; a secret is handed over
 * later, as a file's content would be. Where it is of no use, this line fails
 * when it is tried: other credentials of the configuration need no such variable.
 */
static bool take_variable(struct policy_provider *p, const struct policy_source *source, const struct policy_option *option,
	struct policy_setting *setting, const struct policy_fault *at)
{
	const char *name = variable_name(setting->value), *text, *fault;

	if (!source->variable) {
		policy_error(at, "%s=%s: variables are for keyfob get --direct; a broker has not those of its callers", setting->name,
			setting->value);
		return false;
	}
	text = source->variable(source->arg, name);
	fault = check_variable(option, setting->is_secret, text);
	if (fault) {
		if (!p->fault &&
			asprintf(&p->fault, "%s=%s: the environment variable %s %s", setting->name, setting->value, name, fault) < 0)
			p->fault = NULL;
		return p->fault != NULL;
	}
	if (setting->is_secret) {
		setting->content = text;
		return true;
	}
	free(setting->value);
	setting->value = strdup(text);
	return setting->value != NULL;
}

/* --- one line ------------------------------------------------------------------------ */

static bool take_common_option(struct policy_provider *p, const char *name, const char *value, const struct policy_fault *at, bool *ok)
{
	unsigned int *seconds = strcmp(name, "ttl") == 0 ? &p->ttl : strcmp(name, "timeout") == 0 ? &p->timeout : NULL;

	*ok = false;
	if (strcmp(name, "run_as") == 0 ? p->run_as_name != NULL : seconds && *seconds) {
		policy_error(at, "option %s is given twice", name);
		return true;
	}
	if (strcmp(name, "run_as") == 0) {
		p->run_as_name = strdup(value);
		*ok = p->run_as_name && *value;
		if (!*ok)
			policy_error(at, "run_as names a user");
		return true;
	}
	if (!seconds)
		return false;
	*ok = config_seconds(value, seconds) && *seconds > 0;
	if (!*ok)
		policy_error(at, "%s must be a duration: 30s, 5m, 1h", name);
	else if (seconds == &p->timeout && p->timeout > 120) {
		*ok = false;
		policy_error(at, "timeout is at most 120s");
	}
	return true;
}

static bool take_setting(struct policy_provider *p, const struct policy_source *source, const struct policy_module *m, char *word,
	const struct policy_fault *at)
{
	const struct policy_option *option = NULL;
	struct policy_setting *setting;
	char *value = strchr(word, '=');
	bool ok, by_variable;
	const char *must;

	if (!value) {
		policy_error(at, "\"%s\" is not option=value (a program and its arguments come after the word --)", word);
		return false;
	}
	*value++ = 0;
	if (take_common_option(p, word, value, at, &ok))
		return ok;
	for (size_t i = 0; i < m->count; i++)
		if (!(m->options[i].flags & KEYFOB_OPTION_ARGUMENTS) && strcmp(m->options[i].name, word) == 0)
			option = &m->options[i];
	if (!option) {
		tell_known_options(m, word, at);
		return false;
	}
	for (size_t i = 0; i < p->count; i++) {
		if (strcmp(p->settings[i].name, word) == 0) {
			policy_error(at, "option %s is given twice", word);
			return false;
		}
	}
	by_variable = option->type != KEYFOB_OPTION_CREDENTIAL && variable_name(value);
	must = by_variable ? NULL : check_value(option, value);
	if (must) {
		policy_error(at, "option %s must be %s", word, must);
		return false;
	}
	setting = &p->settings[p->count];
	setting->type = option->type;
	setting->is_secret = option->type == KEYFOB_OPTION_CREDENTIAL || option->flags & KEYFOB_OPTION_SECRET;
	setting->name = strdup(word);
	setting->value = strdup(value);
	if (setting->name && setting->value && (!by_variable || take_variable(p, source, option, setting, at))) {
		p->count++;
		return true;
	}
	free(setting->name);
	free(setting->value);
	return false;
}

static bool check_required(const struct policy_provider *p, const struct policy_module *m, const struct policy_fault *at)
{
	bool ok = true, takes_arguments = false;

	for (size_t i = 0; i < m->count; i++) {
		const struct policy_option *option = &m->options[i];
		bool given = false;

		takes_arguments = takes_arguments || (option->flags & KEYFOB_OPTION_ARGUMENTS);
		if (!(option->flags & KEYFOB_OPTION_REQUIRED))
			continue;
		for (size_t j = 0; j < p->count; j++)
			given = given || strcmp(p->settings[j].name, option->name) == 0;
		if (option->flags & KEYFOB_OPTION_ARGUMENTS)
			given = p->arguments > 0;
		if (!given) {
			policy_error(at,
				option->flags & KEYFOB_OPTION_ARGUMENTS ? "%s wants the words -- %s" : "%s wants the option %s=", m->name,
				option->name);
			ok = false;
		}
	}
	if (p->arguments && !takes_arguments) {
		policy_error(at, "%s takes no words after --", m->name);
		ok = false;
	}
	return ok;
}

static bool take_words(struct policy_provider *p, const struct policy_source *source, const struct policy_module *m, char **words,
	size_t count, const struct policy_fault *at)
{
	bool ok = true;
	size_t i;

	p->settings = calloc(count + 1, sizeof(*p->settings));
	p->argument = calloc(count + 1, sizeof(*p->argument));
	if (!p->settings || !p->argument)
		return false;
	for (i = 1; i < count && strcmp(words[i], "--") != 0; i++)
		ok = take_setting(p, source, m, words[i], at) && ok;
	for (i++; i < count; i++) {
		p->argument[p->arguments++] = words[i];
		words[i] = NULL;
	}
	return check_required(p, m, at) && ok;
}

bool policy_parse_provider(struct policy *policy, const struct policy_source *source, const char *text, struct policy_provider *provider,
	const struct policy_fault *at)
{
	char *words[WORDS_MAX] = { NULL };
	struct policy_module *m;
	size_t count;
	bool ok = false;

	if (!split(text, words, &count, at))
		goto out;
	if (count == 0 || !wire_name_valid(words[0])) {
		policy_error(at, "provider wants a module's name first (keyfob module list)");
		goto out;
	}
	m = describe(policy, source, words[0], at);
	if (!m)
		goto out;
	if (m->kind == KEYFOB_KIND_DOCUMENT) {
		policy_error(at, "the module %s gives no tokens: it is keyfob's own, for identity providers", m->name);
		goto out;
	}
	provider->line = strdup(text);
	provider->module = strdup(m->name);
	provider->sandbox = m->sandbox;
	provider->kind = m->kind;
	provider->run_as = (uid_t)-1;
	ok = provider->line && provider->module && take_words(provider, source, m, words, count, at);
	if (!provider->timeout)
		provider->timeout = POLICY_TIMEOUT;
	/* Code run as a user is that user's: it gets no secret that he may not read. */
	for (size_t i = 0; ok && provider->run_as_name && i < provider->count; i++) {
		if (provider->settings[i].is_secret) {
			policy_error(at, "run_as and the secret option %s exclude each other", provider->settings[i].name);
			ok = false;
		}
	}
	if (ok && m->sandbox == KEYFOB_SANDBOX_EXEC && !provider->run_as_name && !source->own) {
		policy_error(at, "%s runs a program and must say as whom: run_as=USER", m->name);
		ok = false;
	}
out:
	for (size_t i = 0; i < WORDS_MAX; i++)
		free(words[i]);
	return ok;
}

void policy_free_provider(struct policy_provider *provider)
{
	for (size_t i = 0; i < provider->count; i++) {
		free(provider->settings[i].name);
		free(provider->settings[i].value);
	}
	for (size_t i = 0; i < provider->arguments; i++)
		free(provider->argument[i]);
	free(provider->settings);
	free(provider->argument);
	free(provider->run_as_name);
	free(provider->fault);
	free(provider->module);
	free(provider->line);
}
