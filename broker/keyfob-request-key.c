/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyfob-request-key: a token for who asks the kernel for a key keyfob:NAME.
 *
 * The kernel starts it as root, by way of request-key(8), for any user at all
 * and with a key's name that he chose. It believes the number of the key, and
 * what the kernel says of it; becomes that user; asks the broker as any other
 * client of his; and fills that one key. The text that came with the request
 * is not looked at.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "broker/request-key-who.h"
#include "common/log.h"
#include "common/sandbox.h"
#include "keyring/client.h"
#include "keyring/keyctl.h"
#include "keyring/keyfob.h"

/* In linux/keyctl.h, which does not go with keyutils.h: the keyring that the one who asks wants the key on. */
#define REQUESTER_KEYRING (-8)

#define LIFE_SECONDS 2
#define ANSWER_MS 1500 /* leaves time to say no */
#define KEY_SECONDS 300 /* no revoke reaches a key of the user's own */
/* How long the kernel gives the same answer without asking again. */
#define REFUSED_SECONDS 10
#define FAILED_SECONDS 5

struct upcall {
	key_serial_t key, auth;
	uid_t uid;
	char credential[WIRE_NAME_MAX + 1]; /* "" as long as the name is not known to be one */
};

/*
 * An end that nothing puts off. Its user may send this process signals, and
 * while it is stopped one of the kernel's workers waits: SIGALRM would then wait
 * too, SIGKILL does not.
 */
static int limit_life(void)
{
	struct sigevent kill = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	struct itimerspec life = { .it_value = { .tv_sec = LIFE_SECONDS } };
	timer_t timer;

	return timer_create(CLOCK_MONOTONIC, &kill, &timer) < 0 || timer_settime(timer, 0, &life, NULL) < 0 ? -errno : 0;
}

/* --- the answer. Only then the log, which may block -------------------------------------- */

static int reject(const struct upcall *u, int error, unsigned int seconds)
{
	if (keyctl_assume_authority(u->key) < 0 || keyctl_reject(u->key, seconds, (unsigned int)error, 0) < 0)
		log_warning("uid=%u event=upcall-failed error=\"the key cannot be rejected: %s\"", u->uid, strerror(errno));
	return 1;
}

static int refuse(const struct upcall *u, const char *reason)
{
	reject(u, EKEYREJECTED, REFUSED_SECONDS);
	log_notice("credential=%s uid=%u event=upcall-refused reason=\"%s\"", u->credential, u->uid, reason);
	return 1;
}

static int fail(const struct upcall *u, int error, const char *what)
{
	char text[2 * WIRE_TEXT_MAX];

	reject(u, error, error == ENOKEY ? FAILED_SECONDS : REFUSED_SECONDS);
	log_warning("credential=%s uid=%u event=upcall-failed error=\"%s\"", u->credential, u->uid, log_quote(what, text, sizeof(text)));
	return 1;
}

/* Returns the seconds the key may stand, 0 for none. What life the token had is not told: the margin is of what it has left. */
static unsigned int key_timeout(uint64_t expires, uint64_t now)
{
	uint64_t left = expires > now ? expires - now : 0;
	uint64_t margin = left / 60;

	margin = margin < 1 ? 1 : margin;
	if (left <= margin)
		return 0;
	return left - margin > KEY_SECONDS ? KEY_SECONDS : (unsigned int)(left - margin);
}

static int fill(const struct upcall *u, struct reader *r)
{
	size_t length;
	const uint8_t *token = reader_string(r, &length);
	unsigned int timeout = key_timeout(reader_u64(r), (uint64_t)time(NULL));
	char text[128];

	if (r->failed || length == 0)
		return fail(u, ENOKEY, "the answer is malformed: do this program and the broker have one version?");
	if (!timeout)
		return fail(u, ENOKEY, "the token is about to expire");
	/* The timeout first: a key that can be read has one, and afterwards this is not ours to set. */
	if (keyctl_set_timeout(u->key, timeout) < 0 || keyctl_assume_authority(u->key) < 0 ||
		keyctl_instantiate(u->key, token, length, 0) < 0) {
		int error = errno;

		snprintf(text, sizeof(text), "the key cannot be filled: %s", strerror(error));
		return fail(u, error == EDQUOT ? EDQUOT : ENOKEY, text);
	}
	return 0;
}

static int answer(const struct upcall *u)
{
	char message[WIRE_TEXT_MAX + 256];
	struct buffer fields, reply;
	struct reader r;
	int error;

	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	buffer_put_text(&fields, u->credential);
	error = client_call(WIRE_GET, &fields, ANSWER_MS, &reply, &r, message, sizeof(message));
	if (error == 0)
		error = fill(u, &r);
	else if (error == KEYFOB_EDENIED || error == KEYFOB_ENOCRED || error == KEYFOB_EPROVIDER)
		error = reject(u, EKEYREJECTED, REFUSED_SECONDS); /* the broker logs it, a few times a minute */
	else
		error = fail(u, ENOKEY, message);
	buffer_free(&fields);
	buffer_free(&reply);
	return error;
}

