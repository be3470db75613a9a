#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is wrong in a configuration is told with file and line; a reload takes the new one whole or keeps the old one whole.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
new_user; carol=$USER_NAME
new_group "$bob"; team=$GROUP_NAME
start_emulator
mkdir -m 0755 "$DIR/bin"
cat >"$DIR/bin/token" <<'EOF'
#!/bin/sh
printf '{"access_token":"callback-%s","expires_in":3600}' "$1"
EOF
chmod 0755 "$DIR/bin/token"

# --- faults, each through both ways of checking --------------------------------------------

# faulty WHAT PATTERN: the configuration on stdin is refused, and the pattern says how
faulty() {
	configure
	exits "$1: keyfobd --check refuses it" 1 keyfobd --check --config "$CONFIG"
	like "$1: and says so" "$ERR" "$2"
	exits "$1: keyfob doctor --config too" 1 keyfob --config "$CONFIG" doctor --config
	like "$1: with the same words" "$ERR" "$2"
}
# fault_line WHAT PATTERN LINE: a credential with one more line, its fifth
fault_line() {
	faulty "$1" "keyfob.conf:5: $2" <<EOF
[credential atlas]
resource = api://0d5c1c0e
provider = azure
allow = user:$alice
$3
EOF
}

fault_line "unknown key" 'a credential has no key colour \(it has: description, resource,' 'colour = green'
fault_line "unknown option" 'azure has no option zone \(it has: .*client_id.*\)' 'provider = azure zone=x'
fault_line "option given twice" 'option client_id is given twice' 'provider = azure client_id=a client_id=b'
fault_line "option of the wrong kind" 'option endpoint must be a URL: http://HOST' 'provider = azure endpoint=10.0.0.1'
fault_line "choice that is none" 'option source must be imds' 'provider = azure source=magic'
fault_line "duration that is none" 'timeout must be a duration: 30s, 5m, 1h' 'provider = azure timeout=soon'
fault_line "timeout that is too long" 'timeout is at most 120s' 'provider = azure timeout=1h'
fault_line "word that is no option" '"client_id" is not option=value' 'provider = azure client_id'
fault_line "open quote" 'a quote is not closed' 'provider = azure "client_id=a'
fault_line "arguments where none belong" 'azure takes no words after --' 'provider = azure -- /bin/true'
fault_line "unknown module" 'module aws: there is no such module in .* \(keyfob module list\)' 'provider = aws'
fault_line "module name that climbs" "provider wants a module's name first" 'provider = ../azure'
fault_line "empty provider line" "provider wants a module's name first" 'provider ='
fault_line "program without its user" 'callback-exec runs a program and must say as whom: run_as=USER' "provider = callback-exec -- $DIR/bin/token"
fault_line "callback without a program" 'callback-exec wants the words --' "provider = callback-exec run_as=$alice"
fault_line "allow that is none" 'allow takes user:NAME and group:NAME, not "orders"' 'allow = orders'
fault_line "token kind that is none" 'token is access or id' 'token = refresh'
fault_line "refresh that is none" 'refresh is ahead or on-demand' 'refresh = never'
fault_line "store that is none" 'store is keyring or socket' 'store = file'
fault_line "file that is none" 'file is raw, or pgpass HOST:PORT:DATABASE:USER' 'file = yaml'
fault_line "pgpass without its form" 'file = pgpass db.example: it takes HOST:PORT:DATABASE:USER' 'file = pgpass db.example'
fault_line "pgpass with a port that is none" 'file = pgpass db.example:postgres:orders:rw: PORT is a number up to 65535, or \*' 'file = pgpass db.example:postgres:orders:rw'
fault_line "socket that is none" 'socket takes USER:GROUP MODE' 'socket = 0660'
fault_line "socket with a mode that is none" 'socket takes USER:GROUP MODE' "socket = $alice:$team rw-rw----"
fault_line "socket that nobody may connect to" 'socket: mode 0440 lets nobody connect' "socket = $alice:$team 0440"
fault_line "socket of an unknown user" 'credential atlas: socket: there is no user nobody-such' "socket = nobody-such:$team 0660"
fault_line "socket of an unknown group" 'credential atlas: socket: there is no group nobody-such' "socket = $alice:nobody-such 0660"
fault_line "flag that is none" 'trust_run_as is yes or no' 'trust_run_as = perhaps'
fault_line "min_ttl that is none" 'min_ttl is a duration' 'min_ttl = -5'
fault_line "resource given twice" 'resource is given twice' 'resource = api://other'
fault_line "line without a sign" 'Equal sign is missing' 'nothing here'

