#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/torture.sh BUILD [KILLS]: the long way of those tests that kill and stop, about two hours: tests/system/torture.sh
# with so many kills (1,000 take a quarter of an hour), torture-all.sh and flapping.sh for ten minutes each, soak.sh for 25, and
# kill-at.sh at each boundary; then faults.sh with 700 rounds of failing calls.
set -u
run() {
	"$(dirname "$0")/run" "$@" || failed=1
}
failed=0
export KEYFOB_TORTURE_KILLS=${2:-1000} KEYFOB_TORTURE_EVENTS=500 KEYFOB_FLAPPING_SECONDS=300 KEYFOB_KILL_EVERY=1
run "$1" torture torture-all flapping
KEYFOB_SOAK_SECONDS=1500 run "$1" soak
# Each for itself: a test may take half an hour.
for KEYFOB_KILL_SCENARIOS in first drop refresh start reload files; do
	export KEYFOB_KILL_SCENARIOS
	run "$1" kill-at
done
KEYFOB_FAULTS=600 KEYFOB_FAULTS_CHANCES=100 run "$1" faults
exit $failed
