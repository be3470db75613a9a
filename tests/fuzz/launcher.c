/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the launcher, which can do what root can, does for a keyfobd that was
 * taken over. An input is frames: a byte of switches, two for the length and
 * the frame, two for the length and what comes after it by the socket that
 * goes along.
 *
 * links: common/wire common/log
 * parser: broker/launcher broker/launcher-files
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum { WITH_SOCKET = 1, IN_CHILD = 2, IN_OWNER = 4 }; /* of a frame: whether what it forks is followed, and what that forks */
#define FRAMES_MAX 32
#define FETCHER 990
#define PID 4711 /* of a child that is not followed */
#define CONFIG_DIR "/etc/keyfob"

static char place[] = "/tmp/keyfob-fuzz.XXXXXX";
static sigjmp_buf end_of_process;
static uint8_t switches;
static unsigned int forks;
static uid_t became; /* 0: not yet anybody else */

/* --- what a process that ends leaves behind -------------------------------------------------- */

#define BLOCKS_MAX 65536
static void *blocks[BLOCKS_MAX];
static size_t block_count;
static DIR *lists[64];
static size_t list_count;

static void *note(void *block)
{
	fuzz_require(block_count < BLOCKS_MAX);
	if (block)
		blocks[block_count++] = block;
	return block;
}

static void forget(void *block)
{
	for (size_t i = block_count; block && i-- > 0;) {
		if (blocks[i] != block)
			continue;
		blocks[i] = blocks[--block_count];
		return;
	}
}

static void *fuzz_malloc(size_t size)
{
	return note(malloc(size));
}

static void *fuzz_calloc(size_t count, size_t size)
{
	return note(calloc(count, size));
}

static void fuzz_free(void *block)
{
	forget(block);
	free(block);
}

static DIR *fuzz_fdopendir(int fd)
{
	DIR *list = fdopendir(fd);

	fuzz_require(list_count < 64);
	if (list)
		lists[list_count++] = list;
	return list;
}

static int fuzz_closedir(DIR *list)
{
	for (size_t i = 0; i < list_count; i++)
		if (lists[i] == list)
			lists[i] = lists[--list_count];
	return closedir(list);
}

static void clean_up(int first)
{
	while (list_count)
		closedir(lists[--list_count]);
	while (block_count)
		free(blocks[--block_count]);
	close_range((unsigned int)first, ~0u, 0);
}

/* --- what is not to be done in earnest ---------------------------------------------------------- */

static pid_t fuzz_fork(void)
{
	return switches & (forks++ ? IN_OWNER : IN_CHILD) ? 0 : PID;
}

static void __attribute__((noreturn)) fuzz_exit(int status)
{
	(void)status;
	siglongjmp(end_of_process, 1);
}

/* Only what it made, and never all there is. */
static int fuzz_kill(pid_t pid, int signal)
{
	fuzz_require(signal == SIGKILL && (pid == PID || pid == -PID));
	return 0;
}

static const char fetch_path[] = "/usr/libexec/keyfob/keyfob-fetch";

/* keyfob-fetch alone is started, with these arguments, and never as root. */
static int fuzz_execve(const char *path, char *const argv[], char *const environment[])
{
	fuzz_require(strcmp(path, fetch_path) == 0 && strcmp(argv[1], "--module-dir") == 0 && strcmp(argv[2], "/usr/lib/keyfob/modules") == 0);
	fuzz_require(!argv[3] || (strcmp(argv[3], "--describe") == 0 && !strchr(argv[4], '/') && argv[4][0] != '-' && !argv[5]));
	fuzz_require(environment[0] && !environment[1] && (became || geteuid() != 0));
	return -1;
}

static struct passwd *find_user(uid_t uid)
{
	static struct passwd user = { .pw_name = (char *)(uintptr_t) "alice" };

	user.pw_uid = uid == FETCHER || uid == 0 ? uid : geteuid();
	user.pw_gid = uid;
	return uid % 3 == 1 ? NULL : &user;
}

