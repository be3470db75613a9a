#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The clock is set by an hour, forth and back, and the host sleeps: tokens that are good are served and not fetched, those that
# are not never are, waits are as long as before, and nobody storms the cloud. The clock is another one than the kernel's
# (tests/modules/other-clock.c), whose own stays as it is.
grep -q __asan_init "$KEYFOB_PREFIX/lib/libkeyfob.so" && { echo "1..0 # SKIP this build cannot be given another clock"; exit 0; }
. "$(dirname "$0")/world.inc"

CLOCK=/srv/clock HOUR=3600 SLEPT=0
new_user; alice=$USER_NAME
install -m 0755 "$KEYFOB_PREFIX/tree/tests/modules/other-clock.so" /srv/other-clock.so

# set_clock SECONDS [SLEPT]: by so much the wall clock is ahead of the cloud's, and the host slept so long
set_clock() {
	AHEAD=$1 SLEPT=${2:-$SLEPT}
	"$HELPERS/step-clock" $CLOCK "$AHEAD" "$SLEPT" "$BROKER"
}
# What the clock is when the first program starts.
begin_clock() {
	AHEAD=$1
	printf '%-63s\n' "$AHEAD 0" >$CLOCK
	echo /srv/other-clock.so >/etc/ld.so.preload
}
claim() {
	printf '%s' "$1" | cut -d. -f2 | tr '_-' '/+' | sed 's/$/===/' | base64 -d 2>/dev/null | jq -r ".$2"
}
status_of() {
	keyfob status --json "$1" | jq -r ".credentials[0].$2"
}
is_state() {
	[ "$(status_of "$1" state)" = "$2" ]
}
has_asked() {
	[ "$(requests imds)" -ge "$1" ]
}
# ask_on TIMES: five times a second alice asks for the half hour's token; how often she got one, and one that had ended
ask_on() {
	local i token
	GOT=0 OLD=0
	for i in $(seq "$1"); do
		if token=$(as "$alice" keyfob get short 2>"$DIR/out/why"); then
			GOT=$((GOT + 1))
			[ "$(claim "$token" exp)" -gt $(($(date +%s) + AHEAD)) ] || OLD=$((OLD + 1))
		fi
		sleep 0.2
	done
}
# between DESCRIPTION LEAST MOST NUMBER
between() {
	if [ "$4" -ge "$2" ] && [ "$4" -le "$3" ]; then pass "$1"; else fail "$1" "$4 is not between $2 and $3"; fi
}

start_emulator --lifetime 1800
SHORT=$CLOUD
start_emulator --lifetime 86400
LONG=$CLOUD
begin_clock -$HOUR
configure <<EOF
[credential short]
resource = api://short
provider = azure endpoint=$SHORT
allow = user:$alice

[credential long]
resource = api://long
provider = azure endpoint=$LONG
allow = user:$alice

[credential back]
resource = api://back
provider = azure endpoint=$LONG
refresh = on-demand
allow = user:$alice

[credential forth]
resource = api://forth
provider = azure endpoint=$LONG
refresh = on-demand
allow = user:$alice

[identity-provider kept]
issuer = https://kept.example
audience = orders
authorization_type = user
jwks_file = $DIR/etc/jwks.json

[identity-provider fetched]
issuer = $LONG
audience = api://orders
authorization_type = user

[database-user kept]
service = postgresql
identity_provider = kept
user_id = me
login = orders
EOF
"$HELPERS/mint" keys "$DIR/keys" && chmod 0700 "$DIR/keys" && install -m 0644 "$DIR/keys/jwks.json" "$DIR/etc/jwks.json"
start_broker
set_clock -$HOUR
[ $? != 77 ] || { skip "the clock" "nobody's timers may be reached here"; finish; }

# --- a host that is an hour behind, as it may be when it boots ---------------------------------
CLOUD=$SHORT
check "an hour behind, there is a token" until_true 5 is_state short valid
between "whose life is what the cloud says, not what the wrong clock makes of its end" 1795 1830 \
	$(($(date +%s) - $(status_of short expires_at)))
set_clock 0
check "set right, which the log tells" until_true 5 logged 'the clock was set by \+(3600|3599) s'
check "what looks old is fetched at once" until_true 5 has_asked 2
check "and is valid" until_true 5 is_state short valid
ask_on 10
is "who asks is given tokens, none of which has ended" "$GOT $OLD" "10 0"
is "by no more requests" "$(requests imds)" 2

