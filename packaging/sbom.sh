#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packaging/sbom.sh BUILD: for each program, library and module of a build the shared libraries that it names, with the
# Debian package of each and its version. Ends with 1 where one names a library that it has no right to: what runs with
# rights, or in a stranger's process, must not be able to parse what it should never see.
set -u
build=$1
failed=0

# What each may name besides libc. What loads it into the process through one of these is that library's own affair.
allowed() {
	case $1 in
	bin/keyfob | lib/libkeyfob.so.*) echo "libkeyutils" ;;
	bin/keyfob-request-key) echo "libkeyutils libseccomp" ;;
	bin/keyfobd) echo "libini_config libevent_core libkeyutils libseccomp" ;;
	bin/keyfob-fetch) echo "libseccomp libjansson libmd" ;;
	bin/keyfob-admin) echo "libini_config libcrypto libjansson libkeyutils" ;;
	bin/keyfob-verifyd) echo "libini_config libevent_core libcrypto libjansson libkeyutils libseccomp" ;;
	bin/keyfob-metadata) echo "libevent_core libseccomp" ;;
	bin/keyfob-emulator) echo "libevent_extra libevent_core libcrypto libjansson" ;;
	lib/security/pam_keyfob.so) echo "libpam" ;;
	lib/keyfob/modules/*.so) echo "libcurl libcrypto libjansson" ;;
	esac
}

needed() {
	objdump -p "$1" 2>/dev/null | awk '$1 == "NEEDED" { print $2 }'
}

# "libjansson4 2.14-2"; "not packaged" of one that no package owns. /lib may be a link to /usr/lib, and dpkg knows one of the two.
package_of() {
	local path owner
	path=$(ldconfig -p | awk -v name="$1" '$1 == name { print $NF; exit }')
	owner=$(dpkg-query -S "$(realpath "$path" 2>/dev/null)" "$path" "/usr$path" 2>/dev/null | head -n 1 | cut -d: -f1)
	[ -n "$owner" ] || { echo "not packaged"; return; }
	dpkg-query -W -f '${Package} ${Version}\n' "$owner" | head -n 1
}

for file in "$build"/bin/* "$build"/lib/libkeyfob.so.*.* "$build"/lib/security/*.so "$build"/lib/keyfob/modules/*.so; do
	[ -f "$file" ] || { echo "sbom: $file is not there: make first" >&2; exit 1; }
	name=${file#"$build"/}
	right=$(allowed "$name")
	[ -n "$right" ] || { echo "sbom: $name is not in the table of $0" >&2; failed=1; }
	echo "$name"
	for library in $(needed "$file"); do
		printf '  %-28s %s\n' "$library" "$(package_of "$library")"
		case " libc ld-linux-x86-64 ld-linux-aarch64 $right " in
		*" ${library%%.so*} "* | *" ${library%%-[0-9]*} "*) ;;
		*) echo "sbom: $name must not link $library" >&2; failed=1 ;;
		esac
	done
done
exit $failed
