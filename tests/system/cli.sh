#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The verbs beside get: refresh, try, explain, reload, get --direct, and what libkeyfob's reject brings about.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
new_user; stranger=$USER_NAME
new_group "$bob"; team=$GROUP_NAME
start_emulator
printf '#!/bin/sh\nprintf token-of-%%s "$(id -un)"\n' >"$DIR/print"
chmod 0755 "$DIR/print"
configure <<EOF
[credential verbs]
description = for the verbs
resource = api://verbs
provider = azure endpoint=$CLOUD
allow = user:$alice group:$team

[credential program]
provider = callback-exec run_as=$bob format=raw ttl=1h -- $DIR/print
allow = user:$bob
refresh = on-demand

[credential stacked]
resource = api://stacked
provider = azure endpoint=http://127.0.0.1:1
provider = azure endpoint=$CLOUD
refresh = on-demand
EOF
start_broker
first=$(as "$alice" keyfob get verbs)

# --- refresh -------------------------------------------------------------------------
rotate
exits "a user who may have it may ask for a refresh" 0 as "$alice" keyfob refresh verbs
like "and reads how long it lives" "$OUT" '^verbs: fetched afresh, #[0-9a-f]{8}'
second=$(as "$alice" keyfob get verbs)
[ "$second" != "$first" ] && pass "the token is another" || fail "the token is another"
exits "again at once he is told to wait" 8 as "$alice" keyfob refresh verbs
like "and for how long" "$ERR" 'a moment ago \(try again in [0-9]+ s\)'
exits "root need not wait" 0 keyfob refresh verbs
exits "a stranger may not" 4 as "$stranger" keyfob refresh verbs

reject_as() { # USER TOKEN
	printf %s "$2" | as "$1" "$HELPERS/reject" verbs
}
# --- reject -----------------------------------------------------------------------------
before=$(requests imds)
exits "an old token is rejected: nothing happens" 0 reject_as "$alice" "$first"
is "and nothing is fetched" "$(requests imds)" "$before"
current=$(as "$alice" keyfob get verbs)
rotate
exits "the current token is rejected" 0 reject_as "$alice" "$current"
third=$(as "$alice" keyfob get verbs)
[ "$third" != "$current" ] && pass "the next one is another" || fail "the next one is another"
check "the log tells why" logged 'credential=verbs event=dropped .*a server refused it'
exits "again at once it is refused" 8 reject_as "$alice" "$third"
exits "who may not have it may not reject it" 4 reject_as "$stranger" "$third"

# --- explain ----------------------------------------------------------------------------
exits "explain shows the claims" 0 as "$alice" keyfob explain verbs
like "the audience" "$OUT" 'api://verbs'
like "and the values to paste" "$OUT" "$CLOUD"
unlike "and no signature" "$OUT" "$(printf '%s' "$third" | cut -d. -f3 | cut -c1-20)"
exits "explain - reads a token from stdin" 0 sh -c "printf %s '$third' | keyfob explain -"
exits "may a named user have it" 0 keyfob explain verbs --as "$alice"
exits "may a member of the group" 0 keyfob explain verbs --as "$bob"
like "why" "$OUT" 'group'
exits "may a stranger" 4 keyfob explain verbs --as "$stranger"
exits "only root asks about others" 4 as "$alice" keyfob explain verbs --as "$bob"
exits "everybody about himself" 0 as "$bob" keyfob explain verbs --as "$bob"

# --- try ---------------------------------------------------------------------------------
before=$(as "$alice" keyfob get verbs)
exits "try shows the exchange" 0 keyfob try verbs
like "what was asked" "$OUT" 'GET http://127.0.0.1:[0-9]+/metadata/identity/oauth2/token'
unlike "and no token" "$OUT" 'eyJ[A-Za-z0-9_-]{10,}'
is "and stores nothing" "$(as "$alice" keyfob get verbs)" "$before"
exits "try is root's" 4 as "$alice" keyfob try verbs

# --- without a daemon -----------------------------------------------------------------------
exits "doctor: all is well" 0 keyfob --config "$CONFIG" doctor
stop_broker
exits "doctor: the broker is out of reach" 1 keyfob --config "$CONFIG" doctor
like "and what to do" "$OUT" ' error .* -> systemctl (re)?start keyfobd$'
exits "no broker: root gets a token directly" 0 keyfob --config "$CONFIG" get --direct verbs
like "it is one" "$OUT" '^eyJ'
exits "so does an allowed user" 0 as "$alice" keyfob --config "$CONFIG" get --direct --json verbs
like "with its end" "$OUT" '"expires_at":[0-9]{10}'
exits "a stranger does not" 4 as "$stranger" keyfob --config "$CONFIG" get --direct verbs
exits "a program runs as its user" 0 keyfob --config "$CONFIG" get --direct program
is "root may start it" "$OUT" "token-of-$bob"
exits "as himself the user may too" 0 as "$bob" keyfob --config "$CONFIG" get --direct program
is "with the same outcome" "$OUT" "token-of-$bob"
exits "the second provider line is tried" 0 keyfob --config "$CONFIG" get --direct stacked
exits "an unknown name" 3 keyfob --config "$CONFIG" get --direct nothing
fault 'path=imds&status=400'
exits "a refusal" 5 keyfob --config "$CONFIG" get --direct verbs
like "in words" "$ERR" '^keyfob: verbs: azure: IMDS answered 400'
no_faults
check_not "nothing of the program is in a keyring" grep -q " keyfob:program: " /proc/keys
finish
