#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The key sets that keyfobd has fetched for the verifier: who may ask, what a cloud may do wrong and what is heard of it, one fetch for
# all who ask, a reload while it runs, a fetch that was taken over; and what status says of a token and the one who is to judge it.
. "$(dirname "$0")/lib.sh"

id keyfob-verify >/dev/null 2>&1 || { echo "1..0 # SKIP needs the user keyfob-verify"; exit 0; }
new_user; alice=$USER_NAME
start_emulator
OTHER=$CLOUD
start_emulator
FIRST=$CLOUD
"$HELPERS/trap-listener" "$DIR/out/trap-port" "$DIR/out/caught" &
PIDS="$PIDS $!"
until_true 10 test -s "$DIR/out/trap-port" || { echo "Bail out! no trap"; exit 1; }
TRAP=http://127.0.0.1:$(cat "$DIR/out/trap-port")

# provider NAME KEY VALUE...
provider() {
	printf '[identity-provider %s]\naudience = for-%s\nauthorization_type = user\n' "$1" "$1"
	shift
	while [ $# -gt 0 ]; do
		printf '%s = %s\n' "$1" "$2"
		shift 2
	done
}
# A key pair of the test's own, for the front that speaks TLS.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/out/front.key" -out "$DIR/etc/front.pem" -days 2 \
	-subj /CN=localhost -addext subjectAltName=DNS:localhost >"$DIR/out/openssl.log" 2>&1 || { echo "Bail out! no certificate"; exit 1; }
chmod 0644 "$DIR/etc/front.pem"
"$HELPERS/tls-front" "$DIR/out/front-port" "$DIR/etc/front.pem" "$DIR/out/front.key" "$PORT" >"$DIR/out/front.log" 2>&1 &
PIDS="$PIDS $!"
until_true 20 test -s "$DIR/out/front-port" || { echo "Bail out! no front"; exit 1; }
FRONT=https://localhost:$(cat "$DIR/out/front-port")
echo '{"keys":[]}' >"$DIR/etc/keys.json"
base_configuration() {
	provider found issuer "$FIRST"
	provider direct issuer https://login.example.com jwks_uri "$FIRST/jwks"
	for name in slow slow2 slow3 slow4 slow5; do provider "$name" issuer https://slow.example.com jwks_uri "$OTHER/jwks"; done
	provider kept issuer https://kept.example.com jwks_file "$DIR/etc/keys.json"
	provider trusted issuer https://trusted.example.com jwks_uri "$FRONT/jwks" ca_file "$DIR/etc/front.pem"
	provider distrusted issuer https://distrusted.example.com jwks_uri "$FRONT/jwks"
	provider elsewhere issuer "$FIRST" discovery_url "$FIRST/somewhere/.well-known/openid-configuration"
	provider stranger issuer "$FIRST/stranger" discovery_url "$FIRST/.well-known/openid-configuration"
	provider gone issuer http://127.0.0.1:1
	printf '[credential judged]\nresource = for-found\nprovider = azure endpoint=%s\nidentity_provider = found\n' "$FIRST"
	printf '[credential misjudged]\nresource = for-nobody\nprovider = azure endpoint=%s\nidentity_provider = found\n' "$FIRST"
	printf '[credential foreign]\nresource = for-kept\nprovider = azure endpoint=%s\nidentity_provider = kept\n' "$FIRST"
	# Tokens of several audiences, of odd ones, and one that is no JWT.
	for name in several odd opaque; do
		printf '[credential %s]\nprovider = file path=%s ttl=10m\nidentity_provider = found\n' "$name" "$DIR/etc/$name"
	done
	printf '[credential plain]\nresource = for-nobody\nprovider = azure endpoint=%s\n' "$FIRST"
}
part() {
	printf %s "$1" | base64 -w0 | tr '+/' '-_' | tr -d =
}
# token_of FILE AUD: a token of the first cloud's, as far as it says
token_of() {
	echo "$(part '{"alg":"none"}').$(part "{\"iss\":\"$FIRST\",\"aud\":$2,\"exp\":4000000000}").c2ln" >"$DIR/etc/$1"
	chmod 0644 "$DIR/etc/$1"
}
token_of several '["other","for-found","more"]'
token_of odd '["","for-founder","not-for-found"]'
echo opaque-token >"$DIR/etc/opaque"
chmod 0644 "$DIR/etc/opaque"
base_configuration | configure
exits "the configuration is good" 0 keyfobd --check --config "$CONFIG"
start_broker

# ask NAME [ETAG...]: the document in BODY, the head or the reason in ERR
ask() {
	"$HELPERS/ask-keyset" "$@"
}

# --- a key set ----------------------------------------------------------------------------------
curl -sS "$FIRST/jwks" >"$DIR/out/wanted"
for name in found direct elsewhere trusted; do
	exits "$name: a set is fetched" 0 ask "$name"
	check "$name: as it is at the source" cmp "$DIR/out/stdout" "$DIR/out/wanted"
	like "$name: with what the source says of it" "$ERR" "^etag=\"[0-9a-f]+\" refresh=0 same=0 length=$(stat -c %s "$DIR/out/wanted")\$"
done
etag=$(sed -n 's/^etag=\([^ ]*\) .*/\1/p' <<<"$ERR")
check "the log tells of it" logged "identity_provider=found event=keyset-fetched bytes=$(stat -c %s "$DIR/out/wanted")\$"
exits "a set that is known is not sent again" 0 ask direct "$etag"
is "but said to be current" "$ERR" "etag=$etag refresh=0 same=1 length=0"
check "the log says the same" logged 'identity_provider=direct event=keyset-fetched same=yes$'
curl -sS -f -X POST "$FIRST/emulator/rotate-keys" >/dev/null
exits "once it changed it is" 0 ask direct "$etag"
curl -sS "$FIRST/jwks" >"$DIR/out/wanted"
check "whole" cmp "$DIR/out/stdout" "$DIR/out/wanted"

# --- who may ask, and for what --------------------------------------------------------------------
exits "keyfob-verify may ask" 0 as keyfob-verify "$HELPERS/ask-keyset" direct
check "and gets the same" cmp "$DIR/out/stdout" "$DIR/out/wanted"
asked=$(requests jwks)
exits "who knows it by another configuration gets none" 8 env SOURCE=https://elsewhere "$HELPERS/ask-keyset" direct
like "and is told what to do" "$ERR" 'another configuration \(keyfob reload\)'
exits "a user may not" 4 as "$alice" "$HELPERS/ask-keyset" direct
is "and reads why" "$ERR" "only root and keyfob-verifyd may ask for that"
check "the log names him" logged "uid=$(id -u "$alice") pid=[0-9]+ event=denied request=9"
check_not "nor may a fetch" as keyfob-fetch "$HELPERS/ask-keyset" direct
check "which the log tells" logged "uid=$(id -u keyfob-fetch) pid=[0-9]+ event=denied reason=\"a fetch may not ask\""
exits "keyfob-verify may not ask for what is root's" 4 as keyfob-verify keyfob reload
exits "there is no such identity provider" 3 ask nobody
exits "a credential is none" 3 ask judged
exits "keys of a file are not fetched" 5 ask kept
like "and it says so" "$ERR" 'jwks_file'
exits "an etag that is none" 2 ask direct abc
exits "or would be two headers" 2 ask direct $'"a\r\nX: y"'
exits "or is too long" 2 ask direct "\"$(printf 'x%.0s' {1..63})\""
is "nobody was asked for these" "$(requests jwks)" "$asked"

# --- what a cloud may do wrong ----------------------------------------------------------------------
# wrong WHAT PROVIDER FAULT CODE PATTERN: its words, in the reply and in the log
wrong() {
	fault "$3" || fail "the fault $3 can be set"
	exits "$1: error $4" "$4" ask "$2"
	like "$1: the words" "$ERR" "$5"
	check "$1: in the log" logged "identity_provider=$2 event=keyset-failed class=[a-z]+ text=\".*$5"
	is "$1: nothing comes" "$OUT" ""
	no_faults
}
wrong "5 MiB" direct 'path=jwks&size=5242880' 8 'longer than 256 KiB'
wrong "a web page" direct 'path=jwks&html=1' 8 'no array|web page'
wrong "a web page with status 200" direct 'path=jwks&html=1&status=200' 8 'web page, as a proxy or a captive portal'
wrong "500" direct 'path=jwks&status=500' 8 'the key set answered 500'
wrong "404" direct 'path=jwks&status=404' 5 'answered 404; check jwks_uri='
wrong "a redirect" direct "path=jwks&redirect=$TRAP/jwks" 8 'a redirect is never followed'
wrong "cut" direct 'path=jwks&truncate=1' 8 'broke off'
wrong "throttled" direct 'path=jwks&status=429&retry_after=17' 8 'answered 429'
wrong "no JSON" direct 'path=jwks&body=%7B%22keys%22:' 8 'no usable JSON'
wrong "another JSON" direct 'path=jwks&body=%7B%22keys%22:7%7D' 8 'no array \\*"keys'
wrong "a member twice" direct 'path=jwks&body=%7B%22keys%22:%5B%5D,%22keys%22:%5B%5D%7D' 8 'twice'
wrong "escapes" direct "path=jwks&status=404&body=%1b%5B2J%0Aevent=forged" 5 'answered 404'
unlike "whose bytes are not told" "$(cat "$LOG")" $'\033|^.*event=forged'
wrong "discovery of another issuer" found "path=openid&body=%7B%22issuer%22:%22https://evil.example%22,%22jwks_uri%22:%22$TRAP/jwks%22%7D" 5 \
	'discovery names the issuer https://evil.example'
wrong "discovery that leads to plain http" found "path=openid&body=%7B%22issuer%22:%22$FIRST%22,%22jwks_uri%22:%22http://192.0.2.1/jwks%22%7D" 5 \
	'the jwks_uri that discovery names must be an https:// URL'
wrong "discovery without keys" found "path=openid&body=%7B%22issuer%22:%22$FIRST%22%7D" 5 'discovery names no jwks_uri'
wrong "discovery 5 MiB" found 'path=openid&size=5242880' 8 'longer than 64 KiB'
wrong "discovery a web page" found 'path=openid&html=1&status=200' 8 'web page'
wrong "discovery 500" found 'path=openid&status=500' 8 'discovery answered 500'
wrong "discovery 404" found 'path=openid&status=404' 5 'discovery answered 404; check issuer=, or set jwks_uri='
wrong "discovery a redirect" found "path=openid&redirect=$TRAP/d" 8 'a redirect is never followed'
wrong "discovery cut" found 'path=openid&truncate=1' 8 'broke off'
exits "another issuer than its discovery's: error 5" 5 ask stranger
like "named" "$ERR" "discovery names the issuer $FIRST, and issuer= says otherwise"
exits "nobody listens: error 8" 8 ask gone
like "named" "$ERR" 'connection refused'
exits "a certificate that nobody vouches for: error 5" 5 ask distrusted
like "named" "$ERR" 'TLS with .* failed .*ca_file='
is "no redirect was followed" "$(cat "$DIR/out/caught" 2>/dev/null)" ""
# One that takes several frames.
{ printf '{"keys":[],"x":"'; head -c 60000 /dev/zero | tr '\0' x; printf '"}'; } >"$DIR/out/large"
curl -sS -f --data-urlencode "body@$DIR/out/large" -d path=jwks "$FIRST/emulator/faults" >/dev/null || fail "a large body can be set"
exits "a large one is taken" 0 ask direct
check "whole" cmp "$DIR/out/stdout" "$DIR/out/large"
no_faults

# --- one fetch for all --------------------------------------------------------------------------------
# later NAME...: that question in the background, its exit code in a file
later() {
	local out=$DIR/out/later-$1-$2
	shift
	{ "$HELPERS/ask-keyset" "${@:2}" >"$out" 2>"$out.err"; echo $? >"$out.code"; } &
	PIDS="$PIDS $!"
}
answered() {
	[ "$(cat "$DIR"/out/later-"$1"-*.code 2>/dev/null | wc -l)" = "$2" ]
}
more_than() {
	[ "$(requests jwks)" -gt "$1" ]
}
asked=$(requests jwks)
fault 'path=jwks&delay_ms=1500'
for i in 1 2 3 4 5; do later herd "$i" direct; done
until_true 5 more_than "$asked"
later herd 6 direct "$etag"
until_true 20 answered herd 6
no_faults
is "six who ask" "$(cat "$DIR"/out/later-herd-*.code | tr -d '\n')" 000000
is "cause one fetch" "$(requests jwks)" $((asked + 1))
for i in 1 2 3 4 5 6; do cmp -s "$DIR/out/later-herd-$i" "$DIR/out/wanted" || fail "number $i got the set"; done
fault 'path=jwks&delay_ms=3000'
asked=$(requests jwks)
exits "who goes away" 0 ask direct "" 1
check "ends his fetch" until_true 2 sh -c "! pgrep -P '$(launcher)' -f keyfob-fetch"
exits "who asks again before he is answered" 0 ask direct "" 3
is "gets no answer" "$OUT" 0
is "that was begun for an earlier question" "$(requests jwks)" $((asked + 4))
exits "nor has he so much" 0 ask direct "" 6
is "but for four at a time" "$OUT" 2
check "and none of these is left" until_true 2 sh -c "! pgrep -P '$(launcher)' -f keyfob-fetch"
no_faults
exits "the next question is asked afresh" 0 ask direct

# --- a reload while it runs ------------------------------------------------------------------------------
fault 'path=jwks&delay_ms=1500'
asked=$(requests jwks)
later same 1 direct
until_true 5 more_than "$asked"
exits "a reload in which it stays as it was" 0 keyfob reload
until_true 20 answered same 1
is "lets it end" "$(cat "$DIR/out/later-same-1.code")" 0
later changed 1 direct
until_true 5 more_than $((asked + 1))
base_configuration | sed "s|^jwks_uri = $FIRST/jwks|jwks_uri = $OTHER/jwks|" | configure
exits "one that gives it another source" 0 keyfob reload
until_true 5 answered changed 1
is "sends who waits away" "$(cat "$DIR/out/later-changed-1.code")" 8
like "with words" "$(cat "$DIR/out/later-changed-1.err")" "^the configuration was read afresh meanwhile"
no_faults
exits "and the new source counts" 0 ask direct
check "at once" cmp -s "$DIR/out/stdout" <(curl -sS "$OTHER/jwks")
later removed 1 slow
CLOUD=$OTHER fault 'path=jwks&delay_ms=60000'
later removed 2 slow
sleep 0.3
base_configuration | sed '/^\[identity-provider slow\]/,/^jwks_uri/d' | configure
exits "one that removes it" 0 keyfob reload
until_true 5 answered removed 2
is "does too" "$(cat "$DIR/out/later-removed-2.code")" 8
exits "then it is not known" 3 ask slow
base_configuration | configure
exits "until it is there again" 0 keyfob reload
later slow 1 slow
for i in 2 3 4 5; do later slow "$i" "slow$i"; done
sleep 0.3
exits "sources that hang keep no other waiting" 0 timeout 10 "$HELPERS/ask-keyset" direct

# --- what status says -------------------------------------------------------------------------------------
# judged NAME: what status --json has
judged() {
	keyfob status "$1" --json | jq -r '.credentials[0] | "\(.identity_provider) \(.mismatch)"'
}
is "nobody is judged without a token" "$(judged misjudged)" "found null"
for name in judged misjudged foreign several odd opaque plain; do keyfob get "$name" >/dev/null || fail "a token for $name"; done
is "a token that fits" "$(judged judged)" "found null"
is "one for another audience" "$(judged misjudged)" "found aud is for-nobody, found wants for-found"
is "one of another issuer" "$(judged foreign)" "kept iss is $FIRST, kept wants https://kept.example.com"
is "one for several audiences" "$(judged several)" "found null"
is "of which none is right" "$(judged odd)" "found aud is , for-founder, not-for-found, found wants for-found"
is "one that is no JWT" "$(judged opaque)" "found it is no JWT that names iss and aud"
is "one that nobody is to judge" "$(judged plain)" "null null"
like "status says yes" "$(keyfob status judged)" '^  would pass found: yes, by iss and aud$'
like "or no" "$(keyfob status misjudged)" '^  would pass found: NO, aud is for-nobody, found wants for-found$'
like "and what to do" "$(keyfob status misjudged)" '^  try +set audience = for-nobody in \[identity-provider found\]'
unlike "or nothing" "$(keyfob status plain)" 'would pass'
until_true 28 answered slow 5
is "a source that is slow is not waited for without end" "$(cat "$DIR/out/later-slow-1.code")" 8
like "but named" "$(cat "$DIR/out/later-slow-1.err")" 'no whole answer from .* within 20 s'
CLOUD=$OTHER no_faults
stop_broker
start_broker
is "it says the same after a restart" "$(judged misjudged)" "found aud is for-nobody, found wants for-found"
base_configuration | sed 's/^audience = for-found/audience = for-nobody/' | configure
exits "what the identity provider wants may change" 0 keyfob reload
is "then the token fits" "$(judged misjudged)" "found null"
is "and the other does not" "$(judged judged)" "found aud is for-found, found wants for-nobody"

# --- faults of the configuration ---------------------------------------------------------------------------
refused() {
	configure
	exits "$1" 1 keyfobd --check --config "$CONFIG"
	like "$1: the words" "$ERR" "$2"
}
refused "a module that gives no tokens" 'keyfob.conf:2: the module jwks gives no tokens' <<<$'[credential x]\nprovider = jwks issuer=https://x'
refused "an identity provider that is not there" 'keyfob.conf:3: credential x: there is no identity provider found' \
	<<<$'[credential x]\nprovider = azure\nidentity_provider = found'
refused "an identity provider that is wrong" 'keyfob.conf:2: .*issuer' <<<$'[identity-provider x]\nissuer = http://login.example.com\naudience = a\nauthorization_type = user'
unlike "the modules for provider lines are listed without it" "$(keyfob module list)" '^jwks'
like "but it tells its options" "$(keyfob module show jwks)" '^gives no tokens: no provider line names it$'
stop_broker

# --- a fetch that was taken over ------------------------------------------------------------------------------
install -d -m 0755 "$DIR/modules"
install -m 0644 "$KEYFOB_PREFIX"/tree/tests/modules/{forger,jwks}.so "$DIR/modules"
export KEYFOB_MODULE_DIR=$DIR/modules
acts="data flood empty cut long unknown die token full fuller tag none"
for act in $acts; do
	printf '[credential c-%s]\nresource = x/%s\nprovider = forger\nrefresh = on-demand\n' "$act" "$act"
	provider "i-$act" issuer "https://login.example.com/$act"
done | configure
start_broker
# forged ACT CREDENTIAL-CODE KEYSET-CODE [PATTERN]
forged() {
	exits "$1 in place of a token: $2" "$2" keyfob try "c-$1"
	[ "$2" = 0 ] || like "$1: the words" "$OUT" 'keyfob-fetch sent|ended with status 0 and no result'
	exits "$1 in place of a key set: $3" "$3" ask "i-$1"
	[ "$3" = 0 ] || like "$1: the words" "$ERR" "$4"
}
forged none 0 0
is "its tag is told" "$(cut -d' ' -f1 <<<"$ERR")" 'etag="v1"'
forged tag 0 0
is "one that is none is not" "$(cut -d' ' -f1 <<<"$ERR")" 'etag='
forged data 8 0
forged flood 8 8 'sent more than the 262144 bytes'
forged full 8 0
is "full: all of it comes" "$(stat -c %s "$DIR/out/stdout")" 262144
forged fuller 8 8 'sent more than the 262144 bytes'
forged empty 8 8 'part of a document that nobody asked for'
forged cut 8 8 'part of a document'
forged long 8 8 'part of a document'
forged unknown 8 8 'a frame that is not known'
forged die 8 8 'ended with status 0 and no result'
forged token 8 8 'a malformed result'
exits "the broker goes on" 0 keyfob get c-none
finish
