/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pam_keyfob.so in an application: what it makes of the
 * verifier's answers, good and bad.
 *
 * links: common/buffer common/wire
 * libs: pam
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/time.h>

#include "tests/unit/pam-host.h"

#define SOON 8.0 /* seconds: the module gives up after two, a busy machine needs longer */
#define TOKEN "aGVhZGVy.Y2xhaW1z.c2lnbmF0dXJl"

static struct host_server verifier;

/* auth and account lines that ask this test's verifier */
static void configure_verify(const char *more)
{
	char lines[1000];

	snprintf(lines, sizeof(lines), "auth required MODULE verify socket=%s %s\naccount required MODULE verify socket=%s %s\n",
		verifier.path, more, verifier.path, more);
	assert_int_equal(host_configure(lines), 0);
	host_log[0] = 0;
}

static void check_logged(const char *text)
{
	if (!strstr(host_log, text))
		fail_msg("not logged: %s\nlogged: %s", text, host_log);
}

/* --- verdicts ----------------------------------------------------------------------------- */

static void begin(void)
{
	assert_int_equal(host_listen(&verifier, "verify", 0, 64), 0);
}

static void serve(void)
{
	assert_int_equal(host_start(&verifier), 0);
}

static void check_request(uint8_t opcode, const char *service, const char *login, const char *token)
{
	struct buffer wanted;

	buffer_init(&wanted, WIRE_MAX);
	buffer_put_u8(&wanted, WIRE_VERSION);
	buffer_put_u8(&wanted, opcode);
	buffer_put_text(&wanted, service);
	buffer_put_text(&wanted, login);
	if (token)
		buffer_put_text(&wanted, token);
	assert_int_equal(verifier.request.length, wanted.length);
	assert_memory_equal(verifier.request.data, wanted.data, wanted.length);
	buffer_free(&wanted);
}

static void test_accepted(void **state)
{
	struct host_user user = { .password = TOKEN };
	pam_handle_t *pamh;

	(void)state;
	begin();
	host_accept(&verifier, "orders");
	serve();
	configure_verify("service=postgresql");
	pamh = host_open("orders", &user);
	assert_int_equal(pam_authenticate(pamh, PAM_DISALLOW_NULL_AUTHTOK), PAM_SUCCESS);
	pam_end(pamh, PAM_SUCCESS);
	check_request(WIRE_VERIFY_TOKEN, "postgresql", "orders", TOKEN);
	assert_string_equal(user.prompt, "Password: ");
	assert_int_equal(user.asked, 1);
	assert_string_equal(host_log, "");
	configure_verify("debug");
	assert_int_equal(host_authenticate("orders", TOKEN), PAM_SUCCESS);
	check_request(WIRE_VERIFY_TOKEN, SERVICE, "orders", TOKEN);
	check_logged("accepted");
	assert_null(strstr(host_log, TOKEN));
}

