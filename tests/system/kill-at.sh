#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# takes long: a minute and a half
# SIGKILL at the system call boundaries of a first publish, a drop, a refresh, a start and a reload that takes rights away, and
# of the launcher while token files are written: what stands then, and what the next broker makes of it. KEYFOB_KILL_EVERY says
# at which boundaries: at every so many-th, from another one each time; KEYFOB_KILL_SCENARIOS, of which of these alone.
# tests/torture.sh takes each.
. "$(dirname "$0")/lib.sh"

EVERY=${KEYFOB_KILL_EVERY:-14} NAME=kill$$
new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
start_emulator
STOP=$DIR/out/stop TOKEN_FILE=$DIR/run/token/$alice/$NAME
export -f as

# configuration USER...: they may have it; MORE is a further line of its section
configuration() {
	configure <<-EOI
		[credential $NAME]
		resource = api://$NAME
		provider = azure endpoint=$CLOUD timeout=5s
		allow = $(printf 'user:%s ' "$@")
		$MORE
	EOI
}

# --- what stands -------------------------------------------------------------------------
# bad WHAT [DETAIL...]: told at the end of the scenario
bad() {
	FAULTS=$((FAULTS + 1))
	printf '%s: %s\n' "$AT" "$*" >>"$DIR/out/faults"
}
# As who reads: his copy, and each of root's keys that he reaches and that never ends.
# shellcheck disable=SC2016
LOOK='p=$(keyctl get_persistent @s)
key=$(keyctl search "$p" user "keyfob:$0" 2>/dev/null) && keyctl pipe "$key" 2>/dev/null
awk "\$6 == 0 && \$4 == \"perm\"" /proc/keys >&2'
# look USER [NAME]: his copy in COPY
look() {
	COPY=$(as "$1" sh -c "$LOOK" "${2:-$NAME}" 2>"$DIR/out/endless")
	[ ! -s "$DIR/out/endless" ] || bad "$1 reaches a key without a timeout" "$(cat "$DIR/out/endless")"
	LOOKS=$((LOOKS + 1))
}
has_copy() {
	look "$@"
	[ -n "$COPY" ]
}
has_no_copy() {
	! has_copy "$@"
}
# The broker's own, in MASTER.
look_master() {
	local ring key
	MASTER=""
	ring=$(keyctl search @u keyring "keyfob-broker:$KEYFOB_SOCKET" 2>/dev/null) &&
		ring=$(keyctl search "$ring" keyring "keyfob-master:$NAME" 2>/dev/null) &&
		key=$(keyctl search "$ring" user keyfob-token 2>/dev/null) && MASTER=$(keyctl pipe "$key" 2>/dev/null)
}
has_masters() {
	look_master
	has_copy "$1" && [ "$COPY" = "$MASTER" ]
}
# right USER: his copy is the master's, in a moment at the latest
right() {
	until_true 5 has_masters "$1" || bad "$1's copy of ${#COPY} bytes is not the master of ${#MASTER}"
}
# fetched HOW_MANY: so many requests came since the kill
fetched() {
	local now
	now=$(requests imds)
	[ "$now" = $((REQUESTS + $1)) ] || bad "$((now - REQUESTS)) requests since the kill, not $1"
}

