#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# On demand through the kernel: request_key(2) of keyfob:NAME starts keyfob-request-key, which has nothing but the
# rights of the one who asks, answers at once, and believes nothing of what he says.
. "$(dirname "$0")/lib.sh"

RULES=/etc/request-key.d/keyfob-test.$$.conf
# All names below begin so, and the rules made here are for no others.
MY=kt$$-
not_here() {
	echo "1..0 # SKIP $1"
	exit 0
}
[ -x /sbin/request-key ] || not_here "keyutils is not installed"
[ -e "$KEYFOB_PREFIX/etc/request-key.d/keyfob.conf" ] || { echo "Bail out! no rule was installed"; exit 1; }
mkdir -p /etc/request-key.d && : >"$RULES" || not_here "no rule can be made in /etc/request-key.d"
trap 'rm -f "$RULES"; cleanup' EXIT

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
new_user; full=$USER_NAME
new_group "$bob"; team=$GROUP_NAME
mkdir -m 0755 "$DIR/bin"

# --- does the kernel start what stands in this /etc? ----------------------------------
cat >"$DIR/bin/probe" <<EOF2
#!/bin/sh
: >$DIR/out/probed
exec keyctl reject "\$1" 1 rejected 0
EOF2
# The same with a system log that can be read; and with a pause before.
cat >"$DIR/bin/logged" <<EOF2
#!/bin/sh
exec unshare --mount sh -c 'mount -t tmpfs none /dev && ln -s $DIR/out/log.sock /dev/log && exec "\$@"' sh "\$@"
EOF2
cat >"$DIR/bin/paused" <<EOF2
#!/bin/sh
: >$DIR/out/paused
for i in \$(seq 200); do [ -e $DIR/out/go ] && break; sleep 0.05; done
exec "\$@"
EOF2
printf '#!/bin/sh\necho %s\n' "'{\"access_token\":\"brief\",\"expires_in\":8}'" >"$DIR/bin/brief"
chmod 0755 "$DIR/bin"/*
# rule PATTERN [PROGRAM [SOCKET]]: the line that is installed, for these names and this broker, or another
rule() {
	grep '^create' "$KEYFOB_PREFIX/etc/request-key.d/keyfob.conf" |
		sed "s|keyfob:\*|keyfob:$MY$1*|; s|\t/|\t${2:+$2 }/|; s|%k|--socket ${3:-$KEYFOB_SOCKET} %k|"
}
printf 'create user keyfob:%sprobe * %s %%k\n' "$MY" "$DIR/bin/probe" >"$RULES"
as "$alice" "$HELPERS/request-key" "keyfob:${MY}probe" >/dev/null
[ -e "$DIR/out/probed" ] || not_here "the kernel does not start programs for keys from this /etc"
{
	rule ""
	rule log- "$DIR/bin/logged"
	rule pause- "$DIR/bin/paused $DIR/bin/logged"
	rule false- "$DIR/bin/logged" "$DIR/out/false.sock"
} >"$RULES"
is "the rule that is installed names the program, and the key alone" \
	"$(sed -n 's/^create[[:space:]]*user[[:space:]]*keyfob:\*[[:space:]]*\*[[:space:]]*//p' "$KEYFOB_PREFIX/etc/request-key.d/keyfob.conf")" \
	"$KEYFOB_PREFIX/libexec/keyfob/keyfob-request-key %k"

start_emulator
"$HELPERS/log-sink" "$DIR/out/log.sock" "$DIR/out/syslog" &
PIDS="$PIDS $!"
configure <<EOF2
[credential ${MY}atlas]
resource = api://atlas
provider = azure endpoint=$CLOUD
allow = user:$alice user:$full

[credential ${MY}team]
resource = https://team.example
provider = gcp endpoint=$CLOUD
allow = group:$team

[credential ${MY}pause-team]
resource = https://team.example
provider = gcp endpoint=$CLOUD
allow = group:$team

[credential ${MY}brief]
provider = callback-exec run_as=$alice -- $DIR/bin/brief
allow = user:$alice

[credential ${MY}herd]
resource = api://herd
provider = azure endpoint=$CLOUD
allow = group:$alice

[credential ${MY}log-slow]
resource = https://slow.example
provider = gcp endpoint=$CLOUD timeout=60s
allow = group:$alice

