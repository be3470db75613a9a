#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# takes long: a minute and a half
# Every process of keyfob's is killed or stopped for a while, at random and in turn, under tokens of sixteen seconds: the
# broker, its launcher, fetches, the verifier and the metadata service. Readers, logins and metadata clients go on meanwhile.
# KEYFOB_TORTURE_EVENTS says how often; tests/torture.sh runs it for long.
. "$(dirname "$0")/lib.sh"

for user in keyfob-verify keyfob-metadata; do
	id $user >/dev/null 2>&1 || { echo "1..0 # SKIP needs the user $user"; exit 0; }
done
EVENTS=${KEYFOB_TORTURE_EVENTS:-60} NAME=torture$$ STOP=$DIR/out/stop ASK=$HELPERS/ask-verifier
new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
start_emulator --lifetime 86400
ISSUER=$CLOUD
start_emulator --lifetime 16
fault 'path=imds&delay_ms=900&count=100000'
"$HELPERS/mint" keys "$DIR/keys" || exit 1
curl -sS -f -X POST "$ISSUER/emulator/faults" -d path=jwks --data-urlencode "body=$(cat "$DIR/keys/jwks.json")" -d count=100000 >/dev/null
configure <<EOF
[credential $NAME]
resource = api://$NAME
provider = azure endpoint=$CLOUD timeout=5s
allow = user:$alice
metadata = yes

[identity-provider corp]
issuer = https://corp.example
audience = orders
authorization_type = user
jwks_uri = $ISSUER/jwks

[database-user orders]
service = postgresql
identity_provider = corp
user_id = me
EOF
claims='{"iss":"https://corp.example","aud":"orders","sub":"me"}'
"$HELPERS/mint" token --key "$DIR/keys/rsa.pem" --kid rsa --life 86000 --claims "$claims" >"$DIR/out/good"
"$HELPERS/mint" token --key "$DIR/keys/rsa2.pem" --kid rsa --life 86000 --claims "$claims" >"$DIR/out/bad"

start_metadata() {
	rm -f "$DIR/out/metadata.port"
	keyfob-metadata --listen "127.0.0.1:${METADATA_PORT:-0}" --socket "$KEYFOB_SOCKET" --port-file "$DIR/out/metadata.port" --log debug >>"$LOG" 2>&1 &
	METADATA=$!
	PIDS="$PIDS $METADATA"
	until_true 10 test -s "$DIR/out/metadata.port" || { echo "Bail out! the metadata service does not start"; exit 1; }
	METADATA_PORT=$(cat "$DIR/out/metadata.port")
}
login() {
	"$ASK" token postgresql orders <"$DIR/out/$1" >/dev/null 2>&1
}
# What a metadata client gets: the HTTP status, 000 where nobody answers.
ask_metadata() {
	as "$1" curl -sS -o /dev/null -w '%{http_code}\n' --max-time 10 -H 'Metadata: true' \
		"http://127.0.0.1:$METADATA_PORT/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://$NAME" 2>/dev/null
}

# --- what must be the same before and after -----------------------------------------------------
descriptors() {
	find "/proc/$1/fd" -mindepth 1 | wc -l
}
inventory() {
	echo "keys by name $(grep -cE " keyfob[a-z-]*:$NAME: " /proc/keys)," \
		"descriptors $(descriptors "$BROKER") $(descriptors "$(launcher)") $(descriptors "$VERIFIER") $(descriptors "$METADATA")," \
		"processes $(pgrep -f -c "$KEYFOB_SOCKET"), fetches $(pgrep -c -P "$(launcher)")," \
		"orphans $(pgrep -c -P 1 -f "$KEYFOB_PREFIX.*keyfob-fetch")"
}
is_as_before() {
	[ "$(inventory)" = "$BEFORE" ]
}
settled() {
	[ "$(keyfob status --json "$NAME" | jq -r '.credentials[0].state')" = valid ] && [ "$(pgrep -c -P "$(launcher)")" = 0 ] && login good &&
		[ "$(ask_metadata "$alice")" = 200 ]
}
start_broker
start_verifier
start_metadata
until_true 20 settled
BEFORE=$(inventory)
echo "# $BEFORE"

