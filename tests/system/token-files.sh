#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Token files and pgpass files: kept current, his who reads them, and gone when they should be.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
new_user; carol=$USER_NAME
new_user; mallory=$USER_NAME
new_group "$bob"; team=$GROUP_NAME
TOKENS=$DIR/run/token
start_emulator
# The file module: the token is whatever the test says.
tell() {
	printf '%s' "$2" >"$DIR/etc/$1.new" && chmod 0644 "$DIR/etc/$1.new" && mv "$DIR/etc/$1.new" "$DIR/etc/$1"
}
tell first 'one:token\with'
tell second plain
tell shared team-token
tell third nothing
base() {
	cat <<EOF2
[credential atlas]
resource = api://0d5c1c0e
provider = azure endpoint=$CLOUD
allow = user:$alice user:$mallory
file = raw

[credential db1]
provider = file path=$DIR/etc/first ttl=1h
allow = user:$alice
file = pgpass db.example:5432:orders:rw
file = pgpass *:*:my db:o\\:x

[credential db2]
provider = file path=$DIR/etc/second ttl=1h
allow = user:$alice
file = pgpass db.example:5432:reports:ro
file = raw

[credential team]
provider = file path=$DIR/etc/shared ttl=1h
allow = group:$team
file = raw

[credential nofile]
provider = file path=$DIR/etc/third ttl=1h
allow = user:$carol
EOF2
}
base | configure
start_broker

# holds USER FILE TEXT
holds() {
	[ "$(cat "$TOKENS/$1/$2" 2>/dev/null)" = "$3" ]
}
gone() {
	[ ! -e "$TOKENS/$1/$2" ]
}
# now DESCRIPTION COMMAND...: within a few seconds
now() {
	local what=$1
	shift
	if until_true 10 "$@"; then pass "$what"; else fail "$what" "$*" "$(ls -laR "$TOKENS" 2>&1)"; fi
}

# --- what there is ---------------------------------------------------------------------------

now "a user who is named has his file ahead" test -s "$TOKENS/$alice/atlas"
exits "the token of the socket" 0 as "$alice" keyfob get atlas
printf '%s' "$OUT" >"$DIR/out/token"
check "is the file's content, without a newline" cmp "$DIR/out/token" "$TOKENS/$alice/atlas"
is "his alone to read" "$(stat -c '%U %a %F' "$TOKENS/$alice/atlas")" "$alice 400 regular file"
is "in a directory of his" "$(stat -c '%U %a' "$TOKENS/$alice")" "$alice 700"
is "below one of root's, where nobody can take a name" "$(stat -c '%U:%G %a' "$TOKENS")" "root:root 755"
check_not "another user cannot read it" as "$bob" cat "$TOKENS/$alice/atlas"
check_not "nor see what there is" as "$bob" ls "$TOKENS/$alice"
check_not "nor make a directory there" as "$bob" mkdir "$TOKENS/x"
exits "he can" 0 as "$alice" cat "$TOKENS/$alice/atlas"
is "so it reads" "$OUT" "$(cat "$DIR/out/token")"
cat >"$DIR/out/pgpass" <<'EOF2'
db.example:5432:orders:rw:one\:token\\with
*:*:my db:o\:x:one\:token\\with
db.example:5432:reports:ro:plain
EOF2
now "the pgpass file has the lines of both credentials, in the order of their names" cmp "$TOKENS/$alice/pgpass" "$DIR/out/pgpass"
is "of a mode that libpq takes" "$(stat -c '%U %a' "$TOKENS/$alice/pgpass")" "$alice 400"
is "raw and pgpass at once" "$(cat "$TOKENS/$alice/db2")" plain
check "nothing for who comes by a group and did not ask" gone "$bob" team
exits "when he asks" 0 as "$bob" keyfob get team
now "he has it" holds "$bob" team team-token
check "no directory for who has no credential with a file" test ! -e "$TOKENS/$carol"
unlike "no token in the log" "$(cat "$LOG")" "$(cut -d. -f3 "$DIR/out/token")|team-token"

