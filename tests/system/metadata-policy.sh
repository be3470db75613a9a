#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The broker's half of keyfob-metadata: which credential is for whom, asked as the user keyfob-metadata does.
# takes long
. "$(dirname "$0")/lib.sh"
SLOW_SO=$KEYFOB_PREFIX/tree/tests/modules/slow-names.so
export SLOW_NAMES=$DIR/etc/slow

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
new_user; carol=$USER_NAME
new_user; dave=$USER_NAME
new_user; eve=$USER_NAME
new_user; gina=$USER_NAME
new_group "$bob" "$carol"; team=$GROUP_NAME
start_emulator --lifetime 40
SHORT=$CLOUD
start_emulator
cat >"$DIR/callback" <<'EOF'
#!/bin/sh
printf '{"access_token":"callback-token","expires_in":3600}'
EOF
chmod 0755 "$DIR/callback"
# configuration [ATLAS-LINE]
configuration() {
	cat <<EOF
[credential atlas]
resource = api://orders
provider = azure endpoint=$CLOUD client_id=aaaa
allow = user:$alice group:$team
${1-metadata = yes}

[credential atlas-too]
resource = api://orders
provider = azure endpoint=$CLOUD client_id=bbbb
allow = user:$alice user:$eve
metadata = yes

[credential open]
resource = api://orders
provider = azure endpoint=$CLOUD
allow = user:$gina
metadata = yes

[credential unmarked]
resource = api://unmarked
provider = azure endpoint=$CLOUD
allow = user:$alice user:keyfob-metadata

[credential ident]
resource = https://orders.example/x
provider = gcp endpoint=$CLOUD
allow = user:$alice user:$carol
metadata = yes

[credential both]
resource = https://orders.example/x
provider = azure endpoint=$CLOUD
token = access
allow = user:$alice
metadata = yes

[credential scope]
resource = https://db.example//.default
provider = azure endpoint=$CLOUD
allow = user:$eve
metadata = yes

[credential team]
resource = api://team
provider = azure endpoint=$CLOUD
allow = group:$team
metadata = yes

[credential own]
resource = own
provider = callback-exec run_as=$dave -- $DIR/callback
allow = user:$dave
metadata = yes

[credential others]
resource = api://others
provider = azure endpoint=$CLOUD
allow = user:$dave user:keyfob-fetch
metadata = yes

[credential short]
resource = api://short
provider = azure endpoint=$SHORT
allow = user:$carol
metadata = yes

[credential slow]
resource = api://slow
provider = azure endpoint=$CLOUD
allow = user:$eve
refresh = on-demand
metadata = yes
EOF
}
configuration | configure
if grep -q __asan_init "$KEYFOB_PREFIX/sbin/keyfobd"; then
	start_broker
else
	LD_PRELOAD=$SLOW_SO start_broker
fi

# asks DESCRIPTION CODE USER KIND RESOURCE [CLIENT_ID]
asks() {
	local what=$1 code=$2 user=$3
	shift 3
	exits "$what" "$code" as keyfob-metadata "$HELPERS/ask-metadata" "$(id -u "$user")" "$@"
}
# is_given CREDENTIAL
is_given() {
	like "it is that of $1" "$ERR" "^expires=[1-9][0-9]* refresh=[1-9][0-9]* token=#[0-9a-f]{8} credential=$1\$"
}

# --- who may ask --------------------------------------------------------------------------
exits "root may ask" 0 "$HELPERS/ask-metadata" "$(id -u "$alice")" id https://orders.example/x
exits "another user may not, not even for himself" 4 as "$alice" "$HELPERS/ask-metadata" "$(id -u "$alice")" id https://orders.example/x
like "and is told who may" "$ERR" 'only root and keyfob-metadata may ask for that'
exits "nor may the verifier" 4 as keyfob-verify "$HELPERS/ask-metadata" "$(id -u "$alice")" id https://orders.example/x
exits "keyfob-metadata has no credential by itself that does not allow it" 4 as keyfob-metadata keyfob get atlas

