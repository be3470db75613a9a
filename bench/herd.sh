#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A herd of processes that all want one token at one moment: cold, so that it must be fetched first, and warm.
# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$0")/lib.sh"

DELAY_MS=500 # that the metadata service takes; time enough for all to ask before the answer
SIZES="1 10 100 1000"
ROUNDS=$(rounds 5)

new_user; herder=$USER_NAME
start_emulator
for size in $SIZES; do
	for ((round = 1; round <= ROUNDS; round++)); do
		printf '[credential h%d-%d]\nresource = api://h\nprovider = azure endpoint=%s\nrefresh = on-demand\nallow = user:%s\n' \
			"$size" "$round" "$CLOUD" "$herder"
	done
done | configure
start_broker
fault "path=imds&delay_ms=$DELAY_MS"

# herds HOW SIZE: into AFTER, SPREAD, MEDIAN and SLOWEST one figure a round
herds() {
	local credentials=() line=()
	AFTER=() SPREAD=() MEDIAN=() SLOWEST=()
	for ((round = 1; round <= ROUNDS; round++)); do credentials+=("h$2-$round"); done
	"$BENCH/herd" "$(id -u "$herder")" "$2" "${credentials[@]}" >"$DIR/out/herd" || die "$2 processes, $1"
	while read -r -a line; do
		AFTER+=("${line[0]}") SPREAD+=("${line[1]}") MEDIAN+=("${line[2]}") SLOWEST+=("${line[3]}")
	done <"$DIR/out/herd"
}
name() {
	case $1 in 1) echo "1 process" ;; 1000) echo "1,000 processes" ;; *) echo "$1 processes" ;; esac
}
median() {
	printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"
}

for size in $SIZES; do
	before=$(requests imds)
	herds cold "$size"
	say herd "$(name "$size")" ns "${AFTER[@]}"
	say herd-requests "$(name "$size")" requests "$(awk "BEGIN { print ($(requests imds) - $before) / $ROUNDS }")"
	point herd "cold, the last one's wait" processes "$size" ns "$(median "${AFTER[@]}")"
	if [ "$size" = 1 ]; then
		alone=$(median "${AFTER[@]}")
	else
		point herd "cold, from the first one's token to the last one's" processes "$size" ns "$(median "${SPREAD[@]}")"
	fi
	herds warm "$size"
	say herd-warm "$(name "$size")" ns "${MEDIAN[@]}"
	point herd "warm, the slowest one's" processes "$size" ns "$(median "${SLOWEST[@]}")"
done
[ "$(requests imds)" = $((ROUNDS * 4)) ] || die "$(requests imds) requests came, where $((ROUNDS * 4)) tokens were wanted"
# The fetch is what one process alone waits for.
at_most herd "$(name 1000)" - $((alone + 500000000))
at_most herd-requests "$(name 1000)" - 1
