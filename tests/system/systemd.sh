#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# systemd itself, the first process of a pid namespace of the test's: how its services get tokens. LoadCredential= from a
# credential's socket, KeyringMode= private, inherit and shared, a user that systemd makes up, a service without privileges,
# a user's own keyfobd. The system's units are tests/system/units.sh's.
[ -x /lib/systemd/systemd ] || { echo "1..0 # SKIP systemd is not installed"; exit 0; }
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/systemd.inc"

new_user; orders=$USER_NAME
new_user; stranger=$USER_NAME
start_emulator
configure <<END
[credential atlas]
resource = api://orders
provider = azure endpoint=$CLOUD
allow = user:$orders
socket = root:root 0600
[credential everybody]
resource = api://everybody
provider = azure endpoint=$CLOUD
allow = user:$orders
socket = root:root 0666
END

# --- systemd ------------------------------------------------------------------------------

OUT=$DIR/out/units
mkdir -m 0777 "$OUT"
# unit NAME LINE...: a service of those lines
unit() {
	local name=$1
	shift
	printf '%s\n' "[Service]" "$@" >"$UNITS/$name.service"
}
if ! boot_systemd; then
	sed 's/^/# /' "$DIR/out/systemd.log"
	echo "1..0 # SKIP systemd does not run as the first process of a pid namespace here"
	exit 0
fi

# own_unit UNIT LINE...: one of keyfob's, as it is installed, with what makes this place its own
own_unit() {
	local name=$1
	shift
	cp "$KEYFOB_PREFIX/lib/systemd/system/$name" "$UNITS/"
	mkdir -p "$UNITS/$name.d"
	printf '%s\n' "$@" >"$UNITS/$name.d/test.conf"
}
here="Environment=PATH=$PATH LD_LIBRARY_PATH=$LD_LIBRARY_PATH KEYFOB_SOCKET=$KEYFOB_SOCKET KEYFOB_CONFIG=$CONFIG"
own_unit keyfobd.socket "[Socket]" "ListenSequentialPacket=" "ListenSequentialPacket=$KEYFOB_SOCKET"
own_unit keyfobd.service "[Service]" "$here" "ReadWritePaths=$DIR/run" "StandardError=append:$LOG" "ExecStart=" \
	"ExecStart=$KEYFOB_PREFIX/sbin/keyfobd --config $CONFIG --socket $KEYFOB_SOCKET"
sd systemctl daemon-reload
check "keyfobd's socket" sd systemctl start keyfobd.socket
TOKEN=$(sd keyfob get atlas)
like "who asks starts keyfobd, and has root's own token" "$TOKEN" '^eyJ'

# run_as_service NAME LINE...: a service that runs to its end; what it printed is in OUT
run_as_service() {
	local name=$1
	shift
	rm -f "$OUT/$name"
	unit "$name" Type=oneshot "Environment=PATH=$PATH LD_LIBRARY_PATH=$LD_LIBRARY_PATH KEYFOB_SOCKET=$KEYFOB_SOCKET" \
		"StandardOutput=file:$OUT/$name" "StandardError=file:$OUT/$name" "$@"
	sd systemctl daemon-reload
	sd systemctl start "$name" >/dev/null 2>&1
	OUT_TEXT=$(cat "$OUT/$name" 2>/dev/null)
}

# --- LoadCredential= ----------------------------------------------------------------------

DOOR=$DIR/run/credential/atlas.sock
run_as_service load "User=$orders" "LoadCredential=atlas:$DOOR" "ExecStart=/bin/sh -c 'cat \$CREDENTIALS_DIRECTORY/atlas'"
is "LoadCredential= reads a credential's socket" "$OUT_TEXT" "$TOKEN"
run_as_service load-stranger "User=$stranger" "LoadCredential=atlas:$DOOR" "ExecStart=/bin/sh -c 'cat \$CREDENTIALS_DIRECTORY/atlas'"
is "the unit's author decides who gets it: systemd connects as root" "$OUT_TEXT" "$TOKEN"
run_as_service load-dynamic "DynamicUser=yes" "LoadCredential=atlas:$DOOR" "ExecStart=/bin/sh -c 'cat \$CREDENTIALS_DIRECTORY/atlas'"
is "for a user that systemd makes up too" "$OUT_TEXT" "$TOKEN"
run_as_service load-other "User=$orders" "LoadCredential=atlas:$DOOR" \
	"ExecStart=+/usr/bin/setpriv --reuid=$stranger --regid=$stranger --clear-groups cat \${CREDENTIALS_DIRECTORY}/atlas"
like "another user cannot read that file" "$OUT_TEXT" "atlas: Permission denied"
run_as_service load-closed "User=$stranger" "LoadCredential=atlas:$DIR/run/credential/none.sock" "ExecStart=/bin/sh -c 'echo started'"
is "a socket that is not there: the service does not start" "$OUT_TEXT" ""

# --- the keyring ----------------------------------------------------------------------------

