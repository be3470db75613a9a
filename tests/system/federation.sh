#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The verbs of the Accept half on a host where both daemons run: what they change takes effect at once, what a daemon refuses is
# taken back, and whatever ends an edit half-way leaves the old file or the new one.
. "$(dirname "$0")/lib.sh"

MINT=$HELPERS/mint KEYS=$DIR/keys CONF=$DIR/etc/conf.d
new_user
alice=$USER_NAME
new_user
bob=$USER_NAME
export KEYFOB_CONFIG=$CONFIG

# --- scene ------------------------------------------------------------------------------
install -d -m 0700 "$KEYS"
"$MINT" keys "$KEYS" || exit 1
install -m 0644 "$KEYS/jwks.json" "$DIR/etc/jwks.json"
token() { # CLAIMS [OPTION...]
	local claims=$1
	shift
	"$MINT" token --key "$KEYS/rsa.pem" --alg RS256 --kid rsa --life 600 --claims "$claims" "$@"
}
alice() {
	token '{"iss":"https://minted.example","aud":"orders","sub":"id of alice"}'
}
ALICE=$(alice)
TEAM=$(token '{"iss":"https://teams.example","aud":"orders","sub":"x","groups":["dba","dev"]}')
printf '%s' "$ALICE" >"$DIR/etc/token"
chmod 0644 "$DIR/etc/token"
configure <<END
[service guarded]
allow = user:$bob
END
start_broker
start_verifier
verify() { # TOKEN SERVICE LOGIN [OPTION...]
	local token=$1 service=$2 login=$3
	shift 3
	printf '%s\n' "$token" | keyfob verify --service "$service" --login "$login" "$@" -
}
add_minted() {
	keyfob idp add minted --issuer https://minted.example --audience orders --jwks-file "$DIR/etc/jwks.json" "$@"
}

# --- the programs --------------------------------------------------------------------------
unlike "keyfob itself links no JSON, HTTP or cryptography" "$(ldd "$KEYFOB_PREFIX/bin/keyfob")" 'jansson|curl|crypto|ini_config'
cp "$KEYFOB_PREFIX/bin/keyfob" "$DIR/out/alone"
exits "without keyfob-admin its verbs say what is missing" 1 "$DIR/out/alone" idp list
like "by name" "$ERR" '^keyfob: cannot find keyfob-admin beside this program'
exits "and it knows whose the others are" 2 "$KEYFOB_PREFIX/libexec/keyfob/keyfob-admin" status
exits "an empty host lists nothing" 0 keyfob idp list
like "and says how to begin" "$OUT" 'keyfob idp add --help'

# --- adding takes effect at once ---------------------------------------------------------------
exits "a token of nobody known" 7 verify "$ALICE" postgresql orders
like "is refused for its issuer" "$ERR" '^keyfob: ISS: '
exits "an identity provider is added" 0 add_minted --description 'made by the test'
is "the daemons were told, nothing is amiss" "$ERR" ""
exits "its token has no login yet" 7 verify "$ALICE" postgresql orders
like "which is the reason" "$ERR" '^keyfob: LOGIN_UNKNOWN: '
exits "a database user is added" 0 keyfob dbuser add orders --service postgresql --idp minted --user-id 'id of alice' --account orders_rw
exits "and may log in, without a restart" 0 verify "$ALICE" postgresql orders
like "as who he is" "$OUT" '^  subject  *id of alice$'
like "and what he is there" "$OUT" '^  account  *orders_rw$'
exits "the same as JSON" 0 verify "$ALICE" postgresql orders --json
is "is valid" "$(jq -r '[.accepted, .identity_provider, .subject, .account, (.expires_at > now)] | map(tostring) | join(" ")' <<<"$OUT")" \
	"true minted id of alice orders_rw true"
