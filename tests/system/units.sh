#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The systemd units: what systemd-analyze says of them, and systemd itself, the first process of a pid namespace of the
# test's, that runs them with all of their sandbox. Its network is its own too.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/systemd.inc"
command -v systemd-analyze >/dev/null || { echo "1..0 # SKIP systemd is not installed"; exit 0; }

INSTALLED=$KEYFOB_PREFIX/lib/systemd/system
names=$(cd "$INSTALLED" && echo *.service *.socket)

# --- by the book -------------------------------------------------------------------------------

# Only what it says of these units: the host may have others that it does not like.
verdict() {
	# shellcheck disable=SC2046
	SYSTEMD_UNIT_PATH=$INSTALLED: systemd-analyze verify --man=no --recursive-errors=no "$@" 2>&1 | grep -E 'keyfob'
}
for name in $names; do
	is "systemd-analyze verify: $name" "$(verdict "$INSTALLED/$name")" ""
done
is "systemd-analyze verify: the users' keyfobd.service" "$(systemd-analyze verify --user --man=no --recursive-errors=no \
	"$KEYFOB_PREFIX/lib/systemd/user/keyfobd.service" 2>&1 | grep keyfob)" ""

# No more than its figure, times ten. Each line that it counts is explained in the unit, by the setting's name.
while read -r unit most; do
	[ -e "$INSTALLED/$unit.service" ] || continue
	exits "systemd-analyze security: $unit at $most or below" 0 \
		systemd-analyze security --offline=yes --no-pager --threshold="$most" "$INSTALLED/$unit.service"
	unexplained=""
	for setting in $(printf '%s\n' "$OUT" | sed -nE 's/^✗ ([A-Za-z]+)=.*/\1/p' | sort -u); do
		grep -qE "^#.*\b$setting=" "$INSTALLED/$unit.service" || unexplained="$unexplained $setting="
	done
	is "$unit: each line that it counts is explained in the unit" "$unexplained" ""
done <<END
keyfobd 24
keyfob-verifyd 5
keyfob-metadata 16
keyfob-emulator 10
END

# --- a sign of life, by the plain protocol --------------------------------------------------------------

configure </dev/null
# signs OUT VARIABLE=VALUE...: keyfobd under a supervisor, in whose notes its signs of life are
signs() {
	env "${@:2}" "$HELPERS/supervise" "$1" "$DIR/run/notify" -- keyfobd --config "$CONFIG" --socket "$KEYFOB_SOCKET" >>"$LOG" 2>&1 &
	SUPERVISOR=$!
	PIDS="$PIDS $SUPERVISOR"
	until_true 10 grep -qx READY=1 "$1"
}
several() { [ "$(grep -cx WATCHDOG=1 "$DIR/out/signs")" -ge 4 ]; }
signs "$DIR/out/signs" WATCHDOG_USEC=200000
check "asked for it keyfobd gives signs of life" until_true 20 several
kill "$SUPERVISOR" && wait "$SUPERVISOR"
is "the last thing it says is that it ends" "$(tail -n 2 "$DIR/out/signs" | xargs)" "STOPPING=1 exit 0"
for other in WATCHDOG_USEC=0 "WATCHDOG_USEC=200000 WATCHDOG_PID=1" NOTHING=1; do
	# shellcheck disable=SC2086
	signs "$DIR/out/none" $other
	sleep 1
	is "none with $other" "$(grep -c WATCHDOG "$DIR/out/none")" 0
	kill "$SUPERVISOR" && wait "$SUPERVISOR"
done

# --- systemd ---------------------------------------------------------------------------------------

new_user; alice=$USER_NAME
new_user; corp=$USER_NAME
SOCKET=/run/keyfob/keyfob-test-$$.sock STATE=$(basename "$DIR")/state
cp "$INSTALLED"/keyfob* "$UNITS/"
# The kernel's keyrings are the host's, so that this broker's socket has a name of its own; its configuration and state too.
# drop_in UNIT LINE...
drop_in() {
	mkdir -p "$UNITS/$1.d"
	printf '%s\n' "${@:2}" >>"$UNITS/$1.d/test.conf"
}
drop_in keyfobd.socket "[Socket]" ListenSequentialPacket= "ListenSequentialPacket=$SOCKET"
for unit in keyfobd keyfob-verifyd keyfob-metadata keyfob-metadata-rules; do
	[ -e "$UNITS/$unit.service" ] || continue
	drop_in $unit.service "[Service]" "Environment=KEYFOB_CONFIG=$CONFIG KEYFOB_SOCKET=$SOCKET" "StandardError=append:$LOG"
