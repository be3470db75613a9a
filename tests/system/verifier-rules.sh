#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Rules that only some identity providers have, by a real keyfob-verifyd: clients, lifetimes, groups that Azure left out, Azure's
# tokens of version 1, a little life after the end; and a provider that is gone for longer than its keys are believed.
. "$(dirname "$0")/lib.sh"

ASK=$HELPERS/ask-verifier MINT=$HELPERS/mint KEYS=$DIR/keys
LATER_SO=$KEYFOB_PREFIX/tree/tests/modules/later.so
tenant=6f0c9b9e-6a52-4d3b-9d2e-2f4f6d6d1c11
install -d -m 0700 "$KEYS"
"$MINT" keys "$KEYS" || exit 1
install -m 0644 "$KEYS/jwks.json" "$DIR/etc/jwks.json"
start_emulator
serve_keys() {
	curl -sS -f -X POST "$CLOUD/emulator/faults" -d path=jwks --data-urlencode "body=$("$MINT" jwks "one=$KEYS/rsa.pem")" -d count=100000 >/dev/null
}
serve_keys
configure <<END
[identity-provider azure]
issuer = https://login.microsoftonline.com/$tenant/v2.0
audience = orders
authorization_type = group
jwks_file = $DIR/etc/jwks.json
[identity-provider strict]
issuer = https://strict.example
audience = orders
authorization_type = user
client_id = caller-1
client_id = caller-2
max_lifetime = 1h
jwks_file = $DIR/etc/jwks.json
[identity-provider lenient]
issuer = https://lenient.example
audience = orders
authorization_type = user
expiry_skew = 60s
jwks_file = $DIR/etc/jwks.json
[identity-provider served]
issuer = https://served.example
audience = orders
authorization_type = user
jwks_uri = $CLOUD/jwks
[database-user azure]
service = pg
identity_provider = azure
group_id = readers
[database-user strict]
service = pg
identity_provider = strict
user_id = alice
[database-user lenient]
service = pg
identity_provider = lenient
user_id = alice
[database-user served]
service = pg
identity_provider = served
user_id = alice
END
chmod 0644 "$CONFIG"
start_broker
start_verifier

# token ISSUER CLAIMS [OPTION...]: CLAIMS are more members, or nothing
token() {
	local issuer=$1 claims=$2
	shift 2
	"$MINT" token --key "$KEYS/rsa.pem" --alg RS256 --kid rsa --life 600 \
		--claims "{\"iss\":\"$issuer\",\"aud\":\"orders\",\"sub\":\"alice\"${claims:+,$claims}}" "$@"
}
# judge LOGIN TOKEN
judge() {
	OUT=$(printf %s "$2" | "$ASK" token pg "$1" 2>"$DIR/out/err")
	CODE=$? ERR=$(cat "$DIR/out/err")
}
accepted() { # WHAT LOGIN TOKEN
	judge "$2" "$3"
	like "accepted: $1" "$CODE $OUT $ERR" "^0 $2 $2 alice "
}
refused() { # WHAT REASON LOGIN TOKEN
	judge "$3" "$4"
	like "refused: $1" "$CODE $ERR" "^${EXPECTED:-7} $2: "
}

# --- Azure ----------------------------------------------------------------------------------------
azure=https://login.microsoftonline.com/$tenant/v2.0
accepted "a member of the group" azure "$(token "$azure" '"groups":["readers"]')"
refused "a token of version 1" ISS_AZURE_V1 azure "$(token "https://sts.windows.net/$tenant/" '"groups":["readers"]')"
like "and what to do is told" "$ERR" 'accessTokenAcceptedVersion'
refused "another tenant's of version 1" ISS azure "$(token https://sts.windows.net/11111111-2222-3333-4444-555555555555/ '"groups":["readers"]')"
refused "groups elsewhere" GROUP_OVERAGE azure \
	"$(token "$azure" '"_claim_names":{"groups":"src1"},"_claim_sources":{"src1":{"endpoint":"https://graph.example/x"}}')"
refused "groups that are too many" GROUP_OVERAGE azure "$(token "$azure" '"hasgroups":true')"

# --- clients and lifetimes ------------------------------------------------------------------------
strict=https://strict.example
accepted "a client that is named" strict "$(token "$strict" '"azp":"caller-2"')"
refused "one that is not" CLIENT strict "$(token "$strict" '"azp":"caller-3"')"
refused "two, one of which is not" CLIENT strict "$(token "$strict" '"azp":"caller-1","client_id":"caller-3"')"
refused "none" CLIENT strict "$(token "$strict" '')"
accepted "an hour" strict "$(token "$strict" '"azp":"caller-1"' --life 3600)"
refused "more than an hour" LIFETIME strict "$(token "$strict" '"azp":"caller-1"' --life 3601)"
refused "nobody knows since when" LIFETIME strict "$(token "$strict" "\"azp\":\"caller-1\",\"iat\":null,\"exp\":$(($(date +%s) + 600))")"

# --- after its end ----------------------------------------------------------------------------------
old=$(token https://lenient.example '' --life -5)
accepted "expired, within expiry_skew" lenient "$old"
accepted "and once more" lenient "$old"
refused "expired, and longer ago" EXPIRED lenient "$(token https://lenient.example '' --life -61)"
like "both are told" "$ERR" 'exp was [0-9]+ s ago, expiry_skew is 60 s'
refused "expired, where nothing is allowed" EXPIRED strict "$(token "$strict" '"azp":"caller-1"' --life -5)"

# --- a provider that is gone ----------------------------------------------------------------------------
served() {
	token https://served.example '' --kid one --life 200000
}
check "its keys came" until_true 10 eval '"$ASK" keysets served | grep -q good'
accepted "while it is there" served "$(served)"
stop_verifier
fault 'path=jwks&status=500&count=100000'
if grep -q __asan_init "$KEYFOB_PREFIX/sbin/keyfob-verifyd"; then
	skip "its keys have an end" "this build cannot be given another clock"
else
	LD_PRELOAD=$LATER_SO LATER=3600 start_verifier
	check "an hour later it cannot be reached" until_true 10 eval '"$ASK" keysets served | grep -q "stale.*error: .*500"'
	accepted "and its keys are believed" served "$(served)"
	like "which the list tells" "$(LD_PRELOAD=$LATER_SO LATER=3600 keyfob jwks list served)" '^served  stale$'
	stop_verifier
	LD_PRELOAD=$LATER_SO LATER=86500 start_verifier
	EXPECTED=8 refused "a day later they are not" KEYS_STALE served "$(served)"
	like "and why is told" "$ERR" 'hard limit'
	check "in the log, too" logged 'identity_provider=served event=keyset-stale'
	like "and in the list" "$(LD_PRELOAD=$LATER_SO LATER=86500 keyfob jwks list served)" '^served  expired$'
	is "and in JSON" "$(LD_PRELOAD=$LATER_SO LATER=86500 keyfob jwks list served --json | jq -r '.key_sets[0].state')" expired
	no_faults
	serve_keys
	exits "once it is back" 0 "$ASK" refresh served
	accepted "its keys are believed again" served "$(served)"
fi
finish
