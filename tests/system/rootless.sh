#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfobd --user: the whole job for one ordinary user, without root, on his own keyring and within his own quota.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
uid=$(id -u "$alice")
home=$DIR/home run=$DIR/runtime
install -d -m 0755 -o "$alice" -g "$alice" "$home" "$home/.config" "$home/.config/keyfob"
install -d -m 0700 -o "$alice" -g "$alice" "$run"
mine_conf=$home/.config/keyfob/keyfob.conf secret=$home/.config/keyfob/secret mine_sock=$run/keyfob/keyfob.sock

# mine COMMAND...: as alice, who knows of no broker but her own
mine() {
	as "$alice" env "HOME=$home" "XDG_RUNTIME_DIR=$run" "KEYFOB_SOCKET=$mine_sock" "$@"
}
# configure_mine: her file from stdin
configure_mine() {
	cat >"$mine_conf" && chown "$alice" "$mine_conf" && chmod 0644 "$mine_conf"
}
touch "$LOG"
served() {
	grep -c event=serving "$LOG"
}
# start_mine: her broker, in the background, by its own pid. Waits without her help: each session of hers is charged to her quota.
start_mine() {
	local before
	before=$(served)
	setpriv --reuid="$alice" --regid="$alice" --init-groups --reset-env env "PATH=$PATH" "LD_LIBRARY_PATH=$LD_LIBRARY_PATH" \
		"HOME=$home" "XDG_RUNTIME_DIR=$run" LC_ALL=C.UTF-8 \
		keyctl session - sh -c 'exec "$@" 2>&3 3>&-' sh keyfobd --user --log debug 3>>"$LOG" >/dev/null 2>&1 &
	BROKER=$!
	PIDS="$PIDS $BROKER"
	until_true 15 eval '[ "$(served)" -gt '"$before"' ]' || { echo "Bail out! the broker does not start"; sed 's/^/# /' "$LOG"; exit 1; }
}
# Her tokens are big_keys where the kernel has them.
type=user
! keyctl session - keyctl add big_key keyfob-test x @s >/dev/null 2>&1 || type=big_key
keys() {
	mine sh -c 'keyctl link @u @s; keyctl show @u'
}
has_key() {
	keys | grep -qE " $type: keyfob:$1\$"
}
trap 'mine keyfobd --user --purge 2>/dev/null; cleanup' EXIT

start_emulator
cat >"$DIR/callback" <<'EOF'
#!/bin/sh
# A token of $1 bytes; the name of who runs this is in it.
printf '{"access_token":"%s-%s","expires_in":3600}' "$(id -un)" "$(head -c $(($1 - 1 - $(id -un | wc -c) + 1)) /dev/zero | tr '\0' x)"
EOF
chmod 0755 "$DIR/callback"
install -m 0755 -o "$alice" "$DIR/callback" "$home/callback"

# --- refused -------------------------------------------------------------------------
configure_mine <<EOF
[credential atlas]
provider = azure endpoint=$CLOUD
EOF
exits "root has no --user" 1 keyfobd --user --config "$mine_conf" --socket "$DIR/run/own.sock"
like "and is told what to do" "$ERR" '--user is for ordinary users: root starts the broker of the whole host, without it'
exits "without --user an ordinary user is told of it" 1 mine keyfobd --config "$mine_conf"
like "in words" "$ERR" 'must be started as root.*keyfobd --user'
exits "without a place to serve in" 1 as "$alice" env -u KEYFOB_SOCKET "HOME=$home" keyfobd --user
like "the reason is told" "$ERR" 'XDG_RUNTIME_DIR is not set: say --socket PATH'
exits "without a home" 1 as "$alice" env -u HOME "XDG_RUNTIME_DIR=$run" keyfobd --user
like "that reason too" "$ERR" 'HOME is not set: say --config FILE'

chown "$bob" "$mine_conf"
exits "another one's configuration" 1 mine keyfobd --user --check
like "is refused by name" "$ERR" "$mine_conf: must be a file owned by root or by you"
chown "$alice" "$mine_conf"
chmod 0666 "$mine_conf"
exits "so is one that others may write" 1 mine keyfobd --user --check
chmod 0644 "$mine_conf"
chmod 0777 "$home/.config/keyfob"
exits "or in a directory that they may" 1 mine keyfobd --user --check
chmod 0755 "$home/.config/keyfob"
chown root "$mine_conf"
exits "root's is as good as hers" 0 mine keyfobd --user --check
like "and has no fault" "$ERR" '1 credential, no fault found'
configure_mine <<EOF
[credential atlas]
provider = azure endpoint=$CLOUD
allow = user:$alice user:$bob