[credential ${MY}log-atlas]
resource = api://log
provider = azure endpoint=$CLOUD
allow = user:$alice user:$full
EOF2
start_broker
# once USER NAME [CALLOUT]: in a session of its own
once() {
	as "$1" "$HELPERS/request-key" "keyfob:$MY$2" "${@:3}"
}
# patiently COMMAND...: again where a machine under load has not answered in time
patiently() {
	local answer
	for _ in 1 2 3 4 5; do
		answer=$("$@")
		[ "$answer" = ENOKEY ] || break
	done
	echo "$answer"
}
ask() {
	patiently once "$@"
}
# Who asked has his answer before the log has its line.
told() {
	until_true 10 grep -qE -- "$1" "$DIR/out/syslog"
}
got() {
	[ "$(ask "$@" | cut -d' ' -f3)" = "$token" ]
}

by_hand() {
	local helper=$KEYFOB_PREFIX/libexec/keyfob/keyfob-request-key
	exits "by hand it says that the kernel starts it" 1 "$helper" 1
	like "and what failed" "$ERR" '^keyfob-request-key: key 1: .*; the kernel starts this program'
	exits "a key must be named" 2 "$helper"
	exits "by its number" 2 "$helper" keyfob:atlas
	exits "and nothing else" 2 "$helper" 1 2
	exits "an unknown option is wrong use" 2 "$helper" --config x 1
}
# The first PID namespace has this number in every kernel. Callers from others are refused; in one there is nothing else to see.
if [ "$(readlink /proc/self/ns/pid)" != 'pid:[4026531836]' ]; then
	is "from another PID namespace nobody gets a key" "$(ask "$alice" log-atlas)" EKEYREJECTED
	check "and the log names the way" told "uid=$(id -u "$alice") event=upcall-refused reason=\"asked from another PID namespace: give the credential a socket"
	by_hand
	skip "keys on demand" "not in the kernel's first PID namespace"
	finish
fi

# --- a key is made ------------------------------------------------------------------------
token=$(keyfob get "${MY}atlas")
id=$(id -u "$alice")
like "a program's request_key gets the token, in a key of its own user's" "$(ask "$alice" atlas)" \
	"^[0-9]+ user;$id;$(id -g "$alice");3f010000;keyfob:${MY}atlas $token\$"
session='set -- "keyfob:$1" "$2"
	k=$(keyctl request2 user "$1" "" @s) && grep "$(printf %08x $k)" /proc/keys | cut -c1-80 && keyctl pipe $k && echo
	[ "$(keyctl request2 user "$1" "" @s)" = $k ] && echo same
	keyctl update $k forged && keyctl pipe $k && echo && keyfob get "${1#keyfob:}" && echo'
for _ in 1 2 3; do
	as "$alice" sh -c "$session" sh "${MY}atlas" >"$DIR/out/session" 2>&1
	grep -q 'not available' "$DIR/out/session" || break
done
like "keyctl request2 gets it, for at most 5 minutes" "$(sed -n 1p "$DIR/out/session")" "^[0-9a-f]+ I--Q--- +[0-9]+ +([1-4]?[0-9]?[0-9]s|[1-5]m) 3f010000 +$id "
is "with the token's bytes" "$(sed -n 2p "$DIR/out/session")" "$token"
is "the next request in the session is answered by the key" "$(sed -n 3p "$DIR/out/session")" same
is "who changes his own key" "$(sed -n 4p "$DIR/out/session")" forged
is "does not mislead libkeyfob, which goes past it" "$(sed -n 5p "$DIR/out/session")" "$token"
is "the text that comes with the request is not looked at" \
	"$(for callout in x $'\n;%k' "--socket=/nonexistent" "$(printf %04000d 0)"; do got "$alice" atlas "$callout" && echo granted; done | sort | uniq -c | tr -d ' ')" 4granted

# A token that lives 8 seconds; the next one comes with the next request.
for _ in 1 2 3; do
	as "$alice" sh -c 'k=$(keyctl request2 user "keyfob:$1" "" @s) && grep "$(printf %08x $k)" /proc/keys | cut -c1-40
		for i in $(seq 100); do n=$(keyctl request2 user "keyfob:$1" "" @s); [ "${n:-$k}" = $k ] || break; sleep 0.2; done
		[ $n = $k ] || keyctl pipe $n' sh "${MY}brief" >"$DIR/out/brief" 2>/dev/null
	[ "$(wc -l <"$DIR/out/brief")" = 0 ] || break
