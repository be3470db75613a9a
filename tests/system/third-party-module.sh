#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The module of doc/MODULES.md as it stands there, built with the installed header and nothing else, serves tokens;
# one that is not what it should be is refused in words.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
TEXT=$PWD/doc/MODULES.md
command -v cc >/dev/null || { echo "1..0 # SKIP needs cc"; exit 0; }

# --- built as the page says -----------------------------------------------------------------------------
mkdir -m 0755 "$DIR/src" "$DIR/modules" "$DIR/var"
cd "$DIR/src" || exit 1
awk '/^```/ { on = ($0 == "```c"); next } on' "$TEXT" >token-file.c
command=$(sed -n 's/^    \(cc .*\)$/\1/p' "$TEXT")
like "the page says how to build it" "$command" '^cc .* -I/usr/local/include .*token-file\.c$'
read -r -a words <<<"${command//\/usr\/local/$KEYFOB_PREFIX}"
check "so it builds" "${words[@]}"
check "without a warning" "${words[@]}" -Wall -Wextra -Wshadow -Wstrict-prototypes -Wconversion -Wpedantic -Werror
is "with one header of keyfob's, the installed one" \
	"$(cc -M "-I$KEYFOB_PREFIX/include" token-file.c | tr -d '\\' | tr ' ' '\n' | grep keyfob | sort -u)" "$KEYFOB_PREFIX/include/keyfob/module.h"
is "it exports one symbol" "$(nm -D --defined-only token-file.so | awk '$2 ~ /[RDTB]/ { print $3 }')" keyfob_module

# variant NAME SED-SCRIPT: another module, made from its source
variant() {
	sed "$2" token-file.c >"$1.c"
	! cmp -s "$1.c" token-file.c && build "$1"
}
build() { # NAME [OPTION...]
	local name=$1
	shift
	cc "$@" -shared -fPIC "-I$KEYFOB_PREFIX/include" -o "$DIR/modules/$name.so" "$name.c" && chmod 0644 "$DIR/modules/$name.so"
}

