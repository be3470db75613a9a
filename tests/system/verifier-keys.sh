#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What an identity provider may do wrong with its keys, through keyfobd and keyfob-verifyd: a bad set never takes the place of a good
# one, one bad key spoils no other, a key that is gone is gone; a flood of unknown kids; what is kept over a restart.
. "$(dirname "$0")/lib.sh"

id keyfob-verify >/dev/null 2>&1 || { echo "1..0 # SKIP needs the user keyfob-verify"; exit 0; }
ASK=$HELPERS/ask-verifier MINT=$HELPERS/mint KEYS=$DIR/keys
install -d -m 0700 "$KEYS"
"$MINT" keys "$KEYS" && "$MINT" key rsa1024 "$KEYS/rsa1024.pem" && "$MINT" key secp256k1 "$KEYS/k256.pem" ||
	{ echo "Bail out! no keys"; exit 1; }
start_emulator

# provider NAME ISSUER [LINE]: and a database user of that name who is alice there
provider() {
	printf '[identity-provider %s]\nissuer = %s\naudience = orders\nauthorization_type = user\n%s\n' "$1" "$2" "${3:-}"
	printf '[database-user %s]\nservice = postgresql\nidentity_provider = %s\nuser_id = alice\n' "$1" "$1"
}
{
	provider served https://served.example "jwks_uri = $CLOUD/jwks"
	provider found "$CLOUD"
} | configure

# set KID=KEY...: a key set of these
set_of() {
	local words=() pair
	for pair; do words+=("${pair%%=*}=$KEYS/${pair#*=}.pem"); done
	"$MINT" jwks "${words[@]}"
}
# serve: the document on stdin is the key set from now on
serve() {
	cat >"$DIR/out/served"
	curl -sS -f --data-urlencode "body@$DIR/out/served" -d path=jwks "$CLOUD/emulator/faults" >/dev/null || fail "the set can be served"
}
# token ISSUER KID KEY ALG
token() {
	"$MINT" token --key "$KEYS/$3.pem" --kid "$2" --alg "$4" --life 600 --claims "{\"iss\":\"$1\",\"aud\":\"orders\",\"sub\":\"alice\"}"
}
served() { # KID KEY [ALG]
	token https://served.example "$1" "$2" "${3:-RS256}"
}
judge() { # LOGIN TOKEN
	printf %s "$2" >"$DIR/out/token"
	OUT=$("$ASK" token postgresql "$1" <"$DIR/out/token" 2>"$DIR/out/err")
	CODE=$? ERR=$(cat "$DIR/out/err")
}
accepted() { # WHAT TOKEN [LOGIN]
	judge "${3:-served}" "$2"
	is "accepted: $1" "$CODE $(cut -d' ' -f1-3 <<<"$OUT") $ERR" "0 ${3:-served} ${3:-served} alice "
}
refused() { # WHAT REASON TOKEN [LOGIN]
	judge "${4:-served}" "$3"
	like "refused: $1" "$CODE $ERR" "^[78] $2: "
}
refresh() { # CODE WHAT
	exits "$2: refresh gives $1" "$1" "$ASK" refresh "${3:-served}"
}

set_of one=rsa | serve
start_broker
start_verifier
until_true 10 eval '"$ASK" keysets served | grep -q good' || fail "a key set comes" "$("$ASK" keysets served)"
GOOD=$(served one rsa)
accepted "the key that is there" "$GOOD"

# --- a bad set does not take the place of a good one -----------------------------------------------

# useless WHAT PATTERN DOCUMENT: it is refused in these words
useless() {
	serve <<<"$3"
	refresh 5 "$1"
	like "$1: in words" "$ERR" "$2"
	like "$1: the old set stays, and that is shown" "$("$ASK" keysets served)" '^served stale .* keys=1 one/RSA-2048'
	accepted "by it, after $1" "$GOOD"
}
key() { # KID=KEY
	set_of "$1" | jq -c '.keys[0]'
}
useless "an empty set" 'of no use: it holds no key' '{"keys":[]}'
useless "a symmetric key" 'of no use: none of its keys can be used: key 1' '{"keys":[{"kty":"oct","kid":"one","k":"c2VjcmV0"}]}'
useless "RSA of 1,024 bits" 'none of its keys can be used' "$(set_of one=rsa1024)"
useless "a point beside the curve" 'none of its keys can be used' "$(set_of one=p256 | jq -c '.keys[0].y = .keys[0].x')"
useless "a curve that is not for this" 'none of its keys can be used' "$(set_of one=k256)"
useless "a private key" 'none of its keys can be used' "$(set_of one=rsa | jq -c '.keys[0].d = .keys[0].n')"
useless "a key for something else" 'none of its keys can be used' "$(set_of one=rsa | jq -c '.keys[0].use = "enc"')"
useless "300 keys" 'holds 300 keys' "$(set_of one=ed25519 | jq -c '.keys[0].x as $x | {keys: [range(300) | {kty: "OKP", crv: "Ed25519", x: $x}]}')"
useless "one kid for two keys" 'another key of the set has the same kid' "$(printf '{"keys":[%s,%s]}' "$(key one=rsa)" "$(key one=rsa2)")"

# unreachable CODE WHAT FAULT PATTERN
unreachable() {
	no_faults
	fault "path=jwks&$3"
	refresh "$1" "$2"
	like "$2: in words" "$ERR" "$4"
	accepted "after $2" "$GOOD"
}
unreachable 8 "5 MiB" size=5242880 'longer than 256 KiB'
unreachable 8 "a web page" 'html=1&status=200' 'web page'
unreachable 8 "status 500" status=500 'answered 500'
unreachable 8 "a redirect" "redirect=$CLOUD/jwks" 'redirect'
unreachable 8 "a set that is cut" truncate=1 'broke off'
unreachable 8 "a member twice" 'body=%7B%22keys%22:%5B%5D,%22keys%22:%5B%5D%7D' 'twice'

