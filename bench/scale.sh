#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One broker with ever more credentials and users: what a look-up, a refresh, a start, a reload and its memory cost, and how
# often it wakes up. Its users have no entries in the host's /etc/passwd: this script and all it starts see an /etc of their own.
if [ -z "${BENCH_SCALE:-}" ]; then
	export BENCH_SCALE=1
	exec unshare --mount --propagation private "$0" "$@"
fi
# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$0")/lib.sh"

FIRST=1400001 USERS_MAX=1000 # uids that nothing on a host uses
IDLE_SECONDS=$([ -z "${BENCH_ROUNDS:-}" ] && echo 20 || echo 2)
TRIES=$(rounds 5)
RUN_AS=32 # users that the fetches run as: so many modules' limits
SYSCTL=/proc/sys/kernel/keys/root_maxbytes
old_bytes=$(cat $SYSCTL)

more_users() {
	for ((i = 0; i < USERS_MAX; i++)); do echo "kb$i:x:$((FIRST + i)):65534::/:/bin/sh"; done
	for ((i = 0; i < RUN_AS; i++)); do echo "kr$i:x:$((FIRST + USERS_MAX + i)):65534::/:/bin/sh"; done
}
leave() {
	cleanup
	KEYFOB_SOCKET=$DIR/run/keyfob.sock "$BENCH/copies" forget "$FIRST" "$USERS_MAX"
	[ "$(cat $SYSCTL)" = "$old_bytes" ] || echo "$old_bytes" >$SYSCTL
}
trap leave EXIT
# The directory, not the file: a mount on a file ends when somebody else on the host replaces that file.
own_etc() {
	cp -a /etc "$DIR/etc-seen" 2>/dev/null # lock files come and go there
	grep -q '^keyfob-fetch:' "$DIR/etc-seen/passwd" && more_users >>"$DIR/etc-seen/passwd" && mount --bind "$DIR/etc-seen" /etc
}
own_etc || die "no /etc of its own"
# About as long as one of Azure's or Google's.
new_token() {
	head -c 750 /dev/urandom | base64 -w 0 >"$DIR/etc/token"
}
new_token

# --- configurations ----------------------------------------------------------------

# credential NUMBER: up to its allow lines
credential() {
	printf '[credential c%04d]\nresource = api://c%d\nprovider = file path=%s/etc/token lifetime=12h run_as=kr%d\ntrust_run_as = yes' \
		"$1" "$1" "$DIR" "$(($1 % RUN_AS))"
}
# allow FROM COUNT: so many users from that one on, in a circle
allow() {
	for ((i = 0; i < $2; i++)); do
		[ $((i % 100)) != 0 ] || printf '\nallow ='
		printf ' user:kb%d' "$((($1 + i) % USERS_MAX))"
	done
	printf '\n\n'
}
# ladder CREDENTIALS: the first user may have the first one, the second one the first 10, then 100, then 1,000
ladder() {
	for ((c = 1; c <= $1; c++)); do
		credential "$c"
		local first=0
		[ "$c" -le 1 ] || first=1
		[ "$c" -le 10 ] || first=2
		[ "$c" -le 100 ] || first=3
		allow "$first" $((4 - first))
	done
}
# square CREDENTIALS EACH: so many users for each credential, others for the next
square() {
	for ((c = 1; c <= $1; c++)); do
		credential "$c"
		allow $(((c - 1) * $2 % USERS_MAX)) "$2"
	done
}
# wait_for COPIES: until there are just so many
wait_for() {
	"$BENCH/copies" wait "$KEYFOB_SOCKET" "$1" || die "copies"
}
# in_use COPIES: the configuration, and that it comes to so many
in_use() {
	kill -HUP "$BROKER"
	wait_for "$1"
}

# --- figures -----------------------------------------------------------------------

