#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Logins at a real PostgreSQL with a token as the password: from the cloud through keyfobd, the kernel keyring, libkeyfob,
# psql, PAM and the verifier. Everything that an administrator does on the way is done with keyfob's own verbs.
# takes long
. "$(dirname "$0")/accept.inc"
[ -n "$PG_BIN" ] || { echo "1..0 # SKIP no PostgreSQL: make deps"; exit 0; }

examples=$(cd "$(dirname "$0")/../../examples" && pwd)
new_workload
make_corp
start_emulator
staff='"iss":"'$CORP'","aud":"databases","sub":"ann","groups":["staff","9c1f-reporting"]'
token staff "{$staff}"
install -m 0644 "$DIR/tokens/staff" "$DIR/etc/staff.jwt"
configure <<EOI
[credential pg]
resource = api://databases
provider = azure endpoint=$CLOUD
allow = user:$WORKLOAD
file = pgpass 127.0.0.1:*:*:orders_rw

[credential staff]
provider = file path=$DIR/etc/staff.jwt
allow = user:$WORKLOAD
EOI
start_broker
# As an administrator finds it: from a token.
subject=$(claim "$(keyfob get pg)" sub)

keyfob() {
	command keyfob --config "$CONFIG" "$@"
}
check "an identity provider by user id" keyfob idp add entra --issuer "$CLOUD" --audience api://databases --type user
check "another by group" keyfob idp add corp --issuer "$CORP" --audience databases --type group --jwks-file "$DIR/etc/corp.jwks"
check "their organization" keyfob org add acme --services postgresql --services reports --services pinned --idp entra --idp corp
check "a database user by user id" keyfob dbuser add orders_rw --service postgresql --idp entra --user-id "$subject"
check "the same in another service" keyfob dbuser add orders_reports --service reports --idp entra --user-id "$subject" --login orders_rw
check "and in one that other users ask for" keyfob dbuser add other --service pinned --idp entra --user-id "$subject"
check "a database user by group" keyfob dbuser add reporting --service postgresql --idp corp --group-id 9c1f-reporting
# Long tokens are for who wants them.
for idp in entra corp; do echo 'max_token_size = 65536' >>"$DIR/etc/conf.d/idp-$idp.conf"; done
make_postgresql <<EOI
host reports other 127.0.0.1/32 pam pamservice=pinned
host reports all 127.0.0.1/32 pam pamservice=reports
host all all 127.0.0.1/32 pam pamservice=postgresql
EOI
printf '\n[service postgresql]\nallow = user:%s\n\n[service pinned]\nallow = user:%s\n' "$PG_USER" "$WORKLOAD" >>"$CONFIG"
keyfob reload >/dev/null
start_verifier
pam_service postgresql
pam_service reports
pam_service pinned
start_postgresql
pg_admin 'create role orders_rw login; create role reporting login; create role other login; create role boss login superuser;
	create table orders (n int); create table salaries (n int); insert into orders values (7);
	grant select, insert on orders to orders_rw; grant select on orders to reporting'
pg_admin 'create database reports'

# login CREDENTIAL|@FILE ROLE [SQL [DATABASE]]
login() {
	psql_login "$1" "$PG_PORT" "${4:-postgres}" "$2" "${3:-select current_user}"
}
# forged NAME REASON DESCRIPTION: the token of that name is refused
forged() {
	invalid "refused: $3" "$2" login "@$DIR/tokens/$1" reporting
}

# --- logins --------------------------------------------------------------------------
valid "by user id, the token out of the keyring" login pg orders_rw
is "it is that role" "$OUT" orders_rw
like "the token was in the kernel keyring" "$(as "$WORKLOAD" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:pg')" '^eyJ'
# After a login psql just works.
cat >"$DIR/after-login" <<EOI
#!/bin/sh
exec setpriv --reuid=$WORKLOAD --regid=$WORKLOAD --init-groups psql -X -w -q -A -t -h 127.0.0.1 -p $PG_PORT -U orders_rw -d postgres -c 'select current_user'
EOI
chmod 0755 "$DIR/after-login"
printf 'session optional pam_keyinit.so force revoke\nsession required %s broker=%s\nsession required pam_exec.so stdout %s\n' \
	"$MODULE" "$KEYFOB_SOCKET" "$DIR/after-login" >/etc/pam.d/shell