static void test_errors(void **state)
{
	static const struct {
		uint8_t code;
		int auth, account;
	} errors[] = {
		{ 1, PAM_AUTHINFO_UNAVAIL, PAM_AUTHINFO_UNAVAIL },
		{ 2, PAM_AUTHINFO_UNAVAIL, PAM_AUTHINFO_UNAVAIL },
		{ 3, PAM_AUTH_ERR, PAM_USER_UNKNOWN },
		{ 4, PAM_CRED_INSUFFICIENT, PAM_CRED_INSUFFICIENT },
		{ 5, PAM_AUTHINFO_UNAVAIL, PAM_AUTHINFO_UNAVAIL },
		{ 6, PAM_AUTHINFO_UNAVAIL, PAM_AUTHINFO_UNAVAIL },
		{ 7, PAM_AUTH_ERR, PAM_PERM_DENIED },
		{ 8, PAM_AUTHINFO_UNAVAIL, PAM_AUTHINFO_UNAVAIL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		begin();
		host_refuse(&verifier, errors[i].code, "EXPIRED: not\ngood");
		serve();
		configure_verify("");
		assert_int_equal(host_authenticate("orders", TOKEN), errors[i].auth);
		check_logged("not\\x0agood");
		assert_int_equal(host_account("orders"), errors[i].account);
		assert_null(strstr(host_log, TOKEN));
		host_stop(&verifier);
	}
}

static void put_raw(const char *bytes, size_t length)
{
	begin();
	buffer_put(host_step(&verifier, ANSWER), bytes, length);
	serve();
	configure_verify("");
	assert_int_equal(host_authenticate("orders", TOKEN), PAM_AUTHINFO_UNAVAIL);
	assert_int_equal(host_account("orders"), PAM_AUTHINFO_UNAVAIL);
	host_stop(&verifier);
}

#define raw(text) put_raw(text, sizeof(text) - 1)

static void test_malformed(void **state)
{
	char large[6000] = "\1\0";

	(void)state;
	raw("");
	raw("\1");
	raw("\2\0\0\0\0\1a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"); /* version */
	raw("\1\0"); /* no fields */
	raw("\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"); /* no account */
	raw("\1\0\0\0\0\2a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"); /* a NUL in it */
	raw("\1\0\0\0\0\1a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1x"); /* more than all */
	raw("\1\0\0\0\0\1a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"); /* less */
	raw("\1\0\xff\xff\xff\xff"
	    "a");
	raw("\1\7"); /* an error without its text */
	raw("\1\xc8\0\0\0\0\0\0\0\0"); /* one there is not */
	put_raw(large, sizeof(large));
}

/* --- whom it lets in ------------------------------------------------------------------------ */

static void test_mapping(void **state)
{
	struct host_user user = { .password = TOKEN };
	const char *name = NULL;
	pam_handle_t *pamh;

	(void)state;
	begin();
	host_accept(&verifier, "orders_rw");
	buffer_put_text(host_answer(&verifier, 0), "orders_rw");
	buffer_put_text(host_answer(&verifier, 0), "other");
	serve();
	configure_verify("");
	pamh = host_open("alice", &user);
	assert_int_equal(pam_authenticate(pamh, 0), PAM_SUCCESS);
	assert_int_equal(pam_get_item(pamh, PAM_USER, (const void **)&name), PAM_SUCCESS);
	assert_string_equal(name, "orders_rw");
	/* The account phase asks for the login that it was, and names the account. */
	assert_int_equal(pam_acct_mgmt(pamh, 0), PAM_SUCCESS);
	check_request(WIRE_VERIFY_ACCOUNT, SERVICE, "alice", "orders_rw");
	/* By then the login belongs to another account. */
	assert_int_equal(pam_acct_mgmt(pamh, 0), PAM_PERM_DENIED);
	/* A name that somebody else put there is asked for as it is. */
	assert_int_equal(pam_set_item(pamh, PAM_USER, "bob"), PAM_SUCCESS);
	assert_int_equal(pam_acct_mgmt(pamh, 0), PAM_SUCCESS);
	check_request(WIRE_VERIFY_ACCOUNT, SERVICE, "bob", "");
	pam_end(pamh, PAM_SUCCESS);
}

/* A second attempt with the same handle, that fails: what the first one found does not count for it. */
static void test_mapping_forgotten(void **state)
{
	struct host_user user = { .password = TOKEN };
	pam_handle_t *pamh;

	(void)state;
	begin();
	host_accept(&verifier, "orders_rw");
	host_refuse(&verifier, 7, "refused");
	buffer_put_text(host_answer(&verifier, 0), "orders_rw");
	serve();
	configure_verify("");
	pamh = host_open("alice", &user);
	assert_int_equal(pam_authenticate(pamh, 0), PAM_SUCCESS);
	assert_int_equal(pam_authenticate(pamh, 0), PAM_AUTH_ERR);
	assert_int_equal(pam_acct_mgmt(pamh, 0), PAM_SUCCESS);
	check_request(WIRE_VERIFY_ACCOUNT, SERVICE, "orders_rw", "");
	pam_end(pamh, PAM_SUCCESS);
}

static void test_account_alone(void **state)
{
	(void)state;
	begin();
	buffer_put_text(host_answer(&verifier, 0), "orders_rw");
	serve();
	configure_verify("service=ssh");
	assert_int_equal(host_account("alice"), PAM_SUCCESS);
	check_request(WIRE_VERIFY_ACCOUNT, "ssh", "alice", "");
}

static void test_logins(void **state)
{
	char name[300];

	(void)state;
	begin();
	host_refuse(&verifier, 7, "refused");
	serve();
	configure_verify("");
	memset(name, 'x', sizeof(name));
	name[256] = 0;
	assert_int_equal(host_authenticate(name, TOKEN), PAM_USER_UNKNOWN);
	assert_int_equal(host_account(name), PAM_USER_UNKNOWN);
	assert_int_equal(verifier.requests, 0);
	name[255] = 0;
	assert_int_equal(host_authenticate(name, TOKEN), PAM_AUTH_ERR);
	check_request(WIRE_VERIFY_TOKEN, SERVICE, name, TOKEN);
	/* Somebody typed his token where the name belongs. */
	assert_null(strstr(host_log, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
	assert_int_equal(host_authenticate("a\nb\x1b[31m\xff", TOKEN), PAM_AUTH_ERR);
	check_logged("login \"a\\x0ab\\x1b[31m\\xff\"");
}

/* --- tokens ----------------------------------------------------------------------------------- */

static void test_no_token(void **state)
{
	struct host_user none = { .result = PAM_CONV_ERR };
	pam_handle_t *pamh;

	(void)state;
	begin();
	host_accept(&verifier, "orders");
	serve();
	configure_verify("");
	assert_int_equal(host_authenticate("orders", ""), PAM_AUTHTOK_ERR);
	assert_int_equal(host_authenticate("orders", NULL), PAM_AUTHTOK_ERR);
	pamh = host_open("orders", &none);
	assert_int_equal(pam_authenticate(pamh, 0), PAM_AUTHTOK_ERR);
	pam_end(pamh, PAM_AUTHTOK_ERR);
	assert_int_equal(verifier.requests, 0);
	assert_string_equal(host_log, "");
	configure_verify("debug");
	assert_int_equal(host_authenticate("orders", ""), PAM_AUTHTOK_ERR);
	check_logged("<7>");
}

/* A token of that length; whole, or as it is when its end is missing. */
static const char *make_token(char *token, size_t length, const char *kind)
{
	size_t at = strcmp(kind, "whole") == 0 ? length - 87 : strcmp(kind, "impossible end") == 0 ? length - 6 : length;

	memset(token, 'A', length);
	token[length] = 0;
	token[20] = '.';
	if (strcmp(kind, "no third part") != 0)
		token[at < length ? at : length - 1] = '.';
	return token;
}

static void test_truncated(void **state)
{
	static const size_t lengths[] = { 511, 512, 1023, 1024, 2047, 4095 };
	static const char *const kinds[] = { "no third part", "empty third part", "impossible end" };
	char token[5000], told[100];

	(void)state;
	begin();
	host_refuse(&verifier, 7, "refused");
	serve();
	configure_verify("");
	for (size_t i = 0; i < 6; i++) {
		for (size_t j = 0; j < 3; j++) {
			host_log[0] = 0;
			assert_int_equal(host_authenticate("orders", make_token(token, lengths[i], kinds[j])), PAM_AUTH_ERR);
			assert_int_equal(verifier.requests, 0);
			snprintf(told, sizeof(told), "TOKEN_TRUNCATED: the token ends in the middle, at %zu bytes", lengths[i]);
			check_logged(told);
			assert_null(strstr(host_log, "AAAA"));
		}
	}
	check_logged("terminals");
}

/* What only looks as if it were cut is for the verifier to judge. */
static void test_not_truncated(void **state)
{
	char token[5000];

	(void)state;
	begin();
	host_accept(&verifier, "orders");
	host_refuse(&verifier, 7, "refused");
	serve();
	configure_verify("");
	assert_int_equal(host_authenticate("orders", make_token(token, 1023, "whole")), PAM_SUCCESS);
	assert_int_equal(verifier.requests, 1);
	assert_int_equal(host_authenticate("orders", make_token(token, 2047, "whole")), PAM_AUTH_ERR);
	check_logged("its length is one at which tokens are cut: PgBouncer");
	host_log[0] = 0;
	assert_int_equal(host_authenticate("orders", make_token(token, 1000, "no third part")), PAM_AUTH_ERR);
	assert_int_equal(verifier.requests, 3);
	assert_null(strstr(host_log, "cut"));
}

static void test_long_tokens(void **state)
{
	char *token = malloc(70000);

	(void)state;
	assert_non_null(token);
	begin();
	host_accept(&verifier, "orders");
	serve();
	configure_verify("");
	make_token(token, 60000, "whole");
	assert_int_equal(host_authenticate("orders", token), PAM_SUCCESS);
	check_request(WIRE_VERIFY_TOKEN, SERVICE, "orders", token);
	/* The longest that fits a frame, and one byte more. */
	make_token(token, WIRE_MAX - 2 - 3 * 4 - strlen(SERVICE) - strlen("orders"), "whole");
	host_authenticate("orders", token);
	make_token(token, 65530, "whole");
	assert_int_equal(host_authenticate("orders", token), PAM_AUTH_ERR);
	check_logged("TOKEN_SIZE");
	free(token);
}

/* --- a verifier that is not well ----------------------------------------------------------------- */

static void test_breaks_off(void **state)
{
	(void)state;
	begin();
	host_step(&verifier, BREAK_OFF);
	host_accept(&verifier, "orders");
	serve();
	configure_verify("");
	assert_int_equal(host_authenticate("orders", TOKEN), PAM_SUCCESS);
	assert_int_equal(verifier.requests, 2);
	host_stop(&verifier);

	begin();
	host_step(&verifier, BREAK_OFF);
	serve();
	configure_verify("");
	assert_int_equal(host_authenticate("orders", TOKEN), PAM_AUTHINFO_UNAVAIL);
	assert_int_equal(verifier.requests, 2);
	assert_int_equal(host_account("orders"), PAM_AUTHINFO_UNAVAIL);
	check_logged("broke off");
	host_stop(&verifier);

	configure_verify("");
	assert_int_equal(host_authenticate("orders", TOKEN), PAM_AUTHINFO_UNAVAIL);
	assert_int_equal(host_account("orders"), PAM_AUTHINFO_UNAVAIL);
	check_logged("cannot reach the verifier");
}

/* What the lines in /etc/pam.d say counts, not what somebody put into the application's environment. */
static void test_environment(void **state)
{
	(void)state;
	begin();
	host_accept(&verifier, "orders");
	serve();
	assert_int_equal(host_configure("auth required MODULE verify\n"), 0);
	setenv("KEYFOB_VERIFY_SOCKET", verifier.path, 1);
	setenv("KEYFOB_SOCKET", verifier.path, 1);
	assert_int_not_equal(host_authenticate("orders", TOKEN), PAM_SUCCESS);
	unsetenv("KEYFOB_VERIFY_SOCKET");
	unsetenv("KEYFOB_SOCKET");
	assert_int_equal(verifier.requests, 0);
}

static void on_alarm(int number)
{
	(void)number;
}

static void test_hangs(void **state)
{
	const struct itimerval often = { { 0, 20000 }, { 0, 20000 } }, never = { { 0, 0 }, { 0, 0 } };
	double start;

	(void)state;
	begin();
	host_step(&verifier, HANG);
	serve();
	configure_verify("");
	start = host_seconds();
	assert_int_equal(host_authenticate("orders", TOKEN), PAM_AUTHINFO_UNAVAIL);
	assert_true(host_seconds() - start < SOON);
	check_logged("did not answer");
	host_stop(&verifier);

	/* Each signal interrupts the wait; the clock goes on. */
	begin();
	host_step(&verifier, HANG);
	serve();
	configure_verify("");
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &often, NULL);
	start = host_seconds();
	assert_int_equal(host_account("orders"), PAM_AUTHINFO_UNAVAIL);
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_DFL);
	assert_true(host_seconds() - start < SOON);
}

/* One that does not even accept: connect(2) waits for room in the backlog. */
static void test_never_accepts(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int waiting[16], count = 0;
	double start;

	(void)state;
	assert_int_equal(host_listen(&verifier, "verify", 0, 0), 0);
	strcpy(address.sun_path, verifier.path);
	for (; count < 16; count++) {
		waiting[count] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (connect(waiting[count], (struct sockaddr *)&address, sizeof(address)) < 0)
			break;
	}
	assert_in_range(count, 1, 15);
	configure_verify("");
	start = host_seconds();
	assert_int_equal(host_authenticate("orders", TOKEN), PAM_AUTHINFO_UNAVAIL);
	assert_true(host_seconds() - start < SOON);
	for (; count >= 0; count--)
		close(waiting[count]);
}

static void test_strangers_socket(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("# needs root\n");
		skip();
	}
	assert_int_equal(host_listen(&verifier, "verify", 1, 64), 0);
	host_accept(&verifier, "orders");
	serve();
	configure_verify("");
	assert_int_equal(host_authenticate("orders", TOKEN), PAM_AUTHINFO_UNAVAIL);
	assert_int_equal(host_account("orders"), PAM_AUTHINFO_UNAVAIL);
	assert_int_equal(verifier.requests, 0);
	check_logged("belongs to a stranger (uid 1)");
}

