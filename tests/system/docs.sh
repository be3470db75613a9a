#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the pages say is what the programs do: options, keys, functions, events, examples, files.
. "$(dirname "$0")/lib.sh"

MAN=doc/man
TEXTS="README.md CONTRIBUTING.md doc/PROTOCOL.md doc/SECURITY.md doc/OPERATING.md doc/TOUR.md doc/MIGRATING.md doc/PERFORMANCE.md"

lines() {
	sort -u | sed '/^$/d'
}

# --- man pages ------------------------------------------------------------------
for page in "$MAN"/*.[1358]; do
	if target=$(sed -n 's/^\.so man3\///p' "$page") && [ -n "$target" ]; then
		check "${page##*/} leads to a page that names it" grep -qE "^\.Nm $(basename "$page" .3)( ,)?$" "$MAN/$target"
	else
		is "${page##*/} is clean" "$(mandoc -T lint -W warning "$page" 2>&1)" ""
	fi
done

# --- the library ------------------------------------------------------------------
# defined FILE TYPE: the symbols of that type that an object shows
defined() {
	nm -D --defined-only "$KEYFOB_PREFIX/lib/$1" | awk -v type="$2" '$2 == type { sub(/@.*/, "", $3); print $3 }' | lines
}
of_library() {
	grep -L '^\.so man3/keyfob-module' "$MAN"/keyfob_*.3
}
# shellcheck disable=SC2046
is "each exported function has a page, and no other" "$(basename -s .3 -a $(of_library) | lines)" "$(defined libkeyfob.so T)"
# The prototypes of a page: .Ft before .Fn, whose arguments stand in quotes.
page_prototypes() {
	cat "$@" | awk -F'"' '/^\.Ft / { type = $0; sub(/^\.Ft /, "", type); gsub(/"/, "", type) }
		/^\.Fn .*"/ { split($1, word, " "); line = type " " word[2] "(" $2
			for (i = 4; i <= NF; i += 2) line = line ", " $i
			print line ")" }' | sed 's/\* /*/' | lines
}
# shellcheck disable=SC2046
is "the pages have the header's prototypes" "$(page_prototypes $(of_library))" "$(sed -n 's/^\([a-z].*keyfob_[a-z_]*(.*)\);$/\1/p' keyring/keyfob.h | lines)"
for std in c99 c11 c17; do
	check "keyfob.h compiles alone as $std" cc -x c -std=$std -pedantic-errors -Wall -Wextra -Werror -fsyntax-only keyring/keyfob.h
done
if command -v g++ >/dev/null; then
	check "keyfob.h compiles alone as C++" g++ -x c++ -std=c++11 -pedantic-errors -Wall -Wextra -Werror -fsyntax-only keyring/keyfob.h
else
	skip "keyfob.h compiles alone as C++" "g++ is not installed"
fi
check "module.h compiles alone" cc -x c -std=c11 -Wall -Wextra -Werror -fsyntax-only modules/module.h
# What is installed is what `man` finds, by each of the names that a page has.
while read -r section name; do
	check "man finds $name($section)" mman -M "$KEYFOB_PREFIX/share/man" -w "$section" "$name"
done < <(for page in "$MAN"/*.[1358]; do
	sed -n "/^\.Sh NAME/,/^\.Nd/ s/^\.Nm \([^ ]*\).*/${page##*.} \1/p" "$page"
done)

# --- modules: of PAM, and of keyfob ---------------------------------------------------
is "the functions of the PAM module stand in its page" "$(grep -oE 'Fn pam_sm_[a-z_]+' "$MAN/pam_keyfob.8" | cut -d' ' -f2 | lines)" \
	"$(defined security/pam_keyfob.so T)"
is "and so do its options" "$(awk '/^\.Sh/ { on = ($0 == ".Sh OPTIONS") } on' "$MAN/pam_keyfob.8" | sed -n 's/^\.It Cm \([a-z]*\).*/\1/p' | lines)" \
	"$(sed -nE 's/.*(value_of|strcmp)\(option, "([a-z]+)"\).*/\2/p' pam/pam_keyfob.c | lines)"
is "a module exports what keyfob-module(3) says" "$(defined keyfob/modules/azure.so D)" keyfob_module
is "its page has the prototypes of module.h" "$(page_prototypes "$MAN/keyfob-module.3")" \
	"$(sed -nE 's/^static inline (.*keyfob_[a-z]+\(.*\))$/\1/p; s/^(keyfob_[a-z]+\(.*\))$/void \1/p' modules/module.h | lines)"
# Constants, types and functions; then the members of each structure that the page tells apart.
of_modules() {
	grep -oE '\b(KEYFOB_[A-Z_]+|keyfob_[a-z]+)\b' | grep -vx KEYFOB_MODULE_H | lines
}
is "keyfob-module(3) has the names of module.h" "$(grep -v '^\.Dt' "$MAN/keyfob-module.3" | of_modules)" \
	"$(sed -E 's/keyfob_option_type|enum keyfob_(kind|sandbox)/enum/' modules/module.h | of_modules)"
for type in module option request reply; do
	is "and the members of struct keyfob_$type" \
		"$(awk -v from=".Ss struct keyfob_$type" '/^\.S[hs]/ { on = ($0 == from) } on && /^\.It Fa/' "$MAN/keyfob-module.3" |
			sed 's/^\.It Fa //; s/ , /\n/g' | lines)" \
		"$(awk -v from="struct keyfob_$type {" '/^}/ { on = 0 } on; $0 == from { on = 1 }' modules/module.h |
			sed -nE 's,/\*.*,,; s/^\t([a-z].*[ *(])\(?\*?([a-z_]+)(\[[0-9]+\]|\)\(.*)?;.*/\2/p' | lines)"