# These are found once the names are looked up, and carry the line of their section.
faulty "unknown user" 'keyfob.conf:[0-9]+: credential atlas: there is no user nobody-such' <<EOF
[credential atlas]
provider = azure
allow = user:nobody-such
EOF
faulty "unknown group" 'keyfob.conf:[0-9]+: credential atlas: there is no group nobody-such' <<EOF
[credential atlas]
provider = azure
allow = group:nobody-such
EOF
faulty "unknown run_as" 'keyfob.conf:[0-9]+: credential atlas: run_as=nobody-such: there is no such user' <<EOF
[credential atlas]
provider = callback-exec run_as=nobody-such -- $DIR/bin/token
EOF
faulty "program as root" 'keyfob.conf:[0-9]+: credential atlas: run_as=root: a provider never runs as root' <<EOF
[credential atlas]
provider = callback-exec run_as=root -- $DIR/bin/token
EOF
faulty "program as somebody else's user" "keyfob.conf:[0-9]+: credential atlas runs its provider as $bob and allows user:$alice, .*trust_run_as = yes" <<EOF
[credential atlas]
provider = callback-exec run_as=$bob -- $DIR/bin/token
allow = user:$bob user:$alice
EOF
faulty "program as one of a group" "credential atlas runs its provider as $bob and allows group:$team" <<EOF
[credential atlas]
provider = callback-exec run_as=$bob -- $DIR/bin/token
allow = group:$team
EOF
faulty "one line of a pgpass file from two credentials" 'keyfob.conf:8: credential orders: the line db:5432:orders:rw of a pgpass file is that of credential atlas too \(.*keyfob.conf:4\)' <<EOF
[credential atlas]
provider = azure
allow = user:$alice
file = pgpass db:5432:orders:rw
[credential orders]
provider = azure
allow = user:$bob user:$alice
file = pgpass db:5432:orders:rw
EOF
faulty "file that nobody would keep fresh" 'keyfob.conf:3: credential atlas: file wants refresh = ahead' <<EOF
[credential atlas]
provider = azure
file = raw
refresh = on-demand
EOF
faulty "no provider" 'keyfob.conf:[0-9]+: credential atlas has no provider line' <<EOF
[credential atlas]
allow = user:$alice
EOF
faulty "unknown section" 'keyfob.conf:[0-9]+: there is no section \[credentials\] \(there is: \[credential NAME\], \[identity-provider NAME\], ' <<EOF
[credentials atlas]
provider = azure
EOF
faulty "key before any section" 'keyfob.conf:1: a key stands before the first section' <<EOF
provider = azure
EOF
faulty "empty section" 'keyfob.conf:3: credential atlas has no provider line' <<EOF
# nothing

[credential atlas]
EOF
faulty "name with a slash" 'keyfob.conf:[0-9]+: \[credential a/b\]: a name has 1 to' <<EOF
[credential a/b]
provider = azure
EOF
faulty "section twice in one file" 'keyfob.conf:3: this section stands here for the second time' <<EOF
[credential atlas]
provider = azure
[credential atlas]
provider = gcp
EOF
faulty "several faults: the first" 'keyfob.conf:2: a credential has no key colour' <<EOF
[credential atlas]
colour = green
provider = azure
[credential other]
size = large
provider = azure
EOF
like "several faults: the others too" "$ERR" 'keyfob.conf:5: a credential has no key size'
good() {
	configure <<EOF
[credential atlas]
resource = api://0d5c1c0e
provider = azure endpoint=$CLOUD
allow = user:$alice group:$team
EOF
}
good
cat >"$DIR/etc/conf.d/20-team.conf" <<EOF
[credential atlas]
provider = azure
allow = user:$carol
EOF
exits "section in two files: refused" 1 keyfobd --check --config "$CONFIG"
like "section in two files: both are named" "$ERR" '20-team.conf:[0-9]+: \[credential atlas\] stands already in .*/keyfob.conf:[0-9]+; a section may be given once'
cat >"$DIR/etc/conf.d/20-team.conf" <<EOF
[credential team]
colour = green
provider = azure
EOF
exits "fault in a drop-in: refused" 1 keyfobd --check --config "$CONFIG"
like "fault in a drop-in: the drop-in is named" "$ERR" 'conf.d/20-team.conf:2: a credential has no key colour'
rm "$DIR/etc/conf.d/20-team.conf"
exits "nothing wrong: keyfobd --check" 0 keyfobd --check --config "$CONFIG"
like "nothing wrong: it says so" "$ERR" '1 credential, no fault found'
exits "nothing wrong: keyfob doctor --config" 0 keyfob --config "$CONFIG" doctor --config