# The broker is stopped meanwhile: what is read comes from the keyring.
broker_pid() { sd systemctl show -P MainPID keyfobd; }
sd setpriv --reuid "$orders" --regid "$orders" --init-groups keyfob get atlas >/dev/null
frozen() {
	local pid
	pid=$(broker_pid)
	sd kill -STOP "$pid"
	"$@"
	sd kill -CONT "$pid"
}
for mode in private inherit shared; do
	frozen run_as_service "keyring-$mode" "User=$orders" "KeyringMode=$mode" "ExecStart=$KEYFOB_PREFIX/bin/keyfob get atlas"
	is "KeyringMode=$mode: from the keyring, while the broker stands still" "$OUT_TEXT" "$TOKEN"
done
run_as_service stranger "User=$stranger" "ExecStart=$KEYFOB_PREFIX/bin/keyfob get atlas"
like "a stranger's service is denied" "$OUT_TEXT" "not allowed"
run_as_service hardened "User=$orders" "PrivateTmp=yes" "ProtectSystem=strict" "NoNewPrivileges=yes" "PrivateDevices=yes" "ProtectKernelTunables=yes" \
	"RestrictNamespaces=yes" "SystemCallFilter=@system-service" "ExecStart=$KEYFOB_PREFIX/bin/keyfob get atlas"
is "a service with a mount namespace and a filter of its own" "$OUT_TEXT" "$TOKEN"
run_as_service filtered "User=$orders" "NoNewPrivileges=yes" "SystemCallFilter=~@keyring" "SystemCallErrorNumber=EPERM" \
	"ExecStart=$KEYFOB_PREFIX/bin/keyfob get atlas"
is "a service whose filter keeps it from the keyring: by socket" "$OUT_TEXT" "$TOKEN"

# --- a user that systemd makes up -------------------------------------------------------------

run_as_service dynamic "DynamicUser=yes" "ExecStart=$KEYFOB_PREFIX/bin/keyfob get atlas"
like "a user made up by systemd has no credential unless he is named" "$OUT_TEXT" "not allowed"
run_as_service dynamic-door "DynamicUser=yes" \
	"ExecStart=/usr/bin/perl -MSocket -e 'socket \$s, AF_UNIX, SOCK_STREAM, 0; connect \$s, pack_sockaddr_un(shift) or die; print <\$s>' $DIR/run/credential/everybody.sock"
like "he reads a credential's socket that is his to open" "$OUT_TEXT" '^eyJ'

# --- a user's own --------------------------------------------------------------------------------

XDG=$DIR/xdg
mkdir -m 0700 "$XDG" "$DIR/home" && mkdir -p "$DIR/home/.config/keyfob" "$DIR/home/units/keyfobd.service.d"
for target in basic default shutdown sockets paths timers; do
	printf '[Unit]\nDefaultDependencies=no\n' >"$DIR/home/units/$target.target"
done
cat >"$DIR/home/.config/keyfob/keyfob.conf" <<END
[credential mine]
resource = api://mine
provider = azure endpoint=$CLOUD
END
cp "$KEYFOB_PREFIX/lib/systemd/user/keyfobd.service" "$DIR/home/units/"
printf '%s\n' "[Service]" "Environment=LD_LIBRARY_PATH=$LD_LIBRARY_PATH" >"$DIR/home/units/keyfobd.service.d/test.conf"
chown -R "$orders" "$XDG" "$DIR/home"
unit manager "User=$orders" "Delegate=yes" "Type=notify" "Environment=XDG_RUNTIME_DIR=$XDG HOME=$DIR/home SYSTEMD_UNIT_PATH=$DIR/home/units" \
	"ExecStart=/lib/systemd/systemd --user --log-target=console" "StandardOutput=file:$OUT/manager" "StandardError=file:$OUT/manager"
sd systemctl daemon-reload
as_user() {
	sd setpriv --reuid "$orders" --regid "$orders" --init-groups env -i "PATH=$PATH" "HOME=$DIR/home" "XDG_RUNTIME_DIR=$XDG" \
		"LD_LIBRARY_PATH=$LD_LIBRARY_PATH" "$@"
}
# Now and then it does not come up at once.
if until_true 40 sd timeout 30 systemctl start manager; then
	check "the user's manager starts his keyfobd" as_user systemctl --user start keyfobd
	like "he has his token" "$(as_user "KEYFOB_SOCKET=$XDG/keyfob/keyfob.sock" keyfob get mine)" '^eyJ'
	printf '%s\n' "[Service]" "Type=oneshot" "Environment=PATH=$PATH LD_LIBRARY_PATH=$LD_LIBRARY_PATH KEYFOB_SOCKET=$XDG/keyfob/keyfob.sock" \
		"ExecStart=$KEYFOB_PREFIX/bin/keyfob get mine" "StandardOutput=file:$XDG/got" >"$DIR/home/units/reader.service"
	as_user systemctl --user daemon-reload
	as_user systemctl --user kill -s STOP keyfobd
	check "a service of his reads it on his own keyring, while keyfobd stands still" as_user systemctl --user start reader
	as_user systemctl --user kill -s CONT keyfobd
	like "the token" "$(cat "$XDG/got")" '^eyJ'
	check "and a reload" as_user systemctl --user reload keyfobd
	check "his keyfobd stops" as_user systemctl --user stop keyfobd
	as_user keyfobd --user --socket "$XDG/keyfob/keyfob.sock" --purge
else
	skip "the user's own unit" "systemd --user does not run here"
fi
finish
