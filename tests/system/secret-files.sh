#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Files of root's whose content a fetch gets as a descriptor: which are taken, and that the content goes nowhere else.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
start_emulator
mkdir -m 0755 "$DIR/elsewhere" "$DIR/etc/open"
write_secret() { # FILE MODE
	printf 'the-secret-of-orders' >"$1" && chmod "$2" "$1"
}
write_secret "$DIR/etc/good" 0600
write_secret "$DIR/etc/readable" 0644
write_secret "$DIR/etc/group-writable" 0620
write_secret "$DIR/elsewhere/outside" 0600
write_secret "$DIR/etc/strangers" 0600 && chown "$alice" "$DIR/etc/strangers"
ln -s good "$DIR/etc/link"
ln -s "$DIR/elsewhere/outside" "$DIR/etc/link-out"
head -c 70000 /dev/zero | tr '\0' x >"$DIR/etc/large" && chmod 0600 "$DIR/etc/large"
mkfifo -m 0600 "$DIR/etc/fifo"
{
	for file in good readable group-writable strangers link link-out large fifo missing; do
		printf '[credential %s]\nrefresh = on-demand\nresource = api://orders\nallow = user:%s\n' "$file" "$alice"
		printf 'provider = oauth2 token_endpoint=%s/oauth2/token client_id=orders secret_file=%s/etc/%s\n\n' "$CLOUD" "$DIR" "$file"
	done
	printf '[credential outside]\nrefresh = on-demand\nresource = api://orders\n'
	printf 'provider = oauth2 token_endpoint=%s/oauth2/token client_id=orders secret_file=%s/elsewhere/outside\n' "$CLOUD" "$DIR"
} | configure
curl -sS -f -X POST "$CLOUD/emulator/clients" -d client_id=orders -d secret=the-secret-of-orders >/dev/null
start_broker

exits "root's own file is taken" 0 as "$alice" keyfob get good
exits "so is a link to one" 0 as "$alice" keyfob get link
refused() { # NAME PATTERN
	exits "$1 is not" 5 keyfob get "$1"
	like "$1: in words, and which file" "$ERR" "secret_file=$DIR/[a-z]*/?$1: $2"
}
refused readable 'may be written by its group or read by others \(chmod 0600\)'
refused group-writable 'may be written by its group or read by others'
refused strangers '(is not owned by root|Permission denied)'
refused link-out "is not below the configuration's directory"
refused outside "is not below the configuration's directory"
refused large 'has more than 64 KiB'
refused fifo 'is not a file'
refused missing 'No such file or directory'
unlike "the secret is in no log" "$(cat "$LOG")" 'the-secret'
keyfob try good >"$DIR/out/try"
unlike "nor in what try shows" "$(cat "$DIR/out/try")" 'the-secret'

sed -i "s|client_id=orders secret_file=$DIR/etc/good|& run_as=$alice|" "$CONFIG"
exits "code that runs as a user gets none" 1 keyfobd --config "$CONFIG" --check
like "in words" "$ERR" 'run_as and the secret option secret_file exclude each other'
finish
