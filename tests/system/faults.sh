#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The calls that the broker, its launcher and its fetches make fail, one after the other and by chance: whatever fails, nobody
# who reads is without a token while one is valid, no key that users reach is without an end, no user who is no longer
# allowed keeps one, nothing crashes, leaks or stays as it was then. KEYFOB_FAULTS says how many of the sites (all or a number),
# KEYFOB_FAULTS_CHANCES how many rounds by chance.
# takes long
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../faults/world.inc"

# What make check runs is the same each time: what once was wrong. What chance finds next is for make torture.
HOW_MANY=${KEYFOB_FAULTS:-0} CHANCES=${KEYFOB_FAULTS_CHANCES:-0} SEED=${KEYFOB_FAULTS_SEED:-1}
[ "$HOW_MANY" = all ] && HOW_MANY=100000 CHANCES=100
STEADY=steady$$ WORK=work$$ GONE=gone$$
new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
new_user; carol=$USER_NAME
new_group "$bob"; team=$GROUP_NAME
start_emulator
printf 'the-secret' >"$DIR/etc/secret" && chmod 0600 "$DIR/etc/secret"
curl -sS -f -X POST "$CLOUD/emulator/clients" -d client_id=orders -d secret=the-secret >/dev/null
common() {
	cat <<END
[credential $STEADY]
resource = api://$STEADY
provider = azure endpoint=$CLOUD timeout=5s
allow = user:$alice

[credential $WORK]
resource = api://$WORK
provider = oauth2 token_endpoint=$CLOUD/oauth2/token client_id=orders secret_file=$DIR/etc/secret timeout=5s
file = raw
socket = $alice:root 0600
END
}
# What each round goes to and comes from.
with_carol() {
	{ common; printf 'allow = user:%s group:%s user:%s\n[credential %s]\nresource = api://x\nprovider = azure endpoint=%s\nallow = user:%s\n' "$alice" "$team" "$carol" "$GONE" "$CLOUD" "$carol"; } | configure
}
without_carol() {
	{ common; printf 'allow = user:%s group:%s\n' "$alice" "$team"; } | configure
}

# --- what must hold -----------------------------------------------------------------------

# Keys of this test that are there for users, in /proc/keys as root, their owner, sees it.
keys_of() { # NAME
	grep -E " keyfob(-info)?:$1: " /proc/keys
}
can_read() { # USER NAME, on his keyring
	as "$1" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe "%user:keyfob:$0"' "$2" 2>/dev/null | grep -q .
}
cannot_read() {
	! can_read "$@"
}
gets() { # USER NAME
	as "$1" timeout 40 keyfob get "$2" >/dev/null 2>"$DIR/out/gets"
}
descriptors() {
	echo "$(find "/proc/$BROKER/fd" -mindepth 1 2>/dev/null | wc -l) $(find "/proc/$(launcher)/fd" -mindepth 1 2>/dev/null | wc -l) $(pgrep -c -P "$(launcher)")"
}
at_rest() {
	[ "$(descriptors)" = "$REST" ]
}
is_alive() {
	kill -0 "$BROKER" 2>/dev/null && [ "$(ps -o stat= -p "$BROKER" | cut -c1)" != Z ]
}
# A broker that ended must have said why, and not by a crash.
ended_well() {
	wait "$BROKER"
	local code=$?
	BROKER=""
	if [ "$code" -gt 1 ]; then TROUBLE="keyfobd ended with $code"; return 1; fi
	if [ "$code" = 1 ] && ! tail -n +"$((LOG_LINES + 1))" "$LOG" | grep -q 'keyfobd: '; then TROUBLE="keyfobd ended without a word"; return 1; fi
}
# After the faults: is it all as it should be, or does it come to be so by itself?
holds_to_it() {
	TROUBLE=""
	if tail -n +"$((LOG_LINES + 1))" "$LOG" | grep -qE 'AddressSanitizer|runtime error'; then TROUBLE="a sanitizer has something to say"; return 1; fi
	if [ -n "$BROKER" ] && ! is_alive; then ended_well || return 1; fi
	if keys_of "($STEADY|$WORK|$GONE)" | awk '$4 == "perm" { found = 1 } END { exit !found }'; then TROUBLE="a key that never ends"; return 1; fi
	[ -n "$BROKER" ] || start_broker
	gets "$alice" "$STEADY" || { TROUBLE="alice does not get $STEADY: $(cat "$DIR/out/gets")"; return 1; }
	until_true 45 gets "$alice" "$WORK" || { TROUBLE="alice does not get $WORK: $(cat "$DIR/out/gets")"; return 1; }
	until_true 45 gets "$bob" "$WORK" || { TROUBLE="bob does not get $WORK: $(cat "$DIR/out/gets")"; return 1; }
	until_true 20 cannot_read "$carol" "$WORK" || { TROUBLE="carol still has $WORK on her keyring"; return 1; }
	until_true 20 cannot_read "$carol" "$GONE" || { TROUBLE="carol still has $GONE, which is not configured, on her keyring"; return 1; }
	if gets "$carol" "$WORK"; then TROUBLE="carol gets $WORK"; return 1; fi
	until_true 20 test ! -e "$DIR/run/token/$carol/$WORK" || { TROUBLE="carol still has a token file"; return 1; }
	until_true 20 test -s "$DIR/run/token/$alice/$WORK" || { TROUBLE="alice has no token file"; return 1; }
	until_true 20 at_rest || { TROUBLE="descriptors and children are $(descriptors), not $REST"; return 1; }
}