check "the broker keeps a pgpass file" until_true 10 grep -q orders_rw "$DIR/run/token/$WORKLOAD/pgpass"
valid "in a session of PAM's, with nothing said of a password" pamtester shell "$WORKLOAD" open_session
like "it is that role" "$OUT" '^orders_rw$'
valid "by group" login staff reporting
is "it is that role, too" "$OUT" reporting
check "the log says who" logged "event=verdict result=accepted service=\"?postgresql.*login=\"?orders_rw.*identity_provider=\"?entra.*subject=\"?$subject"

# --- what the role may do is the database's affair --------------------------------------
valid "GRANT: it inserts" login pg orders_rw 'insert into orders values (8) returning n'
is "that row" "$OUT" 8
valid "GRANT: it reads" login staff reporting 'select count(*) from orders'
is "those rows" "$OUT" 2
check_not "no GRANT, no insert" login staff reporting 'insert into orders values (9)'
check_not "no GRANT, no table" login pg orders_rw 'select * from salaries'

while read -r alg key; do
	token "$alg" "{$staff}" --key "$DIR/keys/$key.pem" --kid "$key" --alg "$alg"
	valid "signed by $alg" login "@$DIR/tokens/$alg" reporting
done <<EOI
RS384 rsa
RS512 rsa
PS256 rsa
PS384 rsa2
PS512 rsa
ES256 p256
ES384 p384
ES512 p521
EdDSA ed25519
Ed25519 ed25519
EOI
valid "the example logs in" workload sh -s pg 127.0.0.1 "$PG_PORT" postgres orders_rw -X -q -A -t -c 'select current_user' <"$examples/psql.sh"
is "as that role" "$OUT" orders_rw

# --- refused ----------------------------------------------------------------------------
invalid "refused: another role" LOGIN_UNKNOWN login pg other
invalid "refused: a superuser's role" LOGIN_UNKNOWN login pg boss
invalid "refused: a role of another identity provider's users" '(USER_NOT_ADDED|GROUP_NOT_ADDED|LOGIN_UNKNOWN)' login pg reporting
invalid "refused: and the other way round" '(USER_NOT_ADDED|GROUP_NOT_ADDED|LOGIN_UNKNOWN)' login staff orders_rw
token other-groups '{"iss":"'$CORP'","aud":"databases","groups":["staff"],"sub":"ann"}'
forged other-groups GROUP_NOT_ADDED "groups that were not added"
token expired "{$staff}" --life -1
forged expired EXPIRED expired
token no-exp "{$staff,\"exp\":null}"
forged no-exp EXP "no expiry"
token early "{$staff,\"nbf\":$(($(date +%s) + 600))}"
forged early NOT_YET "not yet valid"
token audience '{"iss":"'$CORP'","aud":"another","groups":["9c1f-reporting"],"sub":"ann"}'
forged audience AUD "wrong audience"
token issuer '{"iss":"'$CORP'/","aud":"databases","groups":["9c1f-reporting"],"sub":"ann"}'
forged issuer ISS "wrong issuer by one character"
while read -r spoilt reason; do
	token "spoilt-$spoilt" "{$staff}" --spoil "$spoilt"
	forged "spoilt-$spoilt" "$reason" "spoilt: $spoilt"
done <<EOI
signature SIGNATURE
claims (SIGNATURE|CLAIMS|ISS|AUD|EXP)
header [A-Z_]+
alphabet TOKEN_ENCODING
loose TOKEN_ENCODING
padding TOKEN_ENCODING
part TOKEN_FORM
short (TOKEN_ENCODING|SIGNATURE)
stripped (TOKEN_FORM|SIGNATURE)
EOI
for alg in none None NONE; do
	token "alg-$alg" "{$staff}" --alg "$alg"
	forged "alg-$alg" '(ALG_NOT_ALLOWED|TOKEN_FORM)' "alg $alg"
