/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define WIDTH_LEAST 40
#define WIDTH_MOST 160

static void put_credential_json(struct buffer *b, const struct cli_credential *c)
{
	static const char *const states[] = { "none", "copy", "socket", "no-file" };

	cli_json_open(b, NULL, '{');
	cli_json_text(b, "name", c->name);
	cli_json_text(b, "provider", c->provider);
	cli_json_text(b, "resource", c->resource);
	cli_json_text(b, "state", cli_state_name(c->state));
	cli_json_time(b, "expires_at", c->expires);
	cli_json_time(b, "refresh_at", c->refresh);
	cli_json_number(b, "fetches", c->fetches);
	cli_json_number(b, "failures", c->failures);
	cli_json_optional(b, "last_error", c->last_error);
	cli_json_open(b, "users", '[');
	for (size_t i = 0; i < c->count; i++)
		cli_json_text(b, NULL, c->readers[i].name);
	cli_json_close(b, ']');
	cli_json_text(b, "description", c->description);
	cli_json_text(b, "token", cli_kind_name(c->kind));
	cli_json_time(b, "fetched_at", c->fetched);
	cli_json_time(b, "failed_at", c->failed_at);
	cli_json_optional(b, "fingerprint", c->fingerprint);
	cli_json_optional(b, "issuer", c->issuer);
	cli_json_optional(b, "audience", c->audience);
	cli_json_optional(b, "subject", c->subject);
	cli_json_optional(b, "identity_provider", c->identity_provider);
	cli_json_optional(b, "mismatch", c->mismatch);
	cli_json_optional(b, "failed_class", c->failed_class);
	cli_json_open(b, "readers", '[');
	for (size_t i = 0; i < c->count; i++) {
		cli_json_open(b, NULL, '{');
		cli_json_text(b, "name", c->readers[i].name);
		cli_json_text(b, "state", c->readers[i].state < 4 ? states[c->readers[i].state] : "unknown");
		cli_json_number(b, "asked", c->readers[i].asked);
		cli_json_optional(b, "group", c->readers[i].group);
		cli_json_close(b, '}');
	}
	cli_json_close(b, ']');
	cli_json_close(b, '}');
}

static void put_list_json(struct buffer *b, const struct cli_list *list)
{
	cli_json_open(b, NULL, '{');
	cli_json_open(b, "credentials", '[');
	for (size_t i = 0; i < list->count; i++)
		put_credential_json(b, &list->item[i]);
	cli_json_close(b, ']');
	cli_json_text(b, "version", list->version);
	cli_json_time(b, "started_at", list->started);
	cli_json_close(b, '}');
	buffer_put(b, "\n", 1);
}

void status_screen_init(struct cli_screen *s, struct buffer *out)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;

	memset(s, 0, sizeof(*s));
	setlocale(LC_ALL, "");
	s->out = out;
	s->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	s->colour = cli_wants_colour();
	s->now = time(NULL);
	s->width = columns ? atoi(columns) : 0;
	if (s->width <= 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		s->width = size.ws_col;
	if (s->width <= 0)
		s->width = 80;
	s->width = s->width < WIDTH_LEAST ? WIDTH_LEAST : s->width > WIDTH_MOST ? WIDTH_MOST : s->width;
}

static void put_nothing(struct buffer *b)
{
	if (geteuid() != 0) {
		buffer_printf(b, "No credential that you may have."
				 " root allows one with \"allow = user:NAME\" in its section.\n");
		return;
	}
	buffer_printf(b, "No credential yet. Add one to /etc/keyfob/keyfob.conf, for example\n\n"
			 "    [credential atlas]\n"
			 "    resource = api://APPLICATION-ID\n"
			 "    provider = azure\n"
			 "    allow    = user:NAME\n\n"
			 "then: keyfob reload. The providers: keyfob module list\n");
}

void status_put(struct cli_screen *s, const struct cli_list *list, const char *trouble)
{
	struct utsname host;

	if (uname(&host) < 0)
		host.nodename[0] = 0;
	host.nodename[strcspn(host.nodename, ".")] = 0;
	cli_screen_head(s, host.nodename, list);
	if (trouble)
		cli_screen_trouble(s, trouble);
	if (!list->count)
		put_nothing(s->out);
	for (size_t i = 0; i < list->count; i++) {
		if (i)
			buffer_put(s->out, "\n", 1);
		cli_screen_credential(s, &list->item[i]);
	}
}

static int tell_failure(const struct cli *cli, struct buffer *b, int error, const char *name, const char *message)
{
	/* Monitors read stdout, and want to hear of it when there is nothing to hear. */
	if (cli_value(cli, "check"))
		status_check_failed(b, message[0] ? message : keyfob_strerror(error));
	else if (cli_value(cli, "prometheus") && error == KEYFOB_EBROKER)
		status_prometheus(b, NULL);
	if (b->length && cli_output(b))
		return -KEYFOB_EFAIL;
	return cli_value(cli, "check") ? -error : cli_fail_request(error, name, message);
}

static int tell(const struct cli *cli, struct buffer *b, const struct cli_list *list, const char *name)
{
	struct cli_screen s;
	int code = 0, failed;

	if (cli_value(cli, "json")) {
		put_list_json(b, list);
	} else if (cli_value(cli, "prometheus")) {
		status_prometheus(b, list);
	} else if (cli_value(cli, "check")) {
		code = status_check(b, list, name, time(NULL));
	} else {
		status_screen_init(&s, b);
		status_put(&s, list, NULL);
	}
	failed = cli_output(b);
	return failed ? failed : code;
}

/* Returns 0, or 2 with the complaint made. */
static int check_forms(const struct cli *cli)
{
	static const char *const forms[] = { "json", "check", "prometheus", "watch" };
	const char *first = NULL;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (!cli_value(cli, forms[i]))
			continue;
		if (first)
			return cli_usage(cli, "only one of --%s and --%s", first, forms[i]);
		first = forms[i];
	}
	if (cli_value(cli, "watch") && !isatty(STDOUT_FILENO))
		return cli_usage(cli, "--watch draws on a terminal, and standard output is none (for programs there is --json)");
	return 0;
}

int cli_status(const struct cli *cli)
{
	const char *name = cli->count ? cli->operand[0] : "";
	char message[WIRE_TEXT_MAX] = "";
	struct cli_list list = { 0 };
	struct buffer b;
	int error, code = cli->count ? cli_check_name(cli, name) : 0;

	if (!code)
		code = check_forms(cli);
	if (code)
		return code;
	if (cli_value(cli, "watch"))
		return status_watch(name);
	buffer_init(&b, CLI_OUTPUT_MAX);
	cli_progress_begin(name, "waiting for the broker");
	error = cli_list_load(&list, name, message);
	cli_progress_end();
	code = error ? tell_failure(cli, &b, error, name[0] ? name : NULL, message) : tell(cli, &b, &list, name);
	buffer_free(&b);
	cli_list_free(&list);
	return code;
}