# --- what is done while calls fail -----------------------------------------------------------

# Each step may fail then.
exercise() {
	with_carol
	timeout 40 keyfob reload
	as "$carol" timeout 10 keyfob get "$GONE"
	as "$carol" timeout 10 keyfob get "$WORK"
	timeout 40 keyfob refresh "$STEADY"
	timeout 40 keyfob drop "$WORK"
	as "$bob" timeout 10 keyfob get "$WORK"
	without_carol
	timeout 40 keyfob reload
	as "$alice" timeout 10 keyfob get "$WORK"
	as "$alice" timeout 10 cat "$DIR/run/credential/$WORK.sock" </dev/null
	timeout 10 keyfob status
} >"$DIR/out/exercise" 2>&1
# The configuration was changed while nothing could be told of it: then it is told now.
settle() {
	faultctl clear
	without_carol
	[ -n "$BROKER" ] && is_alive && timeout 40 keyfob reload >/dev/null 2>"$DIR/out/reload"
}
round() {
	LOG_LINES=$(wc -l <"$LOG")
	exercise
	FAILED_CALLS=$((${FAILED_CALLS:-0} + $(faultctl sites | awk '{ n += $6 } END { print n + 0 }')))
	settle
	holds_to_it
}

# What was allocated where and never freed, of a broker that ended as it should: more than one by which nothing failed?
leaks() {
	faultctl sites | awk '$2 == "keyfobd" && $7 > 0 { print $1, $7 }'
}
stop_and_look() {
	stop_broker
	leaks >"$DIR/out/leaks"
	while read -r site count; do
		grep -q "^$site " "$DIR/out/leaks.clean" || echo "$count from $(where "$site")"
	done <"$DIR/out/leaks"
}
VIOLATIONS=0 ROUNDS=0
# try DESCRIPTION: a round of what was armed
try() {
	ROUNDS=$((ROUNDS + 1))
	round && return 0
	VIOLATIONS=$((VIOLATIONS + 1))
	fail "$1" "$TROUBLE" "$(tail -n +"$((LOG_LINES + 1))" "$LOG" | grep -v ' event=fetched\|event=reloaded' | tail -n 15)"
	[ -z "$BROKER" ] || stop_broker KILL
	faultctl clear
	keyfobd --socket "$KEYFOB_SOCKET" --purge 2>/dev/null
	start_broker
	gets "$alice" "$STEADY"
	return 1
}

