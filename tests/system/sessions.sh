#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the sessions of a host's own programs find, and leave to others: sshd, su, sudo, a job of cron's, a user's service
# manager, each with pam_keyinit and pam_keyfob as pam_keyfob(8) has them.
WANTS_OUTSIDE=1
. "$(dirname "$0")/accept.inc"
[ -x "$SSHD" ] || { echo "1..0 # SKIP no sshd: make deps"; exit 0; }
command -v pamtester >/dev/null || { echo "1..0 # SKIP no pamtester: make deps"; exit 0; }
private_run sshd || { echo "Bail out! no /run of its own"; exit 1; }

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
ALICE=$(id -u "$alice") BOB=$(id -u "$bob")
printf 'the-token-of-atlas' >"$DIR/etc/atlas.token"
printf 'the-token-of-the-vault' >"$DIR/etc/vault.token"
configure <<EOF2
[credential atlas]
provider = file path=$DIR/etc/atlas.token ttl=1h
allow = user:$alice
file = pgpass 127.0.0.1:5432:*:atlas

[credential bobs]
provider = file path=$DIR/etc/vault.token ttl=1h
allow = user:$bob

[credential vault]
provider = file path=$DIR/etc/vault.token ttl=1h
EOF2
start_broker
keyfob get vault >/dev/null

# --- the host ---------------------------------------------------------------------------
# pam_sessions NAME LINE...: who may is let in; the session is as the lines say
pam_sessions() {
	local name=$1
	shift
	printf '%s\n' 'auth sufficient pam_permit.so' 'account required pam_permit.so' "${@/#/session }" 'session required pam_permit.so' \
		>"/etc/pam.d/$name"
}
OURS="optional $MODULE broker=$KEYFOB_SOCKET credential=atlas credential=bobs"
for name in sshd su-l sudo-i cron systemd-user; do pam_sessions "$name" 'optional pam_keyinit.so force revoke' "$OURS"; done
# As Debian's su has it: without pam_keyinit. sudo's upstream has it without "force".
pam_sessions su "$OURS"
pam_sessions sudo 'optional pam_keyinit.so revoke' "$OURS"
make_sshd "$alice" "$bob"

# What a program needs that stands in no user's environment. sudo is set-user-ID, and takes no LD_LIBRARY_PATH.
KEYFOB="env KEYFOB_SOCKET=$KEYFOB_SOCKET $KEYFOB_PREFIX/bin/keyfob"
in_ssh() {
	client -q -o PreferredAuthentications=publickey -i "$DIR/ssh/id" "$1@127.0.0.1" "$2"
}
in_su() {
	in_session su -l "$1" -c "$2"
}
as_sudoer() {
	printf 'Defaults !use_pty, !lecture\nroot,%s ALL=(ALL:ALL) NOPASSWD: ALL\n' "$alice" >"$DIR/etc/sudoers"
	chmod 0440 "$DIR/etc/sudoers"
	mkdir -m 0750 "$DIR/etc/sudoers.d"
	command -v sudo >/dev/null && mount --bind "$DIR/etc/sudoers" /etc/sudoers && mount --bind "$DIR/etc/sudoers.d" /etc/sudoers.d &&
		[ "$(in_ssh "$alice" 'sudo -n id -u')" = 0 ]
}
in_sudo_i() {
	in_session sudo -n -i -u "$1" sh -c "$2"
}
# pam_exec runs this as root in the session; the application then starts the user's program there.
cat >"$DIR/program" <<EOF2
#!/bin/sh
[ "\$PAM_TYPE" = open_session ] || exit 0
exec setpriv --reuid="\$PAM_USER" --regid="\$PAM_USER" --init-groups sh "$DIR/program.\$PAM_SERVICE" >$DIR/out/program 2>&1
EOF2
chmod 0755 "$DIR/program"
# in_application SERVICE USER COMMAND: one that opens a session, and has no session keyring itself
in_application() {
	echo "$3" >"$DIR/program.$1"
	rm -f "$DIR/out/program"
	grep -q pam_exec "/etc/pam.d/$1" || echo "session required pam_exec.so $DIR/program" >>"/etc/pam.d/$1"
	outside pamtester "$1" "$2" open_session close_session >/dev/null 2>&1
	cat "$DIR/out/program"
}
in_cron() {
	in_application cron "$@"
}
in_user_manager() {
	in_application systemd-user "$@"
}

