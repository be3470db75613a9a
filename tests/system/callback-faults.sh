#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a callback program may do wrong or try on purpose, what the user reads then, and that nothing of it stays behind.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; corp=$USER_NAME
new_group "$corp"; team=$GROUP_NAME
start_emulator
mkdir -m 0755 "$DIR/bin" "$DIR/open" "$DIR/open/inner" "$DIR/links"
# Programs may write below /tmp; here they leave word of what they did.
WORD=/tmp/keyfob-test.$$ ELSEWHERE=/var/lib/keyfob-test.$$
mkdir "$WORD" "$ELSEWHERE" || exit 1
chmod 1777 "$WORD" "$ELSEWHERE"
trap 'rm -rf "$WORD" "$ELSEWHERE"; cleanup' EXIT

# program NAME: from stdin
program() {
	cat >"$DIR/bin/$1"
	chmod 0755 "$DIR/bin/$1"
}
GOOD='{"access_token":"good-token","expires_in":3600}'
QUOTED='"{\"access_token\":\"good-token\",\"expires_in\":3600}"'
program good <<EOF
#!/bin/sh
echo '$GOOD'
EOF
program failing <<EOF
#!/bin/sh
echo x >>$WORD/runs
echo '$GOOD'
exit 1
EOF
program mumble <<EOF
#!/bin/sh
printf 'cannot reach the vault\n\033[31mred\n' >&2
exit 3
EOF
program denied <<EOF
#!/bin/sh
echo '{"error":"access_denied","error_description":"orders is not for this host"}'
exit 1
EOF
program killed <<EOF
#!/bin/sh
kill -SEGV \$\$
EOF
program hanging <<EOF
#!/bin/sh
trap '' TERM INT HUP
echo '$GOOD'
while :; do sleep 1; done
EOF
program silent <<EOF
#!/bin/sh
exit 0
EOF
program chatty <<EOF
#!/bin/sh
head -c 2097152 /dev/zero | tr '\\0' x
EOF
program endless <<EOF
#!/bin/sh
exec tr '\\0' x </dev/zero
EOF
program garbage <<EOF
#!/bin/sh
printf '{"access_token":"half'
EOF
program plain <<EOF
#!/bin/sh
echo not-a-jwt
EOF
program expired <<EOF
#!/bin/sh
echo '{"access_token":"old","expires_on":1000000000}'
EOF
program timeless <<EOF
#!/bin/sh
echo '{"access_token":"old"}'
EOF
# Each form's own way to fail (exec-output's unit test has them all).
program google-fails <<EOF
#!/bin/sh
echo '{"version":1,"success":false,"code":"401","message":"Caller not authorized"}'
EOF
program google-mute <<EOF
#!/bin/sh
echo '{"version":1,"success":false}'
EOF
program google-newer <<EOF
#!/bin/sh
echo '{"version":2,"success":true,"token_type":"urn:ietf:params:oauth:token-type:jwt","id_token":"t"}'
EOF
program google-old <<EOF
#!/bin/sh
echo '{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:jwt","id_token":"t","expiration_time":1000000000}'
EOF
program k8s-certificate <<EOF
#!/bin/sh
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"clientCertificateData":"x","clientKeyData":"y"}}'
EOF
program k8s-alpha <<EOF
#!/bin/sh
echo '{"apiVersion":"client.authentication.k8s.io/v1alpha1","kind":"ExecCredential","status":{"token":"t"}}'
EOF
program spire-two <<EOF
#!/bin/sh
echo '[{"svids":[{"svid":"a.b.c"},{"svid":"a.b.d"}]}]'
EOF
program git-quits <<EOF
#!/bin/sh
printf 'password=t\nquit=1\n'
EOF
program binary <<EOF
#!/bin/sh
printf '{"access_token":"a\\\\u0001b","expires_in":600}'
EOF
program background <<EOF
#!/bin/sh
sleep 300 &
echo '$GOOD'
EOF
program many <<EOF
#!/bin/sh
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (trap '' TERM; while :; do sleep 300; done) & done
echo '$GOOD'
EOF
program who <<EOF
#!/bin/sh
printf '{"access_token":"%s.%s.%s","expires_in":3600}' "\$(id -un)" "\$(id -Gn | tr ' ' '+')" "\$(env | cut -d= -f1 | sort | tr '\n' '+')"
EOF
program rights <<EOF
#!/bin/sh
got=
touch $ELSEWHERE/mark 2>/dev/null && got=\${got}write+
cat $DIR/secret >/dev/null 2>&1 && got=\${got}read+
[ -e /proc/self/fd/3 ] && got=\${got}descriptor+
keyctl show >/dev/null 2>&1 && got=\${got}keys+
setsid true 2>/dev/null && got=\${got}session+
unshare -U true 2>/dev/null && got=\${got}namespace+
grep -q '^NoNewPrivs:.1' /proc/self/status || got=\${got}privileges+
printf '{"access_token":"rights:%s","expires_in":3600}' "\$got"
EOF
# Asks the broker with its own client for what stands in the argument.
program ask <<EOF
#!/bin/sh
LD_LIBRARY_PATH=$KEYFOB_PREFIX/lib $KEYFOB_PREFIX/bin/keyfob --socket $KEYFOB_SOCKET get "\$1" >/dev/null 2>$WORD/asked
printf '{"access_token":"asked-%s","expires_in":3600}' "\$?"
EOF
install -m 0644 "$DIR/bin/good" "$DIR/bin/unexecutable"
install -m 0775 "$DIR/bin/good" "$DIR/bin/loose"
install -m 0755 "$DIR/bin/good" "$DIR/bin/owned"
chown "$corp" "$DIR/bin/owned"
install -m 0755 "$DIR/bin/good" "$DIR/open/inner/good"
chmod 0777 "$DIR/open"
ln -s ../bin/good "$DIR/links/good"
ln -s "$DIR/open/inner/good" "$DIR/links/bad"
ln -s self "$DIR/links/self"
printf '#!/nowhere/sh\n' | program interpreter
echo 'not for corp' >"$DIR/secret"
chmod 0600 "$DIR/secret"

