/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define CREDENTIALS_MAX 100000
#define READERS_MAX 16384 /* a frame holds fewer */
#define TIME_MAX 253402300799 /* the end of the year 9999 */
#define WIDTH_LEAST 40
#define WIDTH_MOST 160

struct list {
	struct cli_credential *item;
	size_t count, room;
};

static void free_credential(struct cli_credential *c)
{
	char *texts[] = { c->description, c->provider, c->resource, c->fingerprint, c->last_error, c->issuer, c->audience, c->subject,
		c->identity_provider, c->mismatch };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		free(texts[i]);
	for (size_t i = 0; i < c->count; i++)
		free(c->readers[i].name);
	free(c->readers);
}

static void free_list(struct list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free_credential(&list->item[i]);
	free(list->item);
}

static bool read_readers(struct reader *r, struct cli_credential *c)
{
	uint32_t count = reader_u32(r);

	if (r->failed || count > READERS_MAX)
		return false;
	c->readers = calloc(count + 1u, sizeof(*c->readers));
	for (; c->readers && c->count < count && !r->failed; c->count++) {
		c->readers[c->count].name = reader_dup(r, WIRE_TEXT_MAX);
		c->readers[c->count].state = reader_u8(r);
	}
	return c->readers && !r->failed;
}

static bool read_credential(struct reader *r, struct cli_credential *c)
{
	memset(c, 0, sizeof(*c));
	reader_text(r, c->name, sizeof(c->name));
	c->description = reader_dup(r, WIRE_MAX);
	c->provider = reader_dup(r, WIRE_MAX);
	c->resource = reader_dup(r, WIRE_MAX);
	c->state = reader_u8(r);
	c->kind = reader_u8(r);
	c->expires = reader_u64(r);
	c->refresh = reader_u64(r);
	c->fetched = reader_u64(r);
	c->fetches = reader_u64(r);
	c->failures = reader_u64(r);
	c->failed_at = reader_u64(r);
	c->fingerprint = reader_dup(r, WIRE_TEXT_MAX);
	c->last_error = reader_dup(r, WIRE_MAX);
	c->issuer = reader_dup(r, WIRE_TEXT_MAX);
	c->audience = reader_dup(r, WIRE_TEXT_MAX);
	c->subject = reader_dup(r, WIRE_TEXT_MAX);
	c->identity_provider = reader_dup(r, WIRE_NAME_MAX);
	c->mismatch = reader_dup(r, WIRE_TEXT_MAX);
	return read_readers(r, c) && wire_name_valid(c->name) && c->expires <= TIME_MAX && c->refresh <= TIME_MAX &&
	       c->fetched <= TIME_MAX && c->failed_at <= TIME_MAX;
}

static bool add_page(struct list *list, struct reader *r)
{
	while (r->left) {
		if (list->count == list->room) {
			size_t room = list->room ? 2 * list->room : 16;
			struct cli_credential *item = reallocarray(list->item, room, sizeof(*item));

			if (!item || room > CREDENTIALS_MAX) {
				list->item = item ? item : list->item;
				return false;
			}
			list->item = item;
			list->room = room;
		}
		if (!read_credential(r, &list->item[list->count])) {
			free_credential(&list->item[list->count]);
			return false;
		}
		list->count++;
	}
	return true;
}

/* All pages of a status, of one name or ("") of all. Returns 0 or an exit code. */
static int load(struct list *list, const char *name)
{
	struct buffer fields, reply;
	struct reader r;
	uint8_t more = 1;
	int code = 0;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	while (more && !code) {
		size_t before = list->count;

		buffer_clear(&fields);
		buffer_put_text(&fields, name);
		buffer_put_text(&fields, before ? list->item[before - 1].name : "");
		code = cli_call(WIRE_STATUS, name[0] ? name : NULL, &fields, CLI_BRIEF_MS, &reply, &r);
		if (code)
			break;
		more = reader_u8(&r);
		/* A page that brings nothing would be asked for again without end. */
		if (r.failed || !add_page(list, &r) || (more && list->count == before))
			code = cli_malformed(name[0] ? name : NULL);
	}
	buffer_free(&fields);
	buffer_free(&reply);
	return code;
}

static void put_credential_json(struct buffer *b, const struct cli_credential *c)
{
	static const char *const kinds[] = { "default", "access", "id" }, *const states[] = { "none", "copy", "socket", "no-file" };

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
	cli_json_text(b, "token", c->kind < 3 ? kinds[c->kind] : "unknown");
	cli_json_time(b, "fetched_at", c->fetched);
	cli_json_time(b, "failed_at", c->failed_at);
	cli_json_optional(b, "fingerprint", c->fingerprint);
	cli_json_optional(b, "issuer", c->issuer);
	cli_json_optional(b, "audience", c->audience);
	cli_json_optional(b, "subject", c->subject);
	cli_json_optional(b, "identity_provider", c->identity_provider);
	cli_json_optional(b, "mismatch", c->mismatch);
	cli_json_open(b, "readers", '[');
	for (size_t i = 0; i < c->count; i++) {
		cli_json_open(b, NULL, '{');
		cli_json_text(b, "name", c->readers[i].name);
		cli_json_text(b, "state", c->readers[i].state < 4 ? states[c->readers[i].state] : "unknown");
		cli_json_close(b, '}');
	}
	cli_json_close(b, ']');
	cli_json_close(b, '}');
}

static void put_list_json(struct buffer *b, const struct list *list)
{
	cli_json_open(b, NULL, '{');
	cli_json_open(b, "credentials", '[');
	for (size_t i = 0; i < list->count; i++)
		put_credential_json(b, &list->item[i]);
	cli_json_close(b, ']');
	cli_json_close(b, '}');
	buffer_put(b, "\n", 1);
}

static void init_screen(struct cli_screen *s, struct buffer *out)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;

	memset(s, 0, sizeof(*s));
	setlocale(LC_ALL, "");
	s->out = out;
	s->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	s->colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
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

static void put_list(struct buffer *b, const struct list *list)
{
	unsigned int states[WIRE_STATE_FAILED + 1] = { 0 };
	struct cli_screen s;
	struct utsname host;

	init_screen(&s, b);
	if (uname(&host) == 0) {
		host.nodename[strcspn(host.nodename, ".")] = 0;
		cli_put_escaped(b, host.nodename);
	}
	buffer_printf(b, "  keyfobd");
	for (size_t i = 0; i < list->count; i++)
		if (list->item[i].state <= WIRE_STATE_FAILED)
			states[list->item[i].state]++;
	for (uint8_t i = 0; i <= WIRE_STATE_FAILED; i++)
		if (states[i])
			buffer_printf(b, "  %u %s", states[i], i == WIRE_STATE_NONE ? "not asked for" : cli_state_name(i));
	buffer_put(b, "\n", 1);
	if (!list->count)
		put_nothing(b);
	for (size_t i = 0; i < list->count; i++) {
		if (i)
			buffer_put(b, "\n", 1);
		cli_screen_credential(&s, &list->item[i]);
	}
}

int cli_status(const struct cli *cli)
{
	const char *name = cli->count ? cli->operand[0] : "";
	struct list list = { 0 };
	struct buffer b;
	int code = name[0] || cli->count ? cli_check_name(cli, name) : 0;

	if (code)
		return code;
	buffer_init(&b, CLI_OUTPUT_MAX);
	code = load(&list, name);
	if (code)
		goto out;
	if (cli_value(cli, "json"))
		put_list_json(&b, &list);
	else
		put_list(&b, &list);
	code = cli_output(&b);
out:
	buffer_free(&b);
	free_list(&list);
	return code;
}