# --- whose it is -----------------------------------------------------------------------------
asks "a user who is named gets an ID token" 0 "$alice" id https://orders.example/x
is_given ident
token=$OUT
is "the same as over the socket" "$token" "$(as "$alice" keyfob get ident)"
asks "of two kinds for one resource the one that is asked for comes" 0 "$alice" access https://orders.example/x
is_given both
asks "a member of a group" 0 "$bob" access api://team
is_given team
asks "and by user or group, what fits" 0 "$bob" access api://orders
is_given atlas
asks "another user is denied" 4 "$eve" access api://team
denied=$ERR
check "which is logged with his uid" logged "credential=team uid=$(id -u "$eve") event=denied via=metadata"
asks "where there is none it is error 3" 3 "$eve" access api://teal
is "in the same words" "${ERR//teal/team}" "$denied"
asks "what is not marked is not there" 3 "$alice" access api://unmarked
asks "not even for keyfob-metadata itself" 3 keyfob-metadata access api://unmarked
asks "the kind counts" 3 "$alice" id api://orders
asks "root is refused" 4 root access api://orders
check "in the log too" logged 'uid=0 event=denied via=metadata reason="root is not served there"'
asks "the user of fetches is refused, though allowed" 4 keyfob-fetch access api://others
exits "a uid that is none is refused" 4 as keyfob-metadata "$HELPERS/ask-metadata" 4294967295 access api://orders
exits "a uid that nobody has is told the same as a stranger" 4 as keyfob-metadata "$HELPERS/ask-metadata" 64990 access api://team
like "and no more" "$ERR" '^uid 64990 has no credential with metadata = yes that gives an access token for api://team$'

# --- which it is ----------------------------------------------------------------------------------
asks "two that fit are ambiguous" 2 "$alice" access api://orders
like "and are named" "$ERR" 'several credentials of uid [0-9]+ give an access token for api://orders: atlas, atlas-too; '
asks "not for him who may have one of them" 0 "$eve" access api://orders
is_given atlas-too
asks "the client id tells them apart" 0 "$alice" access api://orders aaaa
is_given atlas
asks "either way" 0 "$alice" access api://orders bbbb
is_given atlas-too
asks "a client id that none of his has" 3 "$eve" access api://orders cccc
like "is said" "$ERR" 'credential atlas-too has another client_id than cccc'
asks "also when another's credential has it" 3 "$eve" access api://orders aaaa
like "without a word of that" "$ERR" '^credential atlas-too has another client_id than aaaa$'
asks "a credential without any takes each" 0 "$gina" access api://orders cccc
is_given open
asks "but not that of another's credential" 4 "$gina" access api://orders aaaa
like "which is not named" "$ERR" '^uid [0-9]+ has no credential with metadata = yes that gives an access token for api://orders$'
asks "Azure's scope is the resource" 0 "$bob" access api://team/.default
is_given team
asks "and the other way round" 0 "$eve" access https://db.example/
is_given scope
asks "byte for byte" 3 "$eve" access https://db.example
asks "no scope for ID tokens" 3 "$alice" id https://orders.example/x/.default
asks "no resource: the only one of the kind" 0 "$alice" id ""
is_given ident
asks "or none" 2 "$alice" access ""
like "those that he may have" "$ERR" ' give an access token: atlas, atlas-too, both; '
asks "an unknown kind" 2 "$alice" neither api://orders
asks "a resource of two lines" 2 "$alice" access "$(printf 'a\nb')"
like "is malformed" "$ERR" 'malformed request'
asks "so is one that is too long" 2 "$alice" access "$(printf '%1025s' x)"

# --- who runs fetches ---------------------------------------------------------------------------------
asks "who runs a fetch has what it fetches" 0 "$dave" access own
is "whole" "$OUT" callback-token
asks "but not what another one does: a fetch that was taken over looks like him" 4 "$dave" access api://others
exits "which he has otherwise" 0 as "$dave" keyfob get others

# --- what it leaves -----------------------------------------------------------------------------------
has_copy() {
	keyctl search "$(persistent "$1")" user "keyfob:$2"
}
check "a member of a group has a copy on his keyring after that" until_true 5 has_copy "$bob" team
before=$(requests imds)
key=$(has_copy "$bob" team)
for _ in 1 2 3 4 5 6 7 8; do asks "asking again" 0 "$bob" access api://team; done >/dev/null
is "asking again fetches nothing" "$(requests imds)" "$before"
is "and leaves the copy alone" "$(has_copy "$bob" team)" "$key"
keyctl invalidate "$key"
exits "nor does it use up what puts a lost copy back" 0 as "$bob" keyfob get team
check "which is put back" until_true 5 has_copy "$bob" team
is "keyfob status tells of it" "$(keyfob status --json team | jq -c '.credentials[0].readers[] | select(.name == "metadata") | .state')" '"socket"'
unlike "no token is in the log" "$(cat "$LOG")" 'callback-token|eyJ'

