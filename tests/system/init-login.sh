#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A laptop as keyfob init --emulator leaves it: the user logs in to a real PostgreSQL with his token, and nobody else does.
. "$(dirname "$0")/accept.inc"
[ -n "$PG_BIN" ] || { echo "1..0 # SKIP no PostgreSQL: make deps"; exit 0; }

new_workload
free_port
check "the configuration" keyfob --config "$CONFIG" init --emulator --user "$WORKLOAD" --port "$FREE_PORT" --write
keyfob-emulator --listen "127.0.0.1:$FREE_PORT" >"$DIR/out/emulator.log" 2>&1 &
PIDS="$PIDS $!"
check "a cloud" until_true 20 curl -sf "http://127.0.0.1:$FREE_PORT/jwks"
start_broker
start_verifier
make_postgresql <<EOI
host all all 127.0.0.1/32 pam pamservice=postgresql
EOI
pam_service postgresql
start_postgresql
pg_admin "create role $WORKLOAD login; create role other login"
check "a token" until_true 20 workload keyfob get db
has_keys() {
	keyfob jwks list | grep -q emulator && workload keyfob get db | keyfob verify --service postgresql --login "$WORKLOAD" -
}
check "the emulator's keys" until_true 20 has_keys
valid "he logs in" psql_login db "$PG_PORT" postgres "$WORKLOAD" 'select current_user'
is "as himself" "$OUT" "$WORKLOAD"
invalid "as nobody else" LOGIN_UNKNOWN psql_login db "$PG_PORT" postgres other 'select current_user'
finish