exits "groups" 0 keyfob idp add teams --issuer https://teams.example --audience orders --type group --jwks-file "$DIR/etc/jwks.json"
exits "let a group in" 0 keyfob dbuser add dbas --service postgresql --idp teams --group-id dba --login dba
exits "whose member logs in" 0 verify "$TEAM" postgresql dba
exits "and not as another" 7 verify "$TEAM" postgresql orders
exits "nor elsewhere" 7 verify "$TEAM" mariadb dba

# --- who is told what -----------------------------------------------------------------------------
as_verify() { # USER TOKEN SERVICE
	printf %s "$2" | as "$1" keyfob verify --service "$3" --login orders -
}
exits "others may ask as well" 0 as_verify "$alice" "$ALICE" postgresql
exits "but are not told why it is refused" 7 as_verify "$alice" "$TEAM" postgresql
is "just that it is" "$ERR" "keyfob: the token is refused (root is told why, and so is the log)"
exits "a service that names its users turns others away" 4 as_verify "$alice" "$ALICE" guarded
exits "and judges for them" 7 as_verify "$bob" "$ALICE" guarded
exits "key sets are root's" 4 as "$alice" keyfob jwks list
exits "to revoke too" 4 as "$alice" keyfob jwks revoke minted
exits "a change is refused to others" 4 as "$alice" keyfob --config "$CONFIG" idp delete minted --yes
like "with what they can do" "$ERR" 'only root may change the configuration \(sudo keyfob'
exits "they may look" 0 as "$alice" keyfob --config "$CONFIG" dbuser list
exits "and print" 0 as "$alice" keyfob --config "$CONFIG" dbuser add x --service ssh --idp minted --user-id x --print
like "what root would write" "$OUT" '^\[database-user x\]$'

# --- refusals of the rules, with the daemons running --------------------------------------------------
exits "two with one issuer and audience" 1 keyfob idp add twin --issuer https://minted.example --audience orders
exits "a templated Azure issuer" 1 keyfob idp add az --issuer https://login.microsoftonline.com/common/v2.0 --audience x
exits "a user of an unknown provider" 1 keyfob dbuser add y --service ssh --idp nobody --user-id y
exits "one in use is not deleted" 1 keyfob idp delete minted --yes
like "and those come first are named" "$ERR" 'keyfob dbuser delete orders$'
is "nothing was written" "$(ls "$CONF")" "$(printf '%s\n' dbuser-dbas.conf dbuser-orders.conf idp-minted.conf idp-teams.conf)"

# --- organizations -----------------------------------------------------------------------------------
exits "the first organization takes from others what all had" 1 keyfob org add acme --services postgresql,mariadb --idp minted
like "so it lists them" "$OUT" '^  postgresql: login dba, group dba of teams \(database user dbas\)$'
exits "and wants --yes" 0 keyfob org add acme --services postgresql,mariadb --idp minted --yes
exits "then they are out" 7 verify "$TEAM" postgresql dba
like "for that reason" "$ERR" '^keyfob: NOT_CONNECTED: '
exits "connected" 0 keyfob idp connect teams acme
exits "they are in" 0 verify "$TEAM" postgresql dba
exits "disconnecting lists who goes" 1 keyfob idp disconnect minted acme
like "where" "$OUT" '^  postgresql: login orders, user id of alice of minted \(database user orders\)$'
like "how to end sessions in PostgreSQL" "$OUT" "SELECT pg_terminate_backend\(pid\) FROM pg_stat_activity WHERE usename IN \('orders'\);"
like "and MariaDB" "$OUT" 'KILL USER `orders`;'
exits "and does nothing yet" 0 verify "$ALICE" postgresql orders
exits "with --yes it does" 0 keyfob idp disconnect minted acme --yes
exits "at once" 7 verify "$ALICE" postgresql orders
like "in words" "$ERR" '^keyfob: NOT_CONNECTED: .*keyfob idp connect'
exits "nobody is added for a provider that is not connected" 1 keyfob dbuser add z --service mariadb --idp minted --user-id z
like "but told how" "$ERR" 'keyfob idp connect minted acme$'
exits "connected again" 0 keyfob idp connect minted acme
exits "all is as before" 0 verify "$ALICE" postgresql orders

