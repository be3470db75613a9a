#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfob status: for people, on a terminal that changes, for monitors and for Prometheus; and the note of what takes long.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; stranger=$USER_NAME
new_user; bob=$USER_NAME
new_user; carol=$USER_NAME
new_group "$bob" "$carol"
start_emulator
printf 'a-token' >"$DIR/etc/token"
configure <<EOF
[credential good]
description = orders database
resource = api://good
provider = azure endpoint=$CLOUD
allow = user:$alice
identity_provider = cloud
socket = $alice:$alice 0600
file = raw
file = pgpass 127.0.0.1:*:*:orders
metadata = yes

[credential lazy]
provider = file path=$DIR/etc/token ttl=1h
refresh = on-demand

[credential quoted]
resource = a"b\\c|d
provider = file path=$DIR/etc/token ttl=1h
allow = user:$alice

[identity-provider cloud]
issuer = $CLOUD
audience = api://good
authorization_type = user
EOF
start_broker
is_good() {
	keyfob status --json | jq -e '[.credentials[] | select(.state == "valid")] | length == 2'
}
check "tokens come" until_true 20 is_good

# --- for people ---------------------------------------------------------------------------
out=$(keyfob status)
like "the head line: host, uptime, how many" "$out" "^$(uname -n | cut -d. -f1)  keyfobd up ([0-9]+ m )?[0-9]+ s  1 not asked for  2 valid\$"
like "it would pass" "$out" '^  would pass cloud: yes'
like "the credential's own socket is among the readers" "$out" "$DIR/run/credential/good.sock"
like "so are its token files" "$out" "$DIR/run/token/\*/good"
like "and the pgpass file" "$out" "$DIR/run/token/\*/pgpass"
like "and the metadata endpoint" "$out" ' metadata$'
like "what nobody asked for yet can be tried" "$out" '^  try        keyfob get lazy$'
started=$(keyfob status --json | jq .started_at)
[ "$started" -le "$(date +%s)" ] && [ "$started" -ge "$(($(date +%s) - 300))" ] && pass "JSON tells when the broker began" ||
	fail "JSON tells when the broker began" "$started"
like "a reader sees what he may have, and no readers" "$(as "$alice" keyfob status)" 'only root sees them'
unlike "and nothing else" "$(as "$alice" keyfob status)" lazy
like "a stranger sees nothing" "$(as "$stranger" keyfob status)" 'No credential that you may have'
for two in "--json --check" "--check --prometheus" "--watch --json" "-w --prometheus"; do
	# shellcheck disable=SC2086
	exits "$two is wrong use" 2 keyfob status $two
done
like "and it says why" "$ERR" 'only one of --prometheus and --watch'
exits "-w wants a terminal" 2 keyfob status -w
like "and names what programs use" "$ERR" 'standard output is none .*--json'
exits "only status has -w" 2 keyfob get -w good

# --- for a monitor ------------------------------------------------------------------------
exits "check: all is well" 0 keyfob status --check
like "in one line with figures" "$OUT" '^KEYFOB OK - 3 credentials, 2 with a token, the first ends in .* \| valid=2 degraded=0 failed=0 least_left=[0-9]+s$'
exits "of one credential" 0 keyfob status --check good
like "by name" "$OUT" '^KEYFOB OK - good: [0-9]+ [dh].* left \| '
exits "one that nobody asked for is no trouble" 0 keyfob status --check lazy
exits "an unknown one is" 3 keyfob status --check nothing
is "it prints nothing but its line" "$(wc -l <<<"$OUT")$ERR" 1
exits "a reader checks his own" 0 as "$alice" keyfob status --check
exits "who may have none is told that" 3 as "$stranger" keyfob status --check
like "in the line" "$OUT" '^KEYFOB UNKNOWN - there is no credential that this user may have$'

# --- for Prometheus -----------------------------------------------------------------------
metrics() {
	keyfob status --prometheus "$@" >"$DIR/out/metrics"
}
check "metrics" metrics
out=$(cat "$DIR/out/metrics")
if command -v promtool >/dev/null; then
	check "promtool finds no fault in them" promtool check metrics <"$DIR/out/metrics"
	check_not "and would" promtool check metrics <<<'keyfob_x{a="b} 1'
else
	skip "promtool finds no fault in them" "promtool is not installed: make deps"
