#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfob init: what it proposes is taken, for every place; what it writes is in place, whole, and overwrites nothing; and
# with an emulator it works at once, from the token to the verdict on a login.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
# Where the tests run may be such a place itself.
init() {
	env -u AZURE_FEDERATED_TOKEN_FILE -u IDENTITY_ENDPOINT -u K_SERVICE -u KUBERNETES_SERVICE_HOST -u SUDO_USER \
		keyfob --config "$CONFIG" init "$@"
}
doctor() {
	cp "$DIR/out/stdout" "$DIR/etc/proposed.conf" && keyfob --config "$DIR/etc/proposed.conf" doctor --config
}

# --- what it proposes -------------------------------------------------------------------
for place in azure arc appservice workload google kubernetes; do
	exits "a configuration for $place" 0 init --for "$place" --user "$alice"
	check "is a good one" doctor
	like "and allows the user" "$OUT" "^allow       = user:$alice\$"
	like "and marks what is to be filled in" "$OUT" '^# FILL IN: '
done
exits "with a resource" 0 init --for azure --resource api://orders orders
unlike "nothing is to be filled in" "$OUT" 'FILL IN'
like "and it has the name" "$OUT" '^\[credential orders\]$'
check "it is good at once" doctor
exits "the one for a laptop" 0 init --emulator --user "$alice"
check "is good at once" doctor
port=$(keyfob-emulator --help | sed -n 's/.*loopback only (127\.0\.0\.1:\([0-9]*\)).*/\1/p')
like "its emulator listens where keyfob-emulator does" "$OUT" "endpoint=http://127.0.0.1:$port "
exits "whatever this host is, it is told of" 0 init
check "and what is told is good" doctor
exits "who called sudo is allowed" 0 env SUDO_USER="$alice" keyfob --config "$CONFIG" init --for google
like "by name" "$OUT" "^allow       = user:$alice\$"
exits "a user who is not there is not" 0 env SUDO_USER=nobody-here keyfob --config "$CONFIG" init --for google
like "but can be named" "$OUT" '^# allow     = user:NAME$'
exits "one who is none proposes for himself" 0 as "$alice" keyfob init --for azure
like "by name" "$OUT" "^allow       = user:$alice\$"
runs_alone() {
	cp "$DIR/out/stdout" "$DIR/etc/proposed.conf" && as "$alice" keyfobd --user --check --config "$DIR/etc/proposed.conf"
}
check "his own broker takes it" runs_alone
exits "so does it the laptop's" 0 as "$alice" keyfob init --emulator
check "with both halves" runs_alone
pod() {
	KUBERNETES_SERVICE_HOST=10.0.0.1 keyfob --config "$CONFIG" init "$@"
}
if [ -z "${AZURE_FEDERATED_TOKEN_FILE:-}${IDENTITY_ENDPOINT:-}${K_SERVICE:-}" ]; then
	exits "a pod is recognised" 0 pod
	like "and told by what" "$OUT" '^# .* a Kubernetes pod \(KUBERNETES_SERVICE_HOST is set\)\.$'
else
	skip "a pod is recognised" "this host's environment says something else"
fi
for wrong in "--for mars" "--for azure --emulator" "--port 1" "--emulator --port 0" "--emulator --port 65536" "--user nobody-here" \
	"--resource" "not/a/name" "a b"; do
	# shellcheck disable=SC2086
	exits "wrong use: $wrong" 2 init $wrong
done
exits "a resource of two words is wrong use" 2 init --resource 'a b'
exits "or of two lines" 2 init --resource $'a\nallow=x'
exits "a slip is told" 2 init --for gogle
like "with what was meant" "$ERR" 'did you mean google\?'

