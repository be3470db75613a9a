#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Logins through PgBouncer (auth_type = pam), which cuts passwords at 2,047 bytes, and its one thread that asks PAM.
. "$(dirname "$0")/accept.inc"
command -v pgbouncer >/dev/null && [ -n "$PG_BIN" ] || { echo "1..0 # SKIP no PgBouncer: make deps"; exit 0; }

new_workload
make_corp
ann='{"iss":"'$CORP'","aud":"databases","sub":"ann"}'
for bytes in 1500 2047 2048 3000 6000; do token "$bytes" "$ann" --length "$bytes"; done
token tampered "$ann" --spoil signature
token expired "$ann" --life -1
install -m 0644 "$DIR/tokens/1500" "$DIR/etc/ann.jwt"
# The pooler hands the password on, so the database behind it judges it as well.
make_postgresql <<EOI
host all all 127.0.0.1/32 pam pamservice=postgresql
EOI
configure <<EOI
[credential db]
provider = file path=$DIR/etc/ann.jwt
allow = user:$WORKLOAD

[identity-provider corp]
issuer = $CORP
audience = databases
authorization_type = user
jwks_file = $DIR/etc/corp.jwks

[database-user pooled]
service = pgbouncer
identity_provider = corp
user_id = ann
login = ann

[database-user behind]
service = postgresql
identity_provider = corp
user_id = ann
login = ann
EOI
start_broker
start_verifier
pam_service pgbouncer
pam_service postgresql
start_postgresql
pg_admin 'create role ann login; create role eve login'
start_pgbouncer
# login CREDENTIAL|@FILE [ROLE]
login() {
	psql_login "$1" "$BOUNCER_PORT" postgres "${2:-ann}" 'select current_user'
}

valid "out of the keyring" login db
is "as that role" "$OUT" ann
valid "2,047 bytes" login "@$DIR/tokens/2047"
for bytes in 2048 3000; do
	: >"$SYSLOG"
	invalid "$bytes bytes are cut and refused" "" login "@$DIR/tokens/$bytes"
	like "the module says so, and who cuts" "$(cat "$SYSLOG")" 'pam_keyfob.*TOKEN_TRUNCATED.* 2047 bytes.*PgBouncer'
done
invalid "6,000 bytes are more than it reads" "" login "@$DIR/tokens/6000"
invalid "refused: tampered" SIGNATURE login "@$DIR/tokens/tampered"
invalid "refused: expired" EXPIRED login "@$DIR/tokens/expired"
invalid "refused: another role" LOGIN_UNKNOWN login db eve
valid "good ones as before" login db

# One thread asks PAM for all clients: what holds it up for long would hold up everybody.
stop_verifier
began=$(date +%s%N)
invalid "without the verifier nobody gets in" "" login db
took=$((($(date +%s%N) - began) / 1000000))
[ "$took" -lt 5000 ] && pass "and is told so soon" || fail "and is told so soon" "$took ms"
start_verifier
valid "with it they do" login db
good_login() {
	login db
}
bad_login() {
	login "@$DIR/tokens/tampered"
}
# More than its queue of 20 holds.
at_once 16 good_login bad_login ann
unlike "no token in any log" "$(cat "$LOG" "$SYSLOG" "$DIR/out/pgbouncer")" "$(cut -d. -f3 "$DIR/tokens/1500" | cut -c1-20)"
hold_over
finish
