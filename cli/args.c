/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyring/client.h"

#define WORDS_MAX 64 /* verbs or options in a table, for suggestions */
#define WORD_MAX 32 /* longer ones are nobody's typing slip */
#define USAGE_OPTIONS 6 /* that a usage line names one by one */

static const struct cli_option global_options[] = {
	{ "config", "FILE", "the configuration", false },
	{ "socket", "PATH", "the broker's socket", false },
	{ "help", NULL, "this text, or that of a verb", false },
	{ "version", NULL, "the version", false },
	{ 0 },
};

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The number of typing slips between two words: a letter more, less, other, or two swapped. */
static size_t distance(const char *a, const char *b)
{
	size_t cost[WORD_MAX + 1][WORD_MAX + 1], la = strlen(a), lb = strlen(b);

	if (la > WORD_MAX || lb > WORD_MAX)
		return WORD_MAX;
	for (size_t i = 0; i <= la; i++) {
		for (size_t j = 0; j <= lb; j++) {
			if (i == 0 || j == 0) {
				cost[i][j] = i + j;
				continue;
			}
			cost[i][j] = least(cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]), least(cost[i - 1][j], cost[i][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				cost[i][j] = least(cost[i][j], cost[i - 2][j - 2] + 1);
		}
	}
	return cost[la][lb];
}

const char *cli_nearest(const char *word, const char *const *list)
{
	size_t best = strlen(word) < 4 ? 2 : 3;
	const char *found = NULL;

	for (; *list; list++) {
		size_t d = distance(word, *list);

		if (d < best && d < strlen(*list)) {
			best = d;
			found = *list;
		}
	}
	return found;
}

/* The length of a verb's first word. */
static size_t first_word(const char *name)
{
	return strcspn(name, " ");
}

static void put_usage(struct buffer *b, const struct cli_verb *verb)
{
	int count = 0;

	buffer_printf(b, "usage: keyfob %s", verb->name);
	if (verb->operands[0] && verb->most != CLI_COMMAND)
		buffer_printf(b, " %s", verb->operands);
	for (const struct cli_option *o = verb->options; o && o->name; o++)
		count++;
	if (count > USAGE_OPTIONS)
		buffer_printf(b, " [--OPTION=VALUE ...]");
	for (const struct cli_option *o = verb->options; o && o->name && count <= USAGE_OPTIONS; o++)
		buffer_printf(b, o->argument ? " [--%s=%s]" : " [--%s]", o->name, o->argument);
	if (verb->most == CLI_COMMAND)
		buffer_printf(b, " %s", verb->operands);
	buffer_put(b, "\n", 1);
}

static void put_options(struct buffer *b, const struct cli_option *options)
{
	for (const struct cli_option *o = options; o && o->name; o++) {
		char left[40];

		snprintf(left, sizeof(left), "--%s%s%s", o->name, o->argument ? "=" : "", o->argument ? o->argument : "");
		buffer_printf(b, "  %-19s %s\n", left, o->help);
	}
}

static void put_verb_help(struct buffer *b, const struct cli_verb *verb)
{
	put_usage(b, verb);
	buffer_printf(b, "\n%s\n", verb->help);
	if (verb->options) {
		buffer_put(b, "\n", 1);
		put_options(b, verb->options);
	}
	if (verb->more)
		buffer_printf(b, "\n%s", verb->more);
}

static void put_help(struct buffer *b, const struct cli_verb *table)
{
	buffer_printf(b, "usage: keyfob [--config FILE] [--socket PATH] VERB ...\n\n");
	for (const struct cli_verb *v = table; v->name; v++) {
		char left[64];

		snprintf(left, sizeof(left), "%s %s", v->name, v->operands);
		buffer_printf(b, "  %-23s %s\n", left, v->help);
	}
	buffer_put(b, "\n", 1);
	put_options(b, global_options);
	buffer_printf(b, "\nkeyfob help VERB tells more. Exit codes: 0 done, 1 other failure, 2 usage,\n"
			 "3 no such credential, 4 denied, 5 provider refused, 6 broker unreachable,\n"
			 "7 token refused, 8 try again later. See keyfob(1).\n");
}

static int print(struct buffer *b)
{
	int code = cli_output(b);

	buffer_free(b);
	return code;
}

/* The lines for a wrong command line: what is wrong, then how it is right. */
static int complain(const struct cli_verb *verb, const char *text)
{
	struct buffer b;

	cli_fail(KEYFOB_EINVAL, verb ? verb->name : NULL, "%s", text);
	buffer_init(&b, WIRE_MAX);
	if (verb)
		put_usage(&b, verb);
	else
		buffer_printf(&b, "usage: keyfob [--config FILE] [--socket PATH] VERB ..."
				  " (keyfob --help lists the verbs)\n");
	fwrite(b.data, 1, b.length, stderr);
	buffer_free(&b);
	return -KEYFOB_EINVAL;
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return complain(cli->verb, text);
}

static int unknown_option(const struct cli *cli, const struct cli_option *options, const char *argument)
{
	char word[WORD_MAX + 1];
	const char *list[WORDS_MAX] = { "help" };
	const char *near;
	int n = 1;

	snprintf(word, sizeof(word), "%.*s", (int)strcspn(argument + 2, "="), argument + 2);
	for (const struct cli_option *o = options; o && o->name && n < WORDS_MAX - 1; o++)
		list[n++] = o->name;
	near = strncmp(argument, "--", 2) == 0 ? cli_nearest(word, list) : NULL;
	if (near)
		return cli_usage(cli, "unknown option %s (did you mean --%s?)", argument, near);
	return cli_usage(cli, "unknown option %s", argument);
}

/*
 * Read one option at argv[*at] into value[], and step over its value.
 * Returns its place in the table, or -1 with the complaint made.
 */
static int read_option(const struct cli *cli, const struct cli_option *options, int argc, char **argv, int *at, const char **value)
{
	const char *name = argv[*at] + 2;
	size_t length = strcspn(name, "=");

	for (int i = 0; options && options[i].name; i++) {
		if (strlen(options[i].name) != length || strncmp(options[i].name, name, length) != 0)
			continue;
		if (!options[i].argument && name[length]) {
			cli_usage(cli, "--%s takes no value", options[i].name);
			return -1;
		}
		if (!options[i].argument)
			value[i] = "";
		else if (name[length])
			value[i] = name + length + 1;
		else if (*at + 1 < argc)
			value[i] = argv[++*at];
		else {
			cli_usage(cli, "--%s needs a value, %s", options[i].name, options[i].argument);
			return -1;
		}
		return i;
	}
	unknown_option(cli, options, argv[*at]);
	return -1;
}

static bool has_option(const struct cli_option *options, const char *name)
{
	for (; options && options->name; options++)
		if (strcmp(options->name, name) == 0)
			return true;
	return false;
}

/* Does a verb begin with this word, whole? */
static bool begins(const struct cli_verb *verb, const char *word)
{
	size_t length = first_word(verb->name);

	return strlen(word) == length && strncmp(word, verb->name, length) == 0;
}

static void unknown_verb(const struct cli_verb *table, const char *word)
{
	char first[WORDS_MAX][WORD_MAX + 1] = { "help" }, text[256];
	const char *list[WORDS_MAX + 1] = { first[0] };
	const char *near;
	int n = 1;

	for (const struct cli_verb *v = table; v->name && n < WORDS_MAX; v++) {
		snprintf(first[n], sizeof(first[n]), "%.*s", (int)first_word(v->name), v->name);
		list[n] = first[n];
		n++;
	}
	near = cli_nearest(word, list);
	if (near)
		snprintf(text, sizeof(text), "unknown verb %s (did you mean %s?)", word, near);
	else
		snprintf(text, sizeof(text), "unknown verb %s", word);
	complain(NULL, text);
}

/* A verb of two words whose second is missing or wrong. */
static void unknown_second(const struct cli_verb *table, const char *word, const char *second)
{
	const char *list[WORDS_MAX + 1] = { NULL };
	const char *near;
	struct buffer b;
	int n = 0;

	buffer_init(&b, WIRE_TEXT_MAX);
	buffer_printf(&b, second ? "unknown verb %s %s" : "%s%s", word, second ? second : "");
	for (const struct cli_verb *v = table; v->name && n < WORDS_MAX; v++)
		if (begins(v, word))
			list[n++] = v->name + first_word(v->name) + 1;
	near = second ? cli_nearest(second, list) : NULL;
	if (near)
		buffer_printf(&b, " (did you mean %s %s?)", word, near);
	for (int i = 0; !near && i < n; i++)
		buffer_printf(&b, "%s %s %s", i ? "," : ": there is", word, list[i]);
	complain(NULL, b.failed ? "unknown verb" : buffer_cstring(&b));
	buffer_free(&b);
}

/* Find the verb of one or two words at argv[0], and how many they are. NULL: complained. */
static const struct cli_verb *find_verb(const struct cli_verb *table, int argc, char **argv, int *words)
{
	bool known = false;

	for (const struct cli_verb *v = table; v->name; v++) {
		size_t length = first_word(v->name);

		if (!begins(v, argv[0]))
			continue;
		*words = v->name[length] ? 2 : 1;
		if (*words == 1 || (argc > 1 && strcmp(argv[1], v->name + length + 1) == 0))
			return v;
		known = true;
	}
	if (known)
		unknown_second(table, argv[0], argc > 1 ? argv[1] : NULL);
	else
		unknown_verb(table, argv[0]);
	return NULL;
}

/* `keyfob help [VERB]`: the second word of a verb may be left out, then all of them are shown. */
static int help(const struct cli_verb *table, int argc, char **argv)
{
	const struct cli_verb *verb;
	struct buffer b;
	int words;

	buffer_init(&b, CLI_OUTPUT_MAX);
	if (argc == 0)
		put_help(&b, table);
	for (const struct cli_verb *v = table; argc == 1 && v->name; v++)
		if (begins(v, argv[0])) {
			buffer_printf(&b, "%s", b.length ? "\n" : "");
			put_verb_help(&b, v);
		}
	if (b.length)
		return print(&b);
	verb = find_verb(table, argc, argv, &words);
	if (!verb)
		return -KEYFOB_EINVAL;
	put_verb_help(&b, verb);
	return print(&b);
}

/* For the completion of shells (packaging/completions): VERB|OPTIONS|OPERANDS lines. */
static int put_words(const struct cli_verb *table)
{
	struct buffer b;

	buffer_init(&b, CLI_OUTPUT_MAX);
	for (const struct cli_verb *v = table; v->name; v++) {
		buffer_printf(&b, "%s|", v->name);
		for (const struct cli_option *o = v->options; o && o->name; o++)
			buffer_printf(&b, "--%s%s ", o->name, o->argument ? "=" : "");
		buffer_printf(&b, "--help|%s\n", v->operands);
	}
	return print(&b);
}

/* The options before the verb. Returns false when all is done, with *code set. */
static bool read_globals(struct cli *cli, const struct cli_verb *table, int argc, char **argv, int *at, int *code)
{
	const char *value[CLI_OPTIONS] = { NULL };
	struct buffer b;

	for (; *at < argc && argv[*at][0] == '-'; ++*at) {
		if (read_option(cli, global_options, argc, argv, at, value) < 0) {
			*code = -KEYFOB_EINVAL;
			return false;
		}
	}
	cli->config = value[0];
	if (value[1])
		client_set_socket(value[1]);
	if (value[2]) {
		*code = help(table, argc - *at, argv + *at);
		return false;
	}
	if (value[3]) {
		buffer_init(&b, WIRE_TEXT_MAX);
		buffer_printf(&b, "keyfob %s\n", KEYFOB_VERSION);
		*code = print(&b);
		return false;
	}
	return true;
}

/* An option of the verb, which may be one that repeats. Returns false with the complaint made. */
static bool read_verb_option(struct cli *cli, int argc, char **argv, int *at)
{
	static char watch[] = "--watch";
	int option;

	/* The one option that has a letter, too: fingers know it from other programs. */
	if (strcmp(argv[*at], "-w") == 0 && has_option(cli->verb->options, "watch"))
		argv[*at] = watch;
	option = read_option(cli, cli->verb->options, argc, argv, at, cli->value);
	if (option < 0)
		return false;
	if (!cli->verb->options[option].repeats)
		return true;
	if (cli->repeated_count == CLI_REPEATED) {
		cli_usage(cli, "--%s is given too often", cli->verb->options[option].name);
		return false;
	}
	cli->repeated[cli->repeated_count].option = option;
	cli->repeated[cli->repeated_count++].value = cli->value[option];
	return true;
}

/* What follows the verb. Returns -1 to go on, else the exit code. */
static int read_arguments(struct cli *cli, int argc, char **argv)
{
	bool options = true;
	struct buffer b;

	for (int i = 0; i < argc; i++) {
		if (options && strcmp(argv[i], "--") == 0) {
			options = false;
		} else if (options && strcmp(argv[i], "--help") == 0) {
			buffer_init(&b, CLI_OUTPUT_MAX);
			put_verb_help(&b, cli->verb);
			return print(&b);
		} else if (options && argv[i][0] == '-' && argv[i][1]) {
			if (!read_verb_option(cli, argc, argv, &i))
				return -KEYFOB_EINVAL;
		} else if (cli->verb->most == CLI_COMMAND) {
			cli->command = argv + i;
			return -1;
		} else if (cli->count == cli->verb->most) {
			return cli_usage(cli, "one argument too many: %s", argv[i]);
		} else {
			cli->operand[cli->count++] = argv[i];
		}
	}
	if (cli->count < cli->verb->least)
		return cli_usage(cli, "missing: %s", cli->verb->operands);
	return -1;
}

bool cli_parse(struct cli *cli, const struct cli_verb *table, int argc, char **argv, int *code)
{
	int at = 1, words = 1;

	memset(cli, 0, sizeof(*cli));
	cli->argv = argv;
	if (!read_globals(cli, table, argc, argv, &at, code))
		return false;
	if (at == argc) {
		*code = complain(NULL, "say what to do");
		return false;
	}
	if (at == 1 && strcmp(argv[at], "words") == 0) {
		*code = put_words(table);
		return false;
	}
	if (strcmp(argv[at], "help") == 0) {
		*code = help(table, argc - at - 1, argv + at + 1);
		return false;
	}
	if (at + 2 == argc && strcmp(argv[at + 1], "--help") == 0) {
		*code = help(table, 1, argv + at);
		return false;
	}
	cli->verb = find_verb(table, argc - at, argv + at, &words);
	if (!cli->verb) {
		*code = -KEYFOB_EINVAL;
		return false;
	}
	at += words;
	*code = read_arguments(cli, argc - at, argv + at);
	return *code < 0;
}

const char *cli_value(const struct cli *cli, const char *option)
{
	for (int i = 0; cli->verb->options && cli->verb->options[i].name; i++)
		if (strcmp(cli->verb->options[i].name, option) == 0)
			return cli->value[i];
	return NULL;
}

const char *cli_next_value(const struct cli *cli, const char *option, int *at)
{
	while (*at < cli->repeated_count) {
		int i = (*at)++;

		if (strcmp(cli->verb->options[cli->repeated[i].option].name, option) == 0)
			return cli->repeated[i].value;
	}
	return NULL;
}

/* Else a socket or a pipe may take the place of stdout, and be sent what is meant for it. */
static void open_standard(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
			abort();
}

int cli_main(int argc, char **argv, const struct cli_run *runs, int (*otherwise)(const struct cli *cli))
{
	struct cli cli;
	int code;

	open_standard();
	signal(SIGPIPE, SIG_IGN);
	if (!cli_parse(&cli, cli_verbs, argc, argv, &code))
		return code && cli.verb && cli.verb->most == CLI_COMMAND ? CLI_NOT_RUN : code;
	while (runs->name && strcmp(runs->name, cli.verb->name) != 0)
		runs++;
	return runs->name ? runs->run(&cli) : otherwise(&cli);
}
