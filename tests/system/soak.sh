#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# runs alone: its readers ask all the time, for a minute, and what it counts are keys of the whole host
# 50 users read tokens that live 5 s, while daemons are killed, stopped and purged, and then while nothing is but the tokens
# change; at the end there are as many keys, descriptors and processes as at the beginning, and no more memory is used.
# KEYFOB_SOAK_SECONDS says for how long; tests/torture.sh runs it for 25 minutes.
. "$(dirname "$0")/many.inc"

PERIOD=$((${KEYFOB_SOAK_SECONDS:-36} / 2))
NAME=soak$$-
many_users 50
start_emulator --lifetime 5
# configuration [USER]: without this user
configuration() {
	local group i
	for group in 0 1 2 3 4; do
		printf '[credential %s]\nresource = api://soak-%s\nprovider = azure endpoint=%s timeout=5s\n' "$NAME$group" "$group" "$CLOUD"
		for i in $(seq $((10 * group)) $((10 * group + 9))); do
			[ "many$i" = "${1:-}" ] || echo "allow = user:many$i"
		done
	done
	printf '[identity-provider soak]\nissuer = %s\naudience = api://soak-0\nauthorization_type = user\n' "$CLOUD"
	[ -z "${SUBJECT:-}" ] || printf '[database-user soak]\nservice = soak\nlogin = soak\nidentity_provider = soak\nuser_id = %s\n' "$SUBJECT"
}
configuration | configure

# --- what must be the same before and after ---------------------------------------------
descriptors() {
	find /proc/"$1"/fd -mindepth 1 | wc -l
}
resident() {
	awk '$1 == "VmRSS:" { print $2 }' /proc/"$1"/status
}
users_own_keys() {
	awk -v first="$FIRST_UID" -v end=$((FIRST_UID + MANY)) '{ uid = $1 + 0 } uid >= first && uid < end { split($3, n, "/"); sum += n[1] }
		END { print sum + 0 }' /proc/key-users
}
keys_by_name() {
	grep -cE " keyfob[a-z-]*:${NAME}[0-4]: " /proc/keys
}
inventory() {
	echo "users' rings: $("$HELPERS/persistent" count "$FIRST_UID" "$MANY"), keys by name: $(keys_by_name)," \
		"of the users' own: $(users_own_keys), descriptors: $(descriptors "$BROKER") $(descriptors "$(launcher)") $(descriptors "$VERIFIER")," \
		"processes: $(pgrep -f -c "keyfobd .*$KEYFOB_SOCKET"), fetches: $(pgrep -c -P "$(launcher)")," \
		"orphans: $(pgrep -c -P 1 -f "$KEYFOB_PREFIX.*keyfob-fetch")"
}
is_as_before() {
	[ "$(inventory)" = "$BEFORE" ]
}
# Every user's copy, root's and the master of each credential, each with its record beside it, nothing that is on its way out,
# and no fetch under way.
settled() {
	[ "$("$HELPERS/persistent" count "$FIRST_UID" "$MANY")" = "$MANY rings $((2 * MANY)) keys" ] && [ "$(keys_by_name)" = $((2 * (MANY + 10))) ] &&
		[ "$(pgrep -c -P "$(launcher)")" = 0 ]
}
memory() {
	echo "keyfobd $(resident "$BROKER"), launcher $(resident "$(launcher)"), keyfob-verifyd $(resident "$VERIFIER")"
}

# --- readers ---------------------------------------------------------------------------------
READERS=""
start_readers() {
	local group
	STOP=$DIR/out/stop.$1
	for group in 0 1 2 3 4; do
		CROWD_UID=$((FIRST_UID + 10 * group)) CROWD_GID=$FIRST_UID "$HELPERS/crowd" until 10 "$NAME$group" "$STOP" >"$DIR/out/$1.$group" 2>"$DIR/out/$1.err.$group" &
		READERS="$READERS $!"
	done
}
stop_readers() {
	touch "$STOP"
	# shellcheck disable=SC2086
	wait $READERS
	READERS=""
}
# The sums of what they counted: "asked A got G missed M gaps P tokens T slowest S ms".
counted() {
	cat "$DIR/out/$1".[0-4] | awk '/^asked/ { a += $2; g += $4; m += $6; p += $8; t += $10 } /^slowest/ && $2 > s { s = $2 }
		END { print "asked", a, "got", g, "missed", m, "gaps", p, "tokens", t, "slowest", s, "ms" }'
}

