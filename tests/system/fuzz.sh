#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each fuzz harness, with the address and undefined-behaviour sanitizers: its seeds and some thousand mutations of them,
# the same in every run (make fuzz looks for new ones). A harness may ask for fewer: "runs: N".
. "$(dirname "$0")/lib.sh"

HARNESSES=$(realpath "$1")/fuzz-replay/tests/fuzz
[ -d "$HARNESSES" ] || { echo "1..0 # SKIP this compiler has no address sanitizer"; exit 0; }

# Of one crash, hang or broken rule its input is left, to be given to the harness again.
replay() {
	"$HARNESSES/$1" "$2" && return
	echo "again: $HARNESSES/$1 --file $HARNESSES/$1.input"
	return 1
}
for source in tests/fuzz/*.c; do
	name=$(basename "$source" .c)
	runs=$(sed -n 's/^ \* runs: //p' "$source")
	case $name in
	driver | libfuzzer) continue ;;
	esac
	check "$name: seeds and ${runs:-5000} mutations" replay "$name" "${runs:-5000}"
done
finish
