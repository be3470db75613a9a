/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "azure.h"

struct emu_azure *emu_azure_new(const char *arc_dir)
{
	struct emu_azure *azure = calloc(1, sizeof(*azure));

	if (!azure)
		return NULL;
	LIST_INIT(&azure->apps);
	azure->arc_dir = arc_dir ? strdup(arc_dir) : NULL;
	azure->header_secret = strdup("keyfob-emulator");
	if (!azure->header_secret || (arc_dir && !azure->arc_dir))
		emu_azure_free(&azure);
	return azure;
}

bool emu_azure_is_arc(const struct emu *emu)
{
	return emu->azure->arc_dir != NULL;
}

void emu_azure_free(struct emu_azure **azure)
{
	struct emu_azure *a = *azure;

	if (!a)
		return;
	emu_apps_free(a);
	for (size_t i = 0; i < EMU_REMEMBERED; i++)
		free(a->seen[i]);
	for (size_t i = 0; i < EMU_ARC_KEYS; i++)
		emu_arc_key_free(&a->arc_keys[i]);
	free(a->header_secret);
	free(a->arc_dir);
	free(a);
	*azure = NULL;
}