fi
like "the broker answers" "$out" '^keyfob_up 1$'
like "since when" "$out" "^keyfob_broker_start_time_seconds ($started|$((started - 1))|$((started + 1)))\$"
like "a token's end" "$out" "^keyfob_credential_expiry_timestamp_seconds\{credential=\"good\"\} $(keyfob status --json | jq '.credentials[0].expires_at')\$"
unlike "one without a token has no end" "$out" '^keyfob_credential_expiry_timestamp_seconds\{credential="lazy"'
like "fetches are counted" "$out" '^keyfob_credential_fetches_total\{credential="good"\} 1$'
like "it would pass" "$out" '^keyfob_credential_would_pass\{credential="good",identity_provider="cloud"\} 1$'
like "labels are escaped" "$out" '^keyfob_credential_info\{credential="quoted",module="file",resource="a\\"b\\\\c\|d",token="access"\} 1$'
like "one state is 1" "$out" '^keyfob_credential_state\{credential="lazy",state="none"\} 1$'
unlike "no token is told" "$out" 'eyJ|a-token'
like "a reader sees his own" "$(as "$alice" keyfob status --prometheus)" 'credential="good"'
unlike "and no other" "$(as "$alice" keyfob status --prometheus)" 'credential="lazy"'
like "a stranger that the broker is there" "$(as "$stranger" keyfob status --prometheus)" '^keyfob_up 1$'

# As OPERATING has it for plugins.
plugin() {
	sed -n "s/^    sh -c '\\(keyfob status --check.*\\)'\$/\\1/p" doc/OPERATING.md
}

# --- trouble ------------------------------------------------------------------------------
sed -i 's/^audience = .*/audience = api:\/\/other/' "$CONFIG"
keyfob reload >/dev/null
out=$(COLUMNS=160 keyfob status good)
like "it would not pass" "$out" '^  would pass cloud: NO, aud is api://good, cloud wants api://other$'
like "which setting mends that" "$out" '^  try        set audience = api://good in \[identity-provider cloud\] \(Atlas: Audience\), or: keyfob explain good$'
exits "check: degraded" 8 keyfob status --check
like "and why" "$OUT" '^KEYFOB WARNING - good: cloud would refuse it: aud is api://good, cloud wants api://other \| valid=2 degraded=1'
fault 'path=imds&status=400'
exits "the provider refuses" 5 keyfob refresh good
exits "check: its refresh fails" 8 keyfob status --check good
like "in the provider's words" "$OUT" '^KEYFOB WARNING - good: its refresh fails, [0-9]+ [dh].* left: azure: IMDS answered 400'
like "how long ago is told" "$(COLUMNS=160 keyfob status good)" '^  last error [0-9]+ s ago: azure: IMDS answered 400'
like "and what to do" "$(keyfob status good)" '^  try        keyfob try good$'
keyfob drop good >/dev/null
failed() {
	[ "$(keyfob status --json good | jq -r '.credentials[0].state')" = failed ]
}
check "without a token" until_true 20 failed
exits "check: there is none" 5 keyfob status --check
exits "a plugin's own code: critical" 2 sh -c "$(plugin)"
like "in the provider's words" "$OUT" '^KEYFOB CRITICAL - good: no valid token: azure: IMDS answered 400'
no_faults
sed -i 's/^audience = .*/audience = api:\/\/good/' "$CONFIG"
keyfob reload >/dev/null
keyfob refresh good >/dev/null

# As OPERATING has it for plugins and for alerts.
exits "a plugin's own code: well" 0 sh -c "$(plugin)"
{
	printf 'groups:\n  - name: keyfob\n    rules:\n'
	sed -n 's/^    \(keyfob_.*\)/      - { alert: A, expr: '"'\\1'"' }/p' doc/OPERATING.md
} >"$DIR/out/rules.yml"
is "there are alerts" "$(grep -c alert: "$DIR/out/rules.yml")" 4
if command -v promtool >/dev/null; then
	exits "promtool takes them" 0 promtool check rules --lint=none "$DIR/out/rules.yml"
else
	skip "promtool takes them" "promtool is not installed: make deps"
fi
is "and we have their metrics" "$(grep -o 'keyfob_[a-z_]*' "$DIR/out/rules.yml" | sort -u | while read -r metric; do
	grep -q "^${metric}[ {]" "$DIR/out/metrics" || echo "$metric"; done)" ""

