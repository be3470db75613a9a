#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Promises of doc/SECURITY.md that no other test has to do with: who may send which request, who runs as whom, that no key is
# shared, and that without its users nothing starts.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
start_emulator
configure <<EOF
[credential atlas]
resource = api://orders
provider = azure endpoint=$CLOUD
allow = user:$alice user:$bob
metadata = yes
[credential slow]
resource = api://slow
provider = azure endpoint=$CLOUD
refresh = on-demand
allow = user:$alice
EOF
start_broker
start_verifier

# --- each request, from each user that there is ----------------------------------------------------------------

# Number, name and who may, as doc/PROTOCOL.md has them of the broker's.
requests=$(sed -nE 's/^\| ([0-9]+) \| ([A-Z]+) \| [^|]* \| [^|]* \| ([^|]*) \|$/\1 \2 \3/p' doc/PROTOCOL.md | awk '$1 <= last { exit } { last = $1; print }')
is "PROTOCOL has a row for each" "$(cut -d' ' -f1 <<<"$requests" | xargs)" "1 2 3 4 5 6 7 8 9 10"
ask() { # USER NUMBER: without any groups
	setpriv --reuid="$1" --regid="$(id -g "$1")" --clear-groups env "LD_LIBRARY_PATH=$LD_LIBRARY_PATH" "KEYFOB_SOCKET=$KEYFOB_SOCKET" \
		"$HELPERS/ask-anything" "$2" 2>&1
}
while read -r number name who; do
	exits "$name: keyfob-fetch may not ask for it" 4 ask keyfob-fetch "$number"
	is "$name: nor for anything else" "$OUT" "a fetch may not ask the broker"
	for user in "$alice" keyfob-verify keyfob-metadata; do
		case "$who," in
		*" $user,"*) heard=yes ;;
		root,*) heard=no ;;
		*) heard=yes ;;
		esac
		if [ $heard = yes ]; then
			unlike "$name: ${user/$alice/a user} is heard" "$(ask "$user" "$number")" 'may ask for that'
		else
			exits "$name: ${user/$alice/a user} may not ask for it" 4 ask "$user" "$number"
			like "$name: and is told who may" "$OUT" '^only root( and keyfob-[a-z]+)? may ask for that$'
		fi
	done
done <<<"$requests"

# --- who runs as whom --------------------------------------------------------------------------------------------------

uid_of() {
	awk '/^Uid:/ { print $2 "," $3 "," $4 "," $5 }' "/proc/$1/status"
}
of() {
	local id
	id=$(id -u "$1")
	echo "$id,$id,$id,$id"
}
fault 'path=imds&delay_ms=20000&count=1'
as "$alice" keyfob get slow >/dev/null 2>&1 &
asked=$!
fetching() {
	FETCH=$(pgrep -P "$(launcher)" keyfob-fetch)
}
FETCH=""
until_true 10 fetching
is "keyfobd, the verifier and a fetch: each has a user of its own" "$(uid_of "$BROKER") $(uid_of "$VERIFIER") $(uid_of "$FETCH")" \
	"$(of root) $(of keyfob-verify) $(of keyfob-fetch)"
is "keyfob-metadata's is another one" "$(for user in root keyfob-verify keyfob-fetch keyfob-metadata; do id -u $user; done | sort -u | wc -l)" 4
for pid in "$VERIFIER" "$FETCH"; do
	is "$(cat "/proc/$pid/comm"): what /proc has of it is root's" "$(stat -c %U "/proc/$pid/environ")" root
done
no_faults
kill -KILL "$FETCH"
wait "$asked"

# --- no key is shared --------------------------------------------------------------------------------------------------------

key_of() {
	as "$1" sh -c 'r=$(keyctl get_persistent @s) && keyctl search $r user keyfob:atlas'
}
for user in "$alice" "$bob"; do as "$user" keyfob get atlas >/dev/null; done
copies=$(key_of "$alice"; key_of "$bob")
is "two readers of one token have two keys" "$(sort -u <<<"$copies" | grep -c '^[0-9]')" 2
anchor=$(keyctl search @u keyring "keyfob-broker:$KEYFOB_SOCKET")
# held RING: the keys in it and below, a row for each link
held() {
	local key
	for key in $(keyctl rlist "$1"); do
		if keyctl rdescribe "$key" | grep -q '^keyring;'; then held "$key"; else echo "$key"; fi
	done
}
for key in $copies; do
	check "a copy hangs below the broker's anchor" sh -c 'echo "$1" | grep -qx "$2"' sh "$(held "$anchor")" "$key"
done
is "no key is in two keyrings" "$(held "$anchor" | sort | uniq -d)" ""
master=$(keyctl search "$anchor" keyring keyfob-master:atlas)
token=$(for key in $(keyctl rlist "$master"); do keyctl rdescribe "$key" | grep -q '^user;.*;keyfob-token$' && echo "$key"; done)
like "there is one master" "$token" '^[0-9]+$'
unlike "and it is neither of the two" "$copies" "^$token$"

# --- a copy that its user destroys is put back, within reason ---------------------------------------------------------------------

before=$(requests imds)
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	# shellcheck disable=SC2016
	as "$alice" sh -c 'r=$(keyctl get_persistent @s) && k=$(keyctl search $r user keyfob:atlas) && echo $k && keyctl invalidate $k'
	as "$alice" keyfob get atlas && echo
	sleep 0.2
done >"$DIR/out/rounds" 2>/dev/null
is "he has the same token each time" "$(grep '^ey' "$DIR/out/rounds" | sort -u | wc -l) $(grep -c '^ey' "$DIR/out/rounds")" "1 20"
put_back=$(grep '^[0-9]*$' "$DIR/out/rounds" | sort -u | wc -l)
# Six in each minute that the clock shows, and they may be two; the first was there before.
if [ "$put_back" -ge 2 ] && [ "$put_back" -le 13 ]; then pass "20 times destroyed it is put back six times a minute"; else fail "20 times destroyed it is put back six times a minute" "$put_back"; fi
is "nothing was fetched for that" "$(requests imds)" "$before"
stop_verifier
stop_broker

# --- without a system user -------------------------------------------------------------------------------------------------------

# without USER COMMAND...: where nobody is called so
without() {
	local user=$1
	shift
	sed "/^$user:/d" /etc/passwd >"$DIR/out/passwd"
	chmod 0644 "$DIR/out/passwd"
	# shellcheck disable=SC2016
	unshare --mount sh -c 'mount --bind "$1" /etc/passwd && shift && exec "$@"' sh "$DIR/out/passwd" timeout 10 "$@"
}
if without keyfob-fetch true 2>/dev/null; then
	exits "keyfobd: no start without the system user keyfob-fetch" 1 without keyfob-fetch keyfobd --config "$CONFIG" --socket "$KEYFOB_SOCKET"
	like "it is named" "$ERR" 'the system user keyfob-fetch is missing'
	exits "keyfob-verifyd: no start without the system user keyfob-verify" 1 without keyfob-verify \
		keyfob-verifyd --config "$CONFIG" --socket "$KEYFOB_VERIFY_SOCKET" --broker "$KEYFOB_SOCKET" --state "$DIR/state"
	like "it is named, too" "$ERR" 'the system user keyfob-verify is missing'
else
	skip "no start without the system user" "no mount namespaces"
fi
finish
