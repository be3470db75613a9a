#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# psql.sh CREDENTIAL HOST PORT DATABASE ROLE [PSQL-ARGUMENT...]: log in at PostgreSQL with a token as the password.
# The token stands in a file that only its user can read, for as long as psql runs.
set -eu
umask 077
[ $# -ge 5 ] || { echo "usage: psql.sh CREDENTIAL HOST PORT DATABASE ROLE [PSQL-ARGUMENT...]" >&2; exit 2; }
credential=$1 host=$2 port=$3 database=$4 role=$5
shift 5
file=$(mktemp)
trap 'rm -f "$file"' EXIT
trap 'exit 1' HUP INT TERM
token=$(keyfob get "$credential")
printf '%s:%s:%s:%s:%s\n' "$host" "$port" "$database" "$role" "$token" >"$file"
PGPASSFILE=$file psql -w -h "$host" -p "$port" -d "$database" -U "$role" "$@"