without_carol
start_broker
LOG_LINES=0
gets "$alice" "$WORK"
gets "$alice" "$STEADY"
sleep 1
REST=$(descriptors)
faultctl clear
round && pass "nothing fails: all is well" || fail "nothing fails: all is well" "$TROUBLE"
faultctl clear
exercise
faultctl sites | awk '$5 > 0' >"$SITES"
settle
stop_broker
leaks >"$DIR/out/leaks.clean"
start_broker
gets "$alice" "$STEADY"
faultctl clear
echo "# $(wc -l <"$SITES") sites, $(awk '{ n += $5 } END { print n }' "$SITES") calls; descriptors at rest $REST; leaks $(tr '\n' ',' <"$DIR/out/leaks.clean")"

# --- what once was wrong -----------------------------------------------------------------------
# arm PROGRAM CALL FROM COUNT ERROR: at every site where that program makes that call
arm() {
	faultctl clear
	awk -v program="$1" -v call="$2" '$2 == program && $3 == call { print $1 }' "$SITES" | while read -r site; do faultctl arm "$site" "$3" "$4" "$5"; done
}
ALWAYS=1000000
while read -r program call count error what; do
	arm "$program" "$call" 1 "$count" "$error"
	try "$call: $error: $what" && pass "$call: $error: $what"
done <<END
keyfobd keyctl_revoke $ALWAYS EDQUOT what cannot be revoked now is revoked later
keyfobd keyctl_read $ALWAYS ENOMEM copies that could not be listed are found later
keyfobd strdup 1 ENOMEM no configuration counts of which a word was lost
keyfobd fork $ALWAYS EAGAIN a fetch that cannot be started is no wrong configuration
keyfobd setresuid $ALWAYS EAGAIN nor one that cannot become its user just now
keyfobd unlinkat $ALWAYS EIO token files that cannot be removed are removed later
keyfobd event_add $ALWAYS ENOMEM no timer that could not be set is waited for
keyfob-fetch fstat $ALWAYS EIO a sandbox whose files could not be looked at is not one without them
keyfob-fetch seccomp_init $ALWAYS ENOMEM nor is a sandbox that lacks memory a wrong configuration
END

# --- by chance, a tenth of a percent to two ---------------------------------------------------------
for ((i = 1; i <= CHANCES; i++)); do
	faultctl clear
	faultctl chance $((10 + (i * 37) % 200)) "$((SEED * 1000 + i))" -
	try "by chance, seed $((SEED * 1000 + i))"
done

# --- one site after the other ------------------------------------------------------------------
while read -r site program call place calls rest; do
	case $call in add_key | keyctl_*) errors=$(faultctl errors "$call") ;; *) errors=0 ;; esac
	for error in $errors; do
		echo "$site 1 $ALWAYS $error"
		for ((n = 1; n <= calls && n <= 64; n++)); do echo "$site $n 1 $error"; done
	done
done <"$SITES" >"$DIR/out/plan"
pick "$SEED" "$HOW_MANY" <"$DIR/out/plan" >"$DIR/out/picked"
while read -r site from count error; do
	faultctl clear
	faultctl arm "$site" "$from" "$count" "$error"
	try "$(where "$site") fails $([ "$count" = 1 ] && echo "once, at call $from" || echo always), error $error"
done <"$DIR/out/picked"
echo "# $ROUNDS rounds, $FAILED_CALLS failed calls, of $(wc -l <"$DIR/out/plan") that are planned"
is "nothing of it broke what must hold" "$VIOLATIONS" 0

# --- no descriptors ---------------------------------------------------------------------------------
faultctl clear
if prlimit --pid "$BROKER" --nofile="$(($(find "/proc/$BROKER/fd" -mindepth 1 | wc -l) + 1)):" 2>/dev/null; then
	LOG_LINES=$(wc -l <"$LOG")
	exercise
	check "a broker without descriptors: who has a copy reads it" can_read "$alice" "$STEADY"
	prlimit --pid "$BROKER" --nofile=4096:
	settle
	holds_to_it && pass "with descriptors again all is well" || fail "with descriptors again all is well" "$TROUBLE"
else
	skip "a broker without descriptors" "limits of other processes cannot be set here"
fi

# --- the end ---------------------------------------------------------------------------------------
faultctl clear
is "a broker by which calls failed has freed what it allocated" "$(stop_and_look)" ""
finish
