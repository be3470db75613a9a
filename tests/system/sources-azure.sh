#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every source of the azure module, against clouds that take nothing but the exact request, and every error that they document.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; agent=$USER_NAME
new_group "$agent"; himds=$GROUP_NAME

# --- a machine of Azure Arc, and all the rest ---------------------------------------------------------
keys=$DIR/tokens
mkdir -m 2750 "$keys"
chgrp "$himds" "$keys" && chmod 2750 "$keys"
start_emulator --arc-dir "$keys"
ARC=$CLOUD
start_emulator

tenant=11111111-2222-3333-4444-555555555555
client=5f3a0000-1111-2222-3333-444455556666
api=0d5c1c0e-1111-2222-3333-444455556666
secret='p+e r&c=e%n/t~"x'
umask 077
printf '%s\n' "$secret" >"$DIR/etc/secret"
printf 'keyfob-emulator\n' >"$DIR/etc/header"
printf 'pass word\n' >"$DIR/etc/password"
{
	openssl req -x509 -newkey rsa:2048 -nodes -keyout "$DIR/etc/key.pem" -out "$DIR/etc/cert.pem" -subj /CN=orders -days 30
	cat "$DIR/etc/key.pem" "$DIR/etc/cert.pem" >"$DIR/etc/both.pem"
	openssl pkcs12 -export -inkey "$DIR/etc/key.pem" -in "$DIR/etc/cert.pem" -passout 'pass:pass word' -out "$DIR/etc/both.p12"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/etc/ec.pem" -out "$DIR/etc/ec.crt" -subj /CN=ec -days 30
	cat "$DIR/etc/ec.crt" >>"$DIR/etc/ec.pem"
	openssl genrsa -out "$DIR/etc/issuer.pem" 2048
	openssl rsa -in "$DIR/etc/issuer.pem" -pubout -out "$DIR/out/issuer.pub"
} >"$DIR/out/openssl.log" 2>&1 || { echo "Bail out! no keys"; exit 1; }
umask 022

# app ID FIELD=VALUE...: register an application
app() {
	local id=$1 args=()
	shift
	for field; do args+=(--data-urlencode "$field"); done
	curl -sS -f --data-urlencode "client_id=$id" "${args[@]}" "$CLOUD/emulator/entra-apps" >/dev/null || echo "Bail out! app $id"
}
app "$client" "tenant=$tenant" "secret=$secret"
app certificate "certificate=$(cat "$DIR/etc/cert.pem")"
app chained "certificate=$(cat "$DIR/etc/cert.pem")" chain=1
app other "certificate=$(cat "$DIR/etc/ec.crt")"
app federated issuer=https://oidc.example.com subject=orders "issuer_key=$(cat "$DIR/out/issuer.pub")"
app chain-of-clouds "issuer=$CLOUD"
app version1 "secret=$secret" token_version=1
app version2 "secret=$secret" token_version=2

b64() {
	openssl base64 -A | tr '+/' '-_' | tr -d '='
}
# federated ISSUER SUBJECT AUDIENCE LIFE: a token of the other issuer, in the file
federated() {
	local now input
	now=$(date +%s)
	input=$(printf '{"alg":"RS256","typ":"JWT"}' | b64).$(printf '{"iss":"%s","sub":"%s","aud":"%s","iat":%d,"nbf":%d,"exp":%d}' "$1" "$2" "$3" \
		$((now - 1000)) $((now - 1000)) $((now + $4)) | b64)
	printf '%s.%s\n' "$input" "$(printf '%s' "$input" | openssl dgst -sha256 -sign "$DIR/etc/issuer.pem" | b64)" >"$DIR/out/federated"
}
federated https://oidc.example.com orders api://AzureADTokenExchange 600

