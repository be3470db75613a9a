#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Logins at a real sshd: a short token at its password prompt, a database user who was removed and still has his public
# key, and sessions in which the user's tokens are at hand.
. "$(dirname "$0")/accept.inc"
[ -x "$SSHD" ] || { echo "1..0 # SKIP no sshd: make deps"; exit 0; }
private_run sshd || { echo "Bail out! no /run of its own"; exit 1; }

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
mint() {
	"$HELPERS/mint" "$@"
}
# token NAME [OPTION...]: Alice's
token() {
	local name=$1
	shift
	mint token --key "$DIR/keys/p256.pem" --kid p256 --alg ES256 --life 3600 \
		--claims '{"iss":"https://idp.corp.example","aud":"logins","sub":"7d2f-alice"}' "$@" >"$DIR/tokens/$name"
}
mkdir -m 0700 "$DIR/tokens"
mint keys "$DIR/keys" && chmod 0700 "$DIR/keys"
install -m 0644 "$DIR/keys/jwks.json" "$DIR/etc/corp.jwks"
token good
token expired --life -10
token tampered --spoil signature
token long --length 1600
printf 'the-token-of-atlas' >"$DIR/etc/atlas.token"

# configuration [USER]: with her as a database user, unless told "none"
configuration() {
	cat <<-EOI
		[credential atlas]
		provider = file path=$DIR/etc/atlas.token ttl=1h
		allow = user:$alice

		[identity-provider corp]
		issuer = https://idp.corp.example
		audience = logins
		authorization_type = user
		jwks_file = $DIR/etc/corp.jwks

		[organization acme]
		services = ssh
		identity_providers = corp
	EOI
	[ "${1:-}" = none ] || printf '\n[database-user alice]\nservice = ssh\nidentity_provider = corp\nuser_id = 7d2f-alice\nlogin = %s\n' "$alice"
}
configuration | configure
start_broker
start_verifier

# --- sshd -----------------------------------------------------------------------------
cat >/etc/pam.d/sshd <<EOF2
auth required $MODULE verify service=ssh socket=$KEYFOB_VERIFY_SOCKET
account required $MODULE verify service=ssh socket=$KEYFOB_VERIFY_SOCKET
session optional pam_keyinit.so force revoke
session required $MODULE broker=$KEYFOB_SOCKET credential=atlas
EOF2
make_sshd "$alice" "$bob"
# The password prompt is answered by a program, as by a password manager.
cat >"$DIR/ssh/askpass" <<EOF2
#!/bin/sh
cat "\$TOKEN_FILE"
EOF2
chmod 0755 "$DIR/ssh/askpass"
# by_token TOKEN COMMAND...: keyboard-interactive, as Alice
by_token() {
	local file=$DIR/tokens/$1
	shift
	TOKEN_FILE=$file SSH_ASKPASS=$DIR/ssh/askpass SSH_ASKPASS_REQUIRE=force client -o PreferredAuthentications=keyboard-interactive \
		"$alice@127.0.0.1" "$@" 2>"$DIR/out/client" || refusal
}
# by_key USER COMMAND...
by_key() {
	local user=$1
	shift
	client -o PreferredAuthentications=publickey -i "$DIR/ssh/id" "$user@127.0.0.1" "$@" 2>"$DIR/out/client" || refusal
}
# ssh has its own words for it.
refusal() {
	sed 's/.*Permission denied.*/authentication failed/; s/^Connection closed by 127.0.0.1.*/authentication failed/' "$DIR/out/client" >&2
	return 1
}
logs() {
	until_true 5 grep -qE -- "$1" "$SYSLOG"
}
forget() {
	: >"$SYSLOG"
}