[credential shop]
provider = azure endpoint=$CLOUD
allow = group:$bob

[credential exec]
provider = callback-exec run_as=$bob -- $DIR/callback 100
provider = callback-exec run_as=$alice -- $DIR/callback 100

[credential door]
provider = azure endpoint=$CLOUD
socket = $bob:$bob 0600
EOF
exits "who else is allowed" 1 mine keyfobd --user --check
like "is a fault with its line" "$ERR" "$mine_conf:3: credential atlas allows user:$bob: with --user it can allow nobody but the user himself"
unlike "but she is not" "$ERR" "user:$alice:"
like "a group, too" "$ERR" "$mine_conf:7: credential shop allows group:$bob"
like "to run as another one, too" "$ERR" "$mine_conf:10: credential exec: run_as=$bob: with --user providers run as the user himself"
unlike "but not as herself" "$ERR" "$mine_conf:11:"
like "to give a socket away, too" "$ERR" "$mine_conf:15: credential door: socket: with --user its owner can be nobody but the user himself"

# --- the whole job --------------------------------------------------------------------
configure_mine <<EOF
[credential atlas]
description = orders database
resource = api://0d5c1c0e
provider = azure endpoint=$CLOUD
file = raw

[credential local]
provider = callback-exec -- $home/callback 100
allow = user:$alice
socket = $alice:$alice 0600

[credential secret]
resource = api://orders
refresh = on-demand
provider = oauth2 token_endpoint=$CLOUD/oauth2/token client_id=orders secret_file=$secret
EOF
curl -sS -f -X POST "$CLOUD/emulator/clients" -d client_id=orders -d secret=the-secret-of-orders >/dev/null
printf the-secret-of-orders >"$secret" && chown "$alice" "$secret" && chmod 0600 "$secret"
start_mine
is "the directory it serves in is hers alone" "$(stat -c '%U %a' "$run/keyfob")" "$alice 700"
exits "keyfob get gives the token" 0 mine keyfob get atlas
token=$OUT
like "it is a JWT" "$token" '^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$'
is "keyctl gives the same bytes" "$(mine keyctl pipe %$type:keyfob:atlas)" "$token"
is "so does a session that links the user keyring" "$(mine sh -c 'keyctl link @u @s; keyctl pipe "$(keyctl request '$type' keyfob:atlas)"')" "$token"
is "so does a program linked with libkeyfob" "$(mine "$HELPERS/reader" atlas)" "$token"
is "so does keyfob run" "$(mine keyfob run --file=atlas -- sh -c 'cat "$KEYFOB_TOKEN_FILE"')" "$token"
until_true 10 test -s "$run/keyfob/token/$alice/atlas"
is "so does the token file" "$(cat "$run/keyfob/token/$alice/atlas")" "$token"
is "that is hers" "$(stat -c '%U %a' "$run/keyfob/token/$alice/atlas")" "$alice 400"
until_true 10 test -S "$run/keyfob/credential/local.sock"
like "a program of the configuration runs as her" "$(mine keyfob get local)" "^$alice-x+\$"
like "the credential's own socket gives it" "$(mine python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(4096).decode())' "$run/keyfob/credential/local.sock")" "^$alice-x+\$"
key=$(mine sh -c 'keyctl link @u @s; keyctl search @u '$type' keyfob:atlas')
is "the key is hers" "$(mine sh -c "keyctl link @u @s; keyctl rdescribe $key" | cut -d';' -f1-2)" "$type;$uid"
unlike "no key is without a timeout" "$(mine grep -E ' (user|big_key) +keyfob' /proc/keys)" ' perm '
is "one key is the broker's and the reader's" "$(keys | grep -c " $type: keyfob:atlas\$")" 1
like "status shows her as its reader" "$(mine keyfob status)" "readers +$alice \\(copy ok\\)"
check "her secret is read for a fetch" mine keyfob get secret
chown "$bob" "$secret"
exits "another one's is not" 5 mine keyfob try secret
chown "$alice" "$secret"
like "one fetch without a broker goes as she says" "$(mine keyfobd --user --direct local | tr -d '\0')" "$alice-x+"
chmod 0775 "$home/callback"
exits "but no program that others may write" 5 mine keyfob try local
like "for that reason" "$OUT$ERR" "$home/callback must be owned by root or by you and not writable by group or others"
chmod 0755 "$home/callback"
is "a file stood there without a request" "$(requests imds)" 1

