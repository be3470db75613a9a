#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Logins at a real PostgreSQL and a real MariaDB: with a password, with a token that keyfob judges, and with none of either,
# which is what the server itself costs. The token is one that the verifier has seen before, as a workload's is but once.
# shellcheck source=SCRIPTDIR/../tests/system/accept.inc
. "$(dirname "$0")/../tests/system/accept.inc"

new_workload
make_corp
cat >"$CONFIG" <<EOI
[identity-provider corp]
issuer = $CORP
audience = databases
authorization_type = user
jwks_file = $DIR/etc/corp.jwks

[organization acme]
services = postgresql
services = mariadb
identity_providers = corp

[database-user orders_pg]
service = postgresql
identity_provider = corp
user_id = ann
login = orders_rw

[database-user orders_mariadb]
service = mariadb
identity_provider = corp
user_id = ann
login = orders_rw
EOI
start_broker --log notice
start_verifier --log notice
# Of the size that Azure's have.
token orders '{"iss":"'$CORP'","aud":"databases","sub":"ann"}' --length 1500
token spoilt '{"iss":"'$CORP'","aud":"databases","sub":"ann"}' --length 1500 --spoil signature
printf 'correct horse battery staple' >"$DIR/tokens/password"
printf 'auth required pam_permit.so\naccount required pam_permit.so\n' >/etc/pam.d/permit

cp /etc/pam.d/other "$DIR/etc/pam.d.other"

# logins SERVER ROW PORT WAY USER FILE...; who takes everything is fast, so what is spoilt must be refused
logins() {
	local server=$1 row=$2 port=$3
	shift 3
	as_bench "$WORKLOAD" "logins-$server" "$row" "$port" "$@"
	! as "$WORKLOAD" env BENCH_ROUNDS=1 "$BENCH/logins-$server" spoilt "$port" keyfob orders_rw "$DIR/tokens/spoilt" >/dev/null 2>&1 ||
		die "a spoilt token is taken by $server"
}

# postgresql_ways ROW
postgresql_ways() {
	logins postgresql "$1" "$PG_PORT" "scram-sha-256 password" with_password "$DIR/tokens/password" \
		keyfob orders_rw "$DIR/tokens/orders" pam_permit permitted "$DIR/tokens/password" trust trusted -
	at_most "$1" keyfob "scram-sha-256 password" 0.6
}
measure_postgresql() {
	make_postgresql <<-EOI
		host all with_password 127.0.0.1/32 scram-sha-256
		host all permitted 127.0.0.1/32 pam pamservice=permit
		host all orders_rw 127.0.0.1/32 pam pamservice=postgresql
		host all trusted 127.0.0.1/32 trust
	EOI
	pam_service postgresql
	start_postgresql -c log_connections=off
	pg_admin "set password_encryption = 'scram-sha-256'; create role with_password login password 'correct horse battery staple';
		create role permitted login; create role orders_rw login; create role trusted login" || die "roles"
	postgresql_ways login-postgresql
	# Debian's has libpam load the modules of all logins beside those of this service, and every PAM login pays for them.
	for phase in auth account password session; do echo "$phase required pam_deny.so"; done >/etc/pam.d/other
	postgresql_ways login-postgresql-deny
	stop_postgresql
}

# mariadb_ways ROW PLUGIN
mariadb_ways() {
	start_mariadb --plugin-load-add="$2.so" --pam-use-cleartext-plugin
	mariadb_admin "create or replace user with_password@'127.0.0.1' identified by 'correct horse battery staple';
		create or replace user orders_rw@'127.0.0.1' identified via pam using 'mariadb';
		create or replace user permitted@'127.0.0.1' identified via pam using 'permit'" || die "users"
	logins mariadb "$1" "$MARIADB_PORT" "mysql_native_password" with_password "$DIR/tokens/password" \
		keyfob orders_rw "$DIR/tokens/orders" pam_permit permitted "$DIR/tokens/password"
	stop_mariadb
}
measure_mariadb() {
	pam_service mariadb
	cp "$DIR/etc/pam.d.other" /etc/pam.d/other
	make_mariadb
	mariadb_ways login-mariadb auth_pam
	mariadb_ways login-mariadb-v1 auth_pam_v1
}

if [ -z "$PG_BIN" ] || [ ! -x "$BENCH/logins-postgresql" ]; then
	for row in login-postgresql login-postgresql-deny; do
		skip_way "$row" keyfob "no PostgreSQL, or no libpq-dev when this was built"
	done
else
	measure_postgresql
fi
if ! command -v mariadbd >/dev/null || [ ! -x "$BENCH/logins-mariadb" ]; then
	for row in login-mariadb login-mariadb-v1; do
		skip_way "$row" keyfob "no MariaDB, or no libmariadb-dev when this was built"
	done
else
	measure_mariadb
fi
