/* SPDX-License-Identifier: Apache-2.0 */
/* Where does this host have tokens from? */
#include "cli/admin-init.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define AZURE_TAG "7783-7084-3265-9085-8269-3286-77" /* chassis asset tag of every virtual machine there */
#define POD_TOKEN "/var/run/secrets/kubernetes.io/serviceaccount/token"
#define METADATA_ADDRESS "169.254.169.254" /* of both clouds */
#define PROBE_SECONDS 1 /* for each of the steps of a probe */

const struct init_place init_places[] = {
	{ "azure", "a virtual machine in Azure", "azure", "api://APPLICATION-ID",
		"the Application ID URI of the application that the database trusts",
		"# As a user-assigned identity: client_id=GUID at the end of that line.\n" },
	{ "arc", "a server of Azure Arc", "azure source=arc", "api://APPLICATION-ID",
		"the Application ID URI of the application that the database trusts",
		"# The agent's keys are for its group: run_as=USER at the end of that line names a member (usermod -a -G himds USER).\n" },
	{ "appservice", "Azure App Service, Functions or Container Apps", "azure source=appservice", "api://APPLICATION-ID",
		"the Application ID URI of the application that the database trusts",
		"# FILL IN: that file must hold what IDENTITY_HEADER does; root's, mode 0600. Where no keyfobd runs, keyfob get --direct "
		"takes\n"
		"# provider = azure source=appservice identity_endpoint=env:IDENTITY_ENDPOINT header_file=env:IDENTITY_HEADER\n" },
	{ "workload", "a pod with an Entra workload identity", "azure source=workload", "api://APPLICATION-ID",
		"the Application ID URI of the application that the database trusts", "" },
	{ "google", "a virtual machine in Google Cloud", "gcp", "https://SERVICE", "the audience that the database wants",
		"# Gives an ID token. For Google's own APIs: token = access, and no resource.\n" },
	{ "kubernetes", "a Kubernetes pod", "k8s path=/var/run/secrets/keyfob/token", "AUDIENCE",
		"the audience that the database wants, which that of the volume must be",
		"# The pod has a projected volume on that directory, with serviceAccountToken {audience: AUDIENCE, path: token}.\n" },
	{ 0 },
};

const struct init_place *init_place(const char *name)
{
	for (const struct init_place *p = init_places; p->name; p++)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

static const char *variable(const char *name)
{
	const char *value = secure_getenv(name);

	return value ? value : "";
}

static bool is_there(const char *root, const char *path)
{
	char full[PATH_MAX];

	return snprintf(full, sizeof(full), "%s%s", root, path) < (int)sizeof(full) && access(full, F_OK) == 0;
}

/* The first line of a small file, "" when it cannot be read. */
static const char *line_of(const char *root, const char *path, char *out, size_t size)
{
	char full[PATH_MAX];
	ssize_t n = -1;
	int fd = -1;

	if (snprintf(full, sizeof(full), "%s%s", root, path) < (int)sizeof(full))
		fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, out, size - 1);
		close(fd);
	}
	out[n < 0 ? 0 : n] = 0;
	out[strcspn(out, "\n")] = 0;
	return out;
}

static bool take(struct init_found *found, const char *name, const char *why)
{
	found->place = init_place(name);
	snprintf(found->why, sizeof(found->why), "%s", why);
	return true;
}

/* What a platform hands its programs says more than the machine below. */
static bool look_at_environment(const char *root, struct init_found *found)
{
	if (*variable("AZURE_FEDERATED_TOKEN_FILE"))
		return take(found, "workload", "AZURE_FEDERATED_TOKEN_FILE is set");
	if (*variable("IDENTITY_ENDPOINT") && *variable("IDENTITY_HEADER"))
		return take(found, "appservice", "IDENTITY_ENDPOINT and IDENTITY_HEADER are set");
	if (*variable("K_SERVICE"))
		return take(found, "google", "K_SERVICE is set, as by Cloud Run; where no keyfobd runs: keyfob get --direct");
	if (*variable("KUBERNETES_SERVICE_HOST"))
		return take(found, "kubernetes", "KUBERNETES_SERVICE_HOST is set");
	if (is_there(root, POD_TOKEN))
		return take(found, "kubernetes", POD_TOKEN " is there");
	return false;
}

