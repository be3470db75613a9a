#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The Debian packages: built, judged by lintian, installed on a clean root filesystem, set up by keyfob init, started as their
# units say, a verified login at a PostgreSQL there, upgraded with the token kept, purged without a trace. That root has a pid
# and a network namespace of its own.
# takes long
. "$(dirname "$0")/lib.sh"

missing() {
	echo "1..0 # SKIP $1"
	exit 0
}
for program in dpkg-buildpackage dh lintian debootstrap ip; do
	command -v "$program" >/dev/null || missing "$program is not installed"
done
unshare --mount --net --pid --fork true 2>/dev/null || missing "no namespaces can be made here"
# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 2>/dev/null | sed -n "s/ $suite\$//p" | grep '/debian/*$' | head -n 1)
[ -n "$mirror" ] || missing "apt knows no Debian mirror"

# What keyfob's packages need, and programs that make system users and directories without systemd.
needed=libcurl4,libevent-core-2.1-7,libevent-extra-2.1-7,libini-config5,libjansson4,libkeyutils1,libmd0,libseccomp2,libssl3
ROOT=$DIR/root
# PostgreSQL comes by apt, and not with the rest, so that no cluster is made and no server starts. Ends with 9 without it.
cat >"$DIR/bootstrap" <<END
#!/bin/sh
set -e
debootstrap --variant=minbase --include="$needed,libpam-runtime,systemd-standalone-sysusers,systemd-standalone-tmpfiles" "$suite" "$ROOT" "$mirror"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mkdir -p "$ROOT/etc/postgresql-common/createcluster.d"
echo "create_main_cluster = false" >"$ROOT/etc/postgresql-common/createcluster.d/keyfob-test.conf"
printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
chmod 0755 "$ROOT/usr/sbin/policy-rc.d"
PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot "$ROOT" \
	apt-get -y -o APT::Install-Recommends=false install postgresql || exit 9
rm "$ROOT/usr/sbin/policy-rc.d"
END
chmod 0755 "$DIR/bootstrap"
# In namespaces, so that nothing of it stays mounted or running whatever ends this test.
unshare --mount --pid --fork --kill-child --mount-proc --propagation private "$DIR/bootstrap" \
	>"$DIR/out/debootstrap.log" 2>&1 </dev/null &
BOOTSTRAP=$!
PIDS="$PIDS $BOOTSTRAP"

# --- built, and judged ---------------------------------------------------------------------

BUILD=$DIR/build DEBS=$DIR/build/deb
# The packages are built as packages are, whatever this test is part of.
check "make deb" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBFULLNAME='A. Packager' DEBEMAIL=packager@example.com make --no-print-directory O="$BUILD" deb
[ "$FAILED" = 0 ] || finish
version=$(sed -n 's/^VERSION *:= *//p' Makefile)
arch=$(dpkg --print-architecture)
packages="keyfob keyfob-emulator libkeyfob-dev libkeyfob0 libpam-keyfob"
is "it makes five packages" "$(cd "$DEBS" && printf '%s\n' *.deb | sort)" "$(for p in $packages; do echo "${p}_${version}_$arch.deb"; done | sort)"
is "their maintainer is who made them" "$(for deb in "$DEBS"/*.deb; do dpkg-deb -f "$deb" Maintainer; done | sort -u)" \
	"A. Packager <packager@example.com>"
is "lintian has nothing to say" "$(lintian --allow-root --fail-on none "$DEBS"/*.changes 2>&1)" ""
is "libkeyfob needs libc and libkeyutils alone" \
	"$(dpkg-deb -f "$DEBS/libkeyfob0_${version}_$arch.deb" Depends | sed 's/ ([^)]*)//g')" "libc6, libkeyutils1"

# --- a clean root ----------------------------------------------------------------------------

wait "$BOOTSTRAP"
BOOTSTRAPPED=$?
if [ "$BOOTSTRAPPED" != 0 ] && [ "$BOOTSTRAPPED" != 9 ]; then
	skip "install, upgrade, purge" "debootstrap made no root: $(tail -n 1 "$DIR/out/debootstrap.log")"
	finish
fi
SOCKET=/run/keyfob/keyfob-test-$$.sock NAME=packages-$$
cat >"$DIR/enter" <<END
#!/bin/sh
set -e
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs -o mode=0755 keyfob-test "$ROOT/run"
mount -t tmpfs keyfob-test "$ROOT/tmp"
ip link set lo up
exec sleep infinity
END
chmod 0755 "$DIR/enter"
unshare --mount --net --pid --fork --propagation private --kill-child "$DIR/enter" >"$DIR/out/enter.log" 2>&1 &
UNSHARE=$!
PIDS="$PIDS $UNSHARE"
first_process() {
	FIRST=$(pgrep -P "$UNSHARE") && [ "$(cat "/proc/$FIRST/comm")" = sleep ]
}
if ! until_true 10 first_process; then
	skip "install, upgrade, purge" "no root can be entered here: $(tail -n 1 "$DIR/out/enter.log")"
	finish
