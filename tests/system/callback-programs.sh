#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What callback programs are written in: each language's usual ways run within the sandbox, by its list of system calls.
. "$(dirname "$0")/lib.sh"

new_user; alice=$USER_NAME
start_emulator
mkdir -m 0755 "$DIR/bin"
HOME_OF=/tmp/keyfob-test.$$
install -d -o "$alice" "$HOME_OF" && usermod -d "$HOME_OF" "$alice" || exit 1
trap 'rm -rf "$HOME_OF"; cleanup' EXIT
NAMES=""
# program NAME INTERPRETER: from stdin, if that is installed here for all users
program() {
	if [ -x "$2" ]; then
		{ echo "#!$2"; cat; } >"$DIR/bin/$1"
		chmod 0755 "$DIR/bin/$1"
		NAMES="$NAMES $1"
	else
		cat >/dev/null
		skip "$1" "$2 is not installed"
	fi
}
program shell /bin/bash <<END
set -eu
dir=\$(mktemp -d) && trap 'rm -rf "\$dir"' EXIT
cd "\$dir" && mkdir a && echo x >a/b && cp -p a/b c && mv c d && ln -s d e && chmod 600 d && touch -d yesterday d && tar cf f a && tar tf f >/dev/null
(sleep 0.1 & wait) && echo x | sort | awk '{ print }' | xargs -n 1 echo >/dev/null
nice true && timeout 5 true && flock d true && date >/dev/null && find . -newer e >/dev/null && ls -l >/dev/null && truncate -s 9 d && dd if=d of=g status=none
exec curl -sS -f '$CLOUD/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fx' -H Metadata:true
END
program python /usr/bin/python3 <<END
import concurrent.futures, fcntl, json, multiprocessing, os, shutil, ssl, sqlite3, subprocess, tempfile, threading, time, urllib.request
dir = tempfile.mkdtemp()
with open(dir + '/lock', 'w') as f:
    fcntl.lockf(f, fcntl.LOCK_EX)
sqlite3.connect(dir + '/cache.db').execute('create table t (a)')
ssl.create_default_context()
subprocess.run(['true'], check=True)
thread = threading.Thread(target=time.sleep, args=(0.01,))
thread.start(), thread.join()
child = multiprocessing.Process(target=os.getpid)
child.start(), child.join()
request = urllib.request.Request('$CLOUD/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fx', headers={'Metadata': 'true'})
with concurrent.futures.ThreadPoolExecutor() as pool:
    reply = pool.submit(lambda: urllib.request.urlopen(request).read()).result()
shutil.rmtree(dir)
print(json.dumps(json.loads(reply)))
END
program node /usr/bin/node <<END
const fs = require('fs'), os = require('os'), path = require('path'), { Worker } = require('worker_threads');
const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'x-'));
fs.writeFileSync(dir + '/a', 'x'), fs.copyFileSync(dir + '/a', dir + '/b'), fs.renameSync(dir + '/b', dir + '/c');
const watcher = fs.watch(dir);
require('child_process').execFileSync('true');
require('crypto').generateKeyPairSync('rsa', { modulusLength: 2048 });
new Worker('require("worker_threads").parentPort.postMessage(1)', { eval: true }).on('message', async () => {
	const reply = await fetch('$CLOUD/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fx', { headers: { Metadata: 'true' } });
	watcher.close(), fs.rmSync(dir, { recursive: true });
	console.log(await reply.text());
});
END
program perl /usr/bin/perl <<END
use strict; use File::Temp 'tempdir'; use Fcntl ':flock'; use IO::Socket::INET; use Socket;
my \$dir = tempdir(CLEANUP => 1);
open my \$f, '>', "\$dir/a" or die; flock(\$f, LOCK_EX) or die;
die if system('true'); my \$pid = fork; exit 0 unless \$pid; waitpid \$pid, 0;
IO::Socket::INET->new('${CLOUD#http://}') or die;
print "{\"access_token\":\"perl\",\"expires_in\":600}";
END
program git /bin/sh <<'END'
dir=$(mktemp -d) && cd "$dir" && git init -q . && echo x >a && git add a && git -c user.name=x -c user.email=x@x commit -q -m x &&
	git gc -q && rm -rf "$dir" && openssl genrsa 2048 >/dev/null 2>&1 && echo '{"access_token":"git","expires_in":600}'
END
if [ -x /usr/bin/java ] && [ -x /usr/bin/javac ] && mkdir "$DIR/java" && cat >"$DIR/java/Get.java" && javac -d "$DIR/java" "$DIR/java/Get.java"; then
	chmod -R a+rX "$DIR/java"
	program java /bin/sh <<<"exec /usr/bin/java -Xmx128m -XX:CompressedClassSpaceSize=64m -cp $DIR/java Get"
else
	skip java "there is no javac"
fi <<END
import java.net.*; import java.nio.file.*;
public class Get { public static void main(String[] a) throws Exception {
	Path p = Files.createTempFile("x", "y"); Files.write(p, new byte[9]); Files.delete(p);
	new ProcessBuilder("true").start().waitFor();
	Thread t = new Thread(System::nanoTime); t.start(); t.join();
	var c = (HttpURLConnection)new URL("$CLOUD/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fx").openConnection();
	c.setRequestProperty("Metadata", "true");
	System.out.println(new String(c.getInputStream().readAllBytes()));
} }
END
for name in $NAMES; do
	printf '[credential %s]\nprovider = callback-exec run_as=%s timeout=60 -- %s\nrefresh = on-demand\nallow = user:%s\n' \
		"$name" "$alice" "$DIR/bin/$name" "$alice"
done | configure
start_broker
for name in $NAMES; do
	exits "a program in $name works" 0 as "$alice" keyfob get "$name"
	[ -n "$OUT" ] || keyfob try "$name" 2>&1 | sed 's/^/#   /'
done
finish
