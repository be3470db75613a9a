#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/valgrind.sh BUILD [NAME...]: run the unit tests of a build, or those
# named, under valgrind. Memory that is read wrongly or lost fails a test.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$(realpath "$1")
shift
out=$build/tests/out/valgrind
mkdir -p "$out"

# What valgrind cannot run, and why. These run under ASan.
declare -A unfit=(
	[test-confine]="its children filter the system calls that valgrind itself makes"
	[test-fetch]="keyfob-fetch filters the system calls that valgrind itself makes"
	[test-fetch-hostile]="keyfob-fetch filters the system calls that valgrind itself makes"
)

failed=0
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(cd "$build/tests/unit" && printf '%s\n' test-* | grep -v '\.d$')
for name; do
	if [ -n "${unfit[$name]:-}" ]; then
		printf '%-28s skipped: %s\n' "$name" "${unfit[$name]}"
		continue
	fi
	if timeout -k 20 900 valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
		--child-silent-after-fork=yes "$build/tests/unit/$name" >"$out/$name.log" 2>&1 </dev/null; then
		printf '%-28s clean\n' "$name"
	else
		failed=1
		printf '%-28s FAILED (%s)\n' "$name" "$out/$name.log"
		grep -E '^==|FAILED|ERROR' "$out/$name.log" | head -n 20 | sed 's/^/    /'
	fi
done
exit $failed
