#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Logins at a real MariaDB with a token as the password: its plugin auth_pam of both versions, the client's plugins
# mysql_clear_password and dialog, and a login that becomes another account.
# takes long
. "$(dirname "$0")/accept.inc"
command -v mariadbd >/dev/null || { echo "1..0 # SKIP no MariaDB: make deps"; exit 0; }

# settings [LINE...]: the configuration, with these organization lines
settings() {
	{
		cat "$DIR/etc/settings"
		printf '[organization acme]\nservices = mariadb\n'
		printf 'identity_providers = %s\n' "$@"
	} | configure
}

examples=$(cd "$(dirname "$0")/../../examples" && pwd)
new_workload
make_corp
start_emulator
corp='"iss":"'$CORP'","aud":"databases","sub":"ann","groups":["staff","9c1f-reporting"]'
cat >"$DIR/etc/settings" <<EOI
[credential db]
resource = api://databases
provider = azure endpoint=$CLOUD
allow = user:$WORKLOAD

[identity-provider cloud]
issuer = $CLOUD
audience = api://databases
authorization_type = user
user_claim = azp

[identity-provider corp]
issuer = $CORP
audience = databases
authorization_type = group
jwks_file = $DIR/etc/corp.jwks

[service mariadb]
allow = user:mysql

[database-user orders_rw]
service = mariadb
identity_provider = cloud
user_id = @CLIENT@

# A login that MariaDB knows as another account.
[database-user job]
service = mariadb
identity_provider = cloud
user_id = @CLIENT@
account = orders_rw

# The same where MariaDB was not told so.
[database-user stray]
service = mariadb
identity_provider = cloud
user_id = @CLIENT@
account = orders_rw

[database-user reporting]
service = mariadb
identity_provider = corp
group_id = 9c1f-reporting

EOI
client=$(claim "$(curl -sS -H 'Metadata: true' "$CLOUD/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://databases" |
	jq -r .access_token)" azp)
sed -i "s/@CLIENT@/$client/" "$DIR/etc/settings"
settings cloud corp
start_broker
start_verifier
pam_service mariadb
make_mariadb

# login CREDENTIAL|@FILE LOGIN [SQL [OPTION]]
login() {
	mariadb_login "$1" "$MARIADB_PORT" "$2" "${3:-select current_user()}" ${4:+"$4"}
}
# forged NAME REASON DESCRIPTION
forged() {
	invalid "$manner refused: $3" "$2" login "@$DIR/tokens/$1" reporting
}

token staff "{$corp}"
for bytes in 10238 10239; do token "$bytes" "{$corp}" --length "$bytes"; done
token expired "{$corp}" --life -1
token audience '{"iss":"'$CORP'","aud":"another","groups":["9c1f-reporting"],"sub":"ann"}'
token issuer '{"iss":"'$CORP'.evil","aud":"databases","groups":["9c1f-reporting"],"sub":"ann"}'
token tampered "{$corp}" --spoil signature
token none "{$corp}" --alg none
token hs256 "{$corp}" --alg HS256
token kid "{$corp}" --header '{"kid":"nobody"}'
printf 'reporting' >"$DIR/tokens/password"

# logins MANNER: what holds in every manner of asking
logins() {
	local bytes
	manner=$1
	for bytes in 1500 4000 8000 10200; do
		fault "path=imds&token_bytes=$bytes"
		keyfob drop db >/dev/null
		valid "$manner $bytes bytes out of the keyring" login db orders_rw
		is "$manner as that account" "$OUT" orders_rw@127.0.0.1
	done
	no_faults
	keyfob drop db >/dev/null
	valid "$manner by group" login @"$DIR/tokens/staff" reporting
	valid "$manner a login that is another account" login db job 'select user(), current_user()'
	is "$manner is that account" "$OUT" "$(printf 'job@127.0.0.1\torders_rw@127.0.0.1')"
	invalid "$manner not without GRANT PROXY" "" login db stray
	valid "$manner GRANT: it may do what that account may" login db job 'insert into shop.orders values (8)'
	check_not "$manner no GRANT, no insert" login @"$DIR/tokens/staff" reporting 'insert into shop.orders values (9)'
	valid "$manner GRANT: it reads" login @"$DIR/tokens/staff" reporting 'select count(*) > 0 from shop.orders'
	invalid "$manner refused: another login" LOGIN_UNKNOWN login db other
	invalid "$manner refused: a login of other users" '[A-Z_]+' login db reporting
	invalid "$manner refused: a login of other groups" '[A-Z_]+' login @"$DIR/tokens/staff" orders_rw
	forged expired EXPIRED expired
	forged audience AUD "wrong audience"
	forged issuer ISS "wrong issuer"
	forged tampered SIGNATURE "tampered signature"
	forged none '(ALG_NOT_ALLOWED|TOKEN_FORM)' "alg none"
	forged hs256 ALG_NOT_ALLOWED "HS256 with the public key as secret"
	forged kid 'KID_UNKNOWN[A-Z_]*' "an unknown kid"
	forged password TOKEN_FORM "an ordinary password"
	valid "$manner 10,238 bytes" login @"$DIR/tokens/10238" reporting
}

