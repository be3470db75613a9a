#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfob-verifyd with a real keyfobd and two clouds: what it takes and refuses, whom it tells why, the life of key sets, what it
# may do, and what it stands.
# takes long
. "$(dirname "$0")/lib.sh"

ASK=$HELPERS/ask-verifier MINT=$HELPERS/mint KEYS=$DIR/keys
new_user
SERVICE_USER=$USER_NAME
new_user
STRANGER=$USER_NAME

# --- scene ------------------------------------------------------------------------------------

install -d -m 0700 "$KEYS"
"$MINT" keys "$KEYS" || exit 1
cp "$KEYS/jwks.json" "$DIR/etc/jwks.json"
chmod 0644 "$DIR/etc/jwks.json"
start_emulator
SERVED=$CLOUD SERVED_PID=$EMULATOR
start_emulator

serve_keys() { # PEM-BY-KID...: what the second cloud's JWKS holds
	curl -sS -f -X POST "$SERVED/emulator/faults" -d path=jwks --data-urlencode "body=$("$MINT" jwks "$@")" -d "${EXTRA:-count=100000}" >/dev/null
}
serve_keys "one=$KEYS/rsa.pem" "ec=$KEYS/p256.pem"
served_requests() {
	curl -sS "$SERVED/emulator/counters" | jq .jwks.requests
}

imds() { # [QUERY-OF-A-FAULT]
	[ -z "${1:-}" ] || fault "path=imds&$1" || exit 1
	curl -sS -f -H 'Metadata: true' "$CLOUD/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://orders" | jq -j .access_token
	no_faults
}
claim() { # NAME, of the token on stdin
	jq -rR "split(\".\")[1] | gsub(\"-\";\"+\") | gsub(\"_\";\"/\") | @base64d | fromjson | .$1"
}
SUBJECT=$(imds | claim sub)

write_config() {
	configure <<-END
		[identity-provider emulator]
		issuer = $CLOUD
		audience = api://orders
		authorization_type = user
		[identity-provider minted]
		issuer = https://minted.example
		audience = orders
		authorization_type = user
		jwks_file = $DIR/etc/jwks.json
		[identity-provider grouped]
		issuer = https://minted.example
		audience = grouped
		authorization_type = group
		jwks_file = $DIR/etc/jwks.json
		[identity-provider served]
		issuer = https://served.example
		audience = orders
		authorization_type = user
		jwks_uri = $SERVED/jwks
		[identity-provider broken]
		issuer = https://broken.example
		audience = orders
		authorization_type = user
		jwks_uri = $SERVED/nothing-here
		[identity-provider apart]
		issuer = https://apart.example
		audience = orders
		authorization_type = user
		jwks_file = $DIR/etc/jwks.json
		[organization acme]
		services = postgresql mariadb pinned
		identity_providers = emulator minted grouped served broken
		[service pinned]
		allow = user:$SERVICE_USER
		[database-user emulated]
		service = postgresql
		identity_provider = emulator
		user_id = $SUBJECT
		[database-user orders]
		service = postgresql
		identity_provider = minted
		user_id = alice
		account = orders_rw
		[database-user pinned]
		service = pinned
		identity_provider = minted
		user_id = alice
		login = orders
		[database-user readers]
		service = postgresql
		identity_provider = grouped
		group_id = db-readers
		[database-user writers]
		service = postgresql
		identity_provider = grouped
		group_id = db-writers
		login = readers
		account = writer
		[database-user served]
		service = postgresql
		identity_provider = served
		user_id = alice
		[database-user broken]
		service = postgresql
		identity_provider = broken
		user_id = alice
		[database-user apart]
		service = postgresql
		identity_provider = apart
		user_id = alice
		$*
	END
	chmod 0644 "$CONFIG"
}