done

# --- programs and their options ------------------------------------------------------
options_in() {
	grep -oE -- '--[a-z][a-z-]*' | lines
}
verbs() {
	keyfob --help | sed -nE 's/^  ([a-z][a-z-]*( [a-z]+)?) .*/\1/p'
}
all_help() {
	keyfob --help
	verbs | while read -r verb; do
		# shellcheck disable=SC2086
		keyfob $verb --help
	done
}
page_options() {
	grep -oE '\bFl -[a-z][a-z-]*' "$MAN/$1" | sed 's/Fl /-/' | lines
}
is "keyfob's options are those of keyfob(1)" "$(all_help | options_in)" "$(page_options keyfob.1)"
is "keyfob's verbs are those of keyfob(1)" "$(verbs | lines)" \
	"$(sed -nE 's/^\.It Cm ([a-z][a-z-]*( [a-z]+)?)( .*)?$/\1/p' "$MAN/keyfob.1" | lines)"
for verb in explain 'idp add' 'dbuser delete'; do
	# shellcheck disable=SC2086
	is "keyfob-admin tells of $verb what keyfob does" "$("$KEYFOB_PREFIX/libexec/keyfob/keyfob-admin" $verb --help)" "$(keyfob $verb --help)"
done
is "each program has a page, and no other" "$(basename -a "$MAN"/*.[18] | sed 's/\.[18]$//' | lines)" \
	"$({ find "$KEYFOB_PREFIX/bin" "$KEYFOB_PREFIX/sbin" "$KEYFOB_PREFIX/libexec/keyfob" -type f -printf '%f\n'; echo pam_keyfob; } | lines)"
is "the variables that programs look at stand in pages" "$(grep -hoE '\bEv KEYFOB_[A-Z_]+' "$MAN"/*.[1358] | cut -d' ' -f2 | lines)" \
	"$(grep -hoE '"KEYFOB_[A-Z_]+"' ./{broker,cli,common,emulator,keyring,metadata,modules,pam,verify}/*.[ch] | tr -d '"' | lines)"
