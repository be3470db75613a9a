/* SPDX-License-Identifier: Apache-2.0 */
/* What this kernel has, what keeps keyfob from it, and the clock. */
#include "cli/admin-doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "keyring/keyctl.h"

#define KEYS_DIR "/proc/sys/kernel/keys/"
#define PROBE_MS 5000
#define DAY 86400
#define PROCESSES_MAX 65536
#define CONTAINERS_MAX 8

/* What is only a nuisance for a reader, who has the socket, is the end of it where keyfobd is to run. */
static enum doctor_level serious(const struct doctor *d)
{
	return d->is_host ? DOCTOR_ERROR : DOCTOR_WARNING;
}

/* --- the three calls ------------------------------------------------------------ */

struct probe {
	int add_key, keyctl, request_key; /* 0 or errno */
	int have_persistent; /* 1, 0; -1: the kernel is too old to say */
};

/* In a process of its own: a filter may kill whoever calls. The key ends with its thread. */
static int probe(void *arg, int out)
{
	unsigned char capabilities[2] = { 0 };
	struct probe p = { 0 };

	(void)arg;
	if (add_key("user", "keyfob-doctor", "-", 1, KEY_SPEC_THREAD_KEYRING) < 0)
		p.add_key = errno;
	if (keyctl_get_keyring_ID(KEY_SPEC_THREAD_KEYRING, 0) < 0 && errno != ENOKEY)
		p.keyctl = errno;
	/* Without callout information the kernel starts no program for it. */
	if (request_key("user", "keyfob-doctor:none", NULL, 0) < 0 && errno != ENOKEY)
		p.request_key = errno;
	p.have_persistent =
		keyctl_capabilities(capabilities, sizeof(capabilities)) < 1 ? -1 : !!(capabilities[0] & KEYCTL_CAPS0_PERSISTENT_KEYRINGS);
	return write(out, &p, sizeof(p)) == (ssize_t)sizeof(p) ? 0 : 1;
}

/* Mode 2 is a filter, see proc_pid_status(5). */
static int seccomp_mode(const char *status)
{
	const char *at = strstr(status, "\nSeccomp:");
	int mode = 0;

	return at && sscanf(at, "\nSeccomp: %d", &mode) == 1 ? mode : 0;
}

static bool is_filtered(void)
{
	struct buffer b;
	bool filtered;

	buffer_init(&b, 65536);
	filtered =
		doctor_slurp(AT_FDCWD, "/proc/self/status", 0, 16384, &b) && buffer_cstring(&b) && seccomp_mode((const char *)b.data) == 2;
	buffer_free(&b);
	return filtered;
}

static void call_fails(struct doctor *d, const char *call, int error)
{
	if (error == EDQUOT) {
		doctor_warning(d, call, "%s: all keys that this user may have are taken; tokens come over the socket", strerror(error));
	} else if (is_filtered()) {
		doctor_add(d, serious(d), call, "%s: a seccomp filter is in the way; tokens come over the socket only", strerror(error));
		doctor_fix(d, "allow keyctl, add_key and request_key in the filter (systemd: SystemCallFilter=@keyring), or bind-mount the "
			      "socket");
	} else {
		doctor_add(d, serious(d), call, "%s: this kernel has no keyrings; tokens come over the socket only", strerror(error));
		doctor_fix(d, "a kernel with CONFIG_KEYS=y");
	}
}

static void check_persistent(struct doctor *d, int have)
{
	int64_t expiry = doctor_number(KEYS_DIR "persistent_keyring_expiry");

	if (have == 0 || (have < 0 && expiry < 0)) {
		doctor_add(d, serious(d), "persistent keyrings", "this kernel has none: tokens come over the socket only");
		doctor_fix(d, "a kernel with CONFIG_PERSISTENT_KEYRINGS=y");
	} else if (expiry >= 0 && expiry < DAY) {
		doctor_warning(d, "persistent keyrings",
			"they end %lld s after their last use: a reader who sleeps longer comes back to the socket", (long long)expiry);
		doctor_fix(d, "sysctl -w kernel.keys.persistent_keyring_expiry=259200");
	} else {
		doctor_ok(d, "persistent keyrings", "there");
	}
}