# In bytes, of keyfobd and its launcher.
rss_of() {
	awk '/^Rss:/ { sum += $2 } END { print sum * 1024 }' "/proc/$BROKER/smaps_rollup"
}
pss() {
	cat "/proc/$BROKER/smaps_rollup" "/proc/$(launcher)/smaps_rollup" | awk '/^Pss:/ { sum += $2 } END { print sum * 1024 }'
}
# CPU time of all threads of keyfobd, ns
cpu() {
	cat /proc/"$BROKER"/task/*/schedstat | awk '{ sum += $1 } END { print sum }'
}
wakeups() {
	cat /proc/"$BROKER"/task/*/status /proc/"$(launcher)"/task/*/status | awk '/^voluntary_ctxt_switches/ { sum += $2 } END { print sum }'
}
median() {
	printf '%s\n' "$@" | sort -g | sed -n "$((($# + 1) / 2))p"
}
# What a start or a reload left to do is done.
is_quiet() {
	local before
	before=$(cpu)
	sleep 0.2
	[ $(($(cpu) - before)) -lt 2000000 ]
}
settle() {
	until_true 60 is_quiet || die "the broker does not come to rest"
}
# timed COMMAND...: ns
timed() {
	local begin
	begin=$(now)
	"$@" >/dev/null || die "$* failed"
	echo $(($(now) - begin))
}
# restart: from keyfobd's start to its first answer, ns
restart() {
	local begin
	stop_broker
	begin=$(now)
	keyfobd --config "$CONFIG" --socket "$KEYFOB_SOCKET" >>"$LOG" 2>&1 &
	BROKER=$!
	PIDS="$PIDS $BROKER"
	until keyfob status c0001 >/dev/null 2>&1; do kill -0 "$BROKER" || die "the broker does not start"; done
	TOOK=$(($(now) - begin))
}
# cost_of AXIS AT LAST-UID COPIES: what all this costs with so many credentials or users
cost_of() {
	local axis=$1 at=$2 last=$3 refreshes=() reloads=() starts=() before try
	before=$(cpu)
	for ((try = 0; try < TRIES; try++)); do
		new_token
		refreshes+=("$("$BENCH/copies" renewed "$KEYFOB_SOCKET" "$last" c0001 keyfob refresh c0001)") || die "refresh"
	done
	point "scale-time-$axis" "processor time of a refresh" "$axis" "$at" ns "$((($(cpu) - before) / TRIES))"
	point "scale-time-$axis" "refresh, to the last copy" "$axis" "$at" ns "$(median "${refreshes[@]}")"
	for ((try = 0; try < TRIES; try++)); do
		reloads+=("$(timed keyfob reload)") || exit 1
		settle
	done
	point "scale-time-$axis" reload "$axis" "$at" ns "$(median "${reloads[@]}")"
	before=$(grep -c event=fetched "$LOG")
	for ((try = 0; try < TRIES; try++)); do
		restart
		starts+=("$TOOK")
	done
	[ "$(grep -c event=fetched "$LOG")" = "$before" ] || die "a start fetched what the keyring holds"
	point "scale-time-$axis" "start and adoption" "$axis" "$at" ns "$(median "${starts[@]}")"
	settle
	kill -HUP "$BROKER"
	settle
	wait_for "$4"
	point "scale-memory-$axis" resident "$axis" "$at" bytes "$(rss_of)" linear
}
# idle WAY: wake-ups and CPU time, for a minute
idle() {
	local switches ns
	sleep 2
	switches=$(wakeups) ns=$(cpu)
	sleep "$IDLE_SECONDS"
	say scale-idle "$1" wakeups/min "$((($(wakeups) - switches) * 60 / IDLE_SECONDS))"
	say scale-idle-cpu "$1" ns/min "$((($(cpu) - ns) * 60 / IDLE_SECONDS))"
}
points_of() {
	jq -c --arg series "$2" --arg row "$1" 'select(.row == $row) | {plot: "scale-lookup", series: $series, x: "credentials",
		at: (.way | split(" ")[0] | gsub(","; "") | tonumber), y: "ns", value: (.rounds | sort | .[length / 2 | floor]), linear: false}' "$DIR/out/lookup"
}

# --- credentials -------------------------------------------------------------------

ladder 1 | configure
start_broker
declare -A ladder_copies=([1]=4 [10]=31 [100]=211 [1000]=1111)
for count in 1 10 100 1000; do
	ladder "$count" | configure
	in_use "${ladder_copies[$count]}"
	cost_of credentials "$count" $((FIRST + 3)) "${ladder_copies[$count]}"
	case $count in
	1) idle "1 credential" ;;
	1000) idle "1,000 credentials" ;;
	esac
done
"$BENCH/lookup" "$FIRST" "1 credential" 1 $((FIRST + 1)) "10 credentials" 10 $((FIRST + 2)) "100 credentials" 100 \
	$((FIRST + 3)) "1,000 credentials" 1000 >"$DIR/out/lookup" || die "look-ups"
cat "$DIR/out/lookup"
points_of scale-lookup "open handle"
points_of scale-search "new handle"
points_of scale-turns "open handle, all in turn"
at_most scale-lookup "1,000 credentials" "1 credential" 1.1
at_most scale-search "1,000 credentials" "1 credential" 1.1
at_most scale-idle "1,000 credentials" - 0

# --- users -------------------------------------------------------------------------

stop_broker
keyfobd --socket "$KEYFOB_SOCKET" --purge
: >"$LOG"
credential 1 >"$CONFIG"
start_broker
for count in 1 10 100 500 1000; do
	last=$((FIRST + (count > 500 ? 499 : count - 1)))
	{
		credential 1
		allow 0 $((count > 500 ? 500 : count))
		if [ "$count" -gt 500 ]; then
			credential 2
			allow 500 $((count - 500))
		fi
	} | configure
	in_use "$count"
	"$BENCH/lookup" "$FIRST" "$([ "$count" = 1 ] && echo "1 user" || echo "$count users" | sed 's/^1000/1,000/')" 1 >"$DIR/out/lookup" || die "look-ups"
	sed -n 's/"scale-lookup"/"scale-users"/p' "$DIR/out/lookup"
	point scale-lookup-users "open handle" users "$count" ns "$(jq -s 'map(select(.row == "scale-lookup"))[0].rounds | sort | .[length / 2 | floor]' "$DIR/out/lookup")"
	cost_of users "$count" "$last" "$count"
done
at_most scale-users "1,000 users" "1 user" 1.1

# --- both --------------------------------------------------------------------------

# full EACH WAY: 1,000 credentials, of each of which so many users have a copy
full() {
	local copies=$((1000 * $1)) took
	square 1000 "$1" | configure
	in_use "$copies"
	! logged 'event=(store|publish)-failed' || die "root's key quota does not hold $copies copies"
	restart
	say scale-start "$2" ns "$TOOK"
	settle
	took=$(timed keyfob reload) || exit 1
	say scale-reload "$2" ns "$took"
	settle
	say scale-memory "$2" bytes "$(rss_of)"
	say scale-memory "$2, both processes' share" bytes "$(pss)"
	at_most scale-memory "$2" - $((8 * 1048576 + 1024 * copies))
}
full 8 "8,000 copies"
# That is about half of root's quota, where keyfobd stops.
if echo $((8 * old_bytes)) >$SYSCTL; then
	full 40 "40,000 copies"
else
	skip_way scale-memory "40,000 copies" "kernel.keys.root_maxbytes cannot be raised here"
fi