# --- refresh ------------------------------------------------------------------------------------

# A reader in a loop sees whole tokens only.
cat >"$DIR/out/loop" <<'EOF2'
end=$(($(date +%s) + 20))
while [ ! -e "$2" ] && [ "$(date +%s)" -lt "$end" ]; do cat "$1" || echo missing; echo; done
EOF2
as "$alice" sh "$DIR/out/loop" "$TOKENS/$alice/atlas" "$DIR/out/enough" >"$DIR/out/seen" 2>&1 &
reader=$!
inode=$(stat -c %i "$TOKENS/$alice/db2")
for i in 1 2 3; do
	rotate
	keyfob refresh atlas >/dev/null
	until_true 10 sh -c '[ "$(cat "$1")" = "$(keyfob get atlas)" ]' sh "$TOKENS/$alice/atlas"
done
touch "$DIR/out/enough"
wait "$reader"
is "a new token is in the file" "$(cat "$TOKENS/$alice/atlas")" "$(keyfob get atlas)"
# The one from before the first refresh, and three more; a shell that is slow may miss some.
distinct=$(sort -u "$DIR/out/seen" | grep -c .)
check "a reader meanwhile sees old ones and new ones ($distinct), never a part of one" \
	sh -c "[ $distinct -ge 1 ] && [ $distinct -le 5 ] && ! sort -u '$DIR/out/seen' | grep -vE '^([A-Za-z0-9_-]+\.){2}[A-Za-z0-9_-]{86,}$' | grep -q ."
is "what did not change was not written again" "$(stat -c %i "$TOKENS/$alice/db2")" "$inode"
tell second 'other'
exits "a refresh of one of pgpass's credentials" 0 keyfob refresh db2
now "changes its line" grep -qx 'db.example:5432:reports:ro:other' "$TOKENS/$alice/pgpass"
check "and no other" grep -qxF 'db.example:5432:orders:rw:one\:token\\with' "$TOKENS/$alice/pgpass"
now "and its raw file" holds "$alice" db2 other
# A server that asks for a password in the clear and shows what it is told.
cat >"$DIR/out/server.pl" <<'EOF2'
use strict; use warnings; use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die;
open my $port, '>', "$ARGV[0].new" or die; print $port $listener->sockport; close $port; rename "$ARGV[0].new", $ARGV[0];
$SIG{ALRM} = sub { exit 1 }; alarm 60;
my $client = $listener->accept;
sub take { my $n = shift; my $all = ''; while (length $all < $n) { sysread($client, $all, $n - length $all, length $all) or exit 1 } $all }
for (;;) {
	my $length = unpack 'N', take(4);
	my $code = unpack 'N', take($length - 4);
	last if $code == 196608;
	syswrite $client, 'N';
}
syswrite $client, pack 'aNN', 'R', 8, 3;
take(1);
my $length = unpack 'N', take(4);
print unpack 'Z*', take($length - 4);
EOF2
# told DATABASE USER: what libpq sends as the password
told() {
	rm -f "$DIR/out/pg-port"
	perl "$DIR/out/server.pl" "$DIR/out/pg-port" >"$DIR/out/password" &
	local server=$!
	until_true 20 test -s "$DIR/out/pg-port"
	as "$alice" env "PGPASSFILE=$TOKENS/$alice/pgpass" "PGPORT=$(cat "$DIR/out/pg-port")" PGCONNECT_TIMEOUT=20 \
		psql -w -h 127.0.0.1 -d "$1" -U "$2" -c 'select 1' >/dev/null 2>"$DIR/out/psql"
	wait "$server"
	cat "$DIR/out/password"
}
if command -v psql >/dev/null; then
	is "libpq finds the line and understands what is escaped" "$(told "my db" o:x)" 'one:token\with'
	unlike "and has nothing to say against the file" "$(cat "$DIR/out/psql")" 'password file'
	is "where no line fits it sends none" "$(told "other" o:x)" ''
