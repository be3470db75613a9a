#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfob's own processes killed, stopped and crashing; start and end as a service manager sees them.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
start_emulator
configure <<EOF
[credential good]
resource = api://good
provider = azure endpoint=$CLOUD
allow = user:$alice

[credential fragile]
resource = api://fragile
provider = azure endpoint=$CLOUD timeout=4s
refresh = on-demand
allow = user:$alice

[credential slow]
resource = api://slow
provider = azure endpoint=$CLOUD
refresh = on-demand
allow = user:$alice
EOF
start_broker
token=$(as "$alice" keyfob get good)
like "a token stands" "$token" '^ey'

# The one fetch that runs, once its request has reached the provider.
fetch_pid() {
	FETCH=$(pgrep -P "$(launcher)" keyfob-fetch)
	[ -n "$FETCH" ]
}
# get_slowly NAME: ask in the background for a new token that takes its time, and find the fetch in FETCH
get_slowly() {
	local asked=$(($(requests imds) + 1))
	fault 'path=imds&delay_ms=20000&count=1'
	keyfob drop "$1" >/dev/null
	as "$alice" keyfob get "$1" >"$DIR/out/slow.out" 2>"$DIR/out/slow.err" &
	SLOW=$!
	until_true 10 fetch_pid
	until_true 10 sh -c "[ \$(curl -sS $CLOUD/emulator/counters | jq .imds.requests) -ge $asked ]"
}
# answered CODE DESCRIPTION
answered() {
	wait "$SLOW"
	is "$2" "$?" "$1"
}
gone() {
	! kill -0 "$1"
}

# --- a fetch that is killed, crashes, stops ------------------------------------------
for signal in KILL SEGV; do
	get_slowly fragile
	kill -$signal "$FETCH"
	answered 0 "a fetch ended by SIG$signal is tried again, and the caller waits for it"
	like "and gets his token" "$(cat "$DIR/out/slow.out")" '^ey'
	check "the log tells of it" logged "credential=fragile event=fetch-failed .*ended by signal $(kill -l $signal) "
	is "another credential is not touched" "$(as "$alice" keyfob get good)" "$token"
done
is "no core is left" "$(find "$DIR" / -xdev -maxdepth 1 -name 'core*' | wc -l)" 0

get_slowly fragile
kill -STOP "$FETCH"
is "while a fetch is stopped others are served" "$(as "$alice" keyfob get good)" "$token"
answered 8 "a fetch that is stopped is given up: try again later"
like "in words" "$(cat "$DIR/out/slow.err")" '^keyfob: fragile: azure: no answer within 4 s'
check "the stopped process is gone" until_true 5 gone "$FETCH"
no_faults

# --- the broker is killed while it fetches ------------------------------------------------
until_true 30 keyfob refresh fragile # the fetch that was given up is not tried again meanwhile
get_slowly slow
old_launcher=$(launcher)
stop_broker KILL
answered 6 "a caller learns that the broker is gone"
check "its launcher ends" until_true 5 gone "$old_launcher"
check "and takes the fetch along" until_true 2 gone "$FETCH"
is "readers go on" "$(as "$alice" keyfob get good)" "$token"
start_broker
exits "after a restart the fetch is made anew" 0 as "$alice" keyfob get slow
no_faults

# --- the launcher is killed -------------------------------------------------------------------
before=$(requests imds)
kill -KILL "$(launcher)"
wait "$BROKER"
is "without its launcher keyfobd ends with code 1" "$?" 1
check "and says why" logged 'event=launcher-gone'
is "readers go on" "$(as "$alice" keyfob get good)" "$token"
start_broker
is "started again it gives the same token" "$(as "$alice" keyfob get good)" "$token"
check "which it adopted" logged 'credential=good event=adopted'
is "by no request" "$(requests imds)" "$before"

get_slowly fragile
kill -KILL "$(launcher)"
wait "$BROKER"
wait "$SLOW"
check "a fetch whose launcher was killed ends by itself" until_true 15 gone "$FETCH"
no_faults

# --- a clean end ---------------------------------------------------------------------------------
start_broker
old_launcher=$(launcher)
kill -TERM "$BROKER"
wait "$BROKER"
is "SIGTERM ends it with code 0" "$?" 0
is "it says so" "$(tail -n 1 "$LOG")" "keyfobd: event=stopped"
check "the launcher ends" until_true 5 gone "$old_launcher"
is "the token stays" "$(as "$alice" keyfob get good)" "$token"

# --- two on one socket -----------------------------------------------------------------------------
start_broker
exits "a second broker on the same socket is refused" 1 keyfobd --config "$CONFIG" --socket "$KEYFOB_SOCKET"
like "in words" "$ERR" 'keyfob.sock: another one serves there'
like "and the first goes on" "$(keyfob status --json good)" '"state":"valid"'
stop_broker

# --- as a service: notifications, an inherited socket --------------------------------------------------
told() {
	grep -qE -- "$1" "$DIR/out/notified"
}
supervised() {
	"$HELPERS/supervise" "$DIR/out/notified" "$@" -- keyfobd --config "$CONFIG" --socket "$KEYFOB_SOCKET" --log debug >>"$LOG" 2>&1 &
	SUPERVISOR=$!
	PIDS="$PIDS $SUPERVISOR"
	until_true 10 keyfob status
}
supervised "$DIR/run/notify"
check "READY=1" told '^READY=1$'
kill -HUP "$SUPERVISOR"
check "RELOADING=1 with the time" until_true 5 told '^RELOADING=1 MONOTONIC_USEC=[0-9]+$'
check "and READY=1 once more" until_true 5 sh -c "[ \$(grep -c '^READY=1$' $DIR/out/notified) = 2 ]"
kill -TERM "$SUPERVISOR"
wait "$SUPERVISOR"
is "STOPPING=1, and the end" "$(tail -n 2 "$DIR/out/notified" | tr '\n' ' ')" "STOPPING=1 exit 0 "

rm -f "$KEYFOB_SOCKET"
"$HELPERS/supervise" "$DIR/out/notified" "$DIR/run/notify" "$KEYFOB_SOCKET" -- sh -c "sleep 1; exec keyfobd --config $CONFIG --socket $KEYFOB_SOCKET" >>"$LOG" 2>&1 &
SUPERVISOR=$!
PIDS="$PIDS $SUPERVISOR"
until_true 5 test -S "$KEYFOB_SOCKET"
inode=$(stat -c %i "$KEYFOB_SOCKET")
like "who asks before an activated broker runs is served when it does" "$(keyfob status --json good)" '"state":"valid"'
is "on the socket that it was handed" "$(stat -c %i "$KEYFOB_SOCKET")" "$inode"
check "READY=1" told '^READY=1$'
kill -TERM "$SUPERVISOR"
wait "$SUPERVISOR"
is "it ends as told" "$(tail -n 1 "$DIR/out/notified")" "exit 0"
supervised "$DIR/run/notify" "$DIR/run/other.sock"
check "a broker that inherits another socket than its own opens its own" told '^READY=1$'
kill -TERM "$SUPERVISOR"
wait "$SUPERVISOR"

# --- a descriptor, a process, a key too many? --------------------------------------------------------------
is "nothing of keyfob's runs any more" "$(pgrep -f "$KEYFOB_SOCKET" | wc -l)" 0
finish