done
drop_in keyfobd.service WatchdogSec=2s "LoadCredential=secret:$DIR/secret"
# To be named anew the directory's mode has to be, too.
drop_in keyfob-verifyd.service "StateDirectory=" "StateDirectory=$STATE" \
	"$(grep ^StateDirectoryMode= "$UNITS/keyfob-verifyd.service")" ExecStart= \
	"$(sed -n 's/^ExecStart=.*/&/p' "$UNITS/keyfob-verifyd.service") --state $DIR/state"
printf 'a-token-that-another-program-keeps' >"$DIR/secret"
chmod 0600 "$DIR/secret"
install -d -o "$corp" "$DIR/home"
usermod -d "$DIR/home" "$corp"
cat >"$DIR/callback" <<'END'
#!/bin/sh
echo "$(id -un)-$(touch "$HOME/cache" 2>/dev/null && echo wrote || echo read)-$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')"
END
chmod 0755 "$DIR/callback"
export KEYFOB_SOCKET=$SOCKET
end_units() {
	end_systemd
	keyfobd --socket "$SOCKET" --purge 2>/dev/null
	cleanup
}
trap end_units EXIT
if ! boot_systemd --net; then
	sed 's/^/# /' "$DIR/out/systemd.log"
	skip "the units under systemd" "it does not run as the first process of a pid namespace here"
	finish
fi

sd keyfob-emulator --listen 127.0.0.1:0 --port-file "$DIR/out/port" >"$DIR/out/emulator.log" 2>&1 &
PIDS="$PIDS $!"
until_true 20 test -s "$DIR/out/port"
CLOUD=http://127.0.0.1:$(cat "$DIR/out/port")
configure <<END
[credential units-$$]
resource = api://orders
metadata = yes
provider = azure endpoint=$CLOUD
allow = user:$alice
file = raw
socket = root:root 0600
[credential called-$$]
provider = callback-exec run_as=$corp format=raw ttl=1h -- $DIR/callback
trust_run_as = yes
allow = user:$corp
[credential kept-$$]
provider = file secret_file=/run/credentials/keyfobd.service/secret ttl=1h
[identity-provider emulator]
issuer = $CLOUD
audience = api://orders
authorization_type = user
END

fetched() {
	sd curl -sS "$CLOUD/emulator/counters" | jq .imds.requests
}
# get USER NAME
get() {
	sd setpriv --reuid="$1" --regid="$1" --init-groups keyfob get "$2"
}
# status_of PID FIELD: of /proc, as seen in there
status_of() {
	sd sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"
}
main_pid() {
	sd systemctl show -P MainPID "$1"
}

# --- keyfobd ---------------------------------------------------------------------------------------------

check "the request socket is there first" sd systemctl start keyfobd.socket
is "it is root's, and for all" "$(sd stat -c '%U %G %a' "$SOCKET")" "root root 666"
TOKEN=$(get "$alice" units-$$)
like "who asks has keyfobd started, and gets his token" "$TOKEN" '^eyJ'
is "keyfobd said that it is ready" "$(sd systemctl is-active keyfobd.service)" active
is "a callback program runs as its user, who can write nowhere" "$(get "$corp" called-$$ | sed 's/-[0-9a-f]*$//')" "$corp-read"
is "LoadCredential= brings a secret to a fetch" "$(sd keyfob get kept-$$)" "a-token-that-another-program-keeps"
is "a token file is its reader's" "$(sd stat -c '%U %a' "/run/keyfob/token/$alice/units-$$")" "$alice 400"
is "a credential has its own socket" "$(sd stat -c '%F %a' "/run/keyfob/credential/units-$$.sock")" "socket 600"
pid=$(main_pid keyfobd)
is "keyfobd has CAP_SETUID alone" "$(status_of "$pid" CapPrm)" 0000000000000080
is "its launcher has four" "$(status_of "$(sd pgrep -P "$pid")" CapPrm)" 00000000000000e1
is "no new privileges, and a filter" "$(status_of "$pid" NoNewPrivs) $(status_of "$pid" Seccomp)" "1 2"

