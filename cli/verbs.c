/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static const struct cli_option get_options[] = {
	{ "json", NULL, "token, expires_at and credential as JSON", false },
	{ "header", NULL, "as a line \"Authorization: Bearer TOKEN\"", false },
	{ "format", "FORM", "exec-credential (Kubernetes), google (executable-sourced) or git", false },
	{ "direct", NULL, "one sandboxed fetch, without a broker and a keyring; nothing is stored", false },
	{ 0 },
};

static const struct cli_option run_options[] = {
	{ "mongodb", "NAME", "for MongoDB drivers with ENVIRONMENT:k8s in their connection string", true },
	{ "file", "NAME[:VAR]", "VAR is the path of a file with its token; default: KEYFOB_TOKEN_FILE; may repeat", true },
	{ "pgpass", "NAME:ENTRY", "the file of PGPASSFILE has it, for HOST:PORT:DATABASE:USER; may repeat", true },
	{ 0 },
};

static const struct cli_option uri_options[] = {
	{ "user", "USER", "of PostgreSQL and MariaDB; default: your own name", false },
	{ "database", "DATABASE", "of these; default: the user's name", false },
	{ "json", NULL, "as JSON", false },
	{ 0 },
};

static const struct cli_option status_options[] = {
	{ "watch", NULL, "-w too: stay, and keep what is shown current", false },
	{ "check", NULL, "one line for a monitor; 0 is fine, 8 degraded, 5 there is no token", false },
	{ "prometheus", NULL, "as metrics in Prometheus' text format", false },
	{ "json", NULL, "as JSON, times in seconds since the epoch", false },
	{ 0 },
};

static const struct cli_option jwks_options[] = {
	{ "json", NULL, "as JSON, times in seconds since the epoch", false },
	{ 0 },
};

static const struct cli_option json_options[] = {
	{ "json", NULL, "as JSON", false },
	{ 0 },
};

static const struct cli_option explain_options[] = {
	{ "as", "USER", "may this user have it, and why: exit code 0 or 4 (root, or oneself)", false },
	{ "idp", "NAME", "would this identity provider take it; default: the one that it is for", false },
	{ "rules", "RULES", "keyfob or mongodb: judged by these rules in place of the configured ones", false },
	{ "json", NULL, "as JSON", false },
	{ 0 },
};

static const struct cli_option doctor_options[] = {
	{ "config", NULL, "only read the configuration; no broker is needed", false },
	{ "try", NULL, "one fetch of every credential, as try does (root)", false },
	{ "json", NULL, "as JSON", false },
	{ 0 },
};

static const struct cli_option init_options[] = {
	{ "user", "USER", "who may have the token; default: whoever called sudo, or yourself", false },
	{ "resource", "TEXT", "what the token is for; default: a word to be filled in", false },
	{ "for", "PLACE", "azure, arc, appservice, workload, google or kubernetes, in place of looking", false },
	{ "probe", NULL, "ask for a cloud's metadata service, too, if nothing else tells", false },
	{ "emulator", NULL, "for a laptop: tokens from keyfob-emulator, and logins with them", false },
	{ "port", "PORT", "where the emulator listens; default: 8791", false },
	{ "write", NULL, "put it in place, where there is nothing yet (root)", false },
	{ 0 },
};

static const struct cli_option metadata_options[] = {
	{ "port", "PORT", "where keyfob-metadata listens; default: 254", false },
	{ 0 },
};

static const struct cli_option verify_options[] = {
	{ "service", "S", "the service that a client of it would log in to (needed)", false },
	{ "login", "L", "the login that he would give; default: your own name, as clients have it", false },
	{ "json", NULL, "as JSON, times in seconds since the epoch", false },
	{ 0 },
};

