#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Wherever a process runs, it gets its token by libkeyfob and by `keyfob get`, and a stranger in the same kind of place gets
# nothing. By which way it came shows when keyfobd is gone: the keyring goes on.
WANTS_OUTSIDE=1
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
new_user; kept=$USER_NAME
# Users who fill their quota, once with bytes and once with keys, before and after their sessions lead to the tokens.
new_user; bytes=$USER_NAME
new_user; keys=$USER_NAME
new_user; late=$USER_NAME
# Uids as systemd hands them out to services that come and go.
dynamic_user() {
	local uid=$((61184 + ($$ * 2 + $1) % 4000))
	while getent passwd "$uid" >/dev/null; do uid=$((uid + 2)); done
	USER_NAME="kt$$d$1"
	flock /run/lock/keyfob-test useradd -M -d "$DIR" -s /bin/sh -u "$uid" -U -K UID_MAX=65519 -K GID_MAX=65519 "$USER_NAME" 2>/dev/null || exit 1
	USERS="$USERS $USER_NAME"
}
dynamic_user 0; dynamic=$USER_NAME
dynamic_user 1; passing=$USER_NAME

printf 'the-token-of-atlas' >"$DIR/etc/atlas.token"
configure <<EOF2
[credential atlas]
provider = file path=$DIR/etc/atlas.token ttl=1h
allow = user:$alice user:$bytes user:$keys user:$late user:$dynamic
EOF2
start_broker
for user in "$alice" "$bytes" "$keys" "$late" "$dynamic"; do as "$user" keyfob get atlas >/dev/null; done
# This shell's own session keyring, which some of the places keep, must not lead there.
copy=$(as "$alice" sh -c 'keyctl search "$(keyctl get_persistent @s)" user keyfob:atlas')

# --- the places: each runs COMMAND... as USER -----------------------------------------------
# bare USER COMMAND...: with nothing of this shell's but what finds the test's broker
bare() {
	local user=$1
	shift
	setpriv --reuid="$user" --regid="$user" --init-groups --reset-env env -i "PATH=$PATH" "KEYFOB_SOCKET=$KEYFOB_SOCKET" \
		"LD_LIBRARY_PATH=$LD_LIBRARY_PATH" "$@"
}
login() {
	as "$@"
}
login_linked() {
	as "$1" sh -c 'keyctl get_persistent @s >/dev/null; exec "$@"' sh "${@:2}"
}
cron() {
	outside setpriv --reuid="$1" --regid="$1" --init-groups setsid -w env -i "PATH=$PATH" "KEYFOB_SOCKET=$KEYFOB_SOCKET" \
		"LD_LIBRARY_PATH=$LD_LIBRARY_PATH" "${@:2}"
}
default_session() {
	bare "$1" keyctl session "_uid_ses.$(id -u "$1")" sh -c 'exec "$@" 2>&3 3>&-' sh "${@:2}" 3>&2 2>/dev/null
}
# of_service MODE USER COMMAND...
of_service() {
	env -i "PATH=$PATH" "KEYFOB_SOCKET=$KEYFOB_SOCKET" "LD_LIBRARY_PATH=$LD_LIBRARY_PATH" "$HELPERS/service-like" "$@"
}
private() {
	of_service private "$@"
}
shared() {
	of_service shared "$@"
}
inherit() {
	of_service inherit "$@"
}
another_users_session() {
	"$HELPERS/sudo-like" "$(id -u "$kept")" atlas setpriv --reuid="$1" --regid="$1" --init-groups "${@:2}"
}
podman_filter() {
	as "$1" "$HELPERS/seccomp-exec" ENOSYS add_key request_key -- "${@:2}"
}
no_keyctl() {
	as "$2" "$HELPERS/seccomp-exec" "$1" keyctl add_key request_key -- "${@:3}"
}
docker_filter() {
	no_keyctl EPERM "$@"
}
no_calls() {
	no_keyctl ENOSYS "$@"
}
no_device() {
	no_keyctl ENODEV "$@"
}
user_namespace() {
	as "$1" unshare -U -r "${@:2}"
}
# full_of bytes|keys USER LINK COMMAND...: a quota that is full to the last one, of a session keyring that holds what fills
# it. The kernel takes its time to forget the one before.
full_of() {
	local what=$1 user=$2
	shift
	until_true 30 sh -c "! grep -E '^ *$(id -u "$user"): .* ([2-9][0-9]|1[0-9][0-9]|200)/200 ' /proc/key-users" || return 98
	as "$user" sh -c '[ "$1" != link ] || keyctl get_persistent @s >/dev/null
		shift
		add() { head -c "$2" /dev/zero | keyctl padd user "$1" @s >/dev/null 2>&1; }
		if [ '"$what"' = keys ]; then
			while n=$((n + 1)); add "$n" 1; do :; done
		else
			add last 1
			for size in 8000 2000 500 100; do
				while n=$((n + 1)); add "$n" "$size"; do :; done
			done
			size=1
			while size=$((size + 1)); add last "$size"; do :; done
		fi
		"$@"
		result=$?
		keyctl clear @s
		exit "$result"' sh "${@:2}"
}
full_bytes() {
	full_of bytes "$1" none "${@:2}"
}
full_linked() {
	full_of bytes "$1" link "${@:2}"
}
full_keys() {
	full_of keys "$1" none "${@:2}"
}