done
like "a key ends before its token" "$(sed -n 1p "$DIR/out/brief")" ' [1-7]s 3f010000 '
is "and another one is asked for" "$(sed -n 2p "$DIR/out/brief")" brief

# --- who may --------------------------------------------------------------------------------
is "who is not allowed is rejected" "$(ask "$bob" atlas)" EKEYREJECTED
check "the broker logs who it was" logged "credential=${MY}atlas uid=$(id -u "$bob") pid=[0-9]+ event=denied"
denials() {
	grep -c "uid=$(id -u "$bob") .*event=denied" "$LOG"
}
for _ in 1 2 3; do
	before=$(denials)
	as "$bob" sh -c 'for i in 1 2 3 4 5; do "$HELPERS/request-key" "keyfob:$1"; done; grep "keyfob:$1" /proc/keys | cut -c1-40' sh "${MY}atlas" >"$DIR/out/denied"
	grep -q ENOKEY "$DIR/out/denied" || break
done
is "the kernel gives that answer again by itself" "$(grep -c EKEYREJECTED "$DIR/out/denied") $(($(denials) - before))" "5 1"
like "for 10 seconds at most" "$(tail -n 1 "$DIR/out/denied")" '^[0-9a-f]+ I--Q?-?-?N?-*.* (10|[0-9])s 3f010000'
is "a refusal of the broker's" "$(ask "$bob" log-atlas)" EKEYREJECTED
unlike "is logged by him alone" "$(cat "$DIR/out/syslog")" "uid=$(id -u "$bob") "
is "a credential that is not there" "$(ask "$alice" nothing)" EKEYREJECTED
token=$(keyfob get "${MY}team")
check "a member of an allowed group gets it" got "$bob" team
is "one who is none does not" "$(ask "$alice" team)" EKEYREJECTED
as_bob() {
	setpriv --reuid="$bob" --reset-env "$@" env "HELPERS=$HELPERS" keyctl session - "$HELPERS/request-key" "keyfob:${MY}team" 2>/dev/null
}
is "groups are those of the process that asks: without them" "$(patiently as_bob --regid="$bob" --clear-groups)" EKEYREJECTED
like "and with this one as its first" "$(patiently as_bob --regid="$team" --clear-groups)" " $token\$"
is "root says keyfob get" "$("$HELPERS/request-key" "keyfob:${MY}log-atlas")" EKEYREJECTED
check "the log tells" told "^notice .*: credential=${MY}log-atlas uid=0 event=upcall-refused reason=\"a program of root's says keyfob get\""
# In a session kept over su the key would hang on the keyring of the user before.
kept() {
	"$HELPERS/sudo-like" "$(id -u "$bob")" other setpriv --reuid="$alice" --regid="$alice" --init-groups "$HELPERS/request-key" "keyfob:${MY}log-atlas" "$@"
}
is "a key that would hang on another user's keyring is not made" "$(patiently kept)" EKEYREJECTED
check "the log tells why" told "uid=$id event=upcall-refused reason=\"the keyring .* belongs to somebody else\""
like "on one of his own it is" "$(patiently kept "" -2)" ' ey'
if unshare --pid --fork true 2>/dev/null; then
	is "from another PID namespace nobody gets one" "$(patiently unshare --pid --fork setpriv --reuid="$alice" --regid="$alice" --init-groups \
		keyctl session - "$HELPERS/request-key" "keyfob:${MY}log-atlas" 2>/dev/null)" EKEYREJECTED
	check "and the log names the way" told "uid=$id event=upcall-refused reason=\"asked from another PID namespace: give the credential a socket"
else
	skip "from another PID namespace nobody gets one" "no PID namespace can be made"
fi

# --- names that mean ill ------------------------------------------------------------------------
names=0
for name in "a b" $'x\ny' ';x' '../../x' '%k %S' '$(id)' '`id`' "it's" '"' 'ü' 'atlas ' $'atlas\n' 'atlas;x' "$(printf %065d 0)" "$(printf %04000d 0)"; do
	[ "$(ask "$alice" "$name")" = EKEYREJECTED ] && names=$((names + 1)) || echo "# got in, or not answered: $name"
