#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# keyfob doctor: each of its findings brought about once, as root and as a user; it changes nothing, tells no secret, and ends.
# It lives in a mount namespace of its own, where /etc/pam.d and files of /proc are the test's to change.
if [ "$(id -u)" = 0 ] && [ -z "${KEYFOB_TEST_MOUNTS:-}" ] && unshare --mount true 2>/dev/null; then
	KEYFOB_TEST_MOUNTS=1 exec unshare --mount --propagation private "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"
MOUNTS=${KEYFOB_TEST_MOUNTS:-}

JSON=$DIR/out/doctor.json
# examine [COMMAND...]: what doctor finds, as JSON; its exit code in CODE
examine() {
	"${@:-doctor}" >"$JSON" 2>"$DIR/out/stderr"
	CODE=$?
}
doctor() {
	timeout 100 keyfob --config "$CONFIG" doctor --json "$@"
}
doctor_as() {
	local user=$1
	shift
	as "$user" keyfob --config "$CONFIG" doctor --json "$@"
}
# found CHECK LEVEL SUBJECT TEXT [FIX]: is there such a finding, true or false? The last three are regular expressions; LEVEL "" is
# any.
found() {
	jq --arg c "$1" --arg l "$2" --arg s "$3" --arg t "$4" --arg f "${5:-}" \
		'any(.[]; .check == $c and ($l == "" or .level == $l) and (.subject | test($s)) and (.text | test($t)) and ((.fix // "") | test($f)))' "$JSON"
}
# finds DESCRIPTION CHECK LEVEL SUBJECT TEXT [FIX]
finds() {
	local what=$1
	shift
	if [ "$(found "$@" 2>&1)" = true ]; then
		pass "$what"
	else
		fail "$what" "wanted: $*" "$(jq -r '.[] | "\(.check): \(.level) \(.subject): \(.text) -> \(.fix)"' "$JSON" 2>&1)" "$(cat "$DIR/out/stderr")"
	fi
}
finds_no() {
	local what=$1
	shift
	is "$what" "$(found "$@" 2>&1)" false
}

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
start_emulator
good=dr$$good secret=dr$$secret
healthy() {
	cat <<END
[credential $good]
resource = api://good
provider = azure endpoint=$CLOUD
allow = user:$alice
END
}
healthy | configure
start_broker
token=$(as "$alice" keyfob get "$good")
[ -n "$token" ] || { echo "Bail out! no token"; exit 1; }

# --- all is well -----------------------------------------------------------------------------
# Her own keys, by number and bytes. The kernel takes its time to count off those of sessions that have ended.
quota_of() {
	awk -v uid="$(id -u "$1"):" '$1 == uid { print $4, $5 }' /proc/key-users | tr '/' ' ' | cut -d' ' -f1,3
}
read -r keys bytes < <(quota_of "$alice")
before=$(requests imds)
examine
is "all is well: exit 0, warnings or not" "$CODE" 0
is "nothing on stderr" "$(cat "$DIR/out/stderr")" ""
check "what it prints is an array of findings" jq -e 'type == "array" and length > 5 and all(.[]; keys == ["check", "fix", "level", "subject", "text"]
	and (.level | IN("ok", "warning", "error")) and (.text | type == "string") and (.fix | type | IN("string", "null")))' "$JSON"
check "every warning and error says what mends it" jq -e 'all(.[]; .level == "ok" or .fix != null)' "$JSON"
finds "the keyrings work" kernel ok keyrings 'add_key, keyctl and request_key work'
finds "persistent keyrings are there" kernel ok 'persistent keyrings' there
finds "the user namespace" kernel ok 'user namespace' initial
finds "ptrace" kernel '' ptrace ''
finds "the configuration" configuration ok 'keyfobd --check' '1 credential, no fault found'
finds "the modules" configuration ok modules '^[0-9]+ can be loaded'
finds "the broker" daemons ok keyfobd 'it answers'
finds "the token" credentials ok "$good" '^a token that lives '
finds "root's quota, with its use and the sysctl" keyrings ok 'quota of root' '^[0-9]+ of [0-9]+ keys, [0-9]+ of [0-9]+ bytes .*kernel\.keys\.root_maxkeys'
finds "nothing planted, where the users are looked through" keyrings ok 'planted ring' 'of 1 user$'
finds "nothing doubtful" policy ok policy 'nothing doubtful'
is "no provider was asked for a token that is good" "$(requests imds)" "$before"
read -r keys_now bytes_now < <(quota_of "$alice")
check "it took nothing of alice's quota" [ "$keys_now" -le "$keys" -a "$bytes_now" -le "$bytes" ]
unlike "no token is told" "$(cat "$JSON")" "$(printf '%s' "$token" | cut -d. -f3 | cut -c1-20)"
exits "for people" 0 keyfob --config "$CONFIG" doctor
like "the last line counts" "$(tail -n 1 <<<"$OUT")" '^[0-9]+ ok, [0-9]+ warnings?, 0 errors$'
is "each line is a family, a finding, or the last" \
	"$(sed '$d' <<<"$OUT" | grep -vE '^[A-Za-z]+$|^  (ok|warning|error) +[^ ].*: ')" ""
