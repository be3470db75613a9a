#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Token endpoints that speak https: which certificates are trusted, what the others read like, and that a secret goes to no peer that is not.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
start_emulator
tenant=11111111-2222-3333-4444-555555555555
secret=the-secret-0123456789abcdef
(umask 077; printf '%s\n' "$secret" >"$DIR/etc/secret")
curl -sS -f -d client_id=orders -d "secret=$secret" "$CLOUD/emulator/clients" >/dev/null &&
	curl -sS -f -d client_id=orders -d "tenant=$tenant" -d "secret=$secret" "$CLOUD/emulator/entra-apps" >/dev/null ||
	{ echo "Bail out! no client"; exit 1; }

# --- an authority and its certificates --------------------------------------------------------------
mkdir -m 0700 "$DIR/tls"
cat >"$DIR/tls/ca.conf" <<CONF
[ca]
default_ca = own
[own]
new_certs_dir = $DIR/tls
database = $DIR/tls/index
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
CONF
: >"$DIR/tls/index"
new_key() {
	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$DIR/tls/$1.key"
}
authority() { # NAME
	new_key "$1" && openssl req -x509 -new -key "$DIR/tls/$1.key" -subj "/CN=$1" -days 30 -out "$DIR/etc/$1.pem" \
		-addext basicConstraints=critical,CA:TRUE && chmod 0644 "$DIR/etc/$1.pem"
}
# Not openssl x509: only ca makes one of the past with every version.
certificate() { # NAME HOST START END
	new_key "$1" && openssl req -new -key "$DIR/tls/$1.key" -subj "/CN=$2" -out "$DIR/tls/$1.csr" &&
		printf 'subjectAltName = DNS:%s\nbasicConstraints = CA:FALSE\n' "$2" >"$DIR/tls/$1.ext" &&
		openssl ca -batch -notext -config "$DIR/tls/ca.conf" -cert "$DIR/etc/authority.pem" -keyfile "$DIR/tls/authority.key" \
			-in "$DIR/tls/$1.csr" -extfile "$DIR/tls/$1.ext" -startdate "$3" -enddate "$4" -out "$DIR/tls/$1.pem"
}
stamp() {
	date -u -d "$1" +%Y%m%d%H%M%SZ
}
{
	authority authority && authority stranger &&
		certificate right localhost "$(stamp -1day)" "$(stamp +1day)" &&
		certificate name login.example.com "$(stamp -1day)" "$(stamp +1day)" &&
		certificate expired localhost "$(stamp -9days)" "$(stamp -1day)" &&
		certificate future localhost "$(stamp +1day)" "$(stamp +9days)" &&
		new_key self && openssl req -x509 -new -key "$DIR/tls/self.key" -subj /CN=localhost -days 30 \
			-addext subjectAltName=DNS:localhost -out "$DIR/tls/self.pem"
} >"$DIR/out/openssl.log" 2>&1 || { echo "Bail out! no certificates"; sed 's/^/# /' "$DIR/out/openssl.log"; exit 1; }
install -m 0644 "$DIR/tls/self.pem" "$DIR/etc/self.pem"
printf 'no certificate\n' >"$DIR/etc/junk.pem"
chmod 0644 "$DIR/etc/junk.pem"

# Each certificate has a front of its own.
declare -A FRONT
for name in right name expired future self; do
	"$HELPERS/tls-front" "$DIR/out/front-$name" "$DIR/tls/$name.pem" "$DIR/tls/$name.key" "$PORT" >"$DIR/out/front-$name.log" 2>&1 &
	PIDS="$PIDS $!"
done
for name in right name expired future self; do
	until_true 20 test -s "$DIR/out/front-$name" || { echo "Bail out! no front with the certificate $name"; exit 1; }
	FRONT[$name]=$(cat "$DIR/out/front-$name")
done
"$HELPERS/trap-listener" "$DIR/out/trap-port" "$DIR/out/caught" &
PIDS="$PIDS $!"
until_true 10 test -s "$DIR/out/trap-port" || { echo "Bail out! no trap"; exit 1; }
TRAP=https://localhost:$(cat "$DIR/out/trap-port")

