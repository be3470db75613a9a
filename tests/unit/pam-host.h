/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An application that uses pam_keyfob.so from the build, with a service file
 * of its own; servers that answer it as a test has laid out, well or badly;
 * and what the module wrote to syslog(3).
 */
#ifndef KEYFOB_TEST_PAM_HOST_H
#define KEYFOB_TEST_PAM_HOST_H

#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "common/buffer.h"
#include "common/wire.h"

#define SERVICE "keyfob-test"
#define STEPS_MAX 4

static char host_directory[64], host_build[4000], host_module[4100], host_probe[4100];

/* --- syslog ------------------------------------------------------------------------- */

static char host_log[65536];
static pthread_mutex_t host_log_lock = PTHREAD_MUTEX_INITIALIZER;

static __attribute__((format(printf, 2, 0))) void host_logged(int level, const char *format, va_list args)
{
	size_t used;

	pthread_mutex_lock(&host_log_lock);
	used = strlen(host_log);
	used += (size_t)snprintf(host_log + used, sizeof(host_log) - used, "<%d>", level & LOG_PRIMASK);
	used += (size_t)vsnprintf(host_log + used, sizeof(host_log) - used, format, args);
	if (used + 2 < sizeof(host_log))
		strcpy(host_log + used, "\n");
	pthread_mutex_unlock(&host_log_lock);
}

/* In place of libc's, which libpam would call. */
#define IN_PLACE __attribute__((visibility("default"), used))
#undef syslog
void __syslog_chk(int level, int flag, const char *format, ...) __attribute__((format(printf, 3, 4)));

IN_PLACE void syslog(int level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	host_logged(level, format, args);
	va_end(args);
}

IN_PLACE void __syslog_chk(int level, int flag, const char *format, ...)
{
	va_list args;

	(void)flag;
	va_start(args, format);
	host_logged(level, format, args);
	va_end(args);
}

/* --- servers ------------------------------------------------------------------------ */

enum step_kind { ANSWER, BREAK_OFF, HANG };

struct step {
	enum step_kind what;
	struct buffer reply;
};

struct host_server {
	char path[100];
	int listener;
	pthread_t thread;
	bool open, running;
	size_t count; /* of steps; the last one is for all connections that follow */
	struct step steps[STEPS_MAX];
	unsigned int requests;
	struct buffer request; /* the last one */
	uint8_t opcodes[STEPS_MAX];
};

static inline void *host_serve(void *arg)
{
	struct host_server *s = arg;
	struct buffer request;
	int fd, held = -1;

	buffer_init(&request, WIRE_MAX);
	while ((fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		const struct step *step = &s->steps[s->requests < s->count ? s->requests : s->count - 1];

		if (wire_receive(fd, &request, NULL) == 0) {
			if (s->requests < STEPS_MAX)
				s->opcodes[s->requests] = request.length > 1 ? request.data[1] : 0;
			s->requests++;
			buffer_clear(&s->request);
			buffer_put(&s->request, request.data, request.length);
			if (step->what == ANSWER)
				send(fd, step->reply.data, step->reply.length, MSG_NOSIGNAL);
		}
		if (step->what == HANG && held < 0)
			held = fd;
		else
			close(fd);
	}
	if (held >= 0)
		close(held);
	buffer_free(&request);
	return NULL;
}

/* A socket at the server's path that uid listens at: that is whose it is for the kernel. */
static inline int host_listen(struct host_server *s, const char *name, uid_t uid, int backlog)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listening;

	memset(s, 0, sizeof(*s));
	snprintf(s->path, sizeof(s->path), "%s/%s", host_directory, name);
	strcpy(address.sun_path, s->path);
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(s->path, 0666) < 0 ||
		(geteuid() == 0 && seteuid(uid) < 0))
		return -1;
	listening = listen(s->listener, backlog);
	if (getuid() == 0 && seteuid(0) < 0)
		return -1;
	buffer_init(&s->request, WIRE_MAX);
	s->open = true;
	return listening;
}

static inline int host_start(struct host_server *s)
{
	s->running = pthread_create(&s->thread, NULL, host_serve, s) == 0;
	return s->running ? 0 : -1;
}

/* Also forgets what was asked and what is to be answered. */
static inline void host_stop(struct host_server *s)
{
	if (!s->open)
		return;
	shutdown(s->listener, SHUT_RDWR);
	if (s->running)
		pthread_join(s->thread, NULL);
	close(s->listener);
	unlink(s->path);
	for (size_t i = 0; i < STEPS_MAX; i++)
		buffer_free(&s->steps[i].reply);
	buffer_free(&s->request);
	s->open = s->running = false;
}

