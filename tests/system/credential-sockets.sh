#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A credential's own socket: connect, read to the end. And clients that ask again because a server refused them.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
new_user; corp=$USER_NAME
new_group "$alice"; team=$GROUP_NAME
DOORS=$DIR/run/credential
start_emulator
mkdir -m 0755 "$DIR/bin"
cat >"$DIR/out/read.pl" <<'EOF2'
# read.pl SOCKET WORD...: what is read to the end. connect: again; half: close the half for writing, as systemd does;
# junk: send something; sleep=N; quiet: do not read; lock=FILE: tell that it is connected.
use strict; use warnings; use Socket; use Time::HiRes 'sleep';
my ($path, @words) = @ARGV;
my $s; my $quiet = 0;
$SIG{PIPE} = 'IGNORE';
sub finish { return unless $s; unless ($quiet) { while (sysread $s, my $part, 65536) { print $part } print "|" } close $s; undef $s }
sub begin { socket $s, AF_UNIX, SOCK_STREAM, 0 or die; connect $s, pack_sockaddr_un($path) or die "connect: $!\n" }
$| = 1;
begin();
for (@words) {
	if ($_ eq 'connect') { finish(); begin() }
	elsif ($_ eq 'half') { shutdown $s, 1 }
	elsif ($_ eq 'junk') { syswrite $s, "x" x 1000 }
	elsif ($_ eq 'quiet') { $quiet = 1 }
	elsif (/^sleep=(.*)/) { finish() unless $quiet; sleep $1 }
	elsif (/^lock=(.*)/) { open my $f, '>', $1 or die; close $f }
}
finish();
EOF2
cat >"$DIR/bin/curious" <<EOF2
#!/bin/sh
printf '{"access_token":"told:%s","expires_in":3600}' "\$(perl $DIR/out/read.pl $DOORS/atlas.sock 2>&1 | tr -d '|' | cut -c1-10 | tr -c 'a-zA-Z0-9' _)"
EOF2
chmod 0755 "$DIR/bin/curious"
base() {
	cat <<EOF2
[credential atlas]
resource = api://0d5c1c0e
provider = azure endpoint=$CLOUD
socket = root:$team 0660

[credential open]
provider = gcp endpoint=$CLOUD
resource = https://open.example
socket = $bob:root 0606

[credential bare]
provider = azure endpoint=$CLOUD
resource = api://bare

[credential curious]
provider = callback-exec run_as=$corp -- $DIR/bin/curious
allow = user:$corp
EOF2
}
base | configure
start_broker
# door NAME WORD...: in OUT what the socket of NAME gave
door() {
	local name=$1
	shift
	perl "$DIR/out/read.pl" "$DOORS/$name.sock" "$@"
}
export -f door
export DIR DOORS

# --- who ------------------------------------------------------------------------------------

is "owner, group and mode are what is configured" "$(stat -c '%U:%G %a %F' "$DOORS"/*.sock)" "root:$team 660 socket
$bob:root 606 socket"
is "in a directory of root's" "$(stat -c '%U:%G %a' "$DOORS")" "root:root 755"
check "none for who has not the key" test ! -e "$DOORS/bare.sock"
before=$(requests imds)
exits "a member of its group connects and reads" 0 as "$alice" perl "$DIR/out/read.pl" "$DOORS/atlas.sock"
token=${OUT%|}
like "a token, and nothing else" "$token" '^([A-Za-z0-9_-]+\.){2}[A-Za-z0-9_-]+$'
is "root has the same by the request socket" "$(keyfob get atlas)" "$token"
like "status shows it among the readers" "$(keyfob status atlas | tr -d '\n ')" "$DOORS/atlas.sock\(bysocket\)"
is "of one fetch" "$(($(requests imds) - before))" 1
exits "who is not in the group does not" 13 as "$bob" perl "$DIR/out/read.pl" "$DOORS/atlas.sock"
like "the kernel says so" "$ERR" 'connect: Permission denied'
exits "the owner of the other one" 0 as "$bob" perl "$DIR/out/read.pl" "$DOORS/open.sock"
like "reads" "$OUT" '^([A-Za-z0-9_-]+\.){2}[A-Za-z0-9_-]+\|$'
exits "its group may not" 13 setpriv --reuid="$corp" --regid=root --clear-groups perl "$DIR/out/read.pl" "$DOORS/open.sock"
exits "the policy of the request socket is another" 4 as "$alice" keyfob get atlas
check "no copy in the keyring of who came this way" sh -c "! keyctl search '$(persistent "$alice")' user keyfob:atlas"
base | sed "s/socket = root:$team 0660/socket = root:root 0666/" | configure
exits "opened to all" 0 keyfob reload
keyfob drop curious >/dev/null
exits "a fetch is told nothing even so" 0 as "$corp" keyfob get curious
is "not a byte" "$OUT" "told:"
check "the log tells" logged "uid=$(id -u "$corp") pid=[0-9]+ event=denied reason=\"a fetch may not ask\""
base | configure
keyfob reload >/dev/null

