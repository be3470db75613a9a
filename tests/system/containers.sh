#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Containers: a credential's own socket is all that they get. Made by crun, with the host's /usr for a root file system.
. "$(dirname "$0")/lib.sh"

command -v crun >/dev/null || { echo "1..0 # SKIP no crun"; exit 0; }
new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
new_group "$alice"; team=$GROUP_NAME
ALICE=$(id -u "$alice") BOB=$(id -u "$bob") TEAM=$(getent group "$team" | cut -d: -f3)
SOCKETS=$DIR/run/credential ALONE=$DIR/run/container
BOX=$DIR/box
mkdir -p "$BOX/rootfs"/{usr,proc,dev,tmp,etc,var/lib} "$BOX/state"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$BOX/rootfs/$name"; done
cat >"$DIR/out/read.pl" <<'EOF2'
# Without anything of keyfob's: connect, and read to the end.
use Socket;
socket my $s, AF_UNIX, SOCK_STREAM, 0 or die; connect $s, pack_sockaddr_un($ARGV[0]) or die "connect: $!\n";
undef $/; print <$s>;
EOF2
MADE=0

# box WORD... -- COMMAND...: run it in a container of its own. uid=N, gid=N and group=N are its own; users=N: in a user
# namespace of 65536 ids from the host's N on, and, with users=N,G, with the host's group G as its group 0; else with the
# host's users. calls=ERROR: without the three system calls of keyrings, as Docker's profile (EPERM) and others (ENOSYS)
# leave them; calls=podman: with keyctl alone. mount=PATH: there as here.
box() {
	local uid=0 gid=0 group="" users="" gids="" calls="" mounts="$DIR/out/read.pl $KEYFOB_PREFIX"
	while [ "$1" != -- ]; do
		case $1 in
		uid=*) uid=${1#*=} ;;
		gid=*) gid=${1#*=} ;;
		group=*) group=${1#*=} ;;
		users=*,*) users=${1#*=} gids=${users#*,} users=${users%,*} ;;
		users=*) users=${1#*=} ;;
		calls=*) calls=${1#*=} ;;
		mount=*) mounts="$mounts ${1#*=}" ;;
		esac
		shift
	done
	shift
	MADE=$((MADE + 1))
	# shellcheck disable=SC2086,SC2016
	jq -n --arg uid "$uid" --arg gid "$gid" --arg group "$group" --arg users "$users" --arg gids "$gids" --arg calls "$calls" \
		--arg path "$PATH" --arg library "$LD_LIBRARY_PATH" --arg socket "$KEYFOB_SOCKET" --arg mounts "$mounts" '
		["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"] as $all
		| (if $uid == "0" then $all else [] end) as $caps
		| [[$users, 0, 65536], if $gids == "" then [$users, 0, 65536] else [$gids, 0, 1] end
			| { containerID: .[1], hostID: (.[0] | tonumber? // 0), size: .[2] }] as $maps
		| { ociVersion: "1.0.2",
			process: { terminal: false, cwd: "/", args: $ARGS.positional, noNewPrivileges: true,
				user: { uid: ($uid | tonumber), gid: ($gid | tonumber),
					additionalGids: (if $group == "" then [] else [$group | tonumber] end) },
				env: ["PATH=\($path)", "LD_LIBRARY_PATH=\($library)", "KEYFOB_SOCKET=\($socket)", "LC_ALL=C.UTF-8"],
				capabilities: { bounding: $all, effective: $caps, permitted: $caps } },
			root: { path: "rootfs", readonly: true },
			mounts: ([{ destination: "/proc", type: "proc", source: "proc" },
					{ destination: "/dev", type: "bind", source: "/dev", options: ["rbind", "ro"] },
					{ destination: "/var/lib", type: "tmpfs", source: "tmpfs" },
					{ destination: "/usr", type: "bind", source: "/usr", options: ["rbind", "ro"] }]
				+ ($mounts | split(" ") | map({ destination: ., type: "bind", source: ., options: ["bind", "ro"] }))),
			linux: ({ namespaces: (["pid", "mount", "ipc"] + (if $users == "" then [] else ["user"] end) | map({ type: . })) }
				+ (if $users == "" then {} else { uidMappings: [$maps[0]], gidMappings: [$maps[1]] } end)
				+ (if $calls == "" then {} else { seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{
					names: (["add_key", "request_key"] + (if $calls == "podman" then [] else ["keyctl"] end)),
					action: "SCMP_ACT_ERRNO", errnoRet: (if $calls == "EPERM" then 1 else 38 end) }] } } end)) }
		' --args -- "$@" >"$BOX/config.json" </dev/null
	# Some releases of crun refuse to start beside cgroups of both versions, even where they are to leave them alone.
	unshare --mount --propagation private sh -c 'mount -t tmpfs none /sys/fs/cgroup 2>/dev/null; exec "$@"' sh \
		crun --cgroup-manager=disabled --root "$BOX/state" run -b "$BOX" --pid-file "$BOX/pid" \
		"$TEST_NAME-$$-$MADE" </dev/null
}
if ! box -- true 2>"$DIR/out/crun"; then
	echo "1..0 # SKIP crun makes no container here: $(tail -n 1 "$DIR/out/crun")"
	exit 0