done
is "no bad name gets past the first look" "$names" 15
unlike "nor to the broker" "$(cat "$LOG")" 'malformed'

# A key's name may hold a newline and look like a row of /proc/keys: that another process of his asked, which has a group more.
setpriv --reuid="$alice" --regid="$alice" --groups="$team" sleep 300 &
other=$!
PIDS="$PIDS $other"
as "$alice" sh -c '"$HELPERS/request-key" "keyfob:$1" & asked=$!
	for i in $(seq 200); do [ -e "$3" ] && break; sleep 0.05; done
	row=$(grep "\.request_ key:.* pid:" /proc/keys) && keyctl add user "$(printf "x\n%s" "$row" | sed "s/pid:[0-9]*/pid:$2/")" x @s >/dev/null &&
		grep -c " pid:$2 " /proc/keys; wait $asked' sh "${MY}pause-team" "$other" "$DIR/out/paused" >"$DIR/out/forged" &
forger=$!
until_true 20 test -s "$DIR/out/forged"
: >"$DIR/out/go"
wait "$forger"
is "a forged row of /proc/keys gives nobody another process's groups" "$(tr '\n' ' ' <"$DIR/out/forged")" "1 EKEYREJECTED "
check "the log tells" told "uid=$id event=upcall-refused reason=\"more than one row of /proc/keys"

# --- many at once ------------------------------------------------------------------------------------
before=$(requests imds)
herd=""
# A fetch may take longer than a request waits; then the kernel says no for 5 seconds.
for i in $(seq 20); do
	as "$alice" sh -c 'for i in $(seq 20); do "$HELPERS/request-key" "keyfob:$1" && break; sleep 2; done' sh "${MY}herd" >"$DIR/out/herd.$i" &
	herd="$herd $!"
done
# shellcheck disable=SC2086
wait $herd
token=$(keyfob get "${MY}herd")
is "20 sessions at once get the same token" "$(cat "$DIR"/out/herd.* | grep -c " $token\$")" 20
is "from one fetch" "$(($(requests imds) - before))" 1

# A hundred names that are none, as fast as it goes.
as "$alice" sh -c 'for i in $(seq 100); do "$HELPERS/request-key" "keyfob:$1$i" & done; wait' sh "${MY}flood-" >"$DIR/out/flood" &
flood=$!
token=$(keyfob get "${MY}team")
check "in a flood others get theirs" until_true 30 got "$bob" team
wait "$flood"
is "and each of its requests an answer" "$(grep -cxE 'EKEYREJECTED|ENOKEY|EDQUOT' "$DIR/out/flood")" 100
unlike "of which nothing stands in the log" "$(cat "$LOG" "$DIR/out/syslog")" flood

# --- slow, and what runs meanwhile ----------------------------------------------------------------------
fault 'path=metadata&delay_ms=60000'
# with_helper COMMAND...: while a request waits, with the number of the process that answers it; what the request got is in ASKED
with_helper() {
	local pid request caught
	for _ in $(seq 20); do
		once "$alice" log-slow >"$DIR/out/asked" &
		request=$!
		caught=""
		while kill -0 "$request" 2>/dev/null; do
			pid=$(pgrep -u "$alice" -x keyfob-request-) && "$@" "$pid" && caught=yes && break
		done
		until_true 30 test -s "$DIR/out/asked" && ASKED=$(cat "$DIR/out/asked") || { ASKED="no end in 30 s"; kill -KILL "$pid"; }
		wait "$request"
		[ -z "$caught" ] || return 0
	done
	ASKED="it was never seen"
}
look() {
	cat "/proc/$1/status" >"$DIR/out/status" 2>/dev/null && stat -c %u "/proc/$1/maps" >"$DIR/out/owner" 2>/dev/null &&
		grep -q "^NoNewPrivs:.*1" "$DIR/out/status"
}
begin=$(date +%s)
is "a slow provider" "$(once "$alice" log-slow)" ENOKEY
check "does not keep who asks" test $(($(date +%s) - begin)) -lt 10
check "the log tells" told "^warning .*credential=${MY}log-slow uid=$id event=upcall-failed error=\"the broker did not answer within 1.5 s"
with_helper look
is "what answers is the user's" "$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "$DIR/out/status")" "$id $id $id $id"
is "with his groups" "$(awk '/^(Gid|Groups):/ { print $2, $3 }' "$DIR/out/status" | tr '\n' ' ' | tr -s ' ')" \
	"$(id -g "$alice") $(id -g "$alice") $(id -G "$alice") "