fetches=$(fetched)
restarted() {
	[ "$(sd systemctl show -P NRestarts keyfobd)" = "$1" ] && [ "$(sd systemctl is-active keyfobd.service)" = active ]
}
sd kill -KILL "$pid"
check "killed, it is started again" until_true 30 restarted 1
is "with the same token" "$(get "$alice" units-$$)" "$TOKEN"
sd kill -STOP "$(main_pid keyfobd)"
ended_by() { sd systemctl show -P Result keyfobd | grep -qx "$1"; }
check "when it gives no sign of life, the watchdog ends it" until_true 30 ended_by watchdog
check "and it is started again" until_true 30 restarted 2
is "with the same token" "$(get "$alice" units-$$)" "$TOKEN"
sd pkill -KILL -P "$(main_pid keyfobd)"
check "when its launcher is killed, too" until_true 30 restarted 3
is "with the same token" "$(get "$alice" units-$$)" "$TOKEN"
is "and nobody was asked again" "$(fetched)" "$fetches"

# A whole minute of signs would be long; several in the time of two are enough.
pid=$(main_pid keyfobd)
sleep 5
is "alive it is left alone" "$(main_pid keyfobd)" "$pid"

echo 'no = setting' >>"$CONFIG"
check_not "a reload with a fault fails" sd systemctl reload keyfobd
like "by the check, before keyfobd is asked" "$(grep -c 'no key no ' "$LOG")" '^1$'
is "the old configuration counts" "$(get "$alice" units-$$)" "$TOKEN"
sed -i '$d' "$CONFIG"
sed -i "s/^allow = user:$corp/& user:$alice/" "$CONFIG"
check "a good one counts" sd systemctl reload keyfobd
like "at once" "$(get "$alice" called-$$)" "^$corp-read-"

drop_in keyfobd.service "ReadWritePaths=$DIR/home"
sd systemctl daemon-reload
check "restarted" sd systemctl restart keyfobd.service
check "a token is dropped" sd keyfob drop called-$$
like "with ReadWritePaths= his program can write to his home" "$(get "$corp" called-$$)" "^$corp-wrote-"
check "stopped, it ends" sd systemctl stop keyfobd.service
is "its socket stays, and whoever asks has it started" "$(get "$alice" units-$$)" "$TOKEN"
is "and nobody was asked again" "$(fetched)" "$fetches"

# --- keyfob-verifyd ------------------------------------------------------------------------------------------

check "keyfob-verifyd starts" sd systemctl start keyfob-verifyd
pid=$(main_pid keyfob-verifyd)
is "as its user, without a right" "$(stat -c %U "$DIR/state") $(status_of "$pid" Uid | cut -f 1) $(status_of "$pid" CapBnd)" \
	"keyfob-verify $(id -u keyfob-verify) 0000000000000000"
check "it gets keys by keyfobd" sd env KEYFOB_VERIFY_SOCKET=/run/keyfob/verify.sock keyfob jwks refresh emulator
is "its state is its own" "$(stat -c '%U %a' "$DIR/state")" "keyfob-verify 700"
unlike "root's socket is believed" "$(cat "$LOG")" "the socket is not root's"
echo 'no = setting' >>"$CONFIG"
check_not "its reload fails with a fault" sd systemctl reload keyfob-verifyd
sed -i '$d' "$CONFIG"
check "without one it reloads" sd systemctl reload keyfob-verifyd
check "and says so" until_true 10 grep -q 'keyfob-verifyd: event=reloaded' "$LOG"

# --- keyfob-metadata -----------------------------------------------------------------------------------------

if [ -e "$UNITS/keyfob-metadata.service" ]; then
	check "keyfob-metadata starts" sd systemctl start keyfob-metadata
	pid=$(main_pid keyfob-metadata)
	is "as its user, without a right" "$(status_of "$pid" Uid | cut -f 1) $(status_of "$pid" CapPrm)" "$(id -u keyfob-metadata) 0000000000000000"
	check "with it the rules that lead users there" sd systemctl is-active keyfob-metadata-rules
	like "are loaded" "$(sd nft list ruleset)" "skuid"
	check "stopped, they are gone" sd systemctl stop keyfob-metadata-rules
	is "all of them" "$(sd nft list ruleset)" ""
fi

# --- keyfob-emulator -----------------------------------------------------------------------------------------

check "keyfob-emulator starts" sd systemctl start keyfob-emulator
answers() { sd curl -sSf http://127.0.0.1:8791/jwks; }
check "and answers where keyfob init --emulator expects it" until_true 20 answers
pid=$(main_pid keyfob-emulator)
like "as nobody's user, without a right" "$(status_of "$pid" Uid | cut -f 1) $(status_of "$pid" CapBnd)" '^6[0-9]{4} 0+$'

check "all end in order" sd systemctl stop keyfobd.socket 'keyfob*.service'
is "none failed" "$(sd systemctl list-units --failed --plain --no-legend 'keyfob*')" ""
finish