fi
start_emulator
base() {
	cat <<EOF2
[credential atlas]
resource = api://0d5c1c0e
provider = azure endpoint=$CLOUD
allow = user:$alice
socket = root:$team 0660

[credential sealed]
resource = api://5ea1ed
provider = azure endpoint=$CLOUD
allow = user:$alice
store = socket
socket = root:$team 0660

[credential mapped]
resource = api://mapped
provider = azure endpoint=$CLOUD
socket = 300000:300000 0600
EOF2
}
base | configure
start_broker
exits "on the host its reader has it" 0 as "$alice" keyfob get atlas
token=$OUT
until_true 10 keyctl search "$(persistent "$alice")" user keyfob:atlas

# --- the credential's own socket ------------------------------------------------------------------

for calls in EPERM ENOSYS; do
	in=(uid="$ALICE" gid="$ALICE" group="$TEAM" calls="$calls" mount="$SOCKETS/atlas.sock")
	exits "where the calls give $calls: read without anything of keyfob's" 0 box "${in[@]}" -- perl "$DIR/out/read.pl" "$SOCKETS/atlas.sock"
	is "the token" "$OUT" "$token"
	exits "keyfob get" 0 box "${in[@]}" -- keyfob get atlas
	is "finds it there" "$OUT" "$token"
	exits "libkeyfob" 0 box "${in[@]}" -- "$HELPERS/reader" atlas
	is "too" "$OUT" "$token"
	if command -v python3 >/dev/null; then
		exits "python, as OPERATING shows it" 0 box "${in[@]}" mount="$ALONE/atlas" -- python3 -c "import socket
