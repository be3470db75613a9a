#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A module that was taken over, in the fetches of a broker that serves others meanwhile: as the user keyfob-fetch, and as a
# user of its own that may start programs. Each attempt is one fetch; what the kernel said to it is what the caller reads.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; corp=$USER_NAME
start_emulator
landlock=$("$HELPERS/landlock")
mkdir -m 0755 "$DIR/modules"
install -m 0644 "$KEYFOB_PREFIX"/lib/keyfob/modules/*.so "$KEYFOB_PREFIX"/tree/tests/modules/hostile{,-exec}.so "$DIR/modules"
export KEYFOB_MODULE_DIR=$DIR/modules
WORD=/tmp/keyfob-test.$$
mkdir "$WORD" && chmod 1777 "$WORD" || exit 1
trap 'rm -rf "$WORD"; cleanup' EXIT
printf '#!/bin/sh\nexec sleep 300\n' >"$DIR/sleeper"
printf '#!/bin/sh\necho a-word\n' >"$DIR/word"
chmod 0755 "$DIR/sleeper" "$DIR/word"

# attempt NAME MODULE OPTIONS: one credential
attempt() {
	local user=""
	[ "$2" = hostile ] || user="run_as=$corp "
	printf '[credential %s]\nprovider = %s %sttl=1h %s\nrefresh = on-demand\nallow = user:%s\n%s\n' "$1" "$2" "$user" "$3" "$alice" \
		"${user:+trust_run_as = yes}"
}
others() {
	cat <<END
[credential good]
resource = api://good
provider = azure endpoint=$CLOUD
allow = user:$alice
file = raw
socket = root:root 0600
[credential fresh]
resource = api://fresh
provider = azure endpoint=$CLOUD
refresh = on-demand
allow = user:$alice
[credential word]
provider = callback-exec run_as=$corp format=raw ttl=1h -- $DIR/word
refresh = on-demand
allow = user:$alice
trust_run_as = yes
[credential asleep]
provider = callback-exec run_as=$corp format=raw ttl=1h timeout=120 -- $DIR/sleeper
refresh = on-demand
allow = user:$alice
trust_run_as = yes
END
	attempt asleep-too hostile "do=hang timeout=120"
}
# MODULE ACT TARGET THE-ANSWERS: all that are right; what Landlock does not know here is not asked.
table() {
	local kind no=EPERM pid act file door
	for pid in broker launcher verifier fetch program; do
		for act in kill pidfd ptrace peek mem limit priority affinity; do
			echo "hostile $act $pid pid=$WORD/$pid EPERM,EACCES"
		done
		for act in ptrace peek limit priority affinity; do
			echo "hostile-exec $act $pid pid=$WORD/$pid ENOSYS"
		done
		# Another program of the same user is told apart by Landlock, as are signals since its sixth edition.
		[ $pid = program ] && [ "$landlock" -lt 6 ] || echo "hostile-exec kill $pid pid=$WORD/$pid EPERM"
		[ $pid = program ] && [ "$landlock" -lt 6 ] || echo "hostile-exec pidfd $pid pid=$WORD/$pid EPERM"
		[ $pid = program ] && [ "$landlock" -lt 1 ] || echo "hostile-exec mem $pid pid=$WORD/$pid EACCES"
	done
	for kind in hostile hostile-exec; do
		[ "$kind" = hostile ] || no=ENOSYS
		for file in shadow:/etc/shadow token:$DIR/run/token/$alice/good environment:/proc/1/environ log:$LOG.secret; do
			echo "$kind get ${file%%:*} path=file:${file#*:} EACCES"
		done
		for file in configuration:$CONFIG module:$DIR/modules/azure.so sysctl:/proc/sys/kernel/keys/maxkeys score:/proc/self/oom_score_adj; do
			echo "$kind put ${file%%:*} path=file:${file#*:} EACCES,EPERM"
		done
		for act in key ring search namespace uring queue mount session family type; do
			echo "$kind $act it - $no"
		done
		echo "$kind root it - EPERM"
	done
	for door in request:$KEYFOB_SOCKET verifier:$KEYFOB_VERIFY_SOCKET credential:$DIR/run/credential/good.sock; do
		echo "hostile unix ${door%%:*} path=file:${door#*:} EPERM"
	done
	echo "hostile-exec unix credential path=file:$DIR/run/credential/good.sock EACCES"
	for act in fork exec; do echo "hostile $act it - EPERM"; done
	echo "hostile serve it - EPERM,EACCES"
}
echo secret >"$LOG.secret"
chmod 0600 "$LOG.secret"
table >"$DIR/out/table"
{
	others
	while read -r kind act target option _; do
		attempt "$kind-$act-$target" "$kind" "do=$act ${option#-}"
	done <"$DIR/out/table"
	attempt deaf hostile "do=deaf timeout=2"
	attempt deaf-program hostile-exec "do=deaf timeout=2"
	attempt comet hostile-exec "do=comet timeout=5"
	attempt flood hostile "do=flood timeout=5"
	attempt crash hostile do=crash
	attempt bomb hostile-exec "do=bomb path=file:$WORD/go-on timeout=60"
	attempt memory hostile do=memory
	attempt memory-program hostile-exec do=memory
	attempt fill hostile-exec "do=fill path=file:$WORD/full"
} | configure
start_broker
start_verifier
token=$(as "$alice" keyfob get good)
like "a token stands" "$token" '^ey'

# Two fetches that are under way: as keyfob-fetch, and a program of the user's.
for name in asleep asleep-too; do
	as "$alice" keyfob get $name >/dev/null 2>&1 &
	GETS="${GETS:-} $!"
done
sleeper="" fetch=""
found() {
	sleeper=$(pgrep -u "$corp" -f "^sleep 300") && fetch=$(pgrep -u keyfob-fetch -P "$(launcher)")
}
until_true 20 found
like "two fetches are under way" "$fetch $sleeper" '^[0-9]+ [0-9]+$'
launcher=$(launcher)
for name in broker:$BROKER launcher:$launcher verifier:$VERIFIER fetch:$fetch program:$sleeper; do
	echo "${name#*:}" >"$WORD/${name%:*}"
done
is "where memory runs out a fetch ends first, not the broker" \
	"$(cat "/proc/$fetch/oom_score_adj") $(cat "/proc/$sleeper/oom_score_adj")" "1000 1000"

# Side by side, as many as the broker lets run at once.
names=$(awk '{ print $1 "-" $2 "-" $3 }' "$DIR/out/table")
# shellcheck disable=SC2016,SC2086
printf '%s\n' $names | xargs -P 8 -I{} setpriv --reuid="$alice" --regid="$alice" --init-groups env "PATH=$PATH" "LD_LIBRARY_PATH=$LD_LIBRARY_PATH" \
	"KEYFOB_SOCKET=$KEYFOB_SOCKET" sh -c 'keyfob get {} 2>&1' >"$DIR/out/answers"
while read -r kind act target _ wanted; do
	name=$kind-$act-$target
	said=$(sed -n "s/^keyfob: $name: $kind: \([A-Z]*\)\b.*/\1/p" "$DIR/out/answers")
	case ",$wanted," in
	*",${said:-nothing},"*) pass "$kind: $act: $target: refused" ;;
	*) fail "$kind: $act: $target: refused" "$said, not $wanted" "$(grep -- "$name" "$DIR/out/answers")" ;;
	esac