# credential NAME WORDS: its provider line goes on with these words. Nothing runs unless somebody waits for it. Not root
# does: his keyring is also that of every other test.
credential() {
	printf '[credential %s]\nrefresh = on-demand\nprovider = callback-exec run_as=%s %s\nallow = user:%s\ntrust_run_as = yes\n\n' "$1" "$corp" "$2" "$alice"
}
{
	for name in good failing mumble denied killed silent chatty garbage plain expired timeless binary background many who rights \
		unexecutable loose owned interpreter google-fails google-mute google-newer google-old k8s-certificate k8s-alpha spire-two git-quits; do
		credential "$name" "-- $DIR/bin/$name"
	done
	credential missing "-- $DIR/bin/no-such"
	credential directory "-- $DIR/bin"
	credential relative '-- bin/good'
	credential writable "-- $DIR/open/inner/good"
	credential link "-- $DIR/links/good"
	credential badlink "-- $DIR/links/bad"
	credential selflink "-- $DIR/links/self"
	credential hanging "timeout=2 -- $DIR/bin/hanging"
	credential forever "timeout=60 -- $DIR/bin/hanging"
	credential endless "timeout=20 -- $DIR/bin/endless"
	credential daemon "-- $HELPERS/daemonise $QUOTED"
	credential keeping "-- $HELPERS/daemonise $QUOTED keep"
	credential raw "format=raw ttl=600 -- $DIR/bin/plain"
	credential words "format=raw ttl=600 -- /usr/bin/printf %s \"a;b|c\$(id)\""
	credential asks "-- $DIR/bin/ask cloud"
	credential asksitself "-- $DIR/bin/ask asksitself"
	printf '[credential cloud]\nresource = api://cloud\nprovider = azure endpoint=%s\nallow = user:%s\n\n' "$CLOUD" "$corp"
	printf '[credential trusted]\nprovider = callback-exec run_as=%s -- %s/bin/who\nallow = user:%s\ntrust_run_as = yes\n' "$corp" "$DIR" "$alice"
} | configure
export KEYFOB_TEST_WORD=must-not-be-seen
start_broker
unset KEYFOB_TEST_WORD
nothing_runs() {
	! pgrep -u "$corp" >/dev/null
}