# --- how -------------------------------------------------------------------------------------------

inode=$(stat -c %i "$DOORS/open.sock")
is "one that closes its half first, as systemd does" "$(door atlas half)" "$token|"
is "one that talks" "$(door atlas junk | cut -d'|' -f1)" "$token"
perl "$DIR/out/read.pl" "$DOORS/atlas.sock" quiet "lock=$DIR/out/deaf" sleep=30 &
deaf=$!
PIDS="$PIDS $deaf"
until_true 10 test -e "$DIR/out/deaf"
is "one that never reads keeps nobody waiting" "$(door atlas)" "$token|"
kill "$deaf"; wait "$deaf" 2>/dev/null

rotate
before=$(requests imds)
fault 'path=imds&delay_ms=1500&count=1'
keyfob drop atlas >/dev/null
for i in $(seq 20); do door atlas >"$DIR/out/herd.$i" & herd[i]=$!; done
for i in $(seq 20); do wait "${herd[i]}"; done
is "twenty that come while it is fetched get one token" "$(sort -u "$DIR"/out/herd.* | grep -c .)" 1
like "a whole one" "$(cat "$DIR/out/herd.1")" '^([A-Za-z0-9_-]+\.){2}[A-Za-z0-9_-]+\|$'
is "by one fetch" "$(($(requests imds) - before))" 1
# A source that refuses.
fault 'path=metadata&status=404&count=1000'
keyfob drop open >/dev/null
is "without a token it is closed without a byte" "$(door open)" "|"
check "and the log tells why" logged 'credential=open uid=0 pid=[0-9]+ event=no-token-by-socket error=.*404'
no_faults
exits "once it answers" 0 keyfob refresh open
like "there is one" "$(door open)" '\.'
# Who leaves while he waits.
keyfob drop open >/dev/null
fault 'path=metadata&delay_ms=3000&count=1'
perl "$DIR/out/read.pl" "$DOORS/open.sock" sleep=20 >/dev/null &
gone=$!
sleep 0.3; kill "$gone"; wait "$gone" 2>/dev/null
like "a client that leaves while it waits harms nobody" "$(door open)" '\.'
no_faults

# --- reload and restart ----------------------------------------------------------------------------

is "a reload leaves alone what it does not concern" "$(stat -c %i "$DOORS/open.sock")" "$inode"
base | sed "s/socket = root:$team 0660/socket = $alice:root 0600/" | configure
exits "another owner and mode" 0 keyfob reload
is "at once" "$(stat -c '%U:%G %a' "$DOORS/atlas.sock")" "$alice:root 600"
exits "he reads" 0 as "$alice" perl "$DIR/out/read.pl" "$DOORS/atlas.sock"
like "the token" "$OUT" '\.'
fault 'path=imds&delay_ms=5000&count=1'
keyfob drop atlas >/dev/null
door atlas >"$DIR/out/waiting" &
waiting=$!
sleep 0.5
base | sed '/^socket/d' | configure
exits "without the key" 0 keyfob reload
is "there are no sockets" "$(ls "$DOORS")" ""
wait "$waiting"
is "and who waits at one gets nothing" "$(cat "$DIR/out/waiting")" "|"
no_faults
base | configure
exits "with it again" 0 keyfob reload
like "all is as before" "$(door atlas)" '\.'
printf '[credential other]\nprovider = azure\nsocket = root:root 0600\n' | configure
exits "credentials that go take theirs along" 0 keyfob reload
is "one is left" "$(ls "$DOORS")" other.sock
base | configure
stop_broker KILL
is "a killed broker leaves its socket" "$(ls "$DOORS")" other.sock
start_broker
is "the next one has its own alone" "$(cd "$DOORS" && echo *)" "atlas.sock open.sock"
like "which answer" "$(door atlas)" '\.'
stop_broker
rm -r "$DOORS"; ln -s /tmp "$DOORS"
start_broker
check "a link in the directory's place is not followed" logged 'credential=atlas event=socket-failed error="Not a directory"'
check "the request socket works" keyfob get atlas
rm "$DOORS"
exits "at a reload" 0 keyfob reload
like "it is tried again" "$(door atlas)" '\.'

