#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Proxy variables of whoever starts the broker, or runs get --direct, steer no fetch: a proxy is said in the configuration, for public endpoints alone.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
"$HELPERS/trap-listener" "$DIR/out/trap-port" "$DIR/out/caught" &
PIDS="$PIDS $!"
until_true 10 test -s "$DIR/out/trap-port" || { echo "Bail out! no trap"; exit 1; }
TRAP=http://127.0.0.1:$(cat "$DIR/out/trap-port")
start_emulator
secret=a-secret-of-0123456789
(umask 077; printf '%s\n' "$secret" >"$DIR/etc/client.secret")
curl -sS -f -d client_id=orders -d "secret=$secret" "$CLOUD/emulator/clients" >/dev/null || { echo "Bail out! no client"; exit 1; }
configure <<EOF
[credential azure]
resource = api://orders
provider = azure endpoint=$CLOUD
allow    = user:$alice
refresh  = on-demand

[credential gcp]
resource = https://orders
provider = gcp endpoint=$CLOUD
allow    = user:$alice
refresh  = on-demand

[credential public]
resource = https://orders
provider = oauth2 token_endpoint=$CLOUD/oauth2/token client_id=orders secret_file=$DIR/etc/client.secret timeout=5
refresh  = on-demand

[credential proxied]
resource = https://orders
provider = oauth2 token_endpoint=https://login.nowhere.example/oauth2/token client_id=orders secret_file=$DIR/etc/client.secret proxy=$TRAP timeout=5
refresh  = on-demand

[credential metadata-proxied]
resource = api://proxied
provider = azure endpoint=$CLOUD proxy=$TRAP
refresh  = on-demand
EOF

# each_combination COMMAND...: with every subset of the variables, in both spellings
each_combination() {
	local bits name variables
	for bits in $(seq 0 15); do
		variables=()
		for name in http_proxy:1 https_proxy:2 all_proxy:4; do
			[ $((bits & ${name#*:})) = 0 ] || variables+=("${name%:*}=$TRAP" "$(printf %s "${name%:*}" | tr a-z A-Z)=$TRAP")
		done
		[ $((bits & 8)) = 0 ] || variables+=("no_proxy=example.com" "NO_PROXY=example.com")
		env "${variables[@]}" "$@" || { echo "with ${variables[*]}"; return 1; }
	done
}
direct() {
	each_combination keyfob --config "$CONFIG" get --direct "$1"
}
for name in azure gcp public; do
	check "get --direct $name: whatever the variables say" direct "$name"
done
is "nobody came by the trap" "$(cat "$DIR/out/caught")" ""

export http_proxy=$TRAP https_proxy=$TRAP all_proxy=$TRAP HTTP_PROXY=$TRAP HTTPS_PROXY=$TRAP ALL_PROXY=$TRAP no_proxy=example.com
start_broker
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY no_proxy
for name in azure gcp; do exits "broker: $name" 0 as "$alice" keyfob get "$name"; done
exits "broker: public" 0 keyfob get public
exits "broker: proxy= is not for metadata" 0 keyfob get metadata-proxied
is "nobody came by the trap" "$(cat "$DIR/out/caught")" ""

exits "proxy= is where a public endpoint is asked" 8 keyfob get proxied
like "through a tunnel, in which the secret is not told" "$(cat "$DIR/out/caught")" '^connection: CONNECT login.nowhere.example:443'
unlike "nor anywhere else" "$ERR$(cat "$DIR/out/caught" "$LOG")" "$secret"
finish