fi
first_process
# inside COMMAND...: as root in there. Its broker's socket has a name of its own, since the kernel's keyrings are the host's.
INSIDE=(nsenter -t "$FIRST" -m -n -p -r chroot "$ROOT" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
	"KEYFOB_SOCKET=$SOCKET")
inside() {
	"${INSIDE[@]}" "$@"
}
leave() {
	inside keyfobd --purge 2>/dev/null || env "KEYFOB_SOCKET=$SOCKET" keyfobd --purge 2>/dev/null
	kill -KILL "$FIRST" 2>/dev/null
	wait "$UNSHARE" 2>/dev/null
	key=$(keyctl get_persistent @s "$READER" 2>/dev/null) && keyctl revoke "$key"
	cleanup
}
# Nobody on the host has this uid, and so his persistent keyring is the test's.
READER=$((1900000000 + $$))
trap leave EXIT
inside useradd -M -u "$READER" reader 2>/dev/null
# What a package manager and the tools it calls remember of everything is no trace of keyfob's.
files() {
	inside find / -xdev \( -path /proc -o -path /dev -o -path /sys -o -path /run -o -path /tmp \) -prune -o -print |
		grep -vE '^/(var/(lib/dpkg|log|cache|lib/pam)/|etc/(passwd|shadow|group|gshadow)-$|etc/\.pwd\.lock)' | sort
	inside cat /etc/passwd /etc/group /etc/pam.d/common-session
}
files >"$DIR/out/before"

# --- installed ---------------------------------------------------------------------------------