SESSIONS="ssh su cron user_manager"
if as_sudoer; then
	SESSIONS="$SESSIONS sudo_i"
	SUDO=yes
else
	SUDO=""
	skip "sudo" "there is none, or it does not run here"
fi
# Some hosts have taken su's set-user-ID bit away.
SU=$DIR/su
install -m 4755 "$(command -v su)" "$SU"
[ "$(in_ssh "$alice" "$SU root -c 'id -u'" 2>/dev/null)" = 0 ] || { SU="" && skip "su from a user to root" "it does not run here"; }

# --- the tree --------------------------------------------------------------------------------
# The ring's number is the first word of the second line that keyctl show prints.
ring() {
	sed -n 2p <<<"$1" | awk '{ print $1 }'
}
SEEN=""
for session in $SESSIONS; do
	tree=$(in_$session "$alice" 'keyctl show @s' 2>&1)
	like "$session: the session keyring is the user's" "$tree" " $ALICE +[0-9]+ +keyring: _ses$"
	like "$session: it leads to his user keyring" "$tree" "[0-9]   \\\\_ keyring: _uid\\.$ALICE$"
	like "$session: and to his persistent keyring" "$tree" "[0-9]   \\\\_ keyring: _persistent\\.$ALICE$"
	like "$session: in which is root's ring" "$tree" ' 0 +0 +    \\_ keyring: keyfob$'
	like "$session: in which is the token" "$tree" ' 0 +0 +        \\_ user: keyfob:atlas$'
	unlike "$session: nothing of anybody else's is there" "$tree" "keyfob:(bobs|vault)|_persistent\\.(0|$BOB)$"
	is "$session: keyctl reads it" "$(in_$session "$alice" 'keyctl pipe %user:keyfob:atlas' 2>&1)" the-token-of-atlas
	[[ " $SEEN " != *" $(ring "$tree") "* ]] && pass "$session: the keyring is this session's alone" || fail "$session: the keyring is this session's alone" "$tree"
	SEEN="$SEEN $(ring "$tree")"
	unlike "$session: another user has not the token" "$(in_$session "$bob" 'keyctl show @s' 2>&1)" 'keyfob:(atlas|vault)'
done
stop_broker
for session in $SESSIONS; do
	is "$session: by keyring, while keyfobd is down" "$(in_$session "$alice" "$KEYFOB get atlas" 2>&1)" the-token-of-atlas
	unlike "$session: not for another user" "$(in_$session "$bob" "$KEYFOB get atlas" 2>&1)" 'the-token'
done
start_broker
like "a session has the name of the pgpass file that the broker keeps" "$(in_ssh "$alice" env)" "^PGPASSFILE=$DIR/run/token/$alice/pgpass$"
unlike "where none is kept it has not" "$(in_ssh "$bob" env)" '^PGPASSFILE='

# --- two sessions of one user ----------------------------------------------------------------------
own_dir "$alice" job
# One that stays until it is told to go, and tells its keyring; and what it leaves behind.
in_ssh "$alice" "keyctl show @s >$DIR/job/first.new; mv $DIR/job/first.new $DIR/job/first
	setsid sh -c 'until test -e $DIR/out/closed; do sleep 0.1; done; { keyctl show @s; $KEYFOB get atlas; } >$DIR/job/left.new 2>&1
		mv $DIR/job/left.new $DIR/job/left' >/dev/null 2>&1 </dev/null &
	until test -e $DIR/out/go; do sleep 0.1; done; keyctl pipe %user:keyfob:atlas; $KEYFOB get atlas" >"$DIR/out/first" 2>&1 &
FIRST=$!
PIDS="$PIDS $FIRST"
until_true 20 test -e "$DIR/job/first"
before=$(keyctl show "$(persistent "$alice")")
second=$(in_ssh "$alice" 'keyctl show @s')
[ "$(ring "$second")" != "$(ring "$(cat "$DIR/job/first")")" ] && pass "two logins have two keyrings" || fail "two logins have two keyrings" "$second"
is "their tokens are the same" "$(grep -o '[0-9]* .*keyfob:atlas' <<<"$second" | awk '{ print $1 }')" \
	"$(grep -o '[0-9]* .*keyfob:atlas' "$DIR/job/first" | awk '{ print $1 }')"
