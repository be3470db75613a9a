/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the launcher does in the file system, each time in a process of its
 * own: users' token files below RUN/token, and credentials' sockets in
 * RUN/credential. Both directories are root's, and so are the names of users'
 * directories in the first one. What is inside such a directory is its user's
 * to arrange, so it is touched with his rights alone, by a process that has
 * become him for good.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/launcher.h"
#include "common/wire.h"

#define TOKENS "token"
#define SOCKETS "credential"
#define CONTAINERS "container"
#define PART 16384 /* bytes that are read at a time */
#define SOCKET_MS 3000 /* to make one; nobody can make that slow */

/* What a user's directory shall hold, as it came: u32 count, (string name, string content). */
struct set {
	struct buffer bytes;
	uint32_t count;
	struct file {
		char name[WIRE_NAME_MAX + 1];
		const uint8_t *content;
		size_t length;
		bool was_read; /* since it was written last */
	} * files;
};

/* --- as the directory's owner ---------------------------------------------------------- */

/* Is there just that already? */
static bool is_current(int dir, const struct file *file, const struct stat *st)
{
	char have[4096];
	size_t done = 0;
	ssize_t got = 0;
	int fd;

	if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || (st->st_mode & 07777) != 0400 || (size_t)st->st_size != file->length)
		return false;
	/* Without a trace in the time of the last access, which tells whether he reads it. */
	fd = openat(dir, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (done < file->length && (got = read(fd, have, sizeof(have))) > 0) {
		if ((size_t)got > file->length - done || memcmp(have, file->content + done, (size_t)got) != 0)
			break;
		done += (size_t)got;
	}
	close(fd);
	explicit_bzero(have, sizeof(have));
	return done == file->length;
}

static bool write_all(int fd, const uint8_t *bytes, size_t length)
{
	while (length) {
		ssize_t n = write(fd, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes += n;
		length -= (size_t)n;
	}
	return true;
}

/* Whole or not at all: who reads meanwhile gets the old one or the new one. */
static bool replace(int dir, const struct file *file)
{
	char temporary[WIRE_NAME_MAX + 8];
	int fd, error = 0;

	snprintf(temporary, sizeof(temporary), ".%s.new", file->name);
	fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	if (fd < 0)
		return false;
	if (!write_all(fd, file->content, file->length) || fchmod(fd, 0400) < 0)
		error = errno;
	if (close(fd) < 0 && !error)
		error = errno;
	if (!error && renameat(dir, temporary, dir, file->name) < 0)
		error = errno;
	if (error)
		unlinkat(dir, temporary, 0);
	errno = error;
	return !error;
}

static struct file *find(const struct set *set, const char *name)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (strcmp(set->files[i].name, name) == 0)
			return &set->files[i];
	return NULL;
}

/* The directory is keyfob's: what else lies there is stale, or half written. A directory that its user made there is his. */
static int remove_others(int dir, const struct set *set)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int error = 0;

	if (!list) {
		error = -errno;
		if (fd >= 0)
			close(fd);
		return error;
	}
	while ((entry = readdir(list)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && !find(set, entry->d_name) &&
			unlinkat(dir, entry->d_name, 0) < 0 && errno != ENOENT && errno != EISDIR)
			error = -errno;
	closedir(list);
	return error;
}

