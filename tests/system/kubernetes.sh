#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# packaging/kubernetes: by the schemas of Kubernetes' own API, by keyfobd, and by running what the workload runs.
npm=$PWD/tests/npm
"$npm/node" -e 'process.exit(+(parseInt(process.versions.node) < 20))' 2>/dev/null ||
	{ echo "1..0 # SKIP no Node.js of version 20 or later"; exit 0; }
[ -d "$npm/node_modules/kubernetes-models" ] || { echo "1..0 # SKIP npm package kubernetes-models is missing: make deps"; exit 0; }
. "$(dirname "$0")/lib.sh"
PLACE=$PWD/packaging/kubernetes

# read.mjs FILE [EXPRESSION]: judge each of a file's objects by its schema; or print what an expression of the objects gives
cat >"$DIR/out/read.mjs" <<'END'
import fs from 'node:fs';
import { pathToFileURL } from 'node:url';
const load = (path) => import(pathToFileURL(`${process.env.NPM}/node_modules/${path}`));
const [file, expression] = process.argv.slice(2);
const o = (await load('js-yaml/index.js')).default.loadAll(fs.readFileSync(file, 'utf8'));
if (expression) {
	process.stdout.write(String(eval(expression)));
} else {
	let bad = 0;
	for (const object of o) {
		try {
			const models = await load(`kubernetes-models/${object.apiVersion}/index.js`);
			new models[object.kind](object).validate();
			console.log(object.kind);
		} catch (error) {
			console.log(`${object.kind}: ${error.message}`);
			bad = 1;
		}
	}
	process.exit(bad);
}
END
read_yaml() {
	NPM=$npm "$npm/node" "$DIR/out/read.mjs" "$@"
}

exits "daemonset.yaml by the schemas of the API" 0 read_yaml "$PLACE/daemonset.yaml"
is "has what it should" "$(echo "$OUT" | xargs)" "Namespace ConfigMap DaemonSet"
exits "workload.yaml by the schemas of the API" 0 read_yaml "$PLACE/workload.yaml"
is "has what it should" "$OUT" Deployment
sed 's/mountPath: /mountpath: /' "$PLACE/workload.yaml" >"$DIR/out/wrong.yaml"
exits "the schemas see a slip in a name" 1 read_yaml "$DIR/out/wrong.yaml"
like "and name it" "$OUT" mountPath
sed 's/runAsUser: 10001/runAsUser: root/' "$PLACE/workload.yaml" >"$DIR/out/wrong.yaml"
exits "and one in a type" 1 read_yaml "$DIR/out/wrong.yaml"
like "and name it" "$OUT" runAsUser

# --- the two fit each other, and keyfobd -----------------------------------------------------------

version=$(sed -n 's/^VERSION *:= *//p' Makefile)
is "the image is this version's" "$(read_yaml "$PLACE/daemonset.yaml" 'o[2].spec.template.spec.containers[0].image')" "keyfob:$version"
is "the Dockerfile makes the group that the configuration names, with the workload's number" \
	"$(sed -n 's/^RUN groupadd --gid //p' "$PLACE/Dockerfile")" \
	"$(read_yaml "$PLACE/workload.yaml" 'o[0].spec.template.spec.securityContext.supplementalGroups[0]') dbclients"
is "keyfobd has the rights that its unit gives it" \
	"$(read_yaml "$PLACE/daemonset.yaml" 'o[2].spec.template.spec.containers[0].securityContext.capabilities.add.map(c => "CAP_" + c).sort().join(" ")')" \
	"$(sed -n 's/^CapabilityBoundingSet=//p' "$KEYFOB_PREFIX/lib/systemd/system/keyfobd.service" | tr ' ' '\n' | sort | xargs)"

new_group; dbclients=$GROUP_NAME
new_user; workload=$USER_NAME
new_user; stranger=$USER_NAME
start_emulator
read_yaml "$PLACE/daemonset.yaml" 'o[1].data["keyfob.conf"]' |
	sed "s/root:dbclients/root:$dbclients/; s|^provider .*|& endpoint=$CLOUD|" | configure
check "keyfobd takes the ConfigMap's configuration" keyfobd --config "$CONFIG" --check
start_broker
# What the workload's container runs, once, where this broker's sockets are.
read_yaml "$PLACE/workload.yaml" 'o[0].spec.template.spec.containers[0].command[2]' |
	sed "s|/run/keyfob/|$DIR/run/|; s/time.sleep(60)/break/" >"$DIR/out/workload.py"
# run_as USER GROUPS
run_as() {
	setpriv --reuid="$1" --regid="$1" --groups "$2" python3 "$DIR/out/workload.py" 2>&1 | tail -n 1
}
chmod 0755 "$DIR/out"
like "the workload reads a token" "$(run_as "$workload" "$(getent group "$dbclients" | cut -d : -f 3)")" '^a token of [0-9]{3,} bytes$'
like "without the group it does not" "$(run_as "$stranger" "$(id -g "$stranger")")" 'PermissionError'
is "it mounts that socket's directory and no more" \
	"$(read_yaml "$PLACE/workload.yaml" 'o[0].spec.template.spec.volumes.map(v => v.hostPath.path).join(" ")')" /run/keyfob/container/atlas
finish