app_line="tenant=$tenant endpoint=$CLOUD"
{
	# credential NAME RESOURCE PROVIDER...
	credential() {
		printf '[credential %s]\nresource = %s\nprovider = azure %s\n\n' "$1" "$2" "$3"
	}
	credential imds "api://$api" "endpoint=$CLOUD"
	credential imds-client "api://$api/.default" "endpoint=$CLOUD client_id=$client"
	credential imds-object "api://$api" "endpoint=$CLOUD object_id=$client"
	credential imds-resource "api://$api" "endpoint=$CLOUD resource_id=/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/orders"
	credential app "api://$api" "source=appservice endpoint=$CLOUD header_file=$DIR/etc/header"
	credential app-whole "api://$api" "source=appservice identity_endpoint=$CLOUD/MSI/token header_file=$DIR/etc/header"
	credential app-client "api://$api" "source=appservice endpoint=$CLOUD header_file=$DIR/etc/header client_id=$client"
	credential app-object "api://$api" "source=appservice endpoint=$CLOUD header_file=$DIR/etc/header object_id=$client"
	credential app-resource "api://$api" "source=appservice endpoint=$CLOUD header_file=$DIR/etc/header resource_id=/subscriptions/s/x"
	credential app-legacy "api://$api" "source=appservice endpoint=$CLOUD header_file=$DIR/etc/header api_version=2017-09-01 client_id=$client"
	credential app-legacy-object "api://$api" "source=appservice endpoint=$CLOUD header_file=$DIR/etc/header api_version=2017-09-01 object_id=$client"
	credential app-unknown unknown-resource "source=appservice endpoint=$CLOUD header_file=$DIR/etc/header"
	credential app-nowhere "api://$api" "source=appservice header_file=$DIR/etc/header"
	for option in '' " client_id=$client" " object_id=$client" ' resource_id=/subscriptions/s/x' ' timeout=2'; do
		how=${option%%[_=]*}
		printf '[credential arc%s]\nresource = api://%s\nprovider = azure source=arc endpoint=%s token_dir=%s run_as=%s%s\nallow = user:%s\ntrust_run_as = yes\n\n' \
			"${how/ /-}" "$api" "$ARC" "$keys" "$agent" "$option" "$alice"
	done
	credential arc-unprivileged "api://$api" "source=arc endpoint=$ARC token_dir=$keys"
	credential secret "api://$api" "source=secret client_id=$client $app_line secret_file=$DIR/etc/secret"
	credential secret-scope "https://vault.example.net//.default" "source=secret client_id=$client $app_line secret_file=$DIR/etc/secret cloud=usgov"
	credential secret-slash "https://vault.example.net/" "source=secret client_id=$client $app_line secret_file=$DIR/etc/secret authority=https://login.microsoftonline.com/"
	credential secret-wrong "api://$api" "source=secret client_id=$client $app_line secret_file=$DIR/etc/password"
	credential secret-unknown "api://$api" "source=secret client_id=nobody $app_line secret_file=$DIR/etc/secret"
	credential secret-resource "api://unknown" "source=secret client_id=$client $app_line secret_file=$DIR/etc/secret"
	credential secret-scopes "api://a api://b" "source=secret client_id=$client $app_line secret_file=$DIR/etc/secret"
	credential secret-tenant "api://$api" "source=secret client_id=$client tenant=unknown.example.com endpoint=$CLOUD secret_file=$DIR/etc/secret"
	credential secret-common "api://$api" "source=secret client_id=$client tenant=common endpoint=$CLOUD secret_file=$DIR/etc/secret"
	credential secret-path "api://$api" "source=secret client_id=$client tenant=../x endpoint=$CLOUD secret_file=$DIR/etc/secret"
	credential secret-clouds "api://$api" "source=secret client_id=$client $app_line cloud=china authority=https://a.example secret_file=$DIR/etc/secret"
	credential secret-http "api://$api" "source=secret client_id=$client $app_line authority=http://a.example secret_file=$DIR/etc/secret"
	credential secret-stray "api://$api" "source=secret client_id=$client $app_line secret_file=$DIR/etc/secret send_chain=yes"
	credential secret-less "api://$api" "source=secret client_id=$client $app_line"
	credential version1 "api://$api" "source=secret client_id=version1 $app_line secret_file=$DIR/etc/secret"
	credential version2 "api://$api" "source=secret client_id=version2 $app_line secret_file=$DIR/etc/secret"
	credential certificate "api://$api" "source=certificate client_id=certificate $app_line certificate_file=$DIR/etc/both.pem"
	credential certificate-p12 "api://$api" "source=certificate client_id=certificate $app_line certificate_file=$DIR/etc/both.p12 password_file=$DIR/etc/password cloud=china"
	credential certificate-chain "api://$api" "source=certificate client_id=chained $app_line certificate_file=$DIR/etc/both.pem send_chain=yes"
	credential certificate-chainless "api://$api" "source=certificate client_id=chained $app_line certificate_file=$DIR/etc/both.pem"
	credential certificate-other "api://$api" "source=certificate client_id=other $app_line certificate_file=$DIR/etc/both.pem"
	credential certificate-ec "api://$api" "source=certificate client_id=certificate $app_line certificate_file=$DIR/etc/ec.pem"
	credential certificate-bare "api://$api" "source=certificate client_id=certificate $app_line certificate_file=$DIR/etc/key.pem"
	credential certificate-password "api://$api" "source=certificate client_id=certificate $app_line certificate_file=$DIR/etc/both.p12 password_file=$DIR/etc/header"
	credential certificate-authority "api://$api" "source=certificate client_id=certificate $app_line certificate_file=$DIR/etc/both.pem authority=https://login.example.net"
	credential workload "api://$api" "source=workload client_id=federated $app_line token_file=$DIR/out/federated"
	credential workload-none "api://$api" "source=workload client_id=federated $app_line"
	credential workload-from "api://$api" "source=workload client_id=chain-of-clouds $app_line assertion_from=google"
	printf '[credential google]\nresource = api://AzureADTokenExchange\nprovider = gcp endpoint=%s\n' "$CLOUD"
} | configure
start_broker