static struct passwd *fuzz_getpwnam(const char *name)
{
	return find_user(name[0] == 'k' ? FETCHER : (uid_t)strlen(name));
}

static struct group *fuzz_getgrnam(const char *name)
{
	static struct group group = { .gr_gid = 2000 };

	return strlen(name) % 2 ? &group : NULL;
}

static int fuzz_getgrouplist(const char *name, gid_t group, gid_t *groups, int *count)
{
	(void)name;
	for (int i = 0; i < 3 && i < *count; i++)
		groups[i] = group + (gid_t)i;
	*count = 3;
	return 3;
}

static int fuzz_setresuid(uid_t uid)
{
	became = uid;
	return 0;
}

/* What it names itself is one step below a directory that it knows. */
static const char *step(const char *name)
{
	fuzz_require(!strchr(name, '/') && strcmp(name, "..") != 0);
	return name;
}

static int fuzz_open(const char *path, int flags, ...)
{
	bool is_ours = strncmp(path, place, strlen(place)) == 0 || strcmp(path, "/dev/null") == 0;

	if (strcmp(path, "/proc/self/oom_score_adj") == 0)
		return -1;
	/* Secrets: where an administrator puts them. */
	fuzz_require(is_ours || (!(flags & (O_WRONLY | O_RDWR | O_CREAT)) && (strncmp(path, CONFIG_DIR "/", strlen(CONFIG_DIR) + 1) == 0 ||
										       strncmp(path, "/run/", 5) == 0)));
	return open(path, flags);
}

static int fuzz_bind(int fd, const struct sockaddr *address, socklen_t size)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)address;

	fuzz_require(strncmp(un->sun_path, place, strlen(place)) == 0);
	fuzz_require(strncmp(un->sun_path + strlen(place), "/credential/", 12) == 0);
	step(un->sun_path + strlen(place) + 12);
	return bind(fd, address, size);
}

static int fuzz_skip(int what)
{
	return what == -1;
}

static pid_t fuzz_waitpid(pid_t pid, int *status)
{
	if (status)
		*status = 0;
	return pid > 0 ? -1 : 0;
}

#define fork fuzz_fork
#define _exit fuzz_exit
#define kill fuzz_kill
#define execve fuzz_execve
#define getpwuid find_user
#define getpwnam fuzz_getpwnam
#define getgrnam fuzz_getgrnam
#define getgrouplist fuzz_getgrouplist
#define initgroups(name, group) fuzz_skip((int)(group) & 1)
#define setgroups(count, groups) fuzz_skip(count)
#define setresgid(real, effective, saved) fuzz_skip((int)(real) & 1)
#define setresuid(real, effective, saved) fuzz_setresuid(effective)
#define setsid() 1
#define prctl(...) 0
#define signal(number, handler) ((void)(number))
#define sigprocmask(how, mask, old) ((void)(mask))
#define alarm(seconds) ((void)(seconds))
#define umask(mask) ((void)(mask))
#define dup2(from, to) fuzz_skip(from)
#define chdir(path) 0
#define close_range(first, last, flags) fuzz_skip((int)(first))
#define waitpid(pid, status, flags) fuzz_waitpid(pid, status)
#define open fuzz_open
#define bind fuzz_bind
#define openat(directory, name, ...) openat(directory, step(name), __VA_ARGS__)
#define unlinkat(directory, name, flags) unlinkat(directory, step(name), flags)
#define mkdirat(directory, name, mode) mkdirat(directory, step(name), mode)
#define renameat(from, name, to, new) renameat(from, step(name), to, step(new))
#define linkat(from, name, to, new, flags) linkat(from, step(name), to, step(new), flags)
#define fchmodat(directory, name, mode, flags) fchmodat(directory, step(name), mode, flags)
#define fdopendir fuzz_fdopendir
#define closedir fuzz_closedir
#define malloc fuzz_malloc
#define calloc fuzz_calloc
#define free fuzz_free

#include "broker/launcher.c"
#include "common/buffer.c"
/* Its own of that name. */
#define become become_owner
#define find find_file
#define start start_file
#include "broker/launcher-files.c"