# --- the kills -----------------------------------------------------------------------------
TOTAL_KILLS=0 TOTAL_BOUNDARIES=0 LOOKS=0 RESTARTS=0
# Zombies have no arguments.
nobody_runs() {
	! pgrep -f "keyfobd .*$KEYFOB_SOCKET"
}
nobody_fetches() {
	[ "$(pgrep -c -P "$(launcher)")" = 0 ]
}
again() {
	[ -z "$BROKER" ] || stop_broker KILL
	until_true 10 nobody_runs || bad "the launcher does not end"
	start_broker
	RESTARTS=$((RESTARTS + 1))
}
# run_to N: the scenario until it is killed there; who, and where, in AT
run_to() {
	"before_$SCENARIO"
	# shellcheck disable=SC2046
	AT=$("$HELPERS/kill-at" $(traced) "$1" "${DO[@]}" 2>>"$DIR/out/commands")
}
# What is traced: the broker; the launcher and its helpers; or the broker from its start on.
traced() {
	case $SCENARIO in
	start) echo start ;;
	files) echo -f "$(launcher)" ;;
	*) echo "$BROKER" ;;
	esac
}
# at_boundaries SCENARIO DESCRIPTION [TIMES]: TIMES EVERY is the step; before_SCENARIO makes the state that it begins with and sets DO, the command that sets it
# off; down_SCENARIO is what must hold after the kill, and up_SCENARIO with the next broker
at_boundaries() {
	case " ${KEYFOB_KILL_SCENARIOS:-$1} " in *" $1 "*) ;; *) return ;; esac
	local what=$2 every=$((EVERY > 1 ? EVERY * ${3:-1} : 1)) n kills=0 last began=$SECONDS
	SCENARIO=$1 FAULTS=0
	: >"$DIR/out/faults"
	run_to 0
	[ $? != 77 ] || { skip "$what" "no process may be traced here ($AT)"; return; }
	last=${AT##* } n=$((RANDOM % every + 1))
	while run_to "$n" && [ "$FAULTS" -lt 20 ]; do
		kills=$((kills + 1)) n=$((n + every))
		[ "$SCENARIO" = files ] || until_true 10 nobody_runs || bad "the launcher does not end"
		REQUESTS=$(requests imds)
		"down_$SCENARIO"
		again
		"up_$SCENARIO"
	done
	[ "$kills" -gt 0 ] || bad "nobody was killed: $AT"
	TOTAL_KILLS=$((TOTAL_KILLS + kills)) TOTAL_BOUNDARIES=$((TOTAL_BOUNDARIES + last))
	echo "# $what: about $last boundaries, $kills kills, $((SECONDS - began)) s"
	is "$what, killed at boundaries: what must hold does" "$(cat "$DIR/out/faults")" ""
}

# --- a first publish: rings are made and linked -------------------------------------------
before_first() {
	[ -z "$BROKER" ] || stop_broker KILL
	until_true 10 nobody_runs
	keyfobd --socket "$KEYFOB_SOCKET" --purge
	start_broker
	# shellcheck disable=SC2016
	DO=(bash -c 'as "$0" keyfob get "$1"' "$alice" "$NAME")
}
down_first() {
	has_copy "$alice" && ! has_masters "$alice" && bad "a copy without its master"
	look_master
}
up_first() {
	local wanted=1
	[ -z "$MASTER" ] || wanted=0
	as "$alice" keyfob get "$NAME" >/dev/null || bad "no token after the restart"
	fetched $wanted
	right "$alice"
}
MORE="refresh = on-demand"
configuration "$alice"
start_broker
at_boundaries first "a first publish"

# --- a drop, while the cloud is down: nothing takes the place of what is dropped -----------
before_drop() {
	no_faults
	rotate
	keyfob refresh "$NAME" >/dev/null || bad "no refresh"
	right "$alice"
	fault 'path=imds&status=503'
	DO=(keyfob drop "$NAME")
}
down_drop() {
	look "$alice"
}
# All of it is done, or nothing.
up_drop() {
	look_master
	if [ -n "$MASTER" ]; then
		right "$alice"
	else
		until_true 2 has_no_copy "$alice" || bad "the copy of a token that was dropped stands"
	fi
}
MORE=""
configuration "$alice"
again
at_boundaries drop "a drop"
no_faults
until_true 10 keyfob refresh "$NAME"