is "keyfobd's options are those of keyfobd(8)" "$(keyfobd --help | options_in)" "$(page_options keyfobd.8)"
is "keyfob-verifyd's options are those of keyfob-verifyd(8)" "$(keyfob-verifyd --help | options_in)" "$(page_options keyfob-verifyd.8)"
is "keyfob-metadata's options are those of keyfob-metadata(8)" "$(keyfob-metadata --help | options_in)" "$(page_options keyfob-metadata.8)"
is "the emulator's options are those of keyfob-emulator(1)" "$(keyfob-emulator --help | options_in)" "$(page_options keyfob-emulator.1)"
is "keyfob-fetch's options are those of keyfob-fetch(8)" "$("$KEYFOB_PREFIX/libexec/keyfob/keyfob-fetch" --help | options_in)" \
	"$(page_options keyfob-fetch.8)"
is "keyfob-request-key's options are those of keyfob-request-key(8)" "$("$KEYFOB_PREFIX/libexec/keyfob/keyfob-request-key" --help | options_in)" \
	"$(page_options keyfob-request-key.8)"

# --- configuration ---------------------------------------------------------------------
# page_part FROM: from that heading to the next
page_part() {
	awk -v from="$1" '/^\.S[hs]/ { on = ($0 == from) } on' "$MAN/keyfob.conf.5"
}
page_keys=$(page_part '.Sh KEYS OF A CREDENTIAL' | sed -n 's/^\.It Ic //p' | lines)
configure <<<$'[credential x]\nno_such_key = 1\nprovider = azure no_such_option=1'
told=$(keyfobd --check --config "$CONFIG" 2>&1)
is "the keys that keyfobd tells stand in keyfob.conf(5)" \
	"$(sed -n 's/.*no key no_such_key (it has: \(.*\))$/\1/p' <<<"$told" | tr -d ' ' | tr ',' '\n' | lines)" "$page_keys"
is "the keys that it takes are the same" "$(sed -n 's/.*strcmp(key, "\([a-z_]*\)").*/\1/p' broker/policy.c | lines)" "$page_keys"
# The four kinds of sections that say whom to let in: what is told of a key that is not there, and the page.
while IFS=: read -r type heading; do
	configure <<<"[$type x]"$'\nno_such_key = 1'
	is "the keys of [$type] stand in keyfob.conf(5)" "$(page_part ".Sh KEYS OF $heading" | sed -n 's/^\.It Ic //p' | lines)" \
		"$(keyfobd --check --config "$CONFIG" 2>&1 | sed -n 's/.*no key no_such_key (there is: \(.*\))$/\1/p' | tr -d ' ' | tr ',' '\n' | lines)"
done <<'END'
identity-provider:AN IDENTITY PROVIDER
organization:AN ORGANIZATION
service:A SERVICE
database-user:A DATABASE USER
END
module_options() {
	keyfob module show "$1" --json | jq -r '.options[] | select(.arguments | not).name' | lines
}
option_items() {
	grep '^\.It' | grep -oE 'Cm [a-z_]+ Ns = ' | cut -d' ' -f2 | lines
}
is "the options that all modules have stand there" \
	"$(sed -n 's/.*no option no_such_option (it has: \(.*\))$/\1/p' <<<"$told" | tr -d ' ' | tr ',' '\n' | lines)" \
	"$({ page_part '.Sh PROVIDER LINES' | option_items; module_options azure; } | lines)"
for module in $(keyfob module list --json | jq -r '.modules[].name'); do
	is "the options of $module stand there" "$(page_part ".Ss $module" | option_items)" "$(module_options "$module")"
	check "README names the module $module" grep -q "^| \`$module\` " README.md
