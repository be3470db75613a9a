#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the texts tell newcomers to do, done: the blocks of TOUR in order, then those of MIGRATING, and the commands of the
# other texts, each as it stands there.
# takes long
# Programs of the texts' and PostgreSQL do not have the sanitizers' runtime.
grep -q __asan_init "$KEYFOB_PREFIX/lib/libkeyfob.so" && { echo "1..0 # SKIP the library is built with sanitizers, its programs are not"; exit 0; }
. "$(dirname "$0")/world.inc"
cd "$(dirname "$0")/../.." || exit 1
command -v nft >/dev/null && [ -d /usr/lib/postgresql ] || { echo "1..0 # SKIP nftables or PostgreSQL is missing: make deps"; exit 0; }

# --- a text's blocks -----------------------------------------------------------------------

# script FILE: its blocks of sh, each with a line before it that tells which it is
script() {
	awk '/^#/ && !on { heading = $0 }
		/^```/ { if (!on && $0 == "```sh") { on = 1; printf "echo \"@ %d %s\"\n", ++n, heading } else on = 0; next }
		on; END { print "echo \"@ end\"" }' "$1"
}
# part N: what block N printed
part() {
	awk -v from="$1" '$1 == "@" { on = ($2 == from); next } on' "$DIR/out/play"
}
# What differs from run to run.
masked() {
	sed -E 's/[0-9a-f]{8,}/X/g; s/[0-9]{3,}/N/g; s/[[:space:]]+/ /g'
}
# shown FILE: "N LINE" for each line of a block of text that follows block N of sh, which printed it
shown() {
	awk '/^```/ { if (on) { on = 0; after = 1 } else if (text) text = 0; else if ($0 == "```sh") { on = 1; n++ } else text = after; next }
		text { print n " " $0 } !on && !text && NF { after = 0 }' "$1"
}
# play FILE SECONDS: all its blocks, in one shell
play() {
	local name n heading line reached
	name=$(basename "$1" .md)
	script "$1" >"$DIR/out/$name.sh"
	# It must not find what this test knows, but how this build was made.
	env -u KEYFOB_PREFIX -u KEYFOB_TEST_SESSION -u KEYFOB_TEST_WORLD -u LD_LIBRARY_PATH O="$BUILD" PATH="$HOST_PATH" \
		timeout "$2" bash -e -o pipefail "$DIR/out/$name.sh" >"$DIR/out/play" 2>&1 </dev/null
	reached=$(awk '$1 == "@" { last = $2 } END { print last }' "$DIR/out/play")
	while read -r _ _ n heading; do
		[ "$reached" = end ] || [ "$n" -lt "${reached:-0}" ] && pass "$name, block $n: ${heading%\"}" && continue
		fail "$name, block $n: ${heading%\"}" "$([ "$n" = "$reached" ] && part "$n" | tail -n 12 || echo 'not reached')"
	done < <(grep '^echo "@ [0-9]' "$DIR/out/$name.sh")
	while read -r n line; do
		part "$n" | masked | grep -qxF -- "$(masked <<<"$line")" && pass "$name, block $n shows: $line" && continue
		fail "$name, block $n shows: $line" "$(part "$n" | tail -n 8)"
	done < <(shown "$1")
}

BUILD=$1 HOST_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
own_socket /srv/keyfob-tour/run/keyfob.sock
play doc/TOUR.md 400
is "the tour leaves no file behind" "$(ls -A /srv; ls -d /etc/pam.d/*keyfob* 2>/dev/null)" ""
is "no user" "$(getent passwd tour-orders tour-guest)" ""
is "and no process" "$(pgrep -l 'keyfob|postgres')" ""
for uid in $(seq "$FIRST_UID" $((FIRST_UID + 3))); do
	unlike "and no key of uid $uid" "$(keyctl get_persistent @s "$uid" >/dev/null; keyctl show "%keyring:_persistent.$uid")" 'user: keyfob'
done

# --- a host as OPERATING leaves it -----------------------------------------------------------

