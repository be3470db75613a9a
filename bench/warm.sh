#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Row warm: a token that is at hand, in a program that stays: by an open handle of libkeyfob, and by what people use instead.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/token.inc"

. "$(dirname "$0")/oidc-agent.inc"

file=$(mktemp -p /dev/shm keyfob-bench.XXXXXX) || die "no /dev/shm"
at_end "rm -f $file"
as "$BENCH_USER" keyfob get atlas >"$file" && chown "$BENCH_USER" "$file" || die "no token file"
start_oidc_agent && account=atlas || account=""

as_bench "$BENCH_USER" warm atlas "$file" $account
