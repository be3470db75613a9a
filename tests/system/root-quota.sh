#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Root's key quota runs out: tokens go on by socket, and the log says what to raise.
# runs alone: it lowers kernel.keys.root_maxbytes for a while
. "$(dirname "$0")/lib.sh"

SYSCTL=/proc/sys/kernel/keys/root_maxbytes
old=$(cat $SYSCTL)
trap 'echo "$old" >$SYSCTL; cleanup' EXIT
new_user; alice=$USER_NAME
new_user; bob=$USER_NAME
start_emulator
configure <<EOF
[credential atlas]
resource = api://atlas
provider = azure endpoint=$CLOUD
allow = user:$alice

[credential orders]
resource = api://orders
provider = azure endpoint=$CLOUD
allow = user:$bob
refresh = on-demand
EOF
start_broker
token=$(as "$alice" keyfob get atlas)
until_true 5 as "$alice" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:atlas'

# A little more than is in use: keys of others that the kernel collects meanwhile make no room for half.
used=$(awk '$1 == "0:" { split($5, b, "/"); print b[1] }' /proc/key-users)
echo $((used + used / 16)) >$SYSCTL
sleep 1.1 # the broker looks once a second
exits "a token is got although the keyring has no room" 0 as "$bob" keyfob get orders
orders=$OUT
check_not "it is not in the keyring" as "$bob" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:orders'
is "asked again it is the same, from the broker's memory" "$(as "$bob" keyfob get orders)" "$orders"
is "one request upstream" "$(requests imds)" 2
check "the log names the sysctl and the use" logged 'event=store-failed .*of [0-9]+ bytes \(kernel.keys.root_maxbytes\)'
is "what was in the keyring stays there" "$(as "$alice" sh -c 'keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:atlas')" "$token"
echo "$old" >$SYSCTL
sleep 1.1
check "with room again, a drop and a get" keyfob drop orders
check "bring it back" until_true 5 as "$bob" keyfob get orders
check "into the keyring" until_true 5 as "$bob" sh -c 'keyfob get orders >/dev/null; keyctl get_persistent @s >/dev/null; keyctl pipe %user:keyfob:orders'
finish
