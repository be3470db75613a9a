#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/lint.sh [clang-tidy|cppcheck|analyzer|shellcheck...]: static analysis of all that ships, by these or by all four.
# Ends with 1 when one has anything to say. What is passed over stands here or in .clang-tidy, with why.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- shellcheck cppcheck clang-tidy analyzer
rooms="broker cli common emulator keyring metadata modules pam verify"
flags=(-std=gnu11 -D_GNU_SOURCE -I. '-DKEYFOB_VERSION="0"')
scripts=$(git ls-files -co --exclude-standard '*.sh' '*.inc' 2>/dev/null | grep -v node_modules)
scripts=${scripts:-$(find . -name '*.sh' -not -path '*/node_modules/*' -not -path './build*' -o -name '*.inc' -path './tests/*')}
sources=$(find $rooms -name '*.c' | sort)
failed=0

# SC2034: what a test sets for lib.sh to read. SC2120: functions whose argument may be left out. SC3013: dash has -nt.
run_shellcheck() {
	shellcheck -x -S warning -e SC2034,SC2120,SC3013 $scripts tests/run bench/run packaging/debian/*.p[or]* &&
		shellcheck -s bash -S warning packaging/completions/keyfob
}

# It reads no header of the system's, so the macros that look like statements are told.
run_cppcheck() {
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -I. -D_GNU_SOURCE \
		-DKEYFOB_VERSION='"0"' '-Djson_array_foreach(a,i,v)=for(i=0;(v=json_array_get(a,i));i++)' \
		'-Djson_object_foreach(o,k,v)=for(k=next(o);(v=value(k));)' '-DLIST_HEAD(n,t)=struct n{struct t*lh_first;}' \
		'-DLIST_ENTRY(t)=struct{struct t*le_next;}' -j "$(nproc)" $rooms tests/fuzz tests/helpers bench
}

# Where an analyzer of Debian 12 errs, each looked at: a file, what it says there, and why it is not so.
errs() {
	cat <<'END'
broker/confine.c core.UndefinedBinaryOperatorResult capget() by its number fills it in
broker/launcher-files.c unix.Malloc in a process that ends right there
broker/policy-provider.c core.NonNullParamChecker an option of a module's table has a name
broker/policy-provider.c malloc-leak the copy hangs in the array that was made larger
broker/policy.c malloc-leak the same
broker/readers.c double-free it takes a grown array for both moved and not
broker/readers.c malloc-leak the copy hangs in the array that was made larger
broker/readers.c use-after-free it takes a grown array for both moved and not
broker/serve.c unix.Malloc what is freed was taken off the list, over a pointer to a pointer
cli/admin-config.c malloc-leak the copy hangs in the array that was made larger
cli/admin-metadata.c core.NonNullParamChecker an entry has a key and a value
cli/args.c use-of-uninitialized-value the two loops fill all that is read
cli/module.c null-dereference strsep() ends the loop
cli/status-list.c malloc-leak cli_list_free() frees it
emulator/appservice.c malloc-leak the copy hangs in the client
emulator/entra-apps.c malloc-leak the same
emulator/faults.c malloc-leak the same
emulator/google.c unix.Malloc what is freed was taken off the list
emulator/jws.c possible-null-dereference the loop's condition has it
emulator/oauth2.c malloc-leak the copy hangs in the list
emulator/oauth2.c possible-null-dereference the loop's condition has it
emulator/server.c core.UndefinedBinaryOperatorResult getsockname() fills it in
emulator/tokens.c unix.Malloc what is freed was taken off the list
keyring/keyfob.c malloc-leak it hangs in the handle
metadata/http.c null-dereference a head ends with an empty line
metadata/peer.c core.UndefinedBinaryOperatorResult getpeername() and getsockopt() fill it in
metadata/serve.c unix.Malloc what is freed was taken off the list
modules/gcp-external.c malloc-leak free_config() frees it
verify/ask.c unix.Malloc what is freed was taken off the list
verify/federation-read.c malloc-leak federation_free() frees it
verify/federation.c malloc-leak the same
verify/jwk.c misc-redundant-expression inside jansson's loop over an array
verify/jwks.c malloc-leak jwks_free() frees it
verify/keyfob-verifyd.c malloc-leak the copies live as long as the process
verify/keysets.c malloc-leak it hangs in the set
verify/memory.c core.NullDereference only what is there is forgotten
verify/serve.c unix.Malloc what is freed was taken off the list
END
}

# Of what an analyzer prints the lines that are none of these, without the steps that lead there. 1 when there are any.
judge() {
	sed -nE "/^[^ ]+: (warning|error): /{s|^$PWD/||;p}" | sort -u | awk 'NR == FNR { errs[$1 " " $2] = 1; next }
		{ file = $1; sub(/:.*/, "", file); kind = $NF; gsub(/^\[(-Wanalyzer-|clang-analyzer-)?|\]$/, "", kind) }
		!((file " " kind) in errs) { print; found = 1 }
		END { exit found }' <(errs) -
}

run_clang-tidy() {
	printf '%s\n' $sources | xargs -P "$(nproc)" -I{} clang-tidy --quiet {} -- "${flags[@]}" 2>/dev/null | judge
}

# gcc's own: gcc -fanalyzer FILE shows the steps.
run_analyzer() {
	printf '%s\n' $sources | xargs -P "$(nproc)" -I{} gcc "${flags[@]}" -O1 -fanalyzer -fdiagnostics-plain-output -c {} -o /dev/null 2>&1 | judge
}

for tool; do
	echo "lint: $tool"
	"run_$tool" || { echo "lint: $tool has something to say"; failed=1; }
done
exit $failed