# It lies outside of that root.
unpack() {
	mkdir -p "$ROOT/var/tmp/debs" && cp "$@" "$ROOT/var/tmp/debs/" && inside sh -c 'dpkg -i /var/tmp/debs/*.deb'
	local code=$?
	rm -rf "$ROOT/var/tmp/debs"
	return "$code"
}
check "they install" unpack "$DEBS"/*.deb
for user in keyfob-fetch keyfob-verify keyfob-metadata; do
	like "the system user $user is there, and cannot log in" "$(inside getent passwd "$user")" ':/:/usr/sbin/nologin$'
done
is "keyfob-fetch is root's, to be run and not read" "$(inside stat -c '%U %G %a' /usr/libexec/keyfob/keyfob-fetch)" "root root 711"
is "the directory of sockets is there" "$(inside stat -c '%U %G %a' /run/keyfob)" "root root 755"
# theirs TEST...: what of the packages' files and directories find(1) finds by it
theirs() {
	inside sh -c "dpkg -L $packages | grep ^/ | sort -u | xargs -d '\n' sh -c 'find \"\$@\" -maxdepth 0 ! -type l $*' sh"
}
is "nobody but root can write to anything of them" "$(theirs "\( ! -user root -o -perm /022 \)")" ""
is "no program is set-user-id or has capabilities" "$(theirs "-type f -perm /6000"; inside sh -c "dpkg -L $packages | xargs -d '\n' getcap 2>/dev/null")" ""
check "the empty configuration is a good one" inside keyfob doctor --config
unlike "the PAM profile waits to be chosen" "$(inside cat /etc/pam.d/common-session)" pam_keyfob

# --- started as the units say --------------------------------------------------------------------

# start_unit NAME: what systemd would run; in STARTED the nsenter that waits for it
start_unit() {
	local command
	command=$(sed -n 's/^ExecStart=//p' "$ROOT/lib/systemd/system/$1.service")
	# shellcheck disable=SC2086
	"${INSIDE[@]}" $command >>"$LOG" 2>&1 &
	STARTED=$!
	PIDS="$PIDS $STARTED"
}
stop_unit() {
	pkill -TERM -P "$1"
	wait "$1"
}
exits "keyfob init writes a configuration" 0 inside keyfob init "$NAME" --emulator --user reader --write
CLOUD=http://127.0.0.1:8791
is "and says how to start the cloud" "$(printf '%s\n' "$OUT" | grep -F keyfob-emulator)" "  keyfob-emulator --listen ${CLOUD#http://} &"
"${INSIDE[@]}" keyfob-emulator --listen "${CLOUD#http://}" >"$DIR/out/emulator.log" 2>&1 &
PIDS="$PIDS $!"
# cloud PATH...: what it answers
cloud() {
	nsenter -t "$FIRST" -n curl -sSf -H 'Metadata: true' "$CLOUD/$1"
}
check "which serves" until_true 20 cloud jwks
start_unit keyfobd
BROKER_UNIT=$STARTED
check "keyfobd serves" until_true 20 inside keyfob status
as_reader() {
	inside setpriv --reuid=reader --regid=reader --init-groups "$@"
}
get() {
	as_reader keyfob get "$NAME"
}
TOKEN=$(get)
like "the reader gets a token" "$TOKEN" '^eyJ'
TOKEN=${TOKEN:-none}
like "root may ask too" "$(inside keyfob get "$NAME")" '^eyJ'
start_unit keyfob-verifyd
VERIFIER_UNIT=$STARTED
check "keyfob-verifyd serves, and has keys by keyfobd" until_true 20 inside keyfob jwks refresh emulator
if [ -e "$ROOT/lib/systemd/system/keyfob-metadata.service" ]; then
	start_unit keyfob-metadata
	METADATA_UNIT=$STARTED
	metadata_up() { grep -qE 'keyfob-metadata: event=serving' "$LOG"; }
	check "keyfob-metadata serves" until_true 20 metadata_up
fi

# --- a login -------------------------------------------------------------------------------------

# PostgreSQL's data is in that root's /tmp, a file system that ends with it.
make_cluster() {
	inside install -d -o postgres -g postgres -m 0700 /tmp/pg &&
		"${AS_POSTGRES[@]}" "$PG_BIN/initdb" -D /tmp/pg -A trust -E UTF8 --no-locale --no-sync --no-instructions &&
		inside tee /tmp/pg/pg_hba.conf <<-END
			local all all trust
			host all all 127.0.0.1/32 pam pamservice=postgresql
		END
}
# role_psql ROLE COMMAND...: psql as that role, by TCP, run by COMMAND
role_psql() {
	local role=$1
	shift
	as_reader "$@" psql -X -w -q -A -t -h 127.0.0.1 -U "$role" -d postgres -c 'select current_user'
}
pgpass() {
	role_psql "$1" keyfob run "--pgpass=$NAME:127.0.0.1:5432:postgres:$1" --
}
# verdict MARK REASON: since that line of the log, which is written beside the answer
verdict() {
	tail -n +$(($1 + 1)) "$LOG" | grep -qE "event=verdict .*result=refused .*reason=$2( |\$)"
}
# refused DESCRIPTION REASON COMMAND...: the server refuses, and the verifier's log tells why
refused() {
	local mark
	mark=$(wc -l <"$LOG")
	exits "$1" 2 "${@:3}"
	like "by its PAM service" "$ERR" 'PAM authentication failed for user'
	check "for the reason $2" until_true 5 verdict "$mark" "$2"
}
if [ "$BOOTSTRAPPED" = 9 ]; then
	skip "a login at PostgreSQL" "apt installed none there: $(tail -n 1 "$DIR/out/debootstrap.log")"
else
	PG_BIN=$(inside sh -c 'echo /usr/lib/postgresql/*/bin')
	AS_POSTGRES=("${INSIDE[@]}" setpriv --reuid=postgres --regid=postgres --init-groups)
	module=$(inside sh -c 'dpkg -L libpam-keyfob | grep /pam_keyfob.so$')
	printf '%s required '"$module"' verify\n' auth account >"$ROOT/etc/pam.d/postgresql"
	exits "keyfob doctor is green" 0 inside keyfob doctor
	like "0 errors" "$(printf '%s\n' "$OUT" | tail -n 1)" ', 0 errors$'
	printf '%s\n' "$OUT" | sed -n 's/^  warning /# doctor warns: /p'
	check "a cluster" make_cluster
	"${AS_POSTGRES[@]}" "$PG_BIN/postgres" -D /tmp/pg -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp \
		-c fsync=off >"$DIR/out/postgresql" 2>&1 &
	POSTGRESQL=$!
	PIDS="$PIDS $POSTGRESQL"
	pg_admin() { "${AS_POSTGRES[@]}" psql -X -q -v ON_ERROR_STOP=1 -h /tmp -c "$1"; }
	check "PostgreSQL serves" until_true 20 pg_admin 'select 1'
	check "and has two roles" pg_admin 'create role reader login; create role other login'
	exits "the reader logs in with his token" 0 pgpass reader
	is "as himself" "$OUT" reader
	refused "as nobody else" LOGIN_UNKNOWN pgpass other
	wrong=$(cloud 'metadata/identity/oauth2/token?api-version=2018-02-01&resource=api://wrong' | jq -r .access_token)
	refused "nor with a token for something else" AUD role_psql reader env "PGPASSWORD=$wrong"
	stop_unit "$POSTGRESQL"
	rm -f "$ROOT/etc/pam.d/postgresql"
fi

