#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# pam_keyfob.so in PAM's own test application: logins that the real verifier judges, tokens handed on, and sessions that
# find the user's tokens in the real keyring.
. "$(dirname "$0")/accept.inc"
command -v pamtester >/dev/null || { echo "1..0 # SKIP no pamtester: make deps"; exit 0; }
PROBE=$KEYFOB_PREFIX/tree/tests/modules/pam-probe.so

# /run/keyfob is this test's own.
private_run || { echo "Bail out! no /run of its own"; exit 1; }

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
new_group "$alice"; team=$GROUP_NAME
mint() {
	"$HELPERS/mint" "$@"
}
# token NAME [OPTION...]: Alice's, short enough for PAM's own prompt
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
token tampered --spoil claims
mint token --key "$DIR/keys/p256.pem" --kid p256 --alg ES256 --life 3600 \
	--claims '{"iss":"https://idp.corp.example","aud":"logins","sub":"somebody-else"}' >"$DIR/tokens/another"
token long --length 6000
printf 'the-token-of-the-team' >"$DIR/etc/team.token"

# accept_half [CONNECTED [USER]]: whether the provider is connected, and whose the login is
accept_half() {
	cat <<-EOI
		[identity-provider corp]
		issuer = https://idp.corp.example
		audience = logins
		authorization_type = user
		jwks_file = $DIR/etc/corp.jwks

		[organization acme]
		services = $([ "${1:-yes}" = yes ] && echo hosts || echo other)
		identity_providers = corp
	EOI
	if [ "${2:-yes}" = yes ]; then
		# Of a provider that is not connected there can be no database user.
		printf '\n[database-user alice]\nservice = %s\nidentity_provider = corp\nuser_id = 7d2f-alice\nlogin = %s\n' \
			"$([ "${1:-yes}" = yes ] && echo hosts || echo other)" "$alice"
	fi
}
present_half() {
	cat <<-EOI
		[credential atlas]
		provider = file path=$DIR/etc/team.token ttl=1h
		allow = user:$alice

		[credential team]
		provider = file path=$DIR/etc/team.token ttl=1h
		allow = group:$team

		[credential private]
		provider = file path=$DIR/etc/team.token ttl=1h
		allow = user:$bob
	EOI
}
{ present_half; echo; accept_half; } | configure
start_broker
start_verifier

# pam NAME: its service file from stdin; MODULE, PROBE, VERIFIER and BROKER stand for what they say
pam() {
	sed -e "s|MODULE|$MODULE|g; s|PROBE|$PROBE|g; s|VERIFIER|socket=$KEYFOB_VERIFY_SOCKET|g; s|BROKER|broker=$KEYFOB_SOCKET|g" >"/etc/pam.d/$1"
}
# login TOKEN [OPERATION...]: Alice's, from stdin as from a pipe; TOKEN names one above, or is what she types
login() {
	local file=$DIR/tokens/$1
	shift
	pamtester hosts "$alice" "${@:-authenticate}" <"$file" 2>"$DIR/out/pamtester" && return
	# As the servers' clients say it.
	sed 's/.*pamtester: Authentication .*/authentication failed/' "$DIR/out/pamtester" >&2
	return 1
}
# logs PATTERN: the module's, since the last forget
logs() {
	until_true 5 grep -qE -- "$1" "$SYSLOG"
}
forget() {
	: >"$SYSLOG"
}

# --- logins ------------------------------------------------------------------------------
pam hosts <<'EOF2'
auth required MODULE verify service=hosts VERIFIER
account required MODULE verify service=hosts VERIFIER
EOF2
forget
valid "a good token is accepted" login good authenticate acct_mgmt
is "without a word in the log" "$(grep -c keyfob "$SYSLOG")" 0
invalid "refused: an expired one" EXPIRED login expired
check "root is told why" logs "notice .*pam_keyfob\(hosts:auth\): service \"hosts\", login \"$alice\": EXPIRED"
invalid "refused: another claim under the signature" SIGNATURE login tampered
invalid "refused: another one's" USER_NOT_ADDED login another
forget
invalid "refused: one that PAM's prompt cut" "" login long
check "cut is what it is called" logs 'TOKEN_TRUNCATED: the token ends in the middle, at 4095 bytes: terminals'
printf '' >"$DIR/tokens/empty"
forget
invalid "refused: none" "" login empty
check_not "which is no incident" grep -q keyfob "$SYSLOG"
unlike "no token is in the log" "$(cat "$SYSLOG" "$LOG")" "$(cut -d. -f3 "$DIR/tokens/good" | cut -c1-20)"