# Others' containers come and go.
is "as many as in JSON" "$(grep '^  ' <<<"$OUT" | grep -vc ' containers: ')" "$(jq 'map(select(.subject != "containers")) | length' "$JSON")"
unlike "no colours in a pipe" "$OUT" $'\033'
on_terminal() {
	script -qec "$*" /dev/null </dev/null
}
if command -v script >/dev/null; then
	like "colours on a terminal" "$(on_terminal keyfob --config "$CONFIG" doctor)" $'\033\\[32mok'
	unlike "but with NO_COLOR" "$(NO_COLOR=1 on_terminal keyfob --config "$CONFIG" doctor)" $'\033'
else
	skip "colours on a terminal" "script is not installed"
fi
is "a full disk is noticed" "$(keyfob --config "$CONFIG" doctor 2>&1 >/dev/full)" "keyfob: standard output: No space left on device"

# --- as a user -------------------------------------------------------------------------------------
chmod 0600 "$CONFIG"
examine doctor_as "$alice"
is "a user: all is well" "$CODE" 0
finds "his token" credentials ok "$good" 'a token that lives'
finds "his quota" keyrings ok '^quota$' 'kernel\.keys\.maxkeys'
finds_no "not root's" keyrings ok 'quota of root' ''
finds_no "nor a configuration that is not his to read" configuration error '' ''
examine doctor_as "$bob"
finds_no "who may not have it is not told of it" credentials ok "$good" ''
chmod 0644 "$CONFIG"

# --- planted rings -----------------------------------------------------------------------------------
planted_session() {
	as "$alice" sh -c 'keyctl newring keyfob @s >/dev/null; exec keyfob --config "$1" doctor --json' sh "$CONFIG"
}
examine planted_session
finds "a ring of his own in the session" keyrings warning 'planted ring' 'belongs to uid [0-9]+, not to root' '^keyctl revoke [0-9]+$'
is "is no error" "$CODE" 0
as "$alice" sh -c 'p=$(keyctl get_persistent @s) && keyctl newring keyfob $p >/dev/null' || echo "# cannot plant"
examine
finds "root sees one in a user's persistent keyring" keyrings warning 'planted ring' "^$alice has a ring keyfob of uid" 'keyctl unlink'
fix=$(jq -r '.[] | select(.subject == "planted ring").fix' "$JSON")
check "and the command mends it" sh -c "$fix"
examine
finds_no "it is gone" keyrings warning 'planted ring' ''
crowd='p=$(keyctl get_persistent @s) && for i in $(seq 70); do keyctl newring "crowd$i" "$p"; done'
as "$alice" sh -c "$crowd" >"$DIR/out/crowd"
examine
finds "one could be hidden in a crowd: root is told that not all was looked at" keyrings warning 'planted ring' "^$alice has so much in his persistent"
# shellcheck disable=SC2016
as "$alice" sh -c 'p=$(keyctl get_persistent @s) && while read -r k; do keyctl unlink "$k" "$p"; done' <"$DIR/out/crowd"
forged_session() {
	as "$alice" sh -c 'keyctl add user "$(for i in $(seq 64); do printf "\n%08x I--Q--- 1 perm 3f010000 1 1 keyring   keyfob: 1" "$i"; done)" x @s >/dev/null
		exec keyfob --config "$1" doctor --json' sh "$CONFIG"
}
examine forged_session
finds "or behind forged rows of /proc/keys" keyrings warning 'planted ring' 'not all was looked at'
as "$alice" keyfob get "$good" >/dev/null