done
token alg-none-signed "{$staff}" --raw-header '{"alg":"none","kid":"rsa","typ":"JWT"}'
forged alg-none-signed ALG_NOT_ALLOWED "alg none with a signature"
token hs256 "{$staff}" --alg HS256
forged hs256 ALG_NOT_ALLOWED "HS256 with the public key as secret"
token wrong-alg "{$staff}" --raw-header '{"alg":"ES256","kid":"rsa","typ":"JWT"}'
forged wrong-alg '(KEY_UNUSABLE|SIGNATURE)' "an algorithm that is not the key's"
token other-key "{$staff}" --key "$DIR/keys/rsa2.pem"
forged other-key SIGNATURE "signed with another key"
token crit "{$staff}" --header '{"crit":["exp"]}'
forged crit CRIT "crit"
token typ "{$staff}" --header '{"typ":"logout+jwt"}'
forged typ TYP "another kind of token"
token twice '{}' --raw-claims "{$staff,\"exp\":$(($(date +%s) + 600)),\"sub\":\"bob\"}"
forged twice CLAIMS "a claim twice"
printf 'not a token' >"$DIR/tokens/word"
forged word TOKEN_FORM "an ordinary password"
head -c 511 "$DIR/tokens/staff" >"$DIR/tokens/cut"
forged cut "" "cut at 511 bytes"
check "the module says that it was cut" grep -qE 'pam_keyfob.*TOKEN_TRUNCATED.* 511 bytes' "$SYSLOG"
invalid "refused: a service that another user asks for" ASKER login pg other 'select 1' reports

# A kid that nobody knows: looked for once, then not again for a minute, and nobody else waits for it.
forge_kid() {
	token "$1" "{\"iss\":\"$CLOUD\",\"aud\":\"api://databases\",\"sub\":\"$subject\"}" --kid "$1"
}
forge_kid nobody-1
forge_kid nobody-2
before=$(requests jwks)
invalid "refused: an unknown kid" '(KID_UNKNOWN|KID_UNKNOWN_COOLDOWN)' login "@$DIR/tokens/nobody-1" orders_rw
invalid "refused: an unknown kid during the cool-down" KID_UNKNOWN_COOLDOWN login "@$DIR/tokens/nobody-2" orders_rw
[ $(($(requests jwks) - before)) -le 1 ] && pass "at most one fetch for both" || fail "at most one fetch for both" "$(($(requests jwks) - before))"
valid "known keys do not wait for it" login pg orders_rw

# shellcheck disable=SC2317
good_login() {
	login staff reporting
}
bad_login() {
	login "@$DIR/tokens/spoilt-signature" reporting
}
at_once 8 good_login bad_login reporting

# --- psql without a password ---------------------------------------------------------------
: >"$SYSLOG"
mark=$(wc -l <"$LOG")
check_not "psql's first try has no password" workload psql -X -w -h 127.0.0.1 -p "$PG_PORT" -U orders_rw -d postgres -c 'select 1'
unlike "that is no incident: nothing in the module's log" "$(cat "$SYSLOG")" '^(emerg|alert|crit|err|warning) .*keyfob'
unlike "nor in the verifier's" "$(tail -n +$((mark + 1)) "$LOG")" 'event=verdict'

# --- long tokens ------------------------------------------------------------------------------
for bytes in 1500 4000 8000 30000; do
	fault "path=imds&token_bytes=$bytes"
	keyfob drop pg >/dev/null
	valid "a token of $bytes bytes out of the keyring" login pg orders_rw
	length=$(workload "$HELPERS/reader" pg | wc -c)
	[ "$length" -gt $((bytes - 10)) ] && [ "$length" -le "$bytes" ] && pass "it has so many" || fail "it has so many" "$length"
done
no_faults
keyfob drop pg >/dev/null
token long "{$staff}" --length 60000
valid "a token of 60,000 bytes presented directly" login "@$DIR/tokens/long" reporting
token long-spoilt "{$staff}" --length 60000 --spoil signature
forged long-spoilt SIGNATURE "one of 60,000 bytes, tampered"