# token ISSUER AUDIENCE OPTION...: by default one that is good
token() {
	local issuer=$1 audience=$2 name option given=" "
	shift 2
	for option; do given="$given$option "; done
	for name in '--key rsa' '--alg RS256' '--kid rsa' '--life 600'; do
		[[ $given == *" ${name%% *} "* ]] || set -- "$@" "${name%% *}" "${name#* }"
	done
	[[ $given == *" --claims "* || $given == *" --raw-claims "* ]] ||
		set -- "$@" --claims "{\"iss\":\"$issuer\",\"aud\":\"$audience\",\"sub\":\"alice\",\"groups\":[\"db-readers\"]}"
	local words=()
	while [ $# -gt 0 ]; do
		words+=("$1")
		if [ "$1" = --key ]; then
			words+=("$KEYS/$2.pem")
			shift
		fi
		shift
	done
	"$MINT" token "${words[@]}"
}
minted() {
	token https://minted.example orders "$@"
}
served() { # KID OPTION...
	token https://served.example orders --kid "$@"
}

# judge TOKEN [SERVICE LOGIN]: as root
judge() {
	printf %s "$1" >"$DIR/out/token"
	OUT=$("$ASK" token "${2:-postgresql}" "${3:-orders}" <"$DIR/out/token" 2>"$DIR/out/err")
	CODE=$? ERR=$(cat "$DIR/out/err")
}
judge_as() { # USER TOKEN SERVICE LOGIN
	printf %s "$2" >"$DIR/out/token"
	OUT=$(as "$1" "$ASK" token "$3" "$4" <"$DIR/out/token" 2>"$DIR/out/err")
	CODE=$? ERR=$(cat "$DIR/out/err")
}
VALID=0 INVALID=0 VALID_REFUSED=0 INVALID_ACCEPTED=0
accepted() { # WHAT ANSWER TOKEN [SERVICE LOGIN]
	local what=$1 answer=$2
	shift 2
	judge "$@"
	VALID=$((VALID + 1))
	[ "$CODE" = 0 ] || VALID_REFUSED=$((VALID_REFUSED + 1))
	like "accepted: $what" "$CODE $OUT $ERR" "^0 $answer [0-9]+ \$"
}
# refused WHAT REASON TOKEN [SERVICE LOGIN]: root is told why, the service is not
refused() {
	local what=$1 reason=$2 code=${EXPECTED:-7} told=${TOLD:-refused}
	shift 2
	judge "$@"
	INVALID=$((INVALID + 1))
	[ "$CODE" != 0 ] || INVALID_ACCEPTED=$((INVALID_ACCEPTED + 1))
	like "refused: $what" "$CODE $ERR" "^$code $reason: "
	judge_as "$SERVICE_USER" "$1" "${2:-postgresql}" "${3:-orders}"
	is "refused without a reason to others: $what" "$CODE $ERR" "$code $told"
}
keyset() { # NAME
	"$ASK" keysets "$1"
}

write_config
start_broker
start_verifier
until_true 10 eval 'keyset emulator | grep -q good && keyset served | grep -q good' || fail "key sets come" "$(keyset '')"

# --- rights -------------------------------------------------------------------------------------

status() {
	sed -n "s/^$1:[[:space:]]*//p" "/proc/$VERIFIER/status" | tr '\t' ' '
}
VERIFY_UID=$(id -u keyfob-verify) VERIFY_GID=$(id -g keyfob-verify)
is "it runs as keyfob-verify" "$(status Uid) / $(status Gid)" \
	"$VERIFY_UID $VERIFY_UID $VERIFY_UID $VERIFY_UID / $VERIFY_GID $VERIFY_GID $VERIFY_GID $VERIFY_GID"
is "in no other group" "$(status Groups)" ""
is "without capabilities" "$(status CapEff) $(status CapPrm) $(status CapInh) $(status CapAmb)" \
	"0000000000000000 0000000000000000 0000000000000000 0000000000000000"
is "filtered, and without new privileges" "$(status Seccomp) $(status NoNewPrivs)" "2 1"
is "one thread" "$(status Threads)" 1
is "no network socket" "$(find "/proc/$VERIFIER/fd" -lname 'socket:*' -printf '%l\n' | tr -dc '0-9\n' |
	while read -r inode; do grep -w "$inode" /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 /proc/net/netlink; done)" ""
is "no core file" "$(awk '/^Max core file size/ { print $5, $6 }' "/proc/$VERIFIER/limits")" "0 0"
is "not dumpable: root's" "$(stat -c %U "/proc/$VERIFIER/environ")" root
is "the socket is root's" "$(stat -c '%U %a' "$KEYFOB_VERIFY_SOCKET")" "root 666"
is "the state directory" "$(stat -c '%U %a' "$DIR/state")" "keyfob-verify 700"