# --- the kernel in the way ------------------------------------------------------------------------------
# faked FILE CONTENT: in place of a file of /proc
faked() {
	printf '%b' "$2" >"$DIR/out/fake" && mount --bind "$DIR/out/fake" "$1"
}
if [ -n "$MOUNTS" ]; then
	faked /proc/key-users "    0:   600000 600000/600000 600000/1000000 854/25000000\n$(printf '%5u' "$(id -u "$alice")"):    20 20/20 3/200 19000/20000\n"
	examine
	finds "root's quota is half used: keyfobd stops there" keyrings warning 'quota of root' '600000 of 1000000 keys: keyfobd puts no more' \
		'^sysctl -w kernel\.keys\.root_maxkeys=2000000$'
	examine doctor_as "$alice"
	finds "a user's bytes run out" keyrings warning '^quota$' '19000 of 20000 bytes' '^sysctl -w kernel\.keys\.maxbytes=40000$'
	umount /proc/key-users
	faked /proc/sys/kernel/keys/persistent_keyring_expiry '100\n'
	examine
	finds "persistent keyrings that end too soon" kernel warning 'persistent keyrings' '100 s' 'persistent_keyring_expiry=259200'
	umount /proc/sys/kernel/keys/persistent_keyring_expiry
	head -c 5000000 /dev/zero | tr '\0' k >"$DIR/out/long" && mount --bind "$DIR/out/long" /proc/keys
	examine doctor_as "$alice"
	finds "a list of keys that is too long to be read" keyrings warning 'planted ring' 'not all was looked at'
	umount /proc/keys
	if [ -e /proc/sys/kernel/yama/ptrace_scope ]; then
		faked /proc/sys/kernel/yama/ptrace_scope '0\n'
		examine
		finds "ptrace without limits" kernel warning ptrace 'memory' 'ptrace_scope=1'
		umount /proc/sys/kernel/yama/ptrace_scope
	else
		skip "ptrace without limits" "this kernel has no Yama"
	fi
else
	skip "quotas, persistent keyrings and ptrace" "no mount namespaces"
fi
for error in EPERM ENOSYS; do
	filtered() {
		"$HELPERS/seccomp-exec" "$error" keyctl add_key request_key -- keyfob --config "$CONFIG" doctor --json
	}
	examine filtered
	finds "a seccomp filter that says $error" kernel error add_key 'seccomp filter is in the way' '@keyring'
	is "is an error where keyfobd is to run" "$CODE" 1
	examine as "$alice" "$HELPERS/seccomp-exec" "$error" keyctl add_key request_key -- keyfob --config "$DIR/none" doctor --json
	finds "and a warning for who reads" kernel warning keyctl 'over the socket only'
	is "whose tokens come all the same" "$CODE" 0
done
if unshare --user --map-root-user true 2>/dev/null; then
	examine unshare --user --map-root-user keyfob --config "$CONFIG" doctor --json
	finds "another user namespace" kernel warning 'user namespace' 'not the initial one' 'bind-mount'
else
	skip "another user namespace" "none can be made"
fi
if unshare --pid --fork true 2>/dev/null; then
	# It does not heed SIGTERM; its child dies with it.
	unshare --pid --fork --kill-child sleep 300 &
	container=$!
	PIDS="$PIDS $container"
	until_true 10 pgrep -P "$container"
	examine
	if grep -q '^Seccomp:[[:space:]]*0' /proc/self/status; then
		finds "a container that shares this host's users" kernel warning containers '\(sleep\) is in a container that shares' 'store = socket'
	else
		skip "a container that shares this host's users" "all here runs below a seccomp filter"
	fi
	sed 's/^allow/store = socket\n&/' <(healthy) | configure
	examine
	finds_no "which is of no concern where no token is in a keyring" kernel warning containers ''
	{ sed 's/^allow/store = socket\n&/' <(healthy); echo "metadata = yes"; } | configure
	examine
	finds "but one on the host's network is of concern to keyfob-metadata" kernel warning containers '\(sleep\) is in a container .*users and network' 'metadata = no'
	kill -KILL "$container" && wait "$container" 2>/dev/null
else
	skip "a container that shares this host's users" "no pid namespace can be made"
fi

