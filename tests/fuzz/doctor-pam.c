/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of /etc/pam.d as `keyfob doctor` reads them. An input is what stands
 * in up to four of them, parted by the byte 0x1e: s, a, b, c.
 *
 * links: cli/admin-doctor-pam-stack common/buffer
 * parser: cli/admin-doctor-pam-stack
 */
#include "cli/admin-doctor-pam.h"
#include "cli/admin-doctor.h"
#include "tests/fuzz/fuzz.h"

#define FILES 4

static struct fuzz_part files[FILES];

/* Stands in for reading from the disk. */
bool doctor_slurp(int fd, const char *path, int flags, size_t limit, struct buffer *b)
{
	static const char names[] = "sabc";
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *at;

	(void)fd, (void)flags;
	at = name[0] && !name[1] ? strchr(names, name[0]) : NULL;
	if (!at || files[at - names].length > limit)
		return false;
	return buffer_put(b, files[at - names].bytes, files[at - names].length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pam_stack stack;

	for (size_t i = 0; i < FILES; i++)
		files[i] = fuzz_take(&data, &size, 0x1e);
	if (pam_stack_read("/etc/pam.d", "s", &stack)) {
		fuzz_require(stack.count <= PAM_LINES_MAX && memchr(stack.fault, 0, sizeof(stack.fault)));
		for (size_t i = 0; i < stack.count; i++) {
			pam_line_is(&stack.line[i], "pam_keyfob.so");
			pam_line_has(&stack.line[i], "verify");
			fuzz_require(memchr(stack.line[i].arguments, 0, sizeof(stack.line[i].arguments)));
		}
	}
	for (size_t i = 0; i < FILES; i++)
		free(files[i].bytes);
	return 0;
}

void fuzz_seeds(void)
{
	fuzz_text(
		"# a comment\nauth required pam_keyfob.so verify service=x debug\n-auth [success=1 default=ignore] pam_unix.so nullok \\\n"
		" try_first_pass\n@include a\naccount include b\nsession substack c\n\x1e"
		"auth sufficient pam_deny.so [a b] c\n\x1e"
		"account [default=bad success=ok user_unknown=ignore] /lib/security/pam_keyfob.so\n\x1e@include s\n");
	fuzz_text("auth\n\nauth required\n@include\n\x1e");
}
