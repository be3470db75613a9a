#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# make docs: what in the texts comes from running programs. doc/architecture.svg is drawn from the table below; the sessions
# between markers in README.md are played afresh, on a host of their own.
#   doc/make-docs.sh BUILD [TREE]
# TREE is where README.md and doc/ are changed, this one unless given.
set -u
cd "$(dirname "$0")/.." || exit 1
[ "$(id -u)" = 0 ] || { echo "docs: it makes users and starts a broker, so run it as root" >&2; exit 1; }
if [ -z "${KEYFOB_PREFIX:-}" ]; then
	KEYFOB_PREFIX=$(mktemp -d /var/lib/keyfob-docs.XXXXXX) && chmod 0755 "$KEYFOB_PREFIX" || exit 1
	export KEYFOB_PREFIX
	trap 'rm -rf "$KEYFOB_PREFIX"' EXIT
	trap 'exit 1' INT TERM HUP
	make --no-print-directory O="$1" PREFIX="$KEYFOB_PREFIX" install >/dev/null || exit 1
	doc/make-docs.sh "$@"
	exit
fi
. tests/system/world.inc
tree=${2:-.}

# --- the picture ---------------------------------------------------------------------------

# box NAME COLUMN ROW TITLE|LINE|LINE; arrow FROM TO. The upper half is how tokens come, the lower one how they are taken.
picture() {
	awk '
	function line(x1, y1, x2, y2) {
		printf "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" marker-end=\"url(#head)\"/>\n", x1, y1, x2, y2
	}
	BEGIN {
		W = 196; H = 82; X = 248; Y = 130
		print "<!-- SPDX-License-Identifier: Apache-2.0 -->\n<!-- drawn by make docs -->"
		printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n", 3 * X + W + 4, 2 * Y + H + 4, 3 * X + W + 4, 2 * Y + H + 4
		print "<title>How tokens come to programs, and how services take them</title>"
		print "<style>\n" \
			"text { font-family: sans-serif; font-size: 13px; text-anchor: middle; fill: #1f2328 }\n" \
			"text.title { font-weight: bold }\n" \
			"rect { fill: #f6f8fa; stroke: #57606a } rect.own { fill: #ddf4ff; stroke: #0969da }\n" \
			"line { stroke: #57606a; stroke-width: 1.5 } marker path { fill: #57606a }\n" \
			"@media (prefers-color-scheme: dark) {\n" \
			"text { fill: #e6edf3 } rect { fill: #161b22; stroke: #8b949e } rect.own { fill: #0c2d6b; stroke: #58a6ff }\n" \
			"line { stroke: #8b949e } marker path { fill: #8b949e }\n" \
			"}\n</style>"
		print "<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\"/></marker></defs>"
	}
	$1 == "box" || $1 == "own" {
		x[$2] = 2 + $3 * X; y[$2] = 2 + $4 * Y
		printf "<rect%s x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", $1 == "own" ? " class=\"own\"" : "", x[$2], y[$2], W, H
		text = $0; sub(/^([^ ]+ ){4}/, "", text)
		n = split(text, part, "|")
		for (i = 1; i <= n; i++)
			printf "<text%s x=\"%d\" y=\"%d\">%s</text>\n", i == 1 ? " class=\"title\"" : "", x[$2] + W / 2, y[$2] + 6 + 20 * i, part[i]
	}
	$1 == "arrow" {
		a = x[$2]; b = y[$2]; c = x[$3]; d = y[$3]
		if (b == d) line(a < c ? a + W : a, b + H / 2, a < c ? c - 2 : c + W + 2, b + H / 2)
		else if (a == c) line(a + W / 2, b + H, a + W / 2, d - 2)
		else line(a + W / 4, b + H, c + W * 3 / 4, d - 2)
	}
	END { print "</svg>" }' <<'END'
box source 0 0 token sources|metadata service, token|endpoint, file, your program
own fetch 1 0 keyfob-fetch|a module in a sandbox,|one process per fetch
own broker 2 0 keyfobd|policy, refresh,|request socket
box keyring 3 0 kernel keyring|root's master copy, and a|copy per user, with a timeout
own metadata 1 1 keyfob-metadata|for clients that only know|a metadata service
own socket 2 1 sockets, token files|for containers, services,|and what reads files
own reader 3 1 libkeyfob, keyfob, keyctl|programs, shells, drivers of|those who may have it
box keys 0 2 identity provider|its key set, fetched|by keyfob-fetch
own verifier 1 2 keyfob-verifyd|issuer, audience, times,|signature, database user
own pam 2 2 pam_keyfob.so|hands the token on,|and takes the verdict
box service 3 2 PostgreSQL, MariaDB, sshd|take the token|as the password
arrow source fetch
arrow fetch broker
arrow broker keyring
arrow broker metadata
arrow broker socket
arrow keyring reader
arrow reader service
arrow service pam
arrow pam verifier
arrow keys verifier
END
}

