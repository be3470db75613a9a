#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfob run: what its command finds, how that is kept current, what is passed on in both directions, and that no token stands
# where it should not.
. "$(dirname "$0")/lib.sh"

new_user
ORDERS=$USER_NAME
new_user
STRANGER=$USER_NAME
start_emulator
printf '#!/bin/sh\ncat %s\n' "$DIR/etc/corp.token" >"$DIR/corp"
chmod 0755 "$DIR/corp"
corp() { # TOKEN [LIFE]
	printf '{"access_token":"%s","expires_in":%d}\n' "$1" "${2:-3600}" >"$DIR/etc/corp.new" && mv "$DIR/etc/corp.new" "$DIR/etc/corp.token"
}
corp 'odd:to\\ken'
configure <<END
[credential atlas]
resource = api://orders
provider = azure endpoint=$CLOUD
allow = user:$ORDERS
[credential reports]
resource = https://reports.example
provider = gcp endpoint=$CLOUD
allow = user:$ORDERS
[credential kept]
resource = api://kept
provider = azure endpoint=$CLOUD
allow = user:$ORDERS
file = raw
[credential corp]
provider = callback-exec run_as=$ORDERS -- $DIR/corp
allow = user:$ORDERS
[credential apart]
resource = api://apart
provider = azure endpoint=$CLOUD
allow = user:$ORDERS
store = socket
END
start_broker

run() {
	as "$ORDERS" keyfob run "$@"
}
# in_background OPTION... -- COMMAND...: RUN is keyfob's pid, which is no child of ours
in_background() {
	rm -f "$DIR/out/background"
	# shellcheck disable=SC2016
	as "$ORDERS" sh -c 'echo $$ && exec keyfob run "$@"' sh "$@" >"$DIR/out/background" 2>"$DIR/out/background.err" &
	JOB=$!
	PIDS="$PIDS $JOB"
	until_true 10 test -s "$DIR/out/background" || return 1
	RUN=$(head -n 1 "$DIR/out/background")
}
# says TEXT: the command in the background printed that line
says() {
	until_true "${2:-10}" grep -qxF -- "$1" "$DIR/out/background"
}
ended() {
	wait "$JOB"
	CODE=$?
}
current() {
	as "$ORDERS" keyfob get "$1"
}

# --- what the command finds -----------------------------------------------------------------

exits "--file" 0 run --file=atlas -- sh -c 'cat "$KEYFOB_TOKEN_FILE"'
is "it holds the token" "$OUT" "$(current atlas)"
exits "and no line end" 0 run --file=atlas -- sh -c 'wc -c <"$KEYFOB_TOKEN_FILE"'
is "which would be taken for a part of it" "$OUT" "$(printf %s "$(current atlas)" | wc -c)"
exits "two with variables of their own, no -- before the command" 0 run --file=atlas:ONE --file reports:TWO sh -c 'cat "$ONE"; echo; cat "$TWO"'
is "each holds its own" "$OUT" "$(current atlas; echo; current reports)"
exits "two variables for one credential" 0 run --file=atlas:ONE --file=atlas:TWO -- sh -c 'cmp "$ONE" "$TWO"'
exits "--mongodb" 0 run --mongodb=atlas -- sh -c 'cat "$AZURE_FEDERATED_TOKEN_FILE"; [ "$AZURE_FEDERATED_TOKEN_FILE" = "$AWS_WEB_IDENTITY_TOKEN_FILE" ]'
is "both variables lead to it" "$OUT" "$(current atlas)"
exits "the file is its owner's alone, and regular" 0 run --file=atlas -- sh -c 'stat -L -c "%A %U %F" "$KEYFOB_TOKEN_FILE"'
is "as libpq and others want it" "$OUT" "-r-------- $ORDERS regular file"
check_not "nobody writes to it" run --file=atlas -- sh -c 'chmod 0600 "$KEYFOB_TOKEN_FILE" && echo other >"$KEYFOB_TOKEN_FILE"'
exits "a grandchild without the descriptors reads it, too" 0 run --file=atlas -- sh -c 'setsid -w cat "$KEYFOB_TOKEN_FILE"'
is "the same bytes" "$OUT" "$(current atlas)"
in_background --file=atlas -- sh -c 'echo "$KEYFOB_TOKEN_FILE"; exec sleep 60'
until_true 5 sh -c "[ \$(wc -l <'$DIR/out/background') = 2 ]"
path=$(tail -n 1 "$DIR/out/background")
check "root could, of course" test -r "$path"
exits "another user does not" 1 as "$STRANGER" cat "$path"
unlike "and learns nothing" "$OUT" .
kill "$RUN" 2>/dev/null
ended