# claim CREDENTIAL FILTER: of its token
claim() {
	keyfob get "$1" | cut -d. -f2 | tr '_-' '/+' | base64 -d 2>/dev/null | jq -r "$2"
}
# obtains CREDENTIAL FILTER WANTED
obtains() {
	exits "$1: a token" 0 keyfob get "$1"
	is "$1: $2" "$(claim "$1" "$2")" "$3"
}
declare -A CODE=([config]=5 [permanent]=5 [throttled]=8 [unavailable]=8 [transient]=8)
declare -A WORDS=([config]='the configuration is wrong' [permanent]='the provider refuses' [throttled]='asked too often'
	[unavailable]='nobody answers there' [transient]='a later attempt may succeed')
# refused CREDENTIAL CLASS PATTERN: what one attempt ends with
refused() {
	local line
	keyfob try "$1" >"$DIR/out/stdout" 2>"$DIR/out/stderr"
	line="exit $? $(cat "$DIR/out/stderr"); $(tail -n 1 "$DIR/out/stdout")"
	like "$1: $2: $3" "$line" "^exit ${CODE[$2]} keyfob: $1: .*${WORDS[$2]}; .*$3"
	cat "$DIR/out/stdout" >>"$DIR/out/said"
}

# --- every source gives its token -----------------------------------------------------------------------
obtains imds .aud "api://$api"
obtains imds-client .azp "$client"
obtains imds-object .oid "$client"
exits "imds-resource: a token" 0 keyfob get imds-resource
obtains app .aud "api://$api"
obtains app-whole .aud "api://$api"
obtains app-client .azp "$client"
obtains app-object .oid "$client"
exits "app-resource: a token" 0 keyfob get app-resource
obtains app-legacy .azp "$client"
exits "arc: a token, by a user in the agent's group" 0 as "$alice" keyfob get arc
obtains arc-client .azp "$client"
obtains arc-object .oid "$client"
exits "arc-resource: a token" 0 keyfob get arc-resource
obtains secret .aud "$api"
obtains secret .azp "$client"
exits "secret-scope: a token" 0 keyfob get secret-scope
is "a resource that ends with a slash keeps it in the scope" "$(claim secret-slash .aud)" "$(claim secret-scope .aud)"
obtains version1 '.iss + " " + .aud + " " + .appid' "https://sts.windows.net/$tenant/ api://$api version1"
obtains version2 '.iss + " " + .aud + " " + .azp' "https://login.microsoftonline.com/$tenant/v2.0 $api version2"
like "a version 1 token is explained" "$(keyfob explain version1 2>&1)" 'sts.windows.net'
obtains certificate .azp certificate
obtains certificate-p12 .azp certificate
obtains certificate-chain .azp chained
obtains workload .azp federated
obtains workload-from .azp chain-of-clouds
check "certificate: each request has an assertion of its own" keyfob refresh certificate
is "each of them was accepted at once" "$(curl -sS "$CLOUD/emulator/counters" | jq '.entra.errors + .appservice.errors')" 0
is "none of the agent's keys is left" "$(find "$keys" -name '*.key' | wc -l)" 0

