#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# oauth2, file, k8s and the formats of callback-exec: a token from each way of each, and what each error reads like.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
start_emulator
mkdir -m 0755 "$DIR/bin" "$DIR/var"
secret='p+e r&c=e%n/t~ secret-0123456789'
(umask 077; printf '%s\n' "$secret" >"$DIR/etc/secret"; printf 'another-secret-0123456789\n' >"$DIR/etc/wrong"
openssl genrsa -out "$DIR/etc/rsa.pem" 2048 2>/dev/null
openssl ecparam -genkey -name prime256v1 -noout -out "$DIR/etc/ec.pem")
for key in rsa ec; do openssl pkey -in "$DIR/etc/$key.pem" -pubout -out "$DIR/out/$key.pub"; done
client() {
	curl -sS -f "$@" "$CLOUD/emulator/clients" >/dev/null || { echo "Bail out! no client"; exit 1; }
}
client --data-urlencode 'client_id=me & you' --data-urlencode "secret=$secret"
client -d client_id=rsa -d key_id=k1 --data-urlencode "key@$DIR/out/rsa.pub"
client -d client_id=ec --data-urlencode "key@$DIR/out/ec.pub"

jwt() {
	printf '{"alg":"none"}' | base64 -w0 | tr '+/' '-_' | tr -d =
	printf .
	printf '%s' "$1" | base64 -w0 | tr '+/' '-_' | tr -d =
	printf .c2lnbmF0dXJl
}
now=$(date +%s)
file_token=$(jwt "{\"exp\":$((now + 3000)),\"aud\":\"file\"}")
printf '{"auth":{"client_token":"opaque-file-token"}}\n' >"$DIR/var/token.json"
(umask 077; printf 'opaque-root-token\n' >"$DIR/etc/token")
mkdir -m 0755 "$DIR/var/..1"
printf '%s\n' "$file_token" >"$DIR/var/..1/token"
ln -s ..1 "$DIR/var/..data"
ln -s ..data/token "$DIR/var/token"
printf '%s' "${file_token%.*}" | cut -c1-50 >"$DIR/var/half"
jwt '{"exp":1700000000}' >"$DIR/var/expired"
jwt '{"sub":"legacy"}' >"$DIR/var/legacy"
printf '{"auth":{"client_tok' >"$DIR/var/half.json"
chmod 0644 "$DIR/var/token.json" "$DIR/var/..1/token" "$DIR/var/half" "$DIR/var/expired" "$DIR/var/legacy" "$DIR/var/half.json"
cat >"$DIR/bin/docker" <<'EOS'
#!/bin/sh
read -r server
[ "$1" = get ] || exit 1
[ "$server" = https://registry.example ] || { echo "credentials not found in native keychain"; exit 1; }
echo "{\"ServerURL\":\"$server\",\"Username\":\"<token>\",\"Secret\":\"docker-token\"}"
EOS
cat >"$DIR/bin/git" <<EOS
#!/bin/sh
[ "\$(cat)" = "protocol=https
host=git.example:8443
path=a/b" ] || exit 1
printf 'username=me\npassword=git-token\npassword_expiry_utc=%s\n' $((now + 3000))
EOS
cat >"$DIR/bin/spire" <<EOS
#!/bin/sh
echo '[{"svids":[{"spiffe_id":"spiffe://x/y","svid":"$file_token"}]},{"bundles":{}}]'
EOS
# Helpers made for others find what those would tell them: Google's and Kubernetes' variables.
cat >"$DIR/bin/google" <<EOF
#!/bin/sh
[ "\$GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE" = https://orders.example ] && [ "\$GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE" = 0 ] || exit 1
echo '{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:id_token","id_token":"google-token","expiration_time":$((now + 3000))}'
EOF
for version in v1 v1beta1; do
	cat >"$DIR/bin/k8s-$version" <<EOF
#!/bin/sh
case \$KUBERNETES_EXEC_INFO in *'"kind":"ExecCredential"'*'"interactive":false'*) ;; *) exit 1 ;; esac
echo '{"apiVersion":"client.authentication.k8s.io/$version","kind":"ExecCredential","status":{"token":"k8s-$version-token","expirationTimestamp":"$(date -u -d "@$((now + 3000))" +%Y-%m-%dT%H:%M:%SZ)"}}'
EOF
done
cat >"$DIR/bin/az" <<EOF
#!/bin/sh
echo '{"accessToken":"az-token","expiresOn":"2001-01-01 00:00:00.000000","expires_on":$((now + 3000)),"tokenType":"Bearer"}'
EOF
cat >"$DIR/bin/jwt" <<EOF
#!/bin/sh
echo 'a warning' >&2
echo '$file_token'
EOF
chmod 0755 "$DIR"/bin/*

base="provider = oauth2 token_endpoint=$CLOUD/oauth2/token"
{
	credential() {
		printf '[credential %s]\nallow = user:%s\nrefresh = on-demand\n' "$1" "$alice"
		shift
		printf '%s\n' "$@"
	}
	credential basic 'resource = https://orders.example/x y' "$base client_id=\"me & you\" secret_file=$DIR/etc/secret"
	credential post 'resource = https://orders.example/x y' "$base client_id=\"me & you\" auth=secret_post secret_file=$DIR/etc/secret"
	credential discovered 'resource = orders' \
		"provider = oauth2 issuer=$CLOUD client_id=\"me & you\" secret_file=$DIR/etc/secret resource_parameter=audience"
	credential rs256 'resource = a b' "$base client_id=rsa key_file=$DIR/etc/rsa.pem key_id=k1 resource_parameter=scope"
	credential ps256 "$base client_id=rsa key_file=$DIR/etc/rsa.pem key_id=k1 alg=PS256 scope=x audience=y"
	credential es256 "provider = oauth2 issuer=$CLOUD client_id=ec key_file=$DIR/etc/ec.pem assertion_audience=issuer"
	credential wrong-secret "$base client_id=\"me & you\" secret_file=$DIR/etc/wrong"
	credential wrong-key "$base client_id=ec key_file=$DIR/etc/rsa.pem"
	credential wrong-resource 'resource = unknown-1' "$base client_id=\"me & you\" secret_file=$DIR/etc/secret"
	credential wrong-scope "$base client_id=\"me & you\" secret_file=$DIR/etc/secret scope=unknown-2"
	credential wrong-issuer "provider = oauth2 issuer=$CLOUD/other client_id=x secret_file=$DIR/etc/secret"
	credential plain-http "provider = oauth2 token_endpoint=http://login.example/token client_id=x secret_file=$DIR/etc/secret"
	credential faulty "$base client_id=\"me & you\" secret_file=$DIR/etc/secret scope=faulty timeout=2s"
	credential file "provider = file path=$DIR/var/token.json json_field=auth.client_token lifetime=1h"
	credential root-file "provider = file secret_file=$DIR/etc/token lifetime=1h"
	credential k8s "provider = k8s path=$DIR/var/token"
	for name in half expired legacy missing; do credential "k8s-$name" "provider = k8s path=$DIR/var/$name"; done
	credential k8s-audience 'resource = orders' "provider = k8s path=$DIR/var/token"
	credential half-file "provider = file path=$DIR/var/half.json json_field=auth.client_token lifetime=1h"
	credential other-member "provider = file path=$DIR/var/token.json json_field=auth.token lifetime=1h"
	credential old-file "provider = file path=$DIR/var/token.json json_field=auth.client_token lifetime=1s"
	credential missing-file "provider = file path=$DIR/var/missing lifetime=1h"
	credential empty-file "provider = file path=$DIR/var/empty lifetime=1h"
	credential closed-file "provider = file path=$DIR/etc/token lifetime=1h"
	credential docker 'trust_run_as = yes' 'resource = https://registry.example' \
		"provider = callback-exec run_as=$alice format=docker ttl=10m -- $DIR/bin/docker get"
	credential docker-none 'resource = https://nowhere.example' \
		"provider = callback-exec run_as=$alice format=docker ttl=10m -- $DIR/bin/docker get"
	credential git 'resource = https://git.example:8443/a/b' "provider = callback-exec run_as=$alice format=git -- $DIR/bin/git get"
	credential spire "provider = callback-exec run_as=$alice -- $DIR/bin/spire"
	credential google 'resource = https://orders.example' "provider = callback-exec run_as=$alice format=google -- $DIR/bin/google"
	credential google-auto 'resource = https://orders.example' "provider = callback-exec run_as=$alice -- $DIR/bin/google"
	credential k8s-v1 "provider = callback-exec run_as=$alice format=k8s -- $DIR/bin/k8s-v1"
	credential k8s-v1beta1 "provider = callback-exec run_as=$alice -- $DIR/bin/k8s-v1beta1"
	credential az "provider = callback-exec run_as=$alice format=oauth -- $DIR/bin/az"
	credential jwt "provider = callback-exec run_as=$alice -- $DIR/bin/jwt"
} | configure
: >"$DIR/var/empty"
start_broker

claim() {
	cut -d. -f2 <<<"$1" | tr '_-' '/+' | base64 -di 2>/dev/null | jq -r "$2"
}

# --- a token in every way ---------------------------------------------------------
for row in "basic .aud https://orders.example/x_y" "post .aud https://orders.example/x_y" "discovered .aud orders" \
	"rs256 .scope a_b" "ps256 .aud y" "es256 .sub ec"; do
	read -r name filter wanted <<<"$row"
	exits "oauth2 $name: a token" 0 as "$alice" keyfob get "$name"
	is "oauth2 $name: $filter" "$(claim "$OUT" "$filter")" "${wanted//_/ }"
	tokens="${tokens:-} $OUT"
done
is "oauth2 ps256: scope" "$(claim "$(as "$alice" keyfob get ps256)" .scope)" x
is "oauth2: each cost one request" "$(requests oauth2)" 6
exits "file: a member of a JSON file" 0 as "$alice" keyfob get file
is "file: it is that" "$OUT" opaque-file-token
exits "file: a file that only root may read" 0 as "$alice" keyfob get root-file
is "file: is handed over" "$OUT" opaque-root-token
exits "k8s: through the links of a projected volume" 0 as "$alice" keyfob get k8s
is "k8s: it is that" "$OUT" "$file_token"
for name in docker git; do
	exits "callback-exec $name: a token" 0 as "$alice" keyfob get $name
	is "callback-exec $name: it is that" "$OUT" $name-token
done
for row in spire:$file_token google:google-token google-auto:google-token k8s-v1:k8s-v1-token k8s-v1beta1:k8s-v1beta1-token az:az-token \
	jwt:$file_token; do
	name=${row%%:*}
	exits "callback-exec $name: a token" 0 as "$alice" keyfob get --json "$name"
	is "callback-exec $name: it is that, and lives as long as the program said" "$(jq -r '"\(.token) \(.expires_at)"' <<<"$OUT")" \
		"${row#*:} $((now + 3000))"
done

# --- the kubelet swaps its link ------------------------------------------------------
mkdir -m 0755 "$DIR/var/..2"
new_token=$(jwt "{\"exp\":$((now + 3500)),\"aud\":\"file\"}")
printf '%s\n' "$new_token" >"$DIR/var/..2/token"
ln -s ..2 "$DIR/var/..new"
mv -T "$DIR/var/..new" "$DIR/var/..data"
keyfob drop k8s
is "k8s: the next fetch reads what stands there then" "$(as "$alice" keyfob get k8s)" "$new_token"

: >"$DIR/var/..2/token"
exits "k8s: the file is just being written" 8 keyfob refresh k8s
like "k8s: in words" "$ERR" 'is empty; it may be just being written'
is "k8s: meanwhile the old token is served" "$(as "$alice" keyfob get k8s)" "$new_token"
printf '%s\n' "$new_token" >"$DIR/var/..2/token"

# --- what is refused ------------------------------------------------------------------
# All at once: whoever may hope waits half a minute.
for name in wrong-secret wrong-key wrong-resource wrong-scope wrong-issuer plain-http k8s-half k8s-expired k8s-legacy k8s-missing k8s-audience \
	half-file other-member old-file missing-file empty-file closed-file docker-none; do
	{
		as "$alice" keyfob get "$name" >"$DIR/out/$name" 2>&1
		echo "exit $?" >>"$DIR/out/$name"
	} &
	GETS="${GETS:-} $!"
done
# shellcheck disable=SC2086
wait $GETS
# refused NAME EXIT PATTERN: what the user reads, there and in the status
refused() {
	is "$1: exit $2" "$(tail -n 1 "$DIR/out/$1")" "exit $2"
	like "$1: in words" "$(head -n 1 "$DIR/out/$1")" "^keyfob: $1: .*$3"
	like "$1: in the status" "$(keyfob status --json "$1")" "$3"
}
refused wrong-secret 5 'answered 401 invalid_client: .*secret is another.*; the client id or its secret or key is not accepted'
refused wrong-key 5 'answered 401 invalid_client: .*signed with another key'
refused wrong-resource 5 'answered 400 invalid_target: .*; the provider does not know the resource'
refused wrong-scope 5 'answered 400 invalid_scope: .*check scope='
refused wrong-issuer 5 'discovery names the issuer .*, and issuer= says otherwise'
refused plain-http 5 'must be an https:// URL'
refused k8s-half 8 'holds no JWT, or not the whole of it'
refused k8s-expired 8 'expired [0-9]+ s ago; is the kubelet running'
refused k8s-legacy 5 'a legacy token without an expiry'
refused k8s-missing 8 'is not there; '
refused k8s-audience 5 'is for file, not for the resource orders; set audience in the pod'
refused half-file 8 'holds no usable JSON: '
refused other-member 5 'has no text in the member auth.token; check json_field='
refused old-file 8 'expired [0-9]+ s ago; is what writes it still running'
refused missing-file 8 'is not there; '
refused empty-file 8 'is empty; it may be just being written'
refused closed-file 5 'may not be read by the user of this fetch'
refused docker-none 5 'reports a failure: credentials not found in native keychain'

# fails FAULT EXIT PATTERN: the same with a provider that has it; the broker would wait before it asks that one again
fails() {
	no_faults
	fault "path=oauth2&$1"
	exits "fault $1: exit $2" "$2" keyfob try faulty
	like "fault $1: in words" "$OUT$ERR" "$3"
	unlike "fault $1: no part of a token or secret" "$OUT$ERR" "eyJ|secret-0123|cret%2"
}
fails 'status=429&retry_after=7' 8 'answered 429'
fails 'status=500' 8 'answered 500 server_error'
fails 'status=404' 5 'there is no token endpoint'
fails 'html=1' 8 'captive portal'
fails 'redirect=http://127.0.0.1:1/' 8 'a redirect is never followed'
fails 'truncate=1' 8 'broke off'
fails 'size=2097152' 8 'longer than 64 KiB'
fails 'drip_ms=1000' 8 'no whole answer'
fails 'body=%7B%22access_token%22%3A%22eyJabc' 8 'no usable JSON'
fails 'body=%7B%22token_type%22%3A%22Bearer%22%7D' 8 'no access_token'
fails 'body=you+sent+p%2Be+r%26c%3De%25n/t~+secret-0123456789&status=400' 5 'hidden: it repeats secret_file'
fails 'expires=absent' 5 'names no expiry: set ttl='
fails 'lifetime=-10' 5 'expired'
fails 'opaque=1&expires=0' 5 'expired'
fails 'opaque=1&expires=null' 5 'names no expiry: set ttl='
no_faults
for spelling in '%223600%22' 3600 null -1; do
	fault "path=oauth2&expires=$spelling&count=1"
	check "expires_in $spelling: a JWT's own word stands" keyfob try faulty
done

# --- nothing is told ---------------------------------------------------------------------
for secret_part in $tokens "$secret" another-secret opaque-file opaque-root docker-token git-token google-token v1-token az-token "$file_token" \
	"$(sed -n 2p "$DIR/etc/rsa.pem")" "$(sed -n 2p "$DIR/etc/ec.pem")"; do
	if grep -qF -- "$secret_part" "$LOG" || keyfob status --json | grep -qF -- "$secret_part"; then told="${told:-}$secret_part "; fi
done
is "no token and no secret is in the log or the status" "${told:-none}" none
finish