# --- the provider -----------------------------------------------------------------------------------------
{
	healthy
	printf '[credential dr$$new]\nresource = api://new\nprovider = azure endpoint=%s\n' "$CLOUD" | sed "s/\$\\$/$$/"
} | configure
keyfob reload || exit 1
before=$(requests imds)
examine
finds "root has asked what nobody did" credentials ok "dr$$new" 'the provider gives a token'
is "once, and nothing else" "$(requests imds)" "$((before + 1))"
fault 'path=imds&status=400'
examine
finds "the provider refuses, in its words" credentials error "dr$$new" 'IMDS answered 400' "keyfob try dr$$new"
is "exit 1" "$CODE" 1
finds_no "what is good was not asked for" credentials error "$good" ''
examine doctor --try
finds "unless told to" credentials error "$good" 'IMDS answered 400'
keyfob get "dr$$new" >/dev/null 2>&1
examine
finds "a fetch that failed" credentials error "dr$$new" '^no token: .*IMDS answered 400' "keyfob try dr$$new"
no_faults

# --- the configuration ------------------------------------------------------------------------------------------
{ healthy; echo 'frobnicate = yes'; } | configure
examine
finds "a fault in the configuration" configuration error 'keyfobd --check' "keyfob.conf:5: .*frobnicate" 'doctor --config'
is "is an error" "$CODE" 1
exits "--config alone says it as keyfobd does" 1 keyfob --config "$CONFIG" doctor --config
like "on stderr" "$ERR" '^keyfobd: .*:5: .*frobnicate'
healthy | configure
chmod 0666 "$CONFIG"
examine
finds "a configuration that others may write" configuration error 'keyfobd --check' 'not writable by group or others \(chown root; chmod go-w\)'
chmod 0644 "$CONFIG"
exits "--config: all is well" 0 keyfob --config "$CONFIG" doctor --config
examine keyfob --config "$DIR/etc/none.conf" doctor --json
finds "no configuration" configuration warning 'none.conf' 'there is none' 'keyfob.conf\(5\)'
mkdir -m 0755 "$DIR/modules" && cp "$KEYFOB_PREFIX"/lib/keyfob/modules/azure.so "$DIR/modules/" && echo junk >"$DIR/modules/junk.so"
examine env KEYFOB_MODULE_DIR="$DIR/modules" keyfob --config "$CONFIG" doctor --json
finds "a module that does not load" configuration error junk . 'module show junk'
finds "does not hide the others" configuration ok modules '^1 can be loaded'
mkdir -m 0755 "$DIR/empty"
examine env KEYFOB_MODULE_DIR="$DIR/empty" keyfob --config "$CONFIG" doctor --json
finds "no module at all" configuration error modules 'finds none' 'KEYFOB_MODULE_DIR'
printf topsecret-%s "$secret" >"$DIR/etc/client"
configure <<END
[credential $secret]
resource = api://x
provider = oauth2 token_endpoint=$CLOUD/oauth2/token client_id=x secret_file=$DIR/etc/client
refresh = on-demand
END
chmod 0644 "$DIR/etc/client"
examine
finds "a secret that others may read" configuration error "$secret" 'etc/client: a secret must be root.s' 'chmod 0600'
chmod 0600 "$DIR/etc/client"
examine
finds "one that is well kept" configuration ok "$secret" 'for root alone'
unlike "it is not told" "$(cat "$JSON")" topsecret
rm "$DIR/etc/client"
examine
finds "one that is missing" configuration error "$secret" 'No such file'

configure <<END
$(healthy)
socket = $alice:root 0600
END
examine
finds "a credential's socket that is not there" daemons error "/credential/$good.sock" "credential $good is not there" 'keyfob reload'
keyfob reload >/dev/null
examine
finds_no "once it is" daemons error '/credential/' ''
if [ -n "$MOUNTS" ]; then
	# A test beside this one that makes a user puts another file in its place, which ends the mount.
	exec {USERS_LOCK}>>/run/lock/keyfob-test && flock "$USERS_LOCK"
	sed '/^keyfob-fetch:/d' /etc/passwd >"$DIR/out/passwd" && chmod 0644 "$DIR/out/passwd" && mount --bind "$DIR/out/passwd" /etc/passwd
	examine
	finds "a system user that is missing" configuration error keyfob-fetch 'no such user' 'useradd --system'
	umount /etc/passwd
	exec {USERS_LOCK}>&-
else
	skip "a system user that is missing" "no mount namespaces"