# --- a reload --------------------------------------------------------------------------------------------
asks "another member" 0 "$carol" access api://team
flock /run/lock/keyfob-test gpasswd -d "$carol" "$team" >/dev/null
check "after a reload" keyfob reload
asks "who left the group is denied" 4 "$carol" access api://team
asks "who stayed is not" 0 "$bob" access api://team
configuration "metadata = no" | configure
check "after another reload" keyfob reload
asks "what is no longer marked is not there" 3 "$alice" access api://orders aaaa
asks "for nobody" 4 "$bob" access api://orders
asks "and what was ambiguous is not" 0 "$alice" access api://orders
is_given atlas-too
exits "it is to be had otherwise" 0 as "$bob" keyfob get atlas
configuration | configure
keyfob reload

# --- one user does not keep another from it ------------------------------------------------------------------
if grep -q __asan_init "$KEYFOB_PREFIX/sbin/keyfobd"; then
	skip "a directory service that does not answer" "this build cannot be given another one"
else
	new_user; frank=$USER_NAME
	flock /run/lock/keyfob-test usermod -a -G "$team" "$frank"
	id -u "$frank" >"$SLOW_NAMES"
	as keyfob-metadata "$HELPERS/ask-metadata" "$(id -u "$frank")" access api://team >"$DIR/out/slow" 2>&1 &
	slow=$!
	flock /run/lock/keyfob-test usermod -a -G "$team" "$eve"
	asks "while the look-up of one user hangs, another's is answered" 0 "$eve" access api://team
	is_given team
	asks "and so is who needs none" 0 "$alice" id https://orders.example/x
	exits "and who comes himself" 0 as "$alice" keyfob get ident
	check "the first still waits" kill -0 "$slow"
	wait "$slow"
	is "in the end he is told to come again" "$?" 8
	like "with the reason" "$(cat "$DIR/out/slow")" 'could not be looked up in time'
	asks "the next joins the same look-up, until the launcher ends it" 8 "$frank" access api://team
	like "for the same reason" "$ERR" 'cannot be looked up just now|could not be looked up in time'
	check "which is logged" until_true 20 logged "uid=$(id -u "$frank") event=lookup-failed"
	rm "$SLOW_NAMES"
	asks "once the directory is back he is served" 0 "$frank" access api://team
fi

fault 'path=imds&delay_ms=60000'
mkfifo "$DIR/out/hold"
# The helper's descriptors: a user's many connections are keyfob-metadata's.
(
	ulimit -n 4096
	COUNT=1030 exec setpriv --reuid=keyfob-metadata --regid=keyfob-metadata --init-groups \
		"$HELPERS/ask-metadata" "$(id -u "$eve")" access api://slow <"$DIR/out/hold" >"$DIR/out/many" 2>"$DIR/out/many.err"
) &
many=$!
exec 7>"$DIR/out/hold"
check "1,030 requests for one user" until_true 20 grep -q asked "$DIR/out/many.err"
asks "he has too many then" 8 "$eve" access api://slow
like "and is told so" "$ERR" 'uid [0-9]+ has too many requests waiting'
asks "another user is served" 0 "$alice" id https://orders.example/x
exits "and who comes himself" 0 as "$alice" keyfob get ident
exec 7>&-
wait "$many"
no_faults

# --- an answer in time ---------------------------------------------------------------------------------------------
CLOUD=$SHORT
fault 'path=imds&delay_ms=60000'
before=$(requests imds)
is_refreshing() {
	[ "$(requests imds)" -gt "$before" ]
}
check "a refresh that hangs" until_true 40 is_refreshing
asks "until it is urgent the old token is given" 0 "$carol" access api://short
token=$OUT expires=$(printf '%s\n' "$ERR" | sed 's/^expires=\([0-9]*\) .*/\1/')
check "it becomes urgent at half of its life" until_true 40 eval '[ "$(date +%s)" -gt $((expires - 18)) ]'
asks "then it is waited for, and the old token is given while it lives" 0 "$carol" access api://short
is "it is the old one" "$OUT" "$token"
keyfob drop short
asks "without one the answer is a failure, in time" 8 "$carol" access api://short
like "in words" "$ERR" 'no token in time'