done
# Examples with users that this host has.
examples_pass() {
	sed -E 's/user:[a-z]+/user:root/g; s/group:[a-z]+/group:root/g; s/run_as=[a-z]+/run_as=nobody/g
		s/^(socket +=).*/\1 root:root 0600/' >"$CONFIG"
	grep -q '^\[credential' "$CONFIG" && keyfobd --check --config "$CONFIG"
}
fenced() {
	awk -v start="\`\`\`$1" '/^```/ { on = ($0 == start); next } on' "$2"
}
# The example of a module as it is printed, and each of its other provider lines in place of the first. The user whom it names
# must exist, and no other: what a line wants beside him, the example has to say.
module_examples_pass() {
	local example line others=0
	example=$(keyfob module show "$1" --json | jq -r .example | sed -E 's/(user:|run_as=)orders\>/\1nobody/g')
	{
		cat <<<"$example"
		while read -r line; do
			others=$((others + 1))
			printf '[credential other%d]\nprovider = %s\n' "$others" "$line"
			grep -E '^(resource|allow)' <<<"$example"
		done < <(sed -n 's/^# provider = //p' <<<"$example" | grep -v '=env:')
		printf '[credential %s]\nresource = x\nprovider = gcp\n' google azure-for-google
	} >"$CONFIG"
	keyfobd --check --config "$CONFIG"
}
for module in $(keyfob module list --json | jq -r '.modules[].name'); do
	check "the example of $module is good" module_examples_pass "$module"
done
check "the examples of keyfob.conf(5) are good" examples_pass < <(page_part '.Sh EXAMPLES' | grep -v '^\.')
check "those of README are good" examples_pass < <(fenced ini README.md)

# --- examples in C ------------------------------------------------------------------------
compiles() {
	cat >"$DIR/example.c"
	[ -s "$DIR/example.c" ] && cc -std=c11 -Wall -Wextra -Werror "-I$KEYFOB_PREFIX/include" -Imodules -fsyntax-only "$DIR/example.c"
}
check "README's program compiles" compiles < <(fenced c README.md)
check "that of keyfob(3) does" compiles < <(awk '/^\.Bd/ { on = 1; next } /^\.Ed/ { on = 0 } on' "$MAN/keyfob.3" | sed 's/\\e/\\/g')
check "the module of MODULES does" compiles < <(echo '#define _DEFAULT_SOURCE'; fenced c doc/MODULES.md)

# --- commands that the texts name -------------------------------------------------------------
# Between backticks, and lines of blocks, with or without a prompt.
commands() {
	# shellcheck disable=SC2086
	{ grep -hoE '`(keyfob|keyfobd|keyfob-emulator|make) [^`]*`' $TEXTS | tr -d '`'
		sed -nE 's/^ {4,}([$#] )?((keyfob|keyfobd|keyfob-emulator|make) .*)$/\2/p' $TEXTS; } | sed 's/ *[|>#].*//' | lines
}
# command_exists WORD...: the verb and the options are those of the program
command_exists() {
	local program=$1 help verb
	shift
	if [ "$program" = make ]; then
		for word; do
			[[ $word = *=* || $word = -* ]] || grep -qE "^([a-z-]+ )*$word( [a-z-]+)*:" Makefile || return 1
		done
		return 0
	fi
	help=$("$program" --help | options_in)
	if [ "$program" = keyfob ]; then
		while [[ ${1:-} = --config || ${1:-} = --socket ]]; do shift 2; done
		verb=${1:-}
		verbs | grep -qx "$verb ${2:-}" && verb="$1 $2"
		[[ $verb = --* || $verb = help ]] || verbs | grep -qx "$verb" || return 1
		# shellcheck disable=SC2086
		[[ $verb = --* || $verb = help ]] || help=$(keyfob $verb --help | options_in; echo --help)
	fi
	for word; do
		[ "$word" != -- ] || break # what follows is another program's
		[[ $word != --* ]] || grep -qx -- "${word%%=*}" <<<"$help" || return 1
	done
}
count=0
while read -r -a words; do
	count=$((count + 1))
	check "there is: ${words[*]}" command_exists "${words[@]}"
done < <(commands)
[ "$count" -ge 10 ] && pass "the texts name commands" || fail "the texts name commands" "only $count were found"
check_not "a verb that is not there is noticed" command_exists keyfob frobnicate
check_not "an option that is not there is noticed" command_exists keyfob get atlas --frobnicate
check_not "a target that is not there is noticed" command_exists make frobnicate