else
	skip "libpq finds the line" "no psql"
fi

# --- drop, reject, expiry ----------------------------------------------------------------------

fault 'path=imds&status=503&count=1000'
old=$(cat "$TOKENS/$alice/atlas")
exits "drop" 0 keyfob drop atlas
check "when it is answered the file is gone" gone "$alice" atlas
check "that of another reader too" gone "$mallory" atlas
check "other files stay" holds "$alice" db2 other
check "the directory stays, for who mounted it" test -d "$TOKENS/$alice"
no_faults
rotate
exits "once the source is back" 0 keyfob refresh atlas
now "there is a new one" sh -c "[ -s '$TOKENS/$alice/atlas' ] && [ \"\$(cat '$TOKENS/$alice/atlas')\" != '$old' ]"
fault 'path=imds&status=503&count=1000'
cat "$TOKENS/$alice/atlas" >"$DIR/out/refused"
exits "a reader says that it was refused" 0 as "$alice" sh -c '"$HELPERS/reject" atlas <"$1"' sh "$DIR/out/refused"
now "gone from the file" gone "$alice" atlas
no_faults
# 24 s of life: refreshed from the 12th on, which fails, so it stands to its end, a second before which it goes.
# The broker's own retry after the refusal may come first, so each token until the outage is a short one.
fault 'path=imds&lifetime=24&count=1000'
exits "a short-lived one" 0 keyfob refresh atlas
fault 'path=imds&status=503&count=1000'
now "stands there" test -s "$TOKENS/$alice/atlas"
end=$(keyfob get --json atlas | jq .expires_at)
short=$(cat "$TOKENS/$alice/atlas")
sleep 14
check "still does in the second half of its life, while the refresh fails" holds "$alice" atlas "$short"
now "and is gone" gone "$alice" atlas
check "before it expires" test "$(date +%s)" -le "$end"
no_faults
exits "again" 0 keyfob refresh atlas
now "there" test -s "$TOKENS/$alice/atlas"

# --- configuration --------------------------------------------------------------------------------

base | sed "s/allow = user:$alice user:$mallory/allow = user:$mallory/" | configure
exits "who is not allowed any more" 0 keyfob reload
now "loses it at the reload" gone "$alice" atlas
check "and nobody else does" test -s "$TOKENS/$mallory/atlas"
check "nor other files" holds "$alice" db2 other
base | sed '/file = raw/d' | configure
exits "without the key" 0 keyfob reload
now "no file" gone "$alice" db2
now "and no directory where it was the last" test ! -e "$TOKENS/$mallory"
check "pgpass files stay" grep -q rw "$TOKENS/$alice/pgpass"
printf '[credential none]\nprovider = azure\n' | configure
exits "without the credentials" 0 keyfob reload
now "nothing stays" sh -c "[ -z \"\$(ls '$TOKENS')\" ]"
base | configure
exits "with all of them" 0 keyfob reload
now "it comes back" test -s "$TOKENS/$alice/atlas"
exits "the group's member" 0 as "$bob" keyfob get team
now "has his file" holds "$bob" team team-token
flock /run/lock/keyfob-test gpasswd -d "$bob" "$team" >/dev/null 2>&1
exits "after he left the group" 0 keyfob reload
now "he has none, nor a directory" test ! -e "$TOKENS/$bob"

# --- restart -----------------------------------------------------------------------------------------