# --- the packet filter's rules -------------------------------------------------------------------------------------------
# rules [FILE] [OPTION]: keyfob metadata-rules
rules() {
	keyfob --config "$CONFIG" metadata-rules "$@"
}
redirects() {
	grep -E '^[[:space:]]+meta skuid [0-9]+ ip daddr 169\.254\.169\.254 tcp dport 80 redirect to :[0-9]+' | sed -E 's/.*skuid ([0-9]+) .*/\1/' | sort -n | tr '\n' ' '
}
uids() {
	for user; do id -u "$user"; done | sort -n | tr '\n' ' '
}
exits "the rules are printed" 0 rules
is "one for each user who is named, and by a credential that is marked" "$(printf '%s\n' "$OUT" | redirects)" "$(uids "$alice" "$carol" "$dave" "$eve" "$gina")"
like "to keyfob-metadata's port" "$OUT" "skuid $(id -u "$alice") .* redirect to :254 # $alice\$"
like "a group is left out, and that is said" "$OUT" "^# left out: group:$team, .*allow them by user: \(credential team\)\$"
like "so is the user of fetches" "$OUT" '^# left out: user keyfob-fetch, who is never served there \(credential others\)$'
like "whose fetches come there too is said" "$OUT" "^# mind: fetches run as $dave, .*\(credential own\)\$"
like "what else it takes" "$OUT" '^# .*route' 
like "also for names" "$OUT" '169\.254\.169\.254 metadata metadata\.google\.internal$'
exits "another port" 0 rules --port 8253
like "is that port" "$OUT" "skuid $(id -u "$eve") .* redirect to :8253 "
for port in 0 65536 -1 80x "" " 80"; do exits "no port: \"$port\"" 2 rules "--port=$port"; done
# In a network namespace of its own nothing of the host's is touched.
if unshare -n nft list ruleset >/dev/null 2>&1; then
	rules >"$DIR/out/rules"
	check "nft takes them" unshare -n nft -c -f "$DIR/out/rules"
	sed "s/ user:$eve//; s/user:$eve//" "$CONFIG" >"$DIR/etc/fewer.conf"
	keyfob --config "$DIR/etc/fewer.conf" metadata-rules >"$DIR/out/fewer"
	exits "twice, and others, in one namespace" 0 unshare -n sh -ec 'nft add table ip other; nft -f "$1"; nft -f "$1"
		nft list table ip keyfob; echo; nft -f "$2"; nft list ruleset' sh "$DIR/out/rules" "$DIR/out/fewer"
	is "the second load takes the first one's place" "$(printf '%s\n' "$OUT" | sed '/^$/,$d' | grep -c redirect)" 5
	is "and the third the second one's" "$(printf '%s\n' "$OUT" | sed '1,/^$/d' | grep -c redirect)" 4
	like "other tables stay" "$OUT" '^table ip other'
	unlike "and who went out is out" "$(printf '%s\n' "$OUT" | sed '1,/^$/d')" "skuid (\"?$eve\"?|$(id -u "$eve")) "
	configuration "metadata = no" | grep -v '^metadata' | configure
	rules >"$DIR/out/none"
	is "nobody is named: no rule" "$(redirects <"$DIR/out/none")" ""
	check "which nft takes as well" unshare -n nft -f "$DIR/out/none"
else
	skip "nft takes the rules" "no network namespace, or no nftables"
fi
printf '[credential x]\nresource = r\nprovider = azure\nallow = user:nobody-at-all\nmetadata = yes\n' | configure
exits "a user whom nobody knows" 1 rules
like "is named, with his place" "$ERR" "keyfob: $CONFIG:4: credential x: user nobody-at-all: there is no such user"
is "and nothing is printed" "$OUT" ""
printf '[credential x]\nresource = r\nprovider = azure\nallow = user:root\nmetadata = yes\n' | configure
exits "root" 0 rules
like "is left out" "$OUT" '^# left out: user root, who is never served there'

finish