# --- others ---------------------------------------------------------------------------
check_not "another user cannot reach the socket" as "$bob" keyfob --socket "$mine_sock" get atlas
check_not "nor read the key" as "$bob" keyctl pipe "$key"
check_not "nor the files" as "$bob" cat "$run/keyfob/token/$alice/atlas"
chmod 0711 "$run" "$run/keyfob"
exits "reached, the socket is a stranger's" 6 as "$bob" keyfob --socket "$mine_sock" get atlas
like "in words" "$ERR" 'belongs to a stranger'
exits "root asks no user's broker either" 6 keyfob --socket "$mine_sock" get atlas
like "for the same reason" "$ERR" 'belongs to a stranger'
chmod 0700 "$run" "$run/keyfob"
# plant SOCKET: what another program of hers could put on her keyring as the token of the broker that serves there
plant() {
	mine sh -c 'keyctl link @u @s; r=$(keyctl newring "keyfob-broker:$0" @u); k=$(keyctl add user keyfob:atlas forged $r)
		i=$(keyctl add user keyfob-info:atlas "v2 $k 99999999999 0 00000000 0 1 0" $r)
		keyctl setperm $k 0x1b3f0000; keyctl setperm $i 0x1b3f0000; keyctl setperm $r 0x003f0000' "$1"
}
unplant() {
	mine sh -c 'keyctl link @u @s; keyctl unlink "$(keyctl search @u keyring "keyfob-broker:$0")" @u' "$1"
}
plant "$home/keyfob.sock" && plant "$DIR/run/keyfob.sock"
is "what she plants is believed of a broker of her own" "$(mine keyfob --socket "$home/keyfob.sock" get atlas)" forged
exits "but not of one of root's" 6 mine keyfob --socket "$DIR/run/keyfob.sock" get atlas
exits "nor by a program" 6 as "$alice" "$HELPERS/reader" atlas
unplant "$home/keyfob.sock" && unplant "$DIR/run/keyfob.sock"

# --- the default socket -----------------------------------------------------------------
if [ -e /run/keyfob/keyfob.sock ]; then
	skip "without KEYFOB_SOCKET her broker is found" "this host has a broker of root's"
else
	is "without KEYFOB_SOCKET her broker is found" "$(as "$alice" env -u KEYFOB_SOCKET "XDG_RUNTIME_DIR=$run" keyfob get atlas)" "$token"
	exits "another one's is not" 6 as "$bob" env -u KEYFOB_SOCKET "XDG_RUNTIME_DIR=$run" keyfob get atlas
	like "root's is meant then" "$ERR" 'cannot reach the broker at /run/keyfob/keyfob.sock'
	exits "root looks for root's alone" 6 env -u KEYFOB_SOCKET "XDG_RUNTIME_DIR=$run" keyfob get atlas
	like "whatever his environment says" "$ERR" 'cannot reach the broker at /run/keyfob/keyfob.sock'
fi

# --- its end is not the token's ------------------------------------------------------------
launcher=$(launcher)
stop_broker KILL
is "reading goes on without a broker" "$(mine keyfob get atlas)" "$token"
until_true 5 sh -c "! kill -0 $launcher"
start_mine
is "started again it gives the same token" "$(mine keyfob get atlas)" "$token"
check "it adopted it" logged 'credential=atlas event=adopted'
is "without a request" "$(requests imds)" 1
like "and renews it as planned" "$(mine keyfob status --json | jq -r '.credentials[] | select(.name == "atlas") | "\(.state) \(.refresh_at > now)"')" '^valid true$'

# --- hers to rule ----------------------------------------------------------------------------
check "she drops her token" mine keyfob drop atlas
check_not "its key is revoked" mine keyctl pipe "$key"
until_true 10 has_key atlas
is "and fetched afresh" "$(requests imds)" 2
check "she tries a line" mine keyfob try atlas
mine sh -c 'keyctl link @u @s; keyctl invalidate "$(keyctl search @u '$type' keyfob:atlas)"'
exits "a key she removed is fetched again" 0 mine keyfob get atlas
check "onto the keyring" has_key atlas
mine keyctl clear @u
exits "so it is when all of her keyring went" 0 mine keyfob get atlas
check "onto the keyring, too" has_key atlas
sed -i 's/^resource = .*/resource = api:\/\/other/' "$mine_conf"
before=$(requests imds)
check "she has it reloaded" mine keyfob reload
until_true 10 sh -c "[ \$(curl -sS $CLOUD/emulator/counters | jq .imds.requests) -gt $before ]" && pass "a changed definition is fetched anew" ||
	fail "a changed definition is fetched anew"
