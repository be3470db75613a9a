/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's answer to `status`, read whole. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keyring/client.h"

#define CREDENTIALS_MAX 65536
#define READERS_MAX 16384 /* a frame holds fewer */
#define TIME_MAX 253402300799 /* the end of the year 9999 */

static void free_credential(struct cli_credential *c)
{
	char *texts[] = { c->description, c->provider, c->resource, c->fingerprint, c->last_error, c->issuer, c->audience, c->subject,
		c->identity_provider, c->mismatch, c->failed_class };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		free(texts[i]);
	for (size_t i = 0; i < c->count; i++) {
		free(c->readers[i].name);
		free(c->readers[i].group);
	}
	free(c->readers);
}

void cli_list_free(struct cli_list *list)
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
		c->readers[c->count].asked = reader_u32(r);
		c->readers[c->count].group = reader_dup(r, WIRE_TEXT_MAX);
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
	c->provider_line = reader_u32(r);
	c->provider_lines = reader_u32(r);
	c->failed_class = reader_dup(r, WIRE_NAME_MAX);
	return read_readers(r, c) && wire_name_valid(c->name) && c->expires <= TIME_MAX && c->refresh <= TIME_MAX &&
	       c->fetched <= TIME_MAX && c->failed_at <= TIME_MAX;
}

static bool add_page(struct cli_list *list, struct reader *r)
{
	while (r->left) {
		if (list->count == list->room) {
			size_t room = list->room ? 2 * list->room : 16;
			struct cli_credential *item = room > CREDENTIALS_MAX ? NULL : reallocarray(list->item, room, sizeof(*item));

			if (!item)
				return false;
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

int cli_list_load(struct cli_list *list, const char *name, char *message)
{
	struct buffer fields, reply;
	struct reader r;
	uint8_t more = 1;
	int error = 0;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	while (more && !error) {
		size_t before = list->count;

		buffer_clear(&fields);
		buffer_put_text(&fields, name);
		buffer_put_text(&fields, before ? list->item[before - 1].name : "");
		error = client_call(WIRE_STATUS, &fields, CLI_BRIEF_MS, &reply, &r, message, WIRE_TEXT_MAX);
		if (error)
			break;
		more = reader_u8(&r);
		reader_text(&r, list->version, sizeof(list->version));
		list->started = reader_u64(&r);
		/* A page that brings nothing would be asked for again without end. */
		if (r.failed || list->started > TIME_MAX || !add_page(list, &r) || (more && list->count == before)) {
			error = KEYFOB_EFAIL;
			snprintf(message, WIRE_TEXT_MAX, CLI_MALFORMED);
		}
	}
	buffer_free(&fields);
	buffer_free(&reply);
	return error;
}
