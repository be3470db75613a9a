#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# takes long: five minutes
# Tokens that live 8 s, read without a pause, while the broker is killed at random moments. KEYFOB_TORTURE_KILLS says
# how often; tests/torture.sh runs it for long.
. "$(dirname "$0")/lib.sh"

KILLS=${KEYFOB_TORTURE_KILLS:-300}
NAME=torture$$
new_user; alice=$USER_NAME
start_emulator --lifetime 8
configure <<EOF
[credential $NAME]
resource = api://$NAME
provider = azure endpoint=$CLOUD timeout=5s
allow = user:$alice
EOF
STOP=$DIR/out/stop

# --- what must be the same before and after -------------------------------------------
keys_below() {
	local key count=0
	for key in $(keyctl rlist "$1" 2>/dev/null); do
		count=$((count + 1))
		case $(keyctl rdescribe "$key" 2>/dev/null) in keyring*) count=$((count + $(keys_below "$key"))) ;; esac
	done
	echo $count
}
# The kernel keeps two for whoever has a process, and for a while after.
own_keys() {
	awk -v uid="$(id -u "$alice"):" '$1 == uid && $4 + 0 > 2 { few = $4 } END { print few ? few : "few" }' /proc/key-users
}
inventory() {
	local anchor
	anchor=$(keyctl search @u keyring "keyfob-broker:$KEYFOB_SOCKET")
	echo "keys below the anchor $(keys_below "$anchor"), by name $(grep -cE " keyfob[a-z-]*:$NAME: " /proc/keys)," \
		"of the user's own $(own_keys)," \
		"descriptors $(find /proc/"$BROKER"/fd -mindepth 1 | wc -l) and $(find /proc/"$(launcher)"/fd -mindepth 1 | wc -l)," \
		"processes $(pgrep -f -c "keyfobd .*$KEYFOB_SOCKET"), fetches $(pgrep -c -P "$(launcher)")," \
		"orphans $(pgrep -c -P 1 -f "$KEYFOB_PREFIX.*keyfob-fetch")"
}
is_as_before() {
	[ "$(inventory)" = "$BEFORE" ]
}
settled() {
	[ "$(keyfob status --json "$NAME" | jq -r '.credentials[0].state')" = valid ] && [ "$(pgrep -c -P "$(launcher)")" = 0 ]
}

start_broker
# By socket, for once: so that he is on record as one who asked, now and afterwards.
as "$alice" sh -c 'p=$(keyctl get_persistent @s); key=$(keyctl search "$p" user "keyfob:$0") && keyctl invalidate "$key"
	keyfob get "$0"' "$NAME" >/dev/null 2>&1
until_true 10 settled
BEFORE=$(inventory)
echo "# $BEFORE"

# --- who looks on ------------------------------------------------------------------------
as "$alice" "$HELPERS/crowd" until 8 "$NAME" "$STOP" >"$DIR/out/crowd" 2>"$DIR/out/crowd.err" &
crowd=$!
as "$alice" "$HELPERS/watch-ring" "$STOP" >"$DIR/out/watch" 2>"$DIR/out/watch.err" &
watch=$!
# A request that comes before the time which the copy names for its renewal was for a token that was still good.
# shellcheck disable=SC2016
as "$alice" sh -c 'keyctl get_persistent @s >/dev/null; refresh=0; count=0
	while [ ! -e "$1" ]; do
		next=$(keyctl pipe "%user:keyfob-info:$2" 2>/dev/null | sed "s/.* refresh=\([0-9]*\) .*/\1/")
		now_count=$(curl -sS "$3/emulator/counters" | jq .imds.requests)
		now=$(date +%s)
		[ "$now_count" -gt "$count" ] && [ "$count" -gt 0 ] && [ "$now" -lt "$refresh" ] && echo "at $now, due at $refresh"
		count=$now_count; refresh=${next:-0}; samples=$((samples + 1))
	done; echo "samples $samples" >&2' watch-requests "$STOP" "$NAME" "$CLOUD" >"$DIR/out/early" 2>"$DIR/out/early.err" &
early=$!
began=$(date +%s)

# --- the torture ----------------------------------------------------------------------------
restarts=0
for ((i = 1; i <= KILLS; i++)); do
	sleep "$((RANDOM % 17))e-1"
	if [ $((i % 10)) = 0 ]; then
		kill -KILL "$(launcher)"
		wait "$BROKER"
	else
		stop_broker KILL
	fi
	start_broker
	restarts=$((restarts + 1))
done
until_true 20 settled
took=$(($(date +%s) - began))
touch "$STOP"
wait $crowd $watch $early

# --- what must hold ---------------------------------------------------------------------------
is "the broker was killed $KILLS times and started again" "$restarts" "$KILLS"
echo "# $took s; $(tr '\n' ' ' <"$DIR/out/crowd"); $(cat "$DIR/out/watch"); requests $(requests imds)"
like "no reader was ever without a token" "$(cat "$DIR/out/crowd" "$DIR/out/crowd.err")" '^asked ([0-9]+) got \1 missed 0 gaps 0 tokens'
tokens=$(sed -n 's/.* tokens //p' "$DIR/out/crowd")
[ "${tokens:-0}" -ge $((took / 8)) ] && pass "the token was renewed all the while" || fail "the token was renewed all the while" "$tokens tokens in $took s"
like "published keys: each had a finite timeout whenever somebody looked" "$(cat "$DIR/out/watch")" '^samples [0-9]{2,} keys [0-9]{2,} without timeout 0$'
is "nothing was fetched that was still good" "$(cat "$DIR/out/early")" ""
like "which was looked at" "$(cat "$DIR/out/early.err")" '^samples [0-9]{2,}$'
# The kernel's collector and a fetch that was orphaned take a moment.
until_true 30 is_as_before
is "keys, descriptors and processes are as many as before" "$(inventory)" "$BEFORE"
finish