fi
cp "$KEYFOB_PREFIX/libexec/keyfob/keyfob-admin" "$DIR/out/" && touch -d '+3 days' "$DIR/out/keyfob-admin"
examine "$DIR/out/keyfob-admin" --config "$CONFIG" doctor --json
finds "a clock before the program's own day" clock error time 'before the day' 'set-ntp'
finds "and programs that are not where they were" configuration error modules 'finds none'
finds "told in their own words" configuration error 'keyfobd --check' 'cannot find keyfobd beside this program'

# --- what is allowed and doubtful -------------------------------------------------------------------------------------
recycled="kt$$r"
for uid in 61990 61991 61992 61993 61994; do
	flock /run/lock/keyfob-test useradd -M -u "$uid" -d "$DIR" -s /bin/sh "$recycled" 2>/dev/null && USERS="$USERS $recycled" && break
done
configure <<END
[identity-provider dr-idp]
issuer = https://idp.example
authorization_type = user
audience = 0d5c1c0e
jwks_file = $DIR/etc/none.jwks
[credential twin-a]
resource = api://twins
provider = azure endpoint=$CLOUD
allow = user:$alice
[credential twin-b]
resource = api://twins
provider = azure endpoint=$CLOUD
allow = user:$bob user:$recycled
[credential trusting]
provider = callback-exec run_as=$bob format=raw ttl=1h -- /bin/true
allow = user:$alice
trust_run_as = yes
[credential filed]
resource = api://filed
provider = azure endpoint=$CLOUD
file = raw
[credential judged]
resource = api://else/.default
provider = azure endpoint=$CLOUD
identity_provider = dr-idp
[credential alike]
resource = api://0d5c1c0e/.default
provider = azure endpoint=$CLOUD
identity_provider = dr-idp
END
examine
finds "two credentials for one token" policy warning twin-b 'same provider and resource as twin-a' 'one section'
finds "a user whose program others trust" policy warning trusting "^$bob runs the provider" 'run_as'
finds "files for nobody" policy warning filed 'file = raw, but no user' 'allow = user:NAME'
finds "an audience that is not the resource" policy warning judged 'api://else/.default, and dr-idp takes those for 0d5c1c0e' 'resource = 0d5c1c0e'
finds_no "but not another spelling of the same" policy warning alike ''
finds "a uid that systemd hands on" policy warning twin-b "user $recycled has uid 6199" 'sysusers'
finds_no "all these are no errors" policy error '' ''