# --- who looks on --------------------------------------------------------------------------------
as "$alice" "$HELPERS/crowd" until 4 "$NAME" "$STOP" >"$DIR/out/crowd" 2>&1 &
watchers=$!
as "$alice" "$HELPERS/watch-ring" "$STOP" >"$DIR/out/watch" 2>&1 &
watchers="$watchers $!"
# watch FILE COMMAND...: what it ends with or prints, over and over, counted
watch() {
	local file=$1
	shift
	while [ ! -e "$STOP" ]; do
		"$@"
		sleep 0.05
	done >"$DIR/out/$file.each" 2>/dev/null
	sort "$DIR/out/$file.each" | uniq -c | awk '{ print $2 ":" $1 }' >"$DIR/out/$file"
}
code_of_login() {
	login "$1"
	echo $?
}
for token in good bad; do
	watch "login.$token" code_of_login $token &
	watchers="$watchers $!"
done
for user in alice bob; do
	watch "metadata.$user" ask_metadata "${!user}" &
	watchers="$watchers $!"
done

# --- the torture -----------------------------------------------------------------------------------
declare -A DID=()
# find_victim WHO: its pid in VICTIM. There is a fetch when one is wanted: it takes 900 ms.
find_victim() {
	case $1 in
	broker) VICTIM=$BROKER ;;
	launcher) VICTIM=$(launcher) ;;
	verifier) VICTIM=$VERIFIER ;;
	metadata) VICTIM=$METADATA ;;
	fetch)
		launcher=$(launcher)
		keyfob refresh "$NAME" >/dev/null 2>&1 &
		REFRESH=$!
		until_true 5 eval 'VICTIM=$(pgrep -P $launcher keyfob-fetch | head -n 1); [ -n "$VICTIM" ]'
		;;
	esac
	[ -n "$VICTIM" ]
}
restart() {
	case $1 in
	broker | launcher)
		wait "$BROKER"
		start_broker
		;;
	verifier)
		wait "$VERIFIER"
		start_verifier
		;;
	metadata)
		wait "$METADATA"
		start_metadata
		;;
	esac
} 2>/dev/null
victims=(broker launcher fetch verifier metadata)
for ((i = 0; i < EVENTS; i++)); do
	who=${victims[i % 5]} REFRESH=""
	if ! find_victim "$who"; then
		:
	elif [ $((i / 5 % 2)) = 0 ]; then
		kill -KILL "$VICTIM" 2>/dev/null && DID[kill]=$((${DID[kill]:-0} + 1)) && restart "$who"
	else
		kill -STOP "$VICTIM" 2>/dev/null && DID[stop]=$((${DID[stop]:-0} + 1))
		sleep "$((RANDOM % 20))e-1"
		kill -CONT "$VICTIM" 2>/dev/null
	fi
	[ -z "$REFRESH" ] || wait "$REFRESH"
	sleep "$((RANDOM % 8))e-1"
done
until_true 30 settled
touch "$STOP"
# shellcheck disable=SC2086
wait $watchers

# --- what must hold ----------------------------------------------------------------------------------
what() {
	tr '\n' ' ' <"$DIR/out/$1"
}
echo "# ${DID[kill]} killed, ${DID[stop]} stopped; $(grep ^asked "$DIR/out/crowd"); $(cat "$DIR/out/watch"); logins by code: good $(what login.good)bad" \
	"$(what login.bad); metadata by status: $(what metadata.alice)and for another $(what metadata.bob); requests $(requests imds)"
# A fetch may have ended before it was caught.
[ $((${DID[kill]} + ${DID[stop]})) -ge $((EVENTS * 9 / 10)) ] && pass "so many were killed or stopped" || fail "so many were killed or stopped" "${DID[*]} of $EVENTS"
like "no reader was without a token while one was valid" "$(cat "$DIR/out/crowd")" '^asked ([0-9]{2,}) got [0-9]{2,} missed 0 '
like "no key was ever without a timeout" "$(cat "$DIR/out/watch")" '^samples [0-9]{2,} keys [0-9]{2,} without timeout 0$'
like "good tokens were taken" "$(what login.good)" '(^| )0:[0-9]{2,} '
unlike "and never refused" "$(what login.good)" '(^| )(4|7):'
like "bad ones were refused" "$(what login.bad)" '(^| )7:[0-9]{2,} '
unlike "and never taken" "$(what login.bad)" '(^| )0:'
like "the metadata service gave tokens" "$(what metadata.alice)" '(^| )200:[0-9]{2,} '
unlike "and none to who may have none" "$(what metadata.bob)" '(^| )200:'
until_true 30 is_as_before
is "keys, descriptors and processes are as many as before" "$(inventory)" "$BEFORE"
unlike "nobody crashed" "$(cat "$LOG")" 'AddressSanitizer|runtime error|stack smashing|Segmentation'
finish