# --- the header secret is read anew ------------------------------------------------------------------------
curl -sS -f -d value=rotated-by-the-platform "$CLOUD/emulator/appservice-secret" >/dev/null
refused app config 'App Service answered 401: .*correlation id [0-9a-f-]{36}\); header_file= must hold the present IDENTITY_HEADER'
printf 'rotated-by-the-platform' >"$DIR/etc/header"
exits "app: with the new secret, and no reload" 0 keyfob try app
for spelling in number linux windows; do
	fault "path=appservice&opaque=1&spelling=$spelling"
	rotate
	exits "app: expires_on as $spelling" 0 keyfob refresh app
	left=$(($(keyfob get --json app | jq .expires_at) - $(date +%s)))
	if [ "$left" -gt 83000 ] && [ "$left" -le 86400 ]; then pass "app: $spelling is read right"; else fail "app: $spelling is read right" "$left"; fi
done
# No number, no text, no date: then it is no token that could be kept.
for expires in null '""' '"soon"' -5 99999999999999 '"99/99/2021"'; do
	curl -sS -f -d path=appservice -d opaque=1 --data-urlencode "expires=$expires" "$CLOUD/emulator/faults" >/dev/null
	refused app config 'the token names no expiry'
done
no_faults

# --- App Service: errors --------------------------------------------------------------------------------------
refused app-unknown transient 'App Service answered 500: An unexpected error .*App Service says 500 for a wrong resource'
refused app-legacy-object config 'App Service \(2017-09-01\) takes no object_id=; use client_id='
refused app-nowhere config 'source=appservice wants identity_endpoint='
while read -r status class words; do
	fault "path=appservice&status=$status"
	refused app "$class" "App Service answered $status$words"
done <<'ROWS'
400 permanent .*; correct resource and the identity
403 config .*; header_file= must hold
404 transient .*; does this run on App Service
408 transient
429 throttled .*; too many requests
500 transient .*; App Service says 500
502 transient
503 transient
504 transient
302 unavailable .*; a redirect is never followed
ROWS
no_faults

# --- Arc: what a false agent may try -----------------------------------------------------------------------------
arc_fault() {
	CLOUD=$ARC fault "path=arc&$1"
}
touch "$DIR/agent.key"
while read -r case class words; do
	arc_fault "challenge=$case"
	refused arc "$class" "$words"