# --- those that leave something behind, one by one ----------------------------------------------

for name in good background many daemon keeping; do
	before=$(date +%s)
	exits "$name: exit code" 0 as "$alice" keyfob get "$name"
	is "$name: the token" "$OUT" good-token
	check "$name: nothing of it runs afterwards" until_true 5 nothing_runs
	took=$(($(date +%s) - before))
	if [ "$took" -lt 20 ]; then pass "$name: nobody waits for what it left"; else fail "$name: nobody waits for what it left" "$took s"; fi
done

# --- all that fail, at once -------------------------------------------------------------------------

for name in failing mumble denied killed silent chatty garbage plain expired timeless binary unexecutable loose owned interpreter \
	missing directory relative writable badlink selflink hanging endless \
	google-fails google-mute google-newer google-old k8s-certificate k8s-alpha spire-two git-quits; do
	{
		as "$alice" keyfob get "$name" >"$DIR/out/$name" 2>"$DIR/out/$name.err"
		echo $? >"$DIR/out/$name.code"
	} &
	GETS="${GETS:-} $!"
done

# --- meanwhile: what a program is and may -----------------------------------------------------------------

exits "a program runs as its user, with his groups and no other variables" 0 as "$alice" keyfob get who
is "and that is" "$OUT" "$corp.$corp+$team.GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE+GOOGLE_EXTERNAL_ACCOUNT_ID+GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE+GOOGLE_EXTERNAL_ACCOUNT_REVOKE+GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE+HOME+KUBERNETES_EXEC_INFO+LANG+PATH+PWD+"
exits "trust_run_as: another user gets what it gives" 0 as "$alice" keyfob get trusted
like "trust_run_as: as the user it runs as" "$OUT" "^$corp\\."
exits "it may not write elsewhere, read others' files, see descriptors, keys, a new session or namespace, nor gain rights" 0 as "$alice" keyfob get rights
is "none of that" "$OUT" "rights:"
exits "arguments are words, never a shell line" 0 as "$alice" keyfob get words
is "they arrive as they stand" "$OUT" 'a;b|c$(id)'
exits "format=raw takes any word" 0 as "$alice" keyfob get raw
is "the word" "$OUT" not-a-jwt
exits "a link of root's is followed" 0 as "$alice" keyfob get link

token=$(as "$corp" keyfob get cloud)
like "its user may have another credential" "$token" '^eyJ'
exits "a program that asks the broker ends" 0 as "$alice" keyfob get asks
is "but was told no" "$OUT" asked-4
like "in words" "$(cat "$WORD/asked")" 'keyfob: cloud: a fetch may not ask the broker'
check "and the log tells" logged "uid=$(id -u "$corp") pid=[0-9]+ event=denied reason=\"a fetch may not ask\""
exits "a program that asks for its own token does not hang" 0 as "$alice" keyfob get asksitself
is "it was told no too" "$OUT" asked-4
is "its user may have it as before" "$(as "$corp" keyfob get cloud)" "$token"

# --- what the user reads ----------------------------------------------------------------------------------------

# shellcheck disable=SC2086
wait $GETS