/* text gets the first thing that went wrong; the rest is done all the same. */
static void arrange(int dir, const struct set *set, char *text, size_t size)
{
	char link[40];
	struct stat st;
	int error, left = 0;

	/* A directory without the right to enter it can be named by its descriptor alone. */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	error = fstat(dir, &st) == 0 && (st.st_mode & 07777) != 0700 && chmod(link, 0700) < 0 ? -errno : 0;
	if (!error)
		left = remove_others(dir, set);
	if (error || left)
		snprintf(text, size, "his directory: %s", strerror(error ? -error : -left));
	for (uint32_t i = 0; i < set->count && !error; i++) {
		struct file *file = &set->files[i];
		bool is_there = fstatat(dir, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0;

		file->was_read = is_there && (st.st_atim.tv_sec > st.st_mtim.tv_sec ||
						     (st.st_atim.tv_sec == st.st_mtim.tv_sec && st.st_atim.tv_nsec > st.st_mtim.tv_nsec));
		if ((!is_there || !is_current(dir, file, &st)) && !replace(dir, file) && !*text)
			snprintf(text, size, "%s: %s", file->name, strerror(errno));
	}
}

static void answer_files(int fd, const struct set *set, const char *text)
{
	struct buffer answer;

	buffer_init(&answer, WIRE_MAX);
	buffer_put_text(&answer, text);
	buffer_put_u32(&answer, set->count);
	for (uint32_t i = 0; i < set->count; i++)
		buffer_put_u8(&answer, set->files[i].was_read);
	wire_send(fd, &answer, -1);
	buffer_free(&answer);
}

/* What else is open leads to the launcher, or to other users' directories. */
static bool keep_only(int a, int b)
{
	unsigned int low = (unsigned int)(a < b ? a : b), high = (unsigned int)(a < b ? b : a);

	return (low <= 3 || close_range(3, low - 1, 0) == 0) && (high <= low + 1 || close_range(low + 1, high - 1, 0) == 0) &&
	       close_range(high + 1, ~0u, 0) == 0;
}

/* For good. His other processes may send this one signals, but neither read nor lead it. */
static bool become(uid_t uid, gid_t gid)
{
	if (uid == geteuid())
		return true;
	return setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0;
}

/* In a process of the owner's. fd: where to answer, -1: nobody waits for that. Returns whether it went well. */
static bool arrange_as(uid_t uid, gid_t gid, int dir, const struct set *set, int fd)
{
	char text[256] = "";
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		if (!keep_only(dir, fd < 0 ? dir : fd) || !become(uid, gid))
			_exit(1);
		arrange(dir, set, text, sizeof(text));
		if (fd >= 0)
			answer_files(fd, set, text);
		_exit(*text ? 1 : 0);
	}
	/* An alarm ends this wait, and then the launcher ends the child: one that its user stopped, or keeps waiting. */
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* --- as root: directories ---------------------------------------------------------------- */

/* One of root's, below the one that the request socket lies in. -1 with errno. */
static int open_ours(const char *run_dir, const char *name, bool make)
{
	int parent = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;
	bool made = parent >= 0 && make && mkdirat(parent, name, 0755) == 0;
	struct stat st;

	if (parent < 0)
		return -1;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	close(parent);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH) || (made && fchmod(fd, 0755) < 0)) {
		close(fd);
		errno = EPERM;
		return -1;
	}
	return fd;
}

static bool is_directory_name(const char *name)
{
	return *name && *name != '.' && !strchr(name, '/');
}

/* Without the right to read it: the owner alone has that. */
static int open_users(int tokens, const char *name, struct stat *st)
{
	int dir = openat(tokens, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir >= 0 && fstat(dir, st) == 0)
		return dir;
	if (dir >= 0)
		close(dir);
	return -1;
}