done <<'ROWS'
none unavailable Azure Arc answered 401 without its challenge
scheme unavailable Azure Arc answered 401 without its challenge
equals unavailable Azure Arc answered 401 without its challenge
elsewhere unavailable Azure Arc answered 401 and names a key outside of the agent's directory
below unavailable Azure Arc answered 401 and names a key outside of the agent's directory
parent unavailable Azure Arc answered 401 and names a key outside of the agent's directory
suffix unavailable Azure Arc answered 401 and names a file that is no .key
missing transient Azure Arc: its key cannot be opened: No such file
big unavailable the key that it names has more than 4096 bytes; it was not used
link unavailable the key that it names is a symbolic link; it was not used
fifo unavailable the key that it names is not a file; it was not used
empty transient Azure Arc: its key is empty or more than a line
replaced transient Azure Arc answered 401 unauthorized_client: .*it may have been replaced meanwhile
open unavailable Azure Arc answered 200 where it asks for a key first
ROWS
arc_fault challenge=largest
exits "arc: a key of 4096 bytes is one" 0 keyfob try arc
arc_fault deaf=1
refused arc-client permanent 'but not for the client id that was asked for: it may be too old'
exits "arc: the machine's own identity needs no echo" 0 keyfob try arc
while read -r status class words; do
	arc_fault "status=$status"
	refused arc "$class" "Azure Arc answered $status $words"
done <<'ROWS'
400 permanent .*; correct resource and the identity
403 unavailable .*; is the Azure Connected Machine agent running
404 transient .*; is the Azure Connected Machine agent running
408 transient
410 permanent
429 throttled .*; too many requests
500 transient .*; azcmagent check
503 transient .*; azcmagent check
302 unavailable .*; is the Azure Connected Machine agent running
ROWS
while read -r fault class words; do
	CLOUD=$ARC no_faults
	arc_fault "$fault"
	refused arc-timeout "$class" "$words"
done <<'ROWS'
truncate=1 transient Azure Arc: the answer of .* broke off
size=2097152 transient Azure Arc: the answer of .* is longer than 64 KiB
html=1&status=200 unavailable Azure Arc answered 200 where it asks for a key first
drip_ms=1000 unavailable Azure Arc: no whole answer from .* within 2 s
delay_ms=60000 unavailable Azure Arc: no whole answer from .* within 2 s
ROWS
CLOUD=$ARC no_faults
refused arc-unprivileged config 'Permission denied; run_as= must name a user in the group himds'

# --- Entra: errors -------------------------------------------------------------------------------------------------
refused secret-wrong permanent 'Entra answered 401 invalid_client: AADSTS7000215: .*Trace ID: [0-9a-f-]{36}.*; the secret is wrong: secret_file='
refused secret-unknown permanent 'Entra answered 400 unauthorized_client: AADSTS700016: .*; the tenant does not know this client_id='
refused secret-resource permanent 'Entra answered 400 invalid_resource: AADSTS500011: .*; the tenant does not know the resource'
refused secret-scopes permanent 'Entra answered 400 invalid_scope: AADSTS70011: .*; resource must be one Application ID URI'
refused secret-tenant permanent 'Entra answered 400 invalid_request: AADSTS90002: .*; there is no such tenant in this cloud'
refused secret-common config 'tenant=common is for people who log in'
refused secret-path config 'tenant= takes a GUID or a domain'
refused secret-clouds config 'cloud= and authority= exclude each other'
refused secret-http config 'authority= takes https:// and a host'
refused secret-stray config 'source=secret has no use for send_chain='
refused secret-less config 'source=secret wants the option secret_file='
refused certificate-chainless permanent 'AADSTS700027: .*; the certificate is not registered'
refused certificate-other permanent 'AADSTS700027: .*; the certificate is not registered'
refused certificate-ec config 'Entra takes RSA keys only'
refused certificate-bare config 'certificate_file= holds a key, but not its certificate'
refused certificate-password config 'certificate_file= is of no use: '
refused certificate-authority permanent "AADSTS700023: .*; the assertion is for another audience"
refused workload-none config 'source=workload wants one of token_file= and assertion_from='
for form in 0 1; do
	while read -r number class words; do
		fault "path=entra&aadsts=$number&codes_text=$form"
		refused secret "$class" "AADSTS$number: .*$words"
	done <<'ROWS'