# What a container's root may do who can write into its directory, against the advice.
CONTAINER=$(dirname "$DOORS")/container/atlas
rm "$CONTAINER/atlas.sock" && ln -s /etc/passwd "$CONTAINER/atlas.sock" && before=$(stat -c '%U %a' /etc/passwd)
base | sed "s/socket = root:$team 0660/socket = $alice:root 0600/" | configure
exits "a link in the container's directory" 0 keyfob reload
is "is not followed" "$(stat -c '%U %a' /etc/passwd) $(stat -c '%F %U %a' "$CONTAINER/atlas.sock")" "$before socket $alice 600"
rm "$CONTAINER/atlas.sock" && mkdir -p "$CONTAINER/atlas.sock/x"
base | configure
exits "a directory in its place" 0 keyfob reload
check "is told in the log" logged 'credential=atlas event=socket-failed error="below container a directory is in its place'
check_not "and no socket that nobody serves is left" test -e "$DOORS/atlas.sock"
rm -r "$CONTAINER/atlas.sock"
exits "once it is gone" 0 keyfob reload
like "it is tried again, too" "$(door atlas)" '\.'

# --- asking again -------------------------------------------------------------------------------------

# The kernel's own clock decides what is soon, so each check leaves a margin. The first second is a pool that starts.
keyfob drop atlas >/dev/null
until_true 10 sh -c "keyfob status --json atlas | jq -e '.credentials[0].state == \"valid\"'"
rotate
before=$(requests imds)
out=$(door atlas connect connect connect connect connect)
is "one process that asks six times at once: no fetch" "$(($(requests imds) - before)) $(printf '%s' "$out" | tr '|' '\n' | sort -u | grep -c .)" "0 1"
out=$(door atlas sleep=3 connect sleep=0.1 connect)
is "one that asks again seconds later was perhaps refused: one more" "$(($(requests imds) - before))" 1
is "and has another token then, once" "$(printf '%s' "$out" | tr '|' '\n' | grep . | uniq | grep -c .)" 2
check "the log tells" logged "credential=atlas uid=0 pid=[0-9]+ event=asked-again token=#[0-9a-f]{8}"
rotate
out=$(door atlas sleep=3 connect)
is "another process meanwhile: none, for a minute" "$(($(requests imds) - before))" 1
# By the request socket it is the same.
cat >"$DIR/out/ask.pl" <<'EOF2'
use strict; use warnings; use Socket; $| = 1;
for my $i (1, 2) {
	socket my $s, AF_UNIX, SOCK_SEQPACKET, 0 or die;
	connect $s, pack_sockaddr_un($ENV{KEYFOB_SOCKET}) or die;
	syswrite $s, pack 'CCN/a', 1, 1, $ARGV[0];
	sysread $s, my $reply, 65536;
	my ($version, $error, $token) = unpack 'CCN/a', $reply;
	print "$error $token\n";
	sleep 3 if $i == 1;
}
EOF2
before=$(requests imds)
perl "$DIR/out/ask.pl" bare >"$DIR/out/asked" &
asking=$!
until_true 10 test -s "$DIR/out/asked"
rotate
wait "$asking"
is "by the request socket, for the first token too: one more" \
	"$(($(requests imds) - before)) $(grep -c '^0 ' "$DIR/out/asked") $(uniq "$DIR/out/asked" | grep -c .)" "2 2 2"
# A source that has no other gives the same, and there it ends.
keyfob get open >/dev/null
fault 'path=metadata&status=503&count=1000'
out=$(perl "$DIR/out/ask.pl" open)
is "where the source fails the old one is served" "$(printf '%s\n' "$out" | grep -c '^0 ') $(printf '%s\n' "$out" | uniq | grep -c .)" "2 1"
no_faults

finish
