#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a provider may do wrong, and what the user reads then: the words, the exit code, the status, and how often it is asked again.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME

# A listener where nobody should come.
"$HELPERS/trap-listener" "$DIR/out/trap-port" "$DIR/out/caught" &
PIDS="$PIDS $!"
until_true 10 test -s "$DIR/out/trap-port" || { echo "Bail out! no trap"; exit 1; }
TRAP=http://127.0.0.1:$(cat "$DIR/out/trap-port")

# Each fault has a cloud of its own, so that all of them can be met at once.
declare -A CLOUDS
# cloud NAME [FAULT [OPTION...]]: a cloud where both sources have this fault
cloud() {
	local name=$1 query=${2:-} port=$DIR/out/port-$1
	shift $(($# < 2 ? $# : 2))
	keyfob-emulator --listen 127.0.0.1:0 --port-file "$port" "$@" >"$DIR/out/emulator-$name.log" 2>&1 &
	PIDS="$PIDS $!"
	CLOUDS[$name]="$query"
}
clouds_ready() {
	local name source
	for name in "${!CLOUDS[@]}"; do
		until_true 20 test -s "$DIR/out/port-$name" || { echo "Bail out! no cloud $name"; exit 1; }
		CLOUD=http://127.0.0.1:$(cat "$DIR/out/port-$name")
		for source in imds metadata; do
			[ -z "${CLOUDS[$name]}" ] || fault "path=$source&${CLOUDS[$name]}" || { echo "Bail out! ${CLOUDS[$name]}"; exit 1; }
		done
		CLOUDS[$name]=$CLOUD
	done
}
# asked CREDENTIAL: requests to its source so far
asked() {
	local source=imds
	case $1 in gcp-*) source=metadata ;; esac
	CLOUD=${CLOUDS[${1#*-}]} requests "$source"
}

for status in 400 401 403 404 408 410 500 502 503 504; do cloud "$status" "status=$status"; done
cloud 429 'status=429&retry_after=120'
cloud later 'status=429&retry_after=2&count=1'
cloud blip 'status=500&count=1'
cloud updating 'status=410&count=2'
cloud moving 'status=404&count=2'
cloud slow 'delay_ms=60000'
cloud drip 'drip_ms=1000' # a byte a second
cloud garbage 'body=%01%ff%1b%5B31m%7B%22access_token%22:'
cloud huge 'size=2097152'
cloud redirect "redirect=$TRAP/latest"
cloud cut 'truncate=1'
cloud portal 'html=1&status=200'
cloud flavour 'flavor=Other'
cloud flavourless 'flavor=0'
cloud expired 'lifetime=-10'
cloud endless 'expires=absent'
cloud past 'opaque=1&expires=1000000000'
cloud negative 'opaque=1&expires=-5'
cloud text 'opaque=1&expires=%22soon%22'
cloud beyond 'opaque=1&expires=999999999999'
cloud overflow 'opaque=1&expires=99999999999999999999'
cloud ttl 'expires=absent'
cloud zero 'opaque=1&expires=0'
cloud null 'opaque=1&expires=null'
century=$(($(date +%s) + 3155760000))
cloud century "opaque=1&expires=$century"
cloud typed 'html=1&status=200&body=%7B%22access_token%22:%22typed-token%22,%22expires_in%22:%223600%22%7D' # a wrong content type
cloud date 'opaque=1&expires=%222099-01-01T00:00:00Z%22'
cloud large 'token_bytes=40000'
cloud fitting 'token_bytes=32000'
cloud newline 'newline=1'
cloud ahead 'clock=600'
cloud behind 'clock=-600'
cloud gone 'clock=-600&lifetime=300'
cloud many 'status=403'
cloud good
cloud short '' --lifetime 12
clouds_ready

for_alice="allow = user:$alice"$'\n'"refresh = on-demand"
{
	for name in "${!CLOUDS[@]}"; do
		# Not root asks: his keyring is also that of every other test. And nothing is fetched before somebody asks.
		more='' seconds=10
		case $name in
		slow | drip) seconds=2 ;;
		ttl) more=' ttl=600' ;;
		esac
		printf '[credential azure-%s]\nresource = api://%s\nprovider = azure endpoint=%s timeout=%s%s\n%s\n\n' "$name" "$name" "${CLOUDS[$name]}" "$seconds" "$more" "$for_alice"
		printf '[credential gcp-%s]\nresource = https://%s\nprovider = gcp endpoint=%s timeout=%s\n%s\n\n' "$name" "$name" "${CLOUDS[$name]}" "$seconds" "$for_alice"
	done
	cat <<EOF
[credential azure-closed]
$for_alice
resource = api://closed
provider = azure endpoint=http://127.0.0.1:1

[credential azure-proxied]
$for_alice
resource = api://proxied
provider = azure endpoint=${CLOUDS[good]} proxy=$TRAP

[credential stack-saved]
$for_alice
resource = api://saved
provider = azure endpoint=${CLOUDS[400]}
provider = azure endpoint=${CLOUDS[good]}

[credential stack-elsewhere]
$for_alice
resource = api://saved
provider = azure endpoint=${CLOUDS[403]}
provider = azure endpoint=${CLOUDS[good]}

[credential stack-throttled]
$for_alice
resource = api://stacked
provider = azure endpoint=${CLOUDS[400]}
provider = gcp endpoint=${CLOUDS[429]}

[credential stack-refused]
$for_alice
resource = api://stacked
provider = azure endpoint=${CLOUDS[400]}
provider = gcp endpoint=${CLOUDS[403]}

[credential stack-long]
$for_alice
resource = api://stacked
$(for _ in 1 2 3 4 5 6 7; do printf 'provider = azure endpoint=%s client_id=%0100d\n' "${CLOUDS[many]}" 0; done)
provider = gcp endpoint=${CLOUDS[many]}

[credential early]
resource = api://early
provider = azure endpoint=${CLOUDS[short]}
allow = user:$alice

[credential refused]
resource = api://refused
provider = azure endpoint=${CLOUDS[401]} client_id=5f3a
allow = user:$alice
refresh = on-demand
EOF
} | configure
proxied="http_proxy=$TRAP https_proxy=$TRAP HTTP_PROXY=$TRAP HTTPS_PROXY=$TRAP all_proxy=$TRAP ALL_PROXY=$TRAP no_proxy= NO_PROXY="
# shellcheck disable=SC2086,SC2163
export $proxied
start_broker
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY

# --- every fault at once ---------------------------------------------------------------------------

for name in $(keyfob status --json | jq -r '.credentials[].name | select(test("^(azure|gcp|stack)-"))'); do
	{
		as "$alice" keyfob get "$name" >"$DIR/out/$name" 2>"$DIR/out/$name.err"
		echo $? >"$DIR/out/$name.code"
	} &
	GETS="${GETS:-} $!"
done

# --- meanwhile: a refresh ahead that fails -----------------------------------------------------------

state() {
	keyfob status --json "$1" | jq -r '.credentials[0].state'
}
is_state() {
	[ "$(state "$1")" = "$2" ]
}
token=$(as "$alice" keyfob get early)
CLOUD=${CLOUDS[short]} fault 'path=imds&status=429&retry_after=60'
check "early refresh fails: the credential is stale" until_true 10 is_state early stale
is "early refresh fails: the old token is served from the keyring" "$(as "$alice" keyfob get early)" "$token"
is "early refresh fails: and by socket" "$(as "$alice" sh -c 'keyctl get_persistent @s >/dev/null; keyctl invalidate %user:keyfob:early; keyfob get early')" "$token"
screen=$(COLUMNS=100 keyfob status early)
like "early refresh fails: status says so" "$screen" 'its refresh fails'
like "early refresh fails: and why" "$(tr -s '\n ' ' ' <<<"$screen")" 'last error [0-9]+ s ago: azure: IMDS answered 429'
like "early refresh fails: and what to do" "$screen" 'try +keyfob try early'
exits "early refresh fails: a user may not insist" 8 as "$alice" keyfob refresh early
like "early refresh fails: he reads when to come back" "$ERR" 'IMDS answered 429.*\(try again in [0-9]+ s\)'
check "once the old token has expired it is failed" until_true 15 is_state early failed
exits "then there is none" 8 as "$alice" keyfob get early
like "and the reason is told" "$ERR" 'keyfob: early: azure: IMDS answered 429.*\(try again in [0-9]+ s\)'
CLOUD=${CLOUDS[short]} no_faults
exits "root may insist" 0 keyfob refresh early
exits "and all is well again" 0 as "$alice" keyfob get early
is "the state too" "$(state early)" valid
if [ "$OUT" != "$token" ]; then pass "with another token"; else fail "with another token"; fi

# --- what the user reads --------------------------------------------------------------------------------

# shellcheck disable=SC2086
wait $GETS

# gives CREDENTIAL CODE PATTERN LEAST MOST: exit code, words, and the number of requests it took
gives() {
	local name=$1 line count what=$1 hint="ask root: keyfob try $1"
	[ "$2" = 5 ] || hint='try again in [0-9]+ s'
	line=$(cat "$DIR/out/$name.err")
	count=$(asked "$name")
	is "$what: exit code" "$(cat "$DIR/out/$name.code")" "$2"
	is "$what: nothing on standard output" "$(cat "$DIR/out/$name")" ""
	like "$what: one line of words" "$line" "^keyfob: $name: .*$3.* \($hint\)\$"
	if [ "$(wc -l <"$DIR/out/$name.err")" = 1 ] && ! LC_ALL=C grep -q '[^ -~]' "$DIR/out/$name.err"; then
		pass "$what: of printable characters"
	else
		fail "$what: of printable characters" "$line"
	fi
	if [ "$count" -ge "$4" ] && [ "$count" -le "$5" ]; then
		pass "$what: $4 to $5 requests"
	else
		fail "$what: $4 to $5 requests" "$count"
	fi
	is "$what: status calls it failed" "$(state "$name")" failed
	like "$what: status has the words" "$(keyfob status --json "$name" | jq -r '.credentials[0].last_error')" "$3"
}

# The lines in a row below ask three of these clouds as well.
gives azure-400 5 'azure: IMDS answered 400 invalid_request: .*; correct resource and the identity' 4 4
gives azure-401 8 'azure: IMDS answered 401 .*; this does not look like IMDS' 1 6
gives azure-403 8 'azure: IMDS answered 403 .*; this does not look like IMDS' 1 6
gives azure-404 8 'azure: IMDS answered 404 .*; the identity endpoint is being updated' 3 6
gives azure-408 8 'azure: IMDS answered 408 ' 3 6
gives azure-410 8 'azure: IMDS answered 410 .*; IMDS is being updated' 2 4
gives azure-429 8 'azure: IMDS answered 429 .*; too many requests' 1 1
gives azure-500 8 'azure: IMDS answered 500 server_error' 3 6
gives azure-502 8 "azure: IMDS answered 502 .*a proxy's answer; IMDS must be reached directly" 3 6
gives azure-503 8 'azure: IMDS answered 503 ' 3 6
gives azure-504 8 "azure: IMDS answered 504 .*a proxy's answer; IMDS must be reached directly" 3 6
gives azure-slow 8 'azure: IMDS: no whole answer from http://127.0.0.1:[0-9]* within 2 s; timeout= may be raised' 1 6
gives azure-drip 8 'azure: IMDS: no whole answer from .* within 2 s' 1 6
gives azure-garbage 8 'azure: IMDS answered 200, but with no usable JSON' 3 6
gives azure-huge 8 'azure: IMDS: the answer of .* is longer than 64 KiB; this is no token' 3 6
gives azure-redirect 8 'azure: IMDS answered 302.*; a redirect is never followed' 1 6
gives azure-cut 8 'azure: IMDS: the answer of .* broke off' 3 6
gives azure-portal 8 'azure: IMDS answered 200, but with no usable JSON' 3 6
gives azure-expired 5 "azure: the token expired at [0-9]+ and it is [0-9]+ now: an old one, or this host's clock is wrong" 1 1
gives azure-endless 5 'azure: the token names no expiry: set ttl= on the provider line' 1 1
gives azure-past 5 'azure: the token expired at 1000000000 and it is' 1 1
gives azure-negative 5 'azure: the token names no expiry' 1 1
gives azure-text 5 'azure: the token names no expiry' 1 1
gives azure-zero 5 'azure: the token names no expiry' 1 1
gives azure-null 5 'azure: the token names no expiry' 1 1
gives azure-beyond 5 'azure: the token names no expiry' 1 1
gives azure-overflow 8 'azure: IMDS answered 200, but with no usable JSON' 3 6
gives azure-large 5 'azure: the token has [0-9]+ bytes, more than the 32767 a key can hold' 1 1

gives gcp-400 5 'gcp: the metadata server answered 400: .*; correct resource \(the audience\)' 1 1
gives gcp-401 5 'gcp: the metadata server answered 401' 1 1
gives gcp-403 5 'gcp: the metadata server answered 403: .*; this machine or pod may not have' 2 2
gives gcp-404 5 'gcp: the metadata server answered 404: .*; attach a service account' 1 1
gives gcp-408 8 'gcp: the metadata server answered 408' 3 6
gives gcp-410 5 'gcp: the metadata server answered 410' 1 1
gives gcp-429 8 'gcp: the metadata server answered 429: .*; too many requests' 2 2
gives gcp-500 8 'gcp: the metadata server answered 500' 3 6
gives gcp-502 8 'gcp: the metadata server answered 502' 1 6
gives gcp-503 8 'gcp: the metadata server answered 503' 3 6
gives gcp-504 8 'gcp: the metadata server answered 504' 3 6
gives gcp-slow 8 'gcp: metadata server: no whole answer from .* within 2 s' 1 6
gives gcp-drip 8 'gcp: metadata server: no whole answer from .* within 2 s' 1 6
gives gcp-garbage 8 'gcp: the metadata server answered 200, but with no JWT' 3 6
gives gcp-huge 8 'gcp: metadata server: the answer of .* is longer than 64 KiB' 3 6
gives gcp-redirect 8 'gcp: the answer \(302\) lacks Metadata-Flavor: Google' 1 6
gives gcp-cut 8 'gcp: metadata server: the answer of .* broke off' 3 6
gives gcp-portal 8 'gcp: the answer \(200\) lacks Metadata-Flavor: Google, .*a captive portal' 1 6
gives gcp-flavour 8 'gcp: the answer \(200\) lacks Metadata-Flavor: Google' 1 6
gives gcp-flavourless 8 'gcp: the answer \(200\) lacks Metadata-Flavor: Google' 1 6
gives gcp-expired 5 'gcp: the token expired at [0-9]+ and it is [0-9]+ now' 1 1
gives gcp-endless 8 'gcp: the metadata server answered 200, but with no JWT' 3 6
gives azure-gone 5 "azure: the token expired at [0-9]+ and it is [0-9]+ now: an old one, or this host's clock is wrong" 1 1
gives gcp-gone 5 "gcp: the token expired at [0-9]+ and it is [0-9]+ now: an old one, or this host's clock is wrong" 1 1
gives gcp-large 5 'gcp: the token has [0-9]+ bytes, more than the 32767 a key can hold' 1 1

like "Retry-After is told to the user" "$(cat "$DIR/out/azure-429.err")" 'try again in 1[0-9][0-9] s'
is "nothing listens there: exit code" "$(cat "$DIR/out/azure-closed.code")" 8
like "nothing listens there: in words" "$(cat "$DIR/out/azure-closed.err")" 'azure: IMDS: nothing listens at http://127.0.0.1:1 .*is this machine on Azure'

# --- what goes well all the same ------------------------------------------------------------------------------

# served CREDENTIAL LEAST MOST: it got its token with so many requests
served() {
	local count
	is "$1: exit code" "$(cat "$DIR/out/$1.code")" 0
	check "$1: a token" test -s "$DIR/out/$1"
	is "$1: and the next get gives the same" "$(as "$alice" keyfob get "$1")" "$(cat "$DIR/out/$1")"
	count=$(asked "$1")
	if [ "$count" -ge "$2" ] && [ "$count" -le "$3" ]; then pass "$1: $2 to $3 requests"; else fail "$1: $2 to $3 requests" "$count"; fi
}
expires() {
	as "$alice" keyfob get --json "$1" | jq .expires_at
}
served azure-later 2 2
served gcp-later 2 2
served azure-blip 2 2
served gcp-blip 2 2
# Azure updates IMDS now and then: whoever asked waits that out.
served azure-updating 3 3
served azure-moving 3 3
served azure-ttl 1 1
served azure-date 1 1
served azure-century 1 1
is "a hundred years are a life like any other" "$(expires azure-century)" "$century"
served azure-typed 1 1
served azure-fitting 1 1
served gcp-fitting 1 1
served gcp-newline 1 1
# A clock ten minutes off, either way: what still lives is served, and never longer than both say.
served azure-ahead 1 1
served azure-behind 1 1
served gcp-ahead 1 1
served gcp-behind 1 1
left=$(($(expires azure-ttl) - $(date +%s)))
if [ "$left" -gt 480 ] && [ "$left" -le 600 ]; then pass "ttl= is the life of a token without expiry"; else fail "ttl= is the life" "$left"; fi
for name in azure-behind:85800 gcp-behind:3000; do
	left=$(($(expires "${name%:*}") - $(date +%s)))
	if [ "$left" -gt $((${name#*:} - 120)) ] && [ "$left" -le "${name#*:}" ]; then pass "${name%:*}: its own words count"; else fail "${name%:*}: its own words count" "$left"; fi
done
is "an expiry written as a date" "$(expires azure-date)" 4070908800
exits "32,000 bytes: over the keyring too" 0 as "$alice" sh -c "keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:azure-fitting | cmp - '$DIR/out/azure-fitting'"

# --- no proxy, no redirect ------------------------------------------------------------------------------------------

is "proxy= is not for metadata" "$(cat "$DIR/out/azure-proxied.code")" 0
# shellcheck disable=SC2086
exits "proxy variables: get --direct" 0 env $proxied keyfob --config "$CONFIG" get --direct azure-good
is "proxy variables and redirects: nobody came by" "$(cat "$DIR/out/caught")" ""
curl -sS -x "$TRAP" http://nowhere.example/ >/dev/null 2>&1
check "and the trap does catch" until_true 5 grep -q 'GET http://nowhere.example/' "$DIR/out/caught"

# --- provider lines in a row --------------------------------------------------------------------------------------------

is "stacking: the second line serves" "$(cat "$DIR/out/stack-saved.code")" 0
is "stacking: the state is good" "$(state stack-saved)" valid
like "stacking: the refusal of the first is told all the same" "$(keyfob status --json stack-saved | jq -r '.credentials[0].last_error')" 'azure: IMDS answered 400'
is "stacking: where somebody else answers, the second line serves at once" "$(cat "$DIR/out/stack-elsewhere.code")" 0
is "stacking: and counted" "$(keyfob status --json stack-saved | jq -r '.credentials[0].failures')" 1
is "stacking: a refusal and a throttle may be tried again" "$(cat "$DIR/out/stack-throttled.code")" 8
like "stacking: both are told" "$(cat "$DIR/out/stack-throttled.err")" '1\. azure: IMDS answered 400 .*; 2\. gcp: the metadata server answered 429'
like "stacking: each of many has its share of the room" "$(cat "$DIR/out/stack-long.err")" '1\. azure: IMDS answered 403.*; 7\. azure: IMDS .*; 8\. gcp: the metadata server answered 403'
is "stacking: two refusals are one" "$(cat "$DIR/out/stack-refused.code")" 5
like "stacking: both are told" "$(cat "$DIR/out/stack-refused.err")" '1\. azure: IMDS answered 400 .*; 2\. gcp: the metadata server answered 403'

# --- asking again does not ask the provider ---------------------------------------------------------------------------------

before="$(asked azure-400) $(asked azure-429) $(asked gcp-403)"
for _ in 1 2 3 4 5 6 7 8 9 10; do for name in azure-400 azure-429 gcp-403; do as "$alice" keyfob get "$name"; done; done 2>/dev/null
is "ten more who ask cause no request" "$(asked azure-400) $(asked azure-429) $(asked gcp-403)" "$before"
exits "try asks once" 8 keyfob try azure-429
like "try shows the exchange" "$OUT" 'GET http://127.0.0.1:[0-9]+/metadata/identity/oauth2/token\?api-version='
like "try shows the answer" "$OUT" '< 429, '
like "try says how it ended" "$ERR" 'azure-429: failed: the provider is asked too often'
before=$(CLOUD=${CLOUDS[401]} requests imds)
exits "a user's own credential: refused" 8 as "$alice" keyfob get refused
exits "a user's own credential: again" 8 as "$alice" keyfob get refused
exits "a user's own credential: and he cannot insist" 8 as "$alice" keyfob refresh refused
is "a user's own credential: one request" "$(CLOUD=${CLOUDS[401]} requests imds)" $((before + 1))
check "the broker lives" kill -0 "$BROKER"
fetches=$(pgrep -P "$(launcher)")
stop_broker
none_lives() {
	for pid; do [ ! -d "/proc/$pid" ] || return 1; done
}
# shellcheck disable=SC2086
check "and leaves no fetch behind" until_true 5 none_lives $fetches
finish
