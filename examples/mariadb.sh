#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mariadb.sh CREDENTIAL HOST PORT LOGIN [MARIADB-ARGUMENT...]: log in at MariaDB with a token as the password.
# The token stands in a file that only its user can read, for as long as mariadb runs.
set -eu
umask 077
[ $# -ge 4 ] || { echo "usage: mariadb.sh CREDENTIAL HOST PORT LOGIN [MARIADB-ARGUMENT...]" >&2; exit 2; }
credential=$1 host=$2 port=$3 login=$4
shift 4
file=$(mktemp)
trap 'rm -f "$file"' EXIT
trap 'exit 1' HUP INT TERM
token=$(keyfob get "$credential")
# What is beyond byte 4,095 of a line is taken for another option, and printed as an unknown one.
[ ${#token} -lt 4000 ] || { echo "mariadb.sh: a token of ${#token} bytes is too long for an option file" >&2; exit 1; }
printf '[client]\npassword = "%s"\n' "$token" >"$file"
mariadb --defaults-extra-file="$file" --protocol=tcp -h "$host" -P "$port" -u "$login" "$@"
