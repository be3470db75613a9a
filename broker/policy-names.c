/* SPDX-License-Identifier: Apache-2.0 */
/* The users and groups that a configuration names: each is looked up once, however often it stands there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/policy.h"
#include "common/wire.h"

#define REQUEST_MAX (WIRE_MAX - 64) /* with what stands before the names it must fit a frame */

void policy_names_add(struct policy_names *names, uint8_t kind, const char *name)
{
	struct policy_name *grown = reallocarray(names->list, names->count + 1, sizeof(*grown));

	if (!grown) {
		names->failed = true;
		return;
	}
	names->list = grown;
	grown[names->count++] = (struct policy_name){ .kind = kind, .name = name };
}

static int by_kind_and_name(const void *a, const void *b)
{
	const struct policy_name *x = a, *y = b;

	return x->kind != y->kind ? x->kind - y->kind : strcmp(x->name, y->name);
}

static void sort(struct policy_names *names)
{
	size_t kept = 0;

	if (names->count)
		qsort(names->list, names->count, sizeof(*names->list), by_kind_and_name);
	for (size_t i = 0; i < names->count; i++)
		if (kept == 0 || by_kind_and_name(&names->list[kept - 1], &names->list[i]) != 0)
			names->list[kept++] = names->list[i];
	names->count = kept;
}

static int take_answer(struct policy_name *name, uint32_t count, const struct buffer *answer)
{
	struct reader r;

	reader_init(&r, answer->data, answer->length);
	if (reader_u32(&r) != count)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		name[i].found = reader_u8(&r) == 1;
		name[i].id = reader_u32(&r);
	}
	return r.failed ? -EBADMSG : 0;
}

/* As many as one question holds, from `first` on. Returns how many there were, or a negative errno. */
static int ask_some(struct policy_names *names, size_t first, const struct policy_source *source)
{
	struct buffer request, answer;
	uint32_t count = 0;
	int error;

	buffer_init(&request, REQUEST_MAX);
	buffer_init(&answer, WIRE_MAX);
	while (first + count < names->count && request.length + 5 + strlen(names->list[first + count].name) <= REQUEST_MAX) {
		buffer_put_u8(&request, names->list[first + count].kind);
		buffer_put_text(&request, names->list[first + count++].name);
	}
	error = request.failed ? -ENOMEM : count ? source->look_up(source->arg, count, &request, &answer) : -EMSGSIZE;
	if (error == 0)
		error = take_answer(&names->list[first], count, &answer);
	buffer_free(&request);
	buffer_free(&answer);
	return error < 0 ? error : (int)count;
}

int policy_names_ask(struct policy_names *names, const struct policy_source *source)
{
	size_t asked = 0;
	int count = 0;

	if (names->failed)
		return -ENOMEM;
	sort(names);
	for (; asked < names->count && count >= 0; asked += count > 0 ? (size_t)count : 0)
		count = ask_some(names, asked, source);
	return count < 0 ? count : 0;
}

bool policy_names_find(const struct policy_names *names, uint8_t kind, const char *name, uint32_t *id)
{
	const struct policy_name key = { .kind = kind, .name = name };
	const struct policy_name *found = bsearch(&key, names->list, names->count, sizeof(key), by_kind_and_name);

	*id = found ? found->id : 0;
	return found && found->found;
}

void policy_names_free(struct policy_names *names)
{
	free(names->list);
	*names = (struct policy_names){ 0 };
}