static bool look_at_machine(const char *root, struct init_found *found)
{
	char tag[128], product[128], vendor[128];

	/* The agent's programs, by both of the paths that it is looked for at. */
	if (is_there(root, "/opt/azcmagent/bin/himds") || is_there(root, "/var/opt/azcmagent"))
		return take(found, "arc", "the Connected Machine agent is installed");
	line_of(root, "/sys/class/dmi/id/chassis_asset_tag", tag, sizeof(tag));
	line_of(root, "/sys/class/dmi/id/product_name", product, sizeof(product));
	line_of(root, "/sys/class/dmi/id/sys_vendor", vendor, sizeof(vendor));
	/* The vendor alone is Hyper-V, wherever it runs. */
	if (strcmp(tag, AZURE_TAG) == 0 && strncmp(vendor, "Microsoft", 9) == 0)
		return take(found, "azure", "by /sys/class/dmi/id/chassis_asset_tag");
	if (strncmp(product, "Google", 6) == 0)
		return take(found, "google", "by /sys/class/dmi/id/product_name");
	return false;
}

void init_look(const char *root, struct init_found *found)
{
	memset(found, 0, sizeof(*found));
	if (!look_at_environment(root, found))
		look_at_machine(root, found);
}

/* --- what the place wants to know --------------------------------------------------------- */

/* May it stand on a provider line as it is? */
static bool is_word(const char *text)
{
	static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~:/@%+-";

	return *text && strlen(text) < 500 && strspn(text, others) == strlen(text);
}

static void put_option(struct init_found *found, const char *name, const char *value, const char *otherwise)
{
	size_t length = strlen(found->options);

	found->is_guessed = found->is_guessed || !is_word(value);
	snprintf(found->options + length, sizeof(found->options) - length, " %s=%s", name, is_word(value) ? value : otherwise);
}

void init_take_options(struct init_found *found)
{
	if (!found->place)
		return;
	if (strcmp(found->place->name, "workload") == 0) {
		put_option(found, "tenant", variable("AZURE_TENANT_ID"), "00000000-0000-0000-0000-000000000000");
		put_option(found, "client_id", variable("AZURE_CLIENT_ID"), "00000000-0000-0000-0000-000000000000");
		put_option(
			found, "token_file", variable("AZURE_FEDERATED_TOKEN_FILE"), "/var/run/secrets/azure/tokens/azure-identity-token");
	} else if (strcmp(found->place->name, "appservice") == 0) {
		put_option(found, "identity_endpoint", variable("IDENTITY_ENDPOINT"), "http://127.0.0.1:41741/msi/token");
		put_option(found, "header_file", "/etc/keyfob/identity-header", "");
	}
}

/* --- the metadata service ------------------------------------------------------------------- */

static int reach(void)
{
	const struct timeval limit = { .tv_sec = PROBE_SECONDS };
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(80) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, METADATA_ADDRESS, &address.sin_addr);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
		connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Does an answer to this request hold these words? What it says otherwise is of no interest. */
static bool answers(const char *request, const char *words)
{
	char answer[4096];
	size_t length = 0;
	ssize_t n = 0;
	int fd = reach();

	if (fd < 0)
		return false;
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request))
		while (length < sizeof(answer) - 1 && (n = recv(fd, answer + length, sizeof(answer) - 1 - length, 0)) > 0)
			length += (size_t)n;
	close(fd);
	answer[length] = 0;
	return strcasestr(answer, words) != NULL;
}

void init_probe(struct init_found *found)
{
	static const char google[] = "GET / HTTP/1.0\r\nHost: " METADATA_ADDRESS "\r\nMetadata-Flavor: Google\r\n\r\n";
	static const char azure[] = "GET /metadata/versions HTTP/1.0\r\nHost: " METADATA_ADDRESS "\r\nMetadata: true\r\n\r\n";

	if (found->place)
		return;
	if (answers(google, "\nMetadata-Flavor: Google"))
		take(found, "google", "the metadata service at " METADATA_ADDRESS " is Google's");
	else if (answers(azure, "\"apiVersions\""))
		take(found, "azure", "the metadata service at " METADATA_ADDRESS " is Azure's");
}
