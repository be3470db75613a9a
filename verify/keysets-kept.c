/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/keysets-kept.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/wire.h"
#include "verify/jwks.h"

#define SET_SUFFIX ".keys"
#define EPOCH_SUFFIX ".epoch"
#define NEW_PREFIX ".new-" /* no name begins with a dot */
#define FILE_NAME_SIZE (sizeof(NEW_PREFIX) + WIRE_NAME_MAX + sizeof(EPOCH_SUFFIX))
#define SET_MAGIC "keyfob key set 1"
#define EPOCH_MAGIC "keyfob epoch 1"
#define DIGEST 32
#define TIME_MAX 253402300799 /* the end of the year 9999 */
#define FILE_LIMIT (JWKS_MAX + (16u << 10)) /* the document, and what stands before it */

/* --- whole files ------------------------------------------------------------------------ */

static bool digest_of(const void *data, size_t length, uint8_t out[DIGEST])
{
	return EVP_Digest(data, length, out, NULL, EVP_sha256(), NULL) == 1;
}

static bool file_name(char out[FILE_NAME_SIZE], const char *name, const char *suffix)
{
	if (!wire_name_valid(name))
		return false;
	snprintf(out, FILE_NAME_SIZE, "%s%s", name, suffix);
	return true;
}

static int write_all(int fd, const struct buffer *content)
{
	for (size_t at = 0; at < content->length;) {
		ssize_t wrote = write(fd, content->data + at, content->length - at);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return wrote < 0 ? -errno : -EIO;
		at += (size_t)wrote;
	}
	return 0;
}