# --- on a terminal ------------------------------------------------------------------------
# terminal ACTION... -- COMMAND...: on a terminal of its own, 24 lines of 80 columns. wait=PATTERN waits for new output,
# size=LINES,COLUMNS changes it, send=TEXT types, signal=NUMBER sends, run=COMMAND runs beside, with the
# process's id for PID. Prints what was shown; ends as the command does.
cat >"$DIR/terminal" <<'EOS'
import fcntl, os, pty, re, select, signal, struct, sys, termios, time
split = sys.argv.index("--")
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execvp(sys.argv[split + 1], sys.argv[split + 1:])
shown, seen, open_ = b"", 0, True
def take(seconds):
    global shown, open_
    if select.select([fd], [], [], seconds)[0]:
        try:
            got = os.read(fd, 65536)
        except OSError:
            got = b""
        open_ = got != b""
        shown += got
for action in sys.argv[1:split]:
    what, value = action.split("=", 1)
    if what == "wait":
        end = time.monotonic() + 30
        while not (found := re.search(value.encode(), shown[seen:])):
            if not open_ or time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                sys.exit("no %s in: %r" % (value, shown[seen:]))
            take(0.2)
        seen += found.end()
    elif what == "size":
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", *map(int, value.split(",")), 0, 0))
    elif what == "send":
        os.write(fd, value.encode().decode("unicode_escape").encode())
    elif what == "run":
        os.system(value.replace("PID", str(pid)))
    elif what == "signal":
        os.kill(pid, int(value))
end = time.monotonic() + 60
while open_ and time.monotonic() < end:
    take(1)
if open_:
    os.kill(pid, signal.SIGKILL)
status = os.waitpid(pid, 0)[1]
sys.stdout.buffer.write(shown)
sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
EOS
terminal() {
	python3 "$DIR/terminal" "$@"
}
if ! command -v python3 >/dev/null || ! python3 -c 'import pty, os; m, s = pty.openpty()' 2>/dev/null; then
	skip "on a terminal" "no python3, or no terminals"
	finish
fi
ESC=$(printf '\033')
exits "a terminal has colours" 0 terminal -- env TERM=xterm keyfob status
like "green is good" "$OUT" "$ESC\[32m"
for no in NO_COLOR=1 TERM=dumb; do
	exits "$no: without" 0 terminal -- env TERM=xterm $no keyfob status
	unlike "not one" "$OUT" "$ESC"
done
exits "NO_COLOR that is empty says nothing" 0 terminal -- env TERM=xterm NO_COLOR= keyfob status
like "there are" "$OUT" "$ESC\[32m"
unlike "elsewhere there are none" "$(keyfob status)" "$ESC"
exits "a narrow one" 0 terminal -- sh -c 'stty cols 40; NO_COLOR=1 keyfob status'
is "no line is wider" "$(tr -d '\r' <<<"$OUT" | grep -E '.{41}')" ""
like "but some are as wide as that" "$(tr -d '\r' <<<"$OUT")" '^.{36}'

