#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Row process: a token that is at hand, by a program that starts and ends for it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/token.inc"
. "$(dirname "$0")/oidc-agent.inc"

# One session for all of them: what keyctl and Kerberos read hangs there.
cat >"$DIR/ways" <<'END'
keyfob get atlas >/dev/null || exit 1
set -- keyfob keyfob get atlas -- "keyctl pipe" keyctl pipe "$(keyctl request user keyfob:atlas)"
set -- "$@" -- "curl, local endpoint" curl -sSf -H Metadata:true "$IMDS"
END
imds="$CLOUD/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://bench"
if start_oidc_agent; then
	echo 'set -- "$@" -- oidc-token oidc-token atlas' >>"$DIR/ways"
else
	skip_way process oidc-token "the package oidc-agent-cli is not here"
fi
if [ -x "$BENCH/krb5-ticket" ]; then
	cat >>"$DIR/ways" <<-'END'
	"$BENCH/krb5-ticket" store KEYRING:session:bench && "$BENCH/krb5-ticket" store "FILE:$HOME/krb5" || exit 1
	set -- "$@" -- "Kerberos KEYRING" "$BENCH/krb5-ticket" read KEYRING:session:bench -- "Kerberos FILE" "$BENCH/krb5-ticket" read "FILE:$HOME/krb5"
	END
else
	skip_way process "Kerberos KEYRING" "the package libkrb5-dev is not here"
fi
# Its daemon comes with modules for the host's NSS and PAM, which no benchmark should bring along.
skip_way process "Kerberos KCM" "sssd-kcm is not installed by make bench-deps"
echo 'exec "$BENCH/commands" process 0 "$@"' >>"$DIR/ways"
install -d -m 0700 -o "$BENCH_USER" "$DIR/agent"
as_agent_user env "BENCH=$BENCH" "IMDS=$imds" "BENCH_ROUNDS=${BENCH_ROUNDS:-}" sh "$DIR/ways" || die "a way does not work"
at_most process keyfob "keyctl pipe" 1.3