exits "--pgpass" 0 run "--pgpass=corp:db.example:5432:*:o\\:rders" --pgpass=reports:*:*:reports:reader -- sh -c 'cat "$PGPASSFILE"'
is "colons and backslashes of a token are escaped, those of an entry stay" "$OUT" \
	"$(printf 'db.example:5432:*:o\\:rders:odd\\:to\\\\ken\n*:*:reports:reader:%s' "$(current reports)")"
if [ -e /usr/include/postgresql/libpq-fe.h ] && cat >"$DIR/passfile.c" <<'EOS' && cc -I/usr/include/postgresql -o "$DIR/passfile" "$DIR/passfile.c" -lpq; then
#include <libpq-fe.h>
#include <stdio.h>
int main(void)
{
	/* Nobody listens there; by then the file has been read. */
	PGconn *c = PQconnectdb("host=127.0.0.1 port=1 dbname=reports user=orders");
	puts(PQpass(c));
	return 0;
}
EOS
	exits "libpq reads it" 0 run --pgpass=corp:127.0.0.1:1:*:orders -- "$DIR/passfile"
	is "without a word about its permissions" "$ERR|$OUT" '|odd:to\ken'
else
	skip "libpq reads it" "libpq-dev is not installed"
fi

exits "the environment and the arguments of the command" 0 run --mongodb=atlas --file=atlas --pgpass=atlas:h:1:d:u -- \
	sh -c 'tr "\0" "\n" </proc/$$/environ; tr "\0" "\n" </proc/$PPID/environ; tr "\0" "\n" </proc/$PPID/cmdline'
is "hold no token" "$(grep -c eyJ <<<"$OUT")" 0
like "but the paths of files" "$OUT" '^PGPASSFILE=/proc/[0-9]+/fd/[0-9]+$'
exits "the command's standard input and output are ours" 0 sh -c "echo in | setpriv --reuid=$ORDERS --regid=$ORDERS --init-groups keyfob run --file=atlas cat"
is "unchanged" "$OUT" in
exits "it inherits no descriptor from us" 0 run --file=atlas --file=reports:R -- ls /proc/self/fd
is "but those that it had before" "$(wc -l <<<"$OUT")" "$(as "$ORDERS" ls /proc/self/fd | wc -l)"

# --- what is kept by the broker -----------------------------------------------------------------

kept=$DIR/run/token/$ORDERS/kept
until_true 10 test -s "$kept" || fail "the broker keeps a file"
# shellcheck disable=SC2016
show='echo "$KEYFOB_TOKEN_FILE"; cat /proc/$PPID/comm'
exits "the broker's own file" 0 run --file=kept -- sh -c "$show"
like "is used where it is" "$OUT" "^$kept\$"
unlike "and keyfob has become the command" "$OUT" '^keyfob$'
exits "beside one in memory" 0 run --file=kept:ONE --file=atlas:TWO -- sh -c 'echo "$ONE"; cmp "$TWO" "$ONE"; cat "$ONE" >/dev/null'
like "it is used, too" "$OUT" "^$kept\$"
# The directory is the user's own to spoil.
not_used() {
	exits "one that $1" 0 run --file=kept -- sh -c "$show"
	like "is not used" "$OUT" '^/proc/'
	like "then keyfob stays" "$OUT" '^keyfob$'
}
cp -p "$kept" "$kept.good"
printf old >"$kept.new" && chown "$ORDERS" "$kept.new" && chmod 0400 "$kept.new" && mv "$kept.new" "$kept"
not_used "is not current"
cp -p "$kept.good" "$kept.new" && chmod 0444 "$kept.new" && mv "$kept.new" "$kept"
not_used "others can read"
cp -p "$kept.good" "$kept.new" && chown "$STRANGER" "$kept.new" && mv "$kept.new" "$kept"
not_used "is another's"
ln -sf "$kept.good" "$kept"
not_used "is a link"
rm "$kept" && mkfifo -m 0600 "$kept" && chown "$ORDERS" "$kept"
not_used "is no file"
rm "$kept"
not_used "is missing"