# --- services ------------------------------------------------------------------------------------------------------------
make_accept() { # MAX_TOKEN_SIZE
	cat <<END
[identity-provider dr-idp]
issuer = https://idp.example
authorization_type = user
audience = api://good
jwks_file = $DIR/etc/none.jwks
max_token_size = $1
[database-user one]
service = dr-one
identity_provider = dr-idp
user_id = x
[database-user two]
service = saslauthd
identity_provider = dr-idp
user_id = x
[database-user three]
service = sshd
identity_provider = dr-idp
user_id = y
END
	healthy
	echo "identity_provider = dr-idp"
}
make_accept 300 | configure
keyfob reload >/dev/null 2>&1
examine
finds "one audience for several services" services warning dr-idp '^dr-one, saslauthd, sshd take tokens of one audience' 'idp add NAME --issuer=https://idp.example'
finds "a token that is longer than the service reads" services error saslauthd "the token of $good has [0-9]+ bytes, and saslauthd reads 255" 'ES256'
# A row of /proc/keys that everybody sees, with the number of a key of root's.
# shellcheck disable=SC2016
forged=$(as "$alice" sh -c 'keyctl link @u @s; p=$(keyctl get_persistent @s) && k=$(keyctl search "$p" user "keyfob:$1") &&
	f=$(keyctl add user "$(printf "x\n%08x I--Q--- 1 1d 1b3f0000 0 0 user      keyfob:%s: 60000" "$k" "$1")" x @u) && keyctl setperm "$f" 0x3f3f0001 && echo "$f"' \
	sh "$good")
check "a user forges a row of /proc/keys that root sees" grep -qE "^[0-9a-f]{8} .* user +keyfob:$good: 60000" /proc/keys
examine
finds "root asks the key itself how long it is" services error dr-idp "the token of $good has [0-9]{3,4} bytes, and more than 300"
as "$alice" keyctl unlink "$forged" @u
finds "a service that reads little" services warning sshd '1023 bytes' 'ES256'
finds "a token that is longer than its provider's limit" services error dr-idp "more than 300 are refused" '^max_token_size = [0-9]+ in \[identity-provider dr-idp\]'
finds "a token that would be refused" credentials error "$good" '^dr-idp would refuse its token: iss is ' "keyfob explain $good"
finds "no verifier" daemons error "verify.sock" 'keyfob-verifyd does not listen' 'start keyfob-verifyd'
finds "a service without a PAM file" PAM error dr-one '/etc/pam.d/dr-one: there is none' 'auth required pam_keyfob.so verify'
chmod 0600 "$CONFIG"
examine
finds "a configuration that the verifier cannot read" configuration error 'keyfob.conf' 'user keyfob-verify, may not' 'chgrp keyfob-verify'
chmod 0644 "$CONFIG"
"$HELPERS/mint" keys "$DIR/keys" && install -m 0644 "$DIR/keys/jwks.json" "$DIR/etc/none.jwks"
start_verifier
examine
finds "a verifier with keys" daemons ok dr-idp 'its key set is there'
sed -i "s|^jwks_file.*|jwks_uri = http://127.0.0.1:1/keys|" "$CONFIG"
keyfob reload >/dev/null 2>&1
gone() { examine; [ "$(found daemons error dr-idp 'it has no key set')" = true ]; }
until_true 20 gone
finds "a key set that does not come" daemons error dr-idp 'it has no key set' 'jwks refresh dr-idp'
stop_verifier

# --- PAM -----------------------------------------------------------------------------------------------------------------------
M=$KEYFOB_PREFIX/lib/security/pam_keyfob.so
pam() { # NAME: from stdin
	cat >"/etc/pam.d/$1"
}
if [ -n "$MOUNTS" ] && [ -d /etc/pam.d ]; then
	mkdir -m 0755 "$DIR/etc/pam.d" && cp -a /etc/pam.d/. "$DIR/etc/pam.d/" && mount --bind "$DIR/etc/pam.d" /etc/pam.d || exit 1
	printf '%s\n' "auth required $M verify" "account required $M" | pam dr-good
	printf '%s\n' "auth optional $M verify" "account required $M" | pam dr-optional
	printf '%s\n' "auth [success=ok default=ignore] $M verify" "account required $M" | pam dr-bracket
	printf '%s\n' "auth sufficient $M verify" "auth required pam_permit.so" "account required $M" | pam dr-permit
	printf '%s\n' "auth sufficient $M verify" "auth required pam_unix.so" "account required $M" | pam dr-unix
	printf '%s\n' "auth sufficient $M verify" "@include dr-common" "account required $M" | pam dr-include
	printf '%s\n' "auth [success=1 default=ignore] pam_debug.so" "auth requisite pam_deny.so" "auth required pam_permit.so" | pam dr-common
	printf '%s\n' "auth required pam_unix.so" "auth required \\" "  $M verify" "account required $M" | pam dr-first
	printf '%s\n' "auth optional pam_exec.so expose_authtok /bin/true" "auth required $M verify" "account optional $M" | pam dr-exec
	printf '%s\n' "auth required $M verify" | pam dr-noaccount
	printf '%s\n' "auth required $M retrieve credential=x" | pam dr-retrieve
	printf '%s\n' "auth required pam_unix.so" "auth required $M retrieve credential=x" | pam dr-required
	printf '%s\n' "auth requisite pam_unix.so" "auth required $M retrieve credential=x" "session optional pam_keyinit.so force revoke" \
		"session optional $M" | pam dr-session
	printf '%s\n' "session optional $M" "session optional pam_keyinit.so force revoke" | pam dr-late
	printf '%s\n' "auth required /nonexistent/pam_keyfob.so verify" "account required $M" | pam dr-gone
	printf '%s\n' "auth include dr-loop" "auth required $M verify" "account required $M" | pam dr-loop
	printf '%s\n' "auth required $M verify" "account required $M" | pam dr-writable
	chmod 0666 /etc/pam.d/dr-writable
	printf '%s\n' "auth required $M verify service=dr-one" "account required $M service=dr-one" | pam dr-alias
	printf 'auth required pam_deny.so\n' | pam saslauthd
	examine
	finds "verify as it should be" PAM ok dr-good ':1: verify, required'
	is "of which nothing else is said" "$(jq '[.[] | select(.subject == "dr-good")] | length' "$JSON")" 1
	finds "verify that is optional" PAM error dr-optional 'optional: a token that is refused does not end the login' "^auth required $M verify$"
	finds "the same in brackets" PAM error dr-bracket 'does not end the login'
	finds "pam_permit after it" PAM error dr-permit 'a token that is refused logs in' 'pam_deny.so'
	finds "pam_unix after it" PAM warning dr-unix 'with a password' 'tokens alone'
	finds_no "an included stack that ends in pam_deny lets nobody in" PAM error dr-include ''
	finds "pam_unix before it" PAM error dr-first ':1: pam_unix refuses what is a token' 'first'
	finds "a line that goes on in the next" PAM ok dr-first ':2: verify'
	finds "pam_exec before it" PAM warning dr-exec 'cut to 511 bytes' 'expose_authtok'
	finds "account that is optional" PAM error dr-exec ':3: optional: who may log in no longer' '^account required'
	finds "no account line" PAM error dr-noaccount 'no account line' '^account required'
	finds "retrieve alone" PAM error dr-retrieve 'before any module that authenticates' 'requisite'
	finds "retrieve after what goes on" PAM warning dr-required 'retrieve goes on all the same' '^auth requisite pam_unix.so'
	finds "retrieve as it should be" PAM ok dr-session 'retrieve, after pam_unix.so'
	finds "session as it should be" PAM ok dr-session 'session, after pam_keyinit'
	finds "pam_keyinit too late" PAM error dr-late ':1: no pam_keyinit.so before it' 'pam_keyinit.so force revoke'
	finds "a module that is not there" PAM error dr-gone '/nonexistent/pam_keyfob.so: No such file' 'name the path'
	finds "a stack that includes itself" PAM warning dr-loop 'dr-loop: Too many levels' ''
	finds "a stack that others may write" PAM error dr-writable 'others than root may write it' 'chmod go-w /etc/pam.d/dr-writable'
	finds "a service that does not verify" PAM error saslauthd 'does not verify there' 'two lines'
	finds_no "a service under another name does" PAM error dr-one ''
	# Its name begins like that one's, and the first of its users is nobody's to take.
	cp "$CONFIG" "$DIR/out/conf"
	cat >>"$CONFIG" <<END
[identity-provider dr-far]
issuer = https://far.example
authorization_type = user
audience = api://far
jwks_file = $DIR/etc/none.jwks
[organization dr-org]
services = dr-on
identity_providers = dr-idp
[database-user dr-a]
service = dr-on
identity_provider = dr-far
user_id = x
[database-user dr-b]
service = dr-on
identity_provider = dr-idp
user_id = x
END
	examine
	finds "a service that only its beginning shares" PAM error dr-on '/etc/pam.d/dr-on: there is none' 'auth required pam_keyfob.so verify'
	cp "$DIR/out/conf" "$CONFIG"
else
	skip "PAM stacks" "no mount namespaces, or no /etc/pam.d"
fi

# --- drivers ---------------------------------------------------------------------------------------------------------------------
app=$DIR/app
node() { # DIRECTORY VERSION [NAME]
	mkdir -p "$1" && printf '{"name":"%s","version":"%s"}' "${3:-mongodb}" "$2" >"$1/package.json"
}
mkdir "$app"
node "$app/a/node_modules/mongodb" 6.16.0
node "$app/b/node_modules/x/node_modules/mongodb" 6.7.0
node "$app/c/node_modules/mongodb" 6.17.0
node "$app/d/node_modules/mongodb" 5.9.2
node "$app/e/node_modules/mongodb" 7.1.0 not-mongodb
node "$app/f/mongodb" 1.0.0
mkdir -p "$app/py/pymongo-4.6.1.dist-info" "$app/py2/pymongo-4.11.dist-info" "$app/go" "$app/go2" "$app/jar" "$app/net" "$app/c-lib"
printf 'module x\nrequire go.mongodb.org/mongo-driver v1.17.1 // indirect\n' >"$app/go/go.mod"
printf 'module x\nrequire (\n\tgo.mongodb.org/mongo-driver/v2 v2.2.0\n)\n' >"$app/go2/go.mod"
touch "$app/jar/mongodb-driver-core-5.4.0.jar" "$app/jar/mongodb-driver-core-5.6.0.jar" "$app/c-lib/libmongoc-1.0.so.0.0.0" "$app/c-lib/libmongoc2.so.2.3.1"
printf '{"libraries":{"Other/1.0.0":{},"MongoDB.Driver/3.1.0":{}}}' >"$app/net/app.deps.json"
examine doctor "$app"
finds "Node.js that never recovers" drivers warning 'mongodb .Node' "^6\.16\.0 in $app/a/node_modules/mongodb never recovers .*NODE-6962" '^npm install mongodb@'
finds "Node.js that reads no token file, far below" drivers warning 'mongodb .Node' '^6\.7\.0 .*token file'
finds "Node.js without MONGODB-OIDC" drivers warning 'mongodb .Node' '^5\.9\.2 .*has no MONGODB-OIDC'
finds "Node.js that is good" drivers ok 'mongodb .Node' '^6\.17\.0 in '
finds_no "what only bears the name is none" drivers ok 'mongodb .Node' '^7\.1\.0'
finds_no "nor what lies elsewhere" drivers warning 'mongodb .Node' '^1\.0\.0'
finds "PyMongo" drivers warning PyMongo '^4\.6\.1 .*has no MONGODB-OIDC' 'pip install'
finds "PyMongo that is good" drivers ok PyMongo '^4\.11 in'
finds "Go" drivers warning 'Go driver' '^1\.17\.1 .*token file' 'go get'
finds "Go that is good" drivers ok 'Go driver' '^2\.2\.0 in'
finds "Java" drivers warning 'Java driver' '^5\.4\.0 .*inside a session'
finds "Java that is good" drivers ok 'Java driver' '^5\.6\.0 in'
finds "C#" drivers warning 'C# driver' '^3\.1\.0 .*token file' 'dotnet add'
finds "libmongoc" drivers warning libmongoc '^1 .*has no MONGODB-OIDC'
finds "libmongoc that is good" drivers ok libmongoc '^2\.3\.1 in'
# What somebody may put there who knows that root will look.
evil=$DIR/evil
mkdir -p "$evil/node_modules/mongodb" "$evil/l/node_modules/mongodb" "$evil/big/node_modules/mongodb" "$evil/bad/node_modules/mongodb" "$evil/deep/node_modules/mongodb"
mkfifo "$evil/node_modules/mongodb/package.json"
ln -s "$app/a/node_modules/mongodb/package.json" "$evil/l/node_modules/mongodb/package.json"
ln -s / "$evil/root"
ln -s .. "$evil/loop"
head -c 3000000 /dev/zero >"$evil/big/node_modules/mongodb/package.json"
printf '{"name":"mongodb","version":"6.0.0\\u001b[2J; $(touch x)"}' >"$evil/bad/node_modules/mongodb/package.json"
head -c 100000 /dev/zero | tr '\0' '[' >"$evil/deep/node_modules/mongodb/package.json"
down=$evil
for i in $(seq 30); do down=$down/d; done
mkdir -p "$down"
examine doctor "$evil"
is "a hostile tree gives no driver" "$(jq '[.[] | select(.check == "drivers" and (.text | contains("evil")))] | length' "$JSON")" 0
finds "it ends, and says that it did not look at all of it" drivers warning drivers 'not all was looked at'
for i in $(seq 8); do node "$evil/good$i/node_modules/mongodb" 6.17.0; done
examine doctor "$evil"
is "what is too deep hides nothing else" "$(jq '[.[] | select(.check == "drivers" and (.text | contains("evil/good")))] | length' "$JSON")" 8
finds "and is told all the same" drivers warning drivers 'not all was looked at'
examine doctor "$DIR/nothing-there"
finds "a directory that is not there" drivers error nothing-there 'No such file'

# --- without a broker ---------------------------------------------------------------------------------------------------------------
healthy | configure
stop_broker KILL
examine
finds "the broker is gone" daemons error "keyfobd" 'cannot reach|does not listen' 'systemctl (re)?start keyfobd'
is "exit 1" "$CODE" 1
examine doctor_as "$alice"
finds "a user sees it too" daemons error "keyfobd" 'cannot reach|does not listen'
is "exit 1 for him" "$CODE" 1
rm -f "$KEYFOB_SOCKET"
chmod 0777 "$DIR/run"
: >"$KEYFOB_SOCKET"
examine
finds "a socket that is none" daemons error "keyfob.sock" 'it is no socket'
finds "in a directory where others may put theirs" daemons error '/run$' 'others than its owner may write there' 'chmod go-w'
exits "an option that is not there" 2 keyfob doctor --frobnicate
finish