# --- a token at the prompt ---------------------------------------------------------------
size=$(wc -c <"$DIR/tokens/good")
[ "$size" -le 1023 ] && pass "a short token has $size bytes" || fail "a short token has $size bytes"
valid "a good token opens a login" by_token good id -un
is "which is Alice's" "$OUT" "$alice"
check "the audit log names the service" logged "event=verdict result=accepted service=\"ssh\" login=\"$alice\""
forget
invalid "refused: an expired one" EXPIRED by_token expired true
check "root is told why" logs "pam_keyfob\(sshd:auth\): service \"ssh\", login \"$alice\": EXPIRED"
invalid "refused: one with another signature" SIGNATURE by_token tampered true
forget
invalid "refused: one that the client cut" "" by_token long true
check "cut is what it is called" logs 'TOKEN_TRUNCATED: the token ends in the middle, at 1023 bytes: ssh'

# --- a public key ---------------------------------------------------------------------------
valid "a public key does for a database user" by_key "$alice" id -un
is "she is Alice" "$OUT" "$alice"
forget
invalid "not for another user of the host" "" by_key "$bob" true
check "the account phase stops him" logs "pam_keyfob\(sshd:account\): service \"ssh\" has no database user with the login \"$bob\""

# --- what the session has ----------------------------------------------------------------------
valid "a login by key finds the tokens in its keyring" by_key "$alice" keyctl show @s
session=$OUT
like "the ring that the broker keeps" "$session" 'keyring: keyfob$'
like "and the token in it" "$session" 'user: keyfob:atlas'
unlike "nobody else's" "$session" '_persistent.0$'
valid "the same for a login by token" by_token good keyctl show @s
like "it is there" "$OUT" 'user: keyfob:atlas'
[ "$(printf '%s\n' "$session" | sed -n 2p | awk '{ print $1 }')" != "$(printf '%s\n' "$OUT" | sed -n 2p | awk '{ print $1 }')" ] &&
	pass "each login has a session keyring of its own" || fail "each login has a session keyring of its own" "$session" "$OUT"
valid "keyctl reads it with no further ado" by_key "$alice" keyctl pipe %user:keyfob:atlas
is "it is the token" "$OUT" the-token-of-atlas
library="env LD_LIBRARY_PATH=$LD_LIBRARY_PATH KEYFOB_SOCKET=$KEYFOB_SOCKET"
valid "so does a program with libkeyfob" by_key "$alice" "$library $HELPERS/reader atlas"
is "the same" "$OUT" the-token-of-atlas

# --- what outlives it -----------------------------------------------------------------------------
# A job goes on after its login has ended and its session keyring was revoked, and after the broker is gone.
own_dir "$alice" job
valid "a login leaves a job behind" by_key "$alice" "nohup setsid sh -c 'until test -e $DIR/out/go; do sleep 0.1; done
	$library $HELPERS/reader atlas >$DIR/job/new 2>&1; mv $DIR/job/new $DIR/job/done' >/dev/null 2>&1 &
	echo \$(keyctl describe @s | cut -d: -f1)"
stop_broker
touch "$DIR/out/go"
until_true 10 test -e "$DIR/job/done"
is "which has its token still" "$(cat "$DIR/job/done")" the-token-of-atlas
valid "without a broker logins go on" by_key "$alice" keyctl pipe %user:keyfob:atlas
is "with the token that is there" "$OUT" the-token-of-atlas
start_broker

# --- she is removed ------------------------------------------------------------------------------------
configuration none | configure
kill -HUP "$VERIFIER"
check "the verifier has read it" until_true 5 sh -c "! keyfob verify --service ssh --login $alice - <$DIR/tokens/good"
forget
invalid "a user who was removed is stopped, even with a public key" "" by_key "$alice" true
check "by the account phase" logs "pam_keyfob\(sshd:account\): service \"ssh\" has no database user with the login \"$alice\""
invalid "and with a token" LOGIN_UNKNOWN by_token good true
stop_verifier
forget
invalid "without a verifier nobody logs in by key" "" by_key "$alice" true
check "and the reason is told" logs 'no verdict: cannot reach the verifier'
unlike "no token is in any log" "$(cat "$SYSLOG" "$LOG" "$DIR/out/sshd")" "$(cut -d. -f3 "$DIR/tokens/good" | cut -c1-20)"

hold_over
finish