is "and no capability" "$(awk '/^Cap/ { print $2 }' "$DIR/out/status" | sort -u)" 0000000000000000
is "it cannot be looked into by him" "$(cat "$DIR/out/owner")" 0
with_helper as "$alice" kill -KILL
is "killed by him it made no key" "$ASKED" ENOKEY
with_helper as "$alice" kill -STOP
is "stopped by him it ends all the same" "$ASKED" ENOKEY
no_faults
keyfob reload # which begins the fetch again
token=$(keyfob get "${MY}log-slow")
check "when the provider is well again there is a key" got "$alice" log-slow

# --- no room -----------------------------------------------------------------------------------------------
# All but 300 bytes: the key has room, its content has not.
as "$full" sh -c 'left=$(awk -v uid="$(id -u):" "\$1 == uid { split(\$5, n, \"/\"); print n[2] - n[1] }" /proc/key-users)
	keyctl add user full "$(printf %0$((left - 300))d 0)" @s >/dev/null; "$HELPERS/request-key" "keyfob:$1"' sh "${MY}log-atlas" >"$DIR/out/full"
is "a user whose quota is full is told so" "$(cat "$DIR/out/full")" EDQUOT
check "and the log" told "uid=$(id -u "$full") event=upcall-failed error=\"the key cannot be filled: Disk quota exceeded\""

# --- a broker that answers nonsense --------------------------------------------------------------------------
cat >"$DIR/out/false.pl" <<'EOF2'
# false.pl SOCKET: what is answered says the end of the name that was asked for
use strict; use warnings; use Socket;
socket my $l, AF_UNIX, SOCK_SEQPACKET, 0 or die; unlink $ARGV[0]; umask 0;
bind $l, pack_sockaddr_un($ARGV[0]) or die; listen $l, 10;
while (accept my $s, $l) {
	sysread $s, my $asked, 4096;
	my $token = $asked =~ /empty/ ? '' : 'false';
	my $answer = pack 'CCN/aQ>Q>N/a', 1, 0, $token, time + ($asked =~ /over/ ? 1 : 1000), 0, '00000000';
	syswrite $s, $asked =~ /half/ ? substr $answer, 0, 8 : $answer unless $asked =~ /silent/;
}
EOF2
perl "$DIR/out/false.pl" "$DIR/out/false.sock" &
PIDS="$PIDS $!"
until_true 20 test -S "$DIR/out/false.sock"
like "what a broker says is taken" "$(ask "$alice" false-good)" ' false$'
while read -r how why; do
	is "an answer that is $how" "$(once "$alice" "false-$how")" ENOKEY
	check "is told in the log" told "credential=${MY}false-$how uid=$id event=upcall-failed error=\"$why"
done <<'END'
empty the answer is malformed: do this program and the broker have one version
half the answer is malformed
over the token is about to expire
silent the broker at .* broke off
END
rm "$DIR/out/false.sock"
install -d -m 0777 "$DIR/out/stranger"
setpriv --reuid="$bob" --regid="$bob" --clear-groups perl "$DIR/out/false.pl" "$DIR/out/stranger/sock" &
PIDS="$PIDS $!"
until_true 20 test -S "$DIR/out/stranger/sock"
ln -s stranger/sock "$DIR/out/false.sock"
is "a broker that is another user's" "$(once "$alice" false-good)" ENOKEY
check "is not believed" told "credential=${MY}false-good .*belongs to a stranger"

# --- no broker -----------------------------------------------------------------------------------------------
stop_broker
is "without a broker" "$(once "$alice" log-atlas)" ENOKEY
check "the log names its socket" told "uid=$id event=upcall-failed error=\"cannot reach the broker at $KEYFOB_SOCKET: "
start_broker
token=$(keyfob get "${MY}log-atlas")
check "with one again there is a key" got "$alice" log-atlas
unlike "no token stands in the log" "$(cat "$LOG" "$DIR/out/syslog")" "${token:0:60}"

by_hand
finish