stop_broker
touch "$DIR/out/go"
wait "$FIRST"
is "after the second has closed the first reads on, twice" "$(cat "$DIR/out/first")" the-token-of-atlasthe-token-of-atlas
until_true 10 sh -c "! pgrep -u $alice sshd"
touch "$DIR/out/closed"
until_true 20 test -e "$DIR/job/left"
like "the keyring of a session that has closed is revoked" "$(cat "$DIR/job/left")" 'revoked'
like "what it left running has its token still" "$(cat "$DIR/job/left")" 'the-token-of-atlas$'
is "no login's end has touched the user's tokens" "$(keyctl show "$(persistent "$alice")")" "$before"
is "the next login has them" "$(in_ssh "$alice" "$KEYFOB get atlas")" the-token-of-atlas
start_broker

# --- pam_setcred(3), as often as they like -------------------------------------------------------------
echo "auth optional $MODULE retrieve credential=atlas broker=$KEYFOB_SOCKET" >/etc/pam.d/often
printf 'session %s\n' 'optional pam_keyinit.so force revoke' "required ${OURS#optional }" >>/etc/pam.d/often
for flags in ESTABLISH ESTABLISH,ESTABLISH ESTABLISH,ESTABLISH,REINITIALIZE,REFRESH; do
	operations=()
	for flag in ${flags//,/ }; do operations+=("setcred(PAM_${flag}_CRED)"); done
	check "setcred with $flags, and a session" outside pamtester often "$alice" "${operations[@]}" open_session close_session
done
is "deletes nothing of the user's" "$(keyctl show "$(persistent "$alice")")" "$before"

# --- where pam_keyinit was not, or not asked to force it ------------------------------------------------
pam_sessions cron "$OURS"
tree=$(in_cron "$alice" 'keyctl show @s')
like "without pam_keyinit the session has a keyring" "$tree" 'keyring: _'
unlike "to which nothing is linked" "$tree" '_persistent'
unlike "and which is not root's default one" "$tree" '_uid(_ses)?\.0$'
check "the log says what is missing" grep -q 'put pam_keyinit.so force revoke before this module' "$SYSLOG"
unlike "nor to root's, where it lies in the way" "$(in_session sh -c "pamtester cron $alice open_session >/dev/null 2>&1; keyctl show @s")" '_persistent'
pam_sessions cron 'optional pam_keyinit.so revoke' "$OURS"
# It replaces what all processes share, and nothing else.
if outside keyctl describe @s 2>/dev/null | grep -q '_uid_ses\.0$'; then
	like "without force it does where the application has no keyring" "$(in_cron "$alice" 'keyctl show @s')" 'user: keyfob:atlas$'
else
	skip "without force it does where the application has no keyring" "this host's processes all have one"
fi
unlike "where it has one nothing is linked to that" "$(in_session sh -c "pamtester cron $alice open_session >/dev/null 2>&1; keyctl show @s")" '_persistent'

# --- root becomes a user, and comes back -------------------------------------------------------------------
# roots COMMAND: in a session of root's, who has read a token of his own there
roots() {
	in_session sh -c "$KEYFOB get vault >/dev/null; keyctl show @s >$DIR/out/before; $1; keyctl show @s >$DIR/out/after" 2>&1
}
is "root reads a token" "$(in_session sh -c "$KEYFOB get vault")" the-token-of-the-vault
tree=$(roots "su $alice -c 'keyctl show @s'")
like "su without pam_keyinit keeps root's session keyring" "$tree" ' 0 +0 +keyring: _ses$'
unlike "in which the user finds no token of root's" "$tree" 'keyfob|_persistent'
unlike "nor a way to one" "$(roots "su $alice -c 'keyctl search @s keyring _persistent.0; keyctl pipe %user:keyfob:vault'")" 'the-token'
is "he has his own, which is not linked there" "$(roots "su $alice -c '$KEYFOB get atlas'")" the-token-of-atlas
is "root's session is what it was" "$(cat "$DIR/out/after")" "$(cat "$DIR/out/before")"
is "the same with su -l" "$(roots "su -l $alice -c '$KEYFOB get atlas'")" the-token-of-atlas
is "root's session is what it was" "$(cat "$DIR/out/after")" "$(cat "$DIR/out/before")"

# --- a user becomes root -------------------------------------------------------------------------------------
# users COMMAND: in a login of Alice's; what her session keyring was before and after
users() {
	in_ssh "$alice" "keyctl show @s >$DIR/job/before; $1; keyctl show @s >$DIR/job/after" 2>&1
}
unchanged() {
	is "$1: her session is what it was" "$(cat "$DIR/job/after")" "$(cat "$DIR/job/before")"
	unlike "$1: nothing of root's is in it" "$(cat "$DIR/job/after")" 'vault|_persistent\.0|bobs'
}
# The numbers of all copies of root's token, which he alone can list.
vaults=$(sed -n 's/^\([0-9a-f]*\) .* user  *keyfob:vault: .*/0x\1/p' /proc/keys)
like "root's token has keys" "$vaults" '^0x'
if [ -n "$SUDO" ]; then
	is "sudo: root reads his own" "$(users "sudo -n $KEYFOB get vault")" the-token-of-the-vault
	unchanged "sudo"
	like "sudo: although the session keyring is the user's" "$(users 'sudo -n keyctl show @s')" " $ALICE +[0-9]+ +keyring: _ses$"
	unlike "sudo: she cannot read what root has read" "$(users "sudo -n $KEYFOB get vault >/dev/null; for key in $(echo $vaults); do keyctl pipe \$((key)); done")" 'the-token'
	unlike "sudo: nor while he does" "$(users "sudo -n sh -c '$KEYFOB get vault >/dev/null; su $alice -c \"keyctl show @s; keyctl pipe %user:keyfob:vault\"'")" 'user: keyfob:vault|the-token-of-the-vault'
	unchanged "sudo"
	is "sudo -u: another user has his own" "$(users "sudo -n -u $bob $KEYFOB get bobs")" the-token-of-the-vault
	unchanged "sudo -u"
	is "sudo -u: without force he can read hers, as pam_keyfob(8) says" "$(users "sudo -n -u $bob keyctl pipe %user:keyfob:atlas")" the-token-of-atlas
	like "sudo -u: in a session keyring that is hers" "$(users "sudo -n -u $bob keyctl show @s")" " $ALICE +[0-9]+ +keyring: _ses$"
	is "sudo -i: root reads his own" "$(users "sudo -n -i $KEYFOB get vault")" the-token-of-the-vault
	unchanged "sudo -i"
	tree=$(users 'sudo -n -i keyctl show @s')
	like "sudo -i: in a session keyring of his own" "$tree" ' 0 +0 +keyring: _ses$'
	unlike "sudo -i: nothing of the user's is in it" "$tree" "_(persistent|uid|uid_ses)\\.$ALICE$"
	unlike "sudo -i -u: another user cannot read hers" "$(users "sudo -n -i -u $bob sh -c 'keyctl show @s; keyctl pipe %user:keyfob:atlas'")" 'user: keyfob:atlas$|the-token-of-atlas'
	unchanged "sudo -i -u"
fi
if [ -n "$SU" ]; then
	is "su: root reads his own" "$(users "$SU root -c '$KEYFOB get vault'")" the-token-of-the-vault
	unchanged "su"
	is "su -l: root reads his own" "$(users "$SU -l root -c '$KEYFOB get vault'")" the-token-of-the-vault
	unchanged "su -l"
	is "su -l: and back again" "$(users "$SU -l root -c '$SU -l $alice -c \"$KEYFOB get atlas\"'")" the-token-of-atlas
	unchanged "su -l and back"
fi

# --- a service of the user's, and a login -------------------------------------------------------------------------
# A terminal that the user's service manager starts has another session keyring than a login.
manager=$(in_user_manager "$alice" 'keyctl show @s') login=$(in_ssh "$alice" 'keyctl show @s')
[ "$(ring "$manager")" != "$(ring "$login")" ] && pass "a user's service manager has another keyring than his login" ||
	fail "a user's service manager has another keyring than his login" "$manager"
is "both lead to the same keys" "$(grep -oE '[0-9]+ .*keyfob:atlas$' <<<"$manager")" "$(grep -oE '[0-9]+ .*keyfob:atlas$' <<<"$login")"
unlike "no token is in any log" "$(cat "$SYSLOG" "$LOG" "$DIR/out/sshd")" 'the-token-of'
finish