# --- a verifier that is killed -------------------------------------------------------------
# killed_during TOKEN: the verifier holds the request and is killed; another one takes its place at once. RESULT
killed_during() {
	kill -STOP "$VERIFIER"
	(login "$1" >/dev/null 2>&1; echo $? >"$DIR/out/result") &
	PIDS="$PIDS $!"
	local client=$!
	sleep 0.3
	stop_verifier KILL
	start_verifier
	wait "$client"
	RESULT=$(cat "$DIR/out/result")
}
begin=$(date +%s%N)
killed_during tampered
[ "$RESULT" != 0 ] && pass "killed during a login with a bad token: it is not accepted" || fail "killed during a login with a bad token: it is not accepted"
killed_during good
case $RESULT in
0) pass "killed during a good one: accepted at the second try, or refused" ;;
*) check "killed during a good one: accepted at the second try, or refused" logs 'no verdict' ;;
esac
stop_verifier
forget
check_not "without a verifier nobody is let in" login good
check "and the reason is told" logs 'no verdict: cannot reach the verifier'
check_not "nor by the account phase" login empty acct_mgmt
start_verifier
kill -STOP "$VERIFIER"
begin=$(date +%s%N)
check_not "nor with one that hangs" login good
took=$((($(date +%s%N) - begin) / 1000000))
kill -CONT "$VERIFIER"
[ "$took" -lt 8000 ] && pass "and that is known soon" || fail "and that is known soon" "$took ms"
valid "afterwards all is well" login good authenticate acct_mgmt

# --- who was removed -------------------------------------------------------------------------
reload_with() {
	{ present_half; echo; accept_half "$@"; } | configure
	kill -HUP "$VERIFIER"
	sleep 0.2
}
accounted() {
	pamtester hosts "$alice" acct_mgmt
}
check "a database user's account" accounted
reload_with yes no
forget
check "one who is none any more is unknown" until_true 5 sh -c "pamtester hosts $alice acct_mgmt 2>&1 | grep -q 'User not known'"
check "the log says so" logs 'service "hosts" has no database user with the login'
reload_with no yes
check_not "nor is one whose provider is not connected" accounted
reload_with
check "added again he is known" until_true 5 pamtester hosts "$alice" acct_mgmt

# --- a token is handed on ----------------------------------------------------------------------
pam apps <<EOF2
auth requisite PROBE ask
auth required MODULE retrieve credential=atlas BROKER
auth required PROBE show=$DIR/out/shown
EOF2
handed() {
	rm -f "$DIR/out/shown"
	echo password | pamtester apps "$1" authenticate
}
check "a user's own token is handed on" handed "$alice"
is "it is the one" "$(cat "$DIR/out/shown")" the-token-of-the-team
check_not "not to one who may not have it" handed "$bob"
check "which the log tells" logs "retrieve: atlas for uid $(id -u "$bob"): no allow line names this user"
check_not "nor root's" handed root
# The host's own token, good as it is, lets nobody in.
token host; install -m 0644 "$DIR/tokens/host" "$DIR/etc/host.jwt"
printf '\n[credential host]\nprovider = file path=%s\nallow = user:%s\n' "$DIR/etc/host.jwt" "$alice" >>"$CONFIG"
check "a credential that the verifier would accept" keyfob reload
is "it would" "$(keyfob verify --service hosts --login "$alice" - <"$DIR/etc/host.jwt" >/dev/null 2>&1; echo $?)" 0
pam trap <<'EOF2'
auth optional PROBE ask result=7
auth optional MODULE retrieve credential=host BROKER
auth required MODULE verify service=hosts VERIFIER
EOF2
forget
check_not "retrieve and then verify is not a login" sh -c "echo x | pamtester trap $alice authenticate"
check "the log says what is wrong" logs 'verify must stand before it'
pam trap <<'EOF2'
auth sufficient MODULE retrieve credential=host BROKER
auth required pam_deny.so
EOF2
check_not "nor is retrieve alone" sh -c "echo x | pamtester trap $alice authenticate"