# --- JSON everywhere -----------------------------------------------------------------------------------
for words in 'idp list' 'idp show minted' 'org list' 'org show acme' 'dbuser list' 'dbuser show orders' 'jwks list' 'jwks list teams'; do
	# shellcheck disable=SC2086
	exits "keyfob $words --json" 0 keyfob $words --json
	check "is one JSON object" jq -e -s 'length == 1 and (.[0] | type == "object")' "$DIR/out/stdout"
done
is "with what there is" "$(keyfob dbuser list --json | jq -r '.database_users[] | "\(.name) \(.login) \(.account) \(.connected)"')" \
	"$(printf 'dbas dba dba true\norders orders orders_rw true')"
is "and the keys" "$(keyfob jwks list minted --json | jq -r '.key_sets[0] | "\(.state) \([.keys[].kid] | sort | join(" "))"')" \
	"good ed25519 p256 p384 p521 rsa rsa2"
like "for people too" "$(keyfob jwks list minted)" '^minted  good'

# --- explain ---------------------------------------------------------------------------------------------
explain() { # TOKEN [OPTION...]
	local token=$1
	shift
	printf %s "$token" | keyfob explain "$@" -
}
exits "root reads whether the provider would take it" 0 explain "$ALICE"
like "signature and all" "$OUT" '^  would pass minted: yes, the signature is good; it is id of alice$'
exits "a tampered one" 7 explain "$("$MINT" token --key "$KEYS/rsa.pem" --alg RS256 --kid rsa --life 600 \
	--claims '{"iss":"https://minted.example","aud":"orders","sub":"x"}' --spoil signature)"
like "would not pass" "$OUT" '^  would pass minted: NO, SIGNATURE: '
exits "another audience" 7 explain "$(token '{"iss":"https://minted.example","aud":"other","sub":"x"}')"
like "neither, and what was wanted is told" "$OUT" 'NO, AUD: .*other.*orders'
exits "another provider" 7 explain "$ALICE" --idp teams
exits "an unknown one" 3 explain "$ALICE" --idp team
like "and which was meant" "$ERR" 'did you mean teams\?'
exits "by MongoDB's rules" 0 explain "$ALICE" --rules mongodb
exits "which know no at+jwt" 7 explain "$(token '{"iss":"https://minted.example","aud":"orders","sub":"x"}' --header '{"typ":"at+jwt"}')" \
	--rules mongodb
as_explain() {
	printf %s "$ALICE" | as "$alice" keyfob --config "$CONFIG" explain -
}
exits "others read what the claims say" 0 as_explain
like "and that no signature was checked" "$OUT" 'by its claims yes; the signature was not checked'
cat >"$CONF/app.conf" <<END
[credential app]
provider = file path=$DIR/etc/token
identity_provider = minted
allow = user:$alice
END
exits "a credential with an identity provider" 0 keyfob reload
exits "is explained by it" 0 keyfob explain app
like "by name" "$OUT" '^  would pass minted: yes, the signature is good'
sed -i 's/= minted/= teams/' "$CONF/app.conf"
exits "of another" 0 keyfob reload
exits "it would not pass" 7 keyfob explain app
like "for its issuer" "$OUT" '^  would pass teams: NO, ISS: '
rm "$CONF/app.conf"
keyfob reload >/dev/null

# --- key sets --------------------------------------------------------------------------------------------
exits "a key set is read again" 0 keyfob jwks refresh minted
like "with its keys counted" "$OUT" '^minted: fetched afresh, 6 keys$'
exits "no such provider" 3 keyfob jwks refresh mint
exits "revoked" 0 keyfob jwks revoke minted
like "with what that means" "$OUT" 'Not for rotation'
is "the times are counted" "$(keyfob jwks list minted --json | jq .key_sets[0].epoch)" 1
exits "the next login with an old token is refused" 7 verify "$ALICE" postgresql orders
like "and root reads why" "$ERR" '^keyfob: REVOKED: '
ALICE=$(alice)
exits "and with a new one there are no keys to judge by" 8 verify "$ALICE" postgresql orders
like "and root reads why" "$ERR" '^keyfob: KEYS_REVOKED: '
exits "read again, it goes on" 0 keyfob jwks refresh minted
exits "as before" 0 verify "$ALICE" postgresql orders