now "before the restart" test -s "$TOKENS/$alice/atlas"
before=$(stat -c '%i %Z' "$TOKENS/$alice/atlas")
stop_broker KILL
install -o "$alice" -m 0400 /dev/null "$TOKENS/$alice/stale"
install -d -o "$carol" -m 0700 "$TOKENS/$carol" && install -o "$carol" -m 0400 /dev/null "$TOKENS/$carol/atlas"
install -d -o "$carol" -m 0700 "$TOKENS/renamed" && install -o "$carol" -m 0400 /dev/null "$TOKENS/renamed/atlas"
start_broker
now "what an earlier broker left is gone: a file" gone "$alice" stale
now "a directory" test ! -e "$TOKENS/$carol"
now "one whose user has another name by now" test ! -e "$TOKENS/renamed"
is "and what is good was not touched" "$(stat -c '%i %Z' "$TOKENS/$alice/atlas")" "$before"
stop_broker
install -d -m 0700 "$TOKENS/$bob"
base | sed "s/allow = group:$team/allow = user:$bob/" | configure
start_broker
now "a directory that was made and not handed over is taken up" holds "$bob" team team-token
is "and his" "$(stat -c '%U %a' "$TOKENS/$bob")" "$bob 700"

# --- a user against himself ------------------------------------------------------------------------------

install -m 0600 /dev/null "$DIR/out/precious"
echo precious >"$DIR/out/precious"
spoil() {
	as "$mallory" sh -c "cd '$TOKENS/$mallory' && $1"
}
renew() {
	rotate
	keyfob refresh atlas >/dev/null
}
log_from=$(wc -l <"$LOG")
spoil "rm -f atlas && ln -s '$DIR/out/precious' atlas && ln -s '$DIR/out/precious' .atlas.new && mkfifo pipe && touch litter"
renew
now "links in his directory: replaced, not followed" test -f "$TOKENS/$mallory/atlas" -a ! -L "$TOKENS/$mallory/atlas"
is "what they named is as it was" "$(cat "$DIR/out/precious")" precious
is "what is not keyfob's is removed" "$(ls -A "$TOKENS/$mallory")" atlas
spoil "chmod 0777 . && chmod 0644 atlas"
renew
now "modes are put right: the directory" sh -c "[ \"\$(stat -c %a '$TOKENS/$mallory')\" = 700 ]"
is "the file" "$(stat -c %a "$TOKENS/$mallory/atlas")" 400
spoil "chmod 0 ."
renew
now "a directory that he closed to himself" sh -c "[ \"\$(stat -c %a '$TOKENS/$mallory')\" = 700 ]"
spoil "rm -f atlas && mkdir -p atlas/x .atlas.new"
renew
now "a directory in the file's place: told" sh -c "tail -n +$log_from '$LOG' | grep -q 'uid=$(id -u "$mallory") event=files-failed error=\"atlas: '"
like "told in status" "$(keyfob status atlas)" "$mallory \(token file FAILED\)"
is "and in JSON" "$(keyfob status --json atlas | jq -r ".credentials[0].readers[] | select(.name == \"$mallory\").state")" no-file
exits "he has it by keyring and socket all the same" 0 as "$mallory" keyfob get atlas
now "another reader has the new one" holds "$alice" atlas "$(keyfob get atlas)"
spoil "rmdir atlas/x atlas .atlas.new"
now "once he has mended it, it is tried again" test -f "$TOKENS/$mallory/atlas"
now "and told so" logged "uid=$(id -u "$mallory") event=files-written"
unlike "in status too" "$(keyfob status atlas)" "FAILED"
# He stops whoever writes for him, again and again: his own writing ends late, others' not.
as "$mallory" setsid sh -c 'trap "" TERM; end=$(($(date +%s) + 30)); while [ ! -e "$1" ] && [ "$(date +%s)" -lt "$end" ]; do
	for p in $(pgrep -u "$(id -u)" -x keyfobd-launch); do kill -STOP "$p" 2>/dev/null; done; done' sh "$DIR/out/enough2" &
stopper=$!
spoil 'rm -f atlas'
renew
now "a user who stops the writing: others get theirs" holds "$alice" atlas "$(keyfob get atlas)"
touch "$DIR/out/enough2"
wait "$stopper"
until_true 40 test -s "$TOKENS/$mallory/atlas"
check "and he his, later" test -s "$TOKENS/$mallory/atlas"
check "no process of his stays behind" sh -c "! pgrep -u '$mallory' ."