kill -HUP "$BROKER"
check "so does SIGHUP" until_true 10 sh -c "[ \$(grep -c event=reloaded $LOG) = 2 ]"
like "no right, a filter" "$(grep -E '^(CapPrm|NoNewPrivs|Seccomp):' /proc/"$BROKER"/status | tr -d '\t' | tr '\n' ' ')" \
	'CapPrm:0000000000000000 NoNewPrivs:1 Seccomp:2'
stop_broker
check "she purges" mine keyfobd --user --purge
check "and no key is left" until_true 10 mine sh -c '! grep keyfob /proc/keys'
check_not "nor a file" test -e "$run/keyfob/token/$alice"

# --- the quota -----------------------------------------------------------------------------
if [ "$(cat /proc/sys/kernel/keys/maxbytes)" != 20000 ]; then
	skip "nine tokens of 2 kB" "kernel.keys.maxbytes is not 20000"
elif [ "$type" != user ]; then
	skip "nine tokens of 2 kB" "the kernel has big_key: they are charged 16 bytes each"
else
	for i in 1 2 3 4 5 6 7 8 9; do
		printf '[credential token-%s]\nprovider = callback-exec -- %s 2048\n\n' $i "$DIR/callback"
	done | configure_mine
	start_mine
	for i in 1 2 3 4 5 6 7 8 9; do
		[ "$(mine keyfob get token-$i | wc -c)" = 2048 ] || fail "token-$i has 2048 bytes"
		until_true 5 has_key token-$i || fail "token-$i is on the keyring"
	done
	is "nine tokens of 2 kB have room on her keyring" "$(keys | grep -cE ' user: keyfob:token-[0-9]$')" 9
	unlike "with nothing to say" "$(cat "$LOG")" 'event=store-failed'
	check "and room for one more login" mine true
	exits "one of nine is renewed in its own place" 0 mine keyfob refresh token-3
	check "it is on the keyring" until_true 5 has_key token-3
	is "as the others are" "$(keys | grep -cE ' user: keyfob:token-[0-9]$')" 9

	printf '[credential tenth]\nprovider = callback-exec -- %s 2048\n' "$DIR/callback" >>"$mine_conf"
	check "a tenth comes" mine keyfob reload
	exits "and is served all the same" 0 mine keyfob get tenth
	is "with all its bytes" "$(printf %s "$OUT" | wc -c)" 2048
	quota="the keys of uid $uid take [0-9]+ of 200 .kernel.keys.maxkeys. and 1[0-9]{4} of 20000 bytes .kernel.keys.maxbytes."
	like "the log tells why not from the keyring" "$(cat "$LOG")" "credential=tenth event=store-failed error=\"$quota: have root raise these\"; held in memory"
	like "so does status" "$(mine keyfob status --json | jq -r '.credentials[] | select(.name == "tenth").last_error')" "not on the keyring: $quota"
	check_not "it is not there" has_key tenth
	is "the nine stay" "$(keys | grep -cE ' user: keyfob:token-[0-9]$')" 9
	sed -i '/^\[credential token-9\]/,/^$/d' "$mine_conf"
	check "one goes" mine keyfob reload
	check "then the tenth has room" mine sh -c 'keyfob refresh tenth'
	check "on the keyring" until_true 5 has_key tenth
	stop_broker
	check "she purges again" mine keyfobd --user --purge
fi

# --- in a user namespace, where she is called root ---------------------------------------------
if ! as "$alice" unshare -Ur true; then
	skip "in a user namespace" "it cannot be made here"
else
	configure_mine <<-EOF
	[credential atlas]
	resource = api://0d5c1c0e
	provider = azure endpoint=$CLOUD
	EOF
	ns() { mine unshare -Ur "$@"; }
	setpriv --reuid="$alice" --regid="$alice" --init-groups --reset-env env "PATH=$PATH" "LD_LIBRARY_PATH=$LD_LIBRARY_PATH" \
		"HOME=$home" "XDG_RUNTIME_DIR=$run" LC_ALL=C.UTF-8 unshare -Ur keyfobd --user --log debug >>"$LOG" 2>&1 &
	BROKER=$!
	PIDS="$PIDS $BROKER"
	check "it starts in a user namespace" until_true 15 mine keyfob status
	like "and serves by socket there" "$(ns keyfob get atlas)" '^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$'
	stop_broker
	ns keyfobd --user --purge
fi
unlike "no token and no secret in the log" "$(cat "$LOG")" "$(printf '%s' "$token" | cut -d. -f3 | cut -c1-20)|xxxxx|the-secret"
finish