#undef malloc
#undef calloc
#undef free
#undef close_range
#undef prctl

bool sandbox_may_pass(int error)
{
	return error == EAGAIN;
}

int confine_launcher(char *why, size_t size)
{
	(void)why, (void)size;
	return -1;
}

/* --- one life of a launcher ---------------------------------------------------------------------- */

struct part {
	const uint8_t *data;
	size_t length;
};

static struct part take_part(const uint8_t **data, size_t *size)
{
	size_t head = *size < 2 ? *size : 2, length = *size < 2 ? 0 : (size_t)(*data)[0] << 8 | (*data)[1];
	struct part part = { *data + head, length < *size - head ? length : *size - head };

	*data += head + part.length;
	*size -= head + part.length;
	return part;
}

static void send_request(int fd, struct part request, struct part more)
{
	struct buffer frame;
	int pair[2] = { -1, -1 };

	if (switches & WITH_SOCKET)
		fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	buffer_init(&frame, FUZZ_MAX);
	buffer_put(&frame, request.data, request.length);
	wire_send(fd, &frame, pair[1]);
	buffer_free(&frame);
	/* What does not fit would be waited for. The other end stays open until all is closed. */
	if (pair[0] >= 0 && more.length)
		fuzz_require(send(pair[0], more.data, more.length, MSG_NOSIGNAL | MSG_DONTWAIT) != 0);
	if (pair[0] >= 0)
		shutdown(pair[0], SHUT_WR);
	if (pair[1] >= 0)
		close(pair[1]);
}

static void live(int broker, int theirs, const uint8_t *data, size_t size)
{
	static const struct launcher_options options = {
		.fetch = fetch_path, .module_dir = "/usr/lib/keyfob/modules", .config_dir = CONFIG_DIR, .run_dir = place
	};
	static struct launcher l;
	static struct buffer frame;

	l = (struct launcher){ .options = &options, .broker = theirs };
	buffer_init(&frame, WIRE_MAX);
	for (int i = 0; i < FRAMES_MAX && size; i++) {
		struct part request, more;

		switches = *data++;
		size--;
		request = take_part(&data, &size);
		more = take_part(&data, &size);
		/* Without a byte it is the end, at which all is ended. */
		if (!request.length)
			continue;
		forks = 0;
		became = 0;
		send_request(broker, request, more);
		serve(&l, &frame);
	}
}

static int remove_inner(const char *path, const struct stat *st, int type, struct FTW *walk)
{
	(void)st, (void)type;
	return walk->level ? remove(path) : 0;
}

static void remove_place(void)
{
	rmdir(place);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool made;
	static int first;
	int pair[2];

	if (size > FUZZ_MAX)
		return 0;
	if (!made) {
		fuzz_require(mkdtemp(place));
		atexit(remove_place);
		log_open("fuzz", false, LOG_EMERG);
		made = true;
	}
	fuzz_require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	first = pair[0];
	if (sigsetjmp(end_of_process, 0) == 0)
		live(pair[0], pair[1], data, size);
	switches = 0;
	launcher_purge_files(place);
	clean_up(first);
	fuzz_require(nftw(place, remove_inner, 8, FTW_DEPTH | FTW_PHYS) == 0);
	return 0;
}

/* --- seeds ------------------------------------------------------------------------------------------ */

static void put_part(struct buffer *b, const struct buffer *part)
{
	buffer_put_u8(b, (uint8_t)(part->length >> 8));
	buffer_put_u8(b, (uint8_t)part->length);
	buffer_put(b, part->data, part->length);
}

static void put_frame(struct buffer *b, uint8_t how, struct buffer *frame, struct buffer *more)
{
	buffer_put_u8(b, how);
	put_part(b, frame);
	put_part(b, more);
	buffer_clear(frame);
	buffer_clear(more);
}

static void seed(struct buffer *b, uint8_t how, struct buffer *frame, struct buffer *more)
{
	put_frame(b, how, frame, more);
	fuzz_seed(b->data, b->length);
	buffer_clear(b);
}