# --- what happens ---------------------------------------------------------------------------------
KILLS=0 PURGES=0 CHANGES=0
broker_again() {
	stop_broker "$1"
	[ "$1" = TERM ] || KILLS=$((KILLS + 1))
	[ -z "${2:-}" ] || keyfobd --socket "$KEYFOB_SOCKET" "$2"
	start_broker
}
kill_fetches() {
	local fetch
	for fetch in $(pgrep -P "$(launcher)" keyfob-fetch); do kill -KILL "$fetch" 2>/dev/null && KILLS=$((KILLS + 1)); done
}
kill_launcher() {
	kill -KILL "$(launcher)" && KILLS=$((KILLS + 1))
	wait "$BROKER"
	start_broker
}
reload_without() {
	configuration "$1" | configure
	keyfob reload
	configuration | configure
	keyfob reload
}
# A step of the hard half, and one of the other.
trouble() {
	case $(($1 % 8)) in
	0) broker_again KILL ;;
	1) rotate ;;
	2) kill_launcher ;;
	3) reload_without "many$(($1 % MANY))" ;;
	4) broker_again TERM --purge && PURGES=$((PURGES + 1)) ;;
	5) stop_verifier KILL && start_verifier && KILLS=$((KILLS + 1)) ;;
	6) kill_fetches ;;
	7) broker_again TERM ;;
	esac
}
change() {
	CHANGES=$((CHANGES + 1))
	case $(($1 % 5)) in
	0) rotate ;;
	1) keyfob drop "$NAME$(($1 / 5 % 5))" ;;
	2) keyfob refresh "$NAME$(($1 / 5 % 5))" ;;
	3) kill_fetches ;;
	4) keyfob reload && "$HELPERS/reject" "$NAME$(($1 / 5 % 5))" "$(keyfob get "$NAME$(($1 / 5 % 5))")" ;;
	esac
}
# Each group's token is judged: one is good, the others are not for that service.
judge() {
	local group
	for group in 0 1 2 3 4; do keyfob get "$NAME$group" && echo; done 2>/dev/null | "$HELPERS/ask-verifier" tokens soak soak >>"$DIR/out/judged" 2>&1
}
# How many of them came to what: 0 good, 7 refused, 8 no keys at the moment.
judgements() {
	tr ' ' '\n' <"$DIR/out/judged" | awk -F: '/^[0-9]:/ { n[$1] += $2 } END { for (code in n) print code ":" n[code] }' | sort | tr '\n' ' '
}
# steps KIND SECONDS
steps() {
	local end=$(($(date +%s) + $2)) i
	for ((i = 0; $(date +%s) < end; i++)); do
		"$1" "$i" >/dev/null 2>>"$DIR/out/steps.err"
		[ $((i % 2)) = 0 ] || judge
		sleep "$((RANDOM % 11))e-1"
	done
}

start_broker
SUBJECT=$(keyfob get "${NAME}0" | cut -d. -f2 | tr '_-' '/+' | base64 -d 2>/dev/null | jq -r .sub 2>/dev/null)
configuration | configure
exits "50 users, 5 credentials" 0 keyfob reload
start_verifier
# Root asks, too, from now on.
judge
check "each has a copy" until_true 30 settled
BEFORE=$(inventory)
echo "# $BEFORE"

start_readers hard
steps trouble "$PERIOD"
stop_readers
hard=$(counted hard)
echo "# $PERIOD s with $KILLS kills and $PURGES purges: $hard"
[ "$KILLS" -ge 3 ] && [ "$PURGES" -ge 1 ] && pass "processes were killed, keys purged" || fail "processes were killed, keys purged" "$KILLS, $PURGES"
read -r _ asked _ got _ <<<"$hard"
[ "${got:-0}" -gt 1000 ] && [ "$got" -gt $((asked / 2)) ] && pass "the readers got tokens all the while" || fail "the readers got tokens all the while" "$hard" "$(cat "$DIR"/out/hard.err.*)"

# What is needed once is there after a few steps.
check "each has a copy again" until_true 30 settled
for i in 0 1 2 3 4; do change "$i" >/dev/null 2>&1; judge; done
check "and after some changes" until_true 30 settled
early=$(memory)
CHANGES=0
start_readers calm
steps change "$PERIOD"
stop_readers
calm=$(counted calm)
echo "# $PERIOD s with $CHANGES changes and no kill of a daemon: $calm"
like "no reader was ever without a token" "$calm $(cat "$DIR"/out/calm.err.*)" '^asked ([0-9]+) got \1 missed 0 gaps 0 tokens [0-9]+ slowest [0-9]+ ms $'
[ "$(sed 's/.* tokens \([0-9]*\) .*/\1/' <<<"$calm")" -ge $((PERIOD / 2)) ] && pass "of which there were many" || fail "of which there were many" "$calm"
check "each has a copy at the end" until_true 30 settled
late=$(memory)
like "tokens were judged all the while" "$(judgements)" '^0:[1-9][0-9]* 7:[1-9]'
until_true 30 is_as_before
is "keys, descriptors and processes are as many as before" "$(inventory)" "$BEFORE"
echo "# resident KiB, early: $early; late: $late; requests: $(requests imds)"
if grep -q __asan_init "$KEYFOB_PREFIX/sbin/keyfobd"; then
	skip "and memory did not grow" "sanitizers keep what is freed"
else
	for n in 2 4 6; do
		grown=$(($(awk -v n=$n '{ print $n + 0 }' <<<"$late") - $(awk -v n=$n '{ print $n + 0 }' <<<"$early")))
		[ "$grown" -le 512 ] && pass "memory did not grow: $(awk -v n=$n '{ print $(n - 1) }' <<<"$late")" ||
			fail "memory did not grow: $(awk -v n=$n '{ print $(n - 1) }' <<<"$late")" "$early" "$late"
	done
fi
finish