# --- what make docs makes --------------------------------------------------------------------

# The words of README, without what differs from run to run: numbers, and where lines are broken.
words() {
	tr -s '[:space:]' ' ' <"$1" | sed -E 's/next refresh [^#]*#/next refresh T #/g; s/[^ ]+ [^#]{1,20} left/T left/g
		s/ up [0-9]+ [a-z]+( [0-9]+ [a-z]+)? / up T /g; s/fetched ([0-9]+ [A-Z][a-z]+ )?[0-9:]+/fetched T/g
		s/\b([0-9a-f]{8,}|[0-9]{5,})\b/X/g; s/\b[0-9]+[dhms]\b/N/g; s/[0-9]+/N/g' | tr ' ' '\n' | sort
}
mkdir -p "$DIR/tree/doc" && cp README.md "$DIR/tree/"
if made=$(env -u KEYFOB_TEST_SESSION doc/make-docs.sh "$1" "$DIR/tree" 2>&1) && [[ $made = *'# SKIP '* ]]; then
	skip "make docs" "${made#*# SKIP }"
else
	is "make docs says nothing" "$made" ""
	check "doc/architecture.svg is as it would be drawn now" cmp doc/architecture.svg "$DIR/tree/doc/architecture.svg"
	is "README's sessions are as they would be now: make docs" "$(diff <(words README.md) <(words "$DIR/tree/README.md"))" ""
	unlike "they have no path of the place where they were made" "$(cat "$DIR/tree/README.md")" 'docs-[0-9]|keyfob-(test|docs)\.'
fi

# --- files, events, requests that the texts name ----------------------------------------------
# shellcheck disable=SC2086
is "every file that the texts name is there" "$(grep -hoP '(?<![\w/])(broker|cli|common|doc|emulator|examples|keyring|metadata|modules|packaging|tests|verify)/[A-Za-z0-9_./-]*[A-Za-z0-9]' \
	$TEXTS | lines | while read -r path; do [ -e "$path" ] || echo "$path"; done)" ""
# events DIRECTORY: each event that its programs log, with the fields that its lines can have, sorted. What log_verdict() is given
# comes before its own format.
events() {
	cat "$1"/*.c | awk '
		function told(  text, event, rest, name) {
			for (rest = call; match(rest, /"([^"\\]|\\.)*"/); rest = substr(rest, RSTART + RLENGTH))
				text = text substr(rest, RSTART + 1, RLENGTH - 2)
			if (text ~ /^%s /) shared = text
			if (!match(text, /event=[a-z-]+/)) return
			event = substr(text, RSTART + 6, RLENGTH - 6)
			if (call ~ /log_verdict/) text = text " " shared
			print event
			for (; match(text, /[a-z_]+=/); text = substr(text, RSTART + RLENGTH)) {
				name = substr(text, RSTART, RLENGTH - 1)
				if (name != "event") print event, name
			}
		}
		/log_(error|warning|notice|info|debug|verdict)\(/ { on = 1; call = "" }
		on { call = call $0; if (/\);$/) { on = 0; told() } }' | lines
}
operating_events() {
	sed -nE 's/^\| `([a-z-]+)` \|([^|]*)\| (err|warning|notice|info|debug) .*/\1 \2/p' doc/OPERATING.md
}
page_events() {
	awk '/^\.Sh/ { on = ($0 == ".Sh LOG") } on' "$MAN/$1" | sed -n 's/^\.It Li //p' | sed 's/ Ar / /'
}
# Of lines "EVENT FIELD ...", as events() has them.
one_by_one() {
	awk '{ print $1; for (i = 2; i <= NF; i++) { gsub(/[][]/, "", $i); print $1, $i } }' | lines
}
is "OPERATING lists the events that the broker logs, with their fields" "$(operating_events | one_by_one)" "$(events broker)"
is "keyfob-verifyd(8) lists those of the verifier" "$(page_events keyfob-verifyd.8 | one_by_one)" "$(events verify)"
is "keyfob-metadata(8) lists its" "$(page_events keyfob-metadata.8 | one_by_one)" "$(events metadata)"
is "there are that many at least" "$(for room in broker verify metadata; do [ "$(events $room | grep -vc ' ')" -ge 7 ] || echo $room; done)" ""
# Those of the broker, then those of the verifier.
is "PROTOCOL numbers the requests as they are" "$(sed -nE 's/^\| ([0-9]+) \| ([A-Z]+) \|.*/\1 \2/p' doc/PROTOCOL.md)" \
	"$(awk '/^enum wire_(opcode|verify) / { on = 1; n = 0; next } /^}/ { on = 0 }
		on && match($1, /^WIRE_[A-Z_]+/) { name = substr($1, 6, RLENGTH - 5); sub(/^VERIFY_/, "", name); print ++n, name }' common/wire.h)"
