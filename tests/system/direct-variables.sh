#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Where the platform tells a program by its environment who it is (App Service, AKS), get --direct takes it from there; a broker does not.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
start_emulator
tenant=11111111-2222-3333-4444-555555555555
client=5f3a0000-1111-2222-3333-444455556666
header='h+e a&d=e%r/~"x-0123456789'
curl -sS -f --data-urlencode "value=$header" "$CLOUD/emulator/appservice-secret" >/dev/null || { echo "Bail out! no header"; exit 1; }
curl -sS -f -d "client_id=$client" -d "tenant=$tenant" --data-urlencode "secret=$header" "$CLOUD/emulator/entra-apps" >/dev/null ||
	{ echo "Bail out! no application"; exit 1; }
configure <<EOF
[credential app]
resource = api://orders
provider = azure source=appservice identity_endpoint=env:IDENTITY_ENDPOINT header_file=env:IDENTITY_HEADER timeout=5
allow = user:$alice

[credential app-legacy]
resource = api://orders
provider = azure source=appservice identity_endpoint=env:MSI_ENDPOINT header_file=env:MSI_SECRET api_version=2017-09-01

[credential secret]
resource = api://orders
provider = azure source=secret endpoint=$CLOUD client_id=env:AZURE_CLIENT_ID tenant=env:AZURE_TENANT_ID secret_file=env:AZURE_CLIENT_SECRET

[credential imds]
resource = api://orders
provider = azure endpoint=$CLOUD

[credential stacked]
resource = api://orders
provider = azure source=appservice identity_endpoint=env:IDENTITY_ENDPOINT header_file=env:IDENTITY_HEADER
provider = azure endpoint=$CLOUD
EOF

# direct NAME [VARIABLE=VALUE...]: with these variables, as root
direct() {
	local name=$1
	shift
	env "$@" keyfob --config "$CONFIG" get --direct "$name"
}
endpoint=IDENTITY_ENDPOINT=$CLOUD/msi/token

# --- a token in every way ------------------------------------------------------------------
exits "App Service: root" 0 direct app "$endpoint" "IDENTITY_HEADER=$header"
like "it is a token" "$OUT" '^eyJ'
exits "App Service: an allowed user, with the rights that he has" 0 as "$alice" env "$endpoint" "IDENTITY_HEADER=$header" \
	keyfob --config "$CONFIG" get --direct app
like "it is a token" "$OUT" '^eyJ'
exits "its older form" 0 direct app-legacy "MSI_ENDPOINT=$CLOUD/msi/token" "MSI_SECRET=$header"
exits "an application of Entra's" 0 direct secret "AZURE_CLIENT_ID=$client" "AZURE_TENANT_ID=$tenant" "AZURE_CLIENT_SECRET=$header"
exits "what needs no variable needs none" 0 direct imds

# --- what is missing or of no use -----------------------------------------------------------
# refused NAME PATTERN VARIABLE=VALUE...: exit 5, one line of these words, no request
refused() {
	local name=$1 pattern=$2 before
	shift 2
	before=$(requests appservice)
	exits "$name with $# variables: refused" 5 direct "$name" "$@"
	like "in words" "$ERR" "^keyfob: $name: azure: $pattern"
	unlike "without what a variable holds" "$ERR" 'e%r|not-a-url'
	is "and nobody is asked" "$(requests appservice)" "$before"
}
refused app 'header_file=env:IDENTITY_HEADER: the environment variable IDENTITY_HEADER is not set' "$endpoint"
refused app 'header_file=env:IDENTITY_HEADER: the environment variable IDENTITY_HEADER is not set' "$endpoint" IDENTITY_HEADER=
refused app 'header_file=env:IDENTITY_HEADER: the environment variable IDENTITY_HEADER is not set' "$endpoint" "KEYFOB_CALLER_IDENTITY_HEADER=$header"
refused app 'identity_endpoint=env:IDENTITY_ENDPOINT: the environment variable IDENTITY_ENDPOINT is not set' "IDENTITY_HEADER=$header"
refused app 'identity_endpoint=env:IDENTITY_ENDPOINT: .* holds what this option does not take' IDENTITY_ENDPOINT=not-a-url "IDENTITY_HEADER=$header"
refused app 'identity_endpoint=env:IDENTITY_ENDPOINT: .* holds more than one line of text' "$endpoint"$'\n' "IDENTITY_HEADER=$header"
refused app 'header_file= wants .* one line of text' "$endpoint" "IDENTITY_HEADER=$header"$'\r\nX-Other: 1'
exits "the line after it serves" 0 direct stacked "$endpoint"
exits "a header that is not the present one" 5 direct app "$endpoint" IDENTITY_HEADER=another-secret
like "is refused in App Service's words" "$ERR" 'App Service answered 401: .*header_file= must hold the present IDENTITY_HEADER'
unlike "without it" "$ERR" another-secret

