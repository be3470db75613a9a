#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Row cold: a token that must be fetched first.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/token.inc"

as "$BENCH_USER" env "BENCH_ROUNDS=${BENCH_ROUNDS:-}" "KEYFOB_CONFIG=$CONFIG" "$BENCH/cold" "$KEYFOB_PREFIX/libexec/keyfob/keyfob-fetch" "$CLOUD" \
	"$CLOUD/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://bench" || die "a way does not work"