7000215 permanent ; the secret is wrong
7000222 permanent ; the secret has expired
700016 permanent ; the tenant does not know this client_id=
700027 permanent ; the certificate is not registered
700021 permanent ; the assertion names another application
700023 permanent ; the assertion is for another audience
700024 permanent ; the assertion is too old or too new; check this machine's clock
50027 permanent ; the assertion is no valid JWT
7000229 permanent ; the application has no service principal in this tenant
7000112 permanent ; the application is disabled in this tenant
70021 permanent ; no federated credential of the application fits
1002012 permanent ; resource must be one Application ID URI
900023 permanent ; there is no such tenant
90014 permanent ; the request lacks a field
70011 permanent ; resource must be one Application ID URI
500011 permanent ; the tenant does not know the resource
90061 transient ; Entra cannot reach the token's issuer
90033 transient
ROWS
done
while read -r status class words; do
	fault "path=entra&status=$status"
	refused secret "$class" "Entra answered $status $words"
done <<'ROWS'
429 throttled .*; too many requests
500 transient server_error
503 transient server_error
302 unavailable .*; a redirect is never followed
ROWS
fault 'path=entra&expires=%223599%22&opaque=1'
exits "secret: expires_in as text" 0 keyfob refresh secret
left=$(($(keyfob get --json secret | jq .expires_at) - $(date +%s)))
if [ "$left" -gt 3000 ] && [ "$left" -le 3599 ]; then pass "secret: is read right"; else fail "secret: is read right" "$left"; fi
no_faults

# --- the federated token, read anew for each exchange ------------------------------------------------------------------
federated https://oidc.example.com orders api://AzureADTokenExchange -600
refused workload permanent "AADSTS700024: .*the token file is renewed"
federated https://elsewhere.example.com orders api://AzureADTokenExchange 600
refused workload permanent "AADSTS700211: .*has the token's issuer"
federated https://oidc.example.com nobody api://AzureADTokenExchange 600
refused workload permanent "AADSTS700213: .*has the token's subject"
federated https://oidc.example.com orders api://other 600
refused workload permanent "AADSTS700212: .*must be api://AzureADTokenExchange"
: >"$DIR/out/federated"
refused workload transient 'federated is empty; it may be just being written'
chmod 0600 "$DIR/out/federated"
refused workload config 'federated may not be read by the user of this fetch; change its mode'
rm "$DIR/out/federated"
refused workload unavailable 'federated is not there; '
federated https://oidc.example.com orders api://AzureADTokenExchange 600
exits "workload: with a good one again, and no reload" 0 keyfob try workload

# --- in the status, and nowhere a secret ----------------------------------------------------------------------------------
exits "secret-wrong: a refusal" 5 keyfob get secret-wrong
like "secret-wrong: status has Entra's words" "$(keyfob status --json secret-wrong | jq -r '.credentials[0].last_error')" \
	'AADSTS7000215.*Trace ID: [0-9a-f-]{36} Correlation ID: [0-9a-f-]{36}.*; the secret is wrong'
printf 'no-longer-the-secret\n' >"$DIR/etc/header"
exits "app: a refusal" 5 keyfob refresh app
like "app: status has the correlation id" "$(COLUMNS=400 keyfob status app | tr -s '\n ' ' ')" 'App Service answered 401: .*\(correlation id [0-9a-f-]{36}\)'
printf 'rotated-by-the-platform' >"$DIR/etc/header"
{
	cat "$LOG"
	keyfob status --json
	keyfob status
	for name in secret certificate-chain workload workload-from arc app; do keyfob try "$name" 2>&1; done
} >>"$DIR/out/said"
for text in "$secret" 'p%2Be%20r' 'pass word' 'rotated-by-the-platform' keyfob-emulator-x "$(cut -d. -f3 "$DIR/out/federated" | cut -c1-24)" \
	"$(keyfob get secret | cut -d. -f3 | cut -c1-24)" 'eyJ' "$(sed -n 3p "$DIR/etc/key.pem" | cut -c1-24)"; do
	if grep -qF -- "$text" "$DIR/out/said"; then fail "no secret was said" "$(grep -F -m 3 -- "$text" "$DIR/out/said")"; else pass "no secret was said"; fi
done
finish