# gives NAME CODE PATTERN
gives() {
	is "$1: exit code" "$(cat "$DIR/out/$1.code")" "$2"
	is "$1: no token" "$(cat "$DIR/out/$1")" ""
	like "$1: in words" "$(cat "$DIR/out/$1.err")" "^keyfob: $1: callback-exec: $3"
	if [ "$(wc -l <"$DIR/out/$1.err")" = 1 ] && ! LC_ALL=C grep -q '[^ -~]' "$DIR/out/$1.err"; then
		pass "$1: one line of printable characters"
	else
		fail "$1: one line of printable characters" "$(cat "$DIR/out/$1.err")"
	fi
	like "$1: status has the words" "$(keyfob status --json "$1" | jq -r '.credentials[0] | .state + " " + .last_error')" "^failed callback-exec: $3"
}
gives missing 5 "cannot run $DIR/bin/no-such: No such file or directory"
gives unexecutable 5 "cannot run $DIR/bin/unexecutable: Permission denied"
gives interpreter 5 "cannot run $DIR/bin/interpreter: No such file or directory"
gives directory 5 "cannot run $DIR/bin: Permission denied"
gives selflink 5 "cannot run $DIR/links/self: Too many levels of symbolic links"
gives relative 5 'the program after -- must be named by its absolute path'
gives loose 5 "$DIR/bin/loose must be owned by root and not writable by group or others"
gives owned 5 "$DIR/bin/owned must be owned by root and not writable by group or others"
gives writable 5 "$DIR/open must be owned by root and not writable by group or others"
gives badlink 5 "$DIR/open must be owned by root and not writable by group or others"
gives failing 8 'the program exited with 1'
gives mumble 8 'the program exited with 3: cannot reach the vault .x1b\[31mred'
gives denied 5 '.*access_denied.*orders is not for this host'
gives killed 8 'the program was ended by signal 11 \(Segmentation fault\)'
gives hanging 8 'the program did not end within 2 s; timeout= may be raised'
gives silent 8 'the program ended well, but printed nothing'
gives chatty 5 'the program printed more than 1024 KiB'
gives endless 5 'the program printed more than 1024 KiB'
gives garbage 5 "the program's output is of no use as JSON"
gives plain 5 'the program printed neither JSON nor a JWT; if it is the token itself, say format=raw'
gives expired 8 'the token that the program gave expired [0-9]+ s ago'
gives timeless 5 'the token names no expiry: set ttl= on the provider line'
gives binary 5 'the token holds byte 0x01'
gives google-fails 5 'the program reports 401: Caller not authorized'
gives google-mute 5 'the program reports a failure without code and message'
gives google-newer 5 '.*version 2'
gives google-old 8 'the token that the program gave expired [0-9]+ s ago'
gives k8s-certificate 5 '.*client certificate'
gives k8s-alpha 5 '.*apiVersion'
gives spire-two 5 '.*-spiffeID'
gives git-quits 5 '.*quit'
runs=$(wc -l <"$WORD/runs")
if [ "$runs" -ge 2 ] && [ "$runs" -le 6 ]; then pass "a program that fails is run again, but not often"; else fail "a program that fails is run again, but not often" "$runs"; fi
check "nothing of all this runs afterwards" until_true 5 nothing_runs

# --- whoever waits, the broker or the fetch may go away ----------------------------------------------------------------

runs() {
	pgrep -u "$corp" -f "$DIR/bin/hanging" >/dev/null
}
keyfob get forever >/dev/null 2>&1 & getter=$!
check "a program that hangs: it runs" until_true 10 runs
fetch=$(pgrep -P "$(launcher)" | head -n 1)
kill -KILL "$fetch"
check "its fetch is killed: the program goes too" until_true 5 sh -c "! pgrep -s $fetch"
kill "$getter"
wait "$getter" 2>/dev/null
check "nobody waits any more: it is not run again" until_true 10 nothing_runs
keyfob get forever >/dev/null 2>&1 & getter=$!
check "it runs again for the next" until_true 20 runs
launcher=$(launcher)
stop_broker KILL
wait "$getter" 2>/dev/null
check "the broker is killed: the program goes" until_true 10 nothing_runs
check "the launcher too" until_true 10 sh -c "! kill -0 $launcher"
finish