static void check_calls(struct doctor *d)
{
	struct buffer answer;
	struct probe p;
	int code;

	buffer_init(&answer, 8192);
	code = doctor_apart(probe, NULL, PROBE_MS, &answer);
	if (code || answer.length != sizeof(p)) {
		doctor_add(d, serious(d), "keyrings",
			code > 128 ? "who calls the kernel's keyrings here is killed" : "the kernel's keyrings could not be tried");
		doctor_fix(d, "let the seccomp filter answer EPERM in place of killing, or allow keyctl, add_key and request_key");
		goto out;
	}
	memcpy(&p, answer.data, sizeof(p));
	if (p.add_key)
		call_fails(d, "add_key", p.add_key);
	if (p.keyctl)
		call_fails(d, "keyctl", p.keyctl);
	if (p.request_key)
		call_fails(d, "request_key", p.request_key);
	if (!p.add_key && !p.keyctl && !p.request_key)
		doctor_ok(d, "keyrings", "add_key, keyctl and request_key work");
	if (!p.keyctl)
		check_persistent(d, p.have_persistent);
out:
	buffer_free(&answer);
}

/* --- the walls ---------------------------------------------------------------------- */

static void check_walls(struct doctor *d)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int64_t yama = doctor_number("/proc/sys/kernel/yama/ptrace_scope");

	if (key_ids_are_true()) {
		doctor_ok(d, "user namespace", "the initial one");
	} else {
		doctor_warning(
			d, "user namespace", "not the initial one: ids in the keyring mean others here; tokens come over the socket only");
		doctor_fix(d, "run keyfobd on the host, and bind-mount a credential's socket (keyfob.conf(5), socket)");
	}
	if (abi > 0) {
		doctor_ok(d, "Landlock", "version %ld", abi);
	} else {
		doctor_warning(d, "Landlock", "%s: fetches are kept from files by permissions alone",
			errno == EOPNOTSUPP ? "switched off" : "this kernel has none");
		doctor_fix(d, "boot with lsm=landlock,... (CONFIG_SECURITY_LANDLOCK=y)");
	}
	if (yama < 0) {
		doctor_ok(d, "ptrace", "no Yama here: a user's processes may read each other's memory, tokens included");
	} else if (yama == 0) {
		doctor_warning(d, "ptrace", "any process of a user may read his others' memory, tokens included");
		doctor_fix(d, "sysctl -w kernel.yama.ptrace_scope=1");
	} else {
		doctor_ok(d, "ptrace", "restricted by Yama (%lld)", (long long)yama);
	}
}

/* --- containers that are this host's users --------------------------------------------- */

struct spaces {
	ino_t pids, users, network;
};

struct container {
	ino_t pids;
	bool filtered, networked; /* it has a filter; the host's network */
	char pid[16], command[32];
};

static bool find_spaces(int proc, const char *pid, struct spaces *spaces)
{
	const struct {
		const char *name;
		ino_t *number;
	} kinds[] = { { "pid", &spaces->pids }, { "user", &spaces->users }, { "net", &spaces->network } };
	char path[64];
	struct stat st;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(path, sizeof(path), "%.15s/ns/%s", pid, kinds[i].name);
		if (fstatat(proc, path, &st, 0) < 0)
			return false;
		*kinds[i].number = st.st_ino;
	}
	return true;
}

/* In another pid namespace, and the same user namespace? A filter may allow keyctl: that cannot be seen. */
static bool is_container(int proc, const char *pid, const struct spaces *own, struct container *c)
{
	struct spaces its;
	char path[64];
	struct buffer b;
	bool known = false;

	if (!find_spaces(proc, pid, &its) || its.pids == own->pids || its.users != own->users)
		return false;
	buffer_init(&b, 65536);
	snprintf(path, sizeof(path), "%.15s/status", pid);
	if (doctor_slurp(proc, path, 0, 16384, &b) && buffer_cstring(&b)) {
		known = sscanf((const char *)b.data, "Name:\t%31[^\n]", c->command) == 1;
		c->filtered = seccomp_mode((const char *)b.data) != 0;
		c->networked = its.network == own->network;
		c->pids = its.pids;
		snprintf(c->pid, sizeof(c->pid), "%.15s", pid);
	}
	buffer_free(&b);
	return known;
}