# --- kept current ----------------------------------------------------------------------------------

# Tells when the content changes, and how: whole, gone.
watch='last=""; while :; do now=$(cat "$KEYFOB_TOKEN_FILE" 2>/dev/null | sha256sum | cut -c1-8); [ "$now" = "$last" ] || echo "$now"; last=$now; sleep 0.05; done'
sum() {
	sha256sum | cut -c1-8
}
NOTHING=$(printf '' | sum)
in_background --file=atlas -- sh -c "$watch"
check "at the start" says "$(current atlas | sum)"
rotate
exits "a refresh" 0 keyfob refresh atlas
until_true 5 sh -c "[ \"\$(keyfob status atlas --json | jq '.credentials[0].fetches')\" -ge 2 ]"
second=$(current atlas | sum)
check "is followed" says "$second" 5
rotate
exits "a drop" 0 keyfob drop atlas
third=$(current atlas | sum)
check "is followed" says "$third" 5
is "no other content was seen between" "$(grep -vxF "$NOTHING" "$DIR/out/background" | tail -n +2 | wc -l)" 3
sed -i "0,/^allow = user:$ORDERS\$/s//allow = user:$STRANGER/" "$CONFIG"
exits "the right to it is taken away" 0 keyfob reload
check "then the file cannot be opened any more" says "$NOTHING" 5
check "which is told" until_true 5 grep -q '^keyfob: atlas: uid [0-9]* is not allowed' "$DIR/out/background.err"
sleep 2
is "once" "$(wc -l <"$DIR/out/background.err")" 1
sed -i "s/^allow = user:$STRANGER\$/allow = user:$ORDERS/" "$CONFIG"
keyfob reload
seen=$(wc -l <"$DIR/out/background")
check "and comes back with it" until_true 15 sh -c "[ \$(wc -l <'$DIR/out/background') -gt $seen ]"
like "as a token" "$(tail -n 1 "$DIR/out/background")" "$(current atlas | sum)"
kill "$RUN"
ended

rotate
fault 'path=imds&lifetime=8'
keyfob drop atlas
in_background --file=atlas -- sh -c 'while :; do cut -d. -f2 "$KEYFOB_TOKEN_FILE" || echo unreadable; sleep 0.1; done'
sleep 12
kill "$RUN"
ended
no_faults
# Each line is the claims of one token, with its expiry; what is read is never one that ended, nor a part of one.
stale=$(tail -n +2 "$DIR/out/background" | tr '_-' '/+' | while read -r claims; do
	printf '%s===' "$claims" | base64 -d 2>/dev/null | jq -e .exp >/dev/null || echo "$claims"
done)
is "tokens of 8 seconds: each that was read was a whole one" "$stale" ""
check "and there were several" [ "$(tail -n +2 "$DIR/out/background" | uniq | wc -l)" -ge 3 ]

keyfob drop atlas
in_background --file=atlas -- sh -c "$watch"
check "with the broker gone" says "$(current atlas | sum)"
stop_broker KILL
sleep 2
is "the token serves on" "$(tail -n 1 "$DIR/out/background")" "$(current atlas | sum)"
kill "$RUN"
ended
start_broker
in_background --file=apart -- sh -c "$watch"
check "one that is served by socket, without a broker" says "$(current apart | sum)"
stop_broker
sleep 3
is "serves on, and is not asked for every second" "$(tail -n 1 "$DIR/out/background") $(cat "$DIR/out/background.err")" \
	"$(sed -n 2p "$DIR/out/background") "
kill "$RUN"
ended
start_broker

# --- signals and the end -----------------------------------------------------------------------------

exits "the exit status is the command's" 42 run --file=atlas -- sh -c 'exit 42'
for signal in TERM KILL SEGV PIPE; do
	exits "ended by SIG$signal" "$((128 + $(kill -l $signal)))" run --file=atlas -- sh -c "kill -$signal \$\$"
