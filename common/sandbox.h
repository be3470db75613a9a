/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building blocks with which a process gives up what it does not need:
 * Landlock for files, seccomp for system calls.
 *
 * The reason texts: on failure they say what went wrong. On success they are
 * empty, or a note that this kernel gives less protection than asked for.
 */
#ifndef KEYFOB_SANDBOX_H
#define KEYFOB_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a path and all below it may be used for. */
enum sandbox_access {
	SANDBOX_READ,
	SANDBOX_READ_EXEC,
	SANDBOX_READ_WRITE, /* create and remove too */
};

struct sandbox_path {
	const char *path;
	enum sandbox_access access;
};

/*
 * Landlock (landlock(7)): files only as listed, no TCP port may be bound, no
 * signal and no abstract socket reaches past this process and its children.
 * Returns 0 (see above for the note) or a negative errno.
 */
int sandbox_landlock(const struct sandbox_path *paths, size_t count, char *why, size_t why_size);

/*
 * No TCP socket connects, even one that a filter for system calls lets be: one
 * that was accepted can be connected anew. After sandbox_seal(); returns as
 * above.
 */
int sandbox_no_connections(char *why, size_t why_size);

/* What any process needs: descriptors, memory, threads, clocks, opening for reading. filter is a scmp_filter_ctx. */
int sandbox_allow_common(void *filter);
/* Let these calls through, whatever their arguments. The list ends with SANDBOX_END. */
int sandbox_allow(void *filter, const int *calls);
#define SANDBOX_END (-1)
/* Let one call through if its argument, masked, has this value. */
int sandbox_allow_if(void *filter, int call, unsigned int argument, uint64_t mask, uint64_t value);

/*
 * The filter of a daemon that talks by AF_UNIX: what any process needs, these
 * calls, and no new socket of another family. Returns 0 or a negative errno.
 */
int sandbox_filter_daemon(const int *calls, char *why, size_t why_size);

/* An argument, masked, has this value: a struct scmp_arg_cmp. */
#define SANDBOX_IS(argument, mask, value) ((struct scmp_arg_cmp){ (argument), SCMP_CMP_MASKED_EQ, (mask), (value) })
#define SANDBOX_WHOLE 0xffffffffu /* an int: the kernel ignores what stands above it in the register */
#define SANDBOX_NEW_NAMESPACES (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP)

/*
 * Become this user for good, with a session keyring of one's own: no other
 * group, no capability. Who is that user already only loses what is left.
 * Returns 0 (see above for the note) or a negative errno.
 */
int sandbox_become(uid_t uid, gid_t gid, char *why, size_t why_size);
/* The same with these supplementary groups, in the session keyring that there is. */
int sandbox_become_member(uid_t uid, gid_t gid, const gid_t *groups, size_t count, char *why, size_t why_size);
/* Dumpable off, no core file, no gain of rights through exec. Returns 0 or a negative errno. */
int sandbox_seal(void);
/* Would this errno, of a call that makes a process what it is to be, perhaps not be there a moment later? */
bool sandbox_may_pass(int error);

#endif
