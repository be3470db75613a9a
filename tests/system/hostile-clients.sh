#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Local programs that send what they should not, too much of it, or nothing at all: the others do not notice.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; mallory=$USER_NAME
start_emulator
configure <<EOF
[credential atlas]
resource = api://atlas
provider = azure endpoint=$CLOUD
allow = user:$alice

[credential theirs]
resource = api://theirs
provider = azure endpoint=$CLOUD
allow = user:$alice

[credential slow]
provider = callback-exec run_as=$mallory timeout=120s -- /bin/sleep 200
allow = user:$mallory
EOF
start_broker
token=$(as "$alice" keyfob get atlas)
like "a token stands" "$token" '^ey'
descriptors() {
	find /proc/"$BROKER"/fd -mindepth 1 | wc -l
}
settled() {
	[ "$(descriptors)" = "$before" ]
}
# By socket, whatever keyring there is.
state_of() {
	keyfob status --json "$1" | jq -r '.credentials[0].state'
}
hostile() {
	as "$mallory" "$HELPERS/hostile-client" "$@"
}
# Each kind of mischief ends so: nothing is left open, and the next client is served.
no_harm() {
	check "$1: no descriptor is left" until_true 10 settled
	is "$1: the others are served" "$(state_of atlas)" valid
}
# Of the three fetches at the start only the slow one still runs.
slow_alone() {
	logged 'credential=theirs event=fetched' && [ "$(pgrep -c -P "$(launcher)")" = 1 ]
}
until_true 10 slow_alone
before=$(descriptors)

# --- frames ------------------------------------------------------------------------
hostile frames >"$DIR/out/frames"
answered() {
	is "$1" "$(sed -n "s/^$1: //p" "$DIR/out/frames")" "$2"
}
answered "empty frame" closed
for what in "version alone" "another version" "opcode 0" "opcode 99" "opcode 255" "no name" "truncated name" "name of 4 GiB" \
	"bytes after the name" "empty name" "name with a NUL" "name with a slash" "name with a line end" "name of 65 letters" \
	"64 KiB" "64 KiB and one byte" "200 KB" "status without its second field"; do
	answered "$what" 2
done
for what in "reject of another's token" drop reload try "a question about root"; do answered "$what" 4; done
no_harm "malformed frames"
like "noise" "$(hostile noise 3000)" '^[0-9]+ of 3000 refused$'
no_harm "noise"
is "the token of others was not dropped by it" "$(as "$alice" keyfob get atlas)" "$token"

# --- who says nothing -------------------------------------------------------------------
like "200 silent connections are closed after 5 s" "$(hostile silent 200)" '^200 closed after [4-8] s$'
no_harm "silent connections"

# --- descriptors sent along ---------------------------------------------------------------
like "one descriptor with a request is refused, or closed and the request answered" "$(hostile descriptors 1)" '^descriptors: (refused|0)$'
like "253 of them are refused, or too many" "$(hostile descriptors 253)" '^descriptors: (refused|2)$'
for _ in {1..20}; do hostile descriptors 4 >/dev/null; done
no_harm "descriptors"

# --- who hangs up, and who does not read -------------------------------------------------------
hostile leave 300 atlas
hostile leave 300 slow
no_harm "connections closed before the answer"
mkfifo "$DIR/out/deaf"
hostile deaf 300 theirs <"$DIR/out/deaf" >"$DIR/out/deaf.log" &
exec {wait}>"$DIR/out/deaf"
check "300 clients ask and do not read" until_true 10 grep -q asked "$DIR/out/deaf.log"
is "the others are served meanwhile" "$(state_of atlas)" valid
exec {wait}>&-
wait $!
no_harm "clients that do not read"

# --- a crowd of one uid ----------------------------------------------------------------------------
mkfifo "$DIR/out/hold"
hostile hold 1100 slow <"$DIR/out/hold" >"$DIR/out/hold.log" &
exec {wait}>"$DIR/out/hold"
check "1,100 requests of one uid" until_true 20 test -s "$DIR/out/hold.log"
is "1,024 of them may wait, the rest is sent away" "$(cat "$DIR/out/hold.log")" "1024 held, 76 sent away"
exits "and told so" 8 as "$mallory" keyfob get slow
like "in words" "$ERR" "uid $(id -u "$mallory") has 1024 requests waiting"
begin=$(date +%s%N)
is "another user is served" "$(as "$alice" keyfob status --json theirs | jq -r '.credentials[0].state')" valid
rotate
check "also with a fetch" keyfob refresh atlas
unlike "of a new token" "$(as "$alice" keyfob get atlas)" "^$token$"
[ $((($(date +%s%N) - begin) / 1000000)) -lt 3000 ] && pass "promptly" || fail "promptly" "$((($(date +%s%N) - begin) / 1000000)) ms"
exec {wait}>&-
wait $!
no_harm "a crowd"
check "it is still the same broker" kill -0 "$BROKER"

# The slow fetch ends with the broker.
idle() {
	! pgrep -u "$mallory"
}
stop_broker
check "nothing of it runs any more" until_true 10 idle
finish