# --- what it writes -----------------------------------------------------------------------
exits "only root writes" 4 as "$alice" keyfob --config "$CONFIG" init --for azure --write
CONFIG=$DIR/new/keyfob.conf
umask 077
exits "the first configuration" 0 init --for azure --user "$alice" --resource api://orders --write
umask 022
is "as keyfob.conf, which everybody may read" "$(stat -c '%a %U' "$DIR/new" "$CONFIG" | tr '\n' ' ')" "755 root 644 root "
like "and it says what comes next" "$OUT" '^  keyfob status db$'
check "it is taken" keyfob --config "$CONFIG" doctor --config
exits "a second time it is refused" 1 init --for azure --write
like "with the place" "$ERR" "\[credential db\] is there already, in $DIR/new/keyfob.conf:[0-9]+; nothing was changed"
exits "another one is a file of its own" 0 init --for google --write reports
is "below conf.d" "$(stat -c '%a %U' "$DIR/new/conf.d/reports.conf")" "644 root"
like "what is to be filled in is told" "$OUT" 'Fill in what it marks with FILL IN'
exits "which stays as it is" 1 init --for google --write reports
echo '# mine' >"$DIR/new/conf.d/mine.conf"
exits "so does a file of that name" 1 init --for google --write mine
is "with what it holds" "$(cat "$DIR/new/conf.d/mine.conf")" "# mine"
ln -s /nonexistent "$DIR/new/conf.d/link.conf"
exits "or a link" 1 init --for google --write link
rm "$DIR/new/conf.d/link.conf"
is "nothing is left behind" "$(cd "$DIR/new" && find . -type f ! -name '.keyfob-lock' | sort | tr '\n' ' ')" \
	"./conf.d/mine.conf ./conf.d/reports.conf ./keyfob.conf "
rm "$DIR/new/keyfob.conf"
exits "files below conf.d do not come to life by the way" 1 init --for azure --write other
like "and that is told" "$ERR" "$DIR/new/conf.d holds files, but there is no keyfob.conf beside it"
check_not "nothing is written" ls "$DIR/new/keyfob.conf"
mkdir -m 0777 "$DIR/loose" && chmod 0777 "$DIR/loose"
CONFIG=$DIR/loose/keyfob.conf
exits "a directory that others may write to gets none" 1 init --for azure --write
check_not "it is as it was" ls "$DIR/loose/keyfob.conf"
CONFIG=$DIR/no/such/keyfob.conf
exits "nor is a whole path made" 1 init --for azure --write
CONFIG=$DIR/etc/keyfob.conf
echo nonsense >"$CONFIG"
exits "beside a faulty configuration nothing is put" 1 init --for azure --write
like "and that is told" "$ERR" 'mend what stands there first'
rm "$CONFIG"
bare_write() {
	# shellcheck disable=SC2016
	unshare --mount --propagation private sh -c '
		for hidden in /sys/class/dmi /var/run/secrets /opt/azcmagent /var/opt/azcmagent; do
			[ ! -d "$hidden" ] || mount -t tmpfs none "$hidden" || exit 99
		done
		exec env -u AZURE_FEDERATED_TOKEN_FILE -u IDENTITY_ENDPOINT -u K_SERVICE -u KUBERNETES_SERVICE_HOST keyfob --config "$0" init --write' "$CONFIG"
}
if unshare --mount true 2>/dev/null; then
	exits "where nothing is recognised nothing is written" 1 bare_write
	like "and what else there is is told" "$ERR" 'keyfob init shows the ways there are; --for names a cloud, --emulator is for a laptop'
	check_not "not a file" ls "$CONFIG"
else
	skip "where nothing is recognised nothing is written" "no mount namespaces"
fi

# Where systemd runs, the cloud is a unit: it is there after the next boot, too.
laptop_write() {
	# shellcheck disable=SC2016
	unshare --mount --propagation private sh -c 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec keyfob --config "$0" init --emulator "$@" --write' \
		"$DIR/etc/laptop.conf" "$@"
}
if unshare --mount true 2>/dev/null; then
	exits "with systemd" 0 laptop_write
	like "the cloud is started by its unit" "$OUT" '^  systemctl enable --now keyfob-emulator$'
	like "so are the daemons" "$OUT" '^  systemctl enable --now keyfobd keyfob-verifyd$'
	rm "$DIR/etc/laptop.conf"
	exits "on a port of its own" 0 laptop_write --port 8792
	like "it is started by hand" "$OUT" '^  keyfob-emulator --listen 127.0.0.1:8792 &$'
	rm "$DIR/etc/laptop.conf"