# --- sessions ----------------------------------------------------------------------------------------
# What a program of the session finds, and as whom the application goes on.
cat >"$DIR/show" <<EOF2
#!/bin/sh
keyctl show @s >$DIR/out/session
env >$DIR/out/environment
id -u >$DIR/out/id
id -G >>$DIR/out/id
EOF2
chmod 0755 "$DIR/show"
# session_file NAME LINE...: those, and then what is seen
session_file() {
	local name=$1
	shift
	{ printf 'session %s\n' "$@"; echo "session required pam_exec.so $DIR/show"; } | pam "$name"
}
# opens USER [OPERATION...]: the session of service hosts
opens() {
	local user=$1
	shift
	rm -f "$DIR/out/session" "$DIR/out/environment"
	forget
	pamtester hosts "$user" "${@:-open_session}"
}
session() {
	cat "$DIR/out/session"
}
charged() {
	awk -v uid="$(id -u "$1"):" '$1 == uid { split($4, k, "/"); print k[1] }' /proc/key-users
}

session_file hosts 'optional pam_keyinit.so force revoke' 'required MODULE BROKER credential=atlas credential=team credential=private'
check "a session opens, with no auth phase before it" opens "$alice"
like "the user's tokens are in its keyring" "$(session)" 'user: keyfob:atlas'
like "in the ring that the broker keeps for him" "$(session)" 'keyring: keyfob$'
like "so is what he may have through a group: it was fetched in his name" "$(session)" 'user: keyfob:team'
unlike "what he may not have is not there" "$(session)" 'keyfob:private'
check_not "nor was it asked for" logged "credential=private .*event=denied"
like "the persistent keyring is his" "$(session)" "$(id -u "$alice") .*keyring: _persistent.$(id -u "$alice")"
team_key() {
	keyctl search "$(persistent "$alice")" user keyfob:team
}
key=$(team_key)
check "it closes" opens "$alice" open_session close_session
check "tokens stay for what runs on" keyctl describe "$key"
is "the keys are the same" "$(team_key)" "$key"
# A shell would clear the mask.
echo "session required pam_exec.so log=$DIR/out/signals /bin/grep ^SigBlk /proc/self/status" >>/etc/pam.d/hosts
setpriv --groups 5,6 pamtester hosts "$alice" open_session >/dev/null 2>&1
is "the application goes on as it was: root, with its groups" "$(tr '\n' ' ' <"$DIR/out/id")" "0 0 5 6 "
like "and its signals" "$(cat "$DIR/out/signals")" '^SigBlk:.0{16}$'
check_not "of one who does not exist" opens keyfob-nobody

# --- whose session it is -----------------------------------------------------------------------------
session_file hosts 'required MODULE BROKER'
forget
check_not "without pam_keyinit there is no link" opens "$alice"
check "the log says what is missing" logs 'put pam_keyinit.so force revoke before this module'
# As with sudo: root's process in a session keyring of Bob's, opening a session for Alice, or for root.
in_bobs() {
	"$HELPERS/sudo-like" "$(id -u "$bob")" atlas "$@"
}
check_not "nothing is linked into another one's session" in_bobs pamtester hosts "$alice" open_session
session_file hosts 'optional MODULE BROKER'
check "where it is optional the session opens" in_bobs pamtester hosts "$alice" open_session
unlike "and nothing was linked" "$(session)" "_persistent.$(id -u "$alice")"
check "root's session opens" in_bobs pamtester hosts root open_session
# sudo-like has planted a ring of that name, which is Bob's.
unlike "root's own is not linked into a user's session" "$(session)" ' 0 +[0-9]+ .*_persistent.0'
# The one that all of a user's processes share when nobody made another is known by its name.
in_named() {
	in_session_of "$@" | grep -qF "_persistent.$(id -u "$alice")"
}
in_session_of() {
	keyctl session "$1" sh -c "keyctl chown @s $(id -u "$alice"); pamtester hosts $alice open_session >/dev/null; keyctl show @s" 2>/dev/null
}
check "a session keyring that is the user's is linked to" in_named own
check_not "the default one is not" in_named "_uid_ses.$(id -u "$alice")"
session_file hosts 'optional pam_keyinit.so force revoke' 'required MODULE BROKER'
check "root's, with a keyring of its own" opens root
unlike "nothing is linked: it might be a daemon's" "$(session)" '_persistent'

pam hosts <<'EOF2'
session optional pam_keyinit.so force revoke
session required MODULE BROKER credential=atlas
EOF2
check "an application that is not root opens a session of its own user" as "$alice" pamtester hosts "$alice" open_session
check_not "and of nobody else" as "$alice" pamtester hosts "$bob" open_session

