#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# make demo: the main job from provider to program, with an emulated cloud,
# users made for it and a broker of its own. Leaves nothing behind.
set -u
cd "$(dirname "$0")/.." || exit 1
if [ -z "${KEYFOB_PREFIX:-}" ]; then
	[ "$(id -u)" = 0 ] || { echo "demo: it makes users and starts a broker, so run it as root" >&2; exit 1; }
	KEYFOB_PREFIX=$(mktemp -d /var/lib/keyfob-demo.XXXXXX) && chmod 0755 "$KEYFOB_PREFIX" || exit 1
	export KEYFOB_PREFIX
	trap 'rm -rf "$KEYFOB_PREFIX"' EXIT
	trap 'exit 1' INT TERM HUP
	make --no-print-directory O="$1" PREFIX="$KEYFOB_PREFIX" install >/dev/null || exit 1
	KEYFOB_TEST_SESSION="" "$0"
	exit
fi
. tests/system/lib.sh
set -e

say() {
	printf '\n\033[1m# %s\033[0m\n' "$*"
}
# show USER COMMAND: as he would type it
show() {
	printf '%s$ %s\n' "$1" "$2"
	as "$1" sh -c "$2" 2>&1 || printf '(exit code %d)\n' "$?"
	echo
}

new_user; orders=$USER_NAME
new_user; stranger=$USER_NAME
start_emulator
printf '#!/bin/sh\n# Anything that prints a token can be a provider.\necho "{\\"access_token\\":\\"token-of-$(id -un)\\",\\"expires_in\\":3600}"\n' >"$DIR/corp-token"
chmod 0755 "$DIR/corp-token"
configure <<EOF
[credential atlas]
description = orders database on Atlas
resource    = api://0d5c1c0e-demo
provider    = azure endpoint=$CLOUD
allow       = user:$orders

[credential bigquery]
description = reports
resource    = https://db.example/reports
provider    = gcp endpoint=$CLOUD
allow       = user:$orders

[credential corp]
description = from a program of the house
provider    = callback-exec run_as=$orders -- $DIR/corp-token
allow       = user:$orders
EOF

say "The configuration: one credential per module. The cloud is keyfob-emulator on loopback."
cat "$CONFIG"
say "keyfobd starts, fetches for the users it names and hangs the tokens on their kernel keyrings."
start_broker
until_true 20 sh -c "[ \$(keyfob status --json | jq '[.credentials[] | select(.state == \"valid\")] | length') = 3 ]"
until_true 5 as "$orders" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:corp'
sed 's/^/    /' "$LOG"

say "The user looks at his keyring with the kernel's own tool. The keys are root's, and they expire."
show "$orders" 'keyctl get_persistent @s; keyctl show @s'
show "$orders" 'keyctl get_persistent @s >/dev/null; keyctl print %user:keyfob:corp'
show "$orders" 'keyctl get_persistent @s >/dev/null; keyctl print %user:keyfob-info:corp'
say "He may read, and nothing else."
show "$orders" 'keyctl get_persistent @s >/dev/null; keyctl update %user:keyfob:corp forged'
say "A shell gets the token with keyfob get."
show "$orders" 'keyfob get atlas | cut -c1-60'
say "A program gets it with libkeyfob (examples/get.c), linked by pkg-config."
PKG_CONFIG_PATH=$KEYFOB_PREFIX/lib/pkgconfig
export PKG_CONFIG_PATH
# shellcheck disable=SC2046
cc -o "$DIR/get" examples/get.c $(pkg-config --cflags --libs keyfob)
show "$orders" "$DIR/get atlas | cut -c1-60"
show "$orders" "[ \"\$($DIR/get atlas)\" = \"\$(keyfob get atlas)\" ] && echo the same bytes"
say "Another user is told no."
show "$stranger" 'keyfob get atlas'
say "Root sees who has what."
keyfob status
say "Tokens that live 8 seconds are renewed ahead of their end: two reads, five seconds apart."
fault 'path=imds&lifetime=8'
keyfob drop atlas
show "$orders" 'for i in 1 2; do keyfob get atlas | sha256sum | cut -c1-8; sleep 5; done'
say "With the broker killed, reading goes on: the kernel has the keys, until they expire."
stop_broker KILL
show "$orders" 'keyfob get corp'
say "Done. Users, keys, processes and files of the demo are being removed."