check "the PAM profile can be chosen" inside pam-auth-update --enable keyfob
like "and is in the stack then, behind a keyring of the session's own" "$(inside grep -h keyinit -A1 /etc/pam.d/common-session)" \
	'^session.*optional.*pam_keyfob.so'
unlike "doctor finds nothing wrong with it" "$(inside keyfob doctor)" "(error|warning) .*common-session"

# --- developed with --------------------------------------------------------------------------------

# A program built against libkeyfob-dev runs with libkeyfob0.
cat >"$DIR/out/get.c" <<'END'
#include <keyfob.h>
#include <stdio.h>
int main(int argc, char **argv)
{
	struct keyfob *kf = NULL;
	struct keyfob_token *token = NULL;
	int error = argc == 2 ? keyfob_open(&kf) : KEYFOB_EINVAL;

	if (error == 0)
		error = keyfob_get(kf, argv[1], &token);
	if (error == 0)
		fputs(keyfob_token_value(token), stdout);
	keyfob_token_free(&token);
	keyfob_close(&kf);
	return -error;
}
END
triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
flags() {
	PKG_CONFIG_SYSROOT_DIR=$ROOT PKG_CONFIG_LIBDIR=$ROOT/usr/lib/$triplet/pkgconfig PKG_CONFIG_SYSTEM_INCLUDE_PATH=/ PKG_CONFIG_SYSTEM_LIBRARY_PATH=/ \
		pkg-config --cflags --libs keyfob
}
# shellcheck disable=SC2046
check "a program is built with what libkeyfob-dev says" \
	cc -o "$ROOT/usr/local/bin/get" "$DIR/out/get.c" $(flags) -Wl,-rpath-link,"$ROOT/usr/lib/$triplet"
is "and reads the token" "$(inside setpriv --reuid=reader --regid=reader --init-groups /usr/local/bin/get "$NAME")" "$TOKEN"
rm -f "$ROOT/usr/local/bin/get"

# --- upgraded ---------------------------------------------------------------------------------------

mkdir "$DIR/out/next" "$DIR/out/debs"
for package in $packages; do
	dpkg-deb -R "$DEBS/${package}_${version}_$arch.deb" "$DIR/out/next/$package"
	sed -i -E "s/^Version: .*/&+next/; s/\(= [^)]*\)/(= $version+next)/" "$DIR/out/next/$package/DEBIAN/control"
	dpkg-deb --root-owner-group -b "$DIR/out/next/$package" "$DIR/out/debs" >/dev/null
done
upstream() {
	cloud emulator/counters | jq .imds.requests
}
fetches=$(upstream)
check "an upgrade" unpack "$DIR/out/debs"/*.deb
is "is one" "$(inside dpkg-query -W -f '${Version}' keyfob)" "$version+next"
check "keeps the configuration" inside test -s "/etc/keyfob/conf.d/$NAME.conf"
# The broker that runs is the old one. systemd would start the new one now.
stop_unit "$BROKER_UNIT"
start_unit keyfobd
BROKER_UNIT=$STARTED
serving_again() { [ "$(grep -c 'keyfobd: event=serving' "$LOG")" = 2 ]; }
check "the new keyfobd serves" until_true 20 serving_again
is "with the same token" "$(get)" "$TOKEN"
is "for which nobody was asked again" "$(upstream)" "$fetches"

# --- removed, purged -----------------------------------------------------------------------------------

# standing: keys of that credential, of whoever, that can be read
standing() {
	awk -v name="keyfob:$NAME:" '$9 == name && $2 !~ /R/' /proc/keys | wc -l
}
like "the master copy and the reader's stand" "$(standing)" '^[2-9]$'
stop_unit "$BROKER_UNIT"
stop_unit "$VERIFIER_UNIT"
[ -z "${METADATA_UNIT:-}" ] || stop_unit "$METADATA_UNIT"
# shellcheck disable=SC2086
check "they are removed" inside dpkg --remove $packages
is "no key is left" "$(standing)" 0
check_not "nor the broker's own keyring" keyctl search @u keyring "keyfob-broker:$SOCKET"
check "the configuration stays until the purge" inside test -s "/etc/keyfob/conf.d/$NAME.conf"
inside sh -c 'd=/run/keyfob/token/reader && mkdir -p $d && mount -t tmpfs reader $d && : >$d/his' || echo "# cannot mount"
# shellcheck disable=SC2086
check "they are purged, though a user mounted something on his directory" inside dpkg --purge $packages
files >"$DIR/out/after"
is "no file, no user, no line of PAM's is left" "$(diff "$DIR/out/before" "$DIR/out/after")" ""
is "nor anything in /run/keyfob but what is his" "$(inside find /run/keyfob ! -type d)" /run/keyfob/token/reader/his
finish
