#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Google's sources through keyfobd: key, impersonation, workload identity federation. The emulator refuses what is not exactly right.
. "$(dirname "$0")/lib.sh"

for tool in curl jq openssl; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP $tool is missing"; exit 0; }
done
new_user; alice=$USER_NAME
start_emulator
project=keyfob-emulator.iam.gserviceaccount.com
pools=//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools

# --- files ---------------------------------------------------------------------
# key_file NAME ALGORITHM...: a service account NAME, known to the emulator, in etc/NAME.json
key_file() {
	local name=$1 pem
	shift
	pem=$(openssl genpkey "$@" 2>/dev/null)
	printf '%s' "$pem" | openssl pkey -pubout >"$DIR/etc/$name.pub"
	curl -sS -f -o /dev/null "$CLOUD/emulator/google-accounts" -d "email=$name@$project" -d "key_id=id-of-$name" \
		--data-urlencode "key@$DIR/etc/$name.pub"
	jq -n --arg pem "$pem" --arg email "$name@$project" --arg id "id-of-$name" '{type: "service_account", client_email: $email,
		private_key_id: $id, private_key: $pem, token_uri: "https://oauth2.googleapis.com/token"}' >"$DIR/etc/$name.json"
	chmod 0600 "$DIR/etc/$name.json"
}
# pool_file NAME FILTER: an external_account file, changed by a jq filter
pool_file() {
	jq -n --arg pools "$pools" '{type: "external_account", audience: ($pools + "/p/providers/x"),
		subject_token_type: "urn:ietf:params:oauth:token-type:jwt", token_url: "https://sts.googleapis.com/v1/token",
		credential_source: {file: "/nowhere"}, service_account_impersonation_url:
		"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/orders@'$project':generateAccessToken"} | '"$2" \
		>"$DIR/etc/$1.json"
	chmod 0600 "$DIR/etc/$1.json"
}
key_file rsa -algorithm RSA
key_file ec -algorithm EC -pkeyopt ec_paramgen_curve:P-256
key_file gone -algorithm RSA
jq '.client_email = "nobody@example.com"' "$DIR/etc/gone.json" >"$DIR/etc/nobody.json"
jq --rawfile pem <(openssl genpkey -algorithm RSA 2>/dev/null) '.private_key = $pem' "$DIR/etc/rsa.json" >"$DIR/etc/forged.json"
jq '.universe_domain = "evil.example"' "$DIR/etc/rsa.json" >"$DIR/etc/foreign.json"
chmod 0600 "$DIR"/etc/*.json
pool_file account .
pool_file pool 'del(.service_account_impersonation_url)'
pool_file file '.credential_source = {file: "'"$DIR"'/subject.json", format: {type: "json", subject_token_field_name: "jwt"}}'
pool_file url '.credential_source = {url: "'"$CLOUD"'/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://pool",
	headers: {Metadata: "true"}, format: {type: "json", subject_token_field_name: "access_token"}}'
pool_file workforce 'del(.service_account_impersonation_url) | .workforce_pool_user_project = "p1" |
	.audience = "//iam.googleapis.com/locations/global/workforcePools/w/providers/x"'
pool_file client 'del(.service_account_impersonation_url) | .client_id = "keyfob-workforce" | .client_secret = "keyfob-workforce-secret" |
	.audience = "//iam.googleapis.com/locations/global/workforcePools/w/providers/x"'
pool_file wrong-client '.client_id = "keyfob-workforce" | .client_secret = "not-the-workforce-secret"'
pool_file no-pool '.audience = "'$pools'/unknown/providers/x"'
pool_file executable '.credential_source = {executable: {command: "/bin/true"}}'
pool_file elsewhere '.token_url = "https://sts.googleapis.com.evil.example/v1/token"'
subject=$(curl -sS -f -H 'Metadata: true' "$CLOUD/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://file" | jq -r .access_token)
printf '{"jwt":"%s"}' "$subject" >"$DIR/subject.json"
echo "not a token of anyone at all" >"$DIR/wrong-subject"

# What an executable-sourced file would have run is a callback program here; it finds what Google's libraries would tell it.
cat >"$DIR/program" <<EOS
#!/bin/sh
[ "\$GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE" = $pools/p/providers/x ] || exit 1
[ "\$GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE" = urn:ietf:params:oauth:token-type:jwt ] || exit 1
[ "\$GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE\$GOOGLE_EXTERNAL_ACCOUNT_REVOKE" = 00 ] || exit 1
echo '{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:jwt","id_token":"$subject"}'
EOS
chmod 0755 "$DIR/program"

configure <<END
$(credential() { printf '[credential %s]\nresource = https://orders.example.com/a?b=c&d\nprovider = gcp endpoint=%s %s\n' "$1" "$CLOUD" "$2"
	[ -z "${3:-}" ] || printf 'token = access\n'; echo; }
c=$DIR/etc
credential metadata ""
credential metadata-access "" access
credential metadata-scopes "scopes=https://a.example/x,https://a.example/y" access
credential metadata-account "service_account=$(curl -sS -f -H 'Metadata-Flavor: Google' "$CLOUD/computeMetadata/v1/instance/service-accounts/default/email") licenses=yes"
credential metadata-nobody "service_account=nobody@example.org"
credential key-rsa "source=key key_file=$c/rsa.json"
credential key-ec "source=key key_file=$c/ec.json"
credential key-access "source=key key_file=$c/rsa.json" access
credential key-scopes "source=key key_file=$c/ec.json scopes=https://a.example/x,https://a.example/y" access
credential key-subject "source=key key_file=$c/rsa.json subject=somebody@example.com" access
credential key-outsider "source=key key_file=$c/rsa.json subject=somebody@elsewhere.example" access
credential key-nobody "source=key key_file=$c/nobody.json"
credential key-forged "source=key key_file=$c/forged.json"
credential key-foreign "source=key key_file=$c/foreign.json"
credential key-universe "source=key key_file=$c/foreign.json universe_domain=evil.example"
credential key-pool "source=key key_file=$c/pool.json"
credential as-orders "source=impersonate target=orders@$project metadata_endpoint=$CLOUD"
credential as-orders-access "source=impersonate target=orders@$project metadata_endpoint=$CLOUD lifetime=20m delegates=a@$project,b@$project" access
credential as-orders-key "source=impersonate target=orders@$project key_file=$c/ec.json scopes=https://a.example/x" access
credential as-orders-from "source=impersonate target=orders@$project source_from=key-access"
credential as-orders-id "source=impersonate target=orders@$project source_from=key-rsa"
credential as-unknown "source=impersonate target=unknown@$project key_file=$c/rsa.json"
credential as-denied "source=impersonate target=denied@$project key_file=$c/rsa.json"
credential as-nothing "source=impersonate key_file=$c/rsa.json"
credential ext-from "source=external_account config_file=$c/account.json subject_from=azure"
credential ext-access "source=external_account config_file=$c/account.json subject_from=azure lifetime=15m" access
credential ext-file "source=external_account config_file=$c/file.json subject_file=$DIR/subject.json"
credential ext-file-unnamed "source=external_account config_file=$c/file.json"
credential ext-file-wrong "source=external_account config_file=$c/account.json subject_file=$DIR/wrong-subject"
credential ext-url "source=external_account config_file=$c/url.json"
credential ext-pool "source=external_account config_file=$c/pool.json subject_from=azure scopes=https://a.example/x,https://a.example/y" access
credential ext-pool-id "source=external_account config_file=$c/pool.json subject_from=azure"
credential ext-pool-target "source=external_account config_file=$c/pool.json subject_from=azure target=orders@$project"
credential ext-workforce "source=external_account config_file=$c/workforce.json subject_from=azure" access
credential ext-client "source=external_account config_file=$c/client.json subject_from=azure" access
credential ext-wrong-client "source=external_account config_file=$c/wrong-client.json subject_from=azure"
credential ext-no-pool "source=external_account config_file=$c/no-pool.json subject_from=azure"
credential ext-executable "source=external_account config_file=$c/executable.json"
credential ext-program "source=external_account config_file=$c/executable.json subject_from=program"
printf '[credential program]\nresource = %s/p/providers/x\nprovider = callback-exec run_as=%s format=google -- %s/program\n\n' "$pools" "$alice" "$DIR"
printf '[credential azure]\nresource = api://pool\nprovider = azure endpoint=%s\n\n' "$CLOUD"
printf '[credential ext-elsewhere]\nresource = x\nprovider = gcp source=external_account config_file=%s subject_from=azure\n' "$c/elsewhere.json")
END
start_broker
seen=$subject
# claim TOKEN FILTER: of a JWT's payload
claim() {
	printf '%s' "$1" | cut -d. -f2 | tr '_-' '/+' | sed 's/$/===/' | base64 -d 2>/dev/null | jq -r "$2"
}
# status CREDENTIAL FILTER
status() {
	keyfob status --json | jq -r --arg name "$1" '.credentials[] | select(.name == $name) | '"$2"
}
# gives CREDENTIAL id|access: it is a token of that kind
gives() {
	exits "$1 gives a token" 0 keyfob get "$1"
	[ "$2" = access ] && like "$1: an access token" "$OUT" '^ya29\.' || is "$1: for the audience" "$(claim "$OUT" .aud)" 'https://orders.example.com/a?b=c&d'
	seen="$seen $OUT"
}

# --- every source -----------------------------------------------------------------
gives metadata id
like "the machine's account" "$(claim "$OUT" .email)" "^default@|@$project"
gives metadata-access access
gives metadata-scopes access
gives metadata-account id
like "with the licenses of its image" "$(claim "$OUT" '.google.compute_engine.license_id[0]')" '^[0-9]+$'
gives key-rsa id
is "the key's account" "$(claim "$OUT" .email)" "rsa@$project"
gives key-ec id
gives key-access access
gives key-scopes access
gives key-subject access
gives key-universe id
before=$(requests metadata)
gives as-orders id
is "the target's account" "$(claim "$OUT" .email)" "orders@$project"
is "it took one request to the metadata server" "$(($(requests metadata) - before))" 1
gives as-orders-access access
left=$(($(status as-orders-access .expires_at) - $(date +%s)))
[ "$left" -gt 1100 ] && [ "$left" -le 1200 ] && pass "lifetime= is what it lives" || fail "lifetime= is what it lives" "$left"
gives as-orders-key access
gives as-orders-from id
gives ext-from id
gives ext-access access
gives ext-file id
gives ext-url id
gives ext-program id
gives ext-pool access
gives ext-pool-target id
gives ext-workforce access
gives ext-client access

# --- spellings of the expiry ----------------------------------------------------------
fault 'path=google_token&expires=%22600%22'
keyfob refresh key-access >/dev/null 2>&1
is "expires_in as a string" "$(status key-access '(.expires_at - now) | . > 500 and . <= 600')" true
no_faults
fault 'path=google_iam&expires=fraction'
exits "expireTime with a fraction" 0 keyfob refresh as-orders-key
no_faults
fault 'path=google_iam&expires=absent'
exits "no expireTime at all: refused without ttl=" 5 keyfob --config "$CONFIG" get --direct as-orders-key
no_faults

# --- refusals: class, words ---------------------------------------------------------------
# refused CREDENTIAL EXIT WORDS
refused() {
	exits "$1 is refused" "$2" keyfob get "$1"
	like "$1: $3" "$ERR" "$3"
	like "$1: status says so too" "$(status "$1" .last_error)" "$3"
}
refused metadata-nobody 5 '404: .*attach a service account to this machine, or correct service_account='
refused key-outsider 5 'unauthorized_client.*delegation'
refused key-nobody 5 'account not found.*deleted or disabled'
refused key-forged 5 'Invalid JWT Signature.*deleted or disabled'
refused key-foreign 5 'universe evil.example'
refused key-pool 5 'type external_account, not service_account'
refused as-orders-id 5 '401 UNAUTHENTICATED'
refused as-unknown 5 '404 NOT_FOUND.*correct target='
refused as-denied 5 '403 PERMISSION_DENIED.*Token Creator'
refused as-nothing 5 'needs target='
refused ext-file-unnamed 5 "subject_file=$DIR/subject.json"
refused ext-file-wrong 5 'invalid_grant.*pool'
refused ext-pool-id 5 'set target='
refused ext-wrong-client 5 'invalid_client'
refused ext-no-pool 5 'invalid_target.*audience'
refused ext-executable 5 'callback-exec'
refused ext-elsewhere 5 'not sent there'

# --- a failure that passes ---------------------------------------------------------------
# passes CREDENTIAL FAULT WORDS: while the fault holds it fails, for now; afterwards it does not
passes() {
	fault "$2"
	keyfob drop "$1" >/dev/null
	keyfob get "$1" >/dev/null 2>&1 &
	check "$1: $3 is transient" until_true 15 logged "credential=$1 event=fetch-failed .*class=transient .*$3"
	no_faults
	wait $!
	check "$1: it is tried again" until_true 15 keyfob get "$1"
}
passes key-rsa 'path=google_token&status=500&body=%7B%22error%22%3A%22internal_failure%22%7D' internal_failure
passes as-orders 'path=google_iam&status=503' 'answered 503'
passes ext-pool 'path=google_sts&status=503&body=%7B%22error%22%3A%22temporarily_unavailable%22%7D' temporarily_unavailable

# --- what must not be seen -----------------------------------------------------------------
text=$(cat "$LOG"; keyfob status; keyfob status --json; keyfob try ext-file 2>&1; keyfob try key-rsa 2>&1)
for token in $seen; do
	case $text in *"${token:(-24)}"*) fail "no token in log, status or exchange" "$token"; break ;; esac
done || true
case $text in
*keyfob-workforce-secret* | *not-the-workforce* | *"BEGIN PRIVATE"*) fail "no secret in log, status or exchange" ;;
*) pass "no secret in log, status or exchange" ;;
esac
unlike "nothing of a JWT either" "$text" 'eyJ[A-Za-z0-9_-]{10}'
finish