# --- from here on he always has a token, and reads -----------------------------------------
right "$alice"
as "$alice" "$HELPERS/crowd" until 4 "$NAME" "$STOP" >"$DIR/out/crowd" 2>&1 &
crowd=$!
as "$alice" "$HELPERS/watch-ring" "$STOP" >"$DIR/out/watch" 2>&1 &
watch=$!
down_refresh() {
	has_copy "$alice" || bad "no copy while the broker is down"
}
up_refresh() {
	right "$alice"
	fetched 0
}
before_refresh() {
	rotate
	DO=(keyfob refresh "$NAME")
}
at_boundaries refresh "a refresh"

before_start() {
	stop_broker KILL
	until_true 10 nobody_runs
	DO=(keyfobd --config "$CONFIG" --socket "$KEYFOB_SOCKET" --log debug)
}
down_start() {
	down_refresh
}
up_start() {
	up_refresh
}
at_boundaries start "a start that adopts" 4
[ -n "$BROKER" ] || start_broker

# A user and a credential are not in the next configuration.
before_reload() {
	configuration "$alice" "$bob"
	sed "s/$NAME/gone$NAME/" "$CONFIG" >"$DIR/etc/conf.d/gone.conf"
	keyfob reload >/dev/null || bad "no reload"
	right "$bob"
	until_true 5 has_copy "$alice" "gone$NAME" || bad "no copy of the other"
	configuration "$alice"
	rm "$DIR/etc/conf.d/gone.conf"
	DO=(keyfob reload)
}
down_reload() {
	down_refresh
}
up_reload() {
	has_copy "$bob" && bad "a copy for who is not allowed any more"
	has_copy "$alice" "gone$NAME" && bad "a copy of a credential that was removed"
	up_refresh
}
at_boundaries reload "a reload that takes rights away"

# --- token files ----------------------------------------------------------------------------
file_is_right() {
	look_master
	[ "$(cat "$TOKEN_FILE")" = "$MASTER" ] && [ "$(ls -A "${TOKEN_FILE%/*}")" = "$NAME" ]
}
before_files() {
	rotate
	DO=(keyfob refresh "$NAME")
}
down_files() {
	# A writer that was killed: the broker sees it, and has it done again.
	if [ -z "$HEALED" ] && kill -0 "$BROKER" 2>/dev/null && ! file_is_right; then
		HEALED=$AT
		until_true 15 file_is_right || bad "a writer that was killed is not replaced"
	fi
}
up_files() {
	until_true 5 file_is_right || bad "the token file is not right: $(ls -lA "${TOKEN_FILE%/*}")"
	right "$alice"
}
HEALED=""
MORE="file = raw"
configuration "$alice"
again
check "a token file" until_true 5 file_is_right
# shellcheck disable=SC2016
as "$alice" sh -c 'while [ ! -e "$1" ]; do token=$(cat "$2" 2>&1); echo "${#token}"; done | sort | uniq -c' files "$STOP" "$TOKEN_FILE" \
	>"$DIR/out/files" 2>&1 &
files=$!
at_boundaries files "token files written" 4

# --- who looked on ---------------------------------------------------------------------------
touch "$STOP"
wait $crowd $watch $files
echo "# $TOTAL_KILLS kills at boundaries of about $TOTAL_BOUNDARIES, $RESTARTS restarts, $LOOKS looks;" \
	"$(head -n 1 "$DIR/out/crowd"); $(cat "$DIR/out/watch"); requests $(requests imds); files read $(cat "$DIR/out/files")"
like "no reader was ever without a token" "$(cat "$DIR/out/crowd")" '^asked ([0-9]+) got \1 missed 0 gaps 0 '
like "no key in his ring was ever without a timeout" "$(cat "$DIR/out/watch")" '^samples [0-9]{2,} keys [0-9]{2,} without timeout 0$'
like "no file was ever away or half written" "$(cat "$DIR/out/files")" '^ *[0-9]+ [0-9]{3,}$'
is "whose lengths were all the same" "$(wc -l <"$DIR/out/files")" 1
finish