/* What the next connection gets; the caller adds to a reply's fields. Before host_start(). */
static inline struct buffer *host_step(struct host_server *s, enum step_kind what)
{
	struct step *step = &s->steps[s->count++];

	step->what = what;
	buffer_init(&step->reply, 2 * WIRE_MAX);
	return &step->reply;
}

static inline struct buffer *host_answer(struct host_server *s, uint8_t code)
{
	struct buffer *b = host_step(s, ANSWER);

	buffer_put_u8(b, WIRE_VERSION);
	buffer_put_u8(b, code);
	return b;
}

static inline void host_refuse(struct host_server *s, uint8_t code, const char *text)
{
	struct buffer *b = host_answer(s, code);

	buffer_put_u32(b, 0);
	buffer_put_text(b, text);
}

static inline void host_accept(struct host_server *s, const char *account)
{
	struct buffer *b = host_answer(s, 0);

	buffer_put_text(b, account);
	buffer_put_text(b, "entra");
	buffer_put_text(b, "subject");
	buffer_put_u64(b, 1900000000);
}

/* --- the application ------------------------------------------------------------------- */

static inline int host_set_up(void **state)
{
	char self[3000], path[100];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	(void)state;
	strcpy(host_directory, "/tmp/keyfob-test-pam-XXXXXX");
	if (length < 0 || !mkdtemp(host_directory) || chmod(host_directory, 0755) < 0)
		return -1;
	self[length] = 0;
	snprintf(host_build, sizeof(host_build), "%s/../..", dirname(self));
	snprintf(host_module, sizeof(host_module), "%s/lib/security/pam_keyfob.so", host_build);
	snprintf(host_probe, sizeof(host_probe), "%s/tests/modules/pam-probe.so", host_build);
	/* libpam misses a service of that name where there is none. */
	snprintf(path, sizeof(path), "%s/other", host_directory);
	return close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static inline int host_tear_down(void **state)
{
	char path[100];

	(void)state;
	snprintf(path, sizeof(path), "%s/" SERVICE, host_directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/other", host_directory);
	unlink(path);
	return rmdir(host_directory);
}

/* The service file, whole. MODULE and PROBE at the beginning of a word stand for the paths. */
static inline int host_configure(const char *lines)
{
	char path[100];
	FILE *file;

	snprintf(path, sizeof(path), "%s/" SERVICE, host_directory);
	file = fopen(path, "we");
	if (!file)
		return -1;
	for (; *lines; lines++) {
		if (strncmp(lines, "MODULE", 6) == 0) {
			fputs(host_module, file);
			lines += 5;
		} else if (strncmp(lines, "PROBE", 5) == 0) {
			fputs(host_probe, file);
			lines += 4;
		} else {
			fputc(*lines, file);
		}
	}
	return fclose(file);
}

/* What the user answers; NULL: nothing at all. */
struct host_user {
	const char *password;
	int result; /* of the conversation */
	unsigned int asked;
	char prompt[64];
};

static inline int host_converse(int count, const struct pam_message **messages, struct pam_response **responses, void *arg)
{
	struct host_user *user = arg;

	user->asked++;
	snprintf(user->prompt, sizeof(user->prompt), "%s", messages[0]->msg);
	if (user->result != PAM_SUCCESS)
		return user->result;
	*responses = calloc((size_t)count, sizeof(**responses));
	if (!*responses)
		return PAM_BUF_ERR;
	if (user->password)
		(*responses)[0].resp = strdup(user->password);
	return PAM_SUCCESS;
}

static inline pam_handle_t *host_open(const char *login, struct host_user *user)
{
	const struct pam_conv conversation = { host_converse, user };
	pam_handle_t *pamh = NULL;

	return pam_start_confdir(SERVICE, login, &conversation, host_directory, &pamh) == PAM_SUCCESS ? pamh : NULL;
}

/* One authentication from beginning to end. */
static inline int host_authenticate(const char *login, const char *password)
{
	struct host_user user = { .password = password };
	pam_handle_t *pamh = host_open(login, &user);
	int result;

	if (!pamh)
		return -1;
	result = pam_authenticate(pamh, 0);
	pam_end(pamh, result);
	return result;
}

static inline int host_account(const char *login)
{
	struct host_user user = { .password = NULL };
	pam_handle_t *pamh = host_open(login, &user);
	int result;

	if (!pamh)
		return -1;
	result = pam_acct_mgmt(pamh, 0);
	pam_end(pamh, result);
	return result;
}

static inline double host_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#endif
