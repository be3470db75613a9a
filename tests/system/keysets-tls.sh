#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The way to a key set: which public keys its servers may have (pin), which TLS they must speak, and through which proxy it goes.
. "$(dirname "$0")/lib.sh"

start_emulator
"$HELPERS/trap-listener" "$DIR/out/trap-port" "$DIR/out/caught" &
PIDS="$PIDS $!"
until_true 10 test -s "$DIR/out/trap-port" || { echo "Bail out! no trap"; exit 1; }
TRAP=http://127.0.0.1:$(cat "$DIR/out/trap-port")

# --- servers, each with a key of its own ------------------------------------------------------------
declare -A FRONT PIN
# front NAME [VERSION]: FRONT[NAME] is where it is, PIN[NAME] its public key
front() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/out/$1.key" -out "$DIR/etc/$1.pem" -days 2 \
		-subj /CN=localhost -addext subjectAltName=DNS:localhost >"$DIR/out/openssl.log" 2>&1 || return 1
	chmod 0644 "$DIR/etc/$1.pem"
	"$HELPERS/tls-front" "$DIR/out/$1.port" "$DIR/etc/$1.pem" "$DIR/out/$1.key" "$PORT" ${2:+"$2"} >"$DIR/out/$1.log" 2>&1 &
	PIDS="$PIDS $!"
	until_true 20 test -s "$DIR/out/$1.port" || return 1
	FRONT[$1]=https://localhost:$(cat "$DIR/out/$1.port")
	PIN[$1]=sha256//$(openssl x509 -in "$DIR/etc/$1.pem" -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64)
}
front document && front keys && front old 1.1 && front new 1.2 || { echo "Bail out! no front"; sed 's/^/# /' "$DIR/out/openssl.log"; exit 1; }
cat "$DIR/etc/"{document,keys,old,new}.pem >"$DIR/etc/all.pem"
chmod 0644 "$DIR/etc/all.pem"

# provider NAME KEY VALUE...
provider() {
	printf '[identity-provider %s]\naudience = for-%s\nauthorization_type = user\n' "$1" "$1"
	shift
	while [ $# -gt 0 ]; do
		printf '%s = %s\n' "$1" "$2"
		shift 2
	done
}
trusted="ca_file $DIR/etc/all.pem"
# by_uri NAME KEY VALUE...: its set is at the front keys
by_uri() {
	local name=$1
	shift
	# shellcheck disable=SC2086
	provider "$name" issuer "https://$name.example.com" jwks_uri "${FRONT[keys]}/jwks" "$@"
}
# found NAME KEY VALUE...: its document is at the front document, its set where that says
found() {
	local name=$1
	shift
	provider "$name" issuer "${FRONT[document]}" discovery_url "${FRONT[document]}/.well-known/openid-configuration" "$@"
}
wrong=sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
{
	# shellcheck disable=SC2086
	{
		by_uri right $trusted pin "${PIN[keys]}"
		by_uri one-of-two $trusted pin "$wrong;${PIN[keys]}"
		by_uri wrong $trusted pin "$wrong"
		by_uri untrusted pin "${PIN[keys]}"
		found both $trusted pin "${PIN[keys]};${PIN[document]}"
		found document-only $trusted pin "${PIN[document]}"
		found keys-only $trusted pin "${PIN[keys]}"
		provider old issuer https://old.example.com jwks_uri "${FRONT[old]}/jwks" $trusted
		provider new issuer https://new.example.com jwks_uri "${FRONT[new]}/jwks" $trusted
		by_uri here $trusted proxy "$TRAP"
	}
	provider proxied issuer https://login.example.invalid proxy "$TRAP"
	provider proxied-keys issuer https://other.example.invalid jwks_uri https://keys.example.invalid:8443/jwks proxy "$TRAP"
} | configure
exits "the configuration is good" 0 keyfobd --check --config "$CONFIG"
start_broker

ask() {
	"$HELPERS/ask-keyset" "$@"
}
# refused NAME PATTERN: a fault of the configuration, and told as one
refused() {
	exits "$1: no set" 5 ask "$1"
	like "$1: why" "$ERR" "$2"
	check "$1: in the log" logged "identity_provider=$1 event=keyset-failed class=config text=\".*$2"
}

# --- pins -------------------------------------------------------------------------------------------
for name in right one-of-two; do
	exits "$name: a set is fetched" 0 ask "$name"
	like "$name: it is one" "$OUT" '"keys"'
done
asked=$(requests jwks)
refused wrong 'the key set: the public key of https://localhost:[0-9]+ is not one that pin= names'
refused untrusted 'TLS with https://localhost:[0-9]+ failed .*ca_file='
is "neither server was sent a request" "$(requests jwks)" "$asked"

# In a document of the front's own: where the set is.
discovery() {
	fault "path=openid&body=%7B%22issuer%22:%22${FRONT[document]}%22,%22jwks_uri%22:%22$1%22%7D"
}
check "discovery leads to the other server" discovery "${FRONT[keys]}/jwks"
exits "both: a set is fetched" 0 ask both
like "both: it is one" "$OUT" '"keys"'
asked=$(requests jwks)
refused document-only "the key set: the public key of ${FRONT[keys]} is not one"
refused keys-only "discovery: the public key of ${FRONT[document]} is not one"
check "discovery leads to plain http" discovery "$CLOUD/jwks"
refused both 'the key set: pin= is for https, and this is not'
is "no set was asked for" "$(requests jwks)" "$asked"
no_faults

# --- versions of TLS ----------------------------------------------------------------------------------
exits "new: a set is fetched by TLS 1.2" 0 ask new
check "old: who takes TLS 1.1 gets it there" curl -sS -f -m 10 --tlsv1.0 --tls-max 1.1 --ciphers ALL:@SECLEVEL=0 --cacert "$DIR/etc/old.pem" \
	-o /dev/null "${FRONT[old]}/jwks"
asked=$(requests jwks)
refused old 'the key set: TLS with https://localhost:[0-9]+ failed'
is "old: no request was sent" "$(requests jwks)" "$asked"

# --- proxies --------------------------------------------------------------------------------------------
exits "here: what is on this host is asked directly" 0 ask here
is "here: without the proxy" "$(cat "$DIR/out/caught")" ''
check_not "proxied: no set comes from a trap" ask proxied
like "proxied: the document was to be had through it" "$(cat "$DIR/out/caught")" 'CONNECT login\.example\.invalid:443 HTTP'
check_not "proxied-keys: nor here" ask proxied-keys
like "proxied-keys: the set was to be had through it" "$(cat "$DIR/out/caught")" 'CONNECT keys\.example\.invalid:8443 HTTP'
finish