# --- files that may not or cannot be read -----------------------------------------------------

# refused WHAT PATTERN
refused() {
	exits "$1: refused" 1 keyfobd --check --config "$CONFIG"
	like "$1: in words" "$ERR" "$2"
}
only_root='owned by root and not writable by group or others'
chmod 0664 "$CONFIG"
refused "group-writable file" "/keyfob.conf: must be a file $only_root"
chmod 0646 "$CONFIG"
refused "world-writable file" "/keyfob.conf: must be a file $only_root"
chmod 0644 "$CONFIG"
chown "$alice" "$CONFIG"
refused "somebody's file" "/keyfob.conf: must be a file $only_root"
chown root "$CONFIG"
chmod 0775 "$DIR/etc"
refused "group-writable directory" "/etc: must be $only_root"
chmod 0755 "$DIR/etc"
chown "$alice" "$DIR/etc"
refused "somebody's directory" "/etc: must be $only_root"
chown root "$DIR/etc"
touch "$DIR/etc/conf.d/10-empty.conf"
chmod 0777 "$DIR/etc/conf.d"
refused "world-writable directory of drop-ins" "/conf.d: must be $only_root"
chmod 0755 "$DIR/etc/conf.d"
chmod 0666 "$DIR/etc/conf.d/10-empty.conf"
refused "world-writable drop-in" "/10-empty.conf: must be a file $only_root"
rm "$DIR/etc/conf.d/10-empty.conf"
printf '[credential atlas]\nprovider = azure\ndescription = a\0b\n' >"$CONFIG"
refused "NUL byte" '/keyfob.conf: holds a NUL byte'
printf '[credential atlas]\nprovider = azure\ndescription = a\377b\n' >"$CONFIG"
refused "not UTF-8" '/keyfob.conf: is not UTF-8 text'
head -c 5000000 /dev/zero | tr '\0' '#' >"$CONFIG"
refused "5 MB" '/keyfob.conf: is larger than 4 MiB'
rm "$CONFIG"
refused "missing" '/keyfob.conf: No such file or directory'
mkdir "$CONFIG"
refused "directory" "/keyfob.conf: must be a file"
rmdir "$CONFIG"
good
chmod 0600 "$CONFIG"
exits "unreadable: refused" 1 as "$alice" keyfobd --check --config "$CONFIG"
like "unreadable: in words" "$ERR" '/keyfob.conf: Permission denied'
chmod 0644 "$CONFIG"

# --- reload: whole or not at all -----------------------------------------------------------------

# The broker's answer to a SIGHUP is a line of its log.
hangup() {
	local before
	before=$(grep -cE 'event=(reloaded|reload-failed)' "$LOG")
	kill -HUP "$BROKER"
	until_true 10 sh -c "[ \$(grep -cE 'event=(reloaded|reload-failed)' '$LOG') -gt $before ]"
}
key_of() {
	keyctl search "$(persistent "$1")" user "keyfob:$2" 2>/dev/null
}
stands() {
	keyctl pipe "$1" >/dev/null 2>&1
}
names() {
	keyfob status --json | jq -r '[.credentials[].name] | join(" ")'
}

