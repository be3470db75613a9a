/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session: the user's tokens are where his programs look for them. His
 * persistent keyring is linked into the login's session keyring, the
 * credentials named are asked for in his name, and PGPASSFILE names his
 * pgpass file where the broker keeps one.
 */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <security/pam_ext.h>
#include <security/pam_modutil.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "keyring/keyctl.h"
#include "keyring/keyfob.h"
#include "pam/pam.h"

/* --- the keyring -------------------------------------------------------------------- */

/* Where the keyring is out of reach, in a container, programs ask over the socket: nothing is lost but speed. */
static bool is_unsupported(int error)
{
	return error == EPERM || error == ENOSYS || error == ENODEV || error == EOPNOTSUPP;
}

static int no_keyring(struct pam_call *call, const char *why)
{
	pam_syslog(call->pamh, LOG_INFO, "the kernel keyring cannot be used here (%s): programs will ask over the socket", why);
	return PAM_SUCCESS;
}

static int no_link(struct pam_call *call, const char *why)
{
	pam_syslog(call->pamh, LOG_WARNING, "no link to the user's tokens: %s", why);
	return PAM_SESSION_ERR;
}

/*
 * Only into a session keyring that is the user's alone: one that was kept
 * over from the caller (sudo), from the daemon, or that all of the user's
 * processes share by default would give his tokens to others or outlive the
 * login.
 */
static int link_keyring(struct pam_call *call, uid_t uid)
{
	char fallback[32];
	struct key_description d;
	key_serial_t session;
	int error;

	if (!key_ids_are_true())
		return no_keyring(call, "another user namespace");
	/*
	 * Where there is none an empty one is made. Asked without that, the kernel would make root's default session keyring this
	 * process's, and so the user's programs', who would possess all that root has.
	 */
	session = keyctl_get_keyring_ID(KEY_SPEC_SESSION_KEYRING, 1);
	if (session < 0)
		return is_unsupported(errno) ? no_keyring(call, strerror(errno)) : no_link(call, strerror(errno));
	error = key_describe(session, &d);
	if (error < 0)
		return no_link(call, strerror(-error));
	snprintf(fallback, sizeof(fallback), "_uid_ses.%u", uid);
	if (d.uid != uid || strcmp(d.name, fallback) == 0)
		return no_link(call, "the session keyring is not one of this login: put pam_keyinit.so force revoke before this module");
	if (keyctl_get_persistent(uid, session) < 0)
		return is_unsupported(errno) ? no_keyring(call, strerror(errno)) : no_link(call, strerror(errno));
	call_debug(call, "uid %u's persistent keyring is linked into session keyring %d", uid, session);
	return PAM_SUCCESS;
}

/* --- asking in the user's name --------------------------------------------------------- */

/*
 * Raw calls: those of libc change all threads of a process. 32-bit machines
 * have old ones for 16-bit ids beside them.
 */
#ifdef SYS_setresuid32
#define RAW_SETRESUID SYS_setresuid32
#define RAW_SETRESGID SYS_setresgid32
#define RAW_SETGROUPS SYS_setgroups32
#else
#define RAW_SETRESUID SYS_setresuid
#define RAW_SETRESGID SYS_setresgid
#define RAW_SETGROUPS SYS_setgroups
#endif

struct groups {
	int count;
	gid_t *ids;
};

/* What this thread is, and goes back to. */
struct self {
	gid_t gid;
	struct groups groups;
	struct __user_cap_data_struct capabilities[_LINUX_CAPABILITY_U32S_3];
};

static long capabilities(long call, struct self *own)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(call, &head, own->capabilities);
}

static bool take_self(struct self *own)
{
	struct groups *g = &own->groups;
	uid_t real, effective, saved;

	/* The way back leads over the real or the saved id. */
	if (getresuid(&real, &effective, &saved) < 0 || (real != 0 && saved != 0))
		return false;
	own->gid = getegid();
	g->count = getgroups(0, NULL);
	g->ids = calloc((size_t)(g->count > 0 ? g->count : 1), sizeof(gid_t));
	return g->ids && g->count >= 0 && getgroups(g->count, g->ids) == g->count && capabilities(SYS_capget, own) == 0;
}

static bool groups_of(const struct passwd *pw, struct groups *g)
{
	int count = 64, room;

	do {
		room = count;
		free(g->ids);
		g->ids = calloc((size_t)room, sizeof(gid_t));
		if (g->ids && getgrouplist(pw->pw_name, pw->pw_gid, g->ids, &count) >= 0) {
			g->count = count;
			return true;
		}
	} while (g->ids && count > room && count <= NGROUPS_MAX);
	return false;
}

/*
 * -1 leaves an id as it is: what is real and saved stays root's, so the way
 * back is open and the user cannot send this process signals. Going on as
 * somebody else, or with his groups, is not an option. The kernel makes all
 * permitted capabilities effective on the way back, also such as were not.
 */
static void come_back(struct self *own)
{
	if (syscall(RAW_SETRESUID, -1, 0, -1) < 0 || syscall(RAW_SETRESGID, -1, own->gid, -1) < 0 ||
		syscall(RAW_SETGROUPS, (size_t)own->groups.count, own->groups.ids) < 0 || capabilities(SYS_capset, own) < 0)
		abort();
}

