#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every answer that a source should not give, for each source beside IMDS and the metadata server (provider-faults.sh has those): its
# class, what the user reads and the status says, and how often the source is asked. And sources that are not ready, that repeat
# themselves, or that count who asks.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
"$HELPERS/trap-listener" "$DIR/out/trap-port" "$DIR/out/caught" &
PIDS="$PIDS $!"
until_true 10 test -s "$DIR/out/trap-port" || { echo "Bail out! no trap"; exit 1; }
TRAP=http://127.0.0.1:$(cat "$DIR/out/trap-port")

# --- faults, each with a cloud of its own --------------------------------------------------------
declare -A FAULT=([302]="redirect=$TRAP/latest" [portal]='html=1&status=200' [cut]='truncate=1' [huge]='size=2097152'
	[garbage]='body=%01%ff%1b%5B31m%7B%22token%22:%22eyJabc' [slow]='delay_ms=60000' [drip]='drip_ms=1000' [429]='status=429&retry_after=120')
for status in 400 401 403 404 408 500 502 503 504; do FAULT[$status]="status=$status"; done
declare -A PATH_OF=([appservice]=appservice [entra]=entra [oauth2]=oauth2 [key]=google_token [iam]=google_iam [sts]=google_sts)
declare -A CLOUDS
start() { # NAME [OPTION...]
	local name=$1
	shift
	keyfob-emulator --listen 127.0.0.1:0 --port-file "$DIR/out/port-$name" "$@" >"$DIR/out/emulator-$name.log" 2>&1 &
	PIDS="$PIDS $!"
}
for name in "${!FAULT[@]}"; do start "$name"; done
start short --lifetime 300
start counting
start later
later=$!
for name in "${!FAULT[@]}" short counting later; do
	until_true 20 test -s "$DIR/out/port-$name" || { echo "Bail out! no cloud $name"; exit 1; }
	CLOUD=http://127.0.0.1:$(cat "$DIR/out/port-$name")
	CLOUDS[$name]=$CLOUD
	[ -n "${FAULT[$name]:-}" ] || continue
	for path in "${PATH_OF[@]}"; do fault "path=$path&${FAULT[$name]}" || { echo "Bail out! ${FAULT[$name]}"; exit 1; }; done
done
# Nobody listens there for now.
kill "$later" && wait "$later"

# --- what proves who asks ----------------------------------------------------------------------------
secret='p+e r&c=e%n/t~-0123456789'
subject='subject-token-of-another-cloud'
project=keyfob-emulator.iam.gserviceaccount.com
umask 077
printf '%s\n' "$secret" >"$DIR/etc/secret"
jq -n --arg pem "$(openssl genpkey -algorithm RSA 2>/dev/null)" --arg email "orders@$project" '{type: "service_account", client_email: $email,
	private_key_id: "k", private_key: $pem, token_uri: "https://oauth2.googleapis.com/token"}' >"$DIR/etc/key.json"
jq -n '{type: "external_account", audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
	subject_token_type: "urn:ietf:params:oauth:token-type:jwt", token_url: "https://sts.googleapis.com/v1/token",
	credential_source: {file: "/nowhere"}}' >"$DIR/etc/pool.json"
umask 022
printf '%s\n' "$subject" >"$DIR/out/subject"

{
	for name in "${!FAULT[@]}"; do
		cloud=${CLOUDS[$name]} seconds=10
		case $name in slow | drip) seconds=2 ;; esac
		for source in "${!PATH_OF[@]}"; do
			printf '[credential %s-%s]\nresource = api://orders\nallow = user:%s\nrefresh = on-demand\nprovider = ' "$source" "$name" "$alice"
			case $source in
			appservice) printf 'azure source=appservice header_file=%s' "$DIR/etc/secret" ;;
			entra) printf 'azure source=secret tenant=orders.example client_id=me secret_file=%s' "$DIR/etc/secret" ;;
			oauth2) printf 'oauth2 client_id=me secret_file=%s token_endpoint=https://login.example/oauth2/token' "$DIR/etc/secret" ;;
			key) printf 'gcp source=key key_file=%s' "$DIR/etc/key.json" ;;
			iam) printf 'gcp source=impersonate target=orders@%s metadata_endpoint=%s' "$project" "$cloud" ;;
			sts) printf 'gcp source=external_account config_file=%s subject_file=%s target=orders@%s' "$DIR/etc/pool.json" "$DIR/out/subject" "$project" ;;
			esac
			printf ' endpoint=%s timeout=%s\n\n' "$cloud" "$seconds"
		done
	done
	for i in $(seq 40); do
		printf '[credential many%s]\nresource = api://%s\nprovider = azure endpoint=%s\nrefresh = on-demand\n\n' "$i" "$i" "${CLOUDS[counting]}"
	done
	printf '[credential again]\nresource = api://again\nprovider = azure endpoint=%s\nrefresh = on-demand\n\n' "${CLOUDS[short]}"
	printf '[credential early]\nresource = https://early\nprovider = gcp endpoint=%s\nallow = user:%s\nrefresh = on-demand\n' "${CLOUDS[later]}" "$alice"
} | configure
start_broker

# --- IMDS answers 5 requests at a time and 20 in a second, and 429 to whoever asks more ---------------
CLOUD=${CLOUDS[counting]} fault 'path=imds&enforce=1&delay_ms=300'
for i in $(seq 40); do
	keyfob get "many$i" >"$DIR/out/many$i" 2>&1 &
	MANY="${MANY:-} $!"