# --- good tokens ----------------------------------------------------------------------------------

accepted "of the emulator's IMDS" "emulated emulator $SUBJECT" "$(imds)" postgresql emulated
accepted "the same signed by ES256" "emulated emulator $SUBJECT" "$(imds alg=ES256)" postgresql emulated
for pair in rsa:RS256 rsa:RS384 rsa:RS512 rsa:PS256 rsa:PS384 rsa:PS512 p256:ES256 p384:ES384 p521:ES512 ed25519:EdDSA; do
	accepted "signed by ${pair#*:}" "orders_rw minted alice" "$(minted --key "${pair%:*}" --kid "${pair%:*}" --alg "${pair#*:}")"
done
accepted "by group" "readers grouped alice" "$(token https://minted.example grouped)" postgresql readers
accepted "by another group, that shares the login" "writer grouped alice" \
	"$(token - - --claims '{"iss":"https://minted.example","aud":"grouped","sub":"alice","groups":["db-writers"]}')" postgresql readers
accepted "of 16 KiB" "orders_rw minted alice" "$(minted --length 16384)"
GOOD=$(minted)
accepted "of the pinned service, to root" "orders minted alice" "$GOOD" pinned orders
judge_as "$SERVICE_USER" "$GOOD" pinned orders
like "to the user it is pinned to" "$CODE $OUT" '^0 orders minted alice '
judge_as "$STRANGER" "$GOOD" pinned orders
is "and not to others" "$CODE $ERR" "4 not allowed to ask for this service"
judge_as "$STRANGER" "$GOOD" postgresql orders
like "a service that is not pinned: to anybody" "$CODE $OUT" '^0 orders_rw minted alice '
until_true 5 logged "event=verdict result=refused service=\"pinned\" login=\"orders\" uid=$(id -u "$STRANGER") .* reason=ASKER$"
is "that is in the log" $? 0

# --- bad ones -----------------------------------------------------------------------------------

refused "empty" TOKEN_SIZE ""
refused "a password" TOKEN_FORM hunter2
refused "opaque" TOKEN_FORM "$(imds opaque=1)" postgresql emulated
refused "too long" TOKEN_SIZE "$(minted --length 16385)"
refused "cut at 1023 bytes" TOKEN_TRUNCATED "$(minted --length 2000 | head -c 1023)"
refused "alg none" ALG_NOT_ALLOWED "$(minted --alg none)"
refused "HS256 with the public key" ALG_NOT_ALLOWED "$(minted --alg HS256)"
refused "signature spoiled" SIGNATURE "$(minted --spoil signature)"
refused "claims changed" '(SIGNATURE|CLAIMS|ISS|AUD|EXP|EXPIRED|TOKEN_ENCODING)' "$(minted --spoil claims)"
refused "signature taken off" '(SIGNATURE|TOKEN_FORM)' "$(minted --spoil stripped)"
refused "of another key with that kid" SIGNATURE "$(minted --key rsa2)"
refused "a character that is none" TOKEN_ENCODING "$(minted --spoil alphabet)"
refused "loose bits at the end" TOKEN_ENCODING "$(minted --spoil loose)"
refused "padded" TOKEN_ENCODING "$(minted --spoil padding)"
refused "a fourth part" TOKEN_FORM "$(minted --spoil part)"
refused "crit" CRIT "$(minted --header '{"crit":["exp"]}')"
refused "another type of token" TYP "$(minted --header '{"typ":"logout+jwt"}')"
refused "an alg of another key" KEY_UNUSABLE "$(minted --key rsa --kid p256)"
refused "a member twice in the header" HEADER "$(minted --raw-header '{"alg":"RS256","alg":"RS256","kid":"rsa"}')"
refused "a member twice in the claims" CLAIMS \
	"$(minted --raw-claims '{"iss":"https://minted.example","aud":"orders","sub":"alice","sub":"bob","exp":9999999999}')"
refused "expired" EXPIRED "$(minted --life -1)"
refused "expired, of the emulator" EXPIRED "$(imds lifetime=-10)" postgresql emulated
refused "without exp" EXP "$(minted --raw-claims '{"iss":"https://minted.example","aud":"orders","sub":"alice"}')"
refused "not yet valid" NOT_YET \
	"$(minted --claims "{\"iss\":\"https://minted.example\",\"aud\":\"orders\",\"sub\":\"alice\",\"nbf\":$(($(date +%s) + 300))}")"
refused "another issuer" ISS "$(token https://elsewhere.example orders)"
refused "another issuer, of the emulator" ISS "$(imds issuer=https://elsewhere.example)" postgresql emulated
refused "another audience" AUD "$(token https://minted.example payroll)"
refused "a kid that the file does not have" KID_UNKNOWN "$(minted --kid nobody)"
refused "another user" USER_NOT_ADDED "$(minted --claims '{"iss":"https://minted.example","aud":"orders","sub":"mallory"}')"
refused "another group" GROUP_NOT_ADDED \
	"$(token - - --claims '{"iss":"https://minted.example","aud":"grouped","sub":"alice","groups":["others"]}')" postgresql readers
refused "no groups" GROUPS_CLAIM "$(token - - --claims '{"iss":"https://minted.example","aud":"grouped","sub":"alice"}')" postgresql readers
refused "a login that nobody has" LOGIN_UNKNOWN "$GOOD" postgresql nobody
refused "a service that nobody has" '(NOT_CONNECTED|LOGIN_UNKNOWN)' "$GOOD" oracle orders
refused "an identity provider that is not connected" NOT_CONNECTED "$(token https://apart.example orders)" postgresql apart
EXPECTED=8 TOLD='no keys to judge by right now' refused "no key set could be had" KEYS_MISSING "$(token https://broken.example orders)" \
	postgresql broken

# --- the log ----------------------------------------------------------------------------------------

judge "$GOOD" postgresql $'x" result=accepted reason=OK\nevent=verdict result=accepted \xff'
like "a login that means ill is refused" "$CODE $ERR" '^7 LOGIN_UNKNOWN'
like "and is one value of one line" "$(grep -a 'result=accepted reason' "$LOG")" \
	'^keyfob-verifyd: event=verdict result=refused service="postgresql" login="x\\" result=accepted reason=OK\\x0aevent=verdict result=accepted \\xff" uid=0 pid=[0-9]+ identity_provider=minted subject="alice" account="" fingerprint=[0-9a-f]{8} reason=LOGIN_UNKNOWN'
like "a good one's line" "$(grep -a 'result=accepted.*account="orders_rw"' "$LOG" | head -n 1)" \
	'event=verdict result=accepted service="postgresql" login="orders" uid=0 pid=[0-9]+ identity_provider=minted subject="alice" account="orders_rw" fingerprint=[0-9a-f]{8} reason=OK$'
is "the fingerprint is the token's" "$(grep -c "fingerprint=$(printf %s "$GOOD" | sha256sum | head -c 8) " "$LOG")" \
	"$(grep -c "fingerprint=$(printf %s "$GOOD" | sha256sum | head -c 8)" "$LOG")"
is "no part of a token stands in the log" "$(grep -cE 'eyJ[A-Za-z0-9_-]{10}' "$LOG")" 0

before=$(grep -c 'event=verdict' "$LOG")
yes refused | head -n 3000 >"$DIR/out/loop"
like "3,000 refusals of a stranger" "$(as "$STRANGER" "$ASK" tokens postgresql orders <"$DIR/out/loop")" '^7:3000 '
check "do not fill the log" [ "$(($(grep -c 'event=verdict' "$LOG") - before))" -lt 3000 ]
check "which tells that" logged "event=not-logged uid=$(id -u "$STRANGER") pid=[0-9]+; more than 100 in a second"
judge_as "$STRANGER" "$GOOD" postgresql orders
is "who is let in is told in any case" "$CODE $(grep -c "result=accepted .*uid=$(id -u "$STRANGER") " "$LOG")" "0 2"

# --- account and explain -------------------------------------------------------------------------------

exits "account: a database user" 0 as "$SERVICE_USER" "$ASK" account postgresql orders
is "account: who he is" "${OUT% }" orders_rw
for account in readers writer; do
	exits "account: $account, of two who share a login" 0 as "$SERVICE_USER" "$ASK" account postgresql readers "$account"
	is "account: he stays who he is, $account" "${OUT% }" "$account"
done
exits "account: nobody" 3 as "$SERVICE_USER" "$ASK" account postgresql nobody
exits "account: not connected" 7 as "$SERVICE_USER" "$ASK" account postgresql apart
is "account: why is not told" "$ERR" refused
exits "account: why is told to root" 7 "$ASK" account postgresql apart
like "account: why" "$ERR" '^NOT_CONNECTED: '
exits "account: of a pinned service" 4 as "$STRANGER" "$ASK" account pinned orders
explain() {
	printf %s "$2" | "$ASK" explain "$1"
}
exits "explain" 0 explain "" "$GOOD"
like "explain: who it is" "$OUT" '^minted alice [0-9]+$'
exits "explain: by a provider that it is not for" 7 explain grouped "$GOOD"
like "explain: why not" "$ERR" '^AUD: '
exits "explain: no such provider" 3 explain nobody "$GOOD"
for verb in 'explain minted' 'keysets minted' 'refresh minted' 'revoke minted' reload; do
	# shellcheck disable=SC2086
	exits "$verb: root's" 4 as "$STRANGER" "$ASK" $verb </dev/null
done

# --- reload -----------------------------------------------------------------------------------------------

write_config $'[database-user orders2]\nservice = postgresql\nidentity_provider = minted\nuser_id = alice'
exits "reload" 0 "$ASK" reload
accepted "by a database user who is new" "orders2 minted alice" "$GOOD" postgresql orders2
write_config
"$ASK" reload
refused "by one who is gone, though remembered" LOGIN_UNKNOWN "$GOOD" postgresql orders2
write_config $'[database-user faulty]\nservice = postgresql\nidentity_provider = nobody\nuser_id = alice'
exits "reload of a faulty configuration" 1 "$ASK" reload
like "says where" "$ERR" "^$CONFIG:[0-9]+: .*nobody.*; the old configuration stays"
accepted "the old configuration stays" "orders_rw minted alice" "$GOOD"
check "and the log says so" logged 'event=reload-failed; the old configuration stays'
write_config $'[service new]\nallow = user:'"$STRANGER"
kill -HUP "$VERIFIER"
check "SIGHUP, and a name is looked up in the sandbox" until_true 5 eval 'tail -n 3 "$LOG" | grep -q event=reloaded'
chmod 0600 "$CONFIG"
exits "a configuration that it may not read" 1 "$ASK" reload
like "is named with what to do" "$ERR" "$CONFIG: Permission denied .*chmod 0644"
exits "--check finds that" 1 keyfob-verifyd --check --config "$CONFIG"
chmod 0644 "$CONFIG"
exits "--check" 0 keyfob-verifyd --check --config "$CONFIG"
like "says what there is" "$ERR" '6 identity providers, 8 database users, no fault found'
exits "not as somebody else" 1 as "$STRANGER" keyfob-verifyd --config "$CONFIG" --socket "$DIR/out/no.sock" --state "$DIR/state"
like "which is told" "$ERR" 'must be started as root or as keyfob-verify'
exits "not beside another" 1 keyfob-verifyd --config "$CONFIG" --state "$DIR/state"
like "which is told, too" "$ERR" 'another one serves there'
write_config

# --- what others may do to it ------------------------------------------------------------------------------

hostile() {
	as "$STRANGER" env "KEYFOB_SOCKET=$KEYFOB_VERIFY_SOCKET" "$HELPERS/hostile-client" "$@"
}
frames=$(hostile frames)
check "malformed frames are answered" [ "$(grep -cE ': (2|4)$' <<<"$frames")" -ge 20 ]
is "each of them, but for what is no frame" "$(grep -vE ': (2|4)$|^(64 KiB and one|200 KB|empty frame)' <<<"$frames")" ""
like "noise" "$(hostile noise 2000)" '^[0-9]+ of 2000 refused$'
like "descriptors" "$(hostile descriptors 200)" '^descriptors: (2|4|refused)$'
like "a descriptor that lingers holds nobody up" "$(as "$STRANGER" "$ASK" tcp)" '^3 after [0-9]{1,4} ms$'
hostile leave 500 x
hostile silent 1200 >"$DIR/out/silent" &
HOLDER=$!
check "a user holds connections" until_true 5 eval '[ "$(find "/proc/$VERIFIER/fd" -lname "socket:*" | wc -l)" -gt 1024 ]'
accepted "while he holds all that he may" "orders_rw minted alice" "$GOOD"
judge_as "$STRANGER" "$GOOD" postgresql orders
like "who himself is told to come again" "$CODE $ERR" '^8 uid [0-9]+ has 1024 requests waiting'
wait "$HOLDER"
like "and is sent away, for he says nothing" "$(cat "$DIR/out/silent")" '^1024 closed after [0-9]+ s$'
check "it is still there" kill -0 "$VERIFIER"
accepted "after all that" "orders_rw minted alice" "$GOOD"

# --- key sets ------------------------------------------------------------------------------------------------

like "keysets" "$(keyset served)" '^served good epoch=0 failures=0 keys=2 one/RSA-2048 ec/P-256$'
like "keysets: one that is missing" "$(keyset broken)" '^broken missing epoch=0 failures=[1-9].* keys=0 error: .*404'
is "keysets: all of them, in order" "$("$ASK" keysets '' | cut -d' ' -f1 | tr '\n' ' ')" "apart broken emulator grouped minted served "
exits "keysets: no such provider" 3 "$ASK" keysets nobody
exits "refresh" 0 "$ASK" refresh served
is "refresh: keys" "$OUT" 2
exits "refresh: no such provider" 3 "$ASK" refresh nobody
exits "refresh: of a file" 0 "$ASK" refresh minted
exits "refresh: the provider refuses" 5 "$ASK" refresh broken
like "refresh: in its words" "$ERR" 404
curl -sS -f -X POST "$SERVED/emulator/faults" -d path=jwks -d 'body={"keys":[]}' >/dev/null
exits "refresh: an empty set is none" 5 "$ASK" refresh served
like "and the old one is used" "$(keyset served)" '^served stale epoch=0 failures=1 keys=2 .*error: '
accepted "by the old one" "served served alice" "$(served one)" postgresql served

# A fetch is under way: who needs what it brings waits for it, others don't.
EXTRA=delay_ms=600 serve_keys "one=$KEYS/rsa.pem" "two=$KEYS/rsa2.pem"
before=$(served_requests)
"$ASK" refresh served >/dev/null &
until_true 5 eval '[ "$(served_requests)" -gt "$before" ]'
accepted "a known key meanwhile" "served served alice" "$(served one)" postgresql served
accepted "a new key, once it has come" "served served alice" "$(served two --key rsa2)" postgresql served
wait $!
refused "a key that was taken out" KID_UNKNOWN_COOLDOWN "$(served ec --key p256 --alg ES256)" postgresql served

EXTRA=delay_ms=4000 serve_keys "one=$KEYS/rsa.pem" "two=$KEYS/rsa2.pem"
before=$(served_requests)
"$ASK" refresh served >/dev/null &
until_true 5 eval '[ "$(served_requests)" -gt "$before" ]'
printf %s "$(served three --key rsa2)" >"$DIR/out/token"
crowd=$("$ASK" at-once 600 postgresql served <"$DIR/out/token")
like "600 that wait in vain: refused before the fetch ends" "$crowd" '^7:600 slowest=(1[5-9]|[23][0-9])[0-9]{2}$'
accepted "a known key meanwhile, again" "served served alice" "$(served one)" postgresql served
wait $!

# A revoke while a fetch runs: what that brings does not count.
serve_keys "one=$KEYS/rsa.pem"
"$ASK" refresh served >/dev/null
EXTRA=delay_ms=8000 serve_keys "one=$KEYS/rsa.pem"
before=$(served_requests)
"$ASK" refresh served >"$DIR/out/refresh" 2>&1 &
until_true 5 eval '[ "$(served_requests)" -gt "$before" ]'
OLD=$(served one)
exits "revoke while a fetch runs" 0 "$ASK" revoke served
is "revoke: the epoch" "$OUT" 1
refused "right after the revoke" REVOKED "$OLD" postgresql served
sleep 1 # then what is issued is of a later second
EXPECTED=8 TOLD='no keys to judge by right now' refused "a new one while there are no keys" KEYS_REVOKED "$(served one)" postgresql served
wait $!
is "who waited for a fetch got the one after the revoke" "$(cat "$DIR/out/refresh")" 1
is "which was a fetch of its own" "$(($(served_requests) - before))" 2
accepted "the same key, fetched since" "served served alice" "$(served one)" postgresql served
refused "but not what it signed before" REVOKED "$OLD" postgresql served
refused "nor what does not say since when it is" REVOKED \
	"$(served one --claims '{"iss":"https://served.example","aud":"orders","sub":"alice","iat":null}')" postgresql served
accepted "what says so otherwise" "served served alice" \
	"$(served one --claims "{\"iss\":\"https://served.example\",\"aud\":\"orders\",\"sub\":\"alice\",\"iat\":null,\"nbf\":$(date +%s)}")" postgresql served

# A revoke holds over a restart, until the provider has been asked.
curl -sS -f -X POST "$SERVED/emulator/faults" -d path=jwks -d status=503 >/dev/null
OLD=$(served one)
exits "revoke while the provider is down" 0 "$ASK" revoke served
refused "revoked" REVOKED "$OLD" postgresql served
sleep 1
EXPECTED=8 TOLD='no keys to judge by right now' refused "revoked, a new one" KEYS_REVOKED "$(served one)" postgresql served
stop_verifier
start_verifier
EXPECTED=8 TOLD='no keys to judge by right now' refused "revoked, after a restart" KEYS_REVOKED "$(served one)" postgresql served
like "revoked: it says so" "$(keyset served)" '^served revoked epoch=2 .*503'
serve_keys "one=$KEYS/rsa.pem"
exits "the provider is back" 0 "$ASK" refresh served
accepted "as before" "served served alice" "$(served one)" postgresql served
refused "what is from before the revoke, after a restart" REVOKED "$OLD" postgresql served

exits "revoke of a file's keys" 0 "$ASK" revoke minted
refused "of a file that was revoked" REVOKED "$GOOD"
like "and another one's keys of that file with it" "$(keyset grouped)" '^grouped revoked epoch=1 '
sleep 1
EXPECTED=8 TOLD='no keys to judge by right now' refused "of a file that was revoked, a new one" KEYS_REVOKED "$(minted)"
exits "refresh of a file's keys" 0 "$ASK" refresh minted
GOOD=$(minted)
accepted "of the file, read again" "orders_rw minted alice" "$GOOD"
accepted "for the other one, too" "readers grouped alice" "$(token https://minted.example grouped)" postgresql readers

# --- the others go away --------------------------------------------------------------------------------------------

kill "$SERVED_PID"
wait "$SERVED_PID" 2>/dev/null
exits "refresh: the provider is down" 8 "$ASK" refresh served
accepted "the kept set while the provider is down" "served served alice" "$(served one)" postgresql served
stop_verifier KILL
start_verifier
accepted "the kept set after a kill and a restart" "served served alice" "$(served one)" postgresql served
stop_broker KILL
accepted "without a broker" "served served alice" "$(served one)" postgresql served
exits "refresh without a broker" 8 "$ASK" refresh served
like "says so" "$ERR" "cannot reach the broker at $KEYFOB_SOCKET"
"$ASK" refresh emulator >"$DIR/out/refresh" 2>&1 &
asker=$!
sleep 0.3
start_broker
wait "$asker"
is "a broker that is restarted is waited for" "$(cat "$DIR/out/refresh")" 2
FETCHED=$(date +%s)

# The verifier has read a configuration that the broker reads a moment later.
write_config $'[identity-provider later]\nissuer = https://later.example\naudience = orders\nauthorization_type = user\njwks_uri = '"$CLOUD/jwks"
exits "reload of the verifier" 0 "$ASK" reload
sleep 0.3
kill -HUP "$BROKER"
check "the keys come when the broker knows, too" until_true 10 eval 'keyset later | grep -q good'
is "without a failure" "$(keyset later | cut -d' ' -f4)" failures=0

# --- a new key, and many that are none --------------------------------------------------------------------------------

# Fetches are a minute apart.
until [ "$(date +%s)" -gt $((FETCHED + 60)) ]; do sleep 1; done
curl -sS -f -X POST "$CLOUD/emulator/rotate-keys" >/dev/null
rotate
before=$(requests jwks)
accepted "signed by a key that is new" "emulated emulator $SUBJECT" "$(imds)" postgresql emulated
is "for that the keys were fetched once" "$(($(requests jwks) - before))" 1
curl -sS -f -X POST "$CLOUD/emulator/rotate-keys" >/dev/null
rotate
refused "by a newer one within the minute" KID_UNKNOWN_COOLDOWN "$(imds)" postgresql emulated
is "for that they were not fetched" "$(($(requests jwks) - before))" 1

"$MINT" token --key "$KEYS/rsa.pem" --alg RS256 --kid random --life 600 --count 5000 \
	--claims "{\"iss\":\"$CLOUD\",\"aud\":\"api://orders\",\"sub\":\"$SUBJECT\"}" >"$DIR/out/tokens"
flood=$("$ASK" tokens postgresql emulated <"$DIR/out/tokens")
INVALID=$((INVALID + 5000))
like "5,000 kids that nobody has are all refused" "$flood" '^7:5000 slowest='
check "for them there was one fetch at most" [ "$(($(requests jwks) - before))" -le 2 ]
accepted "the other provider meanwhile" "orders_rw minted alice" "$GOOD"
is "no part of a token stands in the log, at the end" "$(grep -cE 'eyJ[A-Za-z0-9_-]{10}' "$LOG")" 0
stop_verifier
check "SIGTERM ends it in order" logged 'keyfob-verifyd: event=stopped'
# --- under a supervisor, as the user that it is to be -------------------------------------------------------------------

"$HELPERS/supervise" "$DIR/out/notified" "$DIR/run/notify" "$KEYFOB_VERIFY_SOCKET" -- \
	setpriv --reuid=keyfob-verify --regid=keyfob-verify --clear-groups keyfob-verifyd --config "$CONFIG" \
	--socket "$KEYFOB_VERIFY_SOCKET" --broker "$KEYFOB_SOCKET" --state "$DIR/state" >>"$LOG" 2>&1 &
VERIFIER=$!
PIDS="$PIDS $VERIFIER"
check "it says when it is ready" until_true 10 grep -qx READY=1 "$DIR/out/notified"
judge_as "$SERVICE_USER" "$GOOD" postgresql orders
like "with the supervisor's socket it judges" "$CODE $OUT" '^0 orders_rw minted alice '
kill -HUP "$VERIFIER"
check "it says that it reloads" until_true 10 grep -q 'RELOADING=1 MONOTONIC_USEC=' "$DIR/out/notified"
kill "$VERIFIER"
wait "$VERIFIER"
is "it says that it stops" "$(tail -n 2 "$DIR/out/notified" | tr '\n' ' ')" "STOPPING=1 exit 0 "
check_not "and had no warning about its socket" logged 'the socket is not root'

# A stranger's socket is not the broker, whatever its name. It would say which keys are believed.
install -d -o "$STRANGER" "$DIR/theirs"
setpriv --reuid="$STRANGER" --regid="$STRANGER" --init-groups "$HELPERS/supervise" "$DIR/theirs/notified" "$DIR/theirs/notify" "$DIR/theirs/keyfob.sock" -- sleep 60 &
TRAP=$!
PIDS="$PIDS $TRAP"
until_true 5 test -S "$DIR/theirs/keyfob.sock"
start_verifier --broker "$DIR/theirs/keyfob.sock"
exits "key sets from a stranger" 8 "$ASK" refresh emulator
like "are not asked for" "$ERR" "not the broker's, but a stranger's socket at $DIR/theirs/keyfob.sock"
stop_verifier
kill "$TRAP" && wait "$TRAP"

echo "# invalid tokens tried $INVALID, accepted $INVALID_ACCEPTED; valid ones tried $VALID, refused $VALID_REFUSED"
is "no invalid token was accepted, and no valid one refused" "$INVALID_ACCEPTED $VALID_REFUSED" "0 0"
finish