# --- many and long ones ---

head -c 24000 /dev/zero | tr '\0' 'x' >"$DIR/etc/long"
chmod 0644 "$DIR/etc/long"
{
	base
	for i in $(seq 40); do
		printf '[credential long%d]\nprovider = file path=%s/etc/long ttl=1h\nallow = user:%s\nfile = raw\nfile = pgpass db%d:*:*:rw\n' \
			"$i" "$DIR" "$carol" "$i"
	done
} | configure
exits "forty long ones of one user" 0 keyfob reload
check "all come" until_true 30 sh -c "[ \"\$(ls '$TOKENS/$carol' | wc -l)\" = 41 ]"
is "whole" "$(cat "$TOKENS/$carol"/long* | wc -c) $(cmp "$TOKENS/$carol/long40" "$DIR/etc/long")" "960000 "
now "the pgpass file too" sh -c "[ \"\$(grep -cE '^db[0-9]+:\*:\*:rw:x{24000}\$' '$TOKENS/$carol/pgpass')\" = 40 ]"
base | configure
exits "without them" 0 keyfob reload
now "all are gone" test ! -e "$TOKENS/$carol"

# --- a host without room ------------------------------------------------------------------------------------

stop_broker
rm -rf "$TOKENS"
mkdir -m 0755 "$TOKENS"
trap 'umount "$TOKENS" 2>/dev/null; cleanup' EXIT
if mount -t tmpfs -o size=64k,mode=0755 none "$TOKENS" 2>/dev/null; then
	base | configure
	dd if=/dev/zero of="$TOKENS/fill" bs=4k >/dev/null 2>&1
	start_broker
	now "a full file system is told" logged 'event=files-failed error="(atlas: )?No space left on device"'
	exits "and the keyring has the token" 0 as "$alice" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:atlas'
	rm "$TOKENS/fill"
	until_true 30 test -s "$TOKENS/$alice/atlas"
	check "it is tried again" test -s "$TOKENS/$alice/atlas"
	log_from=$(wc -l <"$LOG")
	mount -o remount,ro "$TOKENS"
	renew
	now "one that is read-only is told" sh -c "tail -n +$log_from '$LOG' | grep -q 'event=files-failed error=.*Read-only'"
	like "status too" "$(keyfob status atlas)" "$alice \(token file FAILED\)"
	mount -o remount,rw "$TOKENS"
	until_true 30 sh -c '[ "$(cat "$1")" = "$(keyfob get atlas)" ]' sh "$TOKENS/$alice/atlas"
	is "it is written when that is over" "$(cat "$TOKENS/$alice/atlas")" "$(keyfob get atlas)"
	stop_broker
	umount "$TOKENS"
else
	skip "a full file system" "tmpfs cannot be mounted"
fi

# --- what stands in the way --------------------------------------------------------------------------------------

rmdir "$TOKENS"
install -d -o "$mallory" -m 0755 "$TOKENS"
start_broker
now "a directory of tokens that is not root's is not used" logged 'event=files-failed error="Operation not permitted"'
is "nothing is in it" "$(ls -A "$TOKENS")" ""
stop_broker
rmdir "$TOKENS"
install -d -o "$mallory" -m 0755 "$DIR/out/elsewhere"
ln -s "$DIR/out/elsewhere" "$TOKENS"
start_broker
now "nor a link" logged 'event=files-failed error="Not a directory"'
is "nothing is where it leads" "$(ls -A "$DIR/out/elsewhere")" ""
rm "$TOKENS"
until_true 30 test -s "$TOKENS/$alice/atlas"
check "without it all is well" test -s "$TOKENS/$alice/atlas"
stop_broker
check "files outlive the broker as keys do" test -s "$TOKENS/$alice/atlas"
exits "--purge removes them" 0 keyfobd --socket "$KEYFOB_SOCKET" --purge
is "all" "$(ls -A "$TOKENS")" ""

finish