done
# shellcheck disable=SC2086
wait $MANY
is "40 credentials at once: each has its token" "$(grep -l '^eyJ' "$DIR"/out/many* | wc -l)" 40
is "and none was asked for too soon" "$(curl -sS "${CLOUDS[counting]}/emulator/counters" | jq -c '[.imds.requests, .imds.violations, .imds.max_concurrent <= 5]')" '[40,0,true]'

# --- all of them at once ------------------------------------------------------------------------------
for name in $(keyfob status --json | jq -r '.credentials[].name | select(test("-"))'); do
	{
		as "$alice" keyfob get "$name" >"$DIR/out/$name" 2>"$DIR/out/$name.err"
		echo $? >"$DIR/out/$name.code"
	} &
	GETS="${GETS:-} $!"
done

# --- meanwhile: a metadata server that is not ready in a pod's first seconds -------------------------------
as "$alice" keyfob get early >"$DIR/out/early" 2>&1 &
getter=$!
check "nobody listens yet: that passes" until_true 20 logged 'credential=early event=fetch-failed .*class=transient .*nothing listens at'
keyfob-emulator --listen "${CLOUDS[later]#http://}" --port-file "$DIR/out/port-later" >"$DIR/out/emulator-later.log" 2>&1 &
PIDS="$PIDS $!"
wait "$getter"
is "whoever asked waits and is served" "$?" 0
like "with a token" "$(cat "$DIR/out/early")" '^eyJ'

# --- meanwhile: a source that gives what it has cached is not asked in a loop -------------------------------
exits "a first token" 0 keyfob get again
first=$OUT
exits "it is asked for again" 0 keyfob refresh again
is "and it is the same" "$(keyfob get again)" "$first"
check "the log says so" logged 'credential=again event=fetched .*same=yes'
wait=$(keyfob status --json again | jq '.credentials[0].refresh_at - now | floor')
if [ "$wait" -ge 20 ] && [ "$wait" -le 31 ]; then pass "and it is asked in half a minute, not at once"; else fail "and it is asked in half a minute, not at once" "$wait"; fi

# --- what came of them ---------------------------------------------------------------------------------------
# shellcheck disable=SC2086
wait $GETS
declare -A SERVICE=([appservice]='App Service' [entra]=Entra [oauth2]='the token endpoint' [key]=Google [iam]='IAM Credentials' [sts]='Google STS')
# expect SOURCE FAULT: sets CLASS and WORDS
expect() {
	local service=${SERVICE[$1]}
	case $2 in
	400) CLASS=permanent ;;
	401 | 403) CLASS=permanent ;;
	404) CLASS=config ;;
	408 | 500 | 502 | 503 | 504) CLASS=transient ;;
	429) CLASS=throttled ;;
	302) CLASS=unavailable ;;
	portal) CLASS=unavailable ;;
	slow | drip) CLASS=unavailable ;;
	*) CLASS=transient ;;
	esac
	case $1-$2 in
	appservice-401 | appservice-403) CLASS=config ;;
	appservice-404) CLASS=transient ;;
	sts-404) CLASS=permanent ;; # its body is an OAuth error, and that is more than a status
	appservice-portal | iam-portal) CLASS=transient ;;
	esac
	case $2 in
	portal | garbage) WORDS="$service answered 200, but with (no usable JSON|a web page|no JSON)" ;;
	cut) WORDS="$service: the answer of .* broke off" ;;
	huge) WORDS="$service: the answer of .* is longer than 64 KiB" ;;
	slow | drip) WORDS="$service: no whole answer from .* within 2 s" ;;
	302) WORDS="$service answered 302" ;;
	*) WORDS="$service answered $2\\b" ;;
	esac
}
declare -A CODE=([config]=5 [permanent]=5 [throttled]=8 [unavailable]=8 [transient]=8) MOST=([transient]=7)
everything=$(cat "$LOG" "$DIR"/out/*.err; keyfob status --json)
for source in appservice entra oauth2 key iam sts; do
	for name in 400 401 403 404 408 429 500 502 503 504 302 portal cut huge garbage slow drip; do
		expect "$source" "$name"
		credential=$source-$name
		line=$(cat "$DIR/out/$credential.err")
		like "$credential: exit code and words" "$(cat "$DIR/out/$credential.code") $line" "^${CODE[$CLASS]} keyfob: $credential: (azure|oauth2|gcp): $WORDS"
		check "$credential: its class is $CLASS" logged "credential=$credential event=fetch-failed .*class=$CLASS "
		count=$(CLOUD=${CLOUDS[$name]} requests "${PATH_OF[$source]}")
		least=1
		[ "$CLASS" != transient ] || least=2
		if [ "$count" -ge $least ] && [ "$count" -le "${MOST[$CLASS]:-1}" ]; then
			pass "$credential: asked $least to ${MOST[$CLASS]:-1} times"
		else
			fail "$credential: asked $least to ${MOST[$CLASS]:-1} times" "$count"
		fi
		like "$credential: the status" "$(keyfob status --json "$credential" | jq -r '.credentials[0] | .state + " " + .last_error')" "^failed (azure|oauth2|gcp): $WORDS"
	done
done
for source in "${!PATH_OF[@]}"; do
	like "$source-429: the user reads when to come back" "$(cat "$DIR/out/$source-429.err")" 'try again in 1[0-9][0-9] s\)$'
done
is "no redirect was followed" "$(cat "$DIR/out/caught")" ""

# --- nothing is told ---------------------------------------------------------------------------------------------
for text in "$secret" 'p%2Be%20r' "$subject" 'ya29.' "$(jq -r .private_key "$DIR/etc/key.json" | sed -n 3p | cut -c1-24)" eyJ; do
	case $everything in *"$text"*) fail "no secret is said" "$(grep -m 1 -F -- "$text" <<<"$everything")" ;; *) pass "no secret is said" ;; esac
done
finish
