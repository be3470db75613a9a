#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The examples for PostgreSQL and MariaDB that are programs, in both of their forms, at real servers. Those for MongoDB are run
# by mongodb.sh, the shell scripts by postgresql.sh and mariadb.sh.
. "$(dirname "$0")/accept.inc"

examples=$(cd "$(dirname "$0")/../../examples" && pwd)
is "the README tells of each example" "$(grep -oE '^\| \[[^]]+\]' "$examples/README.md" | tr -d '|[] ' | sort)" \
	"$(find "$examples" -type f ! -name README.md -printf '%f\n' | sort)"
new_workload
start_emulator
configure <<EOI
[credential db]
resource = api://databases
provider = azure endpoint=$CLOUD
allow = user:$WORKLOAD

[identity-provider cloud]
issuer = $CLOUD
audience = api://databases
authorization_type = user
EOI
start_broker
subject=$(claim "$(keyfob get db)" sub)
for service in postgresql mariadb; do
	printf '[database-user orders-%s]\nservice = %s\nidentity_provider = cloud\nuser_id = %s\nlogin = orders\n' $service $service "$subject" >>"$CONFIG"
done
keyfob reload >/dev/null || { echo "Bail out! the configuration"; exit 1; }
start_verifier
pam_service postgresql
pam_service mariadb
cp "$examples"/*.py "$DIR/"

if [ -n "$PG_BIN" ]; then
	make_postgresql <<<'host all all 127.0.0.1/32 pam pamservice=postgresql'
	start_postgresql
	pg_admin 'create role orders login'
	pg_admin 'create database sales'
	uri=$(keyfob uri db "127.0.0.1:$PG_PORT" --user=orders --database=sales --json)
	entry=$(jq -r .pgpass <<<"$uri") uri=$(jq -r .postgresql <<<"$uri")
	# both WAYS PROGRAM...: by the file, and with the credential's name
	both() {
		local what=$1
		shift
		exits "$what, by keyfob run" 0 workload keyfob run "--pgpass=$entry" -- "$@" "$uri"
		is "is logged in" "$OUT" orders
		exits "$what, by itself" 0 workload "$@" "$uri" db
		is "is logged in" "$OUT" orders
		exits "$what, without a token" 1 workload "$@" "$uri"
	}
	if [ -e /usr/include/postgresql/libpq-fe.h ]; then
		PKG_CONFIG_PATH=$KEYFOB_PREFIX/lib/pkgconfig
		export PKG_CONFIG_PATH
		# shellcheck disable=SC2046
		check "libpq: it compiles" cc -Wall -Wextra -Werror -o "$DIR/orders" "$examples/postgresql-libpq.c" -I/usr/include/postgresql -lpq \
			$(pkg-config --cflags --libs keyfob)
		both libpq "$DIR/orders"
	else
		skip "libpq" "libpq-dev is not installed"
	fi
	if python3 -c 'import psycopg' 2>/dev/null; then
		both psycopg python3 "$DIR/postgresql-psycopg.py"
	else
		skip "psycopg" "python3-psycopg is not installed"
	fi
else
	skip "PostgreSQL" "it is not installed"
fi

if command -v mariadbd >/dev/null; then
	make_mariadb
	start_mariadb --plugin-load-add=auth_pam.so --pam-use-cleartext-plugin
	mariadb_admin "create user orders@'127.0.0.1' identified via pam using 'mariadb'"
	if python3 -c 'import pymysql' 2>/dev/null; then
		exits "PyMySQL, by keyfob run" 0 workload keyfob run --file=db -- python3 "$DIR/mysql-pymysql.py" 127.0.0.1 "$MARIADB_PORT" orders
		is "is logged in" "$OUT" orders@127.0.0.1
		exits "PyMySQL, with what is no token" 1 workload env KEYFOB_TOKEN_FILE=/dev/null python3 "$DIR/mysql-pymysql.py" 127.0.0.1 "$MARIADB_PORT" orders
	else
		skip "PyMySQL" "python3-pymysql is not installed"
	fi
	line=$(keyfob uri db "127.0.0.1:$MARIADB_PORT" --user=orders --database=information_schema --json | jq -r .mariadb)
	exits "the command that keyfob uri prints" 0 workload bash -c "$line -N -B -e 'select current_user()'"
	is "is logged in" "$OUT" orders@127.0.0.1
else
	skip "MariaDB" "it is not installed"
fi
finish
