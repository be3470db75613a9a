#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# No part of a token is found where it does not belong: logs, command lines, environments, core files, any file. The test searches.
. "$(dirname "$0")/lib.sh"

build=$1
new_user; alice=$USER_NAME
new_user; corp=$USER_NAME
ulimit -c unlimited
touch "$DIR/stamp"
cd "$DIR/run" || exit 1
start_emulator
mkdir -m 0755 "$DIR/bin" "$DIR/modules"
cp "$KEYFOB_PREFIX"/lib/keyfob/modules/*.so "$build/tests/modules/hostile.so" "$DIR/modules/"
# Each run another token, which this test learns only from keyfob.
cat >"$DIR/bin/token" <<'EOF'
#!/bin/sh
[ -z "$1" ] || sleep "$1"
secret=$(head -c 60 /dev/urandom | base64 -w 0 | tr '+/=' '-_.')
printf '{"access_token":"%s","expires_in":3600}' "$secret"
echo "the token is $secret" >&2
[ -z "$2" ] || exit "$2"
EOF
chmod 0755 "$DIR/bin/token"
ERROR_TOKEN=$(head -c 60 /dev/urandom | base64 -w 0 | tr '+/=' '-_.')
configure <<EOF
[credential atlas]
resource = api://atlas
provider = azure endpoint=$CLOUD
allow = user:$alice

[credential google]
resource = https://google
provider = gcp endpoint=$CLOUD
allow = user:$alice

[credential local]
provider = callback-exec run_as=$corp -- $DIR/bin/token
allow = user:$corp

[credential slow-$$]
provider = callback-exec run_as=$corp timeout=20 -- $DIR/bin/token 4
refresh = on-demand

[credential failing]
provider = callback-exec run_as=$corp -- $DIR/bin/token 0 126
refresh = on-demand

[credential crashing]
provider = hostile do=crash
refresh = on-demand

[credential echoing]
resource = api://echoing
provider = azure endpoint=$CLOUD
refresh = on-demand
EOF

# --- watching: command lines and environments of keyfob's processes and of the programs they run ---------------

# Fetches are short-lived, so look as often as can be. Kept in memory, away from where is searched.
SAMPLES=$(mktemp /dev/shm/keyfob-test.XXXXXX)
trap 'rm -f "$SAMPLES" "$SAMPLES.new"; cleanup' EXIT
watch_processes() {
	while :; do
		{
			pgrep '^keyfob'
			pgrep -f "$DIR/bin/"
		} | sed 's|.*|/proc/&/cmdline /proc/&/environ|' | xargs cat 2>/dev/null | tr '\0' '\n' | grep -aE '.{16}' | sort -u >"$SAMPLES.new"
		sort -u -o "$SAMPLES" "$SAMPLES" "$SAMPLES.new"
		rm -f "$SAMPLES.new"
		sleep 0.05
	done
}
watch_processes &
WATCHER=$!
PIDS="$PIDS $WATCHER"

export KEYFOB_MODULE_DIR=$DIR/modules
start_broker
TOKENS=""
# learn WHAT CREDENTIAL USER: get it, and remember what is not to be found
learn() {
	local token
	token=$(as "$3" keyfob get "$2")
	if [ -n "$token" ]; then pass "$1"; else fail "$1"; fi
	TOKENS="$TOKENS $token"
}

# --- all that touches a token ---------------------------------------------------------------------------------------

learn "get: azure" atlas "$alice"
learn "get: gcp" google "$alice"
learn "get: a program's" local "$corp"
learn "get: as root" slow-$$ root
atlas=$(as "$alice" keyfob get atlas)
as "$alice" keyfob get --json atlas >/dev/null
as "$alice" keyfob get --header atlas >/dev/null
as "$alice" keyfob get --format=git atlas >/dev/null
as "$alice" "$HELPERS/reader" atlas >/dev/null
explained=$(as "$alice" keyfob explain atlas 2>&1)
as "$corp" keyfob get atlas >/dev/null 2>&1
keyfob status >"$DIR/out/status" 2>&1
keyfob status --json >>"$DIR/out/status" 2>&1
COLUMNS=160 keyfob status atlas >>"$DIR/out/status" 2>&1
for name in atlas google local echoing; do keyfob try "$name" >>"$DIR/out/try" 2>&1; done
rotate
keyfob refresh atlas >"$DIR/out/refresh" 2>&1
learn "after a refresh" atlas "$alice"
if [ "$(as "$alice" keyfob get atlas)" != "$atlas" ]; then pass "there is another token"; else fail "there is another token"; fi
rotate
keyfob drop atlas >"$DIR/out/drop" 2>&1
learn "after a drop" atlas "$alice"
as "$alice" sh -c "keyctl get_persistent @s >/dev/null; keyctl invalidate %user:keyfob:atlas"
learn "after a repair" atlas "$alice"
kill -HUP "$BROKER"
until_true 5 logged 'event=reloaded'
learn "after a reload" local "$corp"

# Fetches that end badly with a token in hand, or are ended.
exits "a program that prints its token and fails" 5 keyfob get failing
exits "a fetch that crashes" 8 timeout 60 keyfob try crashing
like "and is told" "$OUT" 'ended by signal'
exits "a fetch without a broker" 0 sh -c "keyfob --config '$CONFIG' get --direct echoing 2>'$DIR/out/direct' | grep -q ^eyJ"
keyfob drop slow-$$ >/dev/null
keyfob get slow-$$ >/dev/null 2>&1 & getter=$!
runs() {
	pgrep -u "$corp" -f "$DIR/bin/token" >/dev/null
}
check "a fetch waits for its program" until_true 10 runs
kill -SEGV "$(pgrep -P "$(launcher)" | head -n 1)"
kill "$getter"
wait "$getter" 2>/dev/null

# A provider that hands the token back within an error.
curl -sS -f -X POST --data-urlencode path=imds --data-urlencode status=400 \
	--data-urlencode body@- "$CLOUD/emulator/faults" >/dev/null <<EOF
{"error":"invalid_request","error_description":"bad assertion $atlas and $ERROR_TOKEN"}
EOF
exits "an error that holds a token" 5 keyfob get echoing
like "is told without it" "$ERR" 'bad assertion \*\*\* and \*\*\*'
keyfob try echoing >>"$DIR/out/try" 2>&1
keyfob status echoing >>"$DIR/out/status" 2>&1
no_faults
TOKENS="$TOKENS $ERROR_TOKEN"

# The broker, its launcher and a client fall over.
launcher=$(launcher)
kill -SEGV "$BROKER"
wait "$BROKER" 2>/dev/null
until_true 5 sh -c "! kill -0 $launcher"
start_broker
learn "after a crash of the broker" atlas "$alice"
kill -SEGV "$(launcher)"
wait "$BROKER" 2>/dev/null
start_broker
learn "after a crash of the launcher" local "$corp"
kill "$WATCHER"
wait "$WATCHER" 2>/dev/null

# --- the search ------------------------------------------------------------------------------------------------------------

# pieces [signatures]: of 16 bytes, at every fourth, so that whatever part of 20 bytes stood somewhere is found. The header of a
# JWT is no secret, and what it claims is much the same in all tokens of all tests: only its signature is this token's alone.
pieces() {
	local token at
	for token in $TOKENS; do
		case $token-${1:-} in
		eyJ*-signatures) token=${token##*.} ;;
		eyJ*) token=${token#*.} ;;
		esac
		for ((at = 0; at + 16 <= ${#token}; at += 4)); do printf '%s\n' "${token:at:16}"; done
	done | sort -u
}
PIECES=$(pieces)
like "there is much to search for" "$(wc -l <<<"$PIECES")" '^[0-9]{3,}$'
# found FILE...: those that hold a piece
found() {
	grep -laFf <(printf '%s\n' "$PIECES") -- "$@" 2>/dev/null
}
printf 'xx%syy\n' "$(tail -n 1 <<<"$PIECES")" >"$DIR/planted"
is "a planted piece is found" "$(found "$DIR/planted")" "$DIR/planted"
rm "$DIR/planted"
like "the watch saw fetches" "$(cat "$SAMPLES")" 'libexec/keyfob/keyfob-fetch'
like "and programs" "$(cat "$SAMPLES")" "$DIR/bin/token"
is "no command line or environment held any" "$(grep -aFf <(printf '%s\n' "$PIECES") "$SAMPLES")" ""
is "no log" "$(found "$LOG")" ""
is "nothing that status, try, refresh and drop said" "$(found "$DIR"/out/*)" ""
is "nor explain" "$(found /dev/fd/3 3<<<"$explained")" ""
check "the log tells of tokens by fingerprint" logged 'event=fetched provider=azure token=#[0-9a-f]{8} '
is "no file here" "$(find "$DIR" -type f -exec grep -laFf <(printf '%s\n' "$PIECES") {} + 2>/dev/null)" ""
pieces signatures >"$SAMPLES"
is "no new file of the host" "$(find /var /tmp /run /dev/shm /root /home /etc -xdev -newer "$DIR/stamp" -type f -size -65536 ! -path "$SAMPLES" \
	-exec grep -laFf "$SAMPLES" {} + 2>/dev/null)" ""
is "no core file" "$(find "$DIR" / -maxdepth 1 \( -name core -o -name 'core.*' \) -newer "$DIR/stamp" -type f 2>/dev/null)" ""
# A process that could leave one.
limits=$(cat "/proc/$BROKER/limits" "/proc/$(launcher)/limits" | grep 'Max core file size' | awk '{ print $5 "/" $6 }' | sort -u)
is "neither keyfobd nor its launcher may leave one" "$limits" "0/0"
finish
