/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames keyfob's processes speak, over AF_UNIX SOCK_SEQPACKET sockets:
 * one datagram is one frame, so there is no length in front. Numbers are big
 * endian, strings are a u32 length and the bytes (RFC 4251 section 5).
 * doc/PROTOCOL describes the request socket for other implementations.
 */
#ifndef KEYFOB_WIRE_H
#define KEYFOB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buffer.h"

#define WIRE_VERSION 1
#define WIRE_MAX 65536 /* a frame, whole */
#define WIRE_TOKEN_MAX 32767 /* keyrings(7): payload of a "user" key */
#define WIRE_NAME_MAX 64 /* a credential's name, without the NUL */
#define WIRE_TEXT_MAX 1024 /* a text for people */
#define WIRE_SOCKET_DEFAULT "/run/keyfob/keyfob.sock"
#define WIRE_SOCKET_OWN "/keyfob/keyfob.sock" /* of a user's own broker, below XDG_RUNTIME_DIR */
#define WIRE_METADATA_PORT 254 /* of keyfob-metadata, on 127.0.0.1: one that no user can take while it does not run */
/* `keyfob get --direct` hands its caller's variables to keyfobd under names with this in front, where none of them steers it. */
#define WIRE_CALLER_PREFIX "KEYFOB_CALLER_"

/*
 * The request socket. Request: u8 version, u8 opcode, fields. Reply: u8
 * version, u8 0 and fields, or u8 version, u8 error (an exit code of keyfob,
 * enum keyfob_error negated), u32 seconds until a retry makes sense (0: not
 * known), string text.
 */
enum wire_opcode {
	WIRE_GET = 1, /* string name -> string token, u64 expires, u64 refresh, string fingerprint */
	WIRE_STATUS, /* string name or "", string after -> u8 more, string version, u64 started, wire_status ... */
	WIRE_DROP, /* string name -> (root) */
	WIRE_REFRESH, /* string name -> as GET, without the token (an empty string stands for it) */
	WIRE_REJECT, /* string name, string token -> */
	WIRE_RELOAD, /* -> (root) */
	WIRE_MAY, /* string name, u32 uid -> u8 allowed, string why (root, or one's own uid) */
	WIRE_TRY, /* string name -> u8 class, string lines (root) */
	/*
	 * string identity provider, string source (of the asker's configuration, federation.h; "" takes any), string etag
	 * -> string etag, u64 refresh, u8 not_modified, u32 length; then frames of that many bytes in all, without a head
	 * (root, keyfob-verify)
	 */
	WIRE_KEYSET,
	/*
	 * u32 uid, u8 kind (enum keyfob_kind: ACCESS or ID), string resource ("" takes any), string client id or ""
	 * -> as GET, then string name. Which credential marked metadata = yes is for this user's metadata client; error 2 when
	 * several are, 3 when none is, 4 when none that is may be his (root, keyfob-metadata)
	 */
	WIRE_METADATA,
};
#define WIRE_KEYSET_MAX (256u << 10) /* bytes of a key set */
#define WIRE_CHUNK 32768 /* of what does not fit a frame, in each */

/*
 * The verifier's socket, frames and replies as above. What a token is refused
 * for is told to root alone; others get error 7 and "refused". Errors: 3 no
 * such identity provider, or (ACCOUNT) no such login; 4 not allowed to ask; 7
 * refused; 8 no keys to judge by right now.
 */
#define WIRE_VERIFY_SOCKET_DEFAULT "/run/keyfob/verify.sock"
#define WIRE_VERIFY_TOKEN_MAX 65536 /* with service and login it must fit a frame */
#define WIRE_LOGIN_MAX 255 /* a login's, a service's or an account's bytes */
enum wire_verify {
	WIRE_VERIFY_TOKEN = 1, /* string service, string login, string token -> string account, string identity provider,
				  string subject, u64 expires */
	WIRE_VERIFY_ACCOUNT, /* string service, string login, string account that was given before, or "" -> string account */
	/* string identity provider or "" (the one the token names), string token -> string identity provider, string subject,
	   u64 expires (root) */
	WIRE_VERIFY_EXPLAIN,
	/* string identity provider or "", string after -> u8 more, wire_keyset ... (root) */
	WIRE_VERIFY_KEYSETS,
	WIRE_VERIFY_REFRESH, /* string identity provider -> u32 keys; waits for the fetch (root) */
	WIRE_VERIFY_REVOKE, /* string identity provider -> u64 epoch (root) */
	WIRE_VERIFY_RELOAD, /* -> (root) */
};
/*
 * A key set as KEYSETS lists it: string identity provider, u8 state (enum
 * wire_keyset), u64 epoch, u64 fetched, u64 attempted, u64 refresh, u64 hard
 * limit, u32 failures in a row, string error, u32 count and per key: string
 * kid, string kind.
 */
enum wire_keyset { WIRE_KEYSET_GOOD, WIRE_KEYSET_STALE, WIRE_KEYSET_MISSING, WIRE_KEYSET_REVOKED };

