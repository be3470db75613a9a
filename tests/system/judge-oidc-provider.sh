#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A certified OpenID provider (npm oidc-provider) judges the oauth2 module: every way to authenticate, and discovery.
npm=$(cd "$(dirname "$0")/../npm" && pwd)
"$npm/node" -e 'process.exit(+(parseInt(process.versions.node) < 20))' 2>/dev/null ||
	{ echo "1..0 # SKIP no Node.js of version 20 or later"; exit 0; }
[ -d "$npm/node_modules/oidc-provider" ] || { echo "1..0 # SKIP npm package oidc-provider is missing: make deps"; exit 0; }
. "$(dirname "$0")/lib.sh"

secret='p+e r&c=e%n/t~:secret-0123456789'
(umask 077; printf '%s\n' "$secret" >"$DIR/etc/secret"; printf 'another-secret\n' >"$DIR/etc/wrong"
openssl genrsa -out "$DIR/etc/rsa.pem" 2048 2>/dev/null
openssl genrsa -out "$DIR/etc/other.pem" 2048 2>/dev/null
openssl ecparam -genkey -name prime256v1 -noout -out "$DIR/etc/ec.pem")

cat >"$DIR/out/provider.mjs" <<'EOS'
import fs from 'node:fs';
import { createPublicKey } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';
const { NPM, DIR, SECRET } = process.env;
const { default: Provider } = await import(pathToFileURL(`${NPM}/node_modules/oidc-provider/lib/index.js`));
const jwk = (name, alg) => ({ ...createPublicKey(fs.readFileSync(`${DIR}/etc/${name}.pem`)).export({ format: 'jwk' }), kid: name, alg, use: 'sig' });
const client = (client_id, method, more) => ({ client_id, token_endpoint_auth_method: method, grant_types: ['client_credentials'],
	redirect_uris: [], response_types: [], ...more });
const byKey = (client_id, name, alg) => client(client_id, 'private_key_jwt', { token_endpoint_auth_signing_alg: alg, jwks: { keys: [jwk(name, alg)] } });
const server = createServer((...call) => handle(...call));
let handle;
server.listen(0, '127.0.0.1', () => {
	const issuer = `http://127.0.0.1:${server.address().port}`;
	const provider = new Provider(issuer, {
		clients: [client('b:a s/i+c', 'client_secret_basic', { client_secret: SECRET }), client('post', 'client_secret_post', { client_secret: SECRET, scope: 'read' }),
			byKey('rs256', 'rsa', 'RS256'), byKey('ps256', 'rsa', 'PS256'), byKey('es256', 'ec', 'ES256')],
		scopes: ['openid', 'read', 'write'],
		enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256'] },
		features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false },
			resourceIndicators: { enabled: true, defaultResource: () => 'urn:default', useGrantedResource: () => true,
				getResourceServerInfo: (ctx, resource) => {
					if (resource.startsWith('urn:unknown')) { const e = new Error('invalid_target'); e.statusCode = 400; e.status = 400; e.expose = true;
						e.error = 'invalid_target'; e.error_description = 'resource indicator is missing, or unknown'; throw e; }
					return { scope: 'read write', audience: resource, accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };
				} } },
	});
	handle = provider.callback();
	fs.writeFileSync(`${DIR}/out/op-port.new`, `${server.address().port}\n`);
	fs.renameSync(`${DIR}/out/op-port.new`, `${DIR}/out/op-port`);
});
EOS
# shellcheck disable=SC2097,SC2098
NPM=$npm DIR=$DIR SECRET=$secret "$npm/node" "$DIR/out/provider.mjs" >"$DIR/out/provider.log" 2>&1 &
PIDS="$PIDS $!"
until_true 60 test -s "$DIR/out/op-port" || { echo "Bail out! the provider does not start"; sed 's/^/# /' "$DIR/out/provider.log"; exit 1; }
op=http://127.0.0.1:$(cat "$DIR/out/op-port")

{
	credential() {
		printf '[credential %s]\nrefresh = on-demand\nresource = %s\nprovider = oauth2 %s\n' "$1" "$2" "$3"
	}
	for how in "token_endpoint=$op/token" "issuer=$op"; do
		where=${how%%=*}
		credential "basic-$where" urn:orders "$how client_id=\"b:a s/i+c\" secret_file=$DIR/etc/secret scope=\"read write\""
		credential "post-$where" urn:orders "$how client_id=post auth=secret_post secret_file=$DIR/etc/secret"
		for alg in rs256 ps256 es256; do
			key=rsa option="alg=${alg^^}"
			[ $alg != es256 ] || key=ec option=""
			credential "$alg-$where" urn:orders "$how client_id=$alg key_file=$DIR/etc/$key.pem key_id=$key $option"
		done
	done
	credential audience-issuer urn:orders "issuer=$op client_id=ps256 alg=PS256 key_file=$DIR/etc/rsa.pem assertion_audience=issuer"
	credential wrong-secret urn:orders "issuer=$op client_id=post auth=secret_post secret_file=$DIR/etc/wrong"
	credential wrong-key urn:orders "issuer=$op client_id=rs256 key_file=$DIR/etc/other.pem"
	credential wrong-method urn:orders "issuer=$op client_id=rs256 auth=secret_post secret_file=$DIR/etc/secret"
	credential wrong-target urn:unknown "issuer=$op client_id=post auth=secret_post secret_file=$DIR/etc/secret"
	credential wrong-scope urn:orders "issuer=$op client_id=post auth=secret_post secret_file=$DIR/etc/secret scope=write"
	credential wrong-issuer urn:orders "issuer=$op/ client_id=post auth=secret_post secret_file=$DIR/etc/secret"
	credential wrong-path urn:orders "token_endpoint=$op/nothing client_id=post auth=secret_post secret_file=$DIR/etc/secret"
} | configure
start_broker

claim() {
	cut -d. -f2 <<<"$1" | tr '_-' '/+' | base64 -di 2>/dev/null | jq -r "$2"
}
for where in token_endpoint issuer; do
	for way in basic post rs256 ps256 es256; do
		exits "$way, by $where: a token" 0 keyfob get "$way-$where"
		tokens="${tokens:-} $OUT"
		is "$way, by $where: for the resource, from the provider" "$(claim "$OUT" '.aud + " " + .iss')" "urn:orders $op"
	done
done
is "the scope arrives whole" "$(claim "$(keyfob get basic-issuer)" .scope)" "read write"
is "the client id arrives whole" "$(claim "$(keyfob get basic-issuer)" .client_id)" "b:a s/i+c"
exits "an assertion for the issuer" 0 keyfob get audience-issuer
life=$(keyfob get --json basic-issuer | jq -r '.expires_at - now | floor')
check "the expiry is the provider's 600 s" test "$life" -gt 480 -a "$life" -le 600

refused() {
	exits "$1: exit 5" 5 keyfob get "$1"
	like "$1: in words" "$ERR" "$2"
}
refused wrong-secret '401 invalid_client: client authentication failed; the client id or its secret'
refused wrong-key '401 invalid_client: client authentication failed; the client id or its secret or key'
refused wrong-method 'invalid_client'
refused wrong-target 'invalid_target: .*; the provider does not know the resource'
refused wrong-scope 'invalid_scope: .*; the client may not ask for this scope'
refused wrong-issuer 'discovery names the issuer .* they must agree to the letter'
refused wrong-path '404.*there is no token endpoint'
for part in $tokens "$secret" another-secret; do
	if grep -qF -- "$part" "$LOG" || keyfob status --json | grep -qF -- "$part"; then told=yes; fi
done
is "no token and no secret is in the log or the status" "${told:-no}" no
finish
