#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What keyfob needs on Debian 12: packages and system users.
#   packaging/deps.sh               install what is missing
#   packaging/deps.sh --if-missing  the same, but silent when nothing is
set -eu

build="gcc make pkg-config libkeyutils-dev libcurl4-openssl-dev libssl-dev libjansson-dev libevent-dev
	libini-config-dev libseccomp-dev libmd-dev"
tests="libcmocka-dev keyutils curl jq openssl mandoc procps"
# keyfobd starts fetches as the first; the others are for the verifier and the metadata endpoint.
users="keyfob-fetch keyfob-verify keyfob-metadata"

missing_packages=""
for package in $build $tests; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing_packages="$missing_packages $package"
done
missing_users=""
for user in $users; do
	getent passwd "$user" >/dev/null || missing_users="$missing_users $user"
done

if [ -z "$missing_packages$missing_users" ]; then
	[ "${1:-}" = --if-missing ] || echo "deps: nothing is missing"
	exit 0
fi
[ -z "$missing_packages" ] || echo "deps: installing the Debian packages$missing_packages"
[ -z "$missing_users" ] || echo "deps: making the system users$missing_users"
if [ "$(id -u)" != 0 ]; then
	echo "deps: this needs root: run make deps as root" >&2
	exit 1
fi
if [ -n "$missing_packages" ]; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >/dev/null
	# shellcheck disable=SC2086
	apt-get install -y -q --no-install-recommends $missing_packages >/dev/null
fi
for user in $missing_users; do
	useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
done
