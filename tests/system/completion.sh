#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Completion in bash, by bash itself: what the function of packaging/completions makes of a line that is half written.
. "$(dirname "$0")/lib.sh"
new_user
start_emulator
configure <<END
[credential atlas]
resource = api://orders
provider = azure endpoint=$CLOUD
allow = user:$USER_NAME
refresh = on-demand
[credential atoll]
resource = api://others
provider = azure endpoint=$CLOUD
refresh = on-demand
END
start_broker

INSTALLED=$KEYFOB_PREFIX/share/bash-completion/completions/keyfob
# after WORD...: what would come in place of the last word, as in a shell of its own
after() {
	bash --norc -c '. "$0" && COMP_WORDS=(keyfob "$@") COMP_CWORD=$# && _keyfob; echo "${COMPREPLY[*]}"' "$INSTALLED" "$@" 2>&1
}
verbs=$(keyfob --help | sed -nE 's/^  ([a-z][a-z-]*)( .*)/\1/p' | sort -u | xargs)
is "nothing yet: the verbs of the help text" "$(after "")" "$verbs"
is "it is bound to keyfob" "$(bash --norc -c '. "$0" && complete -p keyfob' "$INSTALLED")" "complete -F _keyfob keyfob"
is "the beginning of a verb" "$(after ref)" refresh
is "the second word of one" "$(after idp "")" "$(keyfob --help | sed -nE 's/^  idp ([a-z]+).*/\1/p' | sort -u | xargs)"
is "and its beginning" "$(after idp disc)" disconnect
is "of help, too" "$(after help idp disc)" disconnect
is "the program's own options" "$(after --)" "--config --help --socket --version"
for verb in get run explain "idp add" "jwks revoke"; do
	wanted=$( (keyfob $verb --help | sed -nE 's/^  (--[a-z-]+=?).*/\1/p'; echo --help) | sort -u | xargs)
	# shellcheck disable=SC2086
	is "the options of $verb" "$(after $verb --)" "$wanted"
done
is "the beginning of an option" "$(after get --fo)" --format=
is "after an option of the program's" "$(after --config "$CONFIG" get --fo)" --format=
is "as bash parts it at the sign" "$(after --config = "$CONFIG" get --fo)" --format=
is "names of credentials" "$(after get "")" "atlas atoll"
is "their beginnings" "$(after drop atl)" atlas
is "after options" "$(after get --json ato)" atoll
is "one name is enough" "$(after drop atlas "")" ""
is "a host is nobody's name" "$(after uri atlas at)" ""
is "what a command is run with is its own" "$(after run -- ls --)" ""
stop_broker
is "no broker, no names, and no complaint" "$(after get "")" ""
finish
