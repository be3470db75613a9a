#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Many readers at once: one request, one token; and a token that is renewed under their hands.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
start_emulator
configure <<EOF
[credential cold]
resource = api://cold
provider = azure endpoint=$CLOUD
refresh = on-demand
allow = user:$alice

[credential colder]
resource = api://colder
provider = azure endpoint=$CLOUD
refresh = on-demand
allow = user:$alice
EOF
start_broker
is "nothing is fetched before somebody asks" "$(requests imds)" 0

# --- cold -------------------------------------------------------------------------
# Slow enough that all have asked before the answer.
fault 'path=imds&delay_ms=2000&count=1'
like "200 processes that ask at once get one token" "$(as "$alice" "$HELPERS/crowd" once 200 cold 2>&1)" \
	'^asked 200 got 200 missed 0 gaps 0 tokens 1$'
is "by one request" "$(requests imds)" 1
fault 'path=imds&delay_ms=4000&count=1'
like "1,000 processes that ask at once get one token" "$(as "$alice" "$HELPERS/crowd" once 1000 colder 2>&1)" \
	'^asked 1000 got 1000 missed 0 gaps 0 tokens 1$'
is "by one request" "$(requests imds)" 2
like "1,000 more read it" "$(as "$alice" "$HELPERS/crowd" once 1000 colder 2>&1)" '^asked 1000 got 1000 missed 0 gaps 0 tokens 1$'
is "by no request" "$(requests imds)" 2
own_keys=$(as "$alice" sh -c "awk -v uid=\"\$(id -u):\" '\$1 == uid { print \$4 }' /proc/key-users" | cut -d/ -f1)
[ "$own_keys" -lt 20 ] && pass "all these readers cost the user hardly a key" || fail "all these readers cost the user hardly a key" "$own_keys"
stop_broker

# --- renewed ahead --------------------------------------------------------------------
start_emulator --lifetime 8
configure <<EOF
[credential short]
resource = api://short
provider = azure endpoint=$CLOUD
allow = user:$alice
EOF
start_broker
as "$alice" keyfob get short >/dev/null
# Whoever had to wait for a fetch would wait that long.
fault 'path=imds&delay_ms=1500'
result=$(as "$alice" "$HELPERS/crowd" loop 20 short 20 2>&1)
like "over 20 s no reader is ever without a token that lives 8 s" "$result" '^asked ([0-9]+) got \1 missed 0 gaps 0 tokens'
slowest=$(sed -n 's/^slowest \(.*\) ms$/\1/p' <<<"$result")
[ "$slowest" -lt 1200 ] && pass "nor waits for the provider, which takes 1.5 s" || fail "nor waits for the provider, which takes 1.5 s" "$slowest ms"
tokens=$(sed -n 's/.* tokens //p' <<<"$result")
[ "$tokens" -ge 3 ] && [ "$tokens" -le 7 ] && pass "it changed every 4 to 6 s" || fail "it changed every 4 to 6 s" "$tokens tokens"
[ "$(requests imds)" -le 14 ] && pass "by a bounded number of requests" || fail "by a bounded number of requests" "$(requests imds)"
finish