# --- auth_pam, version 2: a helper process as root ----------------------------------------
start_mariadb --plugin-load-add=auth_pam.so --pam-use-cleartext-plugin
mariadb_admin "create database shop; create table shop.orders (n int); insert into shop.orders values (7);
	create user orders_rw@'127.0.0.1' identified via pam using 'mariadb'; grant select, insert on shop.orders to orders_rw@'127.0.0.1';
	create user job@'127.0.0.1' identified via pam using 'mariadb'; grant proxy on orders_rw@'127.0.0.1' to job@'127.0.0.1';
	create user stray@'127.0.0.1' identified via pam using 'mariadb';
	create user reporting@'127.0.0.1' identified via pam using 'mariadb'; grant select on shop.orders to reporting@'127.0.0.1';
	create user other@'127.0.0.1' identified via pam using 'mariadb'"
logins "v2, mysql_clear_password:"
valid "the example logs in" workload sh -s db 127.0.0.1 "$MARIADB_PORT" orders_rw -N -B -e 'select current_user()' <"$examples/mariadb.sh"
is "as that account" "$OUT" orders_rw@127.0.0.1
fault 'path=imds&token_bytes=4096'
keyfob drop db >/dev/null
check_not "and does not give a long token away" workload sh -s db 127.0.0.1 "$MARIADB_PORT" orders_rw -e 'select 1' <"$examples/mariadb.sh"
no_faults
keyfob drop db >/dev/null
# What MariaDB cuts off does not reach the module at all.
invalid "v2: 10,239 bytes are more than it takes" "" login "@$DIR/tokens/10239" reporting
check_not "a client without the clear-text plugin does not send it" login @"$DIR/tokens/staff" reporting 'select 1' --disable-cleartext-plugin

settings corp
keyfob reload >/dev/null
invalid "refused: disconnected" NOT_CONNECTED login db orders_rw
invalid "refused: disconnected, under another account" NOT_CONNECTED login db job
valid "not what another one vouches for" login "@$DIR/tokens/staff" reporting
settings cloud corp
keyfob reload >/dev/null
valid "connected again" login db orders_rw
cp "$DIR/etc/settings" "$DIR/etc/whole"
sed -i '/^\[database-user job\]/,/^$/d' "$DIR/etc/settings"
settings cloud corp
keyfob reload >/dev/null
invalid "refused: a deleted user" LOGIN_UNKNOWN login db job
mv "$DIR/etc/whole" "$DIR/etc/settings"
settings cloud corp
keyfob reload >/dev/null
workload "$HELPERS/reader" db >"$DIR/tokens/old"
for _ in 1 2; do curl -sS -f -X POST "$CLOUD/emulator/rotate-keys" >/dev/null; done
valid "before the revoke" login "@$DIR/tokens/old" orders_rw
check "revoked" keyfob jwks revoke cloud
invalid "refused: revoked" REVOKED login "@$DIR/tokens/old" orders_rw
rotate
keyfob drop db >/dev/null
stop_mariadb

start_mariadb --plugin-load-add=auth_pam.so
logins "v2, dialog:"
invalid "v2, dialog: 10,239 bytes are more than it takes" "" login "@$DIR/tokens/10239" reporting
stop_verifier
invalid "without the verifier it is refused" "" login "@$DIR/tokens/staff" reporting
start_verifier
valid "with the verifier back it succeeds" login "@$DIR/tokens/staff" reporting
stop_mariadb

# --- version 1: in the server's own process and as its user ----------------------------------
start_mariadb --plugin-load-add=auth_pam_v1.so --pam-use-cleartext-plugin
logins "v1, mysql_clear_password:"
valid "v1: 10,239 bytes" login "@$DIR/tokens/10239" reporting
# The module in the threads of one process, good and bad ones side by side.
good_login() {
	login "@$DIR/tokens/staff" reporting
}
bad_login() {
	login "@$DIR/tokens/tampered" reporting
}
at_once 8 good_login bad_login reporting@127.0.0.1
stop_mariadb
start_mariadb --plugin-load-add=auth_pam_v1.so
logins "v1, dialog:"
check "the server lived through all of it" mariadb_admin 'select 1'

unlike "no token in any log" "$(cat "$LOG" "$SYSLOG" "$DIR/out/mariadb")" "$(cut -d. -f3 "$DIR/tokens/staff" | cut -c1-20)|$(workload "$HELPERS/reader" db | cut -d. -f3 | cut -c1-20)"
hold_over
finish