# --- beside the others ------------------------------------------------------------------------------------
cp "$KEYFOB_PREFIX"/lib/keyfob/modules/*.so token-file.so "$DIR/modules/" && chmod 0644 "$DIR"/modules/*
standard=$(keyfob module list)
export KEYFOB_MODULE_DIR=$DIR/modules
exits "keyfob module list" 0 keyfob module list
like "has its line of help" "$OUT" '^token-file +a token that another program keeps in a file$'
is "and those of all the others" "$(grep -v '^token-file' <<<"$OUT")" "$standard"
exits "keyfob module show" 0 keyfob module show token-file
like "has its help" "$OUT" '^token-file: a token that another program keeps in a file$'
like "what it gives" "$OUT" '^gives an access token unless told otherwise$'
like "its option" "$OUT" '^  path= +file: an absolute path \(required\)$'
like "what that is for" "$OUT" '^      the file that holds the token$'
like "its example" "$OUT" '^  provider = token-file path=/run/shop/token$'
keyfob module show token-file --json | jq -r .example | sed 's/user:shop/user:root/' | configure
exits "its example is a good configuration" 0 keyfobd --check --config "$CONFIG"

# --- a token from end to end --------------------------------------------------------------------------------
jwt() {
	printf '{"alg":"none"}' | base64 -w0 | tr '+/' '-_' | tr -d =
	printf .
	printf '{"exp":%d}' $(($(date +%s) + $1)) | base64 -w0 | tr '+/' '-_' | tr -d =
	printf .c2lnbmF0dXJl
}
token=$(jwt 3000)
printf '%s\n' "$token" >"$DIR/var/jwt"
printf 'opaque-token-of-the-shop\n' >"$DIR/var/opaque"
: >"$DIR/var/empty"
printf 'first \0 part\n' >"$DIR/etc/secret"
printf 'of-a-wide-mode\n' >"$DIR/etc/wide"
printf 'of-another-place\n' >"$DIR/var/outside"
chmod 0640 "$DIR/etc/secret"
chmod 0644 "$DIR/etc/wide"
chmod 0600 "$DIR/var/outside"
for name in jwt opaque endless empty missing; do
	printf '[credential %s]\nallow = user:%s\nrefresh = on-demand\n' "$name" "$alice"
	case $name in
	endless) printf 'provider = token-file path=%s/var/opaque\n' "$DIR" ;;
	opaque) printf 'provider = token-file path=%s/var/opaque ttl=10m\n' "$DIR" ;;
	*) printf 'provider = token-file path=%s/var/%s\n' "$DIR" "$name" ;;
	esac
done | configure
# secret NAME OPTION...: a credential of the module that counts what it is given
secret() {
	printf '[credential %s]\nrefresh = on-demand\nprovider = with-secrets ttl=10m %s\n' "$1" "$2" >>"$CONFIG"
}
secret both "secret_file=$DIR/etc/secret login_from=opaque"
secret none ""
secret wide "secret_file=$DIR/etc/wide"
secret outside "secret_file=$DIR/var/outside"
secret from-missing login_from=missing
{
	printf '#include <keyfob/module.h>\n#include <stdlib.h>\n'
	printf 'static const struct keyfob_option options[] = {\n'
	sed -n 's/^    \({ ".*\)/\1/p' "$TEXT"
	cat <<'CODE'
};
static void obtain(const struct keyfob_request *request, struct keyfob_reply *reply)
{
CODE
	sed -n '/^    size_t length;/,/^$/p' "$TEXT"
	cat <<'CODE'
	const char *login = keyfob_secret(request, "login_from", NULL);

	reply->token = calloc(1, 256);
	reply->length = (size_t)snprintf(reply->token, 256, "%zu,%d,%zu,%d", secret ? length : 0, secret ? secret[length] : -1,
		login ? strlen(login) : 0, strcmp(keyfob_setting(request, "login_from", ""), "opaque") == 0);
}
KEYFOB_MODULE = {
	.abi = KEYFOB_MODULE_ABI, .name = "with-secrets", .help = "counts the bytes of its secrets", .sandbox = KEYFOB_SANDBOX_FILE,
	.kind = KEYFOB_KIND_ACCESS, .options = options, .count = sizeof(options) / sizeof(options[0]), .obtain = obtain,
};
CODE
} >with-secrets.c
check "a module with the secrets of the page builds" build with-secrets -Wall -Wextra -Werror
start_broker
exits "a user gets a token" 0 as "$alice" keyfob get jwt
is "the one in the file" "$OUT" "$token"
exits "and one that is no JWT, where ttl= says how long it lives" 0 as "$alice" keyfob get opaque
is "that in its file" "$OUT" opaque-token-of-the-shop
exits "without ttl= it is not kept" 5 as "$alice" keyfob get endless
like "in words" "$ERR" 'names no expiry'
exits "keyfob try" 0 keyfob try jwt
like "shows what the module tells" "$OUT" 'read the token file'
unlike "and no token" "$OUT" "$token"
exits "a file that is not there is the configuration's fault" 5 keyfob try missing
like "in the module's words" "$OUT$ERR" "cannot open $DIR/var/missing; correct path="
exits "an empty one is not" 8 keyfob try empty
like "in its words" "$OUT$ERR" "$DIR/var/empty holds no token now"

# --- secrets ------------------------------------------------------------------------------------------------
exits "a file of root's and another credential's token are handed over" 0 keyfob get both
is "whole, with a NUL behind them" "$OUT" 13,0,24,1
exits "options that are not given" 0 keyfob get none
is "are no secrets" "$OUT" 0,-1,0,0
exits "a file that others may read is not handed over" 5 keyfob get wide
like "in words" "$ERR" "secret_file=$DIR/etc/wide: may be written by its group or read by others"
exits "nor one of another place" 5 keyfob get outside
like "in words" "$ERR" "secret_file=$DIR/var/outside: is not below the configuration's directory"
exits "a credential that cannot be fetched says why" 5 keyfob get from-missing
like "in words" "$ERR" "credential missing: .*cannot open $DIR/var/missing"
unlike "no token is in the log" "$(cat "$LOG")" "opaque-token|$token"

# --- its own table of options ---------------------------------------------------------------------------------
# bad_line WHAT LINE PATTERN
bad_line() {
	printf '[credential x]\nprovider = %s\n' "$2" >"$DIR/etc/bad.conf"
	exits "$1 is refused" 1 keyfobd --check --config "$DIR/etc/bad.conf"
	like "$1: $3" "$ERR" "$3"
}
bad_line "an option it has not" "token-file path=/x colour=red" 'token-file has no option colour \(it has: path, run_as, ttl, timeout\)'
bad_line "a path that is not absolute" "token-file path=x" 'option path must be an absolute path'
bad_line "a line without its option" "token-file" 'token-file wants the option path='
bad_line "a user with a secret" "with-secrets run_as=$alice secret_file=$DIR/etc/secret" 'run_as and the secret option secret_file exclude each other'
bad_line "a word after --" "token-file path=/x -- y" 'token-file takes no words after --'

# --- modules that are not what they should be --------------------------------------------------------------------
rm -f "$DIR/modules/with-secrets.so"
# bad_module NAME PATTERN
bad_module() {
	exits "$1: not shown" 1 keyfob module show "$1"
	like "$1: $2" "$ERR" "$2"
	exits "$1: not listed" 1 keyfob module list
	like "$1: the list says why" "$ERR" "$2"
	is "$1: and has all the others" "$(grep -c . <<<"$OUT")" "$(($(grep -c . <<<"$standard") + 1))"
	bad_line "$1: a provider line with it" "$1 path=/x" "module $1: .*$2"
	rm -f "$DIR/modules/$1.so"
}
check "one of another interface" variant newer 's/= KEYFOB_MODULE_ABI/= KEYFOB_MODULE_ABI + 1/; s/"token-file"/"newer"/'
bad_module newer 'newer\.so: made for module interface [0-9]+, not [0-9]+'
check "one that says to be another" variant other 's/"token-file"/"another"/'
bad_module other 'other\.so: is not the module other'
check "one without the symbol" variant hollow 's/^KEYFOB_MODULE = {/static const struct keyfob_module hidden = {/'
bad_module hollow 'hollow\.so.*keyfob_module'
check "one that gives nothing" variant idle 's/"token-file"/"idle"/; s/\.obtain = obtain,/.obtain = NULL,/'
bad_module idle 'idle\.so: is not the module idle'
check "one that its group may write" variant shared 's/"token-file"/"shared"/'
exits "before, it is a good one" 0 keyfob module show shared
chmod 0664 "$DIR/modules/shared.so"
bad_module shared 'shared\.so: writable by group or others'
check "one of a user's" variant theirs 's/"token-file"/"theirs"/'
chown "$alice" "$DIR/modules/theirs.so"
bad_module theirs 'theirs\.so: not owned by root'
printf 'no shared object\n' >"$DIR/modules/text.so"
bad_module text 'text\.so: (file too short|invalid ELF header)'

chmod 0775 "$DIR/modules"
exits "no module of a directory that its group may write" 1 keyfob module show token-file
like "in words" "$ERR" 'modules: writable by group or others'
chmod 0755 "$DIR/modules"
exits "the broker goes on with a good one" 0 keyfob try jwt
chmod 0664 "$DIR/modules/token-file.so"
exits "it looks at each fetch" 5 keyfob try jwt
like "in the same words" "$OUT$ERR" 'token-file\.so: writable by group or others'
finish
