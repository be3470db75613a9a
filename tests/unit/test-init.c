/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How `keyfob init` tells where it is, and what it makes of that.
 * links: cli/admin-init-place cli/admin-init-text common/buffer
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/admin-init.h"
#include "tests/unit/config-files.h"

static const char *const variables[] = { "AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "IDENTITY_ENDPOINT",
	"IDENTITY_HEADER", "K_SERVICE", "KUBERNETES_SERVICE_HOST" };
static struct init_found found;

/* An empty host. */
static int set_up(void **state)
{
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
	return make_config_dir(state);
}

static int tear_down(void **state)
{
	return remove_config_dir(state);
}

static void make_file(const char *path, const char *text)
{
	char full[512], *slash;

	snprintf(full, sizeof(full), "%s%s", config_dir, path);
	for (slash = full + strlen(config_dir) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		mkdir(full, 0755);
		*slash = '/';
	}
	write_text(path + 1, text);
}

static void expect_place(const char *name, const char *why)
{
	init_look(config_dir, &found);
	if (!name) {
		assert_null(found.place);
		return;
	}
	assert_non_null(found.place);
	assert_string_equal(found.place->name, name);
	assert_non_null(strstr(found.why, why));
}

static void test_machines(void **state)
{
	(void)state;
	expect_place(NULL, "");
	/* Hyper-V at home, and a tag that somebody else uses. */
	make_file("/sys/class/dmi/id/sys_vendor", "Microsoft Corporation\n");
	make_file("/sys/class/dmi/id/chassis_asset_tag", "No Asset Tag\n");
	make_file("/sys/class/dmi/id/product_name", "Virtual Machine\n");
	expect_place(NULL, "");
	make_file("/sys/class/dmi/id/chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n");
	expect_place("azure", "chassis_asset_tag");
	make_file("/sys/class/dmi/id/sys_vendor", "QEMU\n");
	expect_place(NULL, "");
	make_file("/sys/class/dmi/id/product_name", "Google Compute Engine\n");
	expect_place("google", "product_name");
	make_file("/sys/class/dmi/id/product_name", "Not Google\n");
	expect_place(NULL, "");
}

static void test_platforms(void **state)
{
	(void)state;
	make_file("/sys/class/dmi/id/product_name", "Google Compute Engine\n");
	make_file("/var/run/secrets/kubernetes.io/serviceaccount/token", "x");
	expect_place("kubernetes", "serviceaccount/token");
	setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1", 1);
	expect_place("kubernetes", "KUBERNETES_SERVICE_HOST");
	setenv("K_SERVICE", "orders", 1);
	expect_place("google", "K_SERVICE");
	/* One of the two is another platform. */
	setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:41/msi/token", 1);
	expect_place("google", "K_SERVICE");
	setenv("IDENTITY_HEADER", "s3cret", 1);
	expect_place("appservice", "IDENTITY_HEADER");
	setenv("AZURE_FEDERATED_TOKEN_FILE", "/run/token", 1);
	expect_place("workload", "AZURE_FEDERATED_TOKEN_FILE");
}

static void test_arc(void **state)
{
	(void)state;
	make_file("/opt/azcmagent/bin/himds", "");
	expect_place("arc", "agent");
	remove_config_dir(state);
	make_config_dir(state);
	make_file("/var/opt/azcmagent/tokens/x", "");
	expect_place("arc", "agent");
}

static const char *text_for(const char *user, const char *resource)
{
	static struct buffer text;
	struct init_wish wish = { &found, "db", user, resource };

	buffer_free(&text);
	buffer_init(&text, 65536);
	init_take_options(&found);
	init_put(&wish, &text);
	assert_non_null(buffer_cstring(&text));
	return (const char *)text.data;
}

static void test_texts(void **state)
{
	const char *text;

	(void)state;
	setenv("AZURE_FEDERATED_TOKEN_FILE", "/run/token", 1);
	setenv("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555", 1);
	setenv("AZURE_CLIENT_ID", "66666666-7777-8888-9999-aaaaaaaaaaaa", 1);
	expect_place("workload", "");
	text = text_for("orders", "api://x");
	assert_non_null(strstr(text, "\nprovider    = azure source=workload tenant=11111111-2222-3333-4444-555555555555"
				     " client_id=66666666-7777-8888-9999-aaaaaaaaaaaa token_file=/run/token\nallow       = user:orders\n"));
	assert_non_null(strstr(text, "\nresource    = api://x\n"));
	assert_null(strstr(text, INIT_FILL_IN));
	/* What is not known is to be filled in, and what is no plain word is not known. */
	setenv("AZURE_TENANT_ID", "x\n[credential evil]", 1);
	expect_place("workload", "");
	text = text_for(NULL, NULL);
	assert_null(strstr(text, "evil"));
	assert_non_null(strstr(text, "# " INIT_FILL_IN ": what nothing here tells"));
	assert_non_null(strstr(text, "# " INIT_FILL_IN ": the Application ID URI"));
	assert_non_null(strstr(text, "\n# allow     = user:NAME\n"));
	unsetenv("AZURE_FEDERATED_TOKEN_FILE");
	setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:41/msi/token", 1);
	setenv("IDENTITY_HEADER", "s3cret", 1);
	expect_place("appservice", "");
	text = text_for("orders", "api://x");
	assert_non_null(strstr(text, " identity_endpoint=http://127.0.0.1:41/msi/token header_file=/etc/keyfob/identity-header\n"));
	assert_null(strstr(text, "s3cret"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_machines, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_platforms, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_arc, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_texts, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