# The last column of each row names tests.
while IFS='|' read -r _ where _ _ _ names _; do
	for name in ${names//,/ }; do
		[ -e "tests/system/$name.sh" ] || [ -e "tests/unit/$name.c" ] || names=""
	done
	check "a test shows: ${where:1:60}" [ -n "${names// /}" ]
done < <(awk '/^## / { on = ($0 == "## Where a process runs") } on && /^\| / && !/^\| where \|/' doc/OPERATING.md)
# Each promise has a test that is there, and what stands in quotation marks after a test's name are words of a check in it.
untested() {
	awk '/^## / { on = /^## What is promised/ } on && /^\| / && !/^\| promise \|/' "$1" | while IFS='|' read -r _ promise tests _; do
		found=$(grep -oE 'tests/(unit|system)/[a-z0-9-]+\.(c|sh)( "[^"]*")*' <<<"$tests")
		grep -q ' "' <<<"$found" || echo "no check is named:${promise:0:80}"
		[ "$(sed -E 's@tests/(unit|system)/[a-z0-9-]+\.(c|sh)|"[^"]*"|[ ,]@@g' <<<"$tests")" = "" ] || echo "more than tests:${promise:0:80}"
		while read -r file words; do
			while read -r check; do
				grep -qF -- "$check" "$file" || echo "$file has no \"$check\""
			done < <(grep -oE '"[^"]*"' <<<"$words" | tr -d '"')
			[ -e "$file" ] || echo "there is no $file"
		done <<<"$found"
	done 2>/dev/null
}
is "SECURITY has no promise without a check that is there" "$(untested doc/SECURITY.md)" ""
promises=$(awk '/^## / { on = /^## What is promised/ } on && /^\| / && !/^\| promise \|/' doc/SECURITY.md | wc -l)
[ "$promises" -ge 60 ] && pass "and has many" || fail "and has many" "$promises"
sed 's@test-confine.c "no_processes"@test-confine.c "no_such_check"@' doc/SECURITY.md >"$DIR/out/unknown.md"
like "one without a check is noticed" "$(printf '%s\n' '## What is promised' '| x | tests/unit/test-wire.c |' | untested /dev/stdin)" 'no check is named: x'
like "one whose check is gone is noticed" "$(untested "$DIR/out/unknown.md")" 'test-confine.c has no "no_such_check"'
# README says which versions of npm packages are proved to work: those that the tests have.
versions() {
	jq -r '.dependencies | to_entries[] | select(.key | test("mongo|msal|google")) | .value | ltrimstr("npm:mongodb@")' tests/npm/package.json tests/npm/mongosh/package.json | lines
}
is "README's clients are those that the tests run" "$(sed -nE '/^\| client \|/,/^$/p' README.md | grep -oE '\b[0-9]+\.[0-9]+\.[0-9]+\b' | lines)" "$(versions)"
for code in 0 1 2 3 4 5 6 7 8; do
	check "README and OPERATING tell exit code $code" sh -c "grep -q '^| $code |' README.md && grep -q '^| $code |' doc/OPERATING.md"
done
finish