# --- what this machine has ---------------------------------------------------------------------
PLACES="" NOT_HERE=""
# place NAME USER STRANGER WAY TITLE
place() {
	PLACES="$PLACES$1|$2|$3|$4|$5
"
}
if cron "$alice" keyctl describe @s 2>/dev/null | grep -q "_uid_ses.$(id -u "$alice")$"; then
	place cron "$alice" "$bob" keyring "a job without a session keyring"
else
	NOT_HERE="a job without a session keyring|this host's processes all have one"
fi
place login "$alice" "$bob" keyring "a login"
place login_linked "$alice" "$bob" keyring "a login whose session leads to the tokens"
place default_session "$alice" "$bob" keyring "in the session keyring that a user's processes share by default"
place private "$alice" "$bob" keyring "a service with KeyringMode=private"
place shared "$alice" "$bob" keyring "a service with KeyringMode=shared"
place inherit "$alice" "$bob" keyring "a service with KeyringMode=inherit"
place another_users_session "$alice" "$bob" keyring "in a session keyring kept over from another user"
place podman_filter "$alice" "$bob" keyring "add_key and request_key filtered, ENOSYS"
place docker_filter "$alice" "$bob" socket "all calls of the keyring filtered, EPERM"
place no_calls "$alice" "$bob" socket "no calls of the keyring, ENOSYS"
place no_device "$alice" "$bob" socket "no keyring, ENODEV"
place full_linked "$late" "$bob" keyring "a quota that is full, in a session that leads to the tokens"
place full_keys "$keys" "$bob" keyring "a quota with no key left"
place full_bytes "$bytes" "$bob" socket "a quota with no byte left"
place dynamic_uid "$dynamic" "$passing" socket "a dynamic uid"
dynamic_uid() {
	private "$@"
}
if as "$alice" unshare -U -r true 2>/dev/null; then
	place user_namespace "$alice" "$bob" socket "a user namespace"
else
	NOT_HERE="$NOT_HERE
a user namespace|may not be made here"
fi
# each_place FUNCTION
each_place() {
	local name user stranger way title
	while IFS='|' read -r name user stranger way title; do
		[ -z "$name" ] || "$1" </dev/null
	done <<<"$PLACES"
}
while IFS='|' read -r title why; do [ -z "$title" ] || skip "$title" "$why"; done <<<"$NOT_HERE"

