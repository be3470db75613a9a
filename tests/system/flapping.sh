#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# takes long: a minute
# A metadata service that comes and goes each second, then one that answers 503, 429, nothing, half an answer and a token in
# turn, under tokens of twelve seconds: whoever reads has a token while one is valid, and the service is asked no more than its
# failures allow. Each lasts for KEYFOB_FLAPPING_SECONDS, and until two tokens came.
. "$(dirname "$0")/lib.sh"

SECONDS_EACH=${KEYFOB_FLAPPING_SECONDS:-24} LIFE=12
new_user; alice=$USER_NAME
start_emulator --lifetime $LIFE
FIRST_PORT=$PORT
configure <<EOF
[credential flapping]
resource = api://flapping
provider = azure endpoint=$CLOUD timeout=2s
allow = user:$alice
file = raw
EOF
start_broker
check "a token to begin with" until_true 10 as "$alice" keyfob get flapping
STOP=$DIR/out/stop

# readers: two through libkeyfob, one who looks at each key's timeout, until readers_end
readers() {
	rm -f "$STOP"
	as "$alice" "$HELPERS/crowd" until 2 flapping "$STOP" >"$DIR/out/crowd" 2>&1 &
	CROWD=$!
	as "$alice" "$HELPERS/watch-ring" "$STOP" >"$DIR/out/watch" 2>&1 &
	WATCH=$!
	MARK=$(wc -l <"$LOG") BEGAN=$SECONDS
}
since() {
	tail -n +$((MARK + 1)) "$LOG" | grep -cE -- "$1"
}
long_enough() {
	[ $((SECONDS - BEGAN)) -ge 180 ] || { [ $((SECONDS - BEGAN)) -ge "$SECONDS_EACH" ] && [ "$(since event=fetched)" -ge 2 ]; }
}
# An attempt that fails is followed by a wait of 1.3 s at least; a token lives for six seconds before it is due again.
readers_end() {
	local tries fetched most took=$((SECONDS - BEGAN))
	touch "$STOP"
	wait $CROWD $WATCH
	fetched=$(since 'event=fetched') tries=$((fetched + $(since 'event=fetch-failed')))
	most=$((took * 10 / 13 + 3))
	echo "# $1: $(grep ^asked "$DIR/out/crowd"); $(cat "$DIR/out/watch"); $tries attempts, of which $fetched brought a token, in $took s"
	like "$1: nobody missed a token that was good" "$(cat "$DIR/out/crowd")" '^asked [0-9]{2,} got [0-9]{2,} missed 0 '
	like "no key was without a timeout" "$(cat "$DIR/out/watch")" '^samples [0-9]{2,} keys [0-9]{2,} without timeout 0$'
	[ "$fetched" -ge 2 ] && pass "tokens came in between" || fail "tokens came in between" "$fetched"
	[ "$tries" -le $most ] && pass "and it was not stormed" || fail "and it was not stormed" "$tries attempts, not $most"
}

# --- it comes and goes ------------------------------------------------------------------------
emulator_gone() {
	kill -KILL "$EMULATOR"
	wait "$EMULATOR" 2>/dev/null
}
emulator_back() {
	keyfob-emulator --listen "127.0.0.1:$FIRST_PORT" --lifetime $LIFE >>"$DIR/out/emulator.log" 2>&1 &
	EMULATOR=$!
	PIDS="$PIDS $EMULATOR"
}
answers() {
	curl -sS "$CLOUD/emulator/counters"
}
readers
flaps=0
until long_enough; do
	emulator_gone
	sleep 1
	emulator_back
	until_true 5 answers
	sleep 1
	flaps=$((flaps + 1))
done
echo "# it went and came back $flaps times"
readers_end "a service that comes and goes"

# --- it is there, and no good --------------------------------------------------------------------
until_true 30 as "$alice" keyfob get flapping
before=$(requests imds)
readers
i=0
until long_enough; do
	no_faults
	case $((i % 6)) in
	0) fault 'path=imds&status=503' ;;
	1) fault 'path=imds&status=429&retry_after=2' ;;
	2) fault 'path=imds&delay_ms=4000' ;;
	3) fault 'path=imds&truncate=1' ;;
	esac
	sleep 1
	i=$((i + 1))
done
no_faults
asked=$(($(requests imds) - before)) most=$(((SECONDS - BEGAN) * 10 / 13 + 3))
readers_end "a service that fails by turns"
[ $asked -le $most ] && pass "its own count agrees" || fail "its own count agrees" "$asked requests"

# --- and is well again ---------------------------------------------------------------------------
is_valid() {
	[ "$(keyfob status --json flapping | jq -r '.credentials[0].state')" = valid ]
}
check "the service is well: so is the credential, soon" until_true 35 is_valid
has_file() {
	[ "$(cat "$DIR/run/token/$alice/flapping")" = "$(as "$alice" keyfob get flapping)" ]
}
check "and so is the token file" until_true 10 has_file
finish