# --- the credentials -----------------------------------------------------------------------------------
{
	# both NAME ORIGIN [OPTION...]: one of each module
	both() {
		local name=$1 origin=$2
		shift 2
		printf '[credential oauth2-%s]\nallow = user:%s\nrefresh = on-demand\nresource = https://orders.example\n' "$name" "$alice"
		printf 'provider = oauth2 token_endpoint=%s/oauth2/token client_id=orders secret_file=%s %s\n\n' "$origin" "$DIR/etc/secret" "$*"
		printf '[credential azure-%s]\nallow = user:%s\nrefresh = on-demand\nresource = https://orders.example\n' "$name" "$alice"
		printf 'provider = azure source=secret tenant=%s client_id=orders endpoint=%s secret_file=%s %s\n\n' "$tenant" "$origin" "$DIR/etc/secret" "$*"
	}
	ours=ca_file=$DIR/etc/authority.pem
	both right "https://localhost:${FRONT[right]}" "$ours"
	both self-trusted "https://localhost:${FRONT[self]}" "ca_file=$DIR/etc/self.pem"
	both name "https://localhost:${FRONT[name]}" "$ours"
	both address "https://127.0.0.1:${FRONT[right]}" "$ours"
	both unknown "https://localhost:${FRONT[right]}"
	both stranger "https://localhost:${FRONT[right]}" "ca_file=$DIR/etc/stranger.pem"
	both self "https://localhost:${FRONT[self]}" "$ours"
	both expired "https://localhost:${FRONT[expired]}" "$ours"
	both future "https://localhost:${FRONT[future]}" "$ours"
	both junk "https://localhost:${FRONT[right]}" "ca_file=$DIR/etc/junk.pem"
	both missing "https://localhost:${FRONT[right]}" "ca_file=$DIR/etc/missing.pem"
	both plain-server "https://localhost:$PORT" "$ours"
	both plain-client "http://localhost:${FRONT[right]}"
	both redirect "$CLOUD" "$ours"
} | configure
start_broker

# asked: requests for tokens that came through so far
asked() {
	curl -sS "$CLOUD/emulator/counters" | jq '.oauth2.requests + .entra.requests'
}
# said CREDENTIAL COMMAND...: what it said is kept, to look for secrets in it
said() {
	"$@" >"$DIR/out/stdout" 2>"$DIR/out/stderr"
	local code=$?
	cat "$DIR/out/stdout" "$DIR/out/stderr" >>"$DIR/out/said"
	OUT=$(cat "$DIR/out/stdout") ERR=$(cat "$DIR/out/stderr")
	return "$code"
}

# --- trusted --------------------------------------------------------------------------------------------
for credential in oauth2-right azure-right oauth2-self-trusted azure-self-trusted; do
	exits "$credential: a token" 0 as "$alice" keyfob get "$credential"
	like "$credential: it is one" "$OUT" '^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$'
	said keyfob try "$credential"
	is "$credential: one try does it" $? 0
	like "$credential: by https" "$OUT" 'POST https://localhost:[0-9]+/'
done
before=$(asked)
is "each of them was asked for through the front, and once more to try" "$before" 8

# --- not trusted ----------------------------------------------------------------------------------------
# refused NAME CODE PATTERN: so say get, as the user, and try
refused() {
	local module
	for module in oauth2 azure; do
		exits "$module-$1: get ends with $2" "$2" as "$alice" keyfob get "$module-$1"
		like "$module-$1: and says: $3" "$ERR" "$3"
		said keyfob try "$module-$1"
		is "$module-$1: try ends with $2" $? "$2"
		like "$module-$1: and says the same" "$OUT $ERR" "$3"
	done
}
tls='TLS with https://localhost:[0-9]+ failed \(.+\); .*ca_file= '
refused name 5 "$tls"
refused address 5 'TLS with https://127\.0\.0\.1:[0-9]+ failed \(.+\); check the name'
refused unknown 5 "$tls"
refused stranger 5 "$tls"
refused self 5 "$tls"
refused expired 5 "$tls"
refused future 5 "$tls"
refused junk 5 "$tls"
refused missing 5 "$tls"
refused plain-server 5 "$tls"
is "none of those got as far as a request" "$(asked)" "$before"
# No get here: it would try again for as long as its caller waits.
for module in oauth2 azure; do
	said keyfob try "$module-plain-client"
	is "$module: plain http to a TLS port is of no use" $? 8
	like "$module: and says so" "$OUT" 'the answer of http://localhost:[0-9]+ broke off'
done
is "nor did plain http" "$(asked)" "$before"

# --- elsewhere ------------------------------------------------------------------------------------------
for path in oauth2 entra; do fault "path=$path&redirect=$TRAP/token"; done
refused redirect 8 'answered 30[0-9].*a redirect is never followed'
is "a redirect to https is not followed" "$(cat "$DIR/out/caught")" ''
no_faults
check "the trap works" sh -c "curl -sS -m 5 $TRAP/ 2>/dev/null; grep -q connection $DIR/out/caught"

# --- secrets --------------------------------------------------------------------------------------------
basic=$(printf 'orders:%s' "$secret" | base64 -w0)
check "there is something to look in" test -s "$DIR/out/said" -a -s "$LOG"
for place in "$DIR/out/said" "$LOG"; do
	check_not "no secret in ${place##*/}" grep -qF -e "$secret" -e "$basic" "$place"
	check_not "no token in ${place##*/}" grep -qE -e 'eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.' "$place"
done
finish