# The request socket's name alone is another one: the keyrings know brokers by it, and the real host may have one.
export KEYFOB_SOCKET=/run/keyfob/tour-$FIRST_UID.sock KEYFOB_VERIFY_SOCKET=/run/keyfob/verify.sock
own_socket "$KEYFOB_SOCKET"
CONFIG=/etc/keyfob/keyfob.conf
useradd -m -b /srv orders
groupadd dbclients
start_emulator --listen 127.0.0.1:8791
configure </dev/null
start_broker
start_verifier
# A way to the address of the metadata service; nobody is at its end.
if ! { ip link add host0 type veth peer name end0 && ip addr add 192.0.2.1/24 dev host0 && ip link set end0 up && ip link set host0 up &&
	ip route add default via 192.0.2.2 && nft 'add table ip tour' && nft 'delete table ip tour'; } 2>/dev/null; then
	skip "MIGRATING, and the commands of the other texts" "veth or nftables cannot be had here"
	finish
fi
keyfob-metadata --log debug >>"$LOG" 2>&1 &
as_postgres() {
	(cd / && setpriv --reuid=postgres --regid=postgres --clear-groups "$@")
}
PG_BIN=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
install -d -m 0700 -o postgres /srv/pg
as_postgres "$PG_BIN/initdb" -D /srv/pg --auth-local=peer --auth-host=scram-sha-256 --no-sync >"$DIR/out/initdb" 2>&1
as_postgres "$PG_BIN/postgres" -D /srv/pg -k /run/postgresql -c fsync=off >"$DIR/out/postgresql" 2>&1 &
until_true 60 as_postgres psql -c "create role orders_rw login password 'hunter2'" ||
	{ echo "Bail out! PostgreSQL does not start"; sed 's/^/# /' "$DIR/out/postgresql"; exit 1; }
echo '127.0.0.1 db.example.com' >>/etc/hosts
play doc/MIGRATING.md 200

# --- the commands of the other texts ----------------------------------------------------------

