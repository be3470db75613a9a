#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What keyfob needs on Debian 12: packages and system users.
#   packaging/deps.sh [--if-missing] [demo|fuzz|lint|bench]
# installs what is missing: to build, to test, and the npm packages of tests/npm, which judge keyfob from outside
# (without them their tests are skipped); with a word only what that target of the Makefile needs. --if-missing: silent when
# nothing is.
set -eu

build="gcc make pkg-config libkeyutils-dev libcurl4-openssl-dev libssl-dev libjansson-dev libevent-dev
	libini-config-dev libseccomp-dev libmd-dev libpam0g-dev"
demo="keyutils curl jq procps"
tests="libcmocka-dev openssl mandoc build-essential pamtester postgresql mariadb-server mariadb-client pgbouncer openssh-server crun sudo iproute2 nftables systemd debhelper lintian debootstrap libpq-dev python3-psycopg python3-pymysql prometheus"
# What people use instead, beside which make bench measures. Without one its rows are skipped by name.
bench="oidc-agent-cli libkrb5-dev libjwt-dev libcjose-dev librhonabwy-dev libjose-dev libmariadb-dev"
# keyfobd starts fetches as the first; the others are for the verifier and the metadata endpoint.
users="keyfob-fetch keyfob-verify keyfob-metadata"

quiet="" only_demo=""
for word; do
	case $word in
	--if-missing) quiet=yes ;;
	demo) only_demo=yes tests="" ;;
	fuzz) only_demo=yes demo="" tests="clang llvm libclang-rt-14-dev" ;;
	bench) only_demo=yes tests=$bench ;;
	lint) only_demo=yes demo="" tests="clang clang-tidy cppcheck shellcheck" ;;
	*) echo "usage: deps.sh [--if-missing] [demo|fuzz|lint|bench]" >&2; exit 2 ;;
	esac
done

missing_packages=""
for package in $build $demo $tests; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing_packages="$missing_packages $package"
done
missing_users=""
for user in $users; do
	getent passwd "$user" >/dev/null || missing_users="$missing_users $user"
done
npm=$(dirname "$0")/../tests/npm
missing_npm=""
for directory in "$npm" "$npm/mongosh"; do
	[ -n "$only_demo" ] || [ "$directory/node_modules/.package-lock.json" -nt "$directory/package-lock.json" ] || missing_npm="$missing_npm $directory"
done
# Debian's npm, a package of 400, is not put beside another one.
[ -z "$missing_npm" ] || command -v npm >/dev/null || missing_packages="$missing_packages nodejs npm"

if [ -z "$missing_packages$missing_users$missing_npm" ]; then
	[ -n "$quiet" ] || echo "deps: nothing is missing"
	exit 0
fi
[ -z "$missing_packages" ] || echo "deps: installing the Debian packages$missing_packages"
[ -z "$missing_users" ] || echo "deps: making the system users$missing_users"
[ -z "$missing_npm" ] || echo "deps: installing the npm packages of tests/npm"
if [ "$(id -u)" != 0 ]; then
	echo "deps: this needs root: run make deps as root" >&2
	exit 1
fi

# The tests start servers of their own: those that come with the packages do not run, neither now nor after the next boot,
# and no PostgreSQL cluster is made.
policy=/usr/sbin/policy-rc.d clusters=/etc/postgresql-common/createcluster.d
no_services() {
	trap services_as_before EXIT
	trap 'exit 1' INT TERM HUP
	case " $missing_packages " in
	*" postgresql "*)
		[ -d "$clusters" ] || rmdir_clusters=yes
		mkdir -p "$clusters"
		echo "create_main_cluster = false" >"$clusters/keyfob-deps.conf"
		;;
	esac
	if [ ! -e "$policy" ]; then
		rm_policy=yes
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 0755 "$policy"
	fi
}
services_as_before() {
	trap - EXIT
	rm -f "$clusters/keyfob-deps.conf"
	[ -z "${rmdir_clusters:-}" ] || rmdir "$clusters" 2>/dev/null || true
	[ -z "${rm_policy:-}" ] || rm -f "$policy"
	for package in $missing_packages; do
		case $package in
		mariadb-server) service=mariadb ;;
		pgbouncer) service=pgbouncer ;;
		openssh-server) service=ssh ;;
		prometheus) service=prometheus ;;
		*) continue ;;
		esac
		[ ! -e "/etc/init.d/$service" ] || update-rc.d "$service" disable >/dev/null 2>&1 || true
	done
}

if [ -n "$missing_packages" ]; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >/dev/null
	no_services
	# shellcheck disable=SC2086
	apt-get install -y -q --no-install-recommends $missing_packages >/dev/null
	services_as_before
fi
for user in $missing_users; do
	useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
done
for directory in $missing_npm; do
	# Of those that mongosh could do without, some are built from source; tests/npm has Node.js itself among them.
	[ "$directory" = "$npm" ] && optional="" || optional=--omit=optional
	npm ci --prefix "$directory" $optional --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null ||
		echo "deps: the npm packages of $directory could not be installed; the tests that need them will be skipped" >&2
done