exits "-w stays, and ends by ^C" 130 terminal 'wait=orders database' 'wait=\x1b\[H' 'wait=orders database' 'send=\x03' -- keyfob status -w
like "with the cursor where it was" "$OUT" "$ESC\[\?25h(\^C)?$ESC?.*\$"
is "hidden once, shown once" "$(grep -o "$ESC\[?25[lh]" <<<"$OUT" | tr -d "$ESC" | tr '\n' ' ')" "[?25l [?25h "
exits "it counts down" 130 terminal 'wait=up \d+ m|up \d+ s' 'wait=\x1b\[H' 'wait=up \d+ m|up \d+ s' 'send=\x03' -- keyfob status -w
[ "$(grep -oE 'up ([0-9]+ m ?)?([0-9]+ s)?' <<<"$OUT" | sort -u | wc -l)" -ge 2 ] && pass "from one second to the next" ||
	fail "from one second to the next" "$OUT"
exits "another size is another picture" 130 env COLUMNS=90 python3 "$DIR/terminal" 'wait=orders database' size=30,44 'wait=\x1b\[2J' 'wait=asked/got' 'send=\x03' -- keyfob status -w good
last=$(sed "s/$ESC\[[0-9?]*[A-Za-z]//g" <<<"${OUT##*"${ESC}[2J"}" | tr -d '\r')
is "no wider than that" "$(grep -E '.{45}' <<<"$last")" ""
like "but some are as wide" "$last" '^.{40}'
exits "a low terminal does not scroll" 130 terminal 'wait=orders' size=6,80 'wait=\x1b\[2J' 'wait=\d+ more lines' 'send=\x03' -- keyfob status -w
stopped='for i in $(seq 200); do grep -q "^State:.T" /proc/PID/status && break; sleep 0.05; done'
exits "after a stop it is drawn anew" 143 terminal 'wait=orders' signal=20 'wait=\x1b\[\?25h' "run=$stopped" signal=18 'wait=\x1b\[2J' 'wait=orders' signal=15 \
	-- keyfob status -w
exits "an unknown name ends it" 3 terminal -- keyfob status -w nothing
unlike "before anything is drawn" "$OUT" "$ESC"
# A new token is seen without waiting for the next round: its refresh is due.
fault 'path=imds&lifetime=8'
keyfob drop good >/dev/null
until_true 20 is_good
exits "what is due is asked for" 130 terminal 'wait=#[0-9a-f]{8}' 'wait=fetched' 'wait=2 ok|3 ok|4 ok|5 ok|6 ok' 'send=\x03' -- keyfob status -w good
no_faults

# --- what takes long ----------------------------------------------------------------------
fault 'path=imds&delay_ms=2500'
exits "a refresh that takes long" 0 terminal 'wait=keyfob: good: waiting for the broker, 1 s' 'wait=, 2 s' -- keyfob refresh good
like "its note is gone at the end" "$OUT" ' {30,}'$'\r''good: fetched afresh'
exits "the same without a terminal" 0 keyfob refresh good
is "says nothing of that" "$ERR" ""
keyfob drop good >/dev/null
exits "get that takes long" 0 terminal 'wait=keyfob: good: waiting for a token, 1 s' -- keyfob get good
like "its note is gone before the token" "$OUT" $'\r''eyJ'
no_faults

# --- who reads ----------------------------------------------------------------------------
cat >>"$CONFIG" <<EOF
[credential shared]
resource = api://shared
provider = azure endpoint=http://127.0.0.1:1
provider = azure endpoint=$CLOUD
allow = group:$GROUP_NAME
refresh = on-demand
EOF
keyfob reload >/dev/null
# readers: as the screen tells them of shared
readers() {
	COLUMNS=160 keyfob status shared | sed -n 's/^  readers    //p'
}
is "a group of whom nobody asked" "$(readers)" "@$GROUP_NAME"
for member in $bob $carol; do
	as "$member" keyfob get shared >/dev/null && as "$member" keyfob get shared >/dev/null
done
is "of whom two did" "$(readers)" "@$GROUP_NAME (2 asked)"
# Their names are looked up now and then; a reload does it at once.
keyfob reload >/dev/null
members() {
	keyfob status --json shared | jq -r '.credentials[0].readers[] | select(.group) | "\(.name) \(.asked) \(.group)"' | sort | xargs
}
named() { [ "$(members)" = "$(printf '%s\n' "$bob 1 @$GROUP_NAME" "$carol 1 @$GROUP_NAME" | sort | xargs)" ]; }
check "programs are told who" until_true 20 named
like "where there are several provider lines the one that gave the token is told" "$(COLUMNS=160 keyfob status shared)" \
	'^  from       azure endpoint=.* \(line 2 of 2\)  fetched .*  1 ok, 1 failed \(unavailable, '
is "to programs, too" "$(keyfob status --json shared | jq -r '.credentials[0] | .provider, .failed_class' | cut -d' ' -f1 | xargs)" "azure unavailable"
stop_broker
start_broker
is_shared() { readers | grep -qF '(2 asked)'; }
check "a restart forgets none of them" until_true 20 is_shared
like "only which line it was" "$(COLUMNS=160 keyfob status shared)" '^  from       azure endpoint=.* \(or another of 2 lines\)'

# --- without a broker ---------------------------------------------------------------------
exits "-w goes on when the broker ends" 130 terminal 'wait=orders database' "run=kill $BROKER" 'wait=broker.*since' 'wait=orders database' \
	'send=\x03' -- keyfob status -w
stop_broker
exits "check: out of reach" 6 keyfob status --check
like "in one line" "$OUT" '^KEYFOB UNKNOWN - cannot reach the broker at '
exits "metrics: out of reach" 6 keyfob status --prometheus
like "which is a metric, too" "$OUT" '^keyfob_up 0$'
exits "a plugin's own code: unknown" 3 sh -c "$(plugin)"
exits "-w without a broker" 6 terminal -- keyfob status -w
finish
