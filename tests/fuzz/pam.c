/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pam_keyfob.so in an application and with servers that are made up here. An
 * input is, each ended by a newline: the module's options, what is asked for
 * (a: auth, c: account), the login, what the user answers to the prompt;
 * then the servers' replies, parted by the byte 0x1e.
 *
 * links: pam/pam_keyfob pam/verify pam/retrieve keyring/client keyring/keyctl common/buffer common/wire
 * libs: libkeyutils
 * wrap: client_ask nanosleep
 * parser: pam/pam_keyfob pam/verify pam/retrieve
 */
#include <pwd.h>
#include <security/pam_ext.h>
#include <security/pam_modutil.h>
#include <stdarg.h>
#include <time.h>

#include "keyring/client.h"
#include "keyring/keyfob.h"
#include "pam/pam.h"
#include "tests/fuzz/fuzz.h"

#define ITEMS 16
#define DATA 4

int __wrap_client_ask(const struct client_server *server, uint8_t opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply,
	struct reader *r, char *message, size_t size);

int __wrap_nanosleep(const struct timespec *pause, struct timespec *left);

/* Before a server is asked once more. */
int __wrap_nanosleep(const struct timespec *pause, struct timespec *left)
{
	(void)pause, (void)left;
	return 0;
}

static struct {
	char *item[ITEMS];
	char *answer;
	bool is_secret; /* the answer stands nowhere else in the input, so no line of the log has it from there */
	struct {
		char *name;
		void *data;
		void (*cleanup)(pam_handle_t *pamh, void *data, int status);
	} data[DATA];
	const uint8_t *rest;
	size_t left;
} host;

/* --- servers ------------------------------------------------------------------------------- */

int __wrap_client_ask(const struct client_server *server, uint8_t opcode, const struct buffer *fields, int timeout_ms, struct buffer *reply,
	struct reader *r, char *message, size_t size)
{
	struct fuzz_part part = fuzz_take(&host.rest, &host.left, 0x1e);

	(void)opcode, (void)timeout_ms;
	message[0] = 0;
	fuzz_require(server->path[0] == '/' && fields && !fields->failed);
	buffer_clear(reply);
	buffer_put(reply, part.bytes, part.length);
	free(part.bytes);
	if (reply->failed)
		return KEYFOB_EINVAL;
	return client_read_reply(reply, r, message, size);
}

/* --- libpam, as far as the module calls it -------------------------------------------------- */

static int converse(int count, const struct pam_message **messages, struct pam_response **responses, void *arg)
{
	(void)messages, (void)arg;
	fuzz_require(count == 1);
	if (strcmp(host.answer, "again") == 0)
		return PAM_CONV_AGAIN;
	*responses = calloc(1, sizeof(**responses));
	fuzz_require(*responses);
	if (*host.answer)
		(*responses)->resp = strdup(host.answer);
	return PAM_SUCCESS;
}

int pam_get_item(const pam_handle_t *pamh, int type, const void **item)
{
	static const struct pam_conv conversation = { converse, NULL };

	(void)pamh;
	*item = type == PAM_CONV ? (const void *)&conversation : host.item[type];
	return PAM_SUCCESS;
}

int pam_set_item(pam_handle_t *pamh, int type, const void *item)
{
	char *copy = strdup(item);

	(void)pamh;
	free(host.item[type]);
	host.item[type] = copy;
	return PAM_SUCCESS;
}

int pam_get_user(pam_handle_t *pamh, const char **user, const char *prompt)
{
	(void)pamh, (void)prompt;
	*user = host.item[PAM_USER];
	return PAM_SUCCESS;
}

int pam_set_data(pam_handle_t *pamh, const char *name, void *data, void (*cleanup)(pam_handle_t *pamh, void *data, int status))
{
	size_t i = 0;

	while (i < DATA && host.data[i].name && strcmp(host.data[i].name, name) != 0)
		i++;
	fuzz_require(i < DATA);
	if (host.data[i].name)
		host.data[i].cleanup(pamh, host.data[i].data, 0);
	else
		host.data[i].name = strdup(name);
	host.data[i].data = data;
	host.data[i].cleanup = cleanup;
	return PAM_SUCCESS;
}

int pam_get_data(const pam_handle_t *pamh, const char *name, const void **data)
{
	(void)pamh;
	for (size_t i = 0; i < DATA; i++) {
		if (host.data[i].name && strcmp(host.data[i].name, name) == 0) {
			*data = host.data[i].data;
			return PAM_SUCCESS;
		}
	}
	return PAM_NO_MODULE_DATA;
}

/* A line of the log is one line, and holds nothing of what the user typed. */
void pam_syslog(const pam_handle_t *pamh, int priority, const char *format, ...)
{
	char line[8192];
	va_list args;

	(void)pamh, (void)priority;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	fuzz_require(fuzz_is_plain(line));
	fuzz_require(!host.is_secret || !strstr(line, host.answer));
}