static bool become(const struct passwd *pw, const struct groups *his, struct self *own)
{
	if (syscall(RAW_SETGROUPS, (size_t)his->count, his->ids) < 0)
		return false;
	if (syscall(RAW_SETRESGID, -1, pw->pw_gid, -1) == 0 && syscall(RAW_SETRESUID, -1, pw->pw_uid, -1) == 0)
		return true;
	come_back(own);
	return false;
}

/*
 * The broker puts a copy into the keyring of who asks, and the kernel tells it
 * who that is when the socket is connected. So this thread is the user for as
 * long as the question takes, with signals held back: their handlers are the
 * application's and expect to be root.
 */
static int get_as(const struct pam_call *call, const struct passwd *pw, const struct buffer *fields, char *message)
{
	struct self own = { 0 };
	struct groups his = { 0 };
	int error = KEYFOB_EFAIL;
	struct buffer reply;
	struct reader r;
	sigset_t all, before;

	buffer_init(&reply, WIRE_MAX);
	strcpy(message, "this process cannot ask in the user's name and be itself again");
	if (take_self(&own) && groups_of(pw, &his)) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		if (become(pw, &his, &own)) {
			error = call_ask(call, &call->broker, WIRE_GET, fields, &reply, &r, message);
			come_back(&own);
		} else {
			strcpy(message, "this process may not ask in the user's name");
		}
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	buffer_free(&reply);
	free(own.groups.ids);
	free(his.ids);
	return error;
}

static int get_as_self(const struct pam_call *call, const struct buffer *fields, char *message)
{
	struct buffer reply;
	struct reader r;
	int error;

	buffer_init(&reply, WIRE_MAX);
	error = call_ask(call, &call->broker, WIRE_GET, fields, &reply, &r, message);
	buffer_free(&reply);
	return error;
}

/* The first program of the session does not wait for a fetch. A login never fails for that. */
static void prefetch(struct pam_call *call, const struct passwd *pw, const char *credential)
{
	char message[WIRE_TEXT_MAX], text[CALL_TEXT];
	struct buffer fields;
	int may = retrieve_may(call, credential, pw->pw_uid, message), error = 0;

	if (may == 0) {
		call_debug(call, "%s is not for uid %u", credential, pw->pw_uid);
		return;
	}
	if (may == 1) {
		buffer_init(&fields, WIRE_MAX);
		buffer_put_text(&fields, credential);
		if (geteuid() == pw->pw_uid)
			error = get_as_self(call, &fields, message);
		else
			error = get_as(call, pw, &fields, message);
		buffer_free(&fields);
	}
	if (may < 0 || error < 0)
		pam_syslog(call->pamh, LOG_WARNING, "%s was not fetched ahead: %s", credential, call_escape(message, text));
	else
		call_debug(call, "%s is ready for uid %u", credential, pw->pw_uid);
}

/* --- PGPASSFILE ------------------------------------------------------------------------ */

/* libpq goes past a file that others may read. What the user or the administrator chose stays. */
static int export_pgpass(struct pam_call *call, const struct passwd *pw)
{
	char assignment[PATH_MAX];
	const char *path = assignment + strlen("PGPASSFILE=");
	struct stat st;
	/* The broker keeps them beside its socket. */
	const char *base = strrchr(call->broker.path, '/');
	int length = snprintf(assignment, sizeof(assignment), "PGPASSFILE=%.*s/token/%s/pgpass", (int)(base - call->broker.path),
		call->broker.path, pw->pw_name);

	if (pw->pw_name[0] == '.' || strchr(pw->pw_name, '/') || length < 0 || (size_t)length >= sizeof(assignment) ||
		pam_getenv(call->pamh, "PGPASSFILE"))
		return PAM_SUCCESS;
	if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != pw->pw_uid || (st.st_mode & 077)) {
		call_debug(call, "%s is not a file for uid %u alone", path, pw->pw_uid);
		return PAM_SUCCESS;
	}
	return pam_putenv(call->pamh, assignment) == PAM_SUCCESS ? PAM_SUCCESS : PAM_SESSION_ERR;
}

int session_open(struct pam_call *call)
{
	const char *user = NULL;
	const struct passwd *pw = NULL;
	char text[CALL_TEXT];
	int result = PAM_SUCCESS, exported;

	if (pam_get_item(call->pamh, PAM_USER, (const void **)&user) == PAM_SUCCESS && user)
		pw = pam_modutil_getpwnam(call->pamh, user);
	if (!pw) {
		pam_syslog(call->pamh, LOG_ERR, "the system has no user \"%.32s\"", call_escape(user ? user : "", text));
		return PAM_SESSION_ERR;
	}
	if (geteuid() != 0 && geteuid() != pw->pw_uid) {
		pam_syslog(call->pamh, LOG_ERR, "this process is uid %u and can open sessions of its own only", geteuid());
		return PAM_SESSION_ERR;
	}
	/*
	 * Root's own is left alone: whether his session keyring is fresh, or the
	 * daemon's, which the next user's login inherits, cannot be told by its
	 * owner. His programs link it when they first look for a token.
	 */
	if (pw->pw_uid != 0)
		result = link_keyring(call, pw->pw_uid);
	for (size_t i = 0; i < call->credential_count; i++)
		prefetch(call, pw, call->credentials[i]);
	exported = export_pgpass(call, pw);
	return result == PAM_SUCCESS ? exported : result;
}
