#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/fuzz/run.sh BUILD SECONDS [NAME...]: run each harness of a libFuzzer build, or those named, for so long, as many at
# a time as there are processors. The corpora stay in BUILD/corpus and grow from run to run. Ends with 1 when one crashes,
# hangs or leaks; what does that is kept in BUILD/crashes.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=$(realpath "$1")
seconds=$2
shift 2
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(cd "$build/tests/fuzz" && find . -maxdepth 1 -type f -perm -u+x -printf '%f\n' | sort)
mkdir -p "$build/corpus" "$build/crashes" "$build/logs" "$build/profiles"
export build seconds

# Lines of the parser's own files that the corpus reaches: "412/430 95.81%".
coverage() {
	local name=$1 files
	files=$(sed -n 's/^ \* parser: //p' "tests/fuzz/$name.c" | sed 's/[^ ][^ ]*/&.c/g')
	command -v llvm-cov >/dev/null && command -v llvm-profdata >/dev/null || { echo "no llvm-cov"; return; }
	llvm-profdata merge -sparse -o "$build/profiles/$name.profdata" "$build/profiles/$name.profraw" &&
		llvm-cov report "$build/tests/fuzz/$name" -instr-profile="$build/profiles/$name.profdata" $files 2>/dev/null |
		awk '$1 == "TOTAL" { printf "%d/%d lines, %s", $8 - $9, $8, $10 }'
}

# libFuzzer takes a corpus and gives one that is smaller and reaches as much.
run_one() {
	local name=$1 program=$build/tests/fuzz/$1 corpus=$build/corpus/$1 log=$build/logs/$1 crash
	rm -rf "$corpus.new" "$build/crashes/$name-"*
	mkdir -p "$corpus" "$corpus.new"
	LLVM_PROFILE_FILE=/dev/null KEYFOB_FUZZ_SEEDS=$corpus "$program" || { echo "$name: no seeds"; return 1; }
	LLVM_PROFILE_FILE=/dev/null "$program" -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$build/crashes/$name-" "$corpus" >"$log" 2>&1 </dev/null
	if [ $? != 0 ]; then
		crash=$(find "$build/crashes" -name "$name-*" | head -n 1)
		printf '%-18s FAILED: %s; again: %s %s\n' "$name" "$(grep -m 1 -E 'SUMMARY|does not hold|ERROR' "$log")" "$program" "${crash:-(see $log)}"
		return 1
	fi
	LLVM_PROFILE_FILE=/dev/null "$program" -merge=1 -max_len=65536 "$corpus.new" "$corpus" >"$log.merge" 2>&1 </dev/null &&
		rm -rf "$corpus" && mv "$corpus.new" "$corpus"
	LLVM_PROFILE_FILE=$build/profiles/$name.profraw "$program" -runs=0 -max_len=65536 "$corpus" >"$log.replay" 2>&1 </dev/null
	printf '%-18s %9d executions %6d edges %5d inputs  %s\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
		"$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log.replay" | tail -n 1)" "$(find "$corpus" -type f | wc -l)" "$(coverage "$name")"
}
export -f run_one coverage

printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'run_one {} || exit 1'
[ $? = 0 ] || { echo "fuzz: a harness failed; what it was given is in $build/crashes"; exit 1; }
