# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What every system test stands on: source it first. Each test has a session
# keyring, a directory, users, a broker and an emulator of its own, and takes
# all of it away again. TAP on stdout. KEYFOB_PREFIX is where `tests/run`
# installed the build.
set -u
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
# in_session COMMAND...: in a new session keyring, without keyctl's remark about it
in_session() {
	keyctl session - sh -c 'exec "$@" 2>&3 3>&-' sh "$@" 3>&2 2>/dev/null
}
if [ -z "${KEYFOB_TEST_SESSION:-}" ]; then
	# For outside(): where there is a session keyring no process can be made that has none.
	[ -z "${WANTS_OUTSIDE:-}" ] || { exec {OUTSIDE}> >(exec bash -s) && export OUTSIDE; }
	KEYFOB_TEST_SESSION=1 in_session "$0" "$@"
	exit
fi
export PATH="$KEYFOB_PREFIX/bin:$KEYFOB_PREFIX/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
export LD_LIBRARY_PATH="$KEYFOB_PREFIX/lib" LC_ALL=C.UTF-8
HELPERS=$KEYFOB_PREFIX/tests/helpers
unset KEYFOB_CONFIG KEYFOB_MODULE_DIR

TEST_NAME=$(basename "$0" .sh)
# Not below /tmp: what a broker reads and runs must lie where only root may write.
DIR=$(mktemp -d "/var/lib/keyfob-test.$TEST_NAME.XXXXXX") && chmod 0755 "$DIR"
mkdir -m 0755 "$DIR/etc" "$DIR/etc/conf.d" "$DIR/run" "$DIR/out"
CONFIG=$DIR/etc/keyfob.conf LOG=$DIR/out/keyfobd.log
export KEYFOB_SOCKET=$DIR/run/keyfob.sock KEYFOB_VERIFY_SOCKET=$DIR/run/verify.sock
USERS="" GROUPS_MADE="" PIDS="" BROKER="" VERIFIER="" EMULATOR="" COUNT=0 FAILED=0

# --- TAP ------------------------------------------------------------------------