# --- taken away --------------------------------------------------------------------------------
valid "in another service" login pg orders_rw 'select current_database()' reports
check "a database user is deleted" keyfob dbuser delete orders_reports --yes
invalid "refused there at once" LOGIN_UNKNOWN login pg orders_rw 'select 1' reports
valid "but not here" login pg orders_rw
check "it is added again" keyfob dbuser add orders_reports --service reports --idp entra --user-id "$subject" --login orders_rw
valid "and may log in again" login pg orders_rw 'select 1' reports

check "an identity provider is disconnected" keyfob idp disconnect entra acme --yes
invalid "refused at once" NOT_CONNECTED login pg orders_rw
invalid "refused at once in the other service" NOT_CONNECTED login pg orders_rw 'select 1' reports
valid "but not what another one vouches for" login staff reporting
check "connected again" keyfob idp connect entra acme
valid "it is good again" login pg orders_rw

workload "$HELPERS/reader" pg >"$DIR/tokens/old"
curl -sS -f -X POST "$CLOUD/emulator/rotate-keys" >/dev/null
curl -sS -f -X POST "$CLOUD/emulator/rotate-keys" >/dev/null
valid "withdrawn keys are trusted for as long as they are kept" login "@$DIR/tokens/old" orders_rw
check "the JWKS is revoked" keyfob jwks revoke entra
invalid "refused at once: the old token" REVOKED login "@$DIR/tokens/old" orders_rw
invalid "refused at once in the other service" REVOKED login "@$DIR/tokens/old" orders_rw 'select 1' reports
rotate
keyfob drop pg >/dev/null
valid "a token of the new key" until_true 10 login pg orders_rw
fault 'path=jwks&status=500'
check "revoked while the identity provider is down" keyfob jwks revoke entra
invalid "the old token does not get in" REVOKED login pg orders_rw
rotate
keyfob drop pg >/dev/null
invalid "nor does a new one" KEYS_REVOKED login pg orders_rw
stop_verifier KILL
start_verifier
invalid "not after a restart either" KEYS_REVOKED login pg orders_rw
valid "others do" login staff reporting
no_faults
check "until it is up again" keyfob jwks refresh entra
valid "then the token is good" login pg orders_rw

# --- processes that end ---------------------------------------------------------------------------
stop_broker KILL
valid "without keyfobd logins go on" login pg orders_rw
stop_verifier KILL
began=$(date +%s%N)
invalid "without the verifier a login is refused" "" login pg orders_rw
took=$((($(date +%s%N) - began) / 1000000))
[ "$took" -lt 5000 ] && pass "soon" || fail "soon" "$took ms"
start_broker
# One that hangs is not waited for, and one that is killed while it is asked has not said yes.
asking() {
	[ "$(ps -o args= --ppid "$POSTMASTER" | grep -c authentication)" = 4 ]
}
jobs=()
for end in hangs killed restarted; do
	start_verifier
	kill -STOP "$VERIFIER"
	began=$(date +%s%N)
	rm -f "$DIR"/out/bad.*
	for i in 1 2 3 4; do
		bad_login >"$DIR/out/bad.$i" 2>&1 &
		jobs[i]=$!
	done
	until_true 5 asking && pass "a verifier that is asked, and $end" || fail "a verifier that is asked, and $end"
	[ "$end" = hangs ] || stop_verifier KILL
	[ "$end" != restarted ] || start_verifier
	wait "${jobs[@]}"
	took=$((($(date +%s%N) - began) / 1000000)) bad=$(cat "$DIR"/out/bad.* | grep -cx reporting)
	is "refused" "$bad" 0
	[ "$took" -lt 5000 ] && pass "soon" || fail "soon" "$took ms"
	INVALID=$((INVALID + 4)) ACCEPTED=$((ACCEPTED + bad))
	[ -z "$VERIFIER" ] || { kill -CONT "$VERIFIER"; stop_verifier; }
done
start_verifier
valid "with them it succeeds" login pg orders_rw

unlike "no token in any log" "$(cat "$LOG" "$SYSLOG" "$DIR/out/postgresql")" "$(cut -d. -f3 "$DIR/tokens/staff" | cut -c1-20)|$(workload "$HELPERS/reader" pg | cut -d. -f3 | cut -c1-20)"
hold_over
finish