struct passwd *pam_modutil_getpwnam(pam_handle_t *pamh, const char *user)
{
	static struct passwd nobody = { .pw_uid = 65534 };

	(void)pamh;
	nobody.pw_uid = *user == 'r' ? 0 : 65534;
	return *user == '-' ? NULL : &nobody;
}

/* What the session does, it does to the kernel: not here. */
int session_open(struct pam_call *call)
{
	(void)call;
	return PAM_SUCCESS;
}

/* --- the module ------------------------------------------------------------------------------ */

static int call_module(char phase, int argc, const char **argv)
{
	pam_handle_t *pamh = (pam_handle_t *)&host;
	int result;

	if (phase == 'c')
		return pam_sm_acct_mgmt(pamh, 0, argc, argv);
	result = pam_sm_authenticate(pamh, 0, argc, argv);
	/* Nobody is let in whom no server vouched for. */
	fuzz_require(result != PAM_SUCCESS || host.item[PAM_AUTHTOK]);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *argv[16];
	char *options, *phases, *at;
	int argc = 0;

	if (size > FUZZ_MAX)
		return 0;
	memset(&host, 0, sizeof(host));
	at = options = fuzz_take_text(&data, &size, '\n');
	phases = fuzz_take_text(&data, &size, '\n');
	host.item[PAM_SERVICE] = strdup("postgresql");
	host.item[PAM_USER] = fuzz_take_text(&data, &size, '\n');
	host.answer = fuzz_take_text(&data, &size, '\n');
	host.rest = data;
	host.left = size;
	host.is_secret = strlen(host.answer) >= 12 && strncmp(host.answer, "secret-", 7) == 0 && !strstr(options, host.answer) &&
			 !strstr(host.item[PAM_USER], host.answer) && !memmem(data, size, host.answer, strlen(host.answer));
	while (argc < 16 && (argv[argc] = strsep(&at, " ")))
		argc++;
	for (size_t i = 0; i < 4 && phases[i]; i++)
		call_module(phases[i], argc, argv);
	for (size_t i = 0; i < DATA; i++) {
		if (host.data[i].name)
			host.data[i].cleanup((pam_handle_t *)&host, host.data[i].data, 0);
		free(host.data[i].name);
	}
	for (size_t i = 0; i < ITEMS; i++)
		free(host.item[i]);
	free(host.answer);
	free(options);
	free(phases);
	return 0;
}

static void seed(const char *head, const struct buffer *reply)
{
	struct buffer b;

	buffer_init(&b, FUZZ_MAX);
	buffer_printf(&b, "%s", head);
	for (int i = 0; i < 3; i++) {
		buffer_put(&b, reply->data, reply->length);
		buffer_put_u8(&b, 0x1e);
	}
	fuzz_seed(b.data, b.length);
	buffer_free(&b);
}

void fuzz_seeds(void)
{
	char cut[600];
	struct buffer b;

	buffer_init(&b, WIRE_MAX);
	buffer_put_u8(&b, WIRE_VERSION);
	buffer_put_u8(&b, 0);
	buffer_put_text(&b, "dba");
	buffer_put_text(&b, "entra");
	buffer_put_text(&b, "subject");
	buffer_put_u64(&b, 1900000000);
	seed("verify debug service=pg\nac\nalice\nsecret-token.a.b\n", &b);
	snprintf(cut, sizeof(cut), "verify\na\nalice\nsecret-%0504d\n", 0);
	seed(cut, &b);
	buffer_clear(&b);
	buffer_put_u8(&b, WIRE_VERSION);
	buffer_put_u8(&b, 0);
	buffer_put_text(&b, "dba");
	seed("verify socket=/run/x\nc\ndba\n\n", &b);
	buffer_clear(&b);
	wire_put_error(&b, KEYFOB_EREFUSED, 0, "refused\n");
	seed("verify\nac\nalice\nsecret-token.a.b\n", &b);
	buffer_clear(&b);
	buffer_put_u8(&b, WIRE_VERSION);
	buffer_put_u8(&b, 0);
	buffer_put_u8(&b, 1);
	buffer_put_text(&b, "named by the allow line");
	seed("retrieve credential=atlas broker=/run/b\nva\nbob\nsecret-password\n", &b);
	buffer_clear(&b);
	buffer_put_u8(&b, WIRE_VERSION);
	buffer_put_u8(&b, 0);
	buffer_put_text(&b, "token");
	buffer_put_u64(&b, 1900000000);
	buffer_put_u64(&b, 1800000000);
	buffer_put_text(&b, "0123abcd");
	seed("retrieve credential=atlas\na\nbob\n\n", &b);
	seed("nonsense\na\n-\n\n", &b);
	buffer_free(&b);
}
