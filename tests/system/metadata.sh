#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfob-metadata: who is served, how it answers, and clients that behave badly. Real ones are tests/system/metadata-clients.sh's.
# takes long
. "$(dirname "$0")/metadata.inc"

for name in ORDERS BATCH OTHER ANALYST PLAIN FLOOD; do
	new_user
	declare "$name=$USER_NAME"
done
new_group "$BATCH"

# --- scene ------------------------------------------------------------------------------

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
start_metadata
FIRST=$METADATA
check "it serves" until_true 10 logged "keyfob-metadata: event=serving .*listen=127.0.0.1:$PORT_OF_IT"
lead_users_there

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
elif how == 'crowd':
	# As root: the idle connections of ten users, more than there is room for.
	held = []
	for i in range(10000):
		held.append(socket.socket())
		os.fchown(held[-1].fileno(), 1900000000 + i % 10, -1)
		held[-1].connect(('127.0.0.1', 254))
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
elif how == 'bytes':
	s = connect()
	s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
	for i in request + sys.argv[2].encode():
		s.send(bytes([i]))
	print(answer(s))
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
python3 "$DIR/out/client.py" crowd <"$DIR/out/hold" >"$DIR/out/crowd" 2>&1 &
HERD=$!
PIDS="$PIDS $HERD"
exec 8>"$DIR/out/hold"
check "ten users open 10,000 connections and say nothing" until_true 60 grep -q ready "$DIR/out/crowd"
check "others are served meanwhile" [ "$(azure "$ORDERS" resource=api://orders "${STATUS[@]}" -m 3)" = 200 ]
check_not "nobody is kept waiting for them" logged 'event=accept-failed error="too many'
check "which end, too" until_true 15 has_few
exec 8>&-
wait $HERD
is "a byte now and then: an answer, and soon" "$(cat "$DIR/out/drip")" $'HTTP/1.0 408 Request Timeout\nin time'
for end in $'\r\n' $'\n'; do
	is "byte by byte, and at once" "$(as "$ORDERS" python3 "$DIR/out/client.py" bytes "$end")" "HTTP/1.1 200 OK"
done
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

fault 'path=imds&delay_ms=60000'
direct "$BATCH" "$TOKEN?api-version=2018-02-01&resource=api://first" -H 'Metadata: true' -w '\n%{http_code}\n%{time_total}\n' >"$DIR/out/first" 2>&1
like "a slow provider: an answer" "$(sed -n 1p "$DIR/out/first")" '^\{"error":"temporarily_unavailable","error_description":"keyfob: first: no token in time'
is "that one may ask again" "$(sed -n 2p "$DIR/out/first")" 503
check "before drivers give up" [ "$(sed -n '3s/\..*//p' "$DIR/out/first")" -le 8 ]
no_faults
is "it served all the time" "$(kill -0 "$METADATA" && echo yes)" yes
kill "$METADATA"
wait "$METADATA"
is "and ends with 0" "$?" 0
is "no part of a token stands in the logs" "$(cat "$LOG" "$DIR/out/emulator.log" | grep -cE 'eyJ[A-Za-z0-9_-]{10}|ya29')" 0
finish
