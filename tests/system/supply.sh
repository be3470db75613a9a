#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# No program links what it has no right to (packaging/sbom.sh).
. "$(dirname "$0")/lib.sh"

BUILD=$(realpath "$1")
for program in objdump cc dpkg-query; do
	command -v "$program" >/dev/null || { echo "1..0 # SKIP $program is not installed"; exit 0; }
done
! objdump -p "$BUILD/bin/keyfobd" | grep -qE 'NEEDED +lib(a|ub)san' || { echo "1..0 # SKIP a sanitizer's libraries are linked in"; exit 0; }

exits "each program, library and module links what its row allows" 0 packaging/sbom.sh "$BUILD"
like "keyfob needs one library besides libc" "$(printf '%s\n' "$OUT" | sed -n '/^bin\/keyfob$/,/^bin\/keyfob-admin$/p' | grep -c '^  ')" '^2$'
like "the package of each is named, and its version" "$OUT" '^  libkeyutils\.so\.1 +libkeyutils1 [0-9]'

mkdir -p "$DIR/build/lib/security" "$DIR/build/lib/keyfob"
cp -a "$BUILD/bin" "$DIR/build/" && cp -a "$BUILD"/lib/libkeyfob.so* "$DIR/build/lib/"
cp -a "$BUILD/lib/security/pam_keyfob.so" "$DIR/build/lib/security/" && cp -a "$BUILD/lib/keyfob/modules" "$DIR/build/lib/keyfob/"
echo 'int main(void) { return 0; }' | cc -x c -o "$DIR/build/bin/keyfobd" - -Wl,--no-as-needed -ljansson
exits "a broker that could read JSON is told" 1 packaging/sbom.sh "$DIR/build"
like "by its name and the library's" "$ERR" '^sbom: bin/keyfobd must not link libjansson\.so\.4$'
cp "$BUILD/bin/keyfob" "$DIR/build/bin/keyfob-new"
exits "so is a program that nobody has thought about" 1 packaging/sbom.sh "$DIR/build"
like "by its name" "$ERR" 'sbom: bin/keyfob-new is not in the table'
finish