/* Returns 0, or the negative errno by which it stays. */
static int remove_directory(int tokens, const char *name, uid_t only)
{
	static const struct set nothing = { 0 };
	struct stat st;
	int dir = open_users(tokens, name, &st), error = 0;

	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	if (only == (uid_t)-1 || st.st_uid == only) {
		error = arrange_as(st.st_uid, st.st_gid, dir, &nothing, -1) ? 0 : -EBUSY;
		if (unlinkat(tokens, name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && !error)
			error = -errno;
	}
	close(dir);
	return error;
}

/* uid: of whom, (uid_t)-1: of all. */
static int remove_directories(int tokens, uid_t uid)
{
	int fd = openat(tokens, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0, fault;
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!list)
		return -errno;
	while ((entry = readdir(list))) {
		fault = entry->d_name[0] == '.' ? 0 : remove_directory(tokens, entry->d_name, uid);
		error = fault ? fault : error;
	}
	closedir(list);
	return error;
}

/* Of a user who may be gone: then only the owner tells which one was his. */
static int remove_of(int tokens, uid_t uid)
{
	const struct passwd *pw = getpwuid(uid);

	return pw && is_directory_name(pw->pw_name) ? remove_directory(tokens, pw->pw_name, uid) : remove_directories(tokens, uid);
}

/* His directory, made when it is missing: until it is handed to him it is root's, and nobody else's name leads there. */
static int make_users(int tokens, const struct passwd *pw)
{
	struct stat st;
	int dir;

	for (int attempt = 0; attempt < 2; attempt++) {
		if (mkdirat(tokens, pw->pw_name, 0700) < 0 && errno != EEXIST)
			return -1;
		dir = open_users(tokens, pw->pw_name, &st);
		if (dir < 0)
			return -1;
		if (st.st_uid == geteuid() && st.st_uid != pw->pw_uid) {
			if (fchownat(dir, "", pw->pw_uid, pw->pw_gid, AT_EMPTY_PATH) == 0)
				return dir;
			close(dir);
			return -1;
		}
		if (st.st_uid == pw->pw_uid)
			return dir;
		/* The name was another one's before. */
		close(dir);
		remove_directory(tokens, pw->pw_name, st.st_uid);
	}
	errno = ENOTEMPTY;
	return -1;
}

/* --- the requests --------------------------------------------------------------------------- */

static bool read_set(int fd, struct set *set)
{
	struct reader r;
	uint8_t *to;
	ssize_t got;

	buffer_init(&set->bytes, LAUNCHER_FILES_MAX + PART);
	do {
		to = buffer_reserve(&set->bytes, PART);
		got = to ? read(fd, to, PART) : -1;
		set->bytes.length += got > 0 ? (size_t)got : 0;
	} while (got > 0);
	reader_init(&r, set->bytes.data, set->bytes.length);
	set->count = reader_u32(&r);
	if (got < 0 || r.failed || set->count > r.left / 8)
		return false;
	set->files = calloc(set->count + 1u, sizeof(*set->files));
	for (uint32_t i = 0; set->files && i < set->count; i++) {
		reader_text(&r, set->files[i].name, sizeof(set->files[i].name));
		set->files[i].content = reader_string(&r, &set->files[i].length);
		if (!wire_name_valid(set->files[i].name))
			return false;
	}
	return set->files && reader_done(&r);
}

static void serve_files(struct reader *r, int fd, const char *run_dir)
{
	uid_t uid = reader_u32(r);
	bool keep = reader_u8(r);
	struct passwd *pw = NULL;
	struct set set = { 0 };
	int tokens, error, dir = -1;

	if (!reader_done(r) || !read_set(fd, &set))
		return;
	errno = 0;
	if (keep)
		pw = getpwuid(uid);
	if (keep && (!pw || !is_directory_name(pw->pw_name))) {
		answer_files(fd, &set, errno ? strerror(errno) : "there is no user of this number, or his name is not fit for a directory");
		return;
	}
	tokens = open_ours(run_dir, TOKENS, keep);
	error = tokens < 0 && (keep || errno != ENOENT) ? errno : 0;
	if (tokens >= 0 && keep) {
		dir = make_users(tokens, pw);
		error = dir < 0 ? errno : 0;
	} else if (tokens >= 0) {
		error = -remove_of(tokens, uid);
	}
	if (dir >= 0)
		arrange_as(uid, pw->pw_gid, dir, &set, fd);
	else
		answer_files(fd, &set, error ? strerror(error) : "");
}

/* Does it bear the name of another one than its owner, who was renamed or is gone? Not known is no. */
static bool is_misnamed(const char *name, uid_t owner)
{
	const struct passwd *pw;

	errno = 0;
	pw = getpwnam(name);
	return pw ? pw->pw_uid != owner : errno == 0 || errno == ENOENT || errno == ESRCH;
}

static void serve_users(int fd, const char *run_dir)
{
	int tokens = open_ours(run_dir, TOKENS, false), sockets = open_ours(run_dir, SOCKETS, false);
	DIR *list = tokens < 0 ? NULL : fdopendir(tokens);
	static const struct set nothing = { 0 };
	struct buffer answer;
	struct dirent *entry;
	struct stat st;

	if (sockets >= 0)
		remove_others(sockets, &nothing);
	buffer_init(&answer, WIRE_MAX);
	while (list && (entry = readdir(list))) {
		if (entry->d_name[0] == '.' || fstatat(tokens, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
			continue;
		if (is_misnamed(entry->d_name, st.st_uid))
			remove_directory(tokens, entry->d_name, st.st_uid);
		else
			buffer_put_u32(&answer, st.st_uid);
	}
	/* An end without a byte would look like a failure. */
	buffer_put_u32(&answer, UINT32_MAX);
	wire_send(fd, &answer, -1);
}

/*
 * A directory that holds a credential's socket and nothing else, to be mounted
 * into containers. It stays when the socket goes, so that they find the next one.
 */
static int open_container(const char *run_dir, const char *name, bool make)
{
	char all[4096];
	int fd = open_ours(run_dir, CONTAINERS, make);

	if (fd < 0)
		return -1;
	close(fd);
	if (snprintf(all, sizeof(all), "%s/" CONTAINERS, run_dir) < (int)sizeof(all))
		return open_ours(all, name, make);
	errno = ENAMETOOLONG;
	return -1;
}

static void remove_containers(const char *run_dir)
{
	static const struct set nothing = { 0 };
	int all = open_ours(run_dir, CONTAINERS, false);
	DIR *list = all < 0 ? NULL : fdopendir(all);
	struct dirent *entry;

	while (list && (entry = readdir(list))) {
		int own = wire_name_valid(entry->d_name) ? open_container(run_dir, entry->d_name, false) : -1;

		if (own < 0)
			continue;
		remove_others(own, &nothing);
		close(own);
		unlinkat(all, entry->d_name, AT_REMOVEDIR);
	}
	if (list)
		closedir(list);
}

/* NULL, or why not. *listener stays -1 when the socket was only to be removed. */
static const char *make_socket(const char *run_dir, const char *name, uid_t uid, gid_t gid, mode_t mode, int *listener)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char file[WIRE_NAME_MAX + 8];
	int directory = open_ours(run_dir, SOCKETS, mode != 0), container;
	const char *error;
	size_t length;

	snprintf(file, sizeof(file), "%s.sock", name);
	if (directory >= 0)
		unlinkat(directory, file, 0);
	else if (mode)
		return strerror(errno);
	container = open_container(run_dir, name, mode != 0);
	if (container >= 0)
		unlinkat(container, file, 0);
	else if (mode)
		return strerror(errno);
	if (!mode)
		return NULL;
	length = (size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%s/" SOCKETS "/%s", run_dir, file);
	if (length >= sizeof(address.sun_path))
		return "the path of a socket has at most 107 bytes";
	*listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* Closed to all until owner and mode are what they shall be; link and mode first, while root still owns it. */
	umask(0777);
	if (*listener < 0 || bind(*listener, (struct sockaddr *)&address, sizeof(address)) < 0)
		return strerror(errno);
	if (linkat(directory, file, container, file, 0) == 0 && fchmodat(directory, file, mode, 0) == 0 &&
		fchownat(directory, file, uid, gid, AT_SYMLINK_NOFOLLOW) == 0 && listen(*listener, SOMAXCONN) == 0)
		return NULL;
	error = errno == EEXIST ? "below " CONTAINERS " a directory is in its place: is that mounted to be written, in a container?"
				: strerror(errno);
	unlinkat(directory, file, 0);
	return error;
}

static void serve_socket(struct reader *r, int fd, const char *run_dir)
{
	char name[WIRE_NAME_MAX + 1];
	struct buffer answer;
	uid_t uid;
	gid_t gid;
	mode_t mode;
	const char *error;
	int listener = -1;

	reader_text(r, name, sizeof(name));
	uid = reader_u32(r);
	gid = reader_u32(r);
	mode = reader_u32(r) & 0777;
	if (!reader_done(r) || !wire_name_valid(name))
		return;
	error = make_socket(run_dir, name, uid, gid, mode, &listener);
	buffer_init(&answer, WIRE_MAX);
	buffer_put_text(&answer, error);
	wire_send(fd, &answer, error ? -1 : listener);
}

void launcher_serve_files(uint8_t request, struct reader *r, int fd, const char *run_dir)
{
	umask(077);
	if (request == LAUNCHER_FILES)
		serve_files(r, fd, run_dir);
	else if (request == LAUNCHER_FILE_USERS)
		serve_users(fd, run_dir);
	else
		serve_socket(r, fd, run_dir);
}

/* --- without a launcher ---------------------------------------------------------------------- */

void launcher_purge_files(const char *run_dir)
{
	static const struct set nothing = { 0 };
	int tokens = open_ours(run_dir, TOKENS, false), sockets = open_ours(run_dir, SOCKETS, false);

	if (tokens >= 0) {
		remove_directories(tokens, (uid_t)-1);
		close(tokens);
	}
	if (sockets >= 0) {
		remove_others(sockets, &nothing);
		close(sockets);
	}
	remove_containers(run_dir);
}

/* --- in keyfobd --------------------------------------------------------------------------------- */

int launcher_socket(int launcher, const char *name, uid_t uid, gid_t gid, mode_t mode, int *listener, char *why, size_t size)
{
	struct pollfd readable = { .events = POLLIN };
	struct buffer frame;
	struct reader r;
	int error;

	*listener = -1;
	buffer_init(&frame, WIRE_MAX);
	buffer_put_u8(&frame, LAUNCHER_SOCKET);
	buffer_put_text(&frame, name);
	buffer_put_u32(&frame, uid);
	buffer_put_u32(&frame, gid);
	buffer_put_u32(&frame, mode);
	error = launcher_send(launcher, &frame, &readable.fd);
	if (error == 0) {
		error = poll(&readable, 1, SOCKET_MS) > 0 ? wire_receive(readable.fd, &frame, listener) : -ETIMEDOUT;
		close(readable.fd);
	}
	snprintf(why, size, "%s", error < 0 ? strerror(-error) : "");
	if (error == 0) {
		reader_init(&r, frame.data, frame.length);
		reader_text(&r, why, size);
		error = !reader_done(&r) ? -EBADMSG : *why ? -EIO : 0;
	}
	buffer_free(&frame);
	return error;
}
