# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What a benchmark that is a script stands on, with all that a system test has: users, emulator, broker, cleanup (see
# tests/system/lib.sh, whose checks of its own are not for here). Figures are lines of JSON on stdout and nothing else is; see
# bench/bench.h for what they mean. bench/run starts it. Programs of bench/ are in $BENCH, where other users can run them.
BENCH=$KEYFOB_PREFIX/bench
# shellcheck source=SCRIPTDIR/../tests/system/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/system/lib.sh"

# die WHAT: the benchmark failed
die() {
	echo "$TEST_NAME: $*" >&2
	tail -n 5 "$LOG" >&2 2>/dev/null
	exit 1
}
quoted() {
	printf '"%s"' "$(printf '%s' "$1" | tr '\n\t' '  ' | sed 's/[\\"]/\\&/g')"
}
# say ROW WAY UNIT FIGURE...: one figure for each round
say() {
	local row=$1 way=$2 unit=$3
	shift 3
	printf '{"row":%s,"way":%s,"unit":%s,"rounds":[%s]}\n' "$(quoted "$row")" "$(quoted "$way")" "$(quoted "$unit")" "$(IFS=,; echo "$*")"
}
# at_most ROW WAY PEER BOUND: PEER - is none, the bound is on WAY's median itself
at_most() {
	target "at most" "$@"
}
at_least() {
	target "at least" "$@"
}
target() {
	local peer=null
	[ "$4" = - ] || peer=$(quoted "$4")
	printf '{"row":%s,"target":"%s","way":%s,"peer":%s,"bound":%s}\n' "$(quoted "$2")" "$1" "$(quoted "$3")" "$peer" "$5"
}
# point PLOT SERIES XNAME X YNAME Y [linear]
point() {
	printf '{"plot":%s,"series":%s,"x":%s,"at":%s,"y":%s,"value":%s,"linear":%s}\n' "$(quoted "$1")" "$(quoted "$2")" "$(quoted "$3")" "$4" \
		"$(quoted "$5")" "$6" "$([ "${7:-}" = linear ] && echo true || echo false)"
}
# skip_way ROW WAY WHY
skip_way() {
	printf '{"row":%s,"way":%s,"skipped":%s}\n' "$(quoted "$1")" "$(quoted "$2")" "$(quoted "$3")"
}
# installed PACKAGE
installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}
# at_end COMMAND: before all else is taken away; the last one first
AT_END=""
at_end() {
	AT_END="$1; $AT_END"
	trap 'eval "$AT_END"; cleanup' EXIT
}
# as_bench USER PROGRAM [ARGUMENT...]: a program of bench/, as a user in a session keyring of his own
as_bench() {
	local user=$1 program=$2
	shift 2
	as "$user" env "BENCH_ROUNDS=${BENCH_ROUNDS:-}" ${OIDC_SOCK:+"OIDC_SOCK=$OIDC_SOCK"} "$BENCH/$program" "$@" || die "$program failed"
}
# rounds NUMBER: that, or fewer where a benchmark is only tried (BENCH_ROUNDS)
rounds() {
	echo "${BENCH_ROUNDS:-$1}"
}
# now: nanoseconds
now() {
	date +%s%N
}
