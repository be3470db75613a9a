#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job: a provider's token, hung on the kernel keyring, read by those who may and by nobody else.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
start_emulator
cat >"$DIR/callback" <<'EOF'
#!/bin/sh
printf '{"access_token":"callback-token-of-%s","expires_in":3600}' "$(id -un)"
EOF
chmod 0755 "$DIR/callback"
configure <<EOF
[credential atlas]
description = orders database
resource = api://0d5c1c0e
provider = azure endpoint=$CLOUD
allow = user:$alice

[credential local]
provider = callback-exec run_as=$bob -- $DIR/callback
allow = user:$bob
EOF
start_broker

# --- the same bytes on every way -------------------------------------------------
exits "an allowed user gets the token" 0 as "$alice" keyfob get atlas
token=$OUT
like "it is a JWT" "$token" '^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$'
exits "keyctl pipe gives the same bytes" 0 as "$alice" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:atlas'
is "keyctl pipe and keyfob get agree" "$OUT" "$token"
exits "a program linked with libkeyfob gives the same bytes" 0 as "$alice" "$HELPERS/reader" atlas
is "the program and keyfob get agree" "$OUT" "$token"
exits "the callback's token comes from its own user" 0 as "$bob" keyfob get local
is "and is what the program printed" "$OUT" "callback-token-of-$bob"

exits "keyfob get tells another user no" 4 as "$bob" keyfob get atlas
like "in words" "$ERR" 'keyfob: atlas: .*not allowed'
exits "the program tells another user no" 4 as "$bob" "$HELPERS/reader" atlas
check_not "keyctl finds nothing for another user" as "$bob" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:atlas'
exits "an unknown credential" 3 as "$alice" keyfob get atlantis
check "a denial is logged with uid and credential" logged "credential=atlas uid=$(id -u "$bob") .*event=denied"
exits "the header form" 0 as "$alice" keyfob get --header atlas
is "header" "$OUT" "Authorization: Bearer $token"
exits "the JSON form" 0 as "$alice" keyfob get --json atlas
is "JSON holds the token" "$(printf '%s' "$OUT" | jq -r .token)" "$token"

# --- what the kernel keeps ---------------------------------------------------------
ring=$(persistent "$alice")
key=$(keyctl search "$ring" user keyfob:atlas)
keyfob_ring=$(keyctl search "$ring" keyring keyfob)
is "the key belongs to root and nobody may change it" "$(keyctl rdescribe "$key" | cut -d';' -f1-4)" "user;0;0;1b3f0000"
is "so does the ring" "$(keyctl rdescribe "$keyfob_ring" | cut -d';' -f1-4)" "keyring;0;0;0b3f0000"
unlike "every published key has a timeout" "$(grep -E ' user +keyfob' /proc/keys)" ' perm '
for operation in "update $key x" "revoke $key" "timeout $key 99999" "chown $key $(id -u "$alice")" "setperm $key 0x3f3f3f3f" \
	"link $key $keyfob_ring" "unlink $key $keyfob_ring" "clear $keyfob_ring" "setperm $keyfob_ring 0x3f3f3f3f" "timeout $keyfob_ring 99999" \
	"add user keyfob:atlas forged $keyfob_ring" "chgrp $key $(id -g "$alice")" "move $key $keyfob_ring @s" "restrict_keyring $keyfob_ring"; do
	check_not "its reader may not: keyctl ${operation%% *}" as "$alice" sh -c "keyctl get_persistent @s >/dev/null; keyctl $operation"
done
is "after all that the token is the same" "$(as "$alice" keyfob get atlas)" "$token"

# --- what a user may break is mended without a fetch --------------------------------
before=$(requests imds)
as "$alice" sh -c "keyctl get_persistent @s >/dev/null; keyctl invalidate $key"
check_not "the invalidated copy is gone" as "$alice" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:atlas'
is "the next get brings it back" "$(as "$alice" keyfob get atlas)" "$token"
is "into the keyring" "$(as "$alice" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:atlas')" "$token"
as "$alice" sh -c "p=\$(keyctl get_persistent @s); keyctl unlink $keyfob_ring \$p"
is "the same after he unlinks the ring" "$(as "$alice" keyfob get atlas)" "$token"
is "in the keyring too" "$(as "$alice" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:atlas')" "$token"
as "$alice" sh -c 'p=$(keyctl get_persistent @s); r=$(keyctl newring keyfob $p); keyctl add user keyfob:atlas forged $r >/dev/null
	keyctl add user keyfob-info:atlas "v1 serial=1 expires=99999999999 refresh=0 fingerprint=00000000 previous=0:0 broker=$KEYFOB_SOCKET" $r'
is "a false ring is not believed" "$(as "$alice" keyfob get atlas)" "$token"
is "nor by a program" "$(as "$alice" "$HELPERS/reader" atlas)" "$token"
is "a false ring in the session is passed by" "$(as "$alice" sh -c 'r=$(keyctl newring keyfob @s); keyctl add user keyfob:atlas forged $r >/dev/null
	keyfob get atlas')" "$token"
is "none of this caused a request" "$(requests imds)" "$before"

# --- the broker's end is not the token's ---------------------------------------------
keyctl revoke "$(persistent "$bob")"
launcher=$(launcher)
stop_broker KILL
is "reading goes on without a broker" "$(as "$alice" keyfob get atlas)" "$token"
exits "without a broker and a copy the reason is told" 6 as "$bob" keyfob get local
like "in words" "$ERR" 'cannot reach the broker'
until_true 5 sh -c "! kill -0 $launcher"
start_broker
is "started again it gives the same token" "$(as "$alice" keyfob get atlas)" "$token"
is "also by socket" "$(keyfob get atlas)" "$token"
is "it fetched nothing that was still good" "$(requests imds)" "$before"
check "it says what it adopted" logged 'credential=atlas event=adopted'

# --- what keyfobd still may --------------------------------------------------------------
is "capabilities: CAP_SETUID alone" "$(grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/"$BROKER"/status | tr -d '\t' | tr '\n' ' ')" \
	"CapInh:0000000000000000 CapPrm:0000000000000080 CapEff:0000000000000080 CapBnd:0000000000000080 CapAmb:0000000000000000 "
is "no new privileges, and a filter" "$(grep -E '^(NoNewPrivs|Seccomp):' /proc/"$BROKER"/status | tr -d '\t' | tr '\n' ' ')" "NoNewPrivs:1 Seccomp:2 "
is "the launcher: CHOWN, SETUID, SETGID, KILL" "$(grep ^CapEff /proc/"$(launcher)"/status | tr -d '\t')" "CapEff:00000000000000e1"
for program in sbin/keyfobd bin/keyfob lib/libkeyfob.so libexec/keyfob/keyfob-fetch; do
	unlike "$program links neither libcurl nor libcrypto" "$(ldd "$KEYFOB_PREFIX/$program")" 'libcurl|libcrypto'
done
for program in sbin/keyfobd lib/libkeyfob.so; do
	unlike "$program does not link jansson" "$(ldd "$KEYFOB_PREFIX/$program")" 'jansson'
done

# --- drop --------------------------------------------------------------------------------
check_not "drop is root's" as "$alice" keyfob drop atlas
rotate
check "root drops" keyfob drop atlas
check_not "the old key is revoked, not only unlinked" keyctl pipe "$key"
fresh=$(as "$alice" keyfob get atlas)
[ "$fresh" != "$token" ] && pass "the next token is a new one" || fail "the next token is a new one"
unlike "no token in the log" "$(cat "$LOG")" "$(printf '%s' "$token" | cut -d. -f3 | cut -c1-20)"
finish