/* The new file takes the old one's place whole, or not at all. */
static int replace_file(int directory, const char *name, const struct buffer *content)
{
	char new[FILE_NAME_SIZE + sizeof(NEW_PREFIX)];
	int fd, rc;

	snprintf(new, sizeof(new), NEW_PREFIX "%s", name);
	if (unlinkat(directory, new, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(directory, new, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = write_all(fd, content);
	if (!rc && fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && !rc)
		rc = -errno;
	if (!rc && renameat(directory, new, directory, name) < 0)
		rc = -errno;
	if (rc)
		unlinkat(directory, new, 0);
	else if (fsync(directory) < 0)
		rc = -errno;
	return rc;
}

static int read_all(int fd, size_t size, struct buffer *content)
{
	uint8_t *to = buffer_reserve(content, size + 1);
	ssize_t got = 1;

	if (!to)
		return -ENOMEM;
	while (got > 0 && content->length <= size) {
		got = read(fd, to + content->length, size + 1 - content->length);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			content->length += (size_t)got;
	}
	if (got < 0)
		return -errno;
	return content->length > size ? -EAGAIN : 0; /* it grew meanwhile */
}

/* Neither a link nor a pipe nor anybody else's, and of a size that was expected. */
static int read_own_file(int directory, const char *name, uid_t owner, struct buffer *content, size_t limit, char *why, size_t why_size)
{
	int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), rc = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		rc = -errno;
		snprintf(why, why_size, "%s", rc == -ELOOP ? "is a symbolic link" : strerror(-rc));
	} else if (!S_ISREG(st.st_mode)) {
		rc = -EINVAL;
		snprintf(why, why_size, "is not a regular file");
	} else if ((st.st_uid != owner && st.st_uid != geteuid()) || st.st_mode & (S_IWGRP | S_IWOTH)) {
		rc = -EPERM;
		snprintf(why, why_size, "must be owned by %s and not writable by group or others", owner ? "this user" : "root");
	} else if ((uint64_t)st.st_size > limit) {
		rc = -EFBIG;
		snprintf(why, why_size, "is larger than %zu bytes", limit);
	} else {
		rc = read_all(fd, (size_t)st.st_size, content);
		if (rc)
			snprintf(why, why_size, "%s", strerror(-rc));
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

/* --- with a seal at the end --------------------------------------------------------------- */

static int save_sealed(int directory, const char *name, const char *suffix, struct buffer *content)
{
	char file[FILE_NAME_SIZE];
	uint8_t digest[DIGEST];

	if (!file_name(file, name, suffix))
		return -EINVAL;
	if (content->failed || !digest_of(content->data, content->length, digest) || !buffer_put(content, digest, DIGEST))
		return -ENOMEM;
	return replace_file(directory, file, content);
}

/* r reads what lies before the seal, from behind the magic. */
static int load_sealed(int directory, const char *name, const char *suffix, const char *magic, struct buffer *content, struct reader *r,
	char *why, size_t why_size)
{
	char file[FILE_NAME_SIZE], found[64];
	uint8_t digest[DIGEST];
	int rc;

	if (!file_name(file, name, suffix))
		return -ENOENT;
	rc = read_own_file(directory, file, geteuid(), content, FILE_LIMIT, why, why_size);
	if (rc)
		return rc;
	if (content->length < DIGEST || !digest_of(content->data, content->length - DIGEST, digest) ||
		memcmp(content->data + content->length - DIGEST, digest, DIGEST) != 0) {
		snprintf(why, why_size, "is damaged");
		return -EBADMSG;
	}
	reader_init(r, content->data, content->length - DIGEST);
	reader_text(r, found, sizeof(found));
	if (r->failed || strcmp(found, magic) != 0) {
		snprintf(why, why_size, "is of another version");
		return -EBADMSG;
	}
	return 0;
}

/* --- sets and epochs ------------------------------------------------------------------------ */

int kept_save_set(int directory, const char *name, const char *source, const struct kept_set *set)
{
	struct buffer b;
	int rc;

	buffer_init(&b, FILE_LIMIT);
	buffer_put_text(&b, SET_MAGIC);
	buffer_put_u64(&b, set->epoch);
	buffer_put_u64(&b, (uint64_t)set->fetched);
	buffer_put_u64(&b, (uint64_t)set->refresh);
	buffer_put_text(&b, source);
	buffer_put_text(&b, set->etag);
	buffer_put_string(&b, set->document.data, set->document.length);
	rc = save_sealed(directory, name, SET_SUFFIX, &b);
	buffer_free(&b);
	return rc;
}

static int read_set(struct reader *r, const char *source, struct kept_set *set, char *why, size_t why_size)
{
	const uint8_t *from, *document;
	size_t from_length, length;

	set->epoch = reader_u64(r);
	set->fetched = (time_t)reader_u64(r);
	set->refresh = (time_t)reader_u64(r);
	from = reader_string(r, &from_length);
	reader_text(r, set->etag, sizeof(set->etag));
	document = reader_string(r, &length);
	if (!reader_done(r) || set->fetched <= 0 || set->refresh < set->fetched || set->refresh > TIME_MAX) {
		snprintf(why, why_size, "is damaged");
		return -EBADMSG;
	}
	if (from_length != strlen(source) || memcmp(from, source, from_length) != 0) {
		snprintf(why, why_size, "came from where this identity provider's keys no longer come from");
		return -ESTALE;
	}
	return buffer_put(&set->document, document, length) ? 0 : -ENOMEM;
}

int kept_load_set(int directory, const char *name, const char *source, struct kept_set *set, char *why, size_t why_size)
{
	struct buffer content;
	struct reader r;
	int rc;

	buffer_init(&content, FILE_LIMIT + 1);
	memset(set, 0, sizeof(*set));
	buffer_init(&set->document, JWKS_MAX);
	rc = load_sealed(directory, name, SET_SUFFIX, SET_MAGIC, &content, &r, why, why_size);
	if (!rc)
		rc = read_set(&r, source, set, why, why_size);
	if (rc == -ENOMEM)
		snprintf(why, why_size, "%s", strerror(ENOMEM));
	if (rc)
		buffer_free(&set->document);
	buffer_free(&content);
	return rc;
}

int kept_remove_set(int directory, const char *name)
{
	char file[FILE_NAME_SIZE];

	if (!file_name(file, name, SET_SUFFIX))
		return -EINVAL;
	if (unlinkat(directory, file, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return fsync(directory) < 0 ? -errno : 0;
}

int kept_save_epoch(int directory, const char *name, const struct kept_epoch *epoch)
{
	struct buffer b;
	int rc;

	buffer_init(&b, 256);
	buffer_put_text(&b, EPOCH_MAGIC);
	buffer_put_u64(&b, epoch->epoch);
	buffer_put_u8(&b, epoch->revoked);
	buffer_put_u64(&b, (uint64_t)epoch->revoked_at);
	rc = save_sealed(directory, name, EPOCH_SUFFIX, &b);
	buffer_free(&b);
	return rc;
}

int kept_load_epoch(int directory, const char *name, struct kept_epoch *epoch, char *why, size_t why_size)
{
	struct buffer content;
	struct reader r;
	int rc;

	buffer_init(&content, FILE_LIMIT + 1);
	rc = load_sealed(directory, name, EPOCH_SUFFIX, EPOCH_MAGIC, &content, &r, why, why_size);
	if (!rc) {
		epoch->epoch = reader_u64(&r);
		epoch->revoked = reader_u8(&r) != 0;
		epoch->revoked_at = (time_t)reader_u64(&r);
		if (!reader_done(&r) || epoch->revoked_at < 0 || epoch->revoked_at > TIME_MAX) {
			snprintf(why, why_size, "is damaged");
			rc = -EBADMSG;
		}
	}
	buffer_free(&content);
	return rc;
}

/* --- the directory ------------------------------------------------------------------------------ */

static bool ends_with(const char *text, const char *suffix, size_t *stem)
{
	size_t length = strlen(text), tail = strlen(suffix);

	*stem = length > tail ? length - tail : 0;
	return *stem && strcmp(text + *stem, suffix) == 0;
}

/* Call each for all that lies there. */
static void walk(int directory, void (*each)(int directory, const char *file, void *arg), void *arg)
{
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && (entry = readdir(dir)))
		each(directory, entry->d_name, arg);
	if (dir)
		closedir(dir);
}

static void remove_new(int directory, const char *file, void *arg)
{
	(void)arg;
	if (strncmp(file, NEW_PREFIX, strlen(NEW_PREFIX)) == 0)
		unlinkat(directory, file, 0);
}

int kept_open(const char *directory, char *why, size_t why_size)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		snprintf(why, why_size, "%s: %s", directory, strerror(errno));
	} else if (st.st_uid != geteuid() || st.st_mode & (S_IRWXG | S_IRWXO)) {
		snprintf(why, why_size, "%s: must be owned by uid %u and closed to all others (mode 0700)", directory, geteuid());
	} else if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		snprintf(why, why_size, "%s: %s", directory, errno == EWOULDBLOCK ? "another verifier uses it" : strerror(errno));
	} else {
		walk(fd, remove_new, NULL);
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

struct sweep {
	bool (*wanted)(const void *arg, const char *name);
	const void *arg;
};

static void remove_unwanted(int directory, const char *file, void *arg)
{
	const struct sweep *sweep = arg;
	char name[WIRE_NAME_MAX + 1];
	size_t stem;

	if (!ends_with(file, SET_SUFFIX, &stem) || stem > WIRE_NAME_MAX)
		return;
	memcpy(name, file, stem);
	name[stem] = 0;
	if (!wire_name_valid(name) || sweep->wanted(sweep->arg, name))
		return;
	if (unlinkat(directory, file, 0) < 0)
		log_warning("identity_provider=%s event=keyset-not-forgotten error=\"%s\"", name, strerror(errno));
	else
		log_notice("identity_provider=%s event=keyset-forgotten reason=\"it is not configured any more\"", name);
}

void kept_sweep(int directory, bool (*wanted)(const void *arg, const char *name), const void *arg)
{
	struct sweep sweep = { wanted, arg };

	walk(directory, remove_unwanted, &sweep);
}

/* Who may write the directory may replace the file. */
static bool is_safe_directory(const char *path, char *why, size_t why_size)
{
	char copy[PATH_MAX];
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", path);
	if (stat(dirname(copy), &st) < 0)
		snprintf(why, why_size, "%s", strerror(errno));
	else if ((st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & (S_IWGRP | S_IWOTH))
		snprintf(why, why_size, "lies in a directory that must be owned by root and not writable by group or others");
	else
		return true;
	return false;
}

int kept_read_file(const char *path, struct buffer *document, char *why, size_t why_size)
{
	if (!is_safe_directory(path, why, why_size))
		return -EPERM;
	return read_own_file(AT_FDCWD, path, 0, document, JWKS_MAX, why, why_size);
}