# --- ahead: the cloud's tokens have ended before they come --------------------------------------
before=$(requests imds)
set_clock $HOUR
ask_on 15
is "an hour ahead, no token that has ended is given" "$OLD" 0
like "which is told" "$(cat "$DIR/out/why")" "host's clock is wrong"
between "and the cloud is not asked all the while" 1 2 $(($(requests imds) - before))
before=$(requests imds)
set_clock 0
check "set right again, there is a token at once, whatever wait was due" until_true 5 is_state short valid
ask_on 5
is "which is given" "$GOT $OLD" "5 0"
between "by one request" 1 1 $(($(requests imds) - before))

# --- a token of a day ------------------------------------------------------------------------------
CLOUD=$LONG
before=$(requests imds) planned=$(status_of long refresh_at) first=$(as "$alice" keyfob get long)
set_clock $HOUR
is "set forward, a token that is good all the same stays" "$(as "$alice" keyfob get long)" "$first"
is "and is refreshed when that was due" "$(status_of long refresh_at)" "$planned"
sets=$(grep -c 'the clock was set by' "$LOG")
set_clock 0
until_true 5 eval '[ $(grep -c "the clock was set by" $LOG) -gt $sets ]'
is "set back, it stays too" "$(as "$alice" keyfob get long)" "$first"
between "and is refreshed no later for it" -5 5 $(($(status_of long refresh_at) - planned + HOUR))
for step in -$HOUR 0 $HOUR -$HOUR $HOUR 0; do
	set_clock $step
	is "set to $step, the same token" "$(as "$alice" keyfob get long)" "$first"
done
is "nothing was fetched for all this" "$(requests imds)" "$before"

# --- waits ---------------------------------------------------------------------------------------------
# waits NAME STEP: the cloud asks for three seconds of patience while a client waits, and the clock is set meanwhile
waits() {
	local began asked
	set_clock 0
	fault 'path=imds&status=429&retry_after=3&count=1'
	asked=$(requests imds) began=$(date +%s%N)
	as "$alice" keyfob get "$1" >"$DIR/out/waited" 2>&1 &
	until_true 5 is_state "$1" failed
	set_clock "$2"
	wait $!
	is "a client waits over a step of $2 s" "$?" 0
	between "as long as the cloud wants" 2500 12000 $((($(date +%s%N) - began) / 1000000))
	is "which is asked once more" "$(requests imds)" $((asked + 2))
}
waits back -$HOUR
waits forth $HOUR
set_clock 0

# --- sleep -----------------------------------------------------------------------------------------------
# What a process sees of a suspend: the wall clock and the time since boot went on, all else stood still.
before=$(requests imds) sets=$(grep -c 'the clock was set by' "$LOG")
set_clock $((13 * HOUR)) $((13 * HOUR))
check "asleep until after its refresh, a token is refreshed" until_true 5 has_asked $((before + 1))
sleep 1
is "once" "$(requests imds)" $((before + 1))
is "and no clock was set" "$(grep -c 'the clock was set by' "$LOG")" "$sets"
set_clock 0

# --- the verifier -----------------------------------------------------------------------------------------
# verdict: of the verifier on the token; nothing when it is taken
verdict() {
	"$HELPERS/ask-verifier" token postgresql orders <"$DIR/out/token" 2>&1 >/dev/null
}
if id keyfob-verify >/dev/null 2>&1; then
	"$HELPERS/mint" token --key "$DIR/keys/rsa.pem" --kid rsa --life 1800 \
		--claims "{\"iss\":\"https://kept.example\",\"aud\":\"orders\",\"sub\":\"me\",\"nbf\":$(date +%s)}" >"$DIR/out/token"
	start_verifier
	until_true 5 eval '[ "$(requests jwks)" -ge 1 ]'
	before=$(requests jwks)
	is "a login with a token of half an hour" "$(verdict)" ""
	set_clock -30
	is "half a minute behind, still" "$(verdict)" ""
	set_clock -$HOUR
	like "an hour behind it is not yet valid" "$(verdict)" 'NOT_YET'
	set_clock $HOUR
	like "an hour ahead it has expired" "$(verdict)" 'EXPIRED'
	set_clock 0
	is "set right, it is good again" "$(verdict)" ""
	like "the key set that was fetched is there all the while" "$(keyfob jwks list fetched)" '^fetched  good'
	between "and few were fetched for it" 0 3 $(($(requests jwks) - before))
else
	skip "the verifier" "needs the user keyfob-verify"
fi

# --- a stop --------------------------------------------------------------------------------------------------
start_emulator --lifetime 8
configure <<EOF
[credential brief]
resource = api://brief
provider = azure endpoint=$CLOUD
allow = user:$alice
EOF
keyfob reload >/dev/null
check "a token of eight seconds" until_true 5 is_state brief valid
before=$(requests imds)
kill -STOP "$BROKER"
sleep 5
kill -CONT "$BROKER"
check "stopped over its refresh, the broker makes up for it" until_true 2 has_asked $((before + 1))
check "and the token is good" until_true 2 is_state brief valid
finish