static void seed_files(struct buffer *b, struct buffer *frame, struct buffer *more, uid_t uid, uint8_t how)
{
	for (uint8_t keep = 0; keep < 2; keep++) {
		buffer_put_u8(frame, LAUNCHER_FILES);
		buffer_put_u32(frame, uid);
		buffer_put_u8(frame, keep);
		buffer_put_u32(more, 2);
		buffer_put_text(more, "atlas");
		buffer_put_text(more, "token");
		buffer_put_text(more, "pgpass");
		buffer_put_text(more, "*:*:*:*:token\n");
		seed(b, how, frame, more);
	}
}

static void seed_sockets(struct buffer *b, struct buffer *frame, struct buffer *more)
{
	for (uint32_t mode = 0; mode < 2; mode++) {
		buffer_put_u8(frame, LAUNCHER_SOCKET);
		buffer_put_text(frame, "atlas");
		buffer_put_u32(frame, 0);
		buffer_put_u32(frame, 0);
		buffer_put_u32(frame, mode ? 0600 : 0);
		seed(b, WITH_SOCKET | IN_CHILD, frame, more);
	}
}

void fuzz_seeds(void)
{
	static const char *const secrets[] = { CONFIG_DIR "/secret", "/run/secrets/../../etc/shadow", "/etc/shadow" };
	struct buffer b, frame, more;

	buffer_init(&b, FUZZ_MAX);
	buffer_init(&frame, WIRE_MAX);
	buffer_init(&more, WIRE_MAX);
	/* A fetch that is started, and ended; one that is followed. */
	for (uint8_t how = WITH_SOCKET; how <= (WITH_SOCKET | IN_CHILD); how += IN_CHILD) {
		buffer_put_u8(&frame, LAUNCHER_FETCH);
		buffer_put_u32(&frame, 1);
		buffer_put_u32(&frame, FETCHER);
		put_frame(&b, how, &frame, &more);
		buffer_put_u8(&frame, LAUNCHER_KILL);
		buffer_put_u32(&frame, 1);
		seed(&b, 0, &frame, &more);
	}
	buffer_put_u8(&frame, LAUNCHER_FETCH);
	buffer_put_u32(&frame, 2);
	buffer_put_u32(&frame, 0);
	seed(&b, WITH_SOCKET | IN_CHILD, &frame, &more);
	buffer_put_u8(&frame, LAUNCHER_DESCRIBE);
	buffer_put_text(&frame, "azure");
	seed(&b, WITH_SOCKET | IN_CHILD, &frame, &more);
	buffer_put_u8(&frame, LAUNCHER_LOOKUP);
	buffer_put_u32(&frame, 3);
	for (uint8_t kind = LAUNCHER_NAME_USER; kind <= LAUNCHER_NAME_GROUPS; kind++) {
		buffer_put_u8(&frame, kind);
		buffer_put_text(&frame, kind == LAUNCHER_NAME_GROUPS ? "1001" : "alice");
	}
	seed(&b, WITH_SOCKET | IN_CHILD, &frame, &more);
	for (size_t i = 0; i < 3; i++) {
		buffer_put_u8(&frame, LAUNCHER_SECRET);
		buffer_put_text(&frame, "secret_file");
		buffer_put_text(&frame, secrets[i]);
		seed(&b, WITH_SOCKET | IN_CHILD, &frame, &more);
	}
	seed_files(&b, &frame, &more, FETCHER, WITH_SOCKET | IN_CHILD | IN_OWNER);
	seed_files(&b, &frame, &more, 1001, WITH_SOCKET | IN_CHILD | IN_OWNER);
	seed_files(&b, &frame, &more, FETCHER, WITH_SOCKET | IN_CHILD);
	buffer_put_u8(&frame, LAUNCHER_FILE_USERS);
	seed(&b, WITH_SOCKET | IN_CHILD, &frame, &more);
	seed_sockets(&b, &frame, &more);
	fuzz_free(b.data);
	buffer_free(&frame);
	buffer_free(&more);
}