# --- the sessions ----------------------------------------------------------------------------

export KEYFOB_SOCKET=/run/keyfob/docs-$FIRST_UID.sock
own_socket "$KEYFOB_SOCKET"
CONFIG=/etc/keyfob/keyfob.conf
mount -n -t tmpfs -o mode=0755 keyfob-docs /opt && mkdir /opt/corp || exit 1
printf '#!/bin/sh\necho "{\\"access_token\\":\\"token-of-the-shop-by-corp\\",\\"expires_in\\":1800}"\n' >/opt/corp/token
chmod 0755 /opt/corp/token
groupadd dbclients
for user in orders reports corp; do useradd -M "$user"; done
for user in anna bert; do useradd -M -G dbclients "$user"; done
start_emulator --listen 127.0.0.1:8791
configure <<END
[credential atlas]
description = orders database on Atlas
resource    = api://0d5c1c0e-4a1f-4b0e-9d8a-3f1f6a3f9b11
provider    = azure client_id=5f3ad1c2-77aa-4f0e-8f53-0b7f0f4a1c2d endpoint=$CLOUD
allow       = user:orders group:dbclients
socket      = root:dbclients 0660
identity_provider = entra

[credential reports]
resource = https://reports.example
provider = gcp endpoint=$CLOUD
allow    = user:reports

[credential shop]
provider     = callback-exec run_as=corp timeout=10s -- /opt/corp/token --db shop
allow        = user:orders user:corp
trust_run_as = yes

[identity-provider entra]
issuer             = $CLOUD
audience           = api://0d5c1c0e-4a1f-4b0e-9d8a-3f1f6a3f9b11
authorization_type = user
END
start_broker
copies() {
	[ "$(keyfob status | grep -o 'copy ok' | wc -l)" = 4 ]
}
until_true 30 copies || { echo "docs: the tokens do not come" >&2; keyfob status >&2; exit 1; }

for user in anna bert; do as "$user" keyfob get atlas >/dev/null; done
# Each command as the user orders types it, and what it says.
keyctl_session() {
	as orders bash -c 'while IFS= read -r line; do printf "\$ %s\n" "$line"; eval "$line" 2>&1 </dev/null; done' <<-'END'
		keyctl get_persistent @s
		keyctl show @s
		keyctl pipe %user:keyfob:atlas | cut -c1-40
		keyctl rdescribe %user:keyfob:atlas
		keyctl print %user:keyfob-info:atlas
		keyctl request user keyfob:atlas
		keyctl update %user:keyfob:atlas forged
		grep ' 0 .*keyfob:' /proc/keys
		keyfob get atlas | cut -c1-40
	END
}
# between NAME TEXT: in README.md, between the markers of that name, indented
between() {
	MADE=$(sed 's/^\(.\)/    \1/' <<<"$2") awk -v name="$1" '
		$0 == "<!-- made by make docs: " name " -->" { print; print ""; print ENVIRON["MADE"]; print ""; skip = 1; found = 1 }
		$0 == "<!-- end -->" { skip = 0 }
		!skip
		END { exit !found }' "$tree/README.md" >"$DIR/out/README.md" || { echo "docs: README.md has no marker $1" >&2; return 1; }
	cat "$DIR/out/README.md" >"$tree/README.md"
}
named() {
	sed "s|$KEYFOB_SOCKET|/run/keyfob/keyfob.sock|; s/ *$//"
}
between status "$(COLUMNS=100 keyfob status | named)" &&
	between keyctl "$(keyctl_session | named)" &&
	picture >"$tree/doc/architecture.svg"