# --- a daemon refuses: all is taken back ---------------------------------------------------------------------
printf '[credential broken]\nprovider = file path=/x\nno_such_key = 1\n' >"$CONF/zz-broken.conf"
before=$(cd "$CONF" && sha256sum -- *)
exits "the broker does not take a change" 1 keyfob idp add extra --preset google some-audience
like "for a fault that was there" "$ERR" '^keyfob: extra: keyfobd does not take the new configuration: '
like "and it is taken back" "$ERR" '^keyfob: extra: nothing was changed: '
exits "nor a disconnect" 1 keyfob idp disconnect minted acme --yes
exits "nor a deletion" 1 keyfob dbuser delete orders --yes
is "all files are as they were" "$(cd "$CONF" && sha256sum -- *)" "$before"
rm "$CONF/zz-broken.conf"
exits "mended, it goes" 0 keyfob idp add extra --preset google some-audience

# --- daemons that do not run -----------------------------------------------------------------------------------
stop_verifier
exits "no verifier: a token cannot be judged" 6 verify "$ALICE" postgresql orders
like "and what to look at" "$ERR" '\(is keyfob-verifyd running\?\)$'
exits "a change is made all the same" 0 keyfob idp delete extra --yes
like "and when it takes effect" "$ERR" '^keyfob: extra: keyfob-verifyd is not running: takes effect there at its next start$'
unlike "the broker took it" "$ERR" 'keyfobd is not'
exits "explain does with the claims" 0 explain "$ALICE"
exits "reload needs no verifier" 0 keyfob reload
start_verifier
exits "started again, it judges" 0 verify "$ALICE" postgresql orders

# --- deleting takes effect at once -----------------------------------------------------------------------------
exits "a database user is deleted" 0 keyfob dbuser delete orders --yes
like "told who it was" "$OUT" '^  postgresql: login orders'
exits "and out" 7 verify "$ALICE" postgresql orders
exits "his provider is disconnected" 0 keyfob idp disconnect minted acme --yes
like "by which nobody loses anything" "$OUT" '^Nobody lost access'
exits "then it can go" 0 keyfob idp delete minted --yes
exits "and its tokens are those of nobody" 7 verify "$ALICE" postgresql orders
like "for the issuer" "$ERR" '^keyfob: ISS: '

# --- several at a time ------------------------------------------------------------------------------------------
stop_verifier
stop_broker
export KEYFOB_SOCKET=$DIR/run/nobody.sock KEYFOB_VERIFY_SOCKET=$DIR/run/nobody.sock
pids=""
for i in 1 2 3 4 5 6 7 8; do
	keyfob dbuser add "many$i" --service postgresql --idp teams --group-id "g$i" >"$DIR/out/many$i" 2>&1 &
	pids="$pids $!"
done
failed=0
for pid in $pids; do wait "$pid" || failed=$((failed + 1)); done
is "eight edits at a time all go well" "$failed" 0
is "and all are there" "$(keyfob dbuser list --json | jq '[.database_users[] | select(.name | startswith("many"))] | length')" 8

# --- killed half-way ------------------------------------------------------------------------------------------------
exits "an organization to connect" 0 keyfob org add torn --services postgresql
old=$(cat "$CONF/org-torn.conf")
new=$(printf '[organization torn]\nidentity_providers = teams\nservices = postgresql')
bad=0 was_old=0 was_new=0
for i in $(seq 0 40); do
	keyfob idp connect teams torn >/dev/null 2>&1 &
	pid=$!
	sleep "0.0$(printf %02d "$i")"
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	case $(cat "$CONF/org-torn.conf") in
	"$old") was_old=$((was_old + 1)) ;;
	"$new") was_new=$((was_new + 1)) ;;
	*) bad=$((bad + 1)) ;;
	esac
	keyfob org list >/dev/null 2>&1 || bad=$((bad + 1))
	printf '%s\n' "$old" >"$CONF/org-torn.conf"