/* One process for each: one without a filter, where there is one. */
static size_t find_containers(int proc, DIR *dir, struct container *found)
{
	struct container c;
	struct spaces own;
	struct dirent *e;
	size_t n = 0;

	if (!find_spaces(proc, "self", &own))
		return 0;
	for (int seen = 0; seen < PROCESSES_MAX && (e = readdir(dir)); seen++) {
		size_t i = 0;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !is_container(proc, e->d_name, &own, &c))
			continue;
		while (i < n && found[i].pids != c.pids)
			i++;
		if (i == CONTAINERS_MAX || (i < n && (c.filtered || !found[i].filtered)))
			continue;
		found[i] = c;
		n += i == n;
	}
	return n;
}

/* Is any credential's token put into keyrings? */
static bool uses_keyrings(const struct doctor *d)
{
	for (size_t i = 0; i < d->admin.config.count; i++) {
		const struct config_section *s = &d->admin.config.sections[i];
		const char *store = config_value(s, "store");

		if (strcmp(s->type, "credential") == 0 && (!store || strcmp(store, "socket") != 0))
			return true;
	}
	return false;
}

static bool serves_metadata(const struct doctor *d)
{
	for (size_t i = 0; i < d->admin.config.count; i++)
		if (config_says_yes(&d->admin.config.sections[i], "metadata"))
			return true;
	return false;
}

static void check_containers(struct doctor *d)
{
	struct container found[CONTAINERS_MAX];
	DIR *dir = opendir("/proc");
	size_t n = dir ? find_containers(dirfd(dir), dir, found) : 0, before = d->count;

	for (size_t i = 0; i < n; i++) {
		if (uses_keyrings(d) && !found[i].filtered) {
			doctor_warning(d, "containers",
				"process %s (%s) is in a container that shares this host's user namespace, and no seccomp filter keeps it "
				"from keyctl: it reads the keyring of whatever uid it runs as",
				found[i].pid, found[i].command);
			doctor_fix(d, "store = socket for the credentials of such users, a seccomp filter, or a user namespace for the "
				      "container");
		}
		if (serves_metadata(d) && found[i].networked) {
			doctor_warning(d, "containers",
				"process %s (%s) is in a container that shares this host's users and network: for keyfob-metadata it is "
				"the user whose uid it runs as, and its root can be any",
				found[i].pid, found[i].command);
			doctor_fix(d, "a network or a user namespace for the container, or metadata = no");
		}
	}
	if (dir && d->count == before)
		doctor_ok(d, "containers", "none gets tokens of this host by the uid that it runs as");
	if (dir)
		closedir(dir);
}

void doctor_kernel(struct doctor *d)
{
	check_calls(d);
	check_walls(d);
	if (geteuid() == 0 && key_ids_are_true() && d->configured && (uses_keyrings(d) || serves_metadata(d)))
		check_containers(d);
}

/* --- the clock ---------------------------------------------------------------------------- */

void doctor_clock(struct doctor *d)
{
	struct timex t = { 0 };
	int state = adjtimex(&t);
	time_t now = time(NULL);
	struct stat st;

	/* A program is not newer than now, but by a time zone that was set wrong when it was built. */
	if (stat("/proc/self/exe", &st) == 0 && st.st_mtime > now + DAY) {
		doctor_error(d, "time", "the clock is before the day on which this program was made: tokens seem not to be valid yet");
		doctor_fix(d, "timedatectl set-ntp true");
	}
	for (size_t i = 0; i < d->list.count; i++)
		if ((time_t)d->list.item[i].fetched > now + 60) {
			doctor_error(d, d->list.item[i].name,
				"its token was fetched %lld s from now: the clock was set back; lifetimes are wrong until it is right",
				(long long)d->list.item[i].fetched - (long long)now);
			doctor_fix(d, "timedatectl set-ntp true; keyfob drop %s", d->list.item[i].name);
		}
	if (state == TIME_ERROR || t.status & STA_UNSYNC) {
		doctor_warning(d, "synchronisation", "the kernel says that nothing keeps the clock right; tokens are judged to the second");
		doctor_fix(d, "timedatectl set-ntp true");
	} else if (state >= 0) {
		doctor_ok(d, "synchronisation", "the clock is kept right, to %ld ms", t.maxerror / 1000);
	}
}