# --- discovery --------------------------------------------------------------------------------------

no_faults
set_of one=rsa | serve
refresh 0 "discovery" found
FOUND=$(token "$CLOUD" one rsa RS256)
accepted "by a set that was discovered" "$FOUND" found
fault "path=openid&body=%7B%22issuer%22:%22https://evil.example%22,%22jwks_uri%22:%22$CLOUD/jwks%22%7D"
refresh 5 "discovery of another issuer" found
like "names it" "$ERR" 'issuer https://evil.example'
accepted "by the set from before" "$FOUND" found
# Slow: nobody waits for it but who asked.
fault 'path=openid&delay_ms=60000'
"$ASK" refresh found >"$DIR/out/slow" 2>&1 &
SLOW=$!

# --- one bad key spoils no other -----------------------------------------------------------------------

printf '{"keys":[%s,%s,%s,%s,%s,%s,{},7,%s]}' "$(key short=rsa1024)" '{"kty":"oct","kid":"shared","k":"c2VjcmV0"}' "$(key one=rsa)" \
	"$(key two=rsa2)" "$(key two=rsa)" "$(key ec=p256 | jq -c '.d = .x')" \
	"$(key sly=rsa1024 | jq -c '.kid = "sly\" event=\"login"')" | serve
refresh 0 "a good key among bad ones"
is "it alone is used" "$OUT" 1
accepted "by the good one" "$GOOD"
refused "by one that is too short" KEY_UNUSABLE "$(served short rsa1024)"
refused "by one whose kid names two" KEY_UNUSABLE "$(served two rsa2)"
refused "nor by the other" KEY_UNUSABLE "$(served two rsa)"
refused "by one whose private part is known" KEY_UNUSABLE "$(served ec p256 ES256)"
refused "by a secret that is public" ALG_NOT_ALLOWED "$(served shared rsa HS256)"
check "each is named in the log" logged 'identity_provider=served event=key-skipped reason="key 1 \(kid short\)'
check "and none looks like another field" logged 'event=key-skipped reason="key 9 \(kid sly'"'"' event='"'"'login\): [^"]*"$'
check "also one without a name" logged 'identity_provider=served event=key-skipped reason="key 8'

# --- rotation -------------------------------------------------------------------------------------------

set_of one=rsa two=p256 | serve
refresh 0 "a second key"
NEW=$(served two p256 ES256)
accepted "by the first" "$GOOD"
accepted "by the second" "$NEW"
set_of two=p256 | serve
refresh 0 "without the first"
accepted "by the second alone" "$NEW"
refused "a token that was good until then" KID_UNKNOWN_COOLDOWN "$GOOD"
set_of two=ed25519 one=rsa2 | serve
refresh 0 "other keys by the same names"
refused "by the key that had the name" SIGNATURE "$GOOD"
refused "by one of another type" KEY_UNUSABLE "$NEW"
accepted "by the new one" "$(served two ed25519 EdDSA)"
set_of one=rsa | serve
refresh 0 "the first again"
accepted "by it" "$GOOD"

# --- a flood of kids --------------------------------------------------------------------------------------

asked=$(requests jwks)
"$MINT" token --key "$KEYS/p256.pem" --alg ES256 --kid random --life 600 --count 10000 \
	--claims '{"iss":"https://served.example","aud":"orders","sub":"alice"}' >"$DIR/out/flood"
is "10,000 tokens with kids of no key" "$(wc -l <"$DIR/out/flood")" 10000
"$ASK" tokens postgresql served <"$DIR/out/flood" >"$DIR/out/flooded" 2>&1 &
FLOOD=$!
yes "$GOOD" | head -n 500 >"$DIR/out/good"
for i in first second third; do
	like "500 logins by a known key meanwhile, the $i time: all accepted" "$("$ASK" tokens postgresql served <"$DIR/out/good")" '^0:500 '
done
wait "$FLOOD"
like "all refused" "$(cat "$DIR/out/flooded")" '^7:10000 '
check "and the key set was fetched once for them, if at all" [ "$(($(requests jwks) - asked))" -le 1 ]
accepted "the known key afterwards" "$GOOD"

wait "$SLOW"
is "a slow provider: refresh gives 8" $? 8
like "in words" "$(cat "$DIR/out/slow")" 'did not answer|timed out|took longer|time'
accepted "and the set from before goes on" "$FOUND" found

# --- what is kept --------------------------------------------------------------------------------------------

is "it is kept where nobody else can read" "$(stat -c '%A %U' "$DIR/state/served.keys")" "-rw------- keyfob-verify"
fault 'path=jwks&status=503'
stop_verifier KILL
start_verifier
accepted "by what was kept, while the provider is down" "$GOOD"
stop_verifier
printf X | dd of="$DIR/state/served.keys" bs=1 seek=300 conv=notrunc 2>/dev/null
start_verifier
refused "by what was damaged" KEYS_MISSING "$GOOD"
check "which the log tells" logged 'identity_provider=served event=keyset-refused reason="what was kept is damaged"'
no_faults
set_of one=rsa | serve
refresh 0 "it is fetched again"
accepted "by that" "$GOOD"
# Nobody is there to be asked for new ones.
stop_verifier
stop_broker
sed -i "s|^jwks_uri = .*|jwks_uri = $CLOUD/elsewhere|" "$CONFIG"
start_verifier
refused "by what was kept from another place" KEYS_MISSING "$GOOD"
check_not "which is forgotten" test -e "$DIR/state/served.keys"
finish