# --- what costs nothing, and what may fail --------------------------------------------------------------
session_file hosts 'optional pam_keyinit.so force revoke' 'required MODULE BROKER credential=atlas'
cat >"$DIR/show" <<EOF2
#!/bin/sh
charged() { awk -v uid="$(id -u "$alice"):" '\$1 == uid { split(\$4, k, "/"); print k[1] }' /proc/key-users; }
before=\$(charged)
# As the login's programs: in the same session, as the user.
setpriv --reuid=$alice --regid=$alice --init-groups env LD_LIBRARY_PATH=$LD_LIBRARY_PATH KEYFOB_SOCKET=/nonexistent/socket \
	sh -c 'n=0; while [ \$n -lt 5 ]; do $HELPERS/reader atlas >/dev/null; n=\$((n + 1)); done; keyctl pipe %user:keyfob:atlas' >$DIR/out/session
spent=\$((\$(charged) - before)); echo " charged \$((spent > 0 ? spent : 0))" >>$DIR/out/session # the kernel may forget others meanwhile
EOF2
check "a session" opens "$alice"
is "its programs read the token, and are charged no key for it" "$(session)" "the-token-of-the-team charged 0"
stop_broker
check "without a broker a session opens all the same" opens "$alice"
check "the log says what was not fetched" logs 'warning .*atlas was not fetched ahead: cannot reach the broker'
like "and the tokens are there" "$(session)" 'the-token-of-the-team'
start_broker
session_file hosts 'optional pam_keyinit.so force revoke' 'required MODULE BROKER credential=atlas credential=team credential=private'
kill -STOP "$BROKER"
begin=$(date +%s%N)
check "with one that hangs too" opens "$alice"
took=$((($(date +%s%N) - begin) / 1000000))
kill -CONT "$BROKER"
[ "$took" -lt 8000 ] && pass "soon, however many credentials there are" || fail "soon, however many credentials there are" "$took ms"
# A host's own su.
if command -v su >/dev/null; then
	pam su <<'EOF2'
auth sufficient pam_rootok.so
account required pam_permit.so
session optional pam_keyinit.so force revoke
session required MODULE BROKER
EOF2
	exits "su opens a session like any other" 0 su "$alice" -c 'keyctl pipe %user:keyfob:atlas'
	is "with the user's tokens" "$OUT" the-token-of-the-team
	exits "which are not in the caller's" 0 in_session sh -c "su $alice -c true; keyctl show @s"
	unlike "he has his own" "$OUT" "_persistent.$(id -u "$alice")"
else
	skip "su opens a session like any other" "no su"
fi
# --- PGPASSFILE -------------------------------------------------------------------------------------------
cat >"$DIR/show" <<EOF2
#!/bin/sh
env >$DIR/out/environment
EOF2
pgpass=$DIR/run/token/$alice/pgpass
exported() {
	opens "$alice" >/dev/null 2>&1
	sed -n 's/^PGPASSFILE=//p' "$DIR/out/environment"
}
is "without a pgpass file there is no PGPASSFILE" "$(exported)" ""
install -D -m 0600 -o "$alice" /dev/null "$pgpass"
is "with one there is" "$(exported)" "$pgpass"
chmod 0640 "$pgpass"
is "not with one that others may read: libpq would go past it" "$(exported)" ""
chmod 0600 "$pgpass"; chown "$bob" "$pgpass"
is "nor with another one's" "$(exported)" ""
rm "$pgpass"; install -m 0600 -o "$alice" /dev/null "$DIR/out/elsewhere"; ln -s "$DIR/out/elsewhere" "$pgpass"
is "nor with a link" "$(exported)" ""
rm "$pgpass"; install -m 0600 -o "$alice" /dev/null "$pgpass"
echo "PGPASSFILE DEFAULT=/etc/own" >"$DIR/out/pam_env.conf"
session_file hosts 'optional pam_keyinit.so force revoke' "required pam_env.so conffile=$DIR/out/pam_env.conf" 'required MODULE BROKER'
is "what the administrator chose stays" "$(exported)" /etc/own

# A user's maze of keyrings: the kernel walks it once, and it is his own login that waits.
as "$bob" "$HELPERS/maze" 6 14 0 >/dev/null
session_file hosts 'optional pam_keyinit.so force revoke' 'required MODULE BROKER'
begin=$(date +%s%N)
check "a session of a user who has built a maze of keyrings" opens "$bob"
echo "# it took $((($(date +%s%N) - begin) / 1000000)) ms"

hold_over
finish