static const struct cli_option idp_add_options[] = {
	{ "issuer", "URL", "what a token's iss must be (Atlas: Issuer URI)", false },
	{ "audience", "TEXT", "what a token's aud must hold (Atlas: Audience)", false },
	{ "type", "TYPE", "user or group: what database users are added by; default: user", false },
	{ "user-claim", "CLAIM", "the claim that says who it is; default: sub", false },
	{ "groups-claim", "CLAIM", "the claim that lists groups; default: groups", false },
	{ "client-id", "ID", "a client whose tokens are taken; may repeat; default: any", true },
	{ "rules", "RULES", "keyfob, or mongodb for what a MongoDB server takes; default: keyfob", false },
	{ "token-type", "TYP", "a typ of token that is taken; may repeat; default: JWT and at+jwt", true },
	{ "max-lifetime", "DURATION", "refuse tokens that live longer", false },
	{ "max-token-size", "BYTES", "refuse tokens that are larger", false },
	{ "discovery-url", "URL", "where its metadata document is, if not below the issuer", false },
	{ "jwks-uri", "URL", "where its keys are, without discovery", false },
	{ "jwks-file", "FILE", "the keys themselves, for hosts without a network", false },
	{ "ca-file", "FILE", "certificates to trust for https; default: the system's", false },
	{ "proxy", "URL", "an HTTP proxy for these fetches; default: none", false },
	{ "pin", "HASHES", "sha256//BASE64[;...]: the public keys that its servers may have", false },
	{ "expiry-skew", "DURATION", "take tokens so long past their end, at most 60s; default: 0", false },
	{ "description", "TEXT", "a line for people", false },
	{ "preset", "VENDOR", "azure or google: fill in what is always so", false },
	{ "print", NULL, "only print the stanza", false },
	{ "json", NULL, "as JSON", false },
	{ 0 },
};

static const struct cli_option org_add_options[] = {
	{ "services", "NAMES", "its services, parted by blanks or commas; may repeat (needed)", true },
	{ "idp", "NAMES", "the identity providers connected to them; may repeat", true },
	{ "description", "TEXT", "a line for people", false },
	{ "print", NULL, "only print the stanza", false },
	{ "yes", NULL, "also when somebody loses access by it", false },
	{ "json", NULL, "as JSON, with who loses access", false },
	{ 0 },
};

static const struct cli_option dbuser_add_options[] = {
	{ "service", "NAME", "where he logs in (needed)", false },
	{ "idp", "NAME", "the identity provider that vouches for him (needed)", false },
	{ "user-id", "ID", "what the user claim of his tokens holds", false },
	{ "group-id", "ID", "or a group that their groups claim holds", false },
	{ "login", "LOGIN", "the login he gives; default: NAME", false },
	{ "account", "ACCOUNT", "what the service is told he is; default: the login", false },
	{ "description", "TEXT", "a line for people", false },
	{ "print", NULL, "only print the stanza", false },
	{ "json", NULL, "as JSON", false },
	{ 0 },
};

static const struct cli_option connect_options[] = {
	{ "json", NULL, "as JSON, with who gains access", false },
	{ 0 },
};

static const struct cli_option yes_options[] = {
	{ "yes", NULL, "do it; without this only who loses access where is listed", false },
	{ "json", NULL, "as JSON, with who loses access", false },
	{ 0 },
};

#define ROOT_ONLY "Writes a file of its own below conf.d, and has the daemons read it. Only root.\n"
#define SESSIONS "Database sessions that are open stay open; the query that ends them is told.\n"

