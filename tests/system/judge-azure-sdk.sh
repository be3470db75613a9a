#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Microsoft's own client library (npm @azure/msal-node) against the emulator's Azure: what our module is judged by must itself be right.
modules=${KEYFOB_TEST_NODE_MODULES:-$(cd "$(dirname "$0")/../npm" 2>/dev/null && pwd)/node_modules}
command -v node >/dev/null || { echo "1..0 # SKIP node is missing"; exit 0; }
[ -d "$modules/@azure/msal-node" ] || { echo "1..0 # SKIP npm package @azure/msal-node is missing"; exit 0; }
. "$(dirname "$0")/lib.sh"

# The library reads Arc's keys in one place only, and that is the machine's own.
start_emulator
tenant=11111111-2222-3333-4444-555555555555
api=0d5c1c0e-1111-2222-3333-444455556666
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$DIR/etc/key.pem" -out "$DIR/etc/cert.pem" -subj /CN=orders -days 30 2>/dev/null
curl -sS -f -d client_id=orders --data-urlencode 'secret=p+e r&c=e%n/t~' --data-urlencode "certificate@$DIR/etc/cert.pem" \
	-d "tenant=$tenant" "$CLOUD/emulator/entra-apps" >/dev/null || echo "Bail out! no application"
curl -sS -f -d client_id=federated -d "issuer=$CLOUD" "$CLOUD/emulator/entra-apps" >/dev/null || echo "Bail out! no application"

cat >"$DIR/out/ask.js" <<'EOS'
const fs = require('fs'), crypto = require('crypto');
const msal = require(process.env.MODULES + '/@azure/msal-node');
const { CLOUD, TENANT, API, DIR: dir } = process.env, host = 'https://login.microsoftonline.com';
// The login service's own name leads to the emulator; the library insists on https.
const network = {
	send: async (url, options, method) => {
		const reply = await fetch(url.replace(host, CLOUD), { method, headers: options?.headers, body: options?.body });
		return { status: reply.status, headers: Object.fromEntries(reply.headers), body: await reply.json() };
	},
	sendGetRequestAsync(url, options) { return this.send(url, options, 'GET'); },
	sendPostRequestAsync(url, options) { return this.send(url, options, 'POST'); },
};
const authority = `${host}/${TENANT}`;
const metadata = JSON.stringify({ issuer: `${authority}/v2.0`, token_endpoint: `${authority}/oauth2/v2.0/token`,
	authorization_endpoint: `${authority}/oauth2/v2.0/authorize`, jwks_uri: `${CLOUD}/jwks` });
const discovery = JSON.stringify({ tenant_discovery_endpoint: `${authority}/v2.0/.well-known/openid-configuration`, 'api-version': '1.1',
	metadata: [{ preferred_network: 'login.microsoftonline.com', preferred_cache: 'login.windows.net', aliases: ['login.microsoftonline.com'] }] });
const app = (clientId, more) => new msal.ConfidentialClientApplication({ system: { networkClient: network },
	auth: { clientId, authority, authorityMetadata: metadata, cloudDiscoveryMetadata: discovery, ...more } })
	.acquireTokenByClientCredential({ scopes: [`api://${API}/.default`] });
const machine = (id) => new msal.ManagedIdentityApplication({ managedIdentityIdParams: id }).acquireToken({ resource: `api://${API}` });
const pem = (name) => fs.readFileSync(`${dir}/etc/${name}.pem`, 'utf8');
const der = new crypto.X509Certificate(pem('cert')).raw;
const certificate = { thumbprintSha256: crypto.createHash('sha256').update(der).digest('hex'), privateKey: pem('key'), x5c: pem('cert') };
const google = async () => (await fetch(`${CLOUD}/computeMetadata/v1/instance/service-accounts/default/identity?audience=api://AzureADTokenExchange`,
	{ headers: { 'Metadata-Flavor': 'Google' } })).text();
const ways = {
	system: () => machine(), client: () => machine({ userAssignedClientId: 'abc' }), object: () => machine({ userAssignedObjectId: 'abc' }),
	resource: () => machine({ userAssignedResourceId: '/subscriptions/s/x' }),
	secret: () => app('orders', { clientSecret: 'p+e r&c=e%n/t~' }), wrong: () => app('orders', { clientSecret: 'no' }),
	certificate: () => app('orders', { clientCertificate: certificate }),
	federated: async () => app('federated', { clientAssertion: await google() }),
};
ways[process.argv[2]]().then(
	(r) => console.log(JSON.stringify({ ...JSON.parse(Buffer.from(r.accessToken.split('.')[1], 'base64url')), left: (r.expiresOn - Date.now()) / 1000 })),
	(e) => { console.error(String(e.errorCode || ''), String(e.errorMessage || e)); process.exit(1); });
EOS
export MODULES=$modules CLOUD TENANT=$tenant API=$api DIR
# asks SOURCE WAY FILTER WANTED
asks() {
	exits "$1, $2: msal-node gets a token" 0 node "$DIR/out/ask.js" "$2"
	is "$1, $2: $3" "$(jq -r "$3" <<<"$OUT")" "$4"
	is "$1, $2: it has read the expiry" "$(jq '.left > 3000 and .left <= 86400' <<<"$OUT")" true
}

export AZURE_POD_IDENTITY_AUTHORITY_HOST=$CLOUD
asks imds system .aud "api://$api"
asks imds client .azp abc
asks imds object .oid abc
asks imds resource .aud "api://$api"
unset AZURE_POD_IDENTITY_AUTHORITY_HOST
export IDENTITY_ENDPOINT=$CLOUD/msi/token IDENTITY_HEADER=keyfob-emulator
asks appservice system .aud "api://$api"
asks appservice client .azp abc
asks appservice object .oid abc
asks appservice resource .aud "api://$api"
export IDENTITY_HEADER=wrong
exits "appservice: a wrong header secret is refused" 1 node "$DIR/out/ask.js" system
unset IDENTITY_ENDPOINT IDENTITY_HEADER
asks entra secret .azp orders
asks entra certificate .azp orders
asks entra federated .azp federated
exits "entra: a wrong secret is refused" 1 node "$DIR/out/ask.js" wrong
like "entra: the library reads the error" "$ERR" 'AADSTS7000215'
finish