configure <<EOF
[credential atlas]
resource = api://0d5c1c0e
provider = azure endpoint=$CLOUD
allow = user:$alice group:$team

[credential local]
provider = callback-exec run_as=$alice -- $DIR/bin/token one
allow = user:$alice

[credential nobodys-$$]
resource = api://nobodys
provider = azure endpoint=$CLOUD
EOF
start_broker
token=$(as "$alice" keyfob get atlas)
exits "a credential that names nobody: root may have it" 0 keyfob get nobodys-$$
exits "a credential that names nobody: another may not" 4 as "$alice" keyfob get nobodys-$$
exits "an unknown credential" 3 as "$alice" keyfob get atlantis
like "an unknown credential: in words" "$ERR" 'keyfob: atlantis: .*no credential has that name'
as "$bob" keyfob get atlas >/dev/null
as "$alice" keyfob get local >/dev/null
alices=$(key_of "$alice" atlas) bobs=$(key_of "$bob" atlas) local=$(key_of "$alice" local)
check "all have their copies" sh -c "keyctl pipe $alices && keyctl pipe $bobs && keyctl pipe $local"
cp "$CONFIG" "$DIR/good.conf"

for way in SIGHUP "keyfob reload"; do
	{
		sed "s/user:$alice group:$team/user:$alice/" "$DIR/good.conf"
		printf '[credential broken]\nprovider = azure colour=green\n'
	} | configure
	if [ "$way" = SIGHUP ]; then
		check "faulty reload by SIGHUP: the broker answers" hangup
	else
		exits "faulty reload by keyfob reload: fails" 1 keyfob reload
		like "faulty reload by keyfob reload: tells file and line" "$ERR" 'keyfob.conf:[0-9]+: azure has no option colour.*the old configuration stays'
	fi
	check "faulty reload by $way: the fault is logged" logged 'keyfob.conf:[0-9]+: azure has no option colour'
	check "faulty reload by $way: and what follows" logged 'event=reload-failed; the old configuration stays'
	is "faulty reload by $way: the credentials are the old ones" "$(names)" "atlas local nobodys-$$"
	check "faulty reload by $way: no copy went" sh -c "keyctl pipe $alices && keyctl pipe $bobs && keyctl pipe $local"
	is "faulty reload by $way: the token is the old one" "$(as "$bob" keyfob get atlas)" "$token"
done
cp "$DIR/good.conf" "$CONFIG"
exits "only root may reload" 4 as "$alice" keyfob reload
before=$(requests imds)
exits "nothing changed: reload" 0 keyfob reload
check "nothing changed: the copies stay" sh -c "keyctl pipe $alices && keyctl pipe $bobs && keyctl pipe $local"
is "nothing changed: the token too" "$(as "$alice" keyfob get atlas)" "$token"

# A user and a group that go. A link elsewhere dies with the copy.
kept=$(keyctl newring kept @s)
keyctl link "$bobs" "$kept"
sed -i -e "s/user:$alice group:$team/user:$alice user:$carol/" "$CONFIG"
check "a group goes: reload" hangup
check "a group goes: its member's copy is revoked" until_true 5 sh -c "! keyctl pipe $bobs"
like "a group goes: revoked, not only unlinked" "$(keyctl pipe "$bobs" 2>&1)" 'revoked'
exits "a group goes: he is refused" 4 as "$bob" keyfob get atlas
check "a group goes: the log names him" logged "credential=atlas uid=$(id -u "$bob") event=revoked"
check "a group goes: the others keep theirs" stands "$alices"
check "a user comes: he has a copy before he asks" until_true 5 key_of "$carol" atlas
is "a user comes: it is the token" "$(as "$carol" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:atlas')" "$token"
carols=$(key_of "$carol" atlas)
sed -i -e "s/ user:$carol//" "$CONFIG"
exits "a user goes: reload" 0 keyfob reload
check_not "a user goes: his copy is gone at once" stands "$carols"
exits "a user goes: he is refused" 4 as "$carol" keyfob get atlas
is "who may have it: one request in all of this" "$(requests imds)" "$before"