const struct cli_verb cli_verbs[] = {
	{ "get", "NAME", "print a credential's token", "No line end follows the token unless stdout is a terminal.\n", get_options, 1, 1 },
	{ "run", "-- COMMAND ...", "run a command that finds tokens in files, kept current",
		"The variables are set for that command alone, and no token stands in one. Ends as\n"
		"the command does; 125 when it was not run, 126 when it cannot be, 127 when it is\n"
		"not there.\n",
		run_options, 1, CLI_COMMAND },
	{ "uri", "NAME HOST", "what to write into a program's configuration",
		"Connection strings for MongoDB and PostgreSQL, and a command for MariaDB. HOST may have\n"
		"a port. Over a network they demand TLS: a token that is overheard is as good as stolen.\n",
		uri_options, 2, 2 },
	{ "status", "[NAME]", "who has what, how long it lives, what to do", NULL, status_options, 0, 1 },
	{ "refresh", "NAME", "fetch the token ahead of its time", NULL, NULL, 1, 1 },
	{ "drop", "NAME", "forget every copy and fetch afresh (root)",
		"For a token that was revoked, or that a server refuses. A metadata service may hand out\n"
		"the same once more (Azure up to 24 h, Google up to 1 h).\n",
		NULL, 1, 1 },
	{ "try", "NAME", "one fetch, nothing stored, the exchange shown (root)", "Tokens and secrets are left out of what is shown.\n",
		NULL, 1, 1 },
	{ "explain", "NAME|-", "a token's header and claims, and who would take it",
		"- reads a token from standard input. Whether the identity provider would take it\n"
		"is judged by keyfob-verifyd for root; for others by the claims alone, without the\n"
		"signature. The exit code is 7 when it would be refused.\n",
		explain_options, 1, 1 },
	{ "module list", "", "the provider modules", NULL, json_options, 0, 0 },
	{ "module show", "MODULE", "a module's options, and an example", NULL, json_options, 1, 1 },
	{ "verify", "-", "is the token on stdin good for a login",
		"Judged as pam_keyfob would. Why a token is refused (exit code 7) is told to root.\n", verify_options, 1, 1 },
	{ "idp list", "", "the identity providers", NULL, json_options, 0, 0 },
	{ "idp show", "NAME", "one of them, and what others call its settings", NULL, json_options, 1, 1 },
	{ "idp add", "NAME", "add an identity provider (root)",
		"With a preset:\n"
		"  keyfob idp add [NAME] --preset=azure TENANT-ID CLIENT-ID\n"
		"  keyfob idp add [NAME] --preset=google AUDIENCE\n" ROOT_ONLY,
		idp_add_options, 0, 3 },
	{ "idp connect", "NAME ORG", "take its tokens in an organization's services (root)", ROOT_ONLY, connect_options, 2, 2 },
	{ "idp disconnect", "NAME ORG", "take them there no longer (root)", SESSIONS, yes_options, 2, 2 },
	{ "idp delete", "NAME", "remove one that is not connected (root)", NULL, yes_options, 1, 1 },
	{ "org list", "", "the organizations", NULL, json_options, 0, 0 },
	{ "org show", "NAME", "one of them", NULL, json_options, 1, 1 },
	{ "org add", "NAME", "services that share identity providers (root)",
		"Without any organization every identity provider is connected to every service.\n" ROOT_ONLY, org_add_options, 1, 1 },
	{ "org delete", "NAME", "remove one (root)", SESSIONS, yes_options, 1, 1 },
	{ "dbuser list", "", "the database users", NULL, json_options, 0, 0 },
	{ "dbuser show", "NAME", "one of them", NULL, json_options, 1, 1 },
	{ "dbuser add", "NAME", "let a user or a group log in (root)", ROOT_ONLY, dbuser_add_options, 1, 1 },
	{ "dbuser delete", "NAME", "let them in no longer (root)", SESSIONS, yes_options, 1, 1 },
	{ "jwks list", "[IDP]", "the key sets of the identity providers (root)", NULL, jwks_options, 0, 1 },
	{ "jwks refresh", "IDP", "fetch a key set now (root)", "A jwks_file is read again.\n", json_options, 1, 1 },
	{ "jwks revoke", "IDP", "believe its present keys no longer, at once (root)",
		"Logins are refused until the key set was fetched afresh, and old tokens for good. Have\n"
		"the provider change its signing key, too. Not for rotation: new keys are found without\n"
		"it.\n",
		json_options, 1, 1 },
	{ "init", "[CREDENTIAL]", "a first configuration, by where this host is",
		"It is printed with comments. With --write it is keyfob.conf, or conf.d/CREDENTIAL.conf\n"
		"where there is one; CREDENTIAL is db unless named.\n",
		init_options, 0, 1 },
	{ "metadata-rules", "", "packet filter rules that bring users to keyfob-metadata",
		"For nft(8): a redirect for each user whom a credential with metadata = yes allows by\n"
		"user:. Nothing is changed; keyfob metadata-rules | nft -f - puts them in force.\n",
		metadata_options, 0, 0 },
	{ "reload", "", "have the configuration read afresh (root)", NULL, NULL, 0, 0 },
	{ "doctor", "[DIR ...]", "what is wrong on this host, and what mends it",
		"The exit code is 1 when there is an error. root is told most; a user what concerns him.\n"
		"DIR is an application's directory: the MongoDB drivers in it are looked at, too.\n"
		"Reads the file named by --config before the verb, else by KEYFOB_CONFIG, else\n"
		"/etc/keyfob/keyfob.conf.\n",
		doctor_options, 0, CLI_OPERANDS },
	{ 0 },
};