# pass DESCRIPTION / fail DESCRIPTION [DETAIL...]
pass() {
	COUNT=$((COUNT + 1))
	echo "ok $COUNT - $1"
}
fail() {
	COUNT=$((COUNT + 1)) FAILED=$((FAILED + 1))
	echo "not ok $COUNT - $1"
	shift
	printf '%s\n' "$@" | sed 's/^/#   /'
	tail -n 5 "$LOG" 2>/dev/null | sed 's/^/#   log: /'
}
skip() {
	COUNT=$((COUNT + 1))
	echo "ok $COUNT - $1 # SKIP $2"
}
# check DESCRIPTION COMMAND...: the command succeeds
check() {
	local what=$1 output
	shift
	if output=$("$@" 2>&1); then pass "$what"; else fail "$what" "$* gave $?" "$output"; fi
}
# check_not DESCRIPTION COMMAND...: the command fails
check_not() {
	local what=$1 output
	shift
	if output=$("$@" 2>&1); then fail "$what" "$* succeeded" "$output"; else pass "$what"; fi
}
# is DESCRIPTION GOT WANTED
is() {
	if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "got:    $2" "wanted: $3"; fi
}
# like DESCRIPTION TEXT PATTERN: extended regular expression
like() {
	if printf '%s\n' "$2" | grep -qE -- "$3"; then pass "$1"; else fail "$1" "got:    $2" "wanted: /$3/"; fi
}
unlike() {
	if printf '%s\n' "$2" | grep -qE -- "$3"; then fail "$1" "got: $2" "unwanted: /$3/"; else pass "$1"; fi
}
# exits DESCRIPTION CODE COMMAND...: also puts its output in OUT and ERR
exits() {
	local what=$1 code=$2 got
	shift 2
	"$@" >"$DIR/out/stdout" 2>"$DIR/out/stderr"
	got=$?
	OUT=$(cat "$DIR/out/stdout") ERR=$(cat "$DIR/out/stderr")
	if [ "$got" = "$code" ]; then pass "$what"; else fail "$what" "$* ended with $got, wanted $code" "$OUT" "$ERR"; fi
}
# until_true SECONDS COMMAND...: try until it succeeds
until_true() {
	local end=$(($(date +%s%N) + $1 * 1000000000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s%N)" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# --- users ------------------------------------------------------------------------

# new_user: a fresh one; its name in USER_NAME
new_user() {
	USER_NAME="kt$$x$(printf '%s' "$USERS" | wc -w)"
	flock /run/lock/keyfob-test useradd -M -d "$DIR" -s /bin/sh "$USER_NAME" || exit 1
	USERS="$USERS $USER_NAME"
}
# new_group [USER...]: its name in GROUP_NAME
new_group() {
	GROUP_NAME="kg$$x$(printf '%s' "$GROUPS_MADE" | wc -w)"
	flock /run/lock/keyfob-test groupadd "$GROUP_NAME" || exit 1
	GROUPS_MADE="$GROUPS_MADE $GROUP_NAME"
	for user; do flock /run/lock/keyfob-test usermod -a -G "$GROUP_NAME" "$user"; done
}
# as USER COMMAND...: in a session keyring of his own, as after a login
as() {
	local user=$1
	shift
	setpriv --reuid="$user" --regid="$user" --init-groups --reset-env env "PATH=$PATH" "KEYFOB_SOCKET=$KEYFOB_SOCKET" \
		"KEYFOB_VERIFY_SOCKET=$KEYFOB_VERIFY_SOCKET" \
		"LD_LIBRARY_PATH=$LD_LIBRARY_PATH" "HELPERS=$HELPERS" LC_ALL=C.UTF-8 \
		keyctl session - sh -c 'exec "$@" 2>&3 3>&-' sh "$@" 3>&2 2>/dev/null
}
# outside COMMAND...: as root, in the session keyring that this test found when it began, none where this host's processes
# have none. For tests that say WANTS_OUTSIDE=1 before anything else.
outside() {
	rm -f "$DIR/out/outside.done"
	printf 'cd %s && export PATH=%s LD_LIBRARY_PATH=%s; (%s) >outside.1 2>outside.2 </dev/null; echo $? >outside.new; mv outside.new outside.done\n' \
		"$DIR/out" "$PATH" "$LD_LIBRARY_PATH" "${*@Q}" >&"$OUTSIDE"
	until_true 40 test -e "$DIR/out/outside.done" || return 99
	cat "$DIR/out/outside.1"
	cat "$DIR/out/outside.2" >&2
	return "$(cat "$DIR/out/outside.done")"
}
# The keyring that the kernel keeps for a uid, linked into this test's session.
persistent() {
	keyctl get_persistent @s "$(id -u "$1")"
}

# --- emulator ----------------------------------------------------------------------

start_emulator() {
	rm -f "$DIR/out/port"
	keyfob-emulator --listen 127.0.0.1:0 --port-file "$DIR/out/port" "$@" >"$DIR/out/emulator.log" 2>&1 &
	EMULATOR=$!
	PIDS="$PIDS $EMULATOR"
	until_true 20 test -s "$DIR/out/port" || { echo "Bail out! the emulator does not start"; exit 1; }
	PORT=$(cat "$DIR/out/port")
	CLOUD=http://127.0.0.1:$PORT
}
# fault QUERY: e.g. fault 'path=imds&status=429&count=1'
fault() {
	curl -sS -f -X POST "$CLOUD/emulator/faults?$1" >/dev/null
}
no_faults() {
	curl -sS -f -X DELETE "$CLOUD/emulator/faults" >/dev/null
}
rotate() {
	curl -sS -f -X POST "$CLOUD/emulator/rotate" >/dev/null
}
# requests SOURCE: how many came so far
requests() {
	curl -sS "$CLOUD/emulator/counters" | jq ".$1.requests"
}

# --- broker -------------------------------------------------------------------------

# configure: the file from stdin
configure() {
	cat >"$CONFIG"
}
start_broker() {
	keyfobd --config "$CONFIG" --socket "$KEYFOB_SOCKET" --log debug "$@" >>"$LOG" 2>&1 &
	BROKER=$!
	PIDS="$PIDS $BROKER"
	until_true 10 keyfob status || { echo "Bail out! the broker does not start"; sed 's/^/# /' "$LOG"; exit 1; }
}
# The process that keyfobd forked and that keeps the rights.
launcher() {
	pgrep -P "$BROKER" -f keyfobd
}
stop_broker() {
	kill -"${1:-TERM}" "$BROKER" 2>/dev/null
	wait "$BROKER" 2>/dev/null || true
	BROKER=""
}
logged() {
	grep -qE -- "$1" "$LOG"
}

# --- verifier -----------------------------------------------------------------------

# start_verifier: of the same configuration; the broker, which fetches its key sets, comes first
start_verifier() {
	[ -d "$DIR/state" ] || install -d -m 0700 -o keyfob-verify "$DIR/state"
	keyfob-verifyd --config "$CONFIG" --socket "$KEYFOB_VERIFY_SOCKET" --broker "$KEYFOB_SOCKET" --state "$DIR/state" \
		--log debug "$@" >>"$LOG" 2>&1 &
	VERIFIER=$!
	PIDS="$PIDS $VERIFIER"
	until_true 10 keyfob jwks list || { echo "Bail out! the verifier does not start"; sed 's/^/# /' "$LOG"; exit 1; }
}
stop_verifier() {
	kill -"${1:-TERM}" "$VERIFIER" 2>/dev/null
	wait "$VERIFIER" 2>/dev/null || true
	VERIFIER=""
}

# --- the end --------------------------------------------------------------------------

# A pid is killed only while it is still our child.
cleanup() {
	for pid in $PIDS; do
		[ "$(ps -o ppid= -p "$pid" 2>/dev/null | tr -d ' ')" = $$ ] && kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	keyfobd --socket "$DIR/run/keyfob.sock" --purge 2>/dev/null
	for user in $USERS; do
		key=$(persistent "$user" 2>/dev/null) && keyctl revoke "$key" 2>/dev/null
		flock /run/lock/keyfob-test userdel "$user" 2>/dev/null
	done
	for group in $GROUPS_MADE; do flock /run/lock/keyfob-test groupdel "$group" 2>/dev/null; done
	rm -rf --one-file-system "$DIR"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP
mkdir -p /run/lock

# finish: last line of a test
finish() {
	echo "1..$COUNT"
	[ "$FAILED" = 0 ]
	exit
}