/* --- threads ----------------------------------------------------------------------------------------- */

static void *authenticate_often(void *arg)
{
	unsigned int *accepted = arg;

	for (int i = 0; i < 20; i++)
		*accepted += host_authenticate("alice", TOKEN) == PAM_SUCCESS;
	return NULL;
}

static int lowest_free(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static void test_threads(void **state)
{
	pthread_t threads[8];
	unsigned int accepted[8] = { 0 };
	int before = lowest_free();

	(void)state;
	begin();
	host_accept(&verifier, "orders_rw");
	serve();
	configure_verify("debug");
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, authenticate_often, &accepted[i]), 0);
	for (size_t i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(accepted[i], 20);
	}
	assert_int_equal(verifier.requests, 160);
	/* No descriptor is left open. */
	host_stop(&verifier);
	assert_int_equal(lowest_free(), before);
}

static int stop(void **state)
{
	(void)state;
	host_stop(&verifier);
	return 0;
}

#define with_verifier(test) cmocka_unit_test_teardown(test, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_verifier(test_accepted),
		with_verifier(test_errors),
		with_verifier(test_malformed),
		with_verifier(test_mapping),
		with_verifier(test_mapping_forgotten),
		with_verifier(test_account_alone),
		with_verifier(test_logins),
		with_verifier(test_no_token),
		with_verifier(test_truncated),
		with_verifier(test_not_truncated),
		with_verifier(test_long_tokens),
		with_verifier(test_breaks_off),
		with_verifier(test_environment),
		with_verifier(test_hangs),
		with_verifier(test_never_accepts),
		with_verifier(test_strangers_socket),
		with_verifier(test_threads),
	};

	return cmocka_run_group_tests(tests, host_set_up, host_tear_down);
}
