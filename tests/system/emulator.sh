#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfob-emulator as its clients see it. Usage: tests/system/emulator.sh BUILD_DIR
set -u

[ $# -eq 1 ] || { echo "usage: $0 BUILD_DIR" >&2; exit 2; }
emulator=$1/bin/keyfob-emulator
for tool in curl jq openssl; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP $tool is missing"; exit 0; }
done

dir=$(mktemp -d)
pid=
count=0
failed=0

cleanup()
{
	[ -z "$pid" ] || kill "$pid" 2>/dev/null
	wait
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# check WHAT COMMAND...: one line of TAP
check()
{
	local what=$1
	shift
	count=$((count + 1))
	if "$@" >"$dir/log" 2>&1; then
		echo "ok $count - $what"
	else
		echo "not ok $count - $what"
		sed 's/^/# /' "$dir/log"
		failed=$((failed + 1))
	fi
}

same() { [ "$1" = "$2" ] || { printf 'wanted: %s\ngot:    %s\n' "$2" "$1"; return 1; }; }
differ() { [ "$1" != "$2" ] || { printf 'both are: %s\n' "$1"; return 1; }; }
holds() { jq -e "$2" <<<"$1" >/dev/null || { printf 'not true: %s\nof: %s\n' "$2" "$1"; return 1; }; }
matches() { [[ $1 =~ $2 ]] || { printf 'no match for: %s\nin: %s\n' "$2" "$1"; return 1; }; }
all_but() { ! "$@"; }

# start OPTIONS...: sets pid and url
start()
{
	rm -f "$dir/port"
	"$emulator" --listen 127.0.0.1:0 --port-file "$dir/port" "$@" >"$dir/out" 2>"$dir/err" &
	pid=$!
	until [ -s "$dir/port" ] || ! kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
	url=http://127.0.0.1:$(cat "$dir/port")
	imds=$url/metadata/identity/oauth2/token
	accounts=$url/computeMetadata/v1/instance/service-accounts
}

stop()
{
	kill "$1" && wait "$1"
}

get() { curl -s --max-time 60 --noproxy '*' "$@"; }
status() { get -o /dev/null -w '%{http_code}' "$@"; }
azure() { get -H 'Metadata: true' "$imds?api-version=2018-02-01&resource=$1" "${@:2}"; }
google() { get -H 'Metadata-Flavor: Google' "$accounts/$1" "${@:2}"; }
fault() { get -X POST "$url/emulator/faults?$1"; }
clear_faults() { get -X DELETE "$url/emulator/faults" >/dev/null; }
tell() { get -X POST "$url/emulator/$1" >/dev/null; }
counters() { get "$url/emulator/counters"; }
token_of() { jq -r .access_token; }

unbase64()
{
	local text=${1//-/+}
	text=${text//_//}
	while [ $((${#text} % 4)) -ne 0 ]; do text+='='; done
	openssl base64 -d -A <<<"$text"
}
hex() { unbase64 "$1" | od -An -v -tx1 | tr -d ' \n'; }
part() { cut -d. -f"$2" <<<"$1"; }
claims() { unbase64 "$(part "$1" 2)"; }
jwt_header() { unbase64 "$(part "$1" 1)"; }

# der FILE LINES...: writes what an OpenSSL ASN.1 description says
der() { printf '%s\n' "${@:2}" >"$dir/asn1"; openssl asn1parse -genconf "$dir/asn1" -noout -out "$1"; }

# signed TOKEN JWKS: the signature is that of the key in JWKS that the token names
signed()
{
	local kid key signature
	kid=$(jwt_header "$1" | jq -r .kid)
	key=$(jq -e --arg kid "$kid" '.keys[] | select(.kid == $kid)' <<<"$2") || { echo "no key $kid"; return 1; }
	signature=$(hex "$(part "$1" 3)")
	if [ "$(jq -r .kty <<<"$key")" = RSA ]; then
		der "$dir/key" asn1=SEQUENCE:spki '[spki]' alg=SEQUENCE:alg key=BITWRAP,SEQUENCE:rsa \
			'[alg]' oid=OID:rsaEncryption null=NULL '[rsa]' \
			"n=INTEGER:0x$(hex "$(jq -r .n <<<"$key")")" "e=INTEGER:0x$(hex "$(jq -r .e <<<"$key")")"
		unbase64 "$(part "$1" 3)" >"$dir/signature"
	else
		der "$dir/key" asn1=SEQUENCE:spki '[spki]' alg=SEQUENCE:alg \
			"key=FORMAT:HEX,BITSTRING:04$(hex "$(jq -r .x <<<"$key")")$(hex "$(jq -r .y <<<"$key")")" \
			'[alg]' oid=OID:id-ecPublicKey curve=OID:prime256v1
		der "$dir/signature" asn1=SEQUENCE:pair '[pair]' "r=INTEGER:0x${signature:0:64}" \
			"s=INTEGER:0x${signature:64}"
	fi
	openssl pkey -pubin -inform DER -in "$dir/key" -out "$dir/pem" &&
		printf '%s.%s' "$(part "$1" 1)" "$(part "$1" 2)" |
		openssl dgst -sha256 -verify "$dir/pem" -signature "$dir/signature"
}

# --- command line ----------------------------------------------------------

usage_error()
{
	"$emulator" "${@:2}" >"$dir/out" 2>"$dir/err"
	same $? 2 && same "$(wc -l <"$dir/err")" 1 && grep -F -e "$1" "$dir/err"
}

check "an address that others can reach is refused" usage_error "0.0.0.0" --listen 0.0.0.0:8080
check "an address without a port is refused" usage_error "ADDR:PORT" --listen 127.0.0.1
check "a life that is no number is refused" usage_error --lifetime --lifetime soon
check "an issuer that is no URL is refused" usage_error --issuer --issuer example.org
check "an unknown option is named" usage_error --zork --zork
check "an option without its value is named" usage_error --port-file --port-file
help_is_whole()
{
	local word
	for word in path count status retry_after body html redirect size delay_ms drip_ms truncate flavor expires \
			opaque token_bytes lifetime clock issuer alg newline enforce; do
		"$emulator" --help | grep -q "\b$word=" || { echo "not in --help: $word"; return 1; }
	done
}
check "--help names every fault" help_is_whole
check "--version says keyfob-emulator and a number" matches "$("$emulator" --version)" '^keyfob-emulator [0-9]'

start
check "one line tells where it listens" same "$(cat "$dir/out")" "keyfob-emulator: listening on $url"
port_taken()
{
	"$emulator" --listen "${url#http://}" >"$dir/out2" 2>"$dir/err"
	same $? 1 && same "$(wc -l <"$dir/err")" 1 && grep -F "${url##*:}" "$dir/err"
}
check "a port in use ends it with a line that names the port" port_taken

# --- Azure -----------------------------------------------------------------

full="$imds?api-version=2018-02-01&resource=api://orders"
m=(-H "Metadata: true")
reply=$(get "${m[@]}" "$full")
token=$(token_of <<<"$reply")
check "imds: all values of the reply are strings" holds "$reply" 'all(.[]; type == "string")'
check "imds: the reply has the keys of the real one" same "$(jq -c keys <<<"$reply")" \
	'["access_token","client_id","expires_in","expires_on","ext_expires_in","not_before","resource","token_type"]'
check "imds: expires_in and expires_on fit together" holds "$reply" \
	'(.expires_on | tonumber) - (now + (.expires_in | tonumber)) | fabs < 30'
check "imds: the token has the claims of an application" holds "$(claims "$token")" \
	'.aud == "api://orders" and .sub == .oid and .ver == "2.0" and .tid and .azp and .jti and .exp == .iat + 86400'
check "imds: the token names the emulator as its issuer" holds "$(claims "$token")" ".iss == \"$url\""
check "imds: azp is the client id of the reply" same "$(claims "$token" | jq .azp)" "$(jq .client_id <<<"$reply")"
check "imds: the signature is that of a key in /jwks" signed "$token" "$(get "$url/jwks")"
check "imds: a changed token is not" all_but signed "${token/.eyJ/.eyK}" "$(get "$url/jwks")"
check "imds: /.default is not part of the audience" same \
	"$(claims "$(azure api://x/.default | token_of)" | jq -r .aud)" api://x
check "imds: the same token again" same "$(azure api://orders | token_of)" "$token"
check "imds: any case and a slash at the end" same \
	"$(get "${m[@]}" "$url/Metadata/identity/oauth2/token/?api-version=2018-02-01&resource=api://orders" | token_of)" "$token"
check "imds: another token for another resource" differ "$(azure api://other | token_of)" "$token"
check "imds: another subject for another identity" differ \
	"$(claims "$(azure "api://orders&client_id=5f3a" | token_of)" | jq -r .sub)" "$(claims "$token" | jq -r .sub)"
check "imds: the client id asked for is azp" same \
	"$(claims "$(azure "api://orders&client_id=5f3a" | token_of)" | jq -r .azp)" 5f3a
no_header='{"error":"invalid_request","error_description":"Required metadata header not specified"}'
check "imds: no Metadata header, the recorded reply" same "$(get "$full")" "$no_header"
check "imds: no Metadata header is 400" same "$(status "$full")" 400
check "imds: Metadata: True is 400" same "$(status -H 'Metadata: True' "$full")" 400
check "imds: X-Forwarded-For is 400" same "$(status "${m[@]}" -H 'X-Forwarded-For: 10.0.0.1' "$full")" 400
check "imds: POST is 405" same "$(status "${m[@]}" -X POST "$full")" 405
check "imds: no api-version is 400 and tells the newest" holds \
	"$(get "${m[@]}" "$imds?resource=x")" '."newest-versions" | length > 0'
check "imds: no resource is 400" same "$(status "${m[@]}" "$imds?api-version=2018-02-01")" 400
check "imds: a parameter given twice is 400" same "$(status "${m[@]}" "$full&resource=b")" 400
check "imds: two identities are 400" same "$(status "${m[@]}" "$full&client_id=a&object_id=b")" 400
check "imds: an unknown identity is told" holds "$(get "${m[@]}" "$full&client_id=unknown-1")" \
	'.error == "invalid_request" and .error_description == "Identity not found"'
check "imds: another path is 404" same "$(status "${m[@]}" "$url/metadata/instance?api-version=2018-02-01")" 404

# --- Google ----------------------------------------------------------------

g=(-H "Metadata-Flavor: Google")
id=$(google 'default/identity?audience=https://orders&format=full')
check "google: the identity token has its claims" holds "$(claims "$id")" \
	'.aud == "https://orders" and (.sub | test("^[0-9]+$")) and .azp == .sub and .email_verified and .exp == .iat + 3600'
check "google: its signature is that of a key in /jwks" signed "$id" "$(get "$url/jwks")"
check "google: email only with format=full" holds \
	"$(claims "$(google 'default/identity?audience=a')")" 'has("email") | not'
check "google: the same token again" same "$(google 'default/identity?audience=https://orders&format=full')" "$id"
email=$(google default/email)
check "google: an account by its email" same "$(google "$email/identity?audience=https://orders&format=full")" "$id"
check "google: an unknown account is 404" same "$(status "${g[@]}" "$accounts/nobody@example.org/token")" 404
check "google: an unknown path is 404" same "$(status "${g[@]}" "$url/computeMetadata/v1/zork")" 404
check "google: no Metadata-Flavor is 403" same "$(status "$accounts/default/token")" 403
check "google: X-Forwarded-For is 403" same \
	"$(status "${g[@]}" -H 'X-Forwarded-For: 10.0.0.1' "$accounts/default/token")" 403
check "google: no audience is told" same "$(google default/identity)" "non-empty audience parameter required"
check "google: an empty audience is 400" same "$(status "${g[@]}" "$accounts/default/identity?audience=")" 400
check "google: an access token" holds "$(google default/token)" \
	'(.access_token | startswith("ya29.")) and (.expires_in | type == "number") and .token_type == "Bearer"'
check "google: the account in one reply" holds "$(google 'default/?recursive=true')" ".email == \"$email\""
check "google: the project" matches "$(get "${g[@]}" "$url/computeMetadata/v1/project/project-id")" '^[a-z-]+$'
headers=$(get -D - -o /dev/null "$url/" | tr -d '\r')
check "google: / tells that the server is there" matches "$headers" 'Metadata-Flavor: Google'
check "google: replies name the server" matches "$headers" 'Server: Metadata Server for VM'

# --- discovery and keys ----------------------------------------------------

check "openid: discovery names issuer and keys" holds "$(get "$url/.well-known/openid-configuration")" \
	".issuer == \"$url\" and .jwks_uri == \"$url/jwks\""
check "jwks: an RSA and an EC key with kid, alg and use" holds "$(get "$url/jwks")" \
	'[.keys[] | select(.kid and .use == "sig") | .kty + " " + .alg] == ["RSA RS256", "EC ES256"]'
etag=$(get -D - -o /dev/null "$url/jwks" | tr -d '\r' | sed -n 's/^ETag: //p')
check "jwks: unchanged keys are 304" same "$(status -H "If-None-Match: $etag" "$url/jwks")" 304
tell rotate-keys
check "jwks: the old keys stay after a rotation" signed "$token" "$(get "$url/jwks")"
check "jwks: a token stays the same while keys rotate" same "$(azure api://orders | token_of)" "$token"
tell rotate
fresh=$(azure api://orders | token_of)
check "rotate: new tokens from then on" differ "$fresh" "$token"
check "rotate: signed with the new key" differ "$(jwt_header "$fresh")" "$(jwt_header "$token")"
check "rotate: google's too" differ "$(google 'default/identity?audience=https://orders&format=full')" "$id"
check "rotate: the new signature is good" signed "$fresh" "$(get "$url/jwks")"
tell rotate-keys
check "jwks: a second rotation drops the oldest keys" all_but signed "$token" "$(get "$url/jwks")"
check "jwks: and keeps the ones between" signed "$fresh" "$(get "$url/jwks")"

# --- faults ----------------------------------------------------------------

tell reset
fault 'path=imds&status=429&retry_after=2&count=2' >/dev/null
head=$(azure x -D - -o /dev/null | tr -d '\r')
check "fault: a status" matches "$head" '^HTTP/1.1 429 Too Many Requests'
check "fault: with Retry-After" matches "$head" 'Retry-After: 2'
check "fault: for the second request" same "$(azure x -o /dev/null -w '%{http_code}')" 429
check "fault: not for the third" same "$(azure x -o /dev/null -w '%{http_code}')" 200
fault 'path=jwks&status=500' >/dev/null
check "fault: one source's is not another's" same "$(status "$url/.well-known/openid-configuration")" 200
clear_faults
check "fault: cleared" same "$(status "$url/jwks")" 200
fault 'path=metadata&body=hello&count=1' >/dev/null
check "fault: a body" same "$(google default/token)" hello
get -d path=imds -d 'body={"a":' -d count=1 "$url/emulator/faults" >/dev/null
check "fault: the same as a form" same "$(azure x)" '{"a":'
fault 'path=imds&html=1&status=502&count=1' >/dev/null
check "fault: a page of somebody else" matches \
	"$(azure x -w ' %{http_code} %{content_type}')" '<!DOCTYPE html>.* 502 text/html'
fault 'path=openid&redirect=http://127.0.0.1:1/&count=1' >/dev/null
check "fault: a redirect" same \
	"$(get -o /dev/null -w '%{http_code} %{redirect_url}' "$url/.well-known/openid-configuration")" \
	"302 http://127.0.0.1:1/"
fault 'path=imds&size=100000&count=1' >/dev/null
check "fault: a large body" same "$(azure x -o /dev/null -w '%{size_download}')" 100000
fault 'path=imds&truncate=1&count=1' >/dev/null
check "fault: a body cut short is seen as such" same "$(azure x -o /dev/null; echo $?)" 18
whole=$(azure x)
fault 'path=imds&drip_ms=1&count=1' >/dev/null
check "fault: byte by byte, and whole at the end" same "$(azure x | token_of)" "$(token_of <<<"$whole")"
fault 'path=metadata&flavor=0&count=1' >/dev/null
check "fault: no Metadata-Flavor" all_but matches "$(google default/email -D -)" Metadata-Flavor
fault 'path=metadata&flavor=Other&count=1' >/dev/null
check "fault: another Metadata-Flavor" matches "$(google default/email -D -)" 'Metadata-Flavor: Other'
for value in '"soon"' -5 null 1e3; do
	fault "path=imds&expires=${value//\"/%22}&count=1" >/dev/null
	check "fault: an expiry of $value" matches "$(azure x)" "\"expires_in\":$value,\"expires_on\":$value,"
done
fault 'path=imds&expires=absent&count=1' >/dev/null
reply=$(azure x)
check "fault: no expiry at all" holds "$reply" 'has("expires_in") or has("expires_on") | not'
check "fault: and none in the token" all_but matches "$reply" '"access_token":"[^"]*\.'
fault 'path=metadata&opaque=1&count=1' >/dev/null
check "fault: an opaque identity token" all_but matches "$(google 'default/identity?audience=a')" '\.'
fault 'path=imds&token_bytes=30000&count=1' >/dev/null
large=$(azure x | token_of)
check "fault: a token of about 30,000 bytes" holds "${#large}" '. > 29900 and . < 30100'
check "fault: that is signed" signed "$large" "$(get "$url/jwks")"
fault 'path=imds&lifetime=60&count=1' >/dev/null
check "fault: a shorter life" holds "$(claims "$(azure x | token_of)")" '.exp == .iat + 60'
check "fault: the token before comes back after it" same "$(azure x | token_of)" "$(token_of <<<"$whole")"
fault 'path=imds&alg=ES256&issuer=https://other.example&count=1' >/dev/null
ec=$(azure x | token_of)
check "fault: an ES256 token" signed "$ec" "$(get "$url/jwks")"
check "fault: with its own header" holds "$(jwt_header "$ec")" '.alg == "ES256"'
check "fault: of another issuer" holds "$(claims "$ec")" '.iss == "https://other.example"'
fault 'path=metadata&newline=1&count=1' >/dev/null
check "fault: a line end after the token" same \
	"$(google 'default/identity?audience=a' | tail -c 1 | od -An -tx1)" " 0a"
check "fault: an unknown parameter is named" matches "$(fault 'path=imds&zork=1')" '"zork".* status .* enforce'
check "fault: and refused" same "$(status -X POST "$url/emulator/faults?path=imds&zork=1")" 400
check "fault: an unknown source is refused" same "$(status -X POST "$url/emulator/faults?path=zork&status=500")" 400
check "fault: a number out of range is told" matches "$(fault 'path=imds&status=99')" '^status: '
check "fault: GET is 405" same "$(status "$url/emulator/faults")" 405
head -c 70000 /dev/zero >"$dir/large"
check "a request of more than 64 KiB is refused" same \
	"$(status --data-binary "@$dir/large" "$url/emulator/faults")" 413
check "HTTP/1.0 works" same "$(get -0 "${m[@]}" "$full" | token_of)" "$(azure api://orders | token_of)"

# --- counters and concurrency ----------------------------------------------

tell reset
azure y >/dev/null
azure y >/dev/null
get "$imds" >/dev/null
check "counters: requests, good ones, errors, new tokens" holds "$(counters)" \
	'.imds == {requests: 3, ok: 2, errors: 1, tokens: 1, max_concurrent: 1, violations: 0}'
check "counters: the other sources are there" holds \
	"$(counters)" '[.metadata, .openid, .jwks | .requests] == [0, 0, 0]'

# One connection, so that even a slow machine sends far more than 20 in a second.
fault 'path=imds&enforce=1' >/dev/null
get "${m[@]}" -o /dev/null "$imds?api-version=2018-02-01&resource=r[1-3]&n=[1-100]" >/dev/null
check "counters: more than 20 in a second are violations" holds "$(counters)" '.imds.violations > 0'
check "fault: enforce refuses each of them" holds "$(counters)" '.imds.errors == .imds.violations + 1'

tell reset
fault 'path=imds&delay_ms=60000' >/dev/null
clients=()
for _ in 1 2 3 4 5 6; do
	azure z >/dev/null &
	clients+=($!)
done
for _ in $(seq 600); do
	[ "$(counters | jq .imds.requests)" = 6 ] && break
	sleep 0.05
done
check "delay: six requests wait while others are answered" holds "$(counters)" '.imds.requests == 6 and .imds.ok == 0'
check "counters: the sixth at once is a violation" holds \
	"$(counters)" '.imds.max_concurrent == 6 and .imds.violations >= 1'
check "SIGTERM ends it cleanly with requests waiting" stop "$pid"
pid=
wait "${clients[@]}"

# --- a short life, another issuer ------------------------------------------

start --lifetime 4 --issuer https://login.example/v2.0
first=$(azure x | token_of)
check "--issuer is what tokens say" holds \
	"$(claims "$first")" '.iss == "https://login.example/v2.0" and .exp == .iat + 4'
check "--issuer is what discovery says" holds "$(get "$url/v2.0/.well-known/openid-configuration")" \
	".issuer == \"https://login.example/v2.0\" and .jwks_uri == \"$url/jwks\""
sleep 2.1
check "--lifetime: a new token once half of a short life is over" differ "$(azure x | token_of)" "$first"
fault 'path=imds&delay_ms=200&count=1' >/dev/null
check "delay: the reply comes late" holds "$(azure x -o /dev/null -w '%{time_total}')" '. >= 0.19'
kill -INT "$pid"
check "SIGINT ends it cleanly" wait "$pid"
check "nothing was said on stderr" same "$(cat "$dir/err")" ""
pid=

echo "1..$count"
[ "$failed" -eq 0 ]