# They are run as they stand there, by root, on the host that MIGRATING left. Not run are those with a prompt, whose output
# stands beside them; make, which TOUR runs, and whose targets docs.sh looks up; and these:
NOT_RUN=$(cat <<'END'
apt install ./build/deb/*.deb :: packages.sh
apt install ./build/deb/keyfob_*.deb ./build/deb/libkeyfob0_*.deb :: packages.sh
keyfob run --mongodb=atlas -- node app.js :: mongodb.sh, with a program of its own
keyfob idp disconnect azure acme :: tells who loses access, and ends with 1 until --yes: federation.sh
keyfob dbuser delete orders_rw :: the same
keyfob jwks revoke azure :: keysets.sh
sh -c 'keyfob status --check; case $? in 0) exit 0 ;; 8) exit 1 ;; 5) exit 2 ;; *) exit 3 ;; esac' :: its exit code is about this host: status.sh
keyfob doctor :: the same: doctor.sh
keyfob doctor /srv/orders :: the same
keyfob status --prometheus >/var/lib/node_exporter/keyfob.prom.new; mv /var/lib/node_exporter/keyfob.prom.new /var/lib/node_exporter/keyfob.prom :: a directory of the real host: status.sh
docker run --mount type=bind,src=$D,dst=$D,readonly --group-add $G IMAGE :: needs Docker; containers.sh mounts the same
podman run --mount type=bind,src=$D,dst=$D,ro --group-add $G IMAGE :: needs Podman; the same
podman run --mount type=bind,src=$D,dst=$D,ro --group-add keep-groups IMAGE :: needs Podman; the same
docker build -f packaging/kubernetes/Dockerfile -t keyfob:0.1.0 build/deb :: needs Docker; kubernetes.sh reads what it is made from
kubectl apply -f packaging/kubernetes/daemonset.yaml :: needs a cluster; kubernetes.sh
kubectl apply -f packaging/kubernetes/workload.yaml :: the same
keyctl request2 user keyfob:atlas "" @s :: the kernel asks on the real host: request-key.sh
keyfobd --user :: not for root: rootless.sh
keyfobd --user --config /etc/keyfob/keyfob.conf --socket /run/keyfob/keyfob.sock :: not for root: rootless.sh
curl -H 'Metadata: true' 'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://orders' :: MIGRATING runs it, as the user whom it is for
journalctl -u keyfob-verifyd -g 'event=verdict.*postgresql' :: needs a journal
keyfob get --header api | curl -H @- https://api.example/ :: needs a service on the web
keyfob explain - < token :: needs somebody's token
git config credential.https://git.example.username oauth2 :: would change this clone
git config credential.https://git.example.helper '!f() { test "$1" != get || keyfob get git --format=git; }; f' :: the same
keyfob run --pgpass=reports:db.example:5432:sales:orders -- psql 'postgresql://orders@db.example/sales?sslmode=verify-full' :: README's is run, without TLS
keyfob idp add entra --preset=azure 9188040d-6c67-4c5b-b112-36a304b66dad 0d5c1c0e-4a1f-4b0e-9d8a-3f1f6a3f9b11 :: README's is run
keyfob org add acme --services=postgresql --idp=entra :: the same
keyfob dbuser add orders --service=postgresql --idp=entra --user-id=7d2f7a0e-5a52-4c0e-9f4e-0d8f3f0c1a11 :: the same
cc -shared -fPIC -I/usr/local/include -o token-file.so token-file.c :: third-party-module.sh
END
)
# page_lines PAGE: what its displays hold, lines that a backslash breaks in one
page_lines() {
	awk '/^\.Bd .*-literal/ { on = 1; next } /^\.Ed/ { on = 0 } on; sub(/^\.Dl /, "")' "$1" |
		sed -E ':a; /\\e$/ { N; s/ *\\e\n[ \t]*/ /; ba }; s/\\&//g; s/\\e/\\/g'
}
# What stands between backticks in README's tables counts too, and so do the displays of man pages.
commands() {
	{ awk '/^```/ { on = !on; next } !on' README.md doc/*.md packaging/kubernetes/README.md |
		sed -nE 's/^ {4,}((apt|cc|ln|sh|git|docker|podman|kubectl|systemctl|nft|psql|keyctl|keyfob[a-z-]*|examples\/[a-z.]+|[A-Z]=[^ ]+)( .*)?)$/\1/p'
		sed -nE 's/^\|.*\| `(keyfob [^`]*)` \|$/\1/p' README.md | sed 's/\\|/|/g'
		find doc/man -name '*.[158]' ! -name keyfob-emulator.1 | sort | while read -r page; do page_lines "$page"; done |
			grep -E '^(keyfob[a-z-]*|curl|git|keyctl|journalctl|nft) '; } | sed -E 's/ +# .*//' | grep -v ' -> ' | awk '!seen[$0]++'
}
# texts_run COMMANDS
texts_run() {
	local line
	while IFS= read -r line; do
		exits "it works: $line" 0 timeout 60 env PATH="$HOST_PATH" bash -c "$line" </dev/null
	done < <(grep -vxF -f <(sed 's/ :: .*//' <<<"$NOT_RUN") <<<"$1")
}
all=$(commands)
is "no command is left out that no text has" "$(sed 's/ :: .*//' <<<"$NOT_RUN" | grep -vxF -f <(echo "$all"))" ""
as_postgres psql -qc 'create database orders'
accept='^keyfob (idp|org|dbuser|jwks) ' last='^keyfobd --purge'
texts_run "$(grep -vE "$accept|$last" <<<"$all")"
# The other half of README begins on a host that lets nobody in.
rm /etc/keyfob/conf.d/{idp,dbuser}-*.conf
keyfob reload >/dev/null
texts_run "$(grep -E "$accept" <<<"$all")"
stop_broker
texts_run "$(grep -E "$last" <<<"$all")"

# --- the emulator's examples ----------------------------------------------------------------

# Each request of keyfob-emulator(1) is answered well.
requests_of_page() {
	page_lines doc/man/keyfob-emulator.1 | grep '^curl '
}
openssl genpkey -algorithm RSA -out "$DIR/out/private.pem" 2>/dev/null && openssl pkey -in "$DIR/out/private.pem" -pubout -out "$DIR/out/public.pem"
while IFS= read -r line; do
	check "it works: $line" sh -c "cd '$DIR/out' && ${line/#curl/curl -sS -f}" </dev/null
	no_faults
done < <(requests_of_page)
[ "$(requests_of_page | wc -l)" -ge 20 ] && pass "its page has examples" || fail "its page has examples"
finish