sed -i -e "s/^resource = api:.*0e/&\ndescription = orders/" "$CONFIG"
exits "a description comes: reload" 0 keyfob reload
check "a description comes: the token stays" stands "$alices"
sed -i -e "s/^resource = api:.*0e/resource = api:\/\/other/" "$CONFIG"
exits "another resource: reload" 0 keyfob reload
check_not "another resource: the old token is gone" stands "$alices"
fresh=$(as "$alice" keyfob get atlas)
is "another resource: it is fetched for that one" "$(cut -d. -f2 <<<"$fresh" | tr '_-' '/+' | base64 -d 2>/dev/null | jq -r .aud)" "api://other"
sed -i -e "s/token one/token two/" "$CONFIG"
exits "another argument: reload" 0 keyfob reload
check_not "another argument: the old token is gone" stands "$local"
is "another argument: the next comes from it" "$(as "$alice" keyfob get local)" callback-two
alices=$(key_of "$alice" atlas) local=$(key_of "$alice" local)

# Removed, and come from another file.
sed -i -e '/^\[credential local/,/^$/d' "$CONFIG"
exits "a credential goes: reload" 0 keyfob reload
check_not "a credential goes: its copy too" stands "$local"
exits "a credential goes: it is unknown" 3 as "$alice" keyfob get local
check "a credential goes: the others stay" stands "$alices"
cat >"$DIR/etc/conf.d/30-more.conf" <<EOF
[credential more]
provider = callback-exec run_as=$carol -- $DIR/bin/token more
allow = user:$carol
EOF
check "a drop-in comes: reload" hangup
is "a drop-in comes: its credential is there" "$(as "$carol" keyfob get more)" callback-more
mores=$(key_of "$carol" more)
rm "$DIR/etc/conf.d/30-more.conf"
exits "a drop-in goes: reload" 0 keyfob reload
check_not "a drop-in goes: so does its copy" stands "$mores"

# --- reload while somebody waits ----------------------------------------------------------------------

cat >"$CONFIG" <<EOF
[credential slow]
resource = api://slow
provider = azure endpoint=$CLOUD
allow = user:$alice user:$bob

[credential going]
resource = api://going
provider = azure endpoint=$CLOUD
allow = user:$bob
EOF
fault 'path=imds&delay_ms=4000'
before=$(requests imds)
keyfob reload >/dev/null
as "$alice" keyfob get slow >"$DIR/out/alice" 2>"$DIR/out/alice.err" & first=$!
as "$bob" keyfob get slow >"$DIR/out/bob" 2>"$DIR/out/bob.err" & second=$!
as "$bob" keyfob get going >/dev/null 2>"$DIR/out/going.err" & third=$!
keyfob try slow >"$DIR/out/try" 2>&1 & fourth=$!
all_wait() {
	[ "$(requests imds)" -ge $((before + 3)) ]
}
check "reload in a fetch: three fetches wait" until_true 10 all_wait
no_faults
cat >"$CONFIG" <<EOF
[credential slow]
resource = api://slow
provider = azure endpoint=$CLOUD
allow = user:$alice
EOF
exits "reload in a fetch: reload" 0 keyfob reload
wait $first
is "reload in a fetch: who may still have it gets it" "$?" 0
wait $second
is "reload in a fetch: who may not any more is refused" "$?" 4
is "reload in a fetch: and sees nothing" "$(cat "$DIR/out/bob")" ""
wait $third
is "reload in a fetch: a credential that went is unknown" "$?" 3
wait $fourth
check "reload in a fetch: a try comes to an end" test -s "$DIR/out/try"
check "reload in a fetch: the broker lives" kill -0 "$BROKER"

# --- a broker does not start with a fault --------------------------------------------------------------------

stop_broker
printf '[credential atlas]\nprovider = azure colour=green\n' | configure
exits "no start with a fault" 1 timeout 10 keyfobd --config "$CONFIG" --socket "$KEYFOB_SOCKET"
like "no start with a fault: in words" "$ERR" 'keyfob.conf:2: azure has no option colour'
exits "no start without the file" 1 timeout 10 keyfobd --config "$DIR/none.conf" --socket "$KEYFOB_SOCKET"
like "no start without the file: in words" "$ERR" 'none.conf: No such file'
finish
