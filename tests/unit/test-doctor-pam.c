/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PAM stacks as keyfob doctor reads them.
 * links: cli/admin-doctor-pam-stack cli/admin-doctor-read common/buffer
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/admin-doctor-pam.h"
#include "tests/unit/config-files.h"

static struct pam_stack stack;

static void load(const char *text)
{
	write_text("service", text);
	assert_true(pam_stack_read(config_dir, "service", &stack));
}

static void test_lines(void **state)
{
	(void)state;
	load("# a comment\n"
	     "\n"
	     "auth\trequired  /lib/security/pam_keyfob.so verify  socket=/x # why\n"
	     "-session   optional pam_keyinit.so force \\\n   revoke\r\n"
	     "AUTH [success=1 default=ignore] pam_unix.so [quiet nullok]\n"
	     "account required\n"
	     "account sufficient pam_keyfob.so");
	assert_int_equal(stack.count, 4);
	assert_string_equal(stack.fault, "");
	assert_string_equal(stack.line[0].type, "auth");
	assert_string_equal(stack.line[0].control, "required");
	assert_string_equal(stack.line[0].module, "/lib/security/pam_keyfob.so");
	assert_true(pam_line_is(&stack.line[0], "pam_keyfob.so"));
	assert_false(pam_line_is(&stack.line[0], "keyfob.so"));
	assert_true(pam_line_has(&stack.line[0], "verify"));
	assert_true(pam_line_has(&stack.line[0], "socket=/x"));
	assert_false(pam_line_has(&stack.line[0], "socket="));
	assert_false(pam_line_has(&stack.line[0], "why"));
	assert_int_equal(stack.line[0].number, 3);
	assert_string_equal(stack.line[1].type, "session");
	assert_true(pam_line_has(&stack.line[1], "revoke"));
	assert_int_equal(stack.line[1].number, 4);
	assert_string_equal(stack.line[2].control, "[success=1 default=ignore]");
	assert_int_equal(stack.line[2].number, 6);
	assert_string_equal(stack.line[3].module, "pam_keyfob.so");
	assert_int_equal(stack.line[3].number, 8);
}

static void test_flow(void **state)
{
	static const struct {
		const char *control;
		enum pam_flow flow;
	} cases[] = {
		{ "required", PAM_NEEDED },
		{ "requisite", PAM_NEEDED },
		{ "sufficient", PAM_ENOUGH },
		{ "optional", PAM_IGNORED },
		{ "[success=ok new_authtok_reqd=ok ignore=ignore default=bad]", PAM_NEEDED },
		{ "[success=ok default=die]", PAM_NEEDED },
		{ "[success=ok]", PAM_NEEDED },
		{ "[success=done default=ignore]", PAM_ENOUGH },
		{ "[success=2 default=ignore]", PAM_ENOUGH },
		{ "[success=ok default=ignore]", PAM_IGNORED },
		{ "[success=ok default=1]", PAM_IGNORED },
		{ "[default=ignore]", PAM_IGNORED },
		{ "[success=done default=ok]", PAM_INVERTED },
		{ "[default=done]", PAM_INVERTED },
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "auth %s pam_keyfob.so verify\n", cases[i].control);
		load(text);
		assert_int_equal(stack.count, 1);
		if (stack.line[0].flow != cases[i].flow)
			print_error("%s\n", cases[i].control);
		assert_int_equal(stack.line[0].flow, cases[i].flow);
	}
}

static void test_includes(void **state)
{
	char text[256];

	(void)state;
	write_text("common", "auth required pam_a.so\nsession required pam_b.so\naccount required pam_c.so\n");
	write_text("nested", "@include common\nauth required pam_d.so\n");
	load("auth include common\nauth required pam_e.so\n");
	assert_int_equal(stack.count, 2);
	assert_string_equal(stack.line[0].module, "pam_a.so");
	assert_string_equal(stack.line[0].file, "common");
	assert_string_equal(stack.line[1].file, "service");
	load("@include common\n");
	assert_int_equal(stack.count, 3);
	load("auth substack nested\n");
	assert_int_equal(stack.count, 2);
	assert_string_equal(stack.line[1].module, "pam_d.so");
	snprintf(text, sizeof(text), "@include %s/common\n", config_dir);
	load(text);
	assert_int_equal(stack.count, 3);
	load("@include nothing\nauth required pam_e.so\n");
	assert_int_equal(stack.count, 1);
	assert_non_null(strstr(stack.fault, "nothing: No such file"));
	assert_false(pam_stack_read(config_dir, "nothing", &stack));
}

/* Includes that never end, alone and doubling at each level; and more lines than there is room for. */
static void test_bounds(void **state)
{
	char *text = calloc(1, 65536);

	(void)state;
	assert_non_null(text);
	write_text("twice", "@include twice\n@include twice\nauth required pam_a.so\n");
	load("@include twice\n@include service\nauth required pam_e.so\n");
	assert_true(stack.count <= PAM_LINES_MAX);
	assert_non_null(strstr(stack.fault, "Too many levels"));
	for (size_t i = 0; i < PAM_LINES_MAX + 2; i++)
		strcat(text, "auth required pam_a.so x\n");
	load(text);
	assert_int_equal(stack.count, PAM_LINES_MAX);
	assert_non_null(strstr(stack.fault, "more than"));
	memset(text, 'a', 60000);
	memcpy(text, "auth required ", 14);
	text[60000] = 0;
	load(text);
	assert_int_equal(stack.count, 1);
	memset(text, '\\', 60000);
	load(text);
	load("auth [success=ok");
	assert_int_equal(stack.count, 0);
	load("");
	assert_int_equal(stack.count, 0);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_flow),
		cmocka_unit_test(test_includes),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, make_config_dir, remove_config_dir);
}