/* --- who asks, and for what --------------------------------------------------------------- */

/*
 * Read as the user, which leaves out the rows of all others. Then /proc of the
 * thread as root, who may look into it wherever /proc hides other users' processes.
 */
static int find_who(const struct upcall *u, struct who *who)
{
	char path[64];
	pid_t thread = -EACCES;
	FILE *f = NULL;
	int error;

	if (seteuid(u->uid) == 0)
		f = fopen("/proc/keys", "re");
	if (f) {
		thread = who_thread(f, u->auth, u->key);
		fclose(f);
	}
	if (seteuid(0) < 0)
		return -errno;
	if (thread < 0)
		return thread;
	snprintf(path, sizeof(path), "/proc/%d/status", thread);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	error = who_read(f, who);
	fclose(f);
	return error;
}

/* As the one who asks, so far as he may be one. Nothing of root's is left then, and no way back. */
static int become(const struct who *who, char *why, size_t size)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			break;
	if (sandbox_become_member(who->uid, who->gid, who->groups, who->group_count, why, size) < 0)
		return -1;
	if (sandbox_seal() == 0)
		return 0;
	snprintf(why, size, "cannot give up rights: %s", strerror(errno));
	return -1;
}

static int serve(struct upcall *u, bool ring_is_his)
{
	char why[256];
	struct who who = { 0 };
	int error;

	if (u->uid == 0)
		return refuse(u, "a program of root's says keyfob get");
	if (!ring_is_his)
		return refuse(u, "the keyring that the key would hang on belongs to somebody else");
	error = find_who(u, &who);
	if (error == -EBADMSG)
		return refuse(u, "more than one row of /proc/keys tells who asks");
	if (error < 0) {
		snprintf(why, sizeof(why), "/proc does not tell who asks: %s", strerror(-error));
		return fail(u, ENOKEY, why);
	}
	if (who.uid != u->uid)
		error = refuse(u, "the one who asks is not the key's owner");
	else if (who.is_contained)
		error = refuse(u, "asked from another PID namespace: give the credential a socket (keyfob.conf(5))");
	else if (become(&who, why, sizeof(why)) < 0)
		error = fail(u, ENOKEY, why);
	else
		error = answer(u);
	free(who.groups);
	return error;
}

static int run(key_serial_t key)
{
	struct upcall u = { .key = key };
	struct key_description ring, d;
	long auth = keyctl_assume_authority(key);
	bool has_ring;
	int error;

	if (auth < 0) {
		fprintf(stderr, "keyfob-request-key: key %d: %s; the kernel starts this program, for a key that somebody asked for\n", key,
			strerror(errno));
		return 1;
	}
	u.auth = (key_serial_t)auth;
	has_ring = key_describe(REQUESTER_KEYRING, &ring) == 0;
	/* With authority the kernel looks for keys in the user's keyrings too, and he may have made a maze of them. */
	keyctl_assume_authority(0);
	error = key_describe(key, &d);
	if (error < 0 || strcmp(d.type, "user") != 0 || strncmp(d.name, KEY_TOKEN_PREFIX, strlen(KEY_TOKEN_PREFIX)) != 0 ||
		!wire_name_valid(d.name + strlen(KEY_TOKEN_PREFIX)))
		return reject(&u, EKEYREJECTED, REFUSED_SECONDS);
	strcpy(u.credential, d.name + strlen(KEY_TOKEN_PREFIX));
	u.uid = d.uid;
	return serve(&u, has_ring && ring.uid == d.uid);
}

static int usage(int code)
{
	dprintf(code ? 2 : 1, "usage: keyfob-request-key [--socket PATH] KEY\n"
			      "Answers request_key(2) for keyfob:NAME; started by the kernel. See keyfob-request-key(8).\n"
			      "  --socket PATH   the broker's socket (" WIRE_SOCKET_DEFAULT ")\n"
			      "  --version, --help\n");
	return code;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *socket_path = WIRE_SOCKET_DEFAULT;
	long key;
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 's')
			socket_path = optarg;
		else if (c == 'V')
			return printf("keyfob-request-key %s\n", KEYFOB_VERSION) < 0;
		else
			return usage(c == 'h' ? 0 : 2);
	}
	if (optind + 1 != argc)
		return usage(2);
	key = strtol(argv[optind], &end, 10);
	if (*end || key <= 0 || key > INT32_MAX)
		return usage(2);
	if (limit_life() < 0) {
		perror("keyfob-request-key: no timer");
		return 1;
	}
	client_set_socket(socket_path);
	log_open("keyfob-request-key", true, LOG_INFO);
	return run((key_serial_t)key);
}