done
is "killed at any moment, the file is the old or the new one" "$bad" 0
echo "# killed: $was_old old, $was_new new"
exits "and the next edit goes well" 0 keyfob idp connect teams torn
is "with nothing left over but the lock" "$(find "$CONF" -name '.*' -type f)" "$CONF/.keyfob-lock"
mkfifo -m 0666 "$DIR/out/hold"
as "$alice" flock --nonblock "$CONF" cat "$DIR/out/hold" &
holder=$!
exec 8>"$DIR/out/hold"
exits "who may only look cannot keep root from editing" 0 keyfob idp disconnect teams torn --yes
check_not "for the lock is root's" as "$alice" flock --nonblock "$CONF/.keyfob-lock" true
exits "and back" 0 keyfob idp connect teams torn
exec 8>&-
wait "$holder"
is "he held what he could" $? 0

# --- a disk that is full, or read-only ----------------------------------------------------------------------------------
# The daemons are left alone: the mount is of this shell's namespace.
cat >"$DIR/out/small" <<'END'
#!/bin/sh
# small OPTIONS COMMAND...: with conf.d on a small file system of its own
set -e
mkdir "$DIR/out/copy.$$"
cp "$CONF"/* "$DIR/out/copy.$$/"
mount -t tmpfs -o "$1" keyfob-test "$CONF"
chmod 0755 "$CONF"
cp "$DIR/out/copy.$$"/* "$CONF/"
(umask 077 && : >"$CONF/.keyfob-lock")
shift
"$@"
END
cat >"$DIR/out/full" <<'END'
#!/bin/sh
before=$(cat "$CONF/org-torn.conf")
cat /dev/zero >"$CONF/filling" 2>/dev/null
keyfob idp disconnect teams torn --yes
echo "disconnect $?"
keyfob idp add filled --preset google x
echo "add $?"
[ "$(cat "$CONF/org-torn.conf")" = "$before" ] && echo same
find "$CONF" -name '.keyfob-edit' -type f
ls "$CONF" | grep filled
rm "$CONF/filling"
keyfob idp disconnect teams torn --yes >/dev/null 2>&1
echo "with room $?"
END
cat >"$DIR/out/read-only" <<'END'
#!/bin/sh
mount -o remount,ro "$CONF"
keyfob idp disconnect teams torn --yes
echo "disconnect $?"
keyfob dbuser delete many1 --yes
echo "delete $?"
keyfob org list >/dev/null
echo "list $?"
END
chmod 0755 "$DIR/out/small" "$DIR/out/full" "$DIR/out/read-only"
export DIR CONF
if unshare --mount --propagation private true 2>/dev/null; then
	exits "a full disk" 0 unshare --mount --propagation private "$DIR/out/small" size=128k "$DIR/out/full"
	is "leaves all as it was, and no debris" "$OUT" "$(printf 'disconnect 1\nadd 1\nsame\nwith room 0')"
	like "with the reason" "$ERR" '^keyfob: torn: .*/conf\.d/org-torn\.conf: No space left on device$'
	exits "a read-only one" 0 unshare --mount --propagation private "$DIR/out/small" size=1m "$DIR/out/read-only"
	is "does too" "$OUT" "$(printf 'disconnect 1\ndelete 1\nlist 0')"
	like "and says so" "$ERR" '^keyfob: many1: .*/conf\.d/dbuser-many1\.conf: Read-only file system$'
	is "what the host has is untouched" "$(cat "$CONF/org-torn.conf")" "$new"
else
	skip "a full disk, a read-only one" "no mount namespaces"
fi
finish