# --- where the secret stands meanwhile --------------------------------------------------------
before=$(requests appservice)
fault 'path=appservice&delay_ms=3000&count=1'
direct app "$endpoint" "IDENTITY_HEADER=$header" LC_TIME=de_DE >"$DIR/out/slow" 2>&1 &
getter=$!
# keyfobd, the launcher that it forked, and the fetch
fetch_of() {
	keyfobd=$(pgrep -o -f "^keyfobd .*--direct app .*$CONFIG") && fetch=$(pgrep -x keyfob-fetch -P "$(pgrep -P "$keyfobd")")
}
asked() {
	[ "$(requests appservice)" -gt "$before" ]
}
check "a fetch asks" until_true 5 asked
fetch_of
# words FILE: of a process, one a line
words() {
	tr '\0' '\n' <"$1"
}
is "its environment is as ever" "$(words "/proc/$fetch/environ")" 'PATH=/usr/local/bin:/usr/bin:/bin'
unlike "its arguments too" "$(words "/proc/$fetch/cmdline")" 'e%r|IDENTITY'
is "none of the caller's variables steers keyfobd" "$(words "/proc/$keyfobd/environ" | cut -d= -f1 | grep -v '^KEYFOB_CALLER_')" PATH
like "though it has them" "$(words "/proc/$keyfobd/environ")" '^KEYFOB_CALLER_LC_TIME=de_DE$'
unlike "nor stands the secret in its arguments" "$(words "/proc/$keyfobd/cmdline")" 'e%r'
wait "$getter"
is "and the token comes" "$?" 0

# --- a broker ------------------------------------------------------------------------------------
exits "a check of the configuration refuses the lines" 1 keyfobd --check --config "$CONFIG"
like "by file and line" "$ERR" "$CONFIG:3: identity_endpoint=env:IDENTITY_ENDPOINT: variables are for keyfob get --direct"
exits "so does a broker that is started" 1 env "$endpoint" "IDENTITY_HEADER=$header" keyfobd --config "$CONFIG" --socket "$KEYFOB_SOCKET"
like "whatever its own environment holds" "$ERR" "$CONFIG:3: header_file=env:IDENTITY_HEADER: variables are for keyfob get --direct"
like "each of the lines is told" "$ERR" "$CONFIG:12: secret_file=env:AZURE_CLIENT_SECRET"
printf '[credential imds]\nresource = api://orders\nprovider = azure endpoint=%s\n' "$CLOUD" >"$CONFIG"
start_broker
printf 'provider = azure client_id=env:ID\n' >>"$CONFIG"
exits "and a reload" 1 keyfob reload
like "in words" "$ERR$(cat "$LOG")" 'client_id=env:ID: variables are for keyfob get --direct'
exits "the old configuration stays" 0 keyfob get imds
unlike "the secret is in no log" "$(cat "$LOG" "$DIR/out/emulator.log")" 'e%r/'
finish