done <"$DIR/out/table"
for name in broker launcher verifier fetch program; do
	check "the $name lives" kill -0 "$(cat "$WORD/$name")"
done
# Once nobody waits for them they are not made again.
# shellcheck disable=SC2086
wait $GETS
kill -KILL "$fetch" "$(ps -o ppid= -p "$sleeper")"
unlike "no key of such a fetch is anywhere" "$(cat /proc/keys)" keyfob-hostile

# --- what it might use up -------------------------------------------------------------------------------

gives() { # NAME CODE PATTERN
	exits "$1: exit code" "$2" as "$alice" keyfob get "$1"
	like "$1: in words" "$ERR" "^keyfob: $1: $3"
}
# The address sanitizer reserves what the limits would refuse, and is slow to make processes.
SANITIZED=$(ldd "$KEYFOB_PREFIX/libexec/keyfob/keyfob-fetch" | grep -c libasan)
if [ "$SANITIZED" = 0 ]; then
	gives memory 5 'hostile: ENOMEM'
	gives memory-program 5 'hostile-exec: ENOMEM'
else
	skip "10 GB of memory" "the address sanitizer reserves more"
fi
gives fill 5 'hostile-exec: EFBIG'
gives crash 8 'hostile: keyfob-fetch (was ended by signal 11|ended with status)'
gives deaf 8 'hostile: no answer within 2 s'
gives deaf-program 8 'hostile-exec: no answer within 2 s'
gives flood 8 'hostile: '
is "while all this went on the token stands" "$(as "$alice" keyfob get good)" "$token"

many() {
	local now
	now=$(pgrep -c -u "$corp")
	[ "$now" -gt 200 ] && [ "$now" = "${before:-}" ] && return
	before=$now
	false
}
if [ "$SANITIZED" = 0 ]; then
	as "$alice" keyfob get bomb >"$DIR/out/bomb" 2>&1 &
	bomb=$!
	check "a program that forks without end comes to its limit" until_true 30 many
	like "others are served meanwhile: a fetch as keyfob-fetch" "$(as "$alice" keyfob get fresh)" '^ey'
	is "a program of the same user" "$(as "$alice" keyfob get word)" a-word
	touch "$WORD/go-on"
	wait "$bomb"
	like "it learns of it" "$(cat "$DIR/out/bomb")" '^keyfob: bomb: hostile-exec: EAGAIN'
else
	skip "processes without end" "the address sanitizer is slow to make them"
fi

as "$alice" keyfob get comet >"$DIR/out/comet" 2>&1
nothing_runs() {
	! pgrep -u "$corp" >/dev/null
}
check "nothing of all this runs afterwards" until_true 40 nothing_runs
is "one broker served it all" "$(grep -c "keyfobd: event=serving" "$LOG")" 1
finish