# --- the places are what they say -----------------------------------------------------------------
show() {
	"$1" "$alice" keyctl show @s 2>&1
}
like "private: a keyring of the service's own, with root's mark" "$(show private)" ' 0 +0 +.*user: invocation_id$'
like "which is the user's" "$(show private)" " $(id -u "$alice") +$(id -g "$alice") +keyring: _ses$"
unlike "and does not lead to his user keyring" "$(show private)" "_uid\\.$(id -u "$alice")$"
like "shared: it does" "$(show shared)" "_uid\\.$(id -u "$alice")$"
unlike "inherit: it is not the user's" "$(show inherit)" " $(id -u "$alice") +$(id -g "$alice") +keyring: _ses$"
like "a full quota is full" "$(full_bytes "$bytes" sh -c 'keyctl add user x y @s' 2>&1)" 'Disk quota exceeded'
like "in keys too" "$(full_keys "$keys" sh -c 'keyctl add user x y @s' 2>&1)" 'Disk quota exceeded'
like "EPERM" "$(docker_filter "$alice" keyctl show @s 2>&1)" 'Operation not permitted'
like "ENOSYS" "$(podman_filter "$alice" keyctl add user x y @s 2>&1)" 'Function not implemented'

# --- while keyfobd runs ------------------------------------------------------------------------------
seen="(^| )$copy |^$(printf '%08x' "$copy") "
served() {
	is "$title: keyfob get" "$("$name" "$user" keyfob get atlas 2>&1)" the-token-of-atlas
	is "$title: a program" "$("$name" "$user" "$HELPERS/reader" atlas 2>&1)" the-token-of-atlas
	exits "$title: not for a stranger" 4 "$name" "$stranger" keyfob get atlas
	exits "$title: nor his program" 4 "$name" "$stranger" "$HELPERS/reader" atlas
	check_not "$title: nor by the key's number" "$name" "$stranger" keyctl pipe "$copy"
	unlike "$title: nor does he see it" "$("$name" "$stranger" sh -c 'keyctl show @s; cat /proc/keys' 2>&1)" "$seen"
}
each_place served

# --- and while it does not -----------------------------------------------------------------------------
stop_broker
by_way() {
	if [ "$way" = keyring ]; then
		is "$title: by keyring" "$("$name" "$user" keyfob get atlas 2>&1)" the-token-of-atlas
		is "$title: a program, by keyring" "$("$name" "$user" "$HELPERS/reader" atlas 2>&1)" the-token-of-atlas
	else
		exits "$title: by socket, there is no other way" 6 "$name" "$user" keyfob get atlas
		exits "$title: a program, by socket" 6 "$name" "$user" "$HELPERS/reader" atlas
	fi
	exits "$title: nothing for a stranger" 6 "$name" "$stranger" keyfob get atlas
}
each_place by_way
unlike "nothing was published for a dynamic uid" "$(as "$dynamic" sh -c 'keyctl get_persistent @s >/dev/null; keyctl show @s')" 'keyfob'

# --- one handle: threads, a child, another user ------------------------------------------------------------
# shares PLACE THREADS
shares() {
	"$1" "$alice" "$HELPERS/shared-reader" atlas "$2" 2>&1 | tr '\n' ' '
}
for name in login private inherit; do
	like "$name: sixteen threads and a child of one handle, by keyring" "$(shares "$name" 16)" \
		'^the-token-of-atlas 320 of 320, charged [0-9]+ the-token-of-atlas $'
done
start_broker
like "a handle of root's is not the users' who he becomes" "$("$HELPERS/shared-reader" atlas 0 "$(id -u "$alice")" "$(id -u "$bob")" 2>&1 | tr '\n' ' ')" \
	'^the-token-of-atlas 0 of 0, charged [0-9]+ the-token-of-atlas the-token-of-atlas not allowed to have this credential $'

# Each thread that has no session keyring of the user's own costs him a key, and no quota stops that: he keeps half of his.
limit=$(cat /proc/sys/kernel/keys/maxkeys)
crowd=$(shares inherit $((limit + 50)))
like "more threads than he may have keys are all served" "$crowd" "^the-token-of-atlas $(((limit + 50) * 20)) of $(((limit + 50) * 20)), "
charged=$(expr "$crowd" : '.*charged \([0-9]*\)')
[ "$charged" -ge $((limit / 4)) ] && [ "$charged" -le $((limit / 2 + 1)) ] && pass "and leave him half of his keys" ||
	fail "and leave him half of his keys" "$charged of $limit are taken"
finish