s = socket.socket(socket.AF_UNIX); s.connect(\"$ALONE/atlas/atlas.sock\"); token = s.makefile().read()
print(token, end='')"
		is "too" "$OUT" "$token"
	fi
	exits "keyctl gets nowhere" 1 box "${in[@]}" -- keyctl get_persistent @s
	exits "nor does root's" 1 box calls="$calls" -- keyctl show @u
	exits "what is not mounted is not there" 6 box "${in[@]}" -- keyfob get sealed
	like "which is said" "$ERR" 'cannot reach the broker at .*: No such file or directory'
done
exits "the expiry is not known there" 0 box "${in[@]}" -- keyfob get --json atlas
is "and not made up" "$(printf '%s' "$OUT" | jq -c '[.token, .expires_at]')" "[\"$token\",null]"
in=(uid="$BOB" gid="$BOB" calls=EPERM mount="$SOCKETS/atlas.sock")
exits "who is not in the socket's group does not connect" 13 box "${in[@]}" -- perl "$DIR/out/read.pl" "$SOCKETS/atlas.sock"
exits "keyfob get says why" 4 box "${in[@]}" -- keyfob get atlas
like "by name" "$ERR" "keyfob: atlas: .*$SOCKETS/atlas.sock: Permission denied"

# --- the directory, while the broker comes and goes -------------------------------------------------

like "the same socket stands in a directory of its own" "$(stat -c '%i %U:%G %a' "$ALONE/atlas/atlas.sock")" \
	"^$(stat -c '%i' "$SOCKETS/atlas.sock") root:$team 660\$"
is "with nothing else" "$(stat -c '%U:%G %a' "$ALONE" "$ALONE/atlas" && ls "$ALONE/atlas")" "root:root 755
root:root 755
atlas.sock"
in=(uid="$ALICE" gid="$ALICE" group="$TEAM" calls=EPERM mount="$ALONE/atlas")
# It asks at each file that is put into the directory next to it, and says what it got.
mkdir -m 0755 "$DIR/asks"
box "${in[@]}" mount="$DIR/asks" -- timeout 100 sh -c "for i in 1 2 3; do
	until [ -e $DIR/asks/\$i ]; do sleep 0.05; done
	said=\$(keyfob get atlas 2>&1); echo \"\$said \$? \$i\"
done" >"$DIR/out/stays" 2>&1 &
stays=$!
PIDS="$PIDS $stays"
# stays N: what it says when it is asked for the Nth time
stays() {
	: >"$DIR/asks/$1"
	until_true 30 grep -q " $1\$" "$DIR/out/stays"
	sed -n "$1p" "$DIR/out/stays"
}
is "a container that has the directory reads" "$(stays 1)" "$token 0 1"
stop_broker KILL
start_broker
is "and goes on after keyfobd was killed and started again" "$(stays 2)" "$token 0 2"
base | sed "s/socket = root:$team 0660/socket = root:$team 0600/" | configure
keyfob reload >/dev/null
like "a reload counts there" "$(stays 3)" "keyfob: atlas: .*Permission denied 4 3\$"
wait "$stays"
base | configure
keyfob reload >/dev/null

# --- with a user namespace -------------------------------------------------------------------------

if box users=300000 -- true 2>"$DIR/out/crun"; then
	exits "in a user namespace its root is a stranger" 13 box users=300000 mount="$SOCKETS/atlas.sock" -- perl "$DIR/out/read.pl" "$SOCKETS/atlas.sock"
	in=("users=300000,$TEAM" calls=EPERM mount="$SOCKETS/atlas.sock")
	exits "unless an id that it is given is the socket's" 0 box "${in[@]}" -- perl "$DIR/out/read.pl" "$SOCKETS/atlas.sock"
	is "which then is the policy" "$OUT" "$token"
	exits "keyfob get believes the socket there" 0 box "${in[@]}" -- keyfob get atlas
	is "though its owner is nobody it knows" "$OUT" "$token"
	exits "or the socket is that of its ids, which have no names on the host" 0 \
		box users=300000 mount="$ALONE/mapped" -- keyfob get mapped
	is "that is" "$OUT" "$(keyfob get mapped)"
	exits "and of no others" 4 box uid="$ALICE" gid="$ALICE" mount="$ALONE/mapped" -- keyfob get mapped
	exits "its keyrings are others" 1 box users=300000,"$TEAM" uid=0 -- keyctl search @u keyring "keyfob-broker:$KEYFOB_SOCKET"
	exits "the request socket" 4 box users=300000 mount="$KEYFOB_SOCKET" -- keyfob get atlas
	like "is not for it" "$ERR" 'callers from a container read the credential.s own socket'
	exits "nor for one that is the reader" 4 box users="$ALICE,$TEAM" mount="$KEYFOB_SOCKET" -- keyfob get atlas
else
	skip "in a user namespace" "$(tail -n 1 "$DIR/out/crun")"
fi

base | sed 's/300000:300000/4294967295:0x10/' >"$DIR/etc/wrong.conf"
exits "what is neither a name nor an id is a fault" 1 keyfobd --config "$DIR/etc/wrong.conf" --check
like "of the owner" "$ERR" 'credential mapped: socket: there is no user 4294967295'
like "and the group" "$ERR" 'credential mapped: socket: there is no group 0x10'

# --- the request socket, mounted by mistake ----------------------------------------------------------

for what in "uid=0" "uid=$ALICE gid=$ALICE"; do
	# shellcheck disable=SC2086
	exits "a container with the host's users, $what, asks by the request socket" 4 box $what calls=EPERM mount="$DIR/run" -- keyfob get atlas
	like "and is sent to the other one" "$ERR" \
		"keyfob: atlas: callers from a container read the credential's own socket: socket = USER:GROUP MODE \(keyfob.conf\(5\)\)"
done
for verb in "drop atlas" reload status "refresh atlas" "try atlas"; do
	# shellcheck disable=SC2086
	exits "its root may not: $verb" 4 box mount="$KEYFOB_SOCKET" -- keyfob $verb
done
check "the log tells" logged "uid=$ALICE pid=[0-9]+ event=denied reason=\"a container may not ask by the request socket\""
check "of root too" logged 'uid=0 pid=[0-9]+ event=denied reason="a container may not ask'
exits "the token is untouched" 0 as "$alice" keyfob get atlas
is "and the same" "$OUT" "$token"
exits "a service of the host's with mounts of its own is no container" 0 unshare --mount --propagation private keyfob get atlas
is "it has the token" "$OUT" "$token"
if as "$alice" unshare --user --map-root-user true 2>/dev/null; then
	exits "who makes himself a user namespace on the host is still himself" 0 as "$alice" unshare --user --map-root-user keyfob get atlas
	is "for good" "$OUT" "$token"
	exits "and for ill" 4 as "$bob" unshare --user --map-root-user keyfob get atlas
else
	skip "a user namespace of a user's own" "not allowed here"
fi

# --- what no rule of keyfob's prevents ----------------------------------------------------------------

in=(uid="$ALICE" gid="$ALICE")
exits "with the host's users and keyctl it is that user" 0 box "${in[@]}" -- sh -c 'keyctl get_persistent @s >/dev/null && keyctl pipe %user:keyfob:atlas'
is "and reads his copy" "$OUT" "$token"
exits "podman's profile lets it" 0 box "${in[@]}" calls=podman -- "$HELPERS/reader" atlas
is "too" "$OUT" "$token"
exits "its root is the host's to the keyring" 0 box -- keyctl pipe "$(keyctl search "$(persistent "$alice")" user keyfob:atlas)"
is "and reads what root's keys hold, by their number" "$OUT" "$token"
sealed=$(keyfob get sealed)
as "$alice" keyfob get sealed >/dev/null
exits "with store = socket there is no copy to be read" 1 box "${in[@]}" -- sh -c 'keyctl get_persistent @s >/dev/null && keyctl search @s user keyfob:sealed'
exits "but by the socket" 0 box "${in[@]}" group="$TEAM" mount="$SOCKETS/sealed.sock" -- keyfob get sealed
is "the same" "$OUT" "$sealed"

# warned WORD...: what keyfob doctor warns of such a container, in WARNED
warned() {
	local container pid
	rm -f "$BOX/pid"
	box "$@" -- sleep 100 &
	container=$!
	PIDS="$PIDS $container"
	until_true 30 test -s "$BOX/pid" || fail "a container starts"
	pid=$(cat "$BOX/pid")
	# Once it is the program, what holds it stands.
	until_true 30 grep -qx sleep "/proc/$pid/comm"
	WARNED=$(keyfob --config "$CONFIG" doctor --json 2>/dev/null | jq -r --arg pid "$pid" \
		'[.[] | select(.subject == "containers" and (.text | startswith("process \($pid) "))) | .level + " " + .fix] | join(" ")')
	kill -KILL "$pid"
	wait "$container"
}
warned
like "doctor warns of one that has the host's users and keyctl" "$WARNED" 'warning .*store = socket'
warned calls=EPERM
is "not of one without keyctl" "$WARNED" ""
if box users=300000 -- true 2>/dev/null; then
	warned users=300000
	is "nor of one with users of its own" "$WARNED" ""
fi

# --- a broker in a container, with clients of its own ----------------------------------------------------

mkdir -m 0755 "$DIR/pod"
cat >"$DIR/out/pod" <<EOF2
#!/bin/sh
export KEYFOB_SOCKET=$DIR/pod/keyfob.sock
keyfobd --config "$CONFIG" --socket "\$KEYFOB_SOCKET" --log debug >"$DIR/out/pod.log" 2>&1 &
for i in \$(seq 200); do keyfob status >/dev/null 2>&1 && break; sleep 0.05; done
keyfob get atlas >"$DIR/out/pod.root"
setpriv --reuid=$ALICE --regid=$ALICE --clear-groups keyfob get atlas >"$DIR/out/pod.alice"
unshare --pid --fork keyfob get atlas 2>"$DIR/out/pod.deeper"
: >"$DIR/out/pod.ready"
for i in \$(seq 1200); do [ ! -e "$DIR/out/pod.ready" ] && break; sleep 0.05; done
keyfobd --socket "\$KEYFOB_SOCKET" --purge
EOF2
chmod 0755 "$DIR/out/pod"
pod() {
	rm -f "$DIR"/out/pod.*
	"$@" "$DIR/out/pod" >"$DIR/out/pod.out" 2>&1 &
	POD=$!
	PIDS="$PIDS $POD"
	until_true 60 test -e "$DIR/out/pod.ready" || fail "the container's broker starts" "$(cat "$DIR/out/pod.out" "$DIR/out/pod.log")"
	like "root beside it in the container is served" "$(cat "$DIR/out/pod.root")" '^([A-Za-z0-9_-]+\.){2}[A-Za-z0-9_-]+$'
	is "so is a user" "$(cat "$DIR/out/pod.alice")" "$(cat "$DIR/out/pod.root")"
	like "a container in it is not" "$(cat "$DIR/out/pod.deeper")" 'callers from a container'
	exits "nor is the host, which it does not see" 4 keyfob --socket "$DIR/pod/keyfob.sock" get atlas
	check "the log tells" grep -q 'uid=0 pid=0 event=denied' "$DIR/out/pod.log"
	rm "$DIR/out/pod.ready"
	wait "$POD"
}
pod unshare --pid --fork --kill-child --mount-proc
# The /proc that it has is then the host's, where each of its processes has two numbers.
pod unshare --pid --fork --kill-child

finish