else
	skip "with systemd the cloud is started by its unit" "no mount namespaces"
fi

# --- a laptop in a minute --------------------------------------------------------------------
while
	PORT=$((20000 + RANDOM % 12000))
	(exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null
do :; done
exits "all that a laptop needs" 0 init --emulator --user "$alice" --port $PORT --write
next=$OUT
like "it says how the cloud is started" "$next" "^  keyfob-emulator --listen 127.0.0.1:$PORT &\$"
keyfob-emulator --listen 127.0.0.1:$PORT >"$DIR/out/emulator.log" 2>&1 &
PIDS="$PIDS $!"
if ! until_true 20 curl -sf "http://127.0.0.1:$PORT/jwks"; then
	skip "a laptop works in a minute" "port $PORT is somebody else's"
	finish
fi
start_broker
start_verifier
check "the user has a token" until_true 20 as "$alice" keyfob get db
judged() {
	as "$alice" keyfob get db | keyfob verify --service postgresql --login "$1" -
}
# As it is printed there.
like "it says how it is judged" "$next" "^  keyfob get db \| keyfob verify --service postgresql --login $alice -\$"
check "which is taken as a login" until_true 20 judged "$alice"
exits "for no other login" 7 judged postgres
exits "all is green" 0 keyfob status --check
like "and would pass" "$(keyfob status db)" '^  would pass emulator: yes'
exits "a second emulator is refused" 1 init --emulator --write other
like "since logins are taken already" "$ERR" 'this host takes logins already'
exits "another credential is not, and is served at once" 0 init --for azure --user "$alice" --resource api://x --write second
like "without a restart" "$(keyfob status)" '^  second$'

# --- asking a metadata service ------------------------------------------------------------
# A network namespace of its own has one.
cat >"$DIR/metadata" <<'EOS'
import http.server, sys
class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        if sys.argv[1] == "google" and self.headers.get("Metadata-Flavor") == "Google":
            self.send_header("Metadata-Flavor", "Google")
        self.end_headers()
        if sys.argv[1] == "azure" and self.path == "/metadata/versions" and self.headers.get("Metadata") == "true":
            self.wfile.write(b'{"apiVersions":["2021-02-01"]}')
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("169.254.169.254", 80), Service)
open(sys.argv[2], "w").close()
server.serve_forever()
EOS
# probing KIND: what init says where such a service is, and nothing else tells
probing() {
	rm -f "$DIR/out/up"
	# shellcheck disable=SC2016
	unshare --mount --net --propagation private sh -c '
		for hidden in /sys/class/dmi /var/run/secrets /opt/azcmagent /var/opt/azcmagent; do
			[ ! -d "$hidden" ] || mount -t tmpfs none "$hidden" || exit 99
		done
		ip link set lo up && ip addr add 169.254.169.254/32 dev lo || exit 99
		python3 "$1/metadata" "$2" "$1/out/up" & server=$!
		until [ -e "$1/out/up" ] || ! kill -0 $server; do sleep 0.05; done
		keyfob init --probe
		code=$?
		kill $server
		exit $code' sh "$DIR" "$1"
}
if unshare --mount --net true 2>/dev/null && command -v python3 >/dev/null && command -v ip >/dev/null; then
	exits "a probe finds Google" 0 probing google
	like "and says so" "$OUT" "Google Cloud \(the metadata service at 169.254.169.254 is Google's\)"
	exits "a probe finds Azure" 0 probing azure
	like "and says so" "$OUT" "Azure \(the metadata service at 169.254.169.254 is Azure's\)"
	exits "another service is none of theirs" 0 probing other
	like "and nothing is known" "$OUT" 'neither a virtual machine of Azure or Google'
else
	skip "a probe of the metadata service" "no network namespaces, python3 or ip"
fi
finish
