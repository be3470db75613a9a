#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The conformance doors, with keys and signatures that the openssl command made.
. "$(dirname "$0")/lib.sh"

DOORS=$(realpath "$1")/tests
KEY=$DIR/out/key.pem JWK=$DIR/out/jwk.json

base64url() {
	openssl base64 -A | tr '+/' '-_' | tr -d '='
}
# sign HEADER PAYLOAD: a compact JWS, without a newline
sign() {
	local text
	text=$(printf '%s' "$1" | base64url).$(printf '%s' "$2" | base64url)
	printf '%s.%s' "$text" "$(printf '%s' "$text" | openssl dgst -sha256 -sign "$KEY" | base64url)"
}
# judged TOKEN [FILE]: the exit code of jws-verify and the first word it says; escapes as printf's %b has
judged() {
	local said code
	said=$(printf '%b' "$1" | "$DOORS/jws-verify" "${2:-$JWK}" 2>&1 >/dev/null)
	code=$?
	echo "$code ${said%%:*}"
}
# parsed TEXT: the same of json-check; escapes too
parsed() {
	printf '%b' "$1" >"$DIR/out/text.json"
	"$DOORS/json-check" "$DIR/out/text.json" 2>&1
	echo $?
}

openssl genrsa -out "$KEY" 2048 2>/dev/null
modulus=$(openssl rsa -in "$KEY" -noout -modulus | sed 's/^Modulus=//')
n=$(for ((i = 0; i < ${#modulus}; i += 2)); do printf "\\x${modulus:i:2}"; done | base64url)
echo "{\"kty\":\"RSA\",\"kid\":\"k\",\"e\":\"AQAB\",\"n\":\"$n\"}" >"$JWK"
echo "{\"keys\":[$(cat "$JWK")]}" >"$DIR/out/jwks.json"
echo "{\"use\":\"enc\",$(cut -c 2- "$JWK")" >"$DIR/out/enc.json"
echo '<html>' >"$DIR/out/html.json"
head -c 300000 /dev/zero | tr '\0' ' ' >"$DIR/out/large.json"

good=$(sign '{"alg":"RS256","kid":"k"}' 'any payload')
is "a good signature, one key" "$(judged "$good")" "0 OK"
is "a good signature, a key set" "$(judged "$good" "$DIR/out/jwks.json")" "0 OK"
is "an empty payload" "$(judged "$(sign '{"alg":"RS256"}' '')")" "0 OK"
is "a newline after it" "$(judged "$good\n")" "7 TOKEN_ENCODING"
is "a NUL after it" "$(judged "$good\0")" "7 TOKEN_ENCODING"
is "no token" "$(judged '')" "7 TOKEN_SIZE"
is "a large one" "$(judged "$(printf '%070000d' 0)")" "7 TOKEN_SIZE"
is "a huge one" "$(judged "$(printf '%0100000d' 0)")" "7 TOKEN_SIZE"
is "two parts" "$(judged "${good%.*}")" "7 TOKEN_FORM"
is "no signature" "$(judged "${good%.*}.")" "7 SIGNATURE"
is "another payload" "$(judged "${good%%.*}.e30.${good##*.}")" "7 SIGNATURE"
is "alg none" "$(judged "$(sign '{"alg":"none","kid":"k"}' '{}')")" "7 ALG_NOT_ALLOWED"
is "a member twice in the header" "$(judged "$(sign '{"alg":"RS256","alg":"RS256"}' '{}')")" "7 HEADER"
is "crit" "$(judged "$(sign '{"alg":"RS256","crit":[]}' '{}')")" "7 CRIT"
is "another kid" "$(judged "$(sign '{"alg":"RS256","kid":"l"}' '{}')")" "7 KID_UNKNOWN"
is "a key that may not verify" "$(judged "$good" "$DIR/out/enc.json")" "7 KEY_UNUSABLE"
is "a key that is none" "$(judged "$good" "$DIR/out/html.json")" "7 KEY_UNUSABLE"
is "too large a key set" "$(judged "$good" "$DIR/out/large.json")" "7 KEY_UNUSABLE"
is "no file" "$(judged "$good" "$DIR/out/missing")" "2 usage"
exits "no argument" 2 "$DOORS/jws-verify"

is "an object" "$(parsed '{"a":[1,"x"]}')" 0
is "a bare value, with white space" "$(parsed ' 1\n')" 0
is "a member twice" "$(parsed '{"a":1,"a":1}')" $'a JSON member stands there twice\n7'
is "a NUL after a number" "$(parsed '[1\0]')" $'it is not JSON\n7'
is "an escaped NUL" "$(parsed '"\\u0000"')" $'the JSON holds bytes that are not text\n7'
is "nothing" "$(parsed '')" $'it is empty\n7'
is "100,000 brackets" "$(parsed "$(head -c 100000 /dev/zero | tr '\0' '[')")" $'the JSON is nested too deep\n7'
exits "no argument" 2 "$DOORS/json-check"
exits "no file" 2 "$DOORS/json-check" "$DIR/out/missing"
finish