done
exits "a command that is not there" 127 run --file=atlas -- "$DIR/nothing"
like "is named" "$ERR" "^keyfob: $DIR/nothing: No such file"
exits "one that is no program" 126 run --file=atlas -- "$DIR/etc"
exits "no command" 125 run --file=atlas --
exits "no option" 125 run -- true
like "is told" "$ERR" 'say with --mongodb, --file or --pgpass'
exits "a wrong option" 125 run --fiel=atlas -- true
like "is told" "$ERR" 'did you mean --file'
exits "the command's own options are left alone" 0 run --file=atlas echo --file --help -- x
is "all of them" "$OUT" "--file --help -- x"
exits "--help" 0 run --help

catch='trap "echo TERM; exit 7" TERM; for s in HUP INT QUIT USR1 USR2 WINCH; do trap "echo $s" $s; done; echo ready; while :; do sleep 0.05; done'
in_background --file=atlas -- bash -c "$catch"
says ready
for signal in HUP INT QUIT USR1 USR2 WINCH; do
	kill -$signal "$RUN"
	check "SIG$signal is passed on" says "$signal" 5
done
child=$(pgrep -P "$RUN")
state_of() {
	sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status"
}
kill -TSTP "$RUN"
check "SIGTSTP stops both" until_true 5 sh -c "grep -q '^State:.T' /proc/$RUN/status && grep -q '^State:.T' /proc/$child/status"
kill -CONT "$RUN"
check "SIGCONT continues both" until_true 5 sh -c "! grep -q '^State:.T' /proc/$RUN/status && ! grep -q '^State:.T' /proc/$child/status"
kill -TERM "$RUN"
ended
is "SIGTERM, and the status after it" "$(grep -c TERM "$DIR/out/background") $CODE" "1 7"
in_background --file=atlas -- bash -c "$catch"
says ready
child=$(pgrep -P "$RUN")
kill -KILL "$RUN"
check "when it is killed the command gets SIGTERM" says TERM 5
check "and nobody is left" until_true 5 sh -c "! kill -0 $child"
ended
like "SIGCHLD ignored by who starts it" "$(as "$ORDERS" sh -c 'trap "" CHLD; keyfob run --file=atlas -- sh -c "exit 3"; echo $?')" '^3$'

# --- what does not work ---------------------------------------------------------------------------------

for variable in AZURE_CLIENT_ID AZURE_TENANT_ID AWS_ROLE_ARN; do
	exits "--mongodb beside $variable" 125 as "$ORDERS" env "$variable=x" keyfob run --mongodb=atlas -- true
	like "is refused with a hint" "$ERR" "^keyfob: run: $variable is set: .*env -u $variable keyfob run"
done
exits "which --file does not mind" 0 as "$ORDERS" env AZURE_CLIENT_ID=x keyfob run --file=atlas -- true
exits "--pgpass beside PGPASSWORD" 125 as "$ORDERS" env PGPASSWORD=x keyfob run --pgpass=atlas:h:1:d:u -- true
exits "no such credential" 125 run --file=other -- touch "$DIR/out/touched"
exits "one that is denied" 125 as "$STRANGER" keyfob run --file=atlas -- touch "$DIR/out/touched"
like "is told" "$ERR" '^keyfob: atlas: .*not allowed'
check_not "then the command is not run" test -e "$DIR/out/touched"
exits "one variable for two" 125 run --file=atlas --file=reports -- true
like "is told" "$ERR" 'KEYFOB_TOKEN_FILE cannot name two files'
exits "two for MongoDB" 125 run --mongodb=atlas --mongodb=reports -- true
exits "no variable's name" 125 run --file=atlas:1=2 -- true
exits "no credential's name" 125 run --file=a/b -- true
for entry in '' atlas atlas: atlas:h:1:d atlas:h:1:d: atlas:h::d:u atlas:h:1:d:u:x 'atlas:h:1:d:u\' 'atlas:#h:1:d:u' $'atlas:h:1:d:u\n*'; do
	exits "--pgpass=$(printf %q "$entry")" 125 run "--pgpass=$entry" -- true
done
finish