/*
 * keyfobd to keyfob-fetch, one frame on descriptor 0:
 * u8 version, u8 flags, u8 sandbox (enum keyfob_sandbox), string module,
 * string credential, string resource, u8 kind, u32 ttl (0: none), u32 timeout
 * in seconds, u32 count and (string name, string value, u8 secret) settings,
 * u32 count and string arguments. After READY, one frame for each secret
 * setting: string name, string error; with a descriptor to read it from when
 * the error is "".
 */
#define WIRE_SECRET_MAX 65536
#define WIRE_FETCH_EXCHANGE 0x01 /* tell the redacted exchange, for `keyfob try` */
#define WIRE_FETCH_OWN 0x02 /* for a user's own broker, as himself */

/* keyfob-fetch to keyfobd: u8 tag, fields. READY comes first, RESULT last and once. */
enum wire_fetch {
	WIRE_FETCH_READY = 1, /* the sandbox is up */
	WIRE_FETCH_LINE, /* string: one line of the redacted exchange */
	WIRE_FETCH_RESULT, /* see struct wire_result */
	WIRE_FETCH_DATA, /* string: a part of a document, in order, before its RESULT (KEYFOB_KIND_DOCUMENT) */
};

struct wire_result {
	uint8_t class; /* enum keyfob_class; the token stands only with KEYFOB_CLASS_OK */
	uint64_t expires; /* epoch seconds */
	uint64_t refresh; /* epoch seconds the provider asks for, 0: none */
	uint32_t retry_after; /* seconds, 0: none */
	char fingerprint[9]; /* 8 hex digits of the token's SHA-256 */
	char code[65]; /* provider's error code; of a document that came, its ETag */
	char text[WIRE_TEXT_MAX]; /* what happened, for people; never a part of a token */
	char issuer[257], audience[257], subject[257]; /* of a JWT, for status; else "" */
};

/* Appends the whole reply of a request that failed: error is a negative enum keyfob_error. */
bool wire_put_error(struct buffer *b, int error, uint32_t retry, const char *text);
/* Appends the tag, the fields and the token (length 0 without one). */
bool wire_put_result(struct buffer *b, const struct wire_result *result, const char *token, size_t length);
/* Reads what follows the tag. *token points into the frame. false: malformed. */
bool wire_get_result(struct reader *r, struct wire_result *result, const char **token, size_t *length);

/*
 * `keyfob-fetch --describe MODULE` prints one such frame on stdout: u8
 * version, u8 0, string name, string help, u8 sandbox, u8 kind, string
 * example, u32 count and per option: string name, u8 type, u8 flags, string
 * values, string help. On failure: u8 version, u8 1, string text.
 */

/*
 * A credential in `status`: string name, string description, string
 * provider (the line that gave the token, the first where none is known to), string resource, u8 state, u8 kind, u64 expires,
 * u64 refresh, u64 fetched, u64 fetches, u64 failures, u64 failed_at,
 * string fingerprint, string last_error, string issuer, string audience,
 * string subject, string identity_provider, string mismatch (why it would
 * refuse the token; "" when it would not), u32 provider line (from 1; 0: not
 * known), u32 provider lines, string class of the last failure (its name, or
 * ""), u32 count and per reader: string (user name, @group or uid), u8 reader
 * state, u32 how many asked (of a group; of others 0 or 1), string group
 * through which alone it is one (@group, or "").
 */
enum wire_state {
	WIRE_STATE_NONE, /* nobody asked yet */
	WIRE_STATE_FETCHING, /* the first token is on its way */
	WIRE_STATE_VALID,
	WIRE_STATE_STALE, /* valid, but the refresh that is due fails */
	WIRE_STATE_FAILED, /* no token, and the last fetch failed */
};
enum wire_reader {
	WIRE_READER_NONE, /* may ask, did not yet */
	WIRE_READER_COPY, /* has a copy in his keyring */
	WIRE_READER_SOCKET, /* asked, and is served by socket */
	WIRE_READER_NO_FILE, /* his token file cannot be written; the log says why. Otherwise he is served */
};

/* A name that may stand for a credential: letters, digits, '.', '_', '-'; no leading '.' or '-'. */
bool wire_name_valid(const char *name);

/*
 * Send one frame, or receive one into b (cleared first; at most its limit),
 * with at most max descriptors. EINTR is retried. A frame or a control
 * message that was cut counts as malformed.
 * Return 0, or a negative errno; wire_receive gives -ECONNRESET at the end.
 */
int wire_send(int fd, const struct buffer *b, int pass_fd);
int wire_receive(int fd, struct buffer *b, int *received_fd);

/*
 * Refuse descriptors on a socket, or on a listener for all it accepts (Linux
 * 6.16; false where the kernel is older). One that is sent is closed by the
 * receiver, and the sender decides how long that takes (SO_LINGER).
 */
bool wire_refuse_descriptors(int fd);

#endif
