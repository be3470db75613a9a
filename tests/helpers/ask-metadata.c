/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ask the broker for a metadata client's token as keyfob-metadata does:
 * ask-metadata UID access|id RESOURCE [CLIENT_ID]. The token on stdout, the
 * rest and what was wrong on stderr, the reply's error as exit code. With the
 * environment's COUNT it asks so often at once, and says after the end of its
 * stdin how many were answered.
 *
 * links: keyring/client keyring/keyctl common/buffer common/wire
 * libs: libkeyutils
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/wire.h"
#include "keyring/client.h"
#include "modules/module.h"

static void put_fields(struct buffer *b, char **argv)
{
	buffer_put_u32(b, (uint32_t)strtoul(argv[1], NULL, 10));
	buffer_put_u8(b, strcmp(argv[2], "id") == 0 ? KEYFOB_KIND_ID : strcmp(argv[2], "access") == 0 ? KEYFOB_KIND_ACCESS : 77);
	buffer_put_text(b, argv[3]);
	buffer_put_text(b, argv[4] ? argv[4] : "");
}

static int ask_at_once(char **argv, int count)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct pollfd *fds = calloc((size_t)count, sizeof(*fds));
	struct buffer request;
	int answered = 0;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", client_socket());
	buffer_init(&request, WIRE_MAX);
	buffer_put_u8(&request, WIRE_VERSION);
	buffer_put_u8(&request, WIRE_METADATA);
	put_fields(&request, argv);
	for (int i = 0; fds && i < count; i++) {
		fds[i] = (struct pollfd){ .fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), .events = POLLIN };
		if (fds[i].fd < 0 || connect(fds[i].fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
			wire_send(fds[i].fd, &request, -1) < 0) {
			perror("ask-metadata");
			return 6;
		}
	}
	fprintf(stderr, "asked\n");
	while (getchar() != EOF)
		continue;
	poll(fds, (nfds_t)count, 0);
	for (int i = 0; i < count; i++)
		answered += fds[i].revents != 0;
	printf("%d\n", answered);
	return 0;
}

int main(int argc, char **argv)
{
	char message[WIRE_TEXT_MAX], fingerprint[16], name[WIRE_NAME_MAX + 1];
	struct buffer fields, reply;
	struct reader r;
	const uint8_t *token;
	uint64_t expires, refresh;
	size_t length;
	int error;

	if (argc < 4)
		return 2;
	if (getenv("COUNT"))
		return ask_at_once(argv, atoi(getenv("COUNT")));
	buffer_init(&fields, WIRE_MAX);
	buffer_init(&reply, WIRE_MAX);
	put_fields(&fields, argv);
	error = client_call(WIRE_METADATA, &fields, 40000, &reply, &r, message, sizeof(message));
	if (error < 0) {
		fprintf(stderr, "%s\n", message);
		return -error;
	}
	token = reader_string(&r, &length);
	expires = reader_u64(&r);
	refresh = reader_u64(&r);
	reader_text(&r, fingerprint, sizeof(fingerprint));
	reader_text(&r, name, sizeof(name));
	if (!reader_done(&r))
		return 1;
	fwrite(token, 1, length, stdout);
	fprintf(stderr, "expires=%llu refresh=%llu token=#%s credential=%s\n", (unsigned long long)expires, (unsigned long long)refresh,
		fingerprint, name);
	buffer_free(&fields);
	buffer_free(&reply);
	return 0;
}
